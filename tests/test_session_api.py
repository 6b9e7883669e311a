"""The Session of qiskit_ibm_runtime 0.18 on a qfast server, and what stands around it.

===============================  ===========================================================
of the specification             test here
===============================  ===========================================================
the example                      test_the_example_of_the_specification
Session(service)                 test_service, test_wrong_values
Session(backend), backend()      test_backend, test_wrong_values
Session(max_time)                test_max_time, test_wrong_values
ValueError                       test_wrong_values, test_max_time_above_the_servers_maximum
service                          test_service
session_id                       test_session_id_is_none_until_a_job_is_submitted
cancel()                         test_cancel_drops_the_queued
close()                          test_close_lets_the_queued_finish
details() and its twelve keys    test_details
from_id()                        test_from_id, test_from_id_of_no_session
run(program_id, inputs)          test_run_sampler, test_run_estimator, test_wrong_inputs
run(options)                     test_run_options
run(callback)                    test_callback, test_a_callback_hears_of_results_while_others_run,
                                 test_a_callback_hears_of_each_point, test_a_callback_that_fails
run(result_decoder)              test_result_decoder
run, the job                     test_job, test_failed_job, test_result_timeout
status() in its five words       test_status_words, test_status_on_the_wire
context manager                  test_with_closes_also_on_errors, test_with_is_the_default
thread safety                    test_threads_open_one_session
closed: a RuntimeError           test_closed_here, test_closed_elsewhere
===============================  ===========================================================
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from math import pi
from pathlib import Path
from typing import Any

import pytest
from conftest import NARROW_BACKEND, RunningServer
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.library import QFTGate, quantum_volume, real_amplitudes
from qiskit.quantum_info import Pauli, SparsePauliOp, Statevector

import qfast
from qfast import Estimator, Options, QfastService, Sampler, Session, SessionClosedError, errors, runtime
from qfast.client import JobFailed
from qfast.demo import BELL2, BELL3, local_server
from qfast.job import JobStatus
from qfast.programs import encode
from qfast.session import UnknownSession

ROOT = Path(__file__).parent.parent
TURN = 'OPENQASM 3.0; include "stdgates.inc"; input float angle; /* input float no; */ qubit[1] q; rx(angle) q[0];'
FLIP = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; x q[0]; c = measure q;'
WRONG = "OPENQASM 3.0; qubit q; no_gate q;"
EXAMPLE = """
from qfast import Sampler, Session, Options

options = Options(optimization_level=3)

with Session(backend="ibmq_qasm_simulator") as session:
    sampler = Sampler(session=session, options=options)
    job = sampler.run(ReferenceCircuits.bell())
    print(f"Sampler job ID: {job.job_id()}")
    print(f"Sampler job result: {job.result()}")
"""
KEYS = {
    *("id", "backend_name", "interactive_timeout", "max_time", "active_timeout", "state", "accepting_jobs"),
    *("last_job_started", "last_job_completed", "started_at", "closed_at", "activated_at"),
}
SLEEP = {"circuits": BELL2, "driver_options": {"sleep": 60}}


@pytest.fixture
def service(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[QfastService]:
    """The server's service, also the default one; no session and no job is left behind."""
    monkeypatch.setenv("QFAST_URL", server.url)
    service = QfastService()
    yield service
    service.client.call("close_sessions")
    left = service.client.get_jobs(job_status=["QUEUED", "RUNNING"], backend=NARROW_BACKEND)
    service.client.delete_jobs([job["job_id"] for job in left], force=True)


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def wait_until(job: Any, status: JobStatus) -> None:
    for _ in range(100_000):
        if job.status() is status:
            return
    raise AssertionError(f"{job} never became {status}")


# --- the specification's example


def test_the_example_of_the_specification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class ReferenceCircuits:
        bell = staticmethod(bell)

    devices = tmp_path / "devices.toml"
    devices.write_text('[devices.ibmq_qasm_simulator]\ndriver = "DriverDummy"\n')
    with local_server(tmp_path / "data", "--devices", str(devices)) as (url, _):
        monkeypatch.setenv("QFAST_URL", url)
        names: dict[str, Any] = {"ReferenceCircuits": ReferenceCircuits}
        exec(EXAMPLE, names)
        assert names["session"].status() == "Closed"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Sampler job ID: {names['job'].job_id()}"
    dist = names["job"].result().quasi_dists[0]
    assert set(dist) == {0, 3}
    assert sum(dist.values()) == pytest.approx(1)


