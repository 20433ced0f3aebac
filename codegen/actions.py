"""OCPP and ntxcp: from the action specs to Python text.

One package per version. Payload classes and enumerations come from
:mod:`codegen.payloads`; the tables around them from ``templates/actions``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from evproto.spec.actions import ActionSpecs, Schema, check_actions, load_actions
from evproto.spec.shapes import shape_facts

from .payloads import enum_classes, payload_classes, payload_names

__all__ = ["VERSIONS", "render_actions"]

VERSIONS = ("ocpp/v16", "ocpp/v201", "ocpp/v21", "ntxcp/v10")


def render_actions(specs: Path, versions: tuple[str, ...] = VERSIONS) -> Mapping[PurePosixPath, str]:
    """The files of ``_generated`` for these versions, by path below it.

    Raises:
        SpecError: the specs are wrong.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates" / "actions"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    files: dict[PurePosixPath, str] = {}
    for version in versions:
        check_actions(version, specs)
        for module, text in _version(environment, load_actions(version, specs)):
            files[PurePosixPath(version, f"{module}.py")] = text
    for protocol in sorted({version.split("/")[0] for version in versions}):
        template = environment.get_template("parent.py.j2")
        files[PurePosixPath(protocol, "__init__.py")] = template.render(protocol=protocol)
    return files


def _version(environment: jinja2.Environment, specs: ActionSpecs) -> Iterator[tuple[str, str]]:
    package = specs.name.replace("/", ".")
    enums, payloads = enum_classes(specs), payload_classes(specs, f"evproto._generated.{package}")
    vocabulary = ("CustomDataType", "DataType", "DateTime", "Maybe", "Notification", "Request", "Response")
    views: dict[str, dict[str, Any]] = {
        "__init__": {},
        "enums": {"names": _class_names(enums), "classes": enums.strip("\n")},
        "messages": {
            "names": _class_names(payloads),
            "enums": [name for name in _class_names(enums) if re.search(rf"\b{name}\b", payloads)],
            "imports": [word for word in vocabulary if re.search(rf"\b{word}\b", payloads)],
            "classes": payloads.strip("\n"),
        },
        "actions": {"actions": list(_actions(specs))},
    }
    for module, view in views.items():
        template = environment.get_template(f"{module}.py.j2")
        yield module, template.render(specs=specs, package=package, **view)


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
