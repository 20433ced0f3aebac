"""Who comes to the chargers: drivers that arrive, charge and leave."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

import msgspec

from evproto.simulate.vehicle import Vehicle, make_vehicle

__all__ = ["Charger", "Habits", "Outlet", "People"]


class Outlet(Protocol):
    """A gun or connector, as people see it."""

    number: int
    """From 1."""
    vehicle: Vehicle | None
    """What it is plugged into."""

    @property
    def is_charging(self) -> bool:
        """Whether a session runs."""

    @property
    def is_busy(self) -> bool:
        """Whether a session runs or is still to be settled."""


class Charger(Protocol):
    """A charger, as people see it. Times are its own milliseconds."""

    @property
    def identity(self) -> str:
        """What it is called; the people at it follow from it and the seed."""

    @property
    def guns(self) -> Sequence[Outlet]:
        """By number."""

    @property
    def reads_vins(self) -> bool:
        """Whether a car can be charged by its VIN."""

    @property
    def joins_guns(self) -> bool:
        """Whether one car may take two guns."""

    def plug_in(self, number: int, vehicle: Vehicle, now: int) -> None:
        """A vehicle is plugged in."""

    def unplug(self, number: int, now: int) -> None:
        """The cable is pulled out."""

    def ask_to_start(self, number: int, card: bytes, now: int, *, by_vin: bool = False) -> bool:
        """Somebody holds a card of 8 bytes to the reader, or has the car start by its VIN."""

    def ask_to_start_parallel(self, numbers: tuple[int, ...], card: bytes, now: int) -> bool:
        """Somebody wants several guns for one car."""

    def stop(self, number: int, now: int) -> None:
        """Somebody presses stop."""


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """How people use a charger. Times in seconds."""

    pause: float = 900.0
    """Between one car's leaving and the next one's coming, on average."""
    by_card: float = 0.7
    by_vin: float = 0.1
    """Parts of the drivers; the others plug in and wait for a remote start."""
    parallel: float = 0.0
    """Part of the drivers by card who take two guns of a charger for one car."""
    patience: float = 180.0
    """A driver whose charging does not begin leaves after this time."""
    stops_early: float = 0.1
    """Part of the sessions that somebody stops by hand or by pulling out the cable."""
    card_count: int = 50
    """Different cards at one charger."""


class _Visit(msgspec.Struct):
    stage: str
    """away, arrived, charging, busy, tired or leaving: the method that is called next."""
    next: int
    partner: int | None = None
    retries: int = 0


class People:
    """The drivers of one charger; what they do follows from the seed alone."""

    def __init__(self, charger: Charger, habits: Habits, seed: int | str, now: int) -> None:
        self._charger = charger
        self._habits = habits
        self._rng = random.Random(f"{seed}/people/{charger.identity}")
        # The first ones do not all come after a full pause.
        self._visits = {
            gun.number: _Visit("away", now + int(self._rng.uniform(1, max(2.0, habits.pause)) * 1000))
            for gun in charger.guns
        }

    @property
    def deadline(self) -> int:
        """When :meth:`tick` wants to be called next."""
        return min(visit.next for visit in self._visits.values())

    def tick(self, now: int) -> None:
        """Come, ask, wait, stop or leave, as is due."""
        for number, visit in self._visits.items():
            if visit.next <= now:
                getattr(self, f"_{visit.stage}")(number, visit, now)

    def _after(self, now: int, low: float, high: float) -> int:
        return now + int(self._rng.uniform(low, high) * 1000)

    def _away(self, number: int, visit: _Visit, now: int) -> None:
        rng, habits = self._rng, self._habits
        if self._charger.guns[number - 1].vehicle is not None:
            visit.next = now + 60_000  # somebody else stands there
            return
        partner = self._partner(number, now)
        wanted = rng.random() < habits.parallel and self._charger.joins_guns
        parallel = wanted and partner is not None
        share = 0.5 if parallel else 1.0
        vehicle = make_vehicle(rng, share=share)
        self._charger.plug_in(number, vehicle, now)
        visit.stage, visit.next, visit.partner, visit.retries = "arrived", self._after(now, 3, 15), None, 0
        if parallel and partner is not None:
            # The other half of the same battery.
            half = make_vehicle(
                rng, model=vehicle.model, soc=vehicle.battery.soc, leaves_at=vehicle.leaves_at
            )
            half.vin = vehicle.vin
            self._charger.plug_in(partner, half, now)
            visit.partner = partner
            other = self._visits[partner]
            other.stage, other.next = "charging", self._after(now, 20, 30)

    def _arrived(self, number: int, visit: _Visit, now: int) -> None:
        rng, habits, charger = self._rng, self._habits, self._charger
        card = bytes(4) + rng.randrange(1, 1 + habits.card_count).to_bytes(4, "big")
        choice = rng.random()
        if visit.partner is not None:
            charger.ask_to_start_parallel((number, visit.partner), card, now)
        elif choice < habits.by_vin and charger.reads_vins:
            charger.ask_to_start(number, card, now, by_vin=True)
        elif choice < habits.by_vin + habits.by_card:
            charger.ask_to_start(number, card, now)
        visit.stage, visit.next = "charging", now + int(habits.patience * 1000)

    def _charging(self, number: int, visit: _Visit, now: int) -> None:
        """Out of patience, or content."""
        gun, rng = self._charger.guns[number - 1], self._rng
        if gun.is_charging:
            if rng.random() < self._habits.stops_early:
                visit.stage, visit.next = "tired", self._after(now, 60, 1200)
            else:
                visit.stage, visit.next = "busy", now + 30_000
        else:
            visit.stage, visit.next = "leaving", self._after(now, 5, 60)

    def _busy(self, number: int, visit: _Visit, now: int) -> None:
        if self._charger.guns[number - 1].is_busy:
            visit.next = now + 30_000
        else:
            visit.stage, visit.next = "leaving", self._after(now, 10, 240)

    def _tired(self, number: int, visit: _Visit, now: int) -> None:
        if self._charger.guns[number - 1].is_charging and self._rng.random() < 0.8:
            self._charger.stop(number, now)
        visit.stage, visit.next = "leaving", self._after(now, 5, 30)

    def _leaving(self, number: int, visit: _Visit, now: int) -> None:
        self._charger.unplug(number, now)
        pause = self._rng.expovariate(1 / max(1.0, self._habits.pause))
        visit.stage, visit.next, visit.partner = "away", now + int((1 + pause) * 1000), None

    def _partner(self, number: int, now: int) -> int | None:
        for other, visit in self._visits.items():
            if other != number and visit.stage == "away" and self._charger.guns[other - 1].vehicle is None:
                return other
        return None
