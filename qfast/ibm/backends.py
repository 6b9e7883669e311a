"""Devices as IBM's client knows backends: configuration, properties, status.

``simulator`` is false: the client opens no sessions on simulators. Properties tell the noise that is simulated, and none where
there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

from qfast import __version__
from qfast.errors import NotFound
from qfast.ibm.errors import Refusal
from qfast.ibm.requests import Reply, Request, Route, json_reply
from qfast.live import Backend
from qfast.noise import Noise

NAME = r"/backends/(?P<name>[^/]{1,255})"
BASIS = ("id", "rz", "sx", "x", "cz", "rx", "rzz", "h", "s", "sdg", "t", "tdg", "y", "z", "ry", "p", "cx")
TWO_QUBIT = {
    "cz",
    "cx",
    "rzz",
    "rxx",
    "ryy",
    "rzx",
    "swap",
    "iswap",
    "cy",
    "ch",
    "cp",
    "crx",
    "cry",
    "crz",
    "csx",
    "cu",
    "cs",
    "csdg",
}
PARAMETERS = {
    "rz": ["t"],
    "rx": ["t"],
    "ry": ["t"],
    "p": ["t"],
    "rzz": ["t"],
    "rxx": ["t"],
    "ryy": ["t"],
    "rzx": ["t"],
    "u": ["t", "p", "l"],
}
CONTROL_FLOW = ("if_else", "while_loop", "for_loop", "switch_case")
MAX_PAIRS_QUBITS = 40  # wider devices without a coupling map list no pairs, which means all
ONLINE_DATE = "2025-01-01T00:00:00Z"
OLD_API = "2025-05-01"  # clients of older versions read a list of names


class BackendRoutes:
    """The devices that take circuits.

    Parameters
    ----------
    backends : mapping of str to Backend
    started : float
        When the server started, seconds since the epoch: the date of the properties.
    """

    def __init__(self, backends: Mapping[str, Backend], started: float) -> None:
        self._all = backends
        self._date = datetime.fromtimestamp(started, UTC).isoformat()

    def routes(self) -> list[Route]:
        """The paths."""
        return [
            ("GET", "/backends", self.list),
            ("GET", NAME + "/configuration", self.configuration),
            ("GET", NAME + "/properties", self.properties),
            ("GET", NAME + "/status", self.status),
            ("GET", NAME + "/defaults", self.defaults),
        ]

    def _offered(self) -> dict[str, Backend]:
        return {name: one for name, one in self._all.items() if "qasm3" in one.driver.supported_code_types}

    def _find(self, name: str) -> Backend:
        offered = self._offered()
        if name not in offered:
            raise NotFound(f"backend {name[:80]!r} is not found; there are {', '.join(sorted(offered))}")
        return offered[name]

    async def list(self, request: Request) -> Reply:
        """All of them, with what decides which is least busy."""
        request.query("include_mocks", "fields")
        offered = self._offered()
        if request.headers.get(b"ibm-api-version", OLD_API.encode()) < OLD_API.encode():
            return json_reply({"devices": list(offered)})
        return json_reply(
            {
                "devices": [
                    {
                        "name": name,
                        "status": {
                            "name": "online" if one.device.status == "online" else "offline",
                            "reason": one.device.status,
                        },
                        "qubits": one.device.max_qubits,
                        "physical_qubits": one.device.max_qubits,
                        "is_simulator": False,
                        "queue_length": _waiting(one),
                    }
                    for name, one in offered.items()
                ]
            }
        )

    async def configuration(self, request: Request, name: str) -> Reply:
        """Gates, couplings and limits."""
        _refuse_calibration(request, "calibration_id")
        return json_reply(configuration(self._find(name)))

    async def properties(self, request: Request, name: str) -> Reply:
        """Errors and times; they have not changed since the server started, whatever date is asked for."""
        _refuse_calibration(request, "calibration_id", "updated_before")
        return json_reply(properties(self._find(name), self._date))

    async def status(self, _request: Request, name: str) -> Reply:
        """Whether it takes jobs, and how many wait."""
        one = self._find(name)
        online = one.device.status == "online"
        return json_reply(
            {
                "state": online,
                "status": "active" if online else one.device.status,
                "message": "" if online else f"the device is {one.device.status}",
                "length_queue": _waiting(one),
                "backend_version": __version__,
            }
        )

    async def defaults(self, _request: Request, name: str) -> Reply:
        """Of pulses, which there are none of; older clients ask."""
        self._find(name)
        return json_reply({})


def _refuse_calibration(request: Request, *known: str) -> None:
    if "calibration_id" in request.query(*known):
        raise Refusal(400, "calibration_id: a device has no calibrations here")


def _waiting(backend: Backend) -> int:
    return len(backend.heap)


def _basis(backend: Backend) -> list[str]:
    return list(backend.device.basis_gates or BASIS)


def _pairs(backend: Backend) -> list[list[int]]:
    """The directed pairs that two-qubit gates act on; empty: all."""
    device = backend.device
    if device.coupling_map is not None:
        return [list(pair) for pair in device.coupling_map]
    if device.max_qubits > MAX_PAIRS_QUBITS:
        return []
    return [list(pair) for pair in permutations(range(device.max_qubits), 2)]


def _places(backend: Backend, gate: str, pairs: list[list[int]]) -> list[list[int]]:
    return pairs if gate in TWO_QUBIT else [[qubit] for qubit in range(backend.device.max_qubits)]


def configuration(backend: Backend) -> dict[str, Any]:
    """A QasmBackendConfiguration."""
    device, basis, pairs = backend.device, _basis(backend), _pairs(backend)
    return {
        "backend_name": device.name,
        "backend_version": __version__,
        "description": device.description,
        "n_qubits": device.max_qubits,
        "basis_gates": basis,
        "gates": [
            {
                "name": gate,
                "parameters": PARAMETERS.get(gate, []),
                "qasm_def": f"gate {gate} {{ }}",
                "coupling_map": _places(backend, gate, pairs),
            }
            for gate in basis
        ],
        "coupling_map": pairs,
        "supported_instructions": [*basis, "measure", "reset", "delay", *CONTROL_FLOW],
        "supported_features": ["qasm3"],
        "local": False,
        "simulator": False,
        "conditional": True,
        "open_pulse": False,
        "memory": True,
        "max_shots": device.max_shots,
        "max_experiments": 10_000,
        "dt": 1.0,
        "dynamic_reprate_enabled": False,
        "meas_map": [list(range(device.max_qubits))],
        "online_date": ONLINE_DATE,
        "processor_type": {"family": "qfast", "revision": 1},
        "credits_required": False,
    }


def properties(backend: Backend, date: str) -> dict[str, Any]:
    """BackendProperties: the device's noise."""
    device = backend.device
    noise = device.noise or Noise()
    pairs = _pairs(backend)
    return {
        "backend_name": device.name,
        "backend_version": __version__,
        "last_update_date": date,
        "qubits": [list(_qubit(noise, qubit, date)) for qubit in range(device.max_qubits)],
        "gates": [
            {
                "gate": gate,
                "name": "_".join([gate, *map(str, place)]),
                "qubits": place,
                "parameters": [
                    _value(date, "gate_error", "", _gate_error(noise, gate, place)),
                    _value(date, "gate_length", "ns", 1e9 * _gate_time(noise, gate)),
                ],
            }
            for gate in _basis(backend)
            for place in _places(backend, gate, pairs)
        ],
        "general": [],
    }


