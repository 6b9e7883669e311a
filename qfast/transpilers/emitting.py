"""Writes steps as instructions of the compact circuit, in a device's gates and directions."""

from __future__ import annotations

from math import pi

import numpy as np

from qfast.circuit import INSTRUCTION, Circuit, Op
from qfast.errors import TranspileError
from qfast.transpilers.basis import CATALOGUE, SYMMETRIC, Basis, rotation
from qfast.transpilers.one_qubit import EPS, Matrix, is_diagonal, is_identity, is_x_diagonal, rz

# The axis about which each two-qubit gate turns its qubits.
AXES = dict.fromkeys(("cz", "cp", "crz", "rzz"), ("z", "z"))
AXES |= {"cx": ("z", "x"), "cy": ("z", ""), "rzx": ("z", "x"), "rxx": ("x", "x"), "ryy": ("", ""), "iswap": ("", "")}

Record = tuple[int, int, int, int, int, int, int, int]  # one INSTRUCTION


class Emitter:
    """The last sink: instructions, operands and parameters as lists.

    Parameters
    ----------
    basis : Basis
        What may be written.
    directions : set of (int, int), optional
        Pairs on which two-qubit gates may act, first operand first; None: all.
    num_qubits : int
        Wires.
    params : list of float
        Parameters that stand already; classical instructions keep pointing to them.
    carry : bool
        Move diagonal gates past controls, where they often meet others.
    """

    def __init__(
        self,
        basis: Basis,
        directions: frozenset[tuple[int, int]] | None,
        num_qubits: int,
        params: list[float],
        carry: bool,
    ) -> None:
        self.basis = basis
        self.directions = directions
        self.waiting: list[Matrix | None] = [None] * num_qubits
        self.records: list[Record] = []
        self.qubits: list[int] = []
        self.params = params
        self.level = [0] * num_qubits  # depth reached on each wire
        self.carry = carry
        self.gates = 0
        self.two_qubit_gates = 0

    def one(self, q: int, m: Matrix) -> None:
        """Waits for the next gate on the qubit."""
        before = self.waiting[q]
        self.waiting[q] = m if before is None else self.basis.product(m, before)

    def flush(self, q: int, axis: str = "") -> None:
        """Write what waits on a qubit; a turn about Z (or X) stays when the next gate is one about that axis as well."""
        m = self.waiting[q]
        if m is None:
            return
        self.waiting[q] = None
        if is_identity(m):
            return
        carry = axis == "z" and self.carry
        if (carry and is_diagonal(m)) or (axis == "x" and self.carry and is_x_diagonal(m)):
            self.waiting[q] = m
            return
        word = self.basis.write(m)
        if carry and word and self.basis.continuous is not None:
            op, params = word[-1]
            if op in (Op.RZ, Op.P):
                word = word[:-1]
                self.waiting[q] = rz(params[0])
            elif op == Op.U and abs(params[1]) > EPS:
                word = (*word[:-1], (op, (params[0], 0.0, params[2])))
                self.waiting[q] = rz(params[1])
        for op, params in word:
            self._write(op, 0, (q,), params)

    def flush_all(self) -> None:
        """Write everything that waits."""
        for q in range(len(self.waiting)):
            self.flush(q)

    def zz(self, a: int, b: int, phi: float, form: str) -> None:
        """A rotation, by the device's two-qubit gates."""
        simple = abs(abs(phi) - pi / 2) < EPS
        name = self._choose(form, simple)
        if name not in SYMMETRIC and not self._allowed(a, b) and self._allowed(b, a):
            a, b = b, a
        pair = (a, b)
        for part in rotation(name, phi, simple):
            side, what = part
            if isinstance(side, int):
                self.one(pair[side], what)
            else:
                self._two(side, pair, what)

    def _choose(self, form: str, simple: bool) -> str:
        basis = self.basis
        if simple and form in basis.fixed_angle:
            return form
        if form in basis.any_angle and not (form == "cp" and simple and basis.fixed_angle):
            return form
        names = [*basis.fixed_angle, *basis.any_angle] if simple else [*basis.any_angle, *basis.fixed_angle]
        if names:
            return names[0]
        if "iswap" in basis.names:
            return "iswap"
        raise TranspileError(
            "the program needs a two-qubit gate, and the device's basis has none of cx, cz, cp, rzz, ..."
        )

    def _two(self, name: str, pair: tuple[int, int], angle: float) -> None:
        op, nctrl = CATALOGUE[name]
        a, b = pair
        if name in SYMMETRIC and not self._allowed(a, b):
            a, b = b, a
        first, second = AXES[name]
        self.flush(a, first)
        self.flush(b, second)
        self._write(op, nctrl, (a, b), () if name in {"cx", "cz", "cy", "iswap"} else (angle,))

    def _allowed(self, a: int, b: int) -> bool:
        return self.directions is None or (a, b) in self.directions

    def swap(self, a: int, b: int) -> None:
        """A native exchange."""
        self.gate(Op.SWAP, 0, (a, b), ())

    def gate(self, op: int, nctrl: int, qubits: tuple[int, ...], params: tuple[float, ...]) -> None:
        """A native gate as it is."""
        if len(qubits) == 2 and not self._allowed(*qubits):
            if not (self._allowed(*qubits[::-1]) and op in {Op.SWAP, Op.ISWAP} and nctrl == 0):
                raise TranspileError(f"the coupling map has no direction for {Op(op).name.lower()} with controls")
            qubits = qubits[::-1]
        for q in qubits:
            self.flush(q)
        self._write(op, nctrl, qubits, params)

    def measure(self, q: int, c: int) -> None:
        """A measurement; a phase before it is of no effect."""
        self.flush(q, "z")
        if self.carry:
            self.waiting[q] = None
        self._put(Op.MEASURE, (q,), c=c)

    def reset(self, q: int) -> None:
        """A reset."""
        self.waiting[q] = None
        self._put(Op.RESET, (q,))

    def barrier(self, qubits: tuple[int, ...]) -> None:
        """A fence."""
        for q in qubits:
            self.flush(q)
        depth = max(self.level[q] for q in qubits)
        self._put(Op.BARRIER, qubits)
        for q in qubits:
            self.level[q] = depth  # it takes no time

    def classical(self, record: Record) -> None:
        """A classical instruction or a jump, copied; nothing waits across it."""
        self.flush_all()
        self.records.append(record)

    def popping(self, record: Record, qubits: tuple[int, ...]) -> None:
        """A gate whose parameters are on the stack."""
        self.flush_all()
        start = len(self.qubits)
        self.qubits.extend(qubits)
        self.records.append((*record[:4], start, len(qubits), 0, 0))
        self.gates += 1
        self.two_qubit_gates += len(qubits) == 2
        self._deepen(qubits)

    def _write(self, op: int, nctrl: int, qubits: tuple[int, ...], params: tuple[float, ...]) -> None:
        self._put(op, qubits, nctrl, len(self.params))
        self.params.extend(params)
        self.gates += 1
        self.two_qubit_gates += len(qubits) == 2

    def _put(self, op: int, qubits: tuple[int, ...], nctrl: int = 0, at: int = 0, c: int = 0) -> None:
        self.records.append((op, nctrl, 0, (1 << nctrl) - 1, len(self.qubits), len(qubits), at, c))
        self.qubits.extend(qubits)
        self._deepen(qubits)

    def _deepen(self, qubits: tuple[int, ...]) -> None:
        deepest = 1 + max(self.level[q] for q in qubits)
        for q in qubits:
            self.level[q] = deepest

    def circuit(self, like: Circuit, num_qubits: int) -> Circuit:
        """The program with the classical part and the registers of another."""
        qregs = like.qregs if num_qubits == like.num_qubits else (("q", num_qubits),)
        return Circuit(
            num_qubits=num_qubits,
            num_clbits=like.num_clbits,
            num_vars=like.num_vars,
            code=np.array(self.records, INSTRUCTION).tobytes(),
            qubits=np.array(self.qubits, np.int32).tobytes(),
            params=np.array(self.params, np.float64).tobytes(),
            qregs=qregs,
            cregs=like.cregs,
            implicit_measurement=like.implicit_measurement,
        )
