"""Our transpiler: rewrites a circuit in a device's gates, merges and cancels, and routes it on the coupling map.

This is its face; the work is done by ext/transpile.pyx and the headers ext/tp_*.h. The way of a program: run_time.py takes
apart gates whose angle is on the stack -> tp_lower.h takes gates apart -> tp_merge.h merges and cancels, tp_blocks.h writes
runs on one pair anew -> tp_map.h places, tp_route.h exchanges -> both merge again -> tp_emit.h writes instructions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from qfast._ext import transpile
from qfast.circuit import INSTRUCTION, Circuit, Op
from qfast.errors import JobCancelled, QubitLimitError, TimeLimitError, TranspileError, TranspilerInitError
from qfast.plugins import Task
from qfast.transpilers.basis import Basis, basis_of, known_basis_gates
from qfast.transpilers.run_time import POPS_PARAMS, RunTimeAngles

__all__ = ["CmssOptions", "CmssTranspiler", "known_basis_gates", "rewritten"]

Pairs = tuple[tuple[int, int], ...]

REMEMBERED = 1 << 16  # bytes of code whose counts are remembered


class CmssOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Options of the transpiler.

    Attributes
    ----------
    optimization_level : int
        0: only what the device demands; 1: merge and cancel near gates, few placements; 2: also write runs on one pair anew,
        look further, try more placements; 3: more of that. Each takes the best of what it and the lower ones (but 0) find: the
        fewest two-qubit gates, then the fewest gates.
    seed : int
        Of the placements and of ties; same seed, same circuit.
    """

    optimization_level: Annotated[int, msgspec.Meta(ge=0, le=3)] = 1
    seed: int = 0


class CmssTranspiler:
    """Rewrites circuits for a device's basis gates and coupling map."""

    name: ClassVar[str] = "cmss"
    alias_name: ClassVar[str] = "CMSS"
    version: ClassVar[str] = "1.0.0"
    supported_code_types: ClassVar[tuple[str, ...]] = ("qasm", "qasm2", "qasm3")
    Options: ClassVar[type[msgspec.Struct]] = CmssOptions

    def transpile(self, circuit: Circuit, task: Task) -> Circuit:
        """An equivalent circuit for ``task.device``.

        Notes in ``task.metadata``: ``gates`` and ``two_qubit_gates`` (counts); when anything was rewritten also ``depth``
        (gates and measurements on the longest path), ``swaps`` (exchanges for routing) and ``layout``: the device's qubit
        of each qubit of the program, at the start and at the end.

        Raises
        ------
        QubitLimitError
            More qubits than the coupling map has.
        TranspileError
            A gate cannot be written in the basis, or no connected region is large enough.
        JobCancelled, TimeLimitError
            The flag was set, the deadline has passed.
        """
        try:
            options = msgspec.convert(task.transpiler_options, CmssOptions)
        except msgspec.ValidationError as error:
            raise TranspilerInitError(f"transpiler_options: {error}") from None
        basis = basis_of(tuple(task.device.basis_gates))
        pairs = task.device.coupling_map
        if basis.all and not pairs and options.optimization_level <= 1:
            task.metadata.update(counted(circuit))  # the simulator takes everything and merges by itself
            return circuit
        done, notes = rewritten(circuit, basis, pairs or None, options, cancel=task.cancel, deadline=task.deadline)
        task.metadata.update(notes)
        return done


@lru_cache(64)
def map_of(pairs: Pairs) -> transpile.Map:
    """The coupling map with its distances; made once."""
    size = 1 + max(max(pair) for pair in pairs)
    if size > transpile.MOST_PLACES:
        raise TranspileError(f"a coupling map may have {transpile.MOST_PLACES} qubits at most, this one has {size}")
    return transpile.Map(np.array(pairs, np.int32), size)


def rewritten(
    circuit: Circuit,
    basis: Basis,
    pairs: Pairs | None,
    options: CmssOptions,
    *,
    cancel: bytearray | None = None,
    deadline: float | None = None,
) -> tuple[Circuit, dict[str, Any]]:
    """The circuit in a basis and on a coupling map, and the notes of CmssTranspiler.transpile; raises what that does."""
    chart = None if pairs is None else map_of(pairs)
    size = circuit.num_qubits if chart is None else chart.num_qubits
    if circuit.num_qubits > size:
        raise QubitLimitError(f"the program has {circuit.num_qubits} qubits, the coupling map {size}")
    if circuit.num_vars or circuit.instructions["flags"].any():
        circuit = with_run_time_angles(circuit, basis, chart is None)
    status, answer = transpile.rewrite(
        circuit.code,
        circuit.qubits,
        circuit.params,
        circuit.num_qubits,
        circuit.num_clbits,
        circuit.num_vars,
        basis.kernel,
        chart,
        options.optimization_level,
        options.seed % 2**64,
        cancel,
        deadline,
    )
    if answer is None:
        raise failure(status, circuit, basis)
    code, qubits, params, gates, two_qubit_gates, depth, swaps, first, last = answer
    done = Circuit(
        num_qubits=size,
        num_clbits=circuit.num_clbits,
        num_vars=circuit.num_vars,
        code=code,
        qubits=qubits,
        params=params,
        qregs=circuit.qregs if size == circuit.num_qubits else (("q", size),),
        cregs=circuit.cregs,
        implicit_measurement=circuit.implicit_measurement,
    )
    layout = {"initial": first, "final": last}
    return done, {"gates": gates, "two_qubit_gates": two_qubit_gates, "depth": depth, "swaps": swaps, "layout": layout}


def with_run_time_angles(circuit: Circuit, basis: Basis, pairs: bool) -> Circuit:
    """The circuit as it is, or with its gates that take angles from the stack taken apart."""
    if not (circuit.instructions["flags"] & POPS_PARAMS).any():
        return circuit
    return RunTimeAngles(circuit, basis, pairs=pairs).rewritten()


def failure(status: str, circuit: Circuit, basis: Basis) -> Exception:
    """What a status of the kernel means."""
    names = ", ".join(sorted(basis.names))
    if status == "cancelled":
        return JobCancelled("cancelled")
    if status == "late":
        return TimeLimitError("the transpiler took longer than it may")
    if status == "no region":
        return TranspileError(f"the coupling map has no {circuit.num_qubits} qubits that are connected")
    if status == "no one-qubit gate":
        return TranspileError(
            f"a one-qubit gate of the program cannot be written in the device's basis ({names}): it lacks {basis.lacks()}"
        )
    if status == "no two-qubit gate":
        return TranspileError(
            f"the program needs a two-qubit gate, and the device's basis ({names}) lacks {basis.lacks()}"
        )
    return TranspileError(f"the circuit cannot be rewritten: {status}")


def counted(circuit: Circuit) -> dict[str, Any]:
    """Gates and two-qubit gates of a circuit as it stands."""
    count = _remembered if len(circuit.code) <= REMEMBERED else _count
    gates, pairs = count(circuit.code)
    return {"gates": gates, "two_qubit_gates": pairs}


def _count(code: bytes) -> tuple[int, int]:
    instructions = np.frombuffer(code, INSTRUCTION)
    gates = instructions["op"] < Op.MEASURE
    return int(np.count_nonzero(gates)), int(np.count_nonzero(gates & (instructions["nq"] == 2)))


_remembered = lru_cache(64)(_count)  # the points of a sweep have the same gates
