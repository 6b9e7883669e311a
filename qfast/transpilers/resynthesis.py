"""Long runs of gates on one pair of qubits, written anew with the fewest two-qubit gates.

Any gate on two qubits is (A1 x B1) rxx(x) ryy(y) rzz(z) (A0 x B0) (Cartan's decomposition; Kraus, Cirac, "Optimal creation of
entanglement using a two-qubit gate", Phys. Rev. A 63, 062309 (2001)), found by diagonalising U^T U in the magic basis. With
cx it takes three of them at most (Vatan, Williams, "Optimal quantum circuits for general two-qubit gates", Phys. Rev. A 69,
032315 (2004)), two when one of the angles is 0.
"""

from __future__ import annotations

from math import pi

import numpy as np
import numpy.typing as npt

from qfast.transpilers.basis import Basis
from qfast.transpilers.one_qubit import EPS, RX_HALF, RX_MINUS_HALF, SDG, H, Matrix, S, rx, ry, rz, wrapped
from qfast.transpilers.rewriting import Recorder, Sink, Step, wires

Array = npt.NDArray[np.complex128]

MAGIC: Array = np.array([[1, 0, 0, 1j], [0, 1j, 1, 0], [0, 1j, -1, 0], [1, 0, 0, -1j]]) / np.sqrt(2)
PAULIS: list[Array] = [
    np.array([[0, 1], [1, 0]], complex),
    np.array([[0, -1j], [1j, 0]]),
    np.diag([1, -1]).astype(complex),
]
# The eigenvalues, +1 or -1, of XX, YY and ZZ on the magic basis; shape (3, 4)
SIGNS = np.array([np.diag(MAGIC.conj().T @ np.kron(m, m) @ MAGIC).real for m in PAULIS])
SWAP: Array = np.eye(4, dtype=complex)[[0, 2, 1, 3]]
MIXES = ((1.0, 0.0), (0.36, 0.93), (0.8, -0.6), (0.12, 0.99), (0.97, 0.26))  # of the real and the imaginary part
WORTH = 3  # two-qubit gates from which on a run is looked at


class Resynthesis:
    """Collects runs of steps on one pair and replaces those that become shorter.

    Parameters
    ----------
    num_qubits : int
        Wires.
    basis : Basis
        Says what a rotation costs.
    sink : Sink
        Takes the steps.
    swaps : bool
        Exchanges count as gates; not before routing, where they cost nothing.
    """

    def __init__(self, num_qubits: int, basis: Basis, sink: Sink, *, swaps: bool) -> None:
        self.sink = sink
        self.collected = {"zz", "swap"} if swaps else {"zz"}
        self.any_angle = bool(basis.any_angle)
        self.fixed_angle = bool(basis.fixed_angle)
        self.swap_cost = 1 if basis.swap else 3
        self.runs: list[tuple[tuple[int, int], list[Step]] | None] = [None] * num_qubits

    def steps(self, steps: list[Step]) -> None:
        """Hand all steps on, in order, the runs rewritten."""
        for step in steps:
            kind = step[0]
            if kind == "one":
                run = self.runs[step[1]]
                if run is None:
                    self.sink.one(step[1], step[2])
                else:
                    run[1].append(step)
            elif kind in self.collected:
                a, b = step[1], step[2]
                run = self.runs[a]
                if run is None or run is not self.runs[b]:
                    self._close(a)
                    self._close(b)
                    run = ((a, b), [])
                    self.runs[a] = self.runs[b] = run
                run[1].append(step)
            else:
                for q in wires(step):
                    self._close(q)
                getattr(self.sink, kind)(*step[1:])
        for q in range(len(self.runs)):
            self._close(q)

    def _close(self, q: int) -> None:
        run = self.runs[q]
        if run is None:
            return
        pair, steps = run
        self.runs[pair[0]] = self.runs[pair[1]] = None
        cost = self._cost(steps)
        if cost >= WORTH:
            shorter = self._shorter(pair, steps, cost)
            steps = steps if shorter is None else shorter
        for step in steps:
            getattr(self.sink, step[0])(*step[1:])

    def _cost(self, steps: list[Step]) -> int:
        cost = 0
        for step in steps:
            if step[0] == "swap":
                cost += self.swap_cost
            elif step[0] == "zz":
                simple = abs(abs(step[3]) - pi / 2) < EPS
                cost += 1 if self.any_angle or (simple and self.fixed_angle) else 2
        return cost

    def _shorter(self, pair: tuple[int, int], steps: list[Step], cost: int) -> list[Step] | None:
        """The same in fewer two-qubit gates, or None."""
        found = cartan(product(pair, steps))
        if found is None:
            return None
        before, angles, after = found
        recorder = Recorder()
        for q, m in zip(pair, before, strict=True):
            recorder.one(q, m)
        interaction(recorder, pair, angles, self.any_angle)
        for q, m in zip(pair, after, strict=True):
            recorder.one(q, m)
        return recorder.steps if self._cost(recorder.steps) < cost else None


def product(pair: tuple[int, int], steps: list[Step]) -> Array:
    """The run's matrix, shape (4, 4), the pair's first qubit the high bit."""
    total: Array = np.eye(4, dtype=complex)
    for step in steps:
        if step[0] == "one":
            small = np.array(step[2][:4], complex).reshape(2, 2)
            cube = total.reshape(2, 2, 4)
            if step[1] == pair[0]:
                total = np.tensordot(small, cube, (1, 0)).reshape(4, 4)
            else:
                total = np.einsum("ij,kjl->kil", small, cube).reshape(4, 4)
        elif step[0] == "zz":
            turn = np.exp(-0.5j * step[3])
            total = np.array([turn, turn.conjugate(), turn.conjugate(), turn])[:, None] * total
        else:
            total = SWAP @ total
    return total


