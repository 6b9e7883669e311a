"""The simulator against its slow twin: states, distributions, keys, equal SIMD levels, limits, malformed circuits."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from math import log, sqrt

import circuit_builder as build
import msgspec
import numpy as np
import pytest
from circuit_builder import GATES, IDIV, LDBITAT, LDREG, LDVAR, PUSHF, STBIT, STVAR, Builder
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_simulator import distribution, final_bits, matrix

from qfast import simulator
from qfast._ext import statevector as kernel
from qfast.circuit import INSTRUCTION, NUM_PARAMS, Circuit, Op
from qfast.errors import DriverRunError, JobCancelled, ResourceLimitError, TimeLimitError

BIG = 1 << 32


def arrays(c: Circuit):
    return c.code, c.qubits, c.params, c.num_qubits, c.num_clbits, c.num_vars


def state_at(c: Circuit, level: str | None = None, threads: int = 1, single: bool = False) -> np.ndarray:
    status, amplitudes = kernel.statevector(*arrays(c), None, threads, BIG, level, single)
    assert status == 0
    return amplitudes


def counts_at(c: Circuit, shots: int, seed: int, level: str | None = None, max_bytes: int = BIG, single: bool = False):
    status, text, counts, leaves, replays = kernel.sample(
        *arrays(c), c.cregs, shots, seed, None, 1, max_bytes, level, single=single
    )
    assert (status, text) == (0, "")
    assert sum(counts.values()) == shots
    assert all(count > 0 for count in counts.values())
    return counts, leaves, replays


def assert_distributed(counts: dict[str, int], expected: dict[str, float]) -> None:
    """Pearson's chi-square below a bound that a true sample exceeds once in 10^6 (Laurent and Massart 2000, lemma 1)."""
    shots = sum(counts.values())
    expected = {key: p for key, p in expected.items() if p > 1e-12}
    assert set(counts) <= set(expected)
    rare = [key for key, p in expected.items() if p * shots < 5]
    cells = [(counts.get(key, 0), p * shots) for key, p in expected.items() if key not in set(rare)]
    if rare:
        cells.append((sum(counts.get(key, 0) for key in rare), sum(expected[key] for key in rare) * shots))
    chi2 = sum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
    freedom, x = max(len(cells) - 1, 1), log(1e6)
    assert chi2 <= freedom + 2 * sqrt(freedom * x) + 2 * x


def assert_twin(c: Circuit, shots: int = 20_000, seed: int = 5) -> None:
    assert_distributed(simulator.sample(c, shots, seed=seed), distribution(c))


ERROR = {False: 1e-12, True: 3e-6}  # of an amplitude, by whether the precision is single

# --- gates


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("level", kernel.LEVELS)
@pytest.mark.parametrize("op", GATES)
def test_every_gate_with_all_controls(op: Op, level: str, single: bool) -> None:
    rng = np.random.default_rng(int(op))
    for nctrl in range(5):
        for ctrl_state in range(1 << nctrl):
            b = Builder(7)
            for q in range(7):  # entangled, so that every qubit occupies the vector
                b.add(Op.U, [q], list(rng.uniform(0, 6, 3)))
            for q in range(6):
                b.cx(q, q + 1)
            before = state_at(b.circuit(), level, single=single)
            build.random_gate(b, rng, op, nctrl, ctrl_state)
            c = b.circuit()
            last = msgspec.structs.replace(c, code=c.code[-INSTRUCTION.itemsize :])
            expected = build.evolve(before, last)
            np.testing.assert_allclose(state_at(c, level, single=single), expected, atol=ERROR[single] / 3)


def test_the_slow_simulator_means_the_same_gates_as_qiskit() -> None:
    library = pytest.importorskip("qiskit.circuit.library")
    names = {Op.ID: "I", Op.U: "U", Op.ISWAP: "iSwap", Op.P: "Phase", Op.GPHASE: "GlobalPhase"}
    for op in GATES:
        if op == Op.UNITARY:
            continue
        name = names.get(op, {"SDG": "Sdg", "TDG": "Tdg", "SXDG": "SXdg", "SWAP": "Swap"}.get(op.name, op.name))
        params = [0.3, 0.7, 1.1][: NUM_PARAMS.get(op, 0)]
        np.testing.assert_allclose(
            matrix(op, params), getattr(library, f"{name}Gate")(*params).to_matrix(), atol=1e-15, err_msg=name
        )


