"""What piles say, as events: the envelope filled in from frames."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec

from evproto.errors import DecodeError, EvprotoError
from evproto.gateway.events import Event, EventFinding, new_id
from evproto.messages import EncryptedMessage, RawTime, UnknownMessage
from evproto.wire.frame import Frame
from evproto.ykc.codec import Codec
from evproto.ykc.plain import plain_time, to_plain
from evproto.ykc.records import record_key

__all__ = ["message_event", "name_of"]

_KEPT: Final = 32
"""Most findings that travel with an event; a nonsensical record has hundreds."""


def name_of(frame: Frame, codec: Codec) -> str:
    """The name of a frame's message, as in ``transaction_record``; ``unknown`` or ``encrypted`` else."""
    message = frame.message
    if isinstance(message, UnknownMessage):
        return "unknown"
    if isinstance(message, EncryptedMessage):
        return "encrypted"
    return codec.layout(message).name


def message_event(
    *,
    pile: str,
    version: str,
    frame: Frame,
    raw: bytes,
    codec: Codec,
    time: dt.datetime,
    record: bool = False,
    error: DecodeError | None = None,
    warnings: tuple[str, ...] = (),
) -> Event:
    """The event of a frame that came from a pile.

    A body that no layout fits, or that no cipher opens, has no fields: its
    bytes are in ``raw``, and a finding says what is wrong with it.
    """
    message = frame.message
    opaque = isinstance(message, (UnknownMessage, EncryptedMessage))
    findings: list[EventFinding] = []
    if error is not None:
        findings.append(EventFinding(kind="layout", path=error.path, text=str(error)))
    elif isinstance(message, EncryptedMessage):
        findings.append(
            EventFinding(kind="layout", path="", text="the body is encrypted, there is no cipher")
        )
    elif opaque:
        findings.append(EventFinding(kind="layout", path="", text="the layout of the body is unknown"))
    if frame.trailing:
        text = f"{len(frame.trailing)} bytes follow the last field"
        findings.append(EventFinding(kind="layout", path="", text=text, value=frame.trailing.hex().upper()))
    findings += [EventFinding(kind="session", path="", text=warning) for warning in warnings]
    for found in codec.check(frame) if not opaque else ():
        if len(findings) >= _KEPT:
            break
        findings.append(
            EventFinding(
                kind=found.kind,
                path=found.path,
                text=found.text,
                value=_plain(found.value),
                limit=_plain(found.limit),
            )
        )
    key = digest = None
    if record:
        known = record_key(raw, message)
        digest = known.digest
        # Without a number, repetitions are still the same bytes.
        key = known.transaction_no or f"digest:{digest}"
    return Event(
        id=new_id(),
        time=time,
        protocol=f"ykc{version}",
        charger=pile,
        kind="record" if record else "message",
        direction="from_charger",
        code=f"0x{message.frame_type:02X}",
        name=name_of(frame, codec),
        sequence=frame.sequence,
        fields=None if opaque else to_plain(frame, codec)["fields"],
        raw=raw.hex().upper(),
        findings=tuple(findings),
        key=key,
        digest=digest,
    )


def _plain(value: Any) -> Any:
    """A value of a finding, as JSON can carry it."""
    if value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (dt.datetime, RawTime)):
        return plain_time(value)
    if isinstance(value, bytes):
        return value.hex().upper()
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError, EvprotoError):
        return repr(value)
