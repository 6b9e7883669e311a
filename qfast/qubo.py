"""QUBO problems: minimise x^T Q x over x in {0, 1}^n; the ten best solutions found."""

from __future__ import annotations

import base64
import math
import time
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from qfast import presolve, solvers
from qfast._ext import presolve as _preparation
from qfast.errors import JobCancelled
from qfast.matrices import QuboProblem
from qfast.solvers import Budget


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
        ``solver``, ``simd``, ``sweeps``, ``reads``, ``seed``, and what the solver adds;
        ``elapsed`` seconds, and ``timing``: those of ``prepare`` and ``solve``;
        ``proven_optimal``: no other solutions are better than these; ``optimum_proven``: none is better than the first;
        ``reproducible``: the seed and the other arguments give this answer everywhere;
        ``num_occurrences``: for each row, how many of the search's descents and tabu searches ended in it; at least 1,
        which is all that proven rows and rows met only as neighbours of others have;
        ``preparation``: how many variables were fixed, replaced by their neighbours, solved by elimination (and its
        largest width), and left to search, in how many components.
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
    search = solvers.required_bytes(problem, threads=threads, num_replicas=num_replicas)
    return search if problem.n <= solvers.ENUMERATED else search + presolve.required_bytes(problem)


def _search_parts(prepared: presolve.Prepared, budget: Budget) -> tuple[list[presolve.Found], dict[str, Any]]:
    """Each component by the solver that suits it, with its share of the budget; statistics of all together."""
    found: list[presolve.Found] = []
    every: list[dict[str, Any]] = []
    left = sum(form.n for _, form in prepared.parts)
    whole = left
    for _, form in prepared.parts:
        problem, deadline = form.problem(), None
        if budget.deadline is not None:
            now = time.monotonic()
            deadline = now + max(budget.deadline - now, 1e-6) * form.n / left
        own = msgspec.structs.replace(budget, deadline=deadline, share=form.n / whole)
        x, statistics = solvers.search(problem, own)
        cost = np.rint(problem.values(x)).astype(np.int64)
        order = np.argsort(cost, kind="stable")
        counts = np.array(statistics.pop("num_occurrences", [1] * len(x)), np.int64)
        found.append(presolve.Found(x[order], cost[order], counts[order]))
        every.append(statistics | {"n": form.n})
        left -= form.n
    return found, solvers.together(every)


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
    """The ten best solutions: proven for up to 24 variables or a small treewidth, else found by tabu search or tempering.

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
        ``enumeration`` (at most 24 variables), ``tabu_search`` or ``parallel_tempering``, on the problem as it is. By default
        enumeration up to 24 variables; beyond them the problem is prepared (`qfast.presolve.prepare`), and what that leaves
        over is searched, each connected component by itself: by tabu search with path relinking where it is dense (more than
        8 % of all pairs, or more than 100 couplings per variable), by tempering where it is sparse.

    Raises
    ------
    JobCancelled
        When `cancel` was set.
    ValueError
        For a budget, a solver or a problem that makes no sense.

    Notes
    -----
    Enumeration takes O(2^n), 24 variables a few tens of milliseconds. Elimination takes O(2^w) for a variable with w neighbours
    at its turn, and serves up to w of about 20: trees, ladders, grids of any length and width 16. A sweep of tempering proposes
    one flip per variable and replica; a flip costs its variable's number of couplings.
    """
    start = time.monotonic()
    if reads < 1 or (sweeps is not None and sweeps < 0) or (time_limit is not None and not 0 < time_limit < math.inf):
        raise ValueError("reads must be at least 1, sweeps at least 0 and time_limit positive and finite")
    if solver is not None and solver not in solvers.SOLVERS:
        raise ValueError(f"no solver {solver!r}: there are {', '.join(solvers.SOLVERS)}")
    if not 1 <= threads <= solvers.MAX_THREADS:
        raise ValueError(f"threads must be within 1..{solvers.MAX_THREADS}")
    flag = bytearray(1) if cancel is None else cancel
    budget = Budget(
        start=start,
        seed=seed,
        reads=reads,
        sweeps=sweeps,
        deadline=None if time_limit is None else start + time_limit,
        num_replicas=num_replicas,
        threads=threads,
        cancel=flag,
        simd=simd,
    )
    prepared = None
    searched = start
    try:
        if solver is None and problem.n > solvers.ENUMERATED:
            prepared = presolve.prepare(problem, cancel=flag, time_limit=time_limit)
            searched = time.monotonic()
        if prepared is not None and prepared.layers:
            x, statistics = _answer_prepared(problem, prepared, budget)
        else:
            x, statistics = solvers.search(problem, budget, solver)
    except (solvers.Cancelled, _preparation.Cancelled):
        raise JobCancelled("cancelled while solving a QUBO problem") from None
    energies = problem.values(x)
    order = sorted(range(len(x)), key=lambda k: (energies[k], x[k].tobytes()))
    proven = statistics.pop("proven")
    counts = statistics.pop("num_occurrences", [1] * len(x))
    end = time.monotonic()
    metadata: dict[str, Any] = {
        **statistics,
        "simd": simd or solvers.SIMD,
        "seed": seed,
        "elapsed": end - start,
        "timing": {"prepare": searched - start, "solve": end - searched},
        "proven_optimal": proven,
        "optimum_proven": statistics.get("optimum_proven", proven),
        "reproducible": proven or time_limit is None,
        "num_occurrences": [counts[k] for k in order],
    }
    if prepared is not None:
        metadata["preparation"] = prepared.summary
    return Solutions(x[order], energies[order], problem.total, metadata)


def _proven(problem: QuboProblem, prepared: presolve.Prepared, whole: presolve.Found) -> npt.NDArray[np.uint8] | None:
    """The ten best of those found, where no others can be better."""
    energies = problem.values(whole.x)
    best = np.array(sorted(range(len(energies)), key=lambda k: (energies[k], whole.x[k].tobytes()))[:10])
    return whole.x[best] if prepared.proves(whole, best) else None


def _answer_prepared(
    problem: QuboProblem, prepared: presolve.Prepared, budget: Budget
) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Search what the preparation left over, go back to the whole problem, and fill up the ten there."""
    found, statistics = _search_parts(prepared, budget)
    whole = prepared.lift(found)
    if not prepared.parts and (rows := _proven(problem, prepared, whole)) is not None:
        return rows, {**statistics, "proven": True}
    slack = 0.0 if problem.exact else float(np.abs(problem.value).sum()) * 2.0**-40
    x = _preparation.neighbours(
        problem.n, problem.row, problem.col, problem.value, slack, whole.x, budget.deadline or 0.0, budget.cancel
    )
    if not prepared.parts:
        time_limit = None if budget.deadline is None else budget.deadline - budget.start
        certain = presolve.certified(problem, x, cancel=budget.cancel, time_limit=time_limit)
        if certain is not None and (rows := _proven(problem, *certain)) is not None:
            return rows, {**statistics, "proven": True}
    met = {state.tobytes(): int(count) for state, count in zip(whole.x, whole.occurrences, strict=True)}
    counts = [met.get(state.tobytes(), 1) for state in x]
    counts = [1 if count == presolve.ALWAYS else count for count in counts]
    best_known = not prepared.parts and prepared.slack == 0
    return x, {**statistics, "proven": False, "optimum_proven": best_known, "num_occurrences": counts}
