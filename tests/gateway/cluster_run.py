"""What the run of a cluster is made of: nodes as processes, a balancer before them, chargers that keep accounts.

The chargers are evproto's own clients. What they saw confirmed is compared
with what a plain NATS client finds in the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import nats
from ykc.vectors import VECTORS

from evproto.aio.ocpp import ChargePoint, LinkOptions, PeerSettings, StationSettings
from evproto.aio.ykc import Backoff, Pile
from evproto.ocpp import v16
from evproto.ykc import enums
from evproto.ykc.codec import Codec
from evproto.ykc.messages import LoginRequest, RemoteStopRequest, RemoteStopResponse, TransactionRecord
from evproto.ykc.session import PileSettings
from gateway.nats_server import NatsServer

WAIT = 60.0
ENDS = {"sent", "accepted", "rejected", "timeout", "disconnected"}
m, e = v16.messages, v16.enums


async def until(condition: Callable[[], Any], what: Callable[[], Any] = lambda: "") -> None:
    """Wait for something that gives no sign."""
    try:
        async with asyncio.timeout(WAIT):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {WAIT:g} s: {what()}") from None


class Node:
    """A gateway as a process of its own."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.alive = True
        self.ports: dict[str, int] = {}
        self.client = httpx.AsyncClient()
        self._log: list[str] = []
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, name: str, server: NatsServer, folder: Path) -> Node:
        settings = {
            "YKC_HOST": "127.0.0.1",
            "YKC_TCP_PORT": "0",
            "YKC_TIME_SYNC": "false",
            "WEBSOCKET_HOST": "127.0.0.1",
            "WEBSOCKET_PORT": "0",
            "HTTP_PORT": "0",
            "HTTP_PAGE": "off",
            "OUTBOX_DATA": str(folder / name),
            "FORWARD_TO": "nats",
            "FORWARD_SERVERS": server.url,
            "FORWARD_LEAVE_OUT": "heartbeat_request",
            "CLUSTER_SERVERS": server.url,
            "CLUSTER_NODE": name,
            "CLUSTER_LEASE": "8",
            "LOG_FORMAT": "json",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "evproto", "serve", "all"),
            env={**os.environ, **{f"EVPROTO_{key}": value for key, value in settings.items()}},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        node = cls(name, process)
        assert process.stderr is not None
        async with asyncio.timeout(WAIT):
            while True:
                line = await process.stderr.readline()
                node._log.append(line.decode())
                assert line, "".join(node._log)
                said = json.loads(line) if line.startswith(b"{") else {}
                if said.get("message") == "serving":
                    break
        node.ports = {"ykc": said["tcp_port"], "ws": int(said["ws"].rpartition(":")[2])}
        node._reader = asyncio.create_task(node._read(process.stderr))
        base = f"http://127.0.0.1:{said['http_port']}"
        node.client = httpx.AsyncClient(base_url=base, timeout=WAIT, trust_env=False)
        return node

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self._log.append(line.decode())

    def complaints(self) -> list[str]:
        """What it logged that is an error."""
        return [line for line in self._log if '"level": "error"' in line or '"level":"error"' in line]

    async def metric(self, line: str) -> float:
        """A value of /metrics; 0 if there is no such line."""
        for one in (await self.client.get("/metrics")).text.splitlines():
            if one.startswith(f"{line} "):
                return float(one.rpartition(" ")[2])
        return 0.0

    def kill(self) -> None:
        self.alive = False
        self.process.kill()

    async def close(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        if self._reader is not None:
            await self._reader
        await self.client.aclose()


class Balancer:
    """Takes connections on one port and passes each on to a node that takes it, chosen by chance."""

    def __init__(self, nodes: list[Node], kind: str, chance: random.Random) -> None:
        self._nodes = nodes
        self._kind = kind
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Balancer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *details: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            for node in self._chance.sample(self._nodes, len(self._nodes)):
                try:
                    there = await asyncio.open_connection("127.0.0.1", node.ports[self._kind])
                except OSError:
                    continue
                await self._couple((reader, writer), there)
                break
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _couple(
        self,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass bytes on until one of both ends."""
        ways = [
            asyncio.create_task(_copy(here[0], there[1])),
            asyncio.create_task(_copy(there[0], here[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            there[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


_CODEC = Codec("1.6")
_BODY = bytes.fromhex(VECTORS["8.7"]["frame"])
_RECORD = _CODEC.decode(_BODY).message
_LOGIN = _CODEC.decode(bytes.fromhex(VECTORS["6.1"]["frame"])).message
assert isinstance(_RECORD, TransactionRecord)
assert isinstance(_LOGIN, LoginRequest)


class TestPile:
    """A pile that uploads records, and stops when it is told."""

    __test__ = False
    collection = "piles"
    command = "remote_stop_request"
    fields: ClassVar[dict[str, Any]] = {"gun_no": "01"}

    def __init__(self, number: int, port: int, think: Callable[[], float]) -> None:
        self.id = f"5503142{number:07d}"
        self.confirmed: set[str] = set()
        self.obeyed = 0
        self._records = itertools.count(1)
        self.client = Pile(
            msgspec.structs.replace(_LOGIN, pile_id=self.id),
            "127.0.0.1",
            port,
            settings=PileSettings(heartbeat_interval=5.0),
            backoff=Backoff(first=0.3, most=2.0),
        )

        @self.client.on(RemoteStopRequest)
        async def stop(pile: Pile, request: RemoteStopRequest) -> RemoteStopResponse:
            self.obeyed += 1
            await asyncio.sleep(think())
            return RemoteStopResponse(
                pile_id=self.id,
                gun_no=request.gun_no,
                result=enums.FailureSuccess.SUCCESS,
                failure_reason=enums.RemoteStopFailureReason(0),
            )

    @property
    def is_online(self) -> bool:
        return self.client.is_online

    async def charge(self) -> None:
        """Upload a record; returns when it is confirmed, on whatever connection."""
        number = f"{self.id}01{next(self._records):016d}"
        await self.client.upload(msgspec.structs.replace(_RECORD, pile_id=self.id, transaction_no=number))
        self.confirmed.add(number)


class TestStation:
    """A charge point of OCPP 1.6 that reports transactions, and clears its cache when it is told."""

    __test__ = False
    collection = "ocpp1.6"
    command = "ClearCache"
    fields: ClassVar[dict[str, Any]] = {}

    def __init__(self, number: int, port: int, think: Callable[[], float]) -> None:
        # What neither subjects nor keys take as it is.
        self.id = f"CS {number:03d}.*"
        self.confirmed: set[str] = set()
        self.obeyed = 0
        self._numbers = itertools.count(1)
        self.client = ChargePoint(
            f"ws://127.0.0.1:{port}/ocpp",
            self.id,
            boot=m.BootNotificationRequest(charge_point_vendor="ACME", charge_point_model="One"),
            settings=StationSettings(
                wait_minimum=0.3,
                random_range=0.5,
                attempts=30,
                attempt_interval=0.5,
                link=LinkOptions(open_timeout=20.0),
                peer=PeerSettings(call_timeout=20.0),
            ),
        )

        @self.client.on(m.ClearCacheRequest)
        async def clear(station: Any, request: m.ClearCacheRequest) -> m.ClearCacheResponse:
            self.obeyed += 1
            await asyncio.sleep(think())
            return m.ClearCacheResponse(status=e.ClearCacheStatus.ACCEPTED)

    @property
    def is_online(self) -> bool:
        return self.client.upstream is not None

    async def charge(self) -> None:
        """Report the end of a transaction; returns when it is answered, on whatever connection."""
        number = next(self._numbers)
        ended = m.StopTransactionRequest(
            transaction_id=number, meter_stop=number, timestamp=dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
        )
        delivery = await self.client.deliver(ended)
        await delivery
        self.confirmed.add(str(number))


Charger = TestPile | TestStation


@contextlib.asynccontextmanager
async def fleet(
    nodes: list[Node], piles: int, stations: int, chance: random.Random, think: Callable[[], float]
) -> AsyncIterator[list[Charger]]:
    """Chargers behind a balancer, all of them online."""
    async with Balancer(nodes, "ykc", chance) as ykc, Balancer(nodes, "ws", chance) as ws:
        chargers: list[Charger] = [
            *(TestPile(number, ykc.port, think) for number in range(piles)),
            *(TestStation(number, ws.port, think) for number in range(stations)),
        ]
        try:
            for charger in chargers:
                await charger.client.start()
            await until(
                lambda: all(one.is_online for one in chargers),
                lambda: [one.id for one in chargers if not one.is_online][:5],
            )
            yield chargers
        finally:
            await asyncio.gather(*(charger.client.close() for charger in chargers), return_exceptions=True)


async def in_stream(server: NatsServer) -> list[dict[str, Any]]:
    """The events in the stream, read by a plain client."""
    client = await nats.connect(server.url)
    try:
        jetstream = client.jetstream()
        count = (await jetstream.stream_info("EVPROTO")).state.messages
        reader = await jetstream.pull_subscribe("", stream="EVPROTO", durable="reader")
        found: list[dict[str, Any]] = []
        while len(found) < count:
            for message in await reader.fetch(500, timeout=20):
                # Without that the server keeps the thousand-and-first back.
                await message.ack()
                found.append(json.loads(message.data))
        return found
    finally:
        await client.close()
