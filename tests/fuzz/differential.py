"""Our verdict on mutated programs beside those of public parsers: `python tests/fuzz/differential.py --runs 20000`.

OpenQASM 2: Qiskit with its legacy gate set must accept what we accept, and the other way round; programs that both accept
and that measure nothing must have the same unitary. OpenQASM 3: what we accept the reference parser must parse.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent.parent), str(Path(__file__).parent)]

import corpus  # noqa: E402
import numpy as np  # noqa: E402
import openqasm3  # noqa: E402
import qiskit.qasm2  # noqa: E402
import qiskit_oracle  # noqa: E402
import slow_simulator  # noqa: E402
from fuzz_qasm import mutate  # noqa: E402

from qfast import frontend  # noqa: E402
from qfast.circuit import Circuit, Op  # noqa: E402
from qfast.errors import CircuitError  # noqa: E402

TWO = [text for text in corpus.PROGRAMS if text.startswith(b"OPENQASM 2")]
THREE = [text for text in corpus.PROGRAMS if text.startswith(b"OPENQASM 3")]
PIECES2 = [
    piece.encode()
    for piece in (
        *";,()[]{}+-*/^0129qrcxh",
        *("->", "==", "0.5", "1e3", "pi", "sin(", "q[0]", "q[1]", "c[0]", "cx ", "rx(0.3) ", "u2(1,2) ", "if"),
        *("gate g a { x a; } ", "gate k(t) a, b { rx(t) a; cx a, b; } ", "barrier q;", "reset q;", "measure q -> c;"),
        *("if (c == 1) ", "creg y[2];", "qreg z[2];", "// x\n", "\n", "opaque o a;", "h q;", "cx q, r;", "x q[0];"),
    )
]


# Qiskit: no leading zeros, no check of numbers of parameters in bodies, infinite angles; the reference parser: no array
# literals in assignments, no constant arrays, no measurement within expressions. Branches that a constant rules out are
# given up where a value in them is none.
KNOWN2 = re.compile(r"leading zeroes|not a finite number|takes \d+ parameter")
LENIENT3 = re.compile(r"const\s+array|[^=!<>]=\s*\{|[(!&|=^]\s*measure|measure[^;]*[=\[]|@[^\n]*$|&&|\|\|")


def ours(text: str, code_type: str) -> Circuit | CircuitError:
    try:
        return frontend.compile_program(text, code_type)
    except CircuitError as error:
        return error


def compare2(text: str) -> str | None:
    """What is wrong between Qiskit and us on an OpenQASM 2 program, or None."""
    mine = ours(text, "qasm2")
    if isinstance(mine, CircuitError) and mine.code != -102:
        return None  # valid, but opaque, without qubits, or too large
    try:
        theirs = qiskit_oracle.load(text)
    except qiskit.qasm2.QASM2ParseError as error:
        return None if isinstance(mine, CircuitError) or KNOWN2.search(str(error)) else f"Qiskit refuses it: {error}"
    except KeyboardInterrupt:
        raise
    except BaseException:  # Qiskit fails on some programs in other ways, by panics too: no verdict
        return None
    if isinstance(mine, CircuitError):
        return None if KNOWN2.search(mine.text) else f"we refuse it: {mine.text}"
    if theirs.num_qubits > 6 or not mine.implicit_measurement or theirs.num_clbits:
        return None
    if any(int(i["op"]) >= Op.RESET for i in mine.instructions):
        return None
    same = np.allclose(slow_simulator.unitary(mine), qiskit_oracle.unitary(text), atol=1e-8)
    return None if same else "the unitaries differ"


def compare3(text: str) -> str | None:
    """Whether we accept what is not the syntax of OpenQASM 3."""
    mine = ours(text, "qasm3")
    if isinstance(mine, CircuitError) or LENIENT3.search(text):
        return None
    try:
        openqasm3.parse(text)
    except Exception as error:  # antlr raises of its own
        return f"the reference parser refuses it: {error}"
    return None


def run(runs: int, seed: int, version: int) -> list[str]:
    """The differences on that many mutated programs."""
    rng = random.Random(seed)
    found = []
    for _ in range(runs):
        seeds, pieces = (TWO, PIECES2) if version == 2 else (THREE, corpus.PROGRAM_PIECES)
        text = mutate(rng, seeds, pieces).decode(errors="replace")
        if not text.startswith(f"OPENQASM {version}"):
            continue
        said = compare2(text) if version == 2 else compare3(text)
        if said is not None:
            found.append(f"{said}\n{text!r}")
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="differential fuzzing of the front end")
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--version", type=int, choices=(2, 3), default=2)
    args = parser.parse_args()
    found = run(args.runs, args.seed, args.version)
    print("\n\n".join(found))
    print(f"{args.runs} programs, {len(found)} differences")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
