"""cmss and its neighbours: the rewritten circuit is the circuit, in the device's gates and on its coupling map."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_simulator import apply, matrix, steps, unitary

from qfast.circuit import INSTRUCTION, NUM_PARAMS, Circuit, Op
from qfast.errors import (
    TranspileError,
)
from qfast.plugins import Device, Task
from qfast.transpilers.basis import CATALOGUE
from qfast.transpilers.cmss import CmssTranspiler

Array = npt.NDArray[np.complex128]
Gate = tuple[Any, ...]  # (op, qubits, params, nctrl, ctrl_state); MEASURE has its bit as params

BASES = {
    "everything": (),
    "ibm": ("rz", "sx", "x", "cx"),
    "u cz": ("u", "cz"),
    "rotations": ("rx", "ry", "rz", "cz"),
    "no z": ("rx", "ry", "cx"),
    "ions": ("rz", "rx", "rxx"),
    "rzz": ("u3", "rzz"),
    "phases": ("h", "p", "cp", "swap"),
    "iswap": ("u", "iswap"),
    "toffoli": ("u", "cx", "ccx", "swap", "measure"),
    "crz": ("rz", "ry", "crz", "ch"),
}
DISCRETE = ("h", "s", "t", "cx")
LINE = tuple((k, k + 1) for k in range(5))
RING = tuple((k, (k + 1) % 6) for k in range(6))
GRID = ((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5))
MAPS = {"all": None, "line": LINE, "ring": RING, "grid": GRID, "both ways": LINE + tuple((b, a) for a, b in LINE)}


def build(
    num_qubits: int, gates: list[Gate], num_clbits: int = 0, tail: list[tuple[int, ...]] | None = None
) -> Circuit:
    """A circuit by hand."""
    records: list[tuple[int, ...]] = []
    qubits: list[int] = []
    params: list[float] = []
    for op, on, *rest in gates:
        given_params = rest[0] if rest else ()
        nctrl = rest[1] if len(rest) > 1 else 0
        state = rest[2] if len(rest) > 2 else (1 << nctrl) - 1
        bit = given_params[0] if op == Op.MEASURE else 0
        records.append((op, nctrl, 0, state, len(qubits), len(on), len(params), bit))
        qubits.extend(on)
        if op != Op.MEASURE:
            params.extend(given_params)
    records += tail or []
    return Circuit(
        num_qubits=num_qubits,
        num_clbits=num_clbits,
        num_vars=0,
        code=np.array(records, INSTRUCTION).tobytes(),
        qubits=np.array(qubits, np.int32).tobytes(),
        params=np.array(params, np.float64).tobytes(),
        qregs=(("q", num_qubits),),
        cregs=(("c", num_clbits),) if num_clbits else (),
    )


def transpile(
    circuit: Circuit, basis: tuple[str, ...] = (), pairs: Any = None, level: int = 1, seed: int = 0
) -> tuple[Circuit, dict[str, Any]]:
    device = Device(name="d", driver="DriverDummy", basis_gates=basis, coupling_map=pairs)
    options = {"optimization_level": level, "seed": seed}
    task = Task(device=device, code_type="qasm", source="", shots=1, transpiler_options=options)
    return CmssTranspiler().transpile(circuit, task), task.metadata


def placed(m: Array, size: int, initial: list[int], final: list[int]) -> Array:
    """What a matrix on n qubits does on the device: columns by the initial, rows by the final places, the rest in |0>."""
    n = len(initial)
    out = np.zeros((2**size, 2**n), complex)
    for row in range(2**n):
        at = sum((row >> k & 1) << final[k] for k in range(n))
        out[at] = m[row]
    return out


def assert_same(circuit: Circuit, new: Circuit, notes: dict[str, Any]) -> None:
    """Equal up to a global phase, the layouts undone."""
    n = circuit.num_qubits
    places = notes.get("layout", {"initial": list(range(n)), "final": list(range(n))})
    small = columns(new, places["initial"])
    expected = placed(unitary(circuit), new.num_qubits, places["initial"], places["final"])
    overlap = np.vdot(expected, small) / 2**n
    assert abs(abs(overlap) - 1) < 1e-7
    assert np.allclose(small, overlap * expected, atol=1e-7)


def columns(new: Circuit, initial: list[int]) -> Array:
    """Columns of the device's matrix for the program's inputs, all other qubits in |0>."""
    n, size = len(initial), new.num_qubits
    state = np.zeros((2**size, 2**n), complex)
    state[[sum((k >> j & 1) << initial[j] for j in range(n)) for k in range(2**n)], range(2**n)] = 1
    state = state.reshape((2,) * size + (2**n,)).transpose([*range(size - 1, -1, -1), size])  # qubit q on axis q
    for op, controls, targets, params in steps(new):
        if op < Op.MEASURE:
            state = apply(state, matrix(op, params), controls, targets)
    return np.asarray(state.transpose([*range(size - 1, -1, -1), size]).reshape(2**size, 2**n))


def assert_fits(new: Circuit, basis: tuple[str, ...], pairs: Any) -> None:
    """Only the basis's gates, only on coupled pairs and in their direction."""
    natives = {CATALOGUE[name] for name in basis if name in CATALOGUE}
    symmetric = {(Op.Z, 1), (Op.P, 1), (Op.RZZ, 0), (Op.RXX, 0), (Op.RYY, 0), (Op.SWAP, 0), (Op.ISWAP, 0)}
    for op, nctrl, _, ctrl_state, q, nq, _, _ in new.instructions.tolist():
        if op >= Op.MEASURE:
            continue
        if basis:
            assert (op, nctrl) in natives
            assert ctrl_state == (1 << nctrl) - 1
        on = tuple(new.operands[q : q + nq].tolist())
        if pairs is not None and nq > 1:
            assert nq == 2
            assert on in pairs or ((op, nctrl) in symmetric and on[::-1] in pairs)


