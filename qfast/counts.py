"""Counts as the kernels write them: JSON text, which goes to the store and to the caller as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import orjson

from qfast.errors import ResourceLimitError

MEMORY_BYTES = 100_000_000  # of the outcomes of all shots of one run


class Counts(Mapping[str, int]):
    """Outcome to count, as JSON text; read into a dict only when somebody looks inside.

    Parameters
    ----------
    json : bytes
        A JSON object of integers, such as ``{"00":508,"11":492}``, without zero counts.
    memory : bytes, optional
        A JSON array of the outcome of every shot.
    simulator : {"statevector", "stabilizer"}, optional
        What they were drawn from.
    """

    __slots__ = ("_read", "json", "memory", "simulator")

    def __init__(self, json: bytes, memory: bytes | None = None, simulator: str | None = None) -> None:
        self.json = json
        self.memory = memory
        self.simulator = simulator
        self._read: dict[str, int] | None = None

    def _dict(self) -> dict[str, int]:
        if self._read is None:
            self._read = orjson.loads(self.json)
        return self._read

    def __getitem__(self, bits: str) -> int:
        return self._dict()[bits]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict())

    def __len__(self) -> int:
        return len(self._dict())

    def __repr__(self) -> str:
        return f"Counts({self.json[:200].decode()}{'...' if len(self.json) > 200 else ''})"


def check_memory(shots: int, width: int) -> None:
    """Refuse to list more shots than a result should hold.

    Parameters
    ----------
    shots : int
        Outcomes to list.
    width : int
        Characters of an outcome.

    Raises
    ------
    ResourceLimitError
    """
    size = shots * (width + 3)
    if size > MEMORY_BYTES:
        raise ResourceLimitError(
            f"memory: {shots:,} shots of {width} characters take {size:,} bytes, at most {MEMORY_BYTES:,}: "
            f"take at most {MEMORY_BYTES // (width + 3):,} shots or leave out the option",
            {"bytes": size, "max_bytes": MEMORY_BYTES},
        )


def listed(counts: Mapping[str, int], seed: int) -> Counts:
    """Counts that came as a mapping, with the outcome of every shot in a random order drawn from the seed."""
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), list(counts.values())))
    keys = list(counts)
    return Counts(orjson.dumps(dict(counts)), orjson.dumps([keys[index] for index in order]))
