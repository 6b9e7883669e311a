"""The verbs of the job group: what each call means for the live jobs and the store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from qfast import wire
from qfast.access import only_tenant, sees
from qfast.beside import promptly
from qfast.errors import Conflict, InvalidParams, TooMany, Unavailable
from qfast.job import FINAL, JobQuery, JobRecord, JobStatus
from qfast.jobs import Jobs
from qfast.listing import read_filters
from qfast.live import KEPT_SOURCE, Job
from qfast.matrices import QuboProblem, parse_sources
from qfast.outside import read_results, same_results
from qfast.params import fault, refuse
from qfast.plugins import Device, Driver
from qfast.session_queue import visible_session
from qfast.submission import Limits, Submission, check_takes_jobs, count_rows, read_submission
from qfast.views import array, results_view, status_view, submit_view

LARGE_SOURCE = 256 << 10  # bytes; longer ones are read and checked outside the loop's thread
MAX_QUEUED = 1_000_000  # jobs that wait or run
MAX_WAITS = 2_000  # calls of wait_job at a time: half of the calls that are answered, so that others find a place


class Service:
    """The verbs of the job group.

    Parameters
    ----------
    jobs : Jobs
    check_callbacks : callable
        Validates the `callbacks` field; raises InvalidParams.
    limits : Limits
    max_queued : int
        Live jobs beyond which submits are answered -503.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        check_callbacks: Callable[[Any], list[dict[str, Any]]],
        limits: Limits | None = None,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self.jobs = jobs
        self.store = jobs.store
        self.backends = jobs.backends
        self._check_callbacks = check_callbacks
        self._limits = limits or Limits()
        self._max_queued = max_queued
        self._waits = 0

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """Method name to verb."""
        return {
            "submit_job": self.submit_job,
            "get_job_status": self.get_job_status,
            "get_job_results": self.get_job_results,
            "wait_job": self.wait_job,
            "get_jobs": self.get_jobs,
            "cancel_jobs": self.cancel_jobs,
            "delete_jobs": self.delete_jobs,
            "set_job_results": self.set_job_results,
            "update_job": self.update_job,
        }

    def _device_of(self, name: str) -> tuple[Device, Driver]:
        backend = self.jobs.find_backend(name)
        return backend.device, backend.driver

    async def submit_job(self, body: wire.SubmitBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """Store a job and queue it; answers once it is durable. The same id with the same payload is the same job."""
        self._refuse_when_busy()
        job_id = self._wanted_id(body, caller)
        if body.session_id is not None:
            await self._take_sessions_backend(body, body.session_id, caller)
        await self._check_quota(caller)
        if memoryview(body.source_code).nbytes > LARGE_SOURCE:
            submission, problems = await asyncio.get_running_loop().run_in_executor(None, self._read, body)
        else:
            submission, problems = self._read(body)
        while job_id is not None:
            earlier = await self._earlier(job_id, submission.digest, caller)
            if earlier is not None:
                return earlier
            if job_id not in self.jobs.by_id:  # another submit of this id may have come while the store was asked
                break
        check_takes_jobs(self.backends[submission.backend].device)
        job = self._new_job(job_id or str(uuid.uuid4()), submission, caller.get("tenant", ""))
        if job.source is None and problems is not None and job.record.seq:  # of several nodes any may run it
            self.jobs.parsed.put(job.record.seq, problems)
        job.durable = asyncio.ensure_future(self.jobs.admit(job, submission.source, submission.level))
        try:
            return await asyncio.shield(job.durable)  # a caller that goes away does not stop a job on its way
        except Conflict:  # another node has stored this id in the meantime
            earlier = None if job_id is None else await self._earlier(job_id, submission.digest, caller)
            if earlier is None:
                raise
            return earlier

    async def _find(self, job_id: str, caller: Mapping[str, str]) -> tuple[JobRecord, Job | None]:
        """A job that exists for the caller; raises NotFound."""
        record, job = await self.jobs.find(job_id)
        if not sees(caller, record.tenant):
            raise self.jobs.unknown(job_id)
        return record, job

    async def _own(self, job_ids: Iterable[str], caller: Mapping[str, str]) -> dict[str, None]:
        """Those of the jobs that exist for the caller, once each."""
        known = dict.fromkeys(job_ids)
        tenant = only_tenant(caller)
        if tenant is None or not known:
            return known
        query = JobQuery(job_ids=tuple(known), tenant=tenant, limit=len(known))
        own = {record.job_id for record, _ in await self.jobs.listed(query)}
        return {job_id: None for job_id in known if job_id in own}

    async def _check_quota(self, caller: Mapping[str, str]) -> None:
        if "max_live" not in caller:
            return
        most = int(caller["max_live"])
        if await self.jobs.live_of(caller["tenant"], most) >= most:
            text = f"{most} jobs of {caller['tenant']} wait or run, the most that the key {caller['key']} allows"
            raise TooMany(text, extra={"retry_after": 1})

    async def _take_sessions_backend(self, body: wire.SubmitBody, session_id: str, caller: Mapping[str, str]) -> None:
        """A session's jobs go to its backend."""
        await visible_session(self.jobs, session_id, caller)
        name = await self.jobs.backend_of_session(session_id)
        if body.backend not in (None, name):
            raise refuse("backend", body.backend, f"is not {name!r}, the backend of the session")
        body.backend = name

    def _refuse_when_busy(self) -> None:
        if self.jobs.draining:
            raise Unavailable("the server is stopping and takes no jobs", extra={"retry_after": 5})
        if (count := self.jobs.live_count()) >= self._max_queued:
            text = f"the queue is full: {count} jobs wait, at most {self._max_queued}"
            raise Unavailable(text, extra={"retry_after": 5})

    @staticmethod
    def _wanted_id(body: wire.SubmitBody, caller: Mapping[str, str]) -> str | None:
        key = caller.get("idempotency-key")
        if key is None:
            return body.job_id
        try:
            canonical = str(uuid.UUID(key)) == key and uuid.UUID(key).version == 4
        except ValueError:
            canonical = False
        if not canonical:
            raise refuse("Idempotency-Key", key, "is not a UUID version 4 in lower-case canonical form")
        if body.job_id not in (None, key):
            raise refuse(
                "job_id", body.job_id, "differs from the header Idempotency-Key, another name of the same field"
            )
        return key

    def _read(self, body: wire.SubmitBody) -> tuple[Submission, list[QuboProblem] | None]:
        """What was asked for, and its matrices; raises InvalidParams, NotFound, Conflict."""
        submission = read_submission(body, self._device_of, self._check_callbacks, self._limits)
        return submission, parse_sources(submission.source) if submission.code_type == "qubo" else None

    async def _earlier(self, job_id: str, digest: bytes, caller: Mapping[str, str]) -> bytes | None:
        """The answer for a repeated submit, None for a new one; raises Conflict for another payload."""
        found = await self.jobs.earlier(job_id)
        if found is None:
            if await self.store.taken(job_id, self.jobs.now()):
                raise Conflict(f"job_id: the job {job_id!r} was deleted; its id is free again after 24 hours")
            return None
        record, source = found
        if record.digest != digest or not sees(caller, record.tenant):
            raise Conflict(f"job_id: {job_id!r} exists with another payload", hint="give every new job a new id")
        return submit_view(record, source or await self.store.source(record.seq) or b"[]")

    def _new_job(self, job_id: str, submission: Submission, tenant: str) -> Job:
        now = self.jobs.now()
        record = JobRecord(
            seq=0,
            job_id=job_id,
            digest=submission.digest,
            backend=submission.backend,
            code_type=submission.code_type,
            job_type=submission.job_type,
            job_name=submission.job_name,
            session_id=submission.session_id,
            tags=submission.tags,
            priority=submission.priority,
            status=JobStatus.QUEUED,
            spec=submission.spec,
            created_at=now,
            updated_at=now,
            tenant=tenant,
        )
        job = Job(record, submission.source if len(submission.source) <= KEPT_SOURCE else None)
        self.jobs.number_and_keep(job)
        return job

    async def _view(self, record: JobRecord, job: Job | None) -> bytes:
        position = await self.jobs.position(record, job) if record.status == JobStatus.QUEUED else None
        return status_view(record, 0 if job is None else job.progress, position)

    async def get_job_status(self, body: wire.JobBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """The state of a job."""
        known = self.jobs.recent.get(body.job_id)
        if known is not None and sees(caller, known[0].tenant):
            return known[1]
        return await self._view(*await self._find(body.job_id, caller))

    async def get_job_results(self, body: wire.JobBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """A job with its source and its results."""
        record, job = await self._find(body.job_id, caller)
        source = (job.source if job is not None else None) or await self.store.source(record.seq) or b"[]"
        results = await self.store.results(record.seq) if record.status in FINAL else None
        return results_view(record, job.progress if job else 0, source, results)

    async def wait_job(self, body: wire.WaitBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """The state of a job once it is final or the timeout is over."""
        timeout = 30.0 if body.timeout is None else body.timeout
        if only_tenant(caller) is not None:
            await self._find(body.job_id, caller)
        if self._waits >= MAX_WAITS:
            raise TooMany(f"{self._waits} calls wait for jobs, the most at a time", extra={"retry_after": 1})
        self._waits += 1
        try:
            return await self._view(*await self.jobs.wait(body.job_id, timeout))
        finally:
            self._waits -= 1

    async def get_jobs(self, _body: Any, filters: wire.JobFilters | None, caller: Mapping[str, str]) -> bytes:
        """List jobs, newest first."""
        wanted_filters = filters or wire.JobFilters()
        before = wanted_filters.before
        query = read_filters(wanted_filters, (await self._find(before, caller))[0].seq if before is not None else None)
        query.tenant = only_tenant(caller)
        listed = await self.jobs.listed(query)
        return array([status_view(record, 0 if job is None else job.progress) for record, job in listed])

    async def cancel_jobs(self, body: wire.JobIdsBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """Cancel queued jobs, with force also running ones; lists those that are or will be CANCELLED."""
        listed = await promptly(self.jobs.cancel(await self._own(body.job_ids, caller), force=bool(body.force)))
        return orjson.dumps([{"job_id": record.job_id, "job_status": record.status} for record in listed])

    async def delete_jobs(self, body: wire.JobIdsBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """Delete every job that is not running, with force also running ones; lists those that are gone."""
        gone = await self.jobs.delete(await self._own(body.job_ids, caller), force=bool(body.force))
        return orjson.dumps([{"job_id": job_id, "job_status": JobStatus.DELETED} for job_id in gone])

    async def set_job_results(self, body: wire.SetResultsBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """Bring the results of a job that runs outside; the first ones win, the same again is fine."""
        record, job = await self._find(body.job_id, caller)
        source = (job.source if job is not None else None) or await self.store.source(record.seq) or b"[]"
        count = count_rows(record.spec, source)
        end = read_results(body.results, count)
        backend = self.backends.get(record.backend)
        if backend is not None and backend.asynchronous:
            record, taken = await self.jobs.bring(record, job, end)
            stored = await self.store.results(record.seq) if record.status in FINAL and not taken else None
            if taken or (stored is not None and same_results(orjson.loads(stored), end[0])):
                return self._set_answer(record)
        text = f"Job: '{body.job_id}' is not in RUNNING state on an asynchronous backend. Can't set_job_results"
        raise Conflict(text, hint=f"it is {record.status} on backend {record.backend!r}")

    @staticmethod
    def _set_answer(record: JobRecord) -> bytes:
        return orjson.dumps({"job_id": record.job_id, "backend": record.backend, "job_status": record.status})

    async def update_job(self, body: wire.UpdateBody, _filters: None, caller: Mapping[str, str]) -> bytes:
        """Change a queued job; its place in time stays."""
        record, job = await self._find(body.job_id, caller)
        wanted = (body.job_priority, body.job_name, body.description)
        if record.status == JobStatus.QUEUED and wanted == (None, None, None):
            text = "update_job: nothing to change: give job_priority, job_name or description"
            raise InvalidParams(text, errors=[fault(("body",), text, None, "missing")])
        spec = None
        if body.description is not None:
            spec = orjson.dumps({**orjson.loads(record.spec), "description": body.description})
        updated = await self.jobs.update(record, job, priority=body.job_priority, name=body.job_name, spec=spec)
        if updated is None:
            raise Conflict(
                f"Job: '{body.job_id}' is not in QUEUED state. Can't update_job", hint=f"it is {record.status}"
            )
        return submit_view(updated, (job and job.source) or await self.store.source(record.seq) or b"[]")
