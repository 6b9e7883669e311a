"""Builds compact circuits by hand, at random too, and evolves states through them slowly."""

from __future__ import annotations

from math import pi

import numpy as np
from slow_simulator import apply, matrix, steps

from qfast.circuit import INSTRUCTION, NUM_PARAMS, Circuit, Op

PUSHI, LDBIT, STBIT, LDREG, LDVAR, STVAR = 96, 98, 99, 100, 102, 103
IADD, ISUB, IDIV, IEQ, ILT, LDBITAT = 115, 116, 118, 125, 127, 137
PUSHF = 97
POPS_PARAMS = 1

ONE_QUBIT = [op for op in Op if Op.ID <= op <= Op.UNITARY]
TWO_QUBIT = [op for op in Op if Op.SWAP <= op <= Op.RZX]
GATES = [Op.GPHASE, *ONE_QUBIT, *TWO_QUBIT]


class Builder:
    """Appends instructions; every method gives the builder back."""

    def __init__(self, num_qubits: int, *cregs: tuple[str, int], num_vars: int = 0) -> None:
        self.num_qubits, self.cregs, self.num_vars = num_qubits, cregs, num_vars
        self.code: list[tuple[int, ...]] = []
        self.qubits: list[int] = []
        self.params: list[float] = []

    def add(self, op, qubits=(), params=(), *, nctrl=0, ctrl_state=None, c=0, nq=None, flags=0):
        state = (1 << nctrl) - 1 if ctrl_state is None else ctrl_state
        count = len(qubits) if nq is None else nq
        self.code.append((op, nctrl, flags, state, len(self.qubits), count, len(self.params), c))
        self.qubits += qubits
        self.params += params
        return self

    def push(self, value: int):
        return self.add(PUSHI, params=[np.array([value], np.int64).view(np.float64)[0]])

    def h(self, q: int):
        return self.add(Op.H, [q])

    def x(self, q: int):
        return self.add(Op.X, [q])

    def cx(self, a: int, b: int):
        return self.add(Op.X, [a, b], nctrl=1)

    def measure(self, q: int, c: int):
        return self.add(Op.MEASURE, [q], c=c)

    def measure_all(self):
        for q in range(self.num_qubits):
            self.measure(q, q)
        return self

    def reset(self, q: int):
        return self.add(Op.RESET, [q])

    def jump_if_bit_is_zero(self, bit: int, target: int):
        return self.add(LDBIT, c=bit).add(Op.JUMPZ, c=target)

    def circuit(self) -> Circuit:
        return Circuit(
            self.num_qubits,
            sum(size for _, size in self.cregs),
            self.num_vars,
            np.array(self.code, INSTRUCTION).tobytes(),
            np.array(self.qubits, np.int32).tobytes(),
            np.array(self.params, np.float64).tobytes(),
            (("q", self.num_qubits),),
            self.cregs,
        )


def random_unitary(rng: np.random.Generator) -> list[float]:
    q, _ = np.linalg.qr(rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2)))
    return [float(part) for entry in q.ravel() for part in (entry.real, entry.imag)]


def random_gate(b: Builder, rng: np.random.Generator, op: Op, nctrl: int = 0, ctrl_state: int | None = None) -> Builder:
    targets = 0 if op == Op.GPHASE else 1 if op <= Op.UNITARY else 2
    qubits = [int(q) for q in rng.choice(b.num_qubits, nctrl + targets, replace=False)]
    params = random_unitary(rng) if op == Op.UNITARY else list(rng.uniform(-2 * pi, 2 * pi, NUM_PARAMS.get(op, 0)))
    state = int(rng.integers(1 << nctrl)) if ctrl_state is None else ctrl_state
    return b.add(op, qubits, params, nctrl=nctrl, ctrl_state=state)


def random_circuit(num_qubits: int, gates: int, seed: int) -> Builder:
    rng = np.random.default_rng(seed)
    b = Builder(num_qubits, ("c", num_qubits))
    for _ in range(gates):
        op = GATES[rng.integers(len(GATES))]
        room = num_qubits - (0 if op == Op.GPHASE else 1 if op <= Op.UNITARY else 2)
        if room >= 0:
            random_gate(b, rng, op, min(room, int(rng.choice([0, 0, 0, 1, 1, 2, 3]))))
    return b


def evolve(state: np.ndarray, circuit: Circuit) -> np.ndarray:
    """The state, shape (2^n,), after a circuit of gates (final measurements are left out)."""
    n = circuit.num_qubits
    tensor = state.reshape((2,) * n).transpose()  # qubit q on axis q
    for op, controls, targets, params in steps(circuit):
        if op != Op.MEASURE:
            tensor = apply(tensor, matrix(op, params), controls, targets)
    return tensor.transpose().reshape(-1)


def final_state(circuit: Circuit) -> np.ndarray:
    """What a circuit of gates prepares from |0...0>."""
    start = np.zeros(1 << circuit.num_qubits, complex)
    start[0] = 1
    return evolve(start, circuit)
