"""How a deviation is told: its code, its place, and one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evproto.ocppj.dialect import Dialect
from evproto.ocppj.envelopes import Deviation, Steps

__all__ = ["deviation", "most_telling_first", "spell_steps"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SORTS = {"string": "text", "array": "a list", "object": "an object", "boolean": "true or false"}

_TELLING = (
    "type",
    "required",
    "minItems",
    "maxItems",
    "enum",
    "format",
    "maxLength",
    "minimum",
    "maximum",
    "multipleOf",
    "number",
    "alias",
    "additionalProperties",
    "duplicate",
)


def most_telling_first(found: Deviation) -> tuple[int, int, str]:
    """Sort key: a missing member explains an unknown one better than the other way round."""
    rank = _TELLING.index(found.keyword) if found.keyword in _TELLING else -1
    return rank, len(found.steps), found.path


def spell_steps(steps: Steps) -> str:
    """``("meterValue", 0, "unit")`` as ``meterValue[0].unit``."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{_shown(step)}]"
    return text


def _shown(value: Any) -> str:
    """A value as it may stand in a sentence: short, and printable whatever it is."""
    if value is None:
        return "null"
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, dict):
        return f"an object of {len(value)} members"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 200:
        return "an integer of very many digits"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


def _sort_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    return "an object" if isinstance(value, Mapping) else "a list"


def _wanted(limit: Any) -> str:
    names = limit if isinstance(limit, list | tuple) else [limit]
    return " or ".join(_SORTS.get(name, f"a {name}" if name == "number" else f"an {name}") for name in names)


def _sentence(keyword: str, where: str, value: Any, limit: Any, note: str) -> str:
    match keyword:
        case "required":
            return f"{where} is missing"
        case "type":
            return f"{where} is {_sort_of(value)} ({_shown(value)}), not {_wanted(limit)}"
        case "enum":
            listed = list(limit)
            words = ", ".join(str(word) for word in listed[:8]) + (", ..." if len(listed) > 8 else "")
            return f"{where} is {_shown(value)}, which is not one of {words}"
        case "maxLength":
            return f"{where} has {len(value)} characters, at most {limit} are allowed"
        case "minItems":
            return f"{where} has {len(value)} entries, at least {limit} are needed"
        case "maxItems":
            return f"{where} has {len(value)} entries, at most {limit} are allowed"
        case "minimum":
            return f"{where} is {_shown(value)}, at least {limit} is needed"
        case "maximum":
            return f"{where} is {_shown(value)}, at most {limit} is allowed"
        case "multipleOf":
            return f"{where} is {_shown(value)}, which is not a multiple of {limit}"
        case "format":
            return f"{where} is {_shown(value)}, which {note or f'is not a {limit}'}"
        case "additionalProperties":
            return f"{where} is not a member this message has"
        case "alias":
            return f"{where} is called {limit} in this protocol"
        case "duplicate":
            return f"{where} is given more than once; the last one counts"
        case _:
            return f"{where} {note}" if where else note


def deviation(
    dialect: Dialect,
    keyword: str,
    steps: Steps = (),
    *,
    action: str = "",
    value: Any = None,
    limit: Any = None,
    note: str = "",
) -> Deviation:
    """What is broken, put in words; ``note`` completes the sentence where it takes more than the facts."""
    path = spell_steps(steps)
    where = f"{action}: {path or 'the payload'}" if action else path
    code = dialect.code("payload" if keyword == "type" and not steps else keyword)
    return Deviation(
        keyword=keyword,
        code=code,
        path=path,
        message=_sentence(keyword, where, value, limit, note),
        action=action,
        value=value,
        limit=limit,
        steps=steps,
    )
