"""A node's part in the cluster: registry, announcements, commands, put together."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from prometheus_client import Counter

from evproto.aio.plugins.nats_link import NatsLink
from evproto.gateway.adapter import Adapter
from evproto.gateway.cluster.adapter import ClusterAdapter
from evproto.gateway.cluster.announcing import Announcer
from evproto.gateway.cluster.ledger import Ledger
from evproto.gateway.cluster.registry import NodeEntry, Registry
from evproto.gateway.cluster.routing import Router
from evproto.gateway.commands import Command, CommandDesk
from evproto.gateway.events import new_id
from evproto.gateway.logs import data
from evproto.gateway.metrics import Metrics
from evproto.gateway.sections import ClusterConfig

__all__ = ["Cluster"]

logger = logging.getLogger("evproto.gateway.cluster")

_PATIENCE: Final = 5.0
"""Seconds that a start waits for NATS; it goes on without it then."""


class Cluster:
    """One node; the :class:`evproto.gateway.adapter.Presence` of its sides.

    ``start`` before chargers are let in; ``leave`` when no new ones are taken
    and commands are drained; ``close`` when all have been disconnected.
    """

    def __init__(self, config: ClusterConfig, metrics: Metrics) -> None:
        self.node = config.node or f"{socket.gethostname()}-{os.getpid()}"
        self.instance = new_id()
        options: dict[str, Any] = {"user": config.username, "password": config.password}
        self.link = NatsLink(
            config.servers,
            name=f"evproto node {self.node}",
            options={name: value for name, value in options.items() if value},
        )
        self.registry = Registry(
            self.link,
            cluster=config.name,
            node=self.node,
            instance=self.instance,
            lease=config.lease,
            replicas=config.replicas,
        )
        self.announcer = Announcer(self.registry)
        routed = Counter(
            "evproto_cluster_routed",
            "Commands handed to other nodes, by how they ended; stale: looked up again, or not sent",
            ["outcome"],
            registry=metrics.registry,
        )
        self.router = Router(
            self.link,
            cluster=config.name,
            registry=self.registry,
            announcer=self.announcer,
            on_outcome=lambda outcome: routed.labels(outcome).inc(),
        )
        self.ledger = Ledger(self.link, self.registry, cluster=config.name, replicas=config.replicas)
        self.link.on_change = self._on_link
        self._started = dt.datetime.now(dt.UTC)
        self._http = ""
        self._leaving = False
        self._show(metrics)

    def _show(self, metrics: Metrics) -> None:
        for name, text, value in (
            ("nodes", "Nodes of the cluster that are alive", lambda: len(self.registry.nodes())),
            ("chargers", "Chargers that are registered, of all nodes", self.registry.count),
            ("connected", "1 if the cluster can be reached", self.registry.ready.is_set),
            ("unannounced", "Chargers here whose coming or going others do not know yet", self._unannounced),
            ("commands_unwritten", "Commands that other nodes do not know yet", lambda: self.ledger.waiting),
            ("superseded", "Connections closed since their charger came to another node", self._superseded),
            ("carrying_out", "Commands of other nodes under way here", lambda: self.router.running),
        ):
            metrics.watch(f"evproto_cluster_{name}", text, _as_float(value))

    def _unannounced(self) -> int:
        return self.announcer.waiting

    def _superseded(self) -> int:
        return self.announcer.superseded

    # --- the server's parts

    def wrap(self, adapters: Iterable[Adapter]) -> tuple[Adapter, ...]:
        """The adapters as the API has them: with the chargers of other nodes."""
        local = tuple(adapters)
        self.router.adapters = {adapter.protocol: adapter for adapter in local}
        return tuple(ClusterAdapter(adapter, self.registry, self.router) for adapter in local)

    def attach(self, desk: CommandDesk) -> None:
        """Have the commands of a desk known to all nodes."""
        desk.record = self.ledger.record
        desk.on_change = self._on_change
        desk.elsewhere = self.ledger.find

    def _on_change(self, command: Command) -> None:
        if command.state == "sent" and command.ended is None:
            # What is before and after it is recorded.
            self.ledger.note(command)

    def problems(self) -> list[str]:
        """What keeps the node from being ready, in sentences."""
        return self.registry.problems()

    # --- life

    async def start(self, http: str) -> None:
        """Join the cluster, if it can be reached; if not, that is tried for ever.

        Args:
            http: where the API is, for people.
        """
        self._http = http
        self.registry.describe = self._describe
        await self.router.start()
        self.registry.start()
        self.announcer.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self.link.start(_PATIENCE)
                await self.registry.ready.wait()
        nodes = [entry.node for entry in self.registry.nodes()]
        if self.registry.ready.is_set():
            logger.info("in the cluster", extra=data(node=self.node, nodes=nodes))
        else:
            logger.warning("%s; chargers are served all the same", "; ".join(self.problems()))

    async def leave(self) -> None:
        """Say that this node is about to stop: others send it no more commands."""
        self._leaving = True
        self.router.stopping = True
        await self.registry.refresh()

    async def drain(self, patience: float) -> None:
        """Wait until the commands of other nodes have ended, ``patience`` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.router.drain()

    async def close(self, patience: float = 0.0) -> None:
        """Leave the cluster; ``patience``: seconds to delete the entries of the chargers that have gone."""
        self.router.stopping = True
        await self.router.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.announcer.settled()
        await self.announcer.close()
        await self.ledger.close()
        await self.registry.close()
        await self.link.close()

    def _on_link(self, connected: bool) -> None:
        if connected:
            self.ledger.connected()
        else:
            self.registry.lost()

    def _describe(self) -> NodeEntry:
        return NodeEntry(
            node=self.node,
            instance=self.instance,
            started=self._started,
            http=self._http,
            chargers=self.announcer.counts(),
            leaving=self._leaving,
        )

    # --- presence

    def came(self, adapter: Adapter, charger: str, connection: object, close: Callable[[str], None]) -> None:
        """See :class:`evproto.gateway.adapter.Presence`."""
        version = str(getattr(connection, "version", "") or "")
        if version == adapter.protocol:
            version = ""
        self.announcer.came(adapter.protocol, charger, version, connection, close)

    def went(self, adapter: Adapter, charger: str, connection: object) -> None:
        """See :class:`evproto.gateway.adapter.Presence`."""
        self.announcer.went(adapter.protocol, charger, connection)


def _as_float(value: Callable[[], float]) -> Callable[[], float]:
    return lambda: float(value())
