"""Reading programs and QUBO problems from files, for the command line and the client."""

from __future__ import annotations

import io
import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qfast.formats import (
    MAX_CELLS,
    NUMBER,
    Model,
    SourceError,
    number,
    read_matrix_market,
    read_qbsolv,
    read_rudy,
    shown,
)
from qfast.json_formats import read_bqm_json, read_json
from qfast.payloads import sources_of

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "Reading",
    "SourceError",
    "described",
    "expanded",
    "negated",
    "read_file",
    "read_source",
]

MAX_BYTES = 128 << 20  # of a file; the server's own limit is that of a request
NEGATED = "maximised: the matrix is negated"
MAXIMISED = f"{NEGATED}; the maximum is -quboValue"
MAX_DESCRIPTION = 255  # characters of a job's field

FORMATS = ("qasm", "csv", "json", "numpy", "qbsolv", "mtx", "rudy", "gset", "bqm")
_FORMAT_OF = {
    **{".csv": "csv", ".tsv": "csv", ".json": "json", ".npy": "numpy", ".npz": "numpy", ".qubo": "qbsolv"},
    **{".mtx": "mtx", ".rud": "rudy", ".rudy": "rudy", ".mc": "rudy"},
    **{".qasm": "qasm", ".qasm2": "qasm", ".qasm3": "qasm"},
}
_QBSOLV = re.compile(r"(c[^\n]*\n|[^\S\n]*\n)*p\s+qubo\s")


@dataclass(frozen=True)
class Reading:
    """What a file adds to a job.

    Attributes
    ----------
    sources : list
        Entries of `source_code`: texts or matrices.
    notes : tuple of str
        How the file was understood, where that is not plain: sense, sign, offset.
    """

    sources: list[Any]
    notes: tuple[str, ...] = ()


