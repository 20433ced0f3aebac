"""Hex dumps with offsets: xxd, od, hexdump, Wireshark and their like.

What the tools disagree on, and how it is settled here:

* Words of two and more bytes (``od -x``, plain ``hexdump``) are printed with
  the bytes exchanged, because the machines that print them are little-endian;
  ``xxd`` groups bytes without exchanging them, and marks itself by the colon
  behind the offset. (Should only the unexchanged reading begin a frame, it is
  taken: ``od --endian=big``.)
* The radix of the offsets (``od``: octal, or ``-A x``, ``-A d``; others:
  hexadecimal) follows from the second offset: the first line says how many
  bytes lie before it.
* ``*`` stands for repetitions of the line before it, as many as the next
  offset asks for. The lonely offset at the end says how long the data is,
  so it also takes away the byte that fills up an odd last word.
* An offset that begins again at 0 begins another dump, any other jump is a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from evproto.capture.frames import begins_frame
from evproto.capture.items import Chunk, Item, Note, NoteKind
from evproto.capture.lines import Lines

__all__ = ["END", "HEADING", "DumpLine", "DumpReader", "DumpStyle", "dump_style", "parse_dump_line"]

DumpStyle = Literal["xxd", "hexdump", "od", "wireshark", "tcpdump"]
"""The layout of the lines; "od" also stands for plain hexdump."""

END: Final = re.compile(r"^[0-9A-Fa-f]{6,16}\s*$")
"""The offset at the end of od's and hexdump's output."""

HEADING: Final = re.compile(r"^(?:\$ |={5,}|Follow: |Filter: |Node \d+: )")
"""What a copied command line or tshark's follow prints around a dump."""

REPEAT_LIMIT: Final = 1 << 30
"""More than this many bytes of repeated lines are a damaged offset, not data."""

_HEX = "[0-9A-Fa-f]"
_PATTERNS: Final[dict[DumpStyle, re.Pattern[str]]] = {
    # Two spaces end the bytes; groups are set apart by one.
    "xxd": re.compile(rf"^(\s*)({_HEX}{{4,16}}): ((?:{_HEX}{{2}})+(?: (?:{_HEX}{{2}})+)*)(?:\s*$|  .*$)"),
    # The bar ends the bytes.
    "hexdump": re.compile(rf"^(\s*)({_HEX}{{7,16}})\s+({_HEX}{{2}}(?: {{1,2}}{_HEX}{{2}})*)\s*\|.*$"),
    "tcpdump": re.compile(
        rf"^(\s+)0x({_HEX}{{4,5}}):  ((?:{_HEX}{{2}}){{1,2}}(?: (?:{_HEX}{{2}}){{1,2}}){{0,7}})(?:\s*$|  .*$)"
    ),
    # Sixteen bytes, or as many as come before three spaces.
    "wireshark": re.compile(
        rf"^(\s*)({_HEX}{{4,8}}) {{2,3}}({_HEX}{{2}}(?: {{1,2}}{_HEX}{{2}}){{0,15}})(?:\s*$| {{2}}.*$)"
    ),
    "od": re.compile(rf"^()({_HEX}{{6,16}})((?:\s+(?:{_HEX}{{2}}){{1,8}})+)\s*(?:  >.*<\s*)?$"),
}


class DumpLine(NamedTuple):
    """One line of a dump."""

    indent: int
    offset: str
    groups: tuple[str, ...]


def parse_dump_line(style: DumpStyle, text: str) -> DumpLine | None:
    """Take a line of this style apart; None if it is none."""
    match = _PATTERNS[style].match(text)
    if match is None:
        return None
    groups = tuple(match[3].split())
    if style == "od" and len({len(group) for group in groups}) > 1:
        return None
    return DumpLine(len(match[1].expandtabs()), match[2], groups)


