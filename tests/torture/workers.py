"""Jobs that crash, hang or eat memory in worker processes, beside well-behaved ones: these and the server must not notice."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from conftest import DEVICES
from torture.report import Options, Report
from torture.site import Site, until
from torture.stable import Stable, children

from qfast.client import Client
from qfast.demo import BELL2

PLUGIN = Path(__file__).parent / "plugin"
TORTURE = DEVICES + '\n[devices.torture]\ndriver = "DriverTorture"\nslots = 4\n'
EXPECTED = {
    "segfault": -122, "abort": -122, "leave": -122, "spin": -121, "sleep": -121, "stop": -121, "allocate": -120, "grow": -120,
}  # fmt: skip
LIMIT_SECONDS = 0.5  # of a job; a hanging one costs that much
NEIGHBOURS = 2  # well-behaved jobs beside each: one of the same kind of process, one of our own kernels
WINDOW = 200  # jobs under way


class Watch:
    """Asks the server all the time, and remembers how long it was silent and whose process answered."""

    def __init__(self, site: Site) -> None:
        self.longest, self.failures, self.pids = 0.0, 0, set[int]()
        self._site, self._going = site, True
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        with Client(self._site.url, timeout=30.0) as client:
            while self._going:
                began = time.monotonic()
                try:
                    client.get_jobs(limit=1)
                except Exception:
                    self.failures += 1
                self.longest = max(self.longest, time.monotonic() - began)
                self.pids |= set(children(self._site.pid)[:1])
                time.sleep(0.02)

    def stop(self) -> None:
        """Look no more."""
        self._going = False
        self._thread.join()


def workers(options: Options) -> Report:
    """As many misbehaving jobs as wanted, with their neighbours."""
    path = os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")])
    stable = Stable(options.folder, PYTHONPATH=path)
    site = Site(stable, options.folder / "site", devices=TORTURE)
    try:
        site.started()
        watch = Watch(site)
        found, tally = _storm(site, options)
        watch.stop()
    finally:
        site.stop()
        stable.close()
    if watch.failures or len(watch.pids) != 1:
        found.append(f"I3 the server did not stay up: {watch.failures} failed calls, {len(watch.pids)} processes")
    figures = {
        **{name: float(count) for name, count in sorted(tally.items())},
        "failed_calls": watch.failures, "longest_answer_ms": round(watch.longest * 1000),
    }  # fmt: skip
    return Report("workers", "sqlite", figures, found)


def _storm(site: Site, options: Options) -> tuple[list[str], Counter[str]]:
    chance = random.Random(options.seed)
    found: list[str] = []
    tally: Counter[str] = Counter()
    with Client(site.url, timeout=60.0) as client:
        waiting: list[tuple[str, str, int]] = []
        for number in range(options.jobs):
            waiting += [_submit(client, chance.choice(list(EXPECTED)), number), _submit(client, "well", number)]
            waiting.append(_submit(client, "bell", number))
            while len(waiting) > WINDOW:
                _judge(client, *waiting.pop(0), found, tally)
        for entry in waiting:
            _judge(client, *entry, found, tally)
    return found, tally


def _submit(client: Client, do: str, number: int) -> tuple[str, str, int]:
    fields: dict[str, Any] = {"shots": 10}
    if do != "bell":
        fields |= {"backend": "torture", "driver_options": {"do": do, "number": number}}
    if do in EXPECTED:
        fields["max_execution_time"] = (
            LIMIT_SECONDS if EXPECTED[do] == -121 else 600
        )  # not met however busy the machine
    return str(client.submit_job(BELL2, **fields)["job_id"]), do, number


def _judge(client: Client, job_id: str, do: str, number: int, found: list[str], tally: Counter[str]) -> None:
    if not until(lambda: client.wait(job_id, 100.0), 1.0):
        found.append(f"I3 {job_id} ({do}): not ended after the drain")
        return
    job = client.get_job_results(job_id)
    row = job["results"][0]
    if do in EXPECTED:
        code = row.get("error", {}).get("code")
        tally[f"code{code}"] += 1
        if job["job_status"] != "FAILED" or code != EXPECTED[do]:
            found.append(f"I5 {job_id} ({do}): {job['job_status']}, code {code}: {row.get('error')}")
        return
    tally["neighbours"] += 1
    right = {"00", "11"} if do == "bell" else {format(number**2, "b")}
    if job["job_status"] != "COMPLETED" or sum(row["results"].values()) != 10 or not set(row["results"]) <= right:
        found.append(f"I5 {job_id} ({do} {number}): {job['job_status']}, {row}")
