"""Every error of qfast with its code, split by blame.

::

    QfastError
    |- CallerError                what the caller sent cannot be served
    |  |- ParseFailure    -32700  not JSON
    |  |- InvalidRequest  -32600  not a JSON-RPC 2.0 request
    |  |- MethodNotFound  -32601
    |  |- InvalidParams   -32602  a field breaks its rule; data.errors says which, where and what was given
    |  |- Unauthenticated   -401
    |  |- Forbidden         -403
    |  |- NotFound          -404
    |  |- Conflict          -409
    |  |- TooLarge          -413
    |  `- TooMany           -429
    |- ServerError                ours
    |  |- InternalError   -32603  a defect
    |  `- Unavailable       -503  busy or draining; data.retry_after in seconds
    `- CircuitError               one source of a job cannot be run; stands in results[i].error, never in an RPC answer
       |- GenericFailure     -10
       |- DriverInitError   -100
       |- TranspilerInitError -101
       |- ParseError        -102
       |- TranspileError    -103
       |- DriverRunError    -104
       |- QubitLimitError   -107
       |- MatrixError       -108
       |- ResourceLimitError -120
       |- TimeLimitError    -121
       `- WorkerCrashed     -122
    ConfigurationInvalid, StoreLocked, StoreFailed, JobCancelled never reach the wire.
"""

from __future__ import annotations

from typing import Any, ClassVar


class QfastError(Exception):
    """Something failed; `code` is the number on the wire."""

    code: ClassVar[int] = -10


class RpcError(QfastError):
    """An error that answers a call as the JSON-RPC `error` object.

    Parameters
    ----------
    message : str
        What and why, in one line.
    details : str, optional
        The longer text of ``data.details``; the message when left out.
    errors : list of dict, optional
        Entries ``{"type", "loc", "msg", "input"}``; ``loc`` holds strings only.
    hint : str, optional
        What to do about it.
    extra : dict, optional
        Further members of ``data``, such as ``retry_after``.
    """

    def __init__(
        self,
        message: str,
        *,
        details: str | None = None,
        errors: list[dict[str, Any]] | None = None,
        hint: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = message if details is None else details
        self.errors = errors or []
        self.hint = hint
        self.extra = extra or {}

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of the answer."""
        data: dict[str, Any] = {"details": self.details, "errors": self.errors, **self.extra}
        if self.hint is not None:
            data["hint"] = self.hint
        return {"code": self.code, "message": self.message, "data": data}


class CallerError(RpcError):
    """What the caller sent cannot be served."""


class ParseFailure(CallerError):
    """The body is not JSON."""

    code = -32700


class InvalidRequest(CallerError):
    """The JSON is not a JSON-RPC 2.0 request."""

    code = -32600


class MethodNotFound(CallerError):
    """No such method here."""

    code = -32601


class InvalidParams(CallerError):
    """A parameter breaks its rule."""

    code = -32602


class Unauthenticated(CallerError):
    """No valid credentials were given."""

    code = -401


class Forbidden(CallerError):
    """The credentials do not allow this."""

    code = -403


class NotFound(CallerError):
    """No job, backend, driver, transpiler or session has that name."""

    code = -404


class Conflict(CallerError):
    """The object's state, or an earlier call with the same id, rules this out."""

    code = -409


class TooLarge(CallerError):
    """The input is beyond a size limit."""

    code = -413


class TooMany(CallerError):
    """A quota or rate is used up."""

    code = -429


class ServerError(RpcError):
    """The failure is ours."""


class InternalError(ServerError):
    """A defect of the server."""

    code = -32603


class Unavailable(ServerError):
    """The server is busy or draining; try again later."""

    code = -503


class CircuitError(QfastError):
    """One source of a job cannot be run.

    Parameters
    ----------
    text : str
        What is wrong, where and what to do.
    data : dict, optional
        Machine-readable position or limits: for -102 ``line``, ``column``, ``end_column`` (1-based), ``snippet``, ``hint``.
    """

    kind: ClassVar[str] = "Generic Error"

    def __init__(self, text: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.data = data

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of the source's result."""
        error: dict[str, Any] = {"code": self.code, "message": f"[JobEngine] {self.kind}: {self.text}"}
        if self.data is not None:
            error["data"] = self.data
        return error


class GenericFailure(CircuitError):
    """A failure of no other kind."""


class DriverInitError(CircuitError):
    """The driver cannot start."""

    code = -100
    kind = "Driver Init Error"


class TranspilerInitError(CircuitError):
    """The transpiler cannot start."""

    code = -101
    kind = "Transpiler Init Error"


class ParseError(CircuitError):
    """The program breaks the syntax or the semantics of its language."""

    code = -102
    kind = "Parse Error"


class TranspileError(CircuitError):
    """The program is valid, but the target cannot express it."""

    code = -103
    kind = "Transpile Error"


class DriverRunError(CircuitError):
    """The run failed."""

    code = -104
    kind = "Driver Run Error"


class QubitLimitError(CircuitError):
    """The program needs more qubits than the device has."""

    code = -107
    kind = "Device Qubit Limit Exceeded"


class MatrixError(CircuitError):
    """The QUBO matrix cannot be solved as it stands."""

    code = -108
    kind = "Check Matrix Error"


class ResourceLimitError(CircuitError):
    """The program needs more memory, gates or shots than allowed."""

    code = -120
    kind = "Resource Limit Exceeded"


class TimeLimitError(CircuitError):
    """The job ran longer than allowed."""

    code = -121
    kind = "Time Limit Exceeded"


class WorkerCrashed(CircuitError):
    """The process that ran the job ended without an answer."""

    code = -122
    kind = "Worker Crashed"


class ConfigurationInvalid(QfastError):
    """A setting or the devices file is wrong; the message says where and why."""


class StoreLocked(QfastError):
    """Another server holds this data directory."""


class StoreFailed(QfastError):
    """The data directory or its database cannot be used; the message says why."""


class JobCancelled(QfastError):
    """A kernel stopped because its cancel flag was set; never leaves the engine."""
