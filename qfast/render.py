"""What people read: tables, histograms of counts, rows of solutions, errors with their place in the program."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ROWS = 16  # outcomes shown of a histogram
_EIGHTHS = " ▏▎▍▌▋▊▉█"

JOB_COLUMNS = {
    "job_id": "JOB",
    "job_status": "STATUS",
    "job_name": "NAME",
    "backend": "BACKEND",
    "code_type": "TYPE",
    "shots": "SHOTS",
    "job_priority": "PRIORITY",
    "creation_date": "SUBMITTED (UTC)",
    "end_date": "ENDED (UTC)",
}


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Columns aligned, numbers to the right; None and empty are a dash."""
    cells = [list(header)] + [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )


def jobs(rows: Iterable[Mapping[str, Any]]) -> str:
    """The answer of get_jobs, without the columns that no row fills."""
    rows = list(rows)
    if not rows:
        return "no jobs"
    shown = [key for key in JOB_COLUMNS if any(row.get(key) is not None for row in rows)]
    return table(
        [[_date(row.get(key)) if key.endswith("_date") else row.get(key) for key in shown] for row in rows],
        [JOB_COLUMNS[key] for key in shown],
    )


def callbacks(rows: Iterable[Mapping[str, Any]]) -> str:
    """The answer of get_callbacks."""
    keys = ("webhook_id", "state", "attempts", "last_result", "next_attempt", "url")
    lines = [[_date(row[key]) if key == "next_attempt" else row[key] for key in keys] for row in rows]
    return table(lines, ["WEBHOOK-ID", "STATE", "TRIES", "LAST RESULT", "NEXT TRY", "URL"]) if lines else "no callbacks"


def job(status: Mapping[str, Any]) -> str:
    """One job, a field per line, leaving out what is empty or said twice."""
    twins = {"created_at", "ended_at", "transpiler_info", "source_code", "results"}
    pairs = [(key, value) for key, value in status.items() if key not in twins and value not in (None, "", [], {})]
    width = max(len(key) for key, _ in pairs)
    return "\n".join(f"{key:<{width}}  {_cell(value)}" for key, value in pairs)


def results(job: Mapping[str, Any]) -> str:
    """The answer of get_job_results."""
    rows = job.get("results") or []
    lines = [f"job {job['job_id']}  {job['job_status']}"]
    for number, row in enumerate(rows, 1):
        lines += ["", *_result(row, f"source {number} of {len(rows)}: " if len(rows) > 1 else "")]
    return "\n".join(lines)


def _result(row: Mapping[str, Any], title: str) -> list[str]:
    if row.get("error"):
        first, *rest = circuit_error(row["error"])
        return [title + first, *rest]
    found, metadata = row.get("results"), row.get("metadata") or {}
    if isinstance(found, Mapping) and set(found) >= {"evs", "stds"}:
        pairs = list(zip(found["evs"], found["stds"], strict=False))
        return [
            title + "expectation values",
            table([(i, ev, std) for i, (ev, std) in enumerate(pairs)], ["#", "<O>", "STD"]),
        ]
    if isinstance(found, Mapping) and all(isinstance(count, int) for count in found.values()):
        shots = sum(found.values())
        facts = [f"{row.get('num_qubits')} qubits", f"{shots:,} shots", f"{len(found):,} outcomes"]
        if metadata.get("seed") is not None:
            facts.append(f"seed {metadata['seed']}")
        if metadata.get("implicit_measurement"):
            facts.append("measured at its end, it has no measurement")
        return [title + ", ".join(facts), *histogram(found)]
    if isinstance(found, list) and all(isinstance(entry, Mapping) for entry in found):
        facts = [str(metadata[key]) for key in ("solver",) if metadata.get(key)]
        if metadata.get("proven_optimal") is not None:
            facts.append("proven optimal" if metadata["proven_optimal"] else "best found")
        return [title + ", ".join(facts or ["solutions"]), solutions(found)]
    return [title + _cell(found)]


