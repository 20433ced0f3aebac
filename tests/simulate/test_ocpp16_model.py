"""A simulated charge point of OCPP 1.6 on the bench: its transactions, and what it does when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from evproto.simulate.ocpp import Habits, make_vehicle
from simulate.station_bench import MORNING, Bench, energy, measured

CARD = bytes(4) + b"\x00\x00\x00\x2a"
TAG = "0000000000002A"
RNG_SEED = 3


def car(soc: float = 0.3, leaves_at: float = 1.0) -> Any:
    import random

    return make_vehicle(random.Random(RNG_SEED), soc=soc, leaves_at=leaves_at)


def charging(**options: Any) -> Bench:
    """A station at which somebody charges."""
    bench = Bench(**{"dc": False, **options})
    bench.model.plug_in(1, car(), bench.now)
    assert bench.model.ask_to_start(1, CARD, bench.now)
    bench.take()
    bench.run(10)
    assert bench.model.guns[0].is_charging
    return bench


def stamp(bench: Bench, seconds: float = 0.0) -> str:
    at = datetime.fromtimestamp((MORNING + bench.now) / 1000, UTC) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def limit_of(watts: float, id: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "chargingProfileId": id, "stackLevel": 0, "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": {
            "startSchedule": "2026-09-01T00:00:00Z", "chargingRateUnit": "W",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": watts}],
        },
        **more,
    }  # fmt: skip


# Transactions


def test_a_visit_from_the_plug_to_the_plug() -> None:
    bench = charging()
    bench.run(1800)
    bench.model.stop(1, bench.now)
    bench.take()
    bench.model.unplug(1, bench.now)
    bench.take()
    assert bench.statuses() == ["Available", "Preparing", "Charging", "Finishing", "Available"]
    assert [payload["idTag"] for payload in bench.of("Authorize")] == [TAG]
    (start,), (stop,) = bench.of("StartTransaction"), bench.of("StopTransaction")
    assert (start["connectorId"], start["idTag"]) == (1, TAG)
    assert stop["transactionId"] == 101
    assert (stop["reason"], stop["idTag"]) == ("Local", TAG)
    assert [event for event, _ in bench.events] == ["started", "ended", "confirmed"]


def test_the_meter_adds_up() -> None:
    bench = charging(sample_interval=30)
    bench.run(3600)
    bench.model.stop(1, bench.now)
    bench.take()
    (start,), (stop,) = bench.of("StartTransaction"), bench.of("StopTransaction")
    samples = bench.of("MeterValues")
    readings = [energy(sample["meterValue"]) for sample in samples]
    assert readings == sorted(readings)
    assert all(sample["transactionId"] == 101 for sample in samples)
    # The register is the integral of the power that is reported with it: trapezes between the samples.
    powers = [measured(sample["meterValue"], "Power.Active.Import") for sample in samples]
    reckoned = sum((one + other) / 2 * 30 / 3600 for one, other in pairwise(powers))
    assert reckoned == pytest.approx(readings[-1] - readings[0], rel=0.005)
    volts = [measured(sample["meterValue"], "Voltage") for sample in samples]
    amperes = [measured(sample["meterValue"], "Current.Import") for sample in samples]
    assert powers == pytest.approx([u * i for u, i in zip(volts, amperes, strict=True)], rel=1e-6)
    # The bill: begin and end in the stop are the meter's, in whole Wh where the message has whole Wh.
    begin, end = (energy([entry]) for entry in stop["transactionData"])
    assert (start["meterStart"], stop["meterStop"]) == (int(begin), int(end))
    assert end >= readings[-1] >= readings[0] >= begin
    assert bench.events[1] == ("ended", round((end - begin) * 10))


def test_the_next_transaction_begins_where_the_last_one_ended() -> None:
    bench = Bench(habits=Habits(pause=60, by_card=1, by_vin=0, stops_early=0.5), connectors=2)
    bench.run(12 * 3600)
    for connector in (1, 2):
        begins = [one for one in bench.of("StartTransaction") if one["connectorId"] == connector]
        ids = {
            one["transactionId"]: one for one in bench.of("MeterValues") if one["connectorId"] == connector
        }
        stops = [one for one in bench.of("StopTransaction") if one["transactionId"] in ids]
        assert len(begins) > 3
        for stop, begin in zip(stops, begins[1:], strict=False):
            assert begin["meterStart"] == stop["meterStop"]


def test_a_full_battery_suspends_and_the_driver_ends_it() -> None:
    bench = Bench()
    bench.model.plug_in(1, car(soc=0.97), bench.now)
    bench.model.ask_to_start(1, CARD, bench.now)
    bench.take()
    bench.run(4 * 3600)
    assert bench.statuses()[-2:] == ["Charging", "SuspendedEV"]
    assert bench.of("StopTransaction") == []
    bench.model.unplug(1, bench.now)
    bench.take()
    (stop,) = bench.of("StopTransaction")
    assert stop["reason"] == "EVDisconnected"
    assert "idTag" not in stop
    assert measured(bench.of("MeterValues")[-1]["meterValue"], "Power.Active.Import") == 0


def test_who_is_not_let_in_does_not_charge() -> None:
    bench = Bench()
    bench.accepts = lambda token: "Blocked"
    bench.model.plug_in(1, car(), bench.now)
    bench.model.ask_to_start(1, CARD, bench.now)
    bench.take()
    bench.run(600)
    assert len(bench.of("Authorize")) == 1
    assert bench.of("StartTransaction") == []


def test_a_transaction_of_somebody_invalid_is_stopped() -> None:
    bench = Bench()
    bench.model.plug_in(1, car(), bench.now)
    bench.model.ask_to_start(1, CARD, bench.now)
    answers = iter(["Accepted", "Invalid"])
    bench.accepts = lambda token: next(answers)
    bench.take()
    bench.run(5)
    (stop,) = bench.of("StopTransaction")
    assert stop["reason"] == "DeAuthorized"


# Offline


def test_what_happens_offline_is_told_afterwards() -> None:
    bench = charging()
    sent = len(bench.sent)
    bench.disconnect()
    bench.run(600)
    bench.model.stop(1, bench.now)
    ended = bench.now
    bench.take()
    bench.run(600)
    assert len(bench.sent) == sent
    bench.connect()
    told = bench.sent[sent:]
    assert [name for name, _ in told].count("MeterValues") == 10
    (stop,) = [payload for name, payload in told if name == "StopTransaction"]
    assert stop["transactionId"] == 101
    assert stop["timestamp"].startswith(stamp(bench, (ended - bench.now) / 1000)[:-1])
    assert bench.statuses()[-1] == "Finishing"


def test_a_transaction_that_began_offline_gets_its_id_on_the_way() -> None:
    bench = Bench()
    entry = {"idTag": TAG, "idTagInfo": {"status": "Accepted"}}
    answer = bench.ask("SendLocalList", listVersion=4, updateType="Full", localAuthorizationList=[entry])
    assert answer == {"status": "Accepted"}
    assert bench.ask("GetLocalListVersion") == {"listVersion": 4}
    bench.disconnect()
    bench.model.plug_in(1, car(), bench.now)
    assert not bench.model.ask_to_start(1, bytes(8), bench.now)
    assert bench.model.ask_to_start(1, CARD, bench.now)
    bench.run(300)
    bench.model.stop(1, bench.now)
    bench.take()
    assert bench.of("StartTransaction") == []
    bench.connect()
    (stop,) = bench.of("StopTransaction")
    assert stop["transactionId"] == 101
    assert {sample["transactionId"] for sample in bench.of("MeterValues")} == {101}


def test_after_an_interruption_every_state_is_told_again() -> None:
    bench = Bench(connectors=2)
    bench.disconnect()
    assert bench.take() == []
    bench.connect()
    assert bench.statuses(1) == bench.statuses(2) == ["Available", "Available"]


def test_lists_of_a_wrong_version_are_refused() -> None:
    bench = Bench()
    entry = {"idTag": TAG, "idTagInfo": {"status": "Blocked"}}
    bench.ask("SendLocalList", listVersion=4, updateType="Full", localAuthorizationList=[entry])
    again = bench.ask("SendLocalList", listVersion=4, updateType="Differential")
    assert again == {"status": "VersionMismatch"}
    remove = [{"idTag": TAG}]
    bench.ask("SendLocalList", listVersion=5, updateType="Differential", localAuthorizationList=remove)
    assert bench.model.tokens.local == {}


# Commands


def test_a_remote_start_waits_for_the_plug() -> None:
    bench = Bench(dc=False)
    assert bench.ask("RemoteStartTransaction", idTag="APP1", connectorId=1) == {"status": "Accepted"}
    assert bench.statuses()[-1] == "Preparing"
    bench.run(30)
    bench.model.plug_in(1, car(), bench.now)
    bench.take()
    (start,) = bench.of("StartTransaction")
    assert start["idTag"] == "APP1"
    assert bench.of("Authorize") == []
    assert bench.ask("RemoteStartTransaction", idTag="APP2", connectorId=1) == {"status": "Rejected"}
    assert bench.ask("RemoteStopTransaction", transactionId=101) == {"status": "Accepted"}
    (stop,) = bench.of("StopTransaction")
    assert stop["reason"] == "Remote"
    assert bench.ask("RemoteStopTransaction", transactionId=101) == {"status": "Rejected"}


def test_a_remote_start_that_nobody_comes_for_ends() -> None:
    bench = Bench(dc=False)
    bench.ask("RemoteStartTransaction", idTag="APP1")
    bench.run(61)
    assert bench.statuses() == ["Available", "Preparing", "Available"]
    bench.model.plug_in(1, car(), bench.now)
    bench.take()
    assert bench.of("StartTransaction") == []


def test_a_remote_start_asks_first_if_it_is_set_so() -> None:
    bench = Bench(dc=False)
    assert bench.ask("ChangeConfiguration", key="AuthorizeRemoteTxRequests", value="true") == {
        "status": "Accepted"
    }
    bench.model.plug_in(1, car(), bench.now)
    bench.accepts = lambda token: "Blocked"
    bench.ask("RemoteStartTransaction", idTag="APP1", connectorId=1)
    assert [one["idTag"] for one in bench.of("Authorize")] == ["APP1"]
    assert bench.of("StartTransaction") == []


@pytest.mark.parametrize(("kind", "reason"), [("Soft", "SoftReset"), ("Hard", "HardReset")])
def test_a_reset_stops_and_reboots(kind: str, reason: str) -> None:
    bench = charging()
    assert bench.ask("Reset", type=kind) == {"status": "Accepted"}
    bench.run(2)
    assert [one.reason for one in bench.kept] == [reason]
    assert len(bench.reboots) == 1
    assert not bench.model.online
    before = len(bench.of("StatusNotification"))
    bench.run(20)
    assert bench.boot()[0] == "BootNotification"
    bench.connect()
    assert bench.of("StopTransaction")[0]["reason"] == reason
    assert [one["connectorId"] for one in bench.of("StatusNotification")[before:]] == [0, 1]


def test_availability_changes_when_the_transaction_is_over() -> None:
    bench = charging()
    assert bench.ask("ChangeAvailability", connectorId=1, type="Inoperative") == {"status": "Scheduled"}
    assert bench.statuses()[-1] == "Charging"
    bench.model.stop(1, bench.now)
    bench.take()
    assert bench.statuses()[-1] == "Unavailable"
    assert bench.ask("RemoteStartTransaction", idTag="APP1", connectorId=1) == {"status": "Rejected"}
    assert bench.ask("ChangeAvailability", connectorId=0, type="Operative") == {"status": "Accepted"}
    assert bench.statuses()[-1] == "Finishing"
    assert bench.ask("ChangeAvailability", connectorId=7, type="Operative") == {"status": "Rejected"}


def test_unlocking_ends_the_transaction() -> None:
    bench = charging()
    assert bench.ask("UnlockConnector", connectorId=1) == {"status": "Unlocked"}
    assert bench.of("StopTransaction")[0]["reason"] == "UnlockCommand"
    assert bench.ask("UnlockConnector", connectorId=9) == {"status": "NotSupported"}


def test_the_configuration_is_obeyed() -> None:
    bench = charging(sample_interval=60)
    every = bench.ask("GetConfiguration")["configurationKey"]
    values = {one["key"]: one for one in every}
    assert values["NumberOfConnectors"] == {"key": "NumberOfConnectors", "value": "1", "readonly": True}
    assert values["MeterValueSampleInterval"]["value"] == "60"
    answer = bench.ask("GetConfiguration", key=["HeartbeatInterval", "Nonsense"])
    assert [one["key"] for one in answer["configurationKey"]] == ["HeartbeatInterval"]
    assert answer["unknownKey"] == ["Nonsense"]
    change = {"key": "MeterValueSampleInterval", "value": "5"}
    assert bench.ask("ChangeConfiguration", **change) == {"status": "Accepted"}
    bench.ask("ChangeConfiguration", key="MeterValuesSampledData", value="SoC, Voltage")
    before = len(bench.of("MeterValues"))
    bench.run(60)
    values16 = bench.of("MeterValues")[before:]
    assert len(values16) == 12
    assert {one["measurand"] for one in values16[0]["meterValue"][0]["sampledValue"]} == {"Voltage"}
    for key, value, status in (
        ("MeterValueSampleInterval", "often", "Rejected"),
        ("MeterValuesSampledData", "RPM", "Rejected"),
        ("NumberOfConnectors", "9", "Rejected"),
        ("Nonsense", "1", "NotSupported"),
    ):
        assert bench.ask("ChangeConfiguration", key=key, value=value) == {"status": status}
    bench.ask("ChangeConfiguration", key="HeartbeatInterval", value="77")
    assert bench.beats == [77]


def test_meter_values_at_full_times_of_the_clock() -> None:
    bench = Bench(dc=False)
    bench.run(100)
    bench.ask("ChangeConfiguration", key="ClockAlignedDataInterval", value="900")
    bench.run(3600)
    times = [one["meterValue"][0]["timestamp"][11:19] for one in bench.of("MeterValues")]
    assert times == ["00:15:00", "00:30:00", "00:45:00", "01:00:00"]
    contexts = {one["meterValue"][0]["sampledValue"][0]["context"] for one in bench.of("MeterValues")}
    assert contexts == {"Sample.Clock"}


@pytest.mark.parametrize(
    "wanted", ["Heartbeat", "StatusNotification", "MeterValues", "FirmwareStatusNotification",
               "DiagnosticsStatusNotification"],
)  # fmt: skip
def test_triggers(wanted: str) -> None:
    bench = charging()
    before = len(bench.of(wanted))
    assert bench.ask("TriggerMessage", requestedMessage=wanted, connectorId=1) == {"status": "Accepted"}
    assert len(bench.of(wanted)) == before + 1
    assert bench.ask("TriggerMessage", requestedMessage=wanted, connectorId=5) == {"status": "Rejected"}


def test_extended_triggers() -> None:
    bench = Bench()
    for wanted, status in (("LogStatusNotification", "Accepted"), ("Heartbeat", "Accepted"),
                           ("SignChargePointCertificate", "NotImplemented")):  # fmt: skip
        assert bench.ask("ExtendedTriggerMessage", requestedMessage=wanted) == {"status": status}
    assert bench.of("LogStatusNotification") == [{"status": "Idle"}]


def test_a_reservation_keeps_a_connector_for_somebody() -> None:
    bench = Bench()
    order = {"connectorId": 1, "idTag": "HIM", "reservationId": 5, "expiryDate": stamp(bench, 600)}
    assert bench.ask("ReserveNow", **order) == {"status": "Accepted"}
    assert bench.statuses()[-1] == "Reserved"
    assert bench.ask("ReserveNow", **{**order, "reservationId": 6}) == {"status": "Occupied"}
    assert bench.ask("RemoteStartTransaction", idTag="HER", connectorId=1) == {"status": "Rejected"}
    bench.model.plug_in(1, car(), bench.now)
    bench.model.ask_to_start(1, CARD, bench.now)
    bench.take()
    assert bench.of("StartTransaction") == []
    assert bench.ask("RemoteStartTransaction", idTag="HIM", connectorId=1) == {"status": "Accepted"}
    assert bench.of("StartTransaction")[0]["reservationId"] == 5


def test_a_reservation_ends() -> None:
    bench = Bench(connectors=2)
    order = {"connectorId": 1, "idTag": "HIM", "reservationId": 5, "expiryDate": stamp(bench, 600)}
    bench.ask("ReserveNow", **order)
    bench.run(601)
    assert bench.statuses() == ["Available", "Reserved", "Available"]
    bench.ask("ReserveNow", **{**order, "connectorId": 2, "expiryDate": stamp(bench, 60)})
    assert bench.ask("CancelReservation", reservationId=5) == {"status": "Accepted"}
    assert bench.ask("CancelReservation", reservationId=5) == {"status": "Rejected"}
    assert bench.ask("ReserveNow", **order) == {"status": "Rejected"}  # in the past


def test_a_charging_profile_limits_the_power() -> None:
    bench = charging(sample_interval=10)
    bench.run(60)
    full = measured(bench.of("MeterValues")[-1]["meterValue"], "Power.Active.Import")
    assert full > 3000
    answer = bench.ask("SetChargingProfile", connectorId=1, csChargingProfiles=limit_of(3000))
    assert answer == {"status": "Accepted"}
    bench.run(30)
    limited = [measured(one["meterValue"], "Power.Active.Import") for one in bench.of("MeterValues")[-2:]]
    assert all(2900 < power <= 3000 for power in limited)
    bench.ask("SetChargingProfile", connectorId=1, csChargingProfiles=limit_of(0))
    bench.run(30)
    assert bench.statuses()[-1] == "SuspendedEVSE"
    assert measured(bench.of("MeterValues")[-1]["meterValue"], "Power.Active.Import") == 0
    assert bench.ask("ClearChargingProfile", id=1) == {"status": "Accepted"}
    assert bench.ask("ClearChargingProfile", id=1) == {"status": "Unknown"}
    bench.run(60)
    assert bench.statuses()[-1] == "Charging"
    assert measured(bench.of("MeterValues")[-1]["meterValue"], "Power.Active.Import") > 3000


@pytest.mark.parametrize(
    ("unit", "limit", "measurand"), [("W", 30_000, "Power.Active.Import"), ("A", 50, "Current.Import")]
)
def test_a_charging_profile_limits_direct_current(unit: str, limit: float, measurand: str) -> None:
    bench = charging(dc=True, sample_interval=10)
    bench.run(120)
    assert measured(bench.of("MeterValues")[-1]["meterValue"], measurand) > 1.5 * limit
    schedule = {
        "startSchedule": "2026-09-01T00:00:00Z",
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
    }
    profile = limit_of(0, chargingSchedule=schedule)
    assert bench.ask("SetChargingProfile", connectorId=0, csChargingProfiles=profile) == {
        "status": "Accepted"
    }
    bench.run(60)
    assert 0.97 * limit < measured(bench.of("MeterValues")[-1]["meterValue"], measurand) <= limit


def test_the_limit_of_the_station_is_shared() -> None:
    bench = charging(dc=True, sample_interval=10, connectors=2)
    most = limit_of(40_000, chargingProfilePurpose="ChargePointMaxProfile")
    bench.ask("SetChargingProfile", connectorId=0, csChargingProfiles=most)
    bench.run(60)
    alone = measured(bench.of("MeterValues")[-1]["meterValue"], "Power.Active.Import")
    assert 39_000 < alone <= 40_000
    bench.model.plug_in(2, car(), bench.now)
    bench.model.ask_to_start(2, bytes(8), bench.now)
    bench.take()
    bench.run(90)
    last = {one["connectorId"]: one["meterValue"] for one in bench.of("MeterValues")}
    powers = [measured(last[number], "Power.Active.Import") for number in (1, 2)]
    assert all(19_000 < power <= 20_000 for power in powers)
    bench.model.unplug(2, bench.now)
    bench.take()
    bench.run(60)
    assert measured(bench.of("MeterValues")[-1]["meterValue"], "Power.Active.Import") > 39_000


def test_profiles_that_cannot_be_are_refused() -> None:
    bench = Bench()
    rejected = {"status": "Rejected"}
    tx = limit_of(1, chargingProfilePurpose="TxProfile")
    assert bench.ask("SetChargingProfile", connectorId=1, csChargingProfiles=tx) == rejected
    most = limit_of(1, chargingProfilePurpose="ChargePointMaxProfile")
    assert bench.ask("SetChargingProfile", connectorId=1, csChargingProfiles=most) == rejected
    assert bench.ask("SetChargingProfile", connectorId=8, csChargingProfiles=limit_of(1)) == rejected
    assert bench.ask("SetChargingProfile", connectorId=0, csChargingProfiles=most) == {"status": "Accepted"}


def test_the_composite_schedule() -> None:
    bench = charging()
    steps = [{"startPeriod": 0, "limit": 5000}, {"startPeriod": 120, "limit": 2000}]
    schedule = {"startSchedule": stamp(bench), "chargingRateUnit": "W", "chargingSchedulePeriod": steps}
    profile = limit_of(0, chargingSchedule=schedule)
    bench.ask("SetChargingProfile", connectorId=1, csChargingProfiles=profile)
    answer = bench.ask("GetCompositeSchedule", connectorId=1, duration=600)
    periods = answer["chargingSchedule"]["chargingSchedulePeriod"]
    assert [one["limit"] for one in periods] == [5000, 2000]
    assert periods[1]["startPeriod"] in (119, 120)
    bench.run(180)
    assert measured(bench.of("MeterValues")[-1]["meterValue"], "Power.Active.Import") <= 2000
    amperes = bench.ask("GetCompositeSchedule", connectorId=1, duration=60, chargingRateUnit="A")
    assert amperes["chargingSchedule"]["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 9.1}]
    assert bench.ask("GetCompositeSchedule", connectorId=4, duration=60) == {"status": "Rejected"}


def test_diagnostics_are_uploaded() -> None:
    bench = Bench()
    assert bench.ask("GetDiagnostics", location="ftp://x/y")["fileName"].endswith(".log")
    bench.run(60)
    assert [one["status"] for one in bench.of("DiagnosticsStatusNotification")] == ["Uploading", "Uploaded"]
    log = {"remoteLocation": "https://x/y"}
    assert bench.ask("GetLog", logType="SecurityLog", requestId=3, log=log)["status"] == "Accepted"
    again = bench.ask("GetLog", logType="SecurityLog", requestId=4, log=log)
    assert again["status"] == "AcceptedCanceled"
    bench.run(60)
    told = [(one["requestId"], one["status"]) for one in bench.of("LogStatusNotification")]
    assert told == [(4, "Uploading"), (4, "Uploaded")]


def test_the_firmware_is_updated_when_nobody_charges() -> None:
    bench = charging()
    bench.ask("UpdateFirmware", location="ftp://x/y", retrieveDate=stamp(bench, 60))
    bench.run(300)
    stages = [one["status"] for one in bench.of("FirmwareStatusNotification")]
    assert stages == ["Downloading", "Downloaded"]
    bench.model.stop(1, bench.now)
    bench.take()
    bench.run(60)
    stages = [one["status"] for one in bench.of("FirmwareStatusNotification")]
    assert stages == ["Downloading", "Downloaded", "Installing", "Installed"]
    assert len(bench.reboots) == 1
    assert bench.boot()[1]["firmwareVersion"] != "4.1.50"


def test_the_rest() -> None:
    bench = charging()
    assert bench.ask("ClearCache") == {"status": "Accepted"}
    assert bench.model.tokens.cache == {}
    assert bench.ask("DataTransfer", vendorId="x") == {"status": "UnknownVendorId"}
    with pytest.raises(KeyError):
        bench.ask("InstallCertificate", certificateType="CentralSystemRootCertificate", certificate="x")


def test_setting_the_clock_does_not_tear_a_transaction() -> None:
    bench = charging(sample_interval=60)
    bench.run(120)
    told = bench.model.moment(bench.now)
    bench.model.set_clock(told - timedelta(milliseconds=900), bench.now)
    assert bench.model.moment(bench.now) == told
    bench.model.set_clock(told - timedelta(hours=5), bench.now)
    assert bench.model.moment(bench.now) == told - timedelta(hours=5)
    bench.run(120)
    bench.model.stop(1, bench.now)
    bench.take()
    times = [one["meterValue"][0]["timestamp"] for one in bench.of("MeterValues")]
    assert times == sorted(times)
    assert bench.of("StopTransaction")[0]["timestamp"] >= times[-1]
    assert bench.of("StatusNotification")[-1]["timestamp"] < times[0]


# Determinism


def test_the_same_seed_is_the_same_life() -> None:
    def life(seed: int) -> list[Any]:
        bench = Bench(seed=seed, habits=Habits(pause=120))
        bench.run(6 * 3600)
        assert len(bench.of("StopTransaction")) > 3
        return bench.sent

    assert life(1) == life(1)
    assert life(1) != life(2)


def test_how_often_it_is_looked_at_changes_no_reading() -> None:
    def stop(step: float) -> dict[str, Any]:
        bench = charging(sample_interval=0)
        for _ in range(round(1800 / step)):
            bench.run(step)
        bench.model.stop(1, bench.now)
        bench.take()
        return bench.of("StopTransaction")[0]

    assert stop(1800) == stop(7.5)
