"""What a server does with ten times the callers that it can serve.

Goal: 60 s with ten times the callers of the peak keep at least 80 % of the peak's goodput, and what is refused (-503, -429)
is refused within 100 ms.

Goodput is submits that were acknowledged, so durable, of jobs that only queue: what a job costs to run would hide the
server's own cost. Callers send their next submit as soon as they have an answer, a refusal included, and come from wrk,
which is much cheaper than the server. ``python benchmarks/bench_overload.py [--seconds 60] [--callers 64]``
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qfast.demo import local_server

FLOORS: dict[str, float] = {}

# Counts acknowledged and refused submits apart.
LUA = r"""
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) acknowledged, refused, other = 0, 0, 0 end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"jsonrpc":"2.0","id":1,"method":"submit_job","params":{"body":{"backend":"outside","source_code":["OPENQASM' ..
  ' 2.0;\\ninclude \\"qelib1.inc\\";\\nqreg q[2];\\ncreg c[2];\\nh q[0];\\ncx q[0],q[1];\\nmeasure q -> c;\\n"]}}}'
function response(status, headers, body)
  if status == 200 and body:find('"QUEUED"', 1, true) then acknowledged = acknowledged + 1
  elseif body:find('"code":-503', 1, true) or status == 429 then refused = refused + 1
  else other = other + 1 end
end
function done(summary, latency, requests)
  local a, r, o = 0, 0, 0
  for _, t in ipairs(threads) do a = a + t:get("acknowledged"); r = r + t:get("refused"); o = o + t:get("other") end
  print(string.format("RESULT %d %d %d %.6f %.1f %.1f %d", a, r, o, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


@dataclass
class Load:
    """What some callers saw: submits acknowledged and refused per second, other answers and errors, milliseconds."""

    goodput: float
    refusals: float
    others: int
    p50: float
    p99: float


def load(port: int, callers: int, seconds: int, script: Path) -> Load:
    """Let so many callers submit for so long."""
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}/v1/job"], capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (.*)", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout + done.stderr)
    acknowledged, refused, other, took, p50, p99, errors = map(float, found.group(1).split())
    return Load(acknowledged / took, refused / took, int(other + errors), p50, p99)


def megabytes(pid: int) -> float:
    """Resident memory of the process that answers."""
    child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    return int(Path(f"/proc/{child}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument(
        "--callers", type=int, nargs="+", default=[16, 64, 128], help="among which the peak is looked for"
    )
    parser.add_argument(
        "--max-queued", type=int, default=0, help="the same with a queue that is full after so many jobs"
    )
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "devices.toml").write_text('[devices.outside]\ndriver = "DriverAsync"\nslots = 1\n')
        (folder / "submit.lua").write_text(LUA)
        flags = ["--devices", str(folder / "devices.toml")]
        if given.max_queued:
            flags += ["--max-queued", str(given.max_queued)]
        url, process = stack.enter_context(local_server(folder / "data", *flags))
        port = urlsplit(url).port or 0
        load(port, 16, 1, folder / "submit.lua")  # warm
        peak, best = 0.0, 0
        print(
            f"{'callers':>8s} {'goodput/s':>10s} {'refused/s':>10s} {'p50 ms':>8s} {'p99 ms':>8s}  server MB, other answers"
        )
        for callers in given.callers:
            seen = load(port, callers, max(3, given.seconds // 10), folder / "submit.lua")
            show(callers, seen, process.pid)
            if seen.goodput > peak:
                peak, best = seen.goodput, callers
        seen = load(port, 10 * best, given.seconds, folder / "submit.lua")
        show(10 * best, seen, process.pid)
        print(f"10 times the callers of the peak: {seen.goodput / peak:.2f} of its goodput")


def show(callers: int, seen: Load, pid: int) -> None:
    """One row."""
    row = f"{callers:8d} {seen.goodput:10.0f} {seen.refusals:10.0f} {seen.p50:8.1f} {seen.p99:8.1f}"
    print(f"{row}  {megabytes(pid):.0f}, {seen.others}", flush=True)


if __name__ == "__main__":
    main()
