"""Chargers of all protocols behind one collection: who is meant, what is shown, what they can be told."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from evproto.gateway.adapter import Ending, Outlet, Prepared
from evproto.gateway.config import TokenConfig
from evproto.gateway.neutral import ConnectorState, connector_state
from evproto.gateway.tokens import hash_of
from gateway.fakes import SOME_TIME, FakeAdapter, beside
from gateway.live import PILE, Running, serving
from gateway.test_page import report, settled

READER = "a-token-that-may-only-read"
TOKEN = "a-token-that-is-long-enough"


@contextlib.asynccontextmanager
async def several(folder: Path, **settings: Any) -> AsyncIterator[tuple[Running, FakeAdapter, FakeAdapter]]:
    """A server of YKC and of two versions of another protocol."""
    one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")
    async with serving(folder, make=beside(one, two), **settings) as running:
        yield running, one, two


async def get(running: Running, path: str, **params: Any) -> Any:
    response = await running.client.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def problem(response: httpx.Response) -> tuple[int, str, str]:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    return response.status_code, body["code"], body.get("path", "")


def test_a_pile_in_the_neutral_form(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            pile.send(0x13, report(energy=123456))
            await settled(pile)
            found = await get(running, f"/chargers/{PILE}")
            assert (found["id"], found["protocol"], found["version"]) == (PILE, "ykc", "YKC 1.6")
            assert (found["state"], found["online"], found["model"]) == ("online", True, "DC V4.1.50")
            assert found["address"].startswith("127.0.0.1:")
            first, second = found["connectors"]
            assert (first["name"], first["state"], first["word"]) == ("01", "charging", "charging")
            # 400.0 V times 150.0 A; the energy has four places on the wire.
            assert (first["power"], first["energy"], first["soc"]) == (60.0, 12.3456, 61)
            assert first["plugged"] is True
            assert first["transaction"] == report()[:16].hex()
            # It has said nothing of its second gun yet.
            assert (second["name"], second["state"], second["plugged"]) == ("02", "unknown", None)
            detail, own = found.pop("detail"), await get(running, f"/piles/{PILE}")
            (listed,) = (await get(running, "/chargers"))["items"]
            assert found.pop("seen")
            assert listed.pop("seen")
            assert listed == found
            # Times are made of another clock each time: microseconds differ.
            assert detail.keys() == own.keys()
            assert detail["login"] == own["login"]
            assert [one["realtime"] for one in detail["guns"]] == [one["realtime"] for one in own["guns"]]
            frames = await get(running, f"/chargers/{PILE}/frames", limit=3)
            assert frames == await get(running, f"/piles/{PILE}/frames", limit=3)
            await pile.close()
            while (found := await get(running, f"/chargers/{PILE}"))["online"]:
                await asyncio.sleep(0.02)
            assert found["reason"]
            # What it was when it went says nothing of now.
            assert [one["state"] for one in found["connectors"]] == ["unknown", "unknown"]

    asyncio.run(run())


def test_chargers_of_all_protocols_are_one_list_in_pages(tmp_path: Path) -> None:
    async def run() -> None:
        async with several(tmp_path) as (running, one, two):
            await running.pile()
            for name in ("C1", "C5", "a~b"):
                one.put(name)
            for name in ("C2", "C3", "zz%2F"):
                two.put(name, state="offline", reason="gone")
            everybody = [PILE, "C1", "C2", "C3", "C5", "a~b", "zz%2F"]

            async def walk(limit: int, **params: Any) -> list[str]:
                found: list[str] = []
                after = ""
                while True:
                    page = await get(running, "/chargers", limit=limit, after=after, **params)
                    assert len(page["items"]) <= limit
                    found += [item["id"] for item in page["items"]]
                    if page["next"] is None:
                        return found
                    assert page["next"] == found[-1]
                    after = page["next"]

            for limit in (1, 2, 3, 7, 100):
                assert await walk(limit) == everybody
            assert await walk(2, online="true") == [PILE, "C1", "C5", "a~b"]
            assert await walk(2, online="false") == ["C2", "C3", "zz%2F"]
            assert await walk(1, protocol="fake1.0") == ["C1", "C5", "a~b"]
            assert await walk(2, protocol="fake") == everybody[1:]
            assert await walk(2, protocol="ykc") == [PILE]
            assert await walk(2, protocol="fake2.0", online="true") == []
            found = await get(running, "/chargers/zz%252F")
            assert (found["id"], found["protocol"], found["reason"]) == ("zz%2F", "fake2.0", "gone")
            response = await running.client.get("/chargers", params={"protocol": "fake3.0"})
            assert problem(response) == (422, "invalid", "protocol")
            response = await running.client.get("/chargers", params={"limit": "0"})
            assert problem(response) == (422, "invalid", "limit")

    asyncio.run(run())


def test_of_one_identity_the_one_that_is_online_is_meant_then_the_last_seen(tmp_path: Path) -> None:
    later = SOME_TIME + dt.timedelta(seconds=1)

    async def run() -> None:
        async with several(tmp_path) as (running, one, two):
            client = running.client

            async def meant(**params: Any) -> str:
                found = await get(running, "/chargers/X", **params)
                return str(found["protocol"])

            async def listed() -> list[tuple[str, str, list[str]]]:
                items = (await get(running, "/chargers"))["items"]
                return [(item["id"], item["protocol"], item["also"]) for item in items]

            one.put("X", state="offline", seen=later)
            two.put("X", state="online")
            assert await meant() == "fake2.0"
            assert await listed() == [("X", "fake2.0", ["fake1.0"])]
            two.put("X", state="offline")
            assert await meant() == "fake1.0"
            assert await meant(protocol="fake2.0") == "fake2.0"
            assert await listed() == [("X", "fake1.0", ["fake2.0"])]
            # As good as each other: the caller has to say.
            for state in ("offline", "online"):
                one.put("X", state=state)
                two.put("X", state=state)
                for response in (
                    await client.get("/chargers/X"),
                    await client.get("/chargers/X/frames"),
                    await client.post("/chargers/X/commands/Reset", json={"type": "Soft"}),
                    await client.post(
                        "/chargers/X/commands", json={"name": "Reset", "fields": {"type": "Soft"}}
                    ),
                    await client.post("/chargers/X/reboot"),
                ):
                    assert problem(response) == (409, "ambiguous", "protocol")
                    assert "fake1.0 and one of fake2.0" in response.json()["detail"]
                assert await meant(protocol="fake1.0") == "fake1.0"
                assert await listed() == [("X", "fake1.0", ["fake2.0"])]
            assert one.told == two.told == []
            body = {"name": "Reset", "fields": {"type": "Soft"}, "protocol": "fake2.0"}
            command = (await client.post("/chargers/X/commands", json=body)).json()
            assert (command["protocol"], command["state"]) == ("fake2.0", "accepted")
            response = await client.post("/chargers/X/reboot", params={"protocol": "fake1.0"})
            assert response.json()["protocol"] == "fake1.0"
            assert (len(one.told), len(two.told)) == (1, 1)
            for params, expected in (
                ({}, (404, "unknown_charger", "")),
                ({"protocol": "nothing"}, (422, "invalid", "protocol")),
            ):
                assert problem(await client.get("/chargers/Y", params=params)) == expected
            assert problem(await client.get("/chargers/X", params={"protocol": "ykc"})) == (
                404,
                "unknown_charger",
                "",
            )

    asyncio.run(run())


def test_another_spelling_means_the_same_where_its_protocol_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with several(tmp_path) as (running, one, two):
            one.spelled = str.upper  # type: ignore[method-assign,assignment]
            one.put("CP1")
            assert (await get(running, "/chargers/cp1"))["id"] == "CP1"
            # Exactly this one exists as well: then it is meant.
            two.put("cp1")
            assert (await get(running, "/chargers/cp1"))["protocol"] == "fake2.0"
            assert (await get(running, "/chargers/CP1"))["protocol"] == "fake1.0"

    asyncio.run(run())


def test_commands_by_name_are_those_of_the_protocol(tmp_path: Path) -> None:
    async def run() -> None:
        async with several(tmp_path) as (running, one, _):
            one.put("C1")
            one.put("C2", state="offline")
            post = running.client.post
            response = await post("/chargers/C1/commands/Reset", json={"type": "Soft"})
            assert response.status_code == 200
            command = response.json()
            assert (command["name"], command["state"], command["fields"]) == (
                "Reset",
                "accepted",
                {"type": "Soft"},
            )
            assert command["answer"] == {"status": "Accepted"}
            assert response.headers["location"] == f"/commands/{command['id']}"
            assert await get(running, response.headers["location"]) == command
            # The same through the collection of its protocol, and in one body.
            response = await post("/fake1.0/C1/commands/Reset", json={"type": "Soft"})
            assert response.json()["state"] == "accepted"
            body = {"name": "Reset", "fields": {"type": "Hard"}}
            response = await post("/chargers/C1/commands", json=body, headers={"Prefer": "respond-async"})
            assert response.status_code == 202
            assert [prepared.fields["type"] for prepared in one.told[:2]] == ["Soft", "Soft"]
            key = {"Idempotency-Key": "k1"}
            first = await post("/chargers/C1/commands", json=body, headers=key)
            again = await post("/chargers/C1/commands/Reset", json={"type": "Hard"}, headers=key)
            assert again.json()["id"] == first.json()["id"]
            assert again.headers["idempotent-replayed"] == "true"
            other = await post("/chargers/C1/commands/Reset", json={"type": "Soft"}, headers=key)
            assert problem(other) == (409, "idempotency_conflict", "")
            for path, sent, expected in (
                ("commands/Reset", {"type": "x"}, (422, "invalid", "type")),
                ("commands/Nothing", {}, (404, "not_found", "")),
                ("commands", {"name": "Nothing"}, (404, "not_found", "name")),
                ("commands", {"name": "Reset"}, (422, "invalid", "fields.type")),
                ("commands", {"name": "Reset", "fields": {"type": 1}}, (422, "invalid", "fields.type")),
                ("commands", {"name": "Reset", "fields": []}, (422, "invalid", "fields")),
                ("commands", {"name": "Reset", "field": {}}, (422, "invalid", "field")),
                ("commands", {"fields": {}}, (422, "invalid", "name")),
                ("commands", [], (422, "invalid", "")),
            ):
                assert problem(await post(f"/chargers/C1/{path}", json=sent)) == expected, (path, sent)
            reset = {"type": "Soft"}
            assert problem(await post("/chargers/C2/commands/Reset", json=reset)) == (409, "offline", "")
            assert problem(await post("/chargers/C9/commands/Reset", json=reset)) == (
                404,
                "unknown_charger",
                "",
            )
            response = await post(
                "/chargers/C1/commands/Reset", content=b"{", headers={"Content-Type": "text/plain"}
            )
            assert problem(response)[1] == "unsupported_media_type"

    asyncio.run(run())


def test_a_command_that_times_out_and_one_that_waits_for_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        async with several(tmp_path) as (running, one, _):
            one.put("C1")
            one.ending = lambda prepared: Ending(state="timeout", text="it said nothing")
            response = await running.client.post("/chargers/C1/commands/Reset", json={"type": "Soft"})
            assert problem(response) == (504, "timeout", "")
            assert response.json()["command"]["state"] == "timeout"
            open_end: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
            one.ending = lambda prepared: open_end
            response = await running.client.post(
                "/chargers/C1/commands/Reset", json={"type": "Soft"}, params={"wait": "false"}
            )
            where = response.headers["location"]
            assert response.status_code == 202
            while (command := await get(running, where))["state"] == "queued":
                await asyncio.sleep(0.01)
            assert (command["state"], command["sequence"], command["ended"]) == ("sent", "n2", None)
            waiting = asyncio.create_task(get(running, where, wait=30))
            open_end.set_result(Ending(state="rejected", text="no", answer={"status": "Rejected"}))
            assert (await waiting)["state"] == "rejected"

    asyncio.run(run())


def test_start_stop_and_reboot_of_a_pile_are_its_own_messages(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            pile.send(0x13, report(gun=2))
            await settled(pile)
            post = running.client.post

            # Start: 0x34 with the gun, the card, and a transaction number that is made.
            posted = asyncio.create_task(
                post(f"/chargers/{PILE}/start", json={"connector": "01", "token": "1234567890"})
            )
            _, sequence, body = await pile.expect(0x34)
            transaction = body[:16]
            assert transaction[:8].hex() == f"{PILE}01"
            assert body[16:24].hex() == f"{PILE}01"
            assert body[24:32].hex() == "0000001234567890"
            pile.send(0x33, transaction + body[16:24] + b"\x01\x00", sequence)
            command = (await posted).json()
            assert (command["name"], command["state"]) == ("remote_start_request", "accepted")

            # Stop: by its transaction, which 0x36 does not carry, so its gun is found.
            shown = await get(running, f"/chargers/{PILE}")
            going_on = next(one for one in shown["connectors"] if one["name"] == "02")
            body_of_stop = {"transaction": going_on["transaction"]}
            posted = asyncio.create_task(post(f"/chargers/{PILE}/stop", json=body_of_stop))
            _, sequence, body = await pile.expect(0x36)
            assert body.hex() == f"{PILE}02"
            pile.send(0x35, body + b"\x01\x00", sequence)
            assert (await posted).json()["state"] == "accepted"
            assert going_on["state"] == "charging"

            # Of two guns that charge, one has to be named; of one, none.
            pile.send(0x13, report(gun=1))
            await settled(pile)
            assert problem(await post(f"/chargers/{PILE}/stop", json={})) == (422, "invalid", "connector")
            pile.send(0x13, report(gun=1, status=2))
            await settled(pile)
            posted = asyncio.create_task(post(f"/chargers/{PILE}/stop", json={}))
            _, sequence, body = await pile.expect(0x36)
            assert body.hex() == f"{PILE}02"
            pile.send(0x35, body + b"\x01\x00", sequence)
            assert (await posted).json()["state"] == "accepted"
            posted = asyncio.create_task(post(f"/chargers/{PILE}/start", json={}))
            _, sequence, body = await pile.expect(0x34)
            assert body[16:24].hex() == f"{PILE}01"
            pile.send(0x33, body[:24] + b"\x01\x00", sequence)
            assert (await posted).json()["state"] == "accepted"
            pile.send(0x13, report(gun=1))
            await settled(pile)

            # Reboot without a body: when it is idle (2); at once: 1.
            for sent, control in ((None, 2), ({"immediate": True}, 1)):
                posted = asyncio.create_task(
                    post(f"/chargers/{PILE}/reboot")
                    if sent is None
                    else post(f"/chargers/{PILE}/reboot", json=sent)
                )
                _, sequence, body = await pile.expect(0x92)
                assert body == bytes.fromhex(PILE) + bytes([control])
                pile.send(0x91, bytes.fromhex(PILE) + b"\x01", sequence)
                assert (await posted).json()["name"] == "reboot_request"

            for path, sent, expected in (
                ("start", {"connector": "01", "token": "not a card"}, (422, "invalid", "token")),
                # Nothing is guessed: both guns charge.
                ("start", {}, (422, "invalid", "connector")),
                (
                    "stop",
                    {"connector": "01", "transaction": going_on["transaction"]},
                    (422, "invalid", "connector"),
                ),
                ("start", {"tokens": "1"}, (422, "invalid", "tokens")),
                ("start", {"connector": 1}, (422, "invalid", "connector")),
                ("stop", {"transaction": "0" * 32}, (422, "invalid", "transaction")),
                ("reboot", {"immediate": "yes"}, (422, "invalid", "immediate")),
            ):
                response = await post(f"/chargers/{PILE}/{path}", json=sent)
                assert problem(response) == expected, (path, sent, response.text)
            assert problem(await post("/chargers/nobody/reboot"))[1] == "unknown_charger"
            await pile.close()
            while (await get(running, f"/chargers/{PILE}"))["online"]:
                await asyncio.sleep(0.02)
            response = await post(f"/chargers/{PILE}/stop", json={})
            assert problem(response) == (409, "offline", "")
            assert (await running.client.get(f"/chargers/{PILE}/start")).status_code == 405

    asyncio.run(run())


def test_a_verb_that_is_repeated_is_one_command_whatever_it_would_be_now(tmp_path: Path) -> None:
    async def run() -> None:
        async with several(tmp_path) as (running, one, _):
            one.put("C1")
            key = {"Idempotency-Key": "again"}
            # What the fake is told changes with every command, as transaction numbers do.
            first = await running.client.post("/chargers/C1/reboot", headers=key)
            assert first.json()["fields"] == {"type": "Soft", "delay": 0}
            again = await running.client.post("/chargers/C1/reboot", headers=key)
            assert again.json() == first.json()
            assert again.headers["idempotent-replayed"] == "true"
            one.put("C1", state="offline")
            assert (await running.client.post("/chargers/C1/reboot", headers=key)).json() == first.json()
            other = await running.client.post("/chargers/C1/reboot", json={"immediate": True}, headers=key)
            assert problem(other) == (409, "idempotency_conflict", "")
            assert len(one.told) == 1
            (entry,) = (await get(running, "/audit"))["items"]
            assert (entry["name"], entry["fields"], entry["idempotency_key"]) == (
                "Reset",
                {"type": "Soft", "delay": 0},
                "again",
            )

    asyncio.run(run())


def test_what_a_protocol_cannot_do_is_said(tmp_path: Path) -> None:
    async def run() -> None:
        async with several(tmp_path) as (running, one, _):
            one.put("C1")
            response = await running.client.post("/chargers/C1/start", json={"connector": "1"})
            assert problem(response) == (422, "invalid", "connector")
            assert response.json()["detail"] == "fake1.0 has no start"
            assert one.told == []

    asyncio.run(run())


def test_who_may_read_may_not_command(tmp_path: Path) -> None:
    tokens = (
        TokenConfig(name="wall", sha256=hash_of(READER), scope="read"),
        TokenConfig(name="desk", sha256=hash_of(TOKEN)),
    )

    async def run() -> None:
        async with several(tmp_path, http__tokens=tokens) as (running, one, _):
            one.put("C1")
            read, command = ({"Authorization": f"Bearer {token}"} for token in (READER, TOKEN))
            for path in ("/chargers", "/chargers/C1", "/chargers/C1/frames"):
                assert (await running.client.get(path)).status_code == 401
                assert (await running.client.get(path, headers=read)).status_code == 200
            for path in ("commands", "commands/Reset", "start", "stop", "reboot"):
                where = f"/chargers/C1/{path}"
                assert (await running.client.post(where, json={})).status_code == 401
                assert problem(await running.client.post(where, json={}, headers=read))[:2] == (
                    403,
                    "forbidden",
                )
            assert one.told == []
            response = await running.client.post("/chargers/C1/reboot", headers=command)
            assert response.json()["by"] == "desk"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("outlet", "state"),
    [
        (Outlet(name="1"), "unknown"),
        (Outlet(name="1", state="idle", mood="free"), "available"),
        (Outlet(name="1", state="idle", mood="free", plugged=True), "occupied"),
        (Outlet(name="1", state="Available", mood="free"), "available"),
        (Outlet(name="1", state="Preparing", mood="busy"), "occupied"),
        (Outlet(name="1", state="Charging", mood="busy"), "charging"),
        (Outlet(name="1", state="SuspendedEV", mood="busy", transaction="7"), "occupied"),
        (Outlet(name="1", state="Occupied", mood="busy", power=7.0), "charging"),
        (Outlet(name="1", state="Occupied", mood="busy", power=0.0), "occupied"),
        (Outlet(name="1", state="Idle", mood="busy", transaction="7"), "occupied"),
        (Outlet(name="1", state="EVConnected", mood="busy"), "occupied"),
        (Outlet(name="1", state="Reserved", mood="busy"), "unavailable"),
        (Outlet(name="1", state="Unavailable", mood="away"), "unavailable"),
        (Outlet(name="1", state="Faulted", mood="fault"), "faulted"),
        (Outlet(name="1", state="whatever", mood="fault"), "faulted"),
        (Outlet(name="1", state="whatever", mood="free"), "available"),
        (Outlet(name="1", state="whatever", mood="away"), "unavailable"),
        (Outlet(name="1", state="whatever", mood="busy"), "occupied"),
        (Outlet(name="1", state="whatever", mood="busy", transaction="7"), "charging"),
    ],
)
def test_states_of_connectors(outlet: Outlet, state: ConnectorState) -> None:
    assert connector_state(outlet, online=True) == state
    assert connector_state(outlet, online=False) == "unknown"


def test_prepared_is_what_is_told(tmp_path: Path) -> None:
    """The fake tells what it was told, so that the tests above can fail."""

    async def run() -> None:
        fake = FakeAdapter("fake1.0")
        fake.put("C1")
        prepared: Prepared = fake.prepare("C1", "Reset", {"type": "Soft"})
        await fake.perform(prepared, timeout=None, sent=lambda number: None)
        assert fake.told == [prepared]

    asyncio.run(run())
