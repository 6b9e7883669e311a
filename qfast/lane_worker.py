"""The process behind a lane: reads a call, runs it, answers, until its socket closes (the other end: lanes.py).

Started as ``python -m qfast.lane_worker FD PARENT_PID PRELOAD...`` by a Lane only. A frame is a length (4 bytes,
little endian) and that many bytes of MessagePack. A call is ``[function, payload, memory]``, an answer is
``[code, value]``: code 0 with the result, or an error's code with ``[text, data]``.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from qfast.errors import CircuitError, GenericFailure, ResourceLimitError

HEADER = struct.Struct("<I")
MAX_FRAME = 1 << 30  # bytes; a longer frame is a defect, not an answer
MAX_TEXT = 500  # characters of an unexpected exception that are passed on
STDERR_BYTES = 4 << 20  # what the worker may write to its (memory) file for standard error
PR_SET_PDEATHSIG = 1


def receive(sock: socket.socket) -> bytes | None:
    """The next frame's body; None when the other end has gone."""
    head = receive_exactly(sock, HEADER.size)
    return None if head is None else receive_exactly(sock, HEADER.unpack(head)[0])


def receive_exactly(sock: socket.socket, size: int) -> bytes | None:
    """`size` bytes; None when the stream ends before."""
    body = bytearray(size)
    view = memoryview(body)
    while view:
        count = sock.recv_into(view)
        if count == 0:
            return None
        view = view[count:]
    return bytes(body)


def frame(message: Any) -> bytes:
    """The message as one frame."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME:
        raise ResourceLimitError(f"{len(body)} bytes of data are more than a worker can exchange, {MAX_FRAME}")
    return HEADER.pack(len(body)) + body


def limit_memory(extra: int | None) -> None:
    """Let the address space grow by `extra` bytes from now on; None lifts the limit."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = hard
    if extra is not None:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        soft = pages * resource.getpagesize() + extra
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def answer(request: bytes) -> bytes:
    """Run one call; the frame that answers it."""
    try:
        name, payload, memory = msgspec.msgpack.decode(request)
        module, _, attribute = name.partition(":")
        function: Callable[[Any], Any] = getattr(import_module(module), attribute)  # imports before the limit
        limit_memory(memory)
        try:
            return frame([0, function(payload)])
        finally:
            limit_memory(None)
    except CircuitError as error:
        return frame([error.code, [error.text, error.data]])
    except MemoryError:
        return frame([ResourceLimitError.code, ["the run needs more memory than it may take", None]])
    except Exception as error:  # whatever third-party code raises costs its own job only
        return frame([GenericFailure.code, [f"{type(error).__name__}: {error}"[:MAX_TEXT], None]])


def main() -> None:
    """Serve calls; leaves when the server does. A BaseException (a Rust panic, SystemExit) ends the process."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):  # the server ended before the line above took effect
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends its workers in order
    resource.setrlimit(resource.RLIMIT_FSIZE, (STDERR_BYTES, STDERR_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for module in sys.argv[3:]:
        with suppress(ImportError):  # the call that needs it says so
            import_module(module)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        while (request := receive(sock)) is not None:
            sock.sendall(answer(request))


if __name__ == "__main__":
    main()
