"""What a QUBO run costs around the search: the way from the request, the answer to a cancel, memory, a second thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from qubo_instances import bqp

from qfast import wire
from qfast._ext import jsoncheck
from qfast.errors import JobCancelled
from qfast.matrices import QuboProblem, parse_sources
from qfast.qubo import solve
from qfast.rpc import Dispatcher
from qfast.submission import Limits, read_submission

_PEAK = """
import json, resource, sys
import numpy as np
from qfast.matrices import parse_sources
from qfast.qubo import solve

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def now():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

solve(parse_sources(b"[[" + b",".join([b"[" + b",".join([b"1"] * 70) + b"]"] * 70) + b"]]")[0], seed=1, sweeps=2)
text = open(sys.argv[1], "rb").read()
before = now()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
(problem,) = parse_sources(text)
read = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024 - before
del text
held = now()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
base = now() - problem.nbytes
solve(problem, seed=1, time_limit=1.0)
run = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024 - base
print(json.dumps([read, run]))
"""


def least(call: Callable[[], Any], repeats: int = 5) -> float:
    """Seconds of the fastest of some calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def peak_memory(n: int, kind: str) -> tuple[float, float]:
    """Peak of the resident memory while a matrix is read, its text apart, and while it is solved, the matrix included.

    In a process of its own, as multiples of n^2 cells in the narrowest type (int16 for integers, float64 else).
    """
    rng = np.random.default_rng(1)
    cells = rng.integers(-100, 101, (n, n)) if kind == "integers" else rng.normal(size=(n, n))
    with tempfile.NamedTemporaryFile() as file:
        file.write(orjson.dumps([cells], option=orjson.OPT_SERIALIZE_NUMPY))
        file.flush()
        command = [sys.executable, "-c", _PEAK, file.name]
        read, run = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    matrix = n * n * (2 if kind == "integers" else 8)
    return read / matrix, run / matrix


class _Device:
    name, max_shots, transpiler = "dummy", 10_000, None


class _Driver:
    supported_code_types, supported_transpilers, Options = ("qubo",), (), None


def path_of_request(cells: list[list[Any]]) -> dict[str, float]:
    """Seconds from the bytes of a request to the beginning of the search, and of the reference, by minima."""
    source = orjson.dumps([cells])
    body = (
        b'{"jsonrpc":"2.0","id":1,"method":"submit_job","params":{"body":{"code_type":"qubo","source_code":'
        + source
        + b"}}}"
    )
    problems: list[QuboProblem] = []

    async def submit(asked: wire.SubmitBody, _filters: Any, _caller: Any) -> bytes:
        submission = read_submission(asked, lambda _: (_Device, _Driver), list, Limits())  # type: ignore[arg-type,return-value]
        problems[:] = parse_sources(submission.source)
        return b"{}"

    dispatcher = Dispatcher({"submit_job": submit})

    def request() -> None:
        answer = asyncio.run(dispatcher.answer(body, "job", None, {}))
        assert answer is not None and b"error" not in answer, answer

    request()
    one = problems[0]

    def first_flip() -> None:
        flag = bytearray(b"\1")  # cancelled at its first look, once the kernel has its own form
        with contextlib.suppress(JobCancelled):
            solve(one, seed=1, sweeps=1, solver="tabu_search", cancel=flag)

    return {
        "check": least(lambda: jsoncheck.check(body)),
        "read": least(lambda: parse_sources(source)),
        "request": least(request),
        "kernel": least(first_flip),
        "reference": least(lambda: np.array(orjson.loads(source)[0]), 3),
    }


def cancel_latency(problem: QuboProblem, solver: str | None, repeats: int = 5) -> float:
    """Seconds from the flag to the end of the call, the longest of some."""
    worst = 0.0
    for k in range(repeats):
        flag, ended = bytearray(1), []

        def work(flag: bytearray = flag, ended: list[float] = ended) -> None:
            try:
                solve(problem, seed=1, time_limit=60, cancel=flag, solver=solver)
            except JobCancelled:
                ended.append(time.perf_counter())

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.02 + 0.07 * k)
        told = time.perf_counter()
        flag[0] = 1
        thread.join()
        worst = max(worst, ended[0] - told)
    return worst


def reading_cancel(text: bytes, repeats: int = 5) -> float:
    """The same while a matrix is read."""
    worst = 0.0
    whole = least(lambda: parse_sources(text), 2)
    for k in range(repeats):
        flag, ended = bytearray(1), []

        def work(flag: bytearray = flag, ended: list[float] = ended) -> None:
            with contextlib.suppress(JobCancelled):
                parse_sources(text, cancel=flag)
            ended.append(time.perf_counter())

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(whole * (k + 0.5) / (repeats + 1))
        told = time.perf_counter()
        flag[0] = 1
        thread.join()
        worst = max(worst, ended[0] - told)
    return worst


def threads_ratio(problem: QuboProblem, seeds: int = 5) -> float:
    """Reads done in a budget of sweeps: the time of one thread over that of two, median of seeds."""
    ratios = []
    for seed in range(seeds):
        times = []
        for threads in (1, 2):
            start = time.perf_counter()
            solve(problem, seed=seed, sweeps=200, reads=4, threads=threads)
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def _ways() -> None:
    rng = np.random.default_rng(0)
    for kind, cells in (("integers", rng.integers(-100, 101, (2000, 2000))), ("floats", rng.normal(size=(2000, 2000)))):
        cost = path_of_request(cells.tolist())
        way = cost["request"] + cost["kernel"]
        print(
            f"- 2,000 x 2,000 {kind}: {1000 * way:.0f} ms from the bytes of the request to the search (strict check"
            f" {1000 * cost['check']:.1f} ms, reading and folding {1000 * cost['read']:.1f} ms, the kernel's own form"
            f" {1000 * cost['kernel']:.1f} ms); orjson and numpy.array alone: {1000 * cost['reference']:.0f} ms,"
            f" {cost['reference'] / way:.1f} times as long.",
            flush=True,
        )


def _memory() -> None:
    for n, kind in ((2500, "integers"), (5000, "integers"), (2000, "floats")):
        read, run = peak_memory(n, kind)
        print(
            f"- Peak memory, {n:,} x {n:,} {kind}: reading {read:.2f}, solving {run:.2f} times the matrix in its narrowest"
            " type (resident, the request's text and what the process had before apart).",
            flush=True,
        )


def _answers() -> None:
    rng = np.random.default_rng(0)
    for kind, cells in (("integers", rng.integers(-100, 101, (2000, 2000))), ("floats", rng.normal(size=(2000, 2000)))):
        text = orjson.dumps([cells], option=orjson.OPT_SERIALIZE_NUMPY)
        print(
            f"- A cancel while 2,000 x 2,000 {kind} are read: at most {1000 * reading_cancel(text):.1f} ms.", flush=True
        )
    dense, sparse = bqp(2500, 1).problem(), bqp(200, 1).problem()
    for name, problem, solver in (
        ("tabu search, 2,500 variables", dense, None),
        ("tempering, 200 variables", sparse, "parallel_tempering"),
        ("tempering, 2,500 variables", dense, "parallel_tempering"),
    ):
        print(f"- A cancel of {name}: at most {1000 * cancel_latency(problem, solver):.1f} ms of 5.", flush=True)
    print(f"- Two threads on 2,500 variables: {threads_ratio(dense):.2f} times the sweeps a second of one.")


def report(*, wall: bool) -> None:
    """Lines of Markdown: the way of a request and memory; of the wall clock also cancels and a second thread."""
    print("\n## Around the search\n")
    _ways()
    _memory()
    if wall:
        _answers()
