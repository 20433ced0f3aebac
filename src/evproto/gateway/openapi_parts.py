"""Pieces of which the OpenAPI document is made; what is repeated is a component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evproto.gateway.problems import CODES, MEDIA_TYPE

__all__ = [
    "LIMIT",
    "PROTOCOL",
    "TEMPLATE",
    "Components",
    "Doc",
    "header",
    "in_path",
    "in_query",
    "json_content",
    "operation",
    "ref",
]

Doc = dict[str, Any]

TEMPLATE: Final = "#/components/schemas/{name}"
_DEFINITIONS: Final = ("$defs", "definitions")
"""Where a JSON Schema of its own keeps what it refers to."""
_OWN: Final = ("$schema", "$id")
"""What means something at the root of a document only."""


class Components:
    """The schemas, parameters and responses that a document refers to."""

    def __init__(self) -> None:
        self.schemas: Doc = {}
        self.parameters: Doc = {}
        self.responses: Doc = {}

    def add(self, name: str, schema: Mapping[str, Any]) -> Doc:
        """Take in a schema whose references are into this document; what refers to it."""
        known = self.schemas.setdefault(name, dict(schema))
        if known != schema:
            raise ValueError(f"two schemas are called {name}")
        return ref(name)

    def move_in(self, name: str, schema: Mapping[str, Any], space: str) -> Doc:
        """Take in a schema that stands by itself, and what it defines, which is called ``space.X`` here."""
        definitions = {key: one for member in _DEFINITIONS for key, one in schema.get(member, {}).items()}
        moved = {key: f"{space}.{key}" for key in definitions}
        for key, one in definitions.items():
            inner = _moved(one, moved)
            if self.schemas.get(moved[key], inner) != inner:
                # Another schema means something else by this name.
                moved[key] = f"{name}.{key}"
        for key, one in definitions.items():
            self.add(moved[key], _moved(one, moved))
        return self.add(name, _moved(schema, moved))

    def parameter(self, name: str, parameter: Doc) -> Doc:
        """Take in a parameter; what refers to it."""
        self.parameters[name] = parameter
        return {"$ref": f"#/components/parameters/{name}"}

    def problems(self, codes: Sequence[str]) -> Doc:
        """The answers with these problems, by status."""
        by_status: dict[int, list[str]] = {}
        for code in dict.fromkeys(codes):
            by_status.setdefault(CODES[code][0], []).append(code)
        found: Doc = {}
        for status, several in sorted(by_status.items()):
            name = "-".join(sorted(several))
            self.responses[name] = {
                "description": "; ".join(f"{code}: {CODES[code][1]}" for code in sorted(several)),
                "content": {MEDIA_TYPE: {"schema": ref("Problem")}},
            }
            found[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return found

    def document(self) -> Doc:
        """As a document has them."""
        return {"schemas": self.schemas, "parameters": self.parameters, "responses": self.responses}


def operation(
    components: Components,
    id: str,
    summary: str,
    tag: str,
    responses: Doc,
    parameters: Sequence[Doc] = (),
    problems: Sequence[str] = (),
    *,
    body: Doc | None = None,
    body_required: bool = True,
    about: str = "",
    open: bool = False,
) -> Doc:
    """An operation. ``problems`` are the codes that it may end in; ``open``: it needs no token."""
    out: Doc = {"operationId": id, "summary": summary, "tags": [tag], "responses": dict(responses)}
    if about:
        out["description"] = about
    if parameters:
        out["parameters"] = list(parameters)
    if body is not None:
        out["requestBody"] = {
            "required": body_required,
            "content": {"application/json": {"schema": body}},
        }
    if open:
        out["security"] = []
    codes = [*problems, "internal", *([] if open else ["unauthorized", "forbidden"])]
    for status, problem in components.problems(codes).items():
        out["responses"].setdefault(status, problem)
    return out


def in_query(name: str, schema: Doc, text: str) -> Doc:
    """A parameter in the query."""
    return {"name": name, "in": "query", "schema": schema, "description": text}


def in_path(name: str, text: str) -> Doc:
    """A part of the path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": text,
    }


def header(name: str, schema: Doc, text: str) -> Doc:
    """A header."""
    return {"name": name, "in": "header", "schema": schema, "description": text}


def ref(name: str) -> Doc:
    """What refers to a schema."""
    return {"$ref": TEMPLATE.format(name=name)}


def json_content(schema: Doc, text: str) -> Doc:
    """An answer with JSON in it."""
    return {"description": text, "content": {"application/json": {"schema": schema}}}


PROTOCOL: Final[Doc] = {"$ref": "#/components/parameters/protocol"}
"""The parameter that names a protocol; taken in with the paths of all chargers."""
LIMIT: Final = in_query(
    "limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "most items"
)


def _moved(value: Any, names: Mapping[str, str]) -> Any:
    """A schema whose definitions have moved."""
    if isinstance(value, list):
        return [_moved(one, names) for one in value]
    if not isinstance(value, Mapping):
        return value
    out: Doc = {}
    for key, one in value.items():
        if key == "$ref" and isinstance(one, str) and one.startswith(("#/$defs/", "#/definitions/")):
            out[key] = TEMPLATE.format(name=names[one.rpartition("/")[2]])
        elif key not in _OWN and not (key in _DEFINITIONS and isinstance(one, Mapping)):
            out[key] = _moved(one, names)
    return out
