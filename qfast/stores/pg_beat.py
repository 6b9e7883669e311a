"""The heartbeat of a node: in a thread of its own, on a connection of its own, whatever the event loop does.

A node is taken for dead when another has looked at its heartbeat several times, without a break in its own contact with
the database, and it stood still. No clocks are compared; and a database that was away for all has killed nobody.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
MISSED = 5  # looks at a heartbeat that stands still until its node is dead
LOOP_SLOW = 5.0  # seconds without an answer of the event loop that are logged, with what it does
LOOP_DEAD = 30.0  # seconds after which the heart stops: a server that does nothing must not hold its jobs
ANSWER_SECONDS = 3.0  # a statement without an answer for so long means that the connection is dead

BEAT = """
WITH beat AS (UPDATE heartbeat SET beats = beats + 1 WHERE epoch = $1)
SELECT epoch, beats FROM tenure JOIN heartbeat USING (epoch) WHERE NOT ended
"""
# Owners whose tenure is over, and who still have something.
LEFT = """
SELECT owner FROM (
    SELECT owner FROM job_state WHERE owner IS NOT NULL UNION SELECT owner FROM callback WHERE owner IS NOT NULL
    UNION SELECT owner FROM session WHERE owner IS NOT NULL
) AS held WHERE NOT EXISTS (SELECT FROM tenure WHERE epoch = owner AND NOT ended)
"""


class Census(NamedTuple):
    """What one beat has seen."""

    epoch: int  # ours, when it was taken
    alive: bool  # whether our tenure goes on
    others: int  # tenures of others that go on
    dead: tuple[int, ...]  # of these, the ones whose heartbeat stands still
    left: tuple[int, ...]  # owners whose tenure is over


class Heart:
    """Beats until stopped.

    Parameters
    ----------
    connect : callable
        Gives a new connection; called in the thread.
    epoch : callable
        Our epoch at present, 0 for none.
    tell : callable
        Takes each census, on the event loop of the caller.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Any]], epoch: Callable[[], int], tell: Callable[[Census], None]
    ) -> None:
        self._connect = connect
        self._epoch = epoch
        self._tell = tell
        self._main = asyncio.get_running_loop()
        self._main_thread = threading.get_ident()
        self._answered = time.monotonic()
        self._complained = False
        self._seen: dict[int, tuple[int, int]] = {}  # epoch: its beats, and looks that found it so
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._live, name="qfast-heartbeat", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Beat no more."""
        loop, task = self._loop, self._task
        if loop is not None and task is not None and self._thread.is_alive():
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # it has just ended
                return
            await asyncio.to_thread(self._thread.join, 2 * ANSWER_SECONDS)

    def _live(self) -> None:
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            pass
        except Exception:
            log.exception("the heartbeat has ended")

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        connection: Any = None
        try:
            while True:
                began = time.monotonic()
                if self._loop_is_alive():
                    try:
                        if connection is None:
                            connection = await self._connect()
                            await connection.execute("SET synchronous_commit = off")  # a beat need not be kept
                        async with asyncio.timeout(ANSWER_SECONDS):
                            await self._beat(connection)
                    except Exception as error:
                        log.debug("a beat was missed: %s", error)
                        self._seen.clear()
                        if connection is not None:
                            connection.terminate()
                            connection = None
                await asyncio.sleep(max(0.05, began + BEAT_SECONDS - time.monotonic()))
        finally:
            if connection is not None:
                connection.terminate()

    async def _beat(self, connection: Any) -> None:
        epoch = self._epoch()
        if not epoch:
            return
        rows = await connection.fetch(BEAT, epoch)
        left = await connection.fetch(LEFT)
        seen: dict[int, tuple[int, int]] = {}
        for other, beats in rows:
            before, looks = self._seen.get(other, (-1, 0))
            seen[other] = (beats, looks + 1 if beats == before else 0)
        alive = seen.pop(epoch, None) is not None
        self._seen = seen
        dead = tuple(other for other, (_, looks) in seen.items() if looks >= MISSED)
        census = Census(epoch, alive, len(seen), dead, tuple(row[0] for row in left if row[0] != epoch))
        self._on_main(self._tell, census)

    def _on_main(self, callback: Callable[..., None], *values: Any) -> None:
        try:
            self._main.call_soon_threadsafe(callback, *values)
        except RuntimeError:  # the event loop was closed without us: nobody is left to beat for
            raise asyncio.CancelledError from None

    def _answer(self) -> None:
        self._answered = time.monotonic()

    def _loop_is_alive(self) -> bool:
        """Whether the event loop has answered of late; what a slow one does is logged."""
        silent = time.monotonic() - self._answered
        self._on_main(self._answer)
        if silent < LOOP_SLOW:
            self._complained = False
        elif not self._complained:
            self._complained = True
            frame = sys._current_frames().get(self._main_thread)
            stack = "".join(traceback.format_stack(frame)) if frame is not None else "it has ended\n"
            log.error("the event loop has not answered for %.1f s; it is in\n%s", silent, stack)
        return silent < LOOP_DEAD
