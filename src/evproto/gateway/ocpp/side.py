"""What listens for chargers of OCPP and gateways of ntxcp: WebSockets, plain and with TLS."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from evproto.aio.ocpp import (
    ANY,
    Admission,
    Ending,
    Handshake,
    Identity,
    LinkOptions,
    PeerSettings,
    Security,
    Server,
    ServerSettings,
    ServerTLS,
    Station,
    Watched,
)
from evproto.aio.ocpp.admission import select_subprotocol
from evproto.aio.ocpp.link import Accept, Refuse
from evproto.aio.ocpp.routing import Route
from evproto.gateway.adapter import Adapter, ListenError, Presence
from evproto.gateway.admission import Admitted, ChargerSettings, Door, Knock
from evproto.gateway.config import Config, ConfigError
from evproto.gateway.events import moment
from evproto.gateway.hook import Hook
from evproto.gateway.left_out import check_left_out, check_names
from evproto.gateway.logs import data
from evproto.gateway.metrics import Metrics
from evproto.gateway.ocpp.adapter import OcppAdapter
from evproto.gateway.ocpp.answers import Answers
from evproto.gateway.ocpp.conversation import Conversation
from evproto.gateway.ocpp.frames import event_name, show_frame
from evproto.gateway.ocpp.known import KnownCharger, KnownChargers
from evproto.gateway.ocpp.names import LONGEST, charger_name
from evproto.gateway.ocpp.serving import Serving
from evproto.gateway.outbox import Outbox
from evproto.gateway.sightings import Connection, connection_event
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocpp.stations import BOOT_2
from evproto.ocppj import Codec, Dialect
from evproto.ocppj.boot import BootGate, BootState
from evproto.ocppj.dialect import CALL, SEND
from evproto.payloads import Sender

__all__ = ["OcppSide"]

logger = logging.getLogger("evproto.gateway.ocpp")

_DIALECTS: Final[Mapping[str, Dialect]] = {
    module.dialect.name: module.dialect for module in (v16, v201, v21, v10)
}
_STATUS: Final = {"accept": "Accepted", "pending": "Pending"}
_AUTHORIZED: Final = {"accept": "Accepted", "refuse": "Invalid", "hook": "Invalid"}
"""The default answer to who wants to charge; where the hook is asked and says nothing, nobody may."""


class OcppSide:
    """The WebSocket side of a server; see :class:`evproto.gateway.adapter.Side`."""

    def __init__(
        self,
        config: Config,
        outbox: Outbox,
        metrics: Metrics,
        *,
        forwarding: bool,
        door: Door | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a side.

        Args:
            config: the settings.
            outbox: where events go.
            metrics: what is counted.
            forwarding: whether anybody gets events that are no records; if not, they are not stored.
            door: says who may come in; None: everybody.
            clock: seconds since 1970.

        Raises:
            ConfigError: the certificate cannot be used, or a message that is left out does not exist.
        """
        check_left_out(config.forward.leave_out)
        _check_asked(config)
        _check_routes(config.websocket.routes)
        self._config = config.websocket
        self._outbox = outbox
        self._metrics = metrics
        self._forwarding = forwarding
        self._door = door
        self._clock = clock
        self.presence: Presence | None = None
        self.ports: dict[str, int] = {}
        self._chargers = KnownChargers(
            limit=2 * config.websocket.max_connections, frames_kept=config.http.frames_kept
        )
        self._admitted: OrderedDict[Identity, ChargerSettings] = OrderedDict()
        self._adapters = _adapters(config, self._chargers, clock)
        assumed = config.websocket.default_version
        if assumed is not None and assumed not in self._adapters:
            spoken = ", ".join(self._adapters)
            raise ConfigError(
                [f"websocket.default-version: {assumed} is not spoken here; these are: {spoken}"]
            )
        self._tls = _tls(config)
        self._hook = None
        if config.ocpp.hook:
            try:
                self._hook = Hook(config.ocpp.hook, timeout=config.ocpp.hook_timeout)
            except ValueError as error:
                raise ConfigError([f"ocpp.hook: {error}"]) from None
        self._serving = Serving(
            config.ocpp,
            outbox,
            metrics,
            forwarding=forwarding,
            left_out=frozenset(config.forward.leave_out),
            hook=self._hook,
            clock=clock,
        )
        for adapter in self._adapters.values():
            metrics.know(adapter.protocol, adapter.event_names())
        self.server = self._make_server()

    def _make_server(self) -> Server:
        sockets = self._config
        server = _Server(
            self,
            [adapter.codec() for adapter in self._adapters.values()],
            routes=sockets.routes,
            authenticate=self._authenticate,
            default_version=sockets.default_version,
            codec_for=self._codec_for,
            settings=ServerSettings(
                peer=PeerSettings(
                    call_timeout=sockets.answer_timeout, rate=float(sockets.max_messages_per_second)
                ),
                link=LinkOptions(max_size=sockets.max_message, deflate=sockets.deflate),
                ping_interval=sockets.ping_interval,
                ping_timeout=sockets.ping_timeout,
                duplicates=sockets.duplicate,
            ),
        )
        server.on(ANY)(self._serving.on_request)
        server.on_connect(self._on_connect)
        server.on_boot(self._serving.on_boot)
        server.on_disconnect(self._on_disconnect)
        server.on_call_ended(self._serving.on_call_ended)
        server.on_error(self._serving.on_trouble)
        server.watch(self._on_frame)
        return server

    # --- life

    @property
    def adapters(self) -> Sequence[Adapter]:
        """See :class:`evproto.gateway.adapter.Side`."""
        return tuple(self._adapters.values())

    async def start(self) -> Mapping[str, str]:
        """See :class:`evproto.gateway.adapter.Side`."""
        for adapter in self._adapters.values():
            await asyncio.to_thread(adapter.warm_up)
        sockets = self._config
        wanted: list[tuple[str, str, int, ServerTLS | None]] = []
        if sockets.plain:
            wanted.append(("ws", "port", sockets.port, None))
        if sockets.tls_port is not None and self._tls is not None:
            wanted.append(("wss", "tls-port", sockets.tls_port, self._tls))
        found: dict[str, str] = {}
        for name, key, port, tls in wanted:
            profile = 3 if tls is not None and tls.client_ca is not None else 0
            try:
                listener = await self.server.listen(sockets.host, port, tls=tls, profile=profile)
            except OSError as error:
                raise ListenError(
                    f"websocket.{key}: cannot listen on {sockets.host}:{port}: {error.strerror or error}"
                ) from error
            self.ports[name] = listener.port
            found[name] = f"{sockets.host}:{listener.port}"
        return found

    def stop_listening(self) -> None:
        """Take no more connections."""
        for listener in self.server.listeners:
            listener.close()

    async def close(self, drain: float) -> None:
        """Stop listening, finish what is being handled, and disconnect."""
        await self.server.close(drain)
        if self._hook is not None:
            await self._hook.close()

    def online(self) -> Mapping[str, int]:
        """See :class:`evproto.gateway.adapter.Side`."""
        counts = dict.fromkeys(self._adapters, 0)
        for station in self.server.stations.values():
            counts[station.version] += 1
        return counts

    def connections(self) -> int:
        """See :class:`evproto.gateway.adapter.Side`."""
        return len(self.server.stations)

    # --- who comes in

    def has_room(self, identity: Identity) -> bool:
        """Whether one more may connect."""
        stations = self.server.stations
        return len(stations) < self._config.max_connections or identity in stations

    def set_version(self, identity: Identity) -> str | None:
        """The one version that a charger which was let in speaks; None: none is set for it."""
        settings = self._admitted.get(identity)
        return None if settings is None else settings.version

    async def _authenticate(self, admission: Admission) -> bool:
        if self._door is None:
            return True
        handshake, credentials = admission.handshake, admission.credentials
        chosen = select_subprotocol(handshake.subprotocols, tuple(self._adapters))
        version = chosen[0] if chosen is not None else self._config.default_version or ""
        said = await self._door.ask(
            Knock(
                protocol="ntxcp" if version.startswith("ntxcp") else "ocpp",
                charger=charger_name(admission.identity),
                address=_address(handshake.remote_address),
                secure=handshake.secure,
                username=None if credentials is None else credentials.username,
                password=None if credentials is None else credentials.password,
                certificate=admission.certificate,
                version=version,
            )
        )
        if not isinstance(said, Admitted):
            # The door has said why, in the log.
            self._metrics.login(version or "unknown", "refused")
            return False
        self._admitted[admission.identity] = said.settings
        self._admitted.move_to_end(admission.identity)
        while len(self._admitted) > 2 * self._config.max_connections:
            self._admitted.popitem(last=False)
        return True

    def _codec_for(self, admission: Admission, codec: Codec) -> Codec:
        settings = self._admitted.get(admission.identity)
        if settings is None or settings.validation is None:
            return codec
        return self._adapters[codec.dialect.name].codec(settings.validation)

    def _on_connect(self, station: Station) -> None:
        adapter = self._adapters[station.version]
        known = self._chargers.meet(charger_name(station.identity), adapter.protocol)
        settings = self._admitted.get(station.identity, ChargerSettings())
        gate = BootGate(BOOT_2) if adapter.protocol.startswith("ocpp2") else None
        if gate is not None and known.boot_status in tuple(BootState):
            # It was told on an earlier connection.
            gate.answered(known.boot_status, 0, asyncio.get_running_loop().time())
        conversation = station.context = Conversation(station, adapter, known, settings, gate)
        again = known.connection is not None
        known.connection = conversation
        known.settings = settings
        known.address = _address(station.remote_address)
        known.secure = station.secure
        known.connected = known.last_seen = self._clock()
        self._metrics.login(adapter.protocol, "accepted")
        logger.info("charger %s is online, %s, %s", known.charger, adapter.protocol, known.address)
        if self.presence is not None:
            self.presence.came(
                adapter, known.charger, station, lambda reason: station.close(1008, _short(reason))
            )
        self._post_connection(
            "online", adapter, known, {"address": known.address, "secure": known.secure, "again": again}
        )

    def _on_disconnect(self, station: Station, ending: Ending) -> None:
        conversation: Conversation = station.context
        conversation.end()
        known, adapter = conversation.known, conversation.adapter
        if self.presence is not None:
            self.presence.went(adapter, known.charger, station)
        if known.connection is not conversation:
            return
        known.connection = None
        known.offline_reason = str(ending)
        logger.info("charger %s is offline: %s", known.charger, known.offline_reason)
        self._post_connection("offline", adapter, known, {"reason": known.offline_reason})

    def _post_connection(
        self, kind: Any, adapter: OcppAdapter, known: KnownCharger, fields: dict[str, Any]
    ) -> None:
        event = connection_event(
            kind,
            charger=known.charger,
            protocol=adapter.protocol,
            time=moment(self._clock()),
            fields=fields,
        )
        adapter.note_connection(Connection(event))
        if self._forwarding:
            self._serving.post(event)

    # --- frames

    def _on_frame(self, watched: Watched) -> None:
        conversation: Conversation = watched.peer.context  # type: ignore[attr-defined]
        received = watched.direction == "in"
        now = self._clock()
        heard = conversation.hear(watched.data, now, received=received)
        adapter, known = conversation.adapter, conversation.known
        self._metrics.message(adapter.protocol, received, event_name(heard.kind, heard.action))
        if received:
            known.last_seen = now
        elif heard.kind in (CALL, SEND) and adapter.sending:
            adapter.written(heard.unique_id)
        adapter.note(known, heard)
        if logger.isEnabledFor(logging.DEBUG):
            shown = show_frame(heard, adapter.dialect, reveal=False)
            logger.debug(
                "frame %s",
                shown["name"] or "?",
                extra=data(charger=known.charger, direction="in" if received else "out", raw=shown["raw"]),
            )


