"""Several servers in one process that are a cluster, on one nats-server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from gateway.live import WAIT, Running, serving
from gateway.nats_server import NatsServer


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that gives no sign."""
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def node(nats: NatsServer, folder: Path, name: str, **settings: Any) -> AsyncIterator[Running]:
    """A node with this name."""
    # Longer than a busy machine sleeps; who wants to see a node die says less.
    settings = {"cluster__lease": 30, "server__drain_timeout": 5.0, **settings}
    async with serving(
        folder / name, cluster__servers=(nats.url,), cluster__node=name, **settings
    ) as running:
        yield running


@contextlib.asynccontextmanager
async def nodes(nats: NatsServer, folder: Path, *names: str, **settings: Any) -> AsyncIterator[list[Running]]:
    """Nodes that know of each other."""
    async with contextlib.AsyncExitStack() as stack:
        made = [await stack.enter_async_context(node(nats, folder, name, **settings)) for name in names]
        for one in made:
            await until(lambda one=one: len(registry(one).nodes()) == len(names))  # type: ignore[misc]
        yield made


def registry(running: Running) -> Any:
    """What a node knows of the cluster."""
    return running.server._cluster.registry  # type: ignore[union-attr]


def holder(running: Running, charger: str, protocol: str = "ykc") -> str:
    """The node that a charger is connected to, as this node knows it; empty: none."""
    from evproto.gateway.cluster.registry import key_of

    found = registry(running).registered(key_of(protocol, charger))
    if found is None or not registry(running).alive(found.entry.node, found.entry.instance):
        return ""
    return str(found.entry.node)


def cluster(running: Running) -> Any:
    """A node's part in the cluster."""
    return running.server._cluster


async def silence(running: Running) -> None:
    """Have NATS hear nothing of a node any more, as if it were killed; its sockets stay."""
    part = cluster(running)
    for task in part.registry._tasks:
        task.cancel()
    await asyncio.gather(*part.registry._tasks, return_exceptions=True)
    await part.link.close()
