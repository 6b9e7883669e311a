# cython: language_level=3
"""OpenQASM 2 and 3 to the compact circuit; the compiler itself is C (qasm_compile.h)."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t
from libc.math cimport isfinite
from libc.stdlib cimport calloc, free, malloc

cdef extern from *:
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "qasm_bind.h" nogil:
    ctypedef struct qf_instr:
        pass

    ctypedef struct qc_buffer:
        qf_instr *code
        int32_t *qubits
        double *params
        int32_t n
        int32_t num_qubits
        int32_t num_params

    ctypedef struct qc_report:
        int kind
        const char *begin
        const char *end
        char *hint
        char *message

    ctypedef struct qc:
        qc_buffer main
        int32_t implicit
        int32_t max_cells
        int32_t num_regs
        int32_t *opened
        int32_t num_opened
        int32_t *regs
        int64_t num_qubits
        int64_t num_clbits
        const char *source
        qc_report *errors
        int num_errors
        int64_t work
        int64_t statements

    ctypedef struct qc_input:
        const char *name
        int32_t length
        int32_t used
        double value

    int qc_compile(
        qc *c, const char *source, size_t length, int wanted, qc_input *inputs, int32_t num_inputs, int is_open
    ) noexcept
    void qc_free(qc *c) noexcept
    void qc_init_library() noexcept

    ctypedef struct qf_machine:
        unsigned char *bits
        int64_t *vars
        int32_t sp
        int64_t fuel

    int32_t qf_classical_check(
        const qf_instr *code, int64_t num_instr, int64_t num_operands, int64_t num_params, int64_t num_clbits,
        int64_t num_vars, signed char *depth, int64_t *where
    ) noexcept
    int qb_count(
        const qf_instr *code, int32_t n, int32_t *num_gates, int32_t *num_tape, int64_t *num_params
    ) noexcept
    void qb_split(
        const qf_instr *code, int32_t n, const double *params, qf_instr *gates, qf_instr *tape, double *bound
    ) noexcept
    int32_t qb_run(
        const qf_instr *tape, int32_t n, const double *constants, int64_t *vars, double *bound
    ) noexcept
    int64_t qb_cell(double value, int32_t width) noexcept
    int32_t qf_classical_step(const qf_instr *code, const double *params, int32_t pc, qf_machine *m) noexcept

qc_init_library()


class QasmError(Exception):
    """The program cannot be compiled.

    Attributes
    ----------
    kind : int
        102 the program is wrong, 103 nothing can run it, 104 beyond this compiler, 120 too large.
    text : str
        What is wrong, without the position.
    begin, end : int
        The place, as byte offsets into the UTF-8 text.
    hint : str or None
        What to do about it.
    others : list of QasmError
        What else is wrong.
    work : int
        Steps that it took to find out: nodes of definitions, bytes read again, statements executed.
    """

    work = 0

    def __init__(self, kind, text, begin, end, hint, others=()):
        super().__init__(text)
        self.others = list(others)
        self.kind = kind
        self.text = text
        self.begin = begin
        self.end = end
        self.hint = hint


cdef object failure(qc *c):
    cdef int k
    cdef list found = []
    for k in range(c.num_errors):
        text = (<bytes> c.errors[k].message).decode("utf-8", "replace")
        hint = (<bytes> c.errors[k].hint).decode("utf-8", "replace")
        if c.errors[k].kind == 1:
            return MemoryError(text)
        begin, end = c.errors[k].begin - c.source, c.errors[k].end - c.source
        found.append(QasmError(c.errors[k].kind, text, begin, end, hint or None))
    found[0].others = found[1:]
    found[0].work = c.work + c.statements
    return found[0]


cdef tuple registers(qc *c, bint classical):
    cdef int32_t k
    cdef int32_t *r
    cdef list found = []
    for k in range(c.num_regs):
        r = c.regs + 4 * k
        if r[3] == classical:
            found.append((PyUnicode_DecodeUTF8(c.source + r[0], r[1], NULL), r[2]))
    return tuple(found)


cdef qc_input *take_inputs(dict inputs, list keep) except NULL:
    """The inputs as C has them; `keep` holds the names while it is used."""
    cdef qc_input *taken = <qc_input *> calloc(len(inputs) + 1, sizeof(qc_input))
    cdef bytes name
    if taken == NULL:
        raise MemoryError
    try:
        for k, (key, value) in enumerate(inputs.items()):
            name = key.encode()
            keep.append(name)
            taken[<Py_ssize_t> k].name = name
            taken[<Py_ssize_t> k].length = <int32_t> min(len(name), 1 << 20)
            taken[<Py_ssize_t> k].value = value
    except BaseException:
        free(taken)
        raise
    return taken


def compile(str source not None, int version=0, dict inputs=None):
    """Compile a program.

    Parameters
    ----------
    source : str
        The program; it must be encodable as UTF-8.
    version : {0, 2, 3}
        The OpenQASM version that it must have; 0 detects it.
    inputs : dict of str to float, optional
        Values of the input parameters of an OpenQASM 3 program, all finite.

    Returns
    -------
    tuple
        num_qubits, num_clbits, num_vars, code, qubits, params, qregs, cregs, implicit_measurement: the fields of the
        compact circuit.

    Raises
    ------
    QasmError
        The program is wrong, too large, or can't be run.
    """
    cdef Py_ssize_t length = 0
    cdef const char *text = PyUnicode_AsUTF8AndSize(source, &length)
    cdef qc *c = <qc *> malloc(sizeof(qc))
    cdef int error
    cdef int32_t num_inputs = 0
    cdef qc_input *taken = NULL
    cdef list keep = []
    if c == NULL:
        raise MemoryError
    if inputs is not None:
        try:
            taken = take_inputs(inputs, keep)
        except BaseException:
            free(c)
            raise
        num_inputs = <int32_t> len(inputs)
    with nogil:
        error = qc_compile(c, text, length, version, taken, num_inputs, 0)
    try:
        if error:
            raise failure(c)
        code = PyBytes_FromStringAndSize(<char *> c.main.code, c.main.n * <Py_ssize_t> 24)
        params = PyBytes_FromStringAndSize(<char *> c.main.params, c.main.num_params * <Py_ssize_t> 8)
        return circuit_of(c, c.max_cells, code, params)
    finally:
        qc_free(c)
        free(c)
        free(taken)


cdef tuple circuit_of(qc *c, int num_vars, bytes code, bytes params):
    """The fields of the compact circuit with that code."""
    cregs = (("meas", c.num_qubits),) if c.implicit else registers(c, True)
    return (
        c.num_qubits,
        c.num_qubits if c.implicit else c.num_clbits,
        num_vars,
        code,
        PyBytes_FromStringAndSize(<char *> c.main.qubits, c.main.num_qubits * <Py_ssize_t> 4),
        params,
        registers(c, False),
        cregs,
        bool(c.implicit),
    )


def compile_open(str source not None, int version=0):
    """Compile a program whose input parameters get their values later.

    Parameters
    ----------
    source, version
        As for `compile`.

    Returns
    -------
    tuple or None
        The fields of the compact circuit, in which the angles that depend on inputs are zero, and what `bind` takes to
        write them: the inputs' names, their cells (int32 pairs of cell and width of an angle or 0), the tape, its
        constants and the number of cells. None when more than angles depends on inputs, or on measurements.

    Raises
    ------
    QasmError
        The program is wrong or too large, or depends on its inputs in another way.
    """
    cdef Py_ssize_t length = 0
    cdef const char *text = PyUnicode_AsUTF8AndSize(source, &length)
    cdef qc *c = <qc *> malloc(sizeof(qc))
    cdef int error
    cdef int32_t num_gates = 0, num_tape = 0, k
    cdef int64_t num_params = 0
    cdef bytes gates, tape, bound, cells
    if c == NULL:
        raise MemoryError
    with nogil:
        error = qc_compile(c, text, length, version, NULL, 0, 1)
    try:
        if error:
            raise failure(c)
        if not qb_count(c.main.code, c.main.n, &num_gates, &num_tape, &num_params):
            return None
        gates = PyBytes_FromStringAndSize(NULL, num_gates * <Py_ssize_t> 24)
        tape = PyBytes_FromStringAndSize(NULL, num_tape * <Py_ssize_t> 24)
        bound = PyBytes_FromStringAndSize(NULL, num_params * 8)
        cells = PyBytes_FromStringAndSize(NULL, c.num_opened * <Py_ssize_t> 8)
        qb_split(
            c.main.code, c.main.n, c.main.params,
            <qf_instr *> <char *> gates, <qf_instr *> <char *> tape, <double *> <char *> bound,
        )
        names = []
        for k in range(c.num_opened):
            names.append(PyUnicode_DecodeUTF8(c.source + c.opened[4 * k], c.opened[4 * k + 1], NULL))
            (<int32_t *> <char *> cells)[2 * k] = c.opened[4 * k + 2]
            (<int32_t *> <char *> cells)[2 * k + 1] = c.opened[4 * k + 3]
        constants = PyBytes_FromStringAndSize(<char *> c.main.params, c.main.num_params * <Py_ssize_t> 8)
        return circuit_of(c, 0, gates, bound), tuple(names), cells, tape, constants, c.max_cells
    finally:
        qc_free(c)
        free(c)


def bind(bytes cells not None, bytes tape not None, bytes constants not None, int num_cells, bytes params not None,
         tuple values not None):
    """Give the parameters of a circuit of `compile_open` for these values of its inputs, in the order of their names.

    Returns
    -------
    bytes or None
        float64 parameters; None when the values give no finite angles.
    """
    cdef Py_ssize_t n = len(cells) // 8, k
    cdef const int32_t *cell = <const int32_t *> <const char *> cells
    cdef bytes bound = PyBytes_FromStringAndSize(<const char *> params, len(params))
    cdef int64_t *vars
    cdef int32_t result
    cdef double value
    if len(values) != n:
        raise ValueError("there must be a value for each input")
    vars = <int64_t *> calloc(num_cells + 1, 8)
    if vars == NULL:
        raise MemoryError
    try:
        for k in range(n):
            value = values[k]
            if not isfinite(value):
                return None
            vars[cell[2 * k]] = qb_cell(value, cell[2 * k + 1])
        result = qb_run(
            <const qf_instr *> <const char *> tape, <int32_t> (len(tape) // 24), <const double *> <const char *> constants,
            vars, <double *> <char *> bound,
        )
        return None if result else bound
    finally:
        free(vars)


def run_classical(bytes code not None, bytes params not None, int num_clbits, int num_vars, long long fuel):
    """Check and run a program that has no gates; a testing hook for the stack machine (classical.h).

    Parameters
    ----------
    code, params : bytes
        INSTRUCTION records and float64 parameters.
    num_clbits, num_vars : int
        Bits and variables, all zero at first.
    fuel : int
        Steps that it may take.

    Returns
    -------
    tuple of (int, bytes, bytes)
        The result (0 at the end of the code, -1 after END, else an error of enum qf_machine_result), the bits, one a byte,
        and the int64 variables.
    """
    cdef int64_t n = len(code) // 24
    cdef int64_t where = 0
    cdef int32_t pc = 0
    cdef qf_machine m
    cdef bytearray bits = bytearray(num_clbits + 1)
    cdef bytearray vars = bytearray(8 * (num_vars + 1))
    cdef bytearray depth = bytearray(n + 1)
    cdef const qf_instr *instr = <const qf_instr *> <const char *> code
    cdef const double *numbers = <const double *> <const char *> params
    m.bits = bits
    m.vars = <int64_t *> <char *> vars
    m.sp = 0
    m.fuel = fuel
    cdef int32_t result = qf_classical_check(
        instr, n, 0, len(params) // 8, num_clbits, num_vars, <signed char *> <char *> depth, &where
    )
    while result == 0 and pc < n:
        pc = qf_classical_step(instr, numbers, pc, &m)
        if pc < 0:
            result = pc
    return result, bytes(bits[:num_clbits]), bytes(vars[:8 * num_vars])
