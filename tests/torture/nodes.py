"""Faults of nodes and of their database, one after another, under load.

`nodes`: two nodes, each behind a proxy of its own, of which one is stopped, cut off, killed, restarted or loses its
connections. `database`: the database is stopped and started, its backends are ended, connections break on their way.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import chain
from typing import Any

import asyncpg
import postgres_kit
from history import Audit, Recorder, Row, violations
from node_kit import Proxy
from torture.load import Load
from torture.report import Options, Report, verdict
from torture.site import PostgresBook, Site, states, until
from torture.stable import Stable

DEAD_SECONDS = 14.0  # of silence, after which the other node has taken over
TAKEOVER_GOAL = 10.0  # seconds from the fault until nothing is held by the silent node
DRAIN_SECONDS = 300.0
ROLLED_BACK = "was rolled back for another node's"  # in a node's log: its claims waited with it
HELD = "SELECT FROM job_state JOIN tenure ON owner = epoch WHERE ended LIMIT 1"


class House:
    """Nodes, their proxies, the load, and what was seen of the faults."""

    def __init__(self, options: Options, nodes: int) -> None:
        self.options = options
        self.chance = random.Random(options.seed)
        url = postgres_kit.url(options.folder)
        self.stable = Stable(options.folder, QFAST_LOG="INFO")
        self.proxies = [Proxy() for _ in range(nodes)]
        self.sites = [
            Site(self.stable, options.folder / f"node{k}", proxy.url(url)) for k, proxy in enumerate(self.proxies)
        ]
        self.sites[0].started()  # it makes the schema
        self.book = PostgresBook(url, Audit(url))
        for site in self.sites[1:]:
            site.started()
        self.recorder = Recorder()
        self.load = Load(self.recorder, [site.url for site in self.sites], options.seed, goal=options.jobs)
        self.faults: Counter[str] = Counter()
        self.windows: list[tuple[float, float]] = []
        self.takeovers: list[float] = []
        self.recoveries: list[float] = []  # seconds from the end of a fault until all take part and submits are taken
        self.found: list[str] = []

    def alone(self) -> bool:
        """Whether the other node is taken for dead and holds nothing."""
        return self._asked("SELECT count(*) FROM tenure WHERE NOT ended")[0][0] == 1 and not self._asked(HELD)

    def together(self) -> bool:
        """Whether all nodes take part."""
        return bool(self._asked("SELECT count(*) FROM tenure WHERE NOT ended")[0][0] == len(self.sites))

    def _asked(self, statement: str) -> list[Any]:
        return self.book.ask(statement) or ([(-1,)] if "count" in statement else [])

    def taken_over(self, began: float) -> None:
        """Wait for the takeover after a fault that began then, and note how long it took."""
        if not until(self.alone, DEAD_SECONDS + 30.0):
            self.found.append("I3 nobody takes over: not ended after the drain")
        self.takeovers.append(time.time() - began)

    def _works(self) -> bool:
        """Whether submits are taken again."""
        before = self.load.acknowledged
        return until(lambda: self.load.acknowledged > before or self.load.done(), 60.0)

    def run(self, kinds: dict[str, Callable[[House, int], None]]) -> None:
        """Faults of these kinds until there were enough of them and of jobs."""
        end = time.monotonic() + (self.options.minutes or 1e6) * 60.0
        names = list(kinds)
        self._works()
        while (self.faults.total() < self.options.cycles or not self.load.done()) and time.monotonic() < end:
            time.sleep(0.5 + self.chance.random() * 2.0)
            kind, began = self.chance.choice(names), time.time()
            kinds[kind](self, self.chance.randrange(len(self.sites)))
            healed = time.time()
            if not until(self.together, 90.0) or not self._works():
                self.found.append(f"I3 a node does not come back after {kind}: not ended after the drain")
            self.recoveries.append(time.time() - healed)
            self.windows.append((began - 1.0, time.time() + 1.0))
            self.faults[kind] += 1
            if self.faults.total() % 5 == 0:
                print(
                    f"{self.faults.total()} faults, {self.load.acknowledged} acknowledged", file=sys.stderr, flush=True
                )

    def end(self, scenario: str) -> Report:
        """Let all jobs end, and judge."""
        self.load.join()
        if not until(lambda: self.book.live() == 0, DRAIN_SECONDS):
            self.found.append("I3 jobs are left after the drain")
        rows = self.book.rows()
        windows = self.windows + list(chain.from_iterable(rollbacks(site) for site in self.sites))
        self.found += [*self.load.wrong, *self.book.broken(), *violations(self.recorder, rows, faults=windows)]
        slow = [seconds for seconds in self.takeovers if seconds > TAKEOVER_GOAL]
        self.found += [f"I3 a takeover took {seconds:.1f} s" for seconds in slow]
        self.found += ["I3 a node has no end" for site in self.sites if not site.stop()]
        self.stable.close()
        return Report(scenario, "postgres", self._figures(rows), self.found)

    def _figures(self, rows: list[Row]) -> dict[str, float]:
        ordinary = [row for row in rows if row.before == "QUEUED" and row.status == "RUNNING"]
        return {
            "faults": self.faults.total(), **self.faults, "acknowledged": self.load.acknowledged,
            "calls": len(self.recorder.calls),
            "claims": sum(row.owner_before is None and row.owner is not None for row in rows),
            "runs_repeated": sum(row.attempt > 1 for row in ordinary), "takeovers": len(self.takeovers),
            "longest_takeover": round(max(self.takeovers, default=0.0), 1),
            "longest_recovery": round(max(self.recoveries, default=0.0), 1),
            "rolled_back": sum(len(rollbacks(site)) for site in self.sites), **verdict(self.found),
            "out_of_order": sum(text.startswith("I9") for text in self.found),
            **{state.lower(): count for state, count in states(rows).items()},
        }  # fmt: skip


def rollbacks(site: Site) -> list[tuple[float, float]]:
    """When flushes of a node were rolled back for those of another: what they had claimed was locked for that long.

    The database notices a deadlock after a second.
    """
    found = []
    for line in site.log.read_text(errors="replace").splitlines():
        if ROLLED_BACK in line:
            text = line.split(" - ")[1]
            at = datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").timestamp()
            found.append((at - 3.0, at + 0.2))
    return found


# ------------------------------------------------------------------------------------------------- faults of a node


def stop(house: House, which: int) -> None:
    """SIGSTOP, for a moment or until the other has taken over."""
    began, long = time.time(), house.chance.random() < 0.5
    house.sites[which].signal(signal.SIGSTOP)
    if long:
        house.taken_over(began)
        time.sleep(house.chance.random() * 2.0)
    else:
        time.sleep(house.chance.random() * 6.0)
    house.sites[which].signal(signal.SIGCONT)


def cut(house: House, which: int) -> None:
    """Nothing passes between a node and the database, and nobody is told."""
    began, long = time.time(), house.chance.random() < 0.5
    house.proxies[which].cut()
    if long:
        house.taken_over(began)
        time.sleep(house.chance.random() * 2.0)
    else:
        time.sleep(house.chance.random() * 6.0)
    house.proxies[which].mend()


def kill(house: House, which: int) -> None:
    """kill -9; it comes back at once, or when the other has taken over."""
    began = time.time()
    house.sites[which].kill()
    if house.chance.random() < 0.5:
        house.taken_over(began)
    house.sites[which].started()


def restart(house: House, which: int) -> None:
    """SIGTERM, and a new start."""
    if not house.sites[which].stop():
        house.found.append("I3 a node has no end")
    house.sites[which].started()


def drop(house: House, which: int) -> None:
    """All connections of a node to the database break, three times in a row."""
    for _ in range(3):
        house.proxies[which].drop()
        time.sleep(house.chance.random() * 0.5)


# --------------------------------------------------------------------------------------------- faults of the database


def bounce(house: House, _which: int) -> None:
    """The database is stopped and started."""
    postgres_kit.cluster().stop()
    time.sleep(house.chance.random() * 2.0)
    postgres_kit.cluster().start()


def terminate(house: House, _which: int) -> None:
    """Every backend is ended, a few times in a row."""
    for _ in range(5):
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            house.book.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'qfast%'"
                " AND pid <> pg_backend_pid()"
            )
        time.sleep(0.2)


def nodes(options: Options) -> Report:
    """Two nodes and the faults of nodes."""
    house = House(options, 2)
    house.run({"stopped": stop, "cut_off": cut, "killed": kill, "restarted": restart, "dropped": drop})
    return house.end("nodes")


def database(options: Options) -> Report:
    """One node and the faults of the database."""
    house = House(options, 1)
    house.run({"bounced": bounce, "terminated": terminate, "dropped": drop})
    return house.end("database")
