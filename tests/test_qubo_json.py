"""Dense QUBO matrices on their way from JSON to cells: the same numbers as by entries, in the narrowest type."""

import json
import math
import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast._ext import qubo as parser
from qfast._ext import tempering
from qfast.errors import InvalidParams, JobCancelled
from qfast.matrices import QuboProblem, aligned, parse_sources
from qfast.qubo import solve


def dense(cells, **how):
    """The matrix held as cells, however small."""
    (problem,) = parse_sources(json.dumps([cells], separators=(",", ":")).encode(), min_dense=1, **how)
    return problem


def folded(q):
    """The slow twin: upper triangular, by Python's integers."""
    n = len(q)
    return {(i, j): v for i in range(n) for j in range(i, n) if (v := int(q[i][j]) + (int(q[j][i]) if i < j else 0))}


def entries(problem):
    """What the problem says of itself."""
    return {(int(i), int(j)): int(v) for i, j, v in zip(problem.row, problem.col, problem.value, strict=True)}


SIZES = {"int16": 100, "sums beyond int16": 32_767, "int32": 9_999_999, "beyond int32": 2**40}


@pytest.mark.parametrize("largest", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("simd", parser.levels)
@settings(deadline=None, max_examples=15)
@given(st.data())
def test_cells_equal_the_twin(largest, blank, simd, data):
    n = data.draw(st.sampled_from([4, 17, 31, 32, 33, 64, 65, 71, 96, 100]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    q = rng.integers(-largest, largest + 1, (n, n)) * (rng.random((n, n)) < data.draw(st.sampled_from([0.3, 1.0])))
    odd = data.draw(st.integers(0, n - 1))
    text = json.dumps([q.tolist()], separators=("," + blank, ":"))
    if data.draw(st.booleans()):  # a row that only the slow reader takes
        text = json.dumps([[*q[:odd].tolist(), [float(v) for v in q[odd]], *q[odd + 1 :].tolist()]])
    (problem,) = parse_sources(text.encode(), min_dense=1, simd=simd)
    wanted = folded(q)
    assert entries(problem) == wanted
    assert (problem.size, problem.pairs) == (len(wanted), sum(i < j for i, j in wanted))
    assert problem.total == q.sum() and problem.exact and problem.denominator == 1
    states = rng.integers(0, 2, (3, n), np.uint8)
    full = q.astype(object)
    assert problem.values(states).tolist() == [int(x @ full @ x) for x in states.astype(object)]
    if problem.dense is not None:
        cells = problem.dense.cells
        assert (cells[:, :n] == cells[:, :n].T).all() and not cells.diagonal().any() and not cells[:, n:].any()
        assert problem.dense.bound == (np.abs(cells.astype(int)).sum(1) + np.abs(problem.dense.diagonal)).max()
        assert cells.itemsize == (2 if max(np.abs(cells.astype(int)).max(), np.abs(q).max()) < 2**15 else 4)


def test_the_narrowest_type_is_taken():
    for largest, kind in ((100, np.int16), (16_383, np.int16), (16_384, np.int32), (2**29, np.int32)):
        assert dense([[largest] * 40] * 40).dense.cells.dtype == kind
    assert dense([[2**31] * 40] * 40).dense is None
    assert dense([[0.25] * 40] * 40).dense.cells.dtype == np.int16
    assert dense([[0.25] * 40] * 40).denominator == 100
    assert dense([[1 / 3] * 40] * 40).dense.cells.dtype == np.float64
    assert dense(np.triu(np.full((40, 40), 32_767)).tolist()).dense.cells.dtype == np.int16


def test_sparse_matrices_are_held_by_entries():
    q = np.zeros((200, 200), int)
    q[0, 1:90] = 3
    assert dense(q.tolist()).dense is None
    assert dense((q + 1).tolist()).dense is not None


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("01", "number_type"),
        ("-", "number_type"),
        ("", "number_type"),
        ("1-", "json_invalid"),
        ("--1", "number_type"),
        ("+1", "number_type"),
        ('"1"', "number_type"),
        ("null", "number_type"),
        ("NaN", "number_type"),
        ("1e999", "finite_number"),
        ("9007199254740993", "int_too_large"),
        ("1,1", "matrix_ragged"),
    ],
)
@pytest.mark.parametrize("row", [1, 7, 60])
@pytest.mark.parametrize("simd", parser.levels)
def test_a_defect_among_quick_rows_is_named_by_row_and_column(cell, kind, row, simd):
    n = 67
    rows = [["12"] * n for _ in range(n)]
    rows[row][33] = cell
    text = "[[" + ",".join("[" + ",".join(cells) + "]" for cells in rows) + "]]"
    with pytest.raises(InvalidParams) as refusal:
        parse_sources(text.encode(), simd=simd)
    (error,) = refusal.value.errors
    assert error["type"] == kind
    place = [] if kind == "matrix_ragged" else ["33"]
    assert error["loc"] == ["body", "source_code", "0", str(row), *place]


@pytest.mark.parametrize("simd", parser.levels)
@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_spelling_of_an_integer_is_read_or_refused_as_by_json(simd, data):
    n, rng = 70, np.random.default_rng(data.draw(st.integers(0, 2**32)))
    cells = [
        [str(v) for v in row] for row in rng.integers(-(10 ** rng.integers(1, 9)), 10 ** rng.integers(1, 9), (n, n))
    ]
    row, col = data.draw(st.integers(1, n - 1)), data.draw(st.sampled_from([0, 1, 61, 62, 68, 69]))
    cell = data.draw(st.text("0123456789-,+.e []\n", min_size=0, max_size=9))
    cells[row][col] = cell
    join = data.draw(st.sampled_from([",", ", "]))
    text = "[[" + join.join("[" + join.join(one) + "]" for one in cells) + "]]"
    try:
        wanted = json.loads(text)[0]
        if any(len(one) != n or not all(isinstance(v, int | float) for v in one) for one in wanted):
            raise ValueError
        if sum(abs(v) for one in wanted for v in one) > 1e300:
            raise ValueError
    except ValueError:
        with pytest.raises(InvalidParams):
            parse_sources(text.encode(), simd=simd)
        return
    (problem,) = parse_sources(text.encode(), simd=simd)
    states = np.eye(n, dtype=np.uint8)
    assert problem.values(states).tolist() == [float(wanted[k][k]) for k in range(n)]
    total = math.fsum(v for one in wanted for v in one)  # left to right, 1e16 among them would round
    assert problem.values(np.ones((1, n), np.uint8))[0] == pytest.approx(total, rel=1e-15)


def test_reading_stops_when_it_is_cancelled():
    for source in (b"[[[1, 2], [3, 4]]]", b'[{"n": 1, "row": [0], "col": [0], "value": [1]}]'):
        with pytest.raises(JobCancelled):
            parse_sources(source, cancel=bytearray(b"\1"))


@pytest.mark.parametrize("spread", [0, 600])
@settings(deadline=None, max_examples=10)
@given(st.data())
def test_float_cells_equal_the_twin(spread, data):
    n = data.draw(st.sampled_from([2, 31, 33, 64, 70]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    q = rng.normal(size=(n, n)) * 2.0 ** rng.integers(-spread // 2, spread // 2 + 1, (n, n))
    held, taken = (parse_sources(orjson.dumps([q.tolist()]), min_dense=least)[0] for least in (1, n + 1))
    assert held.dense is not None and taken.dense is None and not held.exact
    states = rng.integers(0, 2, (4, n), np.uint8)
    exact = [float(sum(Fraction(q[i, j]) for i in np.flatnonzero(x) for j in np.flatnonzero(x))) for x in states]
    assert held.values(states).tolist() == taken.values(states).tolist() == exact
    assert (held.size, held.pairs, held.total) == (taken.size, taken.pairs, taken.total)
    for mine, twin in zip((held.row, held.col, held.value), (taken.row, taken.col, taken.value), strict=True):
        assert mine.tolist() == twin.tolist()
    assert (held.residue is None) == (taken.residue is None)
    if held.residue is not None:
        assert held.residue.tolist() == taken.residue.tolist()


@pytest.mark.parametrize("simd", tempering.levels)
def test_tabu_search_on_float_cells_finds_the_ten_best(simd):
    rng = np.random.default_rng(4)
    for n in (2, 7, 14):
        q = rng.normal(size=(n, n))
        problem = dense(q.tolist())
        assert problem.dense is not None and problem.dense.cells.dtype == np.float64
        found = solve(problem, seed=1, sweeps=2000, solver="tabu_search", simd=simd)
        states = ((np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1).astype(np.uint8)
        best = states[np.argsort(np.einsum("ki,ij,kj->k", states, q, states), kind="stable")[:10]]
        assert found.x.tolist() == best.tolist()
        assert found.energies.tolist() == problem.values(best).tolist()


@pytest.mark.parametrize("simd", tempering.levels)
@pytest.mark.parametrize("largest", [100, 20_000, 2**24])
def test_tabu_search_on_cells_finds_the_proven_ten(simd, largest):
    rng = np.random.default_rng(largest)
    for n in (2, 7, 14):
        q = rng.integers(-largest, largest + 1, (n, n))
        problem = dense(q.tolist())
        assert problem.dense is not None
        found = solve(problem, seed=1, sweeps=2000, solver="tabu_search", simd=simd)
        states = (np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1
        values = np.einsum("ki,ij,kj->k", states, q, states)
        best = np.argsort(values, kind="stable")[:10]  # states count up, so that ties are in lexicographic order
        assert found.energies.tolist() == values[best].tolist()
        assert found.x.tolist() == states[best].tolist()


def test_cells_and_entries_give_the_same_search():
    q = np.random.default_rng(5).integers(-100, 101, (150, 150))
    problem = dense(q.tolist())
    by_entries = QuboProblem(n=150, row=problem.row, col=problem.col, value=problem.value, total=problem.total)
    answers = [
        solve(one, seed=3, sweeps=50, solver="tabu_search", simd=simd).x.tobytes()
        for one in (problem, by_entries, pickle.loads(pickle.dumps(problem)))
        for simd in tempering.levels
    ]
    assert len(set(answers)) == 1


def test_rows_that_add_up_to_too_much_are_searched_by_entries():
    q = np.full((400, 400), 2**20)
    problem = dense(q.tolist())
    assert problem.dense.bound > tempering.max_row_sum
    assert solve(problem, seed=1, sweeps=1, solver="tabu_search").energies[0] == 0


def test_the_kernel_refuses_cells_that_are_none():
    cells, diagonal = np.zeros((4, 48), np.int16), np.zeros(4)
    cells = aligned(cells)[:, :16].copy()
    no_entries = {"row": np.empty(0, np.int32), "col": np.empty(0, np.int32), "value": np.empty(0)}
    fixed = {"dense": True, "exact": True, "replicas": 32, "reads": 1, "sweeps": 1, "deadline": 0.0, "seed": 1}

    def search(cells, diagonal=diagonal, **other):
        how = fixed | {"cancel": bytearray(1)} | other
        return tempering.temper(4, **no_entries, cells=cells, diagonal=diagonal, entries=0, **how)

    assert len(search(aligned(cells))[0]) == 10
    for at in ((1, 1), (0, 4), (3, 15)):
        wrong = aligned(cells).copy()
        wrong[at] = 1
        with pytest.raises(ValueError, match="zero on the diagonal and in the padding"):
            search(aligned(wrong))
    heavy = aligned(cells.astype(np.int32)).copy()
    heavy[0, 1:4] = 2**28
    with pytest.raises(ValueError, match="less than 2"):
        search(aligned(heavy))
    with pytest.raises(ValueError, match="less than 2"):
        search(aligned(cells), np.array([0, np.nan, 0, 0]))
    for wrong in (cells.astype(np.int64), np.zeros((3, 16), np.int16), np.zeros((4, 32), np.int16)):
        with pytest.raises(ValueError, match="aligned rows"):
            search(aligned(wrong))
    with pytest.raises(ValueError, match="aligned rows"):
        search(np.asfortranarray(cells))
    for wrong in ({"dense": False}, {"exact": False}):
        with pytest.raises(ValueError, match="instead of row"):
            search(aligned(cells), **wrong)


_PEAK = """
import sys
from qfast.matrices import parse_sources
from qfast.qubo import solve

def resident(what):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1])

def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

solve(parse_sources(b"[[" + b",".join([b"[" + b",".join([b"1"] * 70) + b"]"] * 70) + b"]]")[0], seed=1, sweeps=2)
text = open(sys.argv[1], "rb").read()
before = resident("VmRSS")
forget_peak()
(problem,) = parse_sources(text)
print(resident("VmHWM") - before)
del text
before = resident("VmRSS") - problem.nbytes
forget_peak()
solve(problem, seed=1, sweeps=2)
print(resident("VmHWM") - before)
"""


def test_a_dense_matrix_is_in_memory_once(tmp_path):
    n = 2500
    q = np.random.default_rng(1).integers(-100, 101, (n, n))
    (tmp_path / "matrix.json").write_text(json.dumps([q.tolist()], separators=(",", ":")))
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "matrix.json")]
    read, run = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    narrowest = n * n * 2
    assert narrowest <= read < 2 * narrowest
    assert narrowest <= run < 2 * narrowest  # three times is what is asked
