"""What nodes do beside each other: claim jobs, deliveries and sessions, and take over what a dead node held.

All of it is applied by flushes, so that a node whose tenure was ended claims and adopts nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qfast.job import CallbackRecord, JobRecord
from qfast.stores.pg_tables import LIVE, SELECTED, unpacked
from qfast.stores.tables import job_of

CLAIM = """
WITH chosen AS MATERIALIZED (
    SELECT seq FROM job_state WHERE {where} AND status = 'QUEUED' AND owner IS NULL
    ORDER BY {order} LIMIT $2 FOR UPDATE SKIP LOCKED
),
state AS (UPDATE job_state SET owner = $3 FROM chosen WHERE job_state.seq = chosen.seq RETURNING job_state.*)
SELECT {selected}, CASE WHEN length(source.source) <= $4 THEN source.source END AS source
FROM state JOIN job USING (seq) LEFT JOIN job_source AS source USING (seq) ORDER BY state.priority, state.seq
"""
ORDINARY = CLAIM.format(
    where="backend = $1::text AND session_id IS NULL", order="priority, seq", selected=SELECTED
)  # as the index job_queued has them
OF_SESSIONS = CLAIM.format(where="session_id = ANY($1::text[])", order="session_id, seq", selected=SELECTED)

# A node that is dead has no connections to lose; what is left of them may hold locks.
END_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN tenure
    ON application_name IN ('qfast ' || server, 'qfast ' || server || ' heart')
WHERE epoch = ANY($1::bigint[]) AND NOT ended AND pid <> pg_backend_pid() AND datname = current_database()
"""
# A row that is locked belongs to a flush that is still on its way: next time.
END_TENURES = """
UPDATE tenure SET ended = true WHERE epoch IN (
    SELECT epoch FROM tenure WHERE epoch = ANY($1::bigint[]) AND NOT ended FOR UPDATE SKIP LOCKED
)
"""
OVER = """
SELECT epoch FROM unnest($1::bigint[]) AS given (epoch)
WHERE NOT EXISTS (SELECT FROM tenure WHERE tenure.epoch = given.epoch AND NOT ended)
"""
ADOPT_JOBS = f"""
WITH state AS (
    UPDATE job_state SET owner = $2 WHERE owner = ANY($1::bigint[]) AND backend = ANY($3::text[]) RETURNING *
)
SELECT {SELECTED} FROM state JOIN job USING (seq) ORDER BY state.seq
"""  # noqa: S608
ADOPT_SESSIONS = """
UPDATE session SET owner = $2 WHERE owner = ANY($1::bigint[]) AND backend = ANY($3::text[]) RETURNING value
"""
FREE_CALLBACKS = "UPDATE callback SET owner = NULL WHERE owner = ANY($1::bigint[])"

# Deliveries that no other node holds whose tenure goes on.
FREE = """(owner IS NULL OR owner = {epoch}
    OR NOT EXISTS (SELECT FROM tenure WHERE epoch = callback.owner AND NOT ended))"""
NEXT_DUE = f"SELECT min(due_at) FROM callback WHERE {FREE.format(epoch='$1')}"  # noqa: S608
DUE = f"""
WITH chosen AS MATERIALIZED (
    SELECT webhook_id FROM callback WHERE due_at <= $1 AND {FREE.format(epoch="$3")}
    ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE callback SET owner = $3 FROM chosen WHERE callback.webhook_id = chosen.webhook_id RETURNING callback.*
)
SELECT webhook_id, seq, spec, body, tries, due_at FROM claimed ORDER BY due_at
"""  # noqa: S608

LONGEST_COUNT = 10_000
# Among the jobs that nobody has claimed, as the index job_queued has them.
BEFORE = f"""
SELECT count(*) FROM (
    SELECT FROM job_state WHERE backend = $1 AND (priority, seq) < ($2, $3)
        AND status = 'QUEUED' AND owner IS NULL AND session_id IS NULL LIMIT {LONGEST_COUNT}
) AS earlier
"""  # noqa: S608
LIVE_COUNT = f"SELECT status, count(*) FROM job_state WHERE status IN {LIVE} GROUP BY status"  # noqa: S608
WAITING = """
SELECT name FROM unnest($1::text[]) AS given (name) WHERE EXISTS (
    SELECT FROM job_state WHERE backend = name AND status = 'QUEUED' AND owner IS NULL AND session_id IS NULL
)
UNION ALL SELECT '' WHERE EXISTS (
    SELECT FROM job_state WHERE session_id = ANY($2::text[]) AND status = 'QUEUED' AND owner IS NULL
)
"""

PUT_SESSIONS = """
INSERT INTO session (session_id, backend, takes_jobs, opened_at, value, view, owner)
SELECT *, $7::bigint FROM unnest($1::text[], $2::text[], $3::boolean[], $4::float8[], $5::bytea[], $6::bytea[])
ON CONFLICT (session_id) DO UPDATE
    SET takes_jobs = excluded.takes_jobs, value = excluded.value, view = excluded.view, wish = NULL
    WHERE session.owner = excluded.owner
"""


async def claim(
    connection: Any, epoch: int, place: str | Sequence[str], most: int, longest: int
) -> list[tuple[JobRecord, bytes | None]]:
    """Claim the next jobs of a backend, or the jobs of some sessions; those whose sources are short come with them."""
    statement = ORDINARY if isinstance(place, str) else OF_SESSIONS
    return await with_sources(await connection.fetch(statement, place, most, epoch, longest))


async def with_sources(rows: Sequence[Any]) -> list[tuple[JobRecord, bytes | None]]:
    """Jobs of rows whose last column is the source as stored, or null."""
    return [
        (job_of(tuple(row)[:-1]), await unpacked(row[-1], f"the source of job number {row[0]}") if row[-1] else None)
        for row in rows
    ]


async def adopt(
    connection: Any, epoch: int, dead: Sequence[int], left: Sequence[int], backends: Sequence[str]
) -> tuple[list[JobRecord], list[bytes]]:
    """End the tenures of the dead, and take the jobs and the sessions of these and of those that are over already."""
    if dead:
        await connection.fetch(END_CONNECTIONS, dead)
        await connection.fetch(END_TENURES, dead)
    over = [row[0] for row in await connection.fetch(OVER, [*dead, *left])]
    if not over:
        return [], []
    await connection.fetch(FREE_CALLBACKS, over)
    sessions = [row[0] for row in await connection.fetch(ADOPT_SESSIONS, over, epoch, backends)]
    jobs = [job_of(tuple(row)) for row in await connection.fetch(ADOPT_JOBS, over, epoch, backends)]
    return jobs, sessions


async def due_callbacks(connection: Any, epoch: int, now: float, limit: int) -> list[CallbackRecord]:
    """Take the deliveries that are due, the longest due first, those that are ours already among them."""
    return [
        CallbackRecord(webhook_id=key, seq=seq, spec=spec, body=body, tries=tries, due_at=due_at)
        for key, seq, spec, body, tries, due_at in await connection.fetch(DUE, now, limit, epoch)
    ]
