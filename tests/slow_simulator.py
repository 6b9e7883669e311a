"""A compact circuit's exact outcome distribution and unitary, by numpy and plain Python: the oracle, never fast."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from qfast.circuit import NUM_PARAMS, Circuit, Op

Matrix = npt.NDArray[np.complex128]
I2 = np.eye(2, dtype=complex)
X = np.array([[0, 1], [1, 0]], complex)
Y = np.array([[0, -1j], [1j, 0]], complex)
Z = np.diag([1, -1]).astype(complex)
FIXED = {
    Op.ID: I2,
    Op.X: X,
    Op.Y: Y,
    Op.Z: Z,
    Op.H: (X + Z) / math.sqrt(2),
    Op.S: np.diag([1, 1j]),
    Op.SDG: np.diag([1, -1j]),
    Op.T: np.diag([1, np.exp(0.25j * np.pi)]),
    Op.TDG: np.diag([1, np.exp(-0.25j * np.pi)]),
    Op.SX: np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2,
    Op.SXDG: np.array([[1 - 1j, 1 + 1j], [1 + 1j, 1 - 1j]]) / 2,
    Op.SWAP: np.eye(4)[[0, 2, 1, 3]].astype(complex),
    Op.ISWAP: np.array([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]]),
}
PAULI = {
    Op.RX: X,
    Op.RY: Y,
    Op.RZ: Z,
    Op.RXX: np.kron(X, X),
    Op.RYY: np.kron(Y, Y),
    Op.RZZ: np.kron(Z, Z),
    Op.RZX: np.kron(X, Z),
}


def matrix(op: int, p: list[float]) -> Matrix:
    """The gate's matrix; of two targets the first is the low bit of the index."""
    if op in FIXED:
        return np.asarray(FIXED[Op(op)], complex)
    if op in PAULI:
        pauli = PAULI[Op(op)]
        return np.cos(p[0] / 2) * np.eye(len(pauli)) - 1j * np.sin(p[0] / 2) * pauli
    if op == Op.GPHASE:
        return np.array([[np.exp(1j * p[0])]])
    if op == Op.P:
        return np.diag([1, np.exp(1j * p[0])])
    if op == Op.UNITARY:
        return (np.array(p[::2]) + 1j * np.array(p[1::2])).reshape(2, 2)
    assert op == Op.U, op
    theta, phi, lam = p
    c, s = np.cos(theta / 2), np.sin(theta / 2)
    return np.array([[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]])


def apply(state: Matrix, small: Matrix, controls: list[tuple[int, int]], targets: list[int]) -> Matrix:
    """The state, shape (2,) * n or with further axes behind, qubit q on axis q, after a controlled gate."""
    index: list[int | slice] = [slice(None)] * state.ndim
    for qubit, value in controls:
        index[qubit] = value
    out = state.copy()
    part = out[tuple(index)]
    if not targets:
        out[tuple(index)] = small[0, 0] * part
        return out
    axes = [t - sum(q < t for q, _ in controls) for t in reversed(targets)]  # the first target is the low bit
    k = len(targets)
    gate = small.reshape((2,) * (2 * k))
    moved = np.tensordot(gate, part, axes=(list(range(k, 2 * k)), axes))
    out[tuple(index)] = np.moveaxis(moved, list(range(k)), axes)
    return out


def steps(circuit: Circuit) -> Iterator[tuple[int, list[tuple[int, int]], list[int], list[float]]]:
    """Gate by gate (op, controls with their values, targets, parameters) of a program without control flow."""
    for i in circuit.instructions:
        if i["op"] != Op.BARRIER:
            yield gate_of(circuit, i, [])


def gate_of(
    circuit: Circuit, i: np.void, stack: list[int]
) -> tuple[int, list[tuple[int, int]], list[int], list[float]]:
    """One instruction taken apart; popped parameters leave the stack."""
    op, nctrl, nparams = int(i["op"]), int(i["nctrl"]), NUM_PARAMS.get(int(i["op"]), 0)
    qubits = [int(q) for q in circuit.operands[i["q"] : i["q"] + i["nq"]]]
    controls = [(q, int(i["ctrl_state"]) >> k & 1) for k, q in enumerate(qubits[:nctrl])]
    if i["flags"] & 1:
        params = [as_float(v) for v in stack[len(stack) - nparams :]]
        del stack[len(stack) - nparams :]
    else:
        params = [float(v) for v in circuit.parameters[i["p"] : i["p"] + nparams]]
    assert all(map(math.isfinite, params))
    return op, controls, qubits[nctrl:], params


