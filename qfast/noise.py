"""The noise of a device: what its table says, and the same circuit with the channels written into it.

The channels are instructions of the compact circuit (QF_NOISE in ext/circuit.h) that the simulator runs by trajectories.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from qfast.circuit import INSTRUCTION, Circuit, Op

Probability = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0)]
Floats = npt.NDArray[np.float64]

PAULI, DEPOLARIZE, DAMP = 0, 1, 2  # enum qf_channel in ext/circuit.h
MISREADS = 2  # enum qf_flag
CLASSES = ("one_qubit", "two_qubit")
ALIASES = {"u1": "p", "u3": "u", "cu1": "cp", "cu3": "cu", "c3x": "cccx", "c4x": "ccccx", "toffoli": "ccx"}


class Noise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table ``[devices.NAME.noise]``. Idle qubits, resets and barriers are without noise.

    Attributes
    ----------
    one_qubit, two_qubit : float
        Depolarizing probability p of a gate: the state becomes (1 - p) rho + p I / 2^n on its n qubits. A gate on more qubits
        has the two-qubit channel on each pair of neighbours among its operands. `one_qubit` may be a list, one value per qubit.
    gates : dict
        The same by the name of a gate, in place of these: ``{ rz = 0, cz = 0.008 }``.
    amplitude_damping, phase_damping : float or dict
        After each gate on each of its qubits: the probability that 1 decays to 0, and that the phase is lost; or by name of the
        gate, or ``one_qubit`` and ``two_qubit``.
    t1, t2 : float or list of float
        Relaxation times in seconds, or one per qubit, with `gate_times` another way to give these; t2 is at most 2 t1.
    gate_times : dict
        Seconds by name of the gate, or ``one_qubit`` and ``two_qubit``.
    readout : float, [float, float] or a list of such pairs, one per qubit
        The probability to read a 1 where there is a 0, and a 0 where there is a 1; one number stands for both.
    """

    one_qubit: Probability | list[Probability] = 0.0
    two_qubit: Probability = 0.0
    gates: dict[str, Probability] = {}
    amplitude_damping: Probability | dict[str, Probability] = 0.0
    phase_damping: Probability | dict[str, Probability] = 0.0
    t1: Seconds | list[Seconds] | None = None
    t2: Seconds | list[Seconds] | None = None
    gate_times: dict[str, Seconds] = {}
    readout: Probability | list[Probability | list[Probability]] = 0.0


def check(noise: Noise, max_qubits: int) -> None:
    """Apply the rules that the types do not express; raises ValueError naming the key."""
    for key in ("one_qubit", "t1", "t2"):
        value = getattr(noise, key)
        if isinstance(value, list) and len(value) != max_qubits:
            raise ValueError(f"noise.{key}: has {len(value)} values for max_qubits = {max_qubits}")
    for key in ("gates", "amplitude_damping", "phase_damping", "gate_times"):
        table = getattr(noise, key)
        for name in table if isinstance(table, dict) else ():
            if not _is_gate(name) and (key == "gates" or name not in CLASSES):
                raise ValueError(f"noise.{key}: {name!r} is no gate that the simulator knows")
    for key, value in (("t1", noise.t1), ("t2", noise.t2)):
        if value is not None and not np.all(np.asarray(value) > 0):
            raise ValueError(f"noise.{key}: must be above 0")
    if (noise.t1 is not None or noise.t2 is not None) and not noise.gate_times:
        raise ValueError("noise.gate_times: is needed with t1 or t2: seconds, such as { one_qubit = 35e-9 }")
    if noise.gate_times and noise.t1 is None and noise.t2 is None:
        raise ValueError("noise.gate_times: has no effect without t1 or t2")
    if noise.t1 is not None and noise.t2 is not None:
        for qubit in range(max_qubits):
            if _at(noise.t2, qubit) > 2 * _at(noise.t1, qubit):
                raise ValueError(f"noise.t2: {_at(noise.t2, qubit):g} of qubit {qubit} is more than twice its t1")
    _check_readout(noise.readout, max_qubits)


