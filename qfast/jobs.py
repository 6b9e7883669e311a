"""The live jobs: held in memory, standing in their backends' queues, and every change of their state.

This is the door through which a job starts and ends, whether the engine or remote hardware ends it. A change is durable
before anyone sees it, except a start, which a crash may take back. All methods run on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import orjson

from qfast.access import sees
from qfast.errors import NotFound, Unavailable, WorkerCrashed
from qfast.events import Events
from qfast.job import FINAL, Change, JobQuery, JobRecord, JobStatus
from qfast.live import Backend, Job, Parsed, deliveries
from qfast.params import did_you_mean, fault
from qfast.plugins import Store
from qfast.rows import encoded, failed_row
from qfast.sessions import ORDINARY_CLASS, Event, Sessions, SessionState
from qfast.views import status_view, submit_view

log = logging.getLogger("qfast.jobs")
T = TypeVar("T")

MAX_ATTEMPTS = 10  # runs begun before a job that takes the server down with it is given up
RECENT_BYTES = 16 << 10  # of a spec, which callbacks can make megabytes long; longer ones are read from the store
RECENT = 10_000  # ended jobs whose status is answered from memory
PATIENCE = 5.0  # seconds that a caller waits for a store that is out of reach
DRAINING_WAIT = 0.5  # seconds that a stopping server lets a caller wait: a request under way delays its end
DELETED_FOR = 86_400.0  # seconds during which a deleted job's id stays taken
NOTE_SECONDS = 0.2  # what sessions count is stored this often; what their callers are told is stored before

# job, final state, JSON array of result rows, number of qubits
End = tuple[Job, JobStatus, bytes | None, int | None]


class Jobs:
    """The live jobs of a server.

    Parameters
    ----------
    store : Store
    backends : mapping of str to Backend
    ended : callable
        Called when deliveries may have been put into the outbox.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        backends: Mapping[str, Backend],
        *,
        ended: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.backends = backends
        self.draining = False
        self.sessions = Sessions(self.now)
        self.events = Events(self._record)
        self.by_id: dict[str, Job] = {}
        self.by_seq: dict[int, Job] = {}
        self._live_of: Counter[str] = Counter()
        self.last_seq = 0
        self.parsed = Parsed()
        self.recent: dict[str, tuple[JobRecord, bytes]] = {}  # jobs that ended lately, with their encoded status
        self._ended = ended
        self._clock = clock
        self._last_time = 0.0
        self._noted = 0  # the revision of the sessions that is stored
        self._note_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Find every job of the last run; what had begun and not ended goes back to its old place in the queue."""
        self.last_seq = await self.store.last_seq()
        changes: list[Change] = []
        noted = await self.store.note("sessions")
        if noted is not None:
            self.sessions = Sessions.from_bytes(noted, self.now)
        for record in await self.store.load_live():
            job = Job(record, None)
            backend = self.backends.get(record.backend)
            if record.status == JobStatus.CANCELLING:
                changes.append(self._end_change(job, JobStatus.CANCELLED, None))
            elif backend is None:
                log.warning("job %s waits for backend %r, which is not configured", record.job_id, record.backend)
                self.keep(job)
            elif (
                record.status == JobStatus.RUNNING and backend.asynchronous and not orjson.loads(record.spec)["dry_run"]
            ):
                self.keep(job)
                backend.running[record.seq] = job
            elif record.status == JobStatus.RUNNING and record.attempt >= MAX_ATTEMPTS:
                changes.append(self._give_up(job))
            else:
                if record.status == JobStatus.RUNNING:
                    changes.append(self._requeue_change(job))
                    record.status = JobStatus.QUEUED
                    record.started_at = None
                self.keep(job)
                self.enqueue(backend, job)
        if changes:
            await self.store.apply(changes)
        await self.settle_sessions(self.sessions.restore(job.record for job in self.by_id.values()))

    def _requeue_change(self, job: Job) -> Change:
        return Change(
            seq=job.record.seq,
            attempt=job.record.attempt,
            entered_from=(JobStatus.QUEUED, JobStatus.RUNNING),
            status=JobStatus.QUEUED,
            at=self.now(),
            owner=job.epoch,
            release=True,
        )

    def _give_up(self, job: Job) -> Change:
        error = WorkerCrashed(f"the server ended {job.record.attempt} times while this job was running")
        return self._end_change(job, JobStatus.FAILED, encoded([failed_row(error, {}, {}, "sync")]))

    def keep(self, job: Job) -> None:
        """Hold a live job in memory."""
        if job.record.job_id not in self.by_id:
            self._live_of[job.record.tenant] += 1
        self.by_id[job.record.job_id] = job
        self.by_seq[job.record.seq] = job

    def forget(self, job: Job) -> None:
        """Let go of a job that is final, or that never became durable."""
        if self.by_id.pop(job.record.job_id, None) is not None:
            self._live_of[job.record.tenant] -= 1
        self.by_seq.pop(job.record.seq, None)
        self.parsed.take(job.record.seq)
        backend = self.backends.get(job.record.backend)
        if backend is not None and backend.running.pop(job.record.seq, None) is not None and backend.asynchronous:
            backend.wake()  # a place outside is free; a thread that becomes free says so itself

    def _remember(self, record: JobRecord) -> None:
        """Keep the status of a job that has just ended at hand: that is when it is asked for."""
        if len(record.spec) > RECENT_BYTES:
            return
        self.recent[record.job_id] = (record, status_view(record))
        if len(self.recent) > RECENT:
            del self.recent[next(iter(self.recent))]

    def enqueue(self, backend: Backend, job: Job) -> None:
        """Put a job into its backend's queue."""
        record = job.record
        klass = ORDINARY_CLASS if record.session_id is None else self.sessions.klass_for(record.session_id)
        job.handle = backend.heap.push(record.priority, record.seq, record.seq, klass)
        backend.wake()

    def put_back(self, job: Job) -> None:
        """A job that was taken out of its queue to be deleted, which failed, goes back to its old place."""
        job.ending = False
        backend = self.backends.get(job.record.backend)
        if backend is not None:
            self.enqueue(backend, job)

    def now(self) -> float:
        """The time, never going back: dates of one server order its events."""
        self._last_time = max(self._last_time, self._clock())
        return self._last_time

    async def admit(self, job: Job, source: bytes, level: int) -> bytes:
        """Store and queue a new job; gives the answer, made before the job can start.

        The caller has counted it into its session; a job that cannot be stored is taken back.
        """
        try:
            await self.store.append(job.record, source, level=level)
        except BaseException:
            self.forget(job)
            if job.record.session_id is not None:
                self._later(self.sessions.job_withdrawn(job.record.session_id, job.record.seq))
            raise
        job.durable = None
        self.events.publish(job.record)
        answer = submit_view(job.record, source)
        self.enqueue(self.backends[job.record.backend], job)
        session_id = job.record.session_id
        if session_id is not None and self.sessions.get(session_id).state is SessionState.CLOSED:
            await self.cancel([job.record.job_id], force=False)  # it was closed while the job was on its way
        return answer

    def find_backend(self, name: str) -> Backend:
        """The backend of that name; raises NotFound."""
        backend = self.backends.get(name)
        if backend is None:
            known = sorted(self.backends)
            text = f"backend: {name[:80]!r} is not found; there are {', '.join(known)}"
            raise NotFound(text, errors=[fault(("body", "backend"), text, name)], hint=did_you_mean(name, known))
        return backend

    async def find(self, job_id: str) -> tuple[JobRecord, Job | None]:
        """A job by its id, live or stored; raises NotFound."""
        job = self.by_id.get(job_id)
        if job is not None:
            if job.durable is not None:
                await asyncio.shield(job.durable)
            return job.record, job
        if job_id in self.recent:
            return self.recent[job_id][0], None
        record = await self.store.get(job_id)
        if record is None:
            raise self.unknown(job_id)
        return record, None

    @staticmethod
    def unknown(job_id: str) -> NotFound:
        """The refusal for an id that no job has."""
        return NotFound(f"Job: '{job_id}' is not found")

    async def _record(self, job_id: str) -> JobRecord:
        return (await self.find(job_id))[0]

    async def earlier(self, job_id: str) -> tuple[JobRecord, bytes | None] | None:
        """The job that was submitted under this id, with its source where that is at hand; None: there is none."""
        job = self.by_id.get(job_id)
        if job is None:
            record = await self.store.get(job_id)
            job = self.by_id.get(job_id)  # may have come while the store was asked
            if job is None:
                return None if record is None else (record, None)
        if job.durable is not None:
            await asyncio.shield(job.durable)
        return job.record, job.source

    def number_and_keep(self, job: Job) -> None:
        """Give a new job its place in time, and hold it while it is on its way to the disk; raises Conflict.

        Its session, where it has one, counts it in.
        """
        record = job.record
        if record.session_id is not None:
            self.sessions.job_submitted(record.session_id, self.last_seq + 1)
        self.last_seq += 1
        record.seq = self.last_seq
        self.keep(job)

    async def backend_of_session(self, session_id: str) -> str:
        """The backend to which a session's jobs go; raises NotFound."""
        return self.sessions.get(session_id).backend_name

    async def position(self, record: JobRecord, job: Job | None) -> int | None:
        """How many jobs of its backend go before a queued one; None where that is not known."""
        if job is None or job.handle is None or record.status != JobStatus.QUEUED:
            return None
        return self.backends[record.backend].heap.position(job.handle)

    async def counts(self) -> tuple[int, int]:
        """Jobs that are queued, and jobs that run."""
        backends = self.backends.values()
        return sum(len(backend.heap) for backend in backends), sum(len(backend.running) for backend in backends)

    def live_count(self) -> int:
        """Jobs that are not final."""
        return len(self.by_id)

    async def live_of(self, tenant: str, most: int) -> int:
        """Jobs of a tenant that are not final; counted up to `most`."""
        return min(self._live_of[tenant], most)

    async def wait(self, job_id: str, timeout: float) -> tuple[JobRecord, Job | None]:
        """A job once it is final or the timeout is over; raises NotFound."""
        record, job = await self.find(job_id)
        if job is not None and timeout > 0:
            await self.until_final(job, timeout)
        return record, job

    async def listed(self, query: JobQuery) -> list[tuple[JobRecord, Job | None]]:
        """The matching jobs, newest first."""
        records = {record.seq: record for record in await self.store.list(query)}
        wanted = query.job_status
        if wanted is not None:  # the store may learn of a start after memory does
            out = [job.record for backend in self.backends.values() for job in backend.running.values()]
            late = {record.job_id for record in out if record.status in wanted and record.seq not in records}
            asked = tuple(late if query.job_ids is None else late.intersection(query.job_ids))
            if asked:
                more = msgspec.structs.replace(query, job_status=None, job_ids=asked)
                records |= {record.seq: record for record in await self.store.list(more)}
        for seq in list(records):
            job = self.by_seq.get(seq)
            if job is not None:
                records[seq] = job.record
                if wanted is not None and job.record.status not in wanted:
                    del records[seq]
        chosen = sorted(records, reverse=True)[: query.limit]
        return [(records[seq], self.by_seq.get(seq)) for seq in chosen]

    async def until_final(self, job: Job, timeout: float) -> bool:
        """Wait until a job is final; tells whether it was in time."""
        if job.record.status in FINAL:
            return True
        waiter = asyncio.get_running_loop().create_future()
        job.waiters.append(waiter)
        if self.draining:
            timeout = min(timeout, DRAINING_WAIT)
        try:
            done, _ = await asyncio.wait((waiter,), timeout=timeout)
        finally:
            if waiter in job.waiters:
                job.waiters.remove(waiter)
        return bool(done)

    async def cancel(self, job_ids: Iterable[str], *, force: bool) -> list[JobRecord]:
        """Cancel queued jobs, with `force` also running ones; gives those that are or will be CANCELLED."""
        queued: list[Job] = []
        running: list[Job] = []
        for job_id in job_ids:
            job = self.by_id.get(job_id)
            if job is None or job.ending or job.durable is not None:
                continue
            if job.record.status == JobStatus.QUEUED and self.unqueue(job):
                queued.append(job)
            elif force and job.record.status in (JobStatus.RUNNING, JobStatus.CANCELLING):
                running.append(job)
        changes = [self._end_change(job, JobStatus.CANCELLED, None) for job in queued]
        outside = []
        for job in running:
            if job.record.status == JobStatus.RUNNING:
                changes.append(self._cancelling_change(job))
            backend = self.backends.get(job.record.backend)
            if backend is None or backend.asynchronous or not job.begun:
                job.cancel[0] = 1
                outside.append(job)
                changes.append(self._end_change(job, JobStatus.CANCELLED, None))
        if changes:
            await self.settle(changes)
        for job in queued + outside:
            self.retire(job, JobStatus.CANCELLED)
        return [job.record for job in queued + running]

    async def delete(self, job_ids: Iterable[str], *, force: bool) -> list[str]:
        """Delete every job that is not running, with `force` also running ones, which are cancelled before."""
        job_ids = list(job_ids)
        if force:
            await self._end_running(job_ids)
        doomed: dict[str, JobRecord] = {}
        dropped: list[Job] = []
        for job_id in job_ids:
            live = self.by_id.get(job_id)
            if live is None:
                record = await self.store.get(job_id)
                if record is not None and record.status in FINAL:
                    doomed[job_id] = record
            elif live.durable is None and not live.ending and self.unqueue(live):
                doomed[job_id] = live.record
                dropped.append(live)
        if doomed:
            try:
                await shielded(self.store.delete([record.seq for record in doomed.values()], self.now() + DELETED_FOR))
            except Unavailable:
                for job in dropped:
                    self.put_back(job)
                raise
            for job_id, record in doomed.items():
                self.recent.pop(job_id, None)
                if record.status in FINAL:
                    self._tell_deleted(record)
        for job in dropped:
            self.retire(job, JobStatus.DELETED)
        return list(doomed)

    def _tell_deleted(self, record: JobRecord) -> None:
        record.status, record.updated_at = JobStatus.DELETED, self.now()
        self.events.publish(record)

    async def _end_running(self, job_ids: Iterable[str]) -> None:
        found = [job for job in map(self.by_id.get, job_ids) if job is not None]
        running = [job for job in found if job.record.status != JobStatus.QUEUED]
        await promptly(self.cancel([job.record.job_id for job in running], force=True))
        if running:
            await asyncio.gather(*(self.until_final(job, PATIENCE) for job in running))

    async def bring(
        self, record: JobRecord, job: Job | None, end: tuple[list[dict[str, Any]], JobStatus, int | None]
    ) -> tuple[JobRecord, bool]:
        """End a job that runs outside, by its rows, status and number of qubits; tells whether these were the first."""
        rows, status, num_qubits = end
        if job is not None and job.ending:  # other results, or a cancel, came first: what they were is known soon
            await self.until_final(job, PATIENCE)
        if job is None or job.ending or record.status != JobStatus.RUNNING:
            return record, False
        await promptly(self.finish([(job, status, encoded(rows), num_qubits)]))
        return record, True

    async def update(
        self, record: JobRecord, job: Job | None, *, priority: int | None, name: str | None, spec: bytes | None
    ) -> JobRecord | None:
        """Change a queued job, whose place in time stays; None when it is not queued any more. An empty name takes it away."""
        if job is None or job.ending or record.status != JobStatus.QUEUED or job.handle is None:
            return None
        before = (record.priority, record.job_name, record.spec)
        record.spec = spec or record.spec
        record.job_name = record.job_name if name is None else name or None
        if priority is not None:
            record.priority = priority
            self.backends[record.backend].heap.update(job.handle, priority)
        record.updated_at = self.now()
        try:
            await shielded(self.store.apply([self._update_change(record, name, spec)]))
        except Unavailable:
            record.priority, record.job_name, record.spec = before
            if job.handle is not None:
                self.backends[record.backend].heap.update(job.handle, record.priority)
            raise
        return record

    @staticmethod
    def _update_change(record: JobRecord, name: str | None, spec: bytes | None) -> Change:
        return Change(
            seq=record.seq,
            attempt=record.attempt,
            entered_from=(JobStatus.QUEUED,),
            status=JobStatus.QUEUED,
            at=record.updated_at,
            priority=record.priority,
            job_name=name,
            spec=spec,
        )

    def unqueue(self, job: Job) -> bool:
        """Take a job out of its queue, so that it cannot start any more."""
        backend = self.backends.get(job.record.backend)
        if job.record.status != JobStatus.QUEUED:
            return False
        if job.handle is None:
            job.ending = job.ending or backend is None
            return backend is None
        taken = backend is not None and backend.heap.cancel(job.handle)
        job.handle = None
        job.ending = taken
        return taken

    def _cancelling_change(self, job: Job) -> Change:
        job.record.status = JobStatus.CANCELLING
        job.record.updated_at = self.now()
        job.cancel[0] = 1
        self.events.publish(job.record)
        return Change(
            seq=job.record.seq,
            attempt=job.record.attempt,
            entered_from=(JobStatus.RUNNING,),
            status=JobStatus.CANCELLING,
            at=job.record.updated_at,
            owner=job.epoch,
        )

    def take(self, backend: Backend, most: int, *, only_small: bool = False) -> list[Job]:
        """Start the next jobs of a backend, in order: one, or several in a row that are small, at most `most`."""
        taken: list[Job] = []
        changes: list[Change] = []
        while len(taken) < most:
            seq = backend.heap.peek()
            if seq is None:
                break
            job = self.by_seq[seq]
            held_for = self.sessions.held_for(backend.device.name)
            if held_for is not None and job.record.session_id != held_for:
                break  # the backend is kept free for the next job of its active session
            job.small = job.source is not None and b'"sleep":' not in job.record.spec
            if not job.small and (taken or only_small):
                break
            backend.heap.pop()
            taken.append(job)
            changes.append(self._start(backend, job))
            if not job.small:
                break
        if changes:
            beside(self._store_starts(taken, changes))
        return taken

    def take_more(self, backend: Backend, wanted: Callable[[Job], bool], most: int) -> list[Job]:
        """Start jobs that may share a program with one just taken: those at the head of the queue, in order."""
        taken: list[Job] = []
        changes: list[Change] = []
        held_for = self.sessions.held_for(backend.device.name)
        while len(taken) < most and (seq := backend.heap.peek()) is not None:
            job = self.by_seq[seq]
            held = held_for is not None and job.record.session_id != held_for
            job.small = job.source is not None and b'"sleep":' not in job.record.spec
            if held or not job.small or not wanted(job):
                break
            backend.heap.pop()
            taken.append(job)
            changes.append(self._start(backend, job))
        if changes:
            beside(self._store_starts(taken, changes))
            self.refill(backend)
        return taken

    def refill(self, backend: Backend) -> None:
        """Get more jobs for a backend's queue, where they come by claims."""

    def _start(self, backend: Backend, job: Job) -> Change:
        record = job.record
        now = max(self.now(), record.updated_at)
        before = record.attempt
        job.handle = None
        if record.session_id is not None:
            self._later(self.sessions.job_started(record.session_id, record.seq))
        record.status = JobStatus.RUNNING
        record.attempt += 1
        record.started_at = record.updated_at = now
        backend.running[record.seq] = job
        self.events.publish(record)
        job.retry_start = Change(
            seq=record.seq,
            attempt=before,
            entered_from=(JobStatus.QUEUED,),
            status=JobStatus.RUNNING,
            at=now,
            next_attempt=record.attempt,
            started_at=now,
            owner=job.epoch,
        )
        return job.retry_start

    async def _store_starts(self, _jobs: list[Job], changes: list[Change]) -> None:
        """A start need not be durable before the run; a store that cannot take it gets it again with the end."""
        try:
            await self.store.apply(changes)
        except Unavailable as error:
            log.warning("the store does not take starts: %s", error.message)

    async def source_of(self, job: Job) -> bytes:
        """The JSON array of sources of a live job."""
        return job.source or await self.store.source(job.record.seq) or b"[]"

    def finish(self, ends: list[End]) -> Coroutine[Any, Any, None]:
        """End jobs: state, results and callbacks in one transaction, visible once durable.

        Parameters
        ----------
        ends : list of (job, status, JSON array of result rows, number of qubits)
            What was CANCELLING ends CANCELLED, whatever the driver still brought.

        Returns
        -------
        coroutine
            To wait for; that these are the ends is settled when this returns, before any other can come.
        """
        changes: list[Change] = []
        finals: list[tuple[Job, JobStatus]] = []
        for job, status, rows, num_qubits in ends:
            if job.ending:
                continue
            job.ending = True
            final, final_rows = status, rows
            if job.record.status == JobStatus.CANCELLING:
                final, final_rows = JobStatus.CANCELLED, None
            job.record.num_qubits = num_qubits
            changes.append(self._end_change(job, final, final_rows))
            finals.append((job, final))
        return self._finish(changes, finals)

    async def _finish(self, changes: list[Change], finals: list[tuple[Job, JobStatus]]) -> None:
        await self.settle(changes)
        for job, final in finals:
            self.retire(job, final)

    def _end_change(self, job: Job, status: JobStatus, results: bytes | None) -> Change:
        record = job.record
        now = max(self.now(), record.updated_at)  # of another node's clock, perhaps
        job.ending, job.ended_at = True, now
        return Change(
            seq=record.seq,
            attempt=record.attempt,
            # what was listed as cancelled never becomes anything else
            entered_from=(JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING)
            if status == JobStatus.CANCELLED
            else (JobStatus.QUEUED, JobStatus.RUNNING),
            status=status,
            at=now,
            ended_at=now,
            num_qubits=record.num_qubits,
            results=results,
            callbacks=deliveries(record, status, results, now),
            owner=job.epoch,
        )

    async def settle(self, changes: list[Change]) -> list[Change]:
        """Apply changes that must not be lost: a store that is out of reach is tried again until it takes them.

        Gives the changes that were refused.
        """
        delay, with_starts = 0.05, False
        while True:
            try:
                won = await shielded(self.store.apply(changes))
            except Unavailable as error:
                log.error("the store does not take results yet: %s", error.message)
                await asyncio.sleep(delay)
                delay = min(2.0, 2 * delay)
                continue
            refused = [change for change, ok in zip(changes, won, strict=True) if not ok]
            if refused and not with_starts:  # a start may have failed in an earlier commit, and then its end is refused
                changes, with_starts = self._after_starts(refused), True
                continue
            refused = [
                change for change in refused if change.status != JobStatus.RUNNING
            ]  # not a start stored after all
            for change in refused:
                log.error("change to %s of job number %d was refused by the store", change.status, change.seq)
            return refused

    def _after_starts(self, changes: list[Change]) -> list[Change]:
        """The changes, each job's first one after its start."""
        starts: dict[int, Change] = {}
        for change in changes:
            job = self.by_seq.get(change.seq)
            if job is not None and job.retry_start is not None:
                starts[change.seq] = job.retry_start
        return [*starts.values(), *changes]

    def retire(self, job: Job, status: JobStatus) -> None:
        """A final state is durable: show it, wake who waits, and let the job go."""
        job.record.status = status
        job.record.ended_at = job.record.updated_at = job.ended_at or self.now()
        self.forget(job)
        if status != JobStatus.DELETED:
            self._remember(job.record)
        self.events.publish(job.record)
        for waiter in job.waiters:
            if not waiter.done():
                waiter.set_result(None)
        job.waiters.clear()
        if job.record.session_id is not None:
            self.sessions.cache_used(job.record.session_id, job.cache_hits, job.cache_misses)
            self._later(self.sessions.job_ended(job.record.session_id, job.record.seq, status))
        self._ended()

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

    async def settle_sessions(self, events: Iterable[Event]) -> None:
        """Put events into effect and store what they changed."""
        await self._end_doomed(self.effect(events))

    async def _end_doomed(self, doomed: list[Job]) -> None:
        if doomed:
            await self.settle([self._end_change(job, JobStatus.CANCELLED, None) for job in doomed])
            for job in doomed:
                self.retire(job, JobStatus.CANCELLED)
        await self._store_sessions()

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

    def _later(self, events: list[Event]) -> None:
        """Put events into effect at once and store that beside what goes on; mere counters are stored now and then."""
        if events:
            beside(self._end_doomed(self.effect(events)))
            return
        self._set_timer()
        if self._note_task is None or self._note_task.done():
            self._note_task = beside(self._store_sessions_soon())

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

    def stop_waiting(self) -> None:
        """Take no more jobs, and answer everyone who waits for one."""
        self.draining = True
        self.events.close()
        for job in self.by_id.values():
            for waiter in job.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            job.waiters.clear()


