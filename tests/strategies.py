"""What hypothesis draws: byte streams and, from the layouts, messages.

Everything about messages is read off ``Layout.fields``, so a new frame is
covered as soon as its spec is there.
"""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from reference.bodies import wrap

from evproto.messages import BEIJING, FlaggedZone, RawTime
from evproto.wire.table import REMAINING, Field, Kind, Layout

__all__ = ["chunkings", "damaged", "messages", "odd_values", "streams", "values", "whole_frames"]

LONGEST_BODY = 251


# --- bytes -------------------------------------------------------------------


def whole_frames() -> st.SearchStrategy[bytes]:
    """Frames with any type and body, their checksum right."""
    return st.builds(
        wrap,
        st.integers(0, 255),
        st.binary(max_size=60),
        st.binary(min_size=2, max_size=2),
        st.sampled_from((0, 0, 0, 1, 255)),
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A frame that something has happened to."""
    data = bytearray(draw(whole_frames()))
    how = draw(st.sampled_from(("flip", "cut", "swap", "insert", "nest")))
    if how == "cut":
        return bytes(data[: draw(st.integers(1, len(data) - 1))])
    if how == "swap":
        return bytes(data[:-2] + data[-1:] + data[-2:-1])
    if how == "nest":
        inner = draw(whole_frames())
        outer = bytearray(wrap(3, inner[:245] + draw(st.binary(max_size=5))))
        outer[-1] ^= draw(st.sampled_from((0, 1)))
        return bytes(outer)
    at = draw(st.integers(0, len(data) - 1))
    if how == "insert":
        return bytes(data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:])
    data[at] ^= draw(st.integers(1, 255))
    return bytes(data)


def streams() -> st.SearchStrategy[bytes]:
    """Frames, damaged frames and garbage one after the other."""
    garbage = st.binary(max_size=20)
    # Bytes that look like the beginning of frames.
    tempting = st.lists(st.sampled_from((0x68, 0x04, 0x05, 0x09, 0xFF, 0x00)), max_size=20).map(bytes)
    piece = st.one_of(whole_frames(), damaged(), garbage, tempting)
    return st.lists(piece, max_size=8).map(b"".join)


@st.composite
def chunkings(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream cut at arbitrary places; empty chunks occur."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    return [stream[start:stop] for start, stop in itertools.pairwise(edges)]


# --- messages ----------------------------------------------------------------

_MILLISECOND = dt.timedelta(milliseconds=1)
_FIRST = dt.datetime(2000, 1, 1, tzinfo=BEIJING)
_LAST = dt.datetime(2127, 12, 31, 23, 59, 59, 999000, tzinfo=BEIJING)
_IMPOSSIBLE = ("00000000000000", "FFFFFFFFFFFFFF", "60EA0000010118", "000000001D0219")


@st.composite
def times(draw: st.DrawFn) -> dt.datetime | RawTime:
    """What a time field decodes to: plain, flagged, or none at all."""
    how = draw(st.sampled_from(("plain", "plain", "flagged", "raw")))
    if how == "raw":
        return RawTime(bytes.fromhex(draw(st.sampled_from(_IMPOSSIBLE))))
    moment = _FIRST + draw(st.integers(0, (_LAST - _FIRST) // _MILLISECOND)) * _MILLISECOND
    if how == "flagged":
        moment = moment.replace(tzinfo=FlaggedZone(BEIJING, draw(st.integers(1, (1 << 13) - 1))))
    return moment


def _numbers(field: Field, bits: int) -> st.SearchStrategy[Any]:
    raws = st.integers(0, (1 << bits) - 1)
    if field.enum is not None:
        return st.one_of(st.sampled_from(list(field.enum)), raws.map(field.enum))
    if field.divisor == 1:
        return raws.map(lambda raw: raw * field.scale + field.offset)
    return raws.map(lambda raw: (raw * field.scale + field.offset) / field.divisor)


def _latin(size: int) -> st.SearchStrategy[str]:
    return st.binary(max_size=size).map(lambda data: data.decode("latin-1"))


def values(field: Field, count: int = 0) -> st.SearchStrategy[Any]:
    """Values as decoding gives them; ``count`` entries or characters where that varies."""
    kind = field.kind
    if kind is Kind.UINT:
        return _numbers(field, 8 * field.size)
    if kind is Kind.BCD:
        return st.binary(min_size=field.size, max_size=field.size).map(lambda data: data.hex().upper())
    if kind is Kind.ASCII and isinstance(field.count, str):
        return st.binary(min_size=count, max_size=count).map(lambda data: data.decode("latin-1"))
    if kind is Kind.ASCII:
        return _latin(field.size).map(lambda text: text.rstrip("\0"))
    if kind is Kind.BYTES:
        return st.binary(min_size=field.size, max_size=field.size)
    if kind is Kind.TIME:
        return times()
    assert field.type is not None
    if kind is Kind.BITS:
        return st.builds(field.type, **{part.name: _numbers(part, part.size) for part in field.fields})
    entries = field.count if isinstance(field.count, int) else count
    entry = st.builds(field.type, **{inner.name: values(inner) for inner in field.fields})
    return st.lists(entry, min_size=entries, max_size=entries).map(tuple)


def counts(layout: Layout, siblings: tuple[Layout, ...]) -> list[int]:
    """How many entries (or characters) a message of this layout may have to be decoded as it again."""
    if layout.variable is None:
        return [0]
    before = siblings[: siblings.index(layout)]
    return [
        count
        for count in range((LONGEST_BODY - layout.base_size) // layout.stride + 1)
        if not any(other.fits(layout.base_size + count * layout.stride) for other in before)
    ]


@st.composite
def arguments(draw: st.DrawFn, layout: Layout, siblings: tuple[Layout, ...]) -> dict[str, Any]:
    """Keyword arguments of a message class, the count given or left out."""
    possible = counts(layout, siblings)
    count = draw(st.sampled_from(possible[:6] + possible[-2:]))
    given = {field.name: draw(values(field, count)) for field in layout.fields}
    variable = layout.variable
    if variable is not None and variable.count != REMAINING:
        assert isinstance(variable.count, str)
        if draw(st.booleans()):
            given[variable.count] = count
        else:
            del given[variable.count]
    return given


@st.composite
def messages(draw: st.DrawFn, layout: Layout, siblings: tuple[Layout, ...]) -> Any:
    """A message as decoding gives it."""
    return layout.message(**draw(arguments(layout, siblings)))


# --- what does not belong on the wire ----------------------------------------


class OddInt(int):
    """An int of its own kind."""


class OddFloat(float):
    """A float of its own kind, as ``numpy.float64`` is one."""


class OddText(str):
    """A str of its own kind."""


class OddBytes(bytes):
    """Bytes of their own kind."""


class OddTime(dt.datetime):
    """A datetime of its own kind, as pendulum and pandas have."""


class OnlyFloat:
    """A number that only knows its float, as ``numpy.float32`` does."""

    def __float__(self) -> float:
        return 1.0


class OnlyIndex:
    """A number that only knows its index, as ``numpy.int64`` does."""

    def __index__(self) -> int:
        return 3


class Failing:
    """Something whose methods all fail."""

    def __index__(self) -> int:
        raise ZeroDivisionError("no index")

    def __float__(self) -> float:
        raise ZeroDivisionError("no float")

    def __len__(self) -> int:
        raise ZeroDivisionError("no length")


def bent_zone(base: Any, flags: Any) -> FlaggedZone:
    """A FlaggedZone such as its constructor would not make."""
    zone = FlaggedZone.__new__(FlaggedZone)
    object.__setattr__(zone, "base", base)
    object.__setattr__(zone, "flags", flags)
    return zone


_ZONES: tuple[dt.tzinfo | None, ...] = (
    None,
    BEIJING,
    dt.UTC,
    dt.timezone(dt.timedelta(hours=-11, minutes=-30)),
    dt.timezone(dt.timedelta(seconds=3601)),
    zoneinfo.ZoneInfo("America/New_York"),
    FlaggedZone(BEIJING, 0),
    FlaggedZone(BEIJING, 5),
    FlaggedZone(dt.UTC, 0x1FFF),
    bent_zone(BEIJING, 1 << 13),
    bent_zone(BEIJING, -1),
    FlaggedZone(FlaggedZone(BEIJING, 3), 4),
)

_ANYTHING: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    255,
    256,
    1 << 40,
    -(1 << 70),
    10**300,
    0.0,
    -0.0,
    0.1,
    1e-9,
    1e300,
    -1e300,
    float("nan"),
    float("inf"),
    float("-inf"),
    OddInt(1),
    OddFloat(0.5),
    OddFloat("nan"),
    OddText("12"),
    OddBytes(b"\x01"),
    Decimal("0.1"),
    Decimal("-0"),
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("-Infinity"),
    Decimal("1E+20"),
    Decimal("1E+400"),
    Decimal("1E-40"),
    Fraction(1, 10),
    Fraction(1, 3),
    Fraction(-7, 1),
    1j,
    OnlyFloat(),
    OnlyIndex(),
    Failing(),
    "",
    "0",
    "12345678901234567890123456789012",
    "0x12",
    "１２",  # full-width digits
    "²³",
    " 1",
    "云快充",
    "é" * 300,
    "\0\0",
    "a\0",
    "\ud800",
    b"",
    b"\x01",
    bytes(8),
    bytes(300),
    bytearray(8),
    memoryview(bytes(8)),
    memoryview(bytes(16))[::2],
    [],
    (),
    {},
    [1],
    (None,),
    ("a", "b"),
    range(3),
    iter(()),
    object,
    dt.date(2024, 1, 1),
    dt.time(12),
    RawTime(b""),
    RawTime(bytes(8)),
    RawTime(bytes(7)),
    RawTime("0000000"),  # type: ignore[arg-type]
    RawTime(OddBytes(7)),
    RawTime(bytearray(7)),  # type: ignore[arg-type]
    OddTime(2024, 2, 29, 12, tzinfo=BEIJING),
    dt.datetime.min,
    dt.datetime.max.replace(tzinfo=dt.UTC),
    dt.datetime.min.replace(tzinfo=BEIJING),
    dt.datetime(1999, 12, 31, 23, 59, tzinfo=dt.UTC),
    dt.datetime(1999, 12, 31, 15, 59, tzinfo=dt.UTC),
    dt.datetime(2128, 1, 1, tzinfo=BEIJING),
    dt.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=BEIJING),
)


def anything() -> st.SearchStrategy[Any]:
    """What people pass by mistake, and what a foreign library may pass."""
    moments = st.builds(
        lambda moment, zone: moment.replace(tzinfo=zone),
        st.datetimes(dt.datetime(1999, 12, 30), dt.datetime(2128, 1, 2)),
        st.sampled_from(_ZONES),
    )
    return st.one_of(st.sampled_from(_ANYTHING), moments)


def _near_steps(field: Field, bits: int) -> st.SearchStrategy[Any]:
    """Numbers on, near and between the steps of the wire, in several types."""
    raws = st.one_of(st.integers(-2, (1 << bits) + 2), st.sampled_from((-1, 0, (1 << bits) - 1, 1 << bits)))
    noise = st.sampled_from((0.0, 1e-12, 4e-7, 9e-7, 1e-6, 1.1e-6, 1e-3, 0.4, 0.5, 0.6, -9e-7, -1.1e-6, -0.5))

    def number(raw: int, off: float, how: str) -> Any:
        exact = Fraction((raw + Fraction(off)) * field.scale + field.offset) / field.divisor
        if how == "float":
            return float(exact)
        if how == "odd float":
            return OddFloat(float(exact))
        if how == "decimal":
            return Decimal(exact.numerator) / Decimal(exact.denominator)
        if how == "int":
            return int(exact)
        return exact

    kinds = st.sampled_from(("float", "float", "odd float", "decimal", "fraction", "int"))
    return st.builds(number, raws, noise, kinds)


def odd_values(field: Field) -> st.SearchStrategy[Any]:
    """Values for one field, mostly such as the wire cannot carry."""
    kind = field.kind
    if kind is Kind.UINT:
        return st.one_of(_near_steps(field, 8 * field.size), anything())
    if kind is Kind.BCD:
        digits = st.text(st.sampled_from("0123456789abcdefABCDEFg -x٣"), max_size=2 * field.size + 2)
        return st.one_of(digits, digits.map(OddText), anything())
    if kind is Kind.ASCII:
        text = st.text(st.characters(max_codepoint=0x120), max_size=(field.size or 40) + 3)
        return st.one_of(text, text.map(OddText), anything())
    if kind is Kind.BYTES:
        data = st.binary(max_size=field.size + 2)
        kinds = (bytes, bytearray, memoryview, OddBytes)
        return st.one_of(st.builds(lambda kind, data: kind(data), st.sampled_from(kinds), data), anything())
    if kind is Kind.TIME:
        return anything()
    assert field.type is not None
    kind_of = field.type

    @st.composite
    def one_wrong(draw: st.DrawFn) -> Any:
        right = {inner.name: draw(_inner(field, inner)) for inner in field.fields}
        wrong = draw(st.sampled_from(field.fields))
        odd = _near_steps(wrong, wrong.size) if kind is Kind.BITS else odd_values(wrong)
        right[wrong.name] = draw(st.one_of(odd, anything()))
        return kind_of(**right)

    if kind is Kind.BITS:
        return st.one_of(one_wrong(), anything())
    entries = st.lists(
        st.one_of(
            one_wrong(),
            st.builds(kind_of, **{inner.name: values(inner) for inner in field.fields}),
            anything(),
        ),
        max_size=4,
    )
    fixed = field.count if isinstance(field.count, int) else 1
    repeated = one_wrong().map(lambda entry: (entry,) * fixed)
    return st.one_of(entries, entries.map(tuple), repeated, repeated.map(list), anything())


def _inner(field: Field, inner: Field) -> st.SearchStrategy[Any]:
    return _numbers(inner, inner.size) if field.kind is Kind.BITS else values(inner)
