/* An indexed 4-ary min-heap on one packed 64-bit key, for jobs of one backend.

   key = class (4 bits) | priority or virtual deadline (28 bits) | sequence (32 bits); the smallest leaves first.
   A slot names an entry for as long as it lives, so that update and cancel need no search and no second table.
   Four children of 16 bytes fill one cache line: half the levels of a binary heap at the same misses per level.

   The full sequence has 63 bits; the key holds its place in a window of 2^32. Outside the window all keys are
   renumbered in O(n log n). Renumbering is monotone in the sequence, so the heap order stays as it is. */

#ifndef QFAST_HEAP_H
#define QFAST_HEAP_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define QF_NONE UINT32_MAX
#define QF_WINDOW ((uint64_t)1 << 32)
#define QF_LAST_GENERATION 0x7ffffffeu /* a handle has 31 bits for the generation, so that it fits a signed 64-bit */

typedef struct {
    uint64_t key;
    uint32_t slot;
    uint32_t unused;
} qf_node;

typedef struct {
    int64_t item;
    int64_t seq;
    uint32_t generation; /* odd while the entry lives; even slots match no handle ever given out */
} qf_record;

typedef struct {
    qf_node *node;      /* node[0] is the root, the children of i are 4i+1 .. 4i+4 */
    void *block;        /* what node points into: node[1] stands at the start of a cache line */
    uint32_t *position; /* slot -> index in node; for a free slot the next free one */
    qf_record *record;
    size_t length;
    size_t used; /* slots ever handed out */
    size_t capacity;
    int64_t base;        /* the sequence whose place is 0 */
    int64_t linear_from; /* from here on place = sequence - base; older entries may have been squeezed */
    uint64_t renumberings;
    uint32_t free_slot;
} qf_heap;

typedef struct {
    int64_t seq;
    uint32_t slot;
} qf_ranked;

typedef struct {
    uint64_t key;
    int64_t item;
} qf_waiting;

static inline void qf_heap_init(qf_heap *heap)
{
    memset(heap, 0, sizeof *heap);
    heap->free_slot = QF_NONE;
}

static inline void qf_heap_destroy(qf_heap *heap)
{
    free(heap->block);
    free(heap->position);
    free(heap->record);
    qf_heap_init(heap);
}

static inline uint64_t qf_rank_bits(uint32_t klass, uint32_t priority)
{
    return (uint64_t)klass << 60 | (uint64_t)priority << 32;
}

/* Makes room for twice the slots; 0, or -1 without memory (nothing has changed then). */
static int qf_heap_grow(qf_heap *heap)
{
    size_t capacity = heap->capacity ? 2 * heap->capacity : 64;
    if (capacity > QF_NONE) /* slots are 32 bits */
        return -1;
    size_t bytes = (capacity + 4) * sizeof(qf_node); /* 3 nodes of padding, rounded up to cache lines */
    void *block = NULL;
    if (posix_memalign(&block, 64, (bytes + 63) & ~(size_t)63) != 0)
        return -1;
    qf_record *record = malloc(capacity * sizeof *record);
    uint32_t *position = malloc(capacity * sizeof *position);
    if (!record || !position) {
        free(block);
        free(record);
        free(position);
        return -1;
    }
    qf_node *node = (qf_node *)block + 3;
    if (heap->capacity) {
        memcpy(node, heap->node, heap->length * sizeof *node);
        memcpy(record, heap->record, heap->used * sizeof *record);
        memcpy(position, heap->position, heap->used * sizeof *position);
        free(heap->block);
        free(heap->record);
        free(heap->position);
    }
    heap->block = block;
    heap->node = node;
    heap->record = record;
    heap->position = position;
    heap->capacity = capacity;
    return 0;
}

static inline void qf_place(qf_heap *heap, size_t i, qf_node node)
{
    heap->node[i] = node;
    heap->position[node.slot] = (uint32_t)i;
}

static inline void qf_sift_up(qf_heap *heap, size_t i, qf_node node)
{
    while (i > 0) {
        size_t parent = (i - 1) / 4;
        if (heap->node[parent].key <= node.key)
            break;
        qf_place(heap, i, heap->node[parent]);
        i = parent;
    }
    qf_place(heap, i, node);
}

/* The smallest child of i, whose first child is `first` < length. */
static inline size_t qf_least_child(const qf_heap *heap, size_t first)
{
    const qf_node *child = heap->node + first;
    if (first + 4 <= heap->length) { /* two independent comparisons, then one: no branch to mispredict */
        size_t a = child[1].key < child[0].key;
        size_t b = 2 + (child[3].key < child[2].key);
        return first + (child[b].key < child[a].key ? b : a);
    }
    size_t least = 0;
    for (size_t j = 1; first + j < heap->length; j++)
        if (child[j].key < child[least].key)
            least = j;
    return first + least;
}

