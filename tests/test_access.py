"""Keys, scopes and rates: in the small, and on a real server, with TLS and without."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from qfast import cli, errors
from qfast.access import ANYONE, SCOPE_OF, Access
from qfast.client import Client
from qfast.demo import BELL2, local_server
from qfast.errors import ConfigurationInvalid, Forbidden, TooMany, Unauthenticated
from qfast.keys import Key, Scope, find_key, made, read_keys, write_keys
from qfast.wire import METHODS


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


def kept(path: Path, **fields: Any) -> str:
    """Adds a key to a file; gives its token."""
    keys = read_keys(path) if path.exists() else {}
    key_id, key, token = made(fields.pop("name", "lab"), fields.pop("tenant", "lab"), **fields)
    write_keys(path, {**keys, key_id: key})
    return token


# ------------------------------------------------------------------ keys


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(list(Scope)), unique=True),
    st.none() | st.floats(1e-3, 1e6),
    st.integers(1, 10**6),
    st.none() | st.integers(1, 10**9),
    st.none() | st.floats(0, 1e11),
)
def test_a_file_of_keys_reads_as_it_was_written(tmp_path_factory, scopes, rate, burst, max_live, expires):
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    limits = {"rate": rate, "burst": burst, "max_live": max_live, "expires": expires}
    one, two = made("a.b-c_1", "t", scopes=scopes, **limits), made("z", "t")
    keys = {one[0]: one[1], two[0]: two[1]}
    write_keys(path, keys)
    assert read_keys(path) == keys
    assert path.stat().st_mode & 0o777 == 0o600
    assert one[2] not in path.read_text()


def test_only_the_token_opens_its_key():
    key_id, key, token = made("lab", "lab", expires=100.0)
    keys = {key_id: key}
    assert find_key(keys, token, now=99.0) == (key_id, key)
    assert find_key(keys, token, now=100.0) is None
    for wrong in (
        "",
        token[:-1],
        token + "x",
        token.replace("qf_", "qx_"),
        f"qf_{key_id}_{'A' * 43}",
        "qf_\x00",
        "é" * 60,
    ):
        assert find_key(keys, wrong, now=0.0) is None
    assert find_key({}, token, now=0.0) is None
    assert key.sha256 == hashlib.sha256(token.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keys = 3", "table"),
        ("[other]\na = 1", "'other'"),
        ("[keys.a]\nname = 'x'", "sha256"),
        ("[keys.a]\nname = 'x'\nsha256 = 'zz'\ntenant = 't'", "sha256"),
        (f"[keys.a]\nname = 'x'\nsha256 = '{'0' * 64}'\ntenant = 't'\nscopes = ['root']", "scopes"),
        (f"[keys.a]\nname = 'x'\nsha256 = '{'0' * 64}'\ntenant = 't'\nrate = -1", "rate"),
        (f"[keys.a]\nname = 'x'\nsha256 = '{'0' * 64}'\ntenant = 't'\nwhat = 1", "what"),
        ("[keys.a", "Expected"),
    ],
)
def test_a_wrong_file_is_refused_by_what_is_wrong(tmp_path, text, words):
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationInvalid, match=words) as refusal:
        read_keys(path)
    assert str(path) in str(refusal.value)


def test_a_name_that_toml_could_not_hold_is_refused():
    with pytest.raises(ConfigurationInvalid, match="name"):
        made('a"b', "t")


# ------------------------------------------------------------------ access


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_without_keys_anyone_may_do_everything():
    access = Access(None)
    assert not access.required
    assert access.caller(None) is ANYONE
    for method in METHODS:
        access.admit(ANYONE, method)


def test_every_method_asks_for_a_scope_or_only_discovers():
    free = set(METHODS) - set(SCOPE_OF)
    discovering = {"ping", "system_info", "version"}
    assert free == discovering | {
        f"get_{noun}{many}" for noun in ("device", "driver", "transpiler") for many in ("", "s")
    }


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_is_what_it_says(tmp_path, scope):
    path = tmp_path / "keys.toml"
    token = kept(path, scopes=[scope])
    access = Access(path)
    caller = access.caller(bearer(token))
    for method, needed in SCOPE_OF.items():
        if scope in (needed, Scope.ADMIN):
            access.admit(caller, method)
        else:
            with pytest.raises(Forbidden, match=f"{needed.value}.*{method}"):
                access.admit(caller, method)
    access.admit(caller, "ping")


@pytest.mark.parametrize(
    "header", [None, b"", b"Basic eDp5", b"Bearer", b"Bearer ", b"Bearer \xff\x00", b"bearer qf_x"]
)
def test_no_key_no_entry(tmp_path, header):
    path = tmp_path / "keys.toml"
    kept(path)
    with pytest.raises(Unauthenticated, match="Authorization: Bearer"):
        Access(path).caller(header)


def test_a_key_is_known_soon_after_it_is_made_and_gone_soon_after_it_is_removed(tmp_path):
    path, clock = tmp_path / "keys.toml", Clock()
    first = kept(path)
    access = Access(path, clock=clock)
    second = kept(path)
    clock.now += 2
    assert access.caller(bearer(second)).tenant == "lab"
    write_keys(path, {key_id: key for key_id, key in read_keys(path).items() if find_key({key_id: key}, second)})
    clock.now += 2
    with pytest.raises(Unauthenticated):
        access.caller(bearer(first))
    path.write_text("broken")
    clock.now += 2
    assert access.caller(bearer(second)).tenant == "lab"  # a file that is wrong changes nothing


def test_an_empty_file_of_keys_is_refused(tmp_path):
    write_keys(tmp_path / "keys.toml", {})
    with pytest.raises(ConfigurationInvalid, match="qfast keys add"):
        Access(tmp_path / "keys.toml")


@settings(deadline=None)
@given(st.floats(0.5, 50), st.integers(1, 20), st.lists(st.floats(0, 3), max_size=80))
def test_a_rate_holds_over_any_stretch_of_time(tmp_path_factory, rate, burst, pauses):
    path, clock = tmp_path_factory.mktemp("keys") / "keys.toml", Clock()
    token = kept(path, rate=rate, burst=burst)
    access = Access(path, clock=clock)
    caller = access.caller(bearer(token))
    times: list[float] = []
    for pause in pauses:
        clock.now += pause
        try:
            access.admit(caller, "ping")
        except TooMany as refusal:
            wait = refusal.extra["retry_after"]
            assert 0 <= wait <= 1 / rate + 0.001
            clock.now += wait + 0.001
            access.admit(caller, "ping")
        times.append(clock.now)
    for begin in range(len(times)):
        for end in range(begin, len(times)):
            assert end - begin + 1 <= burst + (times[end] - times[begin]) * rate + 1e-6


# ------------------------------------------------------------------ a real server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """A server with keys; gives its URL and the keys file."""
    folder = tmp_path_factory.mktemp("guarded")
    path = folder / "keys.toml"
    kept(path, name="first")
    with local_server(folder / "data", "--keys", str(path)) as (url, _):
        yield url, path


@pytest.fixture
def client_with(guarded: tuple[str, Path]) -> Callable[..., Client]:
    """Makes a key and gives a client with its token, once the server knows it."""

    def make(**fields: Any) -> Client:
        client = Client(guarded[0], token=kept(guarded[1], **fields))
        end = time.monotonic() + 30
        while True:
            try:
                client.version()
            except errors.Unauthenticated:
                assert time.monotonic() < end
                time.sleep(0.05)
            else:
                return client

    return make


def posted(url: str, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v1/job", data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, dict(refusal.headers), json.loads(refusal.read())


CALL = {"jsonrpc": "2.0", "id": 1, "method": "get_jobs"}


def test_a_call_without_a_key_is_401_with_the_error_in_the_body(guarded):
    status, headers, body = posted(guarded[0], CALL)
    assert (status, body["error"]["code"], headers["www-authenticate"]) == (401, -401, "Bearer")
    status, _, body = posted(guarded[0], CALL, Authorization="Bearer qf_00000000_" + "A" * 43)
    assert (status, body["error"]["code"]) == (401, -401)
    for path in ("/v1/job/events?job_id=00000000-0000-4000-8000-000000000001",):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(guarded[0] + path, timeout=60)
        with refusal.value as answer:
            assert answer.code == 401
    with urllib.request.urlopen(guarded[0] + "/livez", timeout=60) as answer:  # supervisors need no key
        assert answer.status == 200


def test_scopes_on_the_wire(client_with):
    reader = client_with(name="reader", scopes=["read"])
    assert reader.get_jobs() == []
    with pytest.raises(errors.Forbidden, match="submit"):
        reader.submit_job(BELL2)
    worker = client_with(name="worker")
    job_id = worker.submit_job(BELL2, shots=10)["job_id"]
    assert worker.wait(job_id, 60)["job_status"] == "COMPLETED"
    assert [event["job_status"] for event in worker.follow(job_id)] == ["COMPLETED"]
    with pytest.raises(errors.Forbidden, match="driver"):
        worker.set_job_results(job_id, [{"0": 1}])
    with pytest.raises(errors.Forbidden, match="admin"):
        worker.call("update_device", {"name": "dummy", "status": "offline"})


def test_too_many_calls_are_429_and_say_when(guarded, client_with):
    slow = client_with(name="slow", rate=0.5, burst=3)
    token = slow._calls.headers["Authorization"]
    statuses = []
    for _ in range(6):
        status, _, body = posted(guarded[0], CALL, Authorization=token)
        statuses.append(status)
        if status == 429:
            assert body["error"]["code"] == -429
            assert 0 < body["error"]["data"]["retry_after"] <= 2
    assert 429 in statuses
    batch = posted(guarded[0], [CALL] * 5, Authorization=token)[2]
    assert {answer["error"]["code"] for answer in batch if "error" in answer} == {-429}


def test_tls(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(tmp_path / "cert.pem", append=True)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    flags = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    with local_server(tmp_path / "data", *flags) as (url, _):
        assert url.startswith("https://")
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        with urllib.request.urlopen(f"{url}/livez", timeout=60, context=trusting) as answer:
            assert json.loads(answer.read()) == {"status": "ok"}
        environ = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), "QFAST_URL": url}
        line = [sys.executable, "-m", "qfast", "jobs"]
        assert subprocess.run(line, env=environ, capture_output=True, timeout=60, check=False).returncode == 0


# ------------------------------------------------------------------ the command line


def run(*words: str) -> int:
    return cli.main(list(words))


def test_keys_are_made_listed_and_removed(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("QFAST_KEYS", raising=False)
    path = tmp_path / "keys.toml"
    flags = ("--keys", str(path))
    assert (
        run("keys", "add", "ann", "--tenant", "lab", "--scopes", "read,submit", "--rate", "5", "--days", "3", *flags)
        == 0
    )
    token = capsys.readouterr().out.strip()
    found = find_key(read_keys(path), token)
    assert found is not None
    key: Key = found[1]
    assert (key.tenant, key.scopes, key.rate) == ("lab", (Scope.READ, Scope.SUBMIT), 5.0)
    assert run("keys", "list", *flags) == 0
    shown = capsys.readouterr().out
    assert "ann of lab" in shown
    assert token not in shown
    assert run("keys", "remove", found[0], *flags) == 0
    assert read_keys(path) == {}
    assert run("keys", "remove", found[0], *flags) == 2
    assert "no key" in capsys.readouterr().err
    assert run("keys", "list") == 2
    assert "--keys" in capsys.readouterr().err
    assert run("keys", "add", "ann", "--scopes", "root", *flags) == 2
    assert "root" in capsys.readouterr().err
