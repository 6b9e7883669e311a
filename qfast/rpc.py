"""JSON-RPC 2.0: bytes -> verb -> bytes, errors -> codes. Knows no HTTP and no job.

A call is checked in three steps: is it JSON (`_ext.jsoncheck`), is it a request (`_Call`), are the parameters right
(`params.decode_params`). The answer is put together from bytes, so that ids come back exactly as they came and large
results are never encoded twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec
import orjson

from qfast._ext import jsoncheck
from qfast.errors import InternalError, InvalidRequest, MethodNotFound, ParseFailure, RpcError
from qfast.openrpc import document
from qfast.params import decode_params, did_you_mean, plain, short
from qfast.wire import METHODS, Method, SubmitBody

log = logging.getLogger("qfast.rpc")

LARGE = 256 << 10  # bytes; the check of longer bodies leaves the loop's thread to others
_SOURCE = (b"params", b"body", b"source_code")

# takes body, filters and what the transport knows of the caller; gives JSON bytes, or anything orjson encodes
Verb = Callable[[Any, Any, Mapping[str, str]], Awaitable[Any]]
Gate = Callable[[str], None]  # lets a method's call in, or raises


class _Call(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    jsonrpc: msgspec.Raw = msgspec.Raw(b'"2.0"')
    method: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw(b"null")


_CALL = msgspec.json.Decoder(_Call)
_BATCH = msgspec.json.Decoder(list[msgspec.Raw])
_STRING = msgspec.json.Decoder(str)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def result_bytes(result: Any, call_id: bytes) -> bytes:
    """A success answer."""
    body = result if type(result) is bytes else orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY)
    return b'{"jsonrpc":"2.0","result":' + body + b',"id":' + call_id + b"}"


def error_bytes(error: RpcError, call_id: bytes = b"null") -> bytes:
    """A failure answer."""
    try:
        body = orjson.dumps(error.as_dict())
    except TypeError:  # an echoed integer beyond 64 bits
        body = msgspec.json.encode(error.as_dict())
    return b'{"jsonrpc":"2.0","error":' + body + b',"id":' + call_id + b"}"


class Dispatcher:
    """Answers calls with the verbs it was given.

    Parameters
    ----------
    verbs : mapping of str to coroutine function
        One per method of ``wire.METHODS`` that this server offers.
    max_batch : int
        Calls in one batch.
    """

    def __init__(self, verbs: Mapping[str, Verb], *, max_batch: int = 1000) -> None:
        self._verbs = dict(verbs)
        self._max_batch = max_batch
        self._documents: dict[str, bytes] = {}

    async def answer(
        self, text: bytes, group: str, only: str | None, caller: Mapping[str, str], gate: Gate | None = None
    ) -> bytes | None:
        """Answer the body of one POST.

        Parameters
        ----------
        text : bytes
            The whole body.
        group : str
            The URI's group; its methods and ``rpc.discover`` can be called.
        only : str or None
            The URI's method: no other can be called.
        caller : mapping of str to str
            What the transport knows, such as an idempotency key.
        gate : callable, optional
            Given each method before it is called; raises Forbidden or TooMany.

        Returns
        -------
        bytes or None
            JSON, or None when everything was a notification.
        """
        span = None
        if len(text) > LARGE:
            wrong, span = await asyncio.get_running_loop().run_in_executor(None, jsoncheck.find, text, _SOURCE)
        else:
            wrong = jsoncheck.check(text)
        if wrong is not None:
            return error_bytes(ParseFailure(f"Parse error: {wrong[0]} at byte {wrong[1]}"))
        if span is not None:  # the decoders, which hold the GIL, see a call without its programs
            start, stop = span
            return await self._one(
                text[:start] + b"[]" + text[stop:], group, only, caller, gate, source=text[start:stop]
            )
        if text.lstrip()[:1] == b"[":
            return await self._batch(text, group, only, caller, gate)
        return await self._one(text, group, only, caller, gate)

    async def _batch(
        self, text: bytes, group: str, only: str | None, caller: Mapping[str, str], gate: Gate | None
    ) -> bytes | None:
        calls = _BATCH.decode(text)
        if not calls:
            return error_bytes(InvalidRequest("Invalid request: the batch is empty"))
        if "idempotency-key" in caller:
            return error_bytes(InvalidRequest("Invalid request: the header Idempotency-Key goes with a single call"))
        if len(calls) > self._max_batch:
            return error_bytes(
                InvalidRequest(f"Invalid request: {len(calls)} calls in one batch, at most {self._max_batch}")
            )
        answers: list[asyncio.Future[bytes | None] | bytes | None] = []
        running: str | None = None  # the method whose calls may run at the same time
        for raw in calls:
            method = _method_of(raw)
            if running is not None and method != running:
                await asyncio.wait([answer for answer in answers if isinstance(answer, asyncio.Future)])
            known = METHODS.get(method) if method else None
            if known is not None and known.together:
                running = method
                answers.append(asyncio.ensure_future(self._one(raw, group, only, caller, gate)))
            else:
                running = None
                await asyncio.sleep(0)  # let other callers in between
                answers.append(await self._one(raw, group, only, caller, gate))
        results = [await answer if isinstance(answer, asyncio.Future) else answer for answer in answers]
        parts = [part for part in results if part is not None]
        return b"[" + b",".join(parts) + b"]" if parts else None

    async def _one(
        self,
        text: bytes | msgspec.Raw,
        group: str,
        only: str | None,
        caller: Mapping[str, str],
        gate: Gate | None,
        *,
        source: bytes | None = None,
    ) -> bytes | None:
        call_id = b"null"
        notification = False
        try:
            call = _read(text)
            call_id = _id_of(call)
            name = _name_of(call)
            notification = not call.id  # only what is a request can be a notification
            method = self._find(name, group, only)
            if method is None:
                return None if notification else result_bytes(self._document(group), call_id)
            if gate is not None:
                gate(name)
            body, filters = decode_params(method, call.params)
            if source is not None and isinstance(body, SubmitBody):
                body.source_code = cast(msgspec.Raw, source)  # not wrapped, since unwrapping copies
            result = await self._verbs[name](body, filters, caller)
            return None if notification else result_bytes(result, call_id)
        except RpcError as error:
            return None if notification else error_bytes(error, call_id)
        except Exception:
            log.exception("a call failed; its text begins with %r", bytes(text)[:200])
            failure = InternalError("Internal error: the call failed for a reason that is in the server's log")
            return None if notification else error_bytes(failure, call_id)

    def _document(self, group: str) -> bytes:
        if group not in self._documents:
            self._documents[group] = orjson.dumps(document(group, self._verbs))
        return self._documents[group]

    def _find(self, name: str, group: str, only: str | None) -> Method | None:
        if name == "rpc.discover":
            return None
        method = METHODS.get(name)
        if method is None or method.group != group or name not in self._verbs:
            here = [known for known, entry in METHODS.items() if entry.group == group and known in self._verbs]
            near = did_you_mean(name, here)
            raise MethodNotFound(
                f"Method not found: {short(name)!r} is not a method of this URI" + (f", {near}" if near else ""),
                hint=near,
            )
        if only is not None and name != only:
            raise MethodNotFound(f"Method not found: this URI takes only {only!r}, not {name!r}")
        return method


def _method_of(raw: msgspec.Raw) -> str | None:
    """The method's name when the call has one; faults are for the call's own answer to tell."""
    try:
        return _STRING.decode(_CALL.decode(raw).method)
    except msgspec.DecodeError:
        return None


def _read(text: bytes | msgspec.Raw) -> _Call:
    """The members of one call; raises InvalidRequest."""
    try:
        return _CALL.decode(text)
    except msgspec.ValidationError:
        pass
    try:
        members = _MEMBERS.decode(text)
    except msgspec.ValidationError:
        raise InvalidRequest("Invalid request: a call is a JSON object") from None
    odd = next(key for key in members if key not in _Call.__struct_fields__)
    near = did_you_mean(odd, _Call.__struct_fields__)
    raise InvalidRequest(
        f"Invalid request: {short(odd)!r} is no member of a call" + (f", {near}" if near else ""), hint=near
    )


def _id_of(call: _Call) -> bytes:
    """The id as it stands in the call."""
    identity = bytes(call.id)
    if identity[:1] in b"tf[{" and identity:
        raise InvalidRequest("Invalid request: id is a string, a number or null")
    return identity or b"null"


def _name_of(call: _Call) -> str:
    """The method's name once the rest of the call is a request."""
    if bytes(call.jsonrpc) != b'"2.0"':
        raise InvalidRequest(f"Invalid request: jsonrpc is {short(plain(call.jsonrpc))!r}, not '2.0'")
    if not call.method:
        raise InvalidRequest("Invalid request: method is missing")
    if bytes(call.params)[:1] not in b"{n":
        raise InvalidRequest("Invalid request: params is an object, parameters go by name")
    try:
        return _STRING.decode(call.method)
    except msgspec.ValidationError:
        raise InvalidRequest("Invalid request: method is a string") from None
