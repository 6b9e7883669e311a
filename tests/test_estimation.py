"""Expectation values against a slow twin and Qiskit, standard errors against an experiment, malformed observables."""

from __future__ import annotations

import json
import threading
from functools import reduce
from itertools import product
from math import inf, nan, sqrt

import circuit_builder as build
import numpy as np
import pytest
from circuit_builder import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast import estimation
from qfast._ext import statevector as kernel
from qfast.circuit import Circuit, Op
from qfast.errors import InvalidParams, JobCancelled, ResourceLimitError, TranspileError
from qfast.estimation import estimate, read_observables

MATRIX = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}
BIG = 1 << 32


def twin(c: Circuit, pauli: str) -> float:
    """<P> by the 2^n x 2^n matrix."""
    state = build.final_state(c)
    whole = reduce(np.kron, [MATRIX[p] for p in pauli], np.eye(1))
    return float(np.real(state.conj() @ whole @ state))


def values_at(c: Circuit, strings: list[str], level: str | None = None) -> np.ndarray:
    status, text, values = kernel.expectations(
        c.code, c.qubits, c.params, c.num_qubits, c.num_clbits, c.num_vars,
        "".join(strings).encode(), len(strings), None, 1, BIG, level,
    )  # fmt: skip
    assert (status, text) == (0, "")
    return values


def evs(c: Circuit, *observables: dict[str, float]) -> list[float]:
    return estimate(c, list(observables), shots=None, seed=0)[0]


def random_strings(num_qubits: int, count: int, seed: int, letters: str = "IXYZ") -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), num_qubits)) for _ in range(count)]


def scrambled(num_qubits: int, seed: int) -> Circuit:
    """Every qubit in superposition and entangled with others, with complex amplitudes."""
    rng = np.random.default_rng(seed)
    b = Builder(num_qubits)
    for _ in range(2):
        for q in rng.permutation(num_qubits).tolist():
            b.add(Op.U, [q], list(rng.uniform(0, 6, 3)))
        for q in range(num_qubits - 1):
            b.cx(q, q + 1)
    return b.circuit()


def by_numpy(state: np.ndarray, pauli: str) -> float:
    """<P> by index arithmetic, for states too large for matrices."""
    index = np.arange(len(state))
    letters = pauli[::-1]
    x = sum(1 << q for q, p in enumerate(letters) if p in "XY")
    z = sum(1 << q for q, p in enumerate(letters) if p in "YZ")
    sign = 1 - 2.0 * (np.bitwise_count(index & z) & 1)
    return float(np.real(1j ** letters.count("Y") * np.vdot(state[index ^ x], sign * state)))


# --- values


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4])
def test_every_string(num_qubits: int) -> None:
    strings = ["".join(letters) for letters in product("IXYZ", repeat=num_qubits)]
    c = scrambled(num_qubits, num_qubits)
    wanted = [twin(c, pauli) for pauli in strings]
    for level in kernel.LEVELS:
        np.testing.assert_allclose(values_at(c, strings, level), wanted, atol=1e-13)


@given(st.integers(1, 6), st.integers(0, 2**32), st.integers(0, 40), st.data())
@settings(deadline=None, max_examples=60)
def test_random_circuits_and_sums(num_qubits: int, seed: int, gates: int, data: st.DataObject) -> None:
    c = build.random_circuit(num_qubits, gates, seed).circuit()
    paulis = st.text("IXYZ", min_size=num_qubits, max_size=num_qubits)
    observables = data.draw(
        st.lists(st.dictionaries(paulis, st.floats(-10, 10), min_size=1, max_size=8), min_size=1, max_size=3)
    )
    values, stds = estimate(c, observables, shots=100, seed=seed)
    for observable, value, std in zip(observables, values, stds, strict=True):
        terms = [(a, twin(c, pauli)) for pauli, a in observable.items()]
        assert value == pytest.approx(sum(a * v for a, v in terms), abs=1e-10)
        assert std == pytest.approx(sqrt(sum(a * a * max(1 - v * v, 0) for a, v in terms) / 100), abs=1e-6)


