"""What the client asks of other hosts of IBM before it comes here: a token, the instances, their plan.

The token that it is given is a JSON Web Token only in form: it holds the caller's own key, which is checked at every request.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import parse_qs

import orjson

from qfast.errors import Unauthenticated
from qfast.ibm.errors import Refusal
from qfast.ibm.requests import Reply, Request, Route, json_reply

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/qfast:qfast::"
PLAN = "qfast-plan"
TOKEN_SECONDS = 3600
NO_LIMIT = 2**31  # seconds


def token_of(key: str, now: float) -> str:
    """A token in which a key travels."""
    parts: list[dict[str, object]] = [
        {"alg": "none", "typ": "JWT"},
        {"iat": int(now), "exp": int(now) + TOKEN_SECONDS, "key": key},
    ]
    return ".".join([urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=") for part in parts]) + "."


def key_in(authorization: str) -> str:
    """The key in a header ``Bearer TOKEN``, ``Bearer KEY`` or ``apikey KEY``; empty without one."""
    scheme, _, text = authorization.partition(" ")
    text = text.strip()
    if scheme.lower() == "apikey":
        return text
    if scheme.lower() != "bearer":
        return ""
    parts = text.split(".")
    if len(parts) != 3:
        return text
    try:
        claims = orjson.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return str(claims["key"])
    except (ValueError, KeyError, TypeError):
        return text


class Account:
    """The token, the one instance and its plan.

    Parameters
    ----------
    check : callable
        Given a key; raises Unauthenticated for one that is none.
    """

    def __init__(self, check: Callable[[str], object], clock: Callable[[], float] = time.time) -> None:
        self._check, self._clock = check, clock

    def open_routes(self) -> list[Route]:
        """Paths that ask for no header."""
        return [("POST", "/identity/token", self.token), ("GET", f"/{PLAN}", self.plan)]

    def routes(self) -> list[Route]:
        """All other paths."""
        return [("POST", "/v3/resources/search", self.search), ("GET", "/instances/usage", self.usage)]

    async def token(self, request: Request) -> Reply:
        """Give a token for a key; on a server without keys for any."""
        form = parse_qs(request.body.decode("latin-1"), max_num_fields=20)
        key = form.get("apikey", [""])[0]
        if not key:
            raise Refusal(400, "apikey is missing")
        try:
            self._check(key)
        except Unauthenticated:
            raise Refusal(400, "Provided API key could not be found.") from None
        now = self._clock()
        return json_reply(
            {
                "access_token": token_of(key, now),
                "refresh_token": "not_supported",
                "token_type": "Bearer",
                "expires_in": TOKEN_SECONDS,
                "expiration": int(now) + TOKEN_SECONDS,
                "scope": "ibm openid",
            }
        )

    async def search(self, _request: Request) -> Reply:
        """The instances of a caller: this server."""
        extensions = {"qfast": {"backends": "all"}}  # the client passes over instances that have none
        item = {
            "crn": CRN,
            "name": "qfast",
            "service_plan_unique_id": PLAN,
            "doc": {"extensions": extensions},
            "tags": [],
        }
        return json_reply({"items": [item], "limit": 100})

    async def plan(self, _request: Request) -> Reply:
        """What the instance costs: nothing."""
        pricing = {"pricing": {"type": "free"}}
        return json_reply(
            {"id": PLAN, "name": PLAN, "overview_ui": {"en": {"display_name": "qfast"}}, "metadata": pricing}
        )

    async def usage(self, _request: Request) -> Reply:
        """No time is counted: the limit, without which the client tells no rest, is none that can be reached."""
        return json_reply(
            {
                "instance_id": CRN,
                "plan_id": PLAN,
                "usage_consumed_seconds": 0,
                "usage_limit_seconds": NO_LIMIT,
                "usage_limit_reached": False,
            }
        )
