"""Nobody starves: how much longer a job may wait because of the sessions of others.

The bound that docs/sessions.md states: beyond the jobs that stand before it, a job waits for each session at most its
active_timeout, and the job that runs when that is over. Sessions here do their worst: each always has another job, at once or
as late as keeps its hold on the backend.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qfast.job import JobStatus
from qfast.sessions import ORDINARY_CLASS, Sessions

ACTIVE_TIMEOUT = 40.0
INTERACTIVE_TIMEOUT = 10.0
LONGEST = 8.0  # seconds of a job


class Backend:
    """One slot and a queue, ordered and held as the server does it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.sessions = Sessions(
            lambda: self.now, interactive_timeout=INTERACTIVE_TIMEOUT, active_timeout=ACTIVE_TIMEOUT
        )
        self.queue: dict[int, tuple[int, int, str | None, float]] = {}  # sequence: class, priority, session, duration
        self.running: tuple[int, str | None, float] | None = None  # sequence, session, when it ends
        self.started: dict[int, float] = {}
        self.seq = 0

    def submit(self, session_id: str | None, duration: float, priority: int = 5) -> int:
        self.seq += 1
        klass = ORDINARY_CLASS if session_id is None else self.sessions.job_submitted(session_id, self.seq)
        self.queue[self.seq] = klass, priority, session_id, duration
        return self.seq

    def apply(self, events: list[Any]) -> None:
        for event in events:
            for seq in event.reclassify:
                self.queue[seq] = (event.klass, *self.queue[seq][1:])

    def start(self) -> bool:
        """Start the first job that may, unless one runs."""
        if self.running is not None or not self.queue:
            return False
        holder = self.sessions.held_for("dummy")
        free = [seq for seq, job in self.queue.items() if holder in (None, job[2])]
        if not free:
            return False
        seq = min(free, key=lambda seq: (*self.queue[seq][:2], seq))
        _, _, session_id, duration = self.queue.pop(seq)
        self.running = seq, session_id, self.now + duration
        self.started[seq] = self.now
        if session_id is not None:
            self.apply(self.sessions.job_started(session_id, seq))
        return True

    def end(self) -> str | None:
        """End the job that runs; gives its session."""
        assert self.running is not None
        seq, session_id, _ = self.running
        self.running = None
        if session_id is not None:
            self.apply(self.sessions.job_ended(session_id, seq, JobStatus.COMPLETED))
        return session_id


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_job_outside_waits_no_longer_than_the_stated_bound(data: st.DataObject) -> None:
    backend = Backend()
    modes = data.draw(st.lists(st.sampled_from(["dedicated", "batch"]), min_size=1, max_size=3), label="sessions")
    ids = [backend.sessions.open("dummy", mode=mode).id for mode in modes]
    durations = st.floats(0.5, LONGEST)
    gaps = st.one_of(st.just(0.0), st.just(INTERACTIVE_TIMEOUT - 0.01), st.floats(0, 2 * INTERACTIVE_TIMEOUT))
    for session_id in data.draw(st.lists(st.sampled_from(ids), max_size=12), label="already queued"):
        backend.submit(session_id, data.draw(durations))
    coming = dict.fromkeys(ids, backend.now)  # when each submits its next job
    arrival = backend.now + data.draw(st.floats(0, 60), label="arrival")
    outside, bound = 0, 0.0
    while outside not in backend.started:
        if not outside and backend.now >= arrival:
            ahead = sum(job[3] for job in backend.queue.values())
            ahead += backend.running[2] - backend.now if backend.running is not None else 0.0
            outside = backend.submit(None, 1.0)
            bound = backend.now + ahead + len(ids) * (ACTIVE_TIMEOUT + LONGEST) + 1e-6
        for session_id, when in coming.items():
            if when <= backend.now:
                backend.submit(session_id, data.draw(durations))
                coming[session_id] = (
                    backend.now + data.draw(gaps) + (backend.running[2] - backend.now if backend.running else 0.0)
                )
        backend.start()
        steps = [when for when in coming.values() if when > backend.now]
        steps += [backend.running[2]] if backend.running is not None else []
        steps += [due] if (due := backend.sessions.next_deadline()) is not None else []
        steps += [] if outside else [arrival]
        backend.now = min(step for step in steps if step > backend.now or step == due)
        if backend.running is not None and backend.running[2] <= backend.now:
            ended = backend.end()
            if ended is not None and len(backend.queue) < 30:
                coming[ended] = min(coming[ended], backend.now + data.draw(gaps))
        backend.apply(backend.sessions.tick())
        assert not outside or outside in backend.started or backend.now <= bound, "others starve"
    assert backend.started[outside] <= bound
