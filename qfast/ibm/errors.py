"""A refusal as IBM's client knows it: an HTTP status and ``{"errors": [{"code", "message", "solution"}]}``."""

from __future__ import annotations

from typing import Any

from qfast.errors import CircuitError, RpcError, Unavailable


class Refusal(Exception):
    """A request that ends in an error.

    Parameters
    ----------
    status : int
        Of HTTP; never above 499: the client repeats what ended in a 5xx.
    message : str
    solution : str, optional
        What to do about it.
    retry_after : float, optional
        Seconds.
    """

    def __init__(
        self, status: int, message: str, solution: str | None = None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.solution, self.retry_after = status, message, solution, retry_after

    def as_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        entry: dict[str, Any] = {"code": self.status, "message": self.message}
        if self.solution is not None:
            entry["solution"] = self.solution
        return {"errors": [entry]}


# minus the code of a refused call: the status of HTTP; all others are 400
_STATUS = {401: 401, 403: 403, 404: 404, 409: 409, 413: 413, 429: 429, 503: 429}


def refusal_of(error: RpcError | CircuitError) -> Refusal:
    """The refusal of a call, or of a circuit that cannot be read."""
    if isinstance(error, CircuitError):
        return Refusal(400, error.text)
    wait = error.extra.get("retry_after", 1.0 if isinstance(error, Unavailable) else None)
    return Refusal(_STATUS.get(-error.code, 400), error.message, error.hint, retry_after=wait)
