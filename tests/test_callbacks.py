"""The deliverer against receivers of every kind, on loopback, with a real store as the outbox."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import orjson
import pytest

from qfast import __version__, callbacks
from qfast.addresses import AddressGuard
from qfast.callbacks import Deliverer, load_secret, retry_after, sign
from qfast.errors import StoreFailed, Unavailable
from qfast.job import CallbackRecord, Change, JobRecord, JobStatus
from qfast.stores.sqlite import SqliteStore

LOOPBACK = AddressGuard(loopback_only=True)
LOOPBACK_NAMES = AddressGuard(False, (ip_network("127.0.0.0/8"),))  # names may lead to loopback, and to the world
PUBLIC = AddressGuard(loopback_only=False)
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY = b'{"job_id":"1","job_status":"COMPLETED"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HANG = b"hang"
DEADLINE = 20.0  # seconds; the tests wait for conditions, this only ends a broken run


def status(line: str, extra: str = "") -> bytes:
    return f"HTTP/1.1 {line}\r\n{extra}Content-Length: 0\r\n\r\n".encode()


class Receiver:
    """Answers the n-th request of a path with the n-th of its answers, and with the last of them from then on."""

    def __init__(self) -> None:
        self.answers: dict[str, list[bytes]] = {}
        self.hits: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.most_at_once: dict[str, int] = {}
        self._open: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            first = await reader.readline()
            if first.startswith(b"POST"):
                await self._answer(first.split()[1].decode(), reader, writer)
            else:
                self.hits.append((repr(first), {}, b""))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = {}
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers["content-length"]))
        answers = self.answers.get(path, [OK])
        seen = len(self.of(path))
        self.hits.append((path, headers, body))
        self._open[path] = self._open.get(path, 0) + 1
        self.most_at_once[path] = max(self.most_at_once.get(path, 0), self._open[path])
        self._changed.set()
        answer = answers[min(seen, len(answers) - 1)]
        try:
            if answer == HANG:
                await reader.read()  # until the caller gives up
            else:
                writer.write(answer)
                await writer.drain()
        finally:
            self._open[path] -= 1

    def of(self, path: str) -> list[tuple[str, dict[str, str], bytes]]:
        return [hit for hit in self.hits if hit[0] == path]

    async def wait_for_all(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.hits) < count:
                self._changed.clear()
                await self._changed.wait()

    async def wait(self, path: str, count: int) -> list[tuple[str, dict[str, str], bytes]]:
        async with asyncio.timeout(DEADLINE):
            while len(self.of(path)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.of(path)


class Desk:
    """A store, a receiver and a running deliverer."""

    def __init__(self, directory: Path, receiver: Receiver) -> None:
        self.store = SqliteStore(directory)
        self.receiver = receiver
        self.rows = 0
        self.deliverer: Deliverer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, guard: AddressGuard = LOOPBACK, **options: Any) -> None:
        self.deliverer = Deliverer(self.store, time.time, guard=guard, signing_secret=SECRET, **options)
        self._task = asyncio.create_task(self.deliverer.run())

    async def stop(self, grace: float = 0.0) -> None:
        if self.deliverer is not None and self._task is not None:
            async with asyncio.timeout(DEADLINE):
                await self.deliverer.close(grace)
                await self._task

    async def owe(self, *urls: str, due_at: float = 0.0, **spec: Any) -> list[str]:
        """A job that ends with these callbacks; a URL may be only a path at the receiver."""
        self.rows += 1
        seq = self.rows
        job = JobRecord(
            seq=seq, job_id=f"job-{seq}", digest=b"", backend="dummy", code_type="qasm", job_type="sampling", job_name=None,
            session_id=None, tags=(), priority=5, status=JobStatus.QUEUED, spec=b"{}",
        )  # fmt: skip
        whole = [url if "://" in url else f"http://127.0.0.1:{self.receiver.port}{url}" for url in urls]
        owed = tuple(
            CallbackRecord(
                webhook_id=f"msg_{seq}_{index}", seq=seq, spec=orjson.dumps({"url": url, "retries": 3, "timeout": 10} | spec),
                body=BODY, due_at=due_at,
            )
            for index, url in enumerate(whole)
        )  # fmt: skip
        end = Change(
            seq=seq, attempt=0, entered_from=(JobStatus.QUEUED,), status=JobStatus.FAILED, at=1.0, callbacks=owed
        )
        await self.store.append(job, b"[]")
        assert await self.store.apply([end]) == [True]
        if self.deliverer is not None:
            self.deliverer.notify()
        return [row.webhook_id for row in owed]

    def log(self) -> dict[str, tuple[bool, str]]:
        rows = self.store._rows("SELECT webhook_id, delivered, note FROM callback_log")
        return {key: (bool(delivered), note) for key, delivered, note in rows}

    async def ended(self, *keys: str) -> list[tuple[bool, str]]:
        """Wait until these deliveries have ended; how."""
        async with asyncio.timeout(DEADLINE):
            while not set(keys) <= set(self.log()):
                await asyncio.sleep(0.005)
        return [self.log()[key] for key in keys]


def with_desk(scenario: Callable[[Desk], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(callbacks, "FIRST_PAUSE", 0.02)

        async def run() -> None:
            async with Receiver() as receiver:
                desk = Desk(tmp_path, receiver)
                await desk.store.open()
                try:
                    await scenario(desk)
                finally:
                    await desk.stop()
                    await desk.store.close()

        asyncio.run(run())

    test.__name__ = scenario.__name__
    return test


@with_desk
async def test_a_delivery_carries_body_headers_and_signature(desk: Desk) -> None:
    await desk.start()
    began = int(time.time())
    (key,) = await desk.owe("/a?b=%2F", headers={"X-Check": "yes", "Accept": "text/plain"})
    assert await desk.ended(key) == [(True, "status 200, try 1")]
    ((_, headers, body),) = desk.receiver.of("/a?b=%2F")
    assert body == BODY
    assert headers["content-type"] == "application/json"
    assert headers["accept"] == "text/plain"
    assert headers["x-check"] == "yes"
    assert headers["user-agent"] == f"qfast/{__version__}"
    assert headers["webhook-id"] == key
    assert began <= int(headers["webhook-timestamp"]) <= time.time()
    content = f"{key}.{headers['webhook-timestamp']}.".encode() + BODY
    digest = hmac.new(b"k" * 32, content, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert await desk.store.next_due() is None


@with_desk
async def test_a_failed_try_is_repeated_under_the_same_id(desk: Desk) -> None:
    await desk.start()
    desk.receiver.answers["/x"] = [status("500 Internal Server Error"), b"SSH-2.0-none\r\n", OK]
    (key,) = await desk.owe("/x")
    assert await desk.ended(key) == [(True, "status 200, try 3")]
    assert [headers["webhook-id"] for _, headers, _ in desk.receiver.of("/x")] == [key] * 3


GARBAGE = {
    "/text": b"SSH-2.0-none\r\n",
    "/nothing": b"",
    "/binary": bytes(range(256)),
    "/lying": b"HTTP/1.1 999999 \r\n\r\n",
    "/length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "/header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    "/moved": status("302 Found", "Location: /followed\r\n"),
    "/continued": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@with_desk
async def test_garbage_costs_tries_and_nothing_else(desk: Desk) -> None:
    await desk.start()
    desk.receiver.answers.update((path, [answer]) for path, answer in GARBAGE.items())
    keys = [(await desk.owe(path, retries=2))[0] for path in GARBAGE]
    ends = await desk.ended(*keys)
    assert not any(delivered for delivered, _ in ends)
    assert all(note.endswith("try 2") for _, note in ends)
    assert all(len(desk.receiver.of(path)) == 2 for path in GARBAGE)
    assert desk.receiver.of("/followed") == []
    (key,) = await desk.owe("/fine")
    assert await desk.ended(key) == [(True, "status 200, try 1")]


@with_desk
async def test_the_tries_end(desk: Desk) -> None:
    await desk.start()
    desk.receiver.answers["/x"] = [status("503 Busy")]
    keys = [(await desk.owe("/x", retries=retries))[0] for retries in (0, 1, 4)]
    assert await desk.ended(*keys) == [(False, f"status 503, try {tries}") for tries in (1, 1, 4)]
    assert len(desk.receiver.of("/x")) == 6


@with_desk
async def test_gone_means_gone(desk: Desk) -> None:
    await desk.start()
    desk.receiver.answers["/x"] = [status("410 Gone")]
    (key,) = await desk.owe("/x", retries=10)
    assert await desk.ended(key) == [(False, "status 410, try 1")]


@with_desk
async def test_a_receiver_that_asks_for_a_pause_gets_it(desk: Desk) -> None:
    await desk.start()
    desk.receiver.answers["/x"] = [status("429 Too Many Requests", "Retry-After: 200\r\n"), OK]
    before = time.time()
    await desk.owe("/x")
    async with asyncio.timeout(DEADLINE):
        while (await desk.store.next_due() or 0.0) < before + 200:
            await asyncio.sleep(0.005)
    assert (await desk.store.next_due() or 0.0) <= time.time() + 200
    assert len(desk.receiver.of("/x")) == 1


@with_desk
async def test_a_silent_receiver_is_left_after_the_timeout(desk: Desk) -> None:
    await desk.start()
    desk.receiver.answers["/x"] = [HANG]
    (key,) = await desk.owe("/x", retries=2, timeout=0.05)
    assert await desk.ended(key) == [(False, "no answer in time, try 2")]


@with_desk
async def test_an_endless_answer_is_not_read(desk: Desk) -> None:
    await desk.start()
    desk.receiver.answers["/x"] = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 5_000_000]
    (key,) = await desk.owe("/x")
    assert await desk.ended(key) == [(True, "status 200, try 1")]


@with_desk
async def test_a_slow_receiver_delays_nobody_else(desk: Desk) -> None:
    async with Receiver() as slow:
        slow.answers["/slow"] = [HANG]
        stuck = f"http://127.0.0.1:{slow.port}/slow"
        for _ in range(20):
            await desk.owe(stuck, stuck, stuck, stuck, stuck, timeout=60)
        await desk.start()
        keys = [(await desk.owe("/fast", due_at=1.0))[0] for _ in range(30)]
        assert await desk.ended(*keys) == [(True, "status 200, try 1")] * 30
        assert slow.most_at_once["/slow"] <= callbacks.TARGET_SLOTS
        await desk.stop()


def test_many_rows_of_a_slow_receiver_hide_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "FETCH", 8)
    monkeypatch.setattr(callbacks, "HELD", 2)

    async def scenario(desk: Desk) -> None:
        async with Receiver() as slow:
            slow.answers["/slow"] = [HANG]
            for _ in range(10):
                await desk.owe(*[f"http://127.0.0.1:{slow.port}/slow"] * 10, timeout=60)
            keys = [(await desk.owe("/fast", due_at=1.0))[0] for _ in range(5)]
            await desk.start()
            assert await desk.ended(*keys) == [(True, "status 200, try 1")] * 5
            await desk.stop()

    with_desk(scenario)(tmp_path, monkeypatch)


@with_desk
async def test_a_crowd_for_one_receiver_is_all_delivered_once(desk: Desk) -> None:
    await desk.start()
    keys = [key for _ in range(20) for key in await desk.owe(*["/x"] * 20)]
    assert await desk.ended(*keys) == [(True, "status 200, try 1")] * 400
    assert sorted(headers["webhook-id"] for _, headers, _ in desk.receiver.of("/x")) == sorted(keys)
    assert desk.receiver.most_at_once["/x"] <= callbacks.TARGET_SLOTS


@with_desk
async def test_a_new_deliverer_goes_on_where_the_old_one_stopped(desk: Desk) -> None:
    desk.receiver.answers["/x"] = [HANG, OK]
    await desk.start()
    (key,) = await desk.owe("/x", timeout=60)
    await desk.receiver.wait("/x", 1)
    await desk.stop(grace=0.01)
    assert desk.log() == {}
    await desk.start()
    assert await desk.ended(key) == [(True, "status 200, try 1")]
    assert [headers["webhook-id"] for _, headers, _ in desk.receiver.of("/x")] == [key] * 2


@with_desk
async def test_every_delivery_arrives_through_faults_and_restarts(desk: Desk) -> None:
    chance = random.Random(7)
    faults = [status("500 Oops"), b"SSH-2.0-none\r\n", b"", HANG, status("429 Slow down", "Retry-After: 0\r\n")]
    keys = []
    for number in range(40):
        path = f"/{number}"
        desk.receiver.answers[path] = [*chance.choices(faults, k=chance.randrange(5)), OK]
        keys += await desk.owe(path, retries=10, timeout=0.2)
    for restart in range(5):
        await desk.start()
        await desk.receiver.wait_for_all(60 + 10 * restart)
        await desk.stop(grace=0.0)
    await desk.start()
    assert all(delivered for delivered, _ in await desk.ended(*keys))
    for number, key in enumerate(keys):
        hits = desk.receiver.of(f"/{number}")
        assert {headers["webhook-id"] for _, headers, _ in hits} == {key}
        assert {body for *_, body in hits} == {BODY}
        assert len(hits) >= len(desk.receiver.answers[f"/{number}"])


@with_desk
async def test_closing_lets_a_post_end(desk: Desk) -> None:
    await desk.start()
    (key,) = await desk.owe("/x")
    await desk.receiver.wait("/x", 1)
    await desk.stop(grace=DEADLINE)
    assert desk.log() == {key: (True, "status 200, try 1")}


@with_desk
async def test_a_deliverer_that_never_ran_can_be_closed(desk: Desk) -> None:
    await Deliverer(desk.store, guard=LOOPBACK, signing_secret=SECRET).close()


@with_desk
async def test_a_deleted_job_is_still_told(desk: Desk) -> None:
    desk.receiver.answers["/x"] = [HANG, OK]
    await desk.start()
    await desk.owe("/x", timeout=0.2)
    await desk.receiver.wait("/x", 1)
    await desk.store.delete([1], until=0.0)
    await desk.receiver.wait("/x", 2)
    async with asyncio.timeout(DEADLINE):
        while await desk.store.next_due() is not None:
            await asyncio.sleep(0.005)
    assert desk.log() == {}


def resolving(answers: list[list[str]]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver whose answer changes with each question."""

    async def addresses(host: str, port: int) -> list[str]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return addresses


