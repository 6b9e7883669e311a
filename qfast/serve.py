"""Starting a server: settings from flags, environment and ``qfast.toml``, then granian on ``qfast.app:create``.

The settings reach the server's process as ``QFAST_*`` environment variables.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import os
import resource
import socket
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import platformdirs

from qfast.connections import capacity
from qfast.errors import ConfigurationInvalid
from qfast.keys import read_keys

CONFIG_FILE = "qfast.toml"
_SWITCH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
DRAIN_SECONDS = 30  # after SIGTERM, before a server that hangs is killed
HEAD_SECONDS = 10  # for the whole head, counted from the connection or the last answer: so also without any request
PER_ADDRESS = 256  # connections of one address
_NUMBERS = {"port": 65_535, "max_queued": 100_000_000, "connections_per_address": 1_000_000}


class SettingsError(ValueError):
    """A setting is wrong; the text says which, where from and why."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `qfast serve` needs to know; the wire's port is the specification's."""

    host: str = "127.0.0.1"
    port: int = 8088
    data_dir: str = ""  # empty: the platform's user data folder
    store: str = "sqlite"
    devices: str = ""  # TOML file; empty: the built-in devices
    keys: str = ""  # TOML file of API keys, made by `qfast keys`; empty: no key is needed
    webhook_key: str = ""  # file with the secrets that sign callbacks; empty: webhook.key in the data folder
    tls_cert: str = ""  # PEM file, with the chain
    tls_key: str = ""  # PEM file
    behind_proxy: bool = False  # a proxy in front ends TLS; nobody else can reach this address
    max_queued: int = 1_000_000  # jobs that wait or run; submits beyond are refused
    connections_per_address: int = (
        0  # 0: PER_ADDRESS where strangers connect, any number on loopback and behind a proxy
    )

    @classmethod
    def load(cls, flags: dict[str, Any], environ: dict[str, str], folder: Path) -> Settings:
        """Each setting from the first place that has it: flag, environment, ``qfast.toml`` in `folder`, default.

        Raises
        ------
        SettingsError
            A value or a key of the file is wrong.

        """
        known = {field.name: field.type for field in fields(cls)}
        values = {key: (value, f"{folder / CONFIG_FILE}: {key}") for key, value in _read(folder / CONFIG_FILE).items()}
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
                raise SettingsError(f"{folder / CONFIG_FILE}: no setting is named {key}{hint}")
        for key in known:
            variable = f"QFAST_{key.upper()}"
            if environ.get(variable):
                values[key] = (environ[variable], variable)
            if flags.get(key) is not None:
                values[key] = (flags[key], f"--{key.replace('_', '-')}")
        return cls(**{key: _checked(key, value, origin) for key, (value, origin) in values.items()})

    def resolved(self) -> Settings:
        """With an address that can be bound, a free port for 0, and absolute paths.

        Raises
        ------
        SettingsError
            The address is not loopback, the port is taken, or a file or folder cannot be used.

        """
        host = self._address()
        folder = Path(self.data_dir or platformdirs.user_data_dir("qfast", appauthor=False)).expanduser().absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SettingsError(f"data_dir: {folder} cannot be made: {error.strerror}") from error
        if bool(self.tls_cert) != bool(self.tls_key):
            raise SettingsError("tls_cert and tls_key go together: one is missing")
        keys = _file("keys", self.keys)
        if keys:
            try:
                read_keys(Path(keys))
            except ConfigurationInvalid as error:
                raise SettingsError(str(error)) from None
        return replace(
            self,
            host=host,
            port=_free_port(host, self.port),
            data_dir=str(folder),
            devices=_file("devices", self.devices),
            keys=keys,
            webhook_key=str(Path(self.webhook_key).expanduser().absolute()) if self.webhook_key else "",
            tls_cert=_file("tls_cert", self.tls_cert),
            tls_key=_file("tls_key", self.tls_key),
            connections_per_address=self.connections_per_address
            or (0 if _resolve(self.host)[1] or self.behind_proxy else PER_ADDRESS),
        )

    def _address(self) -> str:
        """The address to bind: loopback, or any when callers are known and what they send is not readable on the way."""
        address, loopback = _resolve(self.host)
        if not loopback and not (self.keys and (self.tls_cert or self.behind_proxy)):
            missing = [] if self.keys else ["API keys (--keys FILE, made by `qfast keys add`)"]
            if not (self.tls_cert or self.behind_proxy):
                missing.append("TLS (--tls-cert and --tls-key, or --behind-proxy when a proxy in front ends it)")
            raise SettingsError(
                f"host: {self.host!r} is not a loopback address, and anyone who reached it could run and delete jobs. "
                f"It needs {' and '.join(missing)}; or bind 127.0.0.1 and reach it through an SSH tunnel"
            )
        return address

    def environ(self) -> dict[str, str]:
        """The ``QFAST_*`` variables that carry them."""
        return {f"QFAST_{field.name.upper()}": str(getattr(self, field.name)) for field in fields(self)}


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}") from error


