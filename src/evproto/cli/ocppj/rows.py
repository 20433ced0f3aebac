"""A payload line by line: member, value, type, nested objects indented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from evproto.cli.ocppj.schemas import Schemas, limits_text
from evproto.cli.values import Row, quoted, show_number
from evproto.ocppj.deviations import spell_steps
from evproto.spec.actions import Schema

__all__ = ["payload_rows"]

_LONGEST: Final = 160
_STEP: Final = "  "
_ENTRIES: Final = 50
_MOST: Final = 5_000
"""Rows of one payload; a payload of a MiB may have a hundred thousand members."""


def payload_rows(
    payload: Any,
    schemas: Schemas,
    action: str,
    part: str,
    *,
    blamed: Mapping[str, str] | None = None,
    limits: bool = False,
) -> list[Row]:
    """The rows of a payload, also of one that is not what its schema says.

    ``blamed`` says by path what is wrong with a value; ``limits`` adds the limits of the schema.
    """
    schema = schemas.payload(action, part)
    walk = _Walk(schemas, blamed or {}, typed=schema is not None, limits=limits)
    rows: list[Row] = []
    members = walk.members(payload, schema or {}, (), "") if isinstance(payload, dict) else iter(())
    for row in members:
        if len(rows) == _MOST:
            rows.append(Row("...", "", "", f"more than {_MOST} lines; --format json has them all"))
            break
        rows.append(row)
    return rows


class _Walk:
    def __init__(self, schemas: Schemas, blamed: Mapping[str, str], *, typed: bool, limits: bool) -> None:
        self._schemas = schemas
        self._typed = typed
        self._blamed = blamed
        self._limits = limits

    def members(
        self, value: dict[str, Any], schema: Schema, steps: tuple[str | int, ...], indent: str
    ) -> Iterator[Row]:
        known = schema.get("properties", {})
        for name, member in value.items():
            yield from self._member(name, member, known.get(name), (*steps, name), indent)

    def _member(
        self, name: str, value: Any, schema: Schema | None, steps: tuple[str | int, ...], indent: str
    ) -> Iterator[Row]:
        inner, _ = self._schemas.resolved(schema or {})
        label = indent + (name if name.isprintable() else ascii(name))
        remark = self._remark(schema, inner, steps)
        odd = spell_steps(steps) in self._blamed
        kind = self._schemas.type_text(schema) if schema is not None else ""
        if len(steps) > 60:
            yield Row(label, "...", "", "nested deeply; --format json has it all")
        elif isinstance(value, dict):
            yield Row(label, "" if value else "{}", kind, remark, odd)
            yield from self.members(value, inner, steps, indent + _STEP)
        elif isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
            items = inner.get("items", {})
            resolved, _ = self._schemas.resolved(items)
            kind = self._schemas.type_text(items) if items else ""
            for at, entry in enumerate(value):
                head = f"{label}[{at}]"
                if isinstance(entry, dict):
                    path = (*steps, at)
                    wrong = spell_steps(path) in self._blamed
                    yield Row(
                        head, "" if entry else "{}", kind, self._blamed.get(spell_steps(path), ""), wrong
                    )
                    yield from self.members(entry, resolved, path, indent + _STEP)
                else:
                    yield from self._member(f"{name}[{at}]", entry, items or None, (*steps, at), indent)
            if odd:
                entries = "1 entry" if len(value) == 1 else f"{len(value)} entries"
                yield Row(label, entries, "", remark, odd)
        else:
            listed = inner.get("items", {}) if isinstance(value, list) else inner
            yield Row(label, _shown(value, self._schemas.resolved(listed)[0]), kind, remark, odd)

    def _remark(self, schema: Schema | None, inner: Schema, steps: tuple[str | int, ...]) -> str:
        wrong = self._blamed.get(spell_steps(steps), "")
        if wrong:
            return wrong
        if schema is None:
            return "not in the schema" if self._typed else ""
        return limits_text(inner) if self._limits else ""


def _shown(value: Any, schema: Schema) -> str:
    """A value that is no object: texts in quotes, words of enumerations and times without."""
    if isinstance(value, list):
        more = ", ..." if len(value) > _ENTRIES else ""
        return f"[{', '.join(_shown(entry, schema) for entry in value[:_ENTRIES])}{more}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return show_number(value) if abs(value) < 1e300 else "a number of very many digits"
    if value in schema.get("enum", ()) or value == "***":
        return value
    if schema.get("format") == "date-time" and value.isascii() and value.isprintable() and len(value) < 50:
        return value
    if len(value) > _LONGEST:
        return f"{quoted(value[: _LONGEST // 2])}... ({len(value)} characters)"
    return quoted(value)
