"""Real servers on one real PostgreSQL for the tests: nodes, a proxy that can be cut, and what was seen of their jobs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import postgres_kit
from conftest import ASYNC_BACKEND, DEVICES, Receiver
from history import Audit, Delivery, Recorder, violations
from postgres_kit import sql

from qfast.client import Client
from qfast.client import ConnectionError as NoServer
from qfast.demo import BELL2, local_server
from qfast.errors import Unavailable

DEADLINE = 40.0  # seconds until a condition counts as never met
LIVE = ("QUEUED", "RUNNING", "CANCELLING")


def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """Look again until it holds, and give what it gave."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
    return value


class Proxy:
    """Stands between a node and the database, on a TCP port; while it is cut nothing passes, and nobody is told."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._socket = postgres_kit.cluster().get_uri().partition("host=")[2] + "/.s.PGSQL.5432"
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        async def serve() -> None:
            server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner, outer = await asyncio.open_unix_connection(self._socket)
        except OSError:  # the database is away
            writer.transport.abort()
            return
        self._ends |= {outer, writer}
        await asyncio.wait(
            [asyncio.ensure_future(self._pipe(reader, outer)), asyncio.ensure_future(self._pipe(inner, writer))]
        )

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()  # what was on its way arrives later
                writer.write(data)
        await self._open.wait()
        writer.close()
        self._ends.discard(writer)

    def cut(self) -> None:
        """Let nothing through."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def drop(self) -> None:
        """Break every connection; what was on its way is lost, the answer to a COMMIT perhaps."""

        def abort() -> None:
            for writer in self._ends:
                writer.transport.abort()
            self._ends.clear()

        self._loop.call_soon_threadsafe(abort)

    def mend(self) -> None:
        """Let everything through, what is late first."""
        self._loop.call_soon_threadsafe(self._open.set)

    def url(self, url: str) -> str:
        """The same database through the proxy."""
        _, _, rest = url.partition("host=")
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?{rest.partition('&')[2]}"


class Node:
    """A server of its own and its client."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "devices.toml").write_text(DEVICES)
        self._stack = contextlib.ExitStack()
        flags = ("--store", url, "--devices", str(folder / "devices.toml"))
        log = self._stack.enter_context((folder / "log").open("ab"))
        self.url, self.process = self._stack.enter_context(local_server(folder / "data", *flags, log=log))
        self.client = self._stack.enter_context(Client(self.url, timeout=90.0))
        self.epoch = 0  # once it was asked for

    def signal(self, number: signal.Signals) -> None:
        """To the process that answers."""
        pid = self.process.pid
        os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]), number)

    def kill(self) -> None:
        """End all of it at once."""
        self.process.kill()  # which takes the process that answers along
        self.process.wait()

    def close(self) -> None:
        """Stop it."""
        self._stack.close()


class Cluster:
    """Nodes on a database of their own, and what was seen of their jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = postgres_kit.url(folder)
        self.proxy = Proxy()
        self.recorder = Recorder()
        self.receiver = Receiver()
        self.faults: list[tuple[float, float]] = []  # when nodes were silent
        self._made = 0
        self.nodes = [self.join()]  # it makes the schema
        with ThreadPoolExecutor(2) as pool:
            self.nodes += pool.map(self.join, (self.url, self.proxy.url(self.url)))
        self.audit = Audit(self.url)

    def join(self, url: str | None = None) -> Node:
        """Start another one."""
        self._made += 1
        return Node(self.folder / f"node{self._made}", url or self.url)

    def close(self) -> None:
        """Stop them."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Node.close, self.nodes))
        self.receiver.close()

    def submit(self, node: Node, **fields: Any) -> str:
        """A job of two qubits, recorded; gives its id."""
        fields = {"job_id": str(uuid.uuid4()), "shots": 10, **fields}
        payload = fields.copy()
        self.recorder.call("submit", fields["job_id"], lambda: node.client.submit_job(BELL2, **fields), payload)
        return str(fields["job_id"])

    def submit_many(self, count: int, nodes: list[Node], threads: int = 4, **fields: Any) -> list[str]:
        """Jobs of all priorities, to the nodes in turn; one that is not taken is submitted to the next."""

        def one(index: int) -> str:
            wanted = {"job_id": str(uuid.uuid4()), "job_priority": 1 + index % 10, **fields}
            for turn in range(100):
                with contextlib.suppress(NoServer, OSError, Unavailable):
                    return self.submit(nodes[(index + turn) % len(nodes)], **wanted)
                time.sleep(0.05)
            raise AssertionError("no node takes the job")

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, range(count)))

    def state(self, node: Node, job_id: str) -> str:
        """A job's state as that node tells it, recorded."""
        answer = self.recorder.call("status", job_id, lambda: node.client.get_job_status(job_id))
        return str(answer["job_status"])

    def cancel(self, node: Node, job_id: str, *, force: bool = False) -> str | None:
        """The state under which a node lists the job as cancelled, None when it does not."""
        listed: list[dict[str, Any]] = []

        def call() -> dict[str, Any] | None:
            listed.extend(node.client.cancel_jobs(job_id, force=force))
            return listed[0] if listed else None

        self.recorder.call("cancel", job_id, call)
        return listed[0]["job_status"] if listed else None

    def drained(self) -> bool:
        """Whether all jobs and deliveries have ended."""
        return not sql(
            f"SELECT 1 FROM job_state WHERE status IN {LIVE} UNION ALL SELECT 1 FROM callback LIMIT 1", self.url
        )

    def owners(self, status: str) -> set[int]:
        """The epochs that hold jobs in that state."""
        return {
            row[0]
            for row in sql(f"SELECT DISTINCT owner FROM job_state WHERE status = '{status}' AND owner > 0", self.url)
        }

    def owner(self, job_id: str) -> int | None:
        """The epoch that holds the job."""
        return sql(f"SELECT owner FROM job JOIN job_state USING (seq) WHERE job_id = '{job_id}'", self.url)[0][0]

    def on_another(self, node: Node, **fields: Any) -> str:
        """A running job that this node does not hold."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            job = self.submit(node, **fields)
            until(lambda job=job: self.state(node, job) == "RUNNING")
            if self.owner(job) != self.epoch_of(node):
                return job
            self.cancel(node, job, force=True)
        raise AssertionError("one node runs them all")

    def epoch_of(self, node: Node) -> int:
        """The epoch of a node, found by a session that it opens."""
        if not node.epoch:
            session = node.client.call("open_session", {"backend": "dummy"})["id"]
            node.epoch = sql(f"SELECT owner FROM session WHERE session_id = '{session}'", self.url)[0][0]
            node.client.call("cancel_session", {"session_id": session})
        return node.epoch

    def collect(self) -> None:
        """Write down the callbacks that have come."""
        while not self.receiver._arrived.empty():
            headers, body = self.receiver.wait()
            content = hashlib.sha256(repr(sorted(body.items())).encode()).digest()
            self.recorder.delivered(Delivery(body["job_id"], headers["webhook-id"], body["job_status"], content))

    def check(self) -> None:
        """Hold everything that was seen to the rules."""
        until(self.drained)
        self.collect()
        found = violations(self.recorder, self.audit.rows(), outside={ASYNC_BACKEND}, faults=self.faults)
        assert not found, (len(found), found[:10])
