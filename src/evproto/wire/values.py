"""One field value, between Python and the wire.

These functions are the readable definition of every field type. The construct
layouts are made of them; the compiled engine has its own fast form of the
common cases and comes here for everything else, so that odd values and errors
are the same on both.

Encoding raises :class:`~evproto.errors.FieldError`; decoding never fails,
because any bytes of the right length mean something.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from typing import Any, NoReturn

from evproto.errors import FieldError
from evproto.messages import FlaggedZone, RawTime
from evproto.wire.inputs import as_bytes, is_bytes_like, show
from evproto.wire.table import Field, Kind

__all__ = ["decode_value", "encode_value", "number", "number_limits", "raw_number"]

_HEX = frozenset("0123456789abcdefABCDEF")

_STEP_NOISE = 1e-6
"""How far from a wire step, in steps, a float is still taken for that step."""

_MOST_DIGITS = 1000
"""How far a Decimal's exponent may go."""


def decode_value(field: Field, data: bytes, tz: dt.tzinfo) -> Any:
    """The Python value of the ``field.size`` bytes ``data`` (not for groups)."""
    if field.reversed:
        data = data[::-1]
    kind = field.kind
    if kind is Kind.UINT:
        return number(field, int.from_bytes(data, "little"))
    if kind is Kind.BCD:
        return data.hex().upper()
    if kind is Kind.ASCII:
        text = data.decode("latin-1")
        # NULs inside, or at the end of counted text, belong to the text.
        return text if isinstance(field.count, str) else text.rstrip("\0")
    if kind is Kind.BYTES:
        return bytes(data)
    if kind is Kind.TIME:
        return _decode_time(data, tz)
    assert kind is Kind.BITS, kind
    assert field.type is not None
    word = int.from_bytes(data, "little")
    return field.type(
        **{part.name: number(part, word >> part.bit & (1 << part.size) - 1) for part in field.fields}
    )


def encode_value(field: Field, value: Any, path: str, tz: dt.tzinfo) -> bytes:
    """The bytes of ``value`` (not for groups). ``path`` names it in errors.

    Raises:
        FieldError: the wire cannot carry the value.
    """
    try:
        return _encode(field, value, path, tz)
    except (FieldError, MemoryError):
        raise
    except Exception as error:  # a value of a foreign type may do anything
        raise FieldError(f"{path} cannot be read: {show(value)}", path=path, value=value) from error


def _encode(field: Field, value: Any, path: str, tz: dt.tzinfo) -> bytes:
    kind = field.kind
    if kind is Kind.UINT:
        data = raw_number(field, value, path, 8 * field.size).to_bytes(field.size, "little")
    elif kind is Kind.BCD:
        data = _encode_bcd(field, value, path)
    elif kind is Kind.ASCII:
        data = _encode_text(field, value, path)
    elif kind is Kind.BYTES:
        data = _encode_bytes(field, value, path)
    elif kind is Kind.TIME:
        data = _encode_time(value, path, tz)
    else:
        data = _encode_bits(field, value, path)
    return data[::-1] if field.reversed else data


def number(field: Field, raw: int) -> Any:
    """The physical value, or the enum member, of the integer on the wire."""
    if field.enum is not None:
        return field.enum(raw)
    total = raw * field.scale + field.offset
    # int / int rounds once, correctly, whatever the size.
    return total if field.divisor == 1 else total / field.divisor


def raw_number(field: Field, value: Any, path: str, bits: int) -> int:
    """The integer on the wire, of at most ``bits`` bits, for a physical value.

    Raises:
        FieldError: not a number, between two steps of the wire, or outside
            what the field can hold.
    """
    raw = _steps(field, value, path)
    top = (1 << bits) - 1
    if not 0 <= raw <= top:
        low, high = number_limits(field, bits)
        unit = f" {field.unit}" if field.unit else ""
        raise FieldError(
            f"{path} is {show(value)}, the wire carries {low} to {high}{unit}",
            path=path,
            value=value,
            limit=low if raw < 0 else high,
        )
    return raw


