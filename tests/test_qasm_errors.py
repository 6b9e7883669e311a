"""A wrong program: one answer tells every error, each once, with its place and what to do."""

from __future__ import annotations

import pytest

from qfast import frontend
from qfast.client import JobFailed
from qfast.errors import CircuitError, ParseError, TranspileError
from qfast.render import circuit_error

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
HEAD2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


def errors(program: str) -> list[tuple[int, int, str]]:
    """Line, column and message of each error, in the order they are told."""
    with pytest.raises(CircuitError) as caught:
        frontend.compile_program(program)
    data = caught.value.data
    assert data is not None
    found = [{**data, "message": caught.value.text}, *data.get("errors", [])]
    for entry in found:
        assert entry["message"].startswith(f"in line {entry['line']}, column {entry['column']}, ")
        assert entry["end_column"] >= entry["column"]
        shown, caret = entry["snippet"].split("\n")
        assert len(shown) <= 122
        assert caret.strip("\t ").strip("^") == ""
    return [(entry["line"], entry["column"], entry["message"].split(", ", 2)[2]) for entry in found]


def test_every_statement_tells_its_error() -> None:
    program = HEAD + (
        "qubit[2] q; bit[2] c;\n"
        "h q[0]\n"
        "cx q[0] q[1];\n"
        "rx(0.3 q[0];\n"
        "ry() q[1];\n"
        "if (foo > 1) { x q[0]; yy q[1]; }\n"
        "for int i in [0:bar] { x q[i]; zz q; }\n"
        "def f(qubit a, int n) -> int { x b; if (n == 2) { y a; ghj a; } return 0; }\n"
        "f(q[0]);\n"
        "int k = f(q[0], 2);\n"
        "gate g(t) a { rx(t) a; rx(s) a; h b; }\n"
        "g(1) q[0];\n"
        "measure q -> d;\n"
        "x q[7];\n"
        "uint[4] u = asin(0.3);\n"
    )
    found = errors(program)
    assert [(line, column) for line, column, _ in found] == [
        (4, 7),
        (5, 9),
        (6, 8),
        (7, 1),
        (8, 5),
        (8, 24),
        (9, 17),
        (9, 32),
        (10, 34),
        (10, 56),
        (11, 1),
        (13, 27),
        (15, 14),
        (16, 5),
        (17, 13),
    ]
    words = [message for _, _, message in found]
    assert "expected ';'" in words[0]
    assert "takes 1 parameter" in words[3]
    assert "'arcsin'" in words[-1]


@pytest.mark.parametrize(
    ("program", "places"),
    [
        (HEAD + "qbit[2] q;\nh q[0]; cx q[0], q[1];\nyy q;", [(3, 1), (5, 1)]),  # what a wrong declaration would declare
        (HEAD + "int n = foo;\nqubit[n] q; x q[n]; rx(n) q;\nint m = n;\nbar q;", [(3, 9), (6, 1)]),
        (HEAD + "qubit q; foo q; foo q; foo q;\nx q;", [(3, 10)]),
        (HEAD + "gate g a { foo a; h b; }\nqubit q; g q; g q, q;", [(3, 12), (3, 21), (4, 15)]),
        (HEAD + "gate g(, a { x a; }\nqubit q; g(1) q;", [(3, 8)]),
        (HEAD + "def f(qubit a, foo b) { x a; }\nqubit q; f(q, 1); x r;", [(3, 16), (4, 21)]),
        (HEAD + "qubit[2] q; for int i in [0:n] { x q[i]; }\nx q[2];", [(3, 29), (4, 5)]),
        (HEAD + "qubit q; int k; k = foo; while (k < 3) { k += 1; bad q; }", [(3, 21), (3, 50)]),
        (HEAD + "qubit q; bit c; c = measure q; const int n = foo; if (c) { y n; } else { z n; w q; }", [(3, 46), (3, 79)]),
        ("OPENQASM 4.0;\ninclude \"stdgates.inc\";\nqubit q; h q; hh q;", [(1, 10), (3, 15)]),
        ('OPENQASM 3;\ninclude "other.inc";\nqubit q; h q; mygate q; x r;', [(2, 9), (3, 27)]),
        ("OPENQASM 3;\nqubit q; h q; h q; rx(0.1) q;\nx s;", [(2, 10), (3, 3)]),
        (HEAD + "qubit q; { { x q;", [(3, 12)]),
        (HEAD + "qubit q;\nint n = 1\nx q;\n}\ny q[0];", [(4, 10), (6, 1), (7, 4)]),
        (HEAD + "qubit q; !; \x01; 0x q; x q q;", [(3, 10), (3, 13), (3, 16), (3, 26)]),
        (HEAD + "qubit q; if (c) x q; else y q; elif (c) { z q; }\nx r;", [(3, 14), (3, 32), (4, 3)]),
        (HEAD + "qubit q; x q; end; yy q; x r; x q", [(3, 20), (3, 28), (3, 34)]),
        (HEAD2 + "qreg q[2];\nh q[0]\ncx q[0] q[1];\nx q[2]; rz q[0];\ngate g a { foo a; x b; }\ng q; creg q[2]; bar q;",
         [(4, 7), (5, 9), (6, 5), (6, 9), (7, 12), (7, 21), (8, 11), (8, 17)]),
        (HEAD2 + "qreg q[2]; creg c[2];\nif (c == x) h q; if (c == 1) hh q;\nmeasure q -> c[0];", [(4, 10), (4, 30), (5, 1)]),
        ("OPENQASM 2.0;\nqubit[2] q;\nbit c;\nx q[0]; c = measure q;", [(2, 1), (3, 1), (4, 1)]),
    ],
)  # fmt: skip
def test_what_follows_from_an_error_is_not_told(program: str, places: list[tuple[int, int]]) -> None:
    assert [(line, column) for line, column, _ in errors(program)] == places


