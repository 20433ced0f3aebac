"""One protocol of a node, with the chargers of other nodes among its own."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from evproto.gateway.adapter import (
    Adapter,
    ChargerOfflineError,
    CommandType,
    Ending,
    Glance,
    Prepared,
    Sighting,
    Tap,
    UnknownChargerError,
    Verb,
)
from evproto.gateway.cluster.registry import ChargerEntry, Registered, Registry
from evproto.gateway.cluster.routing import Routed, Router

__all__ = ["ClusterAdapter"]


_MOMENT: Final = 2.0
"""Seconds for which what another node said of a charger is shown."""
_REMEMBERED: Final = 1000


class _Told(NamedTuple):
    """What another node said of a charger."""

    revision: int
    at: float
    charger: dict[str, Any]
    glance: Glance


class ClusterAdapter:
    """An adapter that also knows the chargers of other nodes.

    What is connected here is shown and commanded as ever. Of a charger of
    another node it is known that it is online, where and since when; for a moment
    after :meth:`inform`, what its node says of it. Commands for it are checked
    here and carried out there. Its frames and events are with its node.

    Args:
        local: the protocol's adapter.
        registry: who has which charger.
        router: carries commands to other nodes.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        local: Adapter,
        registry: Registry,
        router: Router,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.local = local
        self._registry = registry
        self._router = router
        self._clock = clock
        self._told: OrderedDict[str, _Told] = OrderedDict()

    # --- what is the same everywhere

    @property
    def protocol(self) -> str:
        """See :class:`Adapter`, as for everything here."""
        return self.local.protocol

    @property
    def collection(self) -> str:
        return self.local.collection

    @property
    def noun(self) -> str:
        return self.local.noun

    @property
    def charger_schema(self) -> dict[str, Any]:
        return self.local.charger_schema

    @property
    def commands(self) -> Mapping[str, CommandType]:
        return self.local.commands

    @property
    def messages(self) -> Mapping[str, dict[str, Any]]:
        return self.local.messages

    def spelled(self, identity: str) -> str:
        return self.local.spelled(identity)

    # --- what is here only

    def frames(self, identity: str, limit: int, *, reveal: bool) -> list[dict[str, Any]] | None:
        found = self.local.frames(identity, limit, reveal=reveal)
        return [] if found is None and self._elsewhere(identity) is not None else found

    def recent(self, limit: int) -> list[Sighting]:
        return self.local.recent(limit)

    def watch(self, watcher: Callable[[Sighting], None]) -> Callable[[], None]:
        return self.local.watch(watcher)

    def tap(self, tap: Tap) -> Callable[[], None]:
        return self.local.tap(tap)

    def suggest(self, identity: str, command: str) -> dict[str, Any]:
        return self.local.suggest(identity, command)

    # --- chargers of all nodes

    def _elsewhere(self, identity: str) -> Registered | None:
        """Where a charger is connected, if that is another node."""
        if self.local.is_online(identity):
            return None
        return self._registry.holder(self.protocol, self.local.spelled(identity))

    def chargers(self) -> Sequence[str]:
        # Two sorted runs are merged by sorting them.
        return list(dict.fromkeys(sorted([*self.local.chargers(), *self._registry.chargers(self.protocol)])))

    def is_online(self, identity: str) -> bool:
        return self.local.is_online(identity) or self._elsewhere(identity) is not None

    def charger(self, identity: str) -> dict[str, Any] | None:
        found = self._elsewhere(identity)
        if found is None:
            return self.local.charger(identity)
        entry = found.entry
        told = self._lately(found)
        if told is not None:
            return {**told.charger, "node": entry.node}
        return {
            "id": entry.charger,
            "protocol": entry.protocol,
            "online": True,
            "state": "online",
            "version": entry.version,
            "connected": entry.since,
            "node": entry.node,
        }

    def glance(self, identity: str) -> Glance | None:
        found = self._elsewhere(identity)
        if found is None:
            here = self.local.glance(identity)
            if here is None or here.state == "offline":
                return here
            return msgspec.structs.replace(here, node=self._registry.node)
        entry = found.entry
        told = self._lately(found)
        if told is not None:
            return msgspec.structs.replace(told.glance, node=entry.node)
        return Glance(
            charger=entry.charger,
            protocol=_spoken(entry),
            state="online",
            connected=entry.since,
            node=entry.node,
        )

    async def inform(self, identity: str) -> None:
        """See :class:`evproto.gateway.adapter.FarAdapter`."""
        found = self._elsewhere(identity)
        if found is None:
            return
        shown = await self._router.show(found)
        if shown is None:
            return
        self._told[found.entry.charger] = _Told(found.revision, self._clock(), *shown)
        self._told.move_to_end(found.entry.charger)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    def _lately(self, found: Registered) -> _Told | None:
        """What the charger's node has said of this connection a moment ago."""
        told = self._told.get(found.entry.charger)
        if told is None or told.revision != found.revision or self._clock() - told.at > _MOMENT:
            return None
        return told

    # --- commands

    def translate(self, identity: str, verb: Verb, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return self.local.translate(identity, verb, body)

    async def translate_there(
        self, identity: str, verb: Verb, body: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """See :class:`evproto.gateway.adapter.FarAdapter`."""
        found = self._elsewhere(identity)
        if found is None:
            return self.local.translate(identity, verb, body)
        return await self._router.translate(found, verb, body)

    def check(self, identity: str, command: str, body: Any, *, version: str = "") -> Prepared:
        return self.local.check(identity, command, body, version=version)

    def prepare(self, identity: str, command: str, body: Any) -> Prepared:
        found = self._elsewhere(identity)
        if found is None:
            try:
                return self.local.prepare(identity, command, body)
            except (UnknownChargerError, ChargerOfflineError) as error:
                if problems := self._registry.problems():
                    raise ChargerOfflineError(f"{error}; {problems[0]}") from None
                raise
        entry = found.entry
        prepared = self.local.check(identity, command, body, version=entry.version)
        if self._registry.leaving(entry.node):
            raise ChargerOfflineError(f"node {entry.node}, which it is connected to, is stopping")
        if not self._router.connected:
            problem = "; ".join(self._registry.problems())
            raise ChargerOfflineError(f"it is connected to node {entry.node}: {problem}")
        return msgspec.structs.replace(prepared, payload=Routed(found))

    async def perform(
        self, prepared: Prepared, *, timeout: float | None, sent: Callable[[int | str | None], None]
    ) -> Ending:
        if isinstance(prepared.payload, Routed):
            return await self._router.perform(self.local, prepared, timeout=timeout, sent=sent)
        return await self.local.perform(prepared, timeout=timeout, sent=sent)


def _spoken(entry: ChargerEntry) -> str:
    """What a charger speaks, for people."""
    if entry.version:
        return f"{entry.protocol.upper()} {entry.version}"
    return re.sub(r"(?<=[a-z])(?=\d)", " ", entry.protocol).replace("ocpp", "OCPP")
