"""The sockets on one page: what a driver, a transpiler and a store must offer, and how they are found.

A plug-in is one file and one entry point in the group ``qfast.drivers``, ``qfast.transpilers`` or ``qfast.stores``; the
built-in ones are registered the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

import msgspec

from qfast.circuit import Circuit
from qfast.job import CallbackRecord, Change, Delivery, DeliveryQuery, JobQuery, JobRecord
from qfast.noise import Noise

log = logging.getLogger("qfast.plugins")


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A backend as the TOML file describes it; jobs name it, its driver runs them."""

    name: str
    driver: str
    alias_name: str = ""
    description: str = ""
    status: str = "online"  # online, offline, maintain, calibrating: only online devices take and start jobs
    tech_type: str = "generic_simulator"
    max_qubits: int = 28
    max_clifford_qubits: int = 0  # of circuits of Clifford gates only; 0: max_qubits
    max_shots: int = 10_000_000
    slots: int = 0  # jobs at a time; 0: one per core
    transpiler: str | None = None  # the default; None: the driver's
    basis_gates: tuple[str, ...] = ()  # empty: whatever the driver takes
    coupling_map: tuple[tuple[int, int], ...] | None = None  # None: all to all
    options: dict[str, Any] = {}  # defaults under the job's driver_options
    aggregation: str | None = None  # of jobs that do not say: internal, external, or None
    max_aggregated_qubits: int = 0  # of a program that circuits share; 0: max_qubits
    noise: Noise | None = None  # of what is simulated; only for drivers with takes_noise


class Task(msgspec.Struct, kw_only=True):
    """One source of one job on its way through a driver: what was asked, and what was noted on the way."""

    device: Device
    code_type: str  # qasm, qasm2, qasm3, qubo
    source: Any  # program text, or a QuboProblem
    shots: int
    options: Any = None  # the driver's Options
    transpiler: str | None = None
    transpiler_options: dict[str, Any] = {}
    dry_run: bool = False
    inputs: dict[str, float] | None = None  # values of the program's `input` declarations
    opened: Any = None  # what the driver's `open` gave for the source, where it has one
    observables: list[dict[str, float]] | None = None  # estimation: Pauli strings with coefficients
    seed: int = 0
    cancel: bytearray = msgspec.field(default_factory=lambda: bytearray(1))  # cancel[0] = 1 asks kernels to stop
    deadline: float | None = None  # monotonic seconds; the run must have ended by then
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)  # goes into the result's metadata
    num_qubits: int | None = None  # the program's own width, which a transpiler may widen to the device's


class Outcome(msgspec.Struct):
    """What a run gave: counts (a dict, or counts.Counts) or a list of solutions, and the number of qubits or variables."""

    results: Any
    num_qubits: int


class Driver(Protocol):
    """Runs programs on a device. One instance serves one device; methods are called from worker threads.

    A driver that binds ``task.inputs`` says so by ``takes_parameters = True``, one that gives expectation values of
    ``task.observables`` by ``supported_job_types = ("sampling", "estimation")``, one that simulates ``device.noise`` by
    ``takes_noise = True``, one whose programs are compact circuits, which may then share one, by ``packs_circuits = True``.
    One whose ``run`` leaves the program as it is says ``keeps_programs = True``: what ``parse`` and
    ``transpile`` gave for a source and its options is then used again.
    With parameters it may have a method ``open(task)`` besides, which compiles a source before its inputs have values, or gives
    None; ``parse`` finds that in ``task.opened`` for every set of values.

    Each method raises CircuitError for what it cannot do and JobCancelled when ``task.cancel`` stopped it.
    """

    name: ClassVar[str]
    alias_name: ClassVar[str]
    version: ClassVar[str]
    description: ClassVar[str]
    tech_type: ClassVar[str]
    supported_code_types: ClassVar[tuple[str, ...]]
    supported_transpilers: ClassVar[tuple[str, ...]]  # first: the default; empty: has none
    results_fetch_mode: ClassVar[str]  # sync: run returns the outcome; async: set_job_results brings it
    Options: ClassVar[type[msgspec.Struct]]  # schema and defaults of driver_options

    def __init__(self, device: Device) -> None:
        """Get ready; raises DriverInitError."""

    def parse(self, task: Task) -> Any:
        """From source to program."""

    def transpile(self, program: Any, task: Task) -> Any:
        """From program to what the device can run."""

    def run(self, program: Any, task: Task) -> Outcome:
        """Run it; takes ``task.shots`` shots."""

    def close(self) -> None:
        """Release workers and memory."""


