"""A server on real sockets, piles made of bytes, and back ends that write down what they get."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
from reference.bodies import wrap

from evproto.gateway.app import Server
from evproto.gateway.config import Config, Layer, load

PILE = "55031412782305"
WAIT = 30.0

Frame = tuple[int, bytes, bytes]
"""Frame type, sequence bytes, body."""


def login_body(pile: str = PILE, version: int = 0x10) -> bytes:
    return bytes.fromhex(f"{pile} 00 02 {version:02X} 56342E312E353000 01 01010101010101010101 04")


class RawPile:
    """A pile that knows bytes only: what it sends is typed, what it gets is cut by the length byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pile: str) -> None:
        self._reader = reader
        self._writer = writer
        self.pile = pile
        self.seen: list[Frame] = []

    @classmethod
    async def connect(cls, port: int, pile: str = PILE) -> RawPile:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return cls(reader, writer, pile)

    @classmethod
    async def online(cls, port: int, pile: str = PILE, version: int = 0x10) -> RawPile:
        """A pile whose login was accepted."""
        made = await cls.connect(port, pile)
        made.send(0x01, login_body(pile, version))
        _, _, body = await made.expect(0x02)
        assert body == bytes.fromhex(pile) + b"\x00"
        return made

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def send(self, frame_type: int, body: bytes, sequence: bytes = b"\x00\x00") -> None:
        self._writer.write(wrap(frame_type, body, sequence))

    async def read(self) -> Frame:
        """The next frame; the checksum is compared with one that is computed here."""
        async with asyncio.timeout(WAIT):
            head = await self._reader.readexactly(2)
            rest = await self._reader.readexactly(head[1] + 2)
        assert head[0] == 0x68
        frame = rest[3], rest[:2], rest[4:-2]
        assert head + rest == wrap(*(frame[0], frame[2], frame[1]))
        self.seen.append(frame)
        return frame

    async def expect(self, frame_type: int) -> Frame:
        """The next frame of a type; others are passed over."""
        while True:
            frame = await self.read()
            if frame[0] == frame_type:
                return frame

    async def closed(self) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(WAIT):
            while await self._reader.read(4096):
                pass

    async def nothing_before(self, frame_type: int, probe: Callable[[], None]) -> list[Frame]:
        """What came before the answer to a probe, which is sent now."""
        begun = len(self.seen)
        probe()
        await self.expect(frame_type)
        return self.seen[begun:-1]

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Running:
    """A started server and a client of its API."""

    def __init__(self, server: Server, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client
        self.piles: list[RawPile] = []

    async def pile(self, pile: str = PILE, version: int = 0x10) -> RawPile:
        """A pile that is online."""
        made = await RawPile.online(self.server.tcp_port, pile, version)
        self.piles.append(made)
        return made

    async def raw_pile(self, pile: str = PILE) -> RawPile:
        """A pile that has not logged in."""
        made = await RawPile.connect(self.server.tcp_port, pile)
        self.piles.append(made)
        return made

    async def command(
        self, name: str, fields: dict[str, Any], pile: str = PILE, **more: Any
    ) -> httpx.Response:
        return await self.client.post(f"/piles/{pile}/commands/{name}", json=fields, **more)

    async def metric(self, line: str) -> float:
        """A value of /metrics, by the beginning of its line."""
        text = (await self.client.get("/metrics")).text
        for one in text.splitlines():
            if one.startswith(f"{line} "):
                return float(one.rpartition(" ")[2])
        return 0.0


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *, make: Callable[[Config], Server] = Server, **settings: Any
) -> AsyncIterator[Running]:
    """A server with settings by key, with ``_`` for ``-`` and ``__`` for ``.``: ``ykc__auto_login=False``."""
    values: dict[str, Any] = {
        "ykc.host": "127.0.0.1",
        "ykc.tcp-port": 0,
        "http.port": 0,
        "outbox.data": str(folder / "data"),
        "ykc.time-sync": False,
        "websocket.host": "127.0.0.1",
        "websocket.port": 0,
        "server.drain-timeout": 20.0,
    }
    for name, value in settings.items():
        section, _, key = name.partition("__")
        values[f"{section.replace('_', '-')}.{key.replace('_', '-')}"] = value
    server = make(load(Layer(values, {})))
    await server.start()
    base = f"http://127.0.0.1:{server.http_port}"
    async with httpx.AsyncClient(base_url=base, timeout=WAIT, trust_env=False) as client:
        running = Running(server, client)
        try:
            yield running
        finally:
            for pile in running.piles:
                await pile.close()
            await server.stop()


class Backend:
    """An HTTP server that writes down what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], Any]] = []
        """Path, headers, JSON."""
        self.status: Callable[[str, Any], int] = lambda path, body: 200
        self.url = ""
        self._server: asyncio.Server | None = None
        self._news = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Backend:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *details: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def until(self, wanted: Callable[[str, Any], bool], count: int = 1) -> list[Any]:
        """The bodies of the first so many posts that are wanted."""

        def found() -> list[Any]:
            return [body for path, _, body in self.got if wanted(path, body)]

        async with asyncio.timeout(WAIT), self._news:
            await self._news.wait_for(lambda: len(found()) >= count)
        return found()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                path = head[0].split(" ")[1]
                status = self.status(path, body)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}".encode())
                await writer.drain()
                async with self._news:
                    if 200 <= status < 300:
                        self.got.append((path, headers, body))
                    self._news.notify_all()
        self._writers.discard(writer)
        writer.close()
