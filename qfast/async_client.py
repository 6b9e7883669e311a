"""The client for programs that run on asyncio: the same operations as `qfast.client.Client`, awaited, over aiohttp.

Waiting for jobs costs no connection each: all waits of a client share a few event streams.

>>> async with AsyncClient() as client:
...     rows = await asyncio.gather(*(client.run(BELL, shots=1000) for _ in range(1000)))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import aiohttp

from qfast.calls import Calls, ConnectionError, EventReader, JobFailed, Post, Reply, Work
from qfast.errors import NotFound, QfastError
from qfast.job import FINAL

__all__ = ["AsyncClient", "ConnectionError", "JobFailed"]

HEARTBEAT = 15.0  # seconds; a stream of events is never silent for longer
MAX_FOLLOWED = 1000  # jobs of one stream
MAX_STREAMS = 4  # more are closed and opened again as few
T = TypeVar("T")


class AsyncClient:
    """Speaks JSON-RPC 2.0 with one server from one event loop; to be closed, or used as an async context manager.

    A call whose connection the server closed is sent once more. That is safe: the client chooses each job's id, and a
    submit repeated with the same id and payload gives the existing job.

    Parameters
    ----------
    url : str, optional
        The server; default ``QFAST_URL``, else ``http://127.0.0.1:8088``.
    timeout : float
        Seconds to wait for one answer.
    max_connections : int
        At a time; further calls wait for one.
    token : str, optional
        An API key, for a server that has keys; default ``QFAST_TOKEN``.

    Raises
    ------
    ConnectionError
        From every method, when no server answers.
    qfast.errors.RpcError
        From every method, when the server refuses; the subclass tells the code.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float = 30.0,
        max_connections: int = 64,
        token: str | None = None,
    ) -> None:
        self._calls = Calls(url, timeout, token)
        self.url, self.timeout = self._calls.url, timeout
        self._max_connections = max_connections
        self._http: aiohttp.ClientSession | None = None
        self._watch = _Watch(self)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _: BaseException | None, _at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; who still waits for a job gets a ConnectionError."""
        self._watch.close()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def submit_job(
        self,
        source_code: Any,
        code_type: str | None = None,
        *,
        file_format: str | None = None,
        maximize: bool | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Hand in a job; as `qfast.client.Client.submit_job`."""
        work = self._calls.submit_job(source_code, code_type, file_format=file_format, maximize=maximize, **fields)
        return await self._do(work)

    async def get_job_status(self, job_id: str) -> dict[str, Any]:
        """The job without its source and results."""
        return cast(dict[str, Any], await self.call("get_job_status", {"job_id": job_id}))

    async def get_job_results(self, job_id: str) -> dict[str, Any]:
        """The job with its source and its results, null until there are some."""
        return cast(dict[str, Any], await self.call("get_job_results", {"job_id": job_id}))

    async def get_jobs(self, **filters: Any) -> list[dict[str, Any]]:
        """The jobs that match, newest first; filters such as ``job_status="QUEUED"``, ``tags=[...]``, ``limit=20``."""
        return cast(list[dict[str, Any]], await self.call("get_jobs", params={"filters": filters}))

    async def cancel_jobs(self, job_ids: str | Iterable[str], force: bool = False) -> list[dict[str, Any]]:
        """Cancel queued jobs, with `force` running ones too; returns those that are cancelled or being cancelled."""
        return cast(list[dict[str, Any]], await self.call("cancel_jobs", self._calls.ids_body(job_ids, force)))

    async def delete_jobs(self, job_ids: str | Iterable[str], force: bool = False) -> list[dict[str, Any]]:
        """Delete jobs that are not running, with `force` running ones as well; returns those that are gone."""
        return cast(list[dict[str, Any]], await self.call("delete_jobs", self._calls.ids_body(job_ids, force)))

    async def set_job_results(self, job_id: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Bring the results of a job that runs on an asynchronous backend: counts or result objects, one per source."""
        body = {"job_id": job_id, "results": list(results)}
        return cast(dict[str, Any], await self.call("set_job_results", body))

    async def update_job(self, job_id: str, **fields: Any) -> dict[str, Any]:
        """Change a queued job's ``job_priority``, ``job_name`` or ``description``."""
        return cast(dict[str, Any], await self.call("update_job", {"job_id": job_id, **fields}))

    async def get_callbacks(self, **filters: Any) -> list[dict[str, Any]]:
        """Deliveries, those of the newest job first; filters such as ``job_ids=[...]``, ``state="given_up"``, ``limit=20``."""
        return cast(list[dict[str, Any]], await self.call("get_callbacks", params={"filters": filters}))

    async def replay_callbacks(
        self,
        webhook_ids: str | Iterable[str] | None = None,
        *,
        job_ids: str | Iterable[str] | None = None,
        delivered: bool = False,
    ) -> list[dict[str, Any]]:
        """Deliver once more: those named, and of the jobs what was not delivered, or all; returns what is owed now."""
        body = self._calls.replay_body(webhook_ids, job_ids, delivered)
        return cast(list[dict[str, Any]], await self.call("replay_callbacks", body))

    async def wait(self, job_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait until the job is final; returns its status.

        Raises
        ------
        TimeoutError
            It is not final after `timeout` seconds; None waits without limit.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._watch.until_final(job_id)
        except TimeoutError:
            job = await self.get_job_status(job_id)
            if job["job_status"] not in FINAL:
                raise TimeoutError(f"job {job_id} is still {job['job_status']} after {timeout} s") from None
            return job
        return await self.get_job_status(job_id)

    async def run(
        self, source_code: Any, code_type: str | None = None, *, timeout: float | None = None, **fields: Any
    ) -> list[dict[str, Any]]:
        """Submit, wait, and return one result object per source; arguments as `submit_job` and `wait`.

        Raises
        ------
        JobFailed
            The job ended in another state than COMPLETED; its ``job`` has the results of the sources that did not fail.
        """
        job_id = (await self.submit_job(source_code, code_type, **fields))["job_id"]
        try:
            async with asyncio.timeout(timeout):
                await self._watch.until_final(job_id)
        except TimeoutError:
            raise TimeoutError(f"job {job_id} is not final after {timeout} s") from None
        return await self._do(self._calls.results(job_id))

    async def follow(self, job_ids: str | Sequence[str], *, results: bool = False) -> AsyncGenerator[dict[str, Any]]:
        """The states of jobs as they happen, until all are final: ``{"job_id", "job_status", "updated_at", ...}``.

        The present state of each comes first. A stream that breaks is taken up again where it ended. `results` as for
        `qfast.client.Client.follow`.

        Raises
        ------
        qfast.errors.NotFound
            A job is unknown.
        """
        reader = EventReader([job_ids] if isinstance(job_ids, str) else job_ids)
        while reader.wanted:
            async with await self._open_stream(reader, results) as response:
                if response.status == 204:
                    return
                if response.status != 200:
                    raise self._calls.refused(response.status, await response.read())
                try:
                    async for line in _lines(response.content):
                        event = reader.feed(line)
                        if event is not None:
                            yield event
                except (aiohttp.ClientError, TimeoutError):
                    continue

    async def call(self, method: str, body: Any = None, *, params: Mapping[str, Any] | None = None) -> Any:
        """Any method of the wire; `params` replaces ``{"body": body}``."""
        return await self._do(self._calls.call(method, body, params=params))

    async def batch(self, calls: Iterable[tuple[str, Any]]) -> list[Any]:
        """Several job methods in one request; as `qfast.client.Client.batch`."""
        return await self._do(self._calls.batch(calls))

    # ------------------------------------------------------------------ carried out

    async def _do(self, work: Work[T]) -> T:
        """Carry an operation out."""
        reply = None
        try:
            while True:
                step = next(work) if reply is None else work.send(reply)
                if isinstance(step, Post):
                    reply = await self._exchange(step)
                else:
                    await asyncio.sleep(step.seconds)
                    reply = Reply()
        except StopIteration as end:
            return cast(T, end.value)

    async def _exchange(self, post: Post) -> Reply:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._calls.headers}
        for last in (False, True):
            try:
                async with self._session().post(
                    self._origin() + post.path, data=post.body, headers=headers
                ) as response:
                    return Reply(response.status, await response.read())
            except TimeoutError as error:
                raise ConnectionError(f"{self.url} gave no answer within {self.timeout:g} s") from error
            except aiohttp.ClientConnectorError as error:
                raise self._nobody(error) from None
            except aiohttp.ClientError as error:
                if last:
                    raise ConnectionError(f"{self.url} closed the connection without an answer") from error
        raise AssertionError("unreachable")

    async def _open_stream(self, reader: EventReader, results: bool) -> aiohttp.ClientResponse:
        url = self._origin() + self._calls.events_path(reader.wanted, results)
        patience = aiohttp.ClientTimeout(total=None, sock_connect=self.timeout, sock_read=self.timeout + HEARTBEAT)
        try:
            return await self._session().get(url, headers=reader.headers() | self._calls.headers, timeout=patience)
        except aiohttp.ClientConnectorError as error:
            raise self._nobody(error) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"{self.url} does not open a stream of events ({error})") from error

    def _nobody(self, error: aiohttp.ClientConnectorError) -> ConnectionError:
        why = error.strerror or str(error)
        return ConnectionError(f"no qfast server answers at {self.url} ({why}); start one with `qfast serve`")

    def _origin(self) -> str:
        return f"{self._calls.parts.scheme}://{self._calls.parts.netloc}"

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.timeout, sock_read=self.timeout),
            )
        return self._http


