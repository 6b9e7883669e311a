"""The slow twin of the simulator: dense matrices, every branch followed exactly; and a builder of circuits for tests."""

from __future__ import annotations

import cmath
from collections import defaultdict
from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np

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


PAULI = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]), "Z": np.diag([1, -1])}


def base_matrix(op: int, p: Sequence[float]) -> np.ndarray:
    """The matrix of a base operation; with two targets the row's bit 0 belongs to the first."""
    if op == Op.GPHASE:
        return np.array([[cmath.exp(1j * p[0])]])
    if op in (Op.ID, Op.X, Op.Y, Op.Z):
        return PAULI["IXYZ"[op - Op.ID]]
    if op == Op.H:
        return np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    phases = {Op.S: pi / 2, Op.SDG: -pi / 2, Op.T: pi / 4, Op.TDG: -pi / 4}
    if op in phases or op == Op.P:
        return np.diag([1, cmath.exp(1j * phases[op] if op in phases else 1j * p[0])])
    if op in (Op.SX, Op.SXDG):
        m = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
        return m if op == Op.SX else m.conj()
    if op == Op.U:
        c, s, f, g = cos(p[0] / 2), sin(p[0] / 2), cmath.exp(1j * p[1]), cmath.exp(1j * p[2])
        return np.array([[c, -g * s], [f * s, f * g * c]])
    if op == Op.UNITARY:
        return np.array(p, float).view(complex).reshape(2, 2)
    if op == Op.SWAP:
        return np.eye(4)[[0, 2, 1, 3]]
    if op == Op.ISWAP:
        return np.array([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]])
    first, second = {Op.RX: "XI", Op.RY: "YI", Op.RZ: "ZI", Op.RXX: "XX", Op.RYY: "YY", Op.RZZ: "ZZ", Op.RZX: "ZX"}[
        Op(op)
    ]
    pauli = PAULI[first] if op <= Op.U else np.kron(PAULI[second], PAULI[first])
    return cos(p[0] / 2) * np.eye(len(pauli)) - 1j * sin(p[0] / 2) * pauli


def apply(
    state: np.ndarray, op: int, p: Sequence[float], qubits: Sequence[int], nctrl: int, ctrl_state: int
) -> np.ndarray:
    m, controls, targets = base_matrix(op, p), qubits[:nctrl], qubits[nctrl:]
    out = state.copy()
    index = np.arange(len(state))
    on = np.all([((index >> q) & 1) == ((ctrl_state >> j) & 1) for j, q in enumerate(controls)], axis=0) & (index >= 0)
    row = sum((((index >> q) & 1) << j for j, q in enumerate(targets)), np.zeros_like(index))
    rest = index & ~sum(1 << q for q in targets)
    out[on] = 0
    for col in range(len(m)):
        source = rest + sum(((col >> j) & 1) << q for j, q in enumerate(targets))
        out[on] += (m[row, col] * state[source])[on]
    return out


def key_of(bits: Sequence[int], cregs: Sequence[tuple[str, int]]) -> str:
    words, start = [], 0
    for _, size in cregs:
        words.append("".join(str(bit) for bit in reversed(bits[start : start + size])))
        start += size
    return " ".join(reversed(words))


def run(circuit: Circuit) -> list[tuple[float, np.ndarray, tuple[int, ...]]]:
    """Every branch that a circuit can end in: its probability, its state and its classical bits."""
    code, qubits, params = circuit.instructions, circuit.operands.tolist(), circuit.parameters
    start = np.zeros(1 << circuit.num_qubits, complex)
    start[0] = 1
    todo = [(1.0, start, [0] * circuit.num_clbits, [0] * circuit.num_vars, [], 0)]
    done = []
    while todo:
        weight, state, bits, variables, stack, pc = todo.pop()
        if pc == len(code) or code[pc]["op"] == Op.END:
            done.append((weight, state, tuple(bits)))
            continue
        op, nctrl, flags, ctrl_state, q, nq, p, c = (int(field) for field in code[pc])
        own = qubits[q : q + nq]
        pc += 1
        if op in (Op.MEASURE, Op.RESET):
            bit = (np.arange(len(state)) >> own[0]) & 1
            for outcome in (0, 1):
                part = np.where(bit == outcome, state, 0)
                chance = float(np.vdot(part, part).real)
                if chance < 1e-14:
                    continue
                after = list(bits)
                if op == Op.MEASURE:
                    after[c] = outcome
                elif outcome:
                    part = apply(part, Op.X, [], own, 0, 0)
                todo.append((weight * chance, part / np.sqrt(chance), after, list(variables), list(stack), pc))
            continue
        if op < Op.MEASURE:
            count = NUM_PARAMS.get(Op(op), 0)
            if flags & POPS_PARAMS and count:
                values = [float(np.int64(v).view(np.float64)) for v in stack[-count:]]
                del stack[-count:]
            else:
                values = params[p : p + count]
            state = apply(state, op, values, own, nctrl, ctrl_state)
        elif op == Op.JUMP:
            pc = c
        elif op == Op.JUMPZ:
            pc = c if stack.pop() == 0 else pc
        elif op in (PUSHI, PUSHF):
            stack.append(int(params[p : p + 1].view(np.int64)[0]))
        elif op == LDBIT:
            stack.append(bits[c])
        elif op == LDREG:
            stack.append(sum(bit << j for j, bit in enumerate(bits[c : c + nq])))
        elif op == STBIT:
            bits[c] = int(stack.pop() != 0)
        elif op == LDVAR:
            stack.append(variables[c])
        elif op == STVAR:
            variables[c] = stack.pop()
        elif op in (IADD, ISUB, IEQ, ILT):
            b, a = stack.pop(), stack.pop()
            stack.append({IADD: a + b, ISUB: a - b, IEQ: int(a == b), ILT: int(a < b)}[op])
        else:
            assert op == Op.BARRIER, op
        todo.append((weight, state, bits, variables, stack, pc))
    return done


def distribution(circuit: Circuit) -> dict[str, float]:
    """The probability of every key."""
    result: dict[str, float] = defaultdict(float)
    for weight, _, bits in run(circuit):
        result[key_of(bits, circuit.cregs)] += weight
    return dict(result)
