"""A simulated station of OCPP 2.0.1 and 2.1 on the bench: its transactions, its variables, what it obeys."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from evproto.simulate.ocpp import Habits, make_vehicle
from simulate.station_bench import MORNING, Bench, energy, measured

CARD = bytes(4) + b"\x00\x00\x00\x2a"
TAG = "0000000000002A"
TOKEN = {"idToken": "APP1", "type": "Central"}

versions = pytest.mark.parametrize("version", ["2.0.1", "2.1"])


def car(soc: float = 0.3, leaves_at: float = 1.0) -> Any:
    return make_vehicle(random.Random(3), soc=soc, leaves_at=leaves_at)


def charging(version: str, **options: Any) -> Bench:
    """A station at which somebody charges."""
    bench = Bench(version, **{"dc": False, **options})
    bench.model.plug_in(1, car(), bench.now)
    assert bench.model.ask_to_start(1, CARD, bench.now)
    bench.take()
    bench.run(10)
    assert bench.model.guns[0].is_charging
    return bench


def stamp(bench: Bench, seconds: float = 0.0) -> str:
    at = datetime.fromtimestamp((MORNING + bench.now) / 1000, UTC) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def events(bench: Bench) -> list[tuple[str, str]]:
    return [(one["eventType"], one["triggerReason"]) for one in bench.of("TransactionEvent")]


def profile(limit: float, **more: Any) -> dict[str, Any]:
    return {
        "id": 1, "stackLevel": 0, "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [{
            "id": 1, "startSchedule": "2026-09-01T00:00:00Z", "chargingRateUnit": "W",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        }],
        **more,
    }  # fmt: skip


def variable(component: str, name: str, **more: Any) -> dict[str, Any]:
    return {"component": {"name": component}, "variable": {"name": name}, **more}


# Transactions


@versions
def test_a_visit_from_the_plug_to_the_plug(version: str) -> None:
    bench = charging(version, sample_interval=600)
    bench.run(1500)
    bench.model.stop(1, bench.now)
    bench.take()
    bench.model.unplug(1, bench.now)
    bench.take()
    assert bench.statuses() == ["Available", "Occupied", "Available"]
    assert events(bench) == [
        ("Started", "Authorized"),
        ("Updated", "ChargingStateChanged"),
        ("Updated", "MeterValuePeriodic"),
        ("Updated", "MeterValuePeriodic"),
        ("Ended", "StopAuthorized"),
    ]
    said = bench.of("TransactionEvent")
    assert [one["seqNo"] for one in said] == [0, 1, 2, 3, 4]
    assert len({one["transactionInfo"]["transactionId"] for one in said}) == 1
    assert said[0]["idToken"] == {"idToken": TAG, "type": "ISO14443"}
    assert said[0]["evse"] == {"id": 1, "connectorId": 1}
    assert said[-1]["transactionInfo"]["stoppedReason"] == "Local"
    assert not any(one.get("offline") for one in said)


@versions
def test_the_meter_adds_up(version: str) -> None:
    bench = charging(version, sample_interval=30)
    bench.run(3600)
    bench.model.stop(1, bench.now)
    bench.take()
    said = bench.of("TransactionEvent")
    samples = [one["meterValue"] for one in said if one["triggerReason"] == "MeterValuePeriodic"]
    readings = [energy(one) for one in samples]
    powers = [measured(one, "Power.Active.Import") for one in samples]
    reckoned = sum((one + other) / 2 * 30 / 3600 for one, other in pairwise(powers))
    assert reckoned == pytest.approx(readings[-1] - readings[0], rel=0.005)
    begin, end = energy(said[0]["meterValue"]), energy(said[-1]["meterValue"])
    assert begin <= readings[0] <= readings[-1] <= end
    assert bench.events[1] == ("ended", round((end - begin) * 10))


@versions
def test_whom_the_server_does_not_know_is_stopped(version: str) -> None:
    bench = Bench(version)
    bench.model.plug_in(1, car(), bench.now)
    bench.model.ask_to_start(1, CARD, bench.now)
    answers = iter(["Accepted", "Invalid"])
    bench.accepts = lambda token: next(answers)
    bench.take()
    bench.run(5)
    assert events(bench)[-1] == ("Ended", "Deauthorized")
    assert bench.of("TransactionEvent")[-1]["transactionInfo"]["stoppedReason"] == "DeAuthorized"


@versions
def test_what_happens_offline_says_so(version: str) -> None:
    bench = charging(version)
    bench.disconnect()
    bench.run(300)
    bench.model.unplug(1, bench.now)
    bench.take()
    before = len(bench.of("TransactionEvent"))
    bench.connect()
    said = bench.of("TransactionEvent")
    assert all(one["offline"] for one in said[before:])
    assert [one["seqNo"] for one in said] == list(range(len(said)))
    assert events(bench)[-1] == ("Ended", "EVCommunicationLost")
    assert bench.statuses()[-1] == "Available"


# Commands


@versions
def test_starting_and_stopping_from_afar(version: str) -> None:
    bench = Bench(version)
    start = {"idToken": TOKEN, "remoteStartId": 9, "evseId": 2}
    assert bench.ask("RequestStartTransaction", **start) == {"status": "Accepted"}
    bench.model.plug_in(2, car(), bench.now)
    bench.take()
    (started,) = bench.of("TransactionEvent")
    assert (started["triggerReason"], started["transactionInfo"]["remoteStartId"]) == ("RemoteStart", 9)
    assert bench.ask("RequestStartTransaction", **start) == {"status": "Rejected"}
    uid = started["transactionInfo"]["transactionId"]
    status = bench.ask("GetTransactionStatus", transactionId=uid)
    assert status == {"ongoingIndicator": True, "messagesInQueue": False}
    assert bench.ask("RequestStopTransaction", transactionId=uid) == {"status": "Accepted"}
    assert events(bench)[-1] == ("Ended", "RemoteStop")
    assert bench.ask("RequestStopTransaction", transactionId=uid) == {"status": "Rejected"}
    status = bench.ask("GetTransactionStatus", transactionId=uid)
    assert status == {"ongoingIndicator": False, "messagesInQueue": False}


@versions
def test_resets(version: str) -> None:
    bench = charging(version)
    assert bench.ask("Reset", type="Immediate", evseId=1) == {"status": "Rejected"}
    assert bench.ask("Reset", type="OnIdle") == {"status": "Scheduled"}
    bench.run(60)
    assert bench.reboots == []
    bench.model.stop(1, bench.now)
    bench.take()
    bench.run(5)
    assert len(bench.reboots) == 1
    assert bench.boot()[1]["reason"] == "ScheduledReset"
    bench.connect()
    bench.model.ask_to_start(1, CARD, bench.now)
    bench.take()
    assert bench.ask("Reset", type="Immediate") == {"status": "Accepted"}
    bench.run(5)
    bench.connect()
    assert events(bench)[-1] == ("Ended", "ResetCommand")
    assert bench.of("TransactionEvent")[-1]["transactionInfo"]["stoppedReason"] == "ImmediateReset"
    assert bench.boot()[1]["reason"] == "RemoteReset"


@versions
def test_availability_and_locks(version: str) -> None:
    bench = charging(version)
    closed = {"evse": {"id": 1}, "operationalStatus": "Inoperative"}
    assert bench.ask("ChangeAvailability", **closed) == {"status": "Scheduled"}
    assert bench.ask("UnlockConnector", evseId=1, connectorId=1) == {"status": "OngoingAuthorizedTransaction"}
    bench.model.unplug(1, bench.now)
    bench.take()
    assert bench.statuses()[-1] == "Unavailable"
    assert bench.ask("UnlockConnector", evseId=1, connectorId=1) == {"status": "Unlocked"}
    assert bench.ask("UnlockConnector", evseId=1, connectorId=2) == {"status": "UnknownConnector"}
    assert bench.ask("ChangeAvailability", operationalStatus="Operative") == {"status": "Accepted"}
    assert bench.statuses()[-1] == "Available"
    assert bench.ask("ChangeAvailability", evse={"id": 7}, operationalStatus="Operative") == {
        "status": "Rejected"
    }


@versions
def test_variables_are_read_and_set(version: str) -> None:
    bench = charging(version, sample_interval=60)
    asked = [
        variable("SampledDataCtrlr", "TxUpdatedInterval"),
        variable("sampleddatactrlr", "txupdatedinterval"),  # names are not case sensitive
        variable("Nothing", "X"),
        variable("TxCtrlr", "X"),
        variable("TxCtrlr", "EVConnectionTimeOut", attributeType="MaxSet"),
    ]
    answer = bench.ask("GetVariables", getVariableData=asked)["getVariableResult"]
    assert [(one["attributeStatus"], one.get("attributeValue")) for one in answer] == [
        ("Accepted", "60"),
        ("Accepted", "60"),
        ("UnknownComponent", None),
        ("UnknownVariable", None),
        ("NotSupportedAttributeType", None),
    ]
    wanted = [
        variable("SampledDataCtrlr", "TxUpdatedInterval", attributeValue="5"),
        variable("SampledDataCtrlr", "TxUpdatedMeasurands", attributeValue="Voltage"),
        variable("OCPPCommCtrlr", "HeartbeatInterval", attributeValue="33"),
        variable("TxCtrlr", "TxStartPoint", attributeValue="EVConnected"),
        variable("TxCtrlr", "EVConnectionTimeOut", attributeValue="soon"),
        variable("Nothing", "X", attributeValue="1"),
    ]
    answer = bench.ask("SetVariables", setVariableData=wanted)["setVariableResult"]
    assert [one["attributeStatus"] for one in answer] == [
        "Accepted", "Accepted", "Accepted", "Rejected", "Rejected", "UnknownComponent",
    ]  # fmt: skip
    assert bench.beats == [33]
    before = len(bench.of("TransactionEvent"))
    bench.run(60)
    samples = bench.of("TransactionEvent")[before:]
    assert len(samples) == 12
    assert {one["measurand"] for one in samples[0]["meterValue"][0]["sampledValue"]} == {"Voltage"}


@versions
def test_reports(version: str) -> None:
    bench = Bench(version, connectors=2)
    for number, base in enumerate(("FullInventory", "ConfigurationInventory", "SummaryInventory")):
        answer = bench.ask("GetBaseReport", requestId=number, reportBase=base)
        assert answer == {"status": "Accepted"}
    reports = bench.of("NotifyReport")
    sizes = []
    for number in range(3):
        parts = [one for one in reports if one["requestId"] == number]
        assert [one["seqNo"] for one in parts] == list(range(len(parts)))
        assert [one.get("tbc", False) for one in parts] == [True] * (len(parts) - 1) + [False]
        data = [entry for part in parts for entry in part["reportData"]]
        keys = [
            (str(entry["component"]), entry["variable"]["name"], entry["variable"].get("instance"))
            for entry in data
        ]
        assert len(set(keys)) == len(keys)
        sizes.append(len(data))
    assert sizes[0] > sizes[1] > 0
    assert sizes[0] > sizes[2] == 10  # the station, two EVSEs, two connectors: state and problem
    settable = [part for part in reports if part["requestId"] == 1]
    assert {
        entry["variableAttribute"][0]["mutability"] for part in settable for entry in part["reportData"]
    } == {"ReadWrite"}


@versions
def test_reports_of_what_is_asked_for(version: str) -> None:
    bench = Bench(version)
    wanted = [variable("TxCtrlr", "StopTxOnInvalidId"), {"component": {"name": "EVSE", "evse": {"id": 1}}}]
    assert bench.ask("GetReport", requestId=1, componentVariable=wanted) == {"status": "Accepted"}
    data = [entry for part in bench.of("NotifyReport") for entry in part["reportData"]]
    assert {entry["component"]["name"] for entry in data} == {"TxCtrlr", "EVSE"}
    assert bench.ask("GetReport", requestId=2, componentCriteria=["Problem"]) == {"status": "EmptyResultSet"}
    bench.model.break_down(1, "GroundFailure", bench.now)
    bench.take()
    assert bench.statuses()[-1] == "Faulted"
    assert bench.ask("GetReport", requestId=3, componentCriteria=["Problem"]) == {"status": "Accepted"}
    nothing = [{"component": {"name": "Nothing"}}]
    assert bench.ask("GetReport", requestId=4, componentVariable=nothing) == {"status": "EmptyResultSet"}


@versions
@pytest.mark.parametrize(
    "wanted", ["Heartbeat", "StatusNotification", "MeterValues", "TransactionEvent",
               "FirmwareStatusNotification", "LogStatusNotification"],
)  # fmt: skip
def test_triggers(version: str, wanted: str) -> None:
    bench = charging(version)
    before = len(bench.of(wanted))
    trigger = {"requestedMessage": wanted, "evse": {"id": 1}}
    assert bench.ask("TriggerMessage", **trigger) == {"status": "Accepted"}
    assert len(bench.of(wanted)) == before + 1
    assert bench.ask("TriggerMessage", **{**trigger, "evse": {"id": 9}}) == {"status": "Rejected"}


@versions
def test_triggers_that_cannot_be(version: str) -> None:
    bench = Bench(version)
    assert bench.ask("TriggerMessage", requestedMessage="TransactionEvent") == {"status": "Rejected"}
    wanted = "SignChargingStationCertificate"
    assert bench.ask("TriggerMessage", requestedMessage=wanted) == {"status": "NotImplemented"}


@versions
def test_reservations(version: str) -> None:
    bench = Bench(version)
    order = {"id": 5, "expiryDateTime": stamp(bench, 600), "idToken": TOKEN, "evseId": 1}
    assert bench.ask("ReserveNow", **order) == {"status": "Accepted"}
    assert bench.statuses()[-1] == "Reserved"
    other = {"idToken": {"idToken": "HER", "type": "Central"}, "remoteStartId": 1, "evseId": 1}
    assert bench.ask("RequestStartTransaction", **other) == {"status": "Rejected"}
    bench.run(601)
    assert bench.of("ReservationStatusUpdate") == [{"reservationId": 5, "reservationUpdateStatus": "Expired"}]
    assert bench.statuses()[-1] == "Available"
    bench.ask("ReserveNow", **{**order, "expiryDateTime": stamp(bench, 60)})
    assert bench.ask("CancelReservation", reservationId=5) == {"status": "Accepted"}
    assert bench.ask("CancelReservation", reservationId=5) == {"status": "Rejected"}
    del order["evseId"]
    assert bench.ask("ReserveNow", **order) == {"status": "Rejected"}


@versions
def test_charging_profiles(version: str) -> None:
    bench = charging(version, sample_interval=10)
    bench.run(60)
    assert bench.ask("SetChargingProfile", evseId=1, chargingProfile=profile(3000)) == {"status": "Accepted"}
    bench.run(30)
    last = bench.of("TransactionEvent")[-1]["meterValue"]
    assert 2900 < measured(last, "Power.Active.Import") <= 3000
    bench.ask("SetChargingProfile", evseId=1, chargingProfile=profile(0))
    bench.run(30)
    states = [one["transactionInfo"].get("chargingState") for one in bench.of("TransactionEvent")]
    assert states[-1] == "SuspendedEVSE"
    everything = {"requestId": 7, "chargingProfile": {}}
    assert bench.ask("GetChargingProfiles", **everything) == {"status": "Accepted"}
    (report,) = bench.of("ReportChargingProfiles")
    assert (report["requestId"], report["evseId"]) == (7, 1)
    assert report["chargingProfile"][0]["chargingSchedule"][0]["chargingSchedulePeriod"][0]["limit"] == 0
    criteria = {"chargingProfilePurpose": "TxDefaultProfile", "evseId": 1}
    cleared = bench.ask("ClearChargingProfile", chargingProfileCriteria=criteria)
    assert cleared == {"status": "Accepted"}
    assert bench.ask("GetChargingProfiles", **everything) == {"status": "NoProfiles"}
    bench.run(60)
    last = bench.of("TransactionEvent")[-1]["meterValue"]
    assert measured(last, "Power.Active.Import") > 3000


@versions
def test_a_profile_for_a_transaction(version: str) -> None:
    bench = charging(version, sample_interval=10)
    uid = bench.of("TransactionEvent")[0]["transactionInfo"]["transactionId"]
    mine = profile(2000, chargingProfilePurpose="TxProfile", transactionId=uid)
    stranger = {**mine, "transactionId": "somebody else's"}
    assert bench.ask("SetChargingProfile", evseId=1, chargingProfile=stranger) == {"status": "Rejected"}
    assert bench.ask("SetChargingProfile", evseId=1, chargingProfile=mine) == {"status": "Accepted"}
    composite = bench.ask("GetCompositeSchedule", evseId=1, duration=60)["schedule"]
    assert composite["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 2000}]
    bench.model.unplug(1, bench.now)
    bench.take()
    assert len(bench.model.profiles) == 0
    composite = bench.ask("GetCompositeSchedule", evseId=1, duration=60)["schedule"]
    assert composite["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 7040}]


@versions
def test_firmware_and_logs(version: str) -> None:
    bench = Bench(version)
    log = {"remoteLocation": "https://x/y"}
    assert bench.ask("GetLog", log=log, logType="SecurityLog", requestId=3)["status"] == "Accepted"
    firmware = {"location": "https://x/y", "retrieveDateTime": stamp(bench, 60)}
    answer = bench.ask("UpdateFirmware", requestId=4, firmware=firmware)
    assert answer == {"status": "Accepted"}
    bench.run(600)
    logs = [(one["requestId"], one["status"]) for one in bench.of("LogStatusNotification")]
    assert logs == [(3, "Uploading"), (3, "Uploaded")]
    stages = [one["status"] for one in bench.of("FirmwareStatusNotification") if one["requestId"] == 4]
    assert stages == [
        "DownloadScheduled", "Downloading", "Downloaded", "SignatureVerified", "Installing", "Installed",
    ]  # fmt: skip
    assert bench.boot()[1]["reason"] == "FirmwareUpdate"


@versions
def test_the_rest(version: str) -> None:
    bench = charging(version)
    assert bench.ask("ClearCache") == {"status": "Accepted"}
    entries = [{"idToken": TOKEN, "idTokenInfo": {"status": "Accepted"}}]
    sent = bench.ask("SendLocalList", versionNumber=3, updateType="Full", localAuthorizationList=entries)
    assert sent == {"status": "Accepted"}
    assert bench.ask("GetLocalListVersion") == {"versionNumber": 3}
    assert bench.ask("DataTransfer", vendorId="x") == {"status": "UnknownVendorId"}
    assert bench.ask("CostUpdated", totalCost=3.5, transactionId="x") == {}
    with pytest.raises(KeyError):
        bench.ask("GetDisplayMessages", requestId=1)


@versions
def test_the_same_seed_is_the_same_life(version: str) -> None:
    def life(seed: int) -> list[Any]:
        bench = Bench(version, seed=seed, habits=Habits(pause=120), sample_interval=600)
        bench.run(4 * 3600)
        assert ("Ended", "StopAuthorized") in events(bench)
        return bench.sent

    assert life(1) == life(1)
    assert life(1) != life(2)
