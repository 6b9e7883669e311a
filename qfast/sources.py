"""Reading programs and QUBO matrices from files, for the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class SourceError(ValueError):
    """A file holds neither a program nor a matrix; the text says where it stops being one."""


def read_source(name: str, data: bytes, code_type: str | None = None) -> list[Any]:
    """The entries that a file adds to a job's `source_code`: texts or matrices.

    Parameters
    ----------
    name : str
        File name, for messages and for its ending; what has none is told by its content.
    data : bytes
        OpenQASM; or rows of numbers between commas, semicolons or blanks; or JSON (rows, a list of matrices, or
        ``{"n", "row", "col", "value"}``); or numpy's .npy or .npz (one square array, or n, row, col, value).
    code_type : str, optional
        What the caller says that it is; None: find out.

    Raises
    ------
    SourceError

    """
    ending = Path(name).suffix.lower()
    if ending in (".npy", ".npz"):
        return [_numpy(name, data)]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 text (byte {error.start})") from None
    if not text.strip():
        raise SourceError(f"{name}: empty")
    if code_type is None:
        program = ending in (".qasm", ".qasm2", ".qasm3") or (
            ending not in (".json", ".csv", ".tsv") and not _looks_numeric(text)
        )
    else:
        program = code_type.lower() != "qubo"
    if program:
        return [text]
    if text.lstrip()[0] in "[{":
        return _json(name, text)
    return [_rows(name, text)]


def _looks_numeric(text: str) -> bool:
    first = text.lstrip()
    return first[0] in "[{" or bool(_NUMBER.match(first))


def _rows(name: str, text: str) -> list[list[int | float]]:
    rows: list[list[int | float]] = []
    for line, content in enumerate(text.splitlines(), 1):
        cells = re.split(r"[,;]\s*|\s+", content.strip().rstrip(",;"))
        if cells == [""]:
            continue
        for cell in cells:
            if not _NUMBER.fullmatch(cell):
                raise SourceError(f"{name}, line {line}: {cell!r} is not a number")
        rows.append([int(cell) if re.fullmatch(r"[-+]?\d+", cell) else float(cell) for cell in cells])
    for line, row in enumerate(rows, 1):
        if len(row) != len(rows):
            raise SourceError(
                f"{name}: {len(rows)} rows, but row {line} has {len(row)} numbers; a QUBO matrix is square"
            )
    return rows


def _json(name: str, text: str) -> list[Any]:
    def constant(word: str) -> Any:
        raise SourceError(f"{name}: {word} is not a number that JSON knows")

    try:
        value = json.loads(text, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise SourceError(f"{name}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    if isinstance(value, dict):
        return [value]
    if value and isinstance(value[0], list) and not any(isinstance(cell, list) for cell in value[0]):
        return [value]
    return list(value)


def _numpy(name: str, data: bytes) -> Any:
    import io

    import numpy as np

    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise SourceError(f"{name}: not a numpy file: {error}") from None
    for row, col, value in (("row", "col", "value"), ("i", "j", "v")):
        if {"n", row, col, value} <= set(arrays):
            lists = {key: arrays[field].tolist() for key, field in (("row", row), ("col", col), ("value", value))}
            return {"n": int(arrays["n"]), **lists}
    square = [array for array in arrays.values() if array.ndim == 2 and array.shape[0] == array.shape[1]]
    if len(square) != 1:
        raise SourceError(f"{name}: expected one square array, or n with row, col, value; it has {', '.join(arrays)}")
    return square[0].tolist()
