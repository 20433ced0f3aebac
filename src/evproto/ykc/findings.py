"""What is odd about a message, though the wire carries it."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

from evproto.errors import EncodeError, UnknownMessageError
from evproto.messages import EncryptedMessage, Message, OpenIntEnum, RawTime, UnknownMessage
from evproto.wire.frame import Frame
from evproto.wire.table import Check, Field, Kind, Layout
from evproto.wire.values import encode_value

__all__ = ["Finding", "find"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that does not add up."""

    kind: Literal["value", "limit", "code", "time", "reserved", "sum", "difference", "product", "order"]
    """``value``: cannot be sent at all; ``limit``: outside a documented range; ``code``: not in the table;
    ``time``: names no moment, or its sender does not vouch for it;
    ``reserved``: not as the document fixes it; the others: a relation."""
    path: str
    text: str
    value: Any = None
    limit: Any = None
    """The limit passed, or the value the relation asks for."""

    def __str__(self) -> str:
        return self.text


def find(message: Any, layouts: Mapping[type[Message], Layout], tz: dt.tzinfo) -> tuple[Finding, ...]:
    """All findings of a message, in the order of its fields, relations last.

    Raises:
        UnknownMessageError: no layout is known for it.
    """
    if isinstance(message, Frame):
        message = message.message
    if isinstance(message, (UnknownMessage, EncryptedMessage)):
        return ()
    layout = layouts.get(type(message))
    if layout is None:
        raise UnknownMessageError(f"{type(message).__name__} is not a message of this codec", value=message)
    found = list(_fields(message, layout.fields, "", tz))
    refused = {finding.path for finding in found if finding.kind == "value"}
    for check in layout.checks:
        if not refused.intersection((*check.of, check.total)):
            found.extend(_relation(message, check))
    return tuple(found)


def _fields(record: Any, fields: tuple[Field, ...], prefix: str, tz: dt.tzinfo) -> Iterator[Finding]:
    for field in fields:
        value = getattr(record, field.name)
        path = prefix + field.name
        if field.kind is Kind.GROUP:
            yield from _entries(field, value, path, tz)
            continue
        try:
            encode_value(field, value, path, tz)
        except EncodeError as error:
            yield Finding(
                kind="value", path=error.path or path, text=str(error), value=value, limit=error.limit
            )
            continue
        if field.kind is Kind.BITS:
            for part in field.fields:
                yield from _value(part, getattr(value, part.name), f"{path}.{part.name}")
        else:
            yield from _value(field, value, path)


def _entries(field: Field, value: Any, path: str, tz: dt.tzinfo) -> Iterator[Finding]:
    if not isinstance(value, (tuple, list)):
        yield Finding(kind="value", path=path, text=f"{path} takes a tuple", value=value)
        return
    for index, entry in enumerate(value):
        at = f"{path}[{index}]"
        if type(entry) is field.type:
            yield from _fields(entry, field.fields, f"{at}.", tz)
        else:
            yield Finding(kind="value", path=at, text=f"{at} is no entry of {path}", value=entry)


def _value(field: Field, value: Any, path: str) -> Iterator[Finding]:
    if field.enum is not None:
        member = field.enum(value) if not isinstance(value, OpenIntEnum) else value
        if not member.known:
            yield Finding(
                kind="code",
                path=path,
                text=f"{path}: code 0x{int(value):02X} is not in the table",
                value=int(value),
            )
    elif field.kind is Kind.TIME:
        yield from _time(value, path)
    elif field.fixed is not None and _as_bytes(value, field) != field.fixed:
        shown = value.hex(" ").upper() if isinstance(value, bytes) else value
        yield Finding(
            kind="reserved", path=path, text=f"{path}: reserved, but {shown}", value=value, limit=field.fixed
        )
    elif field.low is not None and field.high is not None and not field.low <= value <= field.high:
        unit = f" {field.unit}" if field.unit else ""
        yield Finding(
            kind="limit",
            path=path,
            text=f"{path}: {value}{unit} is outside {field.low:g} to {field.high:g}{unit}",
            value=value,
            limit=field.low if value < field.low else field.high,
        )


def _as_bytes(value: Any, field: Field) -> bytes:
    if isinstance(value, int):
        assert field.fixed is not None
        return value.to_bytes(max(len(field.fixed), (value.bit_length() + 7) // 8), "little")
    return bytes(value)


def _time(value: Any, path: str) -> Iterator[Finding]:
    if isinstance(value, RawTime):
        text = (
            "all zero, the pile has no clock"
            if value.is_zero
            else f"{value.raw.hex(' ').upper()} names no moment"
        )
        yield Finding(kind="time", path=path, text=f"{path}: {text}", value=value)
    elif getattr(value.tzinfo, "invalid", False):
        yield Finding(kind="time", path=path, text=f"{path}: marked invalid by its sender", value=value)
    else:
        weekday = getattr(value.tzinfo, "weekday", 0)
        if weekday and weekday != value.isoweekday():
            yield Finding(
                kind="time",
                path=path,
                text=f"{path}: says day {weekday} of the week, {value:%Y-%m-%d} is day {value.isoweekday()}",
                value=weekday,
                limit=value.isoweekday(),
            )


def _relation(message: Any, check: Check) -> Iterator[Finding]:
    values = [getattr(message, name) for name in check.of]
    if check.rule == "order":
        if all(isinstance(value, dt.datetime) for value in values) and any(
            later < earlier for earlier, later in itertools.pairwise(values)
        ):
            yield Finding(
                kind="order",
                path=check.of[-1],
                text=f"{check.of[-1]} is before {check.of[0]}",
                value=values[-1],
                limit=values[0],
            )
        return
    numbers = [_decimal(value) for value in values]
    total = _decimal(getattr(message, check.total))
    if check.rule == "sum":
        wanted, how = sum(numbers, Decimal(0)), " + ".join(check.of)
    elif check.rule == "difference":
        wanted, how = numbers[1] - numbers[0], f"{check.of[1]} - {check.of[0]}"
    else:
        wanted, how = numbers[0] * numbers[1], " x ".join(check.of)
    if abs(wanted - total) > _decimal(check.tolerance):
        yield Finding(
            kind=check.rule,
            path=check.total,
            text=f"{check.total} is {total}, but {how} is {wanted.normalize():f}",
            value=getattr(message, check.total),
            limit=float(wanted),
        )


def _decimal(value: Any) -> Decimal:
    return Decimal(repr(float(value)) if isinstance(value, float) else value)
