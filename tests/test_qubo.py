"""Matrices from JSON: exactly the numbers of Python's json, folded without loss, and a clear refusal of everything else."""

import itertools
import json
import locale
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast._ext import qubo as kernel
from qfast.errors import InvalidParams
from qfast.matrices import QuboProblem, parse_sources


def parse(matrices, **limits):
    return parse_sources(json.dumps(matrices).encode(), **limits)


def twin(matrix):
    """The folded matrix and the sum of all entries in exact fractions: of the decimal, as it was sent, where that is short."""

    def exact(v):
        return Fraction(repr(v)) if isinstance(v, float) else Fraction(v)

    folded, total = {}, Fraction(0)
    if isinstance(matrix, dict):
        cells = zip(matrix["row"], matrix["col"], matrix["value"], strict=True)
    else:
        cells = ((i, j, v) for i, row in enumerate(matrix) for j, v in enumerate(row))
    for i, j, v in cells:
        key = (min(i, j), max(i, j))
        folded[key] = folded.get(key, 0) + exact(v)
        total += exact(v)
    return {key: v for key, v in folded.items() if v}, total


def entries(problem):
    residue = np.zeros_like(problem.value) if problem.residue is None else problem.residue
    return {
        (i, j): (Fraction(v) + Fraction(r)) / problem.denominator
        for i, j, v, r in zip(
            problem.row.tolist(), problem.col.tolist(), problem.value.tolist(), residue.tolist(), strict=True
        )
    }


integers = st.integers(-(2**30), 2**30)  # their sums fit beside four decimals
decimals = st.builds(lambda m, e: float(f"{m}e-{e}"), st.integers(-(10**6), 10**6), st.integers(0, 4))
squares = st.integers(1, 7).flatmap(
    lambda n: st.one_of(
        *(
            st.lists(st.lists(cell, min_size=n, max_size=n), min_size=n, max_size=n)
            for cell in (integers, decimals, st.one_of(integers, decimals))
        )
    )
)


@st.composite
def sparse(draw):
    n = draw(st.integers(1, 9))
    index = st.integers(0, n - 1)
    cells = draw(st.lists(st.tuples(index, index, st.one_of(integers, decimals)), max_size=30))
    return {
        "n": n,
        "row": [i for i, _, _ in cells],
        "col": [j for _, j, _ in cells],
        "value": [v for _, _, v in cells],
    }


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(squares, sparse()), min_size=1, max_size=4), st.sampled_from([None, 1, "\t"]))
def test_matrices_equal_the_twin(matrices, indent):
    problems = parse_sources(json.dumps(matrices, indent=indent).encode())
    assert len(problems) == len(matrices)
    for matrix, problem in zip(matrices, problems, strict=True):
        folded, total = twin(matrix)
        assert problem.n == (matrix["n"] if isinstance(matrix, dict) else len(matrix))
        assert problem.exact
        assert problem.residue is None
        assert entries(problem) == folded
        assert problem.total == float(total)
        keys = list(zip(problem.row.tolist(), problem.col.tolist(), strict=True))
        assert keys == sorted(set(keys))
        assert all(i <= j for i, j in keys)
        assert problem.value.all()


