"""A backend of the server as a BackendV2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qiskit import QuantumCircuit
from qiskit.circuit import (
    Barrier,
    BreakLoopOp,
    ContinueLoopOp,
    Delay,
    ForLoopOp,
    IfElseOp,
    Instruction,
    Measure,
    Parameter,
    Reset,
    SwitchCaseOp,
    WhileLoopOp,
)
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from qiskit_qfast.circuits import program_of
from qiskit_qfast.job import QfastJob
from qiskit_qfast.session import QfastSession

if TYPE_CHECKING:
    from qfast import Client
    from qiskit_qfast.provider import QfastProvider

MAX_CIRCUITS = 10_000  # of one job

# of submit_job, what run takes beside the circuits
_FIELDS = {
    "shots": "shots",
    "priority": "job_priority",
    "job_name": "job_name",
    "tags": "tags",
    "session_id": "session_id",
    "max_execution_time": "max_execution_time",
    "callbacks": "callbacks",
    "transpiler": "transpiler",
    "transpiler_options": "transpiler_options",
}
_OF_DRIVER = ("seed", "seed_simulator", "memory", "driver_options")
_CONTROL = (IfElseOp, WhileLoopOp, ForLoopOp, SwitchCaseOp, BreakLoopOp, ContinueLoopOp)


class QfastBackend(BackendV2):
    """A backend of a server, as it was when it was asked for.

    Attributes
    ----------
    client : qfast.Client
    operational : bool
        Whether it takes jobs.
    details : dict
        The answer of get_device.
    """

    def __init__(self, provider: QfastProvider, details: Mapping[str, Any]) -> None:
        super().__init__(provider=provider, name=details["name"], description=details.get("description") or "")
        self.client: Client = provider.client
        self.details = dict(details)
        self.operational = details["status"] == "online"
        self.backend_version = str(self.client.call("version")["version"])
        self._target = target_of(details)
        self._options.set_validator("shots", (1, int(details["max_shots"])))
        self._options.set_validator("priority", (1, 10))

    @property
    def target(self) -> Target:
        """What it runs: gates, couplings, and control flow."""
        return self._target

    @property
    def max_circuits(self) -> int:
        """Circuits of one job."""
        return MAX_CIRCUITS

    @classmethod
    def _default_options(cls) -> Options:
        return Options(shots=1024, seed=None, memory=False, priority=5)

    def run(self, run_input: QuantumCircuit | Iterable[QuantumCircuit], **options: Any) -> QfastJob:
        """Submit circuits as one job.

        Parameters
        ----------
        run_input : QuantumCircuit or iterable of them
            Without free parameters. One that measures nothing is measured on all qubits.
        **options
            ``shots``, ``seed`` (or ``seed_simulator``), ``memory`` (the outcome of each shot), ``priority`` (1 first .. 10),
            ``tags``, ``job_name``,
            ``session_id``, ``max_execution_time``, ``callbacks``, ``transpiler``, ``transpiler_options``,
            ``driver_options``.

        Raises
        ------
        TypeError
            Not a circuit, or an option that does not exist.
        ValueError
            A circuit with free parameters, or one that OpenQASM 3 cannot express.
        qfast.errors.RpcError
            The server refuses it.
        """
        circuits = [run_input] if isinstance(run_input, QuantumCircuit) else list(run_input)
        for circuit in circuits:
            if not isinstance(circuit, QuantumCircuit):
                raise TypeError(f"run takes circuits, not {type(circuit).__name__}")
            if circuit.parameters:
                names = ", ".join(parameter.name for parameter in circuit.parameters)
                raise ValueError(
                    f"circuit {circuit.name!r} has free parameters ({names}): assign them, or use SamplerV2"
                )
        sources = [heading.line() + text for heading, text in map(program_of, circuits)]
        fields = self._fields({**vars(self.options), **options})
        job = self.client.submit_job(sources, "qasm3", backend=self.name, **fields)
        return QfastJob(self, job["job_id"])

    def _fields(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of submit_job; every option means something or is refused."""
        driver_options = dict(options.get("driver_options") or {})
        for name in ("seed_simulator", "seed"):
            if options.get(name) is not None:
                driver_options["seed"] = options[name]
        if options.get("memory"):
            driver_options["memory"] = True
        fields: dict[str, Any] = {"driver_options": driver_options} if driver_options else {}
        for name, value in options.items():
            if name in _OF_DRIVER:
                continue
            if name not in _FIELDS:
                known = ", ".join(sorted({*_FIELDS, *_OF_DRIVER}))
                raise TypeError(f"{name!r} is no option of run: there are {known}")
            if value is not None:
                fields[_FIELDS[name]] = value
        return fields

    def open_session(self, max_time: int | str | None = None, mode: str = "dedicated") -> QfastSession:
        """Open a session: pass it to a primitive as its mode.

        Parameters
        ----------
        max_time : int or str, optional
            Seconds, or a text such as ``"2h 30m"``; default: the server's.
        mode : {"dedicated", "batch"}
            Whether the backend is kept free between its jobs.
        """
        body = {"backend": self.name, "max_time": max_time, "mode": mode}
        return QfastSession(self, self.client.call("open_session", body)["id"])


def target_of(details: Mapping[str, Any]) -> Target:
    """The target of a device: its basis gates on its couplings; every standard gate where it names none."""
    known = get_standard_gate_name_mapping()
    names: Sequence[str] = details["configs"]["basis_gates"]
    gates = [known[name] for name in names if name in known] if names else _everything(known)
    num_qubits = int(details["max_qubits"])
    target = Target(description=details["name"], num_qubits=num_qubits)
    pairs = details["configs"]["coupling_map"]
    everywhere = pairs is None and not names
    for gate in gates:
        target.add_instruction(gate, None if everywhere else _places(gate, num_qubits, pairs))
    for operation in (Measure(), Reset(), Delay(Parameter("t"))):
        if operation.name not in target.operation_names:
            target.add_instruction(operation, None if everywhere else {(k,): None for k in range(num_qubits)})
    target.add_instruction(Barrier, name="barrier")
    for operation in _CONTROL:
        target.add_instruction(operation, name=_name_of(operation))
    return target


def _everything(known: Mapping[str, Instruction]) -> list[Instruction]:
    return [gate for gate in known.values() if gate.name not in ("measure", "reset", "delay")]


def _places(gate: Instruction, num_qubits: int, pairs: Any) -> dict[tuple[int, ...], None] | None:
    if gate.num_qubits == 1:
        return {(k,): None for k in range(num_qubits)}
    if gate.num_qubits == 2 and pairs is not None:
        return {tuple(pair): None for pair in pairs}
    return None


def _name_of(operation: type) -> str:
    return {
        IfElseOp: "if_else",
        WhileLoopOp: "while_loop",
        ForLoopOp: "for_loop",
        SwitchCaseOp: "switch_case",
        BreakLoopOp: "break_loop",
        ContinueLoopOp: "continue_loop",
    }[operation]
