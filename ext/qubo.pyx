"""QUBO matrices from JSON, folded to one sparse form, and exact values of solutions; all without the GIL."""

import os

from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

from libc.stdlib cimport free
from cython.view cimport array as block


cdef extern from "qubo_number.h" nogil:
    ctypedef struct qn_number:
        const char *end
        double value
        int kind
        int huge

    qn_number qn_read(const char *p, const char *end) noexcept


cdef extern from "qubo_real.h" nogil:
    ctypedef double (*qj_slow)(const char *text, size_t length) noexcept nogil

    ctypedef struct qj_reader:
        const char *p
        const char *end
        int64_t matrices
        int error
        int key
        int64_t row
        int64_t col
        int64_t a
        int64_t b
        const char *at

    enum qc_kind:
        QC_INT16
        QC_INT32
        QC_FLOAT64

    ctypedef struct qc_cells:
        int64_t stride
        qc_kind kind
        void *at

    ctypedef struct qc_facts:
        int64_t pairs
        int64_t entries
        int64_t bound

    ctypedef struct qj_matrix:
        int64_t n
        int64_t count
        qc_cells cells
        double *value
        int64_t *row
        int64_t *col

    ctypedef struct qf_form:
        int exact
        int64_t denominator
        double total

    void qj_open(qj_reader *r, const char *text, size_t length, qj_slow slow, int64_t max_n, int64_t max_cells,
                 const unsigned char *cancel, int wide) noexcept
    int qw_offered() noexcept
    int qj_next(qj_reader *r, qj_matrix *m) noexcept
    void qj_free(qj_matrix *m) noexcept
    int qf_prepare(qj_matrix *m, qf_form *form) noexcept
    int qc_fold(qc_cells *c, double *diagonal, qc_facts *facts) noexcept
    int64_t qc_count(const void *cells, qc_kind kind, int64_t n, int64_t stride, const double *diagonal) noexcept
    void qc_take(const void *cells, qc_kind kind, int64_t n, int64_t stride, const double *diagonal, int32_t *row,
                 int32_t *col, double *value) noexcept
    void qc_values(const void *cells, int wide, int64_t n, int64_t stride, const double *diagonal, const uint8_t *x,
                   int64_t solutions, int64_t denominator, int32_t *scratch, double *out) noexcept
    int64_t qd_settle(double *q, int64_t n, double *diagonal, double *residue) noexcept
    void qd_values(const double *q, int64_t n, int64_t stride, const double *diagonal, const double *residue, const uint8_t *x,
                   int64_t solutions, int32_t *ones, double *out) noexcept
    int64_t qf_fold_dense(qj_matrix *m, int *residues) noexcept
    void qf_take_dense(const qj_matrix *m, int32_t *row, int32_t *col, double *value, double *residue) noexcept
    int qf_keys(qj_matrix *m, int64_t *key) noexcept
    void qf_order(const int64_t *key, int64_t count, int64_t n, int64_t *order, int64_t *spare, int64_t *counts) noexcept
    int64_t qf_take_sparse(const qj_matrix *m, const int64_t *key, const int64_t *order, int32_t *row, int32_t *col,
                           double *value, double *residue, int *residues) noexcept
    void qf_values(const int32_t *row, const int32_t *col, const double *value, const double *residue, int64_t count,
                   const uint8_t *x, int64_t n, int64_t solutions, int exact, int64_t denominator, double *scratch,
                   double *out) noexcept


cdef double _slow(const char *text, size_t length) noexcept nogil:
    """Python's own float() for the rare number that 128 bits can't decide."""
    with gil:
        try:
            return float(text[:length])
        except (ValueError, MemoryError):
            return float("inf")


levels = ("scalar", "avx2") if qw_offered() else ("scalar",)
level = "scalar" if os.environ.get("QFAST_SIMD") == "scalar" else levels[len(levels) - 1]


class MatrixDefect(Exception):
    """What is wrong with the text, where: (code, matrix, row, column, key, a, b, offset in bytes or -1)."""


cdef bint _sparse_enough(int64_t n, int64_t pairs, int64_t min_dense) noexcept:
    """Whether entries serve better than whole rows."""
    return n < min_dense or (100 * pairs <= 4 * n * (n - 1) and pairs <= 50 * n)


cdef object _kept(qj_matrix *m):
    """The cells as an array that owns them."""
    cdef Py_ssize_t width = 2 if m.cells.kind == QC_INT16 else 4 if m.cells.kind == QC_INT32 else 8
    cdef block memory = block((m.n, m.cells.stride), width, "h" if width == 2 else "i" if width == 4 else "d",
                              allocate_buffer=False)
    memory.data = <char *>m.cells.at
    memory.callback_free_data = free
    m.cells.at = NULL  # the array's now
    return np.asarray(memory)


