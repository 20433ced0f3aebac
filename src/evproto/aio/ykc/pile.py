"""A pile as a client of a platform."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl as _ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

from evproto.aio.ykc.connected import judge, unwrap
from evproto.aio.ykc.events import Offline, Online, Watched
from evproto.aio.ykc.handlers import Handlers
from evproto.aio.ykc.limits import Limits
from evproto.aio.ykc.link import SocketLink
from evproto.errors import SessionClosedError
from evproto.messages import Message, Request, UnknownMessage
from evproto.wire.frame import AnyMessage, Frame
from evproto.ykc.codec import Codec
from evproto.ykc.enums import GunHealth
from evproto.ykc.messages import BillingModelResponse, LoginRequest, TransactionRecordResponse
from evproto.ykc.records import Uploads
from evproto.ykc.session import (
    Answered,
    BillingModelReceived,
    LoggedIn,
    MessageReceived,
    PileSession,
    PileSettings,
    RecordEnded,
)
from evproto.ykc.versions import login_version, version_codec

__all__ = ["Backoff", "Pile"]

logger = logging.getLogger("evproto.ykc.pile")

R = TypeVar("R")
T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])
Watcher = Callable[["Pile", Watched], None]


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait between attempts to connect, in seconds."""

    first: float = 1.0
    factor: float = 2.0
    most: float = 60.0
    jitter: float = 0.3
    """By which part of it, at most, a wait is longer or shorter, by chance: piles
    that lost their platform together do not come back together."""

    def wait(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures in a row (1, 2...); ``chance`` is 0 to 1."""
        if failures < 1:
            return 0.0
        exponent = min(failures - 1, 64)
        plain = min(self.most, self.first * self.factor**exponent)
        return plain * (1 + self.jitter * (2 * chance - 1))


class Pile:
    """A pile that keeps itself connected to its platform.

    ::

        pile = Pile(login, "127.0.0.1", 27600)

        @pile.on(RemoteStopRequest)
        async def stop(pile: Pile, request: RemoteStopRequest) -> RemoteStopResponse: ...

        await pile.start()
        await pile.online()
        answer = await pile.call(StartRequest(...))

    It logs in, beats, asks about its billing model, and comes back with
    growing pauses when the connection is lost or the login refused. Handlers
    run one at a time, in order; what one returns goes back as the answer.

    Args:
        login: what it logs in with.
        host, port: the platform.
        settings: see ``PileSettings``.
        codec: speaks something else than the version of the login.
        ssl: for TLS; ``server_hostname`` is whose certificate is wanted.
        backoff: pauses between attempts; None: it connects once only.
        uploads: the records it has kept; its own otherwise, in memory.
        chance: gives the 0 to 1 of the back-off.
    """

    def __init__(
        self,
        login: LoginRequest,
        host: str,
        port: int,
        *,
        settings: PileSettings | None = None,
        codec: Codec | None = None,
        ssl: _ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        backoff: Backoff | None = Backoff(),  # noqa: B008 (immutable)
        uploads: Uploads | None = None,
        limits: Limits | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.login = login
        self.host = host
        self.port = port
        self.settings = settings or PileSettings()
        self.uploads = uploads if uploads is not None else Uploads()
        self.limits = limits or Limits(idle_timeout=None)
        self.handlers = Handlers()
        self.failures = 0
        """How many handlers have failed, or returned what could not be sent."""
        self.watched = False
        self.billing_model: BillingModelResponse | None = None
        """The last billing model the platform has sent."""
        self.billing_model_no = "0000"
        self.gun_health: dict[str, GunHealth] = {
            f"{gun:02d}": GunHealth.NORMAL for gun in range(1, login.gun_count + 1)
        }
        """What its heartbeats say, by gun number."""
        self.closed = ""
        """Why the last connection has ended; empty while there is one."""
        self._codec = codec
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._backoff = backoff
        self._chance = chance
        self._watchers: tuple[Watcher, ...] = ()
        self._link: PileLink | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._online = asyncio.Event()
        self._offline = asyncio.Event()
        self._offline.set()
        self._confirmations: dict[int, asyncio.Future[TransactionRecordResponse]] = {}

    # --- its life

    async def start(self) -> None:
        """Connect, and keep connected until :meth:`close`. Returns at once."""
        if self._task is not None and not self._task.done():
            raise RuntimeError("the pile has been started already")
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    async def online(self, timeout: float | None = None) -> None:
        """Wait until the platform has accepted the login.

        Raises:
            TimeoutError: it has not within ``timeout`` seconds.
            SessionClosedError: it connects once only, and that has failed.
        """
        async with asyncio.timeout(timeout):
            waiter = asyncio.ensure_future(self._online.wait())
            watched = {waiter} if self._task is None else {waiter, self._task}
            try:
                await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiter.cancel()
        if not self._online.is_set():
            raise SessionClosedError(f"the pile is not online: {self.closed or 'it has been closed'}")

    async def offline(self, timeout: float | None = None) -> None:
        """Wait until there is no connection that is logged in.

        Raises:
            TimeoutError: there still is, after ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout):
            await self._offline.wait()

    async def close(self) -> None:
        """Disconnect, and stay so. Records that are not confirmed stay in ``uploads``."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for future in self._confirmations.values():
            future.cancel()
        self._confirmations.clear()

    @property
    def is_online(self) -> bool:
        """Whether the platform has accepted the login, and the connection is there."""
        return self._online.is_set()

    @property
    def pile_id(self) -> str:
        """Its 14 digits."""
        return self.login.pile_id

    @property
    def session(self) -> PileSession | None:
        """The session of the connection there is."""
        return self._link.session if self._link is not None else None

    # --- what it can do

    @overload
    def on(self, cls: type[T], /) -> Callable[[Callable[[Pile, T], R]], Callable[[Pile, T], R]]: ...

    @overload
    def on(self, *classes: type[Any]) -> Callable[[H], H]: ...

    def on(self, *classes: type[Any]) -> Any:
        """Register a handler, called as ``handler(pile, message)``; see ``PileServer.on``.

        Beside messages: ``Online``, ``Offline``, ``RecordEnded``,
        ``BillingModelReceived``, ``HeartbeatMissed``, ``NotServed``, ``Damaged``.
        """

        def register(handler: H) -> H:
            self.handlers.add(classes, handler)
            return handler

        return register

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """See every frame in both directions; call what is returned to stop."""
        self._watchers = (*self._watchers, watcher)
        self._trace()

        def stop() -> None:
            self._watchers = tuple(one for one in self._watchers if one is not watcher)
            self._trace()

        return stop

    async def call(self, request: Request[R], timeout: float | None = None) -> R:
        """Send a request and wait for its answer; errors as ``ConnectedPile.call``."""
        answered = await self.exchange(request, timeout)  # type: ignore[arg-type]
        return unwrap(answered, request)  # type: ignore[no-any-return]

    async def exchange(self, request: Message, timeout: float | None = None) -> Answered:
        """As :meth:`call`, with the answer's frame, raw bytes and warning."""
        return judge(await self._connected().outcome(request, timeout), request)

    def send(self, message: AnyMessage | Frame, *, sequence: int | None = None) -> int:
        """Send a report; return its sequence number.

        Raises:
            SessionClosedError: the pile is not online; nothing was sent.
            EncodeError: the wire cannot carry it.
        """
        link = self._connected()
        number = link.session.send(message, link.now(), sequence)
        link.flush()
        return number

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, right or wrong; for simulators.

        Raises:
            SessionClosedError: there is no connection.
        """
        if self._link is None:
            raise SessionClosedError("the pile has no connection")
        self._link.write(data)

    def reply(self, received: MessageReceived, message: AnyMessage) -> None:
        """Answer a message, now or later; errors as ``ConnectedPile.reply``."""
        link = self._connected()
        link.session.reply(received, message, link.now())
        link.flush()

    def keep(self, record: Message | UnknownMessage) -> int:
        """Keep a transaction record until it is confirmed, and upload it by the document's rule.

        Needs no connection. Returns its token in ``uploads``; ``RecordEnded``
        says what became of it.

        Raises:
            EncodeError: the wire cannot carry it.
        """
        link = self._link
        if link is None:
            (self._codec or version_codec(login_version(self.login)[0])).encode(record)
            return self.uploads.add(record)
        token = link.session.upload(record, link.now())
        link.flush()
        return token

    async def upload(self, record: Message | UnknownMessage) -> TransactionRecordResponse:
        """Keep a record, and wait for as long as it takes until it is confirmed.

        Raises:
            EncodeError: the wire cannot carry it.
            asyncio.CancelledError: the pile was closed first; it is still kept.
        """
        token = self.keep(record)
        future: asyncio.Future[TransactionRecordResponse] = asyncio.get_running_loop().create_future()
        self._confirmations[token] = future
        try:
            return await future
        finally:
            self._confirmations.pop(token, None)

    def disconnect(self, reason: str = "closed by the pile") -> None:
        """Drop the connection there is; the pile comes back by itself."""
        if self._link is not None:
            self._link.close(reason)

    # --- for its link

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it runs in."""
        assert self._loop is not None, "start() comes first"
        return self._loop

    def wall(self, moment: float) -> float:
        """A moment of the loop's time, in seconds since 1970."""
        return time.time() - (self.loop.time() - moment)

    def show(self, peer: Any, watched: Watched) -> None:
        """Tell the watchers."""
        for watcher in self._watchers:
            try:
                watcher(peer, watched)
            except Exception:
                logger.exception("a watcher failed")

    def make_session(self, now: float) -> PileSession:
        """The session of a new connection."""
        session = PileSession(
            self.login,
            self.settings,
            codec=self._codec,
            uploads=self.uploads,
            billing_model_no=self.billing_model_no,
            now=now,
            traced=self.watched,
        )
        session.gun_health = self.gun_health
        return session

    def logged_in(self) -> None:
        """The login was accepted."""
        self._offline.clear()
        self._online.set()

    def lost(self, reason: str) -> None:
        """A connection has ended."""
        self._online.clear()
        self._offline.set()
        self.closed = reason

    def confirmed(self, event: RecordEnded) -> None:
        """What became of a record."""
        future = self._confirmations.get(event.token)
        if future is not None and not future.done() and event.confirmation is not None:
            future.set_result(event.confirmation)

    async def _run(self) -> None:
        failures = 0
        while True:
            served = False
            link: PileLink | None = None
            try:
                _, link = await self.loop.create_connection(
                    lambda: PileLink(self),
                    self.host,
                    self.port,
                    ssl=self._ssl,
                    server_hostname=self._server_hostname if self._ssl is not None else None,
                )
                self._link, self.closed = link, ""
                await link.ended.wait()
                served = link.served
            except OSError as error:
                self.closed = f"cannot connect: {error}"
                logger.info("pile %s: %s", self.pile_id, self.closed)
            finally:
                self._link = None
                if link is not None and not link.ended.is_set():
                    link.close("closed by the pile")
                    await asyncio.shield(link.ended.wait())
            if self._backoff is None:
                return
            failures = 1 if served else failures + 1
            await asyncio.sleep(self._backoff.wait(failures, self._chance()))

    def _connected(self) -> PileLink:
        if self._link is None:
            raise SessionClosedError(f"the pile is not online: {self.closed or 'not connected'}")
        return self._link

    def _trace(self) -> None:
        self.watched = bool(self._watchers)
        if self._link is not None:
            self._link.session.traced = self.watched

    def __repr__(self) -> str:
        return f"<Pile {self.pile_id}: {'online' if self.is_online else self.closed or 'offline'}>"


class PileLink(SocketLink):
    """One connection of a pile to its platform."""

    __slots__ = ("_pile", "_told", "ended", "served")

    session: PileSession
    peer: Pile

    def __init__(self, pile: Pile) -> None:
        super().__init__(pile)
        self._pile = self.peer = pile
        self.session = pile.make_session(self.now())
        self._told = False
        self.ended = asyncio.Event()
        self.served = False
        """Whether the login was accepted."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.ended.set()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._transport.write(data)

    def _event(self, event: Any) -> None:
        kind = event.__class__
        if kind is LoggedIn:
            self.served = True
            self._pile.logged_in()
            self._tell(Online(again=False, replaced=False))
            return
        if kind is RecordEnded:
            self._pile.confirmed(event)
        elif kind is BillingModelReceived and event.model is not None:
            self._pile.billing_model = event.model
        self._tell(event)

    def _note(self, event: MessageReceived) -> None:
        self._pile.billing_model_no = self.session.billing_model_no

    def _ended(self) -> None:
        if not self._told:
            self._told = True
            self._pile.lost(self.session.closed)
            if self.served:
                self._tell(Offline(reason=self.session.closed))
