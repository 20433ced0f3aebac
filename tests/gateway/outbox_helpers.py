"""Events, a sink that remembers, and asyncio with a limit."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from evproto.gateway.delivery import DeliverySettings
from evproto.gateway.events import Event, new_id

T = TypeVar("T")
WAIT = 60.0

QUICK = DeliverySettings(backoff=0.001, backoff_limit=0.01)
"""Back-offs that do not make a test wait."""

_numbers = itertools.count(1)


def run(test: Coroutine[Any, Any, T]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(WAIT):
            return await test

    return asyncio.run(limited())


def event(charger: str = "55031412782305", kind: Any = "record", **members: Any) -> Event:
    values: dict[str, Any] = {
        "id": new_id(),
        "time": dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC),
        "protocol": "ykc1.6",
        "code": "0x3B",
        "name": "TransactionRecord",
        "sequence": next(_numbers),
        "fields": {"energy": 12.3456, "tiers": [1, 2]},
    }
    return Event(charger=charger, kind=kind, **{**values, **members})


class Memory:
    """A sink that keeps what it gets; ``hook`` is called with each batch and may raise, or return an awaitable."""

    def __init__(self, name: str = "memory", hook: Callable[[Sequence[Event]], Any] | None = None) -> None:
        self.name = name
        self.got: list[Event] = []
        self.closed = False
        self.hook = hook

    async def deliver(self, events: Sequence[Event]) -> None:
        if self.hook is not None:
            waited = self.hook(events)
            if waited is not None:
                await waited
        self.got.extend(events)

    async def close(self) -> None:
        self.closed = True

    def ids(self, charger: str | None = None) -> list[str]:
        return [event.id for event in self.got if charger in (None, event.charger)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that gives no sign."""
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.005)
