"""``python -m benchmarks.soak_ocpp``: 200 stations, calls both ways, and a network that breaks all the time.

One server and its stations, of 1.6, 2.0.1 and 2.1, in this process; between
them a relay that cuts connections, or swallows what is said while both ends
believe that they are connected. Handlers answer at once or late, refuse, fail,
call back, or hang up. What is checked, for each station and direction:

* calls = results + errors + timeouts + connections lost, and none is left over;
* an answer is the one to its call: it carries the call's number;
* results <= calls that were served by the other end <= calls;
* what is delivered arrives, all of it, in order;

and at the end that no task is left, no connection is held on to, and that
memory does not grow once the first minute is over (a run of less than two can
only tell large leaks: its second half is looked at, with more allowance).
Exit status 1: something does not add up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import gc
import logging
import random
import sys
import time
from collections import Counter
from typing import Any

import uvloop

from benchmarks.processes import raise_file_limit, resident
from evproto.aio.ocpp import (
    ChargePoint,
    ChargingStation,
    PeerSettings,
    RefuseCall,
    Server,
    ServerSettings,
    StationSettings,
)
from evproto.aio.ocpp.peer import Peer
from evproto.errors import (
    CallRefusedError,
    CallTimeoutError,
    ConnectionLostError,
    QueueFullError,
    SessionError,
)
from evproto.ocpp import v16, v21, v201

CALL_TIMEOUT = 1.5
GROWTH = 0.05
"""How much of its resident memory the process may gain by the slope of the time that counts."""
GROWTH_EARLY = 0.15
"""The same for runs of less than two minutes, in which heap and caches are still filling."""
MODULES: tuple[Any, ...] = (v16, v201, v21)
OUTCOMES = ("results", "errors", "timeouts", "lost")
MANNERS = ("at once",) * 12 + ("later",) * 4 + ("refuse", "fail", "call back", "call back", "hang up")
"""What a handler does; "too late" is added by the caller, seldom, because it holds up what comes after it."""


class Relay:
    """A TCP relay to one port, whose connections can be hurt."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.pairs: list[Pair] = []
        self.port = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Pair(self, self._port), "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()
        for pair in tuple(self.pairs):
            pair.cut()


class Pair(asyncio.Protocol):
    """One connection through the relay: this is the station's half, ``Far`` the server's."""

    def __init__(self, relay: Relay, port: int) -> None:
        self._relay = relay
        self._port = port
        self._early: list[bytes] = []
        self.far: Far | None = None
        self.deaf: set[str] = set()
        """The directions, ``up`` and ``down``, in which everything is swallowed."""
        self.gone = False

    def connection_made(self, transport: Any) -> None:
        self.near = transport
        self._relay.pairs.append(self)
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, far = await loop.create_connection(lambda: Far(self), "127.0.0.1", self._port)
        except OSError:
            self.cut()
            return
        self.far = far
        if self.gone:
            far.transport.abort()
            return
        for data in self._early:
            far.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if "up" in self.deaf:
            return
        if self.far is None:
            self._early.append(data)
        elif not self.far.transport.is_closing():
            self.far.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        # A peer that cannot hear does not learn of the end, either.
        if "up" not in self.deaf and self.far is not None:
            self.far.transport.close()
        self.leave()

    def leave(self) -> None:
        if self.gone or not self.near.is_closing():
            return
        if self.far is None or self.far.transport.is_closing():
            self.gone = True
            self._relay.pairs.remove(self)

    def cut(self) -> None:
        """Reset both halves."""
        self.near.abort()
        if self.far is not None:
            self.far.transport.abort()
        self.leave()


class Far(asyncio.Protocol):
    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if "down" not in self._pair.deaf and not self._pair.near.is_closing():
            self._pair.near.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if "down" not in self._pair.deaf:
            self._pair.near.close()
        self._pair.leave()