finite = st.floats(-1e290, 1e290)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5).flatmap(lambda n: st.lists(finite, min_size=n * n, max_size=n * n)))
def test_floats_lose_nothing(cells):
    n = math.isqrt(len(cells))
    matrix = [cells[i * n : (i + 1) * n] for i in range(n)]
    (problem,) = parse([matrix])
    if problem.exact:  # short decimals are taken as decimals
        assert entries(problem) == twin(matrix)[0]
        return
    folded = {}
    for i, j in itertools.product(range(n), repeat=2):
        key = (min(i, j), max(i, j))
        folded[key] = folded.get(key, 0) + Fraction(matrix[i][j])
    assert entries(problem) == {key: v for key, v in folded.items() if v}
    assert problem.total == math.fsum(cells)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_values_are_exact(data):
    n = data.draw(st.integers(1, 6))
    cells = data.draw(st.lists(st.one_of(finite, st.floats(-8, 8)), min_size=n * n, max_size=n * n))
    matrix = [cells[i * n : (i + 1) * n] for i in range(n)]
    (problem,) = parse([matrix])
    x = np.array(data.draw(st.lists(st.lists(st.integers(0, 1), min_size=n, max_size=n), max_size=5)), np.uint8)
    x = x.reshape(-1, n)
    want = entries(problem)
    for state, value in zip(x, problem.values(x), strict=True):
        exact = sum((v for (i, j), v in want.items() if state[i] and state[j]), Fraction(0))
        assert value == exact.numerator / exact.denominator


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**53), 2**53).map(str),
    st.builds(
        lambda sign, whole, rest, exponent: sign + whole + rest + exponent,
        st.sampled_from(["", "-"]),
        st.one_of(st.just("0"), st.from_regex(r"[1-9][0-9]{0,24}", fullmatch=True)),
        st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,30}", fullmatch=True)),
        st.one_of(st.just(""), st.from_regex(r"[eE][+-]?[0-9]{1,3}", fullmatch=True)),
    ),
)


@settings(deadline=None, max_examples=60)
@given(numbers)
def test_numbers_are_those_of_python(text):
    if text.lstrip("-").isdigit() and abs(int(text)) > 2**53:
        with pytest.raises(InvalidParams):
            parse_sources(f"[[[{text}]]]".encode())
        return
    value = float(text)
    fast = kernel.number(text.encode())
    if fast is not None:
        assert (fast, math.copysign(1, fast)) == (value, math.copysign(1, value))
    if abs(value) > 1e300:
        with pytest.raises(InvalidParams):
            parse_sources(f"[[[{text}]]]".encode())
    else:
        (problem,) = parse_sources(f"[[[{text}]]]".encode())
        assert problem.values(np.ones((1, 1), np.uint8))[0] == value


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740993.0",  # half way between two doubles: to even
        "9007199254740995.0",
        "0.500000000000000166533453693773481063544750213623046875",
        "1.7976931348623157e-290",
        "2.2250738585072011e-308",
        "4.9e-324",
        "2e-324",
        "123456789012345678901234567890e-30",
        "0." + "0" * 300 + "1",
        "1" + "0" * 400 + "e-400",
    ],
)
def test_hard_numbers(text):
    (problem,) = parse_sources(f"[[[{text}]]]".encode())
    assert problem.values(np.ones((1, 1), np.uint8))[0] == float(text)


def test_locale_does_not_matter():
    old = locale.setlocale(locale.LC_NUMERIC)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        try:
            (problem,) = parse_sources(b"[[[1.25e-40]]]")
            assert problem.value.tolist() == [1.25e-40]
        finally:
            locale.setlocale(locale.LC_NUMERIC, old)


def test_decimals_become_integers():
    (problem,) = parse([[[0.5, 0.1], [0.2, -1]]])
    assert (problem.exact, problem.denominator) == (True, 10)
    assert problem.value.tolist() == [5.0, 3.0, -10.0]
    assert problem.values(np.array([[1, 1]], np.uint8)).tolist() == [-0.2]
    assert problem.total == -0.2


def test_problems_are_picklable():
    (problem,) = parse([[[1, 2], [3, 4]]])
    again = pickle.loads(pickle.dumps(problem))
    assert isinstance(again, QuboProblem)
    assert (again.n, again.value.tolist(), again.total) == (2, [1.0, 5.0, 4.0], 10.0)


