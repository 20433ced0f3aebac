"""The spec language: reading, checking and resolving protocol specs.

The generator and the run-time dialects share this package, and it needs
nothing that is generated, so a broken ``_generated`` never blocks
regeneration. The language is described in ``specs/README.md``; its JSON
Schemas are in ``specs/meta``.

>>> from evproto.spec import load_protocol
>>> protocol = load_protocol()
>>> revision = protocol.revision("1.6")
>>> revision.frame("login_request").fields[0].name
'pile_id'
"""

from __future__ import annotations

from evproto.spec.model import (
    CheckSpec,
    EnumSpec,
    FieldSpec,
    FrameSpec,
    Member,
    Protocol,
    Revision,
)
from evproto.spec.problems import Problem
from evproto.spec.protocol import load_overlay, load_protocol
from evproto.spec.words import class_name

__all__ = [
    "CheckSpec",
    "EnumSpec",
    "FieldSpec",
    "FrameSpec",
    "Member",
    "Problem",
    "Protocol",
    "Revision",
    "class_name",
    "load_overlay",
    "load_protocol",
]
