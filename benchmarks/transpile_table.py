"""The table of docs/transpiler.md: cmss at all levels beside qiskit.transpile, program by program.

``python benchmarks/transpile_table.py [--data DIR] [--map NAME ...] [--repeats N]``

Same basis (cx, rz, sx, x), same coupling map, seeds fixed, times by minima of repeats in one process (one thread for Qiskit).
DIR is a folder of .qasm files (searched below it); without it the programs of bench_transpile.py are generated. A program that
Qiskit's parsers do not read, or that is wider than the map, is left out and named. Gates in the bodies of Qiskit's control
flow count as ours do: once for each place where they stand.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("RAYON_NUM_THREADS", "1")

import bench_transpile
import qiskit
from qiskit.transpiler import CouplingMap

from qfast.circuit import Circuit
from qfast.frontend import compile_program
from qfast.plugins import Device, Task
from qfast.transpilers.cmss import CmssTranspiler

BASIS = ("rz", "sx", "x", "cx")
MAPS: dict[str, Callable[[], Any]] = {
    "all": lambda: None,
    "line": lambda: CouplingMap.from_line(30),
    "grid": lambda: CouplingMap.from_grid(6, 6),
    "heavy-hex": lambda: CouplingMap.from_heavy_hex(5),
}
OURS, THEIRS = (0, 1, 2, 3), (1, 2, 3)


class Cell(NamedTuple):
    """What one transpiler made at one level."""

    pairs: int
    gates: int
    seconds: float


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--map", nargs="*", choices=MAPS, default=list(MAPS))
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    ).stdout.strip()
    print(f"qfast {commit}, Qiskit {qiskit.__version__}, {datetime.now(UTC):%Y-%m-%d}, minima of {args.repeats} runs\n")
    programs, left_out = read(args.data)
    for name in args.map:
        chart(name, programs, args.repeats)
    if left_out:
        print("Left out:", "; ".join(left_out))


def read(folder: Path | None) -> tuple[list[tuple[str, Circuit, Any]], list[str]]:
    """Name, our circuit and Qiskit's of each program, and why others are not among them."""
    from qiskit import qasm2, qasm3

    texts = (
        bench_transpile.generated()
        if folder is None
        else {p.stem: p.read_text() for p in sorted(folder.rglob("*.qasm"))}
    )
    programs, left_out = [], []
    for name, text in texts.items():
        try:
            circuit = compile_program(text)
            if "OPENQASM 3" in text:
                theirs: Any = qasm3.loads(text)
            else:
                theirs = qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
            programs.append((name, circuit, theirs))
        except Exception as error:  # Qiskit's parsers fail in many ways
            left_out.append(f"{name} ({type(error).__name__})")
    return programs, left_out


def chart(name: str, programs: list[tuple[str, Circuit, Any]], repeats: int) -> None:
    """One coupling map."""
    coupling = MAPS[name]()
    pairs = None if coupling is None else tuple(sorted({(a, b) for a, b in coupling.get_edges()}))
    size = 10**6 if coupling is None else coupling.size()
    print(f"### {name}{'' if coupling is None else f' ({size} qubits)'}\n")
    heads = [f"cmss {k}" for k in OURS] + [f"Qiskit {k}" for k in THEIRS]
    print(f"| program | qubits | {' | '.join(heads)} | cx 1:1 | cx 3:3 | time 1:1 |")
    print("|---|" + "--:|" * (len(heads) + 4))
    rows = []
    for title, circuit, theirs in programs:
        if circuit.num_qubits > size:
            continue
        cells = [ours(circuit, pairs, level, repeats) for level in OURS]
        cells += [reference(theirs, coupling, level, repeats) for level in THEIRS]
        rows.append(cells)
        texts = [f"{c.pairs} / {c.gates} / {1e3 * c.seconds:.2f}" for c in cells]
        ratio = cells[4].seconds / cells[1].seconds
        print(
            f"| {title} | {circuit.num_qubits} | {' | '.join(texts)} | {sign(cells[1], cells[4])} | "
            f"{sign(cells[3], cells[6])} | {ratio:.1f}x |",
            flush=True,
        )
    print(f"\n{summary(rows)}\n", flush=True)


def sign(own: Cell, reference: Cell) -> str:
    """Fewer, equal or more two-qubit gates."""
    return f"{own.pairs - reference.pairs:+d}" if own.pairs != reference.pairs else "="


def summary(rows: list[list[Cell]]) -> str:
    """Wins, ties and losses."""
    out = [f"{len(rows)} programs (each cell: cx / gates / ms)."]
    for level, theirs in ((1, 4), (2, 5), (3, 6)):
        fewer = sum(row[level].pairs < row[theirs].pairs for row in rows)
        more = sum(row[level].pairs > row[theirs].pairs for row in rows)
        total, reference = sum(row[level].pairs for row in rows), sum(row[theirs].pairs for row in rows)
        gates, gates_reference = sum(row[level].gates for row in rows), sum(row[theirs].gates for row in rows)
        faster = sum(row[level].seconds < row[theirs].seconds for row in rows)
        out.append(
            f"Level {level}: fewer cx in {fewer}, more in {more}, {total} against {reference} in sum; "
            f"{gates} gates against {gates_reference}; faster in {faster}."
        )
    risen = [
        sum(row[k].pairs > row[k - 1].pairs for row in rows) + sum(row[k].gates > row[k - 1].gates for row in rows)
        for k in (1, 2, 3)
    ]
    out.append(f"A level above one with fewer cx or fewer gates: {sum(risen)} times.")
    return " ".join(out)


def ours(circuit: Circuit, pairs: Any, level: int, repeats: int) -> Cell:
    """Cmss."""
    device = Device(name="d", driver="x", basis_gates=BASIS, coupling_map=pairs)
    transpiler, options = CmssTranspiler(), {"optimization_level": level}
    best = float("inf")
    for _ in range(repeats):
        task = Task(device=device, code_type="qasm", source="", shots=1, transpiler_options=options)
        start = time.perf_counter()
        transpiler.transpile(circuit, task)
        best = min(best, time.perf_counter() - start)
    return Cell(task.metadata["two_qubit_gates"], task.metadata["gates"], best)


def reference(circuit: Any, coupling: Any, level: int, repeats: int) -> Cell:
    """qiskit.transpile."""
    best = float("inf")
    for _ in range(repeats if level == 1 else min(2, repeats)):
        start = time.perf_counter()
        done = qiskit.transpile(
            circuit, basis_gates=list(BASIS), coupling_map=coupling, optimization_level=level, seed_transpiler=0
        )
        best = min(best, time.perf_counter() - start)
    counts = count(done)
    return Cell(counts.get("cx", 0), sum(counts.get(name, 0) for name in BASIS), best)


def count(circuit: Any) -> dict[str, int]:
    """Operations by name, bodies of control flow included."""
    counts: dict[str, int] = {}
    for item in circuit.data:
        blocks = getattr(item.operation, "blocks", ())
        for block in blocks:
            for name, number in count(block).items():
                counts[name] = counts.get(name, 0) + number
        counts[item.operation.name] = counts.get(item.operation.name, 0) + (not blocks)
    return counts


if __name__ == "__main__":
    main()
