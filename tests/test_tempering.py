"""QUBO solvers: values are exact, small answers are proven, tempering obeys Boltzmann, and a seed decides everything."""

import functools
import itertools
import json
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast import qubo
from qfast._ext import tempering as kernel
from qfast.errors import JobCancelled
from qfast.matrices import QuboProblem, parse_sources
from qfast.qubo import solve

HEURISTICS = ("parallel_tempering", "tabu_search")


def problem_of(matrix):
    cells = matrix if isinstance(matrix, (dict, list)) else matrix.tolist()
    (problem,) = parse_sources(json.dumps([cells]).encode())
    return problem


def energy(matrix, x):
    """x^T Q x in exact fractions; short floats as the decimals they are."""
    chosen = np.flatnonzero(x).tolist()
    return sum((Fraction(str(matrix[i][j])) for i in chosen for j in chosen), Fraction(0))


def ten_best(matrix):
    """The ten best of all states, ties in lexicographic order."""
    n = len(matrix)
    scored = ((energy(matrix, x), x) for x in itertools.product((0, 1), repeat=n))
    return sorted(scored)[:10]


def ten_best_of_integers(q):
    n = len(q)
    x = (np.arange(1 << n)[:, None] >> np.arange(n - 1, -1, -1)) & 1
    e = np.einsum("ki,ij,kj->k", x, q, x, optimize=True)
    order = np.lexsort((np.arange(1 << n), e))[:10]
    return e[order].tolist(), x[order].tolist()


def moebius_ladder():
    """Four times the max-cut of the 20-node Moebius ladder: the specification's sample matrix."""
    q = np.diag(np.full(20, -12))
    for i in range(20):
        q[i, (i + 1) % 20] = q[(i + 1) % 20, i] = q[i, (i + 10) % 20] = 4
    return q


small = st.integers(1, 6).flatmap(
    lambda n: st.one_of(
        *(
            st.lists(st.lists(cell, min_size=n, max_size=n), min_size=n, max_size=n)
            for cell in (
                st.integers(-2, 2),
                st.integers(-(2**45), 2**45),
                st.sampled_from([0, 0, 0.1, 0.2, -0.3, 0.30000000000000004]),
                st.floats(-1e12, 1e12),
            )
        )
    )
)


@settings(deadline=None, max_examples=40)
@given(small, st.sampled_from(kernel.levels))
def test_enumeration_gives_the_ten_best(matrix, simd):
    problem = problem_of(matrix)
    answer = solve(problem, seed=0, simd=simd)
    assert answer.metadata["solver"] == "enumeration"
    assert answer.metadata["proven_optimal"]
    assert answer.energies.tolist() == problem.values(answer.x).tolist()
    if problem.exact:  # floats that are no short decimals may tie after rounding
        assert [(v, tuple(x)) for v, x in zip(answer.energies, answer.x.tolist(), strict=True)] == [
            (float(v), x) for v, x in ten_best(matrix)
        ]
    else:
        states = np.array(list(itertools.product((0, 1), repeat=problem.n)), np.uint8)
        want = sorted(zip(problem.values(states).tolist(), states.tolist(), strict=True))[:10]
        assert list(zip(answer.energies.tolist(), answer.x.tolist(), strict=True)) == want


@pytest.mark.parametrize("simd", kernel.levels)
@pytest.mark.parametrize("kind", ["ties", "integers", "beyond int32", "floats"])
def test_enumeration_of_more_bits_than_the_table(kind, simd):
    rng = np.random.default_rng(5)
    n = 14
    if kind == "floats":
        q = rng.normal(size=(n, n))
        problem = problem_of(q)
        states = ((np.arange(1 << n)[:, None] >> np.arange(n - 1, -1, -1)) & 1).astype(np.uint8)
        want = problem.values(states)
        order = np.lexsort((np.arange(1 << n), want))[:10]
        answer = solve(problem, seed=0, simd=simd)
        assert answer.energies.tolist() == want[order].tolist()
        assert answer.x.tolist() == states[order].tolist()
        return
    q = rng.integers(-1, 2, (n, n)) if kind == "ties" else rng.integers(-50, 51, (n, n))
    q = q * (10**9 + 7) if kind == "beyond int32" else q
    answer = solve(problem_of(q), seed=0, simd=simd)
    assert (answer.energies.tolist(), answer.x.tolist()) == ten_best_of_integers(q)


def test_drift_cannot_misorder():
    """Energies that differ only below the rounding of the sums on the way."""
    q = np.diag([1e8, -1e8, 3e-9, 1e-9, 2e-9, -1e-9] + [1e8 + 1e-8 * k for k in range(8)])
    q[0, 1] = 1e-9
    problem = problem_of(q)
    states = ((np.arange(1 << 14)[:, None] >> np.arange(13, -1, -1)) & 1).astype(np.uint8)
    want = problem.values(states)
    order = np.lexsort((np.arange(1 << 14), want))[:10]
    answer = solve(problem, seed=0)
    assert answer.energies.tolist() == want[order].tolist()
    assert answer.x.tolist() == states[order].tolist()


