"""Power cuts, by replaying what the SQLite store wrote: acknowledged work is there after each; with synchronous=NORMAL not.

The model: at a cut, a file holds what was synced before it, and of each 512-byte sector written since then either the
old or the new content, by chance; in the other half of the cuts, nothing that was not synced.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from torture.report import Options, Report

SECTOR = 512
CUTS_OF_A_RECORD = 1000
HEAD = struct.Struct("=cc6xQQ")
FAULTS = Path(__file__).parents[1] / "faults"
ORDER = ("QUEUED", "RUNNING", "COMPLETED", "DELETED")
Event = tuple[str, str, int, int, bytes]  # op, file, offset, length, bytes
Disk = dict[str, bytearray]

WORKER = textwrap.dedent("""
    import asyncio, itertools, os, sys, uuid
    from pathlib import Path
    from qfast.job import CallbackRecord, Change, JobRecord, JobStatus
    from qfast.stores.sqlite import SqliteStore

    async def main():
        store = SqliteStore(Path(sys.argv[1]))
        await store.open()
        for pragma in (f"synchronous = {sys.argv[2]}", "wal_autocheckpoint = 60"):
            # outside of a transaction, where synchronous may change
            store.writer._connection.execute(f"PRAGMA {pragma}")
        acks = os.open(Path(sys.argv[1]) / "x.ack", os.O_WRONLY | os.O_CREAT)
        seqs = iter(range(1, 161))

        def say(status, seq):
            os.pwrite(acks, b"%s %d\\n" % (status, seq), 0)

        async def submit():
            for seq in seqs:
                job = JobRecord(
                    seq=seq, job_id=str(uuid.uuid4()), digest=bytes(32), backend="dummy", code_type="qasm",
                    job_type="sampling", job_name=None, session_id=None, tags=("t",), priority=5,
                    status=JobStatus.QUEUED, spec=b"{}",
                )
                await store.append(job, os.urandom(300))
                say(b"QUEUED", seq)
                run = Change(seq=seq, attempt=0, entered_from=(JobStatus.QUEUED,), status=JobStatus.RUNNING, at=1.0,
                             next_attempt=1)
                assert await store.apply([run]) == [True]
                say(b"RUNNING", seq)
                if seq % 2:
                    owed = CallbackRecord(webhook_id=job.job_id, seq=seq, spec=b"{}", body=b"{}")
                    end = Change(seq=seq, attempt=1, entered_from=(JobStatus.RUNNING,), status=JobStatus.COMPLETED,
                                 at=2.0, results=b"[1]", callbacks=(owed,))
                    assert await store.apply([end]) == [True]
                    say(b"COMPLETED", seq)
                if seq % 6 == 1:
                    assert await store.delete([seq], 9.0) == [seq]
                    say(b"DELETED", seq)

        await asyncio.gather(*(submit() for _ in range(4)))
        os._exit(0)  # closing would fold the log into the database

    asyncio.run(main())
""")


def shim(folder: Path) -> Path | None:
    """The library that records what a process writes and syncs; None where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "power_log.so"
    source = FAULTS / "power_log.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source], check=True, timeout=60)
    return library


