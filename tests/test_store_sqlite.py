"""What the promises of the SQLite store rest on."""

from __future__ import annotations

import asyncio
import random
import resource
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from store_kit import (
    CANCELLED,
    COMPLETED,
    QUEUED,
    RUNNING,
    SOURCE,
    finish,
    make_job,
    start,
)

from qfast.errors import InternalError, StoreFailed, StoreLocked, Unavailable
from qfast.job import JobQuery
from qfast.stores import tables
from qfast.stores.commit import Outcome
from qfast.stores.sqlite import SqliteStore


def with_sqlite(scenario: Callable[[SqliteStore], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def test(tmp_path: Path) -> None:
        async def run() -> None:
            store = SqliteStore(tmp_path, backlog=100)
            await store.open()
            try:
                await scenario(store)
            finally:
                await store.close()

        asyncio.run(run())

    test.__name__ = scenario.__name__
    return test


async def in_writer(store: SqliteStore, statement: str) -> Any:
    """What the statement gives on the writer's own connection."""
    assert store.writer is not None
    return await store.writer.submit(lambda connection, _: [connection.execute(statement).fetchone()], None)


@with_sqlite
async def test_commits_are_on_the_disk_before_they_are_answered(store: SqliteStore) -> None:
    assert await in_writer(store, "PRAGMA journal_mode") == ("wal",)
    assert await in_writer(store, "PRAGMA synchronous") == (2,)  # FULL


@with_sqlite
async def test_writes_issued_together_share_a_commit(store: SqliteStore) -> None:
    assert store.writer is not None
    await asyncio.gather(*(store.append(make_job(seq), SOURCE) for seq in range(1, 65)))
    assert store.writer.commits == 1
    assert store.writer.waiting == 0


@with_sqlite
async def test_a_full_disk_refuses_all_of_a_commit_and_is_over_when_there_is_room(store: SqliteStore) -> None:
    await store.append(make_job(1), SOURCE)
    (pages,) = await in_writer(store, "PRAGMA page_count")
    await in_writer(store, f"PRAGMA max_page_count = {pages + 2}")
    big = random.Random(2).randbytes(50_000)
    writes = await asyncio.gather(
        store.apply([start(1)]), *(store.append(make_job(seq), big) for seq in (2, 3)), return_exceptions=True
    )
    assert all(isinstance(answer, Unavailable) for answer in writes)
    assert all(answer.extra["retry_after"] > 0 for answer in writes if isinstance(answer, Unavailable))
    assert [(job.seq, job.status) for job in await store.load_live()] == [(1, QUEUED)]
    await in_writer(store, "PRAGMA max_page_count = 1073741823")
    await asyncio.gather(store.apply([start(1)]), *(store.append(make_job(seq), big) for seq in (2, 3)))
    assert [(job.seq, job.status) for job in await store.load_live()] == [(1, RUNNING), (2, QUEUED), (3, QUEUED)]


@with_sqlite
async def test_too_many_waiting_writes_are_refused(store: SqliteStore) -> None:
    answers = await asyncio.gather(
        *(store.append(make_job(seq), SOURCE) for seq in range(1, 121)), return_exceptions=True
    )
    assert [isinstance(answer, Unavailable) for answer in answers] == [False] * 100 + [True] * 20


@with_sqlite
async def test_a_broken_caller_harms_no_other(store: SqliteStore) -> None:
    class Broken:
        def done(self) -> bool:
            raise RuntimeError("connection lost")

    assert store.writer is not None
    good = asyncio.get_running_loop().create_future()
    broken: Any = Broken()
    store.writer._complete([Outcome(broken, 1, None), Outcome(good, 2, None)])
    assert await good == 2
    await store.append(make_job(1), SOURCE)


def test_a_second_server_is_refused_with_directory_and_holder(tmp_path: Path) -> None:
    async def run() -> None:
        first, second = SqliteStore(tmp_path), SqliteStore(tmp_path)
        await first.open()
        with pytest.raises(StoreLocked, match=f"pid [0-9]+.*{tmp_path}"):
            await second.open()
        await first.append(make_job(1), SOURCE)
        await first.close()
        await second.open()
        assert await second.count() == 1
        await second.close()

    asyncio.run(run())


def open_once(directory: Path) -> None:
    async def run() -> None:
        store = SqliteStore(directory)
        await store.open()
        await store.close()

    asyncio.run(run())


def test_a_database_of_a_newer_qfast_is_refused(tmp_path: Path) -> None:
    open_once(tmp_path)
    connection = sqlite3.connect(tmp_path / "qfast.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    for _ in range(2):  # the refused server has let go of the lock
        with pytest.raises(StoreFailed, match="schema version 999"):
            open_once(tmp_path)


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "qfast.db").write_bytes(content)
    with pytest.raises(StoreFailed, match=r"qfast\.db"):
        open_once(tmp_path)


@with_sqlite
async def test_nobody_else_can_read_the_files(store: SqliteStore) -> None:
    await store.append(make_job(1), SOURCE)
    files = list(store.path.iterdir())
    assert len(files) == 4
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_a_database_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "qfast.db").mkdir()
    with pytest.raises(StoreFailed, match=r"qfast\.db"):
        open_once(tmp_path)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="data directory"):
        open_once(tmp_path / "file" / "data")