@pytest.mark.parametrize(
    "body",
    [
        "if (false) { foo q; }",
        "if (true) { x q[0]; } else { foo q; }",
        "for int i in [1:0] { foo q; }",
        "while (false) { foo q; }",
        "switch (1) { case 1 { } default { foo q; } }",
        "for int i in [0:3] { break; foo q; }",
        "def f() { foo q; }",
        "def f(int a) { if (a == 1) { if (a == 2) { foo; } } }",
        "def f(int a) -> int { return a; foo; }",
        "if (false && foo == 1) { }",
        "int n = 0; if (n == 1 || foo == 2) { }",
        "end; foo q;",
        "if (true) { end; } foo q;",
        "box { if (false) foo q; }",
    ],
)
def test_what_is_never_executed_is_checked(body: str) -> None:
    (only,) = errors(HEAD + "qubit[2] q; bit c;\n" + body)
    assert only[:2] == (4, body.index("foo") + 1)
    assert "'foo' is not defined" in only[2]


@pytest.mark.parametrize(
    "body",
    [
        "const int n = 1; if (n > 1) { x q[5]; }",
        "for int i in [0:3] { if (i < 2) { x q[i]; } }",
        "def f(int n) { if (n > 1) { x $5; } } int k = 1 ;".replace("x $5; ", ""),
        "const int n = 0; if (n != 0) { rx(1 / n) q[0]; }",
        "def f(int n, qubit[2] r) { for int i in [0:n] { x r[i]; } } f(1, q);",
        "def f(int n) -> int { for int i in [0:n] { return i; } } rx(f(2)) q[0];",
        "def f(int n) -> int { while (true) { return n; } } rx(f(2)) q[0];",
        "def f(int n, qubit r) { pow(n) @ x r; ctrl(n) @ x q0, r; }".replace(" ctrl(n) @ x q0, r;", ""),
        "def f(int n) -> int { switch (n) { case 1 { return 2; } default { return 3; } } } rx(f(2)) q[0];",
        "def f(readonly array[int, #dim = 1] a) -> int { return a[9]; }",
        "const int n = 2; if (n == 1) { cx q[0], q[0]; }",
        "x q[0]; end; x q[7]; qubit[4] r; measure r;",
    ],
)
def test_what_only_a_value_makes_wrong_is_no_error_where_it_is_not_executed(body: str) -> None:
    circuit = frontend.compile_program(HEAD + "qubit[2] q;\n" + body)
    assert circuit.num_qubits == 2
    assert circuit.implicit_measurement


def test_twenty_errors_at_most() -> None:
    assert len(errors(HEAD + "qubit q;" + "".join(f"bad{k} q;\n" for k in range(1000)))) == 20


