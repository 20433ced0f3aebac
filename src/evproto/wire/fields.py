"""The YKC field types as constructs.

The generated layouts (``evproto.ykc.layouts``) are written in these words, and
work on their own as any construct does: ``LoginRequest.parse(body)`` gives a
Container of physical values, ``LoginRequest.build(values)`` the body again.
``tz=`` on either call sets the zone of times (UTC+8 otherwise).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import construct
from construct import Struct

from evproto.errors import FieldError
from evproto.messages import BEIJING, OpenIntEnum, Part
from evproto.wire.table import REMAINING, Field, Kind, Layout
from evproto.wire.values import decode_value, encode_value

__all__ = [
    "Bcd",
    "Bits",
    "Code",
    "Entries",
    "Opaque",
    "Struct",
    "Text",
    "Time",
    "Uint",
    "construct_of",
    "part",
]


def _dotted(path: str) -> str:
    # construct's paths read "(building) -> cards[0] -> result".
    return ".".join(path.split(" -> ")[1:])


def _zone(context: Any) -> Any:
    return context._params.get("tz") or BEIJING


class Value(construct.Construct):
    """One field of fixed size, except groups."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        data = construct.stream_read(stream, self.field.size, path)
        return decode_value(self.field, data, _zone(context))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        data = encode_value(self.field, obj, _dotted(path), _zone(context))
        construct.stream_write(stream, data, len(data), path)
        return obj

    def _sizeof(self, context: Any, path: str) -> int:
        return self.field.size


