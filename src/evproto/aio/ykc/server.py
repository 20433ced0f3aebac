"""The platform's server: piles connect, handlers hear of it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import inspect
import logging
import socket
import ssl as _ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar, overload

import msgspec

from evproto.aio.ykc.connected import ConnectedPile
from evproto.aio.ykc.connection import Connection
from evproto.aio.ykc.events import Watched
from evproto.aio.ykc.handlers import Handlers
from evproto.aio.ykc.limits import Limits
from evproto.errors import EvprotoError, SessionError
from evproto.messages import Message
from evproto.ykc.codec import Codec
from evproto.ykc.messages import LoginRequest, RealtimeDataRequest
from evproto.ykc.session import LoginReceived, MessageReceived, PlatformSession, PlatformSettings
from evproto.ykc.tariff import Tariff

__all__ = ["Admission", "PileServer"]

logger = logging.getLogger("evproto.ykc")

R = TypeVar("R")
T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])

Duplicates = Literal["probe", "newest", "refuse"]
Watcher = Callable[[ConnectedPile, Watched], None]


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A login is accepted, with what is special about this pile."""

    codec: Codec | None = None
    """What it is spoken to with; None: the codec of its version."""
    tariff: Tariff | None = None
    """Its billing model; None: the one in the settings."""
    response: Message | None = None
    """The 0x02 itself, for dialects that say more in it."""


Verdict = bool | Admission | None
Authenticate = Callable[[ConnectedPile, LoginReceived], Verdict | Awaitable[Verdict]]


