"""Lanes: what a call gives, and that every way to go wrong costs one call only."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qfast.errors import (
    GenericFailure,
    JobCancelled,
    ParseError,
    ResourceLimitError,
    TimeLimitError,
    WorkerCrashed,
)
from qfast.lanes import ERRORS, Lane

PID = "__import__('os').getpid()"
HANG = "__import__('time').sleep(60)"
HANG_IN_C = "sum(range(10**12))"


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane(limit=2)
    yield lane
    lane.close()
    assert lane.pids() == []


def evaluate(lane: Lane, expression: str, **options: Any) -> object:
    return lane.call("builtins:eval", expression, **options)


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition never came true"
        threading.Event().wait(0.005)


def gone(pid: int) -> bool:
    """No such process, not even a zombie of ours."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z" and int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) != os.getpid()


@pytest.mark.parametrize("value", [None, True, -(2**63), 1.5, "qubit ψ", b"\x00\xff", [1, [2]], {"a": {"b": []}}])
def test_plain_data_goes_there_and_back(lane: Lane, value: object) -> None:
    assert lane.call("copy:copy", value) == value


def test_a_large_payload(lane: Lane) -> None:
    payload = os.urandom(5_000_000)
    assert lane.call("copy:copy", payload) == payload


def test_a_process_is_kept_for_the_next_call(lane: Lane) -> None:
    assert evaluate(lane, PID) == evaluate(lane, PID) != os.getpid()
    assert len(lane.pids()) == 1


def test_calls_at_a_time_have_a_process_each_up_to_the_limit(lane: Lane) -> None:
    with ThreadPoolExecutor(6) as pool:
        pids = set(pool.map(lambda _: evaluate(lane, f"__import__('time').sleep(0.05) or {PID}"), range(6)))
    assert len(pids) == 2
    assert set(lane.pids()) == pids


def test_an_unexpected_exception_keeps_the_process(lane: Lane) -> None:
    pid = evaluate(lane, PID)
    with pytest.raises(GenericFailure, match="ZeroDivisionError: division by zero"):
        evaluate(lane, "1/0")
    with pytest.raises(GenericFailure, match="ModuleNotFoundError"):
        lane.call("no_such_module:run", None)
    with pytest.raises(GenericFailure, match="TypeError"):
        evaluate(lane, "object()")  # cannot be sent back
    assert evaluate(lane, PID) == pid


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_our_errors_come_back_as_they_were_raised(lane: Lane, code: int) -> None:
    name = ERRORS[code].__name__
    module = "__import__('qfast.errors').errors"
    text = f"(_ for _ in ()).throw({module}.{name}('why', {{'line': 3}}))"
    with pytest.raises(ERRORS[code], match="why") as caught:
        evaluate(lane, text)
    assert caught.value.data == {"line": 3}
    assert type(caught.value) is ERRORS[code]


@pytest.mark.parametrize(
    "end",
    [
        "__import__('os')._exit(3)",
        "__import__('os').kill(__import__('os').getpid(), 11)",
        "exit()",
        "exec('raise KeyboardInterrupt')",
    ],
    ids=["exit status", "segmentation fault", "SystemExit", "BaseException"],
)
def test_a_crash_costs_one_call(lane: Lane, end: str) -> None:
    pid = evaluate(lane, PID)
    with pytest.raises(WorkerCrashed):
        evaluate(lane, end)
    assert gone(int(str(pid)))
    assert evaluate(lane, PID) not in {pid, None}


def test_a_process_that_died_while_idle_is_replaced_unseen(lane: Lane) -> None:
    pid = int(str(evaluate(lane, PID)))
    os.kill(pid, 9)
    wait_until(lambda: lane.pids() == [])
    assert evaluate(lane, PID) != pid


@pytest.mark.parametrize("hang", [HANG, HANG_IN_C])
def test_the_deadline_kills(lane: Lane, hang: str) -> None:
    pid = int(str(evaluate(lane, PID)))
    with pytest.raises(TimeLimitError):
        evaluate(lane, hang, deadline=time.monotonic() + 0.1)
    assert gone(pid)
    with pytest.raises(TimeLimitError):
        evaluate(lane, "1", deadline=time.monotonic() - 1.0)
    assert evaluate(lane, "1") == 1


