"""Our transpiler: rewrites a circuit in a device's gates, merges and cancels, and routes it on the coupling map.

The way of a program: split at every classical instruction (jump targets, arithmetic) -> lowering.py takes gates apart ->
rewriting.py merges -> routing.py places and exchanges -> rewriting.py merges again -> emitting.py writes instructions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from qfast.circuit import NUM_PARAMS, Circuit, Op
from qfast.errors import JobCancelled, QubitLimitError, TimeLimitError, TranspileError, TranspilerInitError
from qfast.plugins import Task
from qfast.transpilers.basis import Basis, basis_of, known_basis_gates
from qfast.transpilers.coupling import Map
from qfast.transpilers.emitting import Emitter, Record
from qfast.transpilers.lowering import Lowerer
from qfast.transpilers.resynthesis import Resynthesis
from qfast.transpilers.rewriting import Merger, Recorder, Sink, Step, wires
from qfast.transpilers.routing import Order, Pass, placement
from qfast.transpilers.run_time import POPS_PARAMS, RunTimeAngles

__all__ = ["CmssOptions", "CmssTranspiler", "known_basis_gates", "squeeze"]

REACH = (0, 8, 50, 200)  # per level: rotations that a merge looks back
TRIALS = (0, 3, 8, 20)  # per level: placements tried
LARGE = 4000  # two-qubit gates beyond which only the first placement is used


class CmssOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Options of the transpiler.

    Attributes
    ----------
    optimization_level : int
        0: only what the device demands; 1: merge and cancel near gates, few placements; 2 and 3: look further, try more.
    seed : int
        Of the placements and of ties; same seed, same circuit.
    """

    optimization_level: Annotated[int, msgspec.Meta(ge=0, le=3)] = 1
    seed: int = 0


class Segment(msgspec.Struct):
    """Gates between two classical instructions, and the instruction that ends them."""

    start: int  # index of its first instruction
    gates: list[Record]
    tail: Record | None = None
    ends_block: bool = False


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
        work = Rewrite(circuit, basis, pairs or None, options, task)
        done = work.run()
        task.metadata.update(work.report())
        return done


