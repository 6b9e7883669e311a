"""The strict JSON check in front of the decoders (json_check.h)."""

import os

from libc.stdint cimport uint64_t


cdef extern from "json_check.h":
    ctypedef struct jc_path:
        int keys
        const char *key[4]
        size_t length[4]
        const unsigned char *begin "from"
        const unsigned char *to

    int jc_check(const unsigned char *text, size_t n, uint64_t salt, int max_depth, jc_path *path,
                 size_t *offset) noexcept nogil
    const int JC_MAX_DEPTH
    const int JC_MAX_PATH

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
        fault = jc_check(start, n, SALT, max_depth, NULL, &offset)
    return (_FAULTS[fault], <Py_ssize_t>offset) if fault else None


def find(const unsigned char[::1] text, path, int max_depth=40):
    """Check like `check`, and tell on the way where a value stands.

    Parameters
    ----------
    text : bytes-like
        UTF-8.
    path : tuple of bytes
        One to four keys, from the outermost object inwards, as they stand in the text.
    max_depth : int
        As of `check`.

    Returns
    -------
    tuple of (wrong, span)
        What `check` gives, and the value's first byte and the one behind its last, or None when the path leads nowhere.
    """
    cdef size_t n = text.shape[0]
    cdef size_t offset = 0
    cdef int fault, k
    cdef jc_path where
    cdef const unsigned char *start = NULL
    if not 1 <= max_depth <= JC_MAX_DEPTH or not 1 <= len(path) <= JC_MAX_PATH:
        raise ValueError(f"a depth in 1..{JC_MAX_DEPTH} and a path of 1 to {JC_MAX_PATH} keys are needed")
    where.keys = <int>len(path)
    where.begin = where.to = NULL
    for k in range(where.keys):
        where.key[k], where.length[k] = <bytes>path[k], <size_t>len(path[k])
    if n:
        start = &text[0]
    with nogil:
        fault = jc_check(start, n, SALT, max_depth, &where, &offset)
    if fault:
        return (_FAULTS[fault], <Py_ssize_t>offset), None
    return None, (where.begin - start, where.to - start) if where.to != NULL else None
