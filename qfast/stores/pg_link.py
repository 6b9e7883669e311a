"""The connections to PostgreSQL: the only file that knows asyncpg.

`lock` holds the owner's advisory lock, `writer` carries the flushes, `reader` the look-ups. When one is lost all are;
calls are then refused, and the link comes back by itself.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from qfast.errors import StoreFailed, StoreLocked, Unavailable
from qfast.stores.commit import Outcome
from qfast.stores.flush import unavailable

asyncpg: Any = importlib.import_module("asyncpg")  # has no type annotations

log = logging.getLogger(__name__)

OLDEST_POSTGRES = 130000
LOCK_CLASS = 0x71666173  # "qfas": the first half of our advisory locks; the second half is the schema's name
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 60.0  # a statement without an answer for so long means that the connection is dead
FLUSH_SECONDS = 20.0  # the same of the writer, whose statements are bounded
PARTING_SECONDS = 3.0  # wait at the end for a look-up and the farewell
FIRST_DELAY, LONGEST_DELAY = 0.02, 1.0  # seconds between tries to come back
SETTINGS = {
    "default_transaction_isolation": "read committed",  # compare-and-set relies on it
    "client_min_messages": "warning",
    "jit": "off",
    # The server notices a client that vanished within half a minute, and its lock goes.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "60000",
}
SAFE = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "remote_apply")}
CHECK = """
SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit, current_setting('server_version_num')::int AS version,
    pg_is_in_recovery() AS standby, current_schema() AS schema
"""
HOLDER = """
SELECT format('database process %s, client %s', pid, coalesce(host(client_addr), 'local'))
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = $1::bigint::oid AND datname = current_database()
    AND objid = (hashtext(current_schema())::bigint & 4294967295)::oid
"""
LOST = (
    OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError,
    asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError,
)  # fmt: skip


class State(Enum):
    """How the database is to us."""

    CLOSED = "the store is not open"
    UP = "the database answers"
    AWAY = "the database cannot be reached"  # tried again all the time
    FENCED = "another server took the database: this one knows its jobs no more and must be started again"


class Fenced(Exception):
    """The database is no longer ours; what is in this server's memory may be out of date."""


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


async def check_settings(connection: Any) -> str:
    """Gives the value of synchronous_commit; raises StoreFailed for a server that does not keep what it commits."""
    row = await connection.fetchrow(CHECK)
    if row["version"] < OLDEST_POSTGRES:
        raise StoreFailed(f"PostgreSQL {row['version'] // 10000} is too old, {OLDEST_POSTGRES // 10000} is needed")
    if row["standby"]:
        raise StoreFailed("the database is a standby in recovery: it takes no writes")
    if row["schema"] is None:
        raise StoreFailed("the database has no schema on the search_path")
    if os.environ.get("QFAST_UNSAFE_STORE") != "1":
        for name, values in SAFE.items():
            if row[name] not in values:
                raise StoreFailed(
                    f"the database has {name} = {row[name]}, which can lose acknowledged jobs:"
                    f" set {name} = on (QFAST_UNSAFE_STORE=1 goes on all the same)"
                )
    synchronous_commit: str = row["synchronous_commit"]
    return synchronous_commit


async def migrate(connection: Any) -> None:
    """Bring the schema up to date, each numbered file in a transaction of its own; a newer one than ours is refused.

    The caller holds the owner's advisory lock, so that no other server migrates.
    """
    scripts = {
        int(script.name.partition("_")[0]): script.read_text("utf-8")
        for script in files("qfast.stores").joinpath("schema", "postgres").iterdir()
        if script.name.endswith(".sql")
    }
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version"
        " (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_version")
    if version > max(scripts):
        raise StoreFailed(
            f"the database has schema version {version}, this qfast knows up to {max(scripts)}: use a newer qfast"
        )
    for number in sorted(scripts):
        if number > version:
            async with connection.transaction():
                await connection.execute(scripts[number])
                await connection.execute("INSERT INTO schema_version (version) VALUES ($1)", number)


