"""Charging profiles: what limits follow from them, now and in the time to come.

The rules are those of OCPP 1.6 section 3.13 and OCPP 2.x part 2, block K:
of the profiles of one purpose the one with the highest stack level counts
that has a period at that moment, a TxProfile takes the place of a
TxDefaultProfile, and what is left is bounded by the profiles of the station
as a whole. Times are ms of UTC since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

__all__ = ["NO_LIMIT", "Limit", "Period", "Profile", "Profiles"]

DAY: Final = 86_400_000
_RECURS: Final = {"Daily": DAY, "Weekly": 7 * DAY}
PURPOSES: Final = ("station", "external", "default", "transaction")


class Period(msgspec.Struct, frozen=True):
    """A step of a schedule."""

    start: int
    """Seconds from the beginning of the schedule."""
    limit: float


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A charging profile, in words of no version."""

    id: int
    evse: int
    """Connector or EVSE; 0: the station."""
    stack: int
    purpose: str
    """station, external, default or transaction."""
    kind: str
    """Absolute, Recurring or Relative."""
    unit: str
    """A or W."""
    periods: tuple[Period, ...]
    recurrency: str | None = None
    valid_from: int | None = None
    valid_to: int | None = None
    start: int | None = None
    duration: int | None = None
    """Seconds."""
    transaction: int | str | None = None
    payload: Any = None
    """As it came, to be reported."""

    def began(self, at: int, charging_since: int | None) -> int | None:
        """When the schedule that is in force at a moment began; None if none is."""
        if self.valid_from is not None and at < self.valid_from:
            return None
        if self.valid_to is not None and at >= self.valid_to:
            return None
        if self.kind == "Relative":
            begin = charging_since
        elif self.kind == "Recurring" and self.start is not None:
            every = _RECURS.get(self.recurrency or "Daily", DAY)
            begin = at - (at - self.start) % every
        else:
            begin = self.start if self.start is not None else charging_since
        if begin is None or at < begin:
            return None
        if self.duration is not None and at >= begin + self.duration * 1000:
            return None
        return begin

    def limit_at(self, at: int, charging_since: int | None) -> float | None:
        """The limit at a moment, in the profile's unit; None: it says nothing about it."""
        begin = self.began(at, charging_since)
        if begin is None:
            return None
        limit = None
        for period in self.periods:
            if begin + period.start * 1000 > at:
                break
            limit = period.limit
        return limit

    def turns(self, after: int, until: int, charging_since: int | None) -> Iterator[int]:
        """The moments in a span at which its limit may change."""
        edges = [edge for edge in (self.valid_from, self.valid_to) if edge is not None]
        begins: list[int] = []
        if self.kind == "Recurring" and self.start is not None:
            every = _RECURS.get(self.recurrency or "Daily", DAY)
            first = after - (after - self.start) % every
            begins = list(range(first, until + 1, every))
        else:
            begin = charging_since if self.kind == "Relative" or self.start is None else self.start
            if begin is not None:
                begins = [begin]
        for begin in begins:
            edges += [begin + period.start * 1000 for period in self.periods]
            if self.duration is not None:
                edges.append(begin + self.duration * 1000)
        return (edge for edge in edges if after < edge < until)


class Limit(msgspec.Struct, frozen=True):
    """What a connector may draw at most; None: no limit in that unit."""

    watts: float | None = None
    amperes: float | None = None

    def within(self, other: Limit) -> Limit:
        """Both limits at once."""
        return Limit(_least(self.watts, other.watts), _least(self.amperes, other.amperes))


NO_LIMIT: Final = Limit()


class Profiles:
    """The charging profiles of one station."""

    def __init__(self) -> None:
        self._profiles: list[Profile] = []

    def __iter__(self) -> Iterator[Profile]:
        return iter(self._profiles)

    def __len__(self) -> int:
        return len(self._profiles)

    def put(self, profile: Profile) -> None:
        """Install a profile in the place of one with the same id, or of the same purpose, level and place."""
        self._profiles = [
            other
            for other in self._profiles
            if other.id != profile.id
            and (other.evse, other.purpose, other.stack, other.transaction)
            != (profile.evse, profile.purpose, profile.stack, profile.transaction)
        ]
        self._profiles.append(profile)

    def clear(
        self,
        *,
        id: int | None = None,
        evse: int | None = None,
        purpose: str | None = None,
        stack: int | None = None,
    ) -> int:
        """Remove what fits everything that is given; how many there were."""
        gone = [
            profile
            for profile in self._profiles
            if (id is None or profile.id == id)
            and (evse is None or profile.evse == evse)
            and (purpose is None or profile.purpose == purpose)
            and (stack is None or profile.stack == stack)
        ]
        self._profiles = [profile for profile in self._profiles if profile not in gone]
        return len(gone)

    def transaction_ended(self, evse: int) -> None:
        """The profiles of a transaction end with it."""
        self.clear(evse=evse, purpose="transaction")

    def limit(self, evse: int, at: int, charging_since: int | None, sharing: int = 1) -> Limit:
        """What a connector may draw at a moment.

        ``sharing`` is between how many connectors the limit of the station is divided.
        """
        own = self._strongest("transaction", (evse,), at, charging_since)
        if own is None:
            own = self._strongest("default", (evse, 0), at, charging_since)
        result = own or NO_LIMIT
        for purpose in ("station", "external"):
            whole = self._strongest(purpose, (0,), at, charging_since)
            if whole is not None:
                result = result.within(
                    Limit(
                        None if whole.watts is None else whole.watts / sharing,
                        None if whole.amperes is None else whole.amperes / sharing,
                    )
                )
        return result

    def _strongest(
        self, purpose: str, places: Iterable[int], at: int, charging_since: int | None
    ) -> Limit | None:
        places = tuple(places)
        best: tuple[tuple[int, int], Limit] | None = None
        for profile in self._profiles:
            if profile.purpose != purpose or profile.evse not in places:
                continue
            limit = profile.limit_at(at, charging_since)
            rank = profile.stack, profile.evse
            if limit is not None and (best is None or rank > best[0]):
                best = rank, Limit(watts=limit) if profile.unit == "W" else Limit(amperes=limit)
        return best[1] if best is not None else None

    def next_turn(self, after: int, charging_since: int | None) -> int | None:
        """The next moment, within a day, at which a limit may change."""
        turns = [
            turn for profile in self._profiles for turn in profile.turns(after, after + DAY, charging_since)
        ]
        return min(turns, default=None)

    def composite(
        self, evse: int, begin: int, seconds: int, charging_since: int | None
    ) -> list[tuple[int, Limit]]:
        """The limits of a span, as seconds from its beginning and the limit from then on."""
        end = begin + seconds * 1000
        turns = {begin}
        for profile in self._profiles:
            turns.update(profile.turns(begin, end, charging_since))
        steps: list[tuple[int, Limit]] = []
        for turn in sorted(turns):
            limit = self.limit(evse, turn, charging_since)
            if not steps or steps[-1][1] != limit:
                steps.append(((turn - begin) // 1000, limit))
        return steps


def _least(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
