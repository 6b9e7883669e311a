"""Programs that would exhaust a naive front end: each gets its error, after a bounded number of steps."""

from __future__ import annotations

import pytest

from qfast import frontend
from qfast._ext import qasm
from qfast.errors import CircuitError, ParseError, ResourceLimitError

HEAD3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
HEAD2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
MOST_STEPS = 40_000_000 + 400_000  # QC_MAX_WORK and QC_MAX_STATEMENTS: at most about half a second


def doubling(depth: int, version: int) -> str:
    """A call that stands for 2^depth gates."""
    gates = "".join(f"gate g{k} a, b {{ g{k - 1} a, b; g{k - 1} a, b; }}\n" for k in range(1, depth + 1))
    declaration = "qreg q[2];" if version == 2 else "qubit[2] q;"
    return f"gate g0 a, b {{ cx a, b; }}\n{gates}{declaration} g{depth} q[0], q[1];"


def nested(opening: str, closing: str, depth: int, inner: str = "x q;") -> str:
    return "qubit q; bit c; c = measure q; " + opening * depth + inner + closing * depth


TABLE = {  # name: (program, error)
    "2^40 gates by nested definitions, OpenQASM 2": (HEAD2 + doubling(40, 2), ResourceLimitError),
    "2^40 gates by nested definitions": (HEAD3 + doubling(40, 3), ResourceLimitError),
    "2^40 gates by modifiers": (HEAD3 + "qubit[2] q; gate g a, b { cx a, b; h a; } pow(2 ** 40) @ g q[0], q[1];", ResourceLimitError),
    "pow(2^60)": (HEAD3 + "qubit[2] q; gate g a, b { cx a, b; h a; } inv @ pow(1 << 60) @ g q[0], q[1];", ResourceLimitError),
    "pow of pow of pow": (HEAD3 + "qubit[2] q; gate g a, b { cx a, b; h a; } " + "pow(1000) @ " * 30 + "g q[0], q[1];", ResourceLimitError),
    "many roots of six qubits": (
        HEAD3 + "qubit[6] q; gate g a, b, c, d, e, f { h a; cx a, f; } "
        "for int i in [0:9999] { pow(0.5) @ g q[0], q[1], q[2], q[3], q[4], q[5]; }",
        ResourceLimitError,
    ),
    "2^40 calls": (
        HEAD3 + "qubit q; def f0(qubit a) { x a; }"
        + "".join(f"def f{k}(qubit a) {{ f{k - 1}(a); f{k - 1}(a); }}" for k in range(1, 41)) + "f40(q);",
        ResourceLimitError,
    ),
    "ten megabytes and more": (HEAD2 + "qreg q[1];" + "x q[0];\n" * 1_400_000, ResourceLimitError),
    "ten megabytes of letters": (HEAD3 + "q" * 10_000_000, ResourceLimitError),
    "ten megabytes of braces": (HEAD3 + "{" * 10_000_000, ResourceLimitError),
    "ten megabytes of closing braces": (HEAD3 + "}" * 10_000_000, ParseError),
    "ten megabytes of semicolons": (HEAD3 + ";" * 10_000_000 + "foo", ParseError),
    "ten megabytes of wrong statements": (HEAD3 + "qubit q; " + "foo q;\n" * 1_300_000, ParseError),
    "a comment of ten megabytes that is not closed": (HEAD3 + "/*" + "*" * 10_000_000, ParseError),
    "stars and slashes": (HEAD3 + "/*" + "/*" * 5_000_000, ParseError),
    "a string of ten megabytes that is not closed": (HEAD3 + '"' + "0" * 10_000_000, ParseError),
    "10^9 qubits": (HEAD3 + "qubit[1000000000] q; x q;", ResourceLimitError),
    "10^6 qubits in 100 broadcasts": (HEAD3 + "qubit[1000000] q; " + "h q; " * 100, ResourceLimitError),
    "10^6 qubits, measured again and again": (HEAD3 + "qubit[1000000] q; while (true) { reset q; }", ResourceLimitError),
    "while true": (HEAD3 + "qubit q; while (true) { x q; }", ResourceLimitError),
    "while true, empty": (HEAD3 + "qubit q; while (true) { }", ResourceLimitError),
    "while true, long": (HEAD3 + "qubit q; int n; while (true) { n = " + "+".join(["1"] * 5000) + "; }", ResourceLimitError),
    "for over 10^9": (HEAD3 + "qubit q; for int i in [0:1000000000] { x q; }", ResourceLimitError),
    "for over 2^64": (HEAD3 + "qubit q; for int i in [-9223372036854775807:9223372036854775807] { x q; }", ResourceLimitError),
    "loops in loops": (
        HEAD3 + "qubit q; " + "".join(f"for int i{k} in [0:999] {{ " for k in range(7)) + "x q;" + "}" * 7, ResourceLimitError),
    "loops in loops, empty": (
        HEAD3 + "qubit q; " + "".join(f"for int i{k} in [0:399999] {{ " for k in range(3)) + "}" * 3, ResourceLimitError),
    "500 parentheses": (HEAD3 + "qubit q; rx(" + "(" * 500 + "1" + ")" * 500 + ") q;", ResourceLimitError),
    "500 parentheses, OpenQASM 2": (HEAD2 + "qreg q[1]; rx(" + "(" * 500 + "1" + ")" * 500 + ") q[0];", ResourceLimitError),
    "500 signs": (HEAD3 + "qubit q; rx(" + "-" * 500 + "1) q;", ResourceLimitError),
    "500 indices": (HEAD3 + "qubit q; bit[2] c; int i = " + "c[" * 500 + "0" + "]" * 500 + ";", ResourceLimitError),
    "500 blocks": (HEAD3 + nested("{", "}", 500), ResourceLimitError),
    "500 conditions": (HEAD3 + nested("if (c) {", "}", 500), ResourceLimitError),
    "500 conditions that hold": (HEAD3 + nested("if (true) {", "}", 500), ResourceLimitError),
    "500 loops": (HEAD3 + nested("while (c) {", "}", 500), ResourceLimitError),
    "500 switches": (HEAD3 + nested("switch (int(c)) { case 0 {", "} }", 500), ResourceLimitError),
    "500 times else if": (HEAD3 + "qubit q; bit c; c = measure q; " + "if (c) x q; else " * 500 + "x q;", ResourceLimitError),
    "500 braces of an array": (HEAD3 + "qubit q; array[int, 1] a = " + "{" * 500 + "1" + "}" * 500 + ";", ParseError),
    "500 definitions": (
        HEAD3 + "gate g0 a { x a; }" + "".join(f"gate g{k} a {{ g{k - 1} a; }}" for k in range(1, 500)) + "qubit q; g499 q;",
        ResourceLimitError,
    ),
    "a subroutine that calls itself": (HEAD3 + "qubit q; def f(int n) -> int { return f(n - 1); } rx(f(9)) q;", ParseError),
    "a gate that calls itself": (HEAD3 + "qubit q; gate g a { g a; } g q;", ParseError),
    "an integer of a million digits": (HEAD3 + "qubit q; int n = " + "9" * 1_000_000 + ";", ParseError),
    "a float of a million digits": (HEAD3 + "qubit q; rx(" + "9" * 1_000_000 + ".0) q;", ParseError),
    "an exponent of a million digits": (HEAD3 + "qubit q; rx(1e" + "9" * 1_000_000 + ") q;", ParseError),
    "a name of a megabyte": (HEAD3 + "qubit " + "a" * 1_000_000 + ";", ResourceLimitError),
    "a name of a megabyte in a file's name": (HEAD3 + 'include "' + "a" * 1_000_000 + '";', ParseError),
    "includes": (HEAD3 + 'include "qelib1.inc";' * 1000, ParseError),
    "an array of 10^12 elements": (HEAD3 + "qubit q; array[int, 10000, 10000, 10000] a;", ResourceLimitError),
    "arrays copied in a loop": (
        HEAD3 + "qubit q; array[int, 1000000] a; array[int, 1000000] b; for int i in [0:1000] { a = b; }", ResourceLimitError),
    "bits shifted in a loop": (HEAD3 + "qubit q; bit[1000000] a; for int i in [0:1000] { a = a << 1; }", ResourceLimitError),
    "10^9 chosen qubits": (
        HEAD3 + "qubit[1000] q; bit[10] m; m = measure q[0:9]; uint i = uint[10](m); ccx q[i], q[i + 1], q[i + 2];",
        ResourceLimitError,
    ),
    "a million errors": (HEAD3 + "qubit q; " + "x r; y s[; " * 900_000, ParseError),
    "zero bytes": (HEAD3 + "\0" * 1_000_000, ParseError),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_hostile_program_is_answered(name: str) -> None:
    program, kind = TABLE[name]
    with pytest.raises(kind) as caught:
        frontend.compile_program(program)
    assert isinstance(caught.value, CircuitError)
    assert len(caught.value.text) < 500
    assert len(str(caught.value.data)) < 20_000


@pytest.mark.parametrize("name", TABLE)
def test_steps_are_bounded(name: str) -> None:
    with pytest.raises(qasm.QasmError) as caught:
        qasm.compile(TABLE[name][0])
    assert caught.value.work <= MOST_STEPS
    assert len([caught.value, *caught.value.others]) <= 20


def test_large_but_fair_programs_compile() -> None:
    fair = HEAD2 + "qreg q[1];" + "x q[0];\n" * 1_000_000
    assert len(frontend.compile_program(fair).instructions) == 1_000_001
    fair = HEAD3 + "qubit[1000000] q; bit[1000000] c; h q; c = measure q;"
    assert frontend.compile_program(fair).num_qubits == 1_000_000
    fair = HEAD3 + "qubit[10] q; for int i in [0:9999] { h q; cx q[0], q[1]; rz(0.1 * i) q[2]; }"
    assert len(frontend.compile_program(fair).instructions) == 120_010
