"""``evproto validate`` names ten kinds of faults with the right codes, in 1.6 and in 2.0.1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evproto.cli import main

_TIME = "2026-11-20T10:00:00Z"
_METER = '{"connectorId":1,"meterValue":[{"timestamp":"%s","sampledValue":%s}]}'
LOG_16 = [
    '2026-11-20 10:00:01 CP001 -> [2,"1","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]',
    f'2026-11-20 10:00:01 CP001 <- [3,"1",{{"currentTime":"{_TIME}","interval":300,"status":"Maybe"}}] (3 ms)',
    '-> [2,"2","Authorize",{}]',
    '-> [2,"3","Authorize",{"idTag":12}]',
    '-> [2,"4","Authorize",{"idTag":"0123456789012345678901"}]',
    '-> [2,"5","MeterValues",%s]' % (_METER % (_TIME, "[]")),
    '-> [2,"6","MeterValues",%s]' % (_METER % ("yesterday", '[{"value":"1"}]')),
    (
        '<- [2,"7","SetChargingProfile",{"connectorId":1,"csChargingProfiles":{"chargingProfileId":1,"stackLevel":0,'
        '"chargingProfilePurpose":"TxProfile","chargingProfileKind":"Absolute","chargingSchedule":{"chargingRateUnit":'
        '"A","chargingSchedulePeriod":[{"startPeriod":0,"limit":6.25}]}}}]'
    ),
    '-> [2,"8","Heartbeat",{"fan":1}]',
    '-> [2,"9","MakeCoffee",{}]',
    '-> [2,"10","Heartbeat",{"a"',
    "nothing of interest here",
]
WANTED_16 = [
    (2, "PropertyConstraintViolation", "status"),
    (3, "OccurenceConstraintViolation", "idTag"),
    (4, "TypeConstraintViolation", "idTag"),
    (5, "PropertyConstraintViolation", "idTag"),
    (6, "OccurenceConstraintViolation", "meterValue[0].sampledValue"),
    (7, "PropertyConstraintViolation", "meterValue[0].timestamp"),
    (
        8,
        "PropertyConstraintViolation",
        "csChargingProfiles.chargingSchedule.chargingSchedulePeriod[0].limit",
    ),
    (9, "FormationViolation", "fan"),
    (10, "NotImplemented", ""),
    (11, "FormationViolation", ""),
]
_TOKEN = '{"idToken":{"idToken":%s,"type":"Central"}%s}'
_NEEDS = (
    '{"evseId":1,"chargingNeeds":{"requestedEnergyTransfer":"DC","dcChargingParameters":'
    '{"evMaxCurrent":1,"evMaxVoltage":1,"stateOfCharge":101}}}'
)
LOG_201 = [
    '[2,"1","BootNotification",{"reason":"PowerUp","chargingStation":{"model":"M","vendorName":"V"}}]',
    f'[3,"1",{{"currentTime":"{_TIME}","interval":300,"status":"Maybe"}}]',
    '[2,"2","Authorize",{}]',
    '[2,"3","Authorize",%s]' % (_TOKEN % ("12", "")),
    '[2,"4","Authorize",%s]' % (_TOKEN % ('"%s"' % ("x" * 37), "")),
    '[2,"5","GetVariables",{"getVariableData":[]}]',
    '[2,"6","StatusNotification",{"timestamp":"now","connectorStatus":"Available","evseId":1,"connectorId":1}]',
    f'[2,"7","NotifyEVChargingNeeds",{_NEEDS}]',
    '[2,"8","Heartbeat",{"fan":1}]',
    '[2,"9","MakeCoffee",{}]',
    '[2,"10","Heartbeat",{"a"',
    '[7,"11","Heartbeat",{}]',
]
WANTED_201 = [
    (2, "PropertyConstraintViolation", "status"),
    (3, "OccurrenceConstraintViolation", "idToken"),
    (4, "TypeConstraintViolation", "idToken.idToken"),
    (5, "PropertyConstraintViolation", "idToken.idToken"),
    (6, "OccurrenceConstraintViolation", "getVariableData"),
    (7, "PropertyConstraintViolation", "timestamp"),
    (8, "PropertyConstraintViolation", "chargingNeeds.dcChargingParameters.stateOfCharge"),
    (9, "FormatViolation", "fan"),
    (10, "NotImplemented", ""),
    (11, "RpcFrameworkError", ""),
    (12, "MessageTypeNotSupported", ""),
]
CASES = [("ocpp1.6", LOG_16, WANTED_16), ("ocpp2.0.1", LOG_201, WANTED_201)]


@pytest.mark.parametrize(("protocol", "log", "wanted"), CASES, ids=["1.6", "2.0.1"])
def test_all_faults_are_named(
    protocol: str,
    log: list[str],
    wanted: list[tuple[int, str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "session.log"
    file.write_text("\n".join(log) + "\n", encoding="utf-8")
    assert main(["validate", str(file), "--protocol", protocol, "--format", "json"]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["line"], one["code"], one["path"]) for one in told] == wanted
    assert all(one["message"] for one in told)
    assert main(["validate", str(file), "--protocol", protocol]) == 1
    assert f"of {protocol}, {len(wanted)} deviations" in capsys.readouterr().out


def test_the_protocol_is_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "session.log"
    for frames, protocol in (
        (LOG_16, "ocpp1.6"),
        (LOG_201[:1], "ocpp2.0.1"),
        (['[2,"1","GetTariffs",{"evseId":0}]'], "ocpp2.1"),
        (['[2,"1","CaptureProcess",{"serviceId":"1","datapointIds":[]}]'], "ntxcp"),
    ):
        file.write_text("\n".join(frames) + "\n", encoding="utf-8")
        main(["validate", str(file)])
        assert f" of {protocol}, " in capsys.readouterr().out.splitlines()[-1]


def test_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "session.log"
    file.write_text(LOG_201[0] + "\n", encoding="utf-8")
    assert main(["validate", str(file)]) == 0
    assert capsys.readouterr().out == "1 frames of ocpp2.0.1, 0 deviations\n"


def test_secrets_are_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "session.log"
    file.write_text(
        LOG_16[3] + "\n" + '[2,"1","Authorize",{"idTag":{"x":"SECRET"},"idTag":"SECRETSECRETSECRETSECRET"}]'
    )
    main(["validate", str(file), "--protocol", "ocpp1.6", "--redact"])
    shown = capsys.readouterr().out
    assert "12" not in shown.replace("2 frames", "")
    assert "SECRET" not in shown
    assert "idTag breaks type" in shown


def test_no_frames_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "empty.log"
    file.write_text("hello\n")
    assert main(["validate", str(file)]) == 2
    assert "no OCPP-J frame" in capsys.readouterr().err
    assert main(["validate", str(tmp_path / "missing.log")]) == 2