def test_the_sample_of_the_specification():
    answer = solve(problem_of(moebius_ladder()), seed=1)
    rows = answer.rows()
    assert [row["result"] for row in rows] == list(range(1, 11))
    assert {row["quboValue"] for row in rows} == {-112.0}
    assert {row["maxcutValue"] for row in rows} == {28.0}
    assert answer.metadata["proven_optimal"]
    assert ([row["quboValue"] for row in rows], [row["solutionVector"] for row in rows]) == ten_best_of_integers(
        moebius_ladder()
    )
    assert all(type(v) is int for row in rows for v in row["solutionVector"])
    json.dumps(rows)


def test_up_to_24_variables_are_proven():
    answer = solve(problem_of(np.zeros((24, 24), int)), seed=1)
    assert answer.metadata["proven_optimal"]
    assert [int("".join(map(str, x)), 2) for x in answer.x.tolist()] == list(range(10))


def spin_glass(n, rng, kind):
    if kind == "ring":
        q = np.zeros((n, n), int)
        for i in range(n):
            q[i, (i + 1) % n] = rng.choice([-4, 4])
        return q - np.diag(q.sum(0) // 2 + q.sum(1) // 2)
    q = rng.integers(-60, 61, (n, n)) * (rng.random((n, n)) < (0.4 if kind == "sparse" else 1))
    return q * 1000003 if kind == "int32" else q.astype(float) / 7 if kind == "float" else q


@pytest.mark.parametrize("solver", HEURISTICS)
@pytest.mark.parametrize("kind", ["ring", "sparse", "dense", "int32", "float"])
def test_heuristics_find_what_brute_force_finds(solver, kind):
    rng = np.random.default_rng(7)
    for n in (1, 2, 3, 7, 14):
        q = spin_glass(n, rng, kind)
        problem = problem_of(q)
        best = solve(problem, seed=0).energies[0]
        answers = [solve(problem, seed=n, sweeps=60, solver=solver, simd=simd) for simd in kernel.levels]
        for answer in answers:
            assert answer.metadata["solver"] == solver
            assert not answer.metadata["proven_optimal"]
            assert answer.energies[0] == best
            assert answer.energies.tolist() == problem.values(answer.x).tolist()
            assert len({x.tobytes() for x in answer.x}) == len(answer.x) == min(10, 2**n)
            pairs = list(zip(answer.energies.tolist(), answer.x.tolist(), strict=True))
            assert pairs == sorted(pairs)


@pytest.mark.parametrize("solver", HEURISTICS)
@pytest.mark.parametrize("kind", ["ring", "sparse", "dense", "int32", "float"])
def test_a_seed_decides_everything_at_every_level(solver, kind):
    problem = problem_of(spin_glass(70, np.random.default_rng(3), kind))

    def run(seed, simd):
        answer = solve(problem, seed=seed, sweeps=30, reads=2, solver=solver, simd=simd, num_replicas=33)
        statistics = {k: v for k, v in answer.metadata.items() if k not in ("elapsed", "best_after", "timing", "simd")}
        return answer.x.tolist(), answer.energies.tolist(), statistics

    first = run(11, kernel.levels[0])
    assert all(run(11, simd) == first for simd in kernel.levels)
    assert first[2]["reads"] == 2
    assert run(12, kernel.levels[0])[2] != first[2]


@pytest.mark.parametrize("solver", HEURISTICS)
@pytest.mark.parametrize("kind", ["ring", "int32", "float"])
def test_threads_do_not_change_the_answer_to_a_budget_of_sweeps(solver, kind):
    problem = problem_of(spin_glass(60, np.random.default_rng(6), kind))

    def run(threads):
        answer = solve(problem, seed=2, sweeps=20, reads=5, solver=solver, threads=threads)
        statistics = {k: v for k, v in answer.metadata.items() if k not in ("elapsed", "best_after", "timing")}
        return answer.x.tolist(), answer.energies.tolist(), statistics

    assert run(1) == run(3) == run(64)


@pytest.mark.parametrize("solver", HEURISTICS)
def test_every_thread_searches_until_the_deadline(solver):
    problem = problem_of(spin_glass(60, np.random.default_rng(6), "sparse"))
    answer = solve(problem, seed=2, time_limit=0.1, solver=solver, threads=3)
    assert answer.metadata["reads"] == 3
    assert 0 < answer.metadata["best_after"] <= answer.metadata["elapsed"]
    assert answer.energies.tolist() == problem.values(answer.x).tolist()


@pytest.mark.parametrize("simd", kernel.levels)
@pytest.mark.parametrize("wide", [False, True])
def test_tempering_samples_boltzmann(simd, wide):
    """Each temperature's histogram against exp(-E/T), where only swaps can get it right.

    Two wells, -6 and 0, with a barrier of 33 between: the cold replicas can't cross it, so their shares come by way of the
    hot ones. 40,000 sweeps; an independent sampler's total variation would be about sqrt(64 / 40,000) / 2 = 0.02 at the hot
    end and a tenth of it at the cold one. A swap rule with 0.8 times the exponent gives 0.02 to 0.03 at the cold end.
    """
    n = 6
    q = np.triu(np.full((n, n), -8), 1) + np.diag(np.full(n, 19))
    if wide:  # one large entry, on a variable of its own that stays 0, takes int32 fields
        n = 7
        q = np.pad(q, (0, 1))
        q[6, 6] = 10**6
    problem = problem_of(q)
    ladder, counts = kernel.histogram(
        n,
        problem.row,
        problem.col,
        problem.value,
        sweeps=40_500,
        burn_in=500,
        cold=2.0,
        hot=40.0,
        seed=9,
        simd=simd,
    )
    x = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    e = np.einsum("ki,ij,kj->k", x, q, x)
    assert (np.diff(ladder) > 0).all()
    assert counts.sum(1).tolist() == [40_000] * 32
    law = np.exp(-(e - e.min()) / ladder[:, None])
    law /= law.sum(1, keepdims=True)
    apart = np.abs(counts / 40_000 - law).sum(1) / 2
    assert apart.max() < 0.03
    assert apart[:6].max() < 0.012


@pytest.mark.parametrize("wide", [False, True])
def test_cluster_moves_keep_boltzmann(wide):
    """A ring glass of nine with fields, where clusters are many and small; bounds as above, for sixteen temperatures."""
    n = 9
    rng = np.random.default_rng(4)
    q = np.diag(rng.integers(-3, 4, n))
    for i in range(n):
        q[i, (i + 1) % n] = rng.choice([-4, -2, 3, 5])
    q = np.triu(q) + np.tril(q, -1).T
    q[0, 0] += 50_000 if wide else 0  # and variable 0 stays 0
    problem = problem_of(q)
    ladder, counts = kernel.histogram(
        n, problem.row, problem.col, problem.value, sweeps=40_500, burn_in=500, cold=0.8, hot=8.0, seed=5, clusters=3
    )
    assert ladder[:16].tolist() == ladder[16:].tolist()
    x = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    e = np.einsum("ki,ij,kj->k", x, q, x)
    law = np.exp(-(e - e.min()) / ladder[:, None])
    law /= law.sum(1, keepdims=True)
    apart = np.abs(counts / 40_000 - law).sum(1) / 2
    assert apart[:4].max() < 0.03
    assert apart.max() < 0.06  # sqrt(512 / 40,000) / 2


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.5, 3.0))
def test_crossover_takes_the_better_of_each_cluster(seed, n, degree):
    rng = np.random.default_rng(seed)
    q = np.triu(rng.integers(-3, 4, (n, n)) * (rng.random((n, n)) < degree / n))
    row, col = (k.astype(np.int32) for k in np.nonzero(q))
    x, other = rng.integers(0, 2, (2, n), dtype=np.uint8)
    child, value = kernel.cross(n, row, col, q[row, col].astype(float), x, other, seed=seed)
    coupled, left, best = (q + q.T) != 0, set(np.flatnonzero(x != other).tolist()), x @ q @ x
    clusters = []
    while left:
        cluster, edge = set(), {left.pop()}
        while edge:
            cluster |= edge
            edge = {k for i in edge for k in left if coupled[i, k]}
            left -= edge
        clusters.append(sorted(cluster))
    for cluster in clusters:
        y = x.copy()
        y[cluster] ^= 1
        change = y @ q @ y - x @ q @ x
        best += min(change, 0)
        assert len(set((child[cluster] ^ x[cluster]).tolist())) == 1  # as a whole or not at all
        assert change == 0 or (child[cluster[0]] != x[cluster[0]]) == (change < 0)
    assert ((child == x) | (x != other)).all()
    assert child @ q @ child == best == value


