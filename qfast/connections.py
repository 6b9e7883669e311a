"""The server's TCP connections: which of them stall, hold too many places, or keep a server from stopping.

The HTTP server has deadlines for heads and for idle connections, and takes connections up to a number, whoever they are
from. What it lacks stands here. It is done from outside, with what the kernel knows of the process's own sockets: a
connection that must go is shut down, and the HTTP server finds it closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import stat
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable

import msgspec

log = logging.getLogger("qfast.connections")

LOOK_SECONDS = 1.0  # between looks
CROWDED_SECONDS = 0.2  # between looks while places are scarce
SLICE = 400  # connections looked at in one go on the loop: about 2 ms
SILENT_SECONDS = 30.0  # without a request and without a byte, such as a TLS handshake that never comes
SLOW_SECONDS = 20.0  # for SLOW_BYTES of an answer that waits to be taken
SLOW_BYTES = 20 << 10
YOUNG_SECONDS = 0.5  # whose request may be on its way

_INFO_BYTES = 192
_PROGRESS = struct.Struct("=QQ")  # tcpi_bytes_acked, tcpi_bytes_received: linux/tcp.h, struct tcp_info
_PROGRESS_AT = 120
_UNSENT = struct.Struct("=I")  # tcpi_notsent_bytes
_UNSENT_AT = 144

CAPACITY = 8192  # connections at a time
SPARE = 256  # descriptors for everything else

Peer = tuple[str, int]


def capacity() -> int:
    """Connections that this process has descriptors for, up to CAPACITY."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CAPACITY if soft == resource.RLIM_INFINITY else max(SPARE, min(CAPACITY, soft - SPARE))


def _descriptors() -> list[int]:
    with os.scandir("/proc/self/fd") as entries:
        return [int(entry.name) for entry in entries]


class Connection(msgspec.Struct, gc=False):
    """What is known of one.

    Attributes
    ----------
    descriptor, inode : int
        Which socket it is; descriptors are used again, the two together are not.
    moved : int
        Bytes that have come and gone.
    moved_at : float
        Monotonic seconds when that last changed.
    slow_since : float or None
        Since when part of an answer waits for its reader to take SLOW_BYTES; `slow_from` is `moved` at that time.
    """

    descriptor: int
    inode: int
    peer: Peer
    moved_at: float
    moved: int = -1
    slow_since: float | None = None
    slow_from: int = 0


