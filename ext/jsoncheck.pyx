"""The strict JSON check in front of the decoders (json_check.h)."""

import os

from libc.stdint cimport uint64_t


cdef extern from "json_check.h":
    int jc_check(const unsigned char *text, size_t n, uint64_t salt, int max_depth, size_t *offset) noexcept nogil
    const int JC_MAX_DEPTH

cdef uint64_t SALT = int.from_bytes(os.urandom(8), "little")

_FAULTS = (
    "",
    "not valid JSON",
    "not valid UTF-8",
    "an escape that is half a surrogate pair",
    "a control character inside a string",
    "nested too deeply",
    "a key given twice in one object",
    "text behind the JSON value",
    "out of memory",
)


def check(const unsigned char[::1] text, int max_depth=40):
    """Check that `text` is one JSON value by RFC 8259, without duplicate keys and without unpaired surrogates.

    Parameters
    ----------
    text : bytes-like
        UTF-8.
    max_depth : int
        Arrays and objects that may stand inside each other, at most 64.

    Returns
    -------
    tuple of (str, int) or None
        What is wrong and the byte offset of it; None when nothing is. Runs in O(len(text)) without the GIL.
    """
    cdef size_t n = text.shape[0]
    cdef size_t offset = 0
    cdef int fault
    cdef const unsigned char *start = NULL
    if not 1 <= max_depth <= JC_MAX_DEPTH:
        raise ValueError(f"max_depth {max_depth} is not in 1..{JC_MAX_DEPTH}")
    if n:
        start = &text[0]
    with nogil:
        fault = jc_check(start, n, SALT, max_depth, &offset)
    return (_FAULTS[fault], <Py_ssize_t>offset) if fault else None
