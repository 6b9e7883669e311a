"""The verbs on real stores, with a driver that ends when the test says so."""

import asyncio
import json
import threading
import uuid

import msgspec
import pytest
from store_kit import STORES, make_store

from qfast import wire
from qfast.engine import Engine
from qfast.errors import CircuitError, Conflict, InvalidParams, JobCancelled, NotFound, ParseError, Unavailable
from qfast.job import JobStatus
from qfast.live import Backend
from qfast.nodes import jobs_of
from qfast.plugins import Device, Outcome
from qfast.service import Service

PROGRAM = "OPENQASM 2.0; qreg q[1];"


class Options(msgspec.Struct, forbid_unknown_fields=True):
    hold: bool = False
    fail: bool = False
    seed: int | None = None


class FakeDriver:
    """Counts everything as zero; a job with the option hold runs until its gate opens or it is cancelled."""

    supported_code_types = ("qasm", "qasm2", "qasm3", "qubo")
    supported_transpilers = ()
    results_fetch_mode = "sync"
    takes_parameters = True
    Options = Options

    def __init__(self):
        self.gate = threading.Event()
        self.ran = []

    def parse(self, task):
        if task.options.fail:
            raise ParseError("in line 1, column 1, wrong", {"line": 1})
        return task.source

    def transpile(self, program, task):
        return program

    def run(self, program, task):
        self.ran.append(program)
        while task.options.hold and not self.gate.wait(0.002):
            if task.cancel[0]:
                raise JobCancelled
        return Outcome({"0": task.shots}, 1)


class AsyncDriver(FakeDriver):
    results_fetch_mode = "async"


class House:
    """A service with its engine and store, and short ways to its verbs."""

    kind = "sqlite"

    def __init__(self, directory, **limits):
        self.driver = FakeDriver()
        self.store = make_store(self.kind, directory)
        self.backends = {
            "dummy": Backend(Device(name="dummy", driver="x", slots=1), self.driver),
            "remote": Backend(Device(name="remote", driver="y"), AsyncDriver()),
        }
        self.live = jobs_of(self.store, self.backends)
        self.service = Service(self.live, check_callbacks=lambda value: value, **limits)

    async def __aenter__(self):
        await self.store.open()
        await self.live.open()
        self.engine = Engine(self.live)
        self.engine.start()
        return self

    async def __aexit__(self, *_):
        self.live.stop_waiting()
        await self.engine.drain(0.2)
        await self.store.close()

    async def submit(self, caller=None, **fields):
        body = msgspec.json.encode({"source_code": [PROGRAM], **fields})
        answer = await self.service.submit_job(msgspec.json.decode(body, type=wire.SubmitBody), None, caller or {})
        return json.loads(answer)

    async def status(self, job_id):
        return json.loads(await self.service.get_job_status(wire.JobBody(job_id=job_id), None, {}))

    async def results(self, job_id):
        return json.loads(await self.service.get_job_results(wire.JobBody(job_id=job_id), None, {}))

    async def wait(self, job_id, seconds=10.0):
        body = wire.WaitBody(job_id=job_id, timeout=seconds)
        return json.loads(await self.service.wait_job(body, None, {}))

    async def jobs(self, **filters):
        return json.loads(await self.service.get_jobs(None, wire.JobFilters(**filters), {}))

    async def cancel(self, *job_ids, force=False):
        return json.loads(await self.service.cancel_jobs(wire.JobIdsBody(job_ids=list(job_ids), force=force), None, {}))

    async def delete(self, *job_ids, force=False):
        return json.loads(await self.service.delete_jobs(wire.JobIdsBody(job_ids=list(job_ids), force=force), None, {}))

    async def bring(self, job_id, results):
        body = wire.SetResultsBody(job_id=job_id, results=results)
        return json.loads(await self.service.set_job_results(body, None, {}))

    async def update(self, job_id, **fields):
        return json.loads(await self.service.update_job(wire.UpdateBody(job_id=job_id, **fields), None, {}))

    async def running(self, job_id):
        for _ in range(2000):
            if (await self.status(job_id))["job_status"] == "RUNNING":
                return
            await asyncio.sleep(0.002)
        raise AssertionError("the job does not start")

    async def holder(self, **fields):
        """A job that occupies the only slot."""
        job = await self.submit(driver_options={"hold": True}, **fields)
        await self.running(job["job_id"])
        return job["job_id"]


