"""Two real servers on one real PostgreSQL: whoever is asked, whoever dies, every job ends once."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import postgres_kit
import pytest
from conftest import DEVICES
from history import Audit, Recorder, judged
from postgres_kit import sql

from qfast.client import Client
from qfast.client import ConnectionError as NoServer
from qfast.demo import BELL2, local_server
from qfast.errors import Unavailable

DEADLINE = 40.0  # seconds until a condition counts as never met


def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """Look again until it holds, and give what it gave."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
    return value


class Node:
    """A server of its own and its client."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "devices.toml").write_text(DEVICES)
        self._stack = contextlib.ExitStack()
        flags = ("--store", url, "--devices", str(folder / "devices.toml"))
        self.url, self.process = self._stack.enter_context(local_server(folder / "data", *flags))
        self.client = self._stack.enter_context(Client(self.url, timeout=90.0))
        self.stopped = False

    def worker(self) -> int:
        """The process that answers."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def signal(self, number: signal.Signals) -> None:
        """To both processes of the server."""
        for pid in (self.worker(), self.process.pid):
            os.kill(pid, number)

    def close(self) -> None:
        """Stop it, however it is."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                self.signal(signal.SIGCONT)
        self._stack.close()


class Cluster:
    """Nodes on a database of their own, and what was seen of their jobs."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.folder = folder
        self.url = postgres_kit.url(folder)
        self.recorder = Recorder()
        self.nodes: list[Node] = []
        for _ in range(count):
            self.add()
        self.audit = Audit(self.url)

    def add(self, url: str | None = None) -> Node:
        """Start another one."""
        self.nodes.append(Node(self.folder / f"node{len(self.nodes)}", url or self.url))
        return self.nodes[-1]

    def submit(self, node: Node, **fields: Any) -> str:
        """A job of two qubits, recorded; gives its id."""
        fields = {"job_id": str(uuid.uuid4()), "shots": 10, **fields}
        payload = fields.copy()
        self.recorder.call("submit", fields["job_id"], lambda: node.client.submit_job(BELL2, **fields), payload)
        return str(fields["job_id"])

    def submit_many(self, count: int, threads: int = 8, **fields: Any) -> list[str]:
        """Jobs of all priorities, to all nodes in turn; one that is not answered is submitted to another."""

        def one(index: int) -> str:
            wanted = {"job_id": str(uuid.uuid4()), "job_priority": 1 + index % 10, **fields}
            while True:
                node = self.nodes[index % len(self.nodes)]
                try:
                    return self.submit(node, **wanted)
                except (NoServer, OSError, Unavailable):
                    index += 1

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, range(count)))

    def state(self, node: Node, job_id: str) -> str:
        """A job's state as that node tells it, recorded."""
        answer = self.recorder.call("status", job_id, lambda: node.client.get_job_status(job_id))
        return str(answer["job_status"])

    def drained(self) -> bool:
        """Whether all jobs have ended."""
        return not sql("SELECT FROM job_state WHERE status IN ('QUEUED', 'RUNNING', 'CANCELLING') LIMIT 1", self.url)

    def owners(self, status: str) -> list[tuple[int, str]]:
        """Epoch of the owner and id of the jobs in that state that somebody holds."""
        return [
            tuple(row)
            for row in sql(
                f"SELECT owner, job_id FROM job JOIN job_state USING (seq) WHERE status = '{status}' AND owner > 0",
                self.url,
            )
        ]

    def ran(self) -> dict[int, int]:
        """How many runs each epoch has begun."""
        rows = sql(
            "SELECT owner, count(*) FROM audit WHERE before = 'QUEUED' AND status = 'RUNNING' GROUP BY 1", self.url
        )
        return dict(map(tuple, rows))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes."""
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Node.close, cluster.nodes))


def test_both_nodes_share_the_work_in_the_order_of_priorities(cluster: Cluster) -> None:
    with judged(cluster.recorder, cluster.audit):
        jobs = cluster.submit_many(1000)
        until(cluster.drained)
        for job_id in jobs[::50]:
            for node in cluster.nodes:
                answer = cluster.recorder.call(
                    "results", job_id, lambda node=node, job_id=job_id: node.client.get_job_results(job_id)
                )
                assert sum(answer["results"][0]["results"].values()) == 10
        ran = cluster.ran()
        assert sum(ran.values()) == 1000
        assert len(ran) == 2, "one node did it all"


def test_a_killed_node_s_jobs_run_on_the_other_within_ten_seconds(cluster: Cluster) -> None:
    with judged(cluster.recorder, cluster.audit):
        one, two = cluster.nodes
        asleep = [cluster.submit(one, driver_options={"sleep": 3}) for _ in range(6)]
        more = cluster.submit_many(300, threads=4)
        until(lambda: len({epoch for epoch, _ in cluster.owners("RUNNING")}) == 2)
        one.signal(signal.SIGKILL)
        killed = time.monotonic()
        dead = {
            job for epoch, job in cluster.owners("RUNNING") if epoch == min(e for e, _ in cluster.owners("RUNNING"))
        }
        until(
            lambda: (
                not sql("SELECT FROM job_state JOIN tenure ON owner = epoch WHERE ended", cluster.url)
                and len(sql("SELECT FROM tenure WHERE NOT ended", cluster.url)) == 1
            )
        )
        assert time.monotonic() - killed <= 10.0
        until(cluster.drained)
        for job_id in asleep + more:
            assert cluster.state(two, job_id) == "COMPLETED"
        assert dead
