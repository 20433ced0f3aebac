"""What the server remembers of each charger: its connection, its outlets, its transactions, its last frames.

All of it is bounded, whatever a charger says.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from evproto.gateway.admission import ChargerSettings
from evproto.gateway.ocpp.measured import Measured

if TYPE_CHECKING:
    from evproto.gateway.ocpp.conversation import Conversation

__all__ = ["FrameRing", "Heard", "KnownCharger", "KnownChargers", "OutletKey", "OutletState", "Transaction"]

OutletKey = tuple[int | str, ...]
"""Connector (1.6), EVSE and connector (2.x), service (ntxcp)."""

_OUTLETS: Final = 64
_OPEN: Final = 64
_CLOSED: Final = 64
_FRAME_BYTES: Final = 64 << 10
"""Of one charger, in all."""
_LONGEST_FRAME: Final = 32 << 10
_BOOT_BYTES: Final = 4 << 10
"""Of what a charger says of itself, as JSON."""
_BOOT_TEXTS: Final = (255, 64, 16)
"""Most characters of each text in that: the first with which all of it is short enough."""
_BOOT_MEMBERS: Final = frozenset(
    {
        # OCPP 1.6.
        "chargePointVendor",
        "chargePointModel",
        "chargePointSerialNumber",
        "chargeBoxSerialNumber",
        "firmwareVersion",
        "iccid",
        "imsi",
        "meterType",
        "meterSerialNumber",
        # OCPP 2.x.
        "reason",
        "chargingStation",
        "serialNumber",
        "model",
        "modem",
        "vendorName",
        # ntxcp.
        "dingxGatewayModel",
        "dingxGatewayVendor",
        "dingxGatewaySerialNumber",
    }
)
"""The members of BootNotification in all versions."""
_BOOT_DEPTH: Final = 3
"""``chargingStation.modem.iccid`` is as deep as one goes."""


class Heard(NamedTuple):
    """A frame that came or went."""

    time: float
    """Seconds since 1970."""
    received: bool
    data: bytes
    """At most its beginning, in a :class:`FrameRing`."""
    kind: int
    """Message type; 0: it could not be guessed."""
    action: str
    """Of the request, also where it is an answer; empty: nobody knows."""
    size: int
    """Bytes on the wire."""
    unique_id: str = ""


class FrameRing:
    """The last frames of a charger, bounded in number and bytes."""

    __slots__ = ("_bytes", "_frames", "_most")

    def __init__(self, most: int) -> None:
        self._frames: deque[Heard] = deque()
        self._most = most
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def append(self, heard: Heard) -> None:
        """One more; the oldest make room."""
        if not self._most:
            return
        if heard.size > _LONGEST_FRAME:
            heard = heard._replace(data=heard.data[:_LONGEST_FRAME])
        frames = self._frames
        frames.append(heard)
        self._bytes += len(heard.data)
        while len(frames) > self._most or self._bytes > _FRAME_BYTES:
            self._bytes -= len(frames.popleft().data)

    def last(self, limit: int) -> list[Heard]:
        """The newest, the last one last."""
        return list(self._frames)[-limit:] if limit > 0 else []

    @property
    def newest(self) -> float:
        """When the last one came or went; 0.0: there is none."""
        return self._frames[-1].time if self._frames else 0.0


class Transaction:
    """A transaction that is going on."""

    __slots__ = ("charging_state", "first_register", "id", "key", "outlet", "started")

    def __init__(self, id: str, outlet: OutletKey | None, started: dt.datetime | None) -> None:
        self.id = id
        self.outlet = outlet
        """Where; None: it has not said."""
        self.started = started
        """None: its beginning was not heard."""
        self.key = ""
        """What makes its start this start (1.6)."""
        self.charging_state = ""
        """In 2.x, as in ``SuspendedEV``."""
        self.first_register: float | None = None
        """The energy register at its beginning, in Wh."""


class OutletState:
    """What was said of an outlet."""

    __slots__ = ("at", "current", "energy", "error", "power", "soc", "status", "transaction", "voltage")

    def __init__(self) -> None:
        self.status = ""
        self.error = ""
        self.at: float | None = None
        """When something was said of it last."""
        self.transaction: Transaction | None = None
        self.power: float | None = None
        self.voltage: float | None = None
        self.current: float | None = None
        self.soc: int | None = None
        self.energy: float | None = None
        """Of the transaction, or the last one, in kWh."""

    def measured(self, found: Measured, first: float | None) -> None:
        """Something was measured; ``first`` is what the register said at the beginning of the transaction."""
        if found.power is not None:
            self.power = found.power
        if found.voltage is not None:
            self.voltage = found.voltage
        if found.current is not None:
            self.current = found.current
        if found.soc is not None:
            self.soc = found.soc
        if found.register is not None and first is not None and found.register >= first:
            self.energy = (found.register - first) / 1000


class KnownCharger:
    """A charger that is or was connected."""

    __slots__ = (
        "_boot",
        "address",
        "boot_status",
        "charger",
        "closed",
        "connected",
        "connection",
        "frames",
        "last_seen",
        "offline_reason",
        "outlets",
        "protocol",
        "secure",
        "settings",
        "status",
        "transactions",
    )

    def __init__(self, charger: str, protocol: str, frames_kept: int) -> None:
        self.charger = charger
        """Its name."""
        self.protocol = protocol
        """What it spoke last, as in ``ocpp1.6``."""
        self.connection: Conversation | None = None
        self.settings = ChargerSettings()
        """What was set for it when it connected last."""
        self._boot: dict[str, Any] | None = None
        self.boot_status = ""
        """How its last BootNotification was answered; empty: it has sent none here."""
        self.address = ""
        self.secure = False
        self.connected: float | None = None
        self.last_seen: float | None = None
        self.offline_reason = ""
        self.status = OutletState()
        """Of the charger itself: connector 0."""
        self.outlets: dict[OutletKey, OutletState] = {}
        self.transactions: dict[str, Transaction] = {}
        """Those that are going on, by number."""
        self.closed: list[str] = []
        """Those that ended last."""
        self.frames = FrameRing(frames_kept)

    @property
    def boot(self) -> dict[str, Any] | None:
        """What it said of itself when it booted last, without what is to be hidden.

        Kept are the members that the protocols have, with texts that are cut: at most 4 KiB as
        JSON, for it stays when the charger has left.
        """
        return self._boot

    @boot.setter
    def boot(self, said: dict[str, Any] | None) -> None:
        self._boot = None if said is None else _boot_of(said)

    @property
    def online(self) -> bool:
        """Whether it is connected."""
        return self.connection is not None

    @property
    def waiting(self) -> bool:
        """Whether it is connected, and has been told to wait."""
        return self.connection is not None and self.boot_status in ("Pending", "Rejected")

    def outlet(self, key: OutletKey) -> OutletState | None:
        """One of its outlets; None: there are too many already."""
        found = self.outlets.get(key)
        if found is None and len(self.outlets) < _OUTLETS:
            found = self.outlets[key] = OutletState()
        return found

    def begin(self, id: str, outlet: OutletKey | None, started: dt.datetime | None = None) -> Transaction:
        """A transaction is going on; the one that is known, if it is."""
        found = self.transactions.get(id)
        if found is None:
            if started is not None and outlet is not None and self.protocol == "ocpp1.6":
                # A connector has one transaction there: the end of the last one was never heard.
                self._supersede(outlet)
            found = self.transactions[id] = Transaction(id, outlet, started)
            while len(self.transactions) > _OPEN:
                self._leave(self.transactions.pop(next(iter(self.transactions))))
        else:
            if started is not None:
                found.started = started
            if outlet is not None and found.outlet != outlet:
                self._leave(found)
                found.outlet = outlet
        if found.outlet is not None:
            state = self.outlet(found.outlet)
            if state is not None and state.transaction is not found:
                state.transaction = found
                state.energy = state.power = state.soc = None
        return found

    def end(self, id: str) -> Transaction | None:
        """A transaction has ended; None: nobody knew of it."""
        found = self.transactions.pop(id, None)
        if id not in self.closed:
            self.closed.append(id)
            del self.closed[:-_CLOSED]
        if found is not None:
            self._leave(found)
        return found

    def forget_transactions(self) -> None:
        """It speaks another version now: what it said in the last one is not true any more."""
        self.transactions.clear()
        self.outlets.clear()
        self.status = OutletState()
        self.boot = None
        self.boot_status = ""

    def _supersede(self, outlet: OutletKey) -> None:
        for id in [id for id, one in self.transactions.items() if one.outlet == outlet]:
            self.end(id)

    def _leave(self, transaction: Transaction) -> None:
        state = None if transaction.outlet is None else self.outlets.get(transaction.outlet)
        if state is not None and state.transaction is transaction:
            state.transaction = None
            state.power = state.current = None


def _boot_of(said: dict[str, Any]) -> dict[str, Any]:
    """As much of a BootNotification as is kept."""
    for longest in _BOOT_TEXTS:
        kept = _members(said, longest, _BOOT_DEPTH)
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode("utf-8", "surrogatepass")) <= _BOOT_BYTES:
            return kept
    return {}


def _members(said: dict[str, Any], longest: int, depth: int) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in said.items():
        if name not in _BOOT_MEMBERS:
            continue
        if isinstance(value, str):
            kept[name] = value[:longest]
        elif isinstance(value, dict) and depth > 1:
            kept[name] = _members(value, longest, depth - 1)
        elif value is None or isinstance(value, bool):
            kept[name] = value
    return kept


class KnownChargers:
    """All chargers that have been here; those that are offline longest are forgotten beyond ``limit``."""

    def __init__(self, *, limit: int, frames_kept: int) -> None:
        self._limit = limit
        self._frames_kept = frames_kept
        self._known: dict[str, KnownCharger] = {}

    def get(self, charger: str, protocol: str) -> KnownCharger | None:
        """A charger that has been here, and spoke this last."""
        found = self._known.get(charger)
        return found if found is not None and found.protocol == protocol else None

    def of(self, protocol: str) -> list[KnownCharger]:
        """All that spoke this last."""
        return [known for known in self._known.values() if known.protocol == protocol]

    def meet(self, charger: str, protocol: str) -> KnownCharger:
        """A charger that is here now."""
        found = self._known.pop(charger, None)
        if found is None:
            found = KnownCharger(charger, protocol, self._frames_kept)
            if len(self._known) >= self._limit:
                self._forget()
        elif found.protocol != protocol:
            found.protocol = protocol
            found.forget_transactions()
        # At the end: the first are those that have been away longest.
        self._known[charger] = found
        return found

    def _forget(self) -> None:
        for charger, known in self._known.items():
            if not known.online:
                del self._known[charger]
                return
