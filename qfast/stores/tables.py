"""How jobs lie in SQLite's tables: rows, statements, and the verbs that the writer thread applies."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import repeat
from typing import Any

from qfast.errors import InternalError
from qfast.job import Change, JobQuery, JobRecord, JobStatus

RAW, ZLIB = b"\x00", b"\x01"  # first byte of a stored text
COMPRESS_FROM = 512  # bytes; below, the set-up of deflate costs more than it saves
LONGEST_RUN = 128  # rows of one statement, a power of two: 128 x 18 columns stay under SQLite's 32,766 variables
COLUMNS = (
    "seq", "job_id", "digest", "backend", "code_type", "job_type", "job_name", "session_id", "tags", "priority",
    "status", "attempt", "num_qubits", "created_at", "started_at", "updated_at", "ended_at", "tenant",
)  # fmt: skip
SELECT = f"SELECT {', '.join(f'job.{name}' for name in COLUMNS)}, spec FROM job LEFT JOIN job_spec USING (seq)"  # noqa: S608
STATUS = {status.value: status for status in JobStatus}
CALLBACK = "callback (webhook_id, seq, spec, body, tries, due_at)"
LIVE = "('QUEUED', 'RUNNING', 'CANCELLING')"

WAITING = "status = 'QUEUED' AND session_id IS NULL"
NOT_WAITING = "(status IN ('RUNNING', 'CANCELLING') OR (status = 'QUEUED' AND session_id IS NOT NULL))"
QUEUED = f"SELECT seq, backend, priority, tenant FROM job WHERE {WAITING} AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
LOAD = f"""
SELECT {", ".join(f"job.{name}" for name in COLUMNS)}, spec, CASE WHEN length(source) <= ? THEN source END
FROM json_each(?) AS wanted CROSS JOIN job ON job.seq = wanted.value
LEFT JOIN job_spec ON job_spec.seq = job.seq LEFT JOIN job_source ON job_source.seq = job.seq
"""  # noqa: S608

CHANGE = """
WITH change (seq, attempt, entered_from, status, at, next_attempt, started_at, ended_at, priority, job_name, num_qubits)
AS (VALUES {rows})
UPDATE job SET
    status = change.status,
    updated_at = change.at,
    attempt = coalesce(change.next_attempt, job.attempt),
    started_at = coalesce(change.started_at, job.started_at),
    ended_at = coalesce(change.ended_at, job.ended_at),
    priority = coalesce(change.priority, job.priority),
    job_name = nullif(coalesce(change.job_name, job.job_name), ''),
    num_qubits = coalesce(change.num_qubits, job.num_qubits)
FROM change
WHERE job.seq = change.seq AND job.attempt = change.attempt AND instr(change.entered_from, ' ' || job.status || ' ') > 0
RETURNING seq
"""


def pack(text: bytes, level: int) -> bytes:
    """A stored text: one byte that says how, a CRC-32 of the text, then the text, raw or deflated, whichever is shorter."""
    check = zlib.crc32(text).to_bytes(4, "big")
    if level > 0 and len(text) >= COMPRESS_FROM:
        packed = zlib.compress(text, level)
        if len(packed) < len(text):
            return ZLIB + check + packed
    return RAW + check + text


def unpack(blob: bytes, what: str) -> bytes:
    """The text; raises InternalError when it is not what was stored, since SQLite itself does not see a flipped bit."""
    try:
        text = zlib.decompress(blob[5:]) if blob[:1] == ZLIB else blob[5:]
    except zlib.error:
        text = None
    if text is None or blob[:1] not in (RAW, ZLIB) or zlib.crc32(text) != int.from_bytes(blob[1:5], "big"):
        raise InternalError(f"{what} is damaged in the database")
    return text


@cache
def row_marks(columns: int, rows: int) -> str:
    """``(?, ?), (?, ?)`` for a statement that takes several rows."""
    return ", ".join(repeat(f"({', '.join(repeat('?', columns))})", rows))


def runs(rows: Sequence[Sequence[Any]]) -> Iterable[tuple[int, list[Any]]]:
    """Cut rows into runs of powers of two, flattened, so that few prepared statements serve any number of rows."""
    start = 0
    while start < len(rows):
        length = min(LONGEST_RUN, 1 << ((len(rows) - start).bit_length() - 1))
        yield length, [value for row in rows[start : start + length] for value in row]
        start += length


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows of all of a table's leading columns, many per statement; the table's name is ours."""
    for length, values in runs(rows):
        connection.execute(f"INSERT INTO {table} VALUES {row_marks(len(rows[0]), length)}", values)  # noqa: S608


