"""Nodes of a cluster on a real nats-server: who has which charger, and commands from one to another."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from evproto.gateway.cluster.registry import key_of
from gateway.cluster_support import cluster, holder, node, nodes, registry, silence, until
from gateway.live import PILE, RawPile, Running
from gateway.nats_server import NatsServer
from gateway.ocpp_live import BOOT_1_6, charger

OTHER = "55031412782306"
STOPPED = bytes.fromhex(f"{PILE} 01 01 00")


def run(tmp_path: Path, scenario: Callable[[NatsServer], Awaitable[None]]) -> None:
    """A scenario with a nats-server of its own."""
    (tmp_path / "nats").mkdir()

    async def whole(server: NatsServer) -> None:
        await scenario(server)

    with NatsServer(tmp_path / "nats") as server:
        asyncio.run(whole(server))


async def obey(pile: RawPile) -> bytes:
    """Answer the remote stop that comes next; its sequence number."""
    _, sequence, _ = await pile.expect(0x36)
    pile.send(0x35, bytes.fromhex(f"{pile.pile} 01 01 00"), sequence)
    return sequence


def stop(running: Running, pile: str = PILE, **params: Any) -> asyncio.Task[httpx.Response]:
    """Enter a remote stop at a node."""
    return asyncio.create_task(
        running.command("remote_stop_request", {"gun_no": "01"}, pile, params={"timeout": "60", **params})
    )


async def obeyed(running: Running, pile: RawPile) -> dict[str, Any]:
    """Enter a remote stop at a node, have the pile obey; the command when it has ended."""
    asked = stop(running, pile.pile)
    obeying = asyncio.create_task(obey(pile))
    await asyncio.wait({asked, obeying}, return_when=asyncio.FIRST_COMPLETED)
    assert obeying.done(), asked.result().text
    found: dict[str, Any] = (await asked).json()
    assert found["state"] == "accepted"
    assert found["sequence"] == int.from_bytes(await obeying, "little")
    return found


async def command(running: Running, id: str) -> dict[str, Any]:
    """A command, as a node shows it."""
    answer = await running.client.get(f"/commands/{id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def shown(running: Running, id: str, state: str) -> dict[str, Any]:
    """A command, when a node shows it in a state."""
    async with asyncio.timeout(30):
        while (found := await command(running, id))["state"] != state:
            await asyncio.sleep(0.02)
    return found


def test_a_command_reaches_a_charger_of_another_node(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await b.pile()
            await until(lambda: holder(a, PILE) == "b")
            said = await obeyed(a, pile)
            assert said["answer"]["result"]["name"] == "success"
            # Any node can say how it ended.
            for one in (a, b):
                found = await command(one, said["id"])
                assert (found["state"], found["answer"]) == ("accepted", said["answer"])
            assert await a.metric('evproto_cluster_routed_total{outcome="accepted"}') == 1
            assert await a.metric("evproto_cluster_nodes") == 2
            assert await a.metric("evproto_cluster_chargers") == 1
            # It is in the audit log of the node where it was entered.
            assert (await b.client.get("/audit")).json()["items"] == []
            assert (await a.client.get("/audit")).json()["items"][0]["state"] == "accepted"

    run(tmp_path, scenario)


def test_chargers_of_other_nodes_are_shown_and_wrong_commands_refused_where_they_are_entered(
    tmp_path: Path,
) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            await b.pile()
            await a.pile(OTHER)
            await until(lambda: holder(a, PILE) == "b" and holder(b, OTHER) == "a")
            items = (await a.client.get("/piles")).json()["items"]
            assert [(one["id"], one["online"]) for one in items] == [(PILE, True), (OTHER, True)]
            there = (await a.client.get(f"/piles/{PILE}")).json()
            assert (there["node"], there["online"], there["version"]) == ("b", True, "1.6")
            answer = await a.command("remote_stop_request", {"gun_no": "x1"})
            assert (answer.status_code, answer.json()["path"]) == (422, "gun_no")
            # V1.6 has no such message, and node a knows that the pile speaks V1.6.
            answer = await a.command("platform_discharge_start_request", {})
            assert answer.status_code in (404, 422)
            answer = await a.command("remote_stop_request", {"gun_no": "01"}, "55031412789999")
            assert answer.status_code == 404

    run(tmp_path, scenario)


def test_what_a_charger_is_and_does_is_asked_of_its_node(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await b.pile()
            charging = f"{'12' * 16} {PILE} 01 03 00 01" + "00" * 33
            pile.send(0x13, bytes.fromhex(charging)[:60])
            await until(lambda: holder(a, PILE) == "b")
            async with asyncio.timeout(30):
                while not (await b.client.get(f"/piles/{PILE}")).json()["guns"]:
                    await asyncio.sleep(0.02)
            # The node that has it, and the one that asks it.
            for path in (f"/piles/{PILE}", f"/chargers/{PILE}"):
                there, here = [(await one.client.get(path)).json() for one in (b, a)]
                for one in (there, there.get("detail", {})):
                    one.pop("last_seen", None)
                    one.pop("node", None)
                for one in (here, here.get("detail", {})):
                    one.pop("last_seen", None)
                    assert one.pop("node", "b") == "b"
                there.pop("seen", None), here.pop("seen", None)
                assert here == there
            # Which command a verb is depends on what goes on: its node knows.
            asked = asyncio.create_task(
                a.client.post(f"/chargers/{PILE}/stop", json={"transaction": "12" * 16})
            )
            await obey(pile)
            answer = await asked
            assert (answer.status_code, answer.json()["state"]) == (200, "accepted"), answer.text
            answer = await a.client.post(f"/chargers/{PILE}/stop", json={"transaction": "99" * 16})
            assert (answer.status_code, answer.json()["path"]) == (422, "transaction")
            await silence(b)
            answer = await a.client.post(f"/chargers/{PILE}/stop", json={"transaction": "12" * 16})
            assert answer.status_code == 409
            assert "does not answer" in answer.json()["detail"]
            assert (await a.client.get(f"/piles/{PILE}")).json()["node"] == "b"

    run(tmp_path, scenario)


def test_a_charger_that_comes_to_another_node_is_that_nodes(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            first = await a.pile()
            await until(lambda: holder(b, PILE) == "a")
            second = await b.pile()
            # Its old connection is closed by the node that has it, which leaves the new entry alone.
            await first.closed()
            await until(lambda: holder(a, PILE) == "b")
            await cluster(a).announcer.settled()
            assert cluster(a).announcer.superseded == 1
            await until(lambda: holder(a, PILE) == holder(b, PILE) == "b")
            await obeyed(a, second)
            # And back again.
            third = await a.pile()
            await second.closed()
            await until(lambda: holder(b, PILE) == "a")
            await third.close()
            await until(lambda: holder(a, PILE) == holder(b, PILE) == "")
            assert (await b.command("remote_stop_request", {"gun_no": "01"})).status_code == 409

    run(tmp_path, scenario)


def test_who_is_mistaken_about_the_node_of_a_charger_looks_again_and_sends_once(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b", "c") as (a, b, c):
            await b.pile()
            await until(lambda: holder(a, PILE) == "b")
            (wrapped,) = cluster(a).wrap(a.server.adapters)
            prepared = wrapped.prepare(PILE, "remote_stop_request", {"gun_no": "01"})
            moved = await c.pile()
            await until(lambda: holder(b, PILE) == "c")
            numbers: list[Any] = []
            performing = asyncio.create_task(wrapped.perform(prepared, timeout=60.0, sent=numbers.append))
            sequence = await obey(moved)
            ending = await performing
            assert ending.state == "accepted"
            assert numbers == [int.from_bytes(sequence, "little")]
            assert await a.metric('evproto_cluster_routed_total{outcome="stale"}') == 1
            # A new connection to the same node: the token is another.
            prepared = wrapped.prepare(PILE, "remote_stop_request", {"gun_no": "01"})
            token = registry(a).registered(key_of("ykc", PILE)).revision
            moved = await c.pile()
            await until(lambda: registry(a).registered(key_of("ykc", PILE)).revision > token)
            performing = asyncio.create_task(wrapped.perform(prepared, timeout=60.0, sent=numbers.append))
            await obey(moved)
            assert (await performing).state == "accepted"
            assert await a.metric('evproto_cluster_routed_total{outcome="stale"}') == 2
            numbers.clear()
            # Gone altogether: nothing is sent to anybody.
            prepared = wrapped.prepare(PILE, "remote_stop_request", {"gun_no": "01"})
            await moved.close()
            await until(lambda: holder(c, PILE) == "")
            await cluster(c).announcer.settled()
            ending = await wrapped.perform(prepared, timeout=60.0, sent=numbers.append)
            assert ending.state == "disconnected"
            assert ending.text.startswith("nothing was sent: it is not connected to node c any more")
            # It has come to the very node that asks.
            await b.pile()
            await until(lambda: holder(a, PILE) == "b")
            prepared = wrapped.prepare(PILE, "remote_stop_request", {"gun_no": "01"})
            here = await a.pile()
            await until(lambda: holder(b, PILE) == "a")
            performing = asyncio.create_task(wrapped.perform(prepared, timeout=60.0, sent=numbers.append))
            await obey(here)
            assert (await performing).state == "accepted"
            assert len(numbers) == 1

    run(tmp_path, scenario)


def test_a_node_that_falls_silent_loses_its_chargers_and_its_commands_end(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b", cluster__lease=2, server__drain_timeout=0.5) as (a, b):
            there = await b.pile()
            here = await a.pile(OTHER)
            await until(lambda: holder(a, PILE) == "b" and holder(b, OTHER) == "a")
            to_the_silent = stop(a)
            by_the_silent = (await stop(b, OTHER, wait="false")).json()["id"]
            await there.expect(0x36)
            await here.expect(0x36)
            assert (await shown(a, by_the_silent, "sent"))["ended"] is None
            await silence(b)
            # What was sent to one of its chargers.
            answer = await to_the_silent
            assert (answer.status_code, answer.json()["code"]) == (502, "disconnected")
            assert "node b, which it is connected to, is gone" in answer.json()["detail"]
            # What it had taken itself.
            found = await shown(a, by_the_silent, "disconnected")
            assert "node b, where it was entered, has ended" in found["text"]
            # Its chargers are nobody's, and their entries are cleared away.
            assert holder(a, PILE) == ""
            assert (await a.command("remote_stop_request", {"gun_no": "01"})).status_code == 404
            await until(lambda: registry(a).count() == 1)
            # And its lease, so that names of processes do not pile up.
            await until(lambda: not registry(a).known("b"))
            again = await a.pile()
            await obeyed(a, again)

    run(tmp_path, scenario)


def test_a_node_that_stops_says_so_and_finishes_what_it_was_told(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await b.pile()
            await until(lambda: holder(a, PILE) == "b")
            under_way = stop(a)
            _, sequence, _ = await pile.expect(0x36)
            stopping = asyncio.create_task(b.server.stop())
            await until(lambda: registry(a).leaving("b"))
            assert (await a.command("remote_stop_request", {"gun_no": "01"})).status_code == 409
            pile.send(0x35, STOPPED, sequence)
            assert (await under_way).json()["state"] == "accepted"
            await stopping
            # At once, though its lease had long to run.
            await until(lambda: [one.node for one in registry(a).nodes()] == ["a"])
            await until(lambda: registry(a).count() == 0)

    run(tmp_path, scenario)


def test_chargers_are_served_while_nats_is_away_and_known_to_all_afterwards(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            await a.pile()
            gone = await a.pile("55031412782307")
            await until(lambda: registry(b).count() == 2)
            await asyncio.to_thread(nats.kill)
            await until(lambda: not registry(a).ready.is_set())
            ready = await a.client.get("/ready")
            assert ready.status_code == 503
            assert "the cluster cannot be reached" in ready.json()["problems"][0]
            # One comes, one goes, one is told something.
            new = await a.pile(OTHER)
            await gone.close()
            taken = await obeyed(a, new)
            answer = await b.client.get(f"/commands/{taken['id']}")
            assert answer.status_code == 503
            answer = await b.command("remote_stop_request", {"gun_no": "01"})
            assert answer.status_code == 409
            assert "it is connected to node a: the cluster cannot be reached" in answer.json()["detail"]
            await asyncio.to_thread(nats.start)
            await until(lambda: holder(b, PILE) == holder(b, OTHER) == "a")
            await until(lambda: registry(b).count() == 2)
            assert (await a.client.get("/ready")).status_code == 200
            await until(lambda: cluster(a).ledger.waiting == 0)
            assert (await command(b, taken["id"]))["state"] == "accepted"
            await obeyed(b, a.piles[0])

    run(tmp_path, scenario)


def test_a_node_starts_without_nats_and_joins_when_it_is_there(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        await asyncio.to_thread(nats.kill)
        async with node(nats, tmp_path, "a") as a:
            pile = await a.pile()
            assert (await a.client.get("/ready")).status_code == 503
            await obeyed(a, pile)
            await asyncio.to_thread(nats.start)
            async with node(nats, tmp_path, "b") as b:
                await until(lambda: holder(b, PILE) == "a")
                await until(lambda: not registry(a).problems())
                await obeyed(b, pile)

    run(tmp_path, scenario)


def test_all_is_announced_anew_to_a_nats_that_has_forgotten_everything(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            for number in range(9):
                # Revisions are high before and low afterwards.
                await (await a.pile(f"5503141278{number:04d}")).close()
            await a.pile()
            await b.pile(OTHER)
            await until(lambda: holder(b, PILE) == "a" and holder(a, OTHER) == "b")
            await asyncio.to_thread(nats.kill)
            shutil.rmtree(tmp_path / "nats" / "store")
            await asyncio.to_thread(nats.start)
            await until(lambda: registry(a).ready.is_set() and registry(b).ready.is_set())
            await until(lambda: holder(b, PILE) == "a" and holder(a, OTHER) == "b")
            taken = await obeyed(b, a.piles[-1])
            assert (await command(a, taken["id"]))["state"] == "accepted"
            # A newer connection is still the one that counts.
            await b.pile()
            await a.piles[-1].closed()
            await until(lambda: holder(a, PILE) == "b")

    run(tmp_path, scenario)


def test_of_two_connections_made_while_nodes_were_apart_the_newer_stays(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            old = await a.pile()
            await until(lambda: holder(b, PILE) == "a")
            await asyncio.to_thread(nats.kill)
            await until(lambda: not registry(a).ready.is_set() and not registry(b).ready.is_set())
            await b.pile()
            await asyncio.to_thread(nats.start)
            await old.closed()
            await until(lambda: holder(a, PILE) == holder(b, PILE) == "b")

    run(tmp_path, scenario)


def test_two_nodes_of_one_name_are_not_ready(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with (
            node(nats, tmp_path, "a", cluster__lease=6) as first,
            node(nats, tmp_path / "2", "a", cluster__lease=6) as second,
        ):
            await until(lambda: registry(first).problems() and registry(second).problems())
            for one in (first, second):
                answer = await one.client.get("/ready")
                assert answer.json()["problems"] == [
                    "another node is called a too: give each its own cluster.node"
                ]

    run(tmp_path, scenario)


def test_a_node_that_was_killed_and_starts_again_finds_nothing_of_its_former_life(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b", server__drain_timeout=0.5) as (a, b):
            pile = await b.pile()
            await until(lambda: holder(a, PILE) == "b")
            under_way = stop(a)
            await pile.expect(0x36)
            await silence(b)
            # The lease has long to run, but this is another instance.
            async with node(nats, tmp_path / "again", "b") as again:
                answer = await under_way
                assert answer.json()["code"] == "disconnected"
                assert holder(a, PILE) == holder(again, PILE) == ""
                await again.pile()
                await until(lambda: holder(a, PILE) == "b")
                assert registry(again).problems() == []

    run(tmp_path, scenario)


def test_odd_identities_and_commands_of_ocpp(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        settings = {"ocpp__enabled": True, "ykc__enabled": True}
        async with nodes(nats, tmp_path, "a", "b", **settings) as (a, b):
            name = "CS *.> é|桩"
            async with charger(b, name) as station:
                assert (await station.result("BootNotification", BOOT_1_6))["status"] == "Accepted"
                await until(lambda: holder(a, name, "ocpp1.6") == "b")
                path = f"/ocpp1.6/{name}/commands/GetConfiguration"
                asked = asyncio.create_task(a.client.post(path, json={"key": ["X"]}))
                action, fields = await station.answer({"unknownKey": ["X"]})
                assert (action, fields) == ("GetConfiguration", {"key": ["X"]})
                answer = await asked
                assert (answer.status_code, answer.json()["state"]) == (200, "accepted")
                assert answer.json()["answer"] == {"unknownKey": ["X"]}
                listed = (await a.client.get("/chargers")).json()["items"]
                assert [(one["id"], one["online"]) for one in listed] == [(name, True)]
            await until(lambda: holder(a, name, "ocpp1.6") == "")

    run(tmp_path, scenario)
