"""The heap against heapq: pop 4x, update 1x, cancel 0.6x of heapq + dict with lazy deletion, 5 M/s in batches.

Ten priorities, jobs in submit order; rates are per job. `pytest benchmarks/bench_scheduler.py --benchmark-enable`.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from qfast._ext.scheduler import Heap

FLOORS: dict[str, float] = {
    "push / heapq of tuples": 0.25,
    "push / heapq + dict": 1.0,
    "pop / heapq of tuples": 1.0,
    "pop / heapq + dict": 2.0,
    "pop_many / heapq + dict": 4.0,
    "update / heapq + dict": 0.5,
    "cancel / heapq + dict": 0.3,
}


class LazyHeap:
    """The usual recipe: heapq of lists, a dict from id to entry, cancelled entries are marked and skipped."""

    def __init__(self) -> None:
        self.heap: list[list[Any]] = []
        self.entries: dict[int, list[Any]] = {}

    def push(self, priority: int, seq: int) -> None:
        entry = [priority, seq, True]
        self.entries[seq] = entry
        heapq.heappush(self.heap, entry)

    def pop(self) -> int | None:
        while self.heap:
            _, seq, alive = heapq.heappop(self.heap)
            if alive:
                del self.entries[seq]
                return int(seq)
        return None

    def cancel(self, seq: int) -> bool:
        entry = self.entries.pop(seq, None)
        if entry is None:
            return False
        entry[2] = False
        return True

    def update(self, seq: int, priority: int) -> None:
        self.entries[seq][2] = False
        self.push(priority, seq)


@functools.cache
def priorities(count: int) -> list[int]:
    rng = random.Random(1)
    return [rng.randrange(1, 11) for _ in range(count)]


def filled(count: int) -> tuple[Heap, list[int]]:
    heap = Heap()
    return heap, [heap.push(priority, seq, seq) for seq, priority in enumerate(priorities(count))]


def filled_lazy(count: int) -> LazyHeap:
    lazy = LazyHeap()
    for seq, priority in enumerate(priorities(count)):
        lazy.push(priority, seq)
    return lazy


def filled_tuples(count: int) -> list[tuple[int, int]]:
    heap: list[tuple[int, int]] = []
    for seq, priority in enumerate(priorities(count)):
        heapq.heappush(heap, (priority, seq))
    return heap


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def each(call: Callable[..., object], *arguments: Any) -> Callable[[], object]:
    """Call once per row of the arguments with as little Python around it as there can be."""
    return lambda: [None for _ in map(call, *arguments)]


def timings(count: int) -> dict[str, float]:
    """Seconds of one pass over `count` jobs, by operation."""
    first, again = priorities(count), priorities(2 * count)[count:]
    shuffled = random.Random(2).sample(range(count), count)
    out: dict[str, float] = {}

    heap, lazy, tuples = Heap(), LazyHeap(), list[tuple[int, int]]()
    out["push"] = seconds(each(heap.push, first, range(count), range(count)))
    out["push tuples"] = seconds(each(heapq.heappush, itertools.repeat(tuples), zip(first, range(count), strict=True)))
    out["push lazy"] = seconds(each(lazy.push, first, range(count)))
    pops = range(count)
    out["pop"] = seconds(lambda: [heap.pop() for _ in pops])
    out["pop tuples"] = seconds(lambda: [heapq.heappop(tuples) for _ in pops])
    out["pop lazy"] = seconds(lambda: [lazy.pop() for _ in pops])

    (heap, handles), lazy = filled(count), filled_lazy(count)
    targets = [handles[i] for i in shuffled]
    out["update"] = seconds(each(heap.update, targets, again))
    out["update lazy"] = seconds(each(lazy.update, shuffled, again))
    lazy = filled_lazy(count)
    out["cancel"] = seconds(each(heap.cancel, targets))
    out["cancel lazy"] = seconds(each(lazy.cancel, shuffled))

    heap, handles = filled(count)
    out["pop_many"] = seconds(lambda: heap.pop_many(count))
    return out


def ratios(count: int = 50_000, repeats: int = 3) -> dict[str, float]:
    """Reference time over our time, by minima of the repeats."""
    runs = [timings(count) for _ in range(repeats)]
    best = {name: min(run[name] for run in runs) for name in runs[0]}
    return {
        "push / heapq of tuples": best["push tuples"] / best["push"],
        "push / heapq + dict": best["push lazy"] / best["push"],
        "pop / heapq of tuples": best["pop tuples"] / best["pop"],
        "pop / heapq + dict": best["pop lazy"] / best["pop"],
        "pop_many / heapq + dict": best["pop lazy"] / best["pop_many"],
        "update / heapq + dict": best["update lazy"] / best["update"],
        "cancel / heapq + dict": best["cancel lazy"] / best["cancel"],
    }


COUNT = 100_000
MAKERS: dict[str, Callable[[int], Any]] = {"heap": filled, "lazy": filled_lazy, "tuples": filled_tuples}
POPS: dict[str, Callable[[Any], object]] = {
    "heap": lambda made: [made[0].pop() for _ in range(COUNT)],
    "lazy": lambda lazy: [lazy.pop() for _ in range(COUNT)],
    "tuples": lambda tuples: [heapq.heappop(tuples) for _ in range(COUNT)],
}


@pytest.mark.parametrize("structure", MAKERS)
def test_push(benchmark: Any, structure: str) -> None:
    """Goal: at least the rate of heapq + dict."""
    benchmark.pedantic(MAKERS[structure], args=(COUNT,), rounds=5)
    report(benchmark)


@pytest.mark.parametrize("structure", POPS)
def test_pop(benchmark: Any, structure: str) -> None:
    """Goal: 4x heapq + dict with lazy deletion."""
    benchmark.pedantic(POPS[structure], setup=lambda: ((MAKERS[structure](COUNT),), {}), rounds=5)
    report(benchmark)


def test_pop_many(benchmark: Any) -> None:
    """Goal: 5 M/s, without the GIL but for the list of the answer."""
    benchmark.pedantic(lambda heap: heap.pop_many(COUNT), setup=lambda: ((filled(COUNT)[0],), {}), rounds=5)
    report(benchmark)


def report(benchmark: Any) -> None:
    if benchmark.stats:
        rate = COUNT / benchmark.stats.stats.min
        benchmark.extra_info["M/s"] = round(rate / 1e6, 2)
        print(f" {rate / 1e6:.2f} M/s")


if __name__ == "__main__":
    for size in (10_000, 100_000, 1_000_000):
        run = [timings(size) for _ in range(3 if size < 1_000_000 else 1)]
        print(size, {name: round(size / min(r[name] for r in run) / 1e6, 2) for name in run[0]}, "M/s")
    print({name: round(value, 2) for name, value in ratios().items()})
