"""Connections to the server that a capture is played against: frames in, frames out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote, unquote

from evproto.aio.ocpp.link import Ending, HandshakeError, Link, LinkOptions
from evproto.aio.ocpp.websockets_client import connect
from evproto.errors import DecodeError
from evproto.ykc.codec import Codec

__all__ = ["PileWire", "StationWire", "Wire", "WireError", "identity_of", "url_of"]

_CLOSING: float = 5.0


class WireError(Exception):
    """There is no connection; says why."""


class Wire(Protocol):
    """One connection; what comes is told as it comes, and then that it is over."""

    @property
    def lost(self) -> str | None:
        """Why there is no connection any more; None while there is one."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a frame; waits while the other side does not read."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


class PileWire:
    """TCP, frame by frame."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        received: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._received = received
        self._ended = ended
        self.lost: str | None = None
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        received: Callable[[bytes], None],
        ended: Callable[[], None],
        timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> PileWire:
        """Connect.

        Raises:
            WireError: nobody is there.
        """
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        except TimeoutError:
            raise WireError("no answer") from None
        except OSError as error:
            raise WireError(error.strerror or str(error)) from None
        return cls(reader, writer, received, ended)

    async def _read(self) -> None:
        splitter = Codec("1.7", checksum="ignore").split()
        why = "closed by the server"
        try:
            while data := await self._reader.read(1 << 16):
                for piece in splitter.feed(data):
                    if not isinstance(piece, DecodeError):
                        self._received(piece.data)
        except OSError as error:
            why = error.strerror or str(error)
        if self.lost is None:
            self.lost = why
        self._ended()

    async def send(self, data: bytes) -> None:
        """See :class:`Wire`."""
        if self.lost is not None:
            raise WireError(self.lost)
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise WireError(error.strerror or str(error)) from None

    async def close(self) -> None:
        """See :class:`Wire`."""
        if self.lost is None:
            self.lost = "closed"
        self._task.cancel()
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(_CLOSING):
                await self._writer.wait_closed()


class StationWire:
    """A WebSocket, message by message."""

    def __init__(self, received: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._tell = received
        self._ended = ended
        self._link: Link | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.lost: str | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        protocol: str,
        received: Callable[[bytes], None],
        ended: Callable[[], None],
        timeout: float,
        *,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> StationWire:
        """Connect, with the protocol as WebSocket subprotocol.

        Raises:
            WireError: nobody is there, or it does not let the charger in.
        """
        wire = cls(received, ended)

        def made(link: Link) -> StationWire:
            wire._link = link
            return wire

        headers = []
        if login is not None:
            token = base64.b64encode(":".join(login).encode()).decode()
            headers.append(("Authorization", f"Basic {token}"))
        options = LinkOptions(max_size=1 << 26, open_timeout=timeout, receive_buffer=None)
        try:
            link = await connect(
                url, made, subprotocols=[protocol], headers=headers, ssl=tls, options=options
            )
        except TimeoutError:
            raise WireError("no answer") from None
        except (HandshakeError, ValueError) as error:
            raise WireError(str(error)) from None
        except OSError as error:
            raise WireError(error.strerror or str(error)) from None
        if link.subprotocol != protocol:
            link.close(1002, "no subprotocol")
            await link.wait_closed()
            raise WireError(f"the server does not speak {protocol}")
        return wire

    async def send(self, data: bytes) -> None:
        """See :class:`Wire`."""
        await self._room.wait()
        if self.lost is not None:
            raise WireError(self.lost)
        assert self._link is not None
        self._link.send(data)

    async def close(self) -> None:
        """See :class:`Wire`."""
        if self._link is not None:
            self._link.close()
            await self._link.wait_closed()

    # What the link reports

    def received(self, data: bytes) -> None:
        """A message has come."""
        self._tell(data)

    def heard(self) -> None:
        """A ping has come."""

    def writing_paused(self) -> None:
        """The other side does not read."""
        self._room.clear()

    def writing_resumed(self) -> None:
        """It does again."""
        self._room.set()

    def ended(self, ending: Ending) -> None:
        """The connection is over."""
        if self.lost is None:
            self.lost = str(ending)
        self._room.set()
        self._ended()


def identity_of(charger: str) -> list[str]:
    """The parts of a name, which is ``id`` or ``tenant~id``, each percent-encoded where it has to be."""
    return [unquote(part) for part in charger.split("~")]


def url_of(base: str, charger: str) -> str:
    """The URL of a charger: ``base`` with its identity behind it, or where ``{id}``, ``{tenant}`` stand."""
    parts = [quote(part, safe="") for part in identity_of(charger)]
    if "{id}" in base:
        return base.replace("{tenant}", parts[0]).replace("{id}", parts[-1])
    return "/".join([base.rstrip("/"), *parts])
