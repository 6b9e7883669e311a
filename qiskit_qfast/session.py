"""A session of the server: its jobs go first on their backend while it is active."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qiskit_qfast.backend import QfastBackend


class QfastSession:
    """A session, opened by `QfastBackend.open_session`; closes at the end of its ``with``.

    Attributes
    ----------
    backend : QfastBackend
    session_id : str
    """

    def __init__(self, backend: QfastBackend, session_id: str) -> None:
        self.backend = backend
        self.session_id = session_id

    def __enter__(self) -> QfastSession:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _: BaseException | None, _at: TracebackType | None) -> None:
        self.close()

    def details(self) -> dict[str, Any]:
        """The answer of get_session: state, times, counters of jobs and of the circuit cache."""
        details: dict[str, Any] = self.backend.client.call("get_session", {"session_id": self.session_id})
        return details

    def close(self) -> None:
        """Take no more jobs; those that are queued still run."""
        self.backend.client.call("close_session", {"session_id": self.session_id})

    def cancel(self) -> None:
        """Take no more jobs and drop those that are queued."""
        self.backend.client.call("cancel_session", {"session_id": self.session_id})
