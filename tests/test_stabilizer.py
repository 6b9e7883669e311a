"""The stabilizer simulator against the slow twin: gates, distributions, conditions, keys, limits, equal SIMD levels."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from math import pi, sqrt

import msgspec
import numpy as np
import pytest
from circuit_builder import IDIV, IEQ, LDBITAT, LDREG, STBIT, Builder
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_simulator import distribution
from test_dummy import task
from test_statevector import arrays, assert_distributed

from qfast import simulator
from qfast._ext import stabilizer as kernel
from qfast._ext import statevector
from qfast.circuit import NUM_PARAMS, Circuit, Op
from qfast.drivers import dummy
from qfast.errors import DriverRunError, JobCancelled, ResourceLimitError, TimeLimitError

BIG = 1 << 32
STBITAT, STREG = 138, 101
OK, NOT_CLIFFORD, MEMORY, CANCELLED, RUNTIME, TIME = 0, 1, -2, -3, -4, -5

PLAIN = [Op.ID, Op.X, Op.Y, Op.Z, Op.H, Op.S, Op.SDG, Op.SX, Op.SXDG, Op.SWAP, Op.ISWAP, Op.GPHASE]
TURNS = [Op.RX, Op.RY, Op.RZ, Op.P, Op.U, Op.RXX, Op.RYY, Op.RZZ, Op.RZX]
CONTROLLED = [Op.X, Op.Y, Op.Z, Op.P, Op.RX, Op.RY, Op.RZ, Op.U, Op.GPHASE, Op.ID]


def run(c: Circuit, shots: int, seed: int = 5, level: str | None = None, max_bytes: int = BIG):
    status, text, counts, leaves, replays = kernel.sample(*arrays(c), c.cregs, shots, seed, None, max_bytes, level)
    assert (status, text) == (OK, "")
    assert sum(counts.values()) == shots
    assert all(count > 0 for count in counts.values())
    return counts, leaves, replays


def assert_twin(c: Circuit, shots: int = 5000, seed: int = 5) -> None:
    assert_distributed(run(c, shots, seed)[0], distribution(c))


def clifford_gate(b: Builder, rng: np.random.Generator) -> Builder:
    """Any gate that the simulator knows, on random qubits."""
    op = [*PLAIN, *TURNS, Op.H, Op.H][rng.integers(len(PLAIN) + len(TURNS) + 2)]
    nctrl, step = 0, pi / 2
    if b.num_qubits > 1 and rng.integers(2):
        op, nctrl = CONTROLLED[rng.integers(len(CONTROLLED))], 1
        step = pi / 2 if op == Op.GPHASE else pi
        if op == Op.GPHASE and rng.integers(2):
            nctrl, step = 2, pi
    targets = 0 if op == Op.GPHASE else 1 if op <= Op.UNITARY else 2
    if nctrl + targets > b.num_qubits:
        return b
    params = [float(k) * step for k in rng.integers(-8, 9, NUM_PARAMS.get(op, 0))]
    if op == Op.U and rng.integers(2):  # the sum and the difference of two angles may count alone
        free = rng.uniform(0, 6)
        params = [pi * 4, 0.5 + free, pi / 2 * (2 if nctrl else 1) - free - 0.5]
        if not nctrl and rng.integers(2):
            params = [pi, free, free + pi / 2 * int(rng.integers(5))]
    qubits = [int(q) for q in rng.choice(b.num_qubits, nctrl + targets, replace=False)]
    return b.add(op, qubits, params, nctrl=nctrl, ctrl_state=int(rng.integers(1 << nctrl)))


def random_clifford(num_qubits: int, gates: int, seed: int) -> Builder:
    rng = np.random.default_rng(seed)
    b = Builder(num_qubits, ("c", num_qubits))
    for _ in range(gates):
        clifford_gate(b, rng)
    return b


def random_dynamic(seed: int, num_qubits: int = 4, gates: int = 30, conditions: bool = True) -> Circuit:
    """Gates, measurements, resets and conditions in any order, then a measurement of every qubit."""
    rng = np.random.default_rng(seed)
    b = Builder(num_qubits, ("a", 2), ("b", num_qubits))
    for _ in range(gates):
        choice = rng.integers(10)
        if choice == 0:
            b.measure(int(rng.integers(num_qubits)), int(rng.integers(2 + num_qubits)))
        elif choice == 1:
            b.reset(int(rng.integers(num_qubits)))
        elif choice == 2 and conditions:
            b.jump_if_bit_is_zero(int(rng.integers(2 + num_qubits)), len(b.code) + 3)
            before = len(b.code)
            clifford_gate(b, rng)
            if len(b.code) == before:
                b.add(Op.BARRIER)
        else:
            clifford_gate(b, rng)
    for q in range(num_qubits):
        b.measure(q, 2 + q)
    return b.circuit()


# --- gates


@pytest.mark.parametrize("seed", range(60))
def test_random_circuits(seed: int) -> None:
    n = 1 + seed % 6
    assert_twin(random_clifford(n, 10 + 2 * seed, seed).measure_all().circuit(), 3000)


@pytest.mark.parametrize("op", [*PLAIN, *TURNS])
def test_every_gate_by_a_round_trip(op: Op) -> None:
    """After a random state, and in three bases, so that a wrong phase shows."""
    rng = np.random.default_rng(int(op))
    targets = 0 if op == Op.GPHASE else 1 if op <= Op.UNITARY else 2
    for turns in range(-8, 9) if op in TURNS else [1]:
        for basis in range(3):
            b = random_clifford(2, 12, int(rng.integers(1 << 30)))
            b.add(op, [0, 1][:targets], [turns * pi / 2] * NUM_PARAMS.get(op, 0))
            for q in range(2):
                for extra in ([], [Op.H], [Op.SDG, Op.H])[basis]:
                    b.add(extra, [q])
            assert_twin(b.measure_all().circuit(), 400)


@pytest.mark.parametrize("op", CONTROLLED)
@pytest.mark.parametrize("ctrl_state", [0, 1])
def test_every_controlled_gate(op: Op, ctrl_state: int) -> None:
    rng = np.random.default_rng(int(op))
    for turns in range(-8, 9):
        for basis in range(3):
            b = random_clifford(2, 12, int(rng.integers(1 << 30)))
            angle = turns * (pi / 2 if op == Op.GPHASE else pi)
            params = [angle, pi * 0.5 * turns, pi * (turns % 3)][: NUM_PARAMS.get(op, 0)]
            if op == Op.U and turns % 2 == 0:
                params[1:] = [pi, pi * (turns // 2)]
            elif op == Op.U:
                params[2] = params[1] + pi * (turns // 2)
            b.add(op, [0] if op == Op.GPHASE else [0, 1], params, nctrl=1, ctrl_state=ctrl_state)
            for q in range(2):
                for extra in ([], [Op.H], [Op.SDG, Op.H])[basis]:
                    b.add(extra, [q])
            assert_twin(b.measure_all().circuit(), 400)


def test_what_is_not_clifford() -> None:
    def known(op, qubits, params=(), **more) -> bool:
        c = Builder(3).add(op, qubits, list(params), **more).circuit()
        status, _, _ = kernel.plan(*arrays(c))
        assert status in {OK, NOT_CLIFFORD}
        assert kernel.sample(*arrays(c), c.cregs, 1, 0, None, BIG)[0] == status
        return status == OK

    assert not known(Op.T, [0])
    assert not known(Op.TDG, [0])
    assert not known(Op.H, [0, 1], nctrl=1)
    assert not known(Op.S, [0, 1], nctrl=1)
    assert not known(Op.X, [0, 1, 2], nctrl=2)
    assert not known(Op.SWAP, [0, 1, 2], nctrl=1)
    assert not known(Op.P, [0, 1], [pi / 2], nctrl=1)
    assert not known(Op.UNITARY, [0], [1.0, 0, 0, 0, 0, 0, 1.0, 0])
    for angle in (0.1, pi / 4, pi / 2 + 1e-11, 1e300, float("nan"), float("inf")):
        for op in TURNS:
            assert not known(op, [0, 1] if op > Op.UNITARY else [0], [angle] * NUM_PARAMS[op])
    assert known(Op.RX, [0], [pi / 2 + 1e-13])
    assert known(Op.GPHASE, [], [0.3])
    assert known(Op.ID, [0, 1, 2], nctrl=2)


# --- distributions


@given(st.integers(1, 6), st.integers(0, 60), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_measurements_and_resets_on_the_way(num_qubits: int, gates: int, seed: int) -> None:
    assert_twin(random_dynamic(seed, num_qubits, gates, conditions=False), 2000)


@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_conditions(num_qubits: int, gates: int, seed: int) -> None:
    assert_twin(random_dynamic(seed, num_qubits, gates), 2000)


@pytest.mark.parametrize("shots", [10, 700, 5000, 200_000])
def test_all_ways_of_sampling(shots: int) -> None:
    for n in (1, 4, 9):
        assert_twin(random_clifford(n, 60, n).measure_all().circuit(), shots)


@pytest.mark.parametrize("num_qubits", [30, 70])
def test_marginals_of_wide_circuits(num_qubits: int) -> None:
    b = Builder(num_qubits, ("c", num_qubits))
    for q in range(num_qubits - 1):
        b.h(q)
    for q in range(num_qubits - 1):
        b.cx(q, num_qubits - 1)
    counts, _, _ = run(b.measure_all().circuit(), 20_000)
    assert all(key.count("1") % 2 == 0 for key in counts)
    for place in range(num_qubits):
        ones = sum(count for key, count in counts.items() if key[place] == "1")
        assert abs(ones - 10_000) < 6 * sqrt(5000)


@pytest.mark.parametrize("num_qubits", [80, 200, 700])
def test_a_dense_circuit_undone_is_certain(num_qubits: int) -> None:
    """Gates and their inverses in reverse order: any wrong sign or coupling shows as a random or wrong bit."""
    rng = np.random.default_rng(num_qubits)
    b = Builder(num_qubits, ("c", num_qubits))
    gates = []
    for _ in range(6 * num_qubits):
        kind = rng.integers(4)
        qubits = [int(q) for q in rng.choice(num_qubits, 2, replace=False)]
        gates.append((kind, qubits))
    for kind, qubits in gates:
        b.add([Op.H, Op.S, Op.X, Op.Z][kind], qubits if kind > 1 else qubits[:1], nctrl=int(kind > 1))
    for kind, qubits in reversed(gates):
        b.add([Op.H, Op.SDG, Op.X, Op.Z][kind], qubits if kind > 1 else qubits[:1], nctrl=int(kind > 1))
    for q in range(0, num_qubits, 3):
        b.x(q)
    assert list(run(b.measure_all().circuit(), 10)[0]) == [
        "".join("1" if q % 3 == 0 else "0" for q in reversed(range(num_qubits)))
    ]


def test_a_dense_circuit_undone_after_measuring_its_graph_state() -> None:
    """Stabilizers of a graph state have the value 1: measures them by ancillas in the middle, over many variables."""
    rng, n = np.random.default_rng(2), 90
    edges = {tuple(sorted(int(q) for q in rng.choice(n, 2, replace=False))) for _ in range(300)}
    b = Builder(n + 1, ("c", 20))
    for q in range(n):
        b.h(q)
    for e in edges:
        b.add(Op.Z, list(e), nctrl=1)
    for bit, q in enumerate(rng.choice(n, 20, replace=False).tolist()):
        b.h(n).cx(n, q)
        for e in edges:
            if q in e:
                b.add(Op.Z, [n, e[0] + e[1] - q], nctrl=1)
        b.h(n).measure(n, bit).reset(n)
    assert run(b.circuit(), 50)[0] == {"0" * 20: 50}


def test_ghz_of_500_and_5000() -> None:
    for n in (500, 5000):
        b = Builder(n, ("c", n)).h(0)
        for q in range(n - 1):
            b.cx(q, q + 1)
        counts, _, _ = run(b.measure_all().circuit(), 1_000_000)
        assert_distributed({key[:1]: count for key, count in counts.items()}, {"0": 0.5, "1": 0.5})
        assert set(counts) == {"0" * n, "1" * n}


def test_repetition_code() -> None:
    """50 data qubits in a + state of the code, 49 ancillas, 20 rounds: all syndromes 0 until an error is seen from there on."""
    data, rounds = 50, 20
    b = Builder(2 * data - 1, ("syndromes", rounds * (data - 1)), ("out", data)).h(0)
    for q in range(1, data):
        b.cx(0, q)
    for turn in range(rounds):
        if turn == 10:
            b.x(7)
        for k in range(data - 1):
            b.cx(k, data + k).cx(k + 1, data + k).measure(data + k, turn * (data - 1) + k).reset(data + k)
    for q in range(data):
        b.measure(q, rounds * (data - 1) + q)
    counts, leaves, _ = run(b.circuit(), 1000)
    assert leaves == 1
    assert len(counts) == 2
    for key in counts:
        out, syndromes = key.split(" ")
        bits = syndromes[::-1]
        assert out in {("0" * data)[:-8] + "1" + "0" * 7, "1" * (data - 8) + "0" + "1" * 7}
        for turn in range(rounds):
            seen = bits[turn * (data - 1) : (turn + 1) * (data - 1)]
            assert [k for k, bit in enumerate(seen) if bit == "1"] == ([6, 7] if turn >= 10 else [])


def test_teleportation_along_a_chain() -> None:
    hops = 8
    b = Builder(2 * hops + 1, ("m", 2 * hops), ("out", 1)).x(0).h(0).add(Op.S, [0])
    for hop in range(hops):
        a, m, z = 2 * hop, 2 * hop + 1, 2 * hop + 2
        b.h(m).cx(m, z).cx(a, m).h(a).measure(a, a).measure(m, m)
        b.jump_if_bit_is_zero(m, len(b.code) + 3).x(z)
        b.jump_if_bit_is_zero(a, len(b.code) + 3).add(Op.Z, [z])
    b.add(Op.SDG, [2 * hops]).h(2 * hops).measure(2 * hops, 2 * hops)
    counts, leaves, _ = run(b.circuit(), 2000)
    assert all(key[0] == "1" for key in counts)
    assert leaves > 1000


def test_repeat_until_success_and_end() -> None:
    b = Builder(2, ("c", 2)).h(0).measure(0, 0).jump_if_bit_is_zero(0, 5).add(Op.JUMP, c=0).h(1).measure(1, 1)
    assert_distributed(run(b.circuit(), 10_000)[0], {"00": 0.5, "10": 0.5})
    b = Builder(2, ("c", 2)).h(0).measure(0, 0).jump_if_bit_is_zero(0, 5).add(Op.END).h(1).measure(1, 1)
    assert_twin(b.circuit())


def test_the_machine_reads_and_writes_bits() -> None:
    b = Builder(3, ("a", 3), ("b", 2)).h(0).cx(0, 1).h(2).measure(0, 0).measure(1, 1).measure(2, 2)
    b.add(LDREG, c=0, nq=3).push(3).add(IEQ).add(STBIT, c=3)
    b.push(2).add(LDBITAT, c=0, nq=3).push(1).add(STBITAT, c=3, nq=2)
    b.h(0).measure(0, 0)
    assert_twin(b.circuit())
    b = (
        Builder(2, ("a", 2), ("b", 1))
        .h(0)
        .cx(0, 1)
        .measure(0, 0)
        .measure(1, 1)
        .push(2)
        .add(STREG, c=0, nq=2)
        .measure(1, 2)
    )
    assert_twin(b.circuit())


def test_correlated_bits_split_once() -> None:
    b = Builder(40, ("c", 40)).h(0)
    for q in range(39):
        b.cx(q, q + 1)
    b.measure_all().add(LDREG, c=0, nq=40).add(STBIT, c=0).reset(0)
    counts, leaves, _ = run(b.circuit(), 1000)
    assert set(counts) == {"0" * 40, "1" * 40}
    assert leaves == 2


# --- the choice of the method


def test_clifford_circuits_run_on_the_stabilizer_state() -> None:
    c = Builder(300, ("c", 300)).h(0)
    for q in range(299):
        c.cx(q, q + 1)
    wide = c.measure_all().circuit()
    assert simulator.choose(wide)[0] == "stabilizer"
    assert set(simulator.sample(wide, 100, seed=1)) == {"0" * 300, "1" * 300}
    need = simulator.choose(wide)[1]
    assert need < 1 << 24
    assert simulator.sample(wide, 100, seed=1, max_bytes=need) == simulator.sample(wide, 100, seed=1)
    assert simulator.choose(Builder(2).h(0).add(Op.T, [0]).circuit())[0] == "statevector"


def test_estimation_reserves_a_statevector() -> None:
    b = Builder(20).h(0)
    for q in range(19):
        b.cx(q, q + 1)
    need = simulator.statevector_bytes(b.circuit())
    assert simulator.choose(b.circuit())[1] < 1 << 20 < 16 << 20 <= need
    job = task(observables=[{"Z" * 20: 1.0, "X" * 20: 2.0}])
    assert dummy._estimate(b.circuit(), job).results["evs"] == pytest.approx([3.0])


def test_what_does_not_fit_is_left_to_the_statevector() -> None:
    b = Builder(200, ("c", 200))
    for q in range(200):
        b.h(q).measure(q, q).h(q).measure(q, q)
    c = b.circuit()
    assert simulator.choose(c)[0] == "stabilizer"
    assert simulator.choose(c, max_bytes=1 << 12)[0] == "statevector"
    assert sum(simulator.sample(c, 50, seed=0, max_bytes=1 << 12).values()) == 50


def test_errors_of_the_face() -> None:
    c = Builder(1, ("c", 1)).h(0).measure(0, 0).circuit()
    with pytest.raises(JobCancelled):
        simulator.sample(c, 10, seed=0, cancel=bytearray([1]))
    with pytest.raises(TimeLimitError):
        simulator.sample(Builder(1, ("c", 1)).add(Op.JUMP, c=0).circuit(), 1, seed=0)
    with pytest.raises(DriverRunError, match="division by zero"):
        simulator.sample(Builder(1, ("c", 1)).push(5).push(0).add(IDIV).add(STBIT, c=0).circuit(), 1, seed=0)
    with pytest.raises(ValueError, match="malformed"):
        simulator.choose(msgspec.structs.replace(Builder(2).cx(0, 1).circuit(), num_qubits=1))
    with pytest.raises(ResourceLimitError):
        simulator.sample(msgspec.structs.replace(c, num_vars=2**31 - 2), 1, seed=0)


# --- keys


def test_registers_of_odd_order() -> None:
    b = Builder(4, ("z", 2), ("a", 1), ("m", 3)).x(0).x(3)
    b.measure(0, 3).measure(3, 0).measure(1, 5)
    assert run(b.circuit(), 7)[0] == {"001 0 01": 7}
    b = Builder(70, ("z", 67), ("a", 0), ("m", 3)).h(5).add(Op.SWAP, [5, 68])
    b.measure(68, 65).measure(68, 67).measure(5, 69)
    assert set(run(b.circuit(), 50)[0]) == {"000  " + "0" * 67, "001  0" + "1" + "0" * 65}


def test_without_classical_bits() -> None:
    assert run(Builder(1).h(0).circuit(), 5)[0] == {"": 5}
    assert run(Builder(0).circuit(), 5)[0] == {"": 5}
    assert run(Builder(0).circuit(), 0)[0] == {}


# --- seeds, SIMD levels and memory


@pytest.mark.parametrize("seed", range(6))
def test_levels_and_memory_change_nothing(seed: int) -> None:
    circuits = [random_clifford(n, 12 * n, seed).measure_all().circuit() for n in (5, 90, 650)]
    for c in [*circuits, random_dynamic(seed, 9, 60)]:
        first, *others = [run(c, 600, seed, level)[0] for level in kernel.LEVELS]
        assert all(list(first.items()) == list(other.items()) for other in others)
    c = random_dynamic(seed, 6, 60)
    _, size, _ = kernel.plan(*arrays(c))
    roomy, leaves, none = run(c, 500, seed)
    tight, _, replays = run(c, 500, seed, max_bytes=size)
    assert roomy == tight
    assert none == 0
    assert (replays > 0) == (leaves > 1)


def test_levels_are_those_of_the_statevector() -> None:
    assert kernel.LEVELS == statevector.LEVELS


@pytest.mark.parametrize("level", [*kernel.LEVELS, "nonsense"])
def test_the_environment_chooses_the_level(level: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from qfast._ext import stabilizer"],
        env=os.environ | {"QFAST_SIMD": level},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0) == (level in kernel.LEVELS), done.stderr


def test_seeds() -> None:
    c = random_clifford(40, 400, 8).measure_all().circuit()
    assert run(c, 500, 3)[0] == run(c, 500, 3)[0]
    assert run(c, 500, 3)[0] != run(c, 500, 4)[0]


def test_coins_that_nothing_needs_are_freed() -> None:
    b = Builder(2, ("c", 2))
    for _ in range(3000):
        b.h(0).cx(0, 1).measure(0, 0).h(1).measure(1, 1).reset(0)
    b.push(0).add(STBIT, c=0)  # classical, so that the state begins small
    _, size, ample = kernel.plan(*arrays(b.circuit()))
    assert ample > size
    run(b.circuit(), 100, max_bytes=size)


# --- limits


def test_run_time_errors() -> None:
    for b, text in (
        (Builder(1, ("c", 2)).push(5).add(LDBITAT, c=0, nq=2).add(STBIT, c=0), "index out of range"),
        (Builder(1, ("c", 2)).push(5).push(0).add(IDIV).add(STBIT, c=0), "division by zero"),
    ):
        c = b.circuit()
        status, error, _, _, _ = kernel.sample(*arrays(c), c.cregs, 1, 0, None, BIG)
        assert (status, error) == (RUNTIME, text)


def test_endless_loops() -> None:
    for b in (
        Builder(1, ("c", 1)).add(Op.JUMP, c=0),
        Builder(1, ("c", 1)).h(0).measure(0, 0).reset(0).add(Op.JUMP, c=1),
    ):
        c = b.circuit()
        assert kernel.sample(*arrays(c), c.cregs, 3, 0, None, BIG)[0] == TIME


def test_memory_limit() -> None:
    b = Builder(20_000, ("c", 20_000))
    for q in range(20_000):
        b.h(q)
    c = b.measure_all().circuit()
    status, size, _ = kernel.plan(*arrays(c))
    assert status == OK
    assert size < 1 << 28
    assert kernel.sample(*arrays(c), c.cregs, 1, 0, None, size - 1)[0] == MEMORY
    assert len(run(c, 3, max_bytes=size)[0]) == 3
    huge = msgspec.structs.replace(Builder(1, ("c", 1)).h(0).measure(0, 0).circuit(), num_vars=2**31 - 2)
    assert kernel.sample(*arrays(huge), huge.cregs, 1, 0, None, BIG)[0] == MEMORY


def test_sizes_beyond_all_measure() -> None:
    b = Builder(3, ("c", 2)).h(0).measure(0, 0).jump_if_bit_is_zero(0, 1)
    wide = msgspec.structs.replace(b.circuit(), num_clbits=2**31 - 2, cregs=(("c", 2**31 - 2),))
    assert simulator.choose(wide)[0] == "statevector"
    for _ in range(30_000):
        b.h(1).measure(1, 1)
    need = simulator.choose(b.circuit(), max_bytes=1 << 62)[1]
    assert 1 << 20 < need < 1 << 40


def test_growth_in_loops_stays_within_the_limit() -> None:
    b = Builder(300, ("c", 300)).push(0).add(STBIT, c=0)
    for q in range(300):
        b.h(q)
    c = b.measure_all().circuit()
    _, size, ample = kernel.plan(*arrays(c))
    assert ample > size
    assert kernel.sample(*arrays(c), c.cregs, 1, 0, None, size)[0] == MEMORY
    assert len(run(c, 50)[0]) == 50


def test_few_bits_of_many_variables() -> None:
    b = Builder(60, ("c", 3))
    for q in range(60):
        b.h(q)
    for q in range(59):
        b.cx(q, 59)
    b.cx(59, 0).measure(59, 0).measure(0, 2)
    assert_distributed(run(b.circuit(), 8000)[0], dict.fromkeys(("000", "001", "100", "101"), 0.25))
    for q in range(1, 60):
        b.cx(q, 0)
    b.measure(0, 1).measure(59, 0)
    assert_distributed(run(b.circuit(), 50)[0], {f"{k:03b}": 0.125 for k in range(8)})


def test_cancel() -> None:
    for c in (
        random_clifford(40, 4000, 1).measure_all().circuit(),
        random_dynamic(1),
        random_clifford(1, 0, 0).circuit(),
    ):
        assert kernel.sample(*arrays(c), c.cregs, 10, 0, bytearray([1]), BIG)[0] == CANCELLED


def test_cancel_during_a_run() -> None:
    c = Builder(1, ("c", 1)).h(0).measure(0, 0).reset(0).add(Op.JUMP, c=0).circuit()
    flag, timer = bytearray(1), threading.Event()

    def stop() -> None:
        timer.wait(0.02)
        flag[0] = 1

    thread = threading.Thread(target=stop)
    thread.start()
    assert kernel.sample(*arrays(c), c.cregs, 10, 0, flag, BIG)[0] == CANCELLED
    thread.join()


# --- malformed circuits


@given(st.integers(0, 2**32), st.integers(1, 6))
@settings(deadline=None, max_examples=150)
def test_damaged_circuits_never_crash(seed: int, changes: int) -> None:
    rng = np.random.default_rng(seed)
    c = random_dynamic(int(rng.integers(20)))
    code = bytearray(c.code)
    for _ in range(changes):
        at = int(rng.integers(len(code) // 24)) * 24 + int(rng.choice([0, 1, 2, 4, 8, 12, 16, 20, 23]))
        code[at] = int(rng.choice([0, 1, 2, 3, 64, 81, 98, 255, int(rng.integers(256))]))
    broken = msgspec.structs.replace(c, code=bytes(code))
    with contextlib.suppress(ValueError):
        kernel.sample(*arrays(broken), broken.cregs, 20, 1, None, 1 << 20)
    with contextlib.suppress(ValueError):
        kernel.plan(*arrays(broken))


def test_malformed_circuits_are_refused() -> None:
    good = Builder(2, ("c", 2)).h(0).cx(0, 1).measure_all().circuit()
    for broken in (
        msgspec.structs.replace(good, code=good.code[:-1]),
        msgspec.structs.replace(good, num_qubits=1),
        msgspec.structs.replace(good, num_clbits=-1),
        msgspec.structs.replace(good, cregs=()),
        msgspec.structs.replace(good, cregs=(("c", 3), ("d", -1))),
        msgspec.structs.replace(good, cregs=(("c",),)),
        msgspec.structs.replace(good, cregs=(("c", 2**70),)),
        msgspec.structs.replace(good, qubits=np.array([0, -1, 1, 0, 1], np.int32).tobytes()),
        Builder(2).add(Op.Z, [1, 1], nctrl=1).circuit(),
        Builder(2).h(0).add(Op.JUMP, c=9).circuit(),
    ):
        with pytest.raises(ValueError, match="malformed circuit"):
            kernel.sample(*arrays(broken), broken.cregs, 1, 0, None, BIG)
    for shots in (-1, 1 << 50):
        with pytest.raises(ValueError, match="shots"):
            kernel.sample(*arrays(good), good.cregs, shots, 0, None, BIG)
    with pytest.raises(ValueError, match="level"):
        kernel.sample(*arrays(good), good.cregs, 1, 0, None, BIG, "avx9000")
