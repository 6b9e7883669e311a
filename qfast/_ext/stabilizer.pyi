from typing import Any, Final

LEVELS: Final[tuple[str, ...]]

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
    max_bytes: int,
    level: str | None = None,
    form: int = 0,
) -> tuple[int, str, Any, int, int]: ...
def plan(
    code: bytes, operands: bytes, params: bytes, num_qubits: int, num_clbits: int, num_vars: int
) -> tuple[int, int, int]: ...
