"""From the text of an OpenQASM program to the compact circuit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from qfast._ext import qasm
from qfast.circuit import Circuit
from qfast.errors import CircuitError, ParseError, ResourceLimitError, TranspileError

VERSIONS = {"qasm": 0, "qasm2": 2, "qasm3": 3}
SNIPPET_WIDTH = 120  # characters of the source line around the mistake


class Unsupported(TranspileError):
    """The program is valid, but beyond this front end; another implementation (Aer's) may still run it."""


KINDS: dict[int, type[CircuitError]] = {
    102: ParseError,
    103: TranspileError,
    104: Unsupported,
    120: ResourceLimitError,
}


def compile_program(source: str, code_type: str = "qasm", inputs: Mapping[str, float] | None = None) -> Circuit:
    """Compile an OpenQASM program.

    Nothing is read but the text itself: the includes ``qelib1.inc`` and ``stdgates.inc`` are built in, any other is an
    error. Time and memory are bounded by the limits at the head of ext/qasm_state.h, whatever the text.

    Parameters
    ----------
    source : str
        The program.
    code_type : {"qasm", "qasm2", "qasm3"}
        The version that it must have; ``qasm`` goes by its ``OPENQASM`` line, and without one by what the program uses.

    inputs : mapping of str to float, optional
        Values of the program's ``input`` parameters (OpenQASM 3), one for each; without it such a program is unsupported.

    Returns
    -------
    Circuit
        Every gate expanded to the base operations of ext/circuit.h, constant control flow unrolled.

    Raises
    ------
    ParseError
        The program is wrong, or its inputs are; ``data`` has line, column, end_column (1-based, in characters),
        snippet and hint of the first error, and ``errors``, a list of the others with their ``message``, up to 20 in all.
    Unsupported
        The program is valid, but beyond this front end.
    TranspileError
        The program is valid, but nothing can run it: no qubits, an opaque gate.
    ResourceLimitError
        The program, or what it expands to, is too large.
    """
    values = None if inputs is None else finite(inputs)
    try:
        return Circuit(*qasm.compile(source, VERSIONS[code_type], values))
    except qasm.QasmError as error:
        failure = error
    except UnicodeEncodeError as error:  # a lone surrogate
        position = len(source[: error.start].encode())
        source = source[: error.start] + "\ufffd"
        failure = qasm.QasmError(102, "a character that is not Unicode text", position, position + 3, None)
    raise translate(failure, source.encode()) from None


class OpenCircuit(msgspec.Struct, frozen=True, gc=False):
    """A program compiled before its ``input`` parameters have values; `bind` gives it some, and reads no text for it.

    Attributes
    ----------
    circuit : Circuit
        The program with angles of zero where they depend on inputs.
    names : tuple of str
        The inputs in the order of their declaration.
    cells, tape, constants, num_cells
        What computes the angles (ext/qasm_bind.h).
    """

    circuit: Circuit
    names: tuple[str, ...]
    cells: bytes
    tape: bytes
    constants: bytes
    num_cells: int

    def bind(self, inputs: Mapping[str, float]) -> Circuit | None:
        """The circuit with these values; None where `compile_program` has something to say about them.

        Complexity: the arithmetic on the inputs and a copy of the parameters; the bound circuits share all else.
        """
        if len(inputs) != len(self.names):
            return None
        try:
            values = tuple([inputs[name] for name in self.names])
            params = qasm.bind(self.cells, self.tape, self.constants, self.num_cells, self.circuit.params, values)
        except (KeyError, OverflowError):
            return None
        c = self.circuit
        if params is None:
            return None
        return Circuit(
            c.num_qubits, c.num_clbits, 0, c.code, c.qubits, params, c.qregs, c.cregs, c.implicit_measurement
        )


def open_program(source: str, code_type: str = "qasm") -> OpenCircuit | None:
    """Compile a program whose inputs get their values later.

    None when it has to be compiled anew for each set of values: it is wrong, or more than its angles depends on inputs
    (the course of its loops, the definition of a gate, its qubits), or it goes on by what it measures.
    """
    try:
        compiled = qasm.compile_open(source, VERSIONS[code_type])
    except (qasm.QasmError, UnicodeEncodeError):
        return None
    return None if compiled is None else OpenCircuit(Circuit(*compiled[0]), *compiled[1:])


def finite(inputs: Mapping[str, float]) -> dict[str, float]:
    """The inputs as numbers and names that the compiler can take."""
    for name, value in inputs.items():
        if not name.isprintable():
            raise ParseError("in line 1, column 1, the name of an input parameter is not Unicode text")
        try:
            good = math.isfinite(value)
        except OverflowError:
            good = False
        if not good:
            raise ParseError(
                f"in line 1, column 1, the value of the input parameter {name[:60]!r} is not a finite number"
            )
    return dict(inputs)


def translate(error: qasm.QasmError, text: bytes) -> CircuitError:
    """The error of the compiler as the error of a circuit, with line and column worked out."""
    if error.kind == 103 and error.begin == 0 and "no qubits" in error.text:
        return TranspileError(error.text)
    message, data = located(error, text)
    if error.others:
        data["errors"] = [{"message": said, **where} for said, where in (located(e, text) for e in error.others)]
    return KINDS[error.kind](message, data)


def located(error: qasm.QasmError, text: bytes) -> tuple[str, dict[str, Any]]:
    """The message of one error, and where it is."""
    begin = min(error.begin, len(text))
    line = text.count(b"\n", 0, begin) + 1
    start = text.rfind(b"\n", 0, begin) + 1
    stop = text.find(b"\n", begin)
    stop = len(text) if stop < 0 else stop
    # A line may be megabytes long: only the part before the mistake is decoded for the column, and little around it is shown.
    column = count_characters(text[start:begin]) + 1
    end_column = column + max(count_characters(text[begin : min(error.end, stop)]), 1) - 1
    before = text[max(start, begin - 4 * SNIPPET_WIDTH) : begin].decode(errors="ignore")[-SNIPPET_WIDTH // 2 :]
    after = text[begin : min(stop, begin + 4 * SNIPPET_WIDTH)].decode(errors="ignore")[: SNIPPET_WIDTH // 2]
    caret = "".join("\t" if letter == "\t" else " " for letter in before)
    caret += "^" * min(end_column - column + 1, max(len(after), 1))
    data: dict[str, Any] = {
        "line": line,
        "column": column,
        "end_column": end_column,
        "snippet": printable(before + after) + "\n" + caret,
        "hint": error.hint,
    }
    return f"in line {line}, column {column}, {error.text}", data


def count_characters(text: bytes) -> int:
    """Characters of a piece of UTF-8 text."""
    return len(text.decode(errors="replace"))


def printable(text: str) -> str:
    """The text with control characters masked, so that it shows in a terminal and in JSON alike."""
    return "".join(letter if letter == "\t" or letter.isprintable() else "?" for letter in text)
