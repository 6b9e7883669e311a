"""JSON-RPC over HTTP: the thin ASGI layer in front of Litestar that takes the contract's POST paths.

It knows HTTP and the dispatcher, and nothing of jobs. Litestar's own limits do not reach these paths, so the body limit,
the deadlines and the checks of host, origin and content type stand here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any

import orjson

from qfast._ext import jsoncheck
from qfast.access import Access, fields_of
from qfast.admission import Admission, Guest
from qfast.errors import InternalError, RpcError, Unauthenticated
from qfast.rpc import Dispatcher, error_bytes
from qfast.wire import METHODS

log = logging.getLogger("qfast.http")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 64 << 20  # bytes
BODY_SECONDS = 60.0  # for the whole body
PART_SECONDS = 10.0  # in which something of it comes
LARGE = 256 << 10  # bytes of an answer; a longer one goes out as fast as it is taken
PIECE = 128 << 10
SET_RESULTS = "/v1/job/set_job_results"

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


def paths() -> dict[str, tuple[str, str | None]]:
    """Every URI of the contract: group URIs, and one per method that takes only that method."""
    table: dict[str, tuple[str, str | None]] = {}
    for method in METHODS.values():
        base = f"/{method.group}" if method.group == "version" else f"/v1/{method.group}"
        table[base] = (method.group, None)
        table[f"{base}/{method.name}"] = (method.group, method.name)
    return table


async def send_problem(send: Send, status: int, detail: str, extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer with ``application/problem+json`` (RFC 9457)."""
    body = orjson.dumps(
        {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}
    )
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_ERROR = b'{"jsonrpc":"2.0","error":{"code":-'
_ALSO_HTTP = {b"401": 401, b"403": 403, b"429": 429}  # the status of HTTP says these too


def _status_of(body: bytes) -> int:
    return _ALSO_HTTP.get(body[len(_ERROR) : len(_ERROR) + 3], 200) if body.startswith(_ERROR) else 200


def _extra_headers(error: RpcError) -> list[tuple[bytes, bytes]]:
    """What HTTP's own headers say of a refusal."""
    if isinstance(error, Unauthenticated):
        return [(b"www-authenticate", b"Bearer")]
    wait = error.extra.get("retry_after")
    return [] if wait is None else [(b"retry-after", str(max(1, math.ceil(wait))).encode())]


