"""What a node holds: claimed from the store, handed back, lost to others, and taken over from nodes that have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import orjson

from qfast.beside import beside
from qfast.ends import MAX_ATTEMPTS
from qfast.errors import Unavailable
from qfast.job import Change, JobRecord, JobStatus
from qfast.live import Backend, Job
from qfast.shared_sessions import SharedSessions

log = logging.getLogger("qfast.nodes")

RETRY_SECONDS = 5.0  # before jobs of an ended node that nobody could take are tried again


class ClaimedJobs(SharedSessions):
    """The part of a node's jobs that claims and takes over."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._claiming: set[str] = set()  # backends, and "" for the jobs of our sessions
        self._again: set[str] = set()  # claimed from once more when that is done
        self._adopting = False
        self._tried: dict[int, float] = {}  # ended nodes, and when we last took what we could of theirs

    def refill(self, backend: Backend) -> None:
        """Claim what the backend could begin soon; more would keep it from other nodes, and from better jobs to come."""
        name = backend.device.name
        appetite = backend.appetite()
        room = appetite - len(backend.heap)
        if room <= appetite // 2 or self.draining or backend.device.status != "online":
            return
        if name in self._claiming:
            self._again.add(name)
            return
        self._claiming.add(name)
        beside(self._claim(name, name, room))

    def refill_sessions(self) -> None:
        """Claim every job of our sessions: nobody else may run them."""
        if self.draining or not self.own_sessions():
            return
        if "" in self._claiming:
            self._again.add("")
            return
        self._claiming.add("")
        beside(self._claim("", self.own_sessions(), 1000))

    async def _claim(self, key: str, place: str | Sequence[str], most: int) -> None:
        rows: Sequence[tuple[JobRecord, bytes | None]] = ()
        try:
            epoch, rows = await self.store.claim(place, most)
            if epoch == self.store.epoch:
                self._take_in(epoch, rows)
        except Unavailable as error:
            log.info("no jobs can be claimed: %s", error.message)
        finally:
            self._claiming.discard(key)
        if key in self._again or len(rows) == most:
            self._again.discard(key)
            self._refill(key)

    def _refill(self, key: str) -> None:
        if key == "":
            self.refill_sessions()
        elif key in self.backends:
            self.refill(self.backends[key])

    def _take_in(self, epoch: int, rows: Sequence[tuple[JobRecord, bytes | None]]) -> None:
        late: list[Job] = []
        for record, source in rows:
            job = Job(record, source)
            job.epoch = epoch
            self.keep(job)
            if record.session_id is not None and not self.sessions.job_arrived(record.session_id, record.seq):
                late.append(job)
            else:
                self.enqueue(self.backends[record.backend], job)
        if late:
            beside(self._end_doomed(late))
        if self.draining:
            self._hand_back_all()

    def _hand_back(self, backend: Backend, keep: int, *, also_of_sessions: bool = False) -> None:
        """Give claimed jobs that have not begun, except the first few, to whoever wants them, as they were."""
        changes = []
        for seq in backend.heap.snapshot()[keep:]:
            job = self.by_seq.get(seq)
            if job is None or job.handle is None or (job.record.session_id is not None and not also_of_sessions):
                continue
            backend.heap.cancel(job.handle)
            job.ending, job.handle = True, None
            self.forget(job)
            changes.append(
                Change(
                    seq=job.record.seq,
                    attempt=job.record.attempt,
                    entered_from=(JobStatus.QUEUED,),
                    status=JobStatus.QUEUED,
                    at=job.record.updated_at,
                    owner=job.epoch,
                    release=True,
                )
            )
        if changes:
            beside(self._release(changes))

    def _hand_back_all(self) -> None:
        for backend in self.backends.values():
            self._hand_back(backend, 0, also_of_sessions=True)

    async def _release(self, changes: list[Change]) -> None:
        try:
            await self.store.apply(changes)
        except Unavailable as error:  # then they go with the end of our tenure
            log.warning("claimed jobs are not handed back: %s", error.message)

    async def _store_starts(self, jobs: list[Job], changes: list[Change]) -> None:
        try:
            won = await self.store.apply(changes)
        except Unavailable as error:
            log.warning("the store does not take starts: %s", error.message)
            return
        for job, ok in zip(jobs, won, strict=True):
            if not ok and not job.ending:  # cancelled or deleted by another node
                self._disown(job)

    def _disown(self, job: Job) -> None:
        """A job is not ours any more: stop its run, and say nothing about its end."""
        job.ending = True
        job.cancel[0] = 1
        backend = self.backends.get(job.record.backend)
        if job.handle is not None and backend is not None:
            backend.heap.cancel(job.handle)
            job.handle = None
        self.forget(job)
        if job.record.session_id is not None:
            self._later(self.sessions.job_ended(job.record.session_id, job.record.seq, JobStatus.DELETED))

    async def _finish(self, changes: list[Change], finals: list[tuple[Job, JobStatus]]) -> None:
        refused = {change.seq for change in await self.settle(changes)}
        for job, final in finals:
            if job.record.seq not in refused:
                self.retire(job, final)
            elif await self._end_cancelled(job):
                self.retire(job, JobStatus.CANCELLED)
            else:
                self._disown(job)

    async def _end_cancelled(self, job: Job) -> bool:
        """End a job whose end was refused because a cancel came first; tells whether that was so."""
        change = self._end_change(job, JobStatus.CANCELLED, None)
        change.entered_from = (JobStatus.CANCELLING,)
        return not await self.settle([change])

    # ------------------------------------------------------------------------------------- nodes that end

    def _census(self, dead: Sequence[int], left: Sequence[int]) -> None:
        now = time.monotonic()
        left = [epoch for epoch in left if now - self._tried.get(epoch, -RETRY_SECONDS) >= RETRY_SECONDS]
        if (dead or left) and not self._adopting and not self.draining:
            self._adopting = True
            self._tried.update(dict.fromkeys(left, now))
            beside(self._adopt(dead, left))

    async def _adopt(self, dead: Sequence[int], left: Sequence[int]) -> None:
        """Take over what ended nodes held: queued jobs keep their places, what ran runs again, what is out stays out."""
        if dead:
            log.warning("%d nodes are dead: taking over their jobs", len(dead))
        try:
            epoch, records, sessions = await self.store.adopt(dead, left, list(self.backends))
            sessions = [await self.recounted(value) for value in sessions]
            if epoch != self.store.epoch:
                return
            self.take_over_sessions(sessions)
            changes: list[Change] = []
            ended: list[tuple[Job, JobStatus]] = []
            for record in records:
                job = Job(record, None)
                job.epoch = epoch
                backend = self.backends[record.backend]
                outside = backend.asynchronous and not orjson.loads(record.spec)["dry_run"]
                if record.status == JobStatus.CANCELLING:
                    changes.append(self._end_change(job, JobStatus.CANCELLED, None))
                    ended.append((job, JobStatus.CANCELLED))
                elif record.status == JobStatus.RUNNING and outside:
                    self.keep(job)
                    backend.running[record.seq] = job
                    backend.resume(job)
                elif record.status == JobStatus.RUNNING and record.attempt >= MAX_ATTEMPTS:
                    changes.append(self._give_up(job))
                    ended.append((job, JobStatus.FAILED))
                else:
                    changes.append(self._requeue_change(job))
            if changes:
                await self._finish(changes, ended)
            self.refill_sessions()
            for backend in self.backends.values():
                self.refill(backend)
        except Unavailable as error:
            log.warning("the jobs of ended nodes are not taken over yet: %s", error.message)
            self._tried.clear()
        finally:
            self._adopting = False

    def _fenced(self) -> None:
        """Others took us for dead and have our jobs: begin anew with nothing."""
        for job in list(self.by_seq.values()):
            job.ending = True
            job.cancel[0] = 1
            job.handle = None
            self.forget(job)
        for backend in self.backends.values():
            backend.heap.clear()
        self.lose_sessions()
        self._ended()
