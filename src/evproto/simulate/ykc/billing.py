"""The bill of one charging session.

Energy is in the steps of the meter, 0.0001 kWh, as the wire has it. A tier of
the bill is the sum of the differences of readings taken whenever the rate
changes, so the tiers add up to the difference of the meter's readings to the
last step. Amounts are whole 0.0001 CNY: nothing here is a float.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from evproto.ykc.enums import TariffRate
from evproto.ykc.tariff import PERIODS, Price, Tariff, periods

__all__ = ["HALF_HOUR", "Bill", "default_tariff"]

HALF_HOUR: Final = 1_800_000
"""Milliseconds."""


def default_tariff(billing_model_no: str = "0000") -> Tariff:
    """Prices by time of day as they are in a large city, for piles whose platform has none for them."""

    def price(energy: str, service: str) -> Price:
        return Price(energy=Decimal(energy), service=Decimal(service))

    spans = periods(
        [
            ("23:00", "07:00", TariffRate.VALLEY),
            ("10:00", "15:00", TariffRate.PEAK),
            ("18:00", "19:00", TariffRate.PEAK),
            ("19:00", "21:00", TariffRate.SHARP),
        ],
        default=TariffRate.FLAT,
    )
    return Tariff(
        billing_model_no=billing_model_no,
        prices={
            TariffRate.SHARP: price("1.26037", "0.60000"),
            TariffRate.PEAK: price("1.05251", "0.60000"),
            TariffRate.FLAT: price("0.69318", "0.55000"),
            TariffRate.VALLEY: price("0.31845", "0.45000"),
        },
        periods=spans,
    )


class Bill:
    """What one charging session costs, by rate, under the tariff in force when it began."""

    def __init__(self, tariff: Tariff, meter_start: int) -> None:
        self.meter_start = meter_start
        self.loss_ratio = tariff.loss_ratio
        self._rates = [entry.rate for entry in tariff.periods]
        if len(self._rates) != PERIODS:
            raise ValueError(f"a tariff has {PERIODS} periods, not {len(self._rates)}")
        self.prices = {rate: int(price.total * 100_000) for rate, price in tariff.prices.items()}
        """In 0.00001 CNY/kWh, energy and service together."""
        self._counted = dict.fromkeys(self.prices, 0)
        self._read = meter_start

    def rate_at(self, time_of_day: int) -> TariffRate:
        """The rate at a time of day in ms; a code the document does not know counts as flat."""
        rate = self._rates[time_of_day // HALF_HOUR]
        return rate if rate in self.prices else TariffRate.FLAT

    def read(self, rate: TariffRate, reading: int) -> None:
        """Put what the meter has counted since the last reading under ``rate``."""
        self._counted[rate] += reading - self._read
        self._read = reading

    def energy(self, rate: TariffRate | None = None) -> int:
        """In 0.0001 kWh, of one rate or of all."""
        return self._read - self.meter_start if rate is None else self._counted[rate]

    def energy_with_loss(self, rate: TariffRate | None = None) -> int:
        """The energy and the loss ratio, taken for per cent, on top of it."""
        if rate is None:
            return sum(map(self.energy_with_loss, self._counted))
        return self._with_loss(self._counted[rate])

    def _with_loss(self, energy: int) -> int:
        return (energy * (100 + self.loss_ratio) + 50) // 100

    def amount(self, rate: TariffRate | None = None) -> int:
        """In 0.0001 CNY; of one rate rounded half up, of all the sum of these."""
        if rate is None:
            return sum(map(self.amount, self._counted))
        return self._amount(rate, self._counted[rate])

    def _amount(self, rate: TariffRate, energy: int) -> int:
        return (self.prices[rate] * self._with_loss(energy) + 50_000) // 100_000

    def reading_for(self, amount: int, rate: TariffRate) -> int:
        """The last reading of the meter that keeps the whole under ``amount`` if all goes to ``rate``."""
        others = self.amount() - self.amount(rate)
        room = amount - others
        price = self.prices[rate]
        if price == 0:
            return 1 << 62
        energy = max(0, room * 100_000 // price) * 100 // (100 + self.loss_ratio) + 1
        while energy and self._amount(rate, energy) > room:
            energy -= 1
        return self._read - self._counted[rate] + energy
