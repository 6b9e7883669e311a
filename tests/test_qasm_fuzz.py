"""The fuzzers of tests/fuzz, briefly: mutated inputs through each parser, and our verdict beside the public parsers'."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "fuzz"))

import differential
import fuzz_qasm


@pytest.mark.parametrize("target", fuzz_qasm.TARGETS)
def test_mutated_input_is_answered(target: str) -> None:
    assert fuzz_qasm.fuzz(fuzz_qasm.TARGETS[target], 3000, seed=1, limit=60)["slow"] == 0


@pytest.mark.parametrize(("version", "runs"), [(2, 400), (3, 100)])
def test_public_parsers_agree(version: int, runs: int) -> None:
    assert differential.run(runs, seed=1, version=version) == []
