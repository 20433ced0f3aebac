"""How the server writes its log: one line per event, key=value or JSON.

Loggers of the server are below ``evproto``. What a line is about goes into
``extra={"data": {...}}``, so that it can be searched for; the sentence alone
says what happened.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TextIO

__all__ = ["JsonFormatter", "KeyValueFormatter", "Throttle", "data", "set_up"]

_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/+-*@%,")


def data(**values: Any) -> dict[str, Any]:
    """The ``extra`` argument of a log call: what its line is about."""
    return {"data": values}


class Throttle:
    """Lets so many lines a minute through: a peer must not be able to fill the disk."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._minute = -1
        self._count = 0

    def __bool__(self) -> bool:
        """Whether one more may be written; counts it."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._count = minute, 0
        self._count += 1
        return self._count <= self._most


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time``, ``level``, ``logger``, ``message``, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in _data(record).items():
            line.setdefault(key, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class KeyValueFormatter(logging.Formatter):
    """Time, level and sentence, then ``key=value`` for what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_time(record), f"{record.levelname.lower():<7}", _one_line(record.getMessage())]
        parts += [f"{key}={_value(value)}" for key, value in _data(record).items()]
        text = " ".join(parts)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up(
    level: str, form: Literal["text", "json"], stream: TextIO | None = None, *, name: str = "evproto"
) -> logging.Handler:
    """Send what is logged below ``name`` to ``stream`` (standard error), and only there."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else KeyValueFormatter())
    for logger in (logging.getLogger(name), logging.getLogger("uvicorn")):
        for old in logger.handlers[:]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.propagate = False
    logging.getLogger(name).setLevel(level.upper())
    # Requests are counted; who sent them is in the audit log.
    logging.getLogger("uvicorn").setLevel("WARNING")
    return handler


def _time(record: logging.LogRecord) -> str:
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _data(record: logging.LogRecord) -> Mapping[str, Any]:
    found = getattr(record, "data", None)
    return found if isinstance(found, Mapping) else {}


def _one_line(text: str) -> str:
    # What a pile sends must not be able to forge a line.
    return text.translate({10: "\\n", 13: "\\r"})


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and not (text and _PLAIN.issuperset(text)):
        return json.dumps(text, ensure_ascii=False)
    return text
