"""From frames in lines to what is told about them: typed, paired, explained, and hidden where asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from evproto.capture import Item
from evproto.cli.ocppj import codec_of
from evproto.cli.ocppj.guessing import Guesser
from evproto.cli.ocppj.pairing import Asked, Pairing, sender_of
from evproto.cli.ocppj.reading import TextFrame
from evproto.cli.ocppj.told import Finding, Guess, Told
from evproto.errors import EvprotoError
from evproto.ocppj import (
    Call,
    CallError,
    CallResult,
    CallResultError,
    Codec,
    Deviation,
    Envelope,
    MessageError,
    PayloadError,
    Send,
    UnexpectedResponseError,
)
from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT, CALL_RESULT_ERROR, SEND
from evproto.ocppj.redact import HIDDEN, Memory, Redacted, Redactor, mask
from evproto.payloads import Sender

__all__ = ["FrameDecoder", "Reading"]

_I = TypeVar("_I", bound=Item)
_AHEAD_FRAMES: Final = 500
_AHEAD_BYTES: Final = 1 << 20
_AHEAD_ITEMS: Final = 5_000
_NAMES: Final = {
    CALL: "CALL",
    CALL_RESULT: "CALLRESULT",
    CALL_ERROR: "CALLERROR",
    CALL_RESULT_ERROR: "CALLRESULTERROR",
    SEND: "SEND",
}


class FrameDecoder:
    """Decodes the frames of an input, one after the other.

    Args:
        protocol: one of :data:`~evproto.cli.ocppj.PROTOCOLS`; "" to guess.
        check: whether good frames are looked at for what decoding lets pass.
        redact: whether identities, certificates and the like are hidden.
    """

    def __init__(self, protocol: str = "", *, check: bool = False, redact: bool = False) -> None:
        self._protocol = protocol
        self._guessed: Guesser | None = None
        self._said = False
        self._check = check
        self._memory = Memory() if redact else None
        self._pairing = Pairing()

    @property
    def _guesser(self) -> Guesser | None:
        """Made when the first frame asks for it: it loads all protocols."""
        if self._guessed is None and not self._protocol:
            self._guessed = Guesser()
        return self._guessed

    def ahead(self, items: Iterable[_I], *, live: bool) -> Iterator[_I]:
        """The same items; if the protocol is to be guessed, more frames are looked at before the first.

        ``live`` means that whoever waits for an item shall have it at once.
        """
        iterator = iter(items)
        for item in iterator:
            if isinstance(item, TextFrame):
                self._look_at(item)
                if not live and not self._protocol and not item.protocol:
                    yield from self._held(item, iterator)
                    live = True
                    continue
            yield item

    def _held(self, first: _I, items: Iterator[_I]) -> Iterator[_I]:
        """Items that are given after all of them were looked at."""
        held = [first]
        frames = size = 0
        try:
            for item in items:
                held.append(item)
                if isinstance(item, TextFrame):
                    self._look_at(item)
                    frames += 1
                    size += len(item.data)
                if frames >= _AHEAD_FRAMES or size >= _AHEAD_BYTES or len(held) >= _AHEAD_ITEMS:
                    break
        except Exception:
            # What came before the trouble is not to be lost.
            yield from held
            raise
        yield from held

    def _look_at(self, chunk: TextFrame) -> None:
        if chunk.protocol:
            self._said = True
        elif self._guesser is not None:
            self._guesser.look_at(chunk)

    @property
    def decided(self) -> bool:
        """Whether the protocol is known, was told or could be guessed."""
        return bool(self._protocol) or self._said or (self._guessed is not None and self._guessed.decided)

    def codec(self, chunk: TextFrame) -> tuple[str, Codec]:
        """The protocol that a frame is of, and its codec."""
        protocol = self._protocol or chunk.protocol
        if not protocol and self._guesser is not None:
            protocol = self._guesser.protocol_of(chunk)
        return protocol, codec_of(protocol)

    def news(self, chunk: TextFrame) -> Guess | None:
        """What is to be said about the protocol before the frame is told."""
        if chunk.protocol or self._guesser is None:
            return None
        return self._guesser.news(chunk)

    def decode(self, chunk: TextFrame) -> Iterator[Told | Guess]:
        """A frame, and before it what was guessed about it."""
        result = self.read_doubting(chunk)
        guess = self.news(chunk)
        told = self._told(chunk, result)
        if guess is not None:
            if guess.charger:
                guess.charger = told.charger
            yield guess
        yield told

    def read_doubting(self, chunk: TextFrame) -> Reading:
        """A frame as its protocol reads it; of one that is refused, another protocol may be guessed."""
        result = self.read(chunk)
        known = self._protocol or chunk.protocol
        if isinstance(result.outcome, MessageError) and not known and self._guesser is not None:
            self._guesser.doubt(chunk)
            if self._guesser.protocol_of(chunk) != result.protocol:
                result = self.read(chunk)
        return result

    def checked(self, chunk: TextFrame, result: Reading) -> list[Finding]:
        """Everything that is wrong with a frame, what decoding lets pass included."""
        found = result.codec.check(chunk.data, result.pending)
        if not found or self._memory is None:
            return self._findings(found, result, None, None)
        redacted = self._hide(chunk, result)
        return self._findings(found, result, redacted, _payload_of(redacted.value))

    def read(self, chunk: TextFrame) -> Reading:
        """A frame as its protocol reads it."""
        protocol, codec = self.codec(chunk)
        value: Any = chunk.value
        kind, unique_id, third = 0, "", None
        if isinstance(value, list) and len(value) > 1 and type(value[0]) is int and isinstance(value[1], str):
            kind, unique_id, third = value[0], value[1], value[2] if len(value) > 2 else None
        if kind in (CALL, SEND):
            asked = None
            outcome = _decoded(codec, chunk, {})
            if kind == CALL and isinstance(third, str):
                action = codec.dialect.actions.get(third)
                asked = self._pairing.remember(chunk, unique_id, third, action.sent_by if action else ())
            return Reading(protocol, codec, outcome, request=asked)
        if kind not in (CALL_RESULT, CALL_ERROR, CALL_RESULT_ERROR):
            return Reading(protocol, codec, _decoded(codec, chunk, {}))
        return self._answer(protocol, codec, chunk, unique_id)

    def _answer(self, protocol: str, codec: Codec, chunk: TextFrame, unique_id: str) -> Reading:
        first: Reading | None = None
        for asked in self._pairing.candidates(chunk, unique_id):
            outcome = _decoded(codec, chunk, {unique_id: asked.action})
            own = asked.charger.name == chunk.charger.name
            if not isinstance(outcome, MessageError):
                asked.answered = True
                return Reading(protocol, codec, outcome, answered=asked)
            # It is wrong as an answer to the likeliest request; if it is right for another, it is its answer.
            if own and first is None:
                first = Reading(protocol, codec, outcome, answered=asked)
        if first is None:
            return Reading(protocol, codec, _decoded(codec, chunk, {}))
        assert first.answered is not None
        first.answered.answered = True
        return first

    # What is told

    def _told(self, chunk: TextFrame, result: Reading) -> Told:
        outcome, codec, asked = result.outcome, result.codec, result.answered
        told = Told(
            chunk,
            result.protocol,
            _clean(chunk.frame),
            _clean(chunk.before),
            _clean(chunk.after),
            chunk.charger.name,
        )
        if asked is not None:
            told.request_line = asked.line
        frame: list[Any] = chunk.value if isinstance(chunk.value, list) else []
        redacted: Redacted | None = None
        if self._memory is not None:
            redacted = self._hidden(told, result)
            frame = redacted.value or []
        if isinstance(outcome, MessageError):
            self._bad(told, outcome, result, redacted, frame)
        else:
            if not frame and redacted is None:
                # Valid, and deeper or bigger than the standard library reads.
                frame = msgspec.json.decode(chunk.data)
            self._good(told, outcome, result, redacted, frame)
        action = codec.dialect.actions.get(told.action)
        senders = action.sent_by if action is not None and result.request is not None else ()
        told.sender = sender_of(chunk, senders, asked)
        if told.message == "SEND" and action is not None and len(action.sent_by) == 1:
            told.sender = action.sent_by[0]
        if told.message == "CALLRESULTERROR" and told.sender is not None:
            # It is the asker who complains about the answer.
            told.sender = Sender.CSMS if told.sender is Sender.STATION else Sender.STATION
        return told

    def _hidden(self, told: Told, result: Reading) -> Redacted:
        """Put what may be shown in place of what was there."""
        memory, chunk = self._memory, told.chunk
        assert memory is not None
        redacted = self._hide(chunk, result)
        told.redacted = True
        told.before = memory.context(told.before, redacted.needles)
        if chunk.value is None and told.after.strip():
            told.after = HIDDEN  # where a broken frame ends nobody knows
        else:
            told.after = memory.context(told.after, redacted.needles)
        told.charger = memory.mask(mask(told.charger, redacted.needles))
        redacted = msgspec.structs.replace(
            redacted, value=memory.mask(redacted.value), text=memory.mask(redacted.text)
        )
        told.raw = redacted.raw
        return redacted

    def _hide(self, chunk: TextFrame, result: Reading) -> Redacted:
        memory, asked = self._memory, result.answered
        assert memory is not None
        redacted = _redactor(result.protocol).frame(chunk.frame, chunk.value, asked.action if asked else "")
        if result.request is not None:
            result.request.hidden = redacted.needles[:100]
        if asked is not None:
            memory.add(asked.hidden)
        memory.add(redacted.needles)
        return redacted

    def _good(
        self, told: Told, envelope: Envelope, result: Reading, redacted: Redacted | None, frame: list[Any]
    ) -> None:
        told.message = _NAMES[_KINDS[type(envelope)]]
        told.unique_id = self._text(envelope.unique_id)
        told.action = envelope.action
        if isinstance(envelope, Call | Send | CallResult):
            told.payload = frame[3 if not isinstance(envelope, CallResult) else 2]
            if isinstance(envelope, CallResult):
                told.part = "response" if envelope.action else ""
                if not envelope.action:
                    told.note = _untyped(result.answered, result.protocol)
            else:
                told.part = "request"
        else:
            told.error_code = self._text(envelope.error_code)
            hide = redacted is not None
            told.error_description = (
                HIDDEN if hide and envelope.error_description else envelope.error_description
            )
            told.error_details = (frame[4] if len(frame) > 4 else {}) if hide else envelope.error_details
            if not envelope.action:
                told.note = "no request with this message id was seen"
        found = envelope.warnings
        if self._check:
            asked = result.answered
            pending = {envelope.unique_id: asked.action} if asked else {}
            found = (
                *found,
                *(one for one in result.codec.check(told.chunk.data, pending) if one not in found),
            )
            if told.opaque:
                found = tuple(one for one in found if one.keyword != "response")
        told.findings = self._findings(found, result, redacted, told.payload)

    def _bad(
        self, told: Told, error: MessageError, result: Reading, redacted: Redacted | None, frame: list[Any]
    ) -> None:
        told.error = type(error).__name__
        kind = error.message_type
        told.message = _NAMES.get(kind if kind is not None else 0, "")
        if frame and isinstance(frame[0], int) and len(frame) > 1 and isinstance(frame[1], str):
            told.unique_id = frame[1]
        if kind in (CALL, SEND) and len(frame) > 2 and isinstance(frame[2], str):
            told.action = frame[2]
            if len(frame) > 3:
                told.payload = frame[3]
            told.part = "request" if told.action in result.codec.dialect.actions else ""
        elif kind == CALL_RESULT and len(frame) > 2:
            told.action = result.answered.action if result.answered else ""
            told.payload = frame[2]
            told.part = "response" if isinstance(error, PayloadError) else ""
        told.findings = self._findings(error.deviations, result, redacted, told.payload)
        reply = error.to_call_error() or error.to_call_result_error()
        if reply is not None:
            reply = msgspec.structs.replace(reply, unique_id=told.unique_id or reply.unique_id)
            if redacted is not None:
                reply = msgspec.structs.replace(reply, error_description=told.findings[0].text[:255])
            try:
                told.answer = result.codec.encode(reply, mode="lenient").decode()
            except (EvprotoError, UnicodeError):
                told.answer = ""
        if told.chunk.lost:
            told.note = f"the line goes on for {told.chunk.lost} characters that were not read"

    def _findings(
        self, found: Iterable[Deviation], result: Reading, redacted: Redacted | None, payload: Any
    ) -> list[Finding]:
        if redacted is None:
            return [
                Finding(one.code, one.keyword, one.action, one.path, _clean(one.message)) for one in found
            ]
        redactor = _redactor(result.protocol)
        told = []
        for one in found:
            sentence = self._text(redactor.sentence(one, redacted, payload))
            action = self._text(one.action) if one.action in result.codec.dialect.actions else HIDDEN
            told.append(
                Finding(one.code, one.keyword, action if one.action else "", redactor.path(one), sentence)
            )
        return told

    def _text(self, text: str) -> str:
        return _clean(text) if self._memory is None else self._memory.mask(_clean(text))


@dataclass(slots=True)
class Reading:
    """What a protocol made of a frame.

    Attributes:
        request: the frame itself, if it is a request.
        answered: the request that it answers.
    """

    protocol: str
    codec: Codec
    outcome: Envelope | MessageError
    request: Asked | None = None
    answered: Asked | None = None

    @property
    def pending(self) -> dict[str, str | Call[Any]]:
        """The request that it answers, for :meth:`Codec.check`."""
        return {self.answered.unique_id: self.answered.action} if self.answered is not None else {}


_KINDS: Final[dict[type, int]] = {
    Call: CALL,
    CallResult: CALL_RESULT,
    CallError: CALL_ERROR,
    CallResultError: CALL_RESULT_ERROR,
    Send: SEND,
}


def _decoded(codec: Codec, chunk: TextFrame, pending: dict[str, str | Call[Any]]) -> Envelope | MessageError:
    try:
        return codec.decode(chunk.data, pending)
    except UnexpectedResponseError:
        pass
    except MessageError as error:
        return error
    try:
        return codec.decode(chunk.data, pending, mode="off")
    except MessageError as error:
        return error


def _payload_of(frame: Any) -> Any:
    """The payload of a frame that may be anything."""
    if not isinstance(frame, list) or not frame:
        return None
    at = 2 if frame[0] == CALL_RESULT else 3
    return frame[at] if len(frame) > at else None


def _untyped(asked: Asked | None, protocol: str) -> str:
    if asked is None:
        return "no request with this message id was seen, so the payload stays untyped"
    action = asked.action if asked.action.isalpha() and len(asked.action) <= 50 else "an action"
    return f"it answers {action}, which {protocol} does not have, so the payload stays untyped"


@cache
def _redactor(protocol: str) -> Redactor:
    return Redactor(codec_of(protocol).dialect)


def _clean(text: str) -> str:
    """``text`` as it can be printed: half characters become question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
