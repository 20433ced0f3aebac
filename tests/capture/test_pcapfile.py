from __future__ import annotations

import contextlib
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.capture.pcapfile import DamagedFileError, Packet, packet_file

from . import wire
from .samples import unhurried


def packets(data: bytes, step: int = 0) -> list[Packet]:
    file = packet_file(data)
    out: list[Packet] = []
    for at in range(0, len(data), step or len(data)):
        out += file.feed(data[at : at + (step or len(data))])
    file.finish()
    return out


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("step", [0, 1, 17])
def test_pcap(order: str, nano: bool, step: int) -> None:
    data = wire.pcap([b"abc", b"", b"defg"], order=order, nano=nano, link_type=113)
    found = packets(data, step)
    assert [packet.data for packet in found] == [b"abc", b"", b"defg"]
    assert [packet.number for packet in found] == [1, 2, 3]
    assert [packet.position for packet in found] == [24, 43, 59]
    assert {packet.link_type for packet in found} == {113}
    assert found[0].nanoseconds == 1795168800_000000000 + (5 if nano else 5000)
    assert found[1].time is not None
    assert found[1].time.isoformat().startswith("2026-11-20T10:00:01")


def test_snap_length() -> None:
    (packet,) = packets(wire.pcap([b"abcdefgh"], snap=3))
    assert (packet.data, packet.wire_length) == (b"abc", 8)


def test_kuznetzov() -> None:
    head = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    data = head + struct.pack("<IIIIIHBB", 1, 2, 3, 3, 0, 0, 0, 0) + b"abc"
    assert [packet.data for packet in packets(data)] == [b"abc"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("step", [0, 1, 17])
def test_pcapng(order: str, step: int) -> None:
    resolution = wire.option(9, b"\x09", order) + wire.option(14, struct.pack(order + "q", 100), order)
    data = (
        wire.section(order)
        + wire.interface(1, order)
        + wire.block(0x0BAD, b"unknown", order)
        + wire.enhanced(b"abc", 1_000_000, order=order)
        + wire.interface(101, order, options=resolution)
        + wire.enhanced(b"de", 2_000_000_000, 1, order, wire=90)
        + wire.block(3, struct.pack(order + "I", 4) + b"simp", order)
        + wire.block(2, struct.pack(order + "HHIIII", 0, 0, 0, 7, 2, 2) + b"ob", order)
        # another section, of the other byte order and with its own interfaces
        + wire.section({"<": ">", ">": "<"}[order])
        + wire.interface(
            0, {"<": ">", ">": "<"}[order], options=wire.option(9, b"\x8a", {"<": ">", ">": "<"}[order])
        )
        + wire.enhanced(b"xyz", 1024 * 3, order={"<": ">", ">": "<"}[order])
    )
    found = packets(data, step)
    assert [(p.data, p.wire_length, p.link_type, p.nanoseconds) for p in found] == [
        (b"abc", 3, 1, 1_000_000_000),
        (b"de", 90, 101, 102_000_000_000),
        (b"simp", 4, 1, 0),
        (b"ob", 2, 1, 7_000),
        (b"xyz", 3, 0, 3_000_000_000),
    ]


GOOD = wire.pcap([b"abc", b"defg"])
NG = wire.section() + wire.interface() + wire.enhanced(b"abc", 1)


@pytest.mark.parametrize(
    ("data", "before", "position", "text"),
    [
        (GOOD[:-1], 1, 43, "ends 19 bytes into the record of packet 2"),
        (GOOD[:50], 1, 43, "ends 7 bytes into the record of packet 2"),
        (GOOD[:20], 0, 20, "ends inside its header"),
        (GOOD[:43] + b"\xff" * 16, 1, 43, "packet 2 announces 4294967295 bytes"),
        (b"what is this", 0, 0, "neither a pcap nor a pcapng file"),
        (NG[:-1], 0, 48, "ends inside a block"),
        (NG + b"\6\0\0\0\xff\xff\xff\xff0000", 1, len(NG), "a block announces 4294967295 bytes"),
        (NG + struct.pack("<IIII", 6, 16, 0, 17), 1, len(NG), "says 17 at its end"),
        (NG + wire.enhanced(b"abc", number=4), 1, len(NG), "interface 4"),
        (NG + wire.block(6, b"1234"), 1, len(NG), "too short"),
        (NG + wire.section()[:8] + b"0000" * 5, 1, len(NG), "no byte order"),
    ],
)
def test_damage_names_the_place_and_keeps_what_came_before(
    data: bytes, before: int, position: int, text: str
) -> None:
    found: list[Packet] = []

    def read() -> None:
        file = packet_file(data)
        for packet in file.feed(data):
            found.append(packet)  # noqa: PERF402 - what came before the error counts
        file.finish()

    with pytest.raises(DamagedFileError, match=text) as caught:
        read()
    assert len(found) == before
    assert caught.value.position == position
    assert f"(at byte {position} of the file)" in str(caught.value)


@unhurried
@given(st.binary(), st.sampled_from([GOOD[:24], GOOD, NG, NG[:28], b""]), st.integers(1, 50))
def test_garbage_raises_nothing_else(garbage: bytes, start: bytes, step: int) -> None:
    data = start + garbage
    with contextlib.suppress(DamagedFileError):
        packets(data or b"\0", step)


@unhurried
@given(st.lists(st.binary(max_size=80), max_size=6), st.sampled_from(["<", ">"]))
def test_dpkt_reads_the_same(contents: list[bytes], order: str) -> None:
    dpkt = pytest.importorskip("dpkt")
    data = wire.pcap(contents, order=order)
    assert [buffer for _, buffer in dpkt.pcap.Reader(io.BytesIO(data))] == [p.data for p in packets(data)]
    data = wire.section(order) + wire.interface(order=order)
    data += b"".join(wire.enhanced(content, 5, order=order) for content in contents)
    assert [buffer for _, buffer in dpkt.pcapng.Reader(io.BytesIO(data))] == [p.data for p in packets(data)]
