"""Fields as exact decimals, for back ends that bill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from evproto.messages import Record

__all__ = ["ExactFields", "exact"]


class ExactFields(Mapping[str, Any]):
    """The fields of a message, every number with a fraction as a Decimal.

    Reads as a mapping and by attribute: ``exact(record)["total_amount"]`` and
    ``exact(record).total_amount`` are the same.
    """

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_values")[name]
        except KeyError:
            raise AttributeError(f"there is no field {name!r}") from None

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"ExactFields({inner})"


def exact(message: Record) -> ExactFields:
    """The fields of ``message`` with floats as Decimals, exactly as on the wire.

    The float of a decoded field is the one nearest to the wire's decimal, so
    its shortest spelling is that decimal: nothing is rounded here. Bit fields
    and entries of groups become :class:`ExactFields` too; integers, codes,
    texts, bytes and times stay what they are.

    Raises:
        TypeError: ``message`` is not a message.
    """
    if not isinstance(message, Record):
        raise TypeError(f"a message is needed, not {type(message).__name__}")
    return ExactFields(
        {info.name: _exact(getattr(message, info.name)) for info in msgspec.structs.fields(message)}
    )


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, tuple):
        return tuple(_exact(entry) for entry in value)
    if isinstance(value, Record):
        return exact(value)
    return value
