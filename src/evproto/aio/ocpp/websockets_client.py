"""The client's side of links on ``websockets``."""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from collections.abc import Callable, Sequence
from typing import Any

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.uri import parse_uri

from evproto.aio.ocpp.link import HandshakeError, Link, LinkOptions, Receiver
from evproto.aio.ocpp.websockets_link import WebSocketsLink, quiet

__all__ = ["ClientLink", "check_uri", "connect"]

_CLIENT_DEFLATE = ClientPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)


class ClientLink(WebSocketsLink):
    """A connection that this side opens."""

    __slots__ = ("_extra", "_make_receiver", "opened")

    _protocol: ClientProtocol

    def __init__(
        self,
        protocol: ClientProtocol,
        options: LinkOptions,
        extra: Sequence[tuple[str, str]],
        make_receiver: Callable[[Link], Receiver],
    ) -> None:
        super().__init__(protocol, options)
        self._extra = extra
        self._make_receiver = make_receiver
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        request = self._protocol.connect()
        for name, value in self._extra:
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()

    def _feed(self, data: bytes) -> None:
        super()._feed(data)
        self._check_refused()

    def _take(self, event: Any) -> None:
        if isinstance(event, Frame):
            super()._take(event)
        elif self._protocol.handshake_exc is None and not self.opened.done():
            self.subprotocol = self._protocol.subprotocol
            self.deflate = bool(self._protocol.extensions)
            # At once: the first message may have come with the answer.
            self._report_to(self._make_receiver(self))
            self.opened.set_result(None)

    def _check_refused(self) -> None:
        error = self._protocol.handshake_exc
        if error is not None and not self.opened.done():
            self.opened.set_exception(_refusal(error))
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._check_refused()
        if not self.opened.done():
            self.opened.set_exception(HandshakeError("the connection broke during the handshake"))


def _refusal(error: Exception) -> HandshakeError:
    if not isinstance(error, InvalidStatus):
        return HandshakeError(f"the handshake failed: {error}")
    response = error.response
    after: float | None = None
    with contextlib.suppress(ValueError, LookupError):
        after = float(response.headers.get("Retry-After", ""))
    said = response.reason_phrase
    return HandshakeError(f"the server answered {response.status_code} {said}", response.status_code, after)


def check_uri(uri: str) -> None:
    """Raises ValueError for what is none of ``ws`` or ``wss``."""
    try:
        parse_uri(uri)
    except InvalidURI as error:
        raise ValueError(str(error)) from None


async def connect(
    uri: str,
    receiver: Callable[[Link], Receiver],
    *,
    subprotocols: Sequence[str],
    headers: Sequence[tuple[str, str]] = (),
    ssl: ssl_module.SSLContext | None = None,
    options: LinkOptions | None = None,
    connector: Callable[[Callable[[], asyncio.Protocol]], Any] | None = None,
) -> Link:
    """Open a connection to ``uri``.

    ``ssl`` is for ``wss`` and defaults to the system's trust store.
    ``connector`` is called with a protocol factory instead of opening a
    socket; simulated networks use it.

    Raises:
        ValueError: ``uri`` is none of ``ws`` or ``wss``.
        HandshakeError: the server refused.
        OSError: it could not be reached.
        TimeoutError: it took longer than ``open_timeout``.
    """
    options = options or LinkOptions()
    try:
        where = parse_uri(uri)
    except InvalidURI as error:
        raise ValueError(str(error)) from None
    protocol = ClientProtocol(
        where,
        subprotocols=list(subprotocols) or None,  # type: ignore[arg-type]
        extensions=[_CLIENT_DEFLATE] if options.deflate else None,
        max_size=options.max_size,
        logger=quiet,
    )
    link = ClientLink(protocol, options, headers, receiver)
    async with asyncio.timeout(options.open_timeout):
        try:
            if connector is not None:
                await connector(lambda: link)
            else:
                context = (ssl or ssl_module.create_default_context()) if where.secure else None
                await asyncio.get_running_loop().create_connection(
                    lambda: link,
                    where.host,
                    where.port,
                    ssl=context,
                    server_hostname=where.host if context is not None else None,
                )
            await link.opened
        except BaseException:
            link.abort()
            if link.opened.done() and not link.opened.cancelled():
                link.opened.exception()
            raise
    return link
