"""What the tests of OCPP endpoints share: stations that speak bytes, and a way to run a loop."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import websockets

from evproto.aio.ocpp import CentralSystem, Server, ServerSettings
from evproto.ocpp import v16

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds until a test that waits for something that does not come is given up."""

ENGINES = ("websockets", "picows")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a test, but not for ever."""

    async def patient() -> T:
        async with asyncio.timeout(2 * PATIENCE):
            return await work

    return asyncio.run(patient())


async def soon(awaitable: Awaitable[T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def until(true: Callable[[], Any]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class RawStation:
    """A station of another library that sends exactly what a test says."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    @property
    def version(self) -> str | None:
        return self.socket.subprotocol

    async def send(self, *frame: Any) -> None:
        await soon(self.socket.send(json.dumps(list(frame))))

    async def send_text(self, text: str | bytes) -> None:
        await soon(self.socket.send(text))

    async def read(self) -> list[Any]:
        frame: list[Any] = json.loads(await soon(self.socket.recv()))
        return frame

    async def ask(self, action: str, payload: dict[str, Any], unique_id: str = "1") -> list[Any]:
        """The frame that comes next."""
        await self.send(2, unique_id, action, payload)
        return await self.read()

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the end, which must come without another message before it."""
        try:
            message = await soon(self.socket.recv())
        except websockets.ConnectionClosed as error:
            received = error.rcvd
            return (received.code, received.reason) if received is not None else (1006, "")
        raise AssertionError(f"a message came: {message!r}")


@contextlib.asynccontextmanager
async def raw(
    server: Server,
    path: str = "/CS1",
    version: str | None = "ocpp1.6",
    *,
    port: int | None = None,
    scheme: str = "ws",
    **more: Any,
) -> AsyncIterator[RawStation]:
    """A raw station on the first port of a server."""
    where = f"{scheme}://127.0.0.1:{port or server.listeners[0].port}{path}"
    offers: Any = [version] if isinstance(version, str) else version
    more.setdefault("ping_interval", None)
    async with websockets.connect(where, subprotocols=offers, proxy=None, **more) as socket:
        yield RawStation(socket)


@contextlib.asynccontextmanager
async def serving(server: Server, **listen: Any) -> AsyncIterator[Server]:
    """A server on a free port of the loopback."""
    async with server:
        await server.listen("127.0.0.1", **listen)
        yield server


def central_system(engine: Any = "auto", **more: Any) -> CentralSystem:
    """A central system of 1.6 that answers Heartbeat."""
    settings = more.pop("settings", None) or ServerSettings(engine=engine)
    server = CentralSystem(settings=settings, **more)

    @server.on(v16.messages.HeartbeatRequest)
    def heartbeat(station: Any, request: v16.messages.HeartbeatRequest) -> v16.messages.HeartbeatResponse:
        return v16.messages.HeartbeatResponse(current_time=now())

    return server
