"""The loop: take jobs from a backend's queue, run them in that backend's threads, hand the ends to the service.

Each backend has as many threads as slots. A thread gets one job at a time, or several small ones that stand next to each
other in the queue, because a hop between threads costs more than a small circuit. The ends of many jobs come back in one
call on the loop and share one commit.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any

import msgspec
import orjson

from qfast import qubo
from qfast.devices import slots_of
from qfast.errors import (
    CircuitError,
    GenericFailure,
    InvalidParams,
    JobCancelled,
    MatrixError,
    ResourceLimitError,
    TimeLimitError,
)
from qfast.job import JobStatus, utc_text
from qfast.jobs import Jobs
from qfast.live import Backend, Job
from qfast.plugins import Task

log = logging.getLogger("qfast.engine")

MAX_BATCH = 16  # small jobs that share one hop between threads
OUTSIDE_SLOTS = 1024  # jobs that may be out at an asynchronous backend that names no limit
STAGES = ("parse", "transpile", "run")

# job, final status or None when it stays out, rows, number of qubits
End = tuple[Job, JobStatus | None, list[dict[str, Any]] | None, int | None]


class _Work(msgspec.Struct, gc=False):
    """A job on its way into a thread."""

    job: Job
    source: bytes
    deadline: float


class _Crew:
    """The threads of one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.inbox: SimpleQueue[list[_Work] | None] = SimpleQueue()
        self.threads = 0
        self.slots = slots_of(backend.device)
        self.free = self.slots
        self.out = 0  # jobs at an asynchronous backend
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
        self._ends: deque[tuple[_Crew, list[End], bool]] = deque()
        self._told = False
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Begin to take jobs."""
        for crew in self._crews:
            crew.backend.wake = self._waker(crew)
            crew.backend.wake()

    def _waker(self, crew: _Crew) -> Any:
        def wake() -> None:
            if not crew.filling:
                crew.filling = True
                self._loop.call_soon(self._fill, crew)

        return wake

    def _fill(self, crew: _Crew) -> None:
        """Give work to every free slot."""
        crew.filling = False
        backend = crew.backend
        while crew.free > 0 and not self._stopping and backend.device.status == "online" and len(backend.heap):
            if backend.asynchronous and len(backend.running) >= (backend.device.slots or OUTSIDE_SLOTS):
                return
            most = 1 if backend.asynchronous else min(MAX_BATCH, 1 + len(backend.heap) // (4 * crew.slots))
            jobs = self._jobs.take(backend, most)
            if not jobs:
                return
            crew.free -= 1
            if all(job.source is not None for job in jobs):
                self._hand_over(crew, jobs, [job.source or b"" for job in jobs])
            else:
                self._spawn(self._fetch(crew, jobs))

    async def _fetch(self, crew: _Crew, jobs: list[Job]) -> None:
        """Read long sources from the store before the jobs go to a thread."""
        self._hand_over(crew, jobs, [await self._jobs.source_of(job) for job in jobs])

    def _hand_over(self, crew: _Crew, jobs: list[Job], sources: list[bytes]) -> None:
        if crew.threads < crew.slots:
            crew.threads += 1
            name = f"qfast-{crew.backend.device.name}-{crew.threads}"
            threading.Thread(target=self._work, args=(crew,), name=name, daemon=True).start()
        now = time.monotonic()
        batch = []
        for job, source in zip(jobs, sources, strict=True):
            limit = _time_limit(job)
            self._timers[job.record.seq] = self._loop.call_later(limit, _time_out, job)
            batch.append(_Work(job, source, now + limit))
        crew.inbox.put(batch)

    # ------------------------------------------------------------------------------------------------- in the threads

    def _work(self, crew: _Crew) -> None:
        """A thread's life: run batches, hand in their ends."""
        while (batch := crew.inbox.get()) is not None:
            for index, work in enumerate(batch):
                last = index == len(batch) - 1
                self._hand_in(crew, [run_job(crew.backend, work.job, work.source, work.deadline)], last)

    def _hand_in(self, crew: _Crew, ends: list[End], frees: bool) -> None:
        self._ends.append((crew, ends, frees))
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(self._collect)
            except RuntimeError:  # the loop is closed: the server is gone, the store has the jobs as RUNNING
                log.debug("a job ended after the server did")

    # --------------------------------------------------------------------------------------------------- back in the loop

    def _collect(self) -> None:
        """Take all ends that have come and let them share one commit."""
        self._told = False
        final: list[tuple[Job, JobStatus, list[dict[str, Any]] | None, int | None]] = []
        touched: set[_Crew] = set()
        while self._ends:
            crew, ends, frees = self._ends.popleft()
            crew.free += frees
            touched.add(crew)
            for job, status, rows, num_qubits in ends:
                timer = self._timers.pop(job.record.seq, None)
                if timer is not None:
                    timer.cancel()
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

    async def drain(self, seconds: float) -> None:
        """Start nothing more and wait for what runs, at most `seconds`; what still runs then starts again after a restart."""
        self._stopping = True
        end = time.monotonic() + seconds
        while time.monotonic() < end and (self._tasks or any(crew.free < crew.slots for crew in self._crews)):
            await asyncio.sleep(0.01)
        for crew in self._crews:
            for job in crew.backend.running.values():
                job.cancel[0] = 1  # frees the threads; the end is not stored, so the job is RUNNING for the next start
            for _ in range(crew.threads):
                crew.inbox.put(None)
        for timer in self._timers.values():
            timer.cancel()
        for task in list(self._tasks):
            task.cancel()


