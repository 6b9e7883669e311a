"""From the body of ``POST /jobs`` to a submit: circuits are read in a worker process, options checked, pubs made sources."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from math import ceil
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta

from qfast.errors import CircuitError
from qfast.ibm.errors import Refusal, refusal_of
from qfast.ibm.options import (
    DEFAULT_PRECISION,
    DEFAULT_SHOTS,
    EstimatorOptions,
    ExecutorOptions,
    SamplerOptions,
    read_options,
)
from qfast.lanes import Lane
from qfast.submission import KeptSubmit

READER = "qiskit_qfast.runtime_programs"
READ_SECONDS = 60.0  # that reading the circuits of one submit may take
READ_MEMORY = 2 << 30  # bytes
MAX_SHOTS = 10_000_000
MAX_OUTCOMES = 256 << 20  # bytes of all shots of a job, a byte per eight bits of a register
MARK = "qiskit-ibm-runtime"  # a tag by which the jobs of this interface are found
EXECUTOR_SCHEMA = "v2.0"

Tag = Annotated[str, Meta(min_length=1, max_length=64, description="a text of 1 to 64 characters")]
Tags = Annotated[list[Tag], Meta(max_length=31, description="a list of up to 31 texts of 1 to 64 characters")]
Seconds = Annotated[float, Meta(gt=0, le=604_800, description="a number of seconds above 0, at most 604800")]


class JobBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``POST /jobs``. ``runtime`` (an image) and ``log_level`` have no meaning here and are taken."""

    program_id: str
    params: dict[str, Any]
    backend: str
    session_id: str | None = None
    tags: Tags | None = None
    cost: Seconds | None = None  # the longest time the run may take
    private: bool = False
    log_level: str | None = None
    runtime: str | None = None
    calibration_id: None = None


class _Wanted(msgspec.Struct):
    """What the parameters of a program ask for besides its circuits."""

    shots: int  # of a pub that says nothing
    precision: float | None  # likewise, of an estimator
    seed: int | None
    fixed: bool = False  # `shots` holds whatever a pub says


@cache
def reader() -> Lane:
    """The processes that read circuits; they import Qiskit when they start."""
    lane = Lane(max(1, min(4, len(os.sched_getaffinity(0)))), preload=(READER,))
    atexit.register(lane.close)
    return lane


def available() -> bool:
    """Whether Qiskit is installed for the reader."""
    return find_spec("qiskit") is not None and find_spec("qiskit_qfast") is not None


def warm() -> None:
    """Start a reader, so that the first submit need not wait for its imports."""
    if available():
        reader().call(f"{READER}:read", {"program": "sampler", "params": '{"pubs": []}'})


def submission_of(body: JobBody, raw_params: bytes) -> KeptSubmit:
    """The submit of a job; runs in a thread, since it waits for the reader.

    Raises
    ------
    Refusal
        The program, an option or a circuit is not taken, naming it.
    """
    wanted = _read_params(body)
    if not available():
        raise Refusal(400, "the server reads no circuits: Qiskit is missing", "pip install 'qfast[ibm]' at the server")
    try:
        pubs = reader().call(
            f"{READER}:read",
            {"program": body.program_id, "params": raw_params.decode()},
            deadline=time.monotonic() + READ_SECONDS,
            memory=READ_MEMORY,
        )
    except CircuitError as error:
        raise refusal_of(error) from None
    if not pubs:
        raise Refusal(400, "params: there is no pub to run")
    for pub in pubs:
        _settle_shots(pub, wanted)
    most = max(pub["shots"] for pub in pubs)
    _check_size(pubs)
    parts = [part for pub in pubs for part in pub["parts"]]
    parameters = [part["parameters"] for part in parts]
    kept = {
        "program": body.program_id,
        "private": body.private,
        "params": body.params,
        "pubs": [
            {
                "shots": pub["shots"],
                "precision": pub["precision"],
                "parts": [part["heading"] for part in pub["parts"]],
            }
            for pub in pubs
        ],
    }
    estimator = body.program_id == "estimator"
    return KeptSubmit(
        source_code=msgspec.Raw(orjson.dumps([part["source"] for part in parts])),
        code_type="qasm3",
        backend=body.backend,
        job_name=body.program_id,
        job_type="estimation" if estimator else "sampling",
        observables=[part["observables"] for part in parts] if estimator else None,
        parameters=parameters if any(entry is not None for entry in parameters) else None,
        shots=most,
        tags=[MARK, *(body.tags or ())],
        session_id=body.session_id,
        max_execution_time=body.cost,
        driver_options=None if wanted.seed is None else {"seed": wanted.seed},
        kept=kept,
    )


