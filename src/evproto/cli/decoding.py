"""From the items of an input to what a person or a program is told about them.

Every stream gets a splitter of its own; every frame and every bad stretch is
traced back to the chunk (line, packet, time) it began in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from evproto.capture import Chunk, Item, Note
from evproto.cli.ocppj.reading import TextFrame
from evproto.cli.ocppj.told import Guess, Told
from evproto.errors import DecodeError, SkippedBytesError
from evproto.messages import EncryptedMessage, Message, UnknownMessage
from evproto.wire.frame import Frame
from evproto.wire.framing import OVERHEAD, START
from evproto.wire.table import Layout
from evproto.ykc.codec import Codec

if TYPE_CHECKING:
    from evproto.cli.ocppj.decoding import FrameDecoder

__all__ = ["Bad", "Decoded", "Outcome", "decode_items"]

_AHEAD: Final = 259
"""Bytes behind a bad frame that are kept to explain it."""


@dataclass(slots=True)
class Decoded:
    """A frame.

    Attributes:
        data: its bytes.
        layout: None for unknown and encrypted ones.
        chunk: where it began.
        position: of its first byte in the stream, in binary inputs and captures.
        overlap: how many of its first bytes are also those of a bad frame
            before it, in which it was found.
    """

    frame: Frame
    data: bytes
    layout: Layout | None
    chunk: Chunk
    position: int | None
    overlap: int = 0

    @property
    def opaque(self) -> bool:
        """Whether its body could not be read."""
        return isinstance(self.frame.message, (UnknownMessage, EncryptedMessage))


@dataclass(slots=True)
class Bad:
    """Bytes that are no frame.

    Attributes:
        after: what follows them, as far as it is known; to explain them with.
    """

    error: DecodeError
    chunk: Chunk
    position: int | None
    after: bytes = b""

    @property
    def skipped(self) -> bool:
        """Whether they do not even look like one."""
        return isinstance(self.error, SkippedBytesError)


Outcome = Decoded | Bad | Note | Told | Guess


@dataclass(slots=True)
class _Stream:
    splitter: Any
    chunks: deque[tuple[int, Chunk]] = field(default_factory=deque)
    fed: int = 0
    blamed: int = 0  # bytes before this position are in a bad frame

    def chunk_at(self, position: int) -> tuple[int, Chunk]:
        """The chunk that holds a position of the stream, and where it begins."""
        chunks = self.chunks
        while len(chunks) > 1 and chunks[1][0] <= position:
            chunks.popleft()
        return chunks[0]


def decode_items(
    items: Iterable[Item], codec: Codec, frames: FrameDecoder | None = None, *, live: bool = False
) -> Iterator[Outcome]:
    """Decode everything, in the order of each stream; notes pass through.

    ``codec`` is for bytes, ``frames`` for the frames found in text; ``live``
    means that nothing may be held back.
    """
    reader = _Reader(codec)
    for item in items if frames is None else frames.ahead(items, live=live):
        if frames is not None and isinstance(item, TextFrame):
            yield from frames.decode(item)
        elif isinstance(item, Note):
            yield from reader.note(item)
        else:
            yield from reader.chunk(item)
    yield from reader.finish()


class _Reader:
    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._streams: dict[str, _Stream] = {}
        self._layouts = {layout.message: layout for variants in codec.layouts.values() for layout in variants}

    def note(self, note: Note) -> Iterator[Outcome]:
        stream = self._streams.get(note.stream)
        if note.kind == "gap" and stream is not None:
            # What is missing ends what came before it; say things in order.
            yield from self._finish(stream)
            del self._streams[note.stream]
        yield note

    def chunk(self, chunk: Chunk) -> Iterator[Outcome]:
        stream = self._streams.get(chunk.stream)
        if stream is not None and chunk.starts:
            yield from self._finish(stream)
            stream = None
        data = chunk.data
        if chunk.starts and len(data) > 1 and data[0] == START and len(data) == data[1] + OVERHEAD:
            # A log line with exactly one frame: no splitter is needed if it is right.
            self._streams.pop(chunk.stream, None)
            try:
                frame = self._codec.decode(data)
            except DecodeError:
                pass
            else:
                yield self._decoded(frame, data, chunk, chunk.position)
                return
        if stream is None:
            stream = self._streams[chunk.stream] = _Stream(self._codec.split())
        if data:
            stream.chunks.append((stream.fed, chunk))
            stream.fed += len(data)
            pieces = stream.splitter.feed(data)
            if pieces:
                yield from self._outcomes(stream, pieces)
        if chunk.ends:
            yield from self._finish(stream)
            self._streams.pop(chunk.stream, None)

    def finish(self) -> Iterator[Outcome]:
        for stream in self._streams.values():
            yield from self._finish(stream)
        self._streams.clear()

    def _finish(self, stream: _Stream) -> Iterator[Outcome]:
        yield from self._outcomes(stream, stream.splitter.finish())

    def _outcomes(self, stream: _Stream, pieces: list[Any]) -> Iterator[Outcome]:
        unpack = self._codec.unpack
        for piece in pieces:
            begin, chunk = stream.chunk_at(piece.position)
            position = None if chunk.position is None else chunk.position + piece.position - begin
            if isinstance(piece, DecodeError):
                yield self._bad(piece, stream, chunk, position)
                continue
            try:
                frame = unpack(piece)
            except DecodeError as error:
                yield self._bad(error.at(piece.position), stream, chunk, position)
                continue
            decoded = self._decoded(frame, piece.data, chunk, position)
            decoded.overlap = max(0, min(len(piece.data), stream.blamed - piece.position))
            yield decoded

    def _decoded(self, frame: Frame, data: bytes, chunk: Chunk, position: int | None) -> Decoded:
        message = frame.message
        layout = self._layouts[type(message)] if isinstance(message, Message) else None
        return Decoded(frame, data, layout, chunk, position)

    def _bad(self, error: DecodeError, stream: _Stream, chunk: Chunk, position: int | None) -> Bad:
        assert error.position is not None
        begin = error.position + len(error.data)
        if not isinstance(error, SkippedBytesError):
            stream.blamed = max(stream.blamed, begin)
        after = b"".join(
            later.data[max(0, begin - start) :][:_AHEAD]
            for start, later in stream.chunks
            if start + len(later.data) > begin
        )[:_AHEAD]
        return Bad(error, chunk, position, after)
