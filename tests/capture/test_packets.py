from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.capture import Endpoint
from evproto.capture.packets import Segment, Unread, parse_packet

from . import wire
from .samples import LOGIN, unhurried

TCP = wire.tcp(LOGIN, seq=5, ack=7, flags=wire.PSH)
IP = wire.ipv4(TCP)
IP6 = wire.ipv6(TCP)


def sll(kind: int, inner: bytes) -> bytes:
    return struct.pack(">HHH8sH", 0, 1, 6, bytes(8), kind) + inner


def sll2(kind: int, inner: bytes) -> bytes:
    return struct.pack(">HHIHBB8s", kind, 0, 1, 1, 0, 6, bytes(8)) + inner


@pytest.mark.parametrize(
    ("link_type", "data"),
    [
        (1, wire.ethernet(IP)),
        (1, wire.ethernet(IP) + bytes(10)),  # padding
        (1, wire.ethernet(IP, vlans=((0x8100, 5),))),
        (1, wire.ethernet(IP, vlans=((0x88A8, 5), (0x8100, 6)))),
        (1, wire.ethernet(struct.pack(">BBHHH", 0x11, 0, 1, len(IP) + 2, 0x21) + IP, 0x8864)),
        (1, wire.ethernet(wire.ipv4(TCP, options=bytes(8)))),
        (1, wire.ethernet(wire.ipv4(wire.tcp(LOGIN, seq=5, ack=7, options=b"\1" * 12)))),
        (1, wire.ethernet(wire.ipv4(TCP, total=0))),  # segmentation offload
        (101, IP),
        (12, IP),
        (228, IP),
        (0, b"\2\0\0\0" + IP),
        (0, b"\0\0\0\2" + IP),
        (108, b"\0\0\0\2" + IP),
        (113, sll(0x0800, IP)),
        (113, sll(0x8100, struct.pack(">HH", 5, 0x0800) + IP)),
        (276, sll2(0x0800, IP)),
        (276, sll2(0x8100, struct.pack(">HH", 5, 0x0800) + IP)),
        (9, b"\xff\x03\x00\x21" + IP),
        (9, b"\x21" + IP),
    ],
)
def test_ipv4(link_type: int, data: bytes) -> None:
    assert parse_packet(link_type, data, len(data)) == Segment(
        Endpoint("192.0.2.7", 53210),
        Endpoint("198.51.100.1", 9000),
        5,
        7,
        False,
        False,
        False,
        LOGIN,
        len(LOGIN),
    )


HOP = struct.pack(">BB6s", 6, 0, bytes(6))


@pytest.mark.parametrize(
    ("link_type", "data"),
    [
        (1, wire.ethernet(IP6, 0x86DD)),
        (1, wire.ethernet(IP6, 0x86DD) + bytes(6)),
        (1, wire.ethernet(wire.ipv6(HOP + TCP, following=0), 0x86DD)),
        (1, wire.ethernet(wire.ipv6(TCP, length=0), 0x86DD)),
        (101, IP6),
        (229, IP6),
        (0, b"\x1e\0\0\0" + IP6),
        (113, sll(0x86DD, IP6)),
        (276, sll2(0x86DD, IP6)),
        (9, b"\x57" + IP6),
    ],
)
def test_ipv6(link_type: int, data: bytes) -> None:
    segment = parse_packet(link_type, data, len(data))
    assert isinstance(segment, Segment)
    assert segment.sender == ("2001:db8::1", 53210)
    assert str(segment.receiver) == "[2001:db8::2]:9000"
    assert segment.payload == LOGIN


def test_flags() -> None:
    for name, flag in (("syn", wire.SYN), ("fin", wire.FIN), ("rst", wire.RST)):
        segment = parse_packet(101, wire.ipv4(wire.tcp(flags=flag)), 40)
        assert isinstance(segment, Segment)
        assert [getattr(segment, each) for each in ("syn", "fin", "rst")] == [
            each == name for each in ("syn", "fin", "rst")
        ]
        assert segment.acknowledged is None


def test_cut_by_the_snap_length() -> None:
    data = wire.ethernet(IP)
    segment = parse_packet(1, data[:60], len(data))
    assert isinstance(segment, Segment)
    assert (segment.payload, segment.length) == (LOGIN[:6], len(LOGIN))
    unread = parse_packet(1, data[:40], len(data))
    assert unread == Unread("malformed", "the packet ends inside its headers")


@pytest.mark.parametrize(
    ("link_type", "data", "reason"),
    [
        (1, wire.ethernet(bytes(28), 0x0806), "other"),
        (1, wire.ethernet(wire.ipv4(bytes(20), protocol=17)), "other"),
        (1, wire.ethernet(wire.ipv6(bytes(20), following=58), 0x86DD), "other"),
        (105, bytes(80), "link_type"),
        (101, wire.ipv4(bytes(100), fragment=10), "fragment"),
        (101, wire.ipv6(struct.pack(">BBHI", 6, 0, 80, 3) + bytes(50), following=44), "fragment"),
        (101, wire.ipv4(TCP, total=10), "malformed"),
        (101, wire.ipv4(b"\0" * 20), "malformed"),
        (1, b"", "malformed"),
    ],
)
def test_unread(link_type: int, data: bytes, reason: str) -> None:
    unread = parse_packet(link_type, data, len(data))
    assert isinstance(unread, Unread)
    assert unread.reason == reason


def test_first_fragment() -> None:
    for data in (
        wire.ipv4(TCP, fragment=0x2000),
        wire.ipv6(struct.pack(">BBHI", 6, 0, 1, 3) + TCP, following=44),
    ):
        segment = parse_packet(101, data, len(data))
        assert isinstance(segment, Segment)
        assert segment.fragment


@unhurried
@given(
    st.sampled_from([0, 1, 9, 12, 101, 108, 113, 228, 276, 999]), st.binary(max_size=120), st.integers(0, 200)
)
def test_garbage_raises_nothing(link_type: int, data: bytes, more: int) -> None:
    parse_packet(link_type, data, len(data) + more)
    parse_packet(1, wire.ethernet(IP)[: len(data)] + data, len(data) + more)


@unhurried
@given(st.binary(max_size=100), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 31))
def test_dpkt_reads_the_same(payload: bytes, seq: int, ack: int, flags: int) -> None:
    dpkt = pytest.importorskip("dpkt")
    data = wire.ethernet(wire.ipv4(wire.tcp(payload, seq=seq, ack=ack, flags=flags)), vlans=((0x8100, 3),))
    theirs = dpkt.ethernet.Ethernet(data).data.data
    ours = parse_packet(1, data, len(data))
    assert isinstance(ours, Segment)
    assert (ours.payload, ours.sequence, ours.acknowledged) == (theirs.data, theirs.seq, theirs.ack)
    assert (ours.sender.port, ours.receiver.port) == (theirs.sport, theirs.dport)