def append_jobs(connection: sqlite3.Connection, payloads: list[tuple[JobRecord, bytes, int]]) -> list[None]:
    """The verb of `SqliteStore.append`."""
    sources = [(job.seq, pack(source, level)) for job, source, level in payloads]
    jobs = [job for job, _, _ in payloads]
    insert(connection, f"job ({', '.join(COLUMNS)})", [row_of(job) for job in jobs])
    insert(connection, "job_spec", [(job.seq, job.spec) for job in jobs])
    insert(connection, "job_source", sources)
    insert(connection, "job_tag", [(tag, job.seq) for job in jobs for tag in dict.fromkeys(job.tags)])
    return [None] * len(jobs)


def apply_changes(connection: sqlite3.Connection, payloads: list[tuple[Change, ...]]) -> list[list[bool]]:
    """The verb of `SqliteStore.apply`: runs without a repeated job, since one statement changes a row only once."""
    answers: list[list[bool]] = []
    run: dict[int, Change] = {}
    places: list[tuple[list[bool], int, int]] = []

    def end_run() -> None:
        won = change_jobs(connection, list(run.values()))
        for answer, place, seq in places:
            answer[place] = seq in won
        run.clear()
        places.clear()

    for changes in payloads:
        answer = [False] * len(changes)
        answers.append(answer)
        for place, change in enumerate(changes):
            if change.seq in run:
                end_run()
            run[change.seq] = change
            places.append((answer, place, change.seq))
    end_run()
    return answers


def change_jobs(connection: sqlite3.Connection, changes: list[Change]) -> set[int]:
    """Compare-and-set of distinct jobs; results, specs and callbacks of the winners only. Gives the winners' seqs."""
    rows = [
        (
            change.seq, change.attempt, f" {' '.join(change.entered_from)} ", change.status.value, change.at,
            change.next_attempt, change.started_at, change.ended_at, change.priority, change.job_name,
            change.num_qubits,
        )
        for change in changes
    ]  # fmt: skip
    won: set[int] = set()
    for length, values in runs(rows):
        statement = CHANGE.format(rows=row_marks(len(rows[0]), length))
        won.update(seq for (seq,) in connection.execute(statement, values).fetchall())
    winners = [change for change in changes if change.seq in won]
    specs = [(change.spec, change.seq) for change in winners if change.spec is not None]
    if specs:
        connection.executemany("UPDATE job_spec SET spec = ? WHERE seq = ?", specs)
    results = [(change.seq, pack(change.results, 0)) for change in winners if change.results is not None]
    if results:
        chosen = json.dumps([seq for seq, _ in results])
        connection.execute("DELETE FROM job_result WHERE seq IN (SELECT value FROM json_each(?))", (chosen,))
        insert(connection, "job_result", results)
    tagged = [change for change in winners if change.tags is not None]
    if tagged:
        connection.executemany("UPDATE job SET tags = ? WHERE seq = ?", [(json.dumps(c.tags), c.seq) for c in tagged])
        connection.executemany("DELETE FROM job_tag WHERE seq = ?", [(change.seq,) for change in tagged])
        insert(connection, "job_tag", [(tag, c.seq) for c in tagged for tag in dict.fromkeys(c.tags or ())])
    owed = [callback for change in winners for callback in change.callbacks]
    insert(connection, CALLBACK, [(c.webhook_id, c.seq, c.spec, c.body, c.tries, c.due_at) for c in owed])
    return won


