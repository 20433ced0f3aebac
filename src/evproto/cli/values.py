"""Field values as a person reads them: with unit, and meaning in both languages."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec

from evproto.messages import FlaggedZone, OpenIntEnum, RawTime
from evproto.wire.table import Field, Kind, Layout
from evproto.ykc.redact import HIDDEN, NOTHING, Hidden

__all__ = ["Row", "message_rows", "show_number", "show_value", "unit_of"]

_UNITS: Final = {"degC": "°C"}
_WEEKDAYS: Final = ("", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_HALF_HOURS: Final = 48


class Row(msgspec.Struct, frozen=True):
    """A line about a field."""

    name: str
    value: str
    zh: str = ""
    remark: str = ""
    """What is worth saying beside the value."""
    odd: bool = False
    """Whether the value is outside what the document knows."""


def message_rows(message: Any, layout: Layout, hidden: Hidden = NOTHING) -> list[Row]:
    """All fields of a message; those that are ``hidden`` without their values."""
    rows: list[Row] = []
    for field in layout.fields:
        rows += _field_rows(field, getattr(message, field.name), hidden)
    return rows


def _field_rows(field: Field, value: Any, hidden: Hidden) -> Iterator[Row]:
    if hidden.hides(field.name):
        yield Row(field.name, HIDDEN, field.zh, f"{field.secret} hidden" if field.secret else "")
    elif field.kind is Kind.GROUP:
        yield from _group_rows(field, value, hidden)
    elif field.kind is Kind.BITS:
        yield from _bit_rows(field, value)
    else:
        yield value_row(field, value)


def value_row(field: Field, value: Any, name: str = "") -> Row:
    """The line about one field that is no group."""
    if field.kind is Kind.BITS:
        return Row(name or field.name, f"0x{_word(field, value):0{2 * field.size}X}", field.zh)
    text, remark, odd = show_value(field, value)
    return Row(name or field.name, text, field.zh, remark, odd)


def show_value(field: Field, value: Any) -> tuple[str, str, bool]:
    """(value with unit and meaning, remark, whether it is odd)."""
    if field.enum is not None:
        return _show_code(field.enum, value)
    if field.kind is Kind.TIME:
        return _show_time(value)
    if field.kind is Kind.ASCII:
        return _show_text(value)
    if field.kind is Kind.BYTES:
        return value.hex().upper(), "", False
    if field.kind is Kind.BCD:
        return value, "" if value.isdecimal() else "hex digits in BCD", False
    text = show_number(value)
    unit = unit_of(field)
    remark = ""
    if field.idle_zero and field.offset and value * field.divisor == field.offset:
        remark = "raw 0, as an idle pile sends it"
    odd = field.low is not None and field.high is not None and not field.low <= value <= field.high
    return f"{text} {unit}" if unit else text, remark, odd


def unit_of(field: Field) -> str:
    """The unit as people write it."""
    return _UNITS.get(field.unit, field.unit)


def show_number(value: Any) -> str:
    """A number without needless digits, never in exponents."""
    if isinstance(value, float):
        text = f"{Decimal(repr(value)):f}"
        return text.removesuffix(".0")
    return str(int(value)) if isinstance(value, int) else str(value)


def show_code(enum: type[OpenIntEnum], code: int) -> str:
    """A code as the document prints it: hexadecimal where its table is."""
    return f"0x{code:02X}" if max((member.value for member in enum), default=0) > 9 else str(code)


def _show_code(enum: type[OpenIntEnum], value: int) -> tuple[str, str, bool]:
    member = enum(value)
    code = show_code(enum, member.value)
    if not member.known:
        return code, "not in the table", True
    return f"{code} {member.name.lower()}" + (f" {member.zh}" if member.zh else ""), "", False


def _show_time(value: dt.datetime | RawTime) -> tuple[str, str, bool]:
    if isinstance(value, RawTime):
        why = "all zero, the pile has no clock" if value.is_zero else "names no moment"
        return value.raw.hex(" ").upper(), why, True
    text = value.isoformat(" ", timespec="milliseconds" if value.microsecond else "seconds")
    text = f"{text[:-6]} {text[-6:]}" if text[-6] in "+-" else text
    remarks: list[str] = []
    zone = value.tzinfo
    if isinstance(zone, FlaggedZone):
        if zone.invalid:
            remarks.append("marked invalid by its sender")
        if zone.summer_time:
            remarks.append("summer time")
        if zone.weekday:
            right = (
                ""
                if zone.weekday == value.isoweekday()
                else f", but it was a {_WEEKDAYS[value.isoweekday()]}"
            )
            remarks.append(f"says {_WEEKDAYS[zone.weekday]}{right}")
        rest = zone.flags & ~0b11100101
        if rest:
            remarks.append(f"reserved bits set (flags 0x{zone.flags:04X})")
    return text, "; ".join(remarks), isinstance(zone, FlaggedZone) and zone.invalid


def _show_text(value: str) -> tuple[str, str, bool]:
    meant = _other_encoding(value)
    return quoted(value), f"as {meant[1]}: {meant[0]}" if meant else "", False


def quoted(text: str) -> str:
    """Text in quotes, with everything escaped that a terminal would not show."""
    out = json.dumps(text, ensure_ascii=False)
    return "".join(
        char if char.isprintable() else f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"
        for char in out.replace("\\u00", "\\x")
    )


def _other_encoding(value: str) -> tuple[str, str] | None:
    """What the bytes say in UTF-8 or GBK, if they are no ASCII and say something there."""
    if value.isascii():
        return None
    data = value.encode("latin-1", "replace").strip(b"\0 ")
    for encoding, name in (("utf-8", "UTF-8"), ("gbk", "GBK")):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if all(char.isprintable() for char in text):
            return text, name
    return None


def _bit_rows(field: Field, value: Any) -> Iterator[Row]:
    parts = field.fields
    word = _word(field, value)
    whole = f"0x{word:0{2 * field.size}X}"
    flags = [part for part in parts if part.size == 1 and part.enum is None]
    others = [part for part in parts if part not in flags]
    set_flags = [part for part in flags if getattr(value, part.name)]
    head = f"{whole} none set" if flags and not word else whole
    yield Row(field.name, head, field.zh)
    for part in parts:
        current = getattr(value, part.name)
        if part in others:
            if part.name == "reserved" and not current:
                continue
            text, remark, odd = show_value(part, current)
            yield Row(f"  {part.name}", text, part.zh, remark, odd)
        elif part in set_flags:
            yield Row(f"  {part.name}", "1 set", part.zh, "", True)


def _word(field: Field, value: Any) -> int:
    from evproto.wire.values import raw_number

    word = 0
    for part in field.fields:
        word |= raw_number(part, getattr(value, part.name), part.name, part.size) << part.bit
    return word


def _group_rows(field: Field, entries: tuple[Any, ...], hidden: Hidden) -> Iterator[Row]:
    zh = field.zh or (field.fields[0].zh if len(field.fields) == 1 else "")
    if len(field.fields) == 1 and not any(path.startswith(f"{field.name}[") for path in hidden.paths):
        inner = field.fields[0]
        times = len(entries) == _HALF_HOURS and field.count == _HALF_HOURS
        yield Row(field.name, f"{len(entries)} entries", zh)
        for first, last, value in _stretches([getattr(entry, inner.name) for entry in entries]):
            text, remark, odd = show_value(inner, value)
            yield Row(f"  {_span_name(first, last, times)}", text, "", remark, odd)
        return
    count = len(entries)
    yield Row(field.name, f"{count} entr{'y' if count == 1 else 'ies'}", zh)
    for index, entry in enumerate(entries):
        cells: list[str] = []
        remarks: list[str] = []
        any_odd = False
        for inner in field.fields:
            if hidden.hides(f"{field.name}[{index}].{inner.name}"):
                text, remark, odd = HIDDEN, "", False
            else:
                text, remark, odd = show_value(inner, getattr(entry, inner.name))
            cells.append(f"{inner.name} {text}")
            if remark:
                remarks.append(f"{inner.name}: {remark}")
            any_odd |= odd
        yield Row(f"  [{index}]", ", ".join(cells), "", "; ".join(remarks), any_odd)


def _stretches(values: list[Any]) -> Iterator[tuple[int, int, Any]]:
    first = 0
    for index in range(1, len(values) + 1):
        if index == len(values) or values[index] != values[first]:
            yield first, index - 1, values[first]
            first = index


def _span_name(first: int, last: int, times: bool) -> str:
    if times:
        return f"{first // 2:02}:{first % 2 * 30:02}-{(last + 1) // 2:02}:{(last + 1) % 2 * 30:02}"
    return f"[{first}]" if first == last else f"[{first}-{last}]"
