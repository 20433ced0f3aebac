"""Frames as plain data that JSON can hold, and back, losing nothing.

A frame becomes::

    {"name": "gun_report", "frame_type": "0x13", "direction": "pile_to_platform",
     "sequence": 7, "encryption": 0, "fields": {...}}

with ``"trailing"`` (hex) and ``"checksum"`` (``"swapped"`` or ``"wrong"``)
where there is something to say. In ``fields``:

* numbers are numbers, in the unit of the field; BCD and text are text;
* codes are ``{"code": 3, "name": "charging"}``, the name ``null`` where the
  table has none;
* opaque bytes are upper-case hex, in wire order;
* times are ISO 8601 with offset and milliseconds; with flag bits
  ``{"time": ..., "flags": 64}`` (see :class:`~evproto.messages.FlaggedZone`);
  ``{"raw": hex}`` where the bytes name no moment;
* bit fields are objects, groups lists of objects;
* frames without a layout, and encrypted ones, are called ``"unknown"`` and
  ``"encrypted"`` and have one field, ``"body"``, in hex.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Set
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from evproto.errors import EncodeError, FieldError, UnknownMessageError
from evproto.messages import EncryptedMessage, FlaggedZone, Message, OpenIntEnum, RawTime, UnknownMessage
from evproto.wire.frame import PLAIN, TRIPLE_DES, AnyMessage, Frame
from evproto.wire.table import Direction, Field, Kind, Layout
from evproto.ykc.codec import Codec

__all__ = ["ENCRYPTED", "KEYS", "UNKNOWN", "from_plain", "plain_time", "to_plain"]

UNKNOWN: Final = "unknown"
ENCRYPTED: Final = "encrypted"
KEYS: Final = (
    "name",
    "frame_type",
    "direction",
    "sequence",
    "encryption",
    "fields",
    "trailing",
    "checksum",
)
"""Keys that a plain frame can have."""

_FRAME_KEYS: Final = frozenset((*KEYS, "redacted"))
Plain = dict[str, Any]
_Convert = Callable[[Any], Any]
_Restore = Callable[[Any, str, dt.tzinfo], Any]
_MISSING: Final = object()
_DIRECTIONS: Final = {direction: direction.name.lower() for direction in Direction}


# Message to plain


def to_plain(message: Frame | AnyMessage, codec: Codec) -> Plain:
    """The plain form of a frame, or of a message (then without sequence and encryption).

    Raises:
        UnknownMessageError: it is not a message of ``codec``.
    """
    if isinstance(message, Frame):
        frame, message = message, message.message
        out = _head(message, codec)
        out["sequence"] = frame.sequence
        out["encryption"] = frame.encryption
        out["fields"] = _fields(message, codec)
        if frame.trailing:
            out["trailing"] = frame.trailing.hex().upper()
        if frame.checksum != "ok":
            out["checksum"] = frame.checksum
        return out
    return {**_head(message, codec), "fields": _fields(message, codec)}


def _head(message: AnyMessage, codec: Codec) -> Plain:
    if isinstance(message, Message):
        layout: Layout | None = codec.layout(message)
        name = codec.layout(message).name
    else:
        layout = next(iter(codec.layouts.get(message.frame_type, ())), None)
        name = ENCRYPTED if isinstance(message, EncryptedMessage) else UNKNOWN
    return {
        "name": name,
        "frame_type": f"0x{message.frame_type:02X}",
        "direction": None if layout is None else _DIRECTIONS[layout.direction],
    }


def _fields(message: AnyMessage, codec: Codec) -> Plain:
    if isinstance(message, (UnknownMessage, EncryptedMessage)):
        return {"body": message.body.hex().upper()}
    columns = _written(codec).get(type(message))
    if columns is None:
        columns = _written(codec)[type(message)] = _columns(codec.layout(message).fields)
    return _write(message, columns)


# Made on first use, kept as long as the codec.
_WRITTEN: WeakKeyDictionary[Codec, dict[type, tuple[tuple[str, _Convert | None], ...]]] = WeakKeyDictionary()


def _written(codec: Codec) -> dict[type, tuple[tuple[str, _Convert | None], ...]]:
    found = _WRITTEN.get(codec)
    if found is None:
        found = _WRITTEN[codec] = {}
    return found


def _columns(fields: tuple[Field, ...]) -> tuple[tuple[str, _Convert | None], ...]:
    return tuple((field.name, _converter(field)) for field in fields)


def _write(record: Any, columns: tuple[tuple[str, _Convert | None], ...]) -> Plain:
    return {
        name: getattr(record, name) if convert is None else convert(getattr(record, name))
        for name, convert in columns
    }


def _converter(field: Field) -> _Convert | None:
    """How a value becomes plain; None if it is already."""
    if field.enum is not None:
        return _code_writer(field.enum)
    if field.kind is Kind.UINT:
        return _plain_number
    if field.kind is Kind.BYTES:
        return _plain_bytes
    if field.kind is Kind.TIME:
        return plain_time
    if field.kind is Kind.BITS:
        parts = _columns(field.fields)
        return lambda value: _write(value, parts)
    if field.kind is Kind.GROUP:
        entry = _columns(field.fields)
        return lambda value: [_write(one, entry) for one in value]
    return None


def _code_writer(enum: type[OpenIntEnum]) -> _Convert:
    names: dict[int, str] = {member.value: member.name.lower() for member in enum}

    def write(value: int) -> Plain:
        return {"code": int(value), "name": names.get(value)}

    return write


def _plain_number(value: Any) -> int | float:
    if type(value) is float or type(value) is int:
        return value
    # A message made by hand may hold any kind of number.
    return int(value) if value == int(value) and not isinstance(value, float) else float(value)


def _plain_bytes(value: bytes) -> str:
    return value.hex().upper()


def plain_time(value: dt.datetime | RawTime) -> str | Plain:
    """The plain form of a time."""
    if isinstance(value, RawTime):
        return {"raw": value.raw.hex().upper()}
    text = value.isoformat(timespec="milliseconds")
    flags = value.tzinfo.flags if isinstance(value.tzinfo, FlaggedZone) else 0
    return {"time": text, "flags": flags} if flags else text


# Plain to message


def from_plain(data: Mapping[str, Any], codec: Codec) -> Frame:
    """The frame that :func:`to_plain` made ``data`` of, or one written by hand.

    Left out may be: ``frame_type`` or ``name`` (one is enough), the direction,
    the sequence (0), the encryption (0), count fields and fields whose content
    the document fixes. A code is taken as ``{"code": 3, "name": ...}``, as a
    bare number or as a name.

    Raises:
        UnknownMessageError: it names no message of ``codec``.
        FieldError: something in it is wrong; ``path`` says which field.
        EncodeError: it is a redacted frame.
    """
    if not isinstance(data, Mapping):
        raise FieldError(f"a frame is an object, not {_called(data)}", value=data)
    if data.get("redacted"):
        raise EncodeError("values of this frame were hidden by redaction; it cannot be encoded")
    _refuse_unknown(data, _FRAME_KEYS, "", "a frame")
    layout, kind, frame_type = _which(data, codec)
    fields = data.get("fields", {})
    if not isinstance(fields, Mapping):
        raise FieldError(f"fields is an object, not {_called(fields)}", path="fields", value=fields)
    message: AnyMessage
    if layout is not None:
        message = _read_record(layout.message, _readers(layout, codec), fields, "", codec.tz, layout.name)
    else:
        _refuse_unknown(fields, {"body"}, "", f"a frame called {kind!r}")
        body = _read_bytes(_need(fields, "body", kind), "body")
        cls = EncryptedMessage if kind == ENCRYPTED else UnknownMessage
        message = cls(frame_type=frame_type, body=body)
    checksum = data.get("checksum", "ok")
    if checksum not in ("ok", "swapped", "wrong"):
        raise FieldError(
            f"checksum is 'ok', 'swapped' or 'wrong', not {checksum!r}", path="checksum", value=checksum
        )
    closed = TRIPLE_DES if isinstance(message, EncryptedMessage) else PLAIN
    return Frame(
        message=message,
        sequence=_read_unsigned(data.get("sequence", 0), "sequence", 0xFFFF),
        encryption=_read_unsigned(data.get("encryption", closed), "encryption", 0xFF),
        trailing=_read_bytes(data.get("trailing", ""), "trailing"),
        checksum=checksum,
    )


def _which(data: Mapping[str, Any], codec: Codec) -> tuple[Layout | None, str, int]:
    """The layout meant; or which kind of opaque frame, and its type."""
    name, code = data.get("name"), _MISSING
    if data.get("frame_type") is not None:
        code = _read_frame_type(data["frame_type"])
    by_name = _by_name(codec)
    if name is None:
        if code is _MISSING:
            raise UnknownMessageError("a frame needs a name or a frame_type", value=dict(data))
        variants = codec.layouts.get(code)  # type: ignore[call-overload]
        if not variants:
            raise UnknownMessageError(
                f"there is no layout for frame type 0x{code:02X}; "
                f"name it {UNKNOWN!r} and give its body in hex",
                value=code,
            )
        return _direct(data, variants[0]), "", variants[0].frame_type
    if not isinstance(name, str):
        raise UnknownMessageError(f"the name of a frame is text, not {_called(name)}", value=name)
    layout = by_name.get(name)
    if layout is None and name in (UNKNOWN, ENCRYPTED):
        if code is _MISSING:
            raise FieldError(f"a frame called {name!r} needs a frame_type", path="frame_type")
        return None, name, code  # type: ignore[return-value]
    if layout is None:
        raise UnknownMessageError(f"there is no frame {name!r}{_suggest(name, by_name)}", value=name)
    if code is not _MISSING and code != layout.frame_type:
        raise FieldError(
            f"{name} is frame type 0x{layout.frame_type:02X}, not 0x{code:02X}",
            path="frame_type",
            value=code,
            limit=layout.frame_type,
        )
    return _direct(data, layout), "", layout.frame_type


_BY_NAME: WeakKeyDictionary[Codec, dict[str, Layout]] = WeakKeyDictionary()


def _by_name(codec: Codec) -> dict[str, Layout]:
    found = _BY_NAME.get(codec)
    if found is None:
        layouts = (layout for variants in codec.layouts.values() for layout in variants)
        found = _BY_NAME[codec] = {layout.name: layout for layout in layouts}
    return found


def _direct(data: Mapping[str, Any], layout: Layout) -> Layout:
    direction = data.get("direction")
    if direction is not None and direction != _DIRECTIONS[layout.direction]:
        raise FieldError(
            f"{layout.name} goes {_DIRECTIONS[layout.direction]}, not {direction!r}",
            path="direction",
            value=direction,
            limit=_DIRECTIONS[layout.direction],
        )
    return layout


def _read_frame_type(value: Any) -> int:
    code: Any = value
    if isinstance(value, str):
        try:
            code = int(value, 16)
        except ValueError:
            code = None
    if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 0xFF:
        raise FieldError(
            f'frame_type is "0x00" to "0xFF", not {value!r}', path="frame_type", value=value, limit=0xFF
        )
    return code


_Reader = tuple[str, _Restore, bool]
"""Name, how to read it, whether it must be there."""

_READ: WeakKeyDictionary[Codec, dict[str, tuple[_Reader, ...]]] = WeakKeyDictionary()


def _readers(layout: Layout, codec: Codec) -> tuple[_Reader, ...]:
    known = _READ.get(codec)
    if known is None:
        known = _READ[codec] = {}
    found = known.get(layout.name)
    if found is None:
        found = known[layout.name] = _make_readers(layout.message, layout.fields)
    return found


def _make_readers(cls: type[Any], fields: tuple[Field, ...]) -> tuple[_Reader, ...]:
    required = {info.name: info.required for info in msgspec.structs.fields(cls)}
    return tuple((field.name, _restorer(field), required[field.name]) for field in fields)


def _read_record(
    cls: type[Any], readers: tuple[_Reader, ...], data: Any, prefix: str, tz: dt.tzinfo, owner: str
) -> Any:
    path = prefix.rstrip(".")
    if not isinstance(data, Mapping):
        raise FieldError(f"{path} takes an object, not {_called(data)}", path=path, value=data)
    values: Plain = {}
    for name, restore, required in readers:
        if name in data:
            values[name] = restore(data[name], prefix + name, tz)
        elif required:
            _refuse_unknown(data, {reader[0] for reader in readers}, prefix, owner)
            raise FieldError(f"{prefix}{name} is missing in {owner}", path=prefix + name)
    if len(values) != len(data):
        _refuse_unknown(data, {reader[0] for reader in readers}, prefix, owner)
    return cls(**values)


def _restorer(field: Field) -> _Restore:
    if field.enum is not None:
        return _code_reader(field.enum)
    if field.kind is Kind.UINT:
        return _read_physical if field.is_physical else _read_whole
    if field.kind is Kind.BYTES:
        return lambda value, path, tz: _read_bytes(value, path)
    if field.kind is Kind.TIME:
        return _read_time
    if field.kind is Kind.BITS or field.kind is Kind.GROUP:
        assert field.type is not None
        cls, readers = field.type, _make_readers(field.type, field.fields)
        if field.kind is Kind.BITS:
            return lambda value, path, tz: _read_record(cls, readers, value, f"{path}.", tz, path)
        return lambda value, path, tz: tuple(
            _read_record(cls, readers, entry, f"{path}[{index}].", tz, f"{path}[{index}]")
            for index, entry in enumerate(_read_list(value, path))
        )
    what = f"text of {2 * field.size} digits" if field.kind is Kind.BCD else "text"
    return lambda value, path, tz: _read_text(value, path, what)


def _code_reader(enum: type[OpenIntEnum]) -> _Restore:
    codes = {member.name.lower(): member.value for member in enum}

    def read(value: Any, path: str, tz: dt.tzinfo) -> OpenIntEnum:
        name: Any = None
        code: Any = value
        if isinstance(value, Mapping):
            _refuse_unknown(value, {"code", "name"}, f"{path}.", "a code")
            name, code = value.get("name"), value.get("code", value.get("name"))
        if isinstance(code, str):
            if code not in codes:
                hint = _suggest(code, codes) or f"; known are {', '.join(codes)}"
                raise FieldError(f"{path}: there is no code called {code!r}{hint}", path=path, value=code)
            code = codes[code]
        if not isinstance(code, int) or isinstance(code, bool):
            raise FieldError(f"{path} takes a code or its name, not {_called(code)}", path=path, value=value)
        try:
            member = enum(code)
        except ValueError:
            raise FieldError(f"{path}: {code} is no code", path=path, value=code, limit=0xFFFF) from None
        if name is not None and not (isinstance(name, str) and codes.get(name) == code):
            right = f"{member.name.lower()!r}" if member.known else "not in the table"
            raise FieldError(
                f"{path}: code {code} is {right}, not {name!r}; give one of the two", path=path, value=name
            )
        return member

    return read


def _read_whole(value: Any, path: str, tz: dt.tzinfo) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        what = repr(value) if isinstance(value, float) else _called(value)
        raise FieldError(f"{path} takes a whole number, not {what}", path=path, value=value)
    return value


def _read_physical(value: Any, path: str, tz: dt.tzinfo) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FieldError(f"{path} takes a number, not {_called(value)}", path=path, value=value)
    # Where the float is the same number it is what a decoder gives.
    return float(value) if abs(value) <= 2**53 else value


def _read_unsigned(value: Any, path: str, top: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= top:
        raise FieldError(f"{path} is 0 to {top}, not {value!r}", path=path, value=value, limit=top)
    return value


def _read_text(value: Any, path: str, what: str) -> str:
    if not isinstance(value, str):
        raise FieldError(f"{path} takes {what}, not {_called(value)}", path=path, value=value)
    return value


def _read_bytes(value: Any, path: str) -> bytes:
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError:
            pass
    shown = repr(value) if isinstance(value, str) else _called(value)
    raise FieldError(f"{path} takes bytes in hex, not {shown}", path=path, value=value)


def _read_list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise FieldError(f"{path} takes a list, not {_called(value)}", path=path, value=value)
    return list(value)


def _read_time(value: Any, path: str, tz: dt.tzinfo) -> dt.datetime | RawTime:
    flags = 0
    text: Any = value
    if isinstance(value, Mapping):
        if "raw" in value:
            _refuse_unknown(value, {"raw"}, f"{path}.", "a raw time")
            raw = _read_bytes(value["raw"], f"{path}.raw")
            if len(raw) != 7:
                raise FieldError(f"{path}.raw takes 7 bytes, not {len(raw)}", path=f"{path}.raw", value=raw)
            return RawTime(raw)
        _refuse_unknown(value, {"time", "flags"}, f"{path}.", "a time")
        flags = _read_unsigned(value.get("flags", 0), f"{path}.flags", (1 << 13) - 1)
        text = value.get("time")
    if not isinstance(text, str):
        raise FieldError(f"{path} takes a time as ISO 8601 text, not {_called(text)}", path=path, value=value)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise FieldError(
            f"{path}: {text!r} is no time; write 2024-05-31T08:00:00.000+08:00", path=path, value=text
        ) from None
    offset = moment.utcoffset()
    if offset is None:
        raise FieldError(f"{path}: {text!r} has no UTC offset; add +08:00", path=path, value=text)
    # What a pile's clock showed is kept also where the zone skips or repeats
    # that hour, so that the bytes come out the same.
    wall = moment.replace(tzinfo=tz)
    if wall.utcoffset() == offset:
        moment = wall
    elif flags:
        moment = moment.astimezone(tz)
    if flags:
        moment = moment.replace(tzinfo=FlaggedZone(tz, flags))
    return moment


def _need(data: Mapping[str, Any], key: str, owner: str) -> Any:
    if key not in data:
        raise FieldError(f"{key} is missing in a frame called {owner!r}", path=key)
    return data[key]


def _refuse_unknown(data: Mapping[str, Any], known: Set[str], prefix: str, owner: str) -> None:
    if data.keys() <= known:
        return
    for key in data:
        if key not in known:
            raise FieldError(
                f"{owner} has no {key!r}{_suggest(str(key), known)}", path=f"{prefix}{key}", value=data[key]
            )


def _suggest(word: str, known: Any) -> str:
    import difflib

    close = difflib.get_close_matches(word, [str(one) for one in known], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _called(value: Any) -> str:
    """A value's kind, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, (list, tuple)) else type(value).__name__
