"""Classes made of an extension at run time.

The form of extensions is described in :mod:`evproto.spec.extension`. Classes
made here are messages like the generated ones, except that they cannot be
pickled and type checkers know nothing of them; ``evproto generate --extension``
writes a package of the same classes that has neither fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from evproto.ocppj.dialect import SEND, Dialect, Transfer
from evproto.payloads import (
    Action,
    CustomDataType,
    DataType,
    DateTime,
    Maybe,
    Notification,
    OpenStrEnum,
    Payload,
    Request,
    Response,
    Sender,
    Shape,
)
from evproto.spec.actions import ActionSpec, Schema
from evproto.spec.extension import load_extension
from evproto.spec.naming import attribute_name, enum_member_name
from evproto.spec.shapes import shape_facts

__all__ = ["extend_dialect"]

_META = {"maxLength": "max_length", "minItems": "min_length", "maxItems": "max_length"}


def extend_dialect(dialect: Dialect, extension: Mapping[str, Any] | Path | str) -> Dialect:
    """``dialect`` with the actions and data transfers of an extension, a dict or a JSON file.

    Raises:
        SpecError: the extension is not in the form of the specs, or names an
            action that the dialect has.
        OSError: the file cannot be read.
    """
    specs = load_extension(
        extension, protocol=dialect.name, actions=dialect.actions, sends=SEND in dialect.message_types
    )
    classes = _Classes(specs.types)
    transfers = [
        Transfer(
            transfer.action,
            transfer.vendor_id,
            transfer.message_id,
            **{part: classes.shape(name, schema, DataType, {}) for part, name, schema in transfer.parts},
        )
        for transfer in specs.transfers
    ]
    actions = {name: classes.action(spec) for name, spec in specs.actions.items()}
    return dialect.extended(actions, tuple(transfers), specs.schemas())


class _Classes:
    """Classes made of schemas; each shared type once."""

    def __init__(self, types: Mapping[str, Schema]) -> None:
        self.types = types
        self._made: dict[str, Any] = {"CustomDataType": CustomDataType}

    def action(self, spec: ActionSpec) -> Action:
        """The action, with a class for its request and its response."""
        name, senders = spec.name, tuple(Sender(sender) for sender in spec.sent_by)
        about: dict[str, Any] = {"action_name": name}
        if spec.response is None:
            request = self.shape(name, spec.request, Notification, about)
            return Action(name, spec.block, senders, request, None)
        response = self.shape(f"{name}Response", spec.response, Response, about)
        # As the class statement would note it.
        about["__orig_bases__"] = (Request[response.type],)  # type: ignore[name-defined]
        request = self.shape(f"{name}Request", spec.request, Request, about)
        return Action(name, spec.block, senders, request, response)

    def shape(self, name: str, schema: Schema, base: type[Payload], namespace: dict[str, Any]) -> Shape:
        facts: dict[str, Any] = shape_facts(schema, self.types)
        return Shape(self._struct(name, schema, base, namespace), **facts)

    def _struct(
        self, name: str, schema: Schema, base: type[Payload], namespace: dict[str, Any]
    ) -> type[Payload]:
        required = schema.get("required", ())
        fields: list[Any] = []
        for wire, member in schema["properties"].items():
            kind = self._type(member)
            if wire in required:
                fields.append((attribute_name(wire), kind, msgspec.field(name=wire)))
            else:
                fields.append((attribute_name(wire), Maybe[kind], msgspec.field(default=None, name=wire)))
        made: type[Payload] = msgspec.defstruct(  # type: ignore[assignment]
            name, fields, bases=(base,), namespace=dict(namespace), frozen=True, kw_only=True, gc=False
        )
        return made

    def _type(self, schema: Schema) -> Any:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name not in self._made:
                shared = self.types[name]
                if "enum" in shared:
                    members = [(enum_member_name(value), value) for value in shared["enum"]]
                    make: Any = OpenStrEnum
                    self._made[name] = make(name, members)
                else:
                    self._made[name] = self._struct(name, shared, DataType, {})
            return self._made[name]
        limits = {_META[key]: schema[key] for key in _META if key in schema}
        bounds = {word: schema[key] for key, word in (("minimum", "ge"), ("maximum", "le")) if key in schema}
        whole = {word: (math.ceil if word == "ge" else math.floor)(bound) for word, bound in bounds.items()}
        match schema.get("type"):
            case "string" if schema.get("format") == "date-time":
                return DateTime
            case "string":
                return Annotated[str, msgspec.Meta(**limits)] if limits else str
            case "integer":
                return Annotated[int, msgspec.Meta(**whole)] if whole else int
            case "number":
                if not bounds:
                    return int | float
                return Annotated[int, msgspec.Meta(**whole)] | Annotated[float, msgspec.Meta(**bounds)]
            case "boolean":
                return bool
            case "array":
                entry: Any = self._type(schema["items"])
                entries: Any = tuple[entry, ...]
                return Annotated[entries, msgspec.Meta(**limits)] if limits else entries
            case ["string", "integer"]:
                return str | int
            case _:
                return Any
