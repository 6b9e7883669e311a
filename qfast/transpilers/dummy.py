"""The transpiler that passes the program straight through to the driver."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from qfast.circuit import Circuit
from qfast.plugins import Task


class DummyOptions(msgspec.Struct, forbid_unknown_fields=True):
    """None."""


class DummyTranspiler:
    """Leaves the circuit as it is."""

    name: ClassVar[str] = "dummy"
    alias_name: ClassVar[str] = "pass-through"
    version: ClassVar[str] = "1.0.0"
    supported_code_types: ClassVar[tuple[str, ...]] = ("qasm", "qasm2", "qasm3")
    Options: ClassVar[type[msgspec.Struct]] = DummyOptions

    def transpile(self, circuit: Circuit, task: Task) -> Circuit:
        """The circuit itself."""
        return circuit
