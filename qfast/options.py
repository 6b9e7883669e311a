"""The options of the primitives: what a qfast server can do is mapped, what has no meaning there is refused."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

GROUPS: Final = ("execution", "environment", "transpilation", "simulator")
_REASONS: Final = {
    "resilience_level": "results are not mitigated here; leave it out or 0",
    "resilience": "results are not mitigated here; leave it out",
    "init_qubits": "every run starts from |0...0> here; leave it out or true",
    "log_level": "jobs write no logs of their own here; leave it out",
    "noise_model": "the simulator is exact; leave it out",
    "coupling_map": "it is the backend's, by the devices file; leave it out",
    "basis_gates": "they are the backend's, by the devices file; leave it out",
    "initial_layout": "the transpiler chooses the layout; leave it out",
    "layout_method": "the transpiler chooses it; leave it out",
    "routing_method": "the transpiler chooses it; leave it out",
    "approximation_degree": "nothing is approximated; leave it out",
}


@dataclass(slots=True)
class ExecutionOptions:
    """``shots``: default the server's, 1,024."""

    shots: int | None = None
    init_qubits: bool | None = None


@dataclass(slots=True)
class EnvironmentOptions:
    """``job_tags`` and ``callback``, as that of `Session.run`."""

    job_tags: list[str] | None = None
    callback: Callable[[str, Any], Any] | None = None
    log_level: str | None = None


@dataclass(slots=True)
class TranspilationOptions:
    """``skip_transpilation``: the program goes to the backend as it is."""

    skip_transpilation: bool | None = None
    initial_layout: Any = None
    layout_method: str | None = None
    routing_method: str | None = None
    approximation_degree: float | None = None


@dataclass(slots=True)
class SimulatorOptions:
    """``seed_simulator``: the same seed and circuits give the same counts."""

    seed_simulator: int | None = None
    noise_model: Any = None
    coupling_map: Any = None
    basis_gates: Any = None


@dataclass(slots=True)
class Options:
    """How the primitives run their circuits; None means the server's default.

    Attributes
    ----------
    optimization_level : int
        0 to 3, of the backend's transpiler.
    max_execution_time : float
        Seconds.
    execution, environment, transpilation, simulator :
        The groups; in the constructor also dicts.
    resilience_level, resilience :
        Refused, unless the level is 0: there is no error mitigation.

    Raises
    ------
    ValueError
        For what is unknown, wrong, or without meaning on a qfast server; what is set later is checked by the run.

    """

    optimization_level: int | None = None
    resilience_level: int | None = None
    max_execution_time: float | None = None
    resilience: Any = None
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    environment: EnvironmentOptions = field(default_factory=EnvironmentOptions)
    transpilation: TranspilationOptions = field(default_factory=TranspilationOptions)
    simulator: SimulatorOptions = field(default_factory=SimulatorOptions)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in GROUPS}
        for name, kind in _KINDS.items():
            if not isinstance(given[name], kind):
                setattr(self, name, kind())
        self.update(**{name: value for name, value in given.items() if not isinstance(value, _KINDS[name])})

    @classmethod
    def of(cls, value: Options | Mapping[str, Any] | None) -> Options:
        """A copy of options, or those of a dict, nested or flat (``{"shots": 100}``)."""
        made = cls()
        if isinstance(value, Options):
            made._apply(value.as_dict())  # unchecked, so that what was set on it by mistake can still be set right
        else:
            made.update(**(value or {}))
        return made

    def update(self, **given: Any) -> None:
        """Set options by name; those of a group by the group's name and a dict, or by their own."""
        self._apply(given)
        self.submit_fields()

    def _apply(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name in GROUPS:
                if not isinstance(value, Mapping):
                    raise ValueError(f"options: {name} is neither a dict nor a {_KINDS[name].__name__}")
                group = getattr(self, name)
                for key, entry in value.items():
                    _set(group, key, entry)
            else:
                owner = next((getattr(self, group) for group in GROUPS if name in _names(_KINDS[group])), self)
                _set(owner, name, value)

    def submit_fields(self) -> dict[str, Any]:
        """The fields of submit_job that say the same; raises ValueError for what has no meaning there."""
        for owner in (self, *(getattr(self, group) for group in GROUPS)):
            for name in _names(type(owner)):
                _check(name, getattr(owner, name))
        result: dict[str, Any] = {
            "shots": self.execution.shots,
            "max_execution_time": self.max_execution_time,
            "tags": None if self.environment.job_tags is None else list(self.environment.job_tags),
        }
        if self.optimization_level is not None:
            result["transpiler_options"] = {"optimization_level": self.optimization_level}
        if self.transpilation.skip_transpilation:
            if self.optimization_level is not None:
                raise ValueError("options: optimization_level has no meaning with skip_transpilation")
            result["transpiler"] = "dummy"
        if self.simulator.seed_simulator is not None:
            result["driver_options"] = {"seed": self.simulator.seed_simulator}
        return {name: value for name, value in result.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """The options as a nested dict."""
        own = {name: getattr(self, name) for name in _names(Options) if name not in GROUPS}
        groups = {group: getattr(self, group) for group in GROUPS}
        return {
            **own,
            **{group: {name: getattr(value, name) for name in _names(type(value))} for group, value in groups.items()},
        }


_KINDS: Final[dict[str, type]] = {
    "execution": ExecutionOptions,
    "environment": EnvironmentOptions,
    "transpilation": TranspilationOptions,
    "simulator": SimulatorOptions,
}


def option_names() -> frozenset[str]:
    """The names of all options and groups, flat."""
    return frozenset(name for kind in (Options, *_KINDS.values()) for name in _names(kind))


def _names(kind: type) -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(kind))


def _set(owner: Any, name: str, value: Any) -> None:
    known = _names(type(owner))
    if name not in known:
        near = difflib.get_close_matches(name, option_names(), 1)
        raise ValueError(f"options: {name!r} is not known" + (f"; is it {near[0]!r}?" if near else ""))
    setattr(owner, name, value)


def _check(name: str, value: Any) -> None:
    neutral = value is None or (name, value) in (("resilience_level", 0), ("init_qubits", True))
    if name in _REASONS and not neutral and value != {}:
        raise ValueError(f"options: {name} {value!r:.80} has no meaning on a qfast server: {_REASONS[name]}")
    if name == "optimization_level" and value is not None and (isinstance(value, bool) or value not in (0, 1, 2, 3)):
        raise ValueError(f"options: optimization_level {value!r:.80} is not in 0..3")
    whole = isinstance(value, int) and not isinstance(value, bool)
    if name == "shots" and value is not None and not (whole and value >= 1):
        raise ValueError(f"options: shots {value!r:.80} is not a positive whole number")
