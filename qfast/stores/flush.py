"""Group commit on an asynchronous connection: all writes issued while a flush runs share the next transaction."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from qfast.errors import Unavailable
from qfast.stores.commit import RETRY_AFTER, Outcome

log = logging.getLogger(__name__)

MOST_WRITES = 2000  # of one flush; beyond, larger batches gain nothing
MOST_BYTES = 32 << 20  # of one flush; an array of PostgreSQL ends at 1 GB

# Applies a run of payloads in order and gives one answer each, inside a transaction.
Verb = Callable[[Any, list[Any]], Awaitable[list[Any]]]


class Write(NamedTuple):
    """One write on its way to the database."""

    verb: Verb
    payload: Any
    size: int  # bytes, roughly
    news: tuple[str | int, ...]  # what other nodes should look at
    future: asyncio.Future[Any]


class Database(Protocol):
    """What carries a flush."""

    async def transact(
        self, work: Callable[[Any], Awaitable[list[Outcome]]], news: Sequence[str | int] = ()
    ) -> list[Outcome]:
        """Do the work in one durable transaction; what it raises tells that nothing of the work was applied.

        Raises Unavailable, or as it came an error of the work that concerns one write.
        """

    def concerns_one_write(self, error: Exception) -> bool:
        """Whether the error is the fault of a single payload (a duplicate, a bad value) rather than of the database."""


def unavailable(reason: str) -> Unavailable:
    """The refusal that asks the caller to come again."""
    return Unavailable(reason, extra={"retry_after": RETRY_AFTER})


class Flusher:
    """Carries writes to the database in the order of the calls, and their answers back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._writes: deque[Write] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self.waiting = 0  # writes without an answer yet
        self.flushes = 0
        self._task = self._loop.create_task(self._run(), name="qfast-store-flusher")

    def submit(self, verb: Verb, payload: Any, size: int = 0, news: tuple[str | int, ...] = ()) -> asyncio.Future[Any]:
        """Queue a write; the future ends when it is durable, or failed and not applied.

        Cancelling the future does not take the write back.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closing or self._task.done():
            future.set_exception(unavailable("the store is closed"))
            return future
        self._writes.append(Write(verb, payload, size, news, future))
        self.waiting += 1
        self._wake.set()
        return future

    async def close(self) -> None:
        """Finish all writes, then end."""
        self._closing = True
        self._wake.set()
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        """Flush until closed."""
        while self._writes or not self._closing:
            if not self._writes:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            self._answer(await self._flush(batch))
            self.flushes += 1

    def _take(self) -> list[Write]:
        """The next batch: as many as wait, up to the limits, at least one."""
        batch = [self._writes.popleft()]
        size = batch[0].size
        while self._writes and len(batch) < MOST_WRITES and size + self._writes[0].size <= MOST_BYTES:
            batch.append(self._writes.popleft())
            size += batch[-1].size
        return batch

    async def _flush(self, batch: list[Write]) -> list[Outcome]:
        """One commit; whatever happens, every write gets an outcome."""
        news = [item for write in batch for item in write.news]
        try:
            try:
                return await self._database.transact(lambda connection: self._apply_runs(connection, batch), news)
            except Exception as error:
                if not self._database.concerns_one_write(error):
                    raise
            # Find the one to blame, let the others through.
            return await self._database.transact(lambda connection: self._apply_each(connection, batch), news)
        except Exception as error:
            away = isinstance(error, Unavailable)  # the database has told why already
            log.log(logging.INFO if away else logging.ERROR, "a flush of %d writes failed: %s", len(batch), error)
            reason = str(error) if away else f"the store cannot write: {error}"
            return [Outcome(write.future, None, unavailable(reason)) for write in batch]

    async def _apply_runs(self, connection: Any, batch: list[Write]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for verb, group in groupby(batch, key=lambda write: write.verb):
            writes = list(group)
            answers = await verb(connection, [write.payload for write in writes])
            outcomes += [Outcome(write.future, answer, None) for write, answer in zip(writes, answers, strict=True)]
        return outcomes

    async def _apply_each(self, connection: Any, batch: list[Write]) -> list[Outcome]:
        return [await self._apply_alone(connection, write) for write in batch]

    async def _apply_alone(self, connection: Any, write: Write) -> Outcome:
        await connection.execute("SAVEPOINT alone")
        try:
            outcome = Outcome(write.future, (await write.verb(connection, [write.payload]))[0], None)
        except Exception as error:
            if not self._database.concerns_one_write(error):
                raise
            await connection.execute("ROLLBACK TO alone")
            outcome = Outcome(write.future, None, error)
        await connection.execute("RELEASE alone")
        return outcome

    def _answer(self, outcomes: list[Outcome]) -> None:
        """Tell each caller; one that is gone, or breaks, harms no other."""
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
