"""Sessions as IBM's client names their parts; the rules are those of the session verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from qfast import wire
from qfast.ibm.errors import Refusal
from qfast.ibm.requests import NOTHING, Reply, Request, Route, json_reply

ID = r"/sessions/(?P<session_id>[^/]{1,64})"


class OpenBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``POST /sessions``."""

    backend: str
    mode: str = "dedicated"
    max_ttl: int | None = None
    instance: str | None = None  # there is one


class ChangeBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``PATCH /sessions/ID``."""

    accepting_jobs: bool


def details(view: Mapping[str, Any]) -> dict[str, Any]:
    """The wire fields of a session."""
    steps = (("open", "opened_at"), ("active", "activated_at"), ("closed", "closed_at"))
    return {
        "id": view["id"],
        "backend_name": view["backend_name"],
        "mode": view["mode"],
        "state": view["state"],
        "accepting_jobs": view["accepting_jobs"],
        "interactive_ttl": int(view["interactive_timeout"]),
        "max_ttl": int(view["max_time"]),
        "active_ttl": int(view["active_timeout"]),
        "elapsed_time": view["usage_time"],
        **{
            name: zulu(view.get(name))
            for name in ("last_job_started", "last_job_completed", "started_at", "activated_at", "closed_at")
        },
        "timestamps": [
            {"status": state, "timestamp": zulu(view[name])} for state, name in steps if view.get(name) is not None
        ],
    }


def zulu(date: str | None) -> str | None:
    """A date of the verbs with its zone: they are in UTC."""
    return None if date is None else date + "Z"


class SessionRoutes:
    """Open, look at, close and cancel."""

    def routes(self) -> list[Route]:
        """The paths."""
        return [
            ("POST", "/sessions", self.open),
            ("GET", ID, self.details),
            ("PATCH", ID, self.change),
            ("DELETE", ID + "/close", self.cancel),
        ]

    async def open(self, request: Request) -> Reply:
        """Open a session."""
        body = request.decoded(OpenBody)
        if body.mode not in ("dedicated", "batch"):
            raise Refusal(400, f"mode: {body.mode[:40]!r} is neither dedicated nor batch")
        wanted = wire.OpenSessionBody(backend=body.backend, max_time=body.max_ttl, mode=body.mode)  # type: ignore[arg-type]
        return json_reply(details(await request.call("open_session", wanted)))

    async def details(self, request: Request, session_id: str) -> Reply:
        """A session."""
        return json_reply(details(await request.call("get_session", wire.SessionBody(session_id=session_id))))

    async def change(self, request: Request, session_id: str) -> Reply:
        """Let it take no more jobs; that cannot be taken back."""
        if request.decoded(ChangeBody).accepting_jobs:
            raise Refusal(400, "accepting_jobs: a session cannot be opened again", "open another one")
        await request.call("close_session", wire.SessionBody(session_id=session_id))
        return NOTHING

    async def cancel(self, request: Request, session_id: str) -> Reply:
        """Close it and cancel its queued jobs."""
        await request.call("cancel_session", wire.SessionBody(session_id=session_id))
        return NOTHING
