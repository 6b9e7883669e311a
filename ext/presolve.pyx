"""Preparation of QUBO problems: variables decided or replaced, elimination where the treewidth is small, neighbours in the end.

A form is (n, row, col, value): row <= col, ascending, no pair twice; value in integers whose absolute values add up to at most
MAX_SIZE. All without the GIL.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

import numpy as np


cdef extern from "qp_reduce.h" nogil:
    const int DONE "QP_DONE"
    const int CANCELLED "QP_CANCELLED"
    const int PERSISTENCY "QP_PERSISTENCY"
    const int STRUCTURE "QP_STRUCTURE"

    ctypedef struct qp_form:
        int64_t n
        int64_t count
        const int32_t *row
        const int32_t *col
        const int64_t *value
        const unsigned char *cancel

    ctypedef struct qp_graph:
        pass

    ctypedef struct qp_step:
        pass

    ctypedef struct qp_reduction:
        qp_graph graph
        int64_t margin
        int64_t fixed
        int64_t replaced
        uint8_t *gone
        qp_step *step
        int64_t steps

    int qp_reduce(qp_reduction *r, const qp_form *form, int rules, int64_t least, int64_t limit) noexcept
    void qp_reduction_close(qp_reduction *r) noexcept
    int64_t qp_remaining(const qp_graph *g, const int32_t *name, int64_t *start, int32_t *row, int32_t *col,
                         int64_t *value) noexcept
    int64_t qp_movable(int64_t n, int64_t count, const int32_t *row, const int32_t *col, const double *value, double *bounds,
                       int32_t *degree) noexcept
    void qp_restore(const qp_step *step, int64_t steps, uint8_t *x) noexcept
    void qp_graph_close(qp_graph *g) noexcept


cdef extern from "qp_bucket.h" nogil:
    enum:
        QP_MAX_BEST

    ctypedef struct qp_rows:
        int64_t *start

    ctypedef struct qp_forest:
        int64_t count
        int32_t *order
        int width
        int64_t entries

    ctypedef struct qp_buckets:
        const qp_rows *rows
        const qp_forest *forest
        const unsigned char *cancel
        int wanted
        int found
        uint8_t *x
        int64_t cost[QP_MAX_BEST]

    int qp_rows_open(qp_rows *rows, int64_t n, int64_t count, const int32_t *row, const int32_t *col) noexcept
    int qp_rows_fill(qp_rows *rows, const qp_form *form) noexcept
    void qp_rows_close(qp_rows *rows) noexcept
    void qp_forest_close(qp_forest *f) noexcept
    int qp_buckets_run(qp_buckets *b) noexcept
    void qp_buckets_close(qp_buckets *b) noexcept


cdef extern from "qp_plan.h" nogil:
    int64_t qp_components(const qp_rows *rows, int32_t *label, int32_t *member, int64_t *first) noexcept
    int qp_plan_forest(const qp_form *form, const qp_rows *rows, int64_t most, qp_forest *forest) noexcept


cdef extern from "qp_finish.h" nogil:
    enum:
        QP_BEST

    ctypedef struct pt_pool:
        int size
        uint8_t **x

    ctypedef struct qp_finish:
        int64_t n
        int64_t count
        const int32_t *row
        const int32_t *col
        const double *value
        double slack
        const uint8_t *given
        int64_t givens
        const unsigned char *cancel
        double deadline
        pt_pool pool

    int qp_finish_run(qp_finish *f) noexcept
    void qp_finish_close(qp_finish *f) noexcept


MAX_SIZE = 1 << 60
MAX_BEST = QP_MAX_BEST
persistency = PERSISTENCY
structure = STRUCTURE


class Cancelled(Exception):
    """The cancel flag was set."""


cdef int _end(int end) except -1:
    if end == CANCELLED:
        raise Cancelled
    if end != DONE:
        raise MemoryError
    return 0


cdef bint _ascend(const int32_t *row, const int32_t *col, int64_t count, int64_t n) noexcept nogil:
    cdef int64_t k, last = -1, key
    for k in range(count):
        key = row[k] * n + col[k]
        if row[k] < 0 or col[k] < row[k] or col[k] >= n or key <= last:
            return False
        last = key
    return True


cdef int _check(int64_t n, const int32_t[::1] row, const int32_t[::1] col, int64_t values) except -1:
    """The kernels trust their arrays; here is where that is earned."""
    cdef int64_t count = row.shape[0]
    cdef bint sound = True
    if not (count == col.shape[0] == values) or n < 1 or n > 32767:
        raise ValueError("row, col and value must be equally long and n within 1..32767")
    if count:
        with nogil:
            sound = _ascend(&row[0], &col[0], count, n)
    if not sound:
        raise ValueError("entries must ascend, and 0 <= row <= col < n")
    return 0


cdef int64_t _size(const int64_t *value, int64_t count) noexcept nogil:
    """The sum of absolute values, or -1 beyond MAX_SIZE."""
    cdef int64_t k, size = 0, bound = <int64_t>1 << 60
    for k in range(count):
        if value[k] < -bound or value[k] > bound:
            return -1
        size += value[k] if value[k] > 0 else -value[k]
        if size > bound:
            return -1
    return size


cdef int64_t _fill(qp_form *form, int64_t n, const int32_t[::1] row, const int32_t[::1] col, const int64_t[::1] value,
                   const unsigned char[::1] cancel) except -1:
    cdef int64_t size = 0
    _check(n, row, col, value.shape[0])
    if cancel.shape[0] < 1:
        raise ValueError("cancel must be one byte")
    form.n, form.count, form.cancel = n, value.shape[0], &cancel[0]
    form.row, form.col, form.value = NULL, NULL, NULL
    if form.count:
        form.row, form.col, form.value = &row[0], &col[0], &value[0]
        with nogil:
            size = _size(form.value, form.count)
    if size < 0:
        raise ValueError("absolute values must add up to at most 2^60")
    return size


def movable(int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None, const double[::1] value not None):
    """Count the variables that persistency decides at once or that have at most three neighbours; one pass over the entries."""
    cdef int64_t count = value.shape[0], found = n
    _check(n, row, col, count)
    cdef double[:, ::1] bounds = np.zeros((n, 2))
    cdef int32_t[::1] degree = np.zeros(n, np.int32)
    if count:
        with nogil:
            found = qp_movable(n, count, &row[0], &col[0], &value[0], &bounds[0, 0], &degree[0])
    return found


@cython.final
cdef class Reduction:
    """A form reduced by rules: what is left, and the way back. Raises Cancelled.

    limit bounds the sum of absolute values on the way. margin: what a solution against a persistency costs more than the
    minimum, at least; 2^63 - 1 when there is none. Persistencies below `least` are not used.
    """

    cdef qp_reduction r
    cdef readonly int64_t n
    cdef readonly object kept, row, col, value
    cdef readonly int64_t fixed, replaced, margin

    def __cinit__(self):
        memset(&self.r, 0, sizeof(self.r))

    def __init__(self, int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None,
                 const int64_t[::1] value not None, int rules, int64_t limit, const unsigned char[::1] cancel not None,
                 int64_t least=0):
        cdef qp_form form
        cdef int end
        if self.r.step != NULL:
            raise ValueError("a reduction is made once")
        if _fill(&form, n, row, col, value, cancel) > limit or limit > <int64_t>1 << 61:
            raise ValueError("limit must be at least the sum of absolute values and at most 2^61")
        self.n = n
        with nogil:
            end = qp_reduce(&self.r, &form, rules, least, limit)
        _end(end)
        self.fixed, self.replaced = self.r.fixed, self.r.replaced
        self.margin = self.r.margin
        self._take()
        qp_graph_close(&self.r.graph)

    cdef _take(self):
        cdef int64_t i, count
        name, start = np.full(self.n, -1, np.int32), np.empty(self.n, np.int64)
        cdef int32_t[::1] name_view = name
        cdef int64_t[::1] start_view = start
        self.kept = np.flatnonzero(np.asarray(<uint8_t[:self.n]>self.r.gone) == 0).astype(np.int32)
        cdef const int32_t[::1] kept = self.kept
        for i in range(kept.shape[0]):
            name_view[kept[i]] = <int32_t>i
        count = qp_remaining(&self.r.graph, &name_view[0], &start_view[0], NULL, NULL, NULL)
        self.row, self.col, self.value = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int64)
        cdef int32_t[::1] row = self.row, col = self.col
        cdef int64_t[::1] value = self.value
        if count:
            qp_remaining(&self.r.graph, &name_view[0], &start_view[0], &row[0], &col[0], &value[0])

    def restore(self, const uint8_t[:, ::1] x not None):
        """Give the solutions of the whole form, [k][n], for solutions of what is left, [k][len(kept)]."""
        cdef int64_t k
        if x.shape[1] != len(self.kept):
            raise ValueError(f"solutions must have {len(self.kept)} columns")
        out = np.zeros((x.shape[0], self.n), np.uint8)
        cdef uint8_t[:, ::1] view = out
        out[:, self.kept] = x
        with nogil:
            for k in range(view.shape[0]):
                qp_restore(self.r.step, self.r.steps, &view[k, 0])
        return out

    def __dealloc__(self):
        qp_reduction_close(&self.r)


def components(int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None):
    """Give each variable's connected component, numbered from 0 in the order of their first variables."""
    cdef qp_rows rows
    cdef int end
    _check(n, row, col, col.shape[0])
    label, member, first = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n + 1, np.int64)
    cdef int32_t[::1] label_view = label, member_view = member
    cdef int64_t[::1] first_view = first
    cdef const int32_t *from_row = NULL
    cdef const int32_t *from_col = NULL
    if row.shape[0]:
        from_row, from_col = &row[0], &col[0]
    with nogil:
        end = qp_rows_open(&rows, n, col.shape[0], from_row, from_col)
        if end == DONE:
            qp_components(&rows, &label_view[0], &member_view[0], &first_view[0])
        qp_rows_close(&rows)
    _end(end)
    return label


