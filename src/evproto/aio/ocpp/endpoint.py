"""What servers and stations have in common: registration of handlers, hooks, notices and watchers."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Generic, TypeVar

from evproto.aio.ocpp.handlers import HandlerGroup, Handlers, Hook
from evproto.aio.ocpp.link import Ending
from evproto.aio.ocpp.peer import Peer
from evproto.aio.ocpp.watching import Watched
from evproto.errors import CallEndedError
from evproto.ocppj import Call, CallResult, Dialect, Envelope
from evproto.payloads import Sender

__all__ = ["Endpoint", "Trouble"]

logger = logging.getLogger("evproto.aio.ocpp")

P = TypeVar("P", bound=Peer)
H = TypeVar("H", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble(Generic[P]):
    """Something came that is of no use, or could not be used."""

    peer: P
    error: Exception
    """What is wrong with it."""
    envelope: Envelope | None
    """What it says, if it could be understood: an answer to nothing, say."""


class Endpoint(Generic[P]):
    """A server or a station: who is called when something happens.

    All functions may be plain or async. Those that are told of something
    (:meth:`on_connect`, :meth:`on_boot`, :meth:`on_disconnect`) are told in
    the order in which it happened, for each peer, and hold up no messages.
    """

    def __init__(self, dialects: Iterable[Dialect], side: Sender) -> None:
        self.handlers: Handlers[P] = Handlers(dialects, side)
        self.on = self.handlers.on
        self.watchers: list[Callable[[Watched], None]] = []
        self._connect: list[Callable[[P], Any]] = []
        self._boot: list[Callable[[P, Any, Any], Any]] = []
        self._disconnect: list[Callable[[P, Ending], Any]] = []
        self._trouble: list[Callable[[Trouble[P]], None]] = []
        self._call_ended: list[Callable[[P, Call[Any], CallResult[Any] | CallEndedError], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._notices: dict[Any, deque[tuple[Callable[..., Any], tuple[Any, ...]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, group: HandlerGroup) -> None:
        """Register a group of handlers; see :meth:`evproto.aio.ocpp.handlers.Handlers.add`."""
        self.handlers.add(group)

    def before(self, hook: Hook) -> Hook:
        """Decorator: called with the :class:`Context` of each request before its handler.

        What it gives back, unless None, is the answer, and the handler is not
        called; what it raises is treated as if the handler had.
        """
        self.handlers.before.append(hook)
        return hook

    def after(self, hook: Hook) -> Hook:
        """Decorator: called with the :class:`Context` of each request when its answer has been sent."""
        self.handlers.after.append(hook)
        return hook

    def on_connect(self, told: H) -> H:
        """Decorator: called with a peer that has connected."""
        self._connect.append(told)
        return told

    def on_boot(self, told: H) -> H:
        """Decorator: called with a peer, its BootNotification and the response that went back."""
        self._boot.append(told)
        return told

    def on_disconnect(self, told: H) -> H:
        """Decorator: called with a peer that is gone and the :class:`Ending` that says why."""
        self._disconnect.append(told)
        return told

    def on_call_ended(
        self, told: Callable[[P, Call[Any], CallResult[Any] | CallEndedError], None]
    ) -> Callable[[P, Call[Any], CallResult[Any] | CallEndedError], None]:
        """Decorator: called with each call that was made to a peer and how it ended; a plain function.

        That is its result, or the error that whoever made it gets. It is
        called exactly once for each call that was queued or sent, also where
        its caller has lost interest.
        """
        self._call_ended.append(told)
        return told

    def watch(self, callback: Callable[[Watched], None]) -> Callable[[], None]:
        """Have ``callback`` called with every frame that comes or goes; the result stops it.

        It runs on the event loop between two messages, so it must be quick.
        """
        self.watchers.append(callback)

        def stop() -> None:
            if callback in self.watchers:
                self.watchers.remove(callback)

        return stop

    def on_error(self, told: Callable[[Trouble[P]], None]) -> Callable[[Trouble[P]], None]:
        """Decorator: called with everything that came and was of no use; a plain function."""
        self._trouble.append(told)
        return told

    async def errors(self, limit: int = 1000) -> AsyncIterator[Trouble[P]]:
        """The same as a stream. Of what nobody has taken yet, the oldest is dropped beyond ``limit``."""
        waiting: deque[Trouble[P]] = deque(maxlen=limit)
        there = asyncio.Event()

        def told(trouble: Trouble[P]) -> None:
            waiting.append(trouble)
            there.set()

        self._trouble.append(told)
        try:
            while True:
                while waiting:
                    yield waiting.popleft()
                there.clear()
                await there.wait()
        finally:
            self._trouble.remove(told)

    # What peers report

    def peer_connected(self, peer: P) -> None:
        for told in self._connect:
            self._tell(peer, told, peer)

    def peer_booted(self, peer: P, request: Any, response: Any) -> None:
        for told in self._boot:
            self._tell(peer, told, peer, request, response)

    def peer_disconnected(self, peer: P, ending: Ending) -> None:
        for told in self._disconnect:
            self._tell(peer, told, peer, ending)

    @property
    def hears_ends(self) -> bool:
        """Whether anybody wants to know how calls end."""
        return bool(self._call_ended)

    def peer_call_ended(self, peer: P, call: Call[Any], result: CallResult[Any] | CallEndedError) -> None:
        for told in self._call_ended:
            try:
                told(peer, call, result)
            except Exception:
                logger.exception("a function that is told how calls end failed")

    def peer_trouble(self, peer: P, error: Exception, envelope: Envelope | None) -> None:
        if not self._trouble:
            return
        trouble = Trouble(peer, error, envelope)
        for told in tuple(self._trouble):
            try:
                told(trouble)
            except Exception:
                logger.exception("a function that is told of errors failed")

    def _tell(self, peer: P, told: Callable[..., Any], *args: Any) -> None:
        """Call ``told`` after everything that this identity's listeners were told before."""
        waiting = self._notices.get(peer.identity)
        if waiting is not None:
            waiting.append((told, args))
            return
        try:
            result = told(*args)
        except Exception:
            logger.exception("a listener of %r failed", peer)
            return
        if inspect.isawaitable(result):
            self._notices[peer.identity] = deque()
            self.spawn(self._tell_on(peer, result))

    async def _tell_on(self, peer: P, result: Any) -> None:
        waiting = self._notices[peer.identity]
        try:
            while True:
                try:
                    if inspect.isawaitable(result):
                        await result
                except Exception:
                    logger.exception("a listener of %r failed", peer)
                if not waiting:
                    return
                told, args = waiting.popleft()
                try:
                    result = told(*args)
                except Exception:
                    logger.exception("a listener of %r failed", peer)
                    result = None
        finally:
            self._notices.pop(peer.identity, None)

    def spawn(self, work: Any) -> asyncio.Task[None]:
        """A task that :meth:`settle` waits for."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self, grace: float) -> None:
        """Wait for handlers and listeners that still run; cancel those that take longer."""
        tasks = set(self._tasks) - {asyncio.current_task()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
