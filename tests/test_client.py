"""The client: what it sends, how it reads answers, and what it does when connections fail."""

from __future__ import annotations

import builtins
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import RunningServer
from stand_in import RefusalError, StandIn, stand_in

from qfast import errors
from qfast.calls import error_of
from qfast.client import Client, ConnectionError, JobFailed
from qfast.demo import BELL2
from qfast.payloads import sources_of

JOB = str(uuid.UUID(int=1, version=4))


class Jobs:
    """A scripted server: each job ends after `polls` looks at it, in `end`."""

    def __init__(self) -> None:
        self.polls = 2
        self.end = "COMPLETED"
        self.has_wait = True
        self.rows: list[Any] = [{"results": {"00": 3, "11": 5}, "num_qubits": 2}]

    def __call__(self, method: str, params: Any) -> Any:
        if method == "wait_job" and not self.has_wait:
            raise RefusalError(-32601, "no method wait_job")
        if method in ("wait_job", "get_job_status"):
            self.polls -= 1
            return {"job_id": JOB, "job_status": self.end if self.polls <= 0 else "RUNNING"}
        if method == "get_job_results":
            return {"job_id": JOB, "job_status": self.end, "results": self.rows}
        if method == "submit_job":
            return {**params["body"], "job_status": "QUEUED"}
        if method == "refuse":
            raise RefusalError(params["body"], "no", {"details": "d", "errors": [], "hint": "h", "retry_after": 2})
        return {"method": method, "params": params}


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def record(jobs: Jobs) -> Iterator[tuple[str, StandIn]]:
    with stand_in(jobs) as (url, record):
        yield url, record


@pytest.fixture
def client(record: tuple[str, StandIn]) -> Iterator[Client]:
    with Client(record[0], timeout=10) as client:
        yield client


@pytest.mark.parametrize(
    ("call", "path", "method", "params"),
    [
        (lambda c: c.get_job_status(JOB), "/v1/job", "get_job_status", {"body": {"job_id": JOB}}),
        (lambda c: c.get_job_results(JOB), "/v1/job", "get_job_results", {"body": {"job_id": JOB}}),
        (lambda c: c.get_jobs(), "/v1/job", "get_jobs", {"filters": {}}),
        (lambda c: c.get_jobs(tags=["a"], limit=3), "/v1/job", "get_jobs", {"filters": {"tags": ["a"], "limit": 3}}),
        (lambda c: c.cancel_jobs(JOB), "/v1/job", "cancel_jobs", {"body": {"job_ids": [JOB]}}),
        (
            lambda c: c.cancel_jobs([JOB], force=True),
            "/v1/job",
            "cancel_jobs",
            {"body": {"job_ids": [JOB], "force": True}},
        ),
        (lambda c: c.delete_jobs([JOB, JOB]), "/v1/job", "delete_jobs", {"body": {"job_ids": [JOB, JOB]}}),
        (
            lambda c: c.set_job_results(JOB, [{"01": 0}]),
            "/v1/job",
            "set_job_results",
            {"body": {"job_id": JOB, "results": [{"01": 0}]}},
        ),
        (
            lambda c: c.update_job(JOB, job_priority=1),
            "/v1/job",
            "update_job",
            {"body": {"job_id": JOB, "job_priority": 1}},
        ),
        (lambda c: c.devices(), "/v1/device", "get_devices", {"body": None}),
        (lambda c: c.version(), "/version", "version", {"body": {"details": True}}),
        (lambda c: c.ping("hello"), "/v1/system", "ping", {"body": {"message": "hello"}}),
    ],
)
def test_verbs_on_the_wire(
    client: Client, record: tuple[str, StandIn], call: Any, path: str, method: str, params: Any
) -> None:
    call(client)
    ((sent_path, sent),) = record[1].requests
    assert (sent_path, sent["method"], sent["params"]) == (path, method, params)
    assert sent["jsonrpc"] == "2.0"


def test_submit_makes_an_id_and_keeps_a_given_one(client: Client) -> None:
    made = client.submit_job("OPENQASM 2.0;", shots=5)
    assert uuid.UUID(made["job_id"]).version == 4
    assert (made["code_type"], made["source_code"], made["shots"]) == ("qasm", ["OPENQASM 2.0;"], 5)
    assert client.submit_job("x", "qasm2", job_id=JOB)["job_id"] == JOB
    assert client.submit_job({(0, 1): 2.5})["code_type"] == "qubo"


class Sparse:
    """What a scipy sparse matrix offers."""

    shape = (3, 3)
    row, col, data = np.array([0, 1]), np.array([2, 1]), np.array([1.5, -2.0])

    def tocoo(self) -> Sparse:
        return self


