"""The stack machine: random checked programs against plain Python, and what the check refuses."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
import slow_simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast._ext import qasm
from qfast.circuit import INSTRUCTION, Circuit

BITS, VARS = 5, 4
STACK, TARGET, SLOT, INDEX, DIVISION, DOMAIN, FUEL, CODE = -3, -4, -5, -6, -7, -8, -9, -2
INT1, INT2 = [112, 113, 114, 131], [*range(115, 131), 132, *range(184, 191)]
FLOAT1, FLOAT2 = [144, *range(157, 168)], [145, 146, 147, 148, 149, 150, *range(151, 157)]


def record(op: int, c: int = 0, nq: int = 0, p: int = 0) -> tuple[int, ...]:
    return (op, 0, 0, 0, 0, nq, p, c)


def run(program: list[tuple[int, ...]], params: list[bytes], fuel: int = 2000) -> tuple[int, list[int], list[int]]:
    code = np.array(program, INSTRUCTION).tobytes()
    result, bits, variables = qasm.run_classical(code, b"".join(params), BITS, VARS, fuel)
    return result, list(bits), list(struct.unpack(f"<{VARS}q", variables))


NUMBERS = st.one_of(
    st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**63 - 1, -(2**63), 63, 64, 65])
)
FLOATS = st.floats(-4, 4).map(slow_simulator.bits_of)


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], list[bytes]]:
    """Straight code with forward jumps, of fitting stack depths; every result ends in a variable."""
    code: list[tuple[int, ...]] = []
    params: list[bytes] = []

    def push(value: int) -> None:
        code.append(record(96, p=len(params)))
        params.append(struct.pack("<q", value))

    for _ in range(draw(st.integers(1, 12))):
        kind = draw(
            st.sampled_from(
                ["int1", "int2", "float1", "float2", "bits", "reg", "wrap", "rotate", "convert", "at", "skip"]
            )
        )
        operand = FLOATS if kind.startswith("float") or kind == "f2i" else NUMBERS
        push(draw(operand))
        if kind == "int1":
            code.append(record(draw(st.sampled_from(INT1))))
        elif kind == "int2":
            push(draw(operand))
            if draw(st.booleans()):
                code.append(record(106))
            code.append(record(draw(st.sampled_from(INT2))))
        elif kind == "float1":
            code.append(record(draw(st.sampled_from(FLOAT1))))
        elif kind == "float2":
            push(draw(operand))
            code.append(record(draw(st.sampled_from(FLOAT2))))
        elif kind == "bits":
            code += [record(99, c=draw(st.integers(0, BITS - 1))), record(98, c=draw(st.integers(0, BITS - 1)))]
        elif kind == "reg":
            code += [record(101, c=1, nq=3), record(100, c=0, nq=BITS)]
        elif kind == "wrap":
            code.append(record(draw(st.sampled_from([133, 134])), c=draw(st.integers(1, 64))))
        elif kind == "rotate":
            push(draw(operand))
            code.append(record(draw(st.sampled_from([135, 136])), c=draw(st.integers(1, 64))))
        elif kind == "convert":
            code += [record(draw(st.sampled_from([176, 177])))] + [record(178)] * draw(st.integers(0, 1))
        elif kind == "at":
            push(draw(st.integers(-1, 5)))
            code += [record(draw(st.sampled_from([138, 140])), c=1, nq=3), record(96, p=0)]
            push(draw(st.integers(0, 2)))
            code += [record(draw(st.sampled_from([137, 139])), c=0, nq=3), record(115)]
        else:
            code += [record(105), record(81, c=len(code) + 3), record(112)]
        code.append(record(103, c=draw(st.integers(0, VARS - 1))))
    return code, params


@settings(max_examples=400, deadline=None)
@given(programs())
def test_machine_is_pythons(program: tuple[list[tuple[int, ...]], list[bytes]]) -> None:
    code, params = program
    result, bits, variables = run(code, params)
    machine = slow_simulator.Machine(
        Circuit(
            1, BITS, VARS, np.array(code, INSTRUCTION).tobytes(), b"", b"".join(params), (("q", 1),), (("c", BITS),)
        )
    )
    records = np.array(code, INSTRUCTION)
    words = np.frombuffer(b"".join(params), np.int64)
    expected = 0
    while machine.pc < len(records):
        i = records[machine.pc]
        try:
            if i["op"] == 96:  # the bit pattern need not be that of a number which survives a float
                machine.stack.append(int(words[i["p"]]))
                machine.pc += 1
            elif i["op"] in {123, 124, 186, 132} and machine.stack[-1] < 0:
                expected = DOMAIN
                break
            elif i["op"] in {124, 186} and machine.stack[-1] > 64:
                machine.stack[-1] = 64
            else:
                machine.step(i)
        except ZeroDivisionError:
            if i["op"] != 148:
                expected = DIVISION
                break
            return  # float64 division by zero: infinite in C, an error in Python
        except AssertionError:
            expected = INDEX
            break
        except (ValueError, OverflowError):
            return  # a domain error of Python's math; C gives NaN or an infinity, of which F2I makes an error
    assert result == expected
    if not expected:
        assert bits == machine.bits
        same = [a == b or close(a, b) for a, b in zip(variables, machine.vars, strict=True)]
        assert all(same), (variables, machine.vars)


def close(a: int, b: int) -> bool:
    """Whether two patterns are the same float64 up to the last bits, in which math libraries may differ."""
    x, y = slow_simulator.as_float(a), slow_simulator.as_float(b)
    return (math.isnan(x) and math.isnan(y)) or math.isclose(x, y, rel_tol=1e-14, abs_tol=1e-300)


REFUSED = [
    ([record(104)], STACK),
    ([record(115)], STACK),
    ([record(98)] * 65, STACK),
    ([record(98), record(81, c=0)], FUEL),
    ([record(98), record(80, c=0)], STACK),  # a loop that pushes for ever
    ([record(98), record(81, c=3), record(98)], STACK),  # one more on one of two paths
    ([record(80, c=3)], TARGET),
    ([record(80, c=-1)], TARGET),
    ([record(98, c=5)], SLOT),
    ([record(98, c=-1)], SLOT),
    ([record(100, c=3, nq=3)], SLOT),
    ([record(100, c=0, nq=65)], SLOT),
    ([record(102, c=4)], SLOT),
    ([record(96, p=0)], SLOT),
    ([record(98), record(139, c=2, nq=3)], SLOT),
    ([record(98), record(133, c=0)], CODE),
    ([record(98), record(135, c=65)], CODE),
    ([record(250)], CODE),
    ([record(2, nq=1)], SLOT),  # a gate on a qubit operand that is not there
    ([record(82), record(82)], -1),
]


@pytest.mark.parametrize(("code", "result"), REFUSED)
def test_check(code: list[tuple[int, ...]], result: int) -> None:
    assert run(code, [])[0] == result


def test_endless_loop_uses_up_its_fuel() -> None:
    assert run([record(80, c=0)], [])[0] == FUEL


def test_conversion_out_of_range() -> None:
    for value in (1e19, -1e19, math.inf, math.nan):
        code = [record(97, p=0), record(178), record(103)]
        assert run(code, [struct.pack("<d", value)])[0] == DOMAIN


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(64, 200), st.integers(-2, 6), st.integers(-2, 66), st.integers(-1, 3)), max_size=20)
)
def test_any_code_ends(items: list[tuple[int, int, int, int]]) -> None:
    code = [record(op, c, nq, p) for op, c, nq, p in items]
    assert run(code, [b"\x07" * 8] * 2)[0] <= 0
