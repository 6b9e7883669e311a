"""Gates whose angle is on the stack at run time: only their surroundings can be rewritten.

A rotation about any axis is one about Z between fixed gates, and a controlled one is two of half the angle between two cx, so
a basis that can turn a qubit about Z by an angle from the stack can write them all.
"""

from __future__ import annotations

from math import pi

from qfast.circuit import Op
from qfast.errors import TranspileError
from qfast.transpilers.basis import Basis
from qfast.transpilers.emitting import Emitter, Record
from qfast.transpilers.lowering import AROUND, Lowerer
from qfast.transpilers.one_qubit import SDG, H, Matrix, X, dagger

# What turns the axis of a rotation to Z, in the order in which it acts.
TO_Z: dict[int, tuple[Matrix, ...]] = {Op.RZ: (), Op.P: (), Op.RX: (H,), Op.RY: (SDG, H)}
# What is pushed to make the three angles of U of one that is on the stack, and whether it goes below that one.
TO_U: dict[int, tuple[tuple[float, bool], ...]] = {
    Op.RY: ((0.0, False), (0.0, False)),
    Op.RX: ((-pi / 2, False), (pi / 2, False)),
    Op.RZ: ((0.0, True), (0.0, True)),
    Op.P: ((0.0, True), (0.0, True)),
}
POPS_PARAMS = 1  # flag of a gate whose parameters come from the stack (ext/circuit.h)
PUSHF, DUP, EXCH, FNEG, FMUL = 97, 105, 106, 144, 147  # instructions of the stack machine (ext/circuit.h)


class RunTimeAngles:
    """Writes such gates with an emitter; qubits are the device's."""

    def __init__(self, basis: Basis, emitter: Emitter) -> None:
        self.basis = basis
        self.emitter = emitter
        self.lowerer = Lowerer(0, emitter, lambda _op, _nctrl: False)

    def write(self, record: Record, qubits: tuple[int, ...]) -> None:
        """One gate; raises TranspileError where the basis cannot write it."""
        op, nctrl, _, ctrl_state = record[:4]
        if self._native(op, nctrl, ctrl_state, qubits):
            self.emitter.popping(record, qubits)
        elif len(qubits) == 1 and not nctrl:
            self._turn(op, qubits[0])
        elif nctrl == 1 and op in TO_Z:
            self._controlled(op, ctrl_state & 1, qubits[0], qubits[1])
        elif nctrl == 0 and op in AROUND:
            there, back, on = AROUND[op]
            for q in qubits[2 - on :] if on else ():
                self.emitter.one(q, there)
            self.lowerer.flip(qubits[:1], qubits[1])
            self._turn(Op.RZ, qubits[1])
            self.lowerer.flip(qubits[:1], qubits[1])
            for q in qubits[2 - on :] if on else ():
                self.emitter.one(q, back)
        else:
            raise refusal(op, nctrl)

    def _native(self, op: int, nctrl: int, ctrl_state: int, qubits: tuple[int, ...]) -> bool:
        directions = self.emitter.directions
        if len(qubits) > 2 and directions is not None:
            return False
        if len(qubits) == 2 and directions is not None and (qubits[0], qubits[1]) not in directions:
            return False
        plain = ctrl_state == (1 << nctrl) - 1
        return self.basis.all or (op == Op.GPHASE and not nctrl) or (plain and self.basis.takes(op, nctrl))

    def _turn(self, op: int, q: int) -> None:
        """A rotation of one qubit."""
        if self.basis.takes(op, 0):
            self._pop(op, q)
        elif op not in TO_Z:
            raise refusal(op, 0)
        elif self.basis.rz is not None:
            for m in TO_Z[op]:
                self.emitter.one(q, m)
            self._pop(self.basis.rz, q)
            for m in reversed(TO_Z[op]):
                self.emitter.one(q, dagger(m))
        elif self.basis.takes(Op.U, 0):
            for pushed, exchanged in TO_U[op]:
                self._push(pushed)
                if exchanged:
                    self._machine(EXCH)
            self._pop(Op.U, q)
        else:
            raise refusal(op, 0)

    def _controlled(self, op: int, state: int, c: int, t: int) -> None:
        """The angle halves: once on the target, once more turned back between two cx; a phase also on the control."""
        if not state:
            self.emitter.one(c, X)
        self._push(0.5)
        self._machine(FMUL)
        if op == Op.P:
            self._machine(DUP)
            self._turn(Op.P, c)
        for m in TO_Z[op]:
            self.emitter.one(t, m)
        self._machine(DUP)
        self._turn(Op.RZ, t)
        self.lowerer.flip((c,), t)
        self._machine(FNEG)
        self._turn(Op.RZ, t)
        self.lowerer.flip((c,), t)
        for m in reversed(TO_Z[op]):
            self.emitter.one(t, dagger(m))
        if not state:
            self.emitter.one(c, X)

    def _pop(self, op: int, q: int) -> None:
        self.emitter.popping((op, 0, POPS_PARAMS, 0, 0, 1, 0, 0), (q,))

    def _push(self, value: float) -> None:
        self.emitter.flush_all()  # which may write parameters itself
        self.emitter.params.append(value)
        self.emitter.classical((PUSHF, 0, 0, 0, 0, 0, len(self.emitter.params) - 1, 0))

    def _machine(self, op: int) -> None:
        self.emitter.classical((op, 0, 0, 0, 0, 0, 0, 0))


def refusal(op: int, nctrl: int) -> TranspileError:
    """The basis has nothing for it."""
    return TranspileError(
        f"{'c' * nctrl}{Op(op).name.lower()} has an angle that is known only at run time, "
        "and the device's basis has neither this gate nor one to write it with"
    )
