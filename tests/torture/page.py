"""The table of docs/reliability.md, made from lines that the bench has printed (docs/reliability.jsonl)."""

from __future__ import annotations

from pathlib import Path

import msgspec
from torture.report import ROOT, Report

LINES = ROOT / "docs" / "reliability.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: python tests/torture --page -->\n", "<!-- end of figures -->\n"
COLUMNS = (
    "scenario",
    "store",
    "what was done",
    "lost",
    "doubled",
    "stuck",
    "other findings",
    "seed",
    "commit",
    "minutes",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n{len(COLUMNS) * '|---'}|\n"
# What a row says, in the figures of its report; each is a whole number or has one digit.
DONE = {
    "kills": (
        "{cycles:,} kills (-9) at random instants of start, recovery and work, {worker_kills:,} more of the process that"
        " answers alone; {acknowledged:,} acknowledged submits, {races:,} ids submitted by five callers at once,"
        " {runs_repeated:,} runs begun again"
    ),
    "nodes": (
        "two nodes, {faults:,} faults: SIGSTOP, cut off, killed, restarted, connections broken; {acknowledged:,} acknowledged"
        " submits, {claims:,} claims, {runs_repeated:,} runs begun again; {takeovers:,} takeovers, the longest"
        " {longest_takeover} s; {out_of_order:,} jobs out of order"
    ),
    "database": (
        "{faults:,} faults: the database stopped and started, all its backends ended, connections broken;"
        " {acknowledged:,} acknowledged submits; submits were taken again at most {longest_recovery} s after a fault"
    ),
    "power": (
        "{cuts:,} power cuts replayed, half of them with torn sectors, {checkpoints:,} checkpoints among them: {losing:,} lose,"
        " {corrupt:,} damage; the same with `synchronous=NORMAL`: {normal_losing:,} of {normal_cuts:,} lose"
    ),
    "callbacks": (
        "{callbacks:,} callbacks to receivers that fail in nine ways, {kills:,} kills (-9): {delivered:,} arrived in"
        " {posts:,} posts, {delivered_again:,} more than once, each with one content"
    ),
    "workers": (
        "{misbehaving:,} jobs that crash (-122: {code-122:,}), hang (-121: {code-121:,}) or eat memory (-120: {code-120:,})"
        " beside {neighbours:,} others: {failed_calls:,} failed calls, the longest answer {longest_answer_ms:,} ms"
    ),
}


def table(lines: str) -> str:
    """The rows of the page."""
    reports = [msgspec.json.decode(line, type=Report) for line in lines.splitlines() if line]
    return HEAD + "".join(map(_row, reports))


def _row(report: Report) -> str:
    numbers = {name: int(value) if value == int(value) else value for name, value in report.figures.items()}
    numbers.setdefault("misbehaving", sum(value for name, value in numbers.items() if name.startswith("code-")))
    done = DONE[report.scenario].format_map(numbers)
    counts = [int(numbers.get(name, 0)) for name in ("lost", "doubled", "stuck")]
    counts.append(max(0, len(report.violations) - sum(counts)))
    tail = [str(report.seed), f"`{report.commit}`", f"{report.seconds / 60:.1f}"]
    return f"| {' | '.join([report.scenario, report.store, done, *map(str, counts), *tail])} |\n"


def render(lines: Path = LINES, page: Path = PAGE) -> None:
    """Put the table into the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + table(lines.read_text()) + END + after)


def shown(page: Path = PAGE) -> str:
    """The table as the page has it."""
    return page.read_text().partition(BEGIN)[2].partition(END)[0]
