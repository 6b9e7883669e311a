"""The gates that a device takes, and how everything is written in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import pi
from typing import Any

from qfast.circuit import Op
from qfast.errors import TranspileError
from qfast.transpilers.one_qubit import (
    EPS,
    FIXED,
    IDENTITY,
    RX_HALF,
    RX_MINUS_HALF,
    H,
    Matrix,
    S,
    Z,
    dagger,
    euler,
    factors,
    is_diagonal,
    is_identity,
    p,
    rx,
    rz,
    times,
    times_with_factors,
    wrapped,
)

# name as in Qiskit: operation and number of controls
CATALOGUE: dict[str, tuple[int, int]] = {
    **{op.name.lower(): (int(op), 0) for op in Op if op < Op.MEASURE and op not in (Op.GPHASE, Op.UNITARY)},
    **{f"c{op.name.lower()}": (int(op), 1) for op in (Op.X, Op.Y, Op.Z, Op.H, Op.S, Op.SDG, Op.T, Op.TDG, Op.SX)},
    **{f"c{op.name.lower()}": (int(op), 1) for op in (Op.SXDG, Op.RX, Op.RY, Op.RZ, Op.P, Op.U, Op.SWAP)},
    "u3": (Op.U, 0),
    "u1": (Op.P, 0),
    "cu1": (Op.P, 1),
    "cu3": (Op.U, 1),
    "ccx": (Op.X, 2),
    "ccz": (Op.Z, 2),
    "mcx": (Op.X, 2),
    "c3x": (Op.X, 3),
    "c4x": (Op.X, 4),
}
ALWAYS = frozenset({"measure", "reset", "barrier", "delay", "if_else", "while_loop", "for_loop", "switch_case"})
known_basis_gates: frozenset[str] = frozenset(CATALOGUE) | ALWAYS

# Operations that are a single rotation exp(-i phi/2 Z Z) with one-qubit gates around it.
ROTATIONS = frozenset({(Op.X, 1), (Op.Z, 1), (Op.P, 1), (Op.RZ, 1), (Op.RZZ, 0), (Op.RXX, 0), (Op.RYY, 0), (Op.RZX, 0)})
FIXED_ANGLE = ("cx", "cz", "cy")  # write a rotation by +-pi/2
ANY_ANGLE = ("rzz", "cp", "crz", "rxx", "ryy", "rzx")
SYMMETRIC = frozenset({"cz", "rzz", "cp", "rxx", "ryy", "iswap"})
TABLE_SIZE = 1500  # products of discrete one-qubit gates that are looked up; reaches four or five T gates

Word = tuple[tuple[int, tuple[float, ...]], ...]  # one-qubit gates in the order in which they act
Key = tuple[complex, ...]


def key(m: Matrix) -> Key:
    """The matrix without its global phase, rounded: a name for it."""
    lead = m[0] if abs(m[0]) > 0.3 else m[1]
    turn = complex(lead).conjugate() / abs(lead)
    return tuple(complex(round((x * turn).real, 8) + 0.0, round((x * turn).imag, 8) + 0.0) for x in m[:4])


class Basis:
    """A set of gates.

    Parameters
    ----------
    names : tuple of str
        Names as in Qiskit; empty: every gate of the compact circuit.

    Raises
    ------
    TranspileError
        A name that is not in the catalogue.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        unknown = [name for name in names if name not in known_basis_gates]
        if unknown:
            raise TranspileError(f"the device's basis has gates that are not known here: {', '.join(unknown)}")
        self.all = not names
        self.names = frozenset(CATALOGUE) if self.all else frozenset(names) - ALWAYS
        self.natives = frozenset(CATALOGUE[name] for name in self.names)
        self.single: dict[Key, Word] = {
            key(m): ((op, ()),) for op, m in FIXED.items() if (op, 0) in self.natives and op != Op.ID
        }
        self.rz = Op.RZ if (Op.RZ, 0) in self.natives else Op.P if (Op.P, 0) in self.natives else None
        self.continuous = self._continuous()
        self.product = times if self.continuous else times_with_factors
        self.table = self.single if self.continuous else self._table()
        self.fixed_angle = [name for name in FIXED_ANGLE if name in self.names]
        self.any_angle = [name for name in ANY_ANGLE if name in self.names or (name == "cp" and "cu1" in self.names)]
        self.swap = (Op.SWAP, 0) in self.natives

    def keeps(self, op: int, nctrl: int) -> bool:
        """Whether the device takes it as it is, and it is no one-qubit gate and no single rotation."""
        if (op, nctrl) in ROTATIONS or (nctrl == 0 and op < Op.SWAP) or op == Op.GPHASE:
            return False
        return self.all or (op, nctrl) in self.natives

    def takes(self, op: int, nctrl: int) -> bool:
        """Whether the device takes it as it is."""
        return self.all or (op, nctrl) in self.natives

    def _continuous(self) -> Callable[[Matrix], Word] | None:
        has = {op for op, nctrl in self.natives if nctrl == 0}
        if Op.U in has:
            return self._u
        if self.rz is not None and Op.SX in has:
            return self._zsx
        if self.rz is not None and Op.RY in has:
            return self._zyz
        if self.rz is not None and Op.RX in has:
            return self._zxz
        if Op.RX in has and Op.RY in has:
            return self._xyx
        if self.rz is not None and Op.H in has:
            return self._zhz
        return None

    def _table(self) -> dict[Key, Word]:
        """Short products of the discrete gates, the shortest word for each."""
        words: dict[Key, tuple[Matrix, Word]] = {key(IDENTITY): (IDENTITY, ())}
        generators = [(FIXED[op], ((op, ()),)) for op, nctrl in sorted(self.natives) if nctrl == 0 and op in FIXED]
        edge = list(words.values())
        while edge and len(words) < TABLE_SIZE:
            grown = []
            for m, word in edge:
                for g, letter in generators:
                    product = times(g, m)
                    name = key(product)
                    if name not in words:
                        words[name] = (product, word + letter)
                        grown.append(words[name])
            edge = grown
        return {name: word for name, (_, word) in words.items()}

    def write(self, m: Matrix) -> Word:
        """One-qubit gates that make up a matrix up to a global phase."""
        if is_identity(m):
            return ()
        found = self.table.get(key(m))
        if found is not None:
            return found
        if self.rz is not None and is_diagonal(m):
            return self._rotations((self.rz, euler(m)[2]))
        if self.continuous is not None:
            return self.continuous(m)
        return self._factors(m)

    def _factors(self, m: Matrix) -> Word:
        """Factor by factor, as many at a time as the table knows."""
        word: Word = ()
        product = IDENTITY
        known: Word = ()
        for factor in factors(m):
            longer = times(factor, product)
            found = self._known(longer)
            if found is None:
                word += known
                longer = factor
                found = self._known(factor)
                if found is None:
                    raise TranspileError(
                        "a one-qubit gate of the program cannot be written in the device's basis gates"
                    )
            product, known = longer, found
        return word + known

    def _known(self, m: Matrix) -> Word | None:
        found = self.table.get(key(m))
        if found is None and self.rz is not None and is_diagonal(m):
            found = self._rotations((self.rz, euler(m)[2]))
        return found

    @staticmethod
    def _rotations(*turns: tuple[int, float]) -> Word:
        """The turns that are not by nothing."""
        return tuple((op, (wrapped(angle),)) for op, angle in turns if abs(wrapped(angle)) > EPS)

    def _u(self, m: Matrix) -> Word:
        theta, phi, lam = euler(m)
        return ((Op.U, (theta, wrapped(phi), wrapped(lam))),)

    def _zsx(self, m: Matrix) -> Word:
        theta, phi, lam = euler(m)
        rz_op = self._rz()
        if abs(theta - pi / 2) < EPS:
            return (*self._rotations((rz_op, lam - pi / 2)), (Op.SX, ()), *self._rotations((rz_op, phi + pi / 2)))
        if abs(theta - pi) < EPS and (Op.X, 0) in self.natives:
            return ((Op.X, ()), *self._rotations((rz_op, phi - lam - pi)))
        if abs(wrapped(lam - pi)) < EPS or abs(wrapped(phi)) < EPS:  # the same gate, and one turn less
            theta, phi, lam = -theta, phi - pi, lam - pi
        middle = ((Op.SX, ()), *self._rotations((rz_op, theta + pi)), (Op.SX, ()))
        return self._rotations((rz_op, lam)) + middle + self._rotations((rz_op, phi + pi))

    def _zyz(self, m: Matrix) -> Word:
        theta, phi, lam = euler(m)
        if abs(wrapped(lam - pi)) < EPS or abs(wrapped(phi - pi)) < EPS:  # the same gate, and one turn less
            theta, phi, lam = -theta, phi - pi, lam - pi
        return self._rotations((self._rz(), lam), (Op.RY, theta), (self._rz(), phi))

    def _zxz(self, m: Matrix) -> Word:
        theta, phi, lam = euler(m)
        return self._rotations((self._rz(), lam - pi / 2), (Op.RX, theta), (self._rz(), phi + pi / 2))

    def _xyx(self, m: Matrix) -> Word:
        theta, phi, lam = euler(times(H, times(m, H)))
        return self._rotations((Op.RX, lam), (Op.RY, -theta), (Op.RX, phi))

    def _zhz(self, m: Matrix) -> Word:
        theta, phi, lam = euler(m)
        h: Word = ((Op.H, ()),)
        z = self._rz()
        if abs(theta - pi / 2) < EPS:
            return self._rotations((z, lam - pi)) + h + self._rotations((z, phi))
        return (
            self._rotations((z, lam - pi / 2))
            + h
            + self._rotations((z, theta))
            + h
            + self._rotations((z, phi + pi / 2))
        )

    def _rz(self) -> int:
        return Op.P if self.rz is None else self.rz


