"""cmss and its neighbours: the rewritten circuit is the circuit, in the device's gates and on its coupling map."""

from __future__ import annotations

from importlib.util import find_spec
from math import pi
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_simulator import apply, distribution, matrix, steps, unitary

from qfast.circuit import INSTRUCTION, NUM_PARAMS, Circuit, Op
from qfast.errors import (
    CircuitError,
    JobCancelled,
    QubitLimitError,
    TimeLimitError,
    TranspileError,
    TranspilerInitError,
)
from qfast.frontend import compile_program
from qfast.plugins import Device, Task
from qfast.transpilers.basis import CATALOGUE
from qfast.transpilers.cmss import CmssTranspiler, known_basis_gates
from qfast.transpilers.dummy import DummyTranspiler
from qfast.transpilers.qiskit import QiskitTranspiler

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


def assert_same(circuit: Circuit, new: Circuit, notes: dict[str, Any], within: float = 1e-7) -> None:
    """Equal up to a global phase, the layouts undone."""
    n = circuit.num_qubits
    places = notes.get("layout", {"initial": list(range(n)), "final": list(range(n))})
    small = columns(new, places["initial"])
    expected = placed(unitary(circuit), new.num_qubits, places["initial"], places["final"])
    overlap = np.vdot(expected, small) / 2**n
    assert abs(abs(overlap) - 1) < within
    assert np.allclose(small, overlap * expected, atol=within)


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


TELEPORT = (
    'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg a[1]; creg b[1]; creg c[1]; ry(0.7) q[0]; h q[1]; cx q[1],q[2];'
    "cx q[0],q[1]; h q[0]; measure q[0]->a[0]; measure q[1]->b[0]; if(b==1) x q[2]; if(a==1) z q[2]; h q[2];"
    "measure q[2]->c[0];"
)
BRANCHES = (
    'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; h q; reset q[1]; ccx q[0],q[1],q[2]; measure q[0]->c[0];'
    "ry(1.1) q[0]; cx q[0],q[2]; if(c==1) cx q[2],q[0]; if(c==1) cx q[0],q[1]; if (c==0) cx q[0],q[1]; swap q[1],q[2];"
    "measure q->c;"
)
OVERWRITTEN = (
    'OPENQASM 2.0; include "qelib1.inc"; qreg q[4]; creg c[2]; h q; cx q[0],q[3]; rz(0.4) q[3]; h q[3];'
    "measure q[0]->c[0]; measure q[3]->c[0]; swap q[0],q[2]; ry(0.3) q[0]; cx q[0],q[1]; measure q[1]->c[1];"
    "reset q[3]; h q[3]; barrier q; h q[3]; cx q[3],q[0]; measure q[0]->c[0];"
)
LOOP = (
    'OPENQASM 3.0; include "stdgates.inc"; qubit[4] q; bit[4] c; int k = 0; h q[0]; cx q[0],q[3]; while (k < 2) {'
    "cx q[0], q[2]; ry(0.3) q[1]; cx q[1],q[3]; c[0] = measure q[0]; if (c[0]) { x q[1]; cx q[1], q[0]; }"
    "else { h q[2]; swap q[0],q[2]; } k += 1; } c = measure q;"
)
RUN_TIME_ANGLE = (
    'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c; float a = 0.3; h q[0]; c[0] = measure q[0];'
    "if (c[0]) { a = a + 1.0; } rz(a) q[1]; h q[1]; rz(2 * a) q[1]; h q[1]; cx q[0],q[2]; ry(a) q[2]; rx(a + 1) q[0];"
    "h q[0]; p(a) q[0]; h q[0]; crz(a) q[0],q[2]; cry(a) q[2],q[1]; negctrl @ rx(a) q[1],q[0]; h q[2]; cp(a) q[2],q[0];"
    "h q[0]; h q[2]; gate zz(t) x,y { cx x,y; rz(t) y; cx x,y; } zz(a) q[0],q[1]; rx(0.4) q[1];"
    "ctrl(2) @ rx(a) q[0], q[2], q[1]; ctrl(2) @ p(a) q[1], q[0], q[2]; h q[0]; ctrl @ U(a, a + 1, 2 * a) q[2], q[0];"
    "U(a, 0.2, a) q[1]; c = measure q;"
)


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("chart", ["all", "line", "ring"])
@pytest.mark.parametrize("basis", ["everything", "ibm", "u cz", "iswap"])
@pytest.mark.parametrize("program", [TELEPORT, BRANCHES, OVERWRITTEN, LOOP], ids=["teleport", "if", "reset", "while"])
def test_programs_that_look_at_what_they_measured(program: str, basis: str, chart: str, level: int) -> None:
    circuit = compile_program(program)
    new, _ = transpile(circuit, BASES[basis], MAPS[chart], level)
    assert_fits(new, BASES[basis], MAPS[chart])
    expected, found = distribution(circuit), distribution(new)
    assert set(found) == set(expected)
    assert all(abs(found[bits] - expected[bits]) < 1e-7 for bits in expected)
    assert (new.cregs, new.num_clbits, new.num_vars) == (circuit.cregs, circuit.num_clbits, circuit.num_vars)


