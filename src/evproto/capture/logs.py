r"""Frames inside the text of a log.

A run of hex in a line counts if it begins a plausible frame: the start byte,
then a length byte of at least 4. So much a telephone number does too, so a
run that does not hold what its length byte announces must show more:

* six bytes at least, a whole header;
* if its digits stand together and are all decimal (order numbers, card
  numbers), a documented encryption flag in its place, and that the line says
  that something was sent or received, or consists of the run alone;
* if its bytes are set apart by colons or dashes, not six or eight bytes (MAC
  addresses) unless a checksum is right.

A run touching letters, or other hex by a dash, dot or colon (UUIDs, IPv6
addresses), is no run. In a run that begins with something else, the frame is
looked for at later start bytes, where it has to fit the run exactly or have a
right checksum.

What a server has captured (:mod:`evproto.capture.spoken`) is read as it is meant.

Also found: string literals (``b'h\x0c\x00'``), lists of decimal numbers, a
frame wrapped over lines that hold nothing but hex, and dumps with offsets
below a log line, with or without a log prefix in front of every line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from evproto.capture import frames
from evproto.capture.items import Chunk, Direction, Item, Note, NoteKind, Time
from evproto.capture.lines import Line, Lines
from evproto.capture.markers import find_direction, find_time
from evproto.capture.spelling import DECIMAL_LIST, LITERAL, decimal_bytes, literal_bytes, spell
from evproto.capture.spoken import Missing, Spoken, read_spoken

__all__ = ["LogReader", "Run", "find_runs"]

_H = "[0-9A-Fa-f]"
_AFTER = r"(?![0-9A-Za-z_])"
_RUN: Final = re.compile(
    rf"""
    (?<![0-9A-Za-z_\\])
    (?: (?P<spaced> {_H}{{2}} (?:[ \t]{{1,3}}{_H}{{2}}){{3,}} {_AFTER} )
    | (?P<together> (?:0[xX])? {_H}{{8,}} {_AFTER} )
    | (?P<prefixed>
        (?: 0[xX]{_H}{{1,2}} (?:\s?[,;|\s]?\s?0[xX]{_H}{{1,2}})+
          | \\[xX]{_H}{{2}} (?:[,\s]{{0,2}}\\[xX]{_H}{{2}})+ )
        {_AFTER} )
    | (?P<separated> {_H}{{2}} (?P<s>,[ ]?|[;:\-|_.]) {_H}{{2}} (?:(?P=s){_H}{{2}}){{2,}} {_AFTER} )
    | (?P<suffixed> {_H}{{2}}[hH] (?:[,\s]{{1,2}}{_H}{{2}}[hH])+ {_AFTER} )
    | (?P<grouped> {_H}{{4}} (?:[ ]{_H}{{4}})+ (?:[ ]{_H}{{2}})? {_AFTER} )
    )
    """,
    re.VERBOSE,
)
# Groups of four bytes are found as one that stands together; the others follow it.
_FURTHER_GROUPS: Final = re.compile(rf"(?:[ ]{_H}{{8}})*(?:[ ](?:{_H}{{2}}){{1,3}})?{_AFTER}")
_MANY_BYTES: Final = re.compile(rf"{_H}{{2}}(?:[ ]{_H}{{2}}){{5}}|0[xX]{_H}{{2}}|{_H}{{16}}")
_DUMP: Final = re.compile(
    rf"(?:^|[\s|\]>)])(?:0x)?(?P<offset>{_H}{{4,8}})(?P<mark>:|\s?\||\s)\s{{0,3}}"
    rf"(?P<bytes>{_H}{{2}}(?:[ ]{{1,2}}{_H}{{2}}){{0,31}}|{_H}{{4}}(?:[ ]{_H}{{4}}){{0,15}}(?:[ ]{_H}{{2}})?)"
    r"(?:\s*$|\s{2,}.*$|\s*\|.*$)"
)
_TAIL = re.compile(r"[\s,;\\\"')\]}>|]*$")
_HINT: Final = re.compile(r"68|[\"']h|\b104\b")
_LEAST_CUT: Final = 6
_LEAST_CUT_MARKED: Final = 4
_CONTEXT_LIMIT: Final = 4096
_DUMP_LIMIT: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Run:
    """Hex in a line that begins a plausible frame.

    Attributes:
        data: the bytes.
        start, end: where it stands in the line.
        skipped: how many bytes of hex in front of the frame were left out.
    """

    data: bytes
    start: int
    end: int
    skipped: int = 0


def _is_part_of_more(text: str, start: int, end: int) -> bool:
    """Whether hex that stands together is a group of a UUID, an IPv6 address or the like."""
    before, after = text[max(0, start - 5) : start], text[end : end + 2]
    if after[:1] in ("-", ":", ".") and after[1:2].isalnum():
        return True
    return bool(re.search(r"[0-9A-Fa-f]{3,4}[-:]$|::$|\d\.$", before))


def _frame_start(data: bytes, kind: str, separator: str, text: str, marked: bool) -> int | None:
    """Where in the bytes of a run the frames begin; None if they are no frames."""
    if frames.begins_frame(data) and _is_plausible(data, kind, separator, text, marked):
        return 0
    at = data.find(0x68, 1)
    tries = 0
    while at >= 0 and tries < 16:
        rest = data[at:]
        if frames.begins_frame(rest):
            tries += 1
            if frames.has_right_checksum(rest):
                return at
            if frames.has_header(rest) and frames.whole_frames(rest) == len(rest):
                return at
        at = data.find(0x68, at + 1)
    return None


def _is_plausible(data: bytes, kind: str, separator: str, text: str, marked: bool) -> bool:
    whole = frames.whole_frames(data)
    address = separator in (":", "-") and len(data) in (6, 8)
    decimal = kind == "together" and text.isdecimal()
    if whole and address:
        return frames.has_right_checksum(data)
    if whole and decimal:
        return frames.has_right_checksum(data) or (whole == len(data) and frames.has_header(data))
    if whole:
        return True
    if address:
        return False
    if decimal:
        return marked and frames.has_header(data)
    return len(data) >= (_LEAST_CUT_MARKED if marked else _LEAST_CUT)


def find_runs(text: str) -> list[Run]:
    """The runs of hex in a line that begin plausible frames, from left to right."""
    if not _HINT.search(text):
        return []
    found: list[Run] = []
    taken: list[tuple[int, int]] = []
    marked: bool | None = None
    if "\\" in text or "104" in text:
        for match in [*LITERAL.finditer(text), *DECIMAL_LIST.finditer(text)]:
            if match.re is LITERAL:
                value = literal_bytes(match["b"], match["quoted"])
            else:
                value = decimal_bytes(match[0])
            if (
                value is not None
                and frames.begins_frame(value)
                and _is_plausible(value, "literal", "", "", True)
            ):
                found.append(Run(value, match.start(), match.end()))
                taken.append(match.span())
    for match in _RUN.finditer(text):
        if any(start < match.end() and match.start() < end for start, end in taken):
            continue
        kind = match.lastgroup or ""
        if kind == "s":
            kind = "separated"
        raw = match[0]
        if "68" not in raw:
            continue
        start, end = match.span()
        if kind == "together":
            if raw[1:2] in "xX":
                raw = raw[2:]
            elif len(raw) == 8:
                further = _FURTHER_GROUPS.match(text, end)
                if further:
                    raw, end = raw + further[0], further.end()
                    taken.append((start, end))
            if _is_part_of_more(text, start, end):
                continue
        elif (
            kind == "separated" and text[end : end + 1] == match["s"][0] and text[end + 1 : end + 2].isalnum()
        ):
            continue  # the run goes on with something that is no byte
        data = bytes(spell(raw).data)
        if marked is None:
            marked = find_direction(text[:start]) != "" or text.strip() == match[0]
        at = _frame_start(data, kind, match["s"] or "", raw, marked)
        if at is not None:
            found.append(Run(data[at:], start, end, at))
    found.sort(key=lambda run: run.start)
    return found


@dataclass(slots=True)
class _Open:
    """Something found that the next lines may continue."""

    number: int
    context: str
    data: bytearray = field(default_factory=bytearray)
    dump: bool = False
    handed_over: int = 0
    before: str = ""


class LogReader:
    """Reads logs; every frame found begins a stretch of its own."""

    def __init__(self, source: str, encoding: str = "") -> None:
        self._source = source
        self._lines = Lines(encoding)
        self._open: _Open | None = None
        self._previous = ""
        self._any = False
        self._long = 0

    def feed(self, block: bytes) -> Iterator[Item]:
        for line in self._lines.feed(block):
            yield from self.take(line)

    def finish(self) -> Iterator[Item]:
        for line in self._lines.finish():
            yield from self.take(line)
        yield from self._close()
        if not self._any:
            yield Note("empty", "no frame was found in the text", self._source, stream=self._source)

    def take(self, line: Line) -> Iterator[Item]:
        """Read a line that somebody else has cut; instead of :meth:`feed`."""
        text = line.text
        spoken = read_spoken(text) if line.begins and line.ends else None
        if spoken is not None:
            yield from self._close()
            yield from self._spoken(spoken, line)
            return
        if not line.ends and self._long != line.number:
            self._long = line.number
            why = "the line is very long and read in pieces; a frame may be cut"
            yield self._note("long_line", why, line.number)
        if self._open is not None:
            if self._continue(text, self._open):
                if self._open.dump and len(self._open.data) >= _DUMP_LIMIT:
                    yield from self._hand_over_dump(self._open)
                elif not self._open.dump and not frames.missing(bytes(self._open.data)):
                    yield from self._close()
                return
            yield from self._close()
        if not text or text.isspace():
            return
        dump = self._first_of_dump(text)
        if dump is not None:
            prefix = text[: dump.start()].strip()
            context = text if prefix else self._previous
            self._open = _Open(line.number, context, bytearray(bytes.fromhex(dump["bytes"])), dump=True)
            return
        yield from self._runs(line)
        self._previous = text[:_CONTEXT_LIMIT]

    def _spoken(self, spoken: Spoken | Missing, line: Line) -> Iterator[Item]:
        if isinstance(spoken, Missing):
            yield Note(
                "gap",
                spoken.text,
                self._source,
                line=line.number,
                time=spoken.time,
                stream=self._source,
                missing=spoken.bytes,
            )
        elif spoken.protocol.startswith("ykc"):
            self._any = True
            yield Chunk(
                spoken.data,
                self._source,
                line=line.number,
                time=spoken.time,
                direction="pile_to_platform" if spoken.from_charger else "platform_to_pile",
                stream=self._source,
                starts=True,
                text=line.text.strip()[:_CONTEXT_LIMIT],
                whose=spoken.charger,
            )

    def _runs(self, line: Line) -> Iterator[Item]:
        text = line.text
        runs = find_runs(text)
        if not runs:
            yield from self._passed_over(text, line.number)
            return
        bare = len(runs) == 1 and not text[: runs[0].start].strip() and find_time(self._previous) is not None
        for index, run in enumerate(runs):
            if run.skipped:
                many = f"{run.skipped} byte{'s' if run.skipped > 1 else ''}"
                yield self._note("text_before", f"{many} of hex before the frame taken for text", line.number)
            before = self._previous if bare else text[: run.start]
            context = f"{self._previous.strip()} {text.strip()}"[:_CONTEXT_LIMIT] if bare else text
            if (
                index == len(runs) - 1
                and line.ends
                and frames.missing(run.data)
                and _TAIL.match(text, run.end)
            ):
                self._open = _Open(line.number, context, bytearray(run.data), before=before)
            else:
                yield self._chunk(run.data, line.number, context, before)

    def _passed_over(self, text: str, number: int) -> Iterator[Item]:
        """Bytes that a line says were received or sent are not passed over in silence."""
        if not _MANY_BYTES.search(text):
            return
        for match in _RUN.finditer(text):
            kind = match.lastgroup
            if kind in ("prefixed", "spaced") or (kind == "together" and len(match[0]) >= 16):
                if kind == "together" and (
                    match[0].isdecimal() or _is_part_of_more(text, match.start(), match.end())
                ):
                    continue
                count = len(spell(match[0]).data)
                if count >= 6 and find_direction(text[: match.start()]):
                    yield self._note("no_frame", f"{count} bytes of hex that begin no frame", number)

    def _first_of_dump(self, text: str) -> re.Match[str] | None:
        if "0000" not in text:
            return None
        match = _DUMP.search(text)
        if match is None or int(match["offset"], 16) != 0:
            return None
        return match if frames.begins_frame(bytes.fromhex(match["bytes"])) else None

    def _continue(self, text: str, opened: _Open) -> bool:
        """Whether the line continues what is open; its bytes are then taken."""
        if opened.dump:
            match = _DUMP.search(text)
            if match is None or opened.handed_over + len(opened.data) != int(match["offset"], 16):
                return False
            opened.data += bytes.fromhex(match["bytes"])
            return True
        stripped = text.strip(" \t,;\\|")
        if not stripped or len(stripped) > 2048:
            return False
        spelled = spell(stripped)
        if spelled.unknown or spelled.odd or spelled.nibble or not spelled.data:
            return False
        data = bytes(spelled.data)
        if frames.begins_frame(data) and frames.whole_frames(data) == len(data):
            return False  # a frame of its own: the one before was cut off
        opened.data += data
        return True

    def _hand_over_dump(self, opened: _Open) -> Iterator[Item]:
        data = bytes(opened.data)
        yield self._chunk(data, opened.number, opened.context, opened.context, starts=not opened.handed_over)
        opened.handed_over += len(data)
        opened.data.clear()

    def _close(self) -> Iterator[Item]:
        opened, self._open = self._open, None
        if opened is None or not opened.data:
            return
        if opened.dump:
            yield from self._hand_over_dump(opened)
        else:
            yield self._chunk(bytes(opened.data), opened.number, opened.context, opened.before)

    def _chunk(self, data: bytes, number: int, context: str, before: str, *, starts: bool = True) -> Chunk:
        self._any = True
        time: Time | None = find_time(context[:_CONTEXT_LIMIT])
        direction: Direction = find_direction(before[-_CONTEXT_LIMIT:])
        return Chunk(
            data,
            self._source,
            line=number,
            time=time,
            direction=direction,
            stream=self._source,
            starts=starts,
            text=context.strip()[:_CONTEXT_LIMIT],
        )

    def _note(self, kind: NoteKind, text: str, line: int) -> Note:
        return Note(kind, text, self._source, line=line, stream=self._source)