class Rewrite:
    """One circuit on its way to one device."""

    def __init__(
        self,
        circuit: Circuit,
        basis: Basis,
        pairs: tuple[tuple[int, int], ...] | None,
        options: CmssOptions,
        task: Task,
    ) -> None:
        self.circuit = circuit
        self.basis = basis
        self.level = options.optimization_level
        self.seed = options.seed
        self.task = task
        self.size = circuit.num_qubits
        self.pairs = pairs
        self.device: Map | None = None  # set when the program's pairs are known
        if pairs is not None:
            self.size = 1 + max(max(pair) for pair in pairs)
            if circuit.num_qubits > self.size:
                raise QubitLimitError(f"the program has {circuit.num_qubits} qubits, the coupling map {self.size}")
        directions = None if pairs is None else frozenset((a, b) for a, b in pairs)
        params: list[float] = circuit.parameters.tolist()
        self.params = list(params)
        self.operands: list[int] = circuit.operands.tolist()
        self.emitter = Emitter(basis, directions, self.size, params, carry=self.level > 0)
        self.segments = list(split(circuit))
        self.jumps = any(
            segment.tail is not None and segment.tail[0] in (Op.JUMP, Op.JUMPZ) for segment in self.segments
        )
        self.swaps = 0
        self.start: list[int] = list(range(circuit.num_qubits))
        self.where: list[int] = list(self.start)  # local places of the device, which change
        self.owed: list[tuple[int, int]] = []  # exchanges that the block must take back at its end

    def run(self) -> Circuit:
        """The new circuit."""
        lowered = [self._lowered(segment) for segment in self.segments]
        if self.pairs is not None:
            steps = [step for steps in lowered for step in steps]
            meeting = (wires(step) for step in steps if step[0] in {"zz", "gate"})
            wanted = frozenset((pair[0], pair[1]) for pair in meeting) if self.level else frozenset()
            self.device = Map(self.pairs, self.circuit.num_qubits, wanted)
            trials = TRIALS[self.level]
            if sum(step[0] in {"zz", "swap", "gate"} for step in steps) > LARGE:
                trials = 0
            self.where = placement(
                steps,
                self.circuit.num_qubits,
                self.device,
                seed=self.seed,
                trials=trials,
                poll=self._poll,
                relabel=self._relabels(),
            )
            self.start = list(self.where)
        fresh: dict[int, int] = {}  # first instruction of a segment, before and after
        patches: list[tuple[int, int]] = []
        for segment, steps in zip(self.segments, lowered, strict=True):
            fresh[segment.start] = len(self.emitter.records)
            self._place(segment, steps)
            self.emitter.flush_all()
            if segment.tail is not None:
                if segment.tail[0] in (Op.JUMP, Op.JUMPZ):
                    patches.append((len(self.emitter.records), segment.tail[7]))
                self._tail(segment.tail)
        records = self.emitter.records
        fresh[len(self.circuit.instructions)] = len(records)
        for at, target in patches:
            records[at] = (*records[at][:7], fresh[target])
        return self.emitter.circuit(self.circuit, self.size)

    def report(self) -> dict[str, Any]:
        """What was done, for the result's metadata."""
        place = range(self.size) if self.device is None else self.device.place
        return {
            "gates": self.emitter.gates,
            "two_qubit_gates": self.emitter.two_qubit_gates,
            "depth": max(self.emitter.level, default=0),
            "swaps": self.swaps,
            "layout": {"initial": [place[k] for k in self.start], "final": [place[k] for k in self.where]},
        }

    def _relabels(self) -> bool:
        """Whether the program's own exchanges may become part of the placement."""
        return self.level > 0 and not self.jumps

    def _poll(self) -> None:
        if self.task.cancel[0]:
            raise JobCancelled("cancelled")
        if self.task.deadline is not None and time.monotonic() > self.task.deadline:
            raise TimeLimitError("the transpiler took longer than it may")

    def _merger(self, num_qubits: int, keep_swap: bool) -> Merger:
        return Merger(num_qubits, REACH[self.level], keep_swap, self.basis.product)

    def _lowered(self, segment: Segment) -> list[Step]:
        """The segment's gates, taken apart and merged."""
        num_qubits = self.circuit.num_qubits
        merger = self._merger(num_qubits, keep_swap=self.pairs is not None or self.basis.swap)
        lowerer = Lowerer(num_qubits, merger, self._keeps)
        for k, (op, nctrl, _, ctrl_state, q, nq, at, c) in enumerate(segment.gates):
            if not k & 255:
                self._poll()
            qubits = tuple(self.operands[q : q + nq])
            if op == Op.MEASURE:
                merger.measure(qubits[0], c)
            elif op == Op.RESET:
                merger.reset(qubits[0])
            elif op == Op.BARRIER:
                if qubits:
                    merger.barrier(qubits)
            else:
                width = NUM_PARAMS.get(Op(op), 0)
                lowerer.gate(op, nctrl, ctrl_state, qubits, tuple(self.params[at : at + width]))
        merger = self._resynthesised(merger, swaps=not (self.pairs and self._relabels()))
        recorder = Recorder()
        merger.drain(recorder)
        return recorder.steps

    def _resynthesised(self, merger: Merger, *, swaps: bool) -> Merger:
        """From level 2 on: runs on one pair written anew, and everything merged once more."""
        if self.level < 2 or self.basis.continuous is None:
            return merger
        recorder = Recorder()
        merger.drain(recorder)
        self._poll()
        fresh = self._merger(len(merger.wires), merger.keep_swap)
        Resynthesis(len(merger.wires), self.basis, fresh, swaps=swaps).steps(recorder.steps)
        return fresh

    def _keeps(self, op: int, nctrl: int) -> bool:
        """As the basis, but only pairs where the coupling map counts."""
        if self.pairs is not None:
            targets = 2 if op in (Op.SWAP, Op.ISWAP) else 1
            if nctrl + targets > 2 or op == Op.SWAP or nctrl:  # with a direction of its own: better written by cx
                return False
        return self.basis.keeps(op, nctrl)

    def _place(self, segment: Segment, steps: list[Step]) -> None:
        """Route the steps and write them."""
        if self.device is None:
            replay(steps, self.emitter)
            return
        merger = self._merger(self.size, self.basis.swap)
        rng = Random(self.seed)  # noqa: S311 - no secret
        way = Pass(Order(steps), self.where, self.device, rng, self._poll, relabel=self._relabels())
        way.run(merger)
        self.swaps += len(way.swaps)
        self.owed += way.swaps
        tail = segment.tail
        if tail is not None and tail[0] < Op.JUMP and tail[5] == 2:  # a gate with parameters from the stack
            before = len(way.swaps)
            way.bring_together(self.operands[tail[4]], self.operands[tail[4] + 1], merger)
            self.owed += way.swaps[before:]
            self.swaps += len(way.swaps) - before
        if self.jumps and segment.ends_block:  # every way into a block must find the same placement
            for a, b in reversed(self.owed):
                way.exchange(a, b, merger)
            self.swaps += len(self.owed)
            self.owed = []
        self._resynthesised(merger, swaps=True).drain(self.emitter)

    def _tail(self, tail: Record) -> None:
        """Copy a classical instruction, a jump, or a gate with parameters from the stack."""
        if tail[0] >= Op.JUMP:
            self.emitter.classical(tail)
            return
        q, nq = tail[4:6]
        qubits = tuple(self.operands[q : q + nq])
        if self.device is not None:
            if nq > 2:
                raise TranspileError("a gate on three qubits with an angle known only at run time cannot be routed")
            qubits = tuple(self.device.place[self.where[x]] for x in qubits)
        RunTimeAngles(self.basis, self.emitter).write(tail, qubits)


