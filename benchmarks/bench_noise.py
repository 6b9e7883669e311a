"""Noisy circuits, compact circuit to counts, one thread, against Qiskit Aer's trajectories; goal: 10 times the rate.

`pytest benchmarks/bench_noise.py --benchmark-enable`. Depolarizing noise of 0.1 % and 1 % and readout errors of 1 %; Aer has
its circuit built beforehand, we write the channels into ours each time. Left out where Aer is not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from qfast.frontend import compile_program
from qfast.noise import Noise, noisy
from qfast.simulator import sample

SHOTS = 300
NOISE = Noise(one_qubit=0.001, two_qubit=0.01, readout=0.01)
CASES = {"5 qubits x 10 layers": (5, 10), "10 qubits x 20 layers": (10, 20)}
HAS_AER = importlib.util.find_spec("qiskit_aer") is not None
FLOORS: dict[str, float] = {f"{name} / aer": 10.0 for name in CASES} if HAS_AER else {}


def program(qubits: int, layers: int) -> str:
    """Layers of random one-qubit gates and alternating cx."""
    draw = random.Random(1)
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{qubits}];", f"creg c[{qubits}];"]
    for layer in range(layers):
        lines += [f"u3({draw.random()},{draw.random()},{draw.random()}) q[{q}];" for q in range(qubits)]
        lines += [f"cx q[{q}],q[{q + 1}];" for q in range(layer % 2, qubits - 1, 2)]
    return "\n".join([*lines, "measure q -> c;"])


def own(name: str) -> Callable[[], object]:
    """Our run."""
    circuit = compile_program(program(*CASES[name]), "qasm2")
    return lambda: sample(noisy(circuit, NOISE), SHOTS, seed=1)


def reference(name: str) -> Callable[[], object]:
    """Aer's run of the same noise."""
    aer: Any = importlib.import_module("qiskit_aer")
    channels: Any = importlib.import_module("qiskit_aer.noise")
    qiskit: Any = importlib.import_module("qiskit")
    model = channels.NoiseModel()
    model.add_all_qubit_quantum_error(channels.depolarizing_error(0.001, 1), ["u3"])
    model.add_all_qubit_quantum_error(channels.depolarizing_error(0.01, 2), ["cx"])
    model.add_all_qubit_readout_error(channels.ReadoutError([[0.99, 0.01], [0.01, 0.99]]))
    simulator = aer.AerSimulator(method="statevector", noise_model=model, max_parallel_threads=1)
    circuit = qiskit.QuantumCircuit.from_qasm_str(program(*CASES[name]))
    return lambda: simulator.run(circuit, shots=SHOTS).result().get_counts()


def least(work: Callable[[], object], repeats: int) -> float:
    """The least seconds of some runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def ratios() -> dict[str, float]:
    """Aer's time over ours, by minima."""
    if not HAS_AER:
        return {}
    return {f"{name} / aer": least(reference(name), 1) / least(own(name), 3) for name in CASES}


@pytest.mark.skipif(not HAS_AER, reason="the reference is not installed")
@pytest.mark.parametrize("name", CASES)
def test_noise(benchmark: Any, name: str) -> None:
    """Goal: 10."""
    took = benchmark.pedantic(least, args=(own(name), 5), rounds=1)
    theirs = least(reference(name), 3)
    print(f"\n{name}: ours {1e3 * took:.1f} ms, Aer {1e3 * theirs:.0f} ms: {theirs / took:.0f}x")


if __name__ == "__main__":
    print(ratios())
