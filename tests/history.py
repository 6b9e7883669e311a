"""What clients and the database saw of many jobs, and the rules that it must obey: the judge of the tests with faults.

Clients record their calls in a `Recorder`. An `Audit` is a trigger in a PostgreSQL database that writes down every change
of a job's row, with its owner and the clock of the database: what was claimed, begun and ended, by whom, whatever the
servers believe. `violations` holds both to these rules:

    I1  no acknowledged submit is lost, and no job comes from nowhere
    I2  one payload for each id
    I3  every job ends once, in one final state, and nothing leaves it; what a cancel listed is never COMPLETED
    I4  reads that do not overlap, and the rows themselves, see only transitions of the state table
    I5  one end is applied for each job, and its results never change
    I6  every callback that was asked for arrives, with one content for each webhook-id, and tells the final state
    I7  dates never change once set, and the end is not before the creation
    I8  attempts grow one by one and none is begun twice; only a node that holds the job begins one, and the same node ends it
    I9  no job is claimed while a better one of its backend, acknowledged before, waits for anybody
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from postgres_kit import sql

from qfast.errors import QfastError

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "DELETED"}
NEXT = {
    "QUEUED": {"RUNNING", "CANCELLED", "FAILED", "DELETED"},
    "RUNNING": {"QUEUED", "COMPLETED", "FAILED", "CANCELLING", "CANCELLED"},  # the last: on asynchronous backends
    "CANCELLING": {"CANCELLED", "COMPLETED", "FAILED"},
    "COMPLETED": {"DELETED"},
    "FAILED": {"DELETED"},
    "CANCELLED": {"DELETED"},
    "DELETED": set[str](),
}


def _reachable() -> dict[str, set[str]]:
    found = {}
    for start in NEXT:
        seen, todo = {start}, [start]
        while todo:
            for state in NEXT[todo.pop()] - seen:
                seen.add(state)
                todo.append(state)
        found[start] = seen
    return found


REACH = _reachable()


class Call(msgspec.Struct):
    """One call of a client: what it asked of one job, when, and what it was told. Times are Unix seconds."""

    op: str  # submit, status, results, cancel, delete
    job_id: str
    sent: float
    answered: float
    outcome: str  # ok; fail: nothing has happened; unknown: it may have happened
    state: str | None = None  # of the job, in the answer
    payload: Any = None
    dates: tuple[Any, Any] = (None, None)  # creation, end
    results: Any = None


class Delivery(msgspec.Struct):
    """A callback that arrived."""

    job_id: str
    webhook_id: str
    state: str
    content: bytes


class Recorder:
    """Takes what clients and receivers see; may be used by many threads."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.deliveries: list[Delivery] = []
        self._lock = threading.Lock()

    def call(self, op: str, job_id: str, act: Callable[[], dict[str, Any] | None], payload: Any = None) -> Any:
        """Make a call and write it down; gives its answer and raises what it raises.

        An error of the server is a refusal, after which nothing has happened; any other leaves it open.
        """
        sent = time.time()
        try:
            answer = act()
        except Exception as error:
            self.note(op, job_id, sent, error, payload)
            raise
        self.note(op, job_id, sent, answer, payload)
        return answer

    def note(
        self, op: str, job_id: str, sent: float, answer: dict[str, Any] | Exception | None, payload: Any = None
    ) -> None:
        """Write down a call that has just been answered, with an answer or an error."""
        outcome = "ok"
        if isinstance(answer, Exception):
            outcome = "fail" if isinstance(answer, QfastError) and not isinstance(answer, OSError) else "unknown"
            answer = None
        told: dict[str, Any] = answer or {}
        entry = Call(
            op, job_id, sent, time.time(), outcome, told.get("job_status"), payload,
            (told.get("creation_date"), told.get("end_date")), told.get("results"),
        )  # fmt: skip
        with self._lock:
            self.calls.append(entry)

    def delivered(self, delivery: Delivery) -> None:
        """Write down a callback that was answered with 2xx."""
        with self._lock:
            self.deliveries.append(delivery)


class Row(msgspec.Struct):
    """A change of a job's row, as the trigger saw it."""

    number: int
    at: float
    seq: int
    job_id: str | None
    backend: str
    priority: int
    session: bool
    before: str | None  # None: it is new
    status: str | None  # None: it is gone
    attempt: int
    owner_before: int | None
    owner: int | None
    chosen: float = 0.0  # when the statement began that made the change: it sees what was committed before


