"""A tap between piles and their platform: bytes pass through, copies are looked at.

:class:`Tap` listens where the piles connect, and connects to the platform for
each of them. What comes from one side is written to the other at once and as
it came, whatever it is. The end of a side's data, resets and backpressure are
passed on as well, so that each side sees what it would see without the tap
(but for the address of the other). A copy goes to ``watch``; :class:`TapDecoder`
makes frames of the copies.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from evproto.errors import DecodeError
from evproto.wire.frame import Frame
from evproto.wire.framing import Piece
from evproto.ykc.codec import Codec
from evproto.ykc.messages import LoginRequest

__all__ = ["Closed", "Data", "Opened", "Tap", "TapConnection", "TapDecoder", "TapEvent", "TapFrame"]

_CONNECT_WITHIN: Final = 10.0
_FLUSH_WITHIN: Final = 1.0
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time at all: closing sends a reset."""


class TapConnection:
    """One connection through a tap.

    Attributes:
        number: counts the connections of a tap from 1.
        client: the pile's address, host and port.
        server: the platform's address as connected to; None until it is.
        pile_id: 14 digits; None until a :class:`TapDecoder` has seen a login.
    """

    __slots__ = ("client", "number", "pile_id", "server")

    def __init__(self, number: int, client: tuple[str, int]) -> None:
        self.number = number
        self.client = client
        self.server: tuple[str, int] | None = None
        self.pile_id: str | None = None

    @property
    def label(self) -> str:
        """``192.0.2.7:53210 55031412782305``: the address, and the pile once it is known."""
        host, port = self.client
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return address if self.pile_id is None else f"{address} {self.pile_id}"

    def __repr__(self) -> str:
        return f"<TapConnection {self.number} {self.label}>"


class Opened(msgspec.Struct, frozen=True):
    """A pile's connection has been connected through to the platform."""

    connection: TapConnection
    time: dt.datetime


class Data(msgspec.Struct, frozen=True):
    """Bytes that were passed on, as they were read."""

    connection: TapConnection
    time: dt.datetime
    from_pile: bool
    data: bytes


class Closed(msgspec.Struct, frozen=True):
    """A connection has ended, on both sides."""

    connection: TapConnection
    time: dt.datetime
    reason: str
    by_pile: bool | None
    """Which side ended it; None: neither."""
    reset: bool


class TapFrame(msgspec.Struct, frozen=True):
    """A frame, or bytes that are none, that went through a tap."""

    connection: TapConnection
    time: dt.datetime
    """When its last byte came."""
    from_pile: bool
    raw: bytes
    frame: Frame | None = None
    error: DecodeError | None = None


TapEvent = Opened | Data | Closed
Watch = Callable[[TapEvent], None]


class Tap:
    """A transparent proxy for one platform.

    ::

        tap = Tap("198.51.100.1", 27600, watch=print)
        await tap.start("0.0.0.0", 27601)

    ``watch`` is called in the loop, after the bytes were passed on, and should
    not take long; what it raises goes to the loop's exception handler and to
    nobody else.
    """

    def __init__(
        self, host: str, port: int, *, watch: Watch | None = None, connect_timeout: float = _CONNECT_WITHIN
    ) -> None:
        """``host`` and ``port`` are the platform's."""
        self.host = host
        self.port = port
        self._watch = watch
        self._connect_timeout = connect_timeout
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._changed = asyncio.Event()
        self._count = 0

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        if self._server is None:
            return []
        return [_address(one.getsockname()) for one in self._server.sockets]

    @property
    def connections(self) -> list[TapConnection]:
        """The connections at present."""
        return [link.connection for link in self._links]

    async def start(self, host: str | None, port: int) -> None:
        """Listen for piles; port 0 takes a free one.

        Raises:
            OSError: it cannot.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port)

    async def close(self) -> None:
        """Stop listening, and end the connections on both sides once what was read is written."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for link in list(self._links):
            link.end("the tap was closed", None, reset=False)
        try:
            async with asyncio.timeout(_FLUSH_WITHIN):
                while self._links:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:  # somebody does not read
            for link in list(self._links):
                link.abort()
        if server is not None:
            await server.wait_closed()

    def _accept(self) -> asyncio.Protocol:
        self._count += 1
        link = _Link(self, self._count)
        return link.pile

    def _add(self, link: _Link) -> None:
        self._links.add(link)

    def _remove(self, link: _Link) -> None:
        self._links.discard(link)
        self._changed.set()

    def _tell(self, event: TapEvent) -> None:
        if self._watch is None:
            return
        try:
            self._watch(event)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "what watches a tap has failed", "exception": error}
            )


