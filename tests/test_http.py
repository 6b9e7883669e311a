"""The HTTP front: what is refused before a call is looked at, with an ASGI conversation instead of a server."""

import asyncio
import json

import pytest

from qfast.admission import Admission, Guest
from qfast.errors import Unavailable
from qfast.http import HttpFront, is_loopback_host, paths
from qfast.rpc import Dispatcher
from qfast.wire import METHODS

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
JSON = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1:8088")]


def talk(body=PING, *, path="/v1/system", method="POST", headers=JSON, parts=1, complete=True, verb=None, **limits):
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
        if complete is None and len(messages) == 1:
            await asyncio.Event().wait()  # the rest never comes
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    async def rest(scope, receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"rest"})

    async def told(body, filters, caller):
        return {"caller": dict(caller), "body": type(body).__name__}

    dispatcher = Dispatcher(dict.fromkeys(METHODS, verb or told))
    front = HttpFront(lambda: dispatcher, rest, loopback=True, **{"max_body": 1000, **limits})
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(front(scope, receive, send))
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


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


def test_a_body_that_does_not_come_is_not_waited_for():
    status, headers, _ = talk(complete=None, part_seconds=0)
    assert (status, headers[b"connection"]) == (408, b"close")


def refusal(body):
    error = json.loads(body)["error"]
    assert error["data"]["retry_after"] > 0
    return error["code"]


def test_what_is_too_much_at_a_time_is_refused_before_it_is_read():
    admission = Admission(most_requests=1)
    with Guest(admission, "someone") as guest:
        guest.begin(0)  # an event stream is no call
        assert talk(admission=admission)[0] == 200
        guest.begin()
        status, headers, body = talk(complete=None, admission=admission)
        assert (status, refusal(body)) == (200, -503)
        assert headers[b"retry-after"] == b"1"
    assert talk(admission=admission)[0] == 200


def test_bodies_and_answers_on_their_way_are_counted_in_bytes():
    text = b" " * 300 + json.dumps(PING).encode()
    admission = Admission(most_bytes=400)
    with Guest(admission, "someone") as guest:
        guest.hold(200)
        assert refusal(talk(text, admission=admission)[2]) == -503
        with pytest.raises(Unavailable), Guest(admission, "another") as other:
            other.hold(201)
    assert admission.held == 0
    assert talk(text, admission=admission)[0] == 200
    assert (admission.held, admission.calls, admission.answering) == (0, 0, set())


@pytest.mark.parametrize("length", [262_000, 262_144, 300_000, 1_000_000])
def test_a_long_answer_goes_out_in_pieces_and_is_whole(length):
    admission = Admission(most_bytes=500_000)

    async def verb(body, filters, caller):
        return b'"' + b"x" * length + b'"'

    status, headers, body = talk(verb=verb, admission=admission)
    assert (status, int(headers[b"content-length"])) == (200, len(body))
    assert json.loads(body)["result"] == "x" * length
    assert admission.held == 0
