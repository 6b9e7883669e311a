from typing import final

import numpy as np
import numpy.typing as npt

MAX_SIZE: int
MAX_BEST: int
persistency: int
structure: int

class Cancelled(Exception): ...

@final
class Reduction:
    @property
    def n(self) -> int: ...
    @property
    def kept(self) -> npt.NDArray[np.int32]: ...
    @property
    def row(self) -> npt.NDArray[np.int32]: ...
    @property
    def col(self) -> npt.NDArray[np.int32]: ...
    @property
    def value(self) -> npt.NDArray[np.int64]: ...
    @property
    def margin(self) -> int: ...
    @property
    def fixed(self) -> int: ...
    @property
    def replaced(self) -> int: ...
    def __init__(
        self,
        n: int,
        row: npt.NDArray[np.int32],
        col: npt.NDArray[np.int32],
        value: npt.NDArray[np.int64],
        rules: int,
        limit: int,
        cancel: bytearray,
        least: int = ...,
    ) -> None: ...
    def restore(self, x: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...

def movable(n: int, row: npt.NDArray[np.int32], col: npt.NDArray[np.int32], value: npt.NDArray[np.float64]) -> int: ...
def components(n: int, row: npt.NDArray[np.int32], col: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]: ...
def eliminate(
    n: int,
    row: npt.NDArray[np.int32],
    col: npt.NDArray[np.int32],
    value: npt.NDArray[np.int64],
    most: int,
    wanted: int,
    cancel: bytearray,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int64], int, int]: ...
def neighbours(
    n: int,
    row: npt.NDArray[np.int32],
    col: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    slack: float,
    given: npt.NDArray[np.uint8],
    deadline: float,
    cancel: bytearray,
) -> npt.NDArray[np.uint8]: ...
