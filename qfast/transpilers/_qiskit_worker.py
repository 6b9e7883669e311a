"""Between the compact circuit and Qiskit's QuantumCircuit; imported by the worker process only."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from qfast.circuit import INSTRUCTION, NUM_PARAMS, Circuit, Op
from qfast.errors import TranspileError
from qfast.transpilers.basis import ALIASES, ALWAYS, CATALOGUE, basis_of
from qfast.transpilers.cmss import CmssOptions, rewritten

# What an empty basis stands for: gates that both sides know.
UNLIKE = {"u1", "u3", "cu", "cu1", "cu3", "csxdg", "ct", "ctdg", "mcx", "c3x", "c4x", *ALIASES}
EVERYTHING = tuple(name for name in CATALOGUE if name not in UNLIKE)
FLIPPED = {"cx", "cz", "swap", "rxx", "ryy", "rzz"}  # Qiskit can turn their direction

# Gates that are Qiskit's own; its synthesis of others with controls is not exact in every release (2.6: rxx with three).
CLASSES: dict[tuple[int, int], str] = {
    (Op.ID, 0): "IGate",
    (Op.X, 0): "XGate",
    (Op.Y, 0): "YGate",
    (Op.Z, 0): "ZGate",
    (Op.H, 0): "HGate",
    (Op.S, 0): "SGate",
    (Op.SDG, 0): "SdgGate",
    (Op.T, 0): "TGate",
    (Op.TDG, 0): "TdgGate",
    (Op.SX, 0): "SXGate",
    (Op.SXDG, 0): "SXdgGate",
    (Op.RX, 0): "RXGate",
    (Op.RY, 0): "RYGate",
    (Op.RZ, 0): "RZGate",
    (Op.P, 0): "PhaseGate",
    (Op.U, 0): "UGate",
    (Op.SWAP, 0): "SwapGate",
    (Op.ISWAP, 0): "iSwapGate",
    (Op.RXX, 0): "RXXGate",
    (Op.RYY, 0): "RYYGate",
    (Op.RZZ, 0): "RZZGate",
    (Op.RZX, 0): "RZXGate",
    (Op.X, 1): "CXGate",
    (Op.Y, 1): "CYGate",
    (Op.Z, 1): "CZGate",
    (Op.H, 1): "CHGate",
    (Op.S, 1): "CSGate",
    (Op.SDG, 1): "CSdgGate",
    (Op.SX, 1): "CSXGate",
    (Op.RX, 1): "CRXGate",
    (Op.RY, 1): "CRYGate",
    (Op.RZ, 1): "CRZGate",
    (Op.P, 1): "CPhaseGate",
    (Op.SWAP, 1): "CSwapGate",
    (Op.X, 2): "CCXGate",
    (Op.Z, 2): "CCZGate",
}
OTHERS = basis_of(("u", "cx", "ccx", "swap"))  # what all other gates are taken apart to


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Transpile; payload and answer of QiskitTranspiler."""
    circuit = msgspec.convert(job["circuit"], Circuit)
    names = [ALIASES.get(name, name) for name in job["basis_gates"] if name not in ALWAYS]
    pairs = job["coupling_map"]
    if not names:
        names = [name for name in EVERYTHING if not pairs or width(name) == 1 or name in FLIPPED]
    elif pairs:  # Qiskit takes no larger gates beside a coupling map
        names = [name for name in names if width(name) <= 2]
    try:
        done = import_module("qiskit").transpile(
            to_qiskit(circuit),
            basis_gates=names,
            coupling_map=[list(pair) for pair in pairs] if pairs else None,
            **job["options"],
        )
    except MemoryError:
        raise
    except Exception as error:
        raise TranspileError(f"Qiskit: {error}"[:500]) from None
    new = from_qiskit(done, circuit)
    code = new.instructions
    gates = code["op"] < Op.MEASURE
    trivial = list(range(circuit.num_qubits))
    layout = done.layout
    metadata = {
        "gates": int(np.count_nonzero(gates)),
        "two_qubit_gates": int(np.count_nonzero(gates & (code["nq"] == 2))),
        "depth": int(done.depth()),
        "layout": {
            "initial": trivial if layout is None else layout.initial_index_layout(filter_ancillas=True),
            "final": trivial if layout is None else layout.final_index_layout(),
        },
    }
    return {"circuit": new, "metadata": metadata}


def width(name: str) -> int:
    """Qubits of a gate."""
    op, nctrl = CATALOGUE[name]
    return nctrl + (2 if op >= Op.SWAP else 1)