@with_desk
async def test_a_name_that_points_inside_is_refused_at_connect(desk: Desk) -> None:
    await desk.start(
        PUBLIC, addresses=resolving([["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]])
    )
    (key,) = await desk.owe(f"http://hooks.example:{desk.receiver.port}/x", retries=4)
    ((delivered, note),) = await desk.ended(key)
    assert not delivered
    assert "refused" in note
    assert desk.receiver.connections == 0


@with_desk
async def test_a_name_is_called_at_the_address_that_was_judged(desk: Desk) -> None:
    guard = AddressGuard(False, (ip_network("127.0.0.0/8"),))
    await desk.start(guard, addresses=resolving([["127.0.0.1"], ["10.0.0.1"]]))
    (key,) = await desk.owe(f"http://hooks.example:{desk.receiver.port}/x")
    assert await desk.ended(key) == [(True, "status 200, try 1")]
    assert desk.receiver.of("/x")[0][1]["host"] == f"hooks.example:{desk.receiver.port}"


@with_desk
async def test_a_name_whose_address_changes_opens_nothing(desk: Desk) -> None:
    """DNS rebinding: an answer is asked for once a post, and judged; the connection goes where that answer said."""
    asked: list[str] = []
    answers = iter([["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "169.254.169.254"], ["127.0.0.1"]])

    async def addresses(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    await desk.start(LOOPBACK_NAMES, addresses=addresses)
    desk.receiver.answers["/x"] = [status("500 Oops"), OK]
    (key,) = await desk.owe(f"http://hooks.example:{desk.receiver.port}/x", retries=4)
    assert await desk.ended(key) == [(True, "status 200, try 4")]
    assert (len(asked), len(desk.receiver.of("/x")), desk.receiver.connections) == (4, 2, 2)


@with_desk
async def test_neither_redirects_nor_proxies_lead_elsewhere(desk: Desk) -> None:
    elsewhere = f"http://127.0.0.1:{desk.receiver.port}/elsewhere"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            patch.setenv(name, elsewhere)
        await desk.start()
        desk.receiver.answers["/x"] = [
            status(f"{code} Moved", f"Location: {elsewhere}\r\n") for code in (301, 302, 303, 307, 308)
        ]
        (key,) = await desk.owe("/x", retries=5)
        assert await desk.ended(key) == [(False, "status 308, try 5")]
    assert [path for path, _, _ in desk.receiver.hits] == ["/x"] * 5


@with_desk
async def test_localhost_is_called(desk: Desk) -> None:
    await desk.start()
    (key,) = await desk.owe(f"http://localhost:{desk.receiver.port}/x")
    assert await desk.ended(key) == [(True, "status 200, try 1")]


@with_desk
async def test_what_an_earlier_configuration_accepted_is_judged_again(desk: Desk) -> None:
    await desk.start(PUBLIC)
    (key,) = await desk.owe("/x")
    ((delivered, note),) = await desk.ended(key)
    assert not delivered
    assert "not an address of the public internet" in note
    assert desk.receiver.connections == 0


@with_desk
async def test_https_is_never_sent_in_the_clear(desk: Desk) -> None:
    await desk.start()
    (key,) = await desk.owe(f"https://127.0.0.1:{desk.receiver.port}/x", retries=1)
    ((delivered, _),) = await desk.ended(key)
    assert not delivered
    assert desk.receiver.of("/x") == []


@with_desk
async def test_a_store_that_fails_for_a_while_loses_nothing(desk: Desk) -> None:
    fails = {"due_callbacks": 2, "end_callback": 2, "next_due": 1}
    real = desk.store

    class Flaky:
        def __getattr__(self, name: str) -> Any:
            if fails.get(name):
                fails[name] -= 1
                raise Unavailable("the store cannot write")
            return getattr(real, name)

    flaky: Any = Flaky()
    deliverer = Deliverer(flaky, guard=LOOPBACK, signing_secret=SECRET)
    task = asyncio.create_task(deliverer.run())
    (key,) = await desk.owe("/x")
    deliverer.notify()
    assert await desk.ended(key) == [(True, "status 200, try 1")]
    assert len(desk.receiver.of("/x")) == 1
    assert set(fails.values()) <= {0, 1}
    await deliverer.close()
    await task


def test_the_secret_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    tmp_path = tmp_path / "data"
    secret = load_secret(tmp_path / "webhook.key")
    assert load_secret(tmp_path / "webhook.key") == secret
    assert (tmp_path / "webhook.key").stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert [path.name for path in tmp_path.iterdir()] == ["webhook.key"]


@pytest.mark.parametrize(
    "content",
    ["", "secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_!", "whsec_", "whsec_!!!", "whsec_c2hvcnQ="],
)
def test_a_damaged_secret_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "webhook.key").write_text(content)
    with pytest.raises(StoreFailed, match=r"webhook\.key"):
        load_secret(tmp_path / "webhook.key")


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's own verification libraries.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after("2", 0.0) == 2.0
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40.0) == 60.0
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400.0) == 0.0
    assert retry_after("9" * 400, 0.0) == callbacks.LONGEST_PAUSE
    for unreadable in (None, "", "soon", "-5", "1.5", "²", "Thu, 99 Foo 1970"):
        assert retry_after(unreadable, 0.0) == 0.0
