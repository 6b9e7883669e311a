"""How jobs lie in PostgreSQL's tables: statements, and the verbs that a flush applies, one round trip for each run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

from qfast.job import FINAL, Change, JobQuery, JobRecord
from qfast.stores.tables import COLUMNS, pack, row_of, unpack

OF_STATE = frozenset({"priority", "status", "attempt", "num_qubits", "started_at", "updated_at", "ended_at"})
SELECTED = ", ".join(f"state.{name}" if name in OF_STATE else f"job.{name}" for name in COLUMNS) + ", job.spec"
SELECT = f"SELECT {SELECTED} FROM job JOIN job_state AS state USING (seq)"  # noqa: S608
LIVE = "('QUEUED', 'RUNNING', 'CANCELLING')"
QUEUED = """
SELECT seq, job.backend, priority, tenant FROM job_state JOIN job USING (seq)
WHERE status = 'QUEUED' AND job_state.session_id IS NULL AND seq > $1 ORDER BY seq LIMIT $2
"""
LOAD = f"""
SELECT {SELECTED}, CASE WHEN length(source.source) <= $2 THEN source.source END
FROM job JOIN job_state AS state USING (seq) LEFT JOIN job_source AS source USING (seq) WHERE job.seq = ANY($1::bigint[])
"""  # noqa: S608
LONG = 64 << 10  # bytes of text from which packing and unpacking go to a thread

TYPES = {
    "seq": "bigint", "digest": "bytea", "priority": "integer", "attempt": "integer", "num_qubits": "integer",
    "created_at": "float8", "started_at": "float8", "updated_at": "float8", "ended_at": "float8",
}  # fmt: skip
COUNT = len(COLUMNS)
JOB = "seq, job_id, digest, backend, code_type, job_type, job_name, session_id, tags, created_at, tenant, spec"
STATE = "seq, backend, priority, status, attempt, num_qubits, started_at, updated_at, ended_at, session_id"
# Ids in one order, so that two nodes that store the same ones cannot wait for each other.
APPEND = f"""
WITH asked AS (
    SELECT * FROM unnest({", ".join(f"${place}::{TYPES.get(name, 'text')}[]" for place, name in enumerate(COLUMNS, 1))},
                         ${COUNT + 1}::bytea[], ${COUNT + 2}::bytea[]) AS asked ({", ".join(COLUMNS)}, spec, source)
),
given AS MATERIALIZED (
    SELECT CASE WHEN seq = 0 THEN nextval('job_seq') ELSE seq END AS seq, {", ".join(COLUMNS[1:])}, spec, source
    FROM asked
),
state AS (INSERT INTO job_state ({STATE}) SELECT {STATE} FROM given),
source AS (INSERT INTO job_source (seq, source) SELECT seq, source FROM given),
tag AS (INSERT INTO job_tag (tag, seq) SELECT tag, seq FROM given
        JOIN unnest(${COUNT + 3}::text[], ${COUNT + 4}::text[]) AS tagged (tag, job_id) USING (job_id))
