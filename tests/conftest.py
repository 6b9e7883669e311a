"""A real server in a process of its own, and a place for its callbacks to arrive."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qfast.client import Client
from qfast.demo import BELL2, local_server

DEVICES = """
[devices.dummy]
driver = "DriverDummy"

[devices.narrow]
driver = "DriverDummy"
description = "one job at a time, so that a sleeping job keeps the others queued"
slots = 1

[devices.remote]
driver = "DriverAsync"
description = "its jobs stay RUNNING until set_job_results"
slots = 4
"""
ASYNC_BACKEND = "remote"
NARROW_BACKEND = "narrow"


@dataclass
class RunningServer:
    """A server that answers at `url`."""

    url: str
    client: Client
    pid: int
    data_dir: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the whole session; tests share it, so each looks only at its own jobs."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "devices.toml").write_text(DEVICES)
    with local_server(folder / "data", "--devices", str(folder / "devices.toml")) as (url, process):
        client = Client(url)
        yield RunningServer(url, client, process.pid, folder / "data")
        client.close()


@pytest.fixture
def async_backend() -> str:
    """The name of the server's backend whose jobs stay RUNNING until set_job_results."""
    return ASYNC_BACKEND


@pytest.fixture
def queued(server: RunningServer) -> Iterator[Callable[..., str]]:
    """Submits a job that stays QUEUED, behind a sleeping one, and gives its id; takes fields of submit_job."""
    options = {"driver_options": {"sleep": 60}, "backend": NARROW_BACKEND}
    sleeper = server.client.submit_job(BELL2, **options)["job_id"]
    while server.client.get_job_status(sleeper)["job_status"] == "QUEUED":
        time.sleep(0.002)
    made: list[str] = []

    def submit(**fields: Any) -> str:
        fields = {"source_code": BELL2, "backend": NARROW_BACKEND, **fields}
        made.append(server.client.submit_job(**fields)["job_id"])
        return made[-1]

    yield submit
    server.client.delete_jobs([*made, sleeper], force=True)


class Receiver:
    """Takes the callbacks of a server; `wait` gives them in the order of arrival."""

    def __init__(self) -> None:
        self._arrived: queue.Queue[tuple[dict[str, str], dict[str, Any]]] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver._arrived.put(({key.lower(): value for key, value in self.headers.items()}, body))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/callback"

    def wait(self, timeout: float = 20.0) -> tuple[dict[str, str], dict[str, Any]]:
        """Headers (lower case) and body of the next one; fails when none comes."""
        return self._arrived.get(timeout=timeout)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of callbacks on a free loopback port."""
    receiver = Receiver()
    yield receiver
    receiver.close()