class Side:
    """One direction of one station: who calls, and what became of it."""

    def __init__(self, soak: Soak, name: str, module: Any) -> None:
        self.soak = soak
        self.name = name
        self.messages = module.messages
        self.counts: Counter[str] = Counter()
        self.number = 0

    async def call(self, peer: Any, manner: str, *, wait: bool = True) -> None:
        """Make a call and account for it. ``peer`` is the station, or what a server has of it."""
        self.number += 1
        sent = f"{manner}|{self.number}"
        self.counts["begun"] += 1
        try:
            answer = await peer.call(self.messages.DataTransferRequest(vendor_id="soak", data=sent))
        except CallRefusedError as error:
            self.counts["errors"] += 1
            wanted = {"refuse": "SecurityError", "fail": "InternalError"}.get(manner)
            if error.error_code != wanted:
                self.soak.wrong(f"{self.name}: {sent} was refused with {error}")
        except CallTimeoutError:
            self.counts["timeouts"] += 1
        except ConnectionLostError:
            self.counts["lost"] += 1
        except (QueueFullError, SessionError):
            # Refused on the spot; it was never a call.
            self.counts["not sent"] += 1
        except asyncio.CancelledError:
            self.counts["cancelled"] += 1
            raise
        except Exception as error:
            self.soak.wrong(f"{self.name}: {sent} raised {error!r}")
        else:
            self.counts["results"] += 1
            if answer.data != sent:
                self.soak.wrong(f"{self.name}: {sent} was answered {answer.data}")

    @property
    def calls(self) -> int:
        return self.counts["begun"] - self.counts["not sent"]

    def check(self) -> None:
        """At the end."""
        counts = self.counts
        if self.calls != sum(counts[outcome] for outcome in OUTCOMES):
            self.soak.wrong(f"{self.name}: {self.calls} calls, but {dict(counts)}")
        # A CALLERROR may be one for a call that waited when the connection was full, so only results count.
        if not counts["results"] <= counts["served"] <= self.calls:
            self.soak.wrong(f"{self.name}: {counts['served']} were served, but {dict(counts)}")


class Life:
    """One station and both directions of it."""

    def __init__(self, soak: Soak, number: int, url: str) -> None:
        self.soak = soak
        self.name = f"CS{number:03}"
        self.module = MODULES[number % len(MODULES)]
        self.up = Side(soak, f"{self.name} up", self.module)
        self.down = Side(soak, f"{self.name} down", self.module)
        self.delivered = 0
        self.arrived = 0
        self.connections = 0
        self.station = self._make(url)
        self.station.on("DataTransfer")(self._serve)
        self.station.on_connect(self._connected)

    def _make(self, url: str) -> ChargingStation:
        settings = StationSettings(
            peer=PeerSettings(call_timeout=CALL_TIMEOUT),
            wait_minimum=0.2,
            random_range=0.5,
            repeat_times=2,
            ping_interval=2.0,
            ping_timeout=2.0,
            boot_retry=1.0,
            heartbeats=True,
            attempts=10_000,
            attempt_interval=0.001,
        )
        m, e = self.module.messages, self.module.enums
        if self.module is v16:
            boot = m.BootNotificationRequest(charge_point_vendor="ACME", charge_point_model="One")
            return ChargePoint(url, self.name, boot=boot, settings=settings)
        described = m.ChargingStationType(model="One", vendor_name="ACME")
        boot = m.BootNotificationRequest(reason=e.BootReasonEnumType.POWER_UP, charging_station=described)
        return ChargingStation(url, self.name, codecs=[self.module.codec], boot=boot, settings=settings)

    def _connected(self, upstream: Any) -> None:
        self.connections += 1

    async def _serve(self, upstream: Any, request: Any) -> Any:
        self.down.counts["served"] += 1
        return await self.soak.behave(upstream, request, self, self.up)

    def message(self) -> Any:
        """The next one that must arrive; it carries its number."""
        m, e = self.module.messages, self.module.enums
        at = dt.datetime.now(dt.UTC)
        if self.module is v16:
            return m.StartTransactionRequest(
                connector_id=1, id_tag="T", meter_start=self.delivered, timestamp=at
            )
        return m.TransactionEventRequest(
            event_type=e.TransactionEventEnumType.STARTED,
            timestamp=at,
            trigger_reason=e.TriggerReasonEnumType.CABLE_PLUGGED_IN,
            seq_no=self.delivered,
            transaction_info=m.TransactionType(transaction_id="t"),
        )

    def arrive(self, number: int) -> None:
        """One of them is there: the next, or the last one again, whose answer was lost."""
        if number == self.arrived:
            self.arrived += 1
        elif number != self.arrived - 1:
            self.soak.wrong(f"{self.name}: message {number} arrived after {self.arrived - 1}")

    async def talk(self) -> None:
        """Calls from the station and to it, for as long as the soak lasts."""
        rng = self.soak.rng
        while not self.soak.over:
            await asyncio.sleep(rng.random() * self.soak.pause)
            manner = "too late" if rng.random() < 0.004 else rng.choice(MANNERS)
            dice = rng.random()
            if dice < 0.08:
                await self.station.deliver(self.message())
                self.delivered += 1
            elif dice < 0.54:
                self.soak.begin(self.up.call(self.station, manner))
            else:
                peer = self.soak.server.stations.get((self.name,))
                if peer is not None:
                    self.soak.begin(self.down.call(peer, manner))