cdef int _eliminate(qp_form *form, int64_t most, qp_rows *rows, qp_forest *forest, qp_buckets *buckets) noexcept nogil:
    cdef int end = qp_rows_open(rows, form.n, form.count, form.row, form.col)
    if end == DONE:
        end = qp_rows_fill(rows, form)
    if end == DONE:
        end = qp_plan_forest(form, rows, most, forest)
    if end == DONE and forest.count:
        buckets.rows, buckets.forest, buckets.cancel = rows, forest, form.cancel
        end = qp_buckets_run(buckets)
    return end


def eliminate(int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None, const int64_t[::1] value not None,
              int64_t most, int wanted, const unsigned char[::1] cancel not None):
    """Solve the connected components whose tables fit in `most` entries together (8 bytes each), the cheapest first.

    Gives (variables, x, cost, width, entries): the variables of those components; their `wanted` best solutions (fewer when
    there are no more), uint8 [k][len(variables)], and costs, int64 [k], ascending.
    """
    cdef qp_form form
    cdef qp_rows rows
    cdef qp_forest forest
    cdef qp_buckets buckets
    cdef int end
    _fill(&form, n, row, col, value, cancel)
    if not 0 < wanted <= QP_MAX_BEST or not 0 <= most <= <int64_t>1 << 30:
        raise ValueError(f"wanted must be in 1..{QP_MAX_BEST} and most in 0..2^30")
    memset(&rows, 0, sizeof(rows))
    memset(&forest, 0, sizeof(forest))
    memset(&buckets, 0, sizeof(buckets))
    buckets.wanted = wanted
    try:
        with nogil:
            end = _eliminate(&form, most, &rows, &forest, &buckets)
        _end(end)
        if forest.count == 0:
            return np.empty(0, np.int32), np.empty((1, 0), np.uint8), np.zeros(1, np.int64), 0, 0
        order = np.array(<int32_t[:forest.count]>forest.order)
        x = np.array(<uint8_t[:buckets.found, :forest.count]>buckets.x)
        cost = np.array(<int64_t[:buckets.found]>buckets.cost)
        ascending = np.argsort(order)
        return order[ascending], np.ascontiguousarray(x[:, ascending]), cost, forest.width, forest.entries
    finally:
        qp_buckets_close(&buckets)
        qp_forest_close(&forest)
        qp_rows_close(&rows)


