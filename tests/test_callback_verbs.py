"""The verbs on deliveries, on every kind of store: what became of them, and once more with the same content."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid

import pytest
from conftest import DEVICES
from test_callbacks import Receiver, status
from test_service import House, kind, with_house

from qfast import cli, wire
from qfast.callback_verbs import CallbackVerbs
from qfast.callbacks import AddressGuard, Deliverer
from qfast.client import Client
from qfast.demo import BELL2, local_server
from qfast.errors import InvalidParams, NotFound

__all__ = ["kind"]  # the fixture


def hook(path="x", **fields):
    return {
        **{"name": "cb", "type": "results", "method": "post", "url": f"http://127.0.0.1:9/{path}?key=secret"},
        **{"headers": {}, "retries": 3, "timeout": 10},
        **fields,
    }


class Desk:
    """The verbs, and the deliverer's part played by hand."""

    def __init__(self, house: House) -> None:
        self.house, self.store = house, house.store
        self.verbs = CallbackVerbs(house.live)

    async def job(self, *hooks, **fields):
        job = await self.house.submit(callbacks=list(hooks), **fields)
        return (await self.house.wait(job["job_id"]))["job_id"]

    async def listed(self, caller=None, **filters):
        return await self.verbs.get_callbacks(None, wire.CallbackFilters(**filters), caller or {})

    async def replay(self, caller=None, **fields):
        rows = await self.verbs.replay_callbacks(wire.ReplayBody(**fields), None, caller or {})
        return [row["webhook_id"] for row in rows]

    async def owed(self):
        return {row.webhook_id: row for row in await self.store.due_callbacks(2**40, 100)}


def key_of(job_id, index=0):
    return f"msg_{job_id.replace('-', '')}_{index}"


def test_a_delivery_is_listed_from_owed_to_its_end(tmp_path):
    async def test(house):
        desk = Desk(house)
        job_id = await desk.job(hook("a"), hook("b", retries=0))
        first, second = key_of(job_id), key_of(job_id, 1)
        rows = await desk.listed()
        assert [row["webhook_id"] for row in rows] == [second, first]
        assert rows[1] == {
            **{"webhook_id": first, "job_id": job_id, "name": "cb", "url": "http://127.0.0.1:9/a", "state": "owed"},
            **{"attempts": 0, "max_attempts": 3, "last_result": None, "ended_at": None},
            "next_attempt": rows[1]["next_attempt"],
        }
        assert rows[0]["max_attempts"] == 1
        await desk.owed()
        await desk.store.put_off_callback(first, 1, 2e9, "status 500, try 1")
        await desk.store.put_off_callback(first, 1, 2e9)  # moved, and the note stays
        await desk.store.end_callback(second, True, "status 204, try 1")
        second_row, first_row = await desk.listed()
        assert (first_row["attempts"], first_row["last_result"]) == (1, "status 500, try 1")
        assert first_row["next_attempt"].startswith("2033-05-18T03:33:20")
        assert (second_row["state"], second_row["attempts"], second_row["url"]) == (
            "delivered",
            1,
            "http://127.0.0.1:9/b",
        )
        assert second_row["next_attempt"] is None
        now = (await house.status(job_id))["ended_at"]
        assert second_row["ended_at"] > "2020" and now > "2020"
        await desk.store.end_callback(first, False, "status 500, try 2")
        assert [row["state"] for row in await desk.listed()] == ["delivered", "given_up"]

    with_house(tmp_path, test)


def test_the_list_filters_and_pages(tmp_path):
    async def test(house):
        desk = Desk(house)
        jobs = [await desk.job(hook(), hook()) for _ in range(3)]
        await desk.owed()
        for job_id, delivered in ((jobs[0], True), (jobs[1], False)):
            await desk.store.end_callback(key_of(job_id), delivered, "x")
        order = [key_of(job_id, index) for job_id in reversed(jobs) for index in (1, 0)]
        keys = lambda rows: [row["webhook_id"] for row in rows]  # noqa: E731
        assert keys(await desk.listed()) == order
        assert keys(await desk.listed(job_ids=[jobs[0], str(uuid.uuid4())])) == order[4:]
        assert keys(await desk.listed(webhook_ids=[order[2]])) == [order[2]]
        assert keys(await desk.listed(state="given_up")) == [key_of(jobs[1])]
        assert keys(await desk.listed(state=["delivered", "given_up"])) == [key_of(jobs[1]), key_of(jobs[0])]
        assert keys(await desk.listed(state="owed", limit=2)) == order[:2]
        page = await desk.listed(limit=2)
        seen = []
        while page:
            seen += keys(page)
            page = await desk.listed(limit=2, before=seen[-1])
        assert seen == order
        with pytest.raises(NotFound):
            await desk.listed(before=key_of(str(uuid.uuid4())))

    with_house(tmp_path, test)


def test_a_replay_has_the_id_and_the_content_of_the_first_time(tmp_path):
    async def test(house):
        desk = Desk(house)
        done = await desk.job(hook("a", headers={"X-A": "1"}), hook("b"), shots=7)
        failed = await desk.job(hook(), driver_options={"fail": True})
        blocker = await house.holder()
        cancelled = (await house.submit(callbacks=[hook()]))["job_id"]
        await house.cancel(cancelled)
        keys = [key_of(done), key_of(done, 1), key_of(failed), key_of(cancelled)]
        before = await desk.owed()
        assert set(before) == set(keys)
        for key in keys:
            await desk.store.end_callback(key, False, "no connection, try 3")
        assert await desk.owed() == {}
        assert sorted(await desk.replay(webhook_ids=keys)) == sorted(keys)
        after = await desk.owed()
        for key in keys:
            assert (after[key].body, after[key].spec, after[key].tries) == (before[key].body, before[key].spec, 0)
        assert {row["state"] for row in await desk.listed()} == {"owed"}
        await desk.store.end_callback(keys[0], True, "status 200, try 1")
        (row,) = await desk.listed(webhook_ids=[keys[0]])
        assert (row["state"], row["attempts"]) == ("delivered", 1)
        await house.cancel(blocker, force=True)

    with_house(tmp_path, test)


