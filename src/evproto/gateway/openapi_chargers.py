"""What the OpenAPI document says of chargers and commands: of each protocol, and of all together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from evproto.gateway.adapter import Adapter, CommandType
from evproto.gateway.chargers_rest import VERBS
from evproto.gateway.neutral import ChargerDetail, ChargerList, family
from evproto.gateway.openapi_parts import (
    LIMIT,
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
from evproto.gateway.triggers import ChargerStatus, MessageStatus, Reference, triggers

__all__ = ["charger_paths", "neutral_paths", "trigger_paths"]

_REFUSALS = [
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
]
"""How a command may end, other than in an answer."""
_REVEAL = in_query("reveal", {"type": "boolean"}, "show VINs, card numbers and passwords too")
_ONLINE = in_query("online", {"type": "boolean"}, "only those that are online, or are not")
_AFTER = in_query("after", {"type": "string"}, "begin behind this identity")
_FRAMES: Doc = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": ref("FrameView")}},
    "required": ["items"],
}


def component(adapter: Adapter, name: str) -> str:
    """What a schema of a protocol is called: a protocol whose versions are collections names them."""
    return name if family(adapter.protocol) == adapter.protocol else f"{adapter.protocol}.{name}"


def charger_paths(adapter: Adapter, components: Components) -> Doc:
    """The collection of one protocol."""
    collection, noun = adapter.collection, adapter.noun
    own = component(adapter, noun)
    view = _view(adapter, components)
    identity = components.parameter(f"{collection}.identity", in_path("identity", f"identity of the {noun}"))
    page = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": view},
            "next": {"type": ["string", "null"], "description": "give it as after for the next page"},
        },
        "required": ["items", "next"],
    }
    one = f"/{collection}/{{identity}}"
    paths: Doc = {
        f"/{collection}": {
            "get": operation(
                components,
                f"list_{collection}",
                f"All {collection} that are or were connected",
                collection,
                {"200": json_content(page, f"{collection}, by identity")},
                [_ONLINE, _AFTER, LIMIT],
                ["invalid"],
            )
        },
        one: {
            "get": operation(
                components,
                f"get_{own}",
                f"What is known of a {noun}",
                collection,
                {"200": json_content(view, f"the {noun}")},
                [identity],
                ["unknown_charger"],
            )
        },
        f"{one}/frames": {
            "get": operation(
                components,
                f"get_{own}_frames",
                f"The last frames of a {noun}, decoded",
                collection,
                {"200": json_content(_FRAMES, "frames, the newest last")},
                [identity, _REVEAL, LIMIT],
                ["unknown_charger", "invalid", "forbidden"],
            )
        },
    }
    for command in adapter.commands.values():
        name = component(adapter, command.name)
        paths[f"{one}/commands/{command.name}"] = {
            "post": operation(
                components,
                name,
                command.title,
                f"{adapter.noun} commands" if name == command.name else f"{adapter.protocol} commands",
                _ends(components, [(adapter, command)]),
                [identity, *_how(components)],
                _REFUSALS,
                body=_body(adapter, command, components),
                about=_about(command),
            )
        }
    return paths


def neutral_paths(adapters: Sequence[Adapter], components: Components) -> Doc:
    """The collection of all protocols."""
    _, schemas = msgspec.json.schema_components(
        [ChargerList, ChargerDetail, *VERBS.values()], ref_template=TEMPLATE
    )
    schemas["ChargerDetail"]["properties"]["detail"] = {
        "description": "what the collection of its protocol says",
        "anyOf": [_view(adapter, components) for adapter in adapters] or [{"type": "object"}],
    }
    for name, schema in schemas.items():
        components.add(name, schema)
    names = sorted({adapter.protocol for adapter in adapters} | {family(one.protocol) for one in adapters})
    which: Doc = {"type": "string", "enum": names} if names else {"type": "string"}
    identity = components.parameter("identity", in_path("identity", "identity of the charger"))
    protocol = components.parameter(
        "protocol", in_query("protocol", which, "of this protocol, or of all its versions")
    )
    where = [identity, protocol]
    missing = ["unknown_charger", "ambiguous", "invalid"]
    one = "/chargers/{identity}"
    paths: Doc = {
        "/chargers": {
            "get": operation(
                components,
                "list_chargers",
                "All chargers that are or were connected, of all protocols",
                "chargers",
                {"200": json_content(ref("ChargerList"), "chargers, by identity")},
                [_ONLINE, protocol, _AFTER, LIMIT],
                ["invalid"],
            )
        },
        one: {
            "get": operation(
                components,
                "get_charger",
                "What is known of a charger",
                "chargers",
                {"200": json_content(ref("ChargerDetail"), "the charger")},
                where,
                missing,
            )
        },
        f"{one}/frames": {
            "get": operation(
                components,
                "get_charger_frames",
                "The last frames of a charger, decoded",
                "chargers",
                {"200": json_content(_FRAMES, "frames, the newest last")},
                [*where, _REVEAL, LIMIT],
                [*missing, "forbidden"],
            )
        },
    }
    for verb, body in VERBS.items():
        paths[f"{one}/{verb}"] = {
            "post": operation(
                components,
                f"{verb}_charger",
                str(components.schemas[body.__name__]["description"]).partition(".")[0],
                "chargers",
                _ends(components, []),
                [*where, *_how(components)],
                [*_REFUSALS, "ambiguous"],
                body=ref(body.__name__),
                body_required=False,
                about="It becomes a command of the charger's protocol, which is what the answer shows.",
            )
        }
    paths.update(_commands_of_all(adapters, components, where))
    return paths


def trigger_paths(adapters: Sequence[Adapter], components: Components) -> Doc:
    """The routes of ocpp16-go, where something that is served can be triggered."""
    actions = sorted({action for adapter in adapters for action in triggers(adapter)})
    if not actions:
        return {}
    _, schemas = msgspec.json.schema_components(
        [ChargerStatus, MessageStatus, Reference], ref_template=TEMPLATE
    )
    for name, schema in schemas.items():
        components.add(name, schema)
    failed = json_content(ref("Reference"), "it has failed; nothing was sent")
    who = in_path("name", "identity of the charger")
    tag = "ocpp16-go"
    return {
        "/charger/{name}/status": {
            "get": operation(
                components,
                "get_charger_status",
                "Whether a charger is connected",
                tag,
                {"200": json_content(ref("ChargerStatus"), "the charger"), "404": failed, "409": failed},
                [who],
            )
        },
        "/message/{id}/status": {
            "get": operation(
                components,
                "get_message_status",
                "What has become of a message",
                tag,
                {"200": json_content(ref("MessageStatus"), "the message"), "404": failed},
                [in_path("id", "the reference of what was triggered, or the id of any command")],
                ["storage"],
            )
        },
        "/command/{name}/triggeraction/{action}": {
            "post": operation(
                components,
                "trigger_action",
                "Have a charger send a message",
                tag,
                {
                    "200": json_content(ref("Reference"), "it is on its way"),
                    **dict.fromkeys(("400", "404", "409", "422"), failed),
                },
                [who, {**in_path("action", "the message"), "schema": {"type": "string", "enum": actions}}],
                ["storage", "draining"],
            )
        },
    }


def _commands_of_all(adapters: Sequence[Adapter], components: Components, where: list[Doc]) -> Doc:
    """Every command of every protocol, by name."""
    by_name: dict[str, list[tuple[Adapter, CommandType]]] = {}
    of_protocols: list[Doc] = []
    for adapter in adapters:
        variants: Doc = {}
        for command in adapter.commands.values():
            by_name.setdefault(command.name, []).append((adapter, command))
            variants[command.name] = components.add(
                f"{component(adapter, command.name)}.told",
                {
                    "type": "object",
                    "properties": {
                        "name": {"const": command.name},
                        "fields": _body(adapter, command, components),
                        "protocol": {"enum": ["", adapter.protocol, family(adapter.protocol)]},
                    },
                    "required": ["name", "fields"] if command.schema.get("required") else ["name"],
                    "additionalProperties": False,
                },
            )
        if variants:
            of_protocols.append(
                components.add(
                    f"{adapter.protocol}.commands",
                    {
                        "title": f"A command of {adapter.protocol}",
                        "oneOf": list(variants.values()),
                        "discriminator": {
                            "propertyName": "name",
                            "mapping": {name: one["$ref"] for name, one in variants.items()},
                        },
                    },
                )
            )
    one = "/chargers/{identity}/commands"
    paths: Doc = {}
    if of_protocols:
        paths[one] = {
            "post": operation(
                components,
                "tell_charger",
                "A command of the charger's protocol",
                "chargers",
                _ends(components, []),
                [*where, *_how(components)],
                [*_REFUSALS, "ambiguous", "not_found"],
                body={"anyOf": of_protocols},
                about="Which of them is meant is decided by what the charger speaks.",
            )
        }
    for name, several in by_name.items():
        bodies = [_body(adapter, command, components) for adapter, command in several]
        spoken = ", ".join(adapter.protocol for adapter, _ in several)
        paths[f"{one}/{name}"] = {
            "post": operation(
                components,
                f"charger.{name}",
                several[0][1].title,
                "commands by name",
                _ends(components, several),
                [*where, *_how(components)],
                [*_REFUSALS, "ambiguous", "not_found"],
                body=bodies[0] if len(bodies) == 1 else {"anyOf": bodies},
                about=f"To chargers of {spoken}.",
            )
        }
    return paths


def _view(adapter: Adapter, components: Components) -> Doc:
    """What a charger of a protocol looks like: of its schemas the one that no other refers to."""
    schemas = adapter.charger_schema
    inner = {name for schema in schemas.values() for name in _referred(schema)}
    for name, schema in schemas.items():
        components.add(name, schema)
    return ref(next(name for name in schemas if name not in inner))


def _referred(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"].rpartition("/")[2]} if "$ref" in value else set()
        return found.union(*map(_referred, value.values()))
    return set().union(*map(_referred, value)) if isinstance(value, list) else set()


def _body(adapter: Adapter, command: CommandType, components: Components) -> Doc:
    return components.move_in(component(adapter, command.name), command.schema, adapter.protocol)


def _answer(adapter: Adapter, command: CommandType, components: Components) -> Doc | None:
    if command.answer is None or command.answer_schema is None:
        return None
    return components.move_in(component(adapter, command.answer), command.answer_schema, adapter.protocol)


def _ends(components: Components, commands: Sequence[tuple[Adapter, CommandType]]) -> Doc:
    """How commands end that are taken."""
    answers = [_answer(adapter, command, components) for adapter, command in commands]
    known = [answer for answer in answers if answer is not None]
    result: Doc = ref("Command")
    if known:
        narrowed = {"properties": {"answer": {"anyOf": [*known, {"type": "null"}]}}}
        result = {"allOf": [ref("Command"), narrowed]}
    return {"200": json_content(result, "it has ended"), "202": json_content(ref("Command"), "it is taken")}


def _about(command: CommandType) -> str:
    parts = [part for part in (f"Frame type {command.code}" if command.code else "", command.zh) if part]
    if command.answer is not None:
        about = f"Answered with {command.answer}."
    elif command.replies_to is not None:
        about = (
            f"Answers the {command.replies_to} that waits, under its sequence number; "
            "is sent all the same if none does."
        )
    else:
        about = "Nothing answers it."
    return f"{', '.join(parts)}. {about}" if parts else about


def _how(components: Components) -> list[Doc]:
    """What all commands take besides their fields."""
    return [
        components.parameter(
            "wait",
            in_query("wait", {"type": "boolean", "default": True}, "false: do not wait for the answer"),
        ),
        components.parameter(
            "timeout",
            in_query(
                "timeout",
                {"type": "number", "minimum": 1, "maximum": 3600},
                "how long the charger has to answer, in seconds",
            ),
        ),
        components.parameter(
            "Idempotency-Key",
            header(
                "Idempotency-Key",
                {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$"},
                "the same key again gets the same command",
            ),
        ),
    ]
