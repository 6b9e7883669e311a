"""The default store: SQLite in the data directory, durable before each answer, with one writer thread."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from qfast.errors import Conflict, StoreFailed, StoreLocked, Unavailable
from qfast.job import CallbackRecord, Change, Delivery, DeliveryQuery, JobQuery, JobRecord
from qfast.stores import outbox, tables
from qfast.stores.commit import RETRY_AFTER, GroupCommit, Verb
from qfast.stores.tables import LIVE, SELECT, job_of

OLDEST_SQLITE = (3, 35, 0)  # RETURNING; UPDATE FROM came with 3.33
CHECKPOINT_PAGES = 4000  # 16 MB of log between checkpoints: fewer syncs of the database itself
BUSY_SECONDS = 5.0  # wait for another program that looks into the file


def take_lock(directory: Path) -> int:
    """Make the data directory and hold its lock file; gives the descriptor, whose closing releases it.

    The kernel drops the lock with the process, however that ends.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "qfast.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreFailed(f"the data directory {directory} cannot be used: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreLocked(f"another server (pid {holder}) holds the data directory {directory}") from error
    except OSError as error:
        os.close(descriptor)
        raise StoreFailed(f"the data directory {directory} cannot be locked: {error}") from error
    return descriptor


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreFailed(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 is needed")
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.execute("PRAGMA auto_vacuum = NONE")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreFailed(f"{path} takes no write-ahead log (journal mode {mode}): use a local file system")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA cache_size = -16384")  # KiB
        connection.execute("PRAGMA secure_delete = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date, each numbered file in a transaction of its own; a newer one than ours is refused."""
    scripts = {
        int(script.name.partition("_")[0]): script.read_text("utf-8")
        for script in files("qfast.stores").joinpath("schema", "sqlite").iterdir()
        if script.name.endswith(".sql")
    }
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > max(scripts):
        raise StoreFailed(
            f"the database has schema version {version}, this qfast knows up to {max(scripts)}: use a newer qfast"
        )
    for number in sorted(scripts):
        if number > version:
            try:
                connection.executescript(
                    f"BEGIN IMMEDIATE;\n{scripts[number]}\nPRAGMA user_version = {number};\nCOMMIT;"
                )
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
    connection.execute("PRAGMA analysis_limit = 1000")
    connection.execute("PRAGMA optimize")


class SqliteStore:
    """Jobs in ``qfast.db`` of the data directory; see `plugins.Store` for what each method promises.

    Write-ahead log with synchronous=FULL: a commit is on the disk before it is answered, also over a power cut (NORMAL
    loses acknowledged commits there). Reads use a connection of their own on the event loop's thread, since a look-up
    costs less than a change of threads.

    Parameters
    ----------
    path : Path
        The data directory; made when it is missing.
    backlog : int
        Writes that may wait; beyond, `append` raises Unavailable.
    """

    def __init__(self, path: Path, *, backlog: int = 50_000) -> None:
        self.path = path
        self.backlog = backlog
        self._lock: int | None = None
        self._reader: sqlite3.Connection | None = None
        self.writer: GroupCommit | None = None

    async def open(self) -> None:
        """Take the lock, migrate and start; raises StoreLocked, or StoreFailed with the reason."""
        self._lock = take_lock(self.path)
        try:
            (self.path / "qfast.db").touch(
                mode=0o600
            )  # its log takes the same mode; callbacks' headers may hold secrets
            connection = connect(self.path / "qfast.db")
            try:
                migrate(connection)
                self._reader = connect(self.path / "qfast.db")
                self._reader.execute("PRAGMA query_only = ON")
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            self._release()
            raise StoreFailed(f"the database {self.path / 'qfast.db'} cannot be used: {error}") from error
        except BaseException:
            self._release()
            raise
        self.writer = GroupCommit(connection)

    async def close(self) -> None:
        """Finish all writes, close both connections and release the lock."""
        if self.writer is not None:
            await self.writer.close()
        self._release()

    def _release(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, verb: Verb, payload: Any) -> asyncio.Future[Any]:
        if self.writer is None:
            raise Unavailable("the store is not open", extra={"retry_after": RETRY_AFTER})
        return self.writer.submit(verb, payload)

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        if self._reader is None:
            raise Unavailable("the store is not open", extra={"retry_after": RETRY_AFTER})
        try:
            return self._reader.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise Unavailable(f"the store cannot read: {error}", extra={"retry_after": RETRY_AFTER}) from error

    async def append(self, job: JobRecord, source: bytes, *, level: int = 1) -> None:
        """Store a new job; raises Conflict when its id or its seq is there already."""
        if self.writer is not None and self.writer.waiting >= self.backlog:
            raise Unavailable("too many jobs wait to be stored", extra={"retry_after": RETRY_AFTER})
        try:
            await self._write(tables.append_jobs, (job, source, level))
        except sqlite3.IntegrityError as error:
            raise Conflict(f"job {job.job_id} (seq {job.seq}) exists already") from error

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        """Compare-and-set each; tells which won. An empty ``job_name`` takes the name away."""
        answer: list[bool] = await self._write(tables.apply_changes, tuple(changes))
        return answer

    async def delete(self, seqs: Sequence[int], until: float) -> list[int]:
        """Remove the jobs with all that belongs to them; their ids stay taken until then. Gives those that it removed."""
        gone: list[int] = await self._write(tables.delete_jobs, (tuple(seqs), until))
        return gone

    async def put_off_callback(self, webhook_id: str, tries: int, due_at: float, note: str | None = None) -> None:
        """Note what a failed try came to and when to try again."""
        await self._write(outbox.put_off_callbacks, (tries, due_at, note, webhook_id))

    async def end_callback(self, webhook_id: str, delivered: bool, note: str) -> None:
        """Move it from the outbox to the log."""
        await self._write(outbox.end_callbacks, (delivered, note, webhook_id))

    async def owe_again(self, rows: Sequence[CallbackRecord]) -> None:
        """Put deliveries of stored jobs back into the outbox; what is there already comes to its turn."""
        await self._write(outbox.owe_again, tuple(rows))

    async def put_note(self, name: str, value: bytes) -> None:
        """Keep a value under a name, in place of what was there."""
        await self._write(tables.put_notes, (name, value))

    async def note(self, name: str) -> bytes | None:
        """The value under that name, or None."""
        rows = self._rows("SELECT value FROM note WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    async def get(self, job_id: str) -> JobRecord | None:
        """The job, or None."""
        rows = self._rows(f"{SELECT} WHERE job_id = ?", (job_id,))
        return job_of(rows[0]) if rows else None

    async def taken(self, job_id: str, now: float) -> bool:
        """Whether a deleted job holds this id at this time."""
        return bool(self._rows("SELECT 1 FROM deleted_job WHERE job_id = ? AND until > ?", (job_id, now)))

    async def source(self, seq: int) -> bytes | None:
        """The JSON array of sources, as it was stored."""
        rows = self._rows("SELECT source FROM job_source WHERE seq = ?", (seq,))
        return tables.unpack(rows[0][0], f"the source of job number {seq}") if rows else None

    async def results(self, seq: int) -> bytes | None:
        """The JSON array of results, or None."""
        rows = self._rows("SELECT results FROM job_result WHERE seq = ?", (seq,))
        return tables.unpack(rows[0][0], f"the results of job number {seq}") if rows else None

    async def count(self, query: JobQuery | None = None) -> int:
        """Jobs stored, in any state; or those that match, however many the query would list."""
        where, values = tables.condition(query or JobQuery())
        count: int = self._rows(f"SELECT count(*) FROM job{where}", values)[0][0]  # noqa: S608
        return count

    async def load_live(self, *, waiting: bool = True) -> list[JobRecord]:
        """Every job that is not final, oldest first; without `waiting`, none that is QUEUED outside sessions."""
        where = f"status IN {LIVE}" if waiting else tables.NOT_WAITING
        return [job_of(row) for row in self._rows(f"{SELECT} WHERE {where} ORDER BY job.seq")]

    async def queued(self, after: int, most: int) -> Sequence[tuple[int, str, int, str]]:
        """Jobs that are QUEUED outside sessions, from behind that sequence on."""
        return self._rows(tables.QUEUED, (after, most))

    async def load(self, seqs: Sequence[int], longest: int) -> Sequence[tuple[JobRecord, bytes | None]]:
        """Those of the jobs that there are, with their sources where these are short."""
        rows = self._rows(tables.LOAD, (longest, json.dumps(seqs)))
        return [
            (
                job_of(row[:-1]),
                None if row[-1] is None else tables.unpack(row[-1], f"the source of job number {row[0]}"),
            )
            for row in rows
        ]

    async def last_seq(self) -> int:
        """The highest sequence number ever given, 0 when none was."""
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'job'")
        return rows[0][0] if rows else 0

    async def due_callbacks(self, now: float, limit: int) -> list[CallbackRecord]:
        """Deliveries that are due, the longest due first."""
        rows = self._rows(
            "SELECT webhook_id, seq, spec, body, tries, due_at FROM callback WHERE due_at <= ? ORDER BY due_at LIMIT ?",
            (now, limit),
        )
        return [
            CallbackRecord(webhook_id=key, seq=seq, spec=spec, body=body, tries=tries, due_at=due_at)
            for key, seq, spec, body, tries, due_at in rows
        ]

    async def next_due(self) -> float | None:
        """When the next delivery is due, or None."""
        due: float | None = self._rows("SELECT min(due_at) FROM callback")[0][0]
        return due

    async def deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        """The matching deliveries, those of the newest job first."""
        rows = [row for statement in outbox.statements(query) for row in self._rows(*statement)]
        return outbox.deliveries_of(rows, query.limit)

    async def list(self, query: JobQuery) -> list[JobRecord]:
        """The matching jobs, newest first; created at or after ``created_after``, and before ``created_before``."""
        return [job_of(row) for row in self._rows(*tables.list_statement(query))]
