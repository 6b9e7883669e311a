"""A server that is stopped, killed, starved of disk or left by its callers: what it has promised must hold all the same."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ASYNC_BACKEND, DEVICES, NARROW_BACKEND, RunningServer

from qfast.client import Client
from qfast.client import ConnectionError as NoServer
from qfast.demo import BELL2, local_server
from qfast.errors import Conflict, InvalidParams, Unavailable
from qfast.job import FINAL

DEADLINE = 20.0  # seconds
CALLERS = 8


def until(condition: Callable[[], Any]) -> None:
    """Look again until it holds; fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def worker_of(pid: int) -> int:
    """The process below `qfast serve` that answers."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def status(client: Client, job_id: str) -> str:
    return str(client.get_job_status(job_id)["job_status"])


class Load:
    """Callers that submit until the server goes away or refuses; `acknowledged` are the ids that it has promised."""

    def __init__(self, client: Client) -> None:
        self.acknowledged: set[str] = set()
        self.faults: list[str] = []
        self._client = client
        self._threads = [threading.Thread(target=self._submit) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _submit(self) -> None:
        while True:
            try:
                self.acknowledged.add(self._client.submit_job(BELL2, shots=10)["job_id"])
            except (NoServer, OSError):
                return
            except Unavailable as error:
                if not error.extra.get("retry_after"):
                    self.faults.append("no retry_after")
                return
            except Exception as error:
                self.faults.append(f"{type(error).__name__}: {error}")
                return

    def join(self) -> set[str]:
        """The acknowledged ids once every caller has noticed."""
        for thread in self._threads:
            thread.join(DEADLINE)
        assert not self.faults
        return self.acknowledged


def hit_under_load(folder: Path, blow: signal.Signals, least: int) -> tuple[set[str], int]:
    """Start a server, hit it with a signal after `least` jobs; gives the acknowledged ids and its exit status."""
    with local_server(folder) as (url, process), Client(url) as client:
        load = Load(client)
        until(lambda: len(load.acknowledged) >= least or load.faults)
        process.send_signal(blow)
        exit_status = process.wait(2 * DEADLINE)
        return load.join(), exit_status


def check_all_complete(folder: Path, promised: set[str]) -> None:
    """Every promised job is there, ends COMPLETED and has its results."""
    with local_server(folder) as (url, _), Client(url) as client:
        jobs = client.get_jobs(limit=10_000)
        until(lambda: all(job["job_status"] in FINAL for job in client.get_jobs(limit=10_000)))
        jobs = client.get_jobs(limit=10_000)
        assert not promised - {job["job_id"] for job in jobs}
        assert len({job["job_id"] for job in jobs}) == len(jobs)
        assert {job["job_status"] for job in jobs} == {"COMPLETED"}
        for job in jobs[:: max(1, len(jobs) // 50)]:
            assert sum(client.get_job_results(job["job_id"])["results"][0]["results"].values()) == 10


def test_a_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    promised, exit_status = hit_under_load(tmp_path, signal.SIGTERM, 100)
    assert exit_status == 0
    check_all_complete(tmp_path, promised)


def test_three_kills_in_a_row_lose_nothing(tmp_path: Path) -> None:
    promised: set[str] = set()
    for _ in range(3):
        more, exit_status = hit_under_load(tmp_path, signal.SIGKILL, 60)
        assert exit_status == -signal.SIGKILL
        assert not promised & more
        promised |= more
    check_all_complete(tmp_path, promised)


def test_a_second_sigterm_loses_nothing(tmp_path: Path) -> None:
    with local_server(tmp_path) as (url, process), Client(url) as client:
        job_id = client.submit_job(BELL2, shots=10, driver_options={"sleep": 0.5})["job_id"]
        until(lambda: status(client, job_id) == "RUNNING")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(2 * DEADLINE) == 0
    check_all_complete(tmp_path, {job_id})


def test_what_cancel_lists_never_completes(tmp_path: Path) -> None:
    jobs_of_a_caller = 20

    def race(client: Client) -> tuple[set[str], set[str]]:
        """Submit and cancel at once; the ids, and those that were listed."""
        made, listed = set(), set()
        for _ in range(jobs_of_a_caller):
            job_id = client.submit_job(BELL2, shots=10)["job_id"]
            made.add(job_id)
            listed |= {job["job_id"] for job in client.cancel_jobs([job_id, job_id], force=len(made) % 2 == 0)}
        return made, listed

    with local_server(tmp_path) as (url, process), Client(url) as client:
        with ThreadPoolExecutor(CALLERS) as pool:
            outcomes = list(pool.map(race, [client] * CALLERS))
        made = {job_id for ids, _ in outcomes for job_id in ids}
        listed = {job_id for _, ids in outcomes for job_id in ids}
        until(lambda: all(job["job_status"] in FINAL for job in client.get_jobs(limit=10_000)))
        told = {job_id: status(client, job_id) for job_id in made}
        process.kill()
        process.wait(DEADLINE)
    assert {job_id for job_id in made if told[job_id] == "CANCELLED"} == listed
    assert {told[job_id] for job_id in made - listed} <= {"COMPLETED"}
    with local_server(tmp_path) as (url, _), Client(url) as client:
        assert {job["job_id"]: job["job_status"] for job in client.get_jobs(limit=10_000)} == told


def test_one_id_from_many_callers_is_one_job(server: RunningServer) -> None:
    client, job_id = server.client, str(uuid.uuid4())

    def submit(_: int) -> dict[str, Any]:
        return client.submit_job(BELL2, job_id=job_id, shots=10, tags=["one"])

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(submit, range(4 * CALLERS)))
    assert {answer["job_id"] for answer in answers} == {job_id}
    assert len({answer["creation_date"] for answer in answers}) == 1
    assert len(client.get_jobs(tags=["one"])) == 1


def test_every_waiting_caller_is_told(server: RunningServer) -> None:
    client, waiters = server.client, 100
    job_id = client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"]
    until(lambda: status(client, job_id) == "RUNNING")
    with ThreadPoolExecutor(waiters) as pool:
        waits = [pool.submit(client.wait, job_id, DEADLINE) for _ in range(waiters)]
        client.set_job_results(job_id, [{"01": 1}])
        assert {wait.result()["job_status"] for wait in waits} == {"COMPLETED"}


def post(port: int, call: dict[str, Any], *, cut: int = 0) -> socket.socket:
    """Send a call without its last `cut` bytes and give the connection, unread."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, **call}).encode()
    head = (
        "POST /v1/job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
    connection.sendall(head.encode() + body[: len(body) - cut])
    return connection


def test_callers_that_go_away_leave_nothing_behind(server: RunningServer) -> None:
    client, port = server.client, int(server.url.rsplit(":", 1)[1])
    job_id = client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"]
    until(lambda: status(client, job_id) == "RUNNING")
    descriptors = Path(f"/proc/{worker_of(server.pid)}/fd")
    before = len(list(descriptors.iterdir()))
    wait = {"method": "wait_job", "params": {"body": {"job_id": job_id, "timeout": 60}}}
    submit = {"method": "submit_job", "params": {"body": {"source_code": [BELL2], "shots": 10, "tags": ["left"]}}}
    connections = [post(port, call, cut=cut) for call, cut in ((wait, 0), (wait, 9), (submit, 0)) for _ in range(50)]
    until(lambda: len(client.get_jobs(tags=["left"])) == 50)
    for connection in connections:
        connection.close()
    until(lambda: len(list(descriptors.iterdir())) <= before + CALLERS)
    assert {client.wait(job["job_id"], DEADLINE)["job_status"] for job in client.get_jobs(tags=["left"])} == {
        "COMPLETED"
    }
    assert client.set_job_results(job_id, [{"01": 1}])["job_status"] == "COMPLETED"


@contextmanager
def no_space_for(pid: int) -> Any:
    """The process can write to no regular file for the block."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text(DEVICES)
    flags = ("--devices", str(tmp_path / "devices.toml"))
    with (
        Path(os.devnull).open("wb") as log,
        local_server(tmp_path / "data", *flags, log=log) as (url, process),
        Client(url) as client,
    ):
        running = client.submit_job(BELL2, shots=10, backend=NARROW_BACKEND, driver_options={"sleep": 1})["job_id"]
        queued = client.submit_job(BELL2, shots=10, backend=NARROW_BACKEND)["job_id"]
        until(lambda: status(client, running) == "RUNNING")
        refused = str(uuid.uuid4())
        with no_space_for(worker_of(process.pid)):
            for job_id in (refused, refused):
                with pytest.raises(Unavailable) as refusal:
                    client.submit_job(BELL2, job_id=job_id, shots=10)
                assert refusal.value.as_dict()["data"]["retry_after"] > 0
            with pytest.raises(Unavailable):
                client.update_job(queued, job_priority=1)
            with pytest.raises(TimeoutError):
                client.wait(running, 1.5)  # it has run by now, but its end cannot be promised yet
            assert client.get_job_results(running)["results"] is None
            assert client.get_job_status(queued)["job_priority"] == 5
        assert client.submit_job(BELL2, job_id=refused, shots=10)["job_id"] == refused
        for job_id in (running, queued, refused):
            assert client.wait(job_id, DEADLINE)["job_status"] == "COMPLETED"
        assert sum(client.get_job_results(running)["results"][0]["results"].values()) == 10
    with local_server(tmp_path / "data", *flags) as (url, _), Client(url) as client:
        for job_id in (running, queued, refused):
            assert client.wait(job_id, DEADLINE)["job_status"] == "COMPLETED"


def test_of_different_results_at_once_one_wins(server: RunningServer) -> None:
    client = server.client

    def bring(job_id: str, count: int) -> int | None:
        try:
            client.set_job_results(job_id, [{"01": count}])
        except Conflict:
            return None
        return count

    for _ in range(10):
        job_id = client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"]
        until(lambda job_id=job_id: status(client, job_id) == "RUNNING")
        with ThreadPoolExecutor(CALLERS) as pool:
            answers = list(pool.map(lambda count, job_id=job_id: bring(job_id, count), range(1, CALLERS + 1)))
        (winner,) = [answer for answer in answers if answer is not None]
        assert client.get_job_results(job_id)["results"][0]["results"] == {"01": winner}
        assert bring(job_id, winner) == winner
        assert bring(job_id, winner + 1) is None


def test_the_same_results_at_once_are_fine(server: RunningServer) -> None:
    client = server.client
    for _ in range(10):
        job_id = client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"]
        until(lambda job_id=job_id: status(client, job_id) == "RUNNING")
        with ThreadPoolExecutor(CALLERS) as pool:
            answers = list(pool.map(client.set_job_results, [job_id] * CALLERS, [[{"01": 1}]] * CALLERS))
        assert {answer["job_status"] for answer in answers} == {"COMPLETED"}


def test_results_against_a_cancel_end_a_job_once(server: RunningServer) -> None:
    client = server.client

    def bring(job_id: str) -> str | None:
        try:
            return str(client.set_job_results(job_id, [{"01": 1}])["job_status"])
        except Conflict:
            return None

    for _ in range(10):
        job_id = client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"]
        until(lambda job_id=job_id: status(client, job_id) == "RUNNING")
        with ThreadPoolExecutor(2) as pool:
            brought = pool.submit(bring, job_id)
            listed = pool.submit(client.cancel_jobs, job_id, force=True)
        ended = status(client, job_id)
        assert ended == ("CANCELLED" if listed.result() else "COMPLETED")
        assert (brought.result() is None) == (ended == "CANCELLED")
        assert (client.get_job_results(job_id)["results"] is None) == (ended == "CANCELLED")


@pytest.mark.parametrize(
    "row",
    [
        {"results": [{"quboValue": 10**30}]},
        {"results": {"0": 1}, "num_qubits": 2**63},
        {"results": {"0": 1}, "metadata": {"x": 10**40}},
        {"code": 10**30, "message": "x"},
    ],
)
def test_results_that_cannot_be_stored_leave_the_job_running(server: RunningServer, row: dict[str, Any]) -> None:
    client = server.client
    job_id = client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"]
    until(lambda: status(client, job_id) == "RUNNING")
    with pytest.raises(InvalidParams):
        client.set_job_results(job_id, [row])
    assert client.set_job_results(job_id, [{"01": 1}])["job_status"] == "COMPLETED"


def test_a_free_place_outside_goes_to_the_next_job(server: RunningServer) -> None:
    client = server.client
    jobs = [client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"] for _ in range(7)]  # there are 4 places
    wrong = [client.submit_job("no program", backend=ASYNC_BACKEND)["job_id"] for _ in range(9)]
    for job_id in jobs:
        until(lambda job_id=job_id: status(client, job_id) == "RUNNING")
        client.set_job_results(job_id, [{"01": 1}])
    for job_id in wrong:
        assert client.wait(job_id, DEADLINE)["job_status"] == "FAILED"


def test_running_jobs_are_listed_under_a_deep_queue(server: RunningServer, queued: Callable[..., str]) -> None:
    waiting = [queued() for _ in range(3)]
    for state, expected in (("RUNNING", 1), ("QUEUED", 1)):
        assert len(server.client.get_jobs(job_status=state, backend=NARROW_BACKEND, limit=1)) == expected
    assert len(server.client.get_jobs(job_status="QUEUED", backend=NARROW_BACKEND)) == len(waiting)


def test_dates_are_the_same_everywhere(server: RunningServer) -> None:
    client = server.client
    job = client.wait(client.submit_job(BELL2)["job_id"], DEADLINE)
    (listed,) = client.get_jobs(job_ids=[job["job_id"]])
    assert listed == job


def test_no_option_is_taken_for_the_time_limit(server: RunningServer) -> None:
    fields = {"transpiler_options": {"max_execution_time": "x"}, "backend": NARROW_BACKEND}
    job_id = server.client.submit_job([[1, 2], [0, 1]], **fields)["job_id"]
    assert server.client.wait(job_id, DEADLINE)["job_status"] == "COMPLETED"


def test_jobs_outside_are_checked_again_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text(DEVICES)
    flags = ("--devices", str(tmp_path / "devices.toml"))
    with local_server(tmp_path / "data", *flags) as (url, process), Client(url) as client:
        options = {"driver_options": {"sleep": 2}, "dry_run": True, "shots": 10}
        dry = client.submit_job(BELL2, backend=ASYNC_BACKEND, **options)["job_id"]
        out = client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"]
        until(lambda: status(client, dry) == status(client, out) == "RUNNING")
        process.kill()
        process.wait(DEADLINE)
    with local_server(tmp_path / "data", *flags) as (url, process), Client(url) as client:
        assert client.wait(dry, DEADLINE)["job_status"] == "COMPLETED"
        assert status(client, out) == "RUNNING"
        process.kill()
        process.wait(DEADLINE)
    with local_server(tmp_path / "data") as (url, _), Client(url) as client:  # the backend is no longer configured
        assert client.cancel_jobs(out) == []
        assert [job["job_id"] for job in client.delete_jobs(out, force=True)] == [out]


def test_a_full_disk_takes_no_job_out_of_the_queue_and_ends_none_twice(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text(DEVICES)
    flags = ("--devices", str(tmp_path / "devices.toml"))
    with (
        Path(os.devnull).open("wb") as log,
        local_server(tmp_path / "data", *flags, log=log) as (url, process),
        Client(url) as client,
    ):
        fields = {"shots": 10, "backend": NARROW_BACKEND}
        running = client.submit_job(BELL2, driver_options={"sleep": 0.5}, **fields)["job_id"]
        queued = [client.submit_job(BELL2, **fields)["job_id"] for _ in range(10)]
        last = client.submit_job(BELL2, driver_options={"sleep": 60}, **fields)["job_id"]
        with no_space_for(worker_of(process.pid)):
            with pytest.raises(Unavailable):
                client.delete_jobs(queued[0])
            until(lambda: status(client, last) == "RUNNING")
        for job_id in (running, *queued):
            assert client.wait(job_id, DEADLINE)["job_status"] == "COMPLETED"
            assert client.get_job_results(job_id)["results"] is not None
        assert len(client.get_jobs(job_status="COMPLETED")) == len(queued) + 1
        ended = {job["job_id"]: job["ended_at"] for job in client.get_jobs(job_status="COMPLETED")}
        process.kill()
        process.wait(DEADLINE)
    with local_server(tmp_path / "data", *flags) as (url, _), Client(url) as client:
        until(lambda: status(client, last) == "RUNNING")
        assert {job["job_id"]: job["ended_at"] for job in client.get_jobs(job_status="COMPLETED")} == ended
        client.cancel_jobs(last, force=True)


HEAVY = (
    'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[22] q;\nbit[22] c;\n'
    "for int i in [0:40] { for int k in [0:21] { ry(0.1 * i) q[k]; } for int k in [0:20] { cx q[k], q[k + 1]; } }\n"
    "c = measure q;\n"
)


def test_jobs_behind_a_heavy_one_keep_their_time_and_can_be_cancelled(
    server: RunningServer, queued: Callable[..., str]
) -> None:
    client = server.client
    heavy = queued(source_code=HEAVY, shots=10)
    small = [queued(max_execution_time=0.2) for _ in range(30)]
    (sleeper,) = client.get_jobs(job_status="RUNNING", backend=NARROW_BACKEND)
    client.cancel_jobs(sleeper["job_id"], force=True)
    until(lambda: status(client, heavy) != "QUEUED")
    assert len(client.cancel_jobs(small[0], force=True)) == 1
    assert client.wait(small[0], DEADLINE)["job_status"] == "CANCELLED"
    for job_id in small[1:]:
        assert client.wait(job_id, DEADLINE)["job_status"] == "COMPLETED"


def test_numbers_beyond_all_bounds_are_refused_by_name(server: RunningServer) -> None:
    for value in ("1e400", "9" * 5000, "-1e999"):
        for params in (
            f'{{"filters": {{"limit": {value}}}}}',
            f'{{"filters": {{"project_id": {value}}}}}',
            f'{{"body": {value}}}',
            value,
        ):
            body = f'{{"method": "get_jobs", "id": 1, "params": {params}}}'.encode()
            request = urllib.request.Request(f"{server.url}/v1/job", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                assert json.load(answer)["error"]["code"] in (-32602, -32600)


def test_a_full_queue_refuses_until_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text(DEVICES)
    flags = ("--devices", str(tmp_path / "devices.toml"), "--max-queued", "3")
    with local_server(tmp_path / "data", *flags) as (url, _), Client(url) as client:
        jobs = [client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_id"] for _ in range(3)]
        with pytest.raises(Unavailable) as refusal:
            client.submit_job(BELL2, backend=ASYNC_BACKEND)
        assert refusal.value.as_dict()["data"]["retry_after"] > 0
        until(lambda: status(client, jobs[0]) == "RUNNING")
        client.set_job_results(jobs[0], [{"01": 1}])
        assert client.submit_job(BELL2, backend=ASYNC_BACKEND)["job_status"] == "QUEUED"
