"""Every pair of request and answer in the job interface's specification, sent to a real server.

The dicts below are the specification's, without its comments and trailing commas. Ids, backends and callback addresses
are replaced where a pair needs a job in a certain state; the specification's own values contradict each other in places
(a QUEUED job with results, one shot asked for and two answered), so answers are held to their keys, types and meaning.
"""

from __future__ import annotations

import http.client
import json
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Receiver, RunningServer

from qfast.demo import BELL2, check_solutions
from qfast.errors import NotFound
from qfast.job import JobStatus

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
SPEC_ID = "00000000-0000-4000-8000-000000000001"
CALLBACK = {
    "name": "callback",
    "type": "results",
    "method": "post",
    "url": "http://127.0.0.1:8088/v1/job/set_job_results",
}

SUBMIT = {
    "job_id": SPEC_ID,
    "job_name": "test-dummy",
    "code_type": "qasm",
    "source_code": ["源代码"],
    "description": "description",
    "backend": "dummy",
    "transpiler": "cmss",
    "transpiler_info": {},
    "job_type": "",
    "job_priority": 10,
    "shots": 1,
    "profiling": ["driver:transpile"],
    "dry_run": False,
    "callbacks": [CALLBACK],
}
SUBMITTED = {
    "job_id": SPEC_ID,
    "job_name": "test-dummy",
    "job_status": "QUEUED",
    "job_priority": 10,
    "code_type": "qasm",
    "source_code": ["源代码"],
    "description": "description",
    "backend": "dummy",
    "transpiler": "cmss",
    "transpiler_info": {},
    "shots": 2,
    "profiling": ["driver:transpile"],
    "dry_run": False,
    "creation_date": "2025-07-15T14:58:55.283302",
    "end_date": None,
    "callbacks": [CALLBACK],
}
STATUS = {
    "job_id": SPEC_ID,
    "job_name": "test-dummy",
    "job_status": "QUEUED",
    "job_priority": 10,
    "description": "description",
    "backend": "dummy",
    "transpiler": "cmss",
    "transpiler_info": {},
    "shots": 2,
    "progress": 100,
    "creation_date": "2025-07-15T14:53:00.412438",
    "end_date": "2025-07-15T14:53:43.355531",
}
ROW = {"metadata": {}, "profiling": {}, "results": {"00": 50, "01": 50}, "num_qubits": 2}
RESULTS = {**STATUS, "code_type": "qasm", "source_code": ["源代码"], "results": [ROW], "num_qubits": 2}
LISTED = {
    "job_id": SPEC_ID,
    "job_name": "test-dummy",
    "job_status": "QUEUED",
    "job_priority": 10,
    "backend": "dummy",
    "transpiler": "cmss",
    "shots": 2,
    "progress": 100,
    "creation_date": "2025-07-15T14:53:00.412438",
    "end_date": "2025-07-15T14:53:43.355531",
}
CANCELLED = {"job_id": SPEC_ID, "job_status": "CANCELLED"}
DELETED = {"job_id": SPEC_ID, "job_status": "DELETED"}
SET = {"job_id": SPEC_ID, "backend": "dummy", "job_status": "COMPLETED"}
UPDATED = SUBMITTED

CALLBACK_SUCCESS = {
    "job_id": "3a906c1f-a2b1-40f3-a713-18b3f123c334",
    "job_status": "COMPLETED",
    "backend": "dummy",
    "results": [
        {
            "metadata": {
                "results_fetch_mode": "sync",
                "status": "COMPLETED",
                "end_date": "2025-08-05 11:21:06.106873",
            },
            "profiling": {},
            "results": {"00": 10},
            "num_qubits": 2,
        }
    ],
}
CALLBACK_FAILURE = {
    "job_id": "43ec40a4-2ea7-4336-befb-bba28e280d8a",
    "job_status": "FAILED",
    "backend": "dummy",
    "results": [
        {
            "results": None,
            "metadata": {"results_fetch_mode": "sync", "status": "FAILED", "end_date": "2025-08-05 11:20:32.369681"},
            "error": {
                "code": -102,
                "message": "[JobEngine] Parse Error: in line 1, can not parser the sentence at token: '1'",
            },
        }
    ],
}

