"""Who may use how much memory: a run states its need before it begins and waits until it fits beside the others."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from qfast.errors import JobCancelled, ResourceLimitError

SMALL = 16 << 20  # bytes; below this a run is not worth counting


def default_total() -> int:
    """Bytes that all runs together may use: QFAST_MEMORY, else 70 % of the machine's memory."""
    configured = os.environ.get("QFAST_MEMORY")
    if configured:
        return int(configured)
    return int(0.7 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


class MemoryLedger:
    """Counts what running jobs have reserved; thread-safe.

    Parameters
    ----------
    total : int, optional
        Bytes that may be reserved at a time.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = default_total() if total is None else total
        self.used = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, need: int, cancel: bytearray) -> Iterator[None]:
        """Hold `need` bytes for the block.

        Raises
        ------
        ResourceLimitError
            The need is more than all there is.
        JobCancelled
            The flag was set while waiting.
        """
        if need < SMALL:
            yield
            return
        if need > self.total:
            raise ResourceLimitError(
                f"the run needs {need / 2**30:.1f} GiB of memory, this server gives at most {self.total / 2**30:.1f} GiB",
                {"required_bytes": need, "available_bytes": self.total},
            )
        with self._changed:
            while self.used + need > self.total:
                if cancel[0]:
                    raise JobCancelled
                self._changed.wait(0.02)
            self.used += need
        try:
            yield
        finally:
            with self._changed:
                self.used -= need
                self._changed.notify_all()
