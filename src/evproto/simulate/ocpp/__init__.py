"""Simulated stations of OCPP 1.6, 2.0.1 and 2.1: one without a socket, or a fleet of them.

``StationModel`` is a station in messages, ``Fleet`` many of them on sockets.
All that happens follows from a seed.
"""

from __future__ import annotations

from evproto.simulate.faults import Faults
from evproto.simulate.fleet import NoServerError
from evproto.simulate.ocpp.fleet import Fleet, FleetPlan
from evproto.simulate.ocpp.settings import StationSettings
from evproto.simulate.ocpp.station import StationModel
from evproto.simulate.ocppj.faults import parse_faults
from evproto.simulate.people import Habits
from evproto.simulate.statistics import Statistics
from evproto.simulate.vehicle import Vehicle, make_vehicle

__all__ = [
    "Faults",
    "Fleet",
    "FleetPlan",
    "Habits",
    "NoServerError",
    "StationModel",
    "StationSettings",
    "Statistics",
    "Vehicle",
    "make_vehicle",
    "parse_faults",
]