class Connections:
    """Watches the connections to a port of this process.

    Parameters
    ----------
    port : int
    capacity : int
        Connections that the HTTP server takes at a time. Beyond three quarters of it those that have been silent for longest
        are closed, so that newcomers find a place.
    per_address : int
        The most from one address; 0: any number.
    answering : container of (address, port)
        Whose requests are being answered: these are not silent.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        port: int,
        *,
        capacity: int,
        per_address: int = 0,
        answering: Container[Peer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port = port
        self._capacity = capacity
        self._per_address = per_address
        self._answering = answering
        self._clock = clock
        self._known: dict[int, Connection] = {}
        self._others: dict[int, int] = {}  # descriptors that are no connections to the port, and their inodes
        self.closed = 0

    def __len__(self) -> int:
        """Connections at the last look."""
        return len(self._known)

    async def watch(self) -> None:
        """Look at them for ever."""
        while True:
            crowded = len(self._known) > self._capacity // 2
            await asyncio.sleep(CROWDED_SECONDS if crowded else LOOK_SECONDS)
            try:
                await self.look()
            except OSError as error:  # out of descriptors, or no /proc
                log.warning("the connections cannot be looked at: %s", error)

    async def look(self) -> None:
        """Look at each once, and close those that must go."""
        descriptors = _descriptors()
        known: dict[int, Connection] = {}
        for start in range(0, len(descriptors), SLICE):
            now = self._clock()
            for descriptor in descriptors[start : start + SLICE]:
                connection = self._identify(descriptor, now)
                if connection is not None and self._read(connection, now):
                    known[descriptor] = connection
            await asyncio.sleep(0)  # others' turn
        self._known = known
        self._others = {number: inode for number, inode in self._others.items() if number not in known}
        gone: set[int] = set()
        for connection, why in (*self._stalled(), *self._too_many(gone), *self._crowding(gone)):
            if connection.descriptor not in gone:
                gone.add(connection.descriptor)
                self._close(connection, why)

    def close_all(self) -> None:
        """Close every connection, at the end of a server that waits for them."""
        now = self._clock()
        for descriptor in _descriptors():
            connection = self._identify(descriptor, now)
            if connection is not None:
                self._close(connection, "the server ends")

    def _identify(self, descriptor: int, now: float) -> Connection | None:
        """The connection behind a descriptor; None: it is something else."""
        try:
            entry = os.fstat(descriptor)
        except OSError:
            return None
        known = self._known.get(descriptor)
        if known is not None and known.inode == entry.st_ino:
            return known
        if not stat.S_ISSOCK(entry.st_mode) or self._others.get(descriptor) == entry.st_ino:
            return None
        try:
            with socket.socket(fileno=os.dup(descriptor)) as peeked:
                if peeked.type == socket.SOCK_STREAM and peeked.family in (socket.AF_INET, socket.AF_INET6):
                    own, peer = peeked.getsockname(), peeked.getpeername()
                    if own[1] == self._port:
                        peeked.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a peer that vanished is found
                        return Connection(descriptor, entry.st_ino, (peer[0], peer[1]), now)
        except OSError:  # it listens, or is closed already
            pass
        self._others[descriptor] = entry.st_ino
        return None

    @staticmethod
    def _read(connection: Connection, now: float) -> bool:
        """Take in what the kernel says of it; False: it is gone."""
        borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, connection.descriptor)
        try:
            info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        except OSError:
            return False
        finally:
            borrowed.detach()
        if len(info) < _UNSENT_AT + _UNSENT.size:  # Linux before 4.6
            return True
        moved = sum(_PROGRESS.unpack_from(info, _PROGRESS_AT))
        if moved != connection.moved:
            connection.moved, connection.moved_at = moved, now
        if not _UNSENT.unpack_from(info, _UNSENT_AT)[0]:
            connection.slow_since = None
        elif connection.slow_since is None or moved - connection.slow_from >= SLOW_BYTES:
            connection.slow_since, connection.slow_from = now, moved
        return True

    def _stalled(self) -> Iterable[tuple[Connection, str]]:
        now = self._clock()
        for connection in self._known.values():
            if connection.slow_since is not None and now - connection.slow_since > SLOW_SECONDS:
                yield connection, "does not take its answer"
            elif now - connection.moved_at > SILENT_SECONDS and connection.peer not in self._answering:
                yield connection, "is silent"

    def _silent(self, connections: Iterable[Connection], gone: Container[int]) -> list[Connection]:
        """Those that nobody works for, the longest silent first."""
        latest = self._clock() - YOUNG_SECONDS
        silent = (each for each in connections if each.moved_at < latest and each.descriptor not in gone)
        return sorted((each for each in silent if each.peer not in self._answering), key=lambda each: each.moved_at)

    def _too_many(self, gone: Container[int]) -> Iterable[tuple[Connection, str]]:
        """Of addresses beyond their number: the silent ones, then any."""
        if not self._per_address or len(self._known) <= self._per_address:
            return
        places: dict[str, list[Connection]] = defaultdict(list)
        for connection in self._known.values():
            if connection.descriptor not in gone:
                places[connection.peer[0]].append(connection)
        for held in places.values():
            excess = len(held) - self._per_address
            if excess > 0:
                silent = self._silent(held, gone)
                chosen = {each.descriptor for each in silent}
                rest = [each for each in reversed(held) if each.descriptor not in chosen]
                for connection in (silent + rest)[:excess]:
                    yield connection, "is one too many of its address"

    def _crowding(self, gone: Container[int]) -> Iterable[tuple[Connection, str]]:
        if len(self._known) > self._capacity * 3 // 4:
            silent = self._silent(self._known.values(), gone)
            for connection in silent[: len(self._known) - self._capacity // 2]:
                yield connection, "makes room"

    def _close(self, connection: Connection, why: str) -> None:
        try:
            with socket.socket(fileno=os.dup(connection.descriptor)) as own:
                if os.fstat(own.fileno()).st_ino != connection.inode:
                    return  # it is gone, and its number belongs to another
                own.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        self.closed += 1
        log.debug("closed the connection of %s port %d: it %s", *connection.peer, why)
