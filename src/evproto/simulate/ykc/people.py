"""Who comes to the guns: drivers that arrive, charge and leave."""

from __future__ import annotations

import random

import msgspec

from evproto.simulate.ykc.pile import PileModel
from evproto.simulate.ykc.vehicle import make_vehicle
from evproto.ykc.enums import PileType

__all__ = ["Habits", "People"]


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """How people use a pile. Times in seconds."""

    pause: float = 900.0
    """Between one car's leaving and the next one's coming, on average."""
    by_card: float = 0.7
    by_vin: float = 0.1
    """Parts of the drivers; the others plug in and wait for a remote start."""
    parallel: float = 0.0
    """Part of the drivers by card who take two guns of a pile for one car."""
    patience: float = 180.0
    """A driver whose charging does not begin leaves after this time."""
    stops_early: float = 0.1
    """Part of the sessions that somebody stops by hand or by pulling out the gun."""
    card_count: int = 50
    """Different cards at one pile."""


class _Visit(msgspec.Struct):
    stage: str
    """away, arrived, charging, busy, tired or leaving: the method that is called next."""
    next: int
    partner: int | None = None
    retries: int = 0


class People:
    """The drivers of one pile; what they do follows from the seed alone."""

    def __init__(self, pile: PileModel, habits: Habits, seed: int | str, now: int) -> None:
        self._pile = pile
        self._habits = habits
        self._rng = random.Random(f"{seed}/people/{pile.pile_id}")
        # The first ones do not all come after a full pause.
        self._visits = {
            gun.number: _Visit("away", now + int(self._rng.uniform(1, max(2.0, habits.pause)) * 1000))
            for gun in pile.guns
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
        if self._pile.guns[number - 1].vehicle is not None:
            visit.next = now + 60_000  # somebody else stands there
            return
        partner = self._partner(number, now)
        wanted = rng.random() < habits.parallel and self._pile.settings.version >= "1.6"
        parallel = wanted and partner is not None
        share = 0.5 if parallel else 1.0
        vehicle = make_vehicle(rng, share=share)
        self._pile.plug_in(number, vehicle, now)
        visit.stage, visit.next, visit.partner, visit.retries = "arrived", self._after(now, 3, 15), None, 0
        if parallel and partner is not None:
            # The other half of the same battery.
            half = make_vehicle(
                rng, model=vehicle.model, soc=vehicle.battery.soc, leaves_at=vehicle.leaves_at
            )
            half.vin = vehicle.vin
            self._pile.plug_in(partner, half, now)
            visit.partner = partner
            other = self._visits[partner]
            other.stage, other.next = "charging", self._after(now, 20, 30)

    def _arrived(self, number: int, visit: _Visit, now: int) -> None:
        rng, habits, pile = self._rng, self._habits, self._pile
        card = bytes(4) + rng.randrange(1, 1 + habits.card_count).to_bytes(4, "big")
        choice = rng.random()
        if visit.partner is not None:
            pile.ask_to_start_parallel((number, visit.partner), card, now)
        elif choice < habits.by_vin and pile.settings.pile_type is PileType.DC:
            pile.ask_to_start(number, card, now, by_vin=True)
        elif choice < habits.by_vin + habits.by_card:
            pile.ask_to_start(number, card, now)
        visit.stage, visit.next = "charging", now + int(habits.patience * 1000)

    def _charging(self, number: int, visit: _Visit, now: int) -> None:
        """Out of patience, or content."""
        gun, rng = self._pile.guns[number - 1], self._rng
        if gun.is_charging:
            if rng.random() < self._habits.stops_early:
                visit.stage, visit.next = "tired", self._after(now, 60, 1200)
            else:
                visit.stage, visit.next = "busy", now + 30_000
        else:
            visit.stage, visit.next = "leaving", self._after(now, 5, 60)

    def _busy(self, number: int, visit: _Visit, now: int) -> None:
        if self._pile.guns[number - 1].is_busy:
            visit.next = now + 30_000
        else:
            visit.stage, visit.next = "leaving", self._after(now, 10, 240)

    def _tired(self, number: int, visit: _Visit, now: int) -> None:
        if self._pile.guns[number - 1].is_charging and self._rng.random() < 0.8:
            self._pile.stop(number, now)
        visit.stage, visit.next = "leaving", self._after(now, 5, 30)

    def _leaving(self, number: int, visit: _Visit, now: int) -> None:
        self._pile.unplug(number, now)
        pause = self._rng.expovariate(1 / max(1.0, self._habits.pause))
        visit.stage, visit.next, visit.partner = "away", now + int((1 + pause) * 1000), None

    def _partner(self, number: int, now: int) -> int | None:
        for other, visit in self._visits.items():
            if other != number and visit.stage == "away" and self._pile.guns[other - 1].vehicle is None:
                return other
        return None
