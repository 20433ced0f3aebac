"""Chargers of all protocols as one collection, in one form.

An identity belongs to the adapter that knows it. If several do, the charger
that is online is meant, else the one that was seen last; if that does not
decide, the caller has to name the protocol.
"""

from __future__ import annotations

import datetime as dt
import heapq
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from evproto.errors import EvprotoError
from evproto.gateway.adapter import Adapter, Glance, Outlet, UnknownChargerError

__all__ = [
    "AmbiguousChargerError",
    "Charger",
    "ChargerDetail",
    "ChargerList",
    "Chargers",
    "Connector",
    "ConnectorState",
    "Found",
    "UnknownProtocolError",
    "charger_of",
    "connector_state",
    "detail_of",
    "family",
]

ConnectorState = Literal["available", "charging", "occupied", "faulted", "unavailable", "unknown"]

_WORDS: Final[dict[str, ConnectorState]] = {
    "available": "available",
    "idle": "available",
    "charging": "charging",
    "discharging": "charging",
    "occupied": "occupied",
    "preparing": "occupied",
    "evconnected": "occupied",
    "suspendedev": "occupied",
    "suspendedevse": "occupied",
    "finishing": "occupied",
    "reserved": "unavailable",
    "unavailable": "unavailable",
    "fault": "faulted",
    "faulted": "faulted",
}
"""What the protocols' words come to, in small letters without anything else."""


class UnknownProtocolError(EvprotoError):
    """No protocol of this name is served."""


class AmbiguousChargerError(EvprotoError):
    """Several chargers have this identity, of different protocols."""


class Connector(msgspec.Struct, kw_only=True):
    """Where a car is plugged in: a gun, a connector, an EVSE. What is not known is null."""

    name: Annotated[str, Meta(description="as the protocol numbers it; what start and stop take")]
    state: Annotated[
        ConnectorState,
        Meta(
            description="occupied: a car is there and does not charge; unknown: the charger is offline, or "
            "has not said anything yet"
        ),
    ]
    word: Annotated[str, Meta(description="the last state in the protocol's own word; may be empty")]
    plugged: Annotated[bool | None, Meta(description="whether a car is plugged in")]
    power: Annotated[float | None, Meta(description="in kW")]
    energy: Annotated[float | None, Meta(description="of what is being charged, or was charged last, in kWh")]
    soc: Annotated[int | None, Meta(description="state of charge of the car, in per cent")]
    transaction: Annotated[
        str | None, Meta(description="what is going on there, as the protocol numbers it; stop takes it")
    ]
    started: Annotated[dt.datetime | None, Meta(description="when that began")]
    at: Annotated[dt.datetime | None, Meta(description="when the charger said so")]


class Charger(msgspec.Struct, kw_only=True):
    """A charger of any protocol."""

    id: Annotated[str, Meta(description="its identity; tenant~id where a route has tenants")]
    protocol: Annotated[str, Meta(description="what protocol= takes, as in ykc or ocpp2.0.1")]
    version: Annotated[str, Meta(description="protocol and version that it speaks, as in YKC 1.6")]
    state: Annotated[
        Literal["online", "offline", "waiting"], Meta(description="waiting: connected, and not let in yet")
    ]
    online: Annotated[
        bool,
        Meta(description="whether it is connected and can be told something; one that waits may, in OCPP"),
    ]
    node: Annotated[str, Meta(description="the node that it is connected to, where there are several")]
    model: Annotated[str, Meta(description="make, model and firmware, as far as it has said")]
    address: Annotated[str, Meta(description="where it connects, or connected, from")]
    connected: Annotated[dt.datetime | None, Meta(description="since when it is connected")]
    seen: Annotated[dt.datetime | None, Meta(description="when something came from it last")]
    reason: Annotated[str, Meta(description="why it is offline")]
    connectors: list[Connector]
    also: Annotated[
        list[str], Meta(description="other protocols in which a charger of this identity is known")
    ]


class ChargerDetail(Charger, kw_only=True):
    """A charger of any protocol, with what its own protocol knows."""

    detail: Annotated[
        dict[str, Any], Meta(description="what the collection of its protocol says, as /piles does")
    ]


class ChargerList(msgspec.Struct, kw_only=True):
    """Chargers of all protocols, by identity."""

    items: list[Charger]
    next: Annotated[
        str | None, Meta(description="what to give as after for the next page; null: this is the last")
    ]


class Found(NamedTuple):
    """Whose charger an identity is."""

    adapter: Adapter
    identity: str
    """As the adapter keeps it."""
    also: tuple[str, ...] = ()
    """Other protocols that know the identity."""

    @property
    def online(self) -> bool:
        """Whether it is connected and served."""
        return self.adapter.is_online(self.identity)


def family(protocol: str) -> str:
    """A protocol without its version.

    >>> family("ocpp2.0.1")
    'ocpp'
    """
    return re.sub(r"[\d.]+$", "", protocol)


