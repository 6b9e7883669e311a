"""What the calls take: one struct per method, used to decode, to validate and to describe (OpenRPC).

Every optional field may be null, which means its default. ``Meta.description`` is the rule as an error message prints it:
``job_priority: 11 is not in 1..10``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

UUID4 = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?!\n)$"

JobId = Annotated[str, Meta(pattern=UUID4, description="a UUID version 4 in lower-case canonical form")]
JobName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}(?!\n)$", description="1 to 64 characters of A-Z a-z 0-9 . _ -")
]
Description = Annotated[str, Meta(max_length=255, description="a text of up to 255 characters")]
Priority = Annotated[int, Meta(ge=1, le=10, description="in 1..10")]
Shots = Annotated[int, Meta(ge=1, le=10_000_000, description="in 1..10000000")]
Level = Annotated[int, Meta(ge=0, le=9, description="in 0..9")]
Tag = Annotated[str, Meta(min_length=1, max_length=64, description="a text of 1 to 64 characters")]
Tags = Annotated[list[Tag], Meta(max_length=32, description="a list of up to 32 texts of 1 to 64 characters")]
Name = Annotated[str, Meta(min_length=1, max_length=255, description="a name of 1 to 255 characters")]
Seconds = Annotated[float, Meta(gt=0, le=604_800, description="a number of seconds above 0, at most 604800")]
JobIds = Annotated[list[JobId], Meta(max_length=100_000, description="a list of UUIDs version 4")]
Options = Annotated[dict[str, Any], Meta(description="an object of options")]
Profiling = Annotated[
    list[Literal["all", "code", "queuing", "scheduling", "driver:parse", "driver:transpile", "driver:run"],],
    Meta(
        max_length=16,
        description="a list of all, code, queuing, scheduling, driver:parse, driver:transpile, driver:run",
    ),
]
Status = Literal["UNKNOWN", "QUEUED", "RUNNING", "CANCELLING", "COMPLETED", "FAILED", "CANCELLED", "DELETED"]
DeliveryState = Literal["owed", "delivered", "given_up"]
WebhookId = Annotated[
    str, Meta(pattern=r"^msg_[0-9a-f]{32}_[0-9]{1,2}(?!\n)$", description="the webhook-id of a delivery")
]
WebhookIds = Annotated[list[WebhookId], Meta(max_length=1000, description="a list of up to 1000 webhook-ids")]
Date = Annotated[
    str, Meta(max_length=40, description="a date like 2025-07-15T14:58:55.283302, in UTC unless it names an offset")
]
Aggregation = Annotated[
    Literal["None", "internal", "external", ""], Meta(description='null, "None", "internal" or "external"')
]


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Base of all call parameters: unknown fields are refused."""


class SubmitBody(Strict):
    """submit_job: one job of one or several sources."""

    source_code: Raw
    job_id: JobId | None = None
    job_name: JobName | None = None
    code_type: Annotated[str, Meta(description="qasm, qasm2, qasm3 or qubo")] | None = None
    description: Description | None = None
    backend: Name | None = None
    transpiler: Name | None = None
    transpiler_info: Options | None = None
    transpiler_options: Options | None = None
    driver_options: Options | None = None
    enable_circuit_aggregation: Annotated[bool, Meta(description="true or false")] | None = None
    circuit_aggregation: Aggregation | None = None
    job_type: Annotated[Literal["", "sampling", "estimation"], Meta(description="sampling or estimation")] | None = None
    observables: Any = None
    parameters: Any = None
    job_priority: Priority | None = None
    shots: Shots | None = None
    profiling: Profiling | None = None
    dry_run: Annotated[bool, Meta(description="true or false")] | None = None
    callbacks: Any = None
    tags: Tags | None = None
    session_id: JobId | None = None
    max_execution_time: Seconds | None = None
    code_compression_level: Level | None = None
    code_compress_level: Level | None = None
    # fields that only published clients send
    qec_options: Any = None
    qem_options: Any = None
    flavor_id: Any = None
    extra_specs: Any = None


class JobBody(Strict):
    """get_job_status and get_job_results."""

    job_id: JobId


class WaitBody(Strict):
    """wait_job: answers when the job is final or the timeout is over."""

    job_id: JobId
    timeout: Annotated[float, Meta(ge=0, le=60, description="a number of seconds in 0..60")] | None = None


class JobFilters(Strict):
    """get_jobs: what must hold of a job to be listed."""

    job_ids: JobIds | None = None
    job_status: Annotated[Status | list[Status], Meta(description="a job status or a list of them")] | None = None
    backend: Name | None = None
    code_type: Annotated[str, Meta(description="qasm, qasm2, qasm3 or qubo")] | None = None
    job_type: Annotated[Literal["sampling", "estimation"], Meta(description="sampling or estimation")] | None = None
    job_name: JobName | None = None
    tags: Tags | None = None
    job_priority: Priority | None = None
    session_id: JobId | None = None
    created_after: Date | None = None
    created_before: Date | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000, description="in 1..10000")] | None = None
    before: JobId | None = None
    all_projects: Annotated[bool, Meta(description="true or false")] | None = None
    all_users: Annotated[bool, Meta(description="true or false")] | None = None
    project_id: Any = None
    user_id: Any = None


