"""Simulated YKC piles: one without a socket, or a fleet of them.

``PileModel`` is a pile in messages, ``SimulatedPile`` one in bytes, ``Fleet``
many of them on sockets. All that happens follows from a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evproto.simulate.faults import Faults
from evproto.simulate.people import Habits
from evproto.simulate.statistics import Statistics
from evproto.simulate.vehicle import Vehicle, make_vehicle
from evproto.simulate.ykc.faults import Segment, parse_faults
from evproto.simulate.ykc.pile import PileModel, PileSettings
from evproto.simulate.ykc.simulated import SimulatedPile

if TYPE_CHECKING:
    from evproto.simulate.fleet import NoServerError
    from evproto.simulate.ykc.fleet import Fleet, FleetPlan, RecordEvent

__all__ = [
    "Faults",
    "Fleet",
    "FleetPlan",
    "Habits",
    "NoServerError",
    "PileModel",
    "PileSettings",
    "RecordEvent",
    "Segment",
    "SimulatedPile",
    "Statistics",
    "Vehicle",
    "make_vehicle",
    "parse_faults",
]


def __getattr__(name: str) -> Any:
    # asyncio is not imported for a pile without a socket.
    if name in ("Fleet", "FleetPlan", "NoServerError", "RecordEvent"):
        from evproto.simulate.ykc import fleet

        return getattr(fleet, name)
    raise AttributeError(f"module 'evproto.simulate.ykc' has no attribute {name!r}")
