"""What reading an input yields: :class:`Chunk` and :class:`Note`."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from evproto.errors import EvprotoError

__all__ = [
    "LOSSES",
    "CaptureError",
    "Chunk",
    "Connection",
    "Direction",
    "Endpoint",
    "Item",
    "Note",
    "NoteKind",
    "Reader",
    "Time",
]

Direction = Literal["", "pile_to_platform", "platform_to_pile", "received", "sent"]
"""What the input says about the way of the bytes. ``received`` and ``sent``
are from the point of view of whoever wrote the log."""

Time = datetime.datetime | datetime.time
"""A date and time (aware where the input names a zone or counts from the
epoch), or only a time of day where the input has no date."""

NoteKind = Literal[
    "empty",
    "odd_digits",
    "not_hex",
    "squeezed",
    "no_frame",
    "text_before",
    "long_line",
    "gap",
    "late",
    "fragment",
    "malformed",
    "unsupported",
    "damaged",
    "truncated",
    "rotated",
]

LOSSES: Final[frozenset[str]] = frozenset(
    {"odd_digits", "squeezed", "gap", "late", "fragment", "malformed", "unsupported", "damaged"}
)
"""Kinds of notes that say that bytes of the input did not make it into chunks."""


class CaptureError(EvprotoError):
    """An input that cannot be read at all, or a mistake of the caller.

    What is wrong *inside* an input that can be read is a :class:`Note`.
    """


class Endpoint(NamedTuple):
    """One end of a TCP connection."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Connection:
    """A TCP connection of a capture.

    Attributes:
        number: counts the connections of the capture from 0.
        client: who opened it; where the capture does not hold the opening,
            the end with the higher port.
        server: the other end.
        opening_seen: whether ``client`` is known, not guessed.
    """

    number: int
    client: Endpoint
    server: Endpoint
    opening_seen: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one stream.

    Chunks with the same ``stream`` continue each other: feed them to one
    splitter. ``starts`` cuts: what the stream held before is finished first.

    Attributes:
        data: the bytes; empty only on a chunk that merely ``ends`` a stream.
        source: name of the input.
        position: where ``data`` begins in the stream's bytes, for binary
            inputs and captures.
        line: number of the text line where ``data`` begins, from 1.
        time: when, as far as the input says.
        direction: which way, as far as the input says.
        stream: which byte stream ``data`` belongs to.
        starts: nothing that came before in ``stream`` continues here.
        ends: nothing follows in ``stream`` for now; its splitter can be
            finished and dropped.
        text: the log line around the bytes, trimmed.
        packet: number of the packet that brought them, from 1.
        connection: the TCP connection, in captures.
        from_client: in captures, whether the connection's client sent them.
        whose: the charger, where the input is a capture of a server.
    """

    data: bytes
    source: str
    position: int | None = None
    line: int | None = None
    time: Time | None = None
    direction: Direction = ""
    stream: str = ""
    starts: bool = False
    ends: bool = False
    text: str = ""
    packet: int | None = None
    connection: Connection | None = None
    from_client: bool | None = None
    whose: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something of the input that was not understood, lost, or worth knowing.

    ``str()`` is one sentence with its place.

    Attributes:
        kind: what it is about, for programs.
        text: what it says, for people.
        source, position, line, time, stream, packet: where, as on
            :class:`Chunk`; ``position`` is a byte offset in the file where
            the note is about the file, in the stream where it is about one.
        missing: how many bytes are missing, where that is known.
        connection, from_client: as on :class:`Chunk`.
    """

    kind: NoteKind
    text: str
    source: str
    position: int | None = None
    line: int | None = None
    time: Time | None = None
    stream: str = ""
    packet: int | None = None
    missing: int | None = None
    connection: Connection | None = None
    from_client: bool | None = None

    @property
    def is_loss(self) -> bool:
        """Whether bytes of the input are missing from the chunks."""
        return self.kind in LOSSES

    def __str__(self) -> str:
        place = self.source
        if self.line is not None:
            place += f":{self.line}"
        elif self.packet is not None:
            place += f": packet {self.packet}"
        return f"{place}: {self.text}"


Item = Chunk | Note


class Reader(Protocol):
    """One input being read: bytes are pushed in as they come, items fall out."""

    def feed(self, block: bytes) -> Iterable[Item]:
        """Take in bytes; give what has become certain. Take all of it before feeding on."""
        ...

    def finish(self) -> Iterable[Item]:
        """The input has ended: give the rest."""
        ...
