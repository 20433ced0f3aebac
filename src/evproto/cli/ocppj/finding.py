r"""OCPP-J frames in lines of text, with what stands around them.

A frame is a JSON array that begins with a message type and a message id. It
may stand in a line as it is, also as a part of a JSON log line, or be written
into a string, with its quotes escaped once or more often
(``"msg":"[2,\"19\",\"Heartbeat\",{}]"``). What begins like a frame and is cut
off or broken is found as well, as far as it can be meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

__all__ = ["Found", "find_frames", "is_frame_argument"]

_GAP = r"\s{0,64}"
_BEGIN: Final = re.compile(
    rf"""\[{_GAP}(?:
        -?[0-9]{{1,6}}{_GAP},{_GAP}(?P<escape>\\{{0,15}})"
      | [2-6]{_GAP},{_GAP}(?:-?[0-9]{{1,40}}|null){_GAP},{_GAP}(?:\\{{0,15}}"|\{{)  # an id that is no text
    )""",
    re.VERBOSE,
)
_STRING_BODY: Final = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_TRIES: Final = 8
"""Beginnings of frames that are followed up in one line."""
_LEVELS: Final = 4
"""How many times a frame may be wrapped into strings."""
_DECODER: Final = json.JSONDecoder()


class Found(NamedTuple):
    """A frame in a line.

    Attributes:
        before, after: what stands around it in the line, as it stands there.
        text: the frame, without the escapes of the strings it was in.
        whole: whether its brackets match.
        value: the frame as JSON; None if it is not JSON.
    """

    before: str
    text: str
    after: str
    whole: bool
    value: Any


def is_frame_argument(text: str) -> bool:
    """Whether a command-line argument is meant as a frame."""
    return text.lstrip().startswith("[")


def find_frames(line: str) -> Iterator[Found]:
    """The frames in a line, from left to right; of what is inside a frame nothing."""
    at = 0
    for _ in range(_TRIES):
        match = _BEGIN.search(line, at)
        if match is None:
            return
        found, end = _read(line, match)
        yield found
        at = max(end, match.end())


def _read(line: str, match: re.Match[str]) -> tuple[Found, int]:
    """The frame that begins at ``match``, and where in the line it ends."""
    start = match.start()
    if not match["escape"]:
        text, value, whole = _frame_at(line, start)
        end = start + len(text)
        return Found(line[:start], text, line[end:], whole, value), end
    body = _STRING_BODY.match(line, start)
    assert body is not None
    end = body.end()
    inner, tail = body[0], ""
    for _ in range(_LEVELS):
        inner = _unescaped(inner)
        again = _BEGIN.match(inner)
        if again is None or not again["escape"]:
            break
        # One string inside another: it ends where a quote of its own level does.
        nested = _STRING_BODY.match(inner)
        assert nested is not None
        inner, tail = nested[0], inner[nested.end() :] + tail
    text, value, whole = _frame_at(inner, 0)
    return Found(line[:start], text, inner[len(text) :] + tail + line[end:], whole, value), end


def _unescaped(text: str) -> str:
    try:
        plain: str = json.loads(f'"{text}"', strict=False)
    except ValueError:
        # Not the escapes of JSON (``\'``), or cut off in the middle of one.
        plain = text.replace('\\"', '"').replace("\\\\", "\\")
    return plain


def _frame_at(text: str, start: int) -> tuple[str, Any, bool]:
    """The frame that begins at ``start``: its text, its value, whether its brackets match."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    else:
        return text[start:end], value, True
    # Not JSON, or more of it than a program can carry. Where the brackets
    # match is the end; if they do not, the last bracket before the next frame.
    depth = 0
    for token in _TOKEN.finditer(text, start):
        char = text[token.start()]
        if char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
            if depth == 0:
                return text[start : token.end()], None, True
    limit = _next_frame(text, start + 1)
    last = text.rfind("]", start + 1, limit)
    end = last + 1 if last > 0 and limit == len(text) else len(text[:limit].rstrip())
    return text[start:end], None, False


def _next_frame(text: str, start: int) -> int:
    """Where the next whole frame begins that was written into the middle of a broken one."""
    for _ in range(_TRIES):
        match = _BEGIN.search(text, start)
        if match is None:
            break
        start = match.start()
        try:
            _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            start += 1
        else:
            return start
    return len(text)
