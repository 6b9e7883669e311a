"""qfast, a self-hosted, high-performance quantum job service.

Importing this package loads neither a server nor a compiled kernel; the public names are resolved on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "Client",
    "Estimator",
    "Options",
    "QfastService",
    "Sampler",
    "Session",
    "SessionClosedError",
    "__version__",
]

if TYPE_CHECKING:
    from qfast.async_client import AsyncClient
    from qfast.client import Client
    from qfast.options import Options
    from qfast.primitives import Estimator, Sampler
    from qfast.runtime import QfastService
    from qfast.session import Session, SessionClosedError

_HOMES = {
    "AsyncClient": "async_client",
    "Client": "client",
    "Estimator": "primitives",
    "Options": "options",
    "QfastService": "runtime",
    "Sampler": "primitives",
    "Session": "session",
    "SessionClosedError": "session",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"qfast.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'qfast' has no attribute {name!r}")
