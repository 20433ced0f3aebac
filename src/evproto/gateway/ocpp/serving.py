"""What chargers say: stored, remembered, answered."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from evproto.aio.ocpp import InvalidAnswerError, RefuseCall, Station, Trouble
from evproto.errors import CallEndedError, CallRefusedError
from evproto.gateway.events import Event, EventFinding, Kind, moment, new_id
from evproto.gateway.hook import Hook, HookError
from evproto.gateway.logs import Throttle, data
from evproto.gateway.metrics import Metrics
from evproto.gateway.ocpp.answers import ECHOING
from evproto.gateway.ocpp.conversation import Conversation
from evproto.gateway.ocpp.frames import (
    RECORDS,
    answer_name,
    broken_places,
    fields_of,
    findings_of,
    payload_of,
    shown_payload,
)
from evproto.gateway.ocpp.readings import LEARNED, learn
from evproto.gateway.ocpp.records import (
    as_sent,
    record_digest,
    record_key,
    refused_digest,
    refused_record,
    start_key,
    transaction_number,
)
from evproto.gateway.outbox import NotDeliveredError, Outbox, OutboxError
from evproto.gateway.sections import OcppConfig
from evproto.ocppj import Call, CallError, CallResult, MessageError, Send
from evproto.ocppj.dialect import CALL
from evproto.ocppj.head import sniff

__all__ = ["Serving"]

logger = logging.getLogger("evproto.gateway.ocpp")

_RAW: Final = 4096
"""Most characters of a frame that is no message in an event."""
_NAME: Final = 50


class Incoming:
    """A request of a charger on its way."""

    __slots__ = ("_fields", "call", "conversation", "raw", "time")

    def __init__(
        self, conversation: Conversation, call: Call[Any] | Send[Any], raw: bytes | str, time: float
    ) -> None:
        self.conversation = conversation
        self.call = call
        self.raw = raw
        self.time = time
        self._fields: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Its payload, names as on the wire."""
        if self._fields is None:
            self._fields = fields_of(self.call, self.raw, self.conversation.station.codec)
        return self._fields

    @property
    def sent(self) -> dict[str, Any]:
        """Its payload as it was sent; that of :attr:`fields` where nothing in it was put right."""
        if not self.call.warnings or isinstance(self.call.payload, dict):
            return self.fields
        return payload_of(self.raw) or self.fields

    def event(
        self,
        kind: Kind = "message",
        *,
        fields: dict[str, Any] | None = None,
        key: str | None = None,
        digest: str | None = None,
    ) -> Event:
        """It in the envelope."""
        call = self.call
        return Event(
            id=new_id(self.time),
            time=moment(self.time),
            protocol=self.conversation.adapter.protocol,
            charger=self.conversation.known.charger,
            kind=kind,
            name=call.action[:_NAME],
            sequence=call.unique_id,
            fields=self.fields if fields is None else fields,
            raw=_text(self.raw),
            findings=findings_of(call.warnings),
            key=key,
            digest=digest,
        )


