"""Writing pcap files: conversations as a capture of them would look.

Ethernet, IPv4 or IPv6, TCP, with right checksums, a handshake, the data in
segments of ordinary size and the closing; what Wireshark, tcpdump and
:mod:`evproto.capture` read. Needs nothing but the standard library.

    with open("login.pcap", "wb") as file:
        writer = PcapWriter(file)
        pile = writer.connect(("192.0.2.7", 53210), ("198.51.100.1", 9000), moment)
        pile.send(True, login_request, moment)
        pile.send(False, login_response, moment)
        pile.close(moment)
"""

from __future__ import annotations

import datetime
import ipaddress
import struct
from collections.abc import Iterable
from typing import BinaryIO, Final

from evproto.capture.items import CaptureError, Endpoint

__all__ = ["PcapWriter", "WrittenConnection", "write_pcap"]

SEGMENT_SIZE: Final = 1448
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_FIN, _SYN, _RST, _PSH, _ACK = 0x01, 0x02, 0x04, 0x08, 0x10
# Locally administered addresses, as no maker has them.
_CLIENT_MAC = bytes.fromhex("020000000001")
_SERVER_MAC = bytes.fromhex("020000000002")


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class PcapWriter:
    """Writes packets into an open binary file; closing and flushing it is the caller's.

    Nothing is buffered here: after every call the file holds whole packets.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._connections = 0
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

    def connect(
        self,
        client: tuple[str, int],
        server: tuple[str, int],
        time: datetime.datetime,
        *,
        handshake: bool = True,
        sequences: tuple[int, int] | None = None,
    ) -> WrittenConnection:
        """Write the opening of a connection.

        Args:
            time: must be aware.
            handshake: without it the capture seems to begin in the middle.
            sequences: initial sequence numbers of client and server.

        Raises:
            CaptureError: an address is none, or one is IPv4 and the other IPv6.
        """
        self._connections += 1
        if sequences is None:
            # Any do; these differ by connection and side, and are the same every time.
            begin = self._connections * 2654435761
            sequences = begin % 2**32, (begin ^ 0x5A5A5A5A) % 2**32
        connection = WrittenConnection(self, Endpoint(*client), Endpoint(*server), sequences)
        if handshake:
            connection.open(time)
        return connection

    def write_packet(self, data: bytes, time: datetime.datetime, wire_length: int | None = None) -> None:
        """Write one Ethernet packet as it is.

        Raises:
            CaptureError: ``time`` is naive or out of range of the format.
        """
        if time.tzinfo is None:
            raise CaptureError("the time of a packet must name its zone")
        micros = (time - _EPOCH) // datetime.timedelta(microseconds=1)
        seconds, micros = divmod(micros, 1_000_000)
        if not 0 <= seconds < 2**32:
            raise CaptureError(f"a pcap file cannot hold the time {time.isoformat()}")
        length = len(data) if wire_length is None else wire_length
        self._file.write(struct.pack("<IIII", seconds, micros, len(data), length) + data)


class WrittenConnection:
    """One connection being written; made by :meth:`PcapWriter.connect`."""

    def __init__(
        self, writer: PcapWriter, client: Endpoint, server: Endpoint, sequences: tuple[int, int]
    ) -> None:
        try:
            addresses = [ipaddress.ip_address(end.host) for end in (client, server)]
        except ValueError as error:
            raise CaptureError(str(error)) from error
        if addresses[0].version != addresses[1].version:
            raise CaptureError(f"{client} and {server} are not of one IP version")
        for end in (client, server):
            if not 0 <= end.port < 65536:
                raise CaptureError(f"there is no port {end.port}")
        self.client = client
        self.server = server
        self._writer = writer
        self._version = addresses[0].version
        self._packed = addresses[0].packed, addresses[1].packed
        self._sequences = list(sequences)
        self._identification = 0

    def open(self, time: datetime.datetime) -> None:
        """Write the three packets of the handshake."""
        self._packet(True, _SYN, b"", time, acknowledge=False)
        self._packet(False, _SYN | _ACK, b"", time)
        self._packet(True, _ACK, b"", time)

    def send(self, from_client: bool, data: bytes, time: datetime.datetime) -> None:
        """Write data from one side, in as many segments as it takes."""
        for at in range(0, len(data), SEGMENT_SIZE):
            part = data[at : at + SEGMENT_SIZE]
            last = at + SEGMENT_SIZE >= len(data)
            self._packet(from_client, _ACK | (_PSH if last else 0), part, time)

    def close(self, time: datetime.datetime, *, from_client: bool = True) -> None:
        """Write the closing of both sides, begun by one."""
        self._packet(from_client, _FIN | _ACK, b"", time)
        self._packet(not from_client, _FIN | _ACK, b"", time)
        self._packet(from_client, _ACK, b"", time)

    def reset(self, time: datetime.datetime, *, from_client: bool = True) -> None:
        """Write that one side broke the connection off."""
        self._packet(from_client, _RST | _ACK, b"", time)

    def _packet(
        self,
        from_client: bool,
        flags: int,
        payload: bytes,
        time: datetime.datetime,
        *,
        acknowledge: bool = True,
    ) -> None:
        here, there = (0, 1) if from_client else (1, 0)
        source, destination = self._packed[here], self._packed[there]
        ends = (self.client, self.server) if from_client else (self.server, self.client)
        acknowledged = self._sequences[there] if acknowledge else 0
        options = struct.pack(">BBH", 2, 4, SEGMENT_SIZE) if flags & _SYN else b""
        header = struct.pack(
            ">HHIIBBHHH",
            ends[0].port,
            ends[1].port,
            self._sequences[here],
            acknowledged,
            (20 + len(options)) // 4 << 4,
            flags,
            64240,
            0,
            0,
        )
        segment = header + options + payload
        pseudo = source + destination + struct.pack(">II", len(segment), 6)
        checksum = _checksum(pseudo + segment)
        segment = segment[:16] + struct.pack(">H", checksum) + segment[18:]
        macs = (_SERVER_MAC + _CLIENT_MAC) if from_client else (_CLIENT_MAC + _SERVER_MAC)
        if self._version == 4:
            self._identification = (self._identification + 1) % 65536
            start = struct.pack(
                ">BBHHHBBH", 0x45, 0, 20 + len(segment), self._identification, 0x4000, 64, 6, 0
            )
            ip = start + source + destination
            ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
            frame = macs + b"\x08\x00" + ip + segment
        else:
            ip = struct.pack(">IHBB", 6 << 28, len(segment), 6, 64) + source + destination
            frame = macs + b"\x86\xdd" + ip + segment
        self._writer.write_packet(frame, time)
        advance = len(payload) + bool(flags & _SYN) + bool(flags & _FIN)
        self._sequences[here] = (self._sequences[here] + advance) % 2**32


def write_pcap(
    file: BinaryIO,
    conversation: Iterable[tuple[bool, bytes, datetime.datetime]],
    *,
    client: tuple[str, int] = ("192.0.2.7", 53210),
    server: tuple[str, int] = ("198.51.100.1", 9000),
) -> None:
    """Write one whole connection: (sent by the client?, bytes, time) in order.

    Raises:
        CaptureError: a time is naive, or the addresses do not go together.
    """
    writer = PcapWriter(file)
    connection: WrittenConnection | None = None
    time: datetime.datetime | None = None
    for from_client, data, time in conversation:
        if connection is None:
            connection = writer.connect(client, server, time)
        connection.send(from_client, data, time)
    if connection is not None and time is not None:
        connection.close(time)
