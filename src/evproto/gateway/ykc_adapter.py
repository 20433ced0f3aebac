"""YKC in the server: piles, what they say, and what they are told.

A transaction record is stored before it is confirmed, whatever confirms it:
this module (``auto-record-confirm``) or the API. What cannot be stored is not
confirmed, and the pile keeps it.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec

from evproto.aio.ykc import ConnectedPile, Limits, Offline, Online, PileServer, Watched
from evproto.errors import (
    EvprotoError,
)
from evproto.gateway.adapter import Adapter, CommandType, Glance, ListenError, Presence, Sighting, Tap, Verb
from evproto.gateway.admission import Door, Knock, Refused
from evproto.gateway.config import Config
from evproto.gateway.events import Kind, moment
from evproto.gateway.logs import Throttle, data
from evproto.gateway.metrics import Metrics
from evproto.gateway.outbox import Outbox
from evproto.gateway.sightings import Connection, connection_event
from evproto.gateway.ykc_commands import PileCommands, subject
from evproto.gateway.ykc_events import message_event, name_of
from evproto.gateway.ykc_piles import KnownPile, KnownPiles, PileView, show_frame
from evproto.gateway.ykc_records import RecordKeeper
from evproto.gateway.ykc_setup import check_left_out, read_billing_model, read_dialects, ssl_context
from evproto.gateway.ykc_shown import FrameSighting, glance_of, message_schemas, recent_of, suggestions
from evproto.gateway.ykc_starts import Starter
from evproto.messages import Message
from evproto.wire.frame import Frame
from evproto.wire.table import Direction
from evproto.ykc import messages
from evproto.ykc.codec import Codec
from evproto.ykc.plain import to_plain
from evproto.ykc.records import is_record
from evproto.ykc.redact import hidden_in, hidden_in_bad, masked_hex, redact_plain
from evproto.ykc.session import Damaged, LoginReceived, MessageReceived, NotServed, PlatformSettings
from evproto.ykc.tariff import Tariff

__all__ = ["YkcAdapter", "read_billing_model"]

logger = logging.getLogger("evproto.gateway.ykc")

_NEWEST: Final = "1.7"
_CONFIRMATIONS: Final = 256
"""Records of one pile whose confirmation is remembered, to repeat it."""


class YkcAdapter:
    """The YKC side of a server; see :class:`evproto.gateway.adapter.Adapter`."""

    protocol: Final = "ykc"
    collection: Final = "piles"
    noun: Final = "pile"

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
        """Make an adapter.

        Args:
            config: the settings.
            outbox: where events go.
            metrics: what is counted.
            forwarding: whether anybody gets events that are no records; if not, they are not stored.
            door: is asked who may log in, after ``ykc.allow``; None: everybody.
            clock: seconds since 1970.

        Raises:
            ConfigError: the billing model, the certificate or a dialect cannot be used.
        """
        self._config = config.ykc
        self._outbox = outbox
        self._metrics = metrics
        self._forwarding = forwarding
        self._left_out = frozenset(config.forward.leave_out)
        check_left_out(config.forward.leave_out)
        self._clock = clock
        self._door = door
        self._at_door: set[ConnectedPile] = set()
        self._dialects: Mapping[str, Codec] = {}
        if door is not None:
            self._dialects = read_dialects(config.outbox.data / "dialects", config.ykc.checksum)
        self._piles = KnownPiles(limit=2 * config.ykc.max_connections, frames_kept=config.http.frames_kept)
        self._codecs: dict[str, Codec] = {}
        self._taps: list[Tap] = []
        self.presence: Presence | None = None
        self._frame_counts = metrics.frames
        metrics.know_frames(
            {kind: layouts[0].name for kind, layouts in self._codec(_NEWEST).layouts.items() if layouts}
        )
        self._may_complain = Throttle(100)
        self._watchers: list[Callable[[Sighting], None]] = []
        self._ssl = ssl_context(config.ykc)
        self._starter = Starter(config.ykc.start_balance, clock) if config.ykc.auto_start else None
        self._allowed = None if config.ykc.allow is None else {one.upper() for one in config.ykc.allow}
        self._versions = {pile.upper(): version for pile, version in config.ykc.versions.items()}
        tariff = None
        if config.ykc.billing_model is not None:
            tariff = read_billing_model(config.ykc.billing_model)
        self._records = RecordKeeper(
            config.ykc,
            outbox,
            metrics,
            self._piles,
            wall=lambda time: self.server.wall(time),
            forwarding=forwarding,
        )
        self.server = self._make_server(tariff)
        self._told = PileCommands(
            self._piles,
            newest=self._codec(_NEWEST),
            codec=self._codec,
            waiting=self._waits_for_command,
            records=self._records,
            metrics=metrics,
            start_balance=config.ykc.start_balance,
        )
        self.commands: Mapping[str, CommandType] = self._told.types
        self.codec_of = self._told.codec_of
        self.check = self._told.check
        self.prepare = self._told.prepare
        self.prepare_message = self._told.prepare_message
        self.perform = self._told.perform
        self.port = 0

    def _make_server(self, tariff: Tariff | None) -> PileServer:
        ykc = self._config
        server = PileServer(
            PlatformSettings(
                login_timeout=ykc.login_timeout,
                heartbeat_interval=ykc.heartbeat_interval,
                answer_heartbeats=ykc.auto_heartbeat,
                tariff=tariff if ykc.auto_billing_model else None,
                confirm_any_billing_model=bool(ykc.auto_billing_model) and tariff is None,
                sync_time=ykc.time_sync,
                request_timeout=ykc.answer_timeout,
            ),
            limits=Limits(
                max_connections=ykc.max_connections,
                max_per_address=ykc.max_connections_per_address or None,
                frame_rate=ykc.max_frames_per_second,
            ),
            codec=self._codec(_NEWEST),
            codec_for=self._codec_for,
            heartbeat_for=None if self._door is None else self._heartbeat_for,
            authenticate=self._authenticate,
            duplicates=ykc.duplicate,
        )
        server.on(Online)(self._on_online)
        server.on(Offline)(self._on_offline)
        server.on_message(
            self._on_message,
            heartbeats=not self._config.auto_heartbeat
            or (self._forwarding and "heartbeat_request" not in self._left_out),
        )
        server.on_record(self._records.on_record)
        server.on(NotServed)(self._on_not_served)
        server.on(Damaged)(self._on_damaged)
        server.tap(self._on_bytes)
        if logger.isEnabledFor(logging.DEBUG):
            server.watch(self._log_frame)
        return server

    # --- life

    @property
    def adapters(self) -> Sequence[Adapter]:
        """See :class:`evproto.gateway.adapter.Side`."""
        return (self,)

    async def start(self) -> Mapping[str, str]:
        """See :class:`evproto.gateway.adapter.Side`."""
        host, port = self._config.host, self._config.tcp_port
        try:
            self.port = await self.server.start(host, port, ssl=self._ssl)
        except OSError as error:
            raise ListenError(
                f"ykc.tcp-port: cannot listen on {host}:{port}: {error.strerror or error}"
            ) from error
        return {"piles": f"{host}:{self.port}"}

    def stop_listening(self) -> None:
        """Take no more connections."""
        self.server.stop_listening()

    async def close(self, drain: float) -> None:
        """Stop listening, finish what is being handled, and disconnect."""
        await self._records.close()
        await self.server.close(drain)

    # --- logins and connections

    def _codec(self, version: str) -> Codec:
        found = self._codecs.get(version)
        if found is None:
            found = self._codecs[version] = Codec(version, checksum=self._config.checksum)
        return found

    def _codec_for(self, login: messages.LoginRequest, version: str) -> Codec:
        told: str | None = self._versions.get(login.pile_id)
        if told is None and self._door is not None:
            settings = self._piles.meet(login.pile_id).settings
            if settings.dialect is not None:
                return self._dialects[settings.dialect]
            told = settings.version
        return self._codec(told or self._config.version or version)

    def _heartbeat_for(self, login: messages.LoginRequest) -> float | None:
        return self._piles.meet(login.pile_id).settings.heartbeat_interval

    def _authenticate(
        self, pile: ConnectedPile, event: LoginReceived
    ) -> bool | Awaitable[bool | None] | None:
        login = event.login
        first = pile.context is None
        known = pile.context = self._piles.meet(login.pile_id)
        if not known.online:
            known.came(pile)
            known.login = login
        if first and known.pile is pile:
            # When it came, nobody knew whose it was.
            self._note_frame(known, self._clock(), received=True, raw=event.raw)
        self._post_message(known, event.version, event.frame, event.raw, event.time, None, event.warnings)
        if self._allowed is not None and login.pile_id not in self._allowed:
            self._metrics.login("ykc", "refused")
            if self._may_complain:
                logger.warning(
                    "pile %s may not log in: it is not among ykc.allow",
                    login.pile_id,
                    extra=data(address=pile.address),
                )
            known.offline_reason = "its login was refused"
            return False
        return self._let_in() if self._door is None else self._ask(self._door, pile, known, event)

    def _let_in(self) -> bool | None:
        """What becomes of a login that nothing is against."""
        if self._config.auto_login:
            return True
        self._metrics.login("ykc", "waiting")
        return None

    async def _ask(
        self, door: Door, pile: ConnectedPile, known: KnownPile, event: LoginReceived
    ) -> bool | None:
        host, _, port = pile.address.rpartition(":")
        knock = Knock(
            protocol="ykc",
            charger=event.login.pile_id,
            address=f"[{host}]:{port}" if ":" in host else pile.address,
            secure=self._ssl is not None,
            version=event.version,
        )
        # Meanwhile no command may accept it.
        self._at_door.add(pile)
        try:
            verdict = await door.ask(knock)
        finally:
            self._at_door.discard(pile)
        dialect = None if isinstance(verdict, Refused) else verdict.settings.dialect
        if dialect is not None and dialect not in self._dialects and self._may_complain:
            logger.error("pile %s may not log in: there is no dialect %s", event.login.pile_id, dialect)
        if isinstance(verdict, Refused) or (dialect is not None and dialect not in self._dialects):
            self._metrics.login("ykc", "refused")
            known.offline_reason = "its login was refused"
            return False
        known.settings = verdict.settings
        return self._let_in()

    def _waits_for_command(self, pile_id: str, pile: ConnectedPile) -> ConnectedPile | None:
        found = pile if pile.waiting is not None else self.server.waiting.get(pile_id)
        return None if found is None or found in self._at_door else found

    def _on_online(self, pile: ConnectedPile, event: Online) -> None:
        known = pile.context = self._piles.meet(pile.pile_id)
        known.came(pile)
        known.login = pile.login
        self._metrics.login("ykc", "accepted")
        if self.presence is not None:
            self.presence.came(self, pile.pile_id, pile, pile.close)
        self._post_connection("online", known, {"address": pile.address, "again": event.again})

    def _on_offline(self, pile: ConnectedPile, event: Offline) -> None:
        if self.presence is not None:
            self.presence.went(self, pile.pile_id, pile)
        known = self._piles.get(pile.pile_id)
        if known is None or known.pile is not pile:
            return
        # Seen for the last time, before the connection is let go of.
        known.view()
        known.pile = None
        known.offline_reason = event.reason
        known.requests.clear()
        self._post_connection("offline", known, {"reason": event.reason})

    def _post_connection(self, kind: Kind, known: KnownPile, fields: dict[str, Any]) -> None:
        event = connection_event(
            kind,
            charger=known.pile_id,
            protocol=f"ykc{known.version}",
            time=moment(self._clock()),
            fields=fields,
        )
        for watcher in self._watchers:
            watcher(Connection(event))
        if self._forwarding:
            self._outbox.post(event)

    # --- frames

    def _on_bytes(self, pile: ConnectedPile, received: bool, raw: bytes, now: float) -> None:
        # Twice for every heartbeat: this is the hot path.
        if len(raw) > 5:
            self._frame_counts[not received][raw[5]] += 1
            if not received and self._told.sending is not None:
                self._told.written(raw)
        known = pile.context
        if self._taps:
            version = pile.version or _NEWEST
            for tap in self._taps:
                tap(f"ykc{version}", pile.pile_id or pile.address, received, raw, self._clock())
        if known is not None and known.pile is pile:
            if self._watchers:
                self._note_frame(known, self._clock(), received=received, raw=raw)
            else:
                known.frames.append((self._clock(), received, raw))

    def _note_frame(self, known: KnownPile, time: float, *, received: bool, raw: bytes) -> None:
        known.frames.append((time, received, raw))
        if self._watchers:
            seen = FrameSighting(known, time, received, raw)
            for watcher in self._watchers:
                watcher(seen)

    def _log_frame(self, pile: ConnectedPile, watched: Watched) -> None:
        codec = pile.codec
        received = watched.direction is Direction.PILE_TO_PLATFORM
        about = {"pile": pile.pile_id or pile.address, "direction": "in" if received else "out"}
        frame = watched.frame
        if frame is None or watched.error is not None:
            hidden = hidden_in_bad(watched.raw, codec, skipped=frame is None)
            name, fields = type(watched.error).__name__, {}
        else:
            try:
                what = hidden_in(frame, watched.raw, codec)
                hidden = what.positions
                plain = redact_plain(to_plain(frame, codec), what)
                name, fields = plain["name"], plain["fields"]
            except EvprotoError:
                hidden, name, fields = frozenset(range(6, len(watched.raw))), "?", {}
        logger.debug(
            "frame %s", name, extra=data(**about, raw=masked_hex(watched.raw, hidden), fields=fields)
        )

    def _on_damaged(self, pile: ConnectedPile, event: Damaged) -> None:
        self._metrics.bad_frames.labels(type(event.error).__name__).inc()
        if not self._may_complain:
            return
        # What it says of the bytes may quote them.
        logger.warning(
            "bytes that are no frame: %s",
            type(event.error).__name__,
            extra=data(pile=pile.pile_id, address=pile.address, bytes=len(event.raw)),
        )

    def _on_not_served(self, pile: ConnectedPile, event: NotServed) -> None:
        self._metrics.not_served.inc()
        if not self._may_complain:
            return
        logger.warning(
            "0x%02X is not served: %s",
            event.frame.message.frame_type,
            event.reason,
            extra=data(pile=pile.pile_id, address=pile.address),
        )

    # --- messages

    def _on_message(self, pile: ConnectedPile, received: MessageReceived) -> Message | None:
        if is_record(received):
            return None
        known: KnownPile = pile.context
        message = received.frame.message
        if isinstance(message, messages.RealtimeDataReport):
            known.data[message.gun_no] = (self.server.wall(received.time), message)
        layouts = known.codec.layouts.get(received.frame_type)
        answer = None if self._starter is None else self._starter.answer(message)
        if layouts and layouts[0].role == "request" and not received.served and answer is None:
            known.asked(received, subject(message))
        self._post_message(
            known,
            known.version,
            received.frame,
            received.raw,
            received.time,
            received.error,
            received.warnings,
        )
        return answer

    def _post_message(
        self,
        known: KnownPile,
        version: str,
        frame: Frame,
        raw: bytes,
        time: float,
        error: Any,
        warnings: tuple[str, ...],
    ) -> None:
        codec = known.codec
        if not self._forwarding or name_of(frame, codec) in self._left_out:
            return
        self._outbox.post(
            message_event(
                pile=known.pile_id,
                version=version,
                frame=frame,
                raw=raw,
                codec=codec,
                time=moment(self.server.wall(time)),
                error=error,
                warnings=warnings,
            )
        )

    # --- what is shown

    @cached_property
    def charger_schema(self) -> dict[str, Any]:
        """JSON Schema of a pile."""
        _, components = msgspec.json.schema_components([PileView], ref_template="#/components/schemas/{name}")
        return components

    def chargers(self) -> Sequence[str]:
        """See :class:`Adapter`."""
        return self._piles.ids()

    def charger(self, identity: str) -> dict[str, Any] | None:
        """See :class:`Adapter`."""
        known = self._piles.get(identity.upper())
        return None if known is None else msgspec.to_builtins(known.view(), builtin_types=(dt.datetime,))

    def is_online(self, identity: str) -> bool:
        """See :class:`Adapter`."""
        known = self._piles.get(identity.upper())
        return known is not None and known.online

    def online(self) -> Mapping[str, int]:
        """See :class:`evproto.gateway.adapter.Side`."""
        return {self.protocol: len(self.server.piles)}

    def connections(self) -> int:
        """See :class:`evproto.gateway.adapter.Side`; logged in or not."""
        return len(self.server.connections)

    def frames(self, identity: str, limit: int, *, reveal: bool) -> list[dict[str, Any]] | None:
        """See :class:`Adapter`."""
        known = self._piles.get(identity.upper())
        if known is None:
            return None
        kept = list(known.frames)[-limit:] if limit else []
        return [show_frame(time, received, raw, known.codec, reveal=reveal) for time, received, raw in kept]

    @cached_property
    def messages(self) -> Mapping[str, dict[str, Any]]:
        """See :class:`Adapter`."""
        return message_schemas(self._codec(_NEWEST))

    def glance(self, identity: str) -> Glance | None:
        """See :class:`Adapter`."""
        known = self._piles.get(identity.upper())
        return None if known is None else glance_of(known)

    def suggest(self, identity: str, command: str) -> dict[str, Any]:
        """See :class:`Adapter`."""
        known = self._piles.get(identity.upper())
        return suggestions(known, self.commands[command], moment(self._clock()))

    def recent(self, limit: int) -> list[Sighting]:
        """See :class:`Adapter`."""
        known = (self._piles.get(identity) for identity in self._piles.ids())
        return recent_of([one for one in known if one is not None], limit)

    def spelled(self, identity: str) -> str:
        """See :class:`Adapter`."""
        return identity.upper()

    def translate(self, identity: str, verb: Verb, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """See :class:`Adapter`."""
        return self._told.translate(identity, verb, body, moment(self._clock()))

    def tap(self, tap: Tap) -> Callable[[], None]:
        """See :class:`Adapter`."""
        self._taps.append(tap)
        return lambda: self._taps.remove(tap)

    def watch(self, watcher: Callable[[Sighting], None]) -> Callable[[], None]:
        """See :class:`Adapter`."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)