def test_the_example_of_the_repository(server: RunningServer, service: QfastService) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "session.py")], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "'1': 1.0" in done.stdout


def test_nothing_of_qiskit_is_imported_for_texts() -> None:
    code = (
        "import sys, qfast; [getattr(qfast, n) for n in qfast.__all__ if n != 'AsyncClient'];"
        "from qfast.programs import encode;"
        f"encode('sampler', {{'circuits': {BELL2!r}}});"
        "print([m for m in ('qiskit', 'litestar', 'numpy', 'aiohttp', 'granian') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


# --- the constructor


def test_service(service: QfastService) -> None:
    assert Session(service).service is service
    assert Session(backend=service.backend("dummy")).service is service
    assert Session().service.client.url == service.client.url


def test_backend(service: QfastService) -> None:
    assert Session(service, service.backend(NARROW_BACKEND)).backend() == NARROW_BACKEND
    with Session(service) as session:
        assert session.backend() is None
        assert session.run("sampler", {"circuits": BELL2}).result(20).num_experiments == 1
        assert session.backend() == "dummy"


@pytest.mark.parametrize(("max_time", "seconds"), [(90, 90), ("2h 30m 40s", 9040), ("40s 1h", 3640)])
def test_max_time(service: QfastService, max_time: Any, seconds: int) -> None:
    with Session(service, "dummy", max_time) as session:
        session.run("sampler", {"circuits": BELL2}).result(20)
        details = session.details()
        assert details is not None
        assert details["max_time"] == seconds


def test_max_time_above_the_servers_maximum(service: QfastService) -> None:
    with Session(service, "dummy", "9d") as session:
        with pytest.raises(ValueError, match=r"above the server's maximum of \d+ seconds"):
            session.run("sampler", {"circuits": BELL2})
        assert session.session_id is None


@pytest.mark.parametrize(
    "given",
    [
        *({"max_time": value} for value in ("2.5h", "1h30", "5x 10s", "", "h", "0s", 0, -5, True, 3.7, [])),
        *({"backend": value} for value in ("", 5, object())),
        {"service": "http://127.0.0.1"},
    ],
)
def test_wrong_values(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Session(**given)


def test_unknown_backend(service: QfastService) -> None:
    with pytest.raises(errors.NotFound, match="dummyy"):
        Session(service, "dummyy").run("sampler", {"circuits": BELL2})


# --- its life


def test_session_id_is_none_until_a_job_is_submitted(service: QfastService) -> None:
    with Session(service, "dummy") as session:
        assert session.session_id is None
        assert session.details() is None
        job = session.run("sampler", {"circuits": BELL2})
        assert session.session_id == job.session_id
        assert service.client.call("get_session", {"session_id": session.session_id})["id"] == session.session_id


def test_close_lets_the_queued_finish(service: QfastService) -> None:
    session = Session(service, NARROW_BACKEND)
    jobs = [session.run("sampler", {"circuits": BELL2, "driver_options": {"sleep": 0.05}}) for _ in range(3)]
    session.close()
    session.close()
    with pytest.raises(SessionClosedError):
        session.run("sampler", {"circuits": BELL2})
    for job in jobs:
        job.wait_for_final_state(20)
    assert all(job.done() for job in jobs)
    assert session.status() == "Closed"


def test_cancel_drops_the_queued(service: QfastService) -> None:
    session = Session(service, NARROW_BACKEND)
    runs = session.run("sampler", SLEEP)
    wait_until(runs, JobStatus.RUNNING)
    waits = session.run("sampler", SLEEP)
    session.cancel()
    session.cancel()
    assert waits.status() is JobStatus.CANCELLED
    assert runs.status() is JobStatus.RUNNING
    with pytest.raises(SessionClosedError):
        session.run("sampler", {"circuits": BELL2})
    with pytest.raises(JobFailed, match="CANCELLED"):
        waits.result(20)
    assert runs.cancel()
    runs.wait_for_final_state(20)
    assert runs.cancelled()
    assert not runs.cancel()


def test_close_and_cancel_without_a_job(service: QfastService) -> None:
    for end in (Session.close, Session.cancel):
        session = Session(service, "dummy")
        end(session)
        assert session.session_id is None
        assert session.status() is None
        with pytest.raises(RuntimeError, match=r"The session is closed\."):
            session.run("sampler", {"circuits": BELL2})


def test_details(service: QfastService) -> None:
    with Session(service, "dummy", max_time=600) as session:
        session.run("sampler", {"circuits": BELL2}).result(20)
        details = session.details()
        assert details is not None
        assert set(details) >= KEYS
        assert (details["id"], details["backend_name"]) == (session.session_id, "dummy")
        assert (details["state"], details["accepting_jobs"], details["max_time"]) == ("active", True, 600)
        assert details["interactive_timeout"] > 0
        assert details["active_timeout"] > 0
        assert details["closed_at"] is None
        for key in ("last_job_started", "last_job_completed", "started_at", "activated_at"):
            assert abs(datetime.fromisoformat(details[key]) - datetime.now(UTC).replace(tzinfo=None)) < timedelta(60)
    closed = session.details()
    assert closed is not None
    assert (closed["state"], closed["accepting_jobs"]) == ("closed", False)
    assert closed["closed_at"] is not None


def test_status_of_a_session_that_the_server_forgot(service: QfastService, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(service, "dummy")
    session.run("sampler", {"circuits": BELL2}).result(20)
    session.close()
    monkeypatch.setattr(session, "_id", "5bb1e4b6-6b8e-4a7a-8b39-111111111111")
    assert session.details() is None
    assert session.status() is None
    session.close()


def test_a_refused_job_leaves_the_session_open(service: QfastService) -> None:
    with Session(service, "dummy") as session:
        with pytest.raises(errors.InvalidParams, match="shots"):
            session.run("sampler", {"circuits": BELL2, "shots": 10**9})
        assert session.session_id is None
        session.run("sampler", {"circuits": BELL2}).result(20)
    assert session.status() == "Closed"


@pytest.mark.parametrize(
    ("state", "accepting", "words"),
    [
        ("open", True, "Pending"),
        ("inactive", True, "Pending"),
        ("inactive", False, "Pending"),
        ("active", True, "In progress, accepting new jobs"),
        ("active", False, "In progress, not accepting new jobs"),
        ("closed", False, "Closed"),
    ],
)
def test_status_words(monkeypatch: pytest.MonkeyPatch, state: str, accepting: bool, words: str) -> None:
    session = Session(backend="dummy")
    assert session.status() is None
    monkeypatch.setattr(session, "details", lambda: {"state": state, "accepting_jobs": accepting})
    assert session.status() == words


def test_status_on_the_wire(service: QfastService) -> None:
    blocker = service.client.submit_job(BELL2, backend=NARROW_BACKEND, driver_options={"sleep": 60})["job_id"]
    wait_until(service.job(blocker), JobStatus.RUNNING)
    session = Session(service, NARROW_BACKEND)
    job = session.run("sampler", SLEEP)
    assert session.status() == "Pending"
    service.client.cancel_jobs(blocker, force=True)
    wait_until(job, JobStatus.RUNNING)
    assert session.status() == "In progress, accepting new jobs"
    session.close()
    assert session.status() == "In progress, not accepting new jobs"
    job.cancel()
    job.wait_for_final_state(20)
    assert session.status() == "Closed"


def test_from_id(service: QfastService) -> None:
    with Session(service, "dummy") as session:
        session.run("sampler", {"circuits": BELL2}).result(20)
        assert session.session_id is not None
        again = Session.from_id(session.session_id)
        assert (again.session_id, again.backend()) == (session.session_id, "dummy")
        assert again.run("sampler", {"circuits": BELL2}).session_id == session.session_id
        assert again.status() == session.status() == "In progress, accepting new jobs"
        with pytest.raises(ValueError, match="is on 'dummy'"):
            Session.from_id(session.session_id, service, NARROW_BACKEND)
    closed = Session.from_id(session.session_id, service, "dummy")
    with pytest.raises(SessionClosedError):
        closed.run("sampler", {"circuits": BELL2})


@pytest.mark.parametrize("session_id", ["5bb1e4b6-6b8e-4a7a-8b39-111111111111", "no id"])
def test_from_id_of_no_session(service: QfastService, session_id: str) -> None:
    with pytest.raises(ValueError, match="session") as caught:
        Session.from_id(session_id)
    assert isinstance(caught.value, UnknownSession | errors.NotFound)


def test_with_closes_also_on_errors(service: QfastService) -> None:
    with pytest.raises(ZeroDivisionError), Session(service, "dummy") as session:
        job = session.run("sampler", {"circuits": BELL2})
        _ = 1 / 0
    with pytest.raises(SessionClosedError):
        session.run("sampler", {"circuits": BELL2})
    job.result(20)
    assert session.status() == "Closed"


def test_with_is_the_default(service: QfastService) -> None:
    with Session(service, "dummy") as outer:
        with Session(service, NARROW_BACKEND) as inner:
            assert Sampler().session is inner
        assert Estimator().session is outer
        assert Sampler(session=inner).session is inner
    assert Sampler().session is None


def test_closed_here(service: QfastService) -> None:
    session = Session(service, "dummy")
    session.run("sampler", {"circuits": BELL2})
    session.close()
    with pytest.raises(RuntimeError, match=r"The session is closed\.") as caught:
        session.run("sampler", {"circuits": BELL2})
    assert isinstance(caught.value, SessionClosedError)


def test_closed_elsewhere(service: QfastService) -> None:
    session = Session(service, "dummy")
    session.run("sampler", {"circuits": BELL2})
    Session.from_id(str(session.session_id), service).close()
    with pytest.raises(SessionClosedError, match=r"The session is closed\."):
        session.run("sampler", {"circuits": BELL2})


def test_threads_open_one_session(service: QfastService) -> None:
    session = Session(service, "dummy")
    start = threading.Barrier(32)

    def run(_: int) -> str | None:
        start.wait(20)
        job = session.run("sampler", {"circuits": BELL2, "shots": 10})
        job.result(20)
        return job.session_id

    before = len(service.client.call("get_sessions", params={"filters": {}}))
    with ThreadPoolExecutor(32) as pool, session:
        assert set(pool.map(run, range(32))) == {session.session_id}
    assert len(service.client.call("get_sessions", params={"filters": {}})) == before + 1
    assert len(service.jobs(None, session_id=session.session_id)) == 32


# --- run


def test_run_sampler(service: QfastService) -> None:
    with Session(service, "dummy") as session:
        inputs = {"circuits": [FLIP, BELL2, BELL3, bell()], "shots": 500, "simulator": {"seed_simulator": 3}}
        kept = json.dumps(inputs, default=str)
        result = session.run("sampler", inputs).result(20)
        assert json.dumps(inputs, default=str) == kept
    assert result.quasi_dists[0] == {1: 1.0}
    assert result.quasi_dists[0].binary_probabilities() == {"01": 1.0}
    assert result.quasi_dists[0].binary_probabilities(4) == {"0001": 1.0}
    assert result.quasi_dists[0].hex_probabilities() == {"0x1": 1.0}
    assert result.quasi_dists[0].stddev_upper_bound == pytest.approx(500**-0.5)
    assert [set(dist) for dist in result.quasi_dists[1:]] == [{0, 3}] * 3
    assert [row["shots"] for row in result.metadata] == [500] * 4
    assert [row["seed"] for row in result.metadata] == [3, 4, 5, 6]


def test_run_estimator(service: QfastService) -> None:
    with Session(service, "dummy") as session:
        inputs = {"circuits": [TURN, TURN, FLIP], "observables": ["Z", {"Z": -2.0}, "IZ"], "shots": 100}
        result = session.run("estimator", {**inputs, "parameter_values": [[pi], {"angle": pi / 3}, None]}).result(20)
    assert result.values == pytest.approx([-1, -1, -1])
    assert [row["shots"] for row in result.metadata] == [100] * 3
    assert result.metadata[1]["variance"] == pytest.approx(4 * (1 - 0.25))
    assert result.num_experiments == 3


@pytest.mark.parametrize(
    ("program_id", "inputs", "what"),
    [
        ("no-program", {"circuits": BELL2}, "no-program"),
        ("sampler", {}, "circuits"),
        ("sampler", {"circuits": []}, "circuits"),
        ("sampler", {"circuits": 5}, "circuits"),
        ("sampler", {"circuits": [5]}, "circuits"),
        ("sampler", {"circuits": BELL2, "observables": "ZZ"}, "observables"),
        ("sampler", {"circuits": BELL2, "shotz": 5}, "shotz"),
        ("sampler", {"circuits": BELL2, "shots": 0}, "shots"),
        ("sampler", {"circuits": TURN}, "1 parameters"),
        ("sampler", {"circuits": TURN, "parameter_values": [[1, 2]]}, "1 parameters"),
        ("sampler", {"circuits": TURN, "parameter_values": [[1], [2]]}, "number of circuits"),
        ("sampler", {"circuits": TURN, "parameter_values": {"no": 1}}, "not the inputs"),
        ("estimator", {"circuits": BELL2}, "observables"),
        ("estimator", {"circuits": BELL2, "observables": ["ZZ", "XX"]}, "number of circuits"),
        ("estimator", {"circuits": BELL2, "observables": "AB"}, "observables"),
        ("estimator", {"circuits": BELL2, "observables": {"ZZ": 1j}}, "observables"),
        ("estimator", {"circuits": BELL2, "observables": {}}, "observables"),
        ("estimator", {"circuits": BELL2, "observables": [None]}, "observables"),
    ],
)
def test_wrong_inputs(program_id: str, inputs: dict[str, Any], what: str) -> None:
    with pytest.raises((ValueError, TypeError), match=what):
        Session(backend="dummy").run(program_id, inputs)


def test_run_options(service: QfastService) -> None:
    with Session(service) as session:
        given = {"job_tags": ["night"], "max_execution_time": 7, "backend": NARROW_BACKEND, "instance": None}
        job = session.run("sampler", {"circuits": BELL2}, given)
        assert session.backend() == NARROW_BACKEND
        assert (job.tags, job.backend().name) == (["night"], NARROW_BACKEND)
        assert service.client.get_job_status(job.job_id())["max_execution_time"] == 7
        for options in ({"instance": "a/b/c"}, {"image": "x:1"}, {"log_level": "INFO"}, {"backend": "dummy"}):
            with pytest.raises(ValueError, match=next(iter(options))):
                session.run("sampler", {"circuits": BELL2}, options)


def test_callback(service: QfastService) -> None:
    told: queue.Queue[tuple[str, Any]] = queue.Queue()
    with Session(service, "dummy") as session:
        job = session.run("sampler", {"circuits": [FLIP, BELL2]}, None, lambda *what: told.put(what))
        heard = [told.get(timeout=20) for _ in range(3)]
    assert {job_id for job_id, _ in heard} == {job.job_id()}
    assert [result.num_experiments for _, result in heard] == [1, 1, 2]
    assert heard[2][1] == job.result()
    options = Options(environment={"callback": lambda *what: told.put(what)})
    job = Sampler("dummy", options=options).run(FLIP)
    assert told.get(timeout=20) == (job.job_id(), job.result())


LAYER = " ".join(f"U(i, {k}, 1) q[{k}]; ctrl @ U(pi, 0, pi) q[{k}], q[{k + 1}];" for k in range(23))
LONG = f"OPENQASM 3.0; qubit[24] q; for int i in [0:5000] {{ {LAYER} }}"  # minutes


def test_a_callback_hears_of_results_while_others_run(service: QfastService) -> None:
    told: queue.Queue[tuple[str, Any]] = queue.Queue()
    with Session(service, "dummy") as session:
        job = session.run("sampler", {"circuits": [FLIP, BELL2, LONG], "shots": 20}, None, lambda *what: told.put(what))
        heard = [told.get(timeout=30) for _ in range(2)]
        assert job.status() == "RUNNING"
        assert [set(result.quasi_dists[0]) for _, result in heard] == [{1}, {0, 3}]
        job.cancel()
        for thread in threading.enumerate():
            if thread.name == f"callback of {job.job_id()}":
                thread.join(20)
    assert told.empty()  # a cancelled job has no result


def test_a_callback_hears_of_each_point(service: QfastService) -> None:
    told: queue.Queue[tuple[str, Any]] = queue.Queue()
    source = "OPENQASM 3.0; input float t; qubit q; U(t, 0, 0) q;"
    with Session(service, "dummy") as session:
        inputs = {"circuits": [source] * 3, "parameter_values": [[0.0], [1.0], [2.0]], "observables": ["Z"] * 3}
        job = session.run("estimator", inputs, None, lambda *what: told.put(what))
        *each, (_, whole) = [told.get(timeout=30) for _ in range(4)]
    assert whole == job.result()
    assert sorted(result.values[0] for _, result in each) == sorted(whole.values)


def test_a_callback_that_fails(service: QfastService, caplog: pytest.LogCaptureFixture) -> None:
    called = threading.Event()

    def fails(*_: Any) -> None:
        called.set()
        raise OSError("no disk")

    with Session(service, "dummy") as session:
        job = session.run("sampler", {"circuits": FLIP}, callback=fails)
        assert job.result(20).num_experiments == 1
    assert called.wait(20)
    for thread in threading.enumerate():
        if thread.name == f"callback of {job.job_id()}":
            thread.join(20)
    assert "no disk" in caplog.text


def test_result_decoder(service: QfastService) -> None:
    class Decoder:
        @classmethod
        def decode(cls, data: str) -> Any:
            return [row["results"] for row in json.loads(data)]

    with Session(service, "dummy") as session:
        job = session.run("sampler", {"circuits": FLIP, "shots": 9}, result_decoder=Decoder)
        assert job.result(20) == [{"01": 9}]
        assert job.result(20, decoder=len) == 1


# --- jobs and service


def test_job(service: QfastService) -> None:
    with Session(service, "dummy") as session:
        job = session.run("estimator", {"circuits": FLIP, "observables": "IZ"})
        first = job.result(timeout=20)
    assert (job.status(), job.in_final_state(), job.done()) == ("COMPLETED", True, True)
    assert not (job.queued() or job.running() or job.errored() or job.cancelled())
    assert job.error_message() is None
    again = service.job(job.job_id())
    assert (again.job_id(), again.session_id, again.program_id) == (job.job_id(), session.session_id, "estimator")
    assert again.result() == first == job.result()
    assert abs(again.creation_date - datetime.now(UTC)) < timedelta(minutes=5)
    matrix = service.client.submit_job([[1]])["job_id"]
    assert service.job(matrix).result(20)[0]["results"][0]["quboValue"] == 0
    with pytest.raises(errors.NotFound):
        service.job("5bb1e4b6-6b8e-4a7a-8b39-111111111111")


def test_failed_job(service: QfastService) -> None:
    told: queue.Queue[Any] = queue.Queue()
    with Session(service, "dummy") as session:
        job = session.run("sampler", {"circuits": [FLIP, WRONG]}, callback=lambda _, result: told.put(result))
        with pytest.raises(JobFailed, match="no_gate"):
            job.result(20)
    assert job.errored()
    assert "no_gate" in str(job.error_message())
    assert told.get(timeout=20).quasi_dists == [{1: 1.0}]  # the circuit that did not fail


def test_result_timeout(service: QfastService) -> None:
    with Session(service, NARROW_BACKEND) as session:
        job = session.run("sampler", SLEEP)
        with pytest.raises(TimeoutError):
            job.result(timeout=0.05)
        job.cancel()


def test_backends(service: QfastService) -> None:
    assert {"dummy", NARROW_BACKEND} <= {one.name for one in service.backends()}
    assert [one.name for one in service.backends("dummy")] == ["dummy"]
    assert service.backends(min_num_qubits=1_000_000) == []
    one = service.backend("dummy")
    assert one.operational
    assert one.num_qubits > 20
    assert one.max_shots > 1000
    with pytest.raises(errors.NotFound):
        service.backend("no-backend")


def test_least_busy(service: QfastService, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = {
        name: {**service.backend("dummy").details, "name": name, "status": status, "queued_jobs": jobs}
        for name, status, jobs in (("a", "online", 4), ("b", "online", 1), ("c", "offline", 0), ("d", "online", 1))
    }
    monkeypatch.setattr(service.client, "devices", lambda: devices)
    assert service.least_busy().name == "b"
    assert Session(service).backend() is None
    with pytest.raises(errors.NotFound):
        service.least_busy(min_num_qubits=1_000_000)


def test_jobs(service: QfastService, monkeypatch: pytest.MonkeyPatch) -> None:
    began = datetime.now(UTC)
    with Session(service, "dummy") as session:
        ids = [session.run("sampler", {"circuits": FLIP}, {"job_tags": [f"api{k}"]}).job_id() for k in range(3)]
        last = session.run("estimator", {"circuits": FLIP, "observables": "ZZ"})
        last.result(20)
        for job_id in ids:
            service.job(job_id).result(20)
    mine = {"session_id": session.session_id}
    assert [job.job_id() for job in service.jobs(**mine)] == [last.job_id(), *reversed(ids)]
    assert [job.job_id() for job in service.jobs(2, 1, **mine)] == [ids[2], ids[1]]
    assert [job.job_id() for job in service.jobs(2, descending=False, **mine)] == ids[:2]
    assert [job.job_id() for job in service.jobs(program_id="estimator", **mine)] == [last.job_id()]
    assert [job.job_id() for job in service.jobs(job_tags=["api1"], **mine)] == [ids[1]]
    assert service.jobs(pending=True, **mine) == []
    assert len(service.jobs(None, pending=False, created_after=began - timedelta(minutes=1), **mine)) == 4
    assert service.jobs(backend_name=NARROW_BACKEND, **mine) == service.jobs(0, **mine) == []
    assert service.jobs(created_before=began - timedelta(minutes=1), **mine) == []
    monkeypatch.setattr(runtime, "PAGE", 3)
    assert [job.job_id() for job in service.jobs(None, descending=False, **mine)] == [*ids, last.job_id()]
    assert [job.job_id() for job in service.jobs(4, **mine)] == [last.job_id(), *reversed(ids)]
    for wrong in ({"limit": -1}, {"skip": -1}, {"program_id": "executor"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            service.jobs(**wrong)


# --- the primitives


def test_library_circuits(service: QfastService) -> None:
    fourier = QuantumCircuit(3)
    fourier.append(QFTGate(3), range(3))
    circuits = [
        fourier,
        quantum_volume(3, seed=1),
        transpile(bell().remove_final_measurements(inplace=False), seed_transpiler=1),
    ]
    labels = ["XYZ", "ZZI", "XX"]
    with Session(service, "dummy"):
        values = Estimator().run(circuits, [SparsePauliOp([label], [0.5]) for label in labels]).result(20).values
        for circuit in circuits:
            circuit.measure_all()
        dists = Sampler(options={"shots": 20_000}).run(circuits).result(20).quasi_dists
    for circuit, label, value, dist in zip(circuits, labels, values, dists, strict=True):
        state = Statevector(circuit.remove_final_measurements(inplace=False))
        assert value == pytest.approx(0.5 * state.expectation_value(Pauli(label)).real, abs=1e-9)
        for outcome, share in enumerate(state.probabilities()):
            assert dist.get(outcome, 0.0) == pytest.approx(share, abs=6 * 0.5 / 20_000**0.5)


def test_parameters_go_by_the_circuits_order(service: QfastService) -> None:
    swapped = QuantumCircuit(2)
    swapped.rx(Parameter("z"), 0)
    swapped.rx(Parameter("a"), 1)
    assert [parameter.name for parameter in swapped.parameters] == ["a", "z"]
    wide = real_amplitudes(11, reps=0)
    angles = [pi if k in (2, 10) else 0.0 for k in range(11)]
    measured = wide.copy()
    measured.measure_all()
    with Session(service, "dummy"):
        estimator = Estimator()
        found = estimator.run([swapped] * 2, ["ZI"] * 2, [[0, pi], [pi, 0]]).result(20).values
        assert found == pytest.approx([1, -1])
        dist = Sampler().run(measured, angles).result(20).quasi_dists[0]
        assert dist == {1 << 2 | 1 << 10: 1.0}


def test_equal_circuits_are_sent_once() -> None:
    fields = encode("sampler", {"circuits": [TURN] * 3 + [FLIP] * 2, "parameter_values": [[1], [2], [3], [], []]})
    assert fields["source_code"] == [TURN, FLIP, FLIP]
    assert fields["parameters"] == [[{"angle": 1}, {"angle": 2}, {"angle": 3}], None, None]
    fields = encode("estimator", {"circuits": [FLIP] * 1500, "observables": ["ZZ"] * 1500})
    assert [len(entry) for entry in fields["observables"]] == [1000, 500]
    points = [[1], [2], [2]]
    fields = encode("estimator", {"circuits": [TURN] * 3, "observables": ["Z", "Z", "X"], "parameter_values": points})
    assert fields["source_code"] == [TURN, TURN]
    assert fields["parameters"] == [[{"angle": 1}, {"angle": 2}], [{"angle": 2}]]


def test_observables() -> None:
    def read(value: Any) -> Any:
        return encode("estimator", {"circuits": FLIP, "observables": value})["observables"][0]

    assert read("ZI") == read(Pauli("ZI")) == read(["+ZI"]) == [{"ZI": 1.0}]
    assert read(Pauli("-ZI")) == [{"ZI": -1.0}]
    assert read(SparsePauliOp(["ZI", "XX", "ZI"], [1, 2, 3])) == [{"ZI": 4.0, "XX": 2.0}]
    with pytest.raises(ValueError, match="real"):
        read(Pauli("iZI"))


def test_primitives_without_a_session(service: QfastService) -> None:
    job = Sampler(service.backend("dummy")).run(FLIP, shots=5)
    assert (job.session_id, job.result(20).metadata[0]["shots"]) == (None, 5)
    assert Estimator().run(FLIP, "ZZ").result(20).values == [-1.0]
    with Session(service, "dummy") as session, pytest.raises(ValueError, match="session's"):
        Sampler(NARROW_BACKEND, session)
    with pytest.raises(ValueError, match="session"):
        Sampler(**{"session": "id"})


def test_options_are_sent(service: QfastService) -> None:
    options = Options(optimization_level=2, max_execution_time=30)
    options.execution.shots = 11
    options.environment.job_tags = ["a"]
    options.simulator.seed_simulator = 5
    sampler = Sampler("dummy", options=options)
    sampler.set_options(shots=12)
    assert (sampler.options.execution.shots, options.execution.shots) == (12, 11)
    sent = service.client.get_job_status(sampler.run(FLIP, max_execution_time=31).job_id())
    assert sent["transpiler_options"] == {"optimization_level": 2}
    assert (sent["shots"], sent["tags"], sent["driver_options"]) == (12, ["a"], {"seed": 5})
    assert sent["max_execution_time"] == 31
    assert sampler.options.max_execution_time == 30
    passed = Sampler("dummy", options={"transpilation": {"skip_transpilation": True}}).run(FLIP)
    assert service.client.get_job_status(passed.job_id())["transpiler"] == "dummy"


def test_options_that_the_backend_does_not_use_are_told(service: QfastService) -> None:
    answer = service.client.submit_job(FLIP, transpiler_options={"optimization_level": 2})
    runtime.started(service, answer, None, None, several=False)
    with pytest.warns(UserWarning, match="no transpiler"):
        runtime.started(service, {**answer, "transpiler": None}, None, None, several=False)


@pytest.mark.parametrize(
    "given",
    [
        {"resilience_level": 1},
        {"resilience": {"noise_factors": [1, 3]}},
        {"optimization_level": 4},
        {"optimization_level": True},
        {"execution": {"init_qubits": False}},
        {"execution": 5},
        {"environment": {"log_level": "INFO"}},
        {"simulator": {"noise_model": {}, "basis_gates": ["x"]}},
        {"transpilation": {"layout_method": "sabre"}},
        {"transpilation": {"skip_transpilation": True}, "optimization_level": 1},
    ],
)
def test_options_without_meaning_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="options: "):
        Options(**given)
    with pytest.raises(ValueError, match="options: "):
        Sampler("dummy", options=given)


def test_options_set_later_are_refused_by_the_run() -> None:
    sampler = Sampler("dummy", options=Options(resilience_level=0))
    sampler.options.resilience_level = 2
    with pytest.raises(ValueError, match="resilience_level"):
        sampler.run(FLIP)
    sampler.set_options(resilience_level=0)
    with pytest.raises(ValueError, match="is it 'shots'"):
        sampler.set_options(shot=5)
    with pytest.raises(AttributeError):
        setattr(sampler.options.execution, "shot", 5)  # noqa: B010 a name that is not declared


def test_names() -> None:
    assert {"Session", "Sampler", "Estimator", "Options", "QfastService", "SessionClosedError"} <= set(qfast.__all__)