def replay(steps: list[Step], sink: Sink) -> None:
    """Hand recorded steps to a sink."""
    for step in steps:
        getattr(sink, step[0])(*step[1:])


def split(circuit: Circuit) -> Iterator[Segment]:
    """The program in segments of gates, each ended by a classical instruction or by a jump's target behind it."""
    code: list[Record] = circuit.instructions.tolist()
    targets = {record[7] for record in code if record[0] in (Op.JUMP, Op.JUMPZ)}
    segment = Segment(0, [])
    for k, record in enumerate(code):
        if k in targets and k > segment.start:
            segment.ends_block = True
            yield segment
            segment = Segment(k, [])
        if record[0] >= Op.JUMP or record[2] & POPS_PARAMS:
            segment.tail = record
            segment.ends_block = record[0] in (Op.JUMP, Op.JUMPZ) or k + 1 in targets
            yield segment
            segment = Segment(k + 1, [])
        else:
            segment.gates.append(record)
    if segment.gates:
        yield segment


def counted(circuit: Circuit) -> dict[str, Any]:
    """Gates and two-qubit gates of a circuit as it stands."""
    code = circuit.instructions
    gates = code["op"] < Op.MEASURE
    return {
        "gates": int(np.count_nonzero(gates)),
        "two_qubit_gates": int(np.count_nonzero(gates & (code["nq"] == 2))),
    }


def squeeze(circuit: Circuit) -> Circuit:
    """The circuit without the qubits that no instruction touches, for a simulator: counts stay what they are."""
    code = circuit.instructions
    quantum = code["op"] < Op.JUMP
    used = np.unique(circuit.operands[spans(code[quantum])])
    if len(used) == circuit.num_qubits:
        return circuit
    fresh = np.zeros(circuit.num_qubits + 1, np.int32)
    fresh[used] = np.arange(len(used), dtype=np.int32)
    return msgspec.structs.replace(
        circuit,
        num_qubits=max(1, len(used)),
        qubits=fresh[circuit.operands].tobytes(),
        qregs=(("q", max(1, len(used))),),
    )


def spans(code: Any) -> Any:
    """Indices into the operands that the instructions use, shape (k,)."""
    starts, counts = code["q"].astype(np.int64), code["nq"].astype(np.int64)
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)
