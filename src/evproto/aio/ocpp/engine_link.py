"""What the links of both engines do alike: read in turns, report to their receiver, and end once.

An engine hands whole messages to :meth:`EngineLink._deliver`. What it has read
and not looked at yet is its ``_backlog``, which it works off in ``_more``, a
turn of the event loop at a time and with the socket paused, so that one busy
peer never holds the loop for long.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import Any, Final

from evproto.aio.ocpp.link import Ending, Link, LinkOptions, Receiver, cut_later

__all__ = ["STATE", "EngineLink"]

logger = logging.getLogger("evproto.aio.ocpp")

STATE: Final = (
    "_backlog",
    "_closed",
    "_cut",
    "_ended",
    "_ending",
    "_more_scheduled",
    "_options",
    "_parts",
    "_paused",
    "_transport",
    "deflate",
    "receiver",
    "remote_address",
    "ssl_object",
    "subprotocol",
)
"""The slots that an engine's class declares for what is kept here."""

_NONE: Final = ()


class EngineLink(Link):
    """The base of an engine's class.

    It has no slots of its own, because an engine may have another base that
    has some: that one declares :data:`STATE`. It comes first among the bases,
    because those of the libraries do nothing when writing is paused.
    """

    __slots__ = _NONE

    receiver: Receiver | None
    """Who is told; None before and after."""
    _transport: asyncio.Transport
    """The socket's; None until there is one."""
    _options: LinkOptions
    _backlog: Any
    """What was read and waits for its turn; false if there is nothing."""
    _more_scheduled: bool
    _paused: bool
    _parts: list[bytes] | None
    """The beginning of a message that comes in several frames."""
    _ended: bool
    _ending: Ending | None
    _closed: asyncio.Future[None] | None
    """Done when the socket is gone; None until there is one."""
    _cut: asyncio.TimerHandle | None

    def _prepare(self, options: LinkOptions, nothing: Any) -> None:
        """Set the state of a link without a socket; ``nothing`` is an empty backlog."""
        self._transport = None  # type: ignore[assignment]
        self._options = options
        self._backlog = nothing
        self._more_scheduled = False
        self._paused = False
        self._parts = None
        self._ended = False
        self._ending = None
        self._closed = None
        self._cut = None
        self.receiver = None
        self.remote_address = ()
        self.ssl_object = None
        self.subprotocol = None
        self.deflate = False

    # What the owner does

    @property
    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            if not self._transport.is_closing():
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if self._backlog:
                self._later()
            elif not self._transport.is_closing():
                self._transport.resume_reading()

    def abort(self, reason: str = "") -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end(Ending(1006, reason, "here"))

    async def wait_closed(self) -> None:
        if self._closed is not None:
            await asyncio.shield(self._closed)

    # What the engine calls

    def _later(self) -> None:
        """Have the backlog worked off in the next turn of the loop."""
        if not self._more_scheduled:
            self._more_scheduled = True
            if not self._transport.is_closing():
                self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._more)

    @abstractmethod
    def _more(self) -> None:
        """Work off a part of the backlog, then call :meth:`_turn_over`, unless reading was paused before."""

    def _turn_over(self) -> None:
        """A part of the backlog was worked off: go on with the rest, or read again."""
        if self._backlog:
            if not self._paused:
                self._later()
        elif not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _deliver(self, data: bytes) -> None:
        receiver = self.receiver
        if receiver is None:
            return
        try:
            receiver.received(data)
        except Exception:
            logger.exception("a receiver failed; closing its connection")
            self.close(1011, "internal error")

    def _report_to(self, receiver: Receiver) -> None:
        """Have a receiver that was just made; it is told at once if making it has closed the link."""
        if self._ending is not None:
            receiver.ended(self._ending)
        else:
            self.receiver = receiver

    def _cut_soon(self) -> None:
        if self._cut is None and self._transport is not None:
            self._cut = cut_later(self._transport, self._options.close_timeout)

    def _end(self, ending: Ending) -> None:
        """Tell the receiver, if it was not told before."""
        if self._ended:
            return
        self._ended = True
        self._ending = ending
        # Of its own kind, so that the engine need not look whether it is over.
        self._backlog = type(self._backlog)()
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            try:
                receiver.ended(ending)
            except Exception:
                logger.exception("a receiver failed at the end of its connection")

    def _gone(self) -> None:
        """The socket is gone."""
        if self._cut is not None:
            self._cut.cancel()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    # What the event loop calls

    def pause_writing(self) -> None:
        if self.receiver is not None:
            self.receiver.writing_paused()

    def resume_writing(self) -> None:
        if self.receiver is not None:
            self.receiver.writing_resumed()
