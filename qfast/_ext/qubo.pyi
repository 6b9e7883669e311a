from typing import Any

import numpy as np
import numpy.typing as npt

levels: tuple[str, ...]
level: str

class MatrixDefect(Exception): ...

def parse(
    text: memoryview,
    max_matrices: int,
    max_n: int,
    max_cells: int,
    min_dense: int,
    cancel: bytearray | None = ...,
    simd: str | None = ...,
) -> list[tuple[int, bool, int, float, tuple[Any, ...]]]: ...
def entries(
    cells: npt.NDArray[Any], diagonal: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]: ...
def dense_values(
    cells: npt.NDArray[Any],
    diagonal: npt.NDArray[np.float64],
    x: npt.NDArray[np.uint8],
    denominator: int,
    residue: npt.NDArray[np.float64] | None = ...,
) -> npt.NDArray[np.float64]: ...
def values(
    row: npt.NDArray[np.int32],
    col: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    residue: npt.NDArray[np.float64] | None,
    x: npt.NDArray[np.uint8],
    exact: bool,
    denominator: int,
) -> npt.NDArray[np.float64]: ...
def number(text: bytes) -> float | None: ...
