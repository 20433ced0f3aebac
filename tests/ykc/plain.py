"""evproto's values in the words of the interpreter, and strict comparison."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from reference.interpreter import Moment, NoMoment

from evproto.messages import FlaggedZone, RawTime, Record


def _float(value: float) -> Decimal:
    # The shortest form of the float: equal to the wire's decimal only if the
    # float is the one nearest to it and nothing was lost on the way.
    return Decimal(repr(value))


def _moment(value: dt.datetime) -> Moment:
    zone = value.tzinfo
    flags = zone.flags if isinstance(zone, FlaggedZone) else 0
    assert value.microsecond % 1000 == 0, value
    return Moment(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second * 1000 + value.microsecond // 1000,
        flags & 1,
        flags >> 1 & 1,
        flags >> 2 & 1,
        flags >> 3 & 3,
        flags >> 5 & 7,
        flags >> 8 & 15,
        flags >> 12,
    )


def _same(value: Any) -> Any:
    return value


def _record(value: Any) -> dict[str, Any]:
    return {name: plain(getattr(value, name)) for name in value.__struct_fields__}


_BY_TYPE: dict[type, Callable[[Any], Any]] = {
    int: _same,
    str: _same,
    bytes: _same,
    float: _float,
    dt.datetime: _moment,
    RawTime: lambda value: NoMoment(value.raw),
    tuple: lambda value: [plain(entry) for entry in value],
}


def plain(value: Any) -> Any:
    """A value of a message, or a message, as the interpreter has it."""
    how = _BY_TYPE.get(type(value))
    if how is None:
        if isinstance(value, Record):
            how = _record
        elif isinstance(value, enum.IntEnum):
            how = int
        else:
            raise AssertionError(f"{type(value)} is no type for a message to hold")
        _BY_TYPE[type(value)] = how
    return how(value)


def shape(value: Any) -> Any:
    """The types of all values of a message; ``plain`` takes 2 and 2.0 for equal."""
    if isinstance(value, Record):
        return (type(value), *[shape(getattr(value, name)) for name in value.__struct_fields__])
    if isinstance(value, tuple):
        return (tuple, *{shape(entry) for entry in value})
    if isinstance(value, RawTime):
        return dt.datetime
    return type(value)


def rebuild(value: Any) -> Any:
    """A message made anew from its public fields."""
    if isinstance(value, Record):
        return type(value)(**{name: rebuild(getattr(value, name)) for name in value.__struct_fields__})
    if isinstance(value, tuple):
        return tuple(rebuild(entry) for entry in value)
    return value


def difference(expected: Any, actual: Any, path: str = "") -> str:
    """Where two plain values differ, in type or value; empty if nowhere."""
    if type(expected) is not type(actual):
        return f"{path}: {expected!r} is a {type(expected).__name__}, {actual!r} a {type(actual).__name__}"
    if isinstance(expected, dict):
        if list(expected) != list(actual):
            return f"{path}: fields {list(expected)}, not {list(actual)}"
        parts = [difference(expected[key], actual[key], f"{path}.{key}") for key in expected]
        return next((part for part in parts if part), "")
    if isinstance(expected, list):
        if len(expected) != len(actual):
            return f"{path}: {len(expected)} entries, not {len(actual)}"
        pairs = enumerate(zip(expected, actual, strict=True))
        found = [difference(one, other, f"{path}[{index}]") for index, (one, other) in pairs]
        return next((part for part in found if part), "")
    return "" if expected == actual else f"{path}: {expected!r}, not {actual!r}"


def outcome(call: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """What a call gives, in a form that compares: a value, or an error with all it says.

    Only evproto's own errors are outcomes; any other goes on up.
    """
    from evproto.errors import EvprotoError

    try:
        result = call(*args)
    except EvprotoError as error:
        about = {name: _fingerprint(value) for name, value in vars(error).items()}
        return type(error), str(error), about, type(error.__cause__), str(error.__cause__)
    return ("gave", _fingerprint(result))


def _fingerprint(value: Any) -> Any:
    # repr tells 1 from 1.0, True and an enum's member, and shows a zone's flags.
    if isinstance(value, msgspec.Struct | dt.datetime | float | int | tuple | list):
        return type(value), repr(value)
    if isinstance(value, bytes | str | Decimal | type(None)):
        return type(value), value
    return type(value), id(value)
