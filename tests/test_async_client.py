"""The asynchronous client against a real server: the verbs, waiting over shared streams, and what goes wrong."""

from __future__ import annotations

import asyncio
import inspect
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from stand_in import RefusalError, stand_in

import qfast
from qfast import errors
from qfast.async_client import AsyncClient, ConnectionError, JobFailed
from qfast.client import Client
from qfast.demo import BELL2

UNKNOWN = str(uuid.UUID(int=77, version=4))


@asynccontextmanager
async def client_of(server: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url) as client:
        yield client


def test_it_has_the_verbs_of_the_client():
    skipped = {"close", "devices", "version", "ping"}
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_") or name in skipped:
            continue
        other = getattr(AsyncClient, name)
        assert list(inspect.signature(other).parameters) == list(inspect.signature(method).parameters), name
    assert qfast.AsyncClient is AsyncClient


def test_many_runs_at_once_share_a_few_streams(server):
    async def main() -> None:
        async with client_of(server) as client:
            most = 0
            running = [asyncio.ensure_future(client.run(BELL2, shots=100)) for _ in range(300)]
            while not all(run.done() for run in running):
                most = max(most, len(client._watch._streams))
                await asyncio.sleep(0)
            for run in running:
                assert sum(run.result()[0]["results"].values()) == 100
            assert client._watch._waiting == {}
            assert most <= 8

    asyncio.run(main())


def test_the_verbs(server, queued):
    job_id = queued()

    async def main() -> None:
        async with client_of(server) as client:
            assert (await client.get_job_status(job_id))["job_status"] == "QUEUED"
            assert (await client.update_job(job_id, job_priority=2))["job_priority"] == 2
            assert [job["job_id"] for job in await client.get_jobs(job_ids=[job_id])] == [job_id]
            with pytest.raises(TimeoutError, match="QUEUED"):
                await client.wait(job_id, timeout=0.01)
            waits = [asyncio.ensure_future(client.wait(job_id)) for _ in range(3)]
            seen = []
            states = client.follow(job_id)
            seen.append((await anext(states))["job_status"])
            assert [job["job_id"] for job in await client.cancel_jobs(job_id)] == [job_id]
            seen += [event["job_status"] async for event in states]
            assert seen == ["QUEUED", "CANCELLED"]
            assert {job["job_status"] for job in await asyncio.gather(*waits)} == {"CANCELLED"}
            assert (await client.get_job_results(job_id))["results"] is None
            assert len(await client.delete_jobs([job_id])) == 1
            assert await client.batch([("ping", None)]) != []

    asyncio.run(main())


def test_results_from_outside(server, async_backend):
    async def main() -> None:
        async with client_of(server) as client:
            job = await client.submit_job(BELL2, backend=async_backend)
            while (await client.get_job_status(job["job_id"]))["job_status"] != "RUNNING":
                await asyncio.sleep(0)
            waiting = asyncio.ensure_future(client.wait(job["job_id"]))
            await client.set_job_results(job["job_id"], [{"00": 5}])
            assert (await waiting)["job_status"] == "COMPLETED"

    asyncio.run(main())


def test_an_unknown_job_fails_its_own_wait_only(server, queued):
    job_id = queued()

    async def main() -> None:
        async with client_of(server) as client:
            good = asyncio.ensure_future(client.wait(job_id))
            bad = asyncio.ensure_future(client.wait(UNKNOWN))
            with pytest.raises(errors.NotFound):
                await bad
            assert not good.done()
            await client.cancel_jobs(job_id)
            assert (await good)["job_status"] == "CANCELLED"
            with pytest.raises(errors.NotFound):
                await anext(client.follow([UNKNOWN]))

    asyncio.run(main())


def test_waits_that_begin_one_after_the_other_are_merged(server, queued):
    job_ids = [queued() for _ in range(12)]

    async def main() -> None:
        async with client_of(server) as client:
            waits = []
            for job_id in job_ids:
                waits.append(asyncio.ensure_future(client.wait(job_id)))
                await client.call("ping", {"message": ""})
            assert len(client._watch._streams) <= 4
            await client.cancel_jobs(job_ids)
            assert [job["job_status"] for job in await asyncio.gather(*waits)] == ["CANCELLED"] * len(job_ids)

    asyncio.run(main())


def test_a_failed_job_and_a_refused_call(server):
    async def main() -> None:
        async with client_of(server) as client:
            with pytest.raises(JobFailed, match="FAILED"):
                await client.run("OPENQASM 2.0; qreg q[1]; nope q[0];")
            with pytest.raises(errors.InvalidParams):
                await client.submit_job(BELL2, shots=0)

    asyncio.run(main())


def test_closing_ends_waits(server, queued):
    job_id = queued()

    async def main() -> None:
        client = AsyncClient(server.url)
        wait = asyncio.ensure_future(client.wait(job_id))
        await client.get_job_status(job_id)
        await client.close()
        with pytest.raises(ConnectionError, match="closed"):
            await wait

    asyncio.run(main())


def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def main() -> None:
        async with AsyncClient(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(ConnectionError, match="qfast serve"):
                await client.get_jobs()
            with pytest.raises(ConnectionError, match="qfast serve"):
                await client.wait(UNKNOWN, timeout=30)

    asyncio.run(main())
    with pytest.raises(ValueError, match="is not a URL"):
        AsyncClient("ftp://somewhere")


def test_a_call_is_sent_once_more_when_the_connection_was_closed():
    def answer(method: str, params: Any) -> Any:
        if method == "refuse":
            raise RefusalError(-409, "no")
        return params["body"]

    async def main(url: str) -> None:
        async with AsyncClient(url, timeout=10) as client:
            assert await client.call("echo", 1) == 1
            assert await client.call("echo", 2) == 2
            with pytest.raises(errors.Conflict):
                await client.call("refuse")

    with stand_in(answer) as (url, record):
        record.hang_up = lambda number: number == 2
        asyncio.run(main(url))
        assert len(record.requests) == 4
