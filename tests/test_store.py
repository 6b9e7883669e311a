"""What every store promises."""

from __future__ import annotations

import asyncio
import random
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_kit import (
    CANCELLED,
    COMPLETED,
    QUEUED,
    RUNNING,
    SOURCE,
    STORES,
    finish,
    make_callback,
    make_job,
    make_store,
    matches,
    start,
    with_store,
)

from qfast.errors import Conflict, Unavailable
from qfast.job import FINAL, Change, JobQuery, JobStatus


@with_store
async def test_a_job_comes_back_as_it_was_stored(store: Any) -> None:
    job = make_job(
        7, job_name="bell", session_id=str(uuid.uuid4()), tags=("b", "a", "é"), num_qubits=2, started_at=8.5,
        ended_at=9.25, attempt=3, priority=1, status=COMPLETED, spec=b'{"description": "\xc3\xa9"}',
    )  # fmt: skip
    await store.append(job, SOURCE)
    assert await store.get(job.job_id) == job
    assert await store.source(7) == SOURCE
    assert await store.results(7) is None
    assert await store.get(str(uuid.uuid4())) is None
    assert await store.source(8) is None


@with_store
async def test_sources_of_any_size_and_level_come_back_byte_for_byte(store: Any) -> None:
    sources = [b"", b"[]", b'["' + b"h q[0]; " * 5000 + b'"]', random.Random(1).randbytes(100_000)]
    for seq, (source, level) in enumerate([(source, level) for source in sources for level in (0, 1, 9)], 1):
        await store.append(make_job(seq), source, level=level)
        assert await store.source(seq) == source


@with_store
async def test_an_id_is_stored_once_and_its_double_harms_no_neighbour(store: Any) -> None:
    await store.append(make_job(1), SOURCE)
    double = make_job(3, job_id=make_job(1).job_id)
    answers = await asyncio.gather(
        store.append(make_job(2), SOURCE), store.append(double, SOURCE), store.append(make_job(4), SOURCE),
        store.append(make_job(2, job_id=str(uuid.uuid4())), SOURCE), store.append(make_job(5), SOURCE),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(answer) for answer in answers] == [type(None), Conflict, type(None), Conflict, type(None)]
    assert "exists already" in str(answers[1])
    assert [job.seq for job in await store.load_live()] == [1, 2, 4, 5]
    assert await store.source(3) is None


@with_store
async def test_a_value_that_cannot_be_stored_harms_no_neighbour(store: Any) -> None:
    answers = await asyncio.gather(
        store.append(make_job(1), SOURCE), store.append(make_job(2, priority=2**80), SOURCE),
        store.append(make_job(3, job_name="\ud800"), SOURCE), store.append(make_job(4), SOURCE),
        return_exceptions=True,
    )  # fmt: skip
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, True, False]
    assert [job.seq for job in await store.load_live()] == [1, 4]


@with_store
async def test_a_change_is_applied_only_from_the_right_state_and_attempt(store: Any) -> None:
    await store.append(make_job(1), SOURCE)
    assert await store.apply([start(2)]) == [False]
    assert await store.apply([start(1, attempt=1)]) == [False]
    assert await store.apply([finish(1)]) == [False]
    assert await store.apply([start(1, started_at=50.0)]) == [True]
    assert await store.apply([start(1)]) == [False]
    assert await store.apply([]) == []
    assert await store.apply([finish(1, results=b"[1]", num_qubits=2)]) == [True]
    assert await store.apply([finish(1, results=b"[2]")]) == [False]
    job = await store.get(make_job(1).job_id)
    assert (job.status, job.attempt, job.started_at, job.ended_at, job.num_qubits) == (COMPLETED, 1, 50.0, 60.0, 2)
    assert job.updated_at == 60.0
    assert await store.results(1) == b"[1]"


@with_store
async def test_changes_of_one_job_in_one_call_are_applied_in_order(store: Any) -> None:
    await asyncio.gather(store.append(make_job(1), SOURCE), store.append(make_job(2), SOURCE))
    again = finish(1, entered_from=(RUNNING,), status=QUEUED, ended_at=None)
    won = await store.apply([start(1), start(1), start(2), again, start(1, attempt=1), finish(1, attempt=1)])
    assert won == [True, False, True, True, True, False]
    assert (await store.get(make_job(1).job_id)).attempt == 2


