"""Servers: many stations, several versions, on as many ports as wanted.

:class:`Server` speaks all of them; :class:`CentralSystem`, :class:`CSMS` and
:class:`ControlCenter` are it with the versions of their name.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from evproto.aio.ocpp.admission import Admission, Authenticate, Security, select_subprotocol
from evproto.aio.ocpp.endpoint import Endpoint
from evproto.aio.ocpp.handlers import Context
from evproto.aio.ocpp.link import (
    Accept,
    Ending,
    Handshake,
    Link,
    Receiver,
    Refuse,
    TurnAway,
    choose_engine,
)
from evproto.aio.ocpp.peer import Peer
from evproto.aio.ocpp.routing import Identity, Routes, spell_identity
from evproto.aio.ocpp.settings import ServerSettings
from evproto.aio.ocpp.tls import ServerTLS
from evproto.aio.ocpp.websockets_link import ServerLink
from evproto.errors import SessionClosedError
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import CallResult, Codec
from evproto.payloads import Request, Response, Sender

if TYPE_CHECKING:
    from evproto.aio.plugins.host import PluginHost
    from evproto.aio.plugins.plugin import Plugin

__all__ = ["CSMS", "CentralSystem", "ControlCenter", "Listener", "Server", "Station"]

logger = logging.getLogger("evproto.aio.ocpp")

_COMPLAINTS = 100
"""Lines a minute about those who were not let in."""

R = TypeVar("R", bound=Response)

REPLACED = "replaced by a newer connection"
_PROBES = 3
"""How often a station is listened to before it is taken for dead, if this process is held up each time."""
_LATE = 0.05
"""Seconds by which the end of a wait may be late in a process that is not held up."""


class Station(Peer):
    """One station's connection to a server, from the server's side."""

    endpoint: Server
    booted: bool = False
    """Whether its last BootNotification on this connection was accepted."""
    boot: Any = None
    """That BootNotification's payload."""
    context: Any = None
    """The application's own; set it in :meth:`Server.on_connect`."""
    _pong: asyncio.Future[None] | None = None
    _pinged: float = 0.0

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The station's certificate (security profile 3), as :meth:`ssl.SSLSocket.getpeercert` gives it."""
        tls = self.link.ssl_object
        return (tls.getpeercert() or None) if tls is not None else None

    async def probe(self, timeout: float) -> bool:
        """Whether it answers a ping in time."""
        if self.ending is not None:
            return False
        if self._pong is None:
            self._pong = self._loop.create_future()
            self.link.ping()
        pong, asked = self._pong, self._clock()
        for _ in range(_PROBES):
            begun = self._clock()
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(pong)
                break
            except TimeoutError:
                if self.last_heard > asked:
                    break
                # If this process itself was held up, nobody could be heard; it listens once more.
                if self._clock() - begun < timeout + _LATE:
                    return False
        else:
            return False
        return self.ending is None

    def heard(self) -> None:
        super().heard()
        self._answer_probe()

    def on_answered(self, context: Context) -> None:
        answer = context.answer
        if context.call.action == "BootNotification" and type(answer) is CallResult:
            self.boot = context.call.payload
            self.booted = getattr(answer.payload, "status", None) == "Accepted"
            self.endpoint.peer_booted(self, self.boot, answer.payload)

    def _answer_probe(self) -> None:
        pong, self._pong = self._pong, None
        if pong is not None and not pong.done():
            pong.set_result(None)

    def on_ended(self, ending: Ending) -> None:
        self._answer_probe()
        self.endpoint.station_gone(self, ending)


