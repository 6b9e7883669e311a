"""The session rules on a fake clock: exact scenarios, and a state machine that holds their invariants."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qfast.errors import Conflict, InvalidParams, NotFound, TooMany
from qfast.job import JobRecord, JobStatus
from qfast.sessions import ACTIVE_CLASS, ORDINARY_CLASS, Event, Session, Sessions, SessionState, parse_max_time

HOUR = 3600


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def record(seq: int, session_id: str, status: JobStatus, started_at: float | None = None) -> JobRecord:
    return JobRecord(
        seq=seq,
        job_id=str(seq),
        digest=b"",
        backend="dummy",
        code_type="qasm",
        job_type="sampling",
        job_name=None,
        session_id=session_id,
        tags=(),
        priority=5,
        status=status,
        spec=b"{}",
        started_at=started_at,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock)


def run_one(sessions: Sessions, session: Session, seq: int) -> list[Event]:
    """Submit and start a job; it runs on."""
    sessions.job_submitted(session.id, seq)
    return sessions.job_started(session.id, seq)


# --- max_time


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2h 30m 40s", 9040),
        ("40s 1h", 3640),
        ("1h30m", 5400),
        ("1m 30s", 90),
        (" 7H ", 25_200),
        (90, 90),
        (1, 1),
        (0.2, 1),
        (3.7, 4),
        (8 * HOUR, 8 * HOUR),
        ("8h", 8 * HOUR),
    ],
)
def test_max_time_is_taken(value: object, seconds: int) -> None:
    assert parse_max_time(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("2.5h", "1h30", "5x 10s", "", "h", "90", "soon", "nan", "-5s", "1h 1h", "2 h", "1h\x00", "٣s", "1h" * 50),
        *(True, False, None, [], {}, b"1h", float("nan"), float("inf"), -5, 0, 0.0, "0s", -(1 << 80)),
    ],
)
def test_max_time_is_refused(value: object) -> None:
    with pytest.raises(InvalidParams, match=r"^max_time: ") as refusal:
        parse_max_time(value)
    assert refusal.value.errors[0]["loc"] == ["body", "max_time"]


@pytest.mark.parametrize("value", [28_801, 28_800.5, "1d", "8h 1s", 10**12, 10**4000, 1e300, "999999999d"])
def test_max_time_above_the_maximum_names_both_numbers(value: object) -> None:
    with pytest.raises(InvalidParams, match=r"max_time: .* is above the server's maximum of 28800 seconds") as refusal:
        parse_max_time(value)
    if value == "1d":
        assert "86400" in refusal.value.message


@given(st.one_of(st.text(), st.text("0123456789dhms "), st.integers(), st.floats(), st.binary(), st.none()))
@example("1s" * 45)
@example(1 << 20_000)
def test_max_time_is_in_range_or_refused(value: object) -> None:
    try:
        seconds = parse_max_time(value)
    except InvalidParams as refusal:
        assert "max_time" in refusal.message
        msgspec.json.encode(refusal.as_dict())
    else:
        assert type(seconds) is int
        assert 1 <= seconds <= 8 * HOUR


# --- the life of one session


def test_first_job_activates_and_its_jobs_go_first(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("dummy")
    assert (session.state, session.mode, session.max_time) == (SessionState.OPEN, "dedicated", 8 * HOUR)
    assert sessions.job_submitted(session.id, 1) == ORDINARY_CLASS
    assert sessions.job_submitted(session.id, 2) == ORDINARY_CLASS
    assert sessions.held_for("dummy") is None
    clock.now += 5
    (event,) = sessions.job_started(session.id, 1)
    assert (event.state, event.klass, event.reclassify) == (SessionState.ACTIVE, ACTIVE_CLASS, (2,))
    assert sessions.job_submitted(session.id, 3) == ACTIVE_CLASS
    assert sessions.held_for("dummy") == session.id
    assert sessions.held_for("other") is None
    assert sessions.klass_for(None) == sessions.klass_for("unknown") == ORDINARY_CLASS
    assert session.started_at == session.activated_at == session.last_job_started == clock.now


def test_idle_session_gives_its_backend_up_and_comes_back(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("dummy")
    run_one(sessions, session, 1)
    clock.now += 100
    assert sessions.tick() == [], "a running job keeps it active"
    sessions.job_ended(session.id, 1, JobStatus.COMPLETED)
    idle_since = clock.now
    assert sessions.next_deadline() == idle_since + 60
    clock.now += 59
    assert sessions.tick() == []
    assert sessions.held_for("dummy") == session.id
    clock.now += 1
    assert sessions.held_for("dummy") is None, "the hold ends on time even when the tick is late"
    clock.now += 5
    (event,) = sessions.tick()
    assert (event.reason, event.state, event.klass) == ("interactive_timeout", SessionState.INACTIVE, ORDINARY_CLASS)
    assert sessions.usage_time(session) == 160, "a late tick adds nothing"
    assert sessions.job_submitted(session.id, 2) == ORDINARY_CLASS
    (event,) = sessions.job_started(session.id, 2)
    assert event.state is SessionState.ACTIVE
    assert session.started_at == 1_000_000
    assert session.activated_at == clock.now


def test_one_session_is_active_per_backend(sessions: Sessions, clock: Clock) -> None:
    first, second, elsewhere = sessions.open("dummy"), sessions.open("dummy"), sessions.open("other")
    run_one(sessions, first, 1)
    assert run_one(sessions, second, 2) == []
    assert second.state is SessionState.OPEN
    assert run_one(sessions, elsewhere, 3)[0].state is SessionState.ACTIVE
    sessions.job_ended(first.id, 1, JobStatus.COMPLETED)
    clock.now += 61
    deactivated, activated = run_one(sessions, second, 4)  # nobody ticked yet
    assert (deactivated.session_id, deactivated.reason) == (first.id, "interactive_timeout")
    assert (activated.session_id, activated.state) == (second.id, SessionState.ACTIVE)


def test_batch_holds_nothing(sessions: Sessions, clock: Clock) -> None:
    batch, other = sessions.open("dummy", mode="batch"), sessions.open("dummy")
    run_one(sessions, batch, 1)
    sessions.job_submitted(batch.id, 2)
    assert sessions.klass_for(batch.id) == ACTIVE_CLASS
    assert sessions.held_for("dummy") is None
    assert run_one(sessions, other, 3) == [], "the batch still has jobs"
    clock.now += 3
    sessions.job_started(batch.id, 2)
    clock.now += 4
    assert sessions.usage_time(batch) == 7 + 4
    sessions.job_ended(batch.id, 1, JobStatus.COMPLETED)
    sessions.job_ended(batch.id, 2, JobStatus.FAILED)
    clock.now += 10
    assert sessions.usage_time(batch) == 11
    events = run_one(sessions, other, 4)
    assert [(event.session_id, event.reason) for event in events] == [
        (batch.id, "displaced"),
        (other.id, "job_started"),
    ]


def test_active_timeout_lets_the_queue_go_on(clock: Clock) -> None:
    sessions = Sessions(clock, active_timeout=100)
    session = sessions.open("dummy")
    run_one(sessions, session, 1)
    sessions.job_submitted(session.id, 2)
    clock.now += 100
    (event,) = sessions.tick()
    assert (event.reason, event.klass, event.reclassify) == ("active_timeout", ORDINARY_CLASS, (2,))
    assert sessions.tick() == []


def test_close_drains(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("dummy")
    run_one(sessions, session, 1)
    sessions.job_submitted(session.id, 2)
    assert sessions.close(session.id) == []
    assert sessions.close(session.id) == []
    assert session.state is SessionState.ACTIVE
    with pytest.raises(Conflict, match="session"):
        sessions.job_submitted(session.id, 3)
    assert sessions.job_ended(session.id, 1, JobStatus.COMPLETED) == []
    assert sessions.klass_for(session.id) == ACTIVE_CLASS
    assert sessions.held_for("dummy") is None, "nothing more will come"
    sessions.job_started(session.id, 2)
    clock.now += 3
    (event,) = sessions.job_ended(session.id, 2, JobStatus.COMPLETED)
    assert (event.reason, event.state, event.cancel) == ("drained", SessionState.CLOSED, ())
    assert session.closed_at == clock.now
    assert sessions.close(session.id) == sessions.cancel(session.id) == []


def test_idle_session_closes_at_once(sessions: Sessions) -> None:
    session = sessions.open("dummy")
    (event,) = sessions.close(session.id)
    assert event.state is SessionState.CLOSED
    with pytest.raises(Conflict, match="session"):
        sessions.job_submitted(session.id, 1)
    assert sessions.next_deadline() is None


def test_cancel_drops_the_queued(sessions: Sessions) -> None:
    session = sessions.open("dummy")
    run_one(sessions, session, 1)
    sessions.job_submitted(session.id, 3)
    sessions.job_submitted(session.id, 2)
    (event,) = sessions.cancel(session.id)
    assert (event.reason, event.cancel, event.klass) == ("cancelled", (3, 2), ORDINARY_CLASS)
    for seq in event.cancel:
        assert sessions.job_ended(session.id, seq, JobStatus.CANCELLED) == []
    assert sessions.session_view(session)["jobs"] == {"RUNNING": 1, "CANCELLED": 2}
    sessions.job_ended(session.id, 1, JobStatus.COMPLETED)
    assert sessions.session_view(session)["jobs"] == {"COMPLETED": 1, "CANCELLED": 2}


def test_max_time_cancels_the_queued_and_lets_the_running_finish(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("dummy", "1m 30s")
    run_one(sessions, session, 1)
    sessions.job_submitted(session.id, 2)
    clock.now += 90
    with pytest.raises(Conflict, match="session"):
        sessions.job_submitted(session.id, 3)
    clock.now += 1000
    (event,) = sessions.tick()
    assert (event.reason, event.cancel, session.state) == ("max_time", (2,), SessionState.CLOSED)
    assert session.closed_at == session.opened_at + 90
    assert sessions.session_view(session)["remaining_time"] == 0
    assert sessions.job_ended(session.id, 1, JobStatus.COMPLETED) == []
    assert sessions.usage_time(session) == 1090, "the job that ran on is paid for"


def test_job_that_starts_late_activates_nothing(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("dummy", 10)
    sessions.job_submitted(session.id, 1)
    clock.now += 10
    assert sessions.job_started(session.id, 1) == []  # the tick is late, too
    assert session.state is SessionState.OPEN
    (event,) = sessions.tick()
    assert (event.reason, event.cancel) == ("max_time", ())


def test_unknown_session_is_not_found(sessions: Sessions) -> None:
    for call in (sessions.get, sessions.close, sessions.cancel, lambda sid: sessions.job_submitted(sid, 1)):
        with pytest.raises(NotFound, match="session"):
            call("no-such-id")
    assert sessions.job_started("x", 1) == sessions.job_ended("x", 1, JobStatus.FAILED) == []
    assert sessions.job_requeued("x", 1) == []


def test_refused_submit_leaves_no_trace(sessions: Sessions) -> None:
    session = sessions.open("dummy")
    sessions.job_submitted(session.id, 1)
    assert sessions.job_withdrawn(session.id, 1) == []
    assert sessions.session_view(session)["jobs"] == {}


def test_find_and_close_all(sessions: Sessions) -> None:
    a, b, c = (sessions.open(backend) for backend in ("x", "x", "y"))
    sessions.close(b.id)
    sessions.job_submitted(c.id, 1)
    assert sessions.find() == [c, b, a]
    assert sessions.find(backend="x") == [b, a]
    assert sessions.find(state="open", limit=1) == [c]
    closing, events = sessions.close_all()
    assert closing == [c, a]
    assert [event.session_id for event in events] == [a.id]
    assert not c.accepting_jobs


def test_numbers_of_sessions_are_bounded(clock: Clock) -> None:
    sessions = Sessions(clock, max_open=2, keep_closed=3)
    for _ in range(10):
        sessions.close(sessions.open("dummy").id)
    assert len(sessions.find()) == 3
    sessions.open("dummy")
    sessions.open("dummy")
    with pytest.raises(TooMany):
        sessions.open("dummy")
    with pytest.raises(InvalidParams, match="mode"):
        sessions.open("dummy", mode="solo")


def test_view_has_the_fields_of_the_contract(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("dummy", 600)
    run_one(sessions, session, 1)
    sessions.cache_used(session.id, hits=0, misses=1)
    sessions.cache_used(session.id, hits=1, misses=0)
    clock.now += 2.5
    started = "1970-01-12T13:46:40.000000"
    assert sessions.session_view(session) == {
        "id": session.id,
        "backend_name": "dummy",
        "mode": "dedicated",
        "interactive_timeout": 60,
        "max_time": 600,
        "active_timeout": 8 * HOUR,
        "state": "active",
        "accepting_jobs": True,
        "last_job_started": started,
        "last_job_completed": None,
        "started_at": started,
        "closed_at": None,
        "activated_at": started,
        "usage_time": 2.5,
        "usage": {"reserved": 2.5, "busy": 2.5, "idle": 0.0},
        "remaining_time": 597.5,
        "jobs": {"RUNNING": 1},
        "circuit_cache": {"hits": 1, "misses": 1},
    }


# --- restart


def test_timers_go_on_while_the_server_is_down(sessions: Sessions, clock: Clock) -> None:
    idle, expiring, draining, closed = (sessions.open(name, 500) for name in ("a", "b", "c", "d"))
    run_one(sessions, idle, 1)
    sessions.job_ended(idle.id, 1, JobStatus.COMPLETED)
    sessions.job_submitted(expiring.id, 2)
    sessions.job_submitted(draining.id, 3)
    sessions.close(draining.id)
    sessions.job_submitted(closed.id, 4)
    sessions.cancel(closed.id)
    clock.now += 100
    again = Sessions.from_bytes(sessions.to_bytes(), clock)
    events = again.restore([record(2, expiring.id, JobStatus.QUEUED), record(4, closed.id, JobStatus.QUEUED)])
    assert {(event.session_id, event.reason, event.cancel) for event in events} == {
        (draining.id, "drained", ()),  # its job ended in the crash
        (closed.id, "recovered", (4,)),  # closed, but not yet cancelled
    }
    (event,) = again.tick()
    assert (event.session_id, event.reason) == (idle.id, "interactive_timeout")
    assert again.usage_time(again.get(idle.id)) == 60
    clock.now += 400
    assert {(event.session_id, event.cancel) for event in again.tick()} == {(idle.id, ()), (expiring.id, (2,))}


def test_requeued_job_of_a_closed_session_is_cancelled(sessions: Sessions) -> None:
    session = sessions.open("dummy")
    run_one(sessions, session, 1)
    assert sessions.job_requeued(session.id, 1) == []
    sessions.job_started(session.id, 1)
    sessions.cancel(session.id)
    (event,) = sessions.job_requeued(session.id, 1)
    assert (event.reason, event.cancel) == ("recovered", (1,))


class SessionMachine(RuleBasedStateMachine):
    """Two backends, a fake clock, and a queue that does nothing but what the events say."""

    OPTIONS: ClassVar[dict[str, Any]] = {"interactive_timeout": 10, "active_timeout": 40, "maximum_max_time": 1000}

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.sessions = Sessions(self.clock, **self.OPTIONS)
        self.states: dict[str, SessionState] = {}  # as the events tell
        self.queue: dict[int, tuple[str, int]] = {}  # sequence: session, heap class as the events tell
        self.running: dict[int, tuple[str, float]] = {}
        self.counts: dict[str, Counter[str]] = {}
        self.idle_since: dict[str, float] = {}
        self.busy: Counter[str] = Counter()  # seconds with a running job
        self.next_seq = 1

    def apply(self, events: list[Event]) -> None:
        for event in events:
            assert self.states[event.session_id] is not SessionState.CLOSED, "a closed session never changes"
            self.states[event.session_id] = event.state
            if event.reason == "displaced":
                assert self.sessions.get(event.session_id).mode == "batch"
                assert not self.live(event.session_id)
            for seq in event.reclassify:
                assert self.queue[seq][0] == event.session_id
                self.queue[seq] = (event.session_id, event.klass)
            for seq in event.cancel:
                assert event.state is SessionState.CLOSED
                self.end(seq, JobStatus.CANCELLED)

    def end(self, seq: int, status: JobStatus) -> None:
        session_id = (self.queue.pop(seq, None) or self.running.pop(seq))[0]
        self.counts[session_id][status.value] += 1
        if not self.live(session_id):
            self.idle_since[session_id] = self.clock.now
        self.apply(self.sessions.job_ended(session_id, seq, status))

    def pass_to(self, time: float) -> None:
        """Let the clock show a later time."""
        for session_id in {session_id for session_id, _ in self.running.values()}:
            self.busy[session_id] += time - self.clock.now
        self.clock.now = time

    def live(self, session_id: str) -> list[int]:
        return [seq for seq, entry in [*self.queue.items(), *self.running.items()] if entry[0] == session_id]

    @rule(
        backend=st.sampled_from("ab"),
        max_time=st.sampled_from([20, 90, 1000]),
        mode=st.sampled_from(["dedicated", "batch"]),
    )
    def open(self, backend: str, max_time: int, mode: str) -> None:
        session = self.sessions.open(backend, max_time, mode)
        self.states[session.id] = SessionState.OPEN
        self.counts[session.id] = Counter()

    @initialize()
    def open_some(self) -> None:
        for backend, mode in ("a", "dedicated"), ("a", "batch"), ("b", "dedicated"), ("a", "dedicated"):
            self.open(backend, 1000, mode)

    @rule(data=st.data(), count=st.integers(1, 3))
    def submit(self, data: st.DataObject, count: int) -> None:
        session = self.sessions.get(data.draw(st.sampled_from(list(self.states))))
        takes = session.accepting_jobs and session.state is not SessionState.CLOSED
        for seq in range(self.next_seq, self.next_seq + count):
            try:
                klass = self.sessions.job_submitted(session.id, seq)
            except Conflict:
                assert not takes
            else:
                assert takes
                self.queue[seq] = (session.id, klass)
        self.next_seq += count

    @rule(backend=st.sampled_from("aab"))
    def start(self, backend: str) -> None:
        """Start the first job of a backend as the engine does."""
        jobs = [seq for seq, (sid, _) in self.queue.items() if self.sessions.get(sid).backend_name == backend]
        if not jobs:
            return
        seq = min(jobs, key=lambda seq: (self.queue[seq][1], seq))
        holder = self.sessions.held_for(backend)
        if holder is None or holder == self.queue[seq][0]:
            session_id, _ = self.queue.pop(seq)
            self.running[seq] = (session_id, self.clock.now)
            self.apply(self.sessions.job_started(session_id, seq))

    @rule(data=st.data(), status=st.sampled_from([JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED]))
    def finish(self, data: st.DataObject, status: JobStatus) -> None:
        if jobs := [*self.running, *(self.queue if status is JobStatus.CANCELLED else [])]:
            self.end(data.draw(st.sampled_from(jobs)), status)

    @rule(data=st.data(), how=st.sampled_from(["close", "cancel"]))
    def close(self, data: st.DataObject, how: str) -> None:
        self.apply(getattr(self.sessions, how)(data.draw(st.sampled_from(list(self.states)))))

    @rule(seconds=st.sampled_from([0.5, 3, 9.5, 10, 11, 40]), jump=st.booleans())
    def wait(self, seconds: float, jump: bool) -> None:
        """Time passes; timers fire on time, or late after a jump."""
        end = self.clock.now + seconds
        while not jump and (due := self.sessions.next_deadline()) is not None and due <= end:
            assert due > self.clock.now
            self.pass_to(due)
            self.apply(self.sessions.tick())
        self.pass_to(end)
        self.apply(self.sessions.tick())

    @rule()
    def restart(self) -> None:
        before = [self.sessions.session_view(session) for session in self.sessions.find()]
        records = [record(seq, sid, JobStatus.QUEUED) for seq, (sid, _) in self.queue.items()]
        records += [record(seq, sid, JobStatus.RUNNING, at) for seq, (sid, at) in self.running.items()]
        self.sessions = Sessions.from_bytes(self.sessions.to_bytes(), self.clock, **self.OPTIONS)
        assert self.sessions.restore(records) == []
        assert [self.sessions.session_view(session) for session in self.sessions.find()] == before

    @invariant()
    def rules_hold(self) -> None:
        now, active = self.clock.now, Counter[str]()
        assert self.sessions.tick() == [], "every rule leaves nothing that is due"
        deadline = self.sessions.next_deadline()
        assert (deadline is None) == all(state is SessionState.CLOSED for state in self.states.values())
        assert deadline is None or deadline > now
        for session in self.sessions.find():
            assert session.state is self.states[session.id], "events tell every change"
            active[session.backend_name] += session.state is SessionState.ACTIVE
            queued = [seq for seq, (sid, _) in self.queue.items() if sid == session.id]
            running = [seq for seq, (sid, _) in self.running.items() if sid == session.id]
            expected = self.counts[session.id] + Counter({"QUEUED": len(queued), "RUNNING": len(running)})
            assert self.sessions.session_view(session)["jobs"] == dict(expected)
            if session.state is SessionState.CLOSED:
                assert not queued, "what was queued is cancelled"
            else:
                assert now < session.opened_at + session.max_time
            if session.state is SessionState.ACTIVE:
                assert session.activated_at is not None
                assert now < session.activated_at + 40
                assert self.live(session.id) or now < self.idle_since[session.id] + 10
            assert self.sessions.usage_time(session) >= 0
            self.times_hold(session)
        assert all(count <= 1 for count in active.values()), "one active session per backend"
        for sid, klass in self.queue.values():
            assert klass == self.sessions.klass_for(sid)
        for backend in "ab":
            holder = self.sessions.held_for(backend)
            assert holder is None or self.states[holder] is SessionState.ACTIVE

    def times_hold(self, session: Session) -> None:
        view = self.sessions.session_view(session)
        usage, used = view["usage"], view["usage_time"]
        assert usage["busy"] == pytest.approx(self.busy[session.id])
        assert usage["idle"] == pytest.approx(usage["reserved"] - usage["busy"])
        assert 0 <= usage["reserved"] <= self.clock.now - session.opened_at
        if session.mode == "dedicated":
            assert usage["reserved"] == used
        else:  # a batch holds nothing, and its jobs may run beside each other
            assert usage["reserved"] == usage["busy"]
            assert used >= usage["busy"] - 1e-6


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
