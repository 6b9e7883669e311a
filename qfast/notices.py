"""What a node hears of other nodes' changes, and its looks at the store in case that it heard nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from qfast.beside import beside
from qfast.claims import ClaimedJobs
from qfast.errors import Unavailable
from qfast.job import FINAL, JobQuery, JobRecord, JobStatus

log = logging.getLogger("qfast.nodes")

POLL_SECONDS = 1.0  # between looks for what a lost notice would have told
COUNT_SECONDS = 10.0  # between counts of all live jobs


class NoticedJobs(ClaimedJobs):
    """The part of a node's jobs that keeps up with what other nodes do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._watched: dict[str, tuple[int, list[asyncio.Future[None]]]] = {}  # id: sequence, who waits for its end
        self._news: set[int] | None = set()  # sequences to look at; None: everything
        self._fresh = self._wishes = False  # jobs, and wishes, may have come
        self._looking = False
        self._live = 0  # jobs of all nodes that are not final, as last counted

    def _hear(self, news: Sequence[Any]) -> None:
        """Another node has changed something: jobs by their sequences, backends with new jobs by name, or much."""
        much = "*" in news
        if much:
            self._news = None
        elif self._news is not None:
            self._news.update(item for item in news if isinstance(item, int))
        self._fresh |= much or any(name in self.backends for name in news if isinstance(name, str))
        self._wishes |= much
        if not self._looking:
            self._looking = True
            beside(self._look_round())

    async def _look_round(self) -> None:
        """Look at all that was told; what is told meanwhile waits for the next look."""
        try:
            while self._news is None or self._news or self._fresh or self._wishes:
                seqs, fresh, wishes = self._news, self._fresh, self._wishes
                self._news, self._fresh, self._wishes = set(), False, False
                if fresh:
                    await self._claim_what_waits()
                if seqs is None or seqs:
                    await self._look(seqs)
                if wishes:
                    await self.heed_wishes()
        except Unavailable as error:
            log.debug("a look at the store failed: %s", error.message)
        finally:
            self._looking = False

    async def _claim_what_waits(self) -> None:
        hungry = [name for name, backend in self.backends.items() if backend.appetite() > len(backend.heap)]
        sessions = self.own_sessions()
        if hungry or sessions:
            for key in await self.store.waiting(hungry, sessions):
                self._refill(key)

    async def _look(self, seqs: set[int] | None) -> None:
        """See what became of the jobs that we hold, or that somebody waits for, or follows."""
        wanted = {job.record.job_id for seq, job in self.by_seq.items() if seqs is None or seq in seqs}
        wanted |= {job_id for job_id, (seq, _) in self._watched.items() if seqs is None or seq in seqs}
        wanted |= self.events.followed()
        if not wanted:
            return
        records = {record.job_id: record for record in await self._records(wanted)}
        for job_id in wanted:
            self._see(job_id, records.get(job_id))

    def _see(self, job_id: str, record: JobRecord | None) -> None:
        """Draw the conclusions from a job as the store has it; None: it was deleted."""
        job = self.by_id.get(job_id)
        if job is not None and job.durable is None and not job.ending:
            mine = job.record
            if record is None or record.status in FINAL or record.attempt > mine.attempt:
                self._disown(job)
            elif record.status == JobStatus.CANCELLING and mine.status == JobStatus.RUNNING:
                mine.status = JobStatus.CANCELLING
                job.cancel[0] = 1
            elif record.status == JobStatus.QUEUED and job.handle is not None:
                if record.priority != mine.priority:
                    self.backends[mine.backend].heap.update(job.handle, record.priority)
                mine.priority, mine.job_name, mine.spec = record.priority, record.job_name, record.spec
        if record is not None:
            self.events.catch_up(record)
        if record is None or record.status in FINAL:
            self._wake_waiters(job_id)

    def _wake_waiters(self, job_id: str) -> None:
        for waiter in self._watched.pop(job_id, (0, []))[1]:
            if not waiter.done():
                waiter.set_result(None)

    async def _poll(self) -> None:
        """Notices may get lost; nothing may depend on them."""
        counted = 0.0
        while not self.draining:
            await asyncio.sleep(POLL_SECONDS)
            try:
                for backend in self.backends.values():  # a job may wait behind one that takes longer than was thought
                    online = backend.device.status == "online"
                    if not online or self.store.others:
                        self._hand_back(backend, backend.appetite() if online else 0)
                await self._claim_what_waits()
                if self.store.others:
                    await self._look(None)
                    await self.heed_wishes()
                if time.monotonic() - counted >= COUNT_SECONDS:
                    self._live, counted = sum((await self.store.live_count()).values()), time.monotonic()
            except Unavailable:
                continue
            except Exception:
                log.exception("a look at the store failed")

    async def _records(self, job_ids: Iterable[str]) -> list[JobRecord]:
        chosen = tuple(job_ids)
        return await self.store.list(JobQuery(job_ids=chosen, limit=len(chosen))) if chosen else []
