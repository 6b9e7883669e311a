"""The two forms in which IBM's client reads arrays: RuntimeEncoder's tagged values, and the executor's packed tensors."""

from __future__ import annotations

import io
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 1  # of zlib: outcomes of shots are packed fast or not at all


def tagged(kind: str, value: Any) -> dict[str, Any]:
    """A value that is decoded to an object of that type."""
    return {"__type__": kind, "__value__": value}


def ndarray(array: npt.NDArray[Any]) -> dict[str, Any]:
    """An array, as numpy writes it to a file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return tagged("ndarray", b64encode(zlib.compress(file.getvalue(), LEVEL)).decode())


def bit_array(packed: npt.NDArray[np.uint8], num_bits: int) -> dict[str, Any]:
    """Outcomes of shots: uint8 of shape (..., shots, bytes), the most significant bit first."""
    return tagged("BitArray", {"array": ndarray(packed), "num_bits": num_bits})


def data_bin(fields: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """The data of a pub by name."""
    return tagged("DataBin", {"field_names": list(fields), "shape": list(shape), "fields": dict(fields)})


def tensor(array: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Bits in the executor's form: eight to a byte, the first one lowest."""
    packed = np.packbits(array, axis=None, bitorder="little").tobytes()
    return {"data": b64encode(zlib.compress(packed, LEVEL)).decode(), "shape": list(array.shape), "dtype": "bool"}
