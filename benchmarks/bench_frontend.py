"""The OpenQASM compiler against the parsers of Qiskit and prism_q: goals 40x and 5x faster on a circuit of 290 gates.

`pytest benchmarks/bench_frontend.py --benchmark-enable`. The reference of prism_q is left out where it is not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import qiskit.qasm2

from qfast.frontend import compile_program

FLOORS: dict[str, float] = {"bell / qiskit.qasm2": 15, "brick / qiskit.qasm2": 18}
if importlib.util.find_spec("prism_q") is not None:
    FLOORS["brick / prism_q"] = 2.5
if importlib.util.find_spec("qiskit_qasm3_import") is not None:
    FLOORS["static qasm3 / qiskit.qasm3"] = 300
BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'
STATIC3 = """OPENQASM 3.0;
include "stdgates.inc";
gate zz(t) a, b { cx a, b; rz(t) b; cx a, b; }
qubit[10] q;
bit[10] c;
h q;
""" + "".join(f"zz({0.1 * k}) q[{k % 10}], q[{(k + 3) % 10}];\n" for k in range(100))


def brick(layers: int = 20, qubits: int = 10) -> str:
    """Layers of u3 with 6 decimals on every qubit and of cx on alternating neighbours: 290 gates."""
    rng = random.Random(1)
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{qubits}];", f"creg c[{qubits}];"]
    for layer in range(layers):
        lines += [f"u3({rng.random():.6f},{rng.random():.6f},{rng.random():.6f}) q[{q}];" for q in range(qubits)]
        lines += [f"cx q[{q}],q[{q + 1}];" for q in range(layer % 2, qubits - 1, 2)]
    return "\n".join([*lines, "measure q -> c;"])


def qiskit2(program: str) -> object:
    return qiskit.qasm2.loads(program, custom_instructions=qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS)


def least(work: Callable[[], object], budget: float) -> float:
    """The shortest of the runs that fit into `budget` seconds, at least five."""
    best, end, runs = float("inf"), time.perf_counter() + budget, 0
    while runs < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best


def ratios() -> dict[str, float]:
    """The references' times over ours, by minima."""
    wall = brick()
    bell = (
        least(lambda: [compile_program(BELL) for _ in range(20)], 0.2) / 20
    )  # one is shorter than the clock is precise
    own = least(lambda: compile_program(wall), 0.3)
    found = {
        "bell / qiskit.qasm2": least(lambda: qiskit2(BELL), 0.3) / bell,
        "brick / qiskit.qasm2": least(lambda: qiskit2(wall), 0.5) / own,
    }
    if "brick / prism_q" in FLOORS:
        prism: Any = importlib.import_module("prism_q")
        found["brick / prism_q"] = least(lambda: prism.parse_qasm(wall), 0.3) / own
    if "static qasm3 / qiskit.qasm3" in FLOORS:
        qasm3: Any = importlib.import_module("qiskit.qasm3")
        found["static qasm3 / qiskit.qasm3"] = least(lambda: qasm3.loads(STATIC3), 0.2) / least(
            lambda: compile_program(STATIC3), 0.2
        )
    return found


@pytest.mark.parametrize("name", ["bell", "brick", "static3"])
def test_compile(benchmark: Any, name: str) -> None:
    program = {"bell": BELL, "brick": brick(), "static3": STATIC3}[name]
    circuit = benchmark(compile_program, program)
    benchmark.extra_info["bytes"] = len(program)
    benchmark.extra_info["instructions"] = len(circuit.instructions)


@pytest.mark.parametrize("name", ["bell", "brick"])
def test_qiskit(benchmark: Any, name: str) -> None:
    benchmark(qiskit2, {"bell": BELL, "brick": brick()}[name])


def test_goals() -> None:
    found = ratios()
    print(found)
    assert all(found[name] >= FLOORS[name] for name in found)
