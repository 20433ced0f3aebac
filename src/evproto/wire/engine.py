"""What an engine is: bytes to frame and back, by table.

Two exist, :class:`evproto.wire.pure.PureEngine` and the compiled
``evproto._speedups._engine.Engine``. Everything that holds for one holds for
the other: values, error classes, error attributes, error texts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from evproto import _speedups
from evproto.errors import DecodeError
from evproto.wire.frame import AnyMessage, Frame
from evproto.wire.framing import ChecksumPolicy, Piece, PureSplitter
from evproto.wire.table import Layout

__all__ = ["Cipher", "Engine", "Options", "Splitter", "make_engine", "make_splitter"]


class Cipher(Protocol):
    """What opens and closes encrypted bodies (flag 1, 3DES in V1.x).

    The document defines neither mode nor padding nor key exchange, so all
    three are the cipher's own, and so are its keys: one cipher per pile.
    """

    def encrypt(self, body: bytes, /) -> bytes: ...

    def decrypt(self, body: bytes, /) -> bytes: ...


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a codec was asked for; the same for both engines."""

    layouts: dict[int, tuple[Layout, ...]]
    """By frame type; the documented layout first, variants after it."""
    known: tuple[Layout, ...]
    """Every layout of every version, to name likely ones in errors."""
    version: str
    """How the version or dialect is called in errors."""
    checksum: ChecksumPolicy
    keep_unknown: bool
    keep_trailing: bool
    tz: dt.tzinfo
    cipher: Any
    """A :class:`Cipher` or None."""
    construct_of: Callable[[Layout], Any]
    """The construct of a layout; only the pure engine asks."""


class Engine(Protocol):
    """Bytes to frame and back."""

    def __init__(self, options: Options) -> None: ...

    def decode(self, data: Any, /) -> Frame:
        """Decode bytes that are one whole frame, checksum and all."""
        ...

    def unpack(self, piece: Piece, /) -> Frame:
        """Decode a frame that a splitter has cut out and judged."""
        ...

    def encode(self, message: Frame | AnyMessage, sequence: int = 0, /) -> bytes:
        """Encode a frame, or a message under a sequence number."""
        ...


class Splitter(Protocol):
    """Stream to frames; see :mod:`evproto.wire.framing` for the rules."""

    @property
    def position(self) -> int: ...

    @property
    def pending(self) -> int: ...

    def feed(self, chunk: Any, /) -> list[Piece | DecodeError]: ...

    def finish(self) -> list[Piece | DecodeError]: ...


def make_engine(options: Options) -> Engine:
    """The compiled engine if there is one, else the pure one."""
    if _speedups.engine is not None:
        engine: Engine = _speedups.engine.Engine(options)
        return engine
    from evproto.wire.pure import PureEngine

    return PureEngine(options)


def make_splitter(policy: ChecksumPolicy) -> Splitter:
    """The compiled splitter if there is one, else the pure one."""
    if _speedups.engine is not None:
        splitter: Splitter = _speedups.engine.Splitter(policy)
        return splitter
    return PureSplitter(policy)
