"""Forms made of JSON Schemas: what a person fills in to send a command."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

__all__ = ["Entry", "entries_of", "label_of", "unit_of"]

_SHORT: Final = {"id": "ID", "no": "no.", "soc": "SOC", "bms": "BMS", "vin": "VIN", "sim": "SIM", "qr": "QR"}

_UNITS: Final = {"degC": "°C"}


class Entry(msgspec.Struct, kw_only=True):
    """A field of a form."""

    name: str
    label: str
    kind: Literal["text", "number", "code", "time", "group", "list"]
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
    entries: list[Entry] = []
    """Of a group, or of one item of a list."""
    least: int = 0
    most: int | None = None

    @property
    def rows(self) -> range:
        """The items that a list begins with."""
        return range(max(1, self.least))

    @property
    def is_fixed(self) -> bool:
        """Whether a list has neither more nor fewer items."""
        return self.most == self.least


def label_of(name: str) -> str:
    """A field's name for people.

    >>> label_of("physical_card_no")
    'Physical card no.'
    """
    words = [_SHORT.get(word, word) for word in name.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def unit_of(schema: Mapping[str, Any]) -> str:
    """The unit of a field, as people write it."""
    unit = str(schema.get("x-unit", ""))
    return _UNITS.get(unit, unit)


def entries_of(schema: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> list[Entry]:
    """The form of an object, beginning with ``values``."""
    required = set(schema.get("required", ()))
    return [
        _entry(name, one, required=name in required, value=(values or {}).get(name))
        for name, one in schema.get("properties", {}).items()
    ]


def _entry(name: str, schema: Mapping[str, Any], *, required: bool, value: Any) -> Entry:
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
    if "x-codes" in schema:
        made.kind = "code"
        made.codes = [(one["code"], one["name"], one["zh"]) for one in schema["x-codes"]]
        number = next(one for one in schema["anyOf"] if one.get("type") == "integer")
        made.low, made.high = _text(number["minimum"]), _text(number["maximum"])
    elif schema.get("type") in ("integer", "number"):
        made.kind = "number"
        made.low, made.high = _text(schema.get("minimum")), _text(schema.get("maximum"))
        made.step = _text(schema.get("x-step", 1 if schema["type"] == "integer" else None)) or "any"
        if not made.value and "default" in schema:
            made.value = str(schema["default"])
        hints.insert(0, f"{made.low} to {made.high}{f' {made.unit}' if made.unit else ''}")
        if schema["type"] == "number" and made.step != "any":
            hints[0] += f", in steps of {made.step}"
    elif schema.get("type") == "object":
        made.kind = "group"
        made.entries = entries_of(schema, value if isinstance(value, Mapping) else None)
    elif schema.get("type") == "array":
        made.kind = "list"
        items = schema.get("items", {})
        if items.get("type") == "object":
            made.entries = entries_of(items)
        else:
            made.entries = [_entry("", items, required=True, value=None)]
        made.least, made.most = schema.get("minItems", 0), schema.get("maxItems")
        if not made.is_fixed:
            hints.insert(0, f"at most {made.most}" if made.most else "any number")
    elif "anyOf" in schema:
        made.kind = "time"
        hints = []
    else:
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
    made.hint = "; ".join(hints)
    return made


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
