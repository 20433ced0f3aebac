"""What a session has to know of a codec's messages, looked up once per codec."""

from __future__ import annotations

import functools
from typing import Any, Final

from evproto.messages import Message
from evproto.wire.table import Direction
from evproto.ykc.codec import Codec
from evproto.ykc.dialect import BUILT_IN

__all__ = ["RECORD_RESPONSE", "RECORD_TYPES", "Vocabulary", "vocabulary_of"]

RECORD_RESPONSE: Final = 0x40

RECORD_TYPES: Final = frozenset(
    layout.frame_type for layout in BUILT_IN if layout.role == "request" and layout.pair == RECORD_RESPONSE
)
"""Frame types of transaction records of all versions: 0x3B and 0x3D."""

_PAIRS: Final = {layout.frame_type: layout.pair for layout in BUILT_IN if layout.role == "request"}
_DIRECTIONS: Final = {layout.frame_type: layout.direction for layout in BUILT_IN}


class Vocabulary:
    """Roles and pairs by frame type, and the classes that a session itself sends."""

    __slots__ = ("classes", "directions", "pairs", "reports")

    def __init__(self, codec: Codec) -> None:
        self.pairs: dict[int, int | None] = dict(_PAIRS)
        """Frame type of the answer, by frame type of the request."""
        self.directions: dict[int, Direction] = dict(_DIRECTIONS)
        """Who sends a frame type."""
        self.reports: frozenset[int] = frozenset()
        """Frame types that come by themselves and also answer (0x13)."""
        reports = set()
        for frame_type, layouts in codec.layouts.items():
            for layout in layouts:
                if layout.role == "request":
                    self.pairs[frame_type] = layout.pair
                elif layout.role == "report_or_response":
                    reports.add(frame_type)
                self.directions[frame_type] = layout.direction
        self.reports = frozenset(reports)
        self.classes = dict(codec.messages)

    def make(self, frame_type: int, **fields: Any) -> Message | None:
        """A message of this codec; None if its dialect gave the class other fields."""
        try:
            return self.classes[frame_type](**fields)
        except (KeyError, TypeError):
            return None


@functools.lru_cache(maxsize=256)
def vocabulary_of(codec: Codec) -> Vocabulary:
    """The vocabulary of a codec."""
    return Vocabulary(codec)