BAD = [
    ("", "json_invalid list_type", []),
    ("7", "list_type", []),
    ("[]", "too_short", []),
    ("[[]]", "too_short", ["0"]),
    ("[[[]]]", "too_short", ["0", "0"]),
    ("[[1, 2]]", "list_type", ["0", "0"]),
    ("[3]", "matrix_type", ["0"]),
    ("[null]", "matrix_type", ["0"]),
    ('["OPENQASM 2.0;"]', "matrix_type", ["0"]),
    ("[[[1]], [[1, 2], [3]]]", "matrix_ragged", ["1", "1"]),
    ("[[[1, 2], [3, 4, 5]]]", "matrix_ragged", ["0", "1"]),
    ("[[[1, 2], []]]", "matrix_ragged", ["0", "1"]),
    ("[[[1, 2, 3], [4, 5, 6]]]", "matrix_not_square", ["0"]),
    ("[[[1], [2]]]", "matrix_not_square", ["0"]),
    ("[[[1, 2], [3, 4], [5, 6]]]", "matrix_not_square", ["0"]),
    ('[[[1, "2"], [0, 1]]]', "number_type", ["0", "0", "1"]),
    ("[[[1, true], [0, 1]]]", "number_type", ["0", "0", "1"]),
    ("[[[1, 0], [null, 1]]]", "number_type", ["0", "1", "0"]),
    ("[[[[1]]]]", "number_type", ["0", "0", "0"]),
    ("[[[{}]]]", "number_type", ["0", "0", "0"]),
    ("[[[NaN]]]", "number_type", ["0", "0", "0"]),
    ("[[[-Infinity]]]", "number_type", ["0", "0", "0"]),
    ("[[[1e400]]]", "finite_number", ["0", "0", "0"]),
    ("[[[1e301]]]", "sum_too_large", ["0", "0", "0"]),
    ("[[[6e299, 6e299], [0, 0]]]", "sum_too_large", ["0", "0", "1"]),
    ("[[[9007199254740993]]]", "int_too_large", ["0", "0", "0"]),
    ("[[[-1180591620717411303424]]]", "int_too_large", ["0", "0", "0"]),
    (f"[[[{'1' * 2000}]]]", "number_too_long", ["0", "0", "0"]),
    (f"[[[0.{'1' * 2000}]]]", "number_too_long", ["0", "0", "0"]),
    ("[[[01]]]", "number_type", ["0", "0", "0"]),
    ("[[[+1]]]", "number_type", ["0", "0", "0"]),
    ("[[[.5]]]", "number_type", ["0", "0", "0"]),
    ("[[[5.]]]", "number_type", ["0", "0", "0"]),
    ("[[[1e]]]", "number_type", ["0", "0", "0"]),
    ("[[[-]]]", "number_type", ["0", "0", "0"]),
    ("[[[1,]]]", "number_type", ["0", "0", "1"]),
    ("[[[1 2]]]", "json_invalid", ["0", "0", "0"]),
    ("[[[1]]", "json_invalid", []),
    ("[[[1]]]x", "json_invalid", []),
    ("[[[1]],]", "matrix_type", ["1"]),
    ('[{"n": 2, "row": [-1], "col": [0], "value": [1]}]', "out_of_range", ["0", "row", "0"]),
    ('[{"n": 2, "row": [0, 0], "col": [0, 2], "value": [1, 1]}]', "out_of_range", ["0", "col", "1"]),
    ('[{"n": 2, "row": [0.0], "col": [0], "value": [1]}]', "int_type", ["0", "row", "0"]),
    ('[{"n": 2, "row": [1e0], "col": [0], "value": [1]}]', "int_type", ["0", "row", "0"]),
    ('[{"n": 2, "row": [true], "col": [0], "value": [1]}]', "int_type", ["0", "row", "0"]),
    ('[{"n": 2, "row": [0], "col": [99999999999999999999], "value": [1]}]', "out_of_range", ["0", "col", "0"]),
    ('[{"n": 2, "row": [0], "col": [0], "value": ["1"]}]', "number_type", ["0", "value", "0"]),
    ('[{"n": 2, "row": [0, 1], "col": [0], "value": [1, 1]}]', "length_mismatch", ["0"]),
    ('[{"n": 2, "row": [0], "col": [0], "value": []}]', "length_mismatch", ["0"]),
    ('[{"n": 2, "row": [0], "col": [0]}]', "missing", ["0"]),
    ("[{}]", "missing", ["0"]),
    ('[{"n": 1, "n": 1, "row": [], "col": [], "value": []}]', "duplicate", ["0"]),
    ('[{"n": 1, "row": [], "col": [], "value": [], "data": 1}]', "extra_forbidden", ["0"]),
    ('[{"n": 0, "row": [], "col": [], "value": []}]', "greater_than_equal", ["0", "n"]),
    ('[{"n": -3, "row": [], "col": [], "value": []}]', "greater_than_equal", ["0", "n"]),
    ('[{"n": 2.0, "row": [], "col": [], "value": []}]', "int_type", ["0", "n"]),
    ('[{"n": "2", "row": [], "col": [], "value": []}]', "int_type", ["0", "n"]),
    ('[{"n": 20001, "row": [], "col": [], "value": []}]', "too_many_variables", ["0", "n"]),
    ('[{"n": 99999999999999999999, "row": [], "col": [], "value": []}]', "too_many_variables", ["0", "n"]),
    ('[{"n": 1, "row": "0", "col": [0], "value": [1]}]', "list_type", ["0", "row"]),
    ('[{"n" 1}]', "json_invalid", ["0", "n"]),
    ('[{"n', "json_invalid", ["0"]),
    ("[{1: 2}]", "json_invalid", ["0"]),
]


