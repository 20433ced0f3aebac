"""OCPP-J: the frames that OCPP and protocols like it travel in.

Nothing here knows an action by name. A :class:`Dialect` says what a version
has; :class:`Codec` turns its frames into envelopes with typed payloads and
back, and :class:`RpcSession` knows who may say what when on one connection
(its events are in :mod:`evproto.ocppj.events`). The dialects themselves are in
:mod:`evproto.ocpp` and :mod:`evproto.ntxcp`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evproto.ocppj.codec import Codec, Pending
from evproto.ocppj.dialect import Dialect, Mode
from evproto.ocppj.envelopes import (
    Call,
    CallError,
    CallResult,
    CallResultError,
    Deviation,
    Envelope,
    Send,
    UnknownMember,
)
from evproto.ocppj.errors import (
    FrameTooLargeError,
    InvalidMessageError,
    MalformedFrameError,
    MessageError,
    MessageTypeError,
    PayloadError,
    UnexpectedResponseError,
    UnknownActionError,
)

if TYPE_CHECKING:
    from evproto.ocppj.lenient import Policy as Policy
    from evproto.ocppj.lenient import Repair as Repair
    from evproto.ocppj.lenient import Verdict as Verdict
    from evproto.ocppj.session import RpcSession as RpcSession

__all__ = [
    "Call",
    "CallError",
    "CallResult",
    "CallResultError",
    "Codec",
    "Deviation",
    "Dialect",
    "Envelope",
    "FrameTooLargeError",
    "InvalidMessageError",
    "MalformedFrameError",
    "MessageError",
    "MessageTypeError",
    "Mode",
    "PayloadError",
    "Pending",
    "Policy",
    "Repair",
    "RpcSession",
    "Send",
    "UnexpectedResponseError",
    "UnknownActionError",
    "UnknownMember",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    # Strict decoding does not pay for what only lenient decoding and connections need.
    if name in ("Policy", "Repair", "Verdict"):
        return getattr(importlib.import_module("evproto.ocppj.lenient"), name)
    if name == "RpcSession":
        return importlib.import_module("evproto.ocppj.session").RpcSession
    raise AttributeError(f"module 'evproto.ocppj' has no attribute {name!r}")
