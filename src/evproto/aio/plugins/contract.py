"""What the two sides of a remote plug-in say to each other: JSON, described in ``docs/plugins.md``.

Members that are not known are ignored, so that either side may be newer.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, TypeVar

import msgspec

from evproto.aio.ocpp.peer import InvalidAnswerError
from evproto.errors import (
    CallCancelledError,
    CallEndedError,
    CallRefusedError,
    CallTimeoutError,
    ConnectionLostError,
    EncodeError,
    EvprotoError,
    QueueFullError,
    SessionClosedError,
    SessionError,
)
from evproto.ocppj import (
    Call,
    CallResult,
    Codec,
    Deviation,
    Envelope,
    InvalidMessageError,
    MessageError,
    Send,
)

__all__ = [
    "NOTHING",
    "TAKEN",
    "CommandMessage",
    "CommandReply",
    "ErrorBody",
    "NoticeMessage",
    "Reply",
    "RequestMessage",
    "ResponseMessage",
    "UnreadableError",
    "Wire",
    "body_of",
    "error_of",
    "now",
    "read",
    "write",
]

NOTHING = msgspec.Raw(b"")
"""Stands for a payload that is not there."""

M = TypeVar("M", bound="_Message")

TAKEN = b"{}"
"""The reply to what is only told."""

write = msgspec.json.Encoder().encode


class UnreadableError(EvprotoError):
    """A message that is not what the contract says."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class ErrorBody(_Message, frozen=True, kw_only=True):
    """Why there is no payload."""

    type: str = ""
    """How a command ended; see :func:`body_of`. Not looked at in the reply to a request."""
    code: str = ""
    """An OCPP error code."""
    description: str = ""
    details: dict[str, Any] = {}


class _About(_Message, frozen=True, kw_only=True):
    identity: tuple[str, ...]
    protocol: str
    connection: str = ""
    remote_address: str = ""
    time: str = ""


class RequestMessage(_About, frozen=True, kw_only=True):
    """A request of a charger: CALL, or SEND, whose reply only says that it arrived."""

    message_id: str
    action: str
    payload: msgspec.Raw
    timeout: float = 0.0
    """Seconds from ``time`` until nobody waits for the reply any more."""
    attempt: int = 1


class Reply(_Message, frozen=True, kw_only=True):
    """The answer to a request: one of the two."""

    payload: msgspec.Raw = NOTHING
    error: ErrorBody | None = None


class ResponseMessage(_About, frozen=True, kw_only=True):
    """How a command ended: ``payload`` or ``error``."""

    message_id: str
    action: str
    request: msgspec.Raw
    payload: msgspec.Raw = NOTHING
    error: ErrorBody | None = None


class NoticeMessage(_About, frozen=True, kw_only=True):
    """A charger has connected or disconnected."""

    reason: str = ""


class CommandMessage(_Message, frozen=True, kw_only=True):
    """A command to a charger."""

    action: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    protocol: str = ""
    """The version it is of; empty: of whatever the charger speaks."""
    timeout: float | None = None
    total: float | None = None


class CommandReply(_Message, frozen=True, kw_only=True):
    """How it ended: ``payload`` or ``error``."""

    protocol: str = ""
    message_id: str = ""
    payload: msgspec.Raw = NOTHING
    error: ErrorBody | None = None


