"""The client's side of the wire without any I/O: what is posted, and what an answer means.

An operation is a generator that yields what is to be done, a `Post` or a `Pause`, is sent each reply, and returns its result.
`qfast.client` and `qfast.async_client` carry the same operations out, one by blocking and one by awaiting.
"""

from __future__ import annotations

import builtins
import itertools
import json
import os
import time
import uuid
from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from qfast import errors
from qfast.job import FINAL
from qfast.payloads import has_files, sources_of

DEFAULT_URL = "http://127.0.0.1:8088"
T = TypeVar("T")

GROUPS = {
    "/v1/device": ("get_devices", "get_device", "update_device"),
    "/v1/driver": ("get_drivers", "get_driver"),
    "/v1/transpiler": ("get_transpilers", "get_transpiler"),
    "/v1/system": ("ping", "system_info"),
    "/version": ("version",),
    "/v1/session": (
        *("open_session", "get_session", "get_sessions"),
        *("close_session", "cancel_session", "close_sessions"),
    ),
}
GROUP_OF = {method: path for path, methods in GROUPS.items() for method in methods}  # all others: /v1/job


class ConnectionError(errors.QfastError, builtins.ConnectionError):
    """No server answers, or what answers is not one."""


class JobFailed(errors.QfastError):
    """A job that was waited for did not complete.

    Attributes
    ----------
    job : dict
        The answer of get_job_results; each failed source has its ``error`` in ``job["results"][i]``.

    """

    def __init__(self, job: dict[str, Any]) -> None:
        rows = job.get("results") or []
        texts = [text for row in rows if isinstance(row, dict) and row.get("error") for text in messages(row["error"])]
        super().__init__(f"job {job['job_id']} is {job['job_status']}" + "".join(f"; {text}" for text in texts))
        self.job = job


def messages(error: dict[str, Any]) -> list[str]:
    """What is wrong with a source: the error's message, then those of the program's further errors."""
    others = (error.get("data") or {}).get("errors") or []
    return [error["message"], *(other["message"] for other in others if "message" in other)]


class Post(NamedTuple):
    """Post a JSON document and give the reply."""

    path: str
    body: bytes


class Pause(NamedTuple):
    """Let some time go by."""

    seconds: float


class Reply(NamedTuple):
    """What came back; nothing after a pause."""

    status: int = 0
    body: bytes = b""


Work = Generator[Post | Pause, Reply, T]


