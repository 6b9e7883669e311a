"""Qiskit Aer as a driver: programs that our own simulator does not take, or does not take yet.

Qiskit and Aer are imported in the worker process only (lanes.py): the parser can panic and hold the GIL for seconds,
and a simulation can only be stopped by a kill. No program makes them read a file: includes are checked before the text
is handed over, and the include path is empty.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import msgspec

from qfast.errors import CircuitError, DriverRunError, ParseError, QubitLimitError, ResourceLimitError, TranspileError
from qfast.lanes import third_party
from qfast.plugins import Device, Outcome, Task

STANDARD_INCLUDES = {"qelib1.inc", "stdgates.inc"}
NEEDED = ("qiskit", "qiskit_aer", "qiskit_qasm3_import")
SLACK_BYTES = 2 << 30  # address space beyond the state: thread stacks, arenas, counts
STATES = 2  # copies of the state that Aer holds at most (branches of a dynamic circuit share one)

COMMENT_OR_INCLUDE = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|\binclude\b\s*(?P<name>"[^"\n]*"?|'[^'\n]*'?|)""", re.DOTALL
)
VERSION = re.compile(r"(?:\s|//[^\n]*(?:\n|\Z)|/\*.*?\*/)*OPENQASM\s+(\d+)", re.DOTALL)
MARKS_OF_3 = re.compile(
    r'^\s*(?:qubit|bit|input|const|gate\s+\w+\s+\w+\s*\{|include\s+"stdgates\.inc")\b', re.MULTILINE
)
POSITION = re.compile(r"(?:<input>:)?(\d+),(\d+): (.*)", re.DOTALL)
UNSUPPORTED = re.compile(
    r"not (?:currently |yet )?supported|unsupported|not (?:yet )?(?:handled|implemented)", re.IGNORECASE
)


class AerOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Options of the Aer driver.

    Attributes
    ----------
    seed : int, optional
        Seed of the samples; one is drawn when left out.
    method : str
        Aer's simulation method; ``automatic`` lets Aer choose by the circuit.
    precision : str
        Of the amplitudes.
    """

    seed: int | None = None
    method: Literal["automatic", "statevector", "density_matrix", "stabilizer", "matrix_product_state"] = "automatic"
    precision: Literal["double", "single"] = "double"


class AerDriver:
    """Runs OpenQASM 2 and 3 with Qiskit's parsers and Aer's simulators."""

    name: ClassVar[str] = "DriverAer"
    alias_name: ClassVar[str] = "Qiskit Aer"
    version: ClassVar[str] = "1.0.0"
    description: ClassVar[str] = "Qiskit's parsers and the Aer simulator, in processes of their own"
    tech_type: ClassVar[str] = "generic_simulator"
    supported_code_types: ClassVar[tuple[str, ...]] = ("qasm", "qasm2", "qasm3")
    supported_transpilers: ClassVar[tuple[str, ...]] = ()
    results_fetch_mode: ClassVar[str] = "sync"
    Options: ClassVar[type[msgspec.Struct]] = AerOptions

    def __init__(self, device: Device) -> None:
        self.device = device

    def parse(self, task: Task) -> Any:
        """The text as it is; Qiskit parses it when it runs, in the worker."""
        check_includes(task.source)
        return task.source

    def transpile(self, program: Any, task: Task) -> Any:
        """The program unchanged: Aer takes every gate that Qiskit knows."""
        return program

    def run(self, program: Any, task: Task) -> Outcome:
        """Parse and sample in a worker; notes ``implicit_measurement`` in the metadata."""
        options = task.options if isinstance(task.options, AerOptions) else AerOptions()
        counts, num_qubits, implicit = run_program(
            program,
            task.code_type,
            task.shots,
            task.seed if options.seed is None else options.seed,
            deadline=task.deadline,
            cancel=task.cancel,
            max_qubits=self.device.max_qubits,
            method=options.method,
            precision=options.precision,
        )
        if implicit:
            task.metadata["implicit_measurement"] = True
        return Outcome(counts, num_qubits)

    def close(self) -> None:
        """Nothing to release: the workers are shared and end with the server."""


def available() -> bool:
    """Whether Qiskit, Aer and the QASM 3 importer are installed; imports none of them."""
    return all(find_spec(name) is not None for name in NEEDED)


def run_program(
    source: str,
    code_type: str,
    shots: int,
    seed: int,
    *,
    deadline: float | None = None,
    cancel: bytearray | None = None,
    max_qubits: int = 28,
    method: str = "automatic",
    precision: str = "double",
) -> tuple[dict[str, int], int, bool]:
    """Sample an OpenQASM program with Aer in a worker process.

    Parameters
    ----------
    source : str
        The program.
    code_type : str
        ``qasm2``, ``qasm3``, or ``qasm``: told by the program's version line.
    shots : int
        Samples to take.
    seed : int
        Same seed, same counts.
    deadline : float, optional
        Monotonic seconds.
    cancel : bytearray, optional
        ``cancel[0]`` = 1 stops the run within 50 ms.
    max_qubits : int, optional
        Programs with more qubits are refused; bounds the worker's memory as well.
    method, precision : str, optional
        Aer's, see AerOptions.

    Returns
    -------
    counts : dict of str to int
        In Qiskit's form: bit 0 rightmost, a space between registers, the last declared register leftmost.
    num_qubits : int
        Declared qubits.
    implicit : bool
        The program measures nothing, so every qubit was measured at its end.

    Raises
    ------
    CircuitError
        -102 with the position, -103 for what Qiskit does not take or without Qiskit, -104 for a failed run, -107, -120,
        -121, -122.
    JobCancelled
        The flag was set.
    """
    if not available():
        raise TranspileError('this program needs Qiskit Aer, which is not installed: pip install "qfast[aer]"')
    check_includes(source)
    payload = {
        "source": source,
        "version": 2 if code_type == "qasm2" else 3 if code_type == "qasm3" else language_version(source),
        "shots": shots,
        "seed": seed & 0x7FFF_FFFF_FFFF_FFFF,
        "max_qubits": max_qubits,
        "method": method,
        "precision": precision,
    }
    memory = SLACK_BYTES + STATES * 16 * 2 ** min(max_qubits, 40)
    run = third_party().call("qfast.drivers.aer:sample", payload, deadline=deadline, cancel=cancel, memory=memory)
    return run["counts"], run["num_qubits"], run["implicit"]


def language_version(source: str) -> int:
    """2 or 3, from the version line; without one from the words that only OpenQASM 3 has."""
    found = VERSION.match(source)
    if found:
        return 2 if found[1] == "2" else 3
    return 3 if MARKS_OF_3.search(source) else 2


def check_includes(source: str) -> None:
    """Refuse every include but the two standard files, which live in memory."""
    for found in COMMENT_OR_INCLUDE.finditer(source):
        name = found["name"]
        if name is not None and name[1:-1] not in STANDARD_INCLUDES:
            line = source.count("\n", 0, found.start()) + 1
            column = found.start() - source.rfind("\n", 0, found.start())
            raise located(source, line, column, "only qelib1.inc and stdgates.inc can be included")


def located(source: str, line: int, column: int, text: str) -> ParseError:
    """The error with its position (both from 1), the line it stands on and a caret; long lines are cut."""
    lines = source.split("\n", line)
    written = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
    start = max(0, column - 60)
    snippet = f"{written[start : start + 120]}\n{' ' * (min(column, len(written) + 1) - 1 - start)}^"
    data = {"line": line, "column": column, "end_column": column + 1, "snippet": snippet, "hint": ""}
    return ParseError(f"in line {line}, column {column}, {text[:500]}", data)


# From here on: in the worker process only.


def sample(job: dict[str, Any]) -> dict[str, Any]:
    """Parse and run one program; payload and answer of `run_program`."""
    circuit = parsed(job["source"], job["version"])
    num_qubits: int = circuit.num_qubits
    if num_qubits == 0:
        raise TranspileError("the program declares no qubits")
    if num_qubits > job["max_qubits"]:
        raise QubitLimitError(f"the program has {num_qubits} qubits, the device {job['max_qubits']}")
    if circuit.parameters:
        raise TranspileError(
            "input parameters have no values: " + ", ".join(str(name) for name in circuit.parameters)[:200]
        )
    implicit = not measures(circuit)
    if implicit:
        names = {register.name for register in circuit.cregs}
        name = next(name for name in ("meas", *(f"meas{k}" for k in range(len(names) + 1))) if name not in names)
        register = import_module("qiskit").ClassicalRegister(num_qubits, name)
        circuit.add_register(register)
        circuit.measure(range(num_qubits), register)
    groups = [num_qubits] if implicit else register_sizes(circuit)
    outcomes = simulated(circuit, job)
    skipped = circuit.num_clbits - sum(groups)  # declared bits that an implicit measurement leaves out
    counts: dict[str, int] = {}
    for key, count in outcomes.items():
        bits = spaced(int(key, 16) >> skipped, groups)
        counts[bits] = counts.get(bits, 0) + count
    return {"counts": counts, "num_qubits": num_qubits, "implicit": implicit}


def parsed(source: str, version: int) -> Any:
    """The QuantumCircuit; Qiskit's errors as ours."""
    try:
        if version == 2:
            qasm2: Any = import_module("qiskit.qasm2")
            return qasm2.loads(source, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS, include_path=())
        return import_module("qiskit.qasm3").loads(source)
    except RecursionError:
        raise ParseError("the program is nested too deeply") from None
    except Exception as error:
        raise parse_error(source, error) from None
    except BaseException as error:  # Rust code panics with a BaseException; the parser keeps no state, so we go on
        if type(error).__name__ != "PanicException":
            raise
        raise ParseError("Qiskit's parser broke off at this program") from None


