"""The Qiskit provider against a real server: backends, jobs, a sampler and an estimator, and Qiskit's own wrappers on top."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import ASYNC_BACKEND, NARROW_BACKEND, RunningServer
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Clbit, Parameter, ParameterVector
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2, StatevectorEstimator, StatevectorSampler
from qiskit.providers import JobStatus
from qiskit.quantum_info import SparseObservable, SparsePauliOp, hellinger_fidelity

from qfast import errors
from qfast.client import JobFailed
from qiskit_qfast import EstimatorOptions, EstimatorV2, QfastBackend, QfastProvider, SamplerV2


@pytest.fixture(scope="module")
def provider(server: RunningServer) -> QfastProvider:
    return QfastProvider(server.url)


@pytest.fixture(scope="module")
def backend(provider: QfastProvider) -> QfastBackend:
    return provider.get_backend("dummy")


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, name="bell", metadata={"run": 7})
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def ansatz(width: int = 3) -> QuantumCircuit:
    angles = ParameterVector("θ", 2 * width)
    circuit = QuantumCircuit(width)
    for k in range(width):
        circuit.ry(angles[k], k)
    for k in range(width - 1):
        circuit.cx(k, k + 1)
    for k in range(width):
        circuit.rz(angles[width + k], k)
        circuit.rx(0.3, k)
    return circuit


def test_the_provider_lists_and_finds(provider):
    names = [backend.name for backend in provider.backends()]
    assert {"dummy", NARROW_BACKEND, ASYNC_BACKEND} <= set(names)
    assert [backend.name for backend in provider.backends("dummy")] == ["dummy"]
    assert provider.backends(min_num_qubits=10_000) == []
    assert all(backend.operational for backend in provider.backends(operational=True))
    assert [backend.name for backend in provider.backends(filters=lambda one: one.name == "dummy")] == ["dummy"]
    with pytest.raises(errors.NotFound):
        provider.get_backend("nowhere")


def test_a_backend_has_a_true_target(backend):
    assert backend.num_qubits == 28
    assert {"h", "cx", "ccx", "measure", "reset", "if_else", "while_loop"} <= set(backend.target.operation_names)
    circuit = transpile(bell(), backend, optimization_level=1)
    assert circuit.count_ops()["cx"] == 1
    assert backend.options.shots == 1024
    with pytest.raises(ValueError, match="shots"):
        backend.set_options(shots=0)


def test_the_target_of_a_device_with_a_coupling_map():
    from qiskit_qfast.backend import target_of

    configs = {"basis_gates": ["cz", "rz", "sx", "x"], "coupling_map": [[0, 1], [1, 2]]}
    target = target_of({"name": "line", "max_qubits": 3, "configs": configs})
    assert target.num_qubits == 3
    assert set(target["cz"]) == {(0, 1), (1, 2)}
    assert set(target["sx"]) == {(0,), (1,), (2,)}
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 2)
    done = transpile(circuit, target=target, seed_transpiler=1)
    assert {instruction.operation.name for instruction in done.data} <= {"cz", "rz", "sx", "x"}


def test_run_counts_memory_and_header(backend):
    job = backend.run(bell(), shots=500, seed=3, memory=True, tags=["qk"], priority=2)
    result = job.result(timeout=60)
    counts = result.get_counts()
    assert job.status() is JobStatus.DONE
    assert set(counts) <= {"00", "11"}
    assert sum(counts.values()) == 500
    memory = result.get_memory()
    assert len(memory) == 500
    assert {key: memory.count(key) for key in counts} == counts
    assert result.results[0].header["metadata"] == {"run": 7}
    again = backend.run(bell(), shots=500, seed=3).result(timeout=60)
    assert again.get_counts() == counts
    with pytest.raises(Exception, match="memory"):
        again.get_memory()


def test_several_circuits_in_one_job(backend):
    flip = QuantumCircuit(1, 1, name="flip")
    flip.x(0)
    flip.measure(0, 0)
    result = backend.run([bell(), flip], shots=100).result(timeout=60)
    assert result.get_counts("flip") == {"1": 100}
    assert sum(result.get_counts("bell").values()) == 100


def registers() -> QuantumCircuit:
    """Bits in registers, loose ones, and a register that shares a bit."""
    first, second = ClassicalRegister(2, "a"), ClassicalRegister(1, "b")
    circuit = QuantumCircuit(QuantumRegister(3, "q"), [Clbit()], first, second)
    circuit.x(0)
    circuit.x(2)
    circuit.measure(0, 0)
    circuit.measure(1, first[0])
    circuit.measure(2, first[1])
    circuit.measure(1, second[0])
    return circuit


def test_classical_registers_read_as_in_qiskit(backend):
    circuit = registers()
    result = backend.run(circuit, shots=10).result(timeout=60)
    assert result.data()["counts"] == {hex(0b0101): 10}
    overlap = QuantumCircuit(2)
    one = ClassicalRegister(2, "one")
    two = ClassicalRegister(bits=[one[1], Clbit()], name="two")
    overlap.add_register(one, two)
    overlap.x(0)
    overlap.measure(0, one[1])
    overlap.measure(0, two[1])
    pub = SamplerV2(backend).run([overlap], shots=10).result(timeout=60)[0]
    assert pub.data.one.get_counts() == {"10": 10}
    assert pub.data.two.get_counts() == {"11": 10}


def test_dynamic_circuits(backend):
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.reset(1)
    circuit.measure(1, 1)
    counts = backend.run(circuit, shots=200, seed=1).result(timeout=60).get_counts()
    assert set(counts) == {"00", "11"}


def test_jobs_are_found_again(provider, backend):
    job = backend.run(bell(), shots=300, seed=2)
    first = job.result(timeout=60)
    again = provider.job(job.job_id()).result(timeout=60)
    assert again.get_counts() == first.get_counts()
    assert again.results[0].header == first.results[0].header
    sampled = SamplerV2(backend).run([bell()], shots=50)
    found = provider.primitive_job(sampled.job_id()).result(timeout=60)
    assert np.array_equal(found[0].data.meas.array, sampled.result(timeout=60)[0].data.meas.array)
    with pytest.raises(errors.NotFound):
        provider.job("00000000-0000-4000-8000-0000000000ff")


def test_a_job_of_another_client_is_read(provider, server):
    job_id = server.client.submit_job("OPENQASM 2.0; qreg q[2]; creg a[1]; creg b[1]; measure q[0]->a[0];", shots=5)[
        "job_id"
    ]
    assert provider.job(job_id).result(timeout=60).get_counts() == {"0 0": 5}


def test_cancel_and_failure(provider, backend):
    narrow = provider.get_backend(NARROW_BACKEND)
    job = narrow.run(bell(), driver_options={"sleep": 60})
    assert job.cancel()
    with pytest.raises(JobFailed, match="CANCELLED"):
        job.result(timeout=60)
    assert job.status() is JobStatus.CANCELLED
    wide = QuantumCircuit(60)
    wide.t(range(60))
    wide.h(range(60))
    failed = backend.run(wide)
    failed.wait_for_final_state(timeout=60)
    assert failed.status() is JobStatus.ERROR
    assert "60 qubits" in str(failed.error_message())


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((["text"], {}), TypeError, "takes circuits"),
        ((bell(), {"shotz": 3}), TypeError, "no option of run"),
        ((ansatz(), {}), ValueError, "free parameters"),
        ((bell(), {"shots": 0}), errors.InvalidParams, "shots"),
        ((bell(), {"driver_options": {"nope": 1}}), errors.InvalidParams, "nope"),
    ],
)
def test_what_run_refuses(backend, arguments, error, words):
    with pytest.raises(error, match=words):
        backend.run(arguments[0], **arguments[1])


# ------------------------------------------------------------------ primitives


def test_all_pubs_of_a_sampler_are_one_job(backend, server):
    circuit = ansatz().copy()
    circuit.measure_all()
    values = np.linspace(0, 1, 12).reshape(2, 6)
    job = SamplerV2(backend, {"seed": 11}).run([(circuit, values), bell()], shots=4000)
    assert len(job.job_ids()) == 1
    result = job.result(timeout=60)
    assert result[0].data.meas.shape == (2,)
    assert result[0].data.meas.num_shots == 4000
    exact = StatevectorSampler(seed=1).run([(circuit, values)], shots=4000).result()[0]
    for row in range(2):
        assert hellinger_fidelity(result[0].data.meas[row].get_counts(), exact.data.meas[row].get_counts()) > 0.98
    assert set(result[1].data.meas.get_counts()) == {"00", "11"}
    assert result[1].metadata["circuit_metadata"] == {"run": 7}


def test_registers_stay_joined_shot_by_shot(backend):
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "a"), ClassicalRegister(9, "b"))
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    circuit.measure(1, 9)
    data = SamplerV2(backend).run([circuit], shots=300).result(timeout=60)[0].data
    assert data.b.num_bits == 9
    assert set(data.b.get_counts()) == {"000000000", "100000000"}
    assert np.array_equal(data.a.to_bool_array()[:, 0], data.b.to_bool_array(order="little")[:, 8])
    assert 50 < data.a.get_counts()["1"] < 250


def test_shots_of_each_pub(backend):
    job = SamplerV2(backend).run([(bell(), None, 100), (bell(), None, 200), (bell(), None, 100)])
    assert len(job.job_ids()) == 2
    assert [pub.data.meas.num_shots for pub in job.result(timeout=60)] == [100, 200, 100]


def test_estimates_agree_with_the_exact_ones(backend):
    circuit = ansatz()
    values = np.random.default_rng(5).uniform(-3, 3, (4, 1, 6))
    operators: list[Any] = [
        SparsePauliOp(["ZZI", "XIY"], [1.0, -0.5]),
        {"0+r": 2.0, "III": 0.25},
        {"YYX": 1.5},
    ]
    pubs: list[Any] = [(circuit, operators, values), (circuit, operators[0], values[0, 0]), (bell(), "ZZ")]
    job = EstimatorV2(backend).run(pubs[:2], precision=0.01)
    assert len(job.job_ids()) == 1
    result = job.result(timeout=60)
    projectors = SparseObservable.from_list(list(operators[1].items()))  # the reference knows none
    operators[1] = SparsePauliOp.from_sparse_observable(projectors)
    exact = StatevectorEstimator().run([(circuit, operators, values), pubs[1]]).result()
    assert result[0].data.evs.shape == (4, 3)
    for mine, theirs in zip(result, exact, strict=True):
        np.testing.assert_allclose(mine.data.evs, theirs.data.evs, atol=1e-9)
    assert result[0].metadata["target_precision"] == pytest.approx(0.01)
    assert (result[0].data.stds > 0).all()
    assert EstimatorV2(backend).run(pubs[2:]).result(timeout=60)[0].data.evs == pytest.approx(1.0)


def test_values_and_observables_that_go_in_pairs(backend):
    circuit = ansatz()
    values = np.random.default_rng(6).uniform(-3, 3, (5, 6))
    operators = [SparsePauliOp(label) for label in ("ZII", "IZI", "IIZ", "XXX", "YYY")]
    mine = EstimatorV2(backend).run([(circuit, operators, values)]).result(timeout=60)[0]
    theirs = StatevectorEstimator().run([(circuit, operators, values)]).result()[0]
    np.testing.assert_allclose(mine.data.evs, theirs.data.evs, atol=1e-9)


def test_a_session_takes_the_primitives(backend):
    with backend.open_session(max_time=60, mode="batch") as session:
        SamplerV2(session).run([bell()], shots=10).result(timeout=60)
        EstimatorV2(session, EstimatorOptions(default_precision=0.1)).run([(ansatz(), "ZZZ", [0.1] * 6)]).result(
            timeout=60
        )
        assert session.details()["jobs"] == {"COMPLETED": 2}
    assert not session.details()["accepting_jobs"]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda b: SamplerV2(b, {"resilience": 1}), TypeError, "does not exist"),
        (lambda b: SamplerV2("dummy"), TypeError, "mode"),
        (lambda b: SamplerV2(b).run([]), ValueError, "no pub"),
        (lambda b: SamplerV2(b).run([ansatz().assign_parameters([0.0] * 6)]), ValueError, "measures nothing"),
        (lambda b: SamplerV2(b, {"max_execution_time": -1}).run([bell()]), errors.InvalidParams, "max_execution_time"),
        (lambda b: EstimatorV2(b, {"default_precision": 0.0}).run([(bell(), "ZZ")]), ValueError, "positive"),
        (
            lambda b: EstimatorV2(b, EstimatorOptions(priority=11)).run([(bell(), "ZZ")]),
            errors.InvalidParams,
            "priority",
        ),
    ],
)
def test_what_the_primitives_refuse(backend, make, error, words):
    with pytest.raises(error, match=words):
        make(backend)


def test_qiskits_own_wrappers_run_on_the_backend(backend):
    circuit = ansatz()
    measured = circuit.copy()
    measured.measure_all()
    values = [0.4] * 6
    counts = BackendSamplerV2(backend=backend).run([(measured, values)], shots=2000).result()[0].data.meas.get_counts()
    assert sum(counts.values()) == 2000
    estimator = BackendEstimatorV2(backend=backend, options={"default_precision": 0.02, "seed_simulator": None})
    found = estimator.run([(circuit, "ZZI", values)]).result()[0].data.evs
    exact = StatevectorEstimator().run([(circuit, "ZZI", values)]).result()[0].data.evs
    assert abs(found - exact) < 0.2


def test_names_of_parameters_that_openqasm_does_not_know(backend):
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a b"), 0)
    circuit.measure_all()
    found = SamplerV2(backend).run([(circuit, [np.pi])], shots=20).result(timeout=60)
    assert found[0].data.meas.get_counts() == {"1": 20}


def test_the_core_does_not_import_the_provider():
    code = "import sys, qfast.app, qfast.cli, qfast.client; print([m for m in sys.modules if m.startswith('qiskit')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
