"""Many simulated piles on real sockets, in one process."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Literal, Self, cast

import msgspec

from evproto.simulate import fleet as fleets
from evproto.simulate.faults import Faults
from evproto.simulate.fleet import NoServerError, Surroundings, reason_of
from evproto.simulate.people import Habits
from evproto.simulate.recording import Recording
from evproto.simulate.ykc.pile import PileSettings
from evproto.simulate.ykc.simulated import SimulatedPile
from evproto.ykc import session as sessions
from evproto.ykc.enums import TransactionAck
from evproto.ykc.messages import TransactionRecord, TransactionRecordV17

__all__ = ["Fleet", "FleetPlan", "NoServerError", "RecordEvent"]

_CONNECT_WITHIN: Final = 30.0
_MOST_UNREAD: Final = 1 << 20
"""Bytes that the platform may leave unread on one connection before the pile gives it up."""
_now: Final = time.monotonic
"""The clock of a fleet; that of a loop may stand still for a turn, and counts whole ms in uvloop."""


class RecordEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a transaction record, for a log beside the run."""

    time: float
    """Unix time in seconds."""
    pile_id: str
    transaction_no: str
    event: Literal["made", "confirmed", "illegal"]
    total_energy: float | None = None
    total_amount: float | None = None


class FleetPlan(fleets.Plan, frozen=True, kw_only=True):
    """What a fleet is to be. A plan can be sent to another process."""

    noun: ClassVar[str] = "piles"
    host: str = "127.0.0.1"
    port: int = 27600
    servers: Sequence[tuple[str, int]] = ()
    """Hosts and ports of the platforms, in place of ``host`` and ``port``. Piles spread over them, and go on
    to the next in need."""
    piles: int = 10
    first: int = 0
    """Number of the first pile; pile numbers make the identities and, with the seed, the lives."""
    identities: Sequence[str] = ()
    """The numbers of the piles, 14 digits each; made up if there are not enough."""
    version: str = "1.6"
    gun_count: int = 2
    ac_share: float = 0.3
    """Part of the piles that are AC."""
    seed: int = 0
    speed_up: float = 1.0
    heartbeat_interval: float = 10.0
    connect_rate: float = 200.0
    """Connections per second."""
    faults: Faults = Faults()
    habits: Habits | None = Habits()
    """None: nobody comes, the piles only beat."""
    parking_locks: bool = False
    start_failures: float = 0.02
    record_retry: float = 30.0
    """Seconds until a record without confirmation is sent again."""

    @property
    def kind(self) -> str:
        return "ykc"

    @property
    def size(self) -> int:
        return self.piles

    @property
    def where(self) -> str:
        return ", ".join(f"{host}:{port}" for host, port in self.addresses)

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """All platforms."""
        return self.servers or ((self.host, self.port),)

    def part(self, size: int, skipping: int, share: float) -> Self:
        return msgspec.structs.replace(
            self, piles=size, first=self.first + skipping, connect_rate=self.connect_rate * share
        )

    def make(self, surroundings: Surroundings) -> Fleet:
        fleet = Fleet(self, recording=surroundings.recording, tls=surroundings.tls)
        fleet.on_record_event = surroundings.tell
        return fleet

    def identity(self, number: int) -> str:
        """The 14 digits of a pile of this fleet."""
        if number < len(self.identities):
            return self.identities[number]
        return f"3201{number + 1:010d}"

    def pile_settings(self, number: int) -> PileSettings:
        """What the pile with a number is."""
        rng = random.Random(f"{self.seed}/fleet/{number}")
        identity = self.identity(number)
        if number and self.faults.strikes("reuse-identity", rng):
            identity = self.identity(number - 1)
        fields: dict[str, Any] = {
            "pile_id": identity,
            "version": self.version,
            "gun_count": self.gun_count,
            "parking_locks": self.parking_locks,
            "start_failures": self.start_failures,
            "sim_no": f"89860{rng.randrange(10**15):015d}",
        }
        if rng.random() < self.ac_share:
            return PileSettings.ac(**fields)
        return PileSettings(max_power=rng.choice((60_000, 120_000, 120_000, 180_000)), **fields)