@with_store
async def test_calls_without_a_pause_are_applied_in_call_order(store: Any) -> None:
    _, started, ended, _, after = await asyncio.gather(
        store.append(make_job(1), SOURCE), store.apply([start(1)]), store.apply([finish(1)]),
        store.delete([1], until=100.0), store.apply([finish(1)]),
    )  # fmt: skip
    assert (started, ended, after) == ([True], [True], [False])
    assert await store.count() == 0


@with_store
async def test_a_change_rewrites_only_what_it_names(store: Any) -> None:
    job = make_job(1, job_name="old", num_qubits=4)
    await store.append(job, SOURCE)
    update = Change(seq=1, attempt=0, entered_from=(QUEUED,), status=QUEUED, at=2.0)
    assert await store.apply([update]) == [True]
    assert await store.get(job.job_id) == msgspec.structs.replace(job, updated_at=2.0)
    update = msgspec.structs.replace(update, priority=1, job_name="new", spec=b'{"shots": 2}')
    assert await store.apply([update]) == [True]
    expected = msgspec.structs.replace(job, updated_at=2.0, priority=1, job_name="new", spec=b'{"shots": 2}')
    assert await store.get(job.job_id) == expected
    assert await store.apply([msgspec.structs.replace(update, job_name="")]) == [True]
    assert (await store.get(job.job_id)).job_name is None


@with_store
async def test_of_many_rivals_for_one_change_exactly_one_wins(store: Any) -> None:
    await asyncio.gather(*(store.append(make_job(seq), SOURCE) for seq in range(1, 11)))
    ends = (COMPLETED, JobStatus.FAILED, CANCELLED)
    await store.apply([start(seq) for seq in range(1, 11)])
    rivals = [(seq, index) for seq in range(1, 11) for index in range(12)]
    random.Random(5).shuffle(rivals)
    won = await asyncio.gather(
        *(store.apply([finish(seq, status=ends[index % 3], results=b"%d" % index)]) for seq, index in rivals)
    )
    winners = {seq: index for (seq, index), (one,) in zip(rivals, won, strict=True) if one}
    assert sum(one for (one,) in won) == len(winners) == 10
    for seq, index in winners.items():
        assert await store.results(seq) == b"%d" % index
        assert (await store.get(make_job(seq).job_id)).status == ends[index % 3]


@with_store
async def test_a_loser_leaves_neither_results_nor_callbacks(store: Any) -> None:
    await store.append(make_job(1), SOURCE)
    change = finish(1, results=b"[0]", spec=b"{}", callbacks=(make_callback(1, "a"),))
    assert await store.apply([change]) == [False]
    assert await store.results(1) is None
    assert await store.next_due() is None
    assert (await store.get(make_job(1).job_id)).spec == make_job(1).spec


@with_store
async def test_many_changes_in_one_call(store: Any) -> None:
    count = 300
    await asyncio.gather(*(store.append(make_job(seq), SOURCE) for seq in range(1, count + 1)))
    won = await store.apply([start(seq, attempt=seq % 2) for seq in range(1, count + 1)])
    assert won == [seq % 2 == 0 for seq in range(1, count + 1)]


@with_store
async def test_the_outbox_keeps_a_delivery_until_it_has_ended(store: Any) -> None:
    await store.append(make_job(1), SOURCE)
    await store.apply([start(1)])
    rows = (make_callback(1, "late", 30.0), make_callback(1, "soon", 10.0), make_callback(1, "next", 20.0))
    assert await store.next_due() is None
    await store.apply([finish(1, callbacks=rows)])
    assert await store.next_due() == 10.0
    assert await store.due_callbacks(5.0, 10) == []
    assert [row.webhook_id for row in await store.due_callbacks(30.0, 10)] == ["soon", "next", "late"]
    assert await store.due_callbacks(25.0, 1) == [rows[1]]
    await store.put_off_callback("soon", 1, 40.0)
    await store.put_off_callback("unknown", 1, 0.0)
    assert [(row.webhook_id, row.tries) for row in await store.due_callbacks(99.0, 9)][-1] == ("soon", 1)
    await asyncio.gather(*(store.end_callback(key, key == "next", "status 204") for key in ("next", "late", "unknown")))
    assert [row.webhook_id for row in await store.due_callbacks(99.0, 9)] == ["soon"]
    assert await store.next_due() == 40.0


