"""A store on PostgreSQL: one server owns the database, and what is answered is committed and synced there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from qfast.errors import ConfigurationInvalid, Conflict
from qfast.job import CallbackRecord, Change, JobQuery, JobRecord
from qfast.stores import pg_tables
from qfast.stores.flush import Flusher, Verb, unavailable
from qfast.stores.pg_link import Link, is_double
from qfast.stores.pg_tables import LIVE, SELECT
from qfast.stores.tables import job_of

SCHEMES = ("postgresql://", "postgres://")
LOCK_SECONDS = 1.0  # wait at the start for a server that has just ended to let go
CLOSE_SECONDS = 10.0  # wait at the end for writes to be settled


class PostgresStore:
    """Jobs in a PostgreSQL database; see `plugins.Store` for what each method promises.

    One server owns the database, or the schema of it that the URL's ``search_path`` names. While the database is away
    every call raises Unavailable, reads as well, and the store comes back by itself. Of a flush that failed nothing is
    applied. Where the connection was lost in the middle of a commit its callers wait until the outcome is known.

    Parameters
    ----------
    url : str
        ``postgresql://user:password@host:port/database``; further parameters after ``?`` are libpq's, or settings of
        the session. A pooler between must keep sessions.
    backlog : int
        Writes that may wait; beyond, `append` raises Unavailable.
    lock_seconds : float
        How long `open` waits for another server to let go of the database.
    """

    def __init__(self, url: object, *, backlog: int = 50_000, lock_seconds: float = LOCK_SECONDS) -> None:
        if not isinstance(url, str) or not url.startswith(SCHEMES):
            raise ConfigurationInvalid(
                "store: PostgreSQL is chosen by its URL, postgresql://user:password@host:port/database"
            )
        self.backlog = backlog
        self.link = Link(url, lock_seconds)
        self.writer: Flusher | None = None

    async def open(self) -> None:
        """Take the lock, migrate and start; raises StoreLocked, or StoreFailed with the reason."""
        await self.link.open()
        self.writer = Flusher(self.link)

    async def close(self) -> None:
        """Finish all writes, close the connections and release the lock."""
        if self.writer is not None:
            try:
                await asyncio.wait_for(self.writer.close(), CLOSE_SECONDS)
            except TimeoutError:  # the database is away: the link's end ends what waits for it
                await self.link.close()
                await self.writer.close()
        await self.link.close()

    def _write(self, verb: Verb, payload: Any, size: int = 0) -> asyncio.Future[Any]:
        if self.writer is None:
            raise unavailable("the store is not open")
        return self.writer.submit(verb, payload, size)

    async def append(self, job: JobRecord, source: bytes, *, level: int = 1) -> None:
        """Store a new job; raises Conflict when its id or its seq is there already."""
        if self.writer is not None and self.writer.waiting >= self.backlog:
            raise unavailable("too many jobs wait to be stored")
        try:
            await self._write(pg_tables.append_jobs, (job, source, level), len(source) + len(job.spec))
        except Exception as error:
            if is_double(error):
                raise Conflict(f"job {job.job_id} (seq {job.seq}) exists already") from error
            raise

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        """Compare-and-set each; tells which won. An empty ``job_name`` takes the name away."""
        size = sum(len(change.results or b"") * (1 + len(change.callbacks)) for change in changes)
        answer: list[bool] = await self._write(pg_tables.apply_changes, tuple(changes), size)
        return answer

    async def delete(self, seqs: Sequence[int], until: float) -> None:
        """Remove the jobs with all that belongs to them; their ids stay taken until then."""
        await self._write(pg_tables.delete_jobs, (tuple(seqs), until))

    async def put_off_callback(self, webhook_id: str, tries: int, due_at: float) -> None:
        """Note a failed try and when to try again."""
        await self._write(pg_tables.put_off_callbacks, (webhook_id, tries, due_at))

    async def end_callback(self, webhook_id: str, delivered: bool, note: str) -> None:
        """Move it from the outbox to the log."""
        await self._write(pg_tables.end_callbacks, (webhook_id, delivered, note.replace("\0", "\ufffd")))

    async def put_note(self, name: str, value: bytes) -> None:
        """Keep a value under a name, in place of what was there."""
        await self._write(pg_tables.put_notes, (name, value), len(value))

    async def note(self, name: str) -> bytes | None:
        """The value under that name, or None."""
        rows = await self.link.rows("SELECT value FROM note WHERE name = $1", name)
        return rows[0][0] if rows else None

    async def get(self, job_id: str) -> JobRecord | None:
        """The job, or None."""
        rows = await self.link.rows(f"{SELECT} WHERE job.job_id = $1", job_id)
        return job_of(tuple(rows[0])) if rows else None

    async def taken(self, job_id: str, now: float) -> bool:
        """Whether a deleted job holds this id at this time."""
        return bool(await self.link.rows("SELECT FROM deleted_job WHERE job_id = $1 AND until > $2", job_id, now))

    async def source(self, seq: int) -> bytes | None:
        """The JSON array of sources, as it was stored."""
        rows = await self.link.rows("SELECT source FROM job_source WHERE seq = $1", seq)
        return await pg_tables.unpacked(rows[0][0], f"the source of job number {seq}") if rows else None

    async def results(self, seq: int) -> bytes | None:
        """The JSON array of results, or None."""
        rows = await self.link.rows("SELECT results FROM job_result WHERE seq = $1", seq)
        return await pg_tables.unpacked(rows[0][0], f"the results of job number {seq}") if rows else None

    async def count(self) -> int:
        """Jobs stored, in any state."""
        count: int = (await self.link.rows("SELECT count(*) FROM job_state"))[0][0]
        return count

    async def load_live(self) -> list[JobRecord]:
        """Every job that is not final, oldest first."""
        rows = await self.link.rows(f"{SELECT} WHERE state.status IN {LIVE} ORDER BY job.seq")
        return [job_of(tuple(row)) for row in rows]

    async def last_seq(self) -> int:
        """The highest sequence number ever given, 0 when none was."""
        last: int = (await self.link.rows("SELECT last_seq FROM job_counter"))[0][0]
        return last

    async def due_callbacks(self, now: float, limit: int) -> list[CallbackRecord]:
        """Deliveries that are due, the longest due first."""
        rows = await self.link.rows(
            "SELECT webhook_id, seq, spec, body, tries, due_at FROM callback"
            " WHERE due_at <= $1 ORDER BY due_at LIMIT $2",
            now,
            limit,
        )
        return [
            CallbackRecord(webhook_id=key, seq=seq, spec=spec, body=body, tries=tries, due_at=due_at)
            for key, seq, spec, body, tries, due_at in rows
        ]

    async def next_due(self) -> float | None:
        """When the next delivery is due, or None."""
        due: float | None = (await self.link.rows("SELECT min(due_at) FROM callback"))[0][0]
        return due

    async def list(self, query: JobQuery) -> list[JobRecord]:
        """The matching jobs, newest first; created at or after ``created_after``, and before ``created_before``."""
        statement, values = pg_tables.list_statement(query)
        return [job_of(tuple(row)) for row in await self.link.rows(statement, *values)]
