"""The command line: flags to fields, answers to text, failures to exit statuses; and how settings are found."""

from __future__ import annotations

import io
import json
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from conftest import RunningServer
from stand_in import RefusalError, StandIn, stand_in

from qfast import cli, render
from qfast.keys import made, write_keys
from qfast.serve import Settings, SettingsError

JOB = str(uuid.UUID(int=1, version=4))
BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\nh q[0];\ncx q[0],q[1];\n'
PARSE_ERROR = {
    "code": -102,
    "message": "[JobEngine] Parse Error: in line 3, column 4, expected ','",
    "data": {
        "line": 3,
        "column": 4,
        "end_column": 6,
        "snippet": "cx q0 q1;",
        "hint": "operands are separated by commas",
    },
}


class Jobs:
    """A scripted server with one job."""

    def __init__(self) -> None:
        self.job: dict[str, Any] = {
            "job_id": JOB,
            "job_status": "COMPLETED",
            "job_name": "bell",
            "backend": "dummy",
            "shots": 8,
            "creation_date": "2025-07-15T14:58:55.283302",
            "end_date": None,
            "results": [{"results": {"11": 5, "00": 3}, "num_qubits": 2, "metadata": {"seed": 7}}],
        }
        self.empty = False

    def __call__(self, method: str, params: Any) -> Any:
        if method == "get_jobs":
            return [] if self.empty else [self.job]
        if method == "submit_job" and params["body"].get("shots") == 0:
            entry = {"type": "range", "loc": ["shots"], "msg": "0 is not in 1..10000000", "input": 0}
            raise RefusalError(
                -32602, "shots: 0 is not in 1..10000000", {"details": "", "errors": [entry], "hint": "ask for more"}
            )
        if method in ("cancel_jobs", "delete_jobs"):
            return [{"job_id": JOB, "job_status": "CANCELLED"}] if JOB in params["body"]["job_ids"] else []
        if method == "get_devices":
            return {"dummy": {"name": "dummy", "status": "online", "max_qubits": 28, "driver_name": "DriverDummy"}}
        if method == "get_job_status" and params["body"]["job_id"] != JOB:
            raise RefusalError(
                -404, f"Job: '{params['body']['job_id']}' is not found", {"details": "unknown", "errors": []}
            )
        return self.job