class Calls:
    """The operations of one client.

    Parameters
    ----------
    url : str, optional
        The server; default ``QFAST_URL``, else ``http://127.0.0.1:8088``.
    timeout : float
        Seconds to wait for one answer.
    token : str, optional
        An API key; default ``QFAST_TOKEN``, else none.
    """

    def __init__(self, url: str | None, timeout: float, token: str | None = None) -> None:
        self.url = (url or os.environ.get("QFAST_URL") or DEFAULT_URL).rstrip("/")
        self.parts: SplitResult = urlsplit(self.url)
        if self.parts.scheme not in ("http", "https") or not self.parts.hostname:
            raise ValueError(f"{self.url!r} is not a URL such as {DEFAULT_URL}")
        self.timeout = timeout
        token = token or os.environ.get("QFAST_TOKEN")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}  # of every request
        self._call_ids = itertools.count(1)
        self._has_wait = True  # until the server says that it has no wait_job

    def call(self, method: str, body: Any = None, *, params: Mapping[str, Any] | None = None) -> Work[Any]:
        """Any method of the wire; `params` replaces ``{"body": body}``."""
        request = self._request(method, {"body": body} if params is None else params)
        answer = yield from self._post(GROUP_OF.get(method, "/v1/job"), request)
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise ConnectionError(f"{self.url} does not answer as a qfast server")
        if "result" not in answer:
            raise error_of(answer["error"])
        return answer["result"]

    def batch(self, calls: Iterable[tuple[str, Any]]) -> Work[list[Any]]:
        """Several job methods in one request."""
        requests = [
            self._request(method, {"body": _with_id(body) if method == "submit_job" else body})
            for method, body in calls
        ]
        if not requests:
            return []
        answers = yield from self._post("/v1/job", requests)
        if isinstance(answers, dict) and "error" in answers:
            raise error_of(answers["error"])
        if not isinstance(answers, list) or len(answers) != len(requests):
            raise ConnectionError(f"{self.url} does not answer as a qfast server")
        return [answer["result"] if "result" in answer else error_of(answer["error"]) for answer in answers]

    def submit_job(
        self,
        source_code: Any,
        code_type: str | None = None,
        *,
        file_format: str | None = None,
        maximize: bool | None = None,
        **fields: Any,
    ) -> Work[dict[str, Any]]:
        """Hand in a job."""
        if maximize is not None or file_format is not None or has_files(source_code):
            from qfast.sources import described, expanded

            source_code, notes = expanded(source_code, code_type, file_format=file_format, maximize=maximize)
            fields |= described(notes, fields)
        sources = sources_of(source_code)
        if code_type is None:
            code_type = "qasm" if all(isinstance(source, str) for source in sources) else "qubo"
        body = _with_id({"code_type": code_type, "source_code": sources, **fields})
        return cast(dict[str, Any], (yield from self.call("submit_job", body)))

    def wait(self, job_id: str, timeout: float | None) -> Work[dict[str, Any]]:
        """Wait until the job is final."""
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.005
        while True:
            left = float("inf") if end is None else max(0.0, end - time.monotonic())
            job = yield from self._wait_once(job_id, left)
            if job["job_status"] in FINAL:
                return job
            left = float("inf") if end is None else end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"job {job_id} is still {job['job_status']} after {timeout} s")
            if not self._has_wait:
                yield Pause(min(pause, left))
                pause = min(2 * pause, 0.5)

    def results(self, job_id: str) -> Work[list[dict[str, Any]]]:
        """The results of a job that is final; raises JobFailed when it did not complete."""
        job = yield from self.call("get_job_results", {"job_id": job_id})
        if job["job_status"] != "COMPLETED":
            raise JobFailed(job)
        return cast(list[dict[str, Any]], job["results"])

    def ids_body(self, job_ids: str | Iterable[str], force: bool) -> dict[str, Any]:
        """The body of cancel_jobs and delete_jobs."""
        body: dict[str, Any] = {"job_ids": [job_ids] if isinstance(job_ids, str) else list(job_ids)}
        return {**body, "force": True} if force else body

    def replay_body(
        self, webhook_ids: str | Iterable[str] | None, job_ids: str | Iterable[str] | None, delivered: bool
    ) -> dict[str, Any]:
        """The body of replay_callbacks."""
        given = {"webhook_ids": webhook_ids, "job_ids": job_ids}
        body: dict[str, Any] = {
            name: [ids] if isinstance(ids, str) else list(ids) for name, ids in given.items() if ids is not None
        }
        return {**body, "delivered": True} if delivered else body

    def events_path(self, job_ids: Iterable[str], results: bool = False) -> str:
        """Where the changes of these jobs are streamed, and their results if they are asked for."""
        more = "&results=true" if results else ""
        return f"{self.parts.path}/v1/job/events?job_id={','.join(job_ids)}{more}"

    def refused(self, status: int, raw: bytes) -> errors.RpcError | ConnectionError:
        """What a plain HTTP error means."""
        try:
            detail = str(json.loads(raw)["detail"])
        except (ValueError, LookupError, TypeError):
            return ConnectionError(f"{self.url} answers HTTP {status} and no JSON: {raw[:80]!r}")
        return error_of({"code": -status, "message": detail})

    def _wait_once(self, job_id: str, left: float) -> Work[dict[str, Any]]:
        if self._has_wait:
            try:
                # half the socket's patience, so that a quiet wait is no lost answer
                body = {"job_id": job_id, "timeout": min(left, self.timeout / 2, 60.0)}
                return cast(dict[str, Any], (yield from self.call("wait_job", body)))
            except errors.MethodNotFound:
                self._has_wait = False
        return cast(dict[str, Any], (yield from self.call("get_job_status", {"job_id": job_id})))

    def _request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._call_ids), "method": method, "params": params}

    def _post(self, path: str, request: Any) -> Work[Any]:
        data = json.dumps(request, allow_nan=False, separators=(",", ":")).encode()
        reply = yield Post(self.parts.path + path, data)
        try:
            return json.loads(reply.body)
        except ValueError:
            text = f"{self.url}{path} answers HTTP {reply.status} and no JSON: {reply.body[:80]!r}"
            raise ConnectionError(text) from None


class EventReader:
    """Reads the stream of some jobs' states line by line.

    Attributes
    ----------
    wanted : set of str
        The jobs that are not final as far as is known.
    """

    def __init__(self, job_ids: Iterable[str]) -> None:
        self.wanted = set(job_ids)
        self._last_id: str | None = None
        self._id: str | None = None
        self._data = ""

    def headers(self) -> dict[str, str]:
        """What to ask with, to hear what came after the last event."""
        known = {} if self._last_id is None else {"Last-Event-ID": self._last_id}
        return {"Accept": "text/event-stream", **known}

    def feed(self, line: bytes) -> dict[str, Any] | None:
        """The event that this line completes."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        name, _, value = text.partition(":")
        if name == "id":
            self._id = value.strip()
        elif name == "data":
            self._data += value.strip()
        elif not text and self._data:
            event: dict[str, Any] = json.loads(self._data)
            self._last_id, self._data = self._id, ""
            if event.get("job_status") in FINAL:
                self.wanted.discard(event["job_id"])
            return event
        return None


def error_of(error: Mapping[str, Any]) -> errors.RpcError:
    """The exception for the `error` object of an answer."""
    code, data = int(error["code"]), dict(error.get("data") or {})
    kind: type[errors.RpcError] = _CLASS_OF.get(code) or type(f"RpcError{code}", (errors.RpcError,), {"code": code})
    return kind(
        str(error["message"]),
        details=data.pop("details", None),
        errors=data.pop("errors", None),
        hint=data.pop("hint", None),
        extra=data,
    )


def _tree(kind: type[errors.RpcError]) -> Iterable[type[errors.RpcError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _tree(child)


_CLASS_OF = {kind.code: kind for kind in _tree(errors.RpcError) if "code" in vars(kind)}


def _with_id(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "job_id": body.get("job_id") or str(uuid.uuid4())}
