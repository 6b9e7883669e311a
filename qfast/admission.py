"""How much is taken on at a time: requests that are being answered, and the bytes that they hold.

What is beyond is refused at once with -503, before its body is read: that costs a fraction of the answer, so that a server
under more load than it can take goes on answering as many calls as it can.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from qfast.errors import Unavailable

MOST_REQUESTS = 4096  # being answered at a time, those that wait for a job included
MOST_BYTES = 512 << 20  # of bodies and answers at a time; granian's own buffers are small
RETRY_AFTER = 1.0  # seconds


class Admission:
    """Counts them, on the loop's thread.

    Attributes
    ----------
    answering : set of (address, port)
        The connections whose requests have come in full and are being answered.
    calls : int
        How many of these are calls, which end; the others are event streams, which have a number of their own.
    held : int
        Bytes of bodies and answers.
    """

    def __init__(self, *, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES) -> None:
        self.answering: set[Any] = set()
        self.calls = 0
        self.held = 0
        self.most_requests = most_requests
        self.most_bytes = most_bytes

    def check(self) -> None:
        """Raise Unavailable when too many calls are being answered."""
        if self.calls >= self.most_requests:
            raise Unavailable(
                f"{self.calls} requests are being answered, the most at a time", extra={"retry_after": RETRY_AFTER}
            )


class Guest:
    """One request, from its head to the last byte of its answer; a context manager that gives back what it held."""

    __slots__ = ("_admission", "_calls", "_held", "_peer")

    def __init__(self, admission: Admission, peer: Any) -> None:
        self._admission, self._peer, self._held, self._calls = admission, peer, 0, 0

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._admission.answering.discard(self._peer)
        self._admission.calls -= self._calls
        self.release()

    def hold(self, count: int) -> None:
        """Take so many bytes more; raises Unavailable when all guests together hold too many."""
        admission = self._admission
        if (
            admission.held + count > admission.most_bytes and admission.held > self._held
        ):  # one alone may hold any number
            raise Unavailable(
                f"{admission.held >> 20} MiB of requests and answers are on their way, the most at a time",
                extra={"retry_after": RETRY_AFTER},
            )
        admission.held += count
        self._held += count

    def release(self) -> None:
        """Give back the bytes."""
        self._admission.held -= self._held
        self._held = 0

    def begin(self, calls: int = 1) -> None:
        """The request has come in full: its connection is not silent now, however long the answer takes."""
        self._admission.answering.add(self._peer)
        self._admission.calls += calls
        self._calls += calls