static inline void qf_sift_down(qf_heap *heap, size_t i, qf_node node)
{
    for (;;) {
        size_t first = 4 * i + 1;
        if (first >= heap->length)
            break;
        size_t least = qf_least_child(heap, first);
        if (heap->node[least].key >= node.key)
            break;
        qf_place(heap, i, heap->node[least]);
        i = least;
    }
    qf_place(heap, i, node);
}

/* Takes node i out of the order; its slot is still to be released. */
static inline void qf_unlink(qf_heap *heap, size_t i)
{
    qf_node last = heap->node[--heap->length];
    if (i == heap->length)
        return;
    if (i > 0 && last.key < heap->node[(i - 1) / 4].key)
        qf_sift_up(heap, i, last);
    else
        qf_sift_down(heap, i, last);
}

/* As qf_unlink(heap, 0), but the hole goes to the bottom first: the last node nearly always belongs there. */
static inline void qf_unlink_root(qf_heap *heap)
{
    qf_node last = heap->node[--heap->length];
    size_t hole = 0;
    if (heap->length == 0)
        return;
    for (size_t first = 1; first < heap->length; first = 4 * hole + 1) {
        size_t below = 4 * first + 1; /* the sixteen grandchildren: four cache lines in a row */
        if (below + 16 <= heap->length)
            for (size_t j = 0; j < 16; j += 4)
                __builtin_prefetch(heap->node + below + j);
        size_t least = qf_least_child(heap, first);
        qf_place(heap, hole, heap->node[least]);
        hole = least;
    }
    qf_sift_up(heap, hole, last);
}

static inline void qf_release(qf_heap *heap, uint32_t slot)
{
    if (++heap->record[slot].generation >= QF_LAST_GENERATION)
        return; /* this slot retires: another round would revive old handles */
    heap->position[slot] = heap->free_slot;
    heap->free_slot = slot;
}

/* The slot of a handle, or QF_NONE when it is stale or was never given out. */
static inline uint32_t qf_heap_find(const qf_heap *heap, int64_t handle)
{
    uint32_t slot = (uint32_t)handle;
    uint64_t generation = (uint64_t)handle >> 32;
    if (slot >= heap->used || (generation & 1) == 0 || heap->record[slot].generation != generation)
        return QF_NONE;
    return slot;
}

static int qf_by_seq(const void *a, const void *b)
{
    int64_t x = ((const qf_ranked *)a)->seq, y = ((const qf_ranked *)b)->seq;
    return (x > y) - (x < y);
}

static inline void qf_set_place(qf_heap *heap, uint32_t slot, uint64_t place)
{
    qf_node *node = heap->node + heap->position[slot];
    node->key = (node->key & ~(QF_WINDOW - 1)) | place;
}

/* Squeezes all sequences to their ranks (equal ones share a rank) so that the newest has the whole window before it.
   An entry older than linear_from that comes later needs another squeeze: only jobs that return after a crash are. */
static int qf_heap_squeeze(qf_heap *heap, int64_t seq, uint32_t *place)
{
    size_t count = heap->length + 1;
    qf_ranked *ranked = malloc(count * sizeof *ranked);
    if (!ranked)
        return -1;
    for (size_t i = 0; i < heap->length; i++)
        ranked[i] = (qf_ranked){heap->record[heap->node[i].slot].seq, heap->node[i].slot};
    ranked[heap->length] = (qf_ranked){seq, QF_NONE};
    qsort(ranked, count, sizeof *ranked, qf_by_seq);
    uint32_t rank = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && ranked[i].seq != ranked[i - 1].seq)
            rank++;
        if (ranked[i].slot == QF_NONE)
            *place = rank;
        else
            qf_set_place(heap, ranked[i].slot, rank);
    }
    heap->linear_from = ranked[count - 1].seq;
    heap->base = heap->linear_from - rank;
    free(ranked);
    return 0;
}

/* Writes the window's place of `seq`, moving the window when needed; 0, or -1 without memory. */
static inline int qf_heap_place_of(qf_heap *heap, int64_t seq, uint32_t *place)
{
    if (seq >= heap->linear_from && (uint64_t)(seq - heap->base) < QF_WINDOW) {
        *place = (uint32_t)(seq - heap->base);
        return 0;
    }
    int64_t oldest = seq, newest = seq;
    for (size_t i = 0; i < heap->length; i++) {
        int64_t other = heap->record[heap->node[i].slot].seq;
        oldest = other < oldest ? other : oldest;
        newest = other > newest ? other : newest;
    }
    heap->renumberings += heap->length > 0;
    if ((uint64_t)(newest - oldest) >= QF_WINDOW / 2)
        return qf_heap_squeeze(heap, seq, place);
    /* a quarter of the window on each side at least: room for jobs that return, and for the next 2^30 */
    int64_t slack = (int64_t)(QF_WINDOW / 4);
    heap->base = heap->linear_from = oldest > slack ? oldest - slack : 0;
    for (size_t i = 0; i < heap->length; i++) {
        uint32_t slot = heap->node[i].slot;
        qf_set_place(heap, slot, (uint64_t)(heap->record[slot].seq - heap->base));
    }
    *place = (uint32_t)(seq - heap->base);
    return 0;
}

