"""Results that come from outside (set_job_results): their forms, their checks, and when two of them are the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from qfast.errors import InvalidParams
from qfast.job import JobStatus
from qfast.params import fault, shown

_ROW = frozenset({"results", "memory", "num_qubits", "metadata", "profiling", "error", "code", "message"})


def read_results(results: list[dict[str, Any]], count: int) -> tuple[list[dict[str, Any]], JobStatus, int | None]:
    """The result rows, the job's final state and its number of qubits.

    Each entry is a full result object ``{"results": ..., "num_qubits"?, ...}``, a bare counts object such as ``{"01": 5}``,
    or ``{"code", "message"}`` for a failure.

    Raises
    ------
    InvalidParams
        Naming the entry that is none of these, or a wrong length.
    """
    if len(results) != count:
        text = f"results: {len(results)} entries for {count} sources: give one for each source, in order"
        raise InvalidParams(text, errors=[fault(("body", "results"), text, len(results))])
    rows = [_row(index, entry) for index, entry in enumerate(results)]
    try:
        orjson.dumps(rows)
    except TypeError as error:  # an integer beyond 64 bits
        text = f"results: {error}"
        raise InvalidParams(text, errors=[fault(("body", "results"), text, None)]) from None
    failed = any("error" in row for row in rows)
    widths = [row["num_qubits"] for row in rows if isinstance(row.get("num_qubits"), int)]
    return rows, JobStatus.FAILED if failed else JobStatus.COMPLETED, max(widths, default=None)


def _row(index: int, entry: dict[str, Any]) -> dict[str, Any]:
    nested = entry.get("error")
    error = nested if isinstance(nested, dict) else entry
    if "code" in error or "message" in error:
        return {"results": None, **_frame(entry, "FAILED"), "error": _error(index, error)}
    if "results" in entry:
        odd = next((name for name in entry if name not in _ROW), None)
        if odd is not None:
            raise _refuse(index, odd, entry[odd], "is not a known field of a result")
        value = entry["results"]
        if isinstance(value, dict) and "evs" in value:
            _check_estimate(index, value)
        elif isinstance(value, dict):
            _check_counts(index, value)
        elif not isinstance(value, list):
            raise _refuse(index, "results", value, "is neither counts nor a list of solutions")
        width = entry.get("num_qubits")
        if width is not None and (isinstance(width, bool) or not isinstance(width, int) or not 0 <= width < 2**31):
            raise _refuse(index, "num_qubits", width, "is not a number of qubits")
        memory = entry.get("memory")
        if memory is not None:
            _check_memory(index, memory, value)
        return {
            "results": value,
            **({} if memory is None else {"memory": memory}),
            "num_qubits": width if width is not None else _width(value),
            **_frame(entry, "COMPLETED"),
        }
    _check_counts(index, entry)
    return {"results": entry, "num_qubits": _width(entry), **_frame({}, "COMPLETED")}


def _frame(entry: dict[str, Any], status: str) -> dict[str, Any]:
    metadata = entry.get("metadata") if isinstance(entry.get("metadata"), dict) else {}
    profiling = entry.get("profiling") if isinstance(entry.get("profiling"), dict) else {}
    return {"metadata": {**(metadata or {}), "results_fetch_mode": "set", "status": status}, "profiling": profiling}


def _error(index: int, error: dict[str, Any]) -> dict[str, Any]:
    code, message = error.get("code"), error.get("message")
    if isinstance(code, bool) or not isinstance(code, int) or abs(code) >= 2**31:
        raise _refuse(index, "code", code, "is not an integer")
    if not isinstance(message, str):
        raise _refuse(index, "message", message, "is not a text")
    text = message if message.startswith("[JobEngine] ") else f"[JobEngine] {message}"
    return {"code": code, "message": text[:10_000]}


def _check_counts(index: int, counts: dict[str, Any]) -> None:
    if not counts:
        raise _refuse(index, "results", counts, "holds no counts")
    for bits, count in counts.items():
        if not bits or set(bits) - {"0", "1", " "}:
            raise _refuse(index, bits[:64], count, "is not counted under a bit string")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**63:
            raise _refuse(index, bits[:64], count, "is not a count")


def _check_memory(index: int, memory: Any, counts: Any) -> None:
    """The outcome of every shot: they must be what the counts count."""
    good = isinstance(memory, list) and isinstance(counts, dict) and all(isinstance(bits, str) for bits in memory)
    if not good or Counter(memory) != {bits: count for bits, count in counts.items() if count}:
        raise _refuse(index, "memory", memory, "is not a list of outcomes that the counts agree with")


def _check_estimate(index: int, value: dict[str, Any]) -> None:
    for name in ("evs", "stds"):
        numbers = value.get(name)
        good = isinstance(numbers, list) and all(
            isinstance(x, int | float) and not isinstance(x, bool) for x in numbers
        )
        if not good or set(value) != {"evs", "stds"}:
            raise _refuse(index, name, numbers, "is not a list of numbers beside evs and stds")


def _width(value: Any) -> int | None:
    if isinstance(value, dict) and value and "evs" not in value:
        return len(next(iter(value)).replace(" ", ""))
    return None


def _refuse(index: int, name: str, value: Any, rule: str) -> InvalidParams:
    text = f"results[{index}].{name}: {shown(value)} {rule}"
    return InvalidParams(text, errors=[fault(("body", "results", str(index), name), text, value)])


def same_results(stored: list[dict[str, Any]], rows: list[dict[str, Any]]) -> bool:
    """Whether stored rows are what these would become."""
    keys = ("results", "memory", "num_qubits", "error")
    return len(stored) == len(rows) and all(
        all(one.get(key) == other.get(key) for key in keys) for one, other in zip(stored, rows, strict=True)
    )
