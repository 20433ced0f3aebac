"""Every frame of a connection, for logs, captures and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from evproto.ocppj import CallError, CallResult, Envelope, MessageError
from evproto.ocppj.events import (
    AnswerRefused,
    CallDeclined,
    CallEnded,
    CallReceived,
    InvalidAnswer,
    Rejected,
    SendReceived,
    SessionEvent,
    Unexpected,
)

if TYPE_CHECKING:
    from evproto.aio.ocpp.peer import Peer

__all__ = ["Watch", "Watched"]


class Watched:
    """One frame that came or went.

    ``envelope`` and ``error`` are worked out when they are asked for, so that
    who only wants bytes pays for nothing else.
    """

    __slots__ = ("_known", "_pending", "data", "direction", "peer", "time")

    def __init__(
        self,
        peer: Peer,
        direction: Literal["in", "out"],
        data: bytes,
        time: float,
        known: Envelope | Exception | None,
        pending: Mapping[str, str],
    ) -> None:
        self.peer = peer
        self.direction = direction
        self.data = data
        self.time = time
        """Seconds since the epoch."""
        self._known = known
        self._pending = pending

    def __repr__(self) -> str:
        return f"<Watched {self.direction} {self.peer.identity} {self.data!r}>"

    @property
    def envelope(self) -> Envelope | None:
        """What the frame says; None where it could not be understood."""
        known = self._look()
        return None if isinstance(known, Exception) else known

    @property
    def error(self) -> Exception | None:
        """What is wrong with it, if anything."""
        known = self._look()
        return known if isinstance(known, Exception) else None

    def _look(self) -> Envelope | Exception:
        if self._known is None:
            try:
                self._known = self.peer.codec.decode(self.data, self._pending, "lenient")
            except MessageError as error:
                self._known = error
        return self._known


Watch = Callable[[Watched], None]


def known_of(events: list[SessionEvent], data: bytes) -> Envelope | Exception | None:
    """What the session found in a frame that has just come; None where its turn has not come yet."""
    for event in events:
        if isinstance(event, CallReceived):
            return event.call if event.raw is data else None
        if isinstance(event, SendReceived):
            return event.send
        if isinstance(event, CallEnded):
            outcome: Any = event.outcome
            if isinstance(outcome, CallResult | CallError):
                return outcome
            if isinstance(outcome, InvalidAnswer):
                return outcome.error
            return None
        if isinstance(event, Unexpected):
            return event.what
        if isinstance(event, Rejected | AnswerRefused):
            return event.error
        if isinstance(event, CallDeclined):
            return event.call
    return None