def now() -> str:
    """The time, as messages have it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read(data: bytes, kind: type[M]) -> M:
    """A message; raises UnreadableError."""
    try:
        message = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise UnreadableError(f"not the JSON that is wanted: {error}") from error
    if isinstance(message, Reply | CommandReply | ResponseMessage) and (
        (message.error is None) == (message.payload is NOTHING)
    ):
        raise UnreadableError("there is to be either a payload or an error")
    if isinstance(message, _About) and not message.identity:
        raise UnreadableError("an identity has at least one element")
    return message


class Wire:
    """Payloads of one version, as they stand in messages."""

    def __init__(self, codec: Codec) -> None:
        dialect = codec.dialect
        self.codec = codec
        self._renamed = bool(dialect.names)
        self._off = codec.mode == "off"
        # Members have the document's names here, and times lose nothing that a datetime holds.
        self._plain = Codec(
            dataclasses.replace(dialect, names={}),
            mode=codec.mode,
            policy=codec.policy,
            max_size=codec.max_size,
            time_precision="microseconds",
        )

    def payload(
        self, envelope: Call[Any] | CallResult[Any] | Send[Any], raw: bytes | str | None = None
    ) -> msgspec.Raw:
        """The payload of an envelope that was received, as it came if it was right."""
        if raw is None or envelope.warnings or self._renamed:
            raw = self._plain.encode(envelope, "off" if self._off else "lenient")
        return _last(raw)

    def answer(self, result: CallResult[Any]) -> msgspec.Raw:
        """The payload of an answer or request that is made here.

        Raises:
            EncodeError: it breaks its schema.
        """
        return _last(self._plain.encode(result, "off" if self._off else "strict"))

    def asked(self, call: Call[Any]) -> msgspec.Raw:
        """The payload of a request that is made here; raises EncodeError like :meth:`answer`."""
        return _last(self._plain.encode(call, "off" if self._off else "strict"))

    def read_request(self, message_id: str, action: str, payload: msgspec.Raw) -> Call[Any] | Send[Any]:
        """A request that the other side has taken already, by its own measure.

        Raises:
            MessageError: it is none that a typed message could hold.
        """
        return self._request(message_id, action, payload, "off" if self._off else "lenient")

    def read_command(self, message_id: str, action: str, payload: msgspec.Raw) -> Call[Any] | Send[Any]:
        """A request that is about to be sent; raises MessageError if it breaks its schema."""
        known = action in self.codec.dialect.actions
        return self._request(
            message_id, action, payload, "off" if self._off else "strict" if known else "lenient"
        )

    def _request(
        self, message_id: str, action: str, payload: msgspec.Raw, mode: Any
    ) -> Call[Any] | Send[Any]:
        entry = self.codec.dialect.actions.get(action)
        number = 6 if entry is not None and entry.response is None else 2
        frame = b"[%d,%b,%b,%b]" % (number, write(message_id), write(action), bytes(payload))
        envelope = self._plain.decode(frame, mode=mode)
        assert isinstance(envelope, Call | Send)
        return envelope

    def read_answer(self, call: Call[Any], payload: msgspec.Raw, *, strict: bool) -> CallResult[Any]:
        """The answer to a call.

        Raises:
            MessageError: it breaks its schema; where not ``strict``, so that no typed message could hold it.
        """
        known = call.action in self.codec.dialect.actions
        frame = b"[3,%b,%b]" % (write(call.unique_id), bytes(payload))
        mode: Any = "off" if self._off else "strict" if strict and known else "lenient"
        envelope: Envelope = self._plain.decode(frame, {call.unique_id: call}, mode)
        assert isinstance(envelope, CallResult)
        return envelope


def _last(frame: bytes | str) -> msgspec.Raw:
    elements: list[msgspec.Raw] = msgspec.json.decode(frame, type=list[msgspec.Raw])
    # A copy: the rest of the frame need not stay in memory.
    return elements[-1].copy()


_TYPES: tuple[tuple[str, type[EvprotoError]], ...] = (
    ("timeout", CallTimeoutError),
    ("connectionLost", ConnectionLostError),
    ("cancelled", CallCancelledError),
    ("invalidAnswer", InvalidAnswerError),
    ("notConnected", SessionClosedError),
    ("queueFull", QueueFullError),
)


def body_of(error: Exception) -> ErrorBody:
    """How a command ended that has no answer.

    ``refused`` has the charger's code, description and details;
    ``invalidRequest`` the code and the place, and was not sent, like
    ``notConnected`` and ``queueFull``.
    """
    if isinstance(error, CallRefusedError):
        return ErrorBody(
            type="refused",
            code=error.error_code,
            description=error.error_description,
            details=error.error_details,
        )
    text = str(error)
    if isinstance(error, InvalidMessageError | MessageError):
        return ErrorBody(
            type="invalidRequest", code=error.code, description=text, details={"path": error.path}
        )
    if isinstance(error, UnreadableError | EncodeError | ValueError):
        return ErrorBody(type="invalidRequest", description=text)
    for name, kind in _TYPES:
        if isinstance(error, kind):
            return ErrorBody(type=name, description=text)
    return ErrorBody(type="failed", description=text)


def error_of(body: ErrorBody, *, action: str, message_id: str) -> EvprotoError:
    """The error that :func:`body_of` described."""
    facts = {"action": action, "unique_id": message_id}
    if body.type == "refused":
        return CallRefusedError(body.code, body.description, body.details, **facts)
    if body.type == "invalidRequest":
        path = body.details.get("path")
        found = Deviation(
            keyword="payload",
            code=body.code,
            path=path if isinstance(path, str) else "",
            message=body.description,
            action=action,
        )
        return InvalidMessageError((found,))
    for name, kind in _TYPES:
        if body.type == name:
            if issubclass(kind, CallEndedError):
                return kind(body.description, **facts)
            return kind(body.description)
    return SessionError(f"{action} failed: {body.description or body.type or 'nobody says why'}")
