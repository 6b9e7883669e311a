"""Runs compact circuits on a statevector: a thin layer over sv_expect.h and sv_run.h, which know no Python."""

import os

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memset

import numpy as np


cdef extern from "sv_expect.h" nogil:
    ctypedef struct qf_instr:
        pass
    ctypedef struct sv_complex:
        double re, im
    ctypedef struct sv_kernels:
        pass
    ctypedef struct sv_circuit:
        const qf_instr* code
        int64_t n
        const int32_t* operands
        int64_t num_operands
        const double* params
        int64_t num_params
        int64_t num_qubits, num_clbits, num_vars
    ctypedef struct sv_plan:
        int32_t capacity, num_touched
        uint8_t jumps, branches
        int64_t num_ops
        const char* error
        int64_t where
    ctypedef struct sv_counts:
        pass
    ctypedef struct sv_run:
        sv_counts counts
        const char* error
        int64_t leaves
        int replays
    ctypedef struct qf_rng:
        pass
    void qf_rng_seed(qf_rng*, uint64_t)
    int64_t sv_binomial(qf_rng*, int64_t, double)
    int SV_OK, SV_INVALID, SV_CANCELLED, SV_DYNAMIC_STATE
    const char* sv_level_names[3]
    int sv_level_supported(int)
    const sv_kernels* sv_kernels_of(int)
    int sv_plan_make(sv_plan*, const sv_circuit*, uint64_t, const unsigned char*)
    void sv_plan_free(sv_plan*)
    size_t sv_state_bytes(int)
    int sv_run_init(sv_run*, const sv_plan*, const sv_circuit*, const sv_kernels*, int64_t, uint64_t, const unsigned char*, int,
                    uint64_t)
    int sv_run_all(sv_run*)
    int sv_evolve(sv_run*)
    void sv_write_state(const sv_run*, double*)
    void sv_run_free(sv_run*)
    ctypedef struct sv_expect:
        pass
    int sv_expect_init(sv_expect*, const sv_run*, const char*, int64_t)
    int sv_expect_all(sv_run*, sv_expect*, double*)
    void sv_expect_free(sv_expect*)


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


cdef const sv_kernels* kernels_of(level) except NULL:
    if level is None:
        return sv_kernels_of(best_level)
    if level not in LEVELS:
        raise ValueError(f"unknown or unsupported SIMD level {level!r}")
    return sv_kernels_of(LEVELS.index(level))


cdef int view(sv_circuit* c, bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits,
              int64_t num_vars) except -1:
    """Points into the three arrays, which must stay alive; their contents are checked when the plan is made."""
    c.num_qubits = num_qubits
    c.num_clbits = num_clbits
    c.num_vars = num_vars
    return sv_view_circuit(c, code, operands, params)


cdef refuse(const sv_plan* plan):
    raise ValueError(f"malformed circuit: instruction {plan.where}: {plan.error.decode()}")


def sample(bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits, int64_t num_vars, tuple cregs,
           int64_t shots, uint64_t seed, const unsigned char[::1] cancel, int threads, uint64_t max_bytes, level=None, int form=0):
    """Runs and counts; gives (status, text, counts, leaves, replays). `form` 0: a dict, 1: JSON, 2: JSON and that of the shots."""
    cdef sv_circuit c
    cdef sv_plan plan
    cdef sv_run run
    cdef const sv_kernels* kernels = kernels_of(level)
    cdef const unsigned char* flag = &cancel[0] if cancel is not None and cancel.shape[0] else NULL
    cdef int status
    cdef const char* error
    if shots < 0 or shots > (<int64_t> 1 << 40):
        raise ValueError("shots out of range")
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    sv_check_registers(cregs, num_clbits)
    memset(&run, 0, sizeof(run))
    with nogil:
        status = sv_plan_make(&plan, &c, max_bytes, flag)
        if status == SV_OK:
            status = sv_run_init(&run, &plan, &c, kernels, shots, seed, flag, threads, max_bytes)
        if status == SV_OK and shots > 0:
            status = sv_run_all(&run)
    try:
        if status == SV_INVALID:
            refuse(&plan)
        error = run.error
        counts = sv_rendered(&run.counts, num_clbits, cregs, flag, form, seed) if status == SV_OK else {}
        if counts is None:
            status, counts = SV_CANCELLED, {}
        return status, error.decode() if error != NULL else "", counts, run.leaves, run.replays
    finally:
        sv_run_free(&run)
        sv_plan_free(&plan)


