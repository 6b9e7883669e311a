"""The client: the verbs of the wire as methods, on the standard library alone.

>>> client = Client()
>>> client.run(BELL, shots=1000)[0]["results"]
{'00': 503, '11': 497}
"""

from __future__ import annotations

import builtins
import http.client
import itertools
import json
import os
import time
import uuid
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from qfast import errors
from qfast.job import FINAL

DEFAULT_URL = "http://127.0.0.1:8088"

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
        texts = [row["error"]["message"] for row in rows if isinstance(row, dict) and row.get("error")]
        super().__init__(f"job {job['job_id']} is {job['job_status']}" + "".join(f"; {text}" for text in texts))
        self.job = job


class Client:
    """Speaks JSON-RPC 2.0 with one server over kept-alive connections; safe to share between threads.

    A call whose connection the server closed is sent once more. That is safe: the client chooses each job's id, and a
    submit repeated with the same id and payload gives the existing job.

    Parameters
    ----------
    url : str, optional
        The server; default ``QFAST_URL``, else ``http://127.0.0.1:8088``.
    timeout : float
        Seconds to wait for one answer.

    Raises
    ------
    ConnectionError
        From every method, when no server answers.
    qfast.errors.RpcError
        From every method, when the server refuses; the subclass tells the code.

    """

    def __init__(self, url: str | None = None, *, timeout: float = 30.0) -> None:
        self.url = (url or os.environ.get("QFAST_URL") or DEFAULT_URL).rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.url!r} is not a URL such as {DEFAULT_URL}")
        self.timeout = timeout
        self._secure, self._host, self._port, self._base = (
            parts.scheme == "https",
            parts.hostname,
            parts.port,
            parts.path,
        )
        self._idle: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close, self._idle)
        self._call_ids = itertools.count(1)
        self._has_wait = True  # until the server says that it has no wait_job

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections; the client stays usable."""
        _close(self._idle)

    # ------------------------------------------------------------------ the eight verbs

    def submit_job(
        self,
        source_code: Any,
        code_type: str | None = None,
        *,
        file_format: str | None = None,
        maximize: bool | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Hand in a job; returns it as the server stored it, once it is durable.

        Parameters
        ----------
        source_code : str, matrix, pathlib.Path, or a sequence of these
            OpenQASM programs or QUBO matrices. A matrix is a list of rows, a numpy array, a scipy sparse matrix,
            a dict ``{(i, j): value}``, or the wire's own ``{"n", "row", "col", "value"}``. A Path is a file of either, in
            any format of `qfast.sources`; text is never taken for a file's name.
        code_type : {"qasm", "qasm2", "qasm3", "qubo"}, optional
            Default: ``qasm`` for text, ``qubo`` for matrices.
        file_format : str, optional
            The format of all files, one of `qfast.sources.FORMATS`; default: told by ending and content.
        maximize : bool, optional
            True negates the matrices, so that ``quboValue`` is minus what is maximised. How a file was understood, and what
            was negated, is told in the job's ``description`` unless one is given.
        **fields
            Any other field of submit_job: ``shots``, ``backend``, ``job_priority``, ``driver_options``, ...
            ``job_id`` is the idempotency key; without it the client makes one.

        Raises
        ------
        TypeError, ValueError
            The source is neither text nor a matrix, or holds NaN or infinities; or a file is wrong, by line and column.

        """
        if maximize is not None or file_format is not None or _has_files(source_code):
            from qfast.sources import described, expanded

            source_code, notes = expanded(source_code, code_type, file_format=file_format, maximize=maximize)
            fields |= described(notes, fields)
        sources = sources_of(source_code)
        if code_type is None:
            code_type = "qasm" if all(isinstance(source, str) for source in sources) else "qubo"
        body = _with_id({"code_type": code_type, "source_code": sources, **fields})
        return cast(dict[str, Any], self.call("submit_job", body))

    def get_job_status(self, job_id: str) -> dict[str, Any]:
        """The job without its source and results."""
        return cast(dict[str, Any], self.call("get_job_status", {"job_id": job_id}))

    def get_job_results(self, job_id: str) -> dict[str, Any]:
        """The job with its source and its results, null until there are some."""
        return cast(dict[str, Any], self.call("get_job_results", {"job_id": job_id}))

    def get_jobs(self, **filters: Any) -> list[dict[str, Any]]:
        """The jobs that match, newest first; filters such as ``job_status="QUEUED"``, ``tags=[...]``, ``limit=20``."""
        return cast(list[dict[str, Any]], self.call("get_jobs", params={"filters": filters}))

    def cancel_jobs(self, job_ids: str | Iterable[str], force: bool = False) -> list[dict[str, Any]]:
        """Cancel queued jobs, with `force` running ones too; returns those that are cancelled or being cancelled."""
        return cast(list[dict[str, Any]], self.call("cancel_jobs", _ids(job_ids, force)))

    def delete_jobs(self, job_ids: str | Iterable[str], force: bool = False) -> list[dict[str, Any]]:
        """Delete jobs that are not running, with `force` running ones as well; returns those that are gone."""
        return cast(list[dict[str, Any]], self.call("delete_jobs", _ids(job_ids, force)))

    def set_job_results(self, job_id: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Bring the results of a job that runs on an asynchronous backend: counts or result objects, one per source."""
        return cast(dict[str, Any], self.call("set_job_results", {"job_id": job_id, "results": list(results)}))

    def update_job(self, job_id: str, **fields: Any) -> dict[str, Any]:
        """Change a queued job's ``job_priority``, ``job_name`` or ``description``."""
        return cast(dict[str, Any], self.call("update_job", {"job_id": job_id, **fields}))

    # ------------------------------------------------------------------ what a caller does with them

    def wait(self, job_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Block until the job is final; returns its status.

        Raises
        ------
        TimeoutError
            It is not final after `timeout` seconds; None waits without limit.

        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.005
        while True:
            left = float("inf") if end is None else max(0.0, end - time.monotonic())
            job = self._wait_once(job_id, left)
            if job["job_status"] in FINAL:
                return job
            left = float("inf") if end is None else end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"job {job_id} is still {job['job_status']} after {timeout} s")
            if not self._has_wait:
                time.sleep(min(pause, left))
                pause = min(2 * pause, 0.5)

    def run(
        self, source_code: Any, code_type: str | None = None, *, timeout: float | None = None, **fields: Any
    ) -> list[dict[str, Any]]:
        """Submit, wait, and return one result object per source; arguments as `submit_job` and `wait`.

        Raises
        ------
        JobFailed
            The job ended in another state than COMPLETED; its ``job`` has the results of the sources that did not fail.

        """
        job_id = self.submit_job(source_code, code_type, **fields)["job_id"]
        self.wait(job_id, timeout)
        job = self.get_job_results(job_id)
        if job["job_status"] != "COMPLETED":
            raise JobFailed(job)
        return cast(list[dict[str, Any]], job["results"])

    def devices(self) -> dict[str, Any]:
        """The backends by name."""
        return cast(dict[str, Any], self.call("get_devices"))

    def version(self) -> dict[str, Any]:
        """The server's version and what it is capable of."""
        return cast(dict[str, Any], self.call("version", {"details": True}))

    def ping(self, message: str = "ping") -> Any:
        """The server's answer to a message."""
        return self.call("ping", {"message": message})

    # ------------------------------------------------------------------ the wire

    def call(self, method: str, body: Any = None, *, params: Mapping[str, Any] | None = None) -> Any:
        """Any method of the wire; `params` replaces ``{"body": body}``."""
        request = self._request(method, {"body": body} if params is None else params)
        answer = self._post(GROUP_OF.get(method, "/v1/job"), request)
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise ConnectionError(f"{self.url} does not answer as a qfast server")
        if "result" not in answer:
            raise error_of(answer["error"])
        return answer["result"]

    def batch(self, calls: Iterable[tuple[str, Any]]) -> list[Any]:
        """Several job methods in one request.

        Parameters
        ----------
        calls : iterable of (method, body)
            The body as the wire has it; a ``submit_job`` without ``job_id`` is given one. At most 1,000.

        Returns
        -------
        list
            In the same order, each result, or the RpcError that answers the call (not raised).

        """
        requests = [
            self._request(method, {"body": _with_id(body) if method == "submit_job" else body})
            for method, body in calls
        ]
        if not requests:
            return []
        answers = self._post("/v1/job", requests)
        if isinstance(answers, dict) and "error" in answers:
            raise error_of(answers["error"])
        if not isinstance(answers, list) or len(answers) != len(requests):
            raise ConnectionError(f"{self.url} does not answer as a qfast server")
        return [answer["result"] if "result" in answer else error_of(answer["error"]) for answer in answers]

    def _wait_once(self, job_id: str, left: float) -> dict[str, Any]:
        if self._has_wait:
            try:
                # half the socket's patience, so that a quiet wait is no lost answer
                body = {"job_id": job_id, "timeout": min(left, self.timeout / 2, 60.0)}
                return cast(dict[str, Any], self.call("wait_job", body))
            except errors.MethodNotFound:
                self._has_wait = False
        return self.get_job_status(job_id)

    def _request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._call_ids), "method": method, "params": params}

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self.timeout)
        try:
            connection.connect()
        except OSError as error:
            why = error.strerror or str(error)
            raise ConnectionError(
                f"no qfast server answers at {self.url} ({why}); start one with `qfast serve`"
            ) from None
        return connection

    def _take_idle(self) -> http.client.HTTPConnection | None:
        try:
            return self._idle.pop()  # atomic, so that no thread gets another's connection
        except IndexError:
            return None

    def _post(self, path: str, request: Any) -> Any:
        data = json.dumps(request, allow_nan=False, separators=(",", ":")).encode()
        status, raw = self._exchange(self._base + path, data)
        try:
            return json.loads(raw)
        except ValueError:
            raise ConnectionError(f"{self.url}{path} answers HTTP {status} and no JSON: {raw[:80]!r}") from None

    def _exchange(self, path: str, data: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        for last in (False, True):
            connection = (None if last else self._take_idle()) or self._connect()
            try:
                connection.request("POST", path, data, headers)
                response = connection.getresponse()
                raw = response.read()
            except TimeoutError as error:
                connection.close()
                raise ConnectionError(f"{self.url} gave no answer within {self.timeout:g} s") from error
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                if last:
                    raise ConnectionError(f"{self.url} closed the connection without an answer") from error
                continue
            except BaseException:
                connection.close()
                raise
            if response.will_close:
                connection.close()
            else:
                self._idle.append(connection)
            return response.status, raw
        raise AssertionError("unreachable")


def _close(idle: list[http.client.HTTPConnection]) -> None:
    while True:
        try:
            idle.pop().close()
        except IndexError:
            return


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


def _ids(job_ids: str | Iterable[str], force: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"job_ids": [job_ids] if isinstance(job_ids, str) else list(job_ids)}
    if force:
        body["force"] = True
    return body


def _has_files(source: Any) -> bool:
    return isinstance(source, os.PathLike) or (
        isinstance(source, list | tuple) and any(isinstance(entry, os.PathLike) for entry in source)
    )


def sources_of(source: Any) -> list[Any]:
    """The list that `source_code` wants: one entry per program or matrix (see `Client.submit_job`)."""
    if isinstance(source, str):
        return [source]
    if isinstance(source, Mapping) or hasattr(source, "tocoo"):
        return [_matrix(source)]
    if hasattr(source, "tolist"):
        source = source.tolist()
    if not isinstance(source, Iterable):
        raise TypeError(f"source_code: neither text nor a matrix but {type(source).__name__}")
    entries = list(source)
    if entries and _is_row(entries[0]):
        return [_matrix(entries)]
    return [entry if isinstance(entry, str) else _matrix(entry) for entry in entries]


def _is_row(entry: Any) -> bool:
    """Whether it is one row of numbers, so that what holds it is one matrix and no list of matrices."""
    if isinstance(entry, str | Mapping) or hasattr(entry, "tocoo"):
        return False
    if hasattr(entry, "ndim"):
        return bool(entry.ndim == 1)
    return isinstance(entry, Sequence) and all(not isinstance(value, Sequence | Mapping) for value in entry)


def _matrix(matrix: Any) -> Any:
    """A matrix in one of the two forms of the wire, dense rows or coordinates."""
    if hasattr(matrix, "tocoo"):
        coo = matrix.tocoo()
        if coo.shape[0] != coo.shape[1]:
            raise ValueError(f"source_code: a QUBO matrix is square, this one is {coo.shape[0]} x {coo.shape[1]}")
        row, col, value = (part.tolist() for part in (coo.row, coo.col, coo.data))
        return {"n": int(coo.shape[0]), "row": row, "col": col, "value": value}
    if isinstance(matrix, Mapping):
        if set(matrix) == {"n", "row", "col", "value"}:
            return {key: _plain(value) for key, value in matrix.items()}
        pairs = [key for key in matrix if isinstance(key, tuple) and len(key) == 2]
        if len(pairs) != len(matrix) or not pairs:
            raise TypeError("source_code: a dict must be {(i, j): value} or have the keys n, row, col, value")
        row, col = [_plain(i) for i, _ in pairs], [_plain(j) for _, j in pairs]
        return {"n": max(row + col) + 1, "row": row, "col": col, "value": [_plain(matrix[pair]) for pair in pairs]}
    return _plain(matrix)


def _plain(value: Any) -> Any:
    """Lists and numbers of Python, from those of numpy or others."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value
