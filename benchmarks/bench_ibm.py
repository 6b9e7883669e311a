"""Run and result of IBM's unmodified client: the state of a job held by the server, beside the client's own polling.

The client asks every 0.1 s in a session and every 0.5 s without one. A server that holds the question until the job is final
(``QFAST_IBM_HOLD``, seconds; 0 answers at once) makes it fast without its knowing. Goal: in a session at least 3 times faster
than by polling, for a job of 20 ms.

``python benchmarks/bench_ibm.py [RUNS]`` prints the medians of two servers that are asked in turns.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from qfast.demo import local_server

DEVICE = '[devices.{}]\ndriver = "DriverDummy"\noptions = {{ sleep = 0.02 }}\n'  # one is kept free for the session
CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/qfast:qfast::"
GOAL = 3.0


def connected(url: str) -> Any:
    """A service of IBM's client on this server."""
    from qiskit_ibm_runtime import QiskitRuntimeService

    os.environ.update(dict.fromkeys(("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"), url))
    return QiskitRuntimeService(
        channel="ibm_quantum_platform",
        token="any",
        url=url,
        instance=CRN,
        url_resolver=lambda address, *_: address + "/api/v1",
    )


def timed(sampler: Any, circuit: Any) -> float:
    """Seconds from the submit to the result."""
    start = time.perf_counter()
    sampler.run([circuit], shots=100).result()
    return time.perf_counter() - start


def measure(runs: int) -> dict[tuple[str, str], float]:
    """The median of each way to wait, in a session and in job mode, by server: seconds."""
    from qiskit import QuantumCircuit, transpile
    from qiskit_ibm_runtime import SamplerV2, Session

    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        devices = Path(folder) / "devices.toml"
        devices.write_text(DEVICE.format("held") + DEVICE.format("free"))
        samplers: dict[tuple[str, str], Any] = {}
        for way, hold in (("held", "1"), ("polling", "0")):
            os.environ["QFAST_IBM_HOLD"] = hold
            url, _ = stack.enter_context(local_server(Path(folder) / way, "--devices", str(devices)))
            service = connected(url)
            backend = service.backend("free")
            session = Session(service.backend("held"))  # not entered: that would take the other samplers in as well
            stack.callback(session.close)
            samplers["session", way] = SamplerV2(session)
            samplers["job mode", way] = SamplerV2(backend)
        circuit = transpile(bell, backend)
        for turn in range(runs + 1):  # the first one warms up
            for key, sampler in samplers.items():
                seconds = timed(sampler, circuit)
                if turn:
                    taken.setdefault(key, []).append(seconds)
    return {key: statistics.median(values) for key, values in taken.items()}


def main() -> None:
    """Print the medians and their ratios."""
    warnings.simplefilter("ignore")
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    for mode in ("session", "job mode"):
        held, polling = found[mode, "held"], found[mode, "polling"]
        goal = f", goal {GOAL:g}" if mode == "session" else ""
        print(f"{mode}: held {1e3 * held:.1f} ms, polling {1e3 * polling:.1f} ms: {polling / held:.1f}x{goal}")


if __name__ == "__main__":
    main()
