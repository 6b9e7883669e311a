"""Connections that stall, crowd or outlive their server: with real sockets and a clock that the test sets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qfast.connections import SILENT_SECONDS, SLOW_SECONDS, Connections

ESTABLISHED = 1  # TCP's name of the state


class Place:
    """A listening socket and the connections to it."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.port: int = listener.getsockname()[1]
        self.now = 0.0
        self.pairs: list[tuple[socket.socket, socket.socket]] = []

    def clock(self) -> float:
        return self.now

    def connect(self, source: str = "127.0.0.1") -> int:
        """A connection from that address; gives its number."""
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.bind((source, 0))
        caller.connect(self.listener.getsockname())
        self.pairs.append((caller, self.listener.accept()[0]))
        return len(self.pairs) - 1

    def peer(self, number: int) -> tuple[str, int]:
        address = self.pairs[number][0].getsockname()
        return address[0], address[1]

    def open(self) -> set[int]:
        """The numbers of those that are not closed."""
        info = [own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] for _, own in self.pairs]
        return {number for number, state in enumerate(info) if state == ESTABLISHED}


@contextmanager
def listening() -> Iterator[Place]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = Place(listener)
        yield place
        for pair in place.pairs:
            for end in pair:
                end.close()


@pytest.fixture
def place() -> Iterator[Place]:
    with listening() as place:
        yield place


def look(connections: Connections) -> None:
    asyncio.run(connections.look())


def test_silent_ones_are_closed_and_busy_ones_are_not(place: Place) -> None:
    answering: set[tuple[str, int]] = set()
    connections = Connections(place.port, capacity=100, answering=answering, clock=place.clock)
    silent, answered, talking = place.connect(), place.connect(), place.connect()
    answering.add(place.peer(answered))
    with listening() as elsewhere:
        elsewhere.connect()
        look(connections)
        assert len(connections) == 3
        place.now = SILENT_SECONDS
        place.pairs[talking][0].sendall(b"x")
        look(connections)
        assert place.open() == {silent, answered, talking}
        place.now += 1
        look(connections)
        assert place.open() == {answered, talking}
        assert elsewhere.open() == {0}
    assert connections.closed == 1


def test_a_reader_that_takes_nothing_is_closed_and_a_slow_one_is_not(place: Place) -> None:
    connections = Connections(place.port, capacity=100, clock=place.clock)
    stuck, slow, idle = place.connect(), place.connect(), place.connect()
    for number in (stuck, slow):
        own = place.pairs[number][1]
        own.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                own.send(b"x" * 65536)
    look(connections)
    for _ in range(2):
        place.now += SLOW_SECONDS / 2 + 1
        taken = 0
        while taken < 1 << 20:
            taken += len(place.pairs[slow][0].recv(65536))
            with pytest.raises(BlockingIOError):
                while True:
                    place.pairs[slow][1].send(b"x" * 65536)
        look(connections)
    assert place.open() == {slow, idle}


def test_an_address_has_so_many_and_its_silent_ones_go_first(place: Place) -> None:
    answering: set[tuple[str, int]] = set()
    connections = Connections(place.port, capacity=100, per_address=3, answering=answering, clock=place.clock)
    many = [place.connect("127.0.0.2") for _ in range(5)]
    few = [place.connect("127.0.0.3") for _ in range(3)]
    answering |= {place.peer(number) for number in many[:2]}
    look(connections)
    assert len(place.open()) == 6  # whichever: none has been there for long
    assert place.open() >= {*many[:2], *few}
    place.now = 1.0
    newest = place.connect("127.0.0.2")
    look(connections)
    assert place.open() == {*many[:2], *few, newest}


def test_when_places_are_scarce_the_longest_silent_go(place: Place) -> None:
    answering: set[tuple[str, int]] = set()
    connections = Connections(place.port, capacity=8, answering=answering, clock=place.clock)
    first = [place.connect() for _ in range(4)]
    answering.add(place.peer(first[0]))
    look(connections)
    place.now = 1.0
    later = [place.connect() for _ in range(3)]
    look(connections)
    assert place.open() == {first[0], *later}


def test_all_go_at_the_end(place: Place) -> None:
    connections = Connections(place.port, capacity=100, clock=place.clock)
    for _ in range(3):
        place.connect()
    with listening() as elsewhere:
        elsewhere.connect()
        connections.close_all()
        assert place.open() == set()
        assert elsewhere.open() == {0}
    with socket.create_connection(place.listener.getsockname()):  # who listens still does
        pass
