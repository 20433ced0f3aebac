"""The arrays of OCPP-J, read fast where they are right and with care where not."""

from __future__ import annotations

import dataclasses
from typing import Any

from evproto.ocppj.deviations import deviation
from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT, CALL_RESULT_ERROR, SEND, Dialect
from evproto.ocppj.envelopes import Deviation
from evproto.ocppj.errors import UNREADABLE_ID, MalformedFrameError, MessageTypeError
from evproto.ocppj.reading import UnreadableError, read_json, sniff_message_type

__all__ = ["SlowFrame", "read_slowly"]


@dataclasses.dataclass(slots=True)
class SlowFrame:
    """A frame whose JSON was readable, with its elements checked one by one."""

    message_type: int
    unique_id: str
    action: str = ""
    payload: Any = None
    error_code: str = ""
    error_description: str = ""
    error_details: Any = None
    warnings: list[Deviation] = dataclasses.field(default_factory=list)


_ELEMENTS = {
    CALL: ("unique_id", "action", "payload"),
    SEND: ("unique_id", "action", "payload"),
    CALL_RESULT: ("unique_id", "payload"),
    CALL_ERROR: ("unique_id", "error_code", "error_description", "error_details"),
    CALL_RESULT_ERROR: ("unique_id", "error_code", "error_description", "error_details"),
}
_NAMES = {
    CALL: "CALL",
    CALL_RESULT: "CALLRESULT",
    CALL_ERROR: "CALLERROR",
    CALL_RESULT_ERROR: "CALLRESULTERROR",
    SEND: "SEND",
}


def read_slowly(data: bytes, dialect: Dialect, *, tolerant: bool) -> SlowFrame:
    """The elements of a frame; ``tolerant`` keeps what is only unusual and warns of it.

    Raises:
        MalformedFrameError, MessageTypeError: it is not a frame of ``dialect``.
    """

    def malformed(
        keyword: str, note: str, unique_id: str = UNREADABLE_ID, kind: int | None = None, value: Any = None
    ) -> MalformedFrameError:
        found = deviation(dialect, keyword, value=value, note=note)
        return MalformedFrameError(
            (found,), dialect=dialect, unique_id=unique_id, message_type=kind, data=data
        )

    try:
        frame = read_json(data)
    except UnreadableError as error:
        kind = sniff_message_type(data)
        raise malformed(error.keyword, f"the frame {error.note}", kind=kind) from None
    if not isinstance(frame, list):
        raise malformed("frame", "the frame is not an array")
    if not frame or not isinstance(frame[0], int) or isinstance(frame[0], bool):
        raise malformed("frame", "the frame does not begin with a message type")
    kind = frame[0]
    known = kind in dialect.message_types
    readable = len(frame) > 1 and isinstance(frame[1], str)
    if not known:
        found = deviation(
            dialect, "messageType", value=kind, note=f"{dialect.name} has no message type {kind}"
        )
        raise MessageTypeError(
            (found,),
            dialect=dialect,
            unique_id=frame[1] if readable else UNREADABLE_ID,
            message_type=kind,
            data=data,
        )
    name = _NAMES[kind]
    if not readable:
        raise malformed("messageId", f"the {name} has no message id that is a text", kind=kind)
    unique_id: str = frame[1]
    made = SlowFrame(message_type=kind, unique_id=unique_id)

    def unusual(keyword: str, note: str, value: Any = None) -> None:
        if not tolerant:
            raise malformed(keyword, note, unique_id, kind, value)
        made.warnings.append(deviation(dialect, keyword, value=value, note=note))

    if not unique_id:
        unusual("messageId", f"the message id of the {name} is empty")
    if len(unique_id) > dialect.id_length:
        note = f"the message id has {len(unique_id)} characters, at most {dialect.id_length} are allowed"
        unusual("messageId", note, unique_id)
    wanted = _ELEMENTS[kind]
    found_elements = frame[1:]
    if len(found_elements) > len(wanted):
        unusual("frame", f"the {name} has {len(frame)} elements, not {len(wanted) + 1}")
    if len(found_elements) < len(wanted):
        note = f"the {name} has {len(frame)} elements, not {len(wanted) + 1}"
        if kind not in (CALL_ERROR, CALL_RESULT_ERROR) or len(found_elements) < 2:
            raise malformed("frame", note, unique_id, kind)
        unusual("frame", note)
    for element, value in zip(wanted, found_elements, strict=False):
        if element in ("action", "error_code", "error_description") and not isinstance(value, str):
            raise malformed("frame", f"the {element} of the {name} is not a text", unique_id, kind)
        setattr(made, element, value)
    if kind in (CALL_ERROR, CALL_RESULT_ERROR):
        if len(made.error_description) > dialect.description_length:
            length, most = len(made.error_description), dialect.description_length
            unusual(
                "errorDescription", f"the description has {length} characters, at most {most} are allowed"
            )
        if not isinstance(made.error_details, dict):
            if len(found_elements) == len(wanted):
                unusual("frame", f"the details of the {name} are not an object")
            made.error_details = {}
    return made