AUDIT = """
CREATE TABLE audit (number bigserial, at double precision, seq bigint, backend text, priority int, session boolean,
    before text, status text, attempt int, owner_before bigint, owner bigint,
    chosen double precision DEFAULT extract(epoch FROM statement_timestamp()));
CREATE TABLE audit_id (seq bigint PRIMARY KEY, job_id text);
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE now double precision := extract(epoch FROM clock_timestamp());
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO audit (at, seq, backend, priority, session, status, attempt, owner)
        VALUES (now, NEW.seq, NEW.backend, NEW.priority, NEW.session_id IS NOT NULL, NEW.status, NEW.attempt, NEW.owner);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO audit (at, seq, backend, priority, session, before, attempt, owner_before)
        VALUES (now, OLD.seq, OLD.backend, OLD.priority, OLD.session_id IS NOT NULL, OLD.status, OLD.attempt, OLD.owner);
    ELSE
        INSERT INTO audit (at, seq, backend, priority, session, before, status, attempt, owner_before, owner)
        VALUES (now, NEW.seq, NEW.backend, NEW.priority, NEW.session_id IS NOT NULL, OLD.status, NEW.status, NEW.attempt,
            OLD.owner, NEW.owner);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON job_state FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE FUNCTION note_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO audit_id VALUES (NEW.seq, NEW.job_id); RETURN NULL; END $$;
CREATE TRIGGER note_id AFTER INSERT ON job FOR EACH ROW EXECUTE FUNCTION note_id();
"""


class Audit:
    """The trigger in the database of that URL, whose schema a server has made."""

    def __init__(self, url: str) -> None:
        self._url = url
        sql(AUDIT, url)

    def rows(self) -> list[Row]:
        """Every change, in order."""
        return [
            Row(*row)
            for row in sql(
                "SELECT number, at, seq, job_id, backend, priority, session, before, status, attempt, owner_before, owner,"
                " chosen FROM audit LEFT JOIN audit_id USING (seq) ORDER BY number",
                self._url,
            )
        ]


def violations(
    recorder: Recorder,
    rows: list[Row],
    *,
    outside: Collection[str] = (),
    faults: Sequence[tuple[float, float]] = (),
    order: bool = True,
) -> list[str]:
    """Every breach of a rule, once all is drained.

    `outside` names backends whose results any node may bring; `faults` are times during which the order of claims is not
    judged, since a node that fell silent in the middle of a claim keeps these jobs locked until its transaction is ended;
    without `order` it is never judged.
    """
    ends = {row.job_id: row.status or "DELETED" for row in rows if row.job_id is not None}
    return [
        *_of_calls(recorder.calls),
        *_of_ends(recorder, ends),
        *_of_rows(rows, outside),
        *(_of_order(recorder.calls, rows, faults) if order else ()),
    ]


def _of_calls(calls: Iterable[Call]) -> Iterator[str]:
    """I2, I4, I7, and I3 and I5 as far as clients can see."""
    payloads: dict[str, Any] = {}
    last: dict[str, tuple[float, str]] = {}
    dates: dict[tuple[str, int], Any] = {}
    results: dict[str, Any] = {}
    cancelled: set[str] = set()
    for call in sorted((call for call in calls if call.outcome == "ok"), key=lambda call: call.answered):
        job = call.job_id
        if call.op == "submit" and payloads.setdefault(job, call.payload) != call.payload:
            yield f"I2 {job}: two payloads were acknowledged"
        if call.state is None:
            continue
        at, before = last.get(job, (0.0, "QUEUED"))
        if at < call.sent and call.state not in REACH[before]:
            yield f"I4 {job}: {before}, then {call.state}"
        if call.answered >= at:
            last[job] = (call.answered, call.state)
        if call.op == "cancel":
            cancelled.add(job)
        elif call.state == "COMPLETED" and job in cancelled:
            yield f"I3 {job}: listed as cancelled, then COMPLETED"
        for index, date in enumerate(call.dates):
            if date is not None and dates.setdefault((job, index), date) != date:
                yield f"I7 {job}: a date changed"
        if None not in call.dates and call.dates[1] < call.dates[0]:
            yield f"I7 {job}: it ended before its creation"
        if call.results is not None and results.setdefault(job, call.results) != call.results:
            yield f"I5 {job}: its results changed"


