"""Real servers on one real PostgreSQL: whoever is asked, whoever dies, every job ends once.

One cluster serves all tests, in their order; the last ones hurt it. After each the history of its jobs is judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import postgres_kit
import pytest
from conftest import ASYNC_BACKEND, DEVICES, NARROW_BACKEND, Receiver
from history import Audit, Delivery, Recorder, violations
from postgres_kit import sql

from qfast.client import Client
from qfast.client import ConnectionError as NoServer
from qfast.demo import BELL2, local_server
from qfast.errors import Conflict, NotFound, Unavailable

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
        inner, outer = await asyncio.open_unix_connection(self._socket)
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

    def cut(self) -> None:
        """Let nothing through."""
        self._loop.call_soon_threadsafe(self._open.clear)

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
        for _ in range(50):
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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes, the last one behind a proxy."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster
    finally:
        cluster.close()


def test_all_nodes_share_the_work_in_the_order_of_priorities(cluster: Cluster) -> None:
    jobs = cluster.submit_many(600, cluster.nodes)
    cluster.check()
    for job_id in jobs[::100]:
        for node in cluster.nodes:
            answer = cluster.recorder.call(
                "results", job_id, lambda node=node, job_id=job_id: node.client.get_job_results(job_id)
            )
            assert sum(answer["results"][0]["results"].values()) == 10
    ran = sql(
        "SELECT owner, count(*) FROM audit WHERE before = 'QUEUED' AND status = 'RUNNING' GROUP BY 1", cluster.url
    )
    assert sum(count for _, count in ran) == 600
    assert len(ran) == 3, "somebody did nothing"


def test_of_many_submits_of_one_id_on_all_nodes_there_is_one_job(cluster: Cluster) -> None:
    for round_ in range(5):
        job_id = str(uuid.uuid4())
        start = threading.Barrier(32)

        def submit(index: int, job_id: str = job_id, start: threading.Barrier = start) -> str:
            start.wait()
            try:
                cluster.submit(cluster.nodes[index % 3], job_id=job_id, shots=10 + index % 2)
            except Conflict:
                return "conflict"
            return f"shots {10 + index % 2}"

        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(submit, range(32)))
        assert sorted(set(answers)) in (["conflict", "shots 10"], ["conflict", "shots 11"]), round_
        assert sql(f"SELECT count(*) FROM job WHERE job_id = '{job_id}'", cluster.url)[0][0] == 1
    cluster.check()


def test_any_node_commands_and_watches_the_jobs_of_another(cluster: Cluster) -> None:
    one, two = cluster.nodes[:2]
    running = cluster.on_another(one, driver_options={"sleep": 60})
    assert cluster.cancel(one, running) is None  # by the contract, only with force
    began = time.monotonic()
    waits = threading.Thread(
        target=lambda: cluster.recorder.call("status", running, lambda: two.client.wait(running, 60))
    )
    waits.start()
    assert cluster.cancel(one, running, force=True) == "CANCELLING"
    waits.join()
    assert time.monotonic() - began < 30
    assert cluster.state(two, running) == "CANCELLED"

    long = cluster.on_another(two, driver_options={"sleep": 60})
    cluster.recorder.call(
        "delete", long, lambda: {"job_status": two.client.delete_jobs(long, force=True)[0]["job_status"]}
    )
    for node in cluster.nodes:
        with pytest.raises(NotFound):
            node.client.get_job_status(long)

    # Every node has one slot of the narrow backend: with these taken, what comes is queued.
    sleepers = [cluster.submit(node, backend=NARROW_BACKEND, driver_options={"sleep": 60}) for node in cluster.nodes]
    until(lambda: all(cluster.state(one, job) == "RUNNING" for job in sleepers))
    queued = [cluster.submit(cluster.nodes[k % 3], backend=NARROW_BACKEND, job_priority=9) for k in range(4)]
    assert [one.client.get_job_status(job)["queue_position"] for job in queued] == [0, 1, 2, 3]
    assert two.client.update_job(queued[3], job_priority=1, description="first")["job_priority"] == 1
    assert one.client.get_job_status(queued[3])["queue_position"] == 0
    assert one.client.get_job_status(queued[3])["description"] == "first"
    assert cluster.cancel(two, queued[0]) == "CANCELLED"
    assert one.client.delete_jobs(queued[1])[0]["job_status"] == "DELETED"
    with pytest.raises(Conflict, match="not in QUEUED"):
        two.client.update_job(sleepers[0], job_priority=2)
    assert {cluster.cancel(two, job, force=True) for job in sleepers} == {"CANCELLING"}
    cluster.check()
    first, second = (one.client.get_job_status(job)["started_at"] for job in (queued[3], queued[2]))
    assert first <= second or len(cluster.nodes) > 1


def test_results_from_outside_may_come_to_any_node(cluster: Cluster) -> None:
    one, two = cluster.nodes[:2]
    for node in (one, two):
        job = cluster.submit(one, backend=ASYNC_BACKEND)
        until(lambda job=job: cluster.state(one, job) == "RUNNING")
        answer = node.client.set_job_results(job, [{"00": 10}])
        assert answer["job_status"] == "COMPLETED"
        again = (two if node is one else one).client
        assert again.set_job_results(job, [{"00": 10}])["job_status"] == "COMPLETED"
        with pytest.raises(Conflict):
            again.set_job_results(job, [{"11": 10}])
    cluster.check()


def test_a_session_is_one_on_all_nodes(cluster: Cluster) -> None:
    one, two, three = (node.client for node in cluster.nodes)
    session = one.call("open_session", {"backend": "dummy"})["id"]
    jobs = [cluster.submit(cluster.nodes[k % 3], session_id=session) for k in range(9)]
    for job in jobs:
        assert two.wait(job, 30)["job_status"] == "COMPLETED"
    assert (
        len(
            {
                row[0]
                for row in sql(
                    f"SELECT owner FROM audit JOIN audit_id USING (seq) WHERE status = 'RUNNING' AND job_id IN {tuple(jobs)}",
                    cluster.url,
                )
            }
        )
        == 1
    )
    until(lambda: three.call("get_session", {"session_id": session})["jobs"] == {"COMPLETED": 9})
    assert session in [entry["id"] for entry in three.call("get_sessions")]
    held = cluster.submit(cluster.nodes[1], session_id=session, driver_options={"sleep": 60})
    until(lambda: cluster.state(cluster.nodes[1], held) == "RUNNING")
    assert not two.call("close_session", {"session_id": session})["accepting_jobs"]
    with pytest.raises(Conflict):
        cluster.submit(cluster.nodes[2], session_id=session)
    assert cluster.cancel(cluster.nodes[2], held, force=True) == "CANCELLING"
    until(lambda: one.call("get_session", {"session_id": session})["state"] == "closed")

    session = two.call("open_session", {"backend": "dummy"})["id"]
    sleepers = [
        cluster.submit(cluster.nodes[k % 3], session_id=session, driver_options={"sleep": 60}) for k in range(4)
    ]
    until(lambda: {cluster.state(cluster.nodes[0], job) for job in sleepers} == {"QUEUED", "RUNNING"})
    assert three.call("cancel_session", {"session_id": session})["state"] == "closed"
    states = [cluster.state(cluster.nodes[0], job) for job in sleepers]
    assert set(states) == {"CANCELLED", "RUNNING"}
    for job in sleepers:
        cluster.cancel(cluster.nodes[0], job, force=True)
    cluster.check()


def test_a_rolling_restart_fails_no_call_that_is_tried_again(cluster: Cluster) -> None:
    stopped = cluster.nodes[0]
    done: list[str] = []
    load = threading.Thread(target=lambda: done.extend(cluster.submit_many(200, cluster.nodes[:2])))
    asleep = [cluster.submit(stopped, driver_options={"sleep": 1}) for _ in range(8)]
    load.start()
    stopped.process.send_signal(signal.SIGTERM)
    assert stopped.process.wait(30) == 0
    load.join()
    assert len(done) == 200
    stopped.close()
    cluster.nodes[0] = cluster.join()
    cluster.check()
    for job in asleep:
        assert cluster.state(cluster.nodes[0], job) == "COMPLETED"
    again = sql("SELECT count(*) FROM audit WHERE before = 'RUNNING' AND status = 'QUEUED'", cluster.url)[0][0]
    assert again == 0, "a job was begun twice"


def test_a_stopped_and_a_cut_off_node_apply_nothing_late(cluster: Cluster) -> None:
    """Both hold running jobs when they fall silent; the third takes over, and they come back when all is done."""
    stopped, healthy, cut = cluster.nodes
    jobs = [cluster.submit(node, driver_options={"sleep": 2}) for node in cluster.nodes for _ in range(4)]
    until(lambda: len(cluster.owners("RUNNING")) == 3)
    jobs += cluster.submit_many(200, [healthy], callbacks=[callback(cluster)])
    stopped.signal(signal.SIGSTOP)
    cluster.proxy.cut()
    silent = time.time()
    until(lambda: sql("SELECT count(*) FROM tenure WHERE NOT ended", cluster.url)[0][0] == 1)
    assert time.time() - silent <= 10.0
    cluster.faults.append((silent, time.time()))
    until(lambda: all(cluster.state(healthy, job) == "COMPLETED" for job in jobs))
    ends = {job: healthy.client.get_job_results(job) for job in jobs}
    stopped.signal(signal.SIGCONT)
    cluster.proxy.mend()
    until(lambda: sql("SELECT count(*) FROM tenure WHERE NOT ended", cluster.url)[0][0] == 3)
    for node in (stopped, cut):  # they take part again, with nothing of what they had
        until(lambda node=node: answers(node))
        assert cluster.on_another(healthy, driver_options={"sleep": 60})
    for row in healthy.client.get_jobs(job_status="RUNNING"):
        cluster.cancel(healthy, row["job_id"], force=True)
    cluster.check()
    assert {job: stopped.client.get_job_results(job) for job in jobs} == ends
    ran = sql("SELECT max(attempt) FROM audit", cluster.url)[0][0]
    assert ran == 2, "nothing ran again"


def callback(cluster: Cluster) -> dict[str, Any]:
    """What asks for a callback to the cluster's receiver."""
    return {"name": "callback", "type": "results", "method": "post", "url": cluster.receiver.url}


