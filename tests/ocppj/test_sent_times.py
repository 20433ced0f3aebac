"""Date-times as they are sent: the same by the way a codec learns for a class as by the long one."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from typing import Any

import pytest

from evproto.errors import EncodeError
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallResult, Codec
from evproto.payloads import CustomDataType

DIGITS = {"seconds": 0, "milliseconds": 3, "microseconds": 6}
ZONES = (
    dt.UTC,
    zoneinfo.ZoneInfo("UTC"),
    dt.timezone(dt.timedelta(hours=8)),
    dt.timezone(-dt.timedelta(hours=3, minutes=30)),
)
MOMENTS = [
    dt.datetime(year, 12, 31, 23, 59, 59, microsecond, zone)
    for year in (2, 999, 2026, 9998)
    for microsecond in (0, 1, 999, 1000, 120_000, 684_123, 999_999)
    for zone in ZONES
]
PLAIN = dt.datetime(2026, 1, 1, 4, 0, 0, 123_456, dt.UTC)
SAME = "2026-01-01T04:00:00.123456Z"
"""What is no date-time, but reads as that one does before it is cut."""


class OddMoment(dt.datetime):
    """A date-time of another class."""


def reserve_16(moment: Any) -> Any:
    return v16.messages.ReserveNowRequest(
        connector_id=1, expiry_date=moment, id_tag="T", parent_id_tag="P", reservation_id=7
    )


def boot_16(moment: Any) -> Any:
    status = v16.enums.RegistrationStatus.ACCEPTED
    return v16.messages.BootNotificationResponse(current_time=moment, interval=300, status=status)


def status_16(moment: Any) -> Any:
    return v16.messages.StatusNotificationRequest(
        connector_id=1,
        error_code=v16.enums.ChargePointErrorCode.NO_ERROR,
        info=f'"timestamp":"{SAME}"',
        status=v16.enums.ChargePointStatus.AVAILABLE,
        timestamp=moment,
        vendor_id=SAME,
    )


def heartbeat_201(moment: Any) -> Any:
    # In this version the object comes before the time.
    data = CustomDataType(vendorId="acme", currentTime=SAME, inner={"currentTime": SAME})
    return v201.messages.HeartbeatResponse(current_time=moment, custom_data=data)


def security_201(moment: Any) -> Any:
    return v201.messages.SecurityEventNotificationRequest(timestamp=moment, tech_info=SAME, type="Reset")


CASES: dict[str, tuple[Codec, Any, str]] = {
    "1.6 Heartbeat": (
        v16.codec,
        lambda moment: v16.messages.HeartbeatResponse(current_time=moment),
        "currentTime",
    ),
    "ntxcp Heartbeat": (
        v10.codec,
        lambda moment: v10.messages.HeartbeatResponse(current_time=moment),
        "currentTime",
    ),
    "2.1 Heartbeat": (
        v21.codec,
        lambda moment: v21.messages.HeartbeatResponse(current_time=moment),
        "currentTime",
    ),
    "1.6 BootNotification": (v16.codec, boot_16, "currentTime"),
    "1.6 ReserveNow": (v16.codec, reserve_16, "expiryDate"),
    "1.6 StatusNotification": (v16.codec, status_16, "timestamp"),
    "2.0.1 SecurityEventNotification": (v201.codec, security_201, "timestamp"),
    "2.0.1 Heartbeat with the same names in customData": (v201.codec, heartbeat_201, "currentTime"),
}


def spelled(moment: dt.datetime, digits: int) -> str:
    """In UTC, cut and not rounded, without a fraction that is nothing."""
    utc = moment.astimezone(dt.UTC)
    fraction = f"{utc.microsecond:06d}"[:digits]
    return utc.isoformat()[:19] + (f".{fraction}Z" if fraction.strip("0") else "Z")


def frame_of(codec: Codec, payload: Any) -> bytes | str:
    """The frame, or what was raised."""
    make: Any = Call if type(payload).__name__.endswith("Request") else CallResult
    try:
        return codec.encode(make(unique_id="1", payload=payload))
    except EncodeError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("precision", DIGITS)
@pytest.mark.parametrize("case", CASES)
def test_every_moment_is_cut_to_the_precision(case: str, precision: str) -> None:
    original, make, name = CASES[case]
    codec = Codec(original.dialect, time_precision=precision)
    for moment in MOMENTS:
        frames = {frame_of(codec, make(moment)) for _ in range(2)}
        fresh = Codec(original.dialect, time_precision=precision)
        assert frames == {frame_of(fresh, make(moment))}
        sent = json.loads(frames.pop())[-1]
        assert sent.pop(name) == spelled(moment, DIGITS[precision])
        unchanged = json.loads(frame_of(fresh, make(PLAIN.replace(microsecond=0))))[-1]
        unchanged.pop(name)
        assert sent == unchanged


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "odd",
    [
        SAME,
        "2026-01-01 04:00:00Z",
        "2026-01-01T04:00:00+0800",
        "yesterday",
        5,
        None,
        dt.date(2026, 1, 1),
        dt.datetime(2026, 1, 1, 4, 0, 0, 123_456),
        OddMoment(2026, 1, 1, 4, 0, 0, 123_456, dt.UTC),
    ],
    ids=repr,
)
def test_what_is_no_moment_fares_alike_either_way(case: str, odd: Any) -> None:
    original, make, _ = CASES[case]
    codec, fresh = Codec(original.dialect), Codec(original.dialect)
    assert isinstance(frame_of(codec, make(PLAIN)), bytes)
    assert frame_of(codec, make(odd)) == frame_of(fresh, make(odd))
