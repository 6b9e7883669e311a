"""Solvers of QUBO problems: enumeration of up to 24 variables, parallel tempering, and tabu search. All without the GIL."""

import os

from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np


cdef extern from "pt_search.h" nogil:
    enum:
        PT_LANES
        PT_BEST
        PT_MAX_REPLICAS
        CREW_MAX

    ctypedef struct pt_level:
        const char *name

    const pt_level PT_LEVELS[]
    int pt_levels_here() noexcept

    ctypedef struct pt_exact:
        int64_t n
        const double *diagonal
        const void *cells
        int64_t stride
        int wide

    double pt_rows_bound(pt_exact *q) noexcept
    double pt_rows_bound64(pt_exact *q, double *total) noexcept
    const double FIELD32 "PT_FIELD32"

    ctypedef struct pt_pool:
        int size
        uint8_t **x
        int64_t *arrivals

    ctypedef struct pt_rng:
        pass

    ctypedef struct pt_run:
        pt_rng rng
        int replicas
        int length
        int adapt
        int wide
        void *table
        int *lane_of
        double *ladder

    ctypedef struct pt_problem:
        int64_t n
        int64_t count
        const int32_t *row
        const int32_t *col
        const double *value
        int exact_sums
        int dense
        pt_exact given
        double slack
        pt_exact exact

    ctypedef struct pt_state:
        uint8_t *x
        double *gain
        double energy

    ctypedef struct pt_walker:
        pt_state state
        pt_run run
        int32_t *queue
        uint8_t *seen

    ctypedef struct pt_search:
        pt_problem problem
        int replicas
        int threads
        int64_t reads
        int64_t sweeps
        double deadline
        uint64_t seed
        const unsigned char *cancel
        const pt_level *level
        int64_t sweeps_done
        int64_t reads_done
        double best_at
        pt_pool pool
        pt_walker *walker
        void *table

    int pt_search_open(pt_search *s) noexcept
    int pt_search_run(pt_search *s) noexcept
    void pt_search_close(pt_search *s) noexcept
    void pt_swap_rates(const pt_search *s, double *low, double *mean) noexcept
    double pt_now() noexcept
    size_t pt_table_bytes(int wide) noexcept
    void pt_start(pt_run *run, uint64_t seed, double cold, double hot) noexcept
    int pt_sweep(pt_run *run, int (*stop)(void *) noexcept, void *context) noexcept
    int pt_stop(void *context) noexcept
    void pt_seed(pt_rng *r, uint64_t seed) noexcept
    void pt_state_set(const pt_exact *q, pt_state *s) noexcept
    void pt_cross(const pt_exact *q, pt_state *s, const uint8_t *x, double slack, pt_rng *rng, int32_t *queue,
                  uint8_t *seen) noexcept
    void pt_cluster_move(pt_run *run, int32_t *queue, uint8_t *seen) noexcept
    int pt_variable(const pt_run *run, int lane, int64_t i) noexcept

    const int DONE "PT_DONE"
    const int CANCELLED "PT_CANCELLED"


cdef extern from "pt_enum.h" nogil:
    enum:
        PE_MAX_N
        PE_BEST

    ctypedef struct pe_task:
        int n
        int exact
        int64_t count
        const int32_t *row
        const int32_t *col
        const double *value
        const double *residue
        int proven
        int found
        uint32_t *state

    int pe_run(pe_task *t, const pt_level *level, const unsigned char *cancel) noexcept


def _levels():
    return tuple(PT_LEVELS[k].name.decode() for k in range(pt_levels_here()))


levels = _levels()
level = os.environ.get("QFAST_SIMD") or levels[len(levels) - 1]
if level not in levels:
    raise ImportError(f"QFAST_SIMD={level}: this machine offers {', '.join(levels)}")

max_enumerated = PE_MAX_N
lanes = PT_LANES
max_replicas = PT_MAX_REPLICAS
max_threads = CREW_MAX
max_row_sum = int(FIELD32)


class Cancelled(Exception):
    """The cancel flag was set."""


cdef const pt_level *_level(str name) except NULL:
    return &PT_LEVELS[levels.index(name if name is not None else level)]


cdef bint _sound(const int32_t *row, const int32_t *col, const double *value, int64_t count, int64_t n) noexcept nogil:
    cdef int64_t k, last = -1, key
    for k in range(count):
        key = row[k] * n + col[k]
        if row[k] < 0 or col[k] < row[k] or col[k] >= n or key <= last or not fabs(value[k]) <= 1e300:
            return False
        last = key
    return True


cdef int _check(const int32_t[::1] row, const int32_t[::1] col, const double[::1] value, int64_t n) except -1:
    """The kernels trust their arrays; here is where that is earned."""
    cdef int64_t count = row.shape[0]
    cdef bint sound = True
    if not (count == col.shape[0] == value.shape[0]) or n < 1 or n > 32767:
        raise ValueError("row, col and value must be equally long and n within 1..32767")
    if count:
        with nogil:
            sound = _sound(&row[0], &col[0], &value[0], count, n)
    if not sound:
        raise ValueError("entries must ascend, 0 <= row <= col < n, and be finite")
    return 0