def parse_error(source: str, error: BaseException) -> CircuitError:
    """What a parser's exception says, with its position where it has one (Qiskit counts columns from 0)."""
    text = str(getattr(error, "message", "") or error)
    found = POSITION.match(text)
    kind = UNSUPPORTED.search(text)
    if kind:
        where = f"in line {found[1]}, column {int(found[2]) + 1}, " if found else ""
        return TranspileError(where + (found[3] if found else text)[:500])
    if found:
        return located(source, int(found[1]), int(found[2]) + 1, found[3])
    cause: BaseException | None = error
    for _ in range(8):  # antlr's own error hides at the end of a chain of causes
        token = next((arg.offendingToken for arg in getattr(cause, "args", ()) if hasattr(arg, "offendingToken")), None)
        if token is not None:
            return located(source, token.line, token.column + 1, "the statement cannot be understood here")
        cause = (cause.__cause__ or cause.__context__) if cause is not None else None
    return ParseError(text[:500] or f"the program cannot be parsed ({type(error).__name__})")


def measures(circuit: Any) -> bool:
    """Whether anything is measured, also inside control flow."""
    for instruction in circuit.data:
        operation = instruction.operation
        if operation.name == "measure" or any(measures(block) for block in getattr(operation, "blocks", ())):
            return True
    return False


def native(circuit: Any, names: set[str]) -> bool:
    """Whether Aer takes every operation as it stands, also inside control flow."""
    return all(
        instruction.operation.name in names
        and all(native(block, names) for block in getattr(instruction.operation, "blocks", ()))
        for instruction in circuit.data
    )


def register_sizes(circuit: Any) -> list[int]:
    """Bits per register in order of declaration; a bit of no register counts as a register of one."""
    sizes: list[int] = []
    last: str | None = None
    for bit in circuit.clbits:
        registers = circuit.find_bit(bit).registers
        owner = registers[0][0].name if registers else None
        if owner is not None and owner == last:
            sizes[-1] += 1
        else:
            sizes.append(1)
        last = owner
    return sizes


def spaced(value: int, groups: list[int]) -> str:
    """The bits of a value in groups, the lowest group rightmost."""
    parts = []
    for size in groups:
        parts.append(format(value & ((1 << size) - 1), f"0{size}b"))
        value >>= size
    return " ".join(reversed(parts))


def simulated(circuit: Any, job: dict[str, Any]) -> dict[str, int]:
    """Hexadecimal outcome to count, over all classical bits."""
    megabytes = (STATES * 16 * 2 ** min(job["max_qubits"], 40) >> 20) + 64
    try:
        simulator = import_module("qiskit_aer").AerSimulator(
            method=job["method"],
            precision=job["precision"],
            max_parallel_threads=1,
            max_memory_mb=megabytes,
            seed_simulator=job["seed"],
        )
        names = {*simulator.configuration().basis_gates, "measure", "reset", "barrier"}
        if not native(circuit, names):  # a pass manager costs 60 ms, a Bell circuit 2
            circuit = import_module("qiskit").transpile(circuit, simulator, optimization_level=0)
        result = simulator.run(circuit, shots=job["shots"]).result()
    except MemoryError:
        raise
    except Exception as error:
        raise DriverRunError(f"{type(error).__name__}: {error}"[:500]) from None
    if not result.success:
        status = str(result.results[0].status if result.results else result.status)[:500]
        if "memory" in status.lower():
            raise ResourceLimitError(status)
        raise DriverRunError(status)
    outcomes: dict[str, int] = result.results[0].data.counts
    return outcomes
