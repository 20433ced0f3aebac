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
from evproto.spec.problems import Path as Steps
from evproto.spec.problems import Problems

__all__ = [
    "ActionSpec",
    "ActionSpecs",
    "Schema",
    "TransferSpec",
    "check_actions",
    "load_actions",
    "load_schema",
    "references",
    "self_contained",
    "transfer_key",
]

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
class TransferSpec:
    """What a vendor puts into the ``data`` of a data transfer; None: not described."""

    action: str
    vendor_id: str
    message_id: str
    """Empty where the transfer has none."""
    name: str
    """What its classes are called: ``FanSpeed`` for ``FanSpeedRequestData``."""
    request: Schema | None
    response: Schema | None

    @property
    def parts(self) -> list[tuple[str, str, Schema]]:
        """``request`` and ``response`` as far as described, each with class name and schema."""
        both = (("request", self.request), ("response", self.response))
        return [
            (part, f"{self.name}{part.capitalize()}Data", schema)
            for part, schema in both
            if schema is not None
        ]

    @property
    def key(self) -> str:
        """What its schemas are filed under; those of an action are under the action's name."""
        return transfer_key(self.action, self.vendor_id, self.message_id)


def transfer_key(action: str, vendor_id: str, message_id: str) -> str:
    """What the schemas of a data transfer are filed under; never the name of an action."""
    return f"{action} {vendor_id} {message_id}"


@dataclasses.dataclass(frozen=True, slots=True)
class ActionSpecs:
    """All actions of one version, or of an extension, and the types they share."""

    name: str
    """As in ``ocpp/v201``; of an extension, its file."""
    edition: Mapping[str, Any]
    types: Mapping[str, Schema]
    actions: Mapping[str, ActionSpec]
    transfers: tuple[TransferSpec, ...] = ()

    def schemas(self) -> dict[tuple[str, str], Schema]:
        """Self-contained schemas, by action or :attr:`TransferSpec.key`, and part."""
        found: dict[tuple[str, str], Schema] = {}
        for action in self.actions.values():
            found[action.name, "request"] = self_contained(action.request, self.types)
            if action.response is not None:
                found[action.name, "response"] = self_contained(action.response, self.types)
        for transfer in self.transfers:
            for part, _, schema in transfer.parts:
                found[transfer.key, part] = self_contained(schema, self.types)
        return found


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
    return ActionSpecs(
        name=name,
        edition=_json(folder / "edition.json"),
        types=_types(folder),
        actions={file.stem: _action(file) for file in sorted((folder / "actions").glob("*.json"))},
    )


def load_schema(name: str, action: str, part: str) -> Schema:
    """The self-contained schema of one ``request`` or ``response``; reads the file of that action alone."""
    folder = specs_root() / name
    schema: Schema = getattr(_action(folder / "actions" / f"{action}.json"), part)
    return self_contained(schema, _types(folder))


@functools.cache
def _types(folder: Path) -> Mapping[str, Schema]:
    return dict(sorted(_json(folder / "types.json")["definitions"].items()))


def _action(file: Path) -> ActionSpec:
    value = _local(_json(file))
    return ActionSpec(
        name=value["action"],
        block=value["block"],
        sent_by=tuple(value["sentBy"]),
        request=value["request"],
        response=value.get("response"),
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
        errors = list(schema_errors(value, "payload" if file.stem == "types" else "action"))
        for path, message in errors or _nonsense(value):
            problems.add(where, 1, path, message)
        for reference in references(_local(value)):
            if reference not in known:
                problems.add(where, 1, (), f"no type {reference} in types.json")
        if file.stem != "types" and value.get("action") != file.stem:
            problems.add(where, 1, ("action",), f"the file is named {file.stem}")
    problems.raise_if_any()


def _nonsense(value: Mapping[str, Any]) -> Iterator[tuple[Steps, str]]:
    """What is wrong with the schemas of a file that is of the right form."""
    from evproto.spec.sense import payload_nonsense

    schemas = value.get("definitions", value)
    for name, schema in schemas.items():
        if name in ("request", "response") or (schemas is not value and name != "CustomDataType"):
            for path, message in payload_nonsense(schema):
                yield (name, *path), message


def references(value: Any) -> Iterator[str]:
    """The names of the types that a schema refers to."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "$ref":
                yield entry.removeprefix(_REF)
            else:
                yield from references(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from references(entry)


def self_contained(schema: Schema, types: Mapping[str, Schema]) -> Schema:
    """``schema`` with the definitions it needs, directly or through others."""
    needed: dict[str, Schema] = {}
    waiting = [schema]
    while waiting:
        for reference in references(waiting.pop()):
            if reference not in needed:
                needed[reference] = types[reference]
                waiting.append(types[reference])
    return {**copy.deepcopy(schema), "definitions": copy.deepcopy(dict(sorted(needed.items())))}
