"""The server: outbox, protocols, API and forwarding, started and stopped together."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import importlib.metadata
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from starlette.routing import BaseRoute

from evproto.errors import EvprotoError
from evproto.gateway.adapter import Adapter, ListenError, Side
from evproto.gateway.admission import Door, make_door
from evproto.gateway.audit import Audit, AuditError
from evproto.gateway.capture import Capture
from evproto.gateway.commands import Command, CommandDesk
from evproto.gateway.config import Config, ConfigError, describe, is_public
from evproto.gateway.dropin import SUBJECT
from evproto.gateway.dropin_rest import dropin_routes, http_shape, nats_shape
from evproto.gateway.http_sink import HttpSink
from evproto.gateway.logs import data
from evproto.gateway.metrics import Metrics, OutboxObserver
from evproto.gateway.nats_sink import NatsSink, NatsStream, envelope
from evproto.gateway.ocpp import OcppSide
from evproto.gateway.openapi import openapi
from evproto.gateway.outbox import DeliverySettings, Outbox, OutboxError, Retention
from evproto.gateway.page import Page
from evproto.gateway.rest import Api
from evproto.gateway.routes import make_app
from evproto.gateway.sink import Sink
from evproto.gateway.tokens import Tokens, hash_of
from evproto.gateway.ykc_adapter import YkcAdapter
from evproto.gateway.ykc_setup import ssl_context

if TYPE_CHECKING:
    from evproto.gateway.cluster.cluster import Cluster

__all__ = ["Server", "StartError", "run"]

logger = logging.getLogger("evproto.gateway")

_FORMER: Final = ("http", "nats")
"""Names under which sinks keep their progress."""


_COLLECTOR: Final = (10_000, 20, 1_000)


class StartError(EvprotoError):
    """The server cannot start: an address is taken, a file cannot be used."""


class Server:
    """A running server. ``start`` and ``stop`` once each.

    Attributes:
        tcp_port: where piles connect.
        http_port: where the API is.
        ports: where chargers connect, by what the log calls it.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tcp_port = 0
        self.http_port = 0
        self.ports: dict[str, int] = {}
        self.metrics = Metrics()
        self.stopping = False
        self._outbox: Outbox | None = None
        self._audit: Audit | None = None
        self._desk: CommandDesk | None = None
        self._door: Door | None = None
        self._sides: list[Side] = []
        self._capture: Capture | None = None
        self._cluster: Cluster | None = None
        self._api: Api | None = None
        self._page: Page | None = None
        self._http: _Http | None = None
        self._http_task: asyncio.Task[None] | None = None
        self._housekeeper: asyncio.Task[None] | None = None

    @property
    def outbox(self) -> Outbox:
        """The outbox of a started server."""
        assert self._outbox is not None
        return self._outbox

    @property
    def sides(self) -> Sequence[Side]:
        """What listens for chargers, in a started server."""
        return tuple(self._sides)

    @property
    def adapters(self) -> Sequence[Adapter]:
        """The protocols of a started server."""
        return tuple(adapter for side in self._sides for adapter in side.adapters)

    @property
    def adapter(self) -> YkcAdapter:
        """The piles of a started server that serves YKC."""
        return next(side for side in self._sides if isinstance(side, YkcAdapter))

    @property
    def desk(self) -> CommandDesk:
        """The commands of a started server."""
        assert self._desk is not None
        return self._desk

    async def start(self) -> None:
        """Open the files, listen, and begin to forward.

        Raises:
            ConfigError: a file that the settings name is wrong.
            StartError: an address or a file cannot be used.
        """
        try:
            await self._start()
        except BaseException:
            await self.abort()
            raise

    async def _start(self) -> None:
        config = self.config
        directory = config.outbox.data
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._outbox = await Outbox.open(
                directory / "outbox.db",
                retention=Retention(
                    records=config.outbox.keep_records, messages=config.outbox.expire_messages
                ),
                max_bytes=config.outbox.max_bytes,
                observer=OutboxObserver(self.metrics),
            )
            self._audit = await Audit.open(directory / "audit.db", keep=config.outbox.keep_audit)
        except OSError as error:
            raise StartError(f"outbox.data: {directory} cannot be used: {error.strerror or error}") from error
        except (OutboxError, AuditError) as error:
            raise StartError(str(error)) from error
        self.metrics.watch_outbox(self._outbox.counts)
        self._desk = CommandDesk(self._audit, on_end=self._count_command)
        self._sides = self._make_sides()
        for adapter in self.adapters:
            self.metrics.know(adapter.protocol, adapter.messages)
        self._start_capture()
        self.metrics.watch_by(
            "evproto_chargers_online",
            "Chargers that are connected and served",
            "protocol",
            lambda: {name: count for side in self._sides for name, count in side.online().items()},
        )
        self.metrics.watch_by(
            "evproto_connections",
            "Connections of chargers, served or not yet, by what is spoken there",
            "protocols",
            lambda: {
                " ".join(adapter.protocol for adapter in side.adapters): side.connections()
                for side in self._sides
            },
        )
        self.metrics.watch("evproto_commands_pending", "Commands under way", lambda: float(self.desk.pending))
        # Said now, with the setting: the HTTP server would only end.
        ssl_context(config.http, "http")
        await self._forward()
        http = _listen(config.http.host, config.http.port)
        self._cluster = self._make_cluster()
        if self._cluster is not None:
            await self._cluster.start("{}:{}".format(*http.getsockname()))
        listening: dict[str, str] = {}
        try:
            # The last one reads schemas for seconds before it listens: a fleet finds all ports open, or none.
            for side in reversed(self._sides):
                listening = {**await side.start(), **listening}
        except ListenError as error:
            http.close()
            raise StartError(str(error)) from error
        for name, where in listening.items():
            self.ports[name] = int(where.rpartition(":")[2])
        self.tcp_port = self.ports.get("piles", 0)
        await self._serve_http(http)
        self._housekeeper = asyncio.create_task(self._keep_house(), name="housekeeping")
        scheme = "http" if config.http.tls_cert is None else "https"
        logger.info(
            "serving",
            extra=data(
                **listening,
                api=f"{scheme}://{config.http.host}:{self.http_port}",
                tcp_port=self.tcp_port,
                http_port=self.http_port,
                forward=",".join(config.forward.kinds) or "none",
                drop_in=config.drop_in.enabled,
                data=str(directory),
            ),
        )

    def _make_sides(self) -> list[Side]:
        """What listens for chargers, by the settings."""
        assert self._outbox is not None
        config = self.config
        forwarding = bool(config.forward.kinds)
        self._door = make_door(config)
        sides: list[Side] = []
        if config.ykc.enabled:
            sides.append(
                YkcAdapter(config, self._outbox, self.metrics, forwarding=forwarding, door=self._door)
            )
        if config.ocpp.enabled or config.ntxcp.enabled:
            sides.append(OcppSide(config, self._outbox, self.metrics, forwarding=forwarding, door=self._door))
        return sides

    def _make_cluster(self) -> Cluster | None:
        """This node's part in the cluster, if it is not alone."""
        if not self.config.cluster.servers:
            return None
        from evproto.gateway.cluster.cluster import Cluster

        if "stored" in (self.config.ykc.confirm, self.config.ocpp.confirm):
            logger.warning(
                "records are confirmed when they are on the disk of this node, which others cannot reach: "
                "forward them through JetStream, and leave ykc.confirm and ocpp.confirm unset"
            )
        cluster = Cluster(self.config.cluster, self.metrics)
        cluster.attach(self.desk)
        for side in self._sides:
            side.presence = cluster
        return cluster

    def _start_capture(self) -> None:
        """Write down what is on the wire, if the settings say so."""
        config = self.config.capture
        if config.file is None:
            return
        capture = Capture(config.file, max_bytes=config.max_bytes, files=config.files, redact=config.redact)
        try:
            capture.start()
        except OSError as error:
            raise StartError(
                f"capture.file: {config.file} cannot be written: {error.strerror or error}"
            ) from error
        self._capture = capture
        for adapter in self.adapters:
            adapter.tap(capture.tap)
        self.metrics.watch_total("evproto_capture_frames", "Frames written down", lambda: capture.frames)
        self.metrics.watch_total(
            "evproto_capture_missing", "Frames that could not be written down", lambda: capture.missing
        )

    async def _forward(self) -> None:
        """Begin to deliver; what waited for a receiver that is configured no more goes to the others."""
        assert self._outbox is not None
        sinks = make_sinks(self.config)
        if not sinks:
            waiting = self._outbox.sinks()
            if waiting:
                logger.warning("nothing is forwarded, and events wait for %s", ", ".join(waiting))
            return
        for sink in sinks:
            await self._outbox.deliver(sink, DeliverySettings(timeout=_delivery_timeout(self.config)))
        names = [sink.name for sink in sinks]
        for name in self._outbox.sinks():
            if name not in names and name in _FORMER:
                logger.warning("nothing waits for %s any more, events go to %s", name, " and ".join(names))
                await self._outbox.forget(name)

    async def _serve_http(self, listening: socket.socket) -> None:
        config = self.config
        assert self._outbox is not None
        assert self._audit is not None
        assert self._desk is not None
        entries = [(token.name, token.sha256, token.scope) for token in config.http.tokens]
        if config.http.token:
            entries.append(("environment", hash_of(config.http.token), "command"))
        adapters = self.adapters if self._cluster is None else self._cluster.wrap(self.adapters)
        self._api = api = Api(
            adapters,
            desk=self._desk,
            audit=self._audit,
            outbox=self._outbox,
            metrics=self.metrics,
            tokens=Tokens(entries),
            max_body=config.http.max_body,
            local=not is_public(config.http.host),
            readiness=self._problems,
        )
        more = dropin_routes(api, self.adapter, config.drop_in.trusted) if config.drop_in.enabled else []
        api.describe = lambda: openapi(api, version=_version())
        self._http = _Http(
            uvicorn.Config(
                make_app(api, [*more, *self.page_routes(api)]),
                loop="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                # Anybody could write X-Forwarded-For, and be of a trusted network.
                proxy_headers=False,
                ssl_certfile=config.http.tls_cert,
                ssl_keyfile=config.http.tls_key,
                ws="none",
                timeout_graceful_shutdown=max(1, round(config.server.drain_timeout)),
            )
        )
        self.http_port = listening.getsockname()[1]
        self._http_task = asyncio.create_task(self._http.serve(sockets=[listening]), name="http")
        waiting = asyncio.create_task(self._http.running.wait())
        await asyncio.wait({waiting, self._http_task}, return_when=asyncio.FIRST_COMPLETED)
        if not self._http.running.is_set():
            waiting.cancel()
            raise StartError("the HTTP server did not start; its log says why")

    def page_routes(self, api: Api) -> Sequence[BaseRoute]:
        """The routes of the live page, and of the stream of events."""
        self._page = Page(
            api,
            mode=self.config.http.page,
            version=_version(),
            abort=lambda scope: None if self._http is None else self._http.abort(scope),
        )
        return self._page.routes()

    def _problems(self) -> list[str]:
        """What keeps the server from being ready."""
        counts = self.outbox.counts()
        problems = []
        if self.stopping:
            problems.append("the server is stopping")
        if not counts.healthy:
            problems.append(f"the outbox cannot be written: {counts.error}")
        if self._cluster is not None:
            problems += self._cluster.problems()
        return problems

    def _count_command(self, command: Command) -> None:
        self.metrics.commands.labels(command.protocol, command.name, command.state).inc()
        if command.ended is not None:
            took = (command.ended - command.created).total_seconds()
            self.metrics.command_seconds.labels(command.protocol).observe(took)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(3600.0)
            with contextlib.suppress(AuditError):
                assert self._audit is not None
                await self._audit.prune(self.config.outbox.keep_audit)

    async def stop(self) -> None:
        """Take nothing new, finish what is under way for ``drain-timeout`` seconds, and close.

        Commands that have not ended then end as ``disconnected``; events that
        are not delivered are in the outbox, and delivered after the next start.
        """
        deadline = time.monotonic() + self.config.server.drain_timeout

        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        self.stopping = True
        if self._api is not None:
            self._api.draining = True
        for side in self._sides:
            side.stop_listening()
        if self._cluster is not None:
            # Other nodes send no commands from now on; those that they have sent are finished too.
            await self._cluster.leave()
        if self._desk is not None:
            if self._desk.pending:
                logger.info("stopping: %d commands are under way", self._desk.pending)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left()):
                    await self._desk.drain()
            await self._desk.close()
        if self._cluster is not None:
            await self._cluster.drain(left())
        await asyncio.gather(*(side.close(left()) for side in self._sides))
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            # What was connected here is nobody's now: that is said before this node is gone.
            await cluster.close(left())
        if self._outbox is not None:
            try:
                async with asyncio.timeout(left()):
                    await self._outbox.drained()
            except TimeoutError:
                pending = sum(sink.pending for sink in self._outbox.counts().sinks.values())
                logger.warning("%d events are not delivered yet; they are after the next start", pending)
        await self.abort()
        logger.info("stopped")

    async def abort(self) -> None:
        """Close everything without waiting."""
        if self._housekeeper is not None:
            self._housekeeper.cancel()
        if self._desk is not None:
            await self._desk.close()
        await asyncio.gather(*(side.close(0.0) for side in self._sides), return_exceptions=True)
        if self._cluster is not None:
            await self._cluster.close()
        if self._capture is not None:
            await asyncio.to_thread(self._capture.close)
        if self._door is not None:
            await self._door.close()
        if self._page is not None:
            # Streams end by themselves never.
            self._page.close()
        if self._http is not None and self._http_task is not None:
            self._http.should_exit = True
            with contextlib.suppress(Exception):
                await self._http_task
        if self._audit is not None:
            await self._audit.close()
        if self._outbox is not None:
            await self._outbox.close()
        self._housekeeper = self._desk = None
        self._sides = []
        self._capture = self._cluster = None
        self._page = self._http = self._http_task = self._audit = self._outbox = None


