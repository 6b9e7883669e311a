"""Every store against a dict: any calls, in any order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from store_kit import (
    CANCELLED,
    COMPLETED,
    QUEUED,
    RUNNING,
    SOURCE,
    STORES,
    make_callback,
    make_job,
    make_store,
    matches,
)

from qfast.errors import Conflict
from qfast.job import CallbackRecord, Change, JobQuery, JobRecord, JobStatus

SEQS = st.integers(1, 12)
STATES = st.sampled_from([QUEUED, RUNNING, JobStatus.CANCELLING, COMPLETED, JobStatus.FAILED, CANCELLED])
CHANGES = st.builds(
    Change, seq=SEQS, attempt=st.integers(0, 2), entered_from=st.lists(STATES, max_size=3, unique=True).map(tuple),
    status=STATES, at=st.floats(0, 1e9), next_attempt=st.none() | st.integers(0, 2),
    started_at=st.none() | st.floats(0, 9), ended_at=st.none() | st.floats(0, 9),
    priority=st.none() | st.integers(1, 10), job_name=st.none() | st.sampled_from("ab"),
    spec=st.none() | st.binary(max_size=4), num_qubits=st.none() | st.integers(0, 99),
    results=st.none() | st.binary(max_size=4),
)  # fmt: skip


class StoreMachine(RuleBasedStateMachine):
    """Any calls in any order give what a dict gives."""

    name = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.store = make_store(self.name, self.directory)
        self.runner.run(self.store.open())
        self.jobs: dict[int, JobRecord] = {}
        self.results: dict[int, bytes] = {}
        self.outbox: dict[str, CallbackRecord] = {}
        self.held: dict[str, float] = {}
        self.next_seq = 1

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def change(self, change: Change) -> bool:
        """The model's compare-and-set."""
        job = self.jobs.get(change.seq)
        if job is None or job.attempt != change.attempt or job.status not in change.entered_from:
            return False
        named = {
            "attempt": change.next_attempt, "started_at": change.started_at, "ended_at": change.ended_at,
            "spec": change.spec, "priority": change.priority, "job_name": change.job_name,
            "num_qubits": change.num_qubits,
        }  # fmt: skip
        given = {name: value for name, value in named.items() if value is not None}
        self.jobs[change.seq] = msgspec.structs.replace(job, status=change.status, updated_at=change.at, **given)
        if change.results is not None:
            self.results[change.seq] = change.results
        self.outbox.update((row.webhook_id, row) for row in change.callbacks)
        return True

    @rule(tags=st.lists(st.sampled_from("xyz"), max_size=3).map(tuple), level=st.integers(0, 9))
    def append(self, tags: tuple[str, ...], level: int) -> None:
        job = make_job(self.next_seq, tags=tags)
        self.next_seq += 1
        self.runner.run(self.store.append(job, SOURCE, level=level))
        self.jobs[job.seq] = job

    @precondition(lambda self: self.jobs)
    @rule()
    def append_a_double(self) -> None:
        twin = next(iter(self.jobs.values()))
        with pytest.raises(Conflict):
            self.runner.run(self.store.append(make_job(99, job_id=twin.job_id), SOURCE))

    @rule(calls=st.lists(st.lists(CHANGES, max_size=4), max_size=4), owed=st.booleans())
    def apply(self, calls: list[list[Change]], owed: bool) -> None:
        if owed:
            calls = [
                [msgspec.structs.replace(c, callbacks=(make_callback(c.seq, str(uuid.uuid4())),)) for c in call]
                for call in calls
            ]

        async def run() -> list[list[bool]]:
            return await asyncio.gather(*(self.store.apply(call) for call in calls))

        assert self.runner.run(run()) == [[self.change(change) for change in call] for call in calls]

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), change=CHANGES)
    def win(self, data: Any, change: Change) -> None:
        """A change that fits its job, with a callback."""
        job = self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]
        change.seq, change.attempt, change.entered_from = job.seq, job.attempt, (job.status, RUNNING)
        change.callbacks = (make_callback(job.seq, str(uuid.uuid4())),)
        assert self.runner.run(self.store.apply([change])) == [True]
        assert self.change(change)

    @rule(seqs=st.lists(SEQS, max_size=2), until=st.floats(1, 1000))
    def delete(self, seqs: list[int], until: float) -> None:
        gone = self.runner.run(self.store.delete(seqs, until))
        free = {
            seq for seq in seqs if seq in self.jobs and self.jobs[seq].status not in (RUNNING, JobStatus.CANCELLING)
        }
        assert set(gone) == free
        for seq in free:
            if seq in self.jobs:
                self.held[self.jobs.pop(seq).job_id] = until
                self.results.pop(seq, None)

    @precondition(lambda self: self.outbox)
    @rule(due_at=st.floats(0, 100), end=st.booleans())
    def try_a_callback(self, due_at: float, end: bool) -> None:
        key = min(self.outbox)
        if end:
            self.runner.run(self.store.end_callback(key, True, "status 200"))
            del self.outbox[key]
        else:
            tries = self.outbox[key].tries + 1
            self.runner.run(self.store.put_off_callback(key, tries, due_at))
            self.outbox[key] = msgspec.structs.replace(self.outbox[key], tries=tries, due_at=due_at)

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.store = make_store(self.name, self.directory)
        self.runner.run(self.store.open())

    @invariant()
    def store_and_model_agree(self) -> None:
        self.runner.run(self.compare())

    async def compare(self) -> None:
        newest = [self.jobs[seq] for seq in sorted(self.jobs, reverse=True)]
        assert await self.store.list(JobQuery()) == newest
        assert await self.store.count() == len(newest)
        assert await self.store.last_seq() == self.next_seq - 1
        live = (QUEUED, RUNNING, JobStatus.CANCELLING)
        assert await self.store.load_live() == [job for job in reversed(newest) if job.status in live]
        for query in (
            JobQuery(job_status=(RUNNING, COMPLETED)),
            JobQuery(tags=("x", "y")),
            JobQuery(job_name="a", limit=2),
        ):
            assert await self.store.list(query) == [job for job in newest if matches(job, query)][: query.limit]
        for seq in self.jobs:
            assert await self.store.results(seq) == self.results.get(seq)
        due = await self.store.due_callbacks(50.0, 1000)
        assert [row.due_at for row in due] == sorted(row.due_at for row in due)
        assert {row.webhook_id: row for row in due} == {k: row for k, row in self.outbox.items() if row.due_at <= 50.0}
        assert await self.store.next_due() == min((row.due_at for row in self.outbox.values()), default=None)
        for job_id, until in self.held.items():
            assert await self.store.taken(job_id, until - 0.5)
            assert not await self.store.taken(job_id, until)


@pytest.mark.parametrize("name", STORES)
def test_a_store_behaves_as_a_dict_does(name: str) -> None:
    kind: Any = type("Machine", (StoreMachine,), {"name": name})
    machine = kind.TestCase
    machine.settings = settings(
        max_examples=20 if name == "sqlite" else 8,  # a look-up over a socket costs a hundred of SQLite's
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
