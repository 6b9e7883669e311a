"""HTTP of the interface: paths, keys, bodies, errors. An ASGI application in front of the rest of the server."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Mapping
from typing import Any

from qfast.access import Access, Caller, fields_of
from qfast.admission import Admission, Guest
from qfast.errors import CircuitError, RpcError, Unauthenticated, Unavailable
from qfast.http import MAX_BODY, App, Problem, Receive, Scope, Send, is_loopback_host, read_body
from qfast.ibm.account import Account, key_in
from qfast.ibm.backends import BackendRoutes
from qfast.ibm.errors import Refusal, refusal_of
from qfast.ibm.jobs import HOLD, JobRoutes
from qfast.ibm.programs import warm
from qfast.ibm.requests import Handler, Reply, Request, json_reply
from qfast.ibm.sessions import SessionRoutes
from qfast.jobs import Jobs
from qfast.rpc import Verb

log = logging.getLogger("qfast.ibm")

API = "/api/v1"
SAVED = "/api/v1/experimental"  # an address that the client keeps as it is, so that it can stand in an account file

_Table = list[tuple[str, re.Pattern[str], Handler]]


class Facade:
    """The interface; what is not its path goes on to `rest`.

    Parameters
    ----------
    rest : ASGI application
    access : Access
        The keys.
    loopback : bool
        Whether only loopback host names are ours.
    admission : Admission
        How much is taken on at a time.
    hold : float
        Seconds that a question for the state of a job is held.
    """

    def __init__(
        self, rest: App, *, access: Access, loopback: bool, admission: Admission | None = None, hold: float = HOLD
    ) -> None:
        self._admission = admission or Admission()
        self._rest, self._access, self._loopback, self._hold = rest, access, loopback, hold
        self._account = Account(self._known)
        self._open = _table(self._account.open_routes())
        self._table: _Table | None = None
        self._verbs: Mapping[str, Verb] = {}
        self._warming: asyncio.Future[Any] | None = None

    def open(self, jobs: Jobs, verbs: Mapping[str, Verb]) -> None:
        """The server has started."""
        parts = (JobRoutes(jobs, self._hold), SessionRoutes(), BackendRoutes(jobs.backends, time.time()), self._account)
        self._verbs = verbs
        self._table = _table([route for part in parts for route in part.routes()])

    def _known(self, key: str) -> Caller:
        return self._access.caller(b"Bearer " + key.encode("latin-1", "replace"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        ours = scope["type"] == "http" and (path.startswith(API + "/") or self._is_account(path))
        if not ours:
            await self._rest(scope, receive, send)
            return
        for prefix in (SAVED, API):
            if path.startswith(prefix + "/"):
                path = path[len(prefix) :]
                break
        with Guest(self._admission, scope.get("client")) as guest:
            await self._serve(path, scope, receive, send, guest)

    async def _serve(self, path: str, scope: Scope, receive: Receive, send: Send, guest: Guest) -> None:
        retry_after: float | None = None
        try:
            reply = await self._answer(path, scope, receive, guest)
        except (RpcError, CircuitError) as error:
            refusal = refusal_of(error)
            reply, retry_after = json_reply(refusal.as_dict(), refusal.status), refusal.retry_after
        except Refusal as refusal:
            reply, retry_after = json_reply(refusal.as_dict(), refusal.status), refusal.retry_after
        except Problem as problem:
            reply = json_reply(Refusal(problem.status, problem.detail).as_dict(), problem.status)
        except Exception:
            log.exception("a request to %s failed", path)
            failed = Refusal(400, "a defect of the server; the reason is in its log")
            reply = json_reply(failed.as_dict(), failed.status)
        await _send(send, reply, retry_after)

    def _is_account(self, path: str) -> bool:
        return path == "/v3/resources/search" or any(pattern.fullmatch(path) for _, pattern, _ in self._open)

    async def _answer(self, path: str, scope: Scope, receive: Receive, guest: Guest) -> Reply:
        headers = dict(scope["headers"])
        self._check_origin(headers)
        self._admission.check()
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY:
            raise Refusal(413, f"the body is longer than the {MAX_BODY} bytes that are taken")
        method = scope["method"]
        found = _match(self._open, method, path)
        who = None
        if found is None:
            if self._table is None:
                raise Unavailable("the server is starting", extra={"retry_after": 1})
            who = self._caller(headers.get(b"authorization", b"").decode("latin-1"))
            found = _match(self._table, method, path)
        if found is None:
            raise Refusal(404, f"{method} {path[:80]} does not exist here")
        self._warm()
        handler, groups = found
        body = await read_body(receive, guest)
        guest.begin()
        request = Request(
            method=method,
            path=path,
            query_string=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=body,
            caller=fields_of(who) if who is not None and self._access.required else {},
            call=lambda name, body: self._call(who, name, body),
            gone=lambda: _gone(receive),
        )
        return await handler(request, **groups)

    def _warm(self) -> None:
        """Start a reader of circuits with the first request."""
        if self._warming is None:
            self._warming = asyncio.get_running_loop().run_in_executor(None, warm)
            self._warming.add_done_callback(_told)

    def _caller(self, authorization: str) -> Caller:
        key = key_in(authorization)
        if not key and self._access.required:
            raise Unauthenticated("a key is needed: send the header Authorization: apikey KEY")
        return self._known(key)

    async def _call(self, who: Caller | None, name: str, body: Any) -> Any:
        """Let the caller use a verb, and where there is a body for it, run it."""
        if who is not None:
            self._access.admit(who, name)
        if body is None:
            return None
        caller = fields_of(who) if who is not None and self._access.required else {}
        return await self._verbs[name](body, None, caller)

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        host, origin = headers.get(b"host", b""), headers.get(b"origin", b"")
        if self._loopback and not is_loopback_host(host):
            raise Refusal(
                421, f"{host.decode('latin-1')[:80]!r} is not this server: it answers only for loopback names"
            )
        if origin and origin.split(b"//", 1)[-1] != host:
            raise Refusal(403, "calls from pages of other origins are not taken")


def _told(warming: asyncio.Future[Any]) -> None:
    if not warming.cancelled() and warming.exception() is not None:
        log.warning("no reader of circuits can be started: %s", warming.exception())


def _table(routes: Any) -> _Table:
    return [(method, re.compile(pattern), handler) for method, pattern, handler in routes]


def _match(table: _Table, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
    """The handler of a path and its arguments; raises Refusal for a path that has others methods only."""
    allowed = []
    for known, pattern, handler in table:
        found = pattern.fullmatch(path)
        if found is not None and known == method:
            return handler, found.groupdict()
        if found is not None:
            allowed.append(known)
    if allowed:
        raise Refusal(405, f"{method} is not allowed here, but {', '.join(allowed)}")
    return None


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, reply: Reply, retry_after: float | None) -> None:
    headers = []
    if reply.status != 204:
        headers = [(b"content-type", reply.content_type), (b"content-length", str(len(reply.body)).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(retry_after))).encode()))
    if reply.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
