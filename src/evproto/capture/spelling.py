r"""Bare hex in any usual spelling, and what programs wrap around it.

Understood are hex digits with or without spaces, commas, colons, dashes,
dots, bars and line breaks between bytes or groups of bytes; ``0x`` and ``\x``
prefixes and the ``h`` suffix; ``%x`` output without leading zeros
(``68 c 0 0``); C arrays, Python and C string literals (also with printable
characters in them, ``b'h\x0c\x00'``) and calls such as ``bytes.fromhex("...")``;
lists of decimal numbers that begin with 104, the start byte
(``[104, 12, 0]``, also with Java's negative bytes). Comments (``#``, ``//``,
``/* */``) are passed over.

Every spelling of the same bytes gives the same bytes.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import Final

from evproto.capture.frames import begins_frame, whole_frames
from evproto.capture.items import Chunk, Item, Note, NoteKind
from evproto.capture.lines import Line, Lines
from evproto.capture.markers import find_direction

__all__ = [
    "DECIMAL_LIST",
    "LITERAL",
    "HexReader",
    "Spelled",
    "WordsReader",
    "decimal_bytes",
    "is_hex_line",
    "literal_bytes",
    "spell",
    "uncomment",
]

LITERAL: Final = re.compile(
    r"""(?<![0-9A-Za-z_\\])(?P<b>[bB]?)(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
)
DECIMAL_LIST: Final = re.compile(r"[\[{]\s*104\s*(?:,\s*-?\d{1,3}\s*)+(?:,\s*)?[\]}]")

# Literals stand first: what looks like a comment inside one is data.
_LITERAL_OR_COMMENT = re.compile(
    rf"{LITERAL.pattern}|(?P<comment>/\*.*?\*/|(?:^|(?<=\s))#.*|//.*|^\s*;.*)|(?P<opened>/\*.*)"
)
_DECLARED_NUMBER = re.compile(r"^\s*(?:[A-Za-z_]\w*[\s*&]+)+[A-Za-z_]\w*\s*=\s*\d+[uUlL]*\s*;\s*$")
_ASSIGNED = re.compile(r"""^\s*[A-Za-z_][^='"]*?(?:\[[^\]]*\])*\s*:?=\s*(.*)$""")
_DECLARED_ARRAY = re.compile(r"^\s*(?:[A-Za-z_]\w*[\s*&]+)+[A-Za-z_]\w*\s*\[[^\]]*\]\s*$")
_WORD = re.compile(
    r"(?:0[xX]|\\[xX]|[0-9A-Za-z_])(?:\\[xX]|[0-9A-Za-z_])*|\.{2,}|…|[^\s,;:\-|{}\[\]()\"'.+&<>\\]"
)
_PREFIXED = re.compile(r"(?:0[xX]|\\[xX]|[xX])([0-9A-Fa-f]{1,2})(?=0[xX]|\\[xX]|[xX]|$)")
_PREFIXED_RUN = re.compile(r"0[xX]([0-9A-Fa-f]{3,})$")
_SUFFIXED = re.compile(r"([0-9A-Fa-f]{1,2})[hH]$")
_DIGITS = re.compile(r"[0-9A-Fa-f]+$")
# What stands around hex in sources; none of these consists of hex digits only.
_PROGRAM_WORDS = frozenset(
    (
        *(
            "bytes",
            "bytearray",
            "fromhex",
            "unhexlify",
            "binascii",
            "Buffer",
            "hex",
            "Hex",
            "HEX",
            "from",
            "new",
        ),
        *(
            "byte",
            "Byte",
            "uint8_t",
            "u8",
            "unsigned",
            "char",
            "const",
            "static",
            "constexpr",
            "std",
            "vector",
        ),
        *("array", "auto", "let", "var", "return", "data", "frame", "packet", "buf"),
    )
)


@dataclass(slots=True)
class Spelled:
    """What a piece of text spells.

    Attributes:
        data: the bytes.
        nibble: a single digit at the very end that may be half of a byte.
        odd: words with an odd number of digits, the last digit left out.
        unknown: words that spell nothing.
    """

    data: bytearray = field(default_factory=bytearray)
    nibble: str = ""
    odd: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def uncomment(text: str, inside: bool = False) -> tuple[str, bool]:
    """A line without its comments, and whether it ends inside a ``/*``.

    Args:
        inside: the line before did.
    """
    if inside:
        _, closed, text = text.partition("*/")
        if not closed:
            return "", True
    if "#" not in text and "//" not in text and "/*" not in text and ";" not in text:
        return text, False
    inside = False

    def keep(match: re.Match[str]) -> str:
        nonlocal inside
        inside = inside or match["opened"] is not None
        return " " if match["quoted"] is None else match[0]

    return _LITERAL_OR_COMMENT.sub(keep, text), inside


