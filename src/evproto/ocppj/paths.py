"""Following the paths of a :class:`evproto.payloads.Shape` through a payload."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from evproto.ocppj.envelopes import Steps, UnknownMember
from evproto.payloads import Payload

__all__ = ["Judge", "reader", "rewrite", "split_path", "with_unknown"]

Judge = Callable[[Any, Steps], Any]
"""Takes a value and the way to it; returns the value, or another to put in its place."""

_PIECES = re.compile(r"\[\]|[^.\[\]]+")


def split_path(path: str) -> tuple[str, ...]:
    """``meter_value[].timestamp`` as ``("meter_value", "[]", "timestamp")``."""
    return tuple(_PIECES.findall(path))


def reader(path: str) -> Callable[[Any, list[Any]], None]:
    """A function that appends the values at ``path`` in a payload to a list."""

    def leaf(value: Any, found: list[Any]) -> None:
        found.append(value)

    read: Callable[[Any, list[Any]], None] = leaf
    for piece in reversed(split_path(path)):
        read = _each(read) if piece == "[]" else _member(piece, read)
    return read


def _each(rest: Callable[[Any, list[Any]], None]) -> Callable[[Any, list[Any]], None]:
    def read(value: Any, found: list[Any]) -> None:
        if isinstance(value, tuple | list):
            for entry in value:
                rest(entry, found)

    return read


def _member(name: str, rest: Callable[[Any, list[Any]], None]) -> Callable[[Any, list[Any]], None]:
    def read(value: Any, found: list[Any]) -> None:
        member = getattr(value, name, None)
        if member is not None:
            rest(member, found)

    return read


def rewrite(value: Any, path: tuple[str, ...], judge: Judge, steps: Steps = ()) -> Any:
    """``value`` with what is at ``path`` put to ``judge``; the same object if nothing changes."""
    if value is None or value is msgspec.UNSET:
        return value
    if not path:
        return judge(value, steps)
    piece, rest = path[0], path[1:]
    if piece == "[]":
        if not isinstance(value, tuple | list):
            return value
        entries = tuple(rewrite(entry, rest, judge, (*steps, at)) for at, entry in enumerate(value))
        return value if all(new is old for new, old in zip(entries, value, strict=True)) else entries
    if not isinstance(value, Payload):
        return value
    old = getattr(value, piece)
    wire = value.__struct_encode_fields__[value.__struct_fields__.index(piece)]
    new = rewrite(old, rest, judge, (*steps, wire))
    return value if new is old else msgspec.structs.replace(value, **{piece: new})


def with_unknown(payload: Any, unknown: tuple[UnknownMember, ...]) -> Any:
    """``payload``, as read from JSON, with members added behind its own, each where it was found."""
    for member in unknown:
        place = payload
        for step in member.steps:
            try:
                place = place[step]
            except (KeyError, IndexError, TypeError):
                place = None
                break
        if isinstance(place, dict) and member.name not in place:
            place[member.name] = member.value
    return payload
