"""The strict JSON check against Python's own decoder as the slow twin."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast._ext.jsoncheck import check


def twin(text: bytes) -> bool:
    """Whether the text is one JSON value, by json.loads with the same strictness."""

    def unique(pairs):
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("duplicate key")
        return dict(pairs)

    def refuse(word):
        raise ValueError(word)

    def whole(value):
        if isinstance(value, str):
            value.encode()  # unpaired surrogates can't be encoded
        elif isinstance(value, list):
            for item in value:
                whole(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                whole(key)
                whole(item)

    try:
        if text.startswith(b"\xef\xbb\xbf"):
            return False
        whole(json.loads(text.decode(), object_pairs_hook=unique, parse_constant=refuse))
    except (ValueError, RecursionError):
        return False
    return True


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_what_the_encoder_writes_is_right(value, ascii_only):
    assert check(json.dumps(value, ensure_ascii=ascii_only).encode()) is None


@settings(max_examples=600)
@given(VALUES, st.data())
def test_mutations_are_judged_as_by_the_twin(value, data):
    text = bytearray(json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.sampled_from(
                [b"", b'"', b"\\", b"[", b"}", b",", b"1", b"\xc0", b"\\ud800", b"\x00", b" ", b"e", b".", b"-"]
            )
        )
        text[place : place + data.draw(st.integers(0, 2))] = piece
    assert (check(bytes(text)) is None) == twin(bytes(text)), bytes(text)


@given(st.binary(max_size=40))
def test_bytes_are_judged_as_by_the_twin(text):
    assert (check(text) is None) == twin(text)


@pytest.mark.parametrize(
    ("text", "offset", "word"),
    [
        (b"", 0, "valid JSON"),
        (b'{"a": 1, "\\u0061": 2}', 9, "twice"),
        (b"[NaN]", 1, "valid JSON"),
        (b"[1,]", 3, "valid JSON"),
        (b'"\\ud800"', 1, "surrogate"),
        (b'"\xed\xa0\x80"', 1, "UTF-8"),
        (b'"\xc0\xaf"', 1, "UTF-8"),
        (b'"a\nb"', 2, "control"),
        (b"{} {}", 3, "behind"),
        (b"[" * 41 + b"]" * 41, 40, "deeply"),
        (b"\xef\xbb\xbf{}", 0, "valid JSON"),
        (b'{"a": {"a": 1}, "b": 2, "a": 3}', 24, "twice"),
    ],
)
def test_a_fault_is_named_with_its_place(text, offset, word):
    what, where = check(text)
    assert word in what
    assert where == offset


def test_the_same_key_in_different_objects_is_fine():
    assert check(b'[{"a": 1}, {"a": {"a": [{"a": 1}]}}]') is None


def test_many_keys():
    good = json.dumps({str(k): k for k in range(5000)}).encode()
    assert check(good) is None
    bad = good[:-1] + b', "77": 0}'
    assert check(bad) is not None


def test_depth_is_bounded_without_recursion():
    assert check(b"[" * 40 + b"]" * 40) is None
    assert check(b"[" * 1_000_000) is not None
    with pytest.raises(ValueError, match="max_depth"):
        check(b"1", 65)
