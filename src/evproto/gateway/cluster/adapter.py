"""One protocol of a node, with the chargers of other nodes among its own."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

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


class ClusterAdapter:
    """An adapter that also knows the chargers of other nodes.

    What is connected here is shown and commanded as ever. Of a charger of
    another node it is known that it is online, where and since when; commands
    for it are checked here and carried out there. Frames, events and what a
    protocol remembers of a charger are with the node that it is connected to.

    Args:
        local: the protocol's adapter.
        registry: who has which charger.
        router: carries commands to other nodes.
    """

    def __init__(self, local: Adapter, registry: Registry, router: Router) -> None:
        self.local = local
        self._registry = registry
        self._router = router

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
        there = (
            one
            for one in self._registry.chargers(self.protocol)
            if self._registry.holder(self.protocol, one) is not None
        )
        return [one for one, _ in groupby(heapq.merge(self.local.chargers(), there))]

    def is_online(self, identity: str) -> bool:
        return self.local.is_online(identity) or self._elsewhere(identity) is not None

    def charger(self, identity: str) -> dict[str, Any] | None:
        found = self._elsewhere(identity)
        if found is None:
            return self.local.charger(identity)
        entry = found.entry
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
        return Glance(
            charger=entry.charger,
            protocol=_spoken(entry),
            state="online",
            connected=entry.since,
            node=entry.node,
        )

    async def fetch(self, identity: str) -> dict[str, Any] | None:
        """What the charger's node says of it, as :meth:`charger` does; what is known here if it does not."""
        found = self._elsewhere(identity)
        told = None if found is None else await self._router.show(found)
        if found is None or told is None:
            return self.charger(identity)
        return {**told, "node": found.entry.node}

    # --- commands

    def translate(self, identity: str, verb: Verb, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return self.local.translate(identity, verb, body)

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