def test_what_a_replay_takes(tmp_path):
    async def test(house):
        desk = Desk(house)
        job_id = await desk.job(hook(), hook(), hook())
        keys = [key_of(job_id, index) for index in range(3)]
        await desk.owed()
        await desk.store.end_callback(keys[0], True, "status 200, try 1")
        await desk.store.end_callback(keys[1], False, "status 410, try 1")
        await desk.store.put_off_callback(keys[2], 2, 2e9, "status 500, try 2")
        assert set(await desk.replay(job_ids=[job_id])) == set(keys[1:])
        owed = await desk.owed()
        assert owed[keys[2]].due_at < 2e9  # at once, and its tries go on
        assert owed[keys[2]].tries == 2
        assert set(await desk.replay(job_ids=[job_id], delivered=True)) == set(keys)
        assert await desk.replay(webhook_ids=[key_of(str(uuid.uuid4()))]) == []
        with pytest.raises(InvalidParams, match="give webhook_ids or job_ids"):
            await desk.replay()
        for key in keys:
            await desk.store.end_callback(key, True, "status 200, try 1")
        await house.delete(job_id)
        assert await desk.listed() == []
        assert await desk.replay(webhook_ids=keys) == []

    with_house(tmp_path, test)


def test_what_a_deleted_job_owes_is_still_listed_and_comes_forward(tmp_path):
    async def test(house):
        desk = Desk(house)
        job_id = await desk.job(hook())
        await desk.owed()
        await desk.store.put_off_callback(key_of(job_id), 1, 2e9, "status 500, try 1")
        await house.delete(job_id)
        (row,) = await desk.listed()
        assert (row["job_id"], row["state"], row["attempts"]) == (job_id, "owed", 1)
        assert await desk.replay(webhook_ids=[key_of(job_id)]) == [key_of(job_id)]
        assert (await desk.owed())[key_of(job_id)].due_at < 2e9

    with_house(tmp_path, test)


def test_foreign_deliveries_do_not_exist(tmp_path):
    async def test(house):
        desk = Desk(house)
        red, blue = {"key": "r", "tenant": "red"}, {"key": "b", "tenant": "blue"}
        job = await house.submit(red, callbacks=[hook()])
        await house.wait(job["job_id"])
        key = key_of(job["job_id"])
        assert [row["webhook_id"] for row in await desk.listed(red)] == [key]
        assert await desk.listed(blue) == await desk.listed(blue, webhook_ids=[key]) == []
        assert await desk.replay(blue, webhook_ids=[key], job_ids=[job["job_id"]]) == []
        assert await desk.replay(red, webhook_ids=[key]) == [key]
        with pytest.raises(NotFound):
            await desk.listed(blue, before=key)
        assert [row["webhook_id"] for row in await desk.listed({**blue, "all": "yes"})] == [key]

    with_house(tmp_path, test)


def test_the_deliverer_posts_a_replay_as_it_posted_before(tmp_path):
    async def test(house):
        async with Receiver() as receiver:
            receiver.answers["/x"] = [status("410 Gone"), status("204 No Content")]
            guard = AddressGuard(loopback_only=True)
            deliverer = Deliverer(house.store, guard=guard, signing_secret="whsec_" + "a2tr" * 8)
            house.live._ended = deliverer.notify
            task = asyncio.create_task(deliverer.run())
            desk = Desk(house)
            job_id = await desk.job(hook(url=f"http://127.0.0.1:{receiver.port}/x"))
            while not await desk.listed(state="given_up"):
                await asyncio.sleep(0.005)
            assert await desk.replay(job_ids=[job_id]) == [key_of(job_id)]
            while not await desk.listed(state="delivered"):
                await asyncio.sleep(0.005)
            (_, first, body), (_, second, again) = receiver.of("/x")
            assert (first["webhook-id"], body) == (second["webhook-id"], again)
            await deliverer.close()
            await task

    with_house(tmp_path, test)


def test_client_and_command_line(tmp_path, capsys, kind):
    if kind != "sqlite":
        pytest.skip("once is enough: the verbs above run on every store")
    devices = tmp_path / "devices.toml"
    devices.write_text(DEVICES)
    with local_server(tmp_path / "data", "--devices", str(devices)) as (url, _):
        client = Client(url)
        with socket.socket() as nobody:  # bound, and not listening
            nobody.bind(("127.0.0.1", 0))
            there = f"http://127.0.0.1:{nobody.getsockname()[1]}/x"
        job_id = client.submit_job(BELL2, callbacks=[hook(url=there, retries=1)])["job_id"]
        client.wait(job_id, 60)
        while not client.get_callbacks(job_ids=[job_id], state="given_up"):
            pass
        assert cli.main(["callbacks", "list", "--url", url, "--job", job_id]) == 0
        out = capsys.readouterr().out
        assert key_of(job_id) in out
        assert "no connection" in out
        assert cli.main(["callbacks", "replay", "--url", url, "--json", "--job", job_id]) == 0
        assert json.loads(capsys.readouterr().out) == [
            {"webhook_id": key_of(job_id), "job_id": job_id, "state": "owed"}
        ]
        assert cli.main(["callbacks", "replay", "--url", url, key_of(str(uuid.uuid4()))]) == 1
        assert cli.main(["callbacks", "replay", "--url", url]) == 1
        assert "give webhook_ids or job_ids" in capsys.readouterr().err
