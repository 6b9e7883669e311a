from collections.abc import Iterable

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

def compile(
    source: str, version: int = 0, inputs: dict[str, float] | None = None
) -> tuple[int, int, int, bytes, bytes, bytes, tuple[tuple[str, int], ...], tuple[tuple[str, int], ...], bool]: ...
def run_classical(
    code: bytes, params: bytes, num_clbits: int, num_vars: int, fuel: int
) -> tuple[int, bytes, bytes]: ...
