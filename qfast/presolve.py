"""Preparation of a QUBO problem: what can be decided, replaced or solved exactly before any search, and the way back.

Three layers, each on what the one before left over: elimination of the connected components whose treewidth is small; the same
after persistency has fixed variables; the same after contractions and the replacement of variables with up to three neighbours.
All of it is done in integers. Layers keep the minimum; the first two also tell which solutions they may have lost.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from qfast._ext import presolve as _kernel
from qfast.matrices import DenseCells, QuboProblem

MAX_ENTRIES = 1 << 24  # of all tables of eliminations, 8 bytes each; about 0.1 s
MAX_SIZE = _kernel.MAX_SIZE + _kernel.MAX_SIZE // 2  # of sums during reductions
ALWAYS = np.iinfo(np.int64).max  # occurrences of what no search had to find

_ENTRIES_A_SECOND = 5e7  # fewer than a slow machine does
_SEARCHED_PAIRS = 16  # a variable; above that a first look decides whether a preparation is worth its memory
_MAX_PAIRS = 4_000_000
_BEST = 10
_SPARE = 32  # rows wanted where energies are rounded: the ten best are then proven by the gap behind them

Indices = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]


class Form(msgspec.Struct, frozen=True, eq=False):
    """A quadratic form in integers: the sum of value[k] x[row[k]] x[col[k]]; entries ascend, row <= col."""

    n: int
    row: Indices
    col: Indices
    value: Integers

    def part(self, variables: Indices) -> Form:
        """The form of some variables, ascending, that have no couplings with the others."""
        if len(variables) == self.n:
            return self
        name = np.full(self.n, -1, np.int32)
        name[variables] = np.arange(len(variables), dtype=np.int32)
        keep = name[self.row] >= 0
        return Form(len(variables), name[self.row[keep]], name[self.col[keep]], self.value[keep])

    def problem(self) -> QuboProblem:
        """The same as a problem for the solvers, in float64."""
        value = self.value.astype(np.float64)
        exact = bool(np.abs(value).sum() <= 2.0**53)
        return QuboProblem(n=self.n, row=self.row, col=self.col, value=value, exact=exact)


class Found(msgspec.Struct, frozen=True, eq=False):
    """Some of the best solutions of a form, ascending by cost.

    Attributes
    ----------
    x : ndarray of uint8, shape (k, n)
    cost : ndarray of int64, shape (k,)
        Up to a constant.
    occurrences : ndarray of int64, shape (k,)
        How often a search arrived at it; `ALWAYS` without a search.
    """

    x: npt.NDArray[np.uint8]
    cost: Integers
    occurrences: Integers


def joined(parts: list[tuple[Indices, Found]], n: int, wanted: int) -> Found:
    """The best `wanted` combinations of solutions of independent parts of n variables."""
    x, cost, occurrences = np.zeros((1, n), np.uint8), np.zeros(1, np.int64), np.full(1, ALWAYS)
    for variables, found in parts:
        sums = (cost[:, None] + found.cost[None, :]).ravel()
        best = np.argsort(sums, kind="stable")[:wanted]
        one, other = np.divmod(best, len(found.cost))
        x, cost = x[one], sums[best]
        x[:, variables] = found.x[other]
        occurrences = np.minimum(occurrences[one], found.occurrences[other])
    return Found(x, cost, occurrences)


class Layer(msgspec.Struct, frozen=True, eq=False):
    """One step: a reduction of `n` variables or none, and what of its outcome was solved exactly."""

    n: int
    reduction: _kernel.Reduction | None
    solved: Indices
    found: Found
    rest: Indices

    def lift(self, found: Found, wanted: int) -> Found:
        """Solutions of what the layer was given from solutions of what it left over."""
        whole = joined([(self.solved, self.found), (self.rest, found)], len(self.solved) + len(self.rest), wanted)
        if self.reduction is None:
            return whole
        return Found(self.reduction.restore(whole.x), whole.cost, whole.occurrences)


class Prepared(msgspec.Struct, frozen=True, eq=False):
    """A prepared problem.

    Attributes
    ----------
    layers : list of Layer
        Outermost first; none when nothing could be done.
    parts : list of (ndarray of int32, Form)
        What is left to search: connected components, named within what the last layer left over. Empty without layers.
    wanted : int
        Solutions that each layer keeps.
    slack : float
        What rounding may have changed of any cost.
    margin : int or None
        What solutions cost more than the minimum, at least, that the layers lost; None: none are lost.
    summary : dict
        What was done, for people.
    """

    layers: list[Layer]
    parts: list[tuple[Indices, Form]]
    wanted: int
    slack: float
    margin: int | None
    summary: dict[str, int]

    def lift(self, found: list[Found]) -> Found:
        """Solutions of the whole problem from those of the parts."""
        n = sum(form.n for _, form in self.parts)
        whole = joined([(names, one) for (names, _), one in zip(self.parts, found, strict=True)], n, self.wanted)
        for layer in reversed(self.layers):
            whole = layer.lift(whole, self.wanted)
        return whole

    def proves(self, found: Found, chosen: npt.NDArray[np.intp]) -> bool:
        """Whether no other solution of the problem, wholly solved, can be better than those chosen of the ones found."""
        if len(chosen) < min(_BEST, 2 ** min(found.x.shape[1], 4)):
            return False
        beyond = int(found.cost[-1]) if len(found.cost) == self.wanted else None
        if self.margin is not None:
            lost = int(found.cost[0]) + self.margin
            beyond = lost if beyond is None else min(beyond, lost)
        return beyond is None or int(found.cost[chosen].max()) + 2 * self.slack <= beyond


def integers(problem: QuboProblem) -> tuple[Form, float]:
    """The problem in integers, scaled by a power of two unless exact; and a bound of what rounding changes of any cost."""
    if problem.exact:
        return Form(problem.n, problem.row, problem.col, problem.value.astype(np.int64)), 0.0
    _, exponent = np.frexp(np.abs(problem.value).sum())
    scaled = np.ldexp(problem.value, 59 - exponent)  # absolute values add up to at most 2^59
    rounded = np.rint(scaled)
    lost = float(np.abs(scaled - rounded).sum())
    if problem.residue is not None:
        lost += float(np.abs(np.ldexp(problem.residue, 59 - exponent)).sum())
    keep = rounded != 0
    form = Form(problem.n, problem.row[keep], problem.col[keep], rounded[keep].astype(np.int64))
    return form, 1.001 * lost


def _decidable(dense: DenseCells) -> bool:
    """Whether persistency decides any variable of a dense matrix at once; some rows at a time, which stay in the cache."""
    n = len(dense.diagonal)
    step = max(1, 200_000 // n)
    for start in range(0, n, step):
        rows = dense.cells[start : start + step, :n]
        diagonal = dense.diagonal[start : start + step]
        wide = np.float64 if rows.dtype == np.float64 else np.int64
        low = diagonal + np.minimum(rows, 0).sum(1, dtype=wide)
        high = diagonal + np.maximum(rows, 0).sum(1, dtype=wide)
        if ((low >= 0) | (high <= 0)).any():
            return True
    return False


def _worth_it(problem: QuboProblem) -> bool:
    if problem.pairs <= _SEARCHED_PAIRS * problem.n:
        return True
    if problem.pairs > _MAX_PAIRS:
        return False
    if problem.dense is not None:
        return _decidable(problem.dense)
    return _kernel.movable(problem.n, problem.row, problem.col, problem.value) > 0


def _entries(form: Form) -> tuple[Indices, Indices, Integers]:
    return form.row, form.col, form.value


def _layer(form: Form, reduction: _kernel.Reduction | None, most: int, wanted: int, cancel: bytearray) -> Any:
    """The layer of a form already reduced, and the width and the entries of its elimination."""
    n = form.n if reduction is None else reduction.n
    nothing = np.empty(0, np.int32)
    if form.n == 0:
        solved, x, cost, width, entries = nothing, np.empty((1, 0), np.uint8), np.zeros(1, np.int64), 0, 0
    else:
        solved, x, cost, width, entries = _kernel.eliminate(form.n, *_entries(form), most, wanted, cancel)
    rest = np.setdiff1d(np.arange(form.n, dtype=np.int32), solved, assume_unique=True) if len(solved) else None
    if rest is None:
        rest = np.arange(form.n, dtype=np.int32)
    return Layer(n, reduction, solved, Found(x, cost, np.full(len(cost), ALWAYS)), rest), width, entries


def _components(form: Form) -> list[tuple[Indices, Form]]:
    if form.n == 0:
        return []
    label = _kernel.components(form.n, form.row, form.col)
    order = np.argsort(label, kind="stable").astype(np.int32)
    bounds = np.flatnonzero(np.diff(label[order])) + 1
    return [(names, form.part(names)) for names in np.split(order, bounds)]


def _most(time_limit: float | None) -> int:
    return MAX_ENTRIES if time_limit is None else min(MAX_ENTRIES, int(time_limit * _ENTRIES_A_SECOND))


def certified(
    problem: QuboProblem, x: npt.NDArray[np.uint8], *, cancel: bytearray, time_limit: float | None = None
) -> tuple[Prepared, Found] | None:
    """The best solutions, decided and solved only by what can't have lost any as good as all of `x`; None if not wholly.

    Parameters
    ----------
    problem : QuboProblem
        Wholly solved by the layers of `prepare`.
    x : ndarray of uint8, shape (k, n)
        Solutions, among them the best.
    cancel, time_limit
        As of `prepare`.
    """
    form, slack = integers(problem)
    cost = form.problem().values(x)
    gap = int(cost.max() - cost.min())
    if slack:
        gap += int(3 * slack + float(np.abs(form.value.astype(np.float64)).sum()) * 2.0**-50) + 1
    reduction = _kernel.Reduction(form.n, *_entries(form), _kernel.persistency, MAX_SIZE, cancel, gap)
    left = Form(len(reduction.kept), reduction.row, reduction.col, reduction.value)
    wanted = _BEST if slack == 0 else _SPARE
    layer, _, _ = _layer(left, reduction, _most(time_limit), wanted, cancel)
    if len(layer.rest):
        return None
    margin = reduction.margin if reduction.fixed else None
    prepared = Prepared([layer], [], wanted, slack, margin, {})
    return prepared, prepared.lift([])


def required_bytes(problem: QuboProblem) -> int:
    """Memory that `prepare` takes at most: the graph, and the tables of eliminations."""
    if problem.pairs > max(_MAX_PAIRS, _SEARCHED_PAIRS * problem.n):
        return 0
    if problem.dense is not None and problem.pairs > _SEARCHED_PAIRS * problem.n and not _decidable(problem.dense):
        return 0
    return 12 * MAX_ENTRIES + 200 * (problem.size + problem.n)


def prepare(problem: QuboProblem, *, cancel: bytearray, time_limit: float | None = None) -> Prepared:
    """Decide, replace and solve what can be.

    Parameters
    ----------
    problem : QuboProblem
        More than one variable, any matrix.
    cancel : bytearray
        ``cancel[0] = 1`` stops it within milliseconds.
    time_limit : float, optional
        Seconds for the whole call; keeps the tables of eliminations smaller.

    Raises
    ------
    qfast._ext.presolve.Cancelled
        When `cancel` was set.

    Notes
    -----
    O(entries) for all rules; eliminations take 8 bytes and about 5 ns for each of at most `MAX_ENTRIES` table entries.
    """
    if not _worth_it(problem):
        return Prepared([], [], _BEST, 0.0, None, {"variables_left": problem.n})
    form, slack = integers(problem)
    wanted = _BEST if slack == 0 else _SPARE
    most = _most(time_limit)
    limit = 2**53 if problem.exact else MAX_SIZE
    layers: list[Layer] = []
    margin: int | None = None
    fixed = replaced = solved = width = 0
    for rules in (0, _kernel.persistency, _kernel.persistency | _kernel.structure):
        reduction = None
        if rules:
            reduction = _kernel.Reduction(form.n, *_entries(form), rules, limit, cancel)
            if len(reduction.kept) == form.n:
                continue
            form = Form(len(reduction.kept), reduction.row, reduction.col, reduction.value)
            fixed, replaced = fixed + reduction.fixed, replaced + reduction.replaced
            lost = 0 if reduction.replaced else reduction.margin
            margin = lost if margin is None else min(margin, lost)
        layer, wide, entries = _layer(form, reduction, most, wanted, cancel)
        most, width, solved = most - entries, max(width, wide), solved + len(layer.solved)
        if reduction is not None or len(layer.solved):
            layers.append(layer)
        form = form.part(layer.rest)
        if form.n == 0:
            break
    parts = _components(form)
    summary = {
        "variables_fixed": fixed,
        "variables_replaced": replaced,
        "variables_solved": solved,
        "treewidth": width,
        "variables_left": form.n,
        "components_left": len(parts),
    }
    if len(parts) > 1 and not layers:  # no rule applies, but they can be searched one by one
        everything = np.arange(form.n, dtype=np.int32)
        layers.append(Layer(form.n, None, np.empty(0, np.int32), joined([], 0, 1), everything))
    return Prepared(layers, parts if layers else [], wanted, slack, margin, summary)