def record(library: Path, directory: Path, synchronous: str) -> list[Event]:
    """What one run of the store wrote and synced, in order."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "power.log"
    environment = os.environ | {"LD_PRELOAD": str(library), "POWER_LOG": str(log)}
    subprocess.run(
        [sys.executable, "-c", WORKER, str(directory / "data"), synchronous], env=environment, check=True, timeout=120
    )
    data, events, at = log.read_bytes(), [], 0
    while at < len(data):
        op, file, offset, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        content = data[at : at + length] if op == b"w" else b""
        at += len(content)
        events.append((op.decode(), file.decode(), offset, length, content))
    return events


def write(image: bytearray, offset: int, content: bytes) -> None:
    """Bytes into a file, which grows by zeros."""
    image.extend(bytes(max(0, offset + len(content) - len(image))))
    image[offset : offset + len(content)] = content


def apply(image: bytearray, event: Event) -> None:
    """A write or a truncation as it was meant."""
    op, _, offset, length, content = event
    if op == "w":
        write(image, offset, content)
    elif op == "t":
        del image[length:]
        image.extend(bytes(length - len(image)))


def tear(image: bytearray, event: Event, chance: random.Random) -> None:
    """What is left of a write that was never synced: any of its sectors."""
    op, _, offset, _, content = event
    if op == "t" and chance.random() < 0.5:
        apply(image, event)
    for start in range(-(offset % SECTOR), len(content), SECTOR):
        part = content[max(0, start) : start + SECTOR]
        if chance.random() < 0.5:
            write(image, offset + max(0, start), part)


def cuts(
    events: list[Event], count: int, near_syncs: int, chance: random.Random
) -> Iterator[tuple[Disk, set[tuple[str, int]]]]:
    """Disks after power cuts, each with what was acknowledged before; half of them torn.

    So many fall right before and after syncs, the others anywhere.
    """
    first = next(index for index, event in enumerate(events) if event[1] == "a")
    syncs = [index + k for index, event in enumerate(events) if event[0] == "s" and index > first for k in (0, 1)]
    places = chance.sample(syncs, min(len(syncs), near_syncs))
    places += [chance.randrange(first + 1, len(events)) for _ in range(count - len(places))]
    whole: Disk = {"d": bytearray(), "l": bytearray()}
    pending: dict[str, list[Event]] = {"d": [], "l": []}
    told: set[tuple[str, int]] = set()
    done = 0
    for number, place in enumerate(sorted(places)):
        for event in events[done:place]:
            if event[1] == "a":
                status, seq = event[4].split()
                told.add((status.decode(), int(seq)))
            elif event[0] == "s":
                for late in pending[event[1]]:
                    apply(whole[event[1]], late)
                pending[event[1]].clear()
            else:
                pending[event[1]].append(event)
        done = place
        disk = {name: bytearray(image) for name, image in whole.items()}
        if number % 2:
            for name, late_events in pending.items():
                for late in late_events:
                    tear(disk[name], late, chance)
        yield disk, told


def lost(disk: Disk, told: set[tuple[str, int]], directory: Path) -> int:
    """How many acknowledged steps a restart does not find; raises sqlite3.DatabaseError for a damaged database."""
    directory.mkdir()
    (directory / "qfast.db").write_bytes(disk["d"])
    (directory / "qfast.db-wal").write_bytes(disk["l"])
    connection = sqlite3.connect(directory / "qfast.db")
    try:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("integrity_check")
        jobs = dict(connection.execute("SELECT seq, status FROM job").fetchall())
        sources, specs = (
            {row[0] for row in connection.execute(f"SELECT seq FROM {table}")} for table in ("job_source", "job_spec")
        )
        results, owed = (
            {row[0] for row in connection.execute(f"SELECT seq FROM {table}")} for table in ("job_result", "callback")
        )
    finally:
        connection.close()
        shutil.rmtree(directory)
    ended = {seq for seq, status in jobs.items() if status == "COMPLETED"}
    if not sources == specs == jobs.keys() or results != ended or not ended <= owed:
        raise sqlite3.DatabaseError("a transaction is there in part")
    return sum(ORDER.index(jobs.get(seq, "DELETED" if seq in owed else "QUEUED")) < ORDER.index(status)
               or (seq not in jobs and seq not in owed) for status, seq in told)  # fmt: skip


def count_cuts(library: Path, folder: Path, synchronous: str, count: int, seed: int) -> dict[str, int]:
    """So many power cuts, how many of them lost something that was acknowledged, and how many damaged the database."""
    chance = random.Random(seed)
    figures = {"cuts": 0, "losing": 0, "corrupt": 0, "checkpoints": 0}
    while figures["cuts"] < count:
        place = folder / f"{synchronous}{figures['cuts']}"
        events = record(library, place, synchronous)
        figures["checkpoints"] += sum(event[:2] == ("s", "d") for event in events)
        size = min(CUTS_OF_A_RECORD, count - figures["cuts"])
        for disk, told in cuts(events, size, size // 2 if synchronous == "FULL" else 0, chance):
            figures["cuts"] += 1
            try:
                figures["losing"] += lost(disk, told, place / "cut") > 0
            except sqlite3.DatabaseError:
                figures["corrupt"] += 1
        shutil.rmtree(place)
    return figures


def power(options: Options) -> Report:
    """Cuts of the store as it is, and a tenth as many of one whose log is not synced at a commit: the replay must see that."""
    library = shim(options.folder)
    if library is None:
        return Report("power", "sqlite", {"cuts": 0})
    full = count_cuts(library, options.folder, "FULL", options.cycles, options.seed)
    weak = count_cuts(library, options.folder, "NORMAL", max(50, options.cycles // 10), options.seed)
    found = [f"I1 {full[what]} of {full['cuts']} power cuts: {what}" for what in ("losing", "corrupt") if full[what]]
    if weak["losing"] * 2 < weak["cuts"]:
        found.append("I1 the replay does not see the losses of synchronous=NORMAL")
    figures = {**full, "normal_cuts": weak["cuts"], "normal_losing": weak["losing"], "normal_corrupt": weak["corrupt"]}
    return Report("power", "sqlite", dict(figures), found)
