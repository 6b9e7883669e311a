"""How soon a waiting client knows that its job has ended, beside a client that asks every 0.1 s as others do.

Goal: p50 1 ms and p99 5 ms from the end's date to the client with 1,000 waiters, each on a stream of its own. The date is
taken before the end is made durable, so the commit is in these figures, as are server and clients on the same cores.

``python benchmarks/bench_push.py`` prints the figures for 1,000 waiters.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from qfast import AsyncClient, Client
from qfast.demo import BELL2, local_server

FLOORS = {"event stream vs polling every 0.1 s": 4.0}
DEVICES = '[devices.outside]\ndriver = "DriverAsync"\nslots = 1024\n'


def _when(date: str) -> float:
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()


async def _by_stream(client: AsyncClient, job_id: str) -> float:
    """Seconds after the end's date at which the stream told it."""
    async for event in client.follow(job_id):
        if event["job_status"] == "COMPLETED":
            return time.time() - _when(event["updated_at"])
    raise RuntimeError("the stream ended without the end of its job")


async def _by_polling(client: AsyncClient, job_id: str) -> float:
    while True:
        job = await client.get_job_status(job_id)
        if job["job_status"] == "COMPLETED":
            return time.time() - _when(job["end_date"])
        await asyncio.sleep(0.1)


async def _latencies(url: str, waiters: int, polling: int, pause: float) -> tuple[list[float], list[float]]:
    """Latencies of `waiters` streams and of `polling` polling clients; one job after the other ends, `pause` seconds apart."""
    async with AsyncClient(url, max_connections=waiters + polling + 8) as client:
        jobs = [(await client.submit_job(BELL2, backend="outside"))["job_id"] for _ in range(waiters + polling)]
        told = [asyncio.ensure_future(_by_stream(client, job_id)) for job_id in jobs[:waiters]]
        asked = [asyncio.ensure_future(_by_polling(client, job_id)) for job_id in jobs[waiters:]]
        for job_id in jobs:
            while (await client.get_job_status(job_id))["job_status"] != "RUNNING":
                await asyncio.sleep(0.001)
        ends = Client(url)
        for index in range(max(waiters, polling)):
            for job_id in [*jobs[:waiters][index : index + 1], *jobs[waiters:][index : index + 1]]:
                await asyncio.to_thread(ends.set_job_results, job_id, [{"00": 1}])
            await asyncio.sleep(pause)
        return list(await asyncio.gather(*told)), list(await asyncio.gather(*asked))


def measure(waiters: int, polling: int, pause: float = 0.005) -> tuple[list[float], list[float]]:
    """Latencies in seconds: of the streams, of the polling clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * waiters + 1024)), hard))
    with tempfile.TemporaryDirectory() as folder:
        devices = Path(folder) / "devices.toml"
        devices.write_text(DEVICES)
        with local_server(Path(folder) / "data", "--devices", str(devices)) as (url, _):
            return asyncio.run(_latencies(url, waiters, polling, pause))


def ratios() -> dict[str, float]:
    """Reference time over ours, by medians."""
    told, asked = measure(60, 30, 0.002)
    return {"event stream vs polling every 0.1 s": statistics.median(asked) / statistics.median(told)}


def main() -> int:
    """Print the figures for 1,000 waiters."""
    told, asked = measure(1000, 24)
    for name, values in (("event stream, 1,000 waiters", told), ("polling every 0.1 s", asked)):
        cuts = statistics.quantiles(values, n=100)
        print(f"{name:30} p50 {cuts[49] * 1e3:7.2f} ms   p99 {cuts[98] * 1e3:7.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
