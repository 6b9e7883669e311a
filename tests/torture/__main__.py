"""The torture bench: everything that may go wrong with a job server, done to one, and its history judged.

    python tests/torture                                          every scenario, small: under ten minutes
    python tests/torture --scenario kills --store postgres --cycles 1000 --jobs 100000 --seed 7
    python tests/torture --page                                   the table of docs/reliability.md from docs/reliability.jsonl

Each scenario prints one line of JSON: what was done, what was found, seed and commit. The exit status is 1 when anything
was lost, done twice, stuck, or otherwise against the rules of history.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the kits of the tests

from torture.kills import kills
from torture.nodes import database, nodes
from torture.outbox import outbox
from torture.page import render
from torture.power import power
from torture.report import Options, Report, commit, line
from torture.workers import workers

SCENARIOS: dict[str, Callable[[Options], Report]] = {
    "kills": kills,
    "nodes": nodes,
    "database": database,
    "power": power,
    "callbacks": outbox,
    "workers": workers,
}
# What a run without sizes does: scenario, store, cycles, jobs.
SMALL = (
    ("kills", "sqlite", 60, 4000),
    ("kills", "postgres", 60, 4000),
    ("nodes", "postgres", 6, 3000),
    ("database", "postgres", 9, 2000),
    ("power", "sqlite", 1000, 0),
    ("callbacks", "sqlite", 8, 800),
    ("workers", "sqlite", 0, 80),
)


def run(name: str, store: str, seed: int, cycles: int, jobs: int, minutes: float) -> Report:
    """One scenario in a folder of its own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qfast-torture-") as folder:
        report = SCENARIOS[name](Options(Path(folder), seed, cycles, jobs, store, minutes))
    report.seed, report.seconds, report.commit = seed, time.monotonic() - began, commit()
    return report


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python tests/torture", description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--store", choices=("sqlite", "postgres"))
    parser.add_argument("--cycles", type=int, help="kills, faults or cuts")
    parser.add_argument("--jobs", type=int, help="acknowledged submits, at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0, help="of kills and faults at most, whatever is asked for")
    parser.add_argument("--out", type=Path, help="append the lines to this file, too")
    parser.add_argument("--page", action="store_true", help="only put docs/reliability.jsonl into docs/reliability.md")
    options = parser.parse_args()
    if options.page:
        render()
        return 0
    status = 0
    for name, store, cycles, jobs in SMALL:
        if options.scenario not in (None, name) or options.store not in (None, store):
            continue
        report = run(
            name, store, options.seed,
            cycles if options.cycles is None else options.cycles, jobs if options.jobs is None else options.jobs,
            options.minutes,
        )  # fmt: skip
        print(line(report), flush=True)
        if options.out:
            with options.out.open("a") as file:
                file.write(line(report) + "\n")
        for text in report.violations[:10]:
            print(text, file=sys.stderr, flush=True)
        status |= bool(report.violations)
    return status


if __name__ == "__main__":
    sys.exit(main())