INSERT INTO job ({JOB}) SELECT {JOB} FROM given ORDER BY job_id RETURNING job_id, seq
"""  # noqa: S608
# A seq that the caller chose: the next ones are above it.
RAISE_SEQ = "SELECT setval('job_seq', greatest($1, last_value)) FROM job_seq"
LAST_SEQ = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM job_seq"

# Compare-and-set of distinct jobs; what goes with a change is written for the winners only.
CHANGE = """
WITH change AS (
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[], $5::float8[], $6::integer[],
                         $7::float8[], $8::float8[], $9::integer[], $10::integer[], $11::bigint[], $12::boolean[])
    AS change (seq, attempt, entered_from, status, at, next_attempt, started_at, ended_at, priority, num_qubits, owner,
               release)
),
won AS (
    UPDATE job_state AS state SET
        status = change.status,
        updated_at = change.at,
        attempt = coalesce(change.next_attempt, state.attempt),
        started_at = coalesce(change.started_at, state.started_at),
        ended_at = coalesce(change.ended_at, state.ended_at),
        priority = coalesce(change.priority, state.priority),
        num_qubits = coalesce(change.num_qubits, state.num_qubits),
        owner = CASE WHEN change.release THEN NULL ELSE state.owner END
    FROM change
    WHERE state.seq = change.seq AND state.attempt = change.attempt
        AND (change.owner IS NULL OR change.owner = state.owner)
        AND strpos(change.entered_from, ' ' || state.status || ' ') > 0
    RETURNING state.seq
),
described AS (
    UPDATE job SET job_name = nullif(coalesce(new.job_name, job.job_name), ''), spec = coalesce(new.spec, job.spec)
    FROM unnest($13::bigint[], $14::text[], $15::bytea[]) AS new (seq, job_name, spec)
    WHERE job.seq = new.seq AND job.seq IN (SELECT seq FROM won)
),
result AS (
    INSERT INTO job_result (seq, results)
    SELECT * FROM unnest($16::bigint[], $17::bytea[]) AS new (seq, results) WHERE seq IN (SELECT seq FROM won)
    ON CONFLICT (seq) DO UPDATE SET results = excluded.results
),
owed AS (
    INSERT INTO callback (webhook_id, seq, spec, body, tries, due_at)
    SELECT webhook_id, new.seq, spec, body, tries, due_at
    FROM unnest($18::bigint[], $19::text[], $20::bigint[], $21::bytea[], $22::bytea[], $23::integer[], $24::float8[])
    AS new (change_seq, webhook_id, seq, spec, body, tries, due_at) WHERE change_seq IN (SELECT seq FROM won)
)
SELECT seq FROM won
"""

# Not while it runs. What is owed by callback stays owed; the record of what has ended goes.
DELETE = """
WITH state AS (DELETE FROM job_state WHERE seq = ANY($1::bigint[]) AND status NOT IN ('RUNNING', 'CANCELLING')
               RETURNING seq),
gone AS (DELETE FROM job USING state WHERE job.seq = state.seq RETURNING job_id),
source AS (DELETE FROM job_source WHERE seq IN (SELECT seq FROM state)),
result AS (DELETE FROM job_result WHERE seq IN (SELECT seq FROM state)),
tag AS (DELETE FROM job_tag WHERE seq IN (SELECT seq FROM state)),
ended AS (DELETE FROM callback_log WHERE seq IN (SELECT seq FROM state)),
taken AS (INSERT INTO deleted_job (job_id, until) SELECT job_id, $2::float8 FROM gone
          ON CONFLICT (job_id) DO UPDATE SET until = excluded.until)
SELECT seq FROM state
"""

RETAG = "UPDATE job SET tags = $2 WHERE seq = $1"
UNTAG = "DELETE FROM job_tag WHERE seq = $1"
TAG = "INSERT INTO job_tag (tag, seq) SELECT tag, $1 FROM unnest($2::text[]) AS given (tag)"

PUT_NOTE = """
INSERT INTO note (name, value) SELECT * FROM unnest($1::text[], $2::bytea[])
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """The rows turned into one list for each of the `width` columns, as unnest takes them."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def tag_text(tag: str) -> str:
    """A tag as its table holds it: as a JSON string, since PostgreSQL's text takes no NUL."""
    return json.dumps(tag)


def _packed(texts: Iterable[tuple[bytes, int]]) -> list[bytes]:
    return [pack(text, level) for text, level in texts]


async def packed(texts: list[tuple[bytes, int]]) -> list[bytes]:
    """Stored texts; much of it is deflated beside the event loop."""
    if sum(len(text) for text, _ in texts) < LONG:
        return _packed(texts)
    return await asyncio.to_thread(_packed, texts)


async def unpacked(blob: bytes, what: str) -> bytes:
    """The text; raises InternalError when it is not what was stored."""
    return unpack(blob, what) if len(blob) < LONG else await asyncio.to_thread(unpack, blob, what)


async def append_jobs(connection: Any, payloads: list[tuple[JobRecord, bytes, int]]) -> list[int]:
    """The verb of `PostgresStore.append`; gives the sequence numbers."""
    jobs = [job for job, _, _ in payloads]
    sources = await packed([(source, level) for _, source, level in payloads])
    tags = [(tag_text(tag), job.job_id) for job in jobs for tag in dict.fromkeys(job.tags)]
    values = columns([row_of(job) for job in jobs], COUNT)
    rows = await connection.fetch(APPEND, *values, [job.spec for job in jobs], sources, *columns(tags, 2))
    chosen = max(job.seq for job in jobs)
    if chosen:
        await connection.fetch(RAISE_SEQ, chosen)
    seqs = dict(rows)
    return [seqs[job.job_id] for job in jobs]


