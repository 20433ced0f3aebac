"""Who may charge, as far as a station knows by itself: the local list, and the cache of earlier answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

__all__ = ["Known", "Tokens"]


class Known(msgspec.Struct, frozen=True):
    """What is known of a token."""

    status: str
    """As in AuthorizationStatus: Accepted, Blocked, ..."""
    group: str | None = None
    until: int | None = None
    """ms of UTC since 1970; None: for ever."""

    def at(self, now: int) -> str:
        """The status at a moment."""
        if self.until is not None and now >= self.until and self.status == "Accepted":
            return "Expired"
        return self.status


class Tokens:
    """The local authorization list and the authorization cache.

    Attributes:
        list_version: of the local list; 0: there is none.
        capacity: entries of the local list at most.
    """

    def __init__(self, capacity: int = 500) -> None:
        self.list_version = 0
        self.capacity = capacity
        self.local: dict[str, Known] = {}
        self.cache: dict[str, Known] = {}

    def send_list(self, version: int, entries: Iterable[tuple[str, Known | None]], *, full: bool) -> str:
        """Take over a list; Accepted, Failed or VersionMismatch."""
        if not full and version <= self.list_version:
            return "VersionMismatch"
        made: dict[str, Known] = {} if full else dict(self.local)
        for token, known in entries:
            if known is None:
                if full:
                    return "Failed"  # in a full list there is nothing to remove
                made.pop(token, None)
            else:
                made[token] = known
        if len(made) > self.capacity:
            return "Failed"
        self.local, self.list_version = made, version
        return "Accepted"

    def remember(self, token: str, known: Known) -> None:
        """The server has said what it thinks of a token; of those of the list the list speaks."""
        if token not in self.local:
            self.cache[token] = known
            while len(self.cache) > self.capacity:
                del self.cache[next(iter(self.cache))]

    def status(self, token: str, now: int, uses: Mapping[str, bool]) -> str | None:
        """What is known of a token, or None. ``uses`` says whether ``list`` and ``cache`` are on."""
        for name, known in (("list", self.local.get(token)), ("cache", self.cache.get(token))):
            if known is not None and uses[name]:
                return known.at(now)
        return None

    def group(self, token: str) -> str | None:
        """The group a token is of, as far as is known."""
        known = self.local.get(token) or self.cache.get(token)
        return known.group if known is not None else None
