"""Encoding: the compiled engine against the pure one, on values of every sort."""

from __future__ import annotations

import datetime as dt
import enum
import fractions
import math
import zoneinfo
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.messages import BEIJING, EncryptedMessage, FlaggedZone, RawTime, UnknownMessage
from evproto.wire.frame import Frame
from evproto.wire.pure import PureEngine
from evproto.wire.table import REMAINING, Field, Kind, Layout
from speedups import samples
from speedups.samples import LAYOUTS, Color, Place, options, outcome

BY_NAME = {layout.name: layout for layout in LAYOUTS}
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Moment(dt.datetime):
    pass


class Data(bytes):
    pass


class Several(tuple):
    pass


class Short(enum.IntEnum):
    ONE = 1


class Indexed:
    def __index__(self) -> int:
        return 3


class Refusing:
    def __index__(self) -> int:
        raise RuntimeError("not now")

    __float__ = __index__


class Nowhere(dt.tzinfo):
    def utcoffset(self, moment: dt.datetime | None) -> None:
        return None


class Local(dt.tzinfo):
    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=8)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dt.tzinfo)

    __hash__ = None  # type: ignore[assignment]


NOON = dt.datetime(2026, 2, 28, 12, 30, 15, 678901, tzinfo=BEIJING)
ODD: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 7, 9, 10, 255, 256, 65535, 65536, 2**31, 2**53, 2**53 + 1, 2**61,
    2**63, 2**64, 10**30, -(2**70), 0.0, -0.0, 0.1, 0.15, 1.5, -49.95, 12.3456, 1e-7, 429496.7295, 1e300, -1e300,
    math.nan, math.inf, -math.inf, 2.0**53, 2.0**63, Decimal("1.5"), Decimal("NaN"), Decimal("1E+99"),
    Decimal("0.12345"), fractions.Fraction(3, 2), fractions.Fraction(1, 3), 1j, Number(5), Number(500),
    Real(1.5), Color.GREEN, Color.BLUE, Color(77), Place.THERE, Place(513), Short.ONE, Indexed(), Refusing(),
    "", "1", "12", "123", "12AB", "12ab", "00zz", "123456", "12345678", "123456789", "é", "éÿ", "用户", "\0\0",
    "a\0b", "tail\0", "\ud800", "１２３４", Text("1234"), Text("abc"), b"", b"\1", b"abc", b"abcd", b"abcdefgh",
    bytearray(b"abc"), memoryview(b"abc"), Data(b"abc"), NOON, NOON.replace(tzinfo=None),
    NOON.replace(year=1999), NOON.replace(year=2127), NOON.replace(year=2128), NOON.astimezone(dt.UTC),
    NOON.astimezone(BERLIN), NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=8))),
    NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=8), "named")), NOON.replace(tzinfo=Nowhere()),
    NOON.replace(tzinfo=Local()), NOON.replace(tzinfo=FlaggedZone(BEIJING, 0x1FFF)),
    NOON.replace(tzinfo=FlaggedZone(BEIJING, 0x2000)), NOON.replace(tzinfo=FlaggedZone(BEIJING, -1)),
    NOON.replace(tzinfo=FlaggedZone(BEIJING, "x")),  # type: ignore[arg-type]
    NOON.replace(tzinfo=FlaggedZone(BEIJING, True)), NOON.replace(tzinfo=FlaggedZone(dt.UTC, 3)),
    NOON.replace(tzinfo=FlaggedZone(FlaggedZone(BEIJING, 1), 2)), NOON.replace(tzinfo=FlaggedZone(Nowhere(), 2)),
    dt.datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN), dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    dt.datetime(2000, 1, 1, tzinfo=BEIJING), Moment(2026, 1, 1, tzinfo=BEIJING), dt.date(2026, 1, 1),
    RawTime(bytes(7)), RawTime(b"short"), RawTime("seven77"), RawTime(Data(bytes(7))),  # type: ignore[arg-type]
    (), [], (1,), [1], {}, object, type,
]  # fmt: skip
"""What people put into fields, by mistake or on purpose."""