@pytest.fixture(autouse=True, params=STORES)
def kind(request, monkeypatch):
    """Every test runs on every kind of store: what callers see is the same."""
    monkeypatch.setattr(House, "kind", request.param)
    return request.param


def with_house(directory, test, **limits):
    async def run():
        async with House(directory, **limits) as house:
            return await test(house)

    return asyncio.run(run())


def test_a_job_from_submit_to_results(tmp_path):
    async def test(house):
        job = await house.submit(shots=7, job_name="a", tags=["x"], profiling=["all"])
        assert (job["job_status"], job["end_date"], job["source_code"]) == ("QUEUED", None, [PROGRAM])
        status = await house.wait(job["job_id"])
        assert (status["job_status"], status["progress"]) == ("COMPLETED", 100)
        assert "source_code" not in status
        done = await house.results(job["job_id"])
        (row,) = done["results"]
        assert row["results"] == {"0": 7}
        assert row["metadata"]["status"] == "COMPLETED"
        assert {"driver:parse", "driver:transpile", "driver:run", "code", "queuing"} <= set(row["profiling"])
        assert done["num_qubits"] == 1

    with_house(tmp_path, test)


def test_a_wrong_source_fails_the_job_and_spares_the_others(tmp_path):
    async def test(house):
        job = await house.submit(source_code=["a", "b"], driver_options={"fail": True})
        assert (await house.wait(job["job_id"]))["job_status"] == "FAILED"
        rows = (await house.results(job["job_id"]))["results"]
        assert [row["error"]["code"] for row in rows] == [-102, -102]
        assert rows[0]["error"]["message"].startswith("[JobEngine] Parse Error: in line 1")
        assert rows[0]["results"] is None

    with_house(tmp_path, test)


def test_priorities_and_fifo_within_one(tmp_path):
    async def test(house):
        first = await house.holder()
        jobs = [
            await house.submit(source_code=[f"{k}"], job_priority=priority)
            for k, priority in enumerate([5, 9, 1, 5, 1])
        ]
        positions = [(await house.status(job["job_id"]))["queue_position"] for job in jobs]
        assert positions == [2, 4, 0, 3, 1]
        house.driver.gate.set()
        await asyncio.gather(*(house.wait(job["job_id"]) for job in jobs), house.wait(first))
        assert house.driver.ran[1:] == ["2", "4", "0", "3", "1"]

    with_house(tmp_path, test)


def test_the_same_id_is_the_same_job(tmp_path):
    async def test(house):
        job_id = str(uuid.uuid4())
        both = await asyncio.gather(*(house.submit(job_id=job_id, shots=3) for _ in range(2)))
        assert {job["job_id"] for job in both} == {job_id}
        await house.wait(job_id)
        assert (await house.submit(job_id=job_id, shots=3))["job_status"] == "COMPLETED"
        assert (await house.submit({"idempotency-key": job_id}, shots=3))["job_id"] == job_id
        with pytest.raises(Conflict):
            await house.submit(job_id=job_id, shots=4)
        assert len(house.driver.ran) == 1

    with_house(tmp_path, test)


def test_cancel_queued_and_running(tmp_path):
    async def test(house):
        running = await house.holder()
        queued = (await house.submit())["job_id"]
        assert await house.cancel(running, queued, queued, str(uuid.uuid4())) == [
            {"job_id": queued, "job_status": "CANCELLED"}
        ]
        assert (await house.status(running))["job_status"] == "RUNNING"
        assert (await house.status(queued))["job_status"] == "CANCELLED"
        assert [job["job_id"] for job in await house.cancel(running, force=True)] == [running]
        assert (await house.wait(running))["job_status"] == "CANCELLED"
        assert await house.cancel(running, force=True) == []

    with_house(tmp_path, test)


def test_delete(tmp_path):
    async def test(house):
        running = await house.holder()
        queued = (await house.submit())["job_id"]
        assert await house.delete(running) == []
        assert await house.delete(queued, queued) == [{"job_id": queued, "job_status": "DELETED"}]
        with pytest.raises(NotFound):
            await house.status(queued)
        with pytest.raises(Conflict):
            await house.submit(job_id=queued)
        assert len(await house.delete(running, force=True)) == 1
        assert await house.jobs() == []

    with_house(tmp_path, test)


