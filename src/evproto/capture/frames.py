"""Does this look like frames? Asked before bytes found in text are believed.

Nothing here decides what a frame is; that is :mod:`evproto.wire.framing`.
"""

from __future__ import annotations

from typing import Final

from evproto.wire.checksum import crc16_modbus
from evproto.wire.framing import HEADER_SIZE, LEAST_LENGTH, OVERHEAD, START

__all__ = ["ENCRYPTION_FLAGS", "begins_frame", "has_header", "has_right_checksum", "missing", "whole_frames"]

ENCRYPTION_FLAGS: Final = (0, 1)
"""Values of the encryption flag (YKC V1.6, section 3.1)."""


def begins_frame(data: bytes) -> bool:
    """Whether ``data`` begins with a start byte and a possible length byte."""
    return len(data) >= 2 and data[0] == START and data[1] >= LEAST_LENGTH


def has_header(data: bytes) -> bool:
    """Whether ``data`` begins with a whole header whose encryption flag is documented."""
    return len(data) >= HEADER_SIZE and begins_frame(data) and data[4] in ENCRYPTION_FLAGS


def has_right_checksum(data: bytes) -> bool:
    """Whether ``data`` begins with a whole frame, its checksum right or byte-swapped."""
    if not begins_frame(data):
        return False
    size = data[1] + OVERHEAD
    if len(data) < size:
        return False
    expected = crc16_modbus(data[2 : size - 2])
    return (data[size - 2] | data[size - 1] << 8) in (expected, expected >> 8 | (expected & 0xFF) << 8)


def whole_frames(data: bytes) -> int:
    """How many bytes whole frames take, one behind the other, from the first byte on.

    Checksums are not looked at.
    """
    at = 0
    while len(data) - at >= 2 and data[at] == START and data[at + 1] >= LEAST_LENGTH:
        if at + data[at + 1] + OVERHEAD > len(data):
            break
        at += data[at + 1] + OVERHEAD
    return at


def missing(data: bytes) -> int:
    """How many bytes the last, unfinished frame of ``data`` lacks; 0 if there is none."""
    rest = data[whole_frames(data) :]
    return rest[1] + OVERHEAD - len(rest) if begins_frame(rest) else 0
