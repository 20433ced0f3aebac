"""A network in memory, that can be cut, go silent, or stall, when a test says so."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from evproto.aio.ocpp import Security, Server
from evproto.aio.ocpp.websockets_link import ServerLink


class End(asyncio.Transport):
    """One end of a wire."""

    def __init__(self, wire: Wire, name: str) -> None:
        super().__init__({"peername": (name, wire.number)})
        self.wire = wire
        self.other: End
        self.protocol: Any = None
        self._on_the_way: deque[bytes] = deque()
        self._size = 0
        self._high, self._low = 64 << 10, 16 << 10
        self._writing_paused = False
        self._reading = True
        self._closing = False
        self._lost = False
        self._eof = False

    # What a protocol does

    def write(self, data: Any) -> None:
        if self._closing or self._lost:
            return
        self._on_the_way.append(bytes(data))
        self._size += len(data)
        if self._size > self._high and not self._writing_paused:
            self._writing_paused = True
            self.protocol.pause_writing()
        self.wire.loop.call_soon(self._carry)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof = True
        self.wire.loop.call_soon(self._carry)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.wire.loop.call_soon(self.other._carry)

    def is_closing(self) -> bool:
        return self._closing or self._lost

    def get_write_buffer_size(self) -> int:
        return self._size

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 << 10 if high is None else high
        self._low = self._high // 4 if low is None else low

    def close(self) -> None:
        self._closing = True
        self.wire.loop.call_soon(self._carry)

    def abort(self) -> None:
        self._closing = True
        self._on_the_way.clear()
        self._size = 0
        self.wire.loop.call_soon(self.lose, None)
        if not self.wire.silent:
            self.wire.loop.call_soon(self.other.lose, ConnectionResetError("reset by the other end"))

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    # What the wire does

    def _carry(self) -> None:
        """Hand one chunk over, if the other end takes it."""
        wire, other = self.wire, self.other
        if wire.silent or self.wire.stalled is self or self._lost:
            return
        if self._on_the_way and other._reading and not other._lost:
            data = self._on_the_way.popleft()
            self._size -= len(data)
            if self._writing_paused and self._size <= self._low:
                self._writing_paused = False
                self.protocol.resume_writing()
            other.protocol.data_received(data)
            if self._on_the_way:
                wire.loop.call_soon(self._carry)
        if not self._on_the_way:
            if self._eof and not other._lost:
                self._eof = False
                if not other.protocol.eof_received():
                    other.close()
            if self._closing and not self._lost:
                self.lose(None)
                wire.loop.call_soon(other.lose, None)

    def lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self.protocol.connection_lost(error)


class Wire:
    """A connection: the station's end and the server's."""

    def __init__(self, number: int, client: Any, server: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.number = number
        self.silent = False
        self.stalled: End | None = None
        """The end whose words are not taken by the other."""
        self.client, self.server = End(self, "server"), End(self, "station")
        self.client.other, self.server.other = self.server, self.client
        self.client.protocol, self.server.protocol = client, server
        server.connection_made(self.server)
        client.connection_made(self.client)

    def cut(self) -> None:
        """The network breaks, and both ends learn of it."""
        for end in (self.client, self.server):
            end.lose(ConnectionResetError("cut"))

    def go_silent(self) -> None:
        """The network breaks, and neither end learns of it."""
        self.silent = True

    def stop_reading(self) -> None:
        """The station takes nothing any more, but talks on."""
        self.stalled = self.server


class Network:
    """Connects stations to one server, which may be replaced by another."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server
        self.wires: list[Wire] = []

    async def connect(self, make: Callable[[], Any]) -> None:
        """What a station is given as its ``connector``."""
        if self.server is None:
            raise ConnectionRefusedError("no server")
        link = ServerLink(partial(self.server.admit, Security()), self.server.settings.link)
        self.wires.append(Wire(len(self.wires), make(), link))

    @property
    def last(self) -> Wire:
        return self.wires[-1]
