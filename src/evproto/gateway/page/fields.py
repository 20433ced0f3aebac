"""Decoded fields as a person reads them: names in both languages, values with their units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from evproto.gateway.page.forms import label_of, unit_of

__all__ = ["Shown", "brief", "fields_of"]

_BRIEF: Final = 4
"""Fields that are named in the line of a frame."""
_NUMBER: Final = 20
"""Characters from which on a value without spaces is a number that tells nothing at a glance."""
_LONGEST: Final = 48
"""Characters of one value in that line."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A field and its value."""

    path: str
    label: str
    value: str
    zh: str = ""
    unit: str = ""


def fields_of(fields: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "") -> list[Shown]:
    """The fields of a message, groups and lists opened.

    Args:
        fields: as in an event; members that the schema does not have are shown as they are.
        schema: of the message's fields; may be empty.
        prefix: of the paths.
    """
    found: list[Shown] = []
    properties = schema.get("properties", {})
    for name, value in fields.items():
        found += _opened(f"{prefix}{name}", name, value, properties.get(name, {}))
    return found


def brief(fields: Mapping[str, Any], schema: Mapping[str, Any], leave_out: str) -> str:
    """A few fields that say something, for one line; ``leave_out`` is a value that is known already."""
    said: list[str] = []
    properties = schema.get("properties", {})
    for name, value in fields.items():
        about = properties.get(name, {})
        text = _text(value, about)
        if isinstance(value, list) or text is None or text == leave_out or not text.strip("0.*-"):
            continue
        if len(text) > _NUMBER and " " not in text:
            # The number of a transaction, or bytes: nobody reads them in passing.
            continue
        unit = unit_of(about)
        said.append(f"{label_of(name)} {text[:_LONGEST]}{f' {unit}' if unit else ''}")
        if len(said) == _BRIEF:
            break
    return ", ".join(said)


def _opened(path: str, name: str, value: Any, about: Mapping[str, Any]) -> list[Shown]:
    text = _text(value, about)
    label, zh, unit = label_of(name), about.get("x-zh", ""), unit_of(about)
    zh = "" if zh == label else zh
    if text is not None:
        return [Shown(path=path, label=label, zh=zh, unit=unit, value=text)]
    if isinstance(value, list):
        return _list(path, label, zh, value, about.get("items", {}))
    assert isinstance(value, dict)
    if value and not any(value.values()):
        # A word of flags: fourteen zeros say less than one line.
        return [Shown(path=path, label=label, zh=zh, value="all 0")]
    return fields_of(value, about, f"{path}.")


def _list(path: str, label: str, zh: str, values: list[Any], about: Mapping[str, Any]) -> list[Shown]:
    if not values:
        return [Shown(path=path, label=label, zh=zh, value="none")]
    if all(isinstance(value, dict) and len(value) == 1 for value in values):
        (name,) = values[0]
        inner = about.get("properties", {}).get(name, {})
        texts = [_text(next(iter(value.values())), inner) or "" for value in values]
        return [Shown(path=path, label=label, zh=zh or inner.get("x-zh", ""), value=" · ".join(texts))]
    found: list[Shown] = []
    for index, value in enumerate(values):
        found += _opened(f"{path}[{index}]", f"{label.lower()}_{index + 1}", value, about)
    return found


def _text(value: Any, about: Mapping[str, Any]) -> str | None:
    """A value in one piece; None: it has parts."""
    if isinstance(value, dict):
        if value.keys() == {"code", "name"}:
            return _code(value, about)
        if value.keys() == {"time", "flags"}:
            return f"{value['time']} (flags {value['flags']})"
        if value.keys() == {"raw"}:
            return f"{value['raw']} (no time)"
        return None
    if isinstance(value, list):
        return None
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _code(value: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    number = value["code"]
    zh = next((one["zh"] for one in about.get("x-codes", ()) if one["code"] == number), "")
    name = str(value["name"] or "unknown").replace("_", " ")
    return f"{name} {zh} ({number})" if zh else f"{name} ({number})"
