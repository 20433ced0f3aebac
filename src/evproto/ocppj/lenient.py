"""Decoding what is not quite right, and telling what was not.

The payload is walked along a plan made from its class. Every deviation is put
to a verdict: accepted and kept as it is, repaired, or refused.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Literal

import msgspec
from msgspec import UNSET, inspect

from evproto.ocppj.deviations import deviation
from evproto.ocppj.dialect import Dialect
from evproto.ocppj.envelopes import Deviation, Steps, UnknownMember
from evproto.ocppj.formats import is_date_time, is_uri, parse_date_time
from evproto.ocppj.paths import rewrite, split_path
from evproto.payloads import CustomDataType, OpenStrEnum, Payload, Shape

__all__ = ["LENIENT", "Policy", "RefusalError", "Repair", "Verdict", "Walk", "walk_payload"]


@dataclasses.dataclass(frozen=True, slots=True)
class Repair:
    """A verdict: take this value instead, as it would be on the wire.

    Without a value the member is left out.
    """

    value: Any = UNSET


Verdict = Literal["accept", "refuse"] | Repair | None
Policy = Callable[[Deviation], Verdict]
"""Decides over a deviation; None leaves it to the mode of the codec."""

LENIENT = frozenset(
    {
        "additionalProperties",
        "alias",
        "enum",
        "maxLength",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "multipleOf",
        "format",
    }
)
"""Keywords whose violation lenient mode accepts: a typed message can hold the value all the same.