class Serving:
    """Takes what the chargers of all versions say."""

    def __init__(
        self,
        config: OcppConfig,
        outbox: Outbox,
        metrics: Metrics,
        *,
        forwarding: bool,
        left_out: frozenset[str],
        hook: Hook | None,
        clock: Callable[[], float],
    ) -> None:
        """Make it.

        Args:
            config: the settings.
            outbox: where events go.
            metrics: what is counted.
            forwarding: whether anybody gets events that are no records.
            left_out: names of events that nobody gets.
            hook: is asked for some answers.
            clock: seconds since 1970.
        """
        self._confirm = config.confirm
        self._outbox = outbox
        self._metrics = metrics
        self._forwarding = forwarding
        self._left_out = left_out
        self._hook = hook
        self._clock = clock
        self._asked = frozenset(config.ask) if hook is not None else frozenset()
        self._authorizes = hook is not None and config.authorize == "hook"
        self._may_complain = Throttle(100)

    # --- requests

    def on_request(self, station: Station, payload: Any) -> Any:
        """A request, or what is not answered; gives back the response, or a coroutine that does."""
        context = station.serving
        assert context is not None
        conversation: Conversation = station.context
        call = context.call
        incoming = Incoming(conversation, call, context.raw, self._clock())
        self._see_gate(conversation, call)
        if call.action not in conversation.adapter.heard:
            actions = conversation.adapter.dialect.actions
            known = call.action in actions
            raw = incoming.raw.encode() if isinstance(incoming.raw, str) else incoming.raw
            meant = refused_record(raw) if isinstance(call, Call) and not known else ""
            if meant in actions:
                # Its action is spelled in another way.
                self._post_refused_record(conversation, meant, call.unique_id[:_NAME], raw, ())
            else:
                self._post(incoming)
            if self._hook is not None and call.action in self._asked and not known:
                return self._ask_for_unknown(incoming)
            raise RefuseCall(
                "NotSupported" if known else "NotImplemented",
                f"{call.action[:_NAME]} is not {'a request of chargers' if known else 'known here'}",
            )
        if isinstance(call, Call):
            if call.action in RECORDS:
                return self._record(incoming)
            self._take(incoming)
            if self._is_asked(incoming):
                return self._ask(incoming, self._default(incoming))
            if call.action in ECHOING:
                return self._echo(incoming)
            return conversation.adapter.response(call, self._default(incoming))
        self._take(incoming)
        return None

    def _see_gate(self, conversation: Conversation, call: Call[Any] | Send[Any]) -> None:
        """Refuse what a station may not send before it is accepted (2.x part 2, B02.FR.09, B03.FR.07)."""
        gate = conversation.gate
        if gate is None:
            return
        if not gate.takes(call.action, asyncio.get_running_loop().time()):
            raise RefuseCall("SecurityError", "the charging station has not been accepted yet")
        gate.sent(call.action)

    def _take(self, incoming: Incoming) -> None:
        action, known = incoming.call.action, incoming.conversation.known
        if action in LEARNED:
            self._learn(incoming)
        elif action == "BootNotification":
            dialect = incoming.conversation.adapter.dialect
            known.boot = shown_payload(dialect, CALL, action, incoming.fields)
        self._post(incoming)

    def _learn(self, incoming: Incoming, number: str = "") -> None:
        """Remember what a message says of its charger.

        That is what is shown. Nobody is refused anything because it fails.
        """
        known, action = incoming.conversation.known, incoming.call.action
        if known.protocol != incoming.conversation.adapter.protocol:
            # It has come back meanwhile and speaks another version: its transactions are others.
            return
        try:
            learn(known, action, incoming.fields, incoming.time, number)
        except Exception:
            if self._may_complain:
                about = data(charger=known.charger, action=action)
                logger.exception("what a message says cannot be shown", extra=about)

    def _post(self, incoming: Incoming) -> None:
        if self._forwarding and incoming.call.action not in self._left_out:
            self.post(incoming.event())

    def _default(self, incoming: Incoming) -> dict[str, Any]:
        conversation = incoming.conversation
        return conversation.adapter.answers.answer(
            incoming.call.action,
            lambda: incoming.fields,
            conversation.adapter.heartbeat_interval(conversation.settings),
            self._now,
        )

    def _echo(self, incoming: Incoming) -> Any:
        """An answer that repeats what was asked, if that can be repeated."""
        assert isinstance(incoming.call, Call)
        try:
            return incoming.conversation.adapter.checked_response(incoming.call, self._default(incoming))
        except MessageError as error:
            raise RefuseCall(error.code, f"{broken_places(error)}, and would in the answer") from None

    def _now(self) -> dt.datetime:
        return moment(self._clock())

    # --- records

    async def _record(self, incoming: Incoming) -> Any:
        """Store what is billed by; the answer is the confirmation."""
        call, conversation = incoming.call, incoming.conversation
        assert isinstance(call, Call)
        known, protocol = conversation.known, conversation.adapter.protocol
        fields, sent = incoming.fields, incoming.sent
        keyed = as_sent(sent, fields)
        number = ""
        told = fields
        if call.action == "StartTransaction":
            number = str(transaction_number(known, keyed))
            # Whoever gets the event needs it to tell which stop belongs to it.
            told = {**fields, "transactionId": int(number)}
        event = incoming.event(
            "record", fields=told, key=record_key(call.action, keyed), digest=record_digest(sent)
        )
        about = {"charger": known.charger, "action": call.action, "record": event.id}
        try:
            try:
                stored = await self._outbox.put(event)
            except (TypeError, ValueError):
                # Deeper than JSON is written; it is in what was on the wire.
                event = msgspec.structs.replace(event, fields=None)
                stored = await self._outbox.put(event)
        except OutboxError as error:
            self._metrics.record(protocol, "not_stored")
            logger.error("a record could not be stored, it is not confirmed: %s", error, extra=data(**about))
            raise RefuseCall("InternalError", "it could not be stored, and has to be sent again") from None
        self._metrics.record(
            protocol, "conflict" if stored.conflict else "repeated" if stored.duplicate else "stored"
        )
        if stored.conflict:
            logger.warning("a record has the key of another one with other content", extra=data(**about))
        if not (stored.duplicate and fields.get("eventType") == "Started"):
            # What a beginning says that was heard before is not how things are now.
            self._learn(incoming, number)
        if number and number in known.transactions:
            known.transactions[number].key = start_key(keyed)
        if self._confirm == "delivered":
            await self._delivered(conversation, stored.id, about)
        answer = self._default(incoming)
        if self._is_asked(incoming):
            # As it is stored: of a repetition, with the id of the first.
            event = msgspec.structs.replace(event, id=stored.id, conflict=stored.conflict)
            fixed = {"transactionId": int(number)} if number else {}
            response = await self._ask(incoming, answer, event, **fixed)
        else:
            if number:
                answer = {**answer, "transactionId": int(number)}
            response = conversation.adapter.response(call, answer)
        self._metrics.record(protocol, "confirmed")
        return response

    async def _delivered(self, conversation: Conversation, id: str, about: dict[str, Any]) -> None:
        """Wait until the receivers of events have a record, as long as the connection stands.

        Raises:
            RefuseCall: they do not get it.
        """
        delivery = asyncio.ensure_future(self._outbox.delivered(id))
        try:
            await asyncio.wait({delivery, conversation.ended}, return_when=asyncio.FIRST_COMPLETED)
            if not delivery.done():
                raise RefuseCall("InternalError", "the connection ended before the record was delivered")
            delivery.result()
        except (NotDeliveredError, LookupError, OutboxError) as error:
            logger.error("a record was not delivered, it is not confirmed: %s", error, extra=data(**about))
            raise RefuseCall("InternalError", "it could not be delivered, and has to be sent again") from None
        finally:
            if not delivery.done():
                delivery.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await delivery

    # --- the hook

    def _is_asked(self, incoming: Incoming) -> bool:
        action = incoming.call.action
        if action in self._asked:
            return True
        if not self._authorizes:
            return False
        return action in ("Authorize", "StartTransaction") or (
            action == "TransactionEvent" and "idToken" in incoming.fields
        )

    async def _ask(
        self, incoming: Incoming, default: dict[str, Any], event: Event | None = None, **fixed: Any
    ) -> Any:
        """The answer of the hook, which gets the event; what it leaves out is as without it."""
        call, adapter = incoming.call, incoming.conversation.adapter
        assert isinstance(call, Call)
        assert self._hook is not None
        about = data(charger=incoming.conversation.known.charger, action=call.action)
        try:
            said = await self._hook.ask(incoming.event() if event is None else event)
            if not isinstance(said, dict):
                raise HookError(f"it answered with {type(said).__name__}, not with an object")
            return adapter.checked_response(call, {**default, **said, **fixed})
        except HookError as error:
            logger.warning("the hook gives no answer, the default is sent: %s", error, extra=about)
        except MessageError as error:
            logger.warning(
                "the hook's answer is not one of this action, the default is sent: %s",
                broken_places(error),
                extra=about,
            )
        return adapter.response(call, {**default, **fixed})

    async def _ask_for_unknown(self, incoming: Incoming) -> Any:
        """The answer to an action that no protocol has."""
        assert self._hook is not None
        try:
            said = await self._hook.ask(incoming.event())
            if not isinstance(said, dict):
                raise HookError(f"it answered with {type(said).__name__}, not with an object")
        except HookError as error:
            known = incoming.conversation.known
            logger.warning("the hook gives no answer: %s", error, extra=data(charger=known.charger))
            raise RefuseCall("NotImplemented", "it is not known here") from None
        return said

    # --- what is no request

    def on_boot(self, station: Station, request: Any, response: Any) -> None:
        """A BootNotification was answered."""
        conversation: Conversation = station.context
        off = isinstance(response, dict)
        status = str(response.get("status") if off else response.status)
        interval = response.get("interval", 0) if off else response.interval
        conversation.known.boot_status = status
        if conversation.gate is not None:
            conversation.gate.answered(status, interval, asyncio.get_running_loop().time())

    def on_call_ended(
        self, station: Station, call: Call[Any], result: CallResult[Any] | CallEndedError
    ) -> None:
        """A command has ended; what the charger answered is forwarded."""
        conversation: Conversation = station.context
        if isinstance(result, CallResult):
            self._post_answer(conversation, result)
        elif isinstance(result, CallRefusedError):
            self._post_answer(
                conversation,
                CallError(
                    unique_id=call.unique_id,
                    action=call.action,
                    error_code=result.error_code,
                    error_description=result.error_description,
                    error_details=result.error_details,
                ),
            )
        elif isinstance(result, InvalidAnswerError) and self._forwarding:
            cause = result.__cause__
            findings = findings_of(cause.deviations) if isinstance(cause, MessageError) else ()
            name = answer_name(call.action)
            self._post_frame(
                conversation, "error", name, call.unique_id, None, conversation.last_received, findings
            )

    def on_trouble(self, trouble: Trouble[Station]) -> None:
        """Something came that is of no use."""
        conversation: Conversation = trouble.peer.context
        error = trouble.error
        known = conversation.known
        if isinstance(error, MessageError):
            self._metrics.bad_frames.labels(type(error).__name__).inc()
            self._post_refused(conversation, error)
        elif isinstance(trouble.envelope, CallResult | CallError) and trouble.envelope.action:
            # Too late for who has asked; it says something all the same.
            self._post_answer(conversation, trouble.envelope)
        elif isinstance(trouble.envelope, Call) and trouble.envelope.action in RECORDS:
            self._post_declined(conversation, trouble.envelope, error)
        if self._may_complain:
            # What it says of the frame may quote it.
            logger.warning(
                "something of no use came: %s", type(error).__name__, extra=data(charger=known.charger)
            )

    def _post_refused(self, conversation: Conversation, error: MessageError) -> None:
        """A frame that was answered with an error.

        What should be billed by is kept as a record, once: a charger gives it up after some attempts.
        """
        raw = error.data or conversation.last_received
        sequence = None if error.unique_id == "-1" else error.unique_id[:_NAME]
        findings = findings_of(error.deviations)
        action = refused_record(raw)
        if action and error.message_type in (CALL, None):
            self._post_refused_record(conversation, action, sequence, raw, findings)
        elif self._forwarding:
            self._post_frame(conversation, "error", error.action[:_NAME], sequence, None, raw, findings)

    def _post_declined(self, conversation: Conversation, call: Call[Any], error: Exception) -> None:
        """What is billed by, and was not served: another one has its message id, or too many wait."""
        raw = conversation.last_received
        if str(error).endswith(": repeated") or sniff(raw)[1].decode("utf-8", "replace") != call.unique_id:
            # That very message again: the one answer is for both.
            return
        finding = EventFinding(kind="declined", path="", text=str(error))
        self._post_refused_record(conversation, call.action, call.unique_id[:_NAME], raw, (finding,))

    def _post_refused_record(
        self,
        conversation: Conversation,
        action: str,
        sequence: str | None,
        raw: bytes,
        findings: tuple[EventFinding, ...],
    ) -> None:
        digest = refused_digest(raw)
        key = f"refused|{action}|{digest}"
        self._post_frame(
            conversation, "record", action, sequence, None, raw, findings, key=key, digest=digest
        )

    def _post_answer(self, conversation: Conversation, answer: CallResult[Any] | CallError) -> None:
        """What a charger answered to a command."""
        raw = conversation.last_received
        if isinstance(answer, CallResult):
            name = answer_name(answer.action)
            fields = fields_of(answer, raw, conversation.station.codec)
        else:
            name = f"{answer.action}Error"
            fields = {
                "errorCode": answer.error_code,
                "errorDescription": answer.error_description,
                "errorDetails": answer.error_details,
            }
        if self._forwarding and name not in self._left_out:
            self._post_frame(
                conversation, "message", name, answer.unique_id, fields, raw, findings_of(answer.warnings)
            )

    def _post_frame(
        self,
        conversation: Conversation,
        kind: Kind,
        name: str,
        sequence: str | None,
        fields: dict[str, Any] | None,
        raw: bytes,
        findings: tuple[EventFinding, ...],
        *,
        key: str | None = None,
        digest: str | None = None,
    ) -> None:
        now = self._clock()
        text = _text(raw)
        stored = self.post(
            Event(
                id=new_id(now),
                time=moment(now),
                protocol=conversation.adapter.protocol,
                charger=conversation.known.charger,
                kind=kind,
                name=name,
                sequence=sequence,
                fields=fields,
                raw=text[:_RAW] if kind == "error" else text,
                findings=findings,
                key=key,
                digest=digest,
            )
        )
        if kind == "record":
            stored.add_done_callback(functools.partial(self._on_posted_record, conversation, name))

    def _on_posted_record(self, conversation: Conversation, name: str, stored: asyncio.Future[Any]) -> None:
        """A record that was refused is stored, or not: its charger has got its answer already."""
        protocol = conversation.adapter.protocol
        error = None if stored.cancelled() else stored.exception()
        if error is None and not stored.cancelled():
            self._metrics.record(protocol, "repeated" if stored.result().stored.duplicate else "stored")
            return
        self._metrics.record(protocol, "not_stored")
        about = data(charger=conversation.known.charger, action=name)
        logger.error("a record that was refused could not be stored, it is lost: %s", error, extra=about)

    def post(self, event: Event) -> asyncio.Future[Any]:
        """Store an event that nobody waits for."""
        try:
            return self._outbox.post(event)
        except (TypeError, ValueError):
            # Numbers that JSON has and nobody else; they are in what was on the wire.
            return self._outbox.post(msgspec.structs.replace(event, fields=None))


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
