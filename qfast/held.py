"""The live jobs that this server holds: in memory by id and by number, in their backends' queues, and found by who asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from qfast.beside import beside
from qfast.errors import NotFound, Unavailable
from qfast.events import Events
from qfast.job import FINAL, JobQuery, JobRecord, JobStatus
from qfast.live import KEPT_SOURCE, Backend, Job, Parsed
from qfast.params import did_you_mean, fault
from qfast.plugins import Store
from qfast.sessions import ORDINARY_CLASS, Sessions
from qfast.views import status_view

log = logging.getLogger("qfast.jobs")

RECENT_BYTES = 16 << 10  # of a spec, which callbacks can make megabytes long; longer ones are read from the store
RECENT = 10_000  # ended jobs whose status is answered from memory
AWAKE = 4096  # jobs in a queue beyond which a new one sleeps: only its place is in memory, the rest in the store
ROUSED = 256  # jobs that are woken at a time when a queue has come to them: 5 ms of the loop's time
LOOKED_UP = 1000  # ids that are looked up at a time: between two such looks others have their turn
DRAINING_WAIT = 0.5  # seconds that a stopping server lets a caller wait: a request under way delays its end


class HeldJobs:
    """The index of the live jobs and their queues; no state changes here. The parameters are those of `jobs.Jobs`."""

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
        self.events.rows_of = self._rows_of
        self.by_id: dict[str, Job] = {}
        self.by_seq: dict[int, Job] = {}
        self._live_of: Counter[str] = Counter()
        self.dormant: dict[int, int] = {}  # jobs in a queue of which nothing else is in memory: sequence, handle
        self._rousing: set[str] = set()  # backends whose next jobs are on their way from the store
        self.last_seq = 0
        self.parsed = Parsed()
        self.recent: dict[str, tuple[JobRecord, bytes]] = {}  # jobs that ended lately, with their encoded status
        self._ended = ended
        self._clock = clock
        self._last_time = 0.0

    def now(self) -> float:
        """The time, never going back: dates of one server order its events."""
        self._last_time = max(self._last_time, self._clock())
        return self._last_time

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

    def doze(self, job: Job) -> None:
        """Keep nothing but its place of a job that waits in a long queue, and for which nobody waits."""
        if job.handle is not None and job.record.session_id is None and not job.waiters:
            self.dormant[job.record.seq] = job.handle
            del self.by_id[job.record.job_id], self.by_seq[job.record.seq]

    def rouse(self, record: JobRecord, source: bytes | None = None) -> Job | None:
        """The live job of that stored record, held in memory from now on; None when it is not live."""
        handle = self.dormant.pop(record.seq, None)
        if handle is None:
            return self.by_seq.get(record.seq)
        job = self.by_id[record.job_id] = self.by_seq[record.seq] = Job(record, source)
        job.handle = handle
        return job

    async def look_up(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """The stored records of jobs that are not held; those among them that sleep are woken."""
        asked = [job_id for job_id in job_ids if job_id not in self.by_id]
        found: dict[str, JobRecord] = {}
        for start in range(0, len(asked), LOOKED_UP):
            if start:
                await asyncio.sleep(0)
            some = tuple(asked[start : start + LOOKED_UP])
            for record in await self.store.list(JobQuery(job_ids=some, limit=len(some))):
                found[record.job_id] = record
                if record.status == JobStatus.QUEUED:
                    self.rouse(record)
        return found

    def rouse_first(self, backend: Backend) -> None:
        """Wake the jobs at the head of a queue, and then the engine."""
        if backend.device.name not in self._rousing:
            self._rousing.add(backend.device.name)
            beside(self._rouse_first(backend))

    async def _rouse_first(self, backend: Backend) -> None:
        try:
            seqs = [seq for seq in backend.heap.first(ROUSED) if seq in self.dormant]
            for record, source in await self.store.load(seqs, KEPT_SOURCE):
                self.rouse(record, source)
            for seq in seqs:
                if (handle := self.dormant.get(seq)) is not None:
                    log.error("job number %d stands in the queue and not in the store", seq)
                    backend.heap.cancel(handle)
                    del self.dormant[seq]
        except Unavailable as error:
            log.error("the store gives no jobs yet: %s", error.message)
            await asyncio.sleep(1.0)
        finally:
            self._rousing.discard(backend.device.name)
        backend.wake()

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

    def outbox_grew(self) -> None:
        """Deliveries were put into the outbox."""
        self._ended()

    def put_back(self, job: Job) -> None:
        """A job that was taken out of its queue to be deleted, which failed, goes back to its old place."""
        job.ending = False
        backend = self.backends.get(job.record.backend)
        if backend is not None:
            self.enqueue(backend, job)

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

    def refill(self, backend: Backend) -> None:
        """Get more jobs for a backend's queue, where they come by claims."""

    def _rows_of(self, job_id: str) -> list[dict[str, Any]]:
        """The results of a job that runs here, as far as there are some."""
        job = self.by_id.get(job_id)
        return [] if job is None else job.rows

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
            return job.record, None if job.record.seq in self.dormant else job
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

    async def source_of(self, job: Job) -> bytes:
        """The JSON array of sources of a live job."""
        return job.source or await self.store.source(job.record.seq) or b"[]"

    async def position(self, record: JobRecord, job: Job | None) -> int | None:
        """How many jobs of its backend go before a queued one; None where that is not known."""
        handle = self.dormant.get(record.seq) if job is None else job.handle
        if handle is None or record.status != JobStatus.QUEUED:
            return None
        return self.backends[record.backend].heap.position(handle)

    async def counts(self) -> tuple[int, int]:
        """Jobs that are queued, and jobs that run."""
        backends = self.backends.values()
        return sum(len(backend.heap) for backend in backends), sum(len(backend.running) for backend in backends)

    def live_count(self) -> int:
        """Jobs that are not final."""
        return len(self.by_id) + len(self.dormant)

    async def live_of(self, tenant: str, most: int) -> int:
        """Jobs of a tenant that are not final; counted up to `most`."""
        return min(self._live_of[tenant], most)

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

    async def wait(self, job_id: str, timeout: float) -> tuple[JobRecord, Job | None]:
        """A job once it is final or the timeout is over; raises NotFound."""
        record, job = await self.find(job_id)
        if job is None and timeout > 0 and (job := self.rouse(record)) is not None:
            record = job.record
        if job is not None and timeout > 0:
            await self.until_final(job, timeout)
        return record, job

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

    def stop_waiting(self) -> None:
        """Take no more jobs, and answer everyone who waits for one."""
        self.draining = True
        self.events.close()
        for job in self.by_id.values():
            for waiter in job.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            job.waiters.clear()
