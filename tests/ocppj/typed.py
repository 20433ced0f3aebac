"""What type checkers see; test_typing.py has mypy, and pyright where it is installed, read this."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar, assert_type

from evproto.ocpp import v16, v201
from evproto.ocppj import Call, CallError, CallResult, CallResultError, Codec, Deviation, Envelope, Send
from evproto.payloads import Action, CustomDataType, Request, Response, response_type


def envelopes(data: bytes) -> None:
    envelope = v16.codec.decode(data, pending={"19": "Heartbeat"}, mode="lenient")
    assert_type(envelope, Call[Any] | CallResult[Any] | CallError | CallResultError | Send[Any])
    assert_type(envelope.unique_id, str)
    assert_type(envelope.warnings, tuple[Deviation, ...])
    assert_type(v16.codec.encode(envelope), bytes)
    assert_type(v16.codec, Codec)


def payloads(envelope: Envelope) -> None:
    match envelope:
        case Call(payload=v16.messages.BootNotificationRequest() as boot):
            assert_type(boot.charge_point_vendor, str)
            assert_type(boot.firmware_version, str | None)
        case Call(payload=v16.messages.MeterValuesRequest() as meter):
            assert_type(meter.meter_value, tuple[v16.messages.MeterValue, ...])
            assert_type(meter.meter_value[0].timestamp, datetime)
            assert_type(meter.meter_value[0].sampled_value[0].unit, v16.enums.UnitOfMeasure | None)
        case Call(payload=v201.messages.NotifyReportRequest() as report):
            assert_type(report.report_data, tuple[v201.messages.ReportDataType, ...] | None)
            assert_type(report.custom_data, CustomDataType | None)
        case CallError(error_code=code):
            assert_type(code, str)
        case _:
            pass


def construction() -> None:
    boot = v16.messages.BootNotificationRequest(charge_point_vendor="V", charge_point_model="M")
    assert_type(Call(unique_id="1", payload=boot), Call[v16.messages.BootNotificationRequest])
    curve = v201.messages.SampledValueType(value=12.5)
    assert_type(curve.value, int | float)


R = TypeVar("R", bound=Response)


def answer_to(request: Request[R]) -> R:
    raise NotImplementedError


def pairing() -> None:
    request = v16.messages.ResetRequest(type=v16.enums.ResetType.HARD)
    assert_type(answer_to(request), v16.messages.ResetResponse)
    assert_type(answer_to(v201.messages.HeartbeatRequest()), v201.messages.HeartbeatResponse)
    assert_type(response_type(request), type[v16.messages.ResetResponse])
    assert_type(response_type(v16.messages.ResetRequest), type[v16.messages.ResetResponse])
    assert_type(v16.dialect.action_of(request), Action | None)


def wrong() -> None:
    v16.messages.ResetRequest()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    v16.messages.ResetRequest(type=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