XX = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n\nqreg q[2];\ncreg c[2];\nx q[0];\nx q[1];\n\nmeasure q -> c;\n\n'
QASM_ROW = {
    "results": {"00": 95, "11": 9},
    "num_qubits": 2,
    "metadata": {"results_fetch_mode": "sync", "status": "COMPLETED", "end_date": "2025-08-18T16:36:08.446082"},
    "profiling": {
        "driver:parse": 0.036981821060180667,
        "driver:transpile": 0.018097877502441407,
        "driver:run": 0.018996477127075197,
    },
}
QASM_EXAMPLE = {
    "job_id": "f177f9c6-238e-4f20-a658-a325fd0e3f2b",
    "job_name": "t2",
    "job_status": "COMPLETED",
    "code_type": "qasm",
    "source_code": [XX, XX],
    "backend": "dummy",
    "driver_options": None,
    "transpiler": "cmss",
    "transpiler_options": None,
    "enable_circuit_aggregation": False,
    "job_priority": 5,
    "description": None,
    "shots": 104,
    "dry_run": True,
    "results": [QASM_ROW, QASM_ROW],
    "creation_date": "2025-08-18T16:36:01.647565",
    "end_date": "2025-08-18T16:36:08.530882",
}

MATRIX = [
    [-12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8],
    [0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12, 8],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -12],
]
SOLUTIONS = [
    (-112.0, 28.0, "10101011010101010010"),
    (-108.0, 27.0, "10101011010101011010"),
    (-108.0, 27.0, "10101011010101010110"),
    (-100.0, 25.0, "10101011110101010010"),
    (-100.0, 25.0, "10101111010101010010"),
    (-96.0, 24.0, "10101011010101011110"),
    (-96.0, 24.0, "10101011110101010110"),
    (-96.0, 24.0, "10101011110101011010"),
    (-96.0, 24.0, "10101111010101010110"),
    (-96.0, 24.0, "10101111010101011010"),
]
QUBO_EXAMPLE = {
    "job_id": "c0feb3ed-d83a-4768-a67f-795c5d099a5d",
    "job_name": None,
    "job_status": "COMPLETED",
    "code_type": "qubo",
    "source_code": [MATRIX],
    "backend": "dummy",  # the specification's machine is tiangong100
    "driver_options": None,
    "transpiler": None,
    "transpiler_options": None,
    "enable_circuit_aggregation": False,
    "job_priority": 5,
    "description": None,
    "shots": 1,
    "dry_run": False,
    "results": [
        {
            "metadata": {"results_fetch_mode": "sync", "status": "COMPLETED", "end_date": "2025-08-05T11:26:18.318860"},
            "profiling": {},
            "results": [
                {"result": k, "quboValue": value, "maxcutValue": cut, "solutionVector": [int(bit) for bit in bits]}
                for k, (value, cut, bits) in enumerate(SOLUTIONS, 1)
            ],
        }
    ],
    "creation_date": "2025-08-05T11:26:01.980783",
    "end_date": "2025-08-05T11:26:18.318860",
}


# ---------------------------------------------------------------------- sending and judging

Call = Callable[[str, dict[str, Any]], Any]  # (method, params) -> result


def post(url: str, path: str, message: Any) -> Any:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(message), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200
        return json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture(params=["group", "method", "batch"])
def call(request: pytest.FixtureRequest, server: RunningServer) -> Call:
    """Calls a method on the group's URI, on its own, or between two others inside a batch."""

    def send(method: str, params: dict[str, Any]) -> Any:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        if request.param == "batch":
            others = [{"jsonrpc": "2.0", "id": number, "method": "get_jobs", "params": {}} for number in (0, 2)]
            answers = post(server.url, "/v1/job", [others[0], message, others[1]])
            assert [answer["id"] for answer in answers] == [0, 1, 2]
            answer = answers[1]
        else:
            answer = post(server.url, "/v1/job" if request.param == "group" else f"/v1/job/{method}", message)
        assert list(answer) == ["jsonrpc", "result", "id"], answer
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", 1)
        return answer["result"]

    return send


