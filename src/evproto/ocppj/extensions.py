"""Actions and data transfers of a vendor's own, described by schemas at run time.

An extension is a dict, or a JSON file, in the form of the specs::

    {
      "types": {"FanMode": {"type": "string", "enum": ["Silent", "Full"]}},
      "actions": [
        {"action": "SetFan", "block": "Acme", "sentBy": ["csms"], "message": "call",
         "request": {"type": "object", "properties": {"mode": {"$ref": "#/definitions/FanMode"}},
                     "required": ["mode"], "additionalProperties": false},
         "response": {"type": "object", "properties": {}, "additionalProperties": false}}
      ],
      "dataTransfers": [
        {"action": "DataTransfer", "vendorId": "com.acme", "messageId": "fanSpeed",
         "request": {"type": "object", "properties": {"rpm": {"type": "integer"}}}}
      ]
    }

The schemas have the keywords that OCPP's own have (``specs/meta``); others
are refused, because what is not checked must not look as if it were. Classes
made of them are messages like the generated ones, except that they cannot be
pickled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from evproto.errors import SpecError
from evproto.ocppj.dialect import Dialect, Transfer
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
from evproto.spec.actions import Schema, self_contained
from evproto.spec.naming import attribute_name, enum_member_name
from evproto.spec.problems import Problems
from evproto.spec.shapes import shape_facts

__all__ = ["extend_dialect"]

_META = {"maxLength": "max_length", "minItems": "min_length", "maxItems": "max_length"}


def extend_dialect(dialect: Dialect, extension: Mapping[str, Any] | Path | str) -> Dialect:
    """``dialect`` with the actions and data transfers of an extension.

    Raises:
        SpecError: the extension is not in the form of the specs, or names an
            action that the dialect has.
    """
    given: Mapping[str, Any]
    if isinstance(extension, str | Path):
        given = json.loads(Path(extension).read_text(encoding="utf-8"))
        _check(given, str(extension), dialect)
    else:
        given = extension
        _check(given, "extension", dialect)
    types: dict[str, Schema] = {**given.get("types", {})}
    classes = _Classes(types)
    actions: dict[str, Action] = dict(dialect.actions)
    schemas = dict(dialect.schemas)
    for spec in given.get("actions", ()):
        name = spec["action"]
        about: dict[str, Any] = {"action_name": name}
        response: Shape | None = None
        if spec["message"] == "call":
            response = classes.shape(f"{name}Response", spec["response"], Response, about)
            # As the class statement would note it.
            answered = {**about, "__orig_bases__": (Request[response.type],)}  # type: ignore[name-defined]
            request = classes.shape(f"{name}Request", spec["request"], Request, answered)
            schemas[name, "response"] = self_contained(spec["response"], types)
        else:
            request = classes.shape(name, spec["request"], Notification, about)
        schemas[name, "request"] = self_contained(spec["request"], types)
        senders = tuple(Sender(sender) for sender in spec["sentBy"])
        actions[name] = Action(name, spec["block"], senders, request, response)
    transfers = list(dialect.transfers)
    for spec in given.get("dataTransfers", ()):
        made = {}
        for part in ("request", "response"):
            if part in spec:
                title = "".join(map(str.capitalize, (spec.get("messageId") or "data").split()))
                made[part] = classes.shape(f"{title}{part.capitalize()}Data", spec[part], DataType, {})
                key = _transfer_key(spec["action"], spec["vendorId"], spec.get("messageId", ""))
                schemas[key, part] = self_contained(spec[part], types)
        transfers.append(Transfer(spec["action"], spec["vendorId"], spec.get("messageId", ""), **made))
    return dataclasses.replace(
        dialect, actions=MappingProxyType(actions), schemas=schemas, transfers=tuple(transfers)
    )


def _transfer_key(action: str, vendor: str, message: str) -> str:
    return f"{action} {vendor} {message}".rstrip()


def _check(extension: Mapping[str, Any], file: str, dialect: Dialect) -> None:
    from evproto.spec.schema import schema_errors

    problems = Problems()
    for key in sorted(set(extension) - {"types", "actions", "dataTransfers"}):
        problems.add(file, 1, (key,), "an extension has types, actions and dataTransfers")
    for path, message in schema_errors({"definitions": extension.get("types", {})}, "payload"):
        problems.add(file, 1, path, message)
    for at, spec in enumerate(extension.get("actions", ())):
        for path, message in schema_errors(spec, "action"):
            problems.add(file, 1, ("actions", at, *path), message)
        if isinstance(spec, Mapping) and spec.get("action") in dialect.actions:
            problems.add(file, 1, ("actions", at), f"{dialect.name} has an action {spec['action']}")
    for at, spec in enumerate(extension.get("dataTransfers", ())):
        here = ("dataTransfers", at)
        if not isinstance(spec, Mapping) or not isinstance(spec.get("vendorId"), str):
            problems.add(file, 1, here, "a data transfer has a vendorId")
        elif spec.get("action") not in dialect.actions:
            problems.add(file, 1, here, f"{dialect.name} has no action {spec.get('action')!r}")
        else:
            for part in ("request", "response"):
                if part in spec:
                    for path, message in schema_errors({"definitions": {"Data": spec[part]}}, "payload"):
                        problems.add(file, 1, (*here, part, *path[2:]), message)
    problems.raise_if_any()
    try:
        every = [spec[part] for spec in _specs(extension) for part in ("request", "response") if part in spec]
        for schema in every:
            self_contained(schema, extension.get("types", {}))
    except KeyError as missing:
        problems.add(file, 1, ("types",), f"no type {missing.args[0]}")
        raise SpecError(_found(problems)) from None


def _specs(extension: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*extension.get("actions", ()), *extension.get("dataTransfers", ())]


def _found(problems: Problems) -> tuple[Any, ...]:
    try:
        problems.raise_if_any()
    except SpecError as error:
        return error.problems
    return ()


class _Classes:
    """Classes made of schemas; each shared type once."""

    def __init__(self, types: Mapping[str, Schema]) -> None:
        self.types = types
        self._made: dict[str, Any] = {"CustomDataType": CustomDataType}

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
            name, fields, bases=(base,), namespace=namespace, frozen=True, kw_only=True, gc=False
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
        match schema.get("type"):
            case "string" if schema.get("format") == "date-time":
                return DateTime
            case "string":
                return Annotated[str, msgspec.Meta(**limits)] if limits else str
            case "integer":
                return Annotated[int, msgspec.Meta(**bounds)] if bounds else int
            case "number":
                if not bounds:
                    return int | float
                return Annotated[int, msgspec.Meta(**bounds)] | Annotated[float, msgspec.Meta(**bounds)]
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
