"""One TCP connection of a pile to the server."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from typing import TYPE_CHECKING, Any

from evproto.aio.ykc.connected import ConnectedPile, judge, unwrap
from evproto.aio.ykc.events import Offline, Online
from evproto.aio.ykc.link import SocketLink
from evproto.errors import EvprotoError
from evproto.messages import Message
from evproto.ykc.codec import Codec
from evproto.ykc.messages import RealtimeDataReport, TimeSyncRequest
from evproto.ykc.session import LoggedIn, LoginReceived, MessageReceived, PlatformSession, TimeSyncDue
from evproto.ykc.tariff import Tariff

if TYPE_CHECKING:
    from evproto.aio.ykc.server import PileServer

__all__ = ["Connection"]

logger = logging.getLogger("evproto.ykc")


class Connection(SocketLink):
    """The platform's end: limits on the pile, its login, its place in the registry."""

    __slots__ = ("_online", "_rate_start", "_server", "judging")

    session: PlatformSession
    peer: ConnectedPile

    def __init__(self, server: PileServer) -> None:
        super().__init__(server)
        now = self._loop.time()
        self._server = server
        self.session = server.make_session(now)
        self.peer = ConnectedPile(self, server.wall(now))
        self.session.tap = server.tap_of(self.peer)
        self.judging: asyncio.Task[None] | None = None
        """What judges its login, while it takes time."""
        self._online = False
        self._rate_start = now
        self._rate_mark = server.frames_per_window

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        refusal = self._server.admit(self)
        if refusal:
            logger.warning("%s is refused: %s", self.address, refusal)
            self.session.lost(refusal, self.now())
            transport.abort()
            return
        self._arm()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self)
        if self.judging is not None:
            self.judging.cancel()
        super().connection_lost(error)

    async def sync_time(self, timeout: float | None = None) -> dt.timedelta:
        """See ``ConnectedPile.sync_time``."""
        request = self._time_sync()
        answer = unwrap(judge(await self.outcome(request, timeout), request), request)
        if isinstance(answer.current_time, dt.datetime) and isinstance(request.current_time, dt.datetime):
            return answer.current_time - request.current_time
        return dt.timedelta(0)

    def accept(self, codec: Codec | None, tariff: Tariff | None, response: Message | None) -> None:
        """Accept the login that waits; an older connection of the pile makes room.

        Raises:
            SessionError: no login waits, or the policy refuses it.
        """
        self._server.check_room(self)
        self.session.accept_login(self.now(), codec, tariff, response)
        self.flush()

    def _rate(self) -> None:
        now = self.session.last_received
        self._rate_mark = self.session.frames_received + self._server.frames_per_window
        end = self._rate_start + self._server.limits.rate_window
        wait = end - now
        self._rate_start = max(now, end)
        if wait > 0:
            # What it sends beyond stays in its own buffers until the window ends.
            self._pause()
            self._loop.call_later(wait, self._resume)

    def _note(self, event: MessageReceived) -> None:
        message = event.frame.message
        if message.__class__ is RealtimeDataReport:
            self.peer.data[message.gun_no] = message

    def _event(self, event: Any) -> None:
        kind = event.__class__
        if kind is LoginReceived:
            self._tell(event)
            self._server.judge_login(self, event)
        elif kind is LoggedIn:
            replaced = self._server.logged_in(self)
            self._online = True
            logger.info("pile %s is online, V%s, %s", event.login.pile_id, event.version, self.address)
            self._tell(Online(again=event.again, replaced=replaced))
        elif kind is TimeSyncDue:
            try:
                self.session.request(self._time_sync(), self.now())
            except EvprotoError as error:
                logger.warning("pile %s: its clock cannot be set: %s", self.session.pile_id, error)
            else:
                self.flush()
        else:
            self._tell(event)

    def _ended(self) -> None:
        self._server.gone(self)
        if self._online:
            self._online = False
            logger.info("pile %s is offline: %s", self.session.pile_id, self.session.closed)
            self._tell(Offline(reason=self.session.closed))

    def _time_sync(self) -> TimeSyncRequest:
        now = self._server.clock().astimezone(self.session.codec.tz)
        return TimeSyncRequest(pile_id=self.session.pile_id, current_time=now)
