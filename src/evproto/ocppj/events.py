"""What comes out of an :class:`~evproto.ocppj.session.RpcSession`, and how its calls end."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from evproto.ocppj.envelopes import Call, CallError, CallResult, CallResultError, Envelope, Send

__all__ = [
    "AnswerRefused",
    "CallDeclined",
    "CallEnded",
    "CallReceived",
    "CallSent",
    "Cancelled",
    "ConnectionLost",
    "InvalidAnswer",
    "Outcome",
    "Rejected",
    "SendReceived",
    "SessionEvent",
    "TimedOut",
    "Unexpected",
]


class TimedOut(msgspec.Struct, frozen=True, gc=False):
    """No answer came in time. One may still come; it is :class:`Unexpected` then."""

    sent: bool = True
    """False: its time was up while it waited in the queue, and the peer never saw it."""


class ConnectionLost(msgspec.Struct, frozen=True, gc=False):
    """The connection ended first."""

    reason: str = ""
    sent: bool = True
    """False: the peer never saw the call. True: it may have acted on it or not."""


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """The caller lost interest."""

    sent: bool = True
    """False: the peer never saw the call."""


class InvalidAnswer(msgspec.Struct, frozen=True):
    """The peer answered, but not with what the protocol says."""

    error: Exception
    """What is wrong: a :class:`~evproto.ocppj.MessageError`, or what a policy of the codec raised."""
    reply: CallResultError | None = None
    """What was sent back (OCPP 2.1)."""


Outcome = CallResult[Any] | CallError | InvalidAnswer | TimedOut | ConnectionLost | Cancelled
"""How a call ended."""


class CallReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer asks. The next comes when this one has been answered."""

    call: Call[Any]
    raw: bytes | str
    """The frame as it came."""
    arrived: float
    """When, on the clock of the session's owner; it may have waited since."""


class SendReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer tells something, and wants no answer."""

    send: Send[Any]
    raw: bytes | str


class CallSent(msgspec.Struct, frozen=True, gc=False):
    """A call is on its way: its frame is among those to send."""

    call: Call[Any]


class CallEnded(msgspec.Struct, frozen=True):
    """A call of ours is over. Every call that was taken ends exactly once."""

    call: Call[Any]
    outcome: Outcome
    rtt: float | None = None
    """Seconds from sending to this; None if it never was sent."""


class Unexpected(msgspec.Struct, frozen=True):
    """An answer nobody waits for: late, doubled, or to no call of ours. Nothing was sent back."""

    what: Envelope | Exception
    """The answer; the error where it could not be read as one."""
    call: Call[Any] | None = None
    """The call it belongs to, if that timed out or was cancelled not long ago."""


class Rejected(msgspec.Struct, frozen=True):
    """A frame that is not what the protocol says, or not for this version."""

    error: Exception
    """A :class:`~evproto.ocppj.MessageError`, or what a policy of the codec raised."""
    reply: CallError | None
    """What was sent back; None where the protocol wants nothing sent."""


class CallDeclined(msgspec.Struct, frozen=True, gc=False):
    """A valid call of the peer that the application will not see."""

    call: Call[Any]
    reply: CallError | None
    """What was sent back."""
    why: Literal["full", "duplicate", "repeated", "lost"]
    """``full``: too many calls wait to be served. ``duplicate``: another call with this id waits or
    is being served. ``repeated``: it is that very call again; one answer does for both, so none
    was sent for this one. ``lost``: the connection ended before its turn came."""


class AnswerRefused(msgspec.Struct, frozen=True, gc=False):
    """The peer could not process an answer of ours (CALLRESULTERROR, OCPP 2.1)."""

    error: CallResultError
    call: Call[Any] | None = None
    """The call that was answered, if it was the last one."""


SessionEvent = (
    CallReceived | SendReceived | CallSent | CallEnded | Unexpected | Rejected | CallDeclined | AnswerRefused
)
