"""Calling a plug-in's functions so that its mistakes stay its own.

Whatever a plug-in's function does, who calls it gets an answer or an
exception within the plug-in's time, and the log says whose fault it was.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from evproto.aio.ocpp.handlers import RefuseCall
from evproto.aio.plugins.plugin import (
    Command,
    EndedCall,
    Plugin,
    PluginError,
    ReceivedCall,
    RequestHandler,
    ResponseHandler,
)
from evproto.aio.plugins.threads import Threads

__all__ = ["Runner"]

logger = logging.getLogger("evproto.aio.plugins")

_WAITING = 1000
"""Notices about one charger that may wait for a plug-in."""
_NOTHING = (Plugin.online, Plugin.offline, Plugin.close)
"""What a plug-in has that did not write its own."""


class Runner:
    """Runs one plug-in."""

    def __init__(self, plugin: Plugin) -> None:
        """Raises TypeError for what is no plug-in."""
        if not isinstance(plugin, Plugin):
            raise TypeError(f"a plug-in is an object of a class made from Plugin, not {plugin!r}")
        cls = type(plugin)
        self.plugin = plugin
        self.name = plugin.name or f"{cls.__module__}.{cls.__qualname__}"
        self._threads = Threads(plugin.threads, self.name)
        self._waiting: dict[Hashable, deque[tuple[str, Callable[..., Any], tuple[Any, ...]]]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()

    def name_of(self, handler: Any) -> str:
        """A handler's name for the log."""
        own = getattr(handler, "__qualname__", None) or type(handler).__qualname__
        return f"{own} of plug-in {self.name}"

    def request_handler(self, call: ReceivedCall) -> RequestHandler | None:
        """What the plug-in says; one that raises if it could not say."""
        found: RequestHandler | None = self._ask(self.plugin.request_handler, call)
        return found

    def response_handler(self, call: EndedCall[Any]) -> ResponseHandler | None:
        """What the plug-in says; None if it could not say."""
        found = self._ask(self.plugin.response_handler, call)
        return None if found == self._broken else found

    def _ask(self, question: Callable[[Any], Any], call: Any) -> Any:
        try:
            found = question(call)
        except Exception:
            logger.exception("plug-in %s cannot say who handles %s", self.name, call.action)
            return self._broken
        if found is None or callable(found):
            return found
        logger.error("plug-in %s names %r as the handler of %s", self.name, found, call.action)
        return self._broken

    async def _broken(self, *_: Any) -> Any:
        raise RefuseCall("InternalError", "the request could not be handed over")

    async def serve(self, handler: RequestHandler, call: ReceivedCall) -> Any:
        """What the handler gives back.

        Raises:
            RefuseCall: InternalError if it took too long, and what the handler raised itself.
            Exception: what the handler raised.
        """
        try:
            return await self.run(handler, call, call.request)
        except PluginTimeout as late:
            logger.error(
                "%s did not answer %s %s from %s within %g s",
                self.name_of(handler),
                call.action,
                call.message_id,
                call.charger,
                self.plugin.timeout,
            )
            raise RefuseCall("InternalError", f"{call.action} was not processed in time") from late

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function gives back: awaited if it is async, else run in a thread.

        A task that does not let itself be cancelled is left behind.

        Raises:
            PluginTimeout: it took longer than the plug-in's timeout.
            Exception: what it raised; what is no Exception is a RuntimeError.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.plugin.timeout
        if is_async(function):
            result = await self._within(end, loop.create_task(_contained(function, args)))
        else:
            result = await self._within(end, self._threads.run(function, *args))
            if inspect.isawaitable(result):
                # A plain function around an async one.
                result = await self._within(end, loop.create_task(_contained(lambda: result, ())))
        return result

    async def _within(self, end: float, work: asyncio.Future[Any]) -> Any:
        # As asyncio.wait with a timeout, which costs as much as a request does.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake(*_: Any) -> None:
            if not waiter.done():
                waiter.set_result(None)

        self._tasks.add(work)
        work.add_done_callback(self._over)
        work.add_done_callback(wake)
        timer = loop.call_at(end, wake)
        try:
            await waiter
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            timer.cancel()
        if not work.done():
            work.cancel()
            raise PluginTimeout
        if work.cancelled():
            raise RuntimeError("it cancelled itself")
        return work.result()

    def _over(self, work: asyncio.Future[Any]) -> None:
        self._tasks.discard(work)
        if not work.cancelled():
            # What ends after its time has nobody to hear of its exception.
            work.exception()

    # Notices

    def tell(self, key: Hashable, what: str, function: Callable[..., Any], *args: Any) -> None:
        """Call a function after everything that was told about ``key`` before; nobody waits for it."""
        if getattr(function, "__func__", None) in _NOTHING:
            return
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque([(what, function, args)])
            self._keep(asyncio.get_running_loop().create_task(self._tell(key)))
        elif len(waiting) >= _WAITING:
            logger.error("plug-in %s is not told of %s: %d notices wait", self.name, what, len(waiting))
        else:
            waiting.append((what, function, args))

    async def _tell(self, key: Hashable) -> None:
        waiting = self._waiting[key]
        try:
            while waiting:
                what, function, args = waiting[0]
                try:
                    await self.run(function, *args)
                except PluginTimeout:
                    logger.error(
                        "plug-in %s took longer than %g s over %s", self.name, self.plugin.timeout, what
                    )
                except Exception:
                    logger.exception("plug-in %s failed when told of %s", self.name, what)
                waiting.popleft()
        finally:
            del self._waiting[key]

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Begin and end

    async def start(self, command: Command) -> None:
        """Raises PluginError: it could not be started, or not in its time."""
        try:
            await self.run(self.plugin.start, command)
        except PluginTimeout:
            raise PluginError(
                f"plug-in {self.name} took longer than {self.plugin.timeout:g} s to start"
            ) from None
        except Exception as error:
            raise PluginError(f"plug-in {self.name} cannot be started: {error}") from error

    async def close(self, grace: float) -> None:
        """Tell it what it is still to be told, then close it; it has ``grace`` seconds for each."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace)
        untold = sum(map(len, self._waiting.values()))
        if untold:
            logger.error("plug-in %s is closed before it was told %d notices", self.name, untold)
        for task in tuple(self._tasks):
            task.cancel()
        try:
            async with asyncio.timeout(grace):
                if getattr(self.plugin.close, "__func__", None) not in _NOTHING:
                    await self.run(self.plugin.close)
        except (PluginTimeout, TimeoutError):
            logger.error("plug-in %s took too long to close", self.name)
        except Exception:
            logger.exception("plug-in %s failed when it was closed", self.name)
        self._threads.close()


class PluginTimeout(Exception):  # noqa: N818 - not an error yet: who called says what it means
    """A function took longer than its plug-in may."""


async def _contained(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """As calling the function, except that it cannot end the process."""
    try:
        return await function(*args)
    except (Exception, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as raised:
        raise RuntimeError(f"{type(raised).__name__}: {raised}") from raised


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine."""
    while hasattr(function, "func"):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )
