"""The tables of a journal of QUBO runs, as Markdown."""

from __future__ import annotations

import math
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from qubo_instances import Instance
from qubo_runs import Journal, Record


def seconds(value: float) -> str:
    """Three digits, in the unit that fits."""
    if math.isinf(value):
        return "-"
    return f"{value * 1000:.3g} ms" if value < 0.1 else f"{value:.3g} s"


def cell(runs: Sequence[Record], target: float, known: bool, seeds: int) -> str:
    """``time to target (hits), gap``; a miss counts as infinite."""
    if not runs:
        return "not run"
    energies = [run.energy for run in runs]
    gap = 100 * (statistics.median(energies) - target) / abs(target)
    hits = sum(energy <= target for energy in energies)
    few = "" if len(runs) == seeds else f" of {seeds} seeds"
    if not known:
        return f"{hits}/{len(runs)}{few}, gap {gap:.3g} %"
    median = statistics.median([math.inf if run.after is None else run.after for run in runs])
    met = sum(run.after is not None for run in runs)
    return f"{seconds(median)} ({met}/{len(runs)}){few}" + (f", gap {gap:.2g} %" if gap > 0 else "")


def row(journal: Journal, instance: Instance, solvers: Sequence[str], budget: float, seeds: int) -> str:
    """Of one instance and one budget."""
    found = {name: journal.cell(instance.name, name, budget, seeds) for name in solvers}
    energies = [run.energy for runs in found.values() for run in runs]
    known = instance.target is not None
    target = instance.target if instance.target is not None else min(energies, default=math.nan)
    mark = " \\*" if instance.tuned else "" if known else " \\+"
    cells = " | ".join(cell(found[name], target, known, seeds) for name in solvers)
    return f"| {instance.name}{mark} | {instance.n} | {target:.12g} | {cells} |"


def heading(solvers: Sequence[str], budget: float, seeds: int) -> str:
    """Of the table of one budget."""
    return "\n".join(
        [
            f"\n## {budget:g} s, {seeds} seeds\n",
            "Median time to target (seeds that met it); median gap where that is not zero.\n",
            "| instance | n | target | " + " | ".join(solvers) + " |",
            "|---|---|---|" + "---|" * len(solvers),
        ]
    )


def machine() -> str:
    """What it ran on, in a line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return f"{len(names)} processors ({names[0] if names else platform.machine()}), Python {platform.python_version()}"


def measured(journal: Journal, solvers: Sequence[str]) -> Iterator[str]:
    """Which revisions the figures are of, when, and by which clock."""
    by: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for record in journal.records.values():
        if record.solver in solvers:
            by[record.solver, record.revision, record.clock].append(record.date)
    for name in solvers:
        for (solver, revision, clock), dates in sorted(by.items()):
            if solver == name:
                what = "commit" if name == "qfast" else "release"
                which = f", {what} {revision}" if revision else ""
                when = min(dates) if min(dates) == max(dates) else f"{min(dates)} to {max(dates)}"
                yield f"- {name}{which}: {len(dates)} runs, {when} UTC, seconds of {'CPU' if clock == 'cpu' else 'wall clock'}"


def page(
    journal: Journal, instances: Sequence[Instance], solvers: Sequence[str], budgets: Sequence[float], seeds: int
) -> str:
    """All tables; of budgets without any run none."""
    lines = [
        "# QUBO benchmarks\n",
        f"Written by `python benchmarks/qubo_table.py` from its journal of runs; {machine()}.\n",
        *measured(journal, solvers),
        "\nOne thread each, models built outside the clock; seconds of CPU, so that others on the machine take nothing away",
        "(they still share its caches). \\* settings of qfast were chosen on this instance.",
        "\\+ no best value is known: hits and gaps are from the best of these runs.",
        "Times to target: of qfast and MQLib the moment it was met; of dwave's tabu search, which is told the target, the",
        "whole call; of the annealers, whose schedule fits a budget, the shortest of four budgets (1/64, 1/16, 1/4 and all of",
        "it) whose run met it, with those before. Medians count a miss as infinite.",
    ]
    for budget in budgets:
        here = [one for one in instances if any(journal.cell(one.name, name, budget, seeds) for name in solvers)]
        if here:
            lines.append(heading(solvers, budget, seeds))
            lines += [row(journal, one, solvers, budget, seeds) for one in here]
    return "\n".join(lines) + "\n"
