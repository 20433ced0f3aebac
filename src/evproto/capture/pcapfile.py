"""The containers: pcap and pcapng files, cut into packets.

The packet's length on the wire is kept beside what was captured of it, every
interface of a pcapng file has its own link type and clock, and lengths are
believed only within limits, so that a damaged file ends in a message with the
place, not in an attempt to allocate it.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from evproto.capture.items import CaptureError

__all__ = [
    "DamagedFileError",
    "Packet",
    "PacketFile",
    "PcapFile",
    "PcapngFile",
    "is_pcap",
    "is_pcapng",
    "packet_file",
]

PACKET_LIMIT: Final = 1 << 20
"""No real packet is bigger; libpcap itself stops at 256 KiB for most links."""
BLOCK_LIMIT: Final = 1 << 24

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_PCAP_MAGICS: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000, 16),
    b"\xa1\xb2\xc3\xd4": (">", 1_000, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1, 16),
    # Kuznetzov's patch, still found on embedded Linux: eight more bytes per packet.
    b"\x34\xcd\xb2\xa1": ("<", 1_000, 24),
    b"\xa1\xb2\xcd\x34": (">", 1_000, 24),
}
_PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}


class DamagedFileError(CaptureError):
    """The file cannot be read on from here.

    Attributes:
        position: byte offset in the file.
    """

    def __init__(self, text: str, position: int) -> None:
        super().__init__(f"{text} (at byte {position} of the file)")
        self.position = position


@dataclass(frozen=True, slots=True)
class Packet:
    """One captured packet.

    Attributes:
        number: from 1, as Wireshark counts.
        position: where its record begins in the file.
        nanoseconds: since the epoch; 0 if the file does not say.
        link_type: what its first bytes are (LINKTYPE_...).
        data: what was captured.
        wire_length: how long it was on the wire.
    """

    number: int
    position: int
    nanoseconds: int
    link_type: int
    data: bytes
    wire_length: int

    @property
    def time(self) -> datetime.datetime | None:
        return time_of(self.nanoseconds)


def time_of(nanoseconds: int) -> datetime.datetime | None:
    """The moment so many nanoseconds after the epoch; None for 0 and for what no calendar holds."""
    if not nanoseconds:
        return None
    try:
        return _EPOCH + datetime.timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None


class PacketFile(Protocol):
    """A container being read."""

    def feed(self, block: bytes) -> Iterator[Packet]:
        """Take in bytes; give the packets they complete. DamagedFileError: no more will come."""
        ...

    def finish(self) -> None:
        """The file has ended. DamagedFileError: it ended inside something."""
        ...


def is_pcap(head: bytes) -> bool:
    return head[:4] in _PCAP_MAGICS


def is_pcapng(head: bytes) -> bool:
    return head[:4] == _PCAPNG_MAGIC and (len(head) < 12 or head[8:12] in _BYTE_ORDERS)


def packet_file(head: bytes) -> PacketFile:
    """A reader for the container that begins with ``head`` (four bytes are enough).

    Raises:
        DamagedFileError: it is neither pcap nor pcapng.
    """
    if is_pcapng(head):
        return PcapngFile()
    if is_pcap(head):
        return PcapFile()
    raise DamagedFileError("this is neither a pcap nor a pcapng file", 0)


class PcapFile:
    """Reads pcap."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0  # of _buffer[0] in the file
        self._order = ""
        self._unit = 1_000
        self._header = 16
        self._link_type = 0
        self._number = 0

    def feed(self, block: bytes) -> Iterator[Packet]:
        buffer = self._buffer
        buffer += block
        at = 0
        if not self._order:
            if len(buffer) < 24:
                return
            magic = _PCAP_MAGICS.get(bytes(buffer[:4]))
            if magic is None:
                raise DamagedFileError("this is no pcap file", 0)
            self._order, self._unit, self._header = magic
            (link_type,) = struct.unpack_from(self._order + "I", buffer, 20)
            self._link_type = link_type & 0xFFFF  # the upper bits tell of frame check sequences
            at = 24
        header = struct.Struct(self._order + "IIII")
        try:
            while len(buffer) - at >= self._header:
                seconds, fraction, captured, wire = header.unpack_from(buffer, at)
                if captured > PACKET_LIMIT:
                    raise DamagedFileError(
                        f"the record of packet {self._number + 1} announces {captured} bytes",
                        self._position + at,
                    )
                end = at + self._header + captured
                if len(buffer) < end:
                    break
                self._number += 1
                yield Packet(
                    self._number,
                    self._position + at,
                    seconds * 1_000_000_000 + fraction * self._unit,
                    self._link_type,
                    bytes(buffer[at + self._header : end]),
                    max(wire, captured),
                )
                at = end
        finally:
            del buffer[:at]
            self._position += at

    def finish(self) -> None:
        if not self._order:
            raise DamagedFileError("the file ends inside its header", self._position + len(self._buffer))
        if self._buffer:
            raise DamagedFileError(
                f"the file ends {len(self._buffer)} bytes into the record of packet {self._number + 1}",
                self._position,
            )


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_length: int
    # Ticks are ``numerator / denominator`` nanoseconds, and count from ``offset`` seconds.
    numerator: int
    denominator: int
    offset: int

    def nanoseconds(self, high: int, low: int) -> int:
        return (high << 32 | low) * self.numerator // self.denominator + self.offset * 1_000_000_000


