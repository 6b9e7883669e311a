"""JSON-RPC: what is answered to which bytes, with verbs that only note what they were given."""

import asyncio
import json

import pytest

from qfast.errors import NotFound
from qfast.rpc import Dispatcher
from qfast.wire import METHODS

SUBMIT = {"jsonrpc": "2.0", "id": 1, "method": "submit_job", "params": {"body": {"source_code": ["x"]}}}


def answer(call, group="job", only=None):
    async def verb(body, filters, caller):
        if getattr(body, "job_id", None) == "00000000-0000-4000-8000-000000000404":
            raise NotFound("Job: it is not found")
        return {"seen": type(body).__name__}

    async def broken(body, filters, caller):
        raise RuntimeError("a defect")

    verbs = dict.fromkeys(METHODS, verb) | {"get_jobs": broken} if only == "broken" else dict.fromkeys(METHODS, verb)
    text = call if isinstance(call, bytes) else json.dumps(call).encode()
    got = asyncio.run(Dispatcher(verbs).answer(text, group, None if only == "broken" else only, {}))
    return None if got is None else json.loads(got)


def submit(**fields):
    return {**SUBMIT, "params": {"body": {"source_code": ["x"], **fields}}}


def code(call, **more):
    return answer(call, **more)["error"]["code"]


def test_success_has_the_keys_in_order():
    text = json.dumps(SUBMIT).encode()
    got = asyncio.run(Dispatcher({"submit_job": lambda *_: asyncio.sleep(0, {"a": 1})}).answer(text, "job", None, {}))
    assert got == b'{"jsonrpc":"2.0","result":{"a":1},"id":1}'


@pytest.mark.parametrize(
    "identity", [b"1", b'"x"', b"null", b"1.50", b"123456789012345678901234567890", b'"\\u00e9"', b"-0"]
)
def test_ids_come_back_byte_for_byte(identity):
    text = b'{"jsonrpc":"2.0","id":' + identity + b',"method":"ping"}'
    got = asyncio.run(Dispatcher({"ping": lambda *_: asyncio.sleep(0, 1)}).answer(text, "system", None, {}))
    assert got.endswith(b'"id":' + identity + b"}")


@pytest.mark.parametrize("call", [b"", b"{", b"[1,]", b'{"a":1,"a":2}', b"nul", b'{"id":NaN}', b"\xff"])
def test_no_json(call):
    got = answer(call)
    assert got["error"]["code"] == -32700
    assert got["id"] is None


@pytest.mark.parametrize(
    "call",
    [5, "x", {}, [], {"method": "get_jobs", "id": True}, {"method": "get_jobs", "id": []}, {"method": 5, "id": 1},
     {"jsonrpc": "1.0", "method": "get_jobs", "id": 1}, {"method": "get_jobs", "id": 1, "params": 3},
     {"method": "get_jobs", "id": 1, "params": []}, {"method": "get_jobs", "id": 1, "parms": {}}],
)  # fmt: skip
def test_no_request(call):
    assert code(call) == -32600


def test_method_not_found_hints_at_a_near_one():
    error = answer({"method": "submit_jobs", "id": 1})["error"]
    assert error["code"] == -32601
    assert "submit_job" in error["data"]["hint"]
    assert code({"method": "ping", "id": 1}) == -32601  # of another group
    assert code({"method": "get_jobs", "id": 1}, only="submit_job") == -32601


def test_notifications_are_not_answered():
    assert answer({"method": "get_jobs"}) is None
    assert answer({"method": "nope"}) is None
    assert answer([{"method": "get_jobs"}, {"method": "nope"}]) is None


def test_a_batch_is_answered_in_order():
    got = answer(
        [{"method": "nope", "id": 7}, {**SUBMIT, "id": "a"}, {**SUBMIT, "id": "b"}, 3, {"method": "get_jobs", "id": 9}]
    )
    assert [entry["id"] for entry in got] == [7, "a", "b", None, 9]
    assert [entry.get("error", {}).get("code") for entry in got] == [-32601, None, None, -32600, None]
    assert code([]) == -32600
    assert code([{"method": "get_jobs", "id": 1}] * 1001) == -32600


def test_submits_of_a_batch_run_together_and_others_wait_for_them():
    order = []

    async def submit_verb(body, filters, caller):
        order.append("begin")
        await asyncio.sleep(0)
        order.append("end")
        return 1

    async def list_verb(body, filters, caller):
        order.append("list")
        return 1

    calls = [SUBMIT, SUBMIT, {"method": "get_jobs", "id": 2}, SUBMIT]
    dispatcher = Dispatcher({"submit_job": submit_verb, "get_jobs": list_verb})
    asyncio.run(dispatcher.answer(json.dumps(calls).encode(), "job", None, {}))
    assert order == ["begin", "begin", "end", "end", "list", "begin", "end"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"job_priority": 11}, "job_priority: 11 is not in 1..10"),
        ({"job_priority": True}, "job_priority: true is not an integer in 1..10"),
        ({"shots": "100"}, 'shots: "100" is not an integer in 1..10000000'),
        ({"shots": 2**64}, "shots: 18446744073709551616"),
        ({"job_id": "00000000-0000-4000-8000-000000000001\n"}, "UUID version 4 in lower-case canonical form"),
        ({"job_name": "a/b"}, "job_name:"),
        ({"tags": [1]}, "tags:"),
        ({"job_prioritiy": 3}, "did you mean 'job_priority'?"),
        ({"dry_run": 1}, "dry_run: 1 is not true or false"),
        ({"profiling": ["x"]}, "profiling:"),
    ],
)
def test_wrong_params_are_named_with_rule_and_value(fields, message):
    error = answer(submit(**fields))["error"]
    assert error["code"] == -32602
    assert message in error["message"]
    (entry,) = error["data"]["errors"]
    assert entry["loc"] == ["body", next(iter(fields))]
    assert all(isinstance(part, str) for part in entry["loc"])


def test_all_faults_are_named_at_once():
    errors = answer(submit(job_priority=0, shots=0, nope=1))["error"]["data"]["errors"]
    assert {entry["loc"][1] for entry in errors} == {"job_priority", "shots", "nope"}


def test_a_megabyte_is_not_echoed():
    got = answer(submit(job_name="n" * 1_000_000))
    assert len(json.dumps(got)) < 3000


def test_null_means_default():
    fields = dict.fromkeys(field for field in METHODS["submit_job"].body.__struct_fields__ if field != "source_code")
    assert answer(submit(**fields))["result"] == {"seen": "SubmitBody"}


def test_business_errors_and_defects():
    call = {"method": "get_job_status", "id": 1, "params": {"body": {"job_id": "00000000-0000-4000-8000-000000000404"}}}
    error = answer(call)["error"]
    assert (error["code"], error["message"]) == (-404, "Job: it is not found")
    assert answer({"method": "get_jobs", "id": 4}, only="broken")["error"]["code"] == -32603


@pytest.mark.parametrize("group", ["job", "session", "device", "driver", "transpiler", "system", "version"])
def test_discover_describes_every_method_of_the_group(group):
    document = answer({"method": "rpc.discover", "id": 1}, group=group)["result"]
    assert document["openrpc"].startswith("1.3")
    assert {method["name"] for method in document["methods"]} == {m.name for m in METHODS.values() if m.group == group}
    for method in document["methods"]:
        for param in method["params"]:
            name = param["schema"]["$ref"].rsplit("/", 1)[1]
            assert document["components"]["schemas"][name]["additionalProperties"] is False