@pytest.mark.parametrize("num_qubits", [5, 9, 10, 11, 13, 14, 15, 16])
def test_larger_states(num_qubits: int) -> None:
    """Runs, tiles and pairs of tiles: strings of all kinds, few and many per family."""
    c = scrambled(num_qubits, num_qubits)
    strings = random_strings(num_qubits, 30, 1) + random_strings(num_qubits, 60, 2, "IZ")
    for base in random_strings(num_qubits, 3, 3, "IX"):  # one x each, many z
        flips = random_strings(num_qubits, 12, 4, "IZ")
        strings += ["".join({"XZ": "Y", "XI": "X"}.get(a + b, b) for a, b in zip(base, f, strict=True)) for f in flips]
    for q in range(num_qubits):
        for p in "XYZ":
            strings.append("I" * (num_qubits - 1 - q) + p + "I" * q)
    state = build.final_state(c)
    wanted = [by_numpy(state, pauli) for pauli in strings]
    first, *others = [values_at(c, strings, level) for level in kernel.LEVELS]
    np.testing.assert_allclose(first, wanted, atol=1e-13)
    assert all(np.array_equal(first, other) for other in others)


def test_one_string_alone_or_among_others() -> None:
    c = scrambled(11, 5)
    strings = random_strings(11, 200, 6, "IZ")
    together = values_at(c, strings)
    np.testing.assert_allclose([values_at(c, [pauli])[0] for pauli in strings], together, atol=1e-14)


def test_known_qubits() -> None:
    """Qubits that are idle or in a basis state do not occupy the vector."""
    b = Builder(40).x(3).h(7).cx(7, 20)
    c = b.circuit()

    def at(**letters: str) -> str:
        return "".join(letters.get(f"q{q}", "I") for q in reversed(range(40)))

    assert evs(c, {at(q3="Z"): 1}, {at(q2="Z"): 1}, {at(q3="Z", q5="Z"): 2}) == [-1, 1, -2]
    assert evs(c, {at(q3="X"): 1}, {at(q2="Y"): 1}, {at(q7="X", q20="X", q3="X"): 1}) == [0, 0, 0]
    assert evs(
        c, {at(q7="X", q20="X"): 1}, {at(q7="Y", q20="Y"): 1}, {at(q7="Z", q20="Z", q3="Z"): 1}
    ) == pytest.approx([1, -1, -1])
    assert evs(c, {at(): 2.5, at(q7="X"): 1}) == pytest.approx([2.5])
    assert evs(Builder(2).circuit(), {"ZZ": 1, "XI": 3}) == [1]


def test_final_measurements_are_left_out() -> None:
    b = Builder(2, ("c", 2)).h(0).cx(0, 1).measure_all()
    assert evs(b.circuit(), {"XX": 1, "ZZ": 1}) == pytest.approx([2])


def test_first_resets_are_left_out() -> None:
    b = Builder(2).reset(0).add(Op.BARRIER, [0, 1]).reset(1)
    assert evs(b.circuit(), {"ZZ": 3}) == [3]
    assert evs(b.h(0).cx(0, 1).circuit(), {"XX": 1, "ZZ": 1}) == pytest.approx([2])
    with pytest.raises(TranspileError, match="final state"):
        evs(b.reset(1).circuit(), {"ZZ": 3})


@pytest.mark.parametrize("seed", range(3))
def test_against_qiskit(seed: int) -> None:
    info = pytest.importorskip("qiskit.quantum_info")
    n = 4 + 2 * seed
    c = scrambled(n, seed)
    rng = np.random.default_rng(seed)
    sums = [
        dict(zip(random_strings(n, 10, 10 * seed + j), rng.normal(size=10).tolist(), strict=True)) for j in range(4)
    ]
    state = info.Statevector(build.final_state(c))
    wanted = [state.expectation_value(info.SparsePauliOp.from_list(list(terms.items()))).real for terms in sums]
    assert evs(c, *sums) == pytest.approx(wanted, abs=1e-12)


def test_nothing_asked() -> None:
    assert estimate(scrambled(3, 1), [], shots=10, seed=0) == ([], [])


def test_rounding_of_long_circuits_is_divided_out() -> None:
    c = build.random_circuit(6, 5000, 2).circuit()
    values = values_at(c, ["I" * 6, *random_strings(6, 200, 3)])
    assert values[0] == 1
    assert np.all(np.abs(values) <= 1)