def test_update_only_while_queued(tmp_path):
    async def test(house):
        running = await house.holder()
        one, two = (await house.submit())["job_id"], (await house.submit())["job_id"]
        answer = await house.update(two, job_priority=2, job_name="new", description="text")
        assert (answer["job_priority"], answer["job_name"], answer["description"]) == (2, "new", "text")
        assert [(await house.status(job))["queue_position"] for job in (one, two)] == [1, 0]
        with pytest.raises(Conflict):
            await house.update(running, job_priority=1)
        with pytest.raises(InvalidParams):
            await house.update(one)

    with_house(tmp_path, test)


def test_results_from_outside(tmp_path):
    async def test(house):
        job = (await house.submit(backend="remote", source_code=["a", "b"]))["job_id"]
        await house.running(job)
        with pytest.raises(InvalidParams, match="2 sources"):
            await house.bring(job, [{"0": 1}])
        with pytest.raises(InvalidParams, match="bit string"):
            await house.bring(job, [{"0": 1}, {"x": 1}])
        rows = [{"01": 4}, {"results": {"11": 2}, "num_qubits": 2}]
        assert (await house.bring(job, rows))["job_status"] == "COMPLETED"
        assert (await house.bring(job, rows))["job_status"] == "COMPLETED"
        with pytest.raises(Conflict):
            await house.bring(job, [{"01": 4}, {"11": 3}])
        done = await house.results(job)
        assert [row["results"] for row in done["results"]] == [{"01": 4}, {"11": 2}]
        assert done["results"][0]["metadata"]["results_fetch_mode"] == "set"
        failing = (await house.submit(backend="remote"))["job_id"]
        await house.running(failing)
        assert (await house.bring(failing, [{"code": -104, "message": "boom"}]))["job_status"] == "FAILED"
        own = (await house.submit())["job_id"]
        await house.wait(own)
        with pytest.raises(Conflict):
            await house.bring(own, [{"0": 1024}])

    with_house(tmp_path, test)


def test_a_caller_does_not_wait_for_ever_for_a_store_that_is_out_of_reach(tmp_path, monkeypatch, kind):
    alone = kind == "sqlite"  # of several nodes, the one that was asked has nothing to do later
    monkeypatch.setattr("qfast.beside.PATIENCE", 0.05)

    async def test(house):
        await house.holder()
        queued = (await house.submit())["job_id"]
        apply = house.store.apply

        async def refuse(changes):
            raise Unavailable("no room", extra={"retry_after": 1})

        house.store.apply = refuse
        with pytest.raises(Unavailable, match="as soon as it does" if alone else "no room") as refusal:
            await house.cancel(queued)
        assert refusal.value.as_dict()["data"]["retry_after"] > 0
        house.store.apply = apply
        if not alone:
            await house.cancel(queued)
        assert (await house.wait(queued))["job_status"] == "CANCELLED"

    with_house(tmp_path, test)


def test_one_row_for_each_parameter_set(tmp_path):
    async def test(house):
        house.driver.parse = lambda task: task.inputs
        points = [[{"t": 0.5}, {"t": 1}], None]
        job = await house.submit(source_code=["a", "b"], parameters=points, shots=2)
        assert job["parameters"] == points
        status = await house.wait(job["job_id"])
        assert "parameters" not in status
        rows = (await house.results(job["job_id"]))["results"]
        assert house.driver.ran == [{"t": 0.5}, {"t": 1}, None]
        assert [row["metadata"].get("parameters") for row in rows] == house.driver.ran
        remote = (await house.submit(backend="remote", parameters=[[{"t": 1}, {"t": 2}]]))["job_id"]
        await house.running(remote)
        with pytest.raises(InvalidParams, match="2 sources"):
            await house.bring(remote, [{"0": 1}])
        assert (await house.bring(remote, [{"0": 1}, {"1": 1}]))["job_status"] == "COMPLETED"

    with_house(tmp_path, test)


def test_a_dry_run_of_an_outside_backend_runs_here(tmp_path):
    async def test(house):
        job = await house.submit(backend="remote", dry_run=True)
        assert (await house.wait(job["job_id"]))["job_status"] == "COMPLETED"

    with_house(tmp_path, test)


