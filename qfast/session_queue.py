"""What sessions do to the queues: classes that go first, jobs cancelled with their session, timers, and their record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qfast.access import sees
from qfast.beside import beside
from qfast.ends import RunningJobs
from qfast.errors import NotFound
from qfast.job import JobStatus
from qfast.live import Backend, Job
from qfast.plugins import Store
from qfast.sessions import Event

NOTE_SECONDS = 0.2  # what sessions count is stored this often; what their callers are told is stored before


class SessionQueue(RunningJobs):
    """The live jobs, with the sessions that order some of them."""

    def __init__(
        self,
        store: Store,
        backends: Mapping[str, Backend],
        *,
        ended: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(store, backends, ended=ended, clock=clock)
        self._noted = 0  # the revision of the sessions that is stored
        self._note_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def backend_of_session(self, session_id: str) -> str:
        """The backend to which a session's jobs go; raises NotFound."""
        return self.sessions.get(session_id).backend_name

    async def session_view(self, session_id: str) -> dict[str, Any]:
        """A session as the wire shows it; raises NotFound."""
        return self.sessions.session_view(self.sessions.get(session_id))

    async def session_views(self, backend: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        """The sessions that match, newest first."""
        found = self.sessions.find(backend=backend, state=state, limit=limit)
        return [self.sessions.session_view(session) for session in found]

    async def close_session(self, session_id: str, *, cancel: bool) -> dict[str, Any]:
        """Let a session take no more jobs, or with `cancel` end it at once; gives its view when that is durable."""
        close = self.sessions.cancel if cancel else self.sessions.close
        await self.settle_sessions(close(session_id))
        return self.sessions.session_view(self.sessions.get(session_id))

    async def close_all_sessions(self) -> list[dict[str, Any]]:
        """Let every session take no more jobs; gives the views of those that were open."""
        closed, events = self.sessions.close_all()
        await self.settle_sessions(events)
        return [self.sessions.session_view(session) for session in closed]

    async def settle_sessions(self, events: Iterable[Event]) -> None:
        """Put events into effect and store what they changed."""
        await self._end_doomed(self.effect(events))

    def _later(self, events: list[Event]) -> None:
        """Put events into effect at once and store that beside what goes on; mere counters are stored now and then."""
        if events:
            beside(self._end_doomed(self.effect(events)))
            return
        self._set_timer()
        if self._note_task is None or self._note_task.done():
            self._note_task = beside(self._store_sessions_soon())

    def effect(self, events: Iterable[Event]) -> list[Job]:
        """What a change of sessions means for the queue: other classes, and jobs taken out of it, which are to be cancelled."""
        doomed: list[Job] = []
        for event in events:
            backend = self.backends.get(event.backend)
            for seq in event.reclassify:
                job = self.by_seq.get(seq)
                if job is not None and job.handle is not None and backend is not None:
                    backend.heap.update(job.handle, job.record.priority, event.klass)
            for seq in event.cancel:
                job = self.by_seq.get(seq)  # one that is still on its way to the disk is cancelled when it arrives
                if job is not None and job.durable is None and not job.ending and self.unqueue(job):
                    doomed.append(job)
        self._set_timer()
        for backend in self.backends.values():
            backend.wake()
        return doomed

    async def _end_doomed(self, doomed: list[Job]) -> None:
        if doomed:
            await self.settle([self._end_change(job, JobStatus.CANCELLED, None) for job in doomed])
            for job in doomed:
                self.retire(job, JobStatus.CANCELLED)
        await self._store_sessions()

    async def _store_sessions_soon(self) -> None:
        while self.sessions.revision != self._noted:  # again for what changes while it is stored
            await asyncio.sleep(NOTE_SECONDS)
            await self._store_sessions()

    async def _store_sessions(self) -> None:
        revision = self.sessions.revision
        if revision == self._noted:
            return
        await self.store.put_note("sessions", self.sessions.to_bytes())
        self._noted = max(self._noted, revision)

    def _set_timer(self) -> None:
        due = self.sessions.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self.now()), self._tick)

    def _tick(self) -> None:
        self._later(self.sessions.tick())


async def visible_session(jobs: SessionQueue, session_id: str, caller: Mapping[str, str]) -> dict[str, Any]:
    """The view of a session that exists for the caller; raises NotFound."""
    view = await jobs.session_view(session_id)
    if not sees(caller, view.get("tenant", "")):
        raise NotFound(f"session {session_id!r:.80} is not known")
    return view
