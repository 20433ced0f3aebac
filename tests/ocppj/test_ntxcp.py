"""ntxcp: what its documentation leaves open, taken in any of its readings, and sent in the one that is wanted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evproto.ntxcp import v10
from evproto.ocppj import (
    Call,
    CallResult,
    Codec,
    InvalidMessageError,
    PayloadError,
    UnexpectedResponseError,
    UnknownActionError,
)
from evproto.payloads import Sender

m = v10.messages
STRICT = Codec(v10.dialect, mode="strict")
_VALUES: list[Any] = [{"timestamp": "2026-11-20T10:00:00Z", "sampledValue": [{"value": "1"}]}]
REQUESTS: dict[str, dict[str, Any]] = {
    "MeterValues": {"meterValue": _VALUES},
    "StatusNotification": {"errorCode": "NoError", "status": "Available"},
    "CaptureProcess": {"datapointIds": ["a", "b"]},
    "TriggerMessage": {"requestedMessage": "MeterValues"},
}


def frame(action: str, payload: Any) -> bytes:
    return json.dumps([2, "19", action, payload]).encode()


def taken(action: str, payload: Any, codec: Codec = v10.codec) -> Call[Any]:
    call = codec.decode(frame(action, payload))
    assert isinstance(call, Call)
    return call


def sent(call: Any, codec: Codec = v10.codec, mode: Any = None) -> Any:
    return json.loads(codec.encode(call, mode))[-1]


@pytest.mark.parametrize("action", REQUESTS)
@pytest.mark.parametrize("service", [3, 0, "3", "0", "007", "-1", "3.0", "pump", ""])
def test_service_id_is_taken_in_either_form_and_sent_in_the_documented_one(action: str, service: Any) -> None:
    for codec in (v10.codec, STRICT):
        call = taken(action, {"serviceId": service, **REQUESTS[action]}, codec)
        assert not call.warnings
        assert call.payload.service_id == service
        wanted: Any = str(service)
        if action == "MeterValues" and wanted in ("3", "0", "-1"):
            wanted = int(wanted)
        for mode in ("strict", "strict", "lenient"):
            assert sent(call, codec, mode)["serviceId"] == wanted
        # Whose it is can be told from either.
        assert str(taken(action, sent(call)).payload.service_id) == str(service)


ALIASES = [
    ("BootNotification", "dingxGatewayModel", "chargePointModel", {}, "M"),
    ("BootNotification", "dingxGatewayModel", "model", {}, "M"),
    ("StatusNotification", "serviceId", "connectorId", REQUESTS["StatusNotification"], "3"),
    ("MeterValues", "serviceId", "connectorId", REQUESTS["MeterValues"], 3),
    ("TriggerMessage", "serviceId", "connectorId", REQUESTS["TriggerMessage"], "3"),
    ("CaptureProcess", "serviceId", "connectorId", REQUESTS["CaptureProcess"], "3"),
    ("ProcessValues", "serviceId", "connectorId", {}, "3"),
    ("MeterValues", "meterValue", "meterValues", {"serviceId": 3}, _VALUES),
    ("GetConfiguration", "key", "keys", {}, ["a"]),
    ("CaptureProcess", "datapointIds", "dataPointIds", {"serviceId": "3"}, ["a"]),
]


@pytest.mark.parametrize(("action", "name", "alias", "others", "value"), ALIASES)
def test_other_names_are_taken_and_sent_where_wanted(
    action: str, name: str, alias: str, others: Any, value: Any
) -> None:
    right = taken(action, {**others, name: value})
    assert not right.warnings
    other = taken(action, {**others, alias: value})
    assert other.payload == right.payload
    assert [(found.keyword, found.path, found.limit) for found in other.warnings] == [("alias", alias, name)]
    with pytest.raises(PayloadError):
        STRICT.decode(frame(action, {**others, alias: value}))
    # Of both, the right one counts, and the other is kept beside it.
    both = taken(action, {**others, alias: value, name: value})
    assert both.payload == right.payload
    assert [found.keyword for found in both.warnings] == ["additionalProperties"]
    assert sent(both, mode="lenient")[alias] == value
    # The first name is sent, unless the peer wants another.
    assert sent(right)[name] == value
    for mode in ("lenient", "strict"):
        spelled = Codec(v10.dialect.spelled({name: alias}), mode=mode)
        for _ in range(2):
            assert sent(right, spelled) == {**others, alias: value}
        assert taken(action, sent(right, spelled), spelled) == right
        assert taken(action, {**others, name: value}, spelled) == right


def test_only_known_names_can_be_wanted() -> None:
    for names in ({"serviceId": "service"}, {"nothing": "else"}):
        with pytest.raises(ValueError, match="known as"):
            v10.dialect.spelled(names)
    twice = v10.dialect.spelled({"serviceId": "connectorId"}).spelled({"key": "keys"})
    assert dict(twice.names) == {"serviceId": "connectorId", "key": "keys"}
    assert v10.dialect.names == {}


def test_values_outside_of_lists_and_limits_are_warned_of_and_kept() -> None:
    payload = {"serviceId": "1", "errorCode": "Broken", "status": "Occupied", "info": "x" * 51}
    call = taken("StatusNotification", payload)
    assert [found.keyword for found in call.warnings] == ["enum", "maxLength", "enum"]
    assert sent(call, mode="lenient") == payload


def test_meter_values_and_process_values_are_both_there_and_untouched() -> None:
    for action in ("MeterValues", "ProcessValues"):
        assert v10.actions[action].sent_by == (Sender.STATION,)
        assert v10.actions[action].response is not None
    for payload in (
        {},
        {"serviceId": 7, "values": [{"datapointId": "a", "value": 12.345}], "parameters": {"key": None}},
        {"serviceId": {"odd": True}, "processId": 4, "values": "text", "somethingElse": [None, {"a": 1}]},
    ):
        assert sent(taken("ProcessValues", payload), mode="lenient") == payload


def test_actions_nobody_has_heard_of_reach_the_application() -> None:
    payload = {"a": [1, None], "serviceId": 3}
    call = taken("Levitate", payload)
    assert (call.action, call.payload) == ("Levitate", payload)
    assert [(found.keyword, found.code) for found in call.warnings] == [("action", "NotImplemented")]
    assert json.loads(v10.codec.encode(call)) == [2, "19", "Levitate", payload]
    answer = CallResult(unique_id="19", action="Levitate", payload={"height": 2.5})
    data = v10.codec.encode(answer)
    assert json.loads(data) == [3, "19", {"height": 2.5}]
    for pending in ({"19": "Levitate"}, {"19": call}):
        back = v10.codec.decode(data, pending)
        assert isinstance(back, CallResult)
        assert (back.action, back.payload) == ("Levitate", {"height": 2.5})
    # An answer to nothing stays one; and a payload is an object.
    with pytest.raises(UnexpectedResponseError):
        v10.codec.decode(data)
    with pytest.raises(PayloadError):
        v10.codec.decode(frame("Levitate", []))
    # Strictly, it is answered with NotImplemented.
    with pytest.raises(UnknownActionError) as caught:
        STRICT.decode(frame("Levitate", payload))
    error = caught.value.to_call_error()
    assert error is not None
    assert error.error_code == "NotImplemented"
    for strict in (call, answer):
        with pytest.raises(InvalidMessageError):
            STRICT.encode(strict)
