"""The OpenRPC 1.3 document that `rpc.discover` answers, made from the types that validate the calls."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec

from qfast import __version__
from qfast.wire import METHODS, Method, Strict


def document(group: str, offered: Container[str]) -> dict[str, Any]:
    """Describe the methods of one URI group.

    Parameters
    ----------
    group : str
        As in the URI, ``job`` for ``/v1/job``.
    offered : container of str
        The methods that this server has.
    """
    methods = [method for method in METHODS.values() if method.group == group and method.name in offered]
    structs = [struct for method in methods for struct in (method.body, method.filters) if struct is not None]
    _, components = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    schemas = {name: _plain(schema) for name, schema in components.items()}
    return {
        "openrpc": "1.3.2",
        "info": {"title": "qfast", "version": __version__, "license": {"name": "Apache-2.0"}},
        "methods": [_method(method) for method in methods],
        "components": {"schemas": schemas},
    }


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Raw fields have an empty schema; say what may stand there."""
    if "source_code" in schema.get("properties", {}):
        schema["properties"]["source_code"] = {
            "type": "array",
            "minItems": 1,
            "description": "QASM: texts. QUBO: square matrices as rows, or as {n, row, col, value}.",
        }
    return schema


def _method(method: Method) -> dict[str, Any]:
    params = [_param("body", method.body, method.body_required)]
    if method.filters is not None:
        params.append(_param("filters", method.filters, False))
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": params,
        "result": {"name": "result", "schema": {}},
    }


def _param(name: str, struct: type[Strict], required: bool) -> dict[str, Any]:
    return {"name": name, "required": required, "schema": {"$ref": f"#/components/schemas/{struct.__name__}"}}
