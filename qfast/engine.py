"""The loop: take jobs from a backend's queue, run them in that backend's threads, hand the ends to the service.

Each backend has as many threads as slots. While its jobs are quick, some small ones wait at the threads, because waking a
thread costs more than a small circuit; any thread takes the next of them. The ends of many jobs come back in one call on
the loop and share one commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from queue import SimpleQueue
from typing import Any

import msgspec

from qfast.devices import slots_of
from qfast.errors import GenericFailure, Unavailable
from qfast.job import JobStatus
from qfast.jobs import Jobs
from qfast.live import Backend, Job
from qfast.packed import MOST_JOBS, mode_of, run_packed
from qfast.rows import encoded, failed_row
from qfast.runs import End, Source, run_job

log = logging.getLogger("qfast.engine")

AHEAD = 6  # quick jobs that wait at each thread: waking a thread costs more than a small circuit
QUICK = 0.001  # seconds
HORIZON = 0.05  # seconds for which jobs are claimed in advance, where they are claimed
MOST_APPETITE = 256
STUCK = 0.5  # seconds without an end after which busy threads are taken to be so for long
OUTSIDE_SLOTS = 1024  # jobs that may be out at an asynchronous backend that names no limit


class _Work(msgspec.Struct, gc=False):
    """A job on its way into a thread."""

    job: Job
    source: Source
    limit: float  # seconds from the moment a thread begins with it


class _Crew:
    """The threads of one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.inbox: SimpleQueue[list[_Work] | None] = SimpleQueue()  # jobs of one list run together
        self.threads = 0
        self.slots = slots_of(backend.device)
        self.busy = 0  # jobs handed to the threads and not ended
        self.riders = 0  # of these, jobs that run together with another one, in its thread
        self.heavy = 0  # of these, jobs that may take long: nothing waits behind them
        self.pace = 10 * QUICK  # seconds that a job takes in a thread, a running mean
        self.ran = False  # whether the pace was measured
        self.moved = 0.0  # monotonic seconds when a thread last got or ended a job
        self.filling = False


