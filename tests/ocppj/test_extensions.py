"""Actions and data transfers of a vendor's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evproto.errors import SpecError
from evproto.ocpp import v16, v201
from evproto.ocppj import Call, CallResult, InvalidMessageError, PayloadError, UnknownActionError

EXTENSION: dict[str, Any] = {
    "types": {
        "FanMode": {"type": "string", "enum": ["Silent", "Full-Speed"]},
        "Window": {
            "type": "object",
            "properties": {
                "from": {"type": "string", "format": "date-time"},
                "rpm": {"type": "integer", "minimum": 0},
            },
            "required": ["from"],
            "additionalProperties": False,
        },
    },
    "actions": [
        {
            "action": "SetFan",
            "block": "Acme",
            "sentBy": ["csms"],
            "message": "call",
            "request": {
                "type": "object",
                "properties": {
                    "mode": {"$ref": "#/definitions/FanMode"},
                    "windows": {"type": "array", "items": {"$ref": "#/definitions/Window"}, "maxItems": 2},
                    "gain": {"type": "number", "multipleOf": 0.1},
                    "note": {"type": "string", "maxLength": 5},
                },
                "required": ["mode"],
                "additionalProperties": False,
            },
            "response": {"type": "object", "properties": {}, "additionalProperties": False},
        }
    ],
    "dataTransfers": [
        {
            "action": "DataTransfer",
            "vendorId": "com.acme",
            "messageId": "fanSpeed",
            "request": {
                "type": "object",
                "properties": {"rpm": {"type": "integer", "maximum": 9000}},
                "required": ["rpm"],
                "additionalProperties": False,
            },
            "response": {
                "type": "object",
                "properties": {"ok": {"type": "boolean"}},
                "additionalProperties": False,
            },
        }
    ],
}


@pytest.mark.parametrize("module", [v16, v201])
def test_a_custom_action(module: Any, tmp_path: Path) -> None:
    file = tmp_path / "acme.json"
    file.write_text(json.dumps(EXTENSION))
    for codec in (module.codec.extended(EXTENSION), module.codec.extended(file)):
        payload = {"mode": "Full-Speed", "windows": [{"from": "2026-11-20T10:00:00Z", "rpm": 5}], "gain": 0.3}
        for _ in range(2):
            call = codec.decode(json.dumps([2, "1", "SetFan", payload]))
            assert isinstance(call, Call)
            assert call.payload.mode.name == "FULL_SPEED"
            assert call.payload.windows[0].from_.tzinfo is not None
            assert json.loads(codec.encode(call)) == [2, "1", "SetFan", payload]
        assert isinstance(codec.decode('[3,"1",{}]', pending={"1": call}), CallResult)
        made = codec.dialect.actions["SetFan"].request.type(mode="Silent")
        assert codec.encode(Call(unique_id="2", payload=made)) == b'[2,"2","SetFan",{"mode":"Silent"}]'
        assert codec.dialect.actions["SetFan"].block == "Acme"
        # Everything else is as it was.
        assert codec.decode('[2,"1","Heartbeat",{}]').payload == module.messages.HeartbeatRequest()
    with pytest.raises(UnknownActionError):
        module.codec.decode(json.dumps([2, "1", "SetFan", payload]))


@pytest.mark.parametrize(
    ("payload", "keyword", "path"),
    [
        ({}, "required", "mode"),
        ({"mode": "Loud"}, "enum", "mode"),
        ({"mode": "Silent", "note": "x" * 6}, "maxLength", "note"),
        ({"mode": "Silent", "gain": 0.25}, "multipleOf", "gain"),
        ({"mode": "Silent", "windows": [{"from": "now"}]}, "format", "windows[0].from"),
        (
            {"mode": "Silent", "windows": [{"from": "2026-11-20T10:00:00Z", "rpm": -1}]},
            "minimum",
            "windows[0].rpm",
        ),
        ({"mode": "Silent", "windows": [{"from": "2026-11-20T10:00:00Z"}] * 3}, "maxItems", "windows"),
        ({"mode": "Silent", "fan": 1}, "additionalProperties", "fan"),
    ],
)
def test_a_custom_action_is_validated(payload: Any, keyword: str, path: str) -> None:
    codec = v16.codec.extended(EXTENSION)
    with pytest.raises(PayloadError) as caught:
        codec.decode(json.dumps([2, "1", "SetFan", payload]))
    assert (caught.value.deviations[0].keyword, caught.value.path) == (keyword, path)
    with pytest.raises(InvalidMessageError):
        codec.encode(Call(unique_id="1", action="SetFan", payload=payload))


@pytest.mark.parametrize("module", [v16, v201])
def test_a_typed_data_transfer(module: Any) -> None:
    codec = module.codec.extended(EXTENSION)
    # 1.6 has a text there, 2.x anything.
    data: Any = '{"rpm":700}' if module is v16 else {"rpm": 700}
    frame = [2, "1", "DataTransfer", {"vendorId": "com.acme", "messageId": "fanSpeed", "data": data}]
    for _ in range(2):
        call = codec.decode(json.dumps(frame))
        assert isinstance(call, Call)
        assert call.data.rpm == 700
        assert isinstance(call.payload, module.messages.DataTransferRequest)
        assert json.loads(codec.encode(call)) == frame
    answer = json.dumps(
        [3, "1", {"status": "Accepted", "data": '{"ok":true}' if module is v16 else {"ok": True}}]
    )
    result = codec.decode(answer, pending={"1": call})
    assert isinstance(result, CallResult)
    assert result.data.ok is True
    # Without the request itself nothing says whose data it is.
    assert codec.decode(answer, pending={"1": "DataTransfer"}).data is None
    # Sending.
    kind = codec.dialect.transfers[0].request.type
    sent = codec.encode(
        Call(
            unique_id="2",
            payload=module.messages.DataTransferRequest(vendor_id="com.acme", message_id="fanSpeed"),
            data=kind(rpm=9000),
        )
    )
    assert codec.decode(sent).data == kind(rpm=9000)
    with pytest.raises(InvalidMessageError) as invalid:
        codec.encode(Call(unique_id="2", payload=call.payload, data=kind(rpm=9001)))
    assert invalid.value.path == "data.rpm"
    # What is wrong in it.
    for bad, path in (({"rpm": "fast"}, "data.rpm"), ({}, "data.rpm"), ({"rpm": 1, "a": 1}, "data.a")):
        frame[3]["data"] = json.dumps(bad) if module is v16 else bad  # type: ignore[index]
        with pytest.raises(PayloadError) as caught:
            codec.decode(json.dumps(frame))
        assert caught.value.path == path
        assert caught.value.to_call_error() is not None
    lenient = codec.decode(json.dumps(frame), mode="lenient")
    assert [found.path for found in lenient.warnings] == ["data.a"]
    # Other vendors' transfers are left alone.
    frame[3]["vendorId"] = "org.else"  # type: ignore[index]
    assert codec.decode(json.dumps(frame)).data is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"action": [], "colour": 1}, "colour"),
        (
            {"types": {"T": {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}}},
            "pattern",
        ),
        ({"types": {"T": {"type": "object", "properties": {"a": {"oneOf": []}}}}}, "oneOf"),
        ({"types": {}}, "FanMode"),
        ({"actions": [{**EXTENSION["actions"][0], "action": "Reset"}]}, "Reset"),
        ({"dataTransfers": [{"action": "DataTransfer"}]}, "vendorId"),
        ({"dataTransfers": [{"action": "Nope", "vendorId": "x"}]}, "Nope"),
    ],
)
def test_what_is_not_in_the_form_is_refused(change: dict[str, Any], place: str) -> None:
    with pytest.raises(SpecError, match=place):
        v16.codec.extended({**EXTENSION, **change})


@pytest.mark.parametrize("module", [v16, v201])
def test_data_is_typed_also_in_frames_that_are_not_quite_right(module: Any) -> None:
    codec = module.codec.extended(EXTENSION)
    payload = {"vendorId": "com.acme", "messageId": "fanSpeed", "data": '{"rpm":700}', "colour": "red"}
    call = codec.decode(json.dumps([2, "1", "DataTransfer", payload]), mode="lenient")
    assert isinstance(call, Call)
    assert call.data.rpm == 700
    assert [found.path for found in call.warnings] == ["colour"]
    # What came as a text goes as a text.
    assert json.loads(codec.encode(call, mode="lenient"))[3] == payload
    assert codec.decode(json.dumps([2, "1", "DataTransfer", payload]), mode="off").data is None


def test_data_goes_with_the_vendor_it_belongs_to() -> None:
    codec = v16.codec.extended(EXTENSION)
    data = codec.dialect.transfers[0].request.type(rpm=1)
    for vendor, message in (("com.acme", None), ("org.else", "fanSpeed")):
        payload = v16.messages.DataTransferRequest(vendor_id=vendor, message_id=message)
        with pytest.raises(InvalidMessageError, match="data of vendor 'com.acme', message 'fanSpeed'"):
            codec.encode(Call(unique_id="1", payload=payload, data=data))
