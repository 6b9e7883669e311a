"""Power cuts, by replaying what the store wrote: acknowledged jobs are there after each; with synchronous=NORMAL not.

The model: at a cut, a file holds what was synced before it, and of each 512-byte sector written since then either the
old or the new content, by chance.
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
from pathlib import Path

import pytest

SECTOR = 512
CUTS = 150
HEAD = struct.Struct("=cc6xQQ")
SHOWN = {b"QUEUED": ("QUEUED", "RUNNING"), b"RUNNING": ("RUNNING",)}  # what an acknowledged state may have become
Event = tuple[str, str, int, int, bytes]  # op, file, offset, length, bytes
Disk = dict[str, bytearray]

WORKER = textwrap.dedent("""
    import asyncio, itertools, os, sys, uuid
    from pathlib import Path
    from qfast.job import Change, JobRecord, JobStatus
    from qfast.stores.sqlite import SqliteStore

    async def main():
        store = SqliteStore(Path(sys.argv[1]))
        await store.open()
        for pragma in (f"synchronous = {sys.argv[2]}", "wal_autocheckpoint = 60"):
            # outside of a transaction, where synchronous may change
            store.writer._connection.execute(f"PRAGMA {pragma}")
        acks = os.open(Path(sys.argv[1]) / "x.ack", os.O_WRONLY | os.O_CREAT)
        seqs = iter(range(1, 161))

        async def submit():
            for seq in seqs:
                job = JobRecord(
                    seq=seq, job_id=str(uuid.uuid4()), digest=bytes(32), backend="dummy", code_type="qasm",
                    job_type="sampling", job_name=None, session_id=None, tags=("t",), priority=5,
                    status=JobStatus.QUEUED, spec=b"{}",
                )
                await store.append(job, os.urandom(300))
                os.pwrite(acks, b"QUEUED %d\\n" % seq, 0)
                run = Change(seq=seq, attempt=0, entered_from=(JobStatus.QUEUED,), status=JobStatus.RUNNING, at=1.0)
                assert await store.apply([run]) == [True]
                os.pwrite(acks, b"RUNNING %d\\n" % seq, 0)

        await asyncio.gather(*(submit() for _ in range(4)))
        os._exit(0)  # closing would fold the log into the database

    asyncio.run(main())
""")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("shim") / "power_log.so"
    source = Path(__file__).parent / "faults" / "power_log.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source], check=True, timeout=60)
    return library


def record(shim: Path, directory: Path, synchronous: str) -> list[Event]:
    """What one run of the store wrote and synced, in order."""
    log = directory / "power.log"
    environment = os.environ | {"LD_PRELOAD": str(shim), "POWER_LOG": str(log)}
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
    image.extend(bytes(max(0, offset + len(content) - len(image))))
    image[offset : offset + len(content)] = content


def apply(image: bytearray, event: Event) -> None:
    op, _, offset, length, content = event
    if op == "w":
        write(image, offset, content)
    elif op == "t":
        del image[length:]
        image.extend(bytes(length - len(image)))


def cut(events: list[Event], torn: random.Random | None) -> Disk:
    """The disk after a power cut behind these events."""
    disk: Disk = {}
    for name in "dl":
        own = [event for event in events if event[1] == name]
        synced = max((index for index, event in enumerate(own) if event[0] == "s"), default=-1)
        image = disk[name] = bytearray()
        for event in own[: synced + 1]:
            apply(image, event)
        for event in own[synced + 1 :]:
            if torn is None:
                continue
            op, _, offset, _, content = event
            if op == "t" and torn.random() < 0.5:
                apply(image, event)
            for start in range(-(offset % SECTOR), len(content), SECTOR):
                part = content[max(0, start) : start + SECTOR]
                if torn.random() < 0.5:
                    write(image, offset + max(0, start), part)
    return disk


def survivors(disk: Disk, directory: Path) -> dict[int, str]:
    """The jobs that a restart finds, seq by status; the database must be whole."""
    directory.mkdir()
    (directory / "qfast.db").write_bytes(disk["d"])
    (directory / "qfast.db-wal").write_bytes(disk["l"])
    connection = sqlite3.connect(directory / "qfast.db")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        jobs = dict(connection.execute("SELECT seq, status FROM job").fetchall())
        assert connection.execute("SELECT count(*) FROM job_source").fetchone() == (len(jobs),)
    finally:
        connection.close()
        shutil.rmtree(directory)
    return jobs


def losing_cuts(events: list[Event], directory: Path) -> int:
    """How many of CUTS cuts lose something that was acknowledged before them; half of them tear."""
    rng = random.Random(20)
    first = next(index for index, event in enumerate(events) if event[1] == "a")
    losing = 0
    for number in range(CUTS):
        before = events[: rng.randrange(first, len(events))]
        jobs = survivors(cut(before, rng if number % 2 else None), directory / str(number))
        told = [event[4].split() for event in before if event[1] == "a"]
        losing += any(jobs.get(int(seq)) not in SHOWN[status] for status, seq in told)
    return losing


def test_no_power_cut_loses_what_was_acknowledged(shim: Path, tmp_path: Path) -> None:
    events = record(shim, tmp_path, "FULL")
    assert sum(event[:2] == ("s", "d") for event in events) > 1  # checkpoints are among the cuts
    assert losing_cuts(events, tmp_path) == 0


def test_the_replay_sees_the_loss_of_a_weaker_setting(shim: Path, tmp_path: Path) -> None:
    assert losing_cuts(record(shim, tmp_path, "NORMAL"), tmp_path) > CUTS // 2
