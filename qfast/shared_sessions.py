"""Sessions of several nodes: each session belongs to one node, which runs its timers and its jobs; others ask it.

When a node ends another takes its sessions over, with their timers. A session's jobs go before all others, and a dedicated
one keeps its backend free, on the node that has it; other nodes go on with other jobs.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from qfast.beside import PATIENCE, shielded
from qfast.errors import Conflict, NotFound, Unavailable
from qfast.job import FINAL, JobQuery, JobStatus
from qfast.jobs import Jobs
from qfast.plugins import SharedStore
from qfast.sessions import Session, Sessions

LOOK_SECONDS = 0.05  # between looks whether a wish was fulfilled


class SharedSessions(Jobs):
    """The part of a node's jobs that knows sessions."""

    store: SharedStore

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stored: dict[str, bytes] = {}  # our sessions as the store has them

    def own_sessions(self) -> list[str]:
        """The ids of this node's sessions."""
        return [session.id for session in self.sessions.find()]

    @abstractmethod
    def refill_sessions(self) -> None:
        """Claim every job of our sessions."""

    async def backend_of_session(self, session_id: str) -> str:
        """The backend of a session of any node; raises NotFound, or Conflict when it takes no more jobs."""
        for session in self.sessions.find():
            if session.id == session_id:
                self.sessions.check_takes_jobs(session_id)
                return session.backend_name
        rows = await self.store.sessions(session_id)
        if not rows:
            return self.sessions.get(session_id).backend_name  # raises NotFound
        _, backend, takes_jobs, _ = rows[0]
        if not takes_jobs:
            raise Conflict(f"session {session_id} takes no more jobs", hint="open another session")
        return backend

    async def recounted(self, value: bytes) -> bytes:
        """A session of an ended node, its ended jobs counted anew: a crash may have come before the last were noted."""
        session = msgspec.json.decode(value, type=Session)
        query = JobQuery(session_id=session.id, job_status=tuple(FINAL - {JobStatus.DELETED}), limit=1_000_000)
        try:
            counts = Counter(record.status.value for record in await self.store.list(query))
        except Unavailable:
            return value
        known = {*counts, *session.ended}
        session.ended = {status: max(counts[status], session.ended.get(status, 0)) for status in sorted(known)}
        return msgspec.json.encode(session)

    def take_over_sessions(self, values: Sequence[bytes]) -> None:
        """Go on with sessions of a node that has ended."""
        for value in values:
            session = msgspec.json.decode(value, type=Session)
            self._stored.pop(session.id, None)
            self.sessions.take_over(session)
        if values:
            self._later(self.sessions.restore(()))

    def lose_sessions(self) -> None:
        """Another node has ours."""
        self.sessions = Sessions(self.now)
        self._stored.clear()
        self._set_timer()

    async def _store_sessions(self) -> None:
        revision = self.sessions.revision
        if revision == self._noted:
            return
        rows = []
        now = {session.id: session for session in self.sessions.find()}
        for session in now.values():
            value = msgspec.json.encode(session)
            view = orjson.dumps(self.sessions.session_view(session))
            if self._stored.get(session.id) != view + value:
                self._stored[session.id] = view + value
                rows.append((session.id, session.backend_name, session.accepting_jobs, session.opened_at, value, view))
        gone = [session_id for session_id in self._stored if session_id not in now]
        try:
            await shielded(self.store.put_sessions(rows, gone))
        except BaseException:
            for row in rows:
                self._stored.pop(row[0], None)
            raise
        for session_id in gone:
            self._stored.pop(session_id, None)
        self._noted = max(self._noted, revision)

    async def session_view(self, session_id: str) -> dict[str, Any]:
        """A session of any node as the wire shows it; raises NotFound."""
        try:
            return await super().session_view(session_id)
        except NotFound:
            rows = await self.store.sessions(session_id)
            if not rows:
                raise
            return _view(rows[0][3])

    async def session_views(self, backend: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        """The sessions of all nodes that match, newest first."""
        views = {row[0]: _view(row[3]) for row in await self.store.sessions()}  # newest first
        own = [session for session in self.sessions.find() if session.id not in views]
        views = {session.id: {} for session in own} | views
        views |= {session.id: self.sessions.session_view(session) for session in self.sessions.find()}
        found = [v for v in views.values() if backend in (None, v["backend_name"]) and state in (None, v["state"])]
        return found[:limit]

    async def close_session(self, session_id: str, *, cancel: bool) -> dict[str, Any]:
        """Let a session of any node take no more jobs, or with `cancel` end it at once."""
        try:
            return await super().close_session(session_id, cancel=cancel)
        except NotFound:
            if not await self.store.sessions(session_id):
                raise
        await self.store.wish(session_id, "cancel" if cancel else "close")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            rows = await self.store.sessions(session_id)
            if rows and not rows[0][2] and (not cancel or _view(rows[0][3])["state"] == "closed"):
                return _view(rows[0][3])
            await asyncio.sleep(LOOK_SECONDS)
        text = "the node that has this session does not answer; it does what was asked, or another does that takes over"
        raise Unavailable(text, extra={"retry_after": PATIENCE})

    async def close_all_sessions(self) -> list[dict[str, Any]]:
        """Let every session of every node take no more jobs."""
        own = await super().close_all_sessions()
        known = {view["id"] for view in own}
        others = [row[0] for row in await self.store.sessions() if row[2] and row[0] not in known]
        return own + [await self.close_session(session_id, cancel=False) for session_id in others]

    async def heed_wishes(self) -> None:
        """Do what other nodes were asked of our sessions."""
        if not self.own_sessions():
            return
        for session_id, wish in await self.store.wishes():
            try:
                await super().close_session(session_id, cancel=wish == "cancel")
            except NotFound:
                continue
            self._stored.pop(session_id, None)  # stored again, without the wish
            self.sessions.revision += 1
            await self._store_sessions()


def _view(data: bytes) -> dict[str, Any]:
    """A session as its node stored it last, a fifth of a second ago at most while it changes."""
    view: dict[str, Any] = orjson.loads(data)
    return view
