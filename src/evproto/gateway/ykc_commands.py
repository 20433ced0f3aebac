"""What piles are told: checking commands, sending them, reading what becomes of them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from evproto.aio.ykc import ConnectedPile
from evproto.errors import (
    CallEndedError,
    CallTimeoutError,
    EncodeError,
    FieldError,
    SessionClosedError,
    SessionError,
)
from evproto.gateway.adapter import (
    ChargerOfflineError,
    CommandType,
    Ending,
    InvalidCommandError,
    Prepared,
    UnknownChargerError,
    Verb,
)
from evproto.gateway.metrics import Metrics
from evproto.gateway.ykc_piles import KnownPile, KnownPiles
from evproto.gateway.ykc_records import RecordKeeper
from evproto.gateway.ykc_setup import command_type
from evproto.gateway.ykc_shown import suggestions
from evproto.gateway.ykc_verdict import verdict
from evproto.messages import Message
from evproto.wire.frame import Frame
from evproto.wire.table import Direction
from evproto.ykc import messages
from evproto.ykc.codec import Codec
from evproto.ykc.enums import GunStatus, LoginResult
from evproto.ykc.plain import from_plain, to_plain
from evproto.ykc.records import record_key
from evproto.ykc.redact import hidden_in, redact_plain

__all__ = ["PileCommands", "subject"]


class PileCommands:
    """Commands of the piles of one server."""

    def __init__(
        self,
        piles: KnownPiles,
        *,
        newest: Codec,
        codec: Callable[[str], Codec],
        waiting: Callable[[str, ConnectedPile], ConnectedPile | None],
        records: RecordKeeper,
        metrics: Metrics,
        start_balance: float,
    ) -> None:
        """Make them.

        Args:
            piles: all that are known.
            newest: the codec of the newest version, whose messages all are commands.
            codec: the codec of a version.
            waiting: the connection of a pile whose login waits for a command, that one if it may be.
            records: remembers how records were confirmed.
            metrics: what is counted.
            start_balance: what a neutral start allows to spend, in CNY.
        """
        self._piles = piles
        self._newest = newest
        self._codec = codec
        self._waiting = waiting
        self._records = records
        self._metrics = metrics
        self._balance = start_balance
        self.sending: tuple[int, Callable[[int], None]] | None = None
        """The frame type of a command that is about to be written, and who is told of its number."""

    def written(self, raw: bytes) -> None:
        """A frame is on its way to a pile."""
        if self.sending is not None and self.sending[0] == raw[5]:
            sent, self.sending = self.sending[1], None
            sent(int.from_bytes(raw[2:4], "little"))

    @cached_property
    def types(self) -> Mapping[str, CommandType]:
        """Every message of a platform, by name."""
        codec = self._newest
        out: dict[str, CommandType] = {}
        for variants in codec.layouts.values():
            for layout in variants:
                if layout.direction is Direction.PLATFORM_TO_PILE:
                    out[layout.name] = command_type(layout, codec)
        return out

    def codec_of(self, identity: str) -> Codec:
        """The codec that a pile is spoken to with."""
        known = self._piles.get(identity)
        return self._newest if known is None else known.codec

    def check(self, identity: str, command: str, body: Any, *, version: str = "") -> Prepared:
        """See :class:`evproto.gateway.adapter.Adapter`."""
        codec = self._codec(version) if version else self.codec_of(identity.upper())
        message, raw = self._read(identity.upper(), command, body, codec)
        return self._prepared(identity.upper(), message, raw, codec)

    def prepare(self, identity: str, command: str, body: Any) -> Prepared:
        """See :class:`evproto.gateway.adapter.Adapter`."""
        pile_id = identity.upper()
        message, raw = self._read(pile_id, command, body, self.codec_of(pile_id))
        return self.prepare_message(pile_id, message, raw)

    def _read(self, pile_id: str, command: str, body: Any, codec: Codec) -> tuple[Message, bytes]:
        """The message of a command, and its frame.

        Raises:
            InvalidCommandError: it is none.
        """
        type_ = self.types.get(command)
        if type_ is None:
            raise InvalidCommandError(f"piles have no command {command!r}")
        if not isinstance(body, dict):
            raise InvalidCommandError("the body is a JSON object with the fields of the message")
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
        return message, raw

    def _prepared(self, pile_id: str, message: Message, raw: bytes, codec: Codec) -> Prepared:
        frame = Frame(message=message)
        plain = to_plain(frame, codec)
        shown = redact_plain(plain, hidden_in(frame, raw, codec))
        return Prepared(
            charger=pile_id,
            type=self.types[codec.layout(message).name],
            fields=plain["fields"],
            shown=shown["fields"],
            payload=None,
        )

    def translate(
        self, identity: str, verb: Verb, body: dict[str, Any], now: dt.datetime
    ) -> tuple[str, dict[str, Any]]:
        """See :class:`evproto.gateway.adapter.Adapter`."""
        known = self._piles.get(identity.upper())
        if verb == "reboot":
            control = 1 if body.get("immediate") else 2  # 2: when it is idle
            return "reboot_request", {"execution_control": control}
        name = "remote_start_request" if verb == "start" else "remote_stop_request"
        connector, transaction = body.get("connector"), body.get("transaction")
        gun = None if connector is None else str(connector).rjust(2, "0")
        if known is not None and known.pile is not None:
            # Of one that is not here, it is said that it is not.
            gun = _gun_to_start(known, gun) if verb == "start" else _gun_to_stop(known, gun, transaction)
        fields = suggestions(known, self.types[name], now)
        if gun is not None:
            fields["gun_no"] = gun
            if verb == "start" and len(gun) == 2 and "transaction_no" in fields:
                # A transaction number has its gun in it.
                made = fields["transaction_no"]
                fields["transaction_no"] = f"{made[:14]}{gun}{made[16:]}"
        if verb == "start":
            # A card is named by 16 digits here; other names of an account mean nothing to a pile.
            card = str(body.get("token") or "").rjust(16, "0")
            if not re.fullmatch("[0-9]{16}", card):
                raise InvalidCommandError("a token is a card number of up to 16 digits here", path="token")
            fields |= {"logical_card_no": card, "physical_card_no": card, "account_balance": self._balance}
            if transaction:
                fields["transaction_no"] = transaction
        return name, fields

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
        prepared = self._prepared(pile_id, message, raw, known.codec)
        prepared.payload = (known.pile, message, sequence)
        return prepared

    async def perform(
        self, prepared: Prepared, *, timeout: float | None, sent: Callable[[int | str | None], None]
    ) -> Ending:
        """See :class:`evproto.gateway.adapter.Adapter`."""
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
        self.sending = mine = (message.frame_type, sent)
        try:
            answered = await pile.exchange(message, timeout)
        finally:
            if self.sending is mine:
                self.sending = None  # it was not written
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
            waiting = self._waiting(pile_id, pile)
            if waiting is not None and waiting.waiting is not None:
                number = waiting.waiting.frame.sequence
                if message.result == LoginResult.SUCCESS:
                    waiting.accept_login()
                else:
                    self._metrics.login("ykc", "refused")
                    waiting.refuse_login()
                sent(number)
                return Ending(state="sent")
        known = self._piles.get(pile_id)
        asks = self.types[pile.codec.layout(message).name].replies_to
        request = None
        if known is not None and asks is not None:
            for kind in _asked_by(message, pile.codec):
                request = known.open_request(kind, subject(message))
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


def _gun_to_start(known: KnownPile, named: str | None) -> str:
    """The gun that is meant: the one named, else the only one that is plugged in and does not charge.

    Raises:
        InvalidCommandError: there is none, or there are several.
    """
    if named is not None:
        return named
    free = [
        gun
        for gun, (_, report) in known.data.items()
        if report.gun_plugged and report.gun_status != GunStatus.CHARGING
    ]
    if len(free) == 1:
        return free[0]
    if not known.data and known.login is not None and known.login.gun_count == 1:
        return "01"
    found = f"guns {', '.join(sorted(free))} are" if free else "no gun is known to be"
    raise InvalidCommandError(f"name the connector: {found} plugged in and not charging", path="connector")


def _gun_to_stop(known: KnownPile, named: str | None, transaction: str | None) -> str:
    """The gun that is meant: where the transaction goes on, the one named, or the only one that charges.

    Raises:
        InvalidCommandError: there is none, there are several, or two are named.
    """
    charging = {
        gun: report.transaction_no
        for gun, (_, report) in known.data.items()
        if report.gun_status == GunStatus.CHARGING
    }
    if transaction:
        # 0x36 names no transaction: its gun is what it says of it.
        guns = [gun for gun, number in charging.items() if number == transaction]
        if not guns:
            raise InvalidCommandError(
                f"no gun is known to charge in transaction {transaction}", path="transaction"
            )
        if named is not None and named != guns[0]:
            raise InvalidCommandError(
                f"transaction {transaction} goes on at gun {guns[0]}, not at {named}", path="connector"
            )
        return guns[0]
    if named is not None:
        return named
    if len(charging) == 1:
        return next(iter(charging))
    found = f"guns {', '.join(sorted(charging))} charge" if charging else "no gun is known to charge"
    raise InvalidCommandError(f"name the connector: {found}", path="connector")


def subject(message: Any) -> str:
    """What tells two requests of one type apart: the transaction of a record, else the gun."""
    if isinstance(message, messages.TransactionRecordResponse):
        return message.transaction_no
    return getattr(message, "gun_no", "") or ""
