"""What a scenario is asked, and what it gives: one JSON line, and a row of the page."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]


class Options(msgspec.Struct, frozen=True):
    """The size of a scenario; what is 0 it chooses itself."""

    folder: Path
    seed: int = 1
    cycles: int = 0
    jobs: int = 0
    store: str = "sqlite"
    minutes: float = 0.0  # after which kills and faults come to their end anyway; 0: never


class Report(msgspec.Struct):
    """What was done and what was found."""

    scenario: str
    store: str
    figures: dict[str, float]
    violations: list[str] = []
    seed: int = 0
    seconds: float = 0.0
    commit: str = ""


def rules(violations: Iterable[str]) -> Counter[str]:
    """How often each rule was broken."""
    return Counter(text.split()[0] for text in violations)


def verdict(violations: list[str]) -> dict[str, float]:
    """The three figures that matter."""
    broken = rules(violations)
    stuck = sum("after the drain" in text or "no end" in text or "no server" in text for text in violations)
    return {"lost": broken["I1"] + broken["I6"], "doubled": broken["I2"] + broken["I5"] + broken["I8"], "stuck": stuck}


def commit() -> str:
    """Of the code that runs, with a plus when it was changed since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "qfast", "ext") else "")


def line(report: Report) -> str:
    """The report as a line of JSON."""
    value: dict[str, Any] = msgspec.to_builtins(report)
    value["violations"] = value["violations"][:50]
    value["seconds"] = round(report.seconds, 1)
    return msgspec.json.encode(value).decode()
