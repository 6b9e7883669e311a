"""What the simulators' thin layers share: circuits as bytes, the SIMD level, the refusal of a malformed circuit."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport getenv
from libc.string cimport memset

from cpython.buffer cimport PyBUF_SIMPLE, PyObject_GetBuffer


cdef extern from "sv_keys.h" nogil:
    ctypedef struct sv_circuit:
        int64_t n
        int64_t num_qubits, num_clbits, num_vars
    ctypedef struct sv_plan:
        int32_t capacity, num_touched
        uint8_t jumps, branches
        int64_t num_ops
        const char* error
        int64_t where
    ctypedef struct sv_counts:
        pass
    int SV_OK, SV_INVALID, SV_CANCELLED
    const char* sv_level_names[3]
    int sv_level_supported(int)
    void sv_plan_free(sv_plan*)


cdef extern from "sv_keys.h":
    int sv_view_circuit(sv_circuit*, bytes, bytes, bytes) except -1
    int sv_check_registers(tuple, int64_t) except -1
    object sv_rendered(const sv_counts*, int64_t, tuple, const unsigned char*, int, uint64_t)


cdef inline tuple supported_levels():
    return tuple([sv_level_names[level].decode() for level in range(3) if sv_level_supported(level)])


cdef inline int chosen_level(tuple levels) except -1:
    """The index of the best level, or of the one that QFAST_SIMD names."""
    cdef const char* text = getenv("QFAST_SIMD")
    if text == NULL or text[0] == 0:
        return len(levels) - 1
    wanted = (<bytes> text).decode(errors="replace")
    if wanted not in levels:
        raise ImportError(f"QFAST_SIMD={wanted}: this machine offers {', '.join(levels)}")
    return levels.index(wanted)


cdef inline int level_of(level, tuple levels, int best) except -1:
    if level is None:
        return best
    if level not in levels:
        raise ValueError(f"unknown or unsupported SIMD level {level!r}")
    return levels.index(level)


cdef inline int view(sv_circuit* c, bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits,
                     int64_t num_vars) except -1:
    """Points into the three arrays, which must stay alive; their contents are checked when the plan is made."""
    c.num_qubits = num_qubits
    c.num_clbits = num_clbits
    c.num_vars = num_vars
    return sv_view_circuit(c, code, operands, params)


cdef inline const unsigned char* hold(cancel, Py_buffer* held) except? NULL:
    """The cancel flag, held until PyBuffer_Release(held); NULL when there is none."""
    memset(held, 0, sizeof(held[0]))
    if cancel is None:
        return NULL
    PyObject_GetBuffer(cancel, held, PyBUF_SIMPLE)
    return <const unsigned char*> held.buf if held.len else NULL


cdef inline refuse(const sv_plan* plan):
    raise ValueError(f"malformed circuit: instruction {plan.where}: {plan.error.decode()}")
