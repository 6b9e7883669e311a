"""A backend whose jobs crash, hang or eat memory on demand, in a worker process as third-party code has to."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, ClassVar, Literal

import msgspec

from qfast.lanes import third_party
from qfast.plugins import Device, Outcome, Task

MEMORY = 512 << 20  # bytes that a call may have beyond what its process has


class TortureOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What the job does, and a number whose square is its result if it does well."""

    do: Literal["well", "segfault", "abort", "leave", "spin", "sleep", "stop", "allocate", "grow"] = "well"
    number: int = 0


class TortureDriver:
    """See the module."""

    name: ClassVar[str] = "DriverTorture"
    alias_name: ClassVar[str] = "Torture"
    version: ClassVar[str] = "1"
    description: ClassVar[str] = "misbehaves on demand"
    tech_type: ClassVar[str] = "none"
    supported_code_types: ClassVar[tuple[str, ...]] = ("qasm", "qasm2", "qasm3")
    supported_transpilers: ClassVar[tuple[str, ...]] = ()
    results_fetch_mode: ClassVar[str] = "sync"
    Options: ClassVar[type[msgspec.Struct]] = TortureOptions

    def __init__(self, device: Device) -> None:
        self.device = device

    def parse(self, task: Task) -> str:
        return task.source

    def transpile(self, program: str, task: Task) -> str:
        return program

    def run(self, program: str, task: Task) -> Outcome:
        payload = [task.options.do, task.options.number]
        square: Any = third_party().call(
            "torture_driver:act", payload, deadline=task.deadline, cancel=task.cancel, memory=MEMORY
        )
        return Outcome({format(square, "b"): task.shots}, 1)

    def close(self) -> None:
        pass


def act(payload: list[Any]) -> int:
    """In the worker: end as wished."""
    do, number = payload
    if do == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif do == "abort":
        os.abort()
    elif do == "leave":
        os._exit(3)
    elif do == "spin":
        sum(range(10**15))  # in C, with the interpreter's lock
    elif do == "sleep":
        time.sleep(3600)
    elif do == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif do == "allocate":
        bytearray(4 << 30)
    elif do == "grow":
        held: list[bytes] = []
        while True:
            held.append(b"x" * (16 << 20))
    return int(number) ** 2
