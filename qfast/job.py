"""The noun: a job, its states and which state may follow which."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum


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
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
