"""Places the qubits of a program on a device and exchanges them where its gates need neighbours.

The exchanges are chosen as in SABRE (Li, Ding, Xie, "Tackling the qubit mapping problem for NISQ-era quantum devices",
ASPLOS 2019): by the distance of the gates that wait and of those behind them, with a decay that spreads the exchanges; the
first placement is refined by passes forwards and backwards over the program.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from qfast.transpilers.coupling import Map
from qfast.transpilers.rewriting import Sink, Step, wires

AHEAD = 20  # gates behind the front that the score looks at
AHEAD_WEIGHT = 0.5
DECAY = 0.001
ALONE, MERGED = 3, 1  # cx that an exchange costs, and beside a gate of the same pair
BONUS = 0.3  # off the score of an exchange that merges with the gate before it; the best of 0, 0.1, 0.3, 0.6 and 1
STUCK = 10  # exchanges per qubit without a gate done, after which the nearest pair is brought together directly


class Order:
    """The steps of a program and who waits for whom.

    One-qubit gates go along with the next step on their qubit: decisions don't see them.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps: list[Step] = []
        self.operands: list[tuple[int, ...]] = []
        self.along: list[list[Step]] = []  # one-qubit gates just before each step
        self.needs: list[int] = []  # steps that must be done before
        self.behind: list[list[int]] = []
        self.left: dict[int, list[Step]] = {}  # one-qubit gates with no step behind them
        last: dict[Any, int] = {}
        for step in steps:
            if step[0] == "one":
                self.left.setdefault(step[1], []).append(step)
                continue
            k = len(self.steps)
            on = wires(step)
            keys: list[Any] = [*on, ("c", step[2])] if step[0] == "measure" else list(on)
            before = {last[key] for key in keys if key in last}
            for name in before:
                self.behind[name].append(k)
            last.update(dict.fromkeys(keys, k))
            self.steps.append(step)
            self.operands.append(on)
            self.along.append([gate for q in on for gate in self.left.pop(q, ())])
            self.needs.append(len(before))
            self.behind.append([])


