"""The circuit cache: programs that were parsed and transpiled, kept by content and options for whoever sends them again.

A variational loop sends the same circuit many times; so do services of many users. Sessions count their look-ups.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import msgspec
import orjson

from qfast.circuit import Circuit
from qfast.frontend import OpenCircuit
from qfast.plugins import Task

MAX_BYTES = 32 << 20  # of one backend's programs and their sources
WORTH = 50e-6  # seconds of preparation below which only sessions' programs are kept
_ENTRY = 1000  # bytes that an entry takes besides

Key = tuple[str, str, str | None, bytes, bool, bool, bool]


class Prepared(msgspec.Struct, frozen=True):
    """What parse and transpile gave: the program, what they noted in the metadata, and the program's own width.

    Of a source with inputs it is what `open` gave: the program before they have values, or None where there is none.
    """

    program: Any
    metadata: dict[str, Any]
    num_qubits: int | None

    def size(self, key: Key) -> int:
        """About how many bytes it takes, its key included."""
        circuit, arrays = self.program, 0
        if isinstance(circuit, OpenCircuit):
            arrays = len(circuit.tape) + len(circuit.constants) + len(circuit.cells)
            circuit = circuit.circuit
        if isinstance(circuit, Circuit):
            arrays += len(circuit.code) + len(circuit.qubits) + len(circuit.params)
        return _ENTRY + len(key[1]) + len(key[3]) + arrays


def key_of(task: Task) -> Key | None:
    """What the preparation depends on, on one device; None when it is not to be kept.

    Values of ``input`` declarations are no part of it: they are bound in what is kept.
    """
    if task.code_type == "qubo":
        return None
    if task.inputs is not None:
        return task.code_type, task.source, None, b"", False, False, True
    options = orjson.dumps(task.transpiler_options, option=orjson.OPT_SORT_KEYS) if task.transpiler_options else b""
    noisy = bool(getattr(task.options, "noise", True))  # what has no noise may be wider
    return task.code_type, task.source, task.transpiler, options, task.observables is None, noisy, False


class PreparedPrograms:
    """The prepared programs of one backend, the least recently used ones let go first; safe to use from threads.

    Parameters
    ----------
    max_bytes : int
        About what they may take together.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Key, Prepared] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Prepared | None:
        """The program that was kept under this key."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Key, prepared: Prepared) -> None:
        """Keep a program; one that is larger than a quarter of the room is not kept."""
        size = prepared.size(key)
        if 4 * size > self._max_bytes:
            return
        with self._lock:
            before = self._kept.pop(key, None)
            self._bytes += size - (before.size(key) if before is not None else 0)
            self._kept[key] = prepared
            while self._bytes > self._max_bytes:
                old_key, old = self._kept.popitem(last=False)
                self._bytes -= old.size(old_key)
