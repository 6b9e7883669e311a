"""A small slice of the torture bench, always the same seed; `python tests/torture` does more."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from torture.kills import kills
from torture.page import DONE, LINES, shown, table
from torture.report import Options, Report


@pytest.mark.parametrize(("store", "cycles"), [("sqlite", 30), ("postgres", 6)])
def test_no_kill_loses_or_doubles_anything(store: str, cycles: int, tmp_path: Path) -> None:
    report = kills(Options(tmp_path, cycles=cycles, jobs=300, store=store))
    assert report.violations == []
    assert report.figures["cycles"] >= cycles
    assert report.figures["acknowledged"] >= 300


def test_the_page_shows_the_lines_that_were_measured() -> None:
    assert shown() == table(LINES.read_text())
    assert {line["scenario"] for line in map(json.loads, LINES.read_text().splitlines())} <= set(DONE)


def test_a_violation_ends_the_bench_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = runpy.run_path(str(Path(__file__).parent / "torture" / "__main__.py"))
    for found, status in (([], 0), (["I1 x: acknowledged and lost"], 1)):
        bench["SCENARIOS"]["power"] = lambda options, found=found: Report("power", "sqlite", {"cuts": 1}, found)
        monkeypatch.setattr("sys.argv", ["torture", "--scenario", "power"])
        assert bench["main"]() == status
        assert json.loads(capsys.readouterr().out)["violations"] == found
