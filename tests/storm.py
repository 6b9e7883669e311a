"""Many clients at once, and a server that is killed in the middle: what was acknowledged must be there, and end once.

As a program: ``python tests/storm.py [--jobs 10000] [--clients 32] [--kill]`` prints the figures and exits 0 when all held.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from qfast.client import Client
from qfast.client import ConnectionError as NoServer
from qfast.demo import local_server

X = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nx q[0];\nmeasure q -> c;\n'
FINAL = {"COMPLETED", "FAILED", "CANCELLED"}
MINUTE = 60.0


def submit_all(
    client: Client,
    jobs: list[tuple[str, int]],
    clients: int,
    stop: threading.Event,
    acknowledge: Callable[[int], None] = lambda count: None,
) -> tuple[set[str], list[str]]:
    """Submit from `clients` threads; gives the acknowledged ids and the errors (a dead server is no error)."""
    acknowledged: set[str] = set()
    faults: list[str] = []

    def one(entry: tuple[str, int]) -> None:
        if stop.is_set():
            return
        job_id, priority = entry
        try:
            client.submit_job(X, "qasm2", job_id=job_id, shots=10, job_priority=priority, tags=["storm"])
            acknowledged.add(job_id)
            acknowledge(len(acknowledged))
        except (NoServer, OSError):
            stop.set()
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}")

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, jobs))
    return acknowledged, faults


def listed(client: Client, **filters: Any) -> Iterator[dict[str, Any]]:
    """All jobs of the storm, newest first."""
    page = client.get_jobs(tags=["storm"], limit=10_000, **filters)
    while page:
        yield from page
        page = client.get_jobs(tags=["storm"], limit=10_000, before=page[-1]["job_id"], **filters)


def wait_for_all(client: Client, count: int) -> list[dict[str, Any]]:
    """The jobs once `count` of them are final."""
    end = time.monotonic() + 5 * MINUTE
    while time.monotonic() < end:
        jobs = list(listed(client))
        if len(jobs) >= count and all(job["job_status"] in FINAL for job in jobs):
            return jobs
        time.sleep(0.1)
    raise AssertionError("the jobs do not end")


def wrong_order(jobs: list[dict[str, Any]]) -> list[str]:
    """Jobs that did not start in the order (priority, acknowledged submit), given that all waited before the first ran."""
    oldest_first = list(reversed(jobs))
    expected = sorted(oldest_first, key=lambda job: job["job_priority"])  # stable: first come, first served within one
    return [job["job_id"] for job, after in pairwise(expected) if job["started_at"] > after["started_at"]]


def occupy(client: Client) -> list[str]:
    """Sleeping jobs in every slot of the device, and one more that waits: what comes now is queued."""
    sleepers = []
    for _ in range(64):
        job = client.submit_job(X, "qasm2", job_priority=1, driver_options={"sleep": 600})["job_id"]
        sleepers.append(job)
        end = time.monotonic() + 0.5
        while (state := client.get_job_status(job)["job_status"]) == "QUEUED" and time.monotonic() < end:
            time.sleep(0.01)
        if state == "QUEUED":
            return sleepers
    raise AssertionError("64 sleeping jobs do not occupy the device")


def plan(count: int) -> list[tuple[str, int]]:
    """Ids and priorities."""
    chance = random.Random(1)
    return [(str(uuid.UUID(int=chance.getrandbits(128), version=4)), chance.randint(1, 10)) for _ in range(count)]


def storm(jobs: int, clients: int) -> dict[str, float]:
    """All jobs at once into a running server; raises AssertionError when anything is off."""
    with tempfile.TemporaryDirectory() as folder, local_server(Path(folder)) as (url, _process):
        client = Client(url)
        sleepers = occupy(client)
        entries = plan(jobs)
        start = time.perf_counter()
        acknowledged, faults = submit_all(client, entries, clients, threading.Event())
        submitted = time.perf_counter() - start
        assert not faults, faults[:3]
        assert len(acknowledged) == jobs
        start_running = time.perf_counter()
        client.cancel_jobs(sleepers, force=True)
        done = wait_for_all(client, jobs)
        ran = time.perf_counter() - start_running
        check_ended(client, done, jobs)
        assert not wrong_order(done), "the order of priorities was not kept"
        return {"jobs": jobs, "submit_per_s": jobs / submitted, "run_per_s": jobs / ran}


def check_ended(client: Client, done: list[dict[str, Any]], jobs: int) -> None:
    """Every job once, COMPLETED, with the right counts in a sample."""
    assert len({job["job_id"] for job in done}) == len(done) == jobs
    assert all(job["job_status"] == "COMPLETED" for job in done), {job["job_status"] for job in done}
    for job in random.Random(2).sample(done, min(50, jobs)):
        assert client.get_job_results(job["job_id"])["results"][0]["results"] == {"01": 10}


def storm_with_kill(jobs: int, clients: int) -> dict[str, float]:
    """As `storm`, but the server is killed in the middle with SIGKILL and started again on the same data."""
    with tempfile.TemporaryDirectory() as folder:
        entries = plan(jobs)
        stop = threading.Event()
        with local_server(Path(folder)) as (url, process):
            client = Client(url)
            early: dict[str, Any] = {}

            def kill_in_the_middle(count: int) -> None:
                if count >= jobs // 2 and not stop.is_set():
                    stop.set()
                    os.kill(process.pid, signal.SIGKILL)

            def look() -> None:
                while not stop.is_set():
                    try:
                        early.update(
                            (job["job_id"], job["ended_at"])
                            for job in client.get_jobs(job_status="COMPLETED", limit=500)
                        )
                    except (NoServer, OSError):
                        return
                    time.sleep(0.05)

            watcher = threading.Thread(target=look)
            watcher.start()
            acknowledged, faults = submit_all(client, entries, clients, stop, kill_in_the_middle)
            watcher.join()
            process.wait(10)
        assert not faults, faults[:3]
        assert acknowledged, "the server was killed before it acknowledged anything"
        with local_server(Path(folder)) as (url, _process):
            client = Client(url)
            known = {job["job_id"] for job in listed(client)}
            missing = acknowledged - known
            assert not missing, f"{len(missing)} acknowledged jobs are missing"
            done = wait_for_all(client, len(known))
            ended = {job["job_id"]: job["ended_at"] for job in done}
            redone = [job_id for job_id, when in early.items() if ended[job_id] != when]
            assert not redone, f"{len(redone)} jobs ended twice"
            check_ended(client, done, len(known))
            rest = [entry for entry in entries if entry[0] not in acknowledged]
            again, faults = submit_all(client, rest + entries[: min(50, jobs)], clients, threading.Event())
            assert not faults, faults[:3]
            assert {entry[0] for entry in rest} <= again
            check_ended(client, wait_for_all(client, jobs), jobs)
        return {"jobs": jobs, "acknowledged_before_kill": len(acknowledged), "completed_before_kill": len(early)}


def main() -> int:
    """Run one storm from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    figures = (storm_with_kill if options.kill else storm)(options.jobs, options.clients)
    print(", ".join(f"{name} {value:.0f}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