def answers(node: Node) -> bool:
    """Whether the node can read the database."""
    with contextlib.suppress(Unavailable, NoServer, OSError):
        return bool(node.client.get_jobs(limit=1))
    return False


def test_a_killed_node_s_jobs_callbacks_and_sessions_go_on_elsewhere(cluster: Cluster) -> None:
    killed, other, _ = cluster.nodes
    session = killed.client.call("open_session", {"backend": "dummy"})["id"]
    in_session = [cluster.submit(other, session_id=session, driver_options={"sleep": 0.5}) for _ in range(6)]
    outside = cluster.submit(killed, backend=ASYNC_BACKEND)
    until(lambda: cluster.state(other, outside) == "RUNNING")
    jobs: list[str] = []
    load = threading.Thread(
        target=lambda: jobs.extend(cluster.submit_many(200, cluster.nodes, callbacks=[callback(cluster)]))
    )
    load.start()
    until(lambda: len(cluster.owners("RUNNING")) > 1)
    killed.kill()
    died = time.time()
    until(lambda: sql("SELECT count(*) FROM tenure WHERE NOT ended", cluster.url)[0][0] == 2)
    until(lambda: not sql("SELECT FROM job_state JOIN tenure ON owner = epoch WHERE ended LIMIT 1", cluster.url))
    assert time.time() - died <= 10.0
    cluster.faults.append((died, time.time()))
    load.join()
    for job in in_session:
        assert other.client.wait(job, 30)["job_status"] == "COMPLETED"
    until(lambda: other.client.call("get_session", {"session_id": session})["jobs"] == {"COMPLETED": 6})
    assert other.client.call("close_session", {"session_id": session})["state"] == "closed"
    assert cluster.state(other, outside) == "RUNNING"  # what is out stays out
    assert other.client.set_job_results(outside, [{"00": 10}])["job_status"] == "COMPLETED"
    cluster.check()
    assert all(cluster.state(other, job) == "COMPLETED" for job in jobs)
