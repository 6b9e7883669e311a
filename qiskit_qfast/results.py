"""From the answers of get_job_results to Qiskit's results; all that is needed stands there, also for retrieved jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, PubResult, SamplerPubResult
from qiskit.result import Result
from qiskit.result.models import ExperimentResult, ExperimentResultData

from qiskit_qfast.circuits import Heading, heading_of


def _heading(source: str, row: Mapping[str, Any]) -> Heading:
    """The heading of a program; for one that was submitted in another way, what its counts show."""
    heading = heading_of(source)
    if heading is not None:
        return heading
    widths = [len(part) for part in next(iter(row["results"]), "").split(" ")][::-1]
    starts = [sum(widths[:k]) for k in range(len(widths))]
    declared = [list(range(start, start + width)) for start, width in zip(starts, widths, strict=True)]
    cregs = [(f"c{k}" if len(widths) > 1 else "c", bits) for k, bits in enumerate(declared)]
    return Heading("circuit", {}, sum(widths), declared, cregs)


def _hex(bits: Sequence[int]) -> str:
    return hex(sum(1 << k for k, bit in enumerate(bits) if bit))


def run_result(job: Mapping[str, Any], backend_name: str, backend_version: str) -> Result:
    """The result of `QfastBackend.run`: one experiment per circuit."""
    experiments = []
    for source, row in zip(job["source_code"], job["results"], strict=True):
        heading = _heading(source, row)
        counts: dict[str, int] = {}
        for outcome, count in row["results"].items():
            key = _hex(heading.bits_of(outcome))
            counts[key] = counts.get(key, 0) + count
        data: dict[str, Any] = {"counts": counts}
        if "memory" in row:
            known = {outcome: _hex(heading.bits_of(outcome)) for outcome in row["results"]}
            data["memory"] = [known[outcome] for outcome in row["memory"]]
        header = {
            "name": heading.name,
            "metadata": dict(heading.metadata),
            "memory_slots": heading.num_clbits,
            "creg_sizes": [[name, len(bits)] for name, bits in heading.cregs],
        }
        shots = sum(row["results"].values())
        experiments.append(
            ExperimentResult(
                shots,
                True,
                ExperimentResultData(**data),
                status="DONE",
                seed=row["metadata"].get("seed"),
                header=header,
                metadata=row["metadata"],
            )
        )
    return Result(
        backend_name=backend_name,
        backend_version=backend_version,
        job_id=job["job_id"],
        success=True,
        results=experiments,
        date=job["end_date"],
        status="COMPLETED",
    )


def primitive_result(jobs: Sequence[Mapping[str, Any]]) -> PrimitiveResult[PubResult]:
    """The result of a primitive's run: one per pub, in their order."""
    found: dict[int, PubResult] = {}
    version = {"version": 2}
    for job in jobs:
        found |= _estimated(job) if job["job_type"] == "estimation" else _sampled(job)
    return PrimitiveResult([found[pub] for pub in sorted(found)], version)


def _rows_of(job: Mapping[str, Any]) -> list[tuple[Heading, list[dict[str, Any]]]]:
    """Each source's heading and its rows, one per set of parameter values."""
    rows = list(job["results"])
    parts: list[tuple[Heading, list[dict[str, Any]]]] = []
    start = 0
    for index, source in enumerate(job["source_code"]):
        estimated = job["job_type"] == "estimation"
        heading = heading_of(source) if estimated else _heading(source, rows[start])
        if heading is None:
            heading = Heading("circuit", {}, 0, [], [])
        if heading.pub is None:
            heading = replace(heading, pub=index)
        parts.append((heading, rows[start : start + heading.rows]))
        start += heading.rows
    return parts


def _sampled(job: Mapping[str, Any]) -> dict[int, PubResult]:
    found: dict[int, PubResult] = {}
    for heading, rows in _rows_of(job):
        shots = job["shots"]
        shape = tuple(heading.shape)
        packed = [_packed(heading, row) for row in rows]
        arrays = {
            name: BitArray(np.stack([row[k] for row in packed]).reshape(*shape, shots, -1), len(bits))
            for k, (name, bits) in enumerate(heading.cregs)
        }
        metadata = {"shots": shots, "circuit_metadata": dict(heading.metadata), "qfast": rows[0]["metadata"]}
        found[int(heading.pub or 0)] = SamplerPubResult(DataBin(**arrays, shape=shape), metadata)
    return found


def _packed(heading: Heading, row: Mapping[str, Any]) -> list[npt.NDArray[np.uint8]]:
    """Per classical register the outcomes of all shots, uint8 [shots][bytes], most significant bit first.

    The order of the shots is random, and the same each time: the counts do not have one.
    """
    values = np.array([heading.bits_of(outcome) for outcome in row["results"]], dtype=np.uint8)
    repeats = np.fromiter(row["results"].values(), dtype=np.int64, count=len(row["results"]))
    chosen = np.repeat(np.arange(len(values)), repeats)
    np.random.default_rng(row["metadata"].get("seed")).shuffle(chosen)
    parts = []
    for _, bits in heading.cregs:
        columns = values[:, list(reversed(bits))]
        padding = np.zeros((len(values), -len(bits) % 8), dtype=np.uint8)
        parts.append(np.packbits(np.concatenate([padding, columns], axis=1), axis=1)[chosen])
    return parts


def _estimated(job: Mapping[str, Any]) -> dict[int, PubResult]:
    values: dict[int, tuple[Heading, npt.NDArray[np.float64]]] = {}
    for heading, rows in _rows_of(job):
        pub = int(heading.pub or 0)
        at = heading.at or [(k, 0, k) for k in range(len(rows[0]["results"]["evs"]))]
        shape = tuple(heading.shape) if heading.at else (len(at),)
        _, flat = values.setdefault(pub, (heading, np.zeros((2, prod(shape)))))
        for place, point, observable in at:
            flat[0, place] = rows[point]["results"]["evs"][observable]
            flat[1, place] = rows[point]["results"]["stds"][observable]
    found: dict[int, PubResult] = {}
    for pub, (heading, flat) in values.items():
        shape = tuple(heading.shape) if heading.at else (flat.shape[1],)
        data = DataBin(evs=flat[0].reshape(shape), stds=flat[1].reshape(shape), shape=shape)
        shots = job["shots"]
        metadata = {
            "shots": shots,
            "target_precision": shots**-0.5,
            "circuit_metadata": dict(heading.metadata),
        }
        found[pub] = PubResult(data, metadata)
    return found
