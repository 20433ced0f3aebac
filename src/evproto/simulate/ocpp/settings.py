"""What a simulated station is. Nothing here depends on a version of OCPP."""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec

from evproto.simulate.charging import Clock

__all__ = ["StationSettings", "Token", "moment"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moment(clock: Clock, now: int) -> dt.datetime:
    """A moment on a station's clock, which shows UTC."""
    return _EPOCH + dt.timedelta(milliseconds=clock.local(now))


class StationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a station is. Powers in W, voltages and currents in 0.1 V and 0.1 A, for each connector."""

    identity: str
    version: str = "1.6"
    """1.6, 2.0.1 or 2.1."""
    is_dc: bool = True
    connectors: int = 2
    """Of 1.6; of 2.x as many EVSEs with one connector each."""
    max_power: int = 120_000
    max_current: int = 2_500
    max_voltage: int = 10_000
    vendor: str = "evproto"
    model: str = "Simulated DC"
    serial_number: str = "0000"
    firmware_version: str = "4.1.50"
    sample_interval: int = 60
    """Seconds between meter values while charging, until it is told otherwise."""
    start_failures: float = 0.0
    """Part of the sessions in which no current ever flows."""

    @classmethod
    def ac(cls, **fields: object) -> StationSettings:
        """Settings of an ordinary AC station of 7 kW."""
        usual = {
            "is_dc": False, "connectors": 1, "max_power": 7_040, "max_current": 320, "max_voltage": 2_200,
            "model": "Simulated AC",
        }  # fmt: skip
        return cls(**{**usual, **fields})  # type: ignore[arg-type]


class Token(msgspec.Struct, frozen=True):
    """Who charges."""

    text: str
    kind: str = "ISO14443"
    """As in IdTokenEnumType of 2.x; 1.6 knows no kinds."""
    group: str | None = None
    """parentIdTag, groupIdToken."""
