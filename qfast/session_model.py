"""The noun of sessions: what one is, how it changes, and how long it may last."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal

import msgspec

from qfast.errors import InvalidParams

INTERACTIVE_TIMEOUT: Final = 60  # seconds without a job after which an active session gives its backend up
MAXIMUM_MAX_TIME: Final = 8 * 3600  # seconds
DEFAULT_MAX_TIME: Final = MAXIMUM_MAX_TIME
ACTIVE_CLASS: Final = 0  # the heap class of the jobs of an active session
ORDINARY_CLASS: Final = 8

Mode = Literal["dedicated", "batch"]
Reason = Literal[
    "job_started", "interactive_timeout", "active_timeout", "displaced", "max_time", "drained", "cancelled", "recovered"
]

_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:[0-9]{1,9}[dhms]\s*)+", re.IGNORECASE)
_TERM: Final = re.compile(r"([0-9]+)([dhms])", re.IGNORECASE)


class SessionState(StrEnum):
    """Where a session is in its life."""

    OPEN = "open"  # no job of it has started yet
    ACTIVE = "active"  # its jobs go before all others of its backend
    INACTIVE = "inactive"  # was active; its next job queues as any other and reactivates it
    CLOSED = "closed"  # for good; jobs that still run finish


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """What a change of a session means for the queue.

    Attributes
    ----------
    state : SessionState
        What the session is now.
    klass : int
        The heap class of its jobs from now on.
    reclassify : tuple of int
        Sequences of its queued jobs, to be moved to `klass`.
    cancel : tuple of int
        Sequences of its queued jobs, to be cancelled; each is then reported by `job_ended` as any other.
    """

    session_id: str
    backend: str
    state: SessionState
    reason: Reason
    klass: int = ORDINARY_CLASS
    reclassify: tuple[int, ...] = ()
    cancel: tuple[int, ...] = ()


class Session(msgspec.Struct, kw_only=True):
    """A session as it is stored. Times are seconds since the epoch, durations are seconds.

    Attributes
    ----------
    started_at : float or None
        When its first job started.
    idle_since : float
        When it last became free of queued and running jobs.
    occupied_since : float or None
        Since when it is active or has running jobs.
    busy_since : float or None
        Since when it has running jobs.
    usage : float
        Settled usage. Dedicated: time active or running. Batch: the sum of its jobs' running times.
    busy : float
        Settled time with at least one running job.
    ended : dict
        Number of jobs that ended, by their final status.
    """

    id: str
    backend_name: str
    mode: Mode
    interactive_timeout: int | float
    max_time: int
    active_timeout: int | float
    opened_at: float
    state: SessionState = SessionState.OPEN
    accepting_jobs: bool = True
    last_job_started: float | None = None
    last_job_completed: float | None = None
    started_at: float | None = None
    closed_at: float | None = None
    activated_at: float | None = None
    idle_since: float = 0.0
    occupied_since: float | None = None
    usage: float = 0.0
    ended: dict[str, int] = msgspec.field(default_factory=dict)
    tenant: str = ""
    cache_hits: int = 0
    cache_misses: int = 0
    busy_since: float | None = None
    busy: float = 0.0

    def book(self, now: float, *, occupied: bool, busy: bool) -> None:
        """Settle times where the session begins or ends to occupy its backend, or to have running jobs."""
        if occupied and self.occupied_since is None:
            self.occupied_since = now
        elif not occupied and self.occupied_since is not None:
            if self.mode == "dedicated":
                self.usage += max(0.0, now - self.occupied_since)
            self.occupied_since = None
        if busy and self.busy_since is None:
            self.busy_since = now
        elif not busy and self.busy_since is not None:
            self.busy += max(0.0, now - self.busy_since)
            self.busy_since = None

    def break_off(self) -> None:
        """Settle what ran when the server went down: not known until when, so nothing of it is counted as busy."""
        self.busy_since = None

    def usage_at(self, now: float, running: Iterable[float]) -> dict[str, float]:
        """Seconds used so far, `running` being when its running jobs started.

        Returns
        -------
        dict
            ``reserved``: what the backend was taken for it (dedicated: active or with running jobs; batch: with running jobs,
            since it holds nothing); ``busy``: of these, with at least one running job; ``idle``: the others; ``used``:
            usage_time, for a batch the sum over its jobs.
        """
        busy = self.busy + (0.0 if self.busy_since is None else max(0.0, now - self.busy_since))
        if self.mode == "batch":
            used, reserved = self.usage + sum(max(0.0, now - started) for started in running), busy
        else:
            used = reserved = self.usage + (0.0 if self.occupied_since is None else max(0.0, now - self.occupied_since))
        return {"used": used, "reserved": reserved, "busy": busy, "idle": max(0.0, reserved - busy)}

    @property
    def expires_at(self) -> float:
        """When max_time is over; it counts from the opening, so that the end is known from the beginning."""
        return self.opened_at + self.max_time


def parse_max_time(value: object, maximum: int = MAXIMUM_MAX_TIME) -> int:
    """Seconds of a `max_time`.

    Parameters
    ----------
    value : object
        A positive number of seconds, of which fractions are rounded up, or a text such as ``"2h 30m 40s"``: whole
        numbers, each followed by one of d, h, m, s, each unit at most once, in any order.
    maximum : int
        The longest time the server allows, in seconds.

    Raises
    ------
    InvalidParams
        If it is anything else, or above `maximum`; the message then has both numbers.
    """
    seconds = _duration(value) if isinstance(value, str) else _number(value)
    if seconds is None:
        raise _refusal(
            value, "is neither a number of seconds nor a text such as '2h 30m 40s'", "use 9040 or '2h 30m 40s'"
        )
    if seconds <= 0:
        raise _refusal(value, "is not a positive time", f"at least 1 and at most {maximum} seconds")
    if seconds > maximum:
        amount = "" if _number(value) == seconds else f" ({seconds} seconds)"
        raise _refusal(value, f"{amount} is above the server's maximum of {maximum} seconds".strip(), None)
    return math.ceil(seconds)


def _number(value: object) -> int | float | None:
    """A finite number that is no bool, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _duration(text: str) -> int | None:
    """The seconds of "2h 30m 40s", or None when it is not of that form."""
    text = text.strip()
    if len(text) > 80 or not _DURATION.fullmatch(text):
        return None
    terms = [(int(count), unit.lower()) for count, unit in _TERM.findall(text)]
    if len({unit for _, unit in terms}) < len(terms):
        return None
    return sum(count * _UNITS[unit] for count, unit in terms)


def _refusal(value: object, rule: str, hint: str | None) -> InvalidParams:
    if isinstance(value, int) and abs(value) >= 1 << 63:  # str() of a huge int is slow, and refused beyond 4,300 digits
        shown: str = f"a number of {value.bit_length()} bits"
    elif isinstance(value, str | int | float):
        shown = f"{value!r:.80}"
    else:
        shown = "null" if value is None else f"a {'list' if isinstance(value, list) else type(value).__name__}"
    text = f"max_time: {shown} {rule}"
    error = {"type": "value_error", "loc": ["body", "max_time"], "msg": text, "input": shown}
    return InvalidParams(text, errors=[error], hint=hint)
