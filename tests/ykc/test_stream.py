"""Streams: the same items for every chunking, nothing lost, nothing hoarded."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.bodies import wrap
from reference.cutting import Item, cut
from strategies import chunkings, streams

from evproto import errors
from evproto.messages import UnknownMessage
from evproto.ykc import Frame, Piece

KINDS = {
    errors.ChecksumError: "checksum",
    errors.TruncatedFrameError: "truncated",
    errors.SkippedBytesError: "skipped",
}
POLICIES = ("strict", "either", "ignore")
HEARTBEAT = bytes.fromhex("680D00010003320102000000010100F11A")
LOGIN = bytes.fromhex("680C000000025503141278230500DA4C")
# 259 bytes, the most a splitter has to keep, and one of look-ahead.
MOST_PENDING = 260


def as_item(piece: Any) -> Item:
    if isinstance(piece, Piece):
        return Item(piece.checksum, piece.position, piece.data)
    return Item(KINDS[type(piece)], piece.position, piece.data)


def cut_by(codec: Any, chunks: list[bytes]) -> list[Any]:
    splitter = codec.split()
    out: list[Any] = []
    for chunk in chunks:
        out += splitter.feed(chunk)
        assert splitter.pending <= MOST_PENDING
    out += splitter.finish()
    assert splitter.pending == 0
    assert splitter.position == sum(map(len, chunks))
    return out


def check_account(stream: bytes, items: list[Item]) -> None:
    """Every byte of the stream is in the items, and none twice without reason."""
    owner: list[set[str]] = [set() for _ in stream]
    for item in items:
        assert item.data == stream[item.position : item.position + len(item.data)]
        assert item.data
        kind = "frame" if item.kind in ("ok", "swapped", "wrong") else item.kind
        for at in range(item.position, item.position + len(item.data)):
            # A frame may lie inside a damaged one that was reported already;
            # apart from that, one item speaks for a byte.
            assert kind not in owner[at], (kind, at)
            owner[at].add("bad" if kind in ("checksum", "truncated") else kind)
    for at, kinds in enumerate(owner):
        assert kinds in ({"frame"}, {"bad"}, {"skipped"}, {"bad", "frame"}), (at, kinds)
    assert [item.position for item in items] == sorted(item.position for item in items)


@pytest.mark.parametrize("policy", POLICIES)
@given(stream=streams(), data=st.data())
def test_any_chunking(engine: str, make_codec: Any, policy: str, stream: bytes, data: st.DataObject) -> None:
    codec = make_codec("1.6", checksum=policy)
    expected = cut(stream, policy)
    check_account(stream, expected)
    for chunks in (
        [stream],
        [stream[at : at + 1] for at in range(len(stream))],
        data.draw(chunkings(stream)),
    ):
        assert [as_item(piece) for piece in cut_by(codec, chunks)] == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_many_random_streams(make_codecs: Any, policy: str) -> None:
    pure, compiled = make_codecs("1.6", checksum=policy)
    rng = random.Random(policy)
    for _ in range(400):
        stream = b"".join(
            rng.choice(
                (
                    lambda: wrap(rng.randrange(256), rng.randbytes(rng.randrange(30))),
                    lambda: rng.randbytes(rng.randrange(20)),
                    lambda: bytes(
                        rng.choices((0x68, 0x04, 0x05, 0x08, 0x0C, 0xFF, 0x00), k=rng.randrange(30))
                    ),
                    lambda: wrap(2, wrap(3, rng.randbytes(3)) + b"\x68\x04" + rng.randbytes(4))[
                        : rng.randrange(40)
                    ],
                )
            )()
            for _ in range(rng.randrange(1, 9))
        )
        expected = cut(stream, policy)
        pieces = [stream[at : at + 7] for at in range(0, len(stream), 7)]
        for codec in (pure, compiled):
            assert [as_item(piece) for piece in cut_by(codec, pieces)] == expected
            assert [as_item(piece) for piece in cut_by(codec, [stream])] == expected
        texts = [
            [(type(piece), str(piece), getattr(piece, "__dict__", None)) for piece in cut_by(codec, pieces)]
            for codec in (pure, compiled)
        ]
        assert texts[0] == texts[1]


@given(stream=streams(), data=st.data())
def test_stream_decoder_is_splitter_and_codec(make_codec: Any, stream: bytes, data: st.DataObject) -> None:
    codec = make_codec("1.6", unknown="error", trailing="error")
    pieces = cut_by(codec, [stream])
    decoder = codec.stream()
    items: list[Any] = []
    for chunk in data.draw(chunkings(stream)):
        items += decoder.feed(chunk)
        assert decoder.pending <= MOST_PENDING
    items += decoder.finish()
    assert (decoder.pending, decoder.position) == (0, len(stream))
    assert len(items) == len(pieces)
    for item, piece in zip(items, pieces, strict=True):
        if isinstance(piece, errors.DecodeError):
            assert (type(item), str(item), vars(item)) == (type(piece), str(piece), vars(piece))
        elif isinstance(item, errors.DecodeError):
            with pytest.raises(type(item)) as caught:
                codec.decode(piece.data)
            assert str(caught.value) == str(item)
            assert item.position == piece.position
            assert {**vars(caught.value), "position": piece.position} == vars(item)
            assert item.data == piece.data
        else:
            assert repr(item) == repr(codec.decode(piece.data))
            assert codec.encode(item) == piece.data


def test_garbage_between_frames(make_codec: Any) -> None:
    garbage = bytes(range(0x20, 0x60))
    items = make_codec("1.6").stream().feed(garbage + HEARTBEAT + garbage + LOGIN)
    assert [type(item) for item in items] == [
        errors.SkippedBytesError,
        Frame,
        errors.SkippedBytesError,
        Frame,
    ]
    assert [(item.position, item.data) for item in (items[0], items[2])] == [
        (0, garbage),
        (len(garbage) + len(HEARTBEAT), garbage),
    ]
    assert [items[1].frame_type, items[3].frame_type] == [0x03, 0x02]


@pytest.mark.parametrize("at", range(2, len(HEARTBEAT)))
def test_a_corrupted_frame_loses_only_itself(make_codec: Any, at: int) -> None:
    codec = make_codec("1.6")
    for flip in (0x01, 0x80, 0xFF, HEARTBEAT[at] ^ 0x68 or 0x10):
        bad = bytearray(HEARTBEAT)
        bad[at] ^= flip
        decoder = codec.stream()
        items = decoder.feed(LOGIN + bytes(bad) + HEARTBEAT + LOGIN + LOGIN)
        frames = [item for item in items if isinstance(item, Frame)]
        assert frames == [codec.decode(frame) for frame in (LOGIN, HEARTBEAT, LOGIN, LOGIN)]
        (error,) = [item for item in items if not isinstance(item, Frame)]
        assert isinstance(error, errors.ChecksumError)
        assert (error.data, error.position) == (bytes(bad), len(LOGIN))
        assert decoder.finish() == []


@pytest.mark.parametrize("value", [value for value in range(256) if value != HEARTBEAT[1]])
def test_a_wrong_length_byte_is_overcome(make_codec: Any, value: int) -> None:
    codec = make_codec("1.6")
    bad = bytes([0x68, value]) + HEARTBEAT[2:]
    stream = LOGIN + bad + (HEARTBEAT + LOGIN) * 10
    items = codec.stream().feed(stream)
    frames = [item for item in items if isinstance(item, Frame)]
    # What the wrong length swallows is found again inside the bad candidate.
    assert frames == [codec.decode(LOGIN)] + [codec.decode(HEARTBEAT), codec.decode(LOGIN)] * 10
    lost = b"".join(item.data for item in items if isinstance(item, errors.SkippedBytesError))
    bad_ones = [item for item in items if isinstance(item, errors.ChecksumError)]
    if value < 4:
        assert (lost, bad_ones) == (bad, [])
    else:
        assert [item.position for item in bad_ones] == [len(LOGIN)]


def test_a_body_error_in_a_stream(make_codec: Any) -> None:
    codec = make_codec("1.6", unknown="error")
    short, strange = wrap(0x02, b"\x01"), wrap(0x77, b"\x01")
    items = codec.stream().feed(HEARTBEAT + short + strange + LOGIN)
    assert [type(item) for item in items] == [
        Frame,
        errors.BodyLengthError,
        errors.UnknownFrameTypeError,
        Frame,
    ]
    assert [(item.position, item.data) for item in items[1:3]] == [
        (len(HEARTBEAT), short),
        (len(HEARTBEAT) + len(short), strange),
    ]


@pytest.mark.parametrize("kept", range(1, len(HEARTBEAT)))
def test_truncated_tail(make_codec: Any, kept: int) -> None:
    decoder = make_codec("1.6").stream()
    assert [item.frame_type for item in decoder.feed(LOGIN + HEARTBEAT[:kept])] == [0x02]
    assert (decoder.position, decoder.pending) == (len(LOGIN), kept)
    (error,) = decoder.finish()
    assert isinstance(error, errors.TruncatedFrameError)
    assert (error.position, error.data, error.actual) == (len(LOGIN), HEARTBEAT[:kept], kept)
    assert error.expected == (len(HEARTBEAT) if kept > 1 else 0)
    assert error.frame_type == (0x03 if kept > 5 else None)
    # After finish() it starts afresh.
    assert decoder.finish() == []
    assert [item.frame_type for item in decoder.feed(HEARTBEAT)] == [0x03]


def test_frames_inside_a_frame_that_never_ends(make_codec: Any) -> None:
    decoder = make_codec("1.6").stream()
    assert decoder.feed(b"\x68\xff\x00\x00" + HEARTBEAT + LOGIN) == []
    items = decoder.finish()
    assert [type(item) for item in items] == [errors.TruncatedFrameError, Frame, Frame]
    assert [item.frame_type for item in items[1:]] == [0x03, 0x02]


@pytest.mark.parametrize("tail", [b"\x68\x00", b"\x68\x03\x01", b"\x68\x02\x68"])
def test_a_start_byte_before_an_impossible_length_is_skipped(make_codec: Any, tail: bytes) -> None:
    # Whatever follows, these are no beginning of a frame.
    expected = cut(LOGIN + tail, "strict")
    assert [item.kind for item in expected][1] == "skipped"
    assert [as_item(piece) for piece in cut_by(make_codec("1.6"), [LOGIN, tail])] == expected


@pytest.mark.parametrize("junk", ["text", None, 7, [1, 2], object()])
def test_feeding_what_is_not_bytes(make_codec: Any, junk: Any) -> None:
    decoder = make_codec("1.6").stream()
    assert decoder.feed(HEARTBEAT[:5]) == []
    with pytest.raises(errors.InputTypeError):
        decoder.feed(junk)
    assert [item.frame_type for item in decoder.feed(memoryview(HEARTBEAT)[5:])] == [0x03]
    assert [item.frame_type for item in decoder.feed(bytearray(LOGIN))] == [0x02]


def test_two_streams_of_one_codec_are_apart(make_codec: Any) -> None:
    codec = make_codec("1.6")
    one, other = codec.stream(), codec.stream()
    assert one.feed(HEARTBEAT[:9]) == other.feed(LOGIN[:4]) == []
    assert [item.frame_type for item in one.feed(HEARTBEAT[9:])] == [0x03]
    assert [item.frame_type for item in other.feed(LOGIN[4:])] == [0x02]


GARBAGE: dict[str, Any] = {
    "random": lambda rng, size: rng.randbytes(size),
    "without start bytes": lambda rng, size: rng.randbytes(size).replace(b"\x68", b"\x00"),
    "start bytes only": lambda rng, size: b"\x68" * size,
    "long candidates": lambda rng, size: b"\x68\xff" * (size // 2),
    "short candidates": lambda rng, size: b"\x68\x04" * (size // 2),
}
CHUNK = 1 << 16
MEGABYTE = 1 << 20
# In 16ths of a megabyte. The pure engine gets less of what has a candidate
# every other byte and so costs a checksum of 255 bytes for each of them.
AMOUNT = {
    "compiled": dict.fromkeys(GARBAGE, 800) | {"long candidates": 100, "short candidates": 100},
    "pure": dict.fromkeys(GARBAGE, 800)
    | {"start bytes only": 160, "long candidates": 2, "short candidates": 32},
}


def _resident() -> int:
    """Bytes of memory in use, where the system tells; else blocks of Python."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return sys.getallocatedblocks() * 64
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("kind", GARBAGE)
def test_endless_garbage(engine: str, make_codec: Any, kind: str) -> None:
    chunk = GARBAGE[kind](random.Random(kind), CHUNK)
    decoder = make_codec("1.6").stream()
    position = covered = total = 0
    before = most = 0
    for number in range(AMOUNT[engine][kind]):
        total += len(chunk)
        for item in decoder.feed(chunk):
            assert isinstance(item, errors.SkippedBytesError | errors.ChecksumError), item
            assert item.position == position
            position += len(item.data)
            covered += len(item.data)
        assert decoder.pending <= MOST_PENDING
        most = max(most, _resident())
        if number == 1:  # all imported, all buffers grown
            before = most
    # Nothing but the last few kilobytes is kept back unreported.
    assert total - covered <= MOST_PENDING + 4096
    # One chunk and its reports take well under this; what was fed does not fit.
    assert most - before < 8 * MEGABYTE, (before, most)
    assert decoder.feed(HEARTBEAT * 20)[-1].frame_type == 0x03


