"""From what submit_job was given to what is stored: defaults, aliases and every rule that needs the server's knowledge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from qfast import plugins
from qfast.errors import Conflict, InvalidParams, NotFound
from qfast.estimation import read_observables
from qfast.params import did_you_mean, fault, faults, plain, refuse
from qfast.plugins import Device, Driver
from qfast.wire import SubmitBody

CODE_TYPES = ("qasm", "qasm2", "qasm3", "qubo")
MAX_SOURCES = 10_000
UNPACKED = (
    1 << 20
)  # bytes; longer sources are stored as they are unless a level is asked for: deflating takes 15 ms a MB
MAX_POINTS = 100_000  # parameter sets of one job: each gives a result row
NOT_YET = "is not supported by this server"

_TEXTS = msgspec.json.Decoder(list[str])


class Submission(msgspec.Struct, kw_only=True):
    """A submit that has passed every rule.

    Attributes
    ----------
    spec : bytes
        The JSON object that is stored (job.JobRecord.spec).
    source : bytes
        The JSON array of sources.
    digest : bytes
        SHA-256 of what was asked, for telling a repeated submit from another one under the same id.
    """

    backend: str
    code_type: str
    job_type: str
    job_name: str | None
    session_id: str | None
    tags: tuple[str, ...]
    priority: int
    level: int
    spec: bytes
    source: bytes
    digest: bytes


class KeptSubmit(SubmitBody, kw_only=True):
    """A submit by another interface of this server, which keeps something of its own with the job."""

    kept: dict[str, Any]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a server allows in one job; seconds."""

    default_execution_time: float = 3600.0
    max_execution_time: float = 86_400.0


def read_submission(
    body: SubmitBody,
    find: Callable[[str], tuple[Device, Driver]],
    check_callbacks: Callable[[Any], list[dict[str, Any]]],
    limits: Limits,
) -> Submission:
    """Apply every rule of PROTOCOL section 3 that the types do not express.

    QUBO matrices are not looked at here.

    Raises
    ------
    InvalidParams, NotFound, Conflict
    """
    _refuse_unsupported(body)
    name = body.backend if body.backend is not None else "dummy"
    device, driver = find(name)
    code_type = (body.code_type or "qasm").lower()
    if code_type not in CODE_TYPES:
        raise refuse(
            "code_type",
            body.code_type,
            f"is not one of {', '.join(CODE_TYPES)}",
            hint=did_you_mean(code_type, CODE_TYPES),
        )
    if code_type not in driver.supported_code_types:
        raise refuse(
            "code_type",
            code_type,
            f"cannot be run by backend {name!r}, which takes {', '.join(driver.supported_code_types)}",
        )
    source = bytes(body.source_code)
    programs = 0 if code_type == "qubo" else _check_texts(source)
    if body.parameters is not None:
        if not getattr(driver, "takes_parameters", False):
            raise refuse("parameters", body.parameters, f"are not taken by backend {name!r}")
        check_parameters(body.parameters, programs, code_type)
    _check_estimation(body, programs, driver)
    shots = _shots(body, code_type, device)
    transpiler, options = _transpiler(body, code_type, device, driver)
    driver_options = checked_options("driver_options", body.driver_options, driver.Options)
    callbacks = check_callbacks(body.callbacks) if body.callbacks is not None else []
    aggregation = _aggregation(body, code_type, device, driver)
    level = _same(body, "code_compression_level", "code_compress_level")
    spec: dict[str, Any] = {
        "code_type": code_type,
        "job_type": body.job_type or "sampling",
        "description": body.description,
        "backend": name,
        "transpiler": transpiler,
        "transpiler_info": options,
        "transpiler_options": options,
        "driver_options": driver_options,
        "enable_circuit_aggregation": aggregation in ("internal", "external"),
        "circuit_aggregation": aggregation,
        "shots": shots,
        "profiling": body.profiling,
        "dry_run": bool(body.dry_run),
        "tags": body.tags or [],
        "session_id": body.session_id,
        "max_execution_time": _time_limit(body, limits),
        "code_compression_level": level,
    }
    for field in ("parameters", "observables"):
        if getattr(body, field) is not None:
            spec[field] = getattr(body, field)
    if callbacks:
        spec["callbacks"] = callbacks
    if isinstance(body, KeptSubmit):
        spec["kept"] = body.kept
    stored = orjson.dumps(spec)
    priority = 5 if body.job_priority is None else body.job_priority
    job_name = body.job_name or None
    identity = orjson.dumps([job_name, priority])
    return Submission(
        backend=name,
        code_type=code_type,
        job_type=spec["job_type"],
        job_name=job_name,
        session_id=body.session_id,
        tags=tuple(body.tags or ()),
        priority=priority,
        level=(1 if len(source) <= UNPACKED else 0) if level is None else level,
        spec=stored,
        source=source,
        digest=_digest(identity, stored, source),
    )


