"""Who may do what: tokens become callers, callers have scopes, and a key's calls have a rate.

Without keys there is one caller, who may do everything; such a server is bound to loopback.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from qfast.errors import ConfigurationInvalid, Forbidden, TooMany, Unauthenticated
from qfast.keys import ALL_TENANTS, DEFAULT_TENANT, Key, Scope, find_key, read_keys

log = logging.getLogger("qfast.access")

LOOK_SECONDS = 1.0  # between looks at the file, so that a removed key ends soon

# the scope that each method asks for
SCOPE_OF: Mapping[str, Scope] = {
    "submit_job": Scope.SUBMIT,
    "open_session": Scope.SUBMIT,
    "replay_callbacks": Scope.SUBMIT,
    "get_job_status": Scope.READ,
    "get_job_results": Scope.READ,
    "wait_job": Scope.READ,
    "get_jobs": Scope.READ,
    "get_callbacks": Scope.READ,
    "get_session": Scope.READ,
    "get_sessions": Scope.READ,
    "cancel_jobs": Scope.CANCEL,
    "delete_jobs": Scope.CANCEL,
    "update_job": Scope.CANCEL,
    "close_session": Scope.CANCEL,
    "cancel_session": Scope.CANCEL,
    "close_sessions": Scope.CANCEL,
    "set_job_results": Scope.DRIVER,
    "update_device": Scope.ADMIN,
}  # any key may discover: versions, devices, drivers, transpilers, ping


class Caller(msgspec.Struct, frozen=True):
    """Who calls.

    Attributes
    ----------
    key_id : str
        Empty on a server without keys.
    tenant : str
    scopes : frozenset of Scope
    max_live : int or None
        Jobs of the tenant that may wait or run at a time.
    """

    key_id: str = ""
    tenant: str = DEFAULT_TENANT
    scopes: frozenset[Scope] = frozenset(Scope)
    max_live: int | None = None

    @property
    def sees_all(self) -> bool:
        """Whether the jobs of all tenants exist for the caller."""
        return Scope.ADMIN in self.scopes or self.tenant == ALL_TENANTS


ANYONE = Caller()


def fields_of(caller: Caller) -> dict[str, str]:
    """What the verbs are told of a caller with a key."""
    fields = {"key": caller.key_id, "tenant": caller.tenant}
    if caller.sees_all:
        fields["all"] = "yes"
    if caller.max_live is not None:
        fields["max_live"] = str(caller.max_live)
    return fields


def sees(caller: Mapping[str, str], tenant: str) -> bool:
    """Whether what belongs to this tenant exists for the caller."""
    return "tenant" not in caller or "all" in caller or caller["tenant"] == tenant


def only_tenant(caller: Mapping[str, str]) -> str | None:
    """The one tenant whose jobs the caller sees; None: all."""
    return None if "all" in caller else caller.get("tenant")


class _Bucket:
    """A token bucket: `rate` calls per second, the key's burst at once after a pause."""

    def __init__(self, key: Key, rate: float, now: float) -> None:
        self.key, self._rate = key, rate
        self._left, self._at = float(key.burst), now

    def take(self, now: float) -> float:
        """Take one; gives 0, or the seconds after which there will be one."""
        self._left = min(self.key.burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0


class Access:
    """The keys of a server.

    Parameters
    ----------
    path : Path or None
        The keys file, which is read again when it changes; None: no keys, anyone may do everything.
    clock : callable
        Monotonic seconds.

    Raises
    ------
    ConfigurationInvalid
        The file is wrong or has no key.
    """

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._seen: tuple[int, int] | None = None
        self._looked = clock()
        self._buckets: dict[str, _Bucket] = {}
        self.admitted: Callable[[str, str, str], None] = lambda key_id, tenant, method: None  # told of each call
        if path is not None:
            self._keys = read_keys(path)
            self._seen = _stamp(path)
            if not self._keys:
                raise ConfigurationInvalid(f"keys file {path} has no key: make one with `qfast keys add`")

    @property
    def required(self) -> bool:
        """Whether a call needs a key."""
        return self._path is not None

    def caller(self, authorization: bytes | None) -> Caller:
        """The caller of a request, by its header ``Authorization: Bearer TOKEN``.

        Raises
        ------
        Unauthenticated
            No token, or one that no key has.
        """
        if self._path is None:
            return ANYONE
        self._look()
        scheme, _, token = (authorization or b"").decode("latin-1").partition(" ")
        found = find_key(self._keys, token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            why = "the token is not valid" if authorization else "a key is needed"
            raise Unauthenticated(f"{why}: send the header Authorization: Bearer TOKEN")
        key_id, key = found
        return Caller(key_id, key.tenant, frozenset(key.scopes), key.max_live)

    def admit(self, caller: Caller, method: str) -> None:
        """Let a call of this method in.

        Raises
        ------
        Forbidden
            The key lacks the scope.
        TooMany
            The key's calls come too fast; ``data.retry_after`` says when they would not.
        """
        scope = SCOPE_OF.get(method)
        if scope is not None and scope not in caller.scopes and Scope.ADMIN not in caller.scopes:
            raise Forbidden(f"the key {caller.key_id} lacks the scope {scope.value!r} that {method} asks for")
        key = self._keys.get(caller.key_id)
        if key is not None and key.rate is not None:
            self._take(caller.key_id, key, key.rate)
        if self._path is not None:
            self.admitted(caller.key_id, caller.tenant, method)

    def _take(self, key_id: str, key: Key, rate: float) -> None:
        now = self._clock()
        bucket = self._buckets.get(key_id)
        if bucket is None or bucket.key is not key:
            bucket = self._buckets[key_id] = _Bucket(key, rate, now)
        wait = bucket.take(now)
        if wait > 0:
            text = f"the key {key_id} may make {rate:g} calls a second, {key.burst} at once"
            raise TooMany(text, extra={"retry_after": round(wait, 3)})

    def _look(self) -> None:
        """Read the file again when it has changed; a file that is wrong changes nothing and is told in the log."""
        now = self._clock()
        if self._path is None or now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = read_keys(self._path)
        except ConfigurationInvalid as error:
            log.error("%s; the keys stay as they were", error)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
