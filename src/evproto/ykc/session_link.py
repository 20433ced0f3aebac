"""What both ends of a YKC connection share: bytes to frames, numbers, requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from evproto.errors import (
    DecodeError,
    QueueFullError,
    SessionClosedError,
    SessionError,
)
from evproto.messages import Message, UnknownMessage
from evproto.wire.frame import AnyMessage, Frame
from evproto.wire.framing import HEADER_SIZE, Piece
from evproto.wire.table import Direction
from evproto.ykc.codec import Codec
from evproto.ykc.pairing import Match, Pairing, Pending
from evproto.ykc.session_events import (
    Answered,
    Cancelled,
    CloseReason,
    Closing,
    ConnectionLost,
    Damaged,
    Event,
    MessageReceived,
    NotServed,
    RequestEnded,
    TimedOut,
    Traced,
)
from evproto.ykc.vocabulary import Vocabulary, vocabulary_of

__all__ = ["Link", "SequenceOrder"]

SequenceOrder = Literal["little", "big"]

_NEVER: Final = math.inf
_NUMBERS: Final = 0x10000


class Link:
    """One end of one connection; see ``PlatformSession`` and ``PileSession``.

    ``deadline`` is when ``tick`` wants to be called, ``math.inf`` for never. It
    may lie before anything is due (``tick`` then does nothing but move it on),
    never after.
    """

    __slots__ = (
        "_closed",
        "_codec",
        "_encode",
        "_events",
        "_feed",
        "_frames",
        "_garbage",
        "_garbage_limit",
        "_half_deadline",
        "_half_frame_timeout",
        "_max_requests",
        "_next_number",
        "_next_token",
        "_pairing",
        "_sequence_order",
        "_splitter",
        "_timeouts",
        "_unpack",
        "_vocabulary",
        "_wait",
        "deadline",
        "frames_received",
        "last_received",
        "tap",
        "traced",
    )

    sends: Direction
    """What this end may send."""

    def __init__(
        self,
        codec: Codec,
        *,
        now: float,
        tolerant: bool,
        sequence_order: SequenceOrder,
        half_frame_timeout: float,
        garbage_limit: int,
        max_requests: int,
        request_timeout: float,
        timeouts: Mapping[int, float],
    ) -> None:
        self._splitter = codec.split()
        self._feed = self._splitter.feed
        self._use(codec)
        self._events: list[Event] = []
        self._frames: list[bytes] = []
        self._pairing = Pairing(tolerant=tolerant)
        self._sequence_order: SequenceOrder = sequence_order
        self._next_number = 0
        self._next_token = 1
        self._half_frame_timeout = half_frame_timeout
        self._half_deadline = _NEVER
        self._garbage = 0
        self._garbage_limit = garbage_limit
        self._max_requests = max_requests
        self._wait = request_timeout
        self._timeouts = timeouts
        self._closed = ""
        self.deadline: float = _NEVER
        self.frames_received = 0
        """How many frames, and stretches of bytes that are none, have come."""
        self.last_received = now
        """When bytes came last."""
        self.tap: Callable[[bool, bytes, float], None] | None = None
        """Called with the bytes of every frame, and of damage, as they come and go: whether
        they were received, the bytes, ``now``. Costs less than ``traced``; must not raise."""
        self.traced = False
        """Whether every frame in both directions is to be an event ``Traced`` too."""

    # --- what the transport does

    def receive(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take in bytes, however they are cut. Nothing the peer sends raises."""
        if self._closed:
            return
        self.last_received = now
        pieces = self._feed(data)
        self.frames_received += len(pieces)
        self._pieces(pieces, now)
        if self._splitter.pending:
            self._half_deadline = now + self._half_frame_timeout
            if self._half_deadline < self.deadline:
                self.deadline = self._half_deadline
        else:
            self._half_deadline = _NEVER

    def tick(self, now: float) -> None:
        """Time has passed; do what is due."""
        if self._closed:
            self.deadline = _NEVER
            return
        if self._half_deadline <= now:
            self._half_deadline = _NEVER
            self._rest(now)
        for pending in self._pairing.expire(now):
            self._end(pending, TimedOut(after=now - pending.sent), now)
        self._tick(now)
        self.deadline = (
            _NEVER if self._closed else min(self._half_deadline, self._pairing.deadline, self._due())
        )

    def lost(self, reason: str, now: float) -> None:
        """The connection is gone: every request ends, and nothing is taken in any more."""
        if self._closed:
            # Closing already; what was in flight has still to end.
            self._abandon(reason, now)
            return
        self._rest(now)
        self._closed = reason or "connection lost"
        self._abandon(self._closed, now)
        self.deadline = _NEVER

    def take(self) -> tuple[list[Event], list[bytes]]:
        """What has happened, and the frames to send, both in order; each is taken once."""
        taken = self._events, self._frames
        if taken[0]:
            self._events = []
        if taken[1]:
            self._frames = []
        return taken

    # --- what the application does

    @property
    def codec(self) -> Codec:
        """The codec in use; it follows the login."""
        return self._codec

    @property
    def closed(self) -> str:
        """Why the session has ended or wants to; empty while it goes on."""
        return self._closed

    @property
    def requests(self) -> int:
        """How many requests wait for their answer."""
        return len(self._pairing)

    def request(self, message: Message, now: float, timeout: float | None = None) -> int:
        """Send a request; return its token. It ends in exactly one ``RequestEnded``.

        ``timeout`` is in seconds; without one, the settings tell.

        Raises:
            SessionError: it is no request, or not this end's to send.
            SessionClosedError: there is no accepted login, or no connection any more.
            QueueFullError: too many requests wait already.
            EncodeError: the wire cannot carry it.
        """
        self._check_open()
        answer_type = self._vocabulary.pairs.get(message.frame_type)
        if answer_type is None or self._vocabulary.directions.get(message.frame_type) != self.sends:
            raise SessionError(f"{type(message).__name__} is no request of this end")
        if len(self._pairing) >= self._max_requests:
            raise QueueFullError(f"{len(self._pairing)} requests wait for their answers already")
        while self._pairing.taken(answer_type, self._number()):
            self._next_number = (self._next_number + 1) % _NUMBERS
        sequence = self._number()
        self._put(message, sequence, now)
        self._next_number = (self._next_number + 1) % _NUMBERS
        token = self._next_token
        self._next_token += 1
        wait = self._patience(message) if timeout is None else timeout
        self._pairing.add(Pending(token, message, answer_type, sequence, now, now + wait))
        self.deadline = min(self.deadline, now + wait)
        return token

    def cancel(self, token: int, now: float) -> bool:
        """The application has lost interest; False if the request has ended already."""
        pending = self._pairing.cancel(token, now)
        if pending is None:
            return False
        self._end(pending, Cancelled(), now)
        return True

    def send(self, message: AnyMessage | Frame, now: float, sequence: int | None = None) -> int:
        """Send a message that nothing here waits for; return its sequence number.

        Without ``sequence``, the number is the next of this end's own; a Frame
        carries its own.

        Raises:
            SessionClosedError: there is no accepted login, or no connection any more.
            EncodeError: the wire cannot carry it.
        """
        self._check_open()
        if isinstance(message, Frame):
            self._put(message, message.sequence, now)
            return message.sequence
        if sequence is not None:
            self._put(message, sequence, now)
            return sequence
        number = self._number()
        self._put(message, number, now)
        self._next_number = (self._next_number + 1) % _NUMBERS
        return number

    def reply(self, received: MessageReceived, message: AnyMessage, now: float) -> None:
        """Answer a request of the peer, under the very sequence bytes it came with.

        Raises:
            SessionError: the message is not what answers that frame.
            SessionClosedError: there is no accepted login, or no connection any more.
            EncodeError: the wire cannot carry it.
        """
        self._check_open()
        expected = self._vocabulary.pairs.get(received.frame_type)
        if message.frame_type != expected:
            wanted = "nothing" if expected is None else f"0x{expected:02X}"
            raise SessionError(
                f"0x{received.frame_type:02X} is answered with {wanted}, not with 0x{message.frame_type:02X}"
            )
        self._put(message, received.frame.sequence, now)

    # --- for the two ends

    def _check_open(self) -> None:
        raise NotImplementedError

    def _message(self, received: MessageReceived, now: float) -> None:
        """A frame has come; who sends its type has not been looked at."""
        raise NotImplementedError

    def _tick(self, now: float) -> None:
        raise NotImplementedError

    def _due(self) -> float:
        """When there is something for ``_tick`` to do."""
        raise NotImplementedError

    def _patience(self, message: Message) -> float:
        return self._timeouts.get(message.frame_type, self._wait)

    def _use(self, codec: Codec) -> None:
        self._codec = codec
        self._unpack = codec.unpack
        self._encode = codec.encode
        self._vocabulary: Vocabulary = vocabulary_of(codec)

    def _number(self) -> int:
        number = self._next_number
        if self._sequence_order == "big":
            return (number & 0xFF) << 8 | number >> 8
        return number

    def _put(self, message: AnyMessage | Frame, sequence: int, now: float) -> None:
        raw = self._encode(message, sequence)
        self._frames.append(raw)
        if self.tap is not None:
            self.tap(False, raw, now)
        if self.traced:
            frame = message if isinstance(message, Frame) else Frame(message=message, sequence=sequence)
            self._events.append(Traced(direction=self.sends, raw=raw, frame=frame, error=None, time=now))

    def _pieces(self, pieces: list[Piece | DecodeError], now: float) -> None:
        for piece in pieces:
            if isinstance(piece, DecodeError):
                self._damaged(piece, now)
                continue
            try:
                frame = self._unpack(piece)
            except DecodeError as error:
                self._frame(_opaque(piece), piece, error.at(piece.position), now)
            else:
                self._frame(frame, piece, None, now)

    def _frame(self, frame: Frame, piece: Piece, error: DecodeError | None, now: float) -> None:
        if self._closed:
            return
        self._garbage = 0
        if self.tap is not None:
            self.tap(True, piece.data, now)
        if self.traced:
            self._trace(piece.data, frame, error, now)
        self._message(MessageReceived(frame=frame, raw=piece.data, time=now, error=error), now)

    def _trace(self, raw: bytes, frame: Frame | None, error: DecodeError | None, now: float) -> None:
        direction = (
            Direction.PILE_TO_PLATFORM
            if self.sends is Direction.PLATFORM_TO_PILE
            else Direction.PLATFORM_TO_PILE
        )
        self._events.append(Traced(direction=direction, raw=raw, frame=frame, error=error, time=now))

    def _damaged(self, error: DecodeError, now: float) -> None:
        if self._closed:
            return
        if self.tap is not None:
            self.tap(True, error.data, now)
        if self.traced:
            self._trace(error.data, None, error, now)
        self._events.append(Damaged(error=error, time=now))
        self._garbage += len(error.data)
        if self._garbage > self._garbage_limit:
            self._close(CloseReason.GARBAGE)

    def _rest(self, now: float) -> None:
        """What came of a frame does not go on: look through it for whole frames."""
        self._pieces(self._splitter.finish(), now)

    def _paired(self, received: MessageReceived, now: float) -> MessageReceived:
        """End the request that this frame answers, and note the two belong together."""
        match = self._pairing.match(received.frame, now, self._vocabulary)
        if match is None:
            return received
        if match.kind == "answer":
            answered = Answered(
                frame=received.frame, raw=received.raw, error=received.error, warning=match.warning
            )
            self._end(match.pending, answered, now)
        return _belongs(received, match)

    def _not_served(self, received: MessageReceived, reason: str) -> None:
        self._events.append(
            NotServed(
                frame=received.frame,
                raw=received.raw,
                time=received.time,
                reason=reason,
                error=received.error,
            )
        )

    def _end(self, pending: Pending, outcome: Any, now: float) -> None:
        self._events.append(
            RequestEnded(
                token=pending.token, request=pending.request, outcome=outcome, rtt=now - pending.sent
            )
        )

    def _abandon(self, reason: str, now: float) -> None:
        for pending in self._pairing.abandon():
            self._end(pending, ConnectionLost(reason=reason), now)

    def _close(self, reason: CloseReason) -> None:
        self._closed = str(reason)
        self.deadline = _NEVER
        self._events.append(Closing(reason=reason))

    def _closed_error(self) -> SessionClosedError:
        return SessionClosedError(f"the connection has ended: {self._closed}")


def _opaque(piece: Piece) -> Frame:
    """The frame of a piece whose body cannot be read."""
    data = piece.data
    return Frame(
        message=UnknownMessage(frame_type=data[5], body=data[HEADER_SIZE:-2]),
        sequence=data[2] | data[3] << 8,
        encryption=data[4],
        checksum=piece.checksum,
    )


def _belongs(received: MessageReceived, match: Match) -> MessageReceived:
    warnings = received.warnings
    if match.warning:
        warnings = (*warnings, match.warning)
    if match.kind == "repeated":
        warnings = (*warnings, "the request had its answer already")
    return msgspec.structs.replace(
        received,
        answers=match.pending.token,
        follow_up=match.kind == "follow_up",
        late=match.kind == "late",
        warnings=warnings,
    )
