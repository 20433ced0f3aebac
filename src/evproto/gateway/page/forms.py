"""Forms made of JSON Schemas: what a person fills in to send a command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

__all__ = ["Entry", "entries_of", "label_of", "unit_of"]

_SHORT: Final = {
    **{word: word.upper() for word in ("id", "soc", "bms", "vin", "sim", "qr", "ev", "evse", "url", "csr")},
    "no": "no.",
}
_EXTENSION: Final = "customData"
"""What makers add to every object of OCPP; asked for at the top only."""
_DEEPEST: Final = 4
"""Levels of a schema that are sketched."""

_UNITS: Final = {"degC": "°C"}


class Entry(msgspec.Struct, kw_only=True):
    """A field of a form."""

    name: str
    label: str
    kind: Literal["text", "number", "code", "choice", "flag", "time", "group", "list", "json"]
    """code: a number with a name; choice: one of some texts; json: what has too many levels for a form."""
    zh: str = ""
    unit: str = ""
    hint: str = ""
    required: bool = False
    value: str = ""
    """What it begins with."""
    low: str = ""
    high: str = ""
    step: str = ""
    pattern: str = ""
    longest: int | None = None
    codes: list[tuple[int, str, str]] = []
    """Number, name and Chinese name."""
    choices: list[str] = []
    sketch: str = ""
    """What goes into a field of JSON."""
    entries: list[Entry] = []
    """Of a group, or of one item of a list."""
    least: int = 0
    most: int | None = None

    @property
    def rows(self) -> range:
        """The items that a list begins with: none, if it may be left out."""
        return range(max(1, self.least) if self.required or self.is_fixed else 0)

    @property
    def is_fixed(self) -> bool:
        """Whether a list has neither more nor fewer items."""
        return self.most == self.least


def label_of(name: str) -> str:
    """A field's name for people.

    >>> label_of("physical_card_no")
    'Physical card no.'
    >>> label_of("remoteStartId")
    'Remote start ID'
    """
    split = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() if "_" not in name else name
    words = [_SHORT.get(word, word) for word in split.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def unit_of(schema: Mapping[str, Any]) -> str:
    """The unit of a field, as people write it."""
    unit = str(schema.get("x-unit", ""))
    return _UNITS.get(unit, unit)


def entries_of(schema: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> list[Entry]:
    """The form of an object, beginning with ``values``."""
    return _entries(schema, values, _Definitions(schema), top=True)


class _Definitions:
    """What a schema refers to in itself."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._found = {**schema.get("definitions", {}), **schema.get("$defs", {})}

    def resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """A schema without a reference at its top."""
        for _ in self._found:
            if "$ref" not in schema:
                break
            name = str(schema["$ref"]).rpartition("/")[2]
            schema = {**self._found.get(name, {}), **{k: v for k, v in schema.items() if k != "$ref"}}
        return schema


def _entries(
    schema: Mapping[str, Any], values: Mapping[str, Any] | None, known: _Definitions, *, top: bool = False
) -> list[Entry]:
    required = set(schema.get("required", ()))
    return [
        _entry(name, known.resolve(one), known, required=name in required, value=(values or {}).get(name))
        # What makers add comes last.
        for name, one in sorted(schema.get("properties", {}).items(), key=lambda one: one[0] == _EXTENSION)
        if top or name != _EXTENSION
    ]


def _entry(name: str, schema: Mapping[str, Any], known: _Definitions, *, required: bool, value: Any) -> Entry:
    made = Entry(
        name=name,
        label=label_of(name),
        kind="text",
        zh=schema.get("x-zh", ""),
        unit=unit_of(schema),
        required=required,
        value="" if value is None else str(value),
    )
    hints = [schema["description"]] if schema.get("description") else []
    type_ = schema.get("type")
    if "x-codes" in schema:
        made.kind = "code"
        made.codes = [(one["code"], one["name"], one["zh"]) for one in schema["x-codes"]]
        number = next(one for one in schema["anyOf"] if one.get("type") == "integer")
        made.low, made.high = _text(number["minimum"]), _text(number["maximum"])
    elif "enum" in schema and all(isinstance(one, str) for one in schema["enum"]):
        made.kind = "choice"
        made.choices = list(schema["enum"])
    elif type_ == "boolean":
        made.kind = "flag"
        made.value = made.value.lower()
    elif type_ in ("integer", "number"):
        made.kind = "number"
        _number(made, schema, hints)
    elif type_ == "object" and _is_form(schema, required=required):
        made.kind = "group"
        made.entries = _entries(schema, value if isinstance(value, Mapping) else None, known)
    elif type_ == "array":
        made.kind = "list"
        items = known.resolve(schema.get("items", {}))
        if items.get("type") == "object":
            made.entries = _entries(items, None, known)
        else:
            made.entries = [_entry("", items, known, required=True, value=None)]
        made.least, made.most = schema.get("minItems", 0), schema.get("maxItems")
        if not made.is_fixed:
            hints.insert(0, f"at most {made.most}" if made.most else "any number")
    elif "anyOf" in schema or schema.get("format") == "date-time":
        made.kind = "time"
        hints = []
    elif type_ == "string":
        _string(made, schema, hints)
    else:
        made.kind = "json"
        made.value = "" if value is None else msgspec.json.encode(value).decode()
        made.sketch = _sketch(schema, known)
    made.hint = "; ".join(hints)
    return made


