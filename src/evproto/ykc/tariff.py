"""Time-of-use tariffs: the 48 half hours of 0x0A and 0x58, built and read.

YKC V1.6, sections 6.8 and 9.5: four rates (sharp, peak, flat, valley), each
with an energy and a service price, and one rate for every half hour from 00:00.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from evproto.messages import BEIJING
from evproto.ykc.enums import TariffRate
from evproto.ykc.messages import BillingModelResponse, BillingModelSettingRequest, PeriodRate

__all__ = ["PERIODS", "Price", "Tariff", "periods"]

PERIODS = 48
_HALF_HOUR = 30

Span = tuple[str | dt.time, str | dt.time, TariffRate]


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a kWh costs, in CNY; steps of 0.00001."""

    energy: Decimal
    service: Decimal

    @property
    def total(self) -> Decimal:
        """Energy and service together, as the transaction record has it."""
        return self.energy + self.service


def periods(spans: Iterable[Span], *, default: TariffRate | None = None) -> tuple[PeriodRate, ...]:
    """The 48 periods from spans of the day.

    A span is (from, to, rate), times as ``"08:30"`` or ``time``, on full or
    half hours; ``to`` is not included, ``"24:00"`` is the end of the day, and
    a span may run past midnight. What no span covers takes ``default``.

    >>> rates = periods([("23:00", "07:00", TariffRate.VALLEY)], default=TariffRate.FLAT)
    >>> rates[0].rate.name, rates[14].rate.name, rates[46].rate.name
    ('VALLEY', 'FLAT', 'VALLEY')

    Raises:
        ValueError: a time is not on a half hour, spans overlap, or a period
            has no rate.
    """
    rates: list[TariffRate | None] = [None] * PERIODS
    for begin, end, rate in spans:
        first, last = _period(begin), _period(end)
        if first in (last, PERIODS):
            raise ValueError(f"the span {begin} to {end} covers nothing")
        count = (last - first) % PERIODS or PERIODS
        for index in (number % PERIODS for number in range(first, first + count)):
            if rates[index] is not None:
                raise ValueError(f"{_clock(index)} has two rates")
            rates[index] = TariffRate(rate)
    for index, taken in enumerate(rates):
        if taken is None:
            if default is None:
                raise ValueError(f"{_clock(index)} has no rate")
            rates[index] = default
    return tuple(PeriodRate(rate=rate) for rate in rates if rate is not None)


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """A billing model: prices by rate, and a rate for each of the 48 periods."""

    billing_model_no: str
    """4 digits."""
    prices: Mapping[TariffRate, Price]
    periods: tuple[PeriodRate, ...]
    loss_ratio: int = 0

    @classmethod
    def of(cls, message: BillingModelResponse | BillingModelSettingRequest) -> Tariff:
        """The tariff in a message 0x0A or 0x58."""
        return cls(
            billing_model_no=message.billing_model_no,
            prices={
                rate: Price(
                    energy=Decimal(repr(getattr(message, f"{rate.name.lower()}_energy_price"))),
                    service=Decimal(repr(getattr(message, f"{rate.name.lower()}_service_price"))),
                )
                for rate in TariffRate
            },
            periods=message.period_rates,
            loss_ratio=message.loss_ratio,
        )

    def response(self, pile_id: str) -> BillingModelResponse:
        """The answer 0x0A to a pile that asks for its billing model.

        Raises:
            ValueError: a price is missing, or there are not 48 periods.
        """
        return BillingModelResponse(pile_id=pile_id, **self._fields())

    def setting(self, pile_id: str) -> BillingModelSettingRequest:
        """The command 0x58 that sets the billing model.

        Raises:
            ValueError: a price is missing, or there are not 48 periods.
        """
        return BillingModelSettingRequest(pile_id=pile_id, **self._fields())

    def rate_at(self, moment: dt.datetime | dt.time, *, tz: dt.tzinfo = BEIJING) -> TariffRate:
        """The rate in force at a moment.

        An aware datetime is taken to the pile's zone ``tz`` first; a naive one,
        or a time of day, is on the pile's clock already.

        Raises:
            ValueError: there are not 48 periods.
        """
        self._check_periods()
        if isinstance(moment, dt.datetime) and moment.utcoffset() is not None:
            moment = moment.astimezone(tz)
        return self.periods[moment.hour * 2 + moment.minute // _HALF_HOUR].rate

    def price_at(self, moment: dt.datetime | dt.time, *, tz: dt.tzinfo = BEIJING) -> Price:
        """The price in force at a moment; see :meth:`rate_at`.

        Raises:
            KeyError: the rate of that period has no price.
            ValueError: there are not 48 periods.
        """
        return self.prices[self.rate_at(moment, tz=tz)]

    def _check_periods(self) -> None:
        if len(self.periods) != PERIODS:
            raise ValueError(f"a tariff has {PERIODS} periods, not {len(self.periods)}")

    def _fields(self) -> dict[str, Any]:
        self._check_periods()
        fields: dict[str, Any] = {
            "billing_model_no": self.billing_model_no,
            "loss_ratio": self.loss_ratio,
            "period_rates": self.periods,
        }
        for rate in TariffRate:
            price = self.prices.get(rate)
            if price is None:
                raise ValueError(f"the tariff has no price for {rate.name.lower()}")
            fields[f"{rate.name.lower()}_energy_price"] = float(price.energy)
            fields[f"{rate.name.lower()}_service_price"] = float(price.service)
        return fields


def _period(clock: str | dt.time) -> int:
    if isinstance(clock, dt.time):
        hour, minute, exact = clock.hour, clock.minute, not (clock.second or clock.microsecond)
    else:
        head, _, tail = clock.partition(":")
        if not (head.isdecimal() and tail.isdecimal()):
            raise ValueError(f"a time of day is written 08:30, not {clock!r}")
        hour, minute, exact = int(head), int(tail), True
    index, beyond = divmod(hour * 60 + minute, _HALF_HOUR)
    if beyond or not exact or index > PERIODS or minute > 59:
        raise ValueError(f"{clock} is not a full or half hour of the day")
    return index


def _clock(index: int) -> str:
    return f"{index // 2:02d}:{index % 2 * 30:02d}"
