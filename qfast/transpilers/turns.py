"""One-qubit gates up to their global phase as unit quaternions: w - i (x X + y Y + z Z), as in ext/tp_turn.h."""

from __future__ import annotations

from math import cos, pi, sin, sqrt

from qfast.circuit import Op

Turn = tuple[float, float, float, float]

HALF = sqrt(0.5)
IDENTITY: Turn = (1.0, 0.0, 0.0, 0.0)
X: Turn = (0.0, 1.0, 0.0, 0.0)
Y: Turn = (0.0, 0.0, 1.0, 0.0)
Z: Turn = (0.0, 0.0, 0.0, 1.0)
H: Turn = (0.0, HALF, 0.0, HALF)
S: Turn = (HALF, 0.0, 0.0, HALF)
SDG: Turn = (HALF, 0.0, 0.0, -HALF)
SX: Turn = (HALF, HALF, 0.0, 0.0)
SXDG: Turn = (HALF, -HALF, 0.0, 0.0)


def rz(angle: float) -> Turn:
    """exp(-i angle/2 Z)."""
    return (cos(angle / 2), 0.0, 0.0, sin(angle / 2))


def ry(angle: float) -> Turn:
    """exp(-i angle/2 Y)."""
    return (cos(angle / 2), 0.0, sin(angle / 2), 0.0)


FIXED: dict[int, Turn] = {
    Op.X: X,
    Op.Y: Y,
    Op.Z: Z,
    Op.H: H,
    Op.S: S,
    Op.SDG: SDG,
    Op.T: rz(pi / 4),
    Op.TDG: rz(-pi / 4),
    Op.SX: SX,
    Op.SXDG: SXDG,
}


def times(second: Turn, first: Turn) -> Turn:
    """The product: `first` acts first."""
    a, b, c, d = second
    e, f, g, h = first
    return (
        a * e - b * f - c * g - d * h,
        a * f + e * b + c * h - d * g,
        a * g + e * c + d * f - b * h,
        a * h + e * d + b * g - c * f,
    )


def inverse(m: Turn) -> Turn:
    """The turn back."""
    return (m[0], -m[1], -m[2], -m[3])


def seen(m: Turn, axis: Turn) -> Turn:
    """Where a turn takes an axis (a turn by pi about it): m axis m^-1."""
    return times(m, times(axis, inverse(m)))


def key(m: Turn) -> Turn:
    """The turn without its sign, rounded: a name for it."""
    lead = next(x for x in m if abs(x) > 1e-6)
    sign = 1.0 if lead > 0 else -1.0
    return (
        round(sign * m[0], 8) + 0.0,
        round(sign * m[1], 8) + 0.0,
        round(sign * m[2], 8) + 0.0,
        round(sign * m[3], 8) + 0.0,
    )
