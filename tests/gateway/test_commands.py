"""Commands through the API: every message of a platform, answers, endings, repetitions, the audit log."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ykc.vectors import VECTORS

from evproto.gateway.ykc_schema import command_schema
from evproto.wire.table import Direction
from evproto.ykc.codec import Codec
from gateway.answering import answer, answer_everything
from gateway.live import PILE, RawPile, Running, serving

CODEC = Codec("1.7")
COMMANDS = {
    layout.name: layout
    for layouts in CODEC.layouts.values()
    for layout in layouts
    if layout.direction is Direction.PLATFORM_TO_PILE
}
SAMPLES = {
    vector["name"]: vector
    for id, vector in VECTORS.items()
    if vector["name"] in COMMANDS and (id == "capture-F0-0225" or not id.startswith("capture"))
}
"""The document's sample of every message that a platform sends; 0xF0 is no part of it."""


def typed(vector: dict[str, Any]) -> dict[str, Any]:
    """The fields of a vector as a caller writes them, without the pile."""
    fields = {name: as_json(value) for name, value in vector["fields"].items() if name != "pile_id"}
    for name, flags in vector.get("time_flags", {}).items():
        assert set(flags) == {"weekday"}
        fields[name] = {"time": fields[name], "flags": flags["weekday"] << 5}
    return fields


def as_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return value


def test_every_message_of_a_platform_has_a_sample() -> None:
    assert set(COMMANDS) == set(SAMPLES)
    assert len(SAMPLES) == 22


@pytest.mark.parametrize("name", SAMPLES)
def test_a_command_is_on_the_wire_as_the_document_prints_it(name: str, tmp_path: Path) -> None:
    vector = SAMPLES[name]
    frame = bytes.fromhex(vector["frame"])
    frame_type, body = frame[5], frame[6:-2]
    pile_id = vector["fields"].get("pile_id", PILE)

    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile(pile_id)
            posted = asyncio.create_task(running.command(name, typed(vector), pile_id))
            _, sequence, sent = await pile.expect(frame_type)
            assert sent == body
            reply = answer(pile_id, frame_type, body)
            if reply is not None:
                pile.send(reply[0], reply[1], sequence)
            response = await posted
            assert response.status_code == 200, response.text
            command = response.json()
            assert command["state"] == ("sent" if reply is None else "accepted")
            assert (command["answer"] is None) == (reply is None)

    asyncio.run(run())


def test_an_answer_to_a_request_of_the_pile_carries_its_number(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, ykc__auto_billing_model=False, ykc__auto_heartbeat=False) as running:
            pile = await running.pile()
            pile.send(0x05, bytes.fromhex(f"{PILE} 0100"), b"\xce\x04")
            while not (await running.client.get(f"/piles/{PILE}")).json()["unanswered"]:
                await asyncio.sleep(0.01)
            fields = {"billing_model_no": "0100", "result": "same"}
            response = await running.command("billing_model_verification_response", fields)
            assert response.json()["state"] == "sent"
            assert response.json()["text"] == ""
            _, sequence, body = await pile.expect(0x06)
            assert (sequence, body) == (b"\xce\x04", bytes.fromhex(f"{PILE} 0100 00"))
            assert (await running.client.get(f"/piles/{PILE}")).json()["unanswered"] == []
            again = await running.command("billing_model_verification_response", fields)
            assert again.json()["text"] == "no billing_model_verification_request was waiting for it"

    asyncio.run(run())


