"""From the names in the specs to the names in Python: the one place."""

from __future__ import annotations

import keyword

__all__ = ["class_name", "is_usable", "member_name"]

RESERVED = frozenset({"frame_type"})
"""Attributes that every message class has."""


def class_name(name: str) -> str:
    """The class of a message, enumeration or entry.

    >>> class_name("transaction_record_v17")
    'TransactionRecordV17'
    """
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def member_name(name: str) -> str:
    """The member of an enumeration.

    >>> member_name("pile_id_mismatch")
    'PILE_ID_MISMATCH'
    """
    return name.upper()


def is_usable(name: str) -> bool:
    """Whether a field may have this name as a Python attribute."""
    return name.isidentifier() and not keyword.iskeyword(name) and name not in RESERVED
