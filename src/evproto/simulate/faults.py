"""Chargers that misbehave: how often, and how wrong a clock is; the protocols say in which ways."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["Faults", "parse_faults"]

_MOST_SKEW: Final = 86_400_000


class Faults(msgspec.Struct, frozen=True):
    """Rates by kind; kinds not there do not occur."""

    rates: Mapping[str, float] = {}

    def __bool__(self) -> bool:
        return any(self.rates.values())

    def strikes(self, kind: str, rng: random.Random) -> bool:
        """Whether it happens this time."""
        rate = self.rates.get(kind, 0.0)
        return rate > 0 and rng.random() < rate

    def skew(self, rng: random.Random) -> int:
        """How wrong a charger's clock is, in ms."""
        return rng.randrange(-_MOST_SKEW, _MOST_SKEW) if self.strikes("clock-skew", rng) else 0


def parse_faults(text: str, usual: Mapping[str, float]) -> Faults:
    """Faults from ``split,drop:0.01``: kinds with a rate, or at the ``usual`` one.

    Raises:
        ValueError: a kind there is not, or a rate outside 0 to 1.
    """
    rates: dict[str, float] = {}
    for part in text.split(","):
        kind, colon, number = part.strip().partition(":")
        if kind not in usual:
            raise ValueError(f"there is no fault {kind!r}; there are {', '.join(usual)}")
        rate = usual[kind]
        if colon:
            try:
                rate = float(number)
            except ValueError:
                raise ValueError(f"the rate of {kind} is a number from 0 to 1, not {number!r}") from None
            if not 0 <= rate <= 1:
                raise ValueError(f"the rate of {kind} is from 0 to 1, not {number}")
        rates[kind] = rate
    return Faults(rates)
