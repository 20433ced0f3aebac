"""One charging session at one gun: the output over time, and when it ends.

Nothing happens between two looks: :meth:`Charge.advance` carries the session
forward to a moment and stops it where a condition is met. Voltage and current
are chosen anew on a grid of the session's own, never by when it is looked at,
and what flows between is integrated exactly, so the same session gives the
same readings however often it reports.
"""

from __future__ import annotations

from typing import Final

import msgspec

from evproto.simulate.ykc.billing import HALF_HOUR, Bill, Meter
from evproto.simulate.ykc.vehicle import Vehicle
from evproto.ykc.enums import PileType, StartSource, StopReason, TariffRate
from evproto.ykc.tariff import Tariff

__all__ = ["STARTS_AFTER", "Charge", "Clock", "Order", "cents"]

DAY: Final = 86_400_000
_FOREVER: Final = 1 << 62
_RAMP: Final = 200
"""0.1 A per second: how fast an output rises."""
_RAMP_END: Final = 20_000
_SHORT_STEP: Final = 1_000
_STEP: Final = 5_000
_MAINS: Final = 2_200
"""0.1 V."""
_ON_BOARD: Final = 0.92
"""What an on-board charger makes of the power it takes."""
STARTS_AFTER: Final = {PileType.DC: 12_000, PileType.AC: 2_000}
"""Milliseconds from the order to the first current: on DC insulation test and handshake come first."""


class Clock:
    """The clock of a pile: local time in ms, from the pile's own milliseconds."""

    def __init__(self, offset: int) -> None:
        """``offset`` is local time since 1970 in ms at the moment 0."""
        self.offset = offset

    def local(self, now: int) -> int:
        """Local time since 1970-01-01 00:00, in ms."""
        return now + self.offset

    def time_of_day(self, now: int) -> int:
        """Milliseconds since local midnight."""
        return (now + self.offset) % DAY


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


