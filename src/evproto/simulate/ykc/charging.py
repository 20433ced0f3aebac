"""A charging session of YKC: billed by the time of day, and bounded by a balance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from evproto.simulate.charging import Charge as BaseCharge
from evproto.simulate.charging import Clock, End
from evproto.simulate.meter import Meter
from evproto.simulate.vehicle import Vehicle
from evproto.simulate.ykc.billing import HALF_HOUR, Bill
from evproto.ykc.enums import PileType, StartSource, StopReason, TariffRate
from evproto.ykc.tariff import Tariff

__all__ = ["STARTS_AFTER", "Charge", "Order", "cents"]

STARTS_AFTER: Final = {PileType.DC: 12_000, PileType.AC: 2_000}
"""Milliseconds from the order to the first current: on DC insulation test and handshake come first."""


def cents(balance: float) -> int:
    """A balance of the wire, in CNY, in 0.01 CNY."""
    return round(balance * 100)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Who charges, and how much at most."""

    transaction_no: str
    """32 digits."""
    source: StartSource
    physical_card_no: bytes = bytes(8)
    balance: int | None = None
    """In 0.01 CNY; None: no limit."""
    parallel_no: str | None = None
    energy_limit: int | None = None
    """In 0.0001 kWh."""
    time_limit: int | None = None
    """In ms."""


class Charge(BaseCharge[StopReason]):
    """A charging session, from the order to its end.

    Attributes:
        order: who charges.
        balance: what is left to be spent, in 0.01 CNY; None: no limit.
    """

    reasons: ClassVar[Mapping[End, object]] = {
        End.FULL: StopReason.COMPLETED_SOC_FULL,
        End.DRIVER: StopReason.COMPLETED_MANUAL_STOP,
        End.NO_CURRENT: StopReason.ABORTED_NO_CHARGING_CURRENT,
        End.TIME: StopReason.COMPLETED_TIME_LIMIT,
        End.ENERGY: StopReason.COMPLETED_ENERGY_LIMIT,
    }

    def __init__(
        self,
        order: Order,
        *,
        now: int,
        kind: PileType,
        clock: Clock,
        tariff: Tariff,
        meter: Meter,
        vehicle: Vehicle,
        max_power: int,
        max_current: int,
        max_voltage: int,
        failure: StopReason | None = None,
    ) -> None:
        """``max_power`` in W, ``max_current`` in 0.1 A, ``max_voltage`` in 0.1 V.

        With a ``failure`` it ends with that reason before any current flows.
        """
        super().__init__(
            now=now,
            is_dc=kind is PileType.DC,
            meter=meter,
            vehicle=vehicle,
            starts_after=STARTS_AFTER[kind],
            max_power=max_power,
            max_current=max_current,
            max_voltage=max_voltage,
            energy_limit=order.energy_limit,
            time_limit=order.time_limit,
            failure=failure,
        )
        self.order = order
        self.kind = kind
        self.balance = order.balance
        self.bill = Bill(tariff, meter.reading)
        self._clock = clock

    @property
    def knows_vin(self) -> bool:
        """Whether the vehicle has said which it is."""
        return self.kind is PileType.DC and self.failure is None

    @property
    def meter_end(self) -> int:
        """The last reading of the meter, in 0.0001 kWh."""
        return self.bill.meter_start + self.bill.energy()

    @property
    def _rate(self) -> TariffRate:
        return self.bill.rate_at(self._clock.time_of_day(self.now))

    def _boundary(self) -> int:
        return self.now + HALF_HOUR - self._clock.time_of_day(self.now) % HALF_HOUR

    def _counted(self) -> None:
        self.bill.read(self._rate, self._meter.reading)

    def _limit(self) -> tuple[int, StopReason | None]:
        left, reason = super()._limit()
        if self.balance is not None and self.current:
            last = self.bill.reading_for(self.balance * 100, self._rate)
            until = max(0, self._meter.time_to(last, self.voltage, self.current) - 1)
            if until < left:
                left, reason = until, StopReason.ABORTED_INSUFFICIENT_BALANCE
        return left, reason