def enumerate_best(int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None,
                   const double[::1] value not None, const double[::1] residue, bint exact,
                   const unsigned char[::1] cancel not None, str simd=None):
    """Give (x, proven): the ten best states as rows of x, uint8 [k][n], best first, ties in lexicographic order.

    residue is None or added to value; exact promises that every sum of values is exact in float64.
    """
    _check(row, col, value, n)
    if n > PE_MAX_N or cancel.shape[0] < 1 or (residue is not None and residue.shape[0] != row.shape[0]):
        raise ValueError("at most 24 variables, a cancel flag, and as many residues as values")
    cdef const pt_level *kernels = _level(simd)
    cdef pe_task task
    cdef int end, k, i
    memset(&task, 0, sizeof(task))
    task.n = <int>n
    task.exact = exact
    task.count = row.shape[0]
    if task.count:
        task.row, task.col, task.value = &row[0], &col[0], &value[0]
        task.residue = &residue[0] if residue is not None else NULL
    with nogil:
        end = pe_run(&task, kernels, &cancel[0])
    if end < 0:
        raise MemoryError
    if end > 0:
        raise Cancelled
    out = np.empty((task.found, n), np.uint8)
    cdef uint8_t[:, ::1] x = out
    for k in range(task.found):
        for i in range(task.n):
            x[k, i] = (task.state[k] >> (task.n - 1 - i)) & 1
    return out, bool(task.proven)


cdef int _fill(pt_search *s, int64_t n, const int32_t[::1] row, const int32_t[::1] col, const double[::1] value, bint exact,
               int replicas, int threads, uint64_t seed, const unsigned char[::1] cancel, const pt_level *kernels) except -1:
    _check(row, col, value, n)
    if replicas < PT_LANES or replicas > PT_MAX_REPLICAS or replicas % PT_LANES or cancel.shape[0] < 1:
        raise ValueError("replicas must be a multiple of 32, up to 256, and cancel one byte")
    if threads < 1 or threads > CREW_MAX:
        raise ValueError("threads must be within 1..64")
    memset(s, 0, sizeof(s[0]))
    s.problem.n, s.problem.count = n, row.shape[0]
    if s.problem.count:
        s.problem.row, s.problem.col, s.problem.value = &row[0], &col[0], &value[0]
    s.problem.exact_sums, s.replicas, s.threads, s.seed = exact, replicas, threads, seed
    s.cancel, s.level = &cancel[0], kernels
    return 0


