"""QUBO solvers side by side: for each instance the time to target and the gap after a budget, medians over seeds.

``python benchmarks/qubo_table.py --data FOLDER`` takes ``NAME.npz`` (n, i <= j, v: minimise the sum of v x_i x_j) and
best.json; without a folder, instances come from generators with fixed seeds. Solvers run one after another with one thread,
each with its model built outside the clock, and clocks count the CPU seconds of the process (``--wall``: wall clock).

Every run is a line of the ``--journal``. The command runs what is not there yet, or what was run by another revision of its
solver, so that it can be stopped and started again, with other instances, seeds or budgets; ``--page`` writes all tables of the
journal. An estimate of the time comes first; ``--limit`` refuses to take longer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cpu_clock
import qubo_costs
import qubo_page
from qubo_instances import Instance, from_folder, generated
from qubo_peers import MQLIB, SOLVERS, Mqlib, Run
from qubo_runs import Journal, measure


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of NAME.npz and best.json")
    parser.add_argument("--instances", help="names or patterns such as bqp*, by commas; all when left out")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", default="1,10", help="seconds of each run, one table each")
    parser.add_argument("--solvers", help="names, by commas; all when left out")
    parser.add_argument("--mqlib", help="MQLib's binary; without it that column is absent")
    parser.add_argument("--journal", type=Path, default=Path("qubo-runs.jsonl"), help="file of the runs")
    parser.add_argument("--page", type=Path, help="file to write all tables of the journal to")
    parser.add_argument("--no-runs", action="store_true", help="run nothing, for a page of what the journal holds")
    parser.add_argument("--limit", type=float, default=3600, help="seconds that all may take at most")
    parser.add_argument("--wall", action="store_true", help="budgets of wall clock instead of CPU seconds")
    parser.add_argument(
        "--costs", action="store_true", help="also measure requests and memory, with --wall also cancels and threads"
    )
    return parser


def _estimate(journal: Journal, instances: list[Instance], names: list[str], budgets: list[float], seeds: int) -> float:
    """Most seconds that what is missing takes."""
    most = 0.0
    for name in names:
        each = 1.35 if "SA" in name else 1
        for budget in budgets:
            most += sum(each * budget * (seeds - len(journal.cell(one.name, name, budget, seeds))) for one in instances)
    return most


def main() -> int:
    """Measure and print."""
    parser = _arguments()
    asked = parser.parse_args()
    if not asked.wall and not cpu_clock.counted():
        cpu_clock.restart()
    every: dict[str, Callable[[Instance], Run]] = dict(SOLVERS)
    if asked.mqlib:
        every |= {f"MQLib {heuristic}": Mqlib(asked.mqlib, heuristic) for heuristic in MQLIB}
    instances = from_folder(asked.data) if asked.data else generated()
    if asked.instances:
        wanted = asked.instances.split(",")
        instances = [one for one in instances if any(fnmatch(one.name, pattern) for pattern in wanted)]
    solvers = {name: every[name] for name in every if not asked.solvers or name in asked.solvers.split(",")}
    budgets = [float(budget) for budget in asked.budget.split(",")]
    if not instances or not solvers:
        parser.error("no such instances or solvers")
    journal = Journal(asked.journal)
    most = _estimate(journal, instances, list(solvers), budgets, asked.seeds)
    print(f"{len(instances)} instances, {len(solvers)} solvers: about {most / 60:.0f} minutes", file=sys.stderr)
    if most > asked.limit and not asked.no_runs:
        print(f"that is more than --limit {asked.limit:g} s: choose --instances, --solvers, --seeds", file=sys.stderr)
        return 1
    clock, begun = "wall" if asked.wall else "cpu", set[float]()

    def told(instance: Instance, budget: float) -> None:
        if budget not in begun:
            print(qubo_page.heading(list(solvers), budget, asked.seeds))
            begun.add(budget)
        print(qubo_page.row(journal, instance, list(solvers), budget, asked.seeds), flush=True)

    if not asked.no_runs:
        measure(journal, instances, solvers, budgets, asked.seeds, clock, told)
    if asked.page:
        asked.page.write_text(qubo_page.page(journal, instances, list(every), budgets, asked.seeds))
    if asked.costs:
        qubo_costs.report(wall=asked.wall)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