def dump_style(lines: list[str]) -> DumpStyle | None:
    """Which style all of ``lines`` (not blank) have; None if there is no such style.

    Squeezed lines and offsets at the end belong to every style. One line
    alone must have more to it than a number in front of bytes, unless the
    offset is 0: ``000000 68 22`` may be a dump or not, ``123456 68 22`` is none.
    """
    data = [line for line in lines if line.strip() != "*" and not END.match(line)]
    if not data:
        return None
    for style in _PATTERNS:
        parsed = [parse_dump_line(style, line) for line in data]
        if all(parsed) and _advances([line for line in parsed if line is not None], style):
            return style
    return None


def _advances(lines: list[DumpLine], style: DumpStyle) -> bool:
    if style in ("xxd", "hexdump", "tcpdump"):
        return True  # a colon, a bar or 0x is sign enough
    if len(lines) == 1:
        return int(lines[0].offset, 16) == 0
    first: dict[int, DumpLine] = {}
    for line in lines:
        if line.indent in first:
            begin = first[line.indent]
            size = len("".join(begin.groups)) // 2
            return line.offset.strip("0") == "" or _radix(begin.offset, size, line.offset, "") != 0
        first[line.indent] = line
    return all(int(line.offset, 16) == 0 for line in lines)


def _radix(first: str, size: int, second: str, style: str) -> int:
    """The radix in which ``second`` lies ``size`` behind ``first``; 0 if there is none."""
    for radix in (16, 8, 10):
        try:
            distance = int(second, radix) - int(first, radix)
        except ValueError:
            continue
        # Squeezed lines may lie between, and the last word may be filled up.
        if distance == size or (distance > 0 and distance % size == 0 and style == "squeezed"):
            return radix
    return 0


_Ready = tuple[bytes, int, bool]


