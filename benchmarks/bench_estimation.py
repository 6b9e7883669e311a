"""Expectation values against Aer: circuit and observable to exact values, double precision, one thread.

Goals (time of Aer over ours) are in GOALS. Aer computes the same values by ``save_expectation_value``, its circuits built
beforehand, and so are ours; for "local20" its EstimatorV2 at precision 0 is measured as well, as a caller would use it. The
circuit is a brickwork of two layers; "dense" observables are 100 random strings over I, X, Y, Z, "local" ones 100 strings on
two qubits each, "diagonal" ones 100 strings over I and Z.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench_statevector import best
from circuit_programs import brickwork, program

from qfast.estimation import estimate
from qfast.frontend import compile_program

TERMS = 100


def dense(n: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    return {"".join(rng.choice(list("IXYZ"), n)): float(rng.normal()) for _ in range(TERMS)}


def diagonal(n: int) -> dict[str, float]:
    rng = np.random.default_rng(2)
    return {"".join(rng.choice(list("IZ"), n)): float(rng.normal()) for _ in range(TERMS)}


def local(n: int) -> dict[str, float]:
    rng = np.random.default_rng(3)
    terms: dict[str, float] = {}
    while len(terms) < TERMS:
        letters = ["I"] * n
        for q in rng.choice(n, 2, replace=False):
            letters[q] = str(rng.choice(list("XYZ")))
        terms["".join(letters)] = float(rng.normal())
    return terms


CASES: dict[str, tuple[int, Callable[[int], dict[str, float]]]] = {
    "local6": (6, local),
    "local12": (12, local),
    "local20": (20, local),
    "dense20": (20, dense),
    "diagonal20": (20, diagonal),
}
GOALS = {"local6": 10, "local12": 20, "local20": 15, "dense20": 10, "diagonal20": 50}
GOAL_ESTIMATOR = 15
SMALL = ("local6", "local12", "local20")  # quick enough for a guard
FLOORS = {"local6": 5.0, "local12": 10.0, "local20": 8.0}


def aer_circuit(n: int) -> Any:
    from qiskit import qasm2

    circuit = qasm2.loads(program(n, brickwork(n, 2)), custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    circuit.remove_final_measurements()
    return circuit


def operator(terms: dict[str, float]) -> Any:
    from qiskit.quantum_info import SparsePauliOp

    return SparsePauliOp.from_list(list(terms.items()))


def aer_runner(name: str) -> Callable[[], float]:
    from qiskit_aer import AerSimulator

    n, make = CASES[name]
    circuit = aer_circuit(n)
    circuit.save_expectation_value(operator(make(n)), range(n))
    backend: Any = AerSimulator(method="statevector", max_parallel_threads=1)

    def run() -> float:
        result = backend.run(circuit, shots=1).result()
        assert result.results[0].metadata["num_qubits"] == n  # Aer leaves out what is not asked for
        return float(result.data(0)["expectation_value"])

    return run


def aer_estimator(name: str) -> Callable[[], float]:
    from qiskit_aer.primitives import EstimatorV2

    n, make = CASES[name]
    options = {"backend_options": {"method": "statevector", "max_parallel_threads": 1}}
    pub = aer_circuit(n), operator(make(n))
    estimator: Any = EstimatorV2(options=options)
    return lambda: float(estimator.run([pub], precision=0.0).result()[0].data.evs)


def our_runner(name: str) -> Callable[[], float]:
    n, make = CASES[name]
    circuit, terms = compile_program(program(n, brickwork(n, 2))), make(n)
    return lambda: estimate(circuit, [terms], shots=1024, seed=1)[0][0]


def ratio(name: str, reference: Callable[[], float]) -> float:
    ours = our_runner(name)
    assert abs(reference() - ours()) < 1e-9
    n = CASES[name][0]
    least = best(ours, 5, 20 if n < 20 else 1)
    return best(reference, 5 if n < 20 else 2) / least


def ratios() -> dict[str, float]:
    """How many times as long Aer takes, for what is quick to measure."""
    return {name: ratio(name, aer_runner(name)) for name in SMALL}


@pytest.mark.parametrize("name", CASES)
def test_estimate(benchmark: Any, name: str) -> None:
    measured = ratio(name, aer_runner(name))
    benchmark.extra_info |= {"times Aer": round(measured, 1), "goal": GOALS[name]}
    benchmark(our_runner(name))
    print(f"{name}: {measured:.1f} times Aer (goal {GOALS[name]})")


def test_estimator_primitive(benchmark: Any) -> None:
    measured = ratio("local20", aer_estimator("local20"))
    benchmark.extra_info |= {"times Aer's EstimatorV2": round(measured, 1), "goal": GOAL_ESTIMATOR}
    start = time.perf_counter()
    benchmark.pedantic(our_runner("local20"), rounds=3)
    print(
        f"local20: {measured:.1f} times Aer's EstimatorV2 (goal {GOAL_ESTIMATOR}), {time.perf_counter() - start:.2f} s"
    )
