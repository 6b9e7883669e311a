from collections.abc import Iterable
from typing import TypeAlias

class QasmError(Exception):
    kind: int
    text: str
    begin: int
    end: int
    hint: str | None
    others: list[QasmError]
    work: int
    def __init__(
        self, kind: int, text: str, begin: int, end: int, hint: str | None, others: Iterable[QasmError] = ()
    ) -> None: ...

_Fields: TypeAlias = tuple[
    int, int, int, bytes, bytes, bytes, tuple[tuple[str, int], ...], tuple[tuple[str, int], ...], bool
]

def compile(source: str, version: int = 0, inputs: dict[str, float] | None = None) -> _Fields: ...
def compile_open(source: str, version: int = 0) -> tuple[_Fields, tuple[str, ...], bytes, bytes, bytes, int] | None: ...
def bind(
    cells: bytes, tape: bytes, constants: bytes, num_cells: int, params: bytes, values: tuple[float, ...]
) -> bytes | None: ...
def run_classical(
    code: bytes, params: bytes, num_clbits: int, num_vars: int, fuel: int
) -> tuple[int, bytes, bytes]: ...
