"""Public simulators behind one face: prepare(text, shots) gives a call that runs the program and returns its counts.

Each in its best form. prism_q, Aer and Qulacs begin with the text on every call; Aer gets small programs in batches. Lightning
and qsim, which read no OpenQASM fast, get the program translated beforehand and through the lowest layer that their Python
packages offer, so their times hold no parsing at all. Keys have classical bit 0 rightmost and no spaces. All run one thread.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

for variable in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

Counts = dict[str, int]
Run = Callable[[], Counts]
STATEMENT = re.compile(r"(?!qreg)(?<!\w)(\w+)(?:\(([^)]*)\))? ((?:q\[\d+\],?)+);")
BATCH = 50  # circuits of one Aer call


def parse(text: str) -> tuple[int, list[tuple[str, list[float], list[int]]]]:
    """The number of qubits and the gates of what circuit_programs.program writes."""
    n = int(re.findall(r"qreg q\[(\d+)\]", text)[0])
    gates = []
    for name, params, qubits in STATEMENT.findall(text):
        gates.append((name, [float(p) for p in params.split(",") if p], [int(q) for q in re.findall(r"\d+", qubits)]))
    return n, gates


def prism(text: str, shots: int) -> Run:
    module: Any = importlib.import_module("prism_q")

    def run() -> Counts:
        counts: Counts = module.simulate(module.parse_qasm(text)).seed(1).sample_counts(shots).counts()
        return counts

    return run


def aer(text: str, shots: int, batch: int = 1) -> Run:
    """With a batch the call runs the program so many times, and gives the counts of the last."""
    qasm2: Any = importlib.import_module("qiskit.qasm2")
    module: Any = importlib.import_module("qiskit_aer")
    backend = module.AerSimulator(max_parallel_threads=1)

    def run() -> Counts:
        circuits = [qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS) for _ in range(batch)]
        result = backend.run(circuits, shots=shots, seed_simulator=1).result()
        assert result.success, result.status
        if len(circuits[0].clbits) == circuits[0].num_qubits:  # Aer leaves out qubits that are not measured
            assert result.results[0].metadata["num_qubits"] == circuits[0].num_qubits
        for circuit in range(batch):
            counts: Counts = result.get_counts(circuit)
        return {key.replace(" ", ""): count for key, count in counts.items()}

    return run


def qulacs(text: str, shots: int) -> Run:
    module: Any = importlib.import_module("qulacs")
    gate: Any = importlib.import_module("qulacs.gate")

    def run() -> Counts:
        n, gates = parse(text)
        state = module.QuantumState(n)
        for name, params, qubits in gates:
            {"h": gate.H, "cx": gate.CNOT}[name](*qubits, *params).update_quantum_state(state)
        return {f"{key:0{n}b}": count for key, count in Counter(state.sampling(shots, 1)).items()}

    return run


def lightning(text: str, shots: int) -> Run:
    ops: Any = importlib.import_module("pennylane_lightning.lightning_qubit_ops")
    n, gates = parse(text)

    def run() -> Counts:
        state = ops.StateVectorC128(n)
        state.setBasisState([0] * n, list(range(n)))
        for name, _, qubits in gates:
            {"h": state.Hadamard, "cx": state.CNOT}[name](qubits, False, [])
        samples = np.asarray(ops.MeasurementsC128(state).generate_samples(list(range(n)), shots)).reshape(shots, n)
        keys, counts = np.unique(samples[:, ::-1], axis=0, return_counts=True)
        return {"".join(map(str, key)): int(count) for key, count in zip(keys.tolist(), counts, strict=True)}

    return run


def qsim(text: str, shots: int, fused: int = 2) -> Run:
    """Single precision, gates fused to at most `fused` qubits."""
    cirq: Any = importlib.import_module("cirq")
    module: Any = importlib.import_module("qsimcirq")
    n, gates = parse(text)
    qubits, circuit = cirq.LineQubit.range(n), cirq.Circuit()
    for name, params, operands in gates:
        circuit.append(_cirq_gate(cirq, name, params)(*(qubits[q] for q in operands)))
    simulator = module.QSimSimulator({"t": 1, "f": fused})
    options = dict(simulator.qsim_options)
    options["c"], _ = module.QSimCircuit(circuit).translate_cirq_to_qsim(cirq.QubitOrder.explicit(qubits))
    options["s"] = 1
    kernel: Any = simulator._sim_module

    def run() -> Counts:
        samples = Counter(kernel.qsim_sample_final(options, shots))
        return {f"{key:0{n}b}"[::-1]: count for key, count in samples.items()}

    return run


def _cirq_gate(cirq: Any, name: str, params: list[float]) -> Any:
    if name == "u3":
        theta, phi, lam = params
        c, s = np.cos(theta / 2), np.sin(theta / 2)
        return cirq.MatrixGate(
            np.array([[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]])
        )
    if name == "cp":
        return cirq.CZPowGate(exponent=params[0] / np.pi)
    fixed = {"h": cirq.H, "x": cirq.X, "s": cirq.S, "cx": cirq.CNOT, "swap": cirq.SWAP}
    return fixed[name] if name in fixed else {"ry": cirq.ry, "rz": cirq.rz}[name](*params)


PEERS = {
    "prism-q": ("prism_q", prism),
    "Aer": ("qiskit_aer", aer),
    "Qulacs": ("qulacs", qulacs),
    "Lightning": ("pennylane_lightning", lightning),
    "qsim": ("qsimcirq", qsim),
}


def installed(peer: str) -> bool:
    return importlib.util.find_spec(PEERS[peer][0]) is not None


def prepare(peer: str, text: str, shots: int, **options: int) -> Run:
    """A call of the peer; counts with classical bit 0 rightmost."""
    run = PEERS[peer][1](text, shots, **options)
    if peer != "prism-q":
        return run
    return lambda: {key[::-1]: count for key, count in run().items()}
