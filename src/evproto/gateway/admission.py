"""Which chargers may come in, of all protocols, and what is set for each.

Whoever listens asks a :class:`Door` for every connection: a :class:`Knock` goes
in, :class:`Admitted` or :class:`Refused` comes out. Why somebody was refused is
for the log of this side alone; the charger is told that it was.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import unquote

import msgspec

from evproto.errors import EvprotoError
from evproto.gateway.logs import Throttle, data

if TYPE_CHECKING:
    from evproto.gateway.config import Config

__all__ = ["Admitted", "ChargerSettings", "Door", "Knock", "Refused", "Spoken", "Validation", "make_door"]

logger = logging.getLogger("evproto.gateway.admission")

Spoken = Literal["ykc", "ocpp", "ntxcp"]
Validation = Literal["strict", "lenient", "off"]


class ChargerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is set for one charger; None: what the section of its protocol says."""

    heartbeat_interval: int | None = None
    """In seconds."""
    validation: Validation | None = None
    """What it may break; see ``ocpp.validation``."""
    dialect: str | None = None
    """Of a pile: the name of the file in ``dialects``, in the data directory, without ``.yaml``."""
    version: str | None = None
    """The one version that it speaks: 1.5, 1.6, 1.7 of YKC; ocpp1.6, ocpp2.0.1, ocpp2.1; ntxcp1.0."""


class Knock(msgspec.Struct, frozen=True, kw_only=True):
    """A charger that wants to come in, with what it shows."""

    protocol: Spoken
    charger: str
    """Its name outside of its protocol, with the tenant where its route has one: ``tenant~id``."""
    address: str
    """Where it connects from, as ``host``, ``host:port`` or, of IPv6, ``[host]:port``."""
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


def make_door(config: Config) -> Door | None:
    """The door that the settings ask for; None: it is open.

    Raises:
        ConfigError: a file or the list of chargers cannot be used.
    """
    from evproto.gateway.config import ConfigError

    admission = config.admission
    if admission.mode == "open":
        return None
    if admission.mode == "hook":
        from evproto.gateway.admission_hook import HookDoor
        from evproto.gateway.hook import Hook

        try:
            hook = Hook(admission.hook, timeout=admission.hook_timeout)
        except ValueError as error:
            raise ConfigError([f"admission.hook: {error}"]) from None
        if admission.require_password and not hook.private:
            text = "is on another machine, and passwords are not sent there over http; write https://"
            raise ConfigError([f"admission.hook: {hook.name} {text}"])
        return _Doorkeeper(
            HookDoor(
                hook,
                accept_on_failure=admission.hook_failure == "accept",
                require_password=admission.require_password,
            )
        )
    from evproto.gateway.admission_entries import Judge
    from evproto.gateway.admission_file import FileDoor, FileError
    from evproto.gateway.admission_passwords import Passwords
    from evproto.gateway.admission_table import FILE, TableDoor, TableError

    # A charger that comes again while its former connection is still counted has its place too.
    passwords = Passwords(remembered=2 * config.websocket.max_connections)
    judge = Judge(passwords, require_password=admission.require_password)
    try:
        if admission.mode == "file":
            assert admission.file is not None
            return _Doorkeeper(FileDoor(admission.file, judge), passwords)
        config.outbox.data.mkdir(parents=True, exist_ok=True)
        door = TableDoor(config.outbox.data / FILE, judge)
        if door.is_empty():
            logger.warning("the list of chargers is empty: nobody is let in; see 'evproto serve chargers'")
        return _Doorkeeper(door, passwords)
    except FileError as error:
        raise ConfigError(error.problems) from None
    except TableError as error:
        raise ConfigError([f"admission.mode: {error}"]) from None
    except OSError as error:
        raise ConfigError([f"admission: {error.filename} cannot be used: {error.strerror}"]) from None


class _Closing(Protocol):
    def close(self) -> None: ...


class _Doorkeeper:
    """Sees that every knock is answered, and logs whom a door has turned away, and why."""

    def __init__(self, door: Door, passwords: _Closing | None = None) -> None:
        self._door = door
        self._passwords = passwords
        self._closed = False
        self._may_complain = Throttle(100)

    async def ask(self, knock: Knock) -> Admitted | Refused:
        if self._closed:
            return Refused("the server is stopping")
        verdict: Admitted | Refused
        try:
            verdict = await self._door.ask(knock)
        except EvprotoError as error:
            verdict = Refused(f"whether it may come in cannot be known: {error}")
        except Exception as error:
            # Without its text, which may quote what came from the charger.
            where = traceback.extract_tb(error.__traceback__)[-1]
            verdict = Refused(f"asking failed: {type(error).__name__} in {where.name}, line {where.lineno}")
        if isinstance(verdict, Refused) and self._may_complain:
            logger.warning(
                "%s is not let in: %s",
                knock.charger,
                verdict.reason,
                extra=data(protocol=knock.protocol, charger=knock.charger, address=knock.address),
            )
        return verdict

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._passwords is not None:
            self._passwords.close()
        await self._door.close()