def neighbours(int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None, const double[::1] value not None,
               double slack, const uint8_t[:, ::1] given not None, double deadline, const unsigned char[::1] cancel not None):
    """Give at most ten distinct solutions, uint8 [k][n]: the best of those given, of what they descend to, and of neighbours.

    slack bounds the rounding of an energy; 0 promises that every sum of values is exact in float64. deadline is in seconds of
    time.monotonic(), 0 for none; behind it the search for better neighbours ends once there are ten.
    """
    cdef qp_finish finish
    cdef int end
    cdef int64_t k
    _check(n, row, col, value.shape[0])
    if given.shape[1] != n or cancel.shape[0] < 1:
        raise ValueError(f"solutions must have {n} columns, and cancel one byte")
    memset(&finish, 0, sizeof(finish))
    finish.n, finish.count, finish.slack = n, row.shape[0], slack
    finish.deadline, finish.cancel = deadline, &cancel[0]
    if finish.count:
        finish.row, finish.col, finish.value = &row[0], &col[0], &value[0]
    if given.shape[0]:
        finish.given, finish.givens = &given[0, 0], given.shape[0]
    try:
        with nogil:
            end = qp_finish_run(&finish)
        _end(end)
        out = np.empty((min(finish.pool.size, QP_BEST), n), np.uint8)
        for k in range(out.shape[0]):
            out[k] = <uint8_t[:n]>finish.pool.x[k]
        return out
    finally:
        qp_finish_close(&finish)
