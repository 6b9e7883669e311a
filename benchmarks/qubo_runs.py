"""Runs of QUBO solvers, kept as lines of JSON, so that a long series can stop and go on and its page be written at any time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from qubo_instances import Instance
from qubo_peers import Run, revision


class Record(msgspec.Struct, frozen=True):
    """One run.

    Attributes
    ----------
    budget : float
        Seconds.
    after : float or None
        Seconds to the target, None when it was not met.
    seconds : float
        That the run took.
    clock : str
        ``cpu`` or ``wall``: what these seconds count.
    revision : str
        Of the solver, see `qubo_peers.revision`.
    """

    instance: str
    solver: str
    budget: float
    seed: int
    energy: float
    after: float | None
    seconds: float
    clock: str
    revision: str
    date: str

    @property
    def cell(self) -> tuple[str, str, float]:
        """Where it stands in the tables."""
        return self.instance, self.solver, self.budget


class Journal:
    """The records of a file; of each seed the last one counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[tuple[str, str, float, int], Record] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self._take(msgspec.json.decode(line, type=Record))

    def _take(self, record: Record) -> None:
        self.records[*record.cell, record.seed] = record

    def add(self, record: Record) -> None:
        """Write it at once: an interrupted series loses the run that was under way."""
        with self.path.open("a") as file:
            file.write(json.dumps(msgspec.to_builtins(record)) + "\n")
        self._take(record)

    def cell(self, instance: str, solver: str, budget: float, seeds: int) -> list[Record]:
        """Of the first seeds, as far as they are there."""
        keys = [(instance, solver, budget, seed) for seed in range(1, seeds + 1)]
        return [self.records[key] for key in keys if key in self.records]


def measure(
    journal: Journal,
    instances: Sequence[Instance],
    solvers: dict[str, Callable[[Instance], Run]],
    budgets: Iterable[float],
    seeds: int,
    clock: str,
    told: Callable[[Instance, float], None],
) -> None:
    """What is missing: not yet run, or run by another revision. `told` hears of each instance that is complete."""
    now = {name: revision(name) for name in solvers}
    for budget in budgets:
        for instance in instances:
            target = -math.inf if instance.target is None else instance.target
            for name, prepare in solvers.items():
                have = {r.seed for r in journal.cell(instance.name, name, budget, seeds) if r.revision == now[name]}
                missing = [seed for seed in range(1, seeds + 1) if seed not in have]
                run = prepare(instance) if missing else None
                for seed in missing if run else ():
                    start = time.perf_counter()
                    energy, after = run(seed, budget, target)
                    took = time.perf_counter() - start
                    date = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
                    journal.add(Record(instance.name, name, budget, seed, energy, after, took, clock, now[name], date))
            told(instance, budget)
