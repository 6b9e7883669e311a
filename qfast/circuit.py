"""The typed face of the compact circuit that front end, transpilers and simulator share (layout: ext/circuit.h)."""

from __future__ import annotations

from enum import IntEnum

import msgspec
import numpy as np
import numpy.typing as npt

INSTRUCTION = np.dtype(
    [
        ("op", "u1"),
        ("nctrl", "u1"),
        ("flags", "<u2"),
        ("ctrl_state", "<u4"),
        ("q", "<i4"),
        ("nq", "<i4"),
        ("p", "<i4"),
        ("c", "<i4"),
    ]
)


class Op(IntEnum):
    """The operations that are gates, measurement, reset or barrier; larger numbers are classical (ext/circuit.h)."""

    GPHASE = 0
    ID = 1
    X = 2
    Y = 3
    Z = 4
    H = 5
    S = 6
    SDG = 7
    T = 8
    TDG = 9
    SX = 10
    SXDG = 11
    RX = 12
    RY = 13
    RZ = 14
    P = 15
    U = 16
    UNITARY = 17
    SWAP = 32
    ISWAP = 33
    RXX = 34
    RYY = 35
    RZZ = 36
    RZX = 37
    MEASURE = 64
    RESET = 65
    BARRIER = 66
    JUMP = 80
    JUMPZ = 81
    END = 82


NUM_PARAMS = {
    Op.GPHASE: 1,
    Op.RX: 1,
    Op.RY: 1,
    Op.RZ: 1,
    Op.P: 1,
    Op.U: 3,
    Op.UNITARY: 8,
    Op.RXX: 1,
    Op.RYY: 1,
    Op.RZZ: 1,
    Op.RZX: 1,
}


class Circuit(msgspec.Struct, frozen=True, gc=False):
    """A compiled program: immutable, picklable, cheap to make and to send.

    Attributes
    ----------
    num_qubits, num_clbits : int
        Declared qubits and classical bits; both are numbered in order of declaration.
    num_vars : int
        64-bit variables of the classical machine.
    code : bytes
        INSTRUCTION records.
    qubits : bytes
        int32 operands.
    params : bytes
        float64 parameters, radians.
    qregs, cregs : tuple of (name, size)
        Registers in order of declaration; they cover the qubits and bits without gaps. Counts are printed with the last
        declared creg leftmost.
    implicit_measurement : bool
        The program measures nothing, so a measurement of every qubit was added into the one creg ``meas``.
    """

    num_qubits: int
    num_clbits: int
    num_vars: int
    code: bytes
    qubits: bytes
    params: bytes
    qregs: tuple[tuple[str, int], ...]
    cregs: tuple[tuple[str, int], ...]
    implicit_measurement: bool = False

    @property
    def instructions(self) -> npt.NDArray[np.void]:
        """The instructions as a read-only structured array of dtype INSTRUCTION, shape (m,)."""
        return np.frombuffer(self.code, INSTRUCTION)

    @property
    def operands(self) -> npt.NDArray[np.int32]:
        """The qubit operands of all instructions, shape (k,)."""
        return np.frombuffer(self.qubits, np.int32)

    @property
    def parameters(self) -> npt.NDArray[np.float64]:
        """The parameters of all instructions in radians, shape (p,)."""
        return np.frombuffer(self.params, np.float64)
