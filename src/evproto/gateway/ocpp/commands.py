"""What chargers of OCPP and ntxcp are told: checking commands, sending them, reading what becomes of them."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import msgspec

from evproto.aio.ocpp import InvalidAnswerError, Station
from evproto.errors import (
    CallEndedError,
    CallRefusedError,
    CallTimeoutError,
    EncodeError,
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
from evproto.gateway.ocpp.conversation import Conversation
from evproto.gateway.ocpp.frames import broken_places, fields_of, payload_of, shown_payload, shown_text
from evproto.gateway.ocpp.known import KnownCharger, KnownChargers, Transaction
from evproto.gateway.ocpp.schemas import command_types
from evproto.gateway.ocpp.shown import outlet_name, suggestions
from evproto.ocppj import Call, Codec, MessageError, Send
from evproto.ocppj.dialect import CALL, CALL_RESULT, SEND

__all__ = ["Commands", "verdict"]

_YES: Final = frozenset(
    {"Accepted", "AcceptedCanceled", "Scheduled", "RebootRequired", "Unlocked", "Unpublished"}
)
"""Words of all versions that say that something is, or will be, done."""
_VERDICTS: Final = ("status", "attributeStatus")
_TRIGGERED: Final = {
    "SignChargingStationCertificate": "SignCertificate",
    "SignV2GCertificate": "SignCertificate",
    "SignV2G20Certificate": "SignCertificate",
    "SignCombinedCertificate": "SignCertificate",
    "ChargePointCertificate": "SignCertificate",
}
"""What a TriggerMessage makes a charger send, where it is called otherwise."""
_TRIGGERS: Final = 64
"""A StatusNotification that is asked for comes once for each connector."""


class Commands:
    """Commands of the chargers of one version."""

    def __init__(self, chargers: KnownChargers, codec: Codec, noun: str) -> None:
        """Make them.

        Args:
            chargers: all that are known.
            codec: a strict one of the version.
            noun: what one of the chargers is called.
        """
        self._chargers = chargers
        self._codec = codec
        self._dialect = codec.dialect
        self._protocol = codec.dialect.name
        self._noun = noun
        self._sending: dict[str, Callable[[str], None]] = {}

    @cached_property
    def types(self) -> Mapping[str, CommandType]:
        """Every action that a charger can be sent, by name."""
        return command_types(self._dialect)

    def written(self, unique_id: str) -> None:
        """A request is on its way to a charger."""
        sent = self._sending.pop(unique_id, None)
        if sent is not None:
            sent(unique_id)

    @property
    def waits(self) -> bool:
        """Whether a command waits to be written."""
        return bool(self._sending)

    def check(self, identity: str, command: str, body: Any, *, version: str = "") -> Prepared:
        """See :class:`evproto.gateway.adapter.Adapter`."""
        return self._prepared(identity, *self._read(command, body))

    def prepare(self, identity: str, command: str, body: Any) -> Prepared:
        """See :class:`evproto.gateway.adapter.Adapter`."""
        type_, message = self._read(command, body)
        known = self._chargers.get(identity, self._protocol)
        if known is None:
            raise UnknownChargerError(f"no {self._noun} {identity} of {self._protocol} has been here")
        if known.connection is None:
            why = known.offline_reason or "it is not connected"
            raise ChargerOfflineError(f"{self._noun} {identity} is offline: {why}")
        prepared = self._prepared(identity, type_, message)
        prepared.payload = (known.connection, message)
        return prepared

    def _read(self, command: str, body: Any) -> tuple[CommandType, Call[Any] | Send[Any]]:
        """The message of a command.

        Raises:
            InvalidCommandError: it is none.
        """
        type_ = self.types.get(command)
        if type_ is None:
            raise InvalidCommandError(f"{self._protocol} has no command {command!r}")
        if not isinstance(body, dict):
            raise InvalidCommandError("the body is a JSON object with the fields of the message")
        kind = CALL if type_.answer is not None else SEND
        try:
            raw = msgspec.json.encode([kind, "0", command, body])
            message = self._codec.decode(raw)
            assert isinstance(message, Call | Send)
            # What cannot be sent is said now.
            self._codec.encode(message)
        except (MessageError, EncodeError) as error:
            raise InvalidCommandError(str(error), path=error.path) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidCommandError(f"the body cannot be put into JSON: {error}") from None
        return type_, message

    def _prepared(self, identity: str, type_: CommandType, message: Call[Any] | Send[Any]) -> Prepared:
        fields = payload_of(self._codec.encode(message))
        kind = CALL if isinstance(message, Call) else SEND
        return Prepared(
            charger=identity,
            type=type_,
            fields=fields,
            shown=shown_payload(self._dialect, kind, type_.name, fields),
            payload=None,
        )

    async def perform(
        self, prepared: Prepared, *, timeout: float | None, sent: Callable[[int | str | None], None]
    ) -> Ending:
        """See :class:`evproto.gateway.adapter.Adapter`."""
        conversation, message = prepared.payload
        station = conversation.station
        unique_id = station.new_id()
        message = msgspec.structs.replace(message, unique_id=unique_id)
        try:
            if isinstance(message, Send):
                station.send(message)
                sent(unique_id)
                return Ending(state="sent")
            self._sending[unique_id] = sent
            return await self._ask(conversation, station, message, timeout, prepared.fields)
        except CallTimeoutError as error:
            return Ending(state="timeout", text=str(error))
        except InvalidAnswerError as error:
            return Ending(
                state="rejected",
                text=f"the {self._noun} answered, but not as the protocol says: {_why(error)}; "
                "nobody knows whether it did it",
            )
        except (SessionClosedError, CallEndedError) as error:
            return Ending(state="disconnected", text=str(error))
        except (SessionError, EncodeError) as error:
            # Too many wait already.
            return Ending(state="rejected", text=str(error))
        finally:
            self._sending.pop(unique_id, None)

    async def _ask(
        self,
        conversation: Conversation,
        station: Station,
        call: Call[Any],
        timeout: float | None,
        sent_fields: dict[str, Any],
    ) -> Ending:
        self._note(conversation, call)
        try:
            result = await station.exchange(call, timeout=timeout)
        except CallRefusedError as error:
            said = f"{error.error_code[:50]}: {error.error_description}".rstrip(": ")
            # It stands in the audit log, and may quote what was sent.
            said = shown_text(said, self._dialect, call.action, sent_fields)
            return Ending(state="rejected", text=f"the {self._noun} refuses it with {said}")
        answer = fields_of(result, b"", station.codec)
        accepted, text = verdict(answer, self._noun)
        if accepted and conversation.gate is not None:
            conversation.gate.served(call.action)
        return Ending(
            state="accepted" if accepted else "rejected",
            text=text,
            answer=answer,
            shown=shown_payload(self._dialect, CALL_RESULT, call.action, answer),
        )

    def _note(self, conversation: Conversation, call: Call[Any]) -> None:
        """What a charger that waits to be accepted may send because it is asked to."""
        gate = conversation.gate
        if gate is None or call.action != "TriggerMessage":
            return
        wanted = str(call.payload.requested_message)
        action = _TRIGGERED.get(wanted, wanted)
        gate.asked_for(action, asyncio.get_running_loop().time(), _TRIGGERS)

    # --- neutral commands

    def translate(self, identity: str, verb: Verb, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """See :class:`evproto.gateway.adapter.Adapter`."""
        known = self._chargers.get(identity, self._protocol)
        if verb == "reboot":
            gentle, hard = (
                ("Soft", "Hard") if not self._protocol.startswith("ocpp2") else ("OnIdle", "Immediate")
            )
            return "Reset", {"type": hard if body.get("immediate") else gentle}
        if self._protocol.startswith("ntxcp"):
            raise InvalidCommandError(f"ntxcp has no transactions that could be {_DONE[verb]}; only reboot")
        if verb == "start":
            return self._start(known, body)
        transaction = self._transaction(known, body)
        if self._protocol == "ocpp1.6":
            if not transaction.isdecimal():
                raise InvalidCommandError("a transaction of OCPP 1.6 is a number", path="transaction")
            return "RemoteStopTransaction", {"transactionId": int(transaction)}
        return "RequestStopTransaction", {"transactionId": transaction}

    def _start(self, known: KnownCharger | None, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        token = body.get("token")
        if not isinstance(token, str) or not token:
            raise InvalidCommandError("say who charges: an id tag of the charger's users", path="token")
        if body.get("transaction"):
            raise InvalidCommandError("chargers of OCPP begin transactions themselves", path="transaction")
        connector = body.get("connector")
        number = None if connector is None else _number(connector)
        if self._protocol == "ocpp1.6":
            fields: dict[str, Any] = {"idTag": token}
            if number is not None:
                fields["connectorId"] = number
            return "RemoteStartTransaction", fields
        fields = {
            "idToken": {"idToken": token, "type": "Central"},
            "remoteStartId": 1 + secrets.randbelow(2**31 - 1),
        }
        if number is not None:
            fields["evseId"] = number
        return "RequestStartTransaction", fields

    def _transaction(self, known: KnownCharger | None, body: dict[str, Any]) -> str:
        """The transaction that is to be stopped."""
        if body.get("transaction"):
            return str(body["transaction"])
        going_on = [] if known is None else list(known.transactions.values())
        connector = body.get("connector")
        if connector is not None and known is not None:
            going_on = _at(known, str(connector))
        if len(going_on) == 1:
            return going_on[0].id
        if connector is not None:
            how_many = "several transactions are going on" if going_on else "no transaction is known"
            raise InvalidCommandError(f"{how_many} at connector {connector}", path="connector")
        raise InvalidCommandError(
            "several transactions are going on: say which" if going_on else "no transaction is known",
            path="transaction",
        )

    def suggest(self, identity: str, command: str, now: dt.datetime) -> dict[str, Any]:
        """See :class:`evproto.gateway.adapter.Adapter`."""
        type_ = self.types.get(command)
        if type_ is None:
            return {}
        return suggestions(self._chargers.get(identity, self._protocol), type_.schema, now)


_DONE: Final = {"start": "started", "stop": "stopped", "reboot": "rebooted"}


def verdict(answer: Mapping[str, Any], noun: str = "charger") -> tuple[bool, str]:
    """Whether a charger does what it was told, and a sentence if not.

    Answers without a status, such as a list of settings, are answers and nothing else. Of
    several results each one counts.
    """
    status = answer.get("status")
    if isinstance(status, str):
        if status in _YES:
            return True, ""
        info = answer.get("statusInfo")
        reason = info.get("reasonCode") if isinstance(info, dict) else None
        return False, f"the {noun} says {status}" + (f" ({reason})" if isinstance(reason, str) else "")
    found = list(_results(answer))
    noes = [one for one in found if one not in _YES]
    if noes:
        return False, f"the {noun} says {', '.join(dict.fromkeys(noes))} of {len(noes)} of {len(found)}"
    return True, ""


def _results(answer: Mapping[str, Any]) -> Iterator[str]:
    """The statuses in a list of results, as of SetVariables."""
    for value in answer.values():
        for entry in value if isinstance(value, list) else ():
            for name in _VERDICTS:
                if isinstance(entry, dict) and isinstance(entry.get(name), str):
                    yield entry[name]


def _why(error: InvalidAnswerError) -> str:
    cause = error.__cause__
    return broken_places(cause) if isinstance(cause, MessageError) else "it cannot be read"


def _number(connector: Any) -> int:
    """The number of a connector or EVSE, of ``2`` and ``2/1``."""
    text = str(connector).partition("/")[0]
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 2**31:
        raise InvalidCommandError("a connector is a number here, as in 1 or 2/1", path="connector")
    return int(text)


def _at(known: KnownCharger, connector: str) -> list[Transaction]:
    """The transactions at a connector, or at all those of an EVSE.

    The last one that was heard of there: the end of one before it may have been missed.
    """
    found = [
        state.transaction
        for key, state in known.outlets.items()
        if state.transaction is not None and connector in _spellings(known, key)
    ]
    # Or one that no outlet shows.
    return found or [
        one
        for one in known.transactions.values()
        if one.outlet is not None and connector in _spellings(known, one.outlet)
    ]


def _spellings(known: KnownCharger, outlet: tuple[int | str, ...]) -> set[str]:
    return {outlet_name(known, outlet), "/".join(map(str, outlet)), str(outlet[0])}
