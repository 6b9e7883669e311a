"""OpenQASM 2 against Qiskit: every gate, every form of statement, and what a wrong program is told."""

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
from qfast.circuit import Circuit, Op
from qfast.errors import CircuitError, ParseError, ResourceLimitError, TranspileError

HEAD = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
GATES = {  # name: (parameters, qubits)
    "u3": (3, 1),
    "u2": (2, 1),
    "u1": (1, 1),
    "cx": (0, 2),
    "id": (0, 1),
    "u": (3, 1),
    "p": (1, 1),
    "x": (0, 1),
    "y": (0, 1),
    "z": (0, 1),
    "h": (0, 1),
    "s": (0, 1),
    "sdg": (0, 1),
    "t": (0, 1),
    "tdg": (0, 1),
    "rx": (1, 1),
    "ry": (1, 1),
    "rz": (1, 1),
    "sx": (0, 1),
    "sxdg": (0, 1),
    "cz": (0, 2),
    "cy": (0, 2),
    "swap": (0, 2),
    "ch": (0, 2),
    "ccx": (0, 3),
    "cswap": (0, 3),
    "crx": (1, 2),
    "cry": (1, 2),
    "crz": (1, 2),
    "cu1": (1, 2),
    "cp": (1, 2),
    "cu3": (3, 2),
    "csx": (0, 2),
    "cu": (4, 2),
    "rxx": (1, 2),
    "rzz": (1, 2),
    "rccx": (0, 3),
    "rc3x": (0, 4),
    "c3x": (0, 4),
    "c3sqrtx": (0, 4),
    "c4x": (0, 5),
    "U": (3, 1),
    "CX": (0, 2),
}


def compiled(body: str, qubits: int = 3) -> Circuit:
    return frontend.compile_program(HEAD + f"qreg q[{qubits}];" + body, "qasm2")


def check_unitary(program: str) -> None:
    ours = slow_simulator.unitary(frontend.compile_program(program))
    np.testing.assert_allclose(ours, qiskit_oracle.unitary(program), atol=1e-10)


@pytest.mark.parametrize("name", GATES)
def test_gate_is_qiskits(name: str) -> None:
    nparams, nq = GATES[name]
    angles = ",".join(str(0.3 + 0.7 * k) for k in range(nparams))
    qubits = ",".join(f"q[{(3 * k + 1) % nq if nq % 3 else nq - 1 - k}]" for k in range(nq))
    check_unitary(HEAD + f"qreg q[{nq}];\n{name}{f'({angles})' if nparams else ''} {qubits};")


STATIC = [
    "cx q,r;",
    "cx q[0],r;",
    "cx r,q[1];",
    "h q; h r[1]; cz q,r;",
    "u2(pi/3,-pi/7) q; barrier q,r[0]; barrier; ccx q[0],q[1],r[2];",
    "rx(2^3^2) q[0]; rx(-2^2) q[1]; rx(2-3-4) q[2]; rx(2/3/4) r[0]; rx(--1) r[1]; rx(+1) r[2];",
    "rx(sin(pi/3)*cos(1)+tan(0.2)) q[0]; rx(exp(-1.5)) q[1]; rx(ln(3)) q[2]; rx(sqrt(2)) r[0];"
    "rx(asin(0.3)+acos(0.2)-atan(2)) r[1];",
    "rx(.5) q[0]; rx(5.) q[0]; rx(1e3) q[1]; rx(1.e-3) q[2]; rx(12345678901234567890123) r[0];"
    "rx(0.1234567890123456789012345) r[1];",
    "rx(2*(3+4)*-1/(1-3)) q[0]; rx(2^-1) q[1]; rx(pi^2/(pi+1)) q[2];",
    "gate g a {h a; t a;} g q; gate g2(x,y) a,b {rx(x+y) a; cx a,b; rz(x*y/2) b; g a;} g2(0.3,pi) q[0],r; g2(1,2) q,r;",
    "gate e a {} e q[0]; gate f() a {x a;} f() q[1]; f q[2]; h() r[0];",
    "gate a(t) b {rx(sin(t)^2) b; ry(-t) b; rz(3-t) b; rx(2/t) b; ry(t-t/3) b; rz(t) b; rx(-(-t)) b;} a(0.7) q[0]; a(-1.3) r;",
    "gate w(a,b,c) q {u3(a,b,c) q; u2(c,b) q; u0(a) q;} w(1,2,3) r[1];",
    "gate m(x) a,b,c { barrier a,b; cu(x,x/2,x/3,x/4) a,b; rccx a,b,c; cswap c,a,b; } m(0.4) q[0],r[0],r[2];",
    "gate x0 x { x x; } x0 q[1];",
    "id q[0]; u0(3) q; u0(1) r[0]; x q[0],; rx(1,) q[0];",
    "CX q[0],r[0]; U(0.1,0.2,0.3) q[1]; ;; // a comment é\n y q[2];",
    "qreg a[2]; qreg b[1]; cx a[1],b[0]; h b;",
]


