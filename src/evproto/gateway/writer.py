"""The one thread that writes to an outbox file, and the group commit.

What is submitted while the disk is busy with one transaction goes into the
next one together: many events of one moment share one fsync, and a lone event
waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from evproto.gateway.store import OutboxError, Store, as_outbox_error

__all__ = ["Writer"]

T = TypeVar("T")

GROUP = 512
"""Most operations in one transaction, so that nobody waits for a crowd."""


class _Job:
    __slots__ = ("after", "durable", "error", "future", "operation", "result")

    def __init__(
        self,
        operation: Callable[[Store], Any],
        durable: bool,
        future: asyncio.Future[Any],
        after: Callable[[Any], None] | None,
    ) -> None:
        self.operation = operation
        self.durable = durable
        self.future = future
        self.after = after
        self.result: Any = None
        self.error: Exception | None = None


class Writer:
    """Runs operations on a :class:`Store` in a thread of its own.

    Attributes:
        error: why the last transaction failed; None while all is well.
        waiting: operations that were submitted and are not done.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int | None,
        max_waiting: int,
        committed: Callable[[int, float], None],
        failed: Callable[[OutboxError], None],
    ) -> None:
        """Make a writer.

        Args:
            path: the file; it exists.
            max_bytes: it does not grow beyond this.
            max_waiting: more operations than this are not taken.
            committed: called in the event loop with the number of operations and the seconds they took.
            failed: called in the event loop when a transaction has failed.
        """
        self.path = path
        self.error: OutboxError | None = None
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._committed = committed
        self._failed = failed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.waiting = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Start the thread and open the file in it.

        Raises:
            OutboxError: it cannot be opened.
        """
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        opened: asyncio.Future[None] = self._loop.create_future()
        # A daemon: a program that forgot to close the outbox still ends, as if it had been killed.
        self._thread = threading.Thread(target=self._run, args=(opened,), name="evproto-outbox", daemon=True)
        self._thread.start()
        await asyncio.shield(opened)

    def submit(
        self,
        operation: Callable[[Store], T],
        *,
        durable: bool = True,
        after: Callable[[T], None] | None = None,
    ) -> asyncio.Future[T]:
        """Have something done in a transaction.

        Operations take effect in the order of submission. ``after`` is called
        with the result, in the event loop and in the order of submission, when
        the transaction is committed, also if nobody waits for the future.

        Args:
            operation: it may raise ValueError, LookupError or OutboxError before it has
                changed anything; whatever else it raises undoes the transaction.
            durable: the result is not given before the disk has it.
            after: see above.

        Returns:
            The future result. It ends with OutboxError where nothing was done.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(OutboxError(f"outbox {self.path} is closed", cause="closed"))
        elif self.waiting >= self._max_waiting:
            error = OutboxError(
                f"outbox {self.path}: {self.waiting} operations wait for the disk already", cause="overload"
            )
            self._failed(error)
            future.set_exception(error)
        else:
            self.waiting += 1
            self._jobs.put(_Job(operation, durable, future, after))
        return future

    async def close(self) -> None:
        """Do everything that was submitted, then close the file."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        if self._thread is not None:
            await self._ended.wait()
            self._thread.join()

    # In the thread.

    def _run(self, opened: asyncio.Future[None]) -> None:
        store: Store | None = None
        try:
            try:
                store = Store(self.path, max_bytes=self._max_bytes)
            except (sqlite3.Error, OSError, OutboxError) as error:
                failure = as_outbox_error(error, self.path)
                self._call(_fail, opened, failure)
                return
            except BaseException as error:
                self._call(_fail, opened, error)
                return
            self._call(_succeed, opened, None)
            going = True
            while going:
                jobs, going = self._next_group()
                if jobs:
                    store = self._transact(store, jobs)
        finally:
            if store is not None:
                with contextlib.suppress(sqlite3.Error):
                    store.close()
            self._call(self._ended.set)

    def _next_group(self) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) >= GROUP:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _transact(self, store: Store, jobs: list[_Job]) -> Store:
        """One transaction for all; the store to go on with. One that is closed is opened again first."""
        begun = time.perf_counter()
        failure: OutboxError | None = None
        try:
            if store.closed:
                store = Store(self.path, max_bytes=self._max_bytes, again=store)
            store.begin(durable=any(job.durable for job in jobs))
            for job in jobs:
                job.error = None
                try:
                    job.result = job.operation(store)
                except (ValueError, LookupError, OutboxError) as error:
                    job.error = error
            store.commit()
        except (sqlite3.Error, OSError, OutboxError) as error:
            failure = as_outbox_error(error, self.path)
            # What begin() finds wrong is wrong with the place of the file, not with the connection.
            self._undo(store, keep=error is failure or failure.cause in ("full", "busy"))
        except Exception as error:
            # A mistake in an operation: it must not take the others with it.
            self._undo(store, keep=True)
            if len(jobs) > 1:
                for job in jobs:
                    store = self._transact(store, [job])
                return store
            jobs[0].error = error
        if failure is not None:
            for job in jobs:
                # One each: an exception collects the tracebacks of all who raise it.
                job.error = OutboxError(str(failure), cause=failure.cause)
        self._call(self._report, jobs, failure, time.perf_counter() - begun)
        return store

    def _undo(self, store: Store, *, keep: bool) -> None:
        try:
            store.rollback()
            store.reload_sinks()
        except sqlite3.Error:
            keep = False
        if not keep:
            # After an error of the device nothing that the connection remembers can be relied on.
            with contextlib.suppress(sqlite3.Error):
                store.close()

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        # The loop may be closed when the interpreter ends in the middle.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    # In the event loop.

    def _report(self, jobs: list[_Job], failure: OutboxError | None, seconds: float) -> None:
        self.waiting -= len(jobs)
        if failure is not None or any(job.durable for job in jobs):
            # What is not durable has proved nothing.
            self.error = failure
        for job in jobs:
            if failure is None and isinstance(job.error, OutboxError):
                self.error = job.error
                self._failed(job.error)
        if failure is None:
            self._committed(len(jobs), seconds)
        else:
            self._failed(failure)
        for job in jobs:
            if job.error is not None:
                _fail(job.future, job.error)
                continue
            if job.after is not None:
                job.after(job.result)
            _succeed(job.future, job.result)


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        # Reported by the counters too: it is no accident if nobody waits.
        future.exception()
