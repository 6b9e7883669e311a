# cython: autotestdict=False, auto_pickle=False
"""The order in which the jobs of one backend start: an indexed 4-ary heap (heap.h) behind a checked Python face."""

cimport cython
from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)

cdef extern from "heap.h" nogil:
    const uint32_t QF_NONE
    ctypedef struct qf_node:
        uint32_t slot
    ctypedef struct qf_record:
        int64_t item
    ctypedef struct qf_heap:
        qf_node *node
        qf_record *record
        size_t length
        uint64_t renumberings
    void qf_heap_init(qf_heap *heap)
    void qf_heap_destroy(qf_heap *heap)
    uint64_t qf_rank_bits(uint32_t klass, uint32_t priority)
    int64_t qf_heap_push(qf_heap *heap, uint64_t rank_bits, int64_t seq, int64_t item)
    size_t qf_heap_pop(qf_heap *heap, int64_t *out, size_t count)
    void qf_heap_update(qf_heap *heap, uint32_t slot, uint64_t rank_bits)
    void qf_heap_cancel(qf_heap *heap, uint32_t slot)
    void qf_heap_clear(qf_heap *heap)
    uint32_t qf_heap_find(const qf_heap *heap, int64_t handle)
    size_t qf_heap_before(const qf_heap *heap, uint32_t slot)
    ctypedef struct qf_waiting:
        int64_t item
    void qf_heap_copy(const qf_heap *heap, qf_waiting *out)
    size_t qf_heap_first(const qf_heap *heap, int64_t *out, size_t *next, size_t count)
    void qf_sort_waiting(qf_waiting *waiting, size_t count)
    uint32_t qf_class_of(const qf_heap *heap, uint32_t slot)

# Entries from which on a scan or a batch releases the GIL. Taking it back can cost a switch interval (5 ms) while
# another thread computes; a scan of 65,536 nodes (1 MiB) and 1,024 pops each take about 0.1 ms.
cdef size_t SCAN_RELEASE = 65536
cdef size_t BATCH_RELEASE = 1024

MAX_CLASS = 15
MAX_PRIORITY = (1 << 28) - 1


cdef int64_t _integer(object value, str name, int64_t low, int64_t high) except? -1:
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)  # TypeError for what is no integer
    if overflow or number < low or number > high:
        raise ValueError(f"{name}: {value} is not in {low}..{high}")
    return number


cdef uint64_t _rank_bits(object klass, object priority) except? 0:
    return qf_rank_bits(
        <uint32_t>_integer(klass, "klass", 0, 15), <uint32_t>_integer(priority, "priority", 0, 268435455)
    )


cdef list _as_list(const int64_t *values, size_t count):
    cdef size_t i
    return [values[i] for i in range(count)]


