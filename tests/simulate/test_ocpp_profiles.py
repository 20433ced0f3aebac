"""Charging profiles: limits worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from evproto.simulate.ocpp.profiles import NO_LIMIT, Limit, Period, Profile, Profiles

T0 = 1_790_035_200_000
HOUR = 3_600_000
DAY = 24 * HOUR


def profile(id: int = 1, **fields: Any) -> Profile:
    usual: dict[str, Any] = {
        "evse": 1, "stack": 0, "purpose": "default", "kind": "Absolute", "unit": "A", "start": T0,
        "periods": (Period(0, 16), Period(3600, 10), Period(7200, 0)),
    }  # fmt: skip
    return Profile(id=id, **{**usual, **fields})


def with_(*installed: Profile) -> Profiles:
    profiles = Profiles()
    for one in installed:
        profiles.put(one)
    return profiles


@pytest.mark.parametrize(
    ("at", "limit"),
    [
        (T0 - 1, None),
        (T0, 16),
        (T0 + HOUR - 1, 16),
        (T0 + HOUR, 10),
        (T0 + 2 * HOUR, 0),
        (T0 + 10 * DAY, 0),
    ],
)
def test_periods_of_an_absolute_profile(at: int, limit: float | None) -> None:
    assert profile().limit_at(at, None) == limit


def test_it_ends_with_its_duration_and_its_validity() -> None:
    assert profile(duration=5400).limit_at(T0 + 5_399_999, None) == 10
    assert profile(duration=5400).limit_at(T0 + 5_400_000, None) is None
    assert profile(valid_from=T0 + 5, valid_to=T0 + 10).limit_at(T0 + 4, None) is None
    assert profile(valid_from=T0 + 5, valid_to=T0 + 10).limit_at(T0 + 5, None) == 16
    assert profile(valid_from=T0 + 5, valid_to=T0 + 10).limit_at(T0 + 10, None) is None


def test_a_daily_profile_begins_again_every_day() -> None:
    daily = profile(kind="Recurring", recurrency="Daily", duration=2 * 3600)
    assert daily.limit_at(T0 + 5 * DAY + HOUR, None) == 10
    assert daily.limit_at(T0 + 5 * DAY + 3 * HOUR, None) is None
    weekly = profile(kind="Recurring", recurrency="Weekly", duration=2 * 3600)
    assert weekly.limit_at(T0 + 5 * DAY, None) is None
    assert weekly.limit_at(T0 + 14 * DAY, None) == 16


def test_a_relative_profile_counts_from_the_beginning_of_the_transaction() -> None:
    relative = profile(kind="Relative", start=None)
    assert relative.limit_at(T0, None) is None
    assert relative.limit_at(T0 + HOUR, T0) == 10


def test_the_highest_level_counts_that_says_something() -> None:
    profiles = with_(
        profile(1, stack=1), profile(2, stack=5, periods=(Period(0, 6),), start=T0 + HOUR, duration=60)
    )
    assert profiles.limit(1, T0, None) == Limit(amperes=16)
    assert profiles.limit(1, T0 + HOUR, None) == Limit(amperes=6)
    assert profiles.limit(1, T0 + HOUR + 60_000, None) == Limit(amperes=10)


def test_a_transaction_profile_takes_the_place_of_the_default_and_the_station_bounds_both() -> None:
    profiles = with_(
        profile(1),
        profile(2, purpose="transaction", unit="W", periods=(Period(0, 11_000),)),
        profile(3, purpose="station", evse=0, unit="W", periods=(Period(0, 9_000),)),
    )
    assert profiles.limit(1, T0, T0) == Limit(watts=9_000)
    assert profiles.limit(2, T0, T0) == Limit(watts=9_000)
    assert profiles.limit(1, T0, T0, sharing=2) == Limit(watts=4_500)
    profiles.transaction_ended(1)
    assert profiles.limit(1, T0, None) == Limit(watts=9_000, amperes=16)


def test_a_default_of_the_station_is_for_each_connector_that_has_none() -> None:
    profiles = with_(profile(1, evse=0), profile(2, evse=2, periods=(Period(0, 8),)))
    assert profiles.limit(1, T0, None) == Limit(amperes=16)
    assert profiles.limit(2, T0, None) == Limit(amperes=8)


def test_a_profile_takes_the_place_of_its_like() -> None:
    profiles = with_(profile(1), profile(2), profile(3, stack=1))
    assert [one.id for one in profiles] == [2, 3]
    profiles.put(profile(3, stack=7))
    assert [(one.id, one.stack) for one in profiles] == [(2, 0), (3, 7)]
    assert profiles.clear(stack=7) == 1
    assert profiles.clear(id=9) == 0
    assert profiles.clear() == 1
    assert profiles.limit(1, T0, None) == NO_LIMIT


def test_the_composite_schedule_has_a_step_at_each_turn() -> None:
    profiles = with_(
        profile(1), profile(2, purpose="station", evse=0, start=T0 + 1800_000, periods=(Period(0, 12),))
    )
    assert profiles.composite(1, T0, 3 * 3600, None) == [
        (0, Limit(amperes=16)),
        (1800, Limit(amperes=12)),
        (3600, Limit(amperes=10)),
        (7200, Limit(amperes=0)),
    ]
    assert profiles.next_turn(T0, None) == T0 + 1800_000
