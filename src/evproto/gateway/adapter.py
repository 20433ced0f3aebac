"""What the server asks of a protocol: its chargers, and its commands.

REST, audit log, metrics and page know protocols by this alone. An adapter
listens for its chargers, hands what they say to the outbox as events, and
carries commands out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from evproto.errors import EvprotoError
from evproto.gateway.events import Event

__all__ = [
    "Adapter",
    "ChargerOfflineError",
    "CommandError",
    "CommandType",
    "Ending",
    "EndingState",
    "Glance",
    "InvalidCommandError",
    "Outlet",
    "Prepared",
    "Sighting",
    "UnknownChargerError",
]

EndingState = Literal["sent", "accepted", "rejected", "timeout", "disconnected"]


class CommandError(EvprotoError):
    """A command that was not taken; nothing was sent.

    Attributes:
        path: the field concerned, where it is one.
    """

    def __init__(self, text: str, *, path: str = "") -> None:
        super().__init__(text)
        self.path = path


class UnknownChargerError(CommandError):
    """No charger of this identity has been here."""


class ChargerOfflineError(CommandError):
    """The charger is known, and not connected."""


class InvalidCommandError(CommandError):
    """There is no such command, or its body is wrong; ``path`` names the field."""


class CommandType(msgspec.Struct, frozen=True, kw_only=True):
    """Something that chargers of a protocol can be told."""

    name: str
    """In the path of its URL, as in ``remote_start_request``."""
    code: str
    """The protocol's code, as in ``0x34``."""
    title: str
    zh: str = ""
    answer: str | None = None
    """Name of the message that answers it; None: nothing does."""
    replies_to: str | None = None
    """Name of the message that it is an answer to."""
    schema: dict[str, Any]
    """JSON Schema of its body."""
    answer_schema: dict[str, Any] | None = None
    """JSON Schema of the fields of its answer."""


class Prepared(msgspec.Struct, kw_only=True):
    """A command whose body is right, for a charger that is connected."""

    charger: str
    type: CommandType
    fields: dict[str, Any]
    """As they are sent."""
    shown: dict[str, Any]
    """The same for logs: without cards, VINs and passwords."""
    payload: Any
    """What the adapter made of it."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended."""

    state: EndingState
    text: str = ""
    """One sentence for a person, where there is something to say."""
    answer: dict[str, Any] | None = None
    """The answer's fields."""
    shown: dict[str, Any] | None = None
    """The same for logs."""


class Outlet(msgspec.Struct, frozen=True, kw_only=True):
    """Where a car is plugged in: a gun, a connector. What is not known is None, or empty."""

    name: str
    state: str = ""
    """As the protocol calls it, as in ``charging``."""
    zh: str = ""
    """The same in Chinese."""
    mood: Literal["free", "busy", "fault", "away"] = "away"
    """What the state comes to; away: nothing is known, or nothing can be done with it."""
    plugged: bool | None = None
    power: float | None = None
    """In kW."""
    voltage: float | None = None
    """In V."""
    current: float | None = None
    """In A."""
    soc: int | None = None
    """In per cent."""
    energy: float | None = None
    """Of what is being charged, or was last, in kWh."""
    at: dt.datetime | None = None
    """When the charger said so."""


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """What a person sees of a charger at a glance."""

    charger: str
    protocol: str
    """With its version, as in ``YKC 1.6``."""
    state: Literal["online", "offline", "waiting"]
    """waiting: connected, and not let in yet."""
    model: str = ""
    """Make, firmware: what it said of itself."""
    address: str = ""
    connected: dt.datetime | None = None
    seen: dt.datetime | None = None
    reason: str = ""
    """Why it is offline."""
    outlets: tuple[Outlet, ...] = ()


class Sighting(Protocol):
    """A frame, or a connection that came or went, as watchers are told of it: cheap until it is looked at."""

    @property
    def charger(self) -> str:
        """Identity of the charger."""
        ...

    @property
    def name(self) -> str:
        """What the name of its event is, at no cost; may be another for what is damaged."""
        ...

    def event(self) -> Event:
        """It in the envelope, without cards, VINs and passwords; the same in every call."""
        ...


class Adapter(Protocol):
    """One protocol in the server. Methods that are not coroutines do not wait."""

    @property
    def protocol(self) -> str:
        """Its name, as in ``ykc``."""
        ...

    @property
    def collection(self) -> str:
        """What its chargers are called in URLs, as in ``piles``."""
        ...

    @property
    def noun(self) -> str:
        """What one of them is called, as in ``pile``."""
        ...

    @property
    def charger_schema(self) -> dict[str, Any]:
        """JSON Schema of what :meth:`charger` returns."""
        ...

    @property
    def commands(self) -> Mapping[str, CommandType]:
        """What its chargers can be told, by name."""
        ...

    def chargers(self) -> Sequence[str]:
        """The identities of all chargers that are or were connected, sorted."""
        ...

    def charger(self, identity: str) -> dict[str, Any] | None:
        """What is known of a charger, for JSON; None: it has not been here."""
        ...

    def is_online(self, identity: str) -> bool:
        """Whether a charger is connected and served."""
        ...

    def frames(self, identity: str, limit: int, *, reveal: bool) -> list[dict[str, Any]] | None:
        """The last frames of a charger, the newest last, decoded; None: it has not been here.

        Without ``reveal``, cards, VINs and passwords are hidden.
        """
        ...

    def prepare(self, identity: str, command: str, body: Any) -> Prepared:
        """Check a command.

        Raises:
            UnknownChargerError, ChargerOfflineError, InvalidCommandError: as they say.
        """
        ...

    async def perform(
        self, prepared: Prepared, *, timeout: float | None, sent: Callable[[int | str | None], None]
    ) -> Ending:
        """Send a command and wait for its end; ``sent`` is called with its number once it is written.

        Raises:
            CommandError: it was not sent after all.
        """
        ...

    @property
    def messages(self) -> Mapping[str, dict[str, Any]]:
        """JSON Schemas of the fields of all messages, by name, with units and Chinese names."""
        ...

    def glance(self, identity: str) -> Glance | None:
        """What the page shows of a charger; None: it has not been here."""
        ...

    def suggest(self, identity: str, command: str) -> dict[str, Any]:
        """Fields of a command that a form may begin with: a gun, the transaction, the time."""
        ...

    def recent(self, limit: int) -> list[Sighting]:
        """The last frames that are remembered, of all chargers, the oldest first."""
        ...

    def watch(self, watcher: Callable[[Sighting], None]) -> Callable[[], None]:
        """Tell of every frame and connection from now on, as it happens; returns what ends it."""
        ...
