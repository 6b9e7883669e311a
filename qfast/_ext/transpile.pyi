from typing import Final, final

import numpy as np
import numpy.typing as npt

MOST_PLACES: Final[int]
STATUSES: Final[tuple[str, ...]]

@final
class Basis:
    def __new__(
        cls,
        style: int,
        z: int,
        fixed: list[tuple[int, tuple[float, float, float, float]]],
        entanglers: list[tuple[object, ...]],
        iswap: bool,
        keeps: list[tuple[int, int]],
        words: list[tuple[tuple[float, float, float, float], tuple[int, ...]]],
        macros: list[tuple[int, int, float, tuple[int, ...], tuple[int, ...]]],
    ) -> Basis: ...

@final
class Map:
    def __new__(cls, pairs: npt.NDArray[np.int32], num_qubits: int) -> Map: ...
    @property
    def num_qubits(self) -> int: ...

def rewrite(
    code: bytes,
    operands: bytes,
    params: bytes,
    num_qubits: int,
    num_clbits: int,
    num_vars: int,
    basis: Basis,
    map: Map | None,
    level: int,
    seed: int,
    cancel: bytearray | None,
    deadline: float | None,
) -> tuple[str, tuple[bytes, bytes, bytes, int, int, int, int, list[int], list[int]] | None]: ...
