"""Reading the action specs of OCPP and ntxcp (``specs/ocpp``, ``specs/ntxcp``).

A version is a folder: ``edition.json`` says what it is, ``types.json`` holds
the types its payloads share, and ``actions/`` has one file per action. The
schemas are JSON Schema, draft 6, of about fifteen keywords.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evproto.spec.locate import specs_root
from evproto.spec.problems import Problems

__all__ = ["ActionSpec", "ActionSpecs", "Schema", "check_actions", "load_actions", "self_contained"]

Schema = dict[str, Any]

_REF = "#/definitions/"


@dataclasses.dataclass(frozen=True, slots=True)
class ActionSpec:
    """One action: who sends it, and the schemas of its payloads.

    ``response`` is None for what is sent and never answered. References in
    the schemas read ``#/definitions/Name``, names of :attr:`ActionSpecs.types`.
    """

    name: str
    block: str
    sent_by: tuple[str, ...]
    request: Schema
    response: Schema | None


@dataclasses.dataclass(frozen=True, slots=True)
class ActionSpecs:
    """All actions of one version and the types they share, each sorted by name."""

    name: str
    edition: Mapping[str, Any]
    types: Mapping[str, Schema]
    actions: Mapping[str, ActionSpec]


def _local(value: Any) -> Any:
    """The same schema with its references pointing into one document."""
    if isinstance(value, list):
        return [_local(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: entry.removeprefix("../types.json") if key == "$ref" else _local(entry)
        for key, entry in value.items()
    }


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@functools.cache
def load_actions(name: str, root: Path | None = None) -> ActionSpecs:
    """The specs of ``name``, as in ``ocpp/v201``; below ``root`` or the packaged ones.

    They are taken as they are; :func:`check_actions` says what is wrong with them.
    """
    folder = (root or specs_root()) / name
    actions = {}
    for file in sorted((folder / "actions").glob("*.json")):
        value = _local(_json(file))
        actions[file.stem] = ActionSpec(
            name=value["action"],
            block=value["block"],
            sent_by=tuple(value["sentBy"]),
            request=value["request"],
            response=value.get("response"),
        )
    return ActionSpecs(
        name=name,
        edition=_json(folder / "edition.json"),
        types=dict(sorted(_json(folder / "types.json")["definitions"].items())),
        actions=actions,
    )


def check_actions(name: str, root: Path | None = None) -> None:
    """Check the files of a version against the schemas in ``specs/meta``.

    Raises:
        SpecError: a file breaks its schema, or refers to a type that is not there.
    """
    # Only the generator and the tests come here; a program that decodes does
    # not pay for the validator.
    from evproto.spec.schema import schema_errors

    folder = (root or specs_root()) / name
    problems = Problems()
    known = set(_json(folder / "types.json")["definitions"])
    for file in [folder / "types.json", *sorted((folder / "actions").glob("*.json"))]:
        value = _json(file)
        where = f"specs/{name}/{file.relative_to(folder).as_posix()}"
        for path, message in schema_errors(value, "payload" if file.stem == "types" else "action"):
            problems.add(where, 1, path, message)
        for reference in _references(_local(value)):
            if reference not in known:
                problems.add(where, 1, (), f"no type {reference} in types.json")
        if file.stem != "types" and value.get("action") != file.stem:
            problems.add(where, 1, ("action",), f"the file is named {file.stem}")
    problems.raise_if_any()


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "$ref":
                yield entry.removeprefix(_REF)
            else:
                yield from _references(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _references(entry)


def self_contained(schema: Schema, types: Mapping[str, Schema]) -> Schema:
    """``schema`` with the definitions it needs, directly or through others."""
    needed: dict[str, Schema] = {}
    waiting = [schema]
    while waiting:
        for reference in _references(waiting.pop()):
            if reference not in needed:
                needed[reference] = types[reference]
                waiting.append(types[reference])
    return {**copy.deepcopy(schema), "definitions": copy.deepcopy(dict(sorted(needed.items())))}