class Listener:
    """One open port."""

    def __init__(self, server: Server, security: Security, tls: ServerTLS | None) -> None:
        self._server = server
        self.security = security
        self.tls = tls
        self.port = 0
        """The port; of several sockets, the first one's."""
        self._sockets: asyncio.Server | None = None
        self._links: set[ServerLink] = set()

    @property
    def secure(self) -> bool:
        return self.tls is not None

    async def open(self, host: str | Sequence[str] | None, port: int) -> None:
        options = self._server.settings.link
        admit = partial(self._server.admit, self.security)
        hand_over: Callable[[ServerLink, Accept, bytes], bool] | None = None
        if choose_engine(self._server.settings.engine) == "picows":
            from evproto.aio.ocpp import picows_link

            hand_over = picows_link.hand_over
        links = self._links

        def make() -> ServerLink:
            link = ServerLink(admit, options, hand_over, links.discard)
            links.add(link)
            return link

        self._sockets = await asyncio.get_running_loop().create_server(
            make,
            host,
            port,
            ssl=self.tls.context if self.tls is not None else None,
            ssl_handshake_timeout=options.open_timeout if self.tls is not None else None,
            backlog=2048,
        )
        self.port = self._sockets.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Take no more connections; those that are open stay, those that are being opened do not."""
        if self._sockets is not None:
            self._sockets.close()
        for link in tuple(self._links):
            if link.receiver is None:
                link.abort("the port was closed")


class Server(Endpoint[Station]):
    """A server for any of the versions.

    Args:
        codecs: what is spoken, a codec for each version; their modes and
            policies say how strictly.
        routes: patterns of paths, the first that matches wins; see
            :mod:`evproto.aio.ocpp.routing`.
        authenticate: is asked for every client that wants in, on every port;
            see :class:`evproto.aio.ocpp.admission.Admission`. Plain or async.
        names_match: for security profile 3; see :class:`Security`.
        default_version: what to speak with clients that offer no
            subprotocol, as in ``"ocpp1.6"``; None: nothing.
        codec_for: gives a codec of one station's own, say a lenient one; it is
            called with what is known of the station and the codec of its version.
        plugins: see :mod:`evproto.aio.plugins`; a text is the name of one that is installed.
        settings: see :class:`ServerSettings`.
    """

    _codecs: tuple[Codec, ...] = (v21.codec, v201.codec, v16.codec, v10.codec)

    def __init__(
        self,
        codecs: Sequence[Codec] | None = None,
        *,
        routes: Sequence[str] = ("/{id}",),
        authenticate: Authenticate | None = None,
        names_match: Callable[[Identity, dict[str, Any]], bool] | None = None,
        default_version: str | None = None,
        codec_for: Callable[[Admission, Codec], Codec] | None = None,
        plugins: Iterable[Plugin | str] = (),
        settings: ServerSettings | None = None,
    ) -> None:
        spoken = tuple(codecs) if codecs is not None else self._codecs
        self.codecs: Mapping[str, Codec] = MappingProxyType({codec.dialect.name: codec for codec in spoken})
        if not self.codecs or len(self.codecs) != len(spoken):
            raise ValueError("a server speaks at least one version, and has one codec for each")
        if default_version is not None and default_version not in self.codecs:
            raise ValueError(f"{default_version!r} is not among {', '.join(self.codecs)}")
        super().__init__((codec.dialect for codec in spoken), Sender.CSMS)
        self.routes = Routes(routes)
        self.settings = settings or ServerSettings()
        choose_engine(self.settings.engine)
        self._authenticate = authenticate
        self._names_match = names_match
        self._default_version = default_version
        self._codec_for = codec_for
        self._stations: dict[Identity, Station] = {}
        self.stations: Mapping[Identity, Station] = MappingProxyType(self._stations)
        """Who is connected, by identity."""
        self.listeners: list[Listener] = []
        self._complaints = (0, 0)
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None
        self._plugins: PluginHost | None = None
        for plugin in plugins:
            self.plug(plugin)

    def plug(self, plugin: Plugin | str) -> None:
        """Add a plug-in, or the one that is installed under a name, before the first port is opened.

        It serves what no handler is registered for by class or name, and no
        plug-in before it. It is started when the first port is opened, and
        closed with the server.

        Raises:
            PluginError: there is no such plug-in, or it cannot be loaded.
            ValueError: it was added before, or too late.
        """
        if self._plugins is None:
            from evproto.aio.plugins.host import PluginHost

            self._plugins = PluginHost(self)
        self._plugins.add(plugin)

    # Ports

    async def listen(
        self,
        host: str | Sequence[str] | None,
        port: int = 0,
        *,
        tls: ServerTLS | None = None,
        profile: int | None = None,
    ) -> Listener:
        """Open a port; may be called for several, with and without TLS.

        Args:
            host: an address, or several; None: all of this machine's.
            port: 0 takes a free one; ``listener.port`` says which.
            tls: certificates, for ``wss``.
            profile: the security profile; None: the highest that ``tls`` and ``authenticate`` make possible.

        Raises:
            ValueError: the profile needs what is not there.
            PluginError: a plug-in cannot be started.
            OSError: the port is taken, or not to be had.
        """
        if self._closing:
            raise SessionClosedError("the server was closed")
        if profile is None:
            passwords = self._authenticate is not None
            profile = (
                3 if tls is not None and tls.client_ca is not None else (2 if tls else 1) if passwords else 0
            )
        security = Security(profile, self._authenticate, self._names_match)
        if profile >= 2 and tls is None:
            raise ValueError(f"security profile {profile} needs certificates")
        if profile == 3 and (tls is None or tls.client_ca is None):
            raise ValueError("security profile 3 needs the CA of the clients")
        if profile == 1 and tls is not None:
            raise ValueError("security profile 1 is without TLS; with it, it is profile 2")
        if self._plugins is not None:
            await self._plugins.start()
        # What the first wrong frame needs is loaded now: it takes a second, and would hold up everybody then.
        await asyncio.to_thread(Codec.warm_up)
        listener = Listener(self, security, tls)
        await listener.open(host, port)
        self.listeners.append(listener)
        self._loop = asyncio.get_running_loop()
        if self._keeper is None and self.settings.ping_interval is not None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())
        return listener

    async def serve_forever(self) -> None:
        """Wait until cancelled, then close."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    async def close(self, grace: float = 10.0, reason: str = "the server is going away") -> None:
        """Close all ports and connections (code 1001), and let handlers finish.

        Handlers that run longer than ``grace`` seconds are cancelled.
        """
        self._closing = True
        for listener in self.listeners:
            listener.close()
        if self._keeper is not None:
            self._keeper.cancel()
        links = [station.link for station in self._stations.values()]
        for station in tuple(self._stations.values()):
            station.close(1001, reason)
        await asyncio.gather(*(link.wait_closed() for link in links))
        await self.settle(grace)
        if self._plugins is not None:
            await self._plugins.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # Stations

    def station(self, *identity: str) -> Station:
        """The connection of a station, to call it::

            await csms.station("CS001").call(ResetRequest(...))

        Raises:
            SessionClosedError: it is not connected.
        """
        found = self._stations.get(identity)
        if found is None:
            raise SessionClosedError(f"{spell_identity(identity)} is not connected")
        return found

    def call_threadsafe(
        self, identity: str | Identity, request: Request[R], *, timeout: float | None = None
    ) -> concurrent.futures.Future[R]:
        """Call a station from a thread that is not the event loop's.

        What :meth:`Station.call` raises, the future raises; also
        SessionClosedError if the station is not connected.
        """
        if self._loop is None:
            raise SessionClosedError("the server does not run")
        wanted = (identity,) if isinstance(identity, str) else identity

        async def call() -> R:
            return await self.station(*wanted).call(request, timeout=timeout)

        return asyncio.run_coroutine_threadsafe(call(), self._loop)

    # Coming and going

    async def admit(self, security: Security, handshake: Handshake) -> Accept | Refuse:
        """Decide about one client; the documents' reactions are in 1.6-J and part 4, section 3.2."""
        if self._closing:
            return Refuse(503, "The server is going away.\n")
        found = self.routes.match(handshake.path)
        if found is None:
            return Refuse(404, "No charger can have this path.\n")
        identity = found[1]
        refusal = await security.check(identity, handshake)
        if refusal is not None:
            self._complain(
                "%s refused: %d %s", spell_identity(identity), refusal.status, refusal.text.strip()
            )
            return refusal
        chosen = select_subprotocol(handshake.subprotocols, self.spoken_with(identity))
        if chosen is None and not handshake.subprotocols:
            assumed = self.assumed_version(identity)
            chosen = None if assumed is None else (assumed, "")
        if chosen is None:
            offered = ", ".join(handshake.subprotocols) or "no subprotocol"
            self._complain("%s offers %s, spoken are %s", spell_identity(identity), offered, [*self.codecs])
            # Let in and closed (1.6-J and part 4, section 3.2).
            return Accept(partial(TurnAway, reason="none of the offered subprotocols is spoken here"))
        version, spelled = chosen
        codec = self.codecs[version]
        if self._codec_for is not None:
            codec = self._codec_for(Admission(identity, handshake, None, handshake.peer_certificate), codec)
        refusal = await self._make_room(identity)
        if refusal is not None:
            return refusal
        return Accept(partial(self._arrived, identity, codec), spelled or None)

    def _complain(self, text: str, *about: object) -> None:
        """Log what became of somebody who was not let in: strangers must not be able to fill the log."""
        minute = int(time.monotonic() // 60)
        if minute != self._complaints[0]:
            self._complaints = minute, 0
        self._complaints = minute, self._complaints[1] + 1
        if self._complaints[1] <= _COMPLAINTS:
            logger.info(text, *about)

    def spoken_with(self, identity: Identity) -> Sequence[str]:
        """What a client that was let in may choose from; for subclasses that know each of them."""
        return tuple(self.codecs)

    def assumed_version(self, identity: Identity) -> str | None:
        """What to speak with a client that offers no subprotocol; for subclasses that know each of them."""
        return self._default_version

    async def _make_room(self, identity: Identity) -> Refuse | None:
        """Deal with a connection that this identity has already."""
        policy = self.settings.duplicates
        # Again after each probe: another one may have come meanwhile.
        while (old := self._stations.get(identity)) is not None:
            if policy == "oldest":
                return Refuse(409, "This charger is connected already.\n")
            alive = await old.probe(self.settings.probe_timeout)
            if alive and policy == "alive":
                return Refuse(409, "This charger is connected already, and alive.\n")
            if old.ending is None:
                self._replace(old, alive)
        return None

    def _replace(self, old: Station, alive: bool) -> None:
        if alive:
            logger.warning(
                "%s connects again while its old connection is alive", spell_identity(old.identity)
            )
            old.close(1008, REPLACED)
        else:
            old.link.abort(REPLACED)

    def _arrived(self, identity: Identity, codec: Codec, link: Link) -> Receiver:
        old = self._stations.get(identity)
        if old is not None:
            # Two came in the same moment.
            self._replace(old, alive=True)
        station = Station(self, link, codec, identity=identity, settings=self.settings.peer)
        self._stations[identity] = station
        self.peer_connected(station)
        return station

    def station_gone(self, station: Station, ending: Ending) -> None:
        """What a station reports at its end."""
        if self._stations.get(station.identity) is station:
            del self._stations[station.identity]
        self.peer_disconnected(station, ending)

    async def _keep(self) -> None:
        """Pings stations that are silent, and gives up those that stay so."""
        interval = self.settings.ping_interval
        assert interval is not None
        pause = min(interval, self.settings.ping_timeout) / 4
        clock = asyncio.get_running_loop().time
        woke = clock()
        while True:
            await asyncio.sleep(pause)
            now = clock()
            # If this process itself was held up, nobody could be heard.
            late, woke = now - woke > 3 * pause, now
            for station in tuple(self._stations.values()):
                silent = now - station.last_heard
                if silent < interval:
                    continue
                if silent >= interval + self.settings.ping_timeout and not late:
                    station.link.abort(f"nothing was heard for {silent:.0f} s")
                elif station._pinged <= station.last_heard:
                    station._pinged = now
                    station.link.ping()


class CentralSystem(Server):
    """The server of OCPP 1.6."""

    _codecs = (v16.codec,)


class CSMS(Server):
    """The charging station management system of OCPP 2.0.1 and 2.1."""

    _codecs = (v21.codec, v201.codec)


class ControlCenter(Server):
    """The server of ntxcp."""

    _codecs = (v10.codec,)

    @property
    def gateways(self) -> Mapping[Identity, Station]:
        """Who is connected, by identity."""
        return self.stations

    def gateway(self, *identity: str) -> Station:
        """The connection of a gateway; as :meth:`Server.station`."""
        return self.station(*identity)