def like(got: Any, spec: Any, at: str = "result") -> None:
    """Hold an answer to the specification's: every key, each of the same type; what is null there may be anything."""
    if spec is None:
        return
    if isinstance(spec, dict):
        assert isinstance(got, dict), at
        if at.endswith(".results"):  # counts: other outcomes, as many kinds of them
            assert all(re.fullmatch("[01 ]+", bits) and type(count) is int for bits, count in got.items()), at
            return
        assert set(spec) <= set(got), f"{at} lacks {set(spec) - set(got)}"
        for key, value in spec.items():
            like(got[key], value, f"{at}.{key}")
    elif isinstance(spec, list):
        assert isinstance(got, list), at
        for number, value in enumerate(got if spec else []):
            like(value, spec[min(number, len(spec) - 1)], f"{at}[{number}]")
    elif at.endswith("_date"):
        assert DATE.fullmatch(got), f"{at}: {got}"
    elif at.endswith("job_status"):
        assert got in set(JobStatus), f"{at}: {got}"
    elif isinstance(spec, float):
        assert type(got) in (int, float), f"{at}: {got!r}"
    else:
        assert type(got) is type(spec), f"{at}: {got!r}"


def echoes(answer: dict[str, Any], body: dict[str, Any], keys: set[str]) -> None:
    """Hold the answer's fields among `keys` to what was submitted; a callback may come back with its defaults."""
    for key in keys & set(body):
        got = answer[key]
        if key == "callbacks":
            got = [{name: callback[name] for name in CALLBACK} for callback in got]
        assert got == body[key], key


def spec_submit(server: RunningServer, **changes: Any) -> dict[str, Any]:
    """The specification's submit with an id of its own, and a callback address that is this server's."""
    callback = {**CALLBACK, "url": f"{server.url}/v1/job/set_job_results"}
    return {**SUBMIT, "job_id": str(uuid.uuid4()), "callbacks": [callback], **changes}


def finished(server: RunningServer, **changes: Any) -> dict[str, Any]:
    """The specification's job with another source, run to its end; its submit's body."""
    body = spec_submit(server, **changes)
    server.client.call("submit_job", body)
    server.client.wait(body["job_id"], 30)
    return body


# ---------------------------------------------------------------------- the pairs


def test_submit_job(server: RunningServer, call: Call) -> None:
    body = spec_submit(server)
    answer = call("submit_job", {"body": body})
    like(answer, SUBMITTED)
    echoes(answer, body, set(SUBMITTED))
    assert (answer["job_status"], answer["end_date"]) == ("QUEUED", None)
    # the specification's source text is no program
    assert server.client.wait(body["job_id"], 30)["job_status"] == "FAILED"
    (row,) = server.client.get_job_results(body["job_id"])["results"]
    assert row["error"]["code"] == -102
    assert row["error"]["message"].startswith("[JobEngine] Parse Error: in line 1, column 1")


def test_get_job_status(server: RunningServer, call: Call) -> None:
    body = finished(server, source_code=[BELL2])
    answer = call("get_job_status", {"body": {"job_id": body["job_id"]}})
    like(answer, STATUS)
    echoes(answer, body, set(STATUS))
    assert (answer["job_status"], answer["progress"]) == ("COMPLETED", 100)
    assert answer["creation_date"] <= answer["end_date"]
    assert "source_code" not in answer


def test_get_job_results(server: RunningServer, call: Call) -> None:
    body = finished(server, source_code=[BELL2], shots=100)
    answer = call("get_job_results", {"body": {"job_id": body["job_id"]}})
    like(answer, RESULTS)
    assert (answer["job_status"], answer["source_code"], answer["num_qubits"]) == ("COMPLETED", [BELL2], 2)
    (row,) = answer["results"]
    assert set(row["results"]) <= {"00", "11"}
    assert sum(row["results"].values()) == 100


