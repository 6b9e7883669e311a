"""OpenQASM 3: against Qiskit where it reads the program, else against a program that says the same without the feature."""

from __future__ import annotations

import math
import string

import numpy as np
import pytest
import qiskit_oracle
import slow_simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast import frontend
from qfast.circuit import Op
from qfast.errors import CircuitError, ParseError, ResourceLimitError, TranspileError

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'

AGAINST_QISKIT = [
    "p(0.3) q[0]; phase(0.4) q[1]; cphase(0.5) q[0], q[1]; u1(0.1) q[0]; u2(0.1, 0.2) q[1]; u3(0.1, 0.2, 0.3) q[2];",
    "id q[0]; x q[0]; y q[1]; z q[2]; h q; s q[0]; sdg q[1]; t q[2]; tdg q[0]; sx q[1]; swap q[0], q[1]; CX q[1], q[2];",
    "h q; cy q[0], q[1]; ch q[0], q[1]; cz q[1], q[2]; crx(0.1) q[0], q[1]; cry(0.2) q[1], q[2]; crz(0.3) q[2], "
    "q[0]; cp(0.4) q[0], q[2];",
    "h q; ccx q[0], q[1], q[2]; cswap q[2], q[1], q[0]; cu(0.1, 0.2, 0.3, 0.4) q[0], q[1];",
    "U(0.1, 0.2, 0.3) q[0]; ctrl @ U(0.4, 0.5, 0.6) q[0], q[1]; negctrl @ U(0.7, 0.8, 0.9) q[1], q[2];",
    "gphase(0.3); h q; ctrl @ gphase(0.7) q[0]; ctrl(2) @ gphase(0.9) q[0], q[1]; negctrl @ gphase(1.1) q[2];",
    "h q; ctrl @ ctrl @ x q[0], q[1], q[2]; negctrl @ ctrl @ y q[0], q[1], q[2]; ctrl(2) @ h q[2], q[1], q[0];",
    "inv @ rx(0.4) q[0]; inv @ U(0.1, 0.2, 0.3) q[1]; inv @ s q[2]; inv @ t q[0]; inv @ sx q[1]; inv @ swap "
    "q[0], q[1]; inv @ h q;",
    "h q; pow(2) @ t q[0]; pow(-3) @ s q[1]; pow(0.5) @ x q[2]; pow(0.5) @ y q[0]; pow(1.5) @ h q[1]; pow(0.25) @ z q[2];",
    "pow(2) @ U(0.1, 0.2, 0.3) q[1]; pow(-0.5) @ rx(0.7) q[0]; pow(0.3) @ sx q[2]; pow(1.7) @ U(1.1, 0.2, -0.3) q[0];",
    "h q; pow(0.5) @ swap q[0], q[1]; pow(0.3) @ cx q[1], q[2]; pow(3) @ cz q[0], q[1]; pow(0.5) @ cry(0.8) q[0], q[2];",
    "h q; ctrl @ u2(0.1, 0.2) q[0], q[1]; ctrl @ CX q[0], q[1], q[2]; ctrl @ cu(0.1, 0.2, 0.3, 0.4) q[2], q[1], q[0];",
    "gate g(a, b) x, y { rx(a) x; cx x, y; rz(b + a / 2 - a) y; gphase(a); } g(0.3, 0.4) q[0], q[1]; inv @ "
    "g(0.5, 0.6) q[1], q[2];",
    "gate g(a) x, y { rx(a) x; cx x, y; gphase(a); U(a, 1, 2) y; } h q; ctrl @ g(0.3) q[0], q[1], q[2]; negctrl "
    "@ inv @ g(0.5) q[2], q[1], q[0];",
    "gate a x { h x; t x; } gate b x, y { a x; ctrl @ a x, y; inv @ a y; } b q[0], q[1]; pow(3) @ b q[1], q[2]; "
    "pow(-2) @ a q[0];",
    "gate r(t) a { rx(t) a; rz(t / 2) a; } pow(0.5) @ r(0.7) q[0]; pow(2.5) @ r(0.3) q[1]; ctrl @ pow(0.5) @ "
    "r(0.9) q[0], q[2];",
    "h q[{0, 2}]; cx q[0], q[{1, 2}]; x q[-1]; ry(0.3) q[0:2:2]; rx(0.4) q[1:]; rz(0.5) q[:1]; cz q[0:1], q[1:2];",
    "let a = q[1:2]; let b = q[0:0]; h a; cx b[0], a; let d = q[{2, 0}]; ry(0.4) d;",
    "gate e x { } e q; barrier q; barrier q[0], q[2]; delay[100ns] q[0]; qubit r; qubit[1] w; cx q[0], r; x w; h w[0];",
    "rx(1 / 2) q[0]; rx(1.0 / 2) q[1]; rx(pi / 4 + 2 * 3 - 1) q[2]; ry(-pi) q[0]; rz(τ / 5) q[1]; rz(euler) q[2];",
]
DYNAMIC_AGAINST_QISKIT = [
    "h q[0]; c[0] = measure q[0]; if (c[0]) { x q[1]; } c[1] = measure q[1];",
    "h q[0]; c[0] = measure q[0]; if (c[0] == true) { x q[1]; } else { h q[2]; } c = measure q;",
    "h q; c = measure q; if (c == 3) { x q; } else { if (c == 5) { h q[0]; } } d = measure q;",
    "h q[0]; measure q[0] -> c[1]; reset q[0]; h q[0]; if (!c[1]) { x q[0]; ry(0.3) q[1]; } measure q -> d;",
]


