"""A protocol, resolved: every field of every frame, with nothing left to look up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

__all__ = [
    "CheckSpec",
    "EnumSpec",
    "FieldSpec",
    "FrameSpec",
    "Member",
    "Protocol",
    "Revision",
    "Timing",
]

Kind = Literal["bcd", "uint", "ascii", "bytes", "cp56time2a", "bits", "group"]


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One code of an enumeration."""

    code: int
    name: str
    zh: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class EnumSpec:
    """An enumeration, its codes in ascending order."""

    name: str
    title: str
    members: tuple[Member, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """One field; for a part of a bit field ``size`` and ``bit`` count bits.

    The physical value is ``raw * scale + offset``.
    """

    name: str
    kind: Kind
    size: int
    bit: int = 0
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    unit: str = ""
    enum: str = ""
    low: float | None = None
    high: float | None = None
    pad_left: bool = False
    reversed: bool = False
    fixed: bytes | None = None
    idle_zero: bool = False
    secret: str = ""
    count: int | str = 0
    entry: str = ""
    fields: tuple[FieldSpec, ...] = ()
    zh: str = ""
    note: str = ""

    @property
    def ratio(self) -> tuple[int, int, int]:
        """(scale, offset, divisor), integers, so that one division is enough."""
        divisor = self.scale.denominator * self.offset.denominator
        scale, offset = self.scale * divisor, self.offset * divisor
        assert scale.denominator == offset.denominator == 1
        common = math.gcd(scale.numerator, offset.numerator, divisor)
        return scale.numerator // common, offset.numerator // common, divisor // common


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """A relation between fields that should hold (see wire.table.Check)."""

    rule: Literal["sum", "difference", "product", "order"]
    of: tuple[str, ...]
    total: str = ""
    tolerance: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrameSpec:
    """One body layout of one frame type."""

    frame_type: int
    name: str
    title: str
    direction: Literal["pile_to_platform", "platform_to_pile"]
    role: Literal["request", "response", "report", "report_or_response"]
    fields: tuple[FieldSpec, ...]
    zh: str = ""
    section: str = ""
    source: str = ""
    interval: str = ""
    pair: int | None = None
    since: str = ""
    extension: str = ""
    variant: bool = False
    note: str = ""
    errata: tuple[str, ...] = ()
    checks: tuple[CheckSpec, ...] = ()

    @property
    def base_size(self) -> int:
        """Bytes of the body without what varies."""
        total = 0
        for field in self.fields:
            if not isinstance(field.count, str):
                total += field.size * (field.count if field.kind == "group" else 1)
        return total

    @property
    def stride(self) -> int:
        """Bytes the body grows by; 0 if it cannot."""
        for field in self.fields:
            if isinstance(field.count, str):
                return field.size if field.kind == "group" else 1
        return 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One published version."""

    version: str
    login_code: int
    date: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Frames outside the document that belong together."""

    name: str
    title: str
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What the document says about time: seconds, or a count."""

    name: str
    section: str
    title: str
    seconds: int = 0
    count: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """Everything one version, or one dialect on top of it, consists of."""

    name: str
    base: str
    title: str
    frames: tuple[FrameSpec, ...]
    enums: tuple[EnumSpec, ...]

    def frame(self, name: str) -> FrameSpec:
        """The frame called ``name``.

        Raises:
            KeyError: there is none.
        """
        for frame in self.frames:
            if frame.name == name:
                return frame
        raise KeyError(name)

    def enum(self, name: str) -> EnumSpec:
        """The enumeration called ``name``.

        Raises:
            KeyError: there is none.
        """
        for enum in self.enums:
            if enum.name == name:
                return enum
        raise KeyError(name)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A protocol with all its versions."""

    name: str
    title: str
    versions: tuple[Version, ...]
    extensions: tuple[Extension, ...]
    frames: tuple[FrameSpec, ...]
    enums: tuple[EnumSpec, ...]
    timings: tuple[Timing, ...]
    select: Callable[[str], Revision]

    def revision(self, version: str) -> Revision:
        """The frames of one version; extensions included.

        Raises:
            KeyError: there is no such version.
        """
        return self.select(version)
