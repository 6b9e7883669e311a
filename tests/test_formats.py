"""Files of programs and QUBO problems: every format there and back, and every defect by line, column and expectation."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dimod
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from conftest import RunningServer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qfast import cli, formats
from qfast.client import Client
from qfast.matrices import MAX_VARIABLES, QuboProblem, parse_sources
from qfast.payloads import sources_of
from qfast.sources import FORMATS, SourceError, described, negated, read_file, read_source

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\nh q[0];\ncx q[0],q[1];\n'
DENSE = [[1, -2.5], [0, 3]]
COO = {"n": 2, "row": [0], "col": [1], "value": [-2.5]}


def _npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def problem(matrix: Any) -> QuboProblem:
    """The matrix as the server reads it."""
    return parse_sources(json.dumps([matrix]).encode())[0]


def dense(matrix: Any) -> np.ndarray:
    """The matrix as a symmetric array; the slow twin of all that folds."""
    if isinstance(matrix, dict):
        full = np.zeros((matrix["n"], matrix["n"]))
        np.add.at(full, (matrix["row"], matrix["col"]), matrix["value"])
    else:
        full = np.array(matrix, dtype=float)
    return (full + full.T) / 2


def read_one(name: str, text: str | bytes, **how: Any) -> Any:
    (matrix,) = read_source(name, text.encode() if isinstance(text, str) else text, **how).sources
    return matrix


QUBO = "c a comment\n\np qubo 0 3 2 2\n0 0 1\n2 2 -3.5\nc another\n0 1 2\n1 2 -4e0\n"
COORDINATE = "%%MatrixMarket matrix coordinate real symmetric\n% a comment\n\n3 3 3\n1 1 1\n3 3 -3.5\n3 1 2e0\n"
ARRAY = "%%MatrixMarket matrix array integer general\n2 2\n1\n2\n3\n4\n"
GRAPH = "# a comment\n3 2\n1 2\n2 3 -5\n"
BQM = {
    "type": "BinaryQuadraticModel",
    "version": {"bqm_schema": "3.0.0"},
    "use_bytes": False,
    "variable_labels": ["a", "b"],
    "variable_type": "SPIN",
    "offset": 0.5,
    "linear_biases": [1, -2],
    "quadratic_biases": [3],
    "quadratic_head": [0],
    "quadratic_tail": [1],
}


@pytest.mark.parametrize(
    ("name", "data", "code_type", "read"),
    [
        ("a.qasm", BELL.encode(), None, [BELL]),
        ("a.txt", BELL.encode(), None, [BELL]),
        ("stdin", BELL.encode(), None, [BELL]),
        ("stdin", b"\n" * 100 + b"x", None, ["\n" * 100 + "x"]),
        ("stdin", b"// a comment\nqubit q;", None, ["// a comment\nqubit q;"]),
        ("a.csv", b"1, -2.5\n0, 3\n", None, [DENSE]),
        ("a.csv", b"\xef\xbb\xbf1,-2.5,\r\n0,3,\r\n\r\n", None, [DENSE]),
        ("a.txt", b"1 -2.5\n0\t3", None, [DENSE]),
        ("a.tsv", b"1\t-2.5\n0 , 3", None, [DENSE]),
        ("stdin", b"1;-2.5\n0;3", None, [DENSE]),
        ("a.csv", b"7", None, [[[7]]]),
        ("a.json", json.dumps(DENSE).encode(), None, [DENSE]),
        ("a.json", json.dumps([DENSE, COO]).encode(), None, [DENSE, COO]),
        ("stdin", json.dumps(COO).encode(), None, [COO]),
        ("a.qasm", json.dumps(COO).encode(), "qubo", [COO]),
        ("a.csv", b"1,2", "qasm", ["1,2"]),
        ("a.mtx", b"1,2", "QASM2", ["1,2"]),
        ("a.npy", _npy(np.array(DENSE)), None, [DENSE]),
        ("a.npz", _npz(Q=np.array(DENSE)), None, [DENSE]),
        ("a.npz", _npz(n=2, i=np.array([0]), j=np.array([1]), v=np.array([-2.5])), None, [COO]),
        ("a.npz", _npz(n=2, row=np.array([0]), col=np.array([1]), value=np.array([-2.5])), None, [COO]),
        ("a.mtx", ARRAY.encode(), None, [[[1, 3], [2, 4]]]),
        ("stdin", ARRAY.encode(), None, [[[1, 3], [2, 4]]]),
        ("a.mtx", ARRAY.replace("general", "SYMMETRIC").replace("\n4", "").encode(), None, [[[1, 2], [2, 3]]]),
    ],
)
def test_files(name: str, data: bytes, code_type: str | None, read: list[Any]) -> None:
    assert read_source(name, data, code_type).sources == read


@pytest.mark.parametrize(
    ("name", "text", "how", "matrix"),
    [
        ("a.qubo", QUBO, {}, [[1, 1, 0], [1, 0, -2], [0, -2, -3.5]]),
        ("stdin", QUBO, {}, [[1, 1, 0], [1, 0, -2], [0, -2, -3.5]]),
        ("a.txt", QUBO, {"file_format": "qbsolv", "maximize": True}, [[-1, -1, 0], [-1, 0, 2], [0, 2, 3.5]]),
        ("a.mtx", COORDINATE, {}, [[1, 0, 2], [0, 0, 0], [2, 0, -3.5]]),
        ("a.mtx", COORDINATE, {"maximize": True}, [[-1, 0, -2], [0, 0, 0], [-2, 0, 3.5]]),
        ("a.rud", GRAPH, {}, [[-1, 1, 0], [1, 4, -5], [0, -5, 5]]),
        ("a.mc", GRAPH, {"maximize": True}, [[-1, 1, 0], [1, 4, -5], [0, -5, 5]]),
        ("G1", GRAPH, {"file_format": "gset"}, [[-1, 1, 0], [1, 4, -5], [0, -5, 5]]),
        ("a.json", json.dumps(BQM), {}, [[-4, 6], [6, -10]]),
        ("stdin", json.dumps(BQM), {"file_format": "bqm"}, [[-4, 6], [6, -10]]),
    ],
)
def test_what_is_minimised(name: str, text: str, how: dict[str, Any], matrix: list[list[float]]) -> None:
    assert dense(read_one(name, text, **how)).tolist() == matrix


MAXIMISED = "maximised: the matrix is negated"


@pytest.mark.parametrize(
    ("name", "text", "maximize", "notes"),
    [
        ("a.qubo", QUBO, None, "a.qubo: minimised, as the file does not say which"),
        ("a.qubo", QUBO, False, "a.qubo: minimised"),
        ("a.qubo", QUBO, True, f"a.qubo: {MAXIMISED}; the maximum is -quboValue"),
        ("a.csv", "1", None, None),
        ("a.csv", "1", False, None),
        ("a.csv", "1", True, f"a.csv: {MAXIMISED}; the maximum is -quboValue"),
        ("a.rud", GRAPH, None, "a.rud: max-cut of 3 nodes and 2 edges; cut = -quboValue"),
        (
            "a.json",
            json.dumps(BQM),
            None,
            "a.json: spins are s = 2x - 1; x_k is the variable variable_labels[k]; energy = 4.5 + quboValue",
        ),
        (
            "a.json",
            json.dumps(BQM | {"variable_type": "BINARY", "variable_labels": [0, 1]}),
            True,
            f"a.json: {MAXIMISED}; energy = 0.5 - quboValue",
        ),
        ("a.json", json.dumps(BQM | {"variable_type": "BINARY", "variable_labels": [0, 1], "offset": 0}), None, None),
    ],
)
def test_how_it_was_understood_is_said(name: str, text: str, maximize: bool | None, notes: str | None) -> None:
    assert read_source(name, text.encode(), maximize=maximize).notes == (() if notes is None else (notes,))


# ---------------------------------------------------------------------- there and back

VALUES = st.integers(-(2**40), 2**40) | st.floats(-1e15, 1e15)


@st.composite
def matrices(draw: st.DrawFn, values: Any = VALUES) -> dict[tuple[int, int], Any]:
    """Some entries with i >= j of a matrix, and its size under (-1, -1)."""
    n = draw(st.integers(1, 8))
    places = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), unique_by=lambda p: frozenset(p)))
    return {(-1, -1): n, **{(max(p), min(p)): draw(values) for p in places}}


def lower(entries: dict[tuple[int, int], Any]) -> tuple[int, np.ndarray]:
    n = entries[-1, -1]
    full = np.zeros((n, n))
    for (i, j), value in entries.items():
        if i >= 0:
            full[i, j] = value
    return n, full


@settings(deadline=None)
@given(matrices())
def test_qbsolv(entries: dict[tuple[int, int], Any]) -> None:
    n, full = lower(entries)
    pairs = [(j, i, value) for (i, j), value in entries.items() if i >= 0]
    nodes = sum(i == j for i, j, _ in pairs)
    lines = [f"p qubo unconstrained {n} {nodes} {len(pairs) - nodes}", *(f" {i}\t{j}  {v!r}" for i, j, v in pairs)]
    matrix = read_one("a.qubo", "c\n" + "\r\n".join(lines))
    assert (dense(matrix) == (full + full.T) / 2).all()
    assert (dense(read_one("a.qubo", "\n".join(lines), maximize=True)) == -dense(matrix)).all()


@settings(deadline=None)
@given(matrices(), st.booleans(), st.booleans())
def test_matrix_market_by_scipy(entries: dict[tuple[int, int], Any], array: bool, symmetric: bool) -> None:
    _, full = lower(entries)
    if symmetric:
        full = full + full.T
    stream = io.BytesIO()
    written = full if array else scipy.sparse.coo_matrix(full)
    scipy.io.mmwrite(stream, written, symmetry="symmetric" if symmetric else "general", precision=17)
    matrix = read_one("a.mtx", stream.getvalue())
    assert (dense(matrix) == (full + full.T) / 2).all()


@settings(deadline=None)
@given(matrices(st.integers(-1000, 1000)), st.data())
def test_graphs(entries: dict[tuple[int, int], Any], data: st.DataObject) -> None:
    n, _ = lower(entries)
    edges = [(i, j, weight) for (i, j), weight in entries.items() if i > j]
    text = f"{n} {len(edges)}\n" + "".join(f"{i + 1} {j + 1} {weight}\n" for i, j, weight in edges)
    x = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.uint8)
    cut = sum(weight for i, j, weight in edges if x[i] != x[j])
    assert problem(read_one("a.rud", text)).values(x[None])[0] == -cut


@settings(deadline=None)
@given(matrices(st.integers(-50, 50) | st.floats(-50, 50)), st.sampled_from(["SPIN", "BINARY"]), st.data())
def test_models_of_dimod(entries: dict[tuple[int, int], Any], vartype: str, data: st.DataObject) -> None:
    n, full = lower(entries)
    bqm = dimod.BinaryQuadraticModel(np.diag(full), full - np.diag(np.diag(full)), data.draw(st.floats(-9, 9)), vartype)
    reading = read_source("a.json", json.dumps(bqm.to_serializable()).encode())
    x = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.uint8)
    value = problem(reading.sources[0]).values(x[None])[0]
    found = re.search(r"energy = (\S+) \+ quboValue", " ".join(reading.notes))
    energy = value + (float(found[1]) if found else 0.0)
    sample = 2 * x.astype(np.int8) - 1 if vartype == "SPIN" else x
    assert energy == pytest.approx(bqm.energy(sample), abs=1e-9)


@settings(deadline=None)
@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n), min_size=n, max_size=n)))
def test_rows(rows: list[list[Any]]) -> None:
    for separator in (",", ";", " ", " ,\t"):
        assert read_one("a.csv", "\n".join(separator.join(map(repr, row)) for row in rows)) == rows
    assert read_one("a.json", json.dumps(rows)) == rows
    assert read_one("a.npy", _npy(np.array(rows))) == np.array(rows).tolist()
    assert negated(negated(rows)) == rows


def test_a_model_in_a_list() -> None:
    reading = read_source("a.json", json.dumps([DENSE, BQM]).encode())
    assert len(reading.sources) == 2
    assert reading.notes[0].startswith("a.json: spins")


# ---------------------------------------------------------------------- defects

HEAD = "%%MatrixMarket matrix coordinate real general\n"


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        # any text
        ("a.csv", b"", "a.csv: empty"),
        ("a.qasm", b"\xff", "a.qasm, line 1, column 1: not UTF-8 text (byte 0)"),
        ("a.qubo", b"p qubo\n c\xff", "a.qubo, line 2, column 3: not UTF-8 text (byte 9)"),
        # rows
        ("a.csv", "1,2\n\n3", "a.csv, line 3: 2 rows, but this one has 1 numbers; a QUBO matrix is square"),
        ("a.csv", "1,2\n3,x", "a.csv, line 2, column 3: 'x' is not a number"),
        ("a.csv", "1,2\n3,", "a.csv, line 2: 2 rows, but this one has 1 numbers"),
        ("a.csv", "1, ,2", "a.csv, line 1, column 4: '' is not a number"),
        ("a.csv", "nan", "a.csv, line 1, column 1: 'nan' is not a number"),
        ("a.csv", "1_0", "'1_0' is not a number"),
        ("a.csv", "\u0661", "'\u0661' is not a number"),
        ("a.csv", "1 1e999", "line 1, column 3: expected a number within float64"),
        ("a.csv", "9007199254740993", "column 1: expected an integer up to 2^53, or a decimal point to allow rounding"),
        ("a.csv", "1" * 1001, "column 1: expected a number of at most 1000 characters"),
        # JSON
        ("a.json", "[[1,]]", "a.json, line 1, column"),
        ("a.json", "[[1],\n [NaN]]", "a.json, line 2, column 3: NaN is not a number that JSON knows"),
        ("a.json", "[[1e999]]", "a.json, line 1, column 3: expected a number within float64, got '1e999'"),
        ("a.json", "[]", "expected a matrix or a list of matrices, got a list of 0"),
        ("a.json", "5", "expected a matrix or a list of matrices, got 5"),
        ("a.json", '{"n": 1, "n": 2}', "the member 'n' is given twice"),
        ("a.json", "[" * 100_000, "too deep"),
        ("a.json", "[[" + "1" * 5000 + "]]", "thousands of digits"),
        # numpy
        ("a.npz", b"junk", "not a numpy file"),
        ("a.npz", b"PK\x03\x04junk", "not a numpy file"),
        ("a.npy", _npy(np.zeros(3)), "expected one square array, or n with row, col, value; it has an array (3,)"),
        ("a.npy", _npy(np.zeros((2, 2), complex)), "expected numbers, got an array of complex128"),
        ("a.npy", _npy(np.array([[np.nan]])), "expected finite numbers, got NaN or infinity"),
        ("a.npz", _npz(a=np.eye(2), b=np.eye(2)), "expected one square array, or n with row, col, value; it has a"),
        ("a.npy", _npy(np.eye(2))[:-9], "not a numpy file"),
        # qbsolv
        ("a.qubo", "c only comments\n", "a.qubo, line 2, column 1: expected the line 'p qubo 0 maxNodes"),
        ("a.qubo", "0 0 1\n", "line 1, column 1: expected the line 'p qubo 0 maxNodes nNodes nCouplers', got '0'"),
        ("a.qubo", "p cnf 3 2\n", "line 1, column 3: expected the line 'p qubo 0"),
        ("a.qubo", "p qubo 0 3 2", "line 1, column 13: expected nCouplers, got the end of the line"),
        ("a.qubo", "p qubo 0 3 2 1 1", "line 1, column 16: expected the end of the line, got '1'"),
        ("a.qubo", "p qubo 0 20001 1 0", "line 1, column 10: expected maxNodes in 1..20000, got '20001'"),
        ("a.qubo", "p qubo 0 -3 1 0", "expected maxNodes in 1..20000, got '-3'"),
        ("a.qubo", "p qubo 0 3 4 0", "line 1, column 12: expected nNodes in 0..3, got '4'"),
        ("a.qubo", "p qubo 0 3 3 4", "line 1, column 14: expected nCouplers in 0..3, got '4'"),
        ("a.qubo", "p qubo 0 2 1 0\n0 0\n", "line 2, column 4: expected a value, got the end of the line"),
        ("a.qubo", "p qubo 0 2 1 0\n0 0 1 1\n", "line 2, column 7: expected the end of the line, got '1'"),
        ("a.qubo", "p qubo 0 2 1 0\n2 2 1\n", "line 2, column 1: expected node i in 0..1, got '2'"),
        ("a.qubo", "p qubo 0 2 0 1\n1 0 1\n", "line 2, column 3: expected node j, after or the same as 1, got '0'"),
        ("a.qubo", "p qubo 0 2 1 0\n0 0 x\n", "line 2, column 5: expected a number, got 'x'"),
        ("a.qubo", "p qubo 0 2 1 0\n0 0 inf\n", "line 2, column 5: expected a number, got 'inf'"),
        ("a.qubo", "p qubo 0 2 1 0\n0 0 1e400\n", "line 2, column 5: expected a number within float64, got '1e400'"),
        ("a.qubo", "p qubo 0 2 2 0\n0 0 1\nc\n0 0 2\n", "line 4, column 1: expected each pair once (0 0 is on line 2"),
        ("a.qubo", "p qubo 0 2 1 0\n0 0 1\n1 1 2\n", "line 3, column 1: expected no more than 1 nodes"),
        ("a.qubo", "p qubo 0 2 1 1\n0 0 1\n", "line 3, column 1: expected 1 couplers, as line 'p' says, not 0"),
        # graphs
        ("a.rud", "3\n", "a.rud, line 1, column 2: expected the number of edges, got the end of the line"),
        ("a.rud", "a b\n", "line 1, column 1: expected the number of nodes in 1..20000, got 'a'"),
        ("a.rud", "3 4\n", "line 1, column 3: expected the number of edges in 0..3, got '4'"),
        ("a.rud", "3 1\n1\n", "line 2, column 2: expected node j, got the end of the line"),
        ("a.rud", "3 1\n1 2 3 4\n", "line 2, column 7: expected the end of the line, got '4'"),
        ("a.rud", "3 1\n0 1 1\n", "line 2, column 1: expected node i in 1..3, got '0'"),
        ("a.rud", "3 1\n1 4 1\n", "line 2, column 3: expected node j in 1..3, got '4'"),
        ("a.rud", "3 1\n2 2 1\n", "line 2, column 3: expected an edge to another node than 2, got '2'"),
        ("a.rud", "3 1\n1 2 w\n", "line 2, column 5: expected a number, got 'w'"),
        ("a.rud", "3 2\n1 2 1\n2 1 1\n", "line 3, column 1: expected each edge once (2 1 is on line 2 already)"),
        ("a.rud", "3 1\n1 2 1\n1 3 1\n", "line 3, column 1: expected no more than 1 edges"),
        ("a.rud", "3 2\n1 2 1\n", "line 3, column 1: expected 2 edges, as the head says, not 1, got the end of"),
        # Matrix Market
        ("a.mtx", "1 1 1\n", "a.mtx, line 1, column 1: expected %%MatrixMarket, got '1'"),
        ("a.mtx", "%%MatrixMarket matrix\n", "line 1, column 22: expected coordinate or array, got the end of the"),
        ("a.mtx", HEAD.replace("real", "complex"), "line 1, column 34: expected integer or real, got 'complex'"),
        ("a.mtx", HEAD.replace("real", "pattern"), "line 1, column 34: expected integer or real, got 'pattern'"),
        ("a.mtx", HEAD.replace("general", "hermitian"), "expected general or symmetric, got 'hermitian'"),
        ("a.mtx", HEAD + "%\n", "line 3, column 1: expected the line with the numbers of rows, columns, entries"),
        ("a.mtx", HEAD + "2 3 1\n", "line 2, column 3: expected as many columns as rows (2)"),
        ("a.mtx", HEAD + "2 2\n", "line 2, column 4: expected the number of entries, got the end of the line"),
        ("a.mtx", HEAD + "2 2 1\n3 1 1\n", "line 3, column 1: expected row i in 1..2, got '3'"),
        ("a.mtx", HEAD + "2 2 1\n1 0 1\n", "line 3, column 3: expected column j in 1..2, got '0'"),
        ("a.mtx", HEAD + "2 2 1\n1 1\n", "line 3, column 4: expected a value, got the end of the line"),
        ("a.mtx", HEAD + "2 2 1\n1 1 1\n1 1 1\n", "line 4, column 1: expected no more than 1 entries"),
        ("a.mtx", HEAD + "2 2 2\n1 1 1\n", "line 4, column 1: expected 2 entries, as the size line says, not 1"),
        (
            "a.mtx",
            HEAD.replace("real", "integer") + "1 1 1\n1 1 .5\n",
            "line 3, column 5: expected an integer, got '.5'",
        ),
        (
            "a.mtx",
            HEAD.replace("general", "symmetric") + "2 2 1\n1 2 1\n",
            "line 3, column 3: expected a column up to 1: a symmetric file holds the lower triangle, got '2'",
        ),
        ("a.mtx", ARRAY[:-2], "line 6, column 1: expected the value of row 2, column 2, got the end of the file"),
        ("a.mtx", ARRAY + "5\n", "line 7, column 1: expected the end of the file after 2 columns, got '5'"),
        ("a.mtx", ARRAY.replace("2 2", "20000 20000"), "line 2, column 1: expected at most 40000000 cells"),
        # models of dimod
        ("a.json", BQM | {"version": {"bqm_schema": "2.0.0"}}, 'a.json: version.bqm_schema: expected "3.0.0", got'),
        ("a.json", BQM | {"use_bytes": True}, "a.json: use_bytes: expected false: write the model with"),
        ("a.json", BQM | {"variable_type": "INTEGER"}, 'variable_type: expected "BINARY" or "SPIN", got \'INTEGER\''),
        ("a.json", BQM | {"linear_biases": None}, "linear_biases: expected a list, got nothing"),
        ("a.json", BQM | {"linear_biases": []}, "linear_biases: expected 1 to 20000 variables, got 0"),
        ("a.json", BQM | {"linear_biases": [1, "x"]}, "linear_biases[1]: expected a number, got 'x'"),
        ("a.json", BQM | {"linear_biases": [True, 1]}, "linear_biases[0]: expected a number, got True"),
        ("a.json", BQM | {"linear_biases": [1e308, -1e308]}, "linear_biases: expected biases whose sums are within"),
        ("a.json", BQM | {"linear_biases": [10**400, 1]}, "linear_biases[0]: expected a number"),
        ("a.json", BQM | {"quadratic_tail": [2]}, "quadratic_tail[0]: expected a variable in 0..1, got 2"),
        ("a.json", BQM | {"quadratic_tail": [0]}, "quadratic_tail[0]: expected another variable than 0, got 0"),
        ("a.json", BQM | {"quadratic_head": [0, 1]}, "quadratic_head: expected 1 entries, got 2"),
        ("a.json", BQM | {"offset": [1]}, "offset: expected a number, got a list of 1"),
    ],
)
def test_defects(name: str, text: str | bytes | dict[str, Any], error: str) -> None:
    if isinstance(text, dict):
        text = json.dumps(text)
    with pytest.raises(SourceError) as caught:
        read_source(name, text.encode() if isinstance(text, str) else text)
    assert error in str(caught.value)
    assert str(caught.value).startswith(name)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("text", "how", "error"),
    [
        (BELL, {"maximize": True}, "needs a matrix"),
        (GRAPH, {"file_format": "rudy", "maximize": False}, "read for max-cut"),
        (BELL, {"file_format": "mtx", "code_type": "qasm"}, "contradict"),
        (BELL, {"file_format": "qasm", "code_type": "qubo"}, "contradict"),
        (BELL, {"file_format": "xls"}, "'xls' is not a format: qasm, csv"),
        ("[[1]]", {"file_format": "bqm"}, "type: expected BinaryQuadraticModel, got a list of 1"),
        ("{}", {"file_format": "bqm"}, "type: expected BinaryQuadraticModel, got nothing"),
    ],
)
def test_what_makes_no_sense(text: str, how: dict[str, Any], error: str) -> None:
    with pytest.raises(SourceError, match=re.escape(error)):
        read_source("stdin", text.encode(), **how)


def test_sizes_are_capped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("qfast.sources.MAX_BYTES", 100)
    (tmp_path / "a.csv").write_text("1" * 101)
    with pytest.raises(SourceError, match="longer than 100 bytes"):
        read_file(tmp_path / "a.csv")
    assert formats.MAX_VARIABLES == MAX_VARIABLES


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from([QUBO, COORDINATE, ARRAY, GRAPH, json.dumps(BQM), json.dumps(DENSE), "1,2\n3,4"]),
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 3), st.text(max_size=3) | st.sampled_from("019.e-[]{},")),
        max_size=4,
    ),
)
@example("json", '{"version": {"bqm_schema": 3}}', [])
def test_no_text_whatever_raises_anything_else(
    file_format: str, text: str, changes: list[tuple[int, int, str]]
) -> None:
    for place, length, new in changes:
        text = text[:place] + new + text[place + length :]
    data = text.encode("utf-8", "surrogatepass")
    for how in ({"file_format": file_format}, {}):
        try:
            reading = read_source("a", data, **how)
        except SourceError:
            continue
        json.dumps(reading.sources, allow_nan=False)


@settings(deadline=None)
@given(st.binary(max_size=6), st.integers(0, 200), st.booleans())
def test_no_numpy_file_whatever_raises_anything_else(new: bytes, place: int, zipped: bool) -> None:
    data = _npz(Q=np.eye(2)) if zipped else _npy(np.eye(2))
    try:
        reading = read_source("a.npz", data[:place] + new + data[place + len(new) :])
    except SourceError:
        return
    json.dumps(reading.sources, allow_nan=False)


# ---------------------------------------------------------------------- where they are used


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of each kind."""
    (tmp_path / "a.qubo").write_text(QUBO)
    (tmp_path / "a.mtx").write_text(COORDINATE)
    (tmp_path / "G3").write_text(GRAPH)
    (tmp_path / "a.json").write_text(json.dumps(BQM))
    (tmp_path / "a.npy").write_bytes(_npy(np.array(DENSE)))
    (tmp_path / "a.qasm").write_text(BELL)
    return tmp_path


