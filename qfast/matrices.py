"""QUBO matrices: the JSON of a job read to one folded form without the loss of a bit, and exact values of solutions."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from qfast._ext import qubo as _parser
from qfast.errors import InvalidParams, JobCancelled

MAX_VARIABLES = 20_000
MAX_MATRICES = 10_000
MAX_CELLS = 100_000_000  # of all matrices of a job together; 2, 4 or 8 bytes each while parsing
MIN_DENSE = 64  # variables; smaller matrices are held by their entries, however dense

_SHOWN = 40  # characters of the input that an error quotes


class DenseCells(msgspec.Struct, frozen=True, eq=False):
    """A dense matrix as the tabu search takes it, in the narrowest type that holds its numbers.

    Attributes
    ----------
    cells : ndarray of int16, int32 or float64, shape (n, at least n)
        ``q_ij + q_ji`` in both triangles, zeros on the diagonal and behind the n-th column.
    diagonal : ndarray of float64, shape (n,)
    entries, pairs : int
        How many are not zero: of the upper triangle with the diagonal, and without.
    bound : int
        Most that the absolute values of a row, its diagonal included, add up to; 0 of float64 cells.
    residue : ndarray of float64 or None
        What rounding took from the pairs i < j of float64 cells, row by row.
    """

    cells: npt.NDArray[Any]
    diagonal: npt.NDArray[np.float64]
    entries: int
    pairs: int
    bound: int
    residue: npt.NDArray[np.float64] | None = None


def aligned(cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The cells where whole vectors can be loaded; a copy only if they have come by another way than the parser's."""
    if cells.ctypes.data % 64 == 0:
        return cells
    room = np.empty(cells.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + cells.nbytes].view(cells.dtype).reshape(cells.shape)
    copy[:] = cells
    return copy


Entries = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]
_NOTHING: Entries = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float64))


