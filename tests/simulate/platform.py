"""A platform for the tests, written with nothing but the codec: what arrives, what goes back.

Deliberately naive and unlike the sessions of the library, so that the two can
disagree.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from evproto import ykc
from evproto.messages import Message
from evproto.wire.frame import Frame
from evproto.ykc import messages as m
from evproto.ykc.tariff import Tariff


class Platform:
    """One connection of a platform; bytes in, bytes out."""

    def __init__(self, *, tariff: Tariff | None = None, confirms: Callable[[Message], bool] = lambda record: True,
                 accepts: Callable[[m.LoginRequest], bool] = lambda login: True, balance: float = 60.0) -> None:  # fmt: skip
        self.codec = ykc.Codec("1.7")
        self.stream = self.codec.stream()
        self.frames: list[Frame] = []
        self.errors: list[Exception] = []
        self.tariff = tariff
        self.confirms, self.accepts, self.balance = confirms, accepts, balance
        self.answers = True
        self.on_frame: Callable[[Frame], None] = lambda frame: None
        self.orders = 0
        self.sequence = 0x7000
        self.login: m.LoginRequest | None = None

    def feed(self, data: bytes) -> bytes:
        """The answers to what came."""
        out = b""
        for item in self.stream.feed(data):
            if isinstance(item, Exception):
                self.errors.append(item)
                continue
            self.frames.append(item)
            self.on_frame(item)
            for reply in self.reply(item.message):
                if self.answers:
                    out += self.codec.encode(reply, item.sequence)
        return out

    def command(self, message: Message) -> bytes:
        self.sequence += 1
        return self.codec.encode(message, self.sequence)

    def of(self, kind: type[Message]) -> list[Any]:
        return [frame.message for frame in self.frames if isinstance(frame.message, kind)]

    def findings(self) -> list[Any]:
        return [finding for frame in self.frames for finding in self.codec.check(frame)]

    def reply(self, message: Any) -> Iterator[Message]:
        if isinstance(message, m.LoginRequest):
            self.login = message
            yield m.LoginResponse(pile_id=message.pile_id, result=0 if self.accepts(message) else 1)
        elif isinstance(message, m.HeartbeatRequest):
            yield m.HeartbeatResponse(pile_id=message.pile_id, gun_no=message.gun_no)
        elif isinstance(message, m.BillingModelVerificationRequest):
            same = self.tariff is None or self.tariff.billing_model_no == message.billing_model_no
            yield m.BillingModelVerificationResponse(
                pile_id=message.pile_id, billing_model_no=message.billing_model_no, result=0 if same else 1
            )
        elif isinstance(message, m.BillingModelRequest):
            assert self.tariff is not None
            yield self.tariff.response(message.pile_id)
        elif isinstance(message, m.StartRequest):
            yield m.StartResponse(**self._order(message))
        elif isinstance(message, m.ParallelStartRequest):
            yield m.ParallelStartResponse(**self._order(message), parallel_no=message.parallel_no)
        elif isinstance(message, (m.TransactionRecord, m.TransactionRecordV17)) and self.confirms(message):
            yield m.TransactionRecordResponse(transaction_no=message.transaction_no, result=0)

    def _order(self, message: Any) -> dict[str, Any]:
        self.orders += 1
        return {
            "transaction_no": f"{message.pile_id}{message.gun_no}260922080000{self.orders:04d}",
            "pile_id": message.pile_id, "gun_no": message.gun_no, "logical_card_no": "0000001000000573",
            "account_balance": self.balance, "result": 1, "failure_reason": 0,
        }  # fmt: skip


class Listener(asyncio.Protocol):
    """A :class:`Platform` on a socket; every read is kept as it came."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.platform = Platform(**server.options)
        self.reads: list[bytes] = []
        self.lost: Exception | bool | None = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.server.listeners.append(self)

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)
        self.transport.write(self.platform.feed(data))
        self.server.changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = error or True
        self.server.changed.set()


class Server:
    """Platforms on a loopback port."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.listeners: list[Listener] = []
        self.changed = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> Any:
        server = await asyncio.get_running_loop().create_server(
            lambda: Listener(self), "127.0.0.1", 0, ssl=tls
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for listener in self.listeners:
                listener.transport.abort()
            await server.wait_closed()

    async def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                # What happens on the other side sets no event here; look again soon.
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.05)

    @property
    def platforms(self) -> list[Platform]:
        return [listener.platform for listener in self.listeners]

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for platform in self.platforms for message in platform.of(kind)]

    def count(self) -> Counter[int]:
        return Counter(frame.frame_type for platform in self.platforms for frame in platform.frames)
