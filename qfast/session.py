"""Sessions as Qiskit's users know them, on a qfast server: `Session`, its jobs, and the service that has them.

>>> with Session(backend="dummy", max_time="10m") as session:
...     job = session.run("sampler", {"circuits": BELL, "shots": 1000})
...     job.result().quasi_dists
[{0: 0.503, 3: 0.497}]
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, cast

from qfast import errors, programs
from qfast.client import Client, JobFailed
from qfast.job import FINAL, JobStatus
from qfast.options import Options, option_names

PENDING: Final = ("QUEUED", "RUNNING", "CANCELLING")
ENDED: Final = ("COMPLETED", "FAILED", "CANCELLED")
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


class QfastBackend:
    """A backend of a server, as it was when it was asked for.

    Attributes
    ----------
    name, description : str
    num_qubits, max_shots : int
        What one circuit may have.
    operational : bool
        Whether it takes jobs.
    pending_jobs : int
        Queued and running.
    details : dict
        The answer of get_device.

    """

    def __init__(self, service: QfastService, details: Mapping[str, Any]) -> None:
        self.service = service
        self.details = dict(details)
        self.name = str(details["name"])
        self.description = str(details.get("description") or "")
        self.num_qubits = int(details["max_qubits"])
        self.max_shots = int(details["max_shots"])
        self.operational = details["status"] == "online"
        self.pending_jobs = int(details["queued_jobs"]) + int(details["running_jobs"])

    def __repr__(self) -> str:
        return f"<QfastBackend {self.name!r}>"


class QfastService:
    """A server: its backends and jobs. Safe to share between threads.

    Parameters
    ----------
    url : str, optional
        Default ``QFAST_URL``, else ``http://127.0.0.1:8088``. No call is made until something is asked.

    Attributes
    ----------
    client : Client
        For everything else that the server offers.

    """

    def __init__(self, url: str | None = None) -> None:
        self.client = Client(url)

    def __repr__(self) -> str:
        return f"<QfastService {self.client.url}>"

    def backends(self, name: str | None = None, min_num_qubits: int | None = None) -> list[QfastBackend]:
        """The backends, in the server's order; only that of a name, or those with enough qubits."""
        found = (QfastBackend(self, details) for details in self.client.devices().values())
        return [one for one in found if name in (None, one.name) and one.num_qubits >= (min_num_qubits or 0)]

    def backend(self, name: str) -> QfastBackend:
        """The backend of that name; raises `qfast.errors.NotFound`."""
        return QfastBackend(self, self.client.call("get_device", {"name": name}))

    def least_busy(self, min_num_qubits: int | None = None) -> QfastBackend:
        """The backend with the fewest pending jobs of those that take jobs; the first of equals.

        Raises
        ------
        qfast.errors.NotFound
            If there is none.

        """
        found = [one for one in self.backends(min_num_qubits=min_num_qubits) if one.operational]
        if not found:
            raise errors.NotFound("no backend takes jobs" + (f" of {min_num_qubits} qubits" if min_num_qubits else ""))
        return min(found, key=lambda one: one.pending_jobs)

    def job(self, job_id: str) -> RuntimeJob:
        """Any job of the server; raises `qfast.errors.NotFound`."""
        return RuntimeJob(self, self.client.get_job_status(job_id))

    def jobs(
        self,
        limit: int | None = 10,
        skip: int = 0,
        backend_name: str | None = None,
        pending: bool | None = None,
        program_id: str | None = None,
        *,
        job_tags: list[str] | None = None,
        session_id: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        descending: bool = True,
    ) -> list[RuntimeJob]:
        """The jobs that match, newest first unless `descending` is false; `limit` None gives all.

        `pending` True are those that are not final, False those that are. Dates without a zone are local time.

        Raises
        ------
        ValueError
            For an unknown program, or a negative number.

        """
        if (limit is not None and limit < 0) or skip < 0:
            raise ValueError(f"limit: {limit} and skip: {skip} must not be negative")
        if program_id is not None and program_id not in programs.PROGRAMS:
            raise ValueError(f"program_id: {program_id!r} is not one of {', '.join(programs.PROGRAMS)}")
        asked = {
            "backend": backend_name,
            "job_status": None if pending is None else list(PENDING if pending else ENDED),
            "job_type": None if program_id is None else programs.PROGRAMS[program_id],
            "tags": job_tags,
            "session_id": session_id,
            "created_after": _utc(created_after),
            "created_before": _utc(created_before),
        }
        filters = {key: value for key, value in asked.items() if value is not None}
        most = None if limit is None or not descending else skip + limit
        found = self._pages(filters, most)
        if not descending:
            found.reverse()
        return [RuntimeJob(self, job) for job in found[skip : None if limit is None else skip + limit]]

    def _pages(self, filters: dict[str, Any], most: int | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while most is None or len(found) < most:
            size = 10_000 if most is None else min(10_000, most - len(found))
            page = self.client.get_jobs(**filters, limit=size, **({"before": found[-1]["job_id"]} if found else {}))
            found += page
            if len(page) < size:
                break
        return found


class RuntimeJob:
    """A job of a server.

    Attributes
    ----------
    session_id : str or None
    program_id : {"sampler", "estimator"}
    tags : list of str
    creation_date : datetime
        With the zone UTC.

    """

    def __init__(self, service: QfastService, job: Mapping[str, Any], result_decoder: Any = None) -> None:
        self._service = service
        self._id = str(job["job_id"])
        self._backend = str(job["backend"])
        self._decoder = result_decoder
        self._decode = programs.decoder_of(job)
        self._ended: dict[str, Any] | None = None  # the answer of get_job_results, once it is final
        self.session_id: str | None = job.get("session_id")
        self.program_id = "estimator" if job.get("job_type") == "estimation" else "sampler"
        self.tags: list[str] = list(job.get("tags") or ())
        self.creation_date = datetime.fromisoformat(job["creation_date"]).replace(tzinfo=UTC)

    def __repr__(self) -> str:
        return f"<RuntimeJob {self._id!r} of {self._backend!r}>"

    def job_id(self) -> str:
        """The id."""
        return self._id

    def backend(self) -> QfastBackend:
        """Where it runs."""
        return self._service.backend(self._backend)

    def status(self) -> JobStatus:
        """The state of now, a text such as ``"QUEUED"``."""
        if self._ended is not None:
            return JobStatus(self._ended["job_status"])
        return JobStatus(self._service.client.get_job_status(self._id)["job_status"])

    def queued(self) -> bool:
        """Whether it waits."""
        return self.status() is JobStatus.QUEUED

    def running(self) -> bool:
        """Whether it runs."""
        return self.status() is JobStatus.RUNNING

    def done(self) -> bool:
        """Whether it is completed."""
        return self.status() is JobStatus.COMPLETED

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.status() is JobStatus.CANCELLED

    def errored(self) -> bool:
        """Whether it failed."""
        return self.status() is JobStatus.FAILED

    def in_final_state(self) -> bool:
        """Whether its state is for good."""
        return self.status() in FINAL

    def error_message(self) -> str | None:
        """What failed, one circuit a line; None unless it is a failed job."""
        if not self.errored():
            return None
        rows = self._final(0).get("results") or []
        return "\n".join(row["error"]["message"] for row in rows if row.get("error"))

    def wait_for_final_state(self, timeout: float | None = None) -> None:
        """Block until it is final; raises TimeoutError after `timeout` seconds."""
        self._final(timeout)

    def result(self, timeout: float | None = None, decoder: Any = None) -> Any:
        """Wait and give the result: the program's, or what the decoder makes of the rows.

        Parameters
        ----------
        timeout : float, optional
            Seconds.
        decoder : object, optional
            Instead of the ``result_decoder`` that the job was run with: something with ``decode(text)``, which takes the
            rows as JSON, or a function of the list of rows.

        Raises
        ------
        TimeoutError
            It is not final by then.
        JobFailed
            It failed or was cancelled.

        """
        job = self._final(timeout)
        if job["job_status"] != JobStatus.COMPLETED:
            raise JobFailed(job)
        return self._decoded(job, decoder or self._decoder)

    def cancel(self) -> bool:
        """Cancel it, running or queued; False when it was over."""
        return bool(self._service.client.cancel_jobs(self._id, force=True))

    def _final(self, timeout: float | None) -> dict[str, Any]:
        if self._ended is None:
            self._service.client.wait(self._id, timeout)
            self._ended = self._service.client.get_job_results(self._id)
        return self._ended

    def _decoded(self, job: Mapping[str, Any], decoder: Any) -> Any:
        if decoder is None:
            return self._decode(job)
        return decoder.decode(json.dumps(job["results"])) if hasattr(decoder, "decode") else decoder(job["results"])

    def _call_back(self, callback: Callable[[str, Any], Any]) -> None:
        """Start a thread that tells the callback of the results, and dies with the program."""
        threading.Thread(target=self._tell, args=(callback,), name=f"callback of {self._id}", daemon=True).start()

    def _tell(self, callback: Callable[[str, Any], Any]) -> None:
        try:
            job = self._final(None)
            rows = job.get("results") or []
            good = [row for row in rows if not row.get("error")]
            if len(rows) > 1:
                for row in good:
                    callback(self._id, self._decoded({**job, "results": [row]}, self._decoder))
            if job["job_status"] == JobStatus.COMPLETED:
                callback(self._id, self._decoded(job, self._decoder))
        except Exception:
            _log.exception("the callback of job %s failed", self._id)


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
            Called with the job's id and each circuit's result, if there are several, and then the whole result; in another
            thread, when the job has ended.
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
        return started(self._service, answer, callback, result_decoder)

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
            ``closed_at``, ``activated_at`` (ISO 8601 in UTC, or None); besides ``mode``, ``usage_time``,
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


def default_backend(service: QfastService) -> str:
    """The server's default backend, ``dummy``, when it takes jobs, else the least busy."""
    if any(one.operational for one in service.backends("dummy")):
        return "dummy"
    return service.least_busy().name


def started(
    service: QfastService, answer: Mapping[str, Any], callback: Callable[[str, Any], Any] | None, decoder: Any
) -> RuntimeJob:
    """The job that submit_job answered with, and its callback in wait."""
    job = RuntimeJob(service, answer, decoder)
    if callback is not None:
        job._call_back(callback)
    return job


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


def backend_name(backend: Any) -> str | None:
    """The name of a backend given by name or object; raises ValueError for anything else."""
    if backend is None:
        return None
    name = backend.name if isinstance(backend, QfastBackend) else backend
    if not isinstance(name, str) or not name:
        raise ValueError(f"backend: {backend!r:.80} is neither a name nor a QfastBackend")
    return name


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


def _utc(date: datetime | None) -> str | None:
    return None if date is None else date.astimezone(UTC).isoformat()
