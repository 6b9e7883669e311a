"""Real servers on one real PostgreSQL: whoever is asked, whoever dies, every job ends once.

One cluster serves all tests, in their order; the last ones hurt it. After each the history of its jobs is judged.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import ASYNC_BACKEND, NARROW_BACKEND
from node_kit import Cluster, Node, until
from postgres_kit import sql

from qfast.client import ConnectionError as NoServer
from qfast.errors import Conflict, NotFound, Unavailable


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