def _time_limit(job: Job) -> float:
    marker = b'"max_execution_time":'
    at = job.record.spec.find(marker) + len(marker)
    return float(job.record.spec[at : job.record.spec.find(b",", at)])


def _time_out(job: Job) -> None:
    job.timed_out = True
    job.cancel[0] = 1


def derive_seed(job_id: str, index: int) -> int:
    """A seed for one source of a job that gives none: the same at every run of that job."""
    return int.from_bytes(hashlib.blake2b(f"{job_id}/{index}".encode(), digest_size=6).digest(), "little")


def run_job(backend: Backend, job: Job, source: bytes, deadline: float) -> End:
    """Run every source of one job, in a worker thread; whatever happens comes back as a result row."""
    try:
        return _run_sources(backend, job, source, deadline)
    except JobCancelled:
        return job, JobStatus.CANCELLED, None, None
    except BaseException:
        log.exception("job %s failed for a reason of the server", job.record.job_id)
        failure = GenericFailure("the run failed for a reason that is in the server's log")
        return job, JobStatus.FAILED, [_failed_row(failure, {}, {}, "sync")], None


def _run_sources(backend: Backend, job: Job, source: bytes, deadline: float) -> End:
    spec = orjson.loads(job.record.spec)
    began = time.perf_counter()
    options = msgspec.convert({**backend.device.options, **(spec["driver_options"] or {})}, backend.driver.Options)
    given_seed = getattr(options, "seed", None)
    stays_out = backend.asynchronous and not spec["dry_run"]
    rows: list[dict[str, Any]] = []
    widths: list[int] = []
    failed = False
    work = _work_list(spec, source)
    mode = "async" if stays_out else "sync"
    for index, (text, inputs) in enumerate(work):
        task = Task(
            device=backend.device,
            code_type=spec["code_type"],
            source=text,
            inputs=inputs,
            shots=spec["shots"],
            options=options,
            transpiler=spec["transpiler"],
            transpiler_options=spec["transpiler_options"] or {},
            dry_run=spec["dry_run"],
            seed=derive_seed(job.record.job_id, index) if given_seed is None else (given_seed + index) % 2**53,
            cancel=job.cancel,
            deadline=deadline,
        )
        if inputs is not None:
            task.metadata["parameters"] = inputs
        times: dict[str, float] = {}
        try:
            outcome = _stages(backend, task, times, stays_out)
            if outcome is not None:
                widths.append(outcome.num_qubits)
                rows.append(_good_row(outcome, task.metadata, _profile(spec, job, times, began), mode))
        except (CircuitError, JobCancelled, MemoryError) as fault:
            failed = True
            error = _circuit_error(fault, job, spec)
            rows.append(_failed_row(error, task.metadata, _profile(spec, job, times, began), mode))
        job.progress = 100 * (index + 1) // len(work)
    if stays_out and not failed:
        return job, None, None, None
    return job, JobStatus.FAILED if failed else JobStatus.COMPLETED, rows, max(widths, default=None)


