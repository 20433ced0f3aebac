"""NaN and the infinities are refused wherever they stand; JSON has no word for them, and null is another."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from evproto.errors import EncodeError
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallError, CallResult, Codec, UnknownMember
from evproto.payloads import CustomDataType

from .test_extensions import EXTENSION

ACME = v16.codec.extended(EXTENSION)
NUMBERS: list[Any] = [float("nan"), float("inf"), -float("inf"), Decimal("NaN"), Decimal("-Infinity")]


def sampled(module: Any, value: Any) -> Any:
    value = module.messages.SampledValueType(value=value)
    moment = "2026-11-20T10:00:00Z"
    meter = module.messages.MeterValueType(timestamp=moment, sampled_value=(value,))
    return module.messages.MeterValuesRequest(evse_id=1, meter_value=(meter,))


def transfer(module: Any, data: Any) -> Any:
    return module.messages.DataTransferRequest(vendor_id="x", data=data)


PLACES: dict[str, tuple[Any, Any, str]] = {
    # codec, an envelope made of the number, and the path to it
    "a number": (
        v201.codec,
        lambda x: Call(unique_id="1", payload=sampled(v201, x)),
        "meterValue[0].sampledValue[0].value",
    ),
    "data": (v21.codec, lambda x: Call(unique_id="1", payload=transfer(v21, x)), "data"),
    "inside data": (
        v201.codec,
        lambda x: Call(unique_id="1", payload=transfer(v201, {"a": [None, {"b c": x}]})),
        "data.a[1]['b c']",
    ),
    "data of an answer": (
        v10.codec,
        lambda x: CallResult(
            unique_id="1", payload=v10.messages.DataTransferResponse(status="Accepted", data=[x])
        ),
        "data[0]",
    ),
    "customData": (
        v21.codec,
        lambda x: Call(
            unique_id="1",
            payload=v21.messages.HeartbeatRequest(custom_data=CustomDataType(vendorId="v", fan=(1, x))),
        ),
        "customData.fan[1]",
    ),
    "a dict for a payload": (
        v201.codec,
        lambda x: Call(unique_id="1", action="DataTransfer", payload={"vendorId": "x", "data": x}),
        "data",
    ),
    "an unknown member": (
        v16.codec,
        lambda x: Call(
            unique_id="1",
            payload=v16.messages.HeartbeatRequest(),
            unknown=(UnknownMember(steps=(), name="fan", value=x),),
        ),
        "fan",
    ),
    "details of an error": (
        v16.codec,
        lambda x: CallError(unique_id="1", error_code="GenericError", error_details={"a": x}),
        "a",
    ),
    "typed data of a transfer": (
        ACME,
        lambda x: Call(
            unique_id="1",
            payload=v16.messages.DataTransferRequest(vendor_id="com.acme", message_id="fanSpeed"),
            data=ACME.dialect.transfers[0].request.type(rpm=x),
        ),
        "data.rpm",
    ),
}


@pytest.mark.parametrize("mode", ["strict", "lenient", "off"])
@pytest.mark.parametrize("number", NUMBERS, ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_refused_everywhere(place: str, number: Any, mode: Any) -> None:
    codec, make, path = PLACES[place]
    good = codec.encode(make(5), mode=mode)
    assert json.loads(good)
    for _ in range(2):
        with pytest.raises(EncodeError) as caught:
            codec.encode(make(number), mode=mode)
        if type(number) is float:
            assert caught.value.path == path
    assert codec.encode(make(5), mode=mode) == good


def test_the_sentence() -> None:
    with pytest.raises(EncodeError) as caught:
        v201.codec.encode(Call(unique_id="1", payload=transfer(v201, {"a": float("nan")})))
    assert str(caught.value) == "DataTransfer: data.a is nan, which JSON has no word for"
    assert caught.value.code == "RpcFrameworkError"  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_null_and_its_letters_in_anything_are_fine(mode: Any) -> None:
    data = [None, "null", "NaN", {"Infinity": None}]
    call = Call(unique_id="1", payload=transfer(v201, data))
    for _ in range(2):
        assert json.loads(v201.codec.encode(call, mode=mode))[3]["data"] == data


def test_off_sends_any_action() -> None:
    codec = Codec(v16.dialect, mode="off")
    with pytest.raises(EncodeError, match="Brew: cups is nan"):
        codec.encode(Call(unique_id="1", action="Brew", payload={"cups": float("nan")}), mode="off")
