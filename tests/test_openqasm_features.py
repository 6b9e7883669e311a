"""The feature matrix: each row of docs/openqasm.md is run, and must give the outcomes that it states."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import slow_simulator

from qfast import frontend
from qfast.errors import ParseError, ResourceLimitError, TranspileError

DOC = Path(__file__).parent.parent / "docs" / "openqasm.md"
HEAD3 = 'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c;\n'
HEAD2 = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3];\n'
END = {3: " c = measure q;", 2: " measure q -> c;"}
ERRORS = {"-102": ParseError, "-103": TranspileError, "-120": ResourceLimitError}


class Row(NamedTuple):
    """A feature, a two-line example, and all its outcomes in c (or the code of its error)."""

    feature: str
    first: str
    second: str
    gives: str
    version: int = 3


ROWS = [
    # OpenQASM 2
    Row("2: qelib1.inc with the gates people write for", "x q[0]; sx q[1]; sx q[1];", "swap q[0], q[2];", "110", 2),
    Row("2: gate definitions, expressions", "gate g(t) a, b { rx(t / 2) a; rx(t - t / 2) a; cx a, b; }", "g(2 * pi / 2) q[0], q[1];", "011", 2),
    Row("2: broadcasting over registers", "x q[0];", "cx q[0], q[1]; barrier q; id q;", "011", 2),
    Row("2: if on a register", "x q[1]; measure q[1] -> c[1];", "if (c == 2) x q[2];", "110", 2),
    Row("2: reset, measurement at any place", "h q[0]; measure q[0] -> c[0];", "reset q[0]; x q[1];", "010", 2),
    Row("2: opaque gates", "opaque o(t) a;", "o(1) q[0];", "-103", 2),
    # registers, gates
    Row("qubit, bit, qreg, creg", "qreg a[2]; qubit b;", "x a[1]; swap a[1], b; swap b, q[0];", "001"),
    Row("physical qubits", 'OPENQASM 3; include "stdgates.inc"; bit[3] c;', "x $0; cx $0, $2; c[0] = measure $0; c[2] = measure $2;", "101"),
    Row("indices from the end, ranges, sets", "x q[-1]; cx q[2:2], q[0:0];", "x q[{1, 0}]; h q[0:2:2]; h q[0:2:2];", "110"),
    Row("aliases, joined parts", "let a = q[0:1] ++ q[2];", "x a[2]; let b = a[1:]; x b;", "010"),
    Row("broadcasting", "x q;", "cx q[0], q[1:2]; ctrl @ z q[0], q[{1, 2}];", "001"),
    Row("U, gphase", "U(pi, 0, pi) q[0]; gphase(pi / 3);", "ctrl @ gphase(pi) q[0]; h q[1]; h q[1];", "001"),
    Row("gate definitions", "gate bell a, b { h a; cx a, b; }", "bell q[0], q[1]; bell q[0], q[2];", "000 010 101 111"),
    Row("loops and constants in gates", "gate g(t) a { for int k in [1:3] { rx(t * k) a; } }", "g(pi / 6) q[0];", "001"),
    Row("ctrl @, negctrl @", "ctrl @ x q[0], q[1]; negctrl @ x q[0], q[1];", "ctrl(2) @ x q[0], q[1], q[2];", "010"),
    Row("inv @", "gate g a { h a; t a; } g q[0];", "inv @ g q[0]; x q[1]; inv @ s q[1];", "010"),
    Row("pow @ of a gate on one qubit", "pow(0.5) @ x q[0]; pow(1 / 2.0) @ x q[0];", "pow(3) @ x q[1]; pow(-2) @ t q[2];", "011"),
    Row("pow @ of a gate on up to six qubits", "gate g a, b { x a; cx a, b; }", "pow(0.5) @ g q[0], q[1]; pow(0.5) @ g q[0], q[1];", "011"),
    Row("barrier, delay, nop, box", "box [100ns] { x q[0]; delay[20ns] q[1]; nop q; }", "barrier q; delay[5dt] q[0];", "001"),
    Row("durations, stretch, durationof", "duration d = 2 * 30ns + durationof({x $0;}); stretch s;", "delay[d - 1us] q[0]; box [s] { x q[0]; }", "001"),
    Row("reset, measure in any form", "x q[0]; measure q[0] -> c[1]; reset q[0];", "bit r = measure q[1]; measure q[2]; c[0] = measure q[0];", "010"),
    # types
    Row("int[n], uint[n]: wrapping at their width", "uint[4] u = 15; u += 1; int[4] i = 7; i += 1;", "if (u == 0 && i == -8) x q[0];", "001"),
    Row("float, bool", "float f = 0.5; bool b = f > 0.25 && !false;", "if (b) rx(2 * f * pi) q[1];", "010"),
    Row("angle[n]: modulo 2 pi", "angle[4] a = pi / 8; a *= 24; angle b = 3 * pi;", "rx(a) q[0]; rx(b) q[1];", "011"),
    Row("bit strings", 'bit[3] b = "1_10";', 'if (b == "110" && b[2] == 1 && b == 6) x q[1];', "010"),
    Row("bits of integers, and of values", "int i = 5; i[1] = 1;", "if (i == 7 && i[2] && (i ^ 2)[0:1] == 1) x q[0];", "001"),
    Row("complex numbers, known before the run", "complex[float[64]] v = (1 + 2im) * 2im;", "rx(real(v) / -4 * pi) q[0]; rx(imag(sqrt(complex(-1))) * pi) q[1];", "011"),
    Row("const", "const int n = 2 ** 3 - 6; const float half = pi / 2;", "rx(half) q[n]; rx(half) q[n];", "100"),
    Row("casts", "int[8] i = int[8](300); bit[3] b = bit[3](5);", "if (i == 44 && uint[3](b) == 5 && int(-2.7) == -2) x q[0]; if (bool(0.5)) x q[1];", "011"),
    Row("arrays", "array[int[8], 2, 3] a = {{1, 2, 3}, {4, 5, 6}}; a[1, 0] = a[0][2];", "if (a[1][0] + a[-1, -1] == 9 && sizeof(a, 1) == 3) x q[0];", "001"),
    Row("slices of arrays", "array[int, 4] a = {1, 2, 3, 4}; a[0:1] = a[2:3]; a[3:-1:2] = {8, 9};", "if (a[0] == 3 && a[3] == 8 && a[2] == 9) x q[2];", "100"),
    Row("input", "input float theta;", "rx(theta) q[0];", "001"),
    Row("output", "output int n;", "n = 3; rx(pi * n / 3.0) q[1];", "010"),
    # operators
    Row("arithmetic, ** and %", "int i = 2 ** 3 ** 2 - 7 / 2 * 2 + -7 % 4;", "if (i == 512 - 6 - 3) x q[0]; if (7.5 % 2 == 1.5 && 2 ** -1 == 0.5) x q[1];", "011"),
    Row("bitwise operators, shifts", "uint[8] u = (5 & 6 | 8 ^ 1) << 2;", "if (u == 52 && ~u == 203 && u >> 2 == 13) x q[0];", "001"),
    Row("comparison, logic", "int i = 3;", "if (i >= 3 && (i < 3 || i != 4) && !(i > 3) && i <= 3 && i == 3) x q[1];", "010"),
    Row("assignment operators", "int i = 5; i += 3; i -= 1; i *= 2; i /= 3; i %= 3;", "uint u = 1; u <<= 3; u |= 1; u ^= 8; u &= 3; if (i == 1 && u == 1) x q[0];", "001"),
    Row("++ of bits", 'bit[2] a = "10"; bit[1] b = "1";', "c = a ++ b; if (c == 6) x q[0]; c = 0;", "001"),
    Row("built-in functions", "float f = sin(pi / 2) + arccos(1) + exp(0) + log(euler) + sqrt(4) + floor(0.5) + ceiling(0.5);", "if (f == 6 && mod(7, 4) == 3 && pow(2, 3) == 8 && popcount(5) == 2) x q[0];", "001"),
    Row("rotl, rotr", 'bit[4] b = "0011";', 'if (rotl(b, 1) == "0110" && rotr(b, 1) == "1001") x q[0];', "001"),
    Row("pi, tau, euler, and as letters", "float θ = π / 2 + τ / 4 + (ℇ - euler);", "rx(θ) q[0]; if (tau == 2 * pi) x q[1];", "011"),
    # control flow
    Row("if, else if, else", "int n = 2;", "if (n == 1) x q[0]; else if (n == 2) { x q[1]; } else { x q[2]; }", "010"),
    Row("for over a range, a set, an array, bits", "for int i in [2:-1:1] x q[i]; for uint i in {0, 1} { x q[i]; }", 'array[int, 1] a = {1}; for int i in a x q[i]; for bit b in "01" if (b) x q[0];', "110"),
    Row("while, break, continue", "int i = 0;", "while (true) { i += 1; if (i == 2) continue; if (i > 3) break; x q[i - 1]; }", "101"),
    Row("switch", "int n = 2;", "switch (n) { case 0, 1 { x q[0]; } case 2 { x q[1]; } default { x q[2]; } }", "010"),
    Row("end", "x q[0]; c[0] = measure q[0];", "if (c[0]) { end; } x q[1]; c = measure q;", "001"),
    Row("def with qubits, values and a result", "def f(qubit a, int n) -> bit { rx(n * pi) a; return measure a; }", "if (f(q[0], 3)) { x q[1]; }", "011"),
    Row("readonly and mutable arrays of any shape", "def f(mutable array[int, #dim = 1] a, readonly array[int, 2] b) { a[1] = b[0]; }", "array[int, 2, 2] v = {{1, 2}, {3, 4}}; f(v[:, 1], v[1]); if (v[1, 1] == 3) x q[0];", "001"),
    # values that only the run knows
    Row("conditions on measured values", "h q[0]; c[0] = measure q[0]; reset q[0];", "if (c[0]) x q[1]; else x q[2]; c = measure q;", "010 100"),
    Row("arithmetic on measured values", "x q[1]; c = measure q; int n = int[8](uint[3](c)) * 3 - 1; reset q;", "if (n == 5 && popcount(c) == 1) x q[2];", "100"),
    Row("angles from measured values", "h q[0]; c[0] = measure q[0];", "float f = pi * c[0]; rx(f) q[1]; rx(f / 2 + f / 2) q[2];", "000 111"),
    Row("repeat until success", "bit r = 1; int n = 0;", "while (r) { reset q[0]; h q[0]; r = measure q[0]; n += 1; } if (n > 0) x q[1];", "010"),
    Row("for over a measured range", "x q[1]; c = measure q; int n = 0; uint k = uint[3](c);", "for uint i in [0:k] { n += int(i); } if (n == 3) x q[0];", "011"),
    Row("switch on a measured value", "h q[0]; c[0] = measure q[0];", "switch (int(c[0])) { case 0 { x q[1]; } default { x q[2]; } }", "010 101"),
    Row("qubits at measured indices", "h q[0]; c[0] = measure q[0]; reset q[0];", "uint i = 1 + uint(c[0]); x q[i]; cx q[i], q[0]; c = measure q;", "011 101"),
    Row("bits at measured indices", "x q[1]; c = measure q; uint k = uint[3](c); bit[4] b;", "b[k] = 1; let a = b[3:-1:0]; a[k + 1] = 1; c = 0; if (b == 5) x q[0];", "011"),
    Row("array elements at measured indices", "x q[1]; c = measure q; uint k = uint[3](c); array[int, 2, 3] a;", "a[1, k] = 7; a[0][k - 2] += 1; if (a[-1, -1] + a[0, 0] == 8) x q[0];", "011"),
    Row("registers beyond 64 bits as values", "bit[100] w; x q[0]; w[99] = measure q[0]; bit[100] v = (w >> 1) ^ w;", "if (v[98] && popcount(v) == 2 && v > w >> 1) x q[1]; if ((w ++ v)[198]) x q[2];", "111"),
    # around it
    Row("include from memory", 'OPENQASM 3; include "stdgates.inc"; include "qelib1.inc"; qubit[3] q;', "bit[3] c; cu1(pi) q[0], q[1]; x q[2];", "100"),
    Row("pragma, annotations, comments", "pragma anything { at all\n@note it\nx q[0];", "/* none */ x q[1]; // none", "011"),
    Row("without a version line", "qubit[3] q; bit[3] c;", "U(pi, 0, pi) q[0];", "001"),
    Row("any file but the two", 'include "other.inc";', "x q[0];", "-102"),
    Row("extern", "extern f(int) -> int;", "int n = f(1);", "-103"),
    Row("cal, defcal", "defcal x $0 { }", "x q[0];", "-103"),
    Row("int[n] beyond 64 bits", "int[65] i = 1;", "x q[0];", "-103"),
    Row("complex numbers that depend on a measurement", "complex v = 1; c = measure q;", "v = v * c[0];", "-103"),
]  # fmt: skip


def program(row: Row) -> str:
    text = f"{row.first}\n{row.second}"
    own_head = "OPENQASM" in text or row.feature == "without a version line"
    head = "" if own_head else HEAD2 if row.version == 2 else HEAD3
    measured = "c = measure q" in row.second or "c[0] = measure" in row.second
    return head + text + ("" if measured else "\n" + END[row.version])


@pytest.mark.parametrize("row", ROWS, ids=[row.feature for row in ROWS])
def test_feature(row: Row) -> None:
    inputs = {"theta": 3.141592653589793} if "input" in row.first else None
    if row.gives in ERRORS:
        with pytest.raises(ERRORS[row.gives]):
            frontend.compile_program(program(row), inputs=inputs)
        return
    found = slow_simulator.distribution(frontend.compile_program(program(row), inputs=inputs))
    place = 0 if row.feature == "physical qubits" else -1
    assert " ".join(sorted({key.split(" ")[place] for key in found})) == row.gives


def cells(row: Row) -> str:
    def code(text: str) -> str:
        return "<br>".join(f"`` {line} ``".replace("|", "\\|") for line in text.splitlines())

    status = "no" if row.gives in ERRORS else "yes"
    return f"| {row.feature} | {status} | {code(row.first)}<br>{code(row.second)} | {row.gives} |"


def test_the_document_has_these_rows() -> None:
    lines = [line for line in DOC.read_text().splitlines() if line.startswith("| ") and "``" in line]
    assert lines == [cells(row) for row in ROWS]
