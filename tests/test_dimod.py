"""The dimod sampler: dimod's own kit, in this process and over a real server; labels, vartypes, energies, refusals."""

from __future__ import annotations

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dimod
import dimod.testing
import numpy as np
import pytest
from conftest import RunningServer
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast import errors
from qfast.client import Client
from qfast.dimod import IN_PROCESS, QfastSampler

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=[IN_PROCESS, "server"])
def sampler(request: pytest.FixtureRequest) -> Iterator[QfastSampler]:
    """One sampler of each kind."""
    if request.param == IN_PROCESS:
        yield QfastSampler(IN_PROCESS)
    else:
        running: RunningServer = request.getfixturevalue("server")
        with QfastSampler(running.url) as sampler:
            yield sampler


@pytest.fixture
def local() -> QfastSampler:
    return QfastSampler(IN_PROCESS)


# ---------------------------------------------------------------------- dimod's kit


@dimod.testing.load_sampler_bqm_tests(lambda: QfastSampler(IN_PROCESS))
class TestKitInProcess(unittest.TestCase):
    """What dimod asks of every sampler."""


class ServedSampler(QfastSampler):
    """The sampler that the kit makes, of the server that is running by then."""

    url = ""

    def __init__(self) -> None:
        super().__init__(Client("http://127.0.0.1:1"))

    def sample(self, bqm: Any, *args: Any, **kwargs: Any) -> dimod.SampleSet:
        self._client = Client(self.url)
        try:
            return super().sample(bqm, *args, **kwargs)
        finally:
            self._client.close()


@dimod.testing.load_sampler_bqm_tests(ServedSampler)
class TestKitOverTheWire(unittest.TestCase):
    """The same through a server."""

    @pytest.fixture(autouse=True)
    def _served(self, server: RunningServer) -> None:
        ServedSampler.url = server.url


def test_the_kit_is_whole() -> None:
    for kit in (TestKitInProcess, TestKitOverTheWire):
        assert sum(name.startswith("test_sample") for name in vars(kit)) == 32


def test_api(sampler: QfastSampler) -> None:
    dimod.testing.assert_sampler_api(sampler)
    for name, properties in sampler.parameters.items():
        assert not set(properties) - set(sampler.properties), name


# ---------------------------------------------------------------------- models

BIASES = st.integers(-50, 50) | st.floats(-50, 50, width=32)


@st.composite
def models(draw: st.DrawFn) -> Any:
    labels = draw(
        st.lists(st.integers(-(2**62), 2**62) | st.text(max_size=3) | st.tuples(st.integers()), unique=True, max_size=7)
    )
    kind = draw(st.sampled_from([dimod.DictBQM, dimod.Float32BQM, dimod.Float64BQM]))
    bqm = kind(draw(st.sampled_from(["SPIN", "BINARY"])))
    for label in labels:
        bqm.add_linear(label, draw(BIASES))
    for _ in range(draw(st.integers(0, 12)) if len(labels) > 1 else 0):
        u, v = draw(st.lists(st.sampled_from(labels), min_size=2, max_size=2, unique=True))
        bqm.add_quadratic(u, v, draw(BIASES))
    bqm.offset = draw(BIASES)
    return bqm


@settings(deadline=None, max_examples=80)
@given(models())
def test_against_every_state(bqm: Any) -> None:
    found = QfastSampler(IN_PROCESS).sample(bqm)
    dimod.testing.assert_sampleset_energies(found, bqm, precision=3)
    assert found.vartype is bqm.vartype
    assert set(found.variables) == set(bqm.variables)
    assert found.info["proven_optimal"]
    assert (found.record.num_occurrences >= 1).all()
    if bqm.num_variables:
        energies = np.sort(dimod.ExactSolver().sample(bqm).record.energy)[:10]
        np.testing.assert_allclose(np.sort(found.record.energy), energies, rtol=1e-5, atol=1e-3)
    else:
        assert found.first.energy == bqm.offset


def test_both_ways_give_the_same(server: RunningServer) -> None:
    bqm = dimod.generators.gnp_random_bqm(90, 0.2, "SPIN", random_state=3)
    arguments = {"seed": 5, "sweeps": 200, "num_reads": 2, "num_replicas": 32}
    here = QfastSampler(IN_PROCESS).sample(bqm, **arguments)
    there = QfastSampler(server.client, tags=["dimod"]).sample(bqm, **arguments)
    assert here.variables == there.variables
    assert (here.record == there.record).all()
    for found in (here, there):
        assert found.info["seed"] == 5
        assert found.info["sweeps"] >= 400  # of both reads
        assert found.info["solver"] in ("tabu_search", "parallel_tempering")
        assert not found.info["proven_optimal"]
        assert 0 <= found.info["timing"]["solve"] <= found.info["timing"]["total"]
    assert server.client.get_job_status(there.info["job_id"])["tags"] == ["dimod"]


