"""Three gateways as processes and a nats-server: 300 chargers, commands from everywhere, and one of them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from gateway.cluster_run import ENDS, Charger, Node, TestStation, fleet, in_stream, until
from gateway.nats_server import NatsServer

PILES, STATIONS = 200, 100
ALL = PILES + STATIONS


async def tell(node: Node, charger: Charger, *, wait: bool) -> httpx.Response:
    """Enter a command at a node."""
    path = f"/{charger.collection}/{charger.id}/commands/{charger.command}"
    params = {"wait": str(wait).lower(), "timeout": "30"}
    return await node.client.post(path, json=charger.fields, params=params)


async def all_known(nodes: list[Node]) -> None:
    """Wait until each node knows of every charger that it is online, and where."""

    async def missing() -> dict[str, int]:
        counts = {}
        for node in nodes:
            online = 0
            for collection in ("piles", "ocpp1.6"):
                page = await node.client.get(f"/{collection}", params={"online": "true", "limit": "1000"})
                online += len(page.json()["items"])
            counts[node.name] = ALL - online
        return counts

    async with asyncio.timeout(60):
        while any((await missing()).values()):
            await asyncio.sleep(0.25)


async def reach_all(nodes: list[Node], chargers: list[Charger]) -> None:
    """Each of the nodes tells every charger something; all of them obey."""
    before = {charger.id: charger.obeyed for charger in chargers}
    gate = asyncio.Semaphore(24)

    async def one(node: Node, charger: Charger) -> tuple[int, str]:
        async with gate:
            answer = await tell(node, charger, wait=True)
        return answer.status_code, str(answer.json().get("state", answer.text))

    said = await asyncio.gather(*(one(node, charger) for charger in chargers for node in nodes))
    assert Counter(said) == {(200, "accepted"): len(nodes) * len(chargers)}
    assert all(charger.obeyed - before[charger.id] == len(nodes) for charger in chargers)


class Operators:
    """Enter commands all the time, at whatever node, and remember which were taken."""

    def __init__(self, nodes: list[Node], chargers: list[Charger], chance: random.Random) -> None:
        self._nodes, self._chargers, self._chance = nodes, chargers, chance
        self.taken: dict[str, Node] = {}
        """The commands whose callers heard that they were taken, by id, and where."""
        self.statuses: Counter[int] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Operators:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(8)]
        return self

    async def __aexit__(self, *details: Any) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            node, charger = self._chance.choice(self._nodes), self._chance.choice(self._chargers)
            try:
                answer = await tell(node, charger, wait=False)
            except httpx.TransportError:
                # It was killed; whether it had taken the command nobody has heard.
                await asyncio.sleep(0.1)
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code == 202:
                self.taken[answer.json()["id"]] = node
            await asyncio.sleep(0.02)


async def charging(chargers: list[Charger], chance: random.Random) -> None:
    """All chargers report what was charged, again and again."""

    async def one(charger: Charger) -> None:
        while True:
            await charger.charge()
            await asyncio.sleep(chance.uniform(0.5, 2.0))

    await asyncio.gather(*(one(charger) for charger in chargers))


async def ended(node: Node, id: str) -> str:
    """How a command has ended, as a node says it."""
    async with asyncio.timeout(60):
        while True:
            answer = await node.client.get(f"/commands/{id}", params={"wait": "20"})
            assert answer.status_code == 200, answer.text
            found = answer.json()
            if found["ended"] is not None:
                return str(found["state"])


def key_of(event: dict[str, Any]) -> tuple[str, str]:
    """Charger and number of a record."""
    fields = event["fields"]
    number = fields.get("transaction_no", fields.get("transactionId"))
    return event["charger"], str(number)


def test_chargers_move_nothing_is_lost_and_every_command_ends(tmp_path: Path) -> None:
    async def run(server: NatsServer) -> None:
        chance = random.Random(6)
        slow = False
        nodes: list[Node] = []
        try:
            nodes += await asyncio.gather(
                *(Node.start(name, server, tmp_path) for name in ("north", "east", "south"))
            )
            # While operators are at it, chargers take their time: commands are under way at the kill.
            async with fleet(
                nodes, PILES, STATIONS, chance, lambda: chance.uniform(0.0, 2.0) if slow else 0.0
            ) as chargers:
                await all_known(nodes)
                spread = {
                    node.name: [
                        await node.metric(f'evproto_chargers_online{{protocol="{protocol}"}}')
                        for protocol in ("ykc", "ocpp1.6")
                    ]
                    for node in nodes
                }
                assert sum(map(sum, spread.values())) == ALL
                assert all(min(counts) > 0 for counts in spread.values()), spread
                await reach_all(nodes, chargers)

                slow = True
                victim, *rest = nodes
                async with Operators(nodes, chargers, chance) as operators:
                    reporting = asyncio.create_task(charging(chargers, chance))
                    await until(lambda: sum(len(one.confirmed) for one in chargers) > ALL)
                    begun = len(operators.taken)
                    await until(lambda: len(operators.taken) > begun + 60)
                    victim.kill()
                    await victim.process.wait()
                    killed = len(operators.taken)
                    await all_known(rest)
                    await until(lambda: len(operators.taken) > killed + 100)
                reporting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reporting

                # No command that was taken goes unanswered, wherever it was entered.
                states = await asyncio.gather(*(ended(chance.choice(rest), id) for id in operators.taken))
                assert set(states) <= ENDS
                of_victim = [one is victim for one in operators.taken.values()]
                print(Counter(zip(of_victim, states, strict=True)), operators.statuses)
                lost = {state for is_lost, state in zip(of_victim, states, strict=True) if is_lost}
                assert {"accepted", "disconnected"} <= lost
                assert Counter(states)["accepted"] > len(states) / 2

                slow = False
                for node in rest:
                    assert await node.metric("evproto_cluster_nodes") == 2
                    assert (await node.client.get("/ready")).status_code == 200
                    assert await node.metric('evproto_cluster_routed_total{outcome="accepted"}') > 0
                await reach_all(rest, chargers)

            # Nothing that a charger saw confirmed is missing, and nothing is there twice.
            confirmed = {(one.id, number) for one in chargers for number in one.confirmed}
            stream = Counter(key_of(event) for event in await in_stream(server))
            assert len(confirmed) > ALL
            assert sum(isinstance(one, TestStation) and bool(one.confirmed) for one in chargers) > 50
            assert confirmed <= stream.keys()
            assert set(stream.values()) == {1}
            assert [node.complaints() for node in nodes] == [[], [], []]
        finally:
            for node in nodes:
                await node.close()

    (tmp_path / "nats").mkdir()
    with NatsServer(tmp_path / "nats") as server:
        asyncio.run(run(server))
