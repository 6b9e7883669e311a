"""OpenQASM 3: operands chosen by measured values, and powers of gates on several qubits."""

from __future__ import annotations

import numpy as np
import pytest
import slow_simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast import frontend, simulator
from qfast.errors import DriverRunError, ResourceLimitError

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
INDEX = (  # two fair coins in m, whose value 0 to 3 is i; q in |0000>
    "qubit[4] q; bit[4] c; bit[2] m; h q[0]; h q[1]; m = measure q[0:1]; reset q; uint i = uint[2](m);\n"
)


def outcomes(body: str) -> list[str]:
    """What c is for i = 0, 1, 2 and 3."""
    found = slow_simulator.distribution(frontend.compile_program(HEAD + INDEX + body))
    assert all(p == pytest.approx(0.25) for p in found.values())
    pairs = sorted(key.split(" ")[-2:] for key in found)
    assert [m for m, _ in pairs] == ["00", "01", "10", "11"]
    return [c for _, c in pairs]


CHOSEN = [
    ("x q[i]; c = measure q;", "0001 0010 0100 1000"),
    ("x q[2]; cx q[2], q[(i + 1) % 2]; c = measure q;", "0110 0101 0110 0101"),
    ("x q; reset q[i]; c = measure q;", "1110 1101 1011 0111"),
    ("x q[i]; c[0] = measure q[i];", "0001 0001 0001 0001"),
    ("x q[1]; c[0] = measure q[i];", "0000 0001 0000 0000"),
    ("x q[1]; measure q[i] -> c[i];", "0000 0010 0000 0000"),
    ("x q[2]; let a = q[i]; x a; c = measure q;", "0101 0110 0000 1100"),
    ("def f(qubit a) -> bit { x a; return measure a; } x q[3]; c[2] = f(q[i]);", "0100 0100 0100 0000"),
    ("x q[i]; swap q[i], q[(i + 1) % 4]; c = measure q;", "0010 0100 1000 0001"),
    ("x q[-1 - int(m[0])]; c = measure q;", "1000 0100 1000 0100"),
    ("x q[3]; if (i < 3) { ctrl @ x q[3], q[i]; } c = measure q;", "1001 1010 1100 1000"),
    ("U(pi, 0, pi) q[i]; u2(0, pi) q[0]; u2(0, pi) q[0]; c = measure q;", "0001 0010 0100 1000"),
    ("gate g(t) a, b { rx(t) a; rx(2 * t) b; } if (i < 3) g(pi) q[i], q[3]; c = measure q;", "0001 0010 0100 0000"),
    ("x q[0]; for uint j in [0:i] { swap q[j], q[(j + 1) % 4]; } c = measure q;", "0010 0100 1000 0001"),
    ("def f(qubit[4] r, uint k) { x r[k]; } f(q, i); c = measure q;", "0001 0010 0100 1000"),
    ("barrier q[i]; delay[1ns] q[i]; nop q[i]; let a = q[{3, 2, 1, 0}]; x a[i]; c = measure q;", "1000 0100 0010 0001"),
    ("let w = c[{3, 2, 1, 0}]; w[i] = 1;", "1000 0100 0010 0001"),
    ("let w = c[{3, 2, 1, 0}]; w[1] = 1; if (w[i]) c[0] = 1;", "0100 0101 0100 0100"),
    ("{ bit[4] l; l[i] = 1; l[0] = 1; c = l; }", "0001 0011 0101 1001"),
    ("int k = 8; k[i] = 1; c = bit[4](k);", "1001 1010 1100 1000"),
    ('{ bit[4] l = "0101"; if (l[i]) c[3] = 1; }', "1000 0000 1000 0000"),
    ("int k = 5; if (k[i]) c[3] = 1;", "1000 0000 1000 0000"),
    ('bit[4] e = "0011"; e[i] ^= 1; c = e;', "0010 0001 0111 1011"),
    ("{ bit[4] l; let z = l[{3, 1, 0, 2}]; z[i] = 1; c = l; }", "1000 0010 0001 0100"),
    ("array[int, 4] v = {1, 2, 3, 4}; if (v[-1 - int(m[0])] == 4) c[0] = 1;", "0001 0000 0001 0000"),
    ("c[-1 - int(m[0])] = 1;", "1000 0100 1000 0100"),
]