def _checked(key: str, value: Any, origin: str) -> Any:
    if key == "behind_proxy":
        if isinstance(value, str) and value.lower() in _SWITCH:
            return _SWITCH[value.lower()]
        if not isinstance(value, bool):
            raise SettingsError(f"{origin}: {value!r} is neither true nor false")
        return value
    if key not in _NUMBERS:
        if not isinstance(value, str):
            raise SettingsError(f"{origin}: {value!r} is not a string")
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _NUMBERS[key]:
        kind = "port number" if key == "port" else "number"
        raise SettingsError(f"{origin}: {value!r} is not a {kind}, 0..{_NUMBERS[key]}")
    return value


def _file(name: str, text: str) -> str:
    """The absolute path of a file that must be there; empty stays empty."""
    path = Path(text).expanduser().absolute()
    if text and not path.is_file():
        raise SettingsError(f"{name}: there is no file {path}")
    return str(path) if text else ""


def _resolve(host: str) -> tuple[str, bool]:
    """The address of a host, IPv4 first, and whether all of its addresses are loopback."""
    if not host:
        raise SettingsError("host: is empty; every address of this machine is 0.0.0.0 or ::")
    try:
        addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"host: {host!r} is no address of this machine: {error}") from error
    addresses.sort(key=lambda text: ":" in text)  # localhost: IPv4 first
    plain = (ipaddress.ip_address(text.partition("%")[0]) for text in addresses)
    return addresses[0], all(address.is_loopback for address in plain)


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Granian binds with SO_REUSEPORT, so two servers would share a port unnoticed."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(f"port: {host}:{port} cannot be bound: {error.strerror}") from error
        return int(probe.getsockname()[1])


def serve(settings: Settings) -> None:
    """Run a server until SIGTERM, SIGINT or SIGHUP, and drain it; raises SystemExit(1) when it cannot start."""
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import Server

    os.environ.update(settings.environ())
    os.environ["QFAST_MAIN_PROCESS"] = str(
        os.getpid()
    )  # whose end ends the process that answers, from its first moment
    _all_descriptors()
    replacing = {
        "respawn_failed_workers": property(_was_killed, lambda server, value: None),
        "signal_handler_interrupt": _interrupt(Server.signal_handler_interrupt),
    }
    server: Any = type("Server", (Server,), replacing)(
        "qfast.app:create",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        workers=1,  # one process owns the truth
        backlog=8192,
        backpressure=capacity(),  # it counts connections; below their number it costs 30 % of the rate
        http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000),
        ssl_cert=Path(settings.tls_cert) if settings.tls_cert else None,
        ssl_key=Path(settings.tls_key) if settings.tls_key else None,
        log_level=LogLevels.info,
        log_dictconfig=_logging(),
        workers_kill_timeout=DRAIN_SECONDS,
    )
    # granian would start a second worker beside the first, which holds the lock on the data: a hang-up ends the server
    server.signal_handler_reload = server.signal_handler_interrupt
    server.serve()


def _all_descriptors() -> None:
    """Take as many descriptors as allowed; the usual 1,024 are a soft limit for programs that use select."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _interrupt(first: Callable[..., None]) -> Callable[..., None]:
    """Granian's handler of SIGTERM and SIGINT, which tells a second one to the worker, too: stop without draining."""

    def handle(server: Any, *signal_and_frame: Any) -> None:
        if server.interrupt_signal:
            for worker in server.wrks:
                worker.terminate()
        first(server, *signal_and_frame)

    return handle


class _Relevant(logging.Filter):
    """Of granian's log, what a user of qfast can use: a start that fails has said why, a start that works says its URL."""

    said_already = ("ASGI lifespan startup failed", "Unexpected exit from worker")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show it."""
        text = record.getMessage()
        if text.startswith("Respawning worker"):
            record.msg, record.args, record.levelname = "the server's process crashed, starting another", (), "ERROR"
            return True
        return record.levelno >= logging.WARNING and not text.startswith(self.said_already)


def _logging() -> dict[str, Any]:
    """What replaces granian's: stderr, since stdout is for the one line with the URL."""
    stream = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
    return {
        "filters": {"relevant": {"()": _Relevant}},
        "handlers": {
            "console": {**stream, "formatter": "generic", "filters": ["relevant"]},
            "access": {**stream, "formatter": "access"},
        },
    }


def _was_killed(server: Any) -> bool:
    """Whether a signal ended the worker that is gone: a crash, so it is replaced.

    A worker that ends by itself could not start and has said why; a second one could not either.
    """
    return all(server.wrks[index].inner.exitcode < 0 for index in server.interrupt_children)
