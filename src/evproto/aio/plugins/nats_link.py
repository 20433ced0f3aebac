"""A connection to NATS that is made again whenever it is lost, for ever.

nats-py can do that too, but then keeps requests of the time without a
connection and sends them later, when their chargers have long been answered,
and leaves those that were under way to run out. Here each connection is a new
client, and requests fail at once when there is none or it is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from evproto.aio.nats import settle
from evproto.errors import EvprotoError

__all__ = ["LinkError", "NatsLink"]

logger = logging.getLogger("evproto.aio.plugins")

_NO_RESPONDERS = "503"
_SETTLE_TIMEOUT = 10.0


class LinkError(EvprotoError):
    """A request has no reply.

    Attributes:
        kind: ``down``: no connection, nothing was sent; ``large``: larger than
            the server takes, nothing was sent; ``nobody``: there is no one
            who takes such requests; ``late``: no reply in time; ``lost``: the
            connection ended first.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class NatsLink:
    """See the module.

    Args:
        servers: URLs as ``nats://host:4222``, or ``host:port``.
        name: what the server calls this client.
        options: of ``nats.connect``: ``user``, ``password``, ``token``, ``user_credentials``,
            ``tls``, ``inbox_prefix`` and the like.

    Raises:
        ValueError: there is no server.
    """

    def __init__(self, servers: str | Sequence[str], *, name: str, options: dict[str, Any]) -> None:
        urls = [servers] if isinstance(servers, str) else list(servers)
        if not urls:
            raise ValueError("there is no server to connect to")
        self._servers = [url if "://" in url else f"nats://{url}" for url in urls]
        # What people read of them: without passwords.
        self._said_servers = ", ".join(re.sub("//[^/@]*@", "//***@", url) for url in self._servers)
        self._name = name
        self._options = options
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._wanted: dict[str, tuple[str, Callable[[Msg], Coroutine[Any, Any, None]]]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._next = 0
        self._problem = ""
        self.on_change: Callable[[bool], None] = lambda connected: None
        """Is told when the connection is there, and when it is lost."""

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    @property
    def problem(self) -> str:
        """Why there is no connection, where there was something to learn."""
        return self._problem

    @property
    def max_payload(self) -> int:
        """Bytes a message may have; before the first connection, what servers allow by default."""
        return self._client.max_payload if self._client is not None else 1 << 20

    async def start(self, patience: float) -> None:
        """Begin to connect, and wait until that has worked, or ``patience`` seconds have passed."""
        self._runner = asyncio.get_running_loop().create_task(self._run())
        await self.wait_connected(patience)

    async def wait_connected(self, patience: float) -> bool:
        """Whether there is a connection, at the latest after ``patience`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._up.wait()
        return self.connected

    async def close(self) -> None:
        """Send what is to be sent, then close the connection; requests that wait end as ``lost``."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
        client = self._client
        self._down()
        if client is not None:
            await _close(client, flush=True)

    # Messages

    async def reply(self, message: Msg, data: bytes) -> None:
        """Answer a message; nothing happens if nobody waits, or the connection it came on is gone."""
        client = self._client
        if message.reply and client is not None and message._client is client:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.publish(message.reply, data)

    async def publish(self, subject: str, data: bytes) -> None:
        """Send a message that nobody answers, and that may be lost with the connection; raises LinkError."""
        client = self._ready_for(data)
        try:
            await client.publish(subject, data)
        except (nats.errors.Error, OSError) as error:
            raise LinkError("lost", f"the connection to NATS was lost: {error}") from error

    async def request(
        self, subject: str, data: bytes, timeout: float, headers: dict[str, str] | None = None
    ) -> bytes:
        """The reply to a message; raises LinkError."""
        client = self._ready_for(data)
        self._next += 1
        token = str(self._next)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        try:
            async with asyncio.timeout(timeout):
                try:
                    await client.publish(subject, data, reply=f"{self._inbox}.{token}", headers=headers)
                except (nats.errors.Error, OSError) as error:
                    raise LinkError("lost", f"the connection to NATS was lost: {error}") from error
                message = await future
        except TimeoutError:
            raise LinkError("late", f"no answer within {timeout:g} s") from None
        finally:
            self._waiting.pop(token, None)
            if future.done() and not future.cancelled():
                future.exception()
        if not message.data and message.headers and message.headers.get("Status") == _NO_RESPONDERS:
            raise LinkError("nobody", "nobody is there to answer")
        return message.data

    def _ready_for(self, data: bytes) -> Client:
        if len(data) > self.max_payload:
            text = f"a message of {len(data)} bytes, NATS takes {self.max_payload}"
            raise LinkError("large", text)
        if self._client is None or not self.connected:
            raise LinkError("down", f"no connection to NATS{self._problem and f': {self._problem}'}")
        return self._client

    async def _on_reply(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message)

    # Subscriptions

    async def subscribe(
        self, subject: str, callback: Callable[[Msg], Coroutine[Any, Any, None]], queue: str = ""
    ) -> None:
        """Have ``callback`` called with all messages to a subject, on this connection and later ones.

        Messages come one after the other: it must not take long. In a ``queue`` group, one member gets each.
        """
        self._wanted[subject] = queue, callback
        client = self._client
        if client is not None and self.connected:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._subscribe(client, subject)

    async def settle(self) -> None:
        """Wait until the server has seen what was subscribed, if it is there."""
        client = self._client
        if client is not None and self.connected:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await settle(client, _SETTLE_TIMEOUT)

    async def unsubscribe(self, subject: str) -> None:
        """Take no more messages to a subject; those that are here already are still handed over."""
        self._wanted.pop(subject, None)
        subscription = self._subscriptions.pop(subject, None)
        if subscription is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.drain()  # type: ignore[no-untyped-call]

    async def _subscribe(self, client: Client, subject: str) -> None:
        queue, callback = self._wanted[subject]
        self._subscriptions[subject] = await client.subscribe(subject, queue=queue, cb=callback)

    # Connections

    async def _run(self) -> None:
        pause = 0.1
        while True:
            client = Client()
            closed = asyncio.Event()
            try:
                await self._connect(client, closed)
            except asyncio.CancelledError:
                await _close(client)
                raise
            except Exception as error:
                await _close(client)
                self._tell(str(error) or type(error).__name__)
            else:
                if self._problem:
                    logger.info("%s is connected to NATS again", self._name)
                pause, self._problem = 0.1, ""
                await closed.wait()
                self._down()
                await _close(client)
                self._tell("the connection was lost")
            await asyncio.sleep(pause * (0.5 + random.random() / 2))
            pause = min(2 * pause, 2.0)

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            logger.warning("%s has no connection to %s: %s", self._name, self._said_servers, problem)

    async def _connect(self, client: Client, closed: asyncio.Event) -> None:
        problems: list[str] = []

        async def on_error(error: Exception) -> None:
            problems.append(str(error) or type(error).__name__)
            if closed_or_up():
                logger.warning("%s: NATS says: %s", self._name, problems[-1])

        def closed_or_up() -> bool:
            return self._client is client

        async def on_closed() -> None:
            closed.set()

        try:
            async with asyncio.timeout(15):
                await client.connect(
                    servers=self._servers,
                    name=self._name,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=5,
                    ping_interval=10,
                    max_outstanding_pings=2,
                    error_cb=on_error,
                    closed_cb=on_closed,
                    **self._options,
                )
                self._inbox = client.new_inbox()
                await client.subscribe(f"{self._inbox}.*", cb=self._on_reply)
                self._subscriptions.clear()
                for subject in tuple(self._wanted):
                    if subject in self._wanted:
                        await self._subscribe(client, subject)
                await settle(client, _SETTLE_TIMEOUT)
                # What was wanted meanwhile, too: there is no wait between the last look at it and the end.
                while missing := self._wanted.keys() - self._subscriptions.keys():
                    for subject in missing:
                        if subject in self._wanted:
                            await self._subscribe(client, subject)
        except Exception as error:
            said = "; ".join(dict.fromkeys([*problems[:1], str(error) or type(error).__name__]))
            raise ConnectionError(said) from error
        if closed.is_set() or client.is_closed:
            raise ConnectionError("; ".join(problems[:1]) or "the connection was closed at once")
        self._client = client
        self._up.set()
        self.on_change(True)

    def _down(self) -> None:
        was_up = self.connected
        self._client = None
        self._up.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LinkError("lost", "the connection to NATS was lost"))
        if was_up:
            self.on_change(False)


async def _close(client: Client, *, flush: bool = False) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(5):
            if flush and client.is_connected:
                await settle(client, _SETTLE_TIMEOUT)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(5):
            await client.close()