class _Link:
    """The two sides of one connection."""

    def __init__(self, tap: Tap, number: int) -> None:
        self.tap = tap
        self.pile = _Side(self, from_pile=True)
        self.platform = _Side(self, from_pile=False)
        self.pile.other, self.platform.other = self.platform, self.pile
        self.connection = TapConnection(number, ("", 0))
        self._connecting: asyncio.Task[None] | None = None
        self._ended: Closed | None = None

    def accepted(self) -> None:
        """A pile is there; nothing is read of it until the platform is, too."""
        assert self.pile.transport is not None
        self.tap._add(self)
        self.connection.client = _address(self.pile.transport.get_extra_info("peername"))
        self.pile.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        tap = self.tap
        try:
            async with asyncio.timeout(tap._connect_timeout):
                await asyncio.get_running_loop().create_connection(lambda: self.platform, tap.host, tap.port)
        except (OSError, TimeoutError) as error:
            why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            self.end(f"cannot connect to {tap.host}:{tap.port}: {why}", False, reset=True)
            return
        finally:
            self._connecting = None
        assert self.platform.transport is not None
        if self._ended is not None:  # the pile has gone meanwhile
            self.platform.reset()
            return
        self.connection.server = _address(self.platform.transport.get_extra_info("peername"))
        tap._tell(Opened(self.connection, _now()))
        self.pile.begin()

    def end(self, reason: str, by_pile: bool | None, *, reset: bool) -> None:
        """End both sides; the first reason stays."""
        if self._ended is None:
            self._ended = Closed(self.connection, _now(), reason, by_pile, reset)
        if self._connecting is not None and by_pile is not False:
            self._connecting.cancel()
        for side in (self.pile, self.platform):
            if side.transport is not None:
                if reset:
                    side.reset()
                else:
                    side.transport.close()
        self.lost()

    def abort(self) -> None:
        """Wait for nothing."""
        for side in (self.pile, self.platform):
            if side.transport is not None:
                side.transport.abort()

    def lost(self) -> None:
        """One side is gone; when both are, that is the end."""
        if self.pile.is_open or self.platform.is_open or self._ended is None:
            return
        if self in self.tap._links:
            self.tap._remove(self)
            self.tap._tell(self._ended)


class _Side(asyncio.Protocol):
    """The tap's end of one of the two connections."""

    other: _Side

    def __init__(self, link: _Link, *, from_pile: bool) -> None:
        self._link = link
        self._from_pile = from_pile
        self.transport: asyncio.Transport | None = None
        self.has_ended = False
        """Whether its peer has said that it sends no more."""
        self._early: list[bytes] = []
        self._lost = False

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self.transport is not None and not self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._from_pile:
            self._link.accepted()

    def data_received(self, data: bytes) -> None:
        target = self.other.transport
        if target is None:
            # A loop may read although it was told not to, before the platform is there.
            self._early.append(data)
            assert self.transport is not None
            self.transport.pause_reading()
            return
        if self.other.is_open:
            target.write(data)
        self._link.tap._tell(Data(self._link.connection, _now(), self._from_pile, data))

    def begin(self) -> None:
        """The other side is there now."""
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)
        if self.has_ended:
            self.eof_received()
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        self.has_ended = True
        other = self.other
        if other.is_open and other.transport is not None:
            if other.has_ended:
                self._link.end(f"closed by the {self.other._name}", not self._from_pile, reset=False)
            elif other.transport.can_write_eof():
                other.transport.write_eof()
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        # This side takes no more at present: read no more from the other.
        other = self.other.transport
        if other is not None and not other.is_closing():
            other.pause_reading()

    def resume_writing(self) -> None:
        other = self.other.transport
        if other is not None and not other.is_closing():
            other.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        link = self._link
        if error is not None:
            link.end(f"reset by the {self._name}", self._from_pile, reset=True)
        else:
            link.end(f"closed by the {self._name}", self._from_pile, reset=False)
        link.lost()

    def reset(self) -> None:
        """Break off, so that the peer sees a reset."""
        if self.transport is None or self._lost:
            return
        plug = self.transport.get_extra_info("socket")
        if plug is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.transport.abort()

    @property
    def _name(self) -> str:
        return "pile" if self._from_pile else "platform"


class TapDecoder:
    """Frames out of what went through a tap; no sockets, so it may run in another thread."""

    def __init__(self, codec: Codec | None = None) -> None:
        """``codec`` reads the frames; V1.7, which reads all older ones too, unless given."""
        self._codec = codec or Codec("1.7")
        self._splitters: dict[tuple[int, bool], Any] = {}

    def feed(self, event: TapEvent) -> list[TapFrame | Opened | Closed]:
        """What has become certain with this event, in order."""
        connection = event.connection
        out: list[TapFrame | Opened | Closed] = []
        if isinstance(event, Data):
            key = connection.number, event.from_pile
            splitter = self._splitters.get(key)
            if splitter is None:
                splitter = self._splitters[key] = self._codec.split()
            self._decode(splitter.feed(event.data), connection, event.from_pile, event.time, out)
        elif isinstance(event, Closed):
            for from_pile in (True, False):
                splitter = self._splitters.pop((connection.number, from_pile), None)
                if splitter is not None:
                    self._decode(splitter.finish(), connection, from_pile, event.time, out)
            out.append(event)
        else:
            out.append(event)
        return out

    def _decode(
        self,
        pieces: list[Piece | DecodeError],
        connection: TapConnection,
        from_pile: bool,
        time: dt.datetime,
        out: list[TapFrame | Opened | Closed],
    ) -> None:
        for piece in pieces:
            if isinstance(piece, DecodeError):
                out.append(TapFrame(connection, time, from_pile, piece.data, error=piece))
                continue
            try:
                frame = self._codec.unpack(piece)
            except DecodeError as error:
                error.at(piece.position)
                out.append(TapFrame(connection, time, from_pile, piece.data, error=error))
                continue
            if from_pile and isinstance(frame.message, LoginRequest):
                connection.pile_id = frame.message.pile_id
            out.append(TapFrame(connection, time, from_pile, piece.data, frame=frame))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _address(name: Any) -> tuple[str, int]:
    """Host and port of a socket's name; those of other families have none."""
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    return str(name or ""), 0
