"""Every error evproto raises, in one tree::

    EvprotoError
    ├── SpecError                    a spec or dialect file is wrong (all its problems at once)
    ├── DecodeError                  bytes that are not what the protocol says
    │   ├── InputTypeError           not bytes at all
    │   ├── StartByteError           the first byte is not the start byte
    │   ├── LengthByteError          the length byte is smaller than a header
    │   ├── TruncatedFrameError      fewer bytes than the length byte announces
    │   ├── ExcessBytesError         more bytes than the length byte announces
    │   ├── ChecksumError            the checksum does not belong to the bytes
    │   ├── SkippedBytesError        a stream held bytes that belong to no frame
    │   ├── UnknownFrameTypeError    no layout for this frame type
    │   ├── BodyLengthError          no layout of this frame type has this length
    │   ├── GroupCountError          a count field promises more entries than there are bytes
    │   ├── TrailingBytesError       bytes follow the last field of the layout
    │   └── DecryptError             the cipher could not decrypt the body
    ├── EncodeError                  a message that cannot be put on the wire
    │   ├── UnknownMessageError      not a message of this codec's version or dialect
    │   ├── FieldError               a field value the wire cannot carry
    │   ├── FrameTooLongError        the frame would not fit its length byte
    │   └── EncryptError             the cipher could not encrypt the body
    └── SessionError                 a session cannot do what it was asked for
        ├── QueueFullError           too many calls wait already; nothing was queued
        ├── SessionClosedError       the connection has ended, or never was; nothing was sent
        └── CallEndedError           a call that ended without an answer
            ├── CallTimeoutError     no answer came in time; one may still come
            ├── ConnectionLostError  the connection ended first; the peer may have acted or not
            ├── CallCancelledError   the caller lost interest
            └── CallRefusedError     the peer answered with an error

The errors of OCPP-J and ntxcp frames, in :mod:`evproto.ocppj.errors`, and of
capture files, :class:`evproto.capture.CaptureError`, hang on the same root.

The text of an error is one sentence for a person; what a program needs is on
its attributes. Errors compare by identity, and pickle with their attributes.
"""

from __future__ import annotations

from typing import Any, Self

__all__ = [
    "BodyLengthError",
    "CallCancelledError",
    "CallEndedError",
    "CallRefusedError",
    "CallTimeoutError",
    "ChecksumError",
    "ConnectionLostError",
    "DecodeError",
    "DecryptError",
    "EncodeError",
    "EncryptError",
    "EvprotoError",
    "ExcessBytesError",
    "FieldError",
    "FrameTooLongError",
    "GroupCountError",
    "InputTypeError",
    "LengthByteError",
    "QueueFullError",
    "SessionClosedError",
    "SessionError",
    "SkippedBytesError",
    "SpecError",
    "StartByteError",
    "TrailingBytesError",
    "TruncatedFrameError",
    "UnknownFrameTypeError",
    "UnknownMessageError",
]


def _restore(cls: type[EvprotoError], text: str, attributes: dict[str, Any]) -> EvprotoError:
    error = cls.__new__(cls, text)
    error.args = (text,)
    error.__dict__.update(attributes)
    return error


