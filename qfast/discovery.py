"""What a client can find out: versions, devices, drivers, transpilers and counters (PROTOCOL section 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from qfast import __version__, plugins, wire
from qfast.errors import NotFound
from qfast.jobs import Jobs
from qfast.live import Backend
from qfast.params import did_you_mean, fault

TECH_TYPES = ("none", "neutral_atom", "ion_trap", "superconducting", "photon", "nmr", "generic_simulator")
PROFILING = ("all", "code", "queuing", "scheduling", "driver:parse", "driver:transpile", "driver:run")
SECRETS = ("password", "token", "secret", "key")


class Discovery:
    """The verbs of the groups device, driver, transpiler, system and version."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._backends: Mapping[str, Backend] = jobs.backends

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """Method name to verb."""
        return {
            "version": self.version,
            "ping": self.ping,
            "system_info": self.system_info,
            "get_devices": self.get_devices,
            "get_device": self.get_device,
            "update_device": self.update_device,
            "get_drivers": self.get_drivers,
            "get_driver": self.get_driver,
            "get_transpilers": self.get_transpilers,
            "get_transpiler": self.get_transpiler,
        }

    async def version(
        self, _body: wire.DetailsBody | None, _filters: None, _caller: Mapping[str, str]
    ) -> dict[str, Any]:
        """Versions and capabilities."""
        drivers = {name: _driver(name) for name in plugins.usable("drivers")}
        transpilers = {name: _transpiler(name) for name in plugins.usable("transpilers")}
        return {
            "version": __version__,
            "api_version": "v1",
            "supported_api_versions": [{"version": "v1", "status": "CURRENT"}],
            "platform_version": __version__,
            "auth_mode": "no",
            "capabilities": {
                "job_types": ["sampling", "estimation"],
                "drivers": {
                    name: {
                        key: entry[key]
                        for key in ("enable_transpiler", "supported_code_types", "description", "driver_options")
                    }
                    for name, entry in drivers.items()
                },
                "transpilers": {
                    name: {key: entry[key] for key in ("alias_name", "supported_code_types")}
                    for name, entry in transpilers.items()
                },
                "tech_types": {name: {"alias_name": name.replace("_", " ")} for name in TECH_TYPES},
                "profiling": {name: {"alias_name": name} for name in PROFILING},
                "driver_transpiler_mappings": {name: entry["supported_transpilers"] for name, entry in drivers.items()},
            },
        }

    async def ping(self, body: wire.PingBody | None, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """Echo the message."""
        return {"message": body.message if body is not None and body.message is not None else "pong"}

    async def system_info(self, _body: Any, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """Counters."""
        queued, running = await self._jobs.counts()
        return {
            "total_jobs_count": await self._jobs.store.count(),
            "queued_jobs_count": queued,
            "running_jobs_count": running,
            "draining": self._jobs.draining,
        }

    async def get_devices(self, _body: Any, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """Every device by name."""
        return {name: _device(backend) for name, backend in self._backends.items()}

    async def get_device(self, body: wire.NameBody, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """One device."""
        return _device(self._one(body.name))

    async def update_device(self, body: wire.DeviceBody, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """Take a device offline: it takes and starts no jobs, what runs ends; or back online.

        Lasts until the server restarts, when the devices file decides again.
        """
        backend = self._one(body.name)
        backend.device = msgspec.structs.replace(backend.device, status=body.status)
        backend.wake()
        return _device(backend)

    def _one(self, name: str) -> Backend:
        backend = self._backends.get(name)
        if backend is None:
            raise _unknown("device", name, self._backends)
        return backend

    async def get_drivers(self, _body: Any, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """Every driver by name."""
        return {name: _driver(name) for name in plugins.usable("drivers")}

    async def get_driver(self, body: wire.NameBody, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """One driver."""
        if body.name not in plugins.usable("drivers"):
            raise _unknown("driver", body.name, plugins.usable("drivers"))
        return _driver(body.name)

    async def get_transpilers(self, _body: Any, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """Every transpiler by name."""
        return {name: _transpiler(name) for name in plugins.usable("transpilers")}

    async def get_transpiler(self, body: wire.NameBody, _filters: None, _caller: Mapping[str, str]) -> dict[str, Any]:
        """One transpiler."""
        if body.name not in plugins.usable("transpilers"):
            raise _unknown("transpiler", body.name, plugins.usable("transpilers"))
        return _transpiler(body.name)


def _unknown(noun: str, name: str, known: Any) -> NotFound:
    text = f"{noun}: {name[:80]!r} is not found; there are {', '.join(sorted(known))}"
    return NotFound(text, errors=[fault(("body", "name"), text, name)], hint=did_you_mean(name, known))


def _device(backend: Backend) -> dict[str, Any]:
    device = backend.device
    return {
        "name": device.name,
        "alias_name": device.alias_name or device.name,
        "description": device.description,
        "driver_name": device.driver,
        "enable": device.status == "online",
        "status": device.status,
        "tech_type": device.tech_type,
        "max_qubits": device.max_qubits,
        "max_clifford_qubits": max(device.max_qubits, device.max_clifford_qubits),
        "max_shots": device.max_shots,
        "queued_jobs": len(backend.heap),
        "running_jobs": len(backend.running),
        "configs": {
            "basis_gates": list(device.basis_gates),
            "coupling_map": None if device.coupling_map is None else [list(pair) for pair in device.coupling_map],
            "transpiler": device.transpiler,
            "slots": device.slots,
            "aggregation": device.aggregation,
            "max_aggregated_qubits": device.max_aggregated_qubits or device.max_qubits,
            "noise": None if device.noise is None else msgspec.to_builtins(device.noise),
            "options": {
                key: "***" if any(word in key.lower() for word in SECRETS) else value
                for key, value in device.options.items()
            },
        },
    }


def _defaults(schema: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        field.name: None if field.default is msgspec.NODEFAULT else field.default
        for field in msgspec.structs.fields(schema)
    }


def _driver(name: str) -> dict[str, Any]:
    driver = plugins.load("drivers", name)
    transpilers = list(driver.supported_transpilers)
    return {
        "name": name,
        "alias_name": driver.alias_name,
        "version": driver.version,
        "description": driver.description,
        "tech_type": driver.tech_type,
        "max_qubits": plugins.Device(name="", driver=name).max_qubits,
        "enable_transpiler": bool(transpilers),
        "transpiler": transpilers[0] if transpilers else None,
        "supported_transpilers": transpilers,
        "enable_circuit_aggregation": bool(getattr(driver, "packs_circuits", False)),
        "supported_code_types": list(driver.supported_code_types),
        "supported_basis_gates": [],
        "results_fetch_mode": driver.results_fetch_mode,
        "driver_options": _defaults(driver.Options),
        "driver_options_schema": msgspec.json.schema(driver.Options),
    }


def _transpiler(name: str) -> dict[str, Any]:
    transpiler = plugins.load("transpilers", name)
    return {
        "name": name,
        "alias_name": transpiler.alias_name,
        "version": transpiler.version,
        "enable": True,
        "supported_code_types": list(transpiler.supported_code_types),
        "transpiler_options": _defaults(transpiler.Options),
        "transpiler_options_schema": msgspec.json.schema(transpiler.Options),
    }
