"""The OpenAPI document (3.1): every command with the units, limits and names of its fields."""

from __future__ import annotations

from typing import Final

import msgspec

from evproto.gateway.commands import Command
from evproto.gateway.openapi_chargers import charger_paths, neutral_paths, trigger_paths
from evproto.gateway.openapi_parts import (
    LIMIT,
    PROTOCOL,
    TEMPLATE,
    Components,
    Doc,
    header,
    in_path,
    in_query,
    json_content,
    operation,
    ref,
)
from evproto.gateway.page.events import KINDS, MOST_RATE
from evproto.gateway.problems import CODES, Problem
from evproto.gateway.rest import Api
from evproto.gateway.views import AuditPage, DeadPage, FrameView, Health, Readiness

__all__ = ["openapi"]

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
_STREAM: Final = """\
It goes on until the reader goes. Beside events there are `left_out` (`{"count": 12}`: more came than `rate`
allows), `gap` (the event of Last-Event-ID is not remembered any more; what follows need not be what came
next) and, last of all, `dropped`: the reader has not kept up."""


def openapi(api: Api, *, version: str) -> Doc:
    """The description of an API."""
    _, schemas = msgspec.json.schema_components(
        [Command, Problem, AuditPage, DeadPage, FrameView, Health, Readiness], ref_template=TEMPLATE
    )
    # What the event is is described by its own schema.
    schemas["DeadLetterView"]["properties"]["event"] = {
        "type": "object",
        "description": "see /schemas/event.json",
    }
    components = Components()
    for name, schema in schemas.items():
        components.add(name, schema)
    paths = neutral_paths(api.adapters, components)
    for adapter in api.adapters:
        paths.update(charger_paths(adapter, components))
    paths.update(trigger_paths(api.adapters, components))
    paths.update(_own_paths(components))
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
            **components.document(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    if api.tokens.required:
        document["security"] = [{"token": []}]
    return document


def _own_paths(components: Components) -> Doc:
    id = in_path("id", "its id")
    sink = in_query("sink", {"type": "string"}, "of this receiver only")
    return {
        "/commands/{id}": {
            "get": operation(
                components,
                "get_command",
                "How a command goes on",
                "commands",
                {"200": json_content(ref("Command"), "the command")},
                [
                    id,
                    in_query(
                        "wait",
                        {"type": "number", "minimum": 0, "maximum": 60},
                        "wait so many seconds for its end",
                    ),
                ],
                ["not_found", "invalid", "storage"],
            )
        },
        "/audit": {
            "get": operation(
                components,
                "get_audit",
                "Who told which charger what, the newest first",
                "commands",
                {"200": json_content(ref("AuditPage"), "lines of the log")},
                [
                    in_query("charger", {"type": "string"}, "of this charger only"),
                    in_query(
                        "before", {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}, "before this place"
                    ),
                    LIMIT,
                ],
                ["invalid", "storage"],
            )
        },
        "/dead-letters": {
            "get": operation(
                components,
                "list_dead_letters",
                "Events that a receiver refused for good, the oldest first",
                "events",
                {"200": json_content(ref("DeadPage"), "dead letters")},
                [
                    sink,
                    in_query(
                        "skip", {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}, "leave out so many"
                    ),
                    LIMIT,
                ],
                ["invalid", "storage"],
            )
        },
        "/dead-letters/{id}/replay": {
            "post": operation(
                components,
                "replay_dead_letter",
                "Deliver a dead letter again",
                "events",
                {"204": {"description": "it is on its way"}},
                [id, sink],
                ["not_found", "storage"],
            )
        },
        "/dead-letters/{id}": {
            "delete": operation(
                components,
                "discard_dead_letter",
                "Give up a dead letter",
                "events",
                {"204": {"description": "it is gone"}},
                [id, sink],
                ["not_found", "storage"],
            )
        },
        "/health": {
            "get": operation(
                components,
                "get_health",
                "Whether the process runs",
                "state",
                {"200": json_content(ref("Health"), "it does")},
                open=True,
            )
        },
        "/ready": {
            "get": operation(
                components,
                "get_readiness",
                "Whether chargers and callers should be sent here",
                "state",
                {
                    "200": json_content(ref("Readiness"), "they should"),
                    "503": json_content(ref("Readiness"), "not now"),
                },
                open=True,
            )
        },
        "/metrics": {
            "get": operation(
                components,
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
            "get": operation(
                components,
                "get_openapi",
                "This document",
                "state",
                {"200": json_content({"type": "object"}, "OpenAPI 3.1")},
                open=True,
            )
        },
        "/events": {
            "get": operation(
                components,
                "stream_events",
                "What happens, as server-sent events",
                "events",
                {
                    "200": {
                        "description": "events as in /schemas/event.json",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    }
                },
                [
                    PROTOCOL,
                    in_query("id", {"type": "string"}, "of this charger only"),
                    in_query("charger", {"type": "string"}, "of chargers with this in their identity"),
                    in_query("name", {"type": "string"}, "one message only"),
                    in_query(
                        "kind",
                        {"type": "array", "items": {"enum": list(KINDS)}},
                        "of these kinds only; may be given several times",
                    ),
                    in_query("heartbeats", {"type": "boolean", "default": True}, "false: all but heartbeats"),
                    in_query(
                        "rate",
                        {"type": "integer", "minimum": 1, "maximum": MOST_RATE},
                        "at most so many a second; how many were left out is said",
                    ),
                    header("Last-Event-ID", {"type": "string"}, "go on behind this event"),
                ],
                ["invalid", "busy"],
                about=_STREAM,
            )
        },
        "/schemas/event.json": {
            "get": operation(
                components,
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