class _Http(uvicorn.Server):
    """uvicorn, without its own idea of signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.running = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the server's affair."""
        yield

    def abort(self, scope: MutableMapping[str, Any]) -> None:
        """Close the connection of a request, whatever has not been sent on it."""
        for connection in list(self.server_state.connections):
            if getattr(connection, "scope", None) is scope:
                connection.transport.abort()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.running.set()


def _delivery_timeout(config: Config) -> float:
    """How long a call of the sink may take, in seconds."""
    return max(60.0, 4 * config.forward.timeout)


def make_sinks(config: Config) -> list[Sink]:
    """Where events go, by the settings.

    Raises:
        ConfigError: a server is no URL.
    """
    makers = {"http": _http_sink, "nats": _nats_sink}
    try:
        return [makers[kind](config) for kind in config.forward.kinds]
    except ValueError as error:
        raise ConfigError([f"forward.servers: {error}"]) from None


def _http_sink(config: Config) -> Sink:
    forward = config.forward
    headers = {}
    if forward.username or forward.password:
        pair = f"{forward.username}:{forward.password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    more: dict[str, Any] = {"shape": http_shape(config.drop_in.vin)} if config.drop_in.enabled else {}
    return HttpSink(
        forward.servers_of("http"),
        timeout=forward.timeout,
        patience=_delivery_timeout(config) / 2,
        headers=headers,
        **more,
    )


