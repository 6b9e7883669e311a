"""The statevector simulator against Aer: text to counts, 1,000 shots, every qubit measured, one thread.

`pytest benchmarks/bench_statevector.py --benchmark-enable -s`. Goals are the time of Aer over ours. "rounds" measures and
resets 8 qubits ten times. All peers side by side: `python benchmarks/circuit_table.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import circuit_peers as peers
import circuit_programs as programs
import pytest

from qfast import frontend, simulator

SHOTS = 1000
CASES: dict[str, str] = {
    "bell": programs.program(2, programs.ghz(2)),
    "ghz5": programs.program(5, programs.ghz(5)),
    "brick10x20": programs.program(10, programs.brickwork(10, 20)),
    "qv10": programs.program(10, programs.quantum_volume(10)),
    "qft16": programs.program(16, programs.qft(16)),
    "qv16": programs.program(16, programs.quantum_volume(16)),
    "ghz20": programs.program(20, programs.ghz(20)),
    "qft20": programs.program(20, programs.qft(20)),
    "qv20": programs.program(20, programs.quantum_volume(20)),
    "rounds": programs.rounds(8, 10),
}
GOALS = {
    "bell": 300,
    "ghz5": 300,
    "brick10x20": 50,
    "qv10": 50,
    "qft16": 10,
    "qv16": 5,
    "ghz20": 10,
    "qft20": 5,
    "qv20": 5,
    "rounds": 10,
}
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


def ours(text: str) -> peers.Counts:
    """On the statevector, whatever the gates are."""
    return simulator.sample(frontend.compile_program(text, "qasm2"), SHOTS, seed=1, method="statevector")


def ratio(name: str) -> float:
    text = CASES[name]
    small = len(text) < 30_000 and name not in ("rounds", "qft16", "qft20", "ghz20")
    batch = peers.BATCH if small else 1
    reference = peers.prepare("Aer", text, SHOTS, batch=batch)
    reference()
    own = best(lambda: ours(text), 10 if small else 3, 100 if small else 1)
    return best(reference, 10 if small else 3) / batch / own


def ratios() -> dict[str, float]:
    """How many times as long Aer takes, for the circuits that are quick to measure."""
    return {name: ratio(name) for name in FLOORS}


@pytest.mark.parametrize("name", CASES)
def test_sample(benchmark: Any, name: str) -> None:
    measured = ratio(name)
    benchmark.extra_info |= {"times Aer": round(measured, 1), "goal": GOALS[name]}
    counts = benchmark(ours, CASES[name])
    assert sum(counts.values()) == SHOTS
    print(f"{name}: {measured:.1f} times Aer (goal {GOALS[name]})")
