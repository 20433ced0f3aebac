"""Stations that cost little: WebSocket by hand, frames made beforehand, answers counted.

A client library would take most of the machine in these measurements. What
these do not check, the tests do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import Any

from benchmarks.bench_ocpp import FRAMES

REQUESTS = {
    "MeterValues": FRAMES["MeterValues 1.6"],
    "Heartbeat": b'[2,"19223201","Heartbeat",{}]',
}
"""The frames that are sent, by action; MeterValues has 12 samples and 1.76 kB."""

_MASK = b"\x37\xfa\x21\x3d"


def masked(payload: bytes, opcode: int = 1) -> bytes:
    """A client's frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    else:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    mask = (_MASK * (size // 4 + 1))[:size]
    body = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + _MASK + body.to_bytes(size, "big")


class FastStation(asyncio.Protocol):
    """One connection. It answers the CALLs it gets, and counts the answers it is given."""

    def __init__(self, identity: str) -> None:
        loop = asyncio.get_running_loop()
        self._identity = identity
        self._received = bytearray()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.left = 0
        self.commands = 0
        self.lost = False
        self._frame = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /{self._identity} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self.ready.done():
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            if not received.startswith(b"HTTP/1.1 101") or b"ocpp1.6" not in received[:end]:
                self.ready.set_exception(ConnectionError(bytes(received).decode()))
                return
            del received[: end + 4]
            self.ready.set_result(None)
        while len(received) >= 2:
            size, at = received[1], 2
            if size == 126:
                size, at = int.from_bytes(received[2:4], "big"), 4
            if len(received) < at + size:
                return
            opcode, payload = received[0] & 15, bytes(received[at : at + size])
            del received[: at + size]
            self._take(opcode, payload)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:
            self.transport.write(masked(payload, 10))
        elif opcode == 1 and payload.startswith(b'[3,"19223201",{'):
            self.left -= 1
            if self.left > 0:
                self.transport.write(self._frame)
            elif not self.done.done():
                self.done.set_result(None)
        elif opcode == 1 and payload.startswith(b"[2,"):
            self.commands += 1
            self.transport.write(masked(json.dumps([3, json.loads(payload)[1], {"status": "Accepted"}]).encode()))
        elif not self.done.done():
            self.done.set_exception(ConnectionError(f"opcode {opcode}: {payload!r}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        for future in (self.ready, self.done):
            if not future.done():
                future.set_exception(error or ConnectionError("closed"))
                future.exception()

    def ask(self, frame: bytes, count: int) -> asyncio.Future[None]:
        """Send a masked frame ``count`` times, each time when the last was answered."""
        self.left, self._frame = count, frame
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(frame)
        return self.done


async def connect(port: int, identities: list[str], at_once: int = 100) -> list[FastStation]:
    """Stations that are connected and have had their handshake."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(at_once)

    async def one(identity: str) -> FastStation:
        async with gate:
            _, station = await loop.create_connection(lambda: FastStation(identity), "127.0.0.1", port)
            await station.ready
            return station

    return list(await asyncio.gather(*(one(identity) for identity in identities)))