def test_get_job_results_before_there_are_some(server: RunningServer, call: Call, queued: Callable[..., str]) -> None:
    answer = call("get_job_results", {"body": {"job_id": queued()}})
    assert (answer["job_status"], answer["results"]) == ("QUEUED", None)
    assert set(RESULTS) <= set(answer)


def test_get_jobs(server: RunningServer, call: Call) -> None:
    earlier, later = (finished(server, source_code=[BELL2])["job_id"] for _ in range(2))
    answer = call("get_jobs", {"filters": {}})
    ids = [job["job_id"] for job in answer]
    assert ids.index(later) < ids.index(earlier)
    like([job for job in answer if job["job_id"] in (earlier, later)], [LISTED])
    (job,) = call("get_jobs", {"filters": {"job_ids": [later]}})
    like(job, LISTED)
    assert (job["job_id"], job["job_status"]) == (later, "COMPLETED")


def test_cancel_jobs(server: RunningServer, call: Call, queued: Callable[..., str]) -> None:
    job_id = queued()
    answer = call("cancel_jobs", {"body": {"job_ids": [job_id]}})
    like(answer, [CANCELLED])
    assert answer == [{**CANCELLED, "job_id": job_id}]
    assert server.client.get_job_status(job_id)["job_status"] == "CANCELLED"
    # the list leaves out what can't be cancelled
    assert call("cancel_jobs", {"body": {"job_ids": [job_id, str(uuid.uuid4())]}}) == []


def test_delete_jobs(server: RunningServer, call: Call) -> None:
    job_id = finished(server, source_code=[BELL2])["job_id"]
    answer = call("delete_jobs", {"body": {"job_ids": [job_id]}})
    like(answer, [DELETED])
    assert answer == [{**DELETED, "job_id": job_id}]
    with pytest.raises(NotFound, match="is not found"):
        server.client.get_job_status(job_id)


def test_delete_leaves_running_jobs(server: RunningServer, call: Call, async_backend: str) -> None:
    job_id = running(server, async_backend)
    assert call("delete_jobs", {"body": {"job_ids": [job_id]}}) == []
    assert server.client.get_job_status(job_id)["job_status"] == "RUNNING"
    server.client.delete_jobs([job_id], force=True)


def running(server: RunningServer, backend: str) -> str:
    """A job that is RUNNING on the asynchronous backend."""
    job_id = str(server.client.submit_job(BELL2, backend=backend)["job_id"])
    while server.client.get_job_status(job_id)["job_status"] == "QUEUED":
        server.client.call("wait_job", {"job_id": job_id, "timeout": 0.01})
    return job_id


def test_set_job_results(server: RunningServer, call: Call, async_backend: str) -> None:
    job_id = running(server, async_backend)
    answer = call("set_job_results", {"body": {"job_id": job_id, "results": [{"01": 0}]}})
    like(answer, SET)
    assert answer["job_id"] == job_id
    assert (answer["backend"], answer["job_status"]) == (async_backend, "COMPLETED")
    job = server.client.get_job_results(job_id)
    assert (job["job_status"], len(job["results"])) == ("COMPLETED", 1)


@pytest.mark.parametrize("body", [CALLBACK_SUCCESS, CALLBACK_FAILURE])
def test_set_job_results_takes_a_callback(server: RunningServer, async_backend: str, body: dict[str, Any]) -> None:
    job_id = running(server, async_backend)
    post(server.url, "/v1/job/set_job_results", {**body, "job_id": job_id})
    job = server.client.get_job_results(job_id)
    assert job["job_status"] == body["job_status"]
    assert job["results"][0]["results"] == body["results"][0]["results"]
    if body is CALLBACK_FAILURE:
        assert job["results"][0]["error"]["code"] == -102


