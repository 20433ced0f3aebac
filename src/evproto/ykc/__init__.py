"""YKC (云快充), the protocol between Chinese charging piles and their platform.

>>> from evproto import ykc
>>> codec = ykc.Codec("1.6")
>>> frame = codec.decode(bytes.fromhex("680C000000025503141278230500DA4C"))
>>> frame.message
LoginResponse(pile_id='55031412782305', result=<LoginResult.SUCCESS: 0>)
>>> codec.encode(frame).hex().upper()
'680C000000025503141278230500DA4C'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evproto.messages import (
    BEIJING,
    DERIVED,
    EncryptedMessage,
    FlaggedZone,
    Message,
    OpenIntEnum,
    Part,
    RawTime,
    Request,
    UnknownMessage,
)
from evproto.wire.checksum import crc16_modbus
from evproto.wire.engine import Cipher
from evproto.wire.frame import AnyMessage, Frame
from evproto.wire.framing import Piece
from evproto.wire.table import Direction, Field, Kind, Layout
from evproto.ykc import enums, messages, tables
from evproto.ykc.codec import VERSIONS, Codec, StreamDecoder
from evproto.ykc.dialect import Dialect
from evproto.ykc.exact import ExactFields, exact
from evproto.ykc.findings import Finding

if TYPE_CHECKING:
    from evproto.ykc import layouts as layouts
    from evproto.ykc import records as records
    from evproto.ykc import session as session
    from evproto.ykc import tariff as tariff
    from evproto.ykc import timings as timings
    from evproto.ykc import transactions as transactions

__all__ = [
    "BEIJING",
    "DERIVED",
    "VERSIONS",
    "AnyMessage",
    "Cipher",
    "Codec",
    "Dialect",
    "Direction",
    "EncryptedMessage",
    "ExactFields",
    "Field",
    "Finding",
    "FlaggedZone",
    "Frame",
    "Kind",
    "Layout",
    "Message",
    "OpenIntEnum",
    "Part",
    "Piece",
    "RawTime",
    "Request",
    "StreamDecoder",
    "UnknownMessage",
    "crc16_modbus",
    "enums",
    "exact",
    "layouts",
    "messages",
    "records",
    "session",
    "tables",
    "tariff",
    "timings",
    "transactions",
]


def __getattr__(name: str) -> Any:
    # Not imported until somebody asks for it: construct, and what only servers use.
    if name in ("layouts", "records", "session", "tariff", "timings", "transactions"):
        return importlib.import_module(f"evproto.ykc.{name}")
    raise AttributeError(f"module 'evproto.ykc' has no attribute {name!r}")