@pytest.mark.parametrize("body", AGAINST_QISKIT)
def test_unitary_is_qiskits(body: str) -> None:
    program = HEAD + "qubit[3] q;\n" + body
    ours = slow_simulator.unitary(frontend.compile_program(program))
    np.testing.assert_allclose(ours, qiskit_oracle.unitary(program), atol=1e-10)


@pytest.mark.parametrize("body", DYNAMIC_AGAINST_QISKIT)
def test_distribution_is_qiskits(body: str) -> None:
    program = HEAD + "qubit[3] q; bit[3] c; bit[3] d;\n" + body
    check_same(slow_simulator.distribution(frontend.compile_program(program)), qiskit_oracle.distribution(program))


def check_same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert ours.keys() == theirs.keys()
    for key, p in theirs.items():
        assert ours[key] == pytest.approx(p, abs=1e-6)


def distribution(body: str) -> dict[str, float]:
    return slow_simulator.distribution(frontend.compile_program(HEAD + body))


SAME_UNITARY = [  # on qubit[4] q
    ("for int i in [0:3] { rx(i) q[i]; }", "rx(0) q[0]; rx(1) q[1]; rx(2) q[2]; rx(3) q[3];"),
    ("for int i in [0:2:3] x q[i]; for uint i in [3:-2:0] { h q[i]; }", "x q[0]; x q[2]; h q[3]; h q[1];"),
    (
        "for int i in {3, 1} { h q[i]; } for float f in {0.5, 1} { rx(f) q[0]; }",
        "h q[3]; h q[1]; rx(0.5) q[0]; rx(1) q[0];",
    ),
    ('for bit b in "0110" { if (b) { h q[0]; } else { t q[0]; } }', "t q[0]; h q[0]; h q[0]; t q[0];"),
    (
        "array[float, 3] a = {0.1, 0.2, 0.3}; for float f in a { rx(f) q[0]; }",
        "rx(0.1) q[0]; rx(0.2) q[0]; rx(0.3) q[0];",
    ),
    ("for int i in [0:9] { if (i == 1) continue; if (i == 3) break; rx(i) q[0]; }", "rx(0) q[0]; rx(2) q[0];"),
    ("int i = 5; while (i > 0) { rx(i) q[0]; i -= 2; if (i == 1) { break; } }", "rx(5) q[0]; rx(3) q[0];"),
    ("const int n = 3; const float a = pi / n; rx(a) q[n - 1];", "rx(pi / 3) q[2];"),
    ("int n = 2; n += 1; n *= 2; n -= 1; n /= 2; n %= 2; n <<= 2; n |= 1; n ^= 4; n &= 7; rx(n) q[0];", "rx(5) q[0];"),
    (
        "rx(2 ** 3 ** 2 - 500) q[0]; rx(-2 ** 2) q[1]; rx(7 / 2) q[2]; rx(-7 / 2) q[3]; rx(-7 % 3) q[0];",
        "rx(12) q[0]; rx(-4) q[1]; rx(3) q[2]; rx(-3) q[3]; rx(-1) q[0];",
    ),
    (
        "rx(2 ** -1) q[0]; rx(7.5 % 2) q[1]; rx(1 + 2 * 3 << 1) q[2]; rx(6 & 3 | 8 ^ 1) q[3];",
        "rx(0.5) q[0]; rx(1.5) q[1]; rx(14) q[2]; rx(11) q[3];",
    ),
    (
        "rx(arccos(0.3)) q[0]; rx(arcsin(0.3) + arctan(2)) q[1]; rx(log(3) * exp(0.2)) q[2]; rx(sqrt(2) + tan(0.3)) q[3];",
        f"rx({math.acos(0.3)}) q[0]; rx({math.asin(0.3) + math.atan(2)}) q[1]; rx({math.log(3) * math.exp(0.2)}) "
        f"q[2]; rx({math.sqrt(2) + math.tan(0.3)}) q[3];",
    ),
    (
        "rx(floor(2.7)) q[0]; rx(ceiling(2.1)) q[1]; rx(mod(7, 4)) q[2]; rx(pow(2, 3)) q[3]; rx(cos(0.1) - sin(0.2)) q[0];",
        f"rx(2) q[0]; rx(3) q[1]; rx(3) q[2]; rx(8) q[3]; rx({math.cos(0.1) - math.sin(0.2)}) q[0];",
    ),
    (
        'bit[4] b = "0011"; rx(popcount(b)) q[0]; rx(int(rotl(b, 1))) q[1]; rx(int(rotr(b, 1))) q[2]; rx(int(~b)) q[3];',
        "rx(2) q[0]; rx(6) q[1]; rx(9) q[2]; rx(12) q[3];",
    ),
    (
        "uint[4] u = 15; u += 1; rx(u) q[0]; int[4] i = 7; i += 1; rx(i) q[1]; uint[8] w = 200; rx(w + 100) q[2]; w "
        "= w + 100; rx(w) q[3];",
        "rx(0) q[0]; rx(-8) q[1]; rx(300) q[2]; rx(44) q[3];",
    ),
    (
        "rx(float(3)) q[0]; rx(int(2.9)) q[1]; rx(int(-2.9)) q[2]; if (bool(2)) x q[3]; rx(uint[3](9)) q[0];",
        "rx(3) q[0]; rx(2) q[1]; rx(-2) q[2]; x q[3]; rx(1) q[0];",
    ),
    (
        "angle[4] a = pi / 8; rx(a) q[0]; a = a * 3; rx(a) q[1]; a <<= 1; rx(a) q[2]; angle b = 7 * pi; rx(b / 2) q[3];",
        "rx(pi / 8) q[0]; rx(3 * pi / 8) q[1]; rx(6 * pi / 8) q[2]; rx(pi / 2) q[3];",
    ),
    (
        "if (true && !false || 1 / 0 == 1) x q[0]; if (false && 1 / 0 == 1) x q[1]; if (2 < 3 && 3 <= 3 && 4 > 3 && "
        "3 >= 3 && 1 != 2) x q[2];",
        "x q[0]; x q[2];",
    ),
    (
        "switch (3) { case 1, 2 { x q[0]; } case 3 { h q[0]; } default { y q[0]; } } switch (9) { case 1 { x q; } "
        "default { y q; } } switch (4) { case 1 { x q; } }",
        "h q[0]; y q;",
    ),
    (
        "array[int[8], 2, 3] a = {{0, 1, 2}, {3, 2, 1}}; a[1][0] = 2; a[0, 1] += 5; rx(a[1, 0] + a[0][1] + sizeof(a) "
        "+ sizeof(a, 1)) q[0]; rx(a[-1][-1]) q[1];",
        "rx(13) q[0]; rx(1) q[1];",
    ),
    (
        "array[int, 2, 2] a = {{1, 2}, {3, 4}}; array[int, 2] b; b = a[1]; a[0] = b; b = {7, 8}; rx(a[0][1] + b[0]) q[0];",
        "rx(11) q[0];",
    ),
    (
        "array[float, 2] a = {1, 2}; array[float, 2] b = a; b[0] = 3; rx(a[0]) q[0]; rx(b[0]) q[1];",
        "rx(1) q[0]; rx(3) q[1];",
    ),
    (
        "def f(qubit a, qubit[2] b, float t) { rx(t) a; h b; cx a, b[1]; } f(q[3], q[0:1], 0.4);",
        "rx(0.4) q[3]; h q[0]; h q[1]; cx q[3], q[1];",
    ),
    (
        "def f(int n) -> int { if (n > 3) { return n * 2; } return n + 1; } rx(f(5)) q[0]; rx(f(f(1))) q[1];",
        "rx(10) q[0]; rx(3) q[1];",
    ),
    (
        "def f(int n) -> float { for int i in [0:n] { if (i == 2) return i * 1.5; } return 0.5; } rx(f(9)) q[0]; "
        "rx(f(1)) q[1];",
        "rx(3) q[0]; rx(0.5) q[1];",
    ),
    (
        "def f(mutable array[int, #dim = 1] a, readonly array[int, 2] b) { a[0] = b[1]; } array[int, 2] a = {1, 2}; "
        "array[int, 2] b = {3, 4}; f(a, b); rx(a[0]) q[0];",
        "rx(4) q[0];",
    ),
    (
        "let a = q[0:1] ++ q[3]; x a[2]; h a; let b = a[1:2]; y b; let d = q[3:-1:0]; rx(1) d[0];",
        "x q[3]; h q[0]; h q[1]; h q[3]; y q[1]; y q[3]; rx(1) q[3];",
    ),
    (
        "{ int q2 = 1; { int q2 = 2; rx(q2) q[0]; } rx(q2) q[1]; } int q2 = 3; rx(q2) q[2];",
        "rx(2) q[0]; rx(1) q[1]; rx(3) q[2];",
    ),
    (
        "gate g(t) a { for int i in [1:3] { rx(t * i) a; } } g(0.1) q[0]; gate k a, b { const float z = 0.5; ctrl @ "
        "rx(z) a, b; pow(2) @ t a; } k q[1], q[2];",
        "rx(0.1) q[0]; rx(0.2) q[0]; rx(0.3) q[0]; crx(0.5) q[1], q[2]; s q[1];",
    ),
    (
        "box [10ns] { h q[0]; nop q[1]; delay[3dt] q; } stretch s; duration d = 2 * 30ns + 1us; delay[d] q[0]; "
        "delay[s] q; box { x q[1]; }",
        "h q[0]; x q[1];",
    ),
    ("pragma whatever { \n#pragma x\n@note it\nx q[0];", "x q[0];"),
    ("x q[0]; end; y q[0];", "x q[0];"),
    (
        "const uint k = 0x1F + 0b101 + 0o17 + 1_000; rx(k) q[0]; rx(.5e-1) q[1]; rx(5.) q[2]; rx(1E2) q[3];",
        "rx(1051) q[0]; rx(0.05) q[1]; rx(5.0) q[2]; rx(100) q[3];",
    ),
    ("float θ = π / ℇ; int _Ä1 = 2; rx(θ * _Ä1) q[0];", f"rx({2 * math.pi / math.e}) q[0];"),
    (
        'bit b = 1; if (b == 1) x q[0]; bit[2] w = "10"; if (w[1] && !w[0]) x q[1]; if (w == 2) x q[2]; if (w == "10") x q[3];',
        "x q;",
    ),
    (
        'int i = 6; if (i[1] && i[2] && !i[0]) x q[0]; i[0] = 1; rx(i) q[1]; uint[4] u = 0; u[2:3] = "11"; rx(u) q[2];',
        "x q[0]; rx(7) q[1]; rx(12) q[2];",
    ),
    ('h q[0:0]; const bit[3] m = "110"; for int i in [0:2] if (m[i]) x q[i];', "h q[0]; x q[1]; x q[2];"),
    (
        "pow(1000000) @ rz(0.001) q[0]; gate g a { h a; t a; } pow(8) @ g q[1];",
        "rz(1000) q[0]; " + "h q[1]; t q[1];" * 8,
    ),
    ("output float r; r = 0.5; rx(r) q[0];", "rx(0.5) q[0];"),
    ("qreg w[2]; creg y_[2]; u3(1, 2, 3) q[0]; CX q[0], w[1];", "qubit[2] w; U(1, 2, 3) q[0]; cx q[0], w[1];"),
]


