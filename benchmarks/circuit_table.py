"""From program text to counts, beside the public simulators: every row of the circuit goals, measured in one run.

``python benchmarks/circuit_table.py`` prints a Markdown table; ``--quick`` leaves out states of more than 20 qubits,
``--large`` all others, and ``--only TEXT`` keeps the rows whose name has the text. 1,000 shots, one thread, parsing included,
every qubit measured. Times are minima of rounds that take turns with the references'. A reference that is not installed is
named and left out; a row whose states would not fit in the free memory is skipped and says so. What no machine can do (a pass
over a state faster than 10 times the memory bandwidth measured in this run) and counts whose bits disagree between the
engines make the exit status 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import circuit_peers as peers  # sets the peers' threads, before anything loads them
import circuit_programs as programs
import msgspec
import numpy as np

from qfast import frontend, simulator
from qfast.drivers.dummy import DummyDriver, DummyOptions
from qfast.plugins import Device, Task

SHOTS = 1000
IMPOSSIBLE = 10  # times the memory bandwidth
JOBS = "10,000 Bell circuits in one job"


class Row(msgspec.Struct):
    """One line of the table: what is run, how, and what it is compared with."""

    name: str
    text: str
    qubits: int
    face: str  # a key of FACES
    goals: dict[str, float]  # reference -> how many times as long it should take; 0: shown, no goal
    shots: int = SHOTS
    dense: int = 0  # bytes per amplitude of a state that every engine must hold; 0: none has to
    best: bool = False  # the goal is against the fastest of the references


def compiled(text: str, shots: int) -> peers.Run:
    return lambda: simulator.sample(frontend.compile_program(text, "qasm2"), shots, seed=1)


def driver(text: str, shots: int) -> Callable[[], Any]:
    """Through the methods that the service calls; the counts stay as the JSON that a caller gets."""
    device = Device(name="dummy", driver="DriverDummy")
    own = DummyDriver(device)

    def run() -> peers.Counts:
        task = Task(device=device, code_type="qasm2", source=text, shots=shots, options=DummyOptions(), seed=1)
        return own.run(own.transpile(own.parse(task), task), task).results

    return run


def dense(text: str, shots: int) -> peers.Run:
    return lambda: simulator.sample(frontend.compile_program(text, "qasm2"), shots, seed=1, method="statevector")


def single(text: str, shots: int) -> peers.Run:
    return lambda: simulator.sample(frontend.compile_program(text, "qasm2"), shots, seed=1, precision="single")


def two_threads(text: str, shots: int) -> peers.Run:
    return lambda: simulator.sample(frontend.compile_program(text, "qasm2"), shots, seed=1, threads=2)


def parse_only(text: str, shots: int) -> peers.Run:
    del shots

    def run() -> peers.Counts:
        frontend.compile_program(text, "qasm2")
        return {}

    return run


FACES = {
    "text": compiled,
    "driver": driver,
    "statevector": dense,
    "single": single,
    "2 threads": two_threads,
    "parse": parse_only,
}


def rows() -> list[Row]:
    """The goals, small circuits first."""
    p, found = programs.program, []

    def add(name: str, n: int, gates: programs.Gates, face: str, goals: dict[str, float], **more: object) -> None:
        found.append(Row(name, p(n, gates), n, face, goals, **more))

    for name, n in (("Bell", 2), ("GHZ-5", 5)):
        add(name, n, programs.ghz(n), "driver", {"prism-q": 2, "Aer": 300})
    add("QFT-8", 8, programs.qft(8), "text", {"prism-q": 3, "Aer": 50})
    add("brickwork 10 x 20", 10, programs.brickwork(10, 20), "text", {"prism-q": 3, "Aer": 50})
    add("parse 290 gates", 10, programs.brickwork(10, 20), "parse", {"prism-q parse": 5, "qiskit.qasm2": 40})
    for n in (12, 14, 16):
        add(f"QV-{n}", n, programs.quantum_volume(n), "text", {"prism-q": 1.5}, dense=16)
        add(f"ansatz-{n}", n, programs.ansatz(n), "text", {"prism-q": 1.5}, dense=16)
    for n in (16, 18, 20, 22, 24):
        add(f"QFT-{n}", n, programs.qft(n), "text", {"prism-q": 1.0}, dense=16)
    for n in (20, 22, 24):
        goals = {"prism-q": 1.2, "Aer": 5.0}
        add(f"QV-{n}", n, programs.quantum_volume(n), "text", goals, dense=16)
        add(f"ansatz-{n}", n, programs.ansatz(n), "text", goals, dense=16)
    for n in (20, 22, 24):
        for kind, gates, goal in (
            ("QV", programs.quantum_volume, 1.0),
            ("ansatz", programs.ansatz, 1.0),
            ("QFT", programs.qft, 2.0),
        ):
            goals = {"qsim": goal, "qsim f4": goal}
            add(f"{kind}-{n} single", n, gates(n), "single", goals, dense=8)
    for n in (26, 28):
        for kind, gates in (("QV", programs.quantum_volume), ("ansatz", programs.ansatz), ("QFT", programs.qft)):
            add(f"{kind}-{n}", n, gates(n), "text", {"prism-q": 1.0}, dense=16)
            add(f"{kind}-{n} single", n, gates(n), "single", {"qsim": 1.0, "qsim f4": 1.0}, dense=8)
    add("GHZ-20 dense", 20, programs.ghz(20), "statevector", {"Lightning": 1.0, "Qulacs": 1.0}, dense=16)
    for n in (12, 100, 500):
        add(f"Clifford GHZ-{n}", n, programs.ghz(n), "text", {"prism-q": 1 / 1.5})
        add(f"Clifford far-{n}", n, programs.clifford_layers(n, True), "text", {"prism-q": 1 / 1.5})
    add("Clifford brick-100", 100, programs.clifford_layers(100, False), "text", {"prism-q": 1 / 1.5})
    found.append(Row("Clifford repetition", programs.repetition(25, 10), 49, "text", {"prism-q": 1 / 1.5}))
    many = [("ry", (q,), (0.3 + q,)) for q in range(20)] + programs.ghz(20)[1:]
    add("10^6 shots of 20 qubits", 20, many, "text", {"prism-q": 1 / 0.7}, shots=1_000_000, dense=16)
    found.append(Row("teleportation", programs.teleportation(), 3, "text", {"prism-q": 1.0, "Aer": 10}))
    found.append(Row("measure and reset x 10", programs.rounds(8, 10), 8, "text", {"prism-q": 1.0, "Aer": 10}))
    for kind, gates in (("QV", programs.quantum_volume), ("ansatz", programs.ansatz), ("QFT", programs.qft)):
        add(f"{kind}-24, 2 threads", 24, gates(24), "2 threads", {"one thread": 1.6}, dense=16)
    return found


def reference(name: str, row: Row) -> tuple[peers.Run, int] | None:
    """A call of the reference and how many circuits one call runs; None when it is not installed."""
    if name == "one thread":
        return compiled(row.text, row.shots), 1
    if name == "prism-q parse":
        return _parser("prism_q", lambda m: m.parse_qasm(row.text))
    if name == "qiskit.qasm2":
        return _parser(name, lambda m: m.loads(row.text, custom_instructions=m.LEGACY_CUSTOM_INSTRUCTIONS))
    peer = name.removesuffix(" f4")
    if not peers.installed(peer):
        return None
    batch = peers.BATCH if peer == "Aer" and row.goals[name] >= 50 else 1  # of programs that take it microseconds
    options = {"batch": batch} if peer == "Aer" else {"fused": 4} if name == "qsim f4" else {}
    return peers.prepare(peer, row.text, row.shots, **options), batch


def _parser(module: str, work: Callable[[object], object]) -> tuple[peers.Run, int] | None:
    import importlib
    import importlib.util

    if importlib.util.find_spec(module.split(".", maxsplit=1)[0]) is None:
        return None
    loaded = importlib.import_module(module)

    def run() -> peers.Counts:
        work(loaded)
        return {}

    return run, 1


def free_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def bandwidth() -> float:
    """Bytes per second that a copy of 512 MiB reads and writes, the best of five."""
    source, target = np.ones(1 << 26), np.zeros(1 << 26)
    least = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        least = min(least, time.perf_counter() - start)
    return 2 * source.nbytes / least


def measure(
    calls: dict[str, tuple[peers.Run, int]], seconds: float
) -> tuple[dict[str, float], dict[str, peers.Counts]]:
    """The least time of each call per circuit, taken in turns for so many seconds (three rounds at least), and its counts."""
    counts, loops, least = {}, {}, dict.fromkeys(calls, float("inf"))
    for name, (run, batch) in calls.items():
        taken = float("inf")
        for _ in range(5):  # the first calls load and warm up
            start = time.perf_counter()
            counts[name] = run()
            taken = min(taken, time.perf_counter() - start)
            if taken > 0.1:
                break
        if taken > 1:  # warm enough
            least[name] = taken / batch
        loops[name] = max(1, min(200, int(0.005 / taken)))
    if 40 < least["qfast"] < float("inf"):  # once is enough
        return least, counts
    end, turns = time.perf_counter() + seconds, 0
    while turns < 3 or time.perf_counter() < end:
        for name, (run, batch) in calls.items():
            if max(2.0, 4 * least["qfast"]) < least[name] < float("inf"):  # far behind and slow: once is enough
                continue
            start = time.perf_counter()
            for _ in range(loops[name]):
                run()
            least[name] = min(least[name], (time.perf_counter() - start) / loops[name] / batch)
        turns += 1
        if time.perf_counter() > end + 10 * seconds:
            break
    return least, counts


def disagreement(ours: peers.Counts, theirs: peers.Counts) -> str:
    """Why the counts cannot come from one distribution, bit by bit; empty when they may."""
    shots = sum(ours.values())
    if sum(theirs.values()) != shots:
        return f"{sum(theirs.values())} shots instead of {shots}"
    ours = {key.replace(" ", ""): count for key, count in ours.items()}
    theirs = {key.replace(" ", ""): count for key, count in theirs.items()}
    for bit in range(len(next(iter(ours), ""))):
        p = [sum(count for key, count in counts.items() if key[bit] == "1") / shots for counts in (ours, theirs)]
        spread = sqrt(2 * max(p[0] * (1 - p[0]), p[1] * (1 - p[1]), 1 / shots) / shots)
        if abs(p[0] - p[1]) > 6 * spread:
            return f"bit {bit} from the left is 1 in {p[0]:.3f} and {p[1]:.3f} of the shots"
    return ""


def scaled(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.2f} us"


def report(row: Row, rate: float, seconds: float) -> tuple[str, list[str]]:
    """One line of the table and what is wrong with it."""
    need = 3 * max(row.dense, 1) << row.qubits if row.dense else 0  # ours, then a peer's with a copy
    if need > free_bytes() - (2 << 30):
        return f"| {row.name} | skipped: {need >> 30} GiB would not be free | | | | |", []
    calls, missing = {"qfast": (FACES[row.face](row.text, row.shots), 1)}, []
    for name in row.goals:
        call = reference(name, row)
        if call is None:
            missing.append(name)
        else:
            calls[name] = call
    times, counts = measure(calls, seconds)
    wrong = []
    for name, taken in times.items():
        if 2.0 * row.dense * (1 << row.qubits) / taken > IMPOSSIBLE * rate:
            wrong.append(f"{row.name}: {name} took {scaled(taken)}, less than one pass over the state can take")
        if name != "qfast" and counts["qfast"] and (why := disagreement(counts["qfast"], counts[name])):
            wrong.append(f"{row.name}: {name} disagrees: {why}")
    shown, ratios, goals, verdicts = [], [], [], []
    for name, goal in row.goals.items():
        if name in missing:
            shown.append(f"{name} not installed")
            continue
        ratio = times[name] / times["qfast"]
        shown.append(f"{name} {scaled(times[name])}")
        ratios.append(f"{ratio:.3g}")
        goals.append(f"{goal:.3g}")
        verdicts.append("met" if ratio >= goal else "**not met**")
    cells = [
        row.name,
        scaled(times["qfast"]),
        "; ".join(shown),
        " / ".join(ratios),
        " / ".join(goals),
        " / ".join(verdicts),
    ]
    return "| " + " | ".join(cells) + " |", wrong


def jobs_line() -> str:
    """10,000 Bell circuits in one job, beside the same circuits one by one; both through a server on loopback."""
    import bench_jobs

    try:
        cost = bench_jobs.costs(single=960, repeats=1)
    except RuntimeError as error:
        return f"| {JOBS} | skipped: {error} | | | | |"
    alone, together = cost["one_by_one"][0], cost["in_one_job"][0]
    ratio = alone / together
    verdict = "met" if ratio >= 5 else "**not met**"
    return f"| {JOBS} | {scaled(together)} a circuit | one by one {scaled(alone)} a circuit | {ratio:.3g} | 5 | {verdict} |"


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Print the table; returns the exit status."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    options.add_argument("--quick", action="store_true", help="no states of more than 20 qubits")
    options.add_argument("--large", action="store_true", help="only states of more than 20 qubits")
    options.add_argument("--only", default="", metavar="TEXT", help="rows whose name has this text")
    options.add_argument("--seconds", type=float, default=1.0, help="time for each row's rounds (default 1)")
    chosen = options.parse_args()
    rate = bandwidth()
    print(
        f"Commit {commit()}, {time.strftime('%Y-%m-%d')}, {cpu()}, {os.cpu_count()} cores, SIMD {simulator.simd_level()}, "
        f"a copy moves {rate / 1e9:.0f} GB/s.\n"
    )
    print("| program | qfast | references | times as long | goal | |\n|---|---|---|---|---|---|")
    wrong: list[str] = []
    for row in rows():
        large = row.dense > 0 and row.qubits > 20
        if chosen.only in row.name and not (chosen.quick if large else chosen.large):
            line, more = report(row, rate, chosen.seconds)
            print(line, flush=True)
            wrong += more
    if chosen.only in JOBS and not chosen.large:
        print(jobs_line(), flush=True)
    print("\n" + "\n".join(wrong or ["No row is faster than the memory allows, and all engines' counts agree."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
