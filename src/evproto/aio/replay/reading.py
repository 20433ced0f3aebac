"""The frames of a capture, whoever has made it: lines of a server, or a pcap file with piles in it."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from evproto.capture import Chunk, Item, Note, Reader, make_reader, read_path
from evproto.capture.detection import Format
from evproto.capture.lines import Line, Lines, sniff_encoding
from evproto.capture.spoken import Missing, Spoken, read_spoken
from evproto.errors import DecodeError, EvprotoError
from evproto.ykc.codec import Codec

__all__ = ["Captured", "ReplayError", "read_capture"]

_LOGIN = 0x01
_TEXTS = ("hex", "words", "log", "tcpdump", "xxd", "hexdump", "od", "wireshark", "empty")


class ReplayError(EvprotoError):
    """A capture that cannot be played, or nowhere to play it."""


class Captured(NamedTuple):
    """A frame of a capture."""

    time: float
    """Seconds since 1970."""
    protocol: str
    """``ykc``, or one of OCPP-J with its version."""
    charger: str
    """As the server called it; the address while nobody knew more."""
    connection: str
    """Differs for two connections of a charger, where the capture tells them apart."""
    from_charger: bool
    data: bytes
    redacted: bool
    place: str
    """Where it stands, for people."""


@dataclass(frozen=True, slots=True)
class _Line(Chunk):
    spoken: Spoken | None = None


class _LineReader:
    """Reads the lines of a server's capture; counts the others."""

    def __init__(self, source: str, head: bytes) -> None:
        self._source = source
        self._lines = Lines(sniff_encoding(head))
        self._pieces: list[str] = []
        self._others = 0
        self._any = False

    def feed(self, block: bytes) -> Iterator[Item]:
        for line in self._lines.feed(block):
            yield from self._take(line)

    def finish(self) -> Iterator[Item]:
        for line in self._lines.finish():
            yield from self._take(line)
        if not self._any:
            if self._others:
                raise ReplayError(
                    f"{self._source} is no capture: none of its {self._others} lines is a captured frame"
                )
            raise ReplayError(f"{self._source}: there is no frame in it")
        if self._others:
            yield Note("no_frame", f"{self._others} lines are none of a capture", self._source)

    def _take(self, line: Line) -> Iterator[Item]:
        self._pieces.append(line.text)
        if not line.ends:
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        spoken = read_spoken(text)
        if isinstance(spoken, Spoken):
            self._any = True
            yield _Line(spoken.data, self._source, line=line.number, time=spoken.time, spoken=spoken)
        elif isinstance(spoken, Missing):
            yield Note("gap", spoken.text, self._source, line=line.number, time=spoken.time)
        elif text.strip() and not text.startswith("#"):
            self._others += 1


def _make(
    format: Format, source: str, *, encoding: str = "", ports: Collection[int] = (), head: bytes = b""
) -> Reader:
    if format in _TEXTS:
        return _LineReader(source, head)
    if format == "binary":
        raise ReplayError(f"{source} is no capture: neither lines of a server nor a pcap file")
    return make_reader(format, source, encoding=encoding, ports=ports, head=head)


def read_capture(path: str | os.PathLike[str], *, ports: Collection[int] = ()) -> Iterator[Captured | Note]:
    """The frames of a file in its order, and notes about what is missing in it.

    Args:
        path: a capture of ``evproto serve``, or a pcap or pcapng file; also compressed with gzip.
        ports: of pcap files, only connections with one of these TCP ports at either end.

    Raises:
        ReplayError: there is no frame in it, or it is no capture.
        CaptureError: it cannot be read.
    """
    segments = _Segments()
    found = False
    for item in read_path(path, ports=ports, make=_make):
        if isinstance(item, Note):
            if item.kind == "empty":
                raise ReplayError(f"{item.source}: there is no frame in it: {item.text}")
            yield item
        elif isinstance(item, _Line) and item.spoken is not None:
            yield _of_line(item, item.spoken)
        else:
            for captured in segments.add(item):
                found = True
                yield captured
    for captured in segments.finish():
        found = True
        yield captured
    if segments.fed and not found:
        raise ReplayError(f"{os.fspath(path)}: there is no frame of YKC in it")


def _of_line(item: _Line, spoken: Spoken) -> Captured:
    pile = spoken.protocol.startswith("ykc")
    charger, connection = spoken.charger, ""
    if pile and ":" in charger:
        # An address: the connection was new, and nobody knew yet whose it is.
        connection = charger
        charger = _pile_of(spoken.data) or charger
    return Captured(
        spoken.time.timestamp(),
        "ykc" if pile else spoken.protocol,
        charger,
        connection,
        spoken.from_charger,
        spoken.data,
        spoken.redacted,
        f"{item.source}:{item.line}",
    )


def _pile_of(frame: bytes) -> str:
    """The pile that a login, or the answer to one, is about."""
    return frame[6:13].hex().upper() if len(frame) > 14 and frame[5] in (_LOGIN, _LOGIN + 1) else ""


class _Segments:
    """Frames out of the TCP connections of a pcap file, each as whole as it came."""

    def __init__(self) -> None:
        self._codec = Codec("1.7", checksum="ignore")
        self._splitters: dict[str, tuple[object, Chunk]] = {}
        self._names: dict[int, str] = {}
        self.fed = False

    def add(self, chunk: Chunk) -> Iterator[Captured]:
        assert chunk.connection is not None
        self.fed = True
        if chunk.starts and chunk.stream in self._splitters:
            yield from self._end(chunk.stream)
        if chunk.stream not in self._splitters:
            if chunk.data[:4] in (b"GET ", b"POST", b"HTTP"):
                raise ReplayError(
                    f"{chunk.source}: packet {chunk.packet} is HTTP; of pcap files, frames of YKC are read"
                )
            self._splitters[chunk.stream] = self._codec.split(), chunk
        splitter, _ = self._splitters[chunk.stream]
        self._splitters[chunk.stream] = splitter, chunk
        if chunk.data:
            yield from self._pieces(splitter.feed(chunk.data), chunk)  # type: ignore[attr-defined]
        if chunk.ends:
            yield from self._end(chunk.stream)

    def finish(self) -> Iterator[Captured]:
        for stream in list(self._splitters):
            yield from self._end(stream)

    def _end(self, stream: str) -> Iterator[Captured]:
        splitter, chunk = self._splitters.pop(stream)
        yield from self._pieces(splitter.finish(), chunk)  # type: ignore[attr-defined]

    def _pieces(self, pieces: list[object], chunk: Chunk) -> Iterator[Captured]:
        assert chunk.connection is not None
        for piece in pieces:
            # Bytes that are no frame were sent too.
            data: bytes = piece.data  # type: ignore[attr-defined]
            number = chunk.connection.number
            if isinstance(piece, DecodeError) and not data:
                continue
            if number not in self._names:
                self._names[number] = _pile_of(data) or str(chunk.connection.client)
            time = chunk.time
            yield Captured(
                time.timestamp() if isinstance(time, dt.datetime) else 0.0,
                "ykc",
                self._names[number],
                str(number),
                bool(chunk.from_client),
                data,
                False,
                f"{chunk.source}: packet {chunk.packet}",
            )
