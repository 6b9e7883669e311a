from typing import Any, Final

import numpy as np
import numpy.typing as npt

LEVELS: Final[tuple[str, ...]]

def level() -> str: ...
def sample(
    code: bytes,
    operands: bytes,
    params: bytes,
    num_qubits: int,
    num_clbits: int,
    num_vars: int,
    cregs: tuple[tuple[str, int], ...],
    shots: int,
    seed: int,
    cancel: bytearray | None,
    threads: int,
    max_bytes: int,
    level: str | None = None,
    form: int = 0,
    single: bool = False,
) -> tuple[int, str, Any, int, int]: ...
def statevector(
    code: bytes,
    operands: bytes,
    params: bytes,
    num_qubits: int,
    num_clbits: int,
    num_vars: int,
    cancel: bytearray | None,
    threads: int,
    max_bytes: int,
    level: str | None = None,
    single: bool = False,
) -> tuple[int, npt.NDArray[np.complex128] | None]: ...
def expectations(
    code: bytes,
    operands: bytes,
    params: bytes,
    num_qubits: int,
    num_clbits: int,
    num_vars: int,
    paulis: bytes,
    count: int,
    cancel: bytearray | None,
    threads: int,
    max_bytes: int,
    level: str | None = None,
) -> tuple[int, str, npt.NDArray[np.float64] | None]: ...
def plan(
    code: bytes,
    operands: bytes,
    params: bytes,
    num_qubits: int,
    num_clbits: int,
    num_vars: int,
    max_bytes: int,
    single: bool = False,
    whole: bool = False,
) -> tuple[int, int, int, bool]: ...
def binomial(seed: int, n: int, p: float, size: int) -> npt.NDArray[np.int64]: ...
