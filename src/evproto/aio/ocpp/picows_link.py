"""Links on ``picows``: the same as those on ``websockets``, at a fraction of the CPU, without compression.

The handshake is the other engine's, because admission may have to wait for a
database and to look at a certificate, and picows decides at once and knows
only the headers. When a client has been let in, the socket is handed over: a
picows protocol takes the transport, reads the same request again and answers
it as decided.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from evproto.aio.ocpp.engine_link import STATE, EngineLink
from evproto.aio.ocpp.link import Accept, Ending, LinkOptions, clip_reason
from evproto.aio.ocpp.websockets_link import ServerLink

__all__ = ["PicowsLink", "hand_over"]

_quiet = logging.getLogger("evproto.aio.ocpp.picows")
_quiet.setLevel(logging.CRITICAL + 1)

_TEXT, _BINARY, _CONT = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
_CLOSE, _PING = WSMsgType.CLOSE, WSMsgType.PING

AT_ONCE = 32
"""Messages of one reading of the socket that are handled at once; the others wait for the next turn of
the loop, so that one busy peer never holds it for long."""


class PicowsLink(EngineLink, WSListener):
    """A server's connection, from the end of the handshake on."""

    __slots__ = (*STATE, "_accept", "_size", "_socket", "_taken")

    def __init__(self, link: ServerLink, verdict: Accept, options: LinkOptions) -> None:
        self._prepare(options, deque[bytes]())
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.remote_address = link.remote_address
        self.ssl_object = link.ssl_object
        self.subprotocol = verdict.subprotocol
        self._accept: Accept | None = verdict
        self._socket: Any = None
        self._size = 0
        self._taken = 0

    # What the owner does

    @property
    def open(self) -> bool:
        return not self._ended and not self._transport.is_closing()

    def send(self, data: bytes) -> None:
        if not self._ended:
            self._socket.send(_TEXT, data)

    def ping(self) -> None:
        if not self._ended:
            self._socket.send_ping(b"")

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self._ended:
            return
        self._socket.send_close(code, clip_reason(reason))
        self._cut_soon()
        self._end(Ending(code, reason, "here"))
        if self._paused:
            self.resume_reading()

    # What picows does

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._socket = transport
        self._transport = transport.underlying_transport
        self._transport.set_write_buffer_limits(high=self._options.write_limit)
        accept, self._accept = self._accept, None
        assert accept is not None
        self._report_to(accept.receiver(self))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == _TEXT or kind == _BINARY:  # noqa: SIM109 - twice as fast
            if self._parts is not None or frame.rsv1:
                self.close(1002, "a message began inside another one, or is compressed")
                return
            data = frame.get_payload_as_bytes()
            if not frame.fin:
                self._parts, self._size = [data], len(data)
                return
        elif kind == _CONT:
            parts = self._parts
            if parts is None:
                self.close(1002, "a continuation of nothing")
                return
            data = frame.get_payload_as_bytes()
            if data:
                # Empty ones are legal in any number.
                parts.append(data)
            self._size += len(data)
            if self._size > self._options.max_size:
                self._parts = None
                self.close(1009, f"the message exceeds {self._options.max_size} bytes")
                return
            if not frame.fin:
                return
            self._parts = None
            data = b"".join(parts)
        elif kind == _CLOSE:
            self._peer_closes(frame)
            return
        else:
            if kind == _PING:
                transport.send_pong(frame.get_payload_as_bytes())
            if self.receiver is not None:
                self.receiver.heard()
            return
        if frame.last_in_buffer and not self._backlog:
            self._taken = 0
            self._deliver(data)
            return
        self._taken += 1
        if self._backlog or self._taken > AT_ONCE:
            self._backlog.append(data)
            self._later()
        else:
            self._deliver(data)

    def _more(self) -> None:
        self._more_scheduled = False
        self._taken = 0
        for _ in range(AT_ONCE):
            if self._paused:
                return
            if not self._backlog:
                break
            self._deliver(self._backlog.popleft())
        self._turn_over()

    def _peer_closes(self, frame: WSFrame) -> None:
        code, reason = _close_info(frame)
        if not self._socket.is_close_frame_sent:
            self._socket.send_close(code if code != 1005 else 1000, b"")
        # What came before the close frame is handled before the end is told.
        while self._backlog and not self._ended:
            self._deliver(self._backlog.popleft())
        self._end(Ending(code, reason, "peer"))
        self._socket.disconnect()
        self._cut_soon()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        handshake = transport.close_handshake
        sent = handshake.sent if handshake is not None else None
        if sent is not None:
            code: Any = sent.code
            self._end(Ending(int(code), sent.reason or "", "here"))
        else:
            self._end(Ending(1006, "the connection broke", "lost"))
        self._gone()


def _close_info(frame: WSFrame) -> tuple[int, str]:
    payload = frame.get_payload_as_bytes()
    if len(payload) < 2:
        return 1005, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")


def hand_over(link: ServerLink, verdict: Accept, head: bytes) -> bool:
    """Take an admitted connection over; ``head`` is its request as it was read."""
    transport = link.transport
    listener = PicowsLink(link, verdict, link.options)

    def answer(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        headers = {"Sec-WebSocket-Protocol": verdict.subprotocol} if verdict.subprotocol is not None else {}
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), listener)

    protocol: Any = WSProtocol(
        host_port=None,
        ws_path=None,
        is_client_side=False,
        ws_listener_factory=answer,
        logger=_quiet,
        disconnect_on_exception=True,
        websocket_handshake_timeout=None,
        enable_auto_ping=False,
        auto_ping_idle_timeout=10,
        auto_ping_reply_timeout=10,
        auto_ping_strategy=1,
        enable_auto_pong=False,
        max_frame_size=link.options.max_size,
        extra_headers=None,
        read_buffer_init_size=2048,
    )
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    # The request again, in pieces that fit the buffer, which grows as it fills.
    at = 0
    while at < len(head):
        room = protocol.get_buffer(-1)
        piece = head[at : at + len(room)]
        room[: len(piece)] = piece
        at += len(piece)
        protocol.buffer_updated(len(piece))
    if not transport.is_closing():
        transport.resume_reading()
    return True
