"""The two programs of a session, ``sampler`` and ``estimator``: from their inputs to submit_job, from result rows to results.

Circuits are OpenQASM texts or Qiskit's circuits; Qiskit is imported only when one of its circuits is given.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

PROGRAMS: Final = {"sampler": "sampling", "estimator": "estimation"}  # program id: job_type
MAX_OBSERVABLES: Final = 1_000  # of one source, by the server's rule

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_INPUT = re.compile(r"\binput\s+\w+\s*(?:\[[^\]]*\])?\s*(\w+)\s*;")
_PAULI = re.compile(r"([+-]?)([IXYZ]+)")


class QuasiDistribution(dict[int, float]):
    """Outcomes as integers, classical bit 0 the lowest, to their shares of the shots.

    Attributes
    ----------
    num_bits : int
        Width of an outcome.
    shots : int
    stddev_upper_bound : float
        ``sqrt(1 / shots)``.

    """

    def __init__(self, probabilities: Mapping[int, float], *, num_bits: int, shots: int) -> None:
        super().__init__(probabilities)
        self.num_bits = num_bits
        self.shots = shots
        self.stddev_upper_bound = sqrt(1 / shots) if shots else 0.0

    def binary_probabilities(self, num_bits: int | None = None) -> dict[str, float]:
        """The outcomes as bit strings without blanks, at least `num_bits` wide."""
        width = self.num_bits if num_bits is None else num_bits
        return {format(outcome, f"0{width}b"): share for outcome, share in self.items()}

    def hex_probabilities(self) -> dict[str, float]:
        """The outcomes as hexadecimal numbers with ``0x``."""
        return {hex(outcome): share for outcome, share in self.items()}


@dataclass(frozen=True, slots=True)
class SamplerResult:
    """One distribution and one metadata dict (``shots``, ``seed``, ...) per circuit."""

    quasi_dists: list[QuasiDistribution]
    metadata: list[dict[str, Any]]

    @property
    def num_experiments(self) -> int:
        """Circuits that were run."""
        return len(self.quasi_dists)


@dataclass(frozen=True, slots=True)
class EstimatorResult:
    """One expectation value and one metadata dict (``variance`` of one shot, ``shots``, ``std``) per circuit."""

    values: list[float]
    metadata: list[dict[str, Any]]

    @property
    def num_experiments(self) -> int:
        """Pairs of circuit and observable that were run."""
        return len(self.values)


# ---------------------------------------------------------------------- inputs


def encode(program_id: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of submit_job for a program's circuits, observables and parameter values.

    Circuits that follow each other and are equal become one source with several parameter sets or observables, so that
    the server reads it once; the order of the results stays that of the circuits.

    Parameters
    ----------
    program_id : str
        ``sampler`` or ``estimator``.
    inputs : mapping
        ``circuits``, ``parameter_values``, and for the estimator ``observables``; one of each or equally many.

    Raises
    ------
    TypeError, ValueError
        Unknown program, missing or unknown inputs, numbers of them that do not agree, or no real observable.

    """
    if program_id not in PROGRAMS:
        raise ValueError(f"program_id: {program_id!r} is not one of {', '.join(PROGRAMS)}")
    known = {"circuits", "parameter_values"} | ({"observables"} if program_id == "estimator" else set())
    if odd := sorted(set(inputs) - known):
        raise ValueError(f"inputs: {odd[0]!r} is no input of the program {program_id}")
    for name in sorted(known - {"parameter_values"}):
        if inputs.get(name) is None:
            raise ValueError(f"inputs: the program {program_id} needs {name}")
    texts = [_program(circuit) for circuit in _list_of(inputs["circuits"], "circuits")]
    points = _points(texts, inputs.get("parameter_values"))
    if program_id == "sampler":
        observables: list[dict[str, float] | None] = [None] * len(texts)
    else:
        observables = [_observable(one) for one in _list_of(inputs["observables"], "observables")]
        _check_number("observables", len(observables), len(texts))
    return {"job_type": PROGRAMS[program_id], **_grouped(texts, points, observables)}


def _grouped(
    texts: list[str], points: list[dict[str, float] | None], observables: list[dict[str, float] | None]
) -> dict[str, Any]:
    sources: list[str] = []
    sets: list[list[dict[str, float]] | None] = []
    wanted: list[list[dict[str, float]]] = []
    for text, point, observable in zip(texts, points, observables, strict=True):
        if sources and sources[-1] == text:
            last = sets[-1]
            if point is not None and last is not None and (observable is None or wanted[-1] == [observable]):
                last.append(point)
                continue
            if point is None and observable is not None and len(wanted[-1]) < MAX_OBSERVABLES:
                wanted[-1].append(observable)
                continue
        sources.append(text)
        sets.append(None if point is None else [point])
        wanted.append([] if observable is None else [observable])
    fields: dict[str, Any] = {"source_code": sources, "code_type": "qasm"}
    if any(entry is not None for entry in sets):
        fields["parameters"] = sets
    if any(wanted):
        fields["observables"] = wanted
    return fields


def _list_of(value: Any, name: str) -> list[Any]:
    """The value as a list: what is one circuit or observable by itself becomes a list of one."""
    if hasattr(value, "to_labels"):  # qiskit's PauliList
        value = value.to_labels()
    single = isinstance(value, str | Mapping) or _is_circuit(value) or hasattr(value, "to_list") or _is_pauli(value)
    if not single and not isinstance(value, Iterable):
        raise TypeError(f"{name}: {type(value).__name__} is none of the kinds that are taken")
    entries = [value] if single else list(value)
    if not entries:
        raise ValueError(f"{name}: is empty")
    return entries