@pytest.mark.parametrize(("body", "plain"), SAME_UNITARY)
def test_feature_is_what_it_stands_for(body: str, plain: str) -> None:
    ours = frontend.compile_program(HEAD + "qubit[4] q;\n" + body)
    other = frontend.compile_program(HEAD + "qubit[4] q;\n" + plain)
    assert ours.implicit_measurement
    assert all(i["op"] < Op.JUMP for i in ours.instructions)
    np.testing.assert_allclose(slow_simulator.unitary(ours), slow_simulator.unitary(other), atol=1e-9)


COIN = (
    "qubit[3] q; bit[3] c; h q[0]; h q[1]; c[0] = measure q[0]; c[1] = measure q[1]; "  # two fair coins in c[0], c[1]
)


def coin(rule: str, bits: int = 2) -> dict[str, float]:
    """The distribution of c = (x, a, b) for fair a and b, where x = rule(a, b)."""
    out: dict[str, float] = {}
    for a in (0, 1):
        for b in (0, 1):
            key = f"{int(eval(rule, {'a': a, 'b': b}))}{b}{a}"
            out[key] = out.get(key, 0) + 0.25
    return out


ON_MEASURED = [  # statements that set q[2] from c[0] = a and c[1] = b
    ("if (c[0] && c[1]) x q[2];", "a and b"),
    ("if (c[0] || c[1]) x q[2];", "a or b"),
    ("if (c[0] ^ c[1]) x q[2];", "a ^ b"),
    ("if (c[0] == c[1]) x q[2];", "a == b"),
    ("int k = 2 * int[3](c) + 1; if (k > 3 && k % 4 == 1) x q[2];", "b and not a"),
    ("uint[2] k = uint[2](c[0:1]); k += 1; if (k == 0) x q[2];", "a and b"),
    ("int k = 0; if (c[0]) { k = 3; } else { k = 4; } if (c[1]) k -= 3; if (k == 1 || k == 0) x q[2];", "b"),
    ("int k = 1; if (c[0]) { k = 1; } x q[k + 1];", "1"),
    ("int k = 1; if (c[0]) { k += 1; x q[k]; }", "a"),
    ("switch (uint[2](c[0:1])) { case 0 { } case 1, 2 { x q[2]; } default { x q[2]; x q[2]; } }", "a ^ b"),
    ("switch (int(c)) { case 3 { x q[2]; } }", "a and b"),
    ("rx(pi * c[0]) q[2];", "a"),
    ("float f = 0.5; if (c[1]) f = 1; rx(f * 2 * pi) q[2]; rx(-pi) q[2];", "b"),
    ("angle[3] f = 0; if (c[0]) { f = pi; } rx(f) q[2];", "a"),
    (
        "gate g(t) z { rx(t / 2) z; rx(t - t / 2) z; } g(pi * c[0]) q[2]; inv @ g(pi * c[0]) q[2]; g(c[1] * pi) q[2];",
        "b",
    ),
    (
        "gate g(t, s) z { U(t, s, -s) z; } g(pi * int(c[0]), 0.3) q[2]; inv @ g(pi * int(c[0]), 0.3) q[2]; g(pi * "
        "int(c[1]), 1) q[2];",
        "b",
    ),
    ("array[int, 2] v_ = {5, 7}; int v = v_[int(c[0])]; if (v == 7) x q[2];", "a"),
    ("array[int, 2, 2] v_ = {{5, 7}, {8, 9}}; v_[c[0], c[1]] = 4; if (v_[1][0] == 4) x q[2];", "a and not b"),
    ("array[int, 2] v_ = {5, 7}; v_[int(c[0])] += 3; if (v_[1] == 10 && v_[0] == 5) x q[2];", "a"),
    ("bit[3] d; d[int(c[0]) + 1] = 1; if (d[2]) x q[2]; d = 0;", "a"),
    ("bit r = c[int(c[0])]; if (r) x q[2];", "(a, b)[a]"),
    ("def f(bit v) -> bit { if (v) { return 0; } return 1; } if (f(c[0])) x q[2];", "not a"),
    (
        "def f(bit v, bit w) -> int { int s = 0; if (v) { s = 1; if (w) return 5; s = 2; } return s; } if (f(c[0], "
        "c[1]) == 2) x q[2];",
        "a and not b",
    ),
    (
        "def f(bit[2] v) -> bit[2] { bit[2] r; r[0] = v[1]; r[1] = v[0]; return r; } bit[2] w = f(c[0:1]); if (w == 1) x q[2];",
        "b and not a",
    ),
    (
        "def par(qubit[2] d, qubit t) -> bit { cx d[0], t; cx d[1], t; return measure t; } bit w = par(q[0:1], q[2]);",
        "a ^ b",
    ),
    ("def g(qubit w) { bit[2] m; m[0] = measure w; if (m[0] == 0) x w; } g(q[2]);", "1"),
    ("for int i in [0:5] { if (c[0]) { break; } if (i == 3) { x q[2]; } }", "not a"),
    ("int n = 0; for int i in [0:5] { if (c[0]) continue; n += 1; } if (n == 6) x q[2];", "not a"),
    ("int n = 0; for int i in [0:5] { if (c[0]) continue; n += 1; if (n == 2) break; } if (n == 2) x q[2];", "not a"),
    ("int n = 0; for int i in [int(c[0]):3] { n += i; if (i == 2) continue; n += 1; } if (n == 8) x q[2];", "a"),
    ("int n = 0; for int i in [5:-2:int(c[0]) * 4] { n += i; if (n > 10) break; } if (n == 9) x q[2];", "not a"),
    ("int n = 9; for uint[2] i in [1:int(c[0])] { n = int(i); } if (n == 1) x q[2];", "a"),
    ("int n = 0; while (n < 3 + int(c[0])) { n += 1; } if (n == 4) x q[2];", "a"),
    ("int n = 0; while (true) { n += 1; if (c[0] && n > 2) break; if (n > 5) break; } if (n == 3) x q[2];", "a"),
    (
        "int n = 0; while (n < 4) { n += 1; if (c[1]) { continue; } n += 1; } if (n == 4) { n = 0; } if (n == 0 && "
        "c[1]) x q[2];",
        "b",
    ),
    ("bool v = c[0]; bool w = !v && true; if (w) x q[2];", "not a"),
    ("int k = -int(c[0]) - 2; if (k == -3 && ~k == 2) x q[2];", "a"),
    ("if (popcount(c) == 2) x q[2];", "a and b"),
    ("bit[3] e = rotl(c, 1); if (e[1] == 1 && e[2] == 0) x q[2]; ", "a and not b"),
    ("float f = 1.0 * int(c[0]); if (sqrt(f) + floor(f) >= 1.5) x q[2];", "a"),
    ("uint[8] u = 255 * uint(c[0]); if (u >> 4 == 15 && (u & 16) == 16) x q[2];", "a"),
    ("let w = c[{1, 0}]; if (w == 1) x q[2];", "b and not a"),
    ('bit[4] w = c[1:1] ++ "10" ++ c[0:0]; if (w == "1101" || w == 4) x q[2];', "a == b"),
    ("if (c[0]) { if (c[1]) { x q[2]; } else { y q[2]; x q[2]; } } else if (c[1]) x q[2];", "b"),
    ("if (c[0]) { c[2] = measure q[2]; end; } x q[2];", "not a"),
    ("reset q[0]; if (c[0]) x q[0]; if (measure q[0]) x q[2];", "a"),
    ("bit u = measure q[0]; bit[2] w = measure q[0:1]; if (u == w[0] && w[1] == c[1]) x q[2];", "1"),
    ("int[2] v = int[2](c[0:1]); if (v == -2) x q[2];", "b and not a"),
    ("if (int[2](c[0:1]) == 2) x q[2];", "b and not a"),
    ("{ bit[2] l; l[1] = c[0]; l[0] = 1; if (l == 3) x q[2]; bit[2] m = l; }", "a"),
    ("measure q[0]; x q[2];", "1"),
    ("ctrl @ rx(pi * c[1]) q[0], q[2]; gphase(c[0] * 0.3);", "a and b"),
    ("h q[2]; h q[2]; pow(2) @ rx(pi * c[0] / 2) q[2];", "a"),
    ("int k = 3; k <<= int(c[0]); if (k == 6) x q[2];", "a"),
    ("if ((c[0] == 1) + (c[1] == 1) == 2 && (1 < 2) + (1 < 2) == 2) x q[2];", "a and b"),
    (
        "const array[int, 3] v_ = {1, 0, 1}; int w = 0; for int i in [0:2] { w += v_[i] * int(c[0]); } if (w == 2) x q[2];",
        "a",
    ),
]


