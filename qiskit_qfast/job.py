"""Jobs of a server as Qiskit knows them. They wait by push, and give the same result however often they are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qiskit.primitives import BasePrimitiveJob, PrimitiveResult, PubResult
from qiskit.providers import JobStatus, JobV1
from qiskit.result import Result

from qfast import Client
from qfast.client import JobFailed
from qiskit_qfast.results import primitive_result, run_result

if TYPE_CHECKING:
    from qiskit_qfast.backend import QfastBackend

_STATUS = {
    "QUEUED": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "CANCELLING": JobStatus.RUNNING,
    "COMPLETED": JobStatus.DONE,
    "FAILED": JobStatus.ERROR,
    "CANCELLED": JobStatus.CANCELLED,
}


class _Remote:
    """One or several jobs of the server that are one job here."""

    def __init__(self, client: Client, job_ids: list[str]) -> None:
        self.client = client
        self.job_ids = job_ids
        self.ended: list[dict[str, Any]] | None = None  # the answers of get_job_results, once all are final

    def status(self) -> JobStatus:
        """The least finished state of them."""
        states = [self.client.get_job_status(job_id)["job_status"] for job_id in self.job_ids]
        order = ("FAILED", "CANCELLED", "QUEUED", "RUNNING", "CANCELLING", "COMPLETED")
        return _STATUS[min(states, key=order.index)]

    def wait(self, timeout: float | None) -> list[dict[str, Any]]:
        """Block until all are final, by push."""
        if self.ended is None:
            for job_id in self.job_ids:
                self.client.wait(job_id, timeout)
            self.ended = [self.client.get_job_results(job_id) for job_id in self.job_ids]
        return self.ended

    def completed(self, timeout: float | None) -> list[dict[str, Any]]:
        """The answers of get_job_results; raises JobFailed unless all completed."""
        jobs = self.wait(timeout)
        for job in jobs:
            if job["job_status"] != "COMPLETED":
                raise JobFailed(job)
        return jobs

    def cancel(self) -> bool:
        """Cancel what is not final; whether there was any."""
        return bool(self.client.cancel_jobs(self.job_ids, force=True))


class QfastJob(JobV1):
    """A job of `QfastBackend.run`."""

    def __init__(self, backend: QfastBackend, job_id: str) -> None:
        super().__init__(backend, job_id)
        self._remote = _Remote(backend.client, [job_id])

    def submit(self) -> None:
        """It was submitted by `QfastBackend.run`: nothing is left to do."""

    def status(self) -> JobStatus:
        """The state of now."""
        return self._remote.status()

    def wait_for_final_state(
        self, timeout: float | None = None, wait: float = 0, callback: Callable[..., Any] | None = None
    ) -> None:
        """Block until it is final; `wait` has no meaning, since nothing is polled.

        Raises
        ------
        TimeoutError
            It is not final after `timeout` seconds.
        """
        self._remote.wait(timeout)
        if callback is not None:
            callback(self.job_id(), self.status(), self)

    def result(self, timeout: float | None = None) -> Result:
        """Counts, and the outcome of each shot where `memory` was asked for.

        Raises
        ------
        TimeoutError
            It is not final after `timeout` seconds.
        qfast.client.JobFailed
            It failed or was cancelled.
        """
        return run_result(self._remote.completed(timeout)[0], str(self.backend().name), self.backend().backend_version)

    def cancel(self) -> bool:
        """Cancel it, running or queued; False when it was over."""
        return self._remote.cancel()

    def error_message(self) -> str | None:
        """What failed, one circuit a line; None unless it failed."""
        if self.status() is not JobStatus.ERROR:
            return None
        rows = self._remote.wait(0)[0].get("results") or []
        return "\n".join(row["error"]["message"] for row in rows if row.get("error"))


class QfastPrimitiveJob(BasePrimitiveJob[PrimitiveResult[PubResult], JobStatus]):
    """A job of `SamplerV2` or `EstimatorV2`."""

    def __init__(self, client: Client, job_ids: list[str]) -> None:
        super().__init__(job_ids[0])
        self._remote = _Remote(client, job_ids)

    def job_ids(self) -> list[str]:
        """The server's jobs: one, or one for each number of shots that was asked for."""
        return list(self._remote.job_ids)

    def status(self) -> JobStatus:
        """The state of now."""
        return self._remote.status()

    def result(self, timeout: float | None = None) -> PrimitiveResult[PubResult]:
        """One result per pub, in their order; raises as `QfastJob.result`."""
        return primitive_result(self._remote.completed(timeout))

    def cancel(self) -> bool:
        """Cancel it, running or queued; False when it was over."""
        return self._remote.cancel()

    def done(self) -> bool:
        """Whether it completed."""
        return self.status() is JobStatus.DONE

    def running(self) -> bool:
        """Whether it runs."""
        return self.status() is JobStatus.RUNNING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.status() is JobStatus.CANCELLED

    def in_final_state(self) -> bool:
        """Whether its state is for good."""
        return self.status() in (JobStatus.DONE, JobStatus.ERROR, JobStatus.CANCELLED)
