"""One charging session at one gun or connector: the output over time, and when it ends.

Nothing happens between two looks: :meth:`Charge.advance` carries the session
forward to a moment and stops it where a condition is met. Voltage and current
are chosen anew on a grid of the session's own, never by when it is looked at,
and what flows between is integrated exactly, so the same session gives the
same readings however often it reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import ClassVar, Final, Generic, TypeVar

from evproto.simulate.meter import Meter
from evproto.simulate.vehicle import Vehicle

__all__ = ["FOREVER", "Charge", "Clock", "End"]

DAY: Final = 86_400_000
FOREVER: Final = 1 << 62
_RAMP: Final = 200
"""0.1 A per second: how fast an output rises."""
_RAMP_END: Final = 20_000
_SHORT_STEP: Final = 1_000
_STEP: Final = 5_000
_MAINS: Final = 2_200
"""0.1 V."""
_ON_BOARD: Final = 0.92
"""What an on-board charger makes of the power it takes."""

R = TypeVar("R")


class Clock:
    """The clock of a charger: local time in ms, from the charger's own milliseconds."""

    def __init__(self, offset: int) -> None:
        """``offset`` is local time since 1970 in ms at the moment 0."""
        self.offset = offset

    def local(self, now: int) -> int:
        """Local time since 1970-01-01 00:00, in ms."""
        return now + self.offset

    def set(self, local: int, now: int) -> bool:
        """Show another time; False if that is what it shows, to within a second."""
        if abs(self.local(now) - local) < 1000:
            return False
        self.offset = local - now
        return True

    def time_of_day(self, now: int) -> int:
        """Milliseconds since local midnight."""
        return (now + self.offset) % DAY


class End(Enum):
    """What ends a session by itself."""

    FULL = auto()
    """The battery takes no more."""
    DRIVER = auto()
    """The driver has what he came for."""
    NO_CURRENT = auto()
    """This output cannot push anything into this battery."""
    TIME = auto()
    ENERGY = auto()


