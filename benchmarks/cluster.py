"""What a cluster costs: announcing chargers, the copy that every node has, commands to another node.

    python -m benchmarks.cluster --chargers 20000 --commands 2000

Two nodes in one process, without servers and sockets of chargers, and a real
nats-server beside them. Seconds are those of this process (both nodes, and the
client of NATS), unless "wall" is said.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evproto.gateway.adapter import CommandType, Ending, Prepared
from evproto.gateway.cluster.cluster import Cluster
from evproto.gateway.cluster.routing import Routed
from evproto.gateway.metrics import Metrics
from evproto.gateway.sections import ClusterConfig


class Obeying:
    """Chargers that accept every command at once."""

    protocol = "ykc"

    def __init__(self, type_: Any) -> None:
        self._type = type_

    def prepare(self, identity: str, command: str, body: Any) -> Prepared:
        return Prepared(charger=identity, type=self._type, fields=body, shown=body, payload=None)

    async def perform(
        self, prepared: Prepared, *, timeout: float | None, sent: Callable[[int | str | None], None]
    ) -> Ending:
        sent(1)
        return Ending(state="accepted", answer=prepared.fields, shown=prepared.fields)


def memory() -> int:
    """Bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what gives no sign."""
    while not condition():
        await asyncio.sleep(0.002)


async def measure(url: str, chargers: int, commands: int) -> None:
    """Print the figures."""
    kind = CommandType(name="stop", code="0x36", title="", schema={})
    adapter: Any = Obeying(kind)
    nodes = []
    for name in ("a", "b"):
        node = Cluster(ClusterConfig(servers=(url,), node=name, lease=60.0), Metrics())
        node.wrap([adapter])
        await node.start("")
        nodes.append(node)
    a, b = nodes
    before, cpu, wall = memory(), time.process_time(), time.perf_counter()
    for number in range(chargers):
        b.came(adapter, f"5503141{number:07d}", object(), lambda reason: None)
    await b.announcer.settled()
    await until(lambda: a.registry.count() == b.registry.count() == chargers)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(
        f"{chargers} chargers come: {wall:.2f} s wall; each {1e6 * cpu / chargers:.0f} us CPU of both nodes, "
        f"{(memory() - before) / chargers / 2:.0f} bytes in each"
    )
    cpu, wall = time.process_time(), time.perf_counter()
    gate = asyncio.Semaphore(32)

    async def one(number: int) -> None:
        async with gate:
            charger = f"5503141{number % chargers:07d}"
            target = a.registry.holder("ykc", charger)
            assert target is not None
            fields = {"pile_id": charger, "gun_no": "01"}
            prepared = Prepared(
                charger=charger, type=kind, fields=fields, shown=fields, payload=Routed(target)
            )
            ending = await a.router.perform(adapter, prepared, timeout=30.0, sent=lambda number: None)
            assert ending.state == "accepted", ending

    await asyncio.gather(*map(one, range(commands)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{commands} commands to the other node: {wall:.2f} s wall, {1e6 * cpu / commands:.0f} us CPU each")
    alone = time.perf_counter()
    for number in range(200):
        await one(number)
    print(f"one after the other: {1e3 * (time.perf_counter() - alone) / 200:.2f} ms each")
    cpu, wall = time.process_time(), time.perf_counter()
    a.registry.lost()
    await until(lambda: a.registry.ready.is_set())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"reading all of it anew: {wall:.2f} s wall, {cpu:.2f} s CPU")
    for node in nodes:
        await node.close()


def main() -> None:
    """Measure."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from gateway.nats_server import NatsServer

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chargers", type=int, default=20_000)
    parser.add_argument("--commands", type=int, default=2_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder)) as server:
        asyncio.run(measure(server.url, options.chargers, options.commands))


if __name__ == "__main__":
    main()
