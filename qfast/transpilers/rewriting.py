"""Merging and cancelling in one normal form: one-qubit matrices and rotations exp(-i phi/2 Z Z) between two qubits.

Every two-qubit gate that is a rotation about one axis (cx, cz, cp, crz, rzz, rxx, any controlled one-qubit gate) is one such
rotation with one-qubit gates around it. In this form the rules of commutation are few: rotations commute with each other
and with diagonal matrices, and change their sign at antidiagonal ones. So cx cx, cx(a,b) cx(a,c) cx(a,b), cp cp and many
more merge by one rule: look back along both wires for a rotation of the same pair.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any, Protocol

from qfast.transpilers.one_qubit import (
    EPS,
    IDENTITY,
    RX_HALF,
    RX_MINUS_HALF,
    H,
    Matrix,
    S,
    X,
    Z,
    is_antidiagonal,
    is_diagonal,
    is_identity,
    times,
    wrapped,
)

Step = tuple[Any, ...]  # a sink's method and its arguments


def wires(step: Step) -> tuple[int, ...]:
    """The qubits of a step."""
    kind = step[0]
    if kind in {"one", "measure", "reset"}:
        return (step[1],)
    if kind in {"zz", "swap"}:
        return (step[1], step[2])
    if kind == "gate":
        return tuple(step[3])
    return tuple(step[1])


class Sink(Protocol):
    """Takes the steps of a program in order."""

    def one(self, q: int, m: Matrix) -> None:
        """A one-qubit gate."""

    def zz(self, a: int, b: int, phi: float, form: str) -> None:
        """exp(-i phi/2 Z Z); `form` names the gate that it came from, a hint for how to write it."""

    def swap(self, a: int, b: int) -> None:
        """Exchange two qubits."""

    def gate(self, op: int, nctrl: int, qubits: tuple[int, ...], params: tuple[float, ...]) -> None:
        """A gate that the target takes as it is."""

    def measure(self, q: int, c: int) -> None:
        """Measure a qubit into a classical bit."""

    def reset(self, q: int) -> None:
        """Set a qubit to |0>."""

    def barrier(self, qubits: tuple[int, ...]) -> None:
        """Nothing moves across, on these qubits."""


class Recorder:
    """A sink that keeps the steps as tuples: the method's name and its arguments."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def one(self, q: int, m: Matrix) -> None:
        """A one-qubit gate."""
        self.steps.append(("one", q, m))

    def zz(self, a: int, b: int, phi: float, form: str) -> None:
        """A rotation."""
        self.steps.append(("zz", a, b, phi, form))

    def swap(self, a: int, b: int) -> None:
        """An exchange."""
        self.steps.append(("swap", a, b))

    def gate(self, op: int, nctrl: int, qubits: tuple[int, ...], params: tuple[float, ...]) -> None:
        """A gate as it is."""
        self.steps.append(("gate", op, nctrl, qubits, params))

    def measure(self, q: int, c: int) -> None:
        """A measurement."""
        self.steps.append(("measure", q, c))

    def reset(self, q: int) -> None:
        """A reset."""
        self.steps.append(("reset", q))

    def barrier(self, qubits: tuple[int, ...]) -> None:
        """A fence."""
        self.steps.append(("barrier", qubits))


class Node:
    """A step on some qubits with the one-qubit matrices that act on each just before it."""

    __slots__ = ("alive", "before", "form", "phi", "qubits", "step")

    def __init__(self, step: Step | None, qubits: tuple[int, ...], before: list[Matrix | None]) -> None:
        self.step = step  # None: a rotation by phi
        self.qubits = qubits
        self.before = before
        self.phi = 0.0
        self.form = ""
        self.alive = True