@with_store
async def test_a_deleted_job_is_gone_and_its_id_stays_taken_for_a_while(store: Any) -> None:
    jobs = [make_job(seq, tags=("t",)) for seq in range(1, 4)]
    await asyncio.gather(*(store.append(job, SOURCE) for job in jobs))
    await store.apply([start(1)])
    await store.apply([finish(1, results=b"[]", callbacks=(make_callback(1, "a"),))])
    await store.delete([1, 3, 99], until=100.0)
    assert [await store.get(job.job_id) for job in jobs] == [None, jobs[1], None]
    assert await store.source(1) is None
    assert await store.results(1) is None
    assert await store.next_due() == 0.0  # what is owed stays owed
    assert await store.list(JobQuery(tags=("t",))) == [jobs[1]]
    assert await store.count() == 1
    assert await store.taken(jobs[0].job_id, 99.0)
    assert not await store.taken(jobs[0].job_id, 100.0)
    assert not await store.taken(jobs[1].job_id, 0.0)
    assert await store.last_seq() == 3
    await store.append(make_job(4, job_id=jobs[0].job_id), SOURCE)
    await store.delete([], until=100.0)


@with_store
async def test_the_list_filters_and_pages(store: Any) -> None:
    jobs = [
        make_job(
            seq, backend=("dummy", "aer")[seq % 2], code_type=("qasm", "qubo")[seq % 3 == 0], priority=1 + seq % 10,
            job_type=("sampling", "estimation")[seq % 5 == 0], job_name=None if seq % 4 else "x'; DROP TABLE job; --",
            session_id=None if seq % 6 else "s1", tags=tuple(t for t in ("a", "b", "%") if seq % (ord(t) % 7 + 2) == 0),
            status=(QUEUED, RUNNING, COMPLETED)[seq % 3], tenant=("", "red", "blue")[seq % 7 % 3],
        )
        for seq in range(1, 61)
    ]  # fmt: skip
    await asyncio.gather(*(store.append(job, SOURCE) for job in jobs))
    queries = [
        JobQuery(), JobQuery(backend="aer"), JobQuery(code_type="qubo"), JobQuery(job_type="estimation"),
        JobQuery(job_name="x'; DROP TABLE job; --"), JobQuery(job_name="x"), JobQuery(session_id="s1"),
        JobQuery(tags=("a",)), JobQuery(tags=("a", "b")), JobQuery(tags=("%",)), JobQuery(tags=()),
        JobQuery(priority=3), JobQuery(job_status=(QUEUED,)), JobQuery(job_status=(COMPLETED, RUNNING)),
        JobQuery(job_status=()), JobQuery(job_ids=()), JobQuery(job_ids=tuple(job.job_id for job in jobs[5:20:3])),
        JobQuery(job_ids=(jobs[3].job_id, jobs[3].job_id, "' OR 1=1 --")), JobQuery(created_after=20.0),
        JobQuery(created_before=20.0), JobQuery(created_after=10.0, created_before=10.0), JobQuery(before_seq=31),
        JobQuery(tenant="red"), JobQuery(tenant=""), JobQuery(tenant="blue", backend="aer", limit=3),
        JobQuery(limit=7), JobQuery(limit=7, before_seq=20, job_status=(QUEUED, COMPLETED), backend="dummy"),
    ]  # fmt: skip
    for query in queries:
        expected = [job for job in reversed(jobs) if matches(job, query)][: query.limit]
        assert await store.list(query) == expected, query


@with_store
async def test_what_matches_is_counted_and_tags_change(store: Any) -> None:
    await asyncio.gather(*(store.append(make_job(seq, tags=("a", f"of {seq % 2}")), SOURCE) for seq in range(1, 6)))
    assert await store.count() == 5
    assert await store.count(JobQuery(tags=("a", "of 1"), limit=1)) == 3
    assert await store.count(JobQuery(job_status=(JobStatus.RUNNING,))) == 0
    same = Change(
        seq=1, attempt=0, entered_from=(JobStatus.QUEUED,), status=JobStatus.QUEUED, at=1.0, tags=("b", "b\0")
    )
    lost = Change(seq=2, attempt=3, entered_from=(JobStatus.QUEUED,), status=JobStatus.QUEUED, at=1.0, tags=("b",))
    assert await store.apply([same, lost]) == [True, False]
    assert [job.tags for job in await store.list(JobQuery(tags=("b",)))] == [("b", "b\0")]
    assert await store.count(JobQuery(tags=("a",))) == 4


