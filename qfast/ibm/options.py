"""Which options of IBM's programs are taken, and what each means here; all others are refused by name (docs/ibm.md).

Three kinds: those that act (``default_shots``, ``default_precision``, seeds, the number of shots of twirling); those that
change nothing on exact values of a simulator and are taken in any value of their type; and those that could only be ignored,
which take their default alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from qfast.ibm.errors import Refusal
from qfast.params import faults

Count = Annotated[int, Meta(ge=1, le=10_000_000, description="in 1..10000000")]
Seed = Annotated[int, Meta(ge=0, le=2**53 - 1, description="in 0..9007199254740991")]
Precision = Annotated[float, Meta(gt=0, le=1e6, description="a number above 0")]
CountOrAuto = Annotated[int | Literal["auto"], Meta(description="a positive integer or auto")]
DEFAULT_SHOTS = 4096
DEFAULT_PRECISION = 1 / 64  # 4,096 shots


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class Decoupling(_Strict):
    """Idle qubits lose nothing here: no effect."""

    enable: bool | None = None
    sequence_type: str | None = None
    extra_slack_distribution: str | None = None
    scheduling_method: str | None = None
    skip_reset_qubits: bool | None = None


class Twirling(_Strict):
    """Exact values do not change by twirling; both numbers together decide the shots, as on IBM's machines."""

    enable_gates: bool | None = None
    enable_measure: bool | None = None
    num_randomizations: CountOrAuto | None = None
    shots_per_randomization: CountOrAuto | None = None
    strategy: str | None = None

    def shots(self) -> int | None:
        """The shots that the randomizations take together; None where they do not say."""
        many, each = self.num_randomizations, self.shots_per_randomization
        on = self.enable_gates or self.enable_measure
        return many * each if on and isinstance(many, int) and isinstance(each, int) else None


class Execution(_Strict):
    """A run begins with all qubits at 0 and has no repetition rate."""

    init_qubits: bool | None = None
    rep_delay: float | None = None


class SamplerExecution(Execution):
    """Outcomes are bits."""

    meas_type: Annotated[Literal["classified"], Meta(description="classified")] | None = None


class Simulator(_Strict):
    """Only the seed: what is simulated is the device."""

    seed_simulator: Seed | None = None


class SamplerOptions(_Strict):
    """Options of the program ``sampler``."""

    default_shots: Count | None = None
    dynamical_decoupling: Decoupling | None = None
    execution: SamplerExecution | None = None
    twirling: Twirling | None = None
    simulator: Simulator | None = None


class EstimatorOptions(_Strict):
    """Options of the program ``estimator``; mitigation has no errors to mitigate."""

    default_precision: Precision | None = None
    default_shots: Count | None = None
    seed_estimator: Seed | None = None
    dynamical_decoupling: Decoupling | None = None
    execution: Execution | None = None
    twirling: Twirling | None = None
    simulator: Simulator | None = None
    resilience: dict[str, Any] | None = None


class ExecutorOptions(_Strict):
    """Options of the program ``executor``; there is no schedule to tell of."""

    init_qubits: bool = True
    rep_delay: float | None = None
    scheduler_timing: bool = False
    stretch_values: bool = False
    experimental: dict[str, Any] = {}


RESILIENCE = {
    "measure_mitigation",
    "measure_noise_learning",
    "zne_mitigation",
    "zne",
    "pec_mitigation",
    "pec",
    "layer_noise_learning",
}

Options = TypeVar("Options", SamplerOptions, EstimatorOptions, ExecutorOptions)


def read_options(kind: type[Options], given: Any, where: str = "options") -> Options:
    """The options once their types take them; raises Refusal naming each fault."""
    given = {} if given is None else given
    try:
        options = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        place = f"{where}.{path.rstrip('`')}" if path else where
        found = faults(kind, given, where)[0] if isinstance(given, dict) and not path else []
        listed = "; ".join(f"{where}.{entry['msg']}" for entry in found[:8])
        raise Refusal(400, listed or f"{place}: {text}", "docs/ibm.md lists what is taken") from None
    unknown = sorted(set(getattr(options, "resilience", None) or {}) - RESILIENCE)
    if unknown:
        raise Refusal(
            400, f"{where}.resilience.{unknown[0][:60]}: is not taken; there are {', '.join(sorted(RESILIENCE))}"
        )
    _check_defaults(options, where)
    if getattr(options, "experimental", None):
        raise Refusal(400, f"{where}.experimental: there are no experimental options here")
    return options


# what could only be ignored in another value than this
_ONLY = {"init_qubits": True, "scheduler_timing": False, "stretch_values": False}


def _check_defaults(options: _Strict, where: str) -> None:
    for holder, place in ((options, where), (getattr(options, "execution", None), f"{where}.execution")):
        for name, only in _ONLY.items():
            if getattr(holder, name, only) not in (only, None):
                raise Refusal(400, f"{place}.{name}: only {str(only).lower()} is possible here")