class EvprotoError(Exception):
    """The root: catch this and nothing of evproto gets past."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception pickles by positional arguments; these take keywords.
        return _restore, (type(self), str(self), self.__dict__.copy())


class SpecError(EvprotoError):
    """A spec or dialect file is wrong.

    Attributes:
        problems: every problem found, each with file, line, YAML path and,
            where there is one, a suggestion.
    """

    def __init__(self, problems: tuple[Any, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class DecodeError(EvprotoError):
    """Bytes that are not what the protocol says.

    Attributes:
        offset: where in ``data`` the trouble is, in bytes; None where no
            single byte is to blame.
        path: the field concerned, as in ``cards[1].result``; empty outside
            the body.
        frame_type: the frame-type code, where it could be read.
        data: the bytes of the frame (or of the skipped stretch).
        position: where ``data`` begins in the stream; None outside streams.
    """

    def __init__(
        self,
        text: str,
        *,
        offset: int | None = None,
        path: str = "",
        frame_type: int | None = None,
        data: bytes = b"",
        position: int | None = None,
    ) -> None:
        super().__init__(text)
        self.offset = offset
        self.path = path
        self.frame_type = frame_type
        self.data = data
        self.position = position

    def at(self, position: int) -> Self:
        """The same error, placed in a stream."""
        self.position = position
        return self


class InputTypeError(DecodeError):
    """What should be decoded is not a bytes-like object."""


class StartByteError(DecodeError):
    """The first byte is not the start byte.

    Attributes:
        expected, actual: the two bytes, as integers.
    """

    def __init__(self, *, expected: int, actual: int, data: bytes) -> None:
        super().__init__(
            f"a frame starts with 0x{expected:02X}, this one with 0x{actual:02X}",
            offset=0,
            data=data,
        )
        self.expected = expected
        self.actual = actual


class LengthByteError(DecodeError):
    """The length byte is smaller than sequence, flag and type together.

    Attributes:
        value: what the length byte says.
        limit: the least it can be.
    """

    def __init__(self, *, value: int, limit: int, data: bytes) -> None:
        super().__init__(
            f"the length byte is {value}, but sequence, encryption flag and frame type alone take {limit}",
            offset=1,
            data=data,
        )
        self.value = value
        self.limit = limit


class TruncatedFrameError(DecodeError):
    """Fewer bytes than the length byte announces.

    Attributes:
        expected, actual: size of the whole frame in bytes, announced and given.
    """

    def __init__(self, *, expected: int, actual: int, data: bytes) -> None:
        super().__init__(
            f"the frame is cut off: {actual} of {expected} bytes are there"
            if expected > 0
            else f"the frame is cut off: {actual} bytes are too few for a header",
            offset=actual,
            frame_type=data[5] if len(data) > 5 else None,
            data=data,
        )
        self.expected = expected
        self.actual = actual


class ExcessBytesError(DecodeError):
    """More bytes than the length byte announces.

    Attributes:
        expected, actual: size of the whole frame in bytes, announced and given.
    """

    def __init__(self, *, expected: int, actual: int, data: bytes) -> None:
        super().__init__(
            f"the length byte announces a frame of {expected} bytes, but {actual} were given",
            offset=expected,
            frame_type=data[5] if len(data) > 5 else None,
            data=data,
        )
        self.expected = expected
        self.actual = actual


class ChecksumError(DecodeError):
    """The checksum does not belong to the bytes.

    Attributes:
        expected: the checksum the bytes ask for, as a number.
        actual: the checksum found, read low byte first.
        swapped: whether it would be right with its two bytes exchanged.
    """

    def __init__(self, *, expected: int, actual: int, data: bytes) -> None:
        self.swapped = actual == ((expected & 0xFF) << 8 | expected >> 8)
        on_wire = expected.to_bytes(2, "little").hex(" ").upper()
        found = actual.to_bytes(2, "little").hex(" ").upper()
        hint = "; its two bytes are exchanged" if self.swapped else ""
        super().__init__(
            f"the checksum is {found}, the bytes ask for {on_wire}{hint}",
            offset=len(data) - 2,
            frame_type=data[5] if len(data) > 7 else None,
            data=data,
        )
        self.expected = expected
        self.actual = actual


class SkippedBytesError(DecodeError):
    """Bytes of a stream that belong to no frame, reported in stretches.

    A long stretch is reported piece by piece, always cut at the same places,
    however the stream arrived.
    """

    def __init__(self, *, data: bytes, position: int) -> None:
        super().__init__(
            f"skipped {len(data)} byte{'s' if len(data) != 1 else ''} that belong to no frame",
            data=data,
            position=position,
        )


class UnknownFrameTypeError(DecodeError):
    """No layout for this frame type in this version or dialect."""

    def __init__(self, *, frame_type: int, version: str, data: bytes) -> None:
        super().__init__(
            f"frame type 0x{frame_type:02X} is not part of {version}",
            offset=5,
            frame_type=frame_type,
            data=data,
        )
        self.version = version


class BodyLengthError(DecodeError):
    """No layout of this frame type has a body this short.

    Attributes:
        expected: bytes the layout needs at least.
        actual: bytes the body has.
        fits: names of other layouts whose length this body has.
    """

    def __init__(
        self,
        *,
        name: str,
        frame_type: int,
        expected: int,
        actual: int,
        fits: tuple[str, ...],
        path: str = "",
        data: bytes = b"",
    ) -> None:
        hint = f"; {actual} bytes would fit {', '.join(fits)}" if fits else ""
        super().__init__(
            f"the body of {name} takes {expected} bytes, {actual} are there"
            + (f" (it ends inside {path})" if path else "")
            + hint,
            offset=6 + actual,
            path=path,
            frame_type=frame_type,
            data=data,
        )
        self.name = name
        self.expected = expected
        self.actual = actual
        self.fits = fits


class GroupCountError(DecodeError):
    """A count or length field promises more than the body holds.

    Attributes:
        value: what the count field says.
        limit: what the bytes after it have room for.
    """

    def __init__(
        self,
        *,
        path: str,
        value: int,
        limit: int,
        offset: int,
        frame_type: int,
        data: bytes = b"",
    ) -> None:
        super().__init__(
            f"{path} is {value}, but the bytes after it have room for {limit}",
            offset=offset,
            path=path,
            frame_type=frame_type,
            data=data,
        )
        self.value = value
        self.limit = limit


class TrailingBytesError(DecodeError):
    """Bytes follow the last field of the layout (``trailing="error"``).

    Attributes:
        trailing: those bytes.
        fits: names of other layouts whose length this body has.
    """

    def __init__(
        self,
        *,
        name: str,
        frame_type: int,
        offset: int,
        trailing: bytes,
        fits: tuple[str, ...],
        data: bytes = b"",
    ) -> None:
        hint = f"; the length would fit {', '.join(fits)}" if fits else ""
        count = len(trailing)
        super().__init__(
            f"{count} byte{'s' if count != 1 else ''} follow{'s' if count == 1 else ''} "
            f"the last field of {name}{hint}",
            offset=offset,
            frame_type=frame_type,
            data=data,
        )
        self.trailing = trailing
        self.fits = fits


class DecryptError(DecodeError):
    """The cipher could not decrypt the body; the cause is chained."""


class EncodeError(EvprotoError):
    """A message that cannot be put on the wire.

    Attributes:
        path: the field concerned, as in ``cards[1].result``; empty where the
            whole message is.
        value: what was to be encoded.
        limit: what the wire allows, where that is one value.
        frame_type: the frame-type code of the message, where known.
    """

    def __init__(
        self,
        text: str,
        *,
        path: str = "",
        value: Any = None,
        limit: Any = None,
        frame_type: int | None = None,
    ) -> None:
        super().__init__(text)
        self.path = path
        self.value = value
        self.limit = limit
        self.frame_type = frame_type


class UnknownMessageError(EncodeError):
    """Not a message of this codec's version or dialect."""


