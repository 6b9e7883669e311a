"""Qiskit Aer as a driver: programs that our own simulator does not take, or does not take yet.

Qiskit and Aer are imported in the worker process only (lanes.py): the parser can panic and hold the GIL for seconds,
and a simulation can only be stopped by a kill. No program makes them read a file: includes are checked before the text
is handed over, and the include path is empty.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import msgspec

from qfast.errors import ParseError, TranspileError
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
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = min(physical, SLACK_BYTES + STATES * 16 * 2 ** min(max_qubits, 40))
    run = third_party().call(
        "qfast.drivers._aer_worker:sample", payload, deadline=deadline, cancel=cancel, memory=memory
    )
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
