"""Cutting a byte stream into frames (YKC V1.6, section 3.1).

A frame is the start byte 0x68, a length byte, that many bytes (two of
sequence, encryption flag, frame type, body) and two of checksum. The start
byte is not escaped inside a body, so after damage a splitter has to guess
where the next frame begins. Its guesses depend on the bytes alone, never on
how they were cut into chunks:

* Bytes before a 0x68 with a possible length byte are skipped.
* A candidate with a right checksum is a frame.
* A candidate with a wrong one is reported once. Reading goes on at the first
  candidate inside it that has a right checksum and ends no later than it; else
  right behind it, if a start byte stands there; else at its second byte. Those
  inside that were found wrong on the way are not tried again.
* Skipped bytes are reported when a frame follows, at the end, or whenever
  :data:`SKIP_REPORT` of them have gathered.

So at most one unfinished frame (259 bytes), one byte of look-ahead and
:data:`SKIP_REPORT` skipped bytes are ever held, however much garbage comes.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from evproto.errors import (
    ChecksumError,
    DecodeError,
    ExcessBytesError,
    LengthByteError,
    SkippedBytesError,
    StartByteError,
    TruncatedFrameError,
)
from evproto.wire.checksum import crc16_modbus_pure
from evproto.wire.inputs import as_bytes

__all__ = [
    "HEADER_SIZE",
    "LEAST_LENGTH",
    "OVERHEAD",
    "SKIP_REPORT",
    "START",
    "ChecksumPolicy",
    "ChecksumStatus",
    "Piece",
    "PureSplitter",
    "as_bytes",
    "check_frame",
]

START: Final = 0x68
OVERHEAD: Final = 4
"""Bytes of a frame that the length byte does not count: start, length, checksum."""
LEAST_LENGTH: Final = 4
"""Length byte of a frame without body."""
HEADER_SIZE: Final = 6
"""Bytes before the body."""
SKIP_REPORT: Final = 4096

ChecksumPolicy = Literal["strict", "either", "ignore"]
ChecksumStatus = Literal["ok", "swapped", "wrong"]


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One whole frame of a stream, its checksum judged."""

    position: int
    """Where it begins in the stream."""
    data: bytes
    checksum: ChecksumStatus


def _judge(data: bytes) -> tuple[ChecksumStatus, int, int]:
    expected = crc16_modbus_pure(data[2:-2])
    actual = data[-2] | data[-1] << 8
    if expected == actual:
        return "ok", expected, actual
    if expected == (data[-1] | data[-2] << 8):
        return "swapped", expected, actual
    return "wrong", expected, actual


def _accepts(policy: ChecksumPolicy, status: ChecksumStatus) -> bool:
    return status == "ok" or policy == "ignore" or (policy == "either" and status == "swapped")


def check_frame(data: bytes, policy: ChecksumPolicy) -> ChecksumStatus:
    """Judge bytes that should be one whole frame.

    Raises:
        StartByteError, LengthByteError, TruncatedFrameError,
        ExcessBytesError, ChecksumError: they are not.
    """
    size = len(data)
    if size and data[0] != START:
        raise StartByteError(expected=START, actual=data[0], data=data)
    if size < 2:
        raise TruncatedFrameError(expected=0, actual=size, data=data)
    if data[1] < LEAST_LENGTH:
        raise LengthByteError(value=data[1], limit=LEAST_LENGTH, data=data)
    announced = data[1] + OVERHEAD
    if size < announced:
        raise TruncatedFrameError(expected=announced, actual=size, data=data)
    if size > announced:
        raise ExcessBytesError(expected=announced, actual=size, data=data)
    status, expected, actual = _judge(data)
    if not _accepts(policy, status):
        raise ChecksumError(expected=expected, actual=actual, data=data)
    return status