def test_filters_and_pages(tmp_path):
    async def test(house):
        holder = await house.holder(tags=["h"])
        ids = [(await house.submit(job_name=f"n{k}", tags=["even"] if k % 2 == 0 else []))["job_id"] for k in range(5)]
        assert [job["job_id"] for job in await house.jobs()] == [*reversed(ids), holder]
        assert [job["job_id"] for job in await house.jobs(tags=["even"])] == [ids[4], ids[2], ids[0]]
        assert [job["job_id"] for job in await house.jobs(job_status="RUNNING")] == [holder]
        assert len(await house.jobs(job_status=["QUEUED"])) == 5
        assert [job["job_id"] for job in await house.jobs(limit=2, before=ids[3])] == [ids[2], ids[1]]
        assert [job["job_id"] for job in await house.jobs(job_ids=[ids[1], str(uuid.uuid4())])] == [ids[1]]
        with pytest.raises(InvalidParams, match="created_after"):
            await house.jobs(created_after="yesterday")

    with_house(tmp_path, test)


def test_a_restart_finds_every_job_and_runs_what_had_not_ended(tmp_path):
    async def first(house):
        done = (await house.submit())["job_id"]
        await house.wait(done)
        running = await house.holder()
        queued = [(await house.submit(source_code=[f"{k}"], job_priority=9 - k))["job_id"] for k in range(3)]
        outside = (await house.submit(backend="remote"))["job_id"]
        await house.running(outside)
        return done, running, queued, outside

    done, running, queued, outside = with_house(tmp_path, first)

    async def second(house):
        house.driver.gate.set()
        assert (await house.status(done))["job_status"] == "COMPLETED"
        assert (await house.status(outside))["job_status"] == "RUNNING"
        for job in (running, *queued):
            assert (await house.wait(job))["job_status"] == "COMPLETED"
        assert house.driver.ran == [PROGRAM, "2", "1", "0"]
        assert (await house.bring(outside, [{"0": 1}]))["job_status"] == "COMPLETED"
        newest = await house.submit()
        assert (await house.jobs(limit=1))[0]["job_id"] == newest["job_id"]

    with_house(tmp_path, second)


def test_an_offline_device_is_drained(tmp_path):
    async def test(house):
        running = await house.holder()
        queued = (await house.submit())["job_id"]
        backend = house.backends["dummy"]
        backend.device = msgspec.structs.replace(backend.device, status="offline")
        with pytest.raises(Conflict, match="offline"):
            await house.submit()
        house.driver.gate.set()
        assert (await house.wait(running))["job_status"] == "COMPLETED"
        assert (await house.status(queued))["job_status"] == "QUEUED"
        backend.device = msgspec.structs.replace(backend.device, status="online")
        backend.wake()
        assert (await house.wait(queued))["job_status"] == "COMPLETED"

    with_house(tmp_path, test)


def test_a_job_that_runs_too_long_fails_alone(tmp_path):
    async def test(house):
        job = await house.submit(driver_options={"hold": True}, max_execution_time=0.05)
        assert (await house.wait(job["job_id"]))["job_status"] == "FAILED"
        assert (await house.results(job["job_id"]))["results"][0]["error"]["code"] == -121
        assert (await house.wait((await house.submit())["job_id"]))["job_status"] == "COMPLETED"

    with_house(tmp_path, test)


def test_a_full_queue_and_a_stopping_server_refuse(tmp_path):
    async def test(house):
        await house.holder()
        await house.submit()
        with pytest.raises(Unavailable) as full:
            await house.submit()
        assert full.value.as_dict()["data"]["retry_after"] > 0
        house.live.stop_waiting()
        with pytest.raises(Unavailable, match="stopping"):
            await house.submit()

    with_house(tmp_path, test, max_queued=2)


