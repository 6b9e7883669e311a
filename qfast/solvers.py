"""The QUBO solvers behind one call: enumeration, parallel tempering and tabu search, their choice and their default budgets."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from qfast._ext import tempering as _kernel
from qfast.matrices import QuboProblem, aligned

SOLVERS = ("enumeration", "tabu_search", "parallel_tempering")
ENUMERATED = _kernel.max_enumerated  # variables
MAX_THREADS = _kernel.max_threads
SIMD = _kernel.level

Cancelled = _kernel.Cancelled


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a search may spend, and how; see `qfast.qubo.solve`.

    `start` of the call and `deadline` are of time.monotonic(); `share` is of the default budget.
    """

    start: float
    seed: int
    reads: int
    sweeps: int | None
    deadline: float | None
    num_replicas: int | None
    threads: int
    cancel: bytearray
    simd: str | None
    share: float = 1.0


_WORK = 1e9  # flip proposals and field updates of a default budget: a few tenths of a second


def _default_budget(problem: QuboProblem, replicas: int, dense: bool, budget: Budget) -> tuple[int, int]:
    """Sweeps of a read and reads when no budget is given: `_WORK` each, within 100..20,000 sweeps; ten times that in all."""
    reads = budget.reads
    work = problem.n * problem.n if dense else replicas * (problem.n + problem.size / 4)
    total = 10 * int(min(max(_WORK * budget.share / work, 100), 20_000))
    reads = min(reads, total // 100)
    return min(total // 10, total // reads), reads


def _default_replicas(problem: QuboProblem, sweeps: int | None, seconds: float | None) -> int:
    """32, or 64 where swap rates or cluster moves ask for them and the budget allows about 20,000 sweeps."""
    wanted = problem.n >= 5000 or problem.pairs <= 3.25 * problem.n
    if sweeps is None:  # 32 replicas propose about 1e9 flips a second
        sweeps = 0 if seconds is None else int(seconds * 1e9 / (32 * problem.n))
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


def _enumerate(problem: QuboProblem, budget: Budget) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    x, proven = _kernel.enumerate_best(
        problem.n,
        problem.row,
        problem.col,
        problem.value,
        problem.residue,
        problem.exact,
        budget.cancel,
        budget.simd,
    )
    return x, {"solver": "enumeration", "sweeps": 0, "reads": 1, "proven": proven}


def _walk(problem: QuboProblem, budget: Budget, solver: str) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Tabu search or tempering of a problem as it is: up to ten distinct states, and statistics."""
    dense, began = solver == "tabu_search", time.monotonic()
    seconds = None if budget.deadline is None else max(budget.deadline - began, 1e-6)
    replicas = budget.num_replicas or _default_replicas(problem, budget.sweeps, seconds)
    replicas = min(-(-replicas // _kernel.lanes) * _kernel.lanes, _kernel.max_replicas)
    sweeps, reads = budget.sweeps, budget.reads
    if sweeps is None and seconds is not None:
        sweeps = -1
    elif sweeps is None:
        sweeps, reads = _default_budget(problem, replicas, dense, budget)
    x, statistics = _kernel.temper(
        problem.n,
        **_matrix_for(problem, dense),
        exact=problem.exact,
        dense=dense,
        replicas=replicas,
        reads=reads,
        sweeps=sweeps,
        deadline=budget.deadline or 0.0,
        seed=budget.seed % 2**64,
        cancel=budget.cancel,
        threads=budget.threads,
        simd=budget.simd,
    )
    statistics["best_after"] += began - budget.start
    return x, {"solver": solver, **statistics, "proven": False}


def required_bytes(problem: QuboProblem, *, threads: int = 1, num_replicas: int | None = None) -> int:
    """Memory that `search` takes at most, the problem's own arrays included."""
    n, pairs = problem.n, problem.pairs
    pools = (2 + threads) * 64 * n + (1 << 20)  # solutions, elites, costs, and a table of random numbers
    if problem.dense is not None and problem.dense.bound <= _kernel.max_row_sum:
        rounded = 4 * n * (n + 16) if problem.dense.cells.dtype == np.float64 else 0
        return problem.nbytes + rounded + pools + threads * 64 * n
    rows = 4 * n * (n + 16) if _is_dense(problem) else 16 * pairs
    fields = threads * 4 * n * (num_replicas or 64)
    return problem.nbytes + 24 * pairs + rows + fields + pools + 64 * n


def search(
    problem: QuboProblem, budget: Budget, solver: str | None = None
) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Up to ten distinct states of a problem as it is, by the solver that suits it or is named, and its statistics."""
    if solver is None:
        solver = (
            "enumeration"
            if problem.n <= _kernel.max_enumerated
            else "tabu_search"
            if _is_dense(problem)
            else "parallel_tempering"
        )
    return _enumerate(problem, budget) if solver == "enumeration" else _walk(problem, budget, solver)


def together(every: list[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of searches of independent components: the largest's solver, the most sweeps, the lowest swap rate."""
    if not every:
        return {"solver": "bucket_elimination", "sweeps": 0, "reads": 1}
    largest = max(every, key=lambda one: one["n"])
    together = {
        "solver": largest["solver"],
        "sweeps": max(one["sweeps"] for one in every),
        "reads": max(one["reads"] for one in every),
        "best_after": max(one.get("best_after", 0.0) for one in every),
    }
    tempered = [one for one in every if "num_replicas" in one]
    if tempered:
        rates = [one["swap_rate_mean"] for one in tempered]
        together |= {
            "num_replicas": max(one["num_replicas"] for one in tempered),
            "swap_rate_low": min(one["swap_rate_low"] for one in tempered),
            "swap_rate_mean": sum(rates) / len(rates),
        }
    return together