@pytest.mark.parametrize("body", STATIC)
def test_static_program_is_qiskits(body: str) -> None:
    program = HEAD + "qreg q[3];\nqreg r[3];\n" + body
    check_unitary(program)


DYNAMIC = [
    "h q[0]; measure q[0]->c[0]; if(c==1) x q[1]; measure q[1]->c[1];",
    "h q; measure q->c; if(c==5) x q; measure q->d;",
    "h q[0]; cx q[0],q[1]; reset q[0]; measure q->c;",
    "ry(1) q[0]; measure q[0]->d[2]; if(d==4) measure q[1]->c[0]; if(d==0) reset q[0]; h q[2]; measure q[2]->c[1];",
    "x q[0]; measure q[0]->c[1]; if(c==2) ry(0.3) q[1]; if(c==3) x q[2]; if(c==9) x q;"
    "if(c==99999999999999999999) x q; measure q->d;",
    "if(c==0) x q[0]; if(c==1) x q[1]; h q[2]; measure q->c;",
    "h q[0]; measure q[0]->c[0]; x q[0]; reset q; measure q->d;",
    "gate g(t) a,b {rx(t) a; cx a,b;} g(1) q[0],q[1]; measure q[1]->c[2]; if(c==4) g(2) q[1],q[2]; measure q->d;",
]


