"""The gates that a device takes, as the kernel (ext/tp_words.h) needs them."""

from __future__ import annotations

from functools import lru_cache
from math import pi
from typing import NamedTuple

from qfast._ext import transpile
from qfast.circuit import Op
from qfast.errors import TranspileError
from qfast.transpilers.turns import FIXED, IDENTITY, SXDG, H, Turn, X, Y, Z, inverse, key, ry, rz, seen, times

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
# Other names of the catalogue's gates: of ion traps (ms and zz by an angle), of Braket, Cirq and pytket.
ALIASES = {
    "ms": "rxx",
    "xx": "rxx",
    "yy": "ryy",
    "zz": "rzz",
    "zzphase": "rzz",
    "cnot": "cx",
    "cphase": "cp",
    "phase": "p",
    "toffoli": "ccx",
    "v": "sx",
    "vdg": "sxdg",
}
CATALOGUE |= {alias: CATALOGUE[name] for alias, name in ALIASES.items()}
ALWAYS = frozenset({"measure", "reset", "barrier", "delay", "if_else", "while_loop", "for_loop", "switch_case"})
known_basis_gates: frozenset[str] = frozenset(CATALOGUE) | ALWAYS

TABLE_SIZE = 1500  # products of discrete one-qubit gates that are looked up; reaches four or five T gates
AXES: dict[int, Turn] = {Op.RX: X, Op.RY: Y, Op.RZ: Z, Op.P: Z}
# How a turn is written with angles (enum tp_style), and the rotations that the style takes.
DISCRETE, U_STYLE, ZSX, ZYZ, ZXZ, XYX, ZHZ = range(7)
# What a two-qubit gate does to turns on its qubits (enum tp_axis_kind).
NONE, ALONG_Z, ALONG_X, AGAINST_Z = range(4)
FORMS = {"cx": 1, "cz": 2, "cp": 3, "crz": 4, "rxx": 5, "ryy": 6, "rzz": 7, "rzx": 8}  # enum tp_form
Pair = tuple[Turn, Turn]


class Entangler(NamedTuple):
    """A native gate that makes exp(-i phi/2 Z Z) with turns before and after it; the fields of tp_entangler."""

    op: int
    nctrl: int
    form: int
    symmetric: bool
    axes: tuple[int, int]
    phi: float  # of a gate without angle; 0: any
    scale: float = 0.0  # its angle over phi
    num_params: int = 0
    angle_at: int = 0
    before: Pair = (IDENTITY, IDENTITY)
    after: Pair = (IDENTITY, IDENTITY)
    after_rz: tuple[float, float] = (0.0, 0.0)  # and then Rz of so many phi


def controlled(name: str, quarter: float, way: Turn, axis: int) -> Entangler:
    """A controlled turn by `quarter` * pi about an axis; `way` takes Z to it. cz is diag(1, 1, 1, -1) = S S zz(-pi/2)."""
    phi = -quarter * pi / 2
    back = rz(phi)
    after = (back, times(back, inverse(way)))
    symmetric = way == IDENTITY
    return Entangler(
        *CATALOGUE[name], FORMS.get(name, 0), symmetric, (ALONG_Z, axis), phi, before=(IDENTITY, way), after=after
    )


def turning(name: str, way: Turn, axis: int, on_control: float = 0.0, params: tuple[int, int] = (1, 0)) -> Entangler:
    """A controlled turn by an angle: crz(-2 phi) is zz(phi) and Rz(-phi) on the target."""
    around = ((IDENTITY, way), (IDENTITY, inverse(way)))
    symmetric = on_control != 0.0 and params[0] == 1
    return Entangler(
        *CATALOGUE[name], FORMS.get(name, 0), symmetric, (ALONG_Z, axis), 0.0, -2.0, *params, *around, (on_control, 1.0)
    )


def both(name: str, ways: Pair, axes: tuple[int, int]) -> Entangler:
    """A rotation of two qubits about two axes."""
    back = (inverse(ways[0]), inverse(ways[1]))
    return Entangler(*CATALOGUE[name], FORMS[name], ways[0] == ways[1], axes, 0.0, 1.0, 1, 0, ways, back)


