"""OCPP and ntxcp on real sockets: servers for many stations, and stations.

See ``docs/endpoints.md``.
"""

from __future__ import annotations

from evproto.aio.ocpp.admission import Admission, Credentials, Security
from evproto.aio.ocpp.endpoint import Endpoint, Trouble
from evproto.aio.ocpp.handlers import ANY, Context, HandlerGroup, Handlers, RefuseCall, handles
from evproto.aio.ocpp.link import Ending, Handshake, HandshakeError, LinkOptions
from evproto.aio.ocpp.peer import InvalidAnswerError, Peer
from evproto.aio.ocpp.routing import Identity, Routes
from evproto.aio.ocpp.server import (
    CSMS,
    CentralSystem,
    ControlCenter,
    Listener,
    Server,
    Station,
)
from evproto.aio.ocpp.settings import PeerSettings, ServerSettings, StationSettings
from evproto.aio.ocpp.station import ChargePoint, ChargingStation, Delivery, Gateway
from evproto.aio.ocpp.tls import ServerTLS, client_context
from evproto.aio.ocpp.upstream import NotAcceptedError, Upstream
from evproto.aio.ocpp.watching import Watched

__all__ = [
    "ANY",
    "CSMS",
    "Admission",
    "CentralSystem",
    "ChargePoint",
    "ChargingStation",
    "Context",
    "ControlCenter",
    "Credentials",
    "Delivery",
    "Ending",
    "Endpoint",
    "Gateway",
    "HandlerGroup",
    "Handlers",
    "Handshake",
    "HandshakeError",
    "Identity",
    "InvalidAnswerError",
    "LinkOptions",
    "Listener",
    "NotAcceptedError",
    "Peer",
    "PeerSettings",
    "RefuseCall",
    "Routes",
    "Security",
    "Server",
    "ServerSettings",
    "ServerTLS",
    "Station",
    "StationSettings",
    "Trouble",
    "Upstream",
    "Watched",
    "client_context",
    "handles",
]