async def visible_session(jobs: Jobs, session_id: str, caller: Mapping[str, str]) -> dict[str, Any]:
    """The view of a session that exists for the caller; raises NotFound."""
    view = await jobs.session_view(session_id)
    if not sees(caller, view.get("tenant", "")):
        raise NotFound(f"session {session_id!r:.80} is not known")
    return view


_BESIDE: set[asyncio.Task[Any]] = set()  # the loop holds tasks only weakly


def beside(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run it beside what goes on."""
    task = asyncio.ensure_future(work)
    _BESIDE.add(task)
    task.add_done_callback(_let_go)
    return task


def _let_go(task: asyncio.Task[None]) -> None:
    _BESIDE.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.error("work beside the calls failed", exc_info=task.exception())


async def promptly(work: Coroutine[Any, Any, T]) -> T:
    """Wait for a change that must not be lost, but not for ever.

    Raises
    ------
    Unavailable
        The store is out of reach; the change is made as soon as it is back.
    """
    task = asyncio.ensure_future(work)
    _BESIDE.add(task)
    task.add_done_callback(_BESIDE.discard)
    done, _ = await asyncio.wait((task,), timeout=PATIENCE)
    if not done:
        text = "the store takes no changes at present; this one is made as soon as it does"
        raise Unavailable(text, extra={"retry_after": PATIENCE})
    return task.result()


async def shielded(work: Awaitable[T]) -> T:
    """Wait for it; a caller that goes away does not stop it."""
    return await asyncio.shield(asyncio.ensure_future(work))
