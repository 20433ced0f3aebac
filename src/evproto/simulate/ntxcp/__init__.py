"""Simulated gateways of ntxcp: one without a socket, or a fleet of them.

``GatewayModel`` is a gateway in messages, ``Fleet`` many of them on sockets.
All that happens follows from a seed.
"""

from __future__ import annotations

from evproto.simulate.fleet import NoServerError
from evproto.simulate.ntxcp.fleet import Fleet, FleetPlan
from evproto.simulate.ntxcp.gateway import GatewayModel, GatewaySettings
from evproto.simulate.ocppj.faults import parse_faults

__all__ = ["Fleet", "FleetPlan", "GatewayModel", "GatewaySettings", "NoServerError", "parse_faults"]