def _of_ends(recorder: Recorder, ends: dict[str, str]) -> Iterator[str]:
    """I1, I3, I6: what is there in the end."""
    sent = {call.job_id for call in recorder.calls if call.op == "submit"}
    for job in ends.keys() - sent:
        yield f"I1 {job}: nobody has submitted it"
    for job in {call.job_id for call in recorder.calls if call.op == "submit" and call.outcome == "ok"}:
        if job not in ends:
            yield f"I1 {job}: acknowledged and lost"
        elif ends[job] not in FINAL:
            yield f"I3 {job}: {ends[job]} after the drain"
    content: dict[str, bytes] = {}
    heard: dict[str, set[str]] = {}
    for delivery in recorder.deliveries:
        if content.setdefault(delivery.webhook_id, delivery.content) != delivery.content:
            yield f"I6 {delivery.job_id}: one webhook-id, two contents"
        if ends.get(delivery.job_id) not in (delivery.state, "DELETED"):
            yield f"I6 {delivery.job_id}: {delivery.state} was told, {ends.get(delivery.job_id)} is true"
        heard.setdefault(delivery.job_id, set()).add(delivery.webhook_id)
    wanted = {
        call.job_id: len(call.payload.get("callbacks", ()))
        for call in recorder.calls
        if call.op == "submit" and call.payload
    }
    for job, state in ends.items():
        if state in FINAL and state != "DELETED" and len(heard.get(job, ())) != wanted.get(job, 0):
            yield f"I6 {job}: {len(heard.get(job, ()))} of {wanted.get(job, 0)} callbacks arrived"


def _of_rows(rows: Iterable[Row], outside: Collection[str]) -> Iterator[str]:
    """I3, I4, I5, I8: what the database saw."""
    begun: Counter[tuple[int, int]] = Counter()
    ended: Counter[int] = Counter()
    attempts: dict[int, int] = {}
    runners: dict[int, int | None] = {}
    for row in rows:
        if row.before is None:
            continue
        status = row.status or "DELETED"
        if status == row.before and status in FINAL:
            yield f"I3 {row.job_id}: written after its end"
        if status != row.before and status not in NEXT[row.before]:
            yield f"I4 {row.job_id}: {row.before} became {status}"
        if status in FINAL and status != "DELETED":
            ended[row.seq] += 1
        if status == "RUNNING" and row.before == "QUEUED":
            begun[row.seq, row.attempt] += 1
            if row.attempt != attempts.get(row.seq, 0) + 1:
                yield f"I8 {row.job_id}: attempt {row.attempt} after {attempts.get(row.seq, 0)}"
            attempts[row.seq] = row.attempt
            if row.owner is None or row.owner != row.owner_before:
                yield f"I8 {row.job_id}: begun without a claim"
            runners[row.seq] = row.owner
        run_ended = row.before == "RUNNING" and status in ("COMPLETED", "FAILED") and row.backend not in outside
        if run_ended and row.owner_before != runners.get(row.seq):
            yield f"I8 {row.job_id}: begun by node {runners.get(row.seq)}, ended by {row.owner_before}"
    yield from (
        f"I8 {seq}: attempt {attempt} begun {count} times" for (seq, attempt), count in begun.items() if count > 1
    )
    yield from (f"I5 {seq}: ended {count} times" for seq, count in ended.items() if count > 1)


def _of_order(calls: Iterable[Call], rows: list[Row], faults: Sequence[tuple[float, float]]) -> Iterator[str]:
    """I9, only for jobs that were claimed once and that no other command has touched."""
    known = {
        call.job_id: call.answered for call in reversed(list(calls)) if call.op == "submit" and call.outcome == "ok"
    }
    touched = {call.job_id for call in calls if call.op in ("cancel", "update", "delete")}
    claims: dict[int, Row] = {}
    for row in rows:
        if row.status == "QUEUED" and row.owner is not None and row.owner_before is None:
            if row.seq in claims:
                touched.add(row.job_id or "")
            claims.setdefault(row.seq, row)
    plain = [r for r in claims.values() if not r.session and r.job_id in known and r.job_id not in touched]
    for backend in {row.backend for row in plain}:
        claimed = sorted((row for row in plain if row.backend == backend), key=lambda row: row.chosen)
        coming = sorted(((known[row.job_id or ""], row) for row in claimed), key=lambda entry: entry[0], reverse=True)
        waiting: list[tuple[int, int, float, str | None]] = []
        for row in claimed:
            while coming and coming[-1][0] < row.chosen:
                _, other = coming.pop()
                heapq.heappush(waiting, (other.priority, other.seq, other.chosen, other.job_id))
            while waiting and waiting[0][2] <= row.at:  # they were chosen at the same time
                heapq.heappop(waiting)
            silent = any(begin <= row.at <= end for begin, end in faults)
            if waiting and waiting[0][:2] < (row.priority, row.seq) and not silent:
                yield f"I9 {row.job_id} was claimed while {waiting[0][3]} waited"
