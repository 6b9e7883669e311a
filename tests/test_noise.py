"""Noise: the trajectories against a density matrix in numpy and against Aer, the table, the driver and the service."""

from __future__ import annotations

import asyncio
import math
from itertools import product
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from circuit_builder import Builder, random_circuit
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slow_simulator import apply, matrix, steps
from test_dummy import BELL, run, task

from qfast import simulator, wire
from qfast._ext import statevector
from qfast.circuit import Circuit, Op
from qfast.devices import read_devices
from qfast.discovery import Discovery
from qfast.drivers.dummy import DummyDriver, DummyOptions
from qfast.errors import ConfigurationInvalid, JobCancelled, QubitLimitError, TranspileError
from qfast.frontend import compile_program
from qfast.live import Backend
from qfast.noise import Noise, check, gate_name, noisy
from qfast.plugins import Device
from qfast.prepared import key_of

PAULIS = [np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])]
FULL = Noise(
    one_qubit=0.08,
    two_qubit=0.15,
    gates={"h": 0.2, "rz": 0.0, "u": 0.02},
    amplitude_damping={"one_qubit": 0.1, "cx": 0.25, "swap": 1.0},
    phase_damping=0.12,
    t1=[50e-6, 80e-6, 60e-6, 40e-6],
    t2=70e-6,
    gate_times={"one_qubit": 2e-6, "two_qubit": 9e-6},
    readout=[[0.05, 0.1], [0.0, 0.2], [0.3, 0.0], [0.02, 0.03]],
)

# ------------------------------------------------------------------------------------------------------- the slow twin


def conjugate(rho, small, qubits):
    """small rho small^dagger; rho has shape (2,) * 2n, row axes first, qubit q on axes q and n + q."""
    n = rho.ndim // 2
    rho = apply(rho, small, [], list(qubits))
    return apply(rho, small.conj(), [], [n + q for q in qubits])


def channel(rho, kraus, qubits):
    return sum(conjugate(rho, np.asarray(k, complex), qubits) for k in kraus)


def depolarize(rho, p, qubits):
    every = [np.eye(1)]
    for _ in qubits:
        every = [np.kron(a, b) for a in PAULIS for b in every]
    mixed = sum(conjugate(rho, k.astype(complex), qubits) for k in every) / len(every)
    return (1 - p) * rho + p * mixed


def value_of(table, name, kind):
    if isinstance(table, dict):
        return table.get(name, table.get(kind, 0.0))
    return table


def at(value, q):
    return value[q] if isinstance(value, list) else value


def after_gate(rho, name, qubits, noise):
    """The channels of one gate, as the README describes them."""
    kind = "one_qubit" if len(qubits) == 1 else "two_qubit"
    if len(qubits) == 1:
        rho = depolarize(rho, noise.gates.get(name, at(noise.one_qubit, qubits[0])), qubits)
    for j in range(len(qubits) - 1):
        rho = depolarize(rho, noise.gates.get(name, noise.two_qubit), qubits[j : j + 2])
    for q in qubits:
        gamma, lam = value_of(noise.amplitude_damping, name, kind), value_of(noise.phase_damping, name, kind)
        rho = channel(rho, [np.diag([1, math.sqrt(1 - gamma)]), [[0, math.sqrt(gamma)], [0, 0]]], [q])
        rho = channel(rho, [np.diag([1, math.sqrt(1 - lam)]), np.diag([0, math.sqrt(lam)])], [q])
        if noise.t1 is not None:
            time = value_of(noise.gate_times, name, kind)
            gamma = 1 - math.exp(-time / at(noise.t1, q))
            rho = channel(rho, [np.diag([1, math.sqrt(1 - gamma)]), [[0, math.sqrt(gamma)], [0, 0]]], [q])
            kept = math.exp(-time / at(noise.t2, q) + time / at(noise.t1, q) / 2)
            rho = (1 + kept) / 2 * rho + (1 - kept) / 2 * conjugate(rho, PAULIS[3].astype(complex), [q])
    return rho


