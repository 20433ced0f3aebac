"""What all protocols tell those who watch in the same way: chargers that come and go."""

from __future__ import annotations

import datetime as dt
from typing import Any

from evproto.gateway.events import Event, Kind, new_id

__all__ = ["Connection", "connection_event"]


def connection_event(
    kind: Kind, *, charger: str, protocol: str, time: dt.datetime, fields: dict[str, Any]
) -> Event:
    """The event of a charger that has come (``online``) or gone (``offline``)."""
    return Event(
        id=new_id(time.timestamp()),
        time=time,
        protocol=protocol,
        charger=charger,
        kind=kind,
        direction="gateway",
        name=kind,
        fields=fields,
    )


class Connection:
    """A charger that has come or gone."""

    __slots__ = ("_event",)

    def __init__(self, event: Event) -> None:
        self._event = event

    @property
    def charger(self) -> str:
        """See :class:`evproto.gateway.adapter.Sighting`."""
        return self._event.charger

    @property
    def name(self) -> str:
        """See :class:`evproto.gateway.adapter.Sighting`."""
        return self._event.name

    def event(self) -> Event:
        """See :class:`evproto.gateway.adapter.Sighting`."""
        return self._event