def test_a_refusal_is_rejected_and_says_why(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            posted = asyncio.create_task(running.command("remote_stop_request", {"gun_no": "01"}))
            _, sequence, _ = await pile.expect(0x36)
            pile.send(0x35, bytes.fromhex(f"{PILE} 01 00 02"), sequence)
            command = (await posted).json()
            assert command["state"] == "rejected"
            assert command["answer"]["failure_reason"]["code"] == 2
            assert "not_charging" in command["text"]

    asyncio.run(run())


def test_silence_is_a_504_and_the_late_answer_changes_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            response = await running.command("remote_stop_request", {"gun_no": "01"}, params={"timeout": "1"})
            assert response.status_code == 504
            problem = response.json()
            assert problem["code"] == "timeout"
            assert problem["command"]["state"] == "timeout"
            assert response.headers["content-type"] == "application/problem+json"
            _, sequence, _ = await pile.expect(0x36)
            pile.send(0x35, bytes.fromhex(f"{PILE} 01 01 00"), sequence)
            pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"))
            await pile.expect(0x04)
            kept = (await running.client.get(response.headers["location"])).json()
            assert kept["state"] == "timeout"

    asyncio.run(run())


def test_a_connection_that_ends_is_a_502(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            posted = asyncio.create_task(running.command("reboot_request", {"execution_control": 1}))
            await pile.expect(0x92)
            await pile.close()
            response = await posted
            assert response.status_code == 502
            assert response.json()["command"]["state"] == "disconnected"
            response = await running.command("reboot_request", {"execution_control": 1})
            assert (response.status_code, response.json()["code"]) == (409, "offline")
            entries = (await running.client.get("/audit")).json()["items"]
            assert [entry["state"] for entry in entries] == ["disconnected"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("pile", "name", "fields", "status", "path"),
    [
        ("99999999999999", "remote_stop_request", {"gun_no": "01"}, 404, None),
        (PILE, "remote_stop", {"gun_no": "01"}, 404, None),
        (PILE, "remote_stop_request", {}, 422, "gun_no"),
        (PILE, "remote_stop_request", {"gun_no": "011"}, 422, "gun_no"),
        (PILE, "remote_stop_request", {"gun_no": 1}, 422, "gun_no"),
        (PILE, "remote_stop_request", {"gun_no": "01", "gun": 1}, 422, "gun"),
        (PILE, "remote_stop_request", {"gun_no": "01", "pile_id": "00000000000000"}, 422, "pile_id"),
        (PILE, "remote_stop_request", [1], 422, None),
        (PILE, "work_parameters_request", {"work_permission": "maybe", "max_output_power": 80}, 422, "work_permission"),
        (PILE, "work_parameters_request", {"work_permission": 0, "max_output_power": 256}, 422, "max_output_power"),
        (PILE, "card_clear_request", {"cards": [{"physical_card_no": "0102030405060708"}, {}]}, 422, "cards[1].physical_card_no"),
        (PILE, "time_sync_request", {"current_time": "yesterday"}, 422, "current_time"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    pile: str, name: str, fields: Any, status: int, path: str | None, tmp_path: Path
) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            raw = await running.pile()
            response = await running.command(name, fields, pile)
            assert response.status_code == status, response.text
            assert response.json().get("path") == path
            probe = bytes.fromhex(f"{PILE} 01 00")
            assert await raw.nothing_before(0x04, lambda: raw.send(0x03, probe)) == []
            assert (await running.client.get("/audit")).json()["items"] == []

    asyncio.run(run())


def test_a_body_that_is_no_json_and_one_that_is_too_large(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, http__max_body=1000) as running:
            await running.pile()
            url = f"/piles/{PILE}/commands/remote_stop_request"
            json_type = {"Content-Type": "application/json"}
            for content, headers, status, code in (
                (b"{", json_type, 400, "malformed"),
                (b'"\xff"', json_type, 400, "malformed"),
                (b"[" * 900, json_type, 400, "malformed"),
                (b" " * 1001, json_type, 413, "too_large"),
                (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
            ):
                response = await running.client.post(url, content=content, headers=headers)
                assert (response.status_code, response.json()["code"]) == (status, code)
            response = await running.client.get(url)
            assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
            assert response.headers["allow"] == "POST"

    asyncio.run(run())


@pytest.mark.parametrize(
    "how", [{"params": {"wait": "false"}}, {"headers": {"Prefer": "respond-async"}}], ids=["query", "prefer"]
)
def test_a_caller_need_not_wait(how: dict[str, Any], tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            response = await running.command("reboot_request", {"execution_control": 1}, **how)
            assert response.status_code == 202
            assert response.json()["state"] in ("queued", "sent")
            _, sequence, _ = await pile.expect(0x92)
            location = response.headers["location"]
            assert (await running.client.get(location)).json()["state"] == "sent"
            pile.send(0x91, bytes.fromhex(f"{PILE} 01"), sequence)
            ended = (await running.client.get(location, params={"wait": "20"})).json()
            assert ended["state"] == "accepted"
            assert ended["created"] <= ended["sent"] <= ended["ended"]

    asyncio.run(run())


async def _three_at_once(running: Running, pile: RawPile) -> list[dict[str, Any]]:
    headers = {"Idempotency-Key": "order-4711"}
    posts = [
        asyncio.create_task(running.command("reboot_request", {"execution_control": 1}, headers=headers))
        for _ in range(3)
    ]
    _, sequence, _ = await pile.expect(0x92)
    pile.send(0x91, bytes.fromhex(f"{PILE} 01"), sequence)
    return [(await post).json() for post in posts]


def test_a_repeated_request_is_not_a_repeated_command(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            answers = await _three_at_once(running, pile)
            assert len({one["id"] for one in answers}) == 1
            assert {one["state"] for one in answers} == {"accepted"}
            headers = {"Idempotency-Key": "order-4711"}
            later = await running.command("reboot_request", {"execution_control": 1}, headers=headers)
            assert later.json() == answers[0]
            assert later.headers["idempotent-replayed"] == "true"
            other = await running.command("reboot_request", {"execution_control": 2}, headers=headers)
            assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
            probe = bytes.fromhex(f"{PILE} 01 00")
            assert await pile.nothing_before(0x04, lambda: pile.send(0x03, probe)) == []
        async with serving(tmp_path) as running:
            # It is known after a restart, too.
            pile = await running.pile()
            later = await running.command("reboot_request", {"execution_control": 1}, headers=headers)
            assert later.json()["id"] == answers[0]["id"]
            assert await pile.nothing_before(0x04, lambda: pile.send(0x03, probe)) == []

    asyncio.run(run())


def test_what_the_process_did_not_finish_is_disconnected_after_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, server__drain_timeout=0.1) as running:
            pile = await running.pile()
            response = await running.command(
                "reboot_request", {"execution_control": 1}, params={"wait": "false"}
            )
            await pile.expect(0x92)
            # As SIGKILL leaves it: the file says that it was sent, and nothing more.
            file = tmp_path / "data" / "audit.db"
            with sqlite3.connect(file) as database:
                (ended,) = database.execute("SELECT ended FROM commands").fetchone()
            database.close()
            assert ended is None
            copy = tmp_path / "killed" / "data"
            copy.mkdir(parents=True)
            for one in (tmp_path / "data").glob("audit.db*"):
                (copy / one.name).write_bytes(one.read_bytes())
        async with serving(tmp_path / "killed") as running:
            kept = (await running.client.get(response.headers["location"])).json()
            assert kept["state"] == "disconnected"
            assert kept["ended"] is not None

    asyncio.run(run())


def test_the_audit_log_says_who_told_whom_what_and_hides_cards(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            answering = asyncio.create_task(answer_everything(pile))
            fields = typed(SAMPLES["balance_update_request"])
            shown = (await running.command("balance_update_request", fields)).json()
            await running.command("reboot_request", {"execution_control": 1})
            page = (await running.client.get("/audit", params={"limit": 1})).json()
            assert [entry["name"] for entry in page["items"]] == ["reboot_request"]
            page = (await running.client.get("/audit", params={"before": page["next"]})).json()
            (entry,) = page["items"]
            assert entry["name"] == "balance_update_request"
            assert (entry["caller"], entry["address"], entry["state"]) == ("anyone", "127.0.0.1", "accepted")
            card = fields["physical_card_no"]
            assert set(card) != {"0"}
            assert entry["fields"]["physical_card_no"] == "***"
            # The caller gets the whole answer, the log does not.
            assert shown["answer"]["physical_card_no"] == card
            assert card not in str(entry)
            other = await running.client.get("/audit", params={"charger": "99999999999999"})
            assert other.json()["items"] == []
            answering.cancel()

    asyncio.run(run())


def test_schemas_take_what_the_document_prints() -> None:
    import jsonschema

    for name, vector in SAMPLES.items():
        schema = command_schema(COMMANDS[name])
        fields = typed(vector)
        counts = {field.count for field in COMMANDS[name].fields if isinstance(field.count, str)}
        jsonschema.validate({key: value for key, value in fields.items() if key not in counts}, schema)