class Soak:
    """The whole of it."""

    def __init__(self, stations: int, seconds: float, seed: int) -> None:
        self.count = stations
        self.seconds = seconds
        self.rng = random.Random(seed)
        self.pause = 1.0
        self.over = False
        self.troubles: list[str] = []
        self.hurt: Counter[str] = Counter()
        self.memory: list[tuple[float, int]] = []
        self.lives: dict[str, Life] = {}
        self._calls: set[asyncio.Task[None]] = set()
        settings = ServerSettings(
            peer=PeerSettings(call_timeout=CALL_TIMEOUT), ping_interval=2.0, ping_timeout=2.0
        )
        self.server = Server([module.codec for module in MODULES], settings=settings)
        self._handle()

    def wrong(self, text: str) -> None:
        self.troubles.append(text)

    def begin(self, call: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def behave(self, peer: Any, request: Any, life: Life, back: Side) -> Any:
        """What a handler does with one call, at either end; ``back`` is for calls the other way."""
        manner = request.data.split("|")[0]
        if manner == "later":
            await asyncio.sleep(self.rng.random() * 0.1)
        elif manner == "too late":
            await asyncio.sleep(CALL_TIMEOUT * 1.2)
        elif manner == "refuse":
            raise RefuseCall("SecurityError", "not now")
        elif manner == "fail":
            raise LookupError(manner)
        elif manner == "call back":
            await back.call(peer, "at once")
        elif manner == "hang up" and self.rng.random() < 0.2:
            peer.close(1000, "hung up")
        answer = life.module.messages.DataTransferResponse
        return answer(status="Accepted", data=request.data)

    def _handle(self) -> None:
        server = self.server

        @server.on("DataTransfer")
        async def transfer(station: Any, request: Any) -> Any:
            life = self.lives[station.id]
            life.up.counts["served"] += 1
            return await self.behave(station, request, life, life.down)

        for module in MODULES:
            self._handle_version(module)

    def _handle_version(self, module: Any) -> None:
        m, e = module.messages, module.enums
        accepted = (e.RegistrationStatus if module is v16 else e.RegistrationStatusEnumType).ACCEPTED

        @self.server.on(m.BootNotificationRequest)
        def boot(station: Any, request: Any) -> Any:
            return m.BootNotificationResponse(
                current_time=dt.datetime.now(dt.UTC), interval=2, status=accepted
            )

        @self.server.on(m.HeartbeatRequest)
        def heartbeat(station: Any, request: Any) -> Any:
            return m.HeartbeatResponse(current_time=dt.datetime.now(dt.UTC))

        if module is v16:

            @self.server.on(m.StartTransactionRequest)
            def start(station: Any, request: Any) -> Any:
                self.lives[station.id].arrive(request.meter_start)
                info = m.IdTagInfo(status=e.AuthorizationStatus.ACCEPTED)
                return m.StartTransactionResponse(transaction_id=1, id_tag_info=info)

        else:

            @self.server.on(m.TransactionEventRequest)
            async def event(station: Any, request: Any) -> Any:
                await asyncio.sleep(0)
                self.lives[station.id].arrive(request.seq_no)
                return m.TransactionEventResponse()

    async def _break(self, relay: Relay) -> None:
        """Hurts a connection, every station's about every 15 seconds."""
        while not self.over:
            await asyncio.sleep(15 / self.count)
            how = self.rng.choice(("cut", "cut", "both deaf", "up deaf", "down deaf", "server", "station"))
            life = self.rng.choice(list(self.lives.values()))
            if how == "server":
                peer = self.server.stations.get((life.name,))
                if peer is not None:
                    peer.close(1001, "the soak says so")
            elif how == "station":
                if life.station.upstream is not None:
                    life.station.upstream.link.abort("the soak says so")
            elif relay.pairs:
                pair = self.rng.choice(relay.pairs)
                if how == "cut":
                    pair.cut()
                else:
                    pair.deaf |= {"up", "down"} if how == "both deaf" else {how.split()[0]}
            self.hurt[how] += 1

    async def _weigh(self) -> None:
        begun = time.monotonic()
        while True:
            self.memory.append((time.monotonic() - begun, resident()))
            await asyncio.sleep(1)

    async def run(self) -> None:
        listener = await self.server.listen("127.0.0.1")
        relay = Relay(listener.port)
        await relay.open()
        for number in range(self.count):
            life = Life(self, number, f"ws://127.0.0.1:{relay.port}")
            self.lives[life.name] = life
        await asyncio.gather(*(life.station.start() for life in self.lives.values()))
        weighing = asyncio.create_task(self._weigh())
        work = [asyncio.create_task(life.talk()) for life in self.lives.values()]
        work.append(asyncio.create_task(self._break(relay)))
        await asyncio.wait(work, timeout=self.seconds)
        self.over = True
        for task in work:
            await task
        weighing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await weighing
        await self._settle(relay)

    async def _settle(self, relay: Relay) -> None:
        """Everything that was begun comes to its end; then everything is closed."""
        if self._calls:
            _, left = await asyncio.wait(set(self._calls), timeout=120)
            if left:
                self.wrong(f"{len(left)} calls have not ended")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and any(life.station.undelivered for life in self.lives.values()):
            await asyncio.sleep(0.1)
        for life in self.lives.values():
            if life.arrived != life.delivered:
                self.wrong(f"{life.name}: {life.delivered} were to be delivered, {life.arrived} have arrived")
        await asyncio.gather(*(life.station.close() for life in self.lives.values()))
        await self.server.close()
        relay.close()
        deadline = time.monotonic() + 30
        while (left := asyncio.all_tasks() - {asyncio.current_task()}) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        if left:
            self.wrong(f"{len(left)} tasks are left: {sorted(map(repr, left))[:3]}")
        if self.server.stations:
            self.wrong(f"the server still has {len(self.server.stations)} stations")
        for life in self.lives.values():
            life.up.check()
            life.down.check()
            if not life.connections:
                self.wrong(f"{life.name} was never connected")

    def growth(self) -> tuple[float, float]:
        """Bytes gained, by the slope, in the time that counts; and bytes at its start."""
        since = min(60.0, self.seconds / 2)
        points = [(at, size) for at, size in self.memory if at >= since]
        if len(points) < 3:
            return 0.0, 1.0
        middle = sum(at for at, _ in points) / len(points)
        mean = sum(size for _, size in points) / len(points)
        slope = sum((at - middle) * (size - mean) for at, size in points) / sum(
            (at - middle) ** 2 for at, _ in points
        )
        length = points[-1][0] - points[0][0]
        return slope * length, mean - slope * length / 2

    def table(self, every: bool) -> str:
        """The accounts."""
        columns = ("calls", *OUTCOMES, "served", "not sent")
        lines = [f"{'station':<14}" + "".join(f"{column:>10}" for column in columns)]
        total: Counter[str] = Counter()

        def line(name: str, counts: Counter[str]) -> str:
            return f"{name:<14}" + "".join(f"{counts[column]:>10}" for column in columns)

        for life in self.lives.values():
            for side in (life.up, life.down):
                counts = side.counts + Counter({"calls": side.calls})
                total += counts
                if every:
                    lines.append(line(side.name, counts))
        lines.append(line("all of them", total))
        return "\n".join(lines)


def main() -> int:
    """Exit status 1: something does not add up."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak_ocpp", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--stations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--totals", action="store_true", help="print no line for each station")
    asked = parser.parse_args()
    raise_file_limit()
    logging.getLogger("evproto").setLevel(logging.CRITICAL)
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    soak = Soak(asked.stations, asked.seconds, seed)
    uvloop.run(soak.run())
    print(soak.table(not asked.totals))
    arrived = sum(life.arrived for life in soak.lives.values())
    connections = sum(life.connections for life in soak.lives.values())
    gained, start = soak.growth()
    print(f"delivered in order: {arrived}; connections: {connections}; hurt: {dict(soak.hurt)}")
    print(f"memory: {start / 1e6:.1f} MB, {gained / 1e6:+.2f} MB by the slope of the time that counts")
    if gained > (GROWTH if asked.seconds >= 120 else GROWTH_EARLY) * start:
        soak.wrong(f"memory grows: {gained / 1e6:.1f} MB")
    troubles = soak.troubles
    del soak
    gc.collect()
    held = sum(isinstance(thing, Peer) for thing in gc.get_objects())
    if held:
        troubles.append(f"{held} connections are still in memory")
    for trouble in troubles[:30]:
        print("WRONG:", trouble)
    print(f"{len(troubles)} things do not add up" if troubles else "everything adds up")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
