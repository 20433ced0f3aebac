"""Threads for plain functions of plug-ins.

Those of :mod:`concurrent.futures` are waited for when the interpreter ends: a
function that never returns would keep the process alive. These are not.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Threads"]

_Job = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Threads:
    """At most ``limit`` daemon threads, started when they are needed."""

    def __init__(self, limit: int, name: str) -> None:
        if limit < 1:
            raise ValueError("there is at least one thread")
        self._limit = limit
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = 0
        self._free = 0

    def run(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """What the function gives back; a job that is cancelled before its turn is not begun."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            if self._free > 0:
                self._free -= 1
            elif self._started < self._limit:
                self._started += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
            self._jobs.put((function, args, future, loop))
        return future

    def close(self) -> None:
        """Threads end when what they are at has ended."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, args, future, loop = job
            result: Any = None
            error: BaseException | None = None
            if not future.cancelled():
                try:
                    result = function(*args)
                except BaseException as raised:
                    # StopIteration has a meaning of its own in futures; the others would end more than this.
                    error = raised
                    if isinstance(raised, StopIteration) or not isinstance(raised, Exception):
                        error = RuntimeError(f"{type(raised).__name__}: {raised}")
                        error.__cause__ = raised
            del job, function, args
            # Free before it is told: who is told may come at once with the next job.
            with self._lock:
                if self._jobs.empty():
                    self._free += 1
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                # The loop has ended; nobody waits for this.
                return
            del future, result, error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
