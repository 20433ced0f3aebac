"""What travels between two OCPP-J peers: CALL, CALLRESULT, CALLERROR, CALLRESULTERROR, SEND.

OCPP-J 1.6 section 4.2; OCPP 2.0.1 and 2.1 part 4, section 4.2.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from evproto.messages import Record
from evproto.payloads import Notification, Request, Response

__all__ = [
    "Call",
    "CallError",
    "CallResult",
    "CallResultError",
    "Deviation",
    "Envelope",
    "Send",
    "UnknownMember",
]

Steps = tuple[str | int, ...]

P_co = TypeVar("P_co", bound="Request[Any] | dict[str, Any]", covariant=True)
R_co = TypeVar("R_co", bound="Response | dict[str, Any]", covariant=True)
N_co = TypeVar("N_co", bound="Notification | dict[str, Any]", covariant=True)


class Deviation(Record, frozen=True, kw_only=True, gc=False):
    """One place where a message is not what the protocol says.

    In lenient mode these are an envelope's warnings; in strict mode the first
    of them makes the error.
    """

    keyword: str
    """What is broken, in words of JSON Schema: ``required``, ``type``, ``enum``, ``maxLength``,
    ``minItems``, ``maxItems``, ``minimum``, ``maximum``, ``multipleOf``, ``format``,
    ``additionalProperties``; beside these ``alias`` (a member under another name), ``duplicate``
    (a member given twice), ``number`` (a number out of range), and for the frame ``json``,
    ``frame``, ``messageId``, ``messageType``, ``action``, ``errorCode``, ``errorDescription``,
    ``size``, ``response``."""
    code: str
    """The OCPP error code, spelled as this version spells it."""
    path: str
    """The member concerned, as in ``meterValue[0].timestamp``; empty for the payload itself."""
    message: str
    """One sentence for a person."""
    action: str = ""
    value: Any = None
    """The value found."""
    limit: Any = None
    """What the protocol allows."""
    steps: Steps = ()
    """``path`` in pieces, names as on the wire."""


class UnknownMember(Record, frozen=True, kw_only=True, gc=False):
    """A member the protocol does not have, kept so that it survives a round trip."""

    steps: Steps
    """The way to the object that had it, names as on the wire; empty for the payload."""
    name: str
    value: Any


class _Answerable(Record, frozen=True, kw_only=True, gc=False):
    unique_id: str
    """The message id, at most 36 characters."""


class Call(_Answerable, Generic[P_co], frozen=True, kw_only=True, gc=False):
    """A request. ``payload`` is a dict in mode "off" and of actions added by schema."""

    payload: P_co
    action: str = ""
    """Taken from the payload's class where it is left out."""
    warnings: tuple[Deviation, ...] = ()
    unknown: tuple[UnknownMember, ...] = ()
    data: Any = None
    """The typed ``data`` of a data transfer that an extension describes."""

    def __post_init__(self) -> None:
        if not self.action:
            msgspec.structs.force_setattr(self, "action", getattr(self.payload, "action_name", ""))


class CallResult(_Answerable, Generic[R_co], frozen=True, kw_only=True, gc=False):
    """The answer to a request."""

    payload: R_co
    action: str = ""
    """Taken from the payload's class where it is left out."""
    warnings: tuple[Deviation, ...] = ()
    unknown: tuple[UnknownMember, ...] = ()
    data: Any = None
    """The typed ``data`` of a data transfer that an extension describes."""

    def __post_init__(self) -> None:
        if not self.action:
            msgspec.structs.force_setattr(self, "action", getattr(self.payload, "action_name", ""))


class Send(_Answerable, Generic[N_co], frozen=True, kw_only=True, gc=False):
    """A message that is never answered (OCPP 2.1)."""

    payload: N_co
    action: str = ""
    """Taken from the payload's class where it is left out."""
    warnings: tuple[Deviation, ...] = ()
    unknown: tuple[UnknownMember, ...] = ()

    def __post_init__(self) -> None:
        if not self.action:
            msgspec.structs.force_setattr(self, "action", getattr(self.payload, "action_name", ""))


class CallError(_Answerable, frozen=True, kw_only=True, gc=False):
    """The answer to a request that could not be served."""

    error_code: str
    error_description: str = ""
    """At most 255 characters."""
    error_details: dict[str, Any] = msgspec.field(default_factory=dict)
    action: str = ""
    """The action of the request, where it is known; not on the wire."""
    warnings: tuple[Deviation, ...] = ()


class CallResultError(_Answerable, frozen=True, kw_only=True, gc=False):
    """Tells the sender of an answer that it was wrong (OCPP 2.1)."""

    error_code: str
    error_description: str = ""
    """At most 255 characters."""
    error_details: dict[str, Any] = msgspec.field(default_factory=dict)
    action: str = ""
    """The action of the answer, where it is known; not on the wire."""
    warnings: tuple[Deviation, ...] = ()


Envelope = Call[Any] | CallResult[Any] | CallError | CallResultError | Send[Any]
