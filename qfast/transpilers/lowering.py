"""From the gates of a circuit to one-qubit matrices, rotations exp(-i phi/2 Z Z) and what the target takes as it is.

Multi-controlled gates follow Barenco et al., "Elementary gates for quantum computation", Phys. Rev. A 52, 3457 (1995):
Lemma 7.2 (with many borrowed qubits), Lemma 7.3 (with one), and the square-root recursion of Lemma 7.5 (with none).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

from qfast.circuit import Op
from qfast.transpilers.one_qubit import (
    EPS,
    RX_HALF,
    RX_MINUS_HALF,
    H,
    Matrix,
    S,
    X,
    axis,
    dagger,
    is_identity,
    matrix,
    p,
    rz,
    wrapped,
)
from qfast.transpilers.rewriting import Sink

PHASES = {Op.Z: pi, Op.S: pi / 2, Op.SDG: -pi / 2, Op.T: pi / 4, Op.TDG: -pi / 4}

Qubits = tuple[int, ...]


class Lowerer:
    """Takes gates of the compact circuit apart, into a sink.

    Parameters
    ----------
    num_qubits : int
        Qubits that may be borrowed (and are given back as they were).
    sink : Sink
        Takes the parts.
    keeps : callable
        Whether the target takes an operation with so many controls as it is, though it is no single rotation.
    """

    def __init__(self, num_qubits: int, sink: Sink, keeps: Callable[[int, int], bool]) -> None:
        self.num_qubits = num_qubits
        self.sink = sink
        self.keeps = keeps

    def gate(self, op: int, nctrl: int, ctrl_state: int, qubits: Qubits, params: tuple[float, ...]) -> None:
        """One gate of the circuit."""
        low = [q for k, q in enumerate(qubits[:nctrl]) if not ctrl_state >> k & 1]
        for q in low:
            self.sink.one(q, X)
        self.controlled(op, qubits[:nctrl], qubits[nctrl:], params)
        for q in low:
            self.sink.one(q, X)

    def controlled(self, op: int, controls: Qubits, targets: Qubits, params: tuple[float, ...]) -> None:
        """A gate whose controls must all be 1."""
        if op == Op.GPHASE:
            if controls:
                self.phase(params[0], controls[:-1], controls[-1])
        elif self.keeps(op, len(controls)):
            self.sink.gate(op, len(controls), controls + targets, params)
        elif len(targets) == 2:
            self.two_targets(op, controls, targets[0], targets[1], params)
        elif not controls:
            self.sink.one(targets[0], matrix(op, params))
        elif op == Op.X:
            self.flip(controls, targets[0])
        elif op in PHASES:
            self.phase(PHASES[Op(op)], controls, targets[0])
        elif op == Op.P:
            self.phase(params[0], controls, targets[0])
        elif op == Op.RZ:
            self.turn(params[0], controls, targets[0])
        elif op != Op.ID:
            self.unitary(matrix(op, params), controls, targets[0])

    def phase(self, angle: float, controls: Qubits, t: int, rooted: bool = False) -> None:
        """diag(1, .., 1, exp(i angle)). With `rooted` a Z is never written as a flip, which may come from there."""
        angle = wrapped(angle)
        if abs(angle) < EPS:
            return
        is_z = pi - abs(angle) < EPS
        if not controls:
            self.sink.one(t, p(angle))
        elif len(controls) == 1:
            self.sink.zz(controls[0], t, -angle / 2, "cz" if is_z else "cp")
            self.sink.one(controls[0], p(angle / 2))
            self.sink.one(t, p(angle / 2))
        elif self.keeps(Op.P, len(controls)):
            self.sink.gate(Op.P, len(controls), (*controls, t), (angle,))
        elif is_z and not rooted:
            self.sink.one(t, H)
            self.flip(controls, t)
            self.sink.one(t, H)
        else:
            rest, last = controls[:-1], controls[-1]
            self.phase(angle / 2, (last,), t)
            self.flip(rest, last)
            self.phase(-angle / 2, (last,), t)
            self.flip(rest, last)
            self.phase(angle / 2, rest, t)

    def flip(self, controls: Qubits, t: int) -> None:
        """X with any number of controls."""
        k = len(controls)
        if k == 0:
            self.sink.one(t, X)
        elif k == 1:
            self.sink.one(t, H)
            self.sink.zz(controls[0], t, -pi / 2, "cx")
            self.sink.one(controls[0], S)
            self.sink.one(t, S)
            self.sink.one(t, H)
        elif self.keeps(Op.X, k):
            self.sink.gate(Op.X, k, (*controls, t), ())
        elif k == 2:
            self.toffoli(controls[0], controls[1], t)
        else:
            taken = {*controls, t}
            free = [q for q in range(self.num_qubits) if q not in taken]
            if len(free) >= k - 2:
                self.flip_borrowing(controls, free[: k - 2], t)
            elif free:
                half, other = controls[: (k + 1) // 2], (*controls[(k + 1) // 2 :], free[0])
                for _ in range(2):
                    self.flip(half, free[0])
                    self.flip(other, t)
            else:
                self.sink.one(t, H)
                self.phase(pi, controls, t, rooted=True)
                self.sink.one(t, H)

    def flip_borrowing(self, controls: Qubits, free: list[int], t: int) -> None:
        """4(k - 2) Toffolis on k - 2 borrowed qubits (Lemma 7.2)."""
        k = len(controls)
        down = [(controls[k - 1], free[k - 3], t)]
        down += [(controls[i], free[i - 2], free[i - 1]) for i in range(k - 2, 1, -1)]
        bottom = [(controls[0], controls[1], free[0])]
        for a, b, c in down + bottom + down[::-1] + down[1:] + bottom + down[:0:-1]:
            self.flip((a, b), c)

    def toffoli(self, a: int, b: int, t: int) -> None:
        """Six cx and seven T (Nielsen and Chuang, figure 4.9)."""
        one, quarter = self.sink.one, p(pi / 4)
        back = p(-pi / 4)
        one(t, H)
        self.flip((b,), t)
        one(t, back)
        self.flip((a,), t)
        one(t, quarter)
        self.flip((b,), t)
        one(t, back)
        self.flip((a,), t)
        one(b, quarter)
        one(t, quarter)
        one(t, H)
        self.flip((a,), b)
        one(a, quarter)
        one(b, back)
        self.flip((a,), b)

    def turn(self, angle: float, controls: Qubits, t: int) -> None:
        """Rotate about Z, with any number of controls."""
        if not controls:
            self.sink.one(t, rz(angle))
        elif len(controls) == 1:
            self.sink.zz(controls[0], t, -angle / 2, "crz")
            self.sink.one(t, rz(angle / 2))
        else:
            self.sink.one(t, rz(angle / 2))
            self.flip(controls, t)
            self.sink.one(t, rz(-angle / 2))
            self.flip(controls, t)

    def unitary(self, m: Matrix, controls: Qubits, t: int) -> None:
        """Any one-qubit gate with controls: a phase on the controls and a turn about the gate's own axis."""
        alpha, theta, way = axis(m)
        half_turn = abs(pi - abs(theta)) < EPS
        if half_turn:  # rz(+-pi) is Z with a phase of -+pi/2, and a controlled Z is the cheaper one
            alpha -= pi / 2 if theta > 0 else -pi / 2
        self.phase(alpha, controls[:-1], controls[-1])
        if abs(theta) < EPS:
            return
        if not is_identity(way):
            self.sink.one(t, dagger(way))
        if half_turn:
            self.phase(pi, controls, t)
        else:
            self.turn(theta, controls, t)
        if not is_identity(way):
            self.sink.one(t, way)

    def two_targets(self, op: int, controls: Qubits, a: int, b: int, params: tuple[float, ...]) -> None:
        """swap, iswap and the rotations about two axes."""
        if op == Op.SWAP:
            if not controls:
                self.sink.swap(a, b)
                return
            self.flip((b,), a)
            self.flip((*controls, a), b)
            self.flip((b,), a)
        elif op == Op.ISWAP:
            if not controls:
                for around in (Op.RXX, Op.RYY):
                    self.two_targets(around, (), a, b, (-pi / 2,))
                return
            self.phase(pi / 2, controls, a)
            self.phase(pi / 2, controls, b)
            self.phase(pi, (*controls, a), b)
            self.two_targets(Op.SWAP, controls, a, b, ())
        else:
            there, back, on = AROUND[op]
            qubits = (a, b)[2 - on :] if on else ()
            for q in qubits:
                self.sink.one(q, there)
            if controls:
                self.flip((a,), b)
                self.turn(params[0], controls, b)
                self.flip((a,), b)
            else:
                self.sink.zz(a, b, params[0], FORMS[op])
            for q in qubits:
                self.sink.one(q, back)


# What turns the axes of a rotation to Z, the way back, and on how many of the qubits (from the last one on).
AROUND: dict[int, tuple[Matrix, Matrix, int]] = {
    Op.RZZ: (H, H, 0),
    Op.RXX: (H, H, 2),
    Op.RYY: (RX_HALF, RX_MINUS_HALF, 2),
    Op.RZX: (H, H, 1),
}
FORMS: dict[int, str] = {Op.RZZ: "rzz", Op.RXX: "rxx", Op.RYY: "ryy", Op.RZX: "rzx"}
