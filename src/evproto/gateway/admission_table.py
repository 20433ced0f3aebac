"""Chargers in a table of SQLite: the server's own list.

``evproto serve chargers`` changes it while the server runs; what it says counts
from the next connection of a charger on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from evproto.errors import EvprotoError
from evproto.gateway.admission import Admitted, Knock, Refused
from evproto.gateway.admission_entries import Entry, EntryError, Judge, read_entry

__all__ = ["FILE", "ChargerTable", "TableDoor", "TableError"]

FILE: Final = "chargers.db"
"""Its name in the data directory."""
_APPLICATION: Final = 0x65764368
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS chargers (
    charger TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL DEFAULT '',
    enabled INTEGER NOT NULL DEFAULT 1,
    protocol TEXT,
    addresses TEXT NOT NULL DEFAULT '',
    heartbeat_interval INTEGER,
    validation TEXT,
    dialect TEXT,
    version TEXT,
    changed REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chargers_with_password ON chargers (charger) WHERE password_hash <> '';
"""
_COLUMNS: Final = (
    "password_hash",
    "enabled",
    "protocol",
    "addresses",
    "heartbeat_interval",
    "validation",
    "dialect",
    "version",
)


class TableError(EvprotoError):
    """The list of chargers cannot be read or written; begins with its file."""


class ChargerTable:
    """An open list. Not to be used from several threads at a time; other processes may have it open too."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a list, and make it if there is none; its file is for its owner alone.

        Raises:
            TableError: it cannot be opened, or is something else.
        """
        db: sqlite3.Connection | None = None
        try:
            # SQLite makes its other files with the owner and the permissions of this one.
            with contextlib.suppress(FileExistsError):
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    if hasattr(os, "geteuid") and os.geteuid() == 0:
                        # Made by an administrator, for the server whose directory it is.
                        folder = path.parent.stat()
                        os.fchown(file, folder.st_uid, folder.st_gid)
                finally:
                    os.close(file)
            db = sqlite3.connect(path, timeout=10.0, check_same_thread=False, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            with db:
                db.execute("BEGIN IMMEDIATE")
                (application,) = db.execute("PRAGMA application_id").fetchone()
                (version,) = db.execute("PRAGMA user_version").fetchone()
                (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                if tables and application != _APPLICATION:
                    raise TableError(f"{path}: this is no list of chargers")
                if version > _VERSION:
                    raise TableError(f"{path}: this was written by a newer evproto")
                if not tables:
                    db.execute(f"PRAGMA application_id = {_APPLICATION}")
                    db.execute(f"PRAGMA user_version = {_VERSION}")
                    for statement in _SCHEMA.split(";"):
                        db.execute(statement)
        except (OSError, sqlite3.Error) as error:
            if db is not None:
                db.close()
            raise TableError(f"{path}: {_said(error)}") from None
        except TableError:
            assert db is not None
            db.close()
            raise
        return cls(path, db)

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def get(self, charger: str) -> Entry | None:
        """What is kept of a charger; None: nothing.

        Raises:
            TableError: it cannot be read.
            EntryError: what is there cannot be used; somebody else has written it.
        """
        rows = self._run(f"SELECT {', '.join(_COLUMNS)} FROM chargers WHERE charger = ?", charger)
        return _entry(rows[0]) if rows else None

    def usual(self) -> str | None:
        """A hash of a password as others here are; None: there is none.

        Raises:
            TableError: it cannot be read.
        """
        rows = self._run("SELECT password_hash FROM chargers WHERE password_hash <> '' LIMIT 1")
        return rows[0][0] if rows else None

    def all(self) -> Iterator[tuple[str, Entry | EntryError]]:
        """All chargers, by name; what cannot be used is there as the error that it is.

        Raises:
            TableError: it cannot be read.
        """
        for charger, *row in self._run(
            f"SELECT charger, {', '.join(_COLUMNS)} FROM chargers ORDER BY charger"
        ):
            try:
                yield charger, _entry(tuple(row))
            except EntryError as error:
                yield charger, error

    def put(self, charger: str, entry: Entry) -> None:
        """Write a charger down, in place of what was there.

        Raises:
            TableError: it was not written.
        """
        values = msgspec.structs.asdict(entry) | {"addresses": ",".join(entry.addresses)}
        self._run(
            f"INSERT OR REPLACE INTO chargers (charger, {', '.join(_COLUMNS)}, changed) "
            f"VALUES ({', '.join('?' * (len(_COLUMNS) + 2))})",
            charger,
            *(values[name] for name in _COLUMNS),
            time.time(),
        )

    def remove(self, charger: str) -> bool:
        """Take a charger away; whether it was there.

        Raises:
            TableError: it was not done.
        """
        return bool(self._run("DELETE FROM chargers WHERE charger = ? RETURNING charger", charger))

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """All that is done within is done as one, or, where something is raised, not at all.

        Raises:
            TableError: it was not written.
        """
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def _run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise TableError(f"{self.path}: {_said(error)}") from None


class TableDoor:
    """Lets in the chargers of a list; see :class:`evproto.gateway.admission.Door`."""

    def __init__(self, path: Path, judge: Judge) -> None:
        """Open the list, and make it if there is none.

        Raises:
            TableError: it cannot be opened.
        """
        self._path = path
        self._judge = judge
        self._table: ChargerTable | None = ChargerTable.open(path)
        self._file = _file(path)
        # Its disk may be slow, or busy with the other files.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="evproto-chargers")

    def is_empty(self) -> bool:
        """Whether there is no charger yet; before the first knock.

        Raises:
            TableError: it cannot be read.
        """
        assert self._table is not None
        return next(self._table.all(), None) is None

    async def ask(self, knock: Knock) -> Admitted | Refused:
        """See :class:`evproto.gateway.admission.Door`.

        Raises:
            TableError, EntryError: whether it may come in cannot be known.
        """
        found = await asyncio.get_running_loop().run_in_executor(self._executor, self._find, knock.charger)
        return await self._judge.judge(knock, *found)

    async def close(self) -> None:
        """Close the list."""

        def close() -> None:
            if self._table is not None:
                self._table.close()
                self._table = None

        await asyncio.get_running_loop().run_in_executor(self._executor, close)
        self._executor.shutdown(wait=False)

    def _find(self, charger: str) -> tuple[Entry | None, str | None]:
        now = _file(self._path)
        if self._table is None or now != self._file:
            # Another file has taken its place: what is open is nobody's any more.
            if self._table is not None:
                self._table.close()
                self._table = None
            if now is None:
                raise TableError(f"{self._path}: the file is gone")
            self._table = ChargerTable.open(self._path)
            self._file = _file(self._path)
        return self._table.get(charger), self._table.usual()


def _file(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _entry(row: tuple[Any, ...]) -> Entry:
    """The entry of a row.

    Raises:
        EntryError: it cannot be used.
    """
    values = {name.replace("_", "-"): value for name, value in zip(_COLUMNS, row, strict=True)}
    values["enabled"] = {0: False, 1: True}.get(values["enabled"], values["enabled"])
    values["addresses"] = [part for part in values["addresses"].split(",") if part]
    return read_entry(values)


def _said(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return f"cannot be used: {error.strerror or error}"
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
        return "this is no list of chargers"
    return f"cannot be used: {error}"
