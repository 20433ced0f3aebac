"""Reading an input from beginning to end, whatever it is."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Final, Protocol

from evproto.capture.detection import FORMATS, HEAD_SIZE, Format, detect
from evproto.capture.dumps import DumpReader, parse_dump_line
from evproto.capture.items import CaptureError, Chunk, Item, Note, Reader
from evproto.capture.lines import sniff_encoding
from evproto.capture.logs import LogReader
from evproto.capture.pcap import PacketDumpReader, PcapReader
from evproto.capture.spelling import HexReader, WordsReader, is_hex_line, spell

__all__ = [
    "BinaryInput",
    "ReaderFactory",
    "is_hex_arguments",
    "make_reader",
    "read_arguments",
    "read_bytes",
    "read_path",
    "read_stream",
]

BLOCK_SIZE: Final = 1 << 16
_ENOUGH: Final = 1024  # for telling what a pipe brings, without waiting for a lot
_GZIP: Final = b"\x1f\x8b\x08"


class BinaryInput(Protocol):
    """What can be read: a file opened for reading bytes."""

    def read(self, size: int = ..., /) -> bytes | None: ...


class ReaderFactory(Protocol):
    """Makes the reader of an input; :func:`make_reader`, or one that reads more out of it."""

    def __call__(
        self,
        format: Format,
        source: str,
        *,
        encoding: str = "",
        ports: Collection[int] = (),
        head: bytes = b"",
    ) -> Reader: ...


class _BinaryReader:
    """Hands bytes over as they are."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._position = 0

    def feed(self, block: bytes) -> list[Item]:
        position = self._position
        self._position += len(block)
        return [Chunk(block, self._source, position=position, stream=self._source, starts=position == 0)]

    def finish(self) -> list[Item]:
        return [] if self._position else [_empty(self._source)]


class _EmptyReader:
    """Waits for something to be there."""

    def __init__(self, source: str) -> None:
        self._source = source

    def feed(self, block: bytes) -> list[Item]:
        return []

    def finish(self) -> list[Item]:
        return [_empty(self._source)]


def _empty(source: str) -> Note:
    return Note("empty", "there is nothing in it", source, stream=source)


def make_reader(
    format: Format, source: str, *, encoding: str = "", ports: Collection[int] = (), head: bytes = b""
) -> Reader:
    """A reader to push bytes into; for those that cannot let :func:`read_stream` pull.

    Args:
        format: as :func:`~evproto.capture.detect` names it.
        encoding: of text; "" judges line by line.
        ports: of captures, as in :func:`read_path`.
        head: the first bytes, as far as they are known; they are not fed.
    """
    if format == "binary":
        return _BinaryReader(source)
    if format == "empty":
        return _EmptyReader(source)
    if format in ("pcap", "pcapng"):
        return PcapReader(source, ports=ports)
    encoding = encoding or sniff_encoding(head)
    if format == "hex":
        return HexReader(source, encoding)
    if format == "words":
        return WordsReader(source, encoding)
    if format == "log":
        return LogReader(source, encoding)
    if format == "tcpdump":
        return PacketDumpReader(source, format, encoding, ports=ports)
    if format == "wireshark" and not _is_followed(head, encoding):
        return PacketDumpReader(source, format, encoding, ports=ports)
    if format == "xxd" or format == "hexdump" or format == "od" or format == "wireshark":
        return DumpReader(source, format, encoding)
    raise CaptureError(f"there is no input format {format!r}")


def _is_followed(head: bytes, encoding: str) -> bool:
    """Whether a Wireshark dump is of a stream (offsets of eight digits), not of packets (of four)."""
    text = head[:4096].decode(encoding or "latin-1", "replace")
    parsed = [parse_dump_line("wireshark", line) for line in text.lstrip("\ufeff").splitlines()]
    return any(line is not None and len(line.offset) > 4 for line in parsed)


def check_format(format: str) -> Format | None:
    """The format chosen; None for "auto".

    Raises:
        CaptureError: there is no such format.
    """
    if format == "auto":
        return None
    for known in FORMATS:
        if format == known:
            return known
    raise CaptureError(f"there is no input format {format!r}; there are auto, {', '.join(FORMATS)}")


