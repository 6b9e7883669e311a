"""Circuits on the wire: a Qiskit circuit as OpenQASM 3 with a heading that tells how to read its counts, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qiskit import ClassicalRegister, QuantumCircuit, qasm3

_HEADING = "// qiskit_qfast "
_INPUT = re.compile(r"^input float\[64\] (\w+);$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Heading:
    """What of a circuit is not in its program, kept as the program's first line.

    Attributes
    ----------
    name : str
    metadata : dict
        The circuit's own; values that JSON does not know as text.
    num_clbits : int
    declared : sequence of sequence of int
        Per classical register of the program, in order of declaration, the circuit's classical bits, lowest first.
    cregs : sequence of (str, sequence of int)
        The circuit's classical registers and their bits.
    pub : int or None
        Which pub of a primitive's run it belongs to.
    rows : int
        Result rows of its source, one per set of parameter values.
    shape : sequence of int
        Of that pub's result.
    at : sequence of (int, int, int)
        Of an estimator: flat index in the result, row of parameter values, observable.
    """

    name: str
    metadata: Mapping[str, Any]
    num_clbits: int
    declared: Sequence[Sequence[int]]
    cregs: Sequence[tuple[str, Sequence[int]]]
    pub: int | None = None
    rows: int = 1
    shape: Sequence[int] = ()
    at: Sequence[tuple[int, int, int]] = ()

    def line(self) -> str:
        """The first line of the program."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return _HEADING + json.dumps(fields, default=str) + "\n"

    def bits_of(self, outcome: str) -> list[int]:
        """The values of the circuit's classical bits in an outcome of the wire, such as ``"01 1"``."""
        values = [0] * self.num_clbits
        for register, text in zip(reversed(self.declared), outcome.split(" "), strict=True):
            for clbit, value in zip(reversed(register), text, strict=True):
                values[clbit] = value == "1"
        return values


def heading_of(source: str) -> Heading | None:
    """The heading of a program, or None when it was not written here."""
    if not source.startswith(_HEADING):
        return None
    return Heading(**json.loads(source[len(_HEADING) : source.index("\n")]))


def program_of(circuit: QuantumCircuit) -> tuple[Heading, str]:
    """The heading and the program of a circuit.

    Raises
    ------
    ValueError
        The circuit has something that OpenQASM 3 cannot express.
    """
    name, metadata = circuit.name, circuit.metadata or {}
    index = {clbit: k for k, clbit in enumerate(circuit.clbits)}
    cregs = [(register.name, [index[bit] for bit in register]) for register in circuit.cregs]
    held = [clbit for _, bits in cregs for clbit in bits]
    overlap = len(held) != len(set(held))
    if overlap:  # all bits in one register instead
        declared = [list(range(len(index)))]
        flat = QuantumCircuit(circuit.qubits, ClassicalRegister(len(index), "meas"), global_phase=circuit.global_phase)
        circuit = flat.compose(circuit, flat.qubits, flat.clbits)
    else:
        declared = [[k] for k in range(len(index)) if k not in set(held)] + [bits for _, bits in cregs]
    if circuit.layout is not None:  # its exporter would name physical qubits, and leave out those without a gate
        circuit = circuit.copy()
        circuit._layout = None
    try:
        text = qasm3.dumps(circuit)
    except qasm3.QASM3ExporterError as error:
        raise ValueError(f"circuit {name!r} cannot be written as OpenQASM 3: {error}") from error
    return Heading(name, metadata, len(index), declared, cregs), text


def inputs_of(text: str) -> list[str]:
    """The names of a program's inputs, in the order of ``circuit.parameters``."""
    return _INPUT.findall(text)


def measures(circuit: QuantumCircuit) -> bool:
    """Whether anything is measured, inside of control flow as well."""
    return any(
        instruction.operation.name == "measure" or any(map(measures, getattr(instruction.operation, "blocks", ())))
        for instruction in circuit.data
    )