class Transpiler(Protocol):
    """Rewrites a circuit for a device."""

    name: ClassVar[str]
    alias_name: ClassVar[str]
    version: ClassVar[str]
    supported_code_types: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[msgspec.Struct]]  # schema and defaults of transpiler_options

    def transpile(self, circuit: Circuit, task: Task) -> Circuit:
        """An equivalent circuit in the basis and on the coupling map of ``task.device``; notes the layout in the metadata."""


class Store(Protocol):
    """Where jobs live. Every write is durable when its coroutine returns; writes issued together share one commit.

    All methods are called on the event loop's thread. Writes are applied in the order of the calls, also across verbs.
    A failed commit raises errors.Unavailable in every call that it carried, and nothing of it is applied.
    """

    async def open(self) -> None:
        """Take the exclusive lock, migrate the schema, start the writer; raises errors.StoreLocked."""

    async def close(self) -> None:
        """Finish all writes and release the lock."""

    async def append(self, job: JobRecord, source: bytes, *, level: int = 1) -> None:
        """Store a new job with its source (a JSON array as bytes), compressed at `level` 0..9 (0: not at all)."""

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        """Compare-and-set each; tells which won."""

    async def delete(self, seqs: Sequence[int], until: float) -> list[int]:
        """Remove those of the jobs that are not running, with source and results; gives the ones that it removed.

        Their ids stay taken until then (seconds since the epoch). Deliveries that are owed stay owed.
        """

    async def get(self, job_id: str) -> JobRecord | None:
        """The job, or None."""

    async def taken(self, job_id: str, now: float) -> bool:
        """Whether a deleted job holds this id at this time."""

    async def source(self, seq: int) -> bytes | None:
        """The JSON array of sources, as it was stored."""

    async def results(self, seq: int) -> bytes | None:
        """The JSON array of results, or None."""

    async def count(self, query: JobQuery | None = None) -> int:
        """Jobs stored, in any state; or those that match, however many the query would list."""

    async def load_live(self, *, waiting: bool = True) -> list[JobRecord]:
        """Every job that is not final, oldest first; without `waiting`, none that is QUEUED outside sessions."""

    async def queued(self, after: int, most: int) -> Sequence[tuple[int, str, int, str]]:
        """Jobs that are QUEUED outside sessions, from behind that sequence on: sequence, backend, priority, tenant."""

    async def load(self, seqs: Sequence[int], longest: int) -> Sequence[tuple[JobRecord, bytes | None]]:
        """Those of the jobs that there are, with their sources where these take at most `longest` bytes as stored."""

    async def last_seq(self) -> int:
        """The highest sequence number ever given, 0 when none was."""

    async def put_note(self, name: str, value: bytes) -> None:
        """Keep a value under a name, in place of what was there; state of the server's other parts."""

    async def note(self, name: str) -> bytes | None:
        """The value under that name, or None."""

    async def due_callbacks(self, now: float, limit: int) -> list[CallbackRecord]:
        """Deliveries that are due, the longest due first."""

    async def next_due(self) -> float | None:
        """When the next delivery is due, or None."""

    async def put_off_callback(self, webhook_id: str, tries: int, due_at: float, note: str | None = None) -> None:
        """Note what a failed try came to and when to try again; without a note, only when."""

    async def end_callback(self, webhook_id: str, delivered: bool, note: str) -> None:
        """Take it out of the outbox; whether it was delivered and why not stays on record."""

    async def owe_again(self, rows: Sequence[CallbackRecord]) -> None:
        """Put deliveries of stored jobs back into the outbox; what is there already comes to its turn."""

    async def deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        """The matching deliveries, owed and ended, those of the newest job first."""

    # Last, since below it `list` is no longer the type.
    async def list(self, query: JobQuery) -> list[JobRecord]:
        """The matching jobs, newest first."""


