"""Reading JSON slowly and exactly, for what the fast decoder refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from evproto.ocppj.envelopes import Steps

__all__ = ["UnreadableError", "duplicate_members", "read_json", "sniff_message_type"]


class UnreadableError(Exception):
    """Not JSON, or JSON that holds what no program can carry.

    Attributes:
        keyword: ``json`` or ``number``.
        note: completes a sentence that begins with "the frame".
    """

    def __init__(self, keyword: str, note: str) -> None:
        super().__init__(note)
        self.keyword = keyword
        self.note = note


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UnreadableError("number", f"holds the number {text[:40]}, which is out of range")
    return value


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        # Python's own guard against integers of more than 4300 digits.
        raise UnreadableError("number", f"holds an integer of {len(text)} digits") from None


def _constant(text: str) -> Any:
    raise UnreadableError("json", f"is not JSON: it has {text} for a number")


def read_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8; of members given twice the last counts.

    Raises:
        UnreadableError: it is none, or too deep, or holds a number out of range.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError("json", f"is not UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(text, parse_float=_float, parse_int=_int, parse_constant=_constant)
        if "\\u" in text:
            # A lone half of a surrogate pair is no character and cannot be sent on.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise UnreadableError("json", "has half a character (a lone surrogate) in a text") from None
    except json.JSONDecodeError as error:
        raise UnreadableError("json", f"is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise UnreadableError("json", "is nested too deeply") from None
    return value


_MESSAGE_TYPE = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*([0-9]{1,3})[ \t\r\n]*,")


def sniff_message_type(data: bytes) -> int | None:
    """The message type of a frame that is not JSON, so that an answer is not answered."""
    match = _MESSAGE_TYPE.match(data)
    return int(match[1]) if match else None


class _Object(dict[str, Any]):
    """An object that remembers which members it was given twice."""

    twice: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice: dict[str, None] = {}
        for name, _ in pairs:
            if name in seen:
                twice[name] = None
            seen.add(name)
        made.twice = tuple(twice)
    return made


def duplicate_members(data: bytes) -> list[tuple[Steps, str]]:
    """The objects in a readable JSON text that have a member twice, and its name."""
    found: list[tuple[Steps, str]] = []
    root = json.loads(
        data, object_pairs_hook=_object, parse_float=float, parse_int=_int, parse_constant=_constant
    )
    waiting: list[tuple[Steps, Any]] = [((), root)]
    while waiting:
        steps, value = waiting.pop()
        if isinstance(value, _Object):
            found += [(steps, name) for name in value.twice]
            waiting += [((*steps, name), member) for name, member in value.items()]
        elif isinstance(value, list):
            waiting += [((*steps, at), entry) for at, entry in enumerate(value)]
    return sorted(found, key=str)