class PcapngFile:
    """Reads pcapng: any number of sections and interfaces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._order = ""
        self._interfaces: list[_Interface] = []
        self._number = 0

    def feed(self, block: bytes) -> Iterator[Packet]:
        buffer = self._buffer
        buffer += block
        at = 0
        try:
            while len(buffer) - at >= 12:
                if buffer[at : at + 4] == _PCAPNG_MAGIC:
                    order = _BYTE_ORDERS.get(bytes(buffer[at + 8 : at + 12]))
                    if order is None:
                        raise DamagedFileError("a section header has no byte order", self._position + at)
                    self._order = order
                    self._interfaces = []
                elif not self._order:
                    raise DamagedFileError("this is no pcapng file", 0)
                kind, size = struct.unpack_from(self._order + "II", buffer, at)
                if size < 12 or size % 4 or size > BLOCK_LIMIT:
                    raise DamagedFileError(f"a block announces {size} bytes", self._position + at)
                if len(buffer) - at < size:
                    break
                (repeated,) = struct.unpack_from(self._order + "I", buffer, at + size - 4)
                if repeated != size:
                    raise DamagedFileError(
                        f"a block of {size} bytes says {repeated} at its end", self._position + at
                    )
                body = bytes(buffer[at + 8 : at + size - 4])
                try:
                    packet = self._block(kind, body, self._position + at)
                except struct.error:
                    raise DamagedFileError(
                        "a block is too short for what it is", self._position + at
                    ) from None
                at += size
                if packet is not None:
                    yield packet
        finally:
            del buffer[:at]
            self._position += at

    def finish(self) -> None:
        if self._buffer or not self._order:
            raise DamagedFileError(
                f"the file ends inside a block, {len(self._buffer)} bytes into it", self._position
            )

    def _block(self, kind: int, body: bytes, position: int) -> Packet | None:
        order = self._order
        if kind == 1:
            self._interfaces.append(self._interface(body))
            return None
        if kind == 6:  # enhanced packet
            number, high, low, captured, wire = struct.unpack_from(order + "IIIII", body)
            begin = 20
        elif kind == 2:  # packet, of the first drafts
            number, _, high, low, captured, wire = struct.unpack_from(order + "HHIIII", body)
            begin = 20
        elif kind == 3:  # simple packet: no time, and what was captured follows from the snap length
            (wire,) = struct.unpack_from(order + "I", body)
            number = high = low = 0
            begin = 4
            captured = min(wire, len(body) - begin)
            if self._interfaces and self._interfaces[0].snap_length:
                captured = min(captured, self._interfaces[0].snap_length)
        else:
            return None
        if number >= len(self._interfaces):
            raise DamagedFileError(
                f"a packet belongs to interface {number}, which the file does not describe", position
            )
        if captured > len(body) - begin:
            raise DamagedFileError(
                f"the record of packet {self._number + 1} announces {captured} bytes", position
            )
        interface = self._interfaces[number]
        self._number += 1
        return Packet(
            self._number,
            position,
            interface.nanoseconds(high, low) if kind != 3 else 0,
            interface.link_type,
            body[begin : begin + captured],
            max(wire, captured),
        )

    def _interface(self, body: bytes) -> _Interface:
        link_type, _, snap_length = struct.unpack_from(self._order + "HHI", body)
        numerator, denominator, offset = 1_000, 1, 0
        at = 8
        while at + 4 <= len(body):
            code, size = struct.unpack_from(self._order + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == 0:
                break
            if code == 9 and size == 1:  # if_tsresol
                power = value[0] & 0x7F
                numerator, denominator = 1_000_000_000, 2**power if value[0] & 0x80 else 10**power
            elif code == 14 and size == 8:  # if_tsoffset
                (offset,) = struct.unpack(self._order + "q", value)
            at += 4 + size + -size % 4
        return _Interface(link_type, snap_length, numerator, denominator, offset)
