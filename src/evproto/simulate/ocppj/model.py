"""A simulated charger on WebSocket, as its driver sees it: requests and the time in, requests out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from evproto.payloads import Request, Response

__all__ = ["Ask", "Beat", "Handler", "Keep", "Model", "Output", "Reboot", "Tell"]


class Ask(msgspec.Struct, frozen=True):
    """A request whose answer matters to the charger."""

    request: Request[Any]


class Tell(msgspec.Struct, frozen=True):
    """A request whose answer does not matter."""

    request: Request[Any]


class Keep(msgspec.Struct, frozen=True):
    """A request that must arrive, also if there is no connection now."""

    request: Request[Any]


class Reboot(msgspec.Struct, frozen=True):
    """Drop the connection, forget what a restart forgets, and come back after so many ms."""

    after: int


class Beat(msgspec.Struct, frozen=True):
    """Send heartbeats at another interval, in seconds."""

    interval: int


Output = Ask | Tell | Keep | Reboot | Beat

Handler = Callable[[Any, int], Response]
"""Takes a request and the charger's ms, and gives the response."""


class Model(Protocol):
    """A charger. All times are whole milliseconds of its own life."""

    online: bool
    """Whether there is a connection, and the server has accepted the charger."""

    @property
    def identity(self) -> str:
        """What the server knows it by."""

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """What it obeys, by the class of the request; all else is refused as not supported."""

    @property
    def deadline(self) -> int:
        """When :meth:`tick` wants to be called next."""

    def take(self) -> list[Output]:
        """What has to be sent or done, in order."""

    def boot_request(self) -> Request[Any]:
        """Its BootNotification."""

    def connected(self, now: int) -> None:
        """There is a connection, and the server has accepted the charger."""

    def disconnected(self, now: int) -> None:
        """The connection is gone."""

    def accepted(self, interval: int) -> None:
        """The server has accepted the charger, and wants heartbeats at this interval, in seconds."""

    def set_clock(self, to: dt.datetime, now: int) -> None:
        """The server has said what time it is."""

    def obey(self, request: Request[Any], now: int) -> Response:
        """The answer to a request that ``handlers`` has."""

    def answered(self, request: Request[Any], response: Response | None, now: int) -> None:
        """What was asked has its answer, or None if there will be none."""

    def delivered(self, request: Any, result: Any, now: int) -> None:
        """What was kept has arrived, or was given up (``result`` is an exception)."""

    def amend(self, request: Any) -> Any:
        """What to send for a request that was kept."""

    def tick(self, now: int) -> None:
        """Do what is due."""

    def stop_all(self, now: int) -> None:
        """Stop whatever charges: the end of a run."""

    @property
    def is_busy(self) -> bool:
        """Whether anything charges, or has not arrived."""