class _Connection(asyncio.Protocol):
    """One pile on one socket."""

    def __init__(self, driver: _Driver) -> None:
        self._driver = driver
        self.transport: asyncio.Transport | None = None
        self.is_stalled = False
        """Whether the platform takes less than is said."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast(asyncio.Transport, transport)
        self._driver.connected(self)

    def data_received(self, data: bytes) -> None:
        self._driver.received(data)

    def pause_writing(self) -> None:
        self.is_stalled = True

    def resume_writing(self) -> None:
        self.is_stalled = False

    def connection_lost(self, error: Exception | None) -> None:
        self._driver.lost(self, str(error) if error is not None else "closed by the platform")


class _Driver:
    """Turns the clock for one pile, and connects it again and again."""

    def __init__(self, fleet: Fleet, pile: SimulatedPile, number: int) -> None:
        """``number`` says with which platform it begins."""
        self.pile = pile
        self._address = number % len(fleet.plan.addresses)
        self._fleet = fleet
        self._loop = fleet.loop
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._record: Any = None
        self._stopped = False

    def start(self) -> asyncio.Task[None]:
        """Connect for the first time."""
        self._connecting = self._loop.create_task(self._connect())
        return self._connecting

    def stop(self) -> None:
        """Close the connection and come no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.close()

    def connected(self, connection: _Connection) -> None:
        transport = connection.transport
        assert transport is not None
        self._connection = connection
        if self._fleet.recording is not None:
            self._record = self._fleet.recording.connect(
                transport.get_extra_info("sockname"), transport.get_extra_info("peername")
            )
        self.pile.connect(_now())
        self._pump()

    def received(self, data: bytes) -> None:
        if self._record is not None:
            self._record.received(data)
        self.pile.receive(data, _now())
        self._pump()

    def lost(self, connection: _Connection, reason: str) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        if self._record is not None:
            self._record.close()
            self._record = None
        self.pile.lost(reason, _now())
        self._set_timer()

    def wake(self) -> None:
        """Its time has come."""
        self._timer = None
        now = _now()
        self._fleet.statistics.lateness.add(now - self._due)
        self.pile.tick(now)
        if self._connection is None and self._connecting is None and now >= self.pile.retry_at:
            self._connecting = self._loop.create_task(self._connect())
        self._pump()

    def finish(self) -> None:
        """The end of a run: charging stops."""
        self.pile.stop_charging(_now())
        self._pump()

    def _pump(self) -> None:
        connection = self._connection
        if connection is not None and connection.transport is not None:
            transport = connection.transport
            for segment in self.pile.take(_now()):
                if self._record is not None:
                    self._record.sent(segment.data)
                transport.write(segment.data)
                if segment.resets:
                    transport.abort()
                    break
            if connection.is_stalled and transport.get_write_buffer_size() > _MOST_UNREAD:
                self._fleet.statistics.counts["connections stalled"] += 1
                transport.abort()
            elif self.pile.wants_close:
                transport.close()
        self._set_timer()

    def _set_timer(self) -> None:
        now = _now()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._due < now:  # overdue, but an answer was taken in first
                self._fleet.statistics.lateness.add(now - self._due)
        if self._stopped:
            return
        due = self.pile.deadline
        if self._connection is None and self._connecting is None:
            due = min(due, self.pile.retry_at)
        self._due = max(due, now)
        self._timer = self._loop.call_later(self._due - now, self.wake)

    async def _connect(self) -> None:
        addresses = self._fleet.plan.addresses
        host, port = addresses[self._address]
        try:
            async with asyncio.timeout(_CONNECT_WITHIN):
                await self._loop.create_connection(lambda: _Connection(self), host, port, ssl=self._fleet.tls)
        except (OSError, TimeoutError) as error:
            self._connecting = None
            self._address = (self._address + 1) % len(addresses)
            self._fleet.connect_error = error
            self.pile.could_not_connect(_now())
            self._set_timer()
        else:
            self._connecting = None
            self._fleet.has_connected = True


