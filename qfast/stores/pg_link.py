"""The connections to PostgreSQL: the only file that knows asyncpg.

`lock` holds the nodes' advisory lock and hears what other nodes notify, `writer` carries the flushes, `reader` the
look-ups. When one is lost all are; calls are then refused, and the link comes back by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from qfast.errors import StoreFailed, Unavailable
from qfast.stores.commit import Outcome
from qfast.stores.flush import unavailable
from qfast.stores.pg_beat import Census, Heart
from qfast.stores.pg_setup import check_settings, enter

asyncpg: Any = importlib.import_module("asyncpg")  # has no type annotations

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 60.0  # a statement without an answer for so long means that the connection is dead
FLUSH_SECONDS = 20.0  # the same of the writer, whose statements are bounded
PARTING_SECONDS = 3.0  # wait at the end for a look-up and the farewell
FIRST_DELAY, LONGEST_DELAY = 0.02, 1.0  # seconds between tries to come back
DEADLOCKS = 5  # in a row, until a flush is refused
LONGEST_NEWS = 7900  # bytes of a notice; PostgreSQL takes 7,999
ENDED = "other servers took this one for dead and have its jobs"
SETTINGS = {
    "default_transaction_isolation": "read committed",  # compare-and-set relies on it
    "client_min_messages": "warning",
    "jit": "off",
    # The server notices a client that vanished, and what it has locked is free.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "idle_in_transaction_session_timeout": "10000",
}
LOST = (
    OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError,
    asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError,
)  # fmt: skip


class State(Enum):
    """How the database is to us."""

    CLOSED = "the store is not open"
    UP = "the database answers"
    AWAY = "the database cannot be reached"  # tried again all the time
    FENCED = "the database is not the one that it was: this server must be started again"


class Fenced(Exception):
    """The database has lost what we know to be committed."""


def concerns_one_write(error: Exception) -> bool:
    """Whether the error is the fault of a single payload (a duplicate, a bad value) rather than of the database."""
    if isinstance(
        error, asyncpg.IntegrityConstraintViolationError | asyncpg.DataError | asyncpg.ProgramLimitExceededError
    ):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError)  # a value that asyncpg could not encode
    return not isinstance(error, asyncpg.PostgresError | asyncpg.InternalClientError | OSError | Unavailable)


def is_double(error: Exception) -> bool:
    """Whether a write failed because its key is there already."""
    return isinstance(error, asyncpg.UniqueViolationError)


def shown(url: str) -> str:
    """The URL without its secrets."""
    try:
        parts = urlsplit(url)
        return f"postgresql://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "postgresql://..."


class Link:
    """The connections to the database, and our tenure as one of its nodes.

    A tenure is a row with an epoch, the number of the link and that of the last flush. Every flush writes its number into
    the row of its own epoch and link while that is not ended. That gives four things at the price of one row: a flush
    whose COMMIT got no answer is looked up by its number, once a new link has made sure that it can no longer happen; a
    late flush of an old connection changes nothing; nor does any of a node that others took for dead, whose jobs they
    have; and a database that lost acknowledged flushes (an older copy, a standby that lagged) is recognised. A node whose
    tenure was ended begins another one, with nothing in its hands.
    """

    def __init__(self, url: str, lock_seconds: float) -> None:
        self.url = url
        self.lock_seconds = lock_seconds
        self.state = State.CLOSED
        self.server = uuid.uuid4().hex
        self.lock: Any = None
        self.writer: Any = None
        self.reader: Any = None
        self.epoch = 0
        self.number = 0  # of the link, within the epoch
        self.flushed = 0  # number of the last flush that is known to be committed
        self.others = 0  # nodes besides us, as the heartbeat has seen
        self.channel = ""
        self.on_news: Callable[[list[Any]], None] = lambda news: None  # what other nodes notify
        self.on_epoch: Callable[[], None] = lambda: None  # a new tenure began: what we had is another's
        self.on_census: Callable[[Census], None] = lambda census: None
        self._heart: Heart | None = None
        self._back = asyncio.Event()  # set while nobody tries to come back
        self._returning: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()

    async def open(self) -> None:
        """Connect and begin the tenure; raises StoreLocked, or StoreFailed with the reason."""
        place = shown(self.url)
        try:
            await self._connect(self.lock_seconds)
            self._heart = Heart(self._dial_heart, lambda: self.epoch if self.state is State.UP else 0, self._look_round)
        except (asyncpg.ClientConfigurationError, ValueError):
            # The text might quote a part of the URL that holds the password.
            raise StoreFailed(f"the URL of the database {place} cannot be understood") from None
        except (*LOST, asyncpg.PostgresError) as error:
            reason = str(error) or "no answer in time"
            raise StoreFailed(f"the database {place} cannot be used: {reason}") from error

    async def close(self) -> None:
        """Let go of the database."""
        if self.state is State.CLOSED:
            return
        up, self.state = self.state is State.UP, State.CLOSED
        self._back.set()
        if self._heart is not None:
            await self._heart.stop()
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait([self._returning])
        if up:
            try:
                async with asyncio.timeout(PARTING_SECONDS), self._reading:
                    await self.writer.execute(
                        f"UPDATE tenure SET ended = true WHERE epoch = {self.epoch} AND link = {self.number}"  # noqa: S608
                    )
                    for connection in (self.reader, self.writer, self.lock):
                        await connection.close()
            except (*LOST, asyncpg.PostgresError) as error:
                log.warning("the database was not left cleanly: %s", str(error) or type(error).__name__)
                for connection in (self.reader, self.writer, self.lock):
                    connection.terminate()

    async def transact(
        self, work: Callable[[Any], Awaitable[list[Outcome]]], news: Sequence[str | int] = ()
    ) -> list[Outcome]:
        """Do the work in one durable transaction; what it raises tells that nothing of the work was applied.

        The news is told to the other nodes with the commit.
        """
        for _ in range(DEADLOCKS):
            try:
                return await self._transact(work, news)
            except asyncpg.DeadlockDetectedError:  # with a flush of another node, which goes on
                log.info("a flush was rolled back for another node's: once more")
        raise unavailable("the store cannot write: other nodes write the same jobs")

    async def _transact(
        self, work: Callable[[Any], Awaitable[list[Outcome]]], news: Sequence[str | int]
    ) -> list[Outcome]:
        connection = self._current().writer
        number = self.flushed + 1
        committing = False
        try:
            tag = await connection.execute(
                f"BEGIN; UPDATE tenure SET flush = {number} WHERE epoch = {self.epoch} AND link = {self.number}"  # noqa: S608
                " AND NOT ended"
            )
            if tag != "UPDATE 1":
                self._lose(State.AWAY, ENDED)
                raise unavailable(ENDED)
            outcomes = await work(connection)
            committing = True
            if await connection.execute(self._notify(news) + "COMMIT") != "COMMIT":
                raise unavailable("the database rolled the flush back")
        except Exception as error:
            if isinstance(error, Unavailable) and not committing:
                raise  # the tenure was ended
            if connection.is_closed() or self._means_loss(error):
                self._lose(State.AWAY, error)
                if committing and await self._took_place(number):
                    return outcomes
                lost = "the connection to the database was lost before the write was committed"
                raise unavailable(self.state.value if self.state is State.FENCED else lost) from error
            await self._roll_back(connection)
            if concerns_one_write(error) or isinstance(error, Unavailable | asyncpg.DeadlockDetectedError):
                raise
            raise unavailable(f"the store cannot write: {error}") from error
        self.flushed = number
        return outcomes

    def _notify(self, news: Sequence[str | int]) -> str:
        """The statement that tells the other nodes; at most one in a flush, since it takes a lock of the whole database."""
        if not self.others or not news:
            return ""
        text = json.dumps([self.epoch, *dict.fromkeys(news)])
        if len(text) > LONGEST_NEWS:
            text = json.dumps([self.epoch, "*"])
        return f"NOTIFY {self.channel}, '{text.replace(chr(39), chr(39) * 2)}'; "

    def _hear(self, _connection: Any, _pid: int, _channel: str, text: str) -> None:
        """A notice has come."""
        epoch, *news = json.loads(text)
        if epoch != self.epoch:
            self.on_news(news)

    def _look_round(self, census: Census) -> None:
        """The heart has beaten."""
        if self.state is not State.UP or census.epoch != self.epoch:
            return
        if not census.alive:
            self._lose(State.AWAY, ENDED)
            return
        self.others = census.others
        self.on_census(census)

    def concerns_one_write(self, error: Exception) -> bool:
        """See `concerns_one_write`."""
        return concerns_one_write(error)

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        """The rows of a look-up; one at a time. A caller that goes away does not disturb it."""
        self._current()
        task = asyncio.get_running_loop().create_task(self._fetch(statement, values))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to take it
        return await asyncio.shield(task)

    async def _fetch(self, statement: str, values: Sequence[Any]) -> list[Any]:
        async with self._reading:
            connection = self._current().reader
            try:
                rows: list[Any] = await connection.fetch(statement, *values)
            except Exception as error:
                if values and concerns_one_write(error):
                    return []  # a value that cannot be stored is not there
                if connection.is_closed() or self._means_loss(error):
                    self._lose(State.AWAY, error)
                    raise unavailable(State.AWAY.value) from error
                raise unavailable(f"the store cannot read: {error}") from error
            return rows

    def _current(self) -> Link:
        """Self, if the database answers; raises Unavailable otherwise."""
        if self.state is not State.UP:
            raise unavailable(self.state.value)
        return self

    @staticmethod
    def _means_loss(error: Exception) -> bool:
        return isinstance(error, LOST) and not concerns_one_write(error)

    async def _roll_back(self, connection: Any) -> None:
        """Undo a transaction; where that fails the connection goes, and the server undoes it."""
        try:
            await connection.execute("ROLLBACK")
        except (*LOST, asyncpg.PostgresError) as error:
            self._lose(State.AWAY, error)

    async def _took_place(self, number: int) -> bool:
        """Whether a flush whose COMMIT got no answer was committed; waits until that is known.

        Raises Unavailable when the store is closed before.
        """
        await self._back.wait()
        if self.flushed < number and self.state is State.CLOSED:
            raise unavailable("the store was closed before the outcome of the write could be looked up")
        return self.flushed >= number

    def _lose(self, state: State, reason: object) -> None:
        """Drop all connections, since they live and die together, and start to come back."""
        if self.state is not State.UP:
            return
        log.error("the database %s is lost: %s", shown(self.url), reason)
        self.state = state
        for connection in (self.lock, self.writer, self.reader):
            connection.terminate()
        if state is State.AWAY:
            self._back.clear()
            self._returning = asyncio.get_running_loop().create_task(self._come_back())

    def _on_end(self, connection: Any) -> None:
        """A connection has ended; at once also when nothing was under way on it."""
        if connection in (self.lock, self.writer, self.reader):
            self._lose(State.AWAY, "a connection has ended")

    async def _come_back(self) -> None:
        delay, told = FIRST_DELAY, ""
        while self.state is State.AWAY:
            try:
                await self._connect(0.0)
            except Fenced as error:
                log.critical("this server must be started again: %s", error)
                self.state = State.FENCED
            except Exception as error:
                reason = str(error) or type(error).__name__
                if reason != told:
                    log.warning("the database %s is still away: %s", shown(self.url), reason)
                    told = reason
                await asyncio.sleep(delay)
                delay = min(LONGEST_DELAY, 2 * delay)
            else:
                log.warning("the database %s answers again", shown(self.url))
        self._back.set()

    async def _connect(self, lock_seconds: float) -> None:
        """All three connections, the lock and a tenure, or an error and nothing open."""
        made: list[Any] = []
        try:
            lock = await self._dial(made)
            durability, schema = await check_settings(lock)
            self.channel = f"qfast_{hashlib.sha256(schema.encode()).hexdigest()[:16]}"
            # What is left of our own lost connections is ended first.
            await lock.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
            )
            await enter(lock, lock_seconds)
            writer, reader = await self._dial(made, FLUSH_SECONDS), await self._dial(made)
            # From now on a reload of the configuration does not change it under us.
            await writer.execute(f"SET synchronous_commit = {durability}")
            await reader.execute("SET default_transaction_read_only = on")
            await lock.add_listener(self.channel, self._hear)
            before, self.epoch = self.epoch, await self._join(lock)
            if any(connection.is_closed() for connection in made):
                raise ConnectionError("a connection has ended")
        except BaseException:
            for connection in made:
                connection.terminate()
            raise
        self.lock, self.writer, self.reader = lock, writer, reader
        for connection in made:
            connection.add_termination_listener(self._on_end)
        self.state = State.UP
        self._back.set()
        if before != self.epoch:
            self.on_epoch()

    async def _dial(self, made: list[Any], command_seconds: float = COMMAND_SECONDS) -> Any:
        made.append(await self._dial_as(f"qfast {self.server}", command_seconds))
        return made[-1]

    async def _dial_heart(self) -> Any:
        return await self._dial_as(f"qfast {self.server} heart", FLUSH_SECONDS)

    async def _dial_as(self, name: str, command_seconds: float) -> Any:
        return await asyncpg.connect(
            self.url,
            timeout=CONNECT_SECONDS,
            command_timeout=command_seconds,
            max_cached_statement_lifetime=0,
            server_settings={**SETTINGS, "application_name": name},
        )

    async def _join(self, connection: Any) -> int:
        """Go on with our tenure, learning how far it came, or begin one; gives its epoch."""
        async with connection.transaction():
            if self.epoch:
                # Waits for a flush that is still in flight; one that comes later finds another link.
                row = await connection.fetchrow(
                    "UPDATE tenure SET link = link + 1 WHERE epoch = $1 RETURNING link, flush, ended", self.epoch
                )
                if row is None or not self.flushed <= row["flush"] <= self.flushed + 1:
                    raise Fenced("the database is not the one that it was, or has lost commits")
                self.flushed = row["flush"]
                if not row["ended"]:
                    self.number = row["link"]
                    return self.epoch
                log.error("others took this node for dead and have its jobs; it begins anew")
            await connection.execute(
                "DELETE FROM tenure WHERE ended AND began_at < now() - interval '30 days'"
                " AND epoch < (SELECT max(epoch) FROM tenure)"
            )
            await connection.execute(
                "DELETE FROM heartbeat WHERE NOT EXISTS (SELECT FROM tenure WHERE epoch = heartbeat.epoch AND NOT ended)"
            )
            epoch: int = await connection.fetchval(
                "WITH begun AS (INSERT INTO tenure (server, flush) VALUES ($1, $2) RETURNING epoch)"
                " INSERT INTO heartbeat (epoch, beats) SELECT epoch, 0 FROM begun RETURNING epoch",
                self.server,
                self.flushed,
            )
            self.number = 0
            return epoch
