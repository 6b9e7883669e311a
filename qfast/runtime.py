"""A server as Qiskit's users know one: `QfastService`, its backends and its jobs."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from qfast import errors, programs
from qfast.client import Client, JobFailed
from qfast.job import FINAL, JobStatus

PENDING: Final = ("QUEUED", "RUNNING", "CANCELLING")
ENDED: Final = ("COMPLETED", "FAILED", "CANCELLED")
PAGE = 10_000  # jobs that get_jobs gives at most

_log = logging.getLogger(__name__)


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
            size = PAGE if most is None else min(PAGE, most - len(found))
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
        self._shots = job.get("shots")
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

    def _call_back(self, callback: Callable[[str, Any], Any], several: bool) -> None:
        """Start a thread that tells the callback of the results, and dies with the program."""
        name, args = f"callback of {self._id}", (callback, several)
        threading.Thread(target=self._tell, args=args, name=name, daemon=True).start()

    def _tell(self, callback: Callable[[str, Any], Any], several: bool) -> None:
        """Tell each result when it is there, then those that no stream told (the job ran on another node), then all."""
        told: set[int] = set()

        def tell(index: int, row: Mapping[str, Any]) -> None:
            if several and index not in told and not row.get("error"):
                told.add(index)
                callback(
                    self._id, self._decoded({"job_id": self._id, "shots": self._shots, "results": [row]}, self._decoder)
                )

        try:
            if several:
                self._hear(tell)
            job = self._final(None)
            for index, row in enumerate(job.get("results") or []):
                tell(index, row)
            if job["job_status"] == JobStatus.COMPLETED:
                callback(self._id, self._decoded(job, self._decoder))
        except Exception:
            _log.exception("the callback of job %s failed", self._id)

    def _hear(self, tell: Callable[[int, Mapping[str, Any]], None]) -> None:
        """Follow the results of the job until it is final."""
        try:
            for event in self._service.client.follow(self._id, results=True):
                if "index" in event:
                    tell(event["index"], event["result"])
        except (errors.RpcError, OSError) as error:  # another server than ours, or one that is gone: the end tells all
            _log.debug("the results of job %s are not followed: %s", self._id, error)


def default_backend(service: QfastService) -> str:
    """The server's default backend, ``dummy``, when it takes jobs, else the least busy."""
    if any(one.operational for one in service.backends("dummy")):
        return "dummy"
    return service.least_busy().name


def started(
    service: QfastService,
    answer: Mapping[str, Any],
    callback: Callable[[str, Any], Any] | None,
    decoder: Any,
    *,
    several: bool,
) -> RuntimeJob:
    """The job that submit_job answered with, and its callback in wait; warns of transpiler options that nothing takes.

    `several`: it gives more than one result, and the callback is told of each.
    """
    if answer.get("transpiler_options") and answer.get("transpiler") is None:
        text = f"backend {answer['backend']!r} has no transpiler: {answer['transpiler_options']} has no effect there"
        warnings.warn(text, UserWarning, stacklevel=3)
    job = RuntimeJob(service, answer, decoder)
    if callback is not None:
        job._call_back(callback, several)
    return job


def backend_name(backend: Any) -> str | None:
    """The name of a backend given by name or object; raises ValueError for anything else."""
    if backend is None:
        return None
    name = backend.name if isinstance(backend, QfastBackend) else backend
    if not isinstance(name, str) or not name:
        raise ValueError(f"backend: {backend!r:.80} is neither a name nor a QfastBackend")
    return name


def _utc(date: datetime | None) -> str | None:
    return None if date is None else date.astimezone(UTC).isoformat()
