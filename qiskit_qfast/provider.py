"""The provider: a server's backends and jobs."""

from __future__ import annotations

from collections.abc import Callable

from qfast import Client
from qiskit_qfast.backend import QfastBackend
from qiskit_qfast.job import QfastJob, QfastPrimitiveJob


class QfastProvider:
    """A server as Qiskit's users know one.

    Parameters
    ----------
    url : str, optional
        Default ``QFAST_URL``, else ``http://127.0.0.1:8088``.

    Attributes
    ----------
    client : qfast.Client
        For everything else that the server offers.
    """

    def __init__(self, url: str | None = None) -> None:
        self.client = Client(url)

    def __repr__(self) -> str:
        return f"<QfastProvider {self.client.url}>"

    def backends(
        self,
        name: str | None = None,
        min_num_qubits: int | None = None,
        operational: bool | None = None,
        filters: Callable[[QfastBackend], bool] | None = None,
    ) -> list[QfastBackend]:
        """The server's backends that run circuits, in its order, as far as they fit what is asked for."""
        drivers = self.client.call("get_drivers")
        found = [
            QfastBackend(self, details)
            for details in self.client.devices().values()
            if "qasm3" in drivers[details["driver_name"]]["supported_code_types"]
        ]
        return [
            backend
            for backend in found
            if name in (None, backend.name)
            and backend.num_qubits >= (min_num_qubits or 0)
            and operational in (None, backend.operational)
            and (filters is None or filters(backend))
        ]

    def get_backend(self, name: str = "dummy") -> QfastBackend:
        """The backend of that name.

        Raises
        ------
        qfast.errors.NotFound
            There is none.
        """
        return QfastBackend(self, self.client.call("get_device", {"name": name}))

    def job(self, job_id: str) -> QfastJob:
        """A job of `QfastBackend.run` by its id; any job of circuits will do.

        Raises
        ------
        qfast.errors.NotFound
            The server does not know it.
        """
        job = self.client.get_job_status(job_id)
        return QfastJob(self.get_backend(job["backend"]), job_id)

    def primitive_job(self, job_id: str) -> QfastPrimitiveJob:
        """A job of a sampler or an estimator by its id.

        Raises
        ------
        qfast.errors.NotFound
            The server does not know it.
        """
        self.client.get_job_status(job_id)
        return QfastPrimitiveJob(self.client, [job_id])