def test_an_error_of_the_program_goes_before_what_can_not_be_run() -> None:
    extern = "extern f(int) -> int; cal { play(1); } defcal x $0 { y; } qubit q;\n"
    with pytest.raises(TranspileError, match="extern"):
        frontend.compile_program(HEAD + extern)
    with pytest.raises(ParseError, match="'foo'") as caught:
        frontend.compile_program(HEAD + extern + "foo q;")
    assert caught.value.data is not None
    assert [e["line"] for e in caught.value.data["errors"]] == [3, 3, 3]


HINTS = [
    (HEAD + "qubit q; mesure q;", "did you mean 'measure'?"),
    (HEAD + "qbit q;", "did you mean 'qubit'?"),
    (HEAD + "qubit q; whlie (true) { }", "did you mean 'while'?"),
    (HEAD + "qubit q; rx(sine(1)) q;", "did you mean 'sin'?"),
    (HEAD + "qubit q; rx(ln(2)) q;", "'log'"),
    (HEAD + "qubit q; rx(atan(2)) q;", "'arctan'"),
    (HEAD + "opaque g a;", "no opaque gates"),
    (HEAD + "qubit[2] q; x q[2];", "the indices are 0 to 1"),
    (HEAD + "qubit q; rx q;", "write: rx(angle) qubit;"),
    (HEAD + "qubit[2] q; cx q[0];", "write: cx qubit, qubit;"),
    (HEAD + "qubit[2] q; ctrl @ rx(1) q[0];", "write: ctrl @ rx(angle) qubit, qubit;"),
    (HEAD + "qubit q; x q", "end the statement with ';'"),
    (HEAD + "qubit q; }", "no '{' is open"),
    (HEAD + "qubit q; elif (true) { }", "else if"),
    (HEAD + "qubit q; cu1(1) q, q;", "define it by a gate statement"),
    ("OPENQASM 3;\nqubit q; h q;", 'add: include "stdgates.inc";'),
    ("OPENQASM 5;\nqubit q;", "OPENQASM 3.0;"),
    ("OPENQASM 2.0;\nqubit q;", "qreg NAME[SIZE];"),
    (HEAD2 + "bit[2] c;", "creg NAME[SIZE];"),
    (HEAD2 + "qreg q[1]; creg c[1]; c = measure q;", "measure QUBIT -> BIT;"),
    (HEAD2 + "qreg q[1]; rx(2**3) q[0];", "'^'"),
    (HEAD2 + "qreg q[1]; rx(arcsin(1)) q[0];", "'asin'"),
    (HEAD2 + "qreg q[1]; rx(log(2)) q[0];", "'ln'"),
    (HEAD2 + "qreg q[1]; for int i in [0:1] { x q[0]; }", "OPENQASM 3.0;"),
    (HEAD2 + "qreg q[2]; ctrl @ x q[0], q[1];", "OPENQASM 3.0;"),
    (HEAD2 + "qreg q[2]; x q[2];", "the indices are 0 to 1"),
    (HEAD2 + "qreg q[1]; rz q[0];", "write: rz(angle) qubit;"),
    (HEAD2.replace("qelib1", "qelib") + "qreg q[1];", "qelib1.inc"),
]


@pytest.mark.parametrize(("program", "hint"), HINTS)
def test_hint(program: str, hint: str) -> None:
    with pytest.raises(ParseError) as caught:
        frontend.compile_program(program)
    assert caught.value.data is not None
    assert hint in caught.value.data["hint"]
    assert "errors" not in caught.value.data


def test_command_line_and_client_show_all_errors() -> None:
    with pytest.raises(ParseError) as caught:
        frontend.compile_program(HEAD + "qubit q; mistake q;\nx r;")
    error = caught.value.as_dict()
    assert circuit_error(error) == [
        "error -102  [JobEngine] Parse Error: in line 3, column 10, gate 'mistake' is not defined",
        "  qubit q; mistake q;",
        "           ^^^^^^^",
        "error -102  in line 4, column 3, qubit 'r' is not defined",
        "  x r;",
        "    ^",
    ]
    job = {"job_id": "j", "job_status": "FAILED", "results": [{"error": error}, {"results": {}}]}
    assert str(JobFailed(job)).endswith("'mistake' is not defined; in line 4, column 3, qubit 'r' is not defined")