def statevector(bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits, int64_t num_vars,
                const unsigned char[::1] cancel, int threads, uint64_t max_bytes, level=None):
    """Evolves |0...0>; gives (status, array of 2^num_qubits complex128 or None)."""
    cdef sv_circuit c
    cdef sv_plan plan
    cdef sv_run run
    cdef const sv_kernels* kernels = kernels_of(level)
    cdef const unsigned char* flag = &cancel[0] if cancel is not None and cancel.shape[0] else NULL
    cdef int status
    cdef double[::1] out
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    memset(&run, 0, sizeof(run))
    with nogil:
        status = sv_plan_make(&plan, &c, <uint64_t> -1, flag)
        if status == SV_OK and (plan.jumps or plan.branches):
            status = SV_DYNAMIC_STATE
        if status == SV_OK:
            status = sv_run_init(&run, &plan, &c, kernels, 1, 0, flag, threads, max_bytes)
        if status == SV_OK:
            status = sv_evolve(&run)
    try:
        if status == SV_INVALID:
            refuse(&plan)
        if status != SV_OK:
            return status, None
        amplitudes = np.zeros(<int64_t> 1 << num_qubits, np.complex128)
        out = amplitudes.view(np.float64)
        with nogil:
            sv_write_state(&run, &out[0])
        return status, amplitudes
    finally:
        sv_run_free(&run)
        sv_plan_free(&plan)


def expectations(bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits, int64_t num_vars,
                 bytes paulis, int64_t count, const unsigned char[::1] cancel, int threads, uint64_t max_bytes, level=None):
    """Evolves |0...0>; gives (status, text, the expectation values of `count` Pauli strings of num_qubits characters or None)."""
    cdef sv_circuit c
    cdef sv_plan plan
    cdef sv_run run
    cdef sv_expect expect
    cdef const sv_kernels* kernels = kernels_of(level)
    cdef const unsigned char* flag = &cancel[0] if cancel is not None and cancel.shape[0] else NULL
    cdef const char* text = paulis
    cdef int status, read = SV_OK
    cdef double[::1] out
    if count < 0 or count > 1 << 24 or num_qubits < 0 or len(paulis) != int(count) * int(num_qubits):
        raise ValueError("malformed Pauli strings: their lengths differ from the number of qubits")
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    values = np.zeros(max(count, 1), np.float64)
    out = values
    memset(&run, 0, sizeof(run))
    memset(&expect, 0, sizeof(expect))
    with nogil:
        status = sv_plan_make(&plan, &c, <uint64_t> -1, flag)
        if status == SV_OK and (plan.jumps or plan.branches):
            status = SV_DYNAMIC_STATE
        if status == SV_OK:
            status = sv_run_init(&run, &plan, &c, kernels, 1, 0, flag, threads, max_bytes)
        if status == SV_OK:
            status = sv_evolve(&run)
        if status == SV_OK:
            status = read = sv_expect_init(&expect, &run, text, count)
        if status == SV_OK:
            status = sv_expect_all(&run, &expect, &out[0])
    try:
        if read == SV_INVALID:
            raise ValueError("malformed Pauli strings: a character is none of I, X, Y, Z")
        if status == SV_INVALID:
            refuse(&plan)
        return status, run.error.decode() if run.error != NULL else "", values[:count] if status == SV_OK else None
    finally:
        sv_expect_free(&expect)
        sv_run_free(&run)
        sv_plan_free(&plan)


def plan(bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits, int64_t num_vars, uint64_t max_bytes):
    """Checks and plans only; gives (status, qubits of the largest state, operations, whether it branches)."""
    cdef sv_circuit c
    cdef sv_plan p
    cdef int status
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    with nogil:
        status = sv_plan_make(&p, &c, max_bytes, NULL)
    try:
        if status == SV_INVALID:
            refuse(&p)
        return status, p.capacity, p.num_ops, bool(p.branches)
    finally:
        sv_plan_free(&p)


def binomial(uint64_t seed, int64_t n, double p, int64_t size):
    """`size` binomial numbers, for tests of their distribution."""
    cdef qf_rng rng
    cdef int64_t[::1] out
    cdef int64_t j
    numbers = np.empty(size, np.int64)
    out = numbers
    qf_rng_seed(&rng, seed)
    for j in range(size):
        out[j] = sv_binomial(&rng, n, p)
    return numbers
