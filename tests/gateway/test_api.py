"""The API beside commands: its description, tokens, pages of things, browsers, metrics, logs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from evproto.gateway.logs import JsonFormatter, KeyValueFormatter, Throttle, data
from evproto.gateway.tokens import Tokens, hash_of
from evproto.ykc.codec import Codec
from gateway.live import PILE, Backend, serving

READER = "a-token-that-may-read"
COMMANDER = "a-token-that-may-command"
TOKENS = [
    {"name": "page", "sha256": hashlib.sha256(READER.encode()).hexdigest(), "scope": "read"},
    {"name": "back end", "sha256": hashlib.sha256(COMMANDER.encode()).hexdigest()},
]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_description_holds_together(tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with serving(tmp_path) as running:
            return dict((await running.client.get("/openapi.json")).json())

    document = asyncio.run(run())
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for reference in references(document):
        _, part, name = reference.removeprefix("#/").split("/")
        assert name in document["components"][part]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids)
    # Every field of every message of a platform, with its Chinese name, and its unit where it has one.
    for layouts in Codec("1.7").layouts.values():
        layout = layouts[0]
        if layout.direction == 1:
            continue
        properties = schemas[layout.name]["properties"]
        for field in layout.fields:
            if field.name == "pile_id" or any(other.count == field.name for other in layout.fields):
                assert field.name not in properties
                continue
            assert properties[field.name].get("x-zh", "") == field.zh
            assert properties[field.name].get("x-unit", "") == field.unit
    power = schemas["work_parameters_request"]["properties"]["max_output_power"]
    assert (power["x-unit"], power["x-documented-range"], power["maximum"]) == ("%", [30, 100], 255)


def test_tokens_open_what_they_should(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, http__tokens=TOKENS) as running:
            pile = await running.pile()
            get = running.client.get
            for path in ("/health", "/ready", "/openapi.json", "/schemas/event.json"):
                assert (await get(path)).status_code == 200
            for path in ("/piles", f"/piles/{PILE}", "/metrics", "/audit", "/dead-letters", "/commands/x"):
                response = await get(path)
                assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
                assert response.headers["www-authenticate"].startswith("Bearer")
                assert (await get(path, headers=bearer("wrong-token"))).status_code == 401
            assert (await get("/piles", headers=bearer(READER))).status_code == 200
            basic = base64.b64encode(f"any:{READER}".encode()).decode()
            assert (await get("/piles", headers={"Authorization": f"Basic {basic}"})).status_code == 200
            frames = f"/piles/{PILE}/frames"
            assert (await get(frames, headers=bearer(READER))).status_code == 200
            assert (await get(frames, headers=bearer(READER), params={"reveal": "true"})).status_code == 403
            assert (
                await get(frames, headers=bearer(COMMANDER), params={"reveal": "true"})
            ).status_code == 200
            response = await running.command(
                "reboot_request", {"execution_control": 1}, headers=bearer(READER)
            )
            assert (response.status_code, response.json()["code"]) == (403, "forbidden")
            assert (await running.client.delete("/dead-letters/x", headers=bearer(READER))).status_code == 403
            posted = asyncio.create_task(
                running.command("reboot_request", {"execution_control": 1}, headers=bearer(COMMANDER))
            )
            _, sequence, _ = await pile.expect(0x92)
            pile.send(0x91, bytes.fromhex(f"{PILE} 01"), sequence)
            assert (await posted).json()["by"] == "back end"

    asyncio.run(run())


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic", "Basic !!!", "Basic /w==", "Digest x", "bearer\t", COMMANDER],
)
def test_what_is_no_token_lets_nobody_in(header: str | None) -> None:
    assert Tokens([("a", hash_of(COMMANDER), "command")]).caller(header) is None


def test_web_pages_of_others_get_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            await running.pile()
            foreign = {"Origin": "https://evil.example"}
            response = await running.command("reboot_request", {"execution_control": 1}, headers=foreign)
            assert (response.status_code, response.json()["code"]) == (403, "forbidden")
            # A name that somebody has pointed at this machine.
            response = await running.client.get("/piles", headers={"Host": "evil.example"})
            assert response.status_code == 403
            own = {"Origin": str(running.client.base_url).rstrip("/")}
            response = await running.command("nothing", {}, headers=own)
            assert response.status_code == 404

    asyncio.run(run())


def test_piles_are_listed_in_pages(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            ids = [f"990000000000{number:02d}" for number in range(5)]
            piles = [await running.pile(id) for id in ids]
            await piles[2].close()
            while (await running.client.get(f"/piles/{ids[2]}")).json()["online"]:
                await asyncio.sleep(0.01)

            async def listed(**params: Any) -> tuple[list[str], str | None]:
                page = (await running.client.get("/piles", params=params)).json()
                return [one["id"] for one in page["items"]], page["next"]

            assert await listed() == (ids, None)
            assert await listed(limit=2) == (ids[:2], ids[1])
            assert await listed(limit=2, after=ids[1]) == (ids[2:4], ids[3])
            assert await listed(limit=2, after=ids[3]) == (ids[4:], None)
            assert await listed(online="false") == ([ids[2]], None)
            assert await listed(online="true", limit=4) == ([*ids[:2], *ids[3:]], None)
            for params in ({"limit": "0"}, {"limit": "x"}, {"limit": "1.5"}, {"online": "maybe"}):
                response = await running.client.get("/piles", params=params)
                assert response.status_code == 422
                assert response.json()["path"] in params

    asyncio.run(run())


def test_frames_hide_what_is_secret_unless_asked(tmp_path: Path) -> None:
    card = "00000000D14B0A54"

    async def run() -> None:
        async with serving(tmp_path, http__frames_kept=5) as running:
            pile = await running.pile()
            posted = asyncio.create_task(
                running.command(
                    "balance_update_request",
                    {"gun_no": "01", "physical_card_no": card, "new_balance": 12.34},
                )
            )
            _, sequence, _ = await pile.expect(0x42)
            pile.send(0x41, bytes.fromhex(f"{PILE} {card} 00"), sequence)
            await posted
            url = f"/piles/{PILE}/frames"
            hidden = (await running.client.get(url)).text
            assert "D14B0A54" not in hidden
            assert json.loads(hidden)["items"][-1]["fields"]["physical_card_no"] == "***"
            shown = (await running.client.get(url, params={"reveal": "true"})).json()["items"]
            assert shown[-1]["fields"]["physical_card_no"] == card
            assert shown[-2]["fields"]["new_balance"] == 12.34
            assert shown[-1]["raw"].endswith(shown[-1]["raw"][-4:])
            for _ in range(10):
                pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"))
                await pile.expect(0x04)
            assert len((await running.client.get(url)).json()["items"]) == 5
            assert len((await running.client.get(url, params={"limit": 2})).json()["items"]) == 2

    asyncio.run(run())


def test_a_billing_model_file_answers_for_itself(tmp_path: Path) -> None:
    fields = {
        "billing_model_no": "0100",
        **{
            f"{tier}_{what}_price": price
            for price, tier in ((2.0, "sharp"), (3.0, "peak"), (4.0, "flat"), (5.0, "valley"))
            for what in ("energy",)
        },
        **{f"{tier}_service_price": 0.1654 for tier in ("sharp", "peak", "flat", "valley")},
        "loss_ratio": 0,
        "period_rates": [{"rate": "sharp"}] * 48,
    }
    file = tmp_path / "model.json"
    file.write_text(json.dumps(fields))
    from ykc.vectors import VECTORS

    async def run() -> None:
        async with serving(tmp_path, ykc__billing_model=str(file)) as running:
            pile = await running.pile()
            pile.send(0x09, bytes.fromhex(PILE), b"\x05\x00")
            _, sequence, body = await pile.expect(0x0A)
            assert (sequence, body) == (b"\x05\x00", bytes.fromhex(VECTORS["6.8"]["frame"])[6:-2])
            for number, result in (("0100", "00"), ("0101", "01")):
                pile.send(0x05, bytes.fromhex(f"{PILE} {number}"))
                assert (await pile.expect(0x06))[2] == bytes.fromhex(f"{PILE} {number} {result}")

    asyncio.run(run())


def test_only_the_piles_that_are_allowed_log_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, ykc__allow=[PILE]) as running:
            await running.pile()
            other = await running.raw_pile("99000000000001")
            from gateway.live import login_body

            other.send(0x01, login_body("99000000000001"))
            assert (await other.expect(0x02))[2] == bytes.fromhex("99000000000001 01")
            await other.closed()
            shown = (await running.client.get("/piles/99000000000001")).json()
            assert (shown["state"], shown["offline_reason"]) == ("offline", "its login was refused")

    asyncio.run(run())


def test_dead_letters_are_seen_replayed_and_discarded(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, forward__to="http", forward__servers=[backend.url]) as running,
        ):
            backend.status = lambda path, body: 422 if body["code"] in ("0x05", "0x09") else 200
            pile = await running.pile()
            pile.send(0x05, bytes.fromhex(f"{PILE} 0100"))
            await pile.expect(0x06)
            pile.send(0x09, bytes.fromhex(PILE))
            async with asyncio.timeout(60):
                while len(dead := (await running.client.get("/dead-letters")).json()["items"]) < 2:
                    await asyncio.sleep(0.05)
            first, second = dead
            assert (first["event"]["code"], first["sink"], first["charger"]) == ("0x05", "http", PILE)
            assert "422" in first["reason"]
            assert (await running.client.get("/dead-letters", params={"skip": 1})).json()["items"] == [second]
            backend.status = lambda path, body: 200
            assert (await running.client.post(f"/dead-letters/{first['id']}/replay")).status_code == 204
            await backend.until(lambda path, event: event["id"] == first["id"])
            assert (await running.client.delete(f"/dead-letters/{second['id']}")).status_code == 204
            assert (await running.client.get("/dead-letters")).json()["items"] == []
            response = await running.client.post(f"/dead-letters/{second['id']}/replay")
            assert (response.status_code, response.json()["code"]) == (404, "not_found")

    asyncio.run(run())


def test_metrics_count_what_happens(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            for _ in range(3):
                pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"))
                await pile.expect(0x04)
            await running.command("heartbeat_response", {"gun_no": "01"})
            for line, wanted in (
                ('evproto_ykc_frames_total{direction="in",type="0x03"}', 3),
                ('evproto_ykc_frames_total{direction="out",type="0x04"}', 4),
                ('evproto_ykc_frames_total{direction="in",type="0x01"}', 1),
                ('evproto_logins_total{outcome="accepted",protocol="ykc"}', 1),
                ('evproto_commands_total{name="heartbeat_response",protocol="ykc",state="sent"}', 1),
                ('evproto_chargers_online{protocol="ykc"}', 1),
                ("evproto_outbox_healthy", 1),
                ("evproto_commands_pending", 0),
            ):
                assert await running.metric(line) == wanted, line

    asyncio.run(run())


def logged(formatter: logging.Formatter, sentence: str, /, **about: Any) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("evproto.test")
    logger.addHandler(handler)
    logger.warning(sentence, extra=data(**about))
    return stream.getvalue()


def test_a_line_of_the_log_is_one_line() -> None:
    line = logged(KeyValueFormatter(), "a\nb", pile=PILE, text='say "x"\ny', count=3, empty="")
    assert line.count("\n") == 1
    assert line.rstrip().endswith(rf'a\nb pile={PILE} text="say \"x\"\ny" count=3 empty=""')
    line = logged(JsonFormatter(), "a\nb", pile=PILE, message="mine", raw=b"x")
    assert line.count("\n") == 1
    shown = json.loads(line)
    assert (shown["message"], shown["pile"], shown["level"], shown["raw"]) == (
        "a\nb",
        PILE,
        "warning",
        "b'x'",
    )


def test_complaints_are_so_many_a_minute() -> None:
    now = 0.0
    throttle = Throttle(3, lambda: now)
    assert [bool(throttle) for _ in range(5)] == [True, True, True, False, False]
    now = 61.0
    assert [bool(throttle) for _ in range(4)] == [True, True, True, False]