cdef object _floats(qj_matrix *m, int64_t min_dense, bint exact):
    """Dense float64 cells: as they are when whole rows pay, else their entries; and the residues."""
    cdef int residues = 0
    cdef int64_t count, pairs
    cdef double *rest = NULL
    with nogil:
        count = qf_fold_dense(m, &residues)
    residue = None
    cdef double[::1] residue_view, diagonal_view
    if not exact and not _sparse_enough(m.n, count, min_dense):
        diagonal = np.empty(m.n)
        diagonal_view = diagonal
        if residues:
            residue = np.empty(m.n * (m.n - 1) // 2)
            residue_view = residue
            rest = &residue_view[0]
        with nogil:
            pairs = qd_settle(<double *>m.cells.at, m.n, &diagonal_view[0], rest)
        return _kept(m), diagonal, count, pairs, 0, residue
    row, col, value = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.float64)
    cdef int32_t[::1] row_view = row, col_view = col
    cdef double[::1] value_view = value
    if count:
        if residues:
            residue = np.empty(count, np.float64)
            residue_view = residue
            rest = &residue_view[0]
        with nogil:
            qf_take_dense(m, &row_view[0], &col_view[0], &value_view[0], rest)
    return row, col, value, residue


cdef object _integers(qj_matrix *m, int64_t min_dense):
    """Integer cells: as they are when whole rows pay, else their entries."""
    cdef qc_facts facts
    cdef int done
    diagonal = np.empty(m.n)
    cdef double[::1] diagonal_view = diagonal
    with nogil:
        done = qc_fold(&m.cells, &diagonal_view[0], &facts)
    if not done:
        raise MemoryError
    if _sparse_enough(m.n, facts.pairs, min_dense):
        return *_entries(m.cells.at, m.cells.kind, m.n, m.cells.stride, diagonal_view, facts.entries), None
    return _kept(m), diagonal, facts.entries, facts.pairs, facts.bound, None


cdef object _entries(const void *cells, qc_kind kind, int64_t n, int64_t stride, const double[::1] diagonal, int64_t count):
    row, col, value = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.float64)
    cdef int32_t[::1] row_view = row, col_view = col
    cdef double[::1] value_view = value
    if count:
        with nogil:
            qc_take(cells, kind, n, stride, &diagonal[0], &row_view[0], &col_view[0], &value_view[0])
    return row, col, value


cdef object _sparse(qj_matrix *m):
    cdef int residues = 0, ascending
    cdef int64_t count = m.count, left
    row, col, value = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.float64)
    if count == 0:
        return row, col, value, None
    key, residue = np.empty(count, np.int64), np.empty(count, np.float64)
    cdef int64_t[::1] key_view = key, order_view, spare, counts
    cdef int32_t[::1] row_view = row, col_view = col
    cdef double[::1] value_view = value, residue_view = residue
    cdef const int64_t *order = NULL
    with nogil:
        ascending = qf_keys(m, &key_view[0])
    if not ascending:
        order_view, spare, counts = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(m.n + 1, np.int64)
        order = &order_view[0]
        with nogil:
            qf_order(&key_view[0], count, m.n, &order_view[0], &spare[0], &counts[0])
    with nogil:
        left = qf_take_sparse(m, &key_view[0], order, &row_view[0], &col_view[0], &value_view[0], &residue_view[0],
                              &residues)
    if left < count:
        row, col, value, residue = row[:left].copy(), col[:left].copy(), value[:left].copy(), residue[:left].copy()
    return row, col, value, residue if residues else None


def parse(const unsigned char[::1] text not None, int64_t max_matrices, int64_t max_n, int64_t max_cells,
          int64_t min_dense, const unsigned char[::1] cancel=None, str simd=None):
    """Read a JSON array of matrices.

    Gives a list of (n, exact, denominator, total, parts). The parts are row, col, value and residue, or, of dense ones
    with at least min_dense variables, cells (a symmetric array with a zero diagonal, rows padded with zeros), diagonal, the
    numbers of entries and of pairs that are not zero, the most that the absolute values of a row of integers add up to, and
    the residues of the upper triangle without the diagonal, row by row, or None.
    simd: one of levels instead of the best. Raises MatrixDefect.
    """
    cdef qj_reader reader
    cdef qj_matrix matrix
    cdef qf_form form
    cdef int state
    cdef char nothing = 0
    cdef const char *start = <const char *>&text[0] if text.shape[0] else &nothing
    out = []
    qj_open(&reader, start, <size_t>text.shape[0], _slow, max_n, max_cells,
            &cancel[0] if cancel is not None else NULL, (simd or level) != "scalar")
    while True:
        try:
            with nogil:
                state = qj_next(&reader, &matrix)
                if state > 0 and not qf_prepare(&matrix, &form):
                    state = -2
            if state == -2:
                raise MemoryError
            if state < 0:
                raise MatrixDefect(reader.error, reader.matrices, reader.row, reader.col, reader.key, reader.a, reader.b,
                                   -1 if reader.at == NULL else reader.at - start)
            if state == 0:
                return out
            if len(out) == max_matrices:
                raise MatrixDefect(-1, -1, -1, -1, -1, max_matrices, 0, -1)
            if matrix.cells.at == NULL:
                parts = _sparse(&matrix)
            elif matrix.cells.kind == QC_FLOAT64:
                parts = _floats(&matrix, min_dense, form.exact)
            else:
                parts = _integers(&matrix, min_dense)
            out.append((matrix.n, bool(form.exact), form.denominator, form.total, parts))
        finally:
            qj_free(&matrix)