@pytest.mark.parametrize(("text", "kinds", "place"), BAD)
def test_defects_are_named(text, kinds, place):
    with pytest.raises(InvalidParams) as caught:
        parse_sources(text.encode())
    error = caught.value.as_dict()
    (entry,) = error["data"]["errors"]
    assert "source_code" in error["message"]
    assert entry["type"] in kinds.split()
    assert entry["loc"] == ["body", "source_code", *place]
    assert set(entry) == {"type", "loc", "msg", "input"}
    assert len(json.dumps(entry, allow_nan=False)) < 400


def test_limits():
    with pytest.raises(InvalidParams, match="3 matrices at most"):
        parse([[[1]]] * 4, max_matrices=3)
    assert len(parse([[[1]]] * 3, max_matrices=3)) == 3
    with pytest.raises(InvalidParams, match="more than 8 cells"):
        parse([[[1, 2], [3, 4]], [[1, 2, 3]] * 3], max_cells=8)
    with pytest.raises(InvalidParams, match="3 variables, at most 2"):
        parse([[[1, 2, 3]] * 3], max_variables=2)
    with pytest.raises(InvalidParams, match="more than 2 cells"):
        parse([{"n": 2, "row": [0, 0, 0], "col": [0, 0, 0], "value": [1, 1, 1]}], max_cells=2)


def test_a_short_text_cannot_ask_for_much_memory():
    row = "[" + ",".join("1" * 19_999) + "]"
    with pytest.raises(InvalidParams):
        parse_sources(f"[[{row}, [1]]]".encode(), max_cells=10**9)


shards = st.sampled_from([*'[]{},:" \n', '"n"', '"row"', '"col"', '"value"', "1", "-0.5", "1e9", "true", "\\", "\x00"])


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.binary(max_size=60), st.lists(shards, max_size=40).map(lambda parts: "".join(parts).encode())))
def test_any_bytes_are_parsed_or_refused(raw):
    try:
        parse_sources(raw)
    except InvalidParams as error:
        assert "source_code" in error.message
    else:
        json.loads(raw)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 200), st.integers(0, 255))
def test_broken_json_is_refused_like_json(at, byte):
    raw = bytearray(b'[[[1, -2.5e3], [0.25, 4]], {"n": 3, "row": [0, 2], "col": [1, 2], "value": [7, -1.5]}]')
    raw[at % len(raw)] = byte
    try:
        parse_sources(bytes(raw))
    except InvalidParams:
        pass
    else:
        json.loads(bytes(raw))
