"""A charging pile without a wire: messages and the time in, messages out.

:class:`PileModel` does what a pile does once it is logged in: it charges,
reports, obeys, bills and keeps its records until they are confirmed. Logging
in, heartbeats, numbering and repeating are the business of the session it
speaks through. Times are whole milliseconds of the pile's own life.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from evproto.messages import Message
from evproto.simulate.charging import Clock
from evproto.simulate.vehicle import Vehicle
from evproto.simulate.ykc.billing import default_tariff
from evproto.simulate.ykc.charging import Charge, Order, cents
from evproto.simulate.ykc.commands import Commands
from evproto.simulate.ykc.gun import Gun
from evproto.simulate.ykc.reports import moment
from evproto.wire.frame import Frame
from evproto.ykc.enums import (
    BillingModelVerificationResult,
    FailureSuccess,
    GunRole,
    NetworkType,
    NoYesRequired,
    Operator,
    PileType,
    RemoteStartFailureReason,
    StartMethod,
    StartSource,
    StopReason,
    TransactionAck,
)
from evproto.ykc.messages import (
    BillingModelResponse,
    BillingModelSettingRequest,
    BillingModelVerificationResponse,
    LoginRequest,
    ParallelStartRequest,
    ParallelStartResponse,
    StartRequest,
    StartResponse,
    TransactionRecord,
    TransactionRecordResponse,
    TransactionRecordV17,
)
from evproto.ykc.tariff import Tariff

__all__ = ["Output", "PileModel", "PileSettings", "Reboot", "Record", "Reply", "Report", "Request"]

_ANSWER_WITHIN: Final = 30_000
_BOOTS_FOR: Final = 20_000

_START_FAILURES: Final = (
    StopReason.START_FAILED_BHM_TIMEOUT,
    StopReason.START_FAILED_BRM_TIMEOUT,
    StopReason.START_FAILED_BCP_TIMEOUT,
    StopReason.START_FAILED_BMS_NOT_READY,
    StopReason.START_FAILED_INSULATION_ABNORMAL,
    StopReason.START_FAILED_ELECTRONIC_LOCK_ABNORMAL,
)


class PileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a pile is. Powers in W, voltages and currents in 0.1 V and 0.1 A, for each gun."""

    pile_id: str
    version: str = "1.6"
    pile_type: PileType = PileType.DC
    gun_count: int = 2
    max_power: int = 120_000
    min_voltage: int = 2_000
    max_voltage: int = 10_000
    max_current: int = 2_500
    firmware_version: str = "V4.1.50"
    network_type: NetworkType = NetworkType.SIM
    sim_no: str = "89860400000000000000"
    network_operator: Operator = Operator.CHINA_MOBILE
    parking_locks: bool = False
    negative_currents: bool = False
    """Count charging currents negative in 0x17 and 0x23, as some piles do."""
    start_failures: float = 0.0
    """Part of the sessions that fail in the handshake."""
    card_storage: int = 500

    @classmethod
    def ac(cls, **fields: object) -> PileSettings:
        """Settings of an ordinary AC pile of 7 kW."""
        usual = {
            "pile_type": PileType.AC, "gun_count": 1, "max_power": 7_040,
            "min_voltage": 2_200, "max_voltage": 2_200, "max_current": 320,
        }  # fmt: skip
        return cls(**{**usual, **fields})  # type: ignore[arg-type]


class Report(msgspec.Struct, frozen=True):
    """A message nobody answers."""

    message: Message


class Reply(msgspec.Struct, frozen=True):
    """An answer to a command, under the command's sequence number."""

    message: Message
    to: Frame


class Request(msgspec.Struct, frozen=True):
    """A message that wants an answer."""

    message: Message


class Record(msgspec.Struct, frozen=True):
    """A transaction record, to be repeated until it is confirmed, also when there is no connection now."""

    message: TransactionRecord | TransactionRecordV17


class Reboot(msgspec.Struct, frozen=True):
    """Drop the connection; come back after so many ms."""

    after: int


Output = Report | Reply | Request | Record | Reboot


class _Waiting(msgspec.Struct):
    """A remote start that waits for the gun to be plugged in (section 8.4)."""

    order: Order
    until: int
    accept: Callable[[], None]


