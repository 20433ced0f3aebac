"""OCPP 2.0.1: its messages, and the codec for them.

``codec`` is strict; ``Codec(dialect, mode="lenient")`` makes another one.
``actions`` is the table of actions by name.
"""

from __future__ import annotations

from evproto._generated.ocpp.v201.actions import ACTIONS, PROTOCOL, SPECS
from evproto.ocpp.codes import CODES_2, KEYWORDS_2
from evproto.ocpp.v201 import enums, messages
from evproto.ocppj.codec import Codec
from evproto.ocppj.dialect import Dialect

__all__ = ["actions", "codec", "dialect", "enums", "messages"]

actions = ACTIONS
dialect = Dialect(
    name=PROTOCOL,
    actions=ACTIONS,
    specs=SPECS,
    message_types=frozenset({2, 3, 4}),
    error_codes=CODES_2,
    keyword_codes=KEYWORDS_2,
    ignores_unknown_types=False,
)
codec = Codec(dialect)