def distribution(circuit: Circuit, noise: Noise) -> np.ndarray:
    """Probability of each outcome of all qubits, qubit 0 lowest, of gates and a final measurement of all."""
    n = circuit.num_qubits
    rho = np.zeros((2,) * (2 * n), complex)
    rho[(0,) * (2 * n)] = 1
    for op, controls, targets, params in steps(circuit):
        if op == Op.MEASURE:
            continue
        small = matrix(op, params)
        rho = apply(rho, small, controls, targets)
        rho = apply(rho, small.conj(), [(n + q, v) for q, v in controls], [n + q for q in targets])
        qubits = [q for q, _ in controls] + targets
        if qubits:
            rho = after_gate(rho, gate_name(op, len(controls)), qubits, noise)
    p = np.array([rho[bits + bits].real for bits in product((0, 1), repeat=n)])
    p = p.reshape((2,) * n)
    for q in range(n):
        pair = noise.readout
        if isinstance(pair, list):
            pair = pair[q] if isinstance(pair[0], list) else pair
        up, down = (pair, pair) if isinstance(pair, float) else pair
        p = np.moveaxis(np.tensordot(np.array([[1 - up, down], [up, 1 - down]]), p, axes=(1, q)), 0, q)
    return p.transpose().ravel()


def agree(counts, expected, shots, tail=1e-4):
    """Chi-square test; bins that are too small are put together."""
    n = int(math.log2(len(expected)))
    found = np.array([counts.get(format(k, f"0{n}b"), 0) for k in range(len(expected))], float)
    assert found.sum() == shots
    assert not found[expected < 1e-12].any()
    big = expected * shots > 8
    f, e = [*found[big], found[~big].sum()], [*(expected[big] * shots), expected[~big].sum() * shots]
    pairs = [(a, b) for a, b in zip(f, e, strict=True) if b > 8]
    chi, free = sum((a - b) ** 2 / b for a, b in pairs), max(len(pairs) - 1, 1)
    z = ((chi / free) ** (1 / 3) - (1 - 2 / (9 * free))) / math.sqrt(2 / (9 * free))  # Wilson and Hilferty
    assert z < -math.log10(tail) + 1, (chi, free)


def sampled(circuit, noise, shots, seed=1, **more):
    return simulator.sample(noisy(circuit, noise), shots, seed=seed, **more)


# -------------------------------------------------------------------------------------------------------- distributions

ONE_EACH = [
    Noise(one_qubit=0.3),
    Noise(two_qubit=0.4),
    Noise(gates={"cx": 0.5, "h": 0.1}),
    Noise(amplitude_damping=0.35),
    Noise(phase_damping=0.4),
    Noise(amplitude_damping=1.0),
    Noise(t1=30e-6, t2=40e-6, gate_times={"one_qubit": 5e-6, "two_qubit": 2e-5}),
    Noise(readout=0.1),
    Noise(readout=[0.02, 0.3]),
    Noise(readout=[0.0, 1.0]),
    Noise(one_qubit=1.0, two_qubit=1.0, readout=0.5),
    FULL,
]


@pytest.mark.parametrize("noise", ONE_EACH)
@pytest.mark.parametrize("shots", [1, 100, 30_000])
def test_each_channel_against_the_density_matrix(noise, shots):
    b = Builder(3, ("c", 3)).h(0).cx(0, 1).add(Op.RY, [2], [0.7]).add(Op.U, [1], [0.4, 1.1, -0.3])
    b.cx(1, 2).h(1).x(0).add(Op.SWAP, [0, 2]).add(Op.X, [2, 1, 0], nctrl=2, ctrl_state=1).h(2)
    circuit = b.measure_all().circuit()
    expected = distribution(circuit, noise)
    repeats = {1: 1500, 100: 20, 30_000: 1}[shots]
    program = noisy(circuit, noise)
    total: dict[str, int] = {}
    for seed in range(repeats):
        for bits, count in simulator.sample(program, shots, seed=seed).items():
            total[bits] = total.get(bits, 0) + count
    agree(total, expected, shots * repeats)


