"""Parses and runs a program with Qiskit and Aer; imported by the worker process only."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from qfast.drivers.aer import STATES, located
from qfast.errors import CircuitError, DriverRunError, ParseError, QubitLimitError, ResourceLimitError, TranspileError

POSITION = re.compile(r"(?:<input>:)?(\d+),(\d+): (.*)", re.DOTALL)
UNSUPPORTED = re.compile(
    r"not (?:currently |yet )?supported|unsupported|not (?:yet )?(?:handled|implemented)", re.IGNORECASE
)


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
    except Exception as error:
        raise DriverRunError(f"{type(error).__name__}: {error}"[:500]) from None
    if not native(circuit, names):  # a pass manager costs 60 ms, a Bell circuit 2
        try:
            circuit = import_module("qiskit").transpile(circuit, simulator, optimization_level=0)
        except MemoryError:
            raise
        except Exception as error:  # an opaque gate, say
            raise TranspileError(f"Qiskit: {error}"[:500]) from None
    try:
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
