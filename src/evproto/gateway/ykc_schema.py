"""JSON Schemas of YKC messages as the API and the events have them.

They are made of the layouts, so they carry what the spec knows: units, steps,
documented limits, codes with their names, Chinese names, sections. The JSON
form is that of :mod:`evproto.ykc.plain`.

Beside the keywords of JSON Schema there are ``x-zh`` (Chinese name),
``x-unit``, ``x-step`` (what the wire counts in; ``multipleOf`` is not used
because validators judge it in binary floating point), ``x-documented-range``
(limits of the document that the wire does not enforce), ``x-codes``,
``x-secret`` and ``x-frame-type``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from evproto.messages import OpenIntEnum
from evproto.wire.table import Field, Kind, Layout, width
from evproto.wire.values import number_limits

__all__ = ["command_schema", "message_schema"]

Schema = dict[str, Any]

_LONGEST_BODY: Final = 251
"""The length byte counts four bytes of its own besides the body."""

_CLOCK: Final = "T([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
_DAY: Final = (
    "((20(0[1-9]|[1-9]\\d)|21([01]\\d|2[0-6]))-"
    "((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))"
    "|(20(0[48]|[2468][048]|[13579][26])|21(0[48]|1[26]|2[04]))-02-29)"
)
_TIME: Final = f"^{_DAY}{_CLOCK}$"
"""Moments that CP56Time2a can carry, which counts years from 2000 to 2127."""


def message_schema(layout: Layout) -> Schema:
    """What the ``fields`` of a message look like when it is shown or forwarded."""
    properties = {field.name: _field(field, layout, taken=False) for field in layout.fields}
    return {**_about(layout), **_closed(properties, list(properties))}


def command_schema(layout: Layout) -> Schema:
    """What is sent as the body of a command.

    Without the pile, which stands in the path, and without counts, which are counted.
    """
    derived = {field.count for field in layout.fields if isinstance(field.count, str)} | {"pile_id"}
    fields = [field for field in layout.fields if field.name not in derived]
    properties = {field.name: _field(field, layout, taken=True) for field in fields}
    needed = _required(layout.message)
    return {**_about(layout), **_closed(properties, [name for name in properties if name in needed])}


def _about(layout: Layout) -> Schema:
    source = f"YKC V1.6, section {layout.section}" if layout.section else layout.source
    parts = [f"Frame type 0x{layout.frame_type:02X}", source, layout.note]
    return {
        "title": layout.title,
        "description": "; ".join(part for part in parts if part),
        "x-zh": layout.zh,
        "x-frame-type": f"0x{layout.frame_type:02X}",
    }


def _closed(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _required(cls: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(info.name for info in msgspec.structs.fields(cls) if info.required)


def _field(field: Field, layout: Layout | None, *, taken: bool) -> Schema:
    return _annotated(_value(field, layout, taken=taken), field)


def _part(part: Field, *, taken: bool) -> Schema:
    if part.enum is not None:
        schema = _code(part.enum, (1 << part.size) - 1, taken=taken)
    else:
        schema = _number(part, part.size)
    return _annotated(schema, part)


def _annotated(schema: Schema, field: Field) -> Schema:
    words = [field.note] if field.note else []
    if field.low is not None and field.high is not None:
        unit = f" {field.unit}" if field.unit else ""
        words.append(f"documented range {field.low:g} to {field.high:g}{unit}")
        schema["x-documented-range"] = [field.low, field.high]
    if words:
        schema["description"] = "; ".join(words)
    for key, value in (("x-zh", field.zh), ("x-unit", field.unit), ("x-secret", field.secret)):
        if value:
            schema[key] = value
    return schema


def _value(field: Field, layout: Layout | None, *, taken: bool) -> Schema:
    kind = field.kind
    if field.enum is not None:
        return _code(field.enum, (1 << 8 * field.size) - 1, taken=taken)
    if kind is Kind.UINT:
        return _number(field, 8 * field.size)
    if kind is Kind.BCD:
        least = 0 if field.pad_left and taken else 2 * field.size
        return {"type": "string", "pattern": f"^[0-9A-Fa-f]{{{least},{2 * field.size}}}$"}
    if kind is Kind.ASCII:
        room = _room(layout) if isinstance(field.count, str) else field.size
        # One byte per character.
        return {"type": "string", "maxLength": room, "pattern": "^[\\u0000-\\u00ff]*$"}
    if kind is Kind.BYTES:
        least = 0 if field.pad_left and taken else field.size
        return {"type": "string", "pattern": f"^([0-9A-Fa-f]{{2}}){{{least},{field.size}}}$"}
    if kind is Kind.TIME:
        return _time(taken=taken)
    assert field.type is not None
    required = _required(field.type)
    if kind is Kind.BITS:
        parts = {part.name: _part(part, taken=taken) for part in field.fields}
        return _closed(parts, [name for name in parts if not taken or name in required])
    inner = {one.name: _field(one, None, taken=taken) for one in field.fields}
    entry = _closed(inner, [name for name in inner if not taken or name in required])
    array: Schema = {"type": "array", "items": entry}
    if isinstance(field.count, int):
        array["minItems"] = array["maxItems"] = field.count
    else:
        array["maxItems"] = _room(layout) // field.size
    return array


def _room(layout: Layout | None) -> int:
    """Bytes that the variable field of a body can take."""
    assert layout is not None
    return _LONGEST_BODY - sum(width(field) for field in layout.fields)


def _number(field: Field, bits: int) -> Schema:
    low, high = number_limits(field, bits)
    schema: Schema = {"type": "number" if field.is_physical else "integer", "minimum": low, "maximum": high}
    if field.is_physical or field.scale != 1:
        schema["x-step"] = field.scale / field.divisor
    if field.fixed is not None:
        schema["default"] = int.from_bytes(field.fixed, "little")
    return schema


def _code(enum: type[OpenIntEnum], top: int, *, taken: bool) -> Schema:
    labels = enum.labels_zh()
    known = [member for member in enum if member.value <= top]
    codes = [
        {"code": member.value, "name": member.name.lower(), "zh": labels.get(member.value, "")}
        for member in known
    ]
    number: Schema = {"type": "integer", "minimum": 0, "maximum": top}
    names = [member.name.lower() for member in known]
    if not taken:
        properties = {"code": number, "name": {"enum": [*names, None]}}
        return {**_closed(properties, ["code", "name"]), "x-codes": codes}
    pairs = [{"code": one["code"], "name": one["name"]} for one in codes]
    return {"anyOf": [{"enum": names}, number, {"enum": pairs}], "x-codes": codes}


def _time(*, taken: bool) -> Schema:
    moment: Schema = {"type": "string"}
    # Not both: generators of examples choose by one of them and judge by the other.
    if taken:
        moment["pattern"] = _TIME
    else:
        moment["format"] = "date-time"
    flags = {"type": "integer", "minimum": 1, "maximum": 8191}
    raw = {"type": "string", "pattern": "^([0-9A-Fa-f]{2}){7}$"}
    return {
        "description": "ISO 8601 with offset; with the flag bits of CP56Time2a; or its seven bytes in hex",
        "anyOf": [
            moment,
            _closed({"time": moment, "flags": flags}, ["time", "flags"]),
            _closed({"raw": raw}, ["raw"]),
        ],
    }
