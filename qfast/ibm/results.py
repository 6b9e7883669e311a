"""From the rows of a job to the result that IBM's client decodes. The same rows give the same result at any time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from qfast.ibm.encoding import bit_array, data_bin, ndarray, tagged, tensor

Heading = Mapping[str, Any]  # qiskit_qfast.circuits.Heading, as plain JSON
Row = Mapping[str, Any]


def result_bytes(kept: Mapping[str, Any], shots: int, rows: Sequence[Row], times: tuple[str, str]) -> bytes:
    """The result of a completed job as JSON.

    Parameters
    ----------
    kept : mapping
        What was kept with the job at its submit (programs.Kept).
    shots : int
        That each row took; a pub that asked for fewer gets the first of them, which are as random as any.
    rows : sequence of mapping
        The job's results.
    times : (str, str)
        When it began and ended.
    """
    if kept["program"] == "executor":
        return orjson.dumps(_executor_result(kept, rows, times))
    of_pub = _sampler_pub if kept["program"] == "sampler" else _estimator_pub
    pubs = [of_pub(pub, own, shots) for pub, own in _by_pub(kept["pubs"], rows)]
    return orjson.dumps(tagged("PrimitiveResult", {"pub_results": pubs, "metadata": {"version": 2}}))


def _by_pub(
    pubs: Sequence[Mapping[str, Any]], rows: Sequence[Row]
) -> Iterator[tuple[Mapping[str, Any], Sequence[Row]]]:
    start = 0
    for pub in pubs:
        stop = start + sum(heading["rows"] for heading in pub["parts"])
        yield pub, rows[start:stop]
        start = stop


def columns_of(heading: Heading) -> list[int]:
    """Where each classical bit of the circuit stands in an outcome's text: registers last to first, bit 0 rightmost."""
    columns = [0] * heading["num_clbits"]
    place = 0
    for register in reversed(heading["declared"]):
        for clbit in reversed(register):
            columns[clbit] = place
            place += 1
        place += 1  # the blank between registers
    return columns


def _outcomes(heading: Heading, row: Row, shots: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
    """The distinct outcomes, uint8 [outcome][clbit], and which of them each shot had.

    Counts have no order of shots: one is drawn with the row's seed, so it is the same each time.
    """
    texts = list(row["results"])
    letters = np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1)
    values = (letters[:, columns_of(heading)] == ord("1")).astype(np.uint8)
    repeats = np.fromiter(row["results"].values(), np.int64, len(texts))
    chosen = np.random.default_rng(row["metadata"].get("seed")).permutation(np.repeat(np.arange(len(texts)), repeats))
    return values, chosen[:shots]


def _sampler_pub(pub: Mapping[str, Any], rows: Sequence[Row], _most: int) -> dict[str, Any]:
    (heading,) = pub["parts"]
    shape, shots = tuple(heading["shape"]), pub["shots"]
    fields: dict[str, list[Any]] = {name: [] for name, _ in heading["cregs"]}
    for row in rows:
        values, chosen = _outcomes(heading, row, shots)
        for name, bits in heading["cregs"]:
            padding = np.zeros((len(values), -len(bits) % 8), np.uint8)
            packed = np.packbits(np.hstack([padding, values[:, bits[::-1]]]), axis=1)
            fields[name].append(packed[chosen])
    data = {
        name: bit_array(np.stack(fields[name]).reshape(*shape, shots, -1), len(bits))
        for name, bits in heading["cregs"]
        if bits
    }
    metadata = {"circuit_metadata": heading["metadata"]}
    return tagged("SamplerPubResult", {"data": data_bin(data, shape), "metadata": metadata})


def _estimator_pub(pub: Mapping[str, Any], rows: Sequence[Row], most: int) -> dict[str, Any]:
    shape = tuple(pub["parts"][0]["shape"])
    flat = np.zeros((2, prod(shape)))
    start = 0
    for heading in pub["parts"]:
        for place, point, observable in heading["at"]:
            values = rows[start + point]["results"]
            flat[0, place] = values["evs"][observable]
            flat[1, place] = values["stds"][observable]
        start += heading["rows"]
    flat[1] *= np.sqrt(most / pub["shots"])  # the row's errors are those of `most` shots
    data = {name: ndarray(values.reshape(shape)) for name, values in zip(("evs", "stds"), flat, strict=True)}
    metadata = {
        "shots": pub["shots"],
        "target_precision": pub["precision"],
        "circuit_metadata": pub["parts"][0]["metadata"],
        "resilience": {},
    }
    return tagged("PubResult", {"data": data_bin(data, shape), "metadata": metadata})


def _executor_result(kept: Mapping[str, Any], rows: Sequence[Row], times: tuple[str, str]) -> dict[str, Any]:
    program = kept["params"]["quantum_program"]
    data, parts = [], []
    for index, (pub, own) in enumerate(_by_pub(kept["pubs"], rows)):
        (heading,) = pub["parts"]
        data.append({"results": _item_results(heading, own, pub["shots"]), "metadata": {}})
        axes = list(range(len(heading["shape"])))
        parts.append({"idx_item": index, "size": len(own), "permutation": axes, "element_range": [0, len(own), 1]})
    began, ended = times
    return {
        "schema_version": kept["params"]["schema_version"],
        "data": data,
        "metadata": {"chunk_timing": [{"start": began, "stop": ended, "parts": parts}]},
        "passthrough_data": program.get("passthrough_data"),
        "semantic_role": program.get("semantic_role"),
    }


def _item_results(heading: Heading, rows: Sequence[Row], shots: int) -> dict[str, Any]:
    """Per classical register its bits, bool of shape (..., shots, bits), bit 0 first."""
    found: dict[str, list[Any]] = {name: [] for name, _ in heading["cregs"]}
    for row in rows:
        values, chosen = _outcomes(heading, row, shots)
        for name, bits in heading["cregs"]:
            found[name].append(values[:, bits][chosen].astype(bool))
    shape = tuple(heading["shape"])
    return {
        name: tensor(np.stack(found[name]).reshape(*shape, shots, len(bits))) for name, bits in heading["cregs"] if bits
    }
