"""The payloads of a protocol as its specs have them, and their types in a word."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from evproto.cli.ocppj import codec_of
from evproto.spec.actions import ActionSpecs, Schema, load_actions

__all__ = ["Schemas", "limits_text", "schemas_of"]

_WORDS: Final = {"string": "text", "object": "object", "array": "list"}


class Schemas:
    """The actions and types of one protocol."""

    def __init__(self, specs: ActionSpecs) -> None:
        self.specs = specs

    def payload(self, action: str, part: str) -> Schema | None:
        """The schema of the ``request`` or ``response`` of an action; None if there is none."""
        spec = self.specs.actions.get(action)
        return None if spec is None else getattr(spec, part)

    def resolved(self, schema: Schema) -> tuple[Schema, str]:
        """A schema without references, and the name of the type that it is."""
        name = ""
        while "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = self.specs.types[name]
        return schema, name

    def type_text(self, schema: Schema) -> str:
        """``text``, ``date-time``, ``integer``, ``IdTokenType``, ``MeterValueType[]``."""
        schema, name = self.resolved(schema)
        if name:
            return name
        if schema.get("type") == "array":
            return f"{self.type_text(schema.get('items', {}))}[]"
        if "format" in schema:
            return str(schema["format"])
        kinds = schema.get("type", "any")
        names = [kinds] if isinstance(kinds, str) else kinds
        return " or ".join(_WORDS.get(kind, kind) for kind in names)


def limits_text(schema: Schema) -> str:
    """``≤ 20 characters``, ``0 to 100``, ``1 to 4 entries``, ``multiple of 0.1``."""
    parts = []
    if "maxLength" in schema:
        parts.append(f"≤ {schema['maxLength']} characters")
    parts += _between(schema.get("minimum"), schema.get("maximum"), "")
    parts += _between(schema.get("minItems"), schema.get("maxItems"), " entries")
    if schema.get("type") == "array" and "maxLength" in schema.get("items", {}):
        parts.append(f"each ≤ {schema['items']['maxLength']} characters")
    if "multipleOf" in schema:
        parts.append(f"multiple of {schema['multipleOf']}")
    if "default" in schema:
        default = schema["default"]
        parts.append(f"default {str(default).lower() if isinstance(default, bool) else default}")
    return ", ".join(parts)


def _between(low: Any, high: Any, unit: str) -> list[str]:
    if low is None and high is None:
        return []
    if high is None:
        return [f"≥ {low}{unit if low != 1 or not unit else ' entry'}"]
    if low is None:
        return [f"≤ {high}{unit}"]
    return [f"{low} to {high}{unit}"]


@cache
def schemas_of(protocol: str) -> Schemas:
    """The schemas of one of :data:`~evproto.cli.ocppj.PROTOCOLS`."""
    return Schemas(load_actions(codec_of(protocol).dialect.specs))
