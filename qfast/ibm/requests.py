"""What a handler is given and what it gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
import orjson

from qfast.ibm.errors import Refusal

Struct = TypeVar("Struct", bound=msgspec.Struct)


class Request(msgspec.Struct):
    """One request, its body read and its caller known.

    Attributes
    ----------
    caller : mapping
        As the verbs take it: empty on a server without keys.
    call : callable
        Runs a verb: ``await call("cancel_jobs", body)``; refuses what the caller's key does not allow.
    gone : callable
        Waits until the client has closed its connection.
    """

    method: str
    path: str
    query_string: str
    headers: Mapping[bytes, bytes]
    body: bytes
    caller: Mapping[str, str]
    call: Callable[..., Awaitable[Any]]
    gone: Callable[[], Awaitable[None]]

    def query(self, *known: str) -> dict[str, list[str]]:
        """The values of the query by name; raises Refusal for a name that is not known."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.query_string, keep_blank_values=True, max_num_fields=1000):
            if name not in known:
                raise Refusal(400, f"{name[:60]!r} is not a parameter here; there are {', '.join(known) or 'none'}")
            found.setdefault(name, []).append(value)
        return found

    def decoded(self, kind: type[Struct]) -> Struct:
        """The body as a struct; raises Refusal."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.ValidationError as error:
            raise Refusal(400, f"the body: {error}") from None
        except msgspec.DecodeError as error:
            raise Refusal(400, f"the body is not JSON: {error}") from None


class Reply(NamedTuple):
    """An answer."""

    status: int = 200
    body: bytes = b""
    content_type: bytes = b"application/json"


def json_reply(value: Any, status: int = 200) -> Reply:
    """An answer in JSON."""
    return Reply(status, orjson.dumps(value))


NOTHING = Reply(204)

Handler = Callable[..., Awaitable[Reply]]
Route = tuple[str, str, Handler]  # method, pattern of the path, handler; its groups are the handler's arguments
