"""QUBO solvers under one face: prepared once, outside the clock, then run with a seed, a number of seconds and a target."""

from __future__ import annotations

import math
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from qubo_instances import Instance

from qfast.qubo import solve

# seed, seconds, target -> energy, and the seconds after which the target was met or None
Run = Callable[[int, float, float], tuple[float, float | None]]

STEPS = (
    64,
    16,
    4,
    1,
)  # annealing ends with its budget: the target's time is that of the shortest of these parts that meets it


def qfast(instance: Instance) -> Run:
    """One thread; the time is that at which the best solution was met."""
    problem = instance.problem()

    def run(seed: int, seconds: float, target: float) -> tuple[float, float | None]:
        found = solve(problem, seed=seed, time_limit=seconds)
        energy = float(found.energies[0])
        after = found.metadata.get("best_after", found.metadata["elapsed"])
        return energy, after if energy <= target else None

    return run


def _bqm(instance: Instance) -> Any:
    import dimod

    linear = np.zeros(instance.n)
    single = instance.i == instance.j
    linear[instance.i[single]] = instance.v[single]
    pairs = (instance.i[~single], instance.j[~single], instance.v[~single].astype(float))
    return dimod.BinaryQuadraticModel.from_numpy_vectors(linear, pairs, 0.0, "BINARY")


