"""Parameters of requests to the API: flags, numbers, and how long a caller waits."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request

from evproto.gateway.problems import ProblemError

__all__ = ["PLACES", "flag", "limit", "number", "patience"]

PLACES: Final = 2**53 - 1
"""The largest place there is: what JSON numbers carry exactly."""
_MOST: Final = 1000
"""Most entries of one page."""
_LONGEST: Final = 3600.0
"""Longest timeout of a command, in seconds."""


def flag(request: Request, name: str) -> bool | None:
    """A parameter that is true or false; None: it is not given.

    Raises:
        ProblemError: it is neither.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    if text.lower() not in ("true", "false", "1", "0"):
        raise ProblemError("invalid", f"{name} is true or false, not {text!r}", path=name)
    return text.lower() in ("true", "1")


def number(request: Request, name: str, low: float, high: float, default: Any, *, whole: bool = False) -> Any:
    """A parameter that is a number.

    Raises:
        ProblemError: it is none, or out of its limits.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ProblemError("invalid", f"{name} is a number from {low:g} to {high:g}, not {text!r}", path=name)
    return value


def limit(request: Request) -> int:
    """How many entries of a page are wanted.

    Raises:
        ProblemError: it is no number, or out of its limits.
    """
    return int(number(request, "limit", 1, _MOST, 100, whole=True))


def patience(request: Request) -> tuple[bool, float | None]:
    """Whether a request waits for the charger, and how long the charger has, in seconds.

    Raises:
        ProblemError: a parameter is wrong.
    """
    wait = flag(request, "wait")
    timeout = number(request, "timeout", 1.0, _LONGEST, None)
    prefer = [part.strip().lower() for part in request.headers.get("prefer", "").split(",")]
    if wait is None:
        wait = "respond-async" not in prefer
    return wait, timeout
