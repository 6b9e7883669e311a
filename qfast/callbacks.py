"""Tells the world that a job has ended: the signature of a delivery, and the deliverer of the outbox.

The outbox is a table of the store. The service writes its rows in the transaction of the final state, so a delivery
is owed exactly when the job has ended; here they are posted until one is taken or the tries are used up. Deliveries are
at least once: a crash between a post and its note repeats the post, under the same ``webhook-id``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import heapq
import hmac
import logging
import os
import random
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from qfast import __version__
from qfast.addresses import AddressGuard, GuardedResolver, Target, system_addresses
from qfast.callback_rules import DEFAULT_TIMEOUT, DEFAULT_TRIES, validate_callbacks
from qfast.errors import StoreFailed
from qfast.job import CallbackRecord
from qfast.plugins import Store

__all__ = ["AddressGuard", "Deliverer", "load_secret", "sign", "validate_callbacks"]

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
DRAIN_BYTES = 65_536  # of an answer's body that are read, and thrown away
DRAIN_SECONDS = 1.0
FIRST_PAUSE = 1.0  # seconds before the second try; doubles with each further one
LONGEST_PAUSE = 300.0  # seconds; also the most that a Retry-After is honoured
TARGET_SLOTS = 4  # posts at a time to one target, 1 to one whose last post failed
ALL_SLOTS = 64
HELD = 16  # deliveries of one target kept ready in memory
FETCH = 256  # rows taken from the store at a time
LONGEST_WAIT = 60.0  # seconds that a row of a crowded target is moved back at once
LOOK_SECONDS = 5.0  # longest sleep between two looks, so that a clock that was set is noticed

# -------------------------------------------------------------------------------------------------------- the signature


def load_secret(path: Path) -> str:
    """The secret that signs callbacks, ``whsec_`` and base64; made at the first start and kept readable by us alone.

    A file may hold several, one a line: then each delivery has a signature of each, so that receivers can change from one
    to the other.

    Raises
    ------
    StoreFailed
        The file cannot be made or read, or holds no secret.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
        secret = path.read_text("ascii").strip()
        for one in secret.split() or [""]:
            _key(one)
    except (OSError, ValueError) as error:
        raise StoreFailed(f"the signing secret {path} cannot be used: {error}") from error
    return secret