def to_qiskit(circuit: Circuit) -> Any:
    """The QuantumCircuit with the same qubits and bits, without registers; equal up to a global phase."""
    library: Any = import_module("qiskit.circuit.library")
    qc: Any = import_module("qiskit").QuantumCircuit(circuit.num_qubits, circuit.num_clbits)
    operands, params = circuit.operands.tolist(), circuit.parameters.tolist()
    for op, nctrl, _, ctrl_state, q, nq, p, c in circuit.instructions.tolist():
        qubits = operands[q : q + nq]
        angles = params[p : p + NUM_PARAMS.get(op, 0)]
        if op == Op.MEASURE:
            qc.measure(qubits[0], c)
        elif op == Op.RESET:
            qc.reset(qubits[0])
        elif op == Op.BARRIER:
            qc.barrier(qubits)
        elif (op, nctrl) in CLASSES and ctrl_state == (1 << nctrl) - 1:
            qc.append(getattr(library, CLASSES[op, nctrl])(*angles), qubits)
        else:
            gate = alone(circuit.num_qubits, (op, nctrl, 0, ctrl_state, 0, nq, 0, 0), qubits, angles)
            parts, _ = rewritten(gate, OTHERS, None, CmssOptions(optimization_level=0))
            own, values = parts.operands.tolist(), parts.parameters.tolist()
            for part, controls, _, _, start, width, at, _ in parts.instructions.tolist():
                factor = getattr(library, CLASSES[part, controls])(*values[at : at + NUM_PARAMS.get(part, 0)])
                qc.append(factor, own[start : start + width])
    return qc


def alone(num_qubits: int, record: tuple[int, ...], qubits: list[int], angles: list[float]) -> Circuit:
    """A circuit of one gate."""
    return Circuit(
        num_qubits=num_qubits,
        num_clbits=0,
        num_vars=0,
        code=np.array([record], INSTRUCTION).tobytes(),
        qubits=np.array(qubits, np.int32).tobytes(),
        params=np.array(angles, np.float64).tobytes(),
        qregs=(("q", num_qubits),),
        cregs=(),
    )


def from_qiskit(qc: Any, like: Circuit) -> Circuit:
    """The compact circuit with the registers of another."""
    records: list[tuple[int, ...]] = []
    operands: list[int] = []
    params: list[float] = []

    def put(op: int, qubits: list[int], angles: list[float], nctrl: int = 0, **fields: int) -> None:
        state, c = fields.get("ctrl_state", (1 << nctrl) - 1), fields.get("c", 0)
        records.append((op, nctrl, 0, state, len(operands), len(qubits), len(params), c))
        operands.extend(qubits)
        params.extend(angles)

    place = {bit: k for k, bit in enumerate(qc.qubits)}
    bits = {bit: k for k, bit in enumerate(qc.clbits)}
    fences = {"measure": Op.MEASURE, "reset": Op.RESET, "barrier": Op.BARRIER}
    for item in qc.data:
        gate, name = item.operation, item.operation.name
        qubits = [place[bit] for bit in item.qubits]
        if name in fences:
            put(fences[name], qubits, [], c=bits[item.clbits[0]] if item.clbits else 0)
        elif name != "delay":
            op, nctrl, angles = known(gate)
            if name == "cu":  # a fourth parameter: a phase where the control is 1
                put(Op.P, qubits[:1], [angles.pop()])
            state = getattr(gate, "ctrl_state", None)
            put(op, qubits, angles, nctrl, ctrl_state=(1 << nctrl) - 1 if state is None else state)
    return Circuit(
        num_qubits=qc.num_qubits,
        num_clbits=like.num_clbits,
        num_vars=like.num_vars,
        code=np.array(records, INSTRUCTION).tobytes(),
        qubits=np.array(operands, np.int32).tobytes(),
        params=np.array(params, np.float64).tobytes(),
        qregs=like.qregs if qc.num_qubits == like.num_qubits else (("q", qc.num_qubits),),
        cregs=like.cregs,
        implicit_measurement=like.implicit_measurement,
    )


def known(gate: Any) -> tuple[int, int, list[float]]:
    """Operation, controls and angles of one of Qiskit's gates."""
    base = getattr(gate, "base_gate", None)
    if gate.name in CATALOGUE and gate.name != "mcx":
        return (*CATALOGUE[gate.name], [float(value) for value in gate.params])
    if base is not None and base.name in CATALOGUE:
        return CATALOGUE[base.name][0], gate.num_ctrl_qubits, [float(value) for value in base.params]
    if gate.name == "unitary" and gate.num_qubits == 1:
        return Op.UNITARY, 0, np.asarray(gate.to_matrix(), complex).reshape(-1).view(float).tolist()
    raise TranspileError(f"Qiskit's result has the gate {gate.name}, which is not known here")
