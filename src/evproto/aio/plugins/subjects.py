"""Subjects of NATS: where what is said about which charger goes.

Below a prefix, with every text escaped to one token::

    request.VERSION.ACTION.IDENTITY...      a request of a charger; wants a reply
    response.VERSION.ACTION.IDENTITY...     how a command ended
    online.VERSION.IDENTITY...              a charger has connected
    offline.VERSION.IDENTITY...             a charger has disconnected
    command.IDENTITY...                     a command to a charger; wants a reply

An identity is as many tokens as it has elements, so that ``request.*.*.acme.>``
is all that the chargers of one tenant ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from evproto.aio.nats import escape, unescape

__all__ = ["LONGEST", "Subjects", "escape", "unescape"]

LONGEST = 1024
"""Characters a subject may have here. nats-server ends connections over lines of 4096 bytes, and a
subject shares its line with another one for the reply."""


class Subjects:
    """The subjects below one prefix."""

    def __init__(self, prefix: str) -> None:
        """Raises ValueError for what cannot be the beginning of a subject."""
        if not re.fullmatch(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*", prefix) or len(prefix) > 200:
            raise ValueError(f"{prefix!r} cannot begin a subject: tokens of letters, digits, _ and -")
        self.prefix = prefix

    def request(self, version: str, action: str, identity: Iterable[str]) -> str:
        """Raises ValueError, like all of these, if it would be too long."""
        return self._join("request", version, action, *identity)

    def response(self, version: str, action: str, identity: Iterable[str]) -> str:
        return self._join("response", version, action, *identity)

    def online(self, version: str, identity: Iterable[str]) -> str:
        return self._join("online", version, *identity)

    def offline(self, version: str, identity: Iterable[str]) -> str:
        return self._join("offline", version, *identity)

    def command(self, identity: Iterable[str]) -> str:
        return self._join("command", *identity)

    def all(self, kind: str) -> str:
        """All subjects of a kind."""
        return f"{self.prefix}.{kind}.>"

    def _join(self, kind: str, *texts: str) -> str:
        subject = ".".join((self.prefix, kind, *map(escape, texts)))
        if len(subject) > LONGEST:
            raise ValueError(f"the subject for {'/'.join(texts)[:100]}... has {len(subject)} characters")
        return subject
