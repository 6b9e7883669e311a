"""Third-party code in killable worker processes: a crash, a hang or a hoard costs one job, never the server.

A worker is a fresh Python process (lane_worker.py) on the other end of a socket pair. One process serves one call at a
time; processes start when they are needed and are kept. A call that outlives its deadline or is cancelled takes its
process with it: there is no other way to stop code that we did not write.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

import msgspec

from qfast.errors import (
    CircuitError,
    GenericFailure,
    JobCancelled,
    TimeLimitError,
    WorkerCrashed,
)
from qfast.lane_worker import HEADER, MAX_FRAME, frame

log = logging.getLogger("qfast.lanes")

POLL_SECONDS = 0.01  # how often a waiting call looks at its cancel flag
LONGEST_CALL = 3600.0  # seconds; the deadline of a call that names none
CHUNK = 1 << 16  # bytes read or written between two looks at the deadline

# What a worker sees of the server's environment: enough to start Python, none of the server's secrets.
PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "ASAN_OPTIONS",
    "UBSAN_OPTIONS",
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "QISKIT_PARALLEL": "FALSE"}

ERRORS: dict[int, type[CircuitError]] = {error.code: error for error in CircuitError.__subclasses__()}


class Worker:
    """One process and our end of its socket. Used by one call at a time."""

    def __init__(self, preload: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        self.stderr = os.memfd_create("qfast-lane-stderr")
        fcntl.fcntl(self.stderr, fcntl.F_SETFL, os.O_APPEND)  # emptied after each call, so it must not keep a position
        with theirs:
            command = [
                sys.executable,
                "-P",
                "-m",
                "qfast.lane_worker",
                str(theirs.fileno()),
                str(os.getpid()),
                *preload,
            ]
            environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            environment |= {**ONE_THREAD, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.stderr,
                env=environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # its own process group, so that its children can be killed with it
            )
        ours.setblocking(False)
        self.socket = ours
        self.calls = 0

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End the process and whatever it started, and wait until it is gone."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            try:
                self.process.wait(5.0)
            except subprocess.TimeoutExpired:  # stuck in the kernel; Popen reaps it later
                log.error("worker %d does not end", self.process.pid)
        self.socket.close()
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1

    def last_words(self) -> str:
        """The end of what the process wrote to standard error, for the log."""
        size = os.fstat(self.stderr).st_size
        return os.pread(self.stderr, 2000, max(0, size - 2000)).decode("utf-8", "replace").strip()

    def exchange(self, request: bytes, until: float, cancel: bytearray) -> bytes:
        """Send a frame and wait for the answering one; ConnectionError when the process goes away."""
        view = memoryview(request)
        while view:
            self._wait(select.POLLOUT, until, cancel)
            view = view[self.socket.send(view[:CHUNK]) :]
        size = HEADER.unpack(self._receive(HEADER.size, until, cancel))[0]
        if size > MAX_FRAME:
            raise ConnectionError(f"a frame of {size} bytes")
        return self._receive(size, until, cancel)

    def _receive(self, size: int, until: float, cancel: bytearray) -> bytes:
        body = bytearray()
        while len(body) < size:
            self._wait(select.POLLIN, until, cancel)
            chunk = self.socket.recv(min(size - len(body), CHUNK))
            if not chunk:
                raise ConnectionError("the socket was closed")
            body += chunk
        return bytes(body)

    def _wait(self, event: int, until: float, cancel: bytearray) -> None:
        poll = select.poll()
        poll.register(self.socket, event)
        while True:
            wait = patience(until, cancel)
            if poll.poll(wait * 1000.0):
                return


class Lane:
    """A small pool of worker processes.

    Parameters
    ----------
    limit : int, optional
        Most processes at a time, one per core when left out; further calls wait.
    preload : sequence of str
        Modules that a worker imports when it starts. One that is missing is passed over.
    """

    def __init__(self, limit: int | None = None, preload: Sequence[str] = ()) -> None:
        self.limit = max(1, limit or len(os.sched_getaffinity(0)))
        self.preload = tuple(preload)
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._taken = 0
        self._closed = False
        self._free = threading.Condition()
        # PDEATHSIG fires when the starting *thread* ends, so one thread that lives as long as the lane starts them all.
        self._starter = ThreadPoolExecutor(1, "qfast-lane")

    def call(
        self,
        function: str,
        payload: Any,
        *,
        deadline: float | None = None,
        cancel: bytearray | None = None,
        memory: int | None = None,
    ) -> Any:
        """Run ``module:name`` on plain data in a worker and wait for what it returns.

        Parameters
        ----------
        function : str
            A function of one argument, named ``module:name``.
        payload : plain data
            What MessagePack can carry: None, bool, int, float, str, bytes, list, dict.
        deadline : float, optional
            Monotonic seconds; an hour from now when left out.
        cancel : bytearray, optional
            The call ends within 50 ms after ``cancel[0]`` became nonzero.
        memory : int, optional
            Bytes that the call may take beyond what the worker holds already.

        Raises
        ------
        CircuitError
            What the function raised: its own code for CircuitError, -120 for MemoryError, -10 for all else; -121 past
            the deadline; -122 when the process ended without an answer.
        JobCancelled
            The flag was set.
        """
        until = time.monotonic() + LONGEST_CALL if deadline is None else deadline
        flag = bytearray(1) if cancel is None else cancel
        request = frame([function, payload, memory])
        worker = self._take(until, flag)
        try:
            reply = self._exchange(worker, request, until, flag)
        finally:
            self._give_back(worker)
        return unpack(reply)

    def _exchange(self, worker: Worker, request: bytes, until: float, flag: bytearray) -> bytes:
        try:
            reply = worker.exchange(request, until, flag)
        except (TimeLimitError, JobCancelled):
            worker.kill()
            raise
        except OSError as error:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(0.5)  # its exit status says why
            status = worker.process.poll()
            if not self._closed:
                log.warning("worker %d ended with %s: %s", worker.process.pid, status, worker.last_words())
            worker.kill()
            cause = f"by signal {-status}" if status is not None and status < 0 else f"with exit status {status}"
            raise WorkerCrashed(f"the process that ran the program ended {cause}") from error
        except BaseException:
            worker.kill()  # an answer may be under way that nobody will read
            raise
        return reply

    def _take(self, until: float, flag: bytearray) -> Worker:
        with self._free:
            while self._taken >= self.limit and not self._closed:
                self._free.wait(patience(until, flag))
            patience(until, flag)
            if self._closed:
                raise WorkerCrashed("the server is stopping")
            self._taken += 1
            while self._idle:
                worker = self._idle.pop()
                if worker.alive():
                    return worker
                self._all.discard(worker)
                worker.kill()
        try:
            worker = self._starter.submit(Worker, self.preload).result(30.0)
        except (OSError, RuntimeError, TimeoutError) as error:
            with self._free:
                self._taken -= 1
                self._free.notify()
            raise WorkerCrashed(f"no process can be started: {type(error).__name__}") from error
        with self._free:
            self._all.add(worker)
            if self._closed:
                worker.kill()  # the call finds out at its first write
        return worker

    def _give_back(self, worker: Worker) -> None:
        with self._free:
            self._taken -= 1
            if self._closed or worker.stderr < 0 or not worker.alive():
                self._all.discard(worker)
                worker.kill()
            else:
                os.ftruncate(worker.stderr, 0)
                self._idle.append(worker)
            self._free.notify()

    def pids(self) -> list[int]:
        """The process ids of the workers that run, idle ones included."""
        with self._free:
            return [worker.process.pid for worker in self._all if worker.alive()]

    def close(self) -> None:
        """Kill every worker; calls under way end with -122, later ones are refused."""
        with self._free:
            self._closed = True
            workers, idle = list(self._all), set(self._idle)
            self._idle.clear()
            self._free.notify_all()
            self._all -= idle
        for worker in workers:
            if worker in idle:
                worker.kill()
            elif worker.alive():
                with suppress(ProcessLookupError):
                    os.killpg(worker.process.pid, signal.SIGKILL)  # its call notices and reaps it
        self._starter.shutdown(wait=False, cancel_futures=True)


def patience(until: float, cancel: bytearray) -> float:
    """How long to wait before looking again, in seconds; raises when the time is up or the flag is set."""
    if cancel[0]:
        raise JobCancelled("cancelled")
    left = until - time.monotonic()
    if left <= 0.0:
        raise TimeLimitError("the run took longer than it may")
    return min(left, POLL_SECONDS)


def unpack(reply: bytes) -> Any:
    """The result in an answer, or the error that it stands for."""
    try:
        code, value = msgspec.msgpack.decode(reply)
        if code == 0:
            return value
        text, data = value
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise WorkerCrashed("the process that ran the program gave an answer that cannot be read") from error
    raise ERRORS.get(code, GenericFailure)(text, data)


@cache
def third_party() -> Lane:
    """The lane that the built-in drivers and transpilers share for Qiskit and Aer; closed when the server ends."""
    lane = Lane()
    atexit.register(lane.close)
    return lane
