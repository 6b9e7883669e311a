"""What starts and what ends a job: every change of a job's state on the way through this server's backends.

This is the door through which a job starts and ends, whether the engine or remote hardware ends it. A change is durable
before anyone sees it, except a start, which a crash may take back.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from qfast.beside import beside, shielded
from qfast.errors import Unavailable, WorkerCrashed
from qfast.held import HeldJobs
from qfast.job import Change, JobStatus
from qfast.live import Backend, Job, deliveries
from qfast.rows import encoded, failed_row
from qfast.sessions import Event

log = logging.getLogger("qfast.jobs")

MAX_ATTEMPTS = 10  # runs begun before a job that takes the server down with it is given up

# job, final state, JSON array of result rows, number of qubits
End = tuple[Job, JobStatus, bytes | None, int | None]


class RunningJobs(HeldJobs, ABC):
    """The live jobs, with their starts and their ends."""

    @abstractmethod
    def _later(self, events: list[Event]) -> None:
        """Put what a start or an end means for its session into effect, beside what goes on."""

    def take(self, backend: Backend, most: int, *, only_small: bool = False) -> list[Job]:
        """Start the next jobs of a backend, in order: one, or several in a row that are small, at most `most`."""
        taken: list[Job] = []
        changes: list[Change] = []
        while len(taken) < most:
            seq = backend.heap.peek()
            if seq is None:
                break
            job = self.by_seq.get(seq)
            held_for = self.sessions.held_for(backend.device.name)
            if held_for is not None and (job is None or job.record.session_id != held_for):
                break  # the backend is kept free for the next job of its active session
            if job is None:
                self.rouse_first(backend)
                break
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
            job = self.by_seq.get(seq)
            if job is None:
                break  # it sleeps, and is woken when it is its turn
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
