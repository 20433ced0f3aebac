"""What kind of input is this? Decided from the first bytes.

In this order:

1. nothing, or nothing but white space: ``empty``;
2. a magic number: ``pcap``, ``pcapng``;
3. not text: ``binary``. Text has no NUL (unless it is UTF-16, by its byte
   order mark or by every second byte being NUL) and next to no control
   characters, and nearly all its lines are UTF-8, GBK or mostly ASCII. A frame has a NUL or 0x01 as its fifth
   byte (the encryption flag), so binary frames are never taken for text, also
   though their start byte is the letter h; text that begins with h is text;
4. every line a line of a hex dump, offsets fitting: ``xxd``, ``hexdump``
   (-C), ``od`` (with offsets; also plain hexdump), ``wireshark``; lines with
   ``0x0000:`` behind white space, whatever stands between them: ``tcpdump``;
5. every line bare hex, in any spelling, comments aside: ``hex``; if it is
   words of two bytes that begin frames only when exchanged (``od -A n -x``):
   ``words``;
6. everything else: ``log``.

A log is the reading that loses nothing when in doubt: it finds bare hex and
dumps between other lines, too.
"""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

from evproto.capture.dumps import HEADING, dump_style, parse_dump_line
from evproto.capture.frames import begins_frame, has_header
from evproto.capture.lines import Lines, sniff_encoding
from evproto.capture.pcapfile import is_pcap, is_pcapng
from evproto.capture.spelling import is_hex_line, spell, uncomment

__all__ = ["FORMATS", "HEAD_SIZE", "Format", "detect"]

Format = Literal[
    "empty", "binary", "pcap", "pcapng", "hex", "words", "xxd", "hexdump", "od", "wireshark", "tcpdump", "log"
]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

HEAD_SIZE: Final = 1 << 16
"""So many first bytes are looked at, at most."""
_LINES: Final = 400
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b\b")
_HOLE = re.compile(rb"\0{64,}")
_USUAL = re.compile("[\u3000-\u303f\u4e00-\u9fa5\uff00-\uffef]")  # ideographs, full-width punctuation
_COMMENT_LINE = re.compile(r"^\s*(?:#|//|/\*)")


def detect(head: bytes) -> Format:
    """Name the format of an input that begins with ``head``."""
    head = head[:HEAD_SIZE]
    if not head.strip():
        return "empty"
    if is_pcapng(head):
        return "pcapng"
    if is_pcap(head):
        return "pcap"
    encoding = sniff_encoding(head)
    if not encoding:
        # A log that was cut to nothing under a program that goes on writing
        # has a hole at its beginning, which reads as NULs.
        head = _HOLE.sub(b"", head) or head
        if not _is_text(head):
            return "binary"
    return _of_text(head, encoding)


def _is_text(head: bytes) -> bool:
    if has_header(head):
        return False
    controls = sum(byte in _CONTROL for byte in head)
    if controls * 100 > len(head) or b"\0" in head[:4096]:
        return False
    # Line by line, as the lines will be read: a log may mix encodings. The
    # last character may be cut, and a few odd lines make no binary file.
    strange = sum(len(line) for line in head.splitlines() if not _is_text_line(line))
    return strange * 5 <= len(head)


def _is_text_line(line: bytes) -> bool:
    if line.isascii():
        return True
    for encoding in ("utf-8", "gb18030"):
        for cut in range(4):
            try:
                text = line[: len(line) - cut].decode(encoding)
            except UnicodeDecodeError:
                continue
            # Nearly any bytes pass as GB 18030, but seldom as characters that people use.
            if encoding == "utf-8" or _is_chinese(text):
                return True
            break
    return sum(32 <= byte < 127 for byte in line) * 100 >= len(line) * 85


def _is_chinese(text: str) -> bool:
    wide = [char for char in text if ord(char) > 127]
    usual = sum(_USUAL.match(char) is not None for char in wide)
    plain = len(text) - len(wide)
    return usual * 10 >= len(wide) * 7 and plain * 4 >= len(wide)


def _of_text(head: bytes, encoding: str) -> Format:
    cutter = Lines(encoding)
    lines = cutter.feed(head)
    rest = cutter.finish()
    # The last line may be cut in the middle; with others to go by it is not needed.
    if not lines or len(head) < HEAD_SIZE:
        lines += rest
    texts = [line.text for line in lines[:_LINES] if line.text.strip()]
    if not texts:
        return "empty"
    telling = [text for text in texts if not _COMMENT_LINE.match(text)]
    if not telling:
        return "log" if len(texts) == len(lines) and not all(map(is_hex_line, texts)) else "hex"
    style = dump_style([text for text in telling if not HEADING.match(text)])
    if style is not None:
        return style
    if any(parse_dump_line("tcpdump", text) for text in telling):
        return "tcpdump"
    if _is_hex(texts):
        return "words" if _is_words(telling) else "hex"
    return "log"


def _is_hex(lines: list[str]) -> bool:
    inside = False
    for line in lines:
        text, inside = uncomment(line, inside)
        if not is_hex_line(text):
            return False
    return True


def _is_words(lines: list[str]) -> bool:
    groups = [group for line in lines for group in line.split() if group != "*"]
    if not groups or any(not re.fullmatch("[0-9A-Fa-f]{4}", group) for group in groups):
        return False
    straight = bytes(spell(" ".join(groups[:130])).data)
    exchanged = b"".join(bytes.fromhex(group)[::-1] for group in groups[:130])
    return has_header(exchanged) and not begins_frame(straight)
