"""Counts as text: what the kernels write against what Python would, and the outcome of every shot."""

from __future__ import annotations

from collections import Counter

import numpy as np
import orjson
import pytest
from circuit_builder import Builder, random_circuit
from hypothesis import given
from hypothesis import strategies as st
from test_dummy import BELL, run, task

from qfast import counts as counts_room
from qfast import outside, rows, simulator
from qfast._ext import stabilizer, statevector
from qfast.counts import Counts, listed
from qfast.drivers.dummy import AerProgram, DummyDriver, DummyOptions
from qfast.errors import InvalidParams, ResourceLimitError
from qfast.plugins import Outcome


@pytest.mark.parametrize("sizes", [(1,), (5,), (8,), (3, 0, 9), (64, 1), (1, 64, 70)])
@pytest.mark.parametrize("shots", [0, 1, 9, 1000, 100_000])
def test_the_text_is_that_of_the_dict(sizes, shots):
    width = sum(sizes)
    b = Builder(width, *((f"c{k}", size) for k, size in enumerate(sizes)))
    for q in range(width):
        b.h(q) if q % 5 == 0 else b.x(q) if q % 3 else b
    circuit = b.measure_all().circuit()
    expected = simulator.sample(circuit, shots, seed=5)
    found = simulator.sample_text(circuit, shots, seed=5, memory=True)
    assert found.json == orjson.dumps(expected)  # the order of the keys too
    memory = orjson.loads(found.memory)
    assert Counter(memory) == expected
    assert len(memory) == shots


@given(st.integers(1, 6), st.integers(0, 2**32), st.integers(0, 3000))
def test_both_simulators_write_the_same_text_as_the_dict(num_qubits, seed, shots):
    b = random_circuit(num_qubits, 12, seed)
    b.cregs = (("a", num_qubits // 2), ("b", num_qubits - num_qubits // 2))
    circuit = b.measure_all().circuit()
    assert simulator.sample_text(circuit, shots, seed=seed).json == orjson.dumps(
        simulator.sample(circuit, shots, seed=seed)
    )


def test_counts_are_a_mapping_that_is_read_on_use():
    counts = Counts(b'{"01":3,"10":4}')
    assert counts == {"01": 3, "10": 4}
    assert list(counts) == ["01", "10"]
    assert (len(counts), counts["10"], counts.get("11", 0)) == (2, 4, 0)
    assert repr(counts) == 'Counts({"01":3,"10":4})'
    with pytest.raises(KeyError):
        counts["11"]


def test_every_order_of_the_shots_is_as_likely():
    circuit = Builder(1, ("c", 1)).h(0).measure(0, 0).circuit()
    seen = Counter()
    for seed in range(4000):
        memory = orjson.loads(simulator.sample_text(circuit, 3, seed=seed, memory=True).memory)
        seen["".join(memory)] += 1
    assert len(seen) == 8
    expected = 4000 / 8
    chi_square = sum((count - expected) ** 2 / expected for count in seen.values())
    assert chi_square < 24.3  # 7 degrees of freedom, p = 0.001


def test_shots_do_not_correlate_with_their_place():
    b = Builder(2, ("c", 2)).h(0).measure(0, 0)  # a branch on the way, and one on what it gave
    b.jump_if_bit_is_zero(0, 5).x(1).measure(1, 1)
    memory = orjson.loads(simulator.sample_text(b.circuit(), 20_000, seed=1, memory=True).memory)
    assert set(memory) == {"00", "11"}
    ones = np.array([bits == "11" for bits in memory])
    assert abs(ones[:10_000].mean() - ones[10_000:].mean()) < 5 * np.sqrt(2 * 0.25 / 10_000)
    runs = np.count_nonzero(ones[1:] != ones[:-1])
    assert abs(runs - 10_000) < 5 * np.sqrt(5000)


@pytest.mark.parametrize("kernel", [statevector, stabilizer])
def test_the_same_memory_at_every_level(kernel):
    circuit = Builder(9, ("c", 9)).h(0).h(4).cx(4, 8).measure_all().circuit()
    fixed = (circuit.code, circuit.qubits, circuit.params, 9, 9, 0, circuit.cregs, 500, 7, None)
    extra = (1, 1 << 30) if kernel is statevector else (1 << 30,)
    texts = {kernel.sample(*fixed, *extra, level=level, form=2)[2] for level in kernel.LEVELS}
    assert len(texts) == 1


def test_writing_can_be_cancelled():
    circuit = Builder(1, ("c", 1)).h(0).measure(0, 0).circuit()
    with pytest.raises(simulator.JobCancelled):
        simulator.sample_text(circuit, 300_000, seed=1, memory=True, cancel=bytearray(b"\1"))


def test_the_driver_gives_memory_on_request():
    outcome = run(task(shots=50, options=DummyOptions(memory=True)))
    row = orjson.loads(rows.encoded([rows.good_row(outcome, {}, {}, "sync")]))[0]
    assert Counter(row["memory"]) == row["results"] == outcome.results
    plain = run(task(shots=50))
    assert plain.results == outcome.results
    assert "memory" not in rows.good_row(plain, {}, {}, "sync")


def test_memory_is_limited(monkeypatch):
    monkeypatch.setattr(counts_room, "MEMORY_BYTES", 500)
    assert run(task(shots=100, options=DummyOptions(memory=True))).results.memory is not None
    with pytest.raises(ResourceLimitError, match="at most 100 shots"):
        run(task(shots=101, options=DummyOptions(memory=True)))


def test_memory_of_what_aer_ran(monkeypatch):
    driver = DummyDriver(task().device)
    monkeypatch.setattr("qfast.drivers.aer.run_program", lambda *_a, **_k: ({"00": 30, "11": 20}, 2, False))
    job = task(BELL, shots=50, options=DummyOptions(memory=True))
    outcome = driver.run(AerProgram(BELL, "qasm2", "because"), job)
    assert Counter(orjson.loads(outcome.results.memory)) == {"00": 30, "11": 20}
    assert listed({"0": 5}, 1).memory == orjson.dumps(["0"] * 5)


def test_zero_counts_of_a_mapping_are_left_out():
    row = rows.good_row(Outcome({"0": 0, "1": 5}, 1), {}, {}, "sync")
    assert row["results"] == {"1": 5}


def test_memory_from_outside_must_agree_with_its_counts():
    good = {"results": {"0": 1, "1": 2, "00": 0}, "memory": ["1", "0", "1"]}
    (row,), status, _ = outside.read_results([good], 1)
    assert (row["memory"], status) == (["1", "0", "1"], "COMPLETED")
    for wrong in (["1", "0"], "101", [1, 0, 1], ["1", "0", "0"]):
        with pytest.raises(InvalidParams, match="memory"):
            outside.read_results([{**good, "memory": wrong}], 1)
