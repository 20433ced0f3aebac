"""What a server tells of its piles beside their messages."""

from __future__ import annotations

import msgspec

from evproto.errors import DecodeError
from evproto.wire.frame import Frame
from evproto.wire.table import Direction

__all__ = ["Offline", "Online", "Watched"]


class Online(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pile has logged in; its messages come after this."""

    again: bool
    """Whether it was logged in on this very connection before."""
    replaced: bool
    """Whether it takes the place of an older connection of the same pile."""


class Offline(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The connection of a pile that was online has ended; nothing comes after this."""

    reason: str


class Watched(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One frame, or bytes that are none, in either direction."""

    direction: Direction
    raw: bytes
    frame: Frame | None
    error: DecodeError | None
    """Why there is no frame, or why its body is kept unread."""
    time: float
    """Seconds since 1970, UTC."""
