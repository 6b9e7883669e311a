"""Clifford circuits, OpenQASM 2 text to counts, 1,000 shots, one thread, against prism_q's automatic choice and Aer.

`pytest benchmarks/bench_stabilizer.py --benchmark-enable`. Goals (time of the reference over ours): 1.0 for prism_q from 12
to 500 qubits, 10 for Aer's stabilizer method, whose circuits are built beforehand and which takes seconds at 500 qubits. A
reference that is not installed is left out. "far" couples random pairs, so that states become dense; "repetition" measures
and resets 24 ancillas ten times.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench_statevector import best

from qfast import frontend, simulator

SHOTS = 1000
HEADER = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


def ghz(n: int) -> str:
    gates = [f"cx q[{q}],q[{q + 1}];" for q in range(n - 1)]
    return HEADER + f"qreg q[{n}]; creg c[{n}];\nh q[0];\n" + "\n".join(gates) + "\nmeasure q -> c;\n"


def plus(n: int) -> str:
    return HEADER + f"qreg q[{n}]; creg c[{n}];\nh q;\nmeasure q -> c;\n"


def layers(n: int, far: bool) -> str:
    """20 layers of two random gates a qubit and cx between neighbours, or between random pairs."""
    rng, lines = np.random.default_rng(1), [HEADER + f"qreg q[{n}]; creg c[{n}];"]
    for layer in range(20):
        for q in range(n):
            lines += [f"{gate} q[{q}];" for gate in rng.choice(["h", "s", "x", "sx"], 2)]
        order = rng.permutation(n).tolist() if far else list(range(layer % 2, n))
        lines += [f"cx q[{a}],q[{b}];" for a, b in zip(order[::2], order[1::2], strict=False)]
    return "\n".join([*lines, "measure q -> c;\n"])


def repetition(data: int, rounds: int) -> str:
    ancillas = data - 1
    lines = [HEADER + f"qreg q[{data + ancillas}]; creg syndrome[{rounds * ancillas}]; creg c[{data}];", "h q[0];"]
    lines += [f"cx q[0],q[{q}];" for q in range(1, data)]
    for turn in range(rounds):
        for k in range(ancillas):
            a = data + k
            lines += [f"cx q[{k}],q[{a}]; cx q[{k + 1}],q[{a}];"]
            lines += [f"measure q[{a}] -> syndrome[{turn * ancillas + k}]; reset q[{a}];"]
    return "\n".join(lines + [f"measure q[{q}] -> c[{q}];" for q in range(data)])


CASES = {
    "ghz12": ghz(12),
    "ghz100": ghz(100),
    "ghz500": ghz(500),
    "plus100": plus(100),
    "brick100": layers(100, far=False),
    "far12": layers(12, far=True),
    "far100": layers(100, far=True),
    "far500": layers(500, far=True),
    "repetition": repetition(25, 10),
}
SLOW = ("ghz500", "far500")  # seconds on Aer
GOALS = {"prism_q": 1.0, "aer": 10.0}
FLOORS: dict[str, float] = {}
if importlib.util.find_spec("prism_q") is not None:
    FLOORS |= {"ghz12 / prism_q": 1.5, "ghz500 / prism_q": 1.8, "plus100 / prism_q": 0.8, "far100 / prism_q": 0.8}
if importlib.util.find_spec("qiskit_aer") is not None:
    FLOORS |= {"ghz12 / aer": 300.0, "far12 / aer": 25.0}


def ours(name: str) -> dict[str, int]:
    return simulator.sample(frontend.compile_program(CASES[name], "qasm2"), SHOTS, seed=1)


def prism_runner(name: str) -> Callable[[], object]:
    prism: Any = importlib.import_module("prism_q")
    return lambda: prism.simulate(prism.parse_qasm(CASES[name])).seed(1).sample_counts(SHOTS)


def aer_runner(name: str) -> Callable[[], object]:
    qasm2: Any = importlib.import_module("qiskit.qasm2")
    aer: Any = importlib.import_module("qiskit_aer")
    circuit = qasm2.loads(CASES[name], custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    backend = aer.AerSimulator(method="stabilizer", max_parallel_threads=1)
    return lambda: backend.run(circuit, shots=SHOTS, seed_simulator=1).result().get_counts()


RUNNERS = {"prism_q": prism_runner, "aer": aer_runner}


def ratio(name: str, reference: str, rounds: int = 10) -> float:
    """Time of the reference over ours, by minima; infinity where the reference can't run the circuit."""
    run = RUNNERS[reference](name)
    try:
        run()
    except Exception:
        return float("inf")
    loops = 20 if name in ("ghz12", "plus100") else 2
    own = min(best(lambda: ours(name), rounds, loops) for _ in range(2))
    return best(run, rounds) / own


def ratios() -> dict[str, float]:
    """How many times as long the references take, for the circuits that are quick to measure."""
    pairs = {pair: pair.split(" / ") for pair in FLOORS}
    return {pair: ratio(name, reference, rounds=3) for pair, (name, reference) in pairs.items()}


@pytest.mark.parametrize("name", CASES)
def test_sample(benchmark: Any, name: str) -> None:
    installed = {pair.split(" / ")[1] for pair in FLOORS} - ({"aer"} if name in SLOW else set())
    measured = {reference: ratio(name, reference) for reference in sorted(installed)}
    benchmark.extra_info |= {f"times {key}": round(value, 1) for key, value in measured.items()}
    counts = benchmark(ours, name)
    assert sum(counts.values()) == SHOTS
    print(f"{name}: {', '.join(f'{value:.1f} times {key} (goal {GOALS[key]})' for key, value in measured.items())}")
