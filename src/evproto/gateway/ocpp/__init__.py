"""Chargers of OCPP and gateways of ntxcp in the server; see ``docs/serve-ocpp.md``."""

from __future__ import annotations

from evproto.gateway.ocpp.side import OcppSide

__all__ = ["OcppSide"]
