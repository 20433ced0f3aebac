"""What a revision has that its base has not.

Typed code and run-time dialects define only what is new and borrow the rest
from the built-in version, so that an unchanged message keeps its class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from evproto.spec.model import EnumSpec, FieldSpec, FrameSpec, Revision
from evproto.spec.words import class_name

__all__ = ["Novelty", "Piece", "pieces"]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A class for the parts of a bit field, or for one entry of a group."""

    name: str
    field: FieldSpec


def pieces(frame: FrameSpec) -> Iterator[Piece]:
    """The pieces of a frame, inner ones first."""
    yield from _pieces(frame.fields, class_name(frame.name))


def _pieces(fields: tuple[FieldSpec, ...], owner: str) -> Iterator[Piece]:
    for field in fields:
        if field.kind == "bits":
            yield Piece(owner + class_name(field.name), field)
        elif field.kind == "group":
            entry = class_name(field.entry)
            yield from _pieces(field.fields, entry)
            yield Piece(entry, field)


class Novelty:
    """Compares ``revision`` with ``base``; without a base everything is new."""

    def __init__(self, revision: Revision, base: Revision | None = None) -> None:
        self._enums = {enum.name: enum for enum in base.enums} if base else {}
        self._frames = {frame.name: frame for frame in base.frames} if base else {}
        self._pieces = {p.name: p.field for frame in self._frames.values() for p in pieces(frame)}
        self._new_enums = {enum.name for enum in revision.enums if enum != self._enums.get(enum.name)}

    def enum(self, enum: EnumSpec) -> bool:
        """Whether the enumeration is new or changed."""
        return enum.name in self._new_enums

    def piece(self, piece: Piece) -> bool:
        """Whether the piece is new, changed, or uses what is."""
        old = self._pieces.get(piece.name)
        return old is None or old.fields != piece.field.fields or self._uses_new(piece.field.fields)

    def frame(self, frame: FrameSpec) -> bool:
        """Whether the frame is new, changed, or uses what is."""
        return frame != self._frames.get(frame.name) or self._uses_new(frame.fields)

    def _uses_new(self, fields: tuple[FieldSpec, ...]) -> bool:
        return any(field.enum in self._new_enums or self._uses_new(field.fields) for field in fields)