# --- standard errors


def test_standard_errors_are_those_of_an_experiment() -> None:
    """2,000 repetitions of estimating each string from shots of its own. A sample variance of nearly normal numbers has the
    relative variance 2 / (repetitions - 1); six standard deviations of it are allowed."""
    c = scrambled(5, 8)
    observable = dict(zip(random_strings(5, 12, 9), np.linspace(-1, 2, 12).tolist(), strict=True))
    shots, repetitions = 200, 2000
    (value,), (std,) = estimate(c, [observable], shots=shots, seed=0)
    rng = np.random.default_rng(1)
    means = np.zeros(repetitions)
    for pauli, a in observable.items():
        up = (1 + twin(c, pauli)) / 2
        means += a * (2 * rng.binomial(shots, np.clip(up, 0, 1), repetitions) / shots - 1)
    assert means.mean() == pytest.approx(value, abs=6 * std / sqrt(repetitions))
    assert means.var(ddof=1) / std**2 == pytest.approx(1, abs=6 * sqrt(2 / (repetitions - 1)))


def test_standard_errors_follow_the_shots() -> None:
    c = scrambled(3, 1)
    terms = {"XYZ": 1.0, "ZZI": -2.0}
    few, many, none = (estimate(c, [terms], shots=shots, seed=0) for shots in (100, 10_000, None))
    assert few[0] == many[0] == none[0]
    assert few[1][0] == pytest.approx(10 * many[1][0])
    assert none[1] == [0]
    assert estimate(c, [{"III": 5.0}], shots=1, seed=0) == ([5.0], [0.0])
    with pytest.raises(ValueError, match="shots"):
        estimate(c, [terms], shots=0, seed=0)


def test_large_coefficients_stay_finite() -> None:
    c = scrambled(3, 2)
    terms = dict.fromkeys(["".join(letters) for letters in product("IXYZ", repeat=3)], 1e300)
    values, stds = estimate(c, [terms], shots=1, seed=0)
    assert np.isfinite(values).all()
    assert np.isfinite(stds).all()


# --- refusals


@pytest.mark.parametrize(
    "c",
    [
        Builder(1, ("c", 1)).h(0).measure(0, 0).h(0).circuit(),
        Builder(1).h(0).reset(0).circuit(),
        Builder(1, ("c", 1)).h(0).measure(0, 0).jump_if_bit_is_zero(0, 5).x(0).add(Op.END).circuit(),
    ],
)
def test_no_single_final_state(c: Circuit) -> None:
    with pytest.raises(TranspileError, match="final state"):
        estimate(c, [{"Z": 1.0}], shots=None, seed=0)


def test_lengths_must_match() -> None:
    with pytest.raises(TranspileError, match=r"3 characters.*2 qubits") as caught:
        estimate(Builder(2).h(0).circuit(), [{"ZZ": 1.0}, {"ZZZ": 1.0}], shots=None, seed=0)
    assert caught.value.code == -103


def test_limits() -> None:
    c = scrambled(12, 1)
    with pytest.raises(ResourceLimitError):
        estimate(c, [{"Z" * 12: 1.0}], shots=None, seed=0, max_bytes=1 << 12)
    with pytest.raises(JobCancelled):
        estimate(c, [{"Z" * 12: 1.0}], shots=None, seed=0, cancel=bytearray(b"\1"))


def test_cancelled_on_the_way() -> None:
    c = scrambled(18, 1)
    flag = bytearray(1)
    strings = random_strings(18, 20_000, 1)  # seconds, if nothing stopped it
    timer = threading.Timer(0.05, flag.__setitem__, (0, 1))
    timer.start()
    with pytest.raises(JobCancelled):
        estimate(c, [dict.fromkeys(strings, 1.0)], shots=None, seed=0, cancel=flag)
    timer.join()