@pytest.mark.parametrize(
    ("fields", "error", "word"),
    [
        ({"backend": "dumy"}, NotFound, "did you mean 'dummy'"),
        ({"code_type": "qasm4"}, InvalidParams, "code_type"),
        ({"source_code": "text"}, InvalidParams, "source_code"),
        ({"source_code": []}, InvalidParams, "source_code"),
        ({"source_code": ["a", 5]}, InvalidParams, "source_code[1]"),
        ({"driver_options": {"hodl": 1}}, InvalidParams, "did you mean 'hold'"),
        ({"driver_options": {"hold": 1}}, InvalidParams, "driver_options.hold"),
        ({"observables": [{"Z": 1}]}, InvalidParams, "need job_type estimation"),
        ({"parameters": {"t": 1}}, InvalidParams, "parameters"),
        ({"parameters": [None, None]}, InvalidParams, "parameters"),
        ({"parameters": [[]]}, InvalidParams, "parameters.0"),
        ({"parameters": [[{"t": "x"}]]}, InvalidParams, "parameters.0.0.t"),
        ({"parameters": [[{"t": True}]]}, InvalidParams, "is not a number"),
        ({"parameters": [[3]]}, InvalidParams, "parameters.0.0"),
        ({"parameters": [None], "code_type": "qasm2"}, InvalidParams, "OpenQASM 3"),
        ({"job_type": "estimation"}, InvalidParams, "job_type"),
        ({"enable_circuit_aggregation": True}, InvalidParams, "is not offered by backend"),
        ({"qec_options": {"x": 1}}, InvalidParams, "qec_options"),
        ({"transpiler": "nope"}, NotFound, "transpiler"),
        ({"transpiler_info": {}, "transpiler_options": {"a": 1}}, InvalidParams, "differs"),
        ({"max_execution_time": 500_000}, InvalidParams, "max_execution_time"),
        ({"code_type": "qubo", "source_code": [[[1, 2], [3]]]}, InvalidParams, "source_code"),
    ],
)
def test_refusals(tmp_path, fields, error, word):
    async def test(house):
        with pytest.raises(error) as refusal:
            await house.submit(**fields)
        told = json.dumps(refusal.value.as_dict())
        assert word in told.replace('\\"', '"')

    with_house(tmp_path, test)


def test_a_sleeping_job_is_as_good_as_one_that_is_awake(tmp_path, monkeypatch, kind):
    if kind != "sqlite":
        pytest.skip("a node claims what it can begin soon, and holds that")
    monkeypatch.setattr("qfast.held.AWAKE", 2)
    monkeypatch.setattr("qfast.held.ROUSED", 3)

    async def test(house):
        blocker = await house.holder()
        ids = [(await house.submit(job_priority=1 + n % 3, job_name=f"n{n}"))["job_id"] for n in range(20)]
        assert len(house.live.dormant) == 18
        assert house.live.live_count() == 21
        order = sorted(range(20), key=lambda n: (n % 3, n))
        for n in (3, 19):
            status = await house.status(ids[n])
            assert (status["job_status"], status["queue_position"]) == ("QUEUED", order.index(n))
        assert (await house.submit(job_id=ids[4], job_priority=2, job_name="n4"))["job_id"] == ids[4]
        with pytest.raises(Conflict):
            await house.submit(job_id=ids[4], shots=9)
        assert (await house.update(ids[9], job_priority=10))["job_priority"] == 10
        assert [job["job_id"] for job in await house.cancel(ids[10], ids[11], str(uuid.uuid4()))] == ids[10:12]
        assert [job["job_id"] for job in await house.delete(ids[12], ids[10])] == [ids[12], ids[10]]
        assert {job["job_status"] for job in await house.jobs(job_ids=ids)} == {"QUEUED", "CANCELLED"}
        waiting = asyncio.ensure_future(house.wait(ids[18]))
        assert (await house.wait(ids[18], 0))["job_status"] == "QUEUED"
        house.driver.gate.set()
        await house.wait(blocker)
        assert (await waiting)["job_status"] == "COMPLETED"
        for n in set(range(20)) - {10, 11, 12}:
            assert (await house.wait(ids[n]))["job_status"] == "COMPLETED"
        started = {job["job_name"]: job["started_at"] for job in await house.jobs(job_ids=ids) if job["started_at"]}
        left = [n for n in order if n not in (9, 10, 11, 12)] + [9]
        assert sorted(started, key=started.__getitem__) == [f"n{n}" for n in left]
        assert (house.live.live_count(), house.live.dormant, house.live.by_id) == (0, {}, {})

    with_house(tmp_path, test)