class CountedText(Value):
    """Text whose length an earlier field gives."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        data = construct.stream_read(stream, context[self.field.count], path)
        return decode_value(self.field, data, _zone(context))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        data = encode_value(self.field, obj, _dotted(path), _zone(context))
        _check_count(self.field, len(data), context)
        construct.stream_write(stream, data, len(data), path)
        return obj

    def _sizeof(self, context: Any, path: str) -> int:
        return int(context[self.field.count])


class Group(construct.Construct):
    """Entries of one shape: a fixed number, a counted one, or to the end."""

    def __init__(self, field: Field, entry: construct.Struct) -> None:
        super().__init__()
        self.field = field
        self.entry = entry

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        field = self.field
        if field.count == REMAINING:
            rest = construct.stream_size(stream) - construct.stream_tell(stream, path)
            count = rest // field.size
        else:
            count = context[field.count] if isinstance(field.count, str) else field.count
        assert field.type is not None
        entries = []
        for index in range(count):
            values = self.entry._parsereport(stream, context, f"{path}[{index}]")
            entries.append(field.type(**{part.name: values[part.name] for part in field.fields}))
        return tuple(entries)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        field = self.field
        assert field.type is not None
        if not isinstance(obj, (tuple, list)):
            raise FieldError(
                f"{_dotted(path)} takes a tuple of {field.type.__name__}, not {type(obj).__name__}",
                path=_dotted(path),
                value=obj,
            )
        _check_count(field, len(obj), context)
        for index, entry in enumerate(obj):
            if not isinstance(entry, field.type):
                raise FieldError(
                    f"{_dotted(path)}[{index}] takes {field.type.__name__}, not {type(entry).__name__}",
                    path=f"{_dotted(path)}[{index}]",
                    value=entry,
                )
            values = {part.name: getattr(entry, part.name) for part in field.fields}
            self.entry._build(values, stream, context, f"{path}[{index}]")
        return obj

    def _sizeof(self, context: Any, path: str) -> int:
        if isinstance(self.field.count, int):
            return self.field.count * self.field.size
        raise construct.SizeofError("the number of entries varies", path=path)


def _check_count(field: Field, entries: int, context: Mapping[str, Any]) -> None:
    if field.count == REMAINING:
        return
    if isinstance(field.count, str):
        if context[field.count] != entries:
            raise FieldError(
                f"{field.count} is {context[field.count]}, but {field.name} has {entries}; "
                f"leave {field.count} out to have it counted",
                path=field.count,
                value=context[field.count],
                limit=entries,
            )
    elif entries != field.count:
        raise FieldError(
            f"{field.name} takes {field.count} entries, {entries} were given",
            path=field.name,
            value=entries,
            limit=field.count,
        )


def _of(field: Field) -> construct.Construct:
    """The construct of one field of a table."""
    if field.kind is Kind.GROUP:
        return Group(field, Struct(*(inner.name / _of(inner) for inner in field.fields)))
    if isinstance(field.count, str):
        return CountedText(field)
    return Value(field)


def construct_of(layout: Layout) -> construct.Construct:
    """The construct of a layout made at run time; the built-in ones are generated."""
    return Struct(*(field.name / _of(field) for field in layout.fields))


def Bcd(size: int, *, pad_left: bool = False, reversed: bool = False) -> construct.Construct:
    """``2 * size`` digits."""
    return Value(Field(name="", kind=Kind.BCD, size=size, pad_left=pad_left, reversed=reversed))


def Uint(
    size: int,
    *,
    scale: int = 1,
    offset: int = 0,
    divisor: int = 1,
    unit: str = "",
    reversed: bool = False,
) -> construct.Construct:
    """``(raw * scale + offset) / divisor``; an int if the divisor is 1, else a float.

    ``reversed`` makes it high byte first.
    """
    return Value(
        Field(
            name="",
            kind=Kind.UINT,
            size=size,
            scale=scale,
            offset=offset,
            divisor=divisor,
            unit=unit,
            reversed=reversed,
        )
    )


def Code(size: int, enum: type[OpenIntEnum], *, reversed: bool = False) -> construct.Construct:
    """A code of an enumeration."""
    return Value(Field(name="", kind=Kind.UINT, size=size, enum=enum, reversed=reversed))


def Text(size: int | str, *, reversed: bool = False) -> construct.Construct:
    """Text of ``size`` bytes, or as long as the field named ``size`` says."""
    if isinstance(size, str):
        return CountedText(Field(name="", kind=Kind.ASCII, size=0, count=size))
    return Value(Field(name="", kind=Kind.ASCII, size=size, reversed=reversed))


def Opaque(size: int, *, pad_left: bool = False, reversed: bool = False) -> construct.Construct:
    """``size`` bytes."""
    return Value(Field(name="", kind=Kind.BYTES, size=size, pad_left=pad_left, reversed=reversed))


def Time() -> construct.Construct:
    """A CP56Time2a."""
    return Value(Field(name="", kind=Kind.TIME, size=7))


def part(
    name: str,
    bit: int,
    width: int,
    *,
    enum: type[OpenIntEnum] | None = None,
    scale: int = 1,
    offset: int = 0,
    divisor: int = 1,
    unit: str = "",
) -> Field:
    """``width`` bits of a word, the lowest of them ``bit``."""
    return Field(
        name=name,
        kind=Kind.UINT,
        size=width,
        bit=bit,
        enum=enum,
        scale=scale,
        offset=offset,
        divisor=divisor,
        unit=unit,
    )


def Bits(size: int, type: type[Part], *parts: Field) -> construct.Construct:
    """A word of ``size`` bytes cut into parts, as an instance of ``type``."""
    return Value(Field(name="", kind=Kind.BITS, size=size, type=type, fields=parts))


def Entries(
    name: str, count: int | str, size: int, type: type[Part], *fields: construct.Renamed
) -> construct.Construct:
    """The group ``name``: ``count`` entries of ``size`` bytes, as a tuple of ``type``.

    ``count`` is a number, the name of the count field, or ``"remaining"``.
    """
    names = tuple(Field(name=field.name, kind=Kind.BYTES, size=0) for field in fields)
    group = Field(name=name, kind=Kind.GROUP, size=size, count=count, type=type, fields=names)
    return name / Group(group, Struct(*fields))