def unitary(circuit: Circuit) -> Matrix:
    """The unitary of a program of gates only, in Qiskit's order (qubit 0 is the low bit), without its final measurements."""
    n = circuit.num_qubits
    state = np.eye(2**n, dtype=complex).reshape((2,) * n + (2**n,)).transpose([*range(n - 1, -1, -1), n])
    for op, controls, targets, params in steps(circuit):
        if op != Op.MEASURE:
            state = apply(state, matrix(op, params), controls, targets)
    return state.transpose([*range(n - 1, -1, -1), n]).reshape(2**n, 2**n)


def as_float(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])


def as_int(x: int) -> int:
    return (x + 2**63) % 2**64 - 2**63


def bits_of(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


M64 = 2**64 - 1
INT1 = {112: lambda a: -a, 113: lambda a: ~a, 114: lambda a: not a, 131: lambda a: (a & M64).bit_count()}
INT2 = {
    115: lambda a, b: a + b,
    116: lambda a, b: a - b,
    117: lambda a, b: a * b,
    118: truncated,
    119: lambda a, b: a - b * truncated(a, b),
    120: lambda a, b: a & b,
    121: lambda a, b: a | b,
    122: lambda a, b: a ^ b,
    123: lambda a, b: a << b if b < 64 else 0,
    124: lambda a, b: a >> b,
    125: lambda a, b: a == b,
    126: lambda a, b: a != b,
    127: lambda a, b: a < b,
    128: lambda a, b: a <= b,
    129: lambda a, b: a > b,
    130: lambda a, b: a >= b,
    132: lambda a, b: pow(a, b, 2**64),
    184: lambda a, b: (a & M64) // (b & M64),
    185: lambda a, b: (a & M64) % (b & M64),
    186: lambda a, b: (a & M64) >> b,
    187: lambda a, b: (a & M64) < (b & M64),
    188: lambda a, b: (a & M64) <= (b & M64),
    189: lambda a, b: (a & M64) > (b & M64),
    190: lambda a, b: (a & M64) >= (b & M64),
}
FLOAT1 = {
    144: lambda a: -a,
    157: math.sin,
    158: math.cos,
    159: math.tan,
    160: math.asin,
    161: math.acos,
    162: math.atan,
    163: math.exp,
    164: math.log,
    165: math.sqrt,
    166: math.floor,
    167: math.ceil,
}
FLOAT2 = {
    145: lambda a, b: a + b,
    146: lambda a, b: a - b,
    147: lambda a, b: a * b,
    148: lambda a, b: a / b,
    149: math.pow,
    150: math.fmod,
}
COMPARE = {
    151: lambda a, b: a == b,
    152: lambda a, b: a != b,
    153: lambda a, b: a < b,
    154: lambda a, b: a <= b,
    155: lambda a, b: a > b,
    156: lambda a, b: a >= b,
}


class Machine:
    """One branch of a run: classical bits, variables and stack."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.bits = [0] * circuit.num_clbits
        self.vars = [0] * circuit.num_vars
        self.stack: list[int] = []
        self.pc = 0

    def copy(self) -> Machine:
        other = Machine(self.circuit)
        other.bits, other.vars, other.stack, other.pc = self.bits[:], self.vars[:], self.stack[:], self.pc
        return other

    def step(self, i: np.void) -> None:
        """One classical instruction; self.pc goes on."""
        op, c, nq, stack, pop = int(i["op"]), int(i["c"]), int(i["nq"]), self.stack, self.stack.pop
        self.pc += 1
        if op in {80, 81}:
            self.pc = c if op == 80 or pop() == 0 else self.pc
        elif op == 82:
            self.pc = len(self.circuit.instructions)
        elif op in {96, 97}:
            stack.append(bits_of(float(self.circuit.parameters[i["p"]])))
        elif op == 98:
            stack.append(self.bits[c])
        elif op == 99:
            self.bits[c] = int(pop() != 0)
        elif op == 100:
            stack.append(as_int(sum(self.bits[c + k] << k for k in range(nq))))
        elif op == 101:
            value = pop()
            self.bits[c : c + nq] = [value >> k & 1 for k in range(nq)]
        elif op == 102:
            stack.append(self.vars[c])
        elif op == 103:
            self.vars[c] = pop()
        elif op == 104:
            pop()
        elif op == 105:
            stack.append(stack[-1])
        elif op == 106:
            stack[-1], stack[-2] = stack[-2], stack[-1]
        elif op == 107:
            assert -nq <= stack[-1] < nq, "index out of range"
            stack[-1] %= nq
        elif op == 108:
            raise AssertionError("equal operands")
        elif op in {137, 139}:
            index = pop()
            assert 0 <= index < nq, "index out of range"
            stack.append((self.bits if op == 137 else self.vars)[c + index])
        elif op in {138, 140}:
            index, value = pop(), pop()
            assert 0 <= index < nq, "index out of range"
            (self.bits if op == 138 else self.vars)[c + index] = int(value != 0) if op == 138 else value
        elif op in {133, 134}:
            low = pop() & ((1 << c) - 1)
            stack.append(as_int(low - (1 << c) if op == 134 and low >> (c - 1) else low))
        elif op in {135, 136}:
            count, word = pop(), pop() & ((1 << c) - 1)
            k = (count if op == 135 else -count) % c
            stack.append(as_int((word << k | word >> (c - k)) & ((1 << c) - 1)))
        elif op in INT1:
            stack.append(as_int(int(INT1[op](pop()))))
        elif op in INT2:
            b, a = pop(), pop()
            stack.append(as_int(int(INT2[op](a, b))))
        elif op in FLOAT1:
            stack.append(bits_of(float(FLOAT1[op](as_float(pop())))))
        elif op in FLOAT2:
            y, x = as_float(pop()), as_float(pop())
            stack.append(bits_of(FLOAT2[op](x, y)))
        elif op in COMPARE:
            y, x = as_float(pop()), as_float(pop())
            stack.append(int(COMPARE[op](x, y)))
        elif op in {176, 177}:
            value = pop()
            stack.append(bits_of(float(value & M64 if op == 177 else value)))
        else:
            assert op == 178, op
            value = int(as_float(pop()))
            if value != as_int(value):
                raise OverflowError("a conversion out of range")
            stack.append(value)


def final_bits(circuit: Circuit, bits: list[int]) -> str:
    """Qiskit's key: the last register leftmost, bit 0 of each rightmost."""
    parts, start = [], 0
    for _, size in circuit.cregs:
        parts.append("".join(str(b) for b in reversed(bits[start : start + size])))
        start += size
    return " ".join(reversed(parts))


def distribution(circuit: Circuit, smallest: float = 1e-9) -> dict[str, float]:
    """Probability of each outcome, by following every measured value; branches below `smallest` are dropped (endless loops)."""
    n, code = circuit.num_qubits, circuit.instructions
    zero = np.zeros((2,) * n, complex)
    zero[(0,) * n] = 1
    found: dict[str, float] = {}
    todo: list[tuple[float, Matrix, Machine]] = [(1.0, zero, Machine(circuit))]
    while todo:
        weight, state, machine = todo.pop()
        while machine.pc < len(code):
            i = code[machine.pc]
            if i["op"] >= 80:
                machine.step(i)
                continue
            machine.pc += 1
            if i["op"] == Op.BARRIER:
                continue
            op, controls, targets, params = gate_of(circuit, i, machine.stack)
            if op not in {Op.MEASURE, Op.RESET}:
                state = apply(state, matrix(op, params), controls, targets)
                continue
            index: list[int | slice] = [slice(None)] * n
            branches = []
            for value in (0, 1):
                index[targets[0]] = value
                part = np.zeros_like(state)
                part[tuple(index)] = state[tuple(index)]
                p = float(np.vdot(part, part).real)
                if weight * p > smallest:
                    branches.append((value, p, part / math.sqrt(p)))
            base = machine
            for number, (value, p, part) in enumerate(branches):
                branch = base.copy() if number + 1 < len(branches) else base
                if op == Op.MEASURE:
                    branch.bits[int(i["c"])] = value
                elif value:
                    part = apply(part, X, [], targets)
                todo.append((weight * p, part, branch))
            break
        else:
            key = final_bits(circuit, machine.bits)
            found[key] = found.get(key, 0.0) + weight
    return found
