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

import pytest
from bench_statevector import best
from circuit_programs import clifford_layers, ghz, program, repetition

from qfast import frontend, simulator

SHOTS = 1000
CASES = {
    "ghz12": program(12, ghz(12)),
    "ghz100": program(100, ghz(100)),
    "ghz500": program(500, ghz(500)),
    "plus100": program(100, [("h", (q,), ()) for q in range(100)]),
    "brick100": program(100, clifford_layers(100, far=False)),
    "far12": program(12, clifford_layers(12, far=True)),
    "far100": program(100, clifford_layers(100, far=True)),
    "far500": program(500, clifford_layers(500, far=True)),
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