def _value(date: str, name: str, unit: str, value: float) -> dict[str, Any]:
    return {"date": date, "name": name, "unit": unit, "value": value}


def _at(value: Any, qubit: int) -> Any:
    """A value that is one for all qubits or one for each."""
    return value[qubit] if isinstance(value, list) else value


def _qubit(noise: Noise, qubit: int, date: str) -> Iterable[dict[str, Any]]:
    for name, times in (("T1", noise.t1), ("T2", noise.t2)):
        if times is not None:
            yield _value(date, name, "us", 1e6 * _at(times, qubit))
    up, down = _readout(noise.readout, qubit)
    yield _value(date, "readout_error", "", (up + down) / 2)
    yield _value(date, "prob_meas1_prep0", "", up)
    yield _value(date, "prob_meas0_prep1", "", down)
    yield _value(date, "readout_length", "ns", 0.0)


def _readout(readout: Any, qubit: int) -> tuple[float, float]:
    """The probabilities of a wrong 1 and of a wrong 0."""
    if not isinstance(readout, list):
        return readout, readout
    if all(isinstance(entry, list) for entry in readout):
        readout = readout[qubit]
    return readout[0], readout[1]


def _by_name(table: Any, gate: str) -> Any:
    """A value for a gate: its own, or that of its class."""
    if not isinstance(table, dict):
        return table
    return table.get(gate, table.get("two_qubit" if gate in TWO_QUBIT else "one_qubit", 0.0))


def _gate_time(noise: Noise, gate: str) -> float:
    return float(_by_name(noise.gate_times, gate))


def _gate_error(noise: Noise, gate: str, place: list[int]) -> float:
    """The average infidelity of the depolarizing part: p (1 - 1 / 2^n)."""
    general = noise.two_qubit if len(place) == 2 else _at(noise.one_qubit, place[0])
    p = noise.gates.get(gate, general)
    return float(p) * (1 - 0.5 ** len(place))