def _is_form(schema: Mapping[str, Any], *, required: bool) -> bool:
    """Whether an object is asked for field by field.

    One that may be left out, but not parts of it, is not: its fields could not be left empty.
    """
    return bool(schema.get("properties")) and (required or not schema.get("required"))


def _number(made: Entry, schema: Mapping[str, Any], hints: list[str]) -> None:
    made.low, made.high = _text(schema.get("minimum")), _text(schema.get("maximum"))
    made.step = _text(schema.get("x-step", 1 if schema["type"] == "integer" else None)) or "any"
    if not made.value and "default" in schema:
        made.value = str(schema["default"])
    unit = f" {made.unit}" if made.unit else ""
    if made.low and made.high:
        limits = f"{made.low} to {made.high}{unit}"
    else:
        limits = (
            f"at least {made.low}{unit}" if made.low else f"at most {made.high}{unit}" if made.high else ""
        )
    if schema["type"] == "number" and made.step != "any":
        limits += f", in steps of {made.step}"
    if limits:
        hints.insert(0, limits)


def _string(made: Entry, schema: Mapping[str, Any], hints: list[str]) -> None:
    made.longest = schema.get("maxLength")
    # The input's own pattern must be the whole text anyway.
    made.pattern = schema.get("pattern", "").removeprefix("^").removesuffix("$")
    digits = _digits(made.pattern)
    if digits:
        made.longest = digits[1]
        many = f"{digits[0]} to {digits[1]}" if digits[0] != digits[1] else f"{digits[1]}"
        hints.insert(0, f"{many} hexadecimal digits" if "A-F" in made.pattern else many)
    elif made.longest:
        hints.insert(0, f"at most {made.longest} characters")
        made.pattern = ""


def _sketch(schema: Mapping[str, Any], known: _Definitions, depth: int = 0) -> str:
    """A schema as a person reads it: ``name: what it is``, ``name?`` where it can be left out."""
    schema = known.resolve(schema)
    if "enum" in schema:
        return " | ".join(msgspec.json.encode(one).decode() for one in schema["enum"])
    type_ = schema.get("type")
    if type_ == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        many = f" {least} to {most}" if most else ""
        return f"[{_sketch(schema.get('items', {}), known, depth)}]{many}"
    if type_ == "object":
        if depth == _DEEPEST:
            return "{ … }"
        indent = "  " * (depth + 1)
        required = schema.get("required", ())
        lines = [
            f"{indent}{name}{'' if name in required else '?'}: {_sketch(one, known, depth + 1)}"
            for name, one in schema.get("properties", {}).items()
            if name != _EXTENSION
        ]
        return "\n".join(["{", *lines, f"{'  ' * depth}}}"]) if lines else "{ … }"
    limits = [f"at most {schema['maxLength']} characters"] if "maxLength" in schema else []
    if schema.get("format") == "date-time":
        limits = ["a time, as in 2026-11-21T12:00:00Z"]
    limits += [
        f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema
    ]
    return ", ".join([str(type_ or "anything"), *limits])


def _digits(pattern: str) -> tuple[int, int] | None:
    """How many digits a pattern of the spec asks for."""
    for head, each in (("[0-9A-Fa-f]{", 1), ("([0-9A-Fa-f]{2}){", 2)):
        if pattern.startswith(head) and pattern.endswith("}"):
            low, _, high = pattern.removeprefix(head).removesuffix("}").partition(",")
            return each * int(low), each * int(high or low)
    return None


def _text(number: Any) -> str:
    """A number as a person writes it: no exponent, no needless zeros."""
    if number is None:
        return ""
    if isinstance(number, int):
        return str(number)
    return f"{Decimal(repr(number)):f}".removesuffix(".0")
