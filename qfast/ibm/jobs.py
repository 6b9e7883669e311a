"""Jobs as IBM's client sees them, on the records and verbs of all jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import orjson

from qfast import wire
from qfast.access import only_tenant, sees
from qfast.beside import shielded
from qfast.errors import TimeLimitError
from qfast.ibm.errors import Refusal
from qfast.ibm.programs import MARK, JobBody, Tags, submission_of
from qfast.ibm.requests import NOTHING, Reply, Request, Route, json_reply
from qfast.ibm.results import result_bytes
from qfast.ibm.retries import Attempts
from qfast.job import FINAL, Change, JobQuery, JobRecord, JobStatus, utc_text
from qfast.jobs import Jobs
from qfast.live import Job
from qfast.views import status_view

ID = r"/jobs/(?P<job_id>[^/]{1,64})"
HOLD = 1.0  # seconds that a question for the state of a job is held until the job is final
TIME_IS_OVER = 1305  # the client's reason code of a job that took too long
MAX_LISTED = 200
RESOLUTION = 1e-6  # seconds of a date on the wire: a job is within bounds that it showed itself
TAKEN = b"[]"  # in place of the results of a private job that were given
TRIES = 5  # of a change that meets a change of state
PENDING = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING)
ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)

# the client takes any other word for a state that is not final
STATES = {
    JobStatus.QUEUED: "Queued",
    JobStatus.RUNNING: "Running",
    JobStatus.CANCELLING: "Running",
    JobStatus.COMPLETED: "Completed",
    JobStatus.FAILED: "Failed",
    JobStatus.CANCELLED: "Cancelled",
}


class TagsBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``PUT /jobs/ID/tags``."""

    tags: Tags


class _RawBody(JobBody, kw_only=True):
    params: msgspec.Raw  # type: ignore[assignment]


def stamp(time: float | None) -> str | None:
    """A date with its zone."""
    text = utc_text(time)
    return None if text is None else text + "Z"


