"""``qfast keys``: make, list and remove the API keys of a server."""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from qfast.keys import ORDINARY, Key, Scope, made, read_keys, write_keys

_DAY = 86_400.0  # seconds


def _path(arguments: argparse.Namespace) -> Path:
    given = arguments.keys or os.environ.get("QFAST_KEYS")
    if not given:
        raise ValueError("which file? give --keys FILE or QFAST_KEYS, as to `qfast serve`")
    return Path(given).expanduser()


def add(arguments: argparse.Namespace) -> int:
    """Make a key and print its token, which is told only now."""
    path = _path(arguments)
    keys = read_keys(path) if path.exists() else {}
    key_id, key, token = made(
        arguments.name,
        arguments.tenant or arguments.name,
        scopes=[scope for part in arguments.scopes or ORDINARY for scope in part.split(",")],
        rate=arguments.rate,
        burst=arguments.burst,
        max_live=arguments.max_live,
        expires=None if arguments.days is None else time.time() + arguments.days * _DAY,
    )
    write_keys(path, {**keys, key_id: key})
    print(token)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """List the keys."""
    path = _path(arguments)
    for key_id, key in read_keys(path).items():
        print(f"{key_id}  {_line(key)}")
    return 0


def _line(key: Key) -> str:
    parts = [f"{key.name} of {key.tenant}", ",".join(key.scopes)]
    if key.rate is not None:
        parts.append(f"{key.rate:g} calls/s, {key.burst} at once")
    if key.max_live is not None:
        parts.append(f"{key.max_live} live jobs")
    if key.expires is not None:
        word = "expired" if key.expires <= time.time() else "expires"
        parts.append(f"{word} {datetime.fromtimestamp(key.expires, UTC):%Y-%m-%d %H:%M} UTC")
    return "  ".join(parts)


def remove(arguments: argparse.Namespace) -> int:
    """Remove a key by its id: a running server takes no call with it after a second."""
    path = _path(arguments)
    keys = read_keys(path)
    if arguments.key_id not in keys:
        raise ValueError(f"there is no key {arguments.key_id!r} in {path}")
    del keys[arguments.key_id]
    write_keys(path, keys)
    return 0


def add_commands(added: argparse.ArgumentParser) -> None:
    """The commands with their flags."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--keys", metavar="FILE", help="the keys file (default: QFAST_KEYS)")
    commands = added.add_subparsers(metavar="COMMAND", required=True)
    adding = commands.add_parser("add", help="make a key and print its token", parents=[shared])
    adding.add_argument("name", metavar="NAME", help="whose it is")
    adding.add_argument("--tenant", help="whose jobs it sees and makes (default: NAME)")
    adding.add_argument(
        "--scopes", action="append", metavar="SCOPES", help=f"of {','.join(Scope)} (default: {','.join(ORDINARY)})"
    )
    adding.add_argument("--rate", type=float, metavar="N", help="calls per second (default: any)")
    adding.add_argument("--burst", type=int, default=100, metavar="N", help="calls at once after a pause (100)")
    adding.add_argument("--max-live", type=int, metavar="N", help="jobs of the tenant that wait or run (default: any)")
    adding.add_argument("--days", type=float, metavar="N", help="until it expires (default: never)")
    adding.set_defaults(command=add)
    commands.add_parser("list", help="show the keys", parents=[shared]).set_defaults(command=show)
    removing = commands.add_parser("remove", help="remove a key", parents=[shared])
    removing.add_argument("key_id", metavar="ID")
    removing.set_defaults(command=remove)