def _read_params(body: JobBody) -> _Wanted:
    """Check what stands beside the pubs."""
    params = body.params
    if body.program_id == "executor":
        return _read_executor(params)
    if body.program_id not in ("sampler", "estimator"):
        raise Refusal(
            404, f"program {body.program_id[:60]!r} does not exist", "there are sampler, estimator and executor"
        )
    known = {"pubs", "options", "version", "support_qiskit", "resilience_level"}
    unknown = sorted(set(params) - known)
    if unknown:
        raise Refusal(400, f"params.{unknown[0][:60]}: is not taken; there are {', '.join(sorted(known))}")
    if params.get("version", 2) != 2:
        raise Refusal(
            400, f"params.version: {str(params['version'])[:20]} is not 2, the only version of the primitives here"
        )
    if not isinstance(params.get("pubs"), list):
        raise Refusal(400, "params.pubs: is not a list of pubs")
    if body.program_id == "sampler":
        options = read_options(SamplerOptions, params.get("options"), "params.options")
        twirled = options.twirling.shots() if options.twirling else None
        seed = options.simulator.seed_simulator if options.simulator else None
        return _Wanted(twirled or options.default_shots or DEFAULT_SHOTS, None, seed, fixed=twirled is not None)
    level = params.get("resilience_level", 0)
    if isinstance(level, bool) or level not in (0, 1, 2):
        raise Refusal(400, f"params.resilience_level: {str(level)[:20]} is not in 0..2")
    return _read_estimator(read_options(EstimatorOptions, params.get("options"), "params.options"))


def _read_estimator(options: EstimatorOptions) -> _Wanted:
    twirled = options.twirling.shots() if options.twirling else None
    seed = options.seed_estimator
    if seed is None and options.simulator:
        seed = options.simulator.seed_simulator
    shots = twirled or options.default_shots
    precision = shots**-0.5 if shots else options.default_precision or DEFAULT_PRECISION
    return _Wanted(shots or _shots_for(precision), precision, seed, fixed=twirled is not None)


def _read_executor(params: Mapping[str, Any]) -> _Wanted:
    unknown = sorted(set(params) - {"schema_version", "quantum_program", "options"})
    if unknown:
        raise Refusal(400, f"params.{unknown[0][:60]}: is not taken")
    if params.get("schema_version") != EXECUTOR_SCHEMA:
        version = str(params.get("schema_version"))[:20]
        raise Refusal(
            400, f"params.schema_version: {version} is not {EXECUTOR_SCHEMA}", "use another release of the client"
        )
    read_options(ExecutorOptions, params.get("options"), "params.options")
    program = params.get("quantum_program")
    if not isinstance(program, dict) or not isinstance(program.get("items"), list):
        raise Refusal(400, "params.quantum_program: is not a program with items")
    if program.get("meas_level", "classified") != "classified":
        raise Refusal(
            400, "params.quantum_program.meas_level: only classified: a simulator has no signals of a readout"
        )
    for index, item in enumerate(program["items"]):
        if not isinstance(item, dict) or item.get("item_type", "circuit") != "circuit":
            raise Refusal(
                400,
                f"params.quantum_program.items.{index}: only items of plain circuits are run here, no samplex",
                "switch off twirling and mitigation",
            )
    shots = program.get("shots")
    if isinstance(shots, bool) or not isinstance(shots, int) or not 1 <= shots <= MAX_SHOTS:
        raise Refusal(400, f"params.quantum_program.shots: {str(shots)[:20]} is not in 1..{MAX_SHOTS}")
    return _Wanted(shots, None, None)


def _shots_for(precision: float) -> int:
    """The shots after which the standard error of a Pauli string is at most the precision."""
    if not precision > 0:
        raise Refusal(400, f"precision: {precision} is not above 0")
    return min(max(ceil(precision**-2 - 1e-9), 1), MAX_SHOTS)


def _settle_shots(pub: dict[str, Any], wanted: _Wanted) -> None:
    """Decide a pub's shots: its own, those of its precision, or those that the options say."""
    precision = pub["precision"]
    if precision is not None and not wanted.fixed:
        pub["shots"] = _shots_for(precision)
    elif pub["shots"] is None or wanted.fixed:
        pub["shots"], pub["precision"] = wanted.shots, wanted.precision
    if pub["shots"] > MAX_SHOTS:
        raise Refusal(400, f"shots: {pub['shots']} is more than {MAX_SHOTS}")


def _check_size(pubs: list[dict[str, Any]]) -> None:
    """Outcomes are answered shot by shot: refuse what would not fit in an answer."""
    size = 0
    for pub in pubs:
        for part in pub["parts"]:
            heading = part["heading"]
            if "observables" not in part:
                width = sum((len(bits) + 7) // 8 for _, bits in heading["cregs"])
                size += heading["rows"] * pub["shots"] * width
    if size > MAX_OUTCOMES:
        raise Refusal(
            400, f"the outcomes of all shots take {size:,} bytes, at most {MAX_OUTCOMES:,}", "take fewer shots"
        )