class Chargers:
    """The chargers of all adapters."""

    def __init__(self, adapters: Sequence[Adapter]) -> None:
        self.adapters = tuple(adapters)

    def of(self, protocol: str) -> tuple[Adapter, ...]:
        """The adapters of a protocol, as in ``ocpp1.6``, or of all its versions, as in ``ocpp``; empty: all.

        Raises:
            UnknownProtocolError: there are none.
        """
        if not protocol:
            return self.adapters
        found = tuple(one for one in self.adapters if protocol in (one.protocol, family(one.protocol)))
        if not found:
            served = ", ".join(one.protocol for one in self.adapters) or "none"
            raise UnknownProtocolError(f"{protocol!r} is not served here; these are: {served}")
        return found

    def find(self, identity: str, protocol: str = "") -> Found:
        """Whose charger is meant.

        Raises:
            UnknownProtocolError: see :meth:`of`.
            UnknownChargerError: nobody's.
            AmbiguousChargerError: several are as good.
        """
        known = [
            Found(adapter, spelled)
            for adapter in self.of(protocol)
            if adapter.glance(spelled := adapter.spelled(identity)) is not None
        ]
        # Another spelling is second best: to some protocols "cp1" and "CP1" are two.
        known = [one for one in known if one.identity == identity] or known
        if not known:
            of = f" of {protocol}" if protocol else ""
            raise UnknownChargerError(f"no charger {identity}{of} has been here")
        found, sure = _meant(known)
        if not sure:
            raise AmbiguousChargerError(
                f"{identity} is a charger of {' and one of '.join(one.adapter.protocol for one in known)}; "
                "say which with protocol="
            )
        return found

    def listed(
        self, *, after: str = "", protocol: str = "", text: str = "", online: bool | None = None
    ) -> Iterator[Found]:
        """Chargers by identity, each identity once.

        Args:
            after: begin behind this identity.
            protocol: of this one only, see :meth:`of`.
            text: what is in the identity, in whatever case.
            online: only those that are, or are not.

        Raises:
            UnknownProtocolError: see :meth:`of`.
        """
        return self._listed(self.of(protocol), after, text.strip().upper(), online)

    def _listed(
        self, adapters: tuple[Adapter, ...], after: str, text: str, online: bool | None
    ) -> Iterator[Found]:
        def behind(adapter: Adapter) -> Iterator[tuple[str, Adapter]]:
            identities = adapter.chargers()
            for index in range(bisect_right(identities, after), len(identities)):
                yield identities[index], adapter

        merged = heapq.merge(*(behind(adapter) for adapter in adapters), key=itemgetter(0))
        for identity, group in groupby(merged, itemgetter(0)):
            if text and text not in identity.upper():
                continue
            known = [Found(adapter, identity) for _, adapter in group]
            found = known[0] if len(known) == 1 else _meant(known)[0]
            if online is None or found.online == online:
                yield found


def _meant(known: Sequence[Found]) -> tuple[Found, bool]:
    """The one that is meant, and whether that is sure."""
    if len(known) == 1:
        return known[0], True
    online = [one for one in known if one.online]
    if len(online) > 1:
        chosen, sure = online[0], False
    elif online:
        chosen, sure = online[0], True
    else:
        seen = [_seen(one) for one in known]
        chosen, sure = known[seen.index(max(seen))], seen.count(max(seen)) == 1
    also = tuple(one.adapter.protocol for one in known if one is not chosen)
    return chosen._replace(also=also), sure


def _seen(found: Found) -> float:
    glance = found.adapter.glance(found.identity)
    return 0.0 if glance is None or glance.seen is None else glance.seen.timestamp()


def connector_state(outlet: Outlet, *, online: bool) -> ConnectorState:
    """What the state of an outlet is in all protocols."""
    if not online or not outlet.state:
        return "unknown"
    found = _WORDS.get("".join(filter(str.isalpha, outlet.state.lower())))
    if outlet.mood == "fault":
        return "faulted"
    if found is None:
        # A word that is not known here: what its protocol thinks of it.
        if outlet.mood == "busy":
            return "charging" if outlet.transaction is not None else "occupied"
        found = "available" if outlet.mood == "free" else "unavailable"
    if found == "occupied" and outlet.power:
        # Where the word says that a car is there, and no more.
        return "charging"
    if found == "available" and (outlet.plugged or outlet.mood == "busy"):
        # "Idle" is a free gun to one protocol, and a car that does not charge to another.
        return "occupied"
    return found


def charger_of(found: Found) -> Charger | None:
    """A charger in the neutral form; None: it has been forgotten meanwhile."""
    glance = found.adapter.glance(found.identity)
    return None if glance is None else Charger(**_members(found, glance))


def detail_of(found: Found) -> ChargerDetail | None:
    """A charger with what its protocol knows; None: it has been forgotten meanwhile."""
    glance, detail = found.adapter.glance(found.identity), found.adapter.charger(found.identity)
    if glance is None or detail is None:
        return None
    return ChargerDetail(**_members(found, glance), detail=detail)


def _members(found: Found, glance: Glance) -> dict[str, Any]:
    online = found.online
    return {
        "id": glance.charger,
        "protocol": found.adapter.protocol,
        "version": glance.protocol,
        "state": glance.state,
        "online": online,
        "node": glance.node,
        "model": glance.model,
        "address": glance.address,
        "connected": glance.connected,
        "seen": glance.seen,
        "reason": glance.reason,
        "connectors": [_connector(outlet, online=online) for outlet in glance.outlets],
        "also": list(found.also),
    }


def _connector(outlet: Outlet, *, online: bool) -> Connector:
    return Connector(
        name=outlet.name,
        state=connector_state(outlet, online=online),
        word=outlet.state,
        plugged=outlet.plugged,
        # To the watt and the tenth of a watt-hour; what is behind that comes of reckoning in binary.
        power=None if outlet.power is None else round(outlet.power, 3),
        energy=None if outlet.energy is None else round(outlet.energy, 4),
        soc=outlet.soc,
        transaction=outlet.transaction,
        started=outlet.started,
        at=outlet.at,
    )