@settings(max_examples=20, deadline=None)
@example(4, 480)  # complete damping of one qubit, then damping of another that is entangled with it
@given(st.integers(1, 4), st.integers(0, 2**32))
def test_random_circuits_against_the_density_matrix(n, seed):
    circuit = random_circuit(n, 14, seed).measure_all().circuit()
    agree(sampled(circuit, FULL, 5000, seed), distribution(circuit, FULL), 5000, 1e-6)


def test_fused_and_tiled_circuits_with_noise():
    """Beyond nine qubits gates are fused; the marginal of three qubits is that of the three alone."""
    b = Builder(11, ("c", 3))
    for q in range(3, 11):
        b.h(q)
    for q in range(3, 10):
        b.cx(q, q + 1).add(Op.RX, [q], [0.3])
    b.h(0).cx(0, 1).add(Op.RY, [2], [0.7]).cx(1, 2).h(1)
    for q in range(3):
        b.measure(q, q)
    small = Builder(3, ("c", 3)).h(0).cx(0, 1).add(Op.RY, [2], [0.7]).cx(1, 2).h(1).measure_all().circuit()
    noise = Noise(one_qubit=0.05, two_qubit=0.1, amplitude_damping=0.1, readout=0.03)
    agree(sampled(b.circuit(), noise, 4000), distribution(small, noise), 4000)


def test_little_memory_changes_no_count():
    """Branches whose states do not fit are reached again from the start, with the same random numbers."""
    circuit = random_circuit(7, 40, 5).measure_all().circuit()
    noise = Noise(one_qubit=0.02, two_qubit=0.05, amplitude_damping=0.05, readout=0.02)
    program = noisy(circuit, noise)
    plenty = simulator.sample(program, 500, seed=9)
    arguments = (program.code, program.qubits, program.params, 7, 7, 0, program.cregs, 500, 9, None, 1)
    status, _, counts, _, replays = statevector.sample(*arguments, 16 << 7)
    assert (status, counts) == (0, plenty)
    assert replays > 10


@pytest.mark.parametrize("level", statevector.LEVELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_counts_at_every_level_and_with_threads(level, threads):
    circuit = random_circuit(10, 60, 3).measure_all().circuit()
    program = noisy(circuit, Noise(one_qubit=0.01, two_qubit=0.03, amplitude_damping=0.03, readout=[0.01, 0.02]))
    arguments = (program.code, program.qubits, program.params, 10, 10, 0, program.cregs, 400, 9, None)
    counts = statevector.sample(*arguments, threads, 1 << 30, level=level)[2]
    assert counts == simulator.sample(program, 400, seed=9)


def test_measurements_on_the_way_are_misread_too():
    """A bit that is read wrong steers the program; the qubit itself was projected to the right value."""
    program = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[3] c;'
        "x q[0]; c[0] = measure q[0]; if (c[0]) { x q[1]; } c[1] = measure q[1]; c[2] = measure q[0];"
    )
    circuit = compile_program(program)
    counts = sampled(circuit, Noise(readout=[0.2, 0.3]), 100_000)
    expected = np.zeros(8)
    for first, second, third in product((0, 1), repeat=3):  # whether each measurement is wrong
        p = 0.3 if first else 0.7
        flipped = 1 - first  # what q[1] is
        p *= (0.3 if flipped else 0.2) if second else (0.7 if flipped else 0.8)
        p *= 0.3 if third else 0.7
        expected[(1 - first) | (flipped ^ second) << 1 | (1 - third) << 2] += p
    agree(counts, expected, 100_000)


def test_noise_in_loops_and_resets():
    program = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; bit[1] d; int n = 0;'
        "while (n < 3) { x q; c = measure q; if (c) { n = n + 1; } x q; reset q; } x q; d[0] = measure q;"
    )
    circuit = compile_program(program)
    counts = sampled(circuit, Noise(gates={"x": 0.4}), 40_000)
    found = {bits.split()[0]: count for bits, count in counts.items()}
    assert abs(found["1"] - 0.8 * 40_000) < 6 * math.sqrt(40_000 * 0.16)


