"""Makes the captures beside it: ``python samples/make_samples.py [DIR]``.

A charging session of one DC pile, made with the codec itself, as a server log
and as a network capture; its login as a short hex file; and a log of damaged
frames. The same bytes every time. Pile, car, card and addresses are invented;
the addresses come from the ranges set aside for documentation.
"""

from __future__ import annotations

import datetime as dt
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from evproto import ykc
from evproto.capture import PcapWriter
from evproto.ykc import enums, messages
from evproto.ykc.transactions import make_transaction_no

HERE = Path(__file__).resolve().parent
CODEC = ykc.Codec("1.6")

PILE = "32010600019236"
PILE_ADDRESS = ("192.0.2.36", 49152)
PLATFORM_ADDRESS = ("198.51.100.10", 8768)
VIN = "LEVPR0T0X26030017"
CARD = "0000001000000573"
PHYSICAL_CARD = bytes.fromhex("00000000D14B0A54")
MODEL = "0100"
MORNING = dt.datetime(2026, 3, 12, 11, 50, 2, 118000, ykc.BEIJING)

# Energy and service price of sharp, peak, flat and valley.
PRICES = ((1.08, 0.4), (0.85, 0.4), (0.62, 0.35), (0.31, 0.3))
PEAK, FLAT = 1, 2
RATES = (3,) * 14 + (2,) * 2 + (1,) * 8 + (2,) * 6 + (1,) * 6 + (0,) * 6 + (2,) * 2 + (3,) * 4
TIERS = ("sharp", "peak", "flat", "valley")

TICKS = 24
STEP = dt.timedelta(seconds=15)


@dataclass(frozen=True)
class Sent:
    """A frame on its way."""

    time: dt.datetime
    by_pile: bool
    data: bytes


def rounded(value: Decimal, places: str = "0.0001") -> Decimal:
    return value.quantize(Decimal(places), ROUND_HALF_UP)


class Conversation:
    """Counts sequence numbers on both sides and lets time pass."""

    def __init__(self, begin: dt.datetime) -> None:
        self.now = begin
        self.sent: list[Sent] = []
        self._next = {True: 0, False: 0}

    def wait(self, seconds: float) -> None:
        self.now += dt.timedelta(milliseconds=round(seconds * 1000))

    def wait_until(self, moment: dt.datetime) -> None:
        self.now = max(self.now, moment)

    def say(self, message: Any, *, answers: int | None = None) -> int:
        """Send; an answer repeats the sequence number of what it answers."""
        layout = CODEC.layout(message)
        by_pile = layout.direction is ykc.Direction.PILE_TO_PLATFORM
        if answers is None:
            answers = self._next[by_pile]
            self._next[by_pile] += 1
        self.sent.append(Sent(self.now, by_pile, CODEC.encode(message, answers)))
        return answers

    def ask(self, request: Any, response: Any, delay: float = 0.043) -> None:
        number = self.say(request)
        self.wait(delay)
        self.say(response, answers=number)
        self.wait(0.08)


def session() -> list[Sent]:
    """From the login to idle again."""
    talk = Conversation(MORNING)
    opening(talk)
    charging(talk)
    return talk.sent


