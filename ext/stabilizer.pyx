"""Runs Clifford circuits on a stabilizer state: a thin layer over stab_run.h, which knows no Python."""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from cpython.buffer cimport PyBuffer_Release
from sv_glue cimport (
    SV_CANCELLED, SV_INVALID, SV_OK, chosen_level, hold, level_of, refuse, supported_levels, sv_check_registers, sv_circuit, sv_counts,
    sv_plan, sv_plan_free, sv_rendered, view,
)


cdef extern from "stab_run.h" nogil:
    ctypedef struct stab_kernels:
        pass
    ctypedef struct stab_survey:
        int64_t hadamards, coins
        int clifford, jumps
    ctypedef struct stab_run:
        sv_counts counts
        const char* error
        int64_t leaves
        int replays
    int STAB_NOT_CLIFFORD
    const stab_kernels* stab_kernels_of(int)
    stab_survey stab_look(const sv_circuit*, const unsigned char*)
    int64_t stab_stride(const stab_survey*, const sv_plan*)
    size_t stab_state_bytes(const sv_plan*, const sv_circuit*, int64_t)
    int stab_plan_make(sv_plan*, uint8_t**, const sv_circuit*, const unsigned char*)
    int stab_run_init(stab_run*, const sv_plan*, const sv_circuit*, const uint8_t*, int64_t, const stab_kernels*, int64_t, uint64_t,
                      uint64_t)
    int stab_run_all(stab_run*)
    void stab_run_free(stab_run*)


LEVELS = supported_levels()
cdef int best_level = chosen_level(LEVELS)


cdef const stab_kernels* kernels_of(level) except NULL:
    return stab_kernels_of(level_of(level, LEVELS, best_level))


def sample(bytes code not None, bytes operands not None, bytes params not None, int64_t num_qubits, int64_t num_clbits,
           int64_t num_vars, tuple cregs not None, int64_t shots, uint64_t seed, cancel, uint64_t max_bytes,
           level=None, int form=0):
    """Runs and counts; gives (status, text, counts, leaves, replays). `form` 0: a dict, 1: JSON, 2: JSON and that of the shots.

    Status 1: there are other gates, and nothing was checked.
    """
    cdef sv_circuit c
    cdef sv_plan plan
    cdef stab_run run
    cdef stab_survey survey
    cdef uint8_t* final = NULL
    cdef const stab_kernels* kernels = kernels_of(level)
    cdef Py_buffer held
    cdef const unsigned char* flag
    cdef int status
    if shots < 0 or shots > (<int64_t> 1 << 40):
        raise ValueError("shots out of range")
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    sv_check_registers(cregs, num_clbits)
    memset(&run, 0, sizeof(run))
    flag = hold(cancel, &held)
    with nogil:
        memset(&plan, 0, sizeof(plan))
        survey = stab_look(&c, flag)
        status = stab_plan_make(&plan, &final, &c, flag) if survey.clifford else STAB_NOT_CLIFFORD
        if status == SV_OK:
            status = stab_run_init(&run, &plan, &c, final, stab_stride(&survey, &plan), kernels, shots, seed, max_bytes)
        if status == SV_OK and shots > 0:
            status = stab_run_all(&run)
    try:
        if status == SV_INVALID:
            refuse(&plan)
        counts = sv_rendered(&run.counts, num_clbits, cregs, flag, form, seed) if status == SV_OK else {}
        if counts is None:
            status, counts = SV_CANCELLED, {}
        return status, run.error.decode() if run.error != NULL else "", counts, run.leaves, run.replays
    finally:
        PyBuffer_Release(&held)
        stab_run_free(&run)
        sv_plan_free(&plan)
        free(final)


def plan(bytes code not None, bytes operands not None, bytes params not None, int64_t num_qubits, int64_t num_clbits,
         int64_t num_vars):
    """Checks and plans; gives (status, bytes of the first state, bytes that the run can use). Status 1 as for `sample`."""
    cdef sv_circuit c
    cdef sv_plan p
    cdef stab_survey survey
    cdef uint8_t* final = NULL
    cdef int status
    cdef uint64_t size = 0, ample = 0
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    with nogil:
        memset(&p, 0, sizeof(p))
        survey = stab_look(&c, NULL)
        status = stab_plan_make(&p, &final, &c, NULL) if survey.clifford else STAB_NOT_CLIFFORD
        if status == SV_OK:
            size = ample = stab_state_bytes(&p, &c, stab_stride(&survey, &p))
            if p.jumps:  # a state that has grown, a copy on the way there, and one set aside
                ample = 3 * stab_state_bytes(&p, &c, (2 * p.num_touched + survey.coins) // 64 + 2)
    try:
        if status == SV_INVALID:
            refuse(&p)
        return status, size, ample
    finally:
        sv_plan_free(&p)
        free(final)