def test_the_client_takes_paths(server: RunningServer, folder: Path) -> None:
    client = server.client
    (least,), (most,) = (client.run(folder / "a.qubo", maximize=sign) for sign in (None, True))
    assert (least["results"][0]["quboValue"], most["results"][0]["quboValue"]) == (-7.5, -3.0)
    (cut,) = client.run(folder / "G3", file_format="gset")
    assert cut["results"][0]["quboValue"] == -1
    mixed = client.submit_job([folder / "a.qubo", DENSE, folder / "a.npy"], maximize=True)
    assert len(mixed["source_code"]) == 3
    assert mixed["description"] == "; ".join(
        f"{maker}{MAXIMISED}; the maximum is -quboValue" for maker in ("a.qubo: ", "", "a.npy: ")
    )
    job = client.submit_job(folder / "a.json", description="mine")
    assert job["description"] == "mine"
    (counts,) = client.run(folder / "a.qasm", shots=10)
    assert sum(counts["results"].values()) == 10


def test_the_description_tells_how_a_file_was_understood(server: RunningServer, folder: Path) -> None:
    job = server.client.submit_job({(0, 0): 1}, maximize=True)
    assert job["description"] == "maximised: the matrix is negated; the maximum is -quboValue"
    assert job["source_code"] == [{"n": 1, "row": [0], "col": [0], "value": [-1]}]
    assert len(described(["x" * 300], {})["description"]) == 255


