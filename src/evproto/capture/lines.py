"""Cutting bytes into text lines, whatever their encoding.

Engineering logs are UTF-8, GBK (on Chinese Windows), UTF-16 (saved by
PowerShell or Notepad), and not rarely two of them in one file. UTF-16 must be
known beforehand (:func:`sniff_encoding`); everything else is judged line by
line: UTF-8, or else GB 18030 (which contains GBK), or else Latin-1, which
never fails. Reading GBK as if it were ASCII would not do: second bytes of its
characters may be ASCII letters, among them A to F.
"""

from __future__ import annotations

import codecs
from typing import Final, NamedTuple

from evproto.capture.items import CaptureError

__all__ = ["PIECE_LIMIT", "Line", "Lines", "decode_line", "sniff_encoding"]

PIECE_LIMIT: Final = 1 << 18
"""Lines longer than this many bytes come in pieces, so that memory is bounded."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with the same bytes
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Line(NamedTuple):
    """A line of text, or a piece of a very long one."""

    number: int
    text: str
    begins: bool = True
    """Whether the line begins here."""
    ends: bool = True
    """Whether the line ends here."""


def sniff_encoding(head: bytes) -> str:
    """Name the encoding if it has to be known beforehand; else "", judge each line.

    A byte order mark decides. Without one, text is UTF-16 if (nearly) every
    second byte is NUL: logs are mostly ASCII, also those with Chinese in them.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    sample = head[: min(len(head), 4096) & ~1]
    if len(sample) >= 4:
        even, odd = sample[0::2].count(0), sample[1::2].count(0)
        half = len(sample) // 2
        # Binary frames have NULs too, but not so lopsided, and not with text between.
        if odd * 10 >= half * 6 and not even and _is_texty(sample[0::2]):
            return "utf-16-le"
        if even * 10 >= half * 6 and not odd and _is_texty(sample[1::2]):
            return "utf-16-be"
    return ""


def _is_texty(data: bytes) -> bool:
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in data)
    return printable * 10 >= len(data) * 6


def decode_line(data: bytes) -> str:
    """The text of one line that is not UTF-16."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("gb18030")
    except UnicodeDecodeError:
        return data.decode("latin-1")


class Lines:
    """A line cutter; lines end with LF, CR LF or CR."""

    def __init__(self, encoding: str = "") -> None:
        try:
            name = codecs.lookup(encoding).name if encoding else ""
        except LookupError as error:
            raise CaptureError(f"there is no encoding {encoding!r}") from error
        wide = name.startswith(("utf-16", "utf-32"))
        self._wide = codecs.getincrementaldecoder(name)("replace") if wide else None
        self._encoding = "" if wide else name
        self._buffer = bytearray()
        self._number = 1
        self._begins = True
        self._first = True

    def feed(self, block: bytes) -> list[Line]:
        """Take in bytes; return the lines they complete."""
        if self._wide is not None:
            # Lines are cut on UTF-8; only the way there differs.
            block = self._wide.decode(block).encode("utf-8", "replace")
        return self._cut(block, final=False)

    def finish(self) -> list[Line]:
        """The input has ended: return the last line, if it has no end of line."""
        rest = self._wide.decode(b"", True).encode("utf-8", "replace") if self._wide is not None else b""
        return self._cut(rest, final=True)

    def _cut(self, block: bytes, *, final: bool) -> list[Line]:
        buffer = self._buffer
        buffer += block
        if self._first and (len(buffer) >= 3 or final):
            self._first = False
            if buffer.startswith(codecs.BOM_UTF8):
                del buffer[:3]
        if not final and b"\n" not in block and b"\r" not in block and len(buffer) <= PIECE_LIMIT:
            return []
        # Only whole lines are cut; a CR at the very end may be half of a CR LF.
        pieces = bytes(buffer).splitlines(keepends=True)
        rest = b""
        if not final and pieces and (not pieces[-1].endswith((b"\n", b"\r")) or pieces[-1].endswith(b"\r")):
            rest = pieces.pop()
        out: list[Line] = []
        for piece in pieces:
            if not piece.endswith((b"\n", b"\r")):
                self._emit(out, piece, ends=True)
            else:
                self._emit(out, piece.rstrip(b"\r\n"), ends=True)
        while len(rest) > PIECE_LIMIT:
            at = _cutting_place(rest)
            self._emit(out, rest[:at], ends=False)
            rest = rest[at:]
        self._buffer = bytearray(rest)
        return out

    def _emit(self, out: list[Line], data: bytes, *, ends: bool) -> None:
        while len(data) > PIECE_LIMIT:
            at = _cutting_place(data)
            self._emit(out, data[:at], ends=False)
            data = data[at:]
        text = data.decode(self._encoding, "replace") if self._encoding else decode_line(data)
        out.append(Line(self._number, text, self._begins, ends))
        self._begins = ends
        self._number += ends


def _cutting_place(data: bytes) -> int:
    """Where to cut an overlong line: behind a separator, if one is near."""
    for separator in (b" ", b",", b"\t"):
        at = data.rfind(separator, PIECE_LIMIT - 64, PIECE_LIMIT)
        if at >= 0:
            return at + 1
    at = data.rfind(b"\\", PIECE_LIMIT - 8, PIECE_LIMIT)
    return at if at > 0 else PIECE_LIMIT
