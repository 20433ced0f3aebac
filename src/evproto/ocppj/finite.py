"""Numbers that JSON has no word for: NaN and the infinities.

The encoder writes null for them, and null is never invented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from evproto.ocppj.envelopes import Steps
from evproto.payloads import Payload

__all__ = ["NotFiniteError", "not_finite"]


class NotFiniteError(ValueError):
    """A number that cannot be sent.

    Attributes:
        steps: the way to it, names as on the wire.
        value: the number.
    """

    def __init__(self, steps: Steps, value: Any) -> None:
        super().__init__(f"{value} is no number that JSON has a word for")
        self.steps = steps
        self.value = value


def not_finite(value: Any) -> NotFiniteError | None:
    """The first NaN or infinity in a payload, or in whatever is to become JSON, in no certain order."""
    waiting: list[tuple[Steps, Any]] = [((), value)]
    while waiting:
        steps, value = waiting.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                return NotFiniteError(steps, value)
        elif isinstance(value, Decimal):
            if not value.is_finite():
                return NotFiniteError(steps, value)
        elif isinstance(value, Payload):
            names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
            waiting += [((*steps, wire), getattr(value, name)) for name, wire in names]
        elif isinstance(value, Mapping):
            waiting += [((*steps, str(name)), member) for name, member in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [((*steps, at), entry) for at, entry in enumerate(value)]
    return None