class Problem(Exception):
    """A request that ends in a plain HTTP error."""

    def __init__(self, status: int, detail: str, *extra: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.extra = status, detail, extra


class HttpFront:
    """An ASGI application: the JSON-RPC paths go to the dispatcher, everything else to `rest`.

    Parameters
    ----------
    dispatcher : callable
        Gives the Dispatcher, which exists once the server has started.
    rest : ASGI application
    loopback : bool
        Whether only loopback host names are ours (against DNS rebinding).
    routes : mapping of str to ASGI application, optional
        What answers other paths of the contract, behind the same checks; finds the caller in ``scope["qfast.caller"]`` and may
        raise Problem.
    access : Access, optional
        The keys; none are needed without it.
    admission : Admission, optional
        What is taken on at a time.
    part_seconds : float
        How long nothing of a body may come.
    """

    def __init__(
        self,
        dispatcher: Callable[[], Dispatcher],
        rest: App,
        *,
        loopback: bool,
        max_body: int = MAX_BODY,
        routes: Mapping[str, App] | None = None,
        access: Access | None = None,
        admission: Admission | None = None,
        part_seconds: float = PART_SECONDS,
    ) -> None:
        self._dispatcher = dispatcher
        self._rest = rest
        self._loopback = loopback
        self._max_body = max_body
        self._paths = paths()
        self._routes = dict(routes or {})
        self._access = access or Access(None)
        self._admission = admission or Admission()
        self._part_seconds = part_seconds
        self._hosts: dict[bytes, bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        target = self._paths.get(scope["path"])
        if target is None:
            await self._elsewhere(scope, receive, send)
            return
        with Guest(self._admission, scope.get("client")) as guest:
            await self._call(scope, receive, send, guest, target)

    async def _call(
        self, scope: Scope, receive: Receive, send: Send, guest: Guest, target: tuple[str, str | None]
    ) -> None:
        extra: list[tuple[bytes, bytes]] = []
        try:
            body = await self._answer(scope, receive, guest, *target)
            guest.release()
            if body is not None and len(body) > LARGE:
                guest.hold(len(body))
        except Problem as problem:
            await send_problem(send, problem.status, problem.detail, problem.extra)
            return
        except RpcError as error:  # nobody we know, too much at a time, or there is no dispatcher yet
            body, extra = error_bytes(error), _extra_headers(error)
        except Exception:
            log.exception("a request to %s failed", scope["path"])
            body = error_bytes(InternalError("Internal error: the reason is in the server's log"))
        if body is None:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length), *extra]
        await send({"type": "http.response.start", "status": _status_of(body), "headers": headers})
        if (
            len(body) > LARGE
        ):  # `send` waits until the one before has been taken, so the bytes are held until they are gone
            whole = memoryview(body)
            for start in range(0, len(body) - PIECE, PIECE):
                await send(
                    {"type": "http.response.body", "body": bytes(whole[start : start + PIECE]), "more_body": True}
                )
            body = bytes(whole[(len(body) - 1) // PIECE * PIECE :])
        await send({"type": "http.response.body", "body": body})

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"])
        if route is None:
            await self._rest(scope, receive, send)
            return
        with Guest(self._admission, scope.get("client")) as guest:
            guest.begin(0)
            await self._follow(route, scope, receive, send)

    async def _follow(self, route: App, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            self._check_origin(headers.get(b"host", b""), headers.get(b"origin", b""))
            who = self._access.caller(headers.get(b"authorization"))
            scope["qfast.caller"] = fields_of(who) if self._access.required else {}
            self._access.admit(who, "get_job_status")
            await route(scope, receive, send)
        except RpcError as error:
            await send_problem(send, -error.code, error.message, _extra_headers(error))
        except Problem as problem:
            await send_problem(send, problem.status, problem.detail, problem.extra)

    async def _answer(self, scope: Scope, receive: Receive, guest: Guest, group: str, only: str | None) -> bytes | None:
        if scope["method"] != "POST":
            raise Problem(
                405, f"{scope['method']} is not allowed here: send a JSON-RPC 2.0 call by POST", (b"allow", b"POST")
            )
        caller: dict[str, str] = {}
        content_type, host, origin, length = b"", b"", b"", 0
        authorization: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"content-length":
                length = int(value) if value.isdigit() else 0
            elif name == b"idempotency-key":
                caller["idempotency-key"] = value.decode("latin-1")
            elif name == b"authorization":
                authorization = value
        self._check_origin(host, origin)
        who = self._access.caller(authorization)  # before the body is taken
        if not _is_json(content_type):
            shown = content_type.decode("latin-1")[:80] or "no content type"
            raise Problem(415, f"{shown} is not JSON: send content-type application/json")
        if length > self._max_body:
            raise Problem(413, f"the body is {length} bytes long, at most {self._max_body} are taken")
        self._admission.check()
        text = await read_body(receive, guest, max_body=self._max_body, part_seconds=self._part_seconds)
        guest.begin()
        if scope["path"] == SET_RESULTS:
            text = _with_envelope(text)
        gate = None
        if self._access.required:
            caller |= fields_of(who)
            gate = partial(self._access.admit, who)
        return await self._dispatcher().answer(text, group, only, caller, gate)

    def _check_origin(self, host: bytes, origin: bytes) -> None:
        known = self._hosts.get(host)
        if known is None:
            known = not self._loopback or is_loopback_host(host)
            if len(self._hosts) < 1000:
                self._hosts[host] = known
        if not known:
            raise Problem(
                421, f"{host.decode('latin-1')[:80]!r} is not this server: it answers only for loopback names"
            )
        if origin and origin.split(b"//", 1)[-1] != host:
            raise Problem(403, "calls from pages of other origins are not taken")


async def read_body(
    receive: Receive, guest: Guest, *, max_body: int = MAX_BODY, part_seconds: float = PART_SECONDS
) -> bytes:
    """The whole body, within the limits of size and time; raises Problem, or Unavailable where too much is held."""
    loop = asyncio.get_running_loop()
    end = loop.time() + BODY_SECONDS
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await _part(receive, max(0.0, min(end - loop.time(), part_seconds)), part_seconds)
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > max_body:
            raise Problem(413, f"the body is longer than the {max_body} bytes that are taken")
        guest.hold(len(part))
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _part(receive: Receive, seconds: float, part_seconds: float) -> MutableMapping[str, Any]:
    try:
        message = await asyncio.wait_for(receive(), seconds)
    except TimeoutError:
        late = f"the body did not come: {part_seconds:g} s for a part of it, {BODY_SECONDS:g} s for all"
        raise Problem(408, late, (b"connection", b"close")) from None
    if message["type"] == "http.disconnect":
        raise Problem(400, "the body is not complete")
    return message


def _is_json(content_type: bytes) -> bool:
    kind = content_type.split(b";", 1)[0].strip().lower()
    return kind == b"application/json" or kind.endswith(b"+json")


def is_loopback_host(host: bytes) -> bool:
    """Whether a Host header names this machine by a loopback name: localhost, 127.0.0.0/8 or [::1], with any port."""
    text = host.decode("latin-1").lower()
    name = text[1 : text.find("]")] if text.startswith("[") else text.rsplit(":", 1)[0]
    if name.rstrip(".") == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _with_envelope(text: bytes) -> bytes:
    """The bare body of a callback, which set_job_results takes too, as a call of that method; other bodies as they are."""
    if jsoncheck.check(text) is not None:
        return text  # the dispatcher says what is wrong
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if not isinstance(value, dict) or "method" in value or "jsonrpc" in value or "job_id" not in value:
        return text
    body = {name: value[name] for name in ("job_id", "results") if name in value}
    if body.get("results") is None and value.get("job_status") in ("CANCELLED", "FAILED"):
        body["results"] = [{"code": -10, "message": f"Generic Error: the job ended {value['job_status']}"}]
    return orjson.dumps({"jsonrpc": "2.0", "id": None, "method": "set_job_results", "params": {"body": body}})
