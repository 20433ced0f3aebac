"""The energy meter of a gun or connector.

Energy is counted in whole microjoules (power in mW times ms) and read in steps
of 0.0001 kWh: nothing here is a float, and readings do not depend on how often
the meter was looked at.
"""

from __future__ import annotations

from typing import Final

__all__ = ["STEP", "Meter"]

STEP: Final = 360_000_000
"""Microjoules in one step of the meter, 0.0001 kWh."""


class Meter:
    """The meter of one gun; it never goes back."""

    def __init__(self, reading: int) -> None:
        """``reading`` in steps of 0.0001 kWh."""
        self._energy = reading * STEP

    @property
    def reading(self) -> int:
        """In steps of 0.0001 kWh."""
        return self._energy // STEP

    def count(self, voltage: int, current: int, milliseconds: int) -> None:
        """Count a voltage in 0.1 V and a current in 0.1 A for a time."""
        self._energy += voltage * current * 10 * milliseconds

    def time_to(self, reading: int, voltage: int, current: int) -> int:
        """Milliseconds until ``reading`` is passed at this output; 0 if it is already."""
        missing = (reading + 1) * STEP - self._energy
        return -(-missing // (voltage * current * 10)) if missing > 0 else 0