class Command:
    """Runs ``qfast`` in this process."""

    def __init__(self, url: str, record: StandIn, jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
        self.url, self.record, self.jobs, self.capsys = url, record, jobs, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = cli.main([*arguments, "--url", self.url])
        out, err = self.capsys.readouterr()
        return status, out, err

    def sent(self, method: str) -> dict[str, Any]:
        """The params of the last call of the method."""
        calls = [body["params"] for _, body in self.record.requests if body["method"] == method]
        return dict(calls[-1])


@pytest.fixture
def qfast(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    jobs = Jobs()
    with stand_in(jobs) as (url, record):
        yield Command(url, record, jobs, capsys)


@pytest.fixture
def bell(tmp_path: Path) -> str:
    file = tmp_path / "bell.qasm"
    file.write_text(BELL)
    return str(file)


# ---------------------------------------------------------------------- commands


def test_submit_sends_its_flags(qfast: Command, bell: str) -> None:
    flags = "--backend lab --shots 5 --priority 2 --name n --seed 9 --driver-option sleep=0.5 --driver-option mode=fast"
    flags += (
        f" --transpiler cmss --transpiler-option level=3 --tag a --tag b --callback http://127.0.0.1:1/x --job-id {JOB}"
    )
    flags += " --dry-run --profiling all --code-type qasm2 --description d --max-execution-time 7.5"
    status, out, _ = qfast("submit", bell, *flags.split())
    assert status == 0
    assert out == f"{JOB}  COMPLETED\n"
    assert qfast.sent("submit_job")["body"] == {
        "job_id": JOB,
        "code_type": "qasm2",
        "source_code": [BELL],
        "backend": "lab",
        "shots": 5,
        "job_priority": 2,
        "job_name": "n",
        "description": "d",
        "driver_options": {"sleep": 0.5, "mode": "fast", "seed": 9},
        "transpiler": "cmss",
        "transpiler_options": {"level": 3},
        "tags": ["a", "b"],
        "profiling": ["all"],
        "dry_run": True,
        "max_execution_time": 7.5,
        "callbacks": [{"name": "callback", "type": "results", "method": "post", "url": "http://127.0.0.1:1/x"}],
    }


def test_submit_sends_only_what_was_given(qfast: Command, bell: str) -> None:
    qfast("submit", bell, bell)
    body = qfast.sent("submit_job")["body"]
    assert body.pop("job_id")
    assert body == {"code_type": "qasm", "source_code": [BELL, BELL]}


def test_submit_from_stdin(qfast: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1,2\n0,-3\n")))
    assert qfast("submit", "-")[0] == 0
    body = qfast.sent("submit_job")["body"]
    assert (body["code_type"], body["source_code"]) == ("qubo", [[[1, 2], [0, -3]]])


@pytest.mark.parametrize("verb", ["submit", "results"])
def test_wait_shows_results(qfast: Command, bell: str, verb: str) -> None:
    status, out, _ = qfast(verb, bell if verb == "submit" else JOB, "--wait", "--timeout", "5")
    assert status == 0
    assert "2 qubits, 8 shots, 2 outcomes, seed 7" in out
    first, second = out.splitlines()[-2:]
    assert first.split()[:3] == ["11", "5", "62.5"]
    assert second.split()[:3] == ["00", "3", "37.5"]


def test_results_of_a_failed_job(qfast: Command) -> None:
    qfast.jobs.job |= {"job_status": "FAILED", "results": [{"results": None, "error": PARSE_ERROR}]}
    status, out, _ = qfast("results", JOB)
    assert status == 1
    assert out.splitlines()[-4:] == [
        "error -102  [JobEngine] Parse Error: in line 3, column 4, expected ','",
        "  cx q0 q1;",
        "     ^^",
        "  hint: operands are separated by commas",
    ]


def test_wait_gives_up(qfast: Command) -> None:
    qfast.jobs.job["job_status"] = "RUNNING"
    status, _, err = qfast("results", JOB, "--wait", "--timeout", "0.02")
    assert (status, err) == (1, f"job {JOB} is still RUNNING after 0.02 s\n")


def test_last_is_the_newest(qfast: Command) -> None:
    status, out, _ = qfast("status", "last")
    assert status == 0
    assert out.split()[:2] == ["job_id", JOB]
    assert qfast.sent("get_jobs") == {"filters": {"limit": 1}}
    assert qfast.sent("get_job_status")["body"] == {"job_id": JOB}


def test_last_without_jobs(qfast: Command) -> None:
    qfast.jobs.empty = True
    status, _, err = qfast("status", "last")
    assert status == 1
    assert "there are no jobs" in err
    assert qfast("jobs")[1] == "no jobs\n"


def test_jobs_is_a_table(qfast: Command) -> None:
    status, out, _ = qfast("jobs", "--status", "queued", "--status", "RUNNING", "--tag", "a", "--limit", "3")
    assert status == 0
    head, row = out.splitlines()
    assert head.split() == ["JOB", "STATUS", "NAME", "BACKEND", "SHOTS", "SUBMITTED", "(UTC)"]
    assert row.index("bell") == head.index("NAME")
    assert row.endswith("2025-07-15 14:58:55")
    assert qfast.sent("get_jobs")["filters"] == {"job_status": ["QUEUED", "RUNNING"], "tags": ["a"], "limit": 3}


@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_several_tells_what_was_left_out(qfast: Command, verb: str) -> None:
    other = str(uuid.UUID(int=2, version=4))
    status, out, err = qfast(verb, JOB, other, other, "--force")
    assert (status, out) == (1, f"{JOB}  CANCELLED\n")
    assert err.startswith("left out (") and err.rstrip().endswith(f": {other}")
    assert qfast.sent(f"{verb}_jobs")["body"] == {"job_ids": [JOB, other, other], "force": True}
    assert qfast(verb, "last")[0] == 0


def test_update(qfast: Command) -> None:
    assert qfast("update", JOB, "--priority", "1", "--name", "x")[0] == 0
    assert qfast.sent("update_job")["body"] == {"job_id": JOB, "job_priority": 1, "job_name": "x"}
    status, _, err = qfast("update", JOB)
    assert status == 2
    assert "nothing to change" in err


def test_set_results(qfast: Command, tmp_path: Path) -> None:
    file = tmp_path / "counts.json"
    file.write_text('{"01": 5}')
    assert qfast("set-results", JOB, str(file))[0] == 0
    assert qfast.sent("set_job_results")["body"] == {"job_id": JOB, "results": [{"01": 5}]}
    assert qfast("set-results", JOB, str(tmp_path / "none"))[0] == 2


def test_devices(qfast: Command) -> None:
    _, out, _ = qfast("devices")
    assert out.splitlines()[1].split() == ["dummy", "online", "DriverDummy", "28", "-", "-"]


def test_json(qfast: Command) -> None:
    status, out, _ = qfast("results", JOB, "--json")
    assert status == 0
    assert json.loads(out) == qfast.jobs.job
    status, out, err = qfast("status", "x", "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["error"]["code"] == -404


def test_refused(qfast: Command, bell: str) -> None:
    status, _, err = qfast("submit", bell, "--shots", "0")
    assert status == 1
    assert err.splitlines() == ["refused (-32602): shots: 0 is not in 1..10000000", "  hint: ask for more"]


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    with stand_in(Jobs()) as (url, _):
        pass
    assert cli.main(["jobs", "--url", url]) == 3
    assert "start one with `qfast serve`" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["submit"], ["submit", "x", "--driver-option", "novalue"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    assert raised.value.code == 2
    assert "usage: qfast" in capsys.readouterr().err


def test_unreadable_file(qfast: Command, tmp_path: Path) -> None:
    status, _, err = qfast("submit", str(tmp_path / "none.qasm"))
    assert status == 2
    assert "none.qasm: No such file" in err


def test_programs_and_matrices_do_not_mix(qfast: Command, bell: str, tmp_path: Path) -> None:
    matrix = tmp_path / "q.csv"
    matrix.write_text("1")
    assert qfast("submit", bell, str(matrix))[0] == 2


# ---------------------------------------------------------------------- text


def test_histogram_shows_the_most_frequent() -> None:
    lines = render.histogram({f"{i:05b}": i + 1 for i in range(32)})
    assert len(lines) == render.ROWS + 1
    assert lines[0].split()[:2] == ["11111", "32"]
    assert lines[-1] == "  and 16 more outcomes with 136 shots"
    assert render.histogram({}) == []


def test_histogram_on_a_plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert render.histogram({"0": 4, "1": 1}) == [f"  0  4   80.0 %  {'#' * 40}", f"  1  1   20.0 %  {'#' * 10}"]


def test_solutions_estimates_and_others() -> None:
    rows = [{"result": 1, "quboValue": -112.0, "maxcutValue": 28.0, "solutionVector": [1, 0, 1]}]
    job = {"job_id": JOB, "job_status": "COMPLETED"}
    shown = render.results({**job, "results": [{"results": rows, "metadata": {"proven_optimal": True}}]})
    assert "proven optimal" in shown
    assert shown.splitlines()[-1].split() == ["1", "-112", "28", "101"]
    shown = render.results({**job, "results": [{"results": {"evs": [0.5], "stds": [0.01]}}, {"results": "free form"}]})
    assert "source 1 of 2: expectation values" in shown
    assert shown.splitlines()[-1] == "source 2 of 2: free form"
    assert render.results({**job, "results": None}) == f"job {JOB}  COMPLETED"


# ---------------------------------------------------------------------- settings


def test_settings_flag_then_environment_then_file(tmp_path: Path) -> None:
    assert Settings.load({}, {}, tmp_path) == Settings()
    (tmp_path / "qfast.toml").write_text('port = 1\nstore = "file"\nhost = "::1"\n')
    environ = {"QFAST_PORT": "2", "QFAST_STORE": "environment", "QFAST_DEVICES": ""}
    settings = Settings.load({"port": "0", "store": None, "data_dir": None}, environ, tmp_path)
    assert settings == Settings(host="::1", port=0, store="environment")
    assert settings.environ()["QFAST_STORE"] == "environment"


@pytest.mark.parametrize(
    ("file", "environ", "text"),
    [
        ("prot = 1", {}, r"qfast.toml: no setting is named prot; did you mean port\?"),
        ("quux = 1", {}, "there are host, port, data_dir"),
        ("port = true", {}, "qfast.toml: port: True is not a port number"),
        ("host = 1", {}, "host: 1 is not a string"),
        ("port = ", {}, "qfast.toml: Invalid value"),
        ("", {"QFAST_PORT": "70000"}, "QFAST_PORT: '?70000'? is not a port number, 0..65535"),
        ("", {"QFAST_PORT": "-1"}, "QFAST_PORT: '-1' is not"),
    ],
)
def test_settings_refused(tmp_path: Path, file: str, environ: dict[str, str], text: str) -> None:
    (tmp_path / "qfast.toml").write_text(file)
    with pytest.raises(SettingsError, match=text):
        Settings.load({}, environ, tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_gets_a_free_port(tmp_path: Path, host: str) -> None:
    resolved = Settings(host=host, port=0, data_dir=str(tmp_path / "data")).resolved()
    assert resolved.port > 0
    assert resolved.host.startswith("127.0.0.")
    assert (tmp_path / "data").is_dir()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_a_public_bind_is_refused(host: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    write_keys(keys, dict([made("a", "a")[:2]]))
    asked = {"host": host, "port": 0, "data_dir": str(tmp_path)}
    with pytest.raises(SettingsError, match=r"not a loopback address.*API keys.*and TLS"):
        Settings(**asked).resolved()
    with pytest.raises(SettingsError, match=r"needs TLS"):
        Settings(**asked, keys=str(keys)).resolved()
    with pytest.raises(SettingsError, match=r"needs API keys"):
        Settings(**asked, behind_proxy=True).resolved()
    if host == "0.0.0.0":
        assert Settings(**asked, keys=str(keys), behind_proxy=True).resolved().host == "0.0.0.0"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tls_cert": "here.pem"}, "go together"),
        ({"tls_cert": "here.pem", "tls_key": "there.pem"}, "no file"),
        ({"keys": "none.toml"}, "no file"),
        ({"host": ""}, "is empty"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings(port=0, data_dir=str(tmp_path), **fields).resolved()


def test_health(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["health", "--url", server.url]) == 0
    assert capsys.readouterr().out.strip() == "ok"


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as granian does
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SettingsError, match="cannot be bound: Address already in use"):
            Settings(port=other.getsockname()[1], data_dir=str(tmp_path)).resolved()


def test_missing_devices_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file"):
        Settings(data_dir=str(tmp_path), devices=str(tmp_path / "none.toml")).resolved()


def test_serve_refuses_with_usage_status(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["serve", "--host", "0.0.0.0", "--data-dir", str(tmp_path)]) == 2
    assert "not a loopback address" in capsys.readouterr().err


# ---------------------------------------------------------------------- against a real server


def test_the_life_of_a_job(
    server: RunningServer, bell: str, queued: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    def qfast(*arguments: str) -> tuple[int, Any]:
        status = cli.main([*arguments, "--url", server.url, "--json"])
        return status, json.loads(capsys.readouterr().out)

    status, job = qfast("submit", bell, "--shots", "64", "--seed", "5", "--tag", "life", "--wait", "--timeout", "30")
    assert (status, job["job_status"]) == (0, "COMPLETED")
    (row,) = job["results"]
    assert set(row["results"]) <= {"00", "11"} and sum(row["results"].values()) == 64
    assert row["metadata"]["seed"] == 5
    assert [listed["job_id"] for listed in qfast("jobs", "--tag", "life")[1]] == [job["job_id"]]
    job_id = queued()
    assert qfast("update", job_id, "--priority", "1")[1]["job_priority"] == 1
    assert qfast("status", "last")[1]["job_id"] == job_id
    assert qfast("cancel", job_id) == (0, [{"job_id": job_id, "job_status": "CANCELLED"}])
    assert qfast("cancel", job_id) == (1, [])
    assert qfast("delete", job_id)[0] == 0
    assert qfast("status", job_id) == (1, {"error": ANY})
    status, devices = qfast("devices")
    assert status == 0
    assert set(devices) == {"dummy", "narrow", "remote"}


def test_an_error_shows_its_place(server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.qasm"
    file.write_text('OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncx q[0],r[1];\n')
    assert cli.main(["submit", str(file), "--wait", "--url", server.url]) == 1
    out = capsys.readouterr().out
    assert "error -102  [JobEngine] Parse Error: in line 4, column" in out
    place, caret = out.split("cx q[0],r[1];\n")
    assert place.endswith("\n  ")
    assert caret.startswith(" " * 10 + "^")
