"""The client: the verbs of the wire as methods, on the standard library alone.

>>> client = Client()
>>> client.run(BELL, shots=1000)[0]["results"]
{'00': 503, '11': 497}
"""

from __future__ import annotations

import contextlib
import http.client
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from qfast.calls import Calls, ConnectionError, EventReader, JobFailed, Post, Reply, Work

__all__ = ["Client", "ConnectionError", "JobFailed"]

HEARTBEAT = 15.0  # seconds; a stream of events is never silent for longer
T = TypeVar("T")


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
    token : str, optional
        An API key, for a server that has keys; default ``QFAST_TOKEN``.

    Raises
    ------
    ConnectionError
        From every method, when no server answers.
    qfast.errors.RpcError
        From every method, when the server refuses; the subclass tells the code.

    """

    def __init__(self, url: str | None = None, *, timeout: float = 30.0, token: str | None = None) -> None:
        self._calls = Calls(url, timeout, token)
        self.url, self.timeout = self._calls.url, timeout
        self._idle: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close, self._idle)

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
        work = self._calls.submit_job(source_code, code_type, file_format=file_format, maximize=maximize, **fields)
        return self._do(work)

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
        return cast(list[dict[str, Any]], self.call("cancel_jobs", self._calls.ids_body(job_ids, force)))

    def delete_jobs(self, job_ids: str | Iterable[str], force: bool = False) -> list[dict[str, Any]]:
        """Delete jobs that are not running, with `force` running ones as well; returns those that are gone."""
        return cast(list[dict[str, Any]], self.call("delete_jobs", self._calls.ids_body(job_ids, force)))

    def set_job_results(self, job_id: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Bring the results of a job that runs on an asynchronous backend: counts or result objects, one per source."""
        return cast(dict[str, Any], self.call("set_job_results", {"job_id": job_id, "results": list(results)}))

    def update_job(self, job_id: str, **fields: Any) -> dict[str, Any]:
        """Change a queued job's ``job_priority``, ``job_name`` or ``description``."""
        return cast(dict[str, Any], self.call("update_job", {"job_id": job_id, **fields}))

    def get_callbacks(self, **filters: Any) -> list[dict[str, Any]]:
        """Deliveries, those of the newest job first; filters such as ``job_ids=[...]``, ``state="given_up"``, ``limit=20``."""
        return cast(list[dict[str, Any]], self.call("get_callbacks", params={"filters": filters}))

    def replay_callbacks(
        self,
        webhook_ids: str | Iterable[str] | None = None,
        *,
        job_ids: str | Iterable[str] | None = None,
        delivered: bool = False,
    ) -> list[dict[str, Any]]:
        """Deliver once more: those named, and of the jobs what was not delivered, or all; returns what is owed now."""
        body = self._calls.replay_body(webhook_ids, job_ids, delivered)
        return cast(list[dict[str, Any]], self.call("replay_callbacks", body))

    # ------------------------------------------------------------------ what a caller does with them

    def wait(self, job_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Block until the job is final; returns its status.

        Raises
        ------
        TimeoutError
            It is not final after `timeout` seconds; None waits without limit.

        """
        return self._do(self._calls.wait(job_id, timeout))

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
        return self._do(self._calls.results(job_id))

    def follow(self, job_ids: str | Sequence[str], *, results: bool = False) -> Iterator[dict[str, Any]]:
        """The states of jobs as they happen, until all are final: ``{"job_id", "job_status", "updated_at", ...}``.

        The present state of each comes first. A stream that breaks is taken up again where it ended. With `results` also each
        result of a job that runs on the server that was asked, as soon as there is one, ``{"job_id", "index", "result"}``;
        those of a stream that was taken up again may come twice, and those of another node do not.

        Raises
        ------
        ValueError
            More than 1,000 jobs, or none.
        qfast.errors.NotFound
            A job is unknown.

        """
        reader = EventReader([job_ids] if isinstance(job_ids, str) else job_ids)
        path = self._calls.events_path(reader.wanted, results)
        while reader.wanted:
            with contextlib.closing(self._connect(self.timeout + HEARTBEAT)) as connection:
                connection.request("GET", path, headers=reader.headers() | self._calls.headers)
                response = connection.getresponse()
                if response.status == 204:
                    return
                if response.status != 200:
                    raise self._calls.refused(response.status, response.read())
                try:
                    for line in response:
                        event = reader.feed(line)
                        if event is not None:
                            yield event
                except (http.client.HTTPException, OSError):
                    continue

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
        return self._do(self._calls.call(method, body, params=params))

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
        return self._do(self._calls.batch(calls))

    def _do(self, work: Work[T]) -> T:
        """Carry an operation out."""
        reply = None
        try:
            while True:
                step = next(work) if reply is None else work.send(reply)
                if isinstance(step, Post):
                    reply = self._exchange(step)
                else:
                    time.sleep(step.seconds)
                    reply = Reply()
        except StopIteration as end:
            return cast(T, end.value)

    def _connect(self, timeout: float | None = None) -> http.client.HTTPConnection:
        parts = self._calls.parts
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=timeout or self.timeout)
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

    def _exchange(self, post: Post) -> Reply:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._calls.headers}
        for last in (False, True):
            connection = (None if last else self._take_idle()) or self._connect()
            try:
                connection.request("POST", post.path, post.body, headers)
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
            return Reply(response.status, raw)
        raise AssertionError("unreachable")


def _close(idle: list[http.client.HTTPConnection]) -> None:
    while True:
        try:
            idle.pop().close()
        except IndexError:
            return
