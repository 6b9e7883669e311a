"""Preparation of QUBO problems: every reduction against brute force, elimination against dynamic programmes of its own."""

import itertools
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast import presolve
from qfast._ext import presolve as kernel
from qfast._ext import tempering
from qfast.errors import JobCancelled
from qfast.matrices import QuboProblem, parse_sources
from qfast.qubo import solve

LIMIT = 2**53
PERSISTENCY, ALL = kernel.persistency, kernel.persistency | kernel.structure


def problem_of(matrix):
    cells = matrix if isinstance(matrix, (dict, list)) else matrix.tolist()
    (problem,) = parse_sources(json.dumps([cells]).encode())
    return problem


def form_of(q):
    """The upper triangle of an integer array as a form."""
    row, col = np.nonzero(np.triu(q))
    return presolve.Form(len(q), row.astype(np.int32), col.astype(np.int32), q[row, col].astype(np.int64))


def dense_of(form):
    q = np.zeros((form.n, form.n), np.int64)
    q[form.row, form.col] = form.value
    return q


def arrays(form):
    return form.n, form.row, form.col, form.value


def energies(q, x):
    x = x.astype(np.int64)
    return np.einsum("ki,ij,kj->k", x, np.triu(q), x, optimize=True)


def every_state(n):
    return ((np.arange(1 << n)[:, None] >> np.arange(n - 1, -1, -1)) & 1).astype(np.uint8)


