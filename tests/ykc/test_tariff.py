"""Tariffs: 48 periods built, put into frames, and read at a moment."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from evproto import ykc
from evproto.ykc.enums import TariffRate
from evproto.ykc.tariff import PERIODS, Price, Tariff, periods

S, P, F, V = TariffRate.SHARP, TariffRate.PEAK, TariffRate.FLAT, TariffRate.VALLEY

PRICES = {
    S: Price(energy=Decimal("1.20000"), service=Decimal("0.40001")),
    P: Price(energy=Decimal("1.05"), service=Decimal("0.4")),
    F: Price(energy=Decimal("0.69"), service=Decimal("0.4")),
    V: Price(energy=Decimal("0.34567"), service=Decimal("0.2")),
}


@pytest.fixture
def tariff() -> Tariff:
    rates = periods([("23:00", "07:00", V), ("10:00", "11:30", S), ("18:00", "21:00", P)], default=F)
    return Tariff(billing_model_no="0100", prices=PRICES, periods=rates)


def test_periods_by_hand() -> None:
    rates = [p.rate for p in periods([("22:30", "06:30", V), (dt.time(8), "24:00", F)][:1], default=P)]
    assert rates == [V] * 13 + [P] * 32 + [V] * 3
    assert [p.rate for p in periods([("00:00", "24:00", F)])] == [F] * PERIODS


@pytest.mark.parametrize(
    ("spans", "text"),
    [
        ([("08:15", "09:00", S)], "08:15 is not a full or half hour"),
        ([("08:00", "24:30", S)], "24:30 is not a full or half hour"),
        ([("8", "9", S)], "a time of day is written 08:30"),
        ([(dt.time(8, 0, 1), "09:00", S)], "is not a full or half hour"),
        ([("08:00", "08:00", S)], "covers nothing"),
        ([("08:00", "10:00", S), ("09:30", "11:00", P)], "09:30 has two rates"),
        ([("00:00", "23:30", S)], "23:30 has no rate"),
    ],
)
def test_wrong_spans(spans: list[object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        periods(spans)  # type: ignore[arg-type]


def test_price_at(tariff: Tariff) -> None:
    assert tariff.rate_at(dt.time(6, 59, 59)) is V
    assert tariff.rate_at(dt.time(7)) is F
    assert tariff.rate_at(dt.time(11, 29)) is S
    assert tariff.price_at(dt.time(10)).total == Decimal("1.60001")
    # 02:00 UTC is 10:00 where the pile stands.
    assert tariff.rate_at(dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)) is S
    assert tariff.rate_at(dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC), tz=ZoneInfo("Europe/Berlin")) is V
    assert tariff.rate_at(dt.datetime(2026, 1, 1, 10)) is S


def test_through_the_wire(tariff: Tariff) -> None:
    codec = ykc.Codec()
    for message in (tariff.response("55031412782305"), tariff.setting("55031412782305")):
        back = codec.decode(codec.encode(message)).message
        assert isinstance(back, (ykc.messages.BillingModelResponse, ykc.messages.BillingModelSettingRequest))
        assert Tariff.of(back) == Tariff(
            billing_model_no="0100", prices=PRICES, periods=tariff.periods, loss_ratio=0
        )
        assert [p.rate for p in back.period_rates][:14] == [V] * 14


def test_incomplete_tariffs(tariff: Tariff) -> None:
    less = Tariff(billing_model_no="0100", prices={S: PRICES[S]}, periods=tariff.periods)
    with pytest.raises(ValueError, match="no price for peak"):
        less.response("1")
    with pytest.raises(KeyError):
        less.price_at(dt.time(7))
    short = Tariff(billing_model_no="0100", prices=PRICES, periods=tariff.periods[:47])
    with pytest.raises(ValueError, match="48 periods, not 47"):
        short.setting("1")
    with pytest.raises(ValueError, match="48 periods"):
        short.rate_at(dt.time(0))


def test_the_documents_sample() -> None:
    """Section 9.5: prices 2, 3, 4 and 5 and so on are in vectors; here only that they are read."""
    frame = bytes.fromhex(
        "685E00250058550314127823050100400D03009C400000E09304009C400000801A06009C40000020A107009C40000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "7C59"
    )
    message = ykc.Codec().decode(frame).message
    assert isinstance(message, ykc.messages.BillingModelSettingRequest)
    read = Tariff.of(message)
    assert [read.prices[rate].energy for rate in (S, P, F, V)] == [2, 3, 4, 5]
    assert read.price_at(dt.time(12)).service == Decimal("0.1654")
