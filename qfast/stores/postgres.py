"""A store on PostgreSQL, for one server or for several: what is answered is committed and synced there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from qfast.errors import ConfigurationInvalid, Conflict
from qfast.job import CallbackRecord, Change, Delivery, DeliveryQuery, JobQuery, JobRecord, JobStatus
from qfast.stores import pg_beat, pg_nodes, pg_outbox, pg_tables
from qfast.stores.flush import Flusher, Verb, unavailable
from qfast.stores.outbox import deliveries_of
from qfast.stores.pg_link import Link, is_double
from qfast.stores.pg_tables import LIVE, SELECT
from qfast.stores.tables import job_of

SCHEMES = ("postgresql://", "postgres://")
LOCK_SECONDS = 1.0  # wait at the start for a server of another version that has just ended to let go
CLOSE_SECONDS = 10.0  # wait at the end for writes to be settled


class PostgresStore:
    """Jobs in a PostgreSQL database; see `plugins.Store` for what each method promises.

    Several servers, its nodes, may have the database open, or the schema of it that the URL's ``search_path`` names: see
    `plugins.SharedStore`. While the database is away every call raises Unavailable, reads as well, and the store comes
    back by itself. Of a flush that failed nothing is applied. Where the connection was lost in the middle of a commit its
    callers wait until the outcome is known.

    Parameters
    ----------
    url : str
        ``postgresql://user:password@host:port/database``; further parameters after ``?`` are libpq's, or settings of
        the session. A pooler between must keep sessions.
    backlog : int
        Writes that may wait; beyond, `append` raises Unavailable.
    lock_seconds : float
        How long `open` waits for a server with another version of the schema to let go of the database.
    """

    shared = True

    def __init__(self, url: object, *, backlog: int = 50_000, lock_seconds: float = LOCK_SECONDS) -> None:
        if not isinstance(url, str) or not url.startswith(SCHEMES):
            raise ConfigurationInvalid(
                "store: PostgreSQL is chosen by its URL, postgresql://user:password@host:port/database"
            )
        self.backlog = backlog
        self.link = Link(url, lock_seconds)
        self.writer: Flusher | None = None

    @property
    def epoch(self) -> int:
        """The fencing number of this node's present tenure; 0 before the store is open."""
        return self.link.epoch

    @property
    def others(self) -> int:
        """Other nodes that are alive, as the last heartbeat saw."""
        return self.link.others

    def listen(
        self,
        news: Callable[[list[Any]], None],
        fenced: Callable[[], None],
        census: Callable[[Sequence[int], Sequence[int]], None],
    ) -> None:
        """Whom to tell; see `plugins.SharedStore`."""
        self.link.on_news, self.link.on_epoch = news, fenced
        self.link.on_census = lambda seen: census(seen.dead, seen.left)

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

    def _write(self, verb: Verb, payload: Any, size: int = 0, news: tuple[str | int, ...] = ()) -> asyncio.Future[Any]:
        if self.writer is None:
            raise unavailable("the store is not open")
        return self.writer.submit(verb, payload, size, news)

    async def claim(
        self, place: str | Sequence[str], most: int, longest: int = 16 << 10
    ) -> tuple[int, list[tuple[JobRecord, bytes | None]]]:
        """Take the next jobs of a backend, or those of some sessions, for this node; see `plugins.SharedStore`."""
        answer: tuple[int, list[tuple[JobRecord, bytes | None]]] = await self._write(
            self._claim, (place, most, longest)
        )
        return answer

    async def _claim(self, connection: Any, payloads: list[Any]) -> list[Any]:
        epoch = self.link.epoch
        return [(epoch, await pg_nodes.claim(connection, epoch, *payload)) for payload in payloads]

    async def adopt(
        self, dead: Sequence[int], left: Sequence[int], backends: Sequence[str]
    ) -> tuple[int, list[JobRecord], list[bytes]]:
        """Take over from nodes that are dead or gone; see `plugins.SharedStore`."""
        answer: tuple[int, list[JobRecord], list[bytes]] = await self._write(self._adopt, (dead, left, backends))
        return answer

    async def _adopt(self, connection: Any, payloads: list[Any]) -> list[Any]:
        epoch = self.link.epoch
        return [(epoch, *await pg_nodes.adopt(connection, epoch, *payload)) for payload in payloads]

    async def put_sessions(
        self, rows: Sequence[tuple[str, str, bool, float, bytes, bytes]], gone: Sequence[str]
    ) -> None:
        """Keep sessions of this node: id, backend, whether it takes jobs, opening, value, view; and forget some."""
        await self._write(self._put_sessions, (rows, gone), sum(len(row[4]) + len(row[5]) for row in rows))

    async def _put_sessions(self, connection: Any, payloads: list[Any]) -> list[None]:
        for rows, gone in payloads:
            await connection.fetch(pg_nodes.PUT_SESSIONS, *pg_tables.columns(rows, 6), self.link.epoch)
            if gone:
                await connection.fetch("DELETE FROM session WHERE session_id = ANY($1::text[])", gone)
        return [None] * len(payloads)

    async def wish(self, session_id: str, wish: str) -> None:
        """Ask the node that has a session to close or to cancel it."""
        await self._write(self._wish, (session_id, wish), news=("*",))

    @staticmethod
    async def _wish(connection: Any, payloads: list[Any]) -> list[None]:
        for session_id, wish in payloads:
            await connection.fetch("UPDATE session SET wish = $2 WHERE session_id = $1", session_id, wish)
        return [None] * len(payloads)

    async def wishes(self) -> list[tuple[str, str]]:
        """What others ask of this node's sessions: id and wish."""
        statement = "SELECT session_id, wish FROM session WHERE owner = $1 AND wish IS NOT NULL"
        return [tuple(row) for row in await self.link.rows(statement, self.link.epoch)]

    async def sessions(self, session_id: str | None = None) -> list[tuple[str, str, bool, bytes]]:
        """Every node's sessions, the newest first, or the one of that id: id, backend, whether it takes jobs, view."""
        rows = await self.link.rows(
            "SELECT session_id, backend, takes_jobs, view FROM session WHERE session_id = $1 OR $1::text IS NULL"
            " ORDER BY opened_at DESC",
            session_id,
        )
        return [tuple(row) for row in rows]

    async def left(self) -> list[int]:
        """Ended epochs that still hold something."""
        return [row[0] for row in await self.link.rows(pg_beat.LEFT)]

    async def waiting(self, backends: Sequence[str], sessions: Sequence[str]) -> list[str]:
        """Those of the backends for which unclaimed jobs wait; an empty name when jobs of the sessions do."""
        rows = await self.link.rows(pg_nodes.WAITING, backends, sessions)
        return [row[0] for row in rows]

    async def position(self, job: JobRecord) -> int | None:
        """How many queued jobs of its backend go before this one, counted up to `LONGEST_COUNT`, else None."""
        count: int = (await self.link.rows(pg_nodes.BEFORE, job.backend, job.priority, job.seq))[0][0]
        return count if count < pg_nodes.LONGEST_COUNT else None

    async def live_count(self) -> dict[str, int]:
        """How many jobs of all nodes are in each state that is not final."""
        rows = await self.link.rows(pg_nodes.LIVE_COUNT)
        return dict(map(tuple, rows))

    async def append(self, job: JobRecord, source: bytes, *, level: int = 1) -> None:
        """Store a new job; raises Conflict when its id or its seq is there already."""
        if self.writer is not None and self.writer.waiting >= self.backlog:
            raise unavailable("too many jobs wait to be stored")
        try:
            size = len(source) + len(job.spec)
            job.seq = await self._write(pg_tables.append_jobs, (job, source, level), size, (job.backend,))
        except Exception as error:
            if is_double(error):
                raise Conflict(f"job {job.job_id} (seq {job.seq}) exists already") from error
            raise

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        """Compare-and-set each; tells which won. An empty ``job_name`` takes the name away."""
        size = sum(len(change.results or b"") * (1 + len(change.callbacks)) for change in changes)
        news = tuple(change.seq for change in changes if change.status != JobStatus.RUNNING)
        answer: list[bool] = await self._write(pg_tables.apply_changes, tuple(changes), size, news)
        return answer

    async def delete(self, seqs: Sequence[int], until: float) -> list[int]:
        """Remove the jobs with all that belongs to them; their ids stay taken until then. Gives those that it removed."""
        gone: list[int] = await self._write(pg_tables.delete_jobs, (tuple(seqs), until), news=tuple(seqs))
        return gone

    async def put_off_callback(self, webhook_id: str, tries: int, due_at: float, note: str | None = None) -> None:
        """Note what a failed try came to and when to try again."""
        await self._write(
            pg_outbox.put_off_callbacks, (webhook_id, tries, due_at, note and note.replace("\0", "\ufffd"))
        )

    async def end_callback(self, webhook_id: str, delivered: bool, note: str) -> None:
        """Move it from the outbox to the log."""
        await self._write(pg_outbox.end_callbacks, (webhook_id, delivered, note.replace("\0", "\ufffd")))

    async def owe_again(self, rows: Sequence[CallbackRecord]) -> None:
        """Put deliveries of stored jobs back into the outbox; what is there already comes to its turn."""
        await self._write(pg_outbox.owe_again, tuple(rows), sum(len(row.body) for row in rows))

    async def put_note(self, name: str, value: bytes) -> None:
        """Keep a value under a name, in place of what was there."""
        await self._write(pg_tables.put_notes, (name, value), len(value))

    async def keep_note(self, name: str, value: bytes) -> bytes:
        """The value under that name, which becomes this one where there was none."""
        kept: bytes = await self._write(self._keep_note, (name, value))
        return kept

    @staticmethod
    async def _keep_note(connection: Any, payloads: list[Any]) -> list[bytes]:
        statement = "INSERT INTO note (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
        for payload in payloads:
            await connection.fetch(statement, *payload)
        return [await connection.fetchval("SELECT value FROM note WHERE name = $1", name) for name, _ in payloads]

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

    async def count(self, query: JobQuery | None = None) -> int:
        """Jobs stored, in any state; or those that match, however many the query would list."""
        where, values = pg_tables.condition(query or JobQuery())
        counted = f"SELECT count(*) FROM job JOIN job_state AS state USING (seq){where}"  # noqa: S608
        count: int = (await self.link.rows(counted, *values))[0][0]
        return count

    async def load_live(self, *, waiting: bool = True) -> list[JobRecord]:
        """Every job that is not final, oldest first; without `waiting`, none that is QUEUED outside sessions."""
        besides = "" if waiting else " AND (state.status <> 'QUEUED' OR job.session_id IS NOT NULL)"
        rows = await self.link.rows(f"{SELECT} WHERE state.status IN {LIVE}{besides} ORDER BY job.seq")
        return [job_of(tuple(row)) for row in rows]

    async def queued(self, after: int, most: int) -> Sequence[tuple[int, str, int, str]]:
        """Jobs that are QUEUED outside sessions, from behind that sequence on."""
        return [tuple(row) for row in await self.link.rows(pg_tables.QUEUED, after, most)]

    async def load(self, seqs: Sequence[int], longest: int) -> Sequence[tuple[JobRecord, bytes | None]]:
        """Those of the jobs that there are, with their sources where these are short."""
        return await pg_nodes.with_sources(await self.link.rows(pg_tables.LOAD, seqs, longest))

    async def last_seq(self) -> int:
        """The highest sequence number ever given, 0 when none was."""
        last: int = (await self.link.rows(pg_tables.LAST_SEQ))[0][0]
        return last

    async def due_callbacks(self, now: float, limit: int) -> list[CallbackRecord]:
        """Take deliveries that are due, the longest due first; no other node has them then."""
        due = await self.next_due()
        if due is None or due > now:
            return []
        answer: list[CallbackRecord] = await self._write(self._due_callbacks, (now, limit))
        return answer

    async def _due_callbacks(self, connection: Any, payloads: list[Any]) -> list[Any]:
        epoch = self.link.epoch
        return [await pg_nodes.due_callbacks(connection, epoch, *payload) for payload in payloads]

    async def next_due(self) -> float | None:
        """When the next delivery is due that no other node has, or None."""
        due: float | None = (await self.link.rows(pg_nodes.NEXT_DUE, self.link.epoch))[0][0]
        return due

    async def deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        """The matching deliveries, those of the newest job first."""
        rows = [
            row
            for statement in pg_outbox.statements(query)
            for row in await self.link.rows(statement[0], *statement[1])
        ]
        return deliveries_of(rows, query.limit)

    async def list(self, query: JobQuery) -> list[JobRecord]:
        """The matching jobs, newest first; created at or after ``created_after``, and before ``created_before``."""
        statement, values = pg_tables.list_statement(query)
        return [job_of(tuple(row)) for row in await self.link.rows(statement, *values)]
