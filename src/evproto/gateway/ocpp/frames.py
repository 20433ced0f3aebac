"""Frames of OCPP and ntxcp in the envelope, with and without what is to be hidden."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from evproto.errors import EncodeError
from evproto.gateway.events import Event, EventFinding, Kind, moment, new_id
from evproto.gateway.ocpp.known import Heard
from evproto.ocppj import Call, CallResult, Codec, Deviation, Dialect, MessageError, Send
from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT, CALL_RESULT_ERROR, SEND
from evproto.ocppj.redact import Memory, Redactor

__all__ = [
    "RECORDS",
    "FrameSighting",
    "answer_name",
    "broken_places",
    "event_name",
    "fields_of",
    "findings_of",
    "payload_of",
    "redactor_of",
    "show_frame",
    "shown_payload",
    "shown_text",
]

RECORDS: Final = frozenset({"StartTransaction", "StopTransaction", "TransactionEvent"})
"""The actions that are billed by."""
_KEPT: Final = 32
"""Most findings that travel with an event."""
_NAME: Final = 50
"""Most characters of a name that no protocol knows."""
_AROUND: Final = frozenset({"frame", "messageId"})
"""What may be wrong with a frame beside its payload (:class:`evproto.ocppj.Deviation`)."""
_PAYLOAD: Final = {CALL: 3, SEND: 3, CALL_RESULT: 2}


def event_name(kind: int, action: str) -> str:
    """What a message is called in events: ``Reset``, its answer ``ResetResponse`` or ``ResetError``."""
    action = action[:_NAME]
    if kind in (CALL, SEND):
        return action
    if kind == CALL_RESULT:
        return answer_name(action)
    if kind == CALL_ERROR:
        return f"{action}Error"
    return f"{action}ResponseError" if kind == CALL_RESULT_ERROR else ""


def answer_name(action: str) -> str:
    """What the CALLRESULT of an action is called."""
    return f"{action}Response"


def payload_of(raw: bytes | str) -> dict[str, Any]:
    """The payload of a frame, as it was sent; empty where there is none that is an object."""
    try:
        frame = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    place = _PAYLOAD.get(frame[0]) if isinstance(frame, list) and frame else None
    payload = frame[place] if place is not None and len(frame) > place else None
    return payload if isinstance(payload, dict) else {}


def fields_of(
    envelope: Call[Any] | CallResult[Any] | Send[Any], raw: bytes | str, codec: Codec
) -> dict[str, Any]:
    """The payload under the names of the protocol; what was not right in it is put right as the codec did.

    What was not right with the frame around it changes nothing in it.
    """
    if isinstance(envelope.payload, dict):
        return envelope.payload
    if raw and all(found.keyword in _AROUND for found in envelope.warnings):
        return payload_of(raw)
    try:
        return payload_of(codec.encode(envelope, "lenient"))
    except EncodeError:
        return payload_of(raw)


def findings_of(deviations: Iterable[Deviation]) -> tuple[EventFinding, ...]:
    """What a codec found, for an event."""
    found = [
        EventFinding(
            kind=one.keyword,
            path=one.path,
            text=one.message,
            value=_plain(one.value),
            limit=_plain(one.limit),
        )
        for one, _ in zip(deviations, range(_KEPT), strict=False)
    ]
    return tuple(found)


def _plain(value: Any) -> Any:
    """What JSON can carry, and short."""
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, int) or abs(value) < 1 << 53 else str(value)
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


_REDACTORS: Final[dict[str, Redactor]] = {}


def redactor_of(dialect: Dialect) -> Redactor:
    """What hides what is to be hidden in the frames of a version."""
    found = _REDACTORS.get(dialect.name)
    if found is None:
        found = _REDACTORS[dialect.name] = Redactor(dialect)
    return found


def shown_payload(dialect: Dialect, kind: int, action: str, payload: dict[str, Any]) -> dict[str, Any]:
    """A payload without what is to be hidden; ``kind`` is CALL, SEND or CALL_RESULT.

    Empty if it is too deep to look through.
    """
    frame = [kind, "0", payload] if kind == CALL_RESULT else [kind, "0", action, payload]
    value = redactor_of(dialect).frame("", frame, action).value
    shown: dict[str, Any] = {} if value is None else value[-1]
    return shown


def shown_text(text: str, dialect: Dialect, action: str, payload: dict[str, Any]) -> str:
    """What a charger says of a request with this payload, without what is to be hidden in that."""
    needles = redactor_of(dialect).frame("", [CALL, "0", action, payload], action).needles
    return Memory().context(text, needles)


def broken_places(error: MessageError) -> str:
    """What is wrong with a payload, without its values."""
    places = dict.fromkeys(f"{one.path or 'the payload'} breaks {one.keyword}" for one in error.deviations)
    return ", ".join(places)


def show_frame(heard: Heard, dialect: Dialect, *, reveal: bool) -> dict[str, Any]:
    """A frame as the API shows it; without cards, certificates, passwords and the like unless ``reveal``."""
    cut = heard.size > len(heard.data)
    text = heard.data.decode("utf-8", "replace")
    value: Any = None
    error = f"of {heard.size} bytes, the first {len(heard.data)} were kept" if cut else ""
    if not cut:
        try:
            value = msgspec.json.decode(heard.data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            error = "it is not JSON"
        else:
            if not isinstance(value, list) or not value:
                error = "it is not a frame"
    if not reveal:
        redacted = redactor_of(dialect).frame(text, value, heard.action)
        value, text = redacted.value, redacted.raw
    action = heard.action if reveal or heard.action in dialect.actions else "unknown" if heard.action else ""
    out: dict[str, Any] = {
        "time": moment(heard.time),
        "direction": "from_charger" if heard.received else "to_charger",
        "code": "",
        "name": event_name(heard.kind, action),
        "sequence": None,
        "fields": None,
        "raw": text,
        "error": error,
    }
    if isinstance(value, list) and len(value) > 1 and not error:
        out["sequence"] = value[1] if isinstance(value[1], str) else None
        out["fields"] = _fields(value, heard.kind)
        if heard.kind == 0:
            out["error"] = "it is not a frame"
    return out


def _fields(frame: list[Any], kind: int) -> dict[str, Any] | None:
    place = _PAYLOAD.get(kind)
    if place is not None:
        payload = frame[place] if len(frame) > place else None
        return payload if isinstance(payload, dict) else None
    if kind in (CALL_ERROR, CALL_RESULT_ERROR):
        names = ("errorCode", "errorDescription", "errorDetails")
        return dict(zip(names, frame[2:5], strict=False))
    return None


class FrameSighting:
    """A frame of a charger, in either direction."""

    __slots__ = ("_dialect", "_event", "_heard", "charger")

    def __init__(self, charger: str, heard: Heard, dialect: Dialect) -> None:
        self.charger = charger
        self._heard = heard
        self._dialect = dialect
        self._event: Event | None = None

    @property
    def name(self) -> str:
        """See :class:`evproto.gateway.adapter.Sighting`."""
        action = self._heard.action
        return event_name(
            self._heard.kind, action if action in self._dialect.actions or not action else "unknown"
        )

    def event(self) -> Event:
        """See :class:`evproto.gateway.adapter.Sighting`."""
        if self._event is None:
            self._event = self._make()
        return self._event

    def _make(self) -> Event:
        heard = self._heard
        shown = show_frame(heard, self._dialect, reveal=False)
        kind: Kind = "message" if heard.received else "command"
        findings: tuple[EventFinding, ...] = ()
        if shown["error"]:
            kind = "error"
            findings = (EventFinding(kind="frame", path="", text=shown["error"]),)
        elif heard.received and heard.kind == CALL and heard.action in RECORDS:
            kind = "record"
        return Event(
            id=new_id(heard.time),
            time=shown["time"],
            protocol=self._dialect.name,
            charger=self.charger,
            kind=kind,
            direction=shown["direction"],
            name=shown["name"],
            sequence=shown["sequence"],
            fields=shown["fields"],
            raw=shown["raw"],
            findings=findings,
        )