def read_path(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    encoding: str = "",
    ports: Collection[int] = (),
    make: ReaderFactory = make_reader,
) -> Iterator[Item]:
    """Read a file; also one compressed with gzip.

    Args:
        format: "auto", or a name from :data:`~evproto.capture.FORMATS`.
        encoding: of text; "" finds out (UTF-8, UTF-16, GB 18030).
        ports: of captures, only connections with one of these TCP ports at
            either end; all if empty.
        make: makes the reader, once the format is clear.

    Raises:
        CaptureError: the file cannot be read, or an argument is wrong. What
            is wrong inside the file is a :class:`Note`.
    """
    check_format(format)
    name = os.fspath(path)

    def read() -> Iterator[Item]:
        try:
            file = Path(name).open("rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise CaptureError(f"cannot read {name}: {error.strerror or error}") from error
        with closing(file):
            yield from read_stream(file, name, format=format, encoding=encoding, ports=ports, make=make)

    return read()


def read_stream(
    file: BinaryInput | IO[bytes],
    name: str = "<stdin>",
    *,
    format: str = "auto",
    encoding: str = "",
    ports: Collection[int] = (),
    make: ReaderFactory = make_reader,
) -> Iterator[Item]:
    """Read an open binary file, as it comes; arguments as in :func:`read_path`.

    From a pipe, items are given as soon as their bytes are there, except that
    nothing is given before the format is clear: after 1 KiB, or at the end.
    """
    chosen = check_format(format)

    def read() -> Iterator[Item]:
        blocks = _blocks(file, name)
        first = next(blocks, b"")
        if first.startswith(_GZIP) and chosen != "binary":
            blocks = _inflate(first, blocks, name)
            first = next(blocks, b"")
        # White space alone says nothing yet, however much of it comes.
        while chosen is None and len(first) < HEAD_SIZE and (len(first) < _ENOUGH or not first.strip()):
            more = next(blocks, b"")
            if not more:
                break
            first += more
        resolved = chosen or detect(first)
        if resolved == "empty" and len(first) >= HEAD_SIZE:
            resolved = "log"  # a hole full of spaces; whatever comes behind it
        reader = make(resolved, name, encoding=encoding, ports=ports, head=first[:HEAD_SIZE])
        if first:
            yield from reader.feed(first)
        for block in blocks:
            yield from reader.feed(block)
        yield from reader.finish()

    return read()


def read_bytes(
    data: bytes, name: str, *, format: str = "auto", encoding: str = "", ports: Collection[int] = ()
) -> Iterator[Item]:
    """Read an input that is in memory; arguments as in :func:`read_path`."""
    import io

    return read_stream(io.BytesIO(data), name, format=format, encoding=encoding, ports=ports)


def _blocks(file: BinaryInput | IO[bytes], name: str) -> Iterator[bytes]:
    # read1 gives what is there instead of waiting for a full block.
    read: Callable[[int], bytes | None] = getattr(file, "read1", file.read)
    while True:
        try:
            block = read(BLOCK_SIZE)
        except OSError as error:
            raise CaptureError(f"cannot read {name}: {error.strerror or error}") from error
        if not block:
            return
        yield block


def _inflate(first: bytes, blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Decompress gzip, of any number of members, block by block."""
    machine = zlib.decompressobj(31)
    pending = first
    while pending:
        try:
            data = machine.decompress(pending, BLOCK_SIZE)
        except zlib.error as error:
            raise CaptureError(f"cannot read {name}: {error}") from error
        if data:
            yield data
        pending = machine.unconsumed_tail
        if machine.eof:
            pending = machine.unused_data or next(blocks, b"")
            machine = zlib.decompressobj(31)
            pending = pending.lstrip(b"\0")  # padding of tapes and some tools
        elif not pending:
            pending = next(blocks, b"")
            if not pending:
                raise CaptureError(f"cannot read {name}: the compressed data ends too early")


def is_hex_arguments(arguments: Sequence[str]) -> bool:
    """Whether command-line arguments spell bytes, rather than name files.

    Only the spelling is looked at; that a file named ``6822`` exists is for
    the caller to find out.
    """
    return bool(arguments) and all(
        is_hex_line(argument) and (spelled := spell(argument)) and bool(spelled.data or spelled.nibble)
        for argument in arguments
    )


def read_arguments(arguments: Sequence[str], name: str = "<arguments>") -> Iterator[Item]:
    """Read hex given as command-line arguments: a frame in one, or spread over several.

    An argument that consists of whole frames begins a stretch of its own.
    """
    return iter(HexReader(name).read_words(list(arguments)))
