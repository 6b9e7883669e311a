"""Gates whose angle is on the stack at run time, taken apart before anything else: what is left of them acts on one qubit.

A rotation about any axis is one about Z between fixed gates, and a controlled one is two of half the angle between two flips,
so a basis that can turn a qubit about Z by an angle from the stack can write them all.
"""

from __future__ import annotations

from math import pi

import msgspec
import numpy as np

from qfast.circuit import INSTRUCTION, Circuit, Op
from qfast.errors import TranspileError
from qfast.transpilers.basis import Basis

# What turns the axis of a rotation to Z, in the order in which it acts, and the way back.
TO_Z: dict[int, tuple[Op, ...]] = {Op.RZ: (), Op.P: (), Op.RX: (Op.H,), Op.RY: (Op.SDG, Op.H)}
FROM_Z: dict[int, tuple[Op, ...]] = {Op.RZ: (), Op.P: (), Op.RX: (Op.H,), Op.RY: (Op.H, Op.S)}
# The same for both qubits of a rotation of two, and on how many of them (from the last one on).
AROUND = {
    Op.RZZ: ((), (), 0),
    Op.RXX: ((Op.H,), (Op.H,), 2),
    Op.RYY: ((Op.SX,), (Op.SXDG,), 2),
    Op.RZX: ((Op.H,), (Op.H,), 1),
}
# What is pushed to make the three angles of U of one that is on the stack, and whether it goes below that one.
TO_U: dict[int, tuple[tuple[float, bool], ...]] = {
    Op.RY: ((0.0, False), (0.0, False)),
    Op.RX: ((-pi / 2, False), (pi / 2, False)),
    Op.RZ: ((0.0, True), (0.0, True)),
    Op.P: ((0.0, True), (0.0, True)),
}
POPS_PARAMS = 1  # flag of a gate whose parameters come from the stack (ext/circuit.h)
PUSHF, LDVAR, STVAR, DUP, EXCH, FNEG, FADD, FMUL = (
    97,
    102,
    103,
    105,
    106,
    144,
    145,
    147,
)  # the stack machine (ext/circuit.h)

Record = tuple[int, int, int, int, int, int, int, int]  # one INSTRUCTION


