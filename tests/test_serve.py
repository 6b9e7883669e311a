"""``qfast serve`` as a process: how it starts, refuses to start, stops, crashes and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qfast.client import Client, ConnectionError
from qfast.demo import BELL2, local_server

DEADLINE = 20.0  # seconds


def until(condition: Callable[[], bool]) -> None:
    """Look again until it holds; fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def answers(client: Client) -> bool:
    try:
        return client.ping("x") is not None
    except ConnectionError:
        return False


def refused(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qfast", "serve", "--port", "0", "--data-dir", str(folder), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)


def test_sigterm_drains_and_jobs_stay(tmp_path: Path) -> None:
    with local_server(tmp_path) as (url, process), Client(url) as client:
        job_id = client.submit_job(BELL2, driver_options={"sleep": 0.2})["job_id"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""  # nothing but the line with the URL
    with local_server(tmp_path) as (url, _), Client(url) as client:
        assert client.wait(job_id, DEADLINE)["job_status"] == "COMPLETED"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_stop_it_as_well(tmp_path: Path, stop: signal.Signals) -> None:
    with local_server(tmp_path) as (_, process):
        process.send_signal(stop)
        assert process.wait(DEADLINE) == 0


def test_kill_9_leaves_no_worker_and_no_lock(tmp_path: Path) -> None:
    with local_server(tmp_path) as (url, process), Client(url) as client:
        job_id = client.submit_job(BELL2, driver_options={"sleep": 3600})["job_id"]
        (worker, *_) = children(process.pid)
        process.kill()
        process.wait(DEADLINE)
        until(lambda: not answers(client))
        until(lambda: not Path(f"/proc/{worker}").exists())
    with local_server(tmp_path) as (url, _), Client(url) as client:
        until(lambda: client.get_job_status(job_id)["job_status"] == "RUNNING")
        client.cancel_jobs(job_id, force=True)


def test_a_process_whose_parent_died_before_it_could_look_ends_itself() -> None:
    begin = "from qfast.app import _die_with_parent; _die_with_parent()"
    for main, status in ((str(os.getpid()), 0), ("1", -signal.SIGKILL)):
        child = [sys.executable, "-c", begin]
        assert subprocess.run(child, env=os.environ | {"QFAST_MAIN_PROCESS": main}, timeout=60).returncode == status


def test_a_crashed_worker_is_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream, local_server(tmp_path, log=stream) as (url, process), Client(url) as client:
        job_id = client.submit_job(BELL2)["job_id"]
        client.wait(job_id, DEADLINE)
        until(lambda: bool(children(process.pid)))
        (worker, *_) = children(process.pid)
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in children(process.pid) and answers(client))
        assert client.get_job_status(job_id)["job_status"] == "COMPLETED"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert log.read_text() == "[ERROR] the server's process crashed, starting another\n"


def test_a_data_folder_has_one_server(tmp_path: Path) -> None:
    with local_server(tmp_path) as (url, _), Client(url) as client:
        other = refused(tmp_path)
        assert other.returncode == 1
        assert other.stdout == ""
        (line,) = other.stderr.splitlines()
        assert str(tmp_path) in line
        assert answers(client)


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        ("devices = 1", "devices"),
        ("[devices.x]\ndriver = 'DriverNone'", "DriverNone"),
        ("[devices.x]\ndriver = 'DriverDummy'\nmax_qubit = 3", "max_qubit"),
    ],
)
def test_a_wrong_devices_file_is_told(tmp_path: Path, devices: str, text: str) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(devices)
    done = refused(tmp_path / "data", "--devices", str(file))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(file) in line
    assert text in line


def test_an_unknown_store_is_told(tmp_path: Path) -> None:
    done = refused(tmp_path, "--store", "clay")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "'clay' is not one of" in line


def test_demo() -> None:
    done = subprocess.run([sys.executable, "-m", "qfast", "demo"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all as expected\n")
    for line in ("Bell pair, OpenQASM 2", "Bell pair, OpenQASM 3", "GHZ", "Teleportation", "-112"):
        assert line in done.stdout