class SharedStore(Store, Protocol):
    """A store that several servers, its nodes, have open at a time; `shared` is true.

    Each node has an epoch while the others take it for alive. It claims jobs, and nobody else starts or ends those then. A
    node whose epoch was ended by others writes nothing more under it, gets another one, and has nothing.
    """

    shared: bool

    @property
    def epoch(self) -> int:
        """The present epoch of this node, higher than any before."""

    @property
    def others(self) -> int:
        """Other nodes that are alive."""

    def listen(
        self,
        news: Callable[[Sequence[Any]], None],
        fenced: Callable[[], None],
        census: Callable[[Sequence[int], Sequence[int]], None],
    ) -> None:
        """Whom to tell, on the event loop's thread.

        Parameters
        ----------
        news : callable
            Takes what other nodes changed: sequences of jobs, names of backends with new jobs, or "*" for much. May get
            lost.
        fenced : callable
            This node has a new epoch, and nothing.
        census : callable
            Takes the epochs of nodes that are dead, and of ended ones that still hold something; called all the time.
        """

    async def claim(
        self, place: str | Sequence[str], most: int, longest: int = ...
    ) -> tuple[int, Sequence[tuple[JobRecord, bytes | None]]]:
        """Take the first queued jobs of a backend that no session has, or the queued jobs of some sessions.

        Gives the epoch under which they are claimed and the jobs in the order (priority, sequence), with their sources
        where those take at most `longest` bytes.
        """

    async def adopt(
        self, dead: Sequence[int], left: Sequence[int], backends: Sequence[str]
    ) -> tuple[int, Sequence[JobRecord], Sequence[bytes]]:
        """End the epochs of dead nodes and claim their jobs and sessions, and those of nodes that have ended already.

        Only what belongs to these backends. Gives our epoch, the jobs as they are, and the sessions' values.
        """

    async def keep_note(self, name: str, value: bytes) -> bytes:
        """The value under that name, which becomes this one where there was none."""

    async def left(self) -> Sequence[int]:
        """Ended epochs that still hold something."""

    async def waiting(self, backends: Sequence[str], sessions: Sequence[str]) -> Sequence[str]:
        """Those of the backends for which unclaimed jobs wait; an empty name when jobs of the sessions do."""

    async def position(self, job: JobRecord) -> int | None:
        """How many unclaimed jobs of its backend go before this one; None for very many."""

    async def live_count(self) -> dict[str, int]:
        """How many jobs of all nodes are in each state that is not final."""

    async def put_sessions(
        self, rows: Sequence[tuple[str, str, bool, float, bytes, bytes]], gone: Sequence[str]
    ) -> None:
        """Keep sessions of this node: id, backend, whether it takes jobs, opening, value, view; and forget some."""

    async def sessions(self, session_id: str | None = None) -> Sequence[tuple[str, str, bool, bytes]]:
        """Every node's sessions, the newest first, or the one of that id: id, backend, whether it takes jobs, view."""

    async def wish(self, session_id: str, wish: str) -> None:
        """Ask the node that has a session to ``close`` or to ``cancel`` it; done when the session is stored anew."""

    async def wishes(self) -> Sequence[tuple[str, str]]:
        """What others ask of this node's sessions: id and wish."""


@cache
def names(kind: str) -> tuple[str, ...]:
    """The names registered for a kind: ``drivers``, ``transpilers`` or ``stores``."""
    return tuple(sorted(point.name for point in entry_points(group=f"qfast.{kind}")))


@cache
def usable(kind: str) -> tuple[str, ...]:
    """The names of a kind whose plug-in can be loaded; one that cannot is logged and costs no other."""
    found = []
    for name in names(kind):
        try:
            load(kind, name)
        except Exception:
            log.exception("the plug-in %s of qfast.%s cannot be loaded", name, kind)
        else:
            found.append(name)
    return tuple(found)


@cache
def load(kind: str, name: str) -> Any:
    """The class registered under that name; KeyError when there is none. Look-ups cost a millisecond, so they are kept."""
    for point in entry_points(group=f"qfast.{kind}", name=name):
        return point.load()
    raise KeyError(name)
