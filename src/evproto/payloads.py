"""The vocabulary that generated OCPP and ntxcp payloads are written in.

A payload is a :class:`evproto.messages.Record` whose fields carry their names
on the wire. Members that may be absent are None when they are; null is never
taken for one, nor sent.

What belongs together, at run time:

* ``payload.action_name``, of the class or of an instance, is the action's name
  on the wire; requests, notifications and responses have it.
* :func:`response_type` gives the class that answers a request, and type
  checkers the same answer.
* ``dialect.action_of(payload)`` of an :class:`evproto.ocppj.Dialect` gives the
  :class:`Action` a class or an instance belongs to, or None if the dialect has
  another class for it, or none. A class belongs to the version whose module it
  is in, and to the dialects that extend this version.

Each of them is a lookup or two, cheap enough for every message.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    ForwardRef,
    Generic,
    Self,
    TypeVar,
    get_args,
    get_origin,
)

import msgspec

from evproto.messages import Record

__all__ = [
    "Action",
    "CustomDataType",
    "DataType",
    "DateTime",
    "Maybe",
    "Notification",
    "OpenStrEnum",
    "Payload",
    "Request",
    "Response",
    "Sender",
    "Shape",
    "response_type",
]

if TYPE_CHECKING:
    from typing import Optional as Maybe
else:

    class Maybe:
        """``Maybe[X]``: X, or None where the member is absent.

        To a type checker it is ``X | None``. To the decoder it is ``X``: a
        member that is there must be an X, and null is not one.
        """

        def __class_getitem__(cls, item: Any) -> Any:
            return item


DateTime = Annotated[datetime, msgspec.Meta(tz=True)]
"""A date-time that knows its zone."""


class OpenStrEnum(StrEnum):
    """An enumeration of words, which can also hold a word outside its list.

    Such a word is only made on purpose, by :meth:`unlisted` (lenient decoding
    does so); the class called with it raises ValueError like any enumeration.
    It compares, hashes, pickles and encodes as the word itself.
    """

    @classmethod
    def unlisted(cls, word: str) -> Self:
        """A member for ``word``, whether or not the list has it."""
        listed = cls._value2member_map_.get(word)
        if listed is not None:
            return listed  # type: ignore[return-value]
        # Not cached: words come from peers, without end.
        member = str.__new__(cls, word)
        member._name_ = word
        member._value_ = word
        return member

    @property
    def listed(self) -> bool:
        """Whether the protocol lists this word."""
        return self._value_ in type(self)._value2member_map_

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self).unlisted, (self._value_,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class CustomDataType(Mapping[str, Any]):
    """``customData`` of OCPP 2.x: a vendor's id, and members of the vendor's own.

    An immutable mapping with the names as they are on the wire:
    ``CustomDataType(vendorId="com.acme", fanSpeed=3)``.
    """

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self._members: dict[str, Any] = {**(members or {}), **more}

    @property
    def vendor_id(self) -> str:
        """The member ``vendorId``, at most 255 characters."""
        return self._members["vendorId"]  # type: ignore[no-any-return]

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"CustomDataType({self._members!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return CustomDataType, (self._members,)


class Payload(Record, frozen=True, kw_only=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Base of everything that is a JSON object on the wire."""


class DataType(Payload, frozen=True, kw_only=True, gc=False):
    """An object inside a payload."""


class Response(Payload, frozen=True, kw_only=True, gc=False):
    """The payload that answers a :class:`Request`."""

    action_name: ClassVar[str]


R_co = TypeVar("R_co", bound=Response, covariant=True)


class Request(Payload, Generic[R_co], frozen=True, kw_only=True, gc=False):
    """A payload that asks for the response it is parametrised with; see :func:`response_type`."""

    action_name: ClassVar[str]


R = TypeVar("R", bound=Response)


def response_type(request: Request[R] | type[Request[R]]) -> type[R]:
    """The class of the payloads that answer ``request``, a request or its class.

    Raises:
        TypeError: it is no request, or says nothing of its response.
    """
    return _parameter(request if isinstance(request, type) else type(request))


@functools.cache
def _parameter(cls: type) -> type[Any]:
    """What a subclass of Request is parametrised with; generated code gives it by name."""
    for kind in cls.__mro__:
        for base in kind.__dict__.get("__orig_bases__", ()):
            if get_origin(base) is Request:
                (found,) = get_args(base)
                if isinstance(found, ForwardRef):
                    found = getattr(sys.modules[kind.__module__], found.__forward_arg__)
                if isinstance(found, type):
                    return found
    raise TypeError(f"{cls.__name__} is no request that says what answers it")


class Notification(Payload, frozen=True, kw_only=True, gc=False):
    """A payload that is sent and never answered (SEND, OCPP 2.1)."""

    action_name: ClassVar[str]


class Sender(StrEnum):
    """Who may send a request."""

    STATION = "station"
    """Charging station, charge point (1.6) or gateway (ntxcp)."""
    CSMS = "csms"
    """Charging station management system, central system (1.6) or control center (ntxcp)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """One payload class, and what is to be known about it beside its types.

    Paths are attribute names joined by dots; ``[]`` stands for each entry.
    """

    type: type[Payload]
    times: tuple[str, ...] = ()
    """Paths of the date-times in it."""
    tenths: tuple[str, ...] = ()
    """Paths of the numbers that are multiples of 0.1."""
    uris: tuple[str, ...] = ()
    """Paths of the texts that are URIs."""
    anything: tuple[str, ...] = ()
    """Paths of the members of any type."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Other names of its own members on the wire, each with the right one."""
    sent_as: tuple[tuple[str, str], ...] = ()
    """Attributes that hold a text or an integer, and which of the two is sent: ``string`` or ``integer``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """One action of one version.

    ``response`` is None for what is sent and never answered.
    """

    name: str
    block: str
    """Profile (1.6, ntxcp) or functional block (2.x)."""
    sent_by: tuple[Sender, ...]
    request: Shape
    response: Shape | None
