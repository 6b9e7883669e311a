"""What was acknowledged is there after kill -9, and the dead server's lock is free."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from qfast.errors import StoreLocked
from qfast.job import JobQuery
from qfast.stores.sqlite import SqliteStore

CYCLES = 4
ACKNOWLEDGED = 400  # lines read before the kill, cycle by cycle a few more

# 16 submitters; each writes its line only after the store's answer. Every third job is started, finished and told.
SUBMITTER = textwrap.dedent("""
    import asyncio, itertools, os, sys, uuid
    from pathlib import Path
    from qfast.job import CallbackRecord, Change, JobRecord, JobStatus
    from qfast.stores.sqlite import SqliteStore

    async def main():
        store = SqliteStore(Path(sys.argv[1]))
        await store.open()
        seqs = itertools.count(await store.last_seq() + 1)

        def say(*words):
            os.write(1, (" ".join(map(str, words)) + "\\n").encode())

        async def submit():
            for seq in seqs:
                job = JobRecord(
                    seq=seq, job_id=str(uuid.uuid4()), digest=bytes(32), backend="dummy", code_type="qasm",
                    job_type="sampling", job_name=None, session_id=None, tags=("t",), priority=5,
                    status=JobStatus.QUEUED, spec=b"{}",
                )
                await store.append(job, job.job_id.encode() * 30)
                say("QUEUED", seq, job.job_id)
                if seq % 3 == 0:
                    run = Change(seq=seq, attempt=0, entered_from=(JobStatus.QUEUED,), status=JobStatus.RUNNING, at=1.0,
                                 next_attempt=1)
                    assert await store.apply([run]) == [True]
                    owed = CallbackRecord(webhook_id=job.job_id, seq=seq, spec=b"{}", body=b"{}")
                    end = Change(seq=seq, attempt=1, entered_from=(JobStatus.RUNNING,), status=JobStatus.COMPLETED,
                                 at=2.0, results=job.job_id.encode(), callbacks=(owed,))
                    assert await store.apply([end]) == [True]
                    say("COMPLETED", seq, job.job_id)

        await asyncio.gather(*(submit() for _ in range(16)))

    asyncio.run(main())
""")


def submit_and_kill(directory: Path, lines: int) -> list[tuple[str, int, str]]:
    """Run the submitter, kill it after that many answers; gives every answer that came out whole."""
    process = subprocess.Popen([sys.executable, "-c", SUBMITTER, str(directory)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    head = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    tail, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    whole = [line for line in (b"".join(head) + tail).splitlines(keepends=True) if line.endswith(b"\n")]
    words = [line.decode().split() for line in whole]
    return [(status, int(seq), job_id) for status, seq, job_id in words]


def test_every_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    async def check() -> None:
        store = SqliteStore(tmp_path)
        await store.open()
        jobs = {job.job_id: job for job in await store.list(JobQuery(limit=10**6))}
        owed = {row.webhook_id for row in await store.due_callbacks(1.0, 10**6)}
        for status, seq, job_id in told:
            job = jobs[job_id]
            assert job.seq == seq
            assert await store.source(seq) == job_id.encode() * 30
            assert status == "QUEUED" or job.status == "COMPLETED"
        for job in jobs.values():  # state, results and callback went in together or not at all
            ended = job.status == "COMPLETED"
            assert await store.results(job.seq) == (job.job_id.encode() if ended else None)
            assert (job.job_id in owed) == ended
        assert await store.last_seq() == max(job.seq for job in jobs.values())
        await store.close()

    told: list[tuple[str, int, str]] = []
    for cycle in range(CYCLES):
        told += submit_and_kill(tmp_path, ACKNOWLEDGED + 37 * cycle)
        asyncio.run(check())
    assert len(told) >= CYCLES * ACKNOWLEDGED


def test_the_lock_holds_against_another_process_and_goes_with_it(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", SUBMITTER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        with pytest.raises(StoreLocked, match=f"pid {holder.pid}.*{tmp_path}"):
            asyncio.run(SqliteStore(tmp_path).open())
    finally:
        holder.kill()
        holder.communicate(timeout=30)

    async def run() -> None:
        store = SqliteStore(tmp_path)
        await store.open()
        assert (tmp_path / "qfast.lock").read_text() == str(os.getpid())
        await store.close()

    asyncio.run(run())