def test_wide_outcomes_and_many_registers_are_misread():
    b = Builder(70, ("a", 3), ("b", 67)).x(69)
    circuit = b.measure_all().circuit()
    counts = sampled(circuit, Noise(readout=[0.01, 0.5]), 50_000)
    ones = sum(count for bits, count in counts.items() if bits[0] == "1")
    zeros = sum(count * (bits.count("1") - (bits[0] == "1")) for bits, count in counts.items())
    assert sum(counts.values()) == 50_000
    assert abs(ones - 25_000) < 6 * math.sqrt(12_500)
    assert abs(zeros - 0.01 * 69 * 50_000) < 6 * math.sqrt(0.01 * 69 * 50_000)


def test_a_huge_number_of_shots():
    circuit = Builder(2, ("c", 2)).h(0).cx(0, 1).measure_all().circuit()
    noise = Noise(one_qubit=0.001, two_qubit=0.01, amplitude_damping=0.002, readout=[0.01, 0.02])
    agree(sampled(circuit, noise, 1_000_000), distribution(circuit, noise), 1_000_000)


def test_aer_agrees():
    aer = pytest.importorskip("qiskit_aer")
    noise_model = pytest.importorskip("qiskit_aer.noise")
    qiskit = pytest.importorskip("qiskit")
    theirs = noise_model.NoiseModel(basis_gates=["h", "ry", "cx"])
    one, two = noise_model.depolarizing_error(0.05, 1), noise_model.depolarizing_error(0.1, 2)
    damping = noise_model.amplitude_damping_error(0.08).compose(noise_model.phase_damping_error(0.1))
    theirs.add_all_qubit_quantum_error(one.compose(damping), ["h", "ry"])
    theirs.add_all_qubit_quantum_error(two.compose(damping.tensor(damping)), ["cx"])
    theirs.add_all_qubit_readout_error(noise_model.ReadoutError([[0.97, 0.03], [0.06, 0.94]]))
    text = (
        'OPENQASM 2.0;include "qelib1.inc";qreg q[4];creg c[4];h q[0];cx q[0],q[1];ry(0.7) q[2];cx q[1],q[2];h q[3];'
        "cx q[3],q[0];ry(1.3) q[1];cx q[2],q[3];h q[2];measure q->c;"
    )
    circuit = qiskit.QuantumCircuit.from_qasm_str(text)
    simulator_of_aer = aer.AerSimulator(method="density_matrix", noise_model=theirs, seed_simulator=1)
    reference = simulator_of_aer.run(circuit, shots=200_000, optimization_level=0).result().get_counts()
    ours = Noise(one_qubit=0.05, two_qubit=0.1, amplitude_damping=0.08, phase_damping=0.1, readout=[0.03, 0.06])
    compiled = compile_program(text)
    exact = distribution(compiled, ours)
    agree(reference, exact, 200_000)  # the twin and Aer mean the same
    agree(sampled(compiled, ours, 200_000), exact, 200_000)


# --------------------------------------------------------------------------------------------------------- the kernels


def test_no_noise_changes_nothing():
    circuit = random_circuit(4, 20, 1).measure_all().circuit()
    assert noisy(circuit, Noise()) == circuit
    assert sampled(circuit, Noise(), 1000) == simulator.sample(circuit, 1000, seed=1)


