"""The simulator: from a compact circuit to counts.

A circuit of Clifford gates only runs on a stabilizer state, in polynomial time at any width: see ext/stab_state.h. All
others, and those whose stabilizer state does not fit in the memory, run on a statevector.

In a statevector only qubits in superposition take memory: a qubit that nothing has touched yet, or that was measured, is
known and costs a byte. Measurements that nothing later depends on are answered together by one sampling at the end; all
others split the shots by a binomial number and follow each outcome that has shots, so every count has its exact distribution.
On a stabilizer state only measured values that the program reads back split the shots. Counts depend on the circuit, the
shots and the seed, but not on the machine's vector instructions or the threads; on the memory limit only where measurements
must be made early to keep within it, or where it decides on the method.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from qfast._ext import stabilizer as _stabilizer
from qfast._ext import statevector as _kernel
from qfast.circuit import Circuit
from qfast.counts import Counts
from qfast.errors import DriverRunError, JobCancelled, ResourceLimitError, TimeLimitError

DEFAULT_MAX_BYTES: Final = 5 << 30  # 28 qubits and room for their sampling

SMALL_BYTES: Final = 16 << 20  # three states of 18 qubits in double precision, and the work on them

_AS_DICT, _AS_JSON, _AS_MEMORY = 0, 1, 2  # ext/sv_keys.h

Method = Literal["statevector", "stabilizer"]
Precision = Literal["double", "single"]


class Status(IntEnum):
    """How a run of a kernel ended: enum sv_result of ext/sv_plan.h."""

    OK = 0
    NOT_CLIFFORD = 1
    INVALID = -1
    MEMORY = -2
    CANCELLED = -3
    RUNTIME = -4
    TIME = -5
    DYNAMIC = -6


_NEXT = (Status.NOT_CLIFFORD, Status.MEMORY)  # of a stabilizer state, after which a statevector may do


def sample(
    circuit: Circuit,
    shots: int,
    *,
    seed: int,
    cancel: bytearray | None = None,
    threads: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    method: Method | None = None,
    precision: Precision = "double",
) -> dict[str, int]:
    """Run a circuit from |0...0> and count its outcomes.

    Parameters
    ----------
    circuit : Circuit
        The program.
    shots : int
        How often it is run, 0 to 2^40.
    seed : int
        Any integer; the low 64 bits are used. The same seed gives the same counts.
    cancel : bytearray, optional
        One byte; the run stops within milliseconds after another thread has set it to a nonzero value.
    threads : int
        Threads for states of 17 qubits or more; at least 1, at most 64 are used.
    max_bytes : int
        Limit of the memory for states, 0 to 2^64 - 1.
    method : {"statevector", "stabilizer"}, optional
        What the state is kept in; by default a stabilizer state where the gates allow it and it fits.
    precision : {"double", "single"}
        Of a statevector's amplitudes: 16 bytes and errors around 1e-15, or 8 bytes and errors around 1e-6 after a thousand
        gates, in half the time. Probabilities are summed in double precision either way.

    Returns
    -------
    dict of str to int
        Outcome to count, zero counts left out. Keys are Qiskit's: classical bit 0 rightmost, one space between registers, the
        register declared last leftmost. Without classical bits the only key is the empty string.

    Raises
    ------
    ValueError
        The circuit is malformed, a number is out of range, or a gate is none that the method can apply.
    JobCancelled
        The cancel flag was set.
    ResourceLimitError
        The state does not fit in max_bytes, or memory is exhausted.
    DriverRunError
        A classical instruction failed: an index out of range, a division by zero, a value outside its domain.
    TimeLimitError
        The way of one shot takes more than 10^7 classical steps and measurements.

    Notes
    -----
    Gates that no measurement sees are left out. A gate costs O(2^k) for k qubits in superposition, sampling O(2^k + shots); a
    circuit with mid-circuit measurements at most `shots` such runs, and as many as outcomes differ. A Clifford gate costs
    at most O(n (n + m)) bit operations for n qubits and m measurements, and only what the program reads back makes runs
    part.
    """
    single = precision == "single"
    counts, _ = _run(
        circuit,
        shots,
        _AS_DICT,
        seed=seed,
        cancel=cancel,
        threads=threads,
        max_bytes=max_bytes,
        method=method,
        single=single,
    )
    return cast(dict[str, int], counts)


def sample_text(
    circuit: Circuit,
    shots: int,
    *,
    seed: int,
    cancel: bytearray | None = None,
    threads: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    method: Method | None = None,
    precision: Precision = "double",
    memory: bool = False,
) -> Counts:
    """Run a circuit as `sample` does, the counts left as the JSON text that the kernel writes.

    Parameters
    ----------
    circuit, shots, seed, cancel, threads, max_bytes, method, precision
        As for `sample`.
    memory : bool
        Also the outcome of every shot. The shots are counted first and put into a random order, drawn from the seed, after
        that: independent shots are exchangeable, so no statistics can tell this from the order of running them.

    Returns
    -------
    Counts
        Same seed, same counts as those of `sample`, in the same order.

    Raises
    ------
    MemoryError
        The text does not fit in memory.
    """
    form, single = _AS_MEMORY if memory else _AS_JSON, precision == "single"
    text, how = _run(
        circuit,
        shots,
        form,
        seed=seed,
        cancel=cancel,
        threads=threads,
        max_bytes=max_bytes,
        method=method,
        single=single,
    )
    return Counts(text[0], text[1], how) if memory else Counts(text, None, how)


def _run(
    circuit: Circuit,
    shots: int,
    form: int,
    *,
    seed: int,
    cancel: bytearray | None,
    threads: int,
    max_bytes: int,
    method: Method | None,
    single: bool,
) -> tuple[Any, Method]:
    """What the kernel gives in the form asked for, and the method. A small circuit takes microseconds: no detours here."""
    if threads < 1:
        raise ValueError("threads must be at least 1")
    seed &= 0xFFFFFFFFFFFFFFFF
    status, text = 1, ""
    try:
        if method != "statevector":
            status, text, counts, _, _ = _stabilizer.sample(
                circuit.code,
                circuit.qubits,
                circuit.params,
                circuit.num_qubits,
                circuit.num_clbits,
                circuit.num_vars,
                circuit.cregs,
                shots,
                seed,
                cancel,
                max_bytes,
                None,
                form,
            )
            if not status:
                return counts, "stabilizer"
        if method == "statevector" or (method is None and status in _NEXT):
            status, text, counts, _, _ = _kernel.sample(
                circuit.code,
                circuit.qubits,
                circuit.params,
                circuit.num_qubits,
                circuit.num_clbits,
                circuit.num_vars,
                circuit.cregs,
                shots,
                seed,
                cancel,
                threads,
                max_bytes,
                None,
                form,
                single,
            )
            if not status:
                return counts, "statevector"
    except OverflowError as error:
        raise ValueError(f"a number is out of range: {error}") from error
    raise failure(status, text, circuit, max_bytes)


def statevector(
    circuit: Circuit,
    *,
    cancel: bytearray | None = None,
    threads: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    precision: Precision = "double",
) -> npt.NDArray[np.complex128]:
    """Give the state that a circuit prepares from |0...0>.

    Parameters
    ----------
    circuit : Circuit
        A program without control flow and reset; measurements at its end are left out, others are refused.
    cancel, threads, max_bytes, precision
        As for `sample`; the limit holds for the result too, which is of double precision.

    Returns
    -------
    ndarray of complex128, shape (2^num_qubits,)
        The amplitudes, qubit 0 being the least significant bit of the index; the global phase is kept.

    Raises
    ------
    ValueError
        The circuit is malformed, or measures in the middle, resets or jumps.
    JobCancelled, ResourceLimitError
        As for `sample`.
    """
    if circuit.num_qubits > 48 or 16 << circuit.num_qubits > max_bytes:
        raise failure(Status.MEMORY, "", circuit, max_bytes)
    status, amplitudes = _kernel.statevector(
        *_arrays(circuit), cancel, min(threads, 64), max_bytes, single=precision == "single"
    )
    if status == Status.DYNAMIC:
        raise ValueError("a circuit with reset, control flow or measurements before its end has no single final state")
    if amplitudes is None:
        raise failure(status, "", circuit, max_bytes)
    return amplitudes


def choose(
    circuit: Circuit, *, max_bytes: int = DEFAULT_MAX_BYTES, precision: Precision = "double"
) -> tuple[Method, int]:
    """Give how `sample` runs a circuit within so many bytes, and the memory in bytes to reserve and to pass as its limit.

    The memory covers the largest state that can occur and the work on it, not the counts. A circuit that measures or resets on
    the way gets room for branches set aside, but never more than `max_bytes`: it runs within less, only slower. Only a run with
    loops can need more room for its stabilizer state than this knows, and then changes to the statevector. A malformed circuit
    raises ValueError.
    """
    status, size, ample = _stabilizer.plan(*_arrays(circuit))
    if status or size > max_bytes:
        return "statevector", _dense_bytes(circuit, max_bytes, precision, whole=False)
    work = 128 * circuit.num_clbits + (1 << 19)
    return "stabilizer", max(size, min(ample + work, max_bytes))


def is_small(circuit: Circuit) -> bool:
    """Tell at a glance whether a run keeps within SMALL_BYTES, whatever the gates are."""
    return circuit.num_qubits <= 18 and circuit.num_clbits <= 4096 and circuit.num_vars <= 4096


def statevector_bytes(circuit: Circuit, *, max_bytes: int = DEFAULT_MAX_BYTES) -> int:
    """Give the memory in bytes for work on the whole state in double precision, as estimates need it."""
    return _dense_bytes(circuit, max_bytes, "double", whole=True)


def _dense_bytes(circuit: Circuit, max_bytes: int, precision: Precision, *, whole: bool) -> int:
    single = precision == "single"
    status, qubits, _, branches = _kernel.plan(*_arrays(circuit), max_bytes, single=single, whole=whole)
    if status:
        raise failure(status, "", circuit, max_bytes)
    state = (8 if single else 16) << max(int(qubits), 4)
    work = state // 128 + (1 << 19)
    return min(3 * state + work, max_bytes) if branches else state + work


def simd_level() -> str:
    """The vector instructions that the kernels use: scalar, avx2 or avx512; QFAST_SIMD forces one when it is set at import."""
    return _kernel.level()


def _arrays(circuit: Circuit) -> tuple[bytes, bytes, bytes, int, int, int]:
    return circuit.code, circuit.qubits, circuit.params, circuit.num_qubits, circuit.num_clbits, circuit.num_vars


def failure(status: int, text: str, circuit: Circuit, max_bytes: int) -> Exception:
    """Give the exception for a run that did not end well; `text` is the kernel's word on it."""
    if status == Status.CANCELLED:
        return JobCancelled("the run was cancelled")
    if status == Status.RUNTIME:
        return DriverRunError(f"The program failed while it ran: {text}.")
    if status == Status.TIME:
        return TimeLimitError("One shot takes more than 10,000,000 classical steps; is there a loop that never ends?")
    if status == Status.NOT_CLIFFORD:
        return ValueError("the circuit has gates that a stabilizer state cannot take")
    data: dict[str, Any] = {"num_qubits": circuit.num_qubits, "max_bytes": max_bytes}
    return ResourceLimitError(f"The state of {circuit.num_qubits} qubits does not fit in {max_bytes:,} bytes.", data)
