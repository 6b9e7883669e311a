"""The built-in backend: circuits on the statevector simulator, QUBO matrices on the solver, Aer for what is beyond both."""

from __future__ import annotations

import os
import time
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from qfast import __version__, estimation, frontend, plugins, qubo, simulator
from qfast.circuit import Circuit
from qfast.counts import Counts, check_memory, listed
from qfast.drivers import aer
from qfast.errors import JobCancelled, QubitLimitError, TranspileError
from qfast.ledger import MemoryLedger
from qfast.matrices import QuboProblem
from qfast.noise import Noise, noisy
from qfast.packing import PACKING
from qfast.plugins import Device, Outcome, Task, Transpiler

MEMORY = MemoryLedger()
MIN_BYTES = 1 << 20  # a run may always have


class DummyOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """driver_options of the built-in backend.

    Attributes
    ----------
    seed : int
        Same seed, same program, same version: same counts. Absent: derived from the job's id.
    memory : bool
        Gives the outcome of every shot as well, in a random order: shots are independent, so any order is as good.
    precision : {"double", "single"}
        Of a statevector: single takes half the memory and about half the time, with errors around 1e-6 of the amplitudes.
    noise : bool
        False: a device with noise is simulated as if it had none.
    sleep : float
        Seconds that the job takes longer.
    time_limit, sweeps, num_replicas :
        Budget of the QUBO solver: seconds, or sweeps (reproducible), and replicas of parallel tempering.
    threads : int
        Of the QUBO solver and of large states; no more than the server has processors are used.
    packed : bool
        Gives each QUBO solution as a text, eight variables a byte (`qfast.packing`), instead of a list of 0 and 1.
    """

    seed: Annotated[int, Meta(ge=0, le=2**53 - 1, description="in 0..9007199254740991")] | None = None
    sleep: Annotated[float, Meta(ge=0, le=3600, description="a number of seconds in 0..3600")] | None = None
    memory: bool = False
    precision: Literal["double", "single"] = "double"
    noise: bool = True
    time_limit: Annotated[float, Meta(gt=0, le=86_400, description="a number of seconds in 0..86400")] | None = None
    sweeps: Annotated[int, Meta(ge=1, le=1_000_000_000, description="in 1..1000000000")] | None = None
    num_replicas: Annotated[int, Meta(ge=2, le=256, description="in 2..256")] | None = None
    threads: Annotated[int, Meta(ge=1, le=64, description="in 1..64")] = 1
    packed: bool = False


class AerProgram(msgspec.Struct):
    """A program that the front end could not take and Aer shall run, and why."""

    source: str
    code_type: str
    reason: str


class DummyDriver:
    """Runs everything that qfast's own kernels run; one instance a device."""

    name: ClassVar[str] = "DriverDummy"
    alias_name: ClassVar[str] = "Circuit simulator and QUBO solver"
    version: ClassVar[str] = __version__
    description: ClassVar[str] = "exact sampling of OpenQASM 2 and 3; enumeration, tempering and tabu search of QUBO"
    tech_type: ClassVar[str] = "generic_simulator"
    supported_code_types: ClassVar[tuple[str, ...]] = ("qasm", "qasm2", "qasm3", "qubo")
    supported_transpilers: ClassVar[tuple[str, ...]] = ("cmss", "qiskit", "dummy")
    results_fetch_mode: ClassVar[str] = "sync"
    takes_parameters: ClassVar[bool] = True
    keeps_programs: ClassVar[bool] = True
    takes_noise: ClassVar[bool] = True
    packs_circuits: ClassVar[bool] = True
    supported_job_types: ClassVar[tuple[str, ...]] = ("sampling", "estimation")
    Options: ClassVar[type[msgspec.Struct]] = DummyOptions

    def __init__(self, device: Device) -> None:
        self.device = device
        self._transpilers: dict[str, Transpiler] = {}

    def parse(self, task: Task) -> Circuit | AerProgram | QuboProblem:
        """Compile the program; a QUBO matrix was read at submit's side of the store already."""
        if task.code_type == "qubo":
            problem: QuboProblem = task.source
            return problem
        if task.opened is not None and task.inputs is not None:
            bound: Circuit | None = task.opened.bind(task.inputs)
            if bound is not None:
                return bound
        try:
            return frontend.compile_program(task.source, task.code_type, task.inputs)
        except frontend.Unsupported as refusal:
            if task.inputs is not None or task.observables is not None:
                raise TranspileError(refusal.text, refusal.data) from None
            if not aer.available():
                raise TranspileError(
                    f"{refusal.text}; Qiskit Aer may run it: install qfast[aer]", refusal.data
                ) from None
            return AerProgram(task.source, task.code_type, refusal.text)

    def open(self, task: Task) -> frontend.OpenCircuit | None:
        """Compile a program before its inputs have values; None where that cannot be."""
        return frontend.open_program(task.source, task.code_type)

    def transpile(self, program: Any, task: Task) -> Any:
        """Rewrite a circuit for the device; matrices and Aer's programs pass."""
        if _noise(task):
            _check_noisy(program, task)
        if not isinstance(program, Circuit):
            return program
        limit = task.device.max_qubits
        ideal = task.observables is None and not _noise(task)
        if program.num_qubits > limit and ideal and simulator.choose(program)[0] == "stabilizer":
            limit = max(limit, task.device.max_clifford_qubits)
        task.num_qubits = program.num_qubits
        if program.num_qubits > limit:
            raise QubitLimitError(
                f"the program declares {program.num_qubits} qubits, device {task.device.name!r} has {limit}",
                {"num_qubits": program.num_qubits, "max_qubits": limit},
            )
        if task.transpiler is None or task.observables is not None:  # a routed circuit has its qubits elsewhere
            return program
        return self._transpiler(task.transpiler).transpile(program, task)

    def _transpiler(self, name: str) -> Transpiler:
        if name not in self._transpilers:
            self._transpilers[name] = plugins.load("transpilers", name)()
        return self._transpilers[name]

    def run(self, program: Any, task: Task) -> Outcome:
        """Sample or solve."""
        _sleep(task.options.sleep, task.cancel)
        if isinstance(program, QuboProblem):
            return _solve(program, task)
        if task.observables is not None:
            return _estimate(program, task)
        task.metadata["bit_order"] = "c0_rightmost"
        task.metadata["seed"] = task.seed
        if task.device.noise is not None:
            task.metadata["noise"] = task.options.noise
        if isinstance(program, AerProgram):
            return _run_aer(program, task)
        task.metadata["implicit_measurement"] = program.implicit_measurement
        noise = _noise(task)
        if noise is not None:
            program = noisy(program, noise)
        if task.options.memory:
            check_memory(task.shots, program.num_clbits + max(len(program.cregs) - 1, 0))
        if simulator.is_small(program):  # most are, and take less time than a look at their gates
            counts = _sample(program, task, simulator.SMALL_BYTES)
        else:
            _, need = simulator.choose(program, max_bytes=MEMORY.total, precision=task.options.precision)
            with MEMORY.reserve(need, task.cancel):
                counts = _sample(program, task, need)
        task.metadata["simulator"] = counts.simulator
        return Outcome(counts, task.num_qubits or program.num_qubits)

    def close(self) -> None:
        """Nothing is held."""