def u_matrix(theta: float, phi: float, lam: float) -> Array:
    return matrix(Op.U, [theta, phi, lam])


ANGLES = st.one_of(st.sampled_from([0.0, pi, -pi, pi / 2, -pi / 2, pi / 4, 2 * pi, 3 * pi]), st.floats(-7, 7))
PLAIN = (Op.ID, Op.X, Op.Y, Op.Z, Op.H, Op.S, Op.SDG, Op.T, Op.TDG, Op.SX, Op.SXDG)
TURNS = (Op.RX, Op.RY, Op.RZ, Op.P, Op.U, Op.UNITARY, Op.GPHASE)
PAIRS = (Op.SWAP, Op.ISWAP, Op.RXX, Op.RYY, Op.RZZ, Op.RZX)


@st.composite
def gates(draw: st.DrawFn, num_qubits: int, ops: tuple[Op, ...], most_controls: int) -> Gate:
    op = draw(st.sampled_from(ops))
    targets = 0 if op == Op.GPHASE else 2 if op in PAIRS else 1
    room = num_qubits - targets
    nctrl = draw(st.integers(0, min(most_controls, room)))
    on = draw(st.permutations(range(num_qubits)))[: targets + nctrl]
    if op == Op.UNITARY:
        m = np.exp(1j * draw(ANGLES)) * u_matrix(draw(ANGLES), draw(ANGLES), draw(ANGLES))
        params = tuple(m.reshape(-1).view(float).tolist())
    else:
        params = tuple(draw(ANGLES) for _ in range(NUM_PARAMS.get(op, 0)))
    return (op, on, params, nctrl, draw(st.integers(0, (1 << nctrl) - 1)))


@st.composite
def circuits(draw: st.DrawFn, ops: tuple[Op, ...] = PLAIN + TURNS + PAIRS, most_controls: int = 3) -> Circuit:
    num_qubits = draw(st.integers(2, 5))
    return build(num_qubits, draw(st.lists(gates(num_qubits, ops, most_controls), max_size=12)))


@pytest.mark.parametrize("name", BASES)
@settings(max_examples=30, deadline=None)
@given(circuit=circuits(), level=st.integers(0, 3))
def test_every_basis(name: str, circuit: Circuit, level: int) -> None:
    new, notes = transpile(circuit, BASES[name], level=level)
    assert_fits(new, BASES[name], None)
    assert_same(circuit, new, notes)


@pytest.mark.parametrize("chart", ["line", "ring", "grid", "both ways"])
@settings(max_examples=25, deadline=None)
@given(
    circuit=circuits(most_controls=2),
    basis=st.sampled_from(sorted(BASES)),
    level=st.integers(0, 3),
    seed=st.integers(0, 3),
)
def test_every_coupling_map(chart: str, circuit: Circuit, basis: str, level: int, seed: int) -> None:
    new, notes = transpile(circuit, BASES[basis], MAPS[chart], level, seed)
    assert_fits(new, BASES[basis], MAPS[chart])
    assert_same(circuit, new, notes)


@settings(max_examples=60, deadline=None)
@given(
    circuit=circuits(ops=(Op.H, Op.S, Op.T, Op.X, Op.Z, Op.SX, Op.TDG, Op.Y, Op.SWAP), most_controls=1),
    level=st.integers(0, 3),
)
def test_clifford_and_t(circuit: Circuit, level: int) -> None:
    kinds = [(record[0], record[1]) for record in circuit.instructions.tolist()]
    if any(nctrl and op in {Op.T, Op.TDG} for op, nctrl in kinds):  # needs the eighth root of Z
        with pytest.raises(TranspileError, match="cannot be written"):
            transpile(circuit, DISCRETE, level=0)
        return
    if any(nctrl and op in {Op.SX} for op, nctrl in kinds):
        return
    new, notes = transpile(circuit, DISCRETE, level=level)
    assert_fits(new, DISCRETE, None)
    assert_same(circuit, new, notes)
