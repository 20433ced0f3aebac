"""The fast way of one payload: bytes to message and back, and whether it is valid."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from evproto.ocppj.dialect import CALL_RESULT
from evproto.ocppj.envelopes import Steps
from evproto.ocppj.finite import not_finite
from evproto.ocppj.formats import is_uri, odd_date_time, spell_date_time, unusual_date_time
from evproto.ocppj.paths import reader, rewrite, split_path
from evproto.payloads import CustomDataType, Payload, Shape

__all__ = ["MESSAGE_ID", "REFUSALS", "Part", "encode_json"]

MESSAGE_ID = Annotated[str, msgspec.Meta(min_length=1, max_length=36)]
"""A message id as the fast way takes it: what is longer is looked at with care."""

REFUSALS = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
"""What the JSON decoder raises at bad input; deep nesting and bad UTF-8 are not MsgspecErrors."""


# An integer as it is written itself: nothing is lost on the way.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_BACKSLASH = ord("\\")


class _RefusedError(ValueError):
    """The decoder took it, but the schema has a word it does not know."""


def _enc_hook(value: Any) -> Any:
    if isinstance(value, CustomDataType):
        members = dict(value)
        if (found := not_finite(members)) is not None:
            raise found
        return members
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def _dec_hook(kind: type, value: Any) -> Any:
    if kind is CustomDataType and isinstance(value, dict):
        vendor = value.get("vendorId")
        if isinstance(vendor, str) and len(vendor) <= 255:
            return CustomDataType(value)
    raise ValueError(f"not {kind.__name__}")


encode_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_enc_hook, decimal_format="number").encode
"""A message, or anything else that JSON has a word for, as JSON."""


@functools.lru_cache(maxsize=4096)
def _decoder(kind: type[Payload]) -> Callable[[Any], Any]:
    return msgspec.json.Decoder(kind, dec_hook=_dec_hook).decode


def _test_times(payload: Any, data: bytes) -> None:
    # Escapes could spell such a date-time as well.
    if odd_date_time(data) is not None or (_BACKSLASH in data and b"\\u" in data):
        raise _RefusedError("perhaps a date-time that RFC 3339 does not have")


class Part:
    """Decodes, checks and encodes one payload class."""

    __slots__ = (
        "_read_anything",
        "_read_tenths",
        "_read_times",
        "_read_uris",
        "_special",
        "_timed",
        "action",
        "check",
        "decode",
        "names",
        "part",
        "shape",
        "wire_name",
    )

    def __init__(self, action: str, part: str, shape: Shape, names: Mapping[str, str] | None = None) -> None:
        self.action = action
        self.part = part
        """``request`` or ``response``."""
        self.shape = shape
        self.wire_name = encode_json(action)
        aliases = dict(shape.aliases)
        self.names: Mapping[str, str] = {
            right: alias for right, alias in (names or {}).items() if aliases.get(alias) == right
        }
        """Members that are sent under another name."""
        self._timed = bool(shape.times)
        self._read_times = [reader(path) for path in shape.times]
        self._read_tenths = [reader(path) for path in shape.tenths]
        self._read_anything = [reader(path) for path in shape.anything]
        self._special = bool(shape.anything or shape.sent_as)
        self._read_uris = [reader(path) for path in shape.uris]
        self.decode: Callable[[bytes], Payload] = _decoder(shape.type)
        """The message in bytes, to be checked yet; raises one of :data:`REFUSALS`."""
        self.check: Callable[[Any, bytes], None] | None = None
        """Looks at a message decoded from bytes for what the decoder does not; None if that is nothing.

        It raises ValueError if the message may be invalid; the slow way has to decide."""
        if shape.tenths or shape.uris:
            self.check = self._test
        elif shape.times:
            self.check = _test_times

    def decode_checked(self, data: bytes) -> Payload:
        """The message in bytes, if it is valid; raises one of :data:`REFUSALS`."""
        payload = self.decode(data)
        if self.check is not None:
            self.check(payload, data)
        return payload

    def frame_decoder(self, message_type: int) -> Callable[[bytes], Any]:
        """A decoder of whole frames that hold this payload, to be checked yet.

        One pass over the bytes is nearly twice as fast as two.
        """
        fields: list[tuple[str, Any]] = [("unique_id", MESSAGE_ID), ("payload", self.shape.type)]
        if message_type != CALL_RESULT:
            fields.insert(1, ("action", Literal[self.action]))
        frame = msgspec.defstruct(
            f"{self.shape.type.__name__}Frame",
            fields,
            array_like=True,
            tag=message_type,
            forbid_unknown_fields=True,
            gc=False,
        )
        return msgspec.json.Decoder(frame, dec_hook=_dec_hook).decode

    def _test(self, payload: Any, data: bytes) -> None:
        if self._timed:
            _test_times(payload, data)
        numbers: list[Any] = []
        for read in self._read_tenths:
            read(payload, numbers)
        for number in numbers:
            # The float that is next to a tenth.
            if isinstance(number, float) and (abs(number) > 1e300 or round(number * 10) / 10 != number):
                raise _RefusedError("not a multiple of 0.1")
        texts: list[Any] = []
        for read in self._read_uris:
            read(payload, texts)
        for text in texts:
            if not is_uri(text):
                raise _RefusedError("not a URI")

    def _test_anything(self, payload: Any) -> None:
        """The decoder would not mind the null that the encoder makes of NaN there."""
        values: list[Any] = []
        for read in self._read_anything:
            read(payload, values)
        if (found := not_finite(values)) is not None:
            raise found

    def _prepared(self, payload: Any) -> Any:
        """The same payload, with members that may be a text or an integer as what is to be sent.

        Raises:
            NotFiniteError: a member of any type has a number in it that JSON has not.
        """
        if self._read_anything:
            self._test_anything(payload)
        if not isinstance(payload, Payload):
            return payload
        changed: dict[str, Any] = {}
        for name, kind in self.shape.sent_as:
            value = getattr(payload, name)
            if kind == "integer" and isinstance(value, str) and _INTEGER.fullmatch(value):
                changed[name] = int(value)
            elif kind == "string" and isinstance(value, int) and not isinstance(value, bool):
                changed[name] = str(value)
        return msgspec.structs.replace(payload, **changed) if changed else payload

    def unnamed(self, payload: Any) -> Any:
        """A payload as read from JSON, with members that came under those names under the right ones."""
        if not self.names or not isinstance(payload, dict):
            return payload
        rights = {alias: right for right, alias in self.names.items() if right not in payload}
        return {rights.get(name, name): member for name, member in payload.items()}

    def renamed(self, body: bytes) -> bytes:
        """``body``, which is valid, with members under the names this peer wants."""
        if not self.names:
            return body
        members = msgspec.json.decode(body)
        names = {right: alias for right, alias in self.names.items() if alias not in members}
        return encode_json({names.get(name, name): member for name, member in members.items()})

    def encode(self, payload: Any, digits: int) -> bytes:
        """``payload`` as JSON, its date-times in UTC with at most ``digits`` digits of fraction.

        What has a type is not looked at; raises one of :data:`REFUSALS`, or TypeError.
        """
        if self._special:
            payload = self._prepared(payload)
        body = encode_json(payload)
        if not self._timed or unusual_date_time(body) is None:
            return body
        return self._spelled(payload, body, digits)

    def encode_checked(self, payload: Any, digits: int) -> bytes:
        """The same, if it is valid; raises one of :data:`REFUSALS`, or TypeError."""
        if self._special:
            payload = self._prepared(payload)
        body = encode_json(payload)
        if self._timed:
            if unusual_date_time(body) is None and self.check is _test_times:
                # One look at the bytes does for both: nothing to respell, nothing odd.
                self.decode(body)
                return body
            body = self._spelled(payload, body, digits)
        self.decode_checked(body)
        return body

    def checked_encoder(self, digits: int) -> Callable[[Any], bytes]:
        """:meth:`encode_checked` with these ``digits``, made to measure; it takes this class and no other."""

        def encode_any(payload: Any) -> bytes:
            return self.encode_checked(payload, digits)

        decode = self.decode

        def encode_untimed(payload: Any) -> bytes:
            body = encode_json(payload)
            decode(body)
            return body

        if self._special or self.check not in (None, _test_times):
            return encode_any
        if not self._timed:
            return encode_untimed
        fields = dict(
            zip(self.shape.type.__struct_fields__, self.shape.type.__struct_encode_fields__, strict=True)
        )
        if not all(path in fields for path in self.shape.times):
            return encode_any
        own_times = [(path, b'%b:"' % encode_json(fields[path])) for path in self.shape.times]
        # Where the only one comes first, it always stands at the same place.
        first = self.shape.type.__struct_fields__[0]
        place = 1 + len(own_times[0][1]) if [first] == [name for name, _ in own_times] else 0
        unit = 10 ** (6 - digits)

        def encode_own_times(payload: Any) -> bytes:
            body = encode_json(payload)
            for name, key in own_times:
                moment = getattr(payload, name)
                if moment is None:
                    continue
                if type(moment) is not dt.datetime or moment.tzinfo is not dt.UTC:
                    return encode_any(payload)
                if moment.microsecond:
                    begin = place
                    if not begin:
                        # In a text its quotes would be escaped, but another object may have the same key.
                        if body.count(key) != 1:
                            return encode_any(payload)
                        begin = body.find(key) + len(key)
                    # "YYYY-MM-DDThh:mm:ss.ffffffZ" it is now.
                    kept = begin + (20 + digits if moment.microsecond >= unit else 19)
                    body = body[:kept] + body[begin + 26 :]
            # It has no date-time that was not made here, so the bytes need not be searched for odd ones.
            decode(body)
            return body

        return encode_own_times

    def _spelled(self, payload: Any, body: bytes, digits: int) -> bytes:
        moments: list[Any] = []
        for read in self._read_times:
            read(payload, moments)
        instead: dict[bytes, list[Any]] = {}
        for moment in moments:
            if isinstance(moment, dt.datetime) and moment.tzinfo is not None:
                utc = moment.tzinfo is dt.UTC
                if utc and not moment.microsecond:
                    continue
                native = encode_json(moment)
                if utc:
                    # Already "YYYY-MM-DDThh:mm:ss.ffffffZ": it is only to be cut.
                    most = 21 + digits
                    wanted = native[: most if native[21:most].strip(b"0") else 20] + b'Z"'
                else:
                    wanted = b'"%b"' % spell_date_time(moment, digits).encode()
                if native != wanted:
                    instead.setdefault(native, [wanted, 0])[1] += 1
        for native, (wanted, count) in instead.items():
            if body.count(native) != count:
                # A text elsewhere reads like one of the times and must stay.
                return encode_json(self._with_times_spelled(payload, digits))
            body = body.replace(native, wanted)
        return body

    def _with_times_spelled(self, payload: Any, digits: int) -> Any:
        def spell(moment: Any, steps: Steps) -> Any:
            if isinstance(moment, dt.datetime) and moment.tzinfo is not None:
                return spell_date_time(moment, digits)
            return moment

        for path in self.shape.times:
            payload = rewrite(payload, split_path(path), spell)
        return payload
