"""JSON-RPC over HTTP: CPU time of the server per call, against a bare Litestar handler on the same granian.

Goal: get_job_status costs at most 1/1.5 of what the ordinary ``data: Struct -> Struct`` handler costs (reference: G1b), a
call inside a batch of 100 at most 1/15 of a single one. CPU time per call (user and system, all processes of the server) is
what is compared: requests per second depend on who else uses the machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 8
BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'

FLOORS = {
    "get_job_status vs Litestar handler": 0.8,
    "batch of 100 vs single calls": 5.0,
    "durable submit vs get_job_status": 0.04,
}


def free_port() -> int:
    """A free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(port: int) -> None:
    """Until something listens."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the server does not come up")


@contextmanager
def running(*command: str) -> Iterator[tuple[int, int]]:
    """A server in a process group of its own; gives its port and group."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, *(word.replace("PORT", str(port)) for word in command)],
        cwd=HERE,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_up(port)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def cpu_seconds(group: int) -> float:
    """User and system time that the processes of a group have used."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                total += int(fields[11]) + int(fields[12])
    return total / TICK


def request_of(call: Any) -> bytes:
    """The HTTP request that carries a call."""
    body = json.dumps(call).encode()
    head = f"POST /v1/job HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def read_answer(wire: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    """One answer's body, and what has come of the next."""
    while b"\r\n\r\n" not in rest:
        rest += wire.recv(1 << 16)
    head, _, body = rest.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += wire.recv(1 << 16)
    return body[:length], body[length:]


def load(port: int, make: Callable[[int], bytes], count: int) -> list[bytes]:
    """Send `count` requests over CONNECTIONS keep-alive connections; gives one answer of each."""
    last: list[bytes] = [b""] * CONNECTIONS

    def work(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 30) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rest = b""
            for k in range(number, count, CONNECTIONS):
                wire.sendall(make(k))
                last[number], rest = read_answer(wire, rest)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return last


def cost(port: int, group: int, make: Callable[[int], bytes], count: int, repeats: int = 3) -> float:
    """CPU seconds per request, the least of some repeats."""
    load(port, make, count // 4)
    best = float("inf")
    for _ in range(repeats):
        before = cpu_seconds(group)
        answers = load(port, make, count)
        best = min(best, (cpu_seconds(group) - before) / count)
        assert all(b'"result"' in answer and b'"error"' not in answer for answer in answers), answers[0][:300]
    return best


def status_call(job_id: str, number: int = 1) -> dict[str, Any]:
    """A get_job_status call."""
    return {"jsonrpc": "2.0", "id": number, "method": "get_job_status", "params": {"body": {"job_id": job_id}}}


def submit_call(number: int) -> dict[str, Any]:
    """A submit_job call."""
    body = {
        "source_code": [BELL],
        "code_type": "qasm2",
        "backend": "dummy",
        "shots": 16,
        "job_priority": 1 + number % 10,
    }
    return {"jsonrpc": "2.0", "id": number, "method": "submit_job", "params": {"body": body}}


def measure() -> dict[str, float]:
    """CPU microseconds per call of the server and of its reference, in one run."""
    figures: dict[str, float] = {}
    bare = (
        "-m",
        "granian",
        "bare_litestar:create",
        "--factory",
        "--interface",
        "asgi",
        "--loop",
        "uvloop",
        "--no-ws",
        "--port",
        "PORT",
    )
    with running(*bare) as (port, group):
        call = request_of(status_call("00000000-0000-4000-8000-000000000001"))
        figures["litestar"] = 1e6 * cost(port, group, lambda _: call, 4000)
    with (
        tempfile.TemporaryDirectory() as folder,
        running("-m", "qfast", "serve", "--port", "PORT", "--data-dir", folder) as (port, group),
    ):
        submitted = json.loads(load(port, lambda k: request_of(submit_call(k)), CONNECTIONS)[0])["result"]["job_id"]
        call = request_of(status_call(submitted))
        figures["status"] = 1e6 * cost(port, group, lambda _: call, 4000)
        batch = request_of([status_call(submitted, k) for k in range(100)])
        figures["batched status"] = 1e6 * cost(port, group, lambda _: batch, 160) / 100
        figures["submit and run"] = 1e6 * cost(port, group, lambda k: request_of(submit_call(k)), 1600, repeats=2)
    return figures


def ratios() -> dict[str, float]:
    """Reference time over ours, for the guard."""
    us = measure()
    return {
        "get_job_status vs Litestar handler": us["litestar"] / us["status"],
        "batch of 100 vs single calls": us["status"] / us["batched status"],
        "durable submit vs get_job_status": us["status"] / us["submit and run"],
    }


def test_calls_cost_less_than_a_litestar_handler(benchmark: Any) -> None:
    figures = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update(figures)
    print("".join(f"\n  {name:20} {us:8.1f} us of CPU per call" for name, us in figures.items()))


if __name__ == "__main__":
    for name, us in measure().items():
        print(f"{name:20} {us:8.1f} us of CPU per call")