def test_update_job(server: RunningServer, call: Call, queued: Callable[..., str]) -> None:
    body = {
        key: value for key, value in spec_submit(server, job_priority=3).items() if key not in ("backend", "job_id")
    }
    job_id = queued(**body)
    answer = call("update_job", {"body": {"job_id": job_id, "job_priority": 10}})
    like(answer, UPDATED)
    assert (answer["job_id"], answer["job_status"], answer["job_priority"]) == (job_id, "QUEUED", 10)
    echoes(answer, body, set(UPDATED) - {"job_priority"})


# ---------------------------------------------------------------------- callbacks and examples


def test_callback_of_success(server: RunningServer, receiver: Receiver) -> None:
    job_id = server.client.submit_job(BELL2, shots=10, callbacks=[{**CALLBACK, "url": receiver.url}])["job_id"]
    headers, body = receiver.wait()
    # the specification prints this one date with a blank; dates are the same everywhere here
    like(body, CALLBACK_SUCCESS, "body")
    assert set(body) == set(CALLBACK_SUCCESS)
    assert (body["job_id"], body["job_status"]) == (job_id, "COMPLETED")
    assert sum(body["results"][0]["results"].values()) == 10
    assert headers["content-type"].startswith("application/json")
    assert {"webhook-id", "webhook-timestamp"} <= set(headers)


def test_callback_of_failure(server: RunningServer, receiver: Receiver) -> None:
    job_id = server.client.submit_job("1", "qasm", callbacks=[{**CALLBACK, "url": receiver.url}])["job_id"]
    _, body = receiver.wait()
    like(body, CALLBACK_FAILURE, "body")
    assert set(body) == set(CALLBACK_FAILURE)
    assert (body["job_id"], body["job_status"]) == (job_id, "FAILED")
    (row,) = body["results"]
    assert row["results"] is None
    assert row["metadata"]["status"] == "FAILED"
    assert row["error"]["code"] == -102
    assert row["error"]["message"].startswith("[JobEngine] Parse Error: in line 1, ")


def submitted_fields(example: dict[str, Any]) -> dict[str, Any]:
    """The submit that an example's answer comes from."""
    answered = ("job_id", "job_status", "results", "creation_date", "end_date")
    return {key: value for key, value in example.items() if key not in answered}


def test_qasm_example(server: RunningServer, call: Call) -> None:
    body = submitted_fields(QASM_EXAMPLE) | {"profiling": ["all"], "job_id": str(uuid.uuid4())}
    call("submit_job", {"body": body})
    server.client.wait(body["job_id"], 30)
    answer = call("get_job_results", {"body": {"job_id": body["job_id"]}})
    like(answer, QASM_EXAMPLE)
    echoes(answer, body, set(QASM_EXAMPLE))
    # the example's counts are those of no physics: X on both qubits measures 11
    assert [row["results"] for row in answer["results"]] == [{"11": 104}, {"11": 104}]


def test_qubo_example(server: RunningServer, call: Call) -> None:
    body = submitted_fields(QUBO_EXAMPLE) | {"job_id": str(uuid.uuid4())}
    call("submit_job", {"body": body})
    server.client.wait(body["job_id"], 30)
    answer = call("get_job_results", {"body": {"job_id": body["job_id"]}})
    like(answer, QUBO_EXAMPLE)
    echoes(answer, body, set(QUBO_EXAMPLE))
    (row,) = answer["results"]
    assert len(row["results"]) == 10
    assert [entry["result"] for entry in row["results"]] == list(range(1, 11))
    check_solutions(row["results"])  # the twenty best all have -112, so all ten do


def test_values_of_the_qubo_example() -> None:
    """Our formulas give the specification's ten pairs of values."""
    total = sum(map(sum, MATRIX))
    for value, cut, bits in SOLUTIONS:
        ones = [i for i, bit in enumerate(bits) if bit == "1"]
        assert sum(MATRIX[i][j] for i in ones for j in ones) == value
        assert (total - value) / 4 == cut
