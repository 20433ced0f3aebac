"""OCPP and ntxcp: from the action specs to Python text.

One package per version, and one for each extension that somebody wants as
typed code. Payload classes and enumerations come from
:mod:`codegen.payloads`; the tables around them from ``templates/actions``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from evproto.spec.actions import ActionSpecs, Schema, check_actions, load_actions
from evproto.spec.extension import load_extension
from evproto.spec.shapes import shape_facts

from .payloads import docstring, enum_classes, payload_classes, payload_names

__all__ = ["VERSIONS", "render_actions", "render_extension"]

VERSIONS = ("ocpp/v16", "ocpp/v201", "ocpp/v21", "ntxcp/v10")


def render_actions(specs: Path, versions: tuple[str, ...] = VERSIONS) -> Mapping[PurePosixPath, str]:
    """The files of ``_generated`` for these versions, by path below it.

    Raises:
        SpecError: the specs are wrong.
    """
    environment = _environment()
    files: dict[PurePosixPath, str] = {}
    for version in versions:
        check_actions(version, specs)
        loaded = load_actions(version, specs)
        view = {
            **_view(loaded),
            "package": f"evproto._generated.{version.replace('/', '.')}",
            "command": "python -m codegen",
            "source": f"specs/{version}",
            "title": loaded.edition["title"],
        }
        for module in ("__init__", "enums", "messages", "actions"):
            text = environment.get_template(f"{module}.py.j2").render(view)
            files[PurePosixPath(version, f"{module}.py")] = text
    for protocol in sorted({version.split("/")[0] for version in versions}):
        template = environment.get_template("parent.py.j2")
        files[PurePosixPath(protocol, "__init__.py")] = template.render(protocol=protocol)
    return files


def render_extension(file: Path, version: str, package: str) -> Mapping[PurePosixPath, str]:
    """The files of a package called ``package`` with what an extension adds to ``version``.

    Raises:
        SpecError: the extension is wrong.
        OSError: it cannot be read.
    """
    base = load_actions(version)
    extension = load_extension(
        file,
        protocol=base.edition["protocol"],
        actions=base.actions,
        sends=any(action.response is None for action in base.actions.values()),
    )
    protocol, _, module = version.partition("/")
    view = {
        **_view(extension),
        # Relative, so that the package can be put into another one.
        "package": "",
        "command": "evproto generate --extension",
        "source": docstring(file.name),
        "title": docstring(f"{file.stem}, an extension of {base.edition['title']}"),
        "protocol": f"evproto.{protocol}",
        "version": module,
        "transfers": [
            (transfer, [f"{part}={_shape(name, schema, extension)}" for part, name, schema in transfer.parts])
            for transfer in extension.transfers
        ],
        "schemas": _literal(extension.schemas()),
    }
    environment = _environment()
    templates = {
        "__init__": "extension",
        "actions": "extension_actions",
        "schemas": "extension_schemas",
        "messages": "messages",
        "enums": "enums",
    }
    return {
        PurePosixPath(package, f"{module}.py"): environment.get_template(f"{template}.py.j2").render(view)
        for module, template in templates.items()
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates" / "actions"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["py"] = json.dumps
    return environment


def _view(specs: ActionSpecs) -> dict[str, Any]:
    """What the templates may look at, whatever package they write."""
    enums, payloads = enum_classes(specs), payload_classes(specs)

    def used(words: Iterable[str]) -> list[str]:
        return [word for word in words if re.search(rf"\b{word}\b", payloads)]

    return {
        "specs": specs,
        "enum_names": _class_names(enums),
        "enum_classes": enums.strip("\n"),
        "payload_names": _class_names(payloads),
        "payload_classes": payloads.strip("\n"),
        "used_enums": used(_class_names(enums)),
        "used_typing": used(("Annotated", "Any", "ClassVar")),
        "used_msgspec": used(("Meta", "field")),
        "used_words": used(
            ("CustomDataType", "DataType", "DateTime", "Maybe", "Notification", "Request", "Response")
        ),
        "actions": list(_actions(specs)),
    }


def _class_names(text: str) -> list[str]:
    return sorted(re.findall(r"^class (\w+)\(", text, re.MULTILINE))


def _actions(specs: ActionSpecs) -> Iterator[dict[str, Any]]:
    for action in specs.actions.values():
        request, response = payload_names(specs)[action.name]
        yield {
            "name": action.name,
            "block": action.block,
            "sent_by": action.sent_by,
            "request": _shape(request, action.request, specs),
            "response": "None" if response is None else _shape(response, action.response or {}, specs),
        }


def _shape(name: str, schema: Schema, specs: ActionSpecs) -> str:
    words = [f"m.{name}"]
    for keyword, values in shape_facts(schema, specs.types).items():
        words.append(f"{keyword}={values!r}".replace("'", '"'))
    return f"Shape({', '.join(words)})"


def _literal(value: Any, indent: str = "") -> str:
    """Python text of a value read from JSON, as a formatter would have it."""
    inner = f"{indent}    "
    if isinstance(value, dict) and value:
        members = "".join(
            f"{inner}{_literal(key)}: {_literal(member, inner)},\n" for key, member in value.items()
        )
        return f"{{\n{members}{indent}}}"
    if isinstance(value, list | tuple):
        ends = "[]" if isinstance(value, list) else "()"
        return ends[0] + ", ".join(_literal(entry, inner) for entry in value) + ends[1]
    return json.dumps(value) if isinstance(value, str) else repr(value)
