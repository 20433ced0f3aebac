"""Following a file that grows, as ``tail -F`` does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from evproto.capture.detection import HEAD_SIZE, Format, detect
from evproto.capture.items import CaptureError, Item, Note, Reader
from evproto.capture.reading import BLOCK_SIZE, ReaderFactory, check_format, make_reader

__all__ = ["follow"]

INTERVAL: Final = 0.25


def _nap() -> bool:
    time.sleep(INTERVAL)
    return True


def follow(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    encoding: str = "",
    ports: Collection[int] = (),
    wait: Callable[[], bool] = _nap,
    from_start: bool = True,
    make: ReaderFactory = make_reader,
) -> Iterator[Item]:
    """Read a file, and go on reading what is written to it.

    A file that becomes shorter is read from its beginning again; one that is
    replaced by another of the same name (a rotated log) is read to its end
    first. Both are noted. A file that is not there (yet) is waited for. A log
    cut and filled up again beyond its old size between two looks is not
    noticed, by nobody who only looks.

    Args:
        format, encoding, ports, make: as in :func:`read_path`. With "auto" the first
            whole line, or 1 KiB, decides.
        wait: called when there is nothing to read; returns whether to go on.
            When it returns False, what is left (a line without its end) is
            given, and the iterator ends.
        from_start: False passes over what the file holds at first.

    Raises:
        CaptureError: the file cannot be read, or an argument is wrong.
    """
    follower = _Follower(os.fspath(path), check_format(format), encoding, ports, make)
    return follower.run(wait, from_start=from_start)


class _Follower:
    def __init__(
        self, name: str, format: Format | None, encoding: str, ports: Collection[int], make: ReaderFactory
    ) -> None:
        self._name = name
        self._format: Format | None = format
        self._encoding = encoding
        self._ports = ports
        self._make = make
        self._file: BinaryIO | None = None
        self._reader: Reader | None = None
        self._head = b""
        self._position = 0

    def run(self, wait: Callable[[], bool], *, from_start: bool) -> Iterator[Item]:
        try:
            if not from_start:
                self._pass_over()
            while True:
                if self._file is None:
                    self._file = self._open()
                if self._file is not None:
                    yield from self._read(self._file)
                    note = self._changed(self._file)
                    if note is not None:
                        if note.kind == "rotated":
                            yield from self._read(self._file)  # what came between reading and looking
                            self._file.close()
                            self._file = None
                        else:
                            self._file.seek(0)
                        yield from self._end()
                        yield note
                        continue
                if not wait():
                    break
            yield from self._end()
        finally:
            if self._file is not None:
                self._file.close()

    def _open(self) -> BinaryIO | None:
        try:
            return Path(self._name).open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CaptureError(f"cannot read {self._name}: {error.strerror or error}") from error

    def _pass_over(self) -> None:
        """Go to the end; the beginning is only looked at for what the file is."""
        self._file = self._open()
        if self._file is None:
            return
        head = self._file.read(HEAD_SIZE)
        resolved = self._format or detect(head)
        if resolved in ("pcap", "pcapng"):
            raise CaptureError(f"{self._name} is a capture file, which can only be followed from its start")
        if resolved != "empty":
            self._start(resolved, head)
        # A line begun is passed over with the rest: its end would be misread.
        end = self._file.seek(0, os.SEEK_END)
        self._position = end

    def _read(self, file: BinaryIO) -> Iterator[Item]:
        while True:
            try:
                block = file.read(BLOCK_SIZE)
            except OSError as error:
                raise CaptureError(f"cannot read {self._name}: {error.strerror or error}") from error
            if not block:
                return
            self._position += len(block)
            reader = self._reader
            if reader is None:
                self._head += block
                if not self._is_enough():
                    continue
                reader = self._start(self._format or detect(self._head), self._head)
                block, self._head = self._head, b""
            yield from reader.feed(block)

    def _is_enough(self) -> bool:
        head = self._head.strip()
        if self._format is not None:
            return len(self._head) >= 4
        return len(head) >= 1024 or (len(head) >= 12 and (b"\n" in self._head.lstrip() or b"\0" in head))

    def _start(self, resolved: Format, head: bytes) -> Reader:
        self._format = resolved
        self._reader = self._make(resolved, self._name, encoding=self._encoding, ports=self._ports, head=head)
        return self._reader

    def _changed(self, file: BinaryIO) -> Note | None:
        try:
            now = Path(self._name).stat()
        except OSError:
            return None  # moved away; the writer may still write to it until the new one is there
        opened = os.fstat(file.fileno())
        if (now.st_ino, now.st_dev) != (opened.st_ino, opened.st_dev):
            return Note("rotated", "another file has taken the name; reading that one", self._name)
        if now.st_size < self._position:
            return Note("truncated", "the file has become shorter; reading it from its beginning", self._name)
        return None

    def _end(self) -> Iterator[Item]:
        """Finish with what has been read; the next byte begins afresh."""
        if self._reader is None and self._head.strip():
            yield from self._start(self._format or detect(self._head), self._head).feed(self._head)
        if self._reader is not None:
            for item in self._reader.finish():
                if not (isinstance(item, Note) and item.kind == "empty"):
                    yield item
        self._reader = None
        self._head = b""
        self._position = 0