def good(field: Field) -> st.SearchStrategy[Any]:
    """Values that mostly fit a field."""
    kind, size = field.kind, field.size
    if kind is Kind.UINT:
        raws = st.one_of(st.integers(0, 300), st.integers(0, (1 << 8 * size) - 1))
        return raws.map(lambda raw: samples_number(field, raw))
    if kind is Kind.BCD:
        return st.text("0123456789ABCDEFabcdef", max_size=2 * size)
    if kind is Kind.ASCII:
        return st.text(st.characters(max_codepoint=255), max_size=12 if field.count else size)
    if kind is Kind.BYTES:
        return st.binary(max_size=size)
    if kind is Kind.TIME:
        zones = st.sampled_from([BEIJING, dt.UTC, FlaggedZone(BEIJING, 0x60), FlaggedZone(BEIJING, 0x1FFF)])
        moments = st.datetimes(dt.datetime(1999, 12, 30), dt.datetime(2128, 1, 3), timezones=zones)
        return st.one_of(moments, st.binary(min_size=7, max_size=7).map(RawTime))
    assert field.type is not None
    if kind is Kind.BITS:
        return st.builds(field.type, **{p.name: value_of_part(p) for p in field.fields})
    entry = st.builds(field.type, **{f.name: value(f) for f in field.fields})
    if isinstance(field.count, int):
        few = st.lists(entry, min_size=field.count, max_size=field.count)
    else:
        few = st.lists(entry, max_size=3)
    return st.one_of(few.map(tuple), few, st.lists(entry, max_size=6).map(tuple), few.map(Several))


def samples_number(field: Field, raw: int) -> Any:
    if field.enum is not None:
        return field.enum(raw & 0xFFFF)
    total = raw * field.scale + field.offset
    return total if field.divisor == 1 else total / field.divisor


def value_of_part(part: Field) -> st.SearchStrategy[Any]:
    numbers = st.integers(0, (1 << part.size) - 1).map(lambda raw: samples_number(part, raw))
    return st.one_of(numbers, numbers, numbers, st.integers(-1, 1 << part.size), st.sampled_from(ODD))


def value(field: Field) -> st.SearchStrategy[Any]:
    # Mostly good ones, or nothing would ever get past its first field.
    choice = st.integers(0, 19)
    return choice.flatmap(lambda n: st.sampled_from(ODD) if n == 0 else good(field))


def messages(layout: Layout) -> st.SearchStrategy[Any]:
    derived = {f.count for f in layout.fields if isinstance(f.count, str) and f.count != REMAINING}
    given_counts = st.one_of(st.integers(-1, 4), st.just(1.0), st.just(True), st.sampled_from(ODD))
    counts = (
        st.just({})
        if not derived
        else st.one_of(st.just({}), st.fixed_dictionaries(dict.fromkeys(derived, given_counts)))
    )
    values = st.fixed_dictionaries({f.name: value(f) for f in layout.fields if f.name not in derived})

    def make(parts: tuple[dict[str, Any], dict[str, Any]]) -> Any:
        try:
            return layout.message(**parts[0], **parts[1])
        except Exception:  # a count that cannot be derived: nothing to encode
            return layout.message(**parts[0], **dict.fromkeys(derived, 1))

    return st.tuples(values, counts).map(make)


@pytest.fixture(scope="module")
def pairs(compiled: Any) -> list[tuple[Any, Any]]:
    return [
        (PureEngine(options(tz=tz)), compiled.Engine(options(tz=tz))) for tz in (BEIJING, BERLIN, Local())
    ]


@pytest.mark.parametrize("name", list(BY_NAME))
@given(data=st.data())
def test_any_message(pairs: list[tuple[Any, Any]], name: str, data: st.DataObject) -> None:
    message = data.draw(messages(BY_NAME[name]))
    sequence = data.draw(st.sampled_from([0, 1, 0xFFFF, 0x10000, -1, True, 1.0, "1", None, Number(2), 2**80]))
    for pure, fast in pairs:
        assert outcome(fast.encode, message, sequence) == outcome(pure.encode, message, sequence)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_every_odd_value_in_every_field(pairs: list[tuple[Any, Any]], name: str) -> None:
    layout = BY_NAME[name]
    plain = PureEngine(options()).decode(plain_frame(layout)).message
    for changed in spoilt(plain):
        for pure, fast in pairs:
            assert outcome(fast.encode, changed, 1) == outcome(pure.encode, changed, 1)


def plain_frame(layout: Layout) -> bytes:
    """A frame of zeros, with two entries where their number is free."""
    body = bytearray(layout.base_size)
    variable = layout.variable
    if variable is not None:
        body[1 if layout.name == "Counted" else 0] = 2 if variable.count != REMAINING else 0
        body += bytes(2 * layout.stride)
    return samples.frame(layout.frame_type, bytes(body))


def spoilt(message: Any) -> Any:
    """The message with one field changed at a time, those of parts and entries too."""
    for name in message.__struct_fields__:
        given = getattr(message, name)
        for odd in ODD:
            yield msgspec.structs.replace(message, **{name: odd})
        if isinstance(given, msgspec.Struct) and not isinstance(given, RawTime):
            for changed in spoilt(given):
                yield msgspec.structs.replace(message, **{name: changed})
        if isinstance(given, tuple) and given:
            for changed in spoilt(given[-1]):
                yield msgspec.structs.replace(message, **{name: (*given[:-1], changed)})
            yield msgspec.structs.replace(message, **{name: list(given)})
            yield msgspec.structs.replace(message, **{name: given + given})
            yield msgspec.structs.replace(message, **{name: given * 90})
            yield msgspec.structs.replace(message, **{name: Several(given)})


