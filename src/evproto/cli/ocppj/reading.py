"""Reading OCPP-J frames out of logs, by themselves or beside the hex of other protocols."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from evproto.capture import Chunk, Item, Note, Reader, make_reader
from evproto.capture.detection import Format
from evproto.capture.lines import Line, Lines, sniff_encoding
from evproto.capture.logs import LogReader
from evproto.capture.markers import find_time
from evproto.capture.spoken import Spoken, read_spoken
from evproto.cli.errors import UsageError
from evproto.cli.ocppj import PROTOCOLS
from evproto.cli.ocppj.context import NOBODY, Charger, Way, find_charger, find_way
from evproto.cli.ocppj.finding import Found, find_frames

__all__ = [
    "FrameReader",
    "TextFrame",
    "make_frame_reader",
    "make_mixed_reader",
    "only_frames",
    "only_text",
    "read_frame",
]

_CONTEXT: Final = 4096
_LONGEST: Final = 1 << 22
"""Characters of a line that are kept; what is behind them is not read."""


@dataclass(frozen=True, slots=True)
class TextFrame(Chunk):
    """A frame of OCPP-J in a line.

    Attributes:
        frame: its text, as it would be sent.
        whole: whether its brackets match.
        value: the frame as JSON; None if it is not JSON.
        before, after: what stands around it.
        way: which way the line says it goes.
        charger: whose it is.
        lost: how many characters at the end of its line were not read.
        protocol: what the line says that it is of.
    """

    frame: str = ""
    whole: bool = True
    value: Any = None
    before: str = ""
    after: str = ""
    way: Way = ""
    charger: Charger = NOBODY
    lost: int = 0
    protocol: str = ""


def make_frame_reader(
    format: Format, source: str, *, encoding: str = "", ports: Collection[int] = (), head: bytes = b""
) -> Reader:
    """A reader for OCPP-J alone; text of whatever form is read line by line."""
    if format in ("pcap", "pcapng", "binary"):
        return make_reader(format, source, encoding=encoding, ports=ports, head=head)
    return FrameReader(source, encoding or sniff_encoding(head), hex_too=False)


def make_mixed_reader(
    format: Format, source: str, *, encoding: str = "", ports: Collection[int] = (), head: bytes = b""
) -> Reader:
    """A reader like any other, but of logs that may have OCPP-J in them."""
    if format != "log":
        return make_reader(format, source, encoding=encoding, ports=ports, head=head)
    return FrameReader(source, encoding or sniff_encoding(head), hex_too=True)


def only_frames(items: Iterable[Item]) -> Iterator[TextFrame]:
    """The frames of OCPP-J among the items of inputs in which nothing else is expected.

    Raises:
        UsageError: an input is a capture or a binary file.
    """
    return (item for item in only_text(items) if isinstance(item, TextFrame))


def only_text(items: Iterable[Item]) -> Iterator[Item]:
    """The same with the notes."""
    for item in items:
        if isinstance(item, Chunk) and not isinstance(item, TextFrame):
            raise UsageError(
                f"{item.source} is no text; OCPP is read out of logs, not out of captures and binary files"
            )
        yield item


class FrameReader:
    """Reads logs; lines without a frame of OCPP-J are searched for hex if ``hex_too``."""

    def __init__(self, source: str, encoding: str = "", *, hex_too: bool) -> None:
        self._source = source
        self._lines = Lines(encoding)
        self._hex = LogReader(source) if hex_too else None
        self._any = False
        self._held: list[Line] = []  # pieces of a long line
        self._size = 0
        self._lost = 0

    def feed(self, block: bytes) -> Iterator[Item]:
        """Take in bytes; give what their lines hold."""
        for line in self._lines.feed(block):
            yield from self._take(line)

    def finish(self) -> Iterator[Item]:
        """The input has ended: give the rest."""
        for line in self._lines.finish():
            yield from self._take(line)
        if self._held:
            yield from self._whole(self._held, "".join(piece.text for piece in self._held))
        if self._hex is not None:
            for item in self._hex.finish():
                # That there was no hex is worth a word only if there was nothing else.
                if not (self._any and isinstance(item, Note) and item.kind == "empty"):
                    yield item
        elif not self._any:
            yield Note("empty", "no frame was found in the text", self._source, stream=self._source)

    def _take(self, line: Line) -> Iterator[Item]:
        if line.begins and line.ends:
            yield from self._whole([line], line.text)
            return
        if self._size <= _LONGEST:
            self._held.append(line)
            self._size += len(line.text)
        else:
            self._lost += len(line.text)
        if line.ends:
            pieces = self._held
            self._held = []
            yield from self._whole(pieces, "".join(piece.text for piece in pieces))
            self._size = self._lost = 0

    def _whole(self, pieces: list[Line], text: str) -> Iterator[Item]:
        found = False
        spoken = read_spoken(text)
        if isinstance(spoken, Spoken) and not spoken.protocol.startswith("ykc"):
            found = True
            yield _spoken_frame(spoken, self._source, pieces[0].number)
        elif spoken is None and "[" in text:
            for frame in find_frames(text):
                found = True
                yield text_frame(frame, self._source, pieces[0].number, self._lost)
        if found:
            self._any = True
        elif self._hex is not None:
            for piece in pieces:
                yield from self._hex.take(piece)


def text_frame(found: Found, source: str, line: int | None = None, lost: int = 0) -> TextFrame:
    """The item for a frame that was found."""
    before, after = found.before[-_CONTEXT:], found.after[:_CONTEXT]
    return TextFrame(
        found.text.encode("utf-8", "surrogatepass"),
        source,
        line=line,
        time=find_time(found.before[:_CONTEXT]) or find_time(after),
        starts=True,
        frame=found.text,
        whole=found.whole,
        value=found.value,
        before=before,
        after=after,
        way=find_way(before, after),
        charger=find_charger(before, after),
        lost=0 if found.whole else lost,
    )


def _spoken_frame(spoken: Spoken, source: str, line: int) -> TextFrame:
    """The item for a frame that a server has captured: nothing about it is to be found out."""
    text = spoken.data.decode("utf-8", "replace")
    value = _value(text)
    protocol = "ntxcp" if spoken.protocol.startswith("ntxcp") else spoken.protocol
    return TextFrame(
        spoken.data,
        source,
        line=line,
        time=spoken.time,
        starts=True,
        frame=text,
        whole=value is not None,
        value=value,
        way="station_to_csms" if spoken.from_charger else "csms_to_station",
        charger=Charger(spoken.charger, True),
        protocol=protocol if protocol in PROTOCOLS else "",
    )


def read_frame(text: str) -> TextFrame:
    """A frame given as an argument; one that only begins like an array is taken as it is."""
    for found in find_frames(text):
        if not found.before.strip():
            return text_frame(found, "<arguments>")
    return text_frame(Found("", text.strip(), "", whole=False, value=_value(text)), "<arguments>")


def _value(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
