"""IBM's own client, unmodified, against a real server: service, backends, sessions, sampler, estimator, executor, jobs."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import RunningServer
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qpy
from qiskit.circuit import ParameterVector
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from test_access import kept

from qfast.demo import local_server
from qfast.ibm.retries import REMEMBERED, Attempts

runtime = pytest.importorskip("qiskit_ibm_runtime")
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::UserWarning")

ADDRESSES = ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL")
CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/qfast:qfast::"


def connected(url: str, token: str = "any") -> Any:
    """A service of IBM's client that talks to this server alone: the addresses are read when a client is made."""
    os.environ.update(dict.fromkeys(ADDRESSES, url))
    return runtime.QiskitRuntimeService(
        channel="ibm_quantum_platform",
        token=token,
        url=url,
        instance=CRN,
        url_resolver=lambda address, *_: address + "/api/v1",
    )


@pytest.fixture(scope="module", autouse=True)
def addresses() -> Iterator[None]:
    before = {name: os.environ.pop(name, None) for name in ADDRESSES}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def service(server):
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


def test_pubs_of_all_kinds_in_one_job(service, backend):
    """Registers by name, shots of each pub, sweeps in shape, circuits that branch, and one without parameters in a shape."""
    registers = QuantumCircuit(QuantumRegister(3), ClassicalRegister(1, "a"), ClassicalRegister(9, "b"))
    registers.x(0)
    registers.h(1)
    registers.measure([0, 1, 1], [0, 1, 9])
    branching = QuantumCircuit(2, 2)
    branching.h(0)
    branching.measure(0, 0)
    with branching.if_test((branching.clbits[0], 1)):
        branching.x(1)
    branching.measure(1, 1)
    sweep = QuantumCircuit(1)
    angle = ParameterVector("φ", 1)
    sweep.ry(angle[0], 0)
    sweep.measure_all()
    pubs = [
        (isa(backend, registers), None, 50),
        (isa(backend, branching),),
        (isa(backend, sweep), np.array([[[0.0], [np.pi], [0.0]], [[np.pi], [0.0], [np.pi]]]), 20),
        (isa(backend, bell()), [(), (), ()]),
    ]
    job = runtime.SamplerV2(backend, {"default_shots": 200, "simulator": {"seed_simulator": 5}}).run(pubs)
    first, second, third, fourth = job.result()
    assert first.data.a.get_counts() == {"1": 50}
    assert set(first.data.b.get_counts()) == {"000000000", "100000001"}
    assert set(second.data.c.get_counts()) == {"00", "11"}
    assert second.data.c.num_shots == 200
    assert third.data.meas.shape == (2, 3)
    assert third.data.meas.num_shots == 20
    assert [third.data.meas[k].get_counts() for k in np.ndindex(2, 3)] == [{"0": 20}, {"1": 20}] * 3
    assert fourth.data.meas.shape == (3,)
    assert fourth.data.meas[0].get_counts() != fourth.data.meas[1].get_counts()
    again = service.job(job.job_id()).result()
    assert np.array_equal(again[0].data.b.array, first.data.b.array)
    assert len(job.inputs["pubs"]) == 4


def test_an_executor_runs_plain_circuits(backend):
    sweep = QuantumCircuit(2)
    angle = ParameterVector("φ", 1)
    sweep.ry(angle[0], 1)
    sweep.measure_all()
    program = runtime.QuantumProgram(shots=30, passthrough_data={"mine": 1})
    program.append_circuit_item(isa(backend, sweep), circuit_arguments=np.array([[0.0], [np.pi]]))
    result = runtime.Executor(backend).run(program).result()
    assert result[0]["meas"].shape == (2, 30, 2)
    assert result[0]["meas"].sum(axis=1).tolist() == [[0, 0], [0, 30]]
    assert result.passthrough_data == {"mine": 1}


