"""Chargers in a TOML file, read again when it changes.

::

    [chargers.CP1]
    password-hash = "$scrypt$ln=12,r=8,p=1$..."

    [chargers."55031412782305"]
    protocol = "ykc"
    version = "1.6"
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from evproto.errors import EvprotoError
from evproto.gateway.admission import Admitted, Knock, Refused
from evproto.gateway.admission_entries import Entry, EntryError, Judge, read_entry, read_name
from evproto.gateway.logs import data

__all__ = ["ChargerFile", "FileDoor", "FileError", "read_file"]

logger = logging.getLogger("evproto.gateway.admission")

_MOST: Final = 20
"""Problems of one file that are said."""


class FileError(EvprotoError):
    """A file of chargers that cannot be used.

    Attributes:
        problems: a sentence for each, beginning with the file, and the line and key where there is one.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class _Stamp(NamedTuple):
    """By which a file is seen to be another."""

    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Stamp:
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class ChargerFile(NamedTuple):
    """What stands in a file."""

    entries: Mapping[str, Entry]
    stamp: _Stamp
    usual: str | None
    """A hash of a password as most here are."""


def read_file(path: Path) -> ChargerFile:
    """Read a file of chargers.

    Raises:
        OSError: it cannot be read.
        FileError: something in it is wrong; it says all of it.
    """
    with path.open("rb") as file:
        # Before its content, so that what changes meanwhile is seen the next time.
        stamp = _Stamp.of(os.fstat(file.fileno()))
        raw = file.read()
    try:
        text = raw.decode()
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FileError([f"{path}, line {line}: this is no UTF-8"]) from None
    except (ValueError, RecursionError) as error:
        # Not TOMLDecodeError alone: numbers of thousands of digits are none that Python reads.
        raise FileError([f"{path}: this is no TOML: {error}"]) from None
    found: list[tuple[tuple[str, ...], str]] = []
    for name in tables:
        if name != "chargers":
            hint = "; did you mean 'chargers'?" if difflib.get_close_matches(name, ["chargers"]) else ""
            found.append(((name,), f"there is no such section{hint}"))
    chargers = tables.get("chargers", {})
    if not isinstance(chargers, dict):
        found.append((("chargers",), "write [chargers.ID] for each charger"))
        chargers = {}
    entries: dict[str, Entry] = {}
    for charger, values in chargers.items():
        try:
            entry = read_entry(values)
            name = read_name(charger, entry)
        except EntryError as error:
            found += [
                (("chargers", charger, key) if key else ("chargers", charger), text)
                for key, text in error.problems
            ]
            continue
        if name in entries:
            found.append((("chargers", charger), "this charger stands here already"))
        entries[name] = entry
    if found:
        raise FileError(_placed(path, text, found))
    hashes = [entry.password_hash for entry in entries.values() if entry.password_hash]
    return ChargerFile(entries, stamp, hashes[0] if hashes else None)


class FileDoor:
    """Lets in the chargers of a file; see :class:`evproto.gateway.admission.Door`.

    The file is looked at for each knock. A changed one that cannot be used is
    reported once, and what the last good one said goes on to hold.
    """

    def __init__(self, path: Path, judge: Judge) -> None:
        """Read the file.

        Raises:
            OSError: it cannot be read.
            FileError: something in it is wrong.
        """
        self._path = path
        self._judge = judge
        self._file = read_file(path)
        self._seen: _Stamp | str = self._file.stamp
        """Of what was read last, good or bad; or why it could not be read."""
        self._reading = asyncio.Lock()

    async def ask(self, knock: Knock) -> Admitted | Refused:
        """See :class:`evproto.gateway.admission.Door`."""
        if self._now() != self._seen:
            async with self._reading:
                await self._look()
        file = self._file
        return await self._judge.judge(knock, file.entries.get(knock.charger), file.usual)

    async def close(self) -> None:
        """There is nothing to close."""

    def _now(self) -> _Stamp | str:
        try:
            return _Stamp.of(self._path.stat())
        except OSError as error:
            return error.strerror or str(error)

    async def _look(self) -> None:
        now = self._now()
        if now == self._seen:
            return
        try:
            # Thousands of chargers take a while.
            self._file = await asyncio.to_thread(read_file, self._path)
        except FileError as error:
            self._seen = now
            for problem in error.problems:
                logger.error("%s", problem)
            logger.error("the chargers of the file as it was before are let in", extra=data(file=self._path))
        except OSError as error:
            self._seen = error.strerror or str(error)
            logger.error("%s cannot be read: %s; the chargers that it had are let in", self._path, self._seen)
        else:
            self._seen = self._file.stamp
            logger.info("chargers read again", extra=data(file=self._path, chargers=len(self._file.entries)))


def _placed(path: Path, text: str, found: list[tuple[tuple[str, ...], str]]) -> list[str]:
    """Sentences, with the lines of what they are about."""
    lines = _lines(text)
    out = []
    for keys, sentence in found[:_MOST]:
        number = next((lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in lines), None)
        where = "" if number is None else f", line {number}"
        out.append(f"{path}{where}: {'.'.join(_key(key) for key in keys)}: {sentence}")
    if len(found) > _MOST:
        out.append(f"{path}: and {len(found) - _MOST} more")
    return out


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The lines of tables and keys, as far as each stands at the beginning of its own."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        # Each is read by itself; what is none by itself, as a line within a long text, is passed over.
        header = re.match(r"\s*\[[^\[]", line) is not None
        left, equals, _ = line.partition("=")
        alone = line if header else f"{left}= 0" if equals else ""
        try:
            keys = _path(tomllib.loads(alone)) if alone else ()
        except (ValueError, RecursionError):
            continue
        full = keys if header else (*table, *keys)
        if header:
            table = keys
        for end in range(1, len(full) + 1):
            lines.setdefault(full[:end], number)
    return lines


def _path(tree: Any) -> tuple[str, ...]:
    keys: list[str] = []
    while isinstance(tree, dict) and tree:
        key, tree = next(iter(tree.items()))
        keys.append(key)
    return tuple(keys)


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else f'"{key}"'
