"""One frame to one object and back, against a bare interpreted construct.

Ours is a whole frame: checksum, message, strings, physical values, aware
datetimes, enumerations. Theirs is the body alone, as integers and bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.peers import CONSTRUCTS, FRAMES
from evproto import ykc

TYPES = [pytest.param(code, id=f"0x{code:02X}") for code in FRAMES]
Measure = Callable[..., None]


@pytest.fixture(scope="module")
def codec() -> ykc.Codec:
    return ykc.Codec("1.6", trailing="error", unknown="error")


def test_the_same_is_measured(codec: ykc.Codec) -> None:
    for code, data in FRAMES.items():
        frame = codec.decode(data)
        assert frame.frame_type == code
        assert codec.encode(frame) == data
        theirs = CONSTRUCTS[code].parse(data[6:-2])
        assert list(theirs)[1:] == list(type(frame.message).__struct_fields__)
        assert CONSTRUCTS[code].build(theirs) == data[6:-2]


@pytest.mark.parametrize("code", TYPES)
def test_decode(measure: Measure, compiled: Any, codec: ykc.Codec, code: int) -> None:
    measure(f"decode 0x{code:02X}", "evproto", codec.decode, FRAMES[code])


@pytest.mark.parametrize("code", TYPES)
def test_decode_construct(measure: Measure, code: int) -> None:
    measure(f"decode 0x{code:02X}", "construct", CONSTRUCTS[code].parse, FRAMES[code][6:-2])


@pytest.mark.parametrize("code", TYPES)
def test_encode(measure: Measure, compiled: Any, codec: ykc.Codec, code: int) -> None:
    measure(f"encode 0x{code:02X}", "evproto", codec.encode, codec.decode(FRAMES[code]))


@pytest.mark.parametrize("code", TYPES)
def test_encode_construct(measure: Measure, code: int) -> None:
    parsed = CONSTRUCTS[code].parse(FRAMES[code][6:-2])
    values = {name: value for name, value in parsed.items() if name != "_io"}
    measure(f"encode 0x{code:02X}", "construct", CONSTRUCTS[code].build, values)
