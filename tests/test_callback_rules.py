"""The rules of a callback and of the addresses it may go to."""

from __future__ import annotations

import string
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qfast.addresses import AddressGuard, Target
from qfast.callbacks import validate_callbacks
from qfast.errors import InvalidParams

LOOPBACK = AddressGuard(loopback_only=True)
PUBLIC = AddressGuard(loopback_only=False)
URL = "http://127.0.0.1:8088/v1/job/set_job_results"


def callback(**fields: Any) -> dict[str, Any]:
    return {"name": "cb", "type": "results", "method": "post", "url": URL} | fields


def refusal(value: Any, guard: AddressGuard = LOOPBACK) -> InvalidParams:
    with pytest.raises(InvalidParams) as caught:
        validate_callbacks(value, guard=guard)
    return caught.value


def test_the_example_of_the_specification_is_taken_with_the_defaults() -> None:
    expected = callback(headers={}, retries=3, timeout=10)
    assert validate_callbacks([callback()], guard=LOOPBACK) == [expected]
    nothing = callback(headers=None, retries=None, timeout=None, method="POST")
    assert validate_callbacks([nothing], guard=LOOPBACK) == [expected]
    assert validate_callbacks(None, guard=LOOPBACK) == validate_callbacks([], guard=LOOPBACK) == []


@pytest.mark.parametrize("value", [{"url": URL}, "x", 5, True, [callback()] * 17, [5], [None], [[]], [URL]])
def test_anything_but_a_list_of_objects_is_refused(value: Any) -> None:
    assert "callbacks" in refusal(value).message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", "x" * 65), ("name", 5), ("name", "a\nb"), ("type", "status"), ("type", ["results"]),
        ("method", "get"), ("method", 1), ("url", 5), ("url", ""), ("headers", []), ("headers", {"X": 1}),
        ("headers", {"X-A": "b\r\nX-Evil: 1"}), ("headers", {"X-A": "\0"}), ("headers", {"X A": "b"}),
        ("headers", {"": "b"}), ("headers", {"X\r\nY": "b"}), ("headers", {"Host": "169.254.169.254"}),
        ("headers", {"content-length": "1"}), ("headers", {"Transfer-Encoding": "chunked"}),
        ("headers", {"CONNECTION": "close"}), ("headers", {"webhook-id": "1"}), ("headers", {"Webhook-Signature": "1"}),
        ("headers", {"X": "1", "x": "2"}), ("headers", {"X": "é"}), ("headers", {f"X-{i}": "" for i in range(33)}),
        ("retries", -1), ("retries", 11), ("retries", 1.5), ("retries", True), ("retries", "3"), ("retries", 10**30),
        ("timeout", 0), ("timeout", -1), ("timeout", 61), ("timeout", "10"), ("timeout", False), ("timeout", 10**400),
    ],
)  # fmt: skip
def test_a_field_that_breaks_its_rule_is_named_with_its_path(field: str, value: Any) -> None:
    error = refusal([callback(), callback(**{field: value})])
    assert error.message.startswith(f"callbacks.1.{field}: ")
    assert error.errors[0]["loc"] == ["body", "callbacks", "1", field]
    assert len(error.message) < 500


def test_all_faults_are_told_at_once() -> None:
    error = refusal([{"colour": "red", "method": "get", "urls": "x"}])
    assert [entry["loc"][-1] for entry in error.errors] == ["name", "type", "url", "colour", "method", "urls"]
    assert error.hint == "did you mean 'url'?"
    assert all(isinstance(part, str) for entry in error.errors for part in entry["loc"])


def test_huge_names_are_cut() -> None:
    assert len(refusal([callback(**{"x" * 10**6: 1})]).message) < 500
    assert len(refusal([callback(headers={"x" * 10**6: "1"})]).message) < 500
    assert len(refusal([callback(url="http://" + "x" * 10**6)]).message) < 500


