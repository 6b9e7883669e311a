from typing import Any

import numpy as np
import numpy.typing as npt

levels: tuple[str, ...]
level: str
max_enumerated: int
lanes: int
max_replicas: int
max_threads: int
max_row_sum: int

class Cancelled(Exception): ...

def enumerate_best(
    n: int,
    row: npt.NDArray[np.int32],
    col: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    residue: npt.NDArray[np.float64] | None,
    exact: bool,
    cancel: bytearray,
    simd: str | None = ...,
) -> tuple[npt.NDArray[np.uint8], bool]: ...
def temper(
    n: int,
    row: npt.NDArray[np.int32],
    col: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    *,
    exact: bool,
    dense: bool,
    replicas: int,
    reads: int,
    sweeps: int,
    deadline: float,
    seed: int,
    cancel: bytearray,
    threads: int = ...,
    cells: npt.NDArray[Any] | None = ...,
    diagonal: npt.NDArray[np.float64] | None = ...,
    entries: int = ...,
    simd: str | None = ...,
) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]: ...
def histogram(
    n: int,
    row: npt.NDArray[np.int32],
    col: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    *,
    sweeps: int,
    burn_in: int,
    cold: float,
    hot: float,
    seed: int,
    clusters: int = ...,
    simd: str | None = ...,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]: ...
def cross(
    n: int,
    row: npt.NDArray[np.int32],
    col: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    x: npt.NDArray[np.uint8],
    other: npt.NDArray[np.uint8],
    *,
    seed: int,
) -> tuple[npt.NDArray[np.uint8], float]: ...
