"""Which chargers may come in, of all protocols, and what is set for each.

Whoever listens asks a :class:`Door` for every connection: a :class:`Knock` goes
in, :class:`Admitted` or :class:`Refused` comes out. Why somebody was refused is
for the log of this side alone; the charger is told that it was.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol
from urllib.parse import unquote

import msgspec

__all__ = ["Admitted", "ChargerSettings", "Door", "Knock", "Refused", "Spoken", "Validation"]

Spoken = Literal["ykc", "ocpp", "ntxcp"]
Validation = Literal["strict", "lenient", "off"]


class ChargerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is set for one charger; None: what the section of its protocol says."""

    heartbeat_interval: int | None = None
    """In seconds."""
    validation: Validation | None = None
    """What it may break; see ``ocpp.validation``."""
    dialect: str | None = None
    """Name of the dialect that it speaks."""
    version: str | None = None
    """The one version that it speaks: 1.5, 1.6, 1.7 of YKC; ocpp1.6, ocpp2.0.1, ocpp2.1; ntxcp1.0."""


class Knock(msgspec.Struct, frozen=True, kw_only=True):
    """A charger that wants to come in, with what it shows."""

    protocol: Spoken
    charger: str
    """Its name outside of its protocol, with the tenant where its route has one: ``tenant~id``."""
    address: str
    """Where it connects from, as ``host`` or ``host:port``."""
    secure: bool = False
    """Whether the connection is TLS."""
    username: str | None = None
    """Of basic authentication; None: there was none."""
    password: bytes | None = None
    """Bytes, for those of OCPP 1.6 are no text."""
    certificate: dict[str, Any] | None = None
    """The verified certificate of the charger, as :meth:`ssl.SSLSocket.getpeercert` gives it."""
    version: str = ""
    """What it says it speaks, with the protocol where that has versions: ``1.6``, ``ocpp1.6``."""

    @property
    def id(self) -> str:
        """The charger's own id: its name without tenant and percent-encoding."""
        return unquote(self.charger.rpartition("~")[2])

    def __repr__(self) -> str:
        # Passwords must not get into logs by way of a traceback.
        shown = "None" if self.password is None else "..."
        return (
            f"Knock(protocol={self.protocol!r}, charger={self.charger!r}, address={self.address!r}, "
            f"secure={self.secure}, username={self.username!r}, password={shown})"
        )


class Admitted(msgspec.Struct, frozen=True):
    """It may come in."""

    settings: ChargerSettings = ChargerSettings()


class Refused(msgspec.Struct, frozen=True):
    """It may not."""

    reason: str
    """For the log; the charger is not told."""


class Door(Protocol):
    """Says who may come in."""

    async def ask(self, knock: Knock) -> Admitted | Refused:
        """Whether a charger may come in. Raises nothing: what goes wrong here is a refusal, and logged."""
        ...

    async def close(self) -> None:
        """Let go of files and connections; knocks that still come are refused."""
        ...
