"""Commands on live jobs: cancel, delete, update, and the results that come from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from qfast.beside import PATIENCE, promptly, shielded
from qfast.errors import Unavailable
from qfast.job import FINAL, Change, JobRecord, JobStatus
from qfast.live import Job
from qfast.rows import encoded
from qfast.session_queue import SessionQueue

DELETED_FOR = 86_400.0  # seconds during which a deleted job's id stays taken


class CommandedJobs(SessionQueue):
    """The live jobs, with what callers may do to them."""

    async def cancel(self, job_ids: Iterable[str], *, force: bool) -> list[JobRecord]:
        """Cancel queued jobs, with `force` also running ones; gives those that are or will be CANCELLED."""
        queued: list[Job] = []
        running: list[Job] = []
        job_ids = list(job_ids)
        if self.dormant:
            await self.look_up(job_ids)
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

    async def delete(self, job_ids: Iterable[str], *, force: bool) -> list[str]:
        """Delete every job that is not running, with `force` also running ones, which are cancelled before."""
        job_ids = list(job_ids)
        if force:
            await self._end_running(job_ids)
        stored = await self.look_up(job_ids)
        doomed: dict[str, JobRecord] = {}
        dropped: list[Job] = []
        for job_id in job_ids:
            live = self.by_id.get(job_id)
            if live is None:
                record = stored.get(job_id)
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
        job = self.rouse(record) if job is None else job
        if job is None or job.ending or job.handle is None:
            return None
        record = job.record
        if record.status != JobStatus.QUEUED:
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
