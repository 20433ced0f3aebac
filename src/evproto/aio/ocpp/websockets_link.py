"""Links on the sans-I/O half of ``websockets``: what both sides share, and the server's.

The library parses and builds; sockets, times and flow control are here. Its
asyncio half is not used: messages go straight from the socket to the receiver,
with no task and no queue between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.headers import parse_subprotocol
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.protocol import Protocol as WebSocketProtocol
from websockets.server import ServerProtocol

from evproto.aio.ocpp.engine_link import STATE, EngineLink
from evproto.aio.ocpp.link import (
    Accept,
    Admit,
    Ending,
    Handshake,
    LinkOptions,
    Refuse,
    clip_reason,
)

__all__ = ["ServerLink", "WebSocketsLink"]

logger = logging.getLogger("evproto.aio.ocpp")

# The library reports every connection, with tracebacks of refused ones; this package has its own log.
quiet = logging.getLogger("evproto.aio.ocpp.websockets")
quiet.setLevel(logging.CRITICAL)

SLICE = 8 << 10
"""Bytes that are parsed in one go, so that one busy peer never holds the loop for long."""

# Windows of 4 kB: a tenth of the memory, nearly the same gain on JSON of this size.
_SERVER_DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)


class WebSocketsLink(EngineLink, asyncio.Protocol):
    """What both sides have in common, from the end of the handshake on."""

    __slots__ = (*STATE, "_protocol")

    def __init__(self, protocol: WebSocketProtocol, options: LinkOptions) -> None:
        self._prepare(options, b"")
        self._protocol = protocol

    @property
    def transport(self) -> asyncio.Transport:
        """The socket's."""
        return self._transport

    @property
    def options(self) -> LinkOptions:
        return self._options

    # What the owner does

    @property
    def open(self) -> bool:
        return not self._ended and self._protocol.state is OPEN

    def send(self, data: bytes) -> None:
        protocol = self._protocol
        if self._ended or protocol.state is not OPEN:
            return
        protocol.send_text(data)
        self._flush()

    def ping(self) -> None:
        if self.open:
            self._protocol.send_ping(os.urandom(4))
            self._flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self._ended:
            return
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, clip_reason(reason))
            self._flush()
            self._cut_soon()
            # What the peer still says is read to find its close frame.
            if self._paused:
                self.resume_reading()
        else:
            self._transport.abort()
        self._end(Ending(code, reason, "here"))

    # What the event loop does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self._closed = asyncio.get_running_loop().create_future()
        self._transport.set_write_buffer_limits(high=self._options.write_limit)
        peername = transport.get_extra_info("peername")
        self.remote_address = tuple(peername) if isinstance(peername, tuple) else (peername,)
        self.ssl_object = transport.get_extra_info("ssl_object")

    def data_received(self, data: bytes) -> None:
        if self._backlog or self._paused:
            self._backlog += data
            if not self._paused:
                self._later()
        elif len(data) > SLICE:
            self._backlog = data[SLICE:]
            self._feed(data[:SLICE])
            self._later()
        else:
            self._feed(data)

    def _more(self) -> None:
        self._more_scheduled = False
        if self._paused:
            return
        data, self._backlog = self._backlog[:SLICE], self._backlog[SLICE:]
        if data:
            self._feed(data)
        self._turn_over()

    def _feed(self, data: bytes) -> None:
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            self._take(event)
        if protocol.writes:
            self._flush()
        if protocol.state is not OPEN or protocol.parser_exc is not None:
            self._check_end()

    def _take(self, event: Any) -> None:
        """One event of the library."""
        opcode = event.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if event.fin:
                self._deliver(bytes(event.data))
            else:
                self._parts = [bytes(event.data)]
        elif opcode is Opcode.CONT:
            if self._parts is not None:
                if event.data:
                    # Empty ones are legal in any number.
                    self._parts.append(bytes(event.data))
                if event.fin:
                    whole, self._parts = b"".join(self._parts), None
                    self._deliver(whole)
        elif opcode is not Opcode.CLOSE and not self._ended and self.receiver is not None:
            self.receiver.heard()

    def _flush(self) -> None:
        transport = self._transport
        for data in self._protocol.data_to_send():
            if data:
                if not transport.is_closing():
                    transport.write(data)
            elif transport.can_write_eof() and not transport.is_closing():
                # The other side closes the socket when it has read everything.
                try:
                    transport.write_eof()
                except (OSError, RuntimeError):
                    transport.close()
            else:
                transport.close()

    def _check_end(self) -> None:
        """Tell the receiver, if the library takes the connection for over."""
        protocol = self._protocol
        if protocol.state.name == "CONNECTING":
            return
        if protocol.close_expected() or protocol.parser_exc is not None:
            self._cut_soon()
        if self._ended:
            return
        received, sent = protocol.close_rcvd, protocol.close_sent
        if received is not None and protocol.close_rcvd_then_sent is not False:
            self._end(Ending(received.code, received.reason, "peer"))
        elif sent is not None:
            self._end(Ending(sent.code, sent.reason, "here"))

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()
        self._check_end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.receive_eof()
        self._protocol.data_to_send()
        self._check_end()
        self._end(Ending(1006, str(exc) if exc is not None else "the connection broke", "lost"))
        self._gone()


