"""One connector: what is plugged in, who charges, and what the meter says."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

import msgspec

from evproto.simulate.charging import FOREVER, Charge, Clock, End
from evproto.simulate.meter import Meter
from evproto.simulate.ocpp.settings import StationSettings, Token
from evproto.simulate.vehicle import Vehicle

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel

__all__ = ["Asked", "Connector", "Reading", "Reservation", "Session", "Transaction", "Waiting"]

_STARTS_AFTER: Final = {True: 12_000, False: 2_000}
"""ms from the start to the first current: on DC insulation test and handshake come first."""
_LOOK: Final = 10_000
"""ms; how late a transaction may notice that its battery is full."""


class Session(Charge[End]):
    """The flow of energy in a transaction."""

    reasons: ClassVar[Mapping[End, object]] = {end: end for end in End}


class Reading(NamedTuple):
    """One measured value."""

    measurand: str
    value: float
    unit: str
    phase: str | None = None


class Reservation(msgspec.Struct, frozen=True):
    """A connector that waits for somebody."""

    id: int
    token: Token
    until: int
    """Station's ms."""


class Asked(msgspec.Struct, frozen=True):
    """An Authorize is on its way."""

    token: Token
    until: int
    remote_start_id: int | None


class Waiting(msgspec.Struct, frozen=True):
    """Somebody may charge, and has not plugged in yet."""

    token: Token
    until: int
    remote_start_id: int | None


class Transaction(msgspec.Struct, kw_only=True):
    """A transaction, from the first current to the stop."""

    number: int
    """Counts the transactions of a station, from 1."""
    uid: str
    """The id of 2.x."""
    remote_id: int | None = None
    """The id that a server of 1.6 gave."""
    connector: Connector
    token: Token
    session: Session
    clock: Clock
    """The station's when it began: setting the clock does not tear a transaction."""
    started: int
    meter_start: int
    """In 0.0001 kWh."""
    reservation_id: int | None = None
    remote_start_id: int | None = None
    offline: bool = False
    """Whether there was no connection when it began."""
    sequence: int = 0
    state: str = ""
    """The last charging state that was told."""
    stopped: int | None = None
    reason: str = ""
    """As in ReasonEnumType of 2.x, and SoftReset."""
    stop_token: Token | None = None
    meter_stop: int = 0

    @property
    def energy(self) -> int:
        """In 0.0001 kWh, when it has stopped."""
        return self.meter_stop - self.meter_start


