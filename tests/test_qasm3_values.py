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


COIN = "qubit[2] q; bit[4] c; h q[0]; c[0] = measure q[0];\n"  # c[0] is a fair coin
WIDE = "qubit[2] q; bit[70] w; bit[4] c; h q[0]; w[66] = measure q[0];\n"  # w[66] is one


def after_coin(head: str, body: str) -> str:
    """What c is for each side of the coin."""
    found = slow_simulator.distribution(frontend.compile_program(HEAD + head + body))
    assert all(p == pytest.approx(0.5) for p in found.values())
    place = 1 if head == WIDE else 0
    return " ".join(sorted(list(reversed(key.split(" ")))[place] for key in found))


ARRAYS = [
    ("array[int, 4] v = {1, 2, 3, 4}; array[int, 2, 2] u = {{1, 2}, {3, 4}}; v[1:2] = u[0:1, 1]; if (v[1] == 2 && v[2] == 4) c[1] = 1;", "0010 0011"),
    ("array[int, 4] v = {1, 2, 3, 4}; v[3:-1:0] = v; if (v[0] == 4 && v[1] == 3 && v[3] == 1) c[1] = 1;", "0010 0011"),
    ("array[int, 4] v = {1, 2, 3, 4}; v[1:] = {7, 8, 9}; v[:0] = {c[0]}; if (v[0] == 1 && v[3] == 9) c[1] = 1;", "0000 0011"),
    ("def f(mutable array[int, #dim = 1] a) { a[0] = 9; } array[int, 2, 3] v = {{1, 2, 3}, {4, 5, 6}}; f(v[1, 0:2:2]); f(v[:, 1]);"
     "if (v[1][0] == 9 && v[0][1] == 9 && v[1][2] == 6 && v[0][0] == 1) c[1] = 1;", "0010 0011"),
    ("def f(readonly array[int, 2] a) -> int { return a[1]; } array[int, 2, 3] v = {{1, 2, 3}, {4, 5, 6}};"
     "if (f(v[:, 2]) == 6 && sizeof(v[0:0], 0) == 1 && sizeof(v, 1) == 3 && sizeof(v[1]) == 3) c[1] = 1;", "0010 0011"),
    ("array[int, 4] v = {1, 2, 3, 4}; int k = v[3:-1:0][int(c[0])]; if (k == 4) c[1] = 1;", "0001 0010"),
    ("array[int, 2, 4] v; v[1:-1:0, 0:2:3][int(c[0]), 1] = 9; if (v[1, 2] == 9) c[1] = 1; if (v[0, 2] == 9) c[2] = 1;", "0010 0101"),
    ("array[int, 2] v; v[0] = int(c[0]); v[1] = 2; for int i in v { if (i == 1) c[1] = 1; }", "0000 0011"),
    ("for bit b in c[0:1] { if (b) c[3] = 1; }", "0000 1001"),
    ("array[complex, 2] v = {1, 2im}; v[1] = v[0] + v[1]; v[0:0] = {v[1]}; if (v[0] == 1 + 2im && imag(v[1]) == 2) c[1] = 1;", "0010 0011"),
    ("def f(complex a) -> complex { return a * 2im; } if (imag(f(3)) == 6 && real(f(-1im)) == 2) c[1] = 1;", "0010 0011"),
    ("complex v = 3; v -= 4im; v = -v; if (v == -3 + 4im && real(v ** 2) == -7) c[1] = 1;", "0010 0011"),
    ("const complex k = sqrt(complex[float](-4)); if (imag(k) == 2 && floor(real(exp(1im * pi)) + 0.5) == -1) c[1] = 1;", "0010 0011"),
    ('const bit[4] m = "0110"; if (m[int(c[0])]) c[1] = 1; if (m[1:2] == 3) c[2] = 1;', "0100 0111"),
    ("if ((c ++ c)[int(c[0]) + 4]) c[1] = 1; if (c[0:1][0]) c[2] = 1; if (~c[0]) c[3] = 1; if (!int[8](5)[2]) c = 0;", "0101 1000"),
    ("def f(int n, qubit a) -> bit { if (n == 2) x a; return measure a; } f(2) q[1]; def g(qubit a) { x a; y a; } g q[1]; c[1] = measure q[1];", "0010 0011"),
]  # fmt: skip
WIDES = [
    ("bit[70] e = w << 1; c[0] = e[67]; c[1] = e[66]; e = w >> 66; c[2] = e[0]; e = w << 70; c[3] = e[69];", "0000 0101"),
    ("if (w == 0) c[0] = 1; bit[70] e = ~w; if (e != w) c[1] = 1; if (w) c[2] = 1; if (e > w) c[3] = 1;", "1011 1110"),
    ("bit[70] e = 0; e[69] = 1; if ((w | e) >= e) c[0] = 1; if ((w & e) == 0) c[1] = 1; if ((w ^ e)[69]) c[2] = 1; if (w < e) c[3] = 1;", "1111 1111"),
    ("c = bit[4](popcount(w ++ w) + 1);", "0001 0011"),
    ("bit[140] e = w ++ w; c[0] = e[136]; c[1] = e[66]; c[2] = e[65]; bit[72] f = w ++ c[0:1]; c[3] = f[71];", "0000 1011"),
    ("bit[70] e = rotl(w, 4); c[0] = e[0]; e = rotr(e, 4); c[1] = e[66]; e = 5; c[2] = e[2]; c[3] = e[1];", "0100 0111"),
    ("def f(bit[70] a) -> bit[70] { bit[70] r = a; r[0] = 1; return r ^ a; } bit[70] e = f(w); c[0] = e[0]; c[1] = e[66];", "0001 0001"),
    ("{ bit[70] l = w; int k = 66; l[k + int(c[0])] = 0; c[1] = l[66]; l[60 + 2 * int(w[66])] = 1; c[2] = l[62]; c[3] = l[60]; }", "0100 1000"),
    ("let a = w[69:-1:0]; if (a[3]) c[0] = 1; bit[70] e = a; c[1] = e[3];", "0000 0011"),
    ("uint k = 66 + uint(c[0]); if (w[k]) c[1] = 1; let a = w[69:-1:0]; c[0] = a[k - 63]; a[k] = 1; c[2] = w[3];", "0100 0111"),
    ("if (w > 3) c[0] = 1; if (3 >= w) c[1] = 1; bool b = w; c[2] = b; if (!w) c[3] = 1; if (w <= w && !(w < w)) c[0] = 1;", "0101 1011"),
    ("{ bit[70] l; if (w[66]) { l = w; l[1] = 1; } else { l[0] = 1; } c[0] = l[0]; c[1] = l[1]; c[2] = l[66]; }", "0001 0110"),
    ('const bit[70] m = "1' + "01" * 34 + '0"; if (m[69]) c[0] = 1; c[1:2] = m[1:2]; for bit b in m { c[3] = b; } w = m | w;', "1011 1011"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), ARRAYS)
