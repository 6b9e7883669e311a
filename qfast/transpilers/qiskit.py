"""Qiskit's transpiler, in a worker process (lanes.py): it is neither bounded nor interruptible."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from qfast.circuit import Circuit, Op
from qfast.errors import QubitLimitError, TranspileError, TranspilerInitError
from qfast.lanes import third_party
from qfast.plugins import Task

MEMORY = 4 << 30  # bytes that one transpilation may take
POPS_PARAMS = 1  # flag of a gate whose parameters come from the stack (ext/circuit.h)


class QiskitOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Options, as qiskit.transpile names them.

    Attributes
    ----------
    optimization_level : int
        0 to 3.
    layout_method, routing_method : str, optional
        The level's default when left out.
    seed_transpiler : int
        Same seed, same circuit.
    """

    optimization_level: Annotated[int, msgspec.Meta(ge=0, le=3)] = 1
    layout_method: Literal["default", "trivial", "dense", "sabre"] | None = None
    routing_method: Literal["default", "basic", "lookahead", "sabre", "none"] | None = None
    seed_transpiler: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0


class QiskitTranspiler:
    """Runs qiskit.transpile for the device's basis gates and coupling map."""

    name: ClassVar[str] = "qiskit"
    alias_name: ClassVar[str] = "Qiskit"
    version: ClassVar[str] = "1.0.0"
    supported_code_types: ClassVar[tuple[str, ...]] = ("qasm", "qasm2", "qasm3")
    Options: ClassVar[type[msgspec.Struct]] = QiskitOptions

    def transpile(self, circuit: Circuit, task: Task) -> Circuit:
        """An equivalent circuit for ``task.device``; notes ``layout``, ``depth``, ``gates`` and ``two_qubit_gates``.

        Raises
        ------
        TranspileError
            Qiskit is not installed, the program computes with measured values, or Qiskit cannot do it.
        QubitLimitError
            More qubits than the coupling map has.
        """
        try:
            options = msgspec.convert(task.transpiler_options, QiskitOptions)
        except msgspec.ValidationError as error:
            raise TranspilerInitError(f"transpiler_options: {error}") from None
        if find_spec("qiskit") is None:
            raise TranspileError(
                'the transpiler "qiskit" needs Qiskit, which is not installed: pip install "qfast[aer]"'
            )
        code = circuit.instructions
        if bool((code["op"] >= Op.JUMP).any() or (code["flags"] & POPS_PARAMS).any()):
            raise TranspileError(
                'the transpiler "qiskit" takes no programs that compute or branch on measured values; use "cmss"'
            )
        pairs = task.device.coupling_map
        if pairs and circuit.num_qubits > (size := 1 + max(max(pair) for pair in pairs)):
            raise QubitLimitError(f"the program has {circuit.num_qubits} qubits, the coupling map {size}")
        payload = {
            "circuit": circuit,
            "basis_gates": task.device.basis_gates,
            "coupling_map": pairs,
            "options": options,
        }
        answer: dict[str, Any] = third_party().call(
            "qfast.transpilers._qiskit_worker:run",
            payload,
            deadline=task.deadline,
            cancel=task.cancel,
            memory=MEMORY,
        )
        task.metadata.update(answer["metadata"])
        return msgspec.convert(answer["circuit"], Circuit)
