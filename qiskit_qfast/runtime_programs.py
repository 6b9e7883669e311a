"""What IBM's client submits, read in a worker process: QPY circuits and arrays become programs and parameter sets.

`read` is called by name through a lane (qfast.lanes): the server itself imports neither Qiskit nor this package, and a circuit
that crashes or hangs the reader costs its own submit only.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import prod
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qfast.errors import CircuitError, TranspileError
from qiskit_qfast.circuits import Heading, inputs_of, measures, program_of
from qiskit_qfast.primitives import parts_of

MAX_BYTES = 256 << 20  # of one circuit or array when it is unpacked
OLDEST_QPY = 13  # older formats keep expressions as texts that sympy evaluates
_HEADER = struct.Struct("!6sB")  # the magic word and the version

Points = list[dict[str, float]] | None


def read(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the pubs, or items, of one submit.

    Parameters
    ----------
    request : mapping
        ``program``: sampler, estimator or executor; ``params``: the JSON text of its parameters.

    Returns
    -------
    list of dict
        Per pub ``shots`` and ``precision`` as given, or None, and ``parts``: of each of its programs the ``heading``, the
        ``source`` and ``parameters``, for the estimator also the ``observables``.

    Raises
    ------
    CircuitError
        Something cannot be read, naming the pub.
    """
    params = json.loads(request["params"])
    if request["program"] == "executor":
        return _items(params["quantum_program"])
    of_pub = _sampler_pub if request["program"] == "sampler" else _estimator_pub
    return [_named(f"pub {index}", of_pub, index, _decoded(pub)) for index, pub in enumerate(params["pubs"])]


def _named(where: str, work: Any, *arguments: Any) -> dict[str, Any]:
    """Run it; what goes wrong is told with the place."""
    try:
        found: dict[str, Any] = work(*arguments)
    except CircuitError as error:
        raise TranspileError(f"{where}: {error.text}") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise TranspileError(f"{where}: {error}"[:500]) from None
    return found


def _decoded(value: Any) -> Any:
    """A value with its circuits and arrays unpacked; no other tagged type is taken."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "__type__" not in value:
        return {key: _decoded(item) for key, item in value.items()}
    kind, inner = value["__type__"], value.get("__value__")
    if kind == "QuantumCircuit":
        (circuit,) = circuits_of(str(inner))
        return circuit
    if kind == "ndarray":
        if isinstance(inner, list):
            return _decoded(inner)
        return np.load(io.BytesIO(_unpacked(str(inner))), allow_pickle=False)
    raise TranspileError(f"a value of the type {str(kind)[:60]!r} is not taken")


def _unpacked(text: str) -> bytes:
    """The bytes of base64 of zlib, up to MAX_BYTES."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(b64decode(text, validate=True), MAX_BYTES)
    except (ValueError, zlib.error) as error:
        raise TranspileError(f"it is not base64 of zlib: {error}") from None
    if unpacker.unconsumed_tail:
        raise TranspileError(f"it takes more than {MAX_BYTES >> 20} MiB unpacked")
    return data


def circuits_of(text: str) -> list[QuantumCircuit]:
    """The circuits in packed QPY; raises TranspileError for a version that cannot be read here, or other bytes."""
    data = _unpacked(text)
    magic, version = _HEADER.unpack_from(data.ljust(_HEADER.size, b"\0"))
    if magic != b"QISKIT":
        raise TranspileError("it is not QPY")
    newest = qpy.common.QPY_VERSION
    if not OLDEST_QPY <= version <= newest:
        raise TranspileError(
            f"its circuit is in QPY version {version}; this server reads {OLDEST_QPY} to {newest}"
            + (": it needs a newer Qiskit" if version > newest else ": upgrade the client's Qiskit")
        )
    try:
        found: list[QuantumCircuit] = qpy.load(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:
        raise TranspileError(f"its circuit cannot be read: {type(error).__name__}: {error}"[:400]) from None
    for circuit in found:
        if not isinstance(circuit, QuantumCircuit):
            raise TranspileError(f"its QPY holds a {type(circuit).__name__}, not a circuit")
    return found


def _circuit_in(pub: Any) -> Sequence[Any]:
    if not isinstance(pub, list) or not pub or not isinstance(pub[0], QuantumCircuit):
        raise TranspileError("is not a list that begins with a circuit (texts of OpenQASM go to submit_job)")
    return pub


def _sampler_pub(index: int, given: Any) -> dict[str, Any]:
    pub = SamplerPub.coerce(tuple(_circuit_in(given)))
    points = pub.parameter_values.as_array(pub.circuit.parameters)
    part = _sampled(index, pub.circuit, points.reshape(pub.size, points.shape[-1]), pub.shape)
    return {"shots": pub.shots, "precision": None, "parts": [part]}


def _sampled(index: int, circuit: QuantumCircuit, points: Any, shape: Sequence[int]) -> dict[str, Any]:
    """The program of a circuit and its sets of parameter values: one row each, in C order."""
    if not measures(circuit):
        raise TranspileError(f"the circuit {circuit.name!r} measures nothing")
    heading, text = program_of(circuit)
    names = inputs_of(text)
    sets: Points = [dict(zip(names, row, strict=True)) for row in points.tolist()]
    rows = len(points)
    if not names and not shape:
        sets = None
    own = replace(heading, pub=index, shape=list(shape), rows=rows)
    return {"heading": _plain(own), "source": text, "parameters": sets}


def _estimator_pub(index: int, given: Any) -> dict[str, Any]:
    pub = EstimatorPub.coerce(tuple(_circuit_in(given)))
    parts = [
        {"heading": _plain(heading), "source": text, "parameters": points, "observables": terms}
        for heading, text, points, terms in parts_of(pub, index)
    ]
    return {"shots": None, "precision": pub.precision, "parts": parts}


def _plain(heading: Heading) -> dict[str, Any]:
    """The heading as JSON has it: what of the circuit's metadata JSON does not know becomes text."""
    fields: dict[str, Any] = json.loads(json.dumps(asdict(heading), default=str))
    return fields


def _items(program: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items of an executor's program, as `read` gives pubs."""
    packed = program["circuits"]
    if "b64_data" not in packed or "qpy_version" not in packed:
        raise TranspileError("circuits: only QPY is taken here; texts of OpenQASM go to submit_job")
    circuits = circuits_of(packed["b64_data"])
    items = program["items"]
    if len(circuits) != len(items):
        raise TranspileError(f"there are {len(circuits)} circuits for {len(items)} items")
    return [
        _named(f"item {index}", _item, index, circuit, item)
        for index, (circuit, item) in enumerate(zip(circuits, items, strict=True))
    ]


def _item(index: int, circuit: QuantumCircuit, item: Mapping[str, Any]) -> dict[str, Any]:
    tensor = item["circuit_arguments"]
    values = np.frombuffer(_unpacked(tensor["data"]), "<f8").reshape(tensor["shape"])
    width = circuit.num_parameters
    if values.shape[-1:] != (width,):
        raise TranspileError(f"circuit_arguments of shape {list(values.shape)} for {width} parameters")
    shape = np.broadcast_shapes(values.shape[:-1], tuple(item["shape"]))
    points = np.broadcast_to(values, (*shape, width)).reshape(prod(shape), width)
    return {"shots": None, "precision": None, "parts": [_sampled(index, circuit, points, shape)]}
