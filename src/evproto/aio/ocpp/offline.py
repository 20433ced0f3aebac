"""Where a station keeps messages that must arrive: a SQLite file, or memory.

The rules of order, attempts and waiting are
:class:`evproto.ocppj.offline.TransactionQueue`; this is what survives a
restart. Every change is on the disk before its caller goes on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from evproto.errors import EvprotoError
from evproto.ocppj.offline import QueuedMessage, Retention

__all__ = ["Kept", "MemoryStore", "SqliteStore", "Store", "StoreError"]

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    version TEXT NOT NULL,
    frame BLOB NOT NULL,
    retention TEXT NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0
)
"""
VERSION = 1


class StoreError(EvprotoError):
    """The file is none of this kind, or cannot be written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """One message as it is kept."""

    key: int
    version: str
    """The subprotocol it is of."""
    frame: bytes
    """A whole CALL; its message id is replaced when it is sent."""
    retention: Retention
    failures: int

    @property
    def queued(self) -> QueuedMessage:
        return QueuedMessage(self.key, self.retention, self.failures)


class Store:
    """The same in memory: what it holds is gone with the process."""

    async def open(self) -> list[Kept]:
        """All messages that are kept, oldest first."""
        raise NotImplementedError

    async def put(self, version: str, frame: bytes, retention: Retention) -> int:
        """Keep a message; its key."""
        raise NotImplementedError

    async def failed(self, key: int, failures: int) -> None:
        """Note how many attempts have failed."""
        raise NotImplementedError

    async def drop(self, *keys: int) -> None:
        """Forget messages."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the file."""


class MemoryStore(Store):
    """Keeps messages as long as the process lives."""

    def __init__(self) -> None:
        self._next = 0

    async def open(self) -> list[Kept]:
        return []

    async def put(self, version: str, frame: bytes, retention: Retention) -> int:
        self._next += 1
        return self._next

    async def failed(self, key: int, failures: int) -> None:
        pass

    async def drop(self, *keys: int) -> None:
        pass


class SqliteStore(Store):
    """Keeps messages in a file of its own, which belongs to one station."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # One thread, so that a slow disk holds up this station alone, and only it is in the file.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evproto-offline")
        self._file: sqlite3.Connection | None = None

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            # Whoever waits may be cancelled; what was begun is done all the same, before the file is closed.
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    async def open(self) -> list[Kept]:
        def work() -> list[Kept]:
            file = sqlite3.connect(self.path, timeout=0.5, isolation_level=None, check_same_thread=False)
            try:
                found = file.execute("PRAGMA user_version").fetchone()[0]
                if found not in (0, VERSION):
                    raise StoreError(f"{self.path} has the format {found}, this is {VERSION}")
                file.execute("PRAGMA locking_mode=EXCLUSIVE")
                file.execute("PRAGMA journal_mode=WAL")
                file.execute("PRAGMA synchronous=FULL")
                file.execute(_SCHEMA)
                file.execute(f"PRAGMA user_version={VERSION}")
                rows = file.execute(
                    "SELECT key, version, frame, retention, failures FROM messages ORDER BY key"
                ).fetchall()
            except BaseException:
                file.close()
                raise
            self._file = file
            return [
                Kept(key, version, bytes(frame), Retention(retention), failures)
                for key, version, frame, retention, failures in rows
            ]

        return await self._do(work)

    async def put(self, version: str, frame: bytes, retention: Retention) -> int:
        def work() -> int:
            done = self._open_file().execute(
                "INSERT INTO messages (version, frame, retention) VALUES (?, ?, ?)",
                (version, frame, str(retention)),
            )
            assert done.lastrowid is not None
            return done.lastrowid

        return await self._do(work)

    async def failed(self, key: int, failures: int) -> None:
        await self._do(
            lambda: self._open_file().execute(
                "UPDATE messages SET failures = ? WHERE key = ?", (failures, key)
            )
        )

    async def drop(self, *keys: int) -> None:
        if keys:
            rows = [(key,) for key in keys]
            await self._do(lambda: self._open_file().executemany("DELETE FROM messages WHERE key = ?", rows))

    async def close(self) -> None:
        def work() -> None:
            if self._file is not None:
                self._file.close()
                self._file = None

        await self._do(work)
        self._thread.shutdown(wait=False)

    def _open_file(self) -> sqlite3.Connection:
        if self._file is None:
            raise StoreError(f"{self.path} is not open")
        return self._file