def test_the_cancel_flag_kills(lane: Lane) -> None:
    pid = int(str(evaluate(lane, PID)))
    cancel = bytearray(1)
    timer = threading.Timer(0.1, cancel.__setitem__, (0, 1))
    timer.start()
    with pytest.raises(JobCancelled):
        evaluate(lane, HANG_IN_C, cancel=cancel)
    timer.join()
    assert gone(pid)
    assert evaluate(lane, "1") == 1


def test_a_call_that_waits_for_a_process_can_be_cancelled_or_run_out_of_time() -> None:
    lane = Lane(limit=1)
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(evaluate, lane, HANG)
        wait_until(lambda: lane._taken == 1)
        with pytest.raises(JobCancelled):
            evaluate(lane, "1", cancel=bytearray(b"\x01"))
        with pytest.raises(TimeLimitError):
            evaluate(lane, "1", deadline=time.monotonic() + 0.05)
        lane.close()
        with pytest.raises(WorkerCrashed):
            busy.result(10.0)


def test_memory_is_limited_for_the_call_that_says_so(lane: Lane) -> None:
    with pytest.raises(ResourceLimitError):
        evaluate(lane, "len(bytearray(300 << 20))", memory=100 << 20)
    assert evaluate(lane, "len(bytearray(300 << 20))") == 300 << 20


def test_close_ends_the_calls_under_way_and_leaves_no_process() -> None:
    lane = Lane(limit=2)
    idle = int(str(evaluate(lane, PID)))
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(evaluate, lane, HANG) for _ in range(2)]
        wait_until(lambda: len(lane.pids()) == 2)
        pids = lane.pids()
        lane.close()
        for call in calls:
            with pytest.raises(WorkerCrashed):
                call.result(10.0)
    for pid in {idle, *pids}:
        wait_until(partial(gone, pid))
    with pytest.raises(WorkerCrashed):
        evaluate(lane, "1")
    lane.close()


def test_what_a_worker_prints_disturbs_nothing(lane: Lane, capfd: pytest.CaptureFixture[str]) -> None:
    assert evaluate(lane, "print('x' * 100000) or 5") == 5
    with pytest.raises(GenericFailure, match="OSError"):
        evaluate(lane, "__import__('sys').stderr.write('y' * 9000000)")
    assert evaluate(lane, "__import__('os').write(1, b'out') + __import__('os').write(2, b'err')") == 6
    assert capfd.readouterr() == ("", "")


def test_a_worker_sees_none_of_the_servers_environment(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFAST_TOKEN", "secret")
    assert evaluate(lane, "'QFAST_TOKEN' in __import__('os').environ") is False
    assert evaluate(lane, "__import__('os').environ['OMP_NUM_THREADS']") == "1"


def test_workers_survive_the_thread_that_made_the_first_call(lane: Lane) -> None:
    pids: list[object] = []
    thread = threading.Thread(target=lambda: pids.append(evaluate(lane, PID)))
    thread.start()
    thread.join()
    assert [evaluate(lane, PID)] == pids


def test_kill_9_of_the_server_leaves_no_worker() -> None:
    script = (
        "import threading, time; from qfast.lanes import Lane; lane = Lane(2)\n"
        "busy = threading.Thread(target=lane.call, args=('time:sleep', 60.0), daemon=True); busy.start()\n"
        f"lane.call('builtins:eval', \"{PID}\")\n"
        "while len(lane.pids()) < 2: time.sleep(0.005)\n"
        "print(*lane.pids(), flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    server = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, text=True)
    with server:
        assert server.stdout is not None
        pids = [int(word) for word in server.stdout.readline().split()]
        server.kill()
    assert len(pids) == 2
    for pid in pids:
        wait_until(partial(gone, pid))


def test_an_error_of_ours_is_told_from_a_plain_one() -> None:
    assert ERRORS[-102] is ParseError
    assert set(ERRORS) == {-10, -100, -101, -102, -103, -104, -107, -108, -120, -121, -122}
