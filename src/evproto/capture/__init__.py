"""From whatever holds the bytes to the bytes: hex, dumps, logs, binary files, captures.

:func:`read_path`, :func:`read_stream`, :func:`read_arguments` and
:func:`follow` give :class:`Chunk` after :class:`Chunk`, to be fed to a
splitter per stream, and a :class:`Note` for everything that was not
understood or is missing, so that nothing is lost in silence. All of them work
in bounded memory, however big the input.

:class:`PcapWriter` and :func:`write_pcap` go the other way.
"""

from __future__ import annotations

from evproto.capture.detection import FORMATS, Format, detect
from evproto.capture.following import follow
from evproto.capture.items import (
    LOSSES,
    CaptureError,
    Chunk,
    Connection,
    Direction,
    Endpoint,
    Item,
    Note,
    NoteKind,
    Reader,
    Time,
)
from evproto.capture.pcap_write import PcapWriter, WrittenConnection, write_pcap
from evproto.capture.reading import (
    ReaderFactory,
    is_hex_arguments,
    make_reader,
    read_arguments,
    read_bytes,
    read_path,
    read_stream,
)

__all__ = [
    "FORMATS",
    "LOSSES",
    "CaptureError",
    "Chunk",
    "Connection",
    "Direction",
    "Endpoint",
    "Format",
    "Item",
    "Note",
    "NoteKind",
    "PcapWriter",
    "Reader",
    "ReaderFactory",
    "Time",
    "WrittenConnection",
    "detect",
    "follow",
    "is_hex_arguments",
    "make_reader",
    "read_arguments",
    "read_bytes",
    "read_path",
    "read_stream",
    "write_pcap",
]