class RunTimeAngles:
    """Rewrites the gates of a circuit that take angles from the stack."""

    def __init__(self, circuit: Circuit, basis: Basis, *, pairs: bool) -> None:
        self.circuit = circuit
        self.basis = basis
        self.pairs = pairs  # the device takes such gates on two qubits, if they are native
        self.records: list[Record] = []
        self.operands: list[int] = circuit.operands.tolist()
        self.params: list[float] = circuit.parameters.tolist()
        self.more_vars = 0

    def rewritten(self) -> Circuit:
        """An equal circuit whose gates of that kind the device takes; raises TranspileError where its basis has none."""
        fresh: list[int] = []
        code: list[Record] = self.circuit.instructions.tolist()
        for record in code:
            fresh.append(len(self.records))
            if record[2] & POPS_PARAMS:
                self._gate(record)
            else:
                self.records.append(record)
        fresh.append(len(self.records))
        self.records = [
            (*record[:7], fresh[record[7]]) if record[0] in (Op.JUMP, Op.JUMPZ) else record for record in self.records
        ]
        return msgspec.structs.replace(
            self.circuit,
            code=np.array(self.records, INSTRUCTION).tobytes(),
            qubits=np.array(self.operands, np.int32).tobytes(),
            params=np.array(self.params, np.float64).tobytes(),
            num_vars=self.circuit.num_vars + self.more_vars,
        )

    def _gate(self, record: Record) -> None:
        op, nctrl, _, state, q, nq, _, _ = record
        qubits = self.operands[q : q + nq]
        if self._native(op, nctrl, state, nq):
            self.records.append(record)
            return
        controls, targets = qubits[:nctrl], qubits[nctrl:]
        low = [q for k, q in enumerate(controls) if not state >> k & 1]
        for q in low:
            self._fixed(Op.X, q)
        if op == Op.GPHASE:
            self._controlled(Op.P, controls[:-1], controls[-1])
        elif op in TO_Z:
            self._controlled(op, controls, targets[0])
        elif op == Op.U:
            self._general(controls, targets[0])
        elif op in AROUND:
            there, back, on = AROUND[Op(op)]
            around = targets[2 - on :] if on else []
            self._fixed_all(there, around)
            self._flip(targets[:1], targets[1])
            self._controlled(Op.RZ, controls, targets[1])
            self._flip(targets[:1], targets[1])
            self._fixed_all(back, around)
        else:
            raise refusal(op, nctrl)
        for q in low:
            self._fixed(Op.X, q)

    def _native(self, op: int, nctrl: int, state: int, width: int) -> bool:
        if width > 1 and not self.pairs:
            return False
        plain = state == (1 << nctrl) - 1
        return self.basis.all or (op == Op.GPHASE and not nctrl) or (plain and self.basis.takes(op, nctrl))

    def _turn(self, op: int, q: int) -> None:
        """A rotation of one qubit."""
        if self.basis.takes(op, 0):
            self._pop(op, q)
        elif self.basis.rz is not None:
            self._fixed_all(TO_Z[op], [q])
            self._pop(self.basis.rz, q)
            self._fixed_all(FROM_Z[op], [q])
        elif self.basis.takes(Op.U, 0):
            for pushed, exchanged in TO_U[op]:
                self._push(pushed)
                if exchanged:
                    self._machine(EXCH)
            self._pop(Op.U, q)
        elif self.basis.takes(Op.RX, 0):  # Rz = H Rx H, Ry = S Rx S^-1
            there, back = ((Op.H,), (Op.H,)) if op in (Op.RZ, Op.P) else ((Op.SDG,), (Op.S,))
            self._fixed_all(there, [q])
            self._pop(Op.RX, q)
            self._fixed_all(back, [q])
        elif self.basis.takes(Op.RY, 0):  # Rz = S' Ry S'^-1 about X, Rx = S^-1 Ry S
            there, back = ((Op.SXDG,), (Op.SX,)) if op in (Op.RZ, Op.P) else ((Op.S,), (Op.SDG,))
            self._fixed_all(there, [q])
            self._pop(Op.RY, q)
            self._fixed_all(back, [q])
        else:
            raise refusal(op, 0)

    def _controlled(self, op: int, controls: list[int], t: int) -> None:
        """The angle halves: once on the target, once more turned back between two flips; a phase also on the controls."""
        if not controls:
            self._turn(op, t)
            return
        self._push(0.5)
        self._machine(FMUL)
        if op == Op.P:
            self._machine(DUP)
            self._controlled(Op.P, controls[:-1], controls[-1])
        self._fixed_all(TO_Z[op], [t])
        self._machine(DUP)
        self._turn(Op.RZ, t)
        self._flip(controls, t)
        self._machine(FNEG)
        self._turn(Op.RZ, t)
        self._flip(controls, t)
        self._fixed_all(FROM_Z[op], [t])

    def _general(self, controls: list[int], t: int) -> None:
        """U(theta, phi, lambda) is Rz(phi) Ry(theta) Rz(lambda) and a phase of (phi + lambda) / 2."""
        theta, phi, lam = (self.circuit.num_vars + k for k in range(3))
        self.more_vars = 3
        for slot in (lam, phi, theta):
            self._machine(STVAR, slot)
        if controls:
            self._machine(LDVAR, phi)
            self._machine(LDVAR, lam)
            self._machine(FADD)
            self._push(0.5)
            self._machine(FMUL)
            self._controlled(Op.P, controls[:-1], controls[-1])
        for op, slot in ((Op.RZ, lam), (Op.RY, theta), (Op.RZ, phi)):
            self._machine(LDVAR, slot)
            self._controlled(op, controls, t)

    def _fixed_all(self, ops: tuple[Op, ...], qubits: list[int]) -> None:
        for q in qubits:
            for op in ops:
                self._fixed(op, q)

    def _fixed(self, op: Op, q: int) -> None:
        self.records.append((op, 0, 0, 0, len(self.operands), 1, 0, 0))
        self.operands.append(q)

    def _flip(self, controls: list[int], t: int) -> None:
        nctrl = len(controls)
        self.records.append((Op.X, nctrl, 0, (1 << nctrl) - 1, len(self.operands), nctrl + 1, 0, 0))
        self.operands += [*controls, t]

    def _pop(self, op: int, q: int) -> None:
        self.records.append((op, 0, POPS_PARAMS, 0, len(self.operands), 1, 0, 0))
        self.operands.append(q)

    def _push(self, value: float) -> None:
        self.params.append(value)
        self.records.append((PUSHF, 0, 0, 0, 0, 0, len(self.params) - 1, 0))

    def _machine(self, op: int, slot: int = 0) -> None:
        self.records.append((op, 0, 0, 0, 0, 0, 0, slot))


def refusal(op: int, nctrl: int) -> TranspileError:
    """The basis has nothing for it."""
    return TranspileError(
        f"{'c' * nctrl}{Op(op).name.lower()} has an angle that is known only at run time, "
        "and the device's basis has neither this gate nor one to write it with"
    )
