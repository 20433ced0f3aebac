"""From a captured packet to its TCP segment: link layer, IP, TCP headers.

Checksums are not judged: on the machine that sends, network cards compute
them after the capture has been taken.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final, Literal

from evproto.capture.items import Endpoint

__all__ = ["LINK_TYPES", "Segment", "Unread", "parse_packet"]

ETHERNET: Final = 1
RAW: Final = 101
LINK_TYPES: Final = {
    0: "BSD loopback",
    1: "Ethernet",
    9: "PPP",
    12: "raw IP",
    14: "raw IP",
    101: "raw IP",
    108: "OpenBSD loopback",
    113: "Linux cooked (SLL)",
    228: "raw IPv4",
    229: "raw IPv6",
    276: "Linux cooked (SLL2)",
}
"""Link types that can be read."""

_VLANS = (0x8100, 0x88A8, 0x9100, 0x9200)
_IPV6_EXTENSIONS = (0, 43, 60, 135)
_TCP = 6


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment.

    Attributes:
        payload: what was captured of its data.
        length: how many bytes of data it carried.
        fragment: it is the first of several IP fragments; ``length`` covers
            only this one.
    """

    sender: Endpoint
    receiver: Endpoint
    sequence: int
    acknowledged: int | None
    syn: bool
    fin: bool
    rst: bool
    payload: bytes
    length: int
    fragment: bool = False


@dataclass(frozen=True, slots=True)
class Unread:
    """A packet that gives no segment, and why.

    ``other`` is everything that is simply not TCP over IP.
    """

    reason: Literal["other", "fragment", "malformed", "link_type"]
    text: str = ""


_OTHER = Unread("other")


def parse_packet(link_type: int, data: bytes, wire_length: int) -> Segment | Unread:
    """The TCP segment in a packet."""
    try:
        return _link(link_type, data, wire_length)
    except (struct.error, IndexError):
        return Unread("malformed", "the packet ends inside its headers")


def _link(link_type: int, data: bytes, wire_length: int) -> Segment | Unread:
    if link_type == ETHERNET:
        return _ether_type(data, 12, wire_length)
    if link_type == 113:
        return _ether_type(data, 14, wire_length)
    if link_type == 276:
        (kind,) = struct.unpack_from(">H", data)
        if kind in _VLANS:
            return _ether_type(data, 22, wire_length)
        return _network(kind, data, 20, wire_length)
    if link_type in (0, 108):
        # The address family is in the byte order of the machine that captured.
        # IPv4 is 2 everywhere; IPv6 is 10, 23, 24, 28 or 30.
        return _ip(data, 4, wire_length)
    if link_type == 9:
        at = 2 if data[:2] == b"\xff\x03" else 0
        return _ppp(data, at, wire_length)
    if link_type in LINK_TYPES:
        return _ip(data, 0, wire_length)
    return Unread("link_type", f"link type {link_type} is not supported")


def _ether_type(data: bytes, at: int, wire_length: int) -> Segment | Unread:
    (kind,) = struct.unpack_from(">H", data, at)
    at += 2
    while kind in _VLANS:
        (kind,) = struct.unpack_from(">H", data, at + 2)
        at += 4
    return _network(kind, data, at, wire_length)


def _network(kind: int, data: bytes, at: int, wire_length: int) -> Segment | Unread:
    if kind in (0x0800, 0x86DD):
        return _ip(data, at, wire_length)
    if kind == 0x8864:  # PPPoE session
        return _ppp(data, at + 6, wire_length)
    return _OTHER


def _ppp(data: bytes, at: int, wire_length: int) -> Segment | Unread:
    if data[at] & 1:  # a protocol number compressed to one byte
        kind, at = data[at], at + 1
    else:
        (kind,) = struct.unpack_from(">H", data, at)
        at += 2
    return _ip(data, at, wire_length) if kind in (0x0021, 0x0057) else _OTHER


def _ip(data: bytes, at: int, wire_length: int) -> Segment | Unread:
    version = data[at] >> 4
    if version == 4:
        return _ipv4(data, at, wire_length)
    if version == 6:
        return _ipv6(data, at, wire_length)
    return _OTHER


def _ipv4(data: bytes, at: int, wire_length: int) -> Segment | Unread:
    first, _, total, identification, fragment, _, protocol = struct.unpack_from(">BBHHHBB", data, at)
    if protocol != _TCP:
        return _OTHER
    header = (first & 15) * 4
    # 0: the network card was to cut this up (segmentation offload).
    end = at + total if total else wire_length
    if header < 20 or end < at + header:
        return Unread("malformed", "the IPv4 header gives impossible lengths")
    if fragment & 0x1FFF:
        where = (fragment & 0x1FFF) * 8
        return Unread(
            "fragment", f"an IP fragment (id {identification}, from byte {where}) is not put together"
        )
    source, destination = data[at + 12 : at + 16], data[at + 16 : at + 20]
    return _tcp(data, at + header, end, source, destination, fragment=bool(fragment & 0x2000))


def _ipv6(data: bytes, at: int, wire_length: int) -> Segment | Unread:
    _, length, following = struct.unpack_from(">IHB", data, at)
    end = at + 40 + length if length else wire_length
    source, destination = data[at + 8 : at + 24], data[at + 24 : at + 40]
    at += 40
    fragment = False
    while following != _TCP:
        if following in _IPV6_EXTENSIONS:
            following, at = data[at], at + 8 + data[at + 1] * 8
        elif following == 51:  # authentication header
            following, at = data[at], at + 8 + data[at + 1] * 4
        elif following == 44:
            following, _, where, identification = struct.unpack_from(">BBHI", data, at)
            if where & 0xFFF8:
                if following != _TCP:
                    return _OTHER
                text = f"an IP fragment (id {identification}, from byte {where & 0xFFF8}) is not put together"
                return Unread("fragment", text)
            fragment = fragment or bool(where & 1)
            at += 8
        else:
            return _OTHER
    return _tcp(data, at, end, source, destination, fragment=fragment)


def _tcp(
    data: bytes, at: int, end: int, source: bytes, destination: bytes, *, fragment: bool
) -> Segment | Unread:
    from_port, to_port, sequence, acknowledged, offset, flags = struct.unpack_from(">HHIIBB", data, at)
    header = (offset >> 4) * 4
    begin = at + header
    if header < 20 or begin > end:
        return Unread("malformed", "the TCP header gives impossible lengths")
    return Segment(
        Endpoint(_address(source), from_port),
        Endpoint(_address(destination), to_port),
        sequence,
        acknowledged if flags & 0x10 else None,
        bool(flags & 0x02),
        bool(flags & 0x01),
        bool(flags & 0x04),
        data[begin:end],
        end - begin,
        fragment,
    )


def _address(packed: bytes) -> str:
    if len(packed) == 4:
        return ".".join(map(str, packed))
    return str(ipaddress.IPv6Address(packed))
