"""What the head of a frame shows, whether or not the rest of it can be read."""

from __future__ import annotations

import re

from evproto.ocppj.errors import UNREADABLE_ID, MessageError

__all__ = ["sniff", "whose"]

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


def whose(error: Exception, data: bytes | str) -> tuple[int | None, str]:
    """Message type and id of a frame that could not be decoded, as far as its head shows them."""
    if isinstance(error, MessageError) and error.unique_id != UNREADABLE_ID:
        return error.message_type, error.unique_id
    head = data[:512]
    kind, found, _ = sniff(head if isinstance(head, bytes) else head.encode("utf-8", "replace"))
    try:
        unique_id = found.decode() or UNREADABLE_ID
    except UnicodeDecodeError:
        unique_id = UNREADABLE_ID
    if isinstance(error, MessageError):
        return error.message_type, unique_id if kind == error.message_type else UNREADABLE_ID
    return kind or None, unique_id
