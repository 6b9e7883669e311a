"""The strict JSON check against Python's own decoder as the slow twin."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast._ext.jsoncheck import check, find


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


NUMBERS = st.lists(
    st.one_of(
        st.integers(-(10**6), 10**6).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.sampled_from(["0", "-0", "1E+5", "2e-07", "-3.25E9", "10", "0.0", "1" * 70, "0." + "0" * 70 + "1"]),
    ),
    min_size=12,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(NUMBERS, st.data())
def test_long_arrays_of_numbers_are_judged_as_by_the_twin(numbers, data):
    text = bytearray(b"[[" + ",".join(numbers).encode() + b"]]")
    assert check(bytes(text)) is None
    at = data.draw(st.integers(2, len(text) - 1))
    mark = data.draw(st.sampled_from(b"0,-+.eE19] x["))
    if data.draw(st.booleans()):
        text[at] = mark
    else:
        text.insert(at, mark)
    wrong = check(bytes(text))
    assert (wrong is None) == twin(bytes(text))
    if wrong is not None:  # the place is the scanner's own, whatever the fast half has passed over
        assert check(b"[[ " + bytes(text)[2:]) == (wrong[0], wrong[1] + 1)


PATH = (b"params", b"body", b"source_code")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"params": {"body": {"source_code":  [[1, 2]] , "x": 1}}, "id": 1}', "[[1, 2]]"),
        ('{"params":{"a":{"source_code":3},"body":{"y":{"source_code":1},"source_code":"a]"}}}', '"a]"'),
        ('{"params":{"body":{"source_code":7}}}', "7"),
        ('{"params":{"body":{"x":[{"source_code":7}]}}}', None),
        ('{"params":[{"body":{"source_code":7}}]}', None),
        ('[{"params":{"body":{"source_code":7}}}]', None),
        ('{"body":{"params":{"source_code":7}}}', None),
        ('{"x":{"body":{"source_code":7}},"params":{"source_code":1,"body":3}}', None),
        ('{"params":{"body":{"source_cod\\u0065":7}}}', None),
        ("7", None),
    ],
)
def test_a_value_is_found_by_its_path(text, value):
    raw = text.encode()
    wrong, span = find(raw, PATH)
    assert wrong is None
    assert (raw[slice(*span)].decode() if span else None) == value


@given(VALUES)
def test_only_the_path_leads_there(value):
    raw = json.dumps(
        {"params": {"x": value, "body": {"y": value, "source_code": value, "z": value}}, "body": value}
    ).encode()
    wrong, span = find(raw, PATH)
    assert wrong is None
    assert json.loads(raw[slice(*span)]) == value
    assert find(raw[:-1], PATH) == (check(raw[:-1]), None)
