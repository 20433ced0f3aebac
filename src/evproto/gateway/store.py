"""The file an outbox lives in: its tables, and every statement that changes them.

A :class:`Store` is one SQLite connection in the hands of one thread. It knows
transactions only as ``begin``, ``commit`` and ``rollback``; who shares one is
decided by :mod:`evproto.gateway.writer`. Times are milliseconds since 1970.

============ =====================================================================
``events``   what was stored, in order; a record stays for a while when no sink
             waits for it any more (``settled``), anything else goes at once
``keys``     by which a repeated record is recognised, longer than the record lives
``sinks``    numbers of the sinks, by name
``pending``  one row per event and sink that has it to come
``dead``     one row per event that a sink does not get any more
============ =====================================================================
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from evproto.errors import EvprotoError

__all__ = [
    "Discarded",
    "Kept",
    "OutboxError",
    "Pruned",
    "Settled",
    "Store",
    "as_outbox_error",
    "create",
    "lock",
]

APPLICATION = 0x65764F42
SCHEMA = 1

_TABLES = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    charger TEXT NOT NULL,
    record INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    settled INTEGER,
    body BLOB NOT NULL
);
CREATE INDEX events_settled ON events (settled) WHERE settled IS NOT NULL;
CREATE INDEX events_messages ON events (stored) WHERE record = 0;
CREATE TABLE keys (
    charger TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    id TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (charger, key, digest)
) WITHOUT ROWID;
CREATE INDEX keys_seen ON keys (seen);
CREATE INDEX keys_id ON keys (id);
CREATE TABLE sinks (sink INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE pending (
    sink INTEGER NOT NULL,
    charger TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (sink, charger, seq)
) WITHOUT ROWID;
CREATE INDEX pending_seq ON pending (seq);
CREATE TABLE dead (
    sink INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    died INTEGER NOT NULL,
    PRIMARY KEY (sink, seq)
) WITHOUT ROWID;
CREATE INDEX dead_seq ON dead (seq);
"""


class OutboxError(EvprotoError):
    """Nothing was stored, or nothing could be read: disk full, file damaged, read-only, or in use.

    Attributes:
        cause: ``full``, ``io``, ``readonly``, ``corrupt``, ``busy``, ``missing``, ``overload`` or ``closed``.
    """

    def __init__(self, text: str, *, cause: str = "io") -> None:
        super().__init__(text)
        self.cause = cause


_CAUSES = {
    sqlite3.SQLITE_FULL: ("full", "the disk, or the limit set for the file, is full"),
    sqlite3.SQLITE_READONLY: ("readonly", "the file cannot be written"),
    sqlite3.SQLITE_PERM: ("readonly", "the file cannot be written"),
    sqlite3.SQLITE_CORRUPT: ("corrupt", "the file is damaged"),
    sqlite3.SQLITE_NOTADB: ("corrupt", "the file is no database"),
    sqlite3.SQLITE_BUSY: ("busy", "another program holds the file"),
    sqlite3.SQLITE_LOCKED: ("busy", "another program holds the file"),
    sqlite3.SQLITE_CANTOPEN: ("missing", "the file cannot be opened"),
}


def as_outbox_error(error: sqlite3.Error | OSError | OutboxError, path: Path) -> OutboxError:
    """What SQLite says, as one error with a cause."""
    if isinstance(error, OutboxError):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    cause, text = _CAUSES.get((code or 0) & 0xFF, ("io", "it could not be read or written"))
    made = OutboxError(f"outbox {path}: {text} ({error})", cause=cause)
    made.__cause__ = error
    return made


class Kept(NamedTuple):
    """What became of an event: its place in the order (0 for a repetition), and the id it is known by."""

    seq: int
    id: str
    duplicate: bool
    conflict: bool
    body: bytes


class Settled(NamedTuple):
    """How many a sink really had to come, and the ids that now no sink waits for."""

    removed: int
    ids: list[str]


class Discarded(NamedTuple):
    """The sinks that had a dead letter, and the ids that now no sink waits for."""

    sinks: list[int]
    ids: list[str]


class Pruned(NamedTuple):
    """What one round of housekeeping took away."""

    events: int
    keys: int
    expired: dict[int, int]
    """By number of the sink: events it had to come."""
    dead: dict[int, int]
    """By number of the sink: dead letters."""