class Charge:
    """A charging session, from the order to its end.

    Attributes:
        order: who charges.
        started, ended: pile's milliseconds; ``ended`` is None as long as it runs.
        stop_reason: why it ended, or None.
        flows_from: when the first current flows.
        voltage, current: present output in 0.1 V and 0.1 A.
    """

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
        self.order = order
        self.kind = kind
        self.vehicle = vehicle
        self.started = self.now = now
        self.ended: int | None = None
        self.stop_reason: StopReason | None = None
        self.failure = failure
        self.voltage = self.current = 0
        self.demand_current = 0
        self.is_voltage_limited = False
        self.balance = order.balance
        self.max_power = max_power
        self.bill = Bill(tariff, meter.reading)
        self._clock = clock
        self._meter = meter
        self._max_current = max_current
        self._max_voltage = max_voltage
        self.flows_from = now + STARTS_AFTER[kind]
        self._next_step = self.flows_from
        self._stepped = self.flows_from
        self._into_battery = 0

    @property
    def knows_vin(self) -> bool:
        """Whether the vehicle has said which it is."""
        return self.kind is PileType.DC and self.failure is None

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.ended is None

    @property
    def is_flowing(self) -> bool:
        """Whether there is current."""
        return self.ended is None and self.now >= self.flows_from

    @property
    def power(self) -> int:
        """Present output in mW."""
        return self.voltage * self.current * 10

    @property
    def minutes(self) -> int:
        """Whole minutes of current so far."""
        return max(0, (self.ended if self.ended is not None else self.now) - self.flows_from) // 60_000

    @property
    def minutes_left(self) -> int:
        """The estimate of what is left, 0 to 600 minutes."""
        if not self.power:
            return 0
        battery = self.vehicle.battery
        missing = max(0.0, self.vehicle.leaves_at - battery.soc) * battery.model.energy
        return min(600, round(missing / (self.power / 1e6) * 60))

    @property
    def meter_end(self) -> int:
        """The last reading of the meter, in 0.0001 kWh."""
        return self.bill.meter_start + self.bill.energy()

    def advance(self, to: int) -> None:
        """Carry on to the moment ``to``, or to the end if a condition is met before."""
        while self.now < to and self.ended is None:
            if self.now < self.flows_from:
                self.now = min(to, self.flows_from)
                if self.failure is not None and self.now == self.flows_from:
                    self.stop(self.failure, self.now)
                continue
            if self.now >= self._next_step:
                self._choose_output()
            time_of_day = self._clock.time_of_day(self.now)
            rate = self.bill.rate_at(time_of_day)
            end = min(to, self._next_step, self.now + HALF_HOUR - time_of_day % HALF_HOUR)
            left, reason = self._limit(rate)
            if self.now + left <= end:
                end = self.now + left
            else:
                reason = None
            passed = end - self.now
            self._meter.count(self.voltage, self.current, passed)
            self.vehicle.battery.take(self._into_battery, passed)
            self.bill.read(rate, self._meter.reading)
            self.now = end
            if reason is not None:
                self.stop(reason, end)

    def stop(self, reason: StopReason, at: int) -> None:
        """End it at a moment; the first reason stays."""
        self.advance(at)
        if self.ended is None:
            self.ended = at
            self.stop_reason = reason
            self.voltage = self.current = self.demand_current = self._into_battery = 0

    def _choose_output(self) -> None:
        battery = self.vehicle.battery
        battery.warm(self._into_battery, self._next_step - self._stepped)
        self._stepped = self._next_step
        running = self._next_step - self.flows_from
        self._next_step += _SHORT_STEP if running < _RAMP_END else _STEP
        ramp = _RAMP + _RAMP * running // 1000
        if self.kind is PileType.AC:
            soc = battery.soc
            wanted = min(battery.model.ac_power, 7.0) * (1.0 if soc < 0.97 else max(0.2, (1 - soc) / 0.03))
            self.voltage = _MAINS - (running // 60_000) % 7  # mains are never quite still
            self.demand_current = int(wanted * 1e5 / self.voltage)
            self.current = min(
                self.demand_current, self._max_current, self.max_power * 100 // self.voltage, ramp
            )
            in_watts = self.voltage * self.current / 100 * _ON_BOARD
            self._into_battery = max(1, round(in_watts / battery.rest_voltage * 10))
            return
        self.demand_current, self.is_voltage_limited = battery.demand()
        current = min(self.demand_current, self._max_current, ramp)
        voltage = battery.voltage(current)
        if voltage > self._max_voltage:
            # A pile for lower voltages cannot push anything into this battery.
            voltage, current = self._max_voltage, 0
        elif voltage * current > self.max_power * 100:
            # Less current is less voltage, which leaves room for a little more current.
            for _ in range(3):
                current = self.max_power * 100 // voltage
                voltage = battery.voltage(current)
            while voltage * current > self.max_power * 100:
                current -= 1
        self.voltage, self.current, self._into_battery = voltage, current, current

    def _limit(self, rate: TariffRate) -> tuple[int, StopReason | None]:
        """Milliseconds until a condition ends the session at the present output, and which."""
        battery = self.vehicle.battery
        if not self.current:
            return 0, StopReason.ABORTED_NO_CHARGING_CURRENT
        if battery.is_full:
            return 0, StopReason.COMPLETED_SOC_FULL
        left, reason = battery.time_to_full(self._into_battery), StopReason.COMPLETED_SOC_FULL
        leave = int(self.vehicle.leaves_at * battery.capacity)
        if leave < battery.capacity:
            until = max(0, -(-(leave - battery.charge) // self._into_battery))
            if until < left:
                left, reason = until, StopReason.COMPLETED_MANUAL_STOP
        order = self.order
        if order.time_limit is not None:
            until = max(0, self.started + order.time_limit - self.now)
            if until < left:
                left, reason = until, StopReason.COMPLETED_TIME_LIMIT
        if order.energy_limit is not None:
            until = self._meter.time_to(
                self.bill.meter_start + order.energy_limit - 1, self.voltage, self.current
            )
            if until < left:
                left, reason = until, StopReason.COMPLETED_ENERGY_LIMIT
        if self.balance is not None:
            last = self.bill.reading_for(self.balance * 100, rate)
            until = max(0, self._meter.time_to(last, self.voltage, self.current) - 1)
            if until < left:
                left, reason = until, StopReason.ABORTED_INSUFFICIENT_BALANCE
        return left, reason