class QuboProblem:
    """A matrix folded to one form: x^T Q x is the sum of value[k] x[row[k]] x[col[k]], over the denominator.

    A dense matrix is held as its cells, at 2, 4 or 8 bytes each; `row`, `col` and `value`, at 16 bytes an entry, are then made
    when they are first asked for, and kept.

    Attributes
    ----------
    n : int
        Number of variables.
    row, col : ndarray of int32
        ``row <= col``, sorted by row and column, no pair twice.
    value : ndarray of float64
        ``q_ij + q_ji`` off the diagonal, ``q_ii`` on it; no zeros. Integers when `exact`.
    residue : ndarray of float64 or None
        What rounding took from `value`: the true entry is ``value + residue``. None when nothing was lost.
    exact : bool
        Whether `value` holds integers whose every partial sum is exact in float64.
    denominator : int
        A power of ten: decimal fractions become integers over it. 1 unless `exact`.
    total : float
        Sum of all entries of the matrix, rounded once.
    dense : DenseCells or None
        The cells, instead of `row`, `col` and `value`.
    """

    __slots__ = ("_entries", "_residue", "denominator", "dense", "exact", "n", "total")

    def __init__(
        self,
        *,
        n: int,
        row: npt.NDArray[np.int32] | None = None,
        col: npt.NDArray[np.int32] | None = None,
        value: npt.NDArray[np.float64] | None = None,
        residue: npt.NDArray[np.float64] | None = None,
        exact: bool = True,
        denominator: int = 1,
        total: float = 0.0,
        dense: DenseCells | None = None,
    ) -> None:
        self.n = n
        self._residue = residue
        self.exact = exact
        self.denominator = denominator
        self.total = total
        self.dense = dense
        self._entries: Entries | None = None
        if row is not None and col is not None and value is not None:
            self._entries = (row, col, value)
        elif dense is None:
            raise TypeError("a problem is given by row, col and value, or by dense cells")

    def _coordinates(self) -> Entries:
        if self._entries is None and self.dense is not None:
            self._entries = _parser.entries(self.dense.cells, self.dense.diagonal)
        return self._entries or _NOTHING

    @property
    def row(self) -> npt.NDArray[np.int32]:
        """Of each entry."""
        return self._coordinates()[0]

    @property
    def col(self) -> npt.NDArray[np.int32]:
        """Of each entry."""
        return self._coordinates()[1]

    @property
    def value(self) -> npt.NDArray[np.float64]:
        """Of each entry."""
        return self._coordinates()[2]

    @property
    def residue(self) -> npt.NDArray[np.float64] | None:
        """Of each entry, or None."""
        if self.dense is None or self.dense.residue is None:
            return self._residue
        row, col, _ = self._coordinates()
        pair = row < col
        i, j = row[pair].astype(np.int64), col[pair]
        residue = np.zeros(len(row))
        residue[pair] = self.dense.residue[i * self.n - i * (i + 1) // 2 + j - i - 1]
        return residue

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.dense.entries if self.dense is not None else self.value.size

    @property
    def pairs(self) -> int:
        """Number of entries off the diagonal."""
        return self.dense.pairs if self.dense is not None else int(np.count_nonzero(self.row != self.col))

    @property
    def nbytes(self) -> int:
        """Bytes that its arrays take."""
        arrays: list[npt.NDArray[Any]] = [*(self._entries or ())]
        arrays += [] if self._residue is None else [self._residue]
        if self.dense is not None:
            arrays += [self.dense.cells, self.dense.diagonal]
            arrays += [] if self.dense.residue is None else [self.dense.residue]
        return sum(array.nbytes for array in arrays)

    def values(self, x: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """x^T Q x for each row of `x`, shape (k, n) of zeros and ones; exact, rounded once."""
        states = np.ascontiguousarray(x, dtype=np.uint8)
        if states.ndim != 2 or states.shape[1] != self.n or (states > 1).any():
            raise ValueError(f"solutions must have shape (k, {self.n}) and hold zeros and ones")
        if self.dense is not None:
            held = self.dense
            return _parser.dense_values(held.cells, held.diagonal, states, self.denominator, held.residue)
        return _parser.values(self.row, self.col, self.value, self.residue, states, self.exact, self.denominator)


_KEYS = ("n", "row", "col", "value")

# enum qj_error of ext/qubo_json.h: (type, what is wrong); {a} and {b} are its numbers, {key} the member
_DEFECTS: dict[int, tuple[str, str]] = {
    -1: ("too_long", "{a} matrices at most"),
    1: ("json_invalid", "not valid JSON here"),
    2: ("list_type", "must be a list of matrices"),
    3: ("matrix_type", 'a matrix is a list of rows or an object {{"n", "row", "col", "value"}}'),
    4: ("too_short", "the matrix is empty"),
    5: ("list_type", "a row must be a list of numbers"),
    6: ("matrix_ragged", "the row has {a} entries, the first one has {b}"),
    7: ("matrix_not_square", "the matrix has {a} rows and {b} columns"),
    8: ("number_type", "must be a number"),
    9: ("finite_number", "the number is beyond float64"),
    10: ("int_too_large", "integers beyond 2^53 are not exact: send a float to allow rounding"),
    11: ("number_too_long", "the number has more than 1000 characters"),
    12: ("sum_too_large", "the absolute values add up to more than 1e300"),
    13: ("too_many_variables", "{a} variables, at most {b} are allowed"),
    14: ("too_many_cells", "more than {b} cells in all matrices together"),
    15: ("extra_forbidden", "unknown member: a sparse matrix has n, row, col and value"),
    16: ("duplicate", "'{key}' is given twice"),
    17: ("missing", "'{key}' is missing"),
    18: ("int_type", "must be an integer"),
    19: ("greater_than_equal", "n must be at least 1"),
    20: ("out_of_range", "index {a} is outside 0..{last}"),
    21: ("length_mismatch", "'{key}' has {a} entries, 'row' has {b}"),
    22: ("list_type", "'{key}' must be a list"),
}
_OUT_OF_MEMORY = 23
_CANCELLED = 24
_AT_MATRIX = frozenset({16, 17, 21})  # reported at the matrix, not at the member


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def _shown(raw: memoryview, offset: int) -> Any:
    """The short scalar at that place, or the beginning of the text there."""
    text = bytes(raw[offset : offset + 4 * _SHOWN]).decode("utf-8", "replace")
    end = min(len(text), _SHOWN)
    try:
        value, end = _decoder.raw_decode(text)
        if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
            return value
    except (ValueError, RecursionError):
        end = next((k for k, character in enumerate(text[:end]) if k and character in ",]}"), end)
    return text[:end] if end <= _SHOWN else text[:_SHOWN] + "..."


def _refusal(raw: memoryview, defect: tuple[int, ...]) -> InvalidParams:
    code, matrix, row, col, key, a, b, offset = defect
    if code == _OUT_OF_MEMORY:
        raise MemoryError
    if code == _CANCELLED:
        raise JobCancelled("cancelled while reading a QUBO problem")
    kind, text = _DEFECTS[code]
    steps: list[int | str] = [] if matrix < 0 else [matrix]
    if 0 <= key < len(_KEYS) and code not in _AT_MATRIX:
        steps.append(_KEYS[key])
    steps += [step for step in (row, col) if step >= 0]
    text = text.format(a=a, b=b, last=b - 1, key=_KEYS[key] if 0 <= key < len(_KEYS) else "")
    place = "source_code" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    given = a if offset < 0 else _shown(raw, offset)
    message = f"{place}: {text}"
    entry = {"type": kind, "loc": ["body", "source_code", *map(str, steps)], "msg": text, "input": given}
    return InvalidParams(message, errors=[entry])


def parse_sources(
    raw: bytes | bytearray | memoryview,
    *,
    max_matrices: int = MAX_MATRICES,
    max_variables: int = MAX_VARIABLES,
    max_cells: int = MAX_CELLS,
    min_dense: int = MIN_DENSE,
    cancel: bytearray | None = None,
    simd: str | None = None,
) -> list[QuboProblem]:
    """The problems of a job from the JSON of its ``source_code``, parsed without the GIL.

    Numbers are read exactly as ``int()`` and ``float()`` read them. Entries (i, j) and (j, i) are added up, so that upper,
    lower, symmetric and general matrices are all welcome.

    Parameters
    ----------
    raw : bytes-like
        A JSON list of matrices: ``[[q00, q01], [q10, q11]]``, or ``{"n": 2, "row": [0], "col": [1], "value": [3]}``, where
        equal indices add up.
    max_matrices, max_variables, max_cells : int
        Limits; cells are counted over all matrices.
    min_dense : int
        Dense matrices from this many variables on are held as cells.
    cancel : bytearray, optional
        ``cancel[0] = 1`` stops the reading within milliseconds.
    simd : str, optional
        ``scalar`` or ``avx2`` instead of the best that the machine has.

    Raises
    ------
    JobCancelled
        When `cancel` was set.
    InvalidParams
        For any defect; ``errors[0]`` says which, where and what was given.
    """
    view = memoryview(raw).cast("B")
    try:
        parsed = _parser.parse(view, max_matrices, max_variables, max_cells, min_dense, cancel, simd)
    except _parser.MatrixDefect as defect:
        raise _refusal(view, defect.args) from None
    if not parsed:
        entry = {
            "type": "too_short",
            "loc": ["body", "source_code"],
            "msg": "at least one matrix is needed",
            "input": [],
        }
        raise InvalidParams("source_code: at least one matrix is needed", errors=[entry])
    return [_problem(*one) for one in parsed]


def _problem(n: int, exact: bool, denominator: int, total: float, parts: tuple[Any, ...]) -> QuboProblem:
    if len(parts) == 6:
        return QuboProblem(n=n, exact=exact, denominator=denominator, total=total, dense=DenseCells(*parts))
    row, col, value, residue = parts
    return QuboProblem(
        n=n, row=row, col=col, value=value, residue=residue, exact=exact, denominator=denominator, total=total
    )
