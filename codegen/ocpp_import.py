"""Facts from a folder of official OCPP schema files into ``specs/ocpp/<version>``.

Run it as ``python -m codegen.ocpp_import FOLDER specs/ocpp/v201`` when a new
edition or erratum comes out, and review the diff. It takes names, types,
limits, enumerations, what is required, and defaults; no text. What the
official files do not say stays as people wrote it: ``block`` and ``sentBy``
of each action, and ``edition.json``, whose ``inlineTypes`` name the types
that the files of OCPP 1.6 only spell out in place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["SchemaImportError", "import_folder", "main"]

Schema = dict[str, Any]

KEPT = (
    "type",
    "format",
    "maxLength",
    "minimum",
    "maximum",
    "multipleOf",
    "default",
    "enum",
    "minItems",
    "maxItems",
)
"""Keywords that are taken as they are, in the order they are written."""

HANDLED = {"properties", "required", "items", "$ref", "additionalProperties", "definitions"}
DROPPED = {"$schema", "$id", "id", "title", "description", "comment", "javaType", "additionalItems"}


class SchemaImportError(Exception):
    """The official files say something this script has no place for."""


class _Importer:
    """One version's shared types, found while its files are read."""

    def __init__(self, edition: dict[str, Any]) -> None:
        self.inline: dict[str, str] = edition.get("inlineTypes", {})
        self.merged: list[str] = edition.get("mergedEnums", [])
        self.types: dict[str, Schema] = {}
        self.unused = set(self.inline)

    def document(self, stem: str, schema: Schema) -> Schema:
        for name, definition in schema.get("definitions", {}).items():
            self.define(name, self.convert(definition, f"{stem}#{name}", top=True), f"{stem}#{name}")
        return self.convert(schema, stem, top=True)

    def define(self, name: str, schema: Schema, place: str) -> None:
        known = self.types.setdefault(name, schema)
        if known == schema:
            return
        if name in self.merged and "enum" in known:
            known["enum"] += [value for value in schema["enum"] if value not in known["enum"]]
            return
        raise SchemaImportError(f"{place}: {name} is not what it is in another file")

    def convert(self, schema: Schema, place: str, *, top: bool = False) -> Schema:
        surprise = set(schema) - set(KEPT) - HANDLED - DROPPED
        if surprise:
            raise SchemaImportError(f"{place}: no place for {', '.join(sorted(surprise))}")
        if "$ref" in schema:
            return {"$ref": schema["$ref"]}
        made = {keyword: schema[keyword] for keyword in KEPT if keyword in schema}
        if "items" in schema:
            made["items"] = self.convert(schema["items"], f"{place}[]")
        if "properties" in schema or schema.get("type") == "object":
            members = schema.get("properties", {})
            made["properties"] = {
                name: self.convert(member, f"{place}/{name}") for name, member in members.items()
            }
            required = set(schema.get("required", ()))
            if required - set(members):
                raise SchemaImportError(f"{place}: requires {', '.join(sorted(required - set(members)))}")
            if required:
                made["required"] = [name for name in members if name in required]
            # Closed is the rule; CustomDataType is the exception.
            if schema.get("additionalProperties") is False:
                made["additionalProperties"] = False
        if not top and ("enum" in made or made.get("type") == "object"):
            return self.named(made, place)
        return made

    def named(self, schema: Schema, place: str) -> Schema:
        name = self.inline.get(place)
        if name is None:
            raise SchemaImportError(f"{place}: name this type in inlineTypes of edition.json")
        self.unused.discard(place)
        self.define(name, schema, place)
        return {"$ref": f"#/definitions/{name}"}


def _action_of(stem: str, stems: set[str]) -> tuple[str, str]:
    """The action a file belongs to, and which of its two payloads it is."""
    if stem.endswith("Response") and stem != "Response":
        return stem.removesuffix("Response"), "response"
    if stem.endswith("Request") and stem.removesuffix("Request") + "Response" in stems:
        return stem.removesuffix("Request"), "request"
    return stem, "request"


def _read(folder: Path) -> Iterator[tuple[str, Schema, bytes]]:
    for file in sorted(folder.glob("*.json")):
        data = file.read_bytes()
        yield file.stem, json.loads(data.decode("utf-8-sig")), data


def _elsewhere(value: Any) -> Any:
    """The same schema for a file of ``actions/``: its types are in types.json."""
    if isinstance(value, list):
        return [_elsewhere(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: f"../types.json{entry}" if key == "$ref" else _elsewhere(entry) for key, entry in value.items()
    }


def _write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def import_folder(source: Path, target: Path) -> list[str]:
    """Write the facts of ``source`` below ``target``; returns what people must add.

    Raises:
        SchemaImportError: a file does not fit the form of the specs.
    """
    edition_file = target / "edition.json"
    edition = json.loads(edition_file.read_text(encoding="utf-8"))
    importer = _Importer(edition)
    digest = hashlib.sha256()
    actions: dict[str, dict[str, Schema]] = {}
    files = list(_read(source))
    stems = {stem for stem, _, _ in files}
    for stem, schema, data in files:
        # Line ends differ between copies of the same files.
        digest.update(stem.encode() + b"\0" + data.replace(b"\r\n", b"\n") + b"\0")
        action, part = _action_of(stem, stems)
        actions.setdefault(action, {})[part] = importer.document(stem, schema)
    if importer.unused:
        raise SchemaImportError(f"inlineTypes names what is not there: {', '.join(sorted(importer.unused))}")
    todo: list[str] = []
    for old in (target / "actions").glob("*.json"):
        if old.stem not in actions:
            old.unlink()
    for action, parts in sorted(actions.items()):
        file = target / "actions" / f"{action}.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not known.get("block") or not known.get("sentBy"):
            todo.append(f"{file}: say block and sentBy")
        value: dict[str, Any] = {
            "$schema": "../../../meta/action.schema.json",
            "action": action,
            "block": known.get("block", ""),
            "sentBy": known.get("sentBy", []),
            "message": "call" if "response" in parts else "send",
            **{part: _elsewhere(parts[part]) for part in ("request", "response") if part in parts},
        }
        _write(file, value)
    edition["files"] = {"count": len(files), "sha256": digest.hexdigest()}
    _write(edition_file, edition)
    _write(
        target / "types.json",
        {
            "$schema": "http://json-schema.org/draft-06/schema#",
            "definitions": dict(sorted(importer.types.items())),
        },
    )
    return todo


def main(argv: list[str] | None = None) -> int:
    """Exit status 0: imported; 1: imported, but something is to be added by hand; 2: refused."""
    parser = argparse.ArgumentParser(
        prog="python -m codegen.ocpp_import", description=__doc__.splitlines()[0]
    )
    parser.add_argument("source", type=Path, help="folder of official schema files of one version")
    parser.add_argument("target", type=Path, help="folder below specs/ocpp, with its edition.json")
    options = parser.parse_args(argv)
    try:
        todo = import_folder(options.source, options.target)
    except (SchemaImportError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for line in todo:
        print(line, file=sys.stderr)
    return 1 if todo else 0


if __name__ == "__main__":
    sys.exit(main())