def _digest(*parts: bytes) -> bytes:
    """SHA-256 of the parts, zero bytes between them."""
    digest = hashlib.sha256()
    for place, part in enumerate(parts):
        digest.update(b"\0" if place else b"")
        digest.update(part)
    return digest.digest()


def check_takes_jobs(device: Device) -> None:
    """Raises Conflict when a device takes no new jobs; a repeated submit of one that it has is answered all the same."""
    if device.status in ("offline", "maintain", "calibrating"):
        raise Conflict(
            f"backend: {device.name!r} is {device.status} and takes no jobs",
            hint="try again later or name another backend",
        )


def _refuse_unsupported(body: SubmitBody) -> None:
    for name in ("qec_options", "qem_options", "flavor_id", "extra_specs"):
        value = getattr(body, name)
        if value not in (None, "", {}, []):
            raise refuse(name, value, NOT_YET + ": leave it out or null")


def _aggregation(body: SubmitBody, code_type: str, device: Device, driver: Driver) -> str | None:
    """Whether circuits may share programs: what was asked, or what the device does where nothing was."""
    asked, enable = body.circuit_aggregation, body.enable_circuit_aggregation
    offered = bool(getattr(driver, "packs_circuits", False))
    fitting = code_type != "qubo" and (body.job_type or "sampling") == "sampling"
    if asked is None and enable is None:
        return device.aggregation if offered and fitting else None
    if asked is not None and enable is not None and enable != (asked != "None"):
        raise refuse("circuit_aggregation", asked, f"contradicts enable_circuit_aggregation {str(enable).lower()}")
    mode = "internal" if asked is None and enable else asked
    if mode not in ("internal", "external"):
        return mode
    field = "enable_circuit_aggregation" if asked is None else "circuit_aggregation"
    value: Any = enable if asked is None else asked
    if not fitting:
        raise refuse(field, value, "is for the counts of circuits")
    if driver.results_fetch_mode == "async":
        raise refuse(
            field, value, f"is not offered by backend {device.name!r}, whose jobs are fetched from outside one by one"
        )
    if not offered:
        raise refuse(field, value, f"is not offered by backend {device.name!r}")
    return mode


def _check_texts(source: bytes) -> int:
    """The number of program texts; raises InvalidParams."""
    try:
        texts = _TEXTS.decode(source)
    except msgspec.ValidationError:
        raise _bad_texts(source) from None
    if not texts:
        raise refuse("source_code", [], "should not be empty: give a list of program texts")
    if len(texts) > MAX_SOURCES:
        raise refuse("source_code", texts, f"holds {len(texts)} programs, at most {MAX_SOURCES}")
    return len(texts)


def _check_estimation(body: SubmitBody, programs: int, driver: Driver) -> None:
    """Estimation and observables belong together, and need a driver that has them."""
    if body.job_type != "estimation":
        if body.observables is not None:
            raise refuse("observables", body.observables, "need job_type estimation")
        return
    if "estimation" not in getattr(driver, "supported_job_types", ("sampling",)):
        raise refuse("job_type", body.job_type, "is not offered by this backend; sampling is")
    if programs == 0:
        raise refuse("job_type", body.job_type, "is for circuits, not for QUBO matrices")
    if body.observables is None:
        text = "observables: are required with job_type estimation: one entry per program"
        raise InvalidParams(text, errors=[fault(("body", "observables"), text, None, "missing")])
    read_observables(body.observables, programs)