@pytest.mark.parametrize("body", DYNAMIC)
def test_dynamic_program_is_qiskits(body: str) -> None:
    program = HEAD + "qreg q[3]; creg c[3]; creg d[3];" + body
    ours = slow_simulator.distribution(frontend.compile_program(program))
    theirs = qiskit_oracle.distribution(program)
    assert ours.keys() == theirs.keys()
    for key, p in theirs.items():
        assert ours[key] == pytest.approx(p, abs=1e-9)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Random gates, broadcasts and definitions on 5 qubits."""
    lines = [HEAD + "qreg q[5];"]
    angle = st.one_of(
        st.floats(-7, 7).map(str),
        st.sampled_from(["pi", "pi/2", "-pi/4", "2*pi/3", "(1+2)*3", "sin(0.3)", "2^-2", "sqrt(2)"]),
    )
    names = draw(st.lists(st.sampled_from(sorted(GATES)), min_size=1, max_size=8))
    for k, name in enumerate(names):
        nparams, nq = GATES[name]
        qubits = draw(st.permutations(range(5)))[:nq]
        angles = [draw(angle) for _ in range(nparams)]
        if draw(st.booleans()):
            formals = [f"p{i}" for i in range(nparams)]
            inner = ",".join(f"{f}*2-{f}" for f in formals)
            operands = ",".join(f"a{i}" for i in range(nq))
            lines.append(
                f"gate g{k}({','.join(formals)}) {operands} {{ {name}{f'({inner})' if nparams else ''} {operands}; h a0; }}"
            )
            name = f"g{k}"
        call = f"{name}({','.join(angles)})" if angles else name
        lines.append(
            f"{call} {','.join(f'q[{q}]' for q in qubits)};" if nq > 1 or draw(st.booleans()) else f"{call} q;"
        )
    return "\n".join(lines)


@settings(max_examples=60, deadline=None)
@given(programs())
def test_random_program_is_qiskits(program: str) -> None:
    check_unitary(program)


def test_numbers_are_correctly_rounded() -> None:
    @settings(max_examples=300, deadline=None)
    @given(
        st.one_of(
            st.floats(0, 1e300, allow_subnormal=True).map(repr),
            st.from_regex(r"[0-9]{1,25}\.[0-9]{0,25}(e-?[0-9]{1,2})?", fullmatch=True),
        )
    )
    def check(text: str) -> None:
        parameter = compiled(f"rx({text}) q[0];").parameters[0]
        assert parameter == float(text)

    check()


WRONG = [  # body after the head of two lines, line, column, words
    ("qreg q[2];\nh q[0]", 4, 7, "';'"),
    ("qreg q[2];\nh q[0]\ncx q[0],q[1];", 4, 7, "';'"),
    ("qreg q[2]; h q[0]; nope q[1];", 3, 20, "nope"),
    ("qreg q[2];\nh q[2];", 4, 5, "range"),
    ("qreg q[3];\nccx q[0],q[1],q[0];", 4, 1, "duplicate"),
    ("qreg q[3];\ncx q,q;", 4, 1, "duplicate"),
    ("qreg q[3];\ncx q[0],q;", 4, 1, "duplicate"),
    ("qreg q[2];\nqreg q[3];", 4, 6, "already"),
    ("qreg q[-1];", 3, 8, "integer"),
    ("qreg q[1.0];", 3, 8, "integer"),
    ("qreg h[1];", 3, 6, "already"),
    ("qreg q[1];\nif(c==1) x q[0];", 4, 4, "'c'"),
    ("qreg q[1]; creg c[1];\nif(c==1) if(c==1) x q[0];", 4, 10, "conditional"),
    ("qreg q[1]; creg c[1];\nif(c[0]==1) x q[0];", 4, 7, "register"),
    ("gate a q { b q; }\ngate b q { a q; }", 3, 12, "'b'"),
    ("gate a q { a q; }", 3, 12, "'a'"),
    ("gate g a { h a[0]; }", 3, 15, "indexed"),
    ("gate g a { nope a; }", 3, 12, "nope"),
    ("gate g a { h b; }", 3, 14, "'b'"),
    ("qreg b[1];\ngate g a { h b; }", 4, 14, "'b'"),
    ("gate g a { measure a -> a; }", 3, 12, "measure"),
    ("gate g(t) a { rx(t/0) a; }", 3, 19, "zero"),
    ("gate h a { x a; }", 3, 6, "already"),
    ("gate g a,a { }", 3, 10, "already"),
    ("qreg q[1];\nrz q[0];", 4, 1, "1 parameter"),
    ("qreg q[1];\nrz(1,2) q[0];", 4, 1, "1 parameter"),
    ("qreg q[2];\nh q[0],q[1];", 4, 1, "1 qubit"),
    ("qreg q[2];\nmeasure q[0]->q[1];", 4, 15, "classical"),
    ("qreg q[2]; creg c[3];\nmeasure q->c;", 4, 1, "2 qubits"),
    ("qreg q[2]; creg c[2];\nmeasure q->c[0];", 4, 1, "2 qubits"),
    ("qreg q[1];\nrz(ln(0)) q[0];", 4, 4, "finite"),
    ("qreg q[1];\nrz(sqrt(-1)) q[0];", 4, 4, "finite"),
    ("qreg q[1];\nrz(1/0) q[0];", 4, 5, "zero"),
    ("qreg q[1];\nrz(1e400) q[0];", 4, 4, "finite"),
    ("qreg q[1];\nrz(q) q[0];", 4, 4, "parameter"),
    ("qreg q[1];\nrz(pi q[0];", 4, 7, "')'"),
    ("qreg q[1];\0h q[0];", 3, 11, "code 0"),
    ("qreg π[1];", 3, 6, "π"),
    ('include "qelib1.inc', 3, 9, "closed"),
    ("/* x", 3, 1, "closed"),
    ('include "../../etc/passwd";', 3, 9, "include"),
    ('include "stdgates.inc";', 3, 9, "OpenQASM 3"),
    ('include "qelib1.inc";', 3, 9, "already"),
    ("1", 3, 1, "can not parser the sentence at token: '1'"),
    ("OPENQASM 2.0;", 3, 1, "first"),
    ("qreg é[1];  bad", 3, 6, "é"),
    ("qreg q[1]; /* é */ zz q[0];", 3, 20, "zz"),
    ("qreg q[1];\nx q[1x];", 4, 5, "1x"),
    ("gate g(t) a { rx(ln(t)) a; } qreg q[1];\ng(0) q[0];", 4, 10, "finite"),
]


@pytest.mark.parametrize(("body", "line", "column", "word"), WRONG)
def test_wrong_program_is_told_where(body: str, line: int, column: int, word: str) -> None:
    with pytest.raises(ParseError) as caught:
        frontend.compile_program(HEAD + body)
    error = caught.value
    assert error.text.startswith(f"in line {line}, column {column}, ")
    assert word in error.text
    assert error.data is not None
    assert (error.data["line"], error.data["column"]) == (line, column)
    assert error.data["end_column"] >= column
    shown, caret = error.data["snippet"].split("\n")
    assert caret.strip("\t ").strip("^") == ""
    assert len(shown) <= 122


def test_first_line_has_the_spec_s_form() -> None:
    with pytest.raises(ParseError) as caught:
        frontend.compile_program("1")
    assert caught.value.as_dict()["message"].startswith(
        "[JobEngine] Parse Error: in line 1, column 1, can not parser the sentence at token: '1'"
    )


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("swp q[0],q[1];", "'swap'"),
        ("gate mygate a {} mygat q[0];", "'mygate'"),
        ("qreg ancilla[1]; x ancila[0];", "'ancilla'"),
    ],
)
def test_typing_mistake_gets_a_suggestion(body: str, hint: str) -> None:
    with pytest.raises(ParseError, match="did you mean") as caught:
        compiled(body)
    assert caught.value.data is not None
    assert hint in caught.value.data["hint"]


def test_library_gate_without_include_names_the_include() -> None:
    with pytest.raises(ParseError, match=r"in line 3, column 1, gate 'h' is not defined, add: include .qelib1\.inc.;"):
        frontend.compile_program("OPENQASM 2.0;\nqreg q[2];\nh q[0];")


def test_program_may_define_what_the_original_qelib1_lacks() -> None:
    body = "gate sx a { h a; t a; } qreg p[1]; sx q; x p[0];"
    c = compiled(body, 1)
    assert [int(i["op"]) for i in c.instructions][:3] == [Op.H, Op.T, Op.X]


def test_versions() -> None:
    assert frontend.compile_program("OPENQASM 2;qreg q[1];U(0,0,0) q[0];").num_qubits == 1
    assert frontend.compile_program('include "qelib1.inc"; qreg q[1]; h q[0];').num_qubits == 1
    for program, code_type, column in (
        ("OPENQASM 3.0;\nqreg q[2];", "qasm2", 10),
        ("OPENQASM 2.0;\nqreg q[2];", "qasm3", 10),
        ("OPENQASM 2.1;", "qasm", 10),
    ):
        with pytest.raises(ParseError, match=f"in line 1, column {column}, .*ersion"):
            frontend.compile_program(program, code_type)


def test_no_qubits_and_opaque_gates_cannot_be_run() -> None:
    for program in (
        "OPENQASM 2.0;",
        HEAD + "creg c[2];",
        "",
        "qreg q[0];",
        HEAD + "opaque o(t) a,b; qreg q[2]; o(1) q[0],q[1];",
    ):
        with pytest.raises(TranspileError) as caught:
            frontend.compile_program(program)
        assert not isinstance(caught.value, frontend.Unsupported)


def test_registers_and_implicit_measurement() -> None:
    c = frontend.compile_program(HEAD + "qreg a[2]; creg m[3]; qreg b[1]; creg n[1]; h b; measure b[0]->n[0];")
    assert (c.qregs, c.cregs, c.num_qubits, c.num_clbits) == ((("a", 2), ("b", 1)), (("m", 3), ("n", 1)), 3, 4)
    assert not c.implicit_measurement
    assert [int(i["c"]) for i in c.instructions] == [0, 3]
    c = frontend.compile_program(HEAD + "qreg a[2]; creg m[3]; h a; if(m==0) h a;")
    assert (c.cregs, c.num_clbits, c.implicit_measurement) == ((("meas", 2),), 2, True)
    assert [int(i["op"]) for i in c.instructions] == [Op.H] * 4 + [Op.MEASURE] * 2


def test_wide_condition() -> None:
    wide = HEAD + "qreg q[1]; creg c[70]; x q[0]; measure q[0]->c[69]; if(c=={}) x q[0]; measure q[0]->c[0];"
    assert slow_simulator.distribution(frontend.compile_program(wide.format(2**69))) == {"1" + "0" * 69: 1.0}
    assert slow_simulator.distribution(frontend.compile_program(wide.format(2**69 + 1))) == {"1" + "0" * 68 + "1": 1.0}
    assert slow_simulator.distribution(frontend.compile_program(wide.format(2**70))) == {"1" + "0" * 68 + "1": 1.0}


def nested(depth: int, body: str) -> str:
    lines = [f"gate g0 a,b {{ {body} }}"]
    lines += [f"gate g{k} a,b {{ g{k - 1} a,b; g{k - 1} a,b; }}" for k in range(1, depth)]
    return HEAD + "\n".join(lines) + f"qreg q[2]; g{depth - 1} q[0],q[1];"


HOSTILE = {
    "2^70 gates": nested(70, "cx a,b;"),
    "parentheses": HEAD + "qreg q[1];rz(" + "(" * 100000 + "1" + ")" * 100000 + ") q[0];",
    "signs": HEAD + "qreg q[1];rz(" + "-" * 100000 + "1) q[0];",
    "powers": HEAD + "qreg q[1];rz(" + "2^" * 100000 + "1) q[0];",
    "deep definitions": HEAD
    + "gate g0 a {x a;}"
    + "".join(f"gate g{k} a {{g{k - 1} a;}}" for k in range(1, 400))
    + "qreg q[1]; g399 q[0];",
    "register beyond 64 bits": HEAD + "qreg q[99999999999999999999];",
    "2^31 qubits": HEAD + "qreg q[2147483648];",
    "broadcast": HEAD + "qreg q[16777216]; h q;",
    "too long": HEAD + "qreg q[1];" + "x q[0];" * 1600000,
    "barriers": HEAD + "qreg q[10000000];" + "barrier q;" * 100,
    "long name": HEAD + "qreg " + "a" * 1000000 + "[1];",
    "long number": HEAD + "qreg q[" + "1" * 1000000 + "];",
    "long condition": HEAD + "qreg q[1];creg c[2]; measure q[0]->c[0]; if(c==" + "9" * 500 + ") x q[0];",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_is_refused(name: str) -> None:
    with pytest.raises(ResourceLimitError) as caught:
        frontend.compile_program(HOSTILE[name])
    assert len(caught.value.text) < 300


def test_empty_definitions_expand_to_nothing() -> None:
    assert len(frontend.compile_program(nested(20, "")).instructions) == 2


def test_messages_do_not_repeat_a_megabyte() -> None:
    for body in (
        "qreg q[1]; " + "a" * 10**6 + " q[0];",
        'include "' + "b" * 10**6 + '";',
        "é" * 10**6,
        "qreg q[1]; x q[" + "1" * 10**6 + "];",
    ):
        with pytest.raises(CircuitError) as caught:
            frontend.compile_program(HEAD + body)
        assert len(caught.value.text) < 400
        assert len(str(caught.value.data)) < 1000


def test_lone_surrogate_is_a_parse_error() -> None:
    with pytest.raises(ParseError, match="in line 3, column 5, "):
        frontend.compile_program(HEAD + "// a\ud800")


VALID = [HEAD + "qreg q[3]; qreg r[3];" + body for body in STATIC] + [
    HEAD + "qreg q[3]; creg c[3]; creg d[3];" + body for body in DYNAMIC
]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_program_never_crashes(data: st.DataObject) -> None:
    text = list(data.draw(st.sampled_from(VALID)))
    pieces = [
        *string.punctuation,
        "0",
        "9" * 25,
        "1e999",
        "q",
        "pi",
        "gate ",
        "if(",
        "\0",
        "é",
        "\n",
        "{",
        "}",
        "measure ",
        "opaque ",
        "barrier;",
    ]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 6))] = data.draw(
            st.one_of(st.just([]), st.sampled_from(pieces).map(list))
        )
    try:
        circuit = frontend.compile_program("".join(text), data.draw(st.sampled_from(["qasm", "qasm2", "qasm3"])))
    except CircuitError as error:
        assert error.code in {-102, -103, -120}
    else:
        assert circuit.num_qubits > 0
        assert all(
            math.isfinite(p)
            for i in circuit.instructions
            if i["op"] < Op.MEASURE
            for p in circuit.parameters[i["p"] : i["p"] + 1]
        )
