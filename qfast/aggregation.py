"""Aggregation: several circuits side by side in one wide program, and its counts taken apart again.

The circuits share no qubit and no classical bit, so the outcome of each is a marginal of the wide program's, exactly: its count
of a key is the sum over all wide keys that hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from qfast.circuit import INSTRUCTION, Circuit, Op

# instructions whose field c is a classical bit, or a variable (ext/circuit.h)
_BITS = (Op.MEASURE, 98, 99, 100, 101, 137, 138)  # LDBIT, STBIT, LDREG, STREG, LDBITAT, STBITAT
_VARIABLES = (102, 103, 139, 140)  # LDVAR, STVAR, LDVARAT, STVARAT


def packs(widths: Sequence[int], limit: int) -> list[list[int]]:
    """Share circuits out to programs of at most `limit` qubits: each goes into the first program that has room for it.

    Parameters
    ----------
    widths : sequence of int
        Qubits of each circuit; one that is wider than the limit gets a program of its own.
    limit : int
        Qubits of a program.

    Returns
    -------
    list of list of int
        Numbers of the circuits in each program, both in order.
    """
    programs: list[list[int]] = []
    room: list[int] = []
    for number, width in enumerate(widths):
        place = next((k for k, free in enumerate(room) if width <= free), len(room))
        if place == len(room):
            programs.append([])
            room.append(limit)
        programs[place].append(number)
        room[place] -= width
    return programs


def pack(circuits: Sequence[Circuit]) -> Circuit:
    """The circuits one after the other in one program, on qubits, bits and variables of their own.

    The first one has the lowest qubits and the registers declared first. Where one ends early, the next begins.
    """
    qubits = bits = variables = start = operands = params = 0
    code, qregs, cregs = [], [], []
    for number, circuit in enumerate(circuits):
        rows = circuit.instructions.copy()
        if len(rows) and rows["op"][-1] == Op.END:
            rows = rows[:-1]
        jumps = np.isin(rows["op"], (Op.JUMP, Op.JUMPZ))
        rows["c"][jumps] = np.minimum(rows["c"][jumps], len(rows)) + start
        early = rows["op"] == Op.END
        rows["op"][early] = Op.JUMP
        rows["c"][early] = start + len(rows)
        rows["c"][np.isin(rows["op"], _BITS)] += bits
        rows["c"][np.isin(rows["op"], _VARIABLES)] += variables
        rows["q"] += operands
        rows["p"] += params
        code.append(rows)
        qregs += [(f"{name}_{number}", size) for name, size in circuit.qregs]
        cregs += [(f"{name}_{number}", size) for name, size in circuit.cregs]
        start, operands, params = start + len(rows), operands + len(circuit.operands), params + len(circuit.parameters)
        bits, variables = bits + circuit.num_clbits, variables + circuit.num_vars
        qubits += circuit.num_qubits
    firsts = np.cumsum([0, *(circuit.num_qubits for circuit in circuits)])
    wide = [circuit.operands + first for circuit, first in zip(circuits, firsts, strict=False)]
    return Circuit(
        num_qubits=qubits,
        num_clbits=bits,
        num_vars=variables,
        code=np.concatenate(code).astype(INSTRUCTION).tobytes(),
        qubits=np.concatenate(wide).astype(np.int32).tobytes(),
        params=b"".join(circuit.params for circuit in circuits),
        qregs=tuple(qregs),
        cregs=tuple(cregs),
    )


def key_length(circuit: Circuit) -> int:
    """Characters of an outcome: one per classical bit, one space between registers."""
    return circuit.num_clbits + max(len(circuit.cregs) - 1, 0)


def split(counts: Mapping[str, int], circuits: Sequence[Circuit]) -> list[dict[str, int]]:
    """The counts of each circuit of a wide program."""
    places: list[slice] = []
    end = sum(key_length(circuit) for circuit in circuits) + sum(bool(circuit.cregs) for circuit in circuits) - 1
    for circuit in circuits:  # the first one is rightmost
        begin = end - key_length(circuit)
        places.append(slice(begin, end))
        end = begin - bool(circuit.cregs)
    found: list[dict[str, int]] = [{} for _ in circuits]
    for key, count in counts.items():
        for place, own in zip(places, found, strict=True):
            bits = key[place]
            own[bits] = own.get(bits, 0) + count
    return found


class Place(msgspec.Struct, frozen=True):
    """Where a circuit stood in a wide program; in the metadata of its result.

    Attributes
    ----------
    mode : str
        ``internal`` or ``external``.
    circuits : int
        Circuits in the program, those of other jobs included.
    sources : list of int
        Which results of this job shared it.
    first_qubit, num_qubits : int
        Of the program before transpiling.
    """

    mode: str
    circuits: int
    sources: list[int]
    first_qubit: int
    num_qubits: int
