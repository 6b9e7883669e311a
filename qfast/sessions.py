"""The rules of sessions as a state machine without I/O: who is active, who goes first, what ends when.

::

    open --a job starts--> active <--a job starts-- inactive
                           active --idle for interactive_timeout, or active for active_timeout--> inactive
    open, active, inactive --drained, cancelled, or max_time after opening--> closed (for good)

Every change that concerns the queue comes back as an `Event`; whoever calls puts it into effect. Nothing here waits:
`next_deadline` says when `tick` has something to do.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import msgspec

from qfast.errors import Conflict, InvalidParams, NotFound, TooMany
from qfast.job import JobRecord, JobStatus, utc_text
from qfast.session_model import (
    ACTIVE_CLASS,
    DEFAULT_MAX_TIME,
    INTERACTIVE_TIMEOUT,
    MAXIMUM_MAX_TIME,
    ORDINARY_CLASS,
    Event,
    Reason,
    Session,
    SessionState,
    parse_max_time,
)

__all__ = ["ACTIVE_CLASS", "ORDINARY_CLASS", "Event", "Session", "SessionState", "Sessions", "parse_max_time"]


class _Jobs:
    """The live jobs of one session; not stored with it, since the jobs' own records are the truth."""

    __slots__ = ("queued", "running")

    def __init__(self) -> None:
        self.queued: dict[int, None] = {}  # in the order of submission
        self.running: dict[int, float] = {}  # sequence: when it started

    def __bool__(self) -> bool:
        return bool(self.queued or self.running)


class _Saved(msgspec.Struct):
    sessions: list[Session]
    format: int = 1


