"""The built-in driver: its stages, its limits, and Aer for what the front end does not take."""

import json
import threading
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qfast import frontend, plugins, qubo
from qfast.devices import default_devices
from qfast.drivers import aer, dummy
from qfast.drivers.dummy import AerProgram, DummyDriver, DummyOptions
from qfast.drivers.external import ExternalDriver
from qfast.errors import CircuitError, JobCancelled, QubitLimitError, ResourceLimitError, TranspileError
from qfast.ledger import MemoryLedger
from qfast.matrices import DenseCells, QuboProblem, parse_sources
from qfast.packing import unpack_solution
from qfast.plugins import Device, Task

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'


def task(source=BELL, *, device=None, shots=100, options=None, **fields):
    device = device or Device(name="dummy", driver="DriverDummy")
    fields = {"code_type": "qasm", "seed": 3, **fields}
    return Task(device=device, source=source, shots=shots, options=options or DummyOptions(), **fields)


def run(job, driver=None):
    driver = driver or DummyDriver(job.device)
    return driver.run(driver.transpile(driver.parse(job), job), job)


@pytest.mark.parametrize("transpiler", [None, "dummy", "cmss"])
def test_a_bell_pair(transpiler):
    job = task(shots=4000, transpiler=transpiler)
    outcome = run(job)
    assert outcome.num_qubits == 2
    assert set(outcome.results) == {"00", "11"}
    assert sum(outcome.results.values()) == 4000
    assert abs(outcome.results["00"] - 2000) < 6 * np.sqrt(1000)
    assert job.metadata["bit_order"] == "c0_rightmost"
    assert job.metadata["seed"] == 3
    assert job.metadata["implicit_measurement"] is False


def test_the_same_seed_gives_the_same_counts():
    assert run(task()).results == run(task()).results
    assert run(task(shots=5000)).results != run(task(shots=5000, seed=4)).results


def test_single_precision_and_threads(monkeypatch):
    source = "OPENQASM 2.0; include 'qelib1.inc'; qreg q[21]; h q; t q; h q;".replace("'", '"')
    double, single = (task(source, options=DummyOptions(precision=name, threads=2)) for name in ("double", "single"))
    assert set(run(double).results) & set(run(single).results)
    monkeypatch.setattr(dummy, "MEMORY", MemoryLedger(20 << 20))  # 32 MiB in double precision
    assert sum(run(single).results.values()) == 100
    with pytest.raises(ResourceLimitError):
        run(double)
    with pytest.raises(msgspec.ValidationError, match="precision"):
        msgspec.convert({"precision": "half"}, DummyOptions)


def test_a_qubo_by_enumeration():
    (problem,) = parse_sources(b"[[[-12, 8, 8], [0, -12, 8], [0, 0, -12]]]")
    job = task(problem, code_type="qubo", shots=1)
    rows = run(job).results
    assert rows[0]["quboValue"] == -16
    assert job.metadata["proven_optimal"] is True


def test_inputs_are_bound():
    program = 'OPENQASM 3.0; include "stdgates.inc"; input float t; qubit q; bit c; rx(t) q; c = measure q;'
    assert run(task(program, inputs={"t": np.pi})).results == {"1": 100}
    assert run(task(program, inputs={"t": 0.0})).results == {"0": 100}
    with pytest.raises(CircuitError, match="t"):
        run(task(program, inputs={"u": 0.0}))


def test_an_estimate_is_exact():
    job = task(BELL, observables=[{"ZZ": 1.0}, {"XX": 0.5, "ZI": 2.0}])
    outcome = run(job)
    assert outcome.results["evs"] == pytest.approx([1.0, 0.5])
    assert outcome.results["stds"] == pytest.approx([0.0, 2.0 / np.sqrt(100)])
    with pytest.raises(TranspileError, match="3"):
        run(task(BELL, observables=[{"ZZZ": 1.0}]))


def test_a_routed_program_keeps_its_own_width_and_bits():
    device = Device(
        name="line",
        driver="DriverDummy",
        max_qubits=6,
        basis_gates=("rz", "sx", "x", "cx"),
        coupling_map=tuple((k, k + 1) for k in range(5)),
    )
    program = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c;'
        "x q[0]; cx q[0], q[2]; cx q[2], q[1]; x q[0]; c = measure q;"
    )
    job = task(program, device=device, transpiler="cmss")
    outcome = run(job)
    assert outcome.results == {"110": 100}
    assert outcome.num_qubits == 3
    assert len(job.metadata["layout"]["final"]) == 3


def test_a_clifford_circuit_of_500_qubits_runs_on_the_default_device():
    device = default_devices()["dummy"]
    program = 'OPENQASM 3.0; include "stdgates.inc"; qubit[500] q; h q[0]; for int k in [1:499] { cx q[k - 1], q[k]; }'
    for transpiler in (None, "cmss"):
        job = task(program, device=device, transpiler=transpiler)
        assert set(run(job).results) == {"0" * 500, "1" * 500}
        assert job.metadata["simulator"] == "stabilizer"
    with pytest.raises(QubitLimitError):
        run(task(program.replace("h q[0]", "t q[0]"), device=device))
    with pytest.raises(QubitLimitError):
        run(task(program, device=Device(name="small", driver="DriverDummy")))