/* Adds an entry; its handle (generation << 32 | slot), or -1 without memory. */
static inline int64_t qf_heap_push(qf_heap *heap, uint64_t rank_bits, int64_t seq, int64_t item)
{
    uint32_t place = 0;
    if (heap->free_slot == QF_NONE && heap->used == heap->capacity && qf_heap_grow(heap) != 0)
        return -1;
    if (qf_heap_place_of(heap, seq, &place) != 0)
        return -1;
    uint32_t slot = heap->free_slot;
    if (slot != QF_NONE) {
        heap->free_slot = heap->position[slot];
    } else {
        slot = (uint32_t)heap->used++;
        heap->record[slot].generation = 0;
    }
    qf_record *record = heap->record + slot;
    record->item = item;
    record->seq = seq;
    record->generation++;
    qf_sift_up(heap, heap->length++, (qf_node){rank_bits | place, slot, 0});
    return (int64_t)((uint64_t)record->generation << 32 | slot);
}

/* Moves up to `count` items to `out` in order; how many. */
static inline size_t qf_heap_pop(qf_heap *heap, int64_t *out, size_t count)
{
    size_t done = 0;
    for (; done < count && heap->length > 0; done++) {
        uint32_t slot = heap->node[0].slot;
        __builtin_prefetch(heap->record + slot);
        qf_unlink_root(heap);
        out[done] = heap->record[slot].item;
        qf_release(heap, slot);
    }
    return done;
}

/* Gives a live slot another class and priority at its old place in time. */
static inline void qf_heap_update(qf_heap *heap, uint32_t slot, uint64_t rank_bits)
{
    size_t i = heap->position[slot];
    qf_node node = heap->node[i];
    uint64_t old = node.key;
    node.key = rank_bits | (old & (QF_WINDOW - 1));
    if (node.key < old)
        qf_sift_up(heap, i, node);
    else
        qf_sift_down(heap, i, node);
}

static inline uint32_t qf_class_of(const qf_heap *heap, uint32_t slot)
{
    return (uint32_t)(heap->node[heap->position[slot]].key >> 60);
}

static inline void qf_heap_cancel(qf_heap *heap, uint32_t slot)
{
    qf_unlink(heap, heap->position[slot]);
    qf_release(heap, slot);
}

static inline void qf_heap_clear(qf_heap *heap)
{
    for (size_t i = 0; i < heap->length; i++)
        qf_release(heap, heap->node[i].slot);
    heap->length = 0;
}

/* Entries that leave before this live slot. */
static inline size_t qf_heap_before(const qf_heap *heap, uint32_t slot)
{
    uint64_t key = heap->node[heap->position[slot]].key;
    size_t before = 0;
    for (size_t i = 0; i < heap->length; i++)
        before += heap->node[i].key < key;
    return before;
}

/* Copies keys and items to `out` (length entries), so that sorting them needs the heap no longer. */
static inline void qf_heap_copy(const qf_heap *heap, qf_waiting *out)
{
    for (size_t i = 0; i < heap->length; i++)
        out[i] = (qf_waiting){heap->node[i].key, heap->record[heap->node[i].slot].item};
}

/* The first entries in order, at most `count` and no more than there are: a walk over the nodes that may come next. Of
   these there are at most three more with each step, so `next` has room for 3 * count + 1. Gives how many it wrote. */
static inline size_t qf_heap_first(const qf_heap *heap, int64_t *out, size_t *next, size_t count)
{
    size_t waiting = 0, written = 0;
    if (heap->length > 0 && count > 0)
        next[waiting++] = 0;
    while (waiting > 0 && written < count) {
        size_t best = next[0];
        out[written++] = heap->record[heap->node[best].slot].item;
        size_t last = next[--waiting], hole = 0;
        for (size_t child; (child = 2 * hole + 1) < waiting; hole = child) {
            if (child + 1 < waiting && heap->node[next[child + 1]].key < heap->node[next[child]].key)
                child++;
            if (heap->node[last].key <= heap->node[next[child]].key)
                break;
            next[hole] = next[child];
        }
        next[hole] = last;
        for (size_t follower = 4 * best + 1; follower <= 4 * best + 4 && follower < heap->length; follower++) {
            size_t place = waiting++;
            for (; place > 0 && heap->node[next[(place - 1) / 2]].key > heap->node[follower].key; place = (place - 1) / 2)
                next[place] = next[(place - 1) / 2];
            next[place] = follower;
        }
    }
    return written;
}

static int qf_by_key(const void *a, const void *b)
{
    uint64_t x = ((const qf_waiting *)a)->key, y = ((const qf_waiting *)b)->key;
    return (x > y) - (x < y);
}

static inline void qf_sort_waiting(qf_waiting *waiting, size_t count)
{
    qsort(waiting, count, sizeof *waiting, qf_by_key);
}

#endif
