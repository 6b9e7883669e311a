"""QUBO problems: minimise x^T Q x over x in {0, 1}^n, from JSON matrices to the ten best solutions found."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from qfast._ext import qubo as _parser
from qfast._ext import tempering as _kernel
from qfast.errors import InvalidParams, JobCancelled

SOLVERS = ("enumeration", "tabu_search", "parallel_tempering")
MAX_VARIABLES = 20_000
MAX_MATRICES = 10_000
MAX_CELLS = 100_000_000  # of all matrices of a job together; 8 bytes each while parsing

_EXACT_SUM = 2.0**53  # integers whose absolute values add up to this are added exactly by float64
_SHOWN = 40  # characters of the input that an error quotes


class QuboProblem(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A matrix folded to one form: x^T Q x is the sum of value[k] x[row[k]] x[col[k]], over the denominator.

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
    """

    n: int
    row: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]
    residue: npt.NDArray[np.float64] | None = None
    exact: bool = True
    denominator: int = 1
    total: float = 0.0

    def values(self, x: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """x^T Q x for each row of `x`, shape (k, n) of zeros and ones; exact, rounded once."""
        states = np.ascontiguousarray(x, dtype=np.uint8)
        if states.ndim != 2 or states.shape[1] != self.n or (states > 1).any():
            raise ValueError(f"solutions must have shape (k, {self.n}) and hold zeros and ones")
        return _parser.values(self.row, self.col, self.value, self.residue, states, self.exact, self.denominator)


class Solutions(msgspec.Struct, frozen=True, eq=False):
    """The best distinct solutions found, best first, ties in lexicographic order of the vector.

    Attributes
    ----------
    x : ndarray of uint8, shape (k, n)
        At most ten.
    energies : ndarray of float64, shape (k,)
        x^T Q x, exact and rounded once.
    total : float
        Sum of all entries of the matrix.
    metadata : dict
        ``solver``, ``simd``, ``sweeps``, ``reads``, ``seed``, ``elapsed`` (seconds), ``proven_optimal``, and what the
        solver adds.
    """

    x: npt.NDArray[np.uint8]
    energies: npt.NDArray[np.float64]
    total: float
    metadata: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the wire; ``maxcutValue`` is (sum of Q - quboValue) / 4."""
        return [
            {
                "result": k,
                "quboValue": energy,
                "maxcutValue": (self.total - energy) / 4,
                "solutionVector": vector,
            }
            for k, (energy, vector) in enumerate(zip(self.energies.tolist(), self.x.tolist(), strict=True), 1)
        ]


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

    Raises
    ------
    InvalidParams
        For any defect; ``errors[0]`` says which, where and what was given.
    """
    view = memoryview(raw).cast("B")
    try:
        parsed = _parser.parse(view, max_matrices, max_variables, max_cells)
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
    return [
        QuboProblem(
            n=n, row=row, col=col, value=value, residue=residue, exact=exact, denominator=denominator, total=total
        )
        for n, row, col, value, residue, exact, denominator, total in parsed
    ]


_WORK = 1e9  # flip proposals and field updates of a default budget: a few tenths of a second


def _default_budget(problem: QuboProblem, replicas: int, dense: bool, reads: int) -> tuple[int, int]:
    """Sweeps of a read and reads when no budget is given: `_WORK` each, within 100..20,000 sweeps; ten times that in all."""
    work = problem.n * problem.n if dense else replicas * (problem.n + problem.value.size / 4)
    total = 10 * int(min(max(_WORK / work, 100), 20_000))
    reads = min(reads, total // 100)
    return min(total // 10, total // reads), reads


def _pairs(problem: QuboProblem) -> int:
    return int(np.count_nonzero(problem.row != problem.col))


def _default_replicas(problem: QuboProblem, sweeps: int | None, time_limit: float | None) -> int:
    """32, or 64 where swap rates or cluster moves ask for them and the budget allows about 20,000 sweeps."""
    wanted = problem.n >= 5000 or _pairs(problem) <= 3.25 * problem.n
    if sweeps is None:  # 32 replicas propose about 1e9 flips a second
        sweeps = 0 if time_limit is None else int(time_limit * 1e9 / (32 * problem.n))
    return 64 if wanted and sweeps >= 20_000 else 32


def _is_dense(problem: QuboProblem) -> bool:
    """Whether whole rows pay: tabu search is then the better heuristic, and tempering spends its time on updates."""
    pairs = _pairs(problem)
    return pairs > 0.08 * problem.n * (problem.n - 1) / 2 or pairs > 50 * problem.n


def solve(
    problem: QuboProblem,
    *,
    seed: int,
    reads: int = 1,
    time_limit: float | None = None,
    sweeps: int | None = None,
    num_replicas: int | None = None,
    cancel: bytearray | None = None,
    simd: str | None = None,
    solver: str | None = None,
) -> Solutions:
    """The ten best solutions: proven by enumeration up to 24 variables, beyond them found by tabu search or tempering.

    Parameters
    ----------
    problem : QuboProblem
        What to minimise.
    seed : int
        Same problem, seed and `sweeps`: same answer, on any machine and at any SIMD level, unless `time_limit` cuts it short.
    reads : int
        Independent restarts that share one pool of solutions. Enumeration needs none.
    time_limit : float, optional
        Seconds for the whole call, all reads together.
    sweeps : int, optional
        Sweeps of each read; one is a flip proposal for each variable and replica, or (tabu search) n flips. With neither
        budget, about 0.2 to 1 s worth of sweeps by the problem's size, and at most ten times that for many reads.
    num_replicas : int, optional
        Of parallel tempering; rounded up to a multiple of 32, at most 256. Default 32; 64 for large budgets (about 20,000
        sweeps) from 5,000 variables on or with at most 6.5 couplings per variable.
    cancel : bytearray, optional
        ``cancel[0] = 1`` stops the run within milliseconds.
    simd : str, optional
        ``scalar``, ``avx2`` or ``avx512`` instead of the best that the machine has.
    solver : str, optional
        ``enumeration`` (at most 24 variables), ``tabu_search`` or ``parallel_tempering``. By default enumeration up to 24
        variables, tabu search with path relinking on dense matrices (more than 8 % of all pairs, or more than 100 couplings
        per variable), and tempering on sparse ones.

    Raises
    ------
    JobCancelled
        When `cancel` was set.
    ValueError
        For a budget, a solver or a problem that makes no sense.

    Notes
    -----
    Enumeration takes O(2^n), 24 variables a few tens of milliseconds. A sweep of tempering proposes one flip per variable and
    replica; a flip costs its variable's number of couplings.
    """
    start = time.monotonic()
    if reads < 1 or (sweeps is not None and sweeps < 0) or (time_limit is not None and not 0 < time_limit < math.inf):
        raise ValueError("reads must be at least 1, sweeps at least 0 and time_limit positive and finite")
    if solver is None:
        small = problem.n <= _kernel.max_enumerated
        solver = "enumeration" if small else "tabu_search" if _is_dense(problem) else "parallel_tempering"
    elif solver not in SOLVERS:
        raise ValueError(f"no solver {solver!r}: there are {', '.join(SOLVERS)}")
    flag = bytearray(1) if cancel is None else cancel
    metadata: dict[str, Any] = {"solver": solver, "simd": simd or _kernel.level, "sweeps": 0, "reads": 1}
    proven = False
    try:
        if solver == "enumeration":
            x, proven = _kernel.enumerate_best(
                problem.n, problem.row, problem.col, problem.value, problem.residue, problem.exact, flag, simd
            )
        else:
            dense = solver == "tabu_search"
            replicas = num_replicas or _default_replicas(problem, sweeps, time_limit)
            replicas = min(-(-replicas // _kernel.lanes) * _kernel.lanes, _kernel.max_replicas)
            if sweeps is None and time_limit is not None:
                sweeps = -1
            elif sweeps is None:
                sweeps, reads = _default_budget(problem, replicas, dense, reads)
            x, statistics = _kernel.temper(
                problem.n,
                problem.row,
                problem.col,
                problem.value,
                exact=problem.exact,
                dense=dense,
                replicas=replicas,
                reads=reads,
                sweeps=sweeps,
                deadline=0.0 if time_limit is None else start + time_limit,
                seed=seed % 2**64,
                cancel=flag,
                simd=simd,
            )
            metadata |= statistics
    except _kernel.Cancelled:
        raise JobCancelled("cancelled while solving a QUBO problem") from None
    energies = problem.values(x)
    order = sorted(range(len(x)), key=lambda k: (energies[k], x[k].tobytes()))
    metadata |= {"seed": seed, "elapsed": time.monotonic() - start, "proven_optimal": proven}
    return Solutions(x[order], energies[order], problem.total, metadata)