def _circuit_error(fault: BaseException, job: Job, spec: dict[str, Any]) -> CircuitError:
    """What stands in the result for a failed run; a cancelled job has none, and the fault goes on."""
    if isinstance(fault, CircuitError):
        return fault
    if isinstance(fault, MemoryError):
        return ResourceLimitError("the run needs more memory than the server has")
    if job.timed_out:
        return TimeLimitError(f"the job ran longer than its {spec['max_execution_time']:g} s")
    raise fault


def _work_list(spec: dict[str, Any], source: bytes) -> list[tuple[Any, dict[str, float] | None]]:
    """What to run, in the order of the result rows: each source, once for each of its parameter sets."""
    sources = _split(spec["code_type"], source)
    points = spec.get("parameters") or [None] * len(sources)
    return [(text, point) for text, entry in zip(sources, points, strict=True) for point in entry or [None]]


def _split(code_type: str, source: bytes) -> list[Any]:
    if code_type != "qubo":
        texts: list[Any] = orjson.loads(source)
        return texts
    try:
        return list(qubo.parse_sources(source))
    except InvalidParams as refusal:  # was checked at submit
        raise MatrixError(refusal.message) from None


def _stages(backend: Backend, task: Task, times: dict[str, float], stays_out: bool) -> Any:
    """The straight way through a driver; None when the rest happens outside."""
    driver = backend.driver
    program: Any = None
    for stage in STAGES:
        if task.cancel[0]:
            raise JobCancelled
        start = time.perf_counter()
        try:
            if stage == "parse":
                program = driver.parse(task)
            elif stage == "transpile":
                program = driver.transpile(program, task)
            elif stays_out:
                return None
            else:
                return driver.run(program, task)
        finally:
            times[f"driver:{stage}"] = time.perf_counter() - start
    return None


def _profile(spec: dict[str, Any], job: Job, times: dict[str, float], began: float) -> dict[str, float]:
    """The requested profiling keys, in seconds."""
    wanted = spec["profiling"]
    if not wanted:
        return {}
    queuing = (job.record.started_at or 0.0) - job.record.created_at
    code = time.perf_counter() - began
    known = {"code": code, "queuing": queuing, "scheduling": max(0.0, code - sum(times.values())), **times}
    return {key: value for key, value in known.items() if "all" in wanted or key in wanted}


def _frame(status: str, metadata: dict[str, Any], mode: str) -> dict[str, Any]:
    return {"results_fetch_mode": mode, "status": status, "end_date": utc_text(time.time()), **metadata}


def _good_row(outcome: Any, metadata: dict[str, Any], profiling: dict[str, float], mode: str) -> dict[str, Any]:
    results = outcome.results
    if isinstance(results, dict) and 0 in results.values():
        results = {bits: count for bits, count in results.items() if count}
    return {
        "results": results,
        "num_qubits": outcome.num_qubits,
        "metadata": _frame("COMPLETED", metadata, mode),
        "profiling": profiling,
    }


def _failed_row(
    error: CircuitError, metadata: dict[str, Any], profiling: dict[str, float], mode: str
) -> dict[str, Any]:
    return {
        "results": None,
        "metadata": _frame("FAILED", metadata, mode),
        "profiling": profiling,
        "error": error.as_dict(),
    }
