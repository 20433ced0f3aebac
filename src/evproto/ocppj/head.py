"""Guessing at the head of a frame which decoder it needs."""

from __future__ import annotations

import re

__all__ = ["sniff"]

_HEAD = re.compile(
    rb"""[ \t\r\n]*\[[ \t\r\n]*([2-6])[ \t\r\n]*,
    [ \t\r\n]*"([^"\\]*)"
    (?:[ \t\r\n]*,[ \t\r\n]*"([^"\\]*)")?""",
    re.VERBOSE,
)


def sniff(data: bytes) -> tuple[int, bytes, bytes]:
    """Message type, message id and action (or error code) of a frame, as far as they can be guessed.

    It is a hint for which decoder to take; the decoder checks it.
    """
    match = _HEAD.match(data)
    return (int(match[1]), match[2], match[3] or b"") if match else (0, b"", b"")
