"""The part of a device that a program is placed on, and how far its qubits are from each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from qfast.errors import TranspileError

SEARCH = 5000  # steps of the search for a placement without exchanges


class Map:
    """Which qubits of a device are neighbours, on the part of it that the program uses.

    Parameters
    ----------
    pairs : sequence of (int, int)
        The coupling map; directions are of no matter here.
    num_qubits : int
        Qubits of the program.
    wanted : set of (int, int)
        Pairs of the program's qubits that meet in its gates. Where the device has room for all of them as neighbours, that
        is the region (and qubit k of the program belongs at local place k); else a connected one of the same size, the
        densest that greedy growth finds.

    Raises
    ------
    TranspileError
        No connected region is large enough.
    """

    def __init__(
        self, pairs: Sequence[tuple[int, int]], num_qubits: int, wanted: frozenset[tuple[int, int]] = frozenset()
    ) -> None:
        size = 1 + max(max(pair) for pair in pairs)
        around: list[set[int]] = [set() for _ in range(size)]
        for a, b in pairs:
            if a != b:
                around[a].add(b)
                around[b].add(a)
        fitting = embedding(wanted, around, num_qubits) if wanted else None
        self.place = fitting or self._region(around, num_qubits)  # local number to the device's
        local = {q: k for k, q in enumerate(self.place)}
        self.around = [sorted(local[q] for q in around[home] if q in local) for home in self.place]
        self.distance = [self._distances(k) for k in range(num_qubits)]

    @staticmethod
    def _region(around: list[set[int]], num_qubits: int) -> list[int]:
        best: tuple[int, list[int]] | None = None
        for start in range(len(around)):
            region, inside, edges = [start], {start}, 0
            while len(region) < num_qubits:
                rim = {q for home in inside for q in around[home]} - inside
                if not rim:
                    break
                chosen = max(rim, key=lambda q: (len(around[q] & inside), -q))
                edges += len(around[chosen] & inside)
                region.append(chosen)
                inside.add(chosen)
            if len(region) == num_qubits and (best is None or edges > best[0]):
                best = (edges, sorted(region))
        if best is None:
            raise TranspileError(f"the coupling map has no {num_qubits} qubits that are connected")
        return best[1]

    def _distances(self, start: int) -> list[int]:
        far = len(self.around)
        distance = [far] * far
        distance[start] = 0
        queue = deque([start])
        while queue:
            q = queue.popleft()
            for other in self.around[q]:
                if distance[other] == far:
                    distance[other] = distance[q] + 1
                    queue.append(other)
        return distance


def embedding(wanted: frozenset[tuple[int, int]], around: list[set[int]], num_qubits: int) -> list[int] | None:
    """A place for each qubit such that all wanted pairs are neighbours, by a bounded search with retreat; None if none."""
    friends: list[set[int]] = [set() for _ in range(num_qubits)]
    for a, b in wanted:
        friends[a].add(b)
        friends[b].add(a)
    order: list[int] = []
    while len(order) < num_qubits:  # the next qubit is the one with the most friends among those placed
        left = [q for q in range(num_qubits) if q not in order]
        order.append(max(left, key=lambda q: (len(friends[q].intersection(order)), len(friends[q]), -q)))
    at: dict[int, int] = {}
    taken: set[int] = set()

    def choices(q: int) -> Iterator[int]:
        homes = [around[at[friend]] for friend in friends[q] if friend in at]
        possible = set.intersection(*homes) if homes else set(range(len(around)))
        fits = [home for home in possible - taken if len(around[home]) >= len(friends[q])]
        return iter(sorted(fits, key=lambda home: (len(around[home] - taken), home)))

    trail = [choices(order[0])]
    for _ in range(SEARCH):
        q = order[len(trail) - 1]
        if q in at:
            taken.discard(at.pop(q))
        home = next(trail[-1], None)
        if home is None:
            trail.pop()
            if not trail:
                return None
            continue
        at[q] = home
        taken.add(home)
        if len(at) == num_qubits:
            return [at[k] for k in range(num_qubits)]
        trail.append(choices(order[len(trail)]))
    return None
