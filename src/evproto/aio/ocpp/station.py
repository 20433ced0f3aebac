"""Stations: one connection to a server, kept up.

:class:`ChargingStation` speaks OCPP 2.0.1 and 2.1, :class:`ChargePoint` 1.6
and :class:`Gateway` ntxcp. Each connects, connects again when the connection
is lost (part 4, section 5.4), announces itself, sends heartbeats, and delivers
what must arrive.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import random
import ssl as ssl_module
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from evproto.aio.ocpp.delivery import Deliveries, Delivery
from evproto.aio.ocpp.endpoint import Endpoint
from evproto.aio.ocpp.link import Ending, HandshakeError, Link, Receiver, TurnAway
from evproto.aio.ocpp.offline import MemoryStore, SqliteStore, Store
from evproto.aio.ocpp.settings import StationSettings
from evproto.aio.ocpp.upstream import Upstream
from evproto.aio.ocpp.websockets_client import check_uri, connect
from evproto.errors import (
    CallEndedError,
    SessionClosedError,
    SessionError,
)
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocpp.stations import BOOT_1_6, BOOT_2, retention_1_6, retention_2
from evproto.ocppj import Codec
from evproto.ocppj.backoff import Backoff
from evproto.ocppj.boot import BootGate, BootRules, BootState
from evproto.ocppj.offline import Retention
from evproto.payloads import Notification, Request, Response, Sender

__all__ = ["ChargePoint", "ChargingStation", "Delivery", "Gateway"]

logger = logging.getLogger("evproto.aio.ocpp")

R = TypeVar("R", bound=Response)

Boot = Request[Any] | Mapping[str, Request[Any]] | Callable[[str], Request[Any]]

_RULES: dict[str, tuple[BootRules, Callable[[Any], Retention]]] = {
    v16.dialect.name: (BOOT_1_6, retention_1_6),
    v201.dialect.name: (BOOT_2, retention_2),
    v21.dialect.name: (BOOT_2, retention_2),
    v10.dialect.name: (BOOT_1_6, lambda request: Retention.DROP),
}


class ChargingStation(Endpoint[Upstream]):
    """A charging station of OCPP 2.0.1 and 2.1.

    Args:
        url: of the server, without the identity: ``ws://csms.example/ocpp``.
        identity: is added to it, percent-encoded.
        codecs: the versions it offers, preferred ones first.
        boot: the BootNotification it announces itself with: one request, one
            by version (``{"ocpp2.0.1": ...}``), or a function of the version.
            None: it does not announce itself, and nothing is held back.
        password: for basic authentication; bytes may be any (1.6 keys are).
        tls: for ``wss``; see :func:`evproto.aio.ocpp.tls.client_context`.
        store: a file for messages that must arrive; None: they are kept in memory.
        default_version: what to speak if the server names no version;
            None: the connection is given up then.
        settings: see :class:`StationSettings`.
        random: random numbers for the back-off, 0 <= number < 1.

    Raises:
        ValueError: ``url`` is none of ``ws`` or ``wss``.
    """

    _codecs: tuple[Codec, ...] = (v21.codec, v201.codec)

    def __init__(
        self,
        url: str,
        identity: str,
        *,
        codecs: Sequence[Codec] | None = None,
        boot: Boot | None = None,
        password: bytes | str | None = None,
        tls: ssl_module.SSLContext | None = None,
        store: Store | str | Path | None = None,
        default_version: str | None = None,
        settings: StationSettings | None = None,
        random: Callable[[], float] = random.random,
        connector: Callable[[Callable[[], asyncio.Protocol]], Any] | None = None,
    ) -> None:
        spoken = tuple(codecs) if codecs is not None else self._codecs
        self.codecs: Mapping[str, Codec] = MappingProxyType({codec.dialect.name: codec for codec in spoken})
        super().__init__((codec.dialect for codec in spoken), Sender.STATION)
        self.identity = identity
        self.url = f"{url.rstrip('/')}/{quote(identity, safe='')}"
        check_uri(self.url)
        self.settings = settings or StationSettings()
        self.upstream: Upstream | None = None
        """The connection; None while there is none."""
        self.failure: Exception | None = None
        """Why the last attempt to connect failed; None if it did not."""
        self.store: Store = (
            store if isinstance(store, Store) else SqliteStore(store) if store is not None else MemoryStore()
        )
        self._announcement = boot
        self._tls = tls
        self._headers: tuple[tuple[str, str], ...] = ()
        if password is not None:
            secret = password.encode() if isinstance(password, str) else password
            token = base64.b64encode(identity.encode() + b":" + secret).decode()
            self._headers = (("Authorization", f"Basic {token}"),)
        self._default_version = default_version
        self._random = random
        self._connector = connector
        self._gates: dict[str, BootGate] = {}
        self._deliveries = Deliveries(self)
        self._runner: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._news: asyncio.Event = asyncio.Event()
        self._closed = False

    # What an application does

    async def start(self) -> None:
        """Open the store and begin to connect; returns at once. :meth:`accepted` waits for more.

        Raises:
            StoreError: the store cannot be opened.
        """
        if self._runner is not None or self._closed:
            raise SessionError("the station was started already")
        self._loop = asyncio.get_running_loop()
        await self._deliveries.restore()
        self._runner = self._loop.create_task(self._run())

    async def close(self, grace: float = 10.0) -> None:
        """Close the connection and let handlers finish; what must arrive stays in the store."""
        self._closed = True
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
        self._tell_news()
        if self.upstream is not None:
            link = self.upstream.link
            self.upstream.close(1000, "the station is going away")
            await link.wait_closed()
        await self.settle(grace)
        self._deliveries.abandon()
        await self.store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        return self.upstream is not None

    @property
    def state(self) -> BootState:
        """How far the station has got with the server."""
        if self.upstream is None or self.upstream.gate is None:
            return BootState.ACCEPTED if self.upstream is not None else BootState.UNKNOWN
        return self.upstream.gate.state

    async def wait_connected(self) -> Upstream:
        """Wait until there is a connection."""
        return await self._wait(lambda: self.upstream is not None)

    async def accepted(self) -> Upstream:
        """Wait until there is a connection and the server has accepted the station."""
        return await self._wait(lambda: self.upstream is not None and self.state is BootState.ACCEPTED)

    async def call(
        self, request: Request[R], *, timeout: float | None = None, total: float | None = None
    ) -> R:
        """Send a request on the connection there is; as :meth:`Upstream.call`.

        Raises:
            SessionClosedError: there is none.
            NotAcceptedError: the server has not accepted the station yet.
        """
        return await self._there().call(request, timeout=timeout, total=total)

    def send(self, notification: Notification) -> None:
        """Send what is never answered (OCPP 2.1); as :meth:`Upstream.send`."""
        self._there().send(notification)

    async def deliver(self, request: Request[R], retention: Retention | None = None) -> Delivery[R]:
        """Have a message arrive, whatever it takes: after others like it, later if need be.

        It is in the store when this returns. ``retention`` says what becomes
        of it when too much is kept; None: what the document says of it.

        Raises:
            ValueError: the document does not have it kept; use :meth:`call`.
            InvalidMessageError: it breaks its schema.
            StoreError: it could not be kept.
            SessionClosedError: the station was closed.
        """
        self.check_not_closed()
        codec = self._codec_of(request)
        version = codec.dialect.name
        retention = retention or _RULES.get(version, _RULES["ntxcp1.0"])[1](request)
        if retention is Retention.DROP:
            raise ValueError(f"{request.action_name} is not kept by {version}; call() sends it")
        return await self._deliveries.put(codec, request, retention)

    def on_delivered(self, told: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Decorator: called with each message that was kept and what became of it.

        That is its response, or the exception if it was given up. After a
        restart this is the only one who learns of it.
        """
        self._deliveries.told.append(told)
        return told

    def amend(self, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Decorator: gives the message to send for one that was kept, just before it is sent.

        A StopTransaction of 1.6 that was kept before the server had given the
        transaction its id gets the id here.
        """
        self._deliveries.amend = change
        return change

    @property
    def undelivered(self) -> int:
        """Messages that are kept."""
        return len(self._deliveries)

    def _codec_of(self, request: Request[Any]) -> Codec:
        for codec in self.codecs.values():
            if codec.dialect.action_of(request) is not None:
                return codec
        raise ValueError(f"{type(request).__name__} is of none of {', '.join(self.codecs)}")

    # Connecting

    def _there(self) -> Upstream:
        if self.upstream is None:
            raise SessionClosedError(f"{self.identity} is not connected: {self.failure or 'not yet'}")
        return self.upstream

    async def _wait(self, true: Callable[[], bool]) -> Upstream:
        while not true():
            if self._closed:
                raise SessionClosedError("the station was closed")
            await self._news.wait()
        assert self.upstream is not None
        return self.upstream

    def check_not_closed(self) -> None:
        """For what belongs to it: raises SessionClosedError if it was closed."""
        if self._closed:
            raise SessionClosedError("the station was closed")

    def _tell_news(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _run(self) -> None:
        """Connects, again and again."""
        settings = self.settings
        backoff = Backoff(settings.wait_minimum, settings.random_range, settings.repeat_times)
        while True:
            least = 0.0
            try:
                link = await connect(
                    self.url,
                    partial(self._opened, backoff),
                    subprotocols=tuple(self.codecs),
                    headers=self._headers,
                    ssl=self._tls,
                    options=settings.link,
                    connector=self._connector,
                )
            except (OSError, TimeoutError, HandshakeError) as error:
                self.failure = error
                least = getattr(error, "retry_after", None) or 0.0
                logger.info("%s cannot connect to %s: %s", self.identity, self.url, error)
                self.connecting_failed(error)
            else:
                upstream = self.upstream
                if upstream is not None:
                    await self._attend(upstream)
                await link.wait_closed()
            self._tell_news()
            await asyncio.sleep(max(backoff.next(self._random()), least))

    def connecting_failed(self, error: Exception) -> None:
        """For subclasses: an attempt to connect has failed; the next one goes to what ``url`` is then."""

    def _opened(self, backoff: Backoff, link: Link) -> Receiver:
        version = link.subprotocol or self._default_version
        codec = self.codecs.get(version or "")
        if codec is None:
            self.failure = HandshakeError(f"the server speaks none of {', '.join(self.codecs)}")
            return TurnAway(link, "no version was agreed upon")
        upstream = Upstream(self, link, codec, identity=(self.identity,), settings=self.settings.peer)
        if self._announcement is not None:
            upstream.gate = self._gate(codec.dialect.name)
        backoff.reset()
        self.failure = None
        self.upstream = upstream
        self.peer_connected(upstream)
        self._tell_news()
        return upstream

    def upstream_gone(self, upstream: Upstream, ending: Ending) -> None:
        """What a connection reports at its end."""
        if self.upstream is upstream:
            self.upstream = None
            self.failure = SessionClosedError(str(ending))
        self.wake()
        self._tell_news()
        self.peer_disconnected(upstream, ending)

    def _gate(self, version: str) -> BootGate:
        gate = self._gates.get(version)
        if gate is None:
            rules = _RULES.get(version, _RULES["ocpp2.0.1"])[0]
            gate = self._gates[version] = BootGate(rules, self.settings.boot_retry)
        elif gate.state is not BootState.ACCEPTED and gate.deadline is None:
            # A BootNotification was on its way when the connection broke.
            gate.failed(asyncio.get_running_loop().time() - gate.retry)
        return gate

    # On one connection

    def wake(self) -> None:
        """Something has changed that the tasks of the connection wait for."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _attend(self, upstream: Upstream) -> None:
        """Everything this station does by itself, as long as the connection stands."""
        tasks = [
            asyncio.create_task(self._announce(upstream)),
            asyncio.create_task(self._deliveries.send(upstream)),
            asyncio.create_task(self._keep_alive(upstream)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.exception("%s has failed inside; connecting again", self.identity)
            upstream.close(1011, f"internal error: {type(error).__name__}")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def sleep_until(self, upstream: Upstream, deadline: float | None) -> bool:
        """For what belongs to it: wait for a time or a change; False once the connection has ended."""
        if not upstream.connected:
            return False
        changed = self._changed
        if deadline is None:
            await changed.wait()
        else:
            delay = deadline - asyncio.get_running_loop().time()
            if delay > 0:
                # Not wait_for(): before Python 3.12 it may swallow a cancellation.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await changed.wait()
        return upstream.connected

    async def _announce(self, upstream: Upstream) -> None:
        """BootNotification until accepted, then heartbeats."""
        gate, clock = upstream.gate, asyncio.get_running_loop().time
        if gate is None:
            return
        while upstream.connected:
            now = clock()
            if gate.due(now):
                await self._boot_once(upstream, gate)
                continue
            deadline = gate.deadline
            beat = gate.heartbeat_interval if self.settings.heartbeats else None
            if gate.state is BootState.ACCEPTED and beat:
                deadline = upstream.last_sent + beat
                if deadline <= now:
                    await self._beat(upstream)
                    continue
            await self.sleep_until(upstream, deadline)

    async def _boot_once(self, upstream: Upstream, gate: BootGate) -> None:
        request = self._boot_request(upstream.version)
        try:
            response = await upstream.call(request)
        except (CallEndedError, SessionClosedError) as error:
            logger.info("%s: BootNotification failed: %s", self.identity, error)
            gate.failed(asyncio.get_running_loop().time())
            return
        self.peer_booted(upstream, request, response)

    def boot_answered(self, upstream: Upstream, answer: Any) -> None:
        """A BootNotification was answered, whoever sent it."""
        assert upstream.gate is not None
        upstream.gate.answered(answer.status, answer.interval, asyncio.get_running_loop().time())
        upstream.gate_moved()
        self.wake()
        self._tell_news()

    def _boot_request(self, version: str) -> Request[Any]:
        boot = self._announcement
        if isinstance(boot, Mapping):
            found = boot.get(version)
            if found is None:
                raise LookupError(f"no BootNotification is given for {version}")
            return found
        if isinstance(boot, Request):
            return boot
        assert boot is not None
        return boot(version)

    async def _beat(self, upstream: Upstream) -> None:
        action = upstream.codec.dialect.actions["Heartbeat"]
        try:
            await upstream.call(action.request.type())  # type: ignore[arg-type]
        except (CallEndedError, SessionError) as error:
            logger.info("%s: Heartbeat failed: %s", self.identity, error)

    async def _keep_alive(self, upstream: Upstream) -> None:
        """Pings a server that is silent, and gives up one that stays so."""
        interval, clock = self.settings.ping_interval, asyncio.get_running_loop().time
        if interval is None:
            return
        while upstream.connected:
            due = upstream.last_heard + interval
            if due > clock():
                await self.sleep_until(upstream, due)
                continue
            before = upstream.last_heard
            upstream.link.ping()
            limit = clock() + self.settings.ping_timeout
            while upstream.connected and upstream.last_heard == before and clock() < limit:
                await self.sleep_until(upstream, min(limit, clock() + self.settings.ping_timeout / 10))
            if upstream.connected and upstream.last_heard == before:
                upstream.link.abort(f"nothing was heard for {clock() - before:.0f} s")


class ChargePoint(ChargingStation):
    """A charge point of OCPP 1.6."""

    _codecs = (v16.codec,)


class Gateway(ChargingStation):
    """A gateway of ntxcp."""

    _codecs = (v10.codec,)
