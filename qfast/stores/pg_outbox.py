"""The outbox in PostgreSQL's tables: deliveries put off, ended, owed again, and listed."""

from __future__ import annotations

from typing import Any

from qfast.job import CallbackRecord, DeliveryQuery, DeliveryState
from qfast.stores.pg_tables import columns

PUT_OFF = """
UPDATE callback SET tries = new.tries, due_at = new.due_at, owner = NULL, note = coalesce(new.note, callback.note)
FROM unnest($1::text[], $2::integer[], $3::float8[], $4::text[]) AS new (webhook_id, tries, due_at, note)
WHERE callback.webhook_id = new.webhook_id
"""

END_CALLBACK = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::boolean[], $3::text[]) AS given (webhook_id, delivered, note)
),
gone AS (DELETE FROM callback USING given WHERE callback.webhook_id = given.webhook_id
         RETURNING callback.webhook_id, callback.seq, given.delivered, callback.tries, given.note)
INSERT INTO callback_log (webhook_id, seq, delivered, tries, note)
SELECT gone.* FROM gone JOIN job USING (seq)
ON CONFLICT (webhook_id) DO UPDATE SET
    delivered = excluded.delivered, tries = excluded.tries, note = excluded.note, ended_at = excluded.ended_at
"""

# The node that holds one already has it in its hands.
OWE_AGAIN = """
WITH new AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[], $5::integer[], $6::float8[])
    AS new (webhook_id, seq, spec, body, tries, due_at)
),
there AS (
    UPDATE callback SET due_at = new.due_at FROM new WHERE callback.webhook_id = new.webhook_id
    RETURNING callback.webhook_id
)
INSERT INTO callback (webhook_id, seq, spec, body, tries, due_at)
SELECT new.* FROM new JOIN job USING (seq) WHERE webhook_id NOT IN (SELECT webhook_id FROM there)
ON CONFLICT (webhook_id) DO NOTHING
"""
# Of a job that was deleted only what is owed is left; its id stands in that of the delivery.
OWED = """
SELECT callback.webhook_id, callback.seq, 'owed', callback.spec, callback.tries, callback.note, callback.due_at
FROM callback LEFT JOIN job ON job.seq = callback.seq WHERE true
"""
ENDED = """
SELECT log.webhook_id, log.seq, CASE WHEN log.delivered THEN 'delivered' ELSE 'given_up' END, job.spec, log.tries + 1,
    log.note, extract(epoch FROM log.ended_at)::float8
FROM callback_log AS log JOIN job ON job.seq = log.seq
WHERE NOT EXISTS (SELECT FROM callback WHERE callback.webhook_id = log.webhook_id)
"""


async def put_off_callbacks(connection: Any, payloads: list[tuple[str, int, float, str | None]]) -> list[None]:
    """The verb of `PostgresStore.put_off_callback`; of several for one delivery the last one counts."""
    await connection.fetch(PUT_OFF, *columns(list({row[0]: row for row in payloads}.values()), 4))
    return [None] * len(payloads)


async def end_callbacks(connection: Any, payloads: list[tuple[str, bool, str]]) -> list[None]:
    """The verb of `PostgresStore.end_callback`."""
    await connection.fetch(END_CALLBACK, *columns(list({row[0]: row for row in payloads}.values()), 3))
    return [None] * len(payloads)


async def owe_again(connection: Any, payloads: list[tuple[CallbackRecord, ...]]) -> list[None]:
    """The verb of `PostgresStore.owe_again`."""
    rows = {row.webhook_id: (row.webhook_id, row.seq, row.spec, row.body, row.tries, row.due_at)
            for rows in payloads for row in rows}  # fmt: skip
    await connection.fetch(OWE_AGAIN, *columns(list(rows.values()), 6))
    return [None] * len(payloads)


def statements(query: DeliveryQuery) -> list[tuple[str, list[Any]]]:
    """The SQL of a query and its values: what is owed, and what has ended, each in order and no more than asked for."""
    found = []
    ended = query.states - {DeliveryState.OWED}
    if DeliveryState.OWED in query.states:
        found.append(_statement(OWED, "callback", query))
    if ended:
        word = "" if DeliveryState.DELIVERED in ended else "NOT "
        found.append(_statement(ENDED + (f" AND {word}log.delivered" if len(ended) == 1 else ""), "log", query))
    return found


def _statement(select: str, table: str, query: DeliveryQuery) -> tuple[str, list[Any]]:
    given: list[tuple[str, tuple[Any, ...]]] = [
        ("job.tenant = {}", (query.tenant,)),
        ("job.job_id = ANY({}::text[])", (query.job_ids,)),
        (f"{table}.webhook_id = ANY({{}}::text[])", (query.webhook_ids,)),
        (f"({table}.seq, {table}.webhook_id) < ({{}}, {{}})", query.before or (None,)),
    ]
    where = ""
    values: list[Any] = []
    for term, given_values in given:
        if given_values[0] is not None:
            places = (f"${len(values) + place}" for place in range(1, 1 + len(given_values)))
            where += f" AND {term.format(*places)}"
            values += given_values
    order = f" ORDER BY {table}.seq DESC, {table}.webhook_id DESC LIMIT ${len(values) + 1}"
    return select + where + order, [*values, query.limit]