def _check_readout(readout: Any, max_qubits: int) -> None:
    if not isinstance(readout, list):
        return
    if all(isinstance(value, list) for value in readout):
        if len(readout) != max_qubits:
            raise ValueError(f"noise.readout: has {len(readout)} pairs for max_qubits = {max_qubits}")
        if all(len(pair) == 2 and not any(isinstance(p, list) for p in pair) for pair in readout):
            return
    elif len(readout) == 2 and not any(isinstance(value, list) for value in readout):
        return
    raise ValueError(
        "noise.readout: is neither a probability, nor [P(1 for 0), P(0 for 1)], nor one such pair per qubit"
    )


def _is_gate(name: str) -> bool:
    bare = ALIASES.get(name, name)
    while bare:
        if bare.upper() in Op.__members__ and Op[bare.upper()] < Op.MEASURE:
            return bare not in ("gphase", "unitary")
        if not bare.startswith("c"):
            return False
        bare = bare[1:]
    return False


def gate_name(op: int, nctrl: int) -> str:
    """The name of an operation with that many controls, as in Qiskit: ``cx``, ``ccx``, ``cp``."""
    if op == Op.GPHASE:
        op, nctrl = Op.P, nctrl - 1
    return "c" * nctrl + ("u" if op == Op.UNITARY else Op(op).name.lower())


def _at(value: float | list[float], qubit: int) -> float:
    return value[qubit] if isinstance(value, list) else value


def _per_qubit(value: float | list[float], qubits: npt.NDArray[np.int32]) -> Floats:
    return np.asarray(value, float)[qubits] if isinstance(value, list) else np.full(qubits.shape, float(value))


def _of(table: Any, name: str, kind: str, default: Any = 0.0) -> Any:
    """What a number, or a table by gates and classes of gates, says of a gate."""
    if not isinstance(table, dict):
        return table
    for key, value in table.items():
        if ALIASES.get(key, key) == name:
            return value
    return table.get(kind, default)


class _Sites(NamedTuple):
    """Channels of one kind: after which instructions, on which qubits, with which parameters; one row each."""

    after: npt.NDArray[np.int64]
    order: int
    qubits: npt.NDArray[np.int32]
    channel: int
    params: Floats


def noisy(circuit: Circuit, noise: Noise) -> Circuit:
    """The circuit with the channels of the noise after its gates, and its measurements marked as they may be misread.

    Parameters
    ----------
    circuit : Circuit
        As it is to run on the device: qubit k is the device's.
    noise : Noise
        Checked.

    Returns
    -------
    Circuit
        For `simulator.sample`; nothing else takes it. Classical bits and registers stay as they are.
    """
    code, operands = circuit.instructions, circuit.operands
    sites = [site for site in _all_sites(code, operands, noise) if len(site.after)]
    marked, readout = _misread(code, operands, noise, circuit.num_qubits, len(circuit.parameters))
    count = sum(len(site.after) for site in sites)
    rows = np.zeros(count, INSTRUCTION)
    rows["op"] = 67  # QF_NOISE
    after = np.zeros(count, np.int64)
    order = np.zeros(count, np.int64)
    new_operands: list[npt.NDArray[np.int32]] = [operands]
    new_params: list[Floats] = [circuit.parameters, readout]
    start, q, p = 0, len(operands), len(circuit.parameters) + len(readout)
    for site in sites:
        here, width, length = slice(start, start + len(site.after)), site.qubits.shape[1], site.params.shape[1]
        after[here], order[here] = site.after, site.order
        rows["c"][here], rows["nq"][here] = site.channel, width
        rows["q"][here] = q + width * np.arange(len(site.after))
        rows["p"][here] = p + length * np.arange(len(site.after))
        new_operands.append(site.qubits.ravel())
        new_params.append(site.params.ravel())
        start, q, p = here.stop, q + site.qubits.size, p + site.params.size
    return msgspec.structs.replace(
        circuit,
        code=_merged(marked, rows, after, order).tobytes(),
        qubits=np.concatenate(new_operands).astype(np.int32).tobytes(),
        params=np.concatenate(new_params).tobytes(),
    )


def _merged(
    code: npt.NDArray[np.void],
    rows: npt.NDArray[np.void],
    after: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
) -> npt.NDArray[np.void]:
    """Each row behind the instruction that it belongs to; jumps follow their targets."""
    chosen = np.lexsort((order, after))
    after = after[chosen]
    place = np.arange(len(code) + 1) + np.searchsorted(after, np.arange(len(code) + 1), "left")
    merged = np.zeros(len(code) + len(rows), INSTRUCTION)
    merged[place[:-1]] = code
    merged[after + 1 + np.arange(len(rows))] = rows[chosen]
    jumps = (merged["op"] == Op.JUMP) | (merged["op"] == Op.JUMPZ)
    merged["c"][jumps] = place[merged["c"][jumps]]
    return merged


