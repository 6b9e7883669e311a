"""The HTTP front: what is refused before a call is looked at, with an ASGI conversation instead of a server."""

import asyncio
import json

import pytest

from qfast.http import HttpFront, is_loopback_host, paths
from qfast.rpc import Dispatcher
from qfast.wire import METHODS

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
JSON = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1:8088")]


def talk(body=PING, *, path="/v1/system", method="POST", headers=JSON, max_body=1000, parts=1, complete=True):
    """Status, headers and body of the answer to one request."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    step = max(1, -(-len(text) // parts))
    pieces = [text[k : k + step] for k in range(0, len(text), step)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": k < len(pieces) - 1 or not complete}
        for k, piece in enumerate(pieces)
    ] + [{"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    async def rest(scope, receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"rest"})

    async def verb(body, filters, caller):
        return {"caller": dict(caller), "body": type(body).__name__}

    dispatcher = Dispatcher(dict.fromkeys(METHODS, verb))
    front = HttpFront(lambda: dispatcher, rest, loopback=True, max_body=max_body)
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(front(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_a_call_is_answered():
    status, headers, body = talk()
    assert status == 200
    assert headers[b"content-type"] == b"application/json"
    assert int(headers[b"content-length"]) == len(body)
    assert json.loads(body)["result"]["body"] == "NoneType"
    assert talk(parts=7)[0] == 200


def test_a_notification_has_no_body():
    assert talk({"jsonrpc": "2.0", "method": "ping"})[::2] == (204, b"")


def test_both_uri_forms():
    known = paths()
    assert known["/v1/job"] == ("job", None)
    assert known["/v1/job/submit_job"] == ("job", "submit_job")
    assert known["/version"] == ("version", None)
    assert talk(path="/v1/system/ping")[0] == 200
    assert json.loads(talk(path="/v1/system/system_info")[2])["error"]["code"] == -32601
    assert talk(path="/v1/nope")[2] == b"rest"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"method": "GET"}, 405),
        ({"method": "DELETE"}, 405),
        ({"headers": [(b"content-type", b"text/plain"), JSON[1]]}, 415),
        ({"headers": [JSON[1]]}, 415),
        ({"headers": [JSON[0], (b"host", b"evil.example")]}, 421),
        ({"headers": [*JSON, (b"origin", b"http://evil.example")]}, 403),
        ({"headers": [*JSON, (b"content-length", b"1001")]}, 413),
        ({"body": b" " * 1001}, 413),
        ({"body": b" " * 1001, "parts": 5}, 413),
        ({"complete": False}, 400),
    ],
)
def test_refusals_are_problems(change, status):
    got, headers, body = talk(**change)
    assert got == status
    assert headers[b"content-type"] == b"application/problem+json"
    problem = json.loads(body)
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert problem["detail"]
    assert (b"allow" in headers) == (status == 405)


def test_own_origin_and_idempotency_key():
    headers = [*JSON, (b"origin", b"http://127.0.0.1:8088"), (b"idempotency-key", b"k")]
    assert json.loads(talk(headers=headers)[2])["result"]["caller"] == {"idempotency-key": "k"}


def test_the_bare_body_of_a_callback():
    bare = {
        "job_id": "00000000-0000-4000-8000-000000000001",
        "job_status": "COMPLETED",
        "backend": "x",
        "results": [{"0": 1}],
    }
    status, _, body = talk(bare, path="/v1/job/set_job_results")
    assert (status, json.loads(body)["result"]["body"]) == (200, "SetResultsBody")
    assert json.loads(talk(bare, path="/v1/job")[2])["error"]["code"] == -32600
    cancelled = {**bare, "job_status": "CANCELLED", "results": None}
    assert "result" in json.loads(talk(cancelled, path="/v1/job/set_job_results")[2])


@pytest.mark.parametrize(
    "host", [b"localhost", b"localhost:80", b"127.0.0.1:1", b"127.9.9.9", b"[::1]:8088", b"a.localhost"]
)
def test_loopback_names(host):
    assert is_loopback_host(host)


@pytest.mark.parametrize("host", [b"", b"evil.example:80", b"10.0.0.1", b"[::2]:80", b"localhost.evil.example"])
def test_other_names(host):
    assert not is_loopback_host(host)