def test_sessions_and_batches(service, backend):
    ready = isa(backend, bell())
    with runtime.Session(backend, max_time="10m") as session:
        first = runtime.SamplerV2(session).run([ready], shots=10)
        first.result()
        assert session.status() == "In progress, accepting new jobs"
        assert session.details()["max_time"] == 600
        found = runtime.Session.from_id(session.session_id, service=service)
        assert found.session_id == session.session_id
        assert [job.job_id() for job in service.jobs(session_id=session.session_id)] == [first.job_id()]
    assert session.status() == "Closed"
    assert session.usage() >= 0
    with pytest.raises(runtime.exceptions.IBMRuntimeError):
        runtime.SamplerV2(session).run([ready])
    with pytest.raises(runtime.exceptions.IBMInputValueError):
        runtime.Batch.from_id(session.session_id, service=service)
    with pytest.raises(runtime.exceptions.IBMInputValueError):
        runtime.Session.from_id("00000000-0000-4000-8000-000000000000", service=service)
    with runtime.Batch(backend) as batch:
        runtime.SamplerV2(batch).run([ready], shots=10).result()
        batch.cancel()
    assert batch.details()["mode"] == "batch"
    assert batch.status() == "Closed"


def test_jobs_are_listed_counted_tagged_and_deleted(service, backend):
    ready = isa(backend, bell())
    mark = f"list-{os.getpid()}"
    sampler = runtime.SamplerV2(backend, {"environment": {"job_tags": [mark]}})
    made = [sampler.run([ready], shots=5) for _ in range(23)]
    for job in made:
        job.wait_for_final_state()
    ids = [job.job_id() for job in made]
    assert [job.job_id() for job in service.jobs(job_tags=[mark], limit=None)] == ids[::-1]
    assert [job.job_id() for job in service.jobs(job_tags=[mark], limit=3, skip=2, descending=False)] == ids[2:5]
    assert service.jobs(job_tags=[mark], pending=True) == []
    assert service.jobs(job_tags=[mark], program_id="estimator") == []
    assert len(service.jobs(job_tags=[mark], limit=50, pending=False, program_id="sampler")) == 23
    assert service.jobs(job_tags=[mark], created_after=made[-1].creation_date)[0].job_id() == ids[-1]
    made[0].update_tags([mark, "other"])
    assert sorted(service.job(ids[0]).tags) == [mark, "other"]  # the client sends them in any order
    assert [job.job_id() for job in service.jobs(job_tags=["other", mark])] == [ids[0]]
    assert made[0].metrics()["timestamps"]["finished"]
    assert "state Completed" in made[0].logs()
    service.delete_job(ids[0])
    with pytest.raises(runtime.exceptions.RuntimeJobNotFound):
        service.job(ids[0])
    assert len(service.jobs(job_tags=[mark], limit=None)) == 22
    with pytest.raises(runtime.exceptions.RuntimeInvalidStateError):
        made[1].cancel()


def test_an_ordinary_job_and_a_private_one(server, backend):
    sampler = runtime.SamplerV2(backend, {"environment": {"private": True, "job_tags": ["hidden"]}})
    job = sampler.run([isa(backend, bell())], shots=40)
    assert sum(job.result()[0].data.meas.get_counts().values()) == 40
    assert job.result() is None
    assert job.inputs == {}
    seen = server.client.get_job_status(job.job_id())
    assert seen["job_status"] == "COMPLETED"
    assert seen["tags"] == ["qiskit-ibm-runtime", "hidden"]
    assert "kept" not in seen


def test_running_jobs_are_cancelled_and_failures_told(service, server):
    narrow = service.backend("narrow")
    sleeper = server.client.submit_job("OPENQASM 2.0; qreg q[1];", backend="narrow", driver_options={"sleep": 60})
    job = runtime.SamplerV2(narrow).run([isa(narrow, bell())])
    assert job.status() == "QUEUED"
    job.cancel()
    assert job.status() == "CANCELLED"
    server.client.cancel_jobs([sleeper["job_id"]], force=True)
    dynamic = QuantumCircuit(1, 1)
    dynamic.measure(0, 0)
    dynamic.h(0)
    failed = runtime.EstimatorV2(narrow).run([(isa(narrow, dynamic), "I" * narrow.num_qubits)])
    with pytest.raises(
        runtime.exceptions.RuntimeJobFailureError, match="estimation needs a program without control flow"
    ):
        failed.result()