def delete_jobs(connection: sqlite3.Connection, payloads: list[tuple[tuple[int, ...], float]]) -> list[list[int]]:
    """The verb of `SqliteStore.delete`."""
    answers = []
    for seqs, until in payloads:
        rows = connection.execute(
            "SELECT seq FROM job WHERE seq IN (SELECT value FROM json_each(?))"
            " AND status NOT IN ('RUNNING', 'CANCELLING')",
            (json.dumps(seqs),),
        ).fetchall()
        answers.append([seq for (seq,) in rows])
        chosen = json.dumps(answers[-1])
        connection.execute(
            "INSERT OR REPLACE INTO deleted_job"
            " SELECT job_id, ? FROM job WHERE seq IN (SELECT value FROM json_each(?))",
            (until, chosen),
        )
        # What is owed by callback stays owed; the record of what has ended goes.
        for table in ("job", "job_spec", "job_source", "job_result", "job_tag", "callback_log"):
            connection.execute(
                f"DELETE FROM {table} WHERE seq IN (SELECT value FROM json_each(?))",  # noqa: S608
                (chosen,),
            )
        # Ids are held for a day or so: what ran out a month before this one does is long free.
        connection.execute("DELETE FROM deleted_job WHERE until < ?", (until - 30 * 86400,))
    return answers


def put_notes(connection: sqlite3.Connection, payloads: list[tuple[str, bytes]]) -> list[None]:
    """The verb of `SqliteStore.put_note`."""
    connection.executemany("INSERT OR REPLACE INTO note (name, value) VALUES (?, ?)", payloads)
    return [None] * len(payloads)


def row_of(job: JobRecord) -> tuple[Any, ...]:
    """The job's values in the order of COLUMNS."""
    return (
        job.seq, job.job_id, job.digest, job.backend, job.code_type, job.job_type, job.job_name, job.session_id,
        json.dumps(job.tags) if job.tags else "[]", job.priority, job.status.value, job.attempt, job.num_qubits,
        job.created_at, job.started_at, job.updated_at, job.ended_at, job.tenant,
    )  # fmt: skip


def job_of(row: tuple[Any, ...]) -> JobRecord:
    """The job of a row of SELECT."""
    (
        seq, job_id, digest, backend, code_type, job_type, job_name, session_id, tags, priority, status, attempt,
        num_qubits, created_at, started_at, updated_at, ended_at, tenant, spec,
    ) = row  # fmt: skip
    return JobRecord(
        seq=seq, job_id=job_id, digest=digest, backend=backend, code_type=code_type, job_type=job_type,
        job_name=job_name, session_id=session_id, tags=() if tags == "[]" else tuple(json.loads(tags)),
        priority=priority, status=STATUS[status], attempt=attempt, num_qubits=num_qubits, created_at=created_at,
        started_at=started_at, updated_at=updated_at, ended_at=ended_at, tenant=tenant, spec=spec,
    )  # fmt: skip


def condition(query: JobQuery) -> tuple[str, list[Any]]:
    """The WHERE of a query and its values; nothing of the query stands in the text."""
    terms: list[str] = []
    values: list[Any] = []
    equal = {
        "backend": query.backend,
        "code_type": query.code_type,
        "job_type": query.job_type,
        "job_name": query.job_name,
        "priority": query.priority,
        "session_id": query.session_id,
        "tenant": query.tenant,
    }
    for column, value in equal.items():
        if value is not None:
            terms.append(f"job.{column} = ?")
            values.append(value)
    bounds = {
        "created_at >= ?": query.created_after,
        "created_at < ?": query.created_before,
        "job.seq < ?": query.before_seq,
    }
    for term, bound in bounds.items():
        if bound is not None:
            terms.append(term)
            values.append(bound)
    if query.job_ids is not None:
        terms.append("job_id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(query.job_ids))
    if query.job_status is not None and len(query.job_status) == 1:
        terms.append("status = ?")
        values.append(query.job_status[0].value)
    elif query.job_status is not None:
        # The plus keeps the index out where it would find, and sort, most of the table.
        plus = "+" if JobStatus.COMPLETED in query.job_status else ""
        terms.append(plus + "status IN (SELECT value FROM json_each(?))")  # noqa: S608
        values.append(json.dumps(query.job_status))
    for tag in query.tags or ():
        terms.append("job.seq IN (SELECT seq FROM job_tag WHERE tag = ?)")
        values.append(tag)
    return f" WHERE {' AND '.join(terms)}" if terms else "", values


def list_statement(query: JobQuery) -> tuple[str, list[Any]]:
    """The SQL of a query and its values."""
    where, values = condition(query)
    return f"{SELECT}{where} ORDER BY job.seq DESC LIMIT ?", [*values, query.limit]
