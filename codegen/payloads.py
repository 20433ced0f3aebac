"""Payload classes and enumerations by datamodel-code-generator.

It turns the schemas into annotations with their limits; the templates in
``templates/actions/models`` decide what a class looks like. Two things are
told to it otherwise than the schemas say them:

* every member is required: it would sort the others behind, and mark them
  with UNSET; the template knows which may be absent;
* no defaults: they say what absence means, and are never sent.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from evproto.spec.actions import ActionSpecs, Schema, self_contained
from evproto.spec.naming import attribute_name, enum_member_name

__all__ = ["docstring", "enum_classes", "payload_classes", "payload_names"]

TEMPLATES = "templates/actions/models"
_SENDERS = {"station": "the charging station", "csms": "the central system"}


def payload_names(specs: ActionSpecs) -> Mapping[str, tuple[str, str | None]]:
    """Class names of request and response, by action."""
    return {
        action.name: (action.name, None)
        if action.response is None
        else (f"{action.name}Request", f"{action.name}Response")
        for action in specs.actions.values()
    }


def enum_classes(specs: ActionSpecs) -> str:
    """The text of all enumeration classes."""
    definitions = {name: schema for name, schema in specs.types.items() if "enum" in schema}
    extra: dict[str, Any] = {}
    for name, schema in definitions.items():
        names = [enum_member_name(value) for value in schema["enum"]]
        if len(set(names)) != len(names):
            raise ValueError(f"{specs.name}: two members of {name} would have one name: {names}")
        extra[name] = {"names": names, "doc": docstring(_used_by(specs, name))}
    plain = {name: {"type": "string", "enum": schema["enum"]} for name, schema in definitions.items()}
    return _generate(plain, extra, {})


def payload_classes(specs: ActionSpecs) -> str:
    """The text of all payload and data type classes."""
    # Whose enumerations these are is said by the template: only the names are taken from here.
    overrides = {name: f"enums.{name}" for name, schema in specs.types.items() if "enum" in schema}
    definitions: dict[str, Schema] = {}
    extra: dict[str, Any] = {}
    for name, schema in specs.types.items():
        if name == "CustomDataType":
            overrides[name] = "evproto.payloads.CustomDataType"
            # Only its name is used; the class is written by hand.
            definitions[name] = {"type": "object", "properties": {}}
            continue
        if "enum" not in schema:
            definitions[name] = schema
            extra[name] = _class(schema, "DataType", _used_by(specs, name))
        else:
            definitions[name] = {"type": "string", "enum": schema["enum"]}
    for action in specs.actions.values():
        request, response = payload_names(specs)[action.name]
        by = " and ".join(_SENDERS[sender] for sender in action.sent_by)
        block = f"{action.name} ({action.block})"
        definitions[request] = action.request
        parent = "Notification" if response is None else f'Request["{response}"]'
        answered = "; never answered" if response is None else ""
        extra[request] = _class(action.request, parent, f"{block}, sent by {by}{answered}.", action.name)
        if response is not None and action.response is not None:
            definitions[response] = action.response
            extra[response] = _class(action.response, "Response", f"Answers {action.name}.", action.name)
    for transfer in specs.transfers:
        for part, name, schema in transfer.parts:
            definitions[name] = schema
            message = f", message {transfer.message_id}" if transfer.message_id else ""
            doc = f"Data of a {transfer.action} {part}: vendor {transfer.vendor_id}{message}."
            extra[name] = _class(schema, "DataType", doc)
    plain = {name: _for_generator(schema) for name, schema in definitions.items()}
    return _generate(plain, extra, overrides)


def _used_by(specs: ActionSpecs, name: str) -> str:
    """Which actions a type is part of, as a sentence."""
    users = []
    for action in specs.actions.values():
        schemas = [action.request] + ([action.response] if action.response is not None else [])
        if any(name in self_contained(schema, specs.types)["definitions"] for schema in schemas):
            users.append(action.name)
    for transfer in specs.transfers:
        schemas = [schema for _, _, schema in transfer.parts]
        if any(name in self_contained(schema, specs.types)["definitions"] for schema in schemas):
            users.append(f"data of {transfer.name}")
    if len(users) > 4:
        return f"Used by {len(users)} actions."
    return f"Used by {', '.join(users) or 'nothing'}."


def _class(schema: Schema, parent: str, doc: str, action: str = "") -> dict[str, Any]:
    required = set(schema.get("required", ()))
    members = {
        wire: {"attribute": attribute_name(wire), "required": wire in required, "wire": json.dumps(wire)}
        for wire in schema["properties"]
    }
    attributes = [member["attribute"] for member in members.values()]
    if len(set(attributes)) != len(attributes) or "action_name" in attributes:
        raise ValueError(f"{doc}: attribute names collide: {attributes}")
    return {"parent": parent, "doc": docstring(doc), "action": action, "members": members}


def docstring(text: str) -> str:
    """``text``, which may be anything, as it can stand between triple quotes."""
    return " ".join(text.split()).replace("\\", "\\\\").replace('"', "'")


def _for_generator(schema: Schema) -> Schema:
    """The same schema as the generator should see it (see above)."""
    made = {
        keyword: value
        for keyword, value in schema.items()
        if keyword not in ("default", "required", "additionalProperties", "multipleOf")
        and not keyword.startswith("x-")
    }
    if "properties" in made:
        made["properties"] = {name: _for_generator(member) for name, member in made["properties"].items()}
        made["required"] = list(made["properties"])
    if "items" in made:
        made["items"] = _for_generator(made["items"])
    return made


def _generate(definitions: Mapping[str, Schema], extra: dict[str, Any], overrides: dict[str, str]) -> str:
    if not extra:
        return ""
    # Imported here: an ordinary regeneration check of YKC does not wait for it.
    from pathlib import Path

    from datamodel_code_generator import generate
    from datamodel_code_generator.enums import DataModelType, InputFileType, JsonSchemaVersion
    from datamodel_code_generator.format import DatetimeClassType, Formatter, PythonVersion

    document = {"$schema": "http://json-schema.org/draft-06/schema#", "definitions": dict(definitions)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = generate(
            json.dumps(document),
            input_file_type=InputFileType.JsonSchema,
            output_model_type=DataModelType.MsgspecStruct,
            schema_version=JsonSchemaVersion.Draft6.value,
            target_python_version=PythonVersion.PY_311,
            output_datetime_class=DatetimeClassType.Datetime,
            custom_template_dir=Path(__file__).parent / TEMPLATES,
            extra_template_data=defaultdict(dict, extra),
            type_overrides=overrides,
            formatters=[Formatter.BUILTIN],
            # Said here, or it would be looked for in whatever folder this runs in.
            builtin_format_line_length=110,
            disable_timestamp=True,
            disable_future_imports=True,
            collapse_root_models=True,
            strict_refs=True,
            use_annotated=True,
            field_constraints=True,
        )
    if not isinstance(text, str):
        raise TypeError("datamodel-code-generator made several modules of one document")
    # The last ones first: lists of lists name one another.
    for name, meaning in reversed(_ALIAS.findall(text)):
        text = text.replace(f"list[{name}]", f"list[{meaning}]")
    return "".join(_classes(_ALIAS.sub("", text), set(extra)))


# Entries of a list that have limits get a name of their own.
_ALIAS = re.compile(r"^(\w+): TypeAlias = (Annotated\[.*\])$", re.MULTILINE)


_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)


def _classes(text: str, wanted: set[str]) -> Iterator[str]:
    """The class definitions out of a generated module, without its imports."""
    starts = [match.start() for match in _CLASS.finditer(text)]
    names = {match[1] for match in _CLASS.finditer(text)}
    if wanted - names:
        raise ValueError(f"no class was made for {', '.join(sorted(wanted - names))}")
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        body = text[start:end].rstrip()
        if (match := _CLASS.match(body)) and match[1] in wanted:
            yield f"\n\n{_mended(body)}\n"


_BOUNDED = re.compile(r"Annotated\[float, Meta\(([^)]*)\)\]")


def _bounds(match: re.Match[str]) -> str:
    """Integers keep to bounds that are integers."""
    whole = [
        f"{word}={(math.ceil if word == 'ge' else math.floor)(float(bound))}"
        for word, bound in re.findall(r"(\w+)=([^,)]+)", match[1])
    ]
    return f"Annotated[int, Meta({', '.join(whole)})] | Annotated[float, Meta({match[1]})]"


def _mended(body: str) -> str:
    """A generated class, with the types of messages.

    Lists are tuples, because messages are immutable; date-times have a zone;
    a number is an integer or a float, so that integers stay integers, and
    each of the two has the bounds.
    """
    # "Any" is also a member of an enumeration, which makes the generator evasive.
    body = body.replace("Any_aliased", "Any")
    body = re.sub(r"\bdatetime\b", "DateTime", body)
    body = re.sub(r"\bfloat\b(?!, Meta)", "int | float", _BOUNDED.sub(_bounds, body))
    while (at := body.find("list[")) >= 0:
        depth, end = 1, at + len("list[")
        while depth:
            depth += {"[": 1, "]": -1}.get(body[end], 0)
            end += 1
        body = f"{body[:at]}tuple[{body[at + len('list[') : end - 1]}, ...]{body[end:]}"
    return body
