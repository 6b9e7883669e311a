"""Mutated inputs through the parsers: `python tests/fuzz/fuzz_qasm.py --runs 1000000 [--target NAME] [--seed N]`.

Each parser is one line of TARGETS: how to call it, what it may raise, and its seed corpus. Anything else that it raises
ends the run with the input that did it; an input that takes more than `--limit` seconds of CPU is counted and shown. Build with
QFAST_SANITIZE=address,undefined and preload libasan and libubsan for the sanitizers, under which an overrun ends the
process; `--log FILE` holds the last input then.
"""

from __future__ import annotations

import argparse
import json
import mmap
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent.parent)]

import corpus  # noqa: E402

from qfast import frontend  # noqa: E402
from qfast._ext import jsoncheck, qubo  # noqa: E402
from qfast.errors import CircuitError  # noqa: E402
from qfast.sources import SourceError, read_source  # noqa: E402

LONGEST = 1 << 20  # bytes of an input that the log holds


class Target(NamedTuple):
    """A parser under test."""

    call: Callable[[bytes], object]
    allowed: tuple[type[BaseException], ...]
    seeds: Sequence[bytes]
    pieces: Sequence[bytes]


def compile_text(text: bytes) -> object:
    return frontend.compile_program(text.decode(errors="replace"))


def parse_matrices(text: bytes) -> object:
    return qubo.parse(memoryview(text), 100, 2_000, 200_000, 2)


def read_file(text: bytes) -> object:
    """A file whose ending is the first line of the text."""
    ending, _, data = text.partition(b"\n")
    return read_source(f"file.{ending.decode(errors='replace')}", data)


TARGETS = {
    "qasm": Target(compile_text, (CircuitError,), corpus.PROGRAMS, corpus.PROGRAM_PIECES),
    "json": Target(jsoncheck.check, (), corpus.JSON, corpus.JSON_PIECES),
    "qubo": Target(parse_matrices, (qubo.MatrixDefect,), corpus.MATRICES, corpus.JSON_PIECES),
    "files": Target(read_file, (SourceError,), corpus.files(), corpus.FILE_PIECES),
}


def mutate(rng: random.Random, seeds: Sequence[bytes], pieces: Sequence[bytes]) -> bytes:
    """A seed with one to six changes, mostly one: bytes, pieces of the language, parts of itself or of another seed."""
    text = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randint(0, len(text))
        end = min(len(text), at + rng.choice((0, 0, 1, 1, 2, 5, 20)))
        kind = rng.random()
        if kind < 0.1:
            text[at:end] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 3)))
        elif kind < 0.55:
            text[at:end] = rng.choice(pieces)
        elif kind < 0.7:
            del text[at:end]
        elif kind < 0.85:
            other = rng.choice(seeds)
            start = rng.randrange(len(other))
            text[at:end] = other[start : start + rng.randint(1, 40)]
        else:
            start = rng.randint(0, len(text))
            text[at:end] = text[start : start + rng.randint(1, 60)] * rng.choice((1, 1, 2, 9))
    return bytes(text)


def fuzz(
    target: Target, runs: int, seed: int, limit: float, log: Path | None = None, seconds: float = float("inf")
) -> dict[str, float]:
    """Runs the parser on mutated inputs, `runs` of them or as many as `seconds` allow.

    Returns
    -------
    dict
        ``runs``, ``accepted`` inputs, ``slowest`` in seconds of CPU, and ``slow``, how many took longer than `limit` in each
        of three runs.

    Raises
    ------
    AssertionError
        With the input: the parser raised what it must not.
    """
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    page = None if log is None else _page(log)
    accepted, slow, slowest, run = 0, 0, 0.0, 0
    while run < runs and (run % 256 or time.monotonic() < end):
        run += 1
        text = mutate(rng, target.seeds, target.pieces)
        if page is not None:  # a shared mapping outlives the process at no call's cost
            page[: 8 + len(text)] = len(text).to_bytes(8, "little") + text
        taken, ok = timed(target, text)
        if taken > limit:
            taken = min(taken, *(timed(target, text)[0] for _ in range(2)))
            if taken > limit:
                slow += 1
                print(f"{taken:.3f} s for {text!r}", flush=True)
        accepted += ok
        slowest = max(slowest, taken)
    return {"runs": run, "accepted": accepted, "slow": slow, "slowest": slowest}


def _page(log: Path) -> mmap.mmap:
    """The file of the input at work: eight bytes for its length, then the input."""
    log.write_bytes(bytes(LONGEST))
    with log.open("r+b") as file:
        return mmap.mmap(file.fileno(), LONGEST)


def timed(target: Target, text: bytes) -> tuple[float, bool]:
    """Seconds of CPU that one input takes, and whether it is accepted."""
    start = time.process_time()
    try:
        target.call(text)
        ok = True
    except target.allowed:
        ok = False
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__}: {error} for {text!r}") from error
    return time.process_time() - start, ok


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--target", choices=TARGETS, default="qasm")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=0.1, help="seconds of CPU for one input")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long, whatever is left")
    parser.add_argument("--log", type=Path, help="a file that holds the input at work")
    args = parser.parse_args()
    start = time.perf_counter()
    found = fuzz(TARGETS[args.target], args.runs, args.seed, args.limit, args.log, args.seconds)
    found["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps({"target": args.target, "seed": args.seed, **found}))
    raise SystemExit(1 if found["slow"] else 0)


if __name__ == "__main__":
    main()
