"""qfast, a self-hosted, high-performance quantum job service.

Importing this package loads neither a server nor a compiled kernel; the public names are resolved on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Client", "__version__"]

if TYPE_CHECKING:
    from qfast.client import Client


def __getattr__(name: str) -> Any:
    if name == "Client":
        from qfast.client import Client

        return Client
    raise AttributeError(f"module 'qfast' has no attribute {name!r}")
