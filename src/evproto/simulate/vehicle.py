"""Vehicles: batteries with a charging curve, and cars that charge on AC.

A battery is modelled as cells in series behind a resistance. It is charged
with constant current until the voltage limit is reached, then with constant
voltage and falling current; before that its management system already asks
for less when the state of charge is high or the pack is cold or hot.

Voltages are in 0.1 V, currents in 0.1 A, times in ms, all integers, as is the
charge counted: so what a vehicle has taken does not depend on how often it
was looked at.
"""

from __future__ import annotations

import itertools
import random
from typing import Final

import msgspec

from evproto.ykc.enums import BatteryType

__all__ = ["VEHICLES", "Battery", "CarModel", "Vehicle", "make_vehicle", "make_vin"]

_PER_AH: Final = 36_000_000
"""Steps of charge in one Ah: 0.1 A x 1 ms = 1e-4 C."""

Curve = tuple[tuple[float, float], ...]

_OCV_TERNARY: Final[Curve] = (
    (0.0, 3.25), (0.05, 3.44), (0.1, 3.52), (0.2, 3.60), (0.3, 3.64), (0.4, 3.68), (0.5, 3.74),
    (0.6, 3.83), (0.7, 3.92), (0.8, 4.01), (0.9, 4.10), (1.0, 4.19),
)  # fmt: skip
_OCV_IRON: Final[Curve] = (
    (0.0, 2.90), (0.05, 3.18), (0.1, 3.22), (0.2, 3.26), (0.3, 3.29), (0.5, 3.31), (0.7, 3.33),
    (0.9, 3.35), (0.95, 3.38), (0.98, 3.45), (1.0, 3.635),
)  # fmt: skip
_BY_SOC: Final[Curve] = (
    (0.0, 0.60), (0.06, 1.0), (0.5, 1.0), (0.65, 0.85), (0.8, 0.68), (0.9, 0.58), (0.96, 0.48), (1.0, 0.35),
)  # fmt: skip
_BY_TEMPERATURE: Final[Curve] = (
    (-20.0, 0.05),
    (0.0, 0.25),
    (10.0, 0.6),
    (18.0, 1.0),
    (44.0, 1.0),
    (55.0, 0.2),
)
_LEAST_CURRENT: Final = 30
"""0.1 A; below this a battery would take for ever to become full."""
_VIN_LETTERS: Final = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
_VIN_VALUES: Final = dict(
    zip("ABCDEFGHJKLMNPRSTUVWXYZ", (*range(1, 9), 1, 2, 3, 4, 5, 7, 9, *range(2, 10)), strict=True)
)
_VIN_WEIGHTS: Final = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def _at(curve: Curve, x: float) -> float:
    """The curve at ``x``, straight between its points and level outside them."""
    if x <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return curve[-1][1]


class CarModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a make of car can do."""

    battery_type: BatteryType
    capacity: float
    """Ah."""
    cells: int
    """In series."""
    resistance: float
    """Of the whole pack, in ohms."""
    max_current: float
    """On DC, in A."""
    ac_power: float
    """Of the charger on board, in kW."""
    manufacturer: str
    """4 characters."""

    @property
    def cell_limit(self) -> float:
        """Highest voltage of a cell, in V."""
        return 3.65 if self.battery_type is BatteryType.LITHIUM_IRON_PHOSPHATE else 4.20

    @property
    def max_voltage(self) -> float:
        """Highest voltage of the pack, in V."""
        return round(self.cell_limit * self.cells, 1)

    @property
    def rated_voltage(self) -> float:
        """Voltage of the pack at half charge, in V."""
        return round(_at(self.open_circuit, 0.5) * self.cells, 1)

    @property
    def energy(self) -> float:
        """Nominal energy, in kWh."""
        return round(self.rated_voltage * self.capacity / 1000, 1)

    @property
    def open_circuit(self) -> Curve:
        """Voltage of a cell without current, by state of charge."""
        return _OCV_IRON if self.battery_type is BatteryType.LITHIUM_IRON_PHOSPHATE else _OCV_TERNARY


_TERNARY, _IRON = BatteryType.TERNARY, BatteryType.LITHIUM_IRON_PHOSPHATE
VEHICLES: Final = (
    CarModel(battery_type=_IRON, capacity=135, cells=104, resistance=0.075, max_current=180, ac_power=7,
             manufacturer="FDBT"),
    CarModel(battery_type=_IRON, capacity=177, cells=126, resistance=0.070, max_current=230, ac_power=7,
             manufacturer="FDBT"),
    CarModel(battery_type=_TERNARY, capacity=150, cells=96, resistance=0.080, max_current=200, ac_power=7,
             manufacturer="CATL"),
    CarModel(battery_type=_TERNARY, capacity=234, cells=96, resistance=0.055, max_current=250, ac_power=11,
             manufacturer="CATL"),
    CarModel(battery_type=_TERNARY, capacity=120, cells=192, resistance=0.120, max_current=240, ac_power=11,
             manufacturer="CALB"),
    CarModel(battery_type=_IRON, capacity=86, cells=32, resistance=0.040, max_current=80, ac_power=3.3,
             manufacturer="GOTN"),
)  # fmt: skip
"""A few sizes, from a city car to one of 800 V."""


class Battery:
    """A battery being charged with direct current."""

    def __init__(self, model: CarModel, soc: float, temperature: float, ambient: float) -> None:
        self.model = model
        self.capacity = round(model.capacity * _PER_AH)
        self.charge = min(self.capacity, round(soc * self.capacity))
        """In steps of 1e-4 C."""
        self.temperature = temperature
        """degC."""
        self._ambient = ambient
        self._curve = model.open_circuit
        self._max_voltage = model.max_voltage
        self._heat = model.resistance / (model.energy * 6_500)

    @property
    def soc(self) -> float:
        """0 to 1; 1 only when nothing more goes in."""
        return self.charge / self.capacity

    @property
    def is_full(self) -> bool:
        """Whether nothing more goes in."""
        return self.charge >= self.capacity

    @property
    def rest_voltage(self) -> float:
        """Voltage without current, in V."""
        return _at(self._curve, self.charge / self.capacity) * self.model.cells

    def demand(self) -> tuple[int, bool]:
        """The current the management system asks for, in 0.1 A; whether it is the voltage that limits it."""
        model = self.model
        wanted = model.max_current * _at(_BY_SOC, self.soc) * _at(_BY_TEMPERATURE, self.temperature)
        # The voltage limit, kept with a step to spare because the output is rounded.
        allowed = (self._max_voltage - 0.1 - self.rest_voltage) / model.resistance
        current = max(_LEAST_CURRENT, int(10 * min(wanted, allowed)))
        return current, allowed < wanted

    def voltage(self, current: int) -> int:
        """Voltage in 0.1 V under a current in 0.1 A."""
        return min(
            round(10 * (self.rest_voltage + current / 10 * self.model.resistance)),
            round(10 * self._max_voltage),
        )

    def time_to_full(self, current: int) -> int:
        """Milliseconds until it is full at this current; at least 1."""
        return max(1, -(-(self.capacity - self.charge) // current)) if current else 1 << 62

    def take(self, current: int, milliseconds: int) -> None:
        """Take in a current in 0.1 A for a time."""
        self.charge = min(self.capacity, self.charge + current * milliseconds)

    def warm(self, current: int, milliseconds: int) -> None:
        """Heat and cool; called once per step of the curve, so that it cannot depend on who looks."""
        seconds = milliseconds / 1000
        heat = (current / 10) ** 2 * self._heat
        cooling = (self.temperature - self._ambient) / 9_000
        self.temperature += (heat - cooling) * seconds


class Vehicle(msgspec.Struct, kw_only=True):
    """One car at a gun."""

    model: CarModel
    vin: str
    battery: Battery
    battery_pack_no: int
    production: tuple[int, int, int]
    """Year, month, day of the battery."""
    charge_count: int
    leaves_at: float = 1.0
    """The state of charge at which its driver comes back; 1: when the battery is full."""


def make_vin(rng: random.Random) -> str:
    """A made-up vehicle number with a right check digit (ISO 3779, GB 16735)."""
    text = ["L", *(rng.choice(_VIN_LETTERS) for _ in range(16))]
    text[10] = rng.choice("MNPRSTV")  # model year
    for place in range(13, 17):
        text[place] = rng.choice("0123456789")
    total = sum(
        weight * (int(char) if char.isdigit() else _VIN_VALUES[char])
        for char, weight in zip(text, _VIN_WEIGHTS, strict=True)
    )
    text[8] = "0123456789X"[total % 11]
    return "".join(text)


def make_vehicle(
    rng: random.Random,
    *,
    model: CarModel | None = None,
    soc: float | None = None,
    leaves_at: float | None = None,
    share: float = 1.0,
) -> Vehicle:
    """A car off the street.

    Args:
        soc: state of charge it arrives with, 0 to 1.
        leaves_at: where its driver comes back, 0 to 1.
        share: part of the battery that this gun fills, when several fill one.
    """
    chosen = model or rng.choice(VEHICLES)
    start = rng.uniform(0.08, 0.65) if soc is None else soc
    ambient = rng.uniform(-2, 33)
    warmth = rng.uniform(2, 9)
    if share != 1.0:
        chosen = msgspec.structs.replace(
            chosen,
            capacity=chosen.capacity * share,
            resistance=chosen.resistance / share,
            max_current=chosen.max_current * share,
        )
    return Vehicle(
        model=chosen,
        vin=make_vin(rng),
        battery=Battery(chosen, start, ambient + warmth, ambient),
        battery_pack_no=rng.randrange(1, 1 << 31),
        production=(rng.randrange(2018, 2026), rng.randrange(1, 13), rng.randrange(1, 29)),
        charge_count=rng.randrange(20, 1500),
        leaves_at=rng.choice((0.8, 0.9, 0.95, 1.0, 1.0)) if leaves_at is None else leaves_at,
    )
