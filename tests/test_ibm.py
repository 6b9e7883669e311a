"""IBM's own client, unmodified, against a real server: service, backends, sessions, sampler, estimator, executor, jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import RunningServer
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager

runtime = pytest.importorskip("qiskit_ibm_runtime")
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::UserWarning")

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/qfast:qfast::"


def connected(url: str, token: str = "any") -> object:
    """A service of IBM's client that talks to this server alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"):
            patch.setenv(name, url)
        return runtime.QiskitRuntimeService(
            channel="ibm_quantum_platform",
            token=token,
            url=url,
            instance=CRN,
            url_resolver=lambda address, *_: address + "/api/v1",
        )


@pytest.fixture(scope="module")
def addresses(server: RunningServer) -> Iterator[None]:
    names = ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, server.url))
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="module")
def service(server, addresses):
    return connected(server.url)


@pytest.fixture(scope="module")
def backend(service):
    return service.backend("dummy")


def isa(backend, circuit: QuantumCircuit) -> QuantumCircuit:
    return generate_preset_pass_manager(1, backend=backend, seed_transpiler=1).run(circuit)


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, name="bell", metadata={"run": 7})
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def test_a_sampler_gets_counts(backend):
    result = runtime.SamplerV2(backend).run([isa(backend, bell())], shots=300).result()
    counts = result[0].data.meas.get_counts()
    assert set(counts) == {"00", "11"}
    assert sum(counts.values()) == 300
    assert result[0].metadata["circuit_metadata"] == {"run": 7}


def test_an_estimator_gets_exact_values(backend):
    angles = ParameterVector("θ", 3)
    circuit = QuantumCircuit(2)
    circuit.ry(angles[0], 0)
    circuit.cx(0, 1)
    circuit.rx(angles[1], 1)
    circuit.rz(angles[2], 0)
    operator = SparsePauliOp(["ZZ", "XI", "IY"], [1.0, 0.5, -2.0])
    values = np.random.default_rng(1).uniform(-3, 3, (4, 3))
    ready = isa(backend, circuit)
    pub = (ready, [[operator.apply_layout(ready.layout)], ["I" * ready.num_qubits]], values)
    found = runtime.EstimatorV2(backend).run([pub], precision=0.02).result()[0]
    exact = StatevectorEstimator().run([(circuit, [[operator], ["II"]], values)]).result()[0]
    np.testing.assert_allclose(found.data.evs, exact.data.evs, atol=1e-9)
    assert found.metadata["shots"] == 2500
