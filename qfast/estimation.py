"""Estimation: exact expectation values of sums of Pauli strings, and the standard errors that shots would have left."""

from __future__ import annotations

from functools import lru_cache
from math import fsum, hypot, isfinite, sqrt
from typing import Any, Final

import numpy as np

from qfast._ext import statevector as _kernel
from qfast.circuit import INSTRUCTION, Circuit, Op
from qfast.errors import InvalidParams, TranspileError
from qfast.simulator import DEFAULT_MAX_BYTES, Status, failure

MAX_TERMS: Final = 100_000  # Pauli strings of one job
MAX_OBSERVABLES: Final = 1_000  # of one source
MAX_PAULI_LENGTH: Final = 4_096  # characters
MAX_COEFFICIENT: Final = 1e300  # times MAX_TERMS is still finite

REMEMBERED: Final = 1 << 16  # bytes of code that is remembered without its first resets
_MAX_ECHO: Final = 80  # characters of a refused value that are given back

Observable = dict[str, float]


def read_observables(value: Any, count: int) -> list[list[Observable]]:
    """Check the field `observables` of a job.

    Parameters
    ----------
    value : object
        Decoded JSON: a list with one entry per source. An entry is an object {Pauli string: coefficient}, or a list of such
        objects. A Pauli string has one character I, X, Y or Z per qubit, the rightmost for qubit 0.
    count : int
        Sources of the job.

    Returns
    -------
    list of list of dict
        Per source its observables. All strings of a source are equally long.

    Raises
    ------
    InvalidParams
        Something is malformed or beyond a limit: MAX_TERMS strings in all, MAX_OBSERVABLES per source, MAX_PAULI_LENGTH
        characters, coefficients up to MAX_COEFFICIENT.
    """
    if not isinstance(value, list) or len(value) != count:
        raise _refuse((), value, f"should be an array with one entry for each program, {count} in all")
    terms = 0
    for source, entry in enumerate(value):
        if isinstance(entry, list) and len(entry) > MAX_OBSERVABLES:
            raise _refuse((source,), entry, f"are too many observables, at most {MAX_OBSERVABLES:,}")
        terms += sum(len(observable) for _, observable in _observables(source, entry))
        if terms > MAX_TERMS:
            raise _refuse((), value, f"holds more than {MAX_TERMS:,} Pauli strings")
    return [_read_entry(source, entry) for source, entry in enumerate(value)]


def _observables(source: int, entry: Any) -> list[tuple[tuple[int, ...], dict[Any, Any]]]:
    """The observables of a source with their places."""
    places: list[tuple[tuple[int, ...], Any]] = [((source,), entry)]
    if isinstance(entry, list) and entry:
        places = [((source, j), observable) for j, observable in enumerate(entry)]
    for loc, observable in places:
        if not isinstance(observable, dict) or not observable:
            more = " or a list of such objects" if len(loc) == 1 else ""
            raise _refuse(loc, observable, f"should be an object {{Pauli string: coefficient}} that is not empty{more}")
    return places


def _read_entry(source: int, entry: Any) -> list[Observable]:
    places = _observables(source, entry)
    length = len(str(next(iter(places[0][1]))))
    return [{pauli: _read_term(loc, pauli, a, length) for pauli, a in terms.items()} for loc, terms in places]


def _read_term(loc: tuple[int, ...], pauli: Any, coefficient: Any, length: int) -> float:
    """The coefficient of a Pauli string of `length` characters."""
    if not isinstance(pauli, str) or not pauli:
        raise _refuse(loc, pauli, "is not a Pauli string: it should have a character for each qubit")
    if len(pauli) > MAX_PAULI_LENGTH:
        raise _refuse(loc, pauli, f"is a Pauli string of {len(pauli):,} characters, at most {MAX_PAULI_LENGTH:,}")
    if pauli.strip("IXYZ"):
        raise _refuse(loc, pauli, "is not a Pauli string: its characters should be I, X, Y or Z")
    if len(pauli) != length:
        raise _refuse(loc, pauli, f"has {len(pauli)} characters, another Pauli string of this program {length}")
    where: tuple[int | str, ...] = (*loc, pauli)
    if isinstance(coefficient, bool) or not isinstance(coefficient, int | float):
        raise _refuse(where, coefficient, "should be a number", kind="type_error")
    if not -MAX_COEFFICIENT <= coefficient <= MAX_COEFFICIENT:  # nor NaN
        raise _refuse(where, coefficient, f"should be a number of magnitude {MAX_COEFFICIENT:g} at most")
    return float(coefficient)


def _refuse(loc: tuple[int | str, ...], value: Any, rule: str, *, kind: str = "value_error") -> InvalidParams:
    path = ["observables", *(_cut(str(part)) for part in loc)]
    given = _echo(value)
    text = f"{'.'.join(path)}: {repr(given) if isinstance(value, str) else given} {rule}"
    return InvalidParams(text, errors=[{"type": kind, "loc": ["body", *path], "msg": text, "input": given}])


