"""What only the PostgreSQL store can do wrong: a database that goes away, another owner, unsafe settings."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import postgres_kit
import pytest
from postgres_kit import cluster, sql
from store_kit import COMPLETED, QUEUED, RUNNING, SOURCE, finish, make_callback, make_job, start

from qfast.errors import ConfigurationInvalid, StoreFailed, StoreLocked, Unavailable
from qfast.job import JobQuery
from qfast.stores import pg_beat, pg_link, pg_setup
from qfast.stores.pg_link import State
from qfast.stores.postgres import PostgresStore

PATIENCE = 20.0  # seconds until a condition counts as never met


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def with_postgres(scenario: Callable[[PostgresStore], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test on an open store with a schema of its own."""

    def test(tmp_path: Path) -> None:
        async def run() -> None:
            async with opened(postgres_kit.url(tmp_path)) as store:
                await scenario(store)

        asyncio.run(run())

    test.__name__ = scenario.__name__
    return test


class Storm:
    """Callers that append, start and finish jobs until stopped, and remember what they were told."""

    def __init__(self, store: PostgresStore, callers: int = 16) -> None:
        self.store = store
        self.appended: set[int] = set()
        self.refused: set[int] = set()
        self.ended: set[int] = set()
        self.unsure: set[int] = set()  # their start or end was refused
        self.going = True
        self._next = 0
        self._tasks = [asyncio.ensure_future(self._call()) for _ in range(callers)]

    async def _call(self) -> None:
        while self.going:
            self._next += 1
            seq = self._next
            try:
                await self.store.append(make_job(seq), SOURCE)
            except Unavailable as error:
                assert error.extra["retry_after"] > 0
                self.refused.add(seq)
                await asyncio.sleep(0.01)
                continue
            self.appended.add(seq)
            try:
                assert await self.store.apply([start(seq)]) == [True]
                assert await self.store.apply([finish(seq, results=b"[%d]" % seq)]) == [True]
            except Unavailable:
                self.unsure.add(seq)
            else:
                self.ended.add(seq)

    async def stop(self) -> None:
        self.going = False
        await asyncio.gather(*self._tasks)

    async def check(self) -> None:
        """What was acknowledged is there once, what was refused is not."""
        jobs = await self.store.list(JobQuery(limit=1_000_000))
        assert [job.seq for job in jobs] == sorted(self.appended, reverse=True)
        assert self.refused.isdisjoint(self.appended)
        assert {job.seq for job in jobs if job.status == COMPLETED} == self.ended
        for seq in sorted(self.ended)[:: max(1, len(self.ended) // 20)]:
            assert await self.store.results(seq) == b"[%d]" % seq
        assert await self.store.count() == len(self.appended)


async def through(store: PostgresStore, fault: Callable[[], Awaitable[Any]]) -> None:
    """Whatever the fault, the storm's account agrees with the database, and it goes on by itself."""
    storm = Storm(store)
    await until(lambda: len(storm.ended) > 100)
    number = store.link.number
    await fault()
    await until(lambda: store.link.number > number and store.link.state is State.UP)
    before = len(storm.ended)
    await until(lambda: len(storm.ended) > before + 100)
    await storm.stop()
    await storm.check()


async def restart() -> None:
    await asyncio.to_thread(cluster().stop)
    await asyncio.to_thread(cluster().start)


@with_postgres
async def test_a_restart_of_the_database_loses_and_doubles_nothing(store: PostgresStore) -> None:
    await through(store, restart)


@with_postgres
async def test_kill_9_of_the_flushers_backend_loses_and_doubles_nothing(store: PostgresStore) -> None:
    async def kill() -> None:
        os.kill(store.link.writer.get_server_pid(), signal.SIGKILL)  # the whole database recovers from its log

    await through(store, kill)


@pytest.mark.parametrize("which", ["lock", "writer", "reader"])
def test_whichever_connection_ends_all_come_back(which: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(postgres_kit.url(tmp_path)) as store:
            await store.append(make_job(1), SOURCE)
            first = store.epoch
            for _ in range(3):
                pid = getattr(store.link, which).get_server_pid()
                await asyncio.to_thread(sql, f"SELECT pg_terminate_backend({pid})")
                await until(lambda number=store.link.number: store.link.number > number)
                await until(lambda: store.link.state is State.UP)
            assert store.link.number >= 3
            assert store.epoch == first
            await store.append(make_job(2), SOURCE)
            assert [job.seq for job in await store.load_live()] == [1, 2]

    asyncio.run(run())


@with_postgres
async def test_while_the_database_is_away_all_is_refused_and_closing_is_quick(store: PostgresStore) -> None:
    await store.append(make_job(1), SOURCE)
    await asyncio.to_thread(cluster().stop)
    try:
        await until(lambda: store.link.state is State.AWAY)
        for call in (
            store.append(make_job(2), SOURCE), store.apply([start(1)]), store.delete([1], 9.0), store.put_note("n", b""),
            store.get(make_job(1).job_id), store.list(JobQuery()), store.results(1), store.next_due(),
        ):  # fmt: skip
            with pytest.raises(Unavailable) as caught:
                await call
            assert caught.value.extra["retry_after"] > 0
        async with asyncio.timeout(5.0):
            await store.close()
        fresh = PostgresStore(store.link.url)
        with pytest.raises(StoreFailed, match="cannot be used"):
            await fresh.open()
    finally:
        await asyncio.to_thread(cluster().start)


@with_postgres
async def test_a_long_look_up_does_not_hold_up_the_end(store: PostgresStore) -> None:
    look_up = asyncio.ensure_future(store.link.rows("SELECT pg_sleep(60)"))
    waits = asyncio.ensure_future(store.count())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await store.close()
        for read in (look_up, waits):
            with pytest.raises(Unavailable):
                await read


class Proxy:
    """Stands between store and database; can lose a COMMIT, or its answer, or let nobody through."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".s.PGSQL.5432"
        # "before": COMMIT does not arrive; "after": its answer does not; "late": COMMIT arrives after the cut;
        # "silent": nothing comes back any more, and nobody is told
        self.fault = ""
        self.refuse = False
        self.cut = 0
        self.late: list[asyncio.Task[None]] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._carry, self.path)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        inner, outer = await asyncio.open_unix_connection(cluster().get_uri().partition("host=")[2] + "/.s.PGSQL.5432")
        back = asyncio.ensure_future(self._pipe(inner, writer))
        try:
            while data := await reader.read(65536):
                if self.fault and data == b"Q\0\0\0\x0bCOMMIT\0":
                    fault, self.fault, self.cut = self.fault, "", self.cut + 1
                    back.cancel()
                    if fault == "silent":
                        await reader.read()
                    if fault == "after":
                        outer.write(data)
                        await asyncio.wait([back])
                        await inner.read(65536)  # it is committed
                    elif fault == "late":
                        self.late.append(asyncio.ensure_future(self._deliver(outer, data)))
                        outer = None
                    break
                outer.write(data)
        except OSError:
            pass
        finally:
            back.cancel()
            writer.transport.abort()
            if outer is not None:
                outer.transport.abort()

    @staticmethod
    async def _deliver(outer: asyncio.StreamWriter, data: bytes) -> None:
        await asyncio.sleep(0.2)  # a packet on its way; whether it wins against the new owner must not matter
        with contextlib.suppress(OSError):
            outer.write(data)
            outer.close()
            await outer.wait_closed()

    @staticmethod
    async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
            writer.transport.abort()
        except OSError:
            writer.transport.abort()


def proxied(url: str, folder: Path) -> str:
    """The same database through the proxy's socket."""
    start, _, rest = url.partition("host=")
    return f"{start}host={folder}&{rest.partition('&')[2]}"


def with_proxy(folder: Path, scenario: Callable[[Proxy, PostgresStore], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        proxy = Proxy(folder)
        server = await proxy.serve()
        try:
            async with opened(proxied(postgres_kit.url(folder), folder)) as store:
                await scenario(proxy, store)
        finally:
            server.close()
            await asyncio.gather(*proxy.late)

    asyncio.run(run())


@pytest.mark.parametrize("fault", ["before", "after", "late", "silent"])
def test_a_commit_whose_answer_got_lost_is_settled(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "silent":
        monkeypatch.setattr(pg_link, "FLUSH_SECONDS", 0.3)

    async def scenario(proxy: Proxy, store: PostgresStore) -> None:
        await asyncio.gather(*(store.append(make_job(seq), SOURCE) for seq in (1, 2)))
        await store.apply([start(1)])
        proxy.fault = fault
        change = finish(1, results=b"[1]", callbacks=(make_callback(1, "a"),))
        answers = await asyncio.gather(
            store.append(make_job(3), SOURCE), store.apply([change]), store.delete([2], 9.0), return_exceptions=True
        )
        assert proxy.cut == 1
        await until(lambda: store.link.state is State.UP)
        jobs = {job.seq: job.status for job in await store.list(JobQuery())}
        if fault == "after":
            assert answers == [None, [True], [2]]
        else:
            assert all(isinstance(answer, Unavailable) for answer in answers), answers
        if answers[0] is None:
            assert jobs == {1: COMPLETED, 3: QUEUED}
            assert await store.next_due() == 0.0
        else:
            assert jobs == {1: RUNNING, 2: QUEUED}
            assert await store.results(1) is None
            assert await store.next_due() is None
            await store.append(make_job(3), SOURCE)  # a retry is no double
            assert await store.apply([change]) == [True]

    with_proxy(tmp_path, scenario)


def test_a_node_that_others_took_for_dead_writes_nothing_of_what_it_had(tmp_path: Path) -> None:
    async def scenario(proxy: Proxy, store: PostgresStore) -> None:
        fenced: list[int] = []
        store.listen(lambda news: None, lambda: fenced.append(store.epoch), lambda dead, left: None)
        for seq in (1, 2):
            await store.append(make_job(seq), SOURCE)
        epoch, claimed = await store.claim("dummy", 2)
        assert await store.apply([start(job.seq, owner=epoch) for job, _ in claimed]) == [True, True]
        proxy.refuse = True
        store.link.lock.terminate()
        await until(lambda: store.link.state is State.AWAY)
        async with opened(postgres_kit.url(tmp_path)) as other:
            new, jobs, _ = await other.adopt([epoch], [], ["dummy"])
            assert [job.seq for job in jobs] == [1, 2]
            back = start(1, attempt=1, entered_from=(RUNNING,), status=QUEUED, next_attempt=1, owner=new, release=True)
            assert await other.apply([back]) == [True]
            proxy.refuse = False
            await until(lambda: store.link.state is State.UP)
            assert fenced == [store.epoch]
            assert store.epoch > new > epoch
            assert await store.apply([finish(1, owner=epoch), finish(2, owner=epoch)]) == [False, False]
            again, claimed = await store.claim("dummy", 2)
            assert (again, [job.seq for job, _ in claimed]) == (store.epoch, [1])

    with_proxy(tmp_path, scenario)


def test_a_flush_of_an_ended_tenure_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_beat, "BEAT_SECONDS", 100.0)  # it is the flush that finds out

    async def run() -> None:
        url = postgres_kit.url(tmp_path)
        async with opened(url) as store:
            await store.append(make_job(1), SOURCE)
            first = store.epoch
            await asyncio.to_thread(sql, "UPDATE tenure SET ended = true", url)
            with pytest.raises(Unavailable, match="took this one for dead"):
                await store.append(make_job(2), SOURCE)
            await until(lambda: store.epoch > first and store.link.state is State.UP)
            await store.append(make_job(3), SOURCE)
            assert [job.seq for job in await store.load_live()] == [1, 3]

    asyncio.run(run())


def test_a_database_that_lost_acknowledged_commits_is_not_trusted(tmp_path: Path) -> None:
    async def run() -> None:
        url = postgres_kit.url(tmp_path)
        async with opened(url) as store:
            for seq in (1, 2, 3):
                await store.append(make_job(seq), SOURCE)
            await asyncio.to_thread(sql, "UPDATE tenure SET flush = flush - 1", url)  # as an older copy has it
            store.link.lock.terminate()
            await until(lambda: store.link.state is State.FENCED)

    asyncio.run(run())


def test_several_nodes_share_the_jobs_and_claim_each_once_in_order(tmp_path: Path) -> None:
    async def run() -> None:
        url = postgres_kit.url(tmp_path)
        async with opened(url) as one, opened(url) as two:
            jobs = [make_job(0, job_id=make_job(k).job_id, priority=1 + k % 3) for k in range(1, 41)]
            await asyncio.gather(*((one, two)[k % 2].append(job, SOURCE) for k, job in enumerate(jobs)))
            assert sorted(job.seq for job in jobs) == list(range(1, 41))
            batches = await asyncio.gather(*((one, two)[k % 2].claim("dummy", 5) for k in range(8)))
            claimed = [job for _, batch in batches for job, _ in batch]
            assert {source for _, batch in batches for _, source in batch} == {SOURCE}
            assert sorted(job.seq for job in claimed) == list(range(1, 41))
            for _, batch in batches:
                assert [(job.priority, job.seq) for job, _ in batch] == sorted(
                    (job.priority, job.seq) for job, _ in batch
                )
            assert (await one.claim("dummy", 5))[1] == []
            mine, theirs = batches[0][1][0][0].seq, batches[1][1][0][0].seq
            assert await one.apply([start(mine, owner=one.epoch), start(theirs, owner=one.epoch)]) == [True, False]
            assert await two.apply([finish(mine)]) == [True]  # a command of another node needs no claim
            release = start(theirs, status=QUEUED, next_attempt=None, owner=two.epoch, release=True)
            assert await two.apply([release]) == [True]
            assert [job.seq for job, _ in (await one.claim("dummy", 5))[1]] == [theirs]

    asyncio.run(run())


@with_postgres
async def test_the_first_of_several_values_is_kept(store: PostgresStore) -> None:
    values = await asyncio.gather(*(store.keep_note("secret", b"%d" % k) for k in range(5)))
    assert values == [b"0"] * 5
    assert await store.note("secret") == b"0"


def test_deliveries_are_held_by_one_node_until_it_ends(tmp_path: Path) -> None:
    async def run() -> None:
        url = postgres_kit.url(tmp_path)
        async with opened(url) as one:
            async with opened(url) as two:
                await two.append(make_job(1), SOURCE)
                await two.apply([start(1)])
                await two.apply([finish(1, callbacks=tuple(make_callback(1, key) for key in "abc"))])
                assert [row.webhook_id for row in await two.due_callbacks(1.0, 2)] == ["a", "b"]
                assert [row.webhook_id for row in await one.due_callbacks(1.0, 9)] == ["c"]
                await two.put_off_callback("a", 1, 0.5)
                assert [row.webhook_id for row in await one.due_callbacks(1.0, 9)] == ["c", "a"]
            assert [row.webhook_id for row in await one.due_callbacks(1.0, 9)] == ["b", "c", "a"]

    asyncio.run(run())


def test_a_server_of_another_version_and_nodes_exclude_each_other(tmp_path: Path) -> None:
    async def run() -> None:
        url = postgres_kit.url(tmp_path)
        async with opened(url) as first:
            older = await asyncpg.connect(url)  # as a version does that owns the database alone
            lock = "SELECT pg_try_advisory_lock($1::int, hashtext(current_schema()))"
            assert not await older.fetchval(lock, pg_setup.LOCK_CLASS)
            await first.close()
            assert await older.fetchval(lock, pg_setup.LOCK_CLASS)
            second = PostgresStore(url, lock_seconds=0.05)
            with pytest.raises(StoreLocked, match=r"another server \(database process \d+, client local\) holds"):
                await second.open()
            await older.close()
            await second.open()
            await second.close()

    asyncio.run(run())


def test_heartbeats_that_stand_still_are_noticed_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pg_beat, "BEAT_SECONDS", 0.1)

    async def run() -> None:
        url = postgres_kit.url(tmp_path)
        async with opened(url) as one, opened(url) as two:
            seen: list[tuple[int, ...]] = []
            one.listen(lambda news: None, lambda: None, lambda dead, left: seen.append(tuple(dead)))
            await until(lambda: one.others == two.others == 1 and len(seen) > 2 * pg_beat.MISSED)
            assert not any(seen)
            await two.link._heart.stop()
            await until(lambda: seen[-1] == (two.epoch,))

    asyncio.run(run())


def test_an_event_loop_that_does_not_answer_is_noticed_and_keeps_its_jobs_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with opened(postgres_kit.url(tmp_path)) as store:
            heart: Any = store.link._heart
            await heart.stop()  # from here on in this thread
            heart._answered -= pg_beat.LOOP_SLOW
            assert heart._loop_is_alive()
            assert "has not answered for" in caplog.text
            assert "in run" in caplog.text  # what it does
            heart._answered -= pg_beat.LOOP_DEAD
            assert not heart._loop_is_alive()
            await asyncio.sleep(0)
            assert heart._loop_is_alive()

    asyncio.run(run())


def refusal(url: str) -> str:
    async def run() -> str:
        store = PostgresStore(url)
        with pytest.raises(StoreFailed) as caught:
            await store.open()
        return str(caught.value)

    return asyncio.run(run())


def set_everywhere(name: str, value: str) -> None:
    """Change a setting of the whole cluster and wait until new sessions have it."""
    sql(f"ALTER SYSTEM SET {name} = {value}")
    sql("SELECT pg_reload_conf()")
    wanted = "on" if value == "DEFAULT" else value
    while sql(f"SHOW {name}")[0][0] != wanted:
        pass


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_cluster_that_may_lose_commits_is_refused(name: str, tmp_path: Path) -> None:
    url = postgres_kit.url(tmp_path)
    set_everywhere(name, "off")
    try:
        assert f"{name} = off" in refusal(url)
    finally:
        set_everywhere(name, "DEFAULT")


def test_a_session_that_may_lose_commits_is_refused_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_kit.url(tmp_path, synchronous_commit="off")
    assert "synchronous_commit = off" in refusal(url)
    monkeypatch.setenv("QFAST_UNSAFE_STORE", "1")

    async def run() -> None:
        async with opened(url) as store:
            await store.append(make_job(1), SOURCE)

    asyncio.run(run())


def test_a_place_that_is_no_database_is_refused_without_its_password(tmp_path: Path) -> None:
    for place in (tmp_path, "", "postgres", "mysql://h/d"):
        with pytest.raises(ConfigurationInvalid, match="postgresql://"):
            PostgresStore(place)
    for url in (
        f"postgresql://me:s3cret@/db?host={tmp_path}", "postgresql://me:s3cret@127.0.0.1:1/db",
        "postgresql://me:s3cret@127.0.0.1:x/db", "postgresql://me:s3cret#@127.0.0.1/db",
    ):  # fmt: skip
        assert "s3cret" not in refusal(url)


def test_a_database_of_a_newer_qfast_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(postgres_kit.url(tmp_path)):
            pass

    asyncio.run(run())
    url = postgres_kit.url(tmp_path)
    sql("INSERT INTO schema_version VALUES (999);", url)
    assert "schema version 999" in refusal(url)


def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "schema" / "postgres"
    folder.mkdir(parents=True)
    (folder / "0001_jobs.sql").write_text("CREATE TABLE good (a int); CREATE TABLE bad (;")
    url = postgres_kit.url(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pg_setup, "files", lambda _: tmp_path)
        assert "syntax error" in refusal(url)
    assert sql("SELECT to_regclass('good')", url)[0][0] is None

    async def run() -> None:
        async with opened(url) as store:
            assert await store.count() == 0

    asyncio.run(run())


@with_postgres
async def test_what_the_databases_text_cannot_hold_harms_no_neighbour(store: PostgresStore) -> None:
    answers = await asyncio.gather(
        store.append(make_job(1, tags=("a\0b", "é")), SOURCE), store.append(make_job(2, job_name="a\0b"), SOURCE),
        store.append(make_job(3), SOURCE), store.put_note("n", b"1"), return_exceptions=True,
    )  # fmt: skip
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False, False]
    assert [job.tags for job in await store.list(JobQuery(tags=("a\0b",)))] == [("a\0b", "é")]
    assert await store.list(JobQuery(job_name="a\0b")) == []
    assert await store.list(JobQuery(priority=2**80)) == []
    assert await store.note("n") == b"1"


@with_postgres
async def test_writes_issued_together_share_a_flush_and_too_many_are_refused(store: PostgresStore) -> None:
    flusher: Any = store.writer
    before = flusher.flushes
    await asyncio.gather(*(store.append(make_job(seq), SOURCE) for seq in range(1, 101)))
    assert flusher.flushes - before <= 2
    store.backlog = 5
    answers = await asyncio.gather(
        *(store.append(make_job(seq), SOURCE) for seq in range(101, 121)), return_exceptions=True
    )
    assert [type(answer) for answer in answers].count(Unavailable) == 15
    assert flusher.waiting == 0


@with_postgres
async def test_long_sources_are_flushed_in_bounded_batches(store: PostgresStore) -> None:
    source = os.urandom(12 << 20)
    flusher: Any = store.writer
    before = flusher.flushes
    await asyncio.gather(*(store.append(make_job(seq), source, level=0) for seq in range(1, 5)))
    assert flusher.flushes - before >= 2
    assert await store.source(4) == source
