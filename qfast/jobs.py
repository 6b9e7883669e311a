"""The live jobs of a server that has its store alone: found again at the start, and taken in one by one.

A job's way lies in four rooms, each built on the one before: `held` (index and queues), `ends` (starts and ends),
`session_queue` (what sessions do to the queue) and `commands` (cancel, delete, update, results from outside). All methods
run on the event loop's thread.
"""

from __future__ import annotations

import logging

import orjson

from qfast import held
from qfast.commands import CommandedJobs
from qfast.ends import MAX_ATTEMPTS
from qfast.job import Change, JobStatus
from qfast.live import Job
from qfast.sessions import Sessions, SessionState
from qfast.views import submit_view

log = logging.getLogger("qfast.jobs")


PLACES = 10_000  # of queued jobs that are read at a time at the start


class Jobs(CommandedJobs):
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

    async def open(self) -> None:
        """Find every job of the last run; what had begun and not ended goes back to its old place in the queue."""
        self.last_seq = await self.store.last_seq()
        changes: list[Change] = []
        noted = await self.store.note("sessions")
        if noted is not None:
            self.sessions = Sessions.from_bytes(noted, self.now)
        await self._find_places()
        for record in await self.store.load_live(waiting=False):
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

    async def _find_places(self) -> None:
        """Put the jobs that wait into their queues; only their places come to memory."""
        last = 0
        while rows := await self.store.queued(last, PLACES):
            homeless: list[int] = []
            for seq, name, priority, tenant in rows:
                backend = self.backends.get(name)
                self._live_of[tenant] += 1
                if backend is None:
                    homeless.append(seq)
                else:
                    self.dormant[seq] = backend.heap.push(priority, seq, seq)
            for record, _ in await self.store.load(homeless, 0):
                log.warning("job %s waits for backend %r, which is not configured", record.job_id, record.backend)
                self.by_id[record.job_id] = self.by_seq[record.seq] = Job(record, None)
            last = rows[-1][0]

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
        backend = self.backends[job.record.backend]
        self.enqueue(backend, job)
        if len(backend.heap) > held.AWAKE:
            self.doze(job)
        session_id = job.record.session_id
        if session_id is not None and self.sessions.get(session_id).state is SessionState.CLOSED:
            await self.cancel([job.record.job_id], force=False)  # it was closed while the job was on its way
        return answer
