"""One WebSocket connection, message by message, whatever library carries it.

A :class:`Link` is written to without waiting and reports to one
:class:`Receiver`. Nothing here knows OCPP. The two engines are
:mod:`evproto.aio.ocpp.websockets_link` and, for connections without
compression, :mod:`evproto.aio.ocpp.picows_link`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl as ssl_module
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from evproto.errors import SessionError

__all__ = [
    "Accept",
    "Admit",
    "Ending",
    "Engine",
    "Handshake",
    "HandshakeError",
    "Link",
    "LinkOptions",
    "Receiver",
    "Refuse",
    "TurnAway",
    "choose_engine",
]

Engine = Literal["auto", "websockets", "picows"]


@dataclasses.dataclass(frozen=True, slots=True)
class LinkOptions:
    """What holds for every connection of an endpoint. Times in seconds, sizes in bytes."""

    max_size: int = 1 << 20
    """Longer messages close the connection with code 1009."""
    open_timeout: float = 10.0
    """From the TCP connection to the end of the handshake, TLS and admission included."""
    close_timeout: float = 5.0
    """How long the other side may take over the closing handshake before the socket is cut."""
    write_limit: int = 64 << 10
    """With more than this unsent, :meth:`Receiver.writing_paused` is called."""
    receive_buffer: int | None = 128 << 10
    """What the system keeps of what a client has sent and nobody has read: a bound on what one turn of
    the loop may have to look at. None: the system's choice, often many MiB."""
    deflate: bool = False
    """Whether permessage-deflate (RFC 7692) is agreed to where the client offers it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended."""

    code: int
    """The close code of RFC 6455; 1006 where there was no closing handshake."""
    reason: str
    by: Literal["peer", "here", "lost"]
    """Who closed it; ``lost`` if nobody did: the network broke."""

    def __str__(self) -> str:
        who = {"peer": "closed by the peer", "here": "closed from here", "lost": "lost"}[self.by]
        said = f": {self.reason}" if self.reason else ""
        return f"{who} ({self.code}){said}"


@dataclasses.dataclass(frozen=True, slots=True)
class Handshake:
    """What a client asks for, before it is let in."""

    path: str
    """The request target as it came: percent-encoded, with its query."""
    headers: Mapping[str, str]
    """Header fields; looked up without regard to case. Of several equal ones, the last."""
    subprotocols: tuple[str, ...]
    """Those the client offers, in its order."""
    remote_address: tuple[Any, ...]
    """IP address and port, as sockets give them."""
    ssl_object: ssl_module.SSLObject | None = None

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self.ssl_object is not None

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The client's verified certificate as :meth:`ssl.SSLSocket.getpeercert` gives it, or None."""
        return (self.ssl_object.getpeercert() or None) if self.ssl_object is not None else None


class Receiver(Protocol):
    """Who is told what happens on a link. No method may raise."""

    def received(self, data: bytes) -> None:
        """A whole message has come."""

    def heard(self) -> None:
        """A ping or pong has come: the other side is alive."""

    def writing_paused(self) -> None:
        """More than ``write_limit`` waits to be sent."""

    def writing_resumed(self) -> None:
        """The other side reads again."""

    def ended(self, ending: Ending) -> None:
        """The connection is over; called once, and nothing after it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Accept:
    """Let the client in."""

    receiver: Callable[[Link], Receiver]
    """Called with the link as soon as the handshake has been answered."""
    subprotocol: str | None = None
    """One of those offered, spelled as it was; None: answer without the header."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the handshake with an HTTP error."""

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


Admit = Callable[[Handshake], Awaitable[Accept | Refuse]]


class HandshakeError(SessionError):
    """The server did not let this client in.

    Attributes:
        status: the HTTP status it answered with; None if it said nothing of HTTP.
        retry_after: seconds it asks to wait (``Retry-After``), or None.
    """

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Link(ABC):
    """A connection. All methods belong to the event loop's thread."""

    __slots__ = ()

    remote_address: tuple[Any, ...]
    ssl_object: ssl_module.SSLObject | None
    subprotocol: str | None
    deflate: bool
    """Whether messages are compressed."""

    @property
    @abstractmethod
    def open(self) -> bool:
        """Whether messages can be sent; what is sent otherwise vanishes."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send a text message; never waits. What the socket does not take is buffered."""

    @abstractmethod
    def ping(self) -> None:
        """Send a ping; the answer is :meth:`Receiver.heard`."""

    @property
    @abstractmethod
    def unsent(self) -> int:
        """Bytes that are buffered because the other side does not read."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Let the other side wait; messages that were read already may still come, a few."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Read on."""

    @abstractmethod
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the closing handshake; :meth:`Receiver.ended` is called at once.

        The socket is cut if the other side has not answered in time.
        """

    @abstractmethod
    def abort(self, reason: str = "") -> None:
        """Cut the socket; :meth:`Receiver.ended` is called at once."""

    @abstractmethod
    async def wait_closed(self) -> None:
        """Wait until the socket is gone."""


class TurnAway:
    """A receiver that closes its connection at once, with code 1002: no subprotocol was agreed upon."""

    def __init__(self, link: Link, reason: str) -> None:
        link.close(1002, reason)

    def received(self, data: bytes) -> None:
        pass

    def heard(self) -> None:
        pass

    def writing_paused(self) -> None:
        pass

    def writing_resumed(self) -> None:
        pass

    def ended(self, ending: Ending) -> None:
        pass


def choose_engine(engine: Engine) -> Literal["websockets", "picows"]:
    """The engine to use; ``auto`` takes picows where it is installed and can be.

    Raises:
        ValueError: no such engine, or it is not installed.
    """
    if engine == "auto":
        return "picows" if find_spec("picows") is not None else "websockets"
    if engine not in ("websockets", "picows"):
        raise ValueError(f"an engine is auto, websockets or picows, not {engine!r}")
    if find_spec(engine) is None:
        raise ValueError(f"the engine {engine} is not installed")
    return engine


def clip_reason(reason: str) -> str:
    """At most the 123 bytes of UTF-8 that fit a close frame (RFC 6455, section 5.5)."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")


def cut_later(transport: asyncio.BaseTransport, delay: float) -> asyncio.TimerHandle:
    """Abort ``transport`` after ``delay`` seconds, unless it is gone by then."""
    abort: Callable[[], None] = getattr(transport, "abort", transport.close)
    return asyncio.get_running_loop().call_later(delay, abort)