def _key(secret: str) -> bytes:
    """The raw key of a secret; raises ValueError."""
    if not secret.startswith("whsec_"):
        raise ValueError("it does not begin with whsec_")
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    if len(key) < 24:
        raise ValueError("it holds fewer than 24 bytes")
    return key


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` of a delivery (Standard Webhooks 1.0): HMAC-SHA-256 over ``id.timestamp.body``.

    One for each secret, separated by blanks, as the secrets are.
    """
    content = f"{webhook_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(_key(one), content, hashlib.sha256) for one in secret.split())
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


# -------------------------------------------------------------------------------------------------------- the deliverer


class Verdict(NamedTuple):
    """What one post came to."""

    delivered: bool
    note: str
    final: bool = False  # no further try, whatever is left of them
    pause: float = 0.0  # seconds that the receiver asked for


class Deliverer:
    """Posts what the outbox owes, a few at a time to each target, so that a slow one delays nobody else.

    Parameters
    ----------
    store : Store
        Holds the outbox.
    clock : callable
        Seconds since the epoch.
    guard : AddressGuard
        Judges each URL again, and each address that a name resolves to.
    signing_secret : str
        As `load_secret` gives it.
    addresses : callable
        Resolves a name to numeric addresses.
    chance : callable
        Uniform in [0, 1), spreads the pauses.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float] = time.time,
        *,
        guard: AddressGuard,
        signing_secret: str,
        addresses: Callable[[str, int], Awaitable[list[str]]] = system_addresses,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._clock = clock
        self._guard = guard
        self._secret = signing_secret
        self._addresses = addresses
        self._chance = chance
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._closing = False
        self._look = True  # the store may have rows that we do not know
        self._ids: set[str] = set()  # held or in flight
        self._held: dict[Target, deque[CallbackRecord]] = {}
        self._flying: dict[Target, int] = {}
        self._failing: set[Target] = set()  # by their last post, while they are busy
        self._seconds: dict[Target, float] = {}  # what a post takes, as a moving average, while they are busy
        self._pace: dict[Target, float] = {}  # when they will have got to the last row that was moved back
        self._posts: set[asyncio.Task[None]] = set()
        self._retries: list[float] = []  # heap: when rows that we put off are due
        self._behind = False  # the last look left due rows in the store
        self.delivered = self.failed = self.given_up = 0

    def notify(self) -> None:
        """There are new rows."""
        self._look = True
        self._wake.set()

    async def run(self) -> None:
        """Deliver until `close`; nothing but a cancellation leaves this."""
        self._ended.clear()
        try:
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(self._guard, self._addresses), use_dns_cache=False, force_close=True, limit=0
            )
            async with aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
            ) as session:
                while not self._closing:
                    await self._turn(session)
                    await self._sleep()
                await self._cancel_posts()
        finally:
            for post in self._posts:
                post.cancel()
            self._ended.set()

    async def close(self, grace: float = 3.0) -> None:
        """Start no more posts, give those under way `grace` seconds, then drop them; they are repeated at the next start."""
        self._closing = True
        if self._posts:
            await asyncio.wait(self._posts, timeout=grace)
        for post in self._posts:
            post.cancel()
        self._wake.set()
        await self._ended.wait()

    async def _cancel_posts(self) -> None:
        for post in self._posts:
            post.cancel()
        if self._posts:
            await asyncio.wait(self._posts)

    async def _turn(self, session: aiohttp.ClientSession) -> None:
        """Take what is due from the store and start what there are slots for."""
        self._wake.clear()
        now = self._clock()
        while self._retries and self._retries[0] <= now:
            heapq.heappop(self._retries)
            self._look = True
        if self._look:
            self._look = False
            try:
                await self._fill(now)
            except Exception as error:
                log.warning("the outbox is out of reach: %s", error)
                heapq.heappush(self._retries, now + FIRST_PAUSE)
        for target in list(self._held):
            slots = 1 if target in self._failing else TARGET_SLOTS
            rows = self._held[target]
            while rows and self._flying.get(target, 0) < slots and len(self._posts) < ALL_SLOTS and not self._closing:
                self._flying[target] = self._flying.get(target, 0) + 1
                post = asyncio.create_task(self._deliver(session, target, rows.popleft()))
                self._posts.add(post)
                post.add_done_callback(self._posts.discard)
            if not rows:
                del self._held[target]

    async def _fill(self, now: float) -> None:
        """Hold due rows, a few of each target; rows of a crowded target must not hide those of others behind them."""
        limit = FETCH + len(self._ids)  # those that we have are still in the store, and come first
        rows = await self._store.due_callbacks(now, limit)
        surplus: list[tuple[Target, CallbackRecord]] = []
        for row in rows:
            if row.webhook_id in self._ids:
                continue
            try:
                target = self._guard.check_url(orjson.loads(row.spec)["url"])
            except (ValueError, KeyError, TypeError) as error:  # accepted under another configuration
                await self._store.end_callback(row.webhook_id, False, f"the url {error}"[:200])
                self.given_up += 1
                continue
            held = self._held.setdefault(target, deque())
            if len(held) >= HELD:
                surplus.append((target, row))
            else:
                held.append(row)
                self._ids.add(row.webhook_id)
        self._behind = bool(surplus) or len(rows) == limit
        if len(rows) == limit:
            self._look = True
            self._wake.set()
            await self._move_back(surplus, now)

    async def _move_back(self, surplus: list[tuple[Target, CallbackRecord]], now: float) -> None:
        """Put rows off to about when their target will have got to them."""
        moved = []
        for target, row in surplus:
            slots = 1 if target in self._failing else TARGET_SLOTS
            due_at = max(now, self._pace.get(target, now)) + self._seconds.get(target, 0.1) / slots
            self._pace[target] = due_at = min(due_at, now + LONGEST_WAIT)
            moved.append(self._store.put_off_callback(row.webhook_id, row.tries, due_at))
            heapq.heappush(self._retries, due_at)
        await asyncio.gather(*moved)

    async def _sleep(self) -> None:
        """Until there is something to do: a notice, a free slot, or the next row's time."""
        if self._closing:
            return
        now = self._clock()
        until = now + LOOK_SECONDS
        if self._retries:
            until = min(until, self._retries[0])
        if not self._ids:
            try:
                due = await self._store.next_due()
            except Exception:
                due = now + FIRST_PAUSE
            until = min(until, until if due is None else due)
        try:
            async with asyncio.timeout(max(0.0, until - now)):
                await self._wake.wait()
        except TimeoutError:
            self._look = True

    async def _deliver(self, session: aiohttp.ClientSession, target: Target, row: CallbackRecord) -> None:
        """One post and its note in the store; the slot is free afterwards, whatever happened."""
        began = time.monotonic()
        try:
            try:
                verdict = await self._post(session, row)
            except Exception as error:  # garbage in answers takes many forms; none may cost more than this try
                verdict = Verdict(False, _reason(error))
            took = time.monotonic() - began
            self._seconds[target] = 0.75 * self._seconds.get(target, took) + 0.25 * took
            (self._failing.discard if verdict.delivered else self._failing.add)(target)
            while not await self._note(row, verdict):
                await asyncio.sleep(FIRST_PAUSE)
        finally:
            self._ids.discard(row.webhook_id)
            self._flying[target] -= 1
            if target not in self._held:
                self._look = self._look or self._behind
                if not self._flying[target]:
                    del self._flying[target]
                    self._failing.discard(target)
                    self._seconds.pop(target, None)
                    self._pace.pop(target, None)
            self._wake.set()

    async def _post(self, session: aiohttp.ClientSession, row: CallbackRecord) -> Verdict:
        spec = orjson.loads(row.spec)
        timestamp = int(self._clock())
        headers = CIMultiDict(
            {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"qfast/{__version__}",
            }
        )
        headers.update(spec.get("headers") or {})
        headers["webhook-id"] = row.webhook_id
        headers["webhook-timestamp"] = str(timestamp)
        headers["webhook-signature"] = sign(self._secret, row.webhook_id, timestamp, row.body)
        total = float(spec.get("timeout") or DEFAULT_TIMEOUT)
        limits = aiohttp.ClientTimeout(total=total, sock_connect=min(total, CONNECT_SECONDS))
        async with session.post(
            URL(spec["url"], encoded=True), data=row.body, headers=headers, timeout=limits, allow_redirects=False
        ) as answer:
            await _drain(answer)
            if 200 <= answer.status < 300:
                return Verdict(True, f"status {answer.status}")
            pause = retry_after(answer.headers.get("Retry-After"), self._clock())
            return Verdict(False, f"status {answer.status}", final=answer.status == 410, pause=pause)

    async def _note(self, row: CallbackRecord, verdict: Verdict) -> bool:
        """Tell the store; False when it does not take it now."""
        tries = row.tries + 1
        allowed = max(1, orjson.loads(row.spec).get("retries", DEFAULT_TRIES))
        try:
            if verdict.delivered or verdict.final or tries >= allowed:
                await self._store.end_callback(row.webhook_id, verdict.delivered, f"{verdict.note}, try {tries}")
                self.delivered += verdict.delivered
                self.given_up += not verdict.delivered
            else:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tries - 1)) * (0.9 + 0.2 * self._chance())
                due_at = self._clock() + max(pause, verdict.pause)
                await self._store.put_off_callback(row.webhook_id, tries, due_at, f"{verdict.note}, try {tries}")
                heapq.heappush(self._retries, due_at)
                self.failed += 1
        except (
            Exception
        ) as error:  # a full disk, for instance: it waits in its slot, since a new look would post it again
            log.warning("the end of a delivery is not noted yet: %s", error)
            return False
        return True


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read a little of the body, so that an honest receiver is not cut off; what it says is of no interest."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await answer.content.readexactly(DRAIN_BYTES)
    except (asyncio.IncompleteReadError, aiohttp.ClientError, OSError):  # OSError includes the timeout
        pass


def _reason(error: Exception) -> str:
    """A failure for the log, without anything that the receiver said."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {str(error.os_error) or type(error.os_error).__name__}"[:200]
    return f"no valid answer ({type(error).__name__})"


def retry_after(value: str | None, now: float) -> float:
    """Seconds that a Retry-After asks for, as a number or a date, 0 when it cannot be read, at most LONGEST_PAUSE."""
    if value is None:
        return 0.0
    try:
        if value.strip().isascii() and value.strip().isdigit():
            seconds = float(value)
        else:
            date = parsedate_to_datetime(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE)