cdef int _give(pt_exact *given, object cells, const double[::1] diagonal, int64_t n) except -1:
    """Cells for the kernels to read where they are: checked, since padding that isn't zero would be taken for variables."""
    cdef double bound, total
    cdef bint real = cells.dtype == np.float64
    if cells.dtype not in (np.int16, np.int32, np.float64) or cells.ndim != 2 or cells.shape[0] != n \
            or cells.shape[1] != (n if real else (n + 15) // 16 * 16) \
            or not cells.flags.c_contiguous or cells.ctypes.data % 64 or diagonal is None or diagonal.shape[0] != n:
        raise ValueError("cells must be aligned rows of float64, or of int16 or int32, padded to a multiple of 16, with a diagonal")
    cdef size_t at = cells.ctypes.data
    given.n, given.cells, given.diagonal = n, <const void *>at, &diagonal[0]
    given.stride, given.wide = cells.shape[1], 2 if real else cells.dtype == np.int32
    with nogil:
        bound = pt_rows_bound64(given, &total) if real else pt_rows_bound(given)
    if not 0 <= bound <= (1e301 if real else FIELD32):
        raise ValueError("cells must be zero on the diagonal and in the padding, and integers add up to less than 2^29 in a row")
    return 0


def temper(int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None, const double[::1] value not None,
           *, bint exact, bint dense, int replicas, int64_t reads, int64_t sweeps, double deadline,
           uint64_t seed, const unsigned char[::1] cancel not None, int threads=1, cells=None, const double[::1] diagonal=None,
           int64_t entries=0, str simd=None):
    """Give (x, statistics) of parallel tempering, or (dense) tabu search: up to ten distinct states as rows of x, uint8 [k][n].

    exact promises that values are integers whose every partial sum is exact in float64. sweeps is per read (of tabu search: n
    flips each), negative for no limit; deadline is in seconds of time.monotonic(), 0 for none. threads work on different reads;
    when only the deadline counts, on a read each at least. Tabu search takes cells, symmetric with a zero diagonal, and the
    diagonal, instead of row, col and value, which are then empty; entries is how many of theirs are not zero.
    """
    cdef pt_search s
    cdef int end = 0, k
    cdef double began = pt_now(), low, mean
    cdef const pt_level *kernels = _level(simd)
    _fill(&s, n, row, col, value, exact, replicas, threads, seed, cancel, kernels)
    if reads < 1 or (sweeps < 0 and not deadline > 0):
        raise ValueError("at least one read, and sweeps or a deadline")
    s.reads, s.sweeps, s.deadline, s.problem.dense = reads, sweeps, deadline, dense
    if cells is not None:
        if not dense or exact == (cells.dtype == np.float64) or row.shape[0]:
            raise ValueError("cells are for tabu search, exact unless float64, and instead of row, col and value")
        _give(&s.problem.given, cells, diagonal, n)
        s.problem.count = entries
    try:
        with nogil:
            end = pt_search_open(&s)
            if end == DONE:
                end = pt_search_run(&s)
        if end < 0:
            raise MemoryError
        if end == CANCELLED:
            raise Cancelled
        out = np.empty((min(s.pool.size, PT_BEST), n), np.uint8)
        for k in range(out.shape[0]):
            out[k] = <uint8_t[:n]>s.pool.x[k]
        statistics = {"sweeps": s.sweeps_done, "reads": s.reads_done, "best_after": s.best_at - began,
                      "num_occurrences": [max(s.pool.arrivals[k], 1) for k in range(out.shape[0])]}
        if not dense:
            pt_swap_rates(&s, &low, &mean)
            statistics |= {"num_replicas": replicas, "swap_rate_low": low, "swap_rate_mean": mean}
        return out, statistics
    finally:
        pt_search_close(&s)


def histogram(int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None, const double[::1] value not None,
              *, int64_t sweeps, int64_t burn_in, double cold, double hot, uint64_t seed, int clusters=0,
              str simd=None):
    """Count the states met at each of 32 fixed temperatures, after burn_in sweeps, to hold them against Boltzmann's law.

    Values are integers.

    Gives (temperatures [32], counts [32][2^n]); bit k of a state is variable k. For the tests.
    """
    cdef pt_search s
    cdef pt_run *run
    cdef unsigned char[::1] cancel = bytearray(1)
    cdef int r, _
    cdef int64_t sweep, i, state
    if n > 12 or not 0 < cold < hot < 1000:
        raise ValueError("at most 12 variables and 0 < cold < hot < 1000")
    counts, ladder = np.zeros((PT_LANES, 1 << n), np.int64), np.empty(PT_LANES)
    cdef int64_t[:, ::1] counts_view = counts
    cdef const pt_level *kernels = _level(simd)
    _fill(&s, n, row, col, value, True, PT_LANES, 1, seed, cancel, kernels)
    try:
        if pt_search_open(&s) != DONE:
            raise MemoryError
        run = &s.walker.run
        run.length = PT_LANES // 2 if clusters else PT_LANES
        with nogil:
            memcpy(run.table, s.table, pt_table_bytes(run.wide))
            pt_start(run, seed, cold, hot)
            run.adapt = 0
            for sweep in range(sweeps):
                pt_sweep(run, pt_stop, s.walker)
                for _ in range(clusters):
                    pt_cluster_move(run, s.walker.queue, s.walker.seen)
                if sweep < burn_in:
                    continue
                for r in range(PT_LANES):
                    state = 0
                    for i in range(n):
                        state |= (<int64_t>pt_variable(run, run.lane_of[r], i)) << i
                    counts_view[r, state] += 1
        for r in range(PT_LANES):
            ladder[r] = run.ladder[r]
        return ladder, counts
    finally:
        pt_search_close(&s)


def cross(int64_t n, const int32_t[::1] row not None, const int32_t[::1] col not None, const double[::1] value not None,
          const uint8_t[::1] x not None, const uint8_t[::1] other not None, *, uint64_t seed):
    """Give (child, energy): x with every cluster of its differences from `other` that costs less there. For the tests.

    Values are integers.
    """
    cdef pt_search s
    cdef unsigned char[::1] cancel = bytearray(1)
    cdef pt_walker *w
    if x.shape[0] != n or other.shape[0] != n:
        raise ValueError("solutions must have n entries")
    _fill(&s, n, row, col, value, True, PT_LANES, 1, seed, cancel, _level(None))
    child = np.empty(n, np.uint8)
    try:
        if pt_search_open(&s) != DONE:
            raise MemoryError
        w = s.walker
        memcpy(w.state.x, &x[0], n)
        with nogil:
            pt_seed(&w.run.rng, seed)
            pt_state_set(&s.problem.exact, &w.state)
            pt_cross(&s.problem.exact, &w.state, &other[0], s.problem.slack, &w.run.rng, w.queue, w.seen)
        child[:] = <uint8_t[:n]>w.state.x
        return child, w.state.energy
    finally:
        pt_search_close(&s)
