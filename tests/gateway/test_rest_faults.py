"""What the API keeps from whoever may only read, and what it does with requests that come again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from evproto.gateway.config import TokenConfig
from evproto.gateway.tokens import hash_of
from gateway.live import serving
from gateway.ocpp_live import BOOT_1_6, charger

READER = "a-token-that-may-only-read"
TOKEN = "a-token-that-may-command"
TOKENS = (
    TokenConfig(name="eye", sha256=hash_of(READER), scope="read"),
    TokenConfig(name="desk", sha256=hash_of(TOKEN), scope="command"),
)
LOOKS = {"Authorization": f"Bearer {READER}"}
COMMANDS = {"Authorization": f"Bearer {TOKEN}"}
PASSWORD = "0102030405060708090A0B0C0D0E0F10"


def problem(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["code"], body.get("path", "")


def test_the_page_hides_from_a_reader_what_the_api_hides(tmp_path: Path) -> None:
    answer = {"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": PASSWORD}]}

    async def run() -> None:
        async with (
            serving(tmp_path, ocpp__enabled=True, http__tokens=TOKENS) as running,
            charger(running) as station,
        ):
            await station.result("BootNotification", BOOT_1_6)
            asked = asyncio.ensure_future(
                running.client.post("/chargers/CP1/commands/GetConfiguration", json={}, headers=COMMANDS)
            )
            await station.answer(answer)
            command = (await asked).json()
            assert command["answer"] == answer
            for path in (f"/commands/{command['id']}", f"/page/commands/{command['id']}"):
                for wait in ("0", "1"):
                    seen = await running.client.get(path, params={"wait": wait}, headers=LOOKS)
                    assert seen.status_code == 200
                    assert "AuthorizationKey" in seen.text
                    assert PASSWORD not in seen.text
                    shown = await running.client.get(path, params={"wait": wait}, headers=COMMANDS)
                    assert PASSWORD in shown.text
            nothing = await running.client.get("/page/commands/nothing", headers=LOOKS)
            assert problem(nothing) == (404, "not_found", "")

    asyncio.run(run())
