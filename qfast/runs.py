"""One job in a worker thread: each of its sources through the driver's stages, one result row for each."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from qfast import matrices
from qfast.counts import Counts
from qfast.errors import (
    CircuitError,
    GenericFailure,
    InvalidParams,
    JobCancelled,
    MatrixError,
    ResourceLimitError,
    TimeLimitError,
)
from qfast.estimation import read_observables
from qfast.job import JobStatus
from qfast.live import Backend, Job
from qfast.plugins import Outcome, Task
from qfast.prepared import WORTH, Key, Prepared, key_of
from qfast.rows import encoded, failed_row, good_row

log = logging.getLogger("qfast.runs")

ROWS_BYTES = 512 << 20  # of the counts of all sources of a job: SQLite holds 10^9 bytes in one value

Source = (
    bytes | list[matrices.QuboProblem]
)  # the JSON array of sources, or the matrices that were read from it at submit

# job, final status or None when it stays out, JSON array of result rows, number of qubits
End = tuple[Job, JobStatus | None, bytes | None, int | None]


def derive_seed(job_id: str, index: int) -> int:
    """A seed for one source of a job that gives none: the same at every run of that job."""
    return int.from_bytes(hashlib.blake2b(f"{job_id}/{index}".encode(), digest_size=6).digest(), "little")


def run_job(backend: Backend, job: Job, source: Source, deadline: float) -> End:
    """Run every source of one job, in a worker thread; whatever happens comes back as a result row."""
    try:
        return _run_sources(backend, job, source, deadline)
    except JobCancelled:
        return job, JobStatus.CANCELLED, None, None
    except BaseException:
        log.exception("job %s failed for a reason of the server", job.record.job_id)
        failure = GenericFailure("the run failed for a reason that is in the server's log")
        return job, JobStatus.FAILED, encoded([failed_row(failure, {}, {}, "sync")]), None


def tasks_of(backend: Backend, job: Job, spec: dict[str, Any], source: Source, deadline: float) -> list[Task]:
    """What to run for a job, in the order of its result rows; raises CircuitError."""
    options = msgspec.convert({**backend.device.options, **(spec["driver_options"] or {})}, backend.driver.Options)
    given_seed = getattr(options, "seed", None)
    return [
        Task(
            device=backend.device,
            code_type=spec["code_type"],
            source=text,
            inputs=inputs,
            observables=observables,
            shots=spec["shots"],
            options=options,
            transpiler=spec["transpiler"],
            transpiler_options=spec["transpiler_options"] or {},
            dry_run=spec["dry_run"],
            seed=derive_seed(job.record.job_id, index) if given_seed is None else (given_seed + index) % 2**53,
            cancel=job.cancel,
            deadline=deadline,
            metadata={} if inputs is None else {"parameters": inputs},
        )
        for index, (text, inputs, observables) in enumerate(_work_list(spec, source, job.cancel))
    ]


def _run_sources(backend: Backend, job: Job, source: Source, deadline: float) -> End:
    spec = orjson.loads(job.record.spec)
    began = time.perf_counter()
    stays_out = backend.asynchronous and not spec["dry_run"]
    rows = job.rows = []
    widths: list[int] = []
    size = 0
    tasks = tasks_of(backend, job, spec, source, deadline)
    mode = "async" if stays_out else "sync"
    for index, task in enumerate(tasks):
        times: dict[str, float] = {}
        try:
            outcome = _stages(backend, job, task, times, stays_out)
            if outcome is not None:
                size += _text_bytes(outcome)
                if size > ROWS_BYTES:
                    raise ResourceLimitError(f"the results of this job take more than {ROWS_BYTES:,} bytes")
                widths.append(outcome.num_qubits)
                rows.append(good_row(outcome, task.metadata, profile(spec, job, times, began), mode))
        except (CircuitError, JobCancelled, MemoryError) as fault:
            error = circuit_error(fault, job, spec)
            rows.append(failed_row(error, task.metadata, profile(spec, job, times, began), mode))
        job.progress = 100 * (index + 1) // len(tasks)
        backend.row_ready(job)
    if stays_out and not any("error" in row for row in rows):
        return job, None, None, None
    return end_of(job, rows, widths, mode)


def end_of(job: Job, rows: list[dict[str, Any]], widths: list[int], mode: str = "sync") -> End:
    """How a job ends with these rows, whose circuits have so many qubits."""
    try:
        text = encoded(rows)
    except (TypeError, ValueError, RecursionError):  # of a driver, what JSON cannot hold
        log.exception("the results of job %s cannot be stored", job.record.job_id)
        failure = GenericFailure("the results cannot be stored; the reason is in the server's log")
        return job, JobStatus.FAILED, encoded([failed_row(failure, {}, {}, mode)]), None
    failed = any("error" in row for row in rows)
    return job, JobStatus.FAILED if failed else JobStatus.COMPLETED, text, max(widths, default=None)


def _text_bytes(outcome: Outcome) -> int:
    counts = outcome.results
    return len(counts.json) + len(counts.memory or b"") if isinstance(counts, Counts) else 0


def circuit_error(fault: BaseException, job: Job, spec: dict[str, Any]) -> CircuitError:
    """What stands in the result for a failed run; a cancelled job has none, and the fault goes on."""
    if isinstance(fault, CircuitError):
        return fault
    if isinstance(fault, MemoryError):
        return ResourceLimitError("the run needs more memory than the server has")
    if job.timed_out:
        return TimeLimitError(f"the job ran longer than its {spec['max_execution_time']:g} s")
    raise fault


def _work_list(
    spec: dict[str, Any], source: Source, cancel: bytearray
) -> list[tuple[Any, dict[str, float] | None, Any]]:
    """What to run, in the order of the result rows: each source, once for each of its parameter sets."""
    sources = _split(spec["code_type"], source, cancel)
    nothing: list[Any] = [None] * len(sources)
    points = spec.get("parameters") or nothing
    wanted = read_observables(spec["observables"], len(sources)) if spec.get("observables") else nothing
    return [
        (text, point, observables)
        for text, entry, observables in zip(sources, points, wanted, strict=True)
        for point in entry or [None]
    ]


def _split(code_type: str, source: Source, cancel: bytearray) -> list[Any]:
    if isinstance(source, list):
        return source
    if code_type != "qubo":
        texts: list[Any] = orjson.loads(source)
        return texts
    try:
        return list(matrices.parse_sources(source, cancel=cancel))
    except InvalidParams as refusal:  # was checked at submit
        raise MatrixError(refusal.message) from None


def _stages(backend: Backend, job: Job, task: Task, times: dict[str, float], stays_out: bool) -> Any:
    """The straight way through a driver; None when the rest happens outside."""
    driver = backend.driver
    key = key_of(task) if backend.keeps_programs and (task.inputs is None or backend.open is not None) else None
    kept = None if key is None else backend.prepared.get(key)
    in_session = job.record.session_id is not None
    if kept is not None and task.inputs is None:
        program, task.num_qubits = kept.program, kept.num_qubits
        task.metadata.update(kept.metadata)
        times |= {"driver:parse": 0.0, "driver:transpile": 0.0}
    else:
        if key is not None and task.inputs is not None:
            task.opened = _opened(backend, key, kept, task)
        program = _timed(task, times, "parse", driver.parse, task)
        program = _timed(task, times, "transpile", driver.transpile, program, task)
        worth = in_session or times["driver:parse"] + times["driver:transpile"] >= WORTH
        if key is not None and task.inputs is None and worth:
            backend.prepared.put(key, Prepared(program, dict(task.metadata), task.num_qubits))
    if key is not None and (kept is not None or in_session):
        task.metadata["circuit_cache"] = "miss" if kept is None else "hit"
        job.cache_hits += kept is not None
        job.cache_misses += kept is None
    return None if stays_out else _timed(task, times, "run", driver.run, program, task)


def _opened(backend: Backend, key: Key, kept: Prepared | None, task: Task) -> Any:
    """The source as the driver compiles it before its inputs have values; one that cannot be so is tried once."""
    if kept is None and backend.open is not None:
        kept = Prepared(backend.open(task), {}, None)
        backend.prepared.put(key, kept)
    return None if kept is None else kept.program


def _timed(task: Task, times: dict[str, float], stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
    if task.cancel[0]:
        raise JobCancelled
    start = time.perf_counter()
    try:
        return work(*arguments)
    finally:
        times[f"driver:{stage}"] = time.perf_counter() - start


def profile(spec: dict[str, Any], job: Job, times: dict[str, float], began: float) -> dict[str, float]:
    """The requested profiling keys, in seconds."""
    wanted = spec["profiling"]
    if not wanted:
        return {}
    queuing = (job.record.started_at or 0.0) - job.record.created_at
    code = time.perf_counter() - began
    known = {"code": code, "queuing": queuing, "scheduling": max(0.0, code - sum(times.values())), **times}
    return {key: value for key, value in known.items() if "all" in wanted or key in wanted}
