"""Two nodes in one process, on one real PostgreSQL, with a driver that ends when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_service import House

from qfast import wire
from qfast.errors import Conflict
from qfast.session_verbs import SessionVerbs
from qfast.stores import pg_beat


def with_two(
    scenario: Callable[[Any, Any], Coroutine[Any, Any, None]],
) -> Callable[[Path, pytest.MonkeyPatch], None]:
    """A test with two nodes that know of each other, whose hearts beat fast."""

    def test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(House, "kind", "postgres")
        monkeypatch.setattr(pg_beat, "BEAT_SECONDS", 0.1)
        monkeypatch.setattr("qfast.notices.POLL_SECONDS", 0.1)

        async def run() -> None:
            async with House(tmp_path) as one, House(tmp_path) as two:
                await until(lambda: one.store.others == two.store.others == 1)
                await scenario(one, two)
                one.driver.gate.set()
                two.driver.gate.set()

        asyncio.run(run())

    test.__name__ = scenario.__name__
    return test


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20.0):
        while not condition():
            await asyncio.sleep(0.005)


async def occupy(*houses: Any) -> list[str]:
    """A job that holds the only slot of each node."""
    held = []
    while not all(house.backends["dummy"].running for house in houses):
        job = (await houses[0].submit(driver_options={"hold": True}))["job_id"]
        await houses[0].running(job)
        held.append(job)
    return held


@with_two
async def test_what_waits_behind_a_job_that_takes_long_is_handed_to_who_is_free(one: Any, two: Any) -> None:
    for _ in range(20):  # quick ones: from now on several are claimed ahead
        await one.wait((await one.submit())["job_id"])
    held = (await one.submit(driver_options={"hold": True}))["job_id"]
    await one.running(held)
    busy = one if one.backends["dummy"].running else two
    free = two if busy is one else one
    device = free.backends["dummy"].device
    free.backends["dummy"].device = msgspec.structs.replace(device, status="offline")
    jobs = [(await busy.submit())["job_id"] for _ in range(12)]
    busy.live._take_in(*await busy.store.claim("dummy", 12))
    assert len(busy.backends["dummy"].heap) > 0  # some stand at its thread already
    free.backends["dummy"].device = device
    states = {"QUEUED"}
    async with asyncio.timeout(20.0):
        while "QUEUED" in states:
            await asyncio.sleep(0.01)
            states = {(await one.status(job))["job_status"] for job in jobs}
    assert "COMPLETED" in states
    assert not busy.backends["dummy"].heap


@with_two
async def test_a_claimed_job_is_dropped_when_another_node_cancels_or_deletes_it(one: Any, two: Any) -> None:
    held = await occupy(one, two)
    jobs = [(await one.submit())["job_id"] for _ in range(3)]
    epoch, claimed = await one.store.claim("dummy", 3)
    one.live._take_in(epoch, claimed)
    assert len(one.backends["dummy"].heap) == 3
    assert (await two.update(jobs[0], job_priority=9))["job_priority"] == 9
    assert [entry["job_status"] for entry in await two.cancel(jobs[1])] == ["CANCELLED"]
    assert [entry["job_status"] for entry in await two.delete(jobs[2])] == ["DELETED"]
    await until(lambda: len(one.backends["dummy"].heap) <= 1)
    with pytest.raises(Conflict):
        await one.update(jobs[1], job_priority=1)
    assert len(await two.cancel(*held, force=True)) == len(held)
    for job in held:
        assert (await one.wait(job))["job_status"] == "CANCELLED"
    assert (await one.wait(jobs[0]))["job_status"] == "COMPLETED"


@with_two
async def test_a_node_taken_for_dead_starts_anew_and_its_late_end_is_refused(one: Any, two: Any) -> None:
    await occupy(one, two)
    epoch, (mine,) = one.store.epoch, one.backends["dummy"].running.values()
    await one.store.link._heart.stop()  # it lives, but nobody can know
    await until(lambda: one.store.epoch != epoch or not one.live.by_seq)
    assert (await two.status(mine.record.job_id))["job_status"] in ("QUEUED", "RUNNING")
    await until(lambda: one.store.epoch > epoch)
    assert mine.ending
    one.driver.gate.set()  # it ends now
    two.driver.gate.set()
    done = await two.wait(mine.record.job_id)
    assert done["job_status"] == "COMPLETED"
    assert (await two.store.get(mine.record.job_id)).attempt == 2


@with_two
async def test_a_session_outlives_its_node_with_its_timers_and_its_place(one: Any, two: Any) -> None:
    session = await SessionVerbs(one.live).open_session(wire.OpenSessionBody(backend="dummy", max_time=600), None, {})
    first = (await one.submit(session_id=session["id"], driver_options={"hold": True}))["job_id"]
    await one.running(first)
    blocker = (await two.submit(driver_options={"hold": True}))["job_id"]  # the other node's only slot
    await until(lambda: two.backends["dummy"].running)
    outside = [(await two.submit())["job_id"] for _ in range(3)]
    inside = [(await two.submit(session_id=session["id"]))["job_id"] for _ in range(3)]
    before = await one.live.session_view(session["id"])
    assert (before["state"], before["jobs"]["RUNNING"]) == ("active", 1)
    epoch = one.store.epoch
    await one.store.link._heart.stop()  # its node is taken for dead
    await until(lambda: two.live.own_sessions() or one.store.epoch > epoch)
    await until(lambda: two.live.own_sessions() == [session["id"]])
    taken = two.live.sessions.get(session["id"])
    after = await two.live.session_view(session["id"])
    for key in ("started_at", "max_time", "interactive_timeout", "active_timeout", "mode", "accepting_jobs"):
        assert after[key] == before[key]
    assert after["remaining_time"] < before["remaining_time"]
    assert taken.opened_at + 600 == taken.expires_at
    assert after["usage_time"] >= before["usage_time"]
    started: list[str] = []
    take = two.live.take

    def noted(*args: Any, **options: Any) -> Any:
        jobs = take(*args, **options)
        started.extend(job.record.job_id for job in jobs)
        return jobs

    two.live.take = noted
    one.driver.gate.set()
    two.driver.gate.set()
    for job in (blocker, first, *inside):
        assert (await two.wait(job, 60))["job_status"] == "COMPLETED"
    held = [job for job in started if job in (first, *inside, *outside)]
    assert held == [first, *inside]  # in their order, and before all others of the node that has the session
    await two.live.close_session(session["id"], cancel=False)
    for job in outside:
        assert (await two.wait(job, 60))["job_status"] == "COMPLETED"
