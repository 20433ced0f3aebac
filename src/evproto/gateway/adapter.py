"""What the server asks of a protocol: its chargers, and its commands.

REST, audit log, metrics, page and cluster know protocols by this alone. A
:class:`Side` listens for chargers, hands what they say to the outbox as events,
and has an :class:`Adapter` for each protocol that it speaks, or each version
with messages of its own. An adapter shows chargers and carries commands out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

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
    "FarAdapter",
    "Glance",
    "InvalidCommandError",
    "ListenError",
    "Outlet",
    "Prepared",
    "Presence",
    "Side",
    "Sighting",
    "Tap",
    "UnknownChargerError",
    "Verb",
    "informed",
    "translated",
]

EndingState = Literal["sent", "accepted", "rejected", "timeout", "disconnected"]

Verb = Literal["start", "stop", "reboot"]
"""What chargers of all protocols can be told, as far as theirs has it."""

Tap = Callable[[str, str, bool, bytes, float], None]
"""Is told of a frame as it is on the wire, nothing hidden: protocol with version, charger (or, while
nobody knows whose it is, the address), whether it was received, bytes, seconds since 1970."""


class ListenError(EvprotoError):
    """An address to listen on cannot be had; begins with the setting."""


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
    transaction: str | None = None
    """The transaction that is going on, as the protocol numbers it."""
    started: dt.datetime | None = None
    """When it began."""
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
    node: str = ""
    """The node that it is connected to, where there are several."""
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
        """Its name, as in ``ykc`` or ``ocpp2.0.1``."""
        ...

    @property
    def collection(self) -> str:
        """What its chargers are called in URLs, as in ``piles`` or ``ocpp2.0.1``."""
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

    def spelled(self, identity: str) -> str:
        """An identity as it is kept, of any spelling that means the same."""
        ...

    def translate(self, identity: str, verb: Verb, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The command, by name and fields, that a verb is for a charger.

        The members of the body are ``connector`` (name of an outlet), ``token`` (who
        charges), ``transaction`` and ``immediate``; what is not needed may be missing,
        and what can be known is filled in.

        Raises:
            InvalidCommandError: the protocol has no such command, or something is missing or unknown.
        """
        ...

    def check(self, identity: str, command: str, body: Any, *, version: str = "") -> Prepared:
        """A command whose body is right, for a charger that need not be here; its ``payload`` is None.

        Args:
            identity: the charger.
            command: the command's name.
            body: its fields.
            version: what the charger speaks, where it is connected to another node.

        Raises:
            InvalidCommandError: as it says.
        """
        ...

    def prepare(self, identity: str, command: str, body: Any) -> Prepared:
        """Check a command, for a charger that is connected here.

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

    def tap(self, tap: Tap) -> Callable[[], None]:
        """Hand on every frame from now on, both ways; returns what ends it."""
        ...


@runtime_checkable
class FarAdapter(Protocol):
    """An adapter some of whose chargers are connected to other nodes, which know more of them."""

    async def inform(self, identity: str) -> None:
        """Ask the node of a charger about it; ``charger`` and ``glance`` say what it said for a moment."""
        ...

    async def translate_there(
        self, identity: str, verb: Verb, body: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """As :meth:`Adapter.translate`, by the node of the charger."""
        ...


async def informed(adapter: Adapter, identity: str) -> None:
    """Have an adapter know what can be known of a charger, wherever it is connected."""
    if isinstance(adapter, FarAdapter):
        await adapter.inform(identity)


async def translated(
    adapter: Adapter, identity: str, verb: Verb, body: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """As :meth:`Adapter.translate`, for a charger that is connected wherever.

    Raises:
        CommandError: as said there; or the charger's node cannot be asked.
    """
    if isinstance(adapter, FarAdapter):
        return await adapter.translate_there(identity, verb, body)
    return adapter.translate(identity, verb, body)


class Presence(Protocol):
    """Is told which chargers are connected and served here."""

    def came(self, adapter: Adapter, charger: str, connection: object, close: Callable[[str], None]) -> None:
        """A charger came; ``close`` ends its connection, for a reason.

        ``connection`` is what :meth:`went` will name: of two connections of a
        charger the newer may come before the older goes.
        """
        ...

    def went(self, adapter: Adapter, charger: str, connection: object) -> None:
        """A connection that came has ended."""
        ...


class Side(Protocol):
    """Listens for chargers of one or several protocols."""

    @property
    def adapters(self) -> Sequence[Adapter]:
        """Of its protocols."""
        ...

    presence: Presence | None
    """Whom to tell of chargers that come and go."""

    async def start(self) -> Mapping[str, str]:
        """Listen; returns where, for the log: name, as in ``piles``, and address with port.

        Raises:
            ListenError: an address cannot be had.
        """
        ...

    def stop_listening(self) -> None:
        """Take no more connections."""
        ...

    async def close(self, drain: float) -> None:
        """Stop listening, finish what is being handled for ``drain`` seconds, and disconnect."""
        ...

    def online(self) -> Mapping[str, int]:
        """How many chargers are connected and served, by protocol."""
        ...

    def connections(self) -> int:
        """How many connections there are."""
        ...
