"""Valid and one-fault instances of official schemas, made from the schemas alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]
Steps = tuple[str | int, ...]


class Maker:
    """Instances of one official schema file; knows nothing of the package under test."""

    def __init__(self, schema: Schema, *, thorough: bool = True) -> None:
        self.root = schema
        self.thorough = thorough
        self._turn = 0

    def _some(self, values: tuple[Any, ...], count: int) -> tuple[Any, ...]:
        """All of ``values`` if thorough, else the next ``count`` of them in turn."""
        if self.thorough or len(values) <= count:
            return values
        self._turn += count
        return tuple(values[(self._turn + at) % len(values)] for at in range(count))

    def resolve(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self.root["definitions"][schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def full(self, schema: Schema | None = None) -> Any:
        """A valid instance with every member there is."""
        return self._make(self.root if schema is None else schema, everything=True)

    def least(self) -> Any:
        """A valid instance with the required members only."""
        return self._make(self.root, everything=False)

    def _make(self, schema: Schema, *, everything: bool) -> Any:
        schema = self.resolve(schema)
        if "enum" in schema:
            return schema["enum"][-1]
        match schema.get("type"):
            case "object":
                required = schema.get("required", ())
                made = {
                    name: self._make(member, everything=everything)
                    for name, member in schema.get("properties", {}).items()
                    if everything or name in required
                }
                if everything and "additionalProperties" not in schema and "vendorId" in made:
                    made |= {"fanSpeed": 3, "nested": {"a_b": [1.5, "x", None]}}
                return made
            case "array":
                count = max(1 if everything else 0, schema.get("minItems", 0))
                return [self._make(schema["items"], everything=everything) for _ in range(count)]
            case "string":
                if schema.get("format") == "date-time":
                    return "2026-11-20T10:15:30.123Z"
                if schema.get("format") == "uri":
                    return "ftp://user@example.org/logs/1"
                return "Zeichen é"[: schema.get("maxLength", 99)]
            case "integer":
                return max(schema.get("minimum", 0), min(7, schema.get("maximum", 7)))
            case "number":
                return max(schema.get("minimum", -1e9), min(12.3, schema.get("maximum", 1e9)))
            case "boolean":
                return True
            case ["string", "integer"]:
                return "seven"
            case None:
                return {"anything": [1, "two"]}
        raise AssertionError(schema)

    def variants(self) -> Iterator[tuple[str, Any]]:
        """A word for what was done, and the instance: valid ones and ones with one fault."""
        whole = self.full()
        yield "full", whole
        yield "least", self.least()
        yield from self._of(self.root, whole, whole, ())

    def _of(self, schema: Schema, value: Any, whole: Any, steps: Steps) -> Iterator[tuple[str, Any]]:
        schema = self.resolve(schema)

        def put(word: str, change: Any) -> tuple[str, Any]:
            return f"{word} at {'/'.join(map(str, steps))}", _replaced(whole, steps, lambda _: change)

        kind = schema.get("type")
        if kind is not None:
            for other in self._some(_OTHERS, 2):
                yield put(f"type {other!r}", other)
        if "enum" in schema:
            for word in ("NotInTheList", *self._some(("", schema["enum"][0].swapcase(), *schema["enum"]), 2)):
                yield put(f"enum {word}", word)
        elif kind == "string":
            if "maxLength" in schema:
                for length in (0, schema["maxLength"], schema["maxLength"] + 1):
                    yield put(f"length {length}", "é" * length)
                yield put("astral", "\N{ELECTRIC PLUG}" * schema["maxLength"])
            for text in self._some(_TEXTS.get(schema.get("format", ""), ()), 7):
                yield put(f"format {text}", text)
        elif kind in ("integer", "number"):
            for number in _NUMBERS if "multipleOf" in schema else self._some(_NUMBERS, 3):
                yield put(f"number {number!r}", number)
            for bound in (schema.get("minimum"), schema.get("maximum")):
                if bound is not None:
                    for number in (bound, bound - 1, bound + 1, bound - 0.5, bound + 0.5, float(bound)):
                        yield put(f"bound {number!r}", number)
        elif kind == "array":
            most = schema.get("maxItems", 2)
            for count in sorted({0, schema.get("minItems", 0), most, most + 1}):
                yield put(f"items {count}", (value * count)[:count])
            yield put("a null among the entries", [*value, None])
            yield from self._of(schema["items"], value[0], whole, (*steps, 0))
        elif kind == "object":
            yield put("additional member", {**value, "notAMember": 1})
            if self.thorough:
                yield put("additional null", {**value, "notAMember": None})
            for name in value:
                yield put(f"without {name}", {key: entry for key, entry in value.items() if key != name})
                if self.thorough and name in schema.get("properties", ()):
                    yield put(f"renamed {name}", {_renamed(key, name): v for key, v in value.items()})
            for name, member in schema.get("properties", {}).items():
                around = (
                    whole
                    if self.thorough
                    else _replaced(whole, steps, lambda _, name=name: self._only(schema, name))
                )
                yield from self._of(member, value[name], around, (*steps, name))

    def _only(self, schema: Schema, name: str) -> Any:
        """An object with the required members, small, and the member ``name`` in full."""
        return {
            key: self._make(member, everything=key == name)
            for key, member in schema["properties"].items()
            if key == name or key in schema.get("required", ())
        }


_OTHERS = (None, 5, 1.5, "text", True, [], {}, ["text"])
_NUMBERS = (0, -1, 1.0, -0.0, 1e2, 2**31, 12.34, 0.1, 0.3, 12.345, 1e-7, 100.05, 2**70)
_TEXTS = {
    "date-time": (
        "2026-11-20T10:15:30Z",
        "2026-11-20t10:15:30z",
        "2026-11-20T10:15:30.1234567+08:00",
        "2026-11-20T10:15:30-00:00",
        "2024-02-29T23:59:59-11:30",
        "2026-11-20 10:15:30Z",
        "2026-11-20T10:15:30+0800",
        "2026-11-20T10:15:30.5-0330",
        "2026-11-20T10:15:30",
        "2026-11-20T10:15Z",
        "2026-11-20",
        "2026-02-30T10:15:30Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T10:15:60Z",
        "yesterday",
        "",
    ),
    "uri": (
        "http://[::1]:80/a?b=c#d",
        "urn:x:y",
        "mailto:a@b",
        "http://exa mple.org",
        "no scheme",
        "//example.org",
        "http://example.org/%zz",
        "",
    ),
}


def _renamed(key: str, name: str) -> str:
    return f"{key}X" if key == name else key


def _replaced(whole: Any, steps: Steps, change: Callable[..., Any]) -> Any:
    if not steps:
        return change(whole)
    made = copy.copy(whole)
    made[steps[0]] = _replaced(made[steps[0]], steps[1:], change)
    return made