@pytest.mark.parametrize(("body", "rule"), ON_MEASURED)
def test_control_flow_on_measured_values(body: str, rule: str) -> None:
    out = slow_simulator.distribution(frontend.compile_program(HEAD + COIN + body + " c[2] = measure q[2];"))
    if len(next(iter(out)).split(" ")) > 1:  # the body declares further registers
        merged: dict[str, float] = {}
        for key, p in out.items():
            first = key.split(" ")[-1]
            merged[first] = merged.get(first, 0.0) + p
        out = merged
    check_same(out, coin(rule))


def test_repeat_until_success() -> None:
    body = """qubit q; bit c = 1; int n = 0; while (c) { reset q; h q; c = measure q; n += 1; }
    bit[2] m = 0; if (n == 1) m = 1; else if (n == 2) m = 2;"""
    check_same(distribution(body), {"01 0": 0.5, "10 0": 0.25, "00 0": 0.25})


def test_loop_on_measured_value_is_not_unrolled() -> None:
    c = frontend.compile_program(
        HEAD + "qubit q; bit c; h q; c = measure q; while (c) { reset q; h q; c = measure q; }"
    )
    assert sum(int(i["op"]) == Op.MEASURE for i in c.instructions) == 2
    assert Op.JUMP in {int(i["op"]) for i in c.instructions}


