"""Random programs of all features, in OpenQASM 2 and 3, on our simulators and on Aer: one distribution."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
import qiskit_oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast import frontend, simulator

pytest.importorskip("qiskit_aer")
SHOTS = 1000

# name -> (parameters, qubits), all of both standard files
BOTH = {
    **dict.fromkeys(("x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "id"), (0, 1)),
    **dict.fromkeys(("rx", "ry", "rz", "p", "u1"), (1, 1)),
    **dict.fromkeys(("cx", "cy", "cz", "ch", "swap"), (0, 2)),
    **dict.fromkeys(("crx", "cry", "crz", "cp"), (1, 2)),
    "u2": (2, 1),
    "u3": (3, 1),
    "ccx": (0, 3),
    "cswap": (0, 3),
}
OF_TWO = {
    **BOTH,
    **dict.fromkeys(("cu1", "rxx", "rzz"), (1, 2)),
    "sxdg": (0, 1),
    "csx": (0, 2),
    "cu3": (3, 2),
    "cu": (4, 2),
    "rccx": (0, 3),
    "c3x": (0, 4),
    "own": (1, 2),
}
OF_THREE = {**BOTH, "cu": (4, 2), "own": (1, 2)}
CLIFFORD = {
    **dict.fromkeys(("x", "y", "z", "h", "s", "sdg", "sx"), (0, 1)),
    **dict.fromkeys(("cx", "cy", "cz", "swap"), (0, 2)),
}


def gate(rng: np.random.Generator, gates: dict[str, tuple[int, int]], n: int, three: bool) -> str:
    name, (params, qubits) = list(gates.items())[rng.integers(len(gates))]
    modifier = ""
    if three and rng.random() < 0.3 and qubits < 3:
        modifier = str(rng.choice(["ctrl @ ", "negctrl @ ", "inv @ "] if gates is not CLIFFORD else ["inv @ "]))
        qubits += "ctrl" in modifier
    if qubits > n:
        return f"h q[{rng.integers(n)}];"
    values = ",".join(f"{x:.6f}" for x in rng.uniform(-6, 6, params))
    operands = ",".join(f"q[{q}]" for q in rng.choice(n, qubits, replace=False))
    return f"{modifier}{name}{f'({values})' if params else ''} {operands};"


def program(seed: int, clifford: bool, three: bool) -> str:
    """Gates, measurements, resets, barriers and conditions in any order, then a measurement of all qubits."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    gates = CLIFFORD if clifford else OF_THREE if three else OF_TWO
    text = ["OPENQASM 3.0;", 'include "stdgates.inc";'] if three else ["OPENQASM 2.0;", 'include "qelib1.inc";']
    text.append("gate own(t) a, b { h a; cx a, b; rz(t/2) b; cx a, b; }")
    text += [f"qubit[{n}] q; bit[2] a; bit[{n}] b;"] if three else [f"qreg q[{n}]; creg a[2]; creg b[{n}];"]
    for _ in range(int(rng.integers(1, 25))):
        choice, q = rng.integers(10), rng.integers(n)
        if choice == 0:
            c = f"a[{rng.integers(2)}]" if rng.integers(2) else f"b[{rng.integers(n)}]"
            text.append(f"{c} = measure q[{q}];" if three else f"measure q[{q}] -> {c};")
        elif choice == 1:
            text.append(f"reset q[{q}];")
        elif choice == 2:
            text.append(f"barrier q[{q}];")
        elif choice == 3 and three:
            condition = f"a == {rng.integers(4)}" if rng.integers(2) else f"b[{q}]"
            inner = f"if (a[{rng.integers(2)}]) {{ {gate(rng, gates, n, three)} }}" if rng.integers(2) else ""
            other = f" else {{ {gate(rng, gates, n, three)} b[{q}] = measure q[{q}]; }}" if rng.integers(2) else ""
            text.append(f"if ({condition}) {{ {gate(rng, gates, n, three)} {inner} }}{other}")
        elif choice == 3:
            text.append(f"if(a=={rng.integers(4)}) {gate(rng, gates, n, three)}")
        else:
            text.append(gate(rng, gates, n, three))
    return "\n".join([*text, "b = measure q;" if three else "measure q -> b;"])


def aer_counts(text: str) -> dict[str, int]:
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    backend = AerSimulator(max_parallel_threads=1)
    circuit = transpile(qiskit_oracle.load(text), backend, optimization_level=0)
    counts: dict[str, int] = backend.run(circuit, shots=SHOTS, seed_simulator=7).result().get_counts()
    return counts


def assert_alike(ours: dict[str, int], theirs: dict[str, int]) -> None:
    """Two samples of equal size by chi-square, the rare outcomes taken together; a false alarm in 10^6."""
    assert sum(ours.values()) == sum(theirs.values())
    cells, rare = [], [0, 0]
    for key in ours.keys() | theirs.keys():
        pair = (ours.get(key, 0), theirs.get(key, 0))
        if sum(pair) < 20:
            rare = [rare[0] + pair[0], rare[1] + pair[1]]
        else:
            cells.append(pair)
    cells += [(rare[0], rare[1])] if sum(rare) else []
    chi2 = sum((x - y) ** 2 / (x + y) for x, y in cells)
    freedom, x = max(len(cells) - 1, 1), log(1e6)
    assert chi2 <= freedom + 2 * sqrt(freedom * x) + 2 * x, (ours, theirs)


@pytest.mark.parametrize("clifford", [False, True])
@pytest.mark.parametrize("three", [False, True])
@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=15)
def test_counts_agree_with_aer(clifford: bool, three: bool, seed: int) -> None:
    text = program(seed, clifford, three)
    circuit = frontend.compile_program(text)
    theirs = aer_counts(text)
    assert_alike(simulator.sample(circuit, SHOTS, seed=seed, method="statevector"), theirs)
    assert_alike(simulator.sample(circuit, SHOTS, seed=seed, method="statevector", precision="single"), theirs)
    if clifford:
        assert_alike(simulator.sample(circuit, SHOTS, seed=seed, method="stabilizer"), theirs)