@pytest.mark.parametrize("chart", ["all", "line"])
@pytest.mark.parametrize("basis", ["everything", "ibm", "u cz", "phases", "rotations"])
def test_an_angle_known_at_run_time(basis: str, chart: str) -> None:
    circuit = compile_program(RUN_TIME_ANGLE)
    new, _ = transpile(circuit, BASES[basis], MAPS[chart])
    assert_fits(new, BASES[basis], MAPS[chart])
    expected, found = distribution(circuit), distribution(new)
    assert all(abs(found[bits] - expected[bits]) < 1e-7 for bits in expected)


def test_an_angle_known_at_run_time_that_no_gate_of_the_basis_takes() -> None:
    with pytest.raises(TranspileError, match="rz has an angle that is known only at run time"):
        transpile(compile_program(RUN_TIME_ANGLE), DISCRETE)


@pytest.mark.parametrize("op", [Op.RZZ, Op.RXX, Op.RYY, Op.RZX])
def test_a_rotation_of_two_qubits_by_a_run_time_angle(op: Op) -> None:
    def program(record: tuple[int, ...], before: list[tuple[int, ...]]) -> Circuit:
        """ry and the rotation, then a measurement of both."""
        plain = build(2, [(Op.RY, [0], (0.7,)), (Op.RY, [1], (1.9,))], 2)
        more = [(*record[:4], 2, 2, *record[6:]), (Op.RX, 0, 0, 0, 2, 1, 3, 0), (Op.H, 0, 0, 0, 3, 1, 0, 0)]
        more += [(Op.MEASURE, 0, 0, 0, 2, 1, 0, 0), (Op.MEASURE, 0, 0, 0, 3, 1, 0, 1)]
        code = plain.code + np.array([*before, *more], INSTRUCTION).tobytes()
        params = np.array([0.7, 1.9, 0.6, 1.1]).tobytes()
        return msgspec.structs.replace(
            plain, code=code, qubits=np.array([0, 1, 0, 1], np.int32).tobytes(), params=params
        )

    fixed = program((op, 0, 0, 0, 0, 0, 2, 0), [])
    popped = program((op, 0, 1, 0, 0, 0, 0, 0), [(97, 0, 0, 0, 0, 0, 2, 0)])
    expected = distribution(fixed)
    for basis in ("everything", "ibm", "u cz", "iswap"):
        found = distribution(transpile(popped, BASES[basis])[0])
        assert all(abs(found[bits] - expected[bits]) < 1e-7 for bits in expected)


def names(circuit: Circuit) -> list[str]:
    """The gates, a c for each control."""
    return ["c" * nctrl + Op(op).name.lower() for op, nctrl, *_ in circuit.instructions.tolist()]


