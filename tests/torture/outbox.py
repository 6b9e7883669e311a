"""Callbacks to receivers that fail in every way, from a server that is killed meanwhile: each must arrive, with one content."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import threading
import time
from collections import Counter
from typing import Any

from history import Delivery, Recorder, violations
from standardwebhooks import Webhook
from torture.kills import one_site
from torture.load import Load
from torture.report import Options, Report, verdict
from torture.site import until

KINDS = ("good", "error", "busy", "reset", "silent", "slow", "garbage", "redirect", "huge", "late")
FAILING = 0.25  # of the posts to a receiver that fails
LATE_SECONDS = 15.0  # until the late one opens
TRIES = 10  # the most that a submit may ask for
TIMEOUT = 2  # seconds for a post
LONGEST = 3.0  # seconds of a life
DRAIN_SECONDS = 400.0
HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1_000_000


def empty(status: str, more: str = "") -> bytes:
    """An answer without a body."""
    return f"HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()


class Receivers:
    """One of each kind, each on a port of its own; writes down what it has taken."""

    def __init__(self, recorder: Recorder, seed: int) -> None:
        self.ports: dict[str, int] = {}
        self.posts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.verifier: Webhook | None = None
        self._recorder = recorder
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._began = time.monotonic()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        async def serve() -> None:
            for kind in KINDS:
                server = await asyncio.start_server(
                    lambda reader, writer, kind=kind: self._serve(kind, reader, writer), "127.0.0.1", 0, backlog=512
                )
                self.ports[kind] = server.sockets[0].getsockname()[1]
            ready.set()
            await asyncio.Event().wait()

        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(serve())

    async def _serve(self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            self.posts[kind] += 1
            answer = await self._answer(kind)
            if answer.startswith(b"HTTP/1.1 2"):
                self._take(headers, body)
            writer.write(answer)
            await writer.drain()
        writer.close() if kind == "good" else writer.transport.abort() if kind == "reset" else writer.close()

    async def _answer(self, kind: str) -> bytes:
        if kind == "late" and time.monotonic() - self._began < LATE_SECONDS:
            return empty("503 Service Unavailable")
        if kind == "slow":
            await asyncio.sleep(0.3)
        if kind in ("good", "slow", "late", "huge") or self._chance.random() > FAILING:
            return HUGE if kind == "huge" else empty("200 OK")
        if kind == "silent":
            await asyncio.sleep(TIMEOUT + 1.0)
        return {
            "error": empty("500 Internal Server Error"),
            "busy": empty("429 Too Many Requests", "Retry-After: 1\r\n"),
            "garbage": b"\x00\xff garbage\r\n\r\n",
            "redirect": empty(
                "301 Moved Permanently", f"Location: http://127.0.0.1:{self.ports['good']}/elsewhere\r\n"
            ),
        }.get(kind, b"")

    def _take(self, headers: dict[str, str], body: bytes) -> None:
        told: dict[str, Any] = json.loads(body)
        try:
            assert self.verifier is not None
            self.verifier.verify(body, headers)
        except Exception as error:
            self.wrong.append(f"I6 {told.get('job_id')}: the signature is not right: {error}")
        content = hashlib.sha256(body).digest()
        self._recorder.delivered(Delivery(told["job_id"], headers["webhook-id"], told["job_status"], content))

    def close(self) -> None:
        """Take no more."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(self._loop)])
        self._thread.join()


def outbox(options: Options) -> Report:
    """As many callbacks and kills as wanted, in one go."""
    recorder = Recorder()
    receivers = Receivers(recorder, options.seed)

    def callback(chance: random.Random) -> dict[str, Any]:
        url = f"http://127.0.0.1:{receivers.ports[chance.choice(KINDS)]}/"
        entry = {
            "name": "torture",
            "type": "results",
            "method": "post",
            "url": url,
            "retries": TRIES,
            "timeout": TIMEOUT,
        }
        return {"callbacks": [entry]}

    with one_site(options) as (site, book):
        site.started()
        receivers.verifier = Webhook((site.data / "webhook.key").read_text().strip())
        load = Load(recorder, [site.url], options.seed, gentle=True, goal=options.jobs, fields=callback)
        chance = random.Random(options.seed)
        for _ in range(options.cycles):
            time.sleep(chance.random() * LONGEST)
            site.kill()
            site.started()
        until(load.done, DRAIN_SECONDS)
        load.join()
        drained = until(lambda: book.live() == 0, DRAIN_SECONDS)
        given_up = [f"I6 {row[0]} was given up: {row[1]}" for row in book.ask(
            "SELECT job_id, note FROM callback_log JOIN job USING (seq) WHERE NOT delivered"
        )]  # fmt: skip
        found = [*load.wrong, *receivers.wrong, *given_up, *violations(recorder, book.rows(), order=False)]
        if not drained:
            found.append("I3 callbacks are left after the drain")
        site.stop()
    receivers.close()
    ids = {delivery.webhook_id for delivery in recorder.deliveries}
    figures = {
        "kills": options.cycles, "callbacks": load.acknowledged, "posts": sum(receivers.posts.values()),
        "delivered": len(ids), "delivered_again": len(recorder.deliveries) - len(ids), **verdict(found),
    }  # fmt: skip
    return Report("callbacks", "sqlite", dict(figures), found)