@pytest.mark.parametrize("num_qubits", range(1, 11))
def test_random_circuits(num_qubits: int) -> None:
    for seed in range(6):
        c = build.random_circuit(num_qubits, 60, 100 * num_qubits + seed).circuit()
        expected = build.final_state(c)
        np.testing.assert_allclose(simulator.statevector(c), expected, atol=1e-12)
        np.testing.assert_allclose(simulator.statevector(c, precision="single"), expected, atol=ERROR[True])


def test_long_runs_on_one_pair_are_fused_exactly() -> None:
    rng = np.random.default_rng(3)
    b = Builder(10, ("c", 10))
    for q in range(10):
        b.h(q)
    for _ in range(60):
        b.add(Op.U, [4], list(rng.uniform(0, 6, 3))).add(Op.RZZ, [4, 7], [rng.uniform()]).add(
            Op.RXX, [7, 4], [rng.uniform()]
        )
    expected = build.final_state(b.circuit())
    np.testing.assert_allclose(simulator.statevector(b.circuit()), expected, atol=1e-12)
    np.testing.assert_allclose(simulator.statevector(b.circuit(), precision="single"), expected, atol=ERROR[True])


@pytest.mark.parametrize("num_qubits", [4, 8, 11])
def test_stars_of_phases(num_qubits: int) -> None:
    rng = np.random.default_rng(num_qubits)
    b = Builder(num_qubits + 1).x(num_qubits)
    for q in range(num_qubits):
        b.add(Op.U, [q], list(rng.uniform(0, 6, 3)))
    for centre in range(num_qubits):
        b.h(centre)
        for leaf in rng.permutation(num_qubits + 1).tolist():
            if leaf != centre:
                pair = [leaf, centre] if rng.integers(2) else [centre, leaf]
                b.add(Op.GPHASE, pair, [rng.uniform(0, 6)], nctrl=2, ctrl_state=int(rng.choice([1, 2, 3])))
    expected = build.final_state(b.circuit())
    for single in (False, True):
        states = [state_at(b.circuit(), level, single=single) for level in kernel.LEVELS]
        np.testing.assert_allclose(states[0], expected, atol=ERROR[single])
        assert all(np.array_equal(states[0], state) for state in states)


@pytest.mark.parametrize("single", [False, True])
def test_tiles(single: bool) -> None:
    size = 17 + single
    b = Builder(size + 1).x(size)  # a qubit that is known takes part, too
    for q in range(size):
        b.h(q)
    for part in range(2):
        gates = build.random_circuit(size, 20, part)
        for op, nctrl, _, state, q, nq, p, _ in gates.code:
            b.add(op, gates.qubits[q : q + nq], gates.params[p : p + 8], nctrl=nctrl, ctrl_state=state)
        b.cx(size, part).add(Op.SWAP, [size, 5 * part])
        for q in range(1, size + 1):
            b.add(Op.P, [part * 9 - (q == part * 9), q], [0.1 * q], nctrl=1)
    expected = build.final_state(b.circuit())
    states = [state_at(b.circuit(), level, single=single) for level in kernel.LEVELS]
    np.testing.assert_allclose(states[0], expected, atol=ERROR[single])
    assert all(np.array_equal(states[0], state) for state in states)


def test_the_norm_survives_many_gates() -> None:
    c = build.random_circuit(8, 5000, 1).circuit()
    assert np.linalg.norm(simulator.statevector(c)) == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("seed", range(30))
def test_what_no_measurement_sees_is_left_out(seed: int) -> None:
    """Gates of all kinds, few qubits measured, some on the way: the counts keep their distribution."""
    rng = np.random.default_rng(seed)
    b = Builder(5, ("c", 4))
    for _ in range(40):
        op, q = GATES[rng.integers(len(GATES))], int(rng.integers(5))
        choice = rng.integers(12)
        if choice == 0:
            b.measure(q, int(rng.integers(3)))
        elif choice == 1:
            b.reset(q)
        elif choice < 6:  # what is most often dropped
            phase = int(choice >= 4)
            b.add(Op.GPHASE if phase else Op.X, [q, (q + 1) % 5], [0.7] * phase, nctrl=1 + phase)
        else:
            build.random_gate(b, rng, op, int(rng.integers(3)))
    for c, q in enumerate(rng.permutation(5)[:2].tolist()):
        b.measure(q, 2 + c)
    assert_twin(b.circuit(), 5000, seed)
    assert kernel.plan(*arrays(b.circuit()), BIG)[2] < kernel.plan(*arrays(b.circuit()), BIG, whole=True)[2]


