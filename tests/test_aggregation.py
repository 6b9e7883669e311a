"""Aggregation: packing and splitting, the run of packed jobs, and the rules and the order at the service."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from circuit_builder import Builder, random_circuit
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_simulator import distribution
from test_service import House

from qfast import packed, simulator
from qfast.aggregation import pack, packs, split
from qfast.devices import open_driver, read_devices
from qfast.drivers.dummy import DummyDriver
from qfast.drivers.external import ExternalDriver
from qfast.errors import ConfigurationInvalid, DriverRunError, InvalidParams, JobCancelled
from qfast.frontend import compile_program
from qfast.job import JobRecord, JobStatus
from qfast.live import Backend, Job
from qfast.plugins import Device

HEAD = 'OPENQASM 3.0; include "stdgates.inc"; '
BELL = HEAD + "qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"
ONE = HEAD + "qubit[1] q; bit[1] c; x q[0]; c = measure q;"
TWO_REGISTERS = HEAD + "qubit[3] q; bit[1] a; bit[2] b; x q[0]; h q[2]; a[0] = measure q[2]; b[0] = measure q[0];"
STEERED = HEAD + "qubit[2] q; bit a; bit b; h q[0]; a = measure q[0]; if (a) { x q[1]; } b = measure q[1];"
EARLY = HEAD + "qubit[1] q; bit[2] c; h q[0]; c[0] = measure q[0]; if (c[0]) { end; } x q[0]; c[1] = measure q[0];"
LOOP = HEAD + "qubit q; bit c; int n = 0; while (n < 2) { h q; c = measure q; if (c) { n = n + 1; } reset q; }"
DIVIDES = (
    HEAD + "qubit q; bit c; int n = 0; h q; c = measure q; while (c) { x q; c = measure q; n = n - 1; }"
    "n = 6 / (n + 1); h q; c = measure q;"
)
WRONG = HEAD + "qubit[2] q; nonsense q[0];"
BARE = HEAD + "qubit[2] q; x q[1];"

# ---------------------------------------------------------------------------------------------------- packing, splitting


def test_circuits_go_where_there_is_room_first():
    assert packs([2, 3, 2, 1, 9, 1], 5) == [[0, 1], [2, 3, 5], [4]]
    assert packs([], 5) == []


@given(st.lists(st.integers(1, 8), max_size=30), st.integers(1, 20))
def test_no_program_is_too_wide_and_none_is_lost(widths, limit):
    programs = packs(widths, limit)
    assert sorted(number for program in programs for number in program) == list(range(len(widths)))
    assert all(sum(widths[n] for n in program) <= limit or len(program) == 1 for program in programs)
    assert all(program == sorted(program) for program in programs)


@pytest.mark.parametrize(
    "texts",
    [
        (BELL, ONE),
        (ONE, BELL, ONE),
        (TWO_REGISTERS, BELL),
        (STEERED, TWO_REGISTERS, STEERED),
        (EARLY, EARLY, ONE),
        (LOOP, BELL, LOOP),
        (BARE, STEERED),
    ],
)
def test_marginals_are_those_of_the_circuits_alone(texts):
    circuits = [compile_program(text) for text in texts]
    wide = pack(circuits)
    expected = [distribution(circuit) for circuit in circuits]
    marginals = split(distribution(wide), circuits)
    for own, alone in zip(marginals, expected, strict=True):
        assert own == pytest.approx(alone, abs=5e-5)  # the oracle leaves out ways of little weight
    counts = split(simulator.sample(wide, 20_000, seed=1), circuits)
    for own, alone in zip(counts, expected, strict=True):
        assert sum(own.values()) == 20_000
        for key in {*own, *alone}:
            p = alone.get(key, 0.0)
            assert abs(own.get(key, 0) - 20_000 * p) <= 6 * math.sqrt(20_000 * p * (1 - p)) + 1e-9


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2**32)), min_size=1, max_size=3))
def test_random_circuits_share_a_program(parts):
    circuits = []
    for n, seed in parts:
        b = random_circuit(n, 6, seed)
        b.cregs = (("a", n - n // 2), ("b", n // 2)) if n > 1 else (("c", 1),)
        circuits.append(b.measure_all().circuit())
    marginals = split(distribution(pack(circuits)), circuits)
    for own, circuit in zip(marginals, circuits, strict=True):
        assert own == pytest.approx(distribution(circuit), abs=1e-9)


def test_counts_are_summed_not_overwritten():
    circuits = [Builder(1, ("c", 1)).measure(0, 0).circuit() for _ in range(2)]
    assert split({"0 0": 40, "0 1": 30, "1 1": 30}, circuits) == [{"0": 40, "1": 60}, {"0": 70, "1": 30}]


# ------------------------------------------------------------------------------------------------------------- the run


def device(**fields):
    return Device(name="dummy", driver="DriverDummy", **{"max_qubits": 6, **fields})


def a_job(texts, number=1, mode="internal", shots=300, **fields):
    spec = {
        "code_type": "qasm3",
        "driver_options": None,
        "dry_run": False,
        "shots": shots,
        "transpiler": "cmss",
        "transpiler_options": None,
        "profiling": None,
        "circuit_aggregation": mode,
        "max_execution_time": 60.0,
        **fields,
    }
    record = JobRecord(
        seq=number,
        job_id=f"00000000-0000-4000-8000-{number:012d}",
        digest=b"",
        backend="dummy",
        code_type="qasm3",
        job_type="sampling",
        job_name=None,
        session_id=None,
        tags=(),
        priority=5,
        status=JobStatus.RUNNING,
        spec=orjson.dumps(spec),
    )
    return Job(record, orjson.dumps(texts))


def together(*jobs, backend=None, **fields):
    backend = backend or Backend(device(**fields), open_driver(device(**fields)))
    ends = list(packed.run_packed(backend, [(job, job.source, math.inf) for job in jobs]))
    assert sorted(end[0].record.seq for end in ends) == sorted(job.record.seq for job in jobs)
    return {end[0].record.seq: (end[1], None if end[2] is None else orjson.loads(end[2]), end[3]) for end in ends}


def places(rows):
    return [row["metadata"].get("aggregation") for row in rows]


def test_the_circuits_of_one_job_share_programs_within_the_device():
    status, rows, width = together(a_job([BELL, TWO_REGISTERS, ONE, STEERED]))[1]
    assert status == "COMPLETED"
    assert width == 3
    assert [row["num_qubits"] for row in rows] == [2, 3, 1, 2]
    first = {"mode": "internal", "circuits": 3, "sources": [0, 1, 2], "num_qubits": 6}
    assert places(rows) == [{**first, "first_qubit": 0}, {**first, "first_qubit": 2}, {**first, "first_qubit": 5}, None]
    assert set(rows[0]["results"]) == {"00", "11"}
    assert set(rows[1]["results"]) == {"01 0", "01 1"}
    assert rows[2]["results"] == {"1": 300}
    assert set(rows[3]["results"]) == {"0 0", "1 1"}
    assert all(sum(row["results"].values()) == 300 for row in rows)


def test_wrong_and_failing_circuits_fall_out_alone():
    status, rows, _ = together(a_job([BELL, WRONG, DIVIDES, ONE]))[1]
    assert status == "FAILED"
    assert [row.get("error", {}).get("code") for row in rows] == [None, -102, -104, None]
    assert rows[3]["results"] == {"1": 300}
    assert sum(rows[0]["results"].values()) == 300


def test_a_circuit_beyond_the_device_fails_alone():
    wide = HEAD + "qubit[9] q; t q;"
    status, rows, _ = together(a_job([BELL, wide, ONE]))[1]
    assert status == "FAILED"
    assert [row.get("error", {}).get("code") for row in rows] == [None, -107, None]
    assert places(rows)[0]["sources"] == [0, 2]


def test_jobs_share_a_program_and_each_gets_its_own_counts():
    ends = together(a_job([BELL], 1, "external"), a_job([ONE, BARE], 2, "external"))
    assert ends[1][0] == ends[2][0] == "COMPLETED"
    assert places(ends[1][1]) == [
        {"mode": "external", "circuits": 3, "sources": [0], "first_qubit": 0, "num_qubits": 5}
    ]
    assert [place["first_qubit"] for place in places(ends[2][1])] == [2, 3]
    assert set(ends[1][1][0]["results"]) == {"00", "11"}
    assert [row["results"] for row in ends[2][1]] == [{"1": 300}, {"10": 300}]
    assert [row["metadata"]["implicit_measurement"] for row in ends[2][1]] == [False, True]


@pytest.mark.parametrize(
    "other",
    [
        {"shots": 301},
        {"transpiler": "dummy"},
        {"mode": "internal"},
        {"driver_options": {"precision": "single"}},
        {"driver_options": {"seed": 3}},
        {"driver_options": {"memory": True}},
    ],
)
def test_only_jobs_that_ask_for_the_same_run_share_a_program(other):
    ends = together(a_job([ONE], 1, "external"), a_job([ONE], 2, **{"mode": "external", **other}))
    assert places(ends[1][1]) == places(ends[2][1]) == [None]


def test_a_seed_makes_it_repeatable():
    options = {"driver_options": {"seed": 5}}
    one, two = (together(a_job([BELL, STEERED], **options))[1][1] for _ in range(2))
    assert [row["results"] for row in one] == [row["results"] for row in two]


def test_routed_to_a_line():
    fields = {"coupling_map": tuple((k, k + 1) for k in range(5)), "basis_gates": ("rz", "sx", "x", "cx")}
    rows = together(a_job([BELL, TWO_REGISTERS]), **fields)[1][1]
    assert set(rows[0]["results"]) == {"00", "11"}
    assert set(rows[1]["results"]) == {"01 0", "01 1"}
    assert places(rows)[1]["circuits"] == 2


def test_a_limit_below_the_device():
    rows = together(a_job([BELL, BELL, ONE]), max_aggregated_qubits=3)[1][1]
    assert [place and place["sources"] for place in places(rows)] == [[0, 2], None, [0, 2]]


class Watched(DummyDriver):
    """Calls `at_run` at each run."""

    def run(self, program, task):
        self.at_run(program, task)
        return super().run(program, task)


def watched(at_run):
    driver = Watched(device())
    driver.at_run = at_run
    return Backend(device(), driver)


@pytest.mark.parametrize("timed_out", [False, True])
def test_a_job_that_is_cancelled_leaves_the_others_whole(timed_out):
    jobs = [a_job([BELL], number, "external") for number in (1, 2, 3)]
    widths = []

    def at_run(program, task):
        widths.append(program.num_qubits)
        if len(widths) == 1:
            jobs[1].timed_out = timed_out
            jobs[1].cancel[0] = 1
            assert task.cancel[0]
            raise JobCancelled

    ends = together(*jobs, backend=watched(at_run))
    assert widths == [6, 4]
    assert [ends[n][0] for n in (1, 3)] == ["COMPLETED"] * 2
    assert sum(ends[3][1][0]["results"].values()) == 300
    if timed_out:
        assert (ends[2][0], ends[2][1][0]["error"]["code"]) == ("FAILED", -121)
    else:
        assert ends[2] == ("CANCELLED", None, None)


def test_all_that_are_cancelled_end_so():
    jobs = [a_job([BELL], number, "external") for number in (1, 2)]
    jobs[0].cancel[0] = 1  # before a thread began

    def at_run(program, task):
        jobs[1].cancel[0] = 1
        raise JobCancelled

    ends = together(*jobs, backend=watched(at_run))
    assert {end[0] for end in ends.values()} == {"CANCELLED"}


def test_a_device_that_refuses_wide_programs_gets_them_one_by_one():
    def at_run(program, task):
        if program.num_qubits > 2:
            raise DriverRunError("too wide for me")

    rows = together(a_job([BELL, ONE]), backend=watched(at_run))[1][1]
    assert places(rows) == [None, None]
    assert rows[1]["results"] == {"1": 300}


def test_a_defect_ends_every_job():
    def at_run(program, task):
        raise ZeroDivisionError

    ends = together(a_job([BELL], 1, "external"), a_job([ONE], 2, "external"), backend=watched(at_run))
    assert {end[0] for end in ends.values()} == {"FAILED"}
    assert ends[2][1][0]["error"]["code"] == -10


def test_the_mode_is_read_from_the_spec():
    assert packed.mode_of(a_job([ONE], mode="external")) == "external"
    assert packed.mode_of(a_job([ONE], mode="None")) is None
    assert packed.mode_of(SimpleNamespace(record=SimpleNamespace(spec=b"{}"))) is None
    assert np.isfinite(packed.MOST_JOBS)


# --------------------------------------------------------------------------------------------------------- at the service


class Lab(House):
    """A house whose device simulates, one job at a time, with programs of six qubits."""

    def __init__(self, directory, **fields):
        super().__init__(directory)
        described = device(slots=1, **fields)
        self.backends["dummy"] = Backend(described, open_driver(described))
        self.backends["remote"] = Backend(
            Device(name="remote", driver="DriverAsync"), ExternalDriver(Device(name="remote", driver=""))
        )

    async def busy(self):
        """Occupies the only slot until it is cancelled."""
        job = await self.submit(source_code=[ONE], driver_options={"sleep": 30})
        await self.running(job["job_id"])
        return job["job_id"]


def in_lab(directory, test, **fields):
    async def run():
        async with Lab(directory, **fields) as lab:
            return await test(lab)

    return asyncio.run(run())


def test_queued_jobs_share_a_program_in_their_order(tmp_path):
    async def test(lab):
        holder = await lab.busy()
        asked = [
            {"circuit_aggregation": "external"},
            {"circuit_aggregation": "external", "source_code": [ONE, BARE]},
            {},  # ends the row of jobs at the head of the queue that share
            {"circuit_aggregation": "external"},
            {"circuit_aggregation": "external", "job_priority": 1},
        ]
        jobs = [await lab.submit(**{"source_code": [BELL], "shots": 50, **fields}) for fields in asked]
        await lab.cancel(holder, force=True)
        for job in jobs:
            assert (await lab.wait(job["job_id"]))["job_status"] == "COMPLETED"
        done = [await lab.results(job["job_id"]) for job in jobs]
        found = [places(job["results"]) for job in done]
        # the job of priority 1 runs first: with the two behind it, into whose program the second's second circuit does not fit
        assert [place["first_qubit"] for place in (found[4][0], found[0][0], found[1][0])] == [0, 2, 4]
        assert found[1][1] is None
        assert found[2] == found[3] == [None]
        started = [job["started_at"] for job in done]
        assert started[4] <= started[0] <= started[1] <= started[2] <= started[3]
        assert all(sum(row["results"].values()) == 50 for job in done for row in job["results"])
        assert done[0]["circuit_aggregation"] == "external"
        assert done[0]["enable_circuit_aggregation"] is True

    in_lab(tmp_path, test)


def test_a_device_can_aggregate_what_does_not_say(tmp_path):
    async def test(lab):
        for fields, mode in (
            ({}, "internal"),
            ({"circuit_aggregation": "None"}, None),
            ({"enable_circuit_aggregation": False}, None),
        ):
            job = await lab.submit(source_code=[BELL, ONE], shots=20, **fields)
            assert (await lab.wait(job["job_id"]))["job_status"] == "COMPLETED"
            rows = (await lab.results(job["job_id"]))["results"]
            assert [place and place["mode"] for place in places(rows)] == [mode, mode]
        matrix = await lab.submit(source_code=[[[1]]], code_type="qubo")
        assert matrix["circuit_aggregation"] is None

    in_lab(tmp_path, test, aggregation="internal")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"circuit_aggregation": "internal", "enable_circuit_aggregation": False}, "contradicts"),
        ({"circuit_aggregation": "None", "enable_circuit_aggregation": True}, "contradicts"),
        ({"circuit_aggregation": "internal", "code_type": "qubo", "source_code": [[[1]]]}, "counts of circuits"),
        (
            {"enable_circuit_aggregation": True, "job_type": "estimation", "observables": [{"ZZ": 1}]},
            "counts of circuits",
        ),
        ({"circuit_aggregation": "external", "backend": "remote"}, "fetched from outside one by one"),
    ],
)
def test_what_cannot_share_a_program_is_refused(tmp_path, fields, words):
    async def test(lab):
        with pytest.raises(InvalidParams, match=words):
            await lab.submit(**{"source_code": [BELL], **fields})

    in_lab(tmp_path, test)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('aggregation = "always"', "aggregation 'always'"),
        ("max_aggregated_qubits = 29", "max_aggregated_qubits must be in 0..28"),
        ('driver = "DriverAer"\naggregation = "internal"', "is not offered by DriverAer"),
    ],
)
def test_a_wrong_device_is_refused(tmp_path, text, words):
    path = tmp_path / "devices.toml"
    driver = "" if "driver" in text else 'driver = "DriverDummy"\n'
    path.write_text(f"[devices.a]\n{driver}{text}\n")
    with pytest.raises(ConfigurationInvalid, match=words):
        read_devices(path)
