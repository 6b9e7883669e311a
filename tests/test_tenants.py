"""Tenants on a real server: what belongs to another does not exist, whatever is asked."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DEVICES
from test_access import kept

from qfast import errors
from qfast.client import Client
from qfast.demo import BELL2, local_server

SLEEPER = {"driver_options": {"sleep": 60}, "backend": "narrow"}


class Lab:
    """A server with keys of two tenants, and what its audit says."""

    def __init__(self, url: str, folder: Path, tokens: dict[str, str]) -> None:
        self.url, self.folder = url, folder
        self.client = {name: Client(url, token=token) for name, token in tokens.items()}

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "data" / "audit.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    keys = folder / "keys.toml"
    tokens = {
        "ann": kept(keys, name="ann", tenant="red"),
        "eve": kept(keys, name="eve", tenant="blue"),
        "few": kept(keys, name="few", tenant="green", max_live=2),
        "root": kept(keys, name="root", tenant="red", scopes=["admin"]),
        "machine": kept(keys, name="machine", tenant="*", scopes=["driver"]),
    }
    devices = folder / "devices.toml"
    devices.write_text(DEVICES)
    flags = ("--keys", str(keys), "--devices", str(devices))
    with local_server(folder / "data", *flags) as (url, _):
        yield Lab(url, folder, tokens)


@pytest.fixture
def waiting(lab: Lab) -> Iterator[str]:
    """A job of red that stays QUEUED behind a sleeping one."""
    ann = lab.client["ann"]
    sleeper = ann.submit_job(BELL2, **SLEEPER)["job_id"]
    while ann.get_job_status(sleeper)["job_status"] == "QUEUED":
        pass
    job_id = ann.submit_job(BELL2, backend="narrow")["job_id"]
    yield job_id
    ann.delete_jobs([job_id, sleeper], force=True)


ASKED: dict[str, Callable[[Client, str], Any]] = {
    "get_job_status": lambda client, job_id: client.get_job_status(job_id),
    "get_job_results": lambda client, job_id: client.get_job_results(job_id),
    "wait_job": lambda client, job_id: client.call("wait_job", {"job_id": job_id, "timeout": 0}),
    "update_job": lambda client, job_id: client.update_job(job_id, job_priority=1),
    "get_jobs before": lambda client, job_id: client.get_jobs(before=job_id),
    "events": lambda client, job_id: next(client.follow(job_id)),
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("final", [False, True], ids=["live", "final"])
def test_a_foreign_job_answers_exactly_as_an_unknown_one(lab, waiting, name, final):
    job_id = waiting
    if final:
        job_id = lab.client["ann"].submit_job(BELL2)["job_id"]
        lab.client["ann"].wait(job_id, 60)
    refusals = []
    unknown = str(uuid.uuid4())
    for asked in (job_id, unknown):
        with pytest.raises(errors.NotFound) as refusal:
            ASKED[name](lab.client["eve"], asked)
        refusals.append(str(refusal.value).replace(asked, "ID"))
    assert refusals[0] == refusals[1]


def test_lists_cancels_and_deletes_leave_foreign_jobs_alone(lab, waiting):
    ann, eve = lab.client["ann"], lab.client["eve"]
    own = eve.submit_job(BELL2)["job_id"]
    eve.wait(own, 60)
    assert {job["job_id"] for job in eve.get_jobs()} == {own}
    assert eve.get_jobs(job_ids=[waiting]) == []
    assert eve.cancel_jobs([waiting], force=True) == []
    assert [job["job_id"] for job in eve.delete_jobs([waiting, own], force=True)] == [own]
    assert ann.get_job_status(waiting)["job_status"] == "QUEUED"
    assert waiting in {job["job_id"] for job in ann.get_jobs()}


def test_a_foreign_id_is_taken_whatever_the_payload(lab, waiting):
    with pytest.raises(errors.Conflict) as refusal:
        lab.client["eve"].submit_job(BELL2, backend="narrow", job_id=waiting)
    assert "another payload" in str(refusal.value)
    assert lab.client["ann"].submit_job(BELL2, backend="narrow", job_id=waiting)["job_id"] == waiting


def test_foreign_sessions_do_not_exist(lab):
    ann, eve, root = (lab.client[name] for name in ("ann", "eve", "root"))
    session = ann.call("open_session", {"backend": "dummy", "mode": "batch"})
    body = {"session_id": session["id"]}
    assert session["tenant"] == "red"
    for method in ("get_session", "close_session", "cancel_session"):
        with pytest.raises(errors.NotFound):
            eve.call(method, body)
    with pytest.raises(errors.NotFound):
        eve.submit_job(BELL2, session_id=session["id"])
    assert eve.call("get_sessions") == []
    assert eve.call("close_sessions") == []
    assert [one["id"] for one in ann.call("get_sessions")] == [session["id"]]
    assert session["id"] in [one["id"] for one in root.call("get_sessions")]
    assert [one["id"] for one in ann.call("close_sessions")] == [session["id"]]


def test_admin_sees_all_and_a_machine_brings_results_for_all(lab):
    eve, root, machine = (lab.client[name] for name in ("eve", "root", "machine"))
    job_id = eve.submit_job(BELL2, backend="remote")["job_id"]
    while eve.get_job_status(job_id)["job_status"] != "RUNNING":
        pass
    assert root.get_job_status(job_id)["job_status"] == "RUNNING"
    with pytest.raises(errors.Forbidden):
        eve.set_job_results(job_id, [{"00": 1}])
    machine.set_job_results(job_id, [{"00": 1}])
    assert eve.get_job_results(job_id)["results"][0]["results"] == {"00": 1}


def test_a_quota_of_live_jobs(lab):
    few = lab.client["few"]
    sleepers = [few.submit_job(BELL2, **SLEEPER)["job_id"] for _ in range(2)]
    with pytest.raises(errors.TooMany) as refusal:
        few.submit_job(BELL2)
    assert refusal.value.extra["retry_after"] > 0
    few.cancel_jobs(sleepers, force=True)
    for job_id in sleepers:
        few.wait(job_id, 60)
    assert few.submit_job(BELL2)["job_status"] == "QUEUED"


def test_the_audit_has_a_line_for_each_state_and_for_who_asked(lab):
    eve = lab.client["eve"]
    job_id = eve.submit_job(BELL2)["job_id"]
    eve.wait(job_id, 60)
    eve.delete_jobs(job_id)
    lines = [line for line in lab.audit() if line.get("job_id") == job_id]
    assert [line["job_status"] for line in lines] == ["QUEUED", "RUNNING", "COMPLETED", "DELETED"]
    assert {line["tenant"] for line in lines} == {"blue"}
    asked = [line for line in lab.audit() if line.get("method") == "delete_jobs" and line["tenant"] == "blue"]
    assert asked
    assert all(len(line["key"]) == 8 for line in asked)
    text = (lab.folder / "data" / "audit.jsonl").read_text()
    assert "qf_" not in text
    assert "Bearer" not in text
