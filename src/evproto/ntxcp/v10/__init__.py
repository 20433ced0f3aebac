"""ntxcp 1.0: its messages, and the codec for them.

Most of what is known of its payloads is by analogy with OCPP 1.6, which it
was derived from, so the codec is lenient: it keeps what it does not know and
warns of it, hands on actions it has never heard of, and takes members under
the other names they are known by. ``actions`` is the table of actions by name.

Where a peer wants such another name, it is sent as well:
``Codec(v10.dialect.spelled({"dingxGatewayModel": "chargePointModel"}))``.
"""

from __future__ import annotations

from evproto._generated.ntxcp.v10.actions import ACTIONS, PROTOCOL, SPECS
from evproto.ntxcp.v10 import enums, messages
from evproto.ocppj.codec import Codec
from evproto.ocppj.dialect import Dialect

__all__ = ["actions", "codec", "dialect", "enums", "messages"]

_FORM = "FormationViolation"
# With two r, unlike OCPP 1.6.
_OCCURRENCE = "OccurrenceConstraintViolation"

actions = ACTIONS
dialect = Dialect(
    name=PROTOCOL,
    actions=ACTIONS,
    specs=SPECS,
    message_types=frozenset({2, 3, 4}),
    error_codes=frozenset(
        {
            "NotImplemented",
            "NotSupported",
            "InternalError",
            "MessageTypeNotSupported",
            "ProtocolError",
            "SecurityError",
            "FormationViolation",
            "FormatViolation",
            "PropertyConstraintViolation",
            "OccurrenceConstraintViolation",
            "OccurenceConstraintViolation",
            "TypeConstraintViolation",
            "GenericError",
        }
    ),
    keyword_codes={
        "": "PropertyConstraintViolation",
        "required": _OCCURRENCE,
        "minItems": _OCCURRENCE,
        "maxItems": _OCCURRENCE,
        "type": "TypeConstraintViolation",
        **dict.fromkeys(("payload", "additionalProperties", "alias", "duplicate", "errorDescription"), _FORM),
        **dict.fromkeys(("json", "number", "frame", "messageId", "size"), _FORM),
        "messageType": "MessageTypeNotSupported",
        "messageKind": "NotSupported",
        "action": "NotImplemented",
        "response": "GenericError",
        "errorCode": "GenericError",
    },
    ignores_unknown_types=False,
    mode="lenient",
    takes_unknown_actions=True,
)
codec = Codec(dialect)