class Connector:
    """A connector with its meter.

    Attributes:
        number: from 1; of 2.x the number of the EVSE.
        vehicle: what it is plugged into, or None.
        transaction: the one that runs, or None.
        fault: as in ChargePointErrorCode of 1.6, or None.
        is_operative: whether it may be used; ``becomes`` is what it will be when the transaction is over.
        is_finished: whether the vehicle at it has charged and could leave.
        told: the status that was last told, or None.
    """

    def __init__(self, station: StationModel, number: int, rng: random.Random) -> None:
        self.number = number
        self.meter = Meter(rng.randrange(1_000_0000, 90_000_0000))
        self.vehicle: Vehicle | None = None
        self.transaction: Transaction | None = None
        self.fault: str | None = None
        self.is_operative = True
        self.becomes: bool | None = None
        self.is_finished = False
        self.reservation: Reservation | None = None
        self.waiting: Waiting | None = None
        self.asked: Asked | None = None
        self.told: str | None = None
        self.station = station
        self.next_sample = FOREVER

    @property
    def is_busy(self) -> bool:
        """Whether energy flows, or may at any moment."""
        return self.transaction is not None and self.transaction.session.is_running

    is_charging = is_busy

    @property
    def is_usable(self) -> bool:
        """Whether a transaction could begin here."""
        return self.transaction is None and self.fault is None and self.is_operative

    @property
    def state(self) -> str:
        """The charging state as 2.x has it; Idle without a transaction."""
        transaction = self.transaction
        if transaction is None:
            return "Idle"
        session = transaction.session
        if not session.is_running:
            return "SuspendedEV"
        if not session.is_flowing:
            return "EVConnected"
        held = session.is_held or session.max_power <= 0 or session.max_current <= 0
        return "SuspendedEVSE" if held else "Charging"

    @property
    def power(self) -> int:
        """Present output in mW."""
        return self.transaction.session.power if self.transaction is not None else 0

    @property
    def deadline(self) -> int:
        """When :meth:`tick` wants to be called next."""
        due = FOREVER
        if self.reservation is not None:
            due = self.reservation.until
        if self.waiting is not None:
            due = min(due, self.waiting.until)
        if self.asked is not None:
            due = min(due, self.asked.until)
        transaction = self.transaction
        if transaction is not None:
            session = transaction.session
            due = min(due, self.next_sample)
            if session.is_running:
                due = min(due, session.flows_from if not session.is_flowing else session.now + _LOOK)
        return due

    def start(
        self, token: Token, now: int, *, remote_start_id: int | None = None, fails: bool = False
    ) -> Transaction:
        """Begin a transaction; one that fails never has any current."""
        station, vehicle = self.station, self.vehicle
        assert vehicle is not None
        assert self.transaction is None
        settings: StationSettings = station.settings
        session = Session(
            now=now,
            is_dc=settings.is_dc,
            meter=self.meter,
            vehicle=vehicle,
            starts_after=_STARTS_AFTER[settings.is_dc],
            max_power=settings.max_power,
            max_current=settings.max_current,
            max_voltage=settings.max_voltage,
            failure=End.NO_CURRENT if fails else None,
        )
        reservation = self.reservation
        self.transaction = transaction = Transaction(
            number=station.next_number(),
            uid=station.new_uid(),
            connector=self,
            token=token,
            session=session,
            clock=Clock(station.clock.offset),
            started=now,
            meter_start=self.meter.reading,
            reservation_id=reservation.id if reservation is not None else None,
            remote_start_id=remote_start_id,
            offline=not station.online,
        )
        self.reservation = self.waiting = self.asked = None
        self.is_finished = False
        self.sample_from(now)
        return transaction

    def sample_from(self, now: int) -> None:
        """Begin to count the interval between two meter values."""
        interval = self.station.options.sample_interval
        self.next_sample = now + interval * 1000 if interval > 0 else FOREVER

    def tick(self, now: int) -> None:
        """Do what is due."""
        station = self.station
        if self.reservation is not None and self.reservation.until <= now:
            reservation, self.reservation = self.reservation, None
            station.language.reservation_ended(reservation, "Expired")
        if self.waiting is not None and self.waiting.until <= now:
            self.waiting = None
            station.profiles.transaction_ended(self.number)
        if self.asked is not None and self.asked.until <= now:
            self.asked = None
        transaction = self.transaction
        if transaction is None:
            return
        session = transaction.session
        was_running = session.is_running
        session.advance(now)
        if was_running and not session.is_running:
            assert session.ended is not None
            if session.stop_reason is End.DRIVER:
                station.stop_transaction(self, "Local", session.ended, token=transaction.token)
                return
            if session.stop_reason is End.NO_CURRENT:
                station.stop_transaction(self, "Other", session.ended)
                return
        if now >= self.next_sample:
            self.sample_from(now)
            station.language.sampled(transaction, now)

    def readings(self, measurands: tuple[str, ...]) -> list[Reading]:
        """What the meter and the vehicle say; what cannot be measured is left out."""
        session = self.transaction.session if self.transaction is not None else None
        voltage = session.voltage if session is not None else 0
        current = session.current if session is not None else 0
        phase = None if self.station.settings.is_dc else "L1"
        found: list[Reading] = []
        for measurand in measurands:
            if measurand == "Energy.Active.Import.Register":
                found.append(Reading(measurand, self.meter.reading / 10, "Wh"))
            elif measurand == "Power.Active.Import":
                found.append(Reading(measurand, voltage * current / 100, "W"))
            elif measurand == "Current.Import":
                found.append(Reading(measurand, current / 10, "A", phase))
            elif measurand == "Voltage":
                found.append(Reading(measurand, voltage / 10, "V", phase and "L1-N"))
            elif measurand == "Current.Offered" and session is not None:
                found.append(Reading(measurand, max(0, session.max_current) / 10, "A"))
            elif measurand == "Power.Offered" and session is not None:
                found.append(Reading(measurand, max(0, session.max_power), "W"))
            elif measurand == "SoC" and self.station.settings.is_dc and self.vehicle is not None:
                found.append(Reading(measurand, int(self.vehicle.battery.soc * 100), "Percent"))
        return found
