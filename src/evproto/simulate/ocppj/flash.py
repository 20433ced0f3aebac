"""What a simulated charger keeps over a reboot."""

from __future__ import annotations

import dataclasses

from evproto.aio.ocpp.offline import Kept, Store
from evproto.ocppj.offline import Retention

__all__ = ["Flash"]


class Flash(Store):
    """Messages that must arrive; they outlive the endpoint, though not the process."""

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def open(self) -> list[Kept]:
        return list(self._kept.values())

    async def put(self, version: str, frame: bytes, retention: Retention) -> int:
        self._next += 1
        self._kept[self._next] = Kept(self._next, version, frame, retention, 0)
        return self._next

    async def failed(self, key: int, failures: int) -> None:
        if key in self._kept:
            self._kept[key] = dataclasses.replace(self._kept[key], failures=failures)

    async def drop(self, *keys: int) -> None:
        for key in keys:
            self._kept.pop(key, None)

    async def close(self) -> None:
        """Nothing to let go of."""
