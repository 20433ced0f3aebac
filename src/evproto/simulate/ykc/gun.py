"""One gun: what is plugged in, what it charges, and what it reports when."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from evproto.messages import Message
from evproto.simulate.meter import Meter
from evproto.simulate.vehicle import Vehicle
from evproto.simulate.ykc import reports
from evproto.simulate.ykc.charging import Charge, Order
from evproto.ykc.enums import (
    GunDocked,
    GunHealth,
    GunStatus,
    LockAlarm,
    LockCommand,
    LockState,
    NoYes,
    ParkingState,
    PileType,
    StopReason,
)
from evproto.ykc.messages import (
    ParkingLockReport,
    RealtimeDataReport,
    RealtimeDataReportHardwareFaults,
)
from evproto.ykc.transactions import make_transaction_no

if TYPE_CHECKING:
    from evproto.simulate.ykc.pile import PileModel

__all__ = ["Gun", "Lock"]

NO_TRANSACTION: Final = "0" * 32
WHILE_CHARGING: Final = 15_000
WHILE_IDLE: Final = 300_000
_HANDSHAKE_AFTER: Final = 3_000
_CONFIG_AFTER: Final = 7_000
_END_AFTER: Final = 1_000
_RECORD_AFTER: Final = 2_000
_NEVER: Final = 1 << 62
_IDLE_TEMPERATURE: Final = -50
"""degC; what the raw 0 of an idle gun reads as."""


class Lock:
    """A parking lock (section 10)."""

    def __init__(self) -> None:
        self.state = LockState.LOWERED
        self.battery = 97
        self.next_report = 0

    def obey(self, command: LockCommand, *, occupied: bool) -> bool:
        """Raise or lower; False if it cannot, as under a parked car."""
        if command is LockCommand.LOWER_LOCK:
            self.state = LockState.LOWERED
        elif command is LockCommand.RAISE_LOCK and not occupied:
            self.state = LockState.RAISED
        else:
            return False
        return True


class Gun:
    """A gun with its meter.

    Attributes:
        number: from 1.
        vehicle: what it is plugged into, or None.
        charge: the session running or not yet settled, or None.
        fault: name of the hardware fault it has, as in 0x13, or None.
        lock: its parking lock, or None.
    """

    def __init__(self, pile: PileModel, number: int, rng: random.Random, *, locked: bool) -> None:
        self.number = number
        self.meter = Meter(rng.randrange(1_000_0000, 90_000_0000))
        self.vehicle: Vehicle | None = None
        self.charge: Charge | None = None
        self.fault: str | None = None
        self.lock = Lock() if locked else None
        self._pile = pile
        self._cable = bytes(8)
        self._next_report = 0
        self._next_bms = _NEVER
        self._stages: list[tuple[int, str]] = []
        self._counter = rng.randrange(10_000)

    @property
    def gun_no(self) -> str:
        """As the wire has it, two digits."""
        return f"{self.number:02d}"

    @property
    def is_charging(self) -> bool:
        """Whether a session runs."""
        return self.charge is not None and self.charge.is_running

    @property
    def is_busy(self) -> bool:
        """Whether a session runs or its record is still to be made."""
        return self.charge is not None

    @property
    def health(self) -> GunHealth:
        """As the heartbeat has it."""
        return GunHealth.FAULT if self.fault else GunHealth.NORMAL

    @property
    def status(self) -> GunStatus:
        """As 0x13 has it; a session not yet settled counts as charging."""
        if self.is_busy:
            return GunStatus.CHARGING
        return GunStatus.FAULT if self.fault else GunStatus.IDLE

    @property
    def deadline(self) -> int:
        """When :meth:`tick` wants to be called next."""
        due = min(self._next_report, self._next_bms)
        if self._stages:
            due = min(due, self._stages[0][0])
        if self.lock is not None:
            due = min(due, self.lock.next_report)
        return due

    def plug_in(self, vehicle: Vehicle, now: int) -> None:
        """A vehicle is plugged in."""
        self.vehicle = vehicle
        self._report(now)
        self.report_lock(now)

    def unplug(self, now: int) -> None:
        """The gun is pulled out; what still charges ends at once (section 13.3, 5)."""
        if self.vehicle is None:
            return
        if self.is_charging:
            self.stop(StopReason.ABORTED_CONTROL_PILOT_DISCONNECTED, now)
        self.settle(now)
        self.vehicle = None
        self._report(now)
        self.report_lock(now)

    def new_transaction_no(self, now: int) -> str:
        """A number by the rule of section 3.3, for sessions that start without a platform."""
        self._counter = (self._counter + 1) % 10_000
        moment = reports.moment(self._pile.clock, now)
        return make_transaction_no(self._pile.pile_id, self.number, moment, self._counter)

    def start(self, order: Order, now: int, failure: StopReason | None = None) -> None:
        """Begin a session; with a failure it does not get as far as any current."""
        assert self.vehicle is not None
        assert self.charge is None
        settings = self._pile.settings
        if order.balance is not None and order.balance <= 0:
            failure = StopReason.START_FAILED_INSUFFICIENT_BALANCE
        self.charge = charge = Charge(
            order,
            now=now,
            kind=settings.pile_type,
            clock=self._pile.clock,
            tariff=self._pile.tariff,
            meter=self.meter,
            vehicle=self.vehicle,
            max_power=self._pile.max_power,
            max_current=settings.max_current,
            max_voltage=settings.max_voltage,
            failure=failure,
        )
        self._report(now)
        self._stages = []
        if settings.pile_type is PileType.DC:
            if failure is None:
                self._stages = [
                    (now + _HANDSHAKE_AFTER, "handshake"),
                    (now + _CONFIG_AFTER, "config"),
                ]
                self._next_bms = charge.flows_from + WHILE_CHARGING
            elif failure in _HANDSHAKE_FAILURES:
                self._stages = [(now + _CONFIG_AFTER, "error")]
        self._stages.append((charge.flows_from, "flow"))

    def stop(self, reason: StopReason, now: int) -> None:
        """End the session; its record follows in two seconds."""
        if self.charge is not None:
            was_running = self.charge.is_running
            self.charge.stop(reason, now)
            if was_running:
                self._ended(now)

    def settle(self, now: int) -> None:
        """Make the record of a session that has ended, now."""
        charge = self.charge
        if charge is None or charge.is_running:
            return
        if any(stage == "end" for _, stage in self._stages):
            self._end(charge)
        self._stages = []
        self.charge = None
        self._pile.add_record(
            reports.transaction_record(
                self._ids(charge),
                charge,
                self._pile.clock,
                version=self._pile.settings.version,
                meter_no=f"{self._pile.pile_id[-10:]}{self.gun_no}",
            ),
            charge,
        )
        self._report(now)

    def tick(self, now: int) -> None:
        """Do what is due."""
        charge = self.charge
        if charge is not None and charge.is_running:
            charge.advance(now)
            if charge.ended is not None:
                self._ended(now)
        while self._stages and self._stages[0][0] <= now:
            self._stage(self._stages.pop(0)[1], now)
        if now >= self._next_bms and self.charge is not None:
            self._next_bms += WHILE_CHARGING * (1 + (now - self._next_bms) // WHILE_CHARGING)
            self._pile.report(reports.demand_and_output(self._ids(self.charge), self.charge, sign=self._sign))
            self._pile.report(reports.bms_information(self._ids(self.charge), self.charge))
        if now >= self._next_report:
            self._report(now)
        if self.lock is not None and now >= self.lock.next_report:
            self.report_lock(now)

    def break_down(self, fault: str, reason: StopReason, now: int) -> None:
        """Have a hardware fault; what charges is aborted."""
        if fault not in RealtimeDataReportHardwareFaults.__struct_fields__:
            raise ValueError(f"there is no hardware fault {fault!r}")
        self.fault = fault
        self.stop(reason, now)
        self._report(now)

    def repair(self, now: int) -> None:
        """The fault is gone."""
        self.fault = None
        self._report(now)

    def report_all(self, now: int) -> None:
        """Report state and lock, as after a login."""
        self._report(now)
        self.report_lock(now)

    def realtime_data(self) -> RealtimeDataReport:
        """0x13 as things stand."""
        charge = self.charge
        faults = dict.fromkeys(RealtimeDataReportHardwareFaults.__struct_fields__, 0)
        if self.fault:
            faults[self.fault] = 1
        fields: dict[str, Any] = {
            "transaction_no": NO_TRANSACTION,
            "output_voltage": 0.0,
            "output_current": 0.0,
            "cable_temperature": _IDLE_TEMPERATURE,
            "soc": 0,
            "max_battery_temperature": _IDLE_TEMPERATURE,
            "charging_time": 0,
            "remaining_time": 0,
            "energy": 0.0,
            "energy_with_loss": 0.0,
            "amount": 0.0,
        }
        if charge is not None:
            battery = charge.vehicle.battery
            fields.update(
                transaction_no=charge.order.transaction_no,
                output_voltage=charge.voltage / 10,
                output_current=charge.current / 10,
                cable_temperature=min(90, 18 + charge.current // 90),
                charging_time=charge.minutes,
                energy=charge.bill.energy() / 10_000,
                energy_with_loss=charge.bill.energy_with_loss() / 10_000,
                amount=charge.bill.amount() / 10_000,
            )
            if charge.kind is PileType.DC:
                fields.update(
                    soc=int(battery.soc * 100),
                    max_battery_temperature=round(battery.temperature),
                    remaining_time=charge.minutes_left,
                )
        return RealtimeDataReport(
            pile_id=self._pile.pile_id,
            gun_no=self.gun_no,
            gun_status=self.status,
            gun_docked=GunDocked.YES if self.vehicle is None else GunDocked.NO,
            gun_plugged=NoYes.NO if self.vehicle is None else NoYes.YES,
            cable_code=self._cable,
            hardware_faults=RealtimeDataReportHardwareFaults(**faults),
            **fields,
        )

    @property
    def _sign(self) -> int:
        return -1 if self._pile.settings.negative_currents else 1

    def _ids(self, charge: Charge) -> reports.Ids:
        return {
            "transaction_no": charge.order.transaction_no,
            "pile_id": self._pile.pile_id,
            "gun_no": self.gun_no,
        }

    def _report(self, now: int) -> None:
        self._next_report = now + (WHILE_CHARGING if self.is_busy else WHILE_IDLE)
        self._pile.report(self.realtime_data())

    def report_lock(self, now: int) -> None:
        """Report the parking lock, if there is one."""
        if self.lock is None:
            return
        self.lock.next_report = now + WHILE_IDLE
        self._pile.report(
            ParkingLockReport(
                pile_id=self._pile.pile_id,
                gun_no=self.number,
                lock_state=self.lock.state,
                parking_state=ParkingState.VACANT if self.vehicle is None else ParkingState.OCCUPIED,
                battery_level=self.lock.battery,
                alarm=LockAlarm.NONE,
            )
        )

    def _stage(self, stage: str, now: int) -> None:
        charge = self.charge
        if charge is None:
            return
        ids, settings, report = self._ids(charge), self._pile.settings, self._pile.report
        if stage == "handshake":
            report(reports.handshake(ids, charge))
        elif stage == "config":
            report(
                reports.parameter_config(
                    ids,
                    charge,
                    min_voltage=settings.min_voltage,
                    max_voltage=settings.max_voltage,
                    max_current=settings.max_current,
                    sign=self._sign,
                )
            )
        elif stage == "error":
            assert charge.failure is not None
            report(reports.charging_error(ids, charge.failure))
        elif stage == "flow":
            self._report(now)
        elif stage == "end":
            self._end(charge)
        elif stage == "settle":
            self.settle(now)

    def _ended(self, now: int) -> None:
        charge = self.charge
        assert charge is not None
        self._next_bms = _NEVER
        self._stages = [(now + _RECORD_AFTER, "settle")]
        if charge.kind is PileType.DC and charge.failure is None:
            ids = self._ids(charge)
            ends: list[Message] = [reports.bms_stop(ids, charge), reports.charger_stop(ids, charge)]
            if charge.stop_reason is not StopReason.COMPLETED_SOC_FULL:
                ends.reverse()  # whoever ends it speaks first
            for message in ends:
                self._pile.report(message)
            self._stages.insert(0, (now + _END_AFTER, "end"))

    def _end(self, charge: Charge) -> None:
        self._pile.report(reports.charging_end(self._ids(charge), charge, self.number))


_HANDSHAKE_FAILURES: Final = frozenset(
    (
        StopReason.START_FAILED_BHM_TIMEOUT,
        StopReason.START_FAILED_BRM_TIMEOUT,
        StopReason.START_FAILED_BCP_TIMEOUT,
        StopReason.START_FAILED_BRO_AA_TIMEOUT,
        StopReason.START_FAILED_BCS_TIMEOUT,
        StopReason.START_FAILED_BCL_TIMEOUT,
    )
)