@pytest.mark.parametrize(
    ("gates", "left"),
    [
        ([(Op.H, [0]), (Op.H, [0])], []),
        ([(Op.X, [0, 1], (), 1), (Op.X, [0, 1], (), 1)], []),
        ([(Op.X, [0, 1], (), 1), (Op.T, [0]), (Op.X, [0, 1], (), 1), (Op.TDG, [0])], []),
        ([(Op.X, [0, 1], (), 1), (Op.X, [0, 2], (), 1), (Op.X, [0, 1], (), 1)], ["cx"]),
        ([(Op.X, [0, 1], (), 1), (Op.X, [2, 1], (), 1), (Op.X, [0, 1], (), 1)], ["cx"]),
        ([(Op.SWAP, [0, 1]), (Op.SWAP, [1, 0])], []),
        ([(Op.RZ, [0], (0.3,)), (Op.RZ, [0], (0.4,))], ["rz"]),
        ([(Op.RZZ, [0, 1], (0.3,)), (Op.X, [0]), (Op.RZZ, [1, 0], (0.3,)), (Op.X, [0])], []),
        ([(Op.H, [0]), (Op.RESET, [0])], ["reset"]),
        ([(Op.T, [0]), (Op.MEASURE, [0], (0,))], ["measure"]),
        ([(Op.SX, [0]), (Op.SX, [0])], ["x"]),
    ],
)
def test_what_cancels(gates: list[Gate], left: list[str]) -> None:
    new, notes = transpile(build(3, gates, 1), BASES["ibm"])
    assert names(new) == left
    assert notes["gates"] == sum(name not in {"measure", "reset"} for name in left)


def test_a_swap_costs_three_cx_and_two_beside_another() -> None:
    new, notes = transpile(build(2, [(Op.SWAP, [0, 1])]), BASES["ibm"])
    assert names(new) == ["cx"] * 3
    _, notes = transpile(build(2, [(Op.X, [0, 1], (), 1), (Op.SWAP, [0, 1])]), BASES["ibm"])
    assert notes["two_qubit_gates"] == 2


def test_a_barrier_keeps_gates_apart() -> None:
    new, _ = transpile(build(1, [(Op.H, [0]), (Op.BARRIER, [0]), (Op.H, [0])]), ("h",), level=3)
    assert names(new) == ["h", "barrier", "h"]


@pytest.mark.parametrize("k", [3, 4, 5, 6])
@pytest.mark.parametrize("idle", [0, 1, 4])
def test_many_controls(k: int, idle: int) -> None:
    n = k + 1 + idle
    if n > 7:
        return
    for gate in [(Op.X, range(k + 1), (), k, 5), (Op.P, range(k + 1), (0.3,), k), (Op.H, range(k + 1), (), k)]:
        circuit = build(n, [gate])
        new, notes = transpile(circuit, BASES["ibm"])
        assert_fits(new, BASES["ibm"], None)
        assert_same(circuit, new, notes)


def test_a_chain_finds_its_place_without_exchanges() -> None:
    order = [3, 0, 5, 1, 4, 2]
    chain = [(Op.X, [order[k], order[k + 1]], (), 1) for k in range(5)]
    for chart in ("line", "ring", "grid"):
        new, notes = transpile(build(6, chain), ("h", "x", "cz"), MAPS[chart])
        assert notes["swaps"] == 0
        assert notes["two_qubit_gates"] == 5
        assert sorted(notes["layout"]["initial"]) == list(range(6)) == sorted(notes["layout"]["final"])
        assert new.num_qubits == 6


def test_the_same_seed_gives_the_same_circuit() -> None:
    rng = np.random.default_rng(3)
    pairs = [rng.permutation(6)[:2].tolist() for _ in range(30)]
    circuit = build(6, [(Op.X, pair, (), 1) for pair in pairs])
    first, second = (transpile(circuit, BASES["ibm"], LINE, 2, seed=5)[0] for _ in range(2))
    assert first == second


def test_an_unrestricted_simulator_gets_the_circuit_itself() -> None:
    circuit = build(2, [(Op.H, [0]), (Op.H, [0]), (Op.X, [0, 1], (), 1)])
    for level in (0, 1):
        new, notes = transpile(circuit, level=level)
        assert new is circuit
        assert notes == {"gates": 3, "two_qubit_gates": 1}
    assert names(transpile(circuit, level=2)[0]) == ["cx"]


