"""Power cuts: acknowledged jobs are there after each; with synchronous=NORMAL not (torture/power.py replays the writes)."""

from __future__ import annotations

from pathlib import Path

import pytest
from torture.power import count_cuts, shim

CUTS = 150


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = shim(tmp_path_factory.mktemp("shim"))
    if library is None:
        pytest.skip("needs a C compiler")
    return library


def test_no_power_cut_loses_what_was_acknowledged(library: Path, tmp_path: Path) -> None:
    figures = count_cuts(library, tmp_path, "FULL", CUTS, seed=20)
    assert figures["checkpoints"] > 1  # they are among the cuts
    assert (figures["cuts"], figures["losing"], figures["corrupt"]) == (CUTS, 0, 0)


def test_the_replay_sees_the_loss_of_a_weaker_setting(library: Path, tmp_path: Path) -> None:
    assert count_cuts(library, tmp_path, "NORMAL", CUTS, seed=20)["losing"] > CUTS // 2
