"""How a job looks on the wire: the answers' fields put together from the stored record and spec, as bytes."""

from __future__ import annotations

from typing import Any

import orjson

from qfast.job import FINAL, JobRecord, JobStatus, utc_text

# not in states and lists: callbacks, whose headers may carry secrets, what can be long, and what is another interface's
_PRIVATE = ("callbacks", "parameters", "observables", "kept")


def dynamic_fields(record: JobRecord, progress: int) -> dict[str, Any]:
    """What changes during a job's life. Both sets of names that clients know are given."""
    created, ended = utc_text(record.created_at), utc_text(record.ended_at)
    return {
        "job_id": record.job_id,
        "job_name": record.job_name,
        "job_status": record.status,
        "job_priority": record.priority,
        "progress": 100 if record.status in FINAL else progress,
        "creation_date": created,
        "created_at": created,
        "started_at": utc_text(record.started_at),
        "updated_at": utc_text(record.updated_at),
        "end_date": ended,
        "ended_at": ended,
    }


def _splice(fields: dict[str, Any], spec: bytes) -> bytes:
    """One JSON object of both."""
    return orjson.dumps(fields)[:-1] + b"," + spec[1:]


def public_spec(spec: bytes) -> bytes:
    """The stored spec without what only the submitter sees."""
    if not any(b'"%b":' % name.encode() in spec for name in _PRIVATE):
        return spec
    fields = orjson.loads(spec)
    for name in _PRIVATE:
        fields.pop(name, None)
    return orjson.dumps(fields)


def status_view(record: JobRecord, progress: int = 0, queue_position: int | None = None) -> bytes:
    """The answer of get_job_status and one entry of get_jobs; never carries the source."""
    fields = dynamic_fields(record, progress)
    if record.status == JobStatus.QUEUED and queue_position is not None:
        fields["queue_position"] = queue_position
    return _splice(fields, public_spec(record.spec))


def submit_view(record: JobRecord, source: bytes) -> bytes:
    """The answer of submit_job and update_job: every field as stored."""
    fields = dynamic_fields(record, 0)
    if b'"callbacks":' not in record.spec:
        fields["callbacks"] = []
    return _splice(fields, record.spec)[:-1] + b',"source_code":' + source + b"}"


def results_view(record: JobRecord, progress: int, source: bytes, results: bytes | None) -> bytes:
    """The answer of get_job_results: stored source and results are spliced in as they are."""
    fields = dynamic_fields(record, progress)
    fields["num_qubits"] = record.num_qubits
    whole = _splice(fields, public_spec(record.spec))[:-1]
    return whole + b',"source_code":' + source + b',"results":' + (results or b"null") + b"}"


def array(parts: list[bytes]) -> bytes:
    """A JSON array of encoded entries."""
    return b"[" + b",".join(parts) + b"]"
