"""Who may use the API: bearer tokens, of which only hashes are kept.

Tokens are random and long (:func:`new_token`), so a plain SHA-256 of them
gives nothing away, and checking one costs nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Literal

import msgspec

__all__ = ["Caller", "Tokens", "hash_of", "new_token"]

Scope = Literal["read", "command"]


class Caller(msgspec.Struct, frozen=True):
    """Somebody who was let in."""

    name: str
    scope: Scope = "command"

    @property
    def may_command(self) -> bool:
        """Whether this caller may change anything."""
        return self.scope == "command"


def new_token() -> str:
    """A token nobody can guess: 43 characters, 256 bits."""
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """What is kept of a token: its SHA-256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """The tokens of a server. Without any, everybody is ``anyone``, with all rights."""

    def __init__(self, entries: Iterable[tuple[str, str, Scope]] = ()) -> None:
        """Make a set of ``(name, SHA-256 in hex, scope)``."""
        self._entries = [(digest.lower().encode(), Caller(name, scope)) for name, digest, scope in entries]

    @property
    def required(self) -> bool:
        """Whether a token is needed."""
        return bool(self._entries)

    def caller(self, authorization: str | None) -> Caller | None:
        """Who sent this ``Authorization`` header; None: nobody that is known.

        ``Bearer TOKEN``, or ``Basic`` with the token as the password, which is
        what browsers and URLs of the form ``http://any:TOKEN@host`` send.
        """
        if not self._entries:
            return Caller("anyone")
        token = _token(authorization or "")
        if not token:
            return None
        digest = hash_of(token).encode()
        found: Caller | None = None
        for known, caller in self._entries:
            # All of them, so that the time taken tells nothing.
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def _token(authorization: str) -> str:
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
    return ""