class _Server(Server):
    """The server, with what only the gateway knows of chargers that connect."""

    def __init__(self, side: OcppSide, codecs: Sequence[Codec], **more: Any) -> None:
        super().__init__(codecs, **more)
        self._side = side

    async def admit(self, security: Security, handshake: Handshake) -> Accept | Refuse:
        found = self.routes.match(handshake.path)
        if found is not None:
            if len(charger_name(found[1])) > LONGEST:
                return Refuse(404, "No charger can have this path.\n")
            if not self._side.has_room(found[1]):
                return Refuse(503, "There is no room for one more.\n")
        answer = await super().admit(security, handshake)
        if isinstance(answer, Accept) and found is not None and not self._side.has_room(found[1]):
            # Others came while the door was asked.
            return Refuse(503, "There is no room for one more.\n")
        return answer

    def spoken_with(self, identity: Identity) -> Sequence[str]:
        version = self._side.set_version(identity)
        spoken = super().spoken_with(identity)
        return spoken if version is None else [one for one in spoken if one == version]

    def assumed_version(self, identity: Identity) -> str | None:
        version = self._side.set_version(identity)
        if version is None:
            return super().assumed_version(identity)
        return version if version in self.codecs else None


def _adapters(config: Config, chargers: KnownChargers, clock: Callable[[], float]) -> dict[str, OcppAdapter]:
    """What is spoken, the newest first."""
    found: dict[str, OcppAdapter] = {}
    spoken: list[str] = list(config.ocpp.versions) if config.ocpp.enabled else []
    for name in sorted(spoken, reverse=True):
        found[name] = OcppAdapter(
            _DIALECTS[name],
            chargers,
            mode=config.ocpp.validation,
            max_size=config.websocket.max_message,
            interval=config.ocpp.heartbeat_interval,
            answers=Answers(
                name, boot=_STATUS[config.ocpp.boot], authorize=_AUTHORIZED[config.ocpp.authorize]
            ),
            clock=clock,
        )
    if config.ntxcp.enabled:
        found[v10.dialect.name] = OcppAdapter(
            v10.dialect,
            chargers,
            mode=config.ntxcp.validation,
            max_size=config.websocket.max_message,
            interval=config.ntxcp.heartbeat_interval,
            answers=Answers(v10.dialect.name, boot="Accepted", authorize="Accepted"),
            clock=clock,
        )
    return found


