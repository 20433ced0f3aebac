"""Splitting and decoding a stream of mixed frames, against the pure engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.peers import FRAMES
from evproto import ykc
from evproto.wire.framing import PureSplitter
from evproto.wire.pure import PureEngine

CHUNK = 4096
Measure = Callable[..., None]


def mixed(size: int) -> bytes:
    """Frames of the three types, and now and then a stretch of noise."""
    block = b"".join((FRAMES[0x03], FRAMES[0x13], FRAMES[0x13], FRAMES[0x3B])) * 20 + b"noise\x68\x20"
    return block * (size // len(block) + 1)


def run(make_splitter: Callable[[str], Any], unpack: Callable[[Any], Any], stream: bytes) -> int:
    splitter = make_splitter("strict")
    frames = 0
    for at in range(0, len(stream), CHUNK):
        for piece in splitter.feed(stream[at : at + CHUNK]):
            if isinstance(piece, ykc.Piece):
                unpack(piece)
                frames += 1
    return frames


@pytest.mark.parametrize("who", ["evproto", "pure"])
def test_one_megabyte(measure: Measure, compiled: Any, who: str) -> None:
    # The pure engine gets a tenth, or a run would take a minute; both are
    # compared by the time per byte.
    options = ykc.Codec("1.6")._options
    if who == "evproto":
        engine, splitter, stream = compiled.Engine(options), compiled.Splitter, mixed(1_000_000)
    else:
        engine, splitter, stream = PureEngine(options), PureSplitter, mixed(100_000)
    assert run(splitter, engine.unpack, stream) > len(stream) / 90
    measure("1 MB of mixed frames", who, run, splitter, engine.unpack, stream, calls=len(stream) / 1_000_000)
