"""The circuit cache: what it keeps, for whom, within which bounds, and that a hit changes nothing but the time."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from typing import Any

import pytest
from conftest import RunningServer

from qfast.plugins import Device, Task
from qfast.prepared import Prepared, PreparedPrograms, key_of

DEVICE = Device(name="dummy", driver="DriverDummy")
GHZ = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[4];\nh q[0];\ncx q[0],q[1];\ncx q[1],q[2];\ncx q[2],q[3];\n'
ROUTED = {"transpiler": "cmss", "transpiler_options": {"optimization_level": 2}}


def task_of(source: str = "a", **fields: Any) -> Task:
    return Task(device=DEVICE, code_type="qasm", source=source, shots=1, **fields)


def test_the_key_is_what_preparation_depends_on():
    tasks = [
        task_of(),
        task_of("b"),
        task_of(transpiler="cmss"),
        task_of(transpiler="cmss", transpiler_options={"level": 1}),
        task_of(transpiler="cmss", transpiler_options={"level": 2}),
        task_of(observables=[{"Z": 1.0}]),
    ]
    keys = [key_of(task) for task in tasks]
    assert len(set(keys)) == len(tasks)
    assert key_of(task_of(seed=7, dry_run=True)) == keys[0]
    one, two = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert key_of(task_of(transpiler_options=one)) == key_of(task_of(transpiler_options=two))
    swept = task_of(inputs={"theta": 1.0}), task_of(inputs={"theta": 2.0}, observables=[{"Z": 1.0}])
    assert key_of(swept[0]) == key_of(swept[1]) != keys[0]  # values are bound in what is kept
    assert key_of(Task(device=DEVICE, code_type="qubo", source=None, shots=1)) is None


def test_the_least_recently_used_go_first():
    room = PreparedPrograms(max_bytes=10 * 1100)
    keys = [("qasm", f"{index:0100}", None, b"", True) for index in range(12)]
    for key in keys[:9]:
        room.put(key, Prepared(None, {}, 1))
    assert room.get(keys[0]) is not None
    for key in keys[9:]:
        room.put(key, Prepared(None, {}, 1))
    assert room.get(keys[0]) is not None
    assert room.get(keys[1]) is None
    assert len(room) <= 10
    room.put(keys[0], Prepared(None, {"again": True}, 1))
    assert room.get(keys[0]).metadata == {"again": True}
    room.put(("qasm", "x" * 11_000, None, b"", True), Prepared(None, {}, 1))
    assert room.get(("qasm", "x" * 11_000, None, b"", True)) is None


def test_the_bytes_are_counted_right_by_many_threads():
    room = PreparedPrograms(max_bytes=40_000)
    keys = [("qasm", "s" * (index % 50), str(index % 7), b"", True) for index in range(3000)]

    def work(start: int) -> None:
        for key in itertools.islice(keys, start, None, 3):
            if room.get(key) is None:
                room.put(key, Prepared(None, {}, 1))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert room._bytes == sum(kept.size(key) for key, kept in room._kept.items()) <= 40_000


def counts_of(server: RunningServer, source: str, **fields: Any) -> tuple[Any, Any]:
    job_id = server.client.submit_job(source, shots=500, driver_options={"seed": 5}, **fields)["job_id"]
    assert server.client.wait(job_id, 60)["job_status"] == "COMPLETED"
    row = server.client.get_job_results(job_id)["results"][0]
    return row["results"], row["metadata"].get("circuit_cache")


@pytest.mark.parametrize("fields", [{}, ROUTED], ids=["as it is", "transpiled"])
def test_a_session_counts_its_hits(server: RunningServer, fields: dict[str, Any]):
    source = f"{GHZ}// {uuid.uuid4()}\n"
    session = server.client.call("open_session", {"backend": "dummy", "mode": "batch"})
    try:
        first, then = (counts_of(server, source, session_id=session["id"], **fields) for _ in range(2))
        assert (first[1], then[1]) == ("miss", "hit")
        assert first[0] == then[0]
        other = counts_of(server, source + "x q[0];\n", session_id=session["id"], **fields)
        assert other[1] == "miss"
        assert other[0] != first[0]
        while True:  # it is counted when the job ends, which its waiter may hear first
            counters = server.client.call("get_session", {"session_id": session["id"]})["circuit_cache"]
            if sum(counters.values()) == 3:
                break
            time.sleep(0.002)
        assert counters == {"hits": 1, "misses": 2}
        assert counts_of(server, source, **fields)[1] == "hit"  # shared with jobs outside
    finally:
        server.client.call("close_session", {"session_id": session["id"]})


SWEPT = 'OPENQASM 3.0; include "stdgates.inc"; input float theta; qubit[2] q; ry(theta) q[0]; cx q[0], q[1];'


@pytest.mark.parametrize("more", ["", "if (theta > 1) x q[1];"], ids=["bound", "compiled anew"])
def test_a_sweep_is_compiled_once_and_gives_what_its_points_give(server: RunningServer, more: str):
    source, points = f"{SWEPT} {more} // {uuid.uuid4()}\n", [{"theta": 0.3 * k} for k in range(8)]
    session = server.client.call("open_session", {"backend": "dummy", "mode": "batch"})
    fields = {"shots": 300, "code_type": "qasm3", "session_id": session["id"]}

    def rows_of(first: int, count: int) -> list[dict[str, Any]]:
        some = points[first : first + count]
        job_id = server.client.submit_job(source, parameters=[some], driver_options={"seed": 5 + first}, **fields)[
            "job_id"
        ]
        assert server.client.wait(job_id, 60)["job_status"] == "COMPLETED"
        rows: list[dict[str, Any]] = server.client.get_job_results(job_id)["results"]
        return rows

    try:
        swept = rows_of(0, 8)
        assert [row["metadata"]["circuit_cache"] for row in swept] == ["miss", *["hit"] * 7]
        assert [row["metadata"]["parameters"] for row in swept] == points
        alone = [rows_of(k, 1)[0] for k in range(8)]
        assert [row["results"] for row in alone] == [row["results"] for row in swept]
        assert {row["metadata"]["circuit_cache"] for row in alone} == {"hit"}
        fixed = [
            server.client.run(
                source.replace("input float theta", f"const float theta = {point['theta']!r}"),
                shots=300,
                code_type="qasm3",
                driver_options={"seed": 5 + k},
            )
            for k, point in enumerate(points)
        ]
        assert [rows[0]["results"] for rows in fixed] == [row["results"] for row in swept]
    finally:
        server.client.call("close_session", {"session_id": session["id"]})


def test_cheap_programs_outside_of_sessions_are_not_kept(server: RunningServer):
    source = f"OPENQASM 2.0; qreg q[1]; // {uuid.uuid4()}\n"
    assert counts_of(server, source)[1] is None


def test_a_wrong_program_is_wrong_each_time(server: RunningServer):
    session = server.client.call("open_session", {"backend": "dummy", "mode": "batch"})
    try:
        messages = set()
        for _ in range(2):
            job_id = server.client.submit_job("OPENQASM 2.0; qreg q[1]; nope q[0];", session_id=session["id"])["job_id"]
            assert server.client.wait(job_id, 60)["job_status"] == "FAILED"
            messages.add(server.client.get_job_results(job_id)["results"][0]["error"]["message"])
        assert len(messages) == 1
    finally:
        server.client.call("close_session", {"session_id": session["id"]})