def test_nested_loops_with_jumps() -> None:
    body = """qubit q; bit c; bit[4] r; int total = 0;
    for int i in [0:2] {
        int j = 0;
        while (j < 3) { h q; c = measure q; reset q; j += 1; if (c) { continue; } total += 1; if (total > 2) break; }
    if (total > 2) break; } r = bit[4](total); c = 0;"""
    out = distribution(body)
    assert sum(out.values()) == pytest.approx(1, abs=1e-6)
    counts = {int(k.split(" ")[0], 2): p for k, p in out.items()}
    expected = {n: math.comb(9, n) / 2**9 for n in (0, 1, 2)}
    expected[3] = 1 - sum(expected.values())
    for n, p in expected.items():
        assert counts[n] == pytest.approx(p, abs=1e-6)


def test_known_values_leave_no_classical_code() -> None:
    c = frontend.compile_program(
        HEAD
        + "qubit[2] q; bit[2] c; int n = 0; for int i in [0:9] { if (i == 5) break; n += 1; } rx(n) q[0]; c = measure q;"
    )
    assert [int(i["op"]) for i in c.instructions] == [Op.RX, Op.MEASURE, Op.MEASURE]
    assert c.parameters[c.instructions[0]["p"]] == 5.0


def test_registers() -> None:
    c = frontend.compile_program(
        HEAD + "qubit a; qubit[2] b; bit x_; bit[2] y_; { bit hidden; } y_ = measure b; x_ = 1;"
    )
    assert (c.qregs, c.cregs, c.num_qubits, c.num_clbits) == ((("a", 1), ("b", 2)), (("x_", 1), ("y_", 2)), 3, 3)
    assert slow_simulator.distribution(c) == {"00 1": 1.0}
    c = frontend.compile_program(HEAD + "x $2; cx $2, $0;")
    assert (c.qregs, c.num_qubits, c.implicit_measurement) == ((("$", 3),), 3, True)
    assert slow_simulator.distribution(c) == {"101": 1.0}


