"""How chargers of OCPP and ntxcp are shown: at a glance, in full, and what a form begins with."""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from evproto.gateway.adapter import Glance, Outlet, Sighting
from evproto.gateway.events import moment
from evproto.gateway.ocpp.frames import FrameSighting
from evproto.gateway.ocpp.known import KnownCharger, OutletKey, OutletState
from evproto.ocppj import Dialect

__all__ = [
    "OcppChargerView",
    "OcppConnectorState",
    "OcppTransactionState",
    "glance_of",
    "outlet_name",
    "recent_of",
    "suggestions",
    "view_of",
]

Mood = Literal["free", "busy", "fault", "away"]

_TALKING: Final = 200
"""Chargers whose frames are looked through for the last ones of all."""
_STATES: Final[dict[str, tuple[Mood, bool | None, str]]] = {
    "Available": ("free", False, "空闲"),
    "Preparing": ("busy", True, "准备中"),
    "Charging": ("busy", True, "充电中"),
    "SuspendedEV": ("busy", True, "车辆暂停"),
    "SuspendedEVSE": ("busy", True, "桩端暂停"),
    "Finishing": ("busy", True, "结束中"),
    "Reserved": ("busy", None, "已预约"),
    "Occupied": ("busy", None, "占用"),
    "EVConnected": ("busy", True, "车辆已连接"),
    "Idle": ("busy", None, "待机"),
    "Unavailable": ("away", None, "不可用"),
    "Faulted": ("fault", None, "故障"),
}
"""What a status, or the charging state of a transaction, comes to: mood, whether a car is there, Chinese."""


class OcppTransactionState(msgspec.Struct, kw_only=True):
    """A transaction that is going on."""

    id: Annotated[str, Meta(description="as the protocol numbers it")]
    connector: Annotated[str | None, Meta(description="where; null: the charger has not said")] = None
    started: Annotated[
        dt.datetime | None, Meta(description="when it began; null: the server was not there")
    ] = None
    charging_state: Annotated[str, Meta(description="in OCPP 2.x, as in SuspendedEV")] = ""


class OcppConnectorState(msgspec.Struct, kw_only=True):
    """A connector, or an EVSE; of ntxcp a service."""

    name: Annotated[str, Meta(description="connector; EVSE, or EVSE/connector; service")]
    status: Annotated[str, Meta(description="as it said last, as in Available")] = ""
    error: Annotated[str, Meta(description="error code, if there is one")] = ""
    transaction: Annotated[str | None, Meta(description="the transaction that is going on")] = None
    power: Annotated[float | None, Meta(description="in kW")] = None
    voltage: Annotated[float | None, Meta(description="in V")] = None
    current: Annotated[float | None, Meta(description="in A")] = None
    soc: Annotated[int | None, Meta(description="in per cent")] = None
    energy: Annotated[float | None, Meta(description="of the transaction, or the last one, in kWh")] = None
    at: Annotated[dt.datetime | None, Meta(description="when something was said of it last")] = None


class OcppChargerView(msgspec.Struct, kw_only=True):
    """A charger of OCPP or a gateway of ntxcp, as the API shows it."""

    id: Annotated[str, Meta(description="id, or tenant~id")]
    protocol: Annotated[str, Meta(description="with its version, as in ocpp2.0.1")]
    online: Annotated[bool, Meta(description="whether it is connected")] = False
    state: Annotated[
        Literal["online", "offline", "waiting"],
        Meta(description="waiting: its BootNotification was answered with Pending or Rejected"),
    ] = "offline"
    address: Annotated[str, Meta(description="where it connects, or connected, from")] = ""
    secure: Annotated[bool, Meta(description="whether that is TLS")] = False
    connected: Annotated[dt.datetime | None, Meta(description="since when it is connected")] = None
    last_seen: Annotated[dt.datetime | None, Meta(description="when something came from it last")] = None
    offline_reason: Annotated[str, Meta(description="why it is offline")] = ""
    boot: Annotated[
        dict[str, Any] | None, Meta(description="its last BootNotification, without SIM card numbers")
    ] = None
    boot_status: Annotated[str, Meta(description="how that was answered")] = ""
    heartbeat_interval: Annotated[
        int | None, Meta(description="between heartbeats, in seconds, as it is told")
    ] = None
    status: Annotated[str, Meta(description="of the charger as a whole (connector 0)")] = ""
    error: Annotated[str, Meta(description="error code of the charger as a whole")] = ""
    connectors: Annotated[list[OcppConnectorState], Meta(description="that have been heard of")] = []
    transactions: Annotated[list[OcppTransactionState], Meta(description="that are going on")] = []


def outlet_name(known: KnownCharger, key: OutletKey) -> str:
    """``1``; in 2.x the EVSE, and ``1/2`` where it has a second connector."""
    if len(key) == 2 and any(other[0] == key[0] and other[1:] > (1,) for other in known.outlets):
        return f"{key[0]}/{key[1]}"
    return str(key[0])


