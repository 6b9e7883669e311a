"""The live jobs of one of several servers (nodes) that share a store: it holds what it has claimed, and the store knows all.

::

    QUEUED --claim: owner = this node's epoch--> QUEUED here --start: by the owner, attempt + 1--> RUNNING --end--> final
       ^------------ handed back, by the owner -------'                                              |
       ^------- by whoever adopts the jobs of a node that is dead, or was told so -------------------'

Every arrow is a compare-and-set on (status, attempt), and on the owner where only that one may take it. Commands on any
job (cancel, update, delete, results from outside) are compare-and-sets too, made by the node that was asked; the owner is
told and drops what it has lost. What callers read comes from the store, so all nodes tell the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from qfast.beside import PATIENCE, beside, shielded
from qfast.commands import DELETED_FOR
from qfast.errors import Conflict
from qfast.held import DRAINING_WAIT
from qfast.job import FINAL, Change, JobQuery, JobRecord, JobStatus
from qfast.jobs import Jobs
from qfast.live import Backend, Job
from qfast.notices import NoticedJobs
from qfast.plugins import Store
from qfast.rows import encoded
from qfast.views import submit_view

log = logging.getLogger("qfast.nodes")

TRIES = 8  # of a command on jobs that change meanwhile


class SharedJobs(NoticedJobs):
    """The live jobs of a node; see `Jobs` for what the methods promise."""

    async def open(self) -> None:
        """Begin to take part: what ended nodes left comes first, in its old places, and all else by claims."""
        self._live = sum((await self.store.live_count()).values())
        self.store.listen(self._hear, self._fenced, self._census)
        self._census([], await self.store.left())
        while self._adopting:
            await asyncio.sleep(0.005)
        self._poll_task = beside(self._poll())

    # -------------------------------------------------------------------------------------------- what callers ask

    async def earlier(self, job_id: str) -> tuple[JobRecord, bytes | None] | None:
        """The job that was submitted under this id, by any node."""
        job = self.by_id.get(job_id)
        if job is not None and job.durable is not None:
            try:
                await asyncio.shield(job.durable)
            except Conflict:  # another node was first
                log.debug("job %s came by another node", job_id)
        record = await self.store.get(job_id)
        return None if record is None else (record, None)

    def number_and_keep(self, job: Job) -> None:
        """Hold a new job while it is on its way to the disk."""
        self.by_id[job.record.job_id] = job  # the store gives the number

    async def admit(self, job: Job, source: bytes, level: int) -> bytes:
        """Store a new job, for any node to claim; gives the answer."""
        asyncio.get_running_loop().call_soon(self._claim_with, job)
        try:
            await self.store.append(job.record, source, level=level)
        finally:
            if self.by_id.get(job.record.job_id) is job:
                del self.by_id[job.record.job_id]
            job.durable = None
        self._live += 1
        return submit_view(job.record, source)

    def _claim_with(self, job: Job) -> None:
        """Claim in the flush that stores a new job, so that it can start at once."""
        if job.record.session_id is None:
            self.refill(self.backends[job.record.backend])
        else:
            self.refill_sessions()

    def live_count(self) -> int:
        """Jobs of all nodes that are not final, as last counted."""
        return self._live

    async def live_of(self, tenant: str, most: int) -> int:
        """Jobs of a tenant on all nodes that are not final; counted up to `most`."""
        live = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING)
        return len(await self.store.list(JobQuery(tenant=tenant, job_status=live, limit=most)))

    async def counts(self) -> tuple[int, int]:
        """Jobs of all nodes that are queued, and that run."""
        live = await self.store.live_count()
        queued = live.pop(JobStatus.QUEUED, 0)
        return queued, sum(live.values())

    async def find(self, job_id: str) -> tuple[JobRecord, Job | None]:
        """A job as the store has it, and what we know of it when we hold it; raises NotFound."""
        record = await self.store.get(job_id)
        if record is None:
            raise self.unknown(job_id)
        return record, self.by_seq.get(record.seq)

    async def position(self, record: JobRecord, job: Job | None) -> int | None:
        """How many jobs of its backend go before a queued one, where that is known."""
        if job is not None and job.handle is not None:
            return await super().position(record, job)
        if record.session_id is not None or record.backend not in self.backends:
            return None
        before = await self.store.position(record)
        return None if before is None else before + len(self.backends[record.backend].heap)

    async def listed(self, query: JobQuery) -> list[tuple[JobRecord, Job | None]]:
        """The matching jobs, newest first."""
        return [(record, self.by_seq.get(record.seq)) for record in await self.store.list(query)]

    async def wait(self, job_id: str, timeout: float) -> tuple[JobRecord, Job | None]:
        """A job once it is final or the timeout is over, whoever runs it; raises NotFound."""
        record, job = await self.find(job_id)
        end = time.monotonic() + (min(timeout, DRAINING_WAIT) if self.draining else timeout)
        while record.status not in FINAL and (left := end - time.monotonic()) > 0:
            waiter = asyncio.get_running_loop().create_future()
            self._watched.setdefault(job_id, (record.seq, []))[1].append(waiter)
            record, job = await self.find(job_id)  # it may have ended before we watched
            if record.status not in FINAL:
                await asyncio.wait((waiter,), timeout=left)
                record, job = await self.find(job_id)
            entry = self._watched.get(job_id)
            if entry is not None and waiter in entry[1]:
                entry[1].remove(waiter)
                if not entry[1]:
                    del self._watched[job_id]
            if self.draining:
                break
        return record, job

    # ----------------------------------------------------------------------------------------- what callers do

    async def cancel(self, job_ids: Iterable[str], *, force: bool) -> list[JobRecord]:
        """Cancel jobs of any node; gives those that are or will be CANCELLED."""
        order = list(job_ids)
        listed: dict[str, JobRecord] = {}
        left = order
        for _ in range(TRIES):
            changes: list[Change] = []
            chosen: list[JobRecord] = []
            for record in await self._records(left):
                if record.status == JobStatus.CANCELLING and force:
                    listed[record.job_id] = record
                elif change := self._cancel_change(record, force=force):
                    changes.append(change)
                    chosen.append(record)
            won = await shielded(self.store.apply(changes)) if changes else []
            for record, change, ok in zip(chosen, changes, won, strict=True):
                if ok:
                    record.status, record.updated_at, record.ended_at = change.status, change.at, change.ended_at
                    listed[record.job_id] = record
                    self._see(record.job_id, record)
            left = [record.job_id for record, ok in zip(chosen, won, strict=True) if not ok]
            if not left:
                break
        if listed:
            self._ended()
        return [listed[job_id] for job_id in order if job_id in listed]

    def _cancel_change(self, record: JobRecord, *, force: bool) -> Change | None:
        """What cancels a job in the state that it has; None when nothing does."""
        backend = self.backends.get(record.backend)
        outside = backend is None or backend.asynchronous
        if record.status == JobStatus.QUEUED or (force and record.status == JobStatus.RUNNING and outside):
            change = self._end_change(Job(record, None), JobStatus.CANCELLED, None)
            change.entered_from = (record.status,)
            return change
        if force and record.status == JobStatus.RUNNING:
            return Change(
                seq=record.seq,
                attempt=record.attempt,
                entered_from=(JobStatus.RUNNING,),
                status=JobStatus.CANCELLING,
                at=self.now(),
            )
        return None

    async def delete(self, job_ids: Iterable[str], *, force: bool) -> list[str]:
        """Delete jobs of any node that are not running, with `force` also running ones."""
        order = list(job_ids)
        if force:
            running = [r.job_id for r in await self._records(order) if r.status not in (JobStatus.QUEUED, *FINAL)]
            await self.cancel(running, force=True)
            await asyncio.gather(*(self.wait(job_id, PATIENCE) for job_id in running), return_exceptions=True)
        free = {r.seq: r for r in await self._records(order) if r.status == JobStatus.QUEUED or r.status in FINAL}
        if not free:
            return []
        gone = set(await shielded(self.store.delete(list(free), self.now() + DELETED_FOR)))
        deleted = {record.job_id for seq, record in free.items() if seq in gone}
        for job_id in deleted:
            self._see(job_id, None)
        for seq in gone:
            self._tell_deleted(free[seq])
        return [job_id for job_id in order if job_id in deleted]

    async def bring(
        self, record: JobRecord, job: Job | None, end: tuple[list[dict[str, Any]], JobStatus, int | None]
    ) -> tuple[JobRecord, bool]:
        """End a job that runs outside, whichever node has it; tells whether these were the first results."""
        rows, status, num_qubits = end
        record.num_qubits = num_qubits
        change = self._end_change(Job(record, None), status, encoded(rows))
        change.entered_from = (JobStatus.RUNNING,)
        (won,) = await shielded(self.store.apply([change]))
        now, _ = await self.find(record.job_id)
        if won:
            self._see(now.job_id, now)
            self._ended()
        return now, won

    async def update(
        self, record: JobRecord, job: Job | None, *, priority: int | None, name: str | None, spec: bytes | None
    ) -> JobRecord | None:
        """Change a queued job of any node; None when it is not queued any more."""
        change = self._update_change(record, name, spec)
        change.at, change.priority = self.now(), priority
        (won,) = await shielded(self.store.apply([change]))
        if not won:
            return None
        now, _ = await self.find(record.job_id)
        self._see(now.job_id, now)
        return now

    def retire(self, job: Job, status: JobStatus) -> None:
        """A final state is durable: show it, wake who waits, and let the job go."""
        super().retire(job, status)
        self._live = max(0, self._live - 1)
        self._wake_waiters(job.record.job_id)

    def _remember(self, record: JobRecord) -> None:
        """Nothing: another node may delete it, and only the store would know."""

    def stop_waiting(self) -> None:
        """Take no more jobs, answer everyone who waits, and hand back what has not begun."""
        super().stop_waiting()
        self._poll_task.cancel()
        for job_id in list(self._watched):
            self._wake_waiters(job_id)
        self._hand_back_all()


def jobs_of(store: Store, backends: Mapping[str, Backend], **options: Any) -> Jobs:
    """The live jobs for a store: those of a node where several may share it."""
    return (SharedJobs if getattr(store, "shared", False) else Jobs)(store, backends, **options)
