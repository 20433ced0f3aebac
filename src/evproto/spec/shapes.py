"""What is to be known of a payload beside its types: where date-times, tenths, URIs and the like are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evproto.spec.actions import Schema
from evproto.spec.naming import attribute_name

__all__ = ["shape_facts"]


def shape_facts(schema: Schema, types: Mapping[str, Schema]) -> dict[str, tuple[object, ...]]:
    """The keyword arguments of :class:`evproto.payloads.Shape` for a payload, those that are not empty."""
    times: list[object] = []
    tenths: list[object] = []
    uris: list[object] = []
    anything: list[object] = []
    for path, member in _members(schema, types, ""):
        if member.get("format") == "date-time":
            times.append(path)
        if member.get("format") == "uri":
            uris.append(path)
        if "multipleOf" in member:
            tenths.append(path)
        if "type" not in member:
            anything.append(path)
    aliases: list[object] = [
        (alias, wire)
        for wire, member in schema["properties"].items()
        for alias in member.get("x-aliases", ())
    ]
    sent_as: list[object] = [
        (attribute_name(wire), member["x-sent-as"])
        for wire, member in schema["properties"].items()
        if "x-sent-as" in member
    ]
    facts: dict[str, list[object]] = {
        "times": times,
        "tenths": tenths,
        "uris": uris,
        "anything": anything,
        "aliases": aliases,
        "sent_as": sent_as,
    }
    return {name: tuple(values) for name, values in facts.items() if values}


def _members(schema: Schema, types: Mapping[str, Schema], path: str) -> Iterator[tuple[str, Schema]]:
    """Every member at every depth, by its path in attributes."""
    if "$ref" in schema:
        schema = types[schema["$ref"].removeprefix("#/definitions/")]
    if "items" in schema:
        yield from _members(schema["items"], types, f"{path}[]")
    for wire, member in schema.get("properties", {}).items():
        yield from _members(member, types, f"{path}.{attribute_name(wire)}" if path else attribute_name(wire))
    if path:
        yield path, schema
