"""The noun: a job, its states and which state may follow which."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec


class JobStatus(StrEnum):
    """Where a job is in its life."""

    UNKNOWN = "UNKNOWN"  # reported only for a state that the server cannot tell
    QUEUED = "QUEUED"  # durable, waits for its backend
    RUNNING = "RUNNING"  # at a driver, or out at an asynchronous backend
    CANCELLING = "CANCELLING"  # told to stop, still at the driver
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    DELETED = "DELETED"  # only in the answer of delete_jobs; afterwards the job is unknown


FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.DELETED})

# status: the states it may be entered from
ENTERED_FROM: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED}),
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING}),  # crash recovery only: attempt + 1, same place
    JobStatus.CANCELLING: frozenset({JobStatus.RUNNING}),
    JobStatus.COMPLETED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLING}),
    JobStatus.FAILED: frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING}),
    JobStatus.CANCELLED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLING}),
    JobStatus.DELETED: frozenset({JobStatus.QUEUED, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
}


def utc_text(timestamp: float | None) -> str | None:
    """Seconds since the epoch as the wire's date, ``2025-07-15T14:58:55.283302`` in UTC; None stays None."""
    if timestamp is None:
        return None
    return datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


class JobRecord(msgspec.Struct, kw_only=True):
    """A job as it is stored, without its source and its results, which are kept apart.

    Attributes
    ----------
    seq : int
        Order of the acknowledged submit, unique for ever; 0 until a store that several nodes share has given it.
    digest : bytes
        SHA-256 of the normalised payload: the same id with another digest is a conflict.
    spec : bytes
        JSON object of every field as submitted and defaulted, without ``source_code`` and the fields below.
    attempt : int
        Runs begun; a result of an older attempt is refused (fencing).
    created_at, started_at, updated_at, ended_at : float
        Seconds since the epoch.
    tenant : str
        Whose it is; empty on a server without keys.
    """

    seq: int
    job_id: str
    digest: bytes
    backend: str
    code_type: str
    job_type: str
    job_name: str | None
    session_id: str | None
    tags: tuple[str, ...]
    priority: int
    status: JobStatus
    spec: bytes
    attempt: int = 0
    num_qubits: int | None = None
    created_at: float = 0.0
    started_at: float | None = None
    updated_at: float = 0.0
    ended_at: float | None = None
    tenant: str = ""


class CallbackRecord(msgspec.Struct, kw_only=True):
    """One delivery that is owed to the world: a row of the outbox.

    Attributes
    ----------
    webhook_id : str
        Stable over all tries of this delivery.
    spec : bytes
        JSON object {name, url, headers, retries, timeout} as submitted and defaulted.
    body : bytes
        The JSON to post.
    tries : int
        Posts already made.
    due_at : float
        Seconds since the epoch before which it is not tried again.
    """

    webhook_id: str
    seq: int
    spec: bytes
    body: bytes
    tries: int = 0
    due_at: float = 0.0


class DeliveryState(StrEnum):
    """What has become of a delivery."""

    OWED = "owed"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Delivery(msgspec.Struct, kw_only=True):
    """What is known of a delivery, owed or ended.

    Attributes
    ----------
    spec : bytes
        JSON object of the callback while it is owed; afterwards that of the job, which lists it.
    attempts : int
        Posts made, since it was last replayed.
    note : str or None
        What the last of them came to; None before the first.
    at : float
        When it is tried next, or when it ended; seconds since the epoch.
    """

    webhook_id: str
    seq: int
    state: DeliveryState
    spec: bytes
    attempts: int
    note: str | None
    at: float


class DeliveryQuery(msgspec.Struct, kw_only=True):
    """What get_callbacks asks of the store; None means any. Newest job first."""

    states: frozenset[DeliveryState] = frozenset(DeliveryState)
    job_ids: tuple[str, ...] | None = None
    webhook_ids: tuple[str, ...] | None = None
    tenant: str | None = None
    before: tuple[int, str] | None = None  # sequence and webhook id
    limit: int = 1000


class Change(msgspec.Struct, kw_only=True):
    """One compare-and-set on a stored job, applied only while its status is in `entered_from` and its attempt is `attempt`.

    Fields that are None stay as they are. Results and callbacks are written in the same transaction as the state.

    Attributes
    ----------
    owner : int or None
        Applied only while this is the epoch of the node that has claimed the job; None: whoever has it.
    release : bool
        Nobody has the job afterwards. A final state releases it in any case.
    """

    seq: int
    attempt: int
    entered_from: tuple[JobStatus, ...]
    status: JobStatus
    at: float
    next_attempt: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    priority: int | None = None
    job_name: str | None = None
    spec: bytes | None = None
    tags: tuple[str, ...] | None = None
    num_qubits: int | None = None
    results: bytes | None = None
    callbacks: tuple[CallbackRecord, ...] = ()
    owner: int | None = None
    release: bool = False


class JobQuery(msgspec.Struct, kw_only=True):
    """What get_jobs asks of the store; None means any. Newest first."""

    job_ids: tuple[str, ...] | None = None
    job_status: tuple[JobStatus, ...] | None = None
    backend: str | None = None
    code_type: str | None = None
    job_type: str | None = None
    job_name: str | None = None
    tags: tuple[str, ...] | None = None  # all of them
    priority: int | None = None
    session_id: str | None = None
    tenant: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    before_seq: int | None = None
    limit: int = 1000
