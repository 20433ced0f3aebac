"""A frame byte by byte: offset, bytes, field, value, and where the value comes from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from evproto.cli.console import Console, display_width, pad
from evproto.cli.values import show_number, show_value, value_row
from evproto.wire.checksum import crc16_modbus
from evproto.wire.frame import Frame
from evproto.wire.framing import HEADER_SIZE
from evproto.wire.table import Field, Kind, Layout
from evproto.wire.values import decode_value
from evproto.ykc.codec import Codec
from evproto.ykc.redact import HIDDEN, Hidden, masked_hex, spans

__all__ = ["Line", "explain_frame", "explain_lines"]

_PER_LINE: Final = 8
_INLINE: Final = 48
"""Remarks up to this length stand behind the value, longer ones below it."""


class Line(msgspec.Struct, frozen=True):
    """One stretch of bytes and what it means.

    ``offset`` and ``size`` count bytes of the frame; a part of a bit field
    has ``bits`` instead and no bytes of its own.
    """

    offset: int
    size: int
    name: str
    value: str
    zh: str = ""
    remarks: tuple[str, ...] = ()
    bits: str = ""
    odd: bool = False


def explain_frame(
    data: bytes, frame: Frame, layout: Layout | None, codec: Codec, hidden: Hidden
) -> Iterator[Line]:
    """Everything in a frame, in the order of its bytes."""
    yield Line(0, 1, "start", "")
    yield Line(
        1, 1, "length", f"{data[1]}", remarks=(f"sequence, flag, type and {data[1] - 4} bytes of body",)
    )
    yield Line(2, 2, "sequence", str(frame.sequence))
    flag = {0: "none", 1: "3DES"}.get(frame.encryption, "not in the table")
    yield Line(4, 1, "encryption", f"{frame.encryption} {flag}", odd=frame.encryption > 1)
    name = f"0x{data[5]:02X}" + (f" {layout.name}" if layout else "")
    remarks: tuple[str, ...] = ()
    if layout is not None:
        remarks = tuple(f"erratum: {text}" for text in layout.errata)
        if layout.note:
            remarks = (layout.note, *remarks)
    yield Line(5, 1, "frame type", name, layout.zh if layout else "", remarks)
    end = len(data) - 2
    if layout is None or frame.encrypted:
        if end > HEADER_SIZE:
            yield Line(HEADER_SIZE, end - HEADER_SIZE, "body", "encrypted" if frame.encrypted else "")
    else:
        at = HEADER_SIZE
        body = data[HEADER_SIZE : end - len(frame.trailing)]
        for span in spans(layout, body):
            at = HEADER_SIZE + span.offset + span.size
            yield from _field_lines(
                span.field, span.path, span.data, HEADER_SIZE + span.offset, codec, hidden
            )
        if at < end:
            yield Line(at, end - at, "trailing", "behind the last field", odd=True)
    expected = crc16_modbus(data[2:end])
    if hidden.positions:
        judged = ""
    elif expected == data[end] | data[end + 1] << 8:
        judged = "right"
    else:
        judged = f"wrong, expected {expected.to_bytes(2, 'little').hex(' ').upper()}"
        if frame.checksum == "swapped":
            judged = "its two bytes are exchanged"
    yield Line(end, 2, "checksum", judged, odd=frame.checksum != "ok")


def _field_lines(
    field: Field, path: str, data: bytes, offset: int, codec: Codec, hidden: Hidden
) -> Iterator[Line]:
    if hidden.hides(path):
        yield Line(
            offset, len(data), path, HIDDEN, field.zh, (f"{field.secret} hidden",) if field.secret else ()
        )
        return
    value = decode_value(field, data, codec.tz)
    row = value_row(field, value)
    calculation = _calculation(field, int.from_bytes(data, "little"))
    remarks = [calculation] if calculation else []
    if row.remark and not (field.idle_zero and field.note):  # the note says it with more words
        remarks.append(row.remark)
    if field.reversed:
        remarks.append("sent last character first")
    remarks += _about(field, path)
    yield Line(offset, len(data), path, row.value, field.zh, tuple(remarks), odd=row.odd)
    if field.kind is Kind.BITS:
        word = int.from_bytes(data, "little")
        for part in field.fields:
            raw = word >> part.bit & (1 << part.size) - 1
            yield _part_line(part, path, raw, getattr(value, part.name), offset)


def _part_line(part: Field, path: str, raw: int, value: Any, offset: int) -> Line:
    text, remark, odd = show_value(part, value)
    last = part.bit + part.size - 1
    bits = f"bit {part.bit}" if part.size == 1 else f"bits {part.bit}-{last}"
    remarks = [one for one in (remark, _calculation(part, raw)) if one] + _about(part, path)
    if part.size == 1 and part.enum is None and raw:
        text, odd = "1 set", True
    return Line(offset, 0, f"  {part.name}", text, part.zh, tuple(remarks), bits, odd)


def _about(field: Field, path: str) -> list[str]:
    # One entry of a group says it for all of them.
    return [field.note] if field.note and not ("[" in path and "[0]" not in path) else []


def _calculation(field: Field, raw: int) -> str:
    """How a physical value comes about, as ``3953 × 0.1``."""
    if field.kind is not Kind.UINT or field.enum is not None:
        return ""
    if field.scale == field.divisor == 1 and not field.offset:
        return ""
    text = f"{raw}"
    step = field.scale / field.divisor
    if step != 1:
        text += f" × {show_number(step)}"
    shift = field.offset / field.divisor
    if shift:
        text += f" {'-' if shift < 0 else '+'} {show_number(abs(shift))}"
    return text


def explain_lines(
    data: bytes, frame: Frame, layout: Layout | None, codec: Codec, hidden: Hidden, console: Console
) -> Iterator[str]:
    """The table of :func:`explain_frame` as text."""
    paint = console.paint
    lines = list(explain_frame(data, frame, layout, codec, hidden))
    name_width = max(display_width(line.name) for line in lines)
    value_width = max((w for w in (display_width(line.value) for line in lines) if w <= 40), default=0)
    bytes_width = 3 * min(_PER_LINE, max(line.size for line in lines)) - 1
    bytes_width = max(bytes_width, *(len(line.bits) for line in lines))
    for line in lines:
        at = f"{line.offset:>5}" if line.size or not line.bits else " " * 5
        rows = [
            masked_hex(
                data[start : min(start + _PER_LINE, line.offset + line.size)], _local(hidden, start), " "
            )
            for start in range(line.offset, line.offset + line.size, _PER_LINE)
        ] or [line.bits.rjust(bytes_width) if line.bits else ""]
        value = pad(line.value, value_width) if line.zh or line.remarks else line.value
        value = paint(value, "yellow") if line.odd else value
        shown = paint(pad(rows[0], bytes_width), "cyan")
        text = f"{at}  {shown}  {paint(pad(line.name, name_width), 'blue')}  {value}"
        if line.zh:
            text += f"  {paint(line.zh, 'dim')}"
        inline, below = _split(line.remarks)
        if inline:
            text += f"  {paint(f'({inline})', 'dim')}"
        yield text.rstrip()
        for more in rows[1:]:
            yield f"{'':5}  {paint(more, 'cyan')}"
        for remark in below:
            indent = " " * (5 + 2 + bytes_width + 2 + name_width + 2)
            for folded in textwrap.wrap(remark, 72):
                yield paint(f"{indent}{folded}", "dim")


def _split(remarks: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """What stands behind the value, and what below it."""
    inline = ""
    for index, remark in enumerate(remarks):
        longer = f"{inline}; {remark}" if inline else remark
        if len(longer) > _INLINE:
            return inline, remarks[index:]
        inline = longer
    return inline, ()


def _local(hidden: Hidden, start: int) -> set[int]:
    return {at for at in range(_PER_LINE) if start + at in hidden.positions}
