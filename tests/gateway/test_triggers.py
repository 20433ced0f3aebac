"""The routes of ocpp16-go, on real chargers: as documented, with real statuses, and nothing given away."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from evproto.gateway.config import TokenConfig
from evproto.gateway.tokens import hash_of
from gateway.fakes import FakeAdapter, beside
from gateway.live import PILE, WAIT, Running, serving
from gateway.ocpp_live import BOOT_1_6, BOOT_2, charger

PASSWORD = "the password of the charger"
READER = "a-token-that-may-only-read"
TOKEN = "a-token-that-is-long-enough"

ACTIONS = (
    "BootNotification",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "MeterValues",
    "StatusNotification",
)


async def status_of(running: Running, reference: str) -> dict[str, Any]:
    answer = await running.client.get(f"/message/{reference}/status")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


async def until(running: Running, reference: str, *statuses: int) -> dict[str, Any]:
    async with asyncio.timeout(WAIT):
        while (found := await status_of(running, reference))["Status"] not in statuses:
            await asyncio.sleep(0.01)
    return found


def failed(answer: Any) -> tuple[int, str]:
    """Status and description of a failure, in the form of all of them."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"status", "reference", "description"}
    assert (body["status"], body["reference"]) == ("fail", "")
    assert body["description"]
    return answer.status_code, body["description"]


def test_the_status_of_a_charger_and_its_password_is_nowhere(tmp_path: Path) -> None:
    secret = base64.b64encode(f"CP1:{PASSWORD}".encode()).decode()

    async def run() -> None:
        async with serving(tmp_path, ocpp__enabled=True, ocpp__heartbeat_interval=17) as running:
            get = running.client.get
            assert failed(await get("/charger/CP1/status")) == (404, "no charger CP1 has been here")
            headers = {"Authorization": f"Basic {secret}"}
            async with charger(running, additional_headers=headers) as cp:
                boot = await cp.result("BootNotification", BOOT_1_6)
                answer = await get("/charger/CP1/status")
                assert answer.headers["content-type"] == "application/json"
                found = answer.json()
                # Exactly the members that ocpp16-go has, in its order.
                assert list(found) == [
                    "AuthToken",
                    "HeartBeatInterval",
                    "AuthConnection",
                    "Connected",
                    "RemoteIP",
                ]
                address = f"127.0.0.1:{cp.socket.local_address[1]}"
                assert found == {
                    "AuthToken": "",
                    "HeartBeatInterval": 17,
                    "AuthConnection": True,
                    "Connected": True,
                    "RemoteIP": address,
                }
                assert boot["interval"] == 17
                for path in ("/charger/CP1/status", "/chargers/CP1", "/chargers", "/ocpp1.6/CP1"):
                    text = (await get(path)).text
                    assert PASSWORD not in text
                    assert secret not in text
            async with asyncio.timeout(WAIT):
                while (found := (await get("/charger/CP1/status")).json())["Connected"]:
                    await asyncio.sleep(0.01)
            assert found == {
                "AuthToken": "",
                "HeartBeatInterval": 17,
                "AuthConnection": False,
                "Connected": False,
                "RemoteIP": "",
            }

    asyncio.run(run())


def test_a_charger_that_has_to_wait_is_connected_and_not_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            serving(tmp_path, ocpp__enabled=True, ocpp__boot="pending") as running,
            charger(running) as cp,
        ):
            assert (await cp.result("BootNotification", BOOT_1_6))["status"] == "Pending"
            found = (await running.client.get("/charger/CP1/status")).json()
            assert (found["Connected"], found["AuthConnection"]) == (True, False)

    asyncio.run(run())