DENSE = [[1, 2], [0, -3]]
COO = {"n": 3, "row": [0, 1], "col": [2, 1], "value": [1.5, -2.0]}


@pytest.mark.parametrize(
    ("source", "sent"),
    [
        ("text", ["text"]),
        (["a", "b"], ["a", "b"]),
        (DENSE, [DENSE]),
        ([DENSE, DENSE], [DENSE, DENSE]),
        ((tuple(DENSE[0]), tuple(DENSE[1])), [DENSE]),
        (np.array(DENSE), [DENSE]),
        (list(np.array(DENSE)), [DENSE]),
        (np.array([DENSE, DENSE]), [DENSE, DENSE]),
        ([np.array(DENSE), COO], [DENSE, COO]),
        ({(0, 2): np.float64(1.5), (np.int64(1), 1): -2.0}, [COO]),
        (COO, [COO]),
        ({**COO, "row": np.array([0, 1])}, [COO]),
        (Sparse(), [COO]),
        ([Sparse(), DENSE], [COO, DENSE]),
        ([[5]], [[[5]]]),
        ([], []),
    ],
)
def test_sources(source: Any, sent: list[Any]) -> None:
    assert sources_of(source) == sent


@pytest.mark.parametrize("source", [5, None, {"a": 1}, {}])
def test_sources_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="source_code"):
        sources_of(source)


def test_nan_is_refused_before_it_is_sent(client: Client, record: tuple[str, StandIn]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        client.submit_job([[float("nan")]])
    assert record[1].requests == []


@pytest.mark.parametrize("has_wait", [True, False])
def test_run_waits_and_returns_rows(client: Client, jobs: Jobs, record: tuple[str, StandIn], has_wait: bool) -> None:
    jobs.has_wait = has_wait
    jobs.polls = 4
    assert client.run("x") == jobs.rows
    methods = [sent["method"] for _, sent in record[1].requests]
    assert methods.count("wait_job") == (4 if has_wait else 1)  # one refusal is remembered
    assert methods.count("get_job_status") == (0 if has_wait else 4)


def test_run_raises_for_a_failed_job(client: Client, jobs: Jobs) -> None:
    jobs.end = "FAILED"
    jobs.rows = [
        {"results": None, "error": {"code": -102, "message": "[JobEngine] Parse Error: in line 1, column 1, bad"}}
    ]
    with pytest.raises(JobFailed, match=r"FAILED.*Parse Error: in line 1") as raised:
        client.run("x")
    assert raised.value.job["results"] == jobs.rows


def test_wait_gives_up(client: Client, jobs: Jobs) -> None:
    jobs.polls = 10**9
    jobs.has_wait = False
    with pytest.raises(TimeoutError, match=f"job {JOB} is still RUNNING after 0.05 s"):
        client.wait(JOB, 0.05)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-32700, errors.ParseFailure),
        (-32600, errors.InvalidRequest),
        (-32601, errors.MethodNotFound),
        (-32602, errors.InvalidParams),
        (-32603, errors.InternalError),
        (-401, errors.Unauthenticated),
        (-403, errors.Forbidden),
        (-404, errors.NotFound),
        (-409, errors.Conflict),
        (-413, errors.TooLarge),
        (-429, errors.TooMany),
        (-503, errors.Unavailable),
        (-501, errors.RpcError),  # a code of other servers
    ],
)
def test_errors_by_code(client: Client, code: int, kind: type[errors.RpcError]) -> None:
    with pytest.raises(kind) as raised:
        client.call("refuse", code)
    error = raised.value
    assert (error.code, error.message, error.details, error.hint) == (code, "no", "d", "h")
    assert error.extra == {"retry_after": 2}
    assert error.as_dict()["code"] == code


def test_error_without_data() -> None:
    assert error_of({"code": -404, "message": "gone"}).details == "gone"


def test_batch_keeps_order_and_returns_errors(client: Client, record: tuple[str, StandIn]) -> None:
    first, second, third = client.batch([("get_job_results", {"job_id": JOB}), ("refuse", -409), ("x", None)])
    assert first["job_id"] == JOB
    assert isinstance(second, errors.Conflict)
    assert third == {"method": "x", "params": {"body": None}}
    assert len(record[1].requests) == 1
    (job,) = client.batch([("submit_job", {"source_code": ["x"]})])
    assert uuid.UUID(job["job_id"]).version == 4
    record[1].requests.pop()
    assert client.batch([]) == []
    assert len(record[1].requests) == 1


def test_no_server() -> None:
    with stand_in(Jobs()) as (url, _):
        pass
    with pytest.raises(ConnectionError, match=f"no qfast server answers at {url} .*qfast serve") as raised:
        Client(url).devices()
    assert isinstance(raised.value, builtins.ConnectionError)
    assert isinstance(raised.value, errors.QfastError)