def create(path: Path, *, page_size: int = 4096) -> None:
    """Make an empty outbox file that is there whole or not at all.

    Raises:
        sqlite3.Error, OSError: it cannot be made.
    """
    unfinished = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        unfinished.unlink()
    database = sqlite3.connect(unfinished, isolation_level=None)
    try:
        database.execute(f"PRAGMA page_size = {page_size}")
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA synchronous = EXTRA")
        # Not in WAL mode yet, so that all of it is in this one file when it gets its name.
        database.execute("PRAGMA journal_mode = DELETE")
        database.executescript(
            f"BEGIN; {_TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;"
        )
    finally:
        database.close()
    unfinished.rename(path)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def lock(path: Path) -> sqlite3.Connection:
    """Keep other processes out until the connection is closed, or this process ends in whatever way.

    Raises:
        OutboxError: one is in.
        sqlite3.Error: no file can be made beside ``path``.
    """
    # SQLite's own lock, on a second file: every system has it, and readers of the first are not kept out.
    guard = sqlite3.connect(path.with_name(path.name + ".lock"), isolation_level=None, timeout=0)
    try:
        guard.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        guard.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise OutboxError(f"outbox {path}: another process has it open", cause="busy") from error
        raise
    return guard


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


class Store:
    """The connection that writes.

    Every method may raise ``sqlite3.Error``; a transaction that met one must
    be rolled back.
    """

    def __init__(self, path: Path, *, max_bytes: int | None = None, again: Store | None = None) -> None:
        """Open an outbox file.

        Args:
            path: the file; it must exist.
            max_bytes: the file does not grow beyond this.
            again: the store that had this file before; None: read the whole file for damage first.

        Raises:
            OutboxError: it is damaged, of another program or of a later version, or not the file it was.
            sqlite3.Error, OSError: it cannot be opened.
        """
        self.path = path
        if path.stat().st_size == 0:
            raise OutboxError(
                f"outbox {path}: the file is empty, which an outbox never is. "
                "Restore it, or move it away to begin a new one",
                cause="corrupt",
            )
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
        try:
            self._inode: tuple[int, int] = again._inode if again is not None else _inode(path)
            self._check_place()
            self._prepare(max_bytes, check=again is None)
        except BaseException:
            self._db.close()
            raise
        self.closed = False
        self._durable = True
        self._sinks = [number for (number,) in self._db.execute("SELECT sink FROM sinks")]

    def _prepare(self, max_bytes: int | None, *, check: bool) -> None:
        database = self._db
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise OutboxError(f"outbox {self.path}: this is a database of another program", cause="corrupt")
        if version != SCHEMA:
            raise OutboxError(
                f"outbox {self.path}: written by a later version of evproto "
                f"(format {version}, this one knows {SCHEMA})",
                cause="corrupt",
            )
        if check:
            problems = [text for (text,) in database.execute("PRAGMA quick_check(3)")]
            if problems != ["ok"]:
                raise OutboxError(
                    f"outbox {self.path}: the file is damaged ({'; '.join(problems)}). Nothing was changed; "
                    "restore it, or save what can be saved with `sqlite3 FILE .recover`",
                    cause="corrupt",
                )
        (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise OutboxError(f"outbox {self.path}: this place does not support write-ahead logs", cause="io")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA journal_size_limit = 67108864")
        (page_size,) = database.execute("PRAGMA page_size").fetchone()
        # Set also without a limit, as the greatest there is: it is the connection's, not the file's.
        pages = 4294967294 if max_bytes is None else max(1, max_bytes // page_size)
        database.execute(f"PRAGMA max_page_count = {pages}")
        # Writing down a delivery can take a page too: without one, a full file would never be emptied.
        self._room = None if max_bytes is None else pages - max(16, pages // 32)
        # A file or a folder that cannot be written is found now.
        database.execute("BEGIN IMMEDIATE")
        self.touch()
        database.execute("COMMIT")

    def _check_place(self) -> None:
        # SQLite would go on writing into a file that has no name any more.
        try:
            found = _inode(self.path)
        except OSError as error:
            raise OutboxError(f"outbox {self.path}: the file is gone ({error})", cause="missing") from error
        if found != self._inode:
            raise OutboxError(f"outbox {self.path}: another file has taken its place", cause="missing")

    # Transactions.

    def begin(self, *, durable: bool) -> None:
        """Begin a transaction; ``durable``: its commit returns when the disk has it.

        Raises:
            OutboxError: the file was taken away.
        """
        self._check_place()
        if durable is not self._durable:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        if not self.closed and self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        self.closed = True
        self._db.close()

    # What is done in them.

    def touch(self) -> None:
        """Write something that changes nothing."""
        self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    def try_out(self) -> None:
        """See whether an event could be stored.

        Raises:
            OutboxError: the file has the greatest size it may have.
        """
        self._need_room()
        self.touch()

    def add_sink(self, name: str) -> int:
        """The number of a sink. One that is new gets everything that is not settled yet."""
        row = self._db.execute("SELECT sink FROM sinks WHERE name = ?", (name,)).fetchone()
        if row is not None:
            return int(row[0])
        self._db.execute("INSERT INTO sinks (name) VALUES (?)", (name,))
        (number,) = self._db.execute("SELECT sink FROM sinks WHERE name = ?", (name,)).fetchone()
        self._db.execute(
            "INSERT INTO pending SELECT ?, charger, seq FROM events WHERE settled IS NULL", (number,)
        )
        self.reload_sinks()
        return int(number)

    def remove_sink(self, name: str, now: int) -> list[str]:
        """Forget a sink and what it had to come; the ids that are settled by that.

        Raises:
            LookupError: there is none of this name.
        """
        row = self._db.execute("SELECT sink FROM sinks WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise LookupError(f"there is no sink {name!r}")
        (number,) = row
        touched = {seq for (seq,) in self._db.execute("SELECT seq FROM pending WHERE sink = ?", (number,))}
        touched |= {seq for (seq,) in self._db.execute("SELECT seq FROM dead WHERE sink = ?", (number,))}
        self._db.execute("DELETE FROM pending WHERE sink = ?", (number,))
        self._db.execute("DELETE FROM dead WHERE sink = ?", (number,))
        self._db.execute("DELETE FROM sinks WHERE sink = ?", (number,))
        self.reload_sinks()
        # With no sink left nothing was delivered: it waits for the next one.
        return self._settle(sorted(touched), now) if self._sinks else []

    def reload_sinks(self) -> None:
        """Read the sinks anew; after a rollback they may be others."""
        self._sinks = [number for (number,) in self._db.execute("SELECT sink FROM sinks")]

    def put(
        self,
        id: str,
        charger: str,
        *,
        record: bool,
        key: tuple[str, str] | None,
        body: bytes,
        conflict_body: Callable[[], bytes],
        now: int,
    ) -> Kept:
        """Store an event, unless it is a repetition.

        Args:
            key: key and digest.
            body: the event as JSON.
            conflict_body: makes the same, marked as a conflict.

        Raises:
            OutboxError: the file has the greatest size it may have; nothing was changed.
        """
        execute = self._db.execute
        if execute("SELECT 1 FROM events WHERE id = ?", (id,)).fetchone():
            return Kept(0, id, True, False, body)
        conflict = False
        if key is not None:
            row = execute(
                "SELECT id FROM keys WHERE charger = ? AND key = ? AND digest = ?", (charger, *key)
            ).fetchone()
            if row is not None:
                execute(
                    "UPDATE keys SET seen = ? WHERE charger = ? AND key = ? AND digest = ?",
                    (now, charger, *key),
                )
                return Kept(0, row[0], True, False, body)
            self._need_room()
            other = execute("SELECT 1 FROM keys WHERE charger = ? AND key = ?", (charger, key[0])).fetchone()
            if other is not None:
                conflict, body = True, conflict_body()
            execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", (charger, *key, id, now))
        else:
            self._need_room()
        cursor = execute(
            "INSERT INTO events (id, charger, record, stored, body) VALUES (?, ?, ?, ?, ?)",
            (id, charger, int(record), now, body),
        )
        seq = cursor.lastrowid or 0
        for sink in self._sinks:
            execute("INSERT INTO pending VALUES (?, ?, ?)", (sink, charger, seq))
        return Kept(seq, id, False, conflict, body)

    def _need_room(self) -> None:
        if self._room is None:
            return
        (used,) = self._db.execute("PRAGMA page_count").fetchone()
        if used < self._room:
            return
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        if used - free >= self._room:
            raise OutboxError(
                f"outbox {self.path}: full, the file has the greatest size it may have", cause="full"
            )

    def delivered(self, sink: int, charger: str, seqs: Sequence[int], now: int) -> Settled:
        """A sink has got these."""
        removed = self._db.executemany(
            "DELETE FROM pending WHERE sink = ? AND charger = ? AND seq = ?",
            [(sink, charger, seq) for seq in seqs],
        )
        return Settled(removed.rowcount, self._settle(seqs, now))

    def bury(self, sink: int, charger: str, seq: int, reason: str, attempts: int, now: int) -> str | None:
        """Move one event to the dead letters; its id, or None if the sink had it not to come."""
        removed = self._db.execute(
            "DELETE FROM pending WHERE sink = ? AND charger = ? AND seq = ?", (sink, charger, seq)
        )
        if not removed.rowcount:
            return None
        self._db.execute(
            "INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?)", (sink, seq, reason, attempts, now)
        )
        (id,) = self._db.execute("SELECT id FROM events WHERE seq = ?", (seq,)).fetchone()
        return str(id)

    def replay(self, id: str, sink: str | None) -> list[tuple[int, str]]:
        """Make a dead letter pending again; sinks and charger.

        Raises:
            LookupError: it is not among the dead letters.
        """
        rows = self._dead_rows(id, sink)
        for number, seq, charger in rows:
            self._db.execute("DELETE FROM dead WHERE sink = ? AND seq = ?", (number, seq))
            self._db.execute("INSERT OR IGNORE INTO pending VALUES (?, ?, ?)", (number, charger, seq))
        return [(number, charger) for number, _, charger in rows]

    def discard(self, id: str, sink: str | None, now: int) -> Discarded:
        """Give up a dead letter for good.

        Raises:
            LookupError: it is not among the dead letters.
        """
        rows = self._dead_rows(id, sink)
        for number, seq, _ in rows:
            self._db.execute("DELETE FROM dead WHERE sink = ? AND seq = ?", (number, seq))
        ids = self._settle([seq for _, seq, _ in rows[:1]], now)
        return Discarded([number for number, _, _ in rows], ids)

    def _dead_rows(self, id: str, sink: str | None) -> list[tuple[int, int, str]]:
        rows: list[tuple[int, int, str]] = self._db.execute(
            "SELECT sink, seq, charger FROM dead JOIN events USING (seq) JOIN sinks USING (sink) "
            "WHERE id = ? AND (? IS NULL OR name = ?)",
            (id, sink, sink),
        ).fetchall()
        if not rows:
            raise LookupError(f"there is no dead letter {id}" + (f" of {sink}" if sink else ""))
        return rows

    def _settle(self, seqs: Sequence[int], now: int) -> list[str]:
        settled: list[str] = []
        execute = self._db.execute
        for seq in seqs:
            if execute("SELECT 1 FROM pending WHERE seq = ?", (seq,)).fetchone():
                continue
            if execute("SELECT 1 FROM dead WHERE seq = ?", (seq,)).fetchone():
                continue
            row = execute("SELECT id, record FROM events WHERE seq = ?", (seq,)).fetchone()
            if row is None:
                continue
            if row[1]:
                execute("UPDATE events SET settled = ? WHERE seq = ? AND settled IS NULL", (now, seq))
            else:
                execute("DELETE FROM events WHERE seq = ?", (seq,))
            settled.append(row[0])
        return settled

    # Housekeeping.

    def prune(
        self,
        *,
        records_before: int,
        keys_before: int,
        expired_before: int,
        keep_messages: int,
        limit: int = 500,
    ) -> Pruned:
        """Take away what nobody needs, at most ``limit`` of each kind.

        Records that were settled before ``records_before``, keys last seen
        before ``keys_before`` whose event is gone, and what is no record,
        stored before ``expired_before`` or in excess of ``keep_messages``.
        """
        execute = self._db.execute
        gone = execute(
            "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE settled < ? LIMIT ?)",
            (records_before, limit),
        ).rowcount
        (messages,) = execute("SELECT count(*) FROM events WHERE record = 0").fetchone()
        excess = max(0, min(limit, messages - keep_messages))
        doomed = execute(
            "SELECT seq FROM events WHERE record = 0 AND stored < ? ORDER BY stored LIMIT ?",
            (expired_before, limit),
        ).fetchall()
        if excess > len(doomed):
            doomed = execute(
                "SELECT seq FROM events WHERE record = 0 ORDER BY stored, seq LIMIT ?", (excess,)
            ).fetchall()
        expired: dict[int, int] = {}
        dead: dict[int, int] = {}
        for (seq,) in doomed:
            for (sink,) in execute("SELECT sink FROM pending WHERE seq = ?", (seq,)).fetchall():
                expired[sink] = expired.get(sink, 0) + 1
            for (sink,) in execute("SELECT sink FROM dead WHERE seq = ?", (seq,)).fetchall():
                dead[sink] = dead.get(sink, 0) + 1
            execute("DELETE FROM pending WHERE seq = ?", (seq,))
            execute("DELETE FROM dead WHERE seq = ?", (seq,))
            execute("DELETE FROM events WHERE seq = ?", (seq,))
        keys = execute(
            "DELETE FROM keys WHERE (charger, key, digest) IN (SELECT charger, key, digest FROM keys "
            "WHERE seen < ? AND NOT EXISTS (SELECT 1 FROM events WHERE events.id = keys.id) LIMIT ?)",
            (keys_before, limit),
        ).rowcount
        return Pruned(gone + len(doomed), keys, expired, dead)

    def give_back(self, pages: int) -> int:
        """Hand up to ``pages`` free pages back to the file system; how many were handed back.

        A quarter of the file is kept free for what comes next.
        """
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (total,) = self._db.execute("PRAGMA page_count").fetchone()
        surplus = min(pages, free - total // 4)
        if surplus <= 0:
            return 0
        for _ in range(surplus):
            # One at a time: Python leaves this statement after its first row, and each page is a row.
            self._db.execute("PRAGMA incremental_vacuum(1)")
        (left,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return int(free - left)