class FieldError(EncodeError):
    """A field value the wire cannot carry: type, range, step, width or text."""


class FrameTooLongError(EncodeError):
    """The frame would not fit its length byte."""


class EncryptError(EncodeError):
    """The cipher could not encrypt the body; the cause is chained."""


class SessionError(EvprotoError):
    """A session cannot do what it was asked for."""


class QueueFullError(SessionError):
    """Too many calls wait already; nothing was queued."""


class SessionClosedError(SessionError):
    """The connection has ended, or never was; nothing was sent."""


class CallEndedError(SessionError):
    """A call that ended without an answer.

    Attributes:
        action: the name of the request.
        unique_id: its message id (OCPP-J) or sequence number (YKC), as text.
    """

    def __init__(self, message: str, *, action: str = "", unique_id: str = "") -> None:
        super().__init__(message)
        self.action = action
        self.unique_id = unique_id


class CallTimeoutError(CallEndedError):
    """No answer came in time; one may still come, and is then an event of its own."""


class ConnectionLostError(CallEndedError):
    """The connection ended first; the peer may have acted or not."""


class CallCancelledError(CallEndedError):
    """The caller lost interest."""


class CallRefusedError(CallEndedError):
    """The peer answered with an error.

    Attributes:
        error_code: as in ``NotSupported``.
        error_description: what the peer says about it.
        error_details: what else it says, as decoded from JSON.
    """

    def __init__(
        self,
        error_code: str,
        error_description: str = "",
        error_details: dict[str, Any] | None = None,
        *,
        action: str = "",
        unique_id: str = "",
    ) -> None:
        said = f": {error_description}" if error_description else ""
        super().__init__(
            f"{action or 'the call'} was refused with {error_code}{said}", action=action, unique_id=unique_id
        )
        self.error_code = error_code
        self.error_description = error_description
        self.error_details = error_details or {}
