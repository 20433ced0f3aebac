"""Servers in processes of their own, told by their own CPU time, and clients for them."""

from __future__ import annotations

import argparse
import asyncio
import gc
from contextlib import AbstractContextManager
from typing import Any, Literal

import uvloop

from benchmarks import processes
from benchmarks.processes import ServerProcess, answer_questions
from evproto import ykc
from evproto.ykc import enums
from evproto.ykc.messages import HeartbeatRequest, LoginRequest

Which = Literal["evproto", "echo"]

CODEC = ykc.Codec("1.6")


def login(number: int) -> bytes:
    """The login of a pile."""
    message = LoginRequest(
        pile_id=f"{number:014d}",
        pile_type=enums.PileType.DC,
        gun_count=1,
        protocol_version=1.6,
        firmware_version="V1.0.0",
        network_type=enums.NetworkType.SIM,
        sim_no="0",
        network_operator=enums.Operator.CHINA_MOBILE,
    )
    return CODEC.encode(message, 0)


def heartbeat(number: int, sequence: int = 1) -> bytes:
    """A heartbeat of a pile."""
    message = HeartbeatRequest(pile_id=f"{number:014d}", gun_no="01", gun_health=enums.GunHealth.NORMAL)
    return CODEC.encode(message, sequence)


def serving(which: Which) -> AbstractContextManager[ServerProcess]:
    """A server in a process of its own, for as long as it takes; it also tells how many ``piles`` it has."""
    return processes.serving("benchmarks.ykc_servers", which)


class Echo(asyncio.Protocol):
    """The least a server can do."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Beater(asyncio.Protocol):
    """A pile that sends its next heartbeat when the last one is answered."""

    def __init__(self, number: int, count: int, logs_in: bool) -> None:
        self.frame = heartbeat(number)
        self.first = login(number) if logs_in else b""
        self.logs_in = logs_in
        self.left = count
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.logs_in:
            transport.write(self.first)
        else:
            self.ready.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            # 0x02 is 16 bytes, 0x56 22.
            self.received += data
            if len(self.received) >= 38:
                self.ready.set_result(None)
            return
        assert len(data) == len(self.frame), data.hex()
        self.left -= 1
        if self.left > 0:
            self.transport.write(self.frame)
        elif not self.done.done():
            self.done.set_result(None)

    def beat(self) -> None:
        """Send the first heartbeat."""
        self.transport.write(self.frame)


class Load:
    """Connections that beat, against one server."""

    def __init__(self, server: ServerProcess, which: Which, connections: int) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._beaters = self._runner.run(self._connect(server.port, which, connections))

    def beat(self, count: int) -> None:
        """``count`` heartbeats, each after the answer to the one before, on every connection."""
        self._runner.run(self._beat(count))

    def close(self) -> None:
        """Close the connections."""
        for beater in self._beaters:
            beater.transport.close()
        self._runner.close()

    async def _connect(self, port: int, which: Which, connections: int) -> list[Beater]:
        loop = asyncio.get_running_loop()
        beaters = []
        for number in range(connections):
            _, beater = await loop.create_connection(
                lambda number=number: Beater(number, 0, which == "evproto"),  # type: ignore[misc]
                "127.0.0.1",
                port,
            )
            beaters.append(beater)
        await asyncio.gather(*(beater.ready for beater in beaters))
        return beaters

    async def _beat(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for beater in self._beaters:
            beater.left, beater.done = count, loop.create_future()
            beater.beat()
        await asyncio.gather(*(beater.done for beater in self._beaters))


async def _serve(which: Which) -> None:
    # As docs/ykc-server.md has it: a full collection over all connections takes 0.1 s.
    gc.set_threshold(10_000, 20, 1_000)
    loop = asyncio.get_running_loop()
    count = lambda: 0  # noqa: E731
    if which == "echo":
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=4096)
        port = server.sockets[0].getsockname()[1]
    else:
        from evproto.aio.ykc import Limits, PileServer

        piles = PileServer(limits=Limits(frame_rate=1e6, max_connections=20000, max_per_address=None))
        port = await piles.start("127.0.0.1", 0)
        count = lambda: len(piles.piles)  # noqa: E731

    async def ask(what: str) -> dict[str, Any]:
        return {"piles": count()}

    await answer_questions(port, ask)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=["evproto", "echo"])
    import logging

    logging.getLogger("evproto").setLevel(logging.ERROR)
    uvloop.run(_serve(parser.parse_args().which))
