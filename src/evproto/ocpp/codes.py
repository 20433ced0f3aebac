"""The error codes of OCPP-J, by version, and which of them answers what.

1.6-J: table 7, in the spelling that errata 5.1 and 5.2 say to keep. 2.0.1
and 2.1: part 4, section 4.3.
"""

from __future__ import annotations

__all__ = ["CODES_1_6", "CODES_2", "KEYWORDS_1_6", "KEYWORDS_2"]

_COMMON = {
    "NotImplemented",
    "NotSupported",
    "InternalError",
    "ProtocolError",
    "SecurityError",
    "PropertyConstraintViolation",
    "TypeConstraintViolation",
    "GenericError",
}
CODES_1_6 = frozenset(_COMMON | {"FormationViolation", "OccurenceConstraintViolation"})
CODES_2 = frozenset(
    _COMMON
    | {
        "FormatViolation",
        "OccurrenceConstraintViolation",
        "MessageTypeNotSupported",
        "RpcFrameworkError",
    }
)


def _keywords(form: str, occurrence: str, frame: str, message_type: str) -> dict[str, str]:
    """The code for each keyword of a deviation; see :class:`evproto.ocppj.Deviation`."""
    return {
        "": "PropertyConstraintViolation",
        "required": occurrence,
        "minItems": occurrence,
        "maxItems": occurrence,
        "type": "TypeConstraintViolation",
        "payload": form,
        "additionalProperties": form,
        "alias": form,
        "duplicate": form,
        "json": frame,
        "number": frame,
        "frame": frame,
        "messageId": frame,
        "size": frame,
        "messageType": message_type,
        "messageKind": "NotSupported",
        "action": "NotImplemented",
        "response": "GenericError",
        "errorCode": "GenericError",
        "errorDescription": form,
    }


KEYWORDS_1_6 = _keywords(
    "FormationViolation", "OccurenceConstraintViolation", "FormationViolation", "NotSupported"
)
KEYWORDS_2 = _keywords(
    "FormatViolation", "OccurrenceConstraintViolation", "RpcFrameworkError", "MessageTypeNotSupported"
)