class PileServer:
    """A server that piles connect to.

    ::

        server = PileServer()

        @server.on(StartRequest)
        async def start(pile: ConnectedPile, request: StartRequest) -> StartResponse: ...

        await server.start("0.0.0.0", 27600)

    Handlers are registered by class with :meth:`on`: of a message, or of an
    event. They run one at a time per pile, in the order in which its messages
    came; answers to calls do not wait for them, so a handler may ``await
    pile.call(...)``. A message that a handler returns goes back as the answer.

    Args:
        settings: how piles are treated; see ``PlatformSettings``.
        limits: what one peer may ask of the server.
        codec: decodes logins; the newest version otherwise. Its options (zone,
            checksum policy...) carry over to the codec of each pile's version.
        codec_for: the codec for a pile, by its login and the version in it.
        heartbeat_for: how far apart a pile's heartbeats are, in seconds, by its
            login; where it says None, as far as in the settings.
        authenticate: judges logins: True or an :class:`Admission` accepts,
            False refuses, None leaves it to ``pile.accept_login()`` or
            ``pile.refuse_login()``. May be a coroutine function.
        auto_login: what becomes of a login without ``authenticate``: accepted,
            or left waiting.
        duplicates: what becomes of a login for a pile that is connected
            already. ``"probe"``: the older connection is asked for a sign of
            life; it makes room if there is none, else the newer is refused.
            ``"newest"``: the older makes room. ``"refuse"``: the newer is refused.
        probe_timeout: how long the older connection has for that, in seconds.
        clock: the time of day, for time synchronisation.
    """

    def __init__(
        self,
        settings: PlatformSettings | None = None,
        *,
        limits: Limits | None = None,
        codec: Codec | None = None,
        codec_for: Callable[[LoginRequest, str], Codec] | None = None,
        heartbeat_for: Callable[[LoginRequest], float | None] | None = None,
        authenticate: Authenticate | None = None,
        auto_login: bool = True,
        duplicates: Duplicates = "probe",
        probe_timeout: float = 5.0,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.settings = settings or PlatformSettings()
        self.limits = limits or Limits()
        self.clock = clock
        self.handlers = Handlers()
        self.failures = 0
        """How many handlers have failed, or returned what could not be sent."""
        self.watched = False
        self._quiet = True
        self._tap: Callable[[ConnectedPile, bool, bytes, float], None] | None = None
        self._codec = codec
        self._codec_for = codec_for
        self._heartbeat_for = heartbeat_for
        self._authenticate = authenticate
        self._auto_login = auto_login
        self._duplicates: Duplicates = duplicates
        self._probe_timeout = probe_timeout
        self._piles: dict[str, ConnectedPile] = {}
        self._connections: set[Connection] = set()
        self._per_host: dict[str, int] = {}
        self._watchers: tuple[Watcher, ...] = ()
        self._servers: list[asyncio.Server] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._empty: asyncio.Event | None = None

    # --- for applications

    @property
    def piles(self) -> Mapping[str, ConnectedPile]:
        """The piles that are online, by their 14 digits. A live view."""
        return MappingProxyType(self._piles)

    @property
    def connections(self) -> tuple[ConnectedPile, ...]:
        """Every connection, logged in or not."""
        return tuple(connection.peer for connection in self._connections)

    @property
    def waiting(self) -> Mapping[str, ConnectedPile]:
        """The connections whose login waits to be accepted or refused, by pile."""
        return {
            connection.session.waiting.login.pile_id: connection.peer
            for connection in self._connections
            if connection.session.waiting is not None
        }

    @overload
    def on(
        self, cls: type[T], /
    ) -> Callable[[Callable[[ConnectedPile, T], R]], Callable[[ConnectedPile, T], R]]: ...

    @overload
    def on(self, *classes: type[Any]) -> Callable[[H], H]: ...

    def on(self, *classes: type[Any]) -> Any:
        """Register a handler, called as ``handler(pile, message)``, sync or async.

        ``classes`` are message classes; ``UnknownMessage`` and
        ``EncryptedMessage``, for bodies that no layout fits or no cipher opens;
        ``MessageReceived`` for every message, with its frame and raw bytes; or
        events: ``Online``, ``Offline``, ``NotServed``, ``Damaged``,
        ``HeartbeatMissed``, ``RequestEnded``, ``LoginReceived``, ``Closing``.

        Answers to calls go to handlers too, besides ending the call. A plain
        function runs at once where nothing is queued for the pile, without a task.
        """

        def register(handler: H) -> H:
            self.handlers.add(classes, handler)
            self._hush()
            return handler

        return register

    def on_record(self, handler: H) -> H:
        """Register a handler for transaction records, called with the whole ``MessageReceived``.

        It gets records of every layout, and those that no layout fits. What it
        returns (``TransactionRecordResponse``) goes back as the confirmation;
        nothing else confirms a record.
        """
        self.handlers.add_for_records(handler)
        self._hush()
        return handler

    def on_message(self, handler: H, *, heartbeats: bool = True) -> H:
        """Register a handler for every message, called with the whole ``MessageReceived``.

        Without ``heartbeats``, those that are answered by the server need not
        be told of, and cost half: most of what piles send are heartbeats.
        """
        self.handlers.add((MessageReceived,), handler, heartbeats=heartbeats)
        self._hush()
        return handler

    def tap(self, tap: Callable[[ConnectedPile, bool, bytes, float], None] | None) -> None:
        """Have the bytes of every frame of new connections shown: ``tap(pile, received, raw, now)``.

        For whoever counts or keeps frames and does not want them decoded; it
        costs a fraction of :meth:`watch`. It must be quick, and not raise.
        """
        self._tap = tap

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """See every frame in both directions; call what is returned to stop.

        Watchers are called while frames are taken in and sent: they must be quick.
        """
        self._watchers = (*self._watchers, watcher)
        self._trace()

        def stop() -> None:
            self._watchers = tuple(one for one in self._watchers if one is not watcher)
            self._trace()

        return stop

    async def start(
        self,
        host: str | None = "127.0.0.1",
        port: int = 0,
        *,
        ssl: _ssl.SSLContext | None = None,
        sock: socket.socket | None = None,
        backlog: int = 4096,
    ) -> int:
        """Listen; return the port (with ``port`` 0, a free one).

        ``sock`` is a bound socket to listen on, instead of ``host`` and ``port``.

        May be called again, for another address or for TLS beside plain TCP.

        Raises:
            OSError: the address is in use, or not this machine's.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise RuntimeError("a server belongs to one event loop")
        self._loop = loop
        self._closing = False
        if sock is not None:
            server = await loop.create_server(lambda: Connection(self), sock=sock, ssl=ssl, backlog=backlog)
        else:
            server = await loop.create_server(
                lambda: Connection(self), host, port, ssl=ssl, backlog=backlog, reuse_address=True
            )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    @property
    def addresses(self) -> tuple[Any, ...]:
        """Where it listens, as from ``socket.getsockname``."""
        return tuple(sock.getsockname() for server in self._servers for sock in server.sockets)

    def stop_listening(self) -> None:
        """Take no more connections; those that are there stay. ``close`` comes after."""
        self._closing = True
        for server in self._servers:
            server.close()

    async def close(self, drain: float = 5.0) -> None:
        """Stop listening, let handlers finish for ``drain`` seconds, then disconnect.

        Messages that come while it drains and want a handler are left without an
        answer, so that the piles come with them again.
        """
        self.stop_listening()
        for connection in self._connections:
            connection.drain()
        workers = [connection.worker for connection in self._connections if connection.worker is not None]
        if workers and drain > 0:
            await asyncio.wait(workers, timeout=drain)
        for connection in list(self._connections):
            connection.close("the server is closing")
        workers = [connection.worker for connection in self._connections if connection.worker is not None]
        if workers:
            await asyncio.wait(workers, timeout=1.0)
        for worker in workers:
            worker.cancel()
        # Transports end in a later turn of the loop, when what was written is sent.
        await self._emptied(max(1.0, drain))
        for connection in list(self._connections):
            connection.abort()
        await self._emptied(1.0)
        self._servers.clear()

    # --- for connections

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it runs in."""
        assert self._loop is not None, "start() comes first"
        return self._loop

    @property
    def frames_per_window(self) -> int:
        """Frames a connection may send in one window of the rate limit."""
        return max(1, int(self.limits.frame_rate * self.limits.rate_window))

    def wall(self, moment: float) -> float:
        """A moment of the loop's time, in seconds since 1970."""
        return time.time() - (self.loop.time() - moment)

    def make_session(self, now: float) -> PlatformSession:
        """The session of a new connection."""
        session = PlatformSession(
            self._codec, self.settings, codec_for=self._codec_for, heartbeat_for=self._heartbeat_for, now=now
        )
        session.quiet_heartbeats = self._quiet
        return session

    def tap_of(self, pile: ConnectedPile) -> Callable[[bool, bytes, float], None] | None:
        """What a new connection shows the bytes of its frames to."""
        return None if self._tap is None else functools.partial(self._tap, pile)

    def admit(self, connection: Connection) -> str:
        """Count a new connection; why it must go, or empty."""
        host = connection.host
        if self._closing:
            return "the server is closing"
        if len(self._connections) >= self.limits.max_connections:
            return f"there are {len(self._connections)} connections already"
        most = self.limits.max_per_address
        if most is not None and self._per_host.get(host, 0) >= most:
            return f"there are {most} connections of {host} already"
        self._connections.add(connection)
        self._per_host[host] = self._per_host.get(host, 0) + 1
        return ""

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        left = self._per_host[connection.host] - 1
        if left:
            self._per_host[connection.host] = left
        else:
            del self._per_host[connection.host]
        if self._empty is not None and not self._connections:
            self._empty.set()

    def gone(self, connection: Connection) -> None:
        """A pile is no longer online, or not on this connection."""
        pile_id = connection.session.pile_id
        if pile_id and self._piles.get(pile_id) is connection.peer:
            del self._piles[pile_id]

    def logged_in(self, connection: Connection) -> bool:
        """A login was accepted; whether an older connection made room."""
        pile_id = connection.session.pile_id
        older = self._piles.get(pile_id)
        self._piles[pile_id] = connection.peer
        if older is None or older is connection.peer:
            return False
        logger.warning("pile %s: %s takes the place of %s", pile_id, connection.address, older.address)
        older.close("replaced by a newer connection")
        return True

    def judge_login(self, connection: Connection, event: LoginReceived) -> None:
        """A login has come."""
        if self._authenticate is None and not self._auto_login:
            return
        older = self._piles.get(event.login.pile_id)
        rival = older is not None and older is not connection.peer and self._duplicates != "newest"
        if self._authenticate is None and not rival:
            self._accept(connection, Admission())
            return
        if connection.judging is None or connection.judging.done():
            connection.judging = self.loop.create_task(self._judge(connection, event))

    def check_room(self, connection: Connection) -> None:
        """The application accepts a login by itself.

        Raises:
            SessionError: the policy refuses it, the pile is connected already.
        """
        waiting = connection.session.waiting
        older = self._piles.get(waiting.login.pile_id) if waiting is not None else None
        if older is not None and older is not connection.peer and self._duplicates == "refuse":
            raise SessionError(f"pile {older.pile_id} is connected already, from {older.address}")

    def show(self, pile: ConnectedPile, watched: Watched) -> None:
        """Tell the watchers."""
        for watcher in self._watchers:
            try:
                watcher(pile, watched)
            except Exception:
                logger.exception("a watcher failed")

    async def _judge(self, connection: Connection, event: LoginReceived) -> None:
        pile_id = event.login.pile_id
        verdict: Verdict = True
        if self._authenticate is not None:
            try:
                asked = self._authenticate(connection.peer, event)
                verdict = await asked if inspect.isawaitable(asked) else asked
            except Exception:
                logger.exception("pile %s: judging its login failed, it is refused", pile_id)
                verdict = False
        if verdict is None:
            return
        if verdict and not await self._room_for(connection, pile_id):
            verdict = False
        if connection.session.waiting is None or connection.session.closed:
            return
        if verdict:
            self._accept(connection, verdict if isinstance(verdict, Admission) else Admission())
        else:
            # Whoever judged it knows why; whoever connects must not be able to fill the log.
            logger.debug("pile %s from %s: its login is refused", pile_id, connection.address)
            connection.peer.refuse_login()

    def _accept(self, connection: Connection, admission: Admission) -> None:
        try:
            connection.accept(admission.codec, admission.tariff, admission.response)
        except EvprotoError:
            logger.exception("%s: its login could not be accepted", connection.address)
            connection.close("its login could not be accepted")

    async def _room_for(self, connection: Connection, pile_id: str) -> bool:
        """Whether a login may have the place of an older connection of the same pile."""
        older = self._piles.get(pile_id)
        if older is None or older is connection.peer or self._duplicates == "newest":
            return True
        if self._duplicates == "refuse":
            logger.warning("pile %s is connected already, from %s", pile_id, older.address)
            return False
        alive = await self._probe(older)
        if alive:
            logger.warning("pile %s is connected already, from %s, and answers", pile_id, older.address)
        return not alive

    async def _probe(self, pile: ConnectedPile) -> bool:
        """Whether a pile gives a sign of life: the answer to 0x12, or any other frame."""
        before = pile.heard_at
        try:
            await pile.call(RealtimeDataRequest(pile_id=pile.pile_id, gun_no="01"), self._probe_timeout)
        except EvprotoError:
            return pile.online and pile.heard_at > before
        return True

    async def _emptied(self, patience: float) -> None:
        """Wait until no connection is left, or for ``patience`` seconds."""
        if self._connections:
            self._empty = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), patience)
            self._empty = None

    def _hush(self) -> None:
        """Heartbeats are no events where nobody wants them."""
        self._quiet = not self.handlers.of_heartbeats
        for connection in self._connections:
            connection.session.quiet_heartbeats = self._quiet

    def _trace(self) -> None:
        self.watched = bool(self._watchers)
        for connection in self._connections:
            connection.session.traced = self.watched