class _Watch:
    """All waits of a client, told by few event streams of many jobs each."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._fresh: set[str] = set()  # not in a stream yet
        self._streams: dict[asyncio.Task[None], set[str]] = {}
        self._opening = False

    async def until_final(self, job_id: str) -> None:
        """Come back when the job is final."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        group = self._waiting.setdefault(job_id, set())
        if not group:
            self._fresh.add(job_id)
            if not self._opening:
                self._opening = True
                loop.call_soon(self._open)  # so that many waits that begin together share a stream
        group.add(future)
        try:
            await future
        finally:
            group.discard(future)
            if not group and self._waiting.get(job_id) is group:
                del self._waiting[job_id]
                self._fresh.discard(job_id)

    def close(self) -> None:
        """End the streams and whoever waits."""
        for stream in self._streams:
            stream.cancel()
        self._streams.clear()
        for job_id in list(self._waiting):
            self._tell(job_id, ConnectionError("the client was closed"))

    def _open(self) -> None:
        self._opening = False
        partial = {stream for stream, job_ids in self._streams.items() if len(job_ids) < MAX_FOLLOWED}
        if len(partial) >= MAX_STREAMS:  # make one of them
            for stream in partial:
                self._fresh |= self._streams.pop(stream)
                stream.cancel()
        wanted = [job_id for job_id in self._fresh if job_id in self._waiting]
        self._fresh.clear()
        for start in range(0, len(wanted), MAX_FOLLOWED):
            job_ids = set(wanted[start : start + MAX_FOLLOWED])
            self._streams[asyncio.create_task(self._read(job_ids))] = job_ids

    async def _read(self, job_ids: set[str]) -> None:
        try:
            async for event in self._client.follow(tuple(job_ids)):
                if event["job_status"] in FINAL:
                    self._tell(event["job_id"])
        except NotFound:
            await self._one_by_one(job_ids)
        except QfastError as error:
            for job_id in job_ids:
                self._tell(job_id, error)
        finally:
            self._streams.pop(cast("asyncio.Task[None]", asyncio.current_task()), None)

    async def _one_by_one(self, job_ids: Iterable[str]) -> None:
        """One of them is unknown: the others wait on."""

        async def ask(job_id: str) -> None:
            try:
                job = await self._client.get_job_status(job_id)
            except QfastError as error:
                self._tell(job_id, error)
            else:
                if job["job_status"] in FINAL:
                    self._tell(job_id)
                elif job_id in self._waiting:
                    self._fresh.add(job_id)

        await asyncio.gather(*map(ask, job_ids))
        self._open()

    def _tell(self, job_id: str, error: QfastError | None = None) -> None:
        for future in self._waiting.pop(job_id, ()):
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """The lines of a stream, however long they are: those of aiohttp end at 128 KiB, which a result may exceed."""
    parts: list[bytes] = []
    async for piece in content.iter_any():
        *lines, rest = piece.split(b"\n")
        for line in lines:
            yield b"".join([*parts, line])
            parts.clear()
        if rest:
            parts.append(rest)
