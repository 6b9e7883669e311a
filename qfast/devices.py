"""The devices that jobs can name: read from a TOML file, each with the driver that runs it.

::

    [devices.lab1]
    driver = "DriverDummy"        # an entry point of qfast.drivers
    description = "the statevector simulator behind the lab's name"
    status = "online"             # online, offline, maintain, calibrating
    max_qubits = 20
    slots = 2                     # jobs at a time
    transpiler = "cmss"
    basis_gates = ["rz", "sx", "x", "cx"]
    coupling_map = [[0, 1], [1, 2]]
    options = { seed = 7 }        # defaults under each job's driver_options

    [devices.lab1.noise]          # see qfast.noise.Noise
    one_qubit = 0.001
"""

from __future__ import annotations

import importlib.util
import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from qfast import noise, plugins
from qfast.errors import CircuitError, ConfigurationInvalid
from qfast.plugins import Device, Driver

STATUSES = ("online", "offline", "calibrating", "maintain")


def default_devices() -> dict[str, Device]:
    """What a server offers without a devices file: ``dummy``, and ``aer`` where Qiskit Aer is installed."""
    found = {
        "dummy": Device(
            name="dummy",
            driver="DriverDummy",
            alias_name="Statevector simulator and QUBO solver",
            description="qfast's own kernels: exact sampling of circuits, enumeration, tempering and tabu search of QUBO",
            max_clifford_qubits=20_000,
            max_aggregated_qubits=20,
        )
    }
    if importlib.util.find_spec("qiskit_aer") is not None:
        found["aer"] = Device(
            name="aer",
            driver="DriverAer",
            alias_name="Qiskit Aer",
            description="Qiskit Aer's simulator in a worker process",
        )
    return found


def read_devices(path: Path | None) -> dict[str, Device]:
    """The devices of a TOML file, or the default ones without a file.

    Raises
    ------
    ConfigurationInvalid
        Naming the file, the device and the field.
    """
    if path is None:
        return default_devices()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationInvalid(f"devices file {path}: {error}") from None
    devices = tables.pop("devices", None)
    if tables or not isinstance(devices, dict) or not devices:
        odd = f"unknown table {next(iter(tables))!r}" if tables else "no device"
        raise ConfigurationInvalid(f"devices file {path}: {odd}; devices stand in tables like [devices.dummy]")
    return {name: _device(path, name, table) for name, table in devices.items()}


def _device(path: Path, name: str, table: Any) -> Device:
    where = f"devices file {path}, device {name!r}"
    known = Device.__struct_fields__
    if not isinstance(table, dict):
        raise ConfigurationInvalid(f"{where}: is not a table")
    for key in table:
        if key not in known or key == "name":
            raise ConfigurationInvalid(f"{where}: {key!r} is not one of {', '.join(known[1:])}")
    try:
        device = msgspec.convert({**table, "name": name}, Device)
    except msgspec.ValidationError as error:
        raise ConfigurationInvalid(f"{where}: {error}") from None
    if device.driver not in plugins.names("drivers"):
        raise ConfigurationInvalid(
            f"{where}: driver {device.driver!r} is not one of {', '.join(plugins.names('drivers'))}"
        )
    if device.status not in STATUSES:
        raise ConfigurationInvalid(f"{where}: status {device.status!r} is not one of {', '.join(STATUSES)}")
    if device.transpiler is not None and device.transpiler not in plugins.names("transpilers"):
        raise ConfigurationInvalid(
            f"{where}: transpiler {device.transpiler!r} is not one of {plugins.names('transpilers')}"
        )
    if not 0 <= device.max_clifford_qubits <= 100_000:
        raise ConfigurationInvalid(f"{where}: max_clifford_qubits must be in 0..100000")
    if not 1 <= device.max_qubits <= 100_000 or not 0 <= device.slots <= 1024:
        raise ConfigurationInvalid(f"{where}: max_qubits must be in 1..100000 and slots in 0..1024")
    if not 0 <= device.max_aggregated_qubits <= device.max_qubits:
        raise ConfigurationInvalid(f"{where}: max_aggregated_qubits must be in 0..{device.max_qubits}")
    if device.aggregation not in (None, "internal", "external"):
        raise ConfigurationInvalid(f"{where}: aggregation {device.aggregation!r} is neither internal nor external")
    if device.aggregation is not None and not getattr(plugins.load("drivers", device.driver), "packs_circuits", False):
        raise ConfigurationInvalid(f"{where}: aggregation: is not offered by {device.driver}")
    _check_gates(where, device)
    if device.noise is not None:
        if not getattr(plugins.load("drivers", device.driver), "takes_noise", False):
            raise ConfigurationInvalid(f"{where}: noise: is not simulated by {device.driver}")
        try:
            noise.check(device.noise, device.max_qubits)
        except ValueError as error:
            raise ConfigurationInvalid(f"{where}: {error}") from None
    return device


def _check_gates(where: str, device: Device) -> None:
    from qfast.transpilers.cmss import known_basis_gates

    unknown = [gate for gate in device.basis_gates if gate not in known_basis_gates]
    if unknown:
        raise ConfigurationInvalid(
            f"{where}: basis gate {unknown[0]!r} is not one of {', '.join(sorted(known_basis_gates))}"
        )
    for pair in device.coupling_map or ():
        if pair[0] == pair[1] or not all(0 <= qubit < device.max_qubits for qubit in pair):
            raise ConfigurationInvalid(
                f"{where}: coupling_map pair {list(pair)} needs two qubits in 0..{device.max_qubits - 1}"
            )


def open_driver(device: Device) -> Driver:
    """The driver of a device, ready to run; raises ConfigurationInvalid."""
    driver_class = plugins.load("drivers", device.driver)
    try:
        msgspec.convert(device.options, driver_class.Options)
        driver: Driver = driver_class(device)
    except msgspec.ValidationError as error:
        raise ConfigurationInvalid(f"device {device.name!r}: options: {error}") from None
    except CircuitError as error:
        raise ConfigurationInvalid(f"device {device.name!r}: driver {device.driver}: {error.text}") from None
    return driver


def slots_of(device: Device) -> int:
    """Jobs that the device runs at a time: as configured, else one per core."""
    return device.slots or max(1, min(64, os.cpu_count() or 1))