def number_limits(field: Field, bits: int) -> tuple[int | float, int | float]:
    """Smallest and largest physical value that ``bits`` bits can carry."""
    low, high = (raw * field.scale + field.offset for raw in (0, (1 << bits) - 1))
    return (low, high) if field.divisor == 1 else (low / field.divisor, high / field.divisor)


def _steps(field: Field, value: Any, path: str) -> int:
    if isinstance(value, int):
        total = int(value) * field.divisor - field.offset
        raw, rest = divmod(total, field.scale)
        if rest:
            _between(field, value, path)
        return raw
    if isinstance(value, float):
        if not math.isfinite(value):
            raise FieldError(f"{path} is {show(value)}, not a finite number", path=path, value=value)
        steps = (value * field.divisor - field.offset) / field.scale
        if not math.isfinite(steps):
            raise FieldError(f"{path} is too large: {show(value)}", path=path, value=value)
        nearest = round(steps)
        if abs(steps - nearest) > max(_STEP_NOISE, abs(steps) * 2.0**-50):
            _between(field, value, path)
        return nearest
    if isinstance(value, (Decimal, Rational)):
        if isinstance(value, Decimal) and not value.is_finite():
            raise FieldError(f"{path} is {show(value)}, not a finite number", path=path, value=value)
        if isinstance(value, Decimal) and value and not _is_sane(value):
            raise FieldError(f"{path} is out of all proportion: {show(value)}", path=path, value=value)
        exact = (Fraction(value) * field.divisor - field.offset) / field.scale
        if exact.denominator != 1:
            _between(field, value, path)
        return exact.numerator
    try:
        return _steps(field, operator.index(value), path)
    except TypeError:
        what = "a number or code" if field.enum is not None else "a number"
        raise FieldError(f"{path} takes {what}, not {type(value).__name__}", path=path, value=value) from None


def _is_sane(value: Decimal) -> bool:
    """Whether exact arithmetic with ``value`` ends in this life."""
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_MOST_DIGITS and value.adjusted() <= _MOST_DIGITS


def _between(field: Field, value: Any, path: str) -> NoReturn:
    step = Decimal(field.scale) / Decimal(field.divisor)
    unit = f" {field.unit}" if field.unit else ""
    raise FieldError(
        f"{path} is {show(value)}, between two steps of {step.normalize():f}{unit}",
        path=path,
        value=value,
        limit=step,
    )


def _encode_bcd(field: Field, value: Any, path: str) -> bytes:
    if not isinstance(value, str):
        raise FieldError(
            f"{path} takes a string of {2 * field.size} digits, not {type(value).__name__}",
            path=path,
            value=value,
        )
    digits = value
    if len(digits) < 2 * field.size and field.pad_left:
        digits = digits.rjust(2 * field.size, "0")
    if len(digits) != 2 * field.size:
        raise FieldError(
            f"{path} takes {2 * field.size} digits, {show(value)} has {len(value)}",
            path=path,
            value=value,
            limit=2 * field.size,
        )
    if not _HEX.issuperset(digits):
        raise FieldError(f"{path} takes digits (hex digits pass), not {show(value)}", path=path, value=value)
    return bytes.fromhex(digits)


def _encode_text(field: Field, value: Any, path: str) -> bytes:
    if not isinstance(value, str):
        raise FieldError(f"{path} takes text, not {type(value).__name__}", path=path, value=value)
    try:
        data = value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise FieldError(
            f"{path} takes one byte per character; {show(value[error.start])} at {error.start} has none",
            path=path,
            value=value,
        ) from None
    if isinstance(field.count, str):
        return data
    if len(data) > field.size:
        raise FieldError(
            f"{path} takes at most {field.size} characters, {show(value)} has {len(data)}",
            path=path,
            value=value,
            limit=field.size,
        )
    return data.ljust(field.size, b"\0")