def histogram(counts: Mapping[str, int]) -> list[str]:
    """One bar per outcome, most frequent first; the longest bar fills the line."""
    shots = sum(counts.values()) or 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ranked[:ROWS]
    labels = max((len(bits) for bits, _ in shown), default=0)
    digits = max((len(f"{count:,}") for _, count in shown), default=0)
    room = max(8, min(40, shutil.get_terminal_size((80, 24)).columns - labels - digits - 14))
    top = shown[0][1] if shown else 1
    lines = [
        f"  {bits:<{labels}}  {count:>{digits},}  {100 * count / shots:5.1f} %  {_bar(count / top, room)}".rstrip()
        for bits, count in shown
    ]
    if len(ranked) > ROWS:
        rest = sum(count for _, count in ranked[ROWS:])
        lines.append(f"  and {len(ranked) - ROWS:,} more outcomes with {rest:,} shots")
    return lines


def _bar(share: float, room: int) -> str:
    if not _draws(_EIGHTHS):
        return "#" * max(1, round(share * room))
    eighths = max(1, round(share * room * 8))
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _draws(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def solutions(rows: Sequence[Mapping[str, Any]]) -> str:
    """The best solutions of a QUBO, x_0 leftmost."""
    room = max(24, shutil.get_terminal_size((80, 24)).columns - 30)

    def vector(bits: str | Sequence[int]) -> str:
        if isinstance(bits, str):  # packed
            return bits if len(bits) <= room else f"{bits[: room - 3]}..."
        text = "".join(map(str, bits))
        return text if len(text) <= room else f"{text[: room - 14]}... ({len(text)} bits)"

    return table(
        [
            (row.get("result"), row.get("quboValue"), row.get("maxcutValue"), vector(row["solutionVector"]))
            for row in rows
        ],
        ["  #", "VALUE", "MAX-CUT", "SOLUTION (x0 first)"],
    )


def circuit_error(error: Mapping[str, Any]) -> list[str]:
    """A source's error: its message, the line of the program with a caret, the hint; then what else is wrong."""
    data = error.get("data") or {}
    lines = [f"error {error.get('code')}  {error.get('message')}", *place(data)]
    for other in data.get("errors") or []:
        lines += [f"error {error.get('code')}  {other.get('message')}", *place(other)]
    return lines


def place(data: Mapping[str, Any]) -> list[str]:
    """The line of the program with a caret, and the hint."""
    lines: list[str] = []
    snippet = data.get("snippet")
    if snippet:
        lines += [f"  {line}" for line in str(snippet).rstrip("\n").split("\n")]
        column, end = data.get("column"), data.get("end_column")
        if "^" not in snippet and isinstance(column, int):
            lines.append("  " + " " * (column - 1) + "^" * max(1, (end or column + 1) - column))
    if data.get("hint"):
        lines.append(f"  hint: {data['hint']}")
    return lines


def rpc_error(error: Mapping[str, Any]) -> str:
    """The error that answers a call, with every rule that was broken."""
    data = error.get("data") or {}
    message = str(error["message"])
    lines = [f"refused ({error['code']}): {message}"]
    for entry in data.get("errors") or []:
        text = f"{'.'.join(entry.get('loc') or [])}: {entry.get('msg')}"
        if str(entry.get("msg")) not in message:
            lines.append(f"  {text}")
    if data.get("details") and data["details"] != message:
        lines.append(f"  {data['details']}")
    if data.get("hint") and data["hint"] not in message:
        lines.append(f"  hint: {data['hint']}")
    return "\n".join(lines)


def devices(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The answer of get_devices."""
    keys = ("status", "driver_name", "max_qubits", "tech_type", "description")
    return table(
        [[name, *(device.get(key) for key in keys)] for name, device in found.items()],
        ["DEVICE", "STATUS", "DRIVER", "QUBITS", "TECHNOLOGY", "DESCRIPTION"],
    )


def _date(value: Any) -> Any:
    return str(value).replace("T", " ")[:19] if value else None


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return str(value)
