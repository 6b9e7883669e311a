"""Servers whose start is cheap, so that they can be killed a thousand times.

A process that has imported the server once forks a child for each start; the child runs the command ``qfast serve`` as it
is, main process and all. What a start then costs is what the server does: open its store, recover, bind, answer.

As a program it takes one JSON line for each command: a list of arguments and a log to start, a number to kill.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Stable:
    """Starts and kills servers; may be used by many threads."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._lock = threading.Lock()
        self._errors = (folder / "stable.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | environ,
            text=True,
        )

    def _ask(self, command: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def start(self, arguments: list[str], log: Path) -> int:
        """Run ``qfast ARGUMENTS``; gives the id of its main process."""
        return self._ask([arguments, str(log)])

    def kill(self, pid: int) -> None:
        """End a server at once, and wait until its main process is gone."""
        self._ask(pid)

    def close(self) -> None:
        """End all of them."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def children(pid: int) -> list[int]:
    """The processes below that one."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether the process still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _start(arguments: list[str], log: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.setsid()
    for target, number in (
        (os.open(os.devnull, os.O_RDONLY), 0),
        (os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1),
    ):
        os.dup2(target, number)
    os.dup2(1, 2)
    sys.argv[0] = "qfast"
    status = 1
    try:
        from qfast.cli import main

        status = main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(status)


def _kill(pid: int) -> None:
    """The worker is told by the kernel that its parent is gone; it becomes our child, so it can be waited for."""
    below = children(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for gone in (pid, *below):
        end = time.monotonic() + 10.0
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(gone, os.WNOHANG)[0] == 0 and time.monotonic() < end:
                time.sleep(0.001)
        while alive(gone) and time.monotonic() < end:
            time.sleep(0.001)


def main() -> None:
    """Import all that a server needs, then do what the lines say."""
    import asyncpg  # noqa: F401
    import granian.server
    import uvloop  # noqa: F401

    import qfast.app
    import qfast.cli
    import qfast.serve
    import qfast.stores.postgres
    import qfast.stores.sqlite

    del granian, qfast
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w")
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        command = json.loads(line)
        if isinstance(command, int):
            _kill(command)
            answer = 0
        else:
            answer = _start(*command)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        answers.write(f"{answer}\n")
        answers.flush()


if __name__ == "__main__":
    main()
