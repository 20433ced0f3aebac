"""The audit log: who told which charger what, and what came of it, in SQLite.

A command is written down before it is sent. What was not finished when the
process ended is marked as disconnected at the next start: whether the charger
acted is not known. Cards, VINs and passwords are not in it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

import msgspec

from evproto.errors import EvprotoError
from evproto.gateway.events import moment

__all__ = ["Audit", "AuditEntry", "AuditError", "CommandRecord", "CommandState"]

T = TypeVar("T")

CommandState = Literal["queued", "sent", "accepted", "rejected", "timeout", "disconnected"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS commands (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    caller TEXT NOT NULL,
    address TEXT NOT NULL,
    protocol TEXT NOT NULL,
    charger TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    sent REAL,
    ended REAL,
    sequence,
    fields TEXT NOT NULL,
    answer TEXT,
    text TEXT NOT NULL,
    idempotency_key TEXT,
    digest TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS commands_key ON commands (caller, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS commands_charger ON commands (charger, seq);
CREATE INDEX IF NOT EXISTS commands_created ON commands (created);
"""
_COLUMNS: Final = (
    "seq, id, caller, address, protocol, charger, name, state, created, sent, ended, sequence, "
    "fields, answer, text, idempotency_key, digest"
)


class AuditError(EvprotoError):
    """The audit log cannot be read or written; then nothing is commanded."""


class CommandRecord(msgspec.Struct, kw_only=True):
    """What is known of a command."""

    id: str
    """To ask for it later."""
    protocol: str
    charger: str
    name: str
    """What the charger was told, as in ``remote_start_request``."""
    state: CommandState
    created: dt.datetime
    """When it was taken."""
    sent: dt.datetime | None = None
    """When it was written to the connection."""
    ended: dt.datetime | None = None
    """When it came to its end; null while it may still change."""
    sequence: int | str | None = None
    """The number it was sent under."""
    fields: dict[str, Any]
    """What the charger was told; cards, VINs and passwords hidden."""
    answer: dict[str, Any] | None = None
    """The fields of the charger's answer."""
    text: str = ""
    """One sentence for a person, where there is something to say."""


class AuditEntry(CommandRecord, kw_only=True):
    """One line of the log: a command, its answer without cards, VINs and passwords, and who gave it."""

    seq: int = 0
    """Grows from line to line."""
    caller: str
    """Name of the token."""
    address: str = ""
    """Where the caller called from."""
    idempotency_key: str | None = None
    digest: str = ""
    """Hash of what was asked for, by which a repetition is recognised."""


