"""Sessions as Qiskit's users know them, on a qfast server.

>>> with Session(backend="dummy", max_time="10m") as session:
...     job = session.run("sampler", {"circuits": BELL, "shots": 1000})
...     job.result().quasi_dists
[{0: 0.503, 3: 0.497}]
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, cast

from qfast import errors, programs
from qfast.options import Options, option_names
from qfast.runtime import QfastBackend, QfastService, RuntimeJob, backend_name, default_backend, started

# what inputs may say about the job besides the program's own inputs and options
JOB_FIELDS: Final = frozenset(
    {"job_name", "job_priority", "description", "dry_run", "driver_options", "transpiler", "transpiler_options"}
    | {"profiling", "callbacks"}
)

_DURATION = re.compile(r"(?:[0-9]{1,9}[dhms]\s*)+", re.IGNORECASE)
_log = logging.getLogger(__name__)
_entered: ContextVar[tuple[Session, ...]] = ContextVar("qfast_sessions", default=())


class SessionClosedError(errors.Conflict, RuntimeError):
    """The session is closed and takes no more jobs."""


class UnknownSession(errors.NotFound, ValueError):
    """The server knows no session of that id."""


class Session:
    """Jobs of one caller that go before those of others, once the first of them runs.

    The session is opened on the server by the first job. As a context manager it is the default of the primitives inside,
    and is closed at the end, also by an exception; its jobs finish. Safe to share between threads.

    Parameters
    ----------
    service : QfastService, optional
        Default: the backend's if it is a `QfastBackend`, else ``QfastService()``.
    backend : str or QfastBackend, optional
        Default: the server's default backend ``dummy``, or where there is none the least busy, chosen by the first job.
    max_time : int or str, optional
        Longest time that the session is open, in seconds or as ``"2h 30m 40s"``; the server has a default and a maximum.

    Raises
    ------
    ValueError
        A value is invalid; one above the server's maximum is found by the first job.

    """

    def __init__(
        self,
        service: QfastService | None = None,
        backend: str | QfastBackend | None = None,
        max_time: int | str | None = None,
    ) -> None:
        if service is not None and not isinstance(service, QfastService):
            raise ValueError(f"service: {type(service).__name__} is no QfastService")
        name = backend_name(backend)
        if service is None:
            service = backend.service if isinstance(backend, QfastBackend) else QfastService()
        self._service = service
        self._backend = name
        self._max_time = _checked_max_time(max_time)
        self._lock = threading.Lock()  # exactly one thread opens the session
        self._id: str | None = None
        self._has_jobs = False
        self._is_open = True

    @classmethod
    def from_id(
        cls, session_id: str, service: QfastService | None = None, backend: str | QfastBackend | None = None
    ) -> Session:
        """Attach to a session that is there; it is looked at, not changed.

        Raises
        ------
        ValueError
            There is none of that id (`UnknownSession`), or it is on another backend than `backend`.

        """
        session = cls(service, backend)
        try:
            details = session._service.client.call("get_session", {"session_id": session_id})
        except (errors.NotFound, errors.InvalidParams) as error:
            raise UnknownSession(error.message, hint=error.hint) from error
        if session._backend not in (None, details["backend_name"]):
            raise ValueError(f"backend: session {session_id} is on {details['backend_name']!r}")
        session._backend = details["backend_name"]
        session._id, session._has_jobs = details["id"], True
        session._is_open = bool(details["accepting_jobs"])
        return session

    @property
    def service(self) -> QfastService:
        """The service of this session."""
        return self._service

    @property
    def session_id(self) -> str | None:
        """The session's id; None until a job is submitted."""
        return self._id if self._has_jobs else None

    def backend(self) -> str | None:
        """The name of the backend; None while it is not chosen."""
        return self._backend

    def run(
        self,
        program_id: str,
        inputs: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        result_decoder: Any = None,
    ) -> RuntimeJob:
        """Submit a job of the session.

        Parameters
        ----------
        program_id : str
            ``sampler`` or ``estimator``.
        inputs : mapping
            ``circuits`` (OpenQASM texts or Qiskit circuits), ``parameter_values``, for the estimator ``observables``; what
            `qfast.Options` has, such as ``shots`` and ``optimization_level``; fields of submit_job such as
            ``driver_options``. Nothing in it is changed.
        options : mapping, optional
            ``backend`` (that of the session), ``job_tags``, ``max_execution_time``.
        callback : callable, optional
            Called with the job's id and each result as soon as it is there, if there are several (circuits, or sets of
            parameter values), and then the whole result; in another thread.
        result_decoder : object, optional
            As `decoder` of `RuntimeJob.result`.

        Raises
        ------
        SessionClosedError
            The session takes no more jobs; it is a RuntimeError.
        ValueError, TypeError
            An input or option is wrong, or has no meaning on a qfast server.
        qfast.errors.RpcError
            The server refuses the job.

        """
        fields = submit_fields(program_id, inputs, options)
        backend = fields.pop("backend", None)
        if backend is not None and self._backend not in (None, backend):
            raise ValueError(f"options: backend {backend!r} is not the session's, {self._backend!r}")
        session_id = self._opened(backend)
        try:
            answer = self._service.client.submit_job(**fields, backend=self._backend, session_id=session_id)
        except errors.Conflict as error:
            if self._takes_jobs(session_id):
                raise
            self._is_open = False
            raise SessionClosedError("The session is closed.", details=error.message, hint=error.hint) from error
        self._has_jobs = True
        return started(self._service, answer, callback, result_decoder, several=programs.count_results(fields) > 1)

    def close(self) -> None:
        """Take no more jobs; those that are queued or running finish. Closing twice is fine."""
        self._end("close_session")

    def cancel(self) -> None:
        """Cancel the queued jobs and take no more; those that run finish."""
        self._end("cancel_session")

    def details(self) -> dict[str, Any] | None:
        """What the server knows of the session; None before the first job, or when the server has forgotten it.

        Returns
        -------
        dict
            ``id``, ``backend_name``, ``interactive_timeout``, ``max_time``, ``active_timeout`` (seconds), ``state`` (open,
            active, inactive or closed), ``accepting_jobs``, ``last_job_started``, ``last_job_completed``, ``started_at``,
            ``closed_at``, ``activated_at`` (ISO 8601 in UTC, or None); besides ``mode``, ``usage_time``, ``usage``,
            ``remaining_time``, ``jobs`` and ``circuit_cache``.

        """
        if self.session_id is None:
            return None
        try:
            return cast(dict[str, Any], self._service.client.call("get_session", {"session_id": self.session_id}))
        except errors.NotFound:
            return None

    def status(self) -> str | None:
        """``Pending``, ``In progress, accepting new jobs``, ``In progress, not accepting new jobs``, ``Closed`` or None."""
        details = self.details()
        if details is None:
            return None
        if details["state"] in ("open", "inactive"):
            return "Pending"
        if details["state"] == "active":
            return f"In progress, {'' if details['accepting_jobs'] else 'not '}accepting new jobs"
        return "Closed"

    def __enter__(self) -> Session:
        _entered.set((*_entered.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        stack = list(_entered.get())
        if self in stack:
            del stack[len(stack) - 1 - stack[::-1].index(self)]
        _entered.set(tuple(stack))
        self.close()

    def _opened(self, backend: str | None) -> str:
        with self._lock:
            if not self._is_open:
                raise SessionClosedError("The session is closed.")
            if self._id is None:
                self._backend = self._backend or backend or default_backend(self._service)
                body = {"backend": self._backend, "max_time": self._max_time}
                try:
                    self._id = str(self._service.client.call("open_session", body)["id"])
                except errors.InvalidParams as error:
                    raise ValueError(error.message) from error
            return self._id

    def _takes_jobs(self, session_id: str) -> bool:
        return bool(self._service.client.call("get_session", {"session_id": session_id})["accepting_jobs"])

    def _end(self, method: str) -> None:
        with self._lock:
            self._is_open = False
        if self._id is None:
            return
        try:
            self._service.client.call(method, {"session_id": self._id})
        except errors.NotFound:
            _log.debug("session %s is not known any more", self._id)


def current_session() -> Session | None:
    """The session of the innermost ``with`` that this code is in, if any."""
    return next(reversed(_entered.get()), None)


def submit_fields(
    program_id: str, inputs: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The fields of submit_job for what `Session.run` takes."""
    names = option_names()
    set_up = Options.of({key: value for key, value in inputs.items() if key in names})
    asked = {key: value for key, value in (options or {}).items() if value is not None}
    if odd := sorted(set(asked) - {"backend", "job_tags", "max_execution_time"}):
        raise ValueError(f"options: {odd[0]!r} has no meaning on a qfast server")
    job = {key: inputs[key] for key in JOB_FIELDS & set(inputs)}
    rest = {key: value for key, value in inputs.items() if key not in names and key not in job}
    fields = {**job, **programs.encode(program_id, rest)}
    for key, value in set_up.submit_fields().items():
        fields[key] = {**value, **fields[key]} if isinstance(value, dict) and fields.get(key) else value
    if "job_tags" in asked:
        fields["tags"] = list(asked["job_tags"])
    if "max_execution_time" in asked:
        fields["max_execution_time"] = asked["max_execution_time"]
    if "backend" in asked:
        fields["backend"] = backend_name(asked["backend"])
    return fields


def _checked_max_time(value: Any) -> int | str | None:
    """The max_time if it has the right form; the server says whether it is too long."""
    if value is None:
        return None
    if isinstance(value, str):
        good = len(value) <= 80 and bool(_DURATION.fullmatch(value.strip())) and any(c in "123456789" for c in value)
    else:
        good = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not good:
        raise ValueError(f"max_time: {value!r:.80} is neither a positive number of seconds nor a text as '2h 30m 40s'")
    return cast(int | str, value)