def _fields(instance: Instance) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ising: couplings a, b, J and fields h, with x = (1 + s) / 2."""
    single = instance.i == instance.j
    a, b, coupling = instance.i[~single], instance.j[~single], instance.v[~single] / 4
    h = np.bincount(a, coupling, instance.n) + np.bincount(b, coupling, instance.n)
    h[instance.i[single]] += instance.v[single] / 2
    return a, b, coupling, h


def _betas(instance: Instance) -> tuple[float, float]:
    """The rule of dwave-samplers: the largest step is taken half the time when hot, the smallest 1 in 100 when cold."""
    a, b, coupling, h = _fields(instance)
    largest = np.abs(h) + np.bincount(a, np.abs(coupling), instance.n) + np.bincount(b, np.abs(coupling), instance.n)
    return math.log(2) / (2 * largest.max()), math.log(100) / (2 * np.abs(coupling).min())


def dwave_tabu(instance: Instance) -> Run:
    """It is told the target and stops there."""
    from dwave.samplers import TabuSampler

    bqm = _bqm(instance)

    def run(seed: int, seconds: float, target: float) -> tuple[float, float | None]:
        start = time.perf_counter()
        found = TabuSampler().sample(
            bqm, timeout=int(seconds * 1000), num_reads=1, seed=seed, energy_threshold=target + 0.5
        )
        energy = float(found.first.energy)
        return energy, time.perf_counter() - start if energy <= target else None

    return run


def _annealed(rate: float, anneal: Callable[[int, int], float]) -> Run:
    """`anneal` takes a seed and a number of sweeps; `rate` is sweeps a second."""

    def run(seed: int, seconds: float, target: float) -> tuple[float, float | None]:
        best = math.inf
        for part in STEPS:
            start = time.perf_counter()
            best = min(best, anneal(seed, max(1, int(rate * seconds / part))))
            if best <= target:
                return best, time.perf_counter() - start
        return best, None

    return run


def _rate(anneal: Callable[[int, int], float]) -> float:
    """Sweeps a second of a whole annealing; early sweeps accept more and cost more."""
    sweeps, seconds = 10, 0.0
    while seconds < 0.1:
        sweeps *= 3
        start = time.perf_counter()
        anneal(0, sweeps)
        seconds = time.perf_counter() - start
    return sweeps / seconds


def dwave_annealing(instance: Instance) -> Run:
    """Its range of beta is computed beforehand; doing so in every call would take most of the time."""
    from dwave.samplers import SimulatedAnnealingSampler

    bqm, betas = _bqm(instance).change_vartype("SPIN", inplace=False), _betas(instance)

    def anneal(seed: int, sweeps: int) -> float:
        found = SimulatedAnnealingSampler().sample(
            bqm, num_sweeps=sweeps, beta_range=list(betas), num_reads=1, seed=seed
        )
        return float(round(found.first.energy))

    return _annealed(_rate(anneal), anneal)


def openjij_annealing(instance: Instance) -> Run:
    """By its compiled core: the sampler's own building of a model from Python dicts would take most of the time."""
    import openjij.cxxjij as core
    import scipy.sparse

    a, b, coupling, h = _fields(instance)
    n, here = instance.n, np.arange(instance.n)
    last = np.full(n, n)
    entries = np.concatenate([coupling, coupling, h, h, [1]])
    places = (np.concatenate([a, b, here, last, [n]]), np.concatenate([b, a, last, here, [n]]))
    graph = core.graph.CSRSparse(scipy.sparse.coo_matrix((entries, places), shape=(n + 1, n + 1)).tocsr())
    hot, cold = _betas(instance)

    def anneal(seed: int, sweeps: int) -> float:
        system = core.system.make_classical_ising(graph.gen_spin(seed), graph)
        schedule = core.utility.make_classical_schedule_list(hot, cold, 1, sweeps)
        core.algorithm.Algorithm_SingleSpinFlip_run(system, seed, schedule)
        return instance.energy((np.array(core.result.get_solution(system))[:n] + 1) // 2)

    return _annealed(_rate(anneal), anneal)


class Mqlib:
    """A heuristic of MQLib (Dunning, Gupta, Silberholz 2018) by its binary; it prints when it met each of its best values."""

    def __init__(self, binary: str, heuristic: str) -> None:
        self.binary, self.heuristic = binary, heuristic

    def __call__(self, instance: Instance) -> Run:
        """It maximises, and counts a coupling twice."""
        file = tempfile.NamedTemporaryFile("w", suffix=".txt")  # noqa: SIM115  (lives as long as the run that reads it)
        file.write(f"{instance.n} {len(instance.v)}\n")
        weight = np.where(instance.i == instance.j, -1.0, -0.5) * instance.v
        for i, j, w in zip(instance.i.tolist(), instance.j.tolist(), weight.tolist(), strict=True):
            file.write(f"{i + 1} {j + 1} {w:.17g}\n")
        file.flush()

        def run(seed: int, seconds: float, target: float) -> tuple[float, float | None]:
            command = [
                self.binary,
                "-h",
                self.heuristic,
                "-fQ",
                file.name,
                "-nv",
                "-r",
                f"{seconds:g}",
                "-s",
                f"{seed}",
            ]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            met = [
                tuple(map(float, step.split(":"))) for step in told[told.index("[") + 1 : told.index("]")].split(";")
            ]
            return -max(value for value, _ in met), next((after for value, after in met if -value <= target), None)

        return run


SOLVERS: dict[str, Callable[[Instance], Run]] = {
    "qfast": qfast,
    "dwave tabu": dwave_tabu,
    "dwave SA": dwave_annealing,
    "OpenJij SA": openjij_annealing,
}

MQLIB = ("PALUBECKIS2006", "BURER2002")  # tabu search for dense matrices; a rank-2 relaxation for sparse graphs

_OURS = ("ext/pt_*", "ext/qp_*", "ext/qubo*", "ext/tempering.pyx", "ext/presolve.pyx", "ext/rng.h")
_FACES = ("solvers", "qubo", "presolve", "matrices")


def revision(solver: str) -> str:
    """What a figure of that solver holds for: of ours the last commit that touched it, of others the release."""
    if solver == "qfast":
        paths = [*_OURS, *(f"qfast/{face}.py" for face in _FACES)]
        root = Path(__file__).parent.parent
        last = ["git", "log", "-1", "--format=%h", "--", *paths]
        changed = ["git", "status", "--porcelain", "--", *paths]
        name, dirty = (
            subprocess.run(command, capture_output=True, text=True, cwd=root, check=True).stdout.strip()
            for command in (last, changed)
        )
        return name + ("-dirty" if dirty else "")
    return {"dwave": version("dwave-samplers"), "OpenJij": version("openjij")}.get(solver.split()[0], "")