def literal_bytes(prefix: str, quoted: str) -> bytes | None:
    """The bytes of a Python or C string literal; None if it is none, or only spells hex.

    A plain string without escapes is no literal in this sense: ``"680C"``.
    """
    if "\\" not in quoted and not prefix:
        return None
    if re.fullmatch(r"b?.[0-9A-Fa-f\s]*.", quoted) and quoted[1:2] != "h":
        return None
    try:
        value = ast.literal_eval("b" + quoted)
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, bytes) else None


def decimal_bytes(text: str) -> bytes | None:
    """The bytes of a list of decimal numbers, -128 to 255."""
    values = [int(number) for number in re.findall(r"-?\d+", text)]
    if any(not -128 <= value <= 255 for value in values):
        return None
    return bytes(value & 0xFF for value in values)


def spell(text: str, carried: str = "", *, continues: bool = False) -> Spelled:
    """Read one line of bare hex, its comments already removed.

    Args:
        carried: the ``nibble`` of the line before.
        continues: the text is a further piece of the same line.
    """
    out = Spelled()
    try:
        # By far the most lines: pairs of digits and white space. fromhex does
        # not pair digits across white space, so nothing is misread.
        if not carried:
            out.data += bytes.fromhex(text)
            return out
    except ValueError:
        pass
    if _DECLARED_NUMBER.match(text) or _DECLARED_ARRAY.match(text):
        return out
    assigned = _ASSIGNED.match(text)
    if assigned:
        text = assigned[1]
    at = 0
    special = [(match.start(), match.end(), match) for match in DECIMAL_LIST.finditer(text)]
    special += [(match.start(), match.end(), match) for match in LITERAL.finditer(text)]
    for start, end, match in sorted(special, key=lambda found: found[0]):
        if start < at:
            continue
        value = literal_bytes(match["b"], match["quoted"]) if match.re is LITERAL else decimal_bytes(match[0])
        if value is not None:
            carried = _words(text[at:start], carried, out, last=False, join=continues)
            out.data += value
            at = end
    _words(text[at:], carried, out, last=True, join=continues)
    return out


def _words(text: str, carried: str, out: Spelled, *, last: bool, join: bool) -> str:
    words: list[str] = _WORD.findall(text)
    for index, word in enumerate(words):
        final = last and index == len(words) - 1 and text.endswith(word)
        digits = _digits(word)
        if digits is None:
            if carried:
                out.odd.append(carried)
                carried = ""
            if word not in _PROGRAM_WORDS and not (word in "bB" and text[-1:] in "'\""):
                out.unknown.append(word)
            continue
        if carried:
            # Half a byte from the line before. It is one only if this word is odd too.
            if len(digits) % 2 or join:
                digits = carried + digits
            else:
                out.odd.append(carried)
            carried = ""
        if len(digits) == 1:
            digits = "0" + digits
        elif len(digits) % 2:
            if final:
                out.nibble = digits[-1]
            else:
                out.odd.append(word)
            digits = digits[:-1]
        out.data += bytes.fromhex(digits)
    if carried and last:
        out.nibble = carried
    return carried


def _digits(word: str) -> str | None:
    """The digits of a word, with zeros put in where prefixes set bytes apart."""
    if _DIGITS.match(word):
        return word
    match = _SUFFIXED.match(word) or _PREFIXED_RUN.match(word)
    if match:
        digits = match[1]
        return digits if len(digits) > 2 else digits.zfill(2)
    parts: list[str] = []
    at = 0
    while at < len(word):
        match = _PREFIXED.match(word, at)
        if not match:
            return None
        parts.append(match[1].zfill(2))
        at = match.end()
    return "".join(parts)


_NUMBERED = re.compile(r"^\W*\d{1,6}\W+(?:0[xX])?[0-9A-Fa-f]{8,}\W*$")
_CLOCK = re.compile(r"^\W?(?:\d{4}[-/.]\d\d[-/.]\d\d(?![-\d])|\d{1,2}:\d\d:\d\d(?![:\w]))")


