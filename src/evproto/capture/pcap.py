"""Captured packets as chunks: containers, packets and reassembly put together.

Which side is the pile is the caller's business; chunks name the connection and
say whether its client sent them. (Piles connect to platforms, so the client
nearly always is the pile.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from evproto.capture.dumps import DumpStyle, parse_dump_line
from evproto.capture.items import Chunk, Connection, Item, Note, Time
from evproto.capture.lines import Lines
from evproto.capture.markers import find_time
from evproto.capture.packets import ETHERNET, RAW, Segment, Unread, parse_packet
from evproto.capture.pcapfile import DamagedFileError, Packet, PacketFile, packet_file, time_of
from evproto.capture.reassembly import (
    Event,
    Limits,
    Reassembler,
    StreamData,
    StreamEnd,
    StreamGap,
    StreamLate,
)

__all__ = ["PacketDumpReader", "PcapReader"]

_NOTES_PER_REASON: Final = 20
_PACKET_LIMIT: Final = 1 << 17


class _Conversation:
    """From packets to items, whatever the packets come out of."""

    def __init__(self, source: str, ports: Collection[int], limits: Limits | None) -> None:
        self._source = source
        self._ports = frozenset(ports)
        self._reassembler = Reassembler(limits)
        self._unread: dict[str, int] = {}
        self.packets = 0
        self.segments = 0
        self.chunks = 0

    def packet(self, packet: Packet) -> Iterator[Item]:
        self.packets += 1
        segment = parse_packet(packet.link_type, packet.data, packet.wire_length)
        if isinstance(segment, Unread):
            yield from self._note_unread(segment, packet)
            return
        if (
            self._ports
            and segment.sender.port not in self._ports
            and segment.receiver.port not in self._ports
        ):
            return
        self.segments += 1
        if segment.fragment:
            text = "the rest of this IP packet is in fragments, which are not put together"
            yield from self._note_unread(Unread("fragment", text), packet)
        for event in self._reassembler.segment(segment, packet.nanoseconds, packet.number):
            yield self._item(event)

    def finish(self) -> Iterator[Item]:
        for event in self._reassembler.finish():
            yield self._item(event)
        for reason, count in self._unread.items():
            if count > _NOTES_PER_REASON:
                text = f"{count - _NOTES_PER_REASON} more packets like those noted before: {reason}"
                yield Note("malformed" if reason == "malformed" else "fragment", text, self._source)

    def _note_unread(self, unread: Unread, packet: Packet) -> Iterator[Note]:
        if unread.reason == "other":
            return
        count = self._unread[unread.reason] = self._unread.get(unread.reason, 0) + 1
        if unread.reason == "link_type":
            if count == 1:
                yield Note("unsupported", unread.text, self._source, packet=packet.number, time=packet.time)
        elif count <= _NOTES_PER_REASON:
            yield Note(
                unread.reason,
                unread.text,
                self._source,
                position=packet.position,
                packet=packet.number,
                time=packet.time,
            )

    def _item(self, event: Event) -> Item:
        connection = event.connection
        stream = _stream(self._source, connection, event.from_client)
        time: Time | None = time_of(event.nanoseconds)
        if isinstance(event, (StreamData, StreamEnd)):
            ends = isinstance(event, StreamEnd)
            self.chunks += not ends
            return Chunk(
                b"" if isinstance(event, StreamEnd) else event.data,
                self._source,
                position=event.position,
                time=time,
                stream=stream,
                starts=isinstance(event, StreamData) and event.starts,
                ends=ends,
                packet=event.packet or None,
                connection=connection,
                from_client=event.from_client,
            )
        way = _way(connection, event.from_client)
        if isinstance(event, StreamGap):
            text = f"{way}: {event.missing} bytes are missing: {event.why}"
        else:
            text = f"{way}: {event.missing} bytes came too late to be put in their place"
        return Note(
            "late" if isinstance(event, StreamLate) else "gap",
            text,
            self._source,
            position=event.position,
            time=time,
            stream=stream,
            packet=event.packet or None,
            missing=event.missing,
            connection=connection,
            from_client=event.from_client,
        )


def _way(connection: Connection, from_client: bool) -> str:
    ends = (connection.client, connection.server) if from_client else (connection.server, connection.client)
    return f"{ends[0]} > {ends[1]}"


def _stream(source: str, connection: Connection, from_client: bool) -> str:
    return f"{source}#{connection.number} {_way(connection, from_client)}"


class PcapReader:
    """Reads a pcap or pcapng file."""

    def __init__(self, source: str, *, ports: Collection[int] = (), limits: Limits | None = None) -> None:
        """``ports``: only connections with one of these ports at either end; all if empty."""
        self._source = source
        self._file: PacketFile | None = None
        self._head = b""
        self._conversation = _Conversation(source, ports, limits)
        self._damaged = False

    def feed(self, block: bytes) -> Iterator[Item]:
        if self._damaged:
            return
        try:
            if self._file is None:
                self._head += block
                if len(self._head) < 12:
                    return
                self._file = packet_file(self._head)
                block, self._head = self._head, b""
            for packet in self._file.feed(block):
                yield from self._conversation.packet(packet)
        except DamagedFileError as error:
            yield self._damage(error)

    def finish(self) -> Iterator[Item]:
        if not self._damaged:
            try:
                if self._file is None:
                    self._file = packet_file(self._head)
                self._file.finish()
            except DamagedFileError as error:
                yield self._damage(error)
        yield from self._conversation.finish()
        conversation = self._conversation
        if not conversation.chunks and not self._damaged:
            text = f"no TCP data in it: {conversation.packets} packets, {conversation.segments} TCP segments"
            if conversation.packets and not conversation.segments:
                text += " on the ports asked for"
            yield Note("empty", text, self._source)

    def _damage(self, error: DamagedFileError) -> Note:
        self._damaged = True
        return Note("damaged", str(error), self._source, position=error.position)


class PacketDumpReader:
    """Reads packets printed as hex: ``tcpdump -x``, ``-X``, ``tshark -x``, Wireshark's hex dump copies.

    Every offset 0 begins another packet. Packets with IP and TCP headers are
    reassembled as from a capture file; all others are handed over as they are.
    """

    def __init__(
        self,
        source: str,
        style: DumpStyle,
        encoding: str = "",
        *,
        ports: Collection[int] = (),
        limits: Limits | None = None,
    ) -> None:
        self._source = source
        self._style: DumpStyle = style
        self._lines = Lines(encoding)
        self._conversation = _Conversation(source, ports, limits)
        self._packet = bytearray()
        self._line_number = 0
        self._time: Time | None = None
        self._heading = ""
        self._number = 0
        self._plain = False

    def feed(self, block: bytes) -> Iterator[Item]:
        for line in self._lines.feed(block):
            yield from self._line(line.text, line.number)

    def finish(self) -> Iterator[Item]:
        for line in self._lines.finish():
            yield from self._line(line.text, line.number)
        yield from self._flush()
        yield from self._conversation.finish()
        if not self._conversation.chunks and not self._plain:
            yield Note("empty", f"no TCP data in it: {self._number} packets", self._source)

    def _line(self, text: str, number: int) -> Iterator[Item]:
        parsed = parse_dump_line(self._style, text)
        if parsed is None:
            if text.strip():
                yield from self._flush()
                self._heading = text.strip()[:4096]
                self._time = find_time(self._heading)
            return
        offset = int(parsed.offset, 16)
        if offset == 0:
            yield from self._flush()
            self._line_number = number
        elif offset != len(self._packet):
            yield Note(
                "gap",
                f"the offset is {offset:#06x}, but {len(self._packet)} bytes came before it",
                self._source,
                line=number,
            )
            yield from self._flush()
            self._line_number = number
        self._packet += bytes.fromhex("".join(parsed.groups))
        if len(self._packet) > _PACKET_LIMIT:
            yield from self._flush()

    def _flush(self) -> Iterator[Item]:
        if not self._packet:
            return
        data = bytes(self._packet)
        self._packet.clear()
        self._number += 1
        link_type = self._link_type(data)
        if link_type is not None:
            packet = Packet(self._number, 0, 0, link_type, data, len(data))
            for item in self._conversation.packet(packet):
                yield self._placed(item)
            return
        self._plain = True
        yield Chunk(
            data,
            self._source,
            line=self._line_number,
            time=self._time,
            stream=self._source,
            starts=True,
            text=self._heading,
        )

    def _placed(self, item: Item) -> Item:
        """Events of the reassembly know no lines and times of day; the last packet's are near enough."""
        if isinstance(item, Chunk):
            return Chunk(
                item.data,
                item.source,
                position=item.position,
                line=self._line_number,
                time=self._time,
                stream=item.stream,
                starts=item.starts,
                ends=item.ends,
                text=self._heading,
                packet=item.packet,
                connection=item.connection,
                from_client=item.from_client,
            )
        return item

    def _link_type(self, data: bytes) -> int | None:
        """What a printed packet begins with: an Ethernet or an IP header; None for neither."""
        for link_type in (RAW, ETHERNET):
            parsed = parse_packet(link_type, data, len(data))
            if isinstance(parsed, Segment) and parsed.length <= len(data):
                return link_type
            if isinstance(parsed, Unread) and parsed.reason == "fragment":
                return link_type
        return None