cdef qc_kind _kind(object cells, int64_t n) except *:
    if cells.dtype not in (np.int16, np.int32, np.float64) or cells.ndim != 2 or cells.shape[0] != n or cells.shape[1] < n \
            or not cells.flags.c_contiguous or not n:
        raise ValueError("cells must be int16, int32 or float64, one row a variable and at least as wide")
    return QC_INT16 if cells.dtype == np.int16 else QC_INT32 if cells.dtype == np.int32 else QC_FLOAT64


def entries(cells not None, const double[::1] diagonal not None):
    """Give (row, col, value) of folded cells."""
    cdef int64_t n = diagonal.shape[0], stride, count
    cdef qc_kind kind = _kind(cells, n)
    cdef size_t at = cells.ctypes.data
    stride = cells.shape[1]
    with nogil:
        count = qc_count(<const void *>at, kind, n, stride, &diagonal[0])
    return _entries(<const void *>at, kind, n, stride, diagonal, count)


def dense_values(cells not None, const double[::1] diagonal not None, const uint8_t[:, ::1] x not None, int64_t denominator,
                 const double[::1] residue=None):
    """Give x^T Q x of each solution (a row of x, zeros and ones) for folded cells, exact and rounded once."""
    cdef int64_t n = diagonal.shape[0], solutions = x.shape[0]
    cdef qc_kind kind = _kind(cells, n)
    if x.shape[1] != n or denominator < 1 or (residue is not None and residue.shape[0] != n * (n - 1) // 2):
        raise ValueError("solutions must be as long as there are variables, and the denominator positive")
    cdef size_t at = cells.ctypes.data
    cdef int64_t stride = cells.shape[1]
    cdef const double *rest = &residue[0] if residue is not None and residue.shape[0] else NULL
    out = np.empty(solutions)
    cdef double[::1] out_view = out
    cdef int32_t[::1] scratch = np.empty(n, np.int32)
    if not solutions:
        return out
    with nogil:
        if kind == QC_FLOAT64:
            qd_values(<const double *>at, n, stride, &diagonal[0], rest, &x[0, 0], solutions, &scratch[0], &out_view[0])
        else:
            qc_values(<const void *>at, kind == QC_INT32, n, stride, &diagonal[0], &x[0, 0], solutions, denominator,
                      &scratch[0], &out_view[0])
    return out


cdef bint _inside(const int32_t *row, const int32_t *col, int64_t count, int64_t n) noexcept nogil:
    cdef int64_t k
    for k in range(count):
        if row[k] < 0 or row[k] >= n or col[k] < 0 or col[k] >= n:
            return False
    return True


def values(const int32_t[::1] row not None, const int32_t[::1] col not None, const double[::1] value not None,
           const double[::1] residue, const uint8_t[:, ::1] x not None, bint exact, int64_t denominator):
    """Give x^T Q x of each solution (a row of x, zeros and ones), exact and rounded once.

    Rows ascend, and exact promises that every partial sum is exact in float64. Raises ValueError for arrays that don't fit
    together.
    """
    cdef int64_t count = row.shape[0], n = x.shape[1], solutions = x.shape[0]
    cdef const double *rest = NULL
    cdef bint inside = True
    if not (count == col.shape[0] == value.shape[0]) or (residue is not None and residue.shape[0] != count):
        raise ValueError("row, col, value and residue must be equally long")
    if count:
        with nogil:
            inside = _inside(&row[0], &col[0], count, n)
    if not inside or denominator < 1:
        raise ValueError("row and col must be below the number of variables, and the denominator positive")
    if solutions and (count == 0 or n == 0):
        return np.zeros(solutions)
    out = np.empty(solutions)
    cdef double[::1] out_view = out, scratch = np.empty(n)
    if solutions:
        if residue is not None:
            rest = &residue[0]
        with nogil:
            qf_values(&row[0], &col[0], &value[0], rest, count, &x[0, 0], n, solutions, exact, denominator, &scratch[0],
                      &out_view[0])
    return out


def number(bytes text not None):
    """The value of a JSON number by the fast path alone, or None when it does not serve; for the tests."""
    cdef const char *start = text
    cdef qn_number out = qn_read(start, start + len(text))
    return out.value if out.end == start + len(text) and out.kind in (1, 2) and not out.huge else None
