"""Holding back a peer that sends more than its rate, or does not read what is sent to it.

Its socket is not read from meanwhile, so that it is the peer's own system that
makes it wait, and nothing piles up here.
"""

from __future__ import annotations

import asyncio

from evproto.aio.ocpp.link import Link
from evproto.aio.ocpp.settings import PeerSettings

__all__ = ["Brake"]


class Brake:
    """What decides whether one link is read from. Times are those of the event loop's clock."""

    __slots__ = (
        "_counted",
        "_ended",
        "_held",
        "_link",
        "_loop",
        "_over_rate",
        "_settings",
        "_stall",
        "_tokens",
    )

    def __init__(self, link: Link, settings: PeerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._settings = settings
        self._loop = loop
        self._held = 0
        self._over_rate = False
        self._tokens = float(settings.burst)
        self._counted = loop.time()
        self._stall: asyncio.TimerHandle | None = None
        self._ended = False

    @property
    def stalled(self) -> bool:
        """Whether the peer leaves unread what is sent to it."""
        return self._stall is not None

    def writing_paused(self) -> None:
        """Too much is unsent. Who does not read is not read from either, and is cut off in the end.

        Else its requests would pile up answers.
        """
        if self._stall is None:
            self._stall = self._loop.call_later(self._settings.write_timeout, self._cut)
            self._hold()

    def writing_resumed(self) -> None:
        """The peer reads again."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
            self._release()

    def count(self, now: float) -> None:
        """A message has come. Who is over the rate is not read from until it has paid for it."""
        self._refill(now)
        self._tokens -= 1
        if self._tokens < 0 and not self._over_rate:
            self._over_rate = True
            self._hold()
            self._wait_for_tokens()

    def end(self) -> None:
        """The link has ended; it is left alone from now on."""
        self._ended = True
        if self._stall is not None:
            self._stall.cancel()

    def _cut(self) -> None:
        timeout = self._settings.write_timeout
        self._link.abort(f"it left {self._link.unsent} bytes unread for {timeout:g} s")

    def _hold(self) -> None:
        self._held += 1
        if self._held == 1:
            self._link.pause_reading()

    def _release(self) -> None:
        self._held -= 1
        if self._held == 0 and not self._ended:
            self._link.resume_reading()

    def _refill(self, now: float) -> None:
        rate = self._settings.rate or 0.0
        self._tokens = min(self._tokens + (now - self._counted) * rate, self._settings.burst)
        self._counted = now

    def _wait_for_tokens(self) -> None:
        self._refill(self._loop.time())
        if self._tokens < -1e-9 and not self._ended:
            # What was read already has been served meanwhile, and has to be paid for, too.
            self._loop.call_later(-self._tokens / (self._settings.rate or 1.0), self._wait_for_tokens)
        else:
            self._over_rate = False
            self._release()
