"""The event stream: what is told to whom, taking it up again, and the HTTP in front of it."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qfast.events
from qfast.demo import BELL2
from qfast.errors import NotFound, Unavailable
from qfast.events import Events
from qfast.job import FINAL, JobRecord, JobStatus

LIFE = [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING, JobStatus.COMPLETED]


def record_of(job_id: str, status: JobStatus = JobStatus.QUEUED) -> JobRecord:
    return JobRecord(
        seq=1,
        job_id=job_id,
        digest=b"",
        backend="dummy",
        code_type="qasm",
        job_type="sampling",
        job_name=None,
        session_id=None,
        tags=(),
        priority=5,
        status=status,
        spec=b"{}",
    )


class World:
    """Some jobs and the events of their changes."""

    def __init__(self, *job_ids: str) -> None:
        self.records = {job_id: record_of(job_id) for job_id in job_ids}
        self.events = Events(self.find)

    async def find(self, job_id: str) -> JobRecord:
        await asyncio.sleep(0)
        if job_id not in self.records:
            raise NotFound(job_id)
        return self.records[job_id]

    def enter(self, job_id: str, status: JobStatus) -> None:
        self.records[job_id].status = status
        self.events.publish(self.records[job_id])


def told(part: bytes) -> list[tuple[str, str, str]]:
    """(id, job, state) of each event."""
    found = []
    for block in part.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            data = json.loads(fields["data"])
            found.append((fields["id"], data["job_id"], data["job_status"]))
    return found


async def rest_of(stream: Any) -> list[tuple[str, str, str]]:
    events = []
    while (part := await stream.next()) is not None:
        events += told(part)
    stream.close()
    return events


def test_a_follower_hears_the_present_state_and_every_change():
    async def main() -> None:
        world = World("a", "b")
        stream = await world.events.follow(["a"])
        assert [event[1:] for event in told(await stream.next())] == [("a", "QUEUED")]
        for status in (JobStatus.RUNNING, JobStatus.COMPLETED):
            world.enter("b", status)
            world.enter("a", status)
            assert [event[1:] for event in told(await stream.next())] == [("a", status)]
        assert await stream.next() is None
        stream.close()
        assert world.events._followers == {}

    asyncio.run(main())


def test_a_slow_follower_misses_steps_but_never_the_last_state():
    async def main() -> None:
        world = World("a", "b")
        stream = await world.events.follow(["a", "b"])
        await stream.next()
        for status in LIFE[1:]:
            world.enter("a", status)
            world.enter("b", status)
        assert [event[1:] for event in await rest_of(stream)] == [("a", "COMPLETED"), ("b", "COMPLETED")]

    asyncio.run(main())


def test_an_unknown_job_leaves_nothing_behind():
    async def main() -> None:
        world = World("a")
        with pytest.raises(NotFound):
            await world.events.follow(["a", "z"])
        assert world.events._followers == {}

    asyncio.run(main())


def shown(part: bytes | None) -> list[tuple[int, Any]]:
    """(index, row) of each result."""
    assert part is not None
    blocks = [block for block in part.decode().split("\n\n") if block]
    assert all(block.startswith("event: result\ndata: ") for block in blocks)
    data = [json.loads(block.partition("data: ")[2]) for block in blocks]
    return [(one["index"], one["result"]) for one in data]


def test_results_are_told_to_who_asks_and_before_the_end():
    async def test():
        world = World("a", "b")
        asks, plain = await world.events.follow(["a", "b"], results=True), await world.events.follow(["a"])
        assert set(world.events.shown) == {"a", "b"}
        for stream in (asks, plain):
            await stream.next()
        rows = [{"n": k} for k in range(100)]
        first = rows[:2]
        assert not world.events.is_due("a")
        assert world.events.is_due("a")  # one call to the loop is enough
        world.events.show("a", first)
        assert not world.events.is_due("a")
        assert shown(await asks.next()) == [(0, {"n": 0}), (1, {"n": 1})]
        first.extend(rows[2:])  # the run goes on
        world.events.show("a", first)
        world.enter("a", JobStatus.COMPLETED)
        assert plain.rows == {}
        heard = shown(await asks.next()) + shown(await asks.next())
        assert heard == [(k, {"n": k}) for k in range(2, 100)]
        assert [event[1:] for event in told(await asks.next())] == [("a", "COMPLETED")]
        again = [{"n": 0}]
        world.events.show("b", [{"n": 7}])
        assert shown(await asks.next()) == [(0, {"n": 7})]
        world.events.show("b", again)  # its node was restarted, it runs once more
        assert shown(await asks.next()) == [(0, {"n": 0})]
        world.events.show("b", [{"n": object()}, {"n": 1}])  # JSON cannot hold the first
        assert shown(await asks.next()) == [(1, {"n": 1})]
        world.events.rows_of = {"b": again}.get
        late = await world.events.follow(["b"], results=True)
        assert shown(await late.next()) == [(0, {"n": 0})]  # before it came
        late.close()
        asks.close()
        asks.close()
        assert world.events.shown == {}
        plain.close()

    asyncio.run(test())


def test_a_stopping_server_ends_its_streams():
    async def main() -> None:
        world = World("a")
        stream = await world.events.follow(["a"])
        await stream.next()
        world.events.close()
        assert await rest_of(stream) == []
        with pytest.raises(Unavailable):
            await world.events.follow(["a"])

    asyncio.run(main())


def test_silence_is_broken_by_comments(monkeypatch):
    monkeypatch.setattr(qfast.events, "HEARTBEAT", 0.001)

    async def main() -> None:
        world = World("a")
        stream = await world.events.follow(["a"])
        await stream.next()
        assert await stream.next() == b":\n\n"
        stream.close()
        assert world.events._followers == {}

    asyncio.run(main())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 8), st.data())
def test_taking_it_up_again_tells_each_later_change_once(steps, kept, data):
    """However often a follower of all jobs goes and comes again with its last id: it ends with the last state of each job."""

    async def main() -> None:
        world = World("a", "b", "c")
        world.events._kept = type(world.events._kept)(maxlen=kept)
        stage = dict.fromkeys("abc", 0)
        seen: list[tuple[str, str, str]] = []
        stream = await world.events.follow("abc")
        for job_id, leave in steps:
            if stage[job_id] < len(LIFE) - 1:
                stage[job_id] += 1
                world.enter(job_id, LIFE[stage[job_id]])
            if leave:
                if stream.pending and data.draw(st.booleans()):
                    seen += told(await stream.next())
                stream.close()
                stream = await world.events.follow("abc", seen[-1][0] if seen else None)
        for job_id in "abc":
            while stage[job_id] < len(LIFE) - 1:
                stage[job_id] += 1
                world.enter(job_id, LIFE[stage[job_id]])
        seen += await rest_of(stream)
        last_states = {job_id: status for _, job_id, status in seen}
        assert last_states == dict.fromkeys("abc", "COMPLETED")
        assert world.events._followers == {}

    asyncio.run(main())


# ------------------------------------------------------------------ over HTTP


def open_stream(url: str, query: str, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(f"{url}/v1/job/events?{query}", headers=headers), timeout=60)


def states_of(text: bytes) -> list[str]:
    return [state for _, _, state in told(b"\n\n".join(b for b in text.split(b"\n\n") if not b.startswith(b"retry")))]


def test_a_stream_over_http_ends_with_its_job(server, queued):
    job_id = queued()
    with open_stream(server.url, f"job_id={job_id}") as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        lines = iter(stream)
        assert next(lines).startswith(b"retry: ")
        head = [next(lines) for _ in range(4)]
        assert json.loads(head[3].split(b": ", 1)[1])["job_status"] == "QUEUED"
        server.client.cancel_jobs(job_id)
        text = b"".join(lines)
    assert states_of(text.lstrip()) == ["CANCELLED"]
    last_id = told(text.lstrip())[0][0]
    with open_stream(server.url, f"job_id={job_id}", **{"Last-Event-ID": last_id}) as again:
        assert (again.status, again.read()) == (204, b"")
    before = last_id.split("-")[0] + "-" + str(int(last_id.split("-")[1]) - 1)
    with open_stream(server.url, f"job_id={job_id}&last_event_id={before}") as again:
        assert states_of(again.read())[-1] == "CANCELLED"
    with open_stream(server.url, f"job_id={job_id}", **{"Last-Event-ID": "of-another-run-7"}) as again:
        assert states_of(again.read()) == ["CANCELLED"]


def test_several_jobs_in_one_stream(server):
    job_ids = [server.client.submit_job(BELL2)["job_id"] for _ in range(20)]
    with open_stream(server.url, "job_id=" + ",".join(job_ids)) as stream:
        events = told(b"\n\n".join(stream.read().split(b"\n\n")[1:]))
    final = {job_id for _, job_id, state in events if JobStatus(state) in FINAL}
    assert final == set(job_ids)


@pytest.mark.parametrize(
    ("method", "query", "headers", "status", "words"),
    [
        ("GET", "", {}, 400, "job_id is missing"),
        ("GET", "job_id=7", {}, 400, "not a UUID"),
        ("GET", "job_id=%0a", {}, 400, "not a UUID"),
        ("GET", "jobid=7", {}, 400, "did you mean 'job_id'"),
        ("GET", "job_id=" + ",".join(str(uuid.UUID(int=k, version=4)) for k in range(1001)), {}, 400, "at most 1000"),
        ("GET", f"job_id={uuid.UUID(int=1, version=4)}", {}, 404, "not found"),
        ("POST", f"job_id={uuid.UUID(int=1, version=4)}", {}, 405, "GET"),
        ("GET", f"job_id={uuid.UUID(int=1, version=4)}", {"Origin": "http://evil.example"}, 403, "origins"),
        ("GET", f"job_id={uuid.UUID(int=1, version=4)}", {"Host": "evil.example"}, 421, "loopback"),
    ],
)
def test_refusals(server, method, query, headers, status, words):
    request = urllib.request.Request(f"{server.url}/v1/job/events?{query}", headers=headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=60)
    with refusal.value as answer:
        assert answer.code == status
        assert words in json.loads(answer.read())["detail"]


def test_clients_that_go_away_leave_the_server_answering(server, queued):
    job_id = queued()
    parts = urlsplit(server.url)
    for _ in range(50):
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as line:
            line.sendall(f"GET /v1/job/events?job_id={job_id} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            assert b"200 OK" in line.recv(4096)
    server.client.cancel_jobs(job_id)
    assert server.client.ping("still there")["message"] == "still there"
