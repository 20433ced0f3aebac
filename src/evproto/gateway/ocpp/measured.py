"""What a charger has measured, of the sampled values that all versions send in their own way.

OCPP 1.6 section 7.33 (values are texts, units are words), OCPP 2.0.1 and 2.1
part 2, SampledValueType (values are numbers, units have multipliers).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

__all__ = ["Measured", "MeterValue", "measured_in"]

_ENERGY: Final = "Energy.Active.Import.Register"
_POWER: Final = "Power.Active.Import"
_CURRENT: Final = "Current.Import"
_VOLTAGE: Final = "Voltage"
_SOC: Final = "SoC"
_FACTORS: Final = {
    _ENERGY: {"": 1.0, "Wh": 1.0, "kWh": 1000.0},
    _POWER: {"": 0.001, "W": 0.001, "kW": 1.0},
    _CURRENT: {"": 1.0, "A": 1.0},
    _VOLTAGE: {"": 1.0, "V": 1.0},
    _SOC: {"": 1.0, "Percent": 1.0},
}
"""What a value is multiplied with, by unit: to Wh, kW, A, V and per cent."""
_PHASES: Final = ("L1", "L2", "L3", "L1-N", "L2-N", "L3-N")


class _Unit(msgspec.Struct, frozen=True, gc=False):
    unit: str = ""
    multiplier: int = 0


class _Sample(msgspec.Struct, frozen=True, rename="camel", gc=False):
    value: str | float
    measurand: str = _ENERGY
    phase: str = ""
    format: str = ""
    unit: str = ""
    unit_of_measure: _Unit = _Unit()
    location: str = "Outlet"
    context: str = ""


class MeterValue(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What was measured at one moment."""

    sampled_value: tuple[_Sample, ...]
    timestamp: str = ""


class Measured(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The last value of each kind; None: it was not among them."""

    power: float | None = None
    """In kW."""
    voltage: float | None = None
    """In V; of several phases the mean."""
    current: float | None = None
    """In A; of several phases the largest."""
    soc: int | None = None
    """In per cent."""
    first_register: float | None = None
    """The first reading of the energy register among them, in Wh."""
    register: float | None = None
    """The last one."""


def measured_in(values: Sequence[MeterValue]) -> Measured:
    """What several meter values come to, the last one counts."""
    found: dict[str, float] = {}
    first: float | None = None
    for value in values:
        for measurand in _FACTORS:
            number = _of(measurand, value.sampled_value)
            if number is not None:
                found[measurand] = number
                if measurand == _ENERGY and first is None:
                    first = number
    soc = found.get(_SOC)
    return Measured(
        power=found.get(_POWER),
        voltage=found.get(_VOLTAGE),
        current=found.get(_CURRENT),
        soc=None if soc is None else max(0, min(100, round(soc))),
        first_register=first,
        register=found.get(_ENERGY),
    )


def _of(measurand: str, samples: Iterable[_Sample]) -> float | None:
    whole: float | None = None
    phases: list[float] = []
    for sample in samples:
        if sample.measurand != measurand or sample.format == "SignedData":
            continue
        if sample.location not in ("Outlet", "Body") and measurand != _SOC:
            continue
        number = _number(sample, measurand)
        if number is None:
            continue
        if not sample.phase:
            whole = number
        elif sample.phase in _PHASES:
            phases.append(number)
    if whole is not None or not phases:
        return whole
    if measurand == _VOLTAGE:
        return sum(phases) / len(phases)
    return max(phases) if measurand == _CURRENT else sum(phases)


def _number(sample: _Sample, measurand: str) -> float | None:
    """The value in the unit that it is shown in; None for what is no number, or has another unit."""
    factor = _FACTORS[measurand].get(sample.unit or sample.unit_of_measure.unit)
    if factor is None:
        return None
    try:
        number = float(sample.value) * factor * 10.0 ** max(-30, min(30, sample.unit_of_measure.multiplier))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_meter_values(value: Any) -> tuple[MeterValue, ...]:
    """The meter values of a payload.

    Raises:
        msgspec.ValidationError: they are none.
    """
    return msgspec.convert(value, tuple[MeterValue, ...])