def opening(talk: Conversation) -> None:
    """Login, billing model, clock, heartbeats, idle reports."""
    talk.ask(
        messages.LoginRequest(
            pile_id=PILE,
            pile_type=enums.PileType.DC,
            gun_count=2,
            protocol_version=1.6,
            firmware_version="V2.1.07",
            network_type=enums.NetworkType.SIM,
            sim_no="898604D11722D0348606",
            network_operator=enums.Operator.CHINA_MOBILE,
        ),
        messages.LoginResponse(pile_id=PILE, result=enums.LoginResult.SUCCESS),
    )
    talk.ask(
        messages.BillingModelVerificationRequest(pile_id=PILE, billing_model_no="0000"),
        messages.BillingModelVerificationResponse(
            pile_id=PILE, billing_model_no=MODEL, result=enums.BillingModelVerificationResult.DIFFERENT
        ),
    )
    prices = {
        f"{tier}_{kind}_price": price
        for tier, pair in zip(TIERS, PRICES, strict=True)
        for kind, price in zip(("energy", "service"), pair, strict=True)
    }
    talk.ask(
        messages.BillingModelRequest(pile_id=PILE),
        messages.BillingModelResponse(
            pile_id=PILE,
            billing_model_no=MODEL,
            loss_ratio=0,
            period_rates=tuple(messages.PeriodRate(rate=enums.TariffRate(rate)) for rate in RATES),
            **prices,
        ),
    )
    moment = talk.now.replace(microsecond=talk.now.microsecond // 1000 * 1000)
    talk.ask(
        messages.TimeSyncRequest(pile_id=PILE, current_time=moment),
        messages.TimeSyncResponse(pile_id=PILE, current_time=moment + dt.timedelta(milliseconds=43)),
    )
    for gun in ("01", "02"):
        talk.say(idle(gun))
        talk.wait(0.05)
    heartbeats(talk)


def heartbeats(talk: Conversation) -> None:
    for gun in ("01", "02"):
        talk.ask(
            messages.HeartbeatRequest(pile_id=PILE, gun_no=gun, gun_health=enums.GunHealth.NORMAL),
            messages.HeartbeatResponse(pile_id=PILE, gun_no=gun),
            0.031,
        )


NO_FAULTS = messages.RealtimeDataReportHardwareFaults(
    **dict.fromkeys(
        (info for info in messages.RealtimeDataReportHardwareFaults.__struct_fields__ if info != "reserved"),
        0,
    )
)


def idle(gun: str, *, plugged: bool = False) -> messages.RealtimeDataReport:
    """What an idle gun reports: raw zeros, which read as -50 degrees."""
    return messages.RealtimeDataReport(
        transaction_no="0" * 32,
        pile_id=PILE,
        gun_no=gun,
        gun_status=enums.GunStatus.IDLE,
        gun_docked=enums.GunDocked.NO if plugged else enums.GunDocked.YES,
        gun_plugged=enums.NoYes.YES if plugged else enums.NoYes.NO,
        output_voltage=0.0,
        output_current=0.0,
        cable_temperature=-50,
        cable_code=bytes(8),
        soc=0,
        max_battery_temperature=-50,
        charging_time=0,
        remaining_time=0,
        energy=0.0,
        energy_with_loss=0.0,
        amount=0.0,
        hardware_faults=NO_FAULTS,
    )


class Battery:
    """A car of 60 kWh: voltage and current over the charge, and what it cost."""

    def __init__(self) -> None:
        self.energy = {tier: Decimal(0) for tier in TIERS}
        self.ticks = 0

    def charge(self, moment: dt.datetime) -> None:
        tier = TIERS[RATES[moment.hour * 2 + moment.minute // 30]]
        power = Decimal(str(self.voltage)) * Decimal(str(self.current)) / 1000
        self.energy[tier] += rounded(power * int(STEP.total_seconds()) / 3600)
        self.ticks += 1

    @property
    def voltage(self) -> float:
        return round(361.4 + 0.9 * self.ticks, 1)

    @property
    def current(self) -> float:
        return round(min(22.5 * (self.ticks + 1), 118.0 - 0.4 * self.ticks), 1)

    @property
    def total(self) -> Decimal:
        return sum(self.energy.values(), Decimal(0))

    @property
    def soc(self) -> int:
        return 41 + int(self.total * 100 / 60)

    @property
    def minutes(self) -> int:
        return int(self.ticks * STEP.total_seconds() // 60)

    @property
    def remaining(self) -> int:
        return 46 - self.minutes

    @property
    def temperature(self) -> int:
        return 24 + self.ticks // 6

    def price(self, tier: str) -> Decimal:
        return sum((Decimal(str(part)) for part in PRICES[TIERS.index(tier)]), Decimal(0))

    def amount(self, tier: str) -> Decimal:
        return rounded(self.energy[tier] * self.price(tier))

    @property
    def cost(self) -> Decimal:
        return sum((self.amount(tier) for tier in TIERS), Decimal(0))


def charging(talk: Conversation) -> None:
    """Remote start, the charge over the change from peak to flat price, remote stop, the record."""
    gun = "01"
    talk.wait_until(MORNING.replace(minute=56, second=31, microsecond=402000))
    talk.say(idle(gun, plugged=True))
    talk.wait_until(MORNING.replace(minute=56, second=44, microsecond=77000))
    transaction = make_transaction_no(PILE, gun, talk.now, 17)
    who: dict[str, Any] = {"transaction_no": transaction, "pile_id": PILE, "gun_no": gun}
    talk.ask(
        messages.RemoteStartRequest(
            **who, logical_card_no=CARD, physical_card_no=PHYSICAL_CARD, account_balance=186.5
        ),
        messages.RemoteStartResponse(
            **who, result=enums.FailureSuccess.SUCCESS, failure_reason=enums.RemoteStartFailureReason.NONE
        ),
        0.412,
    )
    talk.wait(6.2)
    handshake(talk, who)
    begin = talk.now.replace(microsecond=0)
    battery = Battery()
    for tick in range(TICKS):
        talk.wait_until(begin + STEP * tick)
        report(talk, who, battery)
        if tick % 8 == 3:
            heartbeats(talk)
        battery.charge(talk.now)
    end = begin + STEP * TICKS
    talk.wait_until(end)
    stop(talk, who, battery, begin, end)


def handshake(talk: Conversation, who: dict[str, Any]) -> None:
    talk.say(
        messages.BmsHandshake(
            **who,
            bms_protocol_version=bytes.fromhex("010100"),
            battery_type=enums.BatteryType.LITHIUM_IRON_PHOSPHATE,
            rated_capacity=168.0,
            rated_voltage=358.4,
            battery_manufacturer="EVPR",
            battery_pack_no=260317,
            production_year=2025,
            production_month=11,
            production_day=8,
            charge_count=214,
            battery_ownership=enums.BatteryOwnership(1),
            vin=VIN,
            bms_software_version=bytes.fromhex("030C0B07E9FFFFFF"),
        )
    )
    talk.wait(2.4)
    talk.say(
        messages.BmsParameterConfig(
            **who,
            max_allowed_cell_voltage=3.65,
            max_allowed_charge_current=150.0,
            nominal_energy=60.2,
            max_allowed_total_voltage=408.8,
            max_allowed_temperature=55,
            soc=41.3,
            battery_voltage=359.7,
            pile_max_voltage=750.0,
            pile_min_voltage=200.0,
            pile_max_current=160.0,
            pile_min_current=0.0,
        )
    )
    talk.wait(4.1)


def report(talk: Conversation, who: dict[str, Any], battery: Battery) -> None:
    """The three frames of every 15 seconds."""
    talk.say(
        messages.RealtimeDataReport(
            **who,
            gun_status=enums.GunStatus.CHARGING,
            gun_docked=enums.GunDocked.NO,
            gun_plugged=enums.NoYes.YES,
            output_voltage=battery.voltage,
            output_current=battery.current,
            cable_temperature=19 + battery.ticks // 3,
            cable_code=bytes(8),
            soc=battery.soc,
            max_battery_temperature=battery.temperature,
            charging_time=battery.minutes,
            remaining_time=battery.remaining,
            energy=float(battery.total),
            energy_with_loss=float(battery.total),
            amount=float(battery.cost),
            hardware_faults=NO_FAULTS,
        )
    )
    talk.wait(0.06)
    talk.say(
        messages.BmsDemandAndChargerOutput(
            **who,
            demand_voltage=408.8,
            demand_current=round(battery.current + 0.5, 1),
            charge_mode=enums.ChargeMode(2),
            measured_voltage=round(battery.voltage - 0.7, 1),
            measured_current=round(battery.current - 0.2, 1),
            max_cell_voltage_and_group=messages.BmsDemandAndChargerOutputMaxCellVoltageAndGroup(
                max_cell_voltage=round(battery.voltage / 112 + 0.01, 2), max_cell_voltage_group=3
            ),
            soc=battery.soc,
            remaining_time=battery.remaining,
            pile_output_voltage=battery.voltage,
            pile_output_current=battery.current,
            charging_time=battery.minutes,
        )
    )
    talk.wait(0.06)
    talk.say(
        messages.BmsInformation(
            **who,
            max_voltage_cell_no=57,
            max_battery_temperature=battery.temperature,
            max_temperature_point_no=12,
            min_battery_temperature=battery.temperature - 2,
            min_temperature_point_no=4,
            status_1=messages.BmsInformationStatus1(
                cell_voltage_state=enums.HighLowFlag(0),
                soc_state=enums.HighLowFlag(0),
                charge_current_state=enums.OvercurrentFlag(0),
                temperature_state=enums.OvertemperatureFlag(0),
            ),
            status_2=messages.BmsInformationStatus2(
                insulation_state=enums.AbnormalFlag(0),
                output_connector_state=enums.AbnormalFlag(0),
                charge_permission=enums.ChargePermission(1),
                reserved=0,
            ),
        )
    )
    talk.wait(0.06)


def stop(
    talk: Conversation, who: dict[str, Any], battery: Battery, begin: dt.datetime, end: dt.datetime
) -> None:
    pile, gun = who["pile_id"], who["gun_no"]
    talk.ask(
        messages.RemoteStopRequest(pile_id=pile, gun_no=gun),
        messages.RemoteStopResponse(
            pile_id=pile,
            gun_no=gun,
            result=enums.FailureSuccess.SUCCESS,
            failure_reason=enums.RemoteStopFailureReason.NONE,
        ),
        0.214,
    )
    no, yes = enums.StopFlag(0), enums.StopFlag(1)
    talk.say(
        messages.BmsStop(
            **who,
            stop_reason=parts(messages.BmsStopStopReason, no, charger_stopped=yes),
            fault_reason=parts(messages.BmsStopFaultReason, no),
            error_reason=parts(messages.BmsStopErrorReason, no),
        )
    )
    talk.wait(0.2)
    talk.say(
        messages.ChargerStop(
            **who,
            stop_reason=parts(messages.ChargerStopStopReason, no, manual_stop=yes),
            fault_reason=parts(messages.ChargerStopFaultReason, no),
            error_reason=parts(messages.ChargerStopErrorReason, no),
        )
    )
    talk.wait(1.1)
    talk.say(
        messages.ChargingEnd(
            **who,
            end_soc=battery.soc,
            min_cell_voltage=round(battery.voltage / 112 - 0.02, 2),
            max_cell_voltage=round(battery.voltage / 112 + 0.01, 2),
            min_battery_temperature=battery.temperature - 2,
            max_battery_temperature=battery.temperature,
            charging_time=battery.minutes,
            output_energy=float(rounded(battery.total, "0.1")),
            charger_no=1,
        )
    )
    talk.wait(2.3)
    meter = Decimal("12345.6789")
    tiers: dict[str, Any] = {}
    for tier in TIERS:
        tiers[f"{tier}_price"] = float(battery.price(tier))
        tiers[f"{tier}_energy"] = tiers[f"{tier}_energy_with_loss"] = float(battery.energy[tier])
        tiers[f"{tier}_amount"] = float(battery.amount(tier))
    talk.ask(
        messages.TransactionRecord(
            **who,
            start_time=begin,
            end_time=end,
            **tiers,
            meter_start=float(meter),
            meter_end=float(meter + battery.total),
            total_energy=float(battery.total),
            total_energy_with_loss=float(battery.total),
            total_amount=float(battery.cost),
            vin=VIN,
            start_source=enums.StartSource.APP,
            transaction_time=end + dt.timedelta(seconds=3),
            stop_reason=enums.StopReason(0x40),
            physical_card_no=PHYSICAL_CARD,
        ),
        messages.TransactionRecordResponse(
            transaction_no=who["transaction_no"], result=enums.TransactionAck(0)
        ),
        0.067,
    )
    talk.wait(8)
    talk.say(idle(gun, plugged=True))
    talk.wait(21.7)
    talk.say(idle(gun))


def parts(cls: Any, value: Any, **others: Any) -> Any:
    """A bit field, all its parts ``value`` but ``others``."""
    values = {name: value for name in cls.__struct_fields__ if name != "reserved"}
    return cls(**{**values, **others})


# The files


def session_log(frames: list[Sent]) -> str:
    """The log of a platform's gateway: RX is what the pile sent."""
    host, port = PILE_ADDRESS
    peer = f"{host}:{port}"
    lines = [
        log_line(
            frames[0].time - dt.timedelta(milliseconds=35), "INFO ", f"{peer} connected, 41 piles online"
        )
    ]
    for number, sent in enumerate(frames):
        way = "RX" if sent.by_pile else "TX"
        lines.append(
            log_line(sent.time, "DEBUG", f"{peer} {way} {len(sent.data)} bytes: {sent.data.hex().upper()}")
        )
        after = sent.time + dt.timedelta(milliseconds=2)
        kind = sent.data[5]
        if kind == 0x01:
            lines.append(log_line(after, "INFO ", f"{peer} login of pile {PILE}, firmware V2.1.07"))
        elif kind == 0x33:
            lines.append(log_line(after, "INFO ", f"pile {PILE} gun 1: started, order 20260312-000417"))
        elif kind == 0x3B:
            lines.append(log_line(after, "INFO ", f"pile {PILE} gun 1: record stored"))
        if number % 40 == 39:
            lines.append(
                log_line(after, "WARN ", "outbox: 3 orders wait for the billing service, oldest 4 s")
            )
    return "\n".join(lines) + "\n"


def log_line(time: dt.datetime, level: str, text: str) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03} {level} [gateway] {text}"


def session_pcap(frames: list[Sent]) -> bytes:
    """The same conversation on the wire, cut where TCP pleases."""
    file = io.BytesIO()
    writer = PcapWriter(file)
    talk = writer.connect(PILE_ADDRESS, PLATFORM_ADDRESS, frames[0].time - dt.timedelta(milliseconds=35))
    for by_pile, data, time in packets(frames):
        talk.send(by_pile, data, time)
    talk.close(frames[-1].time + dt.timedelta(seconds=2))
    return file.getvalue()


def packets(frames: list[Sent]) -> Iterator[tuple[bool, bytes, dt.datetime]]:
    """Some frames share a packet with the next one, some are spread over two."""
    held = b""
    for number, sent in enumerate(frames):
        data = held + sent.data
        held = b""
        following = frames[number + 1] if number + 1 < len(frames) else None
        if following is not None and following.by_pile == sent.by_pile and number % 9 == 4:
            held = data
        elif number % 7 == 3:
            yield sent.by_pile, data[:11], sent.time
            yield sent.by_pile, data[11:], sent.time + dt.timedelta(milliseconds=3)
        else:
            yield sent.by_pile, data, sent.time


def login_hex(frames: list[Sent]) -> str:
    request, response = (sent.data.hex(" ").upper() for sent in frames[:2])
    return f"# a pile logs in\n{request}\n# the platform lets it in\n{response}\n"


def damaged_log(frames: list[Sent]) -> str:
    """One kind of damage after the other; frames that are right in between."""
    by_type: dict[int, Sent] = {}
    for sent in frames:
        by_type.setdefault(sent.data[5], sent)

    def frame(code: int) -> bytearray:
        return bytearray(by_type[code].data)

    cases: list[tuple[str, bytes]] = [("RX", bytes(frame(0x01)))]
    wrong = frame(0x13)
    wrong[30] ^= 0x01
    cases.append(("RX", bytes(wrong)))
    cases.append(("RX", bytes(frame(0x23)[:37])))
    swapped = frame(0x33)
    swapped[-2:] = swapped[:-3:-1]
    cases.append(("RX", bytes(swapped)))
    length = frame(0x03)
    length[1] = len(length)
    cases.append(("RX", bytes(length)))
    kind = frame(0x04)
    kind[5] = 0x08
    cases.append(("TX", bytes(kind)))
    short = frame(0x55)[:-4]
    short[1] -= 2
    cases.append(("RX", resealed(short)))
    unknown = frame(0x03)[:-2]
    unknown[5] = 0x0B
    cases.append(("RX", resealed(unknown)))
    cases.append(("RX", bytes.fromhex("FFFFFFFF00000000A5A5A5A5")))
    cases.append(("TX", bytes(frame(0x04))))
    time = MORNING.replace(hour=14, minute=7, second=30, microsecond=512000)
    lines = []
    for way, data in cases:
        lines.append(log_line(time, "DEBUG", f"192.0.2.99:50321 {way} {data.hex(' ').upper()}"))
        time += dt.timedelta(seconds=1, milliseconds=203)
    return "\n".join(lines) + "\n"


def resealed(data: bytearray) -> bytes:
    """The bytes with a right checksum behind them."""
    return bytes(data) + ykc.crc16_modbus(bytes(data[2:])).to_bytes(2, "little")


def files() -> dict[str, bytes]:
    """All files by name."""
    frames = session()
    return {
        "session.log": session_log(frames).encode(),
        "session.pcap": session_pcap(frames),
        "login.hex": login_hex(frames).encode(),
        "damaged.log": damaged_log(frames).encode(),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, data in files().items():
        (folder / name).write_bytes(data)
        print(f"{folder / name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