@st.composite
def matrices(draw, most=10):
    """Upper triangular: sparse or full, of few values (many ties) or large ones, with or without a field."""
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([1, 3, 1000, 2**40]))
    q = np.triu(
        rng.integers(-size, size + 1, (n, n)) * (rng.random((n, n)) < draw(st.sampled_from([0.2, 0.4, 0.7, 1])))
    )
    if draw(st.booleans()):  # a spin model without fields: every solution has its mirror image
        q = 2 * np.triu(q, 1)
        q -= np.diag((q.sum(0) + q.sum(1)) // 2)
    return q


@settings(deadline=None, max_examples=150)
@given(matrices(), st.sampled_from([PERSISTENCY, kernel.structure, ALL]))
def test_a_reduction_keeps_the_minimum_and_is_undone(q, rules):
    form = form_of(q)
    reduction = kernel.Reduction(*arrays(form), rules, LIMIT, bytearray(1))
    left = presolve.Form(len(reduction.kept), reduction.row, reduction.col, reduction.value)
    states = every_state(left.n)
    x = reduction.restore(states)
    assert (x[:, reduction.kept] == states).all()
    apart = energies(q, x) - energies(dense_of(left), states)
    assert (apart == apart[0]).all()  # up to a constant, what is left is the energy of the best completion
    whole = every_state(len(q))
    scored = energies(q, whole)
    assert energies(q, x).min() == scored.min()
    best = {}
    for state, value in zip(whole, scored.tolist(), strict=True):
        key = state[reduction.kept].tobytes()
        best[key] = min(best.get(key, value), value)
    assert reduction.fixed + reduction.replaced + left.n == len(q)
    if reduction.fixed == 0:  # no completion is better than the one restored
        assert energies(q, x).tolist() == [best[state.tobytes()] for state in states]
    if rules == PERSISTENCY and reduction.fixed:
        kept = {state.tobytes() for state in x}
        lost = [value for state, value in zip(whole, scored.tolist(), strict=True) if state.tobytes() not in kept]
        assert min(lost) >= scored.min() + reduction.margin


@settings(deadline=None, max_examples=100)
@given(matrices(), st.integers(1, 40))
def test_elimination_gives_the_best_in_order(q, wanted):
    form = form_of(q)
    variables, x, cost, width, entries = kernel.eliminate(*arrays(form), 1 << 16, wanted, bytearray(1))
    assert variables.tolist() == list(range(form.n))
    assert cost.tolist() == np.sort(energies(q, every_state(form.n)))[:wanted].tolist()
    assert energies(q, x).tolist() == cost.tolist()
    assert len({state.tobytes() for state in x}) == len(x)
    assert width < form.n
    assert entries >= form.n


@settings(deadline=None, max_examples=50)
@given(matrices(9), matrices(4), st.integers(0, 2**32), st.integers(0, 300))
def test_only_components_within_the_bound_are_solved(q, p, seed, most):
    """Two blocks under a random numbering: what is solved is whole components, and its best solutions are right."""
    n = len(q) + len(p)
    block = np.zeros((n, n), np.int64)
    block[: len(q), : len(q)] = q
    block[len(q) :, len(q) :] = p
    order = np.random.default_rng(seed).permutation(n)
    block = (block + block.T)[np.ix_(order, order)]
    block = np.triu(block) - np.diag(np.diag(block) // 2)
    form = form_of(block)
    label = kernel.components(form.n, form.row, form.col)
    linked = (block != 0) | (block.T != 0)
    assert not (linked & (label[:, None] != label[None, :])).any()
    assert list(dict.fromkeys(label.tolist())) == list(range(label.max() + 1))
    variables, x, cost, _, entries = kernel.eliminate(*arrays(form), most, 10, bytearray(1))
    assert entries <= most
    solved = np.isin(np.arange(n), variables)
    assert len(set(label[solved]) & set(label[~solved])) == 0
    part = block[np.ix_(variables, variables)]
    assert energies(part, x).tolist() == cost.tolist()
    assert cost.tolist() == np.sort(energies(part, every_state(len(variables))))[:10].tolist()


def test_joined_parts_come_in_order():
    rng = np.random.default_rng(5)
    parts, pools = [], []
    for variables in ([1, 4], [0], [2, 3]):
        states = every_state(len(variables))
        cost = np.sort(rng.integers(0, 9, len(states)))
        pools.append(dict(zip(map(tuple, states.tolist()), cost.tolist(), strict=True)))
        found = presolve.Found(states, cost, np.arange(len(states)) + 3)
        parts.append((np.array(variables, np.int32), found))
    whole = presolve.joined(parts, 5, 10)
    sums = sorted(sum(one) for one in itertools.product(*(pool.values() for pool in pools)))
    assert whole.cost.tolist() == sums[:10]
    for x, cost in zip(whole.x.tolist(), whole.cost.tolist(), strict=True):
        assert pools[0][x[1], x[4]] + pools[1][x[0],] + pools[2][x[2], x[3]] == cost
    assert len({tuple(x) for x in whole.x.tolist()}) == 10


# --- whole answers -------------------------------------------------------------------------------------------------------


def ten_lowest(problem):
    """Of all states, by the exact values."""
    n, lowest = problem.n, np.empty(0)
    for low in range(0, 1 << n, 1 << 14):
        x = ((np.arange(low, min(low + (1 << 14), 1 << n))[:, None] >> np.arange(n)) & 1).astype(np.uint8)
        lowest = np.sort(np.concatenate([lowest, problem.values(x)]))[:10]
    return lowest.tolist()


def check_rows(problem, answer):
    assert answer.energies.tolist() == problem.values(answer.x).tolist()
    pairs = list(zip(answer.energies.tolist(), answer.x.tolist(), strict=True))
    assert pairs == sorted(pairs)
    assert len({tuple(x) for _, x in pairs}) == len(pairs) == min(10, 2**problem.n)
    counts = answer.metadata["num_occurrences"]
    assert len(counts) == len(pairs)
    assert min(counts) >= 1


@settings(deadline=None, max_examples=60)
@given(
    matrices(12),
    st.sampled_from(["integers", "decimals", "floats"]),
    st.integers(0, 9),
    st.sampled_from([0, 20, 1 << 20]),
)
def test_the_ten_best_are_proven_or_said_not_to_be(q, kind, seed, most):
    """The pipeline of large problems on small ones, with tables of every size allowed."""
    rng = np.random.default_rng(seed)
    if kind == "floats":
        q = q * rng.normal(size=q.shape)
    problem = problem_of(q / 8 if kind == "decimals" else q)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qfast.solvers.ENUMERATED", 0)
        patch.setattr("qfast.presolve.MAX_ENTRIES", most)
        answer = solve(problem, seed=seed, sweeps=50)
    check_rows(problem, answer)
    lowest = ten_lowest(problem)[: len(answer.energies)]
    if answer.metadata["proven_optimal"]:
        assert answer.energies.tolist() == lowest
        assert answer.metadata["optimum_proven"]
    if answer.metadata["optimum_proven"] or kind != "floats":
        assert answer.energies[0] == lowest[0]
    if most == 1 << 20 and kind != "floats":
        assert answer.metadata["proven_optimal"]


def lattice(rows, cols, rng, size=4):
    """A spin glass on a grid without fields, as a matrix in coordinates."""
    n, cells = rows * cols, {}
    for i, j in itertools.product(range(rows), range(cols)):
        for k, m in ((i, j + 1), (i + 1, j)):
            if k < rows and m < cols:
                a, b, w = i * cols + j, k * cols + m, 2 * int(rng.integers(-size, size + 1))
                cells[a, b] = w
                cells[a, a] = cells.get((a, a), 0) - w // 2
                cells[b, b] = cells.get((b, b), 0) - w // 2
    row, col = zip(*cells, strict=True)
    return {"n": n, "row": list(row), "col": list(col), "value": list(cells.values())}


def transfer_minimum(matrix, rows, cols):
    """The least energy of a lattice, column by column: the independent dynamic programme."""
    cells = dict(zip(zip(matrix["row"], matrix["col"], strict=True), matrix["value"], strict=True))
    states = every_state(rows).astype(np.int64)
    best = np.zeros(1 << rows, np.int64)
    for j in range(cols):
        site = [i * cols + j for i in range(rows)]
        own = states @ np.array([cells.get((a, a), 0) for a in site])
        for a in range(rows - 1):
            own += cells.get((site[a], site[a + 1]), 0) * states[:, a] * states[:, a + 1]
        if j:
            step = np.array([cells.get((a - 1, a), 0) for a in site])
            best = (best[:, None] + (states * step) @ states.T).min(0)
        best = best + own
    return int(best.min())


@pytest.mark.parametrize(
    ("rows", "cols", "size"), [(1, 20_000, 4), (2, 5_000, 1), (3, 400, 4), (7, 100, 10**6), (10, 60, 1)]
)
def test_long_lattices_are_proven(rows, cols, size):
    matrix = lattice(rows, cols, np.random.default_rng(rows), size)
    problem = problem_of(matrix)
    answer = solve(problem, seed=1)
    check_rows(problem, answer)
    assert answer.metadata["solver"] == "bucket_elimination"
    assert answer.metadata["proven_optimal"]
    assert answer.metadata["reproducible"]
    assert answer.metadata["preparation"]["treewidth"] <= rows + 3
    assert answer.energies[0] == transfer_minimum(matrix, rows, cols)


def tree_minima(parent, field, coupling, k):
    """The k least energies of a tree, children before parents: the independent dynamic programme."""
    n = len(parent)
    lists = [[[0], [int(field[i])]] for i in range(n)]
    for i in range(n - 1, 0, -1):
        for up in (0, 1):
            mine = sorted(lists[i][0] + [e + up * int(coupling[i]) for e in lists[i][1]])[:k]
            lists[parent[i]][up] = sorted(a + b for a in lists[parent[i]][up] for b in mine)[:k]
    return sorted(lists[0][0] + lists[0][1])[:k]


@pytest.mark.parametrize("size", [1, 50, 10**9])
def test_trees_and_stars_are_proven(size):
    rng = np.random.default_rng(size)
    for n, parent in ((400, None), (3_000, 0)):
        parents = [0] + [int(rng.integers(0, i)) if parent is None else parent for i in range(1, n)]
        field, coupling = rng.integers(-size, size + 1, n), rng.integers(-size, size + 1, n)
        field[0], coupling[0] = rng.integers(-size, size + 1), 0
        here = list(range(n))
        problem = problem_of(
            {
                "n": n,
                "row": here + parents[1:],
                "col": here + here[1:],
                "value": field.tolist() + coupling[1:].tolist(),
            }
        )
        answer = solve(problem, seed=1)
        check_rows(problem, answer)
        assert answer.metadata["proven_optimal"]
        assert answer.energies.tolist() == tree_minima(parents, field, coupling, 10)


def test_ladders_and_components_are_proven():
    """The Moebius ladder of 2,000 nodes, whose cut is known, beside isolated variables and many small components."""
    n = 2000
    row, col, value = list(range(n)), list(range(n)), [-12] * n
    for i in range(n):
        row += [i, i] if i < n // 2 else [i]
        col += [(i + 1) % n, i + n // 2] if i < n // 2 else [(i + 1) % n]
        value += [8, 8] if i < n // 2 else [8]
    rng = np.random.default_rng(3)
    best = -4 * (3 * n // 2 - 2)  # 4 x max-cut: for n = 0 mod 4 the ladder is not bipartite, and two edges stay uncut
    small = []
    for start in range(n, n + 600, 6):
        q = np.triu(rng.integers(-9, 10, (6, 6)))
        small.append(np.sort(energies(q, every_state(6))))
        for i, j in itertools.combinations_with_replacement(range(6), 2):
            row, col, value = [*row, start + i], [*col, start + j], [*value, int(q[i, j])]
    problem = problem_of({"n": n + 603, "row": row, "col": col, "value": value})
    answer = solve(problem, seed=1)
    check_rows(problem, answer)
    assert answer.metadata["proven_optimal"]
    assert answer.metadata["preparation"]["variables_solved"] == n + 603
    assert answer.energies[0] == best + sum(int(one[0]) for one in small)


def test_persistency_proves_the_ten_where_elimination_alone_cannot():
    """Strong fields decide most of a dense graph; the margin is wide enough for the ten."""
    rng = np.random.default_rng(2)
    n = 60
    q = np.triu(rng.integers(-3, 4, (n, n)), 1)
    q += np.diag(rng.choice([-1000, 1000], n))
    q[range(12), range(12)] = rng.integers(-5, 6, 12)
    problem = problem_of(q)
    answer = solve(problem, seed=1)
    check_rows(problem, answer)
    assert answer.metadata["preparation"]["variables_fixed"] >= 48
    assert answer.metadata["proven_optimal"]
    decided = (np.diag(q) < 0).astype(np.uint8)
    states = np.tile(decided, (1 << 12, 1))
    states[:, :12] = every_state(12)
    assert answer.energies.tolist() == np.sort(problem.values(states))[:10].tolist()


def test_a_narrow_margin_is_no_proof():
    """Ties with what persistency has excluded only prove the optimum."""
    n = 60
    q = np.triu(np.ones((n, n), int), 1)
    np.fill_diagonal(q, np.arange(n) % 3)
    problem = problem_of(q)
    answer = solve(problem, seed=1)
    check_rows(problem, answer)
    assert answer.energies.tolist() == [0] * 10 or not answer.metadata["proven_optimal"]
    assert answer.metadata["optimum_proven"]
    assert answer.energies[0] == 0


def core_with_trees(rng, core, n):
    """A dense core, trees that hang on it, and a second dense component: what every layer has something to do with."""
    q = np.zeros((n + core, n + core), np.int64)
    for block in (slice(0, core), slice(n, n + core)):
        q[block, block] = np.triu(rng.integers(-50, 51, (core, core)))
    for i in range(core, n):
        q[int(rng.integers(0, i)), i] = rng.integers(-50, 51)
        q[i, i] = rng.integers(-50, 51)
    return q


@pytest.mark.parametrize("scale", [1, 1 / 7])
def test_a_seed_decides_prepared_problems_at_every_level(scale):
    problem = problem_of(core_with_trees(np.random.default_rng(8), 40, 120) * scale)

    def run(seed, simd, threads):
        answer = solve(problem, seed=seed, sweeps=200, reads=2, simd=simd, threads=threads)
        check_rows(problem, answer)
        timeless = {k: v for k, v in answer.metadata.items() if k not in ("elapsed", "timing", "best_after", "simd")}
        return answer.x.tolist(), timeless

    first = run(3, tempering.levels[0], 1)
    assert all(run(3, simd, threads) == first for simd in tempering.levels for threads in (1, 2))
    assert first[1]["preparation"]["components_left"] == 2
    assert first[1]["preparation"]["variables_left"] <= 80
    assert first[1]["reproducible"]
    assert max(first[1]["num_occurrences"]) > 1
    assert not solve(problem, seed=3, time_limit=0.02).metadata["reproducible"]


def test_prepared_answers_are_as_good_as_those_of_the_whole():
    problem = problem_of(core_with_trees(np.random.default_rng(4), 40, 300))
    whole = solve(problem, seed=1, sweeps=2000, solver="parallel_tempering")
    assert solve(problem, seed=1, sweeps=500).energies[0] <= whole.energies[0]


def test_wide_ranges_of_floats_are_proven():
    """Sums of float64 would lose the small terms beside 1e15; the integers of the preparation hold them."""
    q = np.diag([1e15 / 3, -1e15 / 3] + [(-1.0) ** k * (k + 1) / 7 for k in range(30)])
    answer = solve(problem_of(q), seed=1, sweeps=10)
    assert answer.x[0].tolist() == [0, 1] * 16
    assert answer.metadata["proven_optimal"]


@pytest.mark.parametrize(("rows", "cols"), [(15, 300), (40, 400)])
def test_a_set_flag_stops_at_once(rows, cols):
    problem = problem_of(lattice(rows, cols, np.random.default_rng(1)))
    with pytest.raises(JobCancelled):
        solve(problem, seed=1, cancel=bytearray(b"\x01"))


def test_cancelled_on_the_way():
    problem = problem_of(lattice(60, 60, np.random.default_rng(1)))  # too wide to be solved to proof
    flag = bytearray(1)
    timer = threading.Timer(0.03, flag.__setitem__, (0, 1))
    timer.start()
    with pytest.raises(JobCancelled):
        solve(problem, seed=1, time_limit=600, cancel=flag)
    timer.join()


def test_every_room_looks_at_the_flag():
    form = form_of(np.triu(np.ones((50, 50), int)))
    flag = bytearray(b"\x01")
    with pytest.raises(kernel.Cancelled):
        kernel.Reduction(*arrays(form), ALL, LIMIT, flag)
    with pytest.raises(kernel.Cancelled):
        kernel.eliminate(*arrays(form), 1 << 20, 10, flag)
    with pytest.raises(kernel.Cancelled):
        kernel.neighbours(50, form.row, form.col, form.value.astype(float), 0.0, np.ones((3, 50), np.uint8), 0.0, flag)


def test_the_kernel_refuses_what_would_crash_it():
    flag = bytearray(1)
    form = form_of(np.triu(np.ones((4, 4), int)))
    crooked = (4, form.row[::-1].copy(), form.col[::-1].copy(), form.value)
    huge = (4, form.row, form.col, form.value << 57)
    for wrong in (crooked, (4, form.row, form.col, form.value[1:]), (3, *arrays(form)[1:]), (0, *arrays(form)[1:])):
        with pytest.raises(ValueError, match=r"ascend|equally long"):
            kernel.eliminate(*wrong, 1 << 20, 10, flag)
        with pytest.raises(ValueError, match=r"ascend|equally long"):
            kernel.Reduction(*wrong, ALL, LIMIT, flag)
        with pytest.raises(ValueError, match=r"ascend|equally long"):
            kernel.components(*wrong[:2], wrong[2][1:])
    with pytest.raises(ValueError, match=r"2\^60"):
        kernel.eliminate(*huge, 1 << 20, 10, flag)
    with pytest.raises(ValueError, match="limit"):
        kernel.Reduction(*arrays(form), ALL, 5, flag)
    with pytest.raises(ValueError, match="wanted"):
        kernel.eliminate(*arrays(form), 1 << 20, 65, flag)
    with pytest.raises(ValueError, match="columns"):
        kernel.Reduction(*arrays(form), 0, LIMIT, flag).restore(np.zeros((1, 3), np.uint8))
    with pytest.raises(ValueError, match="columns"):
        kernel.neighbours(4, form.row, form.col, form.value.astype(float), 0.0, np.zeros((1, 3), np.uint8), 0.0, flag)
    reduction = kernel.Reduction(*arrays(form), 0, LIMIT, flag)
    with pytest.raises(ValueError, match="once"):
        reduction.__init__(*arrays(form), 0, LIMIT, flag)


def test_sums_stay_within_their_bound():
    """At the very edge of 2^60, all rules together."""
    rng = np.random.default_rng(6)
    for _ in range(50):
        q = np.triu(rng.integers(-(2**53), 2**53, (10, 10)) * (rng.random((10, 10)) < 0.4))
        form = form_of(q)
        reduction = kernel.Reduction(*arrays(form), ALL, 2**61, bytearray(1))
        assert sum(map(abs, reduction.value.tolist())) <= 2**61
        _, _, cost, _, _ = kernel.eliminate(*arrays(form), 1 << 16, 10, bytearray(1))
        assert cost.tolist() == np.sort(energies(q, every_state(10)))[:10].tolist()


def test_problems_that_are_given_by_hand():
    crooked = QuboProblem(n=30, row=np.array([0], np.int32), col=np.array([77], np.int32), value=np.array([1.0]))
    with pytest.raises(ValueError, match="ascend"):
        solve(crooked, seed=1)
