"""The OpenAPI document (3.1): every command with the units, limits and names of its fields."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from evproto.gateway.adapter import Adapter, CommandType
from evproto.gateway.commands import Command
from evproto.gateway.problems import CODES, MEDIA_TYPE, Problem
from evproto.gateway.rest import Api
from evproto.gateway.views import AuditPage, DeadPage, FrameView, Health, Readiness

__all__ = ["openapi"]

Doc = dict[str, Any]

_TEMPLATE: Final = "#/components/schemas/{name}"
_ABOUT: Final = """\
Chargers, and what they are told. Every error is a problem (RFC 9457) with a `code`:

{codes}

A command waits for the charger's answer (200), unless `wait=false` or `Prefer: respond-async` is given:
then it is taken (202), and `GET /commands/{{id}}` tells how it goes on: `queued`, `sent`, then `accepted`,
`rejected`, `timeout` or `disconnected`; what no charger answers ends with `sent`. A command is never sent
twice: a request that is repeated under its `Idempotency-Key` gets the command it made the first time.

Fields are in the units of the protocol's document (`x-unit`), in its steps (`x-step`). Codes are taken as a
number, a name or both; `x-zh` is the name in the document.
"""


def openapi(api: Api, *, version: str) -> Doc:
    """The description of an API."""
    _, schemas = msgspec.json.schema_components(
        [Command, Problem, AuditPage, DeadPage, FrameView, Health, Readiness], ref_template=_TEMPLATE
    )
    # What the event is is described by its own schema.
    schemas["DeadLetterView"]["properties"]["event"] = {
        "type": "object",
        "description": "see /schemas/event.json",
    }
    for adapter in api.adapters:
        schemas.update(adapter.charger_schema)
        for command in adapter.commands.values():
            schemas[command.name] = command.schema
            if command.answer is not None and command.answer_schema is not None:
                schemas[command.answer] = command.answer_schema
    paths: Doc = {}
    for adapter in api.adapters:
        paths.update(_charger_paths(adapter))
    paths.update(_own_paths())
    codes = "\n".join(f"- `{code}` ({status}): {text}" for code, (status, text) in CODES.items())
    document: Doc = {
        "openapi": "3.1.0",
        "info": {
            "title": "evproto",
            "version": version,
            "description": _ABOUT.format(codes=codes),
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    if api.tokens.required:
        document["security"] = [{"token": []}]
    return document


def _charger_paths(adapter: Adapter) -> Doc:
    collection, noun = adapter.collection, adapter.noun
    identity = {
        "name": "identity",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": f"identity of the {noun}",
    }
    view = next(iter(name for name in adapter.charger_schema if name.endswith("View") and "Gun" not in name))
    page = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": _ref(view)},
            "next": {"type": ["string", "null"], "description": "give it as after for the next page"},
        },
        "required": ["items", "next"],
    }
    frames = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _ref("FrameView")}},
        "required": ["items"],
    }
    paths: Doc = {
        f"/{collection}": {
            "get": _operation(
                f"list_{collection}",
                f"All {collection} that are or were connected",
                collection,
                {"200": _json(page, f"{collection}, by identity")},
                [
                    _query("online", {"type": "boolean"}, "only those that are online, or are not"),
                    _query("after", {"type": "string"}, "begin behind this identity"),
                    _LIMIT,
                ],
                ["invalid"],
            )
        },
        f"/{collection}/{{identity}}": {
            "get": _operation(
                f"get_{noun}",
                f"What is known of a {noun}",
                collection,
                {"200": _json(_ref(view), f"the {noun}")},
                [identity],
                ["unknown_charger"],
            )
        },
        f"/{collection}/{{identity}}/frames": {
            "get": _operation(
                f"get_{noun}_frames",
                f"The last frames of a {noun}, decoded",
                collection,
                {"200": _json(frames, "frames, the newest last")},
                [
                    identity,
                    _query("reveal", {"type": "boolean"}, "show VINs, card numbers and passwords too"),
                    _LIMIT,
                ],
                ["unknown_charger", "invalid", "forbidden"],
            )
        },
    }
    for command in adapter.commands.values():
        paths[f"/{collection}/{{identity}}/commands/{command.name}"] = {
            "post": _command(adapter, command, identity)
        }
    return paths


def _command(adapter: Adapter, command: CommandType, identity: Doc) -> Doc:
    if command.answer is not None:
        about = f"Answered with {command.answer}."
    elif command.replies_to is not None:
        about = (
            f"Answers the {command.replies_to} that waits, under its sequence number; "
            "is sent all the same if none does."
        )
    else:
        about = "Nothing answers it."
    result: Doc = _ref("Command")
    if command.answer is not None:
        narrowed = {"properties": {"answer": {"anyOf": [_ref(command.answer), {"type": "null"}]}}}
        result = {"allOf": [_ref("Command"), narrowed]}
    operation = _operation(
        command.name,
        command.title,
        f"{adapter.noun} commands",
        {"200": _json(result, "it has ended"), "202": _json(_ref("Command"), "it is taken")},
        [
            identity,
            _query("wait", {"type": "boolean", "default": True}, "false: do not wait for the answer"),
            _query(
                "timeout",
                {"type": "number", "minimum": 1, "maximum": 3600},
                f"how long the {adapter.noun} has to answer, in seconds",
            ),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$"},
                "description": "the same key again gets the same command",
            },
        ],
        [
            "malformed",
            "unknown_charger",
            "offline",
            "idempotency_conflict",
            "too_large",
            "unsupported_media_type",
            "invalid",
            "disconnected",
            "storage",
            "draining",
            "timeout",
        ],
    )
    operation["description"] = f"Frame type {command.code}, {command.zh}. {about}"
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": _ref(command.name)}},
    }
    return operation


def _own_paths() -> Doc:
    id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    sink = _query("sink", {"type": "string"}, "of this receiver only")
    return {
        "/commands/{id}": {
            "get": _operation(
                "get_command",
                "How a command goes on",
                "commands",
                {"200": _json(_ref("Command"), "the command")},
                [
                    id,
                    _query(
                        "wait",
                        {"type": "number", "minimum": 0, "maximum": 60},
                        "wait so many seconds for its end",
                    ),
                ],
                ["not_found", "invalid", "storage"],
            )
        },
        "/audit": {
            "get": _operation(
                "get_audit",
                "Who told which charger what, the newest first",
                "commands",
                {"200": _json(_ref("AuditPage"), "lines of the log")},
                [
                    _query("charger", {"type": "string"}, "of this charger only"),
                    _query(
                        "before", {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}, "before this place"
                    ),
                    _LIMIT,
                ],
                ["invalid", "storage"],
            )
        },
        "/dead-letters": {
            "get": _operation(
                "list_dead_letters",
                "Events that a receiver refused for good, the oldest first",
                "events",
                {"200": _json(_ref("DeadPage"), "dead letters")},
                [
                    sink,
                    _query(
                        "skip", {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}, "leave out so many"
                    ),
                    _LIMIT,
                ],
                ["invalid", "storage"],
            )
        },
        "/dead-letters/{id}/replay": {
            "post": _operation(
                "replay_dead_letter",
                "Deliver a dead letter again",
                "events",
                {"204": {"description": "it is on its way"}},
                [id, sink],
                ["not_found", "storage"],
            )
        },
        "/dead-letters/{id}": {
            "delete": _operation(
                "discard_dead_letter",
                "Give up a dead letter",
                "events",
                {"204": {"description": "it is gone"}},
                [id, sink],
                ["not_found", "storage"],
            )
        },
        "/health": {
            "get": _operation(
                "get_health",
                "Whether the process runs",
                "state",
                {"200": _json(_ref("Health"), "it does")},
                open=True,
            )
        },
        "/ready": {
            "get": _operation(
                "get_readiness",
                "Whether chargers and callers should be sent here",
                "state",
                {"200": _json(_ref("Readiness"), "they should"), "503": _json(_ref("Readiness"), "not now")},
                open=True,
            )
        },
        "/metrics": {
            "get": _operation(
                "get_metrics",
                "Counters, for Prometheus",
                "state",
                {
                    "200": {
                        "description": "counters",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            )
        },
        "/openapi.json": {
            "get": _operation(
                "get_openapi",
                "This document",
                "state",
                {"200": _json({"type": "object"}, "OpenAPI 3.1")},
                open=True,
            )
        },
        "/schemas/event.json": {
            "get": _operation(
                "get_event_schema",
                "The JSON Schema of forwarded events",
                "events",
                {
                    "200": {
                        "description": "JSON Schema",
                        "content": {"application/schema+json": {"schema": {"type": "object"}}},
                    }
                },
                open=True,
            )
        },
    }


def _operation(
    id: str,
    summary: str,
    tag: str,
    responses: Doc,
    parameters: list[Doc] | None = None,
    problems: list[str] | None = None,
    *,
    open: bool = False,
) -> Doc:
    out: Doc = {"operationId": id, "summary": summary, "tags": [tag], "responses": dict(responses)}
    if parameters:
        out["parameters"] = parameters
    if open:
        out["security"] = []
    by_status: dict[int, list[str]] = {}
    for code in [*(problems or []), "internal", *([] if open else ["unauthorized", "forbidden"])]:
        by_status.setdefault(CODES[code][0], []).append(code)
    for status, codes in sorted(by_status.items()):
        if str(status) not in out["responses"]:
            out["responses"][str(status)] = {
                "description": "; ".join(f"{code}: {CODES[code][1]}" for code in dict.fromkeys(codes)),
                "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
            }
    return out


def _query(name: str, schema: Doc, text: str) -> Doc:
    return {"name": name, "in": "query", "schema": schema, "description": text}


_LIMIT: Final = _query(
    "limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "most items"
)


def _ref(name: str) -> Doc:
    return {"$ref": _TEMPLATE.format(name=name)}


def _json(schema: Doc, text: str) -> Doc:
    return {"description": text, "content": {"application/json": {"schema": schema}}}