class PureSplitter:
    """Cuts a byte stream into frames; the pure twin of the compiled splitter."""

    def __init__(self, policy: ChecksumPolicy = "strict") -> None:
        self._policy: ChecksumPolicy = policy
        self._buffer = bytearray()
        self._origin = 0  # stream position of _buffer[0]
        self._skipped = bytearray()  # skipped, not yet reported
        self._skipped_from = 0  # stream position of _skipped[0]
        self._blamed = 0  # what lies before this position was reported in a bad frame
        self._wrong: set[int] = set()  # positions whose candidate is known to be bad

    @property
    def position(self) -> int:
        """Stream position of the first byte not yet decided on."""
        return self._origin

    @property
    def pending(self) -> int:
        """Bytes held back because what they are is still open."""
        return len(self._buffer)

    def feed(self, chunk: Any) -> list[Piece | DecodeError]:
        """Take in bytes; return what has become certain, in order.

        Raises:
            InputTypeError: ``chunk`` is not bytes-like; nothing is taken in.
        """
        self._buffer += as_bytes(chunk)
        return self._drain(final=False)

    def finish(self) -> list[Piece | DecodeError]:
        """The stream has ended: decide on what is left, and start afresh."""
        out = self._drain(final=True)
        self._flush(out)
        return out

    def _drain(self, *, final: bool) -> list[Piece | DecodeError]:
        out: list[Piece | DecodeError] = []
        buffer = self._buffer
        at = 0
        while at < len(buffer):
            if buffer[at] != START:
                following = buffer.find(START, at)
                at = self._skip(out, at, following if following >= 0 else len(buffer))
                continue
            have = len(buffer) - at
            size = buffer[at + 1] + OVERHEAD if have > 1 else 0
            if have > 1 and (size < LEAST_LENGTH + OVERHEAD or self._origin + at in self._wrong):
                at = self._skip(out, at, at + 1)
                continue
            if have < size or have < 2:
                if not final:
                    break
                whole = bytes(buffer[at:])
                self._blame(out, TruncatedFrameError(expected=size, actual=have, data=whole), at)
                at = self._resume(out, at, len(buffer))
                continue
            data = bytes(buffer[at : at + size])
            status, expected, actual = _judge(data)
            if _accepts(self._policy, status):
                self._flush(out)
                out.append(Piece(self._origin + at, data, status))
                at += size
                continue
            if have == size and not final:
                break  # where to go on depends on the next byte
            self._blame(out, ChecksumError(expected=expected, actual=actual, data=data), at)
            at = self._resume(out, at, at + size)
        del buffer[:at]
        self._origin += at
        if self._wrong:
            self._wrong = {position for position in self._wrong if position >= self._origin}
        return out

    def _resume(self, out: list[Piece | DecodeError], at: int, end: int) -> int:
        """Where to go on after the bad candidate from ``at`` to ``end``."""
        buffer = self._buffer
        inner = buffer.find(START, at + 1, end)
        while inner >= 0:
            if inner + 1 < end and buffer[inner + 1] >= LEAST_LENGTH:
                stop = inner + buffer[inner + 1] + OVERHEAD
                if stop <= end and self._origin + inner not in self._wrong:
                    if _accepts(self._policy, _judge(bytes(buffer[inner:stop]))[0]):
                        return self._skip(out, at, inner)
                    self._wrong.add(self._origin + inner)
            inner = buffer.find(START, inner + 1, end)
        if end < len(buffer) and buffer[end] == START:
            return self._skip(out, at, end)
        return self._skip(out, at, at + 1)

    def _blame(self, out: list[Piece | DecodeError], error: DecodeError, at: int) -> None:
        """Report a bad candidate, unless it begins inside one already reported."""
        position = self._origin + at
        if position >= self._blamed:
            self._flush(out)
            self._blamed = position + len(error.data)
            out.append(error.at(position))

    def _skip(self, out: list[Piece | DecodeError], start: int, stop: int) -> int:
        """Pass over bytes; those inside a reported bad frame are not reported again."""
        begin = max(start, self._blamed - self._origin)
        while begin < stop:
            if not self._skipped:
                self._skipped_from = self._origin + begin
            elif self._skipped_from + len(self._skipped) != self._origin + begin:
                self._flush(out)
                continue
            room = SKIP_REPORT - len(self._skipped)
            self._skipped += self._buffer[begin : min(stop, begin + room)]
            begin += room
            if len(self._skipped) == SKIP_REPORT:
                self._flush(out)
        return stop

    def _flush(self, out: list[Piece | DecodeError]) -> None:
        if self._skipped:
            out.append(SkippedBytesError(data=bytes(self._skipped), position=self._skipped_from))
            self._skipped.clear()
