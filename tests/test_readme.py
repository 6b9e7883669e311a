"""The README says what is so: its commands, snippets and tables are run and compared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RunningServer

from qfast import cli, errors, wire
from qfast.client import Client
from qfast.demo import BELL2, local_server
from qfast.devices import read_devices
from qfast.serve import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    """The one fenced block of the language that holds the text."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if holding in text)
    return str(found)


def test_curl(server: RunningServer) -> None:
    bodies = [json.loads(text) for text in re.findall(r"-d '(.*?)'", block("sh", "curl"), re.S)]
    submit, results = (body["params"]["body"] for body in bodies)
    job = server.client.call(bodies[0]["method"], submit)
    server.client.wait(job["job_id"], 20)
    job = server.client.call(bodies[1]["method"], results)
    assert job["job_status"] == "COMPLETED"
    assert sum(job["results"][0]["results"].values()) == submit["shots"]


def test_python(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFAST_URL", server.url)
    monkeypatch.chdir(ROOT)
    lines = block("python", "client.run(").splitlines()
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    job = eval(lines[-1], names)
    assert [sum(row["results"].values()) for row in job["results"]] == [1024, 1024]
    value = next(line for line in lines if "quboValue" in line).split("  #")[0]
    assert eval(value, names)["quboValue"] == -1.0


@pytest.mark.parametrize("name", ["bell.py", "max_cut.py", "rotation.py"])
def test_examples(server: RunningServer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFAST_URL", server.url)
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    if name == "bell.py":
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["00", "11"]
    if name == "max_cut.py":
        assert done.stdout.startswith("16 of 18 edges are cut")


def test_shell() -> None:
    for line in block("console", "qfast submit").splitlines():
        words = line.split("#")[0].removeprefix("$ qfast ").split()
        cli.parser().parse_args(words)


def test_configuration_table() -> None:
    for key, value in vars(Settings()).items():
        row = f"| `--{key.replace('_', '-')}` | `QFAST_{key.upper()}` | `{key}` |"
        assert row in README
        assert not value or str(value) in README.split(row)[1].split("\n")[0].replace(",", "")


def test_verbs_and_fields_are_told() -> None:
    for name, method in wire.METHODS.items():
        if method.group in ("job", "session"):
            assert f"`{name}" in README, name
    table = README.split("### Fields of submit_job")[1].split("### ")[0]
    told = set(re.findall(r"`(\w+)`", table))
    elsewhere = {"session_id", "parameters"} | {"circuit_aggregation", "enable_circuit_aggregation", "observables"}
    aliases = {"transpiler_info", "code_compression_level", "code_compress_level", "job_type"}
    others = {"qec_options", "qem_options", "flavor_id", "extra_specs"}
    assert set(wire.SubmitBody.__struct_fields__) <= told | elsewhere | aliases | others


def test_codes_are_told() -> None:
    for kind in vars(errors).values():
        code = vars(kind).get("code") if isinstance(kind, type) else None
        if code is not None and code != -10:
            assert f"{code}" in README, kind


def test_devices_file(tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(block("toml", "[devices.lab1]"))
    devices = read_devices(file)
    assert set(devices) == {"dummy", "lab1", "remote"}
    assert devices["lab1"].coupling_map == ((0, 1), (1, 2), (2, 3), (3, 4))


def test_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coin.py").write_text(block("python", "class CoinDriver"))
    points = re.sub(r"#.*\n", "", block("toml", "entry-points"))
    points = points.replace('project.entry-points."qfast.drivers"', "qfast.drivers").replace('"', "")
    installed = tmp_path / "coin-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: coin\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(points)
    (tmp_path / "devices.toml").write_text('[devices.coin]\ndriver = "DriverCoin"\n')
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    with (
        local_server(tmp_path / "data", "--devices", str(tmp_path / "devices.toml")) as (url, _),
        Client(url) as client,
    ):
        (row,) = client.run(BELL2, backend="coin", shots=100, driver_options={"bias": 1.0})
        assert row["results"] == {"1": 100}
        with pytest.raises(errors.InvalidParams, match="bios"):
            client.run(BELL2, backend="coin", driver_options={"bios": 1.0})