def _encode_bytes(field: Field, value: Any, path: str) -> bytes:
    if not is_bytes_like(value):
        raise FieldError(
            f"{path} takes {field.size} bytes, not {type(value).__name__}", path=path, value=value
        )
    data = as_bytes(value)
    if len(data) < field.size and field.pad_left:
        data = data.rjust(field.size, b"\0")
    if len(data) != field.size:
        raise FieldError(
            f"{path} takes {field.size} bytes, {len(data)} were given",
            path=path,
            value=value,
            limit=field.size,
        )
    return data


def _encode_bits(field: Field, value: Any, path: str) -> bytes:
    assert field.type is not None
    if not isinstance(value, field.type):
        raise FieldError(
            f"{path} takes {field.type.__name__}, not {type(value).__name__}", path=path, value=value
        )
    word = 0
    for part in field.fields:
        word |= raw_number(part, getattr(value, part.name), f"{path}.{part.name}", part.size) << part.bit
    return word.to_bytes(field.size, "little")


def _decode_time(data: bytes, tz: dt.tzinfo) -> dt.datetime | RawTime:
    # Layout of the bits: YKC V1.6, section 3.2; the millisecond word counts
    # the seconds too.
    millis = data[0] | data[1] << 8
    minute, hour, day, month, year = data[2:7]
    flags = (
        minute >> 7
        | (minute >> 6 & 1) << 1
        | (hour >> 7) << 2
        | (hour >> 5 & 3) << 3
        | (day >> 5) << 5
        | (month >> 4) << 8
        | (year >> 7) << 12
    )
    try:
        return dt.datetime(
            2000 + (year & 0x7F),
            month & 0x0F,
            day & 0x1F,
            hour & 0x1F,
            minute & 0x3F,
            millis // 1000,
            millis % 1000 * 1000,
            FlaggedZone(tz, flags) if flags else tz,
        )
    except ValueError:
        return RawTime(bytes(data))


def _encode_time(value: Any, path: str, tz: dt.tzinfo) -> bytes:
    if isinstance(value, RawTime):
        raw = as_bytes(value.raw) if is_bytes_like(value.raw) else b""
        if len(raw) != 7:
            raise FieldError(f"{path}: a RawTime holds 7 bytes", path=path, value=value, limit=7)
        return raw
    if not isinstance(value, dt.datetime):
        raise FieldError(f"{path} takes a datetime, not {type(value).__name__}", path=path, value=value)
    zone: dt.tzinfo | None = value.tzinfo
    flags = 0
    if isinstance(zone, FlaggedZone):
        flags, zone = zone.flags, zone.base
    if zone is None or value.utcoffset() is None:
        raise FieldError(f"{path} is a datetime without a time zone; give it one", path=path, value=value)
    # A time that is in the codec's zone already is taken as it stands: its
    # wall clock is what was on the wire, even where the zone skips an hour.
    if zone is not tz and zone != tz:
        try:
            value = value.replace(tzinfo=zone).astimezone(tz)
        except (OverflowError, ValueError):
            raise FieldError(
                f"{path} has no equivalent in {tz}: {show(value)}", path=path, value=value
            ) from None
    if not 2000 <= value.year <= 2127:
        raise FieldError(
            f"{path} is in {value.year}, the wire carries the years 2000 to 2127",
            path=path,
            value=value,
            limit=2000 if value.year < 2000 else 2127,
        )
    if not isinstance(flags, int) or not 0 <= flags < 1 << 13:
        raise FieldError(f"{path}: the zone's flags are 13 bits", path=path, value=flags, limit=(1 << 13) - 1)
    millis = value.second * 1000 + value.microsecond // 1000
    return bytes(
        (
            millis & 0xFF,
            millis >> 8,
            value.minute | (flags & 1) << 7 | (flags >> 1 & 1) << 6,
            value.hour | (flags >> 2 & 1) << 7 | (flags >> 3 & 3) << 5,
            value.day | (flags >> 5 & 7) << 5,
            value.month | (flags >> 8 & 15) << 4,
            value.year - 2000 | (flags >> 12 & 1) << 7,
        )
    )
