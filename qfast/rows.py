"""Result rows: what a job answers for each of its sources."""

from __future__ import annotations

import time
from typing import Any

import orjson

from qfast.counts import Counts
from qfast.errors import CircuitError
from qfast.job import utc_text
from qfast.plugins import Outcome


def _frame(status: str, metadata: dict[str, Any], mode: str) -> dict[str, Any]:
    return {"results_fetch_mode": mode, "status": status, "end_date": utc_text(time.time()), **metadata}


def good_row(outcome: Outcome, metadata: dict[str, Any], profiling: dict[str, float], mode: str) -> dict[str, Any]:
    """The row of a source that ran. Counts that are text already go into it as they are."""
    results = outcome.results
    row: dict[str, Any] = {"results": results}
    if isinstance(results, Counts):
        row["results"] = orjson.Fragment(results.json)
        if results.memory is not None:
            row["memory"] = orjson.Fragment(results.memory)
    elif isinstance(results, dict) and "evs" not in results and 0 in results.values():
        row["results"] = {bits: count for bits, count in results.items() if count}
    row["num_qubits"] = outcome.num_qubits
    row["metadata"] = _frame("COMPLETED", metadata, mode)
    row["profiling"] = profiling
    return row


def failed_row(error: CircuitError, metadata: dict[str, Any], profiling: dict[str, float], mode: str) -> dict[str, Any]:
    """The row of a source that failed."""
    return {
        "results": None,
        "metadata": _frame("FAILED", metadata, mode),
        "profiling": profiling,
        "error": error.as_dict(),
    }


def encoded(rows: list[dict[str, Any]]) -> bytes:
    """The JSON array of rows, as it is stored, answered and called back.

    Raises
    ------
    TypeError, ValueError, RecursionError
        JSON cannot hold what a driver gave.
    """
    return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