def test_a_restart_brings_places_to_memory_and_jobs_when_it_is_their_turn(tmp_path, monkeypatch, kind):
    if kind != "sqlite":
        pytest.skip("a node claims what it can begin soon, and holds that")

    async def before(house):
        await house.holder()
        own = {"tenant": "red"}
        return [(await house.submit(own, job_priority=10 - n, shots=n + 1))["job_id"] for n in range(5)]

    ids = with_house(tmp_path, before)

    async def after(house):
        assert len(house.live.dormant) >= 4  # the head of the queue may be awake already
        assert await house.live.live_of("red", 99) == 5
        for job_id in ids:
            assert (await house.wait(job_id))["job_status"] == "COMPLETED"
        assert await house.live.live_of("red", 99) == 0

    monkeypatch.setattr(FakeDriver, "run", lambda self, program, task: Outcome({"0": task.shots}, 1))
    with_house(tmp_path, after)


def test_callbacks_are_owed_from_the_moment_a_job_ends(tmp_path):
    async def test(house):
        hook = {"name": "cb", "type": "results", "method": "post", "url": "http://127.0.0.1:9/x"}
        job = await house.submit(callbacks=[hook], shots=2)
        await house.wait(job["job_id"])
        assert "callbacks" not in await house.status(job["job_id"])
        (owed,) = await house.store.due_callbacks(2**40, 10)
        body = json.loads(owed.body)
        assert (body["job_id"], body["job_status"], body["backend"]) == (job["job_id"], "COMPLETED", "dummy")
        assert body["results"][0]["results"] == {"0": 2}
        assert json.loads(owed.spec)["url"] == hook["url"]

    with_house(tmp_path, test)


def test_a_defect_of_a_driver_costs_one_job(tmp_path):
    async def test(house):
        house.driver.transpile = lambda program, task: 1 / 0
        job = await house.submit()
        assert (await house.wait(job["job_id"]))["job_status"] == JobStatus.FAILED
        error = (await house.results(job["job_id"]))["results"][0]["error"]
        assert error["code"] == -10
        assert issubclass(ParseError, CircuitError)

    with_house(tmp_path, test)


MATRIX = [[k % 7 for k in range(100)]] * 100  # more JSON than is kept


@pytest.mark.parametrize("room", [256 << 20, 0])
def test_matrices_are_read_once_when_there_is_room(tmp_path, monkeypatch, room, kind):
    async def test(house):
        reads = []
        source = house.store.source
        house.live.parsed.room = room

        async def counted(seq):
            reads.append(seq)
            return await source(seq)

        monkeypatch.setattr(house.store, "source", counted)
        job = await house.submit(code_type="qubo", source_code=[MATRIX, MATRIX])
        assert (await house.wait(job["job_id"]))["job_status"] == "COMPLETED"
        # a claim brings a short source with it
        assert len(reads) == (0 if room or kind == "postgres" else 1)
        assert [problem.n for problem in house.driver.ran] == [100, 100]
        assert house.live.parsed.used == 0

    with_house(tmp_path, test)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_matrices_of_jobs_that_never_run_are_let_go(tmp_path):
    async def test(house):
        await house.holder()
        jobs = [await house.submit(code_type="qubo", source_code=[MATRIX]) for _ in range(2)]
        held = house.live.parsed.used
        assert held >= 2 * 2 * 100 * 100
        await house.cancel(jobs[0]["job_id"])
        assert house.live.parsed.used == held // 2
        await house.delete(jobs[1]["job_id"])
        assert house.live.parsed.used == 0

    with_house(tmp_path, test)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_long_sources_are_packed_only_when_asked(tmp_path):
    async def test(house):
        long = "// " + "x" * (1 << 20)
        sizes = []
        for fields in ({}, {"code_compression_level": 1}):
            before = (tmp_path / "qfast.db-wal").stat().st_size if (tmp_path / "qfast.db-wal").exists() else 0
            job = await house.submit(source_code=[long], **fields)
            sizes.append((tmp_path / "qfast.db-wal").stat().st_size - before)
            assert (await house.results(job["job_id"]))["source_code"] == [long]
        assert sizes[1] < 1 << 19 < sizes[0]

    with_house(tmp_path, test)