def _nats_sink(config: Config) -> Sink:
    forward = config.forward
    seed = config.drop_in.enabled
    subjects = (f"{SUBJECT}.3b", f"{SUBJECT}.3d") if seed else ("evproto.record.>",)
    stream = NatsStream(forward.stream, subjects, forward.duplicate_window, replicas=config.cluster.replicas)
    shape = nats_shape(config.drop_in.vin) if seed else envelope()
    if config.cluster.servers:
        from evproto.gateway.cluster.records import same_from_all_nodes

        shape = same_from_all_nodes(shape)
    return NatsSink(
        forward.servers_of("nats"),
        shape=shape,
        stream=stream if forward.jetstream else None,
        username=forward.username or None,
        password=forward.password or None,
        timeout=forward.timeout,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), port), family=family, backlog=512)
    except OSError as error:
        raise StartError(f"http.port: cannot listen on {host}:{port}: {error.strerror or error}") from error


def _version() -> str:
    try:
        return importlib.metadata.version("evproto")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def _tune_collector() -> None:
    """Full collections stop a process with thousands of connections for 0.1 s and more: have few of them.

    What is there now stays, and need not be looked at again.
    """
    gc.set_threshold(*_COLLECTOR)
    gc.collect()
    gc.freeze()


async def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; a second one ends the process at once. Returns the exit status.

    Raises:
        ConfigError, StartError: see :meth:`Server.start`.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def on_signal(number: int) -> None:
        if asked.is_set():
            logger.warning("ended at once")
            logging.shutdown()
            # What was confirmed is on the disk already.
            os._exit(128 + number)
        logger.info("stopping, on %s; a second one ends it at once", signal.Signals(number).name)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        logger.debug("settings", extra=data(**describe(config)))
        server = Server(config)
        await server.start()
        _tune_collector()
        await asked.wait()
        await server.stop()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return 0
