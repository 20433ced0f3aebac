"""Frames as text, made for reading."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import Final

from evproto.capture import Chunk, Note
from evproto.cli.console import Console, display_width, pad
from evproto.cli.decoding import Bad, Decoded, Outcome
from evproto.cli.ocppj.told import Guess, Told
from evproto.cli.values import Row, message_rows
from evproto.messages import EncryptedMessage, Message
from evproto.wire.frame import Frame
from evproto.wire.framing import HEADER_SIZE
from evproto.wire.table import Direction, Layout
from evproto.ykc.codec import Codec
from evproto.ykc.redact import NOTHING, Hidden, hidden_in, hidden_in_bad, masked_hex

__all__ = ["TextPrinter", "brief_values", "frame_name", "show_moment", "show_place"]

_ARROWS: Final = {
    Direction.PILE_TO_PLATFORM: "pile → platform",
    Direction.PLATFORM_TO_PILE: "platform → pile",
}
_CHUNK_ARROWS: Final = {
    "pile_to_platform": "pile → platform",
    "platform_to_pile": "platform → pile",
    "received": "received",
    "sent": "sent",
}
_VALUE_WIDTH: Final = 44
"""The column of Chinese names begins no further right than values of this width ask for."""
_HEX_LINE: Final = 32
_BRIEF_WIDTH: Final = 100
_IDENTIFYING: Final = ("transaction_no", "pile_id")
"""Not repeated on the one line of --brief: they are the same all the time."""
_NOUGHT: Final = re.compile(r"[0]+( (V|A|%|min|kWh|CNY))?$")


class TextPrinter:
    """Prints outcomes, one block each."""

    def __init__(
        self, console: Console, codec: Codec, *, explain: bool, check: bool, redact: bool, brief: bool
    ) -> None:
        self._console = console
        self._codec = codec
        self._explain = explain
        self._check = check
        self._redact = redact
        self._brief = brief
        self._blocks = 0
        self._claimed: tuple[str, int] | None = None  # bytes explained with the bad frame before them

    def begin(self) -> None:
        """Nothing precedes the first block."""

    def show(self, outcome: Outcome) -> None:
        """Print one outcome."""
        if isinstance(outcome, Decoded):
            self._frame(outcome)
        elif isinstance(outcome, Bad):
            self._bad(outcome)
        elif isinstance(outcome, Told):
            self._told(outcome)
        elif isinstance(outcome, Guess):
            self._open()
            self._console.line(self._console.paint(f"· {outcome.text}", "dim"))
        else:
            self._note(outcome)

    def end(self, summary: str) -> None:
        """Close with what came of it all, if there was more than one thing."""
        if self._blocks > 1 and summary:
            if not self._brief:
                self._console.line()
            self._console.line(self._console.paint(summary, "dim"))

    def _open(self) -> None:
        if self._blocks and not self._brief:
            self._console.line()
        self._blocks += 1

    # Frames

    def _frame(self, outcome: Decoded) -> None:
        self._claimed = None
        self._open()
        frame, layout = outcome.frame, outcome.layout
        hidden = hidden_in(frame, outcome.data, self._codec) if self._redact else NOTHING
        if self._brief and layout is not None:
            rows = message_rows(frame.message, layout, hidden)
            self._console.line(self._brief_line(frame, layout, outcome.chunk, rows))
            if self._check:
                self._findings(outcome, hidden)
            return
        self._console.line(self._head(frame, layout, outcome.chunk, outcome.position))
        if self._explain:
            from evproto.cli.explain import explain_lines

            for line in explain_lines(outcome.data, frame, layout, self._codec, hidden, self._console):
                self._console.line(line)
            if layout is None:
                self._opaque(outcome, hidden, body=False)
        elif layout is None:
            self._opaque(outcome, hidden, body=not self._brief)
        elif not self._brief:
            self.rows(message_rows(frame.message, layout, hidden))
        if frame.trailing and layout is not None:
            self._trailing(frame, layout, hidden)
        if self._check:
            self._findings(outcome, hidden)

    def _brief_line(self, frame: Frame, layout: Layout, chunk: Chunk, rows: list[Row]) -> str:
        """When, which way, what, and as many values as fit."""
        paint = self._console.paint
        up = layout.direction is Direction.PILE_TO_PLATFORM
        moment = self._moment(chunk)
        parts = [paint(moment, "dim")] if moment else []
        parts.append(paint("pile →" if up else "→ pile", "cyan" if up else "magenta"))
        parts.append(frame_name(frame.frame_type, layout, self._console))
        if frame.checksum != "ok":
            parts.append(paint("checksum wrong", "bad"))
        values = [
            (row.name, row.value)
            for row in rows
            if row.name not in _IDENTIFYING and not row.name.startswith(" ") and not _NOUGHT.match(row.value)
        ]
        parts.append(brief_values(values, self._console))
        return "  ".join(part for part in parts if part)

    def _moment(self, chunk: Chunk) -> str:
        return show_moment(chunk.time, self._codec.tz)

    def _head(self, frame: Frame, layout: Layout | None, chunk: Chunk, position: int | None) -> str:
        paint = self._console.paint
        parts: list[str] = []
        moment = self._moment(chunk)
        if moment:
            parts.append(paint(moment, "dim"))
        parts.append(frame_name(frame.frame_type, layout, self._console))
        if layout is None:
            kind = "encrypted" if isinstance(frame.message, EncryptedMessage) else "unknown frame type"
            parts[-1] += f" {paint(kind, 'yellow')}"
        arrow = _ARROWS[layout.direction] if layout is not None else _CHUNK_ARROWS.get(chunk.direction, "")
        if layout is not None and chunk.direction in ("pile_to_platform", "platform_to_pile"):
            claimed = _CHUNK_ARROWS[chunk.direction]
            if claimed != arrow:
                arrow += f" ({paint(f'the log says {claimed}', 'yellow')})"
        if arrow:
            parts.append(paint(arrow, "cyan" if arrow.startswith("pile") else "magenta"))
        parts.append(f"seq {frame.sequence} [{frame.sequence_bytes.hex().upper()}]")
        if frame.encrypted:
            parts.append(paint(f"encryption flag {frame.encryption}", "yellow"))
        if frame.checksum != "ok":
            word = "its bytes exchanged" if frame.checksum == "swapped" else "wrong"
            parts.append(paint(f"checksum {word}", "bad"))
        where = show_place(chunk, position)
        if where:
            parts.append(paint(where, "dim"))
        return "  ".join(parts)

    def rows(self, rows: list[Row], indent: str = "  ") -> None:
        """Print field lines, aligned."""
        paint = self._console.paint
        name_width = max((display_width(row.name) for row in rows), default=0)
        widths = [display_width(row.value) for row in rows if row.zh or row.remark]
        value_width = max((width for width in widths if width <= _VALUE_WIDTH), default=0)
        for row in rows:
            value = pad(row.value, value_width) if row.zh or row.remark else row.value
            value = paint(value, "yellow") if row.odd else value
            line = f"{indent}{paint(pad(row.name, name_width), 'blue')}  {value}"
            if row.zh:
                line += f"  {paint(row.zh, 'dim')}"
            if row.remark:
                line += f"  {paint(f'({row.remark})', 'yellow' if row.odd else 'dim')}"
            self._console.line(line if self._console.color else line.rstrip())

    def _opaque(self, outcome: Decoded, hidden: Hidden, *, body: bool) -> None:
        from evproto.cli.diagnose import explain_unknown

        console, data = self._console, outcome.data
        length = len(data) - HEADER_SIZE - 2
        if body:
            head = f"  body, {length} byte{'s' if length != 1 else ''}"
            console.line(console.paint(head, "blue") + (":" if length else ""))
            for line in hex_lines(data[HEADER_SIZE:-2], hidden.positions, HEADER_SIZE):
                console.line(f"    {line}")
        if isinstance(outcome.frame.message, EncryptedMessage):
            hints = ["flag 1 is 3DES; the document defines neither mode nor keys, so the body stays closed"]
        else:
            hints = explain_unknown(outcome.frame.frame_type, length, self._codec)
        self._hints(hints)

    def _trailing(self, frame: Frame, layout: Layout, hidden: Hidden) -> None:
        from evproto.cli.diagnose import explain_trailing

        count = len(frame.trailing)
        shown = frame.trailing.hex(" ").upper() if not hidden.positions and not self._redact else "hidden"
        text = f"{count} byte{'s' if count != 1 else ''} behind the last field: {shown}"
        self._console.line(f"  {self._console.paint(text, 'yellow')}")
        body = len(frame.trailing) + self._body_size(frame)
        self._hints(explain_trailing(layout, body, self._codec))

    def _body_size(self, frame: Frame) -> int:
        return len(self._codec.encode(Frame(message=frame.message))) - HEADER_SIZE - 2

    def _findings(self, outcome: Decoded, hidden: Hidden) -> None:
        if not isinstance(outcome.frame.message, Message):
            return
        for finding in self._codec.check(outcome.frame):
            text = f"{finding.path}: hidden" if hidden.hides(finding.path) else finding.text
            self._console.line(f"  {self._console.paint(f'! {text}', 'yellow')}")

    def _hints(self, hints: list[str], indent: str = "  ") -> None:
        for hint in hints:
            self._console.line(f"{indent}{self._console.paint(f'→ {hint}', 'green')}")

    # Frames of OCPP-J

    def _told(self, told: Told) -> None:
        from evproto.cli.ocppj import text

        self._claimed = None
        self._open()
        console, tz = self._console, self._codec.tz
        if self._brief:
            shown = text.head_line if told.error else text.brief_line
            console.line(shown(told, console, tz))
            return
        console.line(text.head_line(told, console, tz))
        for line in text.detail_lines(told, console, explain=self._explain):
            console.line(line)
        rows = text.told_rows(told, limits=self._explain)
        if told.error and rows:
            console.line(f"  {console.paint('fields:', 'dim')}")
        self.rows(rows, "    " if told.error else "  ")

    # What is no frame

    def _bad(self, outcome: Bad) -> None:
        from evproto.cli.diagnose import diagnose
        from evproto.errors import SkippedBytesError

        error, console = outcome.error, self._console
        end = (error.position or 0) + len(error.data)
        if isinstance(error, SkippedBytesError) and self._claimed is not None:
            stream, until = self._claimed
            if stream == outcome.chunk.stream and end <= until:
                return  # shown with the frame whose length byte is wrong
        self._claimed = None
        self._open()
        diagnosis = diagnose(error, outcome.after, self._codec)
        parts = [console.paint("✗", "bad")]
        moment = self._moment(outcome.chunk)
        if moment:
            parts.append(console.paint(moment, "dim"))
        named = diagnosis.layout is not None or not self._redact
        if diagnosis.frame_type is not None and not diagnosis.skipped and named:
            parts.append(frame_name(diagnosis.frame_type, diagnosis.layout, console))
        text = diagnosis.safe_text if self._redact else diagnosis.text
        parts.append(console.paint(text, "bad"))
        where = show_place(outcome.chunk, outcome.position)
        if where:
            parts.append(console.paint(where, "dim"))
        console.line("  ".join(parts))
        if self._brief:
            return
        if diagnosis.extent > len(error.data):
            self._claimed = (outcome.chunk.stream, (error.position or 0) + diagnosis.extent)
        data = (error.data + outcome.after)[: max(diagnosis.extent, len(error.data))]
        masked: frozenset[int] = frozenset()
        if self._redact:
            masked = hidden_in_bad(data, self._codec, skipped=diagnosis.skipped)
        self._bytes(data, masked, diagnosis.marked)
        for line in diagnosis.where:
            console.line(f"  {line}")
        self._hints(diagnosis.safe_hints if self._redact else diagnosis.hints)
        if self._redact:
            return
        if diagnosis.frame is not None and isinstance(diagnosis.frame.message, Message):
            console.line(f"  {console.paint(diagnosis.reading, 'dim')}")
            layout = self._codec.layout(diagnosis.frame.message)
            self.rows(message_rows(diagnosis.frame.message, layout), "    ")
        elif diagnosis.rows:
            console.line(f"  {console.paint(diagnosis.reading, 'dim')}")
            self.rows(diagnosis.rows, "    ")

    def _bytes(self, data: bytes, masked: frozenset[int], marked: frozenset[int]) -> None:
        """The bytes, with carets under those that are to blame."""
        for start in range(0, min(len(data), 8 * _HEX_LINE), _HEX_LINE):
            part = range(start, min(start + _HEX_LINE, len(data)))
            cells = [masked_hex(data[at : at + 1], {0} if at in masked else set()) for at in part]
            prefix = f"{start:>5}  " if len(data) > _HEX_LINE else "  "
            self._console.line(
                prefix
                + " ".join(
                    self._console.paint(cell, "bad") if at in marked else cell
                    for at, cell in zip(part, cells, strict=True)
                )
            )
            if any(at in marked for at in part):
                carets = " ".join("^^" if at in marked else "  " for at in part).rstrip()
                self._console.line(" " * len(prefix) + self._console.paint(carets, "bad"))
        if len(data) > 8 * _HEX_LINE:
            self._console.line(f"  ... and {len(data) - 8 * _HEX_LINE} more bytes")

    def _note(self, note: Note) -> None:
        self._claimed = None
        if self._redact and note.kind in ("not_hex", "odd_digits"):
            place = f"{note.source}:{note.line}: " if note.line is not None else f"{note.source}: "
            text = f"{place}{note.kind.replace('_', ' ')}, what it was is hidden"
        else:
            text = str(note).removeprefix("<arguments>: ")
        self._open()
        self._console.line(
            self._console.paint(f"{'✗' if note.is_loss else '·'} {text}", "bad" if note.is_loss else "dim")
        )


def frame_name(frame_type: int, layout: Layout | None, console: Console) -> str:
    """``0x13 realtime_data_report 上传实时监测数据``."""
    text = console.paint(f"0x{frame_type:02X}", "bold")
    if layout is not None:
        text += f" {console.paint(layout.name, 'head')}"
        if layout.zh:
            text += f" {layout.zh}"
    return text


def brief_values(values: Iterable[tuple[str, str]], console: Console) -> str:
    """As many names with their values as fit into a line."""
    shown: list[str] = []
    room = _BRIEF_WIDTH
    for name, value in values:
        room -= display_width(name) + display_width(value) + 3
        if room < 0:
            shown.append("…")
            break
        shown.append(f"{console.paint(name, 'blue')} {value}")
    return ", ".join(shown)


def show_moment(time: dt.datetime | dt.time | None, tz: dt.tzinfo) -> str:
    """The time a log or capture gives; in ``tz`` if it says which moment it is."""
    if time is None:
        return ""
    digits = "microseconds" if time.microsecond % 1000 else "milliseconds"
    if isinstance(time, dt.time):
        return time.isoformat(digits)
    if time.tzinfo is None:
        return time.isoformat(" ", digits)
    text = time.astimezone(tz).isoformat(" ", digits)
    return f"{text[:-6]} {text[-6:]}"


def show_place(chunk: Chunk, position: int | None) -> str:
    """Where in the input: ``session.log:12``, ``capture.pcap: packet 7``, ``dump.bin: byte 512``."""
    if chunk.packet is not None:
        peer = f", {chunk.connection.client}" if chunk.connection is not None else ""
        return f"{chunk.source}: packet {chunk.packet}{peer}"
    if chunk.source.startswith("<arguments"):
        return ""
    if chunk.line is not None:
        whose = f", {chunk.whose}" if chunk.whose else ""
        return f"{chunk.source}:{chunk.line}{whose}"
    return chunk.source if position is None else f"{chunk.source}: byte {position}"


def hex_lines(data: bytes, masked: frozenset[int], base: int = 0) -> list[str]:
    """Hex in lines, masked where the position (plus ``base``) says so."""
    return [
        " ".join(
            "**" if base + at in masked else f"{data[at]:02X}"
            for at in range(start, min(start + _HEX_LINE, len(data)))
        )
        for start in range(0, len(data), _HEX_LINE)
    ]