async def apply_changes(connection: Any, payloads: list[tuple[Change, ...]]) -> list[list[bool]]:
    """The verb of `PostgresStore.apply`: runs without a repeated job, since one statement changes a row only once."""
    answers = [[False] * len(changes) for changes in payloads]
    run: dict[int, tuple[Change, list[bool], int]] = {}

    async def end_run() -> None:
        won = await change_jobs(connection, [change for change, _, _ in run.values()])
        for seq in won:
            _, answer, place = run[seq]
            answer[place] = True
        run.clear()

    for changes, answer in zip(payloads, answers, strict=True):
        for place, change in enumerate(changes):
            if change.seq in run:
                await end_run()
            run[change.seq] = (change, answer, place)
    if run:
        await end_run()
    return answers


async def change_jobs(connection: Any, changes: list[Change]) -> list[int]:
    """Compare-and-set of distinct jobs; gives the winners' seqs."""
    rows = [
        (
            change.seq, change.attempt, f" {' '.join(change.entered_from)} ", change.status.value, change.at,
            change.next_attempt, change.started_at, change.ended_at, change.priority, change.num_qubits, change.owner,
            change.release or change.status in FINAL,
        )
        for change in changes
    ]  # fmt: skip
    described = [
        (change.seq, change.job_name, change.spec)
        for change in changes
        if change.job_name is not None or change.spec is not None
    ]
    texts = [(change.seq, change.results) for change in changes if change.results is not None]
    results = await packed([(text, 0) for _, text in texts])
    owed = [
        (change.seq, c.webhook_id, c.seq, c.spec, c.body, c.tries, c.due_at)
        for change in changes
        for c in change.callbacks
    ]
    won = await connection.fetch(
        CHANGE, *columns(rows, 12), *columns(described, 3), [seq for seq, _ in texts], results, *columns(owed, 7)
    )
    seqs = {row[0] for row in won}
    for change in changes:
        if change.tags is not None and change.seq in seqs:  # rare: a statement more in the same transaction
            tags = [tag_text(tag) for tag in dict.fromkeys(change.tags)]
            await connection.fetch(RETAG, change.seq, json.dumps(change.tags))
            await connection.fetch(UNTAG, change.seq)
            await connection.fetch(TAG, change.seq, tags)
    return [row[0] for row in won]


async def delete_jobs(connection: Any, payloads: list[tuple[tuple[int, ...], float]]) -> list[list[int]]:
    """The verb of `PostgresStore.delete`."""
    answers = [[row[0] for row in await connection.fetch(DELETE, seqs, until)] for seqs, until in payloads]
    # Ids are held for a day or so: what ran out a month before this one does is long free.
    await connection.fetch("DELETE FROM deleted_job WHERE until < $1", payloads[-1][1] - 30 * 86400)
    return answers


async def put_notes(connection: Any, payloads: list[tuple[str, bytes]]) -> list[None]:
    """The verb of `PostgresStore.put_note`."""
    await connection.fetch(PUT_NOTE, *columns(list(dict(payloads).items()), 2))
    return [None] * len(payloads)


def condition(query: JobQuery) -> tuple[str, list[Any]]:
    """The WHERE of a query and its values; nothing of the query stands in the text."""
    given = [
        ("job.backend = {}", query.backend),
        ("job.code_type = {}", query.code_type),
        ("job.job_type = {}", query.job_type),
        ("job.job_name = {}", query.job_name),
        ("state.priority = {}", query.priority),
        ("job.session_id = {}", query.session_id),
        ("job.tenant = {}", query.tenant),
        ("job.created_at >= {}", query.created_after),
        ("job.created_at < {}", query.created_before),
        ("job.seq < {}", query.before_seq),
        ("job.job_id = ANY({}::text[])", query.job_ids),
        ("state.status = ANY({}::text[])", query.job_status and [status.value for status in query.job_status]),
        *(("job.seq IN (SELECT seq FROM job_tag WHERE tag = {})", tag_text(tag)) for tag in query.tags or ()),
    ]
    terms = [(term, value) for term, value in given if value is not None]
    values = [value for _, value in terms]
    where = " AND ".join(term.format(f"${place}") for place, (term, _) in enumerate(terms, 1)) or "true"
    return f" WHERE {where}", values


def list_statement(query: JobQuery) -> tuple[str, list[Any]]:
    """The SQL of a query and its values."""
    where, values = condition(query)
    return f"{SELECT}{where} ORDER BY job.seq DESC LIMIT ${len(values) + 1}", [*values, query.limit]