@pytest.mark.parametrize(("body", "expected"), CHOSEN)
def test_index_that_is_measured(body: str, expected: str) -> None:
    assert outcomes(body) == expected.split(" ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("x q[i + 1];", "index out of range"),
        ("x q[i - 5];", "index out of range"),
        ("c[i + 1] = 1;", "index out of range"),
        ("cx q[i], q[3];", "same qubit"),
        ("cx q[i], q[3 - i + 1];", "index out of range"),
        ("array[int, 2, 4] v; v[i, 0] = 1;", "index out of range"),  # each index by itself, not only their sum
    ],
)
def test_wrong_index_that_is_measured_ends_the_run(body: str, words: str) -> None:
    circuit = frontend.compile_program(HEAD + INDEX + body)
    with pytest.raises(DriverRunError, match=words):
        simulator.sample(circuit, 100, seed=1)


def test_too_many_choices_are_refused() -> None:
    with pytest.raises(ResourceLimitError, match="choices"):
        frontend.compile_program(
            HEAD + "qubit[300] q; bit[9] m; m = measure q[0:8]; uint i = uint[9](m); ccx q[i], q[i + 1], q[i + 2];"
        )


def unitary(body: str) -> np.ndarray[tuple[int, int], np.dtype[np.complex128]]:
    return np.asarray(slow_simulator.unitary(frontend.compile_program(HEAD + body)))


def principal(
    u: np.ndarray[tuple[int, int], np.dtype[np.complex128]], p: float
) -> np.ndarray[tuple[int, int], np.dtype[np.complex128]]:
    """u^p with arguments of the eigenvalues in (-pi, pi]; eigenvectors of a generic function of u."""
    hermitian = (u + u.conj().T) / 2 + 0.7310585 * (u - u.conj().T) / 2j
    _, v = np.linalg.eigh(hermitian)
    values = np.angle(np.diag(v.conj().T @ u @ v))
    values[values < 1e-9 - np.pi] += 2 * np.pi
    return np.asarray(v @ np.diag(np.exp(1j * p * values)) @ v.conj().T)


GATES = [
    "cx a, b;",
    "swap a, b;",
    "h a; cx a, b; t b; rx(0.3) a;",
    "h a; cx a, b; swap a, b; cp(0.7) a, b;",
    "ctrl @ gphase(pi) a; z b; gphase(0.3);",
    "rccx a, b, d; h d;",
    "cu(1, 2, 3, 4) a, d; ccx a, b, d; barrier a, b; inv @ sx b;",
]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(GATES), st.sampled_from([0.5, -0.5, 1 / 3, 2.5, -1.7]) | st.floats(-3, 3, allow_subnormal=False))
def test_power_of_a_gate_on_several_qubits(gate: str, p: float) -> None:
    head = HEAD.replace("stdgates", "qelib1") + f"qubit[3] q; gate g a, b, d {{ {gate} }} "
    whole = slow_simulator.unitary(frontend.compile_program(head + "g q[0], q[1], q[2];"))
    power = slow_simulator.unitary(frontend.compile_program(head + f"pow({p:.17f}) @ g q[0], q[1], q[2];"))
    exponent = float(f"{p:.17f}")
    np.testing.assert_allclose(power, principal(np.asarray(whole), exponent), atol=1e-9)


@pytest.mark.parametrize("qubits", [4, 5, 6])
def test_root_squared_is_the_gate(qubits: int) -> None:
    names = [f"a{k}" for k in range(qubits)]
    body = "".join(f"U({k}.1, 0.{k}, 1.{k}) a{k}; " for k in range(qubits))
    body += "".join(f"cx a{k}, a{(k + 1) % qubits}; " for k in range(qubits)) + "ccx a0, a1, a2;"
    head = f"qubit[{qubits}] q; gate g {', '.join(names)} {{ {body} }} "
    operands = ", ".join(f"q[{k}]" for k in range(qubits))
    root = unitary(head + f"pow(0.5) @ g {operands};")
    np.testing.assert_allclose(root @ root, unitary(head + f"g {operands};"), atol=1e-9)


def test_controlled_root() -> None:
    head = "qubit[4] q; gate g a, b, c { h a; cx a, b; ccx a, b, c; } "
    twice = "pow(0.5) @ ctrl @ g q; ctrl @ pow(0.5) @ g q;".replace("g q;", "g q[3], q[0], q[1], q[2];")
    np.testing.assert_allclose(unitary(head + twice), unitary(head + "ctrl @ g q[3], q[0], q[1], q[2];"), atol=1e-9)


def test_root_on_seven_qubits_is_beyond_this_front_end() -> None:
    gate = "gate g a, b, c, d, e, f, h2 { x a; cx a, h2; } "
    with pytest.raises(frontend.Unsupported, match="more than 6 qubits"):
        frontend.compile_program(HEAD + gate + "qubit[7] q; pow(0.5) @ g q[0], q[1], q[2], q[3], q[4], q[5], q[6];")
