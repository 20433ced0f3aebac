"""Stations that cost little: WebSocket by hand, frames made beforehand.

A client library would take most of the machine in these measurements. What
these do not check, the tests do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
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


def handshake(identity: str) -> bytes:
    """What a client says first (RFC 6455, section 4.1)."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /{identity} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    ).encode()


def frame_end(received: bytes | bytearray) -> tuple[int, int] | None:
    """Where the payload of the first frame begins and ends, if all of it is there."""
    if len(received) < 2:
        return None
    size, at = received[1], 2
    if size == 126:
        size, at = int.from_bytes(received[2:4], "big"), 4
    return (at, at + size) if len(received) >= at + size else None


class AskingStations:
    """Stations that all send a request, and read when the last one has been answered.

    The sockets block, and the one that was written to last is read first. So
    the server's answers do not wake the process of the stations one by one,
    which costs the server time that has nothing to do with what it is, and as
    much as answering does.
    """

    def __init__(self, port: int, count: int) -> None:
        self._sockets = []
        for number in range(count):
            station = socket.create_connection(("127.0.0.1", port), timeout=60)
            station.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            station.sendall(handshake(f"CP{number}"))
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += station.recv(1)
            if not answer.startswith(b"HTTP/1.1 101") or b"ocpp1.6" not in answer:
                raise ConnectionError(answer.decode())
            self._sockets.append(station)

    def __len__(self) -> int:
        return len(self._sockets)

    def ask(self, action: str, each: int) -> None:
        """``each`` requests by every station."""
        frame = masked(REQUESTS[action])
        for _ in range(each):
            for station in self._sockets:
                station.sendall(frame)
            for station in reversed(self._sockets):
                answer = station.recv(4096)
                while (place := frame_end(answer)) is None:
                    more = station.recv(4096)
                    if not more:
                        raise ConnectionError("the server has closed")
                    answer += more
                if not answer.startswith(b'[3,"19223201",{', place[0]) or place[1] != len(answer):
                    raise ConnectionError(f"{action} was answered {answer!r}")

    def close(self) -> None:
        """Close the connections."""
        for station in self._sockets:
            station.close()


class FastStation(asyncio.Protocol):
    """A station that answers the CALLs it gets, and pings."""

    def __init__(self, identity: str) -> None:
        loop = asyncio.get_running_loop()
        self._identity = identity
        self._received = bytearray()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.commands = 0
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(handshake(self._identity))

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
        while place := frame_end(received):
            opcode, payload = received[0] & 15, bytes(received[slice(*place)])
            del received[: place[1]]
            self._take(opcode, payload)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:
            self.transport.write(masked(payload, 10))
        elif opcode == 1:
            self.commands += 1
            answer = [3, json.loads(payload)[1], {"status": "Accepted"}]
            self.transport.write(masked(json.dumps(answer).encode()))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError("closed"))


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
