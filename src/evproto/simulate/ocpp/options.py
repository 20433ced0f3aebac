"""What a server may set at a station, in words of no version."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["MEASURANDS", "Options", "read_flag", "read_measurands", "read_number"]

MEASURANDS: Final = (
    "Energy.Active.Import.Register",
    "Power.Active.Import",
    "Current.Import",
    "Voltage",
    "SoC",
    "Current.Offered",
    "Power.Offered",
)
"""What the simulated meters can measure."""


class Options(msgspec.Struct, kw_only=True):
    """Settings that change what the station does. Times in seconds."""

    heartbeat_interval: int = 300
    sample_interval: int = 60
    clock_interval: int = 0
    """Between meter values at full times of the clock; 0: none."""
    connection_timeout: int = 60
    """How long somebody who may charge can take to plug in."""
    sampled: tuple[str, ...] = MEASURANDS[:5]
    """Measurands of the values sent while charging."""
    clock_sampled: tuple[str, ...] = MEASURANDS[:1]
    ended: tuple[str, ...] = MEASURANDS[:1]
    """Measurands of the values that come with the end."""
    local_list: bool = True
    cache: bool = True
    local_preauthorize: bool = False
    """Whether somebody who is known starts without being asked about."""
    local_authorize_offline: bool = True
    unknown_offline: bool = False
    """Whether anybody starts while there is no connection."""
    authorize_remote: bool = False
    stop_on_invalid: bool = True


def read_flag(text: str) -> bool:
    """Raises ValueError for what is neither true nor false."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def read_number(text: str) -> int:
    """Raises ValueError for what is no number of seconds of a day."""
    number = int(text)
    if not 0 <= number <= 86_400 or not text.isascii():
        raise ValueError(text)
    return number


def read_measurands(text: str) -> tuple[str, ...]:
    """Raises ValueError for what the meter cannot measure."""
    wanted = tuple(part.strip() for part in text.split(",") if part.strip())
    if any(measurand not in MEASURANDS for measurand in wanted):
        raise ValueError(text)
    return wanted
