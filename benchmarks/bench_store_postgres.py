"""The PostgreSQL store against raw asyncpg: one unnest insert of the same rows per batch, durable, in the same run.

The reference is what a program without a store would write by hand: the job's row, its state, source and nothing else, 100
rows a transaction on one connection. Goals: durable appends of 64 callers >= 0.4x its rate; claims of 100 >= 30,000 a second.
`pytest benchmarks/bench_store_postgres.py --benchmark-enable`.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from bench_store import SOURCE, SPEC, by_callers, make_jobs

from qfast.job import Change, JobStatus
from qfast.stores.postgres import PostgresStore

COUNT = 4_000
BATCH = 100
REFERENCE = """
WITH given AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::integer[], $6::bytea[], $7::bytea[])
    AS given (seq, job_id, digest, backend, priority, spec, source)
),
state AS (INSERT INTO raw_state SELECT seq, backend, priority, 'QUEUED' FROM given),
source AS (INSERT INTO raw_source SELECT seq, source FROM given)
INSERT INTO raw_job SELECT seq, job_id, digest, backend, spec FROM given
"""
TABLES = """
CREATE TABLE IF NOT EXISTS raw_job (seq bigint PRIMARY KEY, job_id text UNIQUE, digest bytea, backend text, spec bytea);
CREATE TABLE IF NOT EXISTS raw_state (seq bigint PRIMARY KEY, backend text, priority integer, status text);
CREATE INDEX IF NOT EXISTS raw_queued ON raw_state (backend, priority, seq) WHERE status = 'QUEUED';
CREATE TABLE IF NOT EXISTS raw_source (seq bigint PRIMARY KEY, source bytea);
TRUNCATE raw_job, raw_state, raw_source;
"""

FLOORS: dict[str, float] = {"append at 64 / raw unnest of 100": 0.15, "claim of 100 / raw unnest of 100": 0.2}


@cache
def kit() -> Any:
    """The tests' PostgreSQL."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    return importlib.import_module("postgres_kit")


async def ours(count: int, name: str) -> dict[str, float]:
    """Seconds per job through the store."""
    store = PostgresStore(kit().url(Path(name)))
    await store.open()
    jobs = make_jobs(0, count)
    for job in jobs:
        job.seq = 0
    append = await by_callers(store.append(job, SOURCE) for job in jobs)
    begin = time.perf_counter()
    claimed = [job for _ in range(count // BATCH) for job, _ in (await store.claim("dummy", BATCH))[1]]
    claim = time.perf_counter() - begin
    assert len(claimed) == count
    start = await by_callers(store.apply([_start(job.seq, store.epoch)]) for job in claimed)
    rows = await store.link.rows(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        " WHERE relname = 'job_state' AND schemaname = current_schema()"
    )
    await store.close()
    hot = rows[0][1] / max(1, rows[0][0])
    return {"append": append / count, "claim": claim / count, "start": start / count, "not hot": 1.0 - hot}


def _start(seq: int, epoch: int) -> Change:
    return Change(
        seq=seq,
        attempt=0,
        entered_from=(JobStatus.QUEUED,),
        status=JobStatus.RUNNING,
        at=1.0,
        next_attempt=1,
        owner=epoch,
    )


async def raw(count: int) -> float:
    """Seconds per row of the reference."""
    asyncpg: Any = importlib.import_module("asyncpg")
    connection = await asyncpg.connect(kit().cluster().get_uri())
    await connection.execute(TABLES)
    jobs = make_jobs(1, count)
    insert = await connection.prepare(REFERENCE)
    begin = time.perf_counter()
    for first in range(0, count, BATCH):
        batch = jobs[first : first + BATCH]
        await insert.fetch(
            [job.seq for job in batch], [job.job_id for job in batch], [job.digest for job in batch],
            [job.backend for job in batch], [job.priority for job in batch], [SPEC] * len(batch), [SOURCE] * len(batch),
        )  # fmt: skip
    seconds = time.perf_counter() - begin
    await connection.close()
    return seconds / count


def measure(count: int, repeats: int = 3) -> tuple[dict[str, float], float]:
    """Minima of repeats, ours and the reference's in turn."""
    runs: list[dict[str, float]] = []
    references: list[float] = []
    for number in range(repeats):
        runs.append(asyncio.run(ours(count, f"/bench/{time.time()}/{number}")))
        references.append(asyncio.run(raw(count)))
    return {name: min(run[name] for run in runs) for name in runs[0]}, min(references)


def ratios() -> dict[str, float]:
    """Reference time over our time."""
    kit().cluster()
    best, reference = measure(500)
    return {
        "append at 64 / raw unnest of 100": reference / best["append"],
        "claim of 100 / raw unnest of 100": reference / best["claim"],
    }


def test_rates(benchmark: Any) -> None:
    """Goals: appends >= 0.4x raw unnest inserts, 30,000 claims a second."""
    found: list[tuple[dict[str, float], float]] = []
    benchmark.pedantic(lambda: found.append(measure(COUNT)), rounds=1)
    best, reference = found[0]
    print(f" reference: {1 / reference:,.0f} rows/s; not HOT: {best.pop('not hot'):.0%} of updates")
    for name, seconds in best.items():
        benchmark.extra_info[f"{name}/s"] = round(1 / seconds)
        print(f" {name}: {1 / seconds:,.0f} jobs/s, {reference / seconds:.2f}x of the reference")


if __name__ == "__main__":
    print({name: round(value, 2) for name, value in ratios().items()})
