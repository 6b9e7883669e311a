"""``qfast demo``: a server of its own, five circuits and a QUBO whose answers are known."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from qfast import render
from qfast.client import Client

BELL2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'
BELL3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n'
GHZ5 = """OPENQASM 3.0;
include "stdgates.inc";
qubit[5] q;
bit[5] c;
h q[0];
for int i in [0:3] { cx q[i], q[i + 1]; }
c = measure q;
"""
# The state u3(1.1, 0.4, 0.7)|0> goes from q[0] to q[2], where its inverse leaves |0>.
TELEPORT = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[3];
creg mz[1];
creg mx[1];
creg out[1];
u3(1.1,0.4,0.7) q[0];
h q[1];
cx q[1],q[2];
cx q[0],q[1];
h q[0];
measure q[0] -> mz[0];
measure q[1] -> mx[0];
if(mx==1) x q[2];
if(mz==1) z q[2];
u3(-1.1,-0.7,-0.4) q[2];
measure q[2] -> out[0];
"""
SHOTS = 4096

CIRCUITS = (
    ("Bell pair, OpenQASM 2", BELL2, {"00", "11"}),
    ("Bell pair, OpenQASM 3", BELL3, {"00", "11"}),
    ("GHZ state of 5 qubits", GHZ5, {"00000", "11111"}),
    ("Teleportation (registers: out mx mz)", TELEPORT, {"0 0 0", "0 0 1", "0 1 0", "0 1 1"}),
)


class DemoError(Exception):
    """A job's answer is not what physics says."""


def max_cut_matrix() -> list[list[int]]:
    """The specification's sample, shape (20, 20): 4 times the max-cut of a 3-regular graph; the best value is -112."""
    matrix = [[0] * 20 for _ in range(20)]
    edges = [(i, i + 1) for i in range(19)] + [(i, i + 10) for i in range(10)] + [(0, 19)]
    for i in range(20):
        matrix[i][i] = -12
    for i, j in edges:
        matrix[i][j] = 8
    return matrix


@contextmanager
def local_server(
    data_dir: Path, *flags: str, log: IO[bytes] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own, on a free loopback port; gives its URL and process, and stops it at the end.

    Raises
    ------
    RuntimeError
        It ended before it answered.
    """
    command = [sys.executable, "-m", "qfast", "serve", "--port", "0", "--data-dir", str(data_dir), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603 our own command
    try:
        assert process.stdout is not None  # noqa: S101
        url = None
        for line in process.stdout:
            if found := re.search(r"https?://\S+", line):
                url = found.group()
                break
        if url is None:
            raise RuntimeError(f"the server ended with status {process.wait()} before it answered")
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def demo() -> int:
    """Run all of it and print the answers; returns 0 when physics agrees, else 1."""
    with tempfile.TemporaryDirectory(prefix="qfast-demo-") as folder, local_server(Path(folder)) as (url, _):
        client = Client(url)
        print(f"a server of its own at {url}")
        try:
            for title, program, expected in CIRCUITS:
                print(f"\n{title}")
                row = _run(client, program, shots=SHOTS)
                check_counts(row["results"], expected)
            print("\nQUBO of 20 variables: a max-cut, best value -112, 28 of 30 edges")
            check_solutions(_run(client, max_cut_matrix())["results"])
        except DemoError as error:
            print(f"\nwrong: {error}", file=sys.stderr)
            return 1
    print("\nall as expected")
    return 0


def _run(client: Client, source: Any, **fields: Any) -> dict[str, Any]:
    (row,) = client.run(source, driver_options={"seed": 7}, timeout=60, **fields)
    text = render.results({"job_id": "", "job_status": "", "results": [row]})
    print(text.split("\n", 2)[2])
    return row


def check_counts(counts: dict[str, int], expected: set[str]) -> None:
    """Hold counts of a uniform distribution over `expected` to 6 standard deviations; raises DemoError."""
    if sum(counts.values()) != SHOTS or not set(counts) <= expected:
        raise DemoError(f"{counts} is not {SHOTS} shots of {', '.join(sorted(expected))}")
    share = 1 / len(expected)
    spread = 6 * (SHOTS * share * (1 - share)) ** 0.5
    for bits in expected:
        if abs(counts.get(bits, 0) - SHOTS * share) > spread:
            raise DemoError(f"{bits} came {counts.get(bits, 0)} times of {SHOTS}")


def check_solutions(rows: list[dict[str, Any]]) -> None:
    """Hold the rows to the matrix: values recomputed, best first, distinct, the best -112 and 28; raises DemoError."""
    matrix = max_cut_matrix()
    total = sum(map(sum, matrix))
    for row in rows:
        x = row["solutionVector"]
        ones = [i for i, bit in enumerate(x) if bit]
        value = sum(matrix[i][j] for i in ones for j in ones)
        if row["quboValue"] != value or row["maxcutValue"] != (total - value) / 4:
            raise DemoError(f"{row} has the value {value} and cuts {(total - value) / 4} edges")
    order = [(row["quboValue"], row["solutionVector"]) for row in rows]
    if order != sorted(order) or len({tuple(x) for _, x in order}) != 10:
        raise DemoError("the rows are not ten distinct ones, best first")
    if (rows[0]["quboValue"], rows[0]["maxcutValue"]) != (-112, 28):
        raise DemoError(f"the best value is -112 with 28 edges cut, not {rows[0]}")