def _echo(value: Any) -> Any:
    """The value as an error message may carry it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list | dict):
        return f"{'an array' if isinstance(value, list) else 'an object'} of {len(value)} items"
    if isinstance(value, int):
        return value if abs(value) < 2**63 else f"an integer of {value.bit_length()} bits"
    return value if isinstance(value, float) and isfinite(value) else _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_ECHO else f"{text[:_MAX_ECHO]}... ({len(text)} characters)"


def estimate(
    circuit: Circuit,
    observables: list[Observable],
    *,
    shots: int | None,
    seed: int,
    cancel: bytearray | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> tuple[list[float], list[float]]:
    r"""Give the expectation values of observables in the state that a circuit prepares from ``|0...0>``.

    Parameters
    ----------
    circuit : Circuit
        The program; measurements at its end are left out, and so are resets at its beginning.
    observables : list of dict
        Sums of Pauli strings, as `read_observables` gives them.
    shots : int or None
        Shots per Pauli string that the standard errors are for; None: no statistical error.
    seed : int
        Not used: the values are exact. Taken because every run of a driver has one.
    cancel : bytearray, optional
        One byte; the run stops within milliseconds after another thread has set it to a nonzero value.
    max_bytes : int
        Limit of the memory for the state; `simulator.statevector_bytes` tells what to reserve.

    Returns
    -------
    evs : list of float
        Per observable the exact value of ``sum_i c_i <P_i>``, up to rounding.
    stds : list of float
        Per observable the standard error of its mean, ``sqrt(sum_i c_i^2 (1 - <P_i>^2) / shots)``; 0 without shots.

    Raises
    ------
    TranspileError
        The circuit measures before its end, resets after its beginning or jumps, or a Pauli string has not as many
        characters as the circuit has qubits.
    JobCancelled, ResourceLimitError, ValueError
        As for `simulator.sample`.

    Notes
    -----
    The convention of `stds`: each string is measured by itself in ``shots`` shots. Its outcomes +-1 have the variance
    ``1 - <P>^2``, and different strings are independent, so the formula is exact for this experiment. It needs nothing but the
    values; the variance of the whole sum on common shots would need all products of two strings. Qiskit's BackendEstimatorV2
    measures strings that commute qubit by qubit on the same shots and reports ``sum_i |c_i| sqrt((1 - <P_i>^2) / shots)``, a
    bound whatever their covariances, and never smaller than ours; Aer's EstimatorV2 reports the precision that was asked for.

    The state of k qubits in superposition takes 16 * 2^k bytes, and nothing of that size is needed besides. A string costs
    O(2^k), but strings with X or Y on the same qubits (such as all without any) share the work, and all whose flips lie in the
    low 13 qubits of the vector share the way through memory.
    """
    if shots is not None and shots < 1:
        raise ValueError("shots must be at least 1")
    strings = list(dict.fromkeys(pauli for observable in observables for pauli in observable))
    for pauli in strings:
        if len(pauli) != circuit.num_qubits:
            raise TranspileError(
                f"a Pauli string of the observables has {len(pauli)} characters, the program has {circuit.num_qubits} qubits",
                {"pauli": _cut(pauli), "length": len(pauli), "num_qubits": circuit.num_qubits},
            )
    try:
        status, text, values = _kernel.expectations(
            _without_first_resets(circuit.code),
            circuit.qubits,
            circuit.params,
            circuit.num_qubits,
            circuit.num_clbits,
            circuit.num_vars,
            "".join(strings).encode(),
            len(strings),
            cancel,
            1,
            max_bytes,
        )
    except OverflowError as error:
        raise ValueError(f"a number is out of range: {error}") from error
    if status == Status.DYNAMIC:
        raise TranspileError(
            "estimation needs a program without control flow, without reset but at its beginning, and without measurement but "
            "at its end: this one has no single final state"
        )
    if values is None:
        raise failure(status, text, circuit, max_bytes)
    value = dict(zip(strings, values.tolist(), strict=True))
    evs = [fsum(c * value[pauli] for pauli, c in observable.items()) for observable in observables]
    if shots is None:
        return evs, [0.0] * len(evs)
    deviation = {pauli: sqrt((1 - v) * (1 + v) / shots) for pauli, v in value.items()}
    return evs, [hypot(*(c * deviation[pauli] for pauli, c in observable.items())) for observable in observables]


def _without_first_resets(code: bytes) -> bytes:
    """The code without the resets that come before any gate, when nothing jumps: they do nothing."""
    return _remembered(code) if len(code) <= REMEMBERED else _strip(code)


def _strip(code: bytes) -> bytes:
    if len(code) % INSTRUCTION.itemsize:
        return code
    instructions = np.frombuffer(code, INSTRUCTION)
    ops = instructions["op"]
    if not np.any(ops == Op.RESET) or np.any(ops[:-1] >= Op.JUMP):
        return code
    others = np.flatnonzero((ops != Op.RESET) & (ops != Op.BARRIER) & (ops != Op.ID))
    first = others[0] if len(others) else len(ops)
    keep = (ops != Op.RESET) | (np.arange(len(ops)) >= first)
    return bytes(instructions[keep].tobytes())


_remembered = lru_cache(64)(_strip)  # the points of a sweep have the same code
