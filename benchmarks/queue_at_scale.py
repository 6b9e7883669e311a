"""What many queued jobs cost: bytes of memory for each, and seconds from the start of a server to its first job.

`python benchmarks/queue_at_scale.py [--store sqlite postgres] [--jobs 100000 1000000]`. Goals: the first of 100,000
jobs begins within 2 s, of 1,000,000 within 6 s, and each of these takes less than 200 bytes. Memory is the growth of
a process that finds the queue, with its backend offline; the reference is the growth for the same jobs as whole
records (of at most 100,000). The first job is that of the best priority, put in last; its start is its own
`started_at`, counted from before the server's exec. `CPU s` are the seconds of CPU that finding the queue takes. 1 GB
of disk for a million jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent.parent / "tests"), str(Path(__file__).parent.parent)]

import postgres_kit  # noqa: E402
from bench_store import SOURCE, make_jobs  # noqa: E402

from qfast import plugins  # noqa: E402
from qfast.client import Client  # noqa: E402
from qfast.demo import local_server  # noqa: E402
from qfast.devices import open_driver  # noqa: E402
from qfast.live import Backend  # noqa: E402
from qfast.nodes import jobs_of  # noqa: E402
from qfast.plugins import Device  # noqa: E402
from qfast.stores import tables  # noqa: E402
from qfast.stores.sqlite import SqliteStore, connect  # noqa: E402

BATCH = 5000  # appends that share commits
REFERENCE = 100_000  # whole records that are loaded at most
SPEC = json.dumps(
    {
        **{"description": None, "backend": "dummy", "code_type": "qasm2", "transpiler": "cmss", "job_type": "sampling"},
        **{"transpiler_options": {}, "driver_options": {}, "shots": 16, "profiling": [], "dry_run": False, "tags": []},
        **{"max_execution_time": 300.0, "circuit_aggregation": None, "session_id": None},
    }
).encode()


def store_of(place: str) -> Any:
    """A closed store: PostgreSQL's for a URL, else SQLite's in that folder."""
    return plugins.load("stores", "postgres")(place) if "://" in place else SqliteStore(Path(place))


async def fill(place: str, count: int) -> tuple[str, float]:
    """Put jobs into a new store; gives the id of the one that has to begin first, and the seconds."""
    store = store_of(place)
    await store.open()
    begin = time.perf_counter()
    last = ""
    rows = connect(Path(place) / "qfast.db") if isinstance(store, SqliteStore) else None
    for first in range(1, count + 1, BATCH):
        jobs = make_jobs(first, min(BATCH, count + 1 - first))
        for job in jobs:
            job.spec, job.code_type, job.created_at = SPEC, "qasm2", time.time()
        if first + len(jobs) > count:
            jobs[-1].priority, last = 1, jobs[-1].job_id
        if rows is None:
            await asyncio.gather(*(store.append(job, SOURCE) for job in jobs))
        else:  # in large transactions, without a future for each
            rows.execute("BEGIN")
            tables.append_jobs(rows, [(job, SOURCE, 1) for job in jobs])
            rows.execute("COMMIT")
    await store.close()
    return last, time.perf_counter() - begin


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def memory(place: str) -> dict[str, float]:
    """In a process of its own: the growth by finding the queue, per job, and by loading whole records."""
    store = store_of(place)
    await store.open()
    device = Device(name="dummy", driver="DriverDummy", status="offline")
    jobs = jobs_of(store, {"dummy": Backend(device, open_driver(device))})
    before, begin = resident(), time.process_time()
    await jobs.open()
    found, seconds = resident(), time.process_time() - begin
    count = jobs.live_count()
    rows = [row[0] for row in await store.queued(0, min(count, REFERENCE))]
    start = resident()
    whole = [await store.load(rows[at : at + BATCH], 1 << 14) for at in range(0, len(rows), BATCH)]
    return {
        "bytes": (found - before) / count,
        "whole": (resident() - start) / sum(map(len, whole)),
        "seconds": seconds,
    }


def first_start(place: str, folder: Path, job_id: str) -> float:
    """Seconds from before the server's exec to the start of its first job."""
    begin = time.time()
    with local_server(folder, "--store", place if "://" in place else "sqlite") as (url, _):
        job = Client(url).wait(job_id, 120)
        started = datetime.fromisoformat(job["started_at"]).replace(tzinfo=UTC).timestamp()
    return started - begin


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    parser.add_argument("--jobs", nargs="+", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(json.dumps(asyncio.run(memory(args.memory_of))))
        return
    print("store          jobs filled in s bytes a job whole record    CPU s first job s")
    for kind in args.store:
        for count in args.jobs:
            with tempfile.TemporaryDirectory(prefix="qfast-queue-") as folder:
                place = postgres_kit.url(Path(folder)) if kind == "postgres" else folder
                job_id, seconds = asyncio.run(fill(place, count))
                command = [sys.executable, __file__, "--memory-of", place]
                told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                first = first_start(place, Path(folder), job_id)
                print(
                    f"{kind:9} {count:9,} {seconds:11.1f} {told['bytes']:11.0f} {told['whole']:12.0f}"
                    f" {told['seconds']:10.2f} {first:11.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
