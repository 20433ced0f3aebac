"""Checking documents against the JSON Schemas of the language (specs/meta)."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from evproto.spec.locate import specs_root
from evproto.spec.problems import Path, Problems, suggest
from evproto.spec.yamlfile import Document

if TYPE_CHECKING:
    # Whoever only reads specs that are known to be good does not pay for the validator.
    import referencing
    from jsonschema.exceptions import ValidationError

__all__ = ["check_document", "schema_errors"]


@functools.cache
def _registry() -> referencing.Registry[Any]:
    import referencing

    resources = []
    for file in sorted((specs_root() / "meta").glob("*.schema.json")):
        resource = referencing.Resource.from_contents(json.loads(file.read_text(encoding="utf-8")))
        resources.append((file.name, resource))
    return referencing.Registry().with_resources(resources)


@functools.cache
def _validator(schema: str) -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator({"$ref": f"{schema}.schema.json"}, registry=_registry())


def check_document(document: Document, schema: str, problems: Problems) -> bool:
    """Whether ``document`` is as ``specs/meta/<schema>.schema.json`` wants it."""
    fine = True
    for error in _validator(schema).iter_errors(document.value):
        for leaf in _leaves(error):
            fine = False
            path: Path = tuple(leaf.absolute_path)
            for message, hint, at in _explain(leaf, path):
                problems.add(document.file, document.line(at), at, message, hint)
    return fine


def schema_errors(value: Any, schema: str) -> Iterator[tuple[Path, str]]:
    """Path and message of everything in ``value`` that ``specs/meta/<schema>.schema.json`` refuses."""
    for error in _validator(schema).iter_errors(value):
        for leaf in _leaves(error):
            yield tuple(leaf.absolute_path), leaf.message


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """The errors that say what is wrong, not that something is.

    Of alternatives, the one the author came closest to speaks.
    """
    if not error.context:
        yield error
        return
    if error.validator in ("oneOf", "anyOf"):
        branches: dict[Any, list[ValidationError]] = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        deepest = max(len(inner.absolute_path) for inner in error.context)
        if deepest > len(error.absolute_path):
            best = max(branches.values(), key=lambda found: max(len(e.absolute_path) for e in found))
            for inner in best:
                yield from _leaves(inner)
            return
        yield error
        return
    for inner in error.context:
        yield from _leaves(inner)


def _explain(error: ValidationError, path: Path) -> Iterator[tuple[str, str, Path]]:
    value: Any = error.instance
    schema: Any = error.schema
    wanted: Any = error.validator_value
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        allowed = _allowed(schema)
        # Where a part of the schema fails, the validator takes the words of
        # that part for unknown as well; its own error says what is wrong.
        for key in (key for key in value if key not in allowed):
            yield f"{key!r} is not a word of the language here", suggest(key, allowed), (*path, key)
        return
    if error.validator == "required":
        missing = [key for key in wanted if key not in value]
        # jsonschema reports one error per missing key, each in the same words.
        for key in missing:
            if error.message.startswith(repr(key)):
                yield f"{key!r} is missing", "", path
        return
    if error.validator == "enum":
        choices = [str(choice) for choice in wanted]
        hint = suggest(value, choices) or f"one of {', '.join(choices)}"
        yield f"{_show(value)} is not allowed here", hint, path
        return
    if error.validator == "type":
        yield f"{_show(value)} is not {_article(wanted)}", "", path
        return
    if error.validator == "pattern":
        yield f"{_show(value)} is not spelled right", _pattern_hint(error, schema), path
        return
    if error.validator == "oneOf":
        words = [branch["required"][0] for branch in schema.get("oneOf", ()) if "required" in branch]
        if words and isinstance(value, dict):
            yield f"exactly one of {', '.join(map(repr, words))} is needed", "", path
            return
        yield f"{_show(value)} is not allowed here", str(schema.get("description", "")), path
        return
    if schema is False or error.validator is None:
        yield f"{path[-1]!r} has no meaning here", "", path
        return
    yield error.message, str(schema.get("description", "")) if isinstance(schema, dict) else "", path


def _allowed(schema: Any) -> list[str]:
    """Property names a schema knows, through what it is made of."""
    names: dict[str, None] = {}
    refused: set[str] = set()
    pending = [schema]
    while pending:
        current = pending.pop()
        file = _homes()[id(current)]
        for name, inner in current.get("properties", {}).items():
            if inner is False:
                refused.add(name)
            names.setdefault(name)
        for inner in current.get("allOf", ()):
            found = _registry().resolver(base_uri=file).lookup(inner["$ref"]) if "$ref" in inner else None
            pending.append(inner if found is None else found.contents)
    return [name for name in names if name not in refused]


@functools.cache
def _homes() -> dict[int, str]:
    """The file that each part of the meta schemas is in, by identity."""
    homes: dict[int, str] = {}

    def walk(value: Any, file: str) -> None:
        if isinstance(value, dict):
            homes[id(value)] = file
            for inner in value.values():
                walk(inner, file)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, file)

    for file in _registry():
        walk(_registry().contents(file), file)
    return homes


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number without end"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _article(kind: Any) -> str:
    names = {
        "object": "a mapping",
        "array": "a list",
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
    }
    kinds = [kind] if isinstance(kind, str) else list(kind)
    return " or ".join(names.get(item, item) for item in kinds)


def _pattern_hint(error: ValidationError, schema: Any) -> str:
    value = error.instance
    pattern = str(error.validator_value)
    if isinstance(value, str) and pattern.startswith("^[a-z]"):
        repaired = (
            "".join(
                f"_{c.lower()}" if c.isupper() and i and value[i - 1].islower() else c.lower()
                for i, c in enumerate(value)
            )
            .replace("-", "_")
            .replace(" ", "_")
        )
        return f"names are snake_case: {repaired!r}"
    return str(schema.get("description", "")) or f"it should look like {pattern}"
