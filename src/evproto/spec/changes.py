"""Changing a list of fields as written: what ``extends`` and overlays do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from evproto.spec.fields import RawField, raw_fields
from evproto.spec.problems import Path, Problems, suggest
from evproto.spec.yamlfile import Document

__all__ = ["change_fields"]

_Change = Callable[[RawField], list[RawField]]


def change_fields(
    fields: list[RawField],
    changes: Mapping[str, Any],
    document: Document,
    path: Path,
    problems: Problems,
) -> None:
    """Carry out insert, replace, adjust and remove, in this order, on ``fields``."""

    def carry_out(at: Path, name: str, change: _Change, kind: str = "") -> None:
        try:
            _edit(fields, name, change, kind)
        except _MisplacedError as error:
            problems.add(document.file, document.line(at), at, str(error), error.suggestion)

    for index, change in enumerate(changes.get("insert", ())):
        at: Path = (*path, "insert", index)
        key, kind = "after" if "after" in change else "before", _kind(change)
        added = raw_fields(document, change[kind], (*at, kind))
        before, after = (added, []) if key == "before" else ([], added)
        carry_out((*at, key), change[key], partial(_surround, before, after), kind)
    for index, change in enumerate(changes.get("replace", ())):
        at, kind = (*path, "replace", index), _kind(change)
        added = raw_fields(document, change[kind], (*at, kind))
        carry_out((*at, "field"), change["field"], partial(_exchange, added), kind)
    for index, change in enumerate(changes.get("adjust", ())):
        at = (*path, "adjust", index)
        set_to = {key: value for key, value in change.items() if key != "field"}
        carry_out((*at, "field"), change["field"], partial(_adjust, set_to, document, at))
    for index, name in enumerate(changes.get("remove", ())):
        carry_out((*path, "remove", index), name, partial(_exchange, []))


def _surround(before: list[RawField], after: list[RawField], found: RawField) -> list[RawField]:
    return [*before, found, *after]


def _exchange(added: list[RawField], found: RawField) -> list[RawField]:
    return added


def _adjust(set_to: dict[str, Any], document: Document, at: Path, found: RawField) -> list[RawField]:
    return [RawField({**found.value, **set_to}, document, at)]


class _MisplacedError(Exception):
    """A change that finds no place."""

    def __init__(self, text: str, suggestion: str = "") -> None:
        super().__init__(text)
        self.suggestion = suggestion


def _kind(change: Mapping[str, Any]) -> str:
    return "parts" if "parts" in change else "fields"


def _edit(fields: list[RawField], name: str, change: _Change, kind: str, container: str = "fields") -> None:
    """Replace the field ``name`` by what ``change`` makes of it; ``a.b`` reaches into groups.

    ``kind`` is what the change puts there, ``container`` what is there.
    """
    outer, _, inner = name.partition(".")
    for index, raw in enumerate(fields):
        if raw.name != outer:
            continue
        if inner:
            key = "parts" if "parts" in raw.value else "fields"
            entries = raw_fields(raw.document, raw.value.get(key, ()), (*raw.path, key))
            _edit(entries, inner, change, kind, key)
            fields[index] = RawField({**raw.value, key: entries}, raw.document, raw.path)
        elif kind and kind != container:
            raise _MisplacedError(f"{name!r} stands among {container}, not {kind}", f"say {container!r} here")
        else:
            fields[index : index + 1] = change(raw)
        return
    raise _MisplacedError(f"there is no field {outer!r}", suggest(outer, [raw.name for raw in fields]))
