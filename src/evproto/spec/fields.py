"""From the fields as written to the fields as meant.

A field written as ``{name: soc, type: percent}`` takes its kind, size, scale
and unit from the named type ``percent``; what it says itself wins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, get_args

from evproto.spec.model import EnumSpec, FieldSpec, Kind
from evproto.spec.problems import Path, Problems, suggest
from evproto.spec.words import is_usable
from evproto.spec.yamlfile import Document

__all__ = ["FieldBuilder", "RawField", "raw_fields"]

KINDS: tuple[str, ...] = get_args(Kind)
_LONGEST_BODY = 251


@dataclasses.dataclass(frozen=True, slots=True)
class RawField:
    """A field as written, and where."""

    value: Mapping[str, Any]
    document: Document
    path: Path

    @property
    def name(self) -> str:
        return str(self.value.get("name", ""))


def raw_fields(document: Document, items: Iterable[Any], path: Path) -> list[RawField]:
    """The fields of one list in a document.

    Inside a field that was changed they may be there already, each with the
    document it comes from.
    """
    return [
        item if isinstance(item, RawField) else RawField(item, document, (*path, index))
        for index, item in enumerate(items)
    ]


class FieldBuilder:
    """Builds the fields of one revision; what is wrong is added to the problems."""

    def __init__(
        self,
        types: Mapping[str, Mapping[str, Any]],
        enums: Mapping[str, EnumSpec],
        problems: Problems,
    ) -> None:
        self._types = types
        self._enums = enums
        self._problems = problems

    def build(self, raws: Iterable[RawField]) -> tuple[FieldSpec, ...]:
        """The fields of a frame."""
        raws = list(raws)
        fields = self._all(raws, inside="")
        self._check_variable(raws, fields)
        return fields

    def _add(self, raw: RawField, key: str, message: str, suggestion: str = "") -> None:
        path = (*raw.path, key) if key in raw.value else raw.path
        self._problems.add(raw.document.file, raw.document.line(path), path, message, suggestion)

    def _all(self, raws: list[RawField], inside: str) -> tuple[FieldSpec, ...]:
        seen: dict[str, RawField] = {}
        fields = []
        for raw in raws:
            if raw.name in seen:
                first = seen[raw.name]
                self._add(
                    raw,
                    "name",
                    f"the field {raw.name!r} is there twice",
                    f"first in {first.document.file}:{first.document.line(first.path)}",
                )
            seen.setdefault(raw.name, raw)
            if not is_usable(raw.name):
                self._add(
                    raw, "name", f"{raw.name!r} cannot be an attribute in Python", f"try {raw.name + '_'!r}"
                )
            field = self._one(raw, inside)
            if field is not None:
                fields.append(field)
        return tuple(fields)

    def _one(self, raw: RawField, inside: str) -> FieldSpec | None:
        word = raw.value["type"]
        value = dict(raw.value)
        if word in KINDS:
            kind = word
        elif word in self._types:
            named = dict(self._types[word])
            kind = named.pop("kind")
            value = {**named, **value}
        else:
            self._add(raw, "type", f"there is no type {word!r}", suggest(word, [*KINDS, *self._types]))
            return None
        if kind == "group":
            return self._group(raw, value, inside)
        if kind == "bits":
            return self._bits(raw, value)
        for key in ("parts", "count", "entry", "fields"):
            if key in value:
                self._add(raw, key, f"a {kind} field has no {key}")
                return None
        size = value.get("size", 7 if kind == "cp56time2a" else None)
        if size is None:
            self._add(raw, "type", f"the size of {raw.name!r} is missing", "say how many bytes it takes")
            return None
        count: int | str = 0
        if isinstance(size, str):
            if kind != "ascii" or inside:
                self._add(
                    raw,
                    "size",
                    f"only text outside groups takes its length from a field, {raw.name!r} is {kind}",
                )
                return None
            count, size = size, 0
        most = {"uint": 8, "cp56time2a": 7}.get(kind, _LONGEST_BODY)
        least = 7 if kind == "cp56time2a" else 0
        if not least <= size <= most:
            self._add(raw, "size", f"a {kind} field of {size} bytes is not possible", f"at most {most}")
            return None
        return self._field(raw, value, kind, size=size, bits=8 * size, count=count)

    def _bits(self, raw: RawField, value: dict[str, Any]) -> FieldSpec | None:
        size = value.get("size")
        if not isinstance(size, int) or not 1 <= size <= 8:
            self._add(raw, "size", f"the bit field {raw.name!r} needs a size of 1 to 8 bytes")
            return None
        parts = raw_fields(raw.document, raw.value.get("parts", ()), (*raw.path, "parts"))
        if not parts:
            self._add(raw, "parts", f"the parts of {raw.name!r} are missing")
            return None
        taken: dict[int, str] = {}
        built = []
        for part in parts:
            if not is_usable(part.name):
                self._add(
                    part,
                    "name",
                    f"{part.name!r} cannot be an attribute in Python",
                    f"try {part.name + '_'!r}",
                )
            span = part.value["bits"]
            low, high = (span, span) if isinstance(span, int) else map(int, span.split("-"))
            if low > high or high >= 8 * size:
                self._add(
                    part,
                    "bits",
                    f"bits {span} are not inside a word of {8 * size} bits",
                    "write low-high, bit 0 first",
                )
                continue
            for bit in range(low, high + 1):
                if bit in taken:
                    self._add(part, "bits", f"bit {bit} belongs to {taken[bit]!r} already")
                    break
                taken[bit] = part.name
            width = high - low + 1
            field = self._field(part, dict(part.value), "uint", size=width, bits=width, bit=low)
            if field is not None:
                built.append(field)
        names = [part.name for part in parts]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._add(raw, "parts", f"the part {name!r} is there twice")
        free = [bit for bit in range(8 * size) if bit not in taken]
        if free:
            spell = ", ".join(map(str, free))
            self._add(
                raw, "parts", f"no part covers bit {spell} of {raw.name!r}", "add a part named reserved"
            )
        return FieldSpec(
            name=raw.name,
            kind="bits",
            size=size,
            fields=tuple(built),
            zh=value.get("zh", ""),
            note=value.get("note", ""),
        )

    def _group(self, raw: RawField, value: dict[str, Any], inside: str) -> FieldSpec | None:
        if inside:
            self._add(
                raw, "type", f"the group {raw.name!r} is inside the group {inside!r}", "groups do not nest"
            )
            return None
        missing = [key for key in ("count", "entry", "fields") if key not in value]
        for key in missing:
            self._add(raw, key, f"the group {raw.name!r} needs {key!r}")
        if missing:
            return None
        fields = self._all(raw_fields(raw.document, raw.value["fields"], (*raw.path, "fields")), raw.name)
        return FieldSpec(
            name=raw.name,
            kind="group",
            size=sum(field.size for field in fields),
            count=value["count"],
            entry=value["entry"],
            fields=fields,
            zh=value.get("zh", ""),
            note=value.get("note", ""),
        )

    def _field(
        self,
        raw: RawField,
        value: dict[str, Any],
        kind: Kind,
        *,
        size: int,
        bits: int,
        bit: int = 0,
        count: int | str = 0,
    ) -> FieldSpec | None:
        if kind != "uint":
            for key in ("scale", "offset", "enum", "range", "idle_zero"):
                if key in raw.value:
                    self._add(raw, key, f"a {kind} field has no {key}")
        if kind == "uint" and "pad" in raw.value:
            self._add(raw, "pad", "a number is not padded")
        enum = value.get("enum", "")
        if enum and enum not in self._enums:
            self._add(raw, "enum", f"there is no enumeration {enum!r}", suggest(enum, self._enums))
            enum = ""
        if enum and ("scale" in value or "offset" in value):
            self._add(raw, "enum", "a code has neither scale nor offset")
        if enum and bits > 16:
            self._add(raw, "enum", f"a code of {bits} bits is not possible", "at most 16")
        if enum:
            top = self._enums[enum].members[-1].code
            if top >= 1 << bits:
                self._add(raw, "enum", f"code {top} of {enum!r} does not fit {bits} bits")
        fixed = bytes.fromhex(value["fixed"]) if "fixed" in value else None
        if raw.name == "reserved" and kind == "uint" and "bits" in value:
            fixed = b"\0"
        if "fixed" in value and (len(bytes.fromhex(value["fixed"])) != size or count or enum):
            self._add(raw, "fixed", f"{raw.name!r} is {kind} of {size} bytes, what is fixed does not fit")
        low, high = value.get("range", (None, None))
        if low is not None and low > high:
            self._add(raw, "range", f"the range goes from {low} down to {high}", "lower limit first")
        return FieldSpec(
            name=raw.name,
            kind=kind,
            size=size,
            bit=bit,
            scale=Fraction(str(value.get("scale", 1))),
            offset=Fraction(str(value.get("offset", 0))),
            unit=value.get("unit", ""),
            enum=enum,
            low=low,
            high=high,
            pad_left=value.get("pad") == "left",
            reversed=value.get("reversed", False),
            fixed=fixed,
            idle_zero=value.get("idle_zero", False),
            secret=value.get("secret", ""),
            count=count,
            zh=value.get("zh", ""),
            note=value.get("note", ""),
        )

    def _check_variable(self, raws: list[RawField], fields: tuple[FieldSpec, ...]) -> None:
        by_name = {raw.name: raw for raw in raws}
        variable = [field for field in fields if isinstance(field.count, str)]
        for field in variable[1:]:
            self._add(
                by_name[field.name],
                "count",
                f"{field.name!r} varies in length, and so does {variable[0].name!r}",
                "one may",
            )
        for field in variable[:1]:
            raw = by_name[field.name]
            key = "count" if field.kind == "group" else "size"
            place = fields.index(field)
            if field.count == "remaining":
                if field.kind != "group":
                    self._add(raw, key, "only a group takes what remains", "name a length field")
                elif place != len(fields) - 1:
                    self._add(raw, key, f"{field.name!r} takes what remains, but fields follow")
                continue
            counts = {earlier.name: earlier for earlier in fields[:place]}
            counter = counts.get(str(field.count))
            if counter is None:
                self._add(
                    raw,
                    key,
                    f"no field {field.count!r} stands before {field.name!r}",
                    suggest(field.count, [*counts, "remaining"]),
                )
            elif (
                counter.kind != "uint"
                or counter.enum
                or counter.reversed
                or counter.ratio != (1, 0, 1)
                or counter.size > 4
            ):
                self._add(raw, key, f"{field.count!r} is not a plain count")
        total = sum(
            field.size * (field.count if field.kind == "group" and isinstance(field.count, int) else 1)
            for field in fields
            if not isinstance(field.count, str)
        )
        if total > _LONGEST_BODY and raws:
            self._add(raws[-1], "name", f"the body takes {total} bytes, a frame has room for {_LONGEST_BODY}")
