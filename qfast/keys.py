"""API keys: who may call, what for, and how often. Kept in a TOML file that holds no secret, only hashes.

A token reads ``qf_ID_SECRET``: the id finds the key, and SHA-256 of the whole token is compared in constant time. The secret
has 256 random bits, so a slow hash would protect nothing more.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import time
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from qfast.errors import ConfigurationInvalid

DEFAULT_TENANT = ""  # of a server without keys
ALL_TENANTS = "*"  # of a key for the machine that runs the jobs of everybody

_TOKEN = re.compile(r"qf_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_NAME = r"^[A-Za-z0-9._-]{1,64}$"
_TENANT = r"^(\*|[A-Za-z0-9._-]{1,64})$"


class Scope(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"  # hand in jobs and open sessions
    READ = "read"  # see jobs, results, sessions and devices
    CANCEL = "cancel"  # cancel, delete and change jobs; close sessions
    DRIVER = "driver"  # bring results of jobs that run on an asynchronous backend
    ADMIN = "admin"  # take devices offline; everything above, and the jobs of all tenants


ORDINARY = (Scope.SUBMIT, Scope.READ, Scope.CANCEL)


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key.

    Attributes
    ----------
    name : str
        Whose it is, for people.
    sha256 : str
        Of the token, hexadecimal.
    tenant : str
        Whose jobs it sees and makes; several keys may share a tenant. ``*`` sees those of all, for a machine that brings
        results.
    scopes : tuple of Scope
    rate, burst : float, int
        Calls per second, and calls at once after a pause. None: unlimited.
    max_live : int, optional
        Jobs of the tenant that may wait or run at a time.
    expires : float, optional
        Seconds since the epoch.
    """

    name: Annotated[str, Meta(pattern=_NAME, description="1 to 64 of A-Z a-z 0-9 . _ -")]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits")]
    tenant: Annotated[str, Meta(pattern=_TENANT, description="1 to 64 of A-Z a-z 0-9 . _ -, or *")]
    scopes: tuple[Scope, ...] = ORDINARY
    rate: Annotated[float, Meta(gt=0)] | None = None
    burst: Annotated[int, Meta(ge=1)] = 100
    max_live: Annotated[int, Meta(ge=1)] | None = None
    expires: float | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it has this scope; admin has all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


def made(
    name: str,
    tenant: str,
    *,
    scopes: Iterable[str] = ORDINARY,
    rate: float | None = None,
    burst: int = 100,
    max_live: int | None = None,
    expires: float | None = None,
) -> tuple[str, Key, str]:
    """A new key: its id, the key, and the token, which is told once.

    Raises
    ------
    ConfigurationInvalid
        A field breaks its rule.
    """
    key_id = secrets.token_hex(4)
    token = f"qf_{key_id}_{secrets.token_urlsafe(32)}"
    fields = {
        "name": name,
        "sha256": hashlib.sha256(token.encode()).hexdigest(),
        "tenant": tenant,
        "scopes": list(scopes),
        "rate": rate,
        "burst": burst,
        "max_live": max_live,
        "expires": expires,
    }
    return key_id, _key(fields, "the key"), token


def _key(fields: object, where: str) -> Key:
    try:
        return msgspec.convert(fields, Key)
    except msgspec.ValidationError as error:
        raise ConfigurationInvalid(f"{where}: {error}") from None


def read_keys(path: Path) -> dict[str, Key]:
    """The keys of a file by id.

    Raises
    ------
    ConfigurationInvalid
        It cannot be read, or an entry breaks a rule; says which.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"keys file {path}: {error}") from None
    odd = next((name for name in tables if name != "keys"), None)
    if odd is not None:
        raise ConfigurationInvalid(f"keys file {path}: {odd[:80]!r} is not known; a key is a table [keys.ID]")
    entries = tables.get("keys", {})
    if not isinstance(entries, Mapping):
        raise ConfigurationInvalid(f"keys file {path}: a key is a table [keys.ID]")
    return {key_id: _key(fields, f"keys file {path}, key {key_id!r}") for key_id, fields in entries.items()}


def write_keys(path: Path, keys: Mapping[str, Key]) -> None:
    """Replace a file of keys, in one step and readable by its owner only."""
    lines = ["# Made by `qfast keys`. Tokens are not in here, only their hashes.\n"]
    for key_id, key in keys.items():
        lines.append(f"\n[keys.{key_id}]\n")
        for name, value in msgspec.to_builtins(key).items():
            if value is None:
                continue
            text = (
                "[" + ", ".join(f'"{one}"' for one in value) + "]"
                if isinstance(value, list | tuple)
                else f'"{value}"'
                if isinstance(value, str)
                else repr(value)
            )
            lines.append(f"{name} = {text}\n")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise


def find_key(keys: Mapping[str, Key], token: str, now: float | None = None) -> tuple[str, Key] | None:
    """The key that this token opens, with its id; None for one that is wrong or expired."""
    found = _TOKEN.fullmatch(token)
    key = keys.get(found.group(1)) if found is not None else None
    if found is None or key is None:
        return None
    digest = hashlib.sha256(token.encode()).hexdigest()
    alive = key.expires is None or (time.time() if now is None else now) < key.expires
    return (found.group(1), key) if hmac.compare_digest(digest, key.sha256) and alive else None