def _check_asked(config: Config) -> None:
    """See that ``ocpp.ask`` names requests of chargers; where unknown ones come in, all names may be.

    Raises:
        ConfigError: it does not.
    """
    if config.ntxcp.enabled or config.ocpp.validation == "off":
        return
    known = {
        name
        for version in config.ocpp.versions
        for name, action in _DIALECTS[version].actions.items()
        if Sender.STATION in action.sent_by and action.response is not None
    }
    check_names("ocpp.ask: chargers have no request", config.ocpp.ask, known)


def _check_routes(routes: Sequence[str]) -> None:
    """See that the id stands last in each route: it is the user name of passwords, and last in names.

    Raises:
        ConfigError: it does not.
    """
    problems = []
    for route in routes:
        try:
            if Route.parse(route).names[-1] != "id":
                problems.append(f"websocket.routes: {{id}} is the last name in a route, unlike in {route!r}")
        except ValueError as error:
            problems.append(f"websocket.routes: {error}")
    if problems:
        raise ConfigError(problems)


def _tls(config: Config) -> ServerTLS | None:
    sockets = config.websocket
    if sockets.tls_port is None or sockets.tls_cert is None or sockets.tls_key is None:
        return None
    try:
        return ServerTLS(sockets.tls_cert, sockets.tls_key, sockets.tls_client_ca)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(
            str(file) for file in (sockets.tls_cert, sockets.tls_key, sockets.tls_client_ca) if file
        )
        raise ConfigError([f"websocket.tls-cert: {files} cannot be used: {error}"]) from None


def _short(reason: str) -> str:
    """As much as the close frame of a WebSocket takes: 123 bytes."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")


def _address(address: tuple[Any, ...]) -> str:
    if len(address) < 2:
        return ""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"