class Engine:
    """Runs what stands in the queues.

    Parameters
    ----------
    jobs : Jobs
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._loop = asyncio.get_running_loop()
        self._crews = [_Crew(backend) for backend in jobs.backends.values()]
        self._ends: deque[tuple[_Crew, End, float]] = deque()
        self._told = False
        self._stopping = False
        self._hurried = False
        self._abandoned = False  # what still runs is told to stop, and runs again after a restart
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[Job, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Begin to take jobs."""
        for crew in self._crews:
            crew.backend.wake = self._waker(crew)
            crew.backend.resume = partial(self._resume, crew)
            crew.backend.appetite = partial(self._appetite, crew)
            crew.backend.row_ready = self._row_ready
            for job in list(crew.backend.running.values()):
                self._resume(crew, job)
            crew.backend.wake()

    def _resume(self, crew: _Crew, job: Job) -> None:
        """Take a job that is out since another run: whether it was checked then is not known."""
        crew.busy += 1
        self._spawn(self._fetch(crew, [job]))

    def _waker(self, crew: _Crew) -> Any:
        def wake() -> None:
            if not crew.filling:
                crew.filling = True
                self._loop.call_soon(self._fill, crew)

        return wake

    def _fill(self, crew: _Crew) -> None:
        """Give work to the threads, and see that more comes."""
        crew.filling = False
        self._give(crew)
        self._jobs.refill(crew.backend)

    def _give(self, crew: _Crew) -> None:
        """Give work to every free thread, and to busy ones whose jobs are quick a little more than they can begin."""
        backend = crew.backend
        ahead = self._ahead(crew)
        while crew.busy - crew.riders < crew.slots + ahead and not self._stopping and backend.device.status == "online":
            if backend.asynchronous and len(backend.running) >= (backend.device.slots or OUTSIDE_SLOTS):
                return
            taken = crew.busy - crew.riders
            most = 1 if backend.asynchronous else crew.slots + ahead - taken
            jobs = self._jobs.take(backend, most, only_small=taken >= crew.slots)
            if not jobs:
                return
            if jobs[-1].small and _shares(jobs[-1]):
                jobs += self._jobs.take_more(backend, _shares, MOST_JOBS - 1)
            crew.busy += len(jobs)
            if not jobs[-1].small:
                crew.heavy += 1
                ahead = 0
            parsed = self._jobs.parsed.take(jobs[0].record.seq)  # of a job that is not small, so taken alone
            if parsed is not None:
                self._hand_over(crew, jobs, [parsed])
            elif all(job.source is not None for job in jobs):
                self._hand_over(crew, jobs, [job.source or b"" for job in jobs])
            else:
                self._spawn(self._fetch(crew, jobs))

    @staticmethod
    def _ahead(crew: _Crew) -> int:
        """Jobs that may wait at the threads."""
        quick = crew.pace < QUICK and not crew.heavy and not crew.backend.asynchronous
        return AHEAD * crew.slots if quick else 0

    def _appetite(self, crew: _Crew) -> int:
        """Jobs that could begin within HORIZON: as many as there are free threads, and more while jobs are short."""
        backend = crew.backend
        if backend.asynchronous:
            out = (backend.device.slots or OUTSIDE_SLOTS) - len(backend.running)
            return min(out, MOST_APPETITE, max(1, crew.slots))
        if crew.busy - crew.riders >= crew.slots and time.monotonic() - crew.moved > STUCK:
            return 0  # a job that looked short is not
        soon = int(crew.slots * HORIZON / crew.pace) if crew.ran and not crew.heavy else 0
        return max(0, crew.slots + self._ahead(crew) - crew.busy + crew.riders) + min(soon, MOST_APPETITE)

    async def _fetch(self, crew: _Crew, jobs: list[Job]) -> None:
        """Read long sources from the store before the jobs go to a thread."""
        try:
            sources = [await self._source(job) for job in jobs]
        except Exception:
            log.exception("the source of a job cannot be read")
            rows = encoded([failed_row(GenericFailure("the stored program cannot be read"), {}, {}, "sync")])
            crew.busy -= len(jobs)
            crew.heavy -= sum(not job.small for job in jobs)
            await self._jobs.finish([(job, JobStatus.FAILED, rows, None) for job in jobs])
            self._fill(crew)
        else:
            self._hand_over(crew, jobs, sources)

    async def _source(self, job: Job) -> bytes:
        while True:
            try:
                return await self._jobs.source_of(job)
            except Unavailable as error:
                log.error("the store gives no source yet: %s", error.message)
                await asyncio.sleep(1.0)

    def _hand_over(self, crew: _Crew, jobs: list[Job], sources: Sequence[Source]) -> None:
        if crew.threads < crew.slots:
            crew.threads += 1
            name = f"qfast-{crew.backend.device.name}-{crew.threads}"
            threading.Thread(target=self._work, args=(crew,), name=name, daemon=True).start()
        works: list[_Work] = []
        for job, source in zip(jobs, sources, strict=True):
            limit = _time_limit(job)
            self._timers[job] = self._loop.call_later(limit, self._time_out, job, limit)
            works.append(_Work(job, source, limit))
        for shared, group in groupby(works, lambda work: _shares(work.job)):
            together = list(group)
            for rider in together[1:] if shared else ():
                rider.job.rider = True
                crew.riders += 1
            for part in [together] if shared else [[work] for work in together]:
                crew.inbox.put(part)

    # ------------------------------------------------------------------------------------------------- in the threads

    def _work(self, crew: _Crew) -> None:
        """A thread's life: run jobs, hand in their ends."""
        while (works := crew.inbox.get()) is not None:
            begun = time.monotonic()
            for end in _ends_of(crew.backend, works, begun):
                now = time.monotonic()
                self._ends.append((crew, end, now - begun))
                begun = now
                if not self._told:
                    self._told = True
                    try:
                        self._loop.call_soon_threadsafe(self._collect)
                    except RuntimeError:  # the loop is closed: the server is gone, the store has the job as RUNNING
                        log.debug("a job ended after the server did")

    def _row_ready(self, job: Job) -> None:
        """Let those who follow the job's results hear of a new one."""
        events, job_id = self._jobs.events, job.record.job_id
        if job_id in events.shown and not events.is_due(job_id):
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(events.show, job_id, job.rows)

    # --------------------------------------------------------------------------------------------------- back in the loop

    def _collect(self) -> None:
        """Take all ends that have come and let them share one commit."""
        self._told = False
        final: list[tuple[Job, JobStatus, bytes | None, int | None]] = []
        touched: set[_Crew] = set()
        while self._ends:
            crew, (job, status, rows, num_qubits), seconds = self._ends.popleft()
            crew.busy -= 1
            crew.riders -= job.rider
            crew.heavy -= not job.small
            crew.pace += 0.2 * (seconds - crew.pace)
            crew.ran = True
            crew.moved = time.monotonic()
            touched.add(crew)
            timer = self._timers.pop(job, None)
            if timer is not None:
                timer.cancel()
            if status == JobStatus.CANCELLED and self._abandoned and job.record.status != JobStatus.CANCELLING:
                continue  # stopped with the server: it is RUNNING for the next start
            if status is not None:
                final.append((job, status, rows, num_qubits))
        if final:
            self._spawn(self._jobs.finish(final))
        for crew in touched:
            self._fill(crew)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a job's end was lost", exc_info=task.exception())

    def _time_out(self, job: Job, limit: float) -> None:
        """Stop a job whose time is up; one that stood behind others of its batch still has some."""
        left = (job.begun or time.monotonic()) + limit - time.monotonic()
        if left > 0:
            self._timers[job] = self._loop.call_later(max(left, 0.001), self._time_out, job, limit)
        else:
            job.timed_out = True
            job.cancel[0] = 1

    def hurry(self) -> None:
        """End `drain` now."""
        self._hurried = True

    async def drain(self, seconds: float) -> None:
        """Start nothing more and wait for what runs, at most `seconds`; what still runs then starts again after a restart."""
        self._stopping = True
        if self._abandoned:
            return
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._hurried and (self._tasks or any(crew.busy for crew in self._crews)):
            await asyncio.sleep(0.01)
        self._abandoned = True
        for crew in self._crews:
            for job in crew.backend.running.values():
                job.cancel[0] = 1  # frees the threads; the end is not stored, so the job is RUNNING for the next start
            for _ in range(crew.threads):
                crew.inbox.put(None)
        for timer in self._timers.values():
            timer.cancel()
        for task in list(self._tasks):
            task.cancel()


def _shares(job: Job) -> bool:
    return mode_of(job) == "external"


def _ends_of(backend: Backend, works: list[_Work], begun: float) -> Iterator[End]:
    """Run what came together."""
    for work in works:
        work.job.begun = begun
    if mode_of(works[0].job) is None:
        yield run_job(backend, works[0].job, works[0].source, begun + works[0].limit)
    else:
        yield from run_packed(backend, [(work.job, work.source, begun + work.limit) for work in works])


class _Limit(msgspec.Struct):
    """What is read of a stored spec before a job goes to a thread."""

    max_execution_time: float


_LIMIT = msgspec.json.Decoder(_Limit)


def _time_limit(job: Job) -> float:
    return _LIMIT.decode(job.record.spec).max_execution_time
