"""A sweep over 10,000 points of a 6-qubit ansatz as one job, against a job for each point. Goal: 20 times faster.

``python benchmarks/bench_sweep.py`` prints it from submit to the results in the caller's hands, through a real server on
loopback and its durable store. A job for each point is measured as callers do it, one after the other over one connection
(goal), and at the most that the server gives, over 32 connections at a time. Client and server share the machine, so the ratio
of the server's own CPU time is given as well. The rows of both ways are compared.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import Any

from bench_jobs import Wire, server
from bench_rpc import cpu_seconds

QUBITS = 6
POINTS = 10_000
CONNECTIONS = 32
NAMES = [f"t{k}" for k in range(2 * QUBITS)]
SHOTS = 100
FLOORS: dict[str, float] = {"a sweep / a job a point, one at a time": 8.0, "the same by the server's CPU time": 8.0}


def ansatz() -> str:
    """Two layers of rotations around a chain of cx."""
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', *(f"input float {name};" for name in NAMES)]
    lines += [f"qubit[{QUBITS}] q;", f"bit[{QUBITS}] c;"]
    lines += [f"ry(t{k}) q[{k}];" for k in range(QUBITS)]
    lines += [f"cx q[{k}], q[{k + 1}];" for k in range(QUBITS - 1)]
    lines += [f"rz(2 * t{QUBITS + k}) q[{k}]; ry(t{QUBITS + k} / 2) q[{k}];" for k in range(QUBITS)]
    return "\n".join([*lines, "c = measure q;"])


SOURCE = ansatz()


def point(index: int) -> dict[str, float]:
    """The values of one point."""
    return {name: 3 * math.sin(7.0 * index + place) for place, name in enumerate(NAMES)}


def run(wire: Wire, points: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Run points as one job; gives their counts."""
    body = {"source_code": [SOURCE], "code_type": "qasm3", "shots": SHOTS, "parameters": [points]}
    job = wire.call("submit_job", driver_options={"seed": 1}, **body)
    while wire.call("wait_job", job_id=job["job_id"], timeout=60)["job_status"] != "COMPLETED":
        pass
    rows = wire.call("get_job_results", job_id=job["job_id"])["results"]
    return [row["results"] for row in rows]


def one_at_a_time(port: int, count: int) -> list[dict[str, Any]]:
    """A job for each point, over one connection."""
    wire = Wire(port)
    rows = [run(wire, [point(index)])[0] for index in range(count)]
    wire.socket.close()
    return rows


def many_at_a_time(port: int, count: int) -> list[dict[str, Any]]:
    """A job for each point, over CONNECTIONS connections."""
    rows: list[dict[str, Any]] = []

    def work(first: int) -> None:
        wire = Wire(port)
        rows.extend(run(wire, [point(index)])[0] for index in range(first, count, CONNECTIONS))
        wire.socket.close()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows


def in_one_job(port: int, count: int) -> list[dict[str, Any]]:
    """All points in one job."""
    wire = Wire(port)
    rows = run(wire, [point(index) for index in range(count)])
    wire.socket.close()
    return rows


def costs(single: int, many: int, whole: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds and the server's CPU seconds of one point, the least of some repeats, taken in turn."""
    least: dict[str, tuple[float, float]] = {}
    with server() as (port, group):
        assert one_at_a_time(port, 1) == in_one_job(port, 2)[:1]  # the seed of a point is the job's and its place
        for _ in range(repeats):
            for work, count in ((one_at_a_time, single), (many_at_a_time, many), (in_one_job, whole)):
                cpu, start = cpu_seconds(group), time.perf_counter()
                rows = work(port, count)
                took = (time.perf_counter() - start) / count, (cpu_seconds(group) - cpu) / count
                assert len(rows) == count
                assert all(sum(row.values()) == SHOTS for row in rows)
                before = least.get(work.__name__, took)
                least[work.__name__] = min(took[0], before[0]), min(took[1], before[1])
    return least


def ratios() -> dict[str, float]:
    """What the guard judges."""
    cost = costs(single=100, many=32, whole=POINTS, repeats=1)
    one, job = cost["one_at_a_time"], cost["in_one_job"]
    return {
        "a sweep / a job a point, one at a time": one[0] / job[0],
        "the same by the server's CPU time": one[1] / job[1],
    }


def main() -> int:
    """Print the rates and ratios."""
    cost = costs(single=400, many=1600, whole=POINTS, repeats=3)
    wall, cpu = cost["in_one_job"]
    for name, (seconds, busy) in cost.items():
        print(
            f"{name:16} {1e6 * seconds:8.1f} us a point, {1e6 * busy:8.1f} us CPU of the server: "
            f"one job is {seconds / wall:6.1f} and {busy / cpu:6.1f} times faster"
        )
    print(f"{POINTS} points in one job: {POINTS * wall:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
