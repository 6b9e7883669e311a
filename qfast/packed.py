"""Jobs whose circuits share wide programs, in one worker thread: prepared one by one, run together, ended one by one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import orjson

from qfast.aggregation import Place, pack, packs, split
from qfast.circuit import Circuit
from qfast.errors import CircuitError, GenericFailure, JobCancelled, ResourceLimitError
from qfast.job import JobStatus
from qfast.live import Backend, Job
from qfast.plugins import Device, Outcome, Task
from qfast.rows import encoded, failed_row, good_row
from qfast.runs import End, Source, circuit_error, end_of, profile, tasks_of

log = logging.getLogger("qfast.packed")

MOST_JOBS = 64  # that wait for one another


def mode_of(job: Job) -> str | None:
    """How the circuits of a job may share programs: ``internal``, ``external`` or not."""
    for mode in ("external", "internal"):
        if b'"circuit_aggregation":"%b"' % mode.encode() in job.record.spec:
            return mode
    return None


def qubits_of(device: Device) -> int:
    """Qubits that a wide program may have."""
    return min(device.max_aggregated_qubits or device.max_qubits, device.max_qubits)


class _Part(msgspec.Struct, kw_only=True, eq=False):
    """One circuit on its way."""

    member: Any
    index: int
    task: Task
    program: Any = None
    row: dict[str, Any] | None = None
    num_qubits: int = 0
    times: dict[str, float] = {}

    def fail(self, error: CircuitError) -> None:
        """It ends without a result."""
        self.row = failed_row(error, self.task.metadata, self.profile(), "sync")

    def profile(self) -> dict[str, float]:
        """The stages that were to be timed."""
        return profile(self.member.spec, self.member.job, self.times, self.member.began)


class _Member:
    """One job of those that run together."""

    def __init__(self, backend: Backend, job: Job, source: Source, deadline: float) -> None:
        self.job = job
        self.switch = Switch(job)
        self.mode = mode_of(job) or "internal"
        self.began = time.perf_counter()
        self.spec: dict[str, Any] = orjson.loads(job.record.spec)
        self.parts = [
            _Part(member=self, index=index, task=task)
            for index, task in enumerate(tasks_of(backend, job, self.spec, source, deadline))
        ]
        self.ended = False

    def end(self) -> End:
        """Hand in what it has come to."""
        self.ended = True
        rows = [part.row for part in self.parts if part.row is not None]
        return end_of(self.job, rows, [part.num_qubits for part in self.parts if part.num_qubits])

    def stop(self) -> End:
        """It was cancelled, or its time is up."""
        if not self.job.timed_out:
            self.ended = True
            return self.job, JobStatus.CANCELLED, None, None
        for part in self.parts:
            if part.row is None:
                part.fail(circuit_error(JobCancelled(), self.job, self.spec))
        return self.end()


class Switch(bytearray):
    """The cancel flag of one of the jobs that run together: setting it also stops their common run."""

    def __init__(self, job: Job) -> None:
        super().__init__(1)
        self.common = bytearray(1)
        self.before, job.cancel = job.cancel, self

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        self.common[0] = 1

    @property
    def is_set(self) -> bool:
        """Whether the job was told to stop."""
        return bool(self[0] or self.before[0])


def run_packed(backend: Backend, works: Sequence[tuple[Job, Source, float]]) -> Iterator[End]:
    """Run jobs whose circuits may share programs, given as (job, source, deadline); yields each end as soon as it is known.

    A circuit that fails, or a job that is cancelled, falls out, and what shared its program runs again without it.
    """
    members: list[_Member] = []
    try:
        members += (_Member(backend, *work) for work in works)
        yield from _run(backend, members)
    except BaseException:
        log.exception("jobs that ran together failed for a reason of the server")
        ended = [member.job for member in members if member.ended]
        failure = GenericFailure("the run failed for a reason that is in the server's log")
        rows = encoded([failed_row(failure, {}, {}, "sync")])
        yield from ((job, JobStatus.FAILED, rows, None) for job, _, _ in works if job not in ended)


def _run(backend: Backend, members: list[_Member]) -> Iterator[End]:
    def wanted(parts: Sequence[_Part]) -> list[_Part]:
        return [part for part in parts if part.row is None and not part.member.ended]

    parts = [part for member in members for part in member.parts]
    waiting: list[list[_Part]] | None = None
    while waiting is None or waiting:
        yield from _without_stopped(members)
        try:
            if waiting is None:
                for part in wanted(parts):
                    if part.program is None:
                        _parse(backend, part)
                waiting = _shared(backend.device, wanted(parts))
            while waiting:
                _run_together(backend, wanted(waiting[0]))
                del waiting[0]
                yield from _complete(members)
        except JobCancelled:
            continue
    yield from _complete(members)


def _complete(members: list[_Member]) -> Iterator[End]:
    """The ends of the jobs whose circuits have all run."""
    for member in members:
        done = sum(part.row is not None for part in member.parts)
        member.job.progress = 100 * done // max(len(member.parts), 1)
        if not member.ended and done == len(member.parts):
            yield member.end()


def _without_stopped(members: list[_Member]) -> list[End]:
    """The ends of the jobs that were told to stop; the others get a new common flag."""
    common = bytearray(1)
    for member in members:
        member.switch.common = common  # before it is looked at, so that no request is lost
        for part in member.parts:
            part.task.cancel = common
    return [member.stop() for member in members if not member.ended and member.switch.is_set]


def _parse(backend: Backend, part: _Part) -> None:
    if part.task.cancel[0]:
        raise JobCancelled
    start = time.perf_counter()
    try:
        part.program = backend.driver.parse(part.task)
    except CircuitError as error:
        part.fail(error)
    finally:
        part.times = {"driver:parse": time.perf_counter() - start}


def _shared(device: Device, parts: list[_Part]) -> list[list[_Part]]:
    """Which circuits run together, in the order of their first ones: only those that ask for the same run share a program."""
    alone: list[list[_Part]] = []
    kinds: dict[bytes, list[_Part]] = {}
    for part in parts:
        task = part.task
        if not isinstance(part.program, Circuit) or getattr(task.options, "memory", False):
            alone.append([part])
            continue
        options = msgspec.to_builtins(task.options)
        seed = options.pop("seed", None)
        own = part.member.job.record.job_id if part.member.mode == "internal" or seed is not None else None
        kind = orjson.dumps(
            [own, task.shots, task.transpiler, task.transpiler_options, options], option=orjson.OPT_SORT_KEYS
        )
        kinds.setdefault(kind, []).append(part)
    order = {id(part): number for number, part in enumerate(parts)}
    together = [
        [alike[number] for number in numbers]
        for alike in kinds.values()
        for numbers in packs([part.program.num_qubits for part in alike], qubits_of(device))
    ]
    return sorted(alone + together, key=lambda group: order[id(group[0])])


def _run_together(backend: Backend, parts: list[_Part]) -> None:
    if len(parts) > 1:
        try:
            _run_wide(backend, parts)
        except (CircuitError, MemoryError, ValueError) as fault:
            log.info("%d circuits that shared a program run by themselves: %s", len(parts), fault)
        else:
            return
    for part in parts:
        _run_alone(backend, part)


def _run_alone(backend: Backend, part: _Part) -> None:
    task = part.task
    try:
        start = time.perf_counter()
        program = backend.driver.transpile(part.program, task)
        middle = time.perf_counter()
        outcome = backend.driver.run(program, task)
        part.times |= {"driver:transpile": middle - start, "driver:run": time.perf_counter() - middle}
    except CircuitError as error:
        part.fail(error)
    except MemoryError:
        part.fail(ResourceLimitError("the run needs more memory than the server has"))
    else:
        part.num_qubits = outcome.num_qubits
        part.row = good_row(outcome, task.metadata, part.profile(), "sync")


def _run_wide(backend: Backend, parts: list[_Part]) -> None:
    first = parts[0].task
    circuits = [part.program for part in parts]
    task = msgspec.structs.replace(first, source=None, metadata={}, num_qubits=None)
    start = time.perf_counter()
    program = backend.driver.transpile(pack(circuits), task)
    middle = time.perf_counter()
    outcome = backend.driver.run(program, task)
    times = {"driver:transpile": middle - start, "driver:run": time.perf_counter() - middle}
    offset, width = 0, sum(circuit.num_qubits for circuit in circuits)
    for part, counts in zip(parts, split(outcome.results, circuits), strict=True):
        place = Place(
            mode=part.member.mode,
            circuits=len(parts),
            sources=[other.index for other in parts if other.member is part.member],
            first_qubit=offset,
            num_qubits=width,
        )
        own: Circuit = part.program
        part.task.metadata |= task.metadata
        part.task.metadata |= {
            "implicit_measurement": own.implicit_measurement,
            "aggregation": msgspec.to_builtins(place),
        }
        part.times |= times
        part.num_qubits = own.num_qubits
        part.row = good_row(Outcome(counts, own.num_qubits), part.task.metadata, part.profile(), "sync")
        offset += own.num_qubits