@with_store
async def test_live_jobs_are_loaded_in_submit_order(store: Any) -> None:
    assert await store.last_seq() == 0
    statuses = list(JobStatus)
    jobs = [make_job(seq, status=statuses[seq % len(statuses)]) for seq in (5, 3, 9, 1, 12, 7, 20, 21, 22)]
    await asyncio.gather(*(store.append(job, SOURCE) for job in jobs))
    live = [job for job in jobs if job.status not in FINAL and job.status != JobStatus.UNKNOWN]
    assert await store.load_live() == sorted(live, key=lambda job: job.seq)
    assert await store.last_seq() == 22


@with_store
async def test_the_places_of_waiting_jobs_come_in_pages(store: Any) -> None:
    sessions = {4: "11111111-1111-4111-8111-111111111111"}
    jobs = [make_job(seq, priority=seq, tenant=f"t{seq}", session_id=sessions.get(seq)) for seq in range(1, 7)]
    await asyncio.gather(*(store.append(job, SOURCE) for job in jobs))
    await store.apply([start(2)])
    places = [(seq, "dummy", seq, f"t{seq}") for seq in (1, 3, 5, 6)]
    assert [tuple(row) for row in await store.queued(0, 3)] == places[:3]
    assert [tuple(row) for row in await store.queued(5, 3)] == places[3:]
    assert await store.queued(6, 3) == []
    assert [job.seq for job in await store.load_live(waiting=False)] == [2, 4]
    loaded = {job.seq: (job, source) for job, source in await store.load([3, 6, 99], 1000)}
    assert loaded == {seq: (jobs[seq - 1], SOURCE) for seq in (3, 6)}
    assert [source for _, source in await store.load([1], len(SOURCE))] == [None]  # as stored it has five bytes more


@pytest.mark.parametrize("name", STORES)
def test_everything_is_there_after_reopening(name: str, tmp_path: Path) -> None:
    async def first() -> None:
        store = make_store(name, tmp_path)
        await store.open()
        await asyncio.gather(*(store.append(make_job(seq), SOURCE) for seq in (1, 2, 3)))
        await store.apply([start(1)])
        await store.apply([finish(1, results=b"[7]", callbacks=(make_callback(1, "a", 9.0),))])
        await store.delete([3], until=100.0)
        await store.close()
        await store.close()
        with pytest.raises(Unavailable):
            await store.append(make_job(4), SOURCE)

    async def second() -> None:
        store = make_store(name, tmp_path)
        await store.open()
        assert [job.seq for job in await store.load_live()] == [2]
        assert await store.results(1) == b"[7]"
        assert await store.next_due() == 9.0
        assert await store.last_seq() == 3
        assert await store.taken(make_job(3).job_id, 99.0)
        await store.close()

    asyncio.run(first())
    asyncio.run(second())


@pytest.mark.parametrize("name", STORES)
def test_closing_finishes_the_writes_that_wait(name: str, tmp_path: Path) -> None:
    async def run() -> None:
        store = make_store(name, tmp_path)
        await store.open()
        writes = [asyncio.ensure_future(store.append(make_job(seq), SOURCE)) for seq in range(1, 50)]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*writes)

    asyncio.run(run())


@with_store
async def test_a_cancelled_caller_neither_stops_the_store_nor_undoes_its_write(store: Any) -> None:
    writes = [asyncio.ensure_future(store.append(make_job(seq), SOURCE)) for seq in range(1, 21)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    done = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in done) == 10
    await store.append(make_job(21), SOURCE)
    assert len(await store.load_live()) == 21


@with_store
async def test_notes_are_kept_by_name(store: Any) -> None:
    assert await store.note("sessions") is None
    await asyncio.gather(store.put_note("sessions", b"1"), store.put_note("x", b"\0"), store.put_note("sessions", b"2"))
    assert await store.note("sessions") == b"2"
    assert await store.note("x") == b"\0"
