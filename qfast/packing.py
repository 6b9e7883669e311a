"""Solutions of QUBO problems as texts: base64 of bits, eight variables a byte, x_0 in the lowest bit of the first."""

from __future__ import annotations

import base64

PACKING = "base64 of little-endian bits: x_k is bit k % 8 of byte k // 8"


def unpack_solution(text: str, n: int) -> list[int]:
    """The solution, a 0 or 1 for each of the n variables.

    Raises
    ------
    ValueError
        The text is not one of n variables.
    """
    try:
        packed = base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise ValueError(f"not a packed solution: {error}") from None
    bits = int.from_bytes(packed, "little")
    if len(packed) != -(-n // 8) or bits >> n:
        raise ValueError(f"not a packed solution of {n} variables")
    return list(map(int, format(bits, f"0{n}b")[::-1])) if n else []