def test_local_measurement_without_any_register() -> None:
    c = frontend.compile_program(
        HEAD + "def f(qubit q) -> bit { return measure q; } qubit[2] q; x q[0]; if (f(q[0])) x q[1];"
    )
    assert c.implicit_measurement
    assert slow_simulator.distribution(c) == {"11": 1.0}


def test_program_without_version_line() -> None:
    for body in (
        "qubit q; U(0, 0, 0) q;",
        'include "stdgates.inc"; qreg q[1]; ctrl @ x q[0];'.replace("ctrl @ x", "x"),
        "bit c; qubit q; c = measure q;",
        "x $0;",
    ):
        try:
            frontend.compile_program(body)
        except ParseError as error:
            assert "x $0" in body, error.text


WRONG = [  # body after the head of two lines, line, column, words
    ("qubit q;\nif (true) { x q;", 4, 11, "'}'"),
    ("qubit q;\nfoo q;", 4, 1, "foo"),
    ("qubit[2] q;\nh q[2];", 4, 5, "range"),
    ("qubit[2] q;\nh q[-3];", 4, 5, "range"),
    ("qubit q;\nint i = q;", 4, 9, "qubit"),
    ("qubit q;\nh q[0];", 4, 4, "no index"),
    ('include "/etc/passwd";', 3, 9, "include"),
    ("qubit q;\nh r;", 4, 3, "'r'"),
    ("qubit[2] q; bit[2] c;\nh q[0]\ncx q[0], q[1];", 4, 7, "';'"),
    ("qubit q; bit[2] c;\nc = measure q;", 4, 5, "1 qubit"),
    ('qubit q; bit[2] c;\nc = "011";', 4, 5, "bit[3]"),
    ("qubit q; const int n = 3;\nn = 4;", 4, 1, "constant"),
    ("qubit q; bit c; c = measure q;\nconst int n = c;", 4, 15, "known"),
    ("qubit q;\nint n = 1 / 0;", 4, 11, "zero"),
    ("qubit q;\nrx(log(0)) q;", 4, 4, "finite"),
    ("qubit q;\nrx(1e400) q;", 4, 4, "large"),
    ("qubit q;\nint x_ = 99999999999999999999;", 4, 10, "64 bits"),
    ("const int n = 2 ** 64;\nqubit[n] q;", 3, 17, "64 bits"),
    ("qubit[-1] q;", 3, 7, "-1"),
    ("gate g a { g a; }", 3, 12, "'g'"),
    ("gate g a { h a[0]; }", 3, 15, "indexed"),
    ("gate g a { measure a; }", 3, 12, "measure"),
    ("gate g a { reset a; }", 3, 12, "reset"),
    ("gate x a { }", 3, 6, "already"),
    ("qubit q; def f(qubit a) { f(a); }\nf(q);", 3, 27, "itself"),
    ("qubit q; def f(int a) -> int { }\nrx(f(1)) q;", 3, 14, "result"),
    ("qubit q; def f(qubit a) { h q; }\nf(q);", 3, 29, "'q'"),
    ("def f(qubit q) { x q }\nqubit q;", 3, 22, "';'"),
    ("qubit q; if (false) { x q; y q }", 3, 32, "';'"),
    ("qubit q;\nbreak;", 4, 1, "outside"),
    ("qubit q;\nreturn;", 4, 1, "outside"),
    ("qubit q;\ncx q;", 4, 1, "2 qubits"),
    ("qubit[2] q;\ncx q[0], q[0];", 4, 1, "duplicate"),
    ("qubit[2] q; qubit[3] r;\ncx q, r;", 4, 1, "broadcast"),
    ("qubit q;\nctrl x q;", 4, 6, "'@'"),
    ("qubit[2] q;\nctrl @ cx q[0], q[1];", 4, 8, "with 1 control takes 3 qubits"),
    ("qubit q;\nctrl(0) @ x q;", 4, 6, "0 controls"),
    ("qubit q; int a;\nint a;", 4, 5, "already"),
    ("qubit q; array[int, 2] a;\na[2] = 1;", 4, 3, "range"),
    ("qubit q; array[int, 2] a = {1};", 3, 30, "1 element"),
    ("qubit q; for int i in [0:0:3] x q;", 3, 24, "step"),
    ("qubit q; switch (1) { case 1 x q; }", 3, 30, "'{'"),
    ("qubit q; if true x q;", 3, 13, "'('"),
    ("qubit q; float f = true + ;", 3, 27, "expression"),
    ("qubit θ;\nx φ;", 4, 3, "φ"),
    ("{ qubit q; }", 3, 3, "outside"),
    ("qubit q; 5 + 3;", 3, 10, "statement"),
    ("qubit q;\x01", 3, 9, "code 1"),
    ('qubit q; "abc', 3, 10, "closed"),
    ("rzz(0.3) q[0], q[1];", 3, 1, "stdgates"),
    ("OPENQASM 3.0;", 3, 1, "first"),
]


