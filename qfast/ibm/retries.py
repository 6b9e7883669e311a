"""A submit whose answer never arrived is repeated by the client, byte for byte: the repetition must be the same job.

Two submits of the same bytes are otherwise two jobs, as a loop over one circuit means them. So only an attempt whose
connection ended before its answer was on the way is remembered, for a while; the next POST of the same credential with
the same bytes takes it over.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

REMEMBERED = 300.0  # seconds; the client gives up sooner
MOST = 1000  # attempts


class Attempt:
    """One POST, whether anybody waits for its answer or not."""

    def __init__(self, work: Coroutine[Any, Any, bytes]) -> None:
        self.task = asyncio.ensure_future(work)
        self.task.add_done_callback(_seen)
        self.lost = False  # the connection ended before the answer
        self.until = 0.0


def _seen(task: asyncio.Task[bytes]) -> None:
    """An error that nobody waits for is no news: the repetition meets it again."""
    if not task.cancelled():
        task.exception()


class Attempts:
    """The attempts that are under way or lost."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lost: dict[bytes, list[Attempt]] = {}

    @staticmethod
    def key(credential: str, body: bytes) -> bytes:
        """What two attempts of one submit have in common."""
        return hashlib.sha256(credential.encode() + b"\0" + body).digest()

    def begin(self, key: bytes, work: Callable[[], Coroutine[Any, Any, bytes]]) -> Attempt:
        """The lost attempt of that key, or a new one."""
        self._forget_old()
        lost = self._lost.get(key)
        if lost:
            attempt = lost.pop()
            if not lost:
                del self._lost[key]
            attempt.lost = False
            return attempt
        return Attempt(work())

    def lose(self, key: bytes, attempt: Attempt) -> None:
        """Nobody heard the answer of this attempt; one that failed needs no memory."""
        if attempt.lost or (attempt.task.done() and (attempt.task.cancelled() or attempt.task.exception() is not None)):
            return
        attempt.lost, attempt.until = True, self._clock() + REMEMBERED
        self._lost.setdefault(key, []).append(attempt)

    def _forget_old(self) -> None:
        now = self._clock()
        for key in list(self._lost):
            kept = [attempt for attempt in self._lost[key] if attempt.until > now]
            if kept and len(self._lost) <= MOST:
                self._lost[key] = kept
            else:
                del self._lost[key]