def check_parameters(value: Any, programs: int, code_type: str) -> None:
    """One entry per program: null, or a list of objects that give each `input` of the program a number.

    Raises
    ------
    InvalidParams
        With the path of the first entry that is none of these.
    """
    if code_type not in ("qasm", "qasm3"):
        raise refuse("parameters", value, "are for OpenQASM 3 programs that declare inputs")
    if not isinstance(value, list) or len(value) != programs:
        raise refuse("parameters", value, f"is not a list with one entry for each of the {programs} programs")
    points = 0
    for index, entry in enumerate(value):
        path = f"parameters.{index}"
        if entry is None:
            continue
        if not isinstance(entry, list) or not entry:
            raise refuse(path, entry, "is neither null nor a list of {name: value} objects")
        points += len(entry)
        if points > MAX_POINTS:
            raise refuse(path, len(entry), f"brings the number of parameter sets above {MAX_POINTS}")
        for place, point in enumerate(entry):
            if not isinstance(point, dict):
                raise refuse(f"{path}.{place}", point, "is not a {name: value} object")
            for name, number in point.items():
                if isinstance(number, bool) or not isinstance(number, int | float) or abs(number) > 1e300:
                    raise refuse(f"{path}.{place}.{name[:64]}", number, "is not a number")


def _bad_texts(source: bytes) -> InvalidParams:
    value = plain(source)
    rule = "is not a list of program texts"
    if isinstance(value, str):
        return refuse("source_code", value, rule, hint='put the program into a list: ["..."]', kind="type_error")
    if not isinstance(value, list):
        return refuse("source_code", value, rule, kind="type_error")
    place = next(k for k, item in enumerate(value) if not isinstance(item, str))
    hint = "matrices need code_type qubo" if isinstance(value[place], list | dict) else None
    text = f"source_code[{place}]: is not a program text"
    return InvalidParams(
        text, errors=[fault(("body", "source_code", str(place)), text, value[place], "type_error")], hint=hint
    )


def _shots(body: SubmitBody, code_type: str, device: Device) -> int:
    shots = body.shots if body.shots is not None else (1 if code_type == "qubo" else 1024)
    if shots > device.max_shots:
        raise refuse("shots", shots, f"is more than the {device.max_shots} of backend {device.name!r}")
    return shots


def _time_limit(body: SubmitBody, limits: Limits) -> float:
    if body.max_execution_time is None:
        return limits.default_execution_time
    if body.max_execution_time > limits.max_execution_time:
        raise refuse(
            "max_execution_time", body.max_execution_time, f"is more than this server's {limits.max_execution_time} s"
        )
    return body.max_execution_time


def _same(body: SubmitBody, first: str, second: str) -> Any:
    """Two names of one field: either, or both with the same value."""
    one, two = getattr(body, first), getattr(body, second)
    if one is not None and two is not None and one != two:
        raise refuse(second, two, f"differs from {first}, another name of the same field: give one of them")
    return one if one is not None else two


def _transpiler(
    body: SubmitBody, code_type: str, device: Device, driver: Driver
) -> tuple[str | None, dict[str, Any] | None]:
    options = _same(body, "transpiler_info", "transpiler_options")
    name = body.transpiler
    if name is not None and name not in plugins.usable("transpilers"):
        known = plugins.usable("transpilers")
        text = f"transpiler: {name!r} is not found; there are {', '.join(known)}"
        raise NotFound(text, errors=[fault(("body", "transpiler"), text, name)], hint=did_you_mean(name, known))
    if not driver.supported_transpilers or code_type == "qubo":
        return None, options
    if name is None:
        name = device.transpiler or driver.supported_transpilers[0]
    if name not in driver.supported_transpilers:
        raise refuse(
            "transpiler",
            name,
            f"does not work with backend {device.name!r}, which takes {', '.join(driver.supported_transpilers)}",
        )
    schema = plugins.load("transpilers", name).Options
    return name, checked_options("transpiler_options", options, schema)


def count_rows(spec: bytes, source: bytes) -> int:
    """The result rows of a job: one per source, or one per parameter set of it."""
    points = orjson.loads(spec).get("parameters") if b'"parameters":' in spec else None
    if points is None:
        return len(orjson.loads(source))
    return sum(1 if entry is None else len(entry) for entry in points)


def checked_options(part: str, options: dict[str, Any] | None, schema: type[msgspec.Struct]) -> dict[str, Any] | None:
    """The options as given once the schema takes them; raises InvalidParams naming each fault."""
    if options is None:
        return None
    try:
        msgspec.convert(options, schema)
    except msgspec.ValidationError as error:
        errors, hint = faults(schema, options, part)
        for entry in errors:
            entry["loc"].insert(0, "body")
            entry["msg"] = f"{part}.{entry['msg']}"
        text = "; ".join(entry["msg"] for entry in errors[:8]) or f"{part}: {error}"
        raise InvalidParams(text, errors=errors, hint=hint) from None
    return options
