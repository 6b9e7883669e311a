"""From the bytes of `params` to typed values; everything wrong with them is one -32602 with path, rule and value.

The fast path is msgspec's typed decoder. Only when it refuses does `explain` look at every field to name all faults at once.
"""

from __future__ import annotations

import difflib
import json
import math
from functools import cache
from typing import Any, get_type_hints

import msgspec

from qfast.errors import InvalidParams
from qfast.wire import Method, Strict

MAX_ECHO = 80  # characters of a refused value that are given back


def short(value: Any) -> Any:
    """The value as an error message may carry it: numbers and null as they are, the rest cut to MAX_ECHO characters."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else f"{str(value)[:MAX_ECHO]}..."
    text = value if isinstance(value, str) else _json_text(value)
    return text if len(text) <= MAX_ECHO else f"{text[:MAX_ECHO]}... ({len(text)} characters)"


def _json_text(value: Any) -> str:
    if isinstance(value, list | dict) and len(value) > MAX_ECHO:
        return f"{'an array' if isinstance(value, list) else 'an object'} of {len(value)} items"
    return msgspec.json.encode(value).decode()


def shown(value: Any) -> str:
    """The value inside a message: texts in quotes."""
    cut = short(value)
    if isinstance(value, str):
        return msgspec.json.encode(cut).decode()
    return cut if isinstance(cut, str) else msgspec.json.encode(cut).decode()


def fault(loc: tuple[str, ...], msg: str, value: Any, kind: str = "value_error") -> dict[str, Any]:
    """One entry of `data.errors`."""
    return {"type": kind, "loc": list(loc), "msg": msg, "input": short(value)}


def refuse(field: str, value: Any, rule: str, *, hint: str | None = None, kind: str = "value_error") -> InvalidParams:
    """The error for one field of the body: ``field: value rule``."""
    text = f"{field}: {shown(value)} {rule}"
    return InvalidParams(text, errors=[fault(("body", *field.split(".")), text, value, kind)], hint=hint)


def did_you_mean(word: str, known: Any) -> str | None:
    """A hint when a known word is near."""
    near = difflib.get_close_matches(word[:64], list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


@cache
def _decoder(struct: type[Strict]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(struct)


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, tuple[Any, bool]]:
    """Per field its type and whether it is required."""
    hints = get_type_hints(struct, include_extras=True)
    return {field.name: (hints[field.encode_name], field.required) for field in msgspec.structs.fields(struct)}


def decode(struct: type[Strict], raw: bytes | msgspec.Raw, part: str = "body") -> Any:
    """Decode one struct; raises InvalidParams naming every fault."""
    try:
        return _decoder(struct).decode(raw)
    except msgspec.ValidationError as error:
        raise explain(struct, raw, part, str(error)) from None
    except msgspec.DecodeError as error:
        text = f"{part}: {error}"
        raise InvalidParams(text, errors=[fault((part,), text, None)]) from None


def plain(raw: bytes | msgspec.Raw) -> Any:
    """The value of checked JSON; a number that neither float64 nor int holds stays the text it was."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return json.loads(bytes(raw), parse_int=_integer, parse_float=_real)


def _integer(text: str) -> int | str:
    return int(text) if len(text) < 4000 else text  # int() refuses more than 4,300 digits


def _real(text: str) -> float | str:
    return float(text) if math.isfinite(float(text)) else text


def explain(struct: type[Strict], raw: bytes | msgspec.Raw, part: str, refusal: str) -> InvalidParams:
    """Why `raw` is no `struct`: all unknown, missing and wrong fields."""
    value = plain(raw)
    if not isinstance(value, dict):
        text = f"{part}: {shown(value)} is not an object"
        return InvalidParams(text, errors=[fault((part,), text, value, "type_error")])
    errors, hint = faults(struct, value, part)
    if not errors:  # only the decoder of the bytes refuses this, a number beyond float64 for instance
        errors = [fault((part,), f"{part}: {refusal}", None)]
    return InvalidParams("; ".join(error["msg"] for error in errors[:8]), errors=errors[:100], hint=hint)


def faults(struct: type[msgspec.Struct], value: dict[str, Any], part: str) -> tuple[list[dict[str, Any]], str | None]:
    """Every fault of an object that should be a `struct`, and a hint."""
    known = _fields(struct)
    errors: list[dict[str, Any]] = []
    hint = None
    for name, given in value.items():
        if name not in known:
            near = did_you_mean(name, known)
            hint = hint or near
            text = f"{short(name)}: is not a known field" + (f", {near}" if near else "")
            errors.append(fault((part, str(short(name))), text, given, "unknown_field"))
    for name, (kind, required) in known.items():
        if name not in value:
            if required:
                errors.append(fault((part, name), f"{name}: is required", None, "missing"))
        elif kind is not msgspec.Raw:
            try:
                msgspec.convert(value[name], kind, strict=True)
            except msgspec.ValidationError as error:
                errors.append(_field_fault(part, name, kind, value[name], str(error)))
    return errors, hint


def _field_fault(part: str, name: str, kind: Any, value: Any, refusal: str) -> dict[str, Any]:
    rule = describe(kind)
    if rule is None:
        reason, _, path = refusal.partition(" - at `$")
        rule = f"refused: {reason}" + (f" at {path.rstrip('`')}" if path else "")
        text = f"{name}: {rule}"
    elif rule.startswith("in ") and (isinstance(value, bool) or not isinstance(value, int)):
        text = f"{name}: {shown(value)} is not an integer {rule}"
    else:
        text = f"{name}: {shown(value)} is not {rule}"
    return fault((part, name), text, value, "type_error" if ", got `" in refusal else "value_error")


def describe(kind: Any) -> str | None:
    """The rule of an annotated type, from its Meta."""
    for candidate in (kind, *getattr(kind, "__args__", ())):
        for meta in getattr(candidate, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    return None


_ENVELOPE = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_params(method: Method, raw: bytes | msgspec.Raw | None) -> tuple[Any, Any]:
    """Body and filters of a call; either may be None where nothing is required.

    Raises
    ------
    InvalidParams
        Naming every fault with its path.
    """
    members: dict[str, msgspec.Raw] = {}
    if raw is not None and bytes(raw) != b"null":
        try:
            members = _ENVELOPE.decode(raw)
        except msgspec.ValidationError:
            value = plain(raw)
            text = f'params: {shown(value)} is not an object; parameters go by name, as {{"body": {{...}}}}'
            raise InvalidParams(text, errors=[fault(("params",), text, value, "type_error")]) from None
    allowed = ("body", "filters") if method.filters else ("body",)
    for name in members:
        if name not in allowed:
            near = did_you_mean(name, allowed) or (
                "the fields of the call go inside 'body'" if name != "body" else None
            )
            text = f"{short(name)}: is not a known member of params" + (f", {near}" if near else "")
            raise InvalidParams(
                text, errors=[fault(("params", str(short(name))), text, None, "unknown_field")], hint=near
            )
    body = members.get("body")
    if body is None or bytes(body) == b"null":
        if method.body_required:
            required = ", ".join(name for name, (_, needed) in _fields(method.body).items() if needed)
            text = f"body: is required, with {required}"
            raise InvalidParams(text, errors=[fault(("body",), text, None, "missing")])
        decoded = None
    else:
        decoded = decode(method.body, body)
    filters = members.get("filters")
    if method.filters is None or filters is None or bytes(filters) == b"null":
        return decoded, None
    return decoded, decode(method.filters, filters, "filters")
