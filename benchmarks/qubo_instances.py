"""QUBO instances of the benchmarks: files of a folder, or what published generators give from their seeds."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import orjson

from qfast.matrices import QuboProblem, parse_sources

TUNED = (  # what settings were chosen on, by the beginning of the name: of tempering, and of tabu search's depth
    *("G14", "G22", "G35", "G55", "G60", "G70", "G32", "sg3dl", "tile1024"),
    *("bqp1000.1", "bqp1000.2", "bqp2500.1", "p3000.1"),
)


class Instance(msgspec.Struct, frozen=True):
    """Minimise the sum of v x_i x_j, i <= j; `target` is the best value known, None when only this run can tell."""

    name: str
    n: int
    i: np.ndarray
    j: np.ndarray
    v: np.ndarray
    target: float | None

    @property
    def tuned(self) -> bool:
        """Whether settings of our kernels were chosen on it."""
        return self.name.startswith(TUNED)

    def dense(self) -> np.ndarray:
        """The upper triangular matrix."""
        q = np.zeros((self.n, self.n), np.int64)
        q[self.i, self.j] = self.v
        return q

    def problem(self) -> QuboProblem:
        """As the server reads it: by rows where a tenth of the pairs is there, else by coordinates."""
        value = {"n": self.n, "row": self.i, "col": self.j, "value": self.v}
        wire = self.dense() if len(self.v) > 0.04 * self.n**2 / 2 else value
        return parse_sources(orjson.dumps([wire], option=orjson.OPT_SERIALIZE_NUMPY))[0]

    def energy(self, x: np.ndarray) -> float:
        """x^T Q x"""
        return float((self.v * x[self.i] * x[self.j]).sum())


def from_folder(folder: Path) -> list[Instance]:
    """``NAME.npz`` with arrays n, i <= j, v, and the best values in ``best.json``: {NAME: {"best": value}}."""
    best = json.loads((folder / "best.json").read_text())
    out = []
    for path in folder.glob("*.npz"):
        with np.load(path) as z:
            order = np.lexsort((z["j"], z["i"]))
            parts = (z[key][order].astype(np.int64) for key in "ijv")
            out.append(Instance(path.stem, int(z["n"]), *parts, best.get(path.stem, {}).get("best")))
    return sorted(out, key=lambda one: (one.n, one.name))


def palubeckis(name: str, n: int, density: int, seed: int, best: float) -> Instance:
    """G. Palubeckis' generator (Annals of Operations Research 131, 2004): Lehmer's 16807 modulo 2^31 - 1.

    One draw for each diagonal entry, for each pair one that decides and one for the value if it is there; maximised.
    """
    modulus, state = 2**31 - 1, seed
    row, col, value = [], [], []
    for i in range(n):
        for j in range(i, n):
            if j > i:
                state = state * 16807 % modulus
                if state / modulus * 100 > density:
                    continue
            state = state * 16807 % modulus
            drawn = int(state / modulus * 201) - 100
            if drawn:
                row.append(i)
                col.append(j)
                value.append(-drawn if i == j else -2 * drawn)
    return Instance(name, n, np.array(row), np.array(col), np.array(value), best)


def bqp(n: int, seed: int) -> Instance:
    """In the manner of Beasley's: a tenth of the pairs and the diagonal in -100..100."""
    rng = np.random.default_rng(seed)
    q = np.triu(rng.integers(-100, 101, (n, n)))
    keep = rng.random((n, n)) < 0.1
    np.fill_diagonal(keep, True)
    i, j = np.nonzero(q * keep)
    return Instance(f"bqp-like {n}", n, i, j, np.where(i == j, 1, 2) * q[i, j], None)


def cut(n: int, degree: float, seed: int) -> Instance:
    """The max-cut of a random graph: 2 x_i x_j - x_i - x_j for each edge."""
    rng = np.random.default_rng(seed)
    edges = np.triu(rng.random((n, n)) < degree / n, 1).astype(np.int64)
    q = 2 * edges - np.diag(edges.sum(0) + edges.sum(1))
    i, j = np.nonzero(q)
    return Instance(f"cut {n}", n, i, j, q[i, j], None)


def generated() -> list[Instance]:
    """Instances for a clone without a folder of files."""
    return [
        bqp(250, 250),
        bqp(500, 500),
        cut(800, 20, 800),
        bqp(1000, 1000),
        cut(2000, 20, 2000),
        bqp(2500, 2500),
        palubeckis("p3000.1", 3000, 50, 31_000, -3_931_583),
    ]
