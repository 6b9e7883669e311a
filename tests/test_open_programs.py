"""Programs compiled before their inputs have values: bound, they are what compiling them with the values gives."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qfast import frontend
from qfast.errors import CircuitError

HEAD = 'OPENQASM 3.0; include "stdgates.inc"; input float theta; input angle[32] turn; qubit[3] q;\n'
NAMES = {"theta", "turn"}

STRAIGHT = {
    "plain": "rx(theta) q[0]; cx q[0], q[1]; p(-turn) q[1];",
    "measured": "bit[3] c; ry(theta / 2) q; c = measure q;",
    "declared constant": "const float twice = 2 * theta; rz(twice + pi) q[2];",
    "constant in a subroutine": "const float k = 3 * theta; def f(qubit a) { rx(k) a; } f(q[0]);",
    "variables": "float v = theta; v += 1; v *= turn; rx(v) q[1]; rz(sqrt(v * v)) q[0];",
    "functions": "ry(sin(theta) + cos(theta) ** 2 - exp(-theta * theta)) q[0]; rx(arctan(theta)) q[1];",
    "loop": "for int i in [0:4] { rx(theta * i) q[0]; p(turn / (i + 1)) q[1]; }",
    "subroutine": "def f(qubit a, float x) -> float { rx(x) a; return x / 3; } ry(f(q[0], theta)) q[1];",
    "defined gate": "gate g(a, b) x, y { rx(a / 2) x; cp(b * a) x, y; } g(theta, 1) q[0], q[1]; g(0.5, turn) q[1], q[2];",
    "modifiers": "inv @ rx(theta) q[0]; pow(3) @ rz(theta) q[0]; ctrl @ u3(theta, 1, turn) q[0], q[1]; "
    "negctrl @ ctrl @ gphase(theta) q[0], q[1]; gphase(turn);",
    "fractional rotation": "pow(0.5) @ ry(theta) q[0];",
    "array": "array[float, 2] a = {theta, 1.0}; rx(a[0] + a[1]) q[0];",
    "angles": "angle[20] a = theta; rx(a) q[0]; angle[20] b = a + a; rx(b) q[1];",
    "integers": "int i = int(theta * 4); rx(i * 0.25) q[0];",
    "broadcast": "rx(theta) q; barrier q; reset q[0]; u2(theta, turn) q[0];",
    "unused": "h q[0];",
    "whole statement": "float[64] v = theta; if (true) { rx(v) q[0]; } switch (2) { case 2 { ry(v) q[1]; } }",
}

ANEW = {
    "branch": "if (theta > 0) x q[0];",
    "loop count": "int n = int(abs(theta)); for int i in [1:n] { x q[0]; }",
    "loop condition": "float v = theta; while (v > 0) { x q[0]; v -= 1; }",
    "measured value": "bit c; c = measure q[0]; if (c) rx(theta) q[1];",
    "bit": "bit b; b = bool(theta > 1); x q[0];",
    "fractional power": "pow(0.5) @ u3(theta, 1, 2) q[0];",
    "index": "x q[int(abs(theta)) % 3];",
}


def same(source: str, inputs: dict[str, float]) -> None:
    opened = frontend.open_program(source)
    assert opened is not None
    assert set(opened.names) == NAMES
    bound = opened.bind(inputs)
    assert bound is not None
    anew = frontend.compile_program(source, inputs=inputs)
    for field in ("num_qubits", "num_clbits", "code", "qubits", "qregs", "cregs", "implicit_measurement"):
        assert getattr(bound, field) == getattr(anew, field), field
    assert bound.params == anew.params  # to the last bit: same counts for the same seed, however a job comes


@pytest.mark.parametrize("name", STRAIGHT)
@pytest.mark.parametrize("theta", [0.0, 0.7, -2.5, 1e9])
def test_bound_is_what_compiling_gives(name: str, theta: float) -> None:
    same(HEAD + STRAIGHT[name], {"theta": theta, "turn": 1.25})


@given(
    st.lists(st.sampled_from(sorted(STRAIGHT)), min_size=1, max_size=4, unique=True),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_blocks_in_any_order(names: list[str], theta: float, turn: float) -> None:
    same(
        HEAD + "\n".join(f"if (true) {{ {STRAIGHT[name]} }}" for name in names if _nests(name)),
        {
            "theta": theta,
            "turn": turn,
        },
    )


def _nests(name: str) -> bool:
    return not any(word in STRAIGHT[name] for word in ("def ", "gate ", "array", "bit["))


@pytest.mark.parametrize("name", ANEW)
def test_what_more_than_angles_depend_on_is_compiled_anew(name: str) -> None:
    assert frontend.open_program(HEAD + ANEW[name]) is None


@pytest.mark.parametrize(
    "body",
    [
        "theta = 1;",
        "def f(qubit a) { rx(theta) a; } f(q[0]);",
        "gate g a { rx(theta) a; } g q[0];",
        "rx(nothing) q[0];",
    ],
)
def test_wrong_programs_are_left_to_the_compiler(body: str) -> None:
    assert frontend.open_program(HEAD + body) is None
    with pytest.raises(CircuitError):
        frontend.compile_program(HEAD + body, inputs={"theta": 1.0, "turn": 1.0})


@pytest.mark.parametrize(
    "inputs",
    [
        {"theta": 1.0},
        {"theta": 1.0, "turn": 1.0, "more": 1.0},
        {"theta": 1.0, "other": 1.0},
        {"theta": math.nan, "turn": 1.0},
        {"theta": math.inf, "turn": 1.0},
        {"theta": 10**400, "turn": 1.0},
        {"theta": -1.0, "turn": 1.0},
    ],
)
def test_values_that_give_no_circuit(inputs: dict[str, float]) -> None:
    source = HEAD + "rx(sqrt(theta)) q[0]; rx(turn) q[1];"
    opened = frontend.open_program(source)
    assert opened is not None
    assert opened.bind(inputs) is None
    with pytest.raises(CircuitError):
        frontend.compile_program(source, inputs=inputs)


def test_bound_circuits_share_all_but_the_angles() -> None:
    opened = frontend.open_program(HEAD + STRAIGHT["plain"])
    assert opened is not None
    one, other = (opened.bind({"theta": theta, "turn": 0.5}) for theta in (1.0, 2.0))
    assert one is not None
    assert other is not None
    assert one.code is other.code
    assert one.qubits is other.qubits
    assert one.params != other.params
    assert opened.bind({"theta": 1.0, "turn": 0.5}) == one  # nothing is left of the other values