def test_too_many_qubits_for_the_device():
    device = Device(name="small", driver="DriverDummy", max_qubits=1)
    with pytest.raises(QubitLimitError, match="2 qubits"):
        run(task(device=device))


def test_too_much_memory(monkeypatch):
    monkeypatch.setattr(dummy, "MEMORY", MemoryLedger(1 << 20))
    with pytest.raises(ResourceLimitError):
        run(task('OPENQASM 3.0; include "stdgates.inc"; qubit[25] q; h q; t q; bit[25] c = measure q;'))


def test_a_run_waits_for_memory_and_can_be_cancelled():
    ledger = MemoryLedger(100 << 20)
    cancel = bytearray(1)
    entered, leave, order = threading.Event(), threading.Event(), []

    def first():
        with ledger.reserve(80 << 20, bytearray(1)):
            order.append("first")
            entered.set()
            leave.wait(10)

    def second():
        entered.wait(10)
        with ledger.reserve(80 << 20, bytearray(1)):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    entered.wait(10)
    cancel[0] = 1
    with pytest.raises(JobCancelled), ledger.reserve(80 << 20, cancel):
        pass
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]
    assert ledger.used == 0


def test_sleeping_ends_when_it_is_cancelled():
    job = task(options=DummyOptions(sleep=60.0))
    timer = threading.Timer(0.05, lambda: job.cancel.__setitem__(0, 1))
    timer.start()
    start = time.monotonic()
    with pytest.raises(JobCancelled):
        run(job)
    assert time.monotonic() - start < 30


def test_what_the_front_end_does_not_take_goes_to_aer_with_the_reason(monkeypatch):
    def refuse(source, code_type, inputs):
        raise frontend.Unsupported("in line 5, column 1, not for this front end")

    monkeypatch.setattr(frontend, "compile_program", refuse)
    job = task(shots=200)
    driver = DummyDriver(job.device)
    program = driver.parse(job)
    assert isinstance(program, AerProgram)
    outcome = driver.run(driver.transpile(program, job), job)
    assert set(outcome.results) == {"00", "11"}
    assert job.metadata["simulator"] == "aer"
    assert job.metadata["fallback"]["reason"] == "in line 5, column 1, not for this front end"


def test_without_aer_it_is_a_clear_refusal(monkeypatch):
    monkeypatch.setattr(aer, "available", lambda: False)
    with pytest.raises(TranspileError, match=r"install qfast\[aer\]"):
        run(task("OPENQASM 3.0;\ninput float t;\nqubit q;\nU(t, 0, 0) q;\n"))


def test_options_have_a_schema_with_rules():
    for wrong in ({"sleep": -1}, {"seed": -1}, {"seed": True}, {"sweeps": 0}, {"nope": 1}, {"time_limit": 0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, DummyOptions)


def test_every_registered_driver_keeps_the_protocol():
    for name in plugins.names("drivers"):
        driver = plugins.load("drivers", name)
        assert driver.name == name
        assert driver.results_fetch_mode in ("sync", "async")
        assert set(driver.supported_code_types) <= {"qasm", "qasm2", "qasm3", "qubo"}
        assert set(driver.supported_transpilers) <= set(plugins.names("transpilers"))
        assert issubclass(driver.Options, msgspec.Struct)
        assert msgspec.json.schema(driver.Options)["$defs"][driver.Options.__name__]["additionalProperties"] is False
    assert ExternalDriver.results_fetch_mode == "async"


def test_packed_solutions_are_the_same_ones():
    (problem,) = parse_sources(b"[[[-12, 8, 8], [0, -12, 8], [0, 0, -12]]]")
    plain, packed = (
        run(task(problem, code_type="qubo", options=DummyOptions(seed=1, packed=packed))) for packed in (False, True)
    )
    assert packed.results[0]["solutionVector"] == "Bg=="  # 0, 1, 1
    assert [
        row | {"solutionVector": unpack_solution(row["solutionVector"], 3)} for row in packed.results
    ] == plain.results


@given(st.lists(st.integers(0, 1), min_size=1, max_size=70))
def test_packing_and_back(bits):
    found = qubo.Solutions(np.array([bits], np.uint8), np.zeros(1), 0.0, {})
    assert unpack_solution(found.rows(packed=True)[0]["solutionVector"], len(bits)) == bits


@pytest.mark.parametrize(("text", "n"), [("AQ==", 9), ("AQ==", 0), ("Ag==", 1), ("A", 3), ("\u00e9", 3)])
def test_what_is_no_packed_solution_is_refused(text, n):
    with pytest.raises(ValueError, match="not a packed solution"):
        unpack_solution(text, n)


def test_a_qubo_states_its_need(monkeypatch):
    matrix = np.random.default_rng(1).integers(-9, 10, (300, 300))
    problem = parse_sources(json.dumps([matrix.tolist()]).encode())[0]
    assert 300 * 304 * 2 < qubo.required_bytes(problem) < 3_000_000
    big = QuboProblem(n=20_000, dense=DenseCells(np.empty((20_000, 20_000), np.int16), np.empty(20_000), 4, 2, 9))
    monkeypatch.setattr(dummy, "MEMORY", MemoryLedger(500 << 20))
    with pytest.raises(ResourceLimitError, match=r"the run needs 0\.\d GiB"):
        run(task(big, code_type="qubo"))
