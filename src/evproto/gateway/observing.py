"""What an outbox says about itself: what became of an event, counts, and what observers are told."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from evproto.gateway.delivery import Progress
from evproto.gateway.events import Event
from evproto.gateway.sink import SinkError
from evproto.gateway.store import OutboxError

__all__ = ["Counts", "Observer", "Stored"]


class Stored(NamedTuple):
    """What became of an event.

    ``id`` is what the event is known by: of a repetition, the id under which
    its content was stored first, so that :meth:`Outbox.delivered` finds it.
    """

    id: str
    duplicate: bool
    """The same key and digest were stored before; nothing was added."""
    conflict: bool
    """The same key with another digest was stored before; this one was stored too, marked."""


class Counts(msgspec.Struct, kw_only=True):
    """The state of an outbox; counts are since the start unless they say otherwise."""

    healthy: bool
    """Whether the last transaction, and reading, worked."""
    error: str
    """What is wrong with the file; empty if healthy."""
    stored: int
    duplicates: int
    conflicts: int
    failed: int
    """Events that were not stored."""
    transactions: int
    waiting: int
    """Operations that wait for the disk now."""
    bytes: int
    """Size of the file and its write-ahead log now."""
    sinks: dict[str, Progress]


class Observer:
    """Is told what happens, in the event loop; for metrics. Override what is wanted."""

    def committed(self, operations: int, seconds: float) -> None:
        """A transaction took so long, its share of the fsync included."""

    def stored(self, event: Event, stored: Stored, seconds: float) -> None:
        """An event is on the disk, so long after it was handed over."""

    def not_stored(self, event: Event, error: OutboxError) -> None:
        """An event was not stored: nobody may confirm it."""

    def file_failed(self, error: OutboxError) -> None:
        """A transaction has failed, or an operation was not taken."""

    def delivered(self, sink: str, count: int) -> None:
        """A sink has taken so many."""

    def sink_failed(self, sink: str, error: SinkError) -> None:
        """A call of a sink has failed."""

    def buried(self, sink: str, id: str, reason: str) -> None:
        """An event became a dead letter."""

    def expired(self, sink: str, count: int) -> None:
        """So many events grew too old for a sink; never records."""
