"""OCPP-J frames to envelopes with typed payloads, and back."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from evproto.errors import EncodeError
from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT, CALL_RESULT_ERROR, SEND, Dialect, Mode
from evproto.ocppj.envelopes import (
    Call,
    CallError,
    CallResult,
    CallResultError,
    Deviation,
    Envelope,
    Send,
    UnknownMember,
)
from evproto.ocppj.errors import (
    FrameTooLargeError,
    InvalidMessageError,
    MalformedFrameError,
    MessageError,
    PayloadError,
    UnexpectedResponseError,
    UnknownActionError,
)
from evproto.ocppj.head import sniff
from evproto.ocppj.part import REFUSALS, Part, encode_json
from evproto.ocppj.paths import with_unknown
from evproto.payloads import Action, Payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from evproto.ocppj.frames import SlowFrame
    from evproto.ocppj.lenient import Policy
    from evproto.ocppj.transfers import Transfers

__all__ = ["Codec", "Pending"]

Pending = Mapping[str, "str | Call[Any]"]
"""The requests that wait for an answer: the action, or the call itself, by message id."""

_Check = Callable[[Any, bytes], None] | None
_RequestReader = tuple[Callable[[bytes], Any], _Check, str, Any]
_ResultReader = tuple[Callable[[bytes], Any], _Check]
_Sender = tuple[str, bytes, Callable[[Any], bytes]]
"""The action, the same as JSON, and what makes valid bytes of a payload."""

_DIGITS = {"seconds": 0, "milliseconds": 3, "microseconds": 6}
_NONE: Pending = {}


def deviation(dialect: Dialect, keyword: str, **facts: Any) -> Deviation:
    """:func:`evproto.ocppj.deviations.deviation`, loaded when something is wrong for the first time."""
    from evproto.ocppj.deviations import deviation as make

    return make(dialect, keyword, **facts)


class Codec:
    """Decodes and encodes the frames of one dialect.

    A codec holds nothing of a connection: which requests wait for an answer
    is an argument. It can be shared by all connections and all threads.

    Args:
        dialect: the version.
        mode: what becomes of payloads that break their schema. ``strict``
            refuses them; ``lenient`` keeps what a typed message can hold and
            reports each deviation as a warning; ``off`` does not look, and
            payloads are dicts. None: the mode of the dialect.
        policy: decides over single deviations, in both of the other modes.
        max_size: frames of more bytes are refused unread.
        time_precision: digits of the second in date-times that are sent:
            ``seconds``, ``milliseconds`` or ``microseconds``.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        mode: Mode | None = None,
        policy: Policy | None = None,
        max_size: int = 1 << 20,
        time_precision: str = "milliseconds",
    ) -> None:
        if time_precision not in _DIGITS:
            raise ValueError(f"time_precision is one of {', '.join(_DIGITS)}, not {time_precision!r}")
        self.dialect = dialect
        self.mode: Mode = _checked_mode(mode if mode is not None else dialect.mode)
        self.policy = policy
        self.max_size = max_size
        self.time_precision = time_precision
        self._digits = _DIGITS[time_precision]
        self._parts: dict[tuple[str, str], Part] = {}
        self._requests: dict[bytes, _RequestReader] = {}
        self._results: dict[str, _ResultReader] = {}
        self._senders: dict[type, _Sender] = {}
        self._transfer_actions = frozenset(transfer.action for transfer in dialect.transfers)
        self._judge: Codec | None = None
        self._transfers: Transfers | None = None
        if dialect.transfers:
            from evproto.ocppj.transfers import Transfers

            self._transfers = Transfers(dialect, policy)

    def extended(self, extension: Mapping[str, Any] | Path | str) -> Codec:
        """A codec like this one that also knows the actions and data transfers of an extension.

        The extension is a dict or a JSON file; its form is described in
        :mod:`evproto.ocppj.extensions`. Its classes are in the ``actions``
        and ``transfers`` of the new codec's dialect.

        Raises:
            SpecError: the extension is not in that form.
        """
        from evproto.ocppj.extensions import extend_dialect

        return Codec(
            extend_dialect(self.dialect, extension),
            mode=self.mode,
            policy=self.policy,
            max_size=self.max_size,
            time_precision=self.time_precision,
        )

    @staticmethod
    def warm_up() -> None:
        """Load what the first refusal needs: jsonschema, which takes seconds with all its extras.

        Servers call it as they start, so that no wrong frame of a peer makes
        the others wait. Everything works without.
        """
        for module in ("deviations", "diagnosis", "finite", "frames", "lenient", "reading"):
            importlib.import_module(f"evproto.ocppj.{module}")

    # Decoding

    def decode(self, data: bytes | str, pending: Pending | None = None, mode: Mode | None = None) -> Envelope:
        """The envelope in one frame.

        ``pending`` says which request each message id belongs to; without it
        the payload of a CALLRESULT cannot be typed.

        Raises:
            MessageError: the frame, or the payload in it, is not what the
                protocol says; see :mod:`evproto.ocppj.errors`.
        """
        if type(data) is not bytes:
            data = self._bytes(data)
        if len(data) > self.max_size:
            raise self._too_large(data)
        if (mode or self.mode) != "off":
            # A guess at the head says which decoder to take; it reads, and so checks, the whole.
            pieces = (data if len(data) < 2048 else data[:256]).split(b'"', 4)
            try:
                reader = self._requests.get(pieces[3]) if len(pieces) == 5 else None
                if reader is not None:
                    read, check, action, make = reader
                    frame = read(data)
                    if check is not None:
                        check(frame.payload, data)
                    typed: Envelope = make(unique_id=frame.unique_id, action=action, payload=frame.payload)
                    return typed
                envelope = self._decode_first(data, pending)
                if envelope is not None:
                    if envelope.action in self._transfer_actions:
                        return self._with_data(envelope, pending, mode or self.mode, data)
                    return envelope
            except (*REFUSALS, LookupError):
                # Whatever is wrong with it, the slow way finds out and says it.
                pass
        mode = _checked_mode(mode or self.mode)
        envelope = self._decode_slowly(data, _NONE if pending is None else pending, mode)
        if mode != "off" and envelope.action in self._transfer_actions:
            return self._with_data(envelope, pending, mode, data)
        return envelope

    def _decode_first(self, data: bytes, pending: Pending | None) -> Envelope | None:
        """The fast way of answers, of actions that come for the first time, and of unusual heads."""
        kind, unique_id, name = sniff(data)
        if kind == CALL_RESULT and pending is not None:
            request = pending[unique_id.decode()]
            action = request if isinstance(request, str) else request.action
            read, check = self._results.get(action) or self._result_reader(action)
            frame = read(data)
            if check is not None:
                check(frame.payload, data)
            if frame.unique_id in pending:
                return CallResult(unique_id=frame.unique_id, action=action, payload=frame.payload)
        elif kind in (CALL, SEND):
            read, check, action, make = self._requests.get(name) or self._request_reader(kind, name)
            frame = read(data)
            if check is not None:
                check(frame.payload, data)
            envelope: Envelope = make(unique_id=frame.unique_id, action=action, payload=frame.payload)
            return envelope
        return None

    def _with_data(self, envelope: Envelope, pending: Pending | None, mode: Mode, data: bytes) -> Envelope:
        """The envelope of a data transfer, with what an extension knows of its data."""
        assert self._transfers is not None
        from evproto.ocppj.frames import SlowFrame
        from evproto.ocppj.lenient import RefusalError

        if isinstance(envelope, Call):
            request, answer, kind = envelope.payload, None, CALL
        elif isinstance(envelope, CallResult):
            asked = (pending or _NONE).get(envelope.unique_id)
            if not isinstance(asked, Call):
                return envelope
            request, answer, kind = asked.payload, envelope.payload, CALL_RESULT
        else:
            return envelope
        try:
            typed, warnings = self._transfers.read(request, answer, action=envelope.action, mode=mode)
        except RefusalError as refusal:
            frame = SlowFrame(message_type=kind, unique_id=envelope.unique_id)
            raise self._refused(PayloadError, (refusal.deviation,), frame, data) from None
        return msgspec.structs.replace(envelope, data=typed, warnings=envelope.warnings + warnings)

    def _bytes(self, data: Any) -> bytes:
        if isinstance(data, str):
            try:
                return data.encode("utf-8")
            except UnicodeEncodeError:
                found = deviation(self.dialect, "json", note="the frame has half a character in it")
                raise MalformedFrameError((found,), dialect=self.dialect) from None
        if isinstance(data, bytearray | memoryview):
            return bytes(data)
        raise TypeError(f"a frame is bytes or str, not {type(data).__name__}")

    def _too_large(self, data: bytes) -> FrameTooLargeError:
        from evproto.ocppj.reading import sniff_message_type

        note = f"the frame has {len(data)} bytes, at most {self.max_size} are taken"
        found = deviation(self.dialect, "size", value=len(data), limit=self.max_size, note=note)
        kind = sniff_message_type(data[:64])
        return FrameTooLargeError((found,), dialect=self.dialect, message_type=kind)

    def _request_reader(self, message_type: int, name: bytes) -> _RequestReader:
        action = name.decode()
        part = self._part(action, "request")
        answered = part is not None and self.dialect.actions[action].response is not None
        if (
            part is None
            or answered != (message_type == CALL)
            or message_type not in self.dialect.message_types
        ):
            raise ValueError("not an action of this message type")
        make = Call if message_type == CALL else Send
        reader = part.frame_decoder(message_type), part.check, action, make
        if action not in self._transfer_actions:
            # What is in here is made without a second look.
            self._requests[name] = reader
        return reader

    def _result_reader(self, action: str) -> _ResultReader:
        part = self._part(action, "response")
        if part is None:
            raise ValueError("not an action that is answered")
        reader = self._results[action] = part.frame_decoder(CALL_RESULT), part.check
        return reader

    def _part(self, action: str, name: str) -> Part | None:
        part = self._parts.get((action, name))
        if part is None:
            entry: Action | None = self.dialect.actions.get(action)
            shape = getattr(entry, name, None)
            if shape is None:
                return None
            part = self._parts[action, name] = Part(action, name, shape, self.dialect.names)
        return part

    def _decode_slowly(self, data: bytes, pending: Pending, mode: Mode) -> Envelope:
        from evproto.ocppj.frames import read_slowly

        frame = read_slowly(data, self.dialect, tolerant=mode != "strict")
        if frame.message_type in (CALL_ERROR, CALL_RESULT_ERROR):
            return self._error(frame, pending)
        if frame.message_type == CALL_RESULT:
            return self._result(frame, pending, mode, data)
        return self._request(frame, mode, data)

    def _error(self, frame: SlowFrame, pending: Pending) -> CallError | CallResultError:
        if frame.error_code not in self.dialect.error_codes:
            note = f"{frame.error_code[:50]!r} is no error code of {self.dialect.name}"
            frame.warnings.append(deviation(self.dialect, "errorCode", value=frame.error_code, note=note))
        make = CallError if frame.message_type == CALL_ERROR else CallResultError
        return make(
            unique_id=frame.unique_id,
            error_code=frame.error_code,
            error_description=frame.error_description,
            error_details=frame.error_details,
            action=_action_of(pending.get(frame.unique_id)),
            warnings=tuple(frame.warnings),
        )

    def _request(self, frame: SlowFrame, mode: Mode, data: bytes) -> Envelope:
        name, action = ("CALL", frame.action) if frame.message_type == CALL else ("SEND", frame.action)
        part = self._part(action, "request")
        answered = part is not None and self.dialect.actions[action].response is not None
        known = part is not None and answered == (name == "CALL")
        if not known and mode != "off":
            if part is None:
                note = f"{self.dialect.name} has no action {action[:50]!r}"
                found = deviation(self.dialect, "action", value=action, note=note)
            else:
                note = f"{action} is sent as {'CALL' if answered else 'SEND'}, not as {name}"
                found = deviation(self.dialect, "messageKind", value=action, note=note)
            found = msgspec.structs.replace(found, action=action[:50])
            if part is not None or not self._hands_on(mode):
                raise self._refused(UnknownActionError, (found,), frame, data)
            frame.warnings.append(found)
        payload, unknown = self._payload(frame, part if known else None, mode, data, action)
        make: Any = Call if name == "CALL" else Send
        envelope: Envelope = make(
            unique_id=frame.unique_id,
            action=action,
            payload=payload,
            warnings=tuple(frame.warnings),
            unknown=unknown,
        )
        return envelope

    def _result(self, frame: SlowFrame, pending: Pending, mode: Mode, data: bytes) -> Envelope:
        action = _action_of(pending.get(frame.unique_id))
        part = self._part(action, "response") if action else None
        if part is None and mode != "off":
            if action:
                note = f"{self.dialect.name} has no answer to {action[:50]!r}"
            else:
                note = f"no request with the message id {frame.unique_id[:50]!r} waits for an answer"
            found = deviation(self.dialect, "response", value=frame.unique_id, note=note)
            if action in ("", *self.dialect.actions) or not self._hands_on(mode):
                raise self._refused(UnexpectedResponseError, (found,), frame, data)
            frame.warnings.append(found)
        payload, unknown = self._payload(frame, part, mode, data, action)
        return CallResult(
            unique_id=frame.unique_id,
            action=action,
            payload=payload,
            warnings=tuple(frame.warnings),
            unknown=unknown,
        )

    def _hands_on(self, mode: Mode) -> bool:
        """Whether actions that are not in the table go through as they are."""
        return mode == "lenient" and self.dialect.takes_unknown_actions

    def _payload(
        self, frame: SlowFrame, part: Part | None, mode: Mode, data: bytes, action: str
    ) -> tuple[Any, tuple[UnknownMember, ...]]:
        """The payload of a frame that the fast way refused, typed where it can be."""
        if frame.payload is None:
            # Allowed where there is nothing to say (1.6-J section 4.2.1; part 4, section 4.1.5).
            frame.payload = {}
        if part is None or mode == "off":
            if not isinstance(frame.payload, dict):
                found = deviation(self.dialect, "type", action=action, value=frame.payload, limit="object")
                raise self._refused(PayloadError, (found,), frame, data)
            return frame.payload, ()
        frame.payload = part.unnamed(frame.payload)
        # Imported here: valid messages need none of it.
        from evproto.ocppj.lenient import RefusalError, Walk, walk_payload

        if mode == "strict" and self.policy is None:
            found_all = self._diagnosed(part, frame.payload)
            if found_all:
                raise self._refused(PayloadError, found_all, frame, data)
        walk = Walk(self.dialect, action, mode == "lenient", self.policy)
        try:
            payload = walk_payload(part.shape, frame.payload, walk)
        except RefusalError as refusal:
            raise self._refused(PayloadError, (refusal.deviation,), frame, data) from None
        frame.warnings += walk.warnings
        return payload, tuple(walk.unknown)

    def _diagnosed(self, part: Part, payload: Any) -> tuple[Deviation, ...]:
        from evproto.ocppj.diagnosis import diagnose

        schema = self.dialect.schemas.get((part.action, part.part))
        return diagnose(payload, self.dialect, part.action, part.part, schema)

    def _refused(
        self, error: type[MessageError], found: tuple[Deviation, ...], frame: SlowFrame, data: bytes
    ) -> MessageError:
        return error(
            found, dialect=self.dialect, unique_id=frame.unique_id, message_type=frame.message_type, data=data
        )

    def check(self, data: bytes | str, pending: Pending | None = None) -> tuple[Deviation, ...]:
        """Everything that is wrong with a frame, in the words of this version; empty if nothing is.

        Members given twice are told as well, though decoding takes the last
        of them.
        """
        from evproto.ocppj.deviations import spell_steps
        from evproto.ocppj.reading import duplicate_members

        if self._judge is None:
            # What a policy would let pass is told all the same.
            self._judge = self if self.policy is None else Codec(self.dialect, max_size=self.max_size)
        try:
            envelope = self._judge.decode(data, pending, mode="strict")
            found = list(envelope.warnings)
        except MalformedFrameError as error:
            return error.deviations
        except FrameTooLargeError as error:
            return error.deviations
        except MessageError as error:
            found = list(error.deviations)
        for steps, name in duplicate_members(data if isinstance(data, bytes) else data.encode()):
            # The payload is the last element of the frame.
            inside = (*steps, name)[1:] if steps and isinstance(steps[0], int) else (*steps, name)
            told = deviation(self.dialect, "duplicate", steps=inside)
            found.append(msgspec.structs.replace(told, path=spell_steps(inside)))
        return tuple(found)

    # Encoding

    def encode(self, envelope: Envelope, mode: Mode | None = None) -> bytes:
        """The frame of an envelope.

        Known members come in the order of the schema, unknown ones after them
        as they arrived; absent ones are left out. What would not be taken by
        :meth:`decode` in strict mode is not sent, except in the other modes:
        ``lenient`` sends what the typed message holds (so that what was
        received leniently can be passed on), ``off`` does not look.

        Raises:
            InvalidMessageError: the payload breaks its schema, or the
                envelope is not complete.
            EncodeError: it cannot be put into JSON at all.
        """
        kind = type(envelope)
        # Most of what is sent takes this way; the other says what is wrong.
        if kind in _TYPED and (mode is None or mode == "strict") and not envelope.unknown:  # type: ignore[union-attr]
            sender = self._senders.get(type(envelope.payload))  # type: ignore[union-attr]
            if sender is not None and (kind is Send or envelope.data is None):  # type: ignore[union-attr]
                action, wire_name, encode = sender
                unique_id = envelope.unique_id
                if action == envelope.action and 0 < len(unique_id) <= 36:
                    try:
                        body = encode(envelope.payload)  # type: ignore[union-attr]
                        if kind is CallResult:
                            return b"[3,%b,%b]" % (encode_json(unique_id), body)
                        number = b"2" if kind is Call else b"6"
                        return b"[%b,%b,%b,%b]" % (number, encode_json(unique_id), wire_name, body)
                    except (*REFUSALS, TypeError):
                        pass
        if isinstance(envelope, _WITH_DATA) and envelope.data is not None:
            if self._transfers is None:
                note = "no extension describes the data of a transfer"
                raise InvalidMessageError((deviation(self.dialect, "action", note=note),))
            return self.encode(self._transfers.write(envelope, self._digits), mode)
        return self._encode_slowly(envelope, "strict" if mode is None else _checked_mode(mode))

    def _encode_slowly(self, envelope: Envelope, mode: Mode) -> bytes:
        number = _NUMBERS.get(type(envelope))
        if number is None:
            raise TypeError(f"an envelope is Call, CallResult, CallError or the like, not {envelope!r}")
        if number not in self.dialect.message_types:
            note = f"{self.dialect.name} has no message type {number}"
            raise InvalidMessageError((deviation(self.dialect, "messageType", value=number, note=note),))
        if mode == "strict":
            self._check_id(envelope.unique_id)
        if isinstance(envelope, CallError | CallResultError):
            return self._encode_error(number, envelope, mode)
        name = "response" if isinstance(envelope, CallResult) else "request"
        body = self._encode_payload(envelope, name, mode)
        try:
            unique_id = encode_json(envelope.unique_id)
            action = encode_json(envelope.action)
        except REFUSALS as error:
            raise EncodeError(f"the envelope has a text that is not one: {error}") from error
        if name == "response":
            return b"[%d,%b,%b]" % (number, unique_id, body)
        return b"[%d,%b,%b,%b]" % (number, unique_id, action, body)

    def _check_id(self, unique_id: Any) -> None:
        longest = self.dialect.id_length
        if isinstance(unique_id, str) and 0 < len(unique_id) <= longest:
            return
        note = f"a message id is a text of 1 to {longest} characters"
        raise InvalidMessageError((deviation(self.dialect, "messageId", value=unique_id, note=note),))

    def _encode_error(self, number: int, envelope: CallError | CallResultError, mode: Mode) -> bytes:
        if mode == "strict":
            if envelope.error_code not in self.dialect.error_codes:
                note = f"{envelope.error_code!r} is no error code of {self.dialect.name}"
                found = deviation(self.dialect, "errorCode", value=envelope.error_code, note=note)
                raise InvalidMessageError((found,))
            if len(envelope.error_description) > self.dialect.description_length:
                most = self.dialect.description_length
                note = f"the description has {len(envelope.error_description)} characters, at most {most} go"
                raise InvalidMessageError((deviation(self.dialect, "errorDescription", note=note),))
        whole = number, envelope.unique_id, envelope.error_code, envelope.error_description
        try:
            return self._finite(
                encode_json((*whole, envelope.error_details)), envelope.error_details, envelope.action
            )
        except (*REFUSALS, TypeError) as error:
            raise EncodeError(f"the details of the error cannot be put into JSON: {error}") from error

    def _encode_payload(
        self, envelope: Call[Any] | CallResult[Any] | Send[Any], name: str, mode: Mode
    ) -> bytes:
        payload, action = envelope.payload, envelope.action
        part = self._part(action, name)
        hands_on = isinstance(payload, dict) and (self._hands_on(self.mode) or self._hands_on(mode))
        if part is None and mode != "off" and not hands_on:
            note = f"{self.dialect.name} has no {name} of an action {action!r}"
            raise InvalidMessageError((deviation(self.dialect, "action", value=action, note=note),))
        if part is not None and isinstance(payload, Payload) and not isinstance(payload, part.shape.type):
            note = f"a {type(payload).__name__} is not the {name} of {action}"
            raise InvalidMessageError((deviation(self.dialect, "action", value=action, note=note),))
        if part is not None and name == "request":
            sends = self.dialect.actions[action].response is None
            if sends != isinstance(envelope, Send) and mode != "off":
                note = f"{action} is sent as {'SEND' if sends else 'CALL'}"
                raise InvalidMessageError((deviation(self.dialect, "messageKind", value=action, note=note),))
        try:
            body = part.encode(payload, self._digits) if part is not None else encode_json(payload)
        except (*REFUSALS, TypeError) as error:
            self._finite(b"null", payload, action)
            raise EncodeError(f"{action}: the payload cannot be put into JSON: {error}") from error
        self._finite(body, payload, action)
        if part is not None and mode == "strict":
            self._validate(part, body)
            if isinstance(payload, part.shape.type) and not part.names:
                encode = part.checked_encoder(self._digits)
                self._senders[part.shape.type] = part.action, part.wire_name, encode
        if envelope.unknown:
            added = {member.name: member.value for member in envelope.unknown}
            whole = with_unknown(msgspec.json.decode(body), envelope.unknown)
            body = self._finite(encode_json(whole), added, action)
        return body if part is None or mode == "off" else part.renamed(body)

    def _finite(self, body: bytes, value: Any, action: str) -> bytes:
        """``body``, unless there is a NaN or an infinity in the ``value`` it was made of.

        Raises:
            InvalidMessageError: there is.
        """
        if b"null" in body or b"NaN" in body or b"Infinity" in body:
            from evproto.ocppj.finite import not_finite

            if (found := not_finite(value)) is not None:
                note = f"is {found.value}, which JSON has no word for"
                told = deviation(self.dialect, "number", steps=found.steps, action=action, note=note)
                raise InvalidMessageError((told,))
        return body

    def _validate(self, part: Part, body: bytes) -> None:
        """Take what is about to be sent as the other side will."""
        try:
            part.decode_checked(body)
        except REFUSALS as refusal:
            from evproto.ocppj.reading import UnreadableError, read_json

            try:
                value = read_json(body)
            except UnreadableError as error:
                raise EncodeError(f"{part.action}: the payload {error.note}") from refusal
            found = self._diagnosed(part, value)
            if found:
                raise InvalidMessageError(found) from None


_TYPED = frozenset({Call, CallResult, Send})
_WITH_DATA = (Call, CallResult)
_NUMBERS: dict[type, int] = {
    Call: CALL,
    CallResult: CALL_RESULT,
    CallError: CALL_ERROR,
    CallResultError: CALL_RESULT_ERROR,
    Send: SEND,
}


def _action_of(request: str | Call[Any] | None) -> str:
    if request is None:
        return ""
    return request if isinstance(request, str) else request.action


def _checked_mode(mode: Mode) -> Mode:
    if mode not in ("strict", "lenient", "off"):
        raise ValueError(f"a mode is strict, lenient or off, not {mode!r}")
    return mode
