"""The pages and objects that the API answers with."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from evproto.gateway.audit import AuditEntry

__all__ = [
    "AuditPage",
    "ChargerPage",
    "DeadLetterView",
    "DeadPage",
    "FramePage",
    "FrameView",
    "Health",
    "Readiness",
]


class Health(msgspec.Struct, kw_only=True):
    """The process runs."""

    status: str = "ok"


class Readiness(msgspec.Struct, kw_only=True):
    """Whether chargers and callers should be sent here."""

    ready: bool
    problems: Annotated[list[str], Meta(description="what is wrong, in sentences")]


class ChargerPage(msgspec.Struct, kw_only=True):
    """Chargers, by identity."""

    items: list[Any]
    next: Annotated[
        str | None, Meta(description="what to give as after for the next page; null: this is the last")
    ]


class FrameView(msgspec.Struct, kw_only=True):
    """A frame that a charger sent or was sent."""

    time: dt.datetime
    direction: Annotated[str, Meta(description="from_charger or to_charger")]
    code: Annotated[str, Meta(description="the protocol's code, as in 0x13; empty if it is no frame")]
    name: Annotated[str, Meta(description="name of the message; empty if it is no frame")]
    sequence: int | str | None
    fields: dict[str, Any] | None
    raw: Annotated[str, Meta(description="the bytes in hex, ** for those that are hidden")]
    error: Annotated[str, Meta(description="what is wrong with it; empty if nothing is")]


class FramePage(msgspec.Struct, kw_only=True):
    """The last frames of a charger, the newest last."""

    items: list[Any]


class AuditPage(msgspec.Struct, kw_only=True):
    """Lines of the audit log, the newest first."""

    items: list[AuditEntry]
    next: Annotated[
        int | None, Meta(description="what to give as before for the next page; null: this is the last")
    ]


class DeadLetterView(msgspec.Struct, kw_only=True):
    """An event that a receiver does not get any more."""

    id: Annotated[str, Meta(description="the id of the event")]
    charger: str
    sink: Annotated[str, Meta(description="the receiver")]
    reason: Annotated[str, Meta(description="what the receiver said last")]
    attempts: int
    died: dt.datetime
    event: Annotated[msgspec.Raw, Meta(description="the event, see /schemas/event.json")]


class DeadPage(msgspec.Struct, kw_only=True):
    """Dead letters, the oldest first."""

    items: list[DeadLetterView]
