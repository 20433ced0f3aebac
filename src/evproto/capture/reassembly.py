"""TCP reassembly: from segments in any order to two byte streams per connection.

Bytes are handed over as soon as all before them have been; what is missing
becomes a gap with its size, never zeros. When a byte is seen twice, the first
copy counts. A hole is given up (reported as a gap, and what waits behind it
handed over)

* when the receiver has acknowledged bytes behind it and :data:`PATIENCE` more
  packets have not brought it: the capture lost it, and no retransmission is
  to be expected;
* when too much waits behind it;
* when the connection ends, is idle for too long, or must make room.

A connection whose beginning is not in the capture begins with the first byte
seen of each side.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from evproto.capture.items import Connection, Endpoint
from evproto.capture.packets import Segment

__all__ = ["PATIENCE", "Limits", "Reassembler", "StreamData", "StreamEnd", "StreamGap", "StreamLate"]

PATIENCE: Final = 8
"""Packets of the connection to wait for a hole that the receiver has acknowledged.
Captures on several queues put packets into the wrong order by a few."""

_WRAP = 1 << 32
_PIECE_COST = 128  # what a waiting piece costs besides its bytes, roughly
_GAPS_KEPT = 16
_CLOSED_KEPT = 1024


class Limits(NamedTuple):
    """How much is held at most.

    Attributes:
        waiting: bytes behind a hole, for one side of a connection.
        waiting_in_all: the same, for all connections together.
        connections: connections remembered at once.
        idle: seconds without a packet after which a connection is let go.
    """

    waiting: int = 1 << 20
    waiting_in_all: int = 1 << 26
    connections: int = 1 << 16
    idle: int = 2 * 3600


@dataclass(frozen=True, slots=True)
class StreamData:
    """Bytes one side sent; ``starts`` if they do not continue what came before."""

    connection: Connection
    from_client: bool
    data: bytes
    position: int
    nanoseconds: int
    packet: int
    starts: bool


@dataclass(frozen=True, slots=True)
class StreamGap:
    """``missing`` bytes of one side are not in the capture."""

    connection: Connection
    from_client: bool
    position: int
    missing: int
    nanoseconds: int
    packet: int
    why: str


@dataclass(frozen=True, slots=True)
class StreamLate:
    """Bytes came after they had been given up; they are not handed over."""

    connection: Connection
    from_client: bool
    position: int
    missing: int
    nanoseconds: int
    packet: int


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """One side is through."""

    connection: Connection
    from_client: bool
    position: int
    nanoseconds: int
    packet: int


Event = StreamData | StreamGap | StreamLate | StreamEnd


class _Piece(NamedTuple):
    start: int
    end: int
    payload: bytes  # shorter than end - start if the capture cut the packet
    nanoseconds: int
    packet: int


def _start_of(piece: _Piece) -> int:
    return piece.start


class _Half:
    """What one side sends. Positions count bytes from the first of the stream."""

    __slots__ = (
        "acknowledged",
        "base",
        "ended",
        "fin",
        "from_client",
        "gaps",
        "next",
        "patience",
        "pieces",
        "said_anything",
        "starts",
        "syn",
        "waiting",
    )

    def __init__(self, from_client: bool) -> None:
        self.from_client = from_client
        self.base: int | None = None  # sequence number of position 0
        self.syn: int | None = None
        self.next = 0
        self.pieces: list[_Piece] = []
        self.waiting = 0
        self.fin: int | None = None
        self.acknowledged = 0
        self.patience = 0
        self.starts = True
        self.said_anything = False
        self.ended = False
        self.gaps: list[tuple[int, int]] = []

    def place(self, sequence: int) -> int:
        """The position of a sequence number: the one nearest to what comes next."""
        assert self.base is not None
        distance = (sequence - self.base - self.next) % _WRAP
        if distance >= _WRAP // 2:
            distance -= _WRAP
        return self.next + distance


class _Talk:
    """One connection."""

    __slots__ = ("client", "closed", "connection", "last", "packet", "server")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.client = _Half(True)
        self.server = _Half(False)
        self.closed = False
        self.last = 0
        self.packet = 0


class Reassembler:
    """Takes segments in the order of the capture, gives stream events."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._talks: OrderedDict[tuple[Endpoint, Endpoint], _Talk] = OrderedDict()
        self._closed: deque[tuple[Endpoint, Endpoint]] = deque()
        self._count = 0
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many bytes (with overhead) are held behind holes."""
        return self._waiting

    @property
    def connections(self) -> int:
        """How many connections are remembered."""
        return len(self._talks)

    def segment(self, segment: Segment, nanoseconds: int = 0, packet: int = 0) -> Iterator[Event]:
        """Take in a segment."""
        yield from self._let_go(nanoseconds)
        sender, receiver = segment.sender, segment.receiver
        key = (sender, receiver) if sender <= receiver else (receiver, sender)
        talk = self._talks.get(key)
        if talk is not None and self._is_reopened(talk, segment):
            yield from self._close(talk)
            talk = None
        if talk is None:
            if not segment.syn and (segment.rst or not (segment.fin or segment.length)):
                return  # a connection that shows nothing but acknowledgements is none for us
            talk = self._open(segment)
            self._talks[key] = talk
        self._talks.move_to_end(key)
        talk.last, talk.packet = nanoseconds, packet
        from_client = sender == talk.connection.client
        half, other = (talk.client, talk.server) if from_client else (talk.server, talk.client)
        if segment.acknowledged is not None and not segment.rst:
            yield from self._acknowledge(talk, other, segment)
        yield from self._take(talk, half, segment, nanoseconds, packet)
        if segment.rst or (talk.client.ended and talk.server.ended):
            if not talk.closed:
                self._closed.append(key)
            yield from self._close(talk)
            self._forget_closed()
        while len(self._talks) > self._limits.connections:
            _, oldest = self._talks.popitem(last=False)
            yield from self._close(oldest)

    def _forget_closed(self) -> None:
        # Stragglers come soon or never; a busy server must not fill the table with the dead.
        while len(self._closed) > _CLOSED_KEPT:
            key = self._closed.popleft()
            talk = self._talks.get(key)
            if talk is not None and talk.closed:
                del self._talks[key]

    def finish(self) -> Iterator[Event]:
        """The capture has ended: give what waits, and the ends."""
        while self._talks:
            _, talk = self._talks.popitem(last=False)
            yield from self._close(talk)

    def _open(self, segment: Segment) -> _Talk:
        if segment.syn:
            client = segment.sender if segment.acknowledged is None else segment.receiver
        else:
            client = segment.sender if segment.sender.port >= segment.receiver.port else segment.receiver
        server = segment.receiver if client == segment.sender else segment.sender
        talk = _Talk(Connection(self._count, client, server, segment.syn))
        self._count += 1
        return talk

    def _is_reopened(self, talk: _Talk, segment: Segment) -> bool:
        """Whether the segment opens a new connection between the same ends."""
        if not segment.syn:
            return False
        half = talk.client if segment.sender == talk.connection.client else talk.server
        if half.syn is None:
            # It may belong to the connection at hand: the answer to its SYN,
            # or a SYN captured behind the first data.
            if half.base is None:
                other = talk.server if half is talk.client else talk.client
                return (
                    segment.acknowledged is not None
                    and other.syn is not None
                    and segment.acknowledged != (other.syn + 1) % _WRAP
                ) or talk.closed
            return (segment.sequence + 1) % _WRAP != half.base
        return segment.sequence != half.syn

    def _let_go(self, now: int) -> Iterator[Event]:
        limit = now - self._limits.idle * 1_000_000_000
        while self._talks:
            key, talk = next(iter(self._talks.items()))
            if talk.last >= limit:
                return
            del self._talks[key]
            yield from self._close(talk)

    def _acknowledge(self, talk: _Talk, half: _Half, segment: Segment) -> Iterator[Event]:
        """``half`` has had its bytes acknowledged by the other side."""
        assert segment.acknowledged is not None
        if half.base is None:
            return
        half.acknowledged = max(half.acknowledged, half.place(segment.acknowledged))
        hole_end = half.pieces[0].start if half.pieces else half.fin
        if hole_end is None or hole_end <= half.next or half.acknowledged < hole_end:
            return
        half.patience += 1
        if half.patience > PATIENCE:
            yield from self._give_up(talk, half, "the receiver acknowledged them, so the capture lost them")

    def _take(
        self, talk: _Talk, half: _Half, segment: Segment, nanoseconds: int, packet: int
    ) -> Iterator[Event]:
        sequence = segment.sequence
        if segment.syn:
            if half.syn is None:
                half.syn = sequence
                if half.base is None:
                    half.base = (sequence + 1) % _WRAP
            sequence = (sequence + 1) % _WRAP
        if segment.rst or not (segment.length or segment.fin):
            return  # what a reset carries is a remark of the system, not of the program
        if half.base is None:
            half.base = sequence
        start = half.place(sequence)
        end = start + segment.length
        if segment.fin and half.fin is None and end >= half.next:
            half.fin = end
        if segment.length:
            yield from self._place(talk, half, _Piece(start, end, segment.payload, nanoseconds, packet))
        yield from self._end_if_due(talk, half)

    def _place(self, talk: _Talk, half: _Half, piece: _Piece) -> Iterator[Event]:
        if piece.start < half.next:
            late = self._late(half, piece)
            if late:
                yield StreamLate(
                    talk.connection, half.from_client, piece.start, late, piece.nanoseconds, piece.packet
                )
            if piece.end <= half.next:
                return
            piece = _cut(piece, half.next, piece.end)
        if half.ended:
            half.ended = talk.closed = False
            half.fin = None
            half.starts = True
        if not half.pieces and piece.start == half.next:
            yield from self._deliver(talk, half, piece)
            return
        self._wait(half, piece)
        yield from self._drain(talk, half)
        if half.waiting > self._limits.waiting or self._waiting > self._limits.waiting_in_all:
            while half.pieces:
                yield from self._give_up(talk, half, "too much has come behind them")

    def _late(self, half: _Half, piece: _Piece) -> int:
        end = min(piece.end, half.next)
        late = max(0, min(0, end) - piece.start) if half.said_anything else 0
        for begin, stop in half.gaps:
            late += max(0, min(end, stop) - max(piece.start, begin))
        return late

    def _wait(self, half: _Half, piece: _Piece) -> None:
        """Put a piece behind the hole, without the bytes that already wait there."""
        pieces = half.pieces
        at = piece.start
        index = bisect_right(pieces, at, key=_start_of)
        if index:
            at = max(at, pieces[index - 1].end)
        fresh: list[_Piece] = []
        while at < piece.end:
            stop = min(piece.end, pieces[index].start) if index < len(pieces) else piece.end
            if at < stop:
                fresh.append(_cut(piece, at, stop))
            if index == len(pieces):
                break
            at = max(at, pieces[index].end)
            index += 1
        for part in fresh:
            insort(pieces, part, key=_start_of)
            half.waiting += len(part.payload) + _PIECE_COST
            self._waiting += len(part.payload) + _PIECE_COST

    def _drain(self, talk: _Talk, half: _Half) -> Iterator[Event]:
        while half.pieces and half.pieces[0].start <= half.next:
            piece = half.pieces.pop(0)
            half.waiting -= len(piece.payload) + _PIECE_COST
            self._waiting -= len(piece.payload) + _PIECE_COST
            yield from self._deliver(talk, half, piece)

    def _deliver(self, talk: _Talk, half: _Half, piece: _Piece) -> Iterator[Event]:
        half.patience = 0
        half.said_anything = True
        if piece.payload:
            yield StreamData(
                talk.connection,
                half.from_client,
                piece.payload,
                piece.start,
                piece.nanoseconds,
                piece.packet,
                half.starts,
            )
            half.starts = False
        half.next = piece.start + len(piece.payload)
        if half.next < piece.end:
            yield self._gap(talk, half, piece.end, piece, "the packet was cut when it was captured (snaplen)")

    def _give_up(self, talk: _Talk, half: _Half, why: str) -> Iterator[Event]:
        """Stop waiting for the first hole."""
        if half.pieces:
            piece = half.pieces[0]
            if piece.start > half.next:
                yield self._gap(talk, half, piece.start, piece, why)
            yield from self._drain(talk, half)
        elif half.fin is not None and half.fin > half.next:
            piece = _Piece(half.fin, half.fin, b"", talk.last, talk.packet)
            yield self._gap(talk, half, half.fin, piece, why)
        yield from self._end_if_due(talk, half)

    def _gap(self, talk: _Talk, half: _Half, end: int, piece: _Piece, why: str) -> StreamGap:
        begin, half.next = half.next, end
        half.patience = 0
        half.starts = True
        half.said_anything = True
        half.gaps = [*half.gaps[1 - _GAPS_KEPT :], (begin, end)]
        return StreamGap(
            talk.connection, half.from_client, begin, end - begin, piece.nanoseconds, piece.packet, why
        )

    def _end_if_due(self, talk: _Talk, half: _Half) -> Iterator[Event]:
        if half.fin is not None and half.next >= half.fin and not half.pieces and not half.ended:
            yield from self._end(talk, half)

    def _end(self, talk: _Talk, half: _Half) -> Iterator[Event]:
        half.ended = True
        if half.said_anything:
            yield StreamEnd(talk.connection, half.from_client, half.next, talk.last, talk.packet)

    def _close(self, talk: _Talk) -> Iterator[Event]:
        """Give what waits on both sides. It stays known, so that stragglers do not open a new one."""
        why = "they are not in the capture"
        for half in (talk.client, talk.server):
            while half.pieces:
                yield from self._give_up(talk, half, why)
            if half.fin is not None and half.fin > half.next:
                yield from self._give_up(talk, half, why)
            elif half.fin is None and half.acknowledged - half.next > 1:
                # One more than the data is the FIN itself, should it be missing.
                piece = _Piece(half.next, half.next, b"", talk.last, talk.packet)
                yield self._gap(talk, half, half.acknowledged, piece, why)
            if not half.ended:
                yield from self._end(talk, half)
        talk.closed = True


def _cut(piece: _Piece, start: int, end: int) -> _Piece:
    payload = piece.payload[start - piece.start : end - piece.start]
    return piece._replace(start=start, end=end, payload=payload)
