"""Runs Clifford circuits on a stabilizer state: a thin layer over stab_run.h, which knows no Python."""

import os

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset


cdef extern from "stab_run.h" nogil:
    ctypedef struct sv_circuit:
        int64_t n
        int64_t num_qubits, num_clbits, num_vars
    ctypedef struct sv_plan:
        int num_touched
        uint8_t jumps, branches
        const char* error
        int64_t where
    ctypedef struct sv_counts:
        pass
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
    int SV_OK, SV_INVALID, SV_CANCELLED, STAB_NOT_CLIFFORD
    const char* sv_level_names[3]
    int sv_level_supported(int)
    const stab_kernels* stab_kernels_of(int)
    stab_survey stab_look(const sv_circuit*, const unsigned char*)
    int64_t stab_stride(const stab_survey*, const sv_plan*)
    size_t stab_state_bytes(const sv_plan*, const sv_circuit*, int64_t)
    int stab_plan_make(sv_plan*, uint8_t**, const sv_circuit*, const unsigned char*)
    void sv_plan_free(sv_plan*)
    int stab_run_init(stab_run*, const sv_plan*, const sv_circuit*, const uint8_t*, int64_t, const stab_kernels*, int64_t, uint64_t,
                      uint64_t)
    int stab_run_all(stab_run*)
    void stab_run_free(stab_run*)


cdef extern from "sv_keys.h":
    int sv_view_circuit(sv_circuit*, bytes, bytes, bytes) except -1
    int sv_check_registers(tuple, int64_t) except -1
    object sv_rendered(const sv_counts*, int64_t, tuple, const unsigned char*, int, uint64_t)


LEVELS = tuple(sv_level_names[level].decode() for level in range(3) if sv_level_supported(level))

cdef int best_level = len(LEVELS) - 1


def _choose_level(wanted):
    global best_level
    if wanted:
        if wanted not in LEVELS:
            raise ImportError(f"QFAST_SIMD={wanted}: this machine offers {', '.join(LEVELS)}")
        best_level = LEVELS.index(wanted)


_choose_level(os.environ.get("QFAST_SIMD"))


cdef const stab_kernels* kernels_of(level) except NULL:
    if level is None:
        return stab_kernels_of(best_level)
    if level not in LEVELS:
        raise ValueError(f"unknown or unsupported SIMD level {level!r}")
    return stab_kernels_of(LEVELS.index(level))


cdef int view(sv_circuit* c, bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits,
              int64_t num_vars) except -1:
    c.num_qubits = num_qubits
    c.num_clbits = num_clbits
    c.num_vars = num_vars
    return sv_view_circuit(c, code, operands, params)


cdef refuse(const sv_plan* plan):
    raise ValueError(f"malformed circuit: instruction {plan.where}: {plan.error.decode()}")


def sample(bytes code not None, bytes operands not None, bytes params not None, int64_t num_qubits, int64_t num_clbits,
           int64_t num_vars, tuple cregs not None, int64_t shots, uint64_t seed, const unsigned char[::1] cancel, uint64_t max_bytes,
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
    cdef const unsigned char* flag = &cancel[0] if cancel is not None and cancel.shape[0] else NULL
    cdef int status
    if shots < 0 or shots > (<int64_t> 1 << 40):
        raise ValueError("shots out of range")
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    sv_check_registers(cregs, num_clbits)
    memset(&run, 0, sizeof(run))
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
