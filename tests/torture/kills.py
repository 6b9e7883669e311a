"""kill -9 of a server under load, over and over: at a random instant of its start, its recovery or its work."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import postgres_kit
from history import Audit, Recorder, violations
from torture.load import Load
from torture.report import Options, Report, verdict
from torture.site import PostgresBook, Site, SqliteBook, states, until
from torture.stable import Stable, children

EARLY = 0.25  # of the kills fall into the start and the recovery
START = 0.5  # seconds; the early kills fall within
LONGEST = 0.8  # seconds of a life, once it answers
WORKERS = 0.1  # of the lives are cut by a kill of the process that answers, which the main process replaces
SENIOR = 0.03  # of the lives on PostgreSQL are long enough to take over what dead nodes held
SENIOR_SECONDS = 8.0
DRAIN_SECONDS = 600.0


def kills(options: Options) -> Report:
    """Kill until there were as many cycles and acknowledged submits as wanted, then let all jobs end, and judge."""
    recorder = Recorder()
    with _sites(options) as (sites, book):
        load = Load(recorder, [site.url for site in sites], options.seed)
        killed = [0, 0]  # lives ended, of these with the worker alone killed first
        lives = [
            threading.Thread(target=_lives, args=(site, f"{options.seed}/{k}", options, load, killed))
            for k, site in enumerate(sites)
        ]
        for thread in lives:
            thread.start()
        for thread in lives:
            thread.join()
        for site in sites:
            site.started()
        load.join()
        drained = until(lambda: book.live() == 0, DRAIN_SECONDS)
        rows = book.rows()
        found = [*load.wrong, *book.broken(), *violations(recorder, rows, order=False)]
        if not drained:
            found.append("I3 jobs are left after the drain")
        found += ["I3 a server has no end" for site in sites if not site.stop()]
    again = sum(row.attempt > 1 and row.before == "QUEUED" and row.status == "RUNNING" for row in rows)
    figures = {
        "cycles": killed[0], "worker_kills": killed[1], "acknowledged": load.acknowledged, "calls": len(recorder.calls),
        "unknown": sum(call.outcome == "unknown" for call in recorder.calls), "races": load.repeats, "runs_repeated": again,
        **verdict(found), **{state.lower(): count for state, count in states(rows).items()},
    }  # fmt: skip
    return Report("kills", options.store, figures, found)


@contextmanager
def _sites(options: Options) -> Iterator[tuple[list[Site], SqliteBook | PostgresBook]]:
    """One server on SQLite, or two nodes on PostgreSQL, none of them running; their store is made and watched."""
    if options.store == "sqlite":
        with one_site(options) as (site, rows):
            yield [site], rows
        return
    url = postgres_kit.url(options.folder)
    stable = Stable(options.folder)
    try:
        sites = [Site(stable, options.folder / f"site{k}", url) for k in range(2)]
        sites[0].started()
        sites[0].stop()
        yield sites, PostgresBook(url, Audit(url))
    finally:
        stable.close()


@contextmanager
def one_site(options: Options) -> Iterator[tuple[Site, SqliteBook]]:
    """One server on SQLite that does not run, its store made and watched."""
    stable = Stable(options.folder)
    try:
        site = Site(stable, options.folder / "site")
        site.started()
        site.stop()
        yield site, SqliteBook(site.data)
    finally:
        stable.close()


def _lives(site: Site, seed: str, options: Options, load: Load, killed: list[int]) -> None:
    chance = random.Random(seed)
    end = time.monotonic() + (options.minutes or 1e6) * 60.0
    while (killed[0] < options.cycles or load.acknowledged < options.jobs) and time.monotonic() < end:
        site.start()
        if chance.random() < EARLY:
            time.sleep(chance.random() * START)
        else:
            until(site.answers)
            senior = options.store != "sqlite" and chance.random() < SENIOR
            time.sleep(SENIOR_SECONDS if senior else chance.random() * LONGEST)
        if chance.random() < WORKERS:
            with suppress(IndexError, ProcessLookupError):
                os.kill(children(site.pid)[0], signal.SIGKILL)
                killed[1] += 1
            time.sleep(chance.random() * LONGEST)
        site.kill()
        killed[0] += 1
        if killed[0] % 50 == 0:
            print(f"{killed[0]} kills, {load.acknowledged} acknowledged", file=sys.stderr, flush=True)