class _Dump:
    """The lines of one dump (or of one side of a conversation), put together."""

    def __init__(self, style: DumpStyle, radix: int) -> None:
        self._style: DumpStyle = style
        self._wanted_radix = radix
        self._radix = 16 if style != "od" else radix
        self._swapped: bool | None = None if style == "od" else False
        self._last: tuple[str, bytes, int] | None = None  # a line held back: offset, bytes, line number
        self._starred = False
        self._starts = True

    def line(self, parsed: DumpLine, number: int) -> Iterator[_Ready | str]:
        """Take in a line; yield what is certain, as (bytes, line number, starts), and complaints."""
        data = self._bytes(parsed.groups)
        if self._last is not None:
            restarted = parsed.offset.strip("0") == "" and not self._starred
            if restarted:
                yield from self.end(None)
                data = self._bytes(parsed.groups)
            else:
                yield from self._settle(parsed.offset)
        self._last = (parsed.offset, data, number)

    def star(self) -> None:
        self._starred = True

    def end(self, offset: str | None) -> Iterator[_Ready | str]:
        """The dump ends, at ``offset`` if it says so."""
        if self._last is not None:
            if offset is not None:
                yield from self._settle(offset, final=True)
            else:
                _, data, number = self._last
                if self._starred:
                    yield "the dump ends with left-out lines, and does not say how many"
                yield self._ready(data, number)
        self._last = None
        self._starred = False
        self._starts = True
        self._radix = 16 if self._style != "od" else self._wanted_radix
        if self._style == "od":
            self._swapped = None

    def _settle(self, offset: str, *, final: bool = False) -> Iterator[_Ready | str]:
        """Yield the line held back, now that the next offset is known."""
        assert self._last is not None
        begin, data, number = self._last
        size = len(data)
        if not self._radix:
            self._radix = self._find_radix(begin, size, offset, final=final)
        try:
            distance = int(offset, self._radix) - int(begin, self._radix)
        except ValueError:
            distance = -1
        if distance == size:
            yield self._ready(data, number)
        elif self._starred and size < distance <= REPEAT_LIMIT:
            yield from self._repeat(data, distance, number)
        elif final and 0 <= distance < size:
            if distance:
                yield self._ready(data[:distance], number)
        elif self._starred and distance > size:
            yield self._ready(data, number)
            yield f"the left-out lines would be {distance} bytes; not repeated"
            self._starts = True
        elif final and distance > size:
            # od and hexdump print *, but a log may have lost it.
            yield self._ready(data, number)
            yield f"the dump ends at {offset}, {distance - size} bytes behind its last line"
        else:
            yield self._ready(data, number)
            yield (
                f"the offset jumps to {offset}: {distance - size} bytes are missing"
                if distance > size
                else f"the offset jumps back to {offset}"
            )
            self._starts = True
        self._starred = False

    def _repeat(self, data: bytes, distance: int, number: int) -> Iterator[_Ready]:
        # A single * may stand for gigabytes: handed over in pieces.
        block = data * max(1, 65536 // len(data))
        while distance:
            piece = block[: min(distance, len(block))]
            yield self._ready(piece, number)
            distance -= len(piece)

    def _find_radix(self, begin: str, size: int, offset: str, *, final: bool) -> int:
        found = _radix(begin, size, offset, "squeezed" if self._starred else "")
        if found:
            return found
        if final:
            for radix in (16, 8, 10):
                try:
                    if 0 < int(offset, radix) - int(begin, radix) < size:
                        return radix
                except ValueError:
                    continue
        return 16

    def _bytes(self, groups: tuple[str, ...]) -> bytes:
        data = bytes.fromhex("".join(groups))
        width = len(groups[0]) // 2
        if self._style != "od" or width == 1:
            return data
        swapped = b"".join(bytes.fromhex(group)[::-1] for group in groups)
        if self._swapped is None:
            self._swapped = begins_frame(swapped) or not begins_frame(data)
        return swapped if self._swapped else data

    def _ready(self, data: bytes, number: int) -> _Ready:
        starts, self._starts = self._starts, False
        return data, number, starts


class DumpReader:
    """Reads one file of dump lines of one style; other lines are noted.

    Wireshark's "Follow TCP stream" shows the two sides at two indentations;
    they become two streams.
    """

    def __init__(self, source: str, style: DumpStyle, encoding: str = "", *, radix: int = 0) -> None:
        """``radix`` of od's offsets: 0 to find out."""
        self._source = source
        self._style: DumpStyle = style
        self._radix = radix
        self._lines = Lines(encoding)
        self._dumps: dict[int, _Dump] = {}
        self._indent = 0
        self._any = False

    def feed(self, block: bytes) -> Iterator[Item]:
        for line in self._lines.feed(block):
            yield from self._line(line.text, line.number)

    def finish(self) -> Iterator[Item]:
        for line in self._lines.finish():
            yield from self._line(line.text, line.number)
        for indent, dump in self._dumps.items():
            yield from self._hand_over(dump.end(None), indent, None)
        if not self._any:
            yield self._note("empty", "there is no line of a hex dump in it", None)

    def _line(self, text: str, number: int) -> Iterator[Item]:
        stripped = text.strip()
        if not stripped or stripped.startswith(("#", "//")) or HEADING.match(stripped):
            return
        parsed = parse_dump_line(self._style, text)
        if parsed is not None:
            if parsed.indent in self._dumps or len(self._dumps) < 8:
                self._indent = parsed.indent
            dump = self._dumps.get(self._indent)
            if dump is None:
                dump = self._dumps[self._indent] = _Dump(self._style, self._radix)
            self._any = True
            yield from self._hand_over(dump.line(parsed, number), self._indent, number)
            return
        dump = self._dumps.get(self._indent)
        if dump is not None and stripped == "*":
            dump.star()
        elif dump is not None and END.match(stripped):
            yield from self._hand_over(dump.end(stripped), self._indent, number)
        else:
            yield self._note("not_hex", f"no line of a hex dump, passed over: {stripped[:120]}", number)

    def _hand_over(self, ready: Iterator[_Ready | str], indent: int, number: int | None) -> Iterator[Item]:
        stream = self._source if indent == min(self._dumps) else f"{self._source} indented"
        for part in ready:
            if isinstance(part, str):
                kind: NoteKind = "squeezed" if "left-out" in part else "gap"
                yield self._note(kind, part, number)
            else:
                data, line, starts = part
                yield Chunk(data, self._source, line=line, stream=stream, starts=starts)

    def _note(self, kind: NoteKind, text: str, line: int | None) -> Note:
        return Note(kind, text, self._source, line=line, stream=self._source)
