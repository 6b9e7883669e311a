"""The verbs of the session group (PROTOCOL section 7) on the session rules and the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qfast import wire
from qfast.access import only_tenant, sees
from qfast.errors import Unavailable
from qfast.jobs import Jobs
from qfast.session_queue import visible_session
from qfast.submission import check_takes_jobs

MAX_LISTED = 100_000  # sessions of all tenants that are looked through


class SessionVerbs:
    """Open, look at, close and cancel sessions; every answer is given once the change is durable."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """Method name to verb."""
        return {
            "open_session": self.open_session,
            "get_session": self.get_session,
            "get_sessions": self.get_sessions,
            "close_session": self.close_session,
            "cancel_session": self.cancel_session,
            "close_sessions": self.close_sessions,
        }

    async def open_session(
        self, body: wire.OpenSessionBody, _filters: None, caller: Mapping[str, str]
    ) -> dict[str, Any]:
        """Open a session on a backend."""
        jobs = self._jobs
        check_takes_jobs(jobs.find_backend(body.backend).device)
        if jobs.draining:
            raise Unavailable("the server is stopping and opens no sessions", extra={"retry_after": 5})
        session = jobs.sessions.open(body.backend, body.max_time, body.mode, caller.get("tenant", ""))
        try:
            await jobs.settle_sessions(())
        except Unavailable:  # the caller does not get to know its id
            jobs.sessions.withdraw(session.id)
            raise
        return jobs.sessions.session_view(session)

    async def get_session(self, body: wire.SessionBody, _filters: None, caller: Mapping[str, str]) -> dict[str, Any]:
        """One session."""
        return await visible_session(self._jobs, body.session_id, caller)

    async def get_sessions(
        self, _body: Any, filters: wire.SessionFilters | None, caller: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """List sessions, newest first."""
        wanted = filters or wire.SessionFilters()
        limit, tenant = wanted.limit or 1000, only_tenant(caller)
        views = await self._jobs.session_views(wanted.backend, wanted.state, limit if tenant is None else MAX_LISTED)
        return [view for view in views if sees(caller, view.get("tenant", ""))][:limit]

    async def close_session(self, body: wire.SessionBody, _filters: None, caller: Mapping[str, str]) -> dict[str, Any]:
        """Take no more jobs; those there are go on."""
        await visible_session(self._jobs, body.session_id, caller)
        return await self._jobs.close_session(body.session_id, cancel=False)

    async def cancel_session(self, body: wire.SessionBody, _filters: None, caller: Mapping[str, str]) -> dict[str, Any]:
        """Close at once and cancel the queued jobs; running ones finish."""
        await visible_session(self._jobs, body.session_id, caller)
        return await self._jobs.close_session(body.session_id, cancel=True)

    async def close_sessions(self, _body: Any, _filters: None, caller: Mapping[str, str]) -> list[dict[str, Any]]:
        """Close every session that is open."""
        if only_tenant(caller) is None:
            return await self._jobs.close_all_sessions()
        views = await self._jobs.session_views(None, None, MAX_LISTED)
        own = [view["id"] for view in views if view["accepting_jobs"] and sees(caller, view.get("tenant", ""))]
        return [await self._jobs.close_session(session_id, cancel=False) for session_id in own]
