"""The rules of a submit's `callbacks`; every fault is named with its path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from qfast.addresses import AddressGuard
from qfast.errors import InvalidParams
from qfast.params import did_you_mean, fault, shown

MAX_CALLBACKS = 16
MAX_HEADERS = 32
DEFAULT_TRIES = 3
DEFAULT_TIMEOUT = 10  # seconds for one post, from resolving the name to the end of the answer

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[ -~]{0,4096}")  # visible ASCII and blanks
_RESERVED = {
    "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 64 or not value.isprintable():
        raise ValueError("is not a text of 1 to 64 printable characters")
    return value


def _type(value: Any) -> str:
    if value != "results":
        raise ValueError('is not "results"')
    return "results"


def _method(value: Any) -> str:
    if not isinstance(value, str) or value.lower() != "post":
        raise ValueError('is not "post"')
    return "post"


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_HEADERS:
        raise ValueError(f"is not an object of at most {MAX_HEADERS} names and texts")
    seen: set[str] = set()
    for name, text in value.items():
        low = name.lower()
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"has {shown(name)}, which is no header name")
        if low in _RESERVED or low.startswith(("webhook-", "proxy-")):
            raise ValueError(f"has {shown(name)}, which the server sets itself")
        if low in seen:
            raise ValueError(f"has {shown(name)} twice")
        if not isinstance(text, str) or not _VALUE.fullmatch(text):
            raise ValueError(
                f"has a value of {shown(name)} that is not a text of up to 4096 printable ASCII characters"
            )
        seen.add(low)
    return dict(value)


def _retries(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10:
        raise ValueError("is not an integer in 0..10")
    return value


def _timeout(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 60:
        raise ValueError("is not a number of seconds above 0 and up to 60")
    return value


_OPTIONAL: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "headers": (_headers, {}),
    "retries": (_retries, DEFAULT_TRIES),
    "timeout": (_timeout, DEFAULT_TIMEOUT),
}


def validate_callbacks(value: Any, *, guard: AddressGuard) -> list[dict[str, Any]]:
    """Check the `callbacks` of a submit and fill in what is left out.

    Parameters
    ----------
    value : Any
        As decoded from the call; None is no callback.
    guard : AddressGuard
        Judges the URLs.

    Returns
    -------
    list of dict
        Each with name, type, method, url, headers, retries (tries in all; 0 counts as one) and timeout (seconds).

    Raises
    ------
    InvalidParams
        Naming every fault with its path.
    """
    if value is None:
        return []
    errors: list[dict[str, Any]] = []
    hints: list[str] = []
    callbacks: list[dict[str, Any]] = []
    if not isinstance(value, list) or len(value) > MAX_CALLBACKS:
        text = f"callbacks: {shown(value)} is not a list of up to {MAX_CALLBACKS} objects"
        errors.append(fault(("body", "callbacks"), text, value))
    else:
        callbacks = [_read(str(index), entry, guard, errors, hints) for index, entry in enumerate(value)]
    if errors:
        message = "; ".join(error["msg"] for error in errors[:8])
        raise InvalidParams(message, errors=errors[:100], hint=hints[0] if hints else None)
    return callbacks


def _read(
    index: str, entry: Any, guard: AddressGuard, errors: list[dict[str, Any]], hints: list[str]
) -> dict[str, Any]:
    """One callback with its defaults; its faults go to `errors`."""
    if not isinstance(entry, dict):
        errors.append(
            fault(
                ("body", "callbacks", index), f"callbacks.{index}: {shown(entry)} is not an object", entry, "type_error"
            )
        )
        return {}

    def url(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("is not a text")
        guard.check_url(value)
        return value

    required = {"name": _name, "type": _type, "method": _method, "url": url}
    checks = required | {name: check for name, (check, _) in _OPTIONAL.items()}
    result = {name: default for name, (_, default) in _OPTIONAL.items()}
    missing = [name for name in required if entry.get(name) is None]
    errors += [_fault(index, name, "is required", None, "missing") for name in missing]
    for name, given in entry.items():
        if name not in checks:
            near = did_you_mean(name, checks)
            hints += [near] if near else []
            errors.append(
                _fault(index, name, "is not a known field" + (f", {near}" if near else ""), given, "unknown_field")
            )
        elif given is not None:
            try:
                result[name] = checks[name](given)
            except ValueError as error:
                errors.append(_fault(index, name, f"{shown(given)} {error}", given, "value_error"))
    return {name: result.get(name) for name in checks}


def _fault(index: str, name: str, text: str, given: Any, kind: str) -> dict[str, Any]:
    name = shown(name).strip('"')
    return fault(("body", "callbacks", index, name), f"callbacks.{index}.{name}: {text}", given, kind)