def test_a_torus_glass_is_solved():
    """The optimum of a 40 x 40 torus, on which eight seeds of 20,000 sweeps agree; 8 of seeds 1 to 12 reach it in 5,000."""
    rng, side = np.random.default_rng(1), 40
    site = np.arange(side * side).reshape(side, side)
    row = np.concatenate([site.ravel(), site.ravel()])
    col = np.concatenate([np.roll(site, 1, 0).ravel(), np.roll(site, 1, 1).ravel()])
    value = rng.choice([-2, 2], len(row))
    q = np.zeros((side**2, side**2), int)
    np.add.at(q, (np.minimum(row, col), np.maximum(row, col)), value)
    np.subtract.at(q, (row, row), value // 2)
    np.subtract.at(q, (col, col), value // 2)
    problem = problem_of(q)
    assert [solve(problem, seed=seed, sweeps=5000).energies[0] for seed in (1, 2)] == [-1136, -1136]


def test_disconnected_and_trivial_matrices():
    for matrix in ({"n": 40, "row": [], "col": [], "value": []}, np.diag(np.arange(-20, 20)).tolist(), [[0] * 30] * 30):
        problem = problem_of(matrix)
        for solver in HEURISTICS:
            answer = solve(problem, seed=1, sweeps=20, solver=solver)
            assert len(answer.x) == 10
            assert answer.energies[0] == problem.value[problem.value < 0].sum()


def test_wide_ranges_end_in_the_exact_optimum_of_the_small_terms():
    """Penalties of 1e12 leave the lanes no bit for the unit terms; the exact descent still decides them."""
    q = np.diag([1e12, -1e12] + [(-1.0) ** k * 0.001 for k in range(30)])
    problem = problem_of(q)
    answer = solve(problem, seed=4, sweeps=20, solver="parallel_tempering")
    assert answer.energies[0] == float(Fraction(-(10**12)) - Fraction(15, 1000))


def test_budgets():
    problem = problem_of(spin_glass(40, np.random.default_rng(2), "ring"))
    solve = functools.partial(qubo.solve, solver="parallel_tempering")
    assert solve(problem, seed=1, sweeps=7).metadata["sweeps"] == 7
    assert solve(problem, seed=1, sweeps=7, reads=3).metadata["sweeps"] == 21
    assert solve(problem, seed=1, sweeps=0).x.shape == (10, 40)
    assert solve(problem, seed=1, time_limit=1e-6).x.shape == (10, 40)
    assert solve(problem, seed=1, sweeps=10**12, time_limit=0.02).metadata["sweeps"] < 10**12
    assert solve(problem, seed=1).metadata["sweeps"] == 20_000
    many = solve(problem, seed=1, reads=10**7).metadata
    assert (many["reads"], many["sweeps"]) == (2_000, 200_000)
    assert solve(problem, seed=-5, sweeps=1).metadata["seed"] == -5
    for wrong in (
        {"reads": 0},
        {"sweeps": -1},
        {"time_limit": 0.0},
        {"time_limit": float("nan")},
        {"time_limit": float("inf")},
        {"solver": "luck"},
        {"threads": 0},
        {"threads": 65},
    ):
        with pytest.raises(ValueError, match=r"reads|no solver"):
            qubo.solve(problem, seed=1, **wrong)


@pytest.mark.parametrize("solver", ["enumeration", *HEURISTICS])
def test_a_set_flag_stops_at_once(solver):
    n = 24 if solver == "enumeration" else 300
    problem = problem_of(np.ones((n, n), int))
    with pytest.raises(JobCancelled):
        solve(problem, seed=1, time_limit=60, cancel=bytearray(b"\x01"), solver=solver)


@pytest.mark.parametrize("solver", HEURISTICS)
@pytest.mark.parametrize("threads", [1, 2])
def test_cancelled_on_the_way(solver, threads):
    problem = problem_of(spin_glass(300, np.random.default_rng(2), "dense"))
    flag = bytearray(1)
    timer = threading.Timer(0.05, flag.__setitem__, (0, 1))
    timer.start()
    with pytest.raises(JobCancelled):
        solve(problem, seed=1, time_limit=600, cancel=flag, solver=solver, threads=threads)
    timer.join()


def test_kernels_refuse_what_would_crash_them():
    crooked = QuboProblem(n=2, row=np.array([0], np.int32), col=np.array([7], np.int32), value=np.array([1.0]))
    with pytest.raises(ValueError, match="below"):
        crooked.values(np.ones((1, 2), np.uint8))
    with pytest.raises(ValueError, match="ascend"):
        solve(crooked, seed=1)
    flag = bytearray(1)
    row, col, value = np.array([0], np.int32), np.array([1], np.int32), np.array([1.0])
    with pytest.raises(ValueError, match="ascend"):
        kernel.enumerate_best(1, row, col, value, None, True, flag)
    with pytest.raises(ValueError, match="24"):
        kernel.enumerate_best(25, row, col, value, None, True, flag)
    budget = {"reads": 1, "sweeps": 1, "deadline": 0.0, "seed": 1, "cancel": flag, "exact": True, "dense": False}
    with pytest.raises(ValueError, match="multiple of 32"):
        kernel.temper(2, row, col, value, replicas=31, **budget)
    with pytest.raises(ValueError, match="threads"):
        kernel.temper(2, row, col, value, replicas=32, threads=65, **budget)