def test_long_skips_are_reported_piecemeal(make_codec: Any) -> None:
    garbage = bytes(10_000)
    items = make_codec("1.6").stream().feed(garbage + HEARTBEAT)
    assert [len(item.data) for item in items[:-1]] == [4096, 4096, 10_000 - 2 * 4096]
    assert [item.position for item in items[:-1]] == [0, 4096, 8192]
    assert items[-1].message.gun_no == "01"


def test_a_stream_of_every_frame_type(make_codec: Any) -> None:
    codec = make_codec("1.7")
    rng = random.Random(5)
    frames = [wrap(code, rng.randbytes(rng.randrange(0, 252))) for code in range(256) for _ in range(4)]
    stream = b"".join(frames)
    decoder = codec.stream()
    items: list[Any] = []
    for at in range(0, len(stream), 1000):
        items += decoder.feed(stream[at : at + 1000])
    items += decoder.finish()
    assert len(items) == len(frames)
    for item, data in zip(items, frames, strict=True):
        if isinstance(item, Frame):
            assert codec.encode(item) == data
        else:
            assert isinstance(item, errors.BodyLengthError | errors.GroupCountError)
            assert item.data == data
    kept = [item for item in items if isinstance(item, Frame) and isinstance(item.message, UnknownMessage)]
    assert {item.frame_type for item in kept} == set(range(256)) - set(codec.messages)
