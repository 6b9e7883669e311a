"""Sampler and estimator: all pubs of a run go in one job, parameter values beside the program, which is read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import ceil
from typing import Any, TypeVar

import numpy as np
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.primitives.containers import EstimatorPubLike, SamplerPubLike
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qiskit_qfast.backend import QfastBackend
from qiskit_qfast.circuits import Heading, inputs_of, measures, program_of
from qiskit_qfast.job import QfastPrimitiveJob
from qiskit_qfast.session import QfastSession

MAX_SHOTS = 10_000_000
MAX_TERMS = 4096  # Pauli strings that an observable with projectors may become

# what a projector or an eigenstate's letter is in Pauli operators, as coefficients of (I, P)
_LETTERS = {
    "0": ("Z", 0.5),
    "1": ("Z", -0.5),
    "+": ("X", 0.5),
    "-": ("X", -0.5),
    "r": ("Y", 0.5),
    "l": ("Y", -0.5),
}


@dataclass(slots=True)
class _Options:
    seed: int | None = None
    priority: int = 5
    tags: list[str] = field(default_factory=list)
    max_execution_time: float | None = None
    transpiler: str | None = None
    transpiler_options: dict[str, Any] | None = None


@dataclass(slots=True)
class SamplerOptions(_Options):
    """Options of `SamplerV2`; one that does not exist is a TypeError.

    Attributes
    ----------
    default_shots : int
        For pubs that say nothing.
    seed : int, optional
        Makes the run repeatable.
    priority : int
        1 (first) .. 10.
    tags : list of str
    max_execution_time : float, optional
        Seconds.
    transpiler, transpiler_options : optional
        Of the server.
    """

    default_shots: int = 1024


@dataclass(slots=True)
class EstimatorOptions(_Options):
    """Options of `EstimatorV2`, as `SamplerOptions`.

    Attributes
    ----------
    default_precision : float
        For pubs that say nothing. Expectation values are exact; the precision p decides the shots, 1 / p^2, for which the
        standard errors are given.
    """

    default_precision: float = 1 / 64


AnyOptions = TypeVar("AnyOptions", SamplerOptions, EstimatorOptions)


def _options(given: AnyOptions | Mapping[str, Any] | None, kind: type[AnyOptions]) -> AnyOptions:
    if isinstance(given, kind):
        return replace(given)
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"options: {type(given).__name__} is neither {kind.__name__} nor a dict")
    known = [entry.name for entry in fields(kind)]
    if odd := sorted(set(given or {}) - set(known)):
        raise TypeError(f"options: {odd[0]!r} does not exist; there are {', '.join(known)}")
    return kind(**(given or {}))


class _Primitive:
    """What both primitives have: where they run and their options as fields of submit_job."""

    def __init__(self, mode: QfastBackend | QfastSession) -> None:
        session = mode if isinstance(mode, QfastSession) else None
        backend = session.backend if session is not None else mode
        if not isinstance(backend, QfastBackend):
            raise TypeError(f"mode: {type(mode).__name__} is neither a QfastBackend nor a QfastSession")
        self._backend, self._session = backend, session

    @property
    def backend(self) -> QfastBackend:
        """Where the jobs run."""
        return self._backend

    def _submit(self, sources: list[str], points: list[Any], shots: int, options: _Options, **more: Any) -> str:
        body = {
            "backend": self._backend.name,
            "shots": shots,
            "job_priority": options.priority,
            "tags": options.tags,
            "max_execution_time": options.max_execution_time,
            "transpiler": options.transpiler,
            "transpiler_options": options.transpiler_options,
            "session_id": self._session.session_id if self._session is not None else None,
            "driver_options": None if options.seed is None else {"seed": options.seed},
            "parameters": points if any(points) else None,
            **more,
        }
        known = {name: value for name, value in body.items() if value is not None}
        return str(self._backend.client.submit_job(sources, "qasm3", **known)["job_id"])


def _points(values: BindingsArray, names: list[str], circuit: Any) -> list[dict[str, float]] | None:
    """The sets of parameter values in C order, or None for a circuit without parameters."""
    if not names:
        return None
    array = values.as_array(circuit.parameters).reshape(-1, len(names))
    return [dict(zip(names, row, strict=True)) for row in array.tolist()]


class SamplerV2(_Primitive, BaseSamplerV2):
    """Samples circuits.

    Parameters
    ----------
    mode : QfastBackend or QfastSession
    options : SamplerOptions or dict, optional
    """

    def __init__(
        self, mode: QfastBackend | QfastSession, options: SamplerOptions | Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(mode)
        self.options = _options(options, SamplerOptions)

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None) -> QfastPrimitiveJob:
        """Submit pubs as one job, or as one for each number of shots.

        Raises
        ------
        ValueError
            There is no pub, or a circuit measures nothing.
        qfast.errors.RpcError
            The server refuses it.
        """
        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        if not coerced:
            raise ValueError("there is no pub to run")
        groups: dict[int, tuple[list[str], list[Any]]] = {}
        for index, pub in enumerate(coerced):
            if not measures(pub.circuit):
                raise ValueError(f"pub {index}: circuit {pub.circuit.name!r} measures nothing")
            heading, text = program_of(pub.circuit)
            points = _points(pub.parameter_values, inputs_of(text), pub.circuit)
            if points is None and pub.shape:
                raise ValueError(f"pub {index}: parameter values of shape {pub.shape} for a circuit without parameters")
            sources, sets = groups.setdefault(pub.shots or self.options.default_shots, ([], []))
            rows = 1 if points is None else len(points)
            sources.append(replace(heading, pub=index, shape=list(pub.shape), rows=rows).line() + text)
            sets.append(points)
        ids = [self._submit(sources, sets, count, self.options) for count, (sources, sets) in groups.items()]
        return QfastPrimitiveJob(self._backend.client, ids)


class EstimatorV2(_Primitive, BaseEstimatorV2):
    """Estimates expectation values: exact ones, with the standard errors that a precision asks for.

    Parameters
    ----------
    mode : QfastBackend or QfastSession
    options : EstimatorOptions or dict, optional
    """

    def __init__(
        self, mode: QfastBackend | QfastSession, options: EstimatorOptions | Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(mode)
        self.options = _options(options, EstimatorOptions)

    def run(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> QfastPrimitiveJob:
        """Submit pubs as one job, or as one for each precision.

        Raises
        ------
        ValueError
            There is no pub, an observable is not real, or the precision is not positive.
        qfast.errors.RpcError
            The server refuses it.
        """
        coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        if not coerced:
            raise ValueError("there is no pub to run")
        groups: dict[int, tuple[list[str], list[Any], list[Any]]] = {}
        for index, pub in enumerate(coerced):
            wanted = pub.precision if pub.precision is not None else self.options.default_precision
            sources, sets, observables = groups.setdefault(_shots_for(wanted), ([], [], []))
            for heading, text, points, group in parts_of(pub, index):
                sources.append(heading.line() + text)
                sets.append(points)
                observables.append(group)
        ids = [
            self._submit(sources, sets, shots, self.options, job_type="estimation", observables=observables)
            for shots, (sources, sets, observables) in groups.items()
        ]
        return QfastPrimitiveJob(self._backend.client, ids)


def _shots_for(precision: float) -> int:
    if not precision > 0:
        raise ValueError(f"precision: {precision} is not positive")
    return min(max(ceil(precision**-2), 1), MAX_SHOTS)


def parts_of(
    pub: EstimatorPub, index: int
) -> Iterable[tuple[Heading, str, list[dict[str, float]] | None, list[dict[str, float]]]]:
    """The sources of a pub, each a heading and a program, with their parameter values and observables.

    Values and observables are broadcast against each other. Where each meets each, one source does; else each set of values
    gets a source with its own observables.
    """
    heading, text = program_of(pub.circuit.remove_final_measurements(inplace=False) or pub.circuit)
    points = _points(pub.parameter_values, inputs_of(text), pub.circuit)
    rows = np.arange(len(points) if points is not None else max(pub.parameter_values.size, 1))
    rows = np.broadcast_to(rows.reshape(pub.parameter_values.shape), pub.shape).ravel()
    labels = np.arange(pub.observables.size).reshape(pub.observables.shape)
    which = np.broadcast_to(labels, pub.shape).ravel()
    terms = [paulis_of(observable) for observable in _flat(pub.observables)]
    if points is None:
        rows = np.zeros_like(rows)
    pairs = [(place, int(row), int(column)) for place, (row, column) in enumerate(zip(rows, which, strict=True))]
    if len({(row, column) for _, row, column in pairs}) == len(set(rows.tolist())) * len(terms):
        own = replace(heading, pub=index, shape=list(pub.shape), at=pairs, rows=1 if points is None else len(points))
        yield own, text, points, terms
        return
    for row in sorted(set(rows.tolist())):
        mine = [(place, column) for place, at, column in pairs if at == row]
        columns = sorted({column for _, column in mine})
        at = [(place, 0, columns.index(column)) for place, column in mine]
        own = replace(heading, pub=index, shape=list(pub.shape), at=at)
        yield own, text, None if points is None else [points[row]], [terms[column] for column in columns]


def _flat(observables: Any) -> list[Mapping[str, float]]:
    """The observables of an array in C order."""
    nested = observables.ravel().tolist()
    return nested if isinstance(nested, list) else [nested]


def paulis_of(observable: Mapping[str, float]) -> dict[str, float]:
    """An observable in Pauli strings, its projectors expanded.

    Raises
    ------
    ValueError
        A coefficient that is not real, an unknown letter, or too many terms.
    """
    total: dict[str, float] = {}
    for label, coefficient in observable.items():
        number = complex(coefficient)
        if number.imag:
            raise ValueError(f"observables: the coefficient of {label!r} is not real")
        parts = {"": number.real}
        for letter in label:
            if letter in "IXYZ":
                parts = {text + letter: value for text, value in parts.items()}
                continue
            if letter not in _LETTERS:
                raise ValueError(f"observables: {letter!r} in {label!r} is neither a Pauli operator nor a projector")
            pauli, sign = _LETTERS[letter]
            halves = [(text + "I", value / 2) for text, value in parts.items()]
            parts = dict(halves + [(text + pauli, sign * value) for text, value in parts.items()])
            if len(parts) > MAX_TERMS:
                raise ValueError(f"observables: {label!r} becomes more than {MAX_TERMS} Pauli strings")
        for text, value in parts.items():
            total[text] = total.get(text, 0.0) + value
    return total
