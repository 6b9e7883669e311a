"""The short guard of the benchmarks: every ratio to its reference must stay above a floor with a wide margin.

Each ``bench_*.py`` offers ``ratios() -> {name: reference time / our time}`` and ``FLOORS``. A ratio below its floor is
measured twice more before it counts, because machines are shared.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Measure, print, judge; returns the exit status."""
    sys.path.insert(0, str(HERE))
    failed = 0
    for path in sorted(HERE.glob("bench_*.py")):
        bench = importlib.import_module(path.stem)
        if not hasattr(bench, "ratios"):
            continue
        best: dict[str, float] = {}
        for _ in range(3):
            for name, ratio in bench.ratios().items():
                best[name] = max(ratio, best.get(name, 0.0))
            if all(best.get(name, 0.0) >= floor for name, floor in bench.FLOORS.items()):
                break
        for name, floor in bench.FLOORS.items():
            ratio = best.get(name, 0.0)
            verdict = "ok" if ratio >= floor else "TOO SLOW"
            failed += ratio < floor
            print(f"{path.stem:24} {name:40} {ratio:9.2f}x  floor {floor:7.2f}x  {verdict}", flush=True)
    print(f"{failed} ratios below their floor")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
