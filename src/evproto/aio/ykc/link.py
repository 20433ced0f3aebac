"""A session on a socket, with a clock and handlers; the same for both ends.

One connection has one protocol object, one timer, and while handlers run, one
task. Frames that nobody but the session cares for never make a task.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections import deque
from typing import Any, Final, Protocol

from evproto.aio.ykc.events import Watched
from evproto.aio.ykc.handlers import Handler, Handlers
from evproto.aio.ykc.limits import Limits
from evproto.errors import EvprotoError
from evproto.messages import Message
from evproto.ykc.session import (
    Closing,
    ConnectionLost,
    MessageReceived,
    PileSession,
    PlatformSession,
    RequestEnded,
    Traced,
)

__all__ = ["Owner", "SocketLink"]

logger = logging.getLogger("evproto.ykc")

_TURN: Final = 4096
"""Bytes taken in before the loop turns to other connections."""


class Owner(Protocol):
    """What a link needs of the server, or of the pile, that it belongs to."""

    handlers: Handlers
    limits: Limits
    failures: int
    watched: bool

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def wall(self, moment: float) -> float: ...

    def show(self, peer: Any, watched: Watched) -> None: ...


class SocketLink(asyncio.Protocol):
    """One connection of either end."""

    __slots__ = (
        "_address",
        "_backlog",
        "_calls",
        "_draining",
        "_full",
        "_loop",
        "_owner",
        "_paused",
        "_queue",
        "_rate_mark",
        "_stuck",
        "_timer",
        "_timer_at",
        "_transport",
        "_worker",
        "peer",
        "session",
    )

    session: PlatformSession | PileSession
    peer: Any
    """What handlers get as their first argument."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = owner.loop
        self._transport: Any = None
        self._address: tuple[Any, ...] = ()
        self._calls: dict[int, asyncio.Future[Any]] | None = None
        self._queue: deque[tuple[Any, tuple[Handler, ...]]] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._stuck: asyncio.TimerHandle | None = None
        self._paused = 0
        self._draining = False
        self._full = False
        self._backlog: deque[memoryview] | None = None
        self._rate_mark: float = math.inf
        """At how many frames received the rate is to be looked at."""

    # --- asyncio's side

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._address = transport.get_extra_info("peername") or ()
        transport.set_write_buffer_limits(high=self._owner.limits.write_buffer)
        self.session.traced = self._owner.watched

    def data_received(self, data: bytes) -> None:
        if self._backlog is not None or len(data) > _TURN:
            self._put_off(data)
            return
        session = self.session
        session.receive(data, self._loop.time())
        events, frames = session.take()
        if frames:
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        if events:
            self._dispatch(events)
        if session.deadline < self._timer_at:
            self._arm()
        if session.frames_received >= self._rate_mark:
            self._rate()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        for chunk in self._backlog or ():
            self.session.receive(bytes(chunk), self.now())
        self._backlog = None
        self.session.lost("closed by the peer" if error is None else f"connection lost: {error}", self.now())
        for timer in (self._timer, self._stuck):
            if timer is not None:
                timer.cancel()
        self._timer = self._stuck = None
        events, _ = self.session.take()
        self._dispatch(events)
        if self._calls:
            # Nothing may wait for ever, whatever went wrong above.
            for future in self._calls.values():
                if not future.done():
                    future.set_result(ConnectionLost(reason=self.session.closed))
            self._calls = None
        self._ended()

    def pause_writing(self) -> None:
        # Who does not read its answers is not asked for more questions.
        self._pause()
        self._watch_writes()

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        self._resume()

    # --- for the application's side of it

    @property
    def address(self) -> str:
        """Host and port of the peer."""
        return f"{self._address[0]}:{self._address[1]}" if len(self._address) > 1 else str(self._address)

    @property
    def host(self) -> str:
        """Host of the peer."""
        return str(self._address[0]) if self._address else ""

    @property
    def queued(self) -> int:
        """Messages that wait for handlers."""
        return len(self._queue) if self._queue else 0

    @property
    def worker(self) -> asyncio.Task[None] | None:
        """What runs the handlers, while any run."""
        return self._worker

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def wall(self, moment: float) -> float:
        """A moment of the loop's time, in seconds since 1970."""
        return self._owner.wall(moment)

    def flush(self) -> None:
        """Send and tell what the session has come up with."""
        events, frames = self.session.take()
        if frames and self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        if events:
            self._dispatch(events)
        if self.session.deadline < self._timer_at:
            self._arm()

    async def outcome(self, request: Message, timeout: float | None) -> Any:
        """Send a request and wait for its end.

        Raises:
            As ``request`` of the session.
        """
        token = self.session.request(request, self.now(), timeout)
        if self._calls is None:
            self._calls = {}
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls[token] = future
        self.flush()
        if self._full:
            self._balance()
        try:
            return await future
        except asyncio.CancelledError:
            if self._calls is not None and self._calls.pop(token, None) is not None:
                self.session.cancel(token, self.now())
                self.flush()
            raise

    def close(self, reason: str) -> None:
        """Close the connection once what was written is sent."""
        if self._transport is None or self._transport.is_closing():
            return
        self.session.lost(reason, self.now())
        self.flush()
        self._ended()
        self._transport.close()
        # A peer that does not read must not keep it open.
        if self._transport.get_write_buffer_size():
            self._watch_writes()

    def abort(self) -> None:
        """Close the connection at once; what was written may be lost."""
        self._transport.abort()

    def drain(self) -> None:
        """Start nothing new; let what runs come to its end."""
        self._draining = True

    # --- for the two ends

    def _ended(self) -> None:
        """The connection is at its end; may be called more than once."""
        raise NotImplementedError

    def _event(self, event: Any) -> None:
        """An event that is neither a message nor the end of a request."""
        raise NotImplementedError

    def _note(self, event: MessageReceived) -> None:
        """A message has come, handlers have not seen it yet."""

    def _rate(self) -> None:
        """So many frames have come; see whether that was too fast."""

    # --- reading, writing, time

    def _put_off(self, data: bytes) -> None:
        """A flood: take it in a bit at a time, and let others have their turns between."""
        view = memoryview(data)
        if self._backlog is None:
            self._backlog = deque()
            self._pause()
            self._loop.call_soon(self._catch_up)
        self._backlog.extend(view[at : at + _TURN] for at in range(0, len(view), _TURN))

    def _catch_up(self) -> None:
        backlog = self._backlog
        if backlog is None:
            return
        if not backlog or self.session.closed:
            self._backlog = None
            self._resume()
            return
        if self._paused > 1:
            return  # reading is paused for another reason as well; that one's end leads back here
        chunk = backlog.popleft()
        self._backlog = None
        self.data_received(bytes(chunk))
        self._backlog = backlog
        self._loop.call_soon(self._catch_up)

    def _pause(self) -> None:
        self._paused += 1
        if self._paused == 1 and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._paused -= 1
        if self._paused == 0 and not self._transport.is_closing():
            self._transport.resume_reading()
        elif self._paused == 1 and self._backlog is not None:
            self._loop.call_soon(self._catch_up)

    def _watch_writes(self) -> None:
        if self._stuck is None:
            self._stuck = self._loop.call_later(self._owner.limits.write_timeout, self._give_up)

    def _give_up(self) -> None:
        self._stuck = None
        self.session.lost("it does not read what is sent to it", self.now())
        self._transport.abort()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self.session.deadline
        idle = self._owner.limits.idle_timeout
        if idle is not None:
            at = min(at, self.session.last_received + idle)
        if at == math.inf or self.session.closed:
            self._timer, self._timer_at = None, math.inf
            return
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self.now()
        idle = self._owner.limits.idle_timeout
        if idle is not None and now - self.session.last_received >= idle:
            self.close("idle")
            return
        # Timers may come a little early; what is due within a millisecond is due.
        self.session.tick(max(now, min(self.session.deadline, now + 0.001)))
        self.flush()
        if self._timer is None:
            self._arm()

    # --- events and handlers

    def _dispatch(self, events: list[Any]) -> None:
        for event in events:
            kind = event.__class__
            if kind is MessageReceived:
                self._note(event)
                handlers = self._owner.handlers.of_message(event)
                if handlers:
                    self._queue_or_run(event, handlers)
            elif kind is Traced:
                self._owner.show(
                    self.peer,
                    Watched(
                        direction=event.direction,
                        raw=event.raw,
                        frame=event.frame,
                        error=event.error,
                        time=self._owner.wall(event.time),
                    ),
                )
            elif kind is RequestEnded:
                future = self._calls.pop(event.token, None) if self._calls else None
                if future is not None and not future.done():
                    future.set_result(event.outcome)
                self._tell(event)
                if self._queue:
                    self._balance()
            elif kind is Closing:
                self._tell(event)
                logger.info("%r: closing: %s", self.peer, event.reason)
                self.close(str(event.reason))
            else:
                self._event(event)

    def _tell(self, event: Any) -> None:
        handlers = self._owner.handlers.of_event(event.__class__)
        if handlers:
            self._queue_or_run(event, handlers)

    def _queue_or_run(self, event: Any, handlers: tuple[Handler, ...]) -> None:
        """Run plain handlers at once if nothing is before them; leave the rest to the worker."""
        done = 0
        if self._worker is None:
            for handler in handlers:
                if not handler.plain:
                    break
                done += 1
                result = self._call(handler, event)
                if inspect.isawaitable(result):
                    self._enqueue(event, (Handler(lambda *_, r=result: r, False), *handlers[done:]))
                    return
                self._answer(event, result)
        if done < len(handlers):
            self._enqueue(event, handlers[done:])

    def _enqueue(self, event: Any, handlers: tuple[Handler, ...]) -> None:
        if self._draining and event.__class__ is MessageReceived:
            # Not answered, so the peer will come with it again.
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append((event, handlers))
        if self._worker is None:
            self._worker = self._loop.create_task(self._work())
        most = self._owner.limits.max_queued
        if len(self._queue) > 4 * most + _TURN:
            self.close("its messages come faster than they are handled")
        elif len(self._queue) >= most and not self._full:
            self._balance()

    def _balance(self) -> None:
        """Pause reading while the queue is full, unless an answer is waited for.

        The handler that is running may be the one that waits for it.
        """
        queued, most = len(self._queue or ()), self._owner.limits.max_queued
        if not self._full:
            if queued >= most and not self.session.requests:
                self._full = True
                self._pause()
        elif queued <= most // 2 or self.session.requests:
            self._full = False
            self._resume()

    async def _work(self) -> None:
        queue = self._queue
        assert queue is not None
        try:
            while queue:
                event, handlers = queue.popleft()
                if self._full:
                    self._balance()
                for handler in handlers:
                    result = self._call(handler, event)
                    if inspect.isawaitable(result):
                        try:
                            result = await result
                        except asyncio.CancelledError:
                            # Something that the handler waited for was cancelled, or this is.
                            task = asyncio.current_task()
                            if task is not None and task.cancelling():
                                raise
                            self._failed(event)
                            continue
                        except Exception:
                            self._failed(event)
                            continue
                    self._answer(event, result)
        finally:
            self._worker = None
            self._queue = None

    def _call(self, handler: Handler, event: Any) -> Any:
        try:
            if event.__class__ is MessageReceived and not handler.whole:
                return handler.call(self.peer, event.frame.message)
            return handler.call(self.peer, event)
        except Exception:
            self._failed(event)
            return None

    def _failed(self, event: Any) -> None:
        what = event.__class__.__name__
        if isinstance(event, MessageReceived):
            what = f"{type(event.message).__name__} (0x{event.frame_type:02X})"
        self._owner.failures += 1
        logger.exception("%r: a handler of %s failed", self.peer, what)

    def _answer(self, event: Any, result: Any) -> None:
        if result is None or event.__class__ is not MessageReceived:
            return
        try:
            if not isinstance(result, Message):
                raise TypeError(f"a handler returns a message or None, not {result!r}")
            self.session.reply(event, result, self.now())
        except (EvprotoError, TypeError) as error:
            self._owner.failures += 1
            logger.error("%r: the answer to 0x%02X was not sent: %s", self.peer, event.frame_type, error)
            return
        self.flush()
