"""The outbox in SQLite's tables: deliveries put off, ended, owed again, and listed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from qfast.job import CallbackRecord, Delivery, DeliveryQuery, DeliveryState
from qfast.stores.tables import CALLBACK

# Of a job that was deleted only what is owed is left; its id stands in that of the delivery.
OWED = """
SELECT callback.webhook_id, callback.seq, 'owed', callback.spec, callback.tries, callback.note, callback.due_at
FROM callback LEFT JOIN job ON job.seq = callback.seq WHERE true
"""
ENDED = """
SELECT log.webhook_id, log.seq, iif(log.delivered, 'delivered', 'given_up'), job_spec.spec, log.tries + 1, log.note,
    (julianday(log.ended_at) - 2440587.5) * 86400.0
FROM callback_log AS log JOIN job ON job.seq = log.seq JOIN job_spec ON job_spec.seq = log.seq
WHERE NOT EXISTS (SELECT 1 FROM callback WHERE callback.webhook_id = log.webhook_id)
"""


def put_off_callbacks(connection: sqlite3.Connection, payloads: list[tuple[int, float, str | None, str]]) -> list[None]:
    """The verb of `SqliteStore.put_off_callback`."""
    statement = "UPDATE callback SET tries = ?, due_at = ?, note = coalesce(?, note) WHERE webhook_id = ?"
    connection.executemany(statement, payloads)
    return [None] * len(payloads)


def end_callbacks(connection: sqlite3.Connection, payloads: list[tuple[bool, str, str]]) -> list[None]:
    """The verb of `SqliteStore.end_callback`."""
    connection.executemany(
        "INSERT OR REPLACE INTO callback_log (webhook_id, seq, delivered, tries, note)"
        " SELECT webhook_id, seq, ?, tries, ? FROM callback JOIN job USING (seq) WHERE webhook_id = ?",
        payloads,
    )
    connection.executemany("DELETE FROM callback WHERE webhook_id = ?", [(key,) for _, _, key in payloads])
    return [None] * len(payloads)


def owe_again(connection: sqlite3.Connection, payloads: list[tuple[CallbackRecord, ...]]) -> list[None]:
    """The verb of `SqliteStore.owe_again`."""
    for rows in payloads:
        for row in rows:
            connection.execute("UPDATE callback SET due_at = ? WHERE webhook_id = ?", (row.due_at, row.webhook_id))
            connection.execute(
                f"INSERT OR IGNORE INTO {CALLBACK} SELECT ?, seq, ?, ?, ?, ? FROM job WHERE seq = ?",  # noqa: S608
                (row.webhook_id, row.spec, row.body, row.tries, row.due_at, row.seq),
            )
    return [None] * len(payloads)


def statements(query: DeliveryQuery) -> list[tuple[str, list[Any]]]:
    """The SQL of a query and its values: what is owed, and what has ended, each in order and no more than asked for."""
    found = []
    ended = query.states - {DeliveryState.OWED}
    if DeliveryState.OWED in query.states:
        found.append(_statement(OWED, "callback", query))
    if ended:
        one = f" AND log.delivered = {int(DeliveryState.DELIVERED in ended)}" if len(ended) == 1 else ""
        found.append(_statement(ENDED + one, "log", query))
    return found


def _statement(select: str, table: str, query: DeliveryQuery) -> tuple[str, list[Any]]:
    terms = ""
    values: list[Any] = []
    if query.tenant is not None:
        terms += " AND job.tenant = ?"
        values.append(query.tenant)
    if query.job_ids is not None:
        terms += f" AND {table}.seq IN (SELECT seq FROM job WHERE job_id IN (SELECT value FROM json_each(?)))"  # noqa: S608
        values.append(json.dumps(query.job_ids))
    if query.webhook_ids is not None:
        terms += f" AND {table}.webhook_id IN (SELECT value FROM json_each(?))"  # noqa: S608
        values.append(json.dumps(query.webhook_ids))
    if query.before is not None:
        terms += f" AND ({table}.seq, {table}.webhook_id) < (?, ?)"
        values += query.before
    return f"{select}{terms} ORDER BY {table}.seq DESC, {table}.webhook_id DESC LIMIT ?", [*values, query.limit]


def deliveries_of(rows: Sequence[Sequence[Any]], limit: int) -> list[Delivery]:
    """The deliveries of both kinds of rows, newest job first."""
    ordered = sorted(rows, key=lambda row: (row[1], row[0]), reverse=True)[:limit]
    return [
        Delivery(webhook_id=key, seq=seq, state=DeliveryState(state), spec=spec, attempts=attempts, note=note, at=at)
        for key, seq, state, spec, attempts, note, at in ordered
    ]