def test_only_the_light_cone_takes_memory() -> None:
    b = Builder(40, ("c", 2))
    for q in range(40):
        b.h(q).add(Op.T, [q])
    for q in reversed(range(39)):
        b.cx(q, q + 1)
    b.measure(0, 0).measure(1, 1)
    assert simulator.choose(b.circuit())[1] < 1 << 20
    assert_distributed(simulator.sample(b.circuit(), 10_000, seed=1), {f"{j:02b}": 0.25 for j in range(4)})


def test_idle_qubits_cost_nothing() -> None:
    b = Builder(1_000_000, ("c", 2)).h(7).cx(7, 999_999).measure(7, 0).measure(999_999, 1)
    assert set(simulator.sample(b.circuit(), 100, seed=1)) == {"00", "11"}
    assert simulator.choose(b.circuit())[1] < 1 << 20
    b = Builder(1000, ("c", 1000))
    for q in range(0, 1000, 3):
        b.x(q)
    assert simulator.sample(b.measure_all().circuit(), 5, seed=1) == {("1001" + "001" * 332): 5}


# --- equality of SIMD levels, seeds and memory


def random_dynamic_circuit(seed: int, num_qubits: int = 4) -> Circuit:
    """Gates, measurements, resets and conditions in any order."""
    rng = np.random.default_rng(seed)
    b = Builder(num_qubits, ("a", 2), ("b", num_qubits))
    for _ in range(25):
        choice = rng.integers(8)
        if choice == 0:
            b.measure(int(rng.integers(num_qubits)), int(rng.integers(2 + num_qubits)))
        elif choice == 1:
            b.reset(int(rng.integers(num_qubits)))
        elif choice == 2:
            b.jump_if_bit_is_zero(int(rng.integers(2 + num_qubits)), len(b.code) + 3)
            build.random_gate(b, rng, Op.U)
        else:
            build.random_gate(b, rng, GATES[rng.integers(len(GATES))], int(rng.integers(2)))
    for q in range(num_qubits):
        b.measure(q, 2 + q)
    return b.circuit()


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_levels_agree_to_the_last_bit(seed: int, single: bool) -> None:
    circuits = [build.random_circuit(n, 40, seed).measure_all().circuit() for n in (2, 5, 9, 12)] + [
        random_dynamic_circuit(seed, 9)
    ]
    for c in circuits:
        first, *others = [counts_at(c, 3000, seed, level, single=single)[0] for level in kernel.LEVELS]
        assert all(list(first.items()) == list(other.items()) for other in others)
    first, *others = [state_at(circuits[3], level, single=single) for level in kernel.LEVELS]
    assert all(np.array_equal(first, other) for other in others)


def test_threads_change_nothing() -> None:
    b = Builder(20, ("c", 20))
    for q in range(20):
        b.h(q)
    for op, nctrl, _, state, q, nq, p, _ in (source := build.random_circuit(20, 40, 3)).code:
        b.add(op, source.qubits[q : q + nq], source.params[p : p + 8], nctrl=nctrl, ctrl_state=state)
    b.add(Op.H, [0, 19, 5], nctrl=2)
    c = b.measure_all().circuit()
    for single in (False, True):
        assert np.array_equal(state_at(c, single=single), state_at(c, threads=3, single=single))
    for precision in ("double", "single"):
        one = simulator.sample(c, 100, seed=1, precision=precision)
        assert one == simulator.sample(c, 100, seed=1, threads=70, precision=precision)


