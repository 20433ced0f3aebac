"""A pile that is nothing but a socket: its frames are made and cut without evproto's codec."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from reference.bodies import quick_checksum, wrap

from evproto.aio.ykc import PileServer

PILE = "55031412782305"
PATIENCE = 30.0
"""How long anything that must happen may take; machines are slow at times."""


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop] | None] = {"asyncio": None}
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


def run(main: Coroutine[Any, Any, None], loop: str = "asyncio") -> None:
    """Run a test on a kind of loop, for two minutes at most."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(main, 120))


def login(pile: str = PILE, version: int = 0x10, sequence: bytes = b"\0\0") -> bytes:
    body = bytes.fromhex(f"{pile} 00 02 {version:02X} 56342E312E353000 01 01010101010101010101 04")
    return wrap(0x01, body, sequence)


def heartbeat(gun: int = 1, sequence: bytes = b"\x01\0", pile: str = PILE) -> bytes:
    return wrap(0x03, bytes.fromhex(f"{pile} {gun:02d} 00"), sequence)


class RawPile:
    """A TCP connection to a server, and the frames that came from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, **options: Any) -> RawPile:
        return cls(*await asyncio.open_connection("127.0.0.1", port, **options))

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await self.writer.drain()

    async def frame(self) -> bytes:
        """The next frame, its checksum right."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readexactly(2)
            rest = await self.reader.readexactly(head[1] + 2)
        assert head[0] == 0x68
        assert quick_checksum(rest[:-2]) == int.from_bytes(rest[-2:], "little")
        return head + rest

    async def frame_of(self, frame_type: int) -> bytes:
        """The next frame of a type; others are passed over."""
        while True:
            frame = await self.frame()
            if frame[5] == frame_type:
                return frame

    async def log_in(self, pile: str = PILE, version: int = 0x10) -> None:
        """Log in, and be accepted."""
        await self.send(login(pile, version))
        assert await self.frame_of(0x02) == wrap(0x02, bytes.fromhex(f"{pile} 00"))

    async def ended(self) -> bytes:
        """What still comes until the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
            return b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(server: PileServer, **options: Any) -> AsyncIterator[int]:
    """A server on a port of its own."""
    port = await server.start(**options)
    try:
        yield port
    finally:
        async with asyncio.timeout(PATIENCE):
            await server.close(drain=1.0)


@contextlib.asynccontextmanager
async def connected(port: int, **options: Any) -> AsyncIterator[RawPile]:
    """A connection, closed at the end."""
    pile = await RawPile.connect(port, **options)
    try:
        yield pile
    finally:
        await pile.close()


class Heard:
    """What handlers have been called with, to be waited for."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._news = asyncio.Event()

    def add(self, pile: Any, what: Any) -> None:
        self.all.append(what)
        self._news.set()

    async def until(self, enough: Callable[[list[Any]], Any]) -> Any:
        """Wait until ``enough`` of what was heard is true; return it."""
        async with asyncio.timeout(PATIENCE):
            while not (found := enough(self.all)):
                self._news.clear()
                await self._news.wait()
        return found

    async def count(self, number: int) -> list[Any]:
        """Wait for so many."""
        await self.until(lambda heard: len(heard) >= number)
        return self.all


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until something is true that tells nobody when it becomes so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)
