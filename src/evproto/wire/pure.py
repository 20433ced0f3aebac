"""The engine in pure Python, on construct: the fallback, and the one to read."""

from __future__ import annotations

from typing import Any

from evproto.errors import (
    DecodeError,
    DecryptError,
    EncodeError,
    EncryptError,
    FieldError,
    FrameTooLongError,
    UnknownFrameTypeError,
    UnknownMessageError,
)
from evproto.messages import EncryptedMessage, Message, UnknownMessage
from evproto.wire.body import choose_layout, measure_body
from evproto.wire.checksum import crc16_modbus_pure
from evproto.wire.engine import Options
from evproto.wire.frame import PLAIN, TRIPLE_DES, AnyMessage, Frame
from evproto.wire.framing import (
    HEADER_SIZE,
    LEAST_LENGTH,
    START,
    ChecksumStatus,
    Piece,
    check_frame,
)
from evproto.wire.inputs import as_bytes, is_bytes_like, show
from evproto.wire.table import Layout

__all__ = ["PureEngine", "decrypt", "encrypt", "refusal"]

_LONGEST_BODY = 0xFF - LEAST_LENGTH


class PureEngine:
    """Decodes and encodes by walking constructs."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._constructs: dict[str, Any] = {}
        self._by_class = {
            layout.message: layout for variants in options.layouts.values() for layout in variants
        }

    def decode(self, data: Any, /) -> Frame:
        frame = as_bytes(data)
        return self._unpack(frame, check_frame(frame, self._options.checksum))

    def unpack(self, piece: Piece, /) -> Frame:
        return self._unpack(piece.data, piece.checksum)

    def encode(self, message: Frame | AnyMessage, sequence: int = 0, /) -> bytes:
        try:
            return self._encode(message, sequence)
        except (EncodeError, MemoryError):
            raise
        except Exception as error:  # a value of a foreign type may do anything
            raise EncodeError(f"the message cannot be read: {show(error)}", value=message) from error

    def _encode(self, message: Any, sequence: Any) -> bytes:
        options = self._options
        if isinstance(message, Frame):
            sequence, encryption, trailing = message.sequence, message.encryption, message.trailing
            message = message.message
        else:
            encryption = PLAIN if options.cipher is None else TRIPLE_DES
            trailing = b""
            if isinstance(message, EncryptedMessage):
                encryption = TRIPLE_DES
        body, frame_type = self._body(message)
        try:
            body += _trailing_bytes(trailing)
            if encryption != PLAIN and not isinstance(message, EncryptedMessage):
                body = encrypt(options.cipher, body, encryption)
            if len(body) > _LONGEST_BODY:
                raise FrameTooLongError(
                    f"the body takes {len(body)} bytes, a frame has room for {_LONGEST_BODY}",
                    value=len(body),
                    limit=_LONGEST_BODY,
                )
            counted = (
                _unsigned(sequence, "sequence", 2)
                + _unsigned(encryption, "encryption", 1)
                + _unsigned(frame_type, "frame_type", 1)
                + body
            )
        except EncodeError as error:
            if error.frame_type is None and isinstance(frame_type, int):
                error.frame_type = frame_type
            raise
        checksum = crc16_modbus_pure(counted).to_bytes(2, "little")
        return bytes((START, len(counted))) + counted + checksum

    def _unpack(self, data: bytes, checksum: ChecksumStatus) -> Frame:
        options = self._options
        sequence = data[2] | data[3] << 8
        encryption, frame_type = data[4], data[5]
        body = data[HEADER_SIZE:-2]
        trailing = b""
        message: AnyMessage
        if encryption != PLAIN and options.cipher is None:
            message = EncryptedMessage(frame_type=frame_type, body=body)
        else:
            if encryption != PLAIN:
                body = decrypt(options.cipher, body, data)
            layouts = options.layouts.get(frame_type)
            if layouts is None:
                if not options.keep_unknown:
                    raise UnknownFrameTypeError(frame_type=frame_type, version=options.version, data=data)
                message = UnknownMessage(frame_type=frame_type, body=body)
            else:
                layout = choose_layout(layouts, len(body))
                used = measure_body(layout, data, body, options.known, keep_trailing=options.keep_trailing)
                message, trailing = self._parse(layout, body[:used]), body[used:]
        return Frame(
            message=message,
            sequence=sequence,
            encryption=encryption,
            trailing=trailing,
            checksum=checksum,
        )

    def _parse(self, layout: Layout, body: bytes) -> Message:
        values = self._construct(layout).parse(body, tz=self._options.tz)
        return layout.message(**{field.name: values[field.name] for field in layout.fields})

    def _body(self, message: Any) -> tuple[bytes, int]:
        if isinstance(message, (UnknownMessage, EncryptedMessage)):
            if not is_bytes_like(message.body):
                raise FieldError(
                    f"body takes bytes, not {type(message.body).__name__}",
                    path="body",
                    value=message.body,
                )
            return as_bytes(message.body), message.frame_type
        layout = self._by_class.get(type(message))
        if layout is None:
            raise refusal(message, self._options)
        values = {field.name: getattr(message, field.name) for field in layout.fields}
        try:
            body: bytes = self._construct(layout).build(values, tz=self._options.tz)
        except EncodeError as error:
            error.frame_type = layout.frame_type
            raise
        return body, layout.frame_type

    def _construct(self, layout: Layout) -> Any:
        found = self._constructs.get(layout.name)
        if found is None:
            found = self._constructs[layout.name] = self._options.construct_of(layout)
        return found


def refusal(message: Any, options: Options) -> UnknownMessageError:
    """Why ``message`` has no layout here."""
    name = type(message).__name__
    if not isinstance(message, Message):
        return UnknownMessageError(f"a message or a Frame is encoded, not {name}", value=message)
    return UnknownMessageError(
        f"{name} is not a message of {options.version}",
        value=message,
        frame_type=message.frame_type,
    )


def decrypt(cipher: Any, body: bytes, data: bytes) -> bytes:
    """The open body, whatever the cipher does.

    Raises:
        DecryptError: the cipher failed, or gave back no bytes.
    """
    try:
        plain = cipher.decrypt(body)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:
        raise DecryptError(
            f"the body could not be decrypted: {show(error)}",
            offset=HEADER_SIZE,
            frame_type=data[5],
            data=data,
        ) from error
    if not isinstance(plain, bytes):
        raise DecryptError(
            f"the cipher gave back {type(plain).__name__}, not bytes",
            offset=HEADER_SIZE,
            frame_type=data[5],
            data=data,
        )
    return plain


def encrypt(cipher: Any, body: bytes, encryption: int) -> bytes:
    """The closed body, whatever the cipher does.

    Raises:
        EncryptError: there is no cipher, it failed, or gave back no bytes.
    """
    if cipher is None:
        raise EncryptError(
            f"encryption flag {show(encryption)} is set, but the codec has no cipher",
            path="encryption",
            value=encryption,
        )
    try:
        closed = cipher.encrypt(body)
    except (EncodeError, MemoryError):
        raise
    except Exception as error:
        raise EncryptError(f"the body could not be encrypted: {show(error)}") from error
    if not isinstance(closed, bytes):
        raise EncryptError(f"the cipher gave back {type(closed).__name__}, not bytes")
    return closed


def _trailing_bytes(value: Any) -> bytes:
    if not is_bytes_like(value):
        raise FieldError(f"trailing takes bytes, not {type(value).__name__}", path="trailing", value=value)
    return as_bytes(value)


def _unsigned(value: Any, path: str, size: int) -> bytes:
    top = (1 << 8 * size) - 1
    if not isinstance(value, int) or not 0 <= value <= top:
        raise FieldError(
            f"{path} is {show(value)}, the wire carries 0 to {top}", path=path, value=value, limit=top
        )
    return value.to_bytes(size, "little")
