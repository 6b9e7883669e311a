"""The event stream: every change of a job's state, numbered, told to whoever follows that job (Server-Sent Events).

One place is told of all changes and keeps the last of them, so that a stream can be taken up again after its last event.
A follower holds at most one pending event for each of its jobs: a slow one misses steps between, never the last state.

Who asks for results as well is told each row of a job that runs on this server as soon as there is one. The rows are the
run's own list, of which a follower knows how much it has told; so they take no memory here, and a stream that is taken up again
tells them from the first.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import orjson

from qfast.errors import NotFound, Unavailable
from qfast.job import FINAL, JobRecord, JobStatus, utc_text

KEPT = 10_000  # changes that can be replayed
HEARTBEAT = 15.0  # seconds of silence after which a comment shows that the stream lives
MAX_FOLLOWED = 1000  # jobs of one stream
ROWS_AT_ONCE = 64  # that are encoded at a time

Row = dict[str, Any]


class Event(msgspec.Struct, frozen=True):
    """A job entered a state."""

    number: int
    job_id: str
    status: JobStatus
    attempt: int
    at: float
    backend: str
    session_id: str | None

    def encode(self, boot: str) -> bytes:
        """The event as it stands in the stream."""
        data = orjson.dumps(
            {
                "job_id": self.job_id,
                "job_status": self.status,
                "attempt": self.attempt,
                "backend": self.backend,
                "session_id": self.session_id,
                "updated_at": utc_text(self.at),
            }
        )
        return b"id: %s-%d\nevent: status\ndata: %s\n\n" % (boot.encode(), self.number, data)


class Follower:
    """One stream: the jobs that it follows, and what it has not been told of them yet."""

    __slots__ = ("_events", "_job_ids", "_told", "pending", "rows", "shows", "wake", "wanted")

    def __init__(self, events: Events, job_ids: Sequence[str], *, results: bool = False) -> None:
        self._events = events
        self._job_ids = tuple(job_ids)
        self.shows = results
        self.rows: dict[str, list[Row]] = {}  # of running jobs, as far as there are some
        self._told: dict[str, int] = {}  # how many of them
        self.wanted = set(job_ids)  # jobs that are not final as far as it was told
        self.pending: dict[str, Event] = {}
        self.wake = asyncio.Event()
        events.join(self, job_ids)

    async def next(self) -> bytes | None:
        """The next part of the stream, encoded events or a comment after some silence; None at its end."""
        while not self.pending:
            if part := self._more_rows():
                return part
            if not self.wanted or self._events.closed:
                return None
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await self.wake.wait()
            except TimeoutError:
                return b":\n\n"
            self.wake.clear()
        if part := self._more_rows():  # before the end of the job that has them
            return part
        events = sorted(self.pending.values(), key=lambda event: event.number)
        self.pending.clear()
        self.wanted.difference_update(event.job_id for event in events if event.status in FINAL)
        return b"".join(event.encode(self._events.boot) for event in events)

    def show(self, job_id: str, rows: list[Row]) -> None:
        """There are rows of a job, or more than there were."""
        if self.rows.get(job_id) is not rows:  # it runs once more
            self.rows[job_id], self._told[job_id] = rows, 0
        self.wake.set()

    def _more_rows(self) -> bytes:
        """Rows that were not told yet, encoded."""
        for job_id, rows in self.rows.items():
            told = self._told[job_id]
            some = rows[told : told + ROWS_AT_ONCE]
            if some:
                self._told[job_id] = told + len(some)
                return b"".join(_shown(job_id, told + index, row) for index, row in enumerate(some))
        return b""

    def close(self) -> None:
        """Be told no more."""
        self._events.leave(self, self._job_ids)


class Events:
    """The changes of a server's jobs and who follows them; all methods run on the event loop's thread.

    Parameters
    ----------
    find : callable
        Gives the record of a job by its id, live or stored; raises NotFound.

    Attributes
    ----------
    heard : callable
        Is given each record that has entered a state.
    rows_of : callable
        Gives the rows of a job that runs here, as far as there are some, by its id.
    """

    def __init__(self, find: Callable[[str], Awaitable[JobRecord]]) -> None:
        self._find = find
        self.rows_of: Callable[[str], list[Row]] = lambda job_id: []
        self.heard: Callable[[JobRecord], None] = lambda record: None
        self.boot = secrets.token_hex(4)  # numbers of another run of the server mean nothing here
        self._numbers = itertools.count(1)
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._followers: dict[str, set[Follower]] = {}
        self._told: dict[str, tuple[JobStatus, int]] = {}  # of followed jobs
        self.shown: dict[str, int] = {}  # jobs whose results somebody follows, and how many do; read by worker threads
        self._due: set[str] = set()  # of these, jobs whose `show` is on its way
        self.closed = False

    def publish(self, record: JobRecord) -> None:
        """A job has entered the state that its record shows."""
        event = _event(record, next(self._numbers))
        self._kept.append(event)
        self.heard(record)
        if record.job_id in self._followers:
            self._told[record.job_id] = (record.status, record.attempt)
        for follower in self._followers.get(record.job_id, ()):
            follower.pending[record.job_id] = event
            follower.wake.set()

    def is_due(self, job_id: str) -> bool:
        """Whether the loop is about to `show` rows of that job; if not, it is from now on. For the thread that runs the job."""
        if job_id in self._due:
            return True
        self._due.add(job_id)
        return False

    def show(self, job_id: str, rows: list[Row]) -> None:
        """A running job has these rows so far; the list goes on to grow."""
        self._due.discard(job_id)
        for follower in self._followers.get(job_id, ()):
            if follower.shows:
                follower.show(job_id, rows)

    def followed(self) -> set[str]:
        """The jobs that somebody follows."""
        return set(self._followers)

    def catch_up(self, record: JobRecord) -> None:
        """A followed job was seen in a state that another server may have changed: tell it, if it is news."""
        if record.job_id in self._followers and self._told.get(record.job_id) != (record.status, record.attempt):
            self.publish(record)

    def close(self) -> None:
        """End every stream: the server stops, and its followers come again with the last id that they saw."""
        self.closed = True
        for follower in {one for group in self._followers.values() for one in group}:
            follower.wake.set()

    def join(self, follower: Follower, job_ids: Sequence[str]) -> None:
        """Tell a follower of these jobs from now on."""
        for job_id in job_ids:
            self._followers.setdefault(job_id, set()).add(follower)
            if follower.shows:
                self.shown[job_id] = self.shown.get(job_id, 0) + 1

    def leave(self, follower: Follower, job_ids: Sequence[str]) -> None:
        """Tell a follower no more."""
        for job_id in job_ids:
            group = self._followers.get(job_id)
            if group is not None and follower in group:
                group.discard(follower)
                if follower.shows:
                    self._show_less(job_id)
                if not group:
                    del self._followers[job_id]
                    self._told.pop(job_id, None)

    def _show_less(self, job_id: str) -> None:
        self.shown[job_id] -= 1
        if not self.shown[job_id]:
            del self.shown[job_id]

    async def follow(
        self, job_ids: Sequence[str], last_id: str | None = None, tenant: str | None = None, *, results: bool = False
    ) -> Follower:
        """Begin a stream that tells the state of each job at once and then every change, until all are final.

        Parameters
        ----------
        job_ids : sequence of str
            At most `MAX_FOLLOWED`.
        last_id : str, optional
            The id of the last event that the follower has seen. What came after it is told, if that is still known;
            otherwise the present states are.
        tenant : str, optional
            Whose jobs alone exist for the follower; default: all.
        results : bool
            Also tell each row of jobs that run here, before their end.

        Returns
        -------
        Follower
            To be closed. Nothing is pending and no job is wanted when `last_id` was the last to tell.

        Raises
        ------
        NotFound
            A job is unknown.
        Unavailable
            The server is stopping.
        """
        if self.closed:
            raise Unavailable("the server is stopping", extra={"retry_after": 1})
        follower = Follower(self, job_ids, results=results)
        try:
            await self._catch_up(follower, last_id, tenant)
        except BaseException:
            follower.close()
            raise
        return follower

    async def _catch_up(self, follower: Follower, last_id: str | None, tenant: str | None) -> None:
        """What the follower has to be told first; of several events of a job, the last."""
        for job_id in follower.wanted if follower.shows else ():
            if rows := self.rows_of(job_id):
                follower.show(job_id, rows)
        number = self._number(last_id)
        records = {job_id: await self._find(job_id) for job_id in follower.wanted}
        for record in records.values():
            if tenant is not None and record.tenant != tenant:
                raise NotFound(f"Job: '{record.job_id}' is not found")
        if number is None:
            newest = self._newest()
            follower.pending = {job_id: _event(record, newest) for job_id, record in records.items()}
            return
        missed = [event for event in self._kept if event.number > number and event.job_id in records]
        follower.pending = {event.job_id: event for event in missed}
        for job_id, record in records.items():  # final before the last event that it saw: nothing more to tell
            if record.status in FINAL and job_id not in follower.pending:
                follower.wanted.discard(job_id)

    def _newest(self) -> int:
        return self._kept[-1].number if self._kept else 0

    def _number(self, last_id: str | None) -> int | None:
        """The number of an event of this run after which all are kept; None when they are not."""
        boot, _, digits = (last_id or "").rpartition("-")
        if boot != self.boot or not digits.isdecimal() or len(digits) > 18:
            return None
        number = int(digits)
        oldest = self._kept[0].number if self._kept else 1
        return number if oldest - 1 <= number <= self._newest() else None


def _event(record: JobRecord, number: int) -> Event:
    return Event(
        number, record.job_id, record.status, record.attempt, record.updated_at, record.backend, record.session_id
    )


def _shown(job_id: str, index: int, row: Row) -> bytes:
    """A row as it stands in the stream; it has no id, since a stream taken up again tells rows from the first."""
    try:
        data = orjson.dumps({"job_id": job_id, "index": index, "result": row}, option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, ValueError, RecursionError):  # what JSON cannot hold; the job ends FAILED and says so
        return b""
    return b"event: result\ndata: %s\n\n" % data