class JobRoutes:
    """Submit, look at, list, change and delete.

    Parameters
    ----------
    jobs : Jobs
    hold : float
        Seconds; 0 answers at once.
    """

    def __init__(self, jobs: Jobs, hold: float = HOLD) -> None:
        self._jobs, self._hold = jobs, hold
        self._attempts = Attempts()
        self._taking = asyncio.Lock()

    def routes(self) -> list[Route]:
        """The paths."""
        return [
            ("POST", "/jobs", self.submit),
            ("GET", "/jobs", self.list),
            ("GET", ID, self.show),
            ("DELETE", ID, self.delete),
            ("GET", ID + "/results", self.results),
            ("POST", ID + "/cancel", self.cancel),
            ("PUT", ID + "/tags", self.change_tags),
            ("GET", ID + "/metrics", self.metrics),
            ("GET", ID + "/logs", self.logs),
        ]

    async def submit(self, request: Request) -> Reply:
        """Store a job; a repetition of a submit whose answer got lost is the same job."""
        key = Attempts.key(request.caller.get("key", ""), request.body)
        attempt = self._attempts.begin(key, lambda: self._submitted(request))
        gone = asyncio.ensure_future(request.gone())
        try:
            await asyncio.wait((attempt.task, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                self._attempts.lose(key, attempt)
            return Reply(200, await asyncio.shield(attempt.task))
        except asyncio.CancelledError:
            self._attempts.lose(key, attempt)
            raise
        finally:
            gone.cancel()

    async def _submitted(self, request: Request) -> bytes:
        raw = request.decoded(_RawBody)
        fields = {name: getattr(raw, name) for name in raw.__struct_fields__}
        params = bytes(raw.params)
        body = JobBody(**{**fields, "params": _object(params)})
        submit = await asyncio.get_running_loop().run_in_executor(None, submission_of, body, params)
        stored = orjson.loads(await request.call("submit_job", submit))
        answer = {"id": stored["job_id"], "backend": stored["backend"], "session_id": stored["session_id"]}
        return orjson.dumps({**answer, "private": body.private, "tags": body.tags or []})

    async def _find(self, request: Request, job_id: str, hold: float = 0.0) -> tuple[JobRecord, Job | None]:
        """A job of this interface that exists for the caller, once it is final or the time is over."""
        record, job = await self._jobs.find(job_id)
        if not sees(request.caller, record.tenant) or MARK not in record.tags:
            raise self._jobs.unknown(job_id)
        if hold and record.status not in FINAL:
            record, job = await self._jobs.wait(job_id, hold)
        return record, job

    async def _rows(self, record: JobRecord) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = orjson.loads(await self._jobs.store.results(record.seq) or b"[]")
        return rows

    async def show(self, request: Request, job_id: str) -> Reply:
        """The state of a job, held while it is not final; without ``exclude_params`` its inputs too, at once."""
        brief = request.query("exclude_params").get("exclude_params") == ["true"]
        record, _ = await self._find(request, job_id, self._hold if brief else 0.0)
        await request.call("get_job_status", None)
        shown = view(record)
        if record.status == JobStatus.FAILED:
            shown["state"] |= failure(await self._rows(record))
        if not brief and not shown["private"]:
            shown["params"] = _kept(record)["params"]
        return json_reply(shown)

    async def list(self, request: Request) -> Reply:
        """A page of the jobs and how many there are in all."""
        query, skip, limit, ascending = _read_query(request)
        await request.call("get_jobs", None)
        query.tenant = only_tenant(request.caller)
        count = await self._jobs.store.count(query)
        query.limit = skip + limit if not ascending else max(count - skip, 0)
        records = [record for record, _ in await self._jobs.listed(query)] if query.limit else []
        page = records[skip : skip + limit] if not ascending else records[::-1][:limit]
        if len(page) < limit:  # a job may have ended between the two questions
            count = skip + len(page)
        return json_reply({"jobs": [view(record) for record in page], "count": count, "limit": limit, "offset": skip})

    async def delete(self, request: Request, job_id: str) -> Reply:
        """Delete a job, cancelling it first where it runs."""
        await self._find(request, job_id)
        await request.call("delete_jobs", wire.JobIdsBody(job_ids=[job_id], force=True))
        return NOTHING

    async def cancel(self, request: Request, job_id: str) -> Reply:
        """Cancel a job that is queued or runs; 409 when it is final."""
        await self._find(request, job_id)
        listed = await request.call("cancel_jobs", wire.JobIdsBody(job_ids=[job_id], force=True))
        if orjson.loads(listed):
            return NOTHING
        record, _ = await self._find(request, job_id)
        raise Refusal(409, f"Job {job_id} cannot be cancelled: it is {STATES[record.status]}")

    async def results(self, request: Request, job_id: str) -> Reply:
        """The result of a completed job, the error text of a failed one; nothing yet, or ever, of others."""
        record, _ = await self._find(request, job_id)
        await request.call("get_job_results", None)
        if record.status == JobStatus.FAILED:
            return Reply(200, failure(await self._rows(record))["reason"].encode(), b"text/plain; charset=utf-8")
        if record.status != JobStatus.COMPLETED:
            return NOTHING
        text = await self._jobs.store.results(record.seq) or TAKEN
        if text == TAKEN:
            return NOTHING
        answer = await asyncio.get_running_loop().run_in_executor(None, _result, record, text)
        if view(record)["private"] and not await self._take_results(record):
            return NOTHING
        return Reply(200, answer)

    async def _take_results(self, record: JobRecord) -> bool:
        """Results of a private job are given once: let them go; tells whether nobody was faster."""
        async with self._taking:
            if await self._jobs.store.results(record.seq) == TAKEN:
                return False
            return await self._change(record, results=TAKEN)

    async def change_tags(self, request: Request, job_id: str) -> Reply:
        """Give a job other tags."""
        wanted = request.decoded(TagsBody).tags
        await request.call("update_job", None)
        for _ in range(TRIES):
            record, _ = await self._find(request, job_id)
            if await self._retag(record, (MARK, *dict.fromkeys(wanted))):
                return NOTHING
        raise Refusal(409, f"Job {job_id} changes all the time; its tags stay as they were")

    async def _retag(self, record: JobRecord, tags: tuple[str, ...]) -> bool:
        """Store other tags while the job stays in its state; tells whether it did."""
        spec = orjson.dumps({**orjson.loads(record.spec), "tags": tags})
        won = await self._change(record, spec=spec, tags=tags)
        if won:
            record.tags, record.spec = tags, spec
            if record.job_id in self._jobs.recent:
                self._jobs.recent[record.job_id] = (record, status_view(record))
        return won

    async def _change(self, record: JobRecord, **fields: Any) -> bool:
        """Store something else of a job while it stays in its state; tells whether it did."""
        change = Change(
            seq=record.seq,
            attempt=record.attempt,
            entered_from=(record.status,),
            status=record.status,
            at=record.updated_at,
            **fields,
        )
        return all(await shielded(self._jobs.store.apply([change])))

    async def metrics(self, request: Request, job_id: str) -> Reply:
        """When it was what, and for how long it had the device."""
        record, job = await self._find(request, job_id)
        await request.call("get_job_status", None)
        seconds = (record.ended_at or record.updated_at) - record.started_at if record.started_at else 0.0
        shown = {
            "timestamps": {
                "created": stamp(record.created_at),
                "running": stamp(record.started_at),
                "finished": stamp(record.ended_at),
            },
            "usage": {
                "quantum_seconds": seconds,
                "seconds": seconds,
                "status": "done" if record.status in FINAL else "pending",
                "qpu_charge_time_seconds": seconds,
            },
            "qiskit_version": _qiskit_version(),
            "num_qubits": [record.num_qubits] if record.num_qubits else [],
            "num_circuits": len(_kept(record)["pubs"]),
        }
        if record.status == JobStatus.QUEUED:
            shown["position_in_queue"] = await self._jobs.position(record, job)
        return json_reply(shown)

    async def logs(self, request: Request, job_id: str) -> Reply:
        """What happened, a line each."""
        record, _ = await self._find(request, job_id)
        await request.call("get_job_results", None)
        steps = (("created", record.created_at), ("started", record.started_at), ("ended", record.ended_at))
        lines = [f"{stamp(time)} {word}" for word, time in steps if time is not None]
        lines.append(f"state {STATES[record.status]}, runs begun {record.attempt}")
        if record.status == JobStatus.FAILED:
            rows = await self._rows(record)
            lines += [f"row {k}: {row['error']['message']}" for k, row in enumerate(rows) if "error" in row]
        return Reply(200, ("\n".join(lines) + "\n").encode(), b"text/plain; charset=utf-8")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Refusal(400, f"params: {error}") from None


def _kept(record: JobRecord) -> dict[str, Any]:
    kept: dict[str, Any] = orjson.loads(record.spec)["kept"]
    return kept


def _result(record: JobRecord, text: bytes) -> bytes:
    spec = orjson.loads(record.spec)
    times = (stamp(record.started_at) or "", stamp(record.ended_at) or "")
    return result_bytes(spec["kept"], spec["shots"], orjson.loads(text), times)


def view(record: JobRecord) -> dict[str, Any]:
    """A job without its inputs."""
    state = STATES[record.status]
    ran = (record.ended_at or 0.0) - record.started_at if record.started_at and record.ended_at else 0.0
    return {
        "id": record.job_id,
        "backend": record.backend,
        "status": state,
        "state": {"status": state},
        "program": {"id": record.job_name},
        "created": stamp(record.created_at),
        "ended": stamp(record.ended_at),
        "session_id": record.session_id,
        "tags": [tag for tag in record.tags if tag != MARK],
        "private": b'"private":true' in record.spec and bool(_kept(record)["private"]),
        "estimated_running_time_seconds": ran,
    }


def failure(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Why a job failed: its first error."""
    error = next((row["error"] for row in rows if "error" in row), {"code": 0, "message": "the job failed"})
    found: dict[str, Any] = {"reason": error["message"]}
    if error["code"] == TimeLimitError.code:
        found["reason_code"] = TIME_IS_OVER
    return found


def _read_query(request: Request) -> tuple[JobQuery, int, int, bool]:
    """The filters of a list, its page, and whether the oldest come first."""
    given = request.query(
        "limit", "offset", "backend", "pending", "program", "tags", "session_id", "created_after", "created_before",
        "sort", "exclude_params",
    )  # fmt: skip
    one = {name: values[-1] for name, values in given.items()}
    pending = one.get("pending")
    if pending not in (None, "true", "false"):
        raise Refusal(400, f"pending: {pending[:20]!r} is neither true nor false")
    if one.get("sort", "DESC") not in ("ASC", "DESC"):
        raise Refusal(400, f"sort: {one['sort'][:20]!r} is neither ASC nor DESC")
    after, before = _time("created_after", one), _time("created_before", one)
    query = JobQuery(
        backend=one.get("backend"),
        job_name=one.get("program"),
        session_id=one.get("session_id"),
        tags=(MARK, *given.get("tags", ())),
        job_status=None if pending is None else PENDING if pending == "true" else ENDED,
        created_after=None if after is None else after - RESOLUTION,
        created_before=None if before is None else before + RESOLUTION,
    )
    return query, _number("offset", one, 0), min(_number("limit", one, 20), MAX_LISTED), one.get("sort") == "ASC"


def _number(name: str, given: Mapping[str, str], default: int) -> int:
    text = given.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refusal(400, f"{name}: {text[:20]!r} is not a number of jobs")
    return int(text)


def _time(name: str, given: Mapping[str, str]) -> float | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Refusal(400, f"{name}: {text[:40]!r} is not a date like 2025-07-15T14:58:55Z") from None


def _qiskit_version() -> str | None:
    try:
        return version("qiskit")
    except PackageNotFoundError:
        return None