class Link:
    """The connections to the database, and our tenure of it.

    A tenure is a row with an epoch and the number of the last flush. It is ended, and a new one begun, whenever a server
    takes the lock: at its start, and again after a lost connection. Every flush writes its number into the row of its own
    epoch while that is not ended. That gives three things at the price of one row: a flush whose COMMIT got no answer is
    looked up by its number once its epoch has ended, when it can no longer happen; a flush of an old owner changes
    nothing; and a database that lost acknowledged flushes (an older copy, a standby that lagged) is recognised.
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
        self.flushed = 0  # number of the last flush that is known to be committed
        self._back = asyncio.Event()  # set while nobody tries to come back
        self._returning: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()

    async def open(self) -> None:
        """Connect and begin the tenure; raises StoreLocked, or StoreFailed with the reason."""
        place = shown(self.url)
        try:
            await self._connect(self.lock_seconds)
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
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait([self._returning])
        if up:
            try:
                async with asyncio.timeout(PARTING_SECONDS), self._reading:
                    for connection in (self.reader, self.writer, self.lock):
                        await connection.close()
            except (*LOST, asyncpg.PostgresError) as error:
                log.warning("the database was not left cleanly: %s", str(error) or type(error).__name__)
                for connection in (self.reader, self.writer, self.lock):
                    connection.terminate()

    async def transact(self, work: Callable[[Any], Awaitable[list[Outcome]]]) -> list[Outcome]:
        """Do the work in one durable transaction; what it raises tells that nothing of the work was applied."""
        connection = self._current().writer
        number = self.flushed + 1
        committing = False
        try:
            tag = await connection.execute(
                f"BEGIN; UPDATE tenure SET flush = {number} WHERE epoch = {self.epoch} AND NOT ended"  # noqa: S608
            )
            if tag != "UPDATE 1":
                self._lose(State.FENCED, "its tenure was ended")
                raise unavailable(State.FENCED.value)
            outcomes = await work(connection)
            committing = True
            if await connection.execute("COMMIT") != "COMMIT":
                raise unavailable("the database rolled the flush back")
        except Exception as error:
            if connection.is_closed() or self._means_loss(error):
                self._lose(State.AWAY, error)
                if committing and await self._took_place(number):
                    return outcomes
                lost = "the connection to the database was lost before the write was committed"
                raise unavailable(self.state.value if self.state is State.FENCED else lost) from error
            await self._roll_back(connection)
            if concerns_one_write(error) or isinstance(error, Unavailable):
                raise
            raise unavailable(f"the store cannot write: {error}") from error
        self.flushed = number
        return outcomes

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
        """All three connections, the lock and a new tenure, or an error and nothing open."""
        made: list[Any] = []
        try:
            lock = await self._dial(made)
            durability = await check_settings(lock)
            await self._take_lock(lock, lock_seconds)
            writer, reader = await self._dial(made, FLUSH_SECONDS), await self._dial(made)
            # From now on a reload of the configuration does not change it under us.
            await writer.execute(f"SET synchronous_commit = {durability}")
            await reader.execute("SET default_transaction_read_only = on")
            await migrate(lock)
            await self._begin_tenure(lock)
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

    async def _dial(self, made: list[Any], command_seconds: float = COMMAND_SECONDS) -> Any:
        made.append(
            await asyncpg.connect(
                self.url,
                timeout=CONNECT_SECONDS,
                command_timeout=command_seconds,
                max_cached_statement_lifetime=0,
                server_settings={**SETTINGS, "application_name": f"qfast {self.server}"},
            )
        )
        return made[-1]

    async def _take_lock(self, connection: Any, seconds: float) -> None:
        """Become the owner; what is left of our own lost connections is ended first."""
        await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
        )
        deadline = asyncio.get_running_loop().time() + seconds
        while not await connection.fetchval(
            "SELECT pg_try_advisory_lock($1::int, hashtext(current_schema()))", LOCK_CLASS
        ):
            if asyncio.get_running_loop().time() >= deadline:
                holder = await connection.fetchval(HOLDER, LOCK_CLASS) or "unknown"
                raise StoreLocked(f"another server ({holder}) holds the database {shown(self.url)}")
            await asyncio.sleep(FIRST_DELAY)

    async def _begin_tenure(self, connection: Any) -> None:
        """End the last tenure, learn how far it came, and begin ours."""
        async with connection.transaction():
            # Waits for a flush that is still in flight; one that comes later finds its epoch ended.
            await connection.execute("UPDATE tenure SET ended = true WHERE NOT ended")
            if self.epoch:
                flush, others = await connection.fetchrow(
                    "SELECT (SELECT flush FROM tenure WHERE epoch = $1),"
                    " EXISTS (SELECT FROM tenure WHERE epoch > $1 AND server <> $2)",
                    self.epoch,
                    self.server,
                )
                if flush is None or not self.flushed <= flush <= self.flushed + 1:
                    raise Fenced("the database is not the one that it was, or has lost commits")
                self.flushed = flush
                if others:
                    raise Fenced("another server had the database in between")
            await connection.execute(
                "DELETE FROM tenure WHERE began_at < now() - interval '30 days'"
                " AND epoch < (SELECT max(epoch) FROM tenure)"
            )
            epoch = await connection.fetchval(
                "INSERT INTO tenure (server, flush) VALUES ($1, $2) RETURNING epoch", self.server, self.flushed
            )
        self.epoch = epoch
