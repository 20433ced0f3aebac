"""The field tables of actions, as text and as JSON."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from evproto.cli.console import Console, display_width, pad
from evproto.cli.errors import UsageError
from evproto.cli.ocppj import PROTOCOLS, codec_of
from evproto.cli.ocppj.schemas import Schemas, limits_text, schemas_of
from evproto.payloads import Action, Payload, Sender
from evproto.spec.actions import Schema

__all__ = [
    "action_json",
    "action_lines",
    "action_list_lines",
    "find_actions",
    "find_tables",
    "is_action",
    "type_json",
    "type_lines",
]

_DIRECTIONS: Final[dict[tuple[Sender, ...], str]] = {
    (Sender.STATION,): "station → csms",
    (Sender.CSMS,): "csms → station",
}
_STEP: Final = "  "


def is_action(name: str) -> bool:
    """Whether any protocol has an action of exactly this name."""
    return any(name in schemas_of(protocol).specs.actions for protocol in PROTOCOLS)


def find_actions(text: str, protocol: str) -> set[str]:
    """The actions that a name or a part of one stands for.

    Raises:
        UsageError: there are none.
    """
    actions = schemas_of(protocol).specs.actions
    word = _squeezed(text)
    exact = {name for name in actions if name.lower() == word}
    found = exact or {name for name in actions if word and word in name.lower()}
    if found:
        return found
    close = get_close_matches(word, [name.lower() for name in actions], n=3, cutoff=0.5)
    names = [name for name in actions if name.lower() in close]
    hint = (
        f"did you mean {' or '.join(names)}?"
        if names
        else f"evproto frames --protocol {protocol} lists them all"
    )
    others = [
        other for other in PROTOCOLS if any(word == one.lower() for one in schemas_of(other).specs.actions)
    ]
    if others:
        hint = f"{', '.join(others)} {'has' if len(others) == 1 else 'have'} it"
    raise UsageError(f"{protocol} has no action {text!r}; {hint}")


def find_tables(text: str, protocol: str) -> tuple[list[str], list[str]]:
    """The actions, or else the types, that a name or a part of one stands for.

    Raises:
        UsageError: there are neither.
    """
    schemas = schemas_of(protocol)
    word = _squeezed(text)
    exact = [name for name in schemas.specs.types if name.lower() == word]
    if exact and not any(name.lower() == word for name in schemas.specs.actions):
        return [], exact
    for suffix, at in (("request", 7), ("response", 8)):
        if word.endswith(suffix) and any(name.lower() == word[:-at] for name in schemas.specs.actions):
            word = word[:-at]
    try:
        return sorted(find_actions(word, protocol)), []
    except UsageError:
        found = [name for name in schemas.specs.types if word and word in name.lower()]
        if not found:
            find_actions(text, protocol)
        return [], found


def _squeezed(text: str) -> str:
    return text.strip().lower().replace("_", "").replace("-", "").replace(" ", "")


def _direction(action: Action) -> str:
    return _DIRECTIONS.get(action.sent_by, "both ways")


# Lists


def action_list_lines(names: Iterable[str], protocol: str, console: Console) -> Iterator[str]:
    """One line per action."""
    codec, schemas = codec_of(protocol), schemas_of(protocol)
    rows = []
    for name in names:
        action = codec.dialect.actions[name]
        request = ", ".join(
            f"{member}{'' if member in _required(schemas.payload(name, 'request')) else '?'}"
            for member in (schemas.payload(name, "request") or {}).get("properties", {})
            if member != "customData"
        )
        rows.append((name, _direction(action), "CALL" if action.response else "SEND", action.block, request))
    heads = ("action", "sent", "", "block", "members of the request")
    widths = [max(display_width(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    widths[-1] = 0
    yield console.paint(_joined(heads, widths), "dim")
    for row in rows:
        cells = [pad(cell, size) for cell, size in zip(row, widths, strict=True)]
        room = 60
        if display_width(cells[-1]) > room:
            cells[-1] = f"{cells[-1][:room].rpartition(',')[0]}, …"
        cells[0] = console.paint(cells[0], "head")
        yield "  ".join(cells).rstrip()


def _joined(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(pad(cell, size) for cell, size in zip(cells, widths, strict=True)).rstrip()


def _required(schema: Schema | None) -> list[str]:
    return list((schema or {}).get("required", ()))


# Tables


class _Line(typing.NamedTuple):
    member: str
    attribute: str
    kind: str
    need: str
    limits: str


def action_lines(name: str, protocol: str, console: Console) -> Iterator[str]:
    """The tables of the request and the response of an action."""
    codec, schemas = codec_of(protocol), schemas_of(protocol)
    action = codec.dialect.actions[name]
    kind = "CALL" if action.response is not None else "SEND, which is never answered"
    yield f"{console.paint(name, 'head')}  {protocol}, {schemas.specs.edition.get('edition', '')}".rstrip(
        ", "
    )
    yield f"{_direction(action)}, {action.block}, {kind}"
    enums: dict[str, list[str]] = {}
    told: set[str] = set()
    for part in ("request", "response"):
        shape = getattr(action, part)
        if shape is None:
            continue
        yield ""
        yield f"{part} {console.paint(shape.type.__name__, 'bold')}"
        yield from _table(schemas, schemas.payload(name, part) or {}, shape.type, told, enums, console)
    yield from _enum_lines(schemas, enums, console)


def type_lines(name: str, protocol: str, console: Console) -> Iterator[str]:
    """The table of a type that payloads share."""
    schemas = schemas_of(protocol)
    schema = schemas.specs.types[name]
    yield f"{console.paint(name, 'head')}  {protocol}"
    users = [action for action, spec in schemas.specs.actions.items() if _uses(schemas, spec, name)]
    yield f"a type of {', '.join(users)}" if users else "a type that no action uses"
    enums: dict[str, list[str]] = {}
    if "enum" in schema:
        enums[name] = []
    else:
        yield ""
        messages = _module(protocol, "messages")
        yield from _table(schemas, schema, getattr(messages, name, None), set(), enums, console)
    yield from _enum_lines(schemas, enums, console)


def _module(protocol: str, name: str) -> Any:
    import importlib

    return getattr(importlib.import_module(PROTOCOLS[protocol]), name)


def _uses(schemas: Schemas, spec: Any, name: str) -> bool:
    from evproto.spec.actions import self_contained

    return any(
        schema is not None and name in self_contained(schema, schemas.specs.types)["definitions"]
        for schema in (spec.request, spec.response)
    )


def _table(
    schemas: Schemas,
    schema: Schema,
    cls: type[Any] | None,
    told: set[str],
    enums: dict[str, list[str]],
    console: Console,
) -> Iterator[str]:
    lines = list(_members(schemas, schema, cls, told, enums, "", ""))
    if not lines:
        yield "  no members"
        return
    heads = _Line("member", "attribute", "type", "", "")
    widths = [max(display_width(cell) for cell in column) for column in zip(heads, *lines, strict=True)]
    yield console.paint("  " + _joined(heads, widths), "dim")
    for line in lines:
        cells = [pad(cell, size) for cell, size in zip(line, widths, strict=True)]
        cells[0] = console.paint(cells[0], "blue")
        cells[4] = console.paint(cells[4], "dim")
        yield f"  {'  '.join(cells)}".rstrip()


def _members(
    schemas: Schemas,
    schema: Schema,
    cls: type[Any] | None,
    told: set[str],
    enums: dict[str, list[str]],
    indent: str,
    path: str,
) -> Iterator[_Line]:
    """The members of an object, those of the objects in it below them; of every type once."""
    required = _required(schema)
    fields = _fields(cls)
    for name, member in schema.get("properties", {}).items():
        inner, kind = schemas.resolved(member)
        limits = limits_text(inner)
        if inner.get("type") == "array":
            items = inner.get("items", {})
            inner, kind = schemas.resolved(items)
        field = fields.get(name)
        if "enum" in inner:
            enums.setdefault(kind or name, []).append(path + name)
        again = kind in told and bool(inner.get("properties"))
        if again:
            limits = f"{limits}, see above" if limits else "see above"
        yield _Line(
            indent + name,
            field.name if field is not None else "",
            schemas.type_text(member),
            "required" if name in required else "",
            limits,
        )
        if inner.get("properties") and kind != "CustomDataType" and not again:
            told.add(kind)
            below = _payload_class(field.type) if field is not None else None
            yield from _members(schemas, inner, below, told, enums, indent + _STEP, f"{path}{name}.")


def _fields(cls: type[Any] | None) -> dict[str, Any]:
    if cls is None or not isinstance(cls, type) or not issubclass(cls, Payload):
        return {}
    return {field.encode_name: field for field in msgspec.structs.fields(cls)}


def _payload_class(kind: Any) -> type[Any] | None:
    """The payload class in an annotation, however it is wrapped."""
    if isinstance(kind, type) and issubclass(kind, Payload):
        return kind
    for inner in typing.get_args(kind):
        found = _payload_class(inner)
        if found is not None:
            return found
    return None


def _enum_lines(schemas: Schemas, enums: dict[str, list[str]], console: Console) -> Iterator[str]:
    for name, members in enums.items():
        words = schemas.specs.types.get(name, {}).get("enum", [])
        yield ""
        of = f" of {console.paint(', '.join(dict.fromkeys(members)), 'blue')}" if members else ""
        yield f"{name}, the words{of}"
        for start in range(0, len(words), 4):
            yield "  " + _joined(words[start : start + 4], [28] * len(words[start : start + 4]))


# JSON


def action_json(name: str, protocol: str) -> dict[str, Any]:
    """The tables of an action for programs."""
    codec, schemas = codec_of(protocol), schemas_of(protocol)
    action = codec.dialect.actions[name]
    out: dict[str, Any] = {
        "protocol": protocol,
        "action": name,
        "sent_by": [sender.value for sender in action.sent_by],
        "block": action.block,
        "message": "CALL" if action.response is not None else "SEND",
    }
    for part in ("request", "response"):
        shape = getattr(action, part)
        if shape is not None:
            schema = schemas.payload(name, part) or {}
            out[part] = {
                "class": shape.type.__name__,
                "members": _members_json(schemas, schema, shape.type, ()),
            }
    return out


def type_json(name: str, protocol: str) -> dict[str, Any]:
    """The table of a type for programs."""
    schemas = schemas_of(protocol)
    schema = schemas.specs.types[name]
    out: dict[str, Any] = {"protocol": protocol, "type": name}
    if "enum" in schema:
        return {**out, "enum": schema["enum"]}
    cls = getattr(_module(protocol, "messages"), name, None)
    return {**out, "members": _members_json(schemas, schema, cls, (name,))}


def _members_json(
    schemas: Schemas, schema: Schema, cls: type[Any] | None, inside: tuple[str, ...]
) -> list[dict[str, Any]]:
    required, fields = _required(schema), _fields(cls)
    out = []
    for name, member in schema.get("properties", {}).items():
        inner, kind = schemas.resolved(member)
        entry: dict[str, Any] = {"name": name}
        field = fields.get(name)
        if field is not None:
            entry["attribute"] = field.name
        entry |= {"type": schemas.type_text(member), "required": name in required}
        entry |= {key: inner[key] for key in _LIMITS if key in inner}
        if inner.get("type") == "array":
            inner, kind = schemas.resolved(inner.get("items", {}))
            limits = {key: inner[key] for key in _LIMITS if key in inner}
            if limits:
                entry["each"] = limits
        if "enum" in inner:
            entry["enum"] = inner["enum"]
        if inner.get("properties") and kind not in inside:
            below = _payload_class(field.type) if field is not None else None
            entry["members"] = _members_json(schemas, inner, below, (*inside, kind))
        out.append(entry)
    return out


_LIMITS: Final = (
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "multipleOf",
    "format",
    "default",
)
