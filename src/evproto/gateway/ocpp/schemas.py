"""The official JSON Schemas of a version, each in one piece, as the API describes messages."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from evproto.gateway.adapter import CommandType
from evproto.gateway.ocpp.frames import answer_name
from evproto.ocppj import Dialect
from evproto.payloads import Sender
from evproto.spec.actions import ActionSpec, load_actions

__all__ = ["command_types", "message_schemas"]

Schema = dict[str, Any]


def command_types(dialect: Dialect) -> Mapping[str, CommandType]:
    """Every action that a charger can be sent, by name."""
    return _command_types(dialect.specs)


def message_schemas(dialect: Dialect) -> Mapping[str, Schema]:
    """The payloads of all messages, by the names that they have in events."""
    return _message_schemas(dialect.specs)


@functools.cache
def _command_types(name: str) -> Mapping[str, CommandType]:
    specs = load_actions(name)
    found = {
        action: _command_type(spec, specs.types)
        for action, spec in specs.actions.items()
        if Sender.CSMS.value in spec.sent_by
    }
    return MappingProxyType(found)


@functools.cache
def _message_schemas(name: str) -> Mapping[str, Schema]:
    specs = load_actions(name)
    found: dict[str, Schema] = {}
    for action, spec in specs.actions.items():
        found[action] = _inlined(spec.request, specs.types)
        if spec.response is not None:
            found[answer_name(action)] = _inlined(spec.response, specs.types)
    return MappingProxyType(found)


def _command_type(spec: ActionSpec, types: Mapping[str, Schema]) -> CommandType:
    schema = _inlined(spec.request, types)
    return CommandType(
        name=spec.name,
        code="",
        title=spec.name,
        answer=None if spec.response is None else answer_name(spec.name),
        schema={"title": spec.name, "description": f"Functional block {spec.block}", **schema},
        answer_schema=None
        if spec.response is None
        else {"title": answer_name(spec.name), **_inlined(spec.response, types)},
    )


def _inlined(value: Any, types: Mapping[str, Schema]) -> Any:
    """A schema without references; no type of the protocols contains itself."""
    if isinstance(value, list):
        return [_inlined(entry, types) for entry in value]
    if not isinstance(value, dict):
        return value
    found: Schema = {}
    if "$ref" in value:
        found.update(_inlined(types[value["$ref"].rpartition("/")[2]], types))
    found.update({key: _inlined(entry, types) for key, entry in value.items() if key != "$ref"})
    return found