So it does null for a member that may be absent, and date-times in unusual
spellings. What is missing, or of another type, it cannot hold."""


class RefusalError(Exception):
    """A deviation that was not accepted."""

    def __init__(self, found: Deviation) -> None:
        super().__init__(found.message)
        self.deviation = found


@dataclasses.dataclass(slots=True)
class Walk:
    """One payload on its way, and what was found in it."""

    dialect: Dialect
    action: str
    lenient: bool
    policy: Policy | None
    warnings: list[Deviation] = dataclasses.field(default_factory=list)
    unknown: list[UnknownMember] = dataclasses.field(default_factory=list)

    def judged(
        self,
        keyword: str,
        steps: Steps,
        value: Any = None,
        limit: Any = None,
        note: str = "",
        *,
        holdable: bool | None = None,
    ) -> Any:
        """The value to go on with: the same if it is accepted.

        Raises:
            RefusalError: it is not.
        """
        found = deviation(
            self.dialect, keyword, steps, action=self.action, value=value, limit=limit, note=note
        )
        verdict = self.policy(found) if self.policy is not None else None
        if verdict is None:
            fine = keyword in LENIENT if holdable is None else holdable
            verdict = "accept" if self.lenient and fine else "refuse"
        if isinstance(verdict, Repair):
            self.warnings.append(found)
            return verdict.value
        if verdict == "accept":
            self.warnings.append(found)
            return value
        if verdict == "refuse":
            raise RefusalError(found)
        raise TypeError(f"a policy answers accept, refuse, Repair or None, not {verdict!r}")


Node = Callable[[Any, Steps, Walk], Any]
"""Converts a value of the JSON into one of the message."""


def _judged_type(value: Any, steps: Steps, walk: Walk, names: str | list[str], again: Node) -> Any:
    taken = walk.judged("type", steps, value, names)
    if taken is value or taken is UNSET:
        return taken
    return again(taken, steps, walk)


def _text(limit: int | None) -> Node:
    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        if not isinstance(value, str):
            return _judged_type(value, steps, walk, "string", convert)
        if limit is not None and len(value) > limit:
            taken = walk.judged("maxLength", steps, value, limit)
            return value if taken is value else taken
        return value

    return convert


def _bounded(value: Any, steps: Steps, walk: Walk, low: Any, high: Any) -> Any:
    if low is not None and value < low:
        return walk.judged("minimum", steps, value, low)
    if high is not None and value > high:
        return walk.judged("maximum", steps, value, high)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(low: int | None, high: int | None) -> Node:
    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        if not _is_number(value) or (isinstance(value, float) and not value.is_integer()):
            return _judged_type(value, steps, walk, "integer", convert)
        # JSON Schema takes 1.0 for an integer.
        return _bounded(int(value), steps, walk, low, high)

    return convert


def _number(low: float | None, high: float | None) -> Node:
    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        if not _is_number(value) or not math.isfinite(value):
            return _judged_type(value, steps, walk, "number", convert)
        return _bounded(value, steps, walk, low, high)

    return convert


def _boolean() -> Node:
    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        return value if isinstance(value, bool) else _judged_type(value, steps, walk, "boolean", convert)

    return convert


def _enum(cls: type[OpenStrEnum]) -> Node:
    words = tuple(member.value for member in cls)

    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        if not isinstance(value, str):
            return _judged_type(value, steps, walk, "string", convert)
        if value not in cls._value2member_map_:
            value = walk.judged("enum", steps, value, words)
            if not isinstance(value, str):
                return value
        return cls.unlisted(value)

    return convert


def _date_time() -> Node:
    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        if isinstance(value, dt.datetime):
            return value
        if not isinstance(value, str):
            return _judged_type(value, steps, walk, "string", convert)
        parsed = parse_date_time(value)
        if is_date_time(value):
            if parsed is not None:
                return msgspec.convert(value, dt.datetime)
            # The year 0, which no datetime has.
            return _taken(
                walk.judged("format", steps, value, "date-time", holdable=False), value, steps, walk
            )
        note = parsed[1] if parsed else "is not a date-time"
        taken = walk.judged("format", steps, value, "date-time", note, holdable=parsed is not None)
        if taken is value and parsed is not None:
            return parsed[0]
        return _taken(taken, value, steps, walk)

    def _taken(taken: Any, value: Any, steps: Steps, walk: Walk) -> Any:
        return taken if taken is value or taken is UNSET else convert(taken, steps, walk)

    return convert


def _list(entry: Node, low: int | None, high: int | None) -> Node:
    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        if not isinstance(value, list | tuple):
            return _judged_type(value, steps, walk, "array", convert)
        taken: Any = value
        if low is not None and len(value) < low:
            taken = walk.judged("minItems", steps, value, low)
        elif high is not None and len(value) > high:
            taken = walk.judged("maxItems", steps, value, high)
        if taken is UNSET:
            return taken
        made = (entry(member, (*steps, at), walk) for at, member in enumerate(taken))
        return tuple(member for member in made if member is not UNSET)

    return convert


def _custom_data() -> Node:
    text = _text(255)

    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        if isinstance(value, CustomDataType):
            return value
        if not isinstance(value, dict):
            return _judged_type(value, steps, walk, "object", convert)
        members = dict(value)
        if "vendorId" not in members:
            vendor = walk.judged("required", (*steps, "vendorId"))
            if vendor is not None:
                members["vendorId"] = vendor
        else:
            members["vendorId"] = text(members["vendorId"], (*steps, "vendorId"), walk)
        return CustomDataType({name: member for name, member in members.items() if member is not UNSET})

    return convert


def _anything(value: Any, steps: Steps, walk: Walk) -> Any:
    return value


def _text_or_integer(value: Any, steps: Steps, walk: Walk) -> Any:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return _judged_type(value, steps, walk, ["string", "integer"], _text_or_integer)


@functools.cache
def _struct(cls: type[Payload]) -> Node:
    columns = []
    for field, info in zip(_plan_of(cls), msgspec.structs.fields(cls), strict=True):
        columns.append((info.name, info.encode_name, info.required, _node(field.type)))
    known = {wire for _, wire, _, _ in columns}

    def convert(value: Any, steps: Steps, walk: Walk) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            return _judged_type(value, steps, walk, "object", convert)
        members: dict[str, Any] = {}
        for name, wire, required, node in columns:
            here = (*steps, wire)
            if wire not in value:
                if required:
                    # Accepted, it stays unset: an attribute that is not sent.
                    taken = walk.judged("required", here, UNSET)
                    members[name] = taken if taken is UNSET else node(taken, here, walk)
                continue
            given = value[wire]
            if given is None and not required and node is not _anything:
                given = walk.judged("type", here, None, "string", holdable=True)
                if given is None:
                    continue
            taken = UNSET if given is UNSET else node(given, here, walk)
            if taken is not UNSET or required:
                members[name] = taken
        if len(value) > len(known) or not known.issuperset(value):
            for wire in value:
                if wire not in known:
                    taken = walk.judged("additionalProperties", (*steps, wire), value[wire])
                    if taken is not UNSET:
                        walk.unknown.append(UnknownMember(steps=steps, name=wire, value=taken))
        return cls(**members)

    return convert


def _plan_of(cls: type[Payload]) -> Iterable[inspect.Field]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _node(info: inspect.Type) -> Node:
    """The conversion for a type; the types are those the generator writes."""
    match info:
        case inspect.Metadata():
            return _node(info.type)
        case inspect.AnyType():
            return _anything
        case inspect.StrType():
            return _text(info.max_length)
        case inspect.IntType():
            return _integer(info.ge, info.le)
        case inspect.FloatType():
            return _number(info.ge, info.le)
        case inspect.BoolType():
            return _boolean()
        case inspect.DateTimeType():
            return _date_time()
        case inspect.EnumType() if issubclass(info.cls, OpenStrEnum):
            return _enum(info.cls)
        case inspect.VarTupleType():
            return _list(_node(info.item_type), info.min_length, info.max_length)
        case inspect.StructType() if issubclass(info.cls, Payload):
            return _struct(info.cls)
        case inspect.CustomType() if info.cls is CustomDataType:
            return _custom_data()
        case inspect.UnionType():
            for option in info.types:
                if isinstance(option, inspect.FloatType):
                    return _number(option.ge, option.le)
            return _text_or_integer
    raise TypeError(f"no plan for {info!r}")


def walk_payload(shape: Shape, value: Any, walk: Walk) -> Payload:
    """``value``, as read from JSON, as a message of ``shape``'s type.

    Raises:
        RefusalError: of the first deviation that is not accepted.
    """
    if shape.aliases and isinstance(value, dict):
        value = _unaliased(shape, value, walk)
    payload = _struct(shape.type)(value, (), walk)
    if not isinstance(payload, shape.type):
        # Accepted though it is no object at all: there is nothing to type.
        raise RefusalError(
            deviation(walk.dialect, "type", (), action=walk.action, value=value, limit="object")
        )
    for path in shape.tenths:

        def in_tenths(number: Any, steps: Steps) -> Any:
            if _is_number(number) and Fraction(repr(number)) % Fraction(1, 10):
                return walk.judged("multipleOf", steps, number, 0.1)
            return number

        payload = rewrite(payload, split_path(path), in_tenths)
    for path in shape.uris:

        def as_uri(text: Any, steps: Steps) -> Any:
            if isinstance(text, str) and not is_uri(text):
                return walk.judged("format", steps, text, "uri", "is not a URI")
            return text

        payload = rewrite(payload, split_path(path), as_uri)
    typed: Payload = payload
    return typed


def _unaliased(shape: Shape, value: dict[str, Any], walk: Walk) -> dict[str, Any]:
    """The same members, those under another name under the right one."""
    made: dict[str, Any] = {}
    names = dict(shape.aliases)
    for name, member in value.items():
        right = names.get(name)
        if right is None or right in value or right in made:
            made[name] = member
        else:
            taken = walk.judged("alias", (name,), member, right)
            if taken is not UNSET:
                made[right] = taken
    return made
