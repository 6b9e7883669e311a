"""The only file that knows Litestar: `create` builds everything, wires it together and gives the ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import platformdirs
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from qfast import __version__, plugins
from qfast.access import Access
from qfast.admission import Admission
from qfast.audit import Audit
from qfast.callback_verbs import CallbackVerbs
from qfast.callbacks import AddressGuard, Deliverer, load_secret, validate_callbacks
from qfast.connections import Connections, capacity
from qfast.devices import open_driver, read_devices
from qfast.discovery import Discovery
from qfast.engine import Engine
from qfast.errors import ConfigurationInvalid, QfastError, Unavailable
from qfast.events import Events
from qfast.http import App, HttpFront, Receive, Scope, Send, is_loopback_host
from qfast.ibm.facade import Facade
from qfast.ibm.jobs import HOLD
from qfast.jobs import Jobs
from qfast.live import Backend
from qfast.nodes import jobs_of
from qfast.rpc import Dispatcher
from qfast.service import MAX_QUEUED, Service
from qfast.session_verbs import SessionVerbs
from qfast.sse import routes

log = logging.getLogger("qfast.app")

DRAIN_SECONDS = 20.0  # that running jobs may take to end after SIGTERM
GRACE_SECONDS = 1.0  # that answers may take to be read after that
PR_SET_PDEATHSIG = 1


class Server:
    """Everything that lives while the server does."""

    def __init__(self) -> None:
        environ = os.environ
        self.host = environ.get("QFAST_HOST", "127.0.0.1")
        self.port = int(environ.get("QFAST_PORT", "8088"))
        self.data_dir = Path(environ.get("QFAST_DATA_DIR") or platformdirs.user_data_dir("qfast", appauthor=False))
        self.devices_file = Path(environ["QFAST_DEVICES"]) if environ.get("QFAST_DEVICES") else None
        self.keys_file = Path(environ["QFAST_KEYS"]) if environ.get("QFAST_KEYS") else None
        self.webhook_key = Path(environ.get("QFAST_WEBHOOK_KEY") or self.data_dir / "webhook.key")
        self.tls = bool(environ.get("QFAST_TLS_CERT"))
        self.store_name = environ.get("QFAST_STORE") or "sqlite"
        self.loopback = is_loopback_host(self.host.encode() if ":" not in self.host else f"[{self.host}]".encode())
        self.access = Access(self.keys_file)
        self.admission = Admission()
        self.connections = Connections(
            self.port,
            capacity=capacity(),
            per_address=int(environ.get("QFAST_CONNECTIONS_PER_ADDRESS") or 0),
            answering=self.admission.answering,
        )
        self.facades: list[Facade] = []  # told when there are jobs
        self.dispatcher: Dispatcher | None = None
        self.jobs: Jobs | None = None
        self.ready = False

    def current_dispatcher(self) -> Dispatcher:
        """The dispatcher; it is there whenever a request is."""
        if self.dispatcher is None:
            raise Unavailable("the server is starting", extra={"retry_after": 1})
        return self.dispatcher

    def current_events(self) -> Events:
        """The changes of jobs; they are there whenever a request is."""
        if self.jobs is None:
            raise Unavailable("the server is starting", extra={"retry_after": 1})
        return self.jobs.events

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """The ASGI lifespan: start everything, and on shutdown drain and stop it."""
        await receive()
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.run())
            except QfastError as error:
                print(f"qfast: {error}", file=sys.stderr, flush=True)
                await send({"type": "lifespan.startup.failed", "message": ""})
                return
            except Exception:
                log.exception("the server cannot start")
                await send({"type": "lifespan.startup.failed", "message": ""})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def open_store(self) -> plugins.Store:
        """The configured store, not yet opened."""
        url = self.store_name.startswith(("postgresql://", "postgres://"))
        name, place = ("postgres", self.store_name) if url else (self.store_name, self.data_dir)
        try:
            store: plugins.Store = plugins.load("stores", name)(place)
        except KeyError:
            known = ", ".join(plugins.names("stores"))
            raise ConfigurationInvalid(f"store: {name!r} is not one of {known}") from None
        except ImportError as error:
            raise ConfigurationInvalid(f"store: {name} needs pip install 'qfast[{name}]' ({error})") from None
        return store

    @staticmethod
    def callback_networks() -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Networks that callbacks may go to besides the usual ones: QFAST_CALLBACK_ALLOW, separated by commas."""
        words = [word.strip() for word in os.environ.get("QFAST_CALLBACK_ALLOW", "").split(",")]
        try:
            return tuple(ipaddress.ip_network(word) for word in words if word)
        except ValueError as error:
            raise ConfigurationInvalid(f"QFAST_CALLBACK_ALLOW: {error}") from None

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Start everything; on the way out drain and stop it."""
        _die_with_parent()
        store = self.open_store()
        devices = read_devices(self.devices_file)
        backends = {name: Backend(device, open_driver(device)) for name, device in devices.items()}
        await store.open()
        guard = AddressGuard(loopback_only=self.loopback, allowed=self.callback_networks())
        secret = load_secret(self.webhook_key)
        if getattr(store, "shared", False) and not os.environ.get("QFAST_WEBHOOK_KEY"):
            shared: Any = store  # a callback is signed alike by every node: with the first one's secret
            secret = (await shared.keep_note("webhook-secret", secret.encode())).decode()
        deliverer = Deliverer(store, guard=guard, signing_secret=secret)
        jobs = self.jobs = jobs_of(store, backends, ended=deliverer.notify)
        audit = None
        if self.access.required:
            audit = Audit(self.data_dir / "audit.jsonl")
            jobs.events.heard, self.access.admitted = audit.state, audit.call
        service = Service(
            jobs,
            check_callbacks=lambda value: validate_callbacks(value, guard=guard),
            max_queued=int(os.environ.get("QFAST_MAX_QUEUED") or MAX_QUEUED),
        )
        engine = Engine(jobs)
        await jobs.open()
        rooms = (service, CallbackVerbs(jobs), SessionVerbs(jobs), Discovery(jobs))
        verbs = {name: verb for room in rooms for name, verb in room.verbs().items()}
        self.dispatcher = Dispatcher(verbs)
        for facade in self.facades:
            facade.open(jobs, verbs)
        deliveries = asyncio.ensure_future(deliverer.run())
        engine.start()
        announce = asyncio.ensure_future(self._announce(engine))
        watch = asyncio.ensure_future(self.connections.watch())
        gc.collect()
        gc.freeze()  # what lives as long as the server need not be looked at again: it cost pauses of 100 ms
        gc.set_threshold(50_000, 20, 50)
        try:
            yield
        finally:
            self.ready = False
            announce.cancel()
            watch.cancel()
            await self._drain(engine)
            await deliverer.close()
            deliveries.cancel()
            for backend in backends.values():
                backend.driver.close()
            await store.close()
            if audit is not None:
                audit.close()

    async def _drain(self, engine: Engine) -> None:
        if self.jobs is not None:
            self.jobs.stop_waiting()
        await engine.drain(DRAIN_SECONDS)

    async def _announce(self, engine: Engine) -> None:
        """Print the URL once the server answers, and from then on drain on SIGTERM before the HTTP side stops.

        Granian's own graceful stop refuses new connections at once; a client that waits for its job should still get
        its answer. So SIGTERM drains first, and then goes on as SIGINT, which granian handles. A second SIGTERM ends the
        draining: what runs goes back to the queue. Granian then waits for every connection, so those that stall are closed.
        """
        while True:
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        stopping: list[asyncio.Task[None]] = []

        async def stop() -> None:
            await self._drain(engine)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(GRACE_SECONDS)
            self.connections.close_all()

        def on_term() -> None:
            if not stopping:
                stopping.append(loop.create_task(stop()))
            else:
                engine.hurry()

        loop.add_signal_handler(signal.SIGTERM, on_term)
        self.ready = True
        shown = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "https" if self.tls else "http"
        print(f"qfast {__version__} answers on {scheme}://{shown}:{self.port}", flush=True)


def _die_with_parent() -> None:
    """A kill -9 of `qfast serve` must not leave this process serving; it may have come before we were here."""
    parent = int(os.environ.get("QFAST_MAIN_PROCESS", "0")) or os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGKILL)


@get("/", sync_to_thread=False)
def index() -> dict[str, Any]:
    """What this is and where to go on."""
    return {
        "name": "qfast",
        "version": __version__,
        "rpc": ["/v1/job", "/v1/session", "/v1/device", "/v1/driver", "/v1/transpiler", "/v1/system", "/version"],
        "discover": {"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"},
        "events": "/v1/job/events?job_id={job_id}",
        "health": ["/livez", "/readyz"],
    }


@get("/livez", sync_to_thread=False)
def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@get("/readyz", sync_to_thread=False)
def readyz(state: State) -> Response[dict[str, str]]:
    """Whether submits are taken."""
    server: Server = state.server
    ready = server.ready and server.jobs is not None and not server.jobs.draining
    return Response({"status": "ok" if ready else "stopping"}, status_code=200 if ready else 503)


def _problem(_request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    body = {"type": "about:blank", "title": error.detail, "status": error.status_code, "detail": error.detail}
    return Response(body, status_code=error.status_code, media_type="application/problem+json", headers=error.headers)


def create() -> App:
    """The ASGI application, configured by the QFAST_* environment variables."""
    logging.basicConfig(level=os.environ.get("QFAST_LOG", "WARNING").upper(), stream=sys.stderr)
    server = Server()
    litestar = Litestar(
        route_handlers=[index, livez, readyz],
        exception_handlers={HTTPException: _problem},
        state=State({"server": server}),
        openapi_config=None,
    )
    pages: Any = litestar  # an ASGI application with narrower annotations
    hold = float(os.environ.get("QFAST_IBM_HOLD", HOLD))
    rest = Facade(pages, access=server.access, loopback=server.loopback, admission=server.admission, hold=hold)
    server.facades.append(rest)
    streams = routes(server.current_events)
    front = HttpFront(
        server.current_dispatcher,
        rest,
        loopback=server.loopback,
        routes=streams,
        access=server.access,
        admission=server.admission,
    )

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await server.lifespan(receive, send)
        else:
            await front(scope, receive, send)

    return application
