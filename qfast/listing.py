"""From the filters of get_jobs to the store's query."""

from __future__ import annotations

from datetime import UTC, datetime

from qfast import wire
from qfast.job import JobQuery, JobStatus
from qfast.params import refuse


def read_filters(filters: wire.JobFilters, before_seq: int | None) -> JobQuery:
    """The store's query for these filters; raises InvalidParams for a wrong date."""
    states = filters.job_status
    if states is not None:
        states = [states] if isinstance(states, str) else states
    return JobQuery(
        job_ids=None if filters.job_ids is None else tuple(dict.fromkeys(filters.job_ids)),
        job_status=None if states is None else tuple(JobStatus(state) for state in states),
        backend=filters.backend,
        code_type=filters.code_type.lower() if filters.code_type else None,
        job_type=filters.job_type,
        job_name=filters.job_name,
        tags=None if filters.tags is None else tuple(filters.tags),
        priority=filters.job_priority,
        session_id=filters.session_id,
        created_after=_timestamp("created_after", filters.created_after),
        created_before=_timestamp("created_before", filters.created_before),
        before_seq=before_seq,
        limit=1000 if filters.limit is None else filters.limit,
    )


def _timestamp(field: str, text: str | None) -> float | None:
    """Seconds since the epoch of a date, which is UTC unless it names an offset."""
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        rule = "is not a date like 2025-07-15T14:58:55.283302"
        error = refuse(field, text, rule)
        error.errors[0]["loc"] = ["filters", field]
        raise error from None
