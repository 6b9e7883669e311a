"""What a program may give as ``source_code``: texts, files, and matrices in the forms that numpy, scipy and dicts have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def has_files(source: Any) -> bool:
    """Whether it is, or holds, names of files."""
    return isinstance(source, os.PathLike) or (
        isinstance(source, list | tuple) and any(isinstance(entry, os.PathLike) for entry in source)
    )


def sources_of(source: Any) -> list[Any]:
    """The list that `source_code` wants: one entry per program or matrix (see `Client.submit_job`)."""
    if isinstance(source, str):
        return [source]
    if isinstance(source, Mapping) or hasattr(source, "tocoo"):
        return [_matrix(source)]
    if hasattr(source, "tolist"):
        source = source.tolist()
    if not isinstance(source, Iterable):
        raise TypeError(f"source_code: neither text nor a matrix but {type(source).__name__}")
    entries = list(source)
    if entries and _is_row(entries[0]):
        return [_matrix(entries)]
    return [entry if isinstance(entry, str) else _matrix(entry) for entry in entries]


def _is_row(entry: Any) -> bool:
    """Whether it is one row of numbers, so that what holds it is one matrix and no list of matrices."""
    if isinstance(entry, str | Mapping) or hasattr(entry, "tocoo"):
        return False
    if hasattr(entry, "ndim"):
        return bool(entry.ndim == 1)
    return isinstance(entry, Sequence) and all(not isinstance(value, Sequence | Mapping) for value in entry)


def _matrix(matrix: Any) -> Any:
    """A matrix in one of the two forms of the wire, dense rows or coordinates."""
    if hasattr(matrix, "tocoo"):
        coo = matrix.tocoo()
        if coo.shape[0] != coo.shape[1]:
            raise ValueError(f"source_code: a QUBO matrix is square, this one is {coo.shape[0]} x {coo.shape[1]}")
        row, col, value = (part.tolist() for part in (coo.row, coo.col, coo.data))
        return {"n": int(coo.shape[0]), "row": row, "col": col, "value": value}
    if isinstance(matrix, Mapping):
        if set(matrix) == {"n", "row", "col", "value"}:
            return {key: _plain(value) for key, value in matrix.items()}
        pairs = [key for key in matrix if isinstance(key, tuple) and len(key) == 2]
        if len(pairs) != len(matrix) or not pairs:
            raise TypeError("source_code: a dict must be {(i, j): value} or have the keys n, row, col, value")
        row, col = [_plain(i) for i, _ in pairs], [_plain(j) for _, j in pairs]
        return {"n": max(row + col) + 1, "row": row, "col": col, "value": [_plain(matrix[pair]) for pair in pairs]}
    return _plain(matrix)


def _plain(value: Any) -> Any:
    """Lists and numbers of Python, from those of numpy or others."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value