def test_arrays_and_complex_numbers(body: str, expected: str) -> None:
    assert after_coin(COIN, body) == expected


@pytest.mark.parametrize(("body", "expected"), WIDES)
def test_values_of_more_than_64_bits(body: str, expected: str) -> None:
    assert after_coin(WIDE, body) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(65, 200), st.data())
def test_wide_values_are_pythons_integers(width: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, 2**width - 1)), data.draw(st.integers(0, 2**width - 1))
    k = data.draw(st.integers(0, width + 3))
    mask, turn = 2**width - 1, k % width
    cases = [
        ("a & b", a & b), ("a | b", a | b), ("a ^ b", a ^ b), ("~a", ~a & mask), (f"a << {k}", a << k & mask), (f"a >> {k}", a >> k),
        (f"rotl(a, {k})", (a << turn | a >> (width - turn)) & mask), (f"rotr(a, {k})", (a >> turn | a << (width - turn)) & mask),
    ]  # fmt: skip
    tests = [
        ("a == b", a == b),
        ("a != b", a != b),
        ("a < b", a < b),
        ("a > b", a > b),
        ("a <= b", a <= b),
        ("a >= b", a >= b),
    ]
    known = f'bit[{width}] a = "{a:0{width}b}"; bit[{width}] b = "{b:0{width}b}"; qubit q; bit one; one = measure q;'
    # the same with bits that only the run knows
    measured = f"qubit q; bit[{width}] a; bit[{width}] b; bit one; x q; one = measure q; " + "".join(
        f"{name}[{j}] = one; " for name, value in (("a", a), ("b", b)) for j in range(width) if value >> j & 1
    )
    for head in (known, measured):
        body = "".join(f"bit[{width}] r{j} = {text}; " for j, (text, _) in enumerate(cases))
        body += "".join(f"bit t{j} = bit[1]({text}); " for j, (text, _) in enumerate(tests))
        body += f"bit[{2 * width}] joined = a ++ b;"
        (key,) = slow_simulator.distribution(frontend.compile_program(HEAD + head + body))
        parts = [int(part, 2) for part in key.split(" ")][: len(cases) + len(tests) + 1]
        expected = [a | b << width, *(int(v) for _, v in reversed(tests)), *(v for _, v in reversed(cases))]
        assert parts == expected


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
