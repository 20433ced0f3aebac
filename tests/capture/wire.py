"""Packets by hand, independent of the writer under test."""

from __future__ import annotations

import struct

CLIENT, SERVER = ("192.0.2.7", 53210), ("198.51.100.1", 9000)
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def tcp(
    payload: bytes = b"",
    *,
    seq: int = 0,
    ack: int | None = None,
    flags: int = 0,
    ports: tuple[int, int] = (53210, 9000),
    options: bytes = b"",
) -> bytes:
    flags |= ACK if ack is not None else 0
    words = (20 + len(options)) // 4
    header = struct.pack(">HHIIBBHHH", *ports, seq % 2**32, (ack or 0) % 2**32, words << 4, flags, 8192, 0, 0)
    return header + options + payload


def ipv4(
    inner: bytes,
    *,
    addresses: tuple[str, str] = ("192.0.2.7", "198.51.100.1"),
    total: int | None = None,
    fragment: int = 0,
    protocol: int = 6,
    options: bytes = b"",
) -> bytes:
    total = 20 + len(options) + len(inner) if total is None else total
    source, destination = (bytes(map(int, address.split("."))) for address in addresses)
    first = 0x40 | (20 + len(options)) // 4
    return (
        struct.pack(">BBHHHBBH", first, 0, total, 7, fragment, 64, protocol, 0)
        + source
        + destination
        + options
        + inner
    )


def ipv6(inner: bytes, *, following: int = 6, length: int | None = None) -> bytes:
    source = bytes.fromhex("20010db8000000000000000000000001")
    destination = bytes.fromhex("20010db8000000000000000000000002")
    length = len(inner) if length is None else length
    return struct.pack(">IHBB", 6 << 28, length, following, 64) + source + destination + inner


def ethernet(inner: bytes, kind: int = 0x0800, vlans: tuple[tuple[int, int], ...] = ()) -> bytes:
    tags = b"".join(struct.pack(">HH", tag, number) for tag, number in vlans)
    return bytes(6) + b"\x02" * 6 + tags + struct.pack(">H", kind) + inner


def pcap(
    packets: list[bytes],
    *,
    link_type: int = 1,
    order: str = "<",
    nano: bool = False,
    snap: int = 0,
    times: list[tuple[int, int]] | None = None,
) -> bytes:
    out = struct.pack(
        order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snap or 65535, link_type
    )
    for index, packet in enumerate(packets):
        seconds, fraction = times[index] if times else (1795168800 + index, 5)
        kept = packet[:snap] if snap else packet
        out += struct.pack(order + "IIII", seconds, fraction, len(kept), len(packet)) + kept
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link_type: int = 1, order: str = "<", snap: int = 0, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link_type, 0, snap) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(
    packet: bytes, ticks: int = 0, number: int = 0, order: str = "<", wire: int | None = None
) -> bytes:
    fields = struct.pack(
        order + "IIIII",
        number,
        ticks >> 32,
        ticks & 0xFFFFFFFF,
        len(packet),
        len(packet) if wire is None else wire,
    )
    return block(6, fields + packet + bytes(-len(packet) % 4), order)