class Sessions:
    """All sessions of a server. Not thread-safe: one loop owns it.

    Parameters
    ----------
    clock : callable
        Gives the wall clock, seconds since the epoch; timers go on while the server is down.
    interactive_timeout, active_timeout : float
        Longest idle time of an active session, and longest time that one stays active without a break.
    maximum_max_time, default_max_time : int
        Seconds.
    max_open : int
        Sessions that may be open at a time; more are refused with -429.
    keep_closed : int
        Closed sessions that are remembered, the newest.
    new_id : callable
        Gives a fresh session id.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        interactive_timeout: float = INTERACTIVE_TIMEOUT,
        active_timeout: float = MAXIMUM_MAX_TIME,
        maximum_max_time: int = MAXIMUM_MAX_TIME,
        default_max_time: int = DEFAULT_MAX_TIME,
        max_open: int = 10_000,
        keep_closed: int = 1_000,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._clock = clock
        self._interactive_timeout = interactive_timeout
        self._active_timeout = active_timeout
        self._maximum = maximum_max_time
        self._default = min(default_max_time, maximum_max_time)
        self._max_open = max_open
        self._keep_closed = keep_closed
        self._new_id = new_id
        self._sessions: dict[str, Session] = {}
        self._jobs: dict[str, _Jobs] = {}
        self._active: dict[str, Session] = {}  # backend: its active session
        self._closed: dict[str, None] = {}  # ids in the order of closing
        self._timers: list[tuple[float, str]] = []  # a heap; an entry counts while it is the one in _armed
        self._armed: dict[str, float] = {}  # id: never later than the session's deadline
        self.revision = 0  # grows with every change that to_bytes would show

    # --- what callers ask for

    def open(self, backend: str, max_time: object = None, mode: str | None = None, tenant: str = "") -> Session:
        """Open a session; raises InvalidParams for a wrong max_time or mode, TooMany when too many are open."""
        seconds = self._default if max_time is None else parse_max_time(max_time, self._maximum)
        if mode not in (None, "dedicated", "batch"):
            raise InvalidParams(f"mode: {mode!r:.80} is not dedicated or batch")
        if len(self._sessions) - len(self._closed) >= self._max_open:
            raise TooMany(f"{self._max_open} sessions are open already", hint="close sessions that are not needed")
        session = Session(
            id=self._new_id(),
            backend_name=backend,
            mode="batch" if mode == "batch" else "dedicated",
            interactive_timeout=self._interactive_timeout,
            max_time=seconds,
            active_timeout=self._active_timeout,
            opened_at=self._clock(),
            tenant=tenant,
        )
        self._sessions[session.id] = session
        self._jobs[session.id] = _Jobs()
        self._arm(session)
        self.revision += 1
        return session

    def withdraw(self, session_id: str) -> None:
        """Take back `open` for a session that was refused after all."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            del self._jobs[session_id]
            self._armed.pop(session_id, None)
            self.revision += 1

    def get(self, session_id: str) -> Session:
        """The session; raises NotFound."""
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound(f"session {session_id!r:.80} is not known")
        return session

    def find(self, *, backend: str | None = None, state: str | None = None, limit: int | None = None) -> list[Session]:
        """Sessions that match, newest first."""
        found = [
            session
            for session in reversed(self._sessions.values())
            if backend in (None, session.backend_name) and state in (None, session.state)
        ]
        return found[:limit]

    def close(self, session_id: str) -> list[Event]:
        """Take no more jobs; what is queued and running goes on, and without any the session closes at once."""
        session = self.get(session_id)
        if session.accepting_jobs:
            session.accepting_jobs = False
            self.revision += 1
        return self._close_if_drained(session, self._clock())

    def cancel(self, session_id: str) -> list[Event]:
        """Close at once: the event names the queued jobs to cancel; running ones finish."""
        session = self.get(session_id)
        return [] if session.state is SessionState.CLOSED else [self._close(session, self._clock(), "cancelled")]

    def close_all(self) -> tuple[list[Session], list[Event]]:
        """Close every session as `close` does; those that were not closed before, newest first, and the events."""
        sessions = [session for session in self.find() if session.state is not SessionState.CLOSED]
        return sessions, [event for session in sessions for event in self.close(session.id)]

    # --- what happens to jobs

    def job_submitted(self, session_id: str, seq: int) -> int:
        """Count a job in, before it is made durable; gives its heap class.

        Raises
        ------
        NotFound
            If there is no such session.
        Conflict
            If the session takes no jobs any more.
        """
        self.check_takes_jobs(session_id)
        self._jobs[session_id].queued[seq] = None
        return self.klass_for(session_id)

    def check_takes_jobs(self, session_id: str) -> None:
        """Raises as `job_submitted` does."""
        session = self.get(session_id)
        if session.state is SessionState.CLOSED or self._clock() >= session.expires_at:
            raise Conflict(f"session {session_id} is closed", hint="open another session")
        if not session.accepting_jobs:
            raise Conflict(f"session {session_id} is closing and takes no more jobs", hint="open another session")

    def job_arrived(self, session_id: str, seq: int) -> bool:
        """Count in a job that was accepted elsewhere, though the session may be closing; False when it is closed."""
        session = self._sessions.get(session_id)
        if session is None or session.state is SessionState.CLOSED:
            return False
        self._jobs[session_id].queued[seq] = None
        self._settle(session, self._clock())
        return True

    def job_withdrawn(self, session_id: str, seq: int) -> list[Event]:
        """Take back `job_submitted` for a job that was refused after all."""
        return self.job_ended(session_id, seq, JobStatus.DELETED)

    def job_started(self, session_id: str, seq: int) -> list[Event]:
        """A job went to the backend: activates its session, unless another one is active there."""
        session, now = self._sessions.get(session_id), self._clock()
        if session is None:
            return []
        jobs = self._jobs[session_id]
        jobs.queued.pop(seq, None)
        jobs.running[seq] = now
        session.last_job_started = now
        if session.started_at is None:
            session.started_at = now
        events = []
        if session.state in (SessionState.OPEN, SessionState.INACTIVE) and now < session.expires_at:
            events = self._activate(session, now)
        self._settle(session, now)
        return events

    def job_requeued(self, session_id: str, seq: int) -> list[Event]:
        """A running job returns to the queue after a crash; when its session is closed the event cancels it."""
        session = self._sessions.get(session_id)
        if session is None:
            return []
        jobs = self._jobs[session_id]
        jobs.running.pop(seq, None)
        jobs.queued[seq] = None
        self._settle(session, self._clock())
        return self._cancel_left_over(session)

    def job_ended(self, session_id: str, seq: int, status: JobStatus) -> list[Event]:
        """A job reached a final status; a DELETED one is not counted. May close a session that drains."""
        session, now = self._sessions.get(session_id), self._clock()
        if session is None:
            return []
        jobs = self._jobs[session_id]
        started = jobs.running.pop(seq, None)
        if started is not None:
            session.last_job_completed = now
            if session.mode == "batch":
                session.usage += max(0.0, now - started)
        elif seq in jobs.queued:
            del jobs.queued[seq]
        else:
            return []  # told twice
        if status is not JobStatus.DELETED:
            session.ended[status.value] = session.ended.get(status.value, 0) + 1
        if not jobs:
            session.idle_since = now
        self._settle(session, now)
        self._arm(session)
        return self._close_if_drained(session, now)

    def cache_used(self, session_id: str, hits: int, misses: int) -> None:
        """Count a job's look-ups of prepared programs."""
        session = self._sessions.get(session_id)
        if session is not None and (hits or misses):
            session.cache_hits += hits
            session.cache_misses += misses
            self.revision += 1

    # --- what the scheduler asks

    def klass_for(self, session_id: str | None) -> int:
        """The heap class of a job of that session, or of none."""
        session = self._sessions.get(session_id) if session_id is not None else None
        active = session is not None and session.state is SessionState.ACTIVE
        return ACTIVE_CLASS if active else ORDINARY_CLASS

    def held_for(self, backend: str) -> str | None:
        """The dedicated session for which this backend is kept free: jobs of others may not start now."""
        session = self._active.get(backend)
        if session is None or session.mode == "batch" or not session.accepting_jobs:
            return None
        return session.id if self._clock() < self._deadline(session)[0] else None

    # --- time

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next, or None."""
        while self._timers:
            due, session_id = self._timers[0]
            if self._armed.get(session_id) != due:
                heapq.heappop(self._timers)
                continue
            deadline, _ = self._deadline(self._sessions[session_id])
            if deadline <= due:
                return due
            self._armed[session_id] = deadline
            heapq.heapreplace(self._timers, (deadline, session_id))
        return None

    def tick(self, now: float | None = None) -> list[Event]:
        """Do what is due: deactivate idle sessions, close those whose max_time is over."""
        now = self._clock() if now is None else now
        events = []
        while (due := self.next_deadline()) is not None and due <= now:
            events.append(self._do_due(self._sessions[self._timers[0][1]]))
        return events

    # --- persistence

    def to_bytes(self) -> bytes:
        """All sessions as JSON, without their live jobs."""
        return msgspec.json.encode(_Saved(list(self._sessions.values())))

    @classmethod
    def from_bytes(cls, data: bytes, clock: Callable[[], float], **options: Any) -> Sessions:
        """The registry of `to_bytes`; `restore` must follow. Raises msgspec.DecodeError for other bytes."""
        registry = cls(clock, **options)
        for session in msgspec.json.decode(data, type=_Saved).sessions:
            registry._hold(session)
        registry._order_closed()
        return registry

    def take_over(self, session: Session) -> None:
        """Go on with a session of another registry, its timers and all; its jobs arrive, or `restore` names them."""
        if session.state is SessionState.ACTIVE and session.backend_name in self._active:
            session.state = SessionState.INACTIVE  # there is one active session for each backend
        self._hold(session)
        self._order_closed()
        self._forget_oldest()
        self.revision += 1

    def _hold(self, session: Session) -> None:
        self._sessions[session.id] = session
        self._jobs[session.id] = _Jobs()
        if session.state is SessionState.ACTIVE:
            self._active[session.backend_name] = session
        self._arm(session)

    def _order_closed(self) -> None:
        closed = [session for session in self._sessions.values() if session.state is SessionState.CLOSED]
        self._closed = dict.fromkeys(s.id for s in sorted(closed, key=lambda s: s.closed_at or 0.0))

    def restore(self, jobs: Iterable[JobRecord]) -> list[Event]:
        """Give the sessions their live jobs after a restart; the events finish what a crash left half done."""
        for job in jobs:
            live = self._jobs.get(job.session_id) if job.session_id is not None else None
            if live is not None and job.status is JobStatus.QUEUED:
                live.queued[job.seq] = None
            elif live is not None and job.status in (JobStatus.RUNNING, JobStatus.CANCELLING):
                live.running[job.seq] = self._clock() if job.started_at is None else job.started_at
        events = []
        for session in list(self._sessions.values()):
            if not self._jobs[session.id]:
                session.idle_since = max(session.idle_since, session.last_job_started or 0.0)
            if not self._jobs[session.id].running:
                session.break_off()
            self._settle(session, self._clock())
            self._arm(session)
            events += self._cancel_left_over(session) or self._close_if_drained(session, self._clock())
        return events

    # --- the view

    def session_view(self, session: Session) -> dict[str, Any]:
        """The session as the wire shows it."""
        now, jobs = self._clock(), self._jobs.get(session.id, _Jobs())
        usage = {name: round(time, 6) for name, time in session.usage_at(now, jobs.running.values()).items()}
        counts = {"QUEUED": len(jobs.queued), "RUNNING": len(jobs.running), **session.ended}
        closed = session.state is SessionState.CLOSED
        return {
            "id": session.id,
            "backend_name": session.backend_name,
            "mode": session.mode,
            "interactive_timeout": session.interactive_timeout,
            "max_time": session.max_time,
            "active_timeout": session.active_timeout,
            "state": session.state.value,
            "accepting_jobs": session.accepting_jobs,
            "last_job_started": utc_text(session.last_job_started),
            "last_job_completed": utc_text(session.last_job_completed),
            "started_at": utc_text(session.started_at),
            "closed_at": utc_text(session.closed_at),
            "activated_at": utc_text(session.activated_at),
            "usage_time": usage.pop("used"),
            "usage": usage,
            "remaining_time": 0.0 if closed else round(max(0.0, session.expires_at - now), 6),
            "jobs": {status: count for status, count in counts.items() if count},
            "circuit_cache": {"hits": session.cache_hits, "misses": session.cache_misses},
            **({"tenant": session.tenant} if session.tenant else {}),
        }

    def usage_time(self, session: Session) -> float:
        """Seconds used so far."""
        return session.usage_at(self._clock(), self._jobs[session.id].running.values())["used"]

    # --- transitions

    def _deadline(self, session: Session) -> tuple[float, Reason]:
        deadlines: list[tuple[float, Reason]] = [(session.expires_at, "max_time")]
        if session.state is SessionState.ACTIVE and session.activated_at is not None:
            deadlines.append((session.activated_at + session.active_timeout, "active_timeout"))
            if not self._jobs[session.id]:
                deadlines.append((session.idle_since + session.interactive_timeout, "interactive_timeout"))
        return min(deadlines, key=lambda entry: entry[0])

    def _do_due(self, session: Session) -> Event:
        """Do what the session's deadline asks for, as of then: a late tick adds nothing to its time."""
        at, reason = self._deadline(session)
        return self._close(session, at, reason) if reason == "max_time" else self._deactivate(session, at, reason)

    def _arm(self, session: Session) -> None:
        """Set the timer, unless the one that is set is earlier: next_deadline puts that right when it comes up."""
        if session.state is SessionState.CLOSED:
            return
        deadline, _ = self._deadline(session)
        if deadline < self._armed.get(session.id, float("inf")):
            self._armed[session.id] = deadline
            heapq.heappush(self._timers, (deadline, session.id))

    def _settle(self, session: Session, now: float) -> None:
        """Book times, and note that something changed."""
        running = bool(self._jobs[session.id].running)
        session.book(now, occupied=running or session.state is SessionState.ACTIVE, busy=running)
        self.revision += 1

    def _activate(self, session: Session, now: float) -> list[Event]:
        events = []
        rival = self._active.get(session.backend_name)
        if rival is not None:
            if self._deadline(rival)[0] <= now:
                events.append(self._do_due(rival))
            elif rival.mode == "batch" and not self._jobs[rival.id]:  # it holds nothing
                events.append(self._deactivate(rival, now, "displaced"))
            else:
                return []
        session.state = SessionState.ACTIVE
        session.activated_at = now
        self._active[session.backend_name] = session
        self._arm(session)
        return [*events, self._event(session, "job_started", reclassify=tuple(self._jobs[session.id].queued))]

    def _leave_active(self, session: Session, state: SessionState, at: float) -> None:
        if self._active.get(session.backend_name) is session:
            del self._active[session.backend_name]
        session.state = state
        self._settle(session, at)

    def _deactivate(self, session: Session, at: float, reason: Reason) -> Event:
        self._leave_active(session, SessionState.INACTIVE, at)
        return self._event(session, reason, reclassify=tuple(self._jobs[session.id].queued))

    def _close(self, session: Session, at: float, reason: Reason) -> Event:
        session.accepting_jobs = False
        session.closed_at = at
        self._leave_active(session, SessionState.CLOSED, at)
        self._armed.pop(session.id, None)
        event = self._event(session, reason, cancel=tuple(self._jobs[session.id].queued))
        self._closed[session.id] = None
        self._forget_oldest()
        return event

    def _close_if_drained(self, session: Session, now: float) -> list[Event]:
        done = session.state is not SessionState.CLOSED and not session.accepting_jobs and not self._jobs[session.id]
        return [self._close(session, now, "drained")] if done else []

    def _cancel_left_over(self, session: Session) -> list[Event]:
        if session.state is not SessionState.CLOSED or not self._jobs[session.id].queued:
            return []
        return [self._event(session, "recovered", cancel=tuple(self._jobs[session.id].queued))]

    def _forget_oldest(self) -> None:
        for session_id in list(islice(self._closed, max(0, len(self._closed) - self._keep_closed))):
            if not self._jobs[session_id]:
                del self._closed[session_id], self._sessions[session_id], self._jobs[session_id]

    def _event(
        self, session: Session, reason: Reason, *, reclassify: tuple[int, ...] = (), cancel: tuple[int, ...] = ()
    ) -> Event:
        return Event(
            session_id=session.id,
            backend=session.backend_name,
            state=session.state,
            reason=reason,
            klass=self.klass_for(session.id),
            reclassify=reclassify,
            cancel=cancel,
        )