def test_jumps_follow_their_targets():
    program = 'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; h q; c = measure q; if (c) { x q; } c = measure q;'
    counts = sampled(compile_program(program), Noise(gates={"h": 1.0, "x": 1e-9}), 1000)
    assert set(counts) == {"0"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c["c"].__setitem__(c["op"] == 67, 7),
        lambda c: c["c"].__setitem__(c["op"] == 67, -1),
        lambda c: c["p"].__setitem__(c["op"] == 67, 2**30),
        lambda c: c["q"].__setitem__(c["op"] == 67, -1),
        lambda c: c["nq"].__setitem__(c["op"] == 67, 3),
        lambda c: c["nctrl"].__setitem__(c["op"] == 67, 1),
        lambda c: c["flags"].__setitem__(c["op"] == 67, 2),
        lambda c: c["flags"].__setitem__(c["op"] == Op.MEASURE, 4),
        lambda c: c["p"].__setitem__(c["op"] == Op.MEASURE, -5),
    ],
)
def test_malformed_channels_are_refused(spoil):
    program = noisy(Builder(2, ("c", 2)).h(0).cx(0, 1).measure_all().circuit(), FULL)
    code = program.instructions.copy()
    spoil(code)
    broken = msgspec.structs.replace(program, code=code.tobytes())
    with pytest.raises(ValueError, match="malformed circuit"):
        simulator.sample(broken, 10, seed=1)


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, math.inf])
def test_malformed_probabilities_are_refused(value):
    for noise in (Noise(one_qubit=0.1), Noise(two_qubit=0.1), Noise(amplitude_damping=0.1), Noise(readout=0.1)):
        program = noisy(Builder(2, ("c", 2)).cx(0, 1).h(0).measure_all().circuit(), noise)
        params = program.parameters.copy()
        params[-1] = value
        with pytest.raises(ValueError, match="malformed circuit"):
            simulator.sample(msgspec.structs.replace(program, params=params.tobytes()), 10, seed=1)


def test_a_noisy_circuit_is_no_clifford_circuit_and_has_no_state():
    circuit = Builder(2, ("c", 2)).h(0).cx(0, 1).measure_all().circuit()
    assert simulator.choose(circuit)[0] == "stabilizer"
    for noise in (Noise(one_qubit=0.1), Noise(readout=0.1)):
        assert simulator.choose(noisy(circuit, noise))[0] == "statevector"
    with pytest.raises(ValueError, match="no single final state"):
        simulator.statevector(noisy(circuit, Noise(one_qubit=0.1)))


def test_a_noisy_run_can_be_cancelled():
    circuit = random_circuit(12, 60, 5).measure_all().circuit()
    with pytest.raises(JobCancelled):
        sampled(circuit, FULL_12, 1000, cancel=bytearray(b"\1"))


FULL_12 = Noise(one_qubit=0.1, amplitude_damping=0.1)

# ----------------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one_qubit = 1.5", "one_qubit"),
        ("one_qubit = [0.1, 0.2]", "noise.one_qubit: has 2 values for max_qubits = 3"),
        ('two_qubit = "much"', "two_qubit"),
        ("gates = { cnot = 0.1 }", "noise.gates: 'cnot'"),
        ("gates = { one_qubit = 0.1 }", "noise.gates: 'one_qubit'"),
        ("amplitude_damping = { hh = 0.1 }", "noise.amplitude_damping: 'hh'"),
        ("phase_damping = -0.1", "phase_damping"),
        ("t1 = 1e-5", "noise.gate_times: is needed"),
        ("gate_times = { cx = 1e-7 }", "noise.gate_times: has no effect"),
        ("t1 = 0\ngate_times = { cx = 1e-7 }", "noise.t1: must be above 0"),
        ("t1 = 1e-5\nt2 = [1e-5, 1e-5, 3e-5]\ngate_times = { cx = 1e-7 }", "noise.t2: 3e-05 of qubit 2"),
        ("readout = [0.1]", "noise.readout"),
        ("readout = [0.1, 0.2, 0.3]", "noise.readout"),
        ("readout = [[0.1, 0.2]]", "noise.readout: has 1 pairs for max_qubits = 3"),
        ("readout = [[0.1, 0.2], [0.1], [0.1, 0.2]]", "noise.readout"),
        ("depolarising = 0.1", "depolarising"),
    ],
)
def test_a_wrong_table_is_refused_by_key(tmp_path, text, words):
    path = tmp_path / "devices.toml"
    path.write_text(f'[devices.a]\ndriver = "DriverDummy"\nmax_qubits = 3\n[devices.a.noise]\n{text}\n')
    with pytest.raises(ConfigurationInvalid) as refusal:
        read_devices(path)
    assert words in str(refusal.value)
    assert "device 'a'" in str(refusal.value)


def test_a_driver_that_simulates_no_noise_takes_none(tmp_path):
    path = tmp_path / "devices.toml"
    path.write_text('[devices.a]\ndriver = "DriverAer"\n[devices.a.noise]\none_qubit = 0.1\n')
    with pytest.raises(ConfigurationInvalid, match="noise: is not simulated by DriverAer"):
        read_devices(path)