def test_refusals() -> None:
    bell = build(3, [(Op.H, [0]), (Op.X, [0, 2], (), 1)])
    with pytest.raises(QubitLimitError):
        transpile(bell, (), ((0, 1),))
    with pytest.raises(TranspileError, match="connected"):
        transpile(bell, (), ((0, 1), (2, 3)), level=0)
    with pytest.raises(TranspileError, match="two-qubit gate"):
        transpile(bell, ("u",))
    with pytest.raises(TranspileError, match="one-qubit gate"):
        transpile(bell, ("x", "cx"))
    with pytest.raises(TranspileError, match="frobnicate"):
        transpile(bell, ("u", "frobnicate"))
    for options in ({"optimization_level": 4}, {"optimization_level": "1"}, {"speed": 1}):
        task = Task(
            device=Device(name="d", driver="x"), code_type="qasm", source="", shots=1, transpiler_options=options
        )
        with pytest.raises(TranspilerInitError):
            CmssTranspiler().transpile(bell, task)


def test_cancel_and_deadline_stop_it() -> None:
    circuit = build(5, [(Op.X, [k % 5, (k + 2) % 5], (), 1) for k in range(50)])
    device = Device(name="d", driver="x", coupling_map=LINE)
    with pytest.raises(JobCancelled):
        CmssTranspiler().transpile(
            circuit, Task(device=device, code_type="qasm", source="", shots=1, cancel=bytearray(b"\x01"))
        )
    with pytest.raises(TimeLimitError):
        CmssTranspiler().transpile(circuit, Task(device=device, code_type="qasm", source="", shots=1, deadline=0.0))


def test_known_names() -> None:
    assert {
        "rz",
        "sx",
        "x",
        "cx",
        "cz",
        "u",
        "u3",
        "ccx",
        "swap",
        "iswap",
        "rzz",
        "ms",
        "measure",
    } <= known_basis_gates


def test_the_dummy_passes_the_circuit_through() -> None:
    circuit = build(1, [(Op.H, [0])])
    task = Task(device=Device(name="d", driver="x", basis_gates=("x",)), code_type="qasm", source="", shots=1)
    assert DummyTranspiler().transpile(circuit, task) is circuit


with_qiskit = pytest.mark.skipif(find_spec("qiskit") is None, reason="needs qfast[aer]")


def by_qiskit(circuit: Circuit, basis: tuple[str, ...], pairs: Any, **options: Any) -> tuple[Circuit, dict[str, Any]]:
    device = Device(name="d", driver="x", basis_gates=basis, coupling_map=pairs)
    task = Task(device=device, code_type="qasm", source="", shots=1, transpiler_options=options)
    return QiskitTranspiler().transpile(circuit, task), task.metadata


@with_qiskit
@settings(max_examples=25, deadline=None)
@given(
    circuit=circuits(most_controls=2),
    basis=st.sampled_from(["everything", "ibm", "u cz", "rotations", "rzz"]),
    chart=st.sampled_from(["all", "both ways", "line"]),
    level=st.integers(0, 3),
)
def test_qiskit_gives_an_equal_circuit(circuit: Circuit, basis: str, chart: str, level: int) -> None:
    new, notes = by_qiskit(circuit, BASES[basis], MAPS[chart], optimization_level=level)
    assert_fits(new, BASES[basis], MAPS[chart])
    assert_same(circuit, new, notes, within=1e-3)  # it drops rotations that are small


@with_qiskit
def test_qiskit_keeps_measurements_and_refuses_control_flow() -> None:
    circuit = compile_program(OVERWRITTEN)
    new, _ = by_qiskit(circuit, BASES["ibm"], MAPS["both ways"], seed_transpiler=3, layout_method="sabre")
    expected, found = distribution(circuit), distribution(new)
    assert all(abs(found[bits] - expected[bits]) < 1e-7 for bits in expected)
    with pytest.raises(TranspileError, match="cmss"):
        by_qiskit(compile_program(TELEPORT), (), None)
    with pytest.raises(QubitLimitError):
        by_qiskit(circuit, (), ((0, 1),))
    with pytest.raises(TranspilerInitError):
        by_qiskit(circuit, (), None, optimisation_level=1)
    with pytest.raises(CircuitError):
        by_qiskit(circuit, ("x",), None)