class ServerLink(WebSocketsLink):
    """A connection that was accepted; handshake and admission included.

    ``hand_over`` may take an admitted connection to another engine: it is
    called with this link, the verdict and the request as it was read, and
    says whether it did.
    """

    __slots__ = ("_admission", "_admit", "_hand_over", "_head", "_held", "_timer", "on_gone")

    _protocol: ServerProtocol

    def __init__(
        self,
        admit: Admit,
        options: LinkOptions,
        hand_over: Callable[[ServerLink, Accept, bytes], bool] | None = None,
        on_gone: Callable[[ServerLink], None] | None = None,
    ) -> None:
        protocol = ServerProtocol(
            extensions=[_SERVER_DEFLATE] if options.deflate else None,
            max_size=options.max_size,
            logger=quiet,
        )
        super().__init__(protocol, options)
        self._admit = admit
        self._hand_over = hand_over
        self._head: bytes | None = b"" if hand_over is not None else None
        self._admission: asyncio.Task[None] | None = None
        self._held: list[Any] = []
        self._timer: asyncio.TimerHandle | None = None
        self.on_gone = on_gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and self._options.receive_buffer is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._options.receive_buffer)
        timer = asyncio.get_running_loop().call_later(self._options.open_timeout, self._too_slow)
        self._timer = timer

    def _too_slow(self) -> None:
        if self._protocol.state.name == "CONNECTING":
            self._transport.abort()

    def _feed(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
        protocol = self._protocol
        super()._feed(data)
        if protocol.handshake_exc is not None and self._admission is None and self.receiver is None:
            # Not HTTP at all.
            self._head = None
            self._cut_soon()

    def _take(self, event: Any) -> None:
        if isinstance(event, Request):
            self.pause_reading()
            self._admission = asyncio.get_running_loop().create_task(self._decide(event))
        elif self._admission is not None:
            # Sent before the handshake was answered; it keeps its place.
            self._held.append(event)
        else:
            super()._take(event)

    async def _decide(self, request: Request) -> None:
        protocol = self._protocol
        response = protocol.accept(request)
        verdict: Accept | Refuse | None = None
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            try:
                verdict = await self._admit(self._handshake(request))
            except Exception:
                logger.exception("admission failed")
                verdict = Refuse(500, "Internal error.\n")
        if self._transport.is_closing():
            return
        if isinstance(verdict, Refuse):
            response = protocol.reject(verdict.status, verdict.text)
            for name, value in verdict.headers:
                response.headers[name] = value
        if not isinstance(verdict, Accept):
            self._head = None
            protocol.send_response(response)
            self._flush()
            self._cut_soon()
            # Reading again is how the end of the other side is noticed.
            self._paused = False
            self._transport.resume_reading()
            return
        if self._hand_over is not None and not protocol.extensions and not self._held:
            head, self._head = self._head, None
            assert head is not None
            # With what came behind the request and was not looked at yet.
            if self._hand_over(self, verdict, head + self._backlog):
                self._forget()
                return
        self._head = None
        self._let_in(verdict, response)

    def _forget(self) -> None:
        """Another engine has the socket now."""
        if self._timer is not None:
            self._timer.cancel()
        if self.on_gone is not None:
            self.on_gone(self)

    def _let_in(self, verdict: Accept, response: Response) -> None:
        if verdict.subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = verdict.subprotocol
        self._protocol.send_response(response)
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
        self._admission = None
        self.subprotocol = verdict.subprotocol
        self.deflate = bool(self._protocol.extensions)
        self._report_to(verdict.receiver(self))
        held, self._held = self._held, []
        for event in held:
            self._take(event)
        self.resume_reading()

    def _handshake(self, request: Request) -> Handshake:
        try:
            offered = [
                name
                for value in request.headers.get_all("Sec-WebSocket-Protocol")
                for name in parse_subprotocol(value)
            ]
        except InvalidHandshake:
            offered = []
        return Handshake(
            path=request.path,
            headers=_Fields(request.headers),
            subprotocols=tuple(offered),
            remote_address=self.remote_address,
            ssl_object=self.ssl_object,
        )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._admission is not None:
            # Nobody waits for the verdict any more.
            self._admission.cancel()
        self._forget()


class _Fields(dict[str, str]):
    """Header fields, looked up without regard to case."""

    def __init__(self, headers: Headers) -> None:
        super().__init__((name.lower(), value) for name, value in headers.raw_items())

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())