def is_hex_line(text: str) -> bool:
    """Whether a line is bare hex, or punctuation around it, or a comment, and nothing else."""
    if _CLOCK.match(text) or _NUMBERED.match(text):
        return False
    text, _ = uncomment(text)
    if find_direction(text[:80]):
        return False  # RX: 68 0C ... is hex too, but the log reader keeps what RX says
    if text.strip() == "*":
        return True  # od -A n squeezes too
    spelled = spell(text)
    return not spelled.unknown and not spelled.odd


class HexReader:
    """Reads bare hex; everything else is noted."""

    def __init__(self, source: str, encoding: str = "") -> None:
        self._source = source
        self._lines = Lines(encoding)
        self._in_comment = False
        self._nibble = ""
        self._nibble_line: int | None = 0
        self._fresh = True  # nothing handed over yet, or a cut is due
        self._open = b""  # what the stream holds of an unfinished frame
        self._any = False

    def feed(self, block: bytes) -> list[Item]:
        out: list[Item] = []
        for line in self._lines.feed(block):
            self._line(line, out)
        return out

    def finish(self) -> list[Item]:
        out: list[Item] = []
        for line in self._lines.finish():
            self._line(line, out)
        self._flush_nibble(out)
        if not self._any:
            out.append(self._note("empty", "there is no hex in it", None))
        return out

    def read_words(self, words: list[str]) -> list[Item]:
        """Read words that stand one behind the other, as on a command line."""
        out: list[Item] = []
        for word in words:
            self._text(word, None, out)
        self._flush_nibble(out)
        if not self._any:
            out.append(self._note("empty", "there is no hex in it", None))
        return out

    def _line(self, line: Line, out: list[Item]) -> None:
        text, self._in_comment = uncomment(line.text, self._in_comment)
        self._text(text, line.number, out, whole=line.begins and line.ends, continues=not line.begins)

    def _text(
        self, text: str, number: int | None, out: list[Item], *, whole: bool = True, continues: bool = False
    ) -> None:
        text = text.strip()
        if not text:
            return
        if text == "*":
            why = "repeated lines are left out here, and without offsets nobody knows how many (use od -v)"
            self._flush_nibble(out)
            out.append(self._note("squeezed", why, number))
            self._fresh = True
            return
        spelled = spell(text, self._nibble, continues=continues)
        self._nibble = spelled.nibble
        if spelled.nibble:
            self._nibble_line = number
        if spelled.unknown:
            shown = " ".join(spelled.unknown[:8]) + (" ..." if len(spelled.unknown) > 8 else "")
            out.append(self._note("not_hex", f"not hex, passed over: {shown[:120]}", number))
        for word in spelled.odd:
            shown = word if len(word) <= 40 else word[:37] + "..."
            why = f"odd number of hex digits, the last one is left out: {shown}"
            out.append(self._note("odd_digits", why, number))
        data = bytes(spelled.data)
        if not data:
            return
        self._any = True
        # One frame per line is a usual spelling. If the line before was cut
        # off, its frame must not swallow the beginning of this one.
        alone = whole and bool(self._open) and begins_frame(data) and whole_frames(data) == len(data)
        starts = self._fresh or alone
        self._fresh = False
        held = data if starts else self._open + data
        rest = held[whole_frames(held) :]
        # Out of step (no frame begins here), there is nothing to be protected.
        self._open = rest[-259:] if begins_frame(rest) or (rest[:1] == b"h" and len(rest) == 1) else b""
        out.append(Chunk(data, self._source, line=number, stream=self._source, starts=starts))

    def _flush_nibble(self, out: list[Item]) -> None:
        if self._nibble:
            text = f"odd number of hex digits, the last one is left out: {self._nibble}"
            out.append(self._note("odd_digits", text, self._nibble_line))
            self._nibble = ""

    def _note(self, kind: NoteKind, text: str, line: int | None) -> Note:
        return Note(kind, text, self._source, line=line, stream=self._source)


class WordsReader(HexReader):
    """Reads words of two bytes, exchanged, without offsets: ``od -A n -x``.

    An odd last byte is filled up with a zero that nothing tells from data.
    """

    def _text(
        self, text: str, number: int | None, out: list[Item], *, whole: bool = True, continues: bool = False
    ) -> None:
        words = [word[2:] + word[:2] if len(word) == 4 else word for word in text.split()]
        super()._text(" ".join(words), number, out, whole=whole, continues=continues)