def test_a_good_table_is_read(tmp_path):
    path = tmp_path / "devices.toml"
    path.write_text(
        '[devices.a]\ndriver = "DriverDummy"\nmax_qubits = 2\n[devices.a.noise]\none_qubit = [0.001, 0.002]\n'
        "two_qubit = 0.01\ngates = { rz = 0, cz = 0.02, u3 = 0.1 }\nreadout = [[0.01, 0.02], [0.03, 0.04]]\n"
        "t1 = 100e-6\nt2 = [80e-6, 90e-6]\ngate_times = { one_qubit = 35e-9, cz = 300e-9 }\n"
    )
    noise = read_devices(path)["a"].noise
    assert noise.gates == {"rz": 0, "cz": 0.02, "u3": 0.1}
    check(noise, 2)


# ---------------------------------------------------------------------------------------------------------- the driver

NOISY = Device(name="lab", driver="DriverDummy", max_qubits=5, noise=Noise(two_qubit=0.16))


def test_the_driver_simulates_the_noise_of_its_device():
    job = task(device=NOISY, shots=50_000)
    counts = run(job).results
    assert abs(counts["01"] + counts["10"] - 0.08 * 50_000) < 6 * math.sqrt(0.08 * 50_000)
    assert job.metadata["noise"] is True
    assert job.metadata["simulator"] == "statevector"
    assert run(task(device=NOISY, shots=50_000)).results == counts
    ideal = task(device=NOISY, options=DummyOptions(noise=False))
    assert set(run(ideal).results) == {"00", "11"}
    assert ideal.metadata["noise"] is False
    plain = task()
    run(plain)
    assert "noise" not in plain.metadata


def test_noise_follows_the_transpiled_gates():
    device = Device(
        name="line",
        driver="DriverDummy",
        max_qubits=3,
        basis_gates=("rz", "sx", "x", "cz"),
        coupling_map=((0, 1), (1, 2)),
        noise=Noise(gates={"cz": 1.0}),
    )
    program = 'OPENQASM 2.0;include "qelib1.inc";qreg q[2];creg c[2];x q[0];cx q[0],q[1];measure q->c;'
    job = task(program, device=device, shots=20_000, transpiler="cmss")
    counts = run(job).results
    assert all(abs(counts[bits] - 5000) < 6 * math.sqrt(3750) for bits in ("00", "01", "10", "11"))


def test_an_estimation_with_noise_is_refused():
    with pytest.raises(TranspileError, match=r"driver_options\.noise to false"):
        run(task(BELL, device=NOISY, observables=[{"ZZ": 1.0}]))
    job = task(BELL, device=NOISY, observables=[{"ZZ": 1.0}], options=DummyOptions(noise=False))
    assert run(job).results["evs"] == pytest.approx([1.0])


def test_what_only_aer_runs_is_refused_with_noise():
    program = "OPENQASM 3.0;\ninput float t;\nqubit q;\nU(t, 0, 0) q;\n"
    with pytest.raises(TranspileError, match="not with the noise of device 'lab'"):
        run(task(program, device=NOISY))


def test_a_wide_clifford_circuit_is_not_run_with_noise():
    device = msgspec.structs.replace(NOISY, max_clifford_qubits=500)
    program = 'OPENQASM 3.0; include "stdgates.inc"; qubit[100] q; h q;'
    with pytest.raises(QubitLimitError):
        run(task(program, device=device))
    run(task(program, device=device, options=DummyOptions(noise=False)))


def test_a_prepared_program_is_not_used_again_with_other_noise():
    ideal, real = (task(BELL, device=NOISY, options=DummyOptions(noise=value)) for value in (False, True))
    assert key_of(ideal) != key_of(real)


def test_get_device_shows_the_noise():
    jobs = SimpleNamespace(backends={"lab": Backend(NOISY, DummyDriver(NOISY))})
    told = asyncio.run(Discovery(jobs).get_device(wire.NameBody(name="lab"), None, {}))
    assert told["configs"]["noise"]["two_qubit"] == 0.16
