"""The kit of the stores' tests: jobs, changes and scenarios that run on every kind of store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import postgres_kit
import pytest

from qfast import plugins
from qfast.job import CallbackRecord, Change, JobQuery, JobRecord, JobStatus
from qfast.stores.sqlite import SqliteStore

STORES = plugins.names("stores") or ("sqlite",)
QUEUED, RUNNING, COMPLETED, CANCELLED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.CANCELLED
SOURCE = b'["OPENQASM 2.0; qreg q[1];"]'


def make_store(name: str, directory: Path) -> Any:
    """A closed store on that directory, or on the schema of a real database that belongs to it."""
    if name == "sqlite":
        return SqliteStore(directory)
    return plugins.load("stores", name)(postgres_kit.url(directory) if name == "postgres" else directory)


def with_store(scenario: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs the scenario on an open store of every kind."""

    @pytest.mark.parametrize("name", STORES)
    def test(name: str, tmp_path: Path) -> None:
        async def run() -> None:
            store = make_store(name, tmp_path)
            await store.open()
            try:
                await scenario(store)
            finally:
                await store.close()

        asyncio.run(run())

    test.__name__ = scenario.__name__
    return test


def make_job(seq: int, **fields: Any) -> JobRecord:
    values: dict[str, Any] = {
        "seq": seq, "job_id": str(uuid.UUID(int=seq)), "digest": bytes([seq % 256]) * 32, "backend": "dummy",
        "code_type": "qasm", "job_type": "sampling", "job_name": None, "session_id": None, "tags": (), "priority": 5,
        "status": QUEUED, "spec": b'{"shots": 1}', "created_at": float(seq), "updated_at": float(seq),
    }  # fmt: skip
    return JobRecord(**(values | fields))


def start(seq: int, attempt: int = 0, **fields: Any) -> Change:
    values: dict[str, Any] = {"entered_from": (QUEUED,), "status": RUNNING, "at": 50.0, "next_attempt": attempt + 1}
    return Change(seq=seq, attempt=attempt, **(values | fields))


def finish(seq: int, attempt: int = 1, **fields: Any) -> Change:
    values: dict[str, Any] = {"entered_from": (RUNNING,), "status": COMPLETED, "at": 60.0, "ended_at": 60.0}
    return Change(seq=seq, attempt=attempt, **(values | fields))


def make_callback(seq: int, key: str, due_at: float = 0.0) -> CallbackRecord:
    return CallbackRecord(webhook_id=key, seq=seq, spec=b'{"url": "http://127.0.0.1/"}', body=b"{}", due_at=due_at)


def matches(job: JobRecord, query: JobQuery) -> bool:
    """The slow twin of the list's SQL."""
    same = ("backend", "code_type", "job_type", "job_name", "priority", "session_id", "tenant")
    return (
        all(getattr(query, name) in (None, getattr(job, name)) for name in same)
        and (query.job_ids is None or job.job_id in query.job_ids)
        and (query.job_status is None or job.status in query.job_status)
        and set(query.tags or ()) <= set(job.tags)
        and (query.created_after is None or job.created_at >= query.created_after)
        and (query.created_before is None or job.created_at < query.created_before)
        and (query.before_seq is None or job.seq < query.before_seq)
    )
