"""Before a node uses a database: its settings must keep what is committed, and its schema must be of our version."""

from __future__ import annotations

import asyncio
import os
from importlib.resources import files
from typing import Any

from qfast.errors import StoreFailed, StoreLocked

OLDEST_POSTGRES = 130000
LOCK_CLASS = 0x71666173  # "qfas": the first half of our advisory locks; the second half is the schema's name
LOOK_SECONDS = 0.02  # between two tries to take a lock
SAFE = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "remote_apply")}
CHECK = """
SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit, current_setting('server_version_num')::int AS version,
    pg_is_in_recovery() AS standby, current_schema() AS schema
"""
HOLDER = """
SELECT format('database process %s, client %s', pid, coalesce(host(client_addr), 'local'))
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = $1::bigint::oid AND datname = current_database()
    AND objid = (hashtext(current_schema())::bigint & 4294967295)::oid
"""


async def check_settings(connection: Any) -> tuple[str, str]:
    """The value of synchronous_commit and the schema; raises StoreFailed for a server that loses what it commits."""
    row = await connection.fetchrow(CHECK)
    if row["version"] < OLDEST_POSTGRES:
        raise StoreFailed(f"PostgreSQL {row['version'] // 10000} is too old, {OLDEST_POSTGRES // 10000} is needed")
    if row["standby"]:
        raise StoreFailed("the database is a standby in recovery: it takes no writes")
    if row["schema"] is None:
        raise StoreFailed("the database has no schema on the search_path")
    if os.environ.get("QFAST_UNSAFE_STORE") != "1":
        for name, values in SAFE.items():
            if row[name] not in values:
                raise StoreFailed(
                    f"the database has {name} = {row[name]}, which can lose acknowledged jobs:"
                    f" set {name} = on (QFAST_UNSAFE_STORE=1 goes on all the same)"
                )
    return row["synchronous_commit"], row["schema"]


async def enter(connection: Any, seconds: float) -> None:
    """Take the shared lock that every node holds, on a schema of our version; migrate it first where it is older.

    A migration needs the lock alone, so it never happens under a node that runs.

    Raises
    ------
    StoreLocked
        Another server has the lock alone, or the schema must be migrated while nodes run.
    StoreFailed
        The schema is newer than ours.
    """
    scripts = _scripts()
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        if await _lock(connection, "pg_try_advisory_lock_shared"):
            if await _version(connection, max(scripts)) == max(scripts):
                return
            await _lock(connection, "pg_advisory_unlock_shared")
            if await _lock(connection, "pg_try_advisory_lock"):
                try:
                    await _migrate(connection, scripts)
                finally:
                    await _lock(connection, "pg_advisory_unlock")
                continue
        if asyncio.get_running_loop().time() >= deadline:
            holder = await connection.fetchval(HOLDER, LOCK_CLASS) or "unknown"
            raise StoreLocked(
                f"another server ({holder}) holds the database with another version of its schema: stop it first"
            )
        await asyncio.sleep(LOOK_SECONDS)


async def _lock(connection: Any, function: str) -> bool:
    done: bool = await connection.fetchval(f"SELECT {function}($1::int, hashtext(current_schema()))", LOCK_CLASS)
    return done


def _scripts() -> dict[int, str]:
    return {
        int(script.name.partition("_")[0]): script.read_text("utf-8")
        for script in files("qfast.stores").joinpath("schema", "postgres").iterdir()
        if script.name.endswith(".sql")
    }


async def _version(connection: Any, newest: int) -> int:
    """The version of the schema, 0 for none; raises StoreFailed for one that we do not know."""
    version: int = 0
    if await connection.fetchval("SELECT to_regclass('schema_version') IS NOT NULL"):
        version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_version")
    if version > newest:
        raise StoreFailed(
            f"the database has schema version {version}, this qfast knows up to {newest}: use a newer qfast"
        )
    return version


async def _migrate(connection: Any, scripts: dict[int, str]) -> None:
    """Bring the schema up to date, each numbered file in a transaction of its own."""
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version"
        " (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    version = await _version(connection, max(scripts))
    for number in sorted(scripts):
        if number > version:
            async with connection.transaction():
                await connection.execute(scripts[number])
                await connection.execute("INSERT INTO schema_version (version) VALUES ($1)", number)