@pytest.mark.parametrize(("body", "line", "column", "word"), WRONG)
def test_wrong_program_is_told_where(body: str, line: int, column: int, word: str) -> None:
    with pytest.raises(ParseError) as caught:
        frontend.compile_program(HEAD + body)
    assert caught.value.text.startswith(f"in line {line}, column {column}, ")
    assert word in caught.value.text
    assert caught.value.data is not None
    assert "^" in caught.value.data["snippet"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("input float a; qubit q; rx(a) q;", "input parameters"),
        ("qubit q; bit c; c = measure q; for int i in [0:int(c):5] x q;", "step"),
        ("qubit q; int[65] i;", "65"),
    ],
)
def test_unsupported_is_told_apart(body: str, word: str) -> None:
    with pytest.raises(frontend.Unsupported, match=word):
        frontend.compile_program(HEAD + body)


def test_inputs() -> None:
    body = "input float[64] theta; input angle phi; input int[8] n; input bool b; input bit[2] w; qubit q; "
    body += "rx(theta + n) q; rz(phi) q; if (b) x q; if (w == 2) y q;"
    ours = frontend.compile_program(HEAD + body, "qasm3", {"theta": 0.3, "phi": -1, "n": -2, "b": True, "w": 2})
    other = frontend.compile_program(HEAD + "qubit q; rx(0.3 - 2) q; rz(2 * pi - 1) q; x q; y q;")
    np.testing.assert_allclose(slow_simulator.unitary(ours), slow_simulator.unitary(other), atol=1e-9)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "no value is given"),
        ({"a": 1, "b": 2}, "no input parameter 'b'"),
        ({"a": 0.5}, "no int"),
        ({"a": math.nan}, "finite"),
        ({"a": 10**400}, "finite"),
        ({"\ud800": 1}, "Unicode"),
    ],
)
def test_wrong_inputs(values: dict[str, float], word: str) -> None:
    with pytest.raises(ParseError, match=word):
        frontend.compile_program(HEAD + "input int a; qubit q; rx(a) q;", "qasm", values)


