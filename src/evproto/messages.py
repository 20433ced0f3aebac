"""The vocabulary that generated messages are written in.

A message is an immutable, keyword-only ``msgspec.Struct`` that also answers
to the dataclass protocol: ``dataclasses.fields``, ``asdict``, ``replace`` and
``is_dataclass`` work on it, and so do pickle, copy and ``match``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar, Final, Generic, NoReturn, Self, TypeVar

import msgspec

__all__ = [
    "BEIJING",
    "DERIVED",
    "CountedMessage",
    "EncryptedMessage",
    "FlaggedZone",
    "Message",
    "OpenIntEnum",
    "Part",
    "RawTime",
    "Record",
    "Request",
    "UnknownMessage",
]

DERIVED: Final = -1
"""Default of a count field: it takes the number of entries it counts."""

BEIJING: Final = dt.timezone(dt.timedelta(hours=8))
"""UTC+8, the zone piles keep; the YKC document names none."""


class _DataclassFields:
    """Answers ``__dataclass_fields__`` for a Struct class, made on first use.

    The fields come from ``dataclasses.make_dataclass``, so no private part of
    the standard library is touched.
    """

    def __init__(self) -> None:
        self._cache: dict[type, dict[str, Any]] = {}

    def __get__(self, instance: Any, owner: type[msgspec.Struct]) -> dict[str, Any]:
        found = self._cache.get(owner)
        if found is None:
            columns: list[Any] = []
            for info in msgspec.structs.fields(owner):
                if info.default is not msgspec.NODEFAULT:
                    column = dataclasses.field(default=info.default, kw_only=True)
                else:
                    column = dataclasses.field(kw_only=True)
                columns.append((info.name, info.type, column))
            made: Any = dataclasses.make_dataclass(owner.__name__, columns, frozen=True)
            found = self._cache[owner] = made.__dataclass_fields__
        return found


class _DataclassParams:
    """What ``pprint`` looks at: the Struct prints itself."""

    init = True
    repr = False
    eq = True
    order = False
    unsafe_hash = False
    frozen = True


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of everything generated: immutable, keyword-only, dataclass-like."""

    __dataclass_fields__: ClassVar[Any] = _DataclassFields()
    __dataclass_params__: ClassVar[Any] = _DataclassParams


class Part(Record, frozen=True, kw_only=True, gc=False):
    """A piece of a message: the parts of a bit field, or an entry of a group."""


class Message(Record, frozen=True, kw_only=True, gc=False):
    """Base of every YKC message class."""

    frame_type: ClassVar[int]
    """The frame-type code, byte 5 of the frame."""


class CountedMessage(Message, frozen=True, kw_only=True, gc=False):
    """Base of messages with a count (or length) field.

    A count left at :data:`DERIVED` becomes the length of what it counts.
    """

    __counts__: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __post_init__(self) -> None:
        for count, counted in self.__counts__:
            given = getattr(self, count)
            # Anything else is judged when it is encoded, not here.
            if type(given) is int and given == DERIVED:
                msgspec.structs.force_setattr(self, count, len(getattr(self, counted)))


R_co = TypeVar("R_co", covariant=True)


class Request(Generic[R_co]):
    """Marks a YKC message that asks for the answer it is parametrised with.

    To type checkers only: ``call(RemoteStartRequest(...))`` is a
    ``RemoteStartResponse``. What answers what at run time is in the layouts.
    """

    __slots__ = ()

    frame_type: ClassVar[int]


class UnknownMessage(Record, frozen=True, kw_only=True, gc=False):
    """The body of a frame whose type has no layout, byte for byte."""

    frame_type: int
    body: bytes


class EncryptedMessage(Record, frozen=True, kw_only=True, gc=False):
    """The body of an encrypted frame that no cipher opened, byte for byte."""

    frame_type: int
    body: bytes


# Kept beside the classes: type checkers take whatever stands in the body of an
# enumeration for a value it may have.
_LABELS_ZH: dict[type[OpenIntEnum], Mapping[int, str]] = {}


class OpenIntEnum(IntEnum):
    """An enumeration of codes that keeps codes outside its table.

    ``GunStatus(9)`` is a member named ``UNKNOWN_09`` with ``known`` False; it
    compares, hashes, pickles and encodes as the number 9. Codes from 0 to
    65535 are possible.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value:02X}"
        member._value_ = int(value)
        # One object per code, so that identity holds for these members too.
        return cls._value2member_map_.setdefault(int(value), member)  # type: ignore[return-value]

    @property
    def known(self) -> bool:
        """Whether the document lists this code."""
        return self._name_ in type(self).__members__

    @property
    def zh(self) -> str:
        """The document's Chinese name of this code; empty where it has none."""
        return self.labels_zh().get(int(self), "")

    @classmethod
    def labels_zh(cls) -> Mapping[int, str]:
        """The document's Chinese names by code."""
        return _LABELS_ZH.get(cls, {})

    @classmethod
    def set_labels_zh(cls, labels: Mapping[int, str]) -> None:
        """Give the codes their Chinese names; for generated code."""
        _LABELS_ZH[cls] = labels


class RawTime(msgspec.Struct, frozen=True):
    """A CP56Time2a that names no moment (month 0, 31 February, 61 seconds...).

    Piles without a clock send such times. ``raw`` holds the seven bytes.
    """

    raw: bytes

    @property
    def is_zero(self) -> bool:
        """Whether all seven bytes are zero: the pile has no clock."""
        return not any(self.raw)


class FlaggedZone(dt.tzinfo):
    """A time zone that carries the bits of a CP56Time2a that are not the time.

    ``base`` is the zone proper. ``flags`` packs the bits, low first: IV (1),
    the bit beside the minutes (1), SU (1), the two bits beside the hours (2),
    day of week (3), the four bits beside the month (4), the bit beside the
    year (1). See YKC V1.6, section 3.2. Zones are equal when both are.
    """

    __slots__ = ("base", "flags")

    base: dt.tzinfo
    flags: int

    def __init__(self, base: dt.tzinfo, flags: int) -> None:
        # Many times share one zone, so nobody may change it.
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "flags", flags)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a time zone does not change; {name} is set when it is made")

    @property
    def invalid(self) -> bool:
        """IV: the sender does not vouch for this time."""
        return bool(self.flags & 1)

    @property
    def summer_time(self) -> bool:
        """SU: the sender says summer time is in force."""
        return bool(self.flags >> 2 & 1)

    @property
    def weekday(self) -> int:
        """Day of week as sent, 1 = Monday to 7 = Sunday; 0 = not given."""
        return self.flags >> 5 & 7

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta | None:
        return self.base.utcoffset(self._plain(moment))

    def dst(self, moment: dt.datetime | None) -> dt.timedelta | None:
        return self.base.dst(self._plain(moment))

    def tzname(self, moment: dt.datetime | None) -> str | None:
        return self.base.tzname(self._plain(moment))

    def _plain(self, moment: dt.datetime | None) -> dt.datetime | None:
        return None if moment is None else moment.replace(tzinfo=self.base)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FlaggedZone):
            return NotImplemented
        return self.flags == other.flags and self.base == other.base

    def __hash__(self) -> int:
        return hash((self.base, self.flags))

    def __reduce__(self) -> tuple[Any, ...]:
        return FlaggedZone, (self.base, self.flags)

    def __repr__(self) -> str:
        return f"FlaggedZone({self.base!r}, flags={self.flags!r})"
