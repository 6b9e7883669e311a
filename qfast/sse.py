"""Server-Sent Events over ASGI: ``GET /v1/job/events?job_id=...``, the changes of jobs as they happen."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from urllib.parse import parse_qsl

from qfast.access import only_tenant
from qfast.errors import NotFound, RpcError, TooMany, Unavailable
from qfast.events import MAX_FOLLOWED, Events, Follower
from qfast.http import App, Problem, Receive, Scope, Send
from qfast.params import did_you_mean
from qfast.wire import UUID4

EVENTS = "/v1/job/events"
MAX_STREAMS = 4_000  # open at a time: half of the connections that are taken, so that calls find a place

_UUID4 = re.compile(UUID4)
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx hands events on at once
]
_RETRY = b"retry: 1000\n\n"  # milliseconds before a browser comes again


class EventStream:
    """The ASGI application of the event stream.

    Parameters
    ----------
    events : callable
        Gives the `Events`, which exist once the server has started; raises Unavailable before.
    """

    def __init__(self, events: Callable[[], Events], *, max_streams: int = MAX_STREAMS) -> None:
        self._events = events
        self._open = 0
        self._max_streams = max_streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream until its jobs are final, the client goes away, or the server stops."""
        if scope["method"] != "GET":
            raise Problem(
                405, f"{scope['method']} is not allowed here: the event stream is read by GET", (b"allow", b"GET")
            )
        job_ids, last_id, results = _wanted(scope)
        try:
            if self._open >= self._max_streams:
                raise TooMany(
                    f"{self._open} event streams are open, the most that are served", extra={"retry_after": 1}
                )
            tenant = only_tenant(scope.get("qfast.caller", {}))
            stream = await self._events().follow(job_ids, last_id, tenant, results=results)
        except RpcError as error:
            raise _problem(error) from None
        self._open += 1
        try:
            if stream.wanted or stream.pending:
                await _serve(stream, receive, send)
            else:  # an EventSource that gets 204 stops asking
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._open -= 1
            stream.close()


async def _serve(stream: Follower, receive: Receive, send: Send) -> None:
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        part: bytes | None = _RETRY
        while part is not None:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            step = asyncio.ensure_future(stream.next())
            await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                return
            part = step.result()
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _wanted(scope: Scope) -> tuple[list[str], str | None, bool]:
    """The jobs asked for, the last event that the client has seen, and whether it wants results."""
    query = scope["query_string"].decode("latin-1")
    last_id = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"last-event-id"), None)
    job_ids: dict[str, None] = {}
    results = False
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "last_event_id":
            last_id = last_id or value
            continue
        if name == "results":
            if value not in ("true", "false"):
                raise Problem(400, f"results: {value[:80]!r} is neither true nor false")
            results = value == "true"
            continue
        if name != "job_id":
            names = ("job_id", "last_event_id", "results")
            hint = did_you_mean(name, names) or "there are job_id, last_event_id and results"
            raise Problem(400, f"{name[:80]!r} is not a parameter of the event stream: {hint}")
        job_ids |= dict.fromkeys(value.split(","))
        if len(job_ids) > MAX_FOLLOWED:
            raise Problem(400, f"a stream follows at most {MAX_FOLLOWED} jobs")
    wrong = next((job_id for job_id in job_ids if not _UUID4.match(job_id)), None)
    if wrong is not None:
        raise Problem(400, f"job_id: {wrong[:80]!r} is not a UUID version 4 in lower-case canonical form")
    if not job_ids:
        raise Problem(400, "job_id is missing: ask for /v1/job/events?job_id=ID, several separated by commas")
    return list(job_ids), last_id, results


def _problem(error: RpcError) -> Problem:
    """The plain HTTP error of a refusal."""
    if isinstance(error, NotFound):
        return Problem(404, error.message)
    wait = str(max(1, round(float((error.extra or {}).get("retry_after", 1))))).encode()
    status = 429 if isinstance(error, TooMany) else 503 if isinstance(error, Unavailable) else 400
    return Problem(status, error.message, (b"retry-after", wait))


def routes(events: Callable[[], Events]) -> dict[str, App]:
    """The stream by its path."""
    return {EVENTS: EventStream(events)}