TO_Y = SXDG  # takes Z to Y
ENTANGLERS: dict[str, Entangler] = {
    "cx": controlled("cx", 1, H, ALONG_X),
    "cz": controlled("cz", 1, IDENTITY, ALONG_Z),
    "cy": controlled("cy", 1, TO_Y, NONE),
    "ch": controlled("ch", 1, ry(pi / 4), NONE),
    "rzz": both("rzz", (IDENTITY, IDENTITY), (ALONG_Z, ALONG_Z)),
    "cp": turning("cp", IDENTITY, ALONG_Z, 1.0),
    "crz": turning("crz", IDENTITY, ALONG_Z),
    "rxx": both("rxx", (H, H), (ALONG_X, ALONG_X)),
    "ryy": both("ryy", (TO_Y, TO_Y), (NONE, NONE)),
    "rzx": both("rzx", (IDENTITY, H), (ALONG_Z, ALONG_X)),
    "crx": turning("crx", H, ALONG_X),
    "cry": turning("cry", TO_Y, NONE),
    "cu": turning("cu", IDENTITY, ALONG_Z, 1.0, (3, 2)),
    "cs": controlled("cs", 0.5, IDENTITY, ALONG_Z),
    "csdg": controlled("csdg", -0.5, IDENTITY, ALONG_Z),
    "csx": controlled("csx", 0.5, H, ALONG_X),
    "csxdg": controlled("csxdg", -0.5, H, ALONG_X),
    "ct": controlled("ct", 0.25, IDENTITY, ALONG_Z),
    "ctdg": controlled("ctdg", -0.25, IDENTITY, ALONG_Z),
}


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
        single = {op for op, nctrl in self.natives if nctrl == 0}
        self.rz = Op.RZ if Op.RZ in single else Op.P if Op.P in single else None
        self.fixed = [(op, turn) for op, turn in FIXED.items() if op in single]
        words = self._table() if Op.U not in single else []
        style, self.macros = self._style(single, words)
        z = self.rz
        if z is None and any(op == Op.RZ for op, *_ in self.macros):
            z = Op.RZ
        self.discrete = style == DISCRETE
        self.entanglers = [gate for gate in ENTANGLERS.values() if (gate.op, gate.nctrl) in self.natives]
        kept = [(op, nctrl) for op, nctrl in self.natives if self.keeps(op, nctrl)]
        self.kernel = transpile.Basis(
            style,
            -1 if z is None else int(z),
            [(int(op), turn) for op, turn in self.fixed],
            [tuple(gate) for gate in self.entanglers],
            (Op.ISWAP, 0) in self.natives,
            [(int(op), nctrl) for op, nctrl in kept],
            words if self.discrete else [],
            self.macros,
        )

    def keeps(self, op: int, nctrl: int) -> bool:
        """Whether the device takes it as it is, and it is neither a one-qubit gate nor a single rotation."""
        if (nctrl == 0 and op < Op.SWAP) or (op, nctrl) in ROTATIONS or op == Op.GPHASE:
            return False
        return (op, nctrl) in self.natives

    def takes(self, op: int, nctrl: int) -> bool:
        """Whether the device takes it as it is."""
        return self.all or (op, nctrl) in self.natives

    def lacks(self) -> str:
        """What a program may need that the basis cannot give, for a message; empty when it is universal."""
        missing = []
        if self.discrete:
            missing.append(
                "turns of one qubit by any angle (such as u, rz with sx, rz with h, or two of rx, ry and rz)"
            )
        if not self.entanglers and (Op.ISWAP, 0) not in self.natives:
            missing.append("an entangling two-qubit gate (such as cx, cz, cp, rzz, rxx or iswap)")
        return " and ".join(missing)

    def _style(
        self, single: set[int], words: list[tuple[Turn, tuple[int, ...]]]
    ) -> tuple[int, list[tuple[int, int, float, tuple[int, ...], tuple[int, ...]]]]:
        """How turns are written, and rotations that are made of others: by which, its sign, what goes before and after."""
        if Op.U in single:
            return U_STYLE, []
        if self.rz is not None:
            for op, style in ((Op.SX, ZSX), (Op.RY, ZYZ), (Op.RX, ZXZ), (Op.H, ZHZ)):
                if op in single:
                    return style, []
        if Op.RX in single and Op.RY in single:
            return XYX, []
        base = self.rz or next((op for op in (Op.RX, Op.RY) if op in single), None)
        if base is None:
            return DISCRETE, []
        styles = {(Op.RZ, Op.RX): ZXZ, (Op.RZ, Op.RY): ZYZ, (Op.RX, Op.RY): XYX}
        own = Op.RZ if base == Op.P else base
        known = {key(turn): ops for turn, ops in words}
        known[key(IDENTITY)] = ()
        for turn, ops in words:  # the shortest first
            back = known.get(key(inverse(turn)))
            for other in (Op.RX, Op.RY, Op.RZ):
                if other == own or back is None:
                    continue
                axis, wanted = seen(turn, AXES[own]), AXES[other]
                sign = sum(x * y for x, y in zip(axis, wanted, strict=True))
                if abs(abs(sign) - 1) < 1e-9:  # turn . R . turn^-1 is the other rotation
                    style = styles.get((own, other)) or styles[other, own]
                    return style, [(int(other), int(base), 1.0 if sign > 0 else -1.0, back, ops)]
        return DISCRETE, []

    def _table(self) -> list[tuple[Turn, tuple[int, ...]]]:
        """Short products of the gates without angle, the shortest word for each."""
        words: dict[Turn, tuple[Turn, tuple[int, ...]]] = {key(IDENTITY): (IDENTITY, ())}
        edge = list(words.values())
        while edge and len(words) < TABLE_SIZE:
            grown = []
            for m, word in edge:
                for op, turn in self.fixed:
                    product = times(turn, m)
                    name = key(product)
                    if name not in words:
                        words[name] = (product, (*word, int(op)))
                        grown.append(words[name])
            edge = grown
        return list(words.values())[1:]


# Operations that are a single rotation exp(-i phi/2 Z Z) with one-qubit gates around it.
ROTATIONS = frozenset({CATALOGUE[name] for name in ENTANGLERS} - {CATALOGUE["cu"]})


@lru_cache(64)
def basis_of(names: tuple[str, ...]) -> Basis:
    """The basis of these names; made once."""
    return Basis(names)
