"""Everything wrong with a frame, all at once."""

from __future__ import annotations

from evproto.ocpp import v16, v201


def told(module: object, frame: str) -> list[tuple[str, str, str]]:
    codec = module.codec  # type: ignore[attr-defined]
    return [(found.keyword, found.code, found.path) for found in codec.check(frame, {"1": "Heartbeat"})]


def test_nothing() -> None:
    assert told(v16, '[2,"1","Heartbeat",{}]') == []


def test_all_at_once() -> None:
    frame = (
        '[2,"1","StatusNotification",{"connectorId":"1","status":"Busy","timestamp":"now","fan":1,'
        '"info":"x","info":"%s"}]'
    )
    assert told(v16, frame % ("y" * 51)) == [
        ("type", "TypeConstraintViolation", "connectorId"),
        ("required", "OccurenceConstraintViolation", "errorCode"),
        ("enum", "PropertyConstraintViolation", "status"),
        ("format", "PropertyConstraintViolation", "timestamp"),
        ("maxLength", "PropertyConstraintViolation", "info"),
        ("additionalProperties", "FormationViolation", "fan"),
        ("duplicate", "FormationViolation", "info"),
    ]


def test_members_given_twice_in_a_valid_frame() -> None:
    frame = (
        '[2,"1","BootNotification",{"reason":"PowerUp","chargingStation":'
        '{"model":"a","model":"b","vendorName":"c"}}]'
    )
    assert told(v201, frame) == [("duplicate", "FormatViolation", "chargingStation.model")]


def test_frames() -> None:
    assert told(v201, "[2") == [("json", "RpcFrameworkError", "")]
    assert told(v201, '[3,"1",{}]') == [("required", "OccurrenceConstraintViolation", "currentTime")]
    assert told(v16, '[2,"1","MakeCoffee",{}]') == [("action", "NotImplemented", "")]
    assert told(v16, '[4,"1","FormatViolation","",{}]') == [("errorCode", "GenericError", "")]
