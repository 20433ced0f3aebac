"""The codec: frames to messages and back, for one version or dialect."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from evproto._generated.ykc.versions import EXTENSIONS, VERSIONS
from evproto.errors import DecodeError, UnknownMessageError
from evproto.messages import BEIJING, Message
from evproto.wire.engine import Cipher, Options, Splitter, make_engine, make_splitter
from evproto.wire.frame import AnyMessage, Frame
from evproto.wire.framing import ChecksumPolicy, Piece
from evproto.wire.table import Layout
from evproto.ykc.dialect import BUILT_IN, Dialect
from evproto.ykc.findings import Finding, find

__all__ = ["EXTENSIONS", "VERSIONS", "Codec", "StreamDecoder"]

Keep = Literal["keep", "error"]


class Codec:
    """Decodes and encodes YKC frames (V1.6, section 3.1).

    Args:
        version: ``"1.5"``, ``"1.6"`` or ``"1.7"``; each speaks what the one
            before it does. A dialect brings its own.
        checksum: ``"strict"`` wants the checksum right; ``"either"`` also
            takes its two bytes exchanged, as bench simulators send it;
            ``"ignore"`` takes any. ``Frame.checksum`` tells how it was.
        unknown: frame types without a layout are kept as ``UnknownMessage``,
            or refused with ``UnknownFrameTypeError``.
        trailing: bytes of the body behind the layout are kept on
            ``Frame.trailing``, or refused with ``TrailingBytesError``.
        tz: the zone of all times, UTC+8 by default; the document names none.
        cipher: opens and closes encrypted bodies. Without one they stay
            ``EncryptedMessage``.
        dialect: layouts to use instead of a version's.
        extensions: which frames outside the document to speak beside a
            version's; all of them by default.

    A codec holds no state between calls; one can serve any number of
    connections and threads.

    Raises:
        ValueError: an argument is none of its choices.
    """

    def __init__(
        self,
        version: str = "1.6",
        *,
        checksum: ChecksumPolicy = "strict",
        unknown: Keep = "keep",
        trailing: Keep = "keep",
        tz: dt.tzinfo = BEIJING,
        cipher: Cipher | None = None,
        dialect: Dialect | None = None,
        extensions: Iterable[str] = tuple(EXTENSIONS),
    ) -> None:
        _choose("checksum", checksum, get_args(ChecksumPolicy))
        _choose("unknown", unknown, get_args(Keep))
        _choose("trailing", trailing, get_args(Keep))
        if not isinstance(tz, dt.tzinfo):
            raise ValueError(f"tz is a tzinfo, not {tz!r}")
        if dialect is not None:
            layouts: tuple[Layout, ...] = dialect.layouts
            self.version = dialect.base
            name = f"dialect {dialect.name}"
        else:
            _choose("version", version, VERSIONS)
            layouts = VERSIONS[version]
            extensions = tuple(extensions)
            for extension in extensions:
                _choose("extensions", extension, EXTENSIONS)
                layouts += EXTENSIONS[extension]
            self.version = version
            name = f"YKC V{version}"
        by_type: dict[int, tuple[Layout, ...]] = {}
        for layout in layouts:
            by_type[layout.frame_type] = (*by_type.get(layout.frame_type, ()), layout)
        self.dialect = dialect
        self._extensions = tuple(extensions)
        self.checksum: ChecksumPolicy = checksum
        self.tz = tz
        self._by_class = {layout.message: layout for layout in layouts}
        self._options = Options(
            layouts=by_type,
            known=(*layouts, *(layout for layout in BUILT_IN if layout not in layouts)),
            version=name,
            checksum=checksum,
            keep_unknown=unknown == "keep",
            keep_trailing=trailing == "keep",
            tz=tz,
            cipher=cipher,
            construct_of=_construct_of,
        )
        self._engine = make_engine(self._options)
        self._decode = self._engine.decode
        self._encode = self._engine.encode

    def for_version(self, version: str) -> Codec:
        """A codec of another version with the same options; a dialect stays what it is.

        Raises:
            ValueError: there is no such version.
        """
        options = self._options
        return Codec(
            version,
            checksum=self.checksum,
            unknown="keep" if options.keep_unknown else "error",
            trailing="keep" if options.keep_trailing else "error",
            tz=self.tz,
            cipher=options.cipher,
            dialect=self.dialect,
            extensions=self._extensions,
        )

    @property
    def layouts(self) -> Mapping[int, tuple[Layout, ...]]:
        """Layouts by frame type: the documented one first, then its variants."""
        return MappingProxyType(self._options.layouts)

    @property
    def messages(self) -> Mapping[int, type[Message]]:
        """Message classes by frame type (of the documented layout)."""
        return {code: layouts[0].message for code, layouts in self._options.layouts.items()}

    def layout(self, message: Message | type[Message]) -> Layout:
        """The layout of a message or of its class.

        Raises:
            UnknownMessageError: it is not a message of this codec.
        """
        cls = message if isinstance(message, type) else type(message)
        found = self._by_class.get(cls)
        if found is None:
            raise UnknownMessageError(
                f"{cls.__name__} is not a message of {self._options.version}", value=message
            )
        return found

    def decode(self, data: bytes | bytearray | memoryview) -> Frame:
        """Decode one whole frame.

        Raises:
            DecodeError: the bytes are not a frame as the options want it. The
                subclass says how, its attributes where.
        """
        return self._decode(data)

    def encode(self, message: Frame | AnyMessage, sequence: int = 0) -> bytes:
        """Encode a frame, or a message under ``sequence`` (0 to 65535).

        A bare message is encrypted if the codec has a cipher; a Frame goes by
        its own flag.

        Raises:
            EncodeError: the wire cannot carry it.
        """
        return self._encode(message, sequence)

    def unpack(self, piece: Piece) -> Frame:
        """Decode a frame that :meth:`split` has cut out of a stream.

        Raises:
            DecodeError: its body is not as the options want it.
        """
        return self._engine.unpack(piece)

    def split(self) -> Splitter:
        """A splitter of its own for one byte stream: pieces, not yet decoded."""
        return make_splitter(self.checksum)

    def stream(self) -> StreamDecoder:
        """A decoder of its own for one byte stream."""
        return StreamDecoder(self)

    def check(self, message: Frame | AnyMessage) -> tuple[Finding, ...]:
        """What does not add up in a message.

        What cannot be sent, documented limits, codes outside their table, times that are none, and
        relations between fields (a record's tiers and totals, its meters and
        its energy, its start and end).

        Raises:
            UnknownMessageError: it is not a message of this codec.
        """
        return find(message, self._by_class, self.tz)


class StreamDecoder:
    """Turns a byte stream into frames and errors, however it is cut.

    Errors are returned, not raised: a ``DecodeError`` in the list stands for
    the bytes in its ``data`` at its ``position`` in the stream.
    """

    def __init__(self, codec: Codec) -> None:
        self._splitter = codec.split()
        self._unpack = codec.unpack

    @property
    def position(self) -> int:
        """Stream position of the first byte not yet decided on."""
        return self._splitter.position

    @property
    def pending(self) -> int:
        """Bytes held back because what they are is still open (at most 260)."""
        return self._splitter.pending

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Frame | DecodeError]:
        """Take in bytes; return what has become certain, in stream order.

        Raises:
            InputTypeError: ``chunk`` is not bytes-like; nothing is taken in.
        """
        return self._decode(self._splitter.feed(chunk))

    def finish(self) -> list[Frame | DecodeError]:
        """The stream has ended: return what is left, and start afresh.

        Also the way out of a half frame that never goes on: what follows its
        first bytes is looked through for whole frames.
        """
        return self._decode(self._splitter.finish())

    def _decode(self, pieces: list[Piece | DecodeError]) -> list[Frame | DecodeError]:
        unpack = self._unpack
        out: list[Frame | DecodeError] = []
        for piece in pieces:
            if isinstance(piece, DecodeError):
                out.append(piece)
                continue
            try:
                out.append(unpack(piece))
            except DecodeError as error:
                out.append(error.at(piece.position))
        return out


def _construct_of(layout: Layout) -> Any:
    from evproto._generated.ykc import layouts
    from evproto.wire.fields import construct_of

    if any(layout is known for known in BUILT_IN):
        return getattr(layouts, layout.message.__name__)
    return construct_of(layout)


def _choose(name: str, value: Any, choices: Iterable[Any]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")
