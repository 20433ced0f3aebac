"""One connection of a charger: who it is, and which action each message id on it is about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from evproto.gateway.admission import ChargerSettings
from evproto.gateway.ocpp.known import Heard, KnownCharger
from evproto.ocppj.boot import BootGate
from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT, CALL_RESULT_ERROR, SEND
from evproto.ocppj.head import sniff

if TYPE_CHECKING:
    from evproto.aio.ocpp import Station
    from evproto.gateway.ocpp.adapter import OcppAdapter

__all__ = ["Conversation"]

_ASKED: Final = 128
"""Requests of one side whose actions are remembered until they are answered."""


class Conversation:
    """What is known of one connection.

    Attributes:
        station: the connection.
        adapter: of the version that is spoken.
        known: the charger.
        settings: what is set for it.
        gate: whether its messages are taken before it was accepted; None: all are.
        last_received: the bytes of the frame that came last.
    """

    __slots__ = (
        "_asked_here",
        "_asked_there",
        "_ended",
        "adapter",
        "gate",
        "known",
        "last_received",
        "settings",
        "station",
    )

    def __init__(
        self,
        station: Station,
        adapter: OcppAdapter,
        known: KnownCharger,
        settings: ChargerSettings,
        gate: BootGate | None,
    ) -> None:
        self.station = station
        self.adapter = adapter
        self.known = known
        self.settings = settings
        self.gate = gate
        self.last_received = b""
        self._asked_here: dict[str, str] = {}
        self._asked_there: dict[str, str] = {}
        self._ended: asyncio.Future[None] | None = None

    def hear(self, data: bytes, time: float, *, received: bool) -> Heard:
        """A frame has come, or goes."""
        kind, raw_id, raw_action = sniff(data)
        unique_id = raw_id.decode("utf-8", "replace")
        action = ""
        if received:
            self.last_received = data
        if kind in (CALL, SEND):
            action = raw_action.decode("utf-8", "replace")
            if kind == CALL:
                asked = self._asked_there if received else self._asked_here
                asked[unique_id] = action
                if len(asked) > _ASKED:
                    del asked[next(iter(asked))]
        elif kind in (CALL_RESULT, CALL_ERROR):
            asked = self._asked_here if received else self._asked_there
            action = asked.pop(unique_id, "")
        elif kind != CALL_RESULT_ERROR:
            kind = 0
        return Heard(time, received, data, kind, action, len(data), unique_id)

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the connection has ended."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
            if self.station.ending is not None:
                self._ended.set_result(None)
        return self._ended

    def end(self) -> None:
        """The connection has ended."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
