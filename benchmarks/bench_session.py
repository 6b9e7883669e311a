"""What a session is worth to a loop: its place while others wait, and its prepared circuits.

``python benchmarks/bench_session.py`` prints two ratios, each of submit to result over the wire, medians of iterations:

- an iteration in a session while 1,000 jobs of others wait at the same backend, against the same job without a session, which
  waits its turn (goal: at least 10 times lower);
- an iteration whose circuit is in the circuit cache, against one whose circuit is new each time, for a circuit that is routed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qfast import Client
from qfast.demo import BELL2, local_server

OTHERS = 1000
TAKES = 0.002  # seconds that each job of the others takes longer
LINE = ", ".join(f"[{k}, {k + 1}]" for k in range(19))
DEVICES = f"""
[devices.busy]
driver = "DriverDummy"
slots = 1

[devices.line]
driver = "DriverDummy"
max_qubits = 20
basis_gates = ["rz", "sx", "x", "cz"]
coupling_map = [{LINE}]
"""
FLOORS = {"job mode / session, others waiting": 10.0, "new circuit / cached": 1.2}


def routed(mark: int) -> str:
    """A circuit with much to route; the mark makes it another text."""
    pairs = "".join(f"cx q[{a}],q[{(a * 7 + 3) % 20}];" for a in range(20) if a != (a * 7 + 3) % 20)
    head = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[20]; creg c[1]; // {mark}\n'
    return f"{head}h q[0]; {pairs * 8} measure q[0] -> c[0];"


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def iteration(client: Client, source: str, **fields: Any) -> None:
    """Submit, wait, fetch."""
    client.run(source, shots=10, timeout=600, **fields)


def while_others_wait(client: Client, others: int) -> tuple[float, float]:
    """Seconds of an iteration in a session, and of a job without one, while so many jobs of others wait."""
    session = client.call("open_session", {"backend": "busy", "mode": "batch"})["id"]
    iteration(client, BELL2, session_id=session)  # it is active from now on
    bodies = [
        ("submit_job", {"source_code": [BELL2], "backend": "busy", "driver_options": {"sleep": TAKES}})
        for _ in range(others)
    ]
    client.batch(bodies)
    inside = statistics.median(timed(lambda: iteration(client, BELL2, session_id=session)) for _ in range(20))
    waiting = client.get_jobs(backend="busy", job_status="QUEUED", limit=10_000)
    if len(waiting) < others // 2:
        raise RuntimeError("the others did not wait")
    client.call("close_session", {"session_id": session})
    return inside, timed(lambda: iteration(client, BELL2, backend="busy"))


def with_the_cache(client: Client, rounds: int) -> tuple[float, float]:
    """Seconds of an iteration with the same circuit, and with a new one each time, taken in turn."""
    session = client.call("open_session", {"backend": "line", "mode": "batch"})["id"]
    iteration(client, routed(-1), session_id=session)
    same, new = [], []
    for mark in range(rounds):
        same.append(timed(lambda: iteration(client, routed(-1), session_id=session)))
        new.append(timed(lambda mark=mark: iteration(client, routed(mark), session_id=session)))
    cache = client.call("close_session", {"session_id": session})["circuit_cache"]
    if cache["hits"] < rounds - 1 or cache["misses"] < rounds:
        raise RuntimeError(f"the cache was not used as expected: {cache}")
    return statistics.median(same), statistics.median(new)


def measure(others: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Our seconds and the reference's, by the names of FLOORS."""
    with tempfile.TemporaryDirectory() as folder:
        devices = Path(folder) / "devices.toml"
        devices.write_text(DEVICES)
        with local_server(Path(folder) / "data", "--devices", str(devices)) as (url, _), Client(url) as client:
            found = while_others_wait(client, others), with_the_cache(client, rounds)
    return dict(zip(FLOORS, found, strict=True))


def ratios() -> dict[str, float]:
    """What the guard judges."""
    return {name: theirs / ours for name, (ours, theirs) in measure(OTHERS, 9).items()}


def main() -> int:
    """Print times and ratios."""
    for name, (ours, theirs) in measure(OTHERS, 25).items():
        print(f"{name:36} {1e3 * ours:8.2f} ms against {1e3 * theirs:8.2f} ms: {theirs / ours:7.1f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
