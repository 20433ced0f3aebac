"""What all fleets have in common: a plan that can be divided among processes, and a run with an end."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final, Literal, Self

import msgspec

from evproto.errors import EvprotoError
from evproto.simulate.statistics import Statistics

__all__ = ["Event", "Fleet", "NoServerError", "Plan", "Surroundings", "reason_of", "wait"]

_now: Final = time.monotonic


class NoServerError(EvprotoError):
    """The first connection of a fleet failed: nobody listens there."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a transaction, for a log beside the run."""

    time: float
    """Unix time in seconds."""
    protocol: str
    charger: str
    transaction: str
    event: Literal["started", "ended", "confirmed", "given up"]
    energy_kwh: float | None = None


class Surroundings(msgspec.Struct, kw_only=True):
    """What a run gives to its fleets."""

    tls: Any = None
    """An ``ssl.SSLContext``, or None."""
    recording: Any = None
    """Where connections are recorded: what it is depends on the kind of fleet."""
    tell: Callable[[Any], None] | None = None
    """Called with what becomes of each transaction."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet is to be. A plan can be sent to another process."""

    noun: ClassVar[str] = "chargers"
    """What they are, for a person."""

    @property
    def kind(self) -> str:
        """The protocol, as in a summary."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """How many chargers."""
        raise NotImplementedError

    @property
    def where(self) -> str:
        """The servers, for a person."""
        raise NotImplementedError

    def part(self, size: int, skipping: int, share: float) -> Self:
        """A plan for some of them: ``size`` behind the first ``skipping``; ``share`` of the connections."""
        raise NotImplementedError

    def make(self, surroundings: Surroundings) -> Fleet:
        """The fleet."""
        raise NotImplementedError


class Fleet(ABC):
    """Many chargers in one process.

    Attributes:
        statistics: what has been counted so far.
        final: the :meth:`snapshot` at the end, before the connections were closed.
    """

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.final: dict[str, float] = {}
        self.has_connected = False
        self.loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event | None = None

    def stop(self) -> None:
        """End :meth:`run` early."""
        if self._stop is not None:
            self._stop.set()

    @abstractmethod
    def snapshot(self) -> dict[str, float]:
        """How things stand: ``chargers``, ``online``, ``charging``, ``power_kw`` and more."""

    @property
    @abstractmethod
    def failures(self) -> int:
        """Chargers that have never got in."""

    async def run(self, duration: float | None = None, *, finish: float = 0.0) -> Statistics:
        """Run for ``duration`` seconds, or until :meth:`stop`.

        With ``finish``, charging stops at the end, and up to so many seconds
        are spent on having everything confirmed.

        Raises:
            NoServerError: the very first connection failed.
        """
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            await self._start()
            await wait(self._stop, duration)
            if finish > 0 and self.has_connected:
                end = _now() + finish
                self._finish()
                while _now() < end and self._is_unfinished():
                    await asyncio.sleep(0.05)
            self.final = self.snapshot()
        finally:
            await self._close()
        return self.statistics

    async def _pace(self, index: int, begin: float, rate: float) -> bool:
        """Wait until the next charger may come; True if the run has been stopped."""
        ahead = begin + (index + 1) / rate - _now()
        assert self._stop is not None
        return await wait(self._stop, max(0.0, ahead))

    @abstractmethod
    async def _start(self) -> None:
        """Let all chargers come."""

    @abstractmethod
    def _finish(self) -> None:
        """Stop charging; nobody comes any more."""

    @abstractmethod
    def _is_unfinished(self) -> bool:
        """Whether something charges, or is not confirmed."""

    @abstractmethod
    async def _close(self) -> None:
        """Close all connections."""


async def wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Whether the event came within the time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def reason_of(error: Exception | None) -> str:
    """Why a connection failed, for a person."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