class Charge(Generic[R]):
    """A charging session, from the order to its end.

    Attributes:
        started, ended: charger's milliseconds; ``ended`` is None as long as it runs.
        stop_reason: why it ended, or None.
        flows_from: when the first current flows.
        voltage, current: present output in 0.1 V and 0.1 A.
        max_power, max_current: what it may be at most, in W and 0.1 A; see :meth:`limit`.
        is_held: whether nothing flows because these limits leave no room for it.
    """

    reasons: ClassVar[Mapping[End, object]]
    """What the protocol calls each end."""

    def __init__(
        self,
        *,
        now: int,
        is_dc: bool,
        meter: Meter,
        vehicle: Vehicle,
        starts_after: int,
        max_power: int,
        max_current: int,
        max_voltage: int,
        energy_limit: int | None = None,
        time_limit: int | None = None,
        failure: R | None = None,
    ) -> None:
        """``starts_after`` ms from the order to the first current; ``max_power`` in W, ``max_current`` in
        0.1 A, ``max_voltage`` in 0.1 V, ``energy_limit`` in 0.0001 kWh, ``time_limit`` in ms.

        With a ``failure`` it ends with that reason before any current flows.
        """
        self.is_dc = is_dc
        self.vehicle = vehicle
        self.started = self.now = now
        self.ended: int | None = None
        self.stop_reason: R | None = None
        self.failure = failure
        self.voltage = self.current = 0
        self.demand_current = 0
        self.is_voltage_limited = self.is_held = False
        self.max_power = max_power
        self.max_current = max_current
        self.meter_start = meter.reading
        self._meter = meter
        self._energy_limit = energy_limit
        self._time_limit = time_limit
        self._max_voltage = max_voltage
        self.flows_from = now + starts_after
        self._next_step = self.flows_from
        self._stepped = self.flows_from
        self._into_battery = 0

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
            end = min(to, self._next_step, self._boundary())
            left, reason = self._limit()
            if self.now + left <= end:
                end = self.now + left
            else:
                reason = None
            passed = end - self.now
            self._meter.count(self.voltage, self.current, passed)
            self.vehicle.battery.take(self._into_battery, passed)
            self._counted()
            self.now = end
            if reason is not None:
                self.stop(reason, end)

    def stop(self, reason: R, at: int) -> None:
        """End it at a moment; the first reason stays."""
        self.advance(at)
        if self.ended is None:
            self.ended = at
            self.stop_reason = reason
            self.voltage = self.current = self.demand_current = self._into_battery = 0

    def limit(self, now: int, *, max_power: int, max_current: int) -> None:
        """Have it keep within other limits from now on."""
        if (max_power, max_current) == (self.max_power, self.max_current):
            return
        self.advance(now)
        self.max_power, self.max_current = max_power, max_current
        if self.is_flowing:
            self._next_step = self.now

    # What a protocol adds

    def _boundary(self) -> int:
        """The moment up to which the energy may be counted in one piece."""
        return FOREVER

    def _counted(self) -> None:
        """The meter has counted what flowed since the moment ``now``."""

    def _reason(self, end: End) -> R:
        return self.reasons[end]  # type: ignore[return-value]

    # Inside

    def _choose_output(self) -> None:
        battery = self.vehicle.battery
        battery.warm(self._into_battery, self._next_step - self._stepped)
        self._stepped = self._next_step
        running = self._next_step - self.flows_from
        self._next_step += _SHORT_STEP if running < _RAMP_END else _STEP
        ramp = _RAMP + _RAMP * running // 1000
        self.is_held = False
        if not self.is_dc:
            soc = battery.soc
            wanted = min(battery.model.ac_power, 7.0) * (1.0 if soc < 0.97 else max(0.2, (1 - soc) / 0.03))
            self.voltage = _MAINS - (running // 60_000) % 7  # mains are never quite still
            self.demand_current = int(wanted * 1e5 / self.voltage)
            self.current = min(
                self.demand_current, self.max_current, self.max_power * 100 // self.voltage, ramp
            )
            if self.current <= 0:
                self.current, self._into_battery, self.is_held = 0, 0, True
                return
            in_watts = self.voltage * self.current / 100 * _ON_BOARD
            self._into_battery = max(1, round(in_watts / battery.rest_voltage * 10))
            return
        self.demand_current, self.is_voltage_limited = battery.demand()
        current = max(0, min(self.demand_current, self.max_current, ramp))
        voltage = battery.voltage(current)
        if voltage > self._max_voltage:
            # A charger for lower voltages cannot push anything into this battery.
            voltage, current = self._max_voltage, 0
        else:
            if voltage * current > self.max_power * 100:
                # Less current is less voltage, which leaves room for a little more current.
                for _ in range(3):
                    current = self.max_power * 100 // voltage
                    voltage = battery.voltage(current)
                while voltage * current > self.max_power * 100:
                    current -= 1
            self.is_held = current == 0
        self.voltage, self.current, self._into_battery = voltage, current, current

    def _limit(self) -> tuple[int, R | None]:
        """Milliseconds until a condition ends the session at the present output, and which."""
        battery = self.vehicle.battery
        if not self.current and not self.is_held:
            return 0, self._reason(End.NO_CURRENT)
        if battery.is_full:
            return 0, self._reason(End.FULL)
        left, end = battery.time_to_full(self._into_battery), End.FULL
        leave = int(self.vehicle.leaves_at * battery.capacity)
        if leave < battery.capacity and self._into_battery:
            until = max(0, -(-(leave - battery.charge) // self._into_battery))
            if until < left:
                left, end = until, End.DRIVER
        if self._time_limit is not None:
            until = max(0, self.started + self._time_limit - self.now)
            if until < left:
                left, end = until, End.TIME
        if self._energy_limit is not None and self.current:
            until = self._meter.time_to(self.meter_start + self._energy_limit - 1, self.voltage, self.current)
            if until < left:
                left, end = until, End.ENERGY
        return left, self._reason(end)
