"""The live nouns: a job that is not final, the backend that has it in its queue, and what its end owes the world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson

from qfast._ext.scheduler import Heap
from qfast.job import CallbackRecord, Change, JobRecord, JobStatus
from qfast.matrices import QuboProblem
from qfast.plugins import Device, Driver
from qfast.prepared import PreparedPrograms

KEPT_SOURCE = 16 << 10  # bytes; a longer source is read from the store again when its job starts


class Job:
    """A live job: its record and what only lives in memory."""

    __slots__ = (
        "begun",
        "cache_hits",
        "cache_misses",
        "cancel",
        "durable",
        "ended_at",
        "ending",
        "epoch",
        "handle",
        "progress",
        "record",
        "retry_start",
        "rider",
        "rows",
        "small",
        "source",
        "timed_out",
        "waiters",
    )

    def __init__(self, record: JobRecord, source: bytes | None) -> None:
        self.record = record
        self.epoch: int | None = None  # of this node when it claimed the job; None: jobs are not claimed
        self.source = source  # None: in the store only
        self.handle: int | None = None  # in the backend's heap while QUEUED
        self.cancel = bytearray(1)  # polled by kernels
        self.timed_out = False
        self.begun = 0.0  # monotonic seconds when a thread began with it; 0: it waits at the threads
        self.ending = False  # a final state is on its way to the store
        self.ended_at: float | None = None  # the time that this final state has in the store
        self.progress = 0
        self.cache_hits = self.cache_misses = 0  # look-ups of its programs among the prepared ones
        self.rows: list[dict[str, Any]] = []  # of the run that goes on, as far as it is
        self.rider = False  # runs together with one that a thread took before it
        self.small = True  # a short program that need not sleep; judged when it leaves the queue
        self.durable: asyncio.Task[bytes] | None = None  # the append, until it is done
        self.retry_start: Change | None = None  # the start, for a store that did not take it when it happened
        self.waiters: list[asyncio.Future[None]] = []


class Backend:
    """A device with its driver, its queue and the jobs that are out."""

    def __init__(self, device: Device, driver: Driver) -> None:
        self.device = device
        self.driver = driver
        self.keeps_programs = bool(getattr(driver, "keeps_programs", False))
        self.open: Callable[[Any], Any] | None = getattr(driver, "open", None)  # compiles sources without values
        self.heap = Heap()
        self.running: dict[int, Job] = {}
        self.prepared = PreparedPrograms()
        # Jobs that it could begin soon, those in its queue among them; set by the engine.
        self.appetite: Callable[[], int] = lambda: 0
        self.resume: Callable[[Job], None] = lambda job: None  # check again a job that is out; set by the engine
        self.wake: Callable[[], None] = lambda: None  # set by the engine
        self.row_ready: Callable[[Job], None] = lambda job: (
            None
        )  # told in a worker thread of each row; set by the engine

    @property
    def asynchronous(self) -> bool:
        """Whether results come by set_job_results."""
        return self.driver.results_fetch_mode == "async"


PARSED_BYTES = 256 << 20


class Parsed:
    """Matrices of queued jobs read at submit, so that a run need not read them again; as many as there is room for.

    Parameters
    ----------
    room : int
        Bytes of all that are kept.
    """

    def __init__(self, room: int = PARSED_BYTES) -> None:
        self.room = room
        self.used = 0
        self._problems: dict[int, list[QuboProblem]] = {}

    def put(self, seq: int, problems: list[QuboProblem]) -> None:
        """Keep a job's, unless the earlier jobs' fill the room."""
        need = sum(problem.nbytes for problem in problems)
        if self.used + need <= self.room:
            self._problems[seq] = problems
            self.used += need

    def take(self, seq: int) -> list[QuboProblem] | None:
        """A job's, which are kept no longer; None when they are not here."""
        problems = self._problems.pop(seq, None)
        if problems is not None:
            self.used -= sum(problem.nbytes for problem in problems)
        return problems


def webhook_id(job_id: str, index: int) -> str:
    """The id of the delivery for a job's callback of that index, over all tries and replays."""
    return f"msg_{job_id.replace('-', '')}_{index}"


def of_webhook(key: str) -> tuple[str, int]:
    """The job's id and the callback's index of a delivery's id; raises ValueError when it is none."""
    _, digits, index = key.split("_")
    job_id = str(UUID(digits))
    if webhook_id(job_id, int(index)) != key:
        raise ValueError(f"{key!r} is not the id of a delivery")
    return job_id, int(index)


def deliveries(record: JobRecord, status: JobStatus, results: bytes | None, now: float) -> tuple[CallbackRecord, ...]:
    """The outbox rows of a job that ends, or has ended: the same content then as now, but for the time."""
    if b'"callbacks":' not in record.spec:
        return ()
    head = orjson.dumps({"job_id": record.job_id, "job_status": status, "backend": record.backend})
    body = head[:-1] + b',"results":' + (results or b"null") + b"}"
    return tuple(
        CallbackRecord(
            webhook_id=webhook_id(record.job_id, index),
            seq=record.seq,
            spec=orjson.dumps(callback),
            body=body,
            due_at=now,
        )
        for index, callback in enumerate(orjson.loads(record.spec)["callbacks"])
    )