@lru_cache(64)
def basis_of(names: tuple[str, ...]) -> Basis:
    """The basis of these names; made once."""
    return Basis(names)


# A rotation exp(-i phi/2 Z Z) as a program over the pair: (side, matrix) or the name of the native gate with its angle.
Part = tuple[int | str, Any]


def rotation(name: str, phi: float, simple: bool) -> list[Part]:
    """How a native two-qubit gate writes exp(-i phi/2 Z Z), in the order of time; side 0 is the gate's first qubit.

    `simple`: phi is +-pi/2, and one gate of fixed angle does it.
    """
    if name == "rzz":
        return [("rzz", phi)]
    if name in {"cp", "cu1"}:
        return [("cp", -2 * phi), (0, p(phi)), (1, p(phi))]
    if name == "crz":
        return [("crz", -2 * phi), (1, rz(phi))]
    if name == "rxx":
        return [(0, H), (1, H), ("rxx", phi), (0, H), (1, H)]
    if name == "ryy":
        return [(0, RX_MINUS_HALF), (1, RX_MINUS_HALF), ("ryy", phi), (0, RX_HALF), (1, RX_HALF)]
    if name == "rzx":
        return [(1, H), ("rzx", phi), (1, H)]
    if name == "iswap":  # two of them turn a rotation about X of one qubit into one about Z and Y of both
        core: list[Part] = [("iswap", 0.0), (0, rx(phi)), ("iswap", 0.0)]
        return [(1, RX_HALF), *core, (0, Z), (1, RX_HALF), (1, Z)]
    before, after = {"cx": (H, H), "cz": (IDENTITY, IDENTITY), "cy": (times(S, H), dagger(times(S, H)))}[name]
    cz: list[Part] = [(1, before), (name, 0.0), (1, after)]
    if simple:
        return [*cz, (0, p(phi)), (1, p(phi))]
    flip: list[Part] = [(1, H)]
    return [*flip, *cz, *flip, (1, rz(phi)), *flip, *cz, *flip]
