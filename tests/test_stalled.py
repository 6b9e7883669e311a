"""A server full of connections that stall: it answers everyone else, and ends when it is told to."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import DEVICES

from qfast.client import Client
from qfast.demo import BELL2, local_server

OF_EACH = 60
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"body":{"message":"x"}}}'
LARGE = "// " + "x" * 300_000 + "\n" + BELL2
DEADLINE = 20.0  # seconds


def request(body: bytes, path: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def first_bytes(client: Client) -> list[bytes]:
    """What a connection of each kind sends before it stalls."""
    large = client.submit_job(LARGE, shots=1)["job_id"]
    client.wait(large, DEADLINE)
    job_id = client.submit_job(BELL2, backend="remote")["job_id"]
    results = {"jsonrpc": "2.0", "id": 1, "method": "get_job_results", "params": {"body": {"job_id": large}}}
    wait = {"jsonrpc": "2.0", "id": 1, "method": "wait_job", "params": {"body": {"job_id": job_id, "timeout": 60}}}
    return [
        b"",
        b"POST /v1/job HTTP/1.1\r\nHost: local",
        request(PING, "/v1/system")[:-9],
        request(json.dumps(results).encode(), "/v1/job") * 4,
        request(PING, "/v1/system"),
        request(json.dumps(wait).encode(), "/v1/job"),
        f"GET /v1/job/events?job_id={job_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    ]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stalled_connections_lock_nobody_out(tmp_path: Path, stop: signal.Signals) -> None:
    (tmp_path / "devices.toml").write_text(DEVICES)
    flags = ("--devices", str(tmp_path / "devices.toml"))
    with (
        ExitStack() as held,
        local_server(tmp_path / "data", *flags) as (url, process),
        Client(url) as client,
    ):
        port = int(url.rsplit(":", 1)[1])
        for text in first_bytes(client):
            for _ in range(OF_EACH):
                connection = held.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
                connection.sendall(text)
        with Client(url) as another:
            assert another.wait(another.submit_job(BELL2)["job_id"], DEADLINE)["job_status"] == "COMPLETED"
        process.send_signal(stop)
        assert process.wait(DEADLINE) == 0