def view_of(known: KnownCharger, heartbeat_interval: int | None = None) -> OcppChargerView:
    """What is shown of a charger."""
    return OcppChargerView(
        id=known.charger,
        protocol=known.protocol,
        online=known.online,
        state=_state(known),
        address=known.address,
        secure=known.secure,
        connected=moment(known.connected) if known.online and known.connected is not None else None,
        last_seen=None if known.last_seen is None else moment(known.last_seen),
        offline_reason="" if known.online else known.offline_reason,
        boot=known.boot,
        boot_status=known.boot_status,
        heartbeat_interval=heartbeat_interval,
        status=known.status.status,
        error=known.status.error,
        connectors=[_connector(known, key, known.outlets[key]) for key in _sorted(known)],
        transactions=[
            OcppTransactionState(
                id=one.id,
                connector=None if one.outlet is None else outlet_name(known, one.outlet),
                started=one.started,
                charging_state=one.charging_state,
            )
            for one in known.transactions.values()
        ],
    )


def glance_of(known: KnownCharger) -> Glance:
    """A charger at a glance."""
    return Glance(
        charger=known.charger,
        protocol=known.protocol.replace("ocpp", "OCPP ").replace("ntxcp", "ntxcp "),
        state=_state(known),
        model=_model(known.boot or {}),
        address=known.address,
        connected=moment(known.connected) if known.online and known.connected is not None else None,
        seen=None if known.last_seen is None else moment(known.last_seen),
        reason="" if known.online else known.offline_reason,
        outlets=tuple(_outlet(known, key, known.outlets[key]) for key in _sorted(known)),
    )


def recent_of(chargers: Sequence[KnownCharger], limit: int, dialect: Dialect) -> list[Sighting]:
    """The last frames of those chargers that have said something last, the oldest first."""
    talking = heapq.nlargest(
        _TALKING, (known for known in chargers if len(known.frames)), key=lambda known: known.frames.newest
    )
    share = max(2, 4 * limit // max(1, len(talking)))
    frames = [
        (heard.time, -number, known.charger, heard)
        for known in talking
        for number, heard in enumerate(itertools.islice(reversed(known.frames.last(share)), share))
    ]
    frames.sort(key=lambda frame: frame[:2])
    return [FrameSighting(charger, heard, dialect) for _, _, charger, heard in frames[-limit:]]


def suggestions(known: KnownCharger | None, schema: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
    """What a form begins with: a connector, a transaction, the time, of what is required the first choice."""
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    found: dict[str, Any] = {}
    for name, member in properties.items():
        value = _suggested(known, name, member, now)
        if value is not None and (name in required or name in ("connectorId", "evseId")):
            found[name] = value
    return found


def _suggested(known: KnownCharger | None, name: str, member: dict[str, Any], now: dt.datetime) -> Any:
    if name in ("connectorId", "evseId"):
        keys = [] if known is None else [key for key in _sorted(known) if isinstance(key[0], int)]
        return keys[0][0] if keys else 1
    if name == "transactionId":
        going_on = [] if known is None else list(known.transactions)
        if not going_on:
            return None
        return (
            int(going_on[0]) if member.get("type") == "integer" and going_on[0].isdecimal() else going_on[0]
        )
    if member.get("enum"):
        return member["enum"][0]
    if member.get("format") == "date-time":
        return now.isoformat(timespec="seconds").replace("+00:00", "Z")
    if member.get("type") == "integer" and name in ("requestId", "remoteStartId", "listVersion"):
        return 1 + secrets.randbelow(2**31 - 1) if name != "listVersion" else 1
    return None


def _state(known: KnownCharger) -> Literal["online", "offline", "waiting"]:
    return "waiting" if known.waiting else "online" if known.online else "offline"


def _sorted(known: KnownCharger) -> list[OutletKey]:
    return sorted(known.outlets, key=lambda key: tuple((isinstance(part, str), part) for part in key))


def _connector(known: KnownCharger, key: OutletKey, state: OutletState) -> OcppConnectorState:
    return OcppConnectorState(
        name=outlet_name(known, key),
        status=state.status,
        error=state.error,
        transaction=None if state.transaction is None else state.transaction.id,
        power=state.power,
        voltage=state.voltage,
        current=state.current,
        soc=state.soc,
        energy=state.energy,
        at=None if state.at is None else moment(state.at),
    )


def _outlet(known: KnownCharger, key: OutletKey, state: OutletState) -> Outlet:
    transaction = state.transaction
    said = state.status
    if transaction is not None and transaction.charging_state:
        said = transaction.charging_state
    mood, plugged, zh = _STATES.get(said, ("busy" if transaction is not None else "away", None, ""))
    if transaction is not None and said == "Available":
        # It has not said anything else since the transaction began.
        mood, plugged = "busy", None
    return Outlet(
        name=outlet_name(known, key),
        state=said,
        zh=zh,
        mood=mood if known.online else "away",
        plugged=plugged,
        power=state.power if known.online else None,
        voltage=state.voltage if transaction is not None else None,
        current=state.current if transaction is not None else None,
        soc=state.soc if transaction is not None else None,
        energy=state.energy,
        transaction=None if transaction is None else transaction.id,
        started=None if transaction is None else transaction.started,
        at=None if state.at is None else moment(state.at),
    )


def _model(boot: dict[str, Any]) -> str:
    """Make, model and firmware, as far as a charger has said them."""
    station = boot.get("chargingStation")
    said = station if isinstance(station, dict) else boot
    parts: list[str] = []
    for names in (
        ("chargePointVendor", "vendorName", "dingxGatewayVendor"),
        ("chargePointModel", "model", "dingxGatewayModel"),
        ("firmwareVersion",),
    ):
        found = next((said[name] for name in names if isinstance(said.get(name), str)), "")
        if found:
            parts.append(found)
    return " ".join(parts)
