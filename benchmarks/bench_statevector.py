"""The statevector simulator against Aer: circuit to counts, 1,000 shots, every qubit measured, one thread.

Goals (time of Aer over ours): 50 at up to 10 qubits, 5 at 20. Aer runs through its Python face, as a caller would use it; its
circuits are built beforehand, and so are ours. "rounds" measures and resets 8 qubits ten times; goal 10.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qfast import simulator
from qfast.circuit import INSTRUCTION, Circuit, Op

SHOTS = 1000

# A gate list: (name, qubits, params)
Gates = list[tuple[str, tuple[int, ...], tuple[float, ...]]]
COMPACT = {
    "h": (Op.H, 0),
    "u": (Op.U, 0),
    "ry": (Op.RY, 0),
    "rz": (Op.RZ, 0),
    "cx": (Op.X, 1),
    "cp": (Op.P, 1),
    "swap": (Op.SWAP, 0),
}


def ghz(n: int) -> Gates:
    return [("h", (0,), ()), *(("cx", (q, q + 1), ()) for q in range(n - 1))]


def brickwork(n: int, layers: int) -> Gates:
    rng, gates = np.random.default_rng(1), Gates()
    for layer in range(layers):
        gates += [("u", (q,), tuple(rng.uniform(0, 6, 3))) for q in range(n)]
        gates += [("cx", (q, q + 1), ()) for q in range(layer % 2, n - 1, 2)]
    return gates


def qft(n: int) -> Gates:
    gates: Gates = [("ry", (q,), (0.1 + q,)) for q in range(n)]
    for q in reversed(range(n)):
        gates.append(("h", (q,), ()))
        gates += [("cp", (j, q), (np.pi / 2 ** (q - j),)) for j in reversed(range(q))]
    return gates + [("swap", (q, n - 1 - q), ()) for q in range(n // 2)]


def quantum_volume(n: int, layers: int = 10) -> Gates:
    rng, gates = np.random.default_rng(1), Gates()
    for _ in range(layers):
        pairs = rng.permutation(n).tolist()
        for a, b in zip(pairs[::2], pairs[1::2], strict=False):
            gates += [("u", (q,), tuple(rng.uniform(0, 6, 3))) for q in (a, b)]
            gates += [
                ("cx", (b, a), ()),
                ("rz", (a,), (rng.uniform(),)),
                ("ry", (b,), (rng.uniform(),)),
                ("cx", (a, b), ()),
            ]
            gates += [("ry", (b,), (rng.uniform(),)), ("cx", (b, a), ())]
            gates += [("u", (q,), tuple(rng.uniform(0, 6, 3))) for q in (a, b)]
    return gates


def compact(n: int, gates: Gates) -> Circuit:
    code, qubits, params = [], [], []
    for name, operands, values in gates:
        op, nctrl = COMPACT[name]
        code.append((op, nctrl, 0, (1 << nctrl) - 1, len(qubits), len(operands), len(params), 0))
        qubits += operands
        params += values
    for q in range(n):
        code.append((Op.MEASURE, 0, 0, 0, len(qubits), 1, 0, q))
        qubits.append(q)
    arrays = np.array(code, INSTRUCTION), np.array(qubits, np.int32), np.array(params, np.float64)
    return Circuit(n, n, 0, *(array.tobytes() for array in arrays), (("q", n),), (("c", n),))


def aer_runner(n: int, gates: Gates) -> Callable[[], dict[str, int]]:
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    circuit = QuantumCircuit(n, n)
    for name, operands, values in gates:
        getattr(circuit, name)(*values, *operands)
    circuit.measure(range(n), range(n))
    backend: Any = AerSimulator(method="statevector", max_parallel_threads=1)

    def run() -> dict[str, int]:
        result = backend.run(circuit, shots=SHOTS, seed_simulator=1).result()
        assert result.results[0].metadata["num_qubits"] == n  # Aer leaves out what is not measured
        counts: dict[str, int] = result.get_counts()
        return counts

    return run


CASES: dict[str, tuple[int, Gates]] = {
    "bell": (2, ghz(2)),
    "ghz5": (5, ghz(5)),
    "brick10x20": (10, brickwork(10, 20)),
    "qv10": (10, quantum_volume(10)),
    "qft16": (16, qft(16)),
    "qv16": (16, quantum_volume(16)),
    "ghz20": (20, ghz(20)),
    "qft20": (20, qft(20)),
    "qv20": (20, quantum_volume(20)),
    "rounds": (8, [("ry", (q,), (0.3 + q,)) for q in range(8)] + ghz(8)[1:]),
}
GOALS = {
    "bell": 400,
    "ghz5": 200,
    "brick10x20": 50,
    "qv10": 50,
    "qft16": 10,
    "qv16": 5,
    "ghz20": 10,
    "qft20": 5,
    "qv20": 5,
    "rounds": 10,
}
SMALL = ("bell", "brick10x20", "qft16", "rounds")  # quick enough for a guard
FLOORS = {"bell": 100.0, "brick10x20": 15.0, "qft16": 6.0, "rounds": 5.0}


def best(run: Callable[[], object], repeats: int, loops: int = 1) -> float:
    """The least time of one call in seconds, over `repeats` rounds of `loops` calls, or fewer that take 0.7 s."""
    least, end = float("inf"), time.perf_counter() + 0.7
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(loops):
            run()
        least = min(least, (time.perf_counter() - start) / loops)
        if time.perf_counter() > end:
            break
    return least


ROUNDS = 10


def compact_rounds(n: int, gates: Gates) -> Circuit:
    """The gates ROUNDS times, each time followed by a measurement of every qubit into bits of its own and a reset."""
    once = compact(n, gates)
    code, measured = [], once.instructions
    for bit in range(0, ROUNDS * n, n):
        part = measured.copy()
        part["c"][-n:] += bit
        reset = measured[-n:].copy()
        reset["op"] = Op.RESET
        code += [part, reset]
    return Circuit(
        n, ROUNDS * n, 0, np.concatenate(code).tobytes(), once.qubits, once.params, once.qregs, (("c", ROUNDS * n),)
    )


def aer_rounds(n: int, gates: Gates) -> Callable[[], dict[str, int]]:
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    circuit = QuantumCircuit(n, ROUNDS * n)
    for bit in range(0, ROUNDS * n, n):
        for name, operands, values in gates:
            getattr(circuit, name)(*values, *operands)
        circuit.measure(range(n), range(bit, bit + n))
        circuit.reset(range(n))
    backend: Any = AerSimulator(method="statevector", max_parallel_threads=1)

    def run() -> dict[str, int]:
        counts: dict[str, int] = backend.run(circuit, shots=SHOTS, seed_simulator=1).result().get_counts()
        return counts

    return run


def pair(name: str) -> tuple[Circuit, Callable[[], dict[str, int]]]:
    """Our circuit, and a call that runs the same one on Aer."""
    n, gates = CASES[name]
    if name == "rounds":
        return compact_rounds(n, gates), aer_rounds(n, gates)
    return compact(n, gates), aer_runner(n, gates)


def ratio(name: str) -> float:
    n = CASES[name][0]
    circuit, reference = pair(name)
    reference()
    loops = 100 if n <= 10 and name != "rounds" else 1
    ours = best(lambda: simulator.sample(circuit, SHOTS, seed=1), 10 if n < 20 else 3, loops)
    return best(reference, 10 if n < 16 else 3) / ours


def ratios() -> dict[str, float]:
    """How many times as long Aer takes, for the circuits that are quick to measure."""
    return {name: ratio(name) for name in SMALL}


@pytest.mark.parametrize("name", CASES)
def test_sample(benchmark: Any, name: str) -> None:
    circuit, _ = pair(name)
    measured = ratio(name)
    benchmark.extra_info |= {"times Aer": round(measured, 1), "goal": GOALS[name]}
    counts = benchmark(simulator.sample, circuit, SHOTS, seed=1)
    assert sum(counts.values()) == SHOTS
    print(f"{name}: {measured:.1f} times Aer (goal {GOALS[name]})")