class CallbackFilters(Strict):
    """get_callbacks: what must hold of a delivery to be listed."""

    job_ids: JobIds | None = None
    webhook_ids: WebhookIds | None = None
    state: (
        Annotated[
            DeliveryState | list[DeliveryState], Meta(description="owed, delivered or given_up, or a list of them")
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=10_000, description="in 1..10000")] | None = None
    before: WebhookId | None = None


class ReplayBody(Strict):
    """replay_callbacks: of jobs those that were not delivered, or all of them; named ones in any case."""

    webhook_ids: WebhookIds | None = None
    job_ids: (
        Annotated[list[JobId], Meta(max_length=1000, description="a list of up to 1000 UUIDs version 4")] | None
    ) = None
    delivered: Annotated[bool, Meta(description="true or false")] | None = None


class JobIdsBody(Strict):
    """cancel_jobs and delete_jobs."""

    job_ids: JobIds
    force: Annotated[bool, Meta(description="true or false")] | None = None


class SetResultsBody(Strict):
    """set_job_results: results from outside, one per source."""

    job_id: JobId
    results: Annotated[list[dict[str, Any]], Meta(max_length=10_000, description="a list of result objects")]


class UpdateBody(Strict):
    """update_job: only while the job is QUEUED."""

    job_id: JobId
    job_priority: Priority | None = None
    job_name: JobName | None = None
    description: Description | None = None


class NameBody(Strict):
    """get_device, get_driver, get_transpiler."""

    name: Name
    details: Annotated[bool, Meta(description="true or false")] | None = None


class DetailsBody(Strict):
    """version and the lists of devices, drivers and transpilers."""

    details: Annotated[bool, Meta(description="true or false")] | None = None


class DeviceBody(Strict):
    """update_device: take a device offline, so that it is drained, or back online."""

    name: Name
    status: Annotated[Literal["online", "offline", "maintain"], Meta(description="online, offline or maintain")]


class PingBody(Strict):
    """ping."""

    message: Annotated[str, Meta(max_length=1000, description="a text of up to 1000 characters")] | None = None


class EmptyBody(Strict):
    """A method that takes nothing."""


class OpenSessionBody(Strict):
    """open_session."""

    backend: Name
    max_time: Any = None
    mode: Annotated[Literal["dedicated", "batch"], Meta(description="dedicated or batch")] | None = None


class SessionBody(Strict):
    """get_session, close_session, cancel_session."""

    session_id: JobId


class SessionFilters(Strict):
    """get_sessions."""

    backend: Name | None = None
    state: Annotated[Literal["open", "active", "inactive", "closed"], Meta(description="a session state")] | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000, description="in 1..10000")] | None = None


class Method(msgspec.Struct, frozen=True):
    """One method of the contract."""

    name: str
    group: str  # the URI group: /v1/<group>; "version" is /version
    body: type[Strict]
    summary: str
    filters: type[Strict] | None = None
    body_required: bool = False
    together: bool = False  # consecutive calls of a batch run at the same time, to share one commit


METHODS = {
    method.name: method
    for method in (
        Method("submit_job", "job", SubmitBody, "Submit a job.", body_required=True, together=True),
        Method("get_job_status", "job", JobBody, "The state of a job, without its source.", body_required=True),
        Method("get_job_results", "job", JobBody, "A job with its source and results.", body_required=True),
        Method("wait_job", "job", WaitBody, "The state of a job once it is final.", body_required=True, together=True),
        Method("get_jobs", "job", EmptyBody, "List jobs, newest first.", filters=JobFilters),
        Method("cancel_jobs", "job", JobIdsBody, "Cancel jobs; lists those that were.", body_required=True),
        Method("delete_jobs", "job", JobIdsBody, "Delete jobs; lists those that were.", body_required=True),
        Method("set_job_results", "job", SetResultsBody, "Bring the results of a job.", body_required=True),
        Method("update_job", "job", UpdateBody, "Change a queued job.", body_required=True),
        Method("get_callbacks", "job", EmptyBody, "List deliveries, newest job first.", filters=CallbackFilters),
        Method("replay_callbacks", "job", ReplayBody, "Deliver once more.", body_required=True),
        Method("open_session", "session", OpenSessionBody, "Open a session on a backend.", body_required=True),
        Method("get_session", "session", SessionBody, "One session.", body_required=True),
        Method("get_sessions", "session", EmptyBody, "List sessions.", filters=SessionFilters),
        Method(
            "close_session", "session", SessionBody, "Take no more jobs, finish those there are.", body_required=True
        ),
        Method(
            "cancel_session", "session", SessionBody, "Close a session, cancel its queued jobs.", body_required=True
        ),
        Method("close_sessions", "session", EmptyBody, "Close every session."),
        Method("get_devices", "device", DetailsBody, "Every device by name."),
        Method("get_device", "device", NameBody, "One device.", body_required=True),
        Method("update_device", "device", DeviceBody, "Take a device offline or online.", body_required=True),
        Method("get_drivers", "driver", DetailsBody, "Every driver by name."),
        Method("get_driver", "driver", NameBody, "One driver.", body_required=True),
        Method("get_transpilers", "transpiler", DetailsBody, "Every transpiler by name."),
        Method("get_transpiler", "transpiler", NameBody, "One transpiler.", body_required=True),
        Method("ping", "system", PingBody, "Echo a message."),
        Method("system_info", "system", EmptyBody, "Counters of this server."),
        Method("version", "version", DetailsBody, "Versions and capabilities."),
    )
}
