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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from qfast.errors import Conflict, Unavailable
from qfast.job import FINAL, Change, JobQuery, JobRecord, JobStatus
from qfast.jobs import DELETED_FOR, DRAINING_WAIT, MAX_ATTEMPTS, PATIENCE, Jobs, beside, shielded
from qfast.live import Backend, Job
from qfast.plugins import SharedStore, Store
from qfast.rows import encoded
from qfast.shared_sessions import SharedSessions
from qfast.views import submit_view

log = logging.getLogger("qfast.nodes")

POLL_SECONDS = 1.0  # between looks for what a lost notice would have told
COUNT_SECONDS = 10.0  # between counts of all live jobs
TRIES = 8  # of a command on jobs that change meanwhile
RETRY_SECONDS = 5.0  # before jobs of an ended node that nobody could take are tried again


class SharedJobs(SharedSessions, Jobs):
    """The live jobs of a node; see `Jobs` for what the methods promise."""

    store: SharedStore

    async def open(self) -> None:
        """Begin to take part: what ended nodes left comes first, in its old places, and all else by claims."""
        self._claiming: set[str] = set()  # backends, and "" for the jobs of our sessions
        self._again: set[str] = set()  # claimed from once more when that is done
        self._watched: dict[str, tuple[int, list[asyncio.Future[None]]]] = {}  # id: sequence, who waits for its end
        self._news: set[int] | None = set()  # sequences to look at; None: everything
        self._fresh = self._wishes = False  # jobs, and wishes, may have come
        self._looking = False
        self._adopting = False
        self._tried: dict[int, float] = {}  # ended nodes, and when we last took what we could of theirs
        self._live = sum((await self.store.live_count()).values())
        self.store.listen(self._hear, self._fenced, self._census)
        self._census([], await self.store.left())
        while self._adopting:
            await asyncio.sleep(0.005)
        self._poll_task = beside(self._poll())

    # ------------------------------------------------------------------------------------------- claims

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

    # --------------------------------------------------------------------------- notices, and looking all the same

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

    async def _records(self, job_ids: Iterable[str]) -> list[JobRecord]:
        chosen = tuple(job_ids)
        return await self.store.list(JobQuery(job_ids=chosen, limit=len(chosen))) if chosen else []

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
