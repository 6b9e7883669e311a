"""The judge itself: it has nothing to say about a right history, and finds each mistake under its rule."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from history import Call, Delivery, Recorder, Row, violations

History = tuple[Recorder, list[Row]]


def right() -> History:
    """Three jobs of two nodes: one ends at once, one is taken over, one is cancelled."""
    recorder, rows = Recorder(), []
    clock = iter(range(1, 1000))

    def call(op: str, job: str, state: str, **more: object) -> None:
        recorder.calls.append(Call(op, job, float(next(clock)), float(next(clock)), "ok", state, **more))

    def row(seq: int, before: str | None, status: str | None, attempt: int, *owners: int | None) -> None:
        rows.append(
            Row(len(rows), float(next(clock)), seq, f"j{seq}", "dummy", 5, False, before, status, attempt, *owners)
        )

    for seq in (1, 2, 3):
        row(seq, None, "QUEUED", 0, None, None)
        asked = {"callbacks": [1]} if seq == 1 else {"shots": seq}
        call("submit", f"j{seq}", "QUEUED", payload=asked, dates=("a", None))
    for seq, owner in ((1, 7), (2, 8)):
        row(seq, "QUEUED", "QUEUED", 0, None, owner)
        row(seq, "QUEUED", "RUNNING", 1, owner, owner)
    row(1, "RUNNING", "COMPLETED", 1, 7, None)
    row(2, "RUNNING", "RUNNING", 1, 8, 7)
    row(2, "RUNNING", "QUEUED", 1, 7, None)
    row(2, "QUEUED", "QUEUED", 1, None, 7)
    row(2, "QUEUED", "RUNNING", 2, 7, 7)
    call("status", "j2", "RUNNING", dates=("a", None))
    row(2, "RUNNING", "COMPLETED", 2, 7, None)
    row(3, "QUEUED", "CANCELLED", 0, None, None)
    call("cancel", "j3", "CANCELLED")
    call("results", "j1", "COMPLETED", results=[1], dates=("a", "b"))
    recorder.delivered(Delivery("j1", "w1", "COMPLETED", b"x"))
    return recorder, rows


def copy(entry: Row, **fields: object) -> Row:
    return msgspec.structs.replace(entry, **fields)


def say(history: History, op: str, job: str, state: str, **more: object) -> None:
    history[0].calls.append(Call(op, job, 5000.0, 5001.0, "ok", state, **more))


def find(history: History, seq: int, status: str, attempt: int) -> int:
    return next(
        i for i, r in enumerate(history[1]) if (r.seq, r.status, r.attempt) == (seq, status, attempt) and r.before
    )


def begin_out_of_order(history: History) -> None:
    recorder, rows = history
    better = Row(99, 4000.0, 4, "j4", "dummy", 1, False, "QUEUED", "QUEUED", 0, None, 7, 3999.0)
    worse = Row(98, 3000.0, 5, "j5", "dummy", 2, False, "QUEUED", "QUEUED", 0, None, 7, 2999.0)
    for job in ("j4", "j5"):
        recorder.calls.append(Call("submit", job, 100.0, 101.0, "ok", "QUEUED", payload={}))
    rows += [worse, better, *(copy(r, before="QUEUED", status="CANCELLED", owner=None) for r in (worse, better))]


def test_of_two_claims_at_the_same_time_neither_is_out_of_order() -> None:
    recorder, rows = right()
    begin_out_of_order((recorder, rows))
    better = find((recorder, rows), 4, "QUEUED", 0)
    rows[better] = copy(rows[better], chosen=2999.5)  # begun while the worse one was being claimed
    assert violations(recorder, rows) == []


MISTAKES: dict[str, tuple[str, Callable[[History], object]]] = {
    "lost": ("I1", lambda h: say(h, "submit", "j9", "QUEUED", payload={})),
    "from nowhere": ("I1", lambda h: h[1].append(copy(h[1][0], seq=9, job_id="j9"))),
    "two payloads": ("I2", lambda h: say(h, "submit", "j2", "COMPLETED", payload={"shots": 9})),
    "not ended": ("I3", lambda h: h[1].pop(find(h, 3, "CANCELLED", 0))),
    "cancelled and completed": ("I3", lambda h: say(h, "status", "j3", "COMPLETED")),
    "written after the end": ("I3", lambda h: h[1].append(copy(h[1][-1], before="CANCELLED"))),
    "left a final state": ("I4", lambda h: say(h, "status", "j1", "RUNNING")),
    "a row's impossible step": ("I4", lambda h: h[1].append(copy(h[1][0], before="COMPLETED", status="RUNNING"))),
    "results changed": ("I5", lambda h: say(h, "results", "j1", "COMPLETED", results=[2])),
    "ended twice": ("I5", lambda h: h[1].append(h[1][find(h, 1, "COMPLETED", 1)])),
    "callback lost": ("I6", lambda h: h[0].deliveries.clear()),
    "two contents": ("I6", lambda h: h[0].delivered(Delivery("j1", "w1", "COMPLETED", b"y"))),
    "told another state": ("I6", lambda h: h[0].delivered(Delivery("j1", "w1", "FAILED", b"x"))),
    "a date changed": ("I7", lambda h: say(h, "status", "j1", "COMPLETED", dates=("z", "zz"))),
    "ended before its creation": ("I7", lambda h: say(h, "status", "j2", "COMPLETED", dates=("a", "A"))),
    "begun twice": ("I8", lambda h: h[1].insert(find(h, 2, "RUNNING", 2), h[1][find(h, 2, "RUNNING", 2)])),
    "begun without a claim": (
        "I8",
        lambda h: h[1].insert(find(h, 1, "RUNNING", 1), copy(h[1].pop(find(h, 1, "RUNNING", 1)), owner_before=None)),
    ),
    "ended by an old owner": (
        "I8",
        lambda h: h[1].append(copy(h[1].pop(find(h, 2, "COMPLETED", 2)), owner_before=8)),
    ),
    "out of order": ("I9", begin_out_of_order),
}  # fmt: skip


def test_a_right_history_is_in_order() -> None:
    assert violations(*right()) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_found(mistake: str) -> None:
    rule, make = MISTAKES[mistake]
    history = right()
    make(history)
    assert rule in {text.split()[0] for text in violations(*history)}, violations(*history)
