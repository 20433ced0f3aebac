"""How a frame layout is written down for the engines, the CLI and the checks.

A :class:`Layout` is pure data: generated for the built-in versions, made by
``evproto.ykc.Dialect`` at load time for dialects, the same either way.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec

from evproto.messages import Message, OpenIntEnum, Part

__all__ = ["REMAINING", "Check", "Direction", "Field", "Kind", "Layout", "Role", "width"]

REMAINING: Final = "remaining"
"""Count of a group that goes on to the end of the body."""

Role = Literal["request", "response", "report", "report_or_response"]


class Kind(IntEnum):
    """The field types of YKC V1.6, section 3.2."""

    BCD = 1
    """Packed decimal, most significant digit first; hex digits are kept."""
    UINT = 2
    """Unsigned, low byte first; a number, or a code where ``enum`` is set."""
    ASCII = 3
    """One byte per character, read as latin-1."""
    BYTES = 4
    """Opaque, in wire order."""
    TIME = 5
    """CP56Time2a, seven bytes."""
    BITS = 6
    """A low-byte-first word cut into parts, bit 0 the least significant."""
    GROUP = 7
    """Entries of one shape, one after the other."""


class Direction(IntEnum):
    """Who sends a frame."""

    PILE_TO_PLATFORM = 1
    PLATFORM_TO_PILE = 2


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a layout, one part of a bit field, or one entry's field.

    The physical value is ``(raw * scale + offset) / divisor``, all integers,
    so that it comes out of a single division.
    """

    name: str
    kind: Kind
    size: int
    """Bytes on the wire; of one entry for a group, of the word for bits; 0 for
    text whose length another field gives; the width in *bits* for a part."""
    bit: int = 0
    """Position of the least significant bit, for a part."""
    scale: int = 1
    offset: int = 0
    divisor: int = 1
    unit: str = ""
    enum: type[OpenIntEnum] | None = None
    fixed: bytes | None = None
    """What the document wants sent here; the default of the attribute."""
    pad_left: bool = False
    """Whether shorter values are filled with zeros in front (text is filled
    with NULs behind)."""
    reversed: bool = False
    """Whether the bytes go out last first (the VIN of 0x31 and 0xA1)."""
    low: float | None = None
    high: float | None = None
    """Documented limits of the physical value; reported by check, never enforced."""
    count: int | str = 0
    """Of a group: a number, the name of the count field, or :data:`REMAINING`.
    Of text: the name of the field that gives its length, else 0."""
    type: type[Part] | None = None
    """The class of the parts or of one entry."""
    fields: tuple[Field, ...] = ()
    """The parts of a bit field, or the fields of an entry."""
    idle_zero: bool = False
    """Whether an idle pile sends raw 0, whatever the offset makes of it."""
    secret: str = ""
    """What is hidden by redaction: ``vin``, ``card``, ``account`` or ``password``."""
    zh: str = ""
    note: str = ""

    @property
    def is_physical(self) -> bool:
        """Whether the value is a fraction, a float on the message."""
        return self.divisor != 1


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A relation between fields of one message that should hold.

    ``sum``: the fields of ``of`` add up to ``total``. ``difference``: ``of``
    is (earlier reading, later reading), their difference is ``total``.
    ``product``: ``of`` is (price, amount of energy), their product is
    ``total``. ``order``: the times of ``of`` do not go backwards.
    """

    rule: Literal["sum", "difference", "product", "order"]
    of: tuple[str, ...]
    total: str = ""
    tolerance: float = 0.0


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """One body layout of one frame type."""

    name: str
    frame_type: int
    message: type[Message]
    fields: tuple[Field, ...]
    direction: Direction
    role: Role
    pair: int | None = None
    """Frame type of the answer, or of the request answered."""
    title: str = ""
    zh: str = ""
    section: str = ""
    """Where YKC V1.6 describes it."""
    source: str = ""
    """Where the layout comes from, if not from the document."""
    since: str = ""
    extension: str = ""
    interval: str = ""
    note: str = ""
    errata: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def variable(self) -> Field | None:
        """The one field whose length another field, or the body's end, gives."""
        for field in self.fields:
            if isinstance(field.count, str):
                return field
        return None

    @property
    def base_size(self) -> int:
        """Bytes of the body, the variable field left out."""
        return sum(width(field) for field in self.fields)

    @property
    def stride(self) -> int:
        """By how many bytes the body grows per entry; 0 if its size is fixed."""
        field = self.variable
        if field is None:
            return 0
        return field.size if field.kind is Kind.GROUP else 1

    def fits(self, length: int) -> bool:
        """Whether a body of ``length`` bytes can be this layout and nothing more."""
        beyond = length - self.base_size
        if self.stride == 0:
            return beyond == 0
        return beyond >= 0 and beyond % self.stride == 0


def width(field: Field) -> int:
    """Bytes a field always takes: 0 if its length varies."""
    if isinstance(field.count, str):
        return 0
    if field.kind is Kind.GROUP:
        return field.size * field.count
    return field.size
