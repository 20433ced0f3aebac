"""Which chargers are shown, and what they come to together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from evproto.gateway.adapter import Adapter, Glance
from evproto.gateway.neutral import Chargers, UnknownProtocolError

__all__ = ["PAGE", "Selection", "Totals", "select", "total"]

PAGE: Final = 48
"""Chargers that are shown at a time."""
_BATCH: Final = 200
"""Chargers that are looked at in one go, before others have their turn."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Chargers to show, in order, and where the next ones begin."""

    glances: tuple[Glance, ...]
    more: str = ""
    """Show those behind this identity next; empty: there are no more."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """All chargers together."""

    known: int = 0
    online: int = 0
    charging: int = 0
    """Outlets that charge."""
    faults: int = 0
    """Outlets that have a fault."""
    power: float = 0.0
    """In kW."""


def select(
    chargers: Chargers, *, text: str = "", online: bool = False, after: str = "", protocol: str = ""
) -> Selection:
    """One page of chargers of all protocols, or of one; none if it is not served."""
    found: list[Glance] = []
    try:
        listed = chargers.listed(after=after, protocol=protocol, text=text, online=online or None)
    except UnknownProtocolError:
        return Selection(glances=())
    for one in listed:
        if len(found) == PAGE:
            return Selection(glances=tuple(found), more=found[-1].charger)
        glance = one.adapter.glance(one.identity)
        if glance is not None:
            found.append(glance)
    return Selection(glances=tuple(found))


async def total(adapters: Sequence[Adapter]) -> Totals:
    """All chargers together; others have their turns in between."""
    known = online = charging = faults = 0
    power = 0.0
    for adapter in adapters:
        for index, identity in enumerate(adapter.chargers()):
            if index % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)
            known += 1
            if not adapter.is_online(identity):
                continue
            online += 1
            glance = adapter.glance(identity)
            for outlet in glance.outlets if glance is not None else ():
                charging += outlet.mood == "busy"
                faults += outlet.mood == "fault"
                power += outlet.power or 0.0
    return Totals(known=known, online=online, charging=charging, faults=faults, power=power)
