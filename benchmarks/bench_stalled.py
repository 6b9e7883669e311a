"""How long a normal call takes while thousands of connections stall.

Goal: with 2,000 stalled connections of each kind, p99 of a call on a connection of its own is below 1 s. Calls are made
while the connections are being opened and for some seconds after. The reference is the same server without them.

``python benchmarks/bench_stalled.py [--connections 2000] [--seconds 5] [KIND ...]`` prints the figures, kind by kind, and
of all kinds at once.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from qfast import Client
from qfast.demo import BELL2, local_server

FLOORS: dict[str, float] = {}
ADDRESSES = 50  # loopback addresses that the stalled connections come from
ESTABLISHED = 1  # TCP's name of the state
PATIENCE = 10.0  # seconds after which a call has failed
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"body":{"message":"x"}}}'
LARGE = "// " + "x" * 250_000 + "\n" + BELL2


def request(body: bytes, path: str = "/v1/job") -> bytes:
    """A POST on a connection that stays open."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def first_bytes(client: Client) -> dict[str, bytes]:
    """What the connections of each kind send before they stall."""
    large = client.submit_job(LARGE, shots=1)["job_id"]
    client.wait(large, 60)
    device = client.submit_job(BELL2, backend="outside")["job_id"]
    results = {"jsonrpc": "2.0", "id": 1, "method": "get_job_results", "params": {"body": {"job_id": large}}}
    return {
        "idle": b"",
        "half a header": b"POST /v1/job HTTP/1.1\r\nHost: localhost\r\nContent-Ty",
        "half a body": request(PING, "/v1/system")[:-20],
        "slow reader": request(json.dumps(results).encode()) * 2,  # 0.5 MB of answers
        "idle keep-alive": request(PING, "/v1/system"),
        "event stream": f"GET /v1/job/events?job_id={device} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    }


def stall(port: int, source: str, text: bytes) -> socket.socket:
    """A connection that sends this and then neither sends nor reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.bind((source, 0))
    connection.connect(("127.0.0.1", port))
    connection.sendall(text)
    return connection


def is_open(connection: socket.socket) -> bool:
    """Whether the server has not closed it."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED
    except OSError:
        return False


def call(port: int) -> float:
    """Seconds for one call, connection included."""
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(request(PING, "/v1/system"))
        answer = connection.recv(4096)
    if b'"result"' not in answer:
        raise RuntimeError(f"a normal call got {answer[:200]!r}")
    return time.perf_counter() - begun


@contextmanager
def server() -> Iterator[tuple[int, int, Client]]:
    """Port, process id of what answers, and a client."""
    with tempfile.TemporaryDirectory() as folder:
        devices = Path(folder) / "devices.toml"
        devices.write_text('[devices.dummy]\ndriver = "DriverDummy"\n[devices.outside]\ndriver = "DriverAsync"\n')
        with (
            local_server(Path(folder) / "data", "--devices", str(devices)) as (url, process),
            Client(url) as client,
        ):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield urlsplit(url).port or 0, int(children[0]), client


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def measure(port: int, texts: list[bytes], seconds: float, sources: int = ADDRESSES) -> tuple[list[float], int, int]:
    """Seconds of calls, refused and still open connections, while one connection stalls after each of the texts."""
    held: list[socket.socket] = []
    calls: list[float] = []
    refused = 0
    for index, text in enumerate(texts):
        try:
            held.append(stall(port, f"127.0.1.{1 + index % sources}", text))
        except OSError:
            refused += 1
        if index % 20 == 0:
            calls.append(call(port))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        calls.append(call(port))
        time.sleep(0.005)
    left = sum(is_open(connection) for connection in held)
    for connection in held:
        connection.close()
    return calls, refused, left


def show(name: str, calls: list[float], note: str) -> None:
    """One row of the table."""
    ordered = sorted(calls)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    shown = (1000 * statistics.median(ordered), 1000 * p99, 1000 * ordered[-1])
    print(f"{name:16s} {len(calls):6d} {shown[0]:9.2f} {shown[1]:9.2f} {shown[2]:9.2f}   {note}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="default: every kind, one address, all kinds at once")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count, seconds = given.connections, given.seconds
    print(f"{'stalled':16s} {'calls':>6s} {'p50 ms':>9s} {'p99 ms':>9s} {'max ms':>9s}   {count} of each kind")
    with server() as (port, pid, client):
        kinds = first_bytes(client)
        rows = {"none": ([], 1), **{name: ([text] * count, ADDRESSES) for name, text in kinds.items()}}
        rows["one address"] = ([b""] * count, 1)
        rows["all at once"] = (list(kinds.values()) * count, 4 * ADDRESSES)
        for name in given.kinds or rows:
            texts, sources = rows[name]
            calls, refused, left = measure(port, texts, seconds, sources)
            show(name, calls, f"refused {refused}, open at the end {left}, server {megabytes(pid):.0f} MB")


if __name__ == "__main__":
    main()