def _is_circuit(value: Any) -> bool:
    return hasattr(value, "qregs") and hasattr(value, "assign_parameters")


def _is_pauli(value: Any) -> bool:
    return hasattr(value, "to_label")


def _program(circuit: Any) -> str:
    """OpenQASM of a circuit."""
    if isinstance(circuit, str):
        return circuit
    if not _is_circuit(circuit):
        raise TypeError(f"circuits: {type(circuit).__name__} is neither an OpenQASM text nor a Qiskit circuit")
    qasm3: Any = importlib.import_module("qiskit.qasm3")
    try:
        return str(qasm3.dumps(circuit))
    except qasm3.QASM3ExporterError as error:
        if len(circuit.parameters):
            raise ValueError(f"circuits: {circuit.name!r} cannot be written as OpenQASM 3: {error}") from error
    qasm2: Any = importlib.import_module("qiskit.qasm2")
    try:
        return str(qasm2.dumps(circuit))
    except qasm2.QASM2ExportError as error:
        raise ValueError(f"circuits: {circuit.name!r} cannot be written as OpenQASM: {error}") from error


def _points(texts: list[str], values: Any) -> list[dict[str, float] | None]:
    """Per circuit its parameters by name; the order of the values is that of the circuit's ``input`` declarations."""
    names = [_INPUT.findall(_COMMENT.sub(" ", text)) for text in texts]
    rows = [None] * len(texts) if values is None else _rows(values)
    _check_number("parameter_values", len(rows), len(texts))
    return [_point(entry, row) for entry, row in zip(names, rows, strict=True)]


def _rows(values: Any) -> list[Any]:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, Mapping):
        return [values]
    rows = [row.tolist() if hasattr(row, "tolist") else row for row in values]
    flat = rows and not any(row is None or isinstance(row, Sequence | Mapping) for row in rows)
    return [rows] if flat else rows


def _point(names: list[str], row: Any) -> dict[str, float] | None:
    if isinstance(row, Mapping):
        values = {str(name): _number(value) for name, value in row.items()}
        if set(values) != set(names):
            raise ValueError(f"parameter_values: {sorted(values)} are not the inputs {names} of the circuit")
        return values or None
    numbers = [] if row is None else [_number(value) for value in row]
    if len(numbers) != len(names):
        raise ValueError(f"parameter_values: {len(numbers)} values for a circuit of {len(names)} parameters")
    return dict(zip(names, numbers, strict=True)) or None


def _number(value: Any) -> float:
    """Whole numbers stay whole, for inputs that are integers."""
    return value if isinstance(value, int) and not isinstance(value, bool) else float(value)


def _check_number(name: str, count: int, circuits: int) -> None:
    if count != circuits:
        raise ValueError(f"the number of circuits ({circuits}) does not match the number of {name} ({count})")


def _observable(value: Any) -> dict[str, float]:
    """The observable as {Pauli string: coefficient}, from a label, a dict, or Qiskit's Pauli or SparsePauliOp."""
    if _is_pauli(value):
        value = value.to_label()
    if isinstance(value, str):
        value = {value: 1.0}
    if hasattr(value, "to_list"):
        terms: Iterator[tuple[Any, Any]] = iter(value.to_list())
    elif isinstance(value, Mapping):
        terms = iter(value.items())
    else:
        raise TypeError(f"observables: {type(value).__name__} is no Pauli string, dict of them or Pauli operator")
    total: dict[str, float] = {}
    for label, coefficient in terms:
        found = _PAULI.fullmatch(str(label))
        number = complex(coefficient)
        if found is None or number.imag != 0:
            raise ValueError(f"observables: {coefficient!r} * {label!r} is no real multiple of a Pauli string")
        sign, pauli = found.groups()
        total[pauli] = total.get(pauli, 0.0) + (-number.real if sign == "-" else number.real)
    if not total:
        raise ValueError("observables: an observable without any term")
    return total


# ---------------------------------------------------------------------- results


def decode_sampler(job: Mapping[str, Any]) -> SamplerResult:
    """The result of a sampling job, from the answer of get_job_results."""
    dists, metadata = [], []
    for row in job["results"]:
        counts: dict[str, int] = row["results"]
        shots = sum(counts.values())
        plain = {bits.replace(" ", ""): count for bits, count in counts.items()}
        shares = {int(bits, 2): count / shots for bits, count in plain.items()}
        dists.append(QuasiDistribution(shares, num_bits=len(next(iter(plain), "")), shots=shots))
        metadata.append({"shots": shots, **row["metadata"]})
    return SamplerResult(dists, metadata)


def decode_estimator(job: Mapping[str, Any]) -> EstimatorResult:
    """The result of an estimation job, from the answer of get_job_results."""
    values, metadata = [], []
    for row in job["results"]:
        for value, std in zip(row["results"]["evs"], row["results"]["stds"], strict=True):
            values.append(value)
            variance = std * std * job["shots"]
            metadata.append({"variance": variance, "shots": job["shots"], "std": std, **row["metadata"]})
    return EstimatorResult(values, metadata)


def decode_rows(job: Mapping[str, Any]) -> Any:
    """The rows as they are: for jobs that no program has submitted."""
    return job["results"]


def count_results(fields: Mapping[str, Any]) -> int:
    """How many results a job of these fields of submit_job gives."""
    sets = fields.get("parameters") or [None] * len(fields["source_code"])
    return sum(1 if entry is None else len(entry) for entry in sets)


def decoder_of(job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Any]:
    """The decoder of a job, by its type."""
    if job.get("code_type") == "qubo":
        return decode_rows
    return decode_estimator if job.get("job_type") == "estimation" else decode_sampler
