"""Many simulated chargers on WebSocket, in one process."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from evproto.aio.ocpp import HandshakeError
from evproto.simulate import fleet as fleets
from evproto.simulate.faults import Faults
from evproto.simulate.fleet import NoServerError, Surroundings, reason_of
from evproto.simulate.ocppj.driver import Driver, Line

__all__ = ["Fleet", "Plan", "utc_milliseconds"]

_now: Final = time.monotonic
_IN_WITHIN: Final = 10.0
"""Seconds that a run waits for the last chargers to be let in, before its duration begins."""
_AT_ONCE: Final = 100
"""Connections that are closed at the same time."""


class Plan(fleets.Plan, frozen=True, kw_only=True):
    """What fleets on WebSocket have in common."""

    urls: Sequence[str] = ("ws://127.0.0.1:9000/ocpp",)
    """Of the servers, without identity. Chargers spread over them, and go on to the next in need."""
    first: int = 0
    """Number of the first charger; numbers make the identities and, with the seed, the lives."""
    identities: Sequence[str] = ()
    """Made up if there are not enough."""
    password: str | None = None
    seed: int = 0
    speed_up: float = 1.0
    heartbeat_interval: float | None = None
    """Seconds; None: what the server says."""
    connect_rate: float = 200.0
    """Connections per second."""
    call_timeout: float = 30.0
    reconnect: float = 1.0
    """Seconds before the first attempt to connect again."""
    faults: Faults = Faults()

    @property
    def where(self) -> str:
        return ", ".join(self.urls)

    def made_up(self, number: int) -> str:
        """The identity of a charger that was given none."""
        raise NotImplementedError

    def identity(self, number: int) -> str:
        """What the charger with a number is called; a fault gives it the name of its neighbour."""
        rng = random.Random(f"{self.seed}/identity/{number}")
        if number and self.faults.strikes("reuse-identity", rng):
            number -= 1
        return self.identities[number] if number < len(self.identities) else self.made_up(number)

    def line(self) -> Line:
        """How they are connected."""
        return Line(
            urls=tuple(self.urls),
            password=self.password,
            call_timeout=self.call_timeout,
            reconnect=self.reconnect,
            heartbeat_interval=self.heartbeat_interval,
            speed_up=self.speed_up,
            faults=self.faults,
        )


class Fleet(fleets.Fleet):
    """A fleet of chargers on WebSocket.

    Attributes:
        drivers: one for each charger.
    """

    def __init__(self, plan: Plan, surroundings: Surroundings | None = None) -> None:
        super().__init__()
        self.drivers: list[Driver] = []
        self.surroundings = surroundings or Surroundings()
        self._plan = plan

    @abstractmethod
    def _make(self, number: int, line: Line) -> Driver:
        """The charger with a number."""

    @property
    def failures(self) -> int:
        counts = self.statistics.counts
        return max(0, self._plan.size - counts["boots accepted"])

    async def _start(self) -> None:
        plan, begin = self._plan, _now()
        line = plan.line()
        for index in range(plan.size):
            driver = self._make(plan.first + index, line)
            self.drivers.append(driver)
            await driver.start()
            if index == 0:
                await self._try_servers(driver)
            if await self._pace(index, begin, plan.connect_rate):
                return
        assert self._stop is not None
        stopped = asyncio.ensure_future(self._stop.wait())
        answers = asyncio.ensure_future(self._all_answered())
        await asyncio.wait({stopped, answers}, timeout=_IN_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        answers.cancel()

    async def _all_answered(self) -> None:
        for driver in self.drivers:
            await driver.answered.wait()

    async def _try_servers(self, driver: Driver) -> None:
        """Wait for the first connection.

        Raises:
            NoServerError: there was none, at any of the servers.
        """
        error = await driver.first
        if isinstance(error, HandshakeError) and error.status is not None:
            return  # somebody is there
        if error is not None:
            raise NoServerError(f"cannot connect to {self._plan.where}: {reason_of(error)}")
        self.has_connected = True

    def _finish(self) -> None:
        for driver in self.drivers:
            driver.finish()

    def _is_unfinished(self) -> bool:
        return any(driver.waiting or driver.model.is_busy for driver in self.drivers)

    async def _close(self) -> None:
        for begin in range(0, len(self.drivers), _AT_ONCE):
            some = self.drivers[begin : begin + _AT_ONCE]
            await asyncio.gather(*(driver.stop() for driver in some), return_exceptions=True)


def utc_milliseconds() -> int:
    """The time, in ms of UTC since 1970."""
    return int(dt.datetime.now(dt.UTC).timestamp() * 1000)