@pytest.mark.parametrize(
    ("paulis", "count"), [(b"ZZZ", 2), (b"", 1), (b"ZA", 1), (b"zz", 1), (b"Z\0", 1), (b"ZZ", -1), (b"", 1 << 40)]
)
def test_the_kernel_refuses_malformed_strings(paulis: bytes, count: int) -> None:
    c = Builder(2).h(0).cx(0, 1).circuit()
    with pytest.raises(ValueError, match="Pauli"):
        kernel.expectations(c.code, c.qubits, c.params, 2, 0, 0, paulis, count, None, 1, BIG)
    with pytest.raises(ValueError, match="malformed circuit"):
        kernel.expectations(c.code[:-1], c.qubits, c.params, 2, 0, 0, b"ZZ", 1, None, 1, BIG)
    with pytest.raises(ValueError, match="malformed circuit"):
        kernel.expectations(c.code, c.qubits, c.params, 1, 0, 0, b"Z", 1, None, 1, BIG)


# --- the field


def test_read_observables() -> None:
    assert read_observables([{"XX": 1, "ZZ": -0.5}, [{"Z": 1}, {"X": 2, "Y": 0}]], 2) == [
        [{"XX": 1.0, "ZZ": -0.5}],
        [{"Z": 1.0}, {"X": 2.0, "Y": 0.0}],
    ]
    assert read_observables([{"I" * 4096: 1}], 1) == [[{"I" * 4096: 1.0}]]
    assert read_observables([], 0) == []


@pytest.mark.parametrize(
    ("value", "loc"),
    [
        (None, []),
        ({"XX": 1}, []),
        ("XX", []),
        ([], []),
        ([{"X": 1}, {"X": 1}], []),
        ([None], ["0"]),
        ([{}], ["0"]),
        ([[]], ["0"]),
        ([3], ["0"]),
        (["XX"], ["0"]),
        ([[{"X": 1}, {}]], ["0", "1"]),
        ([[[{"X": 1}]]], ["0", "0"]),
        ([["X"]], ["0", "0"]),
        ([{"": 1}], ["0"]),
        ([{"XA": 1}], ["0"]),
        ([{"xx": 1}], ["0"]),
        ([{"X X": 1}], ["0"]),
        ([{"X\N{FULLWIDTH LATIN CAPITAL LETTER Z}": 1}], ["0"]),
        ([{"X": 1, "XX": 1}], ["0"]),
        ([[{"X": 1}, {"XX": 1}]], ["0", "1"]),
        ([{"X" * 4097: 1}], ["0"]),
        ([{"X": None}], ["0", "X"]),
        ([{"X": True}], ["0", "X"]),
        ([{"X": "1"}], ["0", "X"]),
        ([{"X": [1, 0]}], ["0", "X"]),
        ([{"X": {"re": 1}}], ["0", "X"]),
        ([{"X": nan}], ["0", "X"]),
        ([{"X": inf}], ["0", "X"]),
        ([{"X": -inf}], ["0", "X"]),
        ([{"X": 10**400}], ["0", "X"]),
        ([{"X": -(10**5000)}], ["0", "X"]),
        ([{"X": 1.1e300}], ["0", "X"]),
        ([[{"X": 1}, {"Z": True}]], ["0", "1", "Z"]),
        ([[{"X": 1}] * 1001], ["0"]),
        ([[{f"{j:017b}".replace("0", "X").replace("1", "Z"): 1 for j in range(100_001)}]], []),
    ],
)
def test_malformed_observables(value: object, loc: list[str]) -> None:
    with pytest.raises(InvalidParams, match="observables") as caught:
        read_observables(value, 1)
    data = caught.value.as_dict()["data"]
    assert data["errors"][0]["loc"] == ["body", "observables", *loc]
    assert len(json.dumps(data, allow_nan=False)) < 2000


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text("XZIYa"),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text("XZIYa"), inner)), st.integers(0, 2))  # fmt: skip
@settings(deadline=None)
def test_anything_is_read_or_refused(value: object, count: int) -> None:
    try:
        read = read_observables(value, count)
    except InvalidParams as error:
        json.dumps(error.as_dict(), allow_nan=False)
    else:
        assert len(read) == count
        assert all(len({len(pauli) for terms in entry for pauli in terms}) == 1 for entry in read)


def test_strings_beside_the_limit_of_terms() -> None:
    paulis = {f"{j:017b}".replace("0", "X").replace("1", "Z"): 1 for j in range(estimation.MAX_TERMS)}
    assert len(read_observables([paulis], 1)[0][0]) == 100_000
