"""What one connection, and one address, may ask of a server."""

from __future__ import annotations

import dataclasses

__all__ = ["Limits"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that keep one peer from becoming everybody's trouble. Times are in seconds.

    How long a pile may take to log in is in ``PlatformSettings``.
    """

    max_connections: int = 15000
    """Connections altogether; further ones are closed at once."""
    max_per_address: int | None = 2000
    """Connections of one address. Many piles share one: concentrators, and the
    gateways of mobile networks. None: no limit."""
    frame_rate: float = 50.0
    """Frames per second of one connection. What comes beyond waits in the peer's
    own buffers; nothing is lost."""
    rate_window: float = 10.0
    """Over how many seconds that is averaged."""
    idle_timeout: float | None = 900.0
    """Without a byte for so long, a connection is closed. Heartbeats are
    supervised apart from this."""
    write_buffer: int = 64 * 1024
    """Bytes that a peer may leave unread before nothing more is read from it."""
    write_timeout: float = 20.0
    """How long it may leave them unread before the connection is closed."""
    max_queued: int = 256
    """Messages of one pile that wait for its handlers before reading pauses."""