class Fleet(fleets.Fleet):
    """A fleet of piles.

    ::

        fleet = Fleet(FleetPlan(port=27600, piles=100, speed_up=60))
        statistics = await fleet.run(duration=300)

    Attributes:
        piles: the simulated piles.
        on_record_event: called with what becomes of each record.
    """

    def __init__(
        self,
        plan: FleetPlan,
        *,
        recording: Recording | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.recording = recording
        self.tls = tls
        self.on_record_event: Callable[[RecordEvent], None] | None = None
        self.piles: list[SimulatedPile] = []
        self.connect_error: Exception | None = None
        self._drivers: list[_Driver] = []

    @property
    def failures(self) -> int:
        return max(0, self.plan.piles - self.statistics.counts["logins"])

    def snapshot(self) -> dict[str, float]:
        """How things stand: piles online and charging, power in kW, records waiting."""
        charging, power = 0, 0
        for pile in self.piles:
            for gun in pile.model.guns:
                if gun.is_charging and gun.charge is not None:
                    charging += 1
                    power += gun.charge.power
        return {
            "piles": len(self.piles),
            "online": sum(pile.is_logged_in for pile in self.piles),
            "charging": charging,
            "power_kw": power / 1e6,
            "records_waiting": sum(pile.waiting_records for pile in self.piles),
        }

    async def _start(self) -> None:
        plan = self.plan
        begin = _now()
        link = sessions.PileSettings(heartbeat_interval=plan.heartbeat_interval)
        for index in range(plan.piles):
            number = plan.first + index
            pile = SimulatedPile(
                plan.pile_settings(number),
                seed=f"{plan.seed}/{number}",
                now=_now(),
                clock=dt.datetime.now(dt.UTC),
                speed_up=plan.speed_up,
                habits=plan.habits,
                link=link,
                faults=plan.faults,
                statistics=self.statistics,
                record_retry=plan.record_retry,
            )
            self._listen(pile)
            driver = _Driver(self, pile, number)
            self.piles.append(pile)
            self._drivers.append(driver)
            connecting = driver.start()
            if index == 0:
                await connecting
                if not self.has_connected and len(plan.addresses) == 1:
                    raise NoServerError(f"cannot connect to {plan.where}: {reason_of(self.connect_error)}")
            if await self._pace(index, begin, plan.connect_rate):
                return

    def _listen(self, pile: SimulatedPile) -> None:
        if self.on_record_event is None:
            return
        made, confirmed = pile.model.on_record, pile.model.on_confirmed

        def on_record(record: TransactionRecord | TransactionRecordV17) -> None:
            made(record)
            self._tell(pile, record.transaction_no, "made", record.total_energy, record.total_amount)

        def on_confirmed(number: str, ack: TransactionAck) -> None:
            confirmed(number, ack)
            self._tell(pile, number, "confirmed" if ack == TransactionAck.ACCEPTED else "illegal")

        pile.model.on_record, pile.model.on_confirmed = on_record, on_confirmed

    def _tell(
        self,
        pile: SimulatedPile,
        number: str,
        event: Literal["made", "confirmed", "illegal"],
        energy: float | None = None,
        amount: float | None = None,
    ) -> None:
        assert self.on_record_event is not None
        self.on_record_event(
            RecordEvent(
                time=dt.datetime.now(dt.UTC).timestamp(),
                pile_id=pile.pile_id,
                transaction_no=number,
                event=event,
                total_energy=energy,
                total_amount=amount,
            )
        )

    def _finish(self) -> None:
        for driver in self._drivers:
            driver.finish()

    def _is_unfinished(self) -> bool:
        return any(pile.waiting_records or any(gun.is_busy for gun in pile.model.guns) for pile in self.piles)

    async def _close(self) -> None:
        for driver in self._drivers:
            driver.stop()
        for _ in range(3):  # connections tell that they are closed in the next turns of the loop
            await asyncio.sleep(0)
