"""Captured frames without cards, VINs and passwords; what is left can still be decoded."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections import OrderedDict
from typing import Any, Final

from evproto.errors import DecodeError, EvprotoError, SkippedBytesError
from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT
from evproto.ocppj.redact import Memory, Redactor, mask
from evproto.wire.checksum import crc16_modbus
from evproto.ykc.codec import Codec
from evproto.ykc.redact import hidden_in, hidden_in_bad

__all__ = ["Hiding", "HidingError"]

_VERSIONS: Final = {
    "ocpp1.6": "evproto.ocpp.v16",
    "ocpp2.0.1": "evproto.ocpp.v201",
    "ocpp2.1": "evproto.ocpp.v21",
    "ntxcp1.0": "evproto.ntxcp.v10",
}
_CALLS: Final = 20_000
"""Calls whose answers are waited for, of all chargers."""
_NEEDLES: Final = 100


class HidingError(EvprotoError):
    """What is to be hidden in a frame is not known."""


class Hiding:
    """Hides one frame after the other; an answer is known by the call before it."""

    def __init__(self) -> None:
        self._codecs: dict[str, Codec] = {}
        self._redactors: dict[str, Redactor] = {}
        self._memory = Memory()
        self._calls: OrderedDict[tuple[str, bool, str], tuple[str, tuple[str, ...]]] = OrderedDict()

    def frame(self, protocol: str, charger: str, from_charger: bool, data: bytes) -> tuple[bytes, bool]:
        """A frame as it may be written down, and whether something was hidden in it.

        Raises:
            HidingError: nobody knows what the protocol would have to hide.
        """
        if protocol.startswith("ykc"):
            hidden = self._pile(protocol.removeprefix("ykc"), data)
        elif protocol in _VERSIONS:
            hidden = self._station(protocol, charger, from_charger, data)
        else:
            raise HidingError(f"what is to be hidden of {protocol} is not known")
        return hidden, hidden != data

    def _pile(self, version: str, data: bytes) -> bytes:
        """Zeros in place of what is hidden, and a checksum that is right for them."""
        codec = self._codecs.get(version)
        if codec is None:
            codec = self._codecs[version] = Codec(version, checksum="either")
        try:
            positions = hidden_in(codec.decode(data), data, codec).positions
        except DecodeError as error:
            positions = hidden_in_bad(data, codec, skipped=isinstance(error, SkippedBytesError))
        except EvprotoError:
            positions = hidden_in_bad(data, codec, skipped=False)
        if not positions:
            return data
        out = bytes(0 if at in positions else byte for at, byte in enumerate(data))
        if len(out) > 4:
            out = out[:-2] + crc16_modbus(out[2:-2]).to_bytes(2, "little")
        return out

    def _station(self, protocol: str, charger: str, from_charger: bool, data: bytes) -> bytes:
        redactor = self._redactors.get(protocol)
        if redactor is None:
            redactor = Redactor(importlib.import_module(_VERSIONS[protocol]).dialect)
            self._redactors[protocol] = redactor
        text = data.decode("utf-8", "replace")
        value: Any = None
        doubled = False

        def members(found: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal doubled
            made = dict(found)
            doubled = doubled or len(made) < len(found)
            return made

        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(text, object_pairs_hook=members)
        kind, unique_id, action = 0, "", ""
        if isinstance(value, list) and len(value) > 2 and isinstance(value[1], str):
            kind, unique_id = value[0], value[1]
        if kind in (CALL_RESULT, CALL_ERROR):
            action, needles = self._calls.pop((charger, not from_charger, unique_id), ("", ()))
            self._memory.add(needles)
        redacted = redactor.frame(text, value, action)
        if kind == CALL and isinstance(value[2], str):
            self._calls[charger, from_charger, unique_id] = value[2], redacted.needles[:_NEEDLES]
            if len(self._calls) > _CALLS:
                self._calls.popitem(last=False)
        self._memory.add(redacted.needles)
        if redacted.value is None:
            return str(self._memory.mask(mask(redacted.text, redacted.needles))).encode()
        shown = self._memory.mask(redacted.value)
        if shown == value and not doubled:
            # As it was sent: of the same content in another spelling nothing is gained.
            return data
        # Of a member that is given twice, its bytes hold what neither the value nor the redactor has seen.
        return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()
