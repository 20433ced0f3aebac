"""Every command, obeyed and refused, at a pile on the bench."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from evproto import ykc
from evproto.messages import BEIJING, RawTime
from evproto.simulate.vehicle import VEHICLES, make_vehicle
from evproto.simulate.ykc.billing import default_tariff
from evproto.ykc import messages as m
from evproto.ykc.enums import GunStatus, RemoteStartFailureReason, StopReason, TariffRate
from simulate.bench import PILE, Bench

CARD = bytes.fromhex("00000000D14B0A54")
OTHER = "32010600019236"
THIS: dict[str, Any] = {"pile_id": PILE}
NUMBER = "5" * 32
TARIFF = default_tariff("0100")


def start(gun: int = 1, balance: float = 100.0, pile: str = PILE) -> m.RemoteStartRequest:
    return m.RemoteStartRequest(
        transaction_no=NUMBER, pile_id=pile, gun_no=f"{gun:02d}", logical_card_no="0" * 16, physical_card_no=CARD,
        account_balance=balance,
    )  # fmt: skip


def update(**changes: Any) -> m.UpdateRequest:
    fields = {
        **THIS, "pile_type": 1, "pile_power": 120, "server_address": "198.51.100.1", "server_port": 21, "username": "u",
        "password": "p", "file_path": "x.bin", "execution_control": 1, "download_timeout": 5,
    }  # fmt: skip
    return m.UpdateRequest(**{**fields, **changes})


def parallel(gun: int, number: str = "260922120000", pile: str = PILE) -> m.ParallelRemoteStartRequest:
    return m.ParallelRemoteStartRequest(
        transaction_no=f"{gun:032d}", pile_id=pile, gun_no=f"{gun:02d}", logical_card_no="0" * 16,
        physical_card_no=CARD, account_balance=50.0, parallel_no=number,
    )  # fmt: skip


def plugged(**settings: Any) -> Bench:
    bench = Bench(**settings)
    for gun in bench.pile.guns:
        bench.pile.plug_in(gun.number, make_vehicle(bench.pile.rng, model=VEHICLES[3], soc=0.2), bench.now)
    bench.take()
    bench.sent.clear()
    return bench


def charging(**settings: Any) -> Bench:
    bench = plugged(**settings)
    assert bench.ask(start()).result == 1
    bench.run(120)
    bench.sent.clear()
    return bench


def test_a_remote_start_is_followed_by_real_time_data_that_say_charging() -> None:
    """Section 13.3, 1: within 90 s, and they must say charging."""
    bench = plugged()
    said = bench.tell(start(), 77)
    assert bench.replies[0][1] == 77
    assert [type(message) for message in said] == [m.RemoteStartResponse, m.RealtimeDataReport]
    assert said[1].gun_status is GunStatus.CHARGING
    assert said[1].transaction_no == NUMBER


@pytest.mark.parametrize(
    ("reason", "prepare", "command"),
    [
        ("PILE_ID_MISMATCH", lambda bench: None, start(pile=OTHER)),
        ("PILE_ID_MISMATCH", lambda bench: None, start(gun=3)),
        ("DEVICE_FAULT", lambda bench: bench.pile.emergency_stop(1, bench.now), start()),
        ("DEVICE_FAULT", lambda bench: bench.tell(m.WorkParametersRequest(**THIS, work_permission=1, max_output_power=100)), start()),
        ("DEVICE_FAULT", lambda bench: bench.tell(update()), start()),
        ("GUN_NOT_PLUGGED", lambda bench: bench.pile.unplug(1, bench.now), start()),
        ("GUN_ALREADY_CHARGING", lambda bench: bench.tell(start()), start()),
    ],
)  # fmt: skip
def test_a_remote_start_is_refused(reason: str, prepare: Any, command: m.RemoteStartRequest) -> None:
    bench = plugged()
    prepare(bench)
    answer = bench.ask(command)
    assert answer.result == 0
    assert answer.failure_reason is RemoteStartFailureReason[reason]
    assert answer.pile_id == PILE


def test_without_a_billing_model_nothing_is_charged() -> None:
    """Section 6.7."""
    bench = Bench(online=False)
    bench.log_in(same_model=False)
    bench.pile.plug_in(1, make_vehicle(bench.pile.rng), 0)
    assert bench.ask(start()).failure_reason is RemoteStartFailureReason.DEVICE_FAULT
    bench.tell(TARIFF.response(PILE))
    assert bench.ask(start()).result == 1


def test_a_gun_plugged_in_within_a_minute_starts_late() -> None:
    """Section 8.4: a second 0x33, under the number of the command."""
    bench = Bench()
    assert bench.ask(start(), 5).failure_reason is RemoteStartFailureReason.GUN_NOT_PLUGGED
    bench.run(59)
    bench.replies.clear()
    bench.pile.plug_in(1, make_vehicle(bench.pile.rng), bench.now)
    bench.take()
    assert [(message.result, number) for message, number in bench.replies] == [(1, 5)]
    assert bench.pile.guns[0].is_charging


@pytest.mark.parametrize("way", ["too late", "offline meanwhile"])
def test_a_gun_plugged_in_later_does_not_start(way: str) -> None:
    bench = Bench()
    bench.ask(start())
    if way == "too late":
        bench.run(61)
    else:
        bench.pile.disconnected(bench.now)
        bench.log_in()
    bench.replies.clear()
    bench.pile.plug_in(1, make_vehicle(bench.pile.rng), bench.now)
    bench.take()
    assert bench.replies == []
    assert not bench.pile.guns[0].is_busy


def test_a_start_without_money_fails_and_has_a_record_all_the_same() -> None:
    """Section 8.7: every start that was carried out ends in a record."""
    bench = plugged()
    assert bench.ask(start(balance=0.0)).result == 1
    bench.run(30)
    (record,) = bench.only(m.TransactionRecord)
    assert record.stop_reason is StopReason.START_FAILED_INSUFFICIENT_BALANCE
    assert record.total_energy == record.total_amount == 0.0


def test_a_remote_stop_is_obeyed_and_settled_within_half_a_minute() -> None:
    bench = charging()
    assert bench.ask(m.RemoteStopRequest(**THIS, gun_no="01")).result == 1
    bench.run(30)
    kinds = [type(message) for message in bench.sent]
    order = [m.ChargerStop, m.BmsStop, m.ChargingEnd, m.TransactionRecord]
    assert [kind for kind in kinds if kind in order] == order
    (record,) = bench.only(m.TransactionRecord)
    assert record.stop_reason is StopReason.COMPLETED_APP_REMOTE_STOP
    assert record.start_source.name == "APP"
    assert record.physical_card_no == CARD
    last = bench.only(m.RealtimeDataReport)[-1]
    assert (last.gun_status, last.transaction_no) == (GunStatus.IDLE, "0" * 32)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (m.RemoteStopRequest(**THIS, gun_no="02"), "GUN_NOT_CHARGING"),
        (m.RemoteStopRequest(**THIS, gun_no="09"), "PILE_ID_MISMATCH"),
        (m.RemoteStopRequest(pile_id=OTHER, gun_no="01"), "PILE_ID_MISMATCH"),
    ],
)
def test_a_remote_stop_is_refused(command: m.RemoteStopRequest, reason: str) -> None:
    bench = charging()
    answer = bench.ask(command)
    assert (answer.result, answer.failure_reason.name) == (0, reason)
    assert bench.pile.guns[0].is_charging


def test_pulling_the_gun_out_ends_the_session_at_once() -> None:
    """Section 13.3, 5."""
    bench = charging()
    bench.pile.unplug(1, bench.now)
    said = bench.take()
    (record,) = [message for message in said if isinstance(message, m.TransactionRecord)]
    assert record.stop_reason is StopReason.ABORTED_CONTROL_PILOT_DISCONNECTED


def test_the_red_button() -> None:
    bench = charging()
    bench.pile.emergency_stop(1, bench.now)
    bench.take()
    assert bench.pile.guns[0].health == 1
    stop = bench.only(m.ChargerStop)[0]
    assert stop.fault_reason.emergency_stop == stop.stop_reason.abnormal_stop == 1
    bench.run(10)
    assert bench.only(m.TransactionRecord)[0].stop_reason is StopReason.ABORTED_EMERGENCY_STOP
    report = bench.only(m.RealtimeDataReport)[-1]
    assert (report.gun_status, report.hardware_faults.emergency_stop_fault) == (GunStatus.FAULT, 1)


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (m.BalanceUpdateRequest(**THIS, gun_no="01", physical_card_no=CARD, new_balance=0.5), 0),
        (m.BalanceUpdateRequest(**THIS, gun_no="01", physical_card_no=bytes(8), new_balance=0.5), 0),
        (m.BalanceUpdateRequest(**THIS, gun_no="01", physical_card_no=b"\x01" * 8, new_balance=0.5), 2),
        (m.BalanceUpdateRequest(**THIS, gun_no="02", physical_card_no=bytes(8), new_balance=0.5), 2),
        (m.BalanceUpdateRequest(pile_id=OTHER, gun_no="01", physical_card_no=CARD, new_balance=0.5), 1),
    ],
)
def test_a_balance_counts_from_now_on(command: m.BalanceUpdateRequest, result: int) -> None:
    bench = charging()
    answer = bench.ask(command)
    assert (answer.result, answer.physical_card_no) == (result, command.physical_card_no)
    bench.run(30)
    stopped = [one.stop_reason for one in bench.only(m.TransactionRecord)]
    assert stopped == ([StopReason.ABORTED_INSUFFICIENT_BALANCE] if result == 0 else [])


def test_offline_cards() -> None:
    bench = Bench(card_storage=20, allow=("failure_reason",))  # 0 is in no table of 0x43

    def sync(*numbers: int) -> m.CardSyncResponse:
        cards = tuple(
            m.CardSyncRequestCard(logical_card_no="1" * 16, physical_card_no=n.to_bytes(8, "big"))
            for n in numbers
        )
        return bench.ask(m.CardSyncRequest(**THIS, cards=cards))

    assert sync(*range(1, 16)).result == 1
    full = sync(*range(16, 22))
    assert (full.result, full.failure_reason.name) == (0, "STORAGE_FULL")
    assert sync(1, 2, 20).result == 1
    assert sync(0).failure_reason.name == "CARD_NO_FORMAT_ERROR"
    query = m.CardQueryRequest(
        **THIS,
        cards=tuple(m.CardQueryRequestCard(physical_card_no=n.to_bytes(8, "big")) for n in (1, 16, 20)),
    )
    assert [card.result for card in bench.ask(query).cards] == [1, 0, 1]
    clear = m.CardClearRequest(
        **THIS, cards=tuple(m.CardClearRequestCard(physical_card_no=n.to_bytes(8, "big")) for n in (1, 16))
    )
    assert [card.result for card in bench.ask(clear).cards] == [1, 0]
    assert [card.result for card in bench.ask(query).cards] == [0, 0, 1]
    foreign = msgspec.structs.replace(query, pile_id=OTHER)
    assert [card.result for card in bench.ask(foreign).cards] == [0, 0, 0]


def test_working_parameters() -> None:
    bench = charging()
    assert bench.ask(m.WorkParametersRequest(**THIS, work_permission=0, max_output_power=30)).result == 1
    bench.run(60)
    charge = bench.pile.guns[0].charge
    assert charge is not None
    assert charge.power <= 36_000_000
    for power in (0, 29, 101):
        assert (
            bench.ask(m.WorkParametersRequest(**THIS, work_permission=0, max_output_power=power)).result == 0
        )
    assert (
        bench.ask(m.WorkParametersRequest(pile_id=OTHER, work_permission=1, max_output_power=50)).result == 0
    )
    assert bench.pile.guns[0].is_charging
    assert bench.ask(m.WorkParametersRequest(**THIS, work_permission=1, max_output_power=50)).result == 1
    bench.run(10)
    assert bench.only(m.TransactionRecord)[0].stop_reason is StopReason.ABORTED_SYSTEM_LOCKOUT


def test_the_clock_is_set_by_who_may() -> None:
    bench = Bench()
    wanted = dt.datetime(2026, 12, 31, 23, 59, 59, 999_000, tzinfo=BEIJING)
    assert bench.ask(m.TimeSyncRequest(**THIS, current_time=wanted)).current_time == wanted
    bench.run(1)
    later = wanted + dt.timedelta(seconds=1)
    assert bench.ask(m.TimeSyncRequest(pile_id=OTHER, current_time=wanted)).current_time == later
    assert bench.ask(m.TimeSyncRequest(**THIS, current_time=RawTime(bytes(7)))).current_time == later


def test_a_new_billing_model_counts_from_the_next_session_on() -> None:
    bench = charging()
    dear = ykc.tariff.Tariff(
        billing_model_no="0200",
        prices=dict.fromkeys(TariffRate, ykc.tariff.Price(energy=9, service=1)),
        periods=TARIFF.periods,
    )
    assert bench.ask(dear.setting(PILE)).result == 1
    assert bench.ask(dear.setting(OTHER)).result == 0
    bench.pile.stop(1, bench.now)
    bench.run(10)
    bench.tell(start())
    bench.run(120)
    bench.pile.stop(1, bench.now)
    bench.run(10)
    first, second = bench.only(m.TransactionRecord)
    assert first.flat_price == float(TARIFF.prices[TariffRate.FLAT].total)
    assert second.flat_price == 10.0
    odd = msgspec.structs.replace(dear.setting(PILE), period_rates=(m.PeriodRate(rate=TariffRate(4)),) * 48)
    assert bench.ask(odd).result == 0


def test_parking_locks() -> None:
    bench = Bench(parking_locks=True)
    assert bench.ask(m.ParkingLockRequest(**THIS, gun_no=1, command=0x55)).result == 1
    assert bench.only(m.ParkingLockReport)[-1].lock_state.name == "RAISED"
    assert bench.ask(m.ParkingLockRequest(**THIS, gun_no=1, command=0xFF)).result == 1
    bench.pile.plug_in(1, make_vehicle(bench.pile.rng), bench.now)
    bench.take()
    assert bench.only(m.ParkingLockReport)[-1].parking_state.name == "OCCUPIED"
    assert bench.ask(m.ParkingLockRequest(**THIS, gun_no=1, command=0x55)).result == 0  # a car stands on it
    assert bench.ask(m.ParkingLockRequest(**THIS, gun_no=9, command=0x55)).result == 0
    assert bench.ask(m.ParkingLockRequest(pile_id=OTHER, gun_no=2, command=0x55)).result == 0
    bench.sent.clear()
    bench.run(900)
    assert len(bench.only(m.ParkingLockReport)) == 6  # two guns, every five minutes
    assert Bench().ask(m.ParkingLockRequest(**THIS, gun_no=1, command=0x55)).result == 0  # there is none


@pytest.mark.parametrize("control", [1, 2], ids=["immediately", "when idle"])
def test_a_reboot(control: int) -> None:
    bench = charging()
    assert bench.ask(m.RebootRequest(pile_id=OTHER, execution_control=control)).result == 0
    assert bench.ask(m.RebootRequest(**THIS, execution_control=3)).result == 0
    assert bench.reboots == []
    assert bench.ask(m.RebootRequest(**THIS, execution_control=control)).result == 1
    assert bool(bench.reboots) == (control == 1)
    if control == 2:
        bench.run(60)
        assert bench.reboots == []
        bench.pile.stop(1, bench.now)
        bench.run(10)
        assert len(bench.reboots) == 1
    (record,) = bench.pile.records.values()
    assert record.stop_reason.name == ("ABORTED_PILE_POWER_LOSS" if control == 1 else "COMPLETED_MANUAL_STOP")


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"pile_id": OTHER}, "PILE_ID_ERROR"),
        ({"pile_type": 2}, "FIRMWARE_MODEL_MISMATCH"),
        ({"file_path": ""}, "FIRMWARE_MODEL_MISMATCH"),
        ({"download_timeout": 0}, "DOWNLOAD_TIMEOUT"),
        ({"server_address": ""}, "DOWNLOAD_TIMEOUT"),
    ],
)
def test_an_update_is_refused_at_once(changes: dict[str, Any], result: str) -> None:
    bench = Bench()
    assert bench.ask(update(**changes)).result.name == result
    bench.run(300)
    assert bench.reboots == []


def test_an_update_when_idle_waits_for_the_end_of_charging() -> None:
    bench = charging()
    bench.tell(update(execution_control=2), 9)
    bench.run(300)
    assert bench.only(m.UpdateResponse) == []
    bench.pile.stop(1, bench.now)
    bench.replies.clear()
    bench.run(60)
    assert [(message.result, number) for message, number in bench.replies] == [(0, 9)]
    assert len(bench.reboots) == 1
    assert bench.pile.login_request().firmware_version != "V4.1.50"


def test_a_parallel_start_needs_all_its_guns() -> None:
    bench = plugged()
    bench.tell(parallel(1), 1)
    assert bench.replies == []
    bench.tell(parallel(2), 2)
    assert [(message.result, message.gun_role.name, number) for message, number in bench.replies] == [
        (1, "MAIN", 1), (1, "AUXILIARY", 2),
    ]  # fmt: skip
    assert all(gun.is_charging for gun in bench.pile.guns)
    bench.run(60)
    for gun in (1, 2):
        bench.pile.stop(gun, bench.now)
    bench.run(10)
    assert {record.transaction_no for record in bench.only(m.TransactionRecord)} == {
        f"{gun:032d}" for gun in (1, 2)
    }


@pytest.mark.parametrize("why", ["unplugged", "alone", "one gun", "foreign"])
def test_a_parallel_start_is_refused_for_all(why: str) -> None:
    """Section 12.4: the answers agree."""
    bench = plugged(gun_count=1 if why == "one gun" else 2)
    if why == "unplugged":
        bench.pile.unplug(2, bench.now)
        bench.take()
    bench.tell(parallel(1, pile=OTHER if why == "foreign" else PILE), 1)
    if why == "unplugged":
        bench.tell(parallel(2), 2)
    bench.run(10)
    expected = {"unplugged": "GUN_NOT_PLUGGED", "foreign": "PILE_ID_MISMATCH"}.get(why, "DEVICE_FAULT")
    assert {(message.result.value, message.failure_reason.name) for message, _ in bench.replies} == {
        (0, expected)
    }
    assert len(bench.replies) == (2 if why == "unplugged" else 1)
    assert not any(gun.is_busy for gun in bench.pile.guns)


def test_a_parallel_start_by_card_needs_all_answers() -> None:
    for results in ((1, 1), (1, 0), (0, 1)):
        bench = plugged()
        assert bench.pile.ask_to_start_parallel((1, 2), CARD, bench.now)
        asked = bench.take()
        assert [message.gun_role.name for message in asked] == ["MAIN", "AUXILIARY"]
        assert len({message.parallel_no for message in asked}) == 1
        for message, result in zip(asked, results, strict=True):
            bench.tell(
                m.ParallelStartResponse(
                    transaction_no=f"{int(message.gun_no):032d}", **THIS, gun_no=message.gun_no,
                    logical_card_no="0" * 16, account_balance=50.0, result=result,
                    failure_reason=0 if result else 3, parallel_no=message.parallel_no,
                )
            )  # fmt: skip
        assert [gun.is_charging for gun in bench.pile.guns] == [results == (1, 1)] * 2


def test_a_card_that_is_refused_or_not_answered_starts_nothing() -> None:
    bench = plugged()
    assert bench.pile.ask_to_start(1, CARD, bench.now)
    assert not bench.pile.ask_to_start(1, CARD, bench.now)  # one question at a time
    (asked,) = bench.take()
    assert (asked.account_or_card, asked.start_method.name, asked.vin) == (CARD, "CARD", "")
    answer = m.StartResponse(
        transaction_no=NUMBER,
        **THIS,
        gun_no="01",
        logical_card_no="0" * 16,
        account_balance=0.0,
        result=0,
        failure_reason=3,
    )
    bench.tell(answer)
    assert not bench.pile.guns[0].is_busy
    assert bench.pile.ask_to_start(1, CARD, bench.now)
    bench.take()
    bench.run(31)
    bench.tell(msgspec.structs.replace(answer, result=1, account_balance=9.0))  # too late
    assert not bench.pile.guns[0].is_busy


def test_starting_by_vin_sends_the_vehicle_number() -> None:
    bench = plugged()
    vehicle = bench.pile.guns[0].vehicle
    assert vehicle is not None
    assert bench.pile.ask_to_start(1, CARD, bench.now, by_vin=True)
    (asked,) = bench.take()
    assert (asked.vin, asked.account_or_card) == (vehicle.vin, bytes(8))
    raw = bench.codec.encode(asked)
    assert vehicle.vin[::-1].encode() in raw  # last character first, section 8.1


def test_what_is_asked_about_a_gun_that_is_not_there() -> None:
    bench = Bench()
    answer = bench.ask(m.RealtimeDataRequest(**THIS, gun_no="07"))
    assert (answer.gun_no, answer.gun_status) == ("07", GunStatus.OFFLINE)


def test_a_handshake_that_fails_says_so() -> None:
    bench = plugged(start_failures=1.0)
    seen = set()
    for number in range(20):
        bench.sent.clear()
        bench.tell(msgspec.structs.replace(start(), transaction_no=f"{number:032d}"))
        bench.run(30)
        (record,) = bench.only(m.TransactionRecord)
        assert 0x4A <= record.stop_reason <= 0x69
        assert record.total_energy == 0.0
        late = bench.only(m.ChargingError)
        assert bool(late) == ("TIMEOUT" in record.stop_reason.name)
        seen.add(record.stop_reason)
    assert len(seen) > 3
