"""Rewrites circuits for a device: a thin layer over tp_run.h, which knows no Python."""

cimport cython
from libc.math cimport HUGE_VAL
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from cpython.bytes cimport PyBytes_FromStringAndSize


cdef extern from "tp_run.h" nogil:
    ctypedef struct qf_instr:
        pass
    ctypedef struct tp_turn:
        double w, x, y, z
        int32_t tree
    ctypedef struct tp_entangler:
        int32_t op, nctrl, form, symmetric
        int32_t axis[2]
        double phi, scale
        int32_t num_params, angle_at
        double before[2][4]
        double after[2][4]
        double after_rz[2]
    ctypedef struct tp_macro:
        int32_t op, base
        double sign
        int32_t num_before, num_after
        int32_t before[24]
        int32_t after[24]
    ctypedef struct tp_basis:
        int style
        int32_t z
        int num_fixed
        int32_t fixed_op[16]
        tp_turn fixed[16]
        int num_entanglers
        tp_entangler entanglers[40]
        int iswap, swap
        uint8_t keeps[320]
        int num_macros
        tp_macro macros[2]
        int64_t num_words
        tp_turn* words
        int32_t* word_start
        int32_t* word_ops
    ctypedef struct tp_map:
        int32_t n
    ctypedef struct tp_watch:
        const unsigned char* cancel
        double deadline
        int64_t ticks
        int status
    ctypedef struct tp_output:
        qf_instr* code
        int64_t size
        int32_t* operands
        int64_t num_operands
        double* params
        int64_t num_params
        int64_t gates, pairs, depth
    ctypedef struct tp_run:
        const qf_instr* code
        int64_t n
        const int32_t* operands
        int64_t num_operands
        const double* params
        int64_t num_params
        int32_t num_qubits
        int64_t num_clbits, num_vars
        const tp_basis* basis
        const tp_map* map
        int level
        uint64_t seed
        tp_watch watch
        tp_output best
        int32_t* start
        int32_t* end
        int64_t swaps
    int TP_OK, TP_NO_MEMORY, TP_MOST_PLACES, TP_MOST_MACRO, TP_CONTROLS
    int tp_map_init(tp_map*, const int32_t*, int64_t, int32_t)
    void tp_map_free(tp_map*)
    int tp_run_all(tp_run*)
    void tp_run_free(tp_run*)

MOST_PLACES = TP_MOST_PLACES
STATUSES = (
    "ok", "no memory", "cancelled", "late", "malformed", "no one-qubit gate", "no two-qubit gate", "no region", "no direction",
    "wide pop", "too large",
)


cdef int set_turn(tp_turn* to, tuple turn) except -1:
    to.w, to.x, to.y, to.z = turn
    to.tree = -1
    return 0


@cython.final
cdef class Basis:
    """The native gates, as the kernel needs them."""

    cdef tp_basis b

    def __cinit__(self, int style, int z, list fixed, list entanglers, bint iswap, list keeps, list words, list macros):
        cdef int64_t k, length = 0
        memset(&self.b, 0, sizeof(self.b))
        if len(fixed) > 16 or len(entanglers) > 40 or len(macros) > 2 or not 0 <= style <= 6:
            raise ValueError("a basis of too many gates")
        self.b.style = style
        self.b.z = z
        self.b.num_fixed = len(fixed)
        for k, (op, turn) in enumerate(fixed):
            self.b.fixed_op[k] = op
            set_turn(&self.b.fixed[k], turn)
        self.b.num_entanglers = len(entanglers)
        for k, entry in enumerate(entanglers):
            self._entangler(&self.b.entanglers[k], entry)
        self.b.iswap = iswap
        for op, nctrl in keeps:
            if not (0 <= op < 64 and 0 <= nctrl < TP_CONTROLS):
                raise ValueError("no such gate")
            self.b.keeps[op * TP_CONTROLS + nctrl] = 1
            self.b.swap |= (op == 32 and nctrl == 0)
        self.b.num_macros = len(macros)
        for k, (op, base, sign, before, after) in enumerate(macros):
            if len(before) > TP_MOST_MACRO or len(after) > TP_MOST_MACRO:
                raise ValueError("a rotation of too many gates")
            self.b.macros[k].op, self.b.macros[k].base, self.b.macros[k].sign = op, base, sign
            self.b.macros[k].num_before, self.b.macros[k].num_after = len(before), len(after)
            for length in range(len(before)):
                self.b.macros[k].before[length] = before[length]
            for length in range(len(after)):
                self.b.macros[k].after[length] = after[length]
        length = 0
        for _, ops in words:
            length += len(ops)
        self.b.words = <tp_turn*> malloc((len(words) + 1) * sizeof(tp_turn))
        self.b.word_start = <int32_t*> malloc((len(words) + 1) * sizeof(int32_t))
        self.b.word_ops = <int32_t*> malloc((length + 1) * sizeof(int32_t))
        if self.b.words == NULL or self.b.word_start == NULL or self.b.word_ops == NULL:
            raise MemoryError
        length = 0
        for k, (turn, ops) in enumerate(words):
            set_turn(&self.b.words[k], turn)
            self.b.word_start[k] = length
            for op in ops:
                self.b.word_ops[length] = op
                length += 1
        self.b.num_words = len(words)
        self.b.word_start[len(words)] = length

    def __dealloc__(self):
        free(self.b.words)
        free(self.b.word_start)
        free(self.b.word_ops)

    cdef int _entangler(self, tp_entangler* g, tuple entry) except -1:
        cdef int side, k
        (g.op, g.nctrl, g.form, g.symmetric, axes, g.phi, g.scale, g.num_params, g.angle_at, before, after, after_rz) = entry
        if not 0 <= g.angle_at < 3 or not 0 <= g.num_params <= 3:
            raise ValueError("no such angle")
        for side in range(2):
            g.axis[side] = axes[side]
            g.after_rz[side] = after_rz[side]
            for k in range(4):
                g.before[side][k] = before[side][k]
                g.after[side][k] = after[side][k]
        return 0