@pytest.mark.parametrize("level", [*kernel.LEVELS, "nonsense"])
def test_the_environment_chooses_the_level(level: str) -> None:
    code = "from qfast._ext import statevector as k; print(k.binomial(1, 10, 0.5, 1))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"QFAST_SIMD": level}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode == 0) == (level in kernel.LEVELS), done.stderr
    assert ("QFAST_SIMD=nonsense" in done.stderr) == (level == "nonsense")


def test_seeds() -> None:
    c = build.random_circuit(6, 60, 8).measure_all().circuit()
    assert simulator.sample(c, 500, seed=3) == simulator.sample(c, 500, seed=3)
    assert simulator.sample(c, 500, seed=3) != simulator.sample(c, 500, seed=4)
    assert simulator.sample(c, 500, seed=-1) == simulator.sample(c, 500, seed=2**64 - 1)
    assert simulator.sample(c, 0, seed=1) == {}


@pytest.mark.parametrize("seed", range(6))
def test_memory_for_branches_changes_nothing(seed: int) -> None:
    c = random_dynamic_circuit(seed)
    roomy, _, none = counts_at(c, 2000, 9)
    tight, _, replays = counts_at(c, 2000, 9, max_bytes=16 << 4)
    assert roomy == tight
    assert none == 0
    assert replays > 0


def test_states_set_aside_give_way_to_growth() -> None:
    b = Builder(8, ("c", 8))
    for q in range(4):
        b.h(q).measure(q, q)
    for q in range(8):
        b.h(q)
    for q in range(8):
        b.measure(q, q)
    full = 16 << 8
    roomy, _, none = counts_at(b.circuit(), 5000, 1)
    tight, _, replays = counts_at(b.circuit(), 5000, 1, max_bytes=full)
    assert roomy == tight
    assert none == 0
    assert replays > 0


# --- sampling


@pytest.mark.parametrize("num_qubits", [1, 3, 5, 8, 10])
@pytest.mark.parametrize("shots", [10, 3000, 100_000])
def test_final_measurements(num_qubits: int, shots: int) -> None:
    c = build.random_circuit(num_qubits, 40, num_qubits).measure_all().circuit()
    assert_twin(c, shots)


def test_a_million_shots_in_single_precision() -> None:
    c = build.random_circuit(14, 300, 3).measure_all().circuit()
    probabilities = np.abs(simulator.statevector(c)) ** 2
    seen = np.zeros(1 << 14)
    for key, count in simulator.sample(c, 1_000_000, seed=2, precision="single").items():
        seen[int(key, 2)] = count
    low = {f"{j}": float(p) for j, p in enumerate(probabilities.reshape(-1, 256).sum(1))}
    assert_distributed({f"{j}": int(n) for j, n in enumerate(seen.reshape(-1, 256).sum(1)) if n}, low)
    low = {f"{j}": float(p) for j, p in enumerate(probabilities.reshape(-1, 256).sum(0))}
    assert_distributed({f"{j}": int(n) for j, n in enumerate(seen.reshape(-1, 256).sum(0)) if n}, low)


def test_uniform_states_of_any_size_stay_uniform_in_single_precision() -> None:
    """A running sum kept in single precision would lose the last states."""
    b = Builder(20, ("c", 20))
    for q in range(20):
        b.h(q).add(Op.T, [q])
    counts = simulator.sample(b.measure_all().circuit(), 1_000_000, seed=4, precision="single")
    high: dict[str, int] = {}
    for key, count in counts.items():
        high[key[:8]] = high.get(key[:8], 0) + count
    assert_distributed(high, {f"{j:08b}": 1 / 256 for j in range(256)})


def test_some_bits_of_some_qubits() -> None:
    b = build.random_circuit(7, 60, 2)
    b.cregs = (("c", 3),)
    for c, q in enumerate((5, 0, 3)):
        b.measure(q, c)
    assert_twin(b.circuit())


def test_more_qubits_than_one_run_of_amplitudes() -> None:
    b = Builder(16, ("c", 16))
    for q in range(16):
        b.h(q)
    counts = simulator.sample(b.measure_all().circuit(), 200_000, seed=2)
    low: dict[str, int] = {}
    for key, count in counts.items():
        low[key[:5]] = low.get(key[:5], 0) + count
    assert_distributed(low, {f"{j:05b}": 1 / 32 for j in range(32)})
    assert len(counts) == pytest.approx(2**16 * (1 - np.exp(-200_000 / 2**16)), rel=0.01)


