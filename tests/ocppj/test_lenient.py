"""Lenient and off: what is kept, what is told, what a policy decides, what survives the way back."""

from __future__ import annotations

import copy
import datetime as dt
import json
import pickle
from typing import Any

import msgspec
import pytest

from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallResult, Codec, Deviation, InvalidMessageError, PayloadError, Repair
from evproto.ocppj.formats import is_date_time, is_uri, parse_date_time, spell_date_time
from evproto.payloads import CustomDataType

LENIENT = Codec(v16.dialect, mode="lenient")
_STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}


def call(action: str, payload: Any) -> bytes:
    return json.dumps([2, "19", action, payload]).encode()


def test_lenient_keeps_and_tells() -> None:
    frame = call(
        "StatusNotification",
        {
            **_STATUS,
            "status": "Occupied",
            "info": "x" * 60,
            "timestamp": "2026-11-20 10:00",
            "fan": {"rpm": 7},
        },
    )
    envelope = LENIENT.decode(frame)
    assert isinstance(envelope, Call)
    assert envelope.payload.status == "Occupied"
    assert isinstance(envelope.payload.status, v16.enums.ChargePointStatus)
    assert envelope.payload.info == "x" * 60
    assert envelope.payload.timestamp == dt.datetime(2026, 11, 20, 10, 0, tzinfo=dt.UTC)
    assert [(found.keyword, found.path) for found in envelope.warnings] == [
        ("maxLength", "info"),
        ("enum", "status"),
        ("format", "timestamp"),
        ("additionalProperties", "fan"),
    ]
    assert "no time zone" in envelope.warnings[2].message
    sent = json.loads(LENIENT.encode(envelope, mode="lenient"))
    assert sent[3].pop("timestamp") == "2026-11-20T10:00:00Z"
    assert list(sent[3]) == ["connectorId", "errorCode", "info", "status", "fan"]
    assert sent[3]["fan"] == {"rpm": 7}
    with pytest.raises(InvalidMessageError):
        LENIENT.encode(envelope)
    assert pickle.loads(pickle.dumps(envelope)) == envelope
    assert copy.deepcopy(envelope) == envelope


@pytest.mark.parametrize("payload", [{}, {"idTag": 7}, {"idTag": None}, [], None])
def test_lenient_refuses_what_no_typed_message_can_hold(payload: Any) -> None:
    with pytest.raises(PayloadError):
        LENIENT.decode(call("Authorize", payload))


def test_null_for_an_optional_member_is_absence_and_told() -> None:
    envelope = LENIENT.decode(call("StatusNotification", {**_STATUS, "info": None}))
    assert isinstance(envelope, Call)
    assert envelope.payload.info is None
    assert [found.keyword for found in envelope.warnings] == ["type"]
    assert b"null" not in LENIENT.encode(envelope)


def test_unknown_members_survive_at_every_depth() -> None:
    payload = {
        "reason": "PowerUp",
        "zebra": [1, {"a": None}],
        "chargingStation": {"model": "M", "vendorName": "V", "colour": "red", "age": 12.345},
        "ant": "first letter, last place",
    }
    codec = Codec(v201.dialect, mode="lenient")
    envelope = codec.decode(call("BootNotification", payload))
    sent = json.loads(codec.encode(envelope))[3]
    assert sent == payload
    assert list(sent) == ["chargingStation", "reason", "zebra", "ant"]
    assert list(sent["chargingStation"]) == ["model", "vendorName", "colour", "age"]


def test_custom_data_is_kept_to_the_letter() -> None:
    custom = {"vendorId": "com.acme", "snake_key": 1, "camelKey": [True, None, 1.5], "soC": {"L1-N": "x"}}
    frame = call("Heartbeat", {"customData": custom})
    for module in (v201, v21):
        envelope = module.codec.decode(frame)
        assert not envelope.warnings
        data = envelope.payload.custom_data
        assert isinstance(data, CustomDataType)
        assert (data.vendor_id, data["snake_key"], dict(data)) == ("com.acme", 1, custom)
        assert json.loads(module.codec.encode(envelope))[3] == {"customData": custom}
        assert pickle.loads(pickle.dumps(envelope)) == envelope
        with pytest.raises(PayloadError):
            module.codec.decode(call("Heartbeat", {"customData": {"fan": 1}}))