def cartan(matrix: Array) -> tuple[tuple[Matrix, Matrix], tuple[float, float, float], tuple[Matrix, Matrix]] | None:
    """Before, (x, y, z) and after: the matrix is after . rxx(x) ryy(y) rzz(z) . before up to a phase.

    Angles are in (-pi/2, pi/2]; None when rounding got in the way.
    """
    u = MAGIC.conj().T @ (matrix / np.linalg.det(matrix) ** 0.25) @ MAGIC
    symmetric = u.T @ u
    for real, imaginary in MIXES:  # both parts commute, so a mix of them has common eigenvectors, unless by chance
        p = np.linalg.eigh(real * symmetric.real + imaginary * symmetric.imag)[1]
        diagonal = p.T @ symmetric @ p
        if np.abs(diagonal - np.diag(np.diag(diagonal))).max() < 1e-9:
            break
    else:
        return None
    if np.linalg.det(p) < 0:
        p[:, 0] = -p[:, 0]
    half = np.angle(np.diag(diagonal)) / 2
    k = u @ p @ np.diag(np.exp(-1j * half))
    if np.linalg.det(k).real < 0:
        half[0] += pi
        k[:, 0] = -k[:, 0]
    x, y, z = (-2 * (SIGNS @ half) / 4).tolist()
    before = factored(MAGIC @ p.T @ MAGIC.conj().T)
    after = factored(MAGIC @ k @ MAGIC.conj().T)
    angles = []
    for angle, pauli in zip((x, y, z), PAULIS, strict=True):
        small = wrapped(angle)
        if not -pi / 2 + EPS < small <= pi / 2 + EPS:  # a turn by pi is the Pauli on both
            small = wrapped(small - pi)
            before = (pauli @ before[0], pauli @ before[1])
        angles.append(small)
    return (plain(before[0]), plain(before[1])), (angles[0], angles[1], angles[2]), (plain(after[0]), plain(after[1]))


def factored(m: Array) -> tuple[Array, Array]:
    """A and B of a matrix that is their Kronecker product."""
    blocks = m.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3)  # [a row, a column, b row, b column]
    i, j = np.unravel_index(np.argmax(np.abs(blocks).max((2, 3))), (2, 2))
    b = blocks[i, j]
    b = b / np.sqrt(np.linalg.det(b))
    a = np.einsum("ijkl,kl->ij", blocks, b.conj()) / 2
    return a, b


def plain(m: Array) -> Matrix:
    """The matrix as a tuple."""
    return tuple(m.reshape(4).tolist())


# What turns the axes of a pair of used angles to X and Z (there and back), and which of the angles those are.
TO_XZ: dict[tuple[bool, bool, bool], tuple[Matrix | None, Matrix | None, int, int]] = {
    (True, False, True): (None, None, 0, 2),
    (True, True, False): (RX_HALF, RX_MINUS_HALF, 0, 1),
    (False, True, True): (SDG, S, 1, 2),
}


def interaction(sink: Sink, pair: tuple[int, int], angles: tuple[float, float, float], any_angle: bool) -> None:
    """rxx(x) ryy(y) rzz(z) by the fewest rotations, or the fewest cx."""
    used = (abs(angles[0]) > EPS, abs(angles[1]) > EPS, abs(angles[2]) > EPS)
    simple = all(abs(abs(angle) - pi / 2) < EPS for angle in angles if abs(angle) > EPS)
    if any_angle or sum(used) < 2 or (sum(used) == 2 and simple):
        for angle, there, back in zip(angles, (H, RX_HALF, None), (H, RX_MINUS_HALF, None), strict=True):
            if abs(angle) > EPS:
                around(sink, pair, there)
                sink.zz(*pair, angle, "cx")
                around(sink, pair, back)
    elif sum(used) == 3:
        three(sink, pair, angles)
    else:
        there, back, first, second = TO_XZ[used]
        around(sink, pair, there)
        cx(sink, *pair)
        sink.one(pair[0], rx(angles[first]))
        sink.one(pair[1], rz(angles[second]))
        cx(sink, *pair)
        around(sink, pair, back)


def around(sink: Sink, pair: tuple[int, int], m: Matrix | None) -> None:
    """The same matrix on both."""
    if m is not None:
        for q in pair:
            sink.one(q, m)


def three(sink: Sink, pair: tuple[int, int], angles: tuple[float, float, float]) -> None:
    """Vatan and Williams, figure 6."""
    a, b = pair
    x, y, z = angles
    sink.one(b, rz(pi / 2))
    cx(sink, b, a)
    sink.one(a, rz(pi / 2 + z))
    sink.one(b, ry(pi / 2 + x))
    cx(sink, a, b)
    sink.one(b, ry(-pi / 2 - y))
    cx(sink, b, a)
    sink.one(a, rz(-pi / 2))


def cx(sink: Sink, c: int, t: int) -> None:
    """A controlled X as a rotation."""
    sink.one(t, H)
    sink.zz(c, t, -pi / 2, "cx")
    sink.one(c, S)
    sink.one(t, S)
    sink.one(t, H)
