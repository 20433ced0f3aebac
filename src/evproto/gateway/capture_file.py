"""The file of a capture: written to at its end, put aside when it is full, kept through a full disk."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["CaptureFile"]

_MODE: Final = 0o600
"""Who charged where is nobody's business but the owner's."""


class CaptureFile:
    """Whole lines in ``path``, older ones in ``path.1`` and so on; nobody else may read them.

    A line is written as a whole or not at all: of one that a full disk cut off,
    the beginning is taken back.

    Attributes:
        error: why nothing could be written when last tried; None if it could.
    """

    def __init__(self, path: Path, *, max_bytes: int, files: int, head: str) -> None:
        """Make one; nothing is opened.

        Args:
            path: the file that is written to.
            max_bytes: the most that a file has, unless one line alone is longer.
            files: the most files that there are, ``path`` itself among them.
            head: comment that each file begins with, a line that begins with ``#``.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._head = head.encode() + b"\n"
        self._fd: int | None = None
        self._size = 0
        self.error: OSError | None = None

    def open(self) -> None:
        """Open the file, at its end.

        Raises:
            OSError: it cannot be written.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        try:
            about = os.fstat(fd)
            self._size = about.st_size
            if stat.S_ISREG(about.st_mode):
                if stat.S_IMODE(about.st_mode) != _MODE:
                    os.fchmod(fd, _MODE)
                if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
                    # Something ended in the middle of a line.
                    self._put(fd, b"\n")
            self._put(fd, self._head)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def write(self, lines: Sequence[bytes]) -> int:
        """Write lines, each with its end; returns how many could be written, see :attr:`error` if not all."""
        done = 0
        try:
            while done < len(lines):
                done += self._write_some(lines[done:])
            self.error = None
        except OSError as error:
            self.error = error
            # Opened again when tried again: what is wrong may be the file.
            self.close()
        return done

    def close(self) -> None:
        """Close the file; it can be opened again."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def _write_some(self, lines: Sequence[bytes]) -> int:
        """As many lines as fit into the file, at least one."""
        if self._fd is None:
            self.open()
        size = self._size
        if size + len(lines[0]) > self._max_bytes and size > len(self._head):
            self._put_aside()
            size = self._size
        count = 0
        for line in lines:
            if count and size + len(line) > self._max_bytes:
                break
            size += len(line)
            count += 1
        assert self._fd is not None
        self._put(self._fd, b"".join(lines[:count]))
        return count

    def _put(self, fd: int, data: bytes) -> None:
        """Write all, or nothing."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            if len(view) < len(data):
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, self._size)
            raise
        self._size += len(data)

    def _put_aside(self) -> None:
        self.close()
        if self._files == 1:
            self._path.unlink(missing_ok=True)
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            with contextlib.suppress(FileNotFoundError):
                older.replace(self._numbered(number))
        self.open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
