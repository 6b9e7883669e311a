"""Group commit: one writer thread, and all writes issued while a commit runs share the next one."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from itertools import groupby
from typing import Any, NamedTuple

from qfast.errors import Unavailable

log = logging.getLogger(__name__)

RETRY_AFTER = 1.0  # seconds that a caller is asked to wait after a failed commit

# Applies a run of payloads in order and gives one answer each; runs in the writer thread, inside a transaction.
Verb = Callable[[sqlite3.Connection, list[Any]], list[Any]]


class Write(NamedTuple):
    """One write on its way to the disk."""

    verb: Verb
    payload: Any
    future: asyncio.Future[Any]


class Outcome(NamedTuple):
    """What became of a write: its answer, or why it was not applied."""

    future: asyncio.Future[Any]
    answer: Any
    error: Exception | None


def concerns_one_write(error: Exception) -> bool:
    """Whether the error is the fault of a single payload (a duplicate, a bad value) rather than of the database."""
    if isinstance(
        error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError | sqlite3.InterfaceError
    ):
        return True
    return not isinstance(error, sqlite3.Error)


class GroupCommit:
    """Carries writes from the event loop to one writer thread and their answers back.

    The writes of one turn of the loop are handed over together; the thread takes all that wait, applies them in order
    in one transaction and answers with one wake-up of the loop, so that the price of a sync and of a change of threads
    is shared. The statements are few per commit as well: each one gives the GIL away, and against a busy loop thread it
    takes up to a switch interval (5 ms) to get it back.

    Parameters
    ----------
    connection : sqlite3.Connection
        In autocommit mode (``isolation_level=None``), used by the writer thread alone from now on, and closed by it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._turn: list[Write] = []  # the writes of this turn of the loop
        self._handed: queue.SimpleQueue[list[Write] | None] = queue.SimpleQueue()
        self._ended = self._loop.create_future()
        self._closing = False
        self.waiting = 0  # writes without an answer yet
        self.commits = 0
        self._thread = threading.Thread(target=self._run, name="qfast-store-writer", daemon=True)
        self._thread.start()

    def submit(self, verb: Verb, payload: Any) -> asyncio.Future[Any]:
        """Queue a write; the future ends when it is durable, or failed and not applied.

        Cancelling the future does not take the write back.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closing:
            future.set_exception(Unavailable("the store is closed", extra={"retry_after": RETRY_AFTER}))
            return future
        if not self._turn:
            self._loop.call_soon(self._hand_over)
        self._turn.append(Write(verb, payload, future))
        self.waiting += 1
        return future

    async def close(self) -> None:
        """Finish all writes, then end the thread and close its connection."""
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._handed.put(None)
        await asyncio.shield(self._ended)

    def _hand_over(self) -> None:
        if self._turn:
            self._handed.put(self._turn)
            self._turn = []

    def _run(self) -> None:
        """The writer thread."""
        going = True
        while going:
            batch: list[Write] = []
            turn = self._handed.get()
            while turn is not None:
                batch += turn
                if self._handed.empty():
                    break
                turn = self._handed.get()
            going = turn is not None
            if batch:
                self._wake(self._complete, self._apply(batch))
        try:
            self._connection.close()
        except sqlite3.Error:
            log.exception("the database did not close cleanly")
        self._wake(self._end)

    def _apply(self, batch: list[Write]) -> list[Outcome]:
        """One commit; whatever happens, every write gets an outcome."""
        try:
            try:
                return self._commit(batch, self._apply_run)
            except Exception as error:
                if not concerns_one_write(error):
                    raise
                return self._commit(batch, self._apply_each)  # find the one to blame, let the others through
        except Exception as error:
            log.error("a commit of %d writes failed: %s", len(batch), error)
            reason = f"the store cannot write: {error}"
            return [
                Outcome(write.future, None, Unavailable(reason, extra={"retry_after": RETRY_AFTER})) for write in batch
            ]

    def _commit(self, batch: list[Write], apply: Callable[[Verb, list[Write]], list[Outcome]]) -> list[Outcome]:
        """Apply the batch in call order, verb by verb, in one transaction: all or nothing."""
        outcomes: list[Outcome] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for verb, writes in groupby(batch, key=lambda write: write.verb):
                outcomes += apply(verb, list(writes))
            self._connection.execute("COMMIT")
        except Exception:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self.commits += 1
        return outcomes

    def _apply_run(self, verb: Verb, writes: list[Write]) -> list[Outcome]:
        answers = verb(self._connection, [write.payload for write in writes])
        return [Outcome(write.future, answer, None) for write, answer in zip(writes, answers, strict=True)]

    def _apply_each(self, verb: Verb, writes: list[Write]) -> list[Outcome]:
        return [self._apply_alone(write) for write in writes]

    def _apply_alone(self, write: Write) -> Outcome:
        self._connection.execute("SAVEPOINT alone")
        try:
            outcome = Outcome(write.future, write.verb(self._connection, [write.payload])[0], None)
        except Exception as error:
            if not concerns_one_write(error):
                raise
            self._connection.execute("ROLLBACK TO alone")
            outcome = Outcome(write.future, None, error)
        self._connection.execute("RELEASE alone")
        return outcome

    def _wake(self, callback: Callable[..., None], *values: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:  # the loop is closed: nobody waits any more, but what is queued is still written
            log.warning("the event loop ended before the store was closed")

    def _complete(self, outcomes: list[Outcome]) -> None:
        """Answer each caller; one that is gone, or breaks, harms no other."""
        self.waiting -= len(outcomes)
        for future, answer, error in outcomes:
            try:
                if future.done():
                    continue
                if error is None:
                    future.set_result(answer)
                else:
                    future.set_exception(error)
            except Exception:
                log.exception("a caller could not be told of its write")

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
