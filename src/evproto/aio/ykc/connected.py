"""A pile that is connected, as the application sees it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from evproto.errors import (
    CallCancelledError,
    CallEndedError,
    CallTimeoutError,
    ConnectionLostError,
)
from evproto.messages import Message, Request
from evproto.wire.frame import AnyMessage, Frame
from evproto.ykc.codec import Codec
from evproto.ykc.enums import FailureSuccess, GunHealth
from evproto.ykc.messages import (
    BillingModelSettingResponse,
    LoginRequest,
    RealtimeDataReport,
)
from evproto.ykc.session import (
    Answered,
    Cancelled,
    LoginReceived,
    MessageReceived,
    PlatformSession,
    TimedOut,
)
from evproto.ykc.tariff import Tariff

if TYPE_CHECKING:
    from evproto.aio.ykc.connection import Connection

__all__ = ["ConnectedPile", "unwrap"]

R = TypeVar("R")


class ConnectedPile:
    """One connection of a pile to the server.

    Handlers get it; :attr:`PileServer.piles` has those that are logged in. It
    stays usable after the connection has ended: everything that would send
    then raises ``SessionClosedError``.
    """

    __slots__ = ("__weakref__", "_connection", "connected_at", "context", "data")

    def __init__(self, connection: Connection, connected_at: float) -> None:
        self._connection = connection
        self.connected_at = connected_at
        """When the connection was made, in seconds since 1970."""
        self.data: dict[str, RealtimeDataReport] = {}
        """The last real-time data (0x13) by gun number."""
        self.context: Any = None
        """For the application: whatever it keeps about this connection."""

    # --- who it is

    @property
    def pile_id(self) -> str:
        """The 14 digits it logged in with; empty before."""
        return self._session.pile_id

    @property
    def login(self) -> LoginRequest | None:
        """Its accepted login."""
        return self._session.login

    @property
    def waiting(self) -> LoginReceived | None:
        """Its login, while that waits for :meth:`accept_login` or :meth:`refuse_login`."""
        return self._session.waiting

    @property
    def version(self) -> str:
        """The protocol version of its login."""
        return self._session.version

    @property
    def codec(self) -> Codec:
        """The codec it is spoken to with."""
        return self._session.codec

    @property
    def address(self) -> str:
        """Where it connects from, as ``host:port``."""
        return self._connection.address

    @property
    def online(self) -> bool:
        """Whether it is logged in and connected."""
        return self._session.online

    @property
    def closed(self) -> str:
        """Why the connection has ended; empty while it has not."""
        return self._session.closed

    @property
    def last_seen(self) -> float:
        """When bytes came from it last, in seconds since 1970."""
        return self._connection.wall(self._session.last_received)

    @property
    def heard_at(self) -> float:
        """The same in the event loop's time."""
        return self._session.last_received

    @property
    def last_heartbeats(self) -> Mapping[str, float]:
        """When each gun's last heartbeat came, in seconds since 1970, by gun number."""
        return {gun: self._connection.wall(when) for gun, when in self._session.last_heartbeats.items()}

    @property
    def gun_health(self) -> Mapping[str, GunHealth]:
        """What the last heartbeat of each gun said, by gun number. A live view."""
        return MappingProxyType(self._session.gun_health)

    @property
    def tariff(self) -> Tariff | None:
        """Its billing model, with which 0x05 and 0x09 are answered."""
        return self._session.tariff

    @tariff.setter
    def tariff(self, tariff: Tariff | None) -> None:
        self._session.tariff = tariff

    @property
    def queued(self) -> int:
        """How many of its messages wait for handlers."""
        return self._connection.queued

    # --- what it can be asked

    async def call(self, request: Request[R], timeout: float | None = None) -> R:
        """Send a request and wait for its answer; ``timeout`` in seconds.

        Raises:
            CallTimeoutError: no answer came in time; one may still come, to handlers.
            ConnectionLostError: the connection ended first; the pile may have acted or not.
            DecodeError: there was an answer, but it cannot be read.
            SessionClosedError: the pile is not online; nothing was sent.
            QueueFullError: too many requests wait already; nothing was sent.
            SessionError: the message is no request of a platform.
            EncodeError: the wire cannot carry it.
        """
        answered = await self.exchange(request, timeout)  # type: ignore[arg-type]
        return unwrap(answered, request)  # type: ignore[no-any-return]

    async def exchange(self, request: Message, timeout: float | None = None) -> Answered:
        """As :meth:`call`, with the answer's frame, raw bytes and warning.

        Raises:
            The same; but an answer that cannot be read is returned.
        """
        return judge(await self._connection.outcome(request, timeout), request)

    def send(self, message: AnyMessage | Frame, *, sequence: int | None = None) -> int:
        """Send a message and wait for nothing; return its sequence number.

        An answer to it, if one comes, goes to handlers.

        Raises:
            SessionClosedError: the pile is not online; nothing was sent.
            EncodeError: the wire cannot carry it.
        """
        number = self._session.send(message, self._connection.now(), sequence)
        self._connection.flush()
        return number

    def reply(self, received: MessageReceived, message: AnyMessage) -> None:
        """Answer a message, now or later, under the sequence number it came with.

        Raises:
            SessionError: the message is not what answers that one.
            SessionClosedError: the pile is not online; nothing was sent.
            EncodeError: the wire cannot carry it.
        """
        self._session.reply(received, message, self._connection.now())
        self._connection.flush()

    async def set_tariff(self, tariff: Tariff, timeout: float | None = None) -> BillingModelSettingResponse:
        """Set its billing model with 0x58; kept for 0x05 and 0x09 if the pile takes it.

        Raises:
            As :meth:`call`; ValueError: a price is missing, or there are not 48 periods.
        """
        answer = await self.call(tariff.setting(self.pile_id), timeout)
        if answer.result == FailureSuccess.SUCCESS:
            self.tariff = tariff
        return answer

    async def sync_time(self, timeout: float | None = None) -> dt.timedelta:
        """Set its clock with 0x56; return by how much the clock it answers with is ahead.

        Raises:
            As :meth:`call`.
        """
        return await self._connection.sync_time(timeout)

    # --- its login, and its end

    def accept_login(
        self,
        *,
        codec: Codec | None = None,
        tariff: Tariff | None = None,
        response: Message | None = None,
    ) -> None:
        """Accept the login that waits; ``response`` is the 0x02, for dialects that say more in it.

        Raises:
            SessionError: none waits; or the policy for duplicates refuses it; or
                the dialect's 0x02 has fields that only the application can fill.
        """
        self._connection.accept(codec, tariff, response)

    def refuse_login(self, *, response: Message | None = None) -> None:
        """Refuse the login that waits: the pile is told, and disconnected.

        Raises:
            SessionError: none waits; or as above.
        """
        self._session.refuse_login(self._connection.now(), response)
        self._connection.flush()

    def close(self, reason: str = "closed by the application") -> None:
        """Disconnect it. What waits for answers ends with ``ConnectionLostError``."""
        self._connection.close(reason)

    @property
    def _session(self) -> PlatformSession:
        return self._connection.session

    def __repr__(self) -> str:
        state = "online" if self.online else self.closed or "not logged in"
        return f"<ConnectedPile {self.pile_id or '?'} at {self.address}: {state}>"


def judge(outcome: Any, request: Message) -> Answered:
    """The answer, or the error that an outcome stands for."""
    if isinstance(outcome, Answered):
        return outcome
    action = type(request).__name__
    if isinstance(outcome, TimedOut):
        raise CallTimeoutError(f"{action}: no answer within {outcome.after:g} s", action=action)
    if isinstance(outcome, Cancelled):
        raise CallCancelledError(f"{action} was cancelled", action=action)
    raise ConnectionLostError(f"{action}: {outcome.reason}", action=action)


def unwrap(answered: Answered, request: Any) -> Any:
    """The message of an answer.

    Raises:
        DecodeError: its body cannot be read.
        CallEndedError: its body is encrypted, and there is no cipher.
    """
    if answered.error is not None:
        raise answered.error
    if answered.frame.encrypted and not isinstance(answered.message, Message):
        action = type(request).__name__
        raise CallEndedError(f"{action}: the answer is encrypted", action=action)
    return answered.message
