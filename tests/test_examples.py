"""The examples end with the answers that they name; the page on sessions names a test for all that the specification has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RunningServer

ROOT = Path(__file__).parent.parent

# every name that the specification of Session documents
SPECIFIED = (
    *("Session(service, backend, max_time)", "service", "session_id", "backend()", "cancel()", "close()", "details()"),
    *("id", "backend_name", "interactive_timeout", "max_time", "active_timeout", "state", "accepting_jobs"),
    *("last_job_started", "last_job_completed", "started_at", "closed_at", "activated_at"),
    *("from_id(session_id, service, backend)", "run(program_id, inputs, options, callback, result_decoder)"),
    *("status()", "callback", "result_decoder"),
)


@pytest.mark.parametrize("name", ["vqe", "qaoa", "session"])
def test_an_example_ends_with_its_answer(server: RunningServer, name: str):
    environ = {**os.environ, "QFAST_URL": server.url, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_the_page_on_sessions_names_a_test_for_everything():
    tests = set(re.findall(r"^def (test_\w+)", (ROOT / "tests" / "test_session_api.py").read_text(), re.MULTILINE))
    rows = re.findall(r"^\| (.+?) \| .*\| (.+?) \|$", (ROOT / "docs" / "sessions.md").read_text(), re.MULTILINE)
    proved = {name: set(re.findall(r"`(test_\w+)`", cell)) for name, cell in rows if "`test_" in cell}
    named = {part for name in proved for part in re.findall(r"`([^`]+)`", name)}
    assert set(SPECIFIED) <= named
    for name, cells in proved.items():
        assert cells, name
        assert cells <= tests, name