@cython.final
cdef class Map:
    """A coupling map and its distances."""

    cdef tp_map m

    def __cinit__(self, const int32_t[:, ::1] pairs not None, int num_qubits):
        cdef int64_t k, count = pairs.shape[0]
        cdef int done
        if pairs.shape[1] != 2 or not 0 < num_qubits <= TP_MOST_PLACES:
            raise ValueError("not a coupling map")
        for k in range(count):
            if not (0 <= pairs[k, 0] < num_qubits and 0 <= pairs[k, 1] < num_qubits):
                raise ValueError("a pair beyond the coupling map")
        with nogil:
            done = tp_map_init(&self.m, &pairs[0, 0] if count else NULL, count, num_qubits)
        if not done:
            raise MemoryError

    def __dealloc__(self):
        tp_map_free(&self.m)

    @property
    def num_qubits(self):
        """Qubits of the device."""
        return self.m.n


def rewrite(bytes code not None, bytes operands not None, bytes params not None, int num_qubits, int64_t num_clbits,
            int64_t num_vars, Basis basis not None, Map map, int level, uint64_t seed, const unsigned char[::1] cancel, deadline):
    """Gives the status and, when that is "ok", code, operands, params, gates, pairs, depth, swaps, first and last places."""
    cdef tp_run run
    cdef int status, q
    cdef list first = [], last = []
    if len(code) % 24 or len(operands) % 4 or len(params) % 8 or num_qubits < 0 or num_clbits < 0 or not 0 <= level <= 3:
        raise ValueError("malformed circuit")
    if map is not None and num_qubits > map.m.n:
        raise ValueError("the map has too few qubits")
    memset(&run, 0, sizeof(run))
    run.code = <const qf_instr*> <const char*> code
    run.n = len(code) // 24
    run.operands = <const int32_t*> <const char*> operands
    run.num_operands = len(operands) // 4
    run.params = <const double*> <const char*> params
    run.num_params = len(params) // 8
    run.num_qubits = num_qubits
    run.num_clbits = num_clbits
    run.num_vars = num_vars
    run.basis = &basis.b
    run.map = &map.m if map is not None else NULL
    run.level = level
    run.seed = seed
    run.watch.cancel = &cancel[0] if cancel is not None and cancel.shape[0] else NULL
    run.watch.deadline = HUGE_VAL if deadline is None else deadline
    try:
        with nogil:
            status = tp_run_all(&run)
        if status == TP_NO_MEMORY:
            raise MemoryError
        if status != TP_OK:
            return STATUSES[status], None
        for q in range(num_qubits):
            first.append(run.start[q])
            last.append(run.end[q])
        return "ok", (
            PyBytes_FromStringAndSize(<const char*> run.best.code, run.best.size * 24),
            PyBytes_FromStringAndSize(<const char*> run.best.operands, run.best.num_operands * 4),
            PyBytes_FromStringAndSize(<const char*> run.best.params, run.best.num_params * 8),
            run.best.gates, run.best.pairs, run.best.depth, run.swaps, first, last,
        )
    finally:
        tp_run_free(&run)
