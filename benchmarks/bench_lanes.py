"""A call of a worker process against ProcessPoolExecutor: goal 3x faster there and back.

`pytest benchmarks/bench_lanes.py --benchmark-enable`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from qfast.lanes import Lane

FLOORS: dict[str, float] = {"round trip / ProcessPoolExecutor": 1.2}
PAYLOAD = {"source": "x" * 200, "shots": 1000, "seed": 7}


def least(work: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def ratios() -> dict[str, float]:
    """The pool's time over ours, by minima."""
    lane = Lane(1)
    try:
        own = least(lambda: lane.call("copy:copy", PAYLOAD), 1000)
    finally:
        lane.close()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        reference = least(lambda: pool.submit(copy.copy, PAYLOAD).result(), 1000)
    return {"round trip / ProcessPoolExecutor": reference / own}


@pytest.mark.parametrize("who", ["lane", "pool"])
def test_round_trip(benchmark: Any, who: str) -> None:
    """Goal: the lane 3x faster."""
    if who == "lane":
        lane = Lane(1)
        benchmark(lambda: lane.call("copy:copy", PAYLOAD))
        lane.close()
    else:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            benchmark(lambda: pool.submit(copy.copy, PAYLOAD).result())


if __name__ == "__main__":
    print(ratios())
