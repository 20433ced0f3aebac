"""What a frame is in a conversation, of YKC and of everything on OCPP-J: a request, an answer, or neither."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any, Final, NamedTuple, Protocol

from evproto.errors import EvprotoError
from evproto.messages import Message
from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT, CALL_RESULT_ERROR, SEND
from evproto.wire.checksum import crc16_modbus
from evproto.wire.table import Direction
from evproto.ykc.codec import Codec
from evproto.ykc.plain import to_plain
from evproto.ykc.vocabulary import vocabulary_of

__all__ = ["Language", "Said", "language_of"]


class Said(NamedTuple):
    """What is known of a frame without its fields."""

    name: str
    """For people: of the message, or the action."""
    asks: Hashable = None
    """Of a request: what its answer is known by. None: it is no request."""
    answers: Hashable = None
    """Of an answer: what it is known by. None: it is none."""
    subject: Hashable = None
    """Of a request: what kind of request it is."""
    reports: Hashable = None
    """Of what comes by itself and may answer as well: what it would be known by as an answer."""


class Language(Protocol):
    """How the frames of a protocol are understood."""

    def said(self, data: bytes, *, from_charger: bool) -> Said:
        """What a frame is."""
        ...

    def like(self, answer: Hashable) -> Hashable:
        """What an answer may be known by if it has another number than it should; None: nothing else."""
        ...

    def addressed(self, answer: bytes, request: bytes) -> bytes:
        """An answer to one request, made an answer to another of the same kind."""
        ...

    def plain(self, data: bytes) -> Any:
        """The content of an answer, for comparing: kind and fields, or the bytes if it has none."""
        ...

    def excuse(self, request: bytes) -> bytes | None:
        """What to answer where nobody knows an answer; None: nothing."""
        ...


class PileLanguage:
    """YKC: an answer has the frame type that belongs to its request, and its number."""

    def __init__(self) -> None:
        self._codec = Codec("1.7", checksum="ignore")
        self._words = vocabulary_of(self._codec)
        self._pairs = {kind: pair for kind, pair in self._words.pairs.items() if pair is not None}
        self._reports = self._words.reports
        self._answers = {pair for pair in self._pairs.values() if pair not in self._reports}
        self._names = {kind: found[0].name for kind, found in self._codec.layouts.items() if found}

    def said(self, data: bytes, *, from_charger: bool) -> Said:
        """See :class:`Language`."""
        if len(data) < 8 or data[0] != 0x68:
            return Said("bytes that are no frame")
        kind, number = data[5], data[2:4]
        name = f"0x{kind:02X} {self._names.get(kind, '')}".strip()
        upwards = self._words.directions.get(kind) is Direction.PILE_TO_PLATFORM
        if upwards is not from_charger or kind not in self._words.directions:
            return Said(name)
        if kind in self._pairs:
            return Said(name, asks=(self._pairs[kind], number), subject=kind)
        if kind in self._answers:
            return Said(name, answers=(kind, number))
        return Said(name, reports=(kind, number) if kind in self._reports else None)

    def like(self, answer: Hashable) -> Hashable:
        """See :class:`Language`."""
        assert isinstance(answer, tuple)
        kind: int = answer[0]
        return kind

    def addressed(self, answer: bytes, request: bytes) -> bytes:
        """See :class:`Language`; a checksum that was right is right again."""
        right = crc16_modbus(answer[2:-2]).to_bytes(2, "little") == answer[-2:]
        content = request[2:4] + answer[4:-2]
        checksum = crc16_modbus(content).to_bytes(2, "little") if right else answer[-2:]
        return answer[:2] + content + checksum

    def plain(self, data: bytes) -> Any:
        """See :class:`Language`."""
        try:
            frame = self._codec.decode(data)
        except EvprotoError:
            return {"raw": data[6:-2].hex().upper()}
        if not isinstance(frame.message, Message):
            return {"raw": data[6:-2].hex().upper()}
        return to_plain(frame, self._codec)["fields"]

    def excuse(self, request: bytes) -> bytes | None:
        """See :class:`Language`."""
        return None


_NAMES: Final = {
    CALL_RESULT: "CALLRESULT",
    CALL_ERROR: "CALLERROR",
    CALL_RESULT_ERROR: "CALLRESULTERROR",
}


class StationLanguage:
    """OCPP-J: an answer has the message id of its request."""

    def said(self, data: bytes, *, from_charger: bool) -> Said:
        """See :class:`Language`."""
        frame = _frame(data)
        if frame is None or len(frame) < 3 or not isinstance(frame[1], str):
            return Said("a message that is no frame")
        kind, unique_id, third = frame[:3]
        if kind == CALL and isinstance(third, str):
            return Said(third, asks=unique_id, subject=third)
        if kind == SEND and isinstance(third, str):
            return Said(third)
        if kind in (CALL_RESULT, CALL_ERROR):
            return Said(_NAMES[kind], answers=unique_id)
        return Said(_NAMES.get(kind, "a message that is no frame"))

    def like(self, answer: Hashable) -> Hashable:
        """See :class:`Language`."""
        return None

    def addressed(self, answer: bytes, request: bytes) -> bytes:
        """See :class:`Language`."""
        given, asked = _frame(answer), _frame(request)
        assert given is not None
        assert asked is not None
        return _dumped([given[0], asked[1], *given[2:]])

    def plain(self, data: bytes) -> Any:
        """See :class:`Language`."""
        frame = _frame(data)
        if frame is None or len(frame) < 3:
            return {"raw": data.decode("utf-8", "replace")}
        if frame[0] == CALL_ERROR:
            # Descriptions are for people.
            return {"message": f"CALLERROR {frame[2]}"}
        return {"message": _NAMES.get(frame[0], str(frame[0])), "payload": frame[2]}

    def excuse(self, request: bytes) -> bytes | None:
        """See :class:`Language`."""
        frame = _frame(request)
        assert frame is not None
        return _dumped(
            [CALL_ERROR, frame[1], "NotImplemented", "the capture has no answer to this request", {}]
        )


def _frame(data: bytes) -> list[Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _dumped(value: list[Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


_PILES: Final = PileLanguage()
_STATIONS: Final = StationLanguage()


def language_of(protocol: str) -> Language:
    """The language of ``ykc``, or of anything on OCPP-J."""
    return _PILES if protocol == "ykc" else _STATIONS