def test_a_policy_decides_by_action_and_field() -> None:
    seen: list[tuple[str, str, str]] = []

    def policy(found: Deviation) -> Any:
        seen.append((found.action, found.path, found.keyword))
        if found.path == "connectorId" and found.keyword == "type":
            return Repair(int(found.value))
        if found.path == "errorCode" and found.keyword == "required":
            return Repair("NoError")
        if found.path == "info":
            return Repair()
        if found.path == "vendorId":
            return "refuse"
        return None

    frame = call("StatusNotification", {"connectorId": "1", "status": "Available", "info": "x" * 51})
    for mode in ("strict", "lenient"):
        codec = Codec(v16.dialect, mode=mode, policy=policy)  # type: ignore[arg-type]
        envelope = codec.decode(frame)
        assert isinstance(envelope, Call)
        assert envelope.payload == v16.messages.StatusNotificationRequest(
            connector_id=1, error_code=v16.enums.ChargePointErrorCode.NO_ERROR, status="Available"
        )
        assert len(envelope.warnings) == 3
    assert seen[0] == ("StatusNotification", "connectorId", "type")
    with pytest.raises(PayloadError) as caught:
        Codec(v16.dialect, mode="lenient", policy=policy).decode(
            call("StatusNotification", {**_STATUS, "vendorId": "x" * 256})
        )
    assert caught.value.path == "vendorId"
    with pytest.raises(PayloadError):
        Codec(v16.dialect, policy=lambda found: None).decode(call("StatusNotification", {**_STATUS, "a": 1}))


def test_a_missing_member_accepted_stays_unset_and_unsent() -> None:
    codec = Codec(v16.dialect, mode="lenient", policy=lambda found: "accept")
    envelope = codec.decode(call("Authorize", {}))
    assert isinstance(envelope, Call)
    assert envelope.payload.id_tag is msgspec.UNSET
    assert codec.encode(envelope, mode="lenient") == b'[2,"19","Authorize",{}]'


def test_off_gives_dicts() -> None:
    codec = Codec(v16.dialect, mode="off")
    frame = call("MakeCoffee", {"strength": 12.345, "soC": None})
    envelope = codec.decode(frame)
    assert isinstance(envelope, Call)
    assert (envelope.action, envelope.payload) == ("MakeCoffee", {"strength": 12.345, "soC": None})
    assert json.loads(codec.encode(envelope, mode="off")) == json.loads(frame)
    answer = codec.decode(b'[3,"19",{"a":1}]')
    assert isinstance(answer, CallResult)
    assert answer.payload == {"a": 1}


@pytest.mark.parametrize(
    "text", ["12.345", "0.1", "100", "1e2", "-0.001", "123456789012345", "0.123456789012345"]
)
def test_numbers_keep_their_value(text: str) -> None:
    frame = (
        f'[2,"19","MeterValues",{{"evseId":1,"meterValue":[{{"sampledValue":[{{"value":{text}}}],'
        '"timestamp":"2026-11-20T10:00:00Z"}]}]'
    )
    envelope = v201.codec.decode(frame)
    value = envelope.payload.meter_value[0].sampled_value[0].value
    assert isinstance(value, int) == text.lstrip("-").isdigit()
    sent = v201.codec.encode(envelope).decode()
    assert float(json.loads(sent)[3]["meterValue"][0]["sampledValue"][0]["value"]) == float(text)
    if "e" not in text:
        assert f'"value":{text}' in sent


def test_dates_are_sent_in_utc_with_milliseconds() -> None:
    beijing = dt.timezone(dt.timedelta(hours=8))
    moment = dt.datetime(2026, 1, 1, 4, 0, 0, 123999, tzinfo=beijing)
    answer = CallResult(unique_id="1", payload=v16.messages.HeartbeatResponse(current_time=moment))
    for precision, text in (
        ("seconds", "2025-12-31T20:00:00Z"),
        ("milliseconds", "2025-12-31T20:00:00.123Z"),
        ("microseconds", "2025-12-31T20:00:00.123999Z"),
    ):
        codec = Codec(v16.dialect, time_precision=precision)
        for _ in range(2):
            assert json.loads(codec.encode(answer)) == [3, "1", {"currentTime": text}]
    with pytest.raises(InvalidMessageError):
        v16.codec.encode(
            CallResult(
                unique_id="1", payload=v16.messages.HeartbeatResponse(current_time=dt.datetime(2026, 1, 1))
            )
        )