class Pass:
    """One pass over the steps with a placement that changes as it goes.

    Parameters
    ----------
    order : Order
        The steps.
    where : list of int
        Local place of each qubit; changed.
    device : Map
        The neighbours.
    rng : Random
        Breaks ties.
    poll : callable
        Called now and then; raises to stop.
    relabel : bool
        The program's own exchanges only change the placement.
    """

    def __init__(
        self,
        order: Order,
        where: list[int],
        device: Map,
        rng: Random,
        poll: Callable[[], None],
        *,
        relabel: bool = False,
    ) -> None:
        self.order = order
        self.steps, self.operands, self.behind = order.steps, order.operands, order.behind
        self.needs = list(order.needs)
        self.met: list[int] = [-1] * len(where)  # the last two-qubit step of each place, two numbers for each of them
        self.cost = 0  # in cx, beyond those of the program: an exchange beside a gate of the same pair merges with it
        self.where = where
        self.device = device
        self.rng = rng
        self.poll = poll
        self.relabel = relabel
        self.who = [0] * len(where)
        for q, home in enumerate(where):
            self.who[home] = q
        self.swaps: list[tuple[int, int]] = []

    def run(self, sink: Sink | None = None) -> int:
        """Do all steps, into the sink at the device's places; the cost of the exchanges."""
        ready = deque(k for k, need in enumerate(self.needs) if not need)
        front: list[int] = []
        decay = [1.0] * len(self.where)
        since = 0
        ahead: list[tuple[int, int]] | None = None
        while ready or front:
            done = False
            waiting = list(front)
            front = []
            for k in waiting:
                (ready if self._near(k) else front).append(k)
            while ready:
                k = ready.popleft()
                if not self._near(k):
                    front.append(k)
                    continue
                done = True
                if sink is not None:
                    for gate in self.order.along[k]:
                        self._do(gate, sink)
                if self.relabel and self.steps[k][0] == "swap":
                    x, y = self.operands[k]
                    self._relabel(x, y)
                else:
                    self._meet(k)
                    if sink is not None:
                        self._do(self.steps[k], sink)
                for follower in self.behind[k]:
                    self.needs[follower] -= 1
                    if not self.needs[follower]:
                        ready.append(follower)
            if not front:
                break
            front.sort()
            if done or ahead is None:
                since = 0
                decay = [1.0] * len(self.where)
                ahead = self._ahead(front)
            since += 1
            if since > STUCK * len(self.where):
                x, y = self.operands[front[0]]
                self.bring_together(x, y, sink)
                since = 0
                continue
            a, b = self._best(front, ahead, decay)
            decay[self.who[a]] += DECAY
            decay[self.who[b]] += DECAY
            self._exchange(a, b, sink)
        if sink is not None:
            for gates in self.order.left.values():
                for gate in gates:
                    self._do(gate, sink)
        return self.cost

    def _meet(self, k: int) -> None:
        """Note who met last; a gate right behind an exchange of its pair merges with it."""
        places = [self.where[q] for q in self.operands[k]]
        if len(places) == 2:
            a, b = places
            if self.met[a] >= 0 and self.met[a] == self.met[b] and not self.met[a] & 1:
                self.cost -= 1
        for a in places:
            self.met[a] = 2 * k + 1 if len(places) == 2 else -1

    def _near(self, k: int) -> bool:
        qubits = self.operands[k]
        if len(qubits) != 2 or self.steps[k][0] == "barrier":
            return True
        if self.relabel and self.steps[k][0] == "swap":
            return True
        return self.device.distance[self.where[qubits[0]]][self.where[qubits[1]]] == 1

    def _ahead(self, front: list[int]) -> list[tuple[int, int]]:
        """The pairs of the gates that come next behind the front."""
        found: list[tuple[int, int]] = []
        seen = set(front)
        queue = deque(front)
        looked = 0
        while queue and len(found) < AHEAD and looked < 20 * AHEAD:
            looked += 1
            for k in self.behind[queue.popleft()]:
                if k not in seen:
                    seen.add(k)
                    queue.append(k)
                    qubits = self.operands[k]
                    if len(qubits) == 2 and self.steps[k][0] != "barrier":
                        found.append((qubits[0], qubits[1]))
        return found

    def _best(self, front: list[int], ahead: list[tuple[int, int]], decay: list[float]) -> tuple[int, int]:
        """The exchange with the least score."""
        self.poll()
        distance, where, who = self.device.distance, self.where, self.who
        pairs = [self.operands[k] for k in front]
        sets: list[tuple[Sequence[tuple[int, ...]], float]] = [
            (pairs, 1.0 / len(pairs)),
            (ahead, AHEAD_WEIGHT / max(1, len(ahead))),
        ]
        score_now = 0.0
        links: dict[int, list[tuple[int, float]]] = {}  # who waits for whom, and how much their distance counts
        for group, weight in sets:
            for x, y in group:
                score_now += weight * distance[where[x]][where[y]]
                links.setdefault(x, []).append((y, weight))
                links.setdefault(y, []).append((x, weight))
        best: list[tuple[int, int]] = []
        least = float("inf")
        for home in {where[q] for pair in pairs for q in pair}:
            for other in self.device.around[home]:
                a, b = who[home], who[other]
                from_home, from_other = distance[home], distance[other]
                score = score_now
                for q, weight in links[a]:
                    if q != b:
                        score += weight * (from_other[where[q]] - from_home[where[q]])
                for q, weight in links.get(b, ()):
                    if q != a:
                        score += weight * (from_home[where[q]] - from_other[where[q]])
                if self.met[home] >= 0 and self.met[home] == self.met[other]:
                    score -= BONUS
                score *= max(decay[a], decay[b])
                if score < least - 1e-12:
                    least, best = score, [(home, other)]
                elif score < least + 1e-12 and (other, home) not in best:
                    best.append((home, other))
        return best[0] if len(best) == 1 else best[self.rng.randrange(len(best))]

    def _exchange(self, a: int, b: int, sink: Sink | None) -> None:
        """Exchange what stands on two places."""
        self.swaps.append((a, b))
        self.exchange(a, b, sink)

    def exchange(self, a: int, b: int, sink: Sink | None) -> None:
        """The same, not counted among the pass's own."""
        qa, qb = self.who[a], self.who[b]
        self.cost += ALONE if self.met[a] < 0 or self.met[a] != self.met[b] else MERGED
        self.met[a] = self.met[b] = 2 * len(self.swaps)
        self.who[a], self.who[b] = qb, qa
        self.where[qa], self.where[qb] = b, a
        if sink is not None:
            sink.swap(self.device.place[a], self.device.place[b])

    def _relabel(self, x: int, y: int) -> None:
        a, b = self.where[x], self.where[y]
        self.who[a], self.who[b] = y, x
        self.where[x], self.where[y] = b, a

    def bring_together(self, x: int, y: int, sink: Sink | None) -> None:
        """Walk one qubit to the other on a shortest way."""
        distance = self.device.distance
        while distance[self.where[x]][self.where[y]] > 1:
            home, goal = self.where[x], self.where[y]
            step = min(self.device.around[home], key=lambda other: distance[other][goal])
            self._exchange(home, step, sink)

    def _do(self, step: Step, sink: Sink) -> None:
        at = [self.device.place[home] for home in self.where]
        kind = step[0]
        if kind == "one":
            sink.one(at[step[1]], step[2])
        elif kind == "zz":
            sink.zz(at[step[1]], at[step[2]], step[3], step[4])
        elif kind == "swap":
            sink.swap(at[step[1]], at[step[2]])
        elif kind == "gate":
            sink.gate(step[1], step[2], tuple(at[q] for q in step[3]), step[4])
        elif kind == "measure":
            sink.measure(at[step[1]], step[2])
        elif kind == "reset":
            sink.reset(at[step[1]])
        else:
            sink.barrier(tuple(at[q] for q in step[1]))


def placement(
    steps: Iterable[Step],
    num_qubits: int,
    device: Map,
    *,
    seed: int,
    trials: int,
    poll: Callable[[], None],
    relabel: bool = False,
) -> list[int]:
    """A first local place for each qubit, the best of some trials by the cost of the exchanges that follow."""
    trivial = list(range(num_qubits))
    pairs = [step for step in steps if step[0] != "one"]
    if not trials or not pairs:
        return trivial
    forwards, backwards = Order(pairs), Order(pairs[::-1])

    def walk(order: Order, where: list[int], rng: Random) -> int:
        return Pass(order, where, device, rng, poll, relabel=relabel).run()

    best, least = trivial, walk(forwards, list(trivial), Random(seed))  # noqa: S311 - no secret
    for trial in range(trials):
        if least == 0:
            break
        rng = Random(seed + trial)  # noqa: S311
        where = list(trivial)
        if trial:
            rng.shuffle(where)
        walk(forwards, where, rng)
        walk(backwards, where, rng)
        start = list(where)
        cost = walk(forwards, where, Random(seed))  # noqa: S311
        if cost < least:
            best, least = start, cost
    return best