def _sample(circuit: Circuit, task: Task, max_bytes: int) -> Counts:
    options = task.options
    return simulator.sample_text(
        circuit,
        task.shots,
        seed=task.seed,
        cancel=task.cancel,
        threads=_threads(task),
        max_bytes=max_bytes,
        precision=options.precision,
        memory=options.memory,
    )


def _noise(task: Task) -> Noise | None:
    """The noise to simulate, if any."""
    return task.device.noise if task.options.noise else None


def _check_noisy(program: Any, task: Task) -> None:
    """Raises TranspileError for what is not run with noise."""
    if isinstance(program, AerProgram):
        raise TranspileError(
            f"{program.reason}; Qiskit Aer may run it, but not with the noise of device {task.device.name!r}: "
            "set driver_options.noise to false"
        )
    if task.observables is not None:
        raise TranspileError(
            f"device {task.device.name!r} has noise, and an estimation gives exact values: sample, "
            "or set driver_options.noise to false"
        )


def _sleep(seconds: float | None, cancel: bytearray) -> None:
    """Take `seconds` longer, in steps short enough for a prompt cancel."""
    if not seconds:
        return
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if cancel[0]:
            raise JobCancelled
        time.sleep(min(left, 0.01))


def _threads(task: Task) -> int:
    wanted: int = task.options.threads
    return wanted if wanted == 1 else min(wanted, len(os.sched_getaffinity(0)))


def _solve(problem: QuboProblem, task: Task) -> Outcome:
    options = task.options
    threads = _threads(task)
    need = qubo.required_bytes(problem, threads=threads, num_replicas=options.num_replicas)
    with MEMORY.reserve(need, task.cancel):
        solutions = qubo.solve(
            problem,
            reads=task.shots,
            time_limit=options.time_limit,
            sweeps=options.sweeps,
            seed=task.seed,
            num_replicas=options.num_replicas,
            threads=threads,
            cancel=task.cancel,
        )
    task.metadata.update(solutions.metadata)
    if options.packed:
        task.metadata["packing"] = PACKING
    return Outcome(solutions.rows(packed=options.packed), problem.n)


def _estimate(circuit: Circuit, task: Task) -> Outcome:
    if simulator.is_small(circuit):
        evs, stds = _expected(circuit, task, simulator.SMALL_BYTES)
    else:
        need = simulator.statevector_bytes(circuit, max_bytes=MEMORY.total)
        with MEMORY.reserve(need, task.cancel):
            evs, stds = _expected(circuit, task, max(need, MIN_BYTES))
    task.metadata["simulator"] = "statevector"
    return Outcome({"evs": evs, "stds": stds}, circuit.num_qubits)


def _expected(circuit: Circuit, task: Task, max_bytes: int) -> tuple[list[float], list[float]]:
    return estimation.estimate(
        circuit, task.observables or [], shots=task.shots, seed=task.seed, cancel=task.cancel, max_bytes=max_bytes
    )


def _run_aer(program: AerProgram, task: Task) -> Outcome:
    counts, num_qubits, implicit = aer.run_program(
        program.source,
        program.code_type,
        task.shots,
        task.seed,
        deadline=task.deadline,
        cancel=task.cancel,
        max_qubits=task.device.max_qubits,
    )
    task.metadata["simulator"] = "aer"
    task.metadata["fallback"] = {"backend": "aer", "reason": program.reason}
    task.metadata["implicit_measurement"] = implicit
    if task.options.memory:
        check_memory(task.shots, len(next(iter(counts), "")))
        return Outcome(listed(counts, task.seed), num_qubits)
    return Outcome(counts, num_qubits)
