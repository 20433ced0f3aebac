"""Transaction numbers by the rule of section 3.3, and what breaks it."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.ykc import BEIJING
from evproto.ykc.transactions import make_transaction_no, parse_transaction_no

NOON = dt.datetime(2020, 1, 6, 18, 3, 42, tzinfo=BEIJING)


def test_the_documents_example() -> None:
    """The glossary's example follows its own rule."""
    assert make_transaction_no("32010600019236", "01", NOON, 3060) == "32010600019236012001061803423060"
    parsed = parse_transaction_no("32010600019236012001061803423060")
    assert parsed is not None
    assert (parsed.pile_id, parsed.gun_no, parsed.time, parsed.counter) == (
        "32010600019236",
        "01",
        NOON,
        3060,
    )
    assert str(parsed) == "32010600019236012001061803423060"


def test_other_zones_are_written_in_the_piles() -> None:
    assert make_transaction_no("1", 1, NOON.astimezone(dt.UTC), 7) == "00000000000001012001061803420007"


@pytest.mark.parametrize(
    "number",
    [
        "55031412782305012018061910262392",  # 0x3B and 0x40: four-digit year, so the month is 18
        "3201020000000011151116155535026",  # the BMS samples: 31 digits
        "18120000000266011643069629415424",  # a capture: a number of the platform's own
        "5503141278230501201A061910262392",
        "",
        "x" * 32,
        "５" * 32,
    ],
)
def test_what_breaks_the_rule_is_none(number: str) -> None:
    assert parse_transaction_no(number) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("123456789012345", 1, NOON, 1), "pile_id is at most 14 digits"),
        (("1", 100, NOON, 1), "gun_no is at most 2 digits"),
        (("1", 1, NOON, 10000), "counter is at most 4 digits"),
        (("1", 1, NOON, -1), "counter is at most 4 digits"),
        (("1A", 1, NOON, 1), "pile_id"),
        (("1", 1, NOON.replace(tzinfo=None), 1), "no time zone"),
        (("1", 1, NOON.replace(year=1999), 1), "the year 1999"),
    ],
)
def test_what_does_not_fit(arguments: tuple[str, int, dt.datetime, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_transaction_no(*arguments)


@given(
    st.text("0123456789", min_size=14, max_size=14),
    st.integers(0, 99),
    st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 12, 31)),
    st.integers(0, 9999),
)
def test_round_trip(pile: str, gun: int, moment: dt.datetime, counter: int) -> None:
    moment = moment.replace(tzinfo=BEIJING, microsecond=0)
    parsed = parse_transaction_no(make_transaction_no(pile, gun, moment, counter))
    assert parsed is not None
    assert (parsed.pile_id, int(parsed.gun_no), parsed.time, parsed.counter) == (pile, gun, moment, counter)
