"""Work that goes on beside the calls, and callers that wait for it but not for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from qfast.errors import Unavailable

log = logging.getLogger("qfast.jobs")
T = TypeVar("T")

PATIENCE = 5.0  # seconds that a caller waits for a store that is out of reach

_BESIDE: set[asyncio.Task[Any]] = set()  # the loop holds tasks only weakly


def beside(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run it beside what goes on."""
    task = asyncio.ensure_future(work)
    _BESIDE.add(task)
    task.add_done_callback(_let_go)
    return task


def _let_go(task: asyncio.Task[None]) -> None:
    _BESIDE.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.error("work beside the calls failed", exc_info=task.exception())


async def promptly(work: Coroutine[Any, Any, T]) -> T:
    """Wait for a change that must not be lost, but not for ever.

    Raises
    ------
    Unavailable
        The store is out of reach; the change is made as soon as it is back.
    """
    task = asyncio.ensure_future(work)
    _BESIDE.add(task)
    task.add_done_callback(_BESIDE.discard)
    done, _ = await asyncio.wait((task,), timeout=PATIENCE)
    if not done:
        text = "the store takes no changes at present; this one is made as soon as it does"
        raise Unavailable(text, extra={"retry_after": PATIENCE})
    return task.result()


async def shielded(work: Awaitable[T]) -> T:
    """Wait for it; a caller that goes away does not stop it."""
    return await asyncio.shield(asyncio.ensure_future(work))