def test_a_restart_loses_nothing(tmp_path):
    """The result and the inputs of a job, and its client's view of it, are the same after a restart."""
    with local_server(tmp_path / "data") as (url, _):
        first = connected(url)
        device = first.backend("dummy")
        job = runtime.SamplerV2(device).run([isa(device, bell())], shots=25)
        before = job.result()[0].data.meas.array
    with local_server(tmp_path / "data") as (url, _):
        again = connected(url).job(job.job_id())
        assert again.status() == "DONE"
        assert np.array_equal(again.result()[0].data.meas.array, before)
        assert again.inputs["pubs"][0][0].name == "bell"


# ------------------------------------------------------------------ without the client


def post(server: RunningServer, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    return ask(server.url, "POST", path, body, **headers)


def ask(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    asked = urllib.request.Request(url + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def packed(circuit: QuantumCircuit) -> dict[str, str]:
    file = io.BytesIO()
    qpy.dump(circuit, file)
    return {"__type__": "QuantumCircuit", "__value__": base64.b64encode(zlib.compress(file.getvalue())).decode()}


def job_of(**fields: Any) -> bytes:
    params = {"pubs": [[packed(bell()), None, 10]], "options": {}, "version": 2, "support_qiskit": True}
    params |= fields.pop("params", {})
    return json.dumps({"program_id": "sampler", "backend": "dummy", "params": params, **fields}).encode()


BOMB = base64.b64encode(zlib.compress(bytes(257 << 20), 1)).decode()
OLD = base64.b64encode(zlib.compress(b"QISKIT\x05" + bytes(20))).decode()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "object"),
        (job_of(nope=1), 400, "nope"),
        (job_of(program_id="qaoa"), 404, "program"),
        (job_of(backend="nowhere"), 404, "nowhere"),
        (job_of(session_id="00000000-0000-4000-8000-000000000000"), 404, "session"),
        (job_of(params={"pubs": []}), 400, "no pub"),
        (job_of(params={"pubs": [1]}), 400, "pub 0"),
        (job_of(params={"more": 1}), 400, "params.more"),
        (job_of(params={"version": 1}), 400, "version"),
        (job_of(params={"options": {"default_shot": 5}}), 400, "did you mean 'default_shots'"),
        (job_of(params={"options": {"default_shots": 0}}), 400, "default_shots"),
        (job_of(params={"options": {"execution": {"meas_type": "kerneled"}}}), 400, "meas_type"),
        (job_of(params={"options": {"execution": {"init_qubits": False}}}), 400, "init_qubits"),
        (job_of(params={"options": {"experimental": {"x": 1}}}), 400, "experimental"),
        (job_of(params={"options": {"simulator": {"noise_model": {}}}}), 400, "noise_model"),
        (job_of(params={"pubs": [[packed(bell()), None, 0]]}), 400, "pub 0"),
        (job_of(params={"pubs": [[packed(bell()), [1.0], 5]]}), 400, "pub 0"),
        (job_of(params={"pubs": [[packed(QuantumCircuit(1, 1)), None, 5]]}), 400, "measures nothing"),
        (job_of(params={"pubs": [[{"__type__": "QuantumCircuit", "__value__": "AAAA"}]]}), 400, "base64 of zlib"),
        (job_of(params={"pubs": [[{"__type__": "QuantumCircuit", "__value__": OLD}]]}), 400, "QPY version 5"),
        (job_of(params={"pubs": [[{"__type__": "QuantumCircuit", "__value__": BOMB}]]}), 400, "MiB unpacked"),
        (job_of(params={"pubs": [[{"__type__": "settings", "__module__": "os", "__class__": "x"}]]}), 400, "settings"),
        (job_of(params={"pubs": [[packed(bell()), None, 10_000_001]]}), 400, "10000001"),
        (job_of(calibration_id="x"), 400, "calibration_id"),
    ],
)
def test_what_is_refused_and_how(server, body, status, words):
    found, answer = post(server, "/api/v1/jobs", body)
    assert (found, list(answer)) == (status, ["errors"])
    assert words in json.dumps(answer["errors"][0])
    assert answer["errors"][0]["code"] == status


