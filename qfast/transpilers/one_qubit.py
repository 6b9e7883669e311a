"""One-qubit gates as 2x2 matrices in plain tuples: numpy costs more than the arithmetic at this size.

A matrix is ``(a, b, c, d)``, row-major. Where the target's one-qubit gates are discrete (Clifford+T), a product also keeps
its factors as a fifth element, since a long product can only be written as it came.
"""

from __future__ import annotations

from cmath import exp, phase
from math import acos, atan2, cos, hypot, pi, sin, sqrt
from typing import Any

from qfast.circuit import Op

Matrix = tuple[Any, ...]  # four complex numbers, or those and a tuple of such matrices

EPS = 1e-9  # amplitudes and angles below this are rounding
HALF = sqrt(0.5)

IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0)
X: Matrix = (0.0, 1.0, 1.0, 0.0)
Y: Matrix = (0.0, -1j, 1j, 0.0)
Z: Matrix = (1.0, 0.0, 0.0, -1.0)
H: Matrix = (HALF, HALF, HALF, -HALF)
S: Matrix = (1.0, 0.0, 0.0, 1j)
SDG: Matrix = (1.0, 0.0, 0.0, -1j)
SX: Matrix = (0.5 + 0.5j, 0.5 - 0.5j, 0.5 - 0.5j, 0.5 + 0.5j)
SXDG: Matrix = (0.5 - 0.5j, 0.5 + 0.5j, 0.5 + 0.5j, 0.5 - 0.5j)
RX_HALF: Matrix = (HALF, -1j * HALF, -1j * HALF, HALF)  # rx(pi/2)
RX_MINUS_HALF: Matrix = (HALF, 1j * HALF, 1j * HALF, HALF)


def p(angle: float) -> Matrix:
    """diag(1, exp(i angle))."""
    return (1.0, 0.0, 0.0, exp(1j * angle))


def rz(angle: float) -> Matrix:
    """exp(-i angle/2 Z)."""
    return (exp(-0.5j * angle), 0.0, 0.0, exp(0.5j * angle))


def ry(angle: float) -> Matrix:
    """exp(-i angle/2 Y)."""
    c, s = cos(angle / 2), sin(angle / 2)
    return (c, -s, s, c)


def rx(angle: float) -> Matrix:
    """exp(-i angle/2 X)."""
    c, s = cos(angle / 2), -1j * sin(angle / 2)
    return (c, s, s, c)


def u(theta: float, phi: float, lam: float) -> Matrix:
    """The general gate as ext/circuit.h defines it."""
    c, s = cos(theta / 2), sin(theta / 2)
    return (c, -exp(1j * lam) * s, exp(1j * phi) * s, exp(1j * (phi + lam)) * c)


FIXED: dict[int, Matrix] = {
    Op.ID: IDENTITY,
    Op.X: X,
    Op.Y: Y,
    Op.Z: Z,
    Op.H: H,
    Op.S: S,
    Op.SDG: SDG,
    Op.T: p(pi / 4),
    Op.TDG: p(-pi / 4),
    Op.SX: SX,
    Op.SXDG: SXDG,
}


def matrix(op: int, params: tuple[float, ...]) -> Matrix:
    """The matrix of a one-target operation."""
    if op in FIXED:
        return FIXED[op]
    if op == Op.RX:
        return rx(params[0])
    if op == Op.RY:
        return ry(params[0])
    if op == Op.RZ:
        return rz(params[0])
    if op == Op.P:
        return p(params[0])
    if op == Op.U:
        return u(*params)
    return tuple(complex(params[k], params[k + 1]) for k in range(0, 8, 2))


def times(second: Matrix, first: Matrix) -> Matrix:
    """The product: `first` acts first."""
    a, b, c, d = second[:4]
    e, f, g, h = first[:4]
    return (a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h)


def times_with_factors(second: Matrix, first: Matrix) -> Matrix:
    """The product with its factors in the order in which they act."""
    return (*times(second, first), factors(first) + factors(second))


def factors(m: Matrix) -> tuple[Matrix, ...]:
    """The factors of a product, in the order in which they act."""
    return m[4] if len(m) == 5 else (m,)


def is_diagonal(m: Matrix) -> bool:
    """Whether it leaves |0> and |1> where they are."""
    return bool(abs(m[1]) < EPS)


def is_x_diagonal(m: Matrix) -> bool:
    """Whether it is a turn about X: it moves past the target of cx."""
    return bool(abs(m[0] - m[3]) < EPS and abs(m[1] - m[2]) < EPS)


def is_antidiagonal(m: Matrix) -> bool:
    """Whether it swaps |0> and |1>."""
    return bool(abs(m[0]) < EPS)


def is_identity(m: Matrix) -> bool:
    """Whether it is a global phase."""
    return bool(abs(m[1]) < EPS and abs(m[0] - m[3]) < EPS)


def wrapped(angle: float) -> float:
    """The same angle in (-pi, pi]."""
    angle = angle % (2 * pi)
    return angle - 2 * pi if angle > pi else angle


def euler(m: Matrix) -> tuple[float, float, float]:
    """theta, phi, lambda with m = u(theta, phi, lambda) up to a global phase; theta in [0, pi]."""
    a, b, c, d = m[:4]
    theta = 2 * atan2(abs(c), abs(a))
    if abs(c) < EPS:
        return 0.0, 0.0, phase(d) - phase(a)
    if abs(a) < EPS:
        return pi, phase(c) - phase(-b), 0.0
    return theta, phase(c) - phase(a), phase(-b) - phase(a)


def axis(m: Matrix) -> tuple[float, float, Matrix]:
    """alpha, theta, V with m = exp(i alpha) V rz(theta) V^dagger: a rotation about one axis, and the way to that axis.

    With n the unit vector of the axis, m = exp(i alpha) (cos(theta/2) - i sin(theta/2) n.sigma), and the columns of V are
    the eigenvectors of n.sigma.
    """
    a, b, c, d = m[:4]
    alpha = phase(a * d - b * c) / 2
    turn = exp(-1j * alpha)
    a, b, c, d = a * turn, b * turn, c * turn, d * turn
    half = acos(max(-1.0, min(1.0, ((a + d) / 2).real)))
    nx, ny, nz = -((b + c) / 2).imag, ((c - b) / 2).real, ((d - a) / 2).imag
    length = hypot(nx, ny, nz)
    if length < EPS:  # a multiple of the identity: cos = 1 or -1
        return (alpha, 0.0, IDENTITY) if half < 1.0 else (alpha + pi, 0.0, IDENTITY)
    if length < 0.1:  # acos loses half its digits here
        half = atan2(length, ((a + d) / 2).real)
    nx, ny, nz = nx / length, ny / length, nz / length
    if nz < -EPS:
        nx, ny, nz, half = -nx, -ny, -nz, -half
    norm = sqrt(2 * (1 + nz))
    v = ((1 + nz) / norm, -(nx - 1j * ny) / norm, (nx + 1j * ny) / norm, (1 + nz) / norm)
    return alpha, 2 * half, v


def dagger(m: Matrix) -> Matrix:
    """The inverse of a matrix without factors."""
    a, b, c, d = (complex(x).conjugate() for x in m[:4])
    return (a, c, b, d)