def _misread(
    code: npt.NDArray[np.void], operands: npt.NDArray[np.int32], noise: Noise, num_qubits: int, first: int
) -> tuple[npt.NDArray[np.void], Floats]:
    """The instructions with measurements marked, and two parameters per qubit that stand from `first` on."""
    pairs = np.zeros((num_qubits, 2))
    value: Any = noise.readout
    if isinstance(value, list) and isinstance(value[0], list):
        pairs[:] = value[:num_qubits]
    else:
        pairs[:] = value
    if not pairs.any():
        return code, np.zeros(0)
    marked = code.copy()
    measured = np.flatnonzero(code["op"] == Op.MEASURE)
    qubit = operands[code["q"][measured]]
    measured, qubit = measured[pairs[qubit].any(axis=1)], qubit[pairs[qubit].any(axis=1)]
    marked["flags"][measured] = MISREADS
    marked["p"][measured] = first + 2 * qubit
    return marked, pairs.ravel()


def _all_sites(code: npt.NDArray[np.void], operands: npt.NDArray[np.int32], noise: Noise) -> Iterator[_Sites]:
    gates = np.flatnonzero((code["op"] < Op.MEASURE) & (code["nq"] > 0))
    kinds = code["op"][gates].astype(np.int64) << 8 | code["nctrl"][gates]
    for kind in np.unique(kinds):
        after = gates[kinds == kind]
        name = gate_name(int(kind) >> 8, int(kind) & 255)
        width = int(code["nq"][after[0]])
        places = code["q"][after][:, None] + np.arange(width)
        yield from _sites_of(after, operands[places], name, noise)


def _sites_of(after: npt.NDArray[np.int64], qubits: npt.NDArray[np.int32], name: str, noise: Noise) -> Iterator[_Sites]:
    """The channels after all gates of one name; qubits has shape (gates, qubits of a gate)."""
    width = qubits.shape[1]
    kind = CLASSES[width > 1]
    default = noise.one_qubit if width == 1 else noise.two_qubit
    depolarizing = _of({**noise.gates, kind: default}, name, kind)
    if width > 1 and depolarizing:
        # of the identity's 16 Pauli pairs one is no error
        share = np.full((len(after), 1), 15 / 16 * depolarizing)
        for j in range(width - 1):
            yield _Sites(after, j, qubits[:, j : j + 2], DEPOLARIZE, share)
    gamma, lam = (_of(table, name, kind) for table in (noise.amplitude_damping, noise.phase_damping))
    time = _of(noise.gate_times, name, kind)
    for j in range(width):
        own = qubits[:, j]
        decay, dephase = _relaxation(noise, time, own)
        quarter = _per_qubit(depolarizing, own) / 4 if width == 1 else np.zeros(len(own))
        kept = (1 - lam) ** 0.5 * dephase  # what is left of the coherence beside that of the decay
        flip = (1 - kept) / 2
        pauli = np.stack([quarter, quarter, quarter + (1 - 4 * quarter) * flip], axis=1)
        damp = 1 - (1 - gamma) * (1 - decay)
        some = pauli.any(axis=1)
        yield _Sites(after[some], width + 2 * j, own[some, None], PAULI, pauli[some])
        some = damp > 0
        # the simulator has no complete decay, which is a reset
        yield _Sites(
            after[some], width + 2 * j + 1, own[some, None], DAMP, np.minimum(damp[some, None], math.nextafter(1, 0))
        )


def _relaxation(noise: Noise, time: float, qubits: npt.NDArray[np.int32]) -> tuple[Floats, Floats]:
    """The probability of decay in that time, and the factor of the coherence beside what the decay takes of it."""
    t1, t2 = noise.t1, noise.t2
    decay = np.zeros(len(qubits)) if t1 is None else -np.expm1(-time / _per_qubit(t1, qubits))
    rate = np.zeros(len(qubits)) if t2 is None else time / _per_qubit(t2, qubits)
    if t2 is not None and t1 is not None:
        rate -= time / (2 * _per_qubit(t1, qubits))
    return decay, np.exp(-rate)
