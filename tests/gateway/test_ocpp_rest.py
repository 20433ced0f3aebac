"""Chargers of OCPP through the API, as a back end sees them: beside piles, told in their own words and in common ones."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.live import PILE, WAIT, Running, serving
from gateway.ocpp_live import BOOTS, charger, start, transaction_event

ALL = {"ykc__enabled": True, "ocpp__enabled": True, "ntxcp__enabled": True}


def posted(running: Running, path: str, body: dict[str, Any]) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(running.client.post(path, json=body))


async def done(task: asyncio.Task[httpx.Response]) -> httpx.Response:
    async with asyncio.timeout(WAIT):
        return await task


def test_all_protocols_are_in_one_list(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL) as running,
            charger(running, "CP1") as cp,
            charger(running, "GW1", "ntxcp1.0") as gw,
        ):
            await running.pile()
            await cp.result("BootNotification", BOOTS["ocpp1.6"])
            await gw.result("BootNotification", BOOTS["ntxcp1.0"])
            await cp.result(
                "StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
            )
            found = (await running.client.get("/chargers")).json()["items"]
            assert [(one["id"], one["protocol"], one["online"]) for one in found] == [
                (PILE, "ykc", True),
                ("CP1", "ocpp1.6", True),
                ("GW1", "ntxcp1.0", True),
            ]
            assert found[1]["connectors"][0]["state"] == "available"
            assert found[1]["model"] == "Acme Box 1.2.3"
            shown = (await running.client.get("/chargers/CP1")).json()
            assert shown["detail"]["boot"] == BOOTS["ocpp1.6"]
            assert await running.metric('evproto_chargers_online{protocol="ocpp1.6"}') == 1.0

    asyncio.run(work())


@pytest.mark.parametrize("path", ["/chargers/CP1/commands", "/ocpp1.6/CP1/commands"])
def test_a_command_in_the_words_of_the_protocol(tmp_path: Path, path: str) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            task = posted(running, f"{path}/GetConfiguration", {"key": ["HeartbeatInterval"]})
            assert await cp.answer({"unknownKey": ["HeartbeatInterval"]}) == (
                "GetConfiguration",
                {"key": ["HeartbeatInterval"]},
            )
            answer = await done(task)
            assert answer.status_code == 200
            command = answer.json()
            assert (command["state"], command["answer"]) == (
                "accepted",
                {"unknownKey": ["HeartbeatInterval"]},
            )
            assert command["charger"] == "CP1"
            again = (await running.client.get(f"/commands/{command['id']}")).json()
            assert again["state"] == "accepted"
            wrong = await running.client.post(f"{path}/Reset", json={"type": "Softly"})
            assert (wrong.status_code, wrong.json()["code"], wrong.json()["path"]) == (422, "invalid", "type")
            # No: the charger says so.
            task = posted(running, f"{path}/Reset", {"type": "Soft"})
            await cp.answer({"status": "Rejected"})
            command = (await done(task)).json()
            assert command["state"] == "rejected"
            assert "Rejected" in command["text"]
            line = 'evproto_commands_total{name="Reset",protocol="ocpp1.6",state="rejected"}'
            assert await running.metric(line) == 1.0

    asyncio.run(work())


def test_what_is_not_there_and_what_is_away(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            path = "/chargers/CP1/commands/ClearCache"
            assert (await running.client.post(path, json={})).status_code == 404
            async with charger(running) as cp:
                answer = await done(posted(running, f"{path}?timeout=1", {}))
                assert (await cp.read())[2] == "ClearCache"
                assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
                task = posted(running, f"{path}?wait=true", {})
                assert (await cp.read())[2] == "ClearCache"
            answer = await done(task)
            assert (answer.status_code, answer.json()["code"]) == (502, "disconnected")
            answer = await running.client.post(path, json={})
            assert (answer.status_code, answer.json()["code"]) == (409, "offline")

    asyncio.run(work())


def test_start_stop_and_reboot_in_common_words(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL) as running,
            charger(running) as cp,
            charger(running, "CS1", "ocpp2.1") as cs,
        ):
            await cs.result("BootNotification", BOOTS["ocpp2.1"])
            task = posted(running, "/chargers/CP1/start", {"connector": "1", "token": "CARD4711"})
            assert await cp.answer({"status": "Accepted"}) == (
                "RemoteStartTransaction",
                {"connectorId": 1, "idTag": "CARD4711"},
            )
            assert (await done(task)).json()["state"] == "accepted"
            number = (await cp.result("StartTransaction", start()))["transactionId"]
            task = posted(running, "/chargers/CP1/stop", {"connector": "1"})
            assert await cp.answer({"status": "Accepted"}) == (
                "RemoteStopTransaction",
                {"transactionId": number},
            )
            assert (await done(task)).json()["state"] == "accepted"
            await cs.result("TransactionEvent", transaction_event("Started", 0, evse={"id": 1}))
            task = posted(running, "/chargers/CS1/stop", {"transaction": "TX-1"})
            assert await cs.answer({"status": "Accepted"}) == (
                "RequestStopTransaction",
                {"transactionId": "TX-1"},
            )
            assert (await done(task)).status_code == 200
            task = posted(running, "/chargers/CS1/reboot", {"immediate": True})
            assert await cs.answer({"status": "Scheduled"}) == ("Reset", {"type": "Immediate"})
            assert (await done(task)).json()["state"] == "accepted"

    asyncio.run(work())


def test_the_audit_log_and_the_frames_hide_what_opens_doors(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            body = {"key": "AuthorizationKey", "value": "0123456789abcdef"}
            task = posted(running, "/chargers/CP1/commands/ChangeConfiguration", body)
            assert (await cp.answer({"status": "Accepted"}))[1] == body
            assert (await done(task)).status_code == 200
            audit = (await running.client.get("/audit")).text
            assert "AuthorizationKey" in audit
            assert "0123456789abcdef" not in audit
            frames = (await running.client.get("/chargers/CP1/frames")).text
            assert "AuthorizationKey" in frames
            assert "0123456789abcdef" not in frames
            revealed = (await running.client.get("/chargers/CP1/frames?reveal=true")).text
            assert "0123456789abcdef" in revealed

    asyncio.run(work())
