"""The reference of bench_rpc: what an ordinary Litestar handler with msgspec structs costs for the same call and answer."""

from typing import Any

import msgspec
from litestar import Litestar, post


class Body(msgspec.Struct):
    """What get_job_status is asked."""

    job_id: str


class Params(msgspec.Struct):
    """The params of a call."""

    body: Body


class Call(msgspec.Struct):
    """A JSON-RPC call."""

    jsonrpc: str
    id: int
    method: str
    params: Params


class Answer(msgspec.Struct):
    """A JSON-RPC answer."""

    jsonrpc: str
    result: dict[str, Any]
    id: int


@post("/v1/job", status_code=200)
async def job(data: Call) -> Answer:
    """Answer with as many fields as get_job_status has."""
    fields = {f"field_{k}": "2026-01-01T00:00:00.000000" for k in range(26)}
    return Answer("2.0", {"job_id": data.params.body.job_id, **fields}, data.id)


def create() -> Litestar:
    """The application."""
    return Litestar([job], openapi_config=None)
