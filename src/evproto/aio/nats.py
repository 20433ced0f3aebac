"""What everything that speaks to NATS here has in common: tokens of subjects, and waiting for the server.

Importing this needs no nats-py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nats.aio.client import Client

__all__ = ["escape", "settle", "unescape"]

_ORDINARY = re.compile(r"[A-Za-z0-9_-]")


def escape(text: str) -> str:
    """Any text as one token of a subject, which is good in a key of a KV bucket too.

    Letters, digits, ``_`` and ``-`` stay; of everything else each byte of its
    UTF-8 form becomes ``=`` and two hexadecimal digits. The empty text is ``=``.
    """
    return "".join(c if _ORDINARY.match(c) else _escaped(c) for c in text) or "="


def _escaped(character: str) -> str:
    return "".join(f"={byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def unescape(token: str) -> str:
    """The text that :func:`escape` made a token of.

    Raises:
        ValueError: it made none like this.
    """
    if token == "=":
        return ""
    raw = re.sub(rb"=([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), token.encode())
    text = raw.decode("utf-8", "surrogatepass")
    if escape(text) != token:
        raise ValueError(f"{token!r} is no escaped token")
    return text


async def settle(client: Client, timeout: float) -> None:
    """Wait until the server has seen everything that was given to the client before.

    The client writes its PING at once, but other commands a moment later: only
    the second PING is sure to come after them. Each may take ``timeout``
    seconds; the client counts whole ones, and at least one.

    Raises:
        nats.errors.Error: there is no connection, or no answer in time.
        OSError: the connection broke.
    """
    whole = max(1, round(timeout))
    await client.flush(timeout=whole)
    await client.flush(timeout=whole)
