"""What Qiskit makes of a program: its unitary, and its exact outcome distribution by following every measured value."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import qiskit.qasm2
import qiskit.qasm3
from qiskit import QuantumCircuit
from qiskit.circuit import Clbit, IfElseOp
from qiskit.quantum_info import Operator, Statevector


def load(program: str) -> QuantumCircuit:
    if "OPENQASM 3" in program:
        with warnings.catch_warnings():  # the importer calls Qiskit in ways that it has deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            return qiskit.qasm3.loads(program)
    return qiskit.qasm2.loads(
        program,
        custom_instructions=qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS,
        custom_classical=qiskit.qasm2.LEGACY_CUSTOM_CLASSICAL,
    )


def unitary(program: str) -> np.ndarray[Any, np.dtype[np.complex128]]:
    return np.asarray(Operator(load(program)).data)


def distribution(program: str) -> dict[str, float]:
    circuit = load(program)
    found: dict[str, float] = {}
    start = (1.0, Statevector.from_int(0, 2**circuit.num_qubits), (0,) * circuit.num_clbits)
    for weight, _, bits in run(circuit, [start], circuit.qubits, circuit.clbits, circuit):
        key, at = [], 0
        for register in circuit.cregs:
            key.append("".join(str(bits[circuit.find_bit(b).index]) for b in reversed(list(register))))
            at += register.size
        text = " ".join(reversed(key))
        found[text] = found.get(text, 0.0) + weight
    return found


def run(circuit: QuantumCircuit, branches: list[Any], qubits: Any, clbits: Any, whole: QuantumCircuit) -> list[Any]:
    for item in circuit.data:
        where = [whole.find_bit(qubits[circuit.find_bit(q).index]).index for q in item.qubits]
        into = [whole.find_bit(clbits[circuit.find_bit(c).index]).index for c in item.clbits]
        name = item.operation.name
        if name == "barrier":
            continue
        if isinstance(item.operation, IfElseOp):
            out = []
            for branch in branches:
                body = item.operation.blocks[0] if holds(item.operation.condition, branch[2], whole) else None
                if body is None and len(item.operation.blocks) > 1:
                    body = item.operation.blocks[1]
                outer_q = [whole.qubits[k] for k in where]
                outer_c = [whole.clbits[k] for k in into]
                out += run(body, [branch], outer_q, outer_c, whole) if body is not None else [branch]
            branches = out
        elif name in {"measure", "reset"}:
            branches = [b for branch in branches for b in measured(branch, where[0], into[0] if into else None)]
        else:
            branches = [(w, state.evolve(item.operation, where), bits) for w, state, bits in branches]
    return branches


def holds(condition: Any, bits: tuple[int, ...], whole: QuantumCircuit) -> bool:
    target, value = condition
    if isinstance(target, Clbit):
        return bits[whole.find_bit(target).index] == int(value)
    return sum(bits[whole.find_bit(b).index] << k for k, b in enumerate(target)) == value


def measured(branch: Any, qubit: int, clbit: int | None) -> list[Any]:
    weight, state, bits = branch
    out = []
    for value in (0, 1):
        data = state.data.copy()
        data[(np.arange(len(data)) >> qubit & 1) != value] = 0
        p = float(np.vdot(data, data).real)
        if weight * p < 1e-12:
            continue
        part = Statevector(data / math.sqrt(p))
        if clbit is None and value:
            flip = QuantumCircuit(1)
            flip.x(0)
            part = part.evolve(flip, [qubit])
        new = bits if clbit is None else (*bits[:clbit], value, *bits[clbit + 1 :])
        out.append((weight * p, part, new))
    return out