def test_paths_and_queries_that_do_not_exist(server):
    assert ask(server.url, "GET", "/api/v1/nothing")[0] == 404
    assert ask(server.url, "PUT", "/api/v1/jobs", b"{}")[0] == 405
    assert ask(server.url, "GET", "/api/v1/jobs?colour=red")[0] == 400
    assert ask(server.url, "GET", "/api/v1/jobs?limit=-1")[0] == 400
    assert ask(server.url, "GET", "/api/v1/jobs/none")[0] == 404
    assert ask(server.url, "GET", "/api/v1/backends/remote/status")[0] in (200, 404)
    assert ask(server.url, "GET", "/api/v1/jobs", Host="evil.example")[0] == 421
    assert ask(server.url, "GET", "/api/v1/jobs", Origin="http://evil.example")[0] == 403
    foreign = server.client.submit_job("OPENQASM 2.0; qreg q[1];")["job_id"]  # not of this interface
    assert ask(server.url, "GET", f"/api/v1/jobs/{foreign}")[0] == 404


def test_a_question_for_the_state_is_held(server):
    _, made = post(server, "/api/v1/jobs", job_of(backend="narrow"))
    status, seen = ask(server.url, "GET", f"/api/v1/jobs/{made['id']}?exclude_params=true")
    assert (status, seen["state"]["status"]) == (200, "Completed")  # in the first answer, whatever it took


def test_a_submit_whose_answer_is_lost_is_repeated_safely(server):
    body = job_of(tags=[f"lost-{os.getpid()}"])
    place = urllib.parse.urlsplit(server.url)
    head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    listed = f"/api/v1/jobs?tags=lost-{os.getpid()}"

    def lose() -> bool:
        """Whether the server has taken a submit whose caller is gone; it may drop one that it has not begun to read."""
        with socket.create_connection((place.hostname, place.port)) as lost:
            lost.sendall(head + body)
        return any(ask(server.url, "GET", listed)[1]["count"] for _ in range(100))

    assert any(lose() for _ in range(50))
    _, again = post(server, "/api/v1/jobs", body)
    _, page = ask(server.url, "GET", listed)
    assert page["count"] == 1
    assert page["jobs"][0]["id"] == again["id"]
    _, other = post(server, "/api/v1/jobs", body)  # nothing was lost now: another job
    assert other["id"] != again["id"]


def test_attempts_are_remembered_for_a_while():
    async def work() -> bytes:
        return b"1"

    async def check() -> None:
        now = [0.0]
        attempts = Attempts(lambda: now[0])
        first = attempts.begin(b"k", work)
        attempts.lose(b"k", first)
        attempts.lose(b"k", first)  # told twice
        assert attempts.begin(b"k", work) is first
        assert attempts.begin(b"k", work) is not first
        attempts.lose(b"k", first)
        now[0] = REMEMBERED + 1
        assert attempts.begin(b"k", work) is not first

    asyncio.run(check())


def test_keys_tenants_and_tokens(tmp_path):
    keys = tmp_path / "keys.toml"
    ann, eve = kept(keys, name="ann", tenant="red"), kept(keys, name="eve", tenant="blue")
    reader = kept(keys, name="reader", tenant="red", scopes=["read"])
    with local_server(tmp_path / "data", "--keys", str(keys)) as (url, _):
        assert ask(url, "GET", "/api/v1/backends")[0] == 401
        assert ask(url, "GET", "/api/v1/backends", Authorization="apikey wrong")[0] == 401
        assert ask(url, "POST", "/identity/token", b"grant_type=x&apikey=wrong")[0] == 400
        assert ask(url, "POST", "/api/v1/jobs", job_of(), Authorization=f"apikey {reader}")[0] == 403
        status, made = ask(url, "POST", "/api/v1/jobs", job_of(), Authorization=f"Bearer {ann}")
        assert status == 200
        one = f"/api/v1/jobs/{made['id']}"
        assert ask(url, "GET", one, Authorization=f"apikey {ann}")[0] == 200
        for method, path in (("GET", one), ("DELETE", one), ("POST", one + "/cancel"), ("GET", one + "/results")):
            assert ask(url, method, path, Authorization=f"apikey {eve}")[0] == 404
        assert ask(url, "GET", "/api/v1/jobs", Authorization=f"apikey {eve}")[1]["count"] == 0
        service = connected(url, ann)
        assert [job.job_id() for job in service.jobs()] == [made["id"]]
        with pytest.raises(runtime.accounts.InvalidAccountError):
            connected(url, "wrong")
