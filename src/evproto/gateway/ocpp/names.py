"""One text for who a charger is, which fits into the path of a URL."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from evproto.aio.ocpp import Identity

__all__ = ["LONGEST", "charger_name", "identity_of"]

LONGEST: Final = 255
"""Most characters of a name; chargers with longer ones are not let in."""

_ESCAPED: Final = re.compile(r"[/~%\x00-\x1f\x7f-\x9f]|^\.{1,2}$")


def charger_name(identity: Identity) -> str:
    """The name of a charger outside of its protocol: ``id``, or ``tenant~id``.

    In each part ``/``, ``~``, ``%`` and control characters are percent-encoded,
    and ``.`` and ``..``, which mean something else in a path: no two identities
    have one name.
    """
    return "~".join(_ESCAPED.sub(_escape, part) for part in identity)


def identity_of(name: str) -> Identity:
    """The identity that :func:`charger_name` made a name of."""
    return tuple(unquote(part) for part in name.split("~"))


def _escape(found: re.Match[str]) -> str:
    # quote() leaves what is harmless elsewhere.
    return "".join(f"%{ord(char):02X}" if char in "~." else quote(char, safe="") for char in found[0])
