"""The verbs: the only place that writes a job.

Live jobs (not final) are held in memory, which answers reads about them; the store has the truth of everything and every
write is durable before it is acknowledged. A job ends in `finish`, whether the engine or remote hardware ended it, so that
dates, states and callbacks cannot diverge. All methods run on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from qfast import qubo, wire
from qfast._ext.scheduler import Heap
from qfast.errors import Conflict, InvalidParams, NotFound, Unavailable, WorkerCrashed
from qfast.job import FINAL, CallbackRecord, Change, JobQuery, JobRecord, JobStatus
from qfast.outside import read_results, same_results
from qfast.params import did_you_mean, fault, refuse
from qfast.plugins import Device, Driver, Store
from qfast.sessions import ORDINARY_CLASS, Event, Sessions
from qfast.submission import Limits, Submission, read_submission
from qfast.views import array, results_view, status_view, submit_view

log = logging.getLogger("qfast.service")
T = TypeVar("T")

MAX_ATTEMPTS = 10  # runs begun before a job that takes the server down with it is given up
KEPT_SOURCE = 16 << 10  # bytes; a longer source is read from the store again when its job starts
LARGE_SOURCE = 256 << 10  # bytes; longer matrices are checked outside the loop's thread
DELETED_FOR = 86_400.0  # seconds during which a deleted job's id stays taken
NOTE_SECONDS = 0.2  # what sessions count is stored this often; what their callers are told is stored before


class Job:
    """A live job: its record and what only lives in memory."""

    __slots__ = (
        "cancel",
        "durable",
        "ending",
        "handle",
        "progress",
        "record",
        "retry_start",
        "source",
        "timed_out",
        "waiters",
    )

    def __init__(self, record: JobRecord, source: bytes | None) -> None:
        self.record = record
        self.source = source  # None: in the store only
        self.handle: int | None = None  # in the backend's heap while QUEUED
        self.cancel = bytearray(1)  # polled by kernels
        self.timed_out = False
        self.ending = False  # a final state is on its way to the store
        self.progress = 0
        self.durable: asyncio.Task[bytes] | None = None  # the append, until it is done
        self.retry_start: Change | None = None  # a start that the store has not seen
        self.waiters: list[asyncio.Future[None]] = []


class Backend:
    """A device with its driver, its queue and the jobs that are out."""

    def __init__(self, device: Device, driver: Driver) -> None:
        self.device = device
        self.driver = driver
        self.heap = Heap()
        self.running: dict[int, Job] = {}
        self.wake: Callable[[], None] = lambda: None  # set by the engine

    @property
    def asynchronous(self) -> bool:
        """Whether results come by set_job_results."""
        return self.driver.results_fetch_mode == "async"


class Service:
    """The verbs of the job group, and the door through which jobs start and end.

    Parameters
    ----------
    store : Store
    backends : mapping of str to Backend
    check_callbacks : callable
        Validates the `callbacks` field; raises InvalidParams.
    ended : callable
        Called when deliveries were put into the outbox.
    limits : Limits
    clock : callable
        Seconds since the epoch.
    max_queued : int
        Live jobs beyond which submits are answered -503.
    """

    def __init__(
        self,
        store: Store,
        backends: Mapping[str, Backend],
        *,
        check_callbacks: Callable[[Any], list[dict[str, Any]]],
        ended: Callable[[], None] = lambda: None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        max_queued: int = 1_000_000,
    ) -> None:
        self.store = store
        self.backends = backends
        self.draining = False
        self._check_callbacks = check_callbacks
        self._ended = ended
        self._limits = limits or Limits()
        self._clock = clock
        self._max_queued = max_queued
        self._jobs: dict[str, Job] = {}
        self._by_seq: dict[int, Job] = {}
        self._seq = 0
        self._last_time = 0.0
        self.sessions = Sessions(self._now)
        self._noted = 0  # the revision of the sessions that is stored
        self._note_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------------------------------------------- start and recovery

    async def open(self) -> None:
        """Find every job of the last run; what had begun and not ended goes back to its old place in the queue."""
        self._seq = await self.store.last_seq()
        changes: list[Change] = []
        noted = await self.store.note("sessions")
        if noted is not None:
            self.sessions = Sessions.from_bytes(noted, self._now)
        for record in await self.store.load_live():
            job = Job(record, None)
            backend = self.backends.get(record.backend)
            if record.status == JobStatus.CANCELLING:
                changes.append(self._end_change(job, JobStatus.CANCELLED, None))
            elif backend is None:
                log.warning("job %s waits for backend %r, which is not configured", record.job_id, record.backend)
                self._keep(job)
            elif record.status == JobStatus.RUNNING and backend.asynchronous:
                self._keep(job)
                backend.running[record.seq] = job
            elif record.status == JobStatus.RUNNING and record.attempt >= MAX_ATTEMPTS:
                changes.append(self._give_up(job))
            else:
                if record.status == JobStatus.RUNNING:
                    changes.append(self._requeue_change(record))
                    record.status = JobStatus.QUEUED
                    record.started_at = None
                self._keep(job)
                self._enqueue(backend, job)
        if changes:
            await self.store.apply(changes)
        await self.put_into_effect(self.sessions.restore(job.record for job in self._jobs.values()))

    def _requeue_change(self, record: JobRecord) -> Change:
        return Change(
            seq=record.seq,
            attempt=record.attempt,
            entered_from=(JobStatus.RUNNING,),
            status=JobStatus.QUEUED,
            at=self._now(),
        )

    def _give_up(self, job: Job) -> Change:
        error = WorkerCrashed(f"the server ended {job.record.attempt} times while this job was running")
        row = {
            "results": None,
            "metadata": {"results_fetch_mode": "sync", "status": "FAILED"},
            "error": error.as_dict(),
        }
        return self._end_change(job, JobStatus.FAILED, [row])

    def _keep(self, job: Job) -> None:
        self._jobs[job.record.job_id] = job
        self._by_seq[job.record.seq] = job

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.record.job_id, None)
        self._by_seq.pop(job.record.seq, None)
        backend = self.backends.get(job.record.backend)
        if backend is not None:
            backend.running.pop(job.record.seq, None)

    def _enqueue(self, backend: Backend, job: Job) -> None:
        record = job.record
        klass = ORDINARY_CLASS if record.session_id is None else self.sessions.klass_for(record.session_id)
        job.handle = backend.heap.push(record.priority, record.seq, record.seq, klass)
        backend.wake()

    def _now(self) -> float:
        """The time, never going back: dates of one server order its events."""
        self._last_time = max(self._last_time, self._clock())
        return self._last_time

    # -------------------------------------------------------------------------------------------------------- the verbs

    def find_backend(self, name: str) -> tuple[Device, Driver]:
        """Device and driver of that name; raises NotFound."""
        backend = self.backends.get(name)
        if backend is None:
            known = sorted(self.backends)
            text = f"backend: {name[:80]!r} is not found; there are {', '.join(known)}"
            raise NotFound(text, errors=[fault(("body", "backend"), text, name)], hint=did_you_mean(name, known))
        return backend.device, backend.driver

    async def submit_job(self, body: wire.SubmitBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """Store a job and queue it; answers once it is durable. The same id with the same payload is the same job."""
        self._refuse_when_busy()
        job_id = self._wanted_id(body, caller)
        if body.session_id is not None:
            self._take_sessions_backend(body, body.session_id)
        submission = read_submission(body, self.find_backend, self._check_callbacks, self._limits)
        if submission.code_type == "qubo":
            await self._check_matrices(submission.source)
        if job_id is not None:
            earlier = await self._earlier(job_id, submission.digest)
            if earlier is not None:
                return earlier
        job = self._new_job(job_id or str(uuid.uuid4()), submission)
        job.durable = asyncio.ensure_future(self._admit(job, submission))
        return await asyncio.shield(job.durable)  # a caller that goes away does not stop a job on its way to the disk

    def _take_sessions_backend(self, body: wire.SubmitBody, session_id: str) -> None:
        """A session's jobs go to its backend."""
        name = self.sessions.get(session_id).backend_name
        if body.backend not in (None, name):
            raise refuse("backend", body.backend, f"is not {name!r}, the backend of the session")
        body.backend = name

    def _refuse_when_busy(self) -> None:
        if self.draining:
            raise Unavailable("the server is stopping and takes no jobs", extra={"retry_after": 5})
        if len(self._jobs) >= self._max_queued:
            text = f"the queue is full: {len(self._jobs)} jobs wait, at most {self._max_queued}"
            raise Unavailable(text, extra={"retry_after": 5})

    @staticmethod
    def _wanted_id(body: wire.SubmitBody, caller: Mapping[str, str]) -> str | None:
        key = caller.get("idempotency-key")
        if key is None:
            return body.job_id
        try:
            canonical = str(uuid.UUID(key)) == key and uuid.UUID(key).version == 4
        except ValueError:
            canonical = False
        if not canonical:
            raise refuse("Idempotency-Key", key, "is not a UUID version 4 in lower-case canonical form")
        if body.job_id not in (None, key):
            raise refuse(
                "job_id", body.job_id, "differs from the header Idempotency-Key, another name of the same field"
            )
        return key

    @staticmethod
    async def _check_matrices(source: bytes) -> None:
        if len(source) > LARGE_SOURCE:
            await asyncio.get_running_loop().run_in_executor(None, qubo.parse_sources, source)
        else:
            qubo.parse_sources(source)

    async def _earlier(self, job_id: str, digest: bytes) -> bytes | None:
        """The answer for a repeated submit, None for a new one; raises Conflict for another payload."""
        record, source = None, None
        job = self._jobs.get(job_id)
        if job is None:
            record = await self.store.get(job_id)
            job = self._jobs.get(job_id)  # may have come while the store was asked
        if job is not None:
            if job.durable is not None:
                await asyncio.shield(job.durable)
            record, source = job.record, job.source
        if record is None:
            if await self.store.taken(job_id, self._now()):
                raise Conflict(f"job_id: the job {job_id!r} was deleted; its id is free again after 24 hours")
            return None
        if record.digest != digest:
            raise Conflict(f"job_id: {job_id!r} exists with another payload", hint="give every new job a new id")
        return submit_view(record, source or await self.store.source(record.seq) or b"[]")

    def _new_job(self, job_id: str, submission: Submission) -> Job:
        if submission.session_id is not None:
            self.sessions.job_submitted(submission.session_id, self._seq + 1)
        self._seq += 1
        now = self._now()
        record = JobRecord(
            seq=self._seq,
            job_id=job_id,
            digest=submission.digest,
            backend=submission.backend,
            code_type=submission.code_type,
            job_type=submission.job_type,
            job_name=submission.job_name,
            session_id=submission.session_id,
            tags=submission.tags,
            priority=submission.priority,
            status=JobStatus.QUEUED,
            spec=submission.spec,
            created_at=now,
            updated_at=now,
        )
        job = Job(record, submission.source if len(submission.source) <= KEPT_SOURCE else None)
        self._keep(job)
        return job

    async def _admit(self, job: Job, submission: Submission) -> bytes:
        """Store and queue a job; gives the answer, made before the job can start."""
        try:
            await self.store.append(job.record, submission.source, level=submission.level)
        except BaseException:
            self._forget(job)
            if job.record.session_id is not None:
                self._later(self.sessions.job_withdrawn(job.record.session_id, job.record.seq))
            raise
        job.durable = None
        answer = submit_view(job.record, submission.source)
        self._enqueue(self.backends[job.record.backend], job)
        return answer

    async def _find(self, job_id: str) -> tuple[JobRecord, Job | None]:
        """A job by its id, live or stored; raises NotFound."""
        job = self._jobs.get(job_id)
        if job is not None:
            if job.durable is not None:
                await asyncio.shield(job.durable)
            return job.record, job
        record = await self.store.get(job_id)
        if record is None:
            raise NotFound(f"Job: '{job_id}' is not found")
        return record, None

    def _view(self, record: JobRecord, job: Job | None, *, place: bool = True) -> bytes:
        if job is None:
            return status_view(record)
        position = None
        if place and record.status == JobStatus.QUEUED and job.handle is not None:
            position = self.backends[record.backend].heap.position(job.handle)
        return status_view(record, job.progress, position)

    async def get_job_status(self, body: wire.JobBody, _filters: None, _caller: Mapping[str, str]) -> bytes:
        """The state of a job."""
        return self._view(*await self._find(body.job_id))

    async def get_job_results(self, body: wire.JobBody, _filters: None, _caller: Mapping[str, str]) -> bytes:
        """A job with its source and its results."""
        record, job = await self._find(body.job_id)
        source = (job.source if job is not None else None) or await self.store.source(record.seq) or b"[]"
        results = await self.store.results(record.seq) if job is None else None
        return results_view(record, job.progress if job else 100, source, results)

    async def wait_job(self, body: wire.WaitBody, _filters: None, _caller: Mapping[str, str]) -> bytes:
        """The state of a job once it is final or the timeout is over."""
        record, job = await self._find(body.job_id)
        timeout = 30.0 if body.timeout is None else body.timeout
        if job is not None and timeout > 0:
            await self._until_final(job, timeout)
        return self._view(record, job if record.status not in FINAL else None)

    async def _until_final(self, job: Job, timeout: float) -> bool:
        if job.record.status in FINAL:
            return True
        waiter = asyncio.get_running_loop().create_future()
        job.waiters.append(waiter)
        done, _ = await asyncio.wait((waiter,), timeout=timeout)
        if not done and waiter in job.waiters:
            job.waiters.remove(waiter)
        return bool(done)

    async def get_jobs(self, _body: Any, filters: wire.JobFilters | None, _caller: Mapping[str, str]) -> bytes:
        """List jobs, newest first."""
        query = await self._query(filters or wire.JobFilters())
        records = {record.seq: record for record in await self.store.list(self._widened(query))}
        wanted = query.job_status
        for seq in list(records):
            job = self._by_seq.get(seq)
            if job is not None:
                records[seq] = job.record
                if wanted is not None and job.record.status not in wanted:
                    del records[seq]
        chosen = sorted(records, reverse=True)[: query.limit]
        return array([self._view(records[seq], self._by_seq.get(seq), place=False) for seq in chosen])

    @staticmethod
    def _widened(query: JobQuery) -> JobQuery:
        """The store may lag behind memory by one commit in the live states, so all of them are asked for."""
        live = {JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING}
        if query.job_status is None or not live & set(query.job_status):
            return query
        from msgspec.structs import replace

        return replace(query, job_status=tuple(live | set(query.job_status)))

    async def _query(self, filters: wire.JobFilters) -> JobQuery:
        states = filters.job_status
        if states is not None:
            states = [states] if isinstance(states, str) else states
        before = None
        if filters.before is not None:
            before = (await self._find(filters.before))[0].seq
        return JobQuery(
            job_ids=None if filters.job_ids is None else tuple(dict.fromkeys(filters.job_ids)),
            job_status=None if states is None else tuple(JobStatus(state) for state in states),
            backend=filters.backend,
            code_type=filters.code_type.lower() if filters.code_type else None,
            job_type=filters.job_type,
            job_name=filters.job_name,
            tags=None if filters.tags is None else tuple(filters.tags),
            priority=filters.job_priority,
            session_id=filters.session_id,
            created_after=_timestamp("created_after", filters.created_after),
            created_before=_timestamp("created_before", filters.created_before),
            before_seq=before,
            limit=1000 if filters.limit is None else filters.limit,
        )

    async def cancel_jobs(self, body: wire.JobIdsBody, _filters: None, _caller: Mapping[str, str]) -> bytes:
        """Cancel queued jobs, with force also running ones; lists those that are or will be CANCELLED."""
        listed = await self._cancel(dict.fromkeys(body.job_ids), force=bool(body.force))
        return orjson.dumps([{"job_id": job.record.job_id, "job_status": job.record.status} for job in listed])

    async def _cancel(self, job_ids: Iterable[str], *, force: bool) -> list[Job]:
        queued: list[Job] = []
        running: list[Job] = []
        for job_id in job_ids:
            job = self._jobs.get(job_id)
            if job is None or job.ending or job.durable is not None:
                continue
            if job.record.status == JobStatus.QUEUED and self._unqueue(job):
                queued.append(job)
            elif force and job.record.status in (JobStatus.RUNNING, JobStatus.CANCELLING):
                running.append(job)
        changes = [self._end_change(job, JobStatus.CANCELLED, None) for job in queued]
        outside = []
        for job in running:
            if job.record.status == JobStatus.RUNNING:
                changes.append(self._cancelling_change(job))
            if self.backends[job.record.backend].asynchronous:
                outside.append(job)
                changes.append(self._end_change(job, JobStatus.CANCELLED, None))
        if changes:
            await self._settle(changes)
        for job in queued + outside:
            self._retire(job, JobStatus.CANCELLED)
        return queued + running

    def _unqueue(self, job: Job) -> bool:
        """Take a job out of its queue, so that it cannot start any more."""
        backend = self.backends.get(job.record.backend)
        if job.handle is None:
            return backend is None
        taken = backend is not None and backend.heap.cancel(job.handle)
        job.handle = None
        job.ending = taken
        return taken

    def _cancelling_change(self, job: Job) -> Change:
        job.record.status = JobStatus.CANCELLING
        job.record.updated_at = self._now()
        job.cancel[0] = 1
        return Change(
            seq=job.record.seq,
            attempt=job.record.attempt,
            entered_from=(JobStatus.RUNNING,),
            status=JobStatus.CANCELLING,
            at=job.record.updated_at,
        )

    async def delete_jobs(self, body: wire.JobIdsBody, _filters: None, _caller: Mapping[str, str]) -> bytes:
        """Delete every job that is not running, with force also running ones; lists those that are gone."""
        job_ids = dict.fromkeys(body.job_ids)
        if body.force:
            live = [
                job for job in map(self._jobs.get, job_ids) if job is not None and job.record.status != JobStatus.QUEUED
            ]
            await self._cancel([job.record.job_id for job in live], force=True)
            for job in live:
                await self._until_final(job, 5.0)
        doomed: dict[str, int] = {}
        dropped: list[Job] = []
        for job_id in job_ids:
            job = self._jobs.get(job_id)
            if job is None:
                record = await self.store.get(job_id)
                if record is not None and record.status in FINAL:
                    doomed[job_id] = record.seq
            elif (
                job.durable is None and not job.ending and job.record.status == JobStatus.QUEUED and self._unqueue(job)
            ):
                doomed[job_id] = job.record.seq
                dropped.append(job)
        if doomed:
            await self._shielded(self.store.delete(list(doomed.values()), self._now() + DELETED_FOR))
        for job in dropped:
            self._retire(job, JobStatus.DELETED)
        return orjson.dumps([{"job_id": job_id, "job_status": JobStatus.DELETED} for job_id in doomed])

    async def set_job_results(self, body: wire.SetResultsBody, _filters: None, _caller: Mapping[str, str]) -> bytes:
        """Bring the results of a job that runs outside; the first ones win, the same again is fine."""
        record, job = await self._find(body.job_id)
        source = (job.source if job is not None else None) or await self.store.source(record.seq) or b"[]"
        count = len(orjson.loads(source))
        rows, status, num_qubits = read_results(body.results, count)
        backend = self.backends.get(record.backend)
        if (job is None or job.ending) and backend is not None and backend.asynchronous:
            stored = await self.store.results(record.seq) if record.status in FINAL else None
            if stored is not None and same_results(orjson.loads(stored), rows):
                return self._set_answer(record)
        if (
            job is None
            or job.ending
            or record.status != JobStatus.RUNNING
            or backend is None
            or not backend.asynchronous
        ):
            text = f"Job: '{body.job_id}' is not in RUNNING state on an asynchronous backend. Can't set_job_results"
            raise Conflict(text, hint=f"it is {record.status} on backend {record.backend!r}")
        await self._shielded(self.finish([(job, status, rows, num_qubits)]))
        return self._set_answer(record)

    @staticmethod
    def _set_answer(record: JobRecord) -> bytes:
        return orjson.dumps({"job_id": record.job_id, "backend": record.backend, "job_status": record.status})

    async def update_job(self, body: wire.UpdateBody, _filters: None, _caller: Mapping[str, str]) -> bytes:
        """Change a queued job; its place in time stays."""
        record, job = await self._find(body.job_id)
        if job is None or job.ending or record.status != JobStatus.QUEUED or job.handle is None:
            raise Conflict(
                f"Job: '{body.job_id}' is not in QUEUED state. Can't update_job", hint=f"it is {record.status}"
            )
        if body.job_priority is None and body.job_name is None and body.description is None:
            text = "update_job: nothing to change: give job_priority, job_name or description"
            raise InvalidParams(text, errors=[fault(("body",), text, None, "missing")])
        before = (record.priority, record.job_name, record.spec)
        if body.description is not None:
            spec = orjson.loads(record.spec)
            spec["description"] = body.description
            record.spec = orjson.dumps(spec)
        record.job_name = record.job_name if body.job_name is None else body.job_name or None
        if body.job_priority is not None:
            record.priority = body.job_priority
            self.backends[record.backend].heap.update(job.handle, body.job_priority)
        record.updated_at = self._now()
        change = Change(
            seq=record.seq,
            attempt=record.attempt,
            entered_from=(JobStatus.QUEUED,),
            status=JobStatus.QUEUED,
            at=record.updated_at,
            priority=record.priority,
            job_name=body.job_name,
            spec=record.spec,
        )
        try:
            await self._shielded(self.store.apply([change]))
        except Unavailable:
            record.priority, record.job_name, record.spec = before
            if job.handle is not None:
                self.backends[record.backend].heap.update(job.handle, record.priority)
            raise
        return submit_view(record, job.source or await self.store.source(record.seq) or b"[]")

    # ---------------------------------------------------------------------------------------- the door for jobs that run

    def take(self, backend: Backend, most: int) -> list[Job]:
        """Start the next jobs of a backend, in order: one, or several in a row that are small, at most `most`."""
        taken: list[Job] = []
        changes: list[Change] = []
        while len(taken) < most:
            seq = backend.heap.peek()
            if seq is None:
                break
            job = self._by_seq[seq]
            held_for = self.sessions.held_for(backend.device.name)
            if held_for is not None and job.record.session_id != held_for:
                break  # the backend is kept free for the next job of its active session
            small = job.source is not None and b'"sleep":' not in job.record.spec
            if taken and not small:
                break
            backend.heap.pop()
            taken.append(job)
            changes.append(self._start(backend, job))
            if not small:
                break
        if changes:
            _keep(self._store_starts(taken, changes))
        return taken

    def _start(self, backend: Backend, job: Job) -> Change:
        record, now = job.record, self._now()
        before = record.attempt
        job.handle = None
        if record.session_id is not None:
            self._later(self.sessions.job_started(record.session_id, record.seq))
        record.status = JobStatus.RUNNING
        record.attempt += 1
        record.started_at = record.updated_at = now
        backend.running[record.seq] = job
        return Change(
            seq=record.seq,
            attempt=before,
            entered_from=(JobStatus.QUEUED,),
            status=JobStatus.RUNNING,
            at=now,
            next_attempt=record.attempt,
            started_at=now,
        )

    async def _store_starts(self, jobs: list[Job], changes: list[Change]) -> None:
        """A start need not be durable before the run; a store that cannot take it gets it again with the end."""
        try:
            await self.store.apply(changes)
        except Unavailable:
            for job, change in zip(jobs, changes, strict=True):
                job.retry_start = change

    async def source_of(self, job: Job) -> bytes:
        """The JSON array of sources of a live job."""
        return job.source or await self.store.source(job.record.seq) or b"[]"

    async def finish(self, ends: list[tuple[Job, JobStatus, list[dict[str, Any]] | None, int | None]]) -> None:
        """End jobs: state, results and callbacks in one transaction, visible once durable.

        Parameters
        ----------
        ends : list of (job, status, result rows, number of qubits)
            What was CANCELLING ends CANCELLED, whatever the driver still brought.
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
            if job.retry_start is not None:
                changes.append(job.retry_start)
            job.record.num_qubits = num_qubits
            changes.append(self._end_change(job, final, final_rows))
            finals.append((job, final))
        await self._settle(changes)
        for job, final in finals:
            self._retire(job, final)

    def _end_change(self, job: Job, status: JobStatus, rows: list[dict[str, Any]] | None) -> Change:
        record, now = job.record, self._now()
        job.ending = True
        results = None if rows is None else orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
        return Change(
            seq=record.seq,
            attempt=record.attempt,
            entered_from=(JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING),
            status=status,
            at=now,
            ended_at=now,
            num_qubits=record.num_qubits,
            results=results,
            callbacks=_deliveries(record, status, results, now),
        )

    async def _settle(self, changes: list[Change]) -> None:
        """Apply changes that must not be lost: a store that is out of reach is tried again until it takes them."""
        delay = 0.05
        while True:
            try:
                won = await self._shielded(self.store.apply(changes))
            except Unavailable as error:
                log.error("the store does not take results yet: %s", error.message)
                await asyncio.sleep(delay)
                delay = min(2.0, 2 * delay)
                continue
            for change, ok in zip(changes, won, strict=True):
                if not ok:
                    log.error("change to %s of job number %d was refused by the store", change.status, change.seq)
            return

    def _retire(self, job: Job, status: JobStatus) -> None:
        """A final state is durable: show it, wake who waits, and let the job go."""
        job.record.status = status
        job.record.ended_at = job.record.updated_at = self._now()
        self._forget(job)
        for waiter in job.waiters:
            if not waiter.done():
                waiter.set_result(None)
        job.waiters.clear()
        if job.record.session_id is not None:
            self._later(self.sessions.job_ended(job.record.session_id, job.record.seq, status))
        self._ended()

    # --------------------------------------------------------------------------------------------------------- sessions

    async def put_into_effect(self, events: Iterable[Event]) -> None:
        """What a change of sessions means for the queue: other classes, cancelled jobs, a timer; then store it."""
        doomed: list[str] = []
        for event in events:
            backend = self.backends.get(event.backend)
            for seq in event.reclassify:
                job = self._by_seq.get(seq)
                if job is not None and job.handle is not None and backend is not None:
                    backend.heap.update(job.handle, job.record.priority, event.klass)
            doomed += [self._by_seq[seq].record.job_id for seq in event.cancel if seq in self._by_seq]
        self._set_timer()
        if doomed:
            await self._cancel(doomed, force=False)
        for backend in self.backends.values():
            backend.wake()
        await self._store_sessions()

    def _later(self, events: list[Event]) -> None:
        """Put events into effect beside what goes on; where there are none, counters are stored now and then."""
        if events:
            _keep(self.put_into_effect(events))
            return
        self._set_timer()
        if self._note_task is None or self._note_task.done():
            self._note_task = _keep(self._store_sessions_soon())

    async def _store_sessions_soon(self) -> None:
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
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._now()), self._tick)

    def _tick(self) -> None:
        self._later(self.sessions.tick())

    def stop_waiting(self) -> None:
        """Take no more jobs, and answer everyone who waits for one."""
        self.draining = True
        for job in self._jobs.values():
            for waiter in job.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            job.waiters.clear()

    @staticmethod
    async def _shielded(work: Awaitable[T]) -> T:
        """Wait for it; a caller that goes away does not stop it."""
        return await asyncio.shield(asyncio.ensure_future(work))


_KEEP: set[asyncio.Task[None]] = set()  # the loop holds tasks only weakly


def _keep(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run it beside what goes on."""
    task = asyncio.ensure_future(work)
    _KEEP.add(task)
    task.add_done_callback(_let_go)
    return task


def _let_go(task: asyncio.Task[None]) -> None:
    _KEEP.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.error("work beside the calls failed", exc_info=task.exception())


def _deliveries(record: JobRecord, status: JobStatus, results: bytes | None, now: float) -> tuple[CallbackRecord, ...]:
    """The outbox rows of a job that ends."""
    if b'"callbacks":' not in record.spec:
        return ()
    head = orjson.dumps({"job_id": record.job_id, "job_status": status, "backend": record.backend})
    body = head[:-1] + b',"results":' + (results or b"null") + b"}"
    return tuple(
        CallbackRecord(
            webhook_id=f"msg_{record.job_id.replace('-', '')}_{index}",
            seq=record.seq,
            spec=orjson.dumps(callback),
            body=body,
            due_at=now,
        )
        for index, callback in enumerate(orjson.loads(record.spec)["callbacks"])
    )


def _timestamp(field: str, text: str | None) -> float | None:
    """Seconds since the epoch of a date, which is UTC unless it names an offset."""
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        rule = "is not a date like 2025-07-15T14:58:55.283302"
        error = refuse(field, text, rule)
        error.errors[0]["loc"] = ["filters", field]
        raise error from None