class PileModel:
    """A pile; see the module.

    Attributes:
        records: records not yet confirmed, by transaction number, oldest first.
        refused_records: those the platform called illegal.
        on_record, on_confirmed: called with each record made, and with the
            transaction number and the verdict when one is answered.
    """

    def __init__(
        self,
        settings: PileSettings,
        *,
        seed: int | str,
        local_time: int,
        now: int = 0,
        tariff: Tariff | None = None,
    ) -> None:
        """``local_time`` is what the pile's clock shows at ``now``: ms since 1970, local."""
        self.settings = settings
        self.pile_id = settings.pile_id
        self.rng = random.Random(f"{seed}/{settings.pile_id}")
        self.clock = Clock(local_time - now)
        self.tariff = tariff or default_tariff()
        self.has_tariff = False
        """Whether the platform has agreed to the tariff; without it nothing is charged."""
        self.firmware_version = settings.firmware_version
        self.is_permitted = True
        self.power_percent = 100
        self.online = False
        self.cards: dict[bytes, str] = {}
        self.qr_prefix = ""
        self.records: dict[str, TransactionRecord | TransactionRecordV17] = {}
        self.refused_records: dict[str, TransactionRecord | TransactionRecordV17] = {}
        self.on_record: Callable[[TransactionRecord | TransactionRecordV17], None] = lambda record: None
        self.on_confirmed: Callable[[str, TransactionAck], None] = lambda number, ack: None
        self.guns = [
            Gun(self, number, self.rng, locked=settings.parking_locks)
            for number in range(1, settings.gun_count + 1)
        ]
        self._out: list[Output] = []
        self._asked: dict[int, tuple[int, StartSource, bytes]] = {}
        self._parallel_asked: dict[str, dict[int, ParallelStartResponse | None]] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._commands = Commands(self)

    # What the outside does

    @property
    def deadline(self) -> int:
        """When :meth:`tick` wants to be called next."""
        due = [gun.deadline for gun in self.guns]
        due += [waiting.until for waiting in self._waiting.values()]
        due += [until for until, _, _ in self._asked.values()]
        return min(*due, self._commands.deadline)

    def take(self) -> list[Output]:
        """What has to be sent or done, in order."""
        out, self._out = self._out, []
        return out

    def login_request(self) -> LoginRequest:
        """The 0x01 of this pile."""
        settings = self.settings
        return LoginRequest(
            pile_id=self.pile_id,
            pile_type=settings.pile_type,
            gun_count=settings.gun_count,
            protocol_version=float(settings.version),
            firmware_version=self.firmware_version,
            network_type=settings.network_type,
            sim_no=settings.sim_no,
            network_operator=settings.network_operator,
        )

    def logged_in(self, now: int) -> None:
        """The platform has let the pile in. Stored records and billing model (5.1) are the session's."""
        self.tick(now)
        self.online = True
        for gun in self.guns:
            gun.report_all(now)

    def disconnected(self, now: int) -> None:
        """The connection is gone; what charges goes on."""
        self.tick(now)
        self.online = False
        self._asked.clear()
        self._parallel_asked.clear()
        self._waiting.clear()  # section 8.4: gone offline, it does not start late
        self._commands.disconnected()
        self._out = [output for output in self._out if isinstance(output, (Record, Reboot))]

    def receive(self, frame: Frame, now: int) -> None:
        """A message of the platform, other than those that keep the connection."""
        self.tick(now)
        message = frame.message
        if isinstance(message, TransactionRecordResponse):
            self._confirmed(message)
        elif isinstance(message, StartResponse):
            self._start_answered(message, now)
        elif isinstance(message, ParallelStartResponse):
            self._parallel_answered(message, now)
        elif isinstance(message, BillingModelVerificationResponse):
            self.has_tariff = self.has_tariff or message.result == BillingModelVerificationResult.SAME
        elif isinstance(message, BillingModelResponse):
            self.set_tariff(message)
        else:
            self._commands.receive(frame, now)

    def tick(self, now: int) -> None:
        """Do what is due."""
        for gun in self.guns:
            gun.tick(now)
        for number in [number for number, waiting in self._waiting.items() if waiting.until <= now]:
            del self._waiting[number]
        for number in [number for number, (until, _, _) in self._asked.items() if until <= now]:
            del self._asked[number]
        self._commands.tick(now)

    # What people see and do at the pile

    @property
    def identity(self) -> str:
        """The pile's number."""
        return self.pile_id

    @property
    def reads_vins(self) -> bool:
        """Whether a car can be charged by its VIN: only on DC does it say it."""
        return self.settings.pile_type is PileType.DC

    @property
    def joins_guns(self) -> bool:
        """Whether one car may take two guns (section 12)."""
        return self.settings.version >= "1.6"

    def gun(self, number: int) -> Gun | None:
        """The gun with this number."""
        return self.guns[number - 1] if 1 <= number <= len(self.guns) else None

    def plug_in(self, number: int, vehicle: Vehicle, now: int) -> None:
        """A vehicle is plugged in; a remote start that waits for it begins."""
        gun = self.guns[number - 1]
        if gun.vehicle is not None:
            raise ValueError(f"gun {number} is plugged in already")
        gun.plug_in(vehicle, now)
        waiting = self._waiting.pop(number, None)
        if waiting is not None and self.refusal(gun) is RemoteStartFailureReason.NONE:
            waiting.accept()
            self.start(gun, waiting.order, now)

    def unplug(self, number: int, now: int) -> None:
        """The gun is pulled out."""
        self.guns[number - 1].unplug(now)
        self._asked.pop(number, None)

    def ask_to_start(self, number: int, card: bytes, now: int, *, by_vin: bool = False) -> bool:
        """Somebody holds a card to the reader, or has the car start by its VIN; False if the pile will not.

        Without a connection a card the pile knows starts at once (section 5.4).
        """
        gun = self.guns[number - 1]
        if gun.vehicle is None or number in self._asked:
            return False
        if self.refusal(gun) is not RemoteStartFailureReason.NONE:
            return False
        if not self.online:
            if by_vin or card not in self.cards:
                return False
            self.start(
                gun,
                Order(
                    transaction_no=gun.new_transaction_no(now),
                    source=StartSource.OFFLINE_CARD,
                    physical_card_no=card,
                ),
                now,
            )
            return True
        source = StartSource.VIN if by_vin else StartSource.CARD
        self._asked[number] = now + _ANSWER_WITHIN, source, bytes(8) if by_vin else card
        self.request(StartRequest(gun_no=gun.gun_no, **self._ask(gun, card, by_vin=by_vin)))
        return True

    def ask_to_start_parallel(self, numbers: tuple[int, ...], card: bytes, now: int) -> bool:
        """Somebody wants several guns for one car, with a card (section 12.1); False if the pile will not."""
        guns = [self.guns[number - 1] for number in numbers]
        if not self.online or self.settings.version < "1.6":
            return False
        for gun in guns:
            if gun.vehicle is None or gun.number in self._asked:
                return False
            if self.refusal(gun) is not RemoteStartFailureReason.NONE:
                return False
        parallel_no = f"{moment(self.clock, now):%y%m%d%H%M%S}"
        self._parallel_asked[parallel_no] = dict.fromkeys(numbers)
        for gun in guns:
            self._asked[gun.number] = now + _ANSWER_WITHIN, StartSource.CARD, card
            self.request(
                ParallelStartRequest(
                    gun_no=gun.gun_no,
                    gun_role=GunRole.MAIN if gun is guns[0] else GunRole.AUXILIARY,
                    parallel_no=parallel_no,
                    **self._ask(gun, card, by_vin=False),
                )
            )
        return True

    def stop(self, number: int, now: int, reason: StopReason = StopReason.COMPLETED_MANUAL_STOP) -> None:
        """Somebody presses stop."""
        self.guns[number - 1].stop(reason, now)

    def emergency_stop(self, number: int, now: int) -> None:
        """Somebody hits the red button."""
        self.guns[number - 1].break_down("emergency_stop_fault", StopReason.ABORTED_EMERGENCY_STOP, now)

    def power_off(self, now: int, after: int = _BOOTS_FOR) -> None:
        """The power fails: what charges is aborted, its record kept; the pile comes back after a while."""
        self._out.append(Reboot(after))
        self.online = False
        for gun in self.guns:
            gun.stop(StopReason.ABORTED_PILE_POWER_LOSS, now)
            gun.settle(now)

    # For guns and commands

    @property
    def max_power(self) -> int:
        """What a gun may give at present, in W."""
        return self.settings.max_power * self.power_percent // 100

    def report(self, message: Message) -> None:
        """Send a message nobody answers, if there is a connection."""
        if self.online:
            self._out.append(Report(message))

    def request(self, message: Message) -> None:
        """Send a message that wants an answer, if there is a connection."""
        if self.online:
            self._out.append(Request(message))

    def reply(self, message: Message, to: Frame) -> None:
        """Answer a command."""
        if self.online:
            self._out.append(Reply(message, to))

    def add_record(self, record: TransactionRecord | TransactionRecordV17, charge: Charge) -> None:
        """Keep a record until it is confirmed, and upload it."""
        self.records[record.transaction_no] = record
        self.on_record(record)
        self._out.append(Record(record))

    def set_tariff(self, message: BillingModelResponse | BillingModelSettingRequest) -> bool:
        """Take over the billing model in 0x0A or 0x58; False if it is none."""
        tariff = Tariff.of(message)
        if any(entry.rate not in tariff.prices for entry in tariff.periods):
            return False
        self.tariff = tariff
        self.has_tariff = True
        return True

    def refusal(self, gun: Gun | None) -> RemoteStartFailureReason:
        """Why this gun cannot be started; NONE if it can."""
        reason = RemoteStartFailureReason
        if gun is None:
            return reason.PILE_ID_MISMATCH
        if gun.is_busy:
            return reason.GUN_ALREADY_CHARGING
        if gun.fault or not self.is_permitted or not self.has_tariff or self._commands.is_updating:
            return reason.DEVICE_FAULT
        return reason.GUN_NOT_PLUGGED if gun.vehicle is None else reason.NONE

    def start(self, gun: Gun, order: Order, now: int) -> None:
        """Start a gun; some vehicles fail in the handshake."""
        self._asked.pop(gun.number, None)
        failure = None
        if self.rng.random() < self.settings.start_failures:
            failure = self.rng.choice(_START_FAILURES)
        gun.start(order, now, failure)

    def wait_for_plug(self, gun: Gun, order: Order, until: int, accept: Callable[[], None]) -> None:
        """Start as soon as the gun is plugged in, if that happens in time."""
        self._waiting[gun.number] = _Waiting(order, until, accept)

    # Inside

    def _ask(self, gun: Gun, card: bytes, *, by_vin: bool) -> dict[str, Any]:
        assert gun.vehicle is not None
        return {
            "pile_id": self.pile_id,
            "start_method": StartMethod.VIN if by_vin else StartMethod.CARD,
            "password_required": NoYesRequired.NOT_REQUIRED,
            "account_or_card": bytes(8) if by_vin else card,
            "password": "",
            "vin": gun.vehicle.vin if by_vin else "",
        }

    def _confirmed(self, message: TransactionRecordResponse) -> None:
        record = self.records.pop(message.transaction_no, None)
        if record is None:
            return
        if message.result != TransactionAck.ACCEPTED:
            self.refused_records[message.transaction_no] = record
        self.on_confirmed(message.transaction_no, message.result)

    def _start_answered(self, message: StartResponse, now: int) -> None:
        gun = self.gun(int(message.gun_no)) if message.gun_no.isdigit() else None
        asked = self._asked.pop(gun.number, None) if gun is not None else None
        if gun is None or asked is None or message.pile_id != self.pile_id:
            return
        if message.result == FailureSuccess.SUCCESS and self.refusal(gun) is RemoteStartFailureReason.NONE:
            self.start(gun, _order(message, asked), now)

    def _parallel_answered(self, message: ParallelStartResponse, now: int) -> None:
        group = self._parallel_asked.get(message.parallel_no)
        number = int(message.gun_no) if message.gun_no.isdigit() else 0
        if group is None or number not in group or message.pile_id != self.pile_id:
            return
        group[number] = message
        if any(answer is None for answer in group.values()):
            return
        # All guns or none (section 12.2).
        del self._parallel_asked[message.parallel_no]
        asked = {number: self._asked.pop(number, None) for number in group}
        ready = all(
            answer is not None
            and answer.result == FailureSuccess.SUCCESS
            and asked[number] is not None
            and self.refusal(self.guns[number - 1]) is RemoteStartFailureReason.NONE
            for number, answer in group.items()
        )
        if not ready:
            return
        for number, answer in group.items():
            kept = asked[number]
            assert answer is not None
            assert kept is not None
            self.start(self.guns[number - 1], _order(answer, kept), now)


def _order(message: StartResponse | ParallelStartResponse, asked: tuple[int, StartSource, bytes]) -> Order:
    _, source, card = asked
    return Order(
        transaction_no=message.transaction_no,
        source=source,
        physical_card_no=card,
        balance=cents(message.account_balance),
        parallel_no=message.parallel_no if isinstance(message, ParallelStartResponse) else None,
    )