def test_a_text_that_reads_like_a_time_stays() -> None:
    moment = dt.datetime(2026, 1, 1, 4, 0, 0, 123456, tzinfo=dt.UTC)
    text = "2026-01-01T04:00:00.123456Z"
    status = v16.messages.StatusNotificationRequest(
        connector_id=1,
        error_code=v16.enums.ChargePointErrorCode.NO_ERROR,
        status=v16.enums.ChargePointStatus.AVAILABLE,
        info=text,
        timestamp=moment,
    )
    for _ in range(2):
        sent = json.loads(v16.codec.encode(Call(unique_id="1", payload=status)))[3]
        assert (sent["info"], sent["timestamp"]) == (text, "2026-01-01T04:00:00.123Z")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-20 10:00:00Z", "2026-11-20T10:00:00+00:00"),
        ("2026-11-20T10:00:00+0800", "2026-11-20T02:00:00+00:00"),
        ("2026-11-20T10:00:00+08", "2026-11-20T02:00:00+00:00"),
        ("2026-11-20T10:00:00", "2026-11-20T10:00:00+00:00"),
        ("2026-11-20T10:00Z", "2026-11-20T10:00:00+00:00"),
        ("2026-11-20T10:00:00,5Z", "2026-11-20T10:00:00.500000+00:00"),
        ("2026-1-2T3:04:05Z", "2026-01-02T03:04:05+00:00"),
        ("2026-11-20T23:59:60Z", "2026-11-21T00:00:00+00:00"),
        (" 2026-11-20T10:00:00.123456789 UTC ", "2026-11-20T10:00:00.123456+00:00"),
    ],
)
def test_date_times_that_chargers_send(text: str, instant: str) -> None:
    assert not is_date_time(text)
    parsed = parse_date_time(text)
    assert parsed is not None
    assert parsed[0] == dt.datetime.fromisoformat(instant)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-20", "10:00:00Z", "1700000000"]
)
def test_what_is_no_date_time(text: str) -> None:
    assert parse_date_time(text) is None


def test_the_first_and_the_last_moment() -> None:
    assert spell_date_time(dt.datetime(1, 1, 1, tzinfo=dt.UTC), 3) == "0001-01-01T00:00:00Z"
    first = dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=10)))
    assert spell_date_time(first, 3) == "0001-01-01T00:00:00+10:00"


def test_uris_as_the_format_checker_of_the_oracle_sees_them() -> None:
    from rfc3986_validator import validate_rfc3986

    pieces = [
        "http:",
        "//",
        "a@",
        "[::1]",
        "[1::g]",
        "[v1.x]",
        "exa mple",
        "host",
        ":80",
        ":x",
        "/p",
        "//",
        "?q=1",
        "#f",
        "#",
        "%41",
        "%4",
        "é",
        "a",
        "",
    ]
    state = 12345
    for _ in range(4000):
        text = ""
        for _ in range(1 + state % 5):
            state = (state * 1103515245 + 12345) % (1 << 31)
            text += pieces[(state >> 8) % len(pieces)]
        assert is_uri(text) == bool(validate_rfc3986(text, rule="URI")), text


def test_ntxcp_is_tolerant() -> None:
    envelope = v10.codec.decode(
        call(
            "MeterValues",
            {
                "connectorId": 3,
                "meterValues": [
                    {"timestamp": "2026-11-20T10:00:00Z", "sampledValue": [{"value": "1", "unit": "Parsec"}]}
                ],
            },
        )
    )
    assert isinstance(envelope, Call)
    assert envelope.payload.service_id == 3
    assert envelope.payload.meter_value[0].sampled_value[0].unit == "Parsec"
    assert [found.keyword for found in envelope.warnings] == ["alias", "alias", "enum"]
    sent = json.loads(v10.codec.encode(envelope, mode="lenient"))[3]
    assert list(sent) == ["serviceId", "meterValue"]
    loose = v10.codec.decode(call("ProcessValues", {"serviceId": "1", "whatever": [1, 2]}))
    assert json.loads(v10.codec.encode(loose))[3] == {"serviceId": "1", "whatever": [1, 2]}