def test_time_limit_and_random_seed(sampler: QfastSampler) -> None:
    bqm = dimod.generators.ran_r(3, 30, seed=1)
    first, second = (sampler.sample(bqm, time_limit=0.05).info["seed"] for _ in range(2))
    assert first != second


def test_a_planted_minimum_is_found(sampler: QfastSampler) -> None:
    state = np.random.default_rng(2).choice([-1, 1], 60)
    bqm = dimod.BinaryQuadraticModel({}, {(i, j): -state[i] * state[j] for i in range(60) for j in range(i)}, 7, "SPIN")
    found = sampler.sample(bqm, sweeps=100, seed=1)
    assert found.first.energy == 7 - 60 * 59 / 2


def test_ising_and_qubo(sampler: QfastSampler) -> None:
    ising = sampler.sample_ising({"a": 1}, {("a", "b"): -2}, seed=1)
    assert (ising.first.energy, dict(ising.first.sample)) == (-3, {"a": -1, "b": -1})
    qubo = sampler.sample_qubo({(0, 0): -1, (0, 1): 2, (1, 0): 1, (1, 1): -1})
    assert qubo.first.energy == -1
    assert qubo.vartype is dimod.BINARY


def test_answers_can_be_stored(sampler: QfastSampler) -> None:
    found = sampler.sample_qubo({("a", "b"): -1}, seed=3)
    stored = json.dumps(found.to_serializable())
    assert dimod.SampleSet.from_serializable(json.loads(stored)) == found


def test_in_composites(local: QfastSampler) -> None:
    bqm = dimod.BinaryQuadraticModel({"a": 1, "b": -1}, {"ab": 0.5}, 0, "SPIN")
    assert dimod.TrackingComposite(local).sample(bqm).first.energy == -2.5
    assert len(dimod.TruncateComposite(local, 2).sample(bqm)) == 2


# ---------------------------------------------------------------------- refusals


def test_unknown_parameters_are_ignored_with_a_warning(sampler: QfastSampler) -> None:
    with pytest.warns(dimod.exceptions.SamplerUnknownArgWarning, match="annealing_time"):
        found = sampler.sample_qubo({(0, 0): -1}, annealing_time=20)
    assert found.first.energy == -1


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_reads": 0},
        {"num_reads": True},
        {"num_reads": 1.5},
        {"time_limit": 0},
        {"time_limit": float("nan")},
        {"time_limit": "1"},
        {"sweeps": 0},
        {"num_replicas": 257},
        {"seed": -1},
        {"seed": 2**53},
    ],
    ids=str,
)
def test_parameters_out_of_range(local: QfastSampler, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        local.sample_qubo({(0, 0): -1}, **wrong)


@pytest.mark.parametrize("bias", [float("nan"), float("inf"), 1e308])
def test_biases_beyond_float64(sampler: QfastSampler, bias: float) -> None:
    with pytest.raises(ValueError, match="beyond float64"):
        sampler.sample_ising({0: bias}, {(0, 1): bias})


def test_job_fields_need_a_server() -> None:
    with pytest.raises(TypeError, match="job_priority"):
        QfastSampler(IN_PROCESS, job_priority=1)


def test_the_server_refuses(server: RunningServer) -> None:
    with pytest.raises(errors.NotFound, match="nowhere"):
        QfastSampler(server.url, backend="nowhere").sample_qubo({(0, 0): -1})


def test_a_wait_without_answer_cancels_the_job(server: RunningServer) -> None:
    slow = QfastSampler(server.client, timeout=0.05, tags=["slow"], driver_options={"sleep": 60})
    with pytest.raises(TimeoutError):
        slow.sample_qubo({(0, 0): -1}, seed=1)
    (job,) = server.client.get_jobs(tags=["slow"])
    assert server.client.wait(job["job_id"], 20)["job_status"] == "CANCELLED"


def test_ctrl_c_stops_the_solver(local: QfastSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    def solve(*_: Any, cancel: bytearray, **__: Any) -> Any:
        _thread.interrupt_main()
        while not cancel[0]:
            os.sched_yield()
        stopped.set()
        raise errors.JobCancelled

    monkeypatch.setattr("qfast.qubo.solve", solve)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            local.sample_qubo({(0, 0): -1})
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.wait(20)


# ---------------------------------------------------------------------- an extra, and no more


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_dimod_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['dimod'] = None\ntry: import qfast.dimod\nexcept ImportError as e: print(e)"
    assert "pip install 'qfast[dimod]'" in run(code)


def test_the_core_never_loads_it() -> None:
    code = "import sys, qfast.app, qfast.cli, qfast.engine, qfast.client; print('dimod' in sys.modules)"
    assert run(code) == "False"


def test_example(server: RunningServer) -> None:
    for arguments in ([], [server.url]):
        line = [sys.executable, str(ROOT / "examples" / "qubo_dimod.py"), *arguments]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.stdout == "16 of 18 edges are cut, energy -14, proven: True\n", done.stderr