@given(
    raw=st.integers(0, 2**16 - 1),
    noise=st.one_of(st.floats(-2e-6, 2e-6), st.floats(-1, 1), st.just(0.0)),
    place=st.sampled_from(
        ["tenths", "thousandths", "wide", "current", "celsius", "number", "tripled", "sevenths"]
    ),
)
def test_floats_near_a_step(pairs: list[tuple[Any, Any]], raw: int, noise: float, place: str) -> None:
    """Accepted or refused, the decision about float noise is the same."""
    field = next(f for f in samples.NUMBERS.fields if f.name == place)
    value = ((raw + noise) * field.scale + field.offset) / field.divisor
    message = PureEngine(options()).decode(plain_frame(samples.NUMBERS)).message
    for given_value in (value, math.nextafter(value, math.inf), float(raw), raw):
        changed = msgspec.structs.replace(message, **{place: given_value})
        for pure, fast in pairs:
            assert outcome(fast.encode, changed) == outcome(pure.encode, changed)


def test_frames(pairs: list[tuple[Any, Any]]) -> None:
    message = samples.OPEN.message(id="01", results=())

    class Special(Frame, frozen=True, kw_only=True, gc=False):
        pass

    good_frame = Frame(message=message, sequence=7)
    changes: list[dict[str, Any]] = [
        {}, {"sequence": 65536}, {"sequence": "1"}, {"sequence": True}, {"sequence": 2**80}, {"encryption": 1},
        {"encryption": False}, {"encryption": 256}, {"encryption": None}, {"trailing": b"tail"},
        {"trailing": bytearray(b"tail")}, {"trailing": Data(b"tail")}, {"trailing": bytes(244)},
        {"trailing": bytes(245)}, {"trailing": None}, {"message": good_frame}, {"message": None},
        {"message": 3}, {"message": UnknownMessage(frame_type=9, body=b"abc")},
        {"message": UnknownMessage(frame_type=900, body=b"abc")},
        {"message": UnknownMessage(frame_type=9, body="abc")},  # type: ignore[arg-type]
        {"message": EncryptedMessage(frame_type=9, body=b"abc"), "encryption": 1}, {"checksum": "wrong"},
        {"trailing": bytes(300), "sequence": -1},
    ]  # fmt: skip
    assert len(pairs[0][1].encode(good_frame)) == 15
    for change in changes:
        changed = msgspec.structs.replace(good_frame, **change)
        special = Special(**{name: getattr(changed, name) for name in changed.__struct_fields__})
        for pure, fast in pairs:
            assert outcome(fast.encode, changed) == outcome(pure.encode, changed)
            assert outcome(fast.encode, special) == outcome(pure.encode, special)
            assert outcome(fast.encode, changed.message, 3) == outcome(pure.encode, changed.message, 3)


def test_classes_out_of_the_common(compiled: Any) -> None:
    layout = samples.COUNTED
    asked = options(layout)
    pure, fast = PureEngine(asked), compiled.Engine(asked)
    message = pure.decode(plain_frame(layout)).message

    class Message(layout.message, frozen=True, kw_only=True, gc=False):  # type: ignore[name-defined, misc]
        pass

    class Entry(type(message.cards[0]), frozen=True, kw_only=True, gc=False):  # type: ignore[misc]
        pass

    values = {name: getattr(message, name) for name in message.__struct_fields__}
    entry = {name: getattr(message.cards[0], name) for name in message.cards[0].__struct_fields__}
    for odd in (
        Message(**values),
        msgspec.structs.replace(message, cards=(Entry(**entry), message.cards[0])),
        msgspec.structs.replace(message, cards=(message.cards[0], message)),
        msgspec.structs.replace(message, cards=(message.cards[0], None)),
        samples.OPEN.message(id="01", results=()),
        layout.message,
        "text",
        None,
    ):
        assert outcome(fast.encode, odd) == outcome(pure.encode, odd)


def test_too_long(pairs: list[tuple[Any, Any]]) -> None:
    entry = samples.OPEN.fields[1].type
    assert entry is not None
    for count in (60, 61, 62, 300):
        message = samples.OPEN.message(id="01", results=(entry(code="1", level=1, state=0),) * count)
        for pure, fast in pairs:
            assert outcome(fast.encode, message) == outcome(pure.encode, message)
    assert len(pairs[0][1].encode(samples.TEXT_COUNTED.message(url="x" * 249, end=1))) == 259
    for length in (0, 100, 248, 249, 250, 255, 256):
        text = samples.TEXT_COUNTED.message(url="x" * length, end=1)
        for pure, fast in pairs:
            assert outcome(fast.encode, text) == outcome(pure.encode, text)
