"""The errors of OCPP-J; a part of the tree in :mod:`evproto.errors`::

    EvprotoError
    ├── DecodeError
    │   └── MessageError                 a frame that is not what OCPP-J says
    │       ├── FrameTooLargeError       more bytes than max_size
    │       ├── MalformedFrameError      not JSON, not an array, or not the right elements
    │       ├── MessageTypeError         a message type this version does not have
    │       ├── UnknownActionError       an action this version does not have
    │       ├── UnexpectedResponseError  an answer to nothing that is pending
    │       └── PayloadError             a payload that breaks its schema
    └── EncodeError
        └── InvalidMessageError          an envelope that must not be sent like this

The text of an error is one sentence for a person. What a program needs is on
its attributes, and :meth:`MessageError.to_call_error` says what to send back.
"""

from __future__ import annotations

from typing import Any

from evproto.errors import DecodeError, EncodeError
from evproto.ocppj.dialect import CALL, CALL_RESULT, CALL_RESULT_ERROR, Dialect
from evproto.ocppj.envelopes import CallError, CallResultError, Deviation

__all__ = [
    "FrameTooLargeError",
    "InvalidMessageError",
    "MalformedFrameError",
    "MessageError",
    "MessageTypeError",
    "PayloadError",
    "UnexpectedResponseError",
    "UnknownActionError",
]

UNREADABLE_ID = "-1"
"""The message id in the answer to a frame whose own could not be read (part 4, section 4.2.3)."""


class MessageError(DecodeError):
    """A frame that is not what OCPP-J says.

    Attributes:
        code: the OCPP error code, spelled as this version spells it.
        path: the member of the payload concerned, as in ``meterValue[0].unit``.
        deviations: everything that was found wrong, the most telling first.
        unique_id: the message id; ``"-1"`` if it could not be read.
        action: the action, as far as it is known.
        message_type: 2 to 6 or what was there; None if it could not be read.
    """

    def __init__(
        self,
        deviations: tuple[Deviation, ...],
        *,
        dialect: Dialect,
        unique_id: str = UNREADABLE_ID,
        message_type: int | None = None,
        data: bytes = b"",
    ) -> None:
        first = deviations[0]
        super().__init__(first.message, path=first.path, data=data)
        self.deviations = deviations
        self.code = first.code
        self.action = first.action
        self.unique_id = unique_id
        self.message_type = message_type
        self._call_result_errors = CALL_RESULT_ERROR in dialect.message_types
        self._description_length = dialect.description_length

    def to_call_error(self) -> CallError | None:
        """The CALLERROR to send back; None where nothing must be.

        Only a CALL, and what cannot be told from one, is answered like this.
        """
        if self.message_type not in (CALL, None):
            return None
        return CallError(
            unique_id=self.unique_id,
            error_code=self.code,
            error_description=str(self)[: self._description_length],
            action=self.action,
        )

    def to_call_result_error(self) -> CallResultError | None:
        """The CALLRESULTERROR to send back for a bad CALLRESULT; None before OCPP 2.1."""
        if self.message_type != CALL_RESULT or not self._call_result_errors:
            return None
        return CallResultError(
            unique_id=self.unique_id,
            error_code=self.code,
            error_description=str(self)[: self._description_length],
            action=self.action,
        )


class FrameTooLargeError(MessageError):
    """More bytes than ``max_size``; the frame was not looked into."""


class MalformedFrameError(MessageError):
    """Not JSON, not an array, or not the elements its message type has."""


class MessageTypeError(MessageError):
    """A message type this version does not have.

    OCPP 1.6 and 2.1 say to ignore such a message; :meth:`to_call_error` is
    None then. OCPP 2.0.1 (part 4, section 4.4) says to answer it.
    """

    def __init__(self, deviations: tuple[Deviation, ...], *, dialect: Dialect, **more: Any) -> None:
        super().__init__(deviations, dialect=dialect, **more)
        self.ignored = dialect.ignores_unknown_types

    def to_call_error(self) -> CallError | None:
        """The CALLERROR to send back; None where the version says to ignore the message."""
        if self.ignored:
            return None
        return CallError(
            unique_id=self.unique_id,
            error_code=self.code,
            error_description=str(self)[: self._description_length],
        )


class UnknownActionError(MessageError):
    """An action this version does not have, or has for another message type."""


class UnexpectedResponseError(MessageError):
    """An answer whose id is not among those that are pending; nothing is sent back."""

    def to_call_result_error(self) -> CallResultError | None:
        """Always None: who is not waiting for an answer does not judge it."""
        return None


class PayloadError(MessageError):
    """A payload that breaks its schema, or that a policy refused."""


class InvalidMessageError(EncodeError):
    """An envelope that must not be sent like this.

    Attributes:
        deviations: everything that was found wrong, the most telling first.
        code: the error code the other side would have answered with.
    """

    def __init__(self, deviations: tuple[Deviation, ...]) -> None:
        first = deviations[0]
        super().__init__(first.message, path=first.path, value=first.value, limit=first.limit)
        self.deviations = deviations
        self.code = first.code