@cython.final
cdef class Heap:
    """Jobs of one backend in the order in which they start: by class, then priority, then sequence.

    Within one (class, priority) the order is first in, first out by `seq`. Sequences are unique; entries that are
    equal in class, priority and sequence leave in no promised order. All methods may be called from any thread.

    Handles are integers that stay valid until their entry is popped, cancelled or cleared. A stale handle never
    names a later entry.
    """

    cdef qf_heap _heap
    # Batches run without the GIL, so the GIL does not guard the heap. No Python object is touched while it is held.
    cdef pthread_mutex_t _mutex

    def __cinit__(self):
        qf_heap_init(&self._heap)
        pthread_mutex_init(&self._mutex, NULL)

    def __dealloc__(self):
        pthread_mutex_destroy(&self._mutex)
        qf_heap_destroy(&self._heap)

    def __len__(self):
        return self._heap.length

    @property
    def renumberings(self):
        """How often the sequences had to be fitted anew into the 32 bits of the key."""
        return self._heap.renumberings

    def push(self, priority, seq, item, klass=8):
        """Add an entry in O(log n).

        Parameters
        ----------
        priority : int
            0..2^28-1, smaller first: a job's priority, or a virtual deadline in units of the caller's choice.
        seq : int
            0..2^63-1, the place in time within (klass, priority).
        item : int
            Signed 64-bit payload, given back by pop.
        klass : int
            0..15, smaller first; 8 for ordinary jobs.

        Returns
        -------
        int
            The handle of the entry.

        Raises
        ------
        ValueError
            If a number is out of its range.
        MemoryError
            If there is no memory for the entry; the heap is as before.
        """
        cdef uint64_t rank_bits = _rank_bits(klass, priority)
        cdef int64_t place_in_time = _integer(seq, "seq", 0, INT64_MAX)
        cdef int64_t payload = _integer(item, "item", INT64_MIN, INT64_MAX)
        pthread_mutex_lock(&self._mutex)
        cdef int64_t handle = qf_heap_push(&self._heap, rank_bits, place_in_time, payload)
        pthread_mutex_unlock(&self._mutex)
        if handle < 0:
            raise MemoryError("no memory for another queue entry")
        return handle

    def pop(self):
        """Remove the first entry in O(log n) and give its item, or None when the heap is empty."""
        cdef int64_t item = 0
        pthread_mutex_lock(&self._mutex)
        cdef size_t count = qf_heap_pop(&self._heap, &item, 1)
        pthread_mutex_unlock(&self._mutex)
        return item if count else None

    def peek(self):
        """Give the item of the first entry, or None when the heap is empty."""
        cdef int64_t item = 0
        pthread_mutex_lock(&self._mutex)
        cdef bint filled = self._heap.length > 0
        if filled:
            item = self._heap.record[self._heap.node[0].slot].item
        pthread_mutex_unlock(&self._mutex)
        return item if filled else None

    def pop_many(self, k):
        """Remove the first `k` entries, or all when there are fewer, and give their items in order.

        The heap is worked on without the GIL when `k` is large.

        Raises
        ------
        ValueError
            If `k` is negative.
        """
        cdef size_t count = <size_t>_integer(k, "k", 0, INT64_MAX)
        pthread_mutex_lock(&self._mutex)
        count = min(count, self._heap.length)
        pthread_mutex_unlock(&self._mutex)
        cdef int64_t *items = <int64_t *>malloc((count + 1) * sizeof(int64_t))
        if items == NULL:
            raise MemoryError("no memory for the items of a batch")
        try:
            if count >= BATCH_RELEASE:
                with nogil:
                    count = self._pop_locked(items, count)
            else:
                count = self._pop_locked(items, count)
            return _as_list(items, count)
        finally:
            free(items)

    def update(self, handle, priority, klass=None):
        """Give an entry another priority, and another class unless that is None, in O(log n).

        It keeps its place in time: within the new priority it stands where its `seq` says.

        Raises
        ------
        ValueError
            If a number is out of its range; the entry is as before.
        KeyError
            If the handle is stale or unknown.
        """
        cdef uint64_t rank_bits = _rank_bits(0 if klass is None else klass, priority)
        cdef bint keep_class = klass is None
        cdef int64_t number = self._handle(handle)
        pthread_mutex_lock(&self._mutex)
        cdef uint32_t slot = qf_heap_find(&self._heap, number)
        if slot != QF_NONE:
            if keep_class:
                rank_bits |= qf_rank_bits(qf_class_of(&self._heap, slot), 0)
            qf_heap_update(&self._heap, slot, rank_bits)
        pthread_mutex_unlock(&self._mutex)
        if slot == QF_NONE:
            raise KeyError(handle)

    def cancel(self, handle):
        """Remove an entry in O(log n); False when the handle is stale or unknown."""
        cdef int64_t number = self._handle(handle)
        pthread_mutex_lock(&self._mutex)
        cdef uint32_t slot = qf_heap_find(&self._heap, number)
        if slot != QF_NONE:
            qf_heap_cancel(&self._heap, slot)
        pthread_mutex_unlock(&self._mutex)
        return slot != QF_NONE

    def position(self, handle):
        """Count the entries that leave before this one, by one scan in O(n), without the GIL when there are many.

        Raises
        ------
        KeyError
            If the handle is stale or unknown.
        """
        cdef int64_t number = self._handle(handle)
        cdef size_t before = 0
        cdef bint found
        if self._heap.length >= SCAN_RELEASE:
            with nogil:
                found = self._before_locked(number, &before)
        else:
            found = self._before_locked(number, &before)
        if not found:
            raise KeyError(handle)
        return before

    def first(self, k):
        """Give the items of the first `k` entries, or of all when there are fewer, in order, in O(k log k).

        The heap stays as it is.

        Raises
        ------
        ValueError
            If `k` is negative.
        """
        cdef size_t count = <size_t>_integer(k, "k", 0, 1 << 32)
        pthread_mutex_lock(&self._mutex)
        count = min(count, self._heap.length)
        pthread_mutex_unlock(&self._mutex)
        cdef int64_t *items = <int64_t *>malloc((count + 1) * sizeof(int64_t))
        cdef size_t *following = <size_t *>malloc((3 * count + 4) * sizeof(size_t))
        try:
            if items == NULL or following == NULL:
                raise MemoryError("no memory for the head of the queue")
            pthread_mutex_lock(&self._mutex)
            count = qf_heap_first(&self._heap, items, following, count)
            pthread_mutex_unlock(&self._mutex)
            return _as_list(items, count)
        finally:
            free(items)
            free(following)

    def snapshot(self):
        """Give all items in the order in which they would be popped, in O(n log n), and leave the heap as it is."""
        cdef size_t room = self._heap.length + 64  # another thread may push before the lock is taken
        cdef size_t count, i
        cdef qf_waiting *waiting = NULL
        try:
            while True:
                waiting = <qf_waiting *>malloc(room * sizeof(qf_waiting))
                if waiting == NULL:
                    raise MemoryError("no memory for a copy of the queue")
                count = self._copy_locked(waiting, room)
                if count <= room:
                    break
                free(waiting)
                waiting = NULL
                room = count + 64
            if count >= BATCH_RELEASE:
                with nogil:
                    qf_sort_waiting(waiting, count)
            else:
                qf_sort_waiting(waiting, count)
            return [waiting[i].item for i in range(count)]
        finally:
            free(waiting)

    def clear(self):
        """Remove all entries; their handles become stale."""
        pthread_mutex_lock(&self._mutex)
        qf_heap_clear(&self._heap)
        pthread_mutex_unlock(&self._mutex)

    cdef int64_t _handle(self, object handle) except? -1:
        # What is no handle at all is as unknown as a stale one: -1 and too large numbers find no slot.
        cdef int overflow = 0
        cdef int64_t number = PyLong_AsLongLongAndOverflow(handle, &overflow)
        return 0 if overflow or number < 0 else number

    cdef size_t _pop_locked(self, int64_t *items, size_t count) noexcept nogil:
        pthread_mutex_lock(&self._mutex)
        count = qf_heap_pop(&self._heap, items, count)
        pthread_mutex_unlock(&self._mutex)
        return count

    cdef bint _before_locked(self, int64_t handle, size_t *before) noexcept nogil:
        pthread_mutex_lock(&self._mutex)
        cdef uint32_t slot = qf_heap_find(&self._heap, handle)
        if slot != QF_NONE:
            before[0] = qf_heap_before(&self._heap, slot)
        pthread_mutex_unlock(&self._mutex)
        return slot != QF_NONE

    cdef size_t _copy_locked(self, qf_waiting *waiting, size_t room) noexcept nogil:
        # The number of entries; nothing is written when there is no room for them.
        pthread_mutex_lock(&self._mutex)
        cdef size_t count = self._heap.length
        if count <= room:
            qf_heap_copy(&self._heap, waiting)
        pthread_mutex_unlock(&self._mutex)
        return count