@pytest.mark.parametrize("url", ["127.0.0.1:8088", "ftp://x", "http://", "nonsense"])
def test_bad_url(url: str) -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        Client(url)


def test_url_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFAST_URL", "http://127.0.0.1:1234/")
    assert Client().url == "http://127.0.0.1:1234"
    monkeypatch.delenv("QFAST_URL")
    assert Client().url == "http://127.0.0.1:8088"


def test_connection_is_kept(client: Client, record: tuple[str, StandIn]) -> None:
    for _ in range(5):
        client.ping()
    assert record[1].connections == 1


def test_survives_a_quietly_closed_connection(client: Client, record: tuple[str, StandIn]) -> None:
    record[1].close_quietly = True
    for _ in range(5):
        client.ping()
    assert len(record[1].requests) == 5


def test_sends_once_more_with_the_same_id(client: Client, record: tuple[str, StandIn]) -> None:
    record[1].hang_up = lambda number: number == 1
    job = client.submit_job("x")
    assert [sent["params"]["body"]["job_id"] for _, sent in record[1].requests] == [job["job_id"]] * 2


def test_gives_up_after_the_second_time(client: Client, record: tuple[str, StandIn]) -> None:
    record[1].hang_up = lambda number: True
    with pytest.raises(ConnectionError, match="closed the connection without an answer"):
        client.ping()
    assert len(record[1].requests) == 2


def test_not_a_qfast_server() -> None:
    with stand_in(lambda method, params: None) as (url, record):
        record.one = lambda request: {"hello": "world"}
        with pytest.raises(ConnectionError, match="does not answer as a qfast server"):
            Client(url).ping()


def test_threads_share_a_client(client: Client, record: tuple[str, StandIn]) -> None:
    failed: list[object] = []

    def work(name: int) -> None:
        for number in range(20):
            answer = client.call("echo", [name, number])
            if answer["params"]["body"] != [name, number]:
                failed.append(answer)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    ids = [sent["id"] for _, sent in record[1].requests]
    assert len(set(ids)) == len(ids) == 160
    assert record[1].connections <= 8


def test_against_a_real_server(server: RunningServer) -> None:
    client = server.client
    (row,) = client.run(np.array([[-1, 2], [0, -1]]), timeout=30)
    assert row["results"][0] == {"result": 1, "quboValue": -1.0, "maxcutValue": 0.25, "solutionVector": [0, 1]}
    job_id = str(uuid.uuid4())
    first = client.submit_job(BELL2, job_id=job_id, shots=10)
    again = client.submit_job(BELL2, job_id=job_id, shots=10)
    assert first["creation_date"] == again["creation_date"]
    with pytest.raises(errors.Conflict):
        client.submit_job(BELL2, job_id=job_id, shots=11)
    with pytest.raises(errors.NotFound):
        client.get_job_results(str(uuid.uuid4()))
    with pytest.raises(errors.InvalidParams, match="shots") as raised:
        client.submit_job(BELL2, shots=0)
    assert raised.value.errors[0]["loc"][-1] == "shots"
    jobs = client.batch([("submit_job", {"source_code": [BELL2], "shots": shots}) for shots in range(1, 21)])
    for shots, job in enumerate(jobs, 1):
        client.wait(job["job_id"], 30)
        (row,) = client.get_job_results(job["job_id"])["results"]
        assert sum(row["results"].values()) == shots


def test_waiting_is_one_call(server: RunningServer, async_backend: str) -> None:
    job_id = server.client.submit_job(BELL2, backend=async_backend)["job_id"]
    with pytest.raises(TimeoutError, match="is still"):
        server.client.wait(job_id, 0.05)
    ended: list[str] = []
    waiter = threading.Thread(target=lambda: ended.append(server.client.wait(job_id, 30)["job_status"]))
    waiter.start()
    while server.client.get_job_status(job_id)["job_status"] != "RUNNING":
        server.client.call("wait_job", {"job_id": job_id, "timeout": 0.01})
    server.client.set_job_results(job_id, [{"00": 512, "11": 512}])
    waiter.join()
    assert ended == ["COMPLETED"]


def test_import_is_light() -> None:
    heavy = "{'numpy', 'litestar', 'aiohttp', 'granian', 'qiskit', 'orjson', 'qfast.app', 'qfast.circuit'}"
    code = f"import sys, qfast.client, qfast.cli; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_device_is_drained_by_the_command(server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from qfast.cli import main

    url = ["--url", server.url]
    assert main(["devices", "narrow", "--status", "maintain", *url]) == 0
    assert main(["devices", "narrow", "--status", "online", *url]) == 0
    assert main(["devices", "--status", "online", *url]) == 2
    shown = capsys.readouterr().out
    assert "maintain" in shown
    assert "online" in shown
