"""A small slice of the torture bench, always the same seed; `python tests/torture` does more."""

from __future__ import annotations

from pathlib import Path

import pytest
from torture.kills import kills
from torture.report import Options


@pytest.mark.parametrize(("store", "cycles"), [("sqlite", 30), ("postgres", 6)])
def test_no_kill_loses_or_doubles_anything(store: str, cycles: int, tmp_path: Path) -> None:
    report = kills(Options(tmp_path, cycles=cycles, jobs=300, store=store))
    assert report.violations == []
    assert report.figures["cycles"] >= cycles
    assert report.figures["acknowledged"] >= 300
