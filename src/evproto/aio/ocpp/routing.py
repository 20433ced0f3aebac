"""From the path of a request to the identity of who connects.

A route is a pattern such as ``/ocpp/{tenant}/{id}``: segments that are equal,
and segments that are taken. What is taken, percent-decoded and in order, is
the identity: a tuple, so that ``("a-b", "c")`` and ``("a", "b-c")``, or
``("tenant", "CS1")`` and ``("CS1",)``, are different chargers.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

__all__ = ["Identity", "Route", "Routes", "spell_identity"]

Identity = tuple[str, ...]
"""Who a charger is; the last element is its own id, as it is the user name of basic authentication."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def spell_identity(identity: Identity) -> str:
    """An identity for a log line: its elements joined by ``/``."""
    return "/".join(identity)


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One pattern, taken apart."""

    pattern: str
    segments: tuple[str | None, ...]
    """The text of a segment that must be equal, None for one that is taken."""
    names: tuple[str, ...]

    @classmethod
    def parse(cls, pattern: str) -> Route:
        """Raises ValueError for what is no pattern, or takes nothing."""
        if not pattern.startswith("/"):
            raise ValueError(f"a route begins with a slash: {pattern!r}")
        segments: list[str | None] = []
        names: list[str] = []
        for segment in pattern[1:].split("/"):
            found = _PLACEHOLDER.fullmatch(segment)
            if found:
                names.append(found[1])
                segments.append(None)
            elif "{" in segment or "}" in segment or not segment:
                raise ValueError(
                    f"a segment of a route is a text or one {{name}}, not {segment!r} in {pattern!r}"
                )
            else:
                segments.append(segment)
        if not names:
            raise ValueError(f"a route takes at least one {{name}}: {pattern!r}")
        if len(set(names)) != len(names):
            raise ValueError(f"a name is given twice in {pattern!r}")
        return cls(pattern, tuple(segments), tuple(names))

    def match(self, segments: tuple[str, ...]) -> Identity | None:
        """The identity in a path's decoded segments, or None."""
        if len(segments) != len(self.segments):
            return None
        taken = []
        for wanted, found in zip(self.segments, segments, strict=True):
            if wanted is None:
                taken.append(found)
            elif wanted != found:
                return None
        return tuple(taken)


class Routes:
    """An ordered list of patterns; the first that matches wins."""

    def __init__(self, patterns: Iterable[str] = ("/{id}",)) -> None:
        if isinstance(patterns, str):
            patterns = (patterns,)
        self.routes = tuple(map(Route.parse, patterns))
        if not self.routes:
            raise ValueError("there is no route, so nobody could connect")

    def match(self, target: str) -> tuple[Route, Identity] | None:
        """The route and identity of a request target (its query is not looked at), or None."""
        segments = decode_segments(target)
        if segments is None:
            return None
        for route in self.routes:
            identity = route.match(segments)
            if identity is not None:
                return route, identity
        return None


def decode_segments(target: str) -> tuple[str, ...] | None:
    """The percent-decoded segments of a request target; None if it is no path that could name anybody.

    Empty segments, UTF-8 that is none, and control characters make it so.
    """
    path = target.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        return None
    segments = []
    for raw in path[1:].split("/"):
        try:
            encoded = raw.encode("utf-8")
            if _ESCAPE.search(encoded):
                return None
            segment = unquote_to_bytes(encoded).decode("utf-8")
        except UnicodeError:
            return None
        if not segment or not segment.isprintable():
            return None
        segments.append(segment)
    return tuple(segments)