NEVER = [
    "", "/x", "//127.0.0.1/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "unix:///var/run/docker.sock", "http:127.0.0.1",
    "http:///x", "http://", "http://:80/", "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://127.0.0.1:22/",
    "http://127.0.0.1:80:80/", "http://127.0.0.1:-1/", "http://127.0.0.1:8x/", "http://127.0.0.1/\r\nX-Evil: 1",
    "http://127.0.0.1/\0", "http://127.0.0.1/ x", " http://127.0.0.1/", "http://127.0.0.1/\n", "http://user:pw@127.0.0.1/",
    "http://example.com@127.0.0.1/x", "http://example.com\\@127.0.0.1/x", "http://127.0.0.1\\x/", "http://127.0.0.1#@x/",
    "http://0177.0.0.1/", "http://2852039166/", "http://0x7f000001/", "http://0x7f.1/", "http://127.1/", "http://0/",
    "http://127.0.0.01/", "http://127.0.0.1./", "http://localhost./", "http://１２７.0.0.1/", "http://loc\u0430lhost/",
    "http://127。0。0。1/", "http://[::1/", "http://[]/", "http://[::1%25lo]/", "http://[0:0:0:0:0:0:0:1]/", "http://[1]/",
    "http://[127.0.0.1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::]/", "http://0.0.0.0/",
    "http://169.254.169.254/latest/", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/", "http://224.0.0.1/",
    "http://100.100.100.200/", "http://10.0.0.1/x", "http://172.16.0.1/", "http://192.168.1.1/", "http://[fd00:ec2::254]/",
    "http://[64:ff9b::a00:1]/", "http://[2002:7f00:1::]/", "http://[ff02::1]/", "http://255.255.255.255/", "http://-a/",
    "http://a..b/", "http://.a/", f"http://{'a' * 64}/", f"http://{'a.' * 127}aa/", "http://a_b-/", "http\u017f://127.0.0.1/",
    "http://\u212aelvin/", "http://127.0.0.1/é", "http://127.0.0.1/<x>", f"http://127.0.0.1/{'x' * 2048}",
]  # fmt: skip


@pytest.mark.parametrize("url", NEVER)
def test_a_url_that_no_server_calls(url: str) -> None:
    for guard in (LOOPBACK, PUBLIC):
        error = refusal([callback(url=url)], guard)
        assert "url" in error.message
        assert error.errors[0]["loc"] == ["body", "callbacks", "0", "url"]


HERE = [
    "http://127.0.0.1:8088/",
    "http://127.8.9.10/x?y=[1]&z=%20@",
    "https://[::1]:8443/x",
    "http://localhost:3000/x",
    "HTTP://LOCALHOST",
]
WORLD = [
    "https://93.184.216.34/x",
    "http://[2606:4700::1111]/",
    "https://hooks.example.com:8443/a/b?c=d",
    "https://my_host/",
]


@pytest.mark.parametrize("url", HERE)
def test_a_url_that_only_a_loopback_server_calls(url: str) -> None:
    assert validate_callbacks([callback(url=url)], guard=LOOPBACK)[0]["url"] == url
    refusal([callback(url=url)], PUBLIC)


@pytest.mark.parametrize("url", WORLD)
def test_a_url_that_only_a_public_server_calls(url: str) -> None:
    assert validate_callbacks([callback(url=url)], guard=PUBLIC)[0]["url"] == url
    refusal([callback(url=url)], LOOPBACK)


def test_configured_networks_are_called_besides() -> None:
    guard = AddressGuard(True, (ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    for url in ("http://10.1.2.3/", "http://[fd00::1]/", "http://127.0.0.1/", "http://hooks.internal/"):
        guard.check_url(url)
    for url in ("http://10.2.0.1/", "http://93.184.216.34/"):
        with pytest.raises(ValueError, match="loopback"):
            guard.check_url(url)


def test_a_url_names_its_target() -> None:
    assert LOOPBACK.check_url("HTTP://LocalHost/x") == Target("http", "localhost", 80)
    assert LOOPBACK.check_url("https://[::1]?x") == Target("https", "[::1]", 443)


@given(st.ip_addresses())
def test_a_public_server_calls_no_address_that_the_registry_calls_special(address: Any) -> None:
    if PUBLIC.refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast
    assert (LOOPBACK.refusal(address) is None) == (address.is_loopback)


@given(
    st.sampled_from(
        ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1"]
    )
)
def test_the_neighbourhood_is_refused(text: str) -> None:
    assert PUBLIC.refusal(ip_address(text)) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["name", "type", "method", "url", "headers", "retries", "timeout", "x"])


@given(JSON | st.lists(st.dictionaries(KEYS, JSON, max_size=8), max_size=3))
def test_no_value_does_worse_than_a_refusal(value: Any) -> None:
    try:
        validate_callbacks(value, guard=LOOPBACK)
    except InvalidParams as error:
        assert "callbacks" in error.message
        assert error.errors


@given(st.text(alphabet=string.printable + "１。é\0\\@", max_size=30))
def test_no_text_after_the_scheme_reaches_an_address_that_is_not_loopback(text: str) -> None:
    try:
        target = LOOPBACK.check_url(f"http://{text}")
    except ValueError:
        return
    assert target.host == "localhost" or ip_address(target.host.strip("[]")).is_loopback
