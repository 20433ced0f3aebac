"""Nodes of a cluster on a real nats-server: who has which charger, and commands from one to another."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.cluster_support import holder, nodes, until
from gateway.live import PILE
from gateway.nats_server import NatsServer

OTHER = "55031412782306"
STOPPED = bytes.fromhex(f"{PILE} 01 01 00")


def test_a_command_reaches_a_charger_of_another_node(tmp_path: Path) -> None:
    async def run(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await b.pile()
            await until(lambda: holder(a, PILE) == "b")
            asked = asyncio.create_task(a.command("remote_stop_request", {"gun_no": "01"}))
            _, sequence, _ = await pile.expect(0x36)
            pile.send(0x35, STOPPED, sequence)
            answer = await asked
            assert answer.status_code == 200, answer.text
            said = answer.json()
            assert said["state"] == "accepted"
            assert said["sequence"] == int.from_bytes(sequence, "little")
            assert said["answer"]["result"]["name"] == "success"
            # Any node can say how it ended.
            for one in (a, b):
                found = (await one.client.get(f"/commands/{said['id']}")).json()
                assert (found["state"], found["answer"]) == ("accepted", said["answer"])
            assert await a.metric('evproto_cluster_routed_total{outcome="accepted"}') == 1
            assert await a.metric("evproto_cluster_nodes") == 2
            assert await a.metric("evproto_cluster_chargers") == 1
            # What node b wrote down is what it was told itself: nothing.
            assert (await b.client.get("/audit")).json()["items"] == []
            assert (await a.client.get("/audit")).json()["items"][0]["state"] == "accepted"

    (tmp_path / "nats").mkdir()
    with NatsServer(tmp_path / "nats") as nats:
        asyncio.run(run(nats))