@pytest.mark.parametrize(
    ("n", "p"), [(5, 0.3), (40, 0.5), (1000, 0.004), (1000, 0.02), (1000, 0.7), (10**6, 0.5), (7, 0.999)]
)
def test_binomial_numbers(n: int, p: float) -> None:
    size = 40_000
    numbers = kernel.binomial(1, n, p, size)
    assert numbers.min() >= 0
    assert numbers.max() <= n
    deviation = sqrt(n * p * (1 - p))
    k = np.arange(max(0, int(n * p - 12 * deviation - 12)), min(n, int(n * p + 12 * deviation + 12)) + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - k[:-1]) / (k[:-1] + 1) * p / (1 - p)))])
    weights = np.exp(logs - logs.max())
    step = max(1, int(deviation / 4))
    expected: dict[str, float] = {}
    for value, weight in zip((k // step).tolist(), (weights / weights.sum()).tolist(), strict=True):
        expected[str(value)] = expected.get(str(value), 0) + weight
    seen = {
        str(int(value)): int(count)
        for value, count in zip(*np.unique(numbers // step, return_counts=True), strict=True)
    }
    assert_distributed({key: count for key, count in seen.items() if expected.get(key, 0) > 1e-12}, expected)


def test_binomial_edges() -> None:
    assert kernel.binomial(1, 10, 0.0, 3).tolist() == [0, 0, 0]
    assert kernel.binomial(1, 10, 1.0, 3).tolist() == [10, 10, 10]
    assert kernel.binomial(1, 0, 0.5, 2).tolist() == [0, 0]
    assert kernel.binomial(1, 10, float("nan"), 2).tolist() == [0, 0]
    huge = kernel.binomial(1, 1 << 40, 0.5, 100)
    assert abs(float(huge.mean()) / 2**39 - 1) < 1e-5


# --- keys


def test_registers_of_odd_order() -> None:
    b = Builder(4, ("z", 2), ("a", 1), ("m", 3)).x(0).x(3)
    b.measure(0, 3).measure(3, 0).measure(1, 5)
    assert simulator.sample(b.circuit(), 7, seed=0) == {"001 0 01": 7}


@given(st.lists(st.integers(0, 70), max_size=5), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_keys_of_any_registers(sizes: list[int], pattern: int) -> None:
    total = sum(sizes)
    b = Builder(total + 1, *[(f"c{j}", size) for j, size in enumerate(sizes)])
    bits = [(pattern >> (j % 33)) & 1 for j in range(total)]
    for j, bit in enumerate(bits):
        if bit:
            b.x(j)
        b.measure(j, j)
    assert simulator.sample(b.circuit(), 2, seed=0) == {final_bits(b.circuit(), bits): 2}


def test_thousands_of_bits() -> None:
    b = Builder(3, ("c", 5000)).h(0).cx(0, 1).h(2)
    for j in range(5000):
        b.measure(j % 2, j)
    counts = simulator.sample(b.circuit(), 1000, seed=1)
    assert set(counts) == {"0" * 5000, "1" * 5000}
    b.measure(2, 4999)
    assert len(simulator.sample(b.circuit(), 1000, seed=1)) == 4


def test_the_last_measurement_into_a_bit_decides() -> None:
    b = Builder(2, ("c", 1)).h(0).x(1).measure(0, 0).measure(1, 0)
    assert simulator.sample(b.circuit(), 50, seed=1) == {"1": 50}
    b = Builder(2, ("c", 2)).h(0).measure(0, 0).h(0).measure(0, 1).x(1).measure(1, 0)
    assert_twin(b.circuit())


def test_without_classical_bits() -> None:
    assert simulator.sample(Builder(1).h(0).circuit(), 5, seed=1) == {"": 5}
    assert simulator.sample(Builder(0).circuit(), 5, seed=1) == {"": 5}


# --- measurements on the way


@pytest.mark.parametrize("seed", range(25))
def test_random_dynamic_circuits(seed: int) -> None:
    c = random_dynamic_circuit(seed)
    expected = distribution(c)
    for precision in ("double", "single"):
        counts = simulator.sample(c, 5000, seed=5, precision=precision)
        assert_distributed(counts, expected)


def test_reset_of_an_entangled_qubit() -> None:
    assert_twin(Builder(2, ("c", 2)).h(0).cx(0, 1).reset(0).measure_all().circuit())


def test_teleportation() -> None:
    b = Builder(3, ("a", 1), ("b", 1), ("out", 1)).add(Op.U, [0], [1.1, 0.3, 0.2]).h(1).cx(1, 2).cx(0, 1).h(0)
    b.measure(0, 0).measure(1, 1)
    b.jump_if_bit_is_zero(1, 10).x(2)
    assert len(b.code) == 10
    b.jump_if_bit_is_zero(0, 13).add(Op.Z, [2])
    b.add(Op.U, [2], [-1.1, -0.2, -0.3]).measure(2, 2)
    assert_twin(b.circuit())
    assert all(key[0] == "0" for key in simulator.sample(b.circuit(), 1000, seed=4))


def test_repeat_until_success() -> None:
    b = Builder(2, ("c", 2)).h(0).measure(0, 0).jump_if_bit_is_zero(0, 5).add(Op.JUMP, c=0).h(1).measure(1, 1)
    counts = simulator.sample(b.circuit(), 10_000, seed=1)
    assert_distributed(counts, {"00": 0.5, "10": 0.5})


def test_counted_loop_with_a_variable_and_an_angle_from_the_stack() -> None:
    b = Builder(1, ("c", 3), num_vars=1).push(0).add(STVAR, c=0)
    b.add(LDVAR, c=0).push(3).add(build.ILT).add(Op.JUMPZ, c=14)
    b.add(PUSHF, params=[0.7]).add(Op.RY, [0], flags=1)
    b.h(0).add(LDVAR, c=0).push(1).add(build.IADD).add(STVAR, c=0).add(Op.JUMP, c=2)
    assert len(b.code) == 14
    b.measure(0, 1).add(LDREG, c=0, nq=2).push(2).add(build.IEQ).add(STBIT, c=2)
    assert_twin(b.circuit())


def test_end_in_the_middle() -> None:
    b = Builder(2, ("c", 2)).h(0).measure(0, 0).jump_if_bit_is_zero(0, 5).add(Op.END).h(1).measure(1, 1)
    assert_twin(b.circuit())


def test_many_rounds_on_one_qubit() -> None:
    b = Builder(1, ("c", 2000))
    for j in range(2000):
        b.h(0).measure(0, j)
    counts = simulator.sample(b.circuit(), 300, seed=1)
    assert len(counts) == 300
    ones = sum(key.count("1") for key in counts)
    assert abs(ones - 300_000) < 6 * sqrt(600_000 / 4)


# --- limits


def test_run_time_errors() -> None:
    b = Builder(1, ("c", 2)).push(5).add(LDBITAT, c=0, nq=2).add(STBIT, c=0)
    with pytest.raises(DriverRunError, match="index out of range"):
        simulator.sample(b.circuit(), 1, seed=0)
    b = Builder(1, ("c", 2)).push(5).push(0).add(IDIV).add(STBIT, c=0)
    with pytest.raises(DriverRunError, match="division by zero"):
        simulator.sample(b.circuit(), 1, seed=0)
    b = Builder(1, ("c", 2)).add(PUSHF, params=[float("inf")]).add(Op.RX, [0], flags=1)
    with pytest.raises(DriverRunError):
        simulator.sample(b.circuit(), 1, seed=0)


def test_endless_loops() -> None:
    with pytest.raises(TimeLimitError):
        simulator.sample(Builder(1, ("c", 1)).add(Op.JUMP, c=0).circuit(), 1, seed=0)
    b = Builder(1, ("c", 1)).h(0).measure(0, 0).reset(0).add(Op.JUMP, c=1)
    with pytest.raises(TimeLimitError):
        simulator.sample(b.circuit(), 3, seed=0)


def test_single_precision_takes_half_the_memory() -> None:
    b = Builder(24, ("c", 24))
    for q in range(24):
        b.h(q).add(Op.T, [q])
    c = b.measure_all().circuit()
    double, single = (simulator.choose(c, precision=precision)[1] for precision in ("double", "single"))
    assert 8 << 24 <= single < 1.1 * (8 << 24) < 16 << 24 <= double < 1.1 * (16 << 24)
    with pytest.raises(ResourceLimitError):
        simulator.sample(c, 1, seed=0, max_bytes=single)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("precision", "amplitude"), [("double", 16), ("single", 8)])
def test_a_run_takes_little_more_than_its_state(precision: str, amplitude: int) -> None:
    code = f"""
from pathlib import Path
from qfast import frontend, simulator
def peak():  # getrusage would give the parent's, where that is more
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10
gates = "".join(f"h q[{{k}}]; t q[{{k}}]; cx q[{{k}}],q[{{(k + 7) % 22}}]; u3(0.1,0.2,0.3) q[{{k}}];" for k in range(22))
text = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[22]; creg c[22]; %s measure q -> c;'
for n in (3, 22):  # the first loads and warms up
    circuit = frontend.compile_program(text % (gates if n == 22 else "t q[0]; h q[0];"))
    before = peak()
    simulator.sample(circuit, 1000, seed=1, precision={precision!r})
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert amplitude << 22 <= int(done.stdout) + (1 << 20) <= 1.1 * (amplitude << 22)


def test_memory_limit() -> None:
    b = Builder(30, ("c", 30))
    for q in range(30):
        b.h(q).add(Op.T, [q])
    c = b.measure_all().circuit()
    assert simulator.choose(c)[1] >= 16 << 30
    with pytest.raises(ResourceLimitError):
        simulator.sample(c, 1, seed=0)
    with pytest.raises(ResourceLimitError):
        simulator.statevector(c)
    b = Builder(60, ("c", 60))
    for q in range(60):
        b.h(q).add(Op.T, [q])
    with pytest.raises(ResourceLimitError):
        simulator.sample(b.measure_all().circuit(), 1, seed=0, max_bytes=1 << 62)


def test_classical_memory_is_limited() -> None:
    c = Builder(1, ("c", 1)).h(0).measure(0, 0).circuit()
    for huge in (
        msgspec.structs.replace(c, num_vars=2**31 - 2),
        msgspec.structs.replace(c, num_clbits=2**31 - 2, cregs=(("c", 2**31 - 2),)),
    ):
        with pytest.raises(ResourceLimitError):
            simulator.sample(huge, 1, seed=0)


def test_measured_qubits_make_room() -> None:
    b = Builder(200, ("c", 200))
    for q in range(200):
        b.h(q).measure(q, q).h(q).add(Op.T, [q])
        b.measure(q, q)
    counts = simulator.sample(b.circuit(), 50, seed=0, max_bytes=1 << 12)
    assert sum(counts.values()) == 50
    assert simulator.choose(b.circuit(), max_bytes=1 << 20)[1] == 1 << 20


@pytest.mark.parametrize("prepare", [lambda b: b, lambda b: b.reset(0)])
def test_cancel_before_and_during(prepare) -> None:
    with pytest.raises(JobCancelled):
        simulator.sample(
            prepare(build.random_circuit(14, 20, 1)).measure_all().circuit(), 10, seed=0, cancel=bytearray([1])
        )
    b = Builder(20, ("c", 20))
    for _ in range(1000):
        for q in range(20):
            b.h(q).add(Op.RZZ, [q, (q + 7) % 20], [0.1])
    flag, timer = bytearray(1), threading.Event()

    def stop() -> None:
        timer.wait(0.05)
        flag[0] = 1

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(JobCancelled):
        simulator.sample(prepare(b).measure_all().circuit(), 10, seed=0, cancel=flag)
    thread.join()


# --- malformed circuits


GOOD = (
    Builder(3, ("c", 2))
    .add(Op.U, [0], [1.0, 2.0, 3.0])
    .add(Op.X, [0, 1, 2], nctrl=2)
    .measure(0, 1)
    .jump_if_bit_is_zero(1, 2)
)


def changed(index: int, **fields: int) -> Circuit:
    code = GOOD.circuit().instructions.copy()
    for name, value in fields.items():
        code[index][name] = value
    return msgspec.structs.replace(GOOD.circuit(), code=code.tobytes())


@pytest.mark.parametrize(
    "circuit",
    [
        changed(0, op=18),
        changed(0, op=255),
        changed(0, q=-1),
        changed(0, q=5),
        changed(0, q=2**31 - 1),
        changed(0, nq=0),
        changed(0, nq=-1),
        changed(0, p=1),
        changed(0, p=-1),
        changed(0, op=Op.UNITARY),
        changed(0, flags=1),
        changed(0, flags=2),
        changed(1, nctrl=1),
        changed(1, nctrl=40),
        changed(2, c=2),
        changed(2, c=-1),
        changed(2, nq=2),
        changed(2, nctrl=1),
        changed(3, c=9),
        changed(4, c=99),
        changed(4, c=-1),
        changed(3, op=Op.JUMPZ),
        changed(4, op=STBIT, c=7),
        msgspec.structs.replace(GOOD.circuit(), num_qubits=2),
        msgspec.structs.replace(GOOD.circuit(), num_qubits=-1),
        msgspec.structs.replace(GOOD.circuit(), num_qubits=2**40),
        msgspec.structs.replace(GOOD.circuit(), num_clbits=1),
        msgspec.structs.replace(GOOD.circuit(), num_clbits=-1),
        msgspec.structs.replace(GOOD.circuit(), num_vars=-1),
        msgspec.structs.replace(GOOD.circuit(), num_vars=2**80),
        msgspec.structs.replace(GOOD.circuit(), cregs=()),
        msgspec.structs.replace(GOOD.circuit(), cregs=(("c", 3), ("d", -1))),
        msgspec.structs.replace(GOOD.circuit(), code=GOOD.circuit().code[:-1]),
        msgspec.structs.replace(GOOD.circuit(), qubits=GOOD.circuit().qubits[:-1]),
        msgspec.structs.replace(GOOD.circuit(), params=GOOD.circuit().params[:-1]),
        Builder(2).add(Op.X, [1, 1], nctrl=1).circuit(),
        Builder(2).add(Op.RX, [1], [float("nan")]).circuit(),
        Builder(2).add(Op.UNITARY, [1], [2.0, 0, 0, 0, 0, 0, 1.0, 0]).circuit(),
        Builder(1).add(Op.UNITARY, [0], flags=1).circuit(),
        Builder(1).add(Op.END).add(200).circuit(),
    ],
)
def test_malformed_circuits_are_refused(circuit: Circuit) -> None:
    with pytest.raises(ValueError, match=r"malformed circuit|out of range"):
        simulator.sample(circuit, 1, seed=0)


@given(st.integers(0, 2**32), st.integers(1, 6))
@settings(deadline=None, max_examples=150)
def test_damaged_circuits_never_crash(seed: int, changes: int) -> None:
    rng = np.random.default_rng(seed)
    c = random_dynamic_circuit(int(rng.integers(20)))
    code = bytearray(c.code)
    for _ in range(changes):
        at = int(rng.integers(len(code) // 24)) * 24 + int(rng.choice([0, 1, 2, 4, 8, 12, 16, 20, 23]))
        code[at] = int(rng.choice([0, 1, 2, 3, 64, 81, 98, 255, int(rng.integers(256))]))
    broken = msgspec.structs.replace(c, code=bytes(code))
    with contextlib.suppress(ValueError, DriverRunError, TimeLimitError, ResourceLimitError):
        simulator.sample(broken, 20, seed=1, max_bytes=1 << 20)


def test_arguments_out_of_range() -> None:
    c = Builder(1, ("c", 1)).h(0).measure(0, 0).circuit()
    for shots, threads in ((-1, 1), (1 << 50, 1), (1, 0)):
        with pytest.raises(ValueError, match=r"shots|threads"):
            simulator.sample(c, shots, seed=0, threads=threads)
    with pytest.raises(ValueError, match="level"):
        counts_at(c, 1, 1, "avx9000")


def test_statevector_refuses_what_has_no_single_state() -> None:
    for c in (Builder(1, ("c", 1)).h(0).measure(0, 0).h(0).circuit(), Builder(1).h(0).reset(0).circuit()):
        with pytest.raises(ValueError, match="final state"):
            simulator.statevector(c)
    np.testing.assert_allclose(
        simulator.statevector(Builder(1, ("c", 1)).h(0).measure(0, 0).circuit()), [sqrt(0.5)] * 2
    )