class Merger:
    """A sink that merges and cancels; `drain` hands on what is left.

    Parameters
    ----------
    num_qubits : int
        Wires.
    reach : int
        How many rotations back a partner is looked for on each wire; 0 merges one-qubit gates only.
    keep_swap : bool
        The target has swap.
    product : callable
        How two matrices multiply (one_qubit.times or times_with_factors).
    """

    def __init__(
        self, num_qubits: int, reach: int, keep_swap: bool, product: Callable[[Matrix, Matrix], Matrix] = times
    ) -> None:
        self.wires: list[list[Node]] = [[] for _ in range(num_qubits)]
        self.after: list[Matrix | None] = [None] * num_qubits  # matrices after the last node of each wire
        self.nodes: list[Node] = []
        self.reach = reach
        self.keep_swap = keep_swap
        self.product = product

    def one(self, q: int, m: Matrix) -> None:
        """Multiply it onto the wire's end."""
        before = self.after[q]
        self.after[q] = m if before is None else self.product(m, before)

    def zz(self, a: int, b: int, phi: float, form: str) -> None:
        """Add to an earlier rotation of the pair where one is in reach."""
        phi = wrapped(phi)
        if abs(phi) < EPS:
            return
        if pi - abs(phi) < EPS:  # Z on both
            self.one(a, Z)
            self.one(b, Z)
            return
        partner = self._partner(a, b)
        if partner is None:
            node = self._append(None, (a, b))
            node.phi, node.form = phi, form
        else:
            node, sign = partner
            node.phi = wrapped(node.phi + sign * phi)
            self._tidy(node)

    def swap(self, a: int, b: int) -> None:
        """Three cx, or two where a rotation of the pair stands right before (it commutes with the exchange)."""
        if self.keep_swap:
            self._append(("swap", a, b), (a, b))
            return
        if not (
            self.reach
            and self.wires[a]
            and self.wires[b]
            and self.wires[a][-1] is self.wires[b][-1]
            and self.wires[a][-1].step is None
        ):
            for c, t in ((a, b), (b, a), (a, b)):
                self._cx(c, t)
            return
        # swap = rxx(pi/2) ryy(pi/2) rzz(pi/2), and it carries what stood on one qubit to the other
        on_a, on_b = self.after[a], self.after[b]
        self.after[a] = self.after[b] = None
        self.zz(a, b, pi / 2, "rzz")
        for there, back in ((H, H), (RX_HALF, RX_MINUS_HALF)):
            for q in (a, b):
                self.one(q, there)
            self.zz(a, b, pi / 2, "cx")
            for q in (a, b):
                self.one(q, back)
        if on_b is not None:
            self.one(a, on_b)
        if on_a is not None:
            self.one(b, on_a)

    def _cx(self, c: int, t: int) -> None:
        self.one(t, H)
        self.zz(c, t, -pi / 2, "cx")
        self.one(c, S)
        self.one(t, S)
        self.one(t, H)

    def gate(self, op: int, nctrl: int, qubits: tuple[int, ...], params: tuple[float, ...]) -> None:
        """Kept as it is."""
        self._append(("gate", op, nctrl, qubits, params), qubits)

    def measure(self, q: int, c: int) -> None:
        """A phase before a measurement is of no effect."""
        m = self.after[q]
        if m is not None and self.reach:
            if is_diagonal(m):
                self.after[q] = None
            elif is_antidiagonal(m):
                self.after[q] = X
        self._append(("measure", q, c), (q,))

    def reset(self, q: int) -> None:
        """What acts on the qubit alone just before is of no effect."""
        self.after[q] = None
        self._append(("reset", q), (q,))

    def barrier(self, qubits: tuple[int, ...]) -> None:
        """A fence."""
        self._append(("barrier", qubits), qubits)

    def drain(self, sink: Sink) -> None:
        """Hand everything on and be empty."""
        for node in self.nodes:
            if not node.alive:
                continue
            for q, m in zip(node.qubits, node.before, strict=True):
                if m is not None and not is_identity(m):
                    sink.one(q, m)
            if node.step is None:
                a, b = node.qubits
                sink.zz(a, b, node.phi, node.form)
            else:
                getattr(sink, node.step[0])(*node.step[1:])
        for q, m in enumerate(self.after):
            if m is not None and not is_identity(m):
                sink.one(q, m)
        self.wires = [[] for _ in self.wires]
        self.after = [None] * len(self.wires)
        self.nodes = []

    def _append(self, step: Step | None, qubits: tuple[int, ...]) -> Node:
        node = Node(step, qubits, [self.after[q] for q in qubits])
        for q in qubits:
            self.after[q] = None
            self.wires[q].append(node)
        self.nodes.append(node)
        return node

    def _partner(self, a: int, b: int) -> tuple[Node, int] | None:
        """The nearest rotation of the pair that a new one can be moved to, and the sign that it then has."""
        if not self.reach:
            return None
        met = self._met(a, b)
        if not met:
            return None
        for node, sign in self._met(b, a):
            for other, other_sign in met:
                if node is other:
                    return node, sign * other_sign
        return None

    def _met(self, q: int, other: int) -> list[tuple[Node, int]]:
        """The rotations of the pair that can be reached along one wire, nearest first, with their signs."""
        met = []
        m, sign = self.after[q], 1
        wire = self.wires[q]
        for k in range(len(wire) - 1, max(-1, len(wire) - 1 - self.reach), -1):
            if m is not None and not is_diagonal(m):
                if not is_antidiagonal(m):
                    break
                sign = -sign
            node = wire[k]
            if node.step is not None:
                break
            if other in node.qubits:
                met.append((node, sign))
            m = node.before[node.qubits.index(q)]
        return met

    def _tidy(self, node: Node) -> None:
        """Bring a changed rotation back into (-pi/2, pi/2] and take it out when nothing is left of it."""
        flips = abs(node.phi) > pi / 2 + EPS
        if flips:  # a rotation by pi is Z on both
            node.phi = wrapped(node.phi - pi)
        gone = abs(node.phi) < EPS
        if not (flips or gone):
            return
        for side, q in enumerate(node.qubits):
            m = Z if flips else IDENTITY
            wire = self.wires[q]
            place = len(wire) - 1
            while wire[place] is not node:
                place -= 1
            if gone:
                before = node.before[side]
                m = m if before is None else self.product(m, before)
                del wire[place]
                place -= 1
            if place + 1 < len(wire):
                follower = wire[place + 1]
                at = follower.qubits.index(q)
                behind = follower.before[at]
                follower.before[at] = m if behind is None else self.product(behind, m)
            else:
                behind = self.after[q]
                self.after[q] = m if behind is None else self.product(behind, m)
        node.alive = not gone