@pytest.mark.parametrize(
    "body", ["cal { }", 'defcalgrammar "openpulse";', "defcal x $0 { }", "extern f(int) -> int;", "bit c;", ""]
)
def test_what_nothing_can_run(body: str) -> None:
    with pytest.raises(TranspileError) as caught:
        frontend.compile_program(HEAD + body)
    assert not isinstance(caught.value, frontend.Unsupported)


def loops(depth: int) -> str:
    return "".join(f"for int i{k} in [0:999] {{ " for k in range(depth)) + "x q;" + "}" * depth


HOSTILE = {
    "long loop": "qubit q; for int i in [0:1000000000000] { x q; }",
    "nested loops": "qubit q;" + loops(6),
    "endless loop": "qubit q; while (true) { }",
    "calls": "qubit q; def f0(qubit a) { x a; }"
    + "".join(f"def f{k}(qubit a) {{ f{k - 1}(a); f{k - 1}(a); }}" for k in range(1, 40))
    + "f39(q);",
    "parentheses": "qubit q; rz(" + "(" * 100000 + "1" + ")" * 100000 + ") q;",
    "signs": "qubit q; rz(" + "-" * 100000 + "1) q;",
    "powers": "qubit q; rz(" + "2**" * 100000 + "1) q;",
    "blocks": "qubit q;" + "{" * 100000 + "}" * 100000,
    "else": "qubit q;" + "if (false) x q; else " * 100000 + "x q;",
    "controls": "qubit[65] q; ctrl(64) @ x q;",
    "power": "qubit[2] q; gate g a, b { h a; cx a, b; } pow(1e18) @ g q[0], q[1];",
    "array": "qubit q; array[int[8], 4000, 4000, 4000] a;",
    "bits": "qubit q; bit[16777217] c;",
    "aliases": "qubit[16000000] q;" + "".join(f"let a{k} = q[0:2:15999999];" for k in range(50)),
    "spilled arrays": "qubit q; array[int[8], 1000000] a; bit c; c = measure q; " + "if (c) a[3] = 1; " * 100,
    "deep expression": "qubit q; bit c; c = measure q; int i = " + "int(c) + (" * 150 + "1" + ")" * 150 + ";",
}


def test_nesting_below_the_limit() -> None:  # a loop opens two scopes
    for opening in ("if (c) {", "while (c) {", "for int i in [0:0] {", "{", "if (true) {"):
        frontend.compile_program(HEAD + "qubit q; bit c; c = measure q;" + opening * 95 + "x q;" + "}" * 95)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_is_refused(name: str) -> None:
    with pytest.raises(ResourceLimitError) as caught:
        frontend.compile_program(HEAD + HOSTILE[name])
    assert len(caught.value.text) < 300


@st.composite
def integer_expressions(draw: st.DrawFn, depth: int = 4) -> str:
    """Python and OpenQASM agree on these: no overflow, no negative division."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.one_of(st.integers(0, 9).map(str), st.sampled_from(["a", "b", "k"])))
    left, right = draw(integer_expressions(depth=depth - 1)), draw(integer_expressions(depth=depth - 1))
    return f"({left} {draw(st.sampled_from(['+', '-', '*', '&', '|', '^', '<', '<=', '>', '>=', '==', '!=']))} {right})"


@settings(max_examples=80, deadline=None)
@given(integer_expressions())
def test_expression_on_measured_values_is_pythons(text: str) -> None:
    rule = f"({text}) % 7 == 3"
    body = f"int a = int(c[0]); int b = int(c[1]) * 5; int k = 4; int r = {text}; "
    body += "if (r - 7 * (r / 7) == 3 || r - 7 * (r / 7) == -4) x q[2];"
    out = slow_simulator.distribution(frontend.compile_program(HEAD + COIN + body + " c[2] = measure q[2];"))
    expected: dict[str, float] = {}
    for a in (0, 1):
        for b in (0, 1):
            value = int(eval(rule, {"a": a, "b": 5 * b, "k": 4}))
            expected[f"{value}{b}{a}"] = 0.25
    check_same(out, expected)


VALID = [HEAD + "qubit[4] q;" + a for a, _ in SAME_UNITARY] + [HEAD + COIN + a for a, _ in ON_MEASURED]


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_mutated_program_never_crashes(data: st.DataObject) -> None:
    text = list(data.draw(st.sampled_from(VALID)))
    pieces = [
        *string.punctuation,
        "0",
        "9" * 25,
        "1e999",
        "q",
        "c",
        "pi",
        "gate ",
        "if (c) ",
        "while (c[0]) ",
        "\0",
        "é",
        "\n",
        "{",
        "}",
        "++",
        "measure q",
        "break;",
        "continue;",
        "return;",
        "end;",
        "let ",
        "def ",
        "[0:1]",
        "[int(c[0])]",
        "for int i in [0:3] ",
        "ctrl @ ",
        "pow(0.5) @ ",
        "array[int, 2] ",
    ]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 6))] = data.draw(
            st.one_of(st.just([]), st.sampled_from(pieces).map(list))
        )
    try:
        circuit = frontend.compile_program("".join(text), data.draw(st.sampled_from(["qasm", "qasm3"])))
    except CircuitError as error:
        assert error.code in {-102, -103, -120}
        assert "not supported: " not in error.text or "instruction" not in error.text
    else:
        assert circuit.num_qubits > 0
