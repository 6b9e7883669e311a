"""Runs compact circuits on a statevector: a thin layer over sv_expect.h and sv_run.h, which know no Python."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

import numpy as np

from cpython.buffer cimport PyBuffer_Release
from sv_glue cimport (
    SV_CANCELLED, SV_INVALID, SV_OK, chosen_level, hold, level_of, refuse, supported_levels, sv_check_registers, sv_circuit, sv_counts,
    sv_plan, sv_plan_free, sv_rendered, view,
)


cdef extern from "sv_expect.h" nogil:
    ctypedef struct sv_complex:
        double re, im
    ctypedef struct sv_kernels:
        int bytes
    ctypedef struct sv_run:
        sv_counts counts
        const char* error
        int64_t leaves
        int replays
    ctypedef struct qf_rng:
        pass
    void qf_rng_seed(qf_rng*, uint64_t)
    int64_t sv_binomial(qf_rng*, int64_t, double)
    int SV_DYNAMIC_STATE
    const sv_kernels* sv_kernels_of(int, int)
    int sv_plan_make(sv_plan*, const sv_circuit*, int, int, uint64_t, const unsigned char*)
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


LEVELS = supported_levels()
cdef int best_level = chosen_level(LEVELS)


cdef const sv_kernels* kernels_of(level, bint single) except NULL:
    return sv_kernels_of(level_of(level, LEVELS, best_level), single)


def level():
    """The SIMD level that runs take when they are not told another."""
    return LEVELS[best_level]


def sample(bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits, int64_t num_vars, tuple cregs,
           int64_t shots, uint64_t seed, cancel, int threads, uint64_t max_bytes, level=None, int form=0,
           bint single=False):
    """Runs and counts; gives (status, text, counts, leaves, replays). `form` 0: a dict, 1: JSON, 2: JSON and that of the shots."""
    cdef sv_circuit c
    cdef sv_plan plan
    cdef sv_run run
    cdef const sv_kernels* kernels = kernels_of(level, single)
    cdef Py_buffer held
    cdef const unsigned char* flag
    cdef int status
    cdef const char* error
    if shots < 0 or shots > (<int64_t> 1 << 40):
        raise ValueError("shots out of range")
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    sv_check_registers(cregs, num_clbits)
    memset(&run, 0, sizeof(run))
    flag = hold(cancel, &held)
    with nogil:
        status = sv_plan_make(&plan, &c, False, kernels.bytes, max_bytes, flag)
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
        PyBuffer_Release(&held)
        sv_run_free(&run)
        sv_plan_free(&plan)


def statevector(bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits, int64_t num_vars,
                cancel, int threads, uint64_t max_bytes, level=None, bint single=False):
    """Evolves |0...0>; gives (status, array of 2^num_qubits complex128 or None)."""
    cdef sv_circuit c
    cdef sv_plan plan
    cdef sv_run run
    cdef const sv_kernels* kernels = kernels_of(level, single)
    cdef Py_buffer held
    cdef const unsigned char* flag
    cdef int status
    cdef double[::1] out
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    memset(&run, 0, sizeof(run))
    flag = hold(cancel, &held)
    with nogil:
        status = sv_plan_make(&plan, &c, True, kernels.bytes, <uint64_t> -1, flag)
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
        PyBuffer_Release(&held)
        sv_run_free(&run)
        sv_plan_free(&plan)


def expectations(bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits, int64_t num_vars,
                 bytes paulis, int64_t count, cancel, int threads, uint64_t max_bytes, level=None):
    """Evolves |0...0>; gives (status, text, the expectation values of `count` Pauli strings of num_qubits characters or None)."""
    cdef sv_circuit c
    cdef sv_plan plan
    cdef sv_run run
    cdef sv_expect expect
    cdef const sv_kernels* kernels = kernels_of(level, False)
    cdef Py_buffer held
    cdef const unsigned char* flag
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
    flag = hold(cancel, &held)
    with nogil:
        status = sv_plan_make(&plan, &c, True, kernels.bytes, <uint64_t> -1, flag)
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
        PyBuffer_Release(&held)
        sv_expect_free(&expect)
        sv_run_free(&run)
        sv_plan_free(&plan)


def plan(bytes code, bytes operands, bytes params, int64_t num_qubits, int64_t num_clbits, int64_t num_vars, uint64_t max_bytes,
         bint single=False, bint whole=False):
    """Checks and plans only; gives (status, qubits of the largest state, operations, whether it branches)."""
    cdef sv_circuit c
    cdef sv_plan p
    cdef int status
    view(&c, code, operands, params, num_qubits, num_clbits, num_vars)
    with nogil:
        status = sv_plan_make(&p, &c, whole, 8 if single else 16, max_bytes, NULL)
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
