"""Layouts that use every field type and option, and helpers to compare twins."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from evproto.errors import EvprotoError
from evproto.messages import (
    BEIJING,
    DERIVED,
    CountedMessage,
    FlaggedZone,
    Message,
    OpenIntEnum,
    Part,
)
from evproto.wire.checksum import crc16_modbus_pure
from evproto.wire.engine import Options
from evproto.wire.fields import construct_of
from evproto.wire.table import REMAINING, Direction, Field, Kind, Layout, width


class Color(OpenIntEnum):
    """Codes of one byte."""

    RED = 0
    GREEN = 1
    BLUE = 200


class Place(OpenIntEnum):
    """Codes of two bytes."""

    HERE = 1
    THERE = 40000


def structure(name: str, base: type[Any], fields: tuple[Field, ...], **options: Any) -> type[Any]:
    """A Struct class with these fields, as generated code has them."""
    counts = tuple((f.count, f.name) for f in fields if isinstance(f.count, str) and f.count != REMAINING)
    derived = {count for count, _ in counts}
    columns = [(f.name, Any, DERIVED) if f.name in derived else (f.name, Any) for f in fields]
    namespace: dict[str, Any] = {"__counts__": counts} if counts else {}
    return msgspec.defstruct(
        name,
        columns,
        bases=(base,),
        namespace={**namespace, "__module__": __name__},
        frozen=True,
        kw_only=True,
        **{"gc": False, **options},
    )


def uint(name: str, size: int = 2, **options: Any) -> Field:
    return Field(name=name, kind=Kind.UINT, size=size, **options)


def field(name: str, kind: Kind, size: int, **options: Any) -> Field:
    return Field(name=name, kind=kind, size=size, **options)


def bits(name: str, size: int, *parts: Field, struct: dict[str, Any] | None = None, **options: Any) -> Field:
    cls = structure(f"Parts{name.title()}", Part, parts, **(struct or {}))
    return Field(name=name, kind=Kind.BITS, size=size, type=cls, fields=parts, **options)


def group(name: str, count: int | str, *fields: Field, struct: dict[str, Any] | None = None) -> Field:
    cls = structure(f"Entry{name.title()}", Part, fields, **(struct or {}))
    size = sum(width(f) for f in fields)
    return Field(name=name, kind=Kind.GROUP, size=size, count=count, type=cls, fields=fields)


def part(name: str, bit: int, width: int, **options: Any) -> Field:
    return Field(name=name, kind=Kind.UINT, size=width, bit=bit, **options)


LAYOUTS: list[Layout] = []


def layout(name: str, *fields: Field, code: int | None = None, **struct: Any) -> Layout:
    counted = any(isinstance(f.count, str) and f.count != REMAINING for f in fields)
    code = len(LAYOUTS) + 1 if code is None else code
    cls = structure(name, CountedMessage if counted else Message, fields, **struct)
    cls.frame_type = code
    made = Layout(
        name=name,
        frame_type=code,
        message=cls,
        fields=fields,
        direction=Direction.PILE_TO_PLATFORM,
        role="report",
    )
    LAYOUTS.append(made)
    return made


ENTRY = (
    field("code", Kind.BCD, 2, pad_left=True),
    uint("level", 1, offset=-50),
    uint("state", 1, enum=Color),
)

NUMBERS = layout(
    "Numbers",
    *(uint(f"plain{size}", size) for size in (1, 2, 3, 4, 5, 6, 7, 8, 9)),
    uint("tenths", 2, divisor=10),
    uint("thousandths", 5, divisor=10000),
    uint("wide", 8, divisor=10000),
    uint("wider", 9, divisor=10),
    uint("current", 2, offset=-4000, divisor=10),
    uint("celsius", 1, offset=-50),
    uint("number", 4, offset=1),
    uint("tripled", 2, scale=3, offset=7),
    uint("sevenths", 3, scale=25, offset=-3, divisor=1000),
    uint("backwards", 4, divisor=100, reversed=True),
    uint("huge", 4, scale=10**30, divisor=7),
)
CODES = layout(
    "Codes",
    uint("color", 1, enum=Color),
    uint("place", 2, enum=Place),
    uint("turned", 2, enum=Place, reversed=True),
    uint("scaled", 1, enum=Color, scale=2),
)
TEXTS = layout(
    "Texts",
    field("digits", Kind.BCD, 3),
    field("padded", Kind.BCD, 4, pad_left=True),
    field("turned_digits", Kind.BCD, 2, reversed=True),
    field("text", Kind.ASCII, 6),
    field("vin", Kind.ASCII, 5, reversed=True),
    field("raw", Kind.BYTES, 3),
    field("raw_padded", Kind.BYTES, 4, pad_left=True),
    field("raw_turned", Kind.BYTES, 3, reversed=True),
)
TIMES = layout(
    "Times",
    field("start", Kind.TIME, 7),
    field("end", Kind.TIME, 7),
    field("turned", Kind.TIME, 7, reversed=True),
)
WORDS = layout(
    "Words",
    bits("one", 1, part("low", 0, 1), part("rest", 1, 7, enum=Color)),
    bits("two", 2, part("volts", 0, 12, divisor=100), part("where", 12, 4)),
    bits("turned", 2, part("all", 0, 16, offset=-3), reversed=True),
    bits("eight", 8, part("word", 0, 64), part("over", 60, 4)),
    bits("nine", 9, part("bottom", 0, 40), part("top", 64, 8)),
    bits("beyond", 1, part("inside", 0, 4), part("half_out", 6, 2)),
    bits("tracked", 1, part("bit", 0, 1), part("more", 1, 7), struct={"gc": True}),
)
FIXED_GROUP = layout("FixedGroup", group("rates", 5, uint("rate", 1, enum=Color)), uint("after", 1))
COUNTED = layout(
    "Counted",
    uint("before", 1),
    uint("card_count", 1),
    group("cards", "card_count", *ENTRY, bits("flags", 1, part("low", 0, 4), part("high", 4, 4))),
    uint("after", 2),
)
COUNTED_WIDE = layout("CountedWide", uint("count", 2), group("cards", "count", field("at", Kind.TIME, 7)))
OPEN = layout("Open", field("id", Kind.BCD, 7, pad_left=True), group("results", REMAINING, *ENTRY))
TEXT_COUNTED = layout(
    "TextCounted",
    uint("length", 1),
    Field(name="url", kind=Kind.ASCII, size=0, count="length"),
    uint("end", 1),
)
EMPTY = layout("Empty")
VARIANT_SHORT = layout("VariantShort", uint("a", 2), code=0x3B)
VARIANT_LONG = layout("VariantLong", uint("a", 2), uint("b", 2, divisor=10), code=0x3B)
TRACKED = layout(
    "Tracked", uint("a", 2, divisor=10), group("entries", REMAINING, *ENTRY, struct={"gc": True}), gc=True
)
WEAK = layout("Weak", uint("a", 2), field("text", Kind.ASCII, 3), gc=True, weakref=True)

_COMMON = len(LAYOUTS)
layout("ScaledCount", uint("count", 1, offset=1), group("rates", "count", uint("rate", 1)))
layout("CodedCount", uint("count", 1, enum=Color), group("rates", "count", uint("rate", 1)))
layout("TurnedCount", uint("count", 2, reversed=True), group("rates", "count", uint("rate", 1)))
layout("OpenInside", group("rates", REMAINING, uint("rate", 1)), uint("after", 1))
layout("CountedBytes", uint("n", 1), Field(name="raw", kind=Kind.BYTES, size=0, count="n"))
layout("OpenText", uint("n", 1), Field(name="text", kind=Kind.ASCII, size=0, count=REMAINING))
layout("Twice", uint("n", 1), *(group(name, "n", uint("rate", 1)) for name in ("first", "second")))
layout("Nested", group("outer", 2, uint("a", 1), group("inner", 2, uint("b", 1))))
layout("LaterCount", group("rates", "n", uint("rate", 1)), uint("n", 1))
UNCOMMON = LAYOUTS[_COMMON:]
"""What no sane spec says; left to the pure engine, whatever it makes of it."""
del LAYOUTS[_COMMON:]


def by_type(*layouts: Layout) -> dict[int, tuple[Layout, ...]]:
    found: dict[int, tuple[Layout, ...]] = {}
    for one in layouts:
        found[one.frame_type] = (*found.get(one.frame_type, ()), one)
    return found


def options(*layouts: Layout, tz: dt.tzinfo = BEIJING, **changes: Any) -> Options:
    """Options for these layouts, or for all of them."""
    chosen = layouts or (*LAYOUTS, *UNCOMMON)
    asked: dict[str, Any] = {
        "layouts": by_type(*chosen),
        "known": chosen,
        "version": "a test",
        "checksum": "strict",
        "keep_unknown": True,
        "keep_trailing": True,
        "tz": tz,
        "cipher": None,
        "construct_of": construct_of,
    }
    return Options(**{**asked, **changes})


def frame(code: int, body: bytes, *, sequence: int = 0x0102, encryption: int = 0) -> bytes:
    counted = sequence.to_bytes(2, "little") + bytes((encryption, code)) + body
    checksum = crc16_modbus_pure(counted).to_bytes(2, "little")
    return bytes((0x68, len(counted))) + counted + checksum


def outcome(call: Any, *arguments: Any) -> tuple[Any, ...]:
    """What a call comes to, comparable: a value with its types, or an error with all it says."""
    try:
        value = call(*arguments)
    except EvprotoError as error:
        return describe(error)
    except Exception as error:
        # Of both engines, then; the tests of the pure one say when it may be.
        return "foreign error", type(error), str(error)
    return "value", spelled(value)


def describe(error: EvprotoError) -> tuple[Any, ...]:
    attributes = {name: spelled(value) for name, value in sorted(vars(error).items())}
    cause = error.__cause__
    return "error", type(error), str(error), attributes, type(cause), str(cause)


def spelled(value: Any) -> Any:
    """A value with every type in it, so that 1, 1.0, True and a member all differ."""
    if isinstance(value, EvprotoError):
        return describe(value)
    if isinstance(value, msgspec.Struct):
        return type(value), [(n, spelled(getattr(value, n))) for n in value.__struct_fields__]
    if isinstance(value, (tuple, list)):
        return type(value), [spelled(item) for item in value]
    if isinstance(value, dt.datetime):
        return type(value), value.replace(tzinfo=None), value.fold, spelled(value.tzinfo)
    if isinstance(value, FlaggedZone):
        return type(value), spelled(value.base), spelled(value.flags)
    return type(value), repr(value)