def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = sqlite3.connect(tmp_path / "qfast.db", isolation_level=None)
    connection.execute("CREATE TABLE job_spec (other)")
    with pytest.raises(StoreFailed, match="job_spec already exists"):
        open_once(tmp_path)
    assert connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall() == [
        ("job_spec",)
    ]
    connection.close()


@with_sqlite
async def test_a_flipped_bit_in_source_or_results_is_told(store: SqliteStore) -> None:
    await asyncio.gather(store.append(make_job(1), SOURCE), store.append(make_job(2), b"h q[0]; " * 100, level=6))
    await store.apply([start(1)])
    await store.apply([finish(1, results=b'[{"results": {"00": 512}}]')])
    for table, column, seq, read in (
        ("job_source", "source", 1, store.source), ("job_source", "source", 2, store.source),
        ("job_result", "results", 1, store.results),
    ):  # fmt: skip
        ((blob,),) = store._rows(f"SELECT {column} FROM {table} WHERE seq = {seq}")
        text, told = await read(seq), 0
        for place in range(len(blob)):
            damaged = blob[:place] + bytes([blob[place] ^ 4]) + blob[place + 1 :]
            await in_writer(store, f"UPDATE {table} SET {column} = x'{damaged.hex()}' WHERE seq = {seq}")
            try:
                assert await read(seq) == text  # the padding behind a deflated text means nothing
            except InternalError as error:
                assert f"job number {seq} is damaged" in error.message
                told += 1
        assert told >= len(blob) - 1


@with_sqlite
async def test_a_write_that_the_system_refuses_is_over_with_its_cause(store: SqliteStore) -> None:
    await store.append(make_job(1), SOURCE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (store.path / "qfast.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # the next write to the log fails as on a full disk
    try:
        answers = await asyncio.gather(
            store.append(make_job(2), SOURCE), store.apply([start(1)]), return_exceptions=True
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(isinstance(answer, Unavailable) for answer in answers), answers
    assert [(job.seq, job.status) for job in await store.load_live()] == [(1, QUEUED)]
    await store.append(make_job(2), SOURCE)
    assert await store.apply([start(1)]) == [True]
    assert [(job.seq, job.status) for job in await store.load_live()] == [(1, RUNNING), (2, QUEUED)]


def plan(connection: sqlite3.Connection, query: JobQuery) -> str:
    statement, values = tables.list_statement(query)
    return " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))


def test_lists_use_their_indexes(tmp_path: Path) -> None:
    open_once(tmp_path)
    connection = sqlite3.connect(tmp_path / "qfast.db")
    expected = {
        "job_by_status": JobQuery(job_status=(QUEUED, RUNNING)), "job_by_session": JobQuery(session_id="s"),
        "job_by_name": JobQuery(job_name="n"), "sqlite_autoindex_job_1": JobQuery(job_ids=("a",)),
    }  # fmt: skip
    for index, query in expected.items():
        assert index in plan(connection, query)
    for query in (
        JobQuery(),
        JobQuery(job_status=(QUEUED,)),
        JobQuery(backend="dummy"),
        JobQuery(session_id="s"),
        JobQuery(job_status=(COMPLETED, CANCELLED)),
    ):
        assert "TEMP B-TREE" not in plan(connection, query)
    connection.close()
