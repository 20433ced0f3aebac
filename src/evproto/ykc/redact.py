"""Hiding who charged: VINs, card and account numbers, passwords.

What is hidden comes from the table (``Field.secret``). A value that is hidden
is looked for in the other fields too, because platforms put card and order
numbers into transaction numbers, and piles put either where the other belongs.
Bytes that no layout explains (trailing ones, unknown and encrypted bodies)
are hidden as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from evproto.messages import Message
from evproto.wire.frame import PLAIN, TRIPLE_DES, Frame
from evproto.wire.framing import HEADER_SIZE
from evproto.wire.table import REMAINING, Field, Kind, Layout, width
from evproto.ykc.codec import Codec

__all__ = [
    "HIDDEN",
    "NOTHING",
    "Hidden",
    "Span",
    "hidden_in",
    "hidden_in_bad",
    "masked_hex",
    "redact_plain",
    "spans",
]

HIDDEN: Final = "***"
"""What stands in place of a hidden value."""
_SHORTEST: Final = 8
"""Hex digits of a value, zeros at both ends aside, that are enough to look for it elsewhere."""


class Span(msgspec.Struct, frozen=True):
    """A field and its bytes in a body; groups come entry by entry, bit fields as one."""

    path: str
    field: Field
    offset: int
    """In the body."""
    data: bytes
    """Fewer bytes than the field takes if the body ends inside it."""
    size: int
    """Bytes the field takes."""


def spans(layout: Layout, body: bytes) -> Iterator[Span]:
    """The fields of a body, in order, as far as it goes; also of one that is too short."""
    at = 0
    counts: dict[str, int] = {}
    after = [0] * len(layout.fields)
    for index in range(len(layout.fields) - 2, -1, -1):
        after[index] = after[index + 1] + width(layout.fields[index + 1])
    for field, behind in zip(layout.fields, after, strict=True):
        room = max(0, len(body) - at - behind)
        if field.kind is Kind.GROUP:
            number = room // field.size if field.count == REMAINING else counts.get(str(field.count), 0)
            if isinstance(field.count, int):
                number = field.count
            for index in range(number):
                for inner in field.fields:
                    if at >= len(body) and inner.size:
                        return
                    path = f"{field.name}[{index}].{inner.name}"
                    yield Span(path, inner, at, body[at : at + inner.size], inner.size)
                    at += inner.size
            continue
        size = field.size
        if isinstance(field.count, str):
            size = room if field.count == REMAINING else counts.get(field.count, 0)
        data = body[at : at + size]
        if size and not data:
            return
        yield Span(field.name, field, at, data, size)
        if field.kind is Kind.UINT:
            counts[field.name] = int.from_bytes(data, "little")
        at += size


class Hidden(msgspec.Struct, frozen=True):
    """What of a frame is hidden.

    Attributes:
        paths: fields, as in ``cards[1].physical_card_no``.
        body: whether the whole body is.
        positions: bytes of the frame; the checksum is among them when
            anything is, because it would give the hidden bytes away by trial.
    """

    paths: frozenset[str]
    positions: frozenset[int]
    body: bool = False

    def hides(self, path: str) -> bool:
        """Whether the field at ``path`` is hidden."""
        return self.body or path in self.paths


NOTHING: Final = Hidden(frozenset(), frozenset())
"""What is hidden if nothing is."""


def hidden_in(frame: Frame, data: bytes, codec: Codec) -> Hidden:
    """What is to be hidden of a frame and of the bytes ``data`` it was decoded from.

    Of a frame whose checksum is wrong the whole body: its bytes may be out of
    place, and a VIN where the table has something else.
    """
    checksum = {len(data) - 2, len(data) - 1}
    if frame.checksum == "wrong":
        return Hidden(frozenset(), frozenset(range(HEADER_SIZE, len(data))), body=True)
    if not isinstance(frame.message, Message) or frame.encrypted:
        whole = frozenset(range(HEADER_SIZE, len(data)))
        paths: frozenset[str] = frozenset()
        if isinstance(frame.message, Message):
            paths = frozenset(span.path for span in _spans_of(frame, codec) if span.field.secret)
        return Hidden(paths, whole, not isinstance(frame.message, Message))
    found = list(_spans_of(frame, codec))
    needles = {needle for span in found if span.field.secret for needle in _needles(span)}
    names: set[str] = set()
    positions: set[int] = set()
    for span in found:
        text = span.data.hex()
        if span.field.secret or any(needle in text for needle in needles):
            names.add(span.path)
            begin = HEADER_SIZE + span.offset
            positions.update(range(begin, begin + len(span.data)))
    if frame.trailing:
        end = len(data) - 2
        positions.update(range(end - len(frame.trailing), end))
    if positions:
        positions |= checksum
    return Hidden(frozenset(names), frozenset(positions))


def hidden_in_bad(data: bytes, codec: Codec, *, skipped: bool) -> frozenset[int]:
    """The positions to hide of bytes that are no frame.

    The header is shown only where it looks like one; a start byte inside a
    card number has anything behind it. Skipped bytes are hidden altogether.
    """
    if skipped:
        begin = 0
    elif len(data) >= HEADER_SIZE and data[4] in (PLAIN, TRIPLE_DES) and data[5] in codec.layouts:
        begin = HEADER_SIZE
    else:
        begin = 1
    return frozenset(range(begin, len(data)))


def _spans_of(frame: Frame, codec: Codec) -> Iterator[Span]:
    assert isinstance(frame.message, Message)
    plain = codec.encode(Frame(message=frame.message))
    return spans(codec.layout(frame.message), plain[HEADER_SIZE:-2])


def _needles(span: Span) -> Iterator[str]:
    """A hidden value in every spelling that another field might have it in."""
    digits = span.data.hex()
    spellings = [digits, span.data[::-1].hex()]
    if span.field.kind is not Kind.ASCII:
        significant = digits.strip("0")
        spellings += [significant.encode().hex(), significant.upper().encode().hex()]
    for spelling in spellings:
        needle = spelling.strip("0")
        if len(needle) >= _SHORTEST:
            yield needle


def masked_hex(data: bytes, positions: frozenset[int] | set[int], separator: str = "") -> str:
    """``data`` in hex, two asterisks for every byte at one of ``positions``."""
    return separator.join("**" if at in positions else f"{byte:02X}" for at, byte in enumerate(data))


def redact_plain(plain: dict[str, Any], hidden: Hidden) -> dict[str, Any]:
    """The plain form of a frame without what is hidden, marked ``"redacted"``.

    :func:`~evproto.ykc.plain.from_plain` refuses what is marked.
    """
    out = {**plain, "redacted": True}
    if hidden.body:
        out["fields"] = dict.fromkeys(plain["fields"], HIDDEN)
    elif hidden.paths:
        out["fields"] = _redacted(plain["fields"], hidden.paths, "")
    if "trailing" in out:
        out["trailing"] = HIDDEN
    return out


def _redacted(value: Any, paths: frozenset[str], path: str) -> Any:
    if path in paths:
        return HIDDEN
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        return {key: _redacted(inner, paths, prefix + key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner, paths, f"{path}[{index}]") for index, inner in enumerate(value)]
    return value