@pytest.mark.parametrize("action", ACTIONS)
def test_every_documented_action_is_triggered(action: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, ocpp__enabled=True) as running, charger(running) as cp:
            await cp.result("BootNotification", BOOT_1_6)
            answer = await running.client.post(f"/command/CP1/triggeraction/{action}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
            body = answer.json()
            reference = body["reference"]
            assert body == {"status": "success", "reference": reference, "description": ""}
            assert await cp.answer({"status": "Accepted"}) == (
                "TriggerMessage",
                {"requestedMessage": action},
            )
            found = await until(running, reference, 4, 5)
            assert list(found) == ["Action", "Received", "Status", "Sent"]
            assert (found["Action"], found["Status"]) == ("TriggerMessage", 4)

    asyncio.run(run())


def test_a_message_goes_from_sent_to_completed_or_failed(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, ocpp__enabled=True) as running:
            post = running.client.post

            async def trigger() -> str:
                answer = await post("/command/CP1/triggeraction/Heartbeat")
                return str(answer.json()["reference"])

            begun = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
            async with charger(running) as cp:
                await cp.result("BootNotification", BOOT_1_6)
                reference = await trigger()
                found = await until(running, reference, 2)
                # Sent, and no answer yet; it stays so until there is one.
                assert found["Received"] == ""
                sent = dt.datetime.fromisoformat(found["Sent"])
                assert begun <= sent <= dt.datetime.now(dt.UTC)
                # OCPP has one request under way at a time: the next one waits.
                second = await trigger()
                assert (await status_of(running, second)) == {
                    "Action": "TriggerMessage",
                    "Received": "",
                    "Status": 1,
                    "Sent": "",
                }
                await cp.answer({"status": "Accepted"})
                found = await until(running, reference, 4)
                assert sent <= dt.datetime.fromisoformat(found["Received"])
                assert dt.datetime.fromisoformat(found["Sent"]) == sent
                # A refusal is an answer, and an error.
                await cp.answer({"status": "Rejected"})
                found = await until(running, second, 5)
                assert found["Sent"]
                assert found["Received"]
                # More than eleven, which the other one never got beyond.
                references = [await trigger() for _ in range(12)]
                for one in references:
                    await cp.answer({"status": "Accepted"})
                    await until(running, one, 4)
                assert len(set(references)) == 12
                lost = await trigger()
                await until(running, lost, 2)
            found = await until(running, lost, 5)
            assert found["Received"] == ""
            # The reference is a command of the API like any other.
            command = (await running.client.get(f"/commands/{lost}")).json()
            assert (command["name"], command["state"]) == ("TriggerMessage", "disconnected")

    asyncio.run(run())


def test_what_cannot_be_done_is_said_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, ocpp__enabled=True) as running:
            post, get = running.client.post, running.client.get
            assert failed(await get("/message/nothing/status")) == (404, "Message is not exist")
            where = "/command/CP1/triggeraction/Heartbeat"
            assert failed(await post(where))[0] == 404
            async with charger(running) as cp:
                await cp.result("BootNotification", BOOT_1_6)
                status, text = failed(await post("/command/CP1/triggeraction/Nothing"))
                assert status == 400
                assert "Heartbeat" in text
            async with asyncio.timeout(WAIT):
                while (await get("/charger/CP1/status")).json()["Connected"]:
                    await asyncio.sleep(0.01)
                # Not only the first ten times: each one, at once.
                for _ in range(15):
                    assert failed(await post(where)) == (
                        409,
                        "charger CP1 is not connected; nothing was sent",
                    )
            assert (await get("/audit")).json()["items"] == []

    asyncio.run(run())


def test_other_versions_trigger_what_they_have(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            serving(tmp_path, ocpp__enabled=True, ykc__enabled=True) as running,
            charger(running, "CS1", "ocpp2.0.1") as cs,
        ):
            await running.pile()
            await cs.result("BootNotification", BOOT_2)
            answer = await running.client.post("/command/CS1/triggeraction/Heartbeat")
            reference = answer.json()["reference"]
            assert await cs.answer({"status": "Accepted"}) == (
                "TriggerMessage",
                {"requestedMessage": "Heartbeat"},
            )
            await until(running, reference, 4)
            answer = await running.client.post("/command/CS1/triggeraction/DiagnosticsStatusNotification")
            status, text = failed(answer)
            assert status == 400
            assert "LogStatusNotification" in text
            # A pile has nothing of the kind, and is no charger of these routes.
            assert failed(await running.client.get(f"/charger/{PILE}/status"))[0] == 404

    asyncio.run(run())


def test_they_need_what_the_api_needs(tmp_path: Path) -> None:
    tokens = (
        TokenConfig(name="wall", sha256=hash_of(READER), scope="read"),
        TokenConfig(name="desk", sha256=hash_of(TOKEN)),
    )
    fake = FakeAdapter("fake1.0")
    fake.put("C1")
    paths = (
        ("GET", "/charger/C1/status"),
        ("GET", "/message/x/status"),
        ("POST", "/command/C1/triggeraction/Heartbeat"),
    )

    async def run() -> None:
        async with serving(tmp_path, make=beside(fake), http__tokens=tokens) as running:
            read, command = ({"Authorization": f"Bearer {token}"} for token in (READER, TOKEN))
            for method, path in paths:
                assert (await running.client.request(method, path)).status_code == 401
            statuses = [
                (await running.client.request(method, path, headers=read)).status_code
                for method, path in paths
            ]
            assert statuses == [200, 404, 403]
            assert fake.told == []
            answer = await running.client.post(paths[2][1], headers=command)
            assert answer.json()["status"] == "success"
        # Where nothing has a TriggerMessage, there is nothing of it.
        async with serving(tmp_path / "other") as running:
            for method, path in paths:
                answer = await running.client.request(method, path)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    asyncio.run(run())


def test_answers_are_as_described(tmp_path: Path) -> None:
    fake = FakeAdapter("fake1.0")
    fake.put("C1")

    async def run() -> None:
        async with serving(tmp_path, make=beside(fake)) as running:
            document = (await running.client.get("/openapi.json")).json()
            post = await running.client.post("/command/C1/triggeraction/Heartbeat")
            answers = {
                "/charger/{name}/status": await running.client.get("/charger/C1/status"),
                "/message/{id}/status": await running.client.get(
                    f"/message/{post.json()['reference']}/status"
                ),
                "/command/{name}/triggeraction/{action}": post,
            }
            for path, answer in answers.items():
                (operation,) = document["paths"][path].values()
                schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
                jsonschema.validate(json.loads(answer.text), {**schema, "components": document["components"]})
            (action,) = (
                one
                for one in document["paths"]["/command/{name}/triggeraction/{action}"]["post"]["parameters"]
                if one["name"] == "action"
            )
            assert action["schema"]["enum"] == ["BootNotification", "Heartbeat", "MeterValues"]

    asyncio.run(run())
