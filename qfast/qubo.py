"""QUBO problems: minimise x^T Q x over x in {0, 1}^n; the ten best solutions found."""

from __future__ import annotations

import base64
import math
import time
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from qfast._ext import tempering as _kernel
from qfast.errors import JobCancelled
from qfast.matrices import QuboProblem, aligned

SOLVERS = ("enumeration", "tabu_search", "parallel_tempering")


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

    def rows(self, *, packed: bool = False) -> list[dict[str, Any]]:
        """The rows of the wire; ``maxcutValue`` is (sum of Q - quboValue) / 4, a packed vector a text (`qfast.packing`)."""
        vectors: list[Any] = self.x.tolist()
        if packed:
            vectors = [base64.b64encode(bits).decode() for bits in np.packbits(self.x, axis=1, bitorder="little")]
        return [
            {
                "result": k,
                "quboValue": energy,
                "maxcutValue": (self.total - energy) / 4,
                "solutionVector": vector,
            }
            for k, (energy, vector) in enumerate(zip(self.energies.tolist(), vectors, strict=True), 1)
        ]


def required_bytes(problem: QuboProblem, *, threads: int = 1, num_replicas: int | None = None) -> int:
    """Memory that `solve` takes at most, the problem's own arrays included."""
    n, pairs = problem.n, problem.pairs
    pools = (2 + threads) * 64 * n + (1 << 20)  # solutions, elites, costs, and a table of random numbers
    if problem.dense is not None and problem.dense.bound <= _kernel.max_row_sum:
        return problem.nbytes + pools + threads * 64 * n
    rows = 4 * n * (n + 16) if _is_dense(problem) else 16 * pairs
    fields = threads * 4 * n * (num_replicas or 64)
    return problem.nbytes + 24 * pairs + rows + fields + pools + 64 * n


_WORK = 1e9  # flip proposals and field updates of a default budget: a few tenths of a second


def _default_budget(problem: QuboProblem, replicas: int, dense: bool, reads: int) -> tuple[int, int]:
    """Sweeps of a read and reads when no budget is given: `_WORK` each, within 100..20,000 sweeps; ten times that in all."""
    work = problem.n * problem.n if dense else replicas * (problem.n + problem.size / 4)
    total = 10 * int(min(max(_WORK / work, 100), 20_000))
    reads = min(reads, total // 100)
    return min(total // 10, total // reads), reads


def _default_replicas(problem: QuboProblem, sweeps: int | None, time_limit: float | None) -> int:
    """32, or 64 where swap rates or cluster moves ask for them and the budget allows about 20,000 sweeps."""
    wanted = problem.n >= 5000 or problem.pairs <= 3.25 * problem.n
    if sweeps is None:  # 32 replicas propose about 1e9 flips a second
        sweeps = 0 if time_limit is None else int(time_limit * 1e9 / (32 * problem.n))
    return 64 if wanted and sweeps >= 20_000 else 32


def _is_dense(problem: QuboProblem) -> bool:
    """Whether whole rows pay: tabu search is then the better heuristic, and tempering spends its time on updates."""
    pairs = problem.pairs
    return pairs > 0.08 * problem.n * (problem.n - 1) / 2 or pairs > 50 * problem.n


def _matrix_for(problem: QuboProblem, dense: bool) -> dict[str, Any]:
    """The matrix as arguments of the search: its cells where tabu search takes them as they are, else its entries."""
    held = problem.dense
    if held is None or not dense or held.bound > _kernel.max_row_sum:
        return {"row": problem.row, "col": problem.col, "value": problem.value}
    none = np.empty(0, np.int32)
    return {
        "row": none,
        "col": none,
        "value": np.empty(0),
        "cells": aligned(held.cells),
        "diagonal": held.diagonal,
        "entries": held.entries,
    }


def solve(
    problem: QuboProblem,
    *,
    seed: int,
    reads: int = 1,
    time_limit: float | None = None,
    sweeps: int | None = None,
    num_replicas: int | None = None,
    threads: int = 1,
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
    threads : int
        At most 64. They work on different reads, and the answer to a budget of sweeps doesn't depend on them; when only
        `time_limit` is given, every thread searches until it ends, on at least one read of its own. Enumeration takes one.
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
    if not 1 <= threads <= _kernel.max_threads:
        raise ValueError(f"threads must be within 1..{_kernel.max_threads}")
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
                **_matrix_for(problem, dense),
                exact=problem.exact,
                dense=dense,
                replicas=replicas,
                reads=reads,
                sweeps=sweeps,
                deadline=0.0 if time_limit is None else start + time_limit,
                seed=seed % 2**64,
                cancel=flag,
                threads=threads,
                simd=simd,
            )
            metadata |= statistics
    except _kernel.Cancelled:
        raise JobCancelled("cancelled while solving a QUBO problem") from None
    energies = problem.values(x)
    order = sorted(range(len(x)), key=lambda k: (energies[k], x[k].tobytes()))
    metadata |= {"seed": seed, "elapsed": time.monotonic() - start, "proven_optimal": proven}
    return Solutions(x[order], energies[order], problem.total, metadata)
