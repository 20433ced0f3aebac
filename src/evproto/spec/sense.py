"""What a payload schema of the right form can still get wrong.

The decoder made of a schema, and the schema itself, must say the same of every
payload; so whatever only one of them would heed is refused.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from typing import Any

from evproto.spec.actions import Schema
from evproto.spec.naming import attribute_name, enum_member_name
from evproto.spec.problems import Path

__all__ = ["payload_nonsense"]

_HEEDED = {
    "string": {"format", "maxLength"},
    "integer": {"minimum", "maximum", "multipleOf"},
    "number": {"minimum", "maximum", "multipleOf"},
    "array": {"items", "minItems", "maxItems"},
}
_ANNOTATIONS = {"type", "default", "x-source", "x-sent-as", "x-aliases"}
_UNSPEAKABLE = re.compile(r'["\\\x00-\x1f]')
_TAKEN = {"action_name"}
"""Attributes that payload classes have themselves."""


def payload_nonsense(schema: Schema) -> Iterator[tuple[Path, str]]:
    """Path and sentence of everything in ``schema``, an object or an enumeration, that makes no sense."""
    if "enum" in schema:
        yield from _enumeration(schema["enum"])
        return
    members = schema["properties"]
    if schema.get("additionalProperties", True):
        # What a class has no attribute for, a message cannot hold.
        yield (), "say additionalProperties: false; other members than these are for lenient mode"
    for name in schema.get("required", ()):
        if name not in members:
            yield ("required",), f"there is no member {name}"
    attributes: dict[str, str] = {}
    for wire, member in members.items():
        attribute = attribute_name(wire)
        if _UNSPEAKABLE.search(wire):
            yield ("properties", wire), "no decoder takes a name with a quote, backslash or control character"
        elif not attribute.isidentifier() or attribute in _TAKEN:
            yield ("properties", wire), f"{wire!r} cannot be the name of a Python attribute"
        elif attribute in attributes:
            yield ("properties", wire), f"{attributes[attribute]} and {wire} would both be {attribute}"
        attributes[attribute] = wire
        for path, message in _member(member):
            yield ("properties", wire, *path), message


def _enumeration(words: list[str]) -> Iterator[tuple[Path, str]]:
    names: dict[str, str] = {}
    for word in words:
        name = enum_member_name(word)
        if not name.isidentifier() or keyword.iskeyword(name):
            yield ("enum",), f"{word!r} cannot be the name of a Python attribute"
        elif name in names:
            yield ("enum",), f"{names[name]} and {word} would both be {name}"
        names[name] = word


def _member(schema: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    if "$ref" in schema:
        heeded, kind = {"$ref"}, "a reference"
    else:
        given = schema.get("type")
        heeded = _HEEDED.get(given, set()) if isinstance(given, str) else set()
        kind = f"a member of type {given}" if isinstance(given, str) else "a member of any type"
        if schema.get("format") == "date-time":
            heeded, kind = {"format"}, "a date-time"
        if given == "array" and "items" not in schema:
            yield (), "say what its items are"
    for word in schema:
        if word not in heeded and word not in _ANNOTATIONS:
            yield (word,), f"{kind} has no {word}"
    for word in ("minimum", "maximum"):
        # No decoder has bounds like that, and infinity and NaN are none.
        if word in schema and not abs(schema[word]) < 2**63:
            yield (word,), "it is out of range"
            return
    if schema.get("type") == "integer":
        for word in ("minimum", "maximum"):
            if word in schema and schema[word] != int(schema[word]):
                yield (word,), "the bound of an integer is an integer"
    for low, high in (("minimum", "maximum"), ("minItems", "maxItems")):
        if low in schema and high in schema and schema[low] > schema[high]:
            yield (low,), f"it is more than {high}"
    if "items" in schema:
        for path, message in _member(schema["items"]):
            yield ("items", *path), message