def read_file(
    path: str | Path, code_type: str | None = None, *, file_format: str | None = None, maximize: bool | None = None
) -> Reading:
    """As `read_source`, of a file.

    Raises
    ------
    SourceError
        Also when it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    return read_source(str(path), data, code_type, file_format=file_format, maximize=maximize)


def read_source(
    name: str,
    data: bytes,
    code_type: str | None = None,
    *,
    file_format: str | None = None,
    maximize: bool | None = None,
) -> Reading:
    """The entries that a file adds to a job's `source_code`, and how it was understood.

    Parameters
    ----------
    name : str
        File name, for messages and for its ending; what has none is told by its content.
    data : bytes
        OpenQASM; or rows of numbers between commas, semicolons or blanks; or JSON (rows, a list of matrices,
        ``{"n", "row", "col", "value"}``, or a binary quadratic model of dimod); or numpy's .npy or .npz (one square array,
        or n, row, col, value); or qbsolv's .qubo; or Matrix Market; or a graph of rudy or the G-set, for max-cut.
    code_type : str, optional
        What the caller says that it is; None: find out.
    file_format : str, optional
        One of `FORMATS` instead of what the ending and the content tell.
    maximize : bool, optional
        True negates the matrix. None minimises, and says so where the format leaves it open.

    Raises
    ------
    SourceError

    """
    if len(data) > MAX_BYTES:
        raise SourceError(f"{name}: longer than {MAX_BYTES} bytes")
    if file_format is not None and file_format not in FORMATS:
        raise SourceError(f"{file_format!r} is not a format: {', '.join(FORMATS)}")
    code_type = code_type and code_type.lower()
    if code_type is not None and file_format is not None and (code_type != "qubo") != (file_format == "qasm"):
        raise SourceError(f"{name}: code type {code_type} and format {file_format} contradict each other")
    ending = _FORMAT_OF.get(Path(name).suffix.lower())
    if file_format == "numpy" or (ending == "numpy" and file_format is None and code_type in (None, "qubo")):
        return _reading(name, [Model(_numpy(name, data))], maximize)
    text = _text(name, data)
    kind = file_format or _kind(text, ending, code_type)
    if kind == "qasm":
        if maximize is not None:
            raise SourceError(f"{name}: to maximise or minimise needs a matrix, and this is a program")
        return Reading([text])
    return _reading(name, _READERS[kind](name, text), maximize)


def _text(name: str, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise SourceError(f"{name}, line {line}, column {column}: not UTF-8 text (byte {error.start})") from None
    if not text.strip():
        raise SourceError(f"{name}: empty")
    return text


def _kind(text: str, ending: str | None, code_type: str | None) -> str:
    """The format, by what the caller says, the ending of the name, and the content, in this order."""
    if code_type is not None and code_type != "qubo":
        return "qasm"
    if ending in ("qbsolv", "mtx", "rudy") or (ending == "qasm" and code_type is None):
        return ending
    start = text.lstrip()
    if start[0] in "[{" or ending == "json":
        return "json"
    if start[:14].lower() == "%%matrixmarket":
        return "mtx"
    if _QBSOLV.match(text):
        return "qbsolv"
    return "csv" if ending == "csv" or code_type is not None or NUMBER.match(start) else "qasm"


def _reading(name: str, models: list[Model], maximize: bool | None) -> Reading:
    notes: list[str] = []
    sources = []
    for model in models:
        negate = bool(maximize) and model.sense != "max-cut"
        said = list(model.notes)
        if model.sense == "max-cut" and maximize is False:
            raise SourceError(f"{name}: a graph is read for max-cut, and cannot be minimised")
        if negate:
            said.append(NEGATED)
        elif model.sense == "open":
            said.append("minimised" + ("" if maximize is False else ", as the file does not say which"))
        objective = model.objective or ("the maximum is {}" if negate else "")
        if objective:
            value = "-quboValue" if negate else "quboValue"
            said.append(objective.format(value).replace("+ -", "- "))
        notes += [f"{Path(name).name}: {'; '.join(said)}"] if said else []
        sources.append(negated(model.matrix) if negate else model.matrix)
    return Reading(sources, tuple(dict.fromkeys(notes)))


def negated(matrix: Any) -> Any:
    """The matrix with the opposite sign, in the same form."""
    if isinstance(matrix, dict):
        return {key: negated(part) if key == "value" else part for key, part in matrix.items()}
    if isinstance(matrix, list):
        return [negated(part) for part in matrix]
    return -matrix if isinstance(matrix, int | float) and not isinstance(matrix, bool) else matrix


def expanded(
    source: Any, code_type: str | None, *, file_format: str | None, maximize: bool | None
) -> tuple[list[Any], list[str]]:
    """What a caller of the client gave, with what files hold in their place, and the notes on them.

    Raises
    ------
    SourceError
        For a file; or there is none that `file_format` could be of, or `maximize` has no matrix to negate.
    """
    given = list(source) if isinstance(source, list | tuple) and _files(source) else [source]
    if file_format is not None and not _files(given):
        raise SourceError("file_format is for files, which are given as pathlib.Path")
    sources: list[Any] = []
    notes: list[str] = []
    for entry in given:
        if isinstance(entry, os.PathLike):
            reading = read_file(Path(entry), code_type, file_format=file_format, maximize=maximize)
            sources += reading.sources
            notes += reading.notes
            continue
        for matrix in sources_of(entry):
            if maximize is not None and isinstance(matrix, str):
                raise SourceError("to maximise or minimise needs a matrix, and this is a program")
            sources.append(negated(matrix) if maximize else matrix)
            if maximize:
                notes.append(MAXIMISED)
    return sources, list(dict.fromkeys(notes))


def _files(entries: Sequence[Any]) -> bool:
    return any(isinstance(entry, os.PathLike) for entry in entries)


def described(notes: Sequence[str], fields: Mapping[str, Any]) -> dict[str, str]:
    """The notes as the field that keeps them with the job, unless it has a description of its own."""
    if not notes or fields.get("description") is not None:
        return {}
    text = "; ".join(notes)
    return {"description": text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 3]}..."}


# ---------------------------------------------------------------------- formats of one form or another


def _rows(name: str, text: str) -> list[Model]:
    """Rows of numbers."""
    rows: list[list[int | float]] = []
    where: list[int] = []
    for line, content in enumerate(text.splitlines(), 1):
        row: list[int | float] = []
        for column, cell in _cells(content):
            if not NUMBER.fullmatch(cell):
                raise SourceError(f"{name}, line {line}, column {column}: {shown(cell)} is not a number")
            try:
                row.append(number(cell))
            except ValueError as error:
                raise SourceError(f"{name}, line {line}, column {column}: expected {error}") from None
        if row:
            rows.append(row)
            where.append(line)
    if len(rows) ** 2 > MAX_CELLS:
        raise SourceError(f"{name}: {len(rows)} rows; at most {MAX_CELLS} cells are read")
    for line, row in zip(where, rows, strict=True):
        if len(row) != len(rows):
            raise SourceError(
                f"{name}, line {line}: {len(rows)} rows, but this one has {len(row)} numbers; a QUBO matrix is square"
            )
    return [Model(rows)]


_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")


def _cells(line: str) -> Iterator[tuple[int, str]]:
    """Column and text of each cell; one comma or semicolon at the end means nothing."""
    start, end = len(line) - len(line.lstrip()), len(line.rstrip())
    if start < end and line[end - 1] in ",;":
        end = len(line[: end - 1].rstrip())
    if start >= end:
        return
    for gap in _BETWEEN.finditer(line, start, end):
        yield start + 1, line[start : gap.start()]
        start = gap.end()
    yield start + 1, line[start:end]


def _numpy(name: str, data: bytes) -> Any:
    arrays = _arrays(name, data)
    for key, array in arrays.items():
        if array.dtype.kind not in "iuf":
            raise SourceError(f"{name}: expected numbers, got an array {key} of {array.dtype}".replace("  ", " "))
        if not (array == array).all() or (abs(array) == math.inf).any():  # noqa: PLR0124 - NaN is not itself
            raise SourceError(f"{name}: expected finite numbers, got NaN or infinity in an array {key}".rstrip())
    for row, col, value in (("row", "col", "value"), ("i", "j", "v")):
        if {"n", row, col, value} <= set(arrays) and arrays["n"].ndim == 0:
            lists = {key: arrays[field].tolist() for key, field in (("row", row), ("col", col), ("value", value))}
            return {"n": int(arrays["n"]), **lists}
    square = [array for array in arrays.values() if array.ndim == 2 and array.shape[0] == array.shape[1]]
    if len(square) != 1:
        shapes = ", ".join(f"{key or 'an array'} {array.shape}" for key, array in arrays.items()) or "nothing"
        raise SourceError(f"{name}: expected one square array, or n with row, col, value; it has {shapes}")
    return square[0].tolist()


def _arrays(name: str, data: bytes) -> dict[str, Any]:
    """The arrays by name, "" for the only one of .npy; numpy is loaded for this alone."""
    import numpy as np

    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > 8 * MAX_CELLS + MAX_BYTES:
                raise SourceError(f"{name}: unpacks to {size} bytes")
        with warnings.catch_warnings():  # of what stands in a broken header
            warnings.simplefilter("ignore")
            loaded = np.load(io.BytesIO(data), allow_pickle=False)
        return {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except SourceError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a broken file
        raise SourceError(f"{name}: not a numpy file: {error}") from None


def _one(read: Callable[[str, str], Model]) -> Callable[[str, str], list[Model]]:
    return lambda name, text: [read(name, text)]


_READERS: dict[str, Callable[[str, str], list[Model]]] = {
    "csv": _rows,
    "json": read_json,
    "bqm": read_bqm_json,
    "qbsolv": _one(read_qbsolv),
    "mtx": _one(read_matrix_market),
    "rudy": _one(read_rudy),
    "gset": _one(read_rudy),
}