@pytest.mark.parametrize(
    ("source", "how", "error"),
    [("a.qubo", {"file_format": "csv"}, "given as pathlib.Path"), (BELL, {"maximize": True}, "needs a matrix")],
)
def test_the_client_refuses(source: Any, how: dict[str, Any], error: str) -> None:
    with pytest.raises(SourceError, match=error):
        Client("http://127.0.0.1:1").submit_job(source, **how)


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.csv: No such file"):
        Client("http://127.0.0.1:1").submit_job(folder / "none.csv")


def test_the_command_line_says_it_aloud(
    server: RunningServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["submit", str(folder / "a.qubo"), "--maximize", "--wait", "--url", server.url, "--json"]
    assert cli.main(line) == 0
    out, err = capsys.readouterr()
    assert err == "a.qubo: maximised: the matrix is negated; the maximum is -quboValue\n"
    job = json.loads(out)
    assert job["results"][0]["results"][0]["quboValue"] == -3
    assert job["description"] == err.strip()
    assert cli.main(["submit", str(folder / "G3"), "--format", "gset", "--url", server.url]) == 0
    assert "cut = -quboValue" in capsys.readouterr().err
    assert cli.main(["submit", str(folder / "a.mtx"), "--format", "qbsolv", "--url", server.url]) == 2
    assert "line 1, column 1: expected the line 'p qubo" in capsys.readouterr().err


def test_numpy_is_loaded_for_its_own_files_only(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from qfast import Client; from qfast.sources import read_file\n"
        "for name in ('a.qubo', 'a.mtx', 'a.json', 'a.qasm'): read_file(Path(sys.argv[1]) / name)\n"
        "print('numpy' in sys.modules); read_file(Path(sys.argv[1]) / 'a.npy'); print('numpy' in sys.modules)"
    )
    line = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parent.parent)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_sources_of_reading_again_changes_nothing() -> None:
    for sources in ([DENSE], [COO, DENSE], [BELL], [[[7]]]):
        assert sources_of(sources) == sources
