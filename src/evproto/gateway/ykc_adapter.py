"""YKC in the server: piles, what they say, and what they are told.

A transaction record is stored before it is confirmed, whatever confirms it:
this module (``auto-record-confirm``) or the API. What cannot be stored is not
confirmed, and the pile keeps it.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec

from evproto.aio.ykc import ConnectedPile, Limits, Offline, Online, PileServer, Watched
from evproto.errors import (
    CallEndedError,
    CallTimeoutError,
    EncodeError,
    EvprotoError,
    FieldError,
    SessionClosedError,
    SessionError,
)
from evproto.gateway.adapter import (
    ChargerOfflineError,
    CommandType,
    Ending,
    Glance,
    InvalidCommandError,
    Prepared,
    Sighting,
    UnknownChargerError,
)
from evproto.gateway.config import Config
from evproto.gateway.logs import Throttle, data
from evproto.gateway.metrics import Metrics
from evproto.gateway.outbox import Outbox
from evproto.gateway.ykc_events import connection_event, message_event, name_of
from evproto.gateway.ykc_piles import KnownPile, KnownPiles, PileView, moment, show_frame
from evproto.gateway.ykc_records import RecordKeeper
from evproto.gateway.ykc_setup import check_left_out, command_type, read_billing_model, ssl_context
from evproto.gateway.ykc_shown import (
    Connection,
    FrameSighting,
    glance_of,
    message_schemas,
    recent_of,
    suggestions,
)
from evproto.gateway.ykc_starts import Starter
from evproto.gateway.ykc_verdict import verdict
from evproto.messages import Message
from evproto.wire.frame import Frame
from evproto.wire.table import Direction
from evproto.ykc import messages
from evproto.ykc.codec import Codec
from evproto.ykc.enums import LoginResult
from evproto.ykc.plain import from_plain, to_plain
from evproto.ykc.records import is_record, record_key
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make an adapter.

        Args:
            config: the settings.
            outbox: where events go.
            metrics: what is counted.
            forwarding: whether anybody gets events that are no records; if not, they are not stored.
            clock: seconds since 1970.

        Raises:
            ConfigError: the billing model or the certificate cannot be used.
        """
        self._config = config.ykc
        self._outbox = outbox
        self._metrics = metrics
        self._forwarding = forwarding
        self._left_out = frozenset(config.forward.leave_out)
        check_left_out(config.forward.leave_out)
        self._clock = clock
        self._piles = KnownPiles(limit=2 * config.ykc.max_connections, frames_kept=config.http.frames_kept)
        self._codecs: dict[str, Codec] = {}
        self._sending: tuple[int, Callable[[int], None]] | None = None
        self._frame_counts = metrics.frames
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

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        self.port = await self.server.start(self._config.host, self._config.tcp_port, ssl=self._ssl)

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
        told = self._versions.get(login.pile_id) or self._config.version
        return self._codec(told or version)

    def _authenticate(self, pile: ConnectedPile, event: LoginReceived) -> bool | None:
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
            self._metrics.logins.labels("refused").inc()
            logger.warning(
                "pile %s may not log in: it is not among ykc.allow",
                login.pile_id,
                extra=data(address=pile.address),
            )
            known.offline_reason = "its login was refused"
            return False
        if self._config.auto_login:
            return True
        self._metrics.logins.labels("waiting").inc()
        return None

    def _on_online(self, pile: ConnectedPile, event: Online) -> None:
        known = pile.context = self._piles.meet(pile.pile_id)
        known.came(pile)
        known.login = pile.login
        self._metrics.logins.labels("accepted").inc()
        self._post_connection("online", known, {"address": pile.address, "again": event.again})

    def _on_offline(self, pile: ConnectedPile, event: Offline) -> None:
        known = self._piles.get(pile.pile_id)
        if known is None or known.pile is not pile:
            return
        # Seen for the last time, before the connection is let go of.
        known.view()
        known.pile = None
        known.offline_reason = event.reason
        known.requests.clear()
        self._post_connection("offline", known, {"reason": event.reason})

    def _post_connection(self, kind: str, known: KnownPile, fields: dict[str, Any]) -> None:
        event = connection_event(
            kind, pile=known.pile_id, version=known.version, time=moment(self._clock()), fields=fields
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
            if not received and self._sending is not None and self._sending[0] == raw[5]:
                sent, self._sending = self._sending[1], None
                sent(int.from_bytes(raw[2:4], "little"))
        known = pile.context
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
            known.asked(received, _subject(message))
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

    def online(self) -> int:
        """How many piles are online."""
        return len(self.server.piles)

    def connections(self) -> int:
        """How many connections there are, logged in or not."""
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

    def watch(self, watcher: Callable[[Sighting], None]) -> Callable[[], None]:
        """See :class:`Adapter`."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    # --- commands

    @cached_property
    def commands(self) -> Mapping[str, CommandType]:
        """Every message of a platform, by name."""
        codec = self._codec(_NEWEST)
        out: dict[str, CommandType] = {}
        for variants in codec.layouts.values():
            for layout in variants:
                if layout.direction is Direction.PLATFORM_TO_PILE:
                    out[layout.name] = command_type(layout, codec)
        return out

    def codec_of(self, identity: str) -> Codec:
        """The codec that a pile is spoken to with."""
        known = self._piles.get(identity)
        return self._codec(_NEWEST) if known is None else known.codec

    def prepare(self, identity: str, command: str, body: Any) -> Prepared:
        """See :class:`Adapter`."""
        type_ = self.commands.get(command)
        if type_ is None:
            raise InvalidCommandError(f"piles have no command {command!r}")
        if not isinstance(body, dict):
            raise InvalidCommandError("the body is a JSON object with the fields of the message")
        pile_id = identity.upper()
        known = self._piles.get(pile_id)
        codec = self._codec(_NEWEST) if known is None else known.codec
        layout = next(
            (one for one in codec.layouts.get(int(type_.code, 16), ()) if one.name == command), None
        )
        if layout is None:
            raise InvalidCommandError(
                f"{command} is not part of V{codec.version}, which pile {pile_id} speaks"
            )
        try:
            fields: dict[str, Any] = _whole(body)
        except RecursionError:
            raise InvalidCommandError("the body has more levels than any message") from None
        if any(field.name == "pile_id" for field in layout.fields):
            named = fields.setdefault("pile_id", pile_id)
            if named != pile_id:
                raise InvalidCommandError(f"pile_id is {named!r}, the URL says {pile_id}", path="pile_id")
        try:
            message = from_plain({"name": command, "fields": fields}, codec).message
            raw = codec.encode(message)
        except FieldError as error:
            raise InvalidCommandError(str(error), path=error.path) from None
        except EncodeError as error:
            raise InvalidCommandError(str(error), path=error.path) from None
        assert isinstance(message, Message)
        return self.prepare_message(pile_id, message, raw)

    def prepare_message(
        self, pile_id: str, message: Message, raw: bytes, sequence: int | None = None
    ) -> Prepared:
        """A command of a message that can be sent.

        Raises:
            UnknownChargerError, ChargerOfflineError: as they say.
        """
        known = self._piles.get(pile_id)
        if known is None:
            raise UnknownChargerError(f"no pile {pile_id} has been here")
        if known.pile is None or not (
            known.online or (known.waiting and message.frame_type == messages.LoginResponse.frame_type)
        ):
            why = "its login waits" if known.waiting else known.offline_reason or "it is not connected"
            raise ChargerOfflineError(f"pile {pile_id} is offline: {why}")
        codec = known.codec
        frame = Frame(message=message)
        plain = to_plain(frame, codec)
        shown = redact_plain(plain, hidden_in(frame, raw, codec))
        return Prepared(
            charger=pile_id,
            type=self.commands[codec.layout(message).name],
            fields=plain["fields"],
            shown=shown["fields"],
            payload=(known.pile, message, sequence),
        )

    async def perform(
        self, prepared: Prepared, *, timeout: float | None, sent: Callable[[int | str | None], None]
    ) -> Ending:
        """See :class:`Adapter`."""
        pile, message, sequence = prepared.payload
        try:
            if prepared.type.answer is None:
                return self._tell(prepared.charger, pile, message, sequence, sent)
            return await self._ask(pile, message, timeout, sent)
        except CallTimeoutError as error:
            return Ending(state="timeout", text=str(error))
        except (SessionClosedError, CallEndedError) as error:
            return Ending(state="disconnected", text=str(error))
        except (SessionError, EncodeError) as error:
            # Too many wait already; or a login that may not be accepted.
            return Ending(state="rejected", text=str(error))

    async def _ask(
        self,
        pile: ConnectedPile,
        message: Message,
        timeout: float | None,
        sent: Callable[[int | str | None], None],
    ) -> Ending:
        # It is written before the first thing that waits, and seen by the watcher on its way. Not in a
        # task of its own: another command could come between.
        self._sending = mine = (message.frame_type, sent)
        try:
            answered = await pile.exchange(message, timeout)
        finally:
            if self._sending is mine:
                self._sending = None  # it was not written
        if answered.error is not None or not isinstance(answered.message, Message):
            why = str(answered.error or "its body is encrypted")
            return Ending(state="accepted", text=f"the pile answered, but the answer cannot be read: {why}")
        return self._ending(pile.codec, answered.frame, answered.raw, answered.warning)

    def _ending(self, codec: Codec, frame: Frame, raw: bytes, warning: str) -> Ending:
        accepted, text = verdict(frame.message)
        plain = to_plain(frame, codec)
        return Ending(
            state="accepted" if accepted else "rejected",
            text="; ".join(part for part in (text, warning) if part),
            answer=plain["fields"],
            shown=redact_plain(plain, hidden_in(frame, raw, codec))["fields"],
        )

    def _tell(
        self,
        pile_id: str,
        pile: ConnectedPile,
        message: Message,
        sequence: int | None,
        sent: Callable[[int | str | None], None],
    ) -> Ending:
        """Answer what the pile has asked; or say it unasked, if it has asked nothing."""
        if isinstance(message, messages.LoginResponse):
            waiting = pile if pile.waiting is not None else self.server.waiting.get(pile_id)
            if waiting is not None and waiting.waiting is not None:
                number = waiting.waiting.frame.sequence
                if message.result == LoginResult.SUCCESS:
                    waiting.accept_login()
                else:
                    self._metrics.logins.labels("refused").inc()
                    waiting.refuse_login()
                sent(number)
                return Ending(state="sent")
        known = self._piles.get(pile_id)
        asks = self.commands[pile.codec.layout(message).name].replies_to
        request = None
        if known is not None and asks is not None:
            for kind in _asked_by(message, pile.codec):
                request = known.open_request(kind, _subject(message))
                if request is not None:
                    break
        if request is None or known is None:
            number = pile.send(message, sequence=sequence)
            sent(number)
            return Ending(state="sent", text="" if asks is None else f"no {asks} was waiting for it")
        key, received = request
        pile.reply(received, message)
        sent(received.sequence)
        known.requests.pop(key, None)
        if isinstance(message, messages.TransactionRecordResponse):
            digest = record_key(received.raw, received.frame.message).digest
            self._records.confirmed(known, message.transaction_no, digest, message)
        return Ending(state="sent")


def _whole(value: Any) -> Any:
    """JSON with 93.0 as 93: JSON knows one kind of number, codes are whole ones."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value


def _asked_by(answer: Message, codec: Codec) -> list[int]:
    """Frame types of the requests that a message answers."""
    return [
        kind
        for kind, layouts in codec.layouts.items()
        if layouts[0].pair == answer.frame_type and layouts[0].direction is Direction.PILE_TO_PLATFORM
    ]


def _subject(message: Any) -> str:
    """What tells two requests of one type apart: the transaction of a record, else the gun."""
    if isinstance(message, messages.TransactionRecordResponse):
        return message.transaction_no
    return getattr(message, "gun_no", "") or ""
