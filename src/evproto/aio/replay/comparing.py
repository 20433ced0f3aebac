"""In what two answers differ."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

__all__ = ["Difference", "differences"]

_NOTHING: Final = "nothing"
_IDENTITIES: Final = frozenset({"transactionId", "transaction_no", "id", "messageId", "requestId"})
"""Members that a server makes up, another one every time."""
_STATES: Final = ("status", "result", "message", "raw")


class Difference(NamedTuple):
    """A value of an answer that is another one now."""

    name: str
    """Of what was asked."""
    path: str
    was: str
    now: str
    place: str
    """Where the answer stands in the capture."""

    def __str__(self) -> str:
        return f"{self.name}: {self.path} was {self.was}, is {self.now} ({self.place})"


def differences(was: Any, now: Any, *, fields: bool) -> Iterator[tuple[str, str, str]]:
    """Path, value then and value now of what is not the same; times and what is made up aside.

    ``fields``: all of them; else what says how it went alone: status, result, error.
    """
    then, after = dict(_leaves(was)), dict(_leaves(now))
    for path in [*then, *(path for path in after if path not in then)]:
        name = path.rpartition(".")[2].partition("[")[0]
        old, new = then.get(path, _NOTHING), after.get(path, _NOTHING)
        if old == new or name in _IDENTITIES or (_is_time(old) and _is_time(new)):
            continue
        if fields or name.lower().endswith(_STATES) or path in ("message", "raw"):
            yield path, _shown(old), _shown(new)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        if "code" in value and set(value) <= {"code", "name"}:
            yield path, value.get("name") or value["code"]
            return
        if "time" in value and set(value) <= {"time", "flags"}:
            yield path, value["time"]
            return
        for key, member in value.items():
            yield from _leaves(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _leaves(entry, f"{path}[{index}]")
    else:
        yield path, value


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or len(value) < 16:
        return False
    try:
        dt.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
