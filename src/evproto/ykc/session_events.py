"""What comes out of a YKC session: events, and how requests end."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from evproto.errors import DecodeError
from evproto.messages import Message, UnknownMessage
from evproto.wire.frame import AnyMessage, Frame
from evproto.wire.table import Direction
from evproto.ykc.messages import BillingModelResponse, LoginRequest

__all__ = [
    "Answered",
    "BillingModelReceived",
    "Cancelled",
    "CloseReason",
    "Closing",
    "ConnectionLost",
    "Damaged",
    "Event",
    "HeartbeatMissed",
    "LoggedIn",
    "LoginReceived",
    "MessageReceived",
    "NotServed",
    "Outcome",
    "RecordEnded",
    "RequestEnded",
    "TimeSyncDue",
    "TimedOut",
    "Traced",
]


class CloseReason(StrEnum):
    """Why a session wants its connection closed."""

    LOGIN_TIMEOUT = "login timeout"
    """No accepted login in time (a pile: no answer to its login)."""
    LOGIN_REFUSED = "login refused"
    """The pile has been told so, with 0x02."""
    HEARTBEAT = "heartbeats missed"
    """Too many heartbeats (a pile: answers to them) in a row did not come."""
    IDENTITY = "another identity"
    """A login for another pile than the one this connection is for."""
    GARBAGE = "garbage"
    """Too many bytes that belong to no frame."""


class MessageReceived(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A whole frame with a right checksum, from a peer that may send it.

    A body that no layout fits, or that cannot be decrypted, is here as well:
    ``message`` is then an ``UnknownMessage`` or ``EncryptedMessage`` with the
    body byte for byte, and ``error`` says what is wrong with it.
    """

    frame: Frame
    raw: bytes
    """The frame as it came."""
    time: float
    """``now`` when it came."""
    served: bool = False
    """Whether the session has answered it by itself."""
    answers: int | None = None
    """The token of the request that it answers; see also ``follow_up`` and ``late``."""
    follow_up: bool = False
    """Whether it comes after the answer of that request: a start that succeeds
    after it failed (section 8.4). The request has ended before."""
    late: bool = False
    """Whether that request had ended already, without an answer."""
    warnings: tuple[str, ...] = ()
    """What is not as it should be, in sentences for a person."""
    error: DecodeError | None = None

    @property
    def message(self) -> AnyMessage:
        """What the frame carries."""
        return self.frame.message

    @property
    def frame_type(self) -> int:
        """The frame-type code."""
        return self.frame.message.frame_type

    @property
    def sequence(self) -> int:
        """The sequence number as in :class:`Frame`."""
        return self.frame.sequence


class NotServed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A whole frame that is not served: not logged in, or not the sender's to send. Never answered."""

    frame: Frame
    raw: bytes
    time: float
    reason: str
    error: DecodeError | None = None


class Damaged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bytes that are no frame: a wrong checksum, or a stretch that was skipped."""

    error: DecodeError
    time: float

    @property
    def raw(self) -> bytes:
        """The bytes."""
        return self.error.data


class LoginReceived(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A login waits for ``accept_login`` or ``refuse_login``.

    A repetition, while the first one waits, makes no second event: the answer
    goes to the newest. After an accepted login a further one (the pile has
    restarted without its modem) is judged again, and service goes on meanwhile.
    """

    login: LoginRequest
    frame: Frame
    raw: bytes
    time: float
    version: str
    """The version that the login says, or the nearest there is."""
    again: bool = False
    """Whether the pile was logged in on this connection before."""
    warnings: tuple[str, ...] = ()


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The login is accepted; from now on the peer is served."""

    login: LoginRequest
    version: str
    time: float
    again: bool = False


class Answered(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request has its answer."""

    frame: Frame
    raw: bytes
    error: DecodeError | None = None
    """Set where the body of the answer cannot be read."""
    warning: str = ""
    """Set where answer and request do not quite fit, as with a wrong sequence number."""

    @property
    def message(self) -> Any:
        """The answer."""
        return self.frame.message


class TimedOut(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """No answer came in time. It may still come: a ``MessageReceived`` that is ``late``."""

    after: float
    """Seconds waited."""


class ConnectionLost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The connection ended first; whether the peer has acted is not known."""

    reason: str


class Cancelled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The application has lost interest."""


Outcome = Answered | TimedOut | ConnectionLost | Cancelled


class RequestEnded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request has come to its one end."""

    token: int
    request: Message
    outcome: Outcome
    rtt: float
    """Seconds since it was sent."""


class RecordEnded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Uploading a transaction record has come to an end, for now (pile side).

    Confirmed if ``confirmation`` is there: the record may be deleted. Else all
    repetitions went unanswered: the pile keeps it and uploads it again after
    its next login.
    """

    token: int
    record: Message | UnknownMessage
    sent: int
    """How many times, on this connection."""
    confirmation: Any = None
    """The message 0x40."""


class BillingModelReceived(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The pile has its billing model (pile side): a new one, or its own is still right."""

    model: BillingModelResponse | None
    """None: the platform says that the pile's own model is right."""


class HeartbeatMissed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Three heartbeats of one gun in a row did not come (pile side: answers to them)."""

    gun_no: str
    silent_for: float
    """Seconds since the last one."""


class TimeSyncDue(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """It is time for 0x56: after a login, and then daily. Sending it takes a clock,
    which sessions have not."""


class Closing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The session wants the connection closed once the frames taken are sent."""

    reason: CloseReason


class Traced(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One frame, or damage, in either direction; only while ``session.traced`` is set."""

    direction: Direction
    raw: bytes
    frame: Frame | None
    error: DecodeError | None
    time: float


Event = (
    MessageReceived
    | NotServed
    | Damaged
    | LoginReceived
    | LoggedIn
    | RequestEnded
    | RecordEnded
    | BillingModelReceived
    | HeartbeatMissed
    | TimeSyncDue
    | Closing
    | Traced
)
