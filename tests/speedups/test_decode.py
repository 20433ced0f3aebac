"""Decoding: the compiled engine against the pure one, on bytes of every sort."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.messages import BEIJING, FlaggedZone, OpenIntEnum
from evproto.wire.framing import Piece
from evproto.wire.pure import PureEngine
from evproto.wire.table import Layout
from speedups import samples
from speedups.samples import LAYOUTS, UNCOMMON, Color, frame, options, outcome, spelled

BY_NAME = {layout.name: layout for layout in (*LAYOUTS, *UNCOMMON)}
ZONES = {
    "Beijing": BEIJING,
    "a region": zoneinfo.ZoneInfo("Europe/Berlin"),
    "flagged itself": FlaggedZone(dt.UTC, 5),
}
SWITCHES = [
    {},
    {"keep_trailing": False},
    {"keep_unknown": False, "checksum": "either"},
    {"checksum": "ignore"},
    {"tz": ZONES["a region"]},
    {"tz": ZONES["flagged itself"]},
]


@pytest.fixture(scope="module")
def pairs(compiled: Any) -> list[tuple[Any, Any]]:
    return [(PureEngine(options(**more)), compiled.Engine(options(**more))) for more in SWITCHES]


def bodies(layout: Layout) -> st.SearchStrategy[bytes]:
    size = layout.base_size
    fitting = st.integers(0, 6).flatmap(
        lambda n: st.binary(min_size=size + n * layout.stride, max_size=size + n * layout.stride)
    )
    # Small bytes make plausible counts, months and padded text.
    small = st.lists(st.integers(0, 12), min_size=size, max_size=size + 60).map(bytes)
    return st.one_of(fitting, small, st.binary(max_size=251), st.binary(min_size=size, max_size=size + 3))


@pytest.mark.parametrize("name", list(BY_NAME))
@given(data=st.data())
def test_any_body(pairs: list[tuple[Any, Any]], name: str, data: st.DataObject) -> None:
    layout = BY_NAME[name]
    body = data.draw(bodies(layout))[:251]
    whole = frame(layout.frame_type, body, sequence=data.draw(st.integers(0, 0xFFFF)))
    for pure, fast in pairs:
        expected = outcome(pure.decode, whole)
        assert outcome(fast.decode, whole) == expected
        piece = Piece(17, whole, "swapped")
        assert outcome(fast.unpack, piece) == outcome(pure.unpack, piece)
        if expected[0] == "value":
            decoded = fast.decode(whole)
            assert outcome(fast.encode, decoded) == outcome(pure.encode, decoded)


@given(
    data=st.binary(max_size=300), flip=st.integers(0, 20), code=st.integers(0, 255), flag=st.integers(0, 3)
)
def test_any_envelope(pairs: list[tuple[Any, Any]], data: bytes, flip: int, code: int, flag: int) -> None:
    whole = frame(code, data[:251], encryption=flag)
    spoilt = bytearray(whole)
    spoilt[flip % len(whole)] ^= 1 + flip
    swapped = whole[:-2] + whole[-1:] + whole[-2:-1]
    for attempt in (
        whole,
        bytes(spoilt),
        swapped,
        whole + b"\0",
        whole[:-1],
        whole[:flip],
        data,
        b"h" + data,
    ):
        for pure, fast in pairs:
            assert outcome(fast.decode, attempt) == outcome(pure.decode, attempt)


def test_every_time_of_day_and_date(pairs: list[tuple[Any, Any]]) -> None:
    # Every value of each byte, the others being plausible: limits and leap years.
    start = bytes.fromhex("B80B1E0A1C021A")
    for place in range(7):
        for byte in range(256):
            for other in (start, bytes.fromhex("60EA00001D0264"), bytes.fromhex("5FEA3B171D0200")):
                raw = bytearray(other)
                raw[place] = byte
                whole = frame(samples.TIMES.frame_type, bytes(raw) * 2 + bytes(raw)[::-1])
                for pure, fast in pairs:
                    assert spelled(fast.decode(whole)) == spelled(pure.decode(whole))


def test_every_code(pairs: list[tuple[Any, Any]]) -> None:
    for code in (*range(300), 39999, 40000, 65535):
        place = code.to_bytes(2, "little")
        whole = frame(samples.CODES.frame_type, place[:1] + place + place[::-1] + place[:1])
        for pure, fast in pairs:
            first, second = fast.decode(whole).message, pure.decode(whole).message
            # One object per code, whichever engine met it first.
            assert first.color is second.color
            assert first.place is second.place
            assert first.turned is second.turned


def test_divisions_round_once(compiled: Any) -> None:
    """Integers beyond 2**53 are divided by Python, which rounds once."""
    fast = compiled.Engine(options(samples.NUMBERS))
    at = sum(range(1, 10)) + 2 + 5
    for raw in (2**53 - 1, 2**53, 2**53 + 1, 2**60 + 12345, 2**63 + 1, 2**64 - 1, 123456789012345678):
        body = bytearray(samples.NUMBERS.base_size)
        body[at : at + 8] = raw.to_bytes(8, "little")
        assert fast.decode(frame(samples.NUMBERS.frame_type, bytes(body))).message.wide == raw / 10000


def test_kinds_of_input(pairs: list[tuple[Any, Any]]) -> None:
    whole = frame(samples.OPEN.frame_type, bytes(11))

    class Bytes(bytes):
        pass

    released = memoryview(whole)
    released.release()
    strided = memoryview(bytes(2 * len(whole)))[::2]
    for pure, fast in pairs:
        for odd in (
            bytearray(whole),
            memoryview(whole),
            strided,
            Bytes(whole),
            Bytes(whole[:-1]),
            bytearray(whole[:-1]),
            "text",
            None,
            3,
            [1, 2],
            released,
        ):
            assert outcome(fast.decode, odd) == outcome(pure.decode, odd)
        for piece in (
            Piece(0, Bytes(whole), "ok"),
            Piece(0, whole, "wrong"),
            Piece(0, frame(samples.OPEN.frame_type, bytes(7))[:8] + bytes(4000), "ok"),
        ):
            assert outcome(fast.unpack, piece) == outcome(pure.unpack, piece)


class Cipher:
    def __init__(self, result: Any) -> None:
        self.result = result

    def decrypt(self, body: bytes) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result if self.result is not None else bytes(byte ^ 0x5A for byte in body)

    encrypt = decrypt


@pytest.mark.parametrize("result", [None, b"", "text", ValueError("no key")], ids=repr)
def test_ciphers(compiled: Any, result: Any) -> None:
    asked = options(cipher=Cipher(result))
    pure, fast = PureEngine(asked), compiled.Engine(asked)
    for flag in (0, 1, 2):
        whole = frame(samples.OPEN.frame_type, bytes(11), encryption=flag)
        assert outcome(fast.decode, whole) == outcome(pure.decode, whole)
    message = samples.COUNTED_WIDE.message(cards=())
    assert outcome(fast.encode, message) == outcome(pure.encode, message)


def test_flagged_zones_are_shared_and_right(compiled: Any) -> None:
    fast = compiled.Engine(options())
    for raw in ("B80B1E0A3C021A", "B80B9E8A3CF29A"):
        whole = frame(samples.TIMES.frame_type, bytes.fromhex(raw) * 3)
        one, two = fast.decode(whole).message, fast.decode(whole).message
        assert one.start.tzinfo is two.start.tzinfo
        assert isinstance(one.start.tzinfo, FlaggedZone)
        assert one.start.tzinfo.base is BEIJING


def test_an_enumeration_of_another_make(compiled: Any) -> None:
    """Its members are not cached, its numbers not read past it."""

    class Own(OpenIntEnum):
        ONE = 1

        def __int__(self) -> int:
            return 7

    odd = samples.layout("OwnEnum", samples.uint("code", 1, enum=Own))
    LAYOUTS.remove(odd)
    pure, fast = PureEngine(options(odd)), compiled.Engine(options(odd))
    whole = frame(odd.frame_type, b"\x01")
    assert outcome(fast.decode, whole) == outcome(pure.decode, whole)
    assert outcome(fast.encode, fast.decode(whole)) == outcome(pure.encode, pure.decode(whole))


def test_more_layouts_than_are_remembered(compiled: Any) -> None:
    """Dialects come and go: plans are forgotten, engines that use them go on."""
    first = samples.layout("First", samples.uint("color", 1, enum=Color))
    LAYOUTS.remove(first)
    fast = compiled.Engine(options(first))
    whole = frame(first.frame_type, b"\x09")
    before = fast.decode(whole)
    for index in range(1100):
        one = samples.layout(f"Passing{index}", samples.uint("color", 1, enum=Color), code=9)
        LAYOUTS.remove(one)
        assert compiled.Engine(options(one)).decode(frame(9, b"\x01")).message.color is Color.GREEN
    assert fast.decode(whole) == before
