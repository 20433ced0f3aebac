"""The connection that reads an outbox file, in a thread of its own; it never waits for the writer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from evproto.gateway.delivery import Entry
from evproto.gateway.store import OutboxError, as_outbox_error

__all__ = ["DeadLetter", "Reader", "Waiting"]

T = TypeVar("T")


class DeadLetter(NamedTuple):
    """An event that a sink does not get any more."""

    id: str
    charger: str
    sink: str
    reason: str
    """What the sink said last."""
    attempts: int
    died: float
    """When, in seconds since 1970."""
    body: bytes
    """The event as JSON."""


class Waiting(NamedTuple):
    """What a sink has to come: the last place given to any event, and chargers with how many."""

    upto: int
    chargers: list[tuple[str, int]]


class Reader:
    """Questions to an outbox file. All of them raise OutboxError where it cannot be read.

    Attributes:
        error: why the last question got no answer; None while all is well.
    """

    def __init__(self, path: Path, failed: Callable[[OutboxError], None]) -> None:
        self.path = path
        self.error: OutboxError | None = None
        self._failed = failed
        self._closed = False
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evproto-outbox-reader")

    async def open(self) -> None:
        await self._run(self._open)

    def _open(self) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA query_only = ON")

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    async def check(self) -> None:
        """Read something."""
        await self._run(lambda: self._select("SELECT count(*) FROM sinks"))

    async def sinks(self) -> dict[int, str]:
        """The names of all sinks, by number."""
        return dict(await self._run(lambda: self._select("SELECT sink, name FROM sinks")))

    async def waiting(self, sink: int) -> Waiting:
        """What a sink has to come."""

        def select() -> Waiting:
            # In one transaction, so that both are of the same moment.
            self._select("BEGIN")
            try:
                upto = self._select("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
                chargers = self._select(
                    "SELECT charger, count(*) FROM pending WHERE sink = ? GROUP BY charger ORDER BY min(seq)",
                    (sink,),
                )
            finally:
                self._select("COMMIT")
            return Waiting(upto[0][0] if upto else 0, chargers)

        return await self._run(select)

    async def fetch(self, sink: int, charger: str, upto: int, count: int) -> list[Entry]:
        """The first events of a charger that a sink has to come, up to a place."""
        rows = await self._run(
            lambda: self._select(
                "SELECT seq, body FROM pending JOIN events USING (seq) "
                "WHERE sink = ? AND pending.charger = ? AND seq <= ? ORDER BY seq LIMIT ?",
                (sink, charger, upto, count),
            )
        )
        return [Entry(*row) for row in rows]

    async def dead(self, sink: str | None, limit: int, skip: int) -> list[DeadLetter]:
        """Dead letters, the oldest first."""
        rows = await self._run(
            lambda: self._select(
                "SELECT events.id, charger, name, reason, attempts, died / 1000.0, body FROM dead "
                "JOIN events USING (seq) JOIN sinks USING (sink) WHERE ? IS NULL OR name = ? "
                "ORDER BY died, seq LIMIT ? OFFSET ?",
                (sink, sink, limit, skip),
            )
        )
        return [DeadLetter(*row) for row in rows]

    async def dead_counts(self) -> dict[int, int]:
        """How many dead letters there are, by number of the sink."""
        return dict(await self._run(lambda: self._select("SELECT sink, count(*) FROM dead GROUP BY sink")))

    async def state(self, id: str) -> str | None:
        """``delivered`` to all, ``pending``, ``dead: `` and why, or None: not known."""

        def select() -> str | None:
            rows = self._select("SELECT seq, settled FROM events WHERE id = ?", (id,))
            if not rows:
                return "delivered" if self._select("SELECT 1 FROM keys WHERE id = ?", (id,)) else None
            ((seq, settled),) = rows
            if settled is not None:
                return "delivered"
            dead = self._select("SELECT reason FROM dead WHERE seq = ?", (seq,))
            return f"dead: {dead[0][0]}" if dead else "pending"

        return await self._run(select)

    # In the thread.

    def _select(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        if self._db is None:
            raise OutboxError(f"outbox {self.path} is closed", cause="closed")
        return self._db.execute(statement, values).fetchall()

    async def _run(self, function: Callable[[], T]) -> T:
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except (sqlite3.Error, OutboxError) as error:
            self.error = as_outbox_error(error, self.path)
            self._failed(self.error)
            raise self.error from error
        except RuntimeError as error:  # the executor is shut down
            raise OutboxError(f"outbox {self.path} is closed", cause="closed") from error
        self.error = None
        return result