class Audit:
    """An open audit log. Made by :meth:`open`; all access is in one thread of its own."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.path = path
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="evproto-audit")
        self._db: sqlite3.Connection | None = None

    @classmethod
    async def open(
        cls, path: str | Path, *, keep: float | None = None, clock: Callable[[], float] = time.time
    ) -> Self:
        """Open a log, and make it if there is none.

        Args:
            path: the file.
            keep: entries older than so many seconds are taken away.
            clock: seconds since 1970.

        Raises:
            AuditError: it cannot be opened.
        """
        audit = cls(Path(path), clock)
        try:
            await audit._run(audit._open, keep)
        except BaseException:
            await audit.close()
            raise
        return audit

    async def close(self) -> None:
        """Finish writing and close the file."""

        def close() -> None:
            if self._db is not None:
                self._db.close()
                self._db = None

        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, close)
        self._executor.shutdown(wait=False)

    async def begin(self, entry: AuditEntry) -> AuditEntry | None:
        """Write a command down; it is on the disk when this returns.

        Returns:
            None; or, where this caller used this idempotency key before, what it was used for.
            Nothing is written then.

        Raises:
            AuditError: it was not written.
        """
        return await self._run(self._begin, entry)

    async def update(self, entry: AuditEntry) -> None:
        """Write down what became of a command.

        Raises:
            AuditError: it was not written.
        """
        await self._run(self._update, entry)

    async def get(self, id: str) -> AuditEntry | None:
        """The entry of a command.

        Raises:
            AuditError: it cannot be read.
        """
        found = await self._run(self._select, "id = ?", (id,), 1)
        return found[0] if found else None

    async def by_key(self, caller: str, key: str) -> AuditEntry | None:
        """What a caller has used an idempotency key for.

        Raises:
            AuditError: it cannot be read.
        """
        found = await self._run(self._select, "caller = ? AND idempotency_key = ?", (caller, key), 1)
        return found[0] if found else None

    async def entries(
        self, *, charger: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        """Entries, the newest first: of one charger, and before the place ``before``, if given.

        Raises:
            AuditError: they cannot be read.
        """
        where = "(? IS NULL OR charger = ?) AND (? IS NULL OR seq < ?)"
        return await self._run(self._select, where, (charger, charger, before, before), limit)

    async def prune(self, keep: float) -> int:
        """Take away entries older than ``keep`` seconds; how many.

        Raises:
            AuditError: it was not written.
        """
        return await self._run(self._prune, keep)

    # In the thread.

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, function, *arguments)
        except (sqlite3.Error, OSError, RuntimeError) as error:
            raise AuditError(f"audit log {self.path}: {error}") from error

    def _open(self, keep: float | None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        self._db = db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
        db.execute(
            "UPDATE commands SET state = 'disconnected', ended = ?, text = ? WHERE ended IS NULL",
            (self._clock(), "the server ended before the command did"),
        )
        if keep is not None:
            self._prune(keep)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("it is closed")
        return self._db

    def _begin(self, entry: AuditEntry) -> AuditEntry | None:
        db = self._connection()
        row = (
            entry.id,
            entry.caller,
            entry.address,
            entry.protocol,
            entry.charger,
            entry.name,
            entry.state,
            _seconds(entry.created),
            _json(entry.fields),
            entry.text,
            entry.idempotency_key,
            entry.digest,
        )
        cursor = db.execute(
            "INSERT INTO commands (id, caller, address, protocol, charger, name, state, created, fields, "
            "text, idempotency_key, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING",
            row,
        )
        if cursor.rowcount:
            entry.seq = int(cursor.lastrowid or 0)
            return None
        (found,) = self._select(
            "caller = ? AND idempotency_key = ?", (entry.caller, entry.idempotency_key), 1
        )
        return found

    def _update(self, entry: AuditEntry) -> None:
        self._connection().execute(
            "UPDATE commands SET state = ?, sent = ?, ended = ?, sequence = ?, answer = ?, text = ? "
            "WHERE id = ?",
            (
                entry.state,
                _seconds(entry.sent),
                _seconds(entry.ended),
                entry.sequence,
                None if entry.answer is None else _json(entry.answer),
                entry.text,
                entry.id,
            ),
        )

    def _select(self, where: str, arguments: tuple[Any, ...], limit: int) -> list[AuditEntry]:
        rows = self._connection().execute(
            f"SELECT {_COLUMNS} FROM commands WHERE {where} ORDER BY seq DESC LIMIT ?", (*arguments, limit)
        )
        names = _COLUMNS.split(", ")
        found = []
        for row in rows:
            values = dict(zip(names, row, strict=True))
            for name in ("created", "sent", "ended"):
                values[name] = None if values[name] is None else moment(values[name])
            values["fields"] = msgspec.json.decode(values["fields"])
            values["answer"] = None if values["answer"] is None else msgspec.json.decode(values["answer"])
            found.append(AuditEntry(**values))
        return found

    def _prune(self, keep: float) -> int:
        cursor = self._connection().execute(
            "DELETE FROM commands WHERE created < ? AND ended IS NOT NULL", (self._clock() - keep,)
        )
        return cursor.rowcount


def _seconds(time: dt.datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
