"""Time to target and gaps of QUBO instances beside the public solvers, and the costs around a run: a Markdown page.

``python benchmarks/qubo_table.py [--data FOLDER] [--instances A,B] [--seeds 10] [--budget 1,10] [--solvers qfast,...]``. The
instances of FOLDER (see qubo_instances.py) or, without one, what generators give. Every solver has one thread, the same seeds
and its model built outside the clock. An estimate of the time comes first; ``--limit`` refuses to take longer.

The target is the best value known or, where none is, the best that any solver met in this run. Times to it: of qfast the moment
it was met, of dwave's tabu search, which is told the target, the whole call, of the annealers, whose schedule fits a budget,
the shortest of four budgets (1/64, 1/16, 1/4 and all of it) whose run met it. Medians over the seeds count a miss as infinite.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import qubo_costs
from qubo_instances import Instance, from_folder, generated
from qubo_peers import SOLVERS, versions

Cell = tuple[list[float], list[float | None]]  # of each seed: the energy, and when the target was met


def seconds(value: float | None) -> str:
    """Three digits, in the unit that fits."""
    if value is None or math.isinf(value):
        return "-"
    return f"{value * 1000:.3g} ms" if value < 0.1 else f"{value:.3g} s"


def measured(instance: Instance, solvers: Sequence[str], seeds: int, budget: float) -> dict[str, Cell]:
    """All solvers on one instance; one that is missing is left out."""
    out: dict[str, Cell] = {}
    target = -math.inf if instance.target is None else instance.target
    for name in solvers:
        run = SOLVERS[name](instance)
        answers = [run(seed, budget, target) for seed in range(1, seeds + 1)]
        out[name] = ([energy for energy, _ in answers], [after for _, after in answers])
    return out


def cell(found: Cell, target: float, known: bool) -> str:
    """``time to target (hits) gap``."""
    energies, times = found
    gap = 100 * (statistics.median(energies) - target) / abs(target)
    if not known:
        return f"{sum(energy <= target for energy in energies)}/{len(energies)}, gap {gap:.3g} %"
    hits = [after for after in times if after is not None]
    median = statistics.median([math.inf if after is None else after for after in times])
    return f"{seconds(median)} ({len(hits)}/{len(times)})" + (f", gap {gap:.2g} %" if gap > 0 else "")


def table(instances: Sequence[Instance], solvers: Sequence[str], seeds: int, budget: float) -> None:
    """One budget; rows appear as they are measured."""
    print(f"\n## {budget:g} s, {seeds} seeds\n")
    print("Median time to target (seeds that met it); median gap where that is not zero.\n")
    print("| instance | n | target | " + " | ".join(solvers) + " |")
    print("|---|---|---|" + "---|" * len(solvers), flush=True)
    for instance in instances:
        found = measured(instance, solvers, seeds, budget)
        known = instance.target is not None
        target = instance.target if instance.target is not None else min(min(cell[0]) for cell in found.values())
        mark = " \\*" if instance.tuned else "" if known else " \\+"
        cells = " | ".join(cell(found[name], target, known) for name in solvers)
        print(f"| {instance.name}{mark} | {instance.n} | {target:.12g} | {cells} |", flush=True)


def machine() -> str:
    """What it ran on, in a line."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{len(names)} processors ({names[0] if names else platform.machine()}), Python {platform.python_version()}"


def commit() -> str:
    """Of the tree that was measured."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    ).stdout.strip()


def head() -> None:
    """What was measured where."""
    print("# QUBO benchmarks\n")
    print(
        f"`python benchmarks/qubo_table.py` at commit {commit()}, {datetime.now(UTC):%Y-%m-%d}, {machine()}; {versions()}."
    )
    print("One thread each, models built outside the clock. \\* settings of qfast were chosen on this instance;")
    print("\\+ no best value is known: hits and gaps are from the best of this run.")
    print("Ways of measuring: the module's first lines.", flush=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of NAME.npz and best.json")
    parser.add_argument("--instances", help="names or patterns such as bqp*, by commas; all when left out")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", default="1,10", help="seconds of each run, one table each")
    parser.add_argument("--solvers", default=",".join(SOLVERS))
    parser.add_argument("--limit", type=float, default=3600, help="seconds that all may take at most")
    parser.add_argument("--no-costs", action="store_true", help="leave out request, cancel, memory and threads")
    parser.add_argument("--part", action="store_true", help="a part of a page: without its head")
    asked = parser.parse_args()
    instances = from_folder(asked.data) if asked.data else generated()
    if asked.instances:
        wanted = asked.instances.split(",")
        instances = [one for one in instances if any(fnmatch(one.name, pattern) for pattern in wanted)]
    solvers = [name for name in SOLVERS if name in asked.solvers.split(",")]
    budgets = [float(budget) for budget in asked.budget.split(",")]
    if not instances or not solvers:
        parser.error("no such instances or solvers")
    most = sum(budgets) * len(instances) * asked.seeds * sum(1.35 if "SA" in name else 1 for name in solvers)
    print(f"{len(instances)} instances, {len(solvers)} solvers: at most {most / 60:.0f} minutes", file=sys.stderr)
    if most > asked.limit:
        print(f"that is more than --limit {asked.limit:g} s: choose --instances, --solvers, --seeds", file=sys.stderr)
        return 1
    if not asked.part:
        head()
    started = time.monotonic()
    for budget in budgets:
        table(instances, solvers, asked.seeds, budget)
    if not asked.no_costs:
        qubo_costs.report()
    print(f"\nAll of it took {(time.monotonic() - started) / 60:.0f} minutes.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
